/*-------------------------------------------------------------------------
 *
 * child.h
 *	  The wal-redo child: a postgres process that replays records.
 *
 * Children are forked from a template, see template.h.  That is started as
 * "postgres --single" with this library preloaded, and with WALREDO_CHILD_ENV
 * set in its environment to the process ID of its parent, the worker.  Without
 * that variable no process becomes a template, so that a real cluster with the
 * library preloaded can be started in single-user mode.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/child/child.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_CHILD_H
#define WALREDO_CHILD_H

/* True if this process is to become a template, and to fork children. */
extern bool walredo_child_is_wanted(void);

/* Arranges for this process to become a template.  Called by _PG_init(). */
extern void walredo_child_init(void);

#endif							/* WALREDO_CHILD_H */

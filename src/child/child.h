/*-------------------------------------------------------------------------
 *
 * child.h
 *	  The wal-redo child: a postgres process that replays records.
 *
 * The child is "postgres --single" with this library preloaded and
 * WALREDO_CHILD_ENV set in its environment to the process ID of its parent.
 * Nothing else makes a child of a process, so that somebody who starts a real
 * cluster in single-user mode, with the library preloaded, gets what they
 * asked for.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/child/child.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_CHILD_H
#define WALREDO_CHILD_H

/* True if this process is to become a child. */
extern bool walredo_child_is_wanted(void);

/* Arranges for it to become one.  To be called from _PG_init(). */
extern void walredo_child_init(void);

#endif							/* WALREDO_CHILD_H */

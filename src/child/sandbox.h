/*-------------------------------------------------------------------------
 *
 * sandbox.h
 *	  The cell of the wal-redo child.
 *
 * The sandbox knows nothing of PostgreSQL, so that a small program of its own
 * can test it.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/child/sandbox.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_SANDBOX_H
#define WALREDO_SANDBOX_H

#include <stddef.h>

/*
 * Gives up everything but standard input, output and error, memory and the
 * right to exit, for good.  memory_limit is how many bytes of address space
 * the process may add to what it has now.  Returns NULL on success, else
 * which step failed, with errno set; the process must then exit.
 */
extern const char *sandbox_enter(size_t memory_limit);

#endif							/* WALREDO_SANDBOX_H */

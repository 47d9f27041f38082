/*-------------------------------------------------------------------------
 *
 * launch.h
 *	  Starting and ending wal-redo children: private to this room.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/pool/launch.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_POOL_LAUNCH_H
#define WALREDO_POOL_LAUNCH_H

#include "postgres.h"

/*
 * A child, as its parent sees it.  Descriptors are the parent's ends of the
 * child's pipes, non-blocking; -1 if closed.  The parent owns them all, and
 * hands out copies of the first two.
 */
typedef struct WalredoChild
{
	pid_t		pid;			/* 0 if there is no child */
	int			in_fd;			/* writes to its standard input */
	int			out_fd;			/* reads its standard output */
	int			err_fd;			/* reads its standard error */
	char		directory[MAXPGPATH];	/* its data directory, or "" */
} WalredoChild;

/*
 * Starts a child.  On failure nothing is left of it, and the reason is in
 * error.  number tells directories of one process's children apart.
 */
extern bool walredo_child_launch(WalredoChild *child, int number,
								 char *error, Size error_size);

/*
 * Removes the child's data directory, which it needs only until it has
 * answered for the first time.
 */
extern void walredo_child_remove_directory(WalredoChild *child);

/*
 * Kills and reaps the child, closes its pipes but for standard error, and
 * removes its directory.  Returns its status as waitpid() has it, and in
 * was_killed if it was still alive.
 */
extern int	walredo_child_kill(WalredoChild *child, bool *was_killed);

#endif							/* WALREDO_POOL_LAUNCH_H */

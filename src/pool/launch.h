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
 * The template that children are forked from, as its parent sees it.
 * Descriptors are non-blocking; the parent owns them.
 */
typedef struct WalredoTemplate
{
	pid_t		pid;			/* 0 if there is no template */
	int			order_fd;		/* a socket, its standard input */
	int			err_fd;			/* reads its standard output and error */
	bool		ready;			/* it can fork children */
	char		directory[MAXPGPATH];	/* its data directory, or "" */
} WalredoTemplate;

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
} WalredoChild;

/*
 * Starts a template.  On failure nothing is left of it, and the reason is in
 * error.  A process can have one template.
 */
extern bool walredo_template_launch(WalredoTemplate *template, char *error,
									Size error_size);

/*
 * To be called when order_fd is readable and no child is being started: takes
 * note when the template becomes ready.  False if there is something wrong
 * with it.
 */
extern bool walredo_template_hear(WalredoTemplate *template);

/*
 * Starts a child; title says whom it serves.  On failure the reason is in
 * error.  If the template is not ready any more then, it must be killed, and
 * has perhaps forked a child that the parent does not know of; that one will
 * end, as its pipes are closed.
 */
extern bool walredo_child_launch(WalredoTemplate *template,
								 WalredoChild *child, const char *title,
								 char *error, Size error_size);

/*
 * Both kill and reap a process, and close our ends of its pipes but for
 * standard error.  They return its status as waitpid() has it, and in
 * was_killed if it was still alive.
 */
extern int	walredo_child_kill(WalredoChild *child, bool *was_killed);
extern int	walredo_template_kill(WalredoTemplate *template,
								  bool *was_killed);

#endif							/* WALREDO_POOL_LAUNCH_H */

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
 *
 *	NONE		There is no process.
 *	STARTING	The process has not said yet that it can fork children.
 *	READY		It waits for orders.
 *	BROKEN		It did not answer an order as it should.  It must be killed.
 *
 *	NONE -> STARTING	walredo_template_launch()
 *	STARTING -> READY	walredo_template_read_reply()
 *	READY -> BROKEN		walredo_child_launch()
 *	any -> NONE			walredo_template_kill()
 */
typedef enum WalredoTemplateState
{
	TEMPLATE_NONE,
	TEMPLATE_STARTING,
	TEMPLATE_READY,
	TEMPLATE_BROKEN
} WalredoTemplateState;

/* Descriptors are non-blocking; the parent owns them. */
typedef struct WalredoTemplate
{
	WalredoTemplateState state;
	pid_t		pid;			/* 0 in TEMPLATE_NONE */
	int			order_fd;		/* a socket, its standard input */
	int			err_fd;			/* reads its standard output and error */
	char		directory[MAXPGPATH];	/* its data directory, or "" */
} WalredoTemplate;

/*
 * A child, as its parent sees it.  Descriptors are the parent's ends of the
 * child's pipes, and are non-blocking.  The parent owns them all, and sends
 * copies of the first two to backends.
 */
typedef struct WalredoChild
{
	pid_t		pid;			/* 0 if there is no child */
	int			in_fd;			/* writes to its standard input */
	int			out_fd;			/* reads its standard output */
	int			err_fd;			/* reads its standard error */
} WalredoChild;

/*
 * Starts a template.  On failure returns false, with the reason in error, and
 * nothing is left of it.  A process can have one template.
 */
extern bool walredo_template_launch(WalredoTemplate *template, char *error,
									Size error_size);

/*
 * Reads the message by which a template that is STARTING says that it is READY.
 * To be called when order_fd is readable and no child is being started.  False
 * if the template has ended, or has sent anything else.
 */
extern bool walredo_template_read_reply(WalredoTemplate *template);

/*
 * Has a template that is READY fork a child; title names the database and the
 * role that it will serve.  Waits for the template, for a second at most.  On
 * failure returns false, with the reason in error.
 *
 * If the template is BROKEN then, it may have forked a child whose process ID
 * the parent was not told.  That child will end by itself, as the other ends of
 * its pipes are closed; the parent must reap it.
 */
extern bool walredo_child_launch(WalredoTemplate *template,
								 WalredoChild *child, const char *title,
								 char *error, Size error_size);

/*
 * These two kill a process, reap it, and close our ends of its pipes except for
 * standard error, which can still be read; the caller must close that.  They
 * return the exit status as waitpid() does.  *was_killed is set to false if the
 * process had ended by itself, in which case the status says why.
 */
extern int	walredo_child_kill(WalredoChild *child, bool *was_killed);
extern int	walredo_template_kill(WalredoTemplate *template,
								  bool *was_killed);

#endif							/* WALREDO_POOL_LAUNCH_H */

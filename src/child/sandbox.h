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

#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * How a template forks: as fork() does, but the child is the parent's, not
 * its own.  Which argument of the system call has the flags depends on the
 * architecture.
 */
#define WALREDO_CLONE_FLAGS		(CLONE_PARENT | SIGCHLD)
#ifdef __s390__
#define WALREDO_CLONE_FLAGS_ARG	1
#else
#define WALREDO_CLONE_FLAGS_ARG	0
#endif

/*
 * Each returns NULL on success, else which step failed, with errno set; the
 * process must then exit.
 *
 * The first sets limits for the process and all that it forks: no core dumps,
 * a bound for CPU time, and memory_limit bytes of address space beyond what
 * there is now.  The second is for a process that will only fork children,
 * on orders from its standard input.  The third gives up everything but
 * standard input, output and error, memory and the right to exit, for good;
 * the process dies with its parent, and at once if that is not its parent any
 * more.
 */
extern const char *walredo_sandbox_limit_resources(size_t memory_limit);
extern const char *walredo_sandbox_enter_template(void);
extern const char *walredo_sandbox_enter(pid_t parent);

#endif							/* WALREDO_SANDBOX_H */

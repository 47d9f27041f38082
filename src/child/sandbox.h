/*-------------------------------------------------------------------------
 *
 * sandbox.h
 *	  The sandbox of the wal-redo child.
 *
 * This does not depend on PostgreSQL, so that a small program can test it
 * (test/sandbox_probe.c).
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
#include <unistd.h>

/*
 * The flags of clone() by which a template forks.  It is like fork(), but the
 * new process becomes a child of the template's parent.  The position of the
 * flags among the arguments of the system call depends on the architecture.
 */
#define WALREDO_CLONE_FLAGS		(CLONE_PARENT | SIGCHLD)
#ifdef __s390__
#define WALREDO_CLONE_FLAGS_ARG	1
#else
#define WALREDO_CLONE_FLAGS_ARG	0
#endif

/*
 * A child has a fourth descriptor: its standard input once more, but
 * non-blocking.
 */
#define WALREDO_LOOK_FILENO		(STDERR_FILENO + 1)

/*
 * These functions return NULL on success.  Otherwise they return which step
 * failed, with errno set, and the process must exit.
 */

/*
 * Sets limits for the process and all that it will fork: no core dumps, a bound
 * for CPU time, and memory_limit bytes of address space in addition to what is
 * mapped now.
 */
extern const char *walredo_sandbox_limit_resources(size_t memory_limit);

/*
 * Gives up whatever is not needed by a process that does nothing but fork
 * children, on orders from its standard input.
 */
extern const char *walredo_sandbox_enter_template(void);

/*
 * Gives up everything but standard input, output and error,
 * WALREDO_LOOK_FILENO, memory, and the right to exit.  The kernel will kill the
 * process when its parent ends; if parent is not the process's parent any more,
 * that has happened already, and is reported as an error.
 */
extern const char *walredo_sandbox_enter(pid_t parent);

#endif							/* WALREDO_SANDBOX_H */

/*-------------------------------------------------------------------------
 *
 * sandbox.c
 *	  The sandbox of the wal-redo child.
 *
 * Resource managers trust their records.  The child replays records that
 * anyone may have written, so it must be assumed that one of them takes the
 * process over.  What such a record can then do is what is left here: use
 * CPU and memory up to a limit, and read and write three pipes whose other
 * ends belong to the role that sent the record.
 *
 * The system call filter kills the process at anything else.  A filter that
 * merely fails the call would let a hijacked child go on trying, and redo
 * itself never expects to fail here.  A filter cannot be tried without dying
 * of it, though, so the same rules are loaded twice: first with a default of
 * EPERM, under which a list of calls is tried, one of each sort that the
 * filter is there to stop, and then with the default of killing.  The kernel
 * takes the stricter answer of the two.
 *
 * Limits that hold for a child from its beginning are set in the template that
 * it is forked from, see template.c.  The template answers no requests, and
 * sees no record.  It has a filter, too, which its children keep in addition to
 * their own, and which restricts it to what a template does.
 *
 * Rejected: namespaces, chroot and a user of its own, which all need
 * privileges that a server does not have; and seccomp's strict mode, which
 * does not allow brk(), so any allocation would kill the child.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/child/sandbox.c
 *
 *-------------------------------------------------------------------------
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "child/sandbox.h"

/*
 * CPU seconds that a child may use in its whole life.  Backends enforce the
 * time-out of a request; this is for a child that no process watches any more.
 */
#define SANDBOX_CPU_LIMIT	86400

const char *
walredo_sandbox_limit_resources(size_t memory_limit)
{
	struct rlimit limit;
	FILE	   *statm;
	unsigned long pages = 0;

	/* A core dump would have users' pages in it, and be written to a file. */
	limit.rlim_cur = limit.rlim_max = 0;
	if (setrlimit(RLIMIT_CORE, &limit) != 0)
		return "limit core dumps";

	limit.rlim_cur = limit.rlim_max = SANDBOX_CPU_LIMIT;
	if (setrlimit(RLIMIT_CPU, &limit) != 0)
		return "limit CPU time";

	/*
	 * The limit is for all of the address space, so add what the server's
	 * binary and libraries have mapped already.  That is found in /proc; if
	 * it is not mounted, add 1 GB, which is more than they take.
	 */
	statm = fopen("/proc/self/statm", "r");
	if (statm != NULL)
	{
		if (fscanf(statm, "%lu", &pages) != 1)
			pages = 0;
		fclose(statm);
	}
	if (pages == 0)
		limit.rlim_cur = (rlim_t) 1 << 30;
	else
		limit.rlim_cur = (rlim_t) pages * sysconf(_SC_PAGESIZE);
	limit.rlim_cur += memory_limit;
	limit.rlim_max = limit.rlim_cur;
	if (setrlimit(RLIMIT_AS, &limit) != 0)
		return "limit address space";

	return NULL;
}

/* What a filter is for. */
typedef enum FilterKind
{
	FILTER_TEMPLATE,			/* a template: allows forking, too */
	FILTER_TRIAL,				/* the self test: allows another filter, too */
	FILTER_CHILD				/* a child */
} FilterKind;

/*
 * Loads a filter, which allows what is named here and nothing else.  libseccomp
 * translates the names to the architecture's numbers.
 */
static const char *
load_filter(FilterKind kind)
{
	scmp_filter_ctx ctx;
	pid_t		pid = getpid();
	int			rc = 0;

	ctx = seccomp_init(kind == FILTER_CHILD ?
					   SCMP_ACT_KILL_PROCESS : SCMP_ACT_ERRNO(EPERM));
	if (ctx == NULL)
	{
		errno = ENOMEM;
		return "make a system call filter";
	}

#define ALLOW(call, ...) \
	do { \
		if (rc == 0) \
			rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(call), \
								  __VA_ARGS__); \
	} while (0)

	/* Requests are read from standard input, and nothing from anywhere else. */
	ALLOW(read, 1, SCMP_A0(SCMP_CMP_EQ, STDIN_FILENO));
	ALLOW(read, 1, SCMP_A0(SCMP_CMP_EQ, WALREDO_LOOK_FILENO));

	/* Answers are written to standard output, log text to standard error. */
	ALLOW(write, 1, SCMP_A0(SCMP_CMP_EQ, STDOUT_FILENO));
	ALLOW(write, 1, SCMP_A0(SCMP_CMP_EQ, STDERR_FILENO));

	/* The process must be able to exit. */
	ALLOW(exit_group, 0);

	/* malloc() maps private memory, which is not executable and not a file. */
	ALLOW(brk, 0);
	ALLOW(mmap, 2,
		  SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0),
		  SCMP_A3(SCMP_CMP_MASKED_EQ, MAP_ANONYMOUS, MAP_ANONYMOUS));
	ALLOW(munmap, 0);
	ALLOW(mremap, 0);

	/*
	 * abort() takes these.  It is allowed so that a PANIC, whose text has
	 * been written by then, ends the process by SIGABRT, and not by the
	 * SIGSYS of a forbidden system call.  A child can send the signal to
	 * itself only.  The template's filter cannot say so, since its children,
	 * who inherit it, have other process IDs.
	 */
	ALLOW(rt_sigprocmask, 0);
	ALLOW(rt_sigaction, 0);
	ALLOW(getpid, 0);
	ALLOW(gettid, 0);
	if (kind == FILTER_TEMPLATE)
		ALLOW(tgkill, 1, SCMP_A2(SCMP_CMP_EQ, SIGABRT));
	else
		ALLOW(tgkill, 2,
			  SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t) pid),
			  SCMP_A2(SCMP_CMP_EQ, SIGABRT));

	/* Loading another filter takes these. */
	if (kind != FILTER_CHILD)
	{
		ALLOW(seccomp, 0);
		ALLOW(prctl, 0);
	}

	if (kind == FILTER_TEMPLATE)
	{
		/* It receives orders, and replies to them. */
		ALLOW(recvmsg, 1, SCMP_A0(SCMP_CMP_EQ, STDIN_FILENO));
		ALLOW(sendto, 1, SCMP_A0(SCMP_CMP_EQ, STDIN_FILENO));
		ALLOW(close, 0);

		/* It forks processes, but makes no threads and no namespaces. */
		ALLOW(clone, 1, SCMP_CMP(WALREDO_CLONE_FLAGS_ARG, SCMP_CMP_EQ,
								 WALREDO_CLONE_FLAGS));

		/* A child does these before it loads its own filter. */
		ALLOW(dup3, 0);
		ALLOW(close_range, 0);
		ALLOW(getppid, 0);
		ALLOW(prlimit64, 1, SCMP_A0(SCMP_CMP_EQ, 0));
	}
#undef ALLOW

	/* These two are called for each request, so the filter tests them first. */
	if (rc == 0)
		rc = seccomp_syscall_priority(ctx, SCMP_SYS(read), UINT8_MAX);
	if (rc == 0)
		rc = seccomp_syscall_priority(ctx, SCMP_SYS(write), UINT8_MAX);

	if (rc == 0)
		rc = seccomp_load(ctx);
	seccomp_release(ctx);
	if (rc != 0)
	{
		errno = -rc;
		return "load a system call filter";
	}
	return NULL;
}

/*
 * Tries one system call of each sort that must be refused, under the filter
 * that fails them with EPERM.  A call that is not refused does no harm.
 */
static const char *
self_test(void)
{
	errno = 0;
	if (syscall(SYS_openat, AT_FDCWD, "/", O_RDONLY) != -1 || errno != EPERM)
		return "refuse openat()";
	errno = 0;
	if (syscall(SYS_socket, AF_UNIX, SOCK_STREAM, 0) != -1 || errno != EPERM)
		return "refuse socket()";
	errno = 0;
	if (syscall(SYS_execve, NULL, NULL, NULL) != -1 || errno != EPERM)
		return "refuse execve()";
	errno = 0;
	if (syscall(SYS_kill, getpid(), 0) != -1 || errno != EPERM)
		return "refuse kill()";
	errno = 0;
	if (syscall(SYS_ptrace, PTRACE_PEEKUSER, 0, NULL, NULL) != -1 ||
		errno != EPERM)
		return "refuse ptrace()";
	errno = 0;
	if (mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0) != MAP_FAILED || errno != EPERM)
		return "refuse mmap() of code";
	errno = 0;
	if (read(STDOUT_FILENO, NULL, 0) != -1 || errno != EPERM)
		return "refuse read() from standard output";
	return NULL;
}

const char *
walredo_sandbox_enter_template(void)
{
	if (close_range(STDERR_FILENO + 1, ~0U, 0) != 0)
		return "close descriptors";
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return "give up new privileges";
	return load_filter(FILTER_TEMPLATE);
}

const char *
walredo_sandbox_enter(pid_t parent)
{
	const struct rlimit no_files = {0, 0};
	const char *failed;

	if (close_range(WALREDO_LOOK_FILENO + 1, ~0U, 0) != 0)
		return "close descriptors";
	if (prlimit(0, RLIMIT_NOFILE, &no_files, NULL) != 0)
		return "limit open files";

	/* A child must not outlive the worker, which watches it. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
		return "ask for a parent-death signal";
	if (getppid() != parent)
	{
		errno = ESRCH;
		return "find the parent process";
	}
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return "give up new privileges";

	failed = load_filter(FILTER_TRIAL);
	if (failed == NULL)
		failed = self_test();
	if (failed == NULL)
		failed = load_filter(FILTER_CHILD);
	return failed;
}

/*-------------------------------------------------------------------------
 *
 * sandbox.c
 *	  The cell of the wal-redo child.
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
#include <link.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "child/sandbox.h"

/*
 * CPU seconds in a child's whole life.  The time-out of a request is the
 * pool's business; this only stops a child that nobody watches any more.
 */
#define SANDBOX_CPU_LIMIT	86400

/*
 * Libraries that a server is linked with and replay has no use for, by how
 * their file names begin.  They are taken out of memory.  That is a megabyte
 * of every child (what the loader has written into them is private to each
 * process), and much code that nobody can jump to any more.
 *
 * It is a list of what goes, not of what stays, since a system may have every
 * program load a library of its own, say another malloc().
 */
static const char *const unneeded_libraries[] = {
	"libcrypto.", "libgcrypt.", "libgnutls.", "libgssapi_krb5.", "libicudata.",
	"libicui18n.", "libicuuc.", "libk5crypto.", "libkrb5.", "libldap",
	"libp11-kit.", "libpam.", "libsasl2.", "libssl.", "libsystemd.",
	"libunistring.", "libxml2."
};

#define NUM_UNNEEDED \
	(sizeof(unneeded_libraries) / sizeof(unneeded_libraries[0]))

/*
 * What of them goes, in whole pages.  Each library has a segment or two before
 * its dynamic section, and one around that.
 */
#define MAX_UNNEEDED_RANGES		(NUM_UNNEEDED * 4)

static struct
{
	uintptr_t	start;
	uintptr_t	end;
}			unneeded_ranges[MAX_UNNEEDED_RANGES];
static size_t num_unneeded_ranges;

static void
add_unneeded(uintptr_t start, uintptr_t end)
{
	if (start >= end || num_unneeded_ranges >= MAX_UNNEEDED_RANGES)
		return;
	unneeded_ranges[num_unneeded_ranges].start = start;
	unneeded_ranges[num_unneeded_ranges].end = end;
	num_unneeded_ranges++;
}

/*
 * Called for each library by dl_iterate_phdr().
 *
 * The loader goes on looking for symbols in all libraries: those that stay
 * may be bound lazily, so that their first call of a function makes it search
 * (liblz4's of memmove(), say).  So what it reads has to stay: the first
 * segment, with the tables, which no process has for itself, and the pages of
 * the dynamic section.
 */
static int
find_unneeded(struct dl_phdr_info *info, size_t size, void *arg)
{
	const uintptr_t page_mask = sysconf(_SC_PAGESIZE) - 1;
	const char *name = strrchr(info->dlpi_name, '/');
	uintptr_t	dynamic = UINTPTR_MAX;
	uintptr_t	dynamic_end = 0;
	bool		unneeded = false;

	if (name == NULL)
		return 0;
	for (size_t i = 0; i < NUM_UNNEEDED; i++)
		unneeded |= strncmp(name + 1, unneeded_libraries[i],
							strlen(unneeded_libraries[i])) == 0;
	if (!unneeded)
		return 0;

	for (int i = 0; i < info->dlpi_phnum; i++)
	{
		const ElfW(Phdr) *header = &info->dlpi_phdr[i];

		if (header->p_type != PT_DYNAMIC)
			continue;
		dynamic = (info->dlpi_addr + header->p_vaddr) & ~page_mask;
		dynamic_end = (info->dlpi_addr + header->p_vaddr + header->p_memsz +
					   page_mask) & ~page_mask;
	}
	if (dynamic_end == 0)
		return 0;

	for (int i = 0; i < info->dlpi_phnum; i++)
	{
		const ElfW(Phdr) *header = &info->dlpi_phdr[i];
		uintptr_t	start = (info->dlpi_addr + header->p_vaddr) & ~page_mask;
		uintptr_t	end = (info->dlpi_addr + header->p_vaddr +
						   header->p_memsz + page_mask) & ~page_mask;

		if (header->p_type != PT_LOAD || header->p_offset == 0)
			continue;
		if (dynamic < start || dynamic_end > end)
			add_unneeded(start, end);
		else
		{
			add_unneeded(start, dynamic);
			add_unneeded(dynamic_end, end);
		}
	}
	return 0;
}

void
sandbox_drop_libraries(void)
{
	for (size_t i = 0; i < num_unneeded_ranges; i++)
		(void) munmap((void *) unneeded_ranges[i].start,
					  unneeded_ranges[i].end - unneeded_ranges[i].start);
	num_unneeded_ranges = 0;
}

static const char *
limit_resources(size_t memory_limit)
{
	struct rlimit limit;
	FILE	   *statm;
	unsigned long pages = 0;

	/* No core: it would hold pages, and needs a file anyway. */
	limit.rlim_cur = limit.rlim_max = 0;
	if (setrlimit(RLIMIT_CORE, &limit) != 0)
		return "limit core dumps";

	limit.rlim_cur = limit.rlim_max = SANDBOX_CPU_LIMIT;
	if (setrlimit(RLIMIT_CPU, &limit) != 0)
		return "limit CPU time";

	/*
	 * Address space is counted from what the server's binary and libraries
	 * take already.  Without /proc that is not known; 1 GB is more than it is.
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

	/* Libraries that will go; more than memory_limit is never in them. */
	for (size_t i = 0; i < num_unneeded_ranges; i++)
		limit.rlim_cur -= unneeded_ranges[i].end - unneeded_ranges[i].start;
	limit.rlim_max = limit.rlim_cur;
	if (setrlimit(RLIMIT_AS, &limit) != 0)
		return "limit address space";

	/* After the descriptors are closed, none can be opened. */
	limit.rlim_cur = limit.rlim_max = 0;
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		return "limit open files";

	return NULL;
}

/*
 * Loads the filter.  Everything is allowed here by name; nothing depends on
 * the architecture's numbers.
 */
static const char *
load_filter(uint32_t default_action, bool more_filters)
{
	scmp_filter_ctx ctx;
	pid_t		pid = getpid();
	int			rc = 0;

	ctx = seccomp_init(default_action);
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

	/* Requests, and nothing but requests. */
	ALLOW(read, 1, SCMP_A0(SCMP_CMP_EQ, STDIN_FILENO));

	/* Answers and log text. */
	ALLOW(write, 1, SCMP_A0(SCMP_CMP_EQ, STDOUT_FILENO));
	ALLOW(write, 1, SCMP_A0(SCMP_CMP_EQ, STDERR_FILENO));

	/* The end of the process. */
	ALLOW(exit_group, 0);

	/* malloc(): memory of our own, never code, never a file. */
	ALLOW(brk, 0);
	ALLOW(mmap, 2,
		  SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0),
		  SCMP_A3(SCMP_CMP_MASKED_EQ, MAP_ANONYMOUS, MAP_ANONYMOUS));
	ALLOW(munmap, 0);
	ALLOW(mremap, 0);

	/*
	 * abort(), so that a PANIC ends as one, after its text was written, and
	 * not as a "bad system call".  The signal can go to this process only.
	 */
	ALLOW(rt_sigprocmask, 0);
	ALLOW(rt_sigaction, 0);
	ALLOW(getpid, 0);
	ALLOW(gettid, 0);
	ALLOW(tgkill, 2,
		  SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t) pid),
		  SCMP_A2(SCMP_CMP_EQ, SIGABRT));

	/* What loading the second filter takes. */
	if (more_filters)
	{
		ALLOW(seccomp, 0);
		ALLOW(prctl, 0);
	}
#undef ALLOW

	/* These two are called for each request; have them looked for first. */
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
 * Tries, under the filter that answers EPERM, one call of each sort that must
 * not work.  None of them does any harm if it does.
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
sandbox_enter(size_t memory_limit)
{
	const char *failed;

	(void) dl_iterate_phdr(find_unneeded, NULL);

	failed = limit_resources(memory_limit);
	if (failed != NULL)
		return failed;

	if (close_range(STDERR_FILENO + 1, ~0U, 0) != 0)
		return "close descriptors";

	/* The parent owns us; there is nothing to live for without it. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
		return "ask for a parent-death signal";
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return "give up new privileges";

	failed = load_filter(SCMP_ACT_ERRNO(EPERM), true);
	if (failed == NULL)
		failed = self_test();
	if (failed == NULL)
		failed = load_filter(SCMP_ACT_KILL_PROCESS, false);
	return failed;
}

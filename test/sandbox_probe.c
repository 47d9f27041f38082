/*-------------------------------------------------------------------------
 *
 * sandbox_probe.c
 *	  Enters the sandbox of the wal-redo child and tries one thing.
 *
 * t/031_sandbox.pl builds and runs this.  The exit code is 0 if what was tried
 * worked, 1 if it failed but did not kill the process, 2 if the argument is not
 * known, 3 if the sandbox could not be entered.  What the filter forbids must
 * kill the process with SIGSYS instead.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * test/sandbox_probe.c
 *
 *-------------------------------------------------------------------------
 */
#define _GNU_SOURCE

#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child/sandbox.h"

#define MEGABYTE		((size_t) 1024 * 1024)
#define MEMORY_LIMIT	(64 * MEGABYTE)

/* A page that was mapped before the process entered the sandbox. */
static void *old_page;

/* Another process, to send a signal to. */
static pid_t other;

/* Allocates and uses memory; true if there was enough. */
static int
use_memory(size_t size)
{
	volatile char *memory = malloc(size);

	if (memory == NULL)
		return 0;
	for (size_t i = 0; i < size; i += 4096)
		memory[i] = 1;
	return 1;
}

/* The same in many small pieces, for which malloc() calls brk(). */
static int
use_small_pieces(size_t size)
{
	for (size_t done = 0; done < size; done += 1024)
	{
		volatile char *memory = malloc(1024);

		if (memory == NULL)
			return 0;
		memory[0] = 1;
	}
	return 1;
}

/* True if the call worked. */
static int
try(const char *what)
{
	char		byte = 'x';

	/* These are allowed. */
	if (strcmp(what, "exit") == 0)
		return 1;
	if (strcmp(what, "read_stdin") == 0)
		return read(STDIN_FILENO, &byte, 1) == 1 && byte == 'y';
	if (strcmp(what, "write_stdout") == 0)
		return write(STDOUT_FILENO, "answer", 6) == 6;
	if (strcmp(what, "write_stderr") == 0)
		return write(STDERR_FILENO, "text", 4) == 4;
	if (strcmp(what, "small_memory") == 0)
		return use_small_pieces(16 * MEGABYTE);
	if (strcmp(what, "large_memory") == 0)
		return use_memory(16 * MEGABYTE);
	if (strcmp(what, "abort") == 0)
		abort();

	/* These fail, as it is too much, but must not kill the process. */
	if (strcmp(what, "too_much_small_memory") == 0)
		return use_small_pieces(2 * MEMORY_LIMIT);
	if (strcmp(what, "too_much_large_memory") == 0)
		return use_memory(2 * MEMORY_LIMIT);

	/*
	 * These are forbidden.  Some are called by number, as the function of
	 * libc would make another system call.
	 */
#ifdef SYS_open
	if (strcmp(what, "open") == 0)
		return syscall(SYS_open, "/dev/null", O_RDONLY) >= 0;
#endif
	if (strcmp(what, "openat") == 0)
		return openat(AT_FDCWD, "/dev/null", O_RDONLY) >= 0;
	if (strcmp(what, "socket") == 0)
		return socket(AF_UNIX, SOCK_STREAM, 0) >= 0;
	if (strcmp(what, "connect") == 0)
	{
		struct sockaddr_un addr = {.sun_family = AF_UNIX};

		return connect(STDIN_FILENO, (struct sockaddr *) &addr,
					   sizeof(addr)) == 0;
	}
	if (strcmp(what, "execve") == 0)
	{
		char	   *argv[] = {"true", NULL};

		execve("/bin/true", argv, NULL);
		return 0;
	}
	if (strcmp(what, "kill") == 0)
		return kill(getpid(), 0) == 0;
	if (strcmp(what, "tgkill_other") == 0)
		return syscall(SYS_tgkill, other, other, SIGABRT) == 0;
	if (strcmp(what, "tgkill_signal") == 0)
		return syscall(SYS_tgkill, getpid(), gettid(), SIGCONT) == 0;
	if (strcmp(what, "ptrace") == 0)
		return ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0;
#ifdef SYS_fork
	if (strcmp(what, "fork") == 0)
		return syscall(SYS_fork) >= 0;
#endif
	if (strcmp(what, "clone") == 0)
		return syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL) >= 0;
	if (strcmp(what, "mmap_exec") == 0)
		return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
					MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED;
	if (strcmp(what, "mmap_file") == 0)
		return mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, STDIN_FILENO,
					0) != MAP_FAILED;
	if (strcmp(what, "mprotect") == 0)
		return mprotect(old_page, 4096, PROT_READ | PROT_EXEC) == 0;
	if (strcmp(what, "prctl") == 0)
		return prctl(PR_SET_PDEATHSIG, 0) == 0;
	if (strcmp(what, "seccomp") == 0)
		return syscall(SYS_seccomp, 0, 0, NULL) == 0;
	if (strcmp(what, "setrlimit") == 0)
	{
		struct rlimit limit = {0, 0};

		return setrlimit(RLIMIT_FSIZE, &limit) == 0;
	}
	if (strcmp(what, "dup") == 0)
		return dup(STDIN_FILENO) >= 0;
	if (strcmp(what, "read_stdout") == 0)
		return read(STDOUT_FILENO, &byte, 1) >= 0;
	if (strcmp(what, "write_stdin") == 0)
		return write(STDIN_FILENO, &byte, 1) == 1;
	if (strcmp(what, "write_other") == 0)
		return write(STDERR_FILENO + 1, &byte, 1) == 1;

	_exit(2);
}

int
main(int argc, char **argv)
{
	const char *failed;
	int			fd;

	if (argc != 2)
		return 2;

	/* A descriptor that walredo_sandbox_enter() must close. */
	fd = open("/dev/null", O_WRONLY);
	if (fd > STDERR_FILENO + 1)
		(void) dup2(fd, STDERR_FILENO + 1);

	other = fork();
	if (other < 0)
		return 2;
	if (other == 0)
	{
		/* It must end with its parent, which may have happened already. */
		if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() == 1)
			_exit(0);
		pause();
		_exit(0);
	}

	old_page = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
					MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	failed = walredo_sandbox_limit_resources(MEMORY_LIMIT);
	if (failed == NULL)
		failed = walredo_sandbox_enter(getppid());
	if (failed != NULL)
	{
		fprintf(stderr, "could not %s: %m\n", failed);
		return 3;
	}
	_exit(try(argv[1]) ? 0 : 1);
}

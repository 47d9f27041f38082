/*-------------------------------------------------------------------------
 *
 * template.c
 *	  The process that wal-redo children are forked from.
 *
 * Most of what it takes to start a child is the loading of the server's
 * binary and its libraries, and most of a child's memory is what that wrote.
 * So it is done once, in a process that has gone all the way to its first
 * request, and children are forked from there.  They come to life in a tenth
 * of the time, and share what they do not change.
 *
 * The template never sees a record or a page.  So there is nothing in a child
 * of what another one was given, however often it was forked.  What they have
 * in common is the layout of their address space, as all backends of a server
 * have.
 *
 * A child is a child of the worker's, not of the template's: the worker is who
 * reaps it, so that no process ID that it may send a signal to is ever another
 * process's, and the child dies with the worker.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/child/template.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "child/sandbox.h"
#include "child/template.h"
#include "miscadmin.h"
#include "proto/proto.h"

/* What the template makes of its shared memory: one or two segments. */
#define MAX_SHARED_RANGES	16

typedef struct MemoryRange
{
	char	   *start;
	size_t		size;
} MemoryRange;

/*
 * Replaces shared memory by private memory with the same contents, at the
 * same place.  Pages that were never written to take no memory: they read as
 * zeroes, and are not copied.
 */
static const char *
replace_range(const MemoryRange *range)
{
	static const char zeroes[4096];
	char	   *copy;

	copy = mmap(NULL, range->size, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (copy == MAP_FAILED)
		return "map private memory";
	for (size_t i = 0; i < range->size; i += sizeof(zeroes))
	{
		if (memcmp(range->start + i, zeroes, sizeof(zeroes)) != 0)
			memcpy(copy + i, range->start + i, sizeof(zeroes));
	}
	if (mremap(copy, range->size, range->size, MREMAP_MAYMOVE | MREMAP_FIXED,
			   range->start) == MAP_FAILED)
		return "move private memory";
	return NULL;
}

const char *
walredo_template_unshare_memory(void)
{
	MemoryRange ranges[MAX_SHARED_RANGES];
	int			nranges = 0;
	FILE	   *maps;
	char	   *line = NULL;
	size_t		line_size = 0;
	const char *failed = NULL;

	maps = fopen("/proc/self/maps", "r");
	if (maps == NULL)
		return "open /proc/self/maps";
	while (getline(&line, &line_size, maps) > 0)
	{
		unsigned long start;
		unsigned long end;
		char		permissions[5];

		if (sscanf(line, "%lx-%lx %4s", &start, &end, permissions) != 3)
		{
			errno = EINVAL;
			failed = "read /proc/self/maps";
			break;
		}
		if (permissions[1] != 'w' || permissions[3] != 's')
			continue;
		if (nranges == lengthof(ranges))
		{
			errno = ENOMEM;
			failed = "replace so many ranges of shared memory";
			break;
		}
		ranges[nranges].start = (char *) start;
		ranges[nranges].size = end - start;
		nranges++;
	}
	free(line);
	fclose(maps);

	for (int i = 0; i < nranges && failed == NULL; i++)
		failed = replace_range(&ranges[i]);
	return failed;
}

/* As fork(), but the new process is a child of our parent's. */
static pid_t
fork_sibling(void)
{
#ifdef __s390__
	return syscall(SYS_clone, 0, WALREDO_CLONE_FLAGS, 0, 0, 0);
#else
	return syscall(SYS_clone, WALREDO_CLONE_FLAGS, 0, 0, 0, 0);
#endif
}

const char *
walredo_template_serve(void)
{
	static WalredoTemplateOrder order;
	int32		answer = WALREDO_TEMPLATE_READY;

	for (;;)
	{
		int			fds[3];
		pid_t		pid;

		if (send(STDIN_FILENO, &answer, sizeof(answer),
				 MSG_NOSIGNAL) != sizeof(answer))
			_exit(1);
		while (!walredo_receive_fds(STDIN_FILENO, &order, sizeof(order), fds,
									lengthof(fds)))
		{
			/* The worker has closed its end, or what it sends is no order. */
			if (errno != EINTR)
				_exit(0);
		}

		pid = fork_sibling();
		if (pid == 0)
		{
			for (int i = 0; i < lengthof(fds); i++)
			{
				if (dup3(fds[i], i, 0) < 0)
					_exit(1);
			}
			MyProcPid = getpid();
			order.title[WALREDO_TITLE_SIZE - 1] = '\0';
			return order.title;
		}
		answer = pid > 0 ? pid : -errno;
		for (int i = 0; i < lengthof(fds); i++)
			close(fds[i]);
	}
}

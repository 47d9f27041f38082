/*-------------------------------------------------------------------------
 *
 * template.c
 *	  The process that wal-redo children are forked from.
 *
 * Most of the time that it takes to start a child is spent on loading the
 * server's binary and its libraries, and most of a child's memory is what that
 * has written.  So it is done once, in a process that stops just before it
 * would read its first request, and children are forked from that.  They start
 * in a tenth of the time, and share the memory that they do not change.
 *
 * The template never sees a record or a page.  So no child can find anything
 * that another child was given, however many are forked.  What children have in
 * common is the layout of their address space, as all backends of a server do.
 *
 * The parent of a child is the worker, not the template.  Since the worker
 * reaps the child, it can never send a signal to another process that has got
 * the child's process ID; and the kernel kills the child when the worker ends.
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

/* The most ranges of shared memory; a server maps one or two. */
#define MAX_SHARED_RANGES	16

typedef struct MemoryRange
{
	char	   *start;
	size_t		size;
} MemoryRange;

/*
 * Replaces a range of shared memory by private memory with the same contents,
 * at the same address.  Pages that are all zeroes are not copied, so that the
 * new ones take no memory until they are written to.
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

/* Like fork(), but the new process becomes a child of our parent. */
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
	int32		reply = WALREDO_TEMPLATE_READY;

	for (;;)
	{
		int			fds[WALREDO_CHILD_NUM_FDS];
		pid_t		pid;

		if (send(STDIN_FILENO, &reply, sizeof(reply),
				 MSG_NOSIGNAL) != sizeof(reply))
			_exit(1);
		while (!walredo_receive_fds(STDIN_FILENO, &order, sizeof(order), fds,
									lengthof(fds)))
		{
			/* The worker has closed its end, or sent what is not an order. */
			if (errno != EINTR)
				_exit(0);
		}

		pid = fork_sibling();
		if (pid == 0)
		{
			/*
			 * The received descriptors are in ascending order, and none is
			 * less than 3, so this overwrites only those that have been
			 * copied already.
			 */
			for (int i = 0; i < lengthof(fds); i++)
			{
				if (dup3(fds[i], i, 0) < 0)
					_exit(1);
			}
			MyProcPid = getpid();
			order.title[WALREDO_TITLE_SIZE - 1] = '\0';
			return order.title;
		}
		reply = pid > 0 ? pid : -errno;
		for (int i = 0; i < lengthof(fds); i++)
			close(fds[i]);
	}
}

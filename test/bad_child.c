/*-------------------------------------------------------------------------
 *
 * bad_child.c
 *	  A wal-redo child that a record has taken over.
 *
 * t/033_bad_child.pl builds this with the sources of the child, and puts it
 * where the server looks for the child's library.  It behaves like a real child
 * until it gets a record whose LSN is BAD/n.  Then it does what line n of the
 * enum below says, with what a real child has while it replays: the pipes, and
 * the sandbox.  In one of the two variants that are built, the sandbox is
 * replaced by nothing (-Wl,--wrap), which shows what the worker and the backend
 * do about a child that no sandbox restrains.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * test/bad_child.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>
#include <unistd.h>

#include "child/child.h"
#include "child/redo.h"
#include "child/sandbox.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "proto/proto.h"

#define BAD_LSN_HIGH	0xBAD
#define MEGABYTE		((Size) 1024 * 1024)
#define GIGABYTE		(1024 * MEGABYTE)

/* The test reads this enum, for the names and their numbers. */
typedef enum BadDeed
{
	BAD_NONE,
	BAD_CLOSE_STDIN,
	BAD_CLOSE_STDOUT,
	BAD_CLOSE_STDERR,
	BAD_STOP,
	BAD_SPIN,
	BAD_PALLOC,					/* all memory that there is */
	BAD_MALLOC,					/* likewise, but frees it again */
	BAD_RECURSE,
	BAD_FLOOD_STDERR,			/* one endless line */
	BAD_CHATTER,				/* 100 lines on standard error, and no harm */
	BAD_FLOOD_STDOUT,
	BAD_SHORT,					/* a byte less than a page, then exits */
	BAD_SHORT_SPIN,				/* a byte less than a page, then hangs */
	BAD_LONG,					/* a byte more than a page */
	BAD_TWICE,					/* two pages more than were asked for */
	BAD_DRIBBLE,				/* a page, byte by byte */
	BAD_EXIT,
	BAD_SEGV
} BadDeed;

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);
extern PGDLLEXPORT void walredo_worker_main(Datum main_arg);

extern const char *__real_walredo_redo_apply(const WalredoMessage *message);
extern const char *__wrap_walredo_redo_apply(const WalredoMessage *message);
extern bool __real_walredo_write(int fd, const char *buf, size_t size);
extern bool __wrap_walredo_write(int fd, const char *buf, size_t size);
extern const char *__wrap_walredo_sandbox_limit_resources(size_t memory_limit);
extern const char *__wrap_walredo_sandbox_enter_template(void);
extern const char *__wrap_walredo_sandbox_enter(pid_t parent);

static bool dribble = false;

void
_PG_init(void)
{
	if (walredo_child_is_wanted())
		walredo_child_init();
}

/*
 * The worker's library is looked for in the same place as the child's, so this
 * one is found for it, too.  The worker must be the real one.
 */
void
walredo_worker_main(Datum main_arg)
{
	char		path[MAXPGPATH];
	void		(*real_main) (Datum);

	snprintf(path, sizeof(path), "%s/walredo", pkglib_path);
	real_main = (void (*) (Datum))
		load_external_function(path, "walredo_worker_main", true, NULL);

	real_main(main_arg);
}

const char *
__wrap_walredo_sandbox_limit_resources(size_t memory_limit)
{
	return NULL;
}

const char *
__wrap_walredo_sandbox_enter_template(void)
{
	return NULL;
}

const char *
__wrap_walredo_sandbox_enter(pid_t parent)
{
	/*
	 * The real function closes the descriptors under which the template was
	 * given the ends of the pipes.  If they stayed open here, closing one of
	 * 0 to 2 would not close a pipe.
	 */
	if (close_range(STDERR_FILENO + 1, ~0U, 0) != 0)
		return "close descriptors";
	return NULL;
}

/* The loop is not empty, lest the compiler remove it as without effect. */
static void
spin(void)
{
	volatile uint64 n = 0;

	for (;;)
		n++;
}

static int
recurse(volatile char *before)
{
	volatile char room[4096];

	room[0] = before[0] + 1;
	return recurse(room) + room[0];
}

/* Writes size bytes, or as many as it can. */
static void
flood(int fd, Size size)
{
	static char buf[65536];

	memset(buf, 'x', sizeof(buf));
	while (size > 0)
	{
		ssize_t		n = write(fd, buf, Min(size, sizeof(buf)));

		if (n <= 0)
			break;
		size -= n;
	}
}

static void
say(const char *text, int number)
{
	char		line[100];
	int			n = snprintf(line, sizeof(line), text, number);

	(void) __real_walredo_write(STDERR_FILENO, line, n);
}

static void
eat_memory(void)
{
	static char *memory[1024];
	int			n = 0;

	while (n < lengthof(memory) && (memory[n] = malloc(MEGABYTE)) != NULL)
		memset(memory[n++], 1, MEGABYTE);
	say("there were %d MB of memory\n", n);
	while (n > 0)
		free(memory[--n]);
}

static void
misbehave(BadDeed deed)
{
	switch (deed)
	{
		case BAD_NONE:
			break;
		case BAD_CLOSE_STDIN:
		case BAD_CLOSE_STDOUT:
		case BAD_CLOSE_STDERR:
			close(deed - BAD_CLOSE_STDIN);
			if (deed == BAD_CLOSE_STDIN)
				close(WALREDO_LOOK_FILENO);
			for (;;)
				pause();
			break;
		case BAD_STOP:
			raise(SIGSTOP);
			break;
		case BAD_SPIN:
			spin();
			break;
		case BAD_PALLOC:
			for (;;)
				memset(palloc(MEGABYTE), 1, MEGABYTE);
			break;
		case BAD_MALLOC:
			eat_memory();
			break;
		case BAD_RECURSE:
			(void) recurse("x");
			break;
		case BAD_FLOOD_STDERR:
			flood(STDERR_FILENO, GIGABYTE);
			break;
		case BAD_CHATTER:
			for (int i = 1; i <= 100; i++)
				say("this is line %d\n", i);
			break;
		case BAD_FLOOD_STDOUT:
			flood(STDOUT_FILENO, GIGABYTE);
			break;
		case BAD_SHORT:
			flood(STDOUT_FILENO, BLCKSZ - 1);
			_exit(0);
			break;
		case BAD_SHORT_SPIN:
			flood(STDOUT_FILENO, BLCKSZ - 1);
			spin();
			break;
		case BAD_LONG:
			flood(STDOUT_FILENO, 1);
			break;
		case BAD_TWICE:
			flood(STDOUT_FILENO, 2 * BLCKSZ);
			break;
		case BAD_DRIBBLE:
			dribble = true;
			break;
		case BAD_EXIT:
			_exit(0);
			break;
		case BAD_SEGV:
			*(volatile char *) 16 = 1;
			break;
	}
}

const char *
__wrap_walredo_redo_apply(const WalredoMessage *message)
{
	if (message->lsn >> 32 == BAD_LSN_HIGH)
		misbehave((BadDeed) (uint32) message->lsn);
	return __real_walredo_redo_apply(message);
}

bool
__wrap_walredo_write(int fd, const char *buf, size_t size)
{
	size_t		step = dribble ? 1 : size;

	for (size_t done = 0; done < size; done += step)
	{
		if (!__real_walredo_write(fd, buf + done, step))
			return false;
	}
	dribble = false;
	return true;
}

/*-------------------------------------------------------------------------
 *
 * child.c
 *	  Start and request loop of the wal-redo child.
 *
 * An unmodified postgres in single-user mode reads its options, preloads this
 * library, makes its (small) shared memory, and calls shmem_startup_hook as
 * the last step of that.  The hook does not return: it does the rest of what
 * single-user mode would do before it opens a database, and enters recovery as
 * far as redo routines can tell.  This process is a template; children are
 * forked from it.  A child enters the sandbox, and answers requests until its
 * standard input ends.
 *
 * The child says nothing about errors in the protocol.  Any ERROR, of our own
 * or of a redo routine, is written to standard error as the server's log
 * would have it, and the process exits: a child that failed once has unknown
 * state, and a new one is cheap.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/child/child.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <setjmp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <unistd.h>

#include "child/child.h"
#include "child/redo.h"
#include "child/sandbox.h"
#include "child/template.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "proto/proto.h"
#include "storage/ipc.h"
#include "storage/pg_shmem.h"
#include "storage/proc.h"
#include "utils/memutils.h"
#include "utils/ps_status.h"
#include "utils/resowner.h"

/*
 * What the child may allocate beyond what it has at start: room for the
 * longest record, three times over (received, decoded, and the copy that some
 * redo routines make), and for what redo itself needs.
 */
#define CHILD_MEMORY_LIMIT	((size_t) 128 * 1024 * 1024)

/* What a message may look like, and when it may come. */
typedef struct MessageRule
{
	WalredoMessageType type;
	uint32		min_payload;
	uint32		max_payload;
	bool		needs_block;	/* only between 'B' and the next 'B' */
	void		(*handle) (const char *payload, uint32 size);
} MessageRule;

static void handle_begin(const char *payload, uint32 size);
static void handle_push(const char *payload, uint32 size);
static void handle_apply(const char *payload, uint32 size);
static void handle_get(const char *payload, uint32 size);
static void handle_ping(const char *payload, uint32 size);
static void handle_mask(const char *payload, uint32 size);
static void handle_describe(const char *payload, uint32 size);

static const MessageRule message_rules[] = {
	{WALREDO_MSG_BEGIN, WALREDO_WIRE_TAG_SIZE, WALREDO_WIRE_TAG_SIZE,
	false, handle_begin},
	{WALREDO_MSG_PUSH, WALREDO_WIRE_TAG_SIZE + BLCKSZ,
	WALREDO_WIRE_TAG_SIZE + BLCKSZ, true, handle_push},
	{WALREDO_MSG_APPLY, WALREDO_WIRE_LSN_SIZE, WALREDO_WIRE_MAX_PAYLOAD,
	true, handle_apply},
	{WALREDO_MSG_GET, WALREDO_WIRE_TAG_SIZE, WALREDO_WIRE_TAG_SIZE,
	true, handle_get},
	{WALREDO_MSG_PING, 0, 0, false, handle_ping},
	{WALREDO_MSG_MASK, WALREDO_WIRE_MASK_SIZE + BLCKSZ,
	WALREDO_WIRE_MASK_SIZE + BLCKSZ, false, handle_mask},
	{WALREDO_MSG_DESCRIBE, WALREDO_WIRE_LSN_SIZE, WALREDO_WIRE_MAX_PAYLOAD,
	false, handle_describe}
};

/* True once a request has begun. */
static bool have_block = false;

/*
 * Standard input.  Bytes from input_start to input_end are received but not
 * yet used.  The buffer grows for a long record, and does not shrink.
 */
#define INPUT_BUFFER_SIZE	(128 * 1024)

static char *input;
static size_t input_size;
static size_t input_start;
static size_t input_end;

/* Whose child we are. */
static pid_t worker_pid;

static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

static void child_main(void);

bool
walredo_child_is_wanted(void)
{
	return !IsPostmasterEnvironment && getenv(WALREDO_CHILD_ENV) != NULL;
}

/*
 * Shows what this process is, in the place of what it was started with.  The
 * server shows nothing for a process without a postmaster.
 */
static void
set_title(const char *title)
{
	IsUnderPostmaster = true;
	init_ps_display(title);
	IsUnderPostmaster = false;
}

void
walredo_child_init(void)
{
	worker_pid = atoi(getenv(WALREDO_CHILD_ENV));

	/*
	 * The worker has asked for a parent-death signal on our behalf, but if it
	 * died before it came to that, we are somebody else's by now.
	 */
	if (getppid() != worker_pid)
		_exit(1);

	set_title("walredo template");
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = child_main;
}

/*
 * Standard clean-up belongs to a server with files; here it would only run
 * into the sandbox.  This is the last callback registered, so the first that
 * is called.
 */
static void
exit_at_once(int code, Datum arg)
{
	_exit(code);
}

/*
 * Makes sure that at least size unused bytes are in the buffer, and returns
 * where they are; NULL if standard input ended before the first of them.
 */
static char *
receive(size_t size)
{
	ssize_t		n;

	if (input_end - input_start >= size)
		return input + input_start;

	if (input_start > 0)
	{
		memmove(input, input + input_start, input_end - input_start);
		input_end -= input_start;
		input_start = 0;
	}
	if (size > input_size)
	{
		input = repalloc_huge(input, size);
		input_size = size;
	}

	n = walredo_read(STDIN_FILENO, input + input_end, size - input_end,
					 input_size - input_end);
	if (n < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read a request: %m")));
	input_end += n;
	if (input_end < size)
	{
		if (input_end == 0)
			return NULL;
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("request ends in the middle of a message")));
	}
	return input;
}

static void
answer(const char *page)
{
	if (!walredo_write(STDOUT_FILENO, page, BLCKSZ))
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not write an answer: %m")));
}

static void
handle_begin(const char *payload, uint32 size)
{
	WalredoWireTag tag;

	walredo_get_tag(payload, &tag);
	walredo_redo_begin(&tag);
	have_block = true;
}

static void
handle_push(const char *payload, uint32 size)
{
	WalredoWireTag tag;

	walredo_get_tag(payload, &tag);
	walredo_redo_push_page(&tag, payload + WALREDO_WIRE_TAG_SIZE);
}

static void
handle_apply(const char *payload, uint32 size)
{
	walredo_redo_apply(walredo_get_uint64(payload),
					   payload + WALREDO_WIRE_LSN_SIZE,
					   size - WALREDO_WIRE_LSN_SIZE);
}

static void
handle_get(const char *payload, uint32 size)
{
	WalredoWireTag tag;

	walredo_get_tag(payload, &tag);
	answer(walredo_redo_get_page(&tag));
}

static void
handle_ping(const char *payload, uint32 size)
{
	static const char pong[BLCKSZ];

	answer(pong);
}

static void
handle_mask(const char *payload, uint32 size)
{
	/*
	 * Masking looks at the page as a struct, so it has to be aligned.  It
	 * also follows offsets and lengths in the page unchecked, and writes
	 * there. They have 16 bits at most, and a line pointer's sum of two has
	 * as many; with that much room after the page, a broken one spoils
	 * nothing else.
	 */
	static union
	{
		PGAlignedBlock page;
		char		room[BLCKSZ + 2 * (PG_UINT16_MAX + 1)];
	}			masked;

	memcpy(masked.page.data, payload + WALREDO_WIRE_MASK_SIZE, BLCKSZ);
	walredo_redo_mask_page((uint8) payload[0], walredo_get_uint32(payload + 1),
						   masked.page.data);
	answer(masked.page.data);
}

static void
handle_describe(const char *payload, uint32 size)
{
	char		text[BLCKSZ];

	walredo_redo_describe(walredo_get_uint64(payload),
						  payload + WALREDO_WIRE_LSN_SIZE,
						  size - WALREDO_WIRE_LSN_SIZE, text);
	answer(text);
}

/* Reads and handles one message; false at the end of standard input. */
static bool
handle_message(void)
{
	const char *header;
	const char *payload;
	const MessageRule *rule = NULL;
	char		type;
	uint32		size;

	header = receive(WALREDO_WIRE_HEADER_SIZE);
	if (header == NULL)
		return false;
	type = header[0];
	size = walredo_get_uint32(header + 1);

	for (int i = 0; i < lengthof(message_rules); i++)
	{
		if (message_rules[i].type == (WalredoMessageType) type)
			rule = &message_rules[i];
	}
	if (rule == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("unknown message type 0x%02x", (uint8) type)));
	if (size < sizeof(uint32) ||
		size - sizeof(uint32) < rule->min_payload ||
		size - sizeof(uint32) > rule->max_payload)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("message of type \"%c\" has an invalid length of %u",
						type, size)));
	if (rule->needs_block && !have_block)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("message of type \"%c\" comes before a block was named",
						type)));
	size -= sizeof(uint32);

	payload = receive(WALREDO_WIRE_HEADER_SIZE + size);
	if (payload == NULL)
		return false;
	input_start += WALREDO_WIRE_HEADER_SIZE + size;
	rule->handle(payload + WALREDO_WIRE_HEADER_SIZE, size);
	return true;
}

/*
 * Leaves a template or a child, if it could not be made.
 */
static void
fail_to_start(const char *failed)
{
	ereport(FATAL,
			(errcode(ERRCODE_SYSTEM_ERROR),
			 errmsg("could not enter the sandbox: could not %s: %m",
					failed)));
}

/*
 * Gives up the server's shared memory, for memory of our own.
 */
static void
leave_shared_memory(void)
{
	const char *failed;
	int			shmid;

	/*
	 * The System V segment that guards a data directory outlives a killed
	 * process.  Marked as removed, it goes with the last process attached.
	 */
	shmid = shmget(UsedShmemSegID, 0, 0);
	if (shmid >= 0)
		(void) shmctl(shmid, IPC_RMID, NULL);
	(void) shmdt(UsedShmemSegAddr);

	failed = walredo_template_unshare_memory();
	if (failed != NULL)
		fail_to_start(failed);
}

/*
 * The rest of the process's life.  Mirrors what PostgresSingleUserMain() and
 * PostgresMain() do between making shared memory and opening a database.
 */
static void
child_main(void)
{
	sigjmp_buf	local_sigjmp_buf;
	const char *failed;
	char		title[sizeof("walredo child for ") + WALREDO_TITLE_SIZE];

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();

	before_shmem_exit(exit_at_once, 0);
	leave_shared_memory();
	InitProcess();
	BaseInit();

	/* This has to be the first to be called, so the last that is added. */
	before_shmem_exit(exit_at_once, 0);

	if (sigsetjmp(local_sigjmp_buf, 1) != 0)
	{
		/* What it points to is not on the stack any more. */
		error_context_stack = NULL;
		EmitErrorReport();
		_exit(1);
	}
	PG_exception_stack = &local_sigjmp_buf;

	CurrentResourceOwner = ResourceOwnerCreate(NULL, "walredo child");
	walredo_redo_startup();

	input_size = INPUT_BUFFER_SIZE;
	input = MemoryContextAlloc(TopMemoryContext, input_size);

	/*
	 * No signal has anything to tell us: the pool kills what it does not
	 * want.  Handlers that the server installed are of no use any more.
	 */
	for (int sig = 1; sig < NSIG; sig++)
		(void) signal(sig, SIG_DFL);
	{
		sigset_t	none;

		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
	}
	clearenv();

	(void) prctl(PR_SET_NAME, "walredo template");
	failed = walredo_sandbox_limit_resources(CHILD_MEMORY_LIMIT);
	if (failed == NULL)
		failed = walredo_sandbox_enter_template();
	if (failed != NULL)
		fail_to_start(failed);

	snprintf(title, sizeof(title), "walredo child for %s", walredo_template_serve());

	(void) prctl(PR_SET_NAME, "walredo child");
	set_title(title);
	failed = walredo_sandbox_enter(worker_pid);
	if (failed != NULL)
		fail_to_start(failed);

	while (handle_message())
		;
	_exit(0);
}

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
 * The protocol has no message that reports an error.  Any ERROR, be it raised
 * here or by a redo routine, is written to standard error in the form of the
 * server log, and the process exits: a child in which something has failed is
 * in an unknown state, and it is cheap to start a new one.
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

/* True once a request for a block has begun, even if it has been answered. */
static bool request_has_begun = false;

/*
 * Standard input.  Bytes from input_start to input_end are received but not
 * yet used.  The buffer grows for a long record, and does not shrink.
 */
#define INPUT_BUFFER_SIZE	(128 * 1024)

/*
 * How often the child looks for the next request before it sleeps, if it was
 * told to: about 60 microseconds, in which a backend that is at work on another
 * core can have sent it.  Counted and not timed, since the sandbox allows no
 * system call that reads a clock.
 */
#define NUM_LOOKS			192

static bool is_to_look = false; /* after the next answer */
static int	num_looks = 0;		/* before the next wait */

static char *input;
static size_t input_size;
static size_t input_start;
static size_t input_end;

/* The worker that this process is a child of. */
static pid_t worker_pid;

static shmem_startup_hook_type prev_shmem_startup_hook = NULL;

static void child_main(void);

bool
walredo_child_is_wanted(void)
{
	return !IsPostmasterEnvironment && getenv(WALREDO_CHILD_ENV) != NULL;
}

/*
 * Sets the title that ps(1) shows instead of the command line.  The server sets
 * none in a process that is not under a postmaster, so we claim to be for the
 * moment.
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
	 * This process has asked for a signal at the end of its parent, the
	 * worker, before it executed the binary: see become_template() in
	 * launch.c.  If the worker had ended before that, the signal never comes,
	 * but this process has another parent now.
	 */
	if (getppid() != worker_pid)
		_exit(1);

	set_title("walredo template");
	prev_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = child_main;
}

/*
 * Exits without the callbacks that the server has registered.  They clean up
 * after a server with files, and make system calls that the sandbox would kill
 * the process for.  This callback must be the last one that is registered, so
 * that it is the first one to be called.
 */
static void
exit_at_once(int code, Datum arg)
{
	_exit(code);
}

/*
 * Makes sure that at least size unused bytes are in the buffer, and returns
 * where they are; NULL if standard input ended before the first of them.  ERROR
 * if it ended before the last of them.
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

	if (num_looks > 0)
	{
		input_end += walredo_look(WALREDO_LOOK_FILENO, input + input_end,
								  input_size - input_end, num_looks);
		num_looks = 0;
		if (input_end >= size)
			return input;
	}
	n = walredo_read(STDIN_FILENO, input + input_end, size - input_end,
					 input_size - input_end);
	if (n < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read request: %m")));
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

/* Writes an answer, of BLCKSZ bytes, to standard output. */
static void
send_answer(const char *page)
{
	if (!walredo_write(STDOUT_FILENO, page, BLCKSZ))
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not write reply: %m")));
	num_looks = is_to_look ? NUM_LOOKS : 0;
	is_to_look = false;
}

/* The message says that the next one may follow the next answer at once. */
const char *
walredo_redo_look(const WalredoMessage *message)
{
	is_to_look = true;
	return NULL;
}

/*
 * Reads and handles one message; false at the end of standard input.
 *
 * A message's type, length and order are checked here, before anything of its
 * payload is looked at; the functions of redo.c check the rest.
 */
static bool
handle_message(void)
{
	const char *header;
	const char *payload;
	const char *answer = NULL;
	const WalredoMessageRule *rule;
	WalredoMessage message;
	char		type;
	uint32		size;

	header = receive(WALREDO_WIRE_HEADER_SIZE);
	if (header == NULL)
		return false;
	type = header[0];
	size = walredo_get_uint32(header + 1);

	rule = walredo_message_rule((uint8) type);
	if (rule == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("unknown message type 0x%02x", (uint8) type)));
	if (size < sizeof(uint32) ||
		!walredo_payload_size_is_valid(rule, size - sizeof(uint32)))
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("message of type \"%c\" has an invalid length of %u",
						type, size)));
	if (rule->order == WALREDO_ORDER_AFTER_FIRST && !request_has_begun)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("message of type \"%c\" comes before a block was named",
						type)));
	size -= sizeof(uint32);

	payload = receive(WALREDO_WIRE_HEADER_SIZE + size);
	if (payload == NULL)
		return false;
	input_start += WALREDO_WIRE_HEADER_SIZE + size;
	walredo_get_message(rule, payload + WALREDO_WIRE_HEADER_SIZE, size,
						&message);

	switch (rule->type)
	{
#define HANDLE_MESSAGE(symbol, type, name, payload, order, answered) \
		case symbol: \
			answer = walredo_redo_##name(&message); \
			break;
			WALREDO_MESSAGES(HANDLE_MESSAGE)
#undef HANDLE_MESSAGE
	}

	if (rule->order == WALREDO_ORDER_FIRST)
		request_has_begun = true;
	if (rule->answered)
		send_answer(answer);
	return true;
}

/*
 * Reports that a template or a child could not enter its sandbox, which ends
 * the process.  failed says which step it was, and errno why.
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
 * Replaces the shared memory that single-user mode has made by private memory
 * with the same contents.
 */
static void
leave_shared_memory(void)
{
	const char *failed;
	int			shmid;

	/*
	 * The System V segment that guards a data directory would outlive this
	 * process if that were killed.  Once it is marked for removal, the kernel
	 * removes it when the last process detaches from it.
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
 * Gives up what single-user mode has set up for a server, and what a child
 * must not inherit: signal handlers and the environment.
 */
static void
leave_server_mode(void)
{
	sigset_t	none;

	/*
	 * No signal has a meaning here: the worker kills a child that it does not
	 * want any more.  So no handler that the server has installed may run.
	 */
	for (int sig = 1; sig < NSIG; sig++)
		(void) signal(sig, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);

	clearenv();
}

/*
 * Makes this process a template, and forks children on the worker's orders.
 * Returns in each child, with the names of the database and the role that it
 * serves; in the template it does not return.
 */
static const char *
become_template(void)
{
	const char *failed;

	(void) prctl(PR_SET_NAME, "walredo template");
	failed = walredo_sandbox_limit_resources(CHILD_MEMORY_LIMIT);
	if (failed == NULL)
		failed = walredo_sandbox_enter_template();
	if (failed != NULL)
		fail_to_start(failed);

	return walredo_template_serve();
}

/*
 * Makes this process, just forked from the template, a child that serves the
 * given database and role: gives it its title, and enters the sandbox.
 */
static void
become_child(const char *serves)
{
	const char *failed;
	char		title[sizeof("walredo child for ") + WALREDO_TITLE_SIZE];

	snprintf(title, sizeof(title), "walredo child for %s", serves);
	(void) prctl(PR_SET_NAME, "walredo child");
	set_title(title);

	failed = walredo_sandbox_enter(worker_pid);
	if (failed != NULL)
		fail_to_start(failed);
}

/*
 * Takes over from single-user mode, as the shmem_startup_hook, and does not
 * return.  First it does what PostgresSingleUserMain() and PostgresMain() would
 * do between making shared memory and opening a database.
 */
static void
child_main(void)
{
	sigjmp_buf	local_sigjmp_buf;

	if (prev_shmem_startup_hook)
		prev_shmem_startup_hook();

	before_shmem_exit(exit_at_once, 0);
	leave_shared_memory();
	InitProcess();
	BaseInit();

	/*
	 * Once more, since the two functions above have registered callbacks of
	 * their own, and those are called in reverse order.
	 */
	before_shmem_exit(exit_at_once, 0);

	if (sigsetjmp(local_sigjmp_buf, 1) != 0)
	{
		/*
		 * The stack frames that the error context callbacks point to are
		 * gone.
		 */
		error_context_stack = NULL;
		EmitErrorReport();
		_exit(1);
	}
	PG_exception_stack = &local_sigjmp_buf;

	CurrentResourceOwner = ResourceOwnerCreate(NULL, "walredo child");
	walredo_redo_startup();

	input_size = INPUT_BUFFER_SIZE;
	input = MemoryContextAlloc(TopMemoryContext, input_size);

	leave_server_mode();
	become_child(become_template());

	while (handle_message())
		;
	_exit(0);
}

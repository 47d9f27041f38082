/*-------------------------------------------------------------------------
 *
 * worker.c
 *	  The background worker that owns the wal-redo children.
 *
 * The worker starts children, watches them, kills them and reaps them; no other
 * process does any of that.  Requests and answers do not pass through it: it
 * sends the ends of a child's pipes to the backend that owns the child's slot.
 * What the worker itself reads from a child are the answer to the first ping,
 * and standard error, which it writes to the server log.
 *
 * Children are forked from a template.  The worker starts that when the first
 * child is wanted, and ends it when there have been no children for a while.
 *
 * No other process has the writing end of a child's standard error, and a child
 * can fork none to share it with.  So the end of that pipe means that the child
 * has exited, or that it has closed the pipe, which no sound child does.  In
 * either case it is killed, which does no harm if it has exited, and reaped.
 *
 * The worker trusts no byte that comes from a child: it logs the text with all
 * but printable ASCII replaced, and kills a child that writes too much.
 *
 * If the worker itself is killed, the kernel kills the children, which have
 * asked for that (PR_SET_PDEATHSIG).
 *
 * A template may be killed by somebody when it has forked a child, but has not
 * told the worker yet.  Such a child finds its standard input closed, and
 * exits.  Nothing of it is watched, so SIGCHLD tells the worker to look for it.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/pool/worker.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compat.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "pool/launch.h"
#include "pool/shared.h"
#include "pool/worker.h"
#include "portability/instr_time.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "proto/proto.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/sinval.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
#include "worker/signals.h"

/* A worker that failed is started again after this many seconds. */
#define WORKER_RESTART_SECONDS	1

/* Bytes that a child may write to standard error before it is killed. */
#define CHILD_MAX_OUTPUT		(256 * 1024)

/*
 * Bytes of standard error that are read at a time, before other events are
 * handled.
 */
#define CHILD_OUTPUT_TURN		8192

/* Longest line of a child's output that is logged as one. */
#define CHILD_LINE_SIZE			1024

/* What a process has written to standard error. */
typedef struct ProcessOutput
{
	pid_t		pid;			/* kept when the process has ended */
	int			fd;
	size_t		bytes;			/* in all */
	int			line_length;
	char		line[CHILD_LINE_SIZE];
	char		stderr_tail[WALREDO_STDERR_TAIL_SIZE];
} ProcessOutput;

/*
 * The child of a slot, as the worker knows it.
 *
 *	NONE		There is no process, and none has been asked for.
 *	ASKED_FOR	A child is to be forked as soon as the template is ready.
 *	STARTING	The process was sent a ping, and has not answered yet.
 *	SERVING		It has answered, and backends can use it.
 *
 *	NONE -> ASKED_FOR		launch()
 *	ASKED_FOR -> STARTING	launch()
 *	STARTING -> SERVING		read_first_answer()
 *	any -> NONE				reap_child()
 */
typedef enum WorkerChildState
{
	WORKER_CHILD_NONE,
	WORKER_CHILD_ASKED_FOR,
	WORKER_CHILD_STARTING,
	WORKER_CHILD_SERVING
} WorkerChildState;

typedef struct WorkerChild
{
	WorkerChildState state;
	WalredoChild process;		/* pid is 0 in NONE and ASKED_FOR */
	ProcessOutput output;
	uint64		number;			/* 0 unless SERVING */
	size_t		ping_bytes;		/* of the answer to the ping, so far */
	TimestampTz launch_deadline;	/* when it must be SERVING */
	instr_time	launch_begin;
} WorkerChild;

static WalredoPool *pool;
static WorkerChild children[WALREDO_MAX_CHILDREN];

static WalredoTemplate template;
static ProcessOutput template_output;
static TimestampTz template_deadline;	/* when it must be ready */

/* When the template became ready, or the last child ended since. */
static TimestampTz template_idle_since;

static int	listen_fd = -1;

/*
 * All that the worker waits for.  NULL if a process has been started or has
 * ended since it was made, so that it must be made anew.
 */
static WaitEventSet *wait_set = NULL;

/* Set by SIGQUIT: exit at once, without access to shared memory. */
static volatile sig_atomic_t quit_requested = false;

/* The worker is about to exit. */
static bool worker_is_ending = false;

/* Added to the tail of standard error of a process that is late. */
static const char late_reason[] = "(killed, since it did not start in time)";

static void child_gone(int slotno);

/* ----------------------------------------------------------------
 *		Standard error of a child
 * ----------------------------------------------------------------
 */

/*
 * Appends text to the tail of a process's standard error, which is the end of
 * what it wrote, followed by what the worker has to say about it.  What does
 * not fit any more is dropped from the beginning.
 */
static void
append_to_tail(ProcessOutput *output, const char *text, size_t size)
{
	size_t		room = sizeof(output->stderr_tail) - 1;
	size_t		have = strlen(output->stderr_tail);

	if (size > room)
	{
		text += size - room;
		size = room;
	}
	if (have + size > room)
	{
		size_t		drop = have + size - room;

		memmove(output->stderr_tail, output->stderr_tail + drop, have - drop);
		have -= drop;
	}
	memcpy(output->stderr_tail + have, text, size);
	output->stderr_tail[have + size] = '\0';
}

/* Writes the line that has been collected to the server log. */
static void
log_line(ProcessOutput *output)
{
	if (output->line_length == 0)
		return;
	ereport(LOG,
			(output == &template_output ?
			 errmsg("wal-redo template %d: %.*s", (int) output->pid,
					output->line_length, output->line) :
			 errmsg("wal-redo child %d: %.*s", (int) output->pid,
					output->line_length, output->line)));
	output->line_length = 0;
}

/*
 * Reads what a process has written to standard error, at most CHILD_OUTPUT_TURN
 * bytes of it.  Returns false at the end of the pipe, or if the process has
 * written too much; it must be killed then.
 */
static bool
read_output(ProcessOutput *output)
{
	char		buf[CHILD_OUTPUT_TURN];
	ssize_t		n;

	n = read(output->fd, buf, sizeof(buf));
	if (n < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
	if (n == 0)
		return false;

	/*
	 * With lc_messages=C, messages are ASCII.  Replace everything else, since
	 * a child must not be able to put control characters, or bytes that are
	 * invalid in the server's encoding, into the server log.
	 */
	for (int i = 0; i < n; i++)
	{
		if (buf[i] != '\n' && buf[i] != '\t' &&
			((unsigned char) buf[i] < 0x20 || (unsigned char) buf[i] >= 0x7f))
			buf[i] = '?';
	}

	append_to_tail(output, buf, n);
	for (int i = 0; i < n; i++)
	{
		if (buf[i] != '\n')
			output->line[output->line_length++] = buf[i];
		if (buf[i] == '\n' || output->line_length == CHILD_LINE_SIZE)
			log_line(output);
	}

	output->bytes += n;
	if (output->bytes > CHILD_MAX_OUTPUT)
	{
		static const char reason[] =
			"\n(killed, since it wrote too much to standard error)";

		append_to_tail(output, reason, strlen(reason));
		return false;
	}
	return true;
}

/*
 * Reads what is left in the standard error pipe of a process that has ended,
 * and closes our end of the pipe.
 */
static void
read_last_output(ProcessOutput *output)
{
	while (output->bytes <= CHILD_MAX_OUTPUT)
	{
		size_t		before = output->bytes;

		if (!read_output(output) || output->bytes == before)
			break;
	}
	log_line(output);
	close(output->fd);
}

/* ----------------------------------------------------------------
 *		Starting and ending processes
 * ----------------------------------------------------------------
 */

/*
 * Has wait_set made anew before the next wait.  To be called whenever a process
 * has been started or has ended.
 */
static void
forget_wait_set(void)
{
	if (wait_set)
		FreeWaitEventSet(wait_set);
	wait_set = NULL;
}

/*
 * Kills and reaps the child of a slot, if there is one, and reads the rest of
 * its standard error.  status and was_killed are those of walredo_child_kill().
 * Does not access shared memory.
 */
static void
reap_child(int slotno, bool *was_killed, int *status)
{
	WorkerChild *child = &children[slotno];

	*was_killed = false;
	*status = 0;
	child->state = WORKER_CHILD_NONE;
	if (child->process.pid == 0)
		return;

	forget_wait_set();
	*status = walredo_child_kill(&child->process, was_killed);
	read_last_output(&child->output);
	child->number = 0;
	template_idle_since = GetCurrentTimestamp();
}

/*
 * Kills and reaps the template.  If it has never become ready, another one
 * would probably not either, so the launch of all children that wait for it has
 * failed.  Otherwise launch() starts another template for them, unless the
 * worker is ending, which tells the children's owners itself.
 */
static void
template_gone(void)
{
	bool		failed = (template.state == TEMPLATE_STARTING &&
						  !worker_is_ending);
	bool		was_killed;

	forget_wait_set();
	(void) walredo_template_kill(&template, &was_killed);
	read_last_output(&template_output);

	for (int i = 0; i < pool->num_slots && failed; i++)
	{
		WorkerChild *child = &children[i];

		if (child->state != WORKER_CHILD_ASKED_FOR)
			continue;
		strlcpy(child->output.stderr_tail, template_output.stderr_tail,
				sizeof(child->output.stderr_tail));
		child_gone(i);
	}
}

/*
 * Reaps processes that a template has forked, and then ended before it could
 * tell us their process IDs.  Returns at the first process that is the template
 * or one of our known children, which is reaped elsewhere: its pipes are at
 * their ends, so that the worker will not wait before it is called again.
 */
static void
reap_unknown_children(void)
{
	for (;;)
	{
		siginfo_t	info = {0};

		if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 ||
			info.si_pid == 0 || info.si_pid == template.pid)
			return;
		for (int i = 0; i < pool->num_slots; i++)
		{
			if (children[i].process.pid == info.si_pid)
				return;
		}
		(void) waitpid(info.si_pid, NULL, WNOHANG);
	}
}

/*
 * Makes sure that there is a template; it need not be ready.  On failure the
 * reason is in error.
 */
static bool
start_template(char *error, Size error_size)
{
	if (template.state != TEMPLATE_NONE)
		return true;

	forget_wait_set();
	if (!walredo_template_launch(&template, error, error_size))
		return false;
	memset(&template_output, 0, sizeof(template_output));
	template_output.pid = template.pid;
	template_output.fd = template.err_fd;
	template_deadline =
		TimestampTzPlusMilliseconds(GetCurrentTimestamp(), walredo_timeout);
	return true;
}

/*
 * Starts a child for a slot.  If the template is not ready yet, makes sure that
 * there is one; launch() must be called again when the template is ready.  The
 * child is sent a ping; read_first_answer() is called when it answers.
 *
 * On failure returns false, with the reason in the tail of the child's standard
 * error.  Then the caller must call child_gone().
 */
static bool
launch(int slotno)
{
	WorkerChild *child = &children[slotno];
	char		ping[WALREDO_WIRE_HEADER_SIZE];
	char		error[WALREDO_STDERR_TAIL_SIZE];
	char		title[WALREDO_TITLE_SIZE];

	if (child->state == WORKER_CHILD_NONE)
	{
		memset(child, 0, sizeof(*child));
		child->state = WORKER_CHILD_ASKED_FOR;
		INSTR_TIME_SET_CURRENT(child->launch_begin);
		child->launch_deadline =
			TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
										walredo_timeout);
	}

	if (!start_template(error, sizeof(error)))
	{
		append_to_tail(&child->output, error, strlen(error));
		return false;
	}
	if (template.state != TEMPLATE_READY)
		return true;

	LWLockAcquire(&pool->lock, LW_SHARED);
	memcpy(title, pool->slots[slotno].title, sizeof(title));
	LWLockRelease(&pool->lock);

	forget_wait_set();
	if (!walredo_child_launch(&template, &child->process, title, error,
							  sizeof(error)))
	{
		if (template.state == TEMPLATE_READY)
		{
			append_to_tail(&child->output, error, strlen(error));
			return false;
		}

		/* Somebody has killed the template, or stopped it. */
		ereport(LOG,
				(errmsg("wal-redo template %d is gone: %s",
						(int) template.pid, error)));
		template_gone();
		if (start_template(error, sizeof(error)))
			return true;
		append_to_tail(&child->output, error, strlen(error));
		return false;
	}
	child->state = WORKER_CHILD_STARTING;
	child->output.pid = child->process.pid;
	child->output.fd = child->process.err_fd;

	/*
	 * The pipe is empty, so there is room for a ping in it.  If this fails
	 * all the same, the child has ended already, which the end of its
	 * standard error will tell us.
	 */
	(void) walredo_put_header(ping, WALREDO_MSG_PING, 0);
	(void) walredo_write(child->process.in_fd, ping, sizeof(ping));
	return true;
}

/*
 * Reads the answer of a child that is STARTING to its first ping.  When all of
 * it is there, the child is SERVING, and its slot becomes BUSY, or IDLE if it
 * was started for nobody yet, unless the owner has given up meanwhile; then the
 * slot is DOOMED, and stays so.
 * Returns false if the child has closed the pipe, or if there are more bytes
 * than an answer has.
 */
static bool
read_first_answer(int slotno)
{
	WorkerChild *child = &children[slotno];
	WalredoSlot *slot = &pool->slots[slotno];
	char		buf[BLCKSZ + 1];
	instr_time	duration;
	ssize_t		n;

	n = read(child->process.out_fd, buf, BLCKSZ + 1 - child->ping_bytes);
	if (n < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
	if (n == 0)
		return false;
	child->ping_bytes += n;
	if (child->ping_bytes < BLCKSZ)
		return true;
	if (child->ping_bytes > BLCKSZ)
		return false;

	forget_wait_set();

	INSTR_TIME_SET_CURRENT(duration);
	INSTR_TIME_SUBTRACT(duration, child->launch_begin);
	walredo_count(STAT_LAUNCHES, 1);
	walredo_count_value(STAT_LAUNCH_TIME, INSTR_TIME_GET_MICROSEC(duration));

	child->state = WORKER_CHILD_SERVING;
	LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
	if (pool->crowded_since != 0)
		pool->crowded_since = GetCurrentTimestamp();
	child->number = ++pool->last_child_number;
	if (slot->state == SLOT_LAUNCHING)
	{
		slot->child_number = child->number;
		slot->child_pid = child->process.pid;
		slot->launched_at = GetCurrentTimestamp();
		slot->last_redo_at = 0;
		slot->requests = 0;
		slot->records = 0;
		if (slot->owner_pid != 0)
		{
			slot->state = SLOT_BUSY;
			SetLatch(slot->owner_latch);
		}
		else
		{
			slot->state = SLOT_IDLE;
			slot->idle_since = slot->launched_at;
			walredo_pool_pass_on_slot(pool, slotno);
		}
	}
	LWLockRelease(&pool->lock);
	return true;
}

/*
 * Does what is to be done when the child of a slot has ended, could not be
 * started, or must be killed: kills it if it lives, reaps it, and moves the
 * slot to its next state.  Unless the slot is REPLACING, its owner is told how
 * the child ended; a slot without an owner is passed on.
 */
static void
child_gone(int slotno)
{
	WorkerChild *child = &children[slotno];
	WalredoSlot *slot = &pool->slots[slotno];
	bool		launch_failed = (child->number == 0);
	bool		is_replaced;
	bool		was_killed;
	int			status;

	/*
	 * To kill and reap the child takes a moment, in which the lock is not
	 * held.  Nobody may take the slot for one with an idle child meanwhile.
	 */
	LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
	if (slot->state == SLOT_IDLE)
	{
		slot->state = SLOT_DOOMED;
		slot->kill_cause = STAT_KILLS_OUTPUT;
	}
	LWLockRelease(&pool->lock);

	reap_child(slotno, &was_killed, &status);
	if (launch_failed)
		walredo_count(STAT_LAUNCH_FAILURES, 1);

	LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
	is_replaced = (slot->state == SLOT_REPLACING);
	if (!launch_failed)
		walredo_count(!was_killed ? STAT_DEATHS :
					  is_replaced ? STAT_KILLS_ROLE :
					  slot->state == SLOT_DOOMED ? slot->kill_cause :
					  STAT_KILLS_OUTPUT, 1);
	slot->child_number = 0;
	slot->child_pid = 0;
	if (is_replaced)
	{
		/*
		 * The owner waits for the child that is still to be started.  How the
		 * child of another role ended does not matter to it.
		 */
		slot->state = SLOT_LAUNCHING;
	}
	else if (slot->owner_pid != 0)
	{
		WalredoChildEnd *end = &slot->end;

		end->kind = launch_failed ? CHILD_NOT_STARTED :
			was_killed ? CHILD_KILLED : CHILD_EXITED;
		end->exit_status = status;
		end->with_worker = worker_is_ending && end->kind != CHILD_EXITED;
		end->requests = slot->requests;
		strlcpy(end->stderr_tail, child->output.stderr_tail,
				sizeof(end->stderr_tail));
		slot->state = SLOT_DEAD;
		SetLatch(slot->owner_latch);
	}
	else
	{
		slot->state = SLOT_EMPTY;
		walredo_pool_pass_on_slot(pool, slotno);
	}
	LWLockRelease(&pool->lock);
}

/* True if any child is being started, or is about to be. */
static bool
is_launching(void)
{
	Assert(LWLockHeldByMe(&pool->lock));

	for (int i = 0; i < pool->num_slots; i++)
	{
		if (pool->slots[i].state == SLOT_LAUNCHING ||
			pool->slots[i].state == SLOT_REPLACING)
			return true;
	}
	return false;
}

/*
 * Ends the template if it has not become ready in time, or if no child has been
 * wanted for a while.  Returns how long to wait at most, in milliseconds, until
 * this must be called again; -1 if there is no need to.
 */
static long
update_template(TimestampTz now)
{
	TimestampTz due;

	if (template.state == TEMPLATE_NONE)
		return -1;
	if (template.state == TEMPLATE_STARTING)
		due = template_deadline;
	else
	{
		for (int i = 0; i < pool->num_slots; i++)
		{
			if (children[i].state != WORKER_CHILD_NONE)
				return -1;
		}
		if (walredo_idle_timeout == 0)
			return -1;
		due = TimestampTzPlusMilliseconds(template_idle_since,
										  walredo_idle_timeout);
	}

	if (due > now)
		return TimestampDifferenceMilliseconds(now, due) + 1;
	if (template.state == TEMPLATE_STARTING)
		append_to_tail(&template_output, late_reason, strlen(late_reason));
	template_gone();
	return -1;
}

/*
 * Gives a slot that is EMPTY, or IDLE with a child that serves another role, to
 * the backend that has waited longest, if backends have waited for long enough.
 *
 * Backends wait for a child of their role that is at work, rather than have
 * another one started, because that mostly takes longer: see take_slot().  But
 * if there is always one that waits, be it for one long request or for many
 * short ones, another child is started after WALREDO_LAUNCH_PATIENCE_MS,
 * counted from the last launch at the earliest.  Returns when that time will be
 * over; 0 if the slot was given to the backend, or if a child that is being
 * started comes first.
 */
static TimestampTz
offer_slot(int slotno, TimestampTz now)
{
	TimestampTz due;

	Assert(LWLockHeldByMe(&pool->lock));

	if (is_launching())
		return 0;
	due = TimestampTzPlusMilliseconds(pool->crowded_since,
									  WALREDO_LAUNCH_PATIENCE_MS);
	if (due > now)
		return due;
	walredo_pool_pass_on_slot(pool, slotno);
	return 0;
}

/*
 * Looks at a slot that is IDLE, and dooms its child if it is not wanted any
 * more.  Returns when it will not be; 0 if that is never.
 */
static TimestampTz
check_idle_slot(int slotno, TimestampTz now)
{
	WalredoSlot *slot = &pool->slots[slotno];
	TimestampTz due = 0;

	Assert(LWLockHeldByMe(&pool->lock));
	Assert(slot->state == SLOT_IDLE);

	if (walredo_idle_timeout > 0)
		due = TimestampTzPlusMilliseconds(slot->idle_since,
										  walredo_idle_timeout);
	if (slotno >= WalredoPoolUsableSlots(pool))
	{
		slot->state = SLOT_DOOMED;
		slot->kill_cause = STAT_KILLS_SIZE;
	}
	else if (due != 0 && due <= now)
	{
		slot->state = SLOT_DOOMED;
		slot->kill_cause = STAT_KILLS_IDLE;
	}
	else
		return due;
	return 0;
}

/*
 * Starts the child of a slot that is LAUNCHING, or ends it if it has not become
 * ready in time.  Returns when it must be ready; now if it has failed.
 */
static TimestampTz
update_launch(int slotno, TimestampTz now)
{
	WorkerChild *child = &children[slotno];

	if (child->process.pid != 0 || launch(slotno))
	{
		if (child->launch_deadline > now)
			return child->launch_deadline;
		append_to_tail(&child->output, late_reason, strlen(late_reason));
	}

	/* As for a child that is DOOMED, the template may be idle from now on. */
	child_gone(slotno);
	return now;
}

/*
 * Does what the state of a slot asks for.  Returns when the slot is to be
 * looked at again, even if nobody wakes the worker; 0 if there is no need to.
 */
static TimestampTz
update_slot(int slotno, TimestampTz now)
{
	WalredoSlot *slot = &pool->slots[slotno];
	WalredoSlotState state;
	TimestampTz due = 0;

	/* First, do what only changes the state of the slot. */
	LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
	if ((slot->state == SLOT_EMPTY || slot->state == SLOT_IDLE) &&
		pool->num_waiters > 0 && slotno < WalredoPoolUsableSlots(pool))
		due = offer_slot(slotno, now);
	else if (slot->state == SLOT_IDLE)
		due = check_idle_slot(slotno, now);
	else if (slot->state == SLOT_BUSY && walredo_idle_timeout > 0)
	{
		/*
		 * Backends do not wake the worker when a slot becomes IDLE, as that
		 * would cost every request a context switch.  So look at the slot
		 * again at the earliest time at which the child may be idle for too
		 * long.
		 */
		due = TimestampTzPlusMilliseconds(now, walredo_idle_timeout);
	}
	state = slot->state;
	LWLockRelease(&pool->lock);

	/* Then, without the lock, do what takes system calls. */
	switch (state)
	{
		case SLOT_REPLACING:

			/*
			 * The owner may have given up by the time that the old child is
			 * reaped, so look again before another one is started.
			 */
			child_gone(slotno);
			return now;
		case SLOT_LAUNCHING:
			return update_launch(slotno, now);
		case SLOT_DOOMED:

			/*
			 * If this was the last child, the template is idle from now on,
			 * which update_template() has not seen yet: do not wait before it
			 * is called again.
			 */
			child_gone(slotno);
			return now;
		case SLOT_EMPTY:
		case SLOT_BUSY:
		case SLOT_IDLE:
		case SLOT_DEAD:
			break;
	}
	return due;
}

/*
 * Returns when backends will have waited for each other's child for too long,
 * if that is not over; else 0.  Nobody need be waiting now: those who begin to
 * wait before do not wake the worker.  See begin_waiting().
 */
static TimestampTz
crowded_due(TimestampTz now)
{
	TimestampTz due = 0;

	LWLockAcquire(&pool->lock, LW_SHARED);
	if (pool->crowded_since != 0)
		due = TimestampTzPlusMilliseconds(pool->crowded_since,
										  WALREDO_LAUNCH_PATIENCE_MS);
	LWLockRelease(&pool->lock);
	return due > now ? due : 0;
}

/*
 * Does what the states of the slots, and of the template, ask for.  Returns how
 * long to wait at most, in milliseconds, until something is due; -1 if nothing
 * is.
 */
static long
update_slots(void)
{
	TimestampTz now = GetCurrentTimestamp();
	long		timeout = update_template(now);

	/* The last one is for crowded_due(). */
	for (int i = 0; i <= pool->num_slots; i++)
	{
		TimestampTz due = i < pool->num_slots ? update_slot(i, now) :
			crowded_due(now);
		long		wait;

		if (due == 0)
			continue;
		wait = due <= now ? 0 : TimestampDifferenceMilliseconds(now, due) + 1;
		if (timeout < 0 || wait < timeout)
			timeout = wait;
	}
	return timeout;
}

/* ----------------------------------------------------------------
 *		Handing out pipes
 * ----------------------------------------------------------------
 */

/*
 * Listens on a socket with a name in the abstract namespace, which vanishes
 * with the process, and lets backends find it.  Every process on the machine
 * can connect to it, so accept_caller() asks the kernel who the caller is.
 */
static void
start_listening(void)
{
	struct sockaddr_un addr;
	uint64		nonce;
	char		name[sizeof(pool->socket_name)];

	if (!pg_strong_random(&nonce, sizeof(nonce)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate a random number")));
	snprintf(name, sizeof(name), "walredo.%d." UINT64_FORMAT, MyProcPid,
			 nonce);

	listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC,
					   0);
	if (listen_fd < 0)
		ereport(ERROR,
				(errcode_for_socket_access(),
				 errmsg("could not create socket: %m")));

	memset(&addr, 0, sizeof(addr));
	addr.sun_family = AF_UNIX;
	memcpy(addr.sun_path + 1, name, strlen(name));
	if (bind(listen_fd, (struct sockaddr *) &addr,
			 offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name)) != 0)
		ereport(ERROR,
				(errcode_for_socket_access(),
				 errmsg("could not bind socket: %m")));
	if (listen(listen_fd, WALREDO_MAX_CHILDREN) != 0)
		ereport(ERROR,
				(errcode_for_socket_access(),
				 errmsg("could not listen on socket: %m")));

	LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
	strlcpy(pool->socket_name, name, sizeof(pool->socket_name));
	pool->worker_pid = MyProcPid;
	pool->worker_latch = MyLatch;
	LWLockRelease(&pool->lock);
}

/*
 * Serves one caller.  A backend that owns a slot with a child whose pipes it
 * wants is sent our ends of the child's standard input and output; any other
 * caller is sent nothing.
 */
static void
accept_caller(void)
{
	struct ucred peer;
	socklen_t	size = sizeof(peer);
	int			fd;

	fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0)
		return;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
		peer.uid == geteuid())
	{
		int			slotno = -1;

		LWLockAcquire(&pool->lock, LW_SHARED);
		for (int i = 0; i < pool->num_slots; i++)
		{
			WalredoSlot *slot = &pool->slots[i];

			if (slot->state == SLOT_BUSY && slot->owner_pid == peer.pid &&
				slot->wants_pipes &&
				slot->child_number == children[i].number)
				slotno = i;
		}
		LWLockRelease(&pool->lock);
		if (slotno >= 0)
		{
			WorkerChild *child = &children[slotno];
			const int	fds[] = {child->process.in_fd, child->process.out_fd};

			/*
			 * If this fails, the caller finds that we have closed the
			 * connection, and reports that.
			 */
			(void) walredo_send_fds(fd, &child->number, sizeof(child->number),
									fds, lengthof(fds), MSG_DONTWAIT);
		}
	}
	close(fd);
}

/* ----------------------------------------------------------------
 *		The worker
 * ----------------------------------------------------------------
 */

/* What the worker waits for. */
typedef enum EventKind
{
	EVENT_LATCH,
	EVENT_CALLER,				/* a backend wants a child's pipes */
	EVENT_CHILD_OUTPUT,			/* standard error of a slot's child */
	EVENT_CHILD_ANSWER,			/* a slot's child answers its first ping */
	EVENT_TEMPLATE_REPLY,		/* the template becomes ready, or is gone */
	EVENT_TEMPLATE_OUTPUT		/* standard error of the template */
} EventKind;

/* The user data of an event has its kind and, if it is about one, the slot. */
#define EVENT_DATA(kind, slotno) \
	((void *) (intptr_t) ((slotno) * 8 + (kind)))
#define EVENT_KIND(event)	((EventKind) ((intptr_t) (event)->user_data % 8))
#define EVENT_SLOT(event)	((int) ((intptr_t) (event)->user_data / 8))

#define MAX_EVENTS			(5 + 2 * WALREDO_MAX_CHILDREN)

/* Makes wait_set: the latch, the socket, and the pipes of all processes. */
static void
make_wait_set(void)
{
	wait_set = walredo_create_wait_event_set(MAX_EVENTS);
	AddWaitEventToSet(wait_set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch,
					  EVENT_DATA(EVENT_LATCH, 0));
	AddWaitEventToSet(wait_set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL,
					  EVENT_DATA(EVENT_LATCH, 0));
	AddWaitEventToSet(wait_set, WL_SOCKET_READABLE, listen_fd, NULL,
					  EVENT_DATA(EVENT_CALLER, 0));
	if (template.state != TEMPLATE_NONE)
	{
		AddWaitEventToSet(wait_set, WL_SOCKET_READABLE, template.order_fd,
						  NULL, EVENT_DATA(EVENT_TEMPLATE_REPLY, 0));
		AddWaitEventToSet(wait_set, WL_SOCKET_READABLE, template.err_fd,
						  NULL, EVENT_DATA(EVENT_TEMPLATE_OUTPUT, 0));
	}
	for (int i = 0; i < pool->num_slots; i++)
	{
		WorkerChild *child = &children[i];

		if (child->state == WORKER_CHILD_NONE ||
			child->state == WORKER_CHILD_ASKED_FOR)
			continue;
		AddWaitEventToSet(wait_set, WL_SOCKET_READABLE, child->process.err_fd,
						  NULL, EVENT_DATA(EVENT_CHILD_OUTPUT, i));
		if (child->state == WORKER_CHILD_STARTING)
			AddWaitEventToSet(wait_set, WL_SOCKET_READABLE,
							  child->process.out_fd, NULL,
							  EVENT_DATA(EVENT_CHILD_ANSWER, i));
	}
}

/*
 * Cleans up when the worker exits, be it in good order or after an error: ends
 * the template and all children, and tells the backends that use them or wait
 * for one.
 */
static void
worker_exit(int code, Datum arg)
{
	worker_is_ending = true;
	LWLockReleaseAll();

	LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
	pool->worker_pid = 0;
	pool->worker_latch = NULL;
	pool->socket_name[0] = '\0';
	LWLockRelease(&pool->lock);

	if (template.state != TEMPLATE_NONE)
		template_gone();
	for (int i = 0; i < pool->num_slots; i++)
	{
		if (pool->slots[i].state != SLOT_EMPTY &&
			pool->slots[i].state != SLOT_DEAD)
		{
			static const char reason[] = "(killed, since its worker ended)";

			append_to_tail(&children[i].output, reason, strlen(reason));
			child_gone(i);
		}
	}

	if (pool->is_private)
	{
		walredo_directory_lock();
		walredo_directory_forget(DatumGetUInt32(arg));
		walredo_directory_unlock();

		LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
		pool->worker_ended = true;
		walredo_pool_wake_backends(pool);
		LWLockRelease(&pool->lock);
	}
}

/* True if the pool is private, and its session does not need it any more. */
static bool
end_requested(void)
{
	bool		result;

	if (!pool->is_private)
		return false;
	LWLockAcquire(&pool->lock, LW_SHARED);
	result = pool->end_requested;
	LWLockRelease(&pool->lock);
	return result;
}

/* Handler of SIGQUIT, see quit_at_once(). */
static void
handle_quit(SIGNAL_ARGS)
{
	int			save_errno = errno;

	quit_requested = true;
	SetLatch(MyLatch);
	errno = save_errno;
}

/* Handler of SIGCHLD: has reap_unknown_children() called. */
static void
handle_child_exit(SIGNAL_ARGS)
{
	int			save_errno = errno;

	SetLatch(MyLatch);
	errno = save_errno;
}

/*
 * Exits after SIGQUIT: the server is stopped immediately, or another process
 * has crashed.  Shared memory may be broken, so only our own processes are
 * ended.
 */
static void
quit_at_once(void)
{
	bool		was_killed;

	if (template.state != TEMPLATE_NONE)
		(void) walredo_template_kill(&template, &was_killed);
	for (int i = 0; i < WALREDO_MAX_CHILDREN; i++)
	{
		if (children[i].process.pid != 0)
			(void) walredo_child_kill(&children[i].process, &was_killed);
	}
	_exit(2);
}

void
walredo_pool_fill_worker(BackgroundWorker *worker, pid_t session_pid)
{
	memset(worker, 0, sizeof(*worker));

	/*
	 * The worker connects to no database, but without the flag for a
	 * connection pg_stat_activity would not show it.
	 */
	worker->bgw_flags =
		BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_ConsistentState;
	worker->bgw_restart_time =
		session_pid != 0 ? BGW_NEVER_RESTART : WORKER_RESTART_SECONDS;
	strlcpy(worker->bgw_library_name, "walredo",
			sizeof(worker->bgw_library_name));
	strlcpy(worker->bgw_function_name, "walredo_worker_main",
			sizeof(worker->bgw_function_name));
	if (session_pid != 0)
		snprintf(worker->bgw_name, sizeof(worker->bgw_name),
				 "walredo worker for PID %d", (int) session_pid);
	else
		strlcpy(worker->bgw_name, "walredo worker", sizeof(worker->bgw_name));
	strlcpy(worker->bgw_type, "walredo worker", sizeof(worker->bgw_type));
}

void
walredo_pool_init_shared(void)
{
	BackgroundWorker worker;

	walredo_pool_request_shmem();
	walredo_pool_fill_worker(&worker, 0);
	RegisterBackgroundWorker(&worker);
}

/*
 * Makes the pool known to this process: the one in a session's dynamic segment,
 * or if handle is 0, the one in the server's shared memory.
 */
static void
attach_pool(dsm_handle handle)
{
	walredo_pool_register_tranche();
	if (handle != 0)
	{
		dsm_segment *segment = dsm_attach(handle);

		/* The session may have ended before this process was started. */
		if (segment == NULL)
			proc_exit(0);
		dsm_pin_mapping(segment);
		pool = dsm_segment_address(segment);
	}
	else
		pool = walredo_pool_in_shmem();

	LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
	pool->worker_started = true;
	LWLockRelease(&pool->lock);
	walredo_stats_attach(&pool->stats);
}

/*
 * Handles one event.  A process may have ended while an earlier event of the
 * same wait was handled, so its state has to be looked at.
 */
static void
handle_event(const WaitEvent *event)
{
	int			slotno = EVENT_SLOT(event);
	WorkerChild *child = &children[slotno];
	bool		child_is_sound = true;
	bool		template_is_sound = true;

	switch (EVENT_KIND(event))
	{
		case EVENT_LATCH:
			ResetLatch(MyLatch);
			break;
		case EVENT_CALLER:
			accept_caller();
			break;
		case EVENT_CHILD_OUTPUT:
			if (child->process.pid != 0)
				child_is_sound = read_output(&child->output);
			break;
		case EVENT_CHILD_ANSWER:
			if (child->state == WORKER_CHILD_STARTING)
				child_is_sound = read_first_answer(slotno);
			break;
		case EVENT_TEMPLATE_REPLY:
			if (template.state != TEMPLATE_NONE)
				template_is_sound = walredo_template_read_reply(&template);
			if (template.state == TEMPLATE_READY)
				template_idle_since = GetCurrentTimestamp();
			break;
		case EVENT_TEMPLATE_OUTPUT:
			if (template.state != TEMPLATE_NONE)
				template_is_sound = read_output(&template_output);
			break;
	}

	if (!child_is_sound)
		child_gone(slotno);
	if (!template_is_sound)
		template_gone();
}

/*
 * Does what has to be done before the worker can wait: exits if it was told to,
 * and takes part in what all processes of a server must.  turn_context is reset
 * and made the current memory context.
 */
static void
process_interrupts(MemoryContext turn_context)
{
	if (quit_requested)
		quit_at_once();
	if (walredo_worker_must_end || end_requested())
		proc_exit(pool->is_private ? 0 : walredo_worker_exit_code());

	/*
	 * Other processes may wait until every process has absorbed a barrier;
	 * for one, DROP DATABASE waits until all have closed the database's
	 * files.
	 */
	CHECK_FOR_INTERRUPTS();

	/*
	 * The worker uses no catalogs.  But every process that is connected, even
	 * to no database, is sent invalidation messages, and these cannot be
	 * removed from their queue until all such processes have read them.
	 */
	ProcessCatchupInterrupt();

	/*
	 * The function above may have started and ended a transaction, which
	 * changes the current memory context.
	 */
	MemoryContextSwitchTo(turn_context);
	MemoryContextReset(turn_context);

	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

/*
 * main_arg is the handle of the segment that holds a session's private pool,
 * or 0 for the pool in the server's shared memory.
 */
void
walredo_worker_main(Datum main_arg)
{
	MemoryContext turn_context;
	uint32		wait_event_info;

	walredo_worker_set_signal_handlers();
	pqsignal(SIGQUIT, handle_quit);
	pqsignal(SIGCHLD, handle_child_exit);
	BackgroundWorkerUnblockSignals();

	attach_pool(DatumGetUInt32(main_arg));
	before_shmem_exit(worker_exit, main_arg);
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	start_listening();

	turn_context = AllocSetContextCreate(TopMemoryContext, "walredo worker",
										 ALLOCSET_DEFAULT_SIZES);
	wait_event_info = walredo_wait_event("WalredoWorkerMain",
										 PG_WAIT_EXTENSION);

	for (;;)
	{
		WaitEvent	events[8];
		long		timeout;
		int			nevents;

		process_interrupts(turn_context);
		reap_unknown_children();
		timeout = update_slots();

		if (wait_set == NULL)
			make_wait_set();
		nevents = WaitEventSetWait(wait_set, timeout, events,
								   lengthof(events), wait_event_info);
		for (int i = 0; i < nevents; i++)
			handle_event(&events[i]);
	}
}

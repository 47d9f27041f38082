/*-------------------------------------------------------------------------
 *
 * look.c
 *	  Looking for an answer before sleeping.
 *
 * A child answers a short request within a few microseconds.  If it runs on
 * another core than the backend, it takes far longer to wake up the two
 * processes, which sleep while they wait for each other: some 20 microseconds
 * each on a virtual machine, whose idle cores the hypervisor has to start.  So
 * the one that waits looks for a while before it sleeps.  On one core, that
 * would only keep the other one from its work, and so would it if other
 * processes need the cores.
 *
 * What a backend does is decided here, and so is what a child does, since the
 * child cannot know when the next request will come, and its sandbox has no
 * means to find out more.  It is told to look for one short time, after the
 * answer to the request that is about to be sent, and otherwise sleeps at once.
 * Nothing depends on what the child says or does.
 *
 * - With a single core to run on, nobody looks.
 * - The backend looks as long as that pays.  It pays if the answer comes within
 *	 the time for which we look at most, counted from the beginning of the
 *	 request, so that time in which another process had our core counts.  When
 *	 it does not pay, the next requests do without, 1, 3, 7 and so on up to
 *	 MAX_SKIP of them, and then it is tried again.  The number is halved each
 *	 time it pays.
 * - The child is told to look if the backend looks, and if the last request
 *	 followed the answer to the one before so soon that the child would have
 *	 found it.  So a child is never told to look by a backend that makes a
 *	 request now and then.
 *
 * The system does not say on which core the other process is, or whether
 * another process needs one.  If both are on the same core, or one of them has
 * to wait for a core, it does not pay to look, which is all that has to be
 * known.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/pool/look.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sched.h>

#include "miscadmin.h"
#include "pool/look.h"
#include "port/atomics.h"
#include "portability/instr_time.h"
#include "proto/proto.h"

/*
 * For how long to look for an answer, in microseconds.  A child that has to
 * wake up first, and answers a short request, takes less, and so does one that
 * is awake and replays some 200 records.
 */
#define LOOK_US				60

/*
 * If the time between an answer and the next request, in microseconds, is no
 * more than this, the child should look for the latter.
 */
#define SHORT_GAP_US		50

/* The most requests that do without looking before it is tried again. */
#define MAX_SKIP			255

/* How many requests look before it is checked on how many cores we may run. */
#define CHECK_CORES_EVERY	256

typedef struct LookState
{
	int			skip;			/* requests that do without from now on */
	int			next_skip;		/* what skip will be if it does not pay */
	int			until_check;	/* looks until the cores are checked */

	instr_time	answered;		/* when we got the last answer, or 0 */

	/* The request that has begun. */
	bool		looks;
	instr_time	begin;
} LookState;

static LookState look;

/* Microseconds since then. */
static double
elapsed_us(instr_time then)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, then);
	return INSTR_TIME_GET_DOUBLE(now) * 1e6;
}

/*
 * True if this process may run on several cores.  If that cannot be found out,
 * because the system has so many that they do not fit into a cpu_set_t, there
 * are several.
 */
static bool
has_several_cores(void)
{
	cpu_set_t	cores;

	return sched_getaffinity(0, sizeof(cores), &cores) != 0 ||
		CPU_COUNT(&cores) > 1;
}

/* Decides whether to look for the answer to the next request. */
static bool
want_to_look(void)
{
	if (look.skip > 0)
	{
		look.skip--;
		return false;
	}
	if (look.next_skip > 0 || --look.until_check <= 0)
	{
		look.until_check = CHECK_CORES_EVERY;
		if (!has_several_cores())
		{
			look.skip = look.next_skip = MAX_SKIP;
			return false;
		}
	}
	return true;
}

void
walredo_look_begin(WalredoPipe *pipe)
{
	look.looks = want_to_look();
	if (!look.looks)
		return;

	INSTR_TIME_SET_CURRENT(look.begin);
	if (!INSTR_TIME_IS_ZERO(look.answered) &&
		elapsed_us(look.answered) <= SHORT_GAP_US)
	{
		char	   *head =
			walredo_pipe_reserve(pipe, WALREDO_WIRE_HEADER_SIZE);

		(void) walredo_put_header(head, WALREDO_MSG_LOOK, 0);
	}
}

bool
walredo_look_for_answer(WalredoPipe *pipe, char *answer)
{
	bool		is_answered;
	bool		in_time;

	if (!look.looks)
		return walredo_pipe_read(pipe, answer, 1) > 0;

	for (;;)
	{
		is_answered = walredo_pipe_read(pipe, answer, 1) > 0;
		in_time = elapsed_us(look.begin) <= LOOK_US;
		if (is_answered || !in_time || InterruptPending ||
			pipe->failure != FAILURE_NONE)
			break;
		pg_spin_delay();
	}

	if (is_answered && in_time)
		look.next_skip /= 2;
	else
	{
		look.next_skip = Min(2 * look.next_skip + 1, MAX_SKIP);
		look.skip = look.next_skip;
	}
	return is_answered;
}

void
walredo_look_end(void)
{
	INSTR_TIME_SET_CURRENT(look.answered);
}

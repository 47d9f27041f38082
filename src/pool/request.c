/*-------------------------------------------------------------------------
 *
 * request.c
 *	  Exchanges with a child, and requests that are made one at a time.
 *
 * All that the backend trusts a child to do is to answer with BLCKSZ bytes.  If
 * it answers with more or less, or too late, or if the backend stops reading in
 * the middle of a request for whatever reason, the child is killed, its pipes
 * are never read again, and the slot gets another child.
 *
 * An exchange (see pipe.h) is begun and ended here, whether it consists of one
 * request or, in stream.c, of many.
 *
 * A single request that failed is tried again, up to walredo.max_retries
 * times, if the reason may have been an accident that had nothing to do with
 * it.  Otherwise, its failure is reported, with all that is known about how
 * the child ended.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/pool/request.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>
#include <sys/wait.h>

#include "lib/stringinfo.h"
#include "pool/look.h"
#include "pool/request.h"
#include "pool/saved_request.h"
#include "pool/slots.h"
#include "portability/instr_time.h"
#include "stats/stats.h"

/* ----------------------------------------------------------------
 *		Failures
 * ----------------------------------------------------------------
 */

/*
 * True if the request may not have been the reason why its child ended.  The
 * child may have been killed by another process than the worker, or because
 * the worker itself was ending.  If it had answered other requests before,
 * these may be the reason, since redo of a broken record may have written
 * anywhere in the child's memory.
 */
static bool
is_accident(WalredoFailure failure, const WalredoChildEnd *end)
{
	if (failure != FAILURE_GONE && failure != FAILURE_LAUNCH)
		return false;
	if (end->with_worker)
		return true;
	if (end->kind != CHILD_EXITED)
		return false;
	return end->requests > 0 ||
		(WIFSIGNALED(end->exit_status) &&
		 (WTERMSIG(end->exit_status) == SIGKILL ||
		  WTERMSIG(end->exit_status) == SIGTERM));
}

/* How the child ended, and the tail of its standard error, for a DETAIL. */
static char *
describe_end(const WalredoChildEnd *end)
{
	StringInfoData buf;

	initStringInfo(&buf);
	switch (end->kind)
	{
		case CHILD_NOT_STARTED:
			appendStringInfoString(&buf, "The child did not start.");
			break;
		case CHILD_KILLED:
			appendStringInfoString(&buf, "The child was killed.");
			break;
		case CHILD_EXITED:
			if (WIFSIGNALED(end->exit_status))
				appendStringInfo(&buf,
								 "The child was terminated by signal %d: %s.",
								 WTERMSIG(end->exit_status),
								 pg_strsignal(WTERMSIG(end->exit_status)));
			else
				appendStringInfo(&buf,
								 "The child exited with exit code %d.",
								 WEXITSTATUS(end->exit_status));
			break;
	}

	if (end->stderr_tail[0] != '\0')
	{
		appendStringInfo(&buf, " Its standard error ended with: %s",
						 end->stderr_tail);
		while (buf.len > 0 && buf.data[buf.len - 1] == '\n')
			buf.data[--buf.len] = '\0';
	}
	return buf.data;
}

/* Raises the ERROR for a request that failed; failure is not FAILURE_NONE. */
static void
report_failure(const WalredoRequest *request, WalredoFailure failure,
			   const WalredoChildEnd *end)
{
	const char *message = NULL;

	switch (failure)
	{
		case FAILURE_NONE:
			break;
		case FAILURE_LAUNCH:
			message = "could not start a wal-redo child";
			break;
		case FAILURE_GONE:
			message = "wal-redo child failed";
			break;
		case FAILURE_PROTOCOL:
			message = "wal-redo child gave an invalid answer";
			break;
		case FAILURE_TIMEOUT:
			message = "wal-redo child did not answer in time";
			break;
	}
	ereport(ERROR,
			(errcode(ERRCODE_IO_ERROR),
			 errmsg_internal("%s", _(message)),
			 errdetail("%s %s", request->describe(request->arg),
					   describe_end(end)),
			 failure == FAILURE_TIMEOUT ?
			 errhint("The limit is set by walredo.timeout.") : 0));
}

/* Which errors a failure counts as. */
static const WalredoCounter failure_counters[] = {
	[FAILURE_LAUNCH] = STAT_ERRORS_LAUNCH,
	[FAILURE_GONE] = STAT_ERRORS_CHILD,
	[FAILURE_PROTOCOL] = STAT_ERRORS_PROTOCOL,
	[FAILURE_TIMEOUT] = STAT_ERRORS_TIMEOUT
};

/*
 * Counts requests that were answered.  wait_time is how long the exchange
 * waited for a child, redo_time how long all of the requests took, and bytes
 * what was written for all of them.  Each is counted with an equal part of the
 * latter two.
 */
static void
count_answers(const WalredoRequest *requests, int nrequests, uint64 bytes,
			  instr_time wait_time, instr_time redo_time)
{
	uint64		redo_us = INSTR_TIME_GET_MICROSEC(redo_time);

	if (nrequests == 0)
		return;
	walredo_count(STAT_PAGES, nrequests);
	walredo_count(STAT_BYTES, bytes);
	walredo_count_value(STAT_WAIT_TIME, INSTR_TIME_GET_MICROSEC(wait_time));
	for (int i = 0; i < nrequests; i++)
	{
		if (requests[i].num_records == 0)
			continue;
		walredo_count(STAT_REQUESTS, 1);
		walredo_count(STAT_RECORDS, requests[i].num_records);
		walredo_count_value(STAT_REDO_TIME, redo_us / nrequests);
		walredo_count_value(STAT_REQUEST_RECORDS, requests[i].num_records);
		walredo_count_value(STAT_REQUEST_BYTES, bytes / nrequests);
	}
}

/* ----------------------------------------------------------------
 *		Exchanges
 * ----------------------------------------------------------------
 */

/* Connects a pipe to the child in its slot. */
static void
connect_pipe(WalredoPipe *pipe)
{
	walredo_pipe_set_deadline(pipe);
	pipe->failure = walredo_slot_connect(pipe);

	/* Bytes that are left over from before would be taken for an answer. */
	if (pipe->failure == FAILURE_NONE)
		(void) walredo_pipe_has_excess(pipe);
}

WalredoPipe *
walredo_exchange_begin(void)
{
	WalredoPipe *pipe = walredo_slot_pipe(0);

	walredo_slot_prepare();
	walredo_pipe_reset(pipe);
	INSTR_TIME_SET_CURRENT(pipe->begin);
	pipe->failure = walredo_slot_acquire(pipe);
	INSTR_TIME_SET_CURRENT(pipe->acquired);
	if (pipe->failure == FAILURE_NONE)
		connect_pipe(pipe);
	return pipe;
}

WalredoPipe *
walredo_exchange_try(int number)
{
	WalredoPipe *pipe = walredo_slot_pipe(number);

	walredo_pipe_reset(pipe);
	if (!walredo_slot_try(pipe))
		return NULL;
	INSTR_TIME_SET_CURRENT(pipe->begin);
	pipe->acquired = pipe->begin;
	connect_pipe(pipe);
	return pipe;
}

void
walredo_exchange_end(WalredoPipe *pipe, const WalredoRequest *requests,
					 WalredoChildEnd *end)
{
	instr_time	wait_time = pipe->acquired;
	instr_time	redo_time;
	int			answered = pipe->in_flight.answered;
	int			num_records = 0;

	for (int i = 0; i < answered; i++)
		num_records += requests[i].num_records;
	if (pipe->failure != FAILURE_NONE)
		walredo_slot_await_end(pipe, end);
	else if (requests[0].is_saved)
	{
		/* The file may end with a part of a message, which is in the pipe. */
		walredo_slot_abandon(pipe);
	}
	else
		walredo_slot_release(pipe, answered, num_records);

	INSTR_TIME_SET_CURRENT(redo_time);
	INSTR_TIME_SUBTRACT(redo_time, pipe->acquired);
	INSTR_TIME_SUBTRACT(wait_time, pipe->begin);
	count_answers(requests, answered, pipe->bytes, wait_time, redo_time);
}

/* ----------------------------------------------------------------
 *		One request
 * ----------------------------------------------------------------
 */

/*
 * Has a child answer a request, and puts the answer into page.  If that fails,
 * returns why, sets *end to how the child ended, and leaves page as it was:
 * page may also be what the request sends, and then it is needed for another
 * try.
 */
static WalredoFailure
make_request(const WalredoRequest *request, char *page, WalredoChildEnd *end)
{
	WalredoPipe *pipe = walredo_exchange_begin();
	PGAlignedBlock answer;

	if (pipe->failure == FAILURE_NONE)
	{
		/*
		 * The request does not count as in flight before it is written, so
		 * that anything that the child writes until then is a failure.
		 */
		walredo_look_begin(pipe);
		request->send(pipe, request->arg);
		walredo_pipe_flush(pipe);
		pipe->in_flight.sent++;
		if (!walredo_look_for_answer(pipe, answer.data))
		{
			while (pipe->failure == FAILURE_NONE)
			{
				walredo_pipe_wait_for_answer(pipe);
				if (walredo_pipe_read(pipe, answer.data, 1) > 0)
					break;
			}
		}
		walredo_look_end();
	}
	if (pipe->failure == FAILURE_NONE)
		memcpy(page, answer.data, BLCKSZ);
	else
		pipe->in_flight.answered = 0;
	walredo_exchange_end(pipe, request, end);
	return pipe->failure;
}

void
walredo_check_enabled(void)
{
	if (!walredo_enabled)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot perform WAL redo now"),
				 errdetail("The setting walredo.enabled is off.")));
}

void
walredo_pool_request(const WalredoRequest *request, char *page)
{
	int			retries = 0;

	walredo_check_enabled();
	for (;;)
	{
		WalredoChildEnd end;
		WalredoFailure failure = make_request(request, page, &end);

		if (failure == FAILURE_NONE)
			return;
		if (!is_accident(failure, &end) || retries >= walredo_max_retries)
		{
			walredo_count(failure_counters[failure], 1);
			if (walredo_save_failed_requests && !request->is_saved &&
				failure != FAILURE_LAUNCH)
				walredo_save_request(request);
			report_failure(request, failure, &end);
		}
		walredo_count(STAT_RETRIES, 1);
		retries++;
	}
}

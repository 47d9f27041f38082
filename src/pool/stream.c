/*-------------------------------------------------------------------------
 *
 * stream.c
 *	  Many requests to a child, made ahead of their answers.
 *
 * A child that gets one request at a time waits for the backend after each, and
 * the backend for the child.  In a stream, the next requests are in the pipe
 * already, and the backend does something else meanwhile.
 *
 * Only the end of an exchange shows that the child has not written a byte too
 * many, which would have moved all answers that came after it.  So answers are
 * kept until the exchange has ended well, and if it does not, none of them is
 * used.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/pool/stream.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pool/request.h"
#include "pool/slots.h"

/* Requests that are made without letting others have the child in between. */
#define MAX_REQUESTS_AT_ONCE	256

/* Whether a stream has a child, and what it does with it. */
typedef enum StreamState
{
	/*
	 * It has none.  walredo_stream_begin() makes it so, and step(), when all
	 * requests are answered, or the child has failed.
	 */
	STREAM_CLOSED,

	/*
	 * There is more to be written to the child.  step() makes it so when the
	 * exchange begins, and walredo_stream_add().
	 */
	STREAM_SENDING,

	/*
	 * All has been written, and there are answers to be read.  step() makes
	 * it so.
	 */
	STREAM_RECEIVING
} StreamState;

/*
 * While a stream has a child, the pipe's in_flight says how many of the
 * requests have been sent, and how many answered; each counts from the first.
 */
struct WalredoStream
{
	StreamState state;
	WalredoTakeAnswer take;
	WalredoPipe *pipe;			/* unless STREAM_CLOSED */
	int			num_requests;
	WalredoRequest requests[MAX_REQUESTS_AT_ONCE];
	char	   *answers;		/* room for as many pages */
};

WalredoStream *
walredo_stream_begin(WalredoTakeAnswer take)
{
	WalredoStream *stream;

	walredo_check_enabled();
	stream = palloc0(sizeof(WalredoStream));
	stream->state = STREAM_CLOSED;
	stream->take = take;
	stream->answers = palloc(MAX_REQUESTS_AT_ONCE * (Size) BLCKSZ);
	return stream;
}

void
walredo_stream_end(WalredoStream *stream)
{
	walredo_stream_finish(stream);
	pfree(stream->answers);
	pfree(stream);
}

/* Sends the next requests, as many as there is room for. */
static void
send_requests(WalredoStream *stream)
{
	WalredoPipe *pipe = stream->pipe;
	WalredoInFlight *in_flight = &pipe->in_flight;

	while (walredo_pipe_write(pipe) && pipe->failure == FAILURE_NONE &&
		   in_flight->sent < stream->num_requests &&
		   walredo_in_flight_count(in_flight) <
		   pipe->connection->max_in_flight)
	{
		const WalredoRequest *request = &stream->requests[in_flight->sent];

		/* It takes in one request after the other, each in time. */
		walredo_pipe_set_deadline(pipe);
		request->send(pipe, request->arg);
		in_flight->sent++;
	}
}

/* Reads the answers that have come.  True if there were any. */
static bool
receive_answers(WalredoStream *stream)
{
	WalredoPipe *pipe = stream->pipe;
	WalredoInFlight *in_flight = &pipe->in_flight;
	int			before = in_flight->answered;

	/*
	 * If a part of the last request has not been written yet, there can be no
	 * answer to that, so it is not looked for.  If the child writes one
	 * nevertheless, the byte that is one too many is found after the answer
	 * to the request before.
	 */
	while (walredo_in_flight_count(in_flight) >
		   (pipe->num_pieces > 0 ? 1 : 0) &&
		   walredo_pipe_read(pipe, stream->answers +
							 (Size) in_flight->answered * BLCKSZ))
		walredo_pipe_set_deadline(pipe);
	return in_flight->answered > before;
}

/*
 * Has all answers taken, or if the child has failed, gives all requests back.
 */
static void
take_answers(WalredoStream *stream, bool has_failed)
{
	for (int i = 0; i < stream->num_requests; i++)
		stream->take(stream->requests[i].arg, has_failed ? NULL :
					 stream->answers + (Size) i * BLCKSZ);
	stream->num_requests = 0;
}

/*
 * Goes on with a stream that has requests, without waiting once there is a
 * child.  Returns true if there is something to wait for then.  Otherwise, no
 * request is left.
 */
static bool
step(WalredoStream *stream)
{
	WalredoChildEnd end;
	WalredoPipe *pipe;

	Assert(stream->num_requests > 0);

	if (stream->state == STREAM_CLOSED)
	{
		stream->pipe = walredo_exchange_begin();
		stream->state = STREAM_SENDING;
	}
	pipe = stream->pipe;

	/* An answer that was read makes room for another request in flight. */
	if (pipe->failure == FAILURE_NONE)
	{
		do
			send_requests(stream);
		while (receive_answers(stream));
	}
	if (pipe->failure == FAILURE_NONE &&
		pipe->in_flight.answered < stream->num_requests)
	{
		if (pipe->in_flight.sent == stream->num_requests &&
			pipe->num_pieces == 0)
			stream->state = STREAM_RECEIVING;
		return true;
	}

	stream->state = STREAM_CLOSED;
	walredo_exchange_end(pipe, stream->requests, &end);
	take_answers(stream, pipe->failure != FAILURE_NONE);
	return false;
}

bool
walredo_stream_advance(WalredoStream *stream)
{
	return stream->num_requests == 0 || !step(stream) ||
		stream->state == STREAM_RECEIVING;
}

void
walredo_stream_add(WalredoStream *stream, const WalredoRequest *request)
{
	if (stream->num_requests == MAX_REQUESTS_AT_ONCE)
		walredo_stream_finish(stream);
	stream->requests[stream->num_requests++] = *request;
	if (stream->state == STREAM_RECEIVING)
		stream->state = STREAM_SENDING;
	(void) walredo_stream_advance(stream);
}

void
walredo_stream_finish(WalredoStream *stream)
{
	/* Nobody has looked for answers since the last call. */
	if (stream->state != STREAM_CLOSED)
		walredo_pipe_set_deadline(stream->pipe);
	while (stream->num_requests > 0 && step(stream))
	{
		if (stream->pipe->num_pieces > 0)
			walredo_pipe_wait_for_room(stream->pipe);
		else
			walredo_pipe_wait_for_answer(stream->pipe);
	}
}

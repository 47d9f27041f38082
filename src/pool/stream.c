/*-------------------------------------------------------------------------
 *
 * stream.c
 *	  Many requests to a child, made ahead of their answers.
 *
 * With one request at a time, the child waits for the backend after each
 * answer, and the backend waits for the child after each request.  In a
 * stream, the next requests are in the pipe already, and the backend does
 * something else meanwhile.
 *
 * If the child writes a byte too many, all later answers are shifted by one
 * byte, which is noticed only after the last one.  So answers are kept until
 * the whole exchange has succeeded, and if it fails, none of them is used.
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

/*
 * The most requests of one exchange.  After as many, the child is let go, so
 * that other backends can have it, and the answers, which take memory, are
 * handed out.
 */
#define MAX_REQUESTS_AT_ONCE	256

/*
 * So many requests are written together.  Each write may wake up the child,
 * which has to be done with what it was sent before, and so takes longer than
 * to write a request.
 */
#define REQUESTS_PER_WRITE		16

/* Whether a stream is in the middle of an exchange, and at what. */
typedef enum StreamState
{
	/*
	 * There is no exchange, and so no child.  Set by walredo_stream_begin(),
	 * and by step() when all requests have been answered or the child has
	 * failed.
	 */
	STREAM_CLOSED,

	/*
	 * There is more to be written to the child.  Set by step() when it begins
	 * an exchange, and by walredo_stream_add().
	 */
	STREAM_SENDING,

	/*
	 * All requests have been written, and not all answers have been read. Set
	 * by step().
	 */
	STREAM_RECEIVING
} StreamState;

/*
 * A stream holds the requests that were added since the last exchange ended.
 * During an exchange, the pipe's in_flight says how many of them have been sent
 * and answered, counted from the first.
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

/*
 * Sends the next requests, as many as the pipe takes without waiting, and as
 * can be in flight.  They are written together, as far as the pipe's buffer and
 * list of pieces have room.  Only a request that does not fit into the half of
 * either makes this wait until the child has read a part of it.
 */
static void
send_requests(WalredoStream *stream)
{
	WalredoPipe *pipe = stream->pipe;
	WalredoInFlight *in_flight = &pipe->in_flight;

	if (!walredo_pipe_write(pipe) ||
		walredo_in_flight_count(in_flight) >
		pipe->connection->max_in_flight / 2)
		return;
	while (pipe->failure == FAILURE_NONE &&
		   in_flight->sent < stream->num_requests &&
		   walredo_in_flight_count(in_flight) <
		   pipe->connection->max_in_flight)
	{
		const WalredoRequest *request = &stream->requests[in_flight->sent];

		if ((pipe->num_pieces > WALREDO_PIPE_MAX_PIECES / 2 ||
			 pipe->used > WALREDO_PIPE_BUFFER_SIZE / 2) &&
			!walredo_pipe_write(pipe))
			return;

		/* If this has to wait, the child has the whole time for it. */
		walredo_pipe_set_deadline(pipe);
		request->send(pipe, request->arg);
		in_flight->sent++;
	}
	(void) walredo_pipe_write(pipe);
}

/* Reads the answers that are there. */
static void
receive_answers(WalredoStream *stream)
{
	WalredoPipe *pipe = stream->pipe;
	WalredoInFlight *in_flight = &pipe->in_flight;
	int			max = walredo_in_flight_count(in_flight);

	/*
	 * If a part of the last request has not been written yet, do not look for
	 * an answer to that request.  A child that has been taken over may have
	 * written one all the same, which will be read later.  That does no harm:
	 * such a child can give any answer that it likes, and what the exchange
	 * has to make sure is that there are as many answers as requests.
	 */
	if (pipe->num_pieces > 0)
		max--;
	if (max > 0 &&
		walredo_pipe_read(pipe, stream->answers +
						  (Size) in_flight->answered * BLCKSZ, max) > 0)
		walredo_pipe_set_deadline(pipe);
}

/*
 * Calls stream->take for all requests, with their answers, or with NULL if the
 * child has failed.
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
 * Goes on with a stream that has requests: begins an exchange if there is
 * none, for which it may have to wait, and then writes and reads what is
 * possible without waiting.  Returns true if the exchange goes on, so that the
 * caller can wait for room or for an answer.  Otherwise the exchange has
 * ended, and the stream has no requests any more.
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

	/* Answers that are read make room for other requests in flight. */
	if (pipe->failure == FAILURE_NONE)
	{
		receive_answers(stream);
		send_requests(stream);
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
	int			sent;

	if (stream->num_requests == MAX_REQUESTS_AT_ONCE)
		walredo_stream_finish(stream);
	stream->requests[stream->num_requests++] = *request;
	if (stream->state == STREAM_RECEIVING)
		stream->state = STREAM_SENDING;
	sent = stream->state == STREAM_CLOSED ? 0 : stream->pipe->in_flight.sent;
	if (stream->num_requests - sent >= REQUESTS_PER_WRITE)
		(void) walredo_stream_advance(stream);
}

void
walredo_stream_finish(WalredoStream *stream)
{
	/*
	 * The deadline that was set when the last request was sent may be over,
	 * since nobody has waited for the child meanwhile.
	 */
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

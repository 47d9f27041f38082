/*-------------------------------------------------------------------------
 *
 * stream.c
 *	  Many requests to some children, made ahead of their answers.
 *
 * With one request at a time, the child waits for the backend after each
 * answer, and the backend waits for the child after each request.  In a
 * stream, the next requests are in the pipe already, and the backend does
 * something else meanwhile.
 *
 * Requests wait in a queue until a child can take them.  If it cannot take all
 * of them, another child may, up to walredo.max_parallel_children.  Only the
 * first one is waited for.  Each child has an exchange of its own, in one of
 * the stream's lanes, and answers its requests in their order, but the requests
 * of several children are answered in any order.
 *
 * If a child writes a byte too many, all its later answers are shifted by one
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

#include "pool/pool.h"
#include "pool/request.h"
#include "pool/slots.h"

/* The most requests that wait in the queue. */
#define MAX_WAITING			256

/*
 * The most requests of the exchanges of all lanes, and the least that an
 * exchange can have.  When an exchange has had its part of them, the child is
 * let go, so that other backends can have it, and the answers, which take
 * memory, are handed out.
 */
#define MAX_REQUESTS_AT_ONCE	256
#define MIN_REQUESTS_AT_ONCE	32

/*
 * So many requests are written together.  Each write may wake up the child,
 * which has to be done with what it was sent before, and so takes longer than
 * to write a request.  While the caller does something else, another child is
 * used only if so many requests wait.
 */
#define REQUESTS_PER_WRITE		16

/*
 * A lane holds the requests of one exchange, all of which have been sent, and
 * their answers.  The pipe's in_flight says how many of them have been
 * answered, counted from the first.
 */
typedef struct Lane
{
	WalredoPipe *pipe;			/* NULL if there is no exchange */
	int			num_requests;
	WalredoRequest *requests;	/* room for requests_per_lane of them */
	char	   *answers;		/* room for as many pages */
} Lane;

struct WalredoStream
{
	WalredoTakeAnswer take;
	MemoryContext context;

	/*
	 * What walredo.max_parallel_children was when the stream began.  Lanes
	 * are made when they are used first.
	 */
	int			max_lanes;
	int			num_lanes;
	int			num_active;		/* lanes that have an exchange */
	int			requests_per_lane;
	Lane		lanes[WALREDO_MAX_CHILDREN];

	/* Requests that have not been sent: a queue in a circular array. */
	int			first_waiting;
	int			num_waiting;
	int			num_new;		/* since the last step() */
	WalredoRequest waiting[MAX_WAITING];
};

WalredoStream *
walredo_stream_begin(WalredoTakeAnswer take)
{
	WalredoStream *stream;

	walredo_check_enabled();
	stream = palloc0(sizeof(WalredoStream));
	stream->take = take;
	stream->context = CurrentMemoryContext;
	stream->max_lanes = walredo_max_parallel_children;
	stream->requests_per_lane = Max(MAX_REQUESTS_AT_ONCE / stream->max_lanes,
									MIN_REQUESTS_AT_ONCE);
	return stream;
}

void
walredo_stream_end(WalredoStream *stream)
{
	walredo_stream_finish(stream);
	for (int i = 0; i < stream->num_lanes; i++)
	{
		pfree(stream->lanes[i].requests);
		pfree(stream->lanes[i].answers);
	}
	pfree(stream);
}

/* Returns the number of a lane that has no exchange.  There must be one. */
static int
find_lane(WalredoStream *stream)
{
	Lane	   *lane;

	for (int i = 0; i < stream->num_lanes; i++)
	{
		if (stream->lanes[i].pipe == NULL)
			return i;
	}
	Assert(stream->num_lanes < stream->max_lanes);
	lane = &stream->lanes[stream->num_lanes];
	lane->requests = MemoryContextAlloc(stream->context,
										stream->requests_per_lane *
										sizeof(WalredoRequest));
	lane->answers = MemoryContextAlloc(stream->context,
									   stream->requests_per_lane *
									   (Size) BLCKSZ);
	return stream->num_lanes++;
}

/* Takes the first request out of the queue. */
static WalredoRequest
next_request(WalredoStream *stream)
{
	WalredoRequest request = stream->waiting[stream->first_waiting];

	Assert(stream->num_waiting > 0);
	stream->first_waiting = (stream->first_waiting + 1) % MAX_WAITING;
	stream->num_waiting--;
	return request;
}

/*
 * Sends the next requests, as many as the pipe takes without waiting, and as
 * can be in flight.  They are written together, as far as the pipe's buffer and
 * list of pieces have room.  Only a request that does not fit into the half of
 * either makes this wait until the child has read a part of it.
 */
static void
send_requests(WalredoStream *stream, Lane *lane)
{
	WalredoPipe *pipe = lane->pipe;
	WalredoInFlight *in_flight = &pipe->in_flight;

	if (!walredo_pipe_write(pipe) ||
		walredo_in_flight_count(in_flight) >
		pipe->connection->max_in_flight / 2)
		return;
	while (pipe->failure == FAILURE_NONE && stream->num_waiting > 0 &&
		   lane->num_requests < stream->requests_per_lane &&
		   walredo_in_flight_count(in_flight) <
		   pipe->connection->max_in_flight)
	{
		WalredoRequest *request;

		if ((pipe->num_pieces > WALREDO_PIPE_MAX_PIECES / 2 ||
			 pipe->used > WALREDO_PIPE_BUFFER_SIZE / 2) &&
			!walredo_pipe_write(pipe))
			return;

		/* If this has to wait, the child has the whole time for it. */
		walredo_pipe_set_deadline(pipe);
		request = &lane->requests[lane->num_requests++];
		*request = next_request(stream);
		request->send(pipe, request->arg);
		in_flight->sent++;
	}
	(void) walredo_pipe_write(pipe);
}

/* Reads the answers that are there. */
static void
receive_answers(Lane *lane)
{
	WalredoPipe *pipe = lane->pipe;
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
		walredo_pipe_read(pipe, lane->answers +
						  (Size) in_flight->answered * BLCKSZ, max) > 0)
		walredo_pipe_set_deadline(pipe);
}

/*
 * Ends the exchange of a lane, and calls stream->take for its requests, with
 * their answers, or with NULL if the child has failed.  In that case, also does
 * so for all that wait in the queue, unless the child has failed before it was
 * sent any request, and another one is there.
 */
static void
end_exchange(WalredoStream *stream, Lane *lane)
{
	bool		has_failed = (lane->pipe->failure != FAILURE_NONE);
	int			num_requests = lane->num_requests;
	WalredoChildEnd end;

	walredo_exchange_end(lane->pipe, lane->requests, &end);
	lane->pipe = NULL;
	lane->num_requests = 0;
	stream->num_active--;
	for (int i = 0; i < num_requests; i++)
		stream->take(lane->requests[i].arg, has_failed ? NULL :
					 lane->answers + (Size) i * BLCKSZ);
	if (has_failed && (num_requests > 0 || stream->num_active == 0))
	{
		while (stream->num_waiting > 0)
			stream->take(next_request(stream).arg, NULL);
	}
}

/*
 * Goes on with the exchange of a lane: writes and reads what is possible
 * without waiting, and ends it if all of its requests have been answered, or
 * if the child has failed.
 */
static void
advance_lane(WalredoStream *stream, Lane *lane)
{
	WalredoPipe *pipe = lane->pipe;

	/* Answers that are read make room for other requests in flight. */
	if (pipe->failure == FAILURE_NONE)
	{
		receive_answers(lane);
		send_requests(stream, lane);
	}
	if (pipe->failure != FAILURE_NONE ||
		pipe->in_flight.answered == lane->num_requests)
		end_exchange(stream, lane);
}

/*
 * Begins another exchange for the requests that wait.  Waits for a child if
 * there is no other exchange.  If there is one, returns false if no other child
 * should be used, because fewer requests wait than least, or if none is free.
 */
static bool
begin_exchange(WalredoStream *stream, int least)
{
	int			number;
	WalredoPipe *pipe;

	if (stream->num_active == 0)
	{
		number = find_lane(stream);
		pipe = walredo_exchange_begin();
	}
	else
	{
		if (stream->num_active == stream->max_lanes ||
			stream->num_waiting < least)
			return false;
		number = find_lane(stream);
		pipe = walredo_exchange_try(number);
		if (pipe == NULL)
			return false;
	}
	stream->lanes[number].pipe = pipe;
	stream->num_active++;
	advance_lane(stream, &stream->lanes[number]);
	return true;
}

/*
 * Goes on with all exchanges, and begins others if requests wait: the first one
 * for any, for which this may have to wait, and others if as many as least
 * wait.
 */
static void
step(WalredoStream *stream, int least)
{
	stream->num_new = 0;
	for (int i = 0; i < stream->num_lanes; i++)
	{
		if (stream->lanes[i].pipe != NULL)
			advance_lane(stream, &stream->lanes[i]);
	}
	while (stream->num_waiting > 0 && begin_exchange(stream, least))
		;
}

bool
walredo_stream_advance(WalredoStream *stream)
{
	step(stream, REQUESTS_PER_WRITE);
	if (stream->num_waiting > 0)
		return false;
	for (int i = 0; i < stream->num_lanes; i++)
	{
		if (stream->lanes[i].pipe != NULL &&
			stream->lanes[i].pipe->num_pieces > 0)
			return false;
	}
	return true;
}

void
walredo_stream_add(WalredoStream *stream, const WalredoRequest *request)
{
	if (stream->num_waiting == MAX_WAITING)
		walredo_stream_finish(stream);
	stream->waiting[(stream->first_waiting + stream->num_waiting) %
					MAX_WAITING] = *request;
	stream->num_waiting++;
	stream->num_new++;
	if (stream->num_new == REQUESTS_PER_WRITE)
		step(stream, REQUESTS_PER_WRITE);
}

/* Waits until there is something to be done for one of the exchanges. */
static void
wait_for_children(WalredoStream *stream)
{
	WalredoPipe *pipes[WALREDO_MAX_CHILDREN];
	int			npipes = 0;

	for (int i = 0; i < stream->num_lanes; i++)
	{
		if (stream->lanes[i].pipe != NULL)
			pipes[npipes++] = stream->lanes[i].pipe;
	}
	if (npipes > 1)
		walredo_pipes_wait(pipes, npipes);
	else if (npipes == 1 && pipes[0]->num_pieces > 0)
		walredo_pipe_wait_for_room(pipes[0]);
	else if (npipes == 1)
		walredo_pipe_wait_for_answer(pipes[0]);
}

void
walredo_stream_finish(WalredoStream *stream)
{
	/*
	 * A deadline that was set when a request was sent may be over, since
	 * nobody has waited for the child meanwhile.
	 */
	for (int i = 0; i < stream->num_lanes; i++)
	{
		if (stream->lanes[i].pipe != NULL)
			walredo_pipe_set_deadline(stream->lanes[i].pipe);
	}
	for (;;)
	{
		step(stream, 1);
		if (stream->num_active == 0 && stream->num_waiting == 0)
			return;
		wait_for_children(stream);
	}
}

/*-------------------------------------------------------------------------
 *
 * pipe.h
 *	  The pipes to and from a child, and what is in them: private to this room.
 *
 * Nothing here raises an error because of what a child does, or waits longer
 * than a deadline.  What went wrong is the pipe's failure, and once it has one,
 * nothing more is written or read.  Waiting can be interrupted by a cancel.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/pool/pipe.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_POOL_PIPE_H
#define WALREDO_POOL_PIPE_H

#include "postgres.h"

#include <sys/uio.h>

#include "datatype/timestamp.h"
#include "pool/client.h"
#include "pool/shared.h"
#include "portability/instr_time.h"
#include "storage/latch.h"

/*
 * A request is gathered before it is written: so many bytes, and so many
 * pieces, which are parts of these bytes, or are elsewhere.
 */
#define WALREDO_PIPE_BUFFER_SIZE	65536
#define WALREDO_PIPE_MAX_PIECES		64

/* Why requests came to nothing. */
typedef enum WalredoFailure
{
	FAILURE_NONE,
	FAILURE_LAUNCH,				/* there was no child */
	FAILURE_GONE,				/* it closed its pipes */
	FAILURE_PROTOCOL,			/* it wrote what it was not asked for */
	FAILURE_TIMEOUT				/* it took too long */
} WalredoFailure;

/*
 * Our ends of the pipes of a child, and what it takes to wait for them.  It is
 * kept from request to request, for as long as the child lives.
 */
typedef struct WalredoConnection
{
	uint64		child_number;	/* 0 if there is none, and nothing is open */
	int			in_fd;			/* writes to the child's standard input */
	int			out_fd;			/* reads its standard output */

	/*
	 * wait_set is for one request at a time: it waits for an answer, and
	 * while the request is being written, for room in the pipe as well.
	 */
	WaitEventSet *wait_set;
	int			in_position;	/* of in_fd in wait_set */
	bool		in_writing;		/* wait_set waits for room in the pipe */

	/*
	 * write_set is for many requests at once: it waits for room in the pipe
	 * only, as there may be answers that are to be read later.
	 */
	WaitEventSet *write_set;

	/*
	 * Requests that may be in flight at once.  All of their answers must fit
	 * into the pipe: a child that waits for room for one would not read on,
	 * and then, we might wait for each other.
	 */
	int			max_in_flight;
} WalredoConnection;

/*
 * The requests of an exchange that are in flight: the child was given them, and
 * has not answered yet.  Answers come in the order of the requests, so it takes
 * no more than two numbers to know which these are: all from number "answered"
 * to the one before number "sent", counted from 0 as the exchange begins.
 *
 * A request is sent when all of its messages have been put into the pipe.  The
 * end of the last one may still be in the pipe's buffer then.
 */
typedef struct WalredoInFlight
{
	int			sent;
	int			answered;
	Size		answer_size;	/* bytes read of the answer that comes next */
} WalredoInFlight;

static inline int
walredo_in_flight_count(const WalredoInFlight *in_flight)
{
	return in_flight->sent - in_flight->answered;
}

/*
 * What is written to, and read from, one child during an exchange of requests
 * and answers.  A session has one of these, and uses it again.
 */
struct WalredoPipe
{
	WalredoConnection *connection;
	TimestampTz deadline;		/* of what is waited for next */
	WalredoFailure failure;		/* once set, nothing more is done */
	WalredoInFlight in_flight;
	uint64		bytes;			/* written so far, of all requests */
	uint32		wait_for_answer;	/* the wait event */

	instr_time	begin;			/* of the wait for a child */
	instr_time	acquired;		/* when there was one */

	/* If set, what is written goes there, and not to the connection. */
	void		(*put) (const char *data, Size size, void *arg);
	void	   *put_arg;

	/*
	 * What is still to be written.  The buffer is used again from the start
	 * as soon as no piece is left.
	 */
	struct iovec pieces[WALREDO_PIPE_MAX_PIECES];
	int			num_pieces;
	Size		used;			/* of buffer */
	char		buffer[WALREDO_PIPE_BUFFER_SIZE];
};

/*
 * Makes sure that we have the pipes of the child in a slot that is BUSY and
 * ours, and asks the worker for them if need be.  FAILURE_GONE if the child has
 * ended meanwhile.  wait_for_child is the wait event.
 */
extern WalredoFailure walredo_connection_open(WalredoConnection *connection,
											  WalredoPool *pool, int slotno,
											  TimestampTz deadline,
											  uint32 wait_for_child);

/* Closes a connection, if it is open. */
extern void walredo_connection_close(WalredoConnection *connection);

/* Makes a pipe ready for an exchange, without a connection yet. */
extern void walredo_pipe_reset(WalredoPipe *pipe);

/* Gives the child walredo.timeout from now for what is waited for next. */
extern void walredo_pipe_set_deadline(WalredoPipe *pipe);

/*
 * Writes what can be written without waiting.  True if nothing is left, or
 * after a failure.
 */
extern bool walredo_pipe_write(WalredoPipe *pipe);

/* Writes all that there is, and waits for room if need be. */
extern void walredo_pipe_flush(WalredoPipe *pipe);

/*
 * Reads what there is of the answer to the first request that is in flight,
 * without waiting.  True if the answer, of BLCKSZ bytes, is whole; then, the
 * request is not in flight any more.
 *
 * If no other request is in flight, it is a failure if there is a byte after
 * the answer.
 */
extern bool walredo_pipe_read(WalredoPipe *pipe, char *answer);

/*
 * Both wait until it is of use to try again, or until the deadline, which is a
 * failure: until there is something to read, or until there is room to write
 * more.
 */
extern void walredo_pipe_wait_for_answer(WalredoPipe *pipe);
extern void walredo_pipe_wait_for_room(WalredoPipe *pipe);

/*
 * True if the child has written something that it was not asked for, or has
 * closed its pipe.  It is a failure then.  To be called while nothing is in
 * flight.
 */
extern bool walredo_pipe_has_excess(WalredoPipe *pipe);

#endif							/* WALREDO_POOL_PIPE_H */

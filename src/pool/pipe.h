/*-------------------------------------------------------------------------
 *
 * pipe.h
 *	  The pipes to and from a child, and their bytes: private to this room.
 *
 * No function here raises an error because of what a child does, or waits
 * longer than a deadline.  What went wrong is kept as the pipe's failure, and
 * once there is one, nothing more is written or read.  Waiting can be
 * interrupted, by the cancel of a query for example, which raises an error.
 *
 * The functions by which a request is written, such as walredo_pipe_put(), are
 * declared in client.h, as other rooms call them.
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
 * A request is collected before it is written, as a list of pieces.  A piece
 * is a part of the pipe's buffer, or is in the memory of the caller.  These
 * are the size of the buffer, and the most pieces that there can be.
 */
#define WALREDO_PIPE_BUFFER_SIZE	65536
#define WALREDO_PIPE_MAX_PIECES		256

/* Why requests were not answered. */
typedef enum WalredoFailure
{
	FAILURE_NONE,
	FAILURE_LAUNCH,				/* no child could be started */
	FAILURE_GONE,				/* the child ended, or closed a pipe */
	FAILURE_PROTOCOL,			/* the child wrote too much or too early */
	FAILURE_TIMEOUT				/* the child took too long */
} WalredoFailure;

/*
 * Our ends of the pipes of a child, and the sets of events to wait for them.  A
 * connection is kept from request to request; it is closed when a request finds
 * that the slot has another child.
 */
typedef struct WalredoConnection
{
	uint64		child_number;	/* 0 if there is none, and nothing is open */
	int			in_fd;			/* writes to the child's standard input */
	int			out_fd;			/* reads its standard output */

	/*
	 * wait_set waits for out_fd to be readable.  If in_writing is set, it
	 * also waits until in_fd can be written to; otherwise, until the child
	 * has closed its end of that pipe.
	 */
	WaitEventSet *wait_set;
	int			in_position;	/* of in_fd in wait_set */
	bool		in_writing;

	/*
	 * write_set waits only until in_fd can be written to.  It is used while
	 * earlier requests are in flight, whose answers may be there already, and
	 * are to be read later.
	 */
	WaitEventSet *write_set;

	/*
	 * The most requests that may be in flight at once.  All of their answers
	 * must fit into the pipe.  Otherwise the child might wait for us to read
	 * an answer, while we wait for it to read a request.
	 */
	int			max_in_flight;
} WalredoConnection;

/*
 * An exchange is what happens between acquiring a slot and letting go of it:
 * requests that are sent to one child, and its answers.  A request is in
 * flight when it was sent and its answer has not been read.  Answers come in
 * the order of the requests.  So, if the requests of the exchange are counted
 * from 0, those from number "answered" up to the one before number "sent" are
 * in flight.
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
 * The state of an exchange with one child.  A process has one of these for each
 * exchange that it has at a time, and uses it for one exchange after the other.
 * walredo_request_write() makes another, which is not connected to any child.
 */
struct WalredoPipe
{
	int			slot;			/* ours, or -1 if there is none */
	WalredoConnection *connection;
	TimestampTz deadline;		/* when the next wait is to end */
	WalredoFailure failure;		/* once set, nothing more is done */
	WalredoInFlight in_flight;
	uint64		bytes;			/* written so far, of all requests */
	uint32		wait_for_answer;	/* the wait event */

	instr_time	begin;			/* when the wait for a child began */
	instr_time	acquired;		/* when that wait ended */

	/* If set, this is called with what is to be written. */
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
 * Makes sure that a connection has the pipes of the child in a slot, which
 * must be BUSY and ours, and asks the worker for them if need be.  Returns
 * FAILURE_GONE if the child or the worker has ended, and FAILURE_TIMEOUT if
 * the worker does not answer before the deadline.  ERROR if no socket can be
 * created.  wait_for_child is the wait event.
 */
extern WalredoFailure walredo_connection_open(WalredoConnection *connection,
											  WalredoPool *pool, int slotno,
											  TimestampTz deadline,
											  uint32 wait_for_child);

/* Closes a connection, if it is open. */
extern void walredo_connection_close(WalredoConnection *connection);

/*
 * Makes a pipe ready for an exchange; it has no slot, connection or deadline
 * yet.
 */
extern void walredo_pipe_reset(WalredoPipe *pipe);

/* Sets the deadline of the next wait to walredo.timeout from now. */
extern void walredo_pipe_set_deadline(WalredoPipe *pipe);

/*
 * Writes what can be written without waiting.  True if nothing is left, or
 * after a failure.
 */
extern bool walredo_pipe_write(WalredoPipe *pipe);

/*
 * Writes all pieces, and waits for room if need be.  If no request is in
 * flight, anything that the child writes meanwhile is a failure.
 */
extern void walredo_pipe_flush(WalredoPipe *pipe);

/*
 * Reads what there is of the answers to the first max requests that are in
 * flight, without waiting.  There must be as many, and at least one.  Returns
 * how many of these answers, of BLCKSZ bytes each, are whole now; their
 * requests are not in flight any more.  answers has room for max of them; what
 * it has already of one that was not whole must be at its beginning.
 *
 * If no other request is in flight, it is a failure if there is a byte after
 * the last answer.
 */
extern int	walredo_pipe_read(WalredoPipe *pipe, char *answers, int max);

/*
 * Waits until there is something to read, so that walredo_pipe_read() can be
 * called again.  It is a failure if the deadline comes first, or if the child
 * closes its standard input.
 */
extern void walredo_pipe_wait_for_answer(WalredoPipe *pipe);

/*
 * Waits until there is room to write more, so that walredo_pipe_write() can be
 * called again.  It is a failure if the deadline comes first.
 */
extern void walredo_pipe_wait_for_room(WalredoPipe *pipe);

/*
 * Waits for any of several children, in one of these two ways for each: until
 * there is room to write more, if not all has been written, and until there is
 * something to read.  It is a failure of each pipe whose deadline comes first,
 * or whose child closes its standard input.  There must be two pipes at least.
 */
extern void walredo_pipes_wait(WalredoPipe *const *pipes, int npipes);

/*
 * True if the child has written something that it was not asked for, or has
 * closed its pipe.  It is a failure then.  To be called while nothing is in
 * flight.
 */
extern bool walredo_pipe_has_excess(WalredoPipe *pipe);

#endif							/* WALREDO_POOL_PIPE_H */

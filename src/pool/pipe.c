/*-------------------------------------------------------------------------
 *
 * pipe.c
 *	  The bytes that go to a child, and those that come from it.
 *
 * All that the backend trusts a child to do is to answer each request with
 * BLCKSZ bytes.  This file checks that there are neither more nor fewer bytes,
 * and that they come in time.  It does not look at what they are.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/pool/pipe.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "compat.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "pool/pipe.h"
#include "proto/proto.h"
#include "storage/fd.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

/*
 * A piece that is shorter than this is copied into the buffer, as that is
 * cheaper than one more piece for writev().
 */
#define MIN_PIECE_IN_PLACE	256

/*
 * The sizes of the pipes of a child, if the kernel allows them.  The more bytes
 * the pipes hold, the less often the two processes wait for each other.
 */
#define IN_PIPE_SIZE		(256 * 1024)
#define OUT_PIPE_SIZE		(256 * 1024)

/* How long to wait before the next try to connect to a worker that is busy. */
#define CONNECT_RETRY_MS	1

/* ----------------------------------------------------------------
 *		Connections
 * ----------------------------------------------------------------
 */

void
walredo_connection_close(WalredoConnection *connection)
{
	if (connection->child_number == 0)
		return;
	connection->child_number = 0;
	if (connection->wait_set != NULL)
		FreeWaitEventSet(connection->wait_set);
	connection->wait_set = NULL;
	if (connection->write_set != NULL)
		FreeWaitEventSet(connection->write_set);
	connection->write_set = NULL;
	close(connection->in_fd);
	close(connection->out_fd);
	ReleaseExternalFD();
	ReleaseExternalFD();
}

/*
 * Connects fd, a socket, to the worker, and receives the number of the child
 * in a slot of ours and copies of the ends of its pipes; fds gets those of
 * standard input and standard output.  Nothing has to be sent, since the kernel
 * tells the worker which process has connected, and the slot, that its pipes
 * are wanted.  If the slot has no child any more,
 * the worker just closes the connection.  The caller closes fd.  Returns what
 * walredo_connection_open() does.
 */
static WalredoFailure
ask_worker(WalredoPool *pool, int slotno, int fd, TimestampTz deadline,
		   uint32 wait_for_child, uint64 *number, int fds[2])
{
	struct sockaddr_un addr;
	struct ucred peer;
	socklen_t	size = sizeof(peer);
	char		name[sizeof(pool->socket_name)];
	pid_t		worker_pid;

	LWLockAcquire(&pool->lock, LW_EXCLUSIVE);
	strlcpy(name, pool->socket_name, sizeof(name));
	worker_pid = pool->worker_pid;
	for (int i = 0; i < pool->num_slots; i++)
	{
		if (pool->slots[i].owner_pid == MyProcPid)
			pool->slots[i].wants_pipes = (i == slotno);
	}
	LWLockRelease(&pool->lock);

	memset(&addr, 0, sizeof(addr));
	addr.sun_family = AF_UNIX;
	memcpy(addr.sun_path + 1, name, strlen(name));
	while (connect(fd, (struct sockaddr *) &addr,
				   offsetof(struct sockaddr_un, sun_path) + 1 +
				   strlen(name)) != 0)
	{
		/* EAGAIN: the queue of the worker's socket is full. */
		if (errno != EAGAIN && errno != EINTR)
			return FAILURE_GONE;
		if (GetCurrentTimestamp() >= deadline)
			return FAILURE_TIMEOUT;
		CHECK_FOR_INTERRUPTS();
		pg_usleep(CONNECT_RETRY_MS * 1000L);
	}

	/*
	 * Another process might have taken over the socket's name if the worker
	 * has ended meanwhile, so check that we have connected to our worker.
	 */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 ||
		peer.uid != geteuid() || peer.pid != worker_pid)
		return FAILURE_GONE;

	while (!walredo_receive_fds(fd, number, sizeof(*number), fds, 2))
	{
		TimestampTz now;
		int			rc;

		if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
			return FAILURE_GONE;
		now = GetCurrentTimestamp();
		if (now >= deadline)
			return FAILURE_TIMEOUT;
		rc = WaitLatchOrSocket(MyLatch,
							   WL_LATCH_SET | WL_SOCKET_READABLE |
							   WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, fd,
							   TimestampDifferenceMilliseconds(now,
															   deadline) + 1,
							   wait_for_child);
		if (rc & WL_LATCH_SET)
		{
			ResetLatch(MyLatch);
			CHECK_FOR_INTERRUPTS();
		}
		errno = 0;
	}
	return FAILURE_NONE;
}

WalredoFailure
walredo_connection_open(WalredoConnection *connection, WalredoPool *pool,
						int slotno, TimestampTz deadline,
						uint32 wait_for_child)
{
	/*
	 * The lock is not needed: the slot is BUSY and ours, so the worker
	 * changes this only if the child has ended, which the first read or write
	 * finds.
	 */
	uint64		child_number = pool->slots[slotno].child_number;
	uint64		number;
	int			fds[2];
	int			fd;
	volatile WalredoFailure failure;

	if (connection->child_number == child_number && child_number != 0)
		return FAILURE_NONE;
	walredo_connection_close(connection);

	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		ereport(ERROR,
				(errcode_for_socket_access(),
				 errmsg("could not create socket: %m")));
	PG_TRY();
	{
		failure = ask_worker(pool, slotno, fd, deadline, wait_for_child,
							 &number, fds);
	}
	PG_FINALLY();
	{
		close(fd);
	}
	PG_END_TRY();
	if (failure != FAILURE_NONE)
		return failure;

	/* From here on walredo_connection_close() knows what to close. */
	connection->child_number = number;
	connection->in_fd = fds[0];
	connection->out_fd = fds[1];
	ReserveExternalFD();
	ReserveExternalFD();
	connection->wait_set = walredo_create_wait_event_set(4);
	AddWaitEventToSet(connection->wait_set, WL_LATCH_SET, PGINVALID_SOCKET,
					  MyLatch, NULL);
	AddWaitEventToSet(connection->wait_set, WL_EXIT_ON_PM_DEATH,
					  PGINVALID_SOCKET, NULL, NULL);
	AddWaitEventToSet(connection->wait_set, WL_SOCKET_READABLE,
					  connection->out_fd, NULL, NULL);

	/*
	 * The writing end of a pipe never becomes readable, but this event also
	 * occurs when the reading end has been closed.
	 */
	connection->in_position =
		AddWaitEventToSet(connection->wait_set, WL_SOCKET_READABLE,
						  connection->in_fd, NULL, NULL);
	connection->in_writing = false;

	connection->write_set = walredo_create_wait_event_set(3);
	AddWaitEventToSet(connection->write_set, WL_LATCH_SET, PGINVALID_SOCKET,
					  MyLatch, NULL);
	AddWaitEventToSet(connection->write_set, WL_EXIT_ON_PM_DEATH,
					  PGINVALID_SOCKET, NULL, NULL);
	AddWaitEventToSet(connection->write_set, WL_SOCKET_WRITEABLE,
					  connection->in_fd, NULL, NULL);

	/*
	 * The kernel limits the sum of the pipes of each user, so this may fail.
	 * Pipes that stay as they are work as well, only more slowly.
	 */
	(void) fcntl(connection->in_fd, F_SETPIPE_SZ, IN_PIPE_SIZE);
	(void) fcntl(connection->out_fd, F_SETPIPE_SZ, OUT_PIPE_SIZE);
	connection->max_in_flight =
		Max(fcntl(connection->out_fd, F_GETPIPE_SZ) / BLCKSZ - 1, 1);

	return number == child_number ? FAILURE_NONE : FAILURE_GONE;
}

/* ----------------------------------------------------------------
 *		Waiting
 * ----------------------------------------------------------------
 */

/*
 * Returns the time until the deadline, in milliseconds.  If it is over, sets
 * the failure, and returns 0.
 */
static long
time_left(WalredoPipe *pipe)
{
	long		timeout = TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
														  pipe->deadline);

	if (timeout > 0)
		return timeout;
	pipe->failure = FAILURE_TIMEOUT;
	return 0;
}

/* What is to be done when a wait has ended because our latch was set. */
static void
handle_latch(void)
{
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/*
 * This ignores whether there is anything to read, since that may be answers to
 * earlier requests, which the caller reads when it has written this one.  If
 * the child has ended, the next attempt to write will find that.
 */
void
walredo_pipe_wait_for_room(WalredoPipe *pipe)
{
	WaitEvent	event;
	long		timeout = time_left(pipe);

	if (timeout > 0 &&
		WaitEventSetWait(pipe->connection->write_set, timeout, &event, 1,
						 pipe->wait_for_answer) == 1 &&
		(event.events & WL_LATCH_SET) != 0)
		handle_latch();
}

/*
 * If is_writing, waits until there is room in the pipe to the child; it is a
 * failure if the child writes anything meanwhile, as it has not got the whole
 * request yet.  If not, waits until the child has written something; it is a
 * failure if it closes its standard input meanwhile.
 */
static void
wait_for_either(WalredoPipe *pipe, bool is_writing)
{
	WalredoConnection *connection = pipe->connection;
	WaitEvent	events[4];
	long		timeout = time_left(pipe);
	int			nevents;

	if (timeout == 0)
		return;
	if (connection->in_writing != is_writing)
	{
		ModifyWaitEvent(connection->wait_set, connection->in_position,
						is_writing ? WL_SOCKET_WRITEABLE : WL_SOCKET_READABLE,
						NULL);
		connection->in_writing = is_writing;
	}

	nevents = WaitEventSetWait(connection->wait_set, timeout, events,
							   lengthof(events), pipe->wait_for_answer);
	for (int i = 0; i < nevents; i++)
	{
		if (events[i].events & WL_LATCH_SET)
			handle_latch();
		else if (is_writing && events[i].pos != connection->in_position)
		{
			char		byte;

			/* The child has ended, or answers before it could have read all. */
			pipe->failure = read(connection->out_fd, &byte, 1) == 0 ?
				FAILURE_GONE : FAILURE_PROTOCOL;
			return;
		}
		else if (!is_writing && events[i].pos == connection->in_position)
		{
			/* It does not read any more, so its answer may never come. */
			pipe->failure = FAILURE_GONE;
			return;
		}
	}
}

void
walredo_pipe_wait_for_answer(WalredoPipe *pipe)
{
	wait_for_either(pipe, false);
}

/*
 * As in walredo_pipe_wait_for_room(), it is ignored whether there is an answer
 * to a request that has not been written yet.
 */
void
walredo_pipes_wait(WalredoPipe *const *pipes, int npipes)
{
	WaitEventSet *set;
	WaitEvent	event;
	long		timeout = -1;
	int			nevents;

	for (int i = 0; i < npipes; i++)
	{
		long		left = time_left(pipes[i]);

		/* The caller has to look at a pipe that has failed. */
		if (left == 0)
			return;
		timeout = timeout < 0 ? left : Min(timeout, left);
	}

	set = walredo_create_wait_event_set(2 + 2 * npipes);
	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	for (int i = 0; i < npipes; i++)
	{
		WalredoPipe *pipe = pipes[i];
		bool		is_writing = pipe->num_pieces > 0;

		AddWaitEventToSet(set, is_writing ? WL_SOCKET_WRITEABLE :
						  WL_SOCKET_READABLE, pipe->connection->in_fd, NULL,
						  is_writing ? NULL : pipe);
		if (walredo_in_flight_count(&pipe->in_flight) > (is_writing ? 1 : 0))
			AddWaitEventToSet(set, WL_SOCKET_READABLE,
							  pipe->connection->out_fd, NULL, NULL);
	}
	nevents = WaitEventSetWait(set, timeout, &event, 1,
							   pipes[0]->wait_for_answer);
	FreeWaitEventSet(set);
	if (nevents == 1 && (event.events & WL_LATCH_SET) != 0)
		handle_latch();
	else if (nevents == 1 && event.user_data != NULL)
	{
		/* It does not read any more, so its answers may never come. */
		((WalredoPipe *) event.user_data)->failure = FAILURE_GONE;
	}
}

/* ----------------------------------------------------------------
 *		Writing
 * ----------------------------------------------------------------
 */

void
walredo_pipe_reset(WalredoPipe *pipe)
{
	pipe->slot = -1;
	pipe->connection = NULL;
	pipe->failure = FAILURE_NONE;
	memset(&pipe->in_flight, 0, sizeof(pipe->in_flight));
	pipe->bytes = 0;
	pipe->put = NULL;
	pipe->num_pieces = 0;
	pipe->used = 0;
}

void
walredo_pipe_set_deadline(WalredoPipe *pipe)
{
	pipe->deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												 walredo_timeout);
}

bool
walredo_pipe_write(WalredoPipe *pipe)
{
	struct iovec *piece = pipe->pieces;
	struct iovec *end = pipe->pieces + pipe->num_pieces;

	if (pipe->put != NULL)
	{
		for (; piece < end; piece++)
			pipe->put(piece->iov_base, piece->iov_len, pipe->put_arg);
	}

	while (piece < end && pipe->failure == FAILURE_NONE)
	{
		ssize_t		n = writev(pipe->connection->in_fd, piece, end - piece);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK)
		{
			pipe->failure = FAILURE_GONE;
			break;
		}
		n = Max(n, 0);
		pipe->bytes += n;
		for (; piece < end && n >= piece->iov_len; piece++)
			n -= piece->iov_len;
		if (piece < end)
		{
			/* The pipe is full. */
			piece->iov_base = (char *) piece->iov_base + n;
			piece->iov_len -= n;
			pipe->num_pieces = end - piece;
			memmove(pipe->pieces, piece,
					pipe->num_pieces * sizeof(struct iovec));
			return false;
		}
	}
	pipe->num_pieces = 0;
	pipe->used = 0;
	return true;
}

void
walredo_pipe_flush(WalredoPipe *pipe)
{
	while (!walredo_pipe_write(pipe))
	{
		if (walredo_in_flight_count(&pipe->in_flight) > 0)
			walredo_pipe_wait_for_room(pipe);
		else
			wait_for_either(pipe, true);
	}
}

/* Adds a piece, or makes the last one longer if this one follows it. */
static inline void
add_piece(WalredoPipe *pipe, const char *data, Size size)
{
	struct iovec *next = &pipe->pieces[pipe->num_pieces];

	if (pipe->num_pieces > 0 &&
		(char *) next[-1].iov_base + next[-1].iov_len == data)
	{
		next[-1].iov_len += size;
		return;
	}
	next->iov_base = unconstify(char *, data);
	next->iov_len = size;
	pipe->num_pieces++;
}

bool
walredo_pipe_put(WalredoPipe *pipe, const char *data, Size size)
{
	while (size > 0 && pipe->failure == FAILURE_NONE)
	{
		Size		n = Min(size, WALREDO_PIPE_BUFFER_SIZE - pipe->used);

		if (n == 0 || pipe->num_pieces == WALREDO_PIPE_MAX_PIECES)
		{
			walredo_pipe_flush(pipe);
			continue;
		}
		memcpy(pipe->buffer + pipe->used, data, n);
		add_piece(pipe, pipe->buffer + pipe->used, n);
		pipe->used += n;
		data += n;
		size -= n;
	}
	return pipe->failure == FAILURE_NONE;
}

void
walredo_pipe_put_in_place(WalredoPipe *pipe, const char *data, Size size)
{
	if (size < MIN_PIECE_IN_PLACE)
	{
		(void) walredo_pipe_put(pipe, data, size);
		return;
	}
	if (pipe->num_pieces == WALREDO_PIPE_MAX_PIECES)
		walredo_pipe_flush(pipe);
	add_piece(pipe, data, size);
}

char *
walredo_pipe_reserve(WalredoPipe *pipe, Size size)
{
	char	   *result;

	Assert(size <= WALREDO_PIPE_MAX_RESERVE);

	/*
	 * The caller may go on after a failure.  Then walredo_pipe_flush() writes
	 * nothing, but empties the buffer, so that there is always room.
	 */
	if (size > WALREDO_PIPE_BUFFER_SIZE - pipe->used ||
		pipe->num_pieces == WALREDO_PIPE_MAX_PIECES)
		walredo_pipe_flush(pipe);
	result = pipe->buffer + pipe->used;
	add_piece(pipe, result, size);
	pipe->used += size;
	return result;
}

void
walredo_request_write(const WalredoRequest *request,
					  void (*put) (const char *data, Size size, void *arg),
					  void *put_arg)
{
	WalredoPipe *pipe = palloc(sizeof(WalredoPipe));

	walredo_pipe_reset(pipe);
	pipe->put = put;
	pipe->put_arg = put_arg;
	request->send(pipe, request->arg);
	walredo_pipe_flush(pipe);
	pfree(pipe);
}

/* ----------------------------------------------------------------
 *		Reading
 * ----------------------------------------------------------------
 */

int
walredo_pipe_read(WalredoPipe *pipe, char *answers, int max)
{
	WalredoInFlight *in_flight = &pipe->in_flight;
	Size		size = max * (Size) BLCKSZ;

	/*
	 * After the last answer, try to read one more byte, which the child must
	 * not have written.  After any other, that would be the first byte of the
	 * next answer.
	 */
	bool		has_last = walredo_in_flight_count(in_flight) == max;

	Assert(max > 0 && max <= walredo_in_flight_count(in_flight));

	while (pipe->failure == FAILURE_NONE)
	{
		char		extra;
		struct iovec iov[2] = {
			{answers + in_flight->answer_size, size - in_flight->answer_size},
			{&extra, 1}
		};
		ssize_t		n = readv(pipe->connection->out_fd, iov, has_last ? 2 : 1);

		if (n > 0)
		{
			Size		total = in_flight->answer_size + n;
			int			whole = Min(total, size) / BLCKSZ;

			if (total > size)
				pipe->failure = FAILURE_PROTOCOL;
			in_flight->answer_size = Min(total, size) % BLCKSZ;
			in_flight->answered += whole;
			if (whole > 0)
				return whole;
		}
		else if (n == 0)
			pipe->failure = FAILURE_GONE;
		else if (errno == EAGAIN || errno == EWOULDBLOCK)
			return 0;
		else if (errno != EINTR)
			pipe->failure = FAILURE_GONE;
	}
	return 0;
}

bool
walredo_pipe_has_excess(WalredoPipe *pipe)
{
	char		byte;
	ssize_t		n = read(pipe->connection->out_fd, &byte, 1);

	if (n >= 0)
		pipe->failure = n == 0 ? FAILURE_GONE : FAILURE_PROTOCOL;
	return n >= 0;
}

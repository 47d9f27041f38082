/*-------------------------------------------------------------------------
 *
 * client.h
 *	  Requests of a backend to a wal-redo child: for use by other rooms.
 *
 * The functions are in pipe.c, request.c, slots.c and stream.c.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/pool/client.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_POOL_CLIENT_H
#define WALREDO_POOL_CLIENT_H

#include "postgres.h"

#include "datatype/timestamp.h"

typedef struct WalredoPipe WalredoPipe;

/*
 * One request.  All that the pool knows about it is that its answer has BLCKSZ
 * bytes.
 */
typedef struct WalredoRequest
{
	/*
	 * Writes all messages of the request with walredo_pipe_put().  Called
	 * again from the start if the request is tried again.
	 */
	void		(*send) (WalredoPipe *pipe, void *arg);

	/*
	 * What was asked for, as a sentence for the DETAIL of an error; palloc'd.
	 */
	char	   *(*describe) (void *arg);

	void	   *arg;
	int			num_records;	/* WAL records in it, for the statistics */

	/*
	 * True if the request is from a file, see saved_request.h.  Then it is
	 * not saved again, and its child is not used again, because a part of a
	 * message may be left in the pipe.
	 */
	bool		is_saved;
} WalredoRequest;

/*
 * ERROR 55000 if walredo.enabled is off.  walredo_pool_request() and
 * walredo_stream_begin() call it; others call it for replay without a child.
 */
extern void walredo_check_enabled(void);

/*
 * Has a child answer a request, and puts the answer's BLCKSZ bytes into page.
 *
 * Waits for a child to be free, and for the answer; both can be interrupted.
 * ERROR 55000 if walredo.enabled is off; 53000 if no worker could be started,
 * or too many backends wait for a child already; 58030 if no child could be
 * started, or the child failed or did not answer in time (the tail of its
 * standard error is in the DETAIL); XX000 if this process has a child already.
 * After any failure the child has been killed, and the next request gets
 * another.
 */
extern void walredo_pool_request(const WalredoRequest *request, char *page);

/*
 * A stream is for many requests, which are sent ahead of their answers.  While
 * a child works at one request, the next ones are in the pipe already, and the
 * caller can do something else.  If the requests are more than one child takes
 * at a time, others that are free get some, up to
 * walredo.max_parallel_children.
 */
typedef struct WalredoStream WalredoStream;

/*
 * The caller's function that takes an answer, of BLCKSZ bytes, to the request
 * with the given arg.  page is NULL if the request was not answered, because a
 * child failed at it or at another request of the stream.  The function must
 * not add to the stream, or do anything that needs a child.
 */
typedef void (*WalredoTakeAnswer) (void *arg, const char *page);

/*
 * Makes a stream, in the current memory context.  ERROR 55000 if
 * walredo.enabled is off.
 *
 * Between calls the stream may have children, and nothing else can have one at
 * that time: call walredo_stream_finish() before anything else that needs a
 * child.  If an error ends the transaction or subtransaction, the children are
 * let go, and the stream must not be used any more.
 *
 * If a child fails, no error is raised, but take is called with NULL for all
 * requests that it has been sent and whose answers were not taken yet, and for
 * all that no child has been sent yet.  To find out which of them was the
 * reason, the caller can make them one by one, with walredo_pool_request().
 */
extern WalredoStream *walredo_stream_begin(WalredoTakeAnswer take);

/*
 * Adds a request, whose arg must stay valid until the answer is taken.  It may
 * not be sent before walredo_stream_advance() or walredo_stream_finish() is
 * called.  This function and the next three call take, for up to some hundred
 * requests at a time, in the order of those that the same child has answered.
 */
extern void walredo_stream_add(WalredoStream *stream,
							   const WalredoRequest *request);

/*
 * Sends requests and receives answers as far as possible without waiting for
 * the child to replay anything.  It does wait for a child to be free, and may
 * wait while a child reads a request of more than 64 kB.  Returns true if all
 * requests have been sent.  The time in which the caller does something else
 * does not count for walredo.timeout.
 */
extern bool walredo_stream_advance(WalredoStream *stream);

/* Waits for all answers; then, the stream can be used again. */
extern void walredo_stream_finish(WalredoStream *stream);

/* Waits for all answers, and frees the stream. */
extern void walredo_stream_end(WalredoStream *stream);

/*
 * Appends to a request.  To be called from WalredoRequest.send only.  False if
 * the request has failed already, and nothing more of it is of any use.
 */
extern bool walredo_pipe_put(WalredoPipe *pipe, const char *data, Size size);

/*
 * Appends size bytes, which the caller writes where the result points to,
 * before the next call.
 */
#define WALREDO_PIPE_MAX_RESERVE	1024
extern char *walredo_pipe_reserve(WalredoPipe *pipe, Size size);

/*
 * Appends data that need not be copied, because the caller leaves it in place
 * until the request is answered.
 */
extern void walredo_pipe_put_in_place(WalredoPipe *pipe, const char *data,
									  Size size);

/*
 * Has a request written to somewhere else than to a child: calls put with one
 * piece after the other of what would go over the pipe.
 */
extern void walredo_request_write(const WalredoRequest *request,
								  void (*put) (const char *data, Size size,
											   void *arg),
								  void *put_arg);

/* A child, or a slot for one, as the statistics show it. */
typedef struct WalredoChildInfo
{
	int			slot;
	pid_t		pid;			/* 0 if there is none */
	const char *state;
	Oid			database;
	Oid			role;
	TimestampTz launched_at;	/* 0 if unknown */
	TimestampTz last_redo_at;	/* 0 if never */
	uint64		requests;
	uint64		records;
} WalredoChildInfo;

/*
 * The slots of this session's pool that are in use; palloc'd.  None if the
 * session has no pool yet.
 */
extern WalredoChildInfo *walredo_pool_children(int *nchildren);

/*
 * Has a session that has no pool yet begin one, as it is about to make
 * requests, perhaps in parallel workers: these take places of background
 * workers that the pool needs, too.  Does nothing if the server has no room for
 * another worker or another segment of shared memory.
 */
extern void walredo_pool_expect_requests(void);

/*
 * Makes this process count, and read statistics, where its pool does, if it has
 * one.
 */
extern void walredo_pool_attach_stats(void);

#endif							/* WALREDO_POOL_CLIENT_H */

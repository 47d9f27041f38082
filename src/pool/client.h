/*-------------------------------------------------------------------------
 *
 * client.h
 *	  A backend's way to a wal-redo child.
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
 * One request, of which the pool knows only that it has an answer of one
 * page.
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
	 * It is from a file.  It is not saved again, and its child is not used
	 * again: a part of a message may be left in the pipe.
	 */
	bool		is_saved;
} WalredoRequest;

/*
 * ERROR 55000 if walredo.enabled is off.  Requests check it themselves; this
 * is for what needs no child.
 */
extern void walredo_check_enabled(void);

/*
 * Has a child answer a request, and puts the answer's BLCKSZ bytes into page.
 *
 * Waits for a child to be free, and for the answer; both can be interrupted.
 * ERROR 55000 if walredo.enabled is off, 58030 if the child failed (the tail of
 * its standard error is in the DETAIL) or did not answer in time, 53000 if no
 * worker or child could be started.  After any failure the child is dead, and
 * the next request gets another.
 */
extern void walredo_pool_request(const WalredoRequest *request, char *page);

/*
 * Many requests, made ahead of their answers: the child is given the next ones
 * while it works at one, and the caller does something else meanwhile.
 */
typedef struct WalredoStream WalredoStream;

/*
 * Takes the answer, of BLCKSZ bytes, to the request with the given arg; NULL if
 * the request is given back, because the child failed at it or at another.  It
 * may not add to the stream, or do anything that needs a child.
 */
typedef void (*WalredoTakeAnswer) (void *arg, const char *page);

/*
 * A new stream, in the current memory context.  It has a child from time to
 * time, and while it does, nothing else in this process can: call
 * walredo_stream_finish() before anything else that needs one.  If an error
 * ends the transaction or subtransaction, it lets go of the child.
 *
 * If the child fails, all requests of which no answer was taken yet are given
 * back, and nothing is raised: the caller finds out which of them was the
 * reason, if it wants to, by making them alone.
 */
extern WalredoStream *walredo_stream_begin(WalredoTakeAnswer take);

/*
 * Adds a request, whose arg stays until the answer is taken.  Answers are taken
 * in order, some hundred at a time, by this function and the next two.
 */
extern void walredo_stream_add(WalredoStream *stream,
							   const WalredoRequest *request);

/*
 * Sends and receives what can be without waiting for the child at its work,
 * though it waits for a child to be free, and for one that is given a request
 * of more than 64 kB to take it in.  True if all requests have been sent.  The
 * time that a child may take for an answer counts only while it is waited for.
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
 * Appends what the caller leaves in place until the request is answered.
 */
extern void walredo_pipe_put_in_place(WalredoPipe *pipe, const char *data,
									  Size size);

/*
 * Has a request written somewhere else than to a child: put is called with one
 * piece after the other.
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

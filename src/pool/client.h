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
 * ERROR 55000 if walredo.enabled is off, 58030 if the child failed (its last
 * words are in the DETAIL) or did not answer in time, 53000 if no worker or
 * child could be started.  After any failure the child is dead, and the next
 * request gets another.
 */
extern void walredo_pool_request(const WalredoRequest *request, char *page);

/* Takes the answer to request number i, of BLCKSZ bytes. */
typedef void (*WalredoTakeAnswer) (int i, const char *page, void *arg);

/*
 * As above, for many requests.  The next ones are sent while the child still
 * works at one, and the answers are taken in order, some hundred at a time.  If
 * the child fails, the request that it was at is tried again alone, and raises
 * the ERROR if it was the reason.  So are those before it that nobody can be
 * sure of; the others are not affected.
 */
extern void walredo_pool_requests(const WalredoRequest *requests,
								  int nrequests, WalredoTakeAnswer take,
								  void *arg);

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
 * Appends what the caller leaves in place until WalredoRequest.send has
 * returned, and the request has been sent.
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
 * Makes this process count, and read figures, where its pool does, if it has
 * one.
 */
extern void walredo_pool_attach_stats(void);

#endif							/* WALREDO_POOL_CLIENT_H */

/*-------------------------------------------------------------------------
 *
 * replay.h
 *	  Replay of a list of records on the image of one page.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/redo/replay.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_REPLAY_H
#define WALREDO_REPLAY_H

#include "postgres.h"

#include "access/rmgr.h"
#include "access/xlogrecord.h"
#include "record/record.h"
#include "record/tag.h"

/*
 * Applies records, in order, to the image of what tag names.
 *
 * base is a bytea of the caller's own, which may be changed in place, or NULL
 * if there is none.  Returns the new image, which is the same bytea where the
 * length stays.  ERROR 22023 if there are no records, if an image is needed
 * and there is none, if the image of a page is not BLCKSZ bytes, or if a record
 * is not about the page; and what walredo_pool_request() and
 * walredo_native_apply() raise.
 */
extern bytea *walredo_replay(const WalredoTag *tag, bytea *base,
							 WalredoRecord *const *records, int nrecords);

/*
 * A whole WAL record in the form in which a child is given it: how many bytes
 * that are, and how it is written.  dst need not be aligned.
 */
extern Size walredo_replay_record_size(const XLogRecord *record);
extern void walredo_replay_put_record(char *dst, XLogRecPtr end_lsn,
									  const XLogRecord *record);

/* Some such records, one after the other. */
typedef struct WalredoReplayPiece
{
	const char *data;
	Size		size;
} WalredoReplayPiece;

/* A page, and WAL records to be applied to it. */
typedef struct WalredoReplayJob
{
	WalredoTag	tag;
	const char *base;			/* BLCKSZ bytes, or NULL */
	const WalredoReplayPiece *pieces;
	int			npieces;
	int			nrecords;
} WalredoReplayJob;

/*
 * Many jobs, given to a child ahead of their answers: it replays one while the
 * caller gets the next ones ready.  See pool/client.h, of whose streams this is
 * one, for what it may wait for.
 *
 * A stream lives in the memory context that is current when it begins.  It has
 * a child from time to time, and while it does, nothing else in this process
 * can: call walredo_replay_finish() before anything else that needs one.
 */
typedef struct WalredoReplayStream WalredoReplayStream;

/*
 * Takes the page, of BLCKSZ bytes, that came out of a job; NULL if the child
 * failed at this job or at another of the stream, in which case the job was
 * perhaps not even begun.  walredo_replay_one() tells, and raises the error.
 * It may not add to the stream, or do anything that needs a child.
 */
typedef void (*WalredoTakePage) (void *job, const char *page);

extern WalredoReplayStream *walredo_replay_begin(WalredoTakePage take);

/*
 * Adds a job, which stays in place until its page is taken.  Pages are taken in
 * the order of the jobs, some hundred at a time, by this function and the next
 * three.
 *
 * As walredo_replay() applies records, so does a job, but the caller answers
 * for what that checks: the records are whole WAL records which name the block,
 * and the first initializes it if there is no base image.
 */
extern void walredo_replay_add(WalredoReplayStream *stream,
							   WalredoReplayJob *job);

/*
 * Sends and receives what can be without waiting for the child at its work.
 * True if the child has been given all jobs.
 */
extern bool walredo_replay_advance(WalredoReplayStream *stream);

/* Waits until all pages are taken; then, the stream can be used again. */
extern void walredo_replay_finish(WalredoReplayStream *stream);

/* Waits until all pages are taken, and frees the stream. */
extern void walredo_replay_end(WalredoReplayStream *stream);

/*
 * The same for a job alone, without a stream: puts the resulting page, of
 * BLCKSZ bytes, into page, and raises what walredo_pool_request() does.
 */
extern void walredo_replay_one(WalredoReplayJob *job, char *page);

/*
 * Masks a page, of BLCKSZ bytes, in place, as the resource manager does for
 * wal_consistency_checking.
 */
extern void walredo_mask_page(RmgrId rmid, BlockNumber blkno, char *page);

/* A page to be masked. */
typedef struct WalredoMaskJob
{
	RmgrId		rmid;
	BlockNumber blkno;
	char	   *page;			/* BLCKSZ bytes */
	bool		done;			/* in a stream */
} WalredoMaskJob;

/*
 * The same for many pages: a stream for such jobs, which is advanced, finished
 * and ended as any other.  A job stays in place until the stream has been
 * finished.  If the child fails at one, that one and some others are not done,
 * and nothing is raised.
 */
extern WalredoReplayStream *walredo_mask_begin(void);
extern void walredo_mask_add(WalredoReplayStream *stream, WalredoMaskJob *job);

/*
 * The text that the record's resource manager describes it with; palloc'd.
 * Empty if that is not the server's own, or if the record is longer than a
 * child is given.  The record is WALREDO_POSTGRES.
 */
extern char *walredo_describe_record(const WalredoRecord *record);

/*
 * Has a child answer a request that was saved, by the name of its file, and
 * puts the answer, of BLCKSZ bytes, into page.  ERROR as from
 * walredo_replay_one(),
 * 22023 for what cannot be a name, and 58P01 if there is no such file.
 */
extern void walredo_replay_saved_request(const char *name, char *page);

/* Pings a child; returns how long that took, in milliseconds. */
extern double walredo_ping_child(void);

#endif							/* WALREDO_REPLAY_H */

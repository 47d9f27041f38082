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
 * base is a bytea that the caller owns, or NULL if there is none.  Returns the
 * new image, which is either the same bytea, changed in place, or a new one,
 * palloc'd.  ERROR 22023 if there are no records, if an image is needed and
 * there is none, if the image of a page is not BLCKSZ bytes, or if a record is
 * not about the page; 54000 if a record is longer than
 * WALREDO_MAX_REPLAY_SIZE; 0A000 if it takes the code of a resource manager
 * that is not the server's; and what walredo_pool_request() and
 * walredo_native_apply() raise.
 */
extern bytea *walredo_replay(const WalredoTag *tag, bytea *base,
							 WalredoRecord *const *records, int nrecords);

/*
 * ERROR 22023 unless a base image has the size of a page.  walredo_replay()
 * checks it, too; others do before they fetch an image for it.
 */
extern void walredo_check_base_size(Size size);

/*
 * The message by which a whole WAL record is sent to a child.  The first
 * function returns how many bytes it takes, and the second writes it to dst,
 * which need not be aligned.
 */
extern Size walredo_replay_record_size(const XLogRecord *record);
extern void walredo_replay_put_record(char *dst, XLogRecPtr end_lsn,
									  const XLogRecord *record);

/* Some such messages, one after the other; at least one. */
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
 * A stream of jobs, which are sent to a child ahead of their answers: the
 * child replays one while the caller prepares the next ones.  It is made of a
 * stream of pool/client.h, which says what it may wait for and when it has a
 * child: call walredo_replay_finish() before anything else that needs one.  A
 * stream lives in the memory context that is current when it begins.
 */
typedef struct WalredoReplayStream WalredoReplayStream;

/*
 * The caller's function that takes the page, of BLCKSZ bytes, that a job has
 * resulted in.  page is NULL if the child failed at this job or at another one
 * of the stream.  To find out which, call walredo_replay_one() for the job,
 * which raises the error if it fails again.  The function must not add to the
 * stream, or do anything that needs a child.
 */
typedef void (*WalredoTakePage) (void *job, const char *page);

extern WalredoReplayStream *walredo_replay_begin(WalredoTakePage take);

/*
 * Adds a job, which must stay in place until its page is taken.  This function
 * and the next four call take, in the order of the jobs, for some hundred jobs
 * at a time.
 *
 * Nothing is checked here that walredo_replay() checks.  The caller must make
 * sure that all records name the block, that none is longer than
 * WALREDO_MAX_REPLAY_SIZE, and that the first initializes the block if there is
 * no base image.
 */
extern void walredo_replay_add(WalredoReplayStream *stream,
							   WalredoReplayJob *job);

/* A page, and records to be applied to it, as walredo_replay() gets them. */
typedef struct WalredoReplayRun
{
	const WalredoTag *tag;
	bytea	   *base;			/* with a header of four bytes, or NULL */
	WalredoRecord *const *records;
	int			nrecords;
} WalredoReplayRun;

/*
 * Adds a run, which is a job for the stream's take function, and must stay in
 * place like one.  Checks what walredo_replay() checks, and raises its errors.
 * Returns false, and adds nothing, if no child replays all of the records: then
 * they are for walredo_replay(), when the stream has been finished.
 */
extern bool walredo_replay_add_run(WalredoReplayStream *stream,
								   WalredoReplayRun *run);

/*
 * Sends jobs and receives pages as far as possible without waiting for the
 * child to replay anything.  True if all jobs have been sent.
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
 * wal_consistency_checking, and a little more: see mask_page() in child/redo.c.
 * Raises what walredo_pool_request() does.
 */
extern void walredo_mask_page(RmgrId rmid, BlockNumber blkno, char *page);

/* A page to be masked. */
typedef struct WalredoMaskJob
{
	RmgrId		rmid;
	BlockNumber blkno;
	char	   *page;			/* BLCKSZ bytes */
	bool		done;			/* set by a stream: page is masked now */
} WalredoMaskJob;

/*
 * The same for many pages: a stream for such jobs, which is advanced, finished
 * and ended by the functions above.  A job must stay in place until the stream
 * has been finished.  If the child fails at one, that one and some others are
 * not done, and no error is raised.
 */
extern WalredoReplayStream *walredo_mask_begin(void);
extern void walredo_mask_add(WalredoReplayStream *stream, WalredoMaskJob *job);

/*
 * The text that the record's resource manager describes it with; palloc'd.  It
 * is empty if a library, and not the server, has brought the resource manager,
 * or if the record is longer than WALREDO_MAX_REPLAY_SIZE.  The record must be
 * WALREDO_POSTGRES.  Raises what walredo_pool_request() does.
 */
extern char *walredo_describe_record(const WalredoRecord *record);

/*
 * Has a child answer a request that was saved, by the name of its file, and
 * puts the answer, of BLCKSZ bytes, into page.  Raises what
 * walredo_pool_request() does, 22023 for what cannot be a name, and 58P01 if
 * there is no such file.
 */
extern void walredo_replay_saved_request(const char *name, char *page);

/* Pings a child; returns how long that took, in milliseconds. */
extern double walredo_ping_child(void);

#endif							/* WALREDO_REPLAY_H */

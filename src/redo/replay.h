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
#include "pool/client.h"
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
extern Size walredo_request_record_size(const XLogRecord *record);
extern void walredo_request_put_record(char *dst, XLogRecPtr end_lsn,
									   const XLogRecord *record);

/* Some such records, one after the other. */
typedef struct WalredoRequestPiece
{
	const char *data;
	Size		size;
} WalredoRequestPiece;

/* A page, and WAL records to be applied to it. */
typedef struct WalredoReplayJob
{
	WalredoTag	tag;
	const char *base;			/* BLCKSZ bytes, or NULL */
	const WalredoRequestPiece *pieces;
	int			npieces;
	int			nrecords;
} WalredoReplayJob;

/*
 * As walredo_replay(), for one page of many: the job, which stays until then,
 * is what the stream's WalredoTakeAnswer is given with the resulting page.
 *
 * The caller answers for what walredo_replay() would check: the records are
 * whole WAL records which name the block, and the first initializes it if
 * there is no base image.
 */
extern void walredo_replay_add(WalredoStream *stream, WalredoReplayJob *job);

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
 * The same for many pages: a stream, and jobs for it, each of which stays until
 * the stream has been finished.  If the child fails at one, that one and some
 * others are not done, and nothing is raised.
 */
extern WalredoStream *walredo_mask_begin(void);
extern void walredo_mask_add(WalredoStream *stream, WalredoMaskJob *job);

/*
 * The text that the record's resource manager describes it with; palloc'd.
 * Empty if that is not the server's own, or if the record is longer than a
 * child is given.  The record is WALREDO_POSTGRES.
 */
extern char *walredo_describe_record(const WalredoRecord *record);

/* Pings a child; returns how long that took, in milliseconds. */
extern double walredo_ping_child(void);

#endif							/* WALREDO_REPLAY_H */

/*-------------------------------------------------------------------------
 *
 * indexer.h
 *	  Making the indexes of some segments on purpose: private to this room.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/index/indexer.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_INDEXER_H
#define WALREDO_INDEXER_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "source/source.h"

/* What walredo_index_segments() is to do, and what it has done. */
typedef struct WalredoIndexRun
{
	WalredoSource *source;		/* its tolerance is WALREDO_TOLERATE_ALL */
	TimeLineID	tli;			/* of the files, or 0 for any */
	XLogSegNo	first;
	XLogSegNo	last;
	XLogRecPtr	end_lsn;		/* WAL can be read up to here */

	/* If this is not NULL, and returns true, the rest is left undone. */
	bool		(*should_stop) (void);

	int64		made;			/* indexes that were made */
	bool		is_open;		/* the last segment has no index yet, because
								 * no record of a later segment is there */
} WalredoIndexRun;

/*
 * Makes the indexes that some segments lack, the oldest first, and reads each
 * of these segments once.  Segments that end after end_lsn are left out.
 */
extern void walredo_index_segments(WalredoIndexRun *run);

#endif							/* WALREDO_INDEXER_H */

/*-------------------------------------------------------------------------
 *
 * ranges.h
 *	  What WAL some directories have.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/wal/ranges.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_RANGES_H
#define WALREDO_RANGES_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

/* An unbroken stretch of WAL of one timeline. */
typedef struct WalredoWalRange
{
	TimeLineID	tli;
	XLogRecPtr	start_lsn;		/* where its first record begins */
	XLogRecPtr	end_lsn;		/* where its last record ends */
	bool		has_times;		/* a transaction has ended in it */
	TimestampTz start_time;		/* when the first one ended, by its record */
	TimestampTz end_time;		/* ... and the last one */
	uint64		segments;
} WalredoWalRange;

/*
 * Returns a list of WalredoWalRanges, palloc'd, by timeline and LSN.  directory
 * is as for walredo_reader_begin(), and so are the errors, but the setting
 * walredo.timeline has no effect, and files that cannot be used count as
 * missing.
 *
 * Of each segment, the header and the size are looked at.  Records are read
 * only at the beginning and at the end of a stretch, as far as is needed to
 * find a transaction's end.  So damage in the middle is not noticed.
 */
extern List *walredo_wal_ranges(const char *directory);

#endif							/* WALREDO_RANGES_H */

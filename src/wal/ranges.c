/*-------------------------------------------------------------------------
 *
 * ranges.c
 *	  What WAL some directories have.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/wal/ranges.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "source/source.h"
#include "wal/changes_internal.h"
#include "wal/ranges.h"
#include "wal/reader.h"

/*
 * If the current record of the reader ends a transaction, returns true and sets
 * *at to when that was.
 */
static bool
ends_transaction(WalredoReader *reader, TimestampTz *at)
{
	const XLogRecord *record = walredo_reader_record(reader);
	XactEnd		end;

	CHECK_FOR_INTERRUPTS();
	if (record->xl_rmid != RM_XACT_ID ||
		!walredo_record_xact_end(record, walredo_reader_end_lsn(reader), &end))
		return false;
	*at = end.xact_time;
	return true;
}

/* Reads the beginning of a stretch, up to the first end of a transaction. */
static void
read_beginning(WalredoReader *reader, WalredoWalRange *range)
{
	bool		found = walredo_reader_next(reader);

	range->start_lsn = found ? walredo_reader_start_lsn(reader) :
		walredo_reader_first_lsn(reader);
	range->end_lsn = range->start_lsn;
	while (found && !range->has_times)
	{
		range->has_times = ends_transaction(reader, &range->start_time);
		range->end_lsn = walredo_reader_end_lsn(reader);
		found = walredo_reader_next(reader);
	}
	range->end_time = range->start_time;
}

/*
 * Reads the end of a stretch: its last segment, and as many before it as are
 * needed to find the last end of a transaction.
 */
static void
read_end(WalredoReader *reader, XLogRecPtr lsn, WalredoWalRange *range)
{
	XLogRecPtr	end_lsn = PG_UINT64_MAX;
	bool		found = false;

	/* What is before has been read. */
	while (!found && end_lsn > range->start_lsn)
	{
		walredo_reader_begin_again(reader, Max(lsn, range->start_lsn));
		while (walredo_reader_next(reader) &&
			   walredo_reader_start_lsn(reader) < end_lsn)
		{
			if (ends_transaction(reader, &range->end_time))
				found = true;
			range->end_lsn = Max(range->end_lsn,
								 walredo_reader_end_lsn(reader));
		}

		/* If the beginning has no such record, it has been read to its end. */
		if (!range->has_times)
			break;
		end_lsn = lsn;
		lsn = walredo_reader_segment_before(reader, lsn);
	}
}

static WalredoWalRange *
read_stretch(WalredoSource *source, const WalredoStretch *stretch)
{
	WalredoWalRange *range = palloc0(sizeof(WalredoWalRange));
	WalredoReader *reader;
	XLogRecPtr	last_lsn = stretch->last * source->segsize;

	walredo_source_only_timeline(source, stretch->tli);
	reader = walredo_reader_begin_in(source,
									 Max(stretch->first * source->segsize, 1),
									 last_lsn + Min((uint64) source->segsize,
													PG_UINT64_MAX - last_lsn));
	range->tli = stretch->tli;
	range->segments = stretch->last - stretch->first + 1;
	read_beginning(reader, range);
	if (range->has_times)
		read_end(reader, last_lsn, range);
	walredo_reader_end(reader);
	return range;
}

List *
walredo_wal_ranges(const char *directory)
{
	WalredoSource *source = walredo_source_open(directory,
												WALREDO_TOLERATE_NOTHING);
	List	   *ranges = NIL;
	ListCell   *lc;

	/* What has been inserted is there, but may not have been flushed. */
	if (walredo_source_has_pg_wal(source))
		(void) walredo_source_local_end(PG_UINT64_MAX);

	/* Where a stretch ends, there is no valid record, which is no error. */
	source->tolerance = WALREDO_TOLERATE_ALL;
	foreach(lc, walredo_source_stretches(source))
		ranges = lappend(ranges, read_stretch(source, lfirst(lc)));
	walredo_source_end(source);
	return ranges;
}

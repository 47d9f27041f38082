/*-------------------------------------------------------------------------
 *
 * indexer.c
 *	  Making indexes of the WAL that is read.
 *
 * An indexer looks over the shoulder of a scan.  When the scan comes to the
 * first record that begins in a segment, and the file that it reads has no
 * index, the indexer gives that and all further records of the segment to a
 * builder, and has the index written when the scan has reached a later segment.
 *
 * An index that lacks a record would be worse than none.  So it must be certain
 * that the builder gets all records that begin in the segment:
 *
 *	- The first one is known by its xl_prev, which is before the segment.
 *	- Each record's xl_prev is the record before it.  A scan that has left
 *	  something out, as after a gap in WAL, gets no index of that segment.
 *	- The last one is known when a record of a later segment has it as its
 *	  xl_prev, or when it is one that switches to the next segment.  That
 *	  nothing follows in the file is not enough: what follows may not have been
 *	  written yet, or be missing.
 *
 * All records must be read from one file, since an index belongs to a file.
 * The file is compared whenever the reader says that it has read from another
 * one.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/index/indexer.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/rmgr.h"
#include "access/xlogrecord.h"
#include "catalog/pg_control.h"
#include "index/builder.h"
#include "index/index.h"
#include "index/indexer.h"
#include "index/store.h"
#include "miscadmin.h"
#include "utils/memutils.h"

/* Records between two checks whether the caller wants to stop. */
#define RECORDS_BETWEEN_CHECKS	1024

struct WalredoIndexWork
{
	MemoryContext context;
	int			segsize;
	WalredoIndexBuilder *builder;	/* NULL until the first segment */

	/* The segment that is being indexed; 0 if none is. */
	XLogRecPtr	segment;
	WalredoIndexInfo info;
	XLogRecPtr	last_lsn;		/* of the last record that was added */
	uint64		file_number;	/* of the reader, when the file was compared */

	WalredoSegmentId current;	/* of the current record */
	int64		made;			/* indexes that were written */
};

WalredoIndexer *
walredo_indexer_create(WalredoReader *reader)
{
	WalredoIndexer *indexer;

	if (walredo_index_size == 0)
		return NULL;
	indexer = palloc0(sizeof(WalredoIndexer));
	indexer->reader = reader;
	indexer->work = palloc0(sizeof(WalredoIndexWork));
	indexer->work->context = CurrentMemoryContext;
	indexer->work->segsize = walredo_reader_segsize(reader);
	return indexer;
}

void
walredo_indexer_free(WalredoIndexer *indexer)
{
	if (indexer == NULL)
		return;
	if (indexer->work->builder != NULL)
		walredo_index_builder_free(indexer->work->builder);
	pfree(indexer->work);
	pfree(indexer);
}

/* Is the current record read from the file that is being indexed? */
static bool
is_same_file(WalredoIndexer *indexer)
{
	WalredoIndexWork *work = indexer->work;
	const WalredoSegmentId *id = &work->info.id;
	WalredoSegmentId *current = &work->current;

	return walredo_reader_segment_id(indexer->reader, current) &&
		current->segno == id->segno && current->tli == id->tli &&
		current->size == id->size && current->mtime == id->mtime &&
		current->inode == id->inode &&
		strcmp(current->name, id->name) == 0 &&
		strcmp(current->directory, id->directory) == 0;
}

/*
 * Does nothing more for the segment that the current record begins in.
 */
static void
skip_segment(WalredoIndexer *indexer, XLogRecPtr segment)
{
	indexer->skip_from = segment;
	indexer->skip_length = indexer->work->segsize;
	indexer->work->segment = 0;
}

/*
 * Begins with a segment if the current record is the first one in it, if the
 * range goes on to the end of the segment, and if the file has no index.
 */
static void
begin_segment(WalredoIndexer *indexer, XLogRecPtr segment)
{
	WalredoIndexWork *work = indexer->work;
	WalredoSegmentId *id = &work->current;
	const XLogRecord *record = walredo_reader_record(indexer->reader);

	skip_segment(indexer, segment);
	if (record->xl_prev >= segment ||
		walredo_reader_last_lsn(indexer->reader) < segment + work->segsize ||
		!walredo_reader_segment_id(indexer->reader, id) ||
		id->segno != segment / work->segsize ||
		!walredo_store_accepts(id) ||
		walredo_store_has(id, NULL) ||
		!walredo_store_wants(id))
		return;

	if (work->builder == NULL)
	{
		MemoryContext old_context = MemoryContextSwitchTo(work->context);

		work->builder = walredo_index_builder_create();
		MemoryContextSwitchTo(old_context);
	}
	walredo_index_builder_begin(work->builder, segment, work->segsize);
	work->info.id = *id;
	work->segment = segment;
	work->last_lsn = record->xl_prev;
	work->file_number = walredo_reader_file_number(indexer->reader);
	indexer->skip_length = 0;
}

/* Writes the index of the segment, all of whose records have been added. */
static void
finish_segment(WalredoIndexer *indexer)
{
	WalredoIndexWork *work = indexer->work;

	if (walredo_store_write(work->builder, &work->info))
		work->made++;
	skip_segment(indexer, work->segment);
}

/*
 * Adds the current record, which begins in the segment that is being indexed.
 * Returns false if the segment cannot get an index.
 */
static bool
add_to_segment(WalredoIndexer *indexer, XLogRecPtr lsn)
{
	WalredoIndexWork *work = indexer->work;
	const XLogRecord *record = walredo_reader_record(indexer->reader);
	uint64		file_number = walredo_reader_file_number(indexer->reader);

	if (record->xl_prev != work->last_lsn ||
		walredo_index_builder_has_failed(work->builder))
		return false;

	/*
	 * The rest of the last record is in another file, but its begin is in
	 * this one.
	 */
	if (file_number != work->file_number && !is_same_file(indexer))
		return false;
	work->file_number = file_number;
	walredo_index_builder_add(work->builder, record, lsn,
							  walredo_reader_end_lsn(indexer->reader));
	work->last_lsn = lsn;
	return true;
}

void
walredo_indexer_add_record(WalredoIndexer *indexer)
{
	WalredoIndexWork *work = indexer->work;
	const XLogRecord *record = walredo_reader_record(indexer->reader);
	XLogRecPtr	lsn = walredo_reader_start_lsn(indexer->reader);
	XLogRecPtr	segment = lsn - lsn % work->segsize;

	if (work->segment != segment)
	{
		if (work->segment != 0 && segment > work->segment &&
			record->xl_prev == work->last_lsn)
			finish_segment(indexer);
		begin_segment(indexer, segment);
		if (work->segment == 0)
			return;
	}
	if (!add_to_segment(indexer, lsn))
		skip_segment(indexer, segment);
	else if (record->xl_rmid == RM_XLOG_ID &&
			 (record->xl_info & ~XLR_INFO_MASK) == XLOG_SWITCH)
		finish_segment(indexer);
}

/* ----------------------------------------
 * Indexing segments on purpose
 * ----------------------------------------
 */

/* Has the segment that begins at an LSN an index? */
static bool
has_index(WalredoSource *source, XLogRecPtr segment, int64 *bytes)
{
	WalredoSegmentId id;
	int			n = 0;

	while (walredo_store_identify(source, segment, &n, &id))
	{
		if (walredo_store_has(&id, bytes))
			return true;
	}
	return false;
}

/*
 * Is there a file of a segment that can have an index, of a timeline?  If tli
 * is 0, any timeline will do.
 */
static bool
is_segment_of(WalredoSource *source, XLogRecPtr segment, TimeLineID tli)
{
	WalredoSegmentId id;
	int			n = 0;

	return walredo_store_identify(source, segment, &n, &id) &&
		(tli == 0 || id.tli == tli);
}

void
walredo_index_segments(WalredoIndexRun *run)
{
	int			segsize = run->source->segsize;
	WalredoReader *reader = NULL;
	WalredoIndexer *indexer = NULL;
	XLogRecPtr	reached = 0;	/* the segment that the reader is in */
	uint64		nrecords = 0;
	bool		stops = false;

	run->made = 0;
	run->is_open = false;
	for (XLogSegNo segno = run->first; segno <= run->last && !stops; segno++)
	{
		XLogRecPtr	segment = segno * segsize;

		CHECK_FOR_INTERRUPTS();
		stops = run->should_stop != NULL && run->should_stop();
		if (stops || segment + segsize > run->end_lsn ||
			!is_segment_of(run->source, segment, run->tli) ||
			has_index(run->source, segment, NULL))
			continue;

		/* The first record of this segment may have been read already. */
		if (reader == NULL)
		{
			reader = walredo_reader_begin_in(run->source, Max(segment, 1),
											 run->end_lsn);
			indexer = walredo_indexer_create(reader);
		}
		else if (reached != segment)
			walredo_reader_begin_again(reader, Max(segment, 1));
		reached = segment;
		while (!stops && reached == segment)
		{
			XLogRecPtr	lsn;

			if (!walredo_reader_next(reader))
			{
				run->is_open = (segno == run->last);
				break;
			}
			lsn = walredo_reader_start_lsn(reader);
			walredo_indexer_add(indexer, lsn);
			reached = lsn - lsn % segsize;
			if (++nrecords % RECORDS_BETWEEN_CHECKS != 0)
				continue;
			CHECK_FOR_INTERRUPTS();
			stops = run->should_stop != NULL && run->should_stop();
		}

		/* A record that switches to the next segment ends this one. */
		if (run->is_open && has_index(run->source, segment, NULL))
			run->is_open = false;
	}
	if (indexer != NULL)
		run->made = indexer->work->made;
	walredo_indexer_free(indexer);
	if (reader != NULL)
		walredo_reader_end(reader);
}

/* Counts the segments of a stretch, and those that have an index. */
static void
count_indexes(WalredoSource *source, const WalredoStretch *stretch,
			  XLogRecPtr end_lsn, WalredoIndexResult *result)
{
	for (XLogSegNo segno = stretch->first; segno <= stretch->last; segno++)
	{
		XLogRecPtr	segment = segno * source->segsize;
		int64		bytes;

		CHECK_FOR_INTERRUPTS();
		if (segment + source->segsize > end_lsn ||
			!is_segment_of(source, segment, stretch->tli))
			continue;
		result->segments++;
		if (!has_index(source, segment, &bytes))
			continue;
		result->indexed++;
		result->bytes += bytes;
	}
}

void
walredo_index_directory(const char *directories, WalredoIndexResult *result)
{
	WalredoSource *source = walredo_source_begin(directories,
												 WALREDO_TOLERATE_UNUSABLE);
	XLogRecPtr	end_lsn = PG_UINT64_MAX;
	List	   *stretches = walredo_source_stretches(source);
	ListCell   *lc;

	memset(result, 0, sizeof(*result));
	if (source->is_local)
		end_lsn = walredo_source_local_end(PG_UINT64_MAX);

	/* Where a stretch ends, there is no valid record, which is no error. */
	source->tolerance = WALREDO_TOLERATE_ALL;
	foreach(lc, stretches)
	{
		WalredoStretch *stretch = lfirst(lc);
		WalredoIndexRun run = {
			.source = source,
			.tli = stretch->tli,
			.first = stretch->first,
			.last = stretch->last,
			.end_lsn = end_lsn
		};

		walredo_index_segments(&run);
		result->made += run.made;
	}

	/* Some may have been removed to make room for others. */
	foreach(lc, stretches)
		count_indexes(source, lfirst(lc), end_lsn, result);
	list_free_deep(stretches);
	walredo_source_end(source);
}

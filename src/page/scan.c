/*-------------------------------------------------------------------------
 *
 * scan.c
 *	  Scanning WAL for the records that change certain pages.
 *
 * A scan reads one record after the other, and calls walredo_changes_of() to
 * find out what it does to the pages of the filter.  Nothing here depends on
 * the contents of a record.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/scan.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "page/scan.h"

/*
 * The number of records that one call of walredo_page_scan_add_some() reads.
 * It is large enough that what callers do between two calls, such as to show
 * their progress, takes no noticeable time.
 */
#define RECORDS_AT_ONCE		1024

static WalredoPageScan *
begin_scan(const WalredoPageFilter *filter, WalredoReader *reader)
{
	WalredoPageScan *scan = palloc0(sizeof(WalredoPageScan));

	scan->filter = filter;
	scan->reader = reader;
	scan->changes = walredo_changes_create(filter);
	scan->indexer = walredo_indexer_create(reader);
	return scan;
}

WalredoPageScan *
walredo_page_scan_begin(const WalredoPageFilter *filter, const char *directory,
						XLogRecPtr start_lsn, XLogRecPtr end_lsn)
{
	WalredoReader *reader = walredo_reader_begin(directory, start_lsn,
												 end_lsn);

	walredo_reader_allow_restart(reader);
	return begin_scan(filter, reader);
}

WalredoPageScan *
walredo_page_scan_from(const WalredoPageFilter *filter,
					   const char *directory, WalredoBases *bases,
					   const WalredoTag *tag, XLogRecPtr lsn,
					   XLogRecPtr end_lsn)
{
	WalredoReader *reader = walredo_bases_begin_reader(bases, directory, tag,
													   lsn, end_lsn);

	walredo_reader_allow_restart(reader);
	return begin_scan(filter, reader);
}

WalredoPageScan *
walredo_page_scan_seek(const WalredoPageFilter *filter,
					   const char *directory, XLogRecPtr start_lsn)
{
	return begin_scan(filter,
					  walredo_reader_begin_search(directory, start_lsn));
}

/*
 * Moves to the next record of the reader, whether it changes a page of the
 * filter or not.  Returns false at the end of the range.
 */
static inline bool
next_record(WalredoPageScan *scan)
{
	bool		found = walredo_reader_next(scan->reader);

	if (walredo_reader_has_restarted(scan->reader))
		scan->has_restarted = true;
	if (!found)
	{
		scan->num_changes = 0;
		return false;
	}
	walredo_indexer_add(scan->indexer);
	scan->num_changes =
		walredo_changes_of(scan->changes, walredo_reader_record(scan->reader),
						   walredo_reader_end_lsn(scan->reader), &scan->list);
	return true;
}

bool
walredo_page_scan_next(WalredoPageScan *scan)
{
	while (next_record(scan))
	{
		if (scan->num_changes > 0)
			return true;
	}
	return false;
}

void
walredo_page_scan_add(WalredoPageScan *scan, WalredoRebuild *rebuild)
{
	const XLogRecord *record = walredo_reader_record(scan->reader);
	XLogRecPtr	end_lsn = walredo_reader_end_lsn(scan->reader);

	for (int i = 0; i < scan->num_changes; i++)
		walredo_rebuild_add(rebuild, &scan->list[i], record, end_lsn);
}

bool
walredo_page_scan_add_some(WalredoPageScan *scan, WalredoRebuild *rebuild)
{
	for (int i = 0; i < RECORDS_AT_ONCE; i++)
	{
		bool		found = next_record(scan);

		if (scan->has_restarted)
			walredo_rebuild_reset(rebuild);
		scan->has_restarted = false;
		if (!found)
			return false;
		walredo_page_scan_add(scan, rebuild);
	}
	walredo_rebuild_advance(rebuild, walredo_reader_end_lsn(scan->reader));
	return true;
}

void
walredo_page_scan_end(WalredoPageScan *scan)
{
	walredo_changes_free(scan->changes);
	walredo_indexer_free(scan->indexer);
	walredo_reader_end(scan->reader);
	pfree(scan);
}

bool
walredo_find_created_file(const WalredoTag *tags, int ntags,
						  const char *directory, XLogRecPtr start_lsn,
						  WalredoTag *found, XLogRecPtr *created_lsn)
{
	WalredoPageFilter *filter = walredo_filter_forks(tags, ntags, true);
	WalredoPageScan *scan;
	bool		is_found = false;

	scan = walredo_page_scan_begin(filter, directory, start_lsn,
								   WALREDO_END_OF_WAL);
	while (walredo_page_scan_next(scan))
	{
		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < scan->num_changes; i++)
		{
			const WalredoPageChange *change = &scan->list[i];

			/*
			 * Other forks than the main fork are created for a relation that
			 * already has a file.  They say nothing about that file.
			 */
			if (change->of_fork_only ||
				(change->end != WALREDO_FILE_CREATED &&
				 change->end != WALREDO_FILE_COPIED))
				continue;
			*found = change->tag;
			*created_lsn = walredo_reader_end_lsn(scan->reader);
			is_found = true;
		}
	}
	walredo_page_scan_end(scan);
	walredo_filter_free(filter);
	return is_found;
}

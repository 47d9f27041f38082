/*-------------------------------------------------------------------------
 *
 * scan.c
 *	  The part of the log that is about certain pages.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/scan.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "page/scan.h"

WalredoPageScan *
walredo_page_scan_begin(const WalredoPageFilter *filter, const char *directory,
						XLogRecPtr start_lsn, XLogRecPtr end_lsn)
{
	WalredoPageScan *scan = palloc0(sizeof(WalredoPageScan));

	scan->filter = *filter;
	scan->reader = walredo_reader_begin(directory, start_lsn, end_lsn);
	scan->lowering = walredo_lowering_create();
	return scan;
}

bool
walredo_page_scan_next(WalredoPageScan *scan)
{
	while (walredo_reader_next(scan->reader))
	{
		const XLogRecord *record = walredo_reader_record(scan->reader);
		XLogRecPtr	end_lsn = walredo_reader_end_lsn(scan->reader);

		scan->num_records = walredo_lower(scan->lowering, record, end_lsn,
										  &scan->filter.tag,
										  scan->filter.whole_fork,
										  &scan->records);
		scan->truncated_to = walredo_lower_truncation(record, end_lsn,
													  &scan->filter.tag);
		if (scan->num_records > 0)
			return true;
		if (scan->truncated_to != InvalidBlockNumber &&
			(scan->filter.whole_fork ||
			 scan->filter.tag.number >= scan->truncated_to))
			return true;
	}
	return false;
}

void
walredo_page_scan_feed(WalredoPageScan *scan, WalredoRebuild *rebuild)
{
	if (scan->truncated_to != InvalidBlockNumber)
		walredo_rebuild_truncate(rebuild, &scan->filter.tag,
								 scan->truncated_to,
								 walredo_reader_end_lsn(scan->reader));
	for (int i = 0; i < scan->num_records; i++)
		walredo_rebuild_add(rebuild, &scan->records[i].tag,
							scan->records[i].record);
}

void
walredo_page_scan_end(WalredoPageScan *scan)
{
	walredo_lowering_free(scan->lowering);
	walredo_reader_end(scan->reader);
	pfree(scan);
}

/*-------------------------------------------------------------------------
 *
 * scan.h
 *	  The part of the log that is about certain pages.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/scan.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_PAGE_SCAN_H
#define WALREDO_PAGE_SCAN_H

#include "postgres.h"

#include "page/rebuild.h"
#include "record/tag.h"
#include "wal/lower.h"
#include "wal/reader.h"

/* Which pages a scan is for: the one that tag names, or all of its fork. */
typedef struct WalredoPageFilter
{
	WalredoTag	tag;
	bool		whole_fork;
} WalredoPageFilter;

/*
 * A scan of the log.  Its fields are for reading.
 */
typedef struct WalredoPageScan
{
	WalredoPageFilter filter;
	WalredoReader *reader;		/* at the current record of the log */

	/*
	 * What the current record does to pages of the filter, in the order in
	 * which redo does it.  Valid until the next record.
	 */
	WalredoPageRecord *records;
	int			num_records;

	/*
	 * The current record cuts the fork to this many blocks;
	 * InvalidBlockNumber if it does not.
	 */
	BlockNumber truncated_to;

	WalredoLowering *lowering;
} WalredoPageScan;

/* As walredo_reader_begin(), for the pages of a filter. */
extern WalredoPageScan *walredo_page_scan_begin(const WalredoPageFilter *filter,
												const char *directory,
												XLogRecPtr start_lsn,
												XLogRecPtr end_lsn);

/* Moves to the next record of the log that is about one of the pages. */
extern bool walredo_page_scan_next(WalredoPageScan *scan);

/* Adds what the current record does to a rebuild. */
extern void walredo_page_scan_feed(WalredoPageScan *scan,
								   WalredoRebuild *rebuild);

extern void walredo_page_scan_end(WalredoPageScan *scan);

#endif							/* WALREDO_PAGE_SCAN_H */

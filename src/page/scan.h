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

/*
 * A scan of the server's own log for all pages of any number of forks, which
 * are rebuilt on the way.
 */
typedef struct WalredoForkScan WalredoForkScan;

/*
 * Begins at the start of the log.  The tags name any block of their forks,
 * which are forks of relations, and are not needed later.
 */
extern WalredoForkScan *walredo_fork_scan_begin(const WalredoTag *forks,
												int nforks,
												XLogRecPtr end_lsn);

/* Where the log that is read begins and ends, and how far it has been read. */
extern XLogRecPtr walredo_fork_scan_first_lsn(WalredoForkScan *scan);
extern XLogRecPtr walredo_fork_scan_last_lsn(WalredoForkScan *scan);
extern XLogRecPtr walredo_fork_scan_position(WalredoForkScan *scan);

/*
 * Adds what some of the next records do to a rebuild.  False at the end of the
 * log.
 */
extern bool walredo_fork_scan_next(WalredoForkScan *scan,
								   WalredoRebuild *rebuild);

extern void walredo_fork_scan_end(WalredoForkScan *scan);

#endif							/* WALREDO_PAGE_SCAN_H */

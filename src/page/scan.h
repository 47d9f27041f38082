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
#ifndef WALREDO_SCAN_H
#define WALREDO_SCAN_H

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
typedef struct WalredoScan
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
} WalredoScan;

/* As walredo_reader_begin(), for the pages of a filter. */
extern WalredoScan *walredo_scan_begin(const WalredoPageFilter *filter,
									   const char *directory,
									   XLogRecPtr start_lsn,
									   XLogRecPtr end_lsn);

/* Moves to the next record of the log that is about one of the pages. */
extern bool walredo_scan_next(WalredoScan *scan);

/* Adds what the current record does to a rebuild. */
extern void walredo_scan_feed(WalredoScan *scan, WalredoRebuild *rebuild);

extern void walredo_scan_end(WalredoScan *scan);

#endif							/* WALREDO_SCAN_H */

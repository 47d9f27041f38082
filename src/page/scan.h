/*-------------------------------------------------------------------------
 *
 * scan.h
 *	  The part of WAL that is about certain pages.
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
#include "wal/changes.h"
#include "wal/reader.h"

/* Which pages a scan is for: the one that tag names, or all of its fork. */
typedef struct WalredoPageFilter
{
	WalredoTag	tag;
	bool		whole_fork;
} WalredoPageFilter;

/*
 * A scan of WAL.  Callers may read its fields, but not change them.
 */
typedef struct WalredoPageScan
{
	WalredoPageFilter filter;
	WalredoReader *reader;		/* at the current record */

	/*
	 * What the current record does to pages of the filter, in the order in
	 * which redo does it.  Valid until the next record.
	 */
	WalredoPageRecord *records;
	int			num_records;

	/*
	 * How the current record ends pages of the filter without naming them,
	 * and the first page of the fork that it does so to; WALREDO_NOT_ENDED if
	 * it does not.
	 */
	WalredoPageEnd end;
	uint64		end_from;

	/*
	 * What came before the current record, or, at the end of WAL, before
	 * that, is separated from it by WAL that was removed before it could be
	 * read.  To be reset by who has taken note of it.
	 */
	bool		has_restarted;

	WalredoLowering *lowering;
} WalredoPageScan;

/* As walredo_reader_begin(), for the pages of a filter. */
extern WalredoPageScan *walredo_page_scan_begin(const WalredoPageFilter *filter,
												const char *directory,
												XLogRecPtr start_lsn,
												XLogRecPtr end_lsn);

/* The same as walredo_reader_begin_search(). */
extern WalredoPageScan *walredo_page_scan_seek(const WalredoPageFilter *filter,
											   const char *directory,
											   XLogRecPtr start_lsn);

/* Moves to the next record of WAL that is about one of the pages. */
extern bool walredo_page_scan_next(WalredoPageScan *scan);

/* Adds what the current record does to a rebuild. */
extern void walredo_page_scan_add(WalredoPageScan *scan,
								  WalredoRebuild *rebuild);

extern void walredo_page_scan_end(WalredoPageScan *scan);

/*
 * A scan of the server's own log for all pages of any number of forks, which
 * are rebuilt on the way.
 */
typedef struct WalredoForkScan WalredoForkScan;

/*
 * Begins at the start of WAL.  The tags name any block of their forks,
 * which are forks of relations, and are not needed later.
 */
extern WalredoForkScan *walredo_fork_scan_begin(const WalredoTag *forks,
												int nforks,
												XLogRecPtr end_lsn);

/*
 * Where the WAL that is read begins, about where it ends, and the end LSN of
 * the last record that was read.  The last is where another scan can go on.
 */
extern XLogRecPtr walredo_fork_scan_first_lsn(WalredoForkScan *scan);
extern XLogRecPtr walredo_fork_scan_last_lsn(WalredoForkScan *scan);
extern XLogRecPtr walredo_fork_scan_position(WalredoForkScan *scan);

/*
 * Adds what some of the next records do to a rebuild.  False at the end of WAL.
 * If WAL has been removed before it could be read, the rebuild begins anew with
 * what there still is.
 */
extern bool walredo_fork_scan_next(WalredoForkScan *scan,
								   WalredoRebuild *rebuild);

extern void walredo_fork_scan_end(WalredoForkScan *scan);

/*
 * Looks for files of relations that the server's own WAL creates, or replaces
 * by a copy, from start_lsn on.  The tags name any block of the relations.
 * True if there is one; then *found is the tag of the last of them, and
 * *created_lsn the end LSN of the record.
 */
extern bool walredo_find_created_file(const WalredoTag *tags, int ntags,
									  XLogRecPtr start_lsn, WalredoTag *found,
									  XLogRecPtr *created_lsn);

#endif							/* WALREDO_PAGE_SCAN_H */

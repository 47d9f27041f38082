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

/*
 * A scan of WAL for the pages of a filter: one page, a fork, or any number of
 * forks.  Callers may read its fields, but not change them, except as said.
 */
typedef struct WalredoPageScan
{
	const WalredoPageFilter *filter;
	WalredoReader *reader;		/* at the current record */

	/*
	 * What the current record does to pages of the filter, as
	 * walredo_changes_of() has it.  Valid until the next record.  A caller
	 * that does not want some of the changes may take them out.
	 */
	WalredoPageChange *list;
	int			num_changes;
	WalredoChanges *changes;	/* for walredo_change_record() */

	/*
	 * What came before the current record, or, at the end of WAL, before
	 * that, is separated from it by WAL that was removed before it could be
	 * read.  To be reset by who has taken note of it.
	 */
	bool		has_restarted;
} WalredoPageScan;

/*
 * As walredo_reader_begin().  If the range has WALREDO_START_OF_WAL, the scan
 * can go on behind a gap: see walredo_reader_allow_restart().  The filter must
 * stay as long as the scan.
 */
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

/*
 * Moves over some of the next records, about the pages or not, and adds what
 * they do to a rebuild, which is given time to replay some of it.  False at the
 * end of WAL.  If WAL has been removed before it could be read, the rebuild is
 * reset, and begins anew with what there still is.
 */
extern bool walredo_page_scan_add_some(WalredoPageScan *scan,
									   WalredoRebuild *rebuild);

extern void walredo_page_scan_end(WalredoPageScan *scan);

/*
 * Looks for files of relations that the server's own WAL creates, or replaces
 * by a copy, from start_lsn on.  The tags name any block of the relations.
 * True if there is one; then *found is a tag of the last of them, and
 * *created_lsn the end LSN of the record.
 */
extern bool walredo_find_created_file(const WalredoTag *tags, int ntags,
									  XLogRecPtr start_lsn, WalredoTag *found,
									  XLogRecPtr *created_lsn);

#endif							/* WALREDO_PAGE_SCAN_H */

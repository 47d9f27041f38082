/*-------------------------------------------------------------------------
 *
 * scan.h
 *	  Scanning WAL for the records that change certain pages.
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

#include "index/index.h"
#include "page/bases.h"
#include "page/rebuild.h"
#include "record/tag.h"
#include "wal/changes.h"
#include "wal/reader.h"

/* Records that may concern the pages of a scan. */
typedef struct WalredoRefs
{
	WalredoIndexRef *refs;
	int			nrefs;
	int			max_refs;
} WalredoRefs;

/*
 * A scan of WAL for the changes of the pages that a filter selects.  Callers
 * may read these fields, and change those of which this is said.
 */
typedef struct WalredoPageScan
{
	const WalredoPageFilter *filter;
	WalredoReader *reader;		/* at the current record */
	WalredoIndexer *indexer;	/* makes missing indexes of what is read */

	/*
	 * The changes that the current record makes to pages of the filter, as
	 * walredo_changes_of() returns them.  Valid until the next record.  A
	 * caller may remove changes from the list, and reduce num_changes, to
	 * keep walredo_page_scan_add() from adding them.
	 */
	WalredoPageChange *list;
	int			num_changes;
	WalredoChanges *changes;	/* for walredo_change_record() */

	/*
	 * Set if WAL was removed before it could be read, so that there is a gap
	 * between the current record, or the end of WAL, and the records that
	 * were returned earlier.  The scan never resets this; the caller does,
	 * when it has dropped what it knows from those records.
	 */
	bool		has_restarted;

	/*
	 * Private to scan.c.  If in_refs is set, the records that may concern the
	 * page are read one by one, up to an LSN.  What comes then is found
	 * through last_lsn, or if that is 0, through resume_lsn, unless
	 * refs_to_end is set.
	 */
	bool		in_refs;
	WalredoRefs refs;			/* in ascending order */
	int			next_ref;
	bool		refs_to_end;	/* there are no others in the range */
	XLogRecPtr	resume_lsn;		/* else read on from here */
	XLogRecPtr	last_lsn;		/* where the last record of the index begins
								 * that refs are from, or 0 */
	XLogRecPtr	last_end_lsn;	/* where that record ends, says the index */
	XLogRecPtr	read_to;		/* where the last record ends of which it is
								 * known whether it is in refs */
	XLogRecPtr	returned_lsn;	/* the last of refs that was returned, or 0 */

	/* If it is not set, all records are read. */
	XLogRecPtr	after_lsn;		/* but not those that begin up to here */
	XLogRecPtr	segment_end;	/* look for an index from here on */
	bool		is_finished;
} WalredoPageScan;

/*
 * Begins a scan, in the current memory context, with a reader as
 * walredo_reader_begin() makes it.  If the range begins with
 * WALREDO_START_OF_WAL, the scan can go on after a gap: see
 * walredo_reader_allow_restart().  The filter must live as long as the scan.
 */
extern WalredoPageScan *walredo_page_scan_begin(const WalredoPageFilter *filter,
												const char *directory,
												XLogRecPtr start_lsn,
												XLogRecPtr end_lsn);

/*
 * Begins a scan with a reader as walredo_bases_begin_reader() makes it.  The
 * caller gives the backup that this has chosen to walredo_rebuild_set_backup().
 */
extern WalredoPageScan *walredo_page_scan_from(const WalredoPageFilter *filter,
											   const char *directory,
											   WalredoBases *bases,
											   XLogRecPtr lsn);

/*
 * Begins a scan for the page of a WALREDO_FILTER_PAGE that returns what is
 * needed to make the page as of lsn, and all records of the page from there up
 * to end_lsn, which is not before lsn.
 *
 * WAL is read backwards from lsn, to the newest record that makes older ones
 * useless: which starts the page, or ends it.  Nothing that begins before floor
 * is looked at, because the caller has the page as of then; 0/0 if it has not.
 * If bases is not NULL, a backup can take the place of older records; it is
 * then chosen as by walredo_bases_begin_reader().  If none of these is found,
 * the scan begins where WAL does.  walredo_reader_first_lsn() tells how far
 * back WAL was looked at.
 */
extern WalredoPageScan *walredo_page_scan_back(const WalredoPageFilter *filter,
											   const char *directory,
											   WalredoBases *bases,
											   XLogRecPtr floor,
											   XLogRecPtr lsn,
											   XLogRecPtr end_lsn);

/*
 * How far WAL has been looked at, as walredo_reader_end_lsn() after the reader
 * has found the current record, or the end of the range.
 */
extern XLogRecPtr walredo_page_scan_end_lsn(WalredoPageScan *scan);

/* The same with a reader as walredo_reader_begin_search() makes it. */
extern WalredoPageScan *walredo_page_scan_seek(const WalredoPageFilter *filter,
											   const char *directory,
											   XLogRecPtr start_lsn);

/*
 * Moves to the next record that changes or ends a page of the filter.  Returns
 * false if there is none before the end of the range.  To be called in a memory
 * context that lives as long as the scan.
 */
extern bool walredo_page_scan_next(WalredoPageScan *scan);

/* Adds the changes of the current record to a rebuild. */
extern void walredo_page_scan_add(WalredoPageScan *scan,
								  WalredoRebuild *rebuild);

/*
 * Reads about a thousand records of WAL, adds their changes of pages of the
 * filter to a rebuild, and calls walredo_rebuild_advance().  Returns false at
 * the end of the range.  If WAL has been removed before it could be read, the
 * rebuild is reset, so that it has only the records after the gap.
 */
extern bool walredo_page_scan_add_some(WalredoPageScan *scan,
									   WalredoRebuild *rebuild);

extern void walredo_page_scan_end(WalredoPageScan *scan);

/*
 * Reads WAL from start_lsn to its end, and looks for records that
 * create the file of one of some relations, or replace it by a copy.  The tags
 * name any block of any fork of these relations.  Returns false if there is no
 * such record.  Otherwise sets *found to the tag of a block of the relation,
 * and *created_lsn to the end LSN of the record; if there are several such
 * records, of the last one.
 */
extern bool walredo_find_created_file(const WalredoTag *tags, int ntags,
									  const char *directory,
									  XLogRecPtr start_lsn, WalredoTag *found,
									  XLogRecPtr *created_lsn);

#endif							/* WALREDO_PAGE_SCAN_H */

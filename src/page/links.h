/*-------------------------------------------------------------------------
 *
 * links.h
 *	  Whether the page images in WAL continue the pages that WAL knows.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/links.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_LINKS_H
#define WALREDO_LINKS_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "record/tag.h"
#include "wal/reader.h"

/*
 * An image in WAL of a page that cannot be what the records before have made.
 *
 * If page_lsn is less than expected_lsn, the records of the page that end after
 * page_lsn, up to expected_lsn, were lost before the image was taken.
 * Otherwise, the page had an LSN that no record has given to it.
 */
typedef struct WalredoBrokenLink
{
	XLogRecPtr	lsn;			/* end LSN of the record with the image */
	XLogRecPtr	start_lsn;		/* where that record begins */
	WalredoTag	tag;			/* a block of a relation */
	XLogRecPtr	page_lsn;		/* the LSN in the image; may be anything */
	XLogRecPtr	expected_lsn;	/* end LSN of the newest record before that
								 * surely stamped the page with its LSN */
	uint8		rmid;			/* of the record with the image */
	uint8		info;			/* its xl_info */
	bool		is_applied;		/* redo restores the image; if not, it is
								 * there for wal_consistency_checking */
	const char *resource_manager;
	const char *record_type;
	const char *detail;			/* sentences, which list what was lost */
} WalredoBrokenLink;

/*
 * Is given a broken link, which is valid only during the call, in the order of
 * the LSNs, unless WAL names more pages than there is memory for: see
 * links.c.  It may raise errors.
 */
typedef void (*WalredoLinkCallback) (const WalredoBrokenLink *link, void *arg);

/* What a check has looked at. */
typedef struct WalredoLinksResult
{
	uint64		num_images;		/* images of pages that are wanted */
	uint64		num_links;		/* those of them that had a link */
	uint64		num_broken;		/* those of them that were broken */
	int			num_passes;		/* how often WAL was read */
	XLogRecPtr	first_lsn;		/* where the range began, and the end LSN of */
	XLogRecPtr	end_lsn;		/* the last record that was read */

	/*
	 * For walredo_links_check_page() only: the end LSN of the newest record
	 * that makes the page without an image of it, or ends it, so that what
	 * was before is of no concern; or 0/0.
	 */
	XLogRecPtr	made_lsn;
} WalredoLinksResult;

/*
 * Reads a range of WAL, which is as for walredo_reader_begin(), and reports
 * each image of a page whose link to the records before it is broken.  An image
 * that has no record of its page before it in the range has no link, so it says
 * nothing.
 *
 * If nforks is not 0, only pages of the forks that the tags name a block of are
 * looked at.  After a broken link, the image counts as what the page is.
 *
 * Takes up to maintenance_work_mem, and reads WAL several times if that is not
 * enough.  If the server removes WAL while it is read, and start_lsn is
 * WALREDO_START_OF_WAL, the check goes on after the gap, with a WARNING, and
 * has forgotten all pages; otherwise that is an ERROR, as are missing segments
 * (58P01) and records or images that contradict themselves (XX001).
 */
extern void walredo_links_check(const char *directory, XLogRecPtr start_lsn,
								XLogRecPtr end_lsn, const WalredoTag *forks,
								int nforks, WalredoLinkCallback callback,
								void *arg, WalredoLinksResult *result);

/*
 * The same for one page, in the server's WAL from start_lsn on to its end,
 * which is fast where there are indexes of WAL.
 */
extern void walredo_links_check_page(const WalredoTag *tag,
									 const char *directory,
									 XLogRecPtr start_lsn,
									 WalredoLinkCallback callback, void *arg,
									 WalredoLinksResult *result);

#endif							/* WALREDO_LINKS_H */

/*-------------------------------------------------------------------------
 *
 * page_at.c
 *	  One page as of an LSN.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/page_at.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "page/page_at.h"
#include "storage/bufpage.h"
#include "wal/reader.h"

/* Gives a rebuild the base image of a page, if there is one. */
static void
set_base(WalredoRebuild *rebuild, const WalredoTag *tag,
		 const WalredoGivenBase *base)
{
	if (base->image != NULL)
		walredo_rebuild_set_base(rebuild, tag, base->image, base->lsn);
}

/*
 * Checks a base image that is to become a page as of lsn, and what the caller
 * says that it is as of.  ERROR 22023 if they do not fit together.
 */
static void
check_base(const WalredoTag *tag, const WalredoGivenBase *base, XLogRecPtr lsn)
{
	XLogRecPtr	page_lsn = InvalidXLogRecPtr;

	if (base->image == NULL && base->lsn != InvalidXLogRecPtr)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("base_lsn was specified, but there is no base image")));
	if (base->image != NULL && tag->kind == WALREDO_TAG_REL)
		page_lsn = PageGetLSN((Page) VARDATA(base->image));
	if (page_lsn > lsn || base->lsn > lsn)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("base image is newer than the LSN asked for"),
				 errdetail("The base image has LSN %X/%X, but the page is requested as of %X/%X.",
						   LSN_FORMAT_ARGS(Max(page_lsn, base->lsn)),
						   LSN_FORMAT_ARGS(lsn)),
				 errhint("Specify an older image of the page, or none.")));
	if (base->lsn != InvalidXLogRecPtr && page_lsn > base->lsn)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("base image is newer than base_lsn"),
				 errdetail("The base image has LSN %X/%X, but base_lsn is %X/%X.",
						   LSN_FORMAT_ARGS(page_lsn),
						   LSN_FORMAT_ARGS(base->lsn))));
}

/*
 * Begins to read WAL for a page as of lsn.  There are these cases:
 *
 * If the caller says what the base image is as of, only WAL from there on is
 * needed, and it must be there.
 *
 * If the base image has an LSN, WAL is read back to there, if it reaches back
 * so far.  Otherwise WAL is read back to its beginning, because the page may
 * have been unchanged for long after its LSN.
 *
 * If there is no base image, one may come from a backup.
 */
static WalredoPageScan *
begin_page_scan(const WalredoPageFilter *filter, const char *directory,
				WalredoBases *bases, const WalredoGivenBase *base,
				XLogRecPtr lsn)
{
	XLogRecPtr	floor = InvalidXLogRecPtr;

	if (base->image == NULL)
		return walredo_page_scan_back(filter, directory, bases,
									  InvalidXLogRecPtr, lsn, lsn);
	if (base->lsn != InvalidXLogRecPtr)
		return walredo_page_scan_begin(filter, directory, base->lsn, lsn);
	if (filter->tag.kind == WALREDO_TAG_REL)
		floor = PageGetLSN((Page) VARDATA(base->image));
	return walredo_page_scan_back(filter, directory, NULL, floor, lsn, lsn);
}

/*
 * If WAL was removed before it could be read, forgets what came before the gap,
 * and begins again with the base image.
 */
static void
forget_before_gap(WalredoPageScan *scan, WalredoRebuild *rebuild,
				  const WalredoGivenBase *base)
{
	if (!scan->has_restarted)
		return;
	walredo_rebuild_reset(rebuild);
	set_base(rebuild, &scan->filter->tag, base);
	scan->has_restarted = false;
}

WalredoPageAt *
walredo_page_at_read(const WalredoTag *tag, XLogRecPtr lsn,
					 const WalredoGivenBase *base, const char *directory)
{
	WalredoPageAt *at = palloc0(sizeof(WalredoPageAt));

	at->filter = walredo_filter_page(tag);
	at->rebuild = walredo_rebuild_create();
	at->bases = base->image != NULL ?
		palloc0(sizeof(WalredoBases)) : walredo_bases_open();

	/* This also checks the length of the base image. */
	set_base(at->rebuild, tag, base);
	check_base(tag, base, lsn);
	at->scan = begin_page_scan(at->filter, directory, at->bases, base, lsn);
	walredo_rebuild_set_backup(at->rebuild, at->bases->backup,
							   at->bases->lsn);
	while (walredo_page_scan_next(at->scan))
	{
		if (at->scan->has_restarted)
			at->start_lsn = InvalidXLogRecPtr;
		forget_before_gap(at->scan, at->rebuild, base);
		for (int i = 0; i < at->scan->num_changes; i++)
		{
			if (at->scan->list[i].starts_page)
				at->start_lsn = walredo_reader_end_lsn(at->scan->reader);
		}
		walredo_page_scan_add(at->scan, at->rebuild);
	}
	if (at->scan->has_restarted)
		at->start_lsn = InvalidXLogRecPtr;
	forget_before_gap(at->scan, at->rebuild, base);
	return at;
}

void
walredo_page_at_get(WalredoPageAt *at)
{
	walredo_rebuild_get(at->rebuild, &at->filter->tag, &at->page);
}

void
walredo_page_at_end(WalredoPageAt *at)
{
	walredo_page_scan_end(at->scan);
	walredo_rebuild_free(at->rebuild);
	walredo_filter_free(at->filter);
	pfree(at);
}

/*-------------------------------------------------------------------------
 *
 * page_at.h
 *	  One page as of an LSN.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/page_at.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_PAGE_AT_H
#define WALREDO_PAGE_AT_H

#include "postgres.h"

#include "page/bases.h"
#include "page/rebuild.h"
#include "page/scan.h"
#include "record/tag.h"

/* A base image that the caller has given. */
typedef struct WalredoGivenBase
{
	const bytea *image;			/* NULL if there is none */
	XLogRecPtr	lsn;			/* as of which it is, or InvalidXLogRecPtr */
} WalredoGivenBase;

/* A page as of an LSN, and what it was made from. */
typedef struct WalredoPageAt
{
	WalredoPageFilter *filter;	/* of the page */
	WalredoBases *bases;		/* if a backup was used, which; never NULL */
	WalredoPageScan *scan;		/* at its end */
	WalredoRebuild *rebuild;
	WalredoRebuiltPage page;	/* set by walredo_page_at_get() */

	/*
	 * The end LSN of the newest record that starts the page, from which on it
	 * is made; or InvalidXLogRecPtr if there is none, so that it is made from
	 * a base image, if at all.
	 */
	XLogRecPtr	start_lsn;
} WalredoPageAt;

/*
 * Reads WAL of a directory, as for walredo_reader_begin(), for what a page was
 * at lsn, which may be WALREDO_END_OF_WAL.  It is read backwards, as by
 * walredo_page_scan_back(), as far as it is needed, where the caller does not
 * say what the base image is as of.
 *
 * base is not NULL, but need not have an image.  Without one, one can come from
 * a backup.  ERROR 22023 if an image does not fit the page or the LSN.
 *
 * The result is palloc'd in the current memory context.
 */
extern WalredoPageAt *walredo_page_at_read(const WalredoTag *tag,
										   XLogRecPtr lsn,
										   const WalredoGivenBase *base,
										   const char *directory);

/*
 * Replays what was read, and sets at->page, as walredo_rebuild_get() does.  The
 * image, if there is one, lives in the current memory context.
 */
extern void walredo_page_at_get(WalredoPageAt *at);

/* Frees everything but the image. */
extern void walredo_page_at_end(WalredoPageAt *at);

#endif							/* WALREDO_PAGE_AT_H */

/*-------------------------------------------------------------------------
 *
 * rebuild.h
 *	  Pages made from the records that WAL has of them.
 *
 * A rebuild takes records of any number of pages in the order of WAL, and
 * keeps for each page the newest image, as far as it can be made.  Records
 * wait until there are many, so that a child replays those of one page in one
 * go.  Memory is bounded: what is more than maintenance_work_mem goes to a
 * temporary file, as images.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/rebuild.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_REBUILD_H
#define WALREDO_REBUILD_H

#include "postgres.h"

#include "access/xlogrecord.h"
#include "record/record.h"
#include "record/tag.h"
#include "wal/changes.h"

typedef struct WalredoRebuild WalredoRebuild;

/* What a rebuild knows of a page. */
typedef struct WalredoRebuiltPage
{
	/*
	 * The image, or NULL if there is none: because no record of the page came
	 * (num_records is 0), or none that initializes it or has an image of it,
	 * or because of what the next fields say.
	 */
	bytea	   *image;

	/*
	 * The image in WAL that the page starts from lacks contents: see
	 * walredo_hole_has_contents().
	 */
	bool		is_incomplete;

	/*
	 * Its records have not been replayed, and walredo_rebuild_get() would
	 * have to, or raise why it cannot.  Set by walredo_rebuild_next() only.
	 */
	bool		is_waiting;

	/*
	 * How what was known of the page has ended, and the end LSN of the record
	 * that ended it, unless a later record made the page anew.
	 */
	WalredoPageEnd end;
	XLogRecPtr	end_lsn;

	/*
	 * Records of the page since then, and the end LSNs of the first and last
	 * of them.
	 */
	uint64		num_records;
	XLogRecPtr	first_lsn;
	XLogRecPtr	last_lsn;

	/* The resource manager of the last that was no mere image, or -1. */
	int			rmid;
} WalredoRebuiltPage;

/*
 * A new rebuild, in the current memory context, whose file ends with the
 * current resource owner.
 */
extern WalredoRebuild *walredo_rebuild_create(void);

/* Gives a page a base image, which is copied. */
extern void walredo_rebuild_set_base(WalredoRebuild *rebuild,
									 const WalredoTag *tag,
									 const bytea *base);

/*
 * Gives a page of one rebuild all that another knows of it, as if its records
 * had come; its image only with with_image.
 */
extern void walredo_rebuild_copy_page(WalredoRebuild *rebuild,
									  WalredoRebuild *source,
									  const WalredoTag *tag, bool with_image);

/*
 * Adds a change that a record which ends at end_lsn makes.  What is needed of
 * the record is copied.  Changes of a page come in LSN order.
 *
 * An unknown change ends what is known of the page.  A change that ends pages
 * does so as if no record of them had come before; a base image that is newer
 * stays.
 */
extern void walredo_rebuild_add(WalredoRebuild *rebuild,
								const WalredoPageChange *change,
								const XLogRecord *record, XLogRecPtr end_lsn);

/*
 * Has a child replay some of what waits, and does not wait until it has.  To be
 * called every now and then, with the position up to which WAL was added.
 * What fails is left for later, when it may not be needed any more.
 */
extern void walredo_rebuild_advance(WalredoRebuild *rebuild, XLogRecPtr lsn);

/* Forgets all that has been added, and all that has ended. */
extern void walredo_rebuild_reset(WalredoRebuild *rebuild);

/*
 * Begins to go through the pages of a fork, of which fork_tag names any block.
 * To be called once a fork, when no more records will be added.
 */
extern void walredo_rebuild_begin_fork(WalredoRebuild *rebuild,
									   const WalredoTag *fork_tag);

/*
 * How many blocks the fork must have had for the records that have been added,
 * after what has ended; 0 if there are none.
 */
extern uint64 walredo_rebuild_fork_blocks(WalredoRebuild *rebuild);

/*
 * The next page of the fork that anything is known of, in block order.  False
 * if there is none.  The image is valid until the next call.  Many are replayed
 * at once, so that it is faster than to get one page after the other; no child
 * is in use when it returns.
 */
extern bool walredo_rebuild_next(WalredoRebuild *rebuild, WalredoTag *tag,
								 WalredoRebuiltPage *page);

/*
 * Forgets the image that walredo_rebuild_next() has returned last.  What
 * walredo_rebuild_get() says of the page is undefined then.
 */
extern void walredo_rebuild_forget(WalredoRebuild *rebuild);

/*
 * What has become of a page, with all records that were added.  The image is
 * in the current memory context.  If a child fails at it, raises that, and the
 * rebuild is as before.
 */
extern void walredo_rebuild_get(WalredoRebuild *rebuild,
								const WalredoTag *tag,
								WalredoRebuiltPage *page);

extern void walredo_rebuild_free(WalredoRebuild *rebuild);

#endif							/* WALREDO_REBUILD_H */

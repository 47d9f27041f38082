/*-------------------------------------------------------------------------
 *
 * rebuild.h
 *	  Pages made from the records that the log has of them.
 *
 * A rebuild takes records of any number of pages in the order of the log, and
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

typedef struct WalredoRebuild WalredoRebuild;

/* What a rebuild knows of a page. */
typedef struct WalredoRebuiltPage
{
	/*
	 * The image, or NULL if there is none: because no record of the page came
	 * (num_records is 0), or none that initializes it or has an image of it.
	 */
	bytea	   *image;

	/* Records of the page, and the end LSNs of the first and last of them. */
	uint64		num_records;
	XLogRecPtr	first_lsn;
	XLogRecPtr	last_lsn;

	/* The page was cut off with the end of its fork, and not made again. */
	bool		truncated;
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
 * True if a page can be made from the record alone.  Besides
 * walredo_record_will_init() this takes that an image in it is all of the page.
 */
extern bool walredo_record_starts_page(const WalredoTag *tag,
									   const WalredoRecord *record);

/* Adds a record, which is copied.  Records of a page come in LSN order. */
extern void walredo_rebuild_add(WalredoRebuild *rebuild,
								const WalredoTag *tag,
								const WalredoRecord *record);

/*
 * The same for a whole WAL record, at least a sound one, which names the block
 * of the tag.  end_lsn is where it ends, and starts_page what
 * walredo_record_starts_page() would say.
 */
extern void walredo_rebuild_add_block(WalredoRebuild *rebuild,
									  const WalredoTag *tag,
									  const XLogRecord *xlogrecord,
									  XLogRecPtr end_lsn, bool starts_page);

/*
 * Has a child replay some of what waits, and does not wait until it has.  To be
 * called every now and then, with the position up to which the log was added.
 * What fails is left for later, when it may not be needed any more.
 */
extern void walredo_rebuild_advance(WalredoRebuild *rebuild, XLogRecPtr lsn);

/*
 * Ends all pages of a fork from nblocks on, as if no record of them had come.
 * fork_tag names any block of the fork, and lsn is the end of the record that
 * cuts it off: a base image that is newer stays.
 */
extern void walredo_rebuild_truncate(WalredoRebuild *rebuild,
									 const WalredoTag *fork_tag,
									 BlockNumber nblocks, XLogRecPtr lsn);

/*
 * Begins to go through the pages of a fork, of which fork_tag names any block.
 * To be called once a fork, when no more records will be added.
 */
extern void walredo_rebuild_begin_fork(WalredoRebuild *rebuild,
									   const WalredoTag *fork_tag);

/*
 * The image of the next page that there is one of, in block order, or NULL.
 * Valid until the next call.  Many are replayed at once, so that it is faster
 * than to get one page after the other; no child is in use when it returns.
 */
extern const bytea *walredo_rebuild_next(WalredoRebuild *rebuild,
										 WalredoTag *tag);

/*
 * Forgets the image that walredo_rebuild_next() has returned last.  What
 * walredo_rebuild_get() says of the page is undefined then.
 */
extern void walredo_rebuild_forget(WalredoRebuild *rebuild);

/*
 * What has become of a page, with all records that were added.  The image is
 * in the current memory context.
 */
extern void walredo_rebuild_get(WalredoRebuild *rebuild,
								const WalredoTag *tag,
								WalredoRebuiltPage *page);

extern void walredo_rebuild_free(WalredoRebuild *rebuild);

#endif							/* WALREDO_REBUILD_H */

/*-------------------------------------------------------------------------
 *
 * rebuild.h
 *	  Pages made from the records that WAL has of them.
 *
 * A rebuild is given records of any number of pages in the order of WAL, and
 * says at the end what each page looks like.  Records wait until there are
 * many, so that a child replays those of one page in one go, and are dropped
 * when a later record makes the page anew.  Memory is bounded: what is more
 * than maintenance_work_mem goes to a temporary file, as images.
 *
 * To use one, create it, add what records do to pages, call
 * walredo_rebuild_advance() now and then on the way, and then either go through
 * whole forks with walredo_rebuild_begin_fork() and walredo_rebuild_next(), or
 * ask for single pages with walredo_rebuild_get().
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
	 * The image after all records that were added.  NULL if there is none:
	 * because no record of the page was added (num_records is 0), or none
	 * that initializes the page or holds an image of it, or because of what
	 * the next fields say.
	 */
	bytea	   *image;

	/*
	 * The image in WAL that the page starts from lacks contents: see
	 * walredo_hole_has_contents().
	 */
	bool		is_incomplete;

	/*
	 * Some of its records have not been replayed, as a child has failed at
	 * this page or at another.  walredo_rebuild_get() tries this page alone,
	 * and raises the error if it was this one.  Set by walredo_rebuild_next()
	 * only.
	 */
	bool		is_waiting;

	/*
	 * How what was known of the page has ended, and the end LSN of the record
	 * that ended it.  If a later record made the page anew, end is
	 * WALREDO_NOT_ENDED.
	 */
	WalredoPageEnd end;
	XLogRecPtr	end_lsn;

	/*
	 * How many records of the page were added since it has last ended, or at
	 * all if it never has, and the end LSNs of the first and last of them.
	 */
	uint64		num_records;
	XLogRecPtr	first_lsn;
	XLogRecPtr	last_lsn;

	/*
	 * The resource manager of the last of them that is more than an image
	 * (which RM_XLOG_ID logs for any other), or -1.
	 */
	int			rmid;
} WalredoRebuiltPage;

/*
 * Creates a rebuild in the current memory context.  Its temporary file ends
 * with the current resource owner.
 */
extern WalredoRebuild *walredo_rebuild_create(void);

/*
 * Gives a page, of which no records have been added, an image to start from,
 * which is copied.  Records that are not newer than the LSN of the image of a
 * relation's block do nothing to it.  ERROR 22023 if the length is wrong.
 */
extern void walredo_rebuild_set_base(WalredoRebuild *rebuild,
									 const WalredoTag *tag,
									 const bytea *base);

/*
 * Gives a page of one rebuild all that another rebuild, source, knows of it, as
 * if the same records had been added; its image only with with_image, for which
 * source replays what waits.  Raises what walredo_rebuild_get() does.
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
 * Has a child replay some of the records that wait, and does not wait until it
 * has.  To be called every thousand records or so, with the end LSN of the
 * last.  If a child fails, nothing is raised: the records may turn out not to
 * be needed.
 */
extern void walredo_rebuild_advance(WalredoRebuild *rebuild, XLogRecPtr lsn);

/*
 * Forgets all records, images and ends, as if the rebuild had just been
 * created.
 */
extern void walredo_rebuild_reset(WalredoRebuild *rebuild);

/*
 * Begins to go through the pages of a fork, of which fork_tag names any block.
 * No more records may be added to the rebuild after the first call.
 */
extern void walredo_rebuild_begin_fork(WalredoRebuild *rebuild,
									   const WalredoTag *fork_tag);

/*
 * How many blocks the fork that walredo_rebuild_begin_fork() was called for has
 * at least, as there are records of them since they have last ended; 0 if there
 * are no such records.
 */
extern uint64 walredo_rebuild_fork_blocks(WalredoRebuild *rebuild);

/*
 * Moves to the next page of the fork that anything is known of, in block order.
 * False if there is none.  The image is valid until the next call of this
 * function, and belongs to the rebuild.
 *
 * This is faster than to get one page after the other, since some hundred pages
 * are replayed together.  The child has been given back when it returns, so
 * that the caller can use one.
 */
extern bool walredo_rebuild_next(WalredoRebuild *rebuild, WalredoTag *tag,
								 WalredoRebuiltPage *page);

/*
 * Forgets the image that walredo_rebuild_next() has returned last, to make room
 * in memory.  The page cannot be asked for again.
 */
extern void walredo_rebuild_forget(WalredoRebuild *rebuild);

/*
 * Says what has become of a page, with all records that were added.  The image
 * is a copy in the current memory context.  If the page cannot be replayed,
 * raises what walredo_replay() does, and the rebuild can still be used.
 */
extern void walredo_rebuild_get(WalredoRebuild *rebuild,
								const WalredoTag *tag,
								WalredoRebuiltPage *page);

/* Frees a rebuild.  Waits for the child if it is at work for it. */
extern void walredo_rebuild_free(WalredoRebuild *rebuild);

/*
 * If something has happened to a page after which nothing in WAL tells what it
 * is, or its image cannot be used, returns a sentence that says so, for the
 * detail of an error or of a result; palloc'd.  Else NULL.
 */
extern const char *walredo_rebuilt_page_problem(const WalredoRebuiltPage *page);

#endif							/* WALREDO_REBUILD_H */

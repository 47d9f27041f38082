/*-------------------------------------------------------------------------
 *
 * rebuild.h
 *	  Rebuilding pages from WAL records.
 *
 * A rebuild is a set of pages.  Changes that WAL records make to these pages
 * are added to it in the order of WAL, and in the end it returns the image that
 * each page has after all of them.  Records are collected, so that a wal-redo
 * child replays many records of one page in one request.  Those that wait are
 * dropped when a later record starts the page, that is, when redo of that
 * record does not need what was in the page before (see
 * WalredoPageChange.starts_page).  When records and images take more than
 * maintenance_work_mem, the records are replayed, and the images are moved to a
 * temporary file.
 *
 * Pages that no record starts can be rebuilt from a base image: the caller
 * gives it, or it is taken from a backup.
 *
 * To use a rebuild, create it, add changes with walredo_rebuild_add(), and call
 * walredo_rebuild_advance() regularly meanwhile.  Then get the pages of whole
 * forks with walredo_rebuild_begin_fork() and walredo_rebuild_next(), or single
 * pages with walredo_rebuild_get().
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
#include "backup/backup.h"
#include "record/record.h"
#include "record/tag.h"
#include "wal/changes.h"

typedef struct WalredoRebuild WalredoRebuild;

/* What a rebuild knows of a page. */
typedef struct WalredoRebuiltPage
{
	/*
	 * The image after all records that were added.  NULL if it is not known:
	 * there is no base image, and no record of the page was added
	 * (num_records is 0), or none that starts the page; or is_incomplete or
	 * is_waiting is set; or the page has ended.
	 */
	bytea	   *image;

	/*
	 * The full-page image in WAL from which the page was rebuilt lacks a part
	 * of the page's contents: see walredo_hole_has_contents().
	 */
	bool		is_incomplete;

	/*
	 * Some of its records have not been replayed, because a child has failed
	 * while it replayed this page or another one.  walredo_rebuild_get() then
	 * replays this page alone, and raises an error if the child fails again.
	 * Only walredo_rebuild_next() sets this.
	 */
	bool		is_waiting;

	/*
	 * How the page has ended, and the end LSN of the record that ended it.
	 * When a later record starts the page, end becomes WALREDO_NOT_ENDED, and
	 * end_lsn stays as it is.
	 */
	WalredoPageEnd end;
	XLogRecPtr	end_lsn;

	/*
	 * How many records of the page were added since it has last ended, or in
	 * all if it never has, and the end LSNs of the first and the last of
	 * these.  This includes records that did not have to be replayed.
	 */
	uint64		num_records;
	XLogRecPtr	first_lsn;
	XLogRecPtr	last_lsn;

	/*
	 * The resource manager of the last of these records that tells which one
	 * the page belongs to, or -1.  A record of RM_XLOG_ID does not tell, as
	 * it can have an image of any page, nor does one of an extension.
	 */
	int			rmid;

	/*
	 * If the rebuild has a backup, why that is of no use for this page: the
	 * backup does not have it, or backup_problem is a sentence that says why
	 * what it has cannot be used.
	 */
	bool		is_not_in_backup;
	const char *backup_problem;
} WalredoRebuiltPage;

/*
 * Creates a rebuild in the current memory context.  Its temporary file is
 * closed when the current resource owner is released, at the latest.
 */
extern WalredoRebuild *walredo_rebuild_create(void);

/*
 * The same for a rebuild that is used beside another one, which gets no further
 * records meanwhile: together, they take up to maintenance_work_mem of memory,
 * or little more if the other one has all of it.
 */
extern WalredoRebuild *walredo_rebuild_beside(const WalredoRebuild *other);

/*
 * Gives a page, of which no records have been added, a base image, which is
 * copied.  Records are then applied to this image, but not those that end at or
 * before base_lsn.  If base_lsn is InvalidXLogRecPtr, and the page is a block
 * of a relation, the image's own LSN takes its place.  ERROR 22023 if the image
 * of a page does not have BLCKSZ bytes.
 */
extern void walredo_rebuild_set_base(WalredoRebuild *rebuild,
									 const WalredoTag *tag,
									 const bytea *base, XLogRecPtr base_lsn);

/*
 * Takes base images from a backup, which must live as long as the rebuild.  All
 * WAL from the backup's start on has to be added.  lsn is the LSN up to which
 * it will be added, as for walredo_backup_read().  To be called before any
 * record is added; without effect if backup is NULL.
 *
 * All pages of the backup are pages of the rebuild then, unless records have
 * ended them, even those of which no records are added.
 */
extern void walredo_rebuild_set_backup(WalredoRebuild *rebuild,
									   WalredoBackup *backup, XLogRecPtr lsn);

/*
 * Only pages of a slice are wanted of a backup.  All others are not looked for,
 * and not returned by walredo_rebuild_next().  No records of them may be added.
 */
extern void walredo_rebuild_set_slice(WalredoRebuild *rebuild,
									  const WalredoSlice *slice);

/*
 * Gives a page of one rebuild all that another rebuild, source, knows of it, as
 * if the same records had been added to both.  The image is only copied if
 * with_image is set.  In that case records of the page that wait in source are
 * replayed, and errors are raised as by walredo_rebuild_get().
 */
extern void walredo_rebuild_copy_page(WalredoRebuild *rebuild,
									  WalredoRebuild *source,
									  const WalredoTag *tag, bool with_image);

/*
 * Adds one change that a record makes.  end_lsn is the record's end LSN.  What
 * is needed of the record is copied.  Changes of a page must be added in the
 * order of their LSNs.
 *
 * A change of kind WALREDO_CHANGE_END makes the rebuild forget all earlier
 * records of the pages, also if it ends many relations (ends_kind).
 * WALREDO_CHANGE_UNKNOWN does the same for its page.  A base image whose LSN is
 * not before end_lsn is kept in both cases.
 */
extern void walredo_rebuild_add(WalredoRebuild *rebuild,
								const WalredoPageChange *change,
								const XLogRecord *record, XLogRecPtr end_lsn);

/*
 * Sends some of the records that wait to a child, and takes the pages that the
 * child has finished, without waiting for it.  To be called about once per
 * thousand records that are read from WAL, with the end LSN of the last.  No
 * error is raised if a child fails, because later records may make the result
 * unnecessary.
 */
extern void walredo_rebuild_advance(WalredoRebuild *rebuild, XLogRecPtr lsn);

/*
 * Forgets all records, images and ends, and the backup, as if the rebuild had
 * just been created.
 */
extern void walredo_rebuild_reset(WalredoRebuild *rebuild);

/*
 * Prepares walredo_rebuild_next() to return the pages of a fork.  fork_tag
 * names any block of the fork.  After the first call of this function, no more
 * records may be added to the rebuild.
 */
extern void walredo_rebuild_begin_fork(WalredoRebuild *rebuild,
									   const WalredoTag *fork_tag);

/*
 * The number of blocks that the fork of walredo_rebuild_begin_fork() must have
 * at least: one more than the number of the last block of which there is a
 * record since it has last ended, or of which the backup has a page that is not
 * all zeroes; or 0 if there is no such block.  To be called before
 * walredo_rebuild_next().
 */
extern uint64 walredo_rebuild_fork_blocks(WalredoRebuild *rebuild);

/*
 * Returns the next page of the fork, in block order, of those that the rebuild
 * has any records of, or that are in the backup.  Returns false if there are no
 * more.  The image, and backup_problem, belong to the rebuild, and are valid
 * until the next call of this function.
 *
 * This is faster than walredo_rebuild_get() for one page after the other,
 * because some hundred pages are replayed together.  When it returns, it does
 * not occupy a child, so that the caller can use one.
 */
extern bool walredo_rebuild_next(WalredoRebuild *rebuild, WalredoTag *tag,
								 WalredoRebuiltPage *page);

/*
 * Frees the image that walredo_rebuild_next() has returned last.  The caller
 * must not ask for this page again.
 */
extern void walredo_rebuild_forget(WalredoRebuild *rebuild);

/*
 * Returns a page as it is after all records that were added, replaying those
 * that wait.  The image is a copy in the current memory context.  Raises the
 * errors of walredo_replay() if the page cannot be replayed.  The rebuild can
 * still be used after such an error.
 */
extern void walredo_rebuild_get(WalredoRebuild *rebuild,
								const WalredoTag *tag,
								WalredoRebuiltPage *page);

/*
 * Frees a rebuild.  If a child is replaying pages of it, waits for the child.
 */
extern void walredo_rebuild_free(WalredoRebuild *rebuild);

/*
 * Returns a sentence that says why the contents of a page are not known from
 * WAL, for the detail of an error or of a result: its image in WAL lacks a
 * part, or it was changed or replaced in a way that WAL does not describe.
 * Returns NULL if there is no such reason.  The string must not be freed.
 */
extern const char *walredo_rebuilt_page_problem(const WalredoRebuiltPage *page);

#endif							/* WALREDO_REBUILD_H */

/*-------------------------------------------------------------------------
 *
 * changes.h
 *	  What a WAL record does to which page.
 *
 * A WAL record names some of the pages that its redo changes, as block
 * references.  Redo routines also change pages that the record does not name:
 * pages of the visibility map, and pages of CLOG, multixacts and commit
 * timestamps, which are not blocks of a relation.  And a record can create,
 * truncate or remove files, which ends the pages in them.  This module makes
 * all of that explicit: it converts one record to a list of changes.  Each is a
 * change of one page or, if pages end, of a range of pages.
 *
 * This is the only place that decides which pages a record changes, whether the
 * record starts a page, that is, whether its redo does not need what was in the
 * page before, and whether a child can replay it.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/wal/changes.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_CHANGES_H
#define WALREDO_CHANGES_H

#include "postgres.h"

#include "access/xlogrecord.h"
#include "record/record.h"
#include "record/tag.h"
#include "record/xlogrecord.h"

/* The kinds of changes. */
typedef enum WalredoChangeKind
{
	/*
	 * The record names the page, which is a block of a relation.  A wal-redo
	 * child can replay the whole WAL record on it.
	 */
	WALREDO_CHANGE_REPLAY,

	/*
	 * The record names the page, but it cannot be replayed.  It belongs to
	 * the resource manager of an extension, which a child does not load, and
	 * it has no full-page image, for which the resource manager would not be
	 * needed.
	 */
	WALREDO_CHANGE_UNKNOWN,

	/*
	 * The record does not name the page, but its redo changes it.  A native
	 * record, which the backend can apply, describes the change.
	 */
	WALREDO_CHANGE_NATIVE,

	/*
	 * The record ends the page, or a range of pages, because it truncates,
	 * removes or replaces the file that they are in: see WalredoPageEnd.
	 */
	WALREDO_CHANGE_END
} WalredoChangeKind;

/*
 * How a page can end.  After its end, what earlier records say about the page
 * is of no use any more, and the record that ends it does not say what the
 * page is now.  (A record that starts a page also makes earlier records
 * useless, but is not called an end.)
 */
typedef enum WalredoPageEnd
{
	WALREDO_NOT_ENDED,
	WALREDO_TRUNCATED,			/* the fork, or the SLRU, was truncated */
	WALREDO_FILE_REMOVED,		/* the file, or the two-phase state, is gone */
	WALREDO_FILE_CREATED,		/* a new, empty file has taken its place */
	WALREDO_FILE_COPIED,		/* a copy has taken its place, whose pages are
								 * not logged */
	WALREDO_UNKNOWN_CHANGE		/* a WALREDO_CHANGE_UNKNOWN was made to it */
} WalredoPageEnd;

/* What a WAL record does to one page, or how it ends a range of pages. */
typedef struct WalredoPageChange
{
	/*
	 * The page.  If this is a WALREDO_CHANGE_END of blocks of a relation, the
	 * first block that ends.  All later blocks of the fork end, too, unless
	 * the filter is WALREDO_FILTER_PAGE: then this is the page of the filter.
	 * If this is a WALREDO_CHANGE_END and the filter is WALREDO_FILTER_SLRUS,
	 * only walredo_change_ends() knows which pages end.  For that of a
	 * WALREDO_FILTER_INDEX or _RELATIONS, see ends_kind.
	 */
	WalredoTag	tag;
	WalredoChangeKind what;

	/*
	 * The change starts the page: redo does not need what was in it before.
	 * True if the record says that it initializes the page (the block
	 * reference has BKPBLOCK_WILL_INIT, or the native record is of such a
	 * kind), or if it has a full-page image that redo restores.  For a
	 * WALREDO_CHANGE_UNKNOWN this can be true as well, but as the record
	 * cannot be replayed, it is of no use then.
	 */
	bool		starts_page;

	/*
	 * The record has an image of the page with a hole: a part in the middle
	 * was not logged, because it was taken for free space.
	 */
	bool		image_has_hole;

	/* The native record, for WALREDO_CHANGE_NATIVE only, else NULL. */
	WalredoRecord *native;

	/*
	 * For WALREDO_CHANGE_END only: how the pages end, and whether the record
	 * creates or truncates only this fork of the relation, so that it says
	 * nothing about the other forks.
	 */
	WalredoPageEnd end;
	bool		of_fork_only;

	/*
	 * For the truncation of pg_multixact/members and a WALREDO_FILTER_SLRUS
	 * only: see walredo_change_ends().
	 */
	uint64		first_page;

	/*
	 * For a WALREDO_CHANGE_END and a WALREDO_FILTER_INDEX only: whether pages
	 * of several relations, or several pages that are no blocks, end.  Then
	 * the tag has only a kind, where WALREDO_TAG_REL includes
	 * WALREDO_TAG_RELMAP, and for that kind the tablespace and the database
	 * that end; a database of 0 stands for all.  Otherwise, blocks of the
	 * tag's relation end, in any of its forks; or if the tag is no block,
	 * what it names.
	 *
	 * For a WALREDO_FILTER_RELATIONS, it is set, and the tag is the same, if
	 * pages of several relations end.
	 */
	bool		ends_kind;
} WalredoPageChange;

/* ----------------------------------------
 * Filters: which pages the caller is interested in
 * ----------------------------------------
 */

typedef enum WalredoFilterKind
{
	WALREDO_FILTER_ALL,			/* all pages, but not their ends */
	WALREDO_FILTER_PAGE,		/* one page, or object, of any kind */
	WALREDO_FILTER_FORK,		/* all blocks of one fork of a relation */
	WALREDO_FILTER_FORKS,		/* all blocks of any number of forks */
	WALREDO_FILTER_FILES,		/* the same, but only their ends */
	WALREDO_FILTER_RELATIONS,	/* all blocks of all forks that are logged,
								 * and their ends */
	WALREDO_FILTER_FILE_CHANGES,	/* no pages: for files.c, what is done to
									 * files */
	WALREDO_FILTER_SLRUS,		/* all pages of some SLRUs */
	WALREDO_FILTER_INDEX		/* all pages, and all ends; but commit
								 * timestamps only where they are named */
} WalredoFilterKind;

/*
 * A filter is made once and used for many records.  Callers may read kind and
 * tag; only src/wal may use the other fields.
 */
typedef struct WalredoPageFilter
{
	WalredoFilterKind kind;
	WalredoTag	tag;			/* the page, or any block of the one fork */

	/*
	 * For WALREDO_FILTER_FORKS and _FILES: tags of the forks, as they were
	 * given, and a hash table to find them by their relation.
	 */
	WalredoTag *forks;
	int			nforks;
	struct wanted_hash *relations;

	/*
	 * For WALREDO_FILTER_FORKS and _RELATIONS: only blocks of this slice are
	 * wanted.  Ends are returned in any case.
	 */
	WalredoSlice slice;

	/* For WALREDO_FILTER_SLRUS and _INDEX: a set of WALREDO_KIND_BIT()s. */
	int			slrus;

	/*
	 * For each resource manager, which parts of its records can concern a
	 * page of the filter, as a set of PART_* bits (changes.c).  If it is 0,
	 * the records of the resource manager need not be examined at all.
	 */
	uint8		parts[UINT8_MAX + 1];

	/*
	 * Parts that only concern such a page if the record names a block of this
	 * number, or of any if it is InvalidBlockNumber, in one of the relations
	 * of a set: see walredo_xlogrecord_may_name().
	 */
	uint8		named_parts;
	uint64		relation_bits;
	BlockNumber blkno;
} WalredoPageFilter;

/*
 * These functions make filters in the current memory context.  Arguments are
 * copied.  A tag that stands for a fork names any block of it.  With only_ends,
 * walredo_filter_forks() makes a WALREDO_FILTER_FILES.  SLRUs are given as a
 * set of WALREDO_KIND_BIT()s.  The filters of the functions without arguments
 * are always the same, and must not be freed.
 */
extern const WalredoPageFilter *walredo_filter_all(void);
extern const WalredoPageFilter *walredo_filter_file_changes(void);

/*
 * This filter is for who must know of all that a record does to any page, for
 * looking it up later.  What a commit record does to pages of pg_commit_ts is
 * left out: it changes those with the same transactions as the pages of pg_xact
 * that it changes.  What walredo_change_record() returns is of no use.
 */
extern const WalredoPageFilter *walredo_filter_index(void);
extern WalredoPageFilter *walredo_filter_page(const WalredoTag *tag);
extern WalredoPageFilter *walredo_filter_fork(const WalredoTag *tag);
extern WalredoPageFilter *walredo_filter_forks(const WalredoTag *forks,
											   int nforks, bool only_ends);
extern WalredoPageFilter *walredo_filter_slrus(int slrus);

/*
 * All relations that WAL names.  Which these are is found out on the way: see
 * walredo_changes_forks().
 */
extern WalredoPageFilter *walredo_filter_relations(void);

/*
 * Restricts a WALREDO_FILTER_FORKS or _RELATIONS to the blocks of a slice.  To
 * be called before the filter is used.
 */
extern void walredo_filter_set_slice(WalredoPageFilter *filter,
									 const WalredoSlice *slice);
extern void walredo_filter_free(WalredoPageFilter *filter);

/* ----------------------------------------
 * Changes
 * ----------------------------------------
 */

/* The state for converting one record after the other to changes. */
typedef struct WalredoChanges WalredoChanges;

/*
 * Creates the state in the current memory context.  The filter must live as
 * long as it; several of them may use one filter.
 */
extern WalredoChanges *walredo_changes_create(const WalredoPageFilter *filter);

/*
 * Finds out what a record does to the pages of the filter.  end_lsn is the
 * record's end LSN.  Returns the number of changes, which may be 0.  If it is
 * not 0, *list is set to the changes: the ends of pages come first, and then
 * the other changes, in the order in which redo makes them.  One page can be
 * in the list several times, but a block that the record names is in it once,
 * however often it is named.  The list is valid until the next call.  The
 * caller must keep the record as long, because changes refer to it.
 *
 * The caller must have checked that xl_tot_len is at least the size of a
 * header, that so many bytes are there, and that the checksum is right.
 * Nothing else in the record is trusted.  ERROR XX001 if the record
 * contradicts itself.  Records that do not concern pages of the filter are
 * skipped as early as possible, so such errors in them may not be noticed.
 *
 * Every commit record makes a change of commit timestamps, because WAL does not
 * tell whether the server had track_commit_timestamp on.
 */
extern int	walredo_changes_of(WalredoChanges *changes,
							   const XLogRecord *record, XLogRecPtr end_lsn,
							   WalredoPageChange **list);

/*
 * The same, but returns only a part of the list, to bound the memory that it
 * takes: from change number first on, counted from 0, until the changes have
 * taken max_size bytes.  *more is set if more changes may follow.  This is for
 * callers that are given records by anyone: a hostile record can make three
 * changes for each four bytes, which hold a transaction ID.
 */
extern int	walredo_changes_part(WalredoChanges *changes,
								 const XLogRecord *record, XLogRecPtr end_lsn,
								 uint64 first, Size max_size,
								 WalredoPageChange **list, bool *more);

/*
 * Returns a change of the last list as a walredo_record.  If that is a whole
 * WAL record, will_init is set from starts_page.  The change must not be a
 * WALREDO_CHANGE_END.  The result lives as long as the list, and must not be
 * modified, because several changes can share it.
 */
extern WalredoRecord *walredo_change_record(WalredoChanges *changes,
											const WalredoPageChange *change);

/*
 * For a WALREDO_FILTER_RELATIONS, returns the forks that records have named up
 * to now, in the order of their tags, by their block 0: because they change
 * blocks, of whatever slice, or create, truncate or remove the file.  The
 * result is palloc'd.
 */
extern WalredoTag *walredo_changes_forks(WalredoChanges *changes, int *nforks);

/*
 * Does a WALREDO_CHANGE_END that was found with a WALREDO_FILTER_SLRUS end a
 * page?
 */
extern bool walredo_change_ends(const WalredoPageChange *change,
								const WalredoTag *tag);

/*
 * Does a record, of which the headers have been read without an error, do
 * nothing to any page, except to the blocks that it names and, if *xid is set
 * to a valid transaction ID, the status of that transaction?  This answers for
 * nearly all records at a glance, and is true only if a WALREDO_FILTER_INDEX
 * would find nothing else.
 */
extern bool walredo_changes_are_plain(const XLogRecord *record,
									  const WalredoRecordHeaders *headers,
									  TransactionId *xid);

extern void walredo_changes_free(WalredoChanges *changes);

/*
 * Finds out what a record does to one block that it names, without a filter.
 * This is for callers that have a list of records of one page.  Returns false
 * if the record does not name the block of the tag.  The record must have
 * passed walredo_xlogrecord_check().
 */
extern bool walredo_block_change(const XLogRecord *record,
								 const WalredoTag *tag,
								 WalredoPageChange *change);

#endif							/* WALREDO_CHANGES_H */

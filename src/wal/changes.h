/*-------------------------------------------------------------------------
 *
 * changes.h
 *	  What a WAL record does to which page.
 *
 * A WAL record names some of the pages that its redo changes, as block
 * references, and leaves others to the redo routine: visibility map pages,
 * and the pages of CLOG, multixacts and commit timestamps, which are not
 * blocks of a relation.  And it may create, truncate or remove files, which
 * ends the pages in them.  All of that is made explicit here: one record
 * becomes a list of changes, each of one page or, if pages end, of a range.
 *
 * This is the only place that decides which pages a record changes, whether it
 * makes one anew ("starts" it) and whether a child can replay it.
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

/* What is done to a page. */
typedef enum WalredoChangeKind
{
	/*
	 * The record names the page, which is a block of a relation.  A wal-redo
	 * child can replay the whole WAL record on it.
	 */
	WALREDO_CHANGE_REPLAY,

	/*
	 * The record names the page, but nobody here knows what it does to it: it
	 * is of a resource manager of an extension, and has no image of the page
	 * that could be restored without it.
	 */
	WALREDO_CHANGE_UNKNOWN,

	/* The record does not name the page.  A native record says what it does. */
	WALREDO_CHANGE_NATIVE,

	/* The record ends the page, or pages, together with their file. */
	WALREDO_CHANGE_END
} WalredoChangeKind;

/*
 * How what WAL knows of a page can come to an end, other than by a record that
 * makes the page anew.
 */
typedef enum WalredoPageEnd
{
	WALREDO_NOT_ENDED,
	WALREDO_TRUNCATED,			/* the fork, or the SLRU, was truncated */
	WALREDO_FILE_REMOVED,		/* the file, or the two-phase state, is gone */
	WALREDO_FILE_CREATED,		/* a new, empty file has taken its place */
	WALREDO_FILE_COPIED,		/* a copy has, whose pages are not logged */
	WALREDO_UNKNOWN_CHANGE		/* by a resource manager that is not known */
} WalredoPageEnd;

/* What a WAL record does to one page, or how it ends some. */
typedef struct WalredoPageChange
{
	/*
	 * The page.  If what is WALREDO_CHANGE_END and it is a block of a
	 * relation, the first block of the fork that ends: later ones end, too.
	 */
	WalredoTag	tag;
	WalredoChangeKind what;

	/*
	 * The change makes the page without looking at what it was before.  True
	 * if the record says that it initializes the page, or has an image of it
	 * for redo to restore.  Of a WALREDO_CHANGE_UNKNOWN this is what the
	 * record says, which helps nobody who cannot replay it.
	 */
	bool		starts_page;

	/*
	 * The record has an image of the page that was logged without a part in
	 * its middle, which was taken for free space.
	 */
	bool		image_has_hole;

	/* For WALREDO_CHANGE_NATIVE only, else NULL. */
	WalredoRecord *native;

	/*
	 * For WALREDO_CHANGE_END only: how the pages end, and whether it is only
	 * this fork of the relation that has been created or truncated, while the
	 * relation's other forks stay.
	 */
	WalredoPageEnd end;
	bool		of_fork_only;
} WalredoPageChange;

/* ----------------------------------------
 * Filters: which pages somebody is interested in
 * ----------------------------------------
 */

typedef enum WalredoFilterKind
{
	WALREDO_FILTER_ALL,			/* any page; but not how pages end */
	WALREDO_FILTER_PAGE,		/* one page, or object, of any kind */
	WALREDO_FILTER_FORK,		/* all blocks of one fork of a relation */
	WALREDO_FILTER_FORKS,		/* all blocks of any number of forks */
	WALREDO_FILTER_FILES		/* the same, but only how they end */
} WalredoFilterKind;

/*
 * A filter is made once and used for many records.  Callers may look at kind
 * and tag; the other fields belong to changes.c.
 */
typedef struct WalredoPageFilter
{
	WalredoFilterKind kind;
	WalredoTag	tag;			/* the page, or any block of the one fork */

	/* The forks, as they were given, and a hash table to find them. */
	WalredoTag *forks;
	int			nforks;
	struct wanted_hash *relations;

	/*
	 * For each resource manager, which parts of its records can be about a
	 * page that is wanted, as bits.  0 for those that need not be looked at.
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
 * These make filters in the current memory context, where they stay until it
 * is reset; nothing that is passed is needed later.  Tags of forks name any
 * block of a fork of a relation.  The filter for all pages is there once, and
 * is not to be freed.
 */
extern const WalredoPageFilter *walredo_filter_all(void);
extern WalredoPageFilter *walredo_filter_page(const WalredoTag *tag);
extern WalredoPageFilter *walredo_filter_fork(const WalredoTag *tag);
extern WalredoPageFilter *walredo_filter_forks(const WalredoTag *forks,
											   int nforks, bool only_ends);
extern void walredo_filter_free(WalredoPageFilter *filter);

/* ----------------------------------------
 * Changes
 * ----------------------------------------
 */

/* What looks at one record after the other; see walredo_changes_create(). */
typedef struct WalredoChanges WalredoChanges;

/*
 * In the current memory context.  The filter, which may be shared, must stay
 * as long.
 */
extern WalredoChanges *walredo_changes_create(const WalredoPageFilter *filter);

/*
 * What a record that ends at end_lsn does to the pages of the filter.  Returns
 * the number of changes, which may be 0, and the changes in *list: first how
 * pages end, and then the others, in the order in which redo makes them.  One
 * page can be in the list several times, except that a block that the record
 * names is in it once, however often it is named.  Both the list and the
 * record are needed until the next call, as a change refers to the record.
 *
 * The caller has checked that xl_tot_len bytes are there, at least a header,
 * and that the checksum is right; nothing else is relied on.  ERROR XX001 if
 * the record contradicts itself.  A record that has nothing to do with the
 * filter's pages costs next to nothing, and such errors in it may be missed.
 *
 * Commit timestamps come with every commit: WAL does not tell whether the
 * server that reads it keeps them.
 */
extern int	walredo_changes_of(WalredoChanges *changes,
							   const XLogRecord *record, XLogRecPtr end_lsn,
							   WalredoPageChange **list);

/*
 * The same, but only a part of the list: from change number first on, counted
 * from 0, until the changes have taken max_size bytes.  That is for callers who
 * do not know where the record is from: of four bytes for a transaction, a
 * hostile one can make three changes.  *more is set if more may follow.
 */
extern int	walredo_changes_part(WalredoChanges *changes,
								 const XLogRecord *record, XLogRecPtr end_lsn,
								 uint64 first, Size max_size,
								 WalredoPageChange **list, bool *more);

/*
 * A change of the last list as a walredo_record, which says whether it
 * initializes the page.  It must not be WALREDO_CHANGE_END.  The result lives
 * as long as the list.  Several changes may share one record, so it must not
 * be written to.
 */
extern WalredoRecord *walredo_change_record(WalredoChanges *changes,
											const WalredoPageChange *change);

extern void walredo_changes_free(WalredoChanges *changes);

/*
 * What a record does to one block that it names, without a filter: for callers
 * that have a list of records for a page.  False if it does not name the block
 * of the tag.  The record must have passed walredo_xlogrecord_check().
 */
extern bool walredo_block_change(const XLogRecord *record,
								 const WalredoTag *tag,
								 WalredoPageChange *change);

#endif							/* WALREDO_CHANGES_H */

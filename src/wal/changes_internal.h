/*-------------------------------------------------------------------------
 *
 * changes_internal.h
 *	  Declarations that changes.c, changes_native.c and changes_end.c share.
 *
 * Records can come from anyone, so nothing in them is trusted.  A record's main
 * data is only read through a Cursor, which knows where the record ends, and
 * every count is compared with the number of bytes left before it is used.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/wal/changes_internal.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_CHANGES_INTERNAL_H
#define WALREDO_CHANGES_INTERNAL_H

#include "postgres.h"

#include "access/xact.h"
#include "catalog/storage_xlog.h"
#include "record/xlogrecord.h"
#include "wal/changes.h"
#include "wal/xact_end.h"

/* A position in the main data of a record. */
typedef struct Cursor
{
	const char *ptr;			/* the next byte to read */
	Size		left;			/* number of bytes from there to the end */
} Cursor;

/* Which pages a FileChange ends. */
typedef enum EndScope
{
	SCOPE_OBJECT,				/* the one that the tag names */
	SCOPE_FORK,					/* the tag's fork, from the tag's block on */
	SCOPE_RELATION,				/* all forks of the tag's relation */
	SCOPE_DATABASE,				/* all files of a database in a tablespace */
	SCOPE_TABLESPACE,			/* all files in a tablespace */
	SCOPE_SLRU,					/* segments wholly before the tag's page */
	SCOPE_KIND					/* all pages of the tag's kind */
} EndScope;

/* What a WAL record does to files, without naming the pages in them. */
typedef struct FileChange
{
	WalredoPageEnd end;
	EndScope	scope;
	WalredoTag	tag;

	/*
	 * For SCOPE_SLRU of multixact members: only segments from that of this
	 * page on end.
	 */
	uint64		first_page;
} FileChange;

/* Whether a block is in the slice of the filter. */
typedef struct SliceEntry
{
	WalredoTag	tag;
	bool		is_in;
} SliceEntry;

struct WalredoChanges
{
	const WalredoPageFilter *filter;

	/* The record that is being examined. */
	const XLogRecord *record;
	XLogRecPtr	end_lsn;
	const WalredoRecordHeaders *headers;
	Cursor		main_data;

	/*
	 * A cache of one entry for find_forks(): the relation that it has looked
	 * up last, and the result.  Mostly all blocks of a record are of one
	 * relation.
	 */
	RelFileLocator last_locator;
	uint8		last_forks;

	/*
	 * For WALREDO_FILTER_RELATIONS only: the forks that records have named.
	 * The cache above is then one of this table.
	 */
	struct wanted_hash *named;

	/*
	 * The blocks that were looked up last for the filter's slice, each where
	 * its number and relation say, or NULL if all blocks are wanted.  To hash
	 * a tag takes longer than to read most records.
	 */
	SliceEntry *slice_cache;

	/*
	 * The list of changes, whose memory is used again for the next record,
	 * and a memory context for what the changes refer to, which is reset for
	 * each record.
	 */
	WalredoPageChange *list;
	int			num_changes;
	int			max_changes;
	MemoryContext context;

	/*
	 * For WALREDO_FILTER_FILE_CHANGES only: what the record does to files of
	 * relations.  This memory is used again, too.
	 */
	FileChange *files;
	int			num_files;
	int			max_files;

	/*
	 * The record as a walredo_record, or NULL if no caller has asked for it
	 * yet: copies[0] with will_init false, and copies[1] with will_init true.
	 * All changes share these two, because records can be long.
	 */
	WalredoRecord *copies[2];

	/*
	 * The part of the list that walredo_changes_part() asks for: from change
	 * number first on, until the changes have taken max_size bytes.  next is
	 * the number of the change that will be found next, whether it is in that
	 * part or not, and size is the memory taken so far.
	 */
	uint64		first;
	uint64		next;
	Size		max_size;
	Size		size;
};

/*
 * Raises ERROR XX001 because the record is invalid.  fmt and the arguments are
 * those of errdetail().
 */
extern void walredo_changes_broken(WalredoChanges *changes,
								   const char *fmt,...)
			pg_attribute_printf(2, 3);

/*
 * Adds a native change of a page, and returns its record, whose body of
 * body_size bytes the caller must fill in.  The caller must have checked that
 * the filter has the page.
 */
extern WalredoRecord *walredo_add_native(WalredoChanges *changes,
										 const WalredoTag *tag,
										 WalredoRecordKind kind,
										 Size body_size);

/*
 * Adds a WALREDO_CHANGE_END.  The arguments become the fields of the change.
 * Returns the change, or NULL if it is not in the part of the list that is
 * asked for.
 */
extern WalredoPageChange *walredo_add_end(WalredoChanges *changes,
										  const WalredoTag *tag,
										  WalredoPageEnd end,
										  bool of_fork_only);

/* Adds one that has ends_kind set. */
extern void walredo_add_end_of_kind(WalredoChanges *changes,
									const WalredoTag *tag,
									WalredoPageEnd end);

/*
 * Takes note of a fork that a record names, for walredo_changes_forks().  Only
 * for WALREDO_FILTER_RELATIONS.
 */
extern void walredo_changes_note_fork(WalredoChanges *changes,
									  const RelFileLocator *locator,
									  ForkNumber forknum);

/* Does the filter have the page? */
extern bool walredo_changes_want(WalredoChanges *changes,
								 const WalredoTag *tag);

/*
 * Returns which forks of a relation the filter has, as a set of bits: bit n is
 * fork number n.  Only for WALREDO_FILTER_FORKS and WALREDO_FILTER_FILES.
 */
extern uint8 walredo_changes_find_forks(WalredoChanges *changes,
										const RelFileLocator *locator);

/*
 * These read the main data of a commit or abort record, and of the truncation
 * of a relation.  They return false if the record is of another type.
 */
extern bool walredo_changes_xact_end(WalredoChanges *changes, XactEnd *end);
extern bool walredo_changes_truncation(WalredoChanges *changes,
									   xl_smgr_truncate *xlrec);

/*
 * Can a heap record clear bits of the visibility map?  True if
 * walredo_native_of_heap() has to find out.
 */
extern bool walredo_heap_clears_map(const XLogRecord *record,
									const WalredoRecordHeaders *headers);

/* changes_native.c: pages that records change without naming them */
extern void walredo_native_of_heap(WalredoChanges *changes);
extern void walredo_native_of_smgr(WalredoChanges *changes);
extern void walredo_native_of_xact(WalredoChanges *changes);
extern void walredo_native_of_clog(WalredoChanges *changes);
extern void walredo_native_of_multixact(WalredoChanges *changes);
extern void walredo_native_of_commit_ts(WalredoChanges *changes);
extern void walredo_native_of_relmap(WalredoChanges *changes);

/* changes_end.c: pages that records end with their files */
extern void walredo_ends_of_smgr(WalredoChanges *changes);
extern void walredo_ends_of_dbase(WalredoChanges *changes);
extern void walredo_ends_of_tblspc(WalredoChanges *changes);
extern void walredo_ends_of_xact(WalredoChanges *changes);
extern void walredo_ends_of_xlog(WalredoChanges *changes);
extern void walredo_ends_of_clog(WalredoChanges *changes);
extern void walredo_ends_of_multixact(WalredoChanges *changes);
extern void walredo_ends_of_commit_ts(WalredoChanges *changes);

/*
 * Copies the next size bytes of main data to dst, or skips them if dst is NULL.
 * ERROR XX001 if there are not so many.
 */
static inline void
take(WalredoChanges *changes, Cursor *cursor, void *dst, Size size)
{
	if (cursor->left < size)
		walredo_changes_broken(changes,
							   "The main data of the record is too short.");
	if (dst != NULL)
		memcpy(dst, cursor->ptr, size);
	cursor->ptr += size;
	cursor->left -= size;
}

/*
 * Reads a count, and checks that so many entries of entry_size bytes follow.
 */
static inline int
take_count(WalredoChanges *changes, Cursor *cursor, Size entry_size)
{
	int32		count;

	take(changes, cursor, &count, sizeof(count));
	if (count < 0 || count > cursor->left / entry_size)
		walredo_changes_broken(changes,
							   "The record is too short for the %d entries that it declares.",
							   count);
	return count;
}

/*
 * Reads a count, and skips so many entries.  Returns the count, and in
 * *entries, unless that is NULL, the address of the first entry.
 */
static inline int
take_array(WalredoChanges *changes, Cursor *cursor, Size entry_size,
		   const char **entries)
{
	int			count = take_count(changes, cursor, entry_size);

	if (entries != NULL)
		*entries = cursor->ptr;
	take(changes, cursor, NULL, count * entry_size);
	return count;
}

/* The tag of something that is no block of a relation, but has a number. */
static inline WalredoTag
tag_of_number(WalredoTagKind kind, uint64 number)
{
	WalredoTag	tag = {0};

	tag.kind = kind;
	tag.number = number;
	return tag;
}

/*
 * Reads the number of a page of an SLRU, and returns the page's tag.  ERROR
 * XX001 if it is negative.
 */
static inline WalredoTag
take_slru_page(WalredoChanges *changes, Cursor *cursor, WalredoTagKind kind)
{
	LoggedSlruPage pageno;

	take(changes, cursor, &pageno, sizeof(pageno));
	if (pageno < 0)
		walredo_changes_broken(changes,
							   "The record refers to an invalid page address.");
	return tag_of_number(kind, pageno);
}

/* Is the part of the list complete that walredo_changes_part() asks for? */
static inline bool
list_is_full(WalredoChanges *changes)
{
	return changes->size >= changes->max_size;
}

/*
 * Returns true if the next change is before the part of the list that is asked
 * for, and counts it, so that it must not be added.
 *
 * add_change() checks this, and list_is_full(), itself.  But functions that can
 * find millions of changes in a record should check both before each change, so
 * as not to make native records that are not needed.
 */
static inline bool
pass_over(WalredoChanges *changes)
{
	if (changes->next >= changes->first)
		return false;
	changes->next++;
	return true;
}

#endif							/* WALREDO_CHANGES_INTERNAL_H */

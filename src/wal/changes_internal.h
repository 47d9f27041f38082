/*-------------------------------------------------------------------------
 *
 * changes_internal.h
 *	  What changes.c, changes_native.c and changes_end.c share.
 *
 * Records may come from anyone, so nothing in one is taken for granted.  Its
 * main data is only read through a cursor that knows where the record ends,
 * and every count is compared with what is left before it is used.
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

/* Main data, and how much of it has been read. */
typedef struct Cursor
{
	const char *ptr;
	Size		left;
} Cursor;

struct WalredoChanges
{
	const WalredoPageFilter *filter;

	/* The record that is being looked at. */
	const XLogRecord *record;
	XLogRecPtr	end_lsn;
	const WalredoRecordHeaders *headers;
	Cursor		main_data;

	/*
	 * The relation that was looked up last among those of the filter, and its
	 * forks that are wanted.  Blocks of one record are mostly of one
	 * relation.
	 */
	RelFileLocator last_locator;
	uint8		last_forks;

	/*
	 * The list, whose memory is used for all records, and a memory context
	 * for what changes refer to, which is reset for each record.
	 */
	WalredoPageChange *list;
	int			num_changes;
	int			max_changes;
	MemoryContext context;

	/*
	 * The record as a walredo_record, if it has been asked for; the second
	 * one is for pages that it starts.  A record is long compared with what
	 * it names, so there are no more copies of it than these.
	 */
	WalredoRecord *copies[2];

	/*
	 * Which part of the list is asked for: from change number first on, until
	 * the changes have taken max_size bytes.  next is the number of the
	 * change that will be found next, whether it is asked for or not.
	 */
	uint64		first;
	uint64		next;
	Size		max_size;
	Size		size;
};

/* What the record of a transaction's end says.  Arrays are not aligned. */
typedef struct XactEnd
{
	bool		is_commit;
	bool		was_prepared;
	TimestampTz timestamp;
	int			nsubxacts;
	const char *subxacts;		/* TransactionIds */
	int			nrelations;
	const char *relations;		/* RelFileLocators */
	bool		has_prepared_xid;
	TransactionId prepared_xid; /* else InvalidTransactionId */
} XactEnd;

/* ERROR XX001: the record is invalid; the rest is errdetail's. */
extern void walredo_changes_broken(WalredoChanges *changes,
								   const char *fmt,...)
			pg_attribute_printf(2, 3);

/*
 * Adds a native change of a page, and returns its record, with body_size bytes
 * to be filled in.  The page must be wanted.
 */
extern WalredoRecord *walredo_add_native(WalredoChanges *changes,
										 const WalredoTag *tag,
										 WalredoRecordKind kind,
										 Size body_size);

/* Adds that pages end, from that of the tag on. */
extern void walredo_add_end(WalredoChanges *changes,
							const WalredoTag *tag, WalredoPageEnd end,
							bool of_fork_only);

/* Does the filter have the page? */
extern bool walredo_changes_want(WalredoChanges *changes,
								 const WalredoTag *tag);

/* Which forks of a relation does a filter with forks have, as bits? */
extern uint8 walredo_changes_find_forks(WalredoChanges *changes,
										const RelFileLocator *locator);

/*
 * Read what the record of a transaction's end, or of a relation's truncation,
 * says.  False if the record is another one.
 */
extern bool walredo_changes_xact_end(WalredoChanges *changes, XactEnd *end);
extern bool walredo_changes_truncation(WalredoChanges *changes,
									   xl_smgr_truncate *xlrec);

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
 * Takes the next size bytes of main data, or skips them if dst is NULL.
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
 * Takes a count, and checks that so many entries of entry_size follow.
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
 * Takes a count and its entries.  Returns the count, and in *entries where they
 * begin.
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

/* Has as much been found as may be at a time? */
static inline bool
is_full(WalredoChanges *changes)
{
	return changes->size >= changes->max_size;
}

/*
 * Passes over the next change if it comes before those that are asked for.
 * Callers that find changes by the million ask before each, and stop when
 * is_full(); for the others the functions that add a change see to both.
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

/*-------------------------------------------------------------------------
 *
 * changes_native.c
 *	  Pages that a WAL record changes without naming them.
 *
 * Each function below mirrors a redo routine of the server, which is named at
 * its head, as far as that routine changes pages that the record does not
 * name.  What it does to each of these pages becomes one or more native
 * records, which are applied without a wal-redo child.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/wal/changes_native.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/clog.h"
#include "access/commit_ts.h"
#include "access/heapam_xlog.h"
#include "access/multixact.h"
#include "access/rmgr.h"
#include "access/xact.h"
#include "catalog/storage_xlog.h"
#include "compat.h"
#include "miscadmin.h"
#include "port/pg_crc32c.h"
#include "record/slru.h"
#include "record/visibilitymap.h"
#include "storage/sinval.h"
#include "utils/relmapper.h"
#include "wal/changes_internal.h"

/*
 * After so many transactions look for a cancel request.  A record can name
 * millions of them.
 */
#define XIDS_BETWEEN_INTERRUPTS		0x10000

/* ----------------------------------------
 * The visibility map
 * ----------------------------------------
 */

/*
 * How a type of heap record clears bits of the visibility map.  Its main data
 * begins with a struct, in which a byte of flags says for which heap pages the
 * bits are cleared: one flag is for the page with the new version of a row, and
 * one for the page with the old version.
 */
typedef struct HeapRecord
{
	uint8		size;			/* of the struct; 0 if it clears no bits */
	uint8		flags_offset;	/* of the byte of flags in the struct */
	uint8		clears_new;		/* the flag for the new page, or 0 */
	uint8		clears_old;		/* the flag for the old page, or 0 */
	uint8		cleared;		/* the bits of the map that are cleared */
	bool		has_old_block;	/* block 1, if it is there, is the old page */
} HeapRecord;

#define CLEARS(type, size, new, old, cleared, has_old_block) \
	{size, offsetof(type, flags), new, old, cleared, has_old_block}

#define HEAP_UPDATE_CLEARS \
	CLEARS(xl_heap_update, SizeOfHeapUpdate, \
		   XLH_UPDATE_NEW_ALL_VISIBLE_CLEARED, \
		   XLH_UPDATE_OLD_ALL_VISIBLE_CLEARED, \
		   VISIBILITYMAP_VALID_BITS, true)

/* The number of possible values of the operation in xl_info. */
#define NUM_HEAP_OPS		((XLOG_HEAP_OPMASK >> 4) + 1)

/*
 * The types of records of RM_HEAP_ID.  Locking a row clears only the bit that
 * says that all rows of the page are frozen.
 */
static const HeapRecord heap_records[NUM_HEAP_OPS] =
{
	[XLOG_HEAP_INSERT >> 4] =
	CLEARS(xl_heap_insert, SizeOfHeapInsert, XLH_INSERT_ALL_VISIBLE_CLEARED,
		   0, VISIBILITYMAP_VALID_BITS, false),
	[XLOG_HEAP_DELETE >> 4] =
	CLEARS(xl_heap_delete, SizeOfHeapDelete, 0, XLH_DELETE_ALL_VISIBLE_CLEARED,
		   VISIBILITYMAP_VALID_BITS, false),
	[XLOG_HEAP_UPDATE >> 4] = HEAP_UPDATE_CLEARS,
	[XLOG_HEAP_HOT_UPDATE >> 4] = HEAP_UPDATE_CLEARS,
	[XLOG_HEAP_LOCK >> 4] =
	CLEARS(xl_heap_lock, SizeOfHeapLock, 0, XLH_LOCK_ALL_FROZEN_CLEARED,
		   VISIBILITYMAP_ALL_FROZEN, false)
};

static const HeapRecord heap2_records[NUM_HEAP_OPS] =
{
	[XLOG_HEAP2_MULTI_INSERT >> 4] =
	CLEARS(xl_heap_multi_insert, SizeOfHeapMultiInsert,
		   XLH_INSERT_ALL_VISIBLE_CLEARED, 0, VISIBILITYMAP_VALID_BITS, false),
	[XLOG_HEAP2_LOCK_UPDATED >> 4] =
	CLEARS(xl_heap_lock_updated, SizeOfHeapLockUpdated, 0,
		   XLH_LOCK_ALL_FROZEN_CLEARED, VISIBILITYMAP_ALL_FROZEN, false)
};

/*
 * Returns the block reference with an id.  If there is none, returns NULL, or
 * raises an error unless missing_ok is set.
 */
static const WalredoBlockRef *
block_by_id(WalredoChanges *changes, int id, bool missing_ok)
{
	for (int i = 0; i < changes->headers->num_blocks; i++)
	{
		if (changes->headers->blocks[i].id == id)
			return &changes->headers->blocks[i];
	}
	if (!missing_ok)
		walredo_changes_broken(changes, "The record does not name the block that it changes.");
	return NULL;
}

/*
 * Adds a change that clears bits of one or two heap blocks in the visibility
 * map.  One of the two may be InvalidBlockNumber.  flags are the bits to
 * clear.  If the blocks' bits are on two pages of the map, this adds a change
 * of each page.
 */
static void
clear_visibility_map(WalredoChanges *changes, const RelFileLocator *locator,
					 BlockNumber new_blkno, BlockNumber old_blkno,
					 uint32 flags)
{
	WalredoTag	tag;
	WalredoRecord *rec;

	if (BlockNumberIsValid(new_blkno) && BlockNumberIsValid(old_blkno) &&
		walredo_vm_page(new_blkno) != walredo_vm_page(old_blkno))
	{
		clear_visibility_map(changes, locator, InvalidBlockNumber, old_blkno,
							 flags);
		clear_visibility_map(changes, locator, new_blkno, InvalidBlockNumber,
							 flags);
		return;
	}

	tag = walredo_tag_of_block(locator, VISIBILITYMAP_FORKNUM,
							   walredo_vm_page(BlockNumberIsValid(new_blkno) ?
											   new_blkno : old_blkno));
	if (!walredo_changes_want(changes, &tag))
		return;

	rec = walredo_add_native(changes, &tag, WALREDO_CLEAR_VISIBILITY_MAP_FLAGS,
							 sizeof(WalredoClearVisibilityMapFlags));
	rec->u.clear_vm.new_heap_blkno = new_blkno;
	rec->u.clear_vm.old_heap_blkno = old_blkno;
	rec->u.clear_vm.flags = flags;
}

/*
 * See changes_internal.h.
 */
bool
walredo_heap_clears_map(const XLogRecord *record,
						const WalredoRecordHeaders *headers)
{
	int			op = (record->xl_info & XLOG_HEAP_OPMASK) >> 4;
	const HeapRecord *kind = record->xl_rmid == RM_HEAP_ID ?
		&heap_records[op] : &heap2_records[op];
	const char *data = (const char *) record + record->xl_tot_len -
		headers->main_size;

	return kind->size != 0 &&
		(headers->main_size < kind->size ||
		 (((uint8) data[kind->flags_offset]) &
		  (kind->clears_new | kind->clears_old)) != 0);
}

/*
 * Visibility map bits that heap records clear.
 *
 * As heap_redo() and heap2_redo() in src/backend/access/heap/heapam.c (from
 * PostgreSQL 18 on in heapam_xlog.c).  They clear the bits before they look at
 * the heap page, whatever its LSN.
 */
void
walredo_native_of_heap(WalredoChanges *changes)
{
	int			op = (changes->record->xl_info & XLOG_HEAP_OPMASK) >> 4;
	const HeapRecord *kind = changes->record->xl_rmid == RM_HEAP_ID ?
		&heap_records[op] : &heap2_records[op];
	Cursor		cursor = changes->main_data;
	BlockNumber new_blkno = InvalidBlockNumber;
	BlockNumber old_blkno = InvalidBlockNumber;
	const WalredoBlockRef *block;
	const WalredoBlockRef *old_block;
	uint8		flags = 0;

	/* Most records do not clear anything, so check that first. */
	if (kind->size == 0)
		return;
	if (cursor.left >= kind->size)
		flags = (uint8) cursor.ptr[kind->flags_offset];
	take(changes, &cursor, NULL, kind->size);
	if ((flags & (kind->clears_new | kind->clears_old)) == 0)
		return;

	block = old_block = block_by_id(changes, 0, false);
	if (kind->has_old_block && block_by_id(changes, 1, true) != NULL)
		old_block = block_by_id(changes, 1, true);
	if ((flags & kind->clears_new) != 0)
		new_blkno = block->blkno;
	if ((flags & kind->clears_old) != 0)
		old_blkno = old_block->blkno;

	/*
	 * Newer minor releases do name the map's pages that they change, and redo
	 * of such a record clears no bits elsewhere.
	 */
	for (int i = 0; i < changes->headers->num_blocks; i++)
	{
		if (changes->headers->blocks[i].forknum == VISIBILITYMAP_FORKNUM)
			return;
	}

	/* InvalidBlockNumber in the record would look as if there was no block. */
	if (!BlockNumberIsValid(new_blkno) && !BlockNumberIsValid(old_blkno))
		walredo_changes_broken(changes, "The record refers to an invalid block number.");

	clear_visibility_map(changes, &block->locator, new_blkno, old_blkno,
						 kind->cleared);
}

/*
 * See changes_internal.h.
 */
bool
walredo_changes_truncation(WalredoChanges *changes, xl_smgr_truncate *xlrec)
{
	Cursor		cursor = changes->main_data;

	if ((changes->record->xl_info & ~XLR_INFO_MASK) != XLOG_SMGR_TRUNCATE)
		return false;
	take(changes, &cursor, xlrec, sizeof(*xlrec));
	if (!BlockNumberIsValid(xlrec->blkno))
		walredo_changes_broken(changes, "The record truncates a relation at an invalid block number.");
	return true;
}

/*
 * The visibility map page that a truncation of the heap cuts through.
 *
 * As visibilitymap_prepare_truncate() in
 * src/backend/access/heap/visibilitymap.c, which smgr_redo() calls.
 */
void
walredo_native_of_smgr(WalredoChanges *changes)
{
	xl_smgr_truncate xlrec;
	WalredoTag	tag;
	WalredoRecord *rec;

	if (!walredo_changes_truncation(changes, &xlrec) ||
		(xlrec.flags & SMGR_TRUNCATE_VM) == 0)
		return;
	if (walredo_vm_byte(xlrec.blkno) == 0 && walredo_vm_bit(xlrec.blkno) == 0)
		return;					/* the cut is between two pages */

	tag = walredo_tag_of_block(&SmgrTruncateLocator(xlrec),
							   VISIBILITYMAP_FORKNUM,
							   walredo_vm_page(xlrec.blkno));
	if (!walredo_changes_want(changes, &tag))
		return;
	rec = walredo_add_native(changes, &tag, WALREDO_TRUNCATE_VISIBILITY_MAP,
							 sizeof(WalredoTruncateVisibilityMap));
	rec->u.truncate_vm.trunc_byte = walredo_vm_byte(xlrec.blkno);
	rec->u.truncate_vm.trunc_offs = walredo_vm_bit(xlrec.blkno);
}

/* ----------------------------------------
 * Transactions
 * ----------------------------------------
 */

/* A function that returns the page of an SLRU that holds a transaction. */
typedef uint64 (*PageOfXid) (TransactionId xid);

/*
 * Divides an array of transactions into runs of those that are on one page.
 * Sets *run to the next run, which begins at index *next, and moves *next
 * after it.  Returns the length of the run, or 0 if there are no more.
 *
 * If the filter has a single page, all transactions on that page are returned
 * as one run.  Otherwise a hostile record, in which they alternate with
 * transactions on other pages, would make a change for each, which would take
 * many times the memory of the record.
 */
static int
next_run(WalredoChanges *changes, PageOfXid page_of,
		 const TransactionId *xids, int nxids, int *next,
		 const TransactionId **run)
{
	bool		one_page = changes->filter->kind == WALREDO_FILTER_PAGE;
	TransactionId *found = NULL;
	int			length = 0;
	uint64		pageno;
	int			i = *next;

	if (i >= nxids)
		return 0;

	pageno = one_page ? changes->filter->tag.number : page_of(xids[i]);
	for (; i < nxids; i++)
	{
		if (i % XIDS_BETWEEN_INTERRUPTS == 0)
			CHECK_FOR_INTERRUPTS();
		if (page_of(xids[i]) == pageno)
		{
			if (one_page && found == NULL)
				found = MemoryContextAlloc(changes->context,
										   (nxids - i) * sizeof(TransactionId));
			if (one_page)
				found[length] = xids[i];
			length++;
		}
		else if (!one_page)
			break;
	}
	*run = one_page ? found : xids + *next;
	*next = i;
	return length;
}

/* Are pages of an SLRU of this kind wanted? */
static bool
wanted_kind(WalredoChanges *changes, WalredoTagKind kind)
{
	return changes->filter->kind == WALREDO_FILTER_ALL ||
		(changes->filter->kind == WALREDO_FILTER_PAGE &&
		 changes->filter->tag.kind == kind) ||
		(changes->filter->slrus & WALREDO_KIND_BIT(kind)) != 0;
}

/*
 * Adds a change that sets the status of transactions, which must all be on the
 * CLOG page of the first.
 */
static void
set_page_status(WalredoChanges *changes, WalredoRecordKind kind,
				const TransactionId *xids, int nxids)
{
	WalredoTag	tag = tag_of_number(WALREDO_TAG_CLOG,
									walredo_clog_page(xids[0]));
	WalredoRecord *rec;

	if (!walredo_changes_want(changes, &tag) || pass_over(changes))
		return;
	rec = walredo_add_native(changes, &tag, kind,
							 nxids * sizeof(TransactionId));
	memcpy(rec->u.xids, xids, nxids * sizeof(TransactionId));
}

/*
 * As set_status_by_pages() in src/backend/access/transam/clog.c.
 */
static void
set_status_by_pages(WalredoChanges *changes, WalredoRecordKind kind,
					const TransactionId *xids, int nxids)
{
	int			next = 0;
	int			n;
	const TransactionId *run;

	while (!list_is_full(changes) &&
		   (n = next_run(changes, walredo_clog_page, xids, nxids, &next,
						 &run)) > 0)
		set_page_status(changes, kind, run, n);
}

/*
 * Sets the status of a transaction, which is the first in xids, and of its
 * subtransactions.
 *
 * As TransactionIdSetTreeStatus() in src/backend/access/transam/clog.c.  If
 * the tree spans pages, subtransactions on other pages than the parent's are
 * marked as sub-committed before the parent commits.
 */
static void
set_tree_status(WalredoChanges *changes, WalredoRecordKind kind,
				const TransactionId *xids, int nxids)
{
	int			on_first = 1;

	if (!wanted_kind(changes, WALREDO_TAG_CLOG))
		return;
	while (on_first < nxids &&
		   walredo_clog_page(xids[on_first]) == walredo_clog_page(xids[0]))
		on_first++;

	if (kind == WALREDO_CLOG_SET_COMMITTED && on_first < nxids)
		set_status_by_pages(changes, WALREDO_CLOG_SET_SUBCOMMITTED,
							xids + on_first, nxids - on_first);
	if (list_is_full(changes))
		return;
	set_page_status(changes, kind, xids, on_first);
	if (on_first < nxids)
		set_status_by_pages(changes, kind, xids + on_first, nxids - on_first);
}

/*
 * Sets the commit timestamp of transactions.
 *
 * As TransactionTreeSetCommitTsData() in
 * src/backend/access/transam/commit_ts.c.
 */
static void
set_tree_commit_ts(WalredoChanges *changes, const TransactionId *xids,
				   int nxids, TimestampTz timestamp)
{
	int			next = 0;
	int			n;
	const TransactionId *run;

	if (!wanted_kind(changes, WALREDO_TAG_COMMIT_TS))
		return;
	while (!list_is_full(changes) &&
		   (n = next_run(changes, walredo_commit_ts_page, xids, nxids, &next,
						 &run)) > 0)
	{
		WalredoTag	tag = tag_of_number(WALREDO_TAG_COMMIT_TS,
										walredo_commit_ts_page(run[0]));
		WalredoRecord *rec;

		if (!walredo_changes_want(changes, &tag) || pass_over(changes))
			continue;
		rec = walredo_add_native(changes, &tag, WALREDO_COMMIT_TS_SET,
								 offsetof(WalredoCommitTs, xids) +
								 n * sizeof(TransactionId));
		rec->u.commit_ts.timestamp = timestamp;
		rec->u.commit_ts.origin = changes->headers->origin;
		memcpy(rec->u.commit_ts.xids, run, n * sizeof(TransactionId));
	}
}

/*
 * Reads the record of a transaction's end.
 *
 * As ParseCommitRecord() and ParseAbortRecord() in
 * src/backend/access/rmgrdesc/xactdesc.c, which trust every count.
 */
bool
walredo_changes_xact_end(WalredoChanges *changes, XactEnd *end)
{
	uint8		op = changes->record->xl_info & XLOG_XACT_OPMASK;
	Cursor		cursor = changes->main_data;
	uint32		xinfo = 0;

	memset(end, 0, sizeof(*end));
	end->is_commit = op == XLOG_XACT_COMMIT || op == XLOG_XACT_COMMIT_PREPARED;
	end->was_prepared = op == XLOG_XACT_COMMIT_PREPARED ||
		op == XLOG_XACT_ABORT_PREPARED;
	if (!end->is_commit && !end->was_prepared && op != XLOG_XACT_ABORT)
		return false;

	take(changes, &cursor, &end->xact_time, sizeof(end->xact_time));
	end->timestamp = end->xact_time;
	if (changes->record->xl_info & XLOG_XACT_HAS_INFO)
		take(changes, &cursor, &xinfo, sizeof(xinfo));
	if (xinfo & XACT_XINFO_HAS_DBINFO)
		take(changes, &cursor, NULL, sizeof(xl_xact_dbinfo));
	if (xinfo & XACT_XINFO_HAS_SUBXACTS)
		end->nsubxacts = take_array(changes, &cursor, sizeof(TransactionId),
									&end->subxacts);
	if (xinfo & XACT_XINFO_HAS_RELFILELOCATORS)
		end->nrelations = take_array(changes, &cursor, sizeof(RelFileLocator),
									 &end->relations);
	if (xinfo & XACT_XINFO_HAS_DROPPED_STATS)
		(void) take_array(changes, &cursor, sizeof(xl_xact_stats_item), NULL);
	if (end->is_commit && (xinfo & XACT_XINFO_HAS_INVALS))
		(void) take_array(changes, &cursor, sizeof(SharedInvalidationMessage),
						  NULL);
	if (xinfo & XACT_XINFO_HAS_TWOPHASE)
	{
		end->has_prepared_xid = true;
		take(changes, &cursor, &end->prepared_xid, sizeof(TransactionId));
		if (xinfo & XACT_XINFO_HAS_GID)
		{
			/* A string that must end before the record does. */
			take(changes, &cursor, NULL, strnlen(cursor.ptr, cursor.left));
			take(changes, &cursor, NULL, 1);
		}
	}
	if (end->is_commit && (xinfo & XACT_XINFO_HAS_ORIGIN))
	{
		xl_xact_origin origin;

		take(changes, &cursor, &origin, sizeof(origin));
		end->timestamp = origin.origin_timestamp;
	}
	return true;
}

bool
walredo_record_xact_end(const XLogRecord *record, XLogRecPtr end_lsn,
						XactEnd *end)
{
	WalredoChanges changes = {0};
	WalredoRecordHeaders headers;
	uint8		op = record->xl_info & XLOG_XACT_OPMASK;

	if (record->xl_rmid != RM_XACT_ID || op == XLOG_XACT_ASSIGNMENT ||
		op == XLOG_XACT_INVALIDATIONS || op == XLOG_XACT_PREPARE)
		return false;
	changes.record = record;
	changes.end_lsn = end_lsn;
	walredo_xlogrecord_headers(record, &headers);
	if (headers.error != NULL)
		walredo_changes_broken(&changes, "%s", headers.error);
	changes.main_data.left = headers.main_size;
	changes.main_data.ptr =
		(const char *) record + record->xl_tot_len - headers.main_size;
	return walredo_changes_xact_end(&changes, end);
}

/*
 * The end of a transaction.
 *
 * As xact_redo_commit() and xact_redo_abort() in
 * src/backend/access/transam/xact.c.
 */
static void
native_of_xact_end(WalredoChanges *changes, const XactEnd *end)
{
	int			nxids = 1 + end->nsubxacts;
	TransactionId *xids = MemoryContextAlloc(changes->context,
											 nxids * sizeof(TransactionId));

	xids[0] = end->was_prepared ? end->prepared_xid :
		changes->record->xl_xid;
	if (end->nsubxacts > 0)
		memcpy(xids + 1, end->subxacts,
			   end->nsubxacts * sizeof(TransactionId));
	for (int i = 0; i < nxids; i++)
	{
		if (i % XIDS_BETWEEN_INTERRUPTS == 0)
			CHECK_FOR_INTERRUPTS();
		if (!TransactionIdIsNormal(xids[i]))
			walredo_changes_broken(changes,
								   "Transaction ID %u is not a normal transaction ID.",
								   xids[i]);
	}

	if (end->is_commit)
		set_tree_commit_ts(changes, xids, nxids, end->timestamp);
	set_tree_status(changes, end->is_commit ? WALREDO_CLOG_SET_COMMITTED :
					WALREDO_CLOG_SET_ABORTED, xids, nxids);
}

/*
 * The state of a prepared transaction, as it gets into its file.
 *
 * As RecreateTwoPhaseFile() in src/backend/access/transam/twophase.c: the
 * record's data and a checksum, which the length in the data includes.
 */
static void
save_prepared(WalredoChanges *changes)
{
	Cursor		cursor = changes->main_data;
	xl_xact_prepare header;
	WalredoTag	tag;
	WalredoRecord *rec;
	pg_crc32c	crc;

	take(changes, &cursor, &header, sizeof(header));
	if (header.total_len != changes->main_data.left + sizeof(crc))
		walredo_changes_broken(changes, "The state of the prepared transaction has an invalid length.");

	tag = tag_of_number(WALREDO_TAG_TWOPHASE, header.xid);
	if (!walredo_changes_want(changes, &tag))
		return;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, changes->main_data.ptr, changes->main_data.left);
	FIN_CRC32C(crc);

	rec = walredo_add_native(changes, &tag, WALREDO_REPLACE, header.total_len);
	memcpy(rec->u.data, changes->main_data.ptr, changes->main_data.left);
	memcpy(rec->u.data + changes->main_data.left, &crc, sizeof(crc));
}

/*
 * As xact_redo() in src/backend/access/transam/xact.c.
 */
void
walredo_native_of_xact(WalredoChanges *changes)
{
	XactEnd		end;

	if (walredo_changes_xact_end(changes, &end))
		native_of_xact_end(changes, &end);
	else if ((changes->record->xl_info & XLOG_XACT_OPMASK) ==
			 XLOG_XACT_PREPARE)
		save_prepared(changes);
}

/* ----------------------------------------
 * Other pages that are not blocks
 * ----------------------------------------
 */

/* A record that makes a page of an SLRU, which is all that it holds. */
static void
zero_page(WalredoChanges *changes, WalredoTagKind kind)
{
	Cursor		cursor = changes->main_data;
	WalredoTag	tag = take_slru_page(changes, &cursor, kind);

	if (walredo_changes_want(changes, &tag))
		walredo_add_native(changes, &tag, WALREDO_ZERO_PAGE, 0);
}

/* As clog_redo() in src/backend/access/transam/clog.c. */
void
walredo_native_of_clog(WalredoChanges *changes)
{
	if ((changes->record->xl_info & ~XLR_INFO_MASK) == CLOG_ZEROPAGE)
		zero_page(changes, WALREDO_TAG_CLOG);
}

/* As commit_ts_redo() in src/backend/access/transam/commit_ts.c. */
void
walredo_native_of_commit_ts(WalredoChanges *changes)
{
	if ((changes->record->xl_info & ~XLR_INFO_MASK) == COMMIT_TS_ZEROPAGE)
		zero_page(changes, WALREDO_TAG_COMMIT_TS);
}

/* Sets where the members of a multixact begin. */
static void
set_multixact_offset(WalredoChanges *changes, MultiXactId mid,
					 MultiXactOffset moff)
{
	WalredoTag	tag = tag_of_number(WALREDO_TAG_MULTIXACT_OFFSETS,
									walredo_mxact_offset_page(mid));
	WalredoRecord *rec;

	if (!walredo_changes_want(changes, &tag))
		return;
	rec = walredo_add_native(changes, &tag, WALREDO_MULTIXACT_OFFSET_CREATE,
							 sizeof(WalredoMultiXactOffset));
	rec->u.mxact_offset.mid = mid;
	rec->u.mxact_offset.moff = moff;
}

/* Sets members of a multixact, which are all on one page, from moff on. */
static void
set_multixact_members(WalredoChanges *changes, const WalredoTag *tag,
					  MultiXactOffset moff, const MultiXactMember *members,
					  int nmembers)
{
	Size		size = offsetof(WalredoMultiXactMembers, members) +
		nmembers * sizeof(WalredoMultiXactMember);
	WalredoRecord *rec;

	rec = walredo_add_native(changes, tag, WALREDO_MULTIXACT_MEMBERS_CREATE,
							 size);
	rec->u.mxact_members.moff = moff;
	for (int i = 0; i < nmembers; i++)
	{
		rec->u.mxact_members.members[i].xid = members[i].xid;
		rec->u.mxact_members.members[i].status = members[i].status;
	}
}

/*
 * A new multixact.
 *
 * As RecordNewMultiXact() in src/backend/access/transam/multixact.c of current
 * minor releases, which also sets where the next multixact's members begin.
 * That may be the first entry of the next page.  Redo of WAL that an older
 * minor release wrote makes that page if it is not there; from the record
 * alone nobody can tell, and entries for it may have come before, so a page is
 * never made here.
 */
static void
create_multixact(WalredoChanges *changes)
{
	Cursor		cursor = changes->main_data;
	xl_multixact_create xlrec;
	MultiXactId next;
	MultiXactOffset next_offset;
	MultiXactOffset offset;
	MultiXactMember *members;
	int			i = 0;

	take(changes, &cursor, &xlrec, SizeOfMultiXactCreate);
	if (!MultiXactIdIsValid(xlrec.mid))
		walredo_changes_broken(changes, "Multixact %u is invalid.", xlrec.mid);
	if (xlrec.nmembers < 0 ||
		xlrec.nmembers > cursor.left / sizeof(MultiXactMember))
		walredo_changes_broken(changes, "The record is too short for the %d members that it declares for multixact %u.",
							   xlrec.nmembers, xlrec.mid);

	set_multixact_offset(changes, xlrec.mid, xlrec.moff);

	/* Neither multixact 0 nor member 0 is the first of anything. */
	next = xlrec.mid + 1;
	if (next < FirstMultiXactId)
		next = FirstMultiXactId;
	next_offset = xlrec.moff + xlrec.nmembers;
	if (next_offset == 0)
		next_offset = 1;
	set_multixact_offset(changes, next, next_offset);

	members = MemoryContextAlloc(changes->context,
								 xlrec.nmembers * sizeof(MultiXactMember));
	take(changes, &cursor, members,
		 xlrec.nmembers * sizeof(MultiXactMember));

	/* Members go on with 0 after the last there can be. */
	offset = xlrec.moff;
	while (i < xlrec.nmembers)
	{
		uint64		pageno = walredo_mxact_member_page(offset);
		WalredoTag	tag = tag_of_number(WALREDO_TAG_MULTIXACT_MEMBERS, pageno);
		MultiXactOffset end = offset;
		int			n = 0;

		while (i + n < xlrec.nmembers &&
			   walredo_mxact_member_page(end) == pageno)
		{
			if (!TransactionIdIsNormal(members[i + n].xid))
				walredo_changes_broken(changes, "Transaction ID %u, a member of multixact %u, is not a normal transaction ID.",
									   members[i + n].xid, xlrec.mid);
			if ((uint32) members[i + n].status > MaxMultiXactStatus)
				walredo_changes_broken(changes, "A member of multixact %u has the unknown status %u.",
									   xlrec.mid,
									   (uint32) members[i + n].status);
			n++;
			end++;
		}

		if (walredo_changes_want(changes, &tag))
			set_multixact_members(changes, &tag, offset, members + i, n);
		i += n;
		offset = end;
	}
}

/*
 * As multixact_redo() in src/backend/access/transam/multixact.c.
 */
void
walredo_native_of_multixact(WalredoChanges *changes)
{
	switch (changes->record->xl_info & ~XLR_INFO_MASK)
	{
		case XLOG_MULTIXACT_ZERO_OFF_PAGE:
			zero_page(changes, WALREDO_TAG_MULTIXACT_OFFSETS);
			break;
		case XLOG_MULTIXACT_ZERO_MEM_PAGE:
			zero_page(changes, WALREDO_TAG_MULTIXACT_MEMBERS);
			break;
		case XLOG_MULTIXACT_CREATE_ID:
			create_multixact(changes);
			break;
		default:
			break;
	}
}

/*
 * As relmap_redo() in src/backend/utils/cache/relmapper.c.
 */
void
walredo_native_of_relmap(WalredoChanges *changes)
{
	Cursor		cursor = changes->main_data;
	xl_relmap_update xlrec;
	WalredoTag	tag = {0};
	WalredoRecord *rec;

	if ((changes->record->xl_info & ~XLR_INFO_MASK) != XLOG_RELMAP_UPDATE)
		return;

	take(changes, &cursor, &xlrec, MinSizeOfRelmapUpdate);
	if (xlrec.nbytes <= 0 || xlrec.nbytes != cursor.left)
		walredo_changes_broken(changes, "The relation map has an invalid length.");

	tag.kind = WALREDO_TAG_RELMAP;
	tag.spcOid = xlrec.tsid;
	tag.dbOid = xlrec.dbid;
	if (!walredo_changes_want(changes, &tag))
		return;
	rec = walredo_add_native(changes, &tag, WALREDO_REPLACE, xlrec.nbytes);
	take(changes, &cursor, rec->u.data, xlrec.nbytes);
}

/*-------------------------------------------------------------------------
 *
 * changes.c
 *	  From one WAL record to the pages that it changes.
 *
 * Each function below mirrors a redo routine of the server, which is named at
 * its head, as far as that routine changes pages that the record does not
 * name.  What redo does to a block that the record does name is not looked
 * into: the whole record stands for it, and a wal-redo child replays it.
 *
 * Records may come from anyone, so nothing in one is taken for granted.  Its
 * main data is only read through a cursor that knows where the record ends,
 * and every count is compared with what is left before it is used.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/wal/changes.c
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
#include "access/xlog_internal.h"
#include "catalog/pg_control.h"
#include "catalog/storage_xlog.h"
#include "commands/dbcommands_xlog.h"
#include "commands/tablespace.h"
#include "compat.h"
#include "miscadmin.h"
#include "port/pg_crc32c.h"
#include "record/slru.h"
#include "record/visibilitymap.h"
#include "record/xlogrecord.h"
#include "storage/sinval.h"
#include "utils/memutils.h"
#include "utils/relmapper.h"
#include "wal/changes.h"

/* Main data, and how much of it has been read. */
typedef struct Cursor
{
	const char *ptr;
	Size		left;
} Cursor;

struct WalredoLowering
{
	/* The record, and which pages of it are wanted. */
	const XLogRecord *record;
	XLogRecPtr	end_lsn;
	const WalredoTag *only;
	bool		whole_fork;

	const WalredoRecordHeaders *headers;
	Cursor		main_data;

	/* The result. */
	MemoryContext context;		/* reset for each record */
	WalredoPageRecord *pairs;
	int			num_pairs;
	int			max_pairs;

	/*
	 * What of the result is asked for: pairs from number first_pair on, until
	 * their records have taken max_size bytes.  next_pair is the number of
	 * the pair that will be made next, whether it is asked for or not.
	 */
	uint64		first_pair;
	uint64		next_pair;
	Size		max_size;
	Size		size;

	/* The result of walredo_file_changes(). */
	WalredoFileChange *changes;
	int			num_changes;
	int			max_changes;
};

/* A record may name millions of transactions: how often to look for a cancel */
#define XIDS_BETWEEN_INTERRUPTS		0x10000

/* About what a pair takes beside the body of its record. */
#define PAIR_OVERHEAD				(sizeof(WalredoPageRecord) + 64)

static void broken(XLogRecPtr end_lsn, const char *fmt,...)
			pg_attribute_printf(2, 3);

/* ----------------------------------------
 * Reading and writing
 * ----------------------------------------
 */

static void
broken(XLogRecPtr end_lsn, const char *fmt,...)
{
	StringInfoData detail;

	initStringInfo(&detail);
	for (;;)
	{
		va_list		args;
		int			needed;

		va_start(args, fmt);
		needed = appendStringInfoVA(&detail, fmt, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&detail, needed);
	}

	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("invalid WAL record that ends at %X/%X",
					LSN_FORMAT_ARGS(end_lsn)),
			 errdetail_internal("%s", detail.data)));
}

/*
 * Takes the next size bytes of main data, or skips them if dst is NULL.
 */
static void
take(WalredoLowering *lowering, Cursor *cursor, void *dst, Size size)
{
	if (cursor->left < size)
		broken(lowering->end_lsn, "Its main data is too short for what it says.");
	if (dst != NULL)
		memcpy(dst, cursor->ptr, size);
	cursor->ptr += size;
	cursor->left -= size;
}

/*
 * Takes a count, and checks that so many entries of entry_size follow.
 */
static int
take_count(WalredoLowering *lowering, Cursor *cursor, Size entry_size)
{
	int32		count;

	take(lowering, cursor, &count, sizeof(count));
	if (count < 0 || count > cursor->left / entry_size)
		broken(lowering->end_lsn,
			   "It says that %d entries follow, but has no room for them.",
			   count);
	return count;
}

/* Skips a count and its entries. */
static void
skip_array(WalredoLowering *lowering, Cursor *cursor, Size entry_size)
{
	int			count = take_count(lowering, cursor, entry_size);

	take(lowering, cursor, NULL, count * entry_size);
}

/* Is the page wanted? */
static bool
wanted(WalredoLowering *lowering, const WalredoTag *tag)
{
	const WalredoTag *only = lowering->only;

	if (only == NULL)
		return true;
	if (!lowering->whole_fork)
		return memcmp(only, tag, sizeof(WalredoTag)) == 0;
	return only->kind == tag->kind && only->forknum == tag->forknum &&
		only->spcOid == tag->spcOid && only->dbOid == tag->dbOid &&
		only->relNumber == tag->relNumber;
}

/* Have as many pairs been made as may be at a time? */
static bool
is_full(WalredoLowering *lowering)
{
	return lowering->size >= lowering->max_size;
}

/*
 * Passes over the next pair if it comes before those that are asked for.  Who
 * makes pairs by the million asks before each, and ends when is_full(); for
 * others add_pair() sees to both.
 */
static bool
pass_over(WalredoLowering *lowering)
{
	if (lowering->next_pair >= lowering->first_pair)
		return false;
	lowering->next_pair++;
	return true;
}

/*
 * Adds a pair.  Several may have one record.  False if it is not asked for.
 */
static bool
add_pair(WalredoLowering *lowering, const WalredoTag *tag,
		 WalredoRecord *record)
{
	WalredoPageRecord *pair;

	if (!walredo_tag_is_valid(tag))
		broken(lowering->end_lsn, "It names a page that cannot be.");
	if (is_full(lowering) || pass_over(lowering))
		return false;

	if (lowering->num_pairs == lowering->max_pairs)
	{
		lowering->max_pairs = Max(8, lowering->max_pairs * 2);
		if (lowering->pairs == NULL)
			lowering->pairs = MemoryContextAlloc(lowering->context,
												 lowering->max_pairs *
												 sizeof(WalredoPageRecord));
		else
			lowering->pairs = repalloc(lowering->pairs,
									   lowering->max_pairs *
									   sizeof(WalredoPageRecord));
	}

	pair = &lowering->pairs[lowering->num_pairs++];
	pair->tag = *tag;
	pair->record = record;
	lowering->next_pair++;
	lowering->size += PAIR_OVERHEAD;
	return true;
}

/* Makes a record that lives as long as the result. */
static WalredoRecord *
make_record(WalredoLowering *lowering, WalredoRecordKind kind, Size body_size)
{
	MemoryContext old_cxt = MemoryContextSwitchTo(lowering->context);
	WalredoRecord *record;

	record = walredo_record_make(kind, lowering->end_lsn, body_size);
	MemoryContextSwitchTo(old_cxt);
	return record;
}

/*
 * Adds a pair, and returns its record with body_size bytes to be filled in.
 */
static WalredoRecord *
add(WalredoLowering *lowering, const WalredoTag *tag, WalredoRecordKind kind,
	Size body_size)
{
	WalredoRecord *record = make_record(lowering, kind, body_size);

	if (add_pair(lowering, tag, record))
		lowering->size += body_size;
	return record;
}

static WalredoTag
slru_tag(WalredoTagKind kind, uint64 pageno)
{
	WalredoTag	tag = {0};

	tag.kind = kind;
	tag.number = pageno;
	return tag;
}

/* ----------------------------------------
 * Blocks of relations
 * ----------------------------------------
 */

/* Do two references of a record name the same block? */
static bool
same_block(const WalredoBlockRef *a, const WalredoBlockRef *b)
{
	return a->blkno == b->blkno && a->forknum == b->forknum &&
		RelFileLocatorEquals(a->locator, b->locator);
}

/*
 * The blocks that the record names.  The whole record stands for what happens
 * to each.  A record is long compared with what it names, so there are no more
 * than two copies of it: for blocks that it initializes, and for others.
 */
static void
lower_blocks(WalredoLowering *lowering)
{
	const WalredoRecordHeaders *headers = lowering->headers;
	WalredoRecord *copies[2] = {NULL, NULL};

	for (int i = 0; i < headers->num_blocks; i++)
	{
		const WalredoBlockRef *block = &headers->blocks[i];
		WalredoTag	tag = walredo_tag_of_block(&block->locator,
											   block->forknum, block->blkno);
		bool		will_init = false;
		WalredoRecord **copy;
		int			j;

		if (!wanted(lowering, &tag))
			continue;

		/* A record is replayed once, even if it names a page twice. */
		for (j = 0; j < i && !same_block(&headers->blocks[j], block); j++)
			;
		if (j < i)
			continue;
		for (; j < headers->num_blocks; j++)
		{
			if (headers->blocks[j].will_init &&
				same_block(&headers->blocks[j], block))
				will_init = true;
		}

		if (is_full(lowering) || pass_over(lowering))
			continue;
		copy = &copies[will_init ? 1 : 0];
		if (*copy == NULL)
		{
			*copy = make_record(lowering, WALREDO_POSTGRES,
								lowering->record->xl_tot_len);
			memcpy((*copy)->u.data, lowering->record,
				   lowering->record->xl_tot_len);
			(*copy)->flags = WALREDO_WILL_INIT_GIVEN;
			if (will_init)
				(*copy)->flags |= WALREDO_WILL_INIT;
		}
		(void) add_pair(lowering, &tag, *copy);
	}
}

/* The block of an id, which must be there. */
static const WalredoBlockRef *
block_by_id(WalredoLowering *lowering, int id, bool missing_ok)
{
	for (int i = 0; i < lowering->headers->num_blocks; i++)
	{
		if (lowering->headers->blocks[i].id == id)
			return &lowering->headers->blocks[i];
	}
	if (!missing_ok)
		broken(lowering->end_lsn, "It does not name the block that it changes.");
	return NULL;
}

/*
 * Clears bits of one or two heap blocks in the visibility map, either of which
 * may be InvalidBlockNumber.  If they are on two pages of the map, each page
 * gets a record of its own.
 */
static void
clear_visibility_map(WalredoLowering *lowering, const RelFileLocator *locator,
					 BlockNumber new_blkno, BlockNumber old_blkno,
					 uint32 flags)
{
	WalredoTag	tag;
	WalredoRecord *rec;

	if (BlockNumberIsValid(new_blkno) && BlockNumberIsValid(old_blkno) &&
		walredo_vm_page(new_blkno) != walredo_vm_page(old_blkno))
	{
		clear_visibility_map(lowering, locator, InvalidBlockNumber, old_blkno,
							 flags);
		clear_visibility_map(lowering, locator, new_blkno, InvalidBlockNumber,
							 flags);
		return;
	}

	tag = walredo_tag_of_block(locator, VISIBILITYMAP_FORKNUM,
							   walredo_vm_page(BlockNumberIsValid(new_blkno) ?
											   new_blkno : old_blkno));
	if (!wanted(lowering, &tag))
		return;

	rec = add(lowering, &tag, WALREDO_CLEAR_VISIBILITY_MAP_FLAGS,
			  sizeof(WalredoClearVisibilityMapFlags));
	rec->u.clear_vm.new_heap_blkno = new_blkno;
	rec->u.clear_vm.old_heap_blkno = old_blkno;
	rec->u.clear_vm.flags = flags;
}

/*
 * Visibility map bits that heap records clear.
 *
 * As heap_redo() and heap2_redo() in src/backend/access/heap/heapam.c (from
 * PostgreSQL 18 on in heapam_xlog.c).  They clear the bits before they look at
 * the heap page, whatever its LSN, and locking a row clears only the bit that
 * says all rows are frozen.
 */
static void
lower_heap(WalredoLowering *lowering)
{
	RmgrId		rmid = lowering->record->xl_rmid;
	uint8		op = lowering->record->xl_info & XLOG_HEAP_OPMASK;
	Cursor		cursor = lowering->main_data;
	BlockNumber new_blkno = InvalidBlockNumber;
	BlockNumber old_blkno = InvalidBlockNumber;
	uint32		flags = VISIBILITYMAP_VALID_BITS;
	const WalredoBlockRef *block;

	/* Most records do not clear anything: see that first. */
	if (rmid == RM_HEAP_ID && op == XLOG_HEAP_INSERT)
	{
		xl_heap_insert xlrec;

		take(lowering, &cursor, &xlrec, SizeOfHeapInsert);
		if ((xlrec.flags & XLH_INSERT_ALL_VISIBLE_CLEARED) == 0)
			return;
		block = block_by_id(lowering, 0, false);
		new_blkno = block->blkno;
	}
	else if (rmid == RM_HEAP2_ID && op == XLOG_HEAP2_MULTI_INSERT)
	{
		xl_heap_multi_insert xlrec;

		take(lowering, &cursor, &xlrec, SizeOfHeapMultiInsert);
		if ((xlrec.flags & XLH_INSERT_ALL_VISIBLE_CLEARED) == 0)
			return;
		block = block_by_id(lowering, 0, false);
		new_blkno = block->blkno;
	}
	else if (rmid == RM_HEAP_ID && op == XLOG_HEAP_DELETE)
	{
		xl_heap_delete xlrec;

		take(lowering, &cursor, &xlrec, SizeOfHeapDelete);
		if ((xlrec.flags & XLH_DELETE_ALL_VISIBLE_CLEARED) == 0)
			return;
		block = block_by_id(lowering, 0, false);
		old_blkno = block->blkno;
	}
	else if (rmid == RM_HEAP_ID &&
			 (op == XLOG_HEAP_UPDATE || op == XLOG_HEAP_HOT_UPDATE))
	{
		xl_heap_update xlrec;

		take(lowering, &cursor, &xlrec, SizeOfHeapUpdate);
		if ((xlrec.flags & (XLH_UPDATE_NEW_ALL_VISIBLE_CLEARED |
							XLH_UPDATE_OLD_ALL_VISIBLE_CLEARED)) == 0)
			return;
		block = block_by_id(lowering, 0, false);
		if (xlrec.flags & XLH_UPDATE_NEW_ALL_VISIBLE_CLEARED)
			new_blkno = block->blkno;
		if (xlrec.flags & XLH_UPDATE_OLD_ALL_VISIBLE_CLEARED)
		{
			/* The old row is on the same page if only that is named. */
			const WalredoBlockRef *old_block = block_by_id(lowering, 1, true);

			old_blkno = old_block ? old_block->blkno : block->blkno;
		}
	}
	else if (rmid == RM_HEAP_ID && op == XLOG_HEAP_LOCK)
	{
		xl_heap_lock xlrec;

		take(lowering, &cursor, &xlrec, SizeOfHeapLock);
		if ((xlrec.flags & XLH_LOCK_ALL_FROZEN_CLEARED) == 0)
			return;
		block = block_by_id(lowering, 0, false);
		old_blkno = block->blkno;
		flags = VISIBILITYMAP_ALL_FROZEN;
	}
	else if (rmid == RM_HEAP2_ID && op == XLOG_HEAP2_LOCK_UPDATED)
	{
		xl_heap_lock_updated xlrec;

		take(lowering, &cursor, &xlrec, SizeOfHeapLockUpdated);
		if ((xlrec.flags & XLH_LOCK_ALL_FROZEN_CLEARED) == 0)
			return;
		block = block_by_id(lowering, 0, false);
		old_blkno = block->blkno;
		flags = VISIBILITYMAP_ALL_FROZEN;
	}
	else
		return;

	/*
	 * Newer minor releases do name the map's pages that they change, and redo
	 * of such a record clears no bits elsewhere.
	 */
	for (int i = 0; i < lowering->headers->num_blocks; i++)
	{
		if (lowering->headers->blocks[i].forknum == VISIBILITYMAP_FORKNUM)
			return;
	}

	/* A block number that cannot be must not pass for an absent block. */
	if (!BlockNumberIsValid(new_blkno) && !BlockNumberIsValid(old_blkno))
		broken(lowering->end_lsn, "It names a block that cannot be.");

	clear_visibility_map(lowering, &block->locator, new_blkno, old_blkno,
						 flags);
}

/*
 * Reads the truncation of a relation.  False if the record is another one.
 */
static bool
take_truncation(WalredoLowering *lowering, xl_smgr_truncate *xlrec)
{
	Cursor		cursor = lowering->main_data;

	if (lowering->record->xl_rmid != RM_SMGR_ID ||
		(lowering->record->xl_info & ~XLR_INFO_MASK) != XLOG_SMGR_TRUNCATE)
		return false;
	take(lowering, &cursor, xlrec, sizeof(*xlrec));
	if (!BlockNumberIsValid(xlrec->blkno))
		broken(lowering->end_lsn, "It cuts a relation at a block that cannot be.");
	return true;
}

/*
 * The visibility map page that a truncation of the heap cuts through.
 *
 * As visibilitymap_prepare_truncate() in
 * src/backend/access/heap/visibilitymap.c, which smgr_redo() calls.
 */
static void
lower_smgr(WalredoLowering *lowering)
{
	xl_smgr_truncate xlrec;
	WalredoTag	tag;
	WalredoRecord *rec;

	if (!take_truncation(lowering, &xlrec) ||
		(xlrec.flags & SMGR_TRUNCATE_VM) == 0)
		return;
	if (walredo_vm_byte(xlrec.blkno) == 0 && walredo_vm_bit(xlrec.blkno) == 0)
		return;					/* the cut is between two pages */

	tag = walredo_tag_of_block(&SmgrTruncateLocator(xlrec),
							   VISIBILITYMAP_FORKNUM,
							   walredo_vm_page(xlrec.blkno));
	if (!wanted(lowering, &tag))
		return;
	rec = add(lowering, &tag, WALREDO_TRUNCATE_VISIBILITY_MAP,
			  sizeof(WalredoTruncateVisibilityMap));
	rec->u.truncate_vm.trunc_byte = walredo_vm_byte(xlrec.blkno);
	rec->u.truncate_vm.trunc_offs = walredo_vm_bit(xlrec.blkno);
}

/* ----------------------------------------
 * Transactions
 * ----------------------------------------
 */

/* The page of an SLRU that a transaction is on. */
typedef uint64 (*PageOfXid) (TransactionId xid);

/*
 * Goes through transactions by pages: *run becomes the next run of those that
 * are on one page, from *next on, which is moved behind it.  Returns the run's
 * length, 0 if there are no more.
 *
 * If a single page is wanted, all that are on it make one run: a hostile record
 * has them in turn with others, and a run for each would take a multiple of the
 * record's memory.
 */
static int
next_run(WalredoLowering *lowering, PageOfXid page_of,
		 const TransactionId *xids, int nxids, int *next,
		 const TransactionId **run)
{
	bool		one_page = lowering->only != NULL && !lowering->whole_fork;
	TransactionId *found = NULL;
	int			length = 0;
	uint64		pageno;
	int			i = *next;

	if (i >= nxids)
		return 0;

	pageno = one_page ? lowering->only->number : page_of(xids[i]);
	for (; i < nxids; i++)
	{
		if (i % XIDS_BETWEEN_INTERRUPTS == 0)
			CHECK_FOR_INTERRUPTS();
		if (page_of(xids[i]) == pageno)
		{
			if (one_page && found == NULL)
				found = MemoryContextAlloc(lowering->context,
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
wanted_kind(WalredoLowering *lowering, WalredoTagKind kind)
{
	return lowering->only == NULL || lowering->only->kind == kind;
}

/*
 * Sets the status of transactions that are all on the CLOG page of the first.
 */
static void
set_page_status(WalredoLowering *lowering, WalredoRecordKind kind,
				const TransactionId *xids, int nxids)
{
	WalredoTag	tag = slru_tag(WALREDO_TAG_CLOG, walredo_clog_page(xids[0]));
	WalredoRecord *rec;

	if (!wanted(lowering, &tag) || pass_over(lowering))
		return;
	rec = add(lowering, &tag, kind, nxids * sizeof(TransactionId));
	memcpy(rec->u.xids, xids, nxids * sizeof(TransactionId));
}

/*
 * As set_status_by_pages() in src/backend/access/transam/clog.c.
 */
static void
set_status_by_pages(WalredoLowering *lowering, WalredoRecordKind kind,
					const TransactionId *xids, int nxids)
{
	int			next = 0;
	int			n;
	const TransactionId *run;

	while (!is_full(lowering) &&
		   (n = next_run(lowering, walredo_clog_page, xids, nxids, &next,
						 &run)) > 0)
		set_page_status(lowering, kind, run, n);
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
set_tree_status(WalredoLowering *lowering, WalredoRecordKind kind,
				const TransactionId *xids, int nxids)
{
	int			on_first = 1;

	if (!wanted_kind(lowering, WALREDO_TAG_CLOG))
		return;
	while (on_first < nxids &&
		   walredo_clog_page(xids[on_first]) == walredo_clog_page(xids[0]))
		on_first++;

	if (kind == WALREDO_CLOG_SET_COMMITTED && on_first < nxids)
		set_status_by_pages(lowering, WALREDO_CLOG_SET_SUBCOMMITTED,
							xids + on_first, nxids - on_first);
	if (is_full(lowering))
		return;
	set_page_status(lowering, kind, xids, on_first);
	if (on_first < nxids)
		set_status_by_pages(lowering, kind, xids + on_first, nxids - on_first);
}

/*
 * Sets the commit timestamp of transactions.
 *
 * As TransactionTreeSetCommitTsData() in
 * src/backend/access/transam/commit_ts.c.
 */
static void
set_tree_commit_ts(WalredoLowering *lowering, const TransactionId *xids,
				   int nxids, TimestampTz timestamp)
{
	int			next = 0;
	int			n;
	const TransactionId *run;

	if (!wanted_kind(lowering, WALREDO_TAG_COMMIT_TS))
		return;
	while (!is_full(lowering) &&
		   (n = next_run(lowering, walredo_commit_ts_page, xids, nxids, &next,
						 &run)) > 0)
	{
		WalredoTag	tag = slru_tag(WALREDO_TAG_COMMIT_TS,
								   walredo_commit_ts_page(run[0]));
		WalredoRecord *rec;

		if (!wanted(lowering, &tag) || pass_over(lowering))
			continue;
		rec = add(lowering, &tag, WALREDO_COMMIT_TS_SET,
				  offsetof(WalredoCommitTs, xids) + n * sizeof(TransactionId));
		rec->u.commit_ts.timestamp = timestamp;
		rec->u.commit_ts.origin = lowering->headers->origin;
		memcpy(rec->u.commit_ts.xids, run, n * sizeof(TransactionId));
	}
}

/*
 * The end of a transaction.
 *
 * As xact_redo_commit() and xact_redo_abort() in
 * src/backend/access/transam/xact.c, and for the layout ParseCommitRecord()
 * and ParseAbortRecord() in src/backend/access/rmgrdesc/xactdesc.c, which
 * trust every count.
 */
static void
lower_xact_end(WalredoLowering *lowering, bool commit, bool prepared)
{
	Cursor		cursor = lowering->main_data;
	TimestampTz timestamp;
	uint32		xinfo = 0;
	int			nxids = 1;
	TransactionId *xids;
	TransactionId twophase_xid = InvalidTransactionId;

	take(lowering, &cursor, &timestamp, sizeof(timestamp));
	if (lowering->record->xl_info & XLOG_XACT_HAS_INFO)
		take(lowering, &cursor, &xinfo, sizeof(xinfo));
	if (xinfo & XACT_XINFO_HAS_DBINFO)
		take(lowering, &cursor, NULL, sizeof(xl_xact_dbinfo));

	/* The transaction's own ID, to be found below, goes before the others. */
	if (xinfo & XACT_XINFO_HAS_SUBXACTS)
		nxids += take_count(lowering, &cursor, sizeof(TransactionId));
	xids = MemoryContextAlloc(lowering->context, nxids * sizeof(TransactionId));
	take(lowering, &cursor, xids + 1, (nxids - 1) * sizeof(TransactionId));

	if (xinfo & XACT_XINFO_HAS_RELFILELOCATORS)
		skip_array(lowering, &cursor, sizeof(RelFileLocator));
	if (xinfo & XACT_XINFO_HAS_DROPPED_STATS)
		skip_array(lowering, &cursor, sizeof(xl_xact_stats_item));
	if (commit && (xinfo & XACT_XINFO_HAS_INVALS))
		skip_array(lowering, &cursor, sizeof(SharedInvalidationMessage));
	if (xinfo & XACT_XINFO_HAS_TWOPHASE)
	{
		take(lowering, &cursor, &twophase_xid, sizeof(twophase_xid));
		if (xinfo & XACT_XINFO_HAS_GID)
		{
			/* A string that must end before the record does. */
			take(lowering, &cursor, NULL, strnlen(cursor.ptr, cursor.left));
			take(lowering, &cursor, NULL, 1);
		}
	}
	if (commit && (xinfo & XACT_XINFO_HAS_ORIGIN))
	{
		xl_xact_origin origin;

		take(lowering, &cursor, &origin, sizeof(origin));
		timestamp = origin.origin_timestamp;
	}

	xids[0] = prepared ? twophase_xid : lowering->record->xl_xid;
	for (int i = 0; i < nxids; i++)
	{
		if (i % XIDS_BETWEEN_INTERRUPTS == 0)
			CHECK_FOR_INTERRUPTS();
		if (!TransactionIdIsNormal(xids[i]))
			broken(lowering->end_lsn, "Transaction %u is not a normal one.",
				   xids[i]);
	}

	if (commit)
		set_tree_commit_ts(lowering, xids, nxids, timestamp);
	set_tree_status(lowering, commit ? WALREDO_CLOG_SET_COMMITTED :
					WALREDO_CLOG_SET_ABORTED, xids, nxids);
}

/*
 * The state of a prepared transaction, as it gets into its file.
 *
 * As RecreateTwoPhaseFile() in src/backend/access/transam/twophase.c: the
 * record's data and a checksum, which the length in the data includes.
 */
static void
lower_prepare(WalredoLowering *lowering)
{
	Cursor		cursor = lowering->main_data;
	xl_xact_prepare header;
	WalredoTag	tag;
	WalredoRecord *rec;
	pg_crc32c	crc;

	take(lowering, &cursor, &header, sizeof(header));
	if (header.total_len != lowering->main_data.left + sizeof(crc))
		broken(lowering->end_lsn,
			   "The state of the prepared transaction has a wrong length.");

	tag = slru_tag(WALREDO_TAG_TWOPHASE, header.xid);
	if (!wanted(lowering, &tag))
		return;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, lowering->main_data.ptr, lowering->main_data.left);
	FIN_CRC32C(crc);

	rec = add(lowering, &tag, WALREDO_REPLACE, header.total_len);
	memcpy(rec->u.data, lowering->main_data.ptr, lowering->main_data.left);
	memcpy(rec->u.data + lowering->main_data.left, &crc, sizeof(crc));
}

/*
 * As xact_redo() in src/backend/access/transam/xact.c.
 */
static void
lower_xact(WalredoLowering *lowering)
{
	switch (lowering->record->xl_info & XLOG_XACT_OPMASK)
	{
		case XLOG_XACT_COMMIT:
			lower_xact_end(lowering, true, false);
			break;
		case XLOG_XACT_COMMIT_PREPARED:
			lower_xact_end(lowering, true, true);
			break;
		case XLOG_XACT_ABORT:
			lower_xact_end(lowering, false, false);
			break;
		case XLOG_XACT_ABORT_PREPARED:
			lower_xact_end(lowering, false, true);
			break;
		case XLOG_XACT_PREPARE:
			lower_prepare(lowering);
			break;
		default:
			break;
	}
}

/* ----------------------------------------
 * Other pages that are not blocks
 * ----------------------------------------
 */

/* A record that makes a page of an SLRU, which is all that it holds. */
static void
lower_zero_page(WalredoLowering *lowering, WalredoTagKind kind)
{
	Cursor		cursor = lowering->main_data;
	LoggedSlruPage pageno;
	WalredoTag	tag;

	take(lowering, &cursor, &pageno, sizeof(pageno));
	if (pageno < 0)
		broken(lowering->end_lsn, "It names a page that cannot be.");
	tag = slru_tag(kind, pageno);
	if (wanted(lowering, &tag))
		add(lowering, &tag, WALREDO_ZERO_PAGE, 0);
}

/* Sets where the members of a multixact begin. */
static void
set_multixact_offset(WalredoLowering *lowering, MultiXactId mid,
					 MultiXactOffset moff)
{
	WalredoTag	tag = slru_tag(WALREDO_TAG_MULTIXACT_OFFSETS,
							   walredo_mxact_offset_page(mid));
	WalredoRecord *rec;

	if (!wanted(lowering, &tag))
		return;
	rec = add(lowering, &tag, WALREDO_MULTIXACT_OFFSET_CREATE,
			  sizeof(WalredoMultiXactOffset));
	rec->u.mxact_offset.mid = mid;
	rec->u.mxact_offset.moff = moff;
}

/*
 * A new multixact.
 *
 * As RecordNewMultiXact() in src/backend/access/transam/multixact.c of current
 * minor releases, which also sets where the next multixact's members begin.
 * That may be the first entry of the next page.  Redo of log that an older
 * minor release wrote makes that page if it is not there; from the record
 * alone nobody can tell, and entries for it may have come before, so a page is
 * never made here.
 */
static void
lower_multixact_create(WalredoLowering *lowering)
{
	Cursor		cursor = lowering->main_data;
	xl_multixact_create xlrec;
	MultiXactId next;
	MultiXactOffset next_offset;
	MultiXactOffset offset;
	MultiXactMember *members;
	int			i = 0;

	take(lowering, &cursor, &xlrec, SizeOfMultiXactCreate);
	if (!MultiXactIdIsValid(xlrec.mid))
		broken(lowering->end_lsn, "Multixact %u is invalid.", xlrec.mid);
	if (xlrec.nmembers < 0 ||
		xlrec.nmembers > cursor.left / sizeof(MultiXactMember))
		broken(lowering->end_lsn,
			   "It says that multixact %u has %d members, but has no room for them.",
			   xlrec.mid, xlrec.nmembers);

	set_multixact_offset(lowering, xlrec.mid, xlrec.moff);

	/* Neither multixact 0 nor member 0 is the first of anything. */
	next = xlrec.mid + 1;
	if (next < FirstMultiXactId)
		next = FirstMultiXactId;
	next_offset = xlrec.moff + xlrec.nmembers;
	if (next_offset == 0)
		next_offset = 1;
	set_multixact_offset(lowering, next, next_offset);

	members = MemoryContextAlloc(lowering->context,
								 xlrec.nmembers * sizeof(MultiXactMember));
	take(lowering, &cursor, members,
		 xlrec.nmembers * sizeof(MultiXactMember));

	/* Members go on with 0 after the last there can be. */
	offset = xlrec.moff;
	while (i < xlrec.nmembers)
	{
		uint64		pageno = walredo_mxact_member_page(offset);
		WalredoTag	tag = slru_tag(WALREDO_TAG_MULTIXACT_MEMBERS, pageno);
		MultiXactOffset end = offset;
		int			n = 0;

		while (i + n < xlrec.nmembers &&
			   walredo_mxact_member_page(end) == pageno)
		{
			if (!TransactionIdIsNormal(members[i + n].xid))
				broken(lowering->end_lsn,
					   "Member %u of multixact %u is not a normal transaction.",
					   members[i + n].xid, xlrec.mid);
			if ((uint32) members[i + n].status > MaxMultiXactStatus)
				broken(lowering->end_lsn,
					   "A member of multixact %u has the unknown status %u.",
					   xlrec.mid, (uint32) members[i + n].status);
			n++;
			end++;
		}

		if (wanted(lowering, &tag))
		{
			WalredoRecord *rec;

			rec = add(lowering, &tag, WALREDO_MULTIXACT_MEMBERS_CREATE,
					  offsetof(WalredoMultiXactMembers, members) +
					  n * sizeof(WalredoMultiXactMember));
			rec->u.mxact_members.moff = offset;
			for (int j = 0; j < n; j++)
			{
				rec->u.mxact_members.members[j].xid = members[i + j].xid;
				rec->u.mxact_members.members[j].status = members[i + j].status;
			}
		}
		i += n;
		offset = end;
	}
}

/*
 * As multixact_redo() in src/backend/access/transam/multixact.c.
 */
static void
lower_multixact(WalredoLowering *lowering)
{
	switch (lowering->record->xl_info & ~XLR_INFO_MASK)
	{
		case XLOG_MULTIXACT_ZERO_OFF_PAGE:
			lower_zero_page(lowering, WALREDO_TAG_MULTIXACT_OFFSETS);
			break;
		case XLOG_MULTIXACT_ZERO_MEM_PAGE:
			lower_zero_page(lowering, WALREDO_TAG_MULTIXACT_MEMBERS);
			break;
		case XLOG_MULTIXACT_CREATE_ID:
			lower_multixact_create(lowering);
			break;
		default:
			break;
	}
}

/*
 * As relmap_redo() in src/backend/utils/cache/relmapper.c.
 */
static void
lower_relmap(WalredoLowering *lowering)
{
	Cursor		cursor = lowering->main_data;
	xl_relmap_update xlrec;
	WalredoTag	tag = {0};
	WalredoRecord *rec;

	if ((lowering->record->xl_info & ~XLR_INFO_MASK) != XLOG_RELMAP_UPDATE)
		return;

	take(lowering, &cursor, &xlrec, MinSizeOfRelmapUpdate);
	if (xlrec.nbytes <= 0 || xlrec.nbytes != cursor.left)
		broken(lowering->end_lsn, "The relation map has a wrong length.");

	tag.kind = WALREDO_TAG_RELMAP;
	tag.spcOid = xlrec.tsid;
	tag.dbOid = xlrec.dbid;
	if (!wanted(lowering, &tag))
		return;
	rec = add(lowering, &tag, WALREDO_REPLACE, xlrec.nbytes);
	take(lowering, &cursor, rec->u.data, xlrec.nbytes);
}

/* ----------------------------------------
 * The interface
 * ----------------------------------------
 */

bool
walredo_lower_may_concern(const XLogRecord *record, const WalredoTag *tag,
						  bool whole_fork)
{
	RmgrId		rmid = record->xl_rmid;

	switch ((WalredoTagKind) tag->kind)
	{
		case WALREDO_TAG_REL:

			/* A truncation has the relation in its main data. */
			return (rmid == RM_SMGR_ID &&
					tag->forknum == VISIBILITYMAP_FORKNUM) ||
				walredo_xlogrecord_may_concern(record, tag, whole_fork);
		case WALREDO_TAG_CLOG:
			return rmid == RM_XACT_ID || rmid == RM_CLOG_ID;
		case WALREDO_TAG_COMMIT_TS:
			return rmid == RM_XACT_ID || rmid == RM_COMMIT_TS_ID;
		case WALREDO_TAG_TWOPHASE:
			return rmid == RM_XACT_ID;
		case WALREDO_TAG_MULTIXACT_OFFSETS:
		case WALREDO_TAG_MULTIXACT_MEMBERS:
			return rmid == RM_MULTIXACT_ID;
		case WALREDO_TAG_RELMAP:
			return rmid == RM_RELMAP_ID;
	}
	return false;
}

/* Begins with a record, whose headers have been read. */
static void
set_record(WalredoLowering *lowering, const XLogRecord *record,
		   const WalredoRecordHeaders *headers, XLogRecPtr end_lsn)
{
	if (headers->error != NULL)
		broken(end_lsn, "%s", headers->error);
	lowering->record = record;
	lowering->headers = headers;
	lowering->end_lsn = end_lsn;
	lowering->main_data.left = headers->main_size;
	lowering->main_data.ptr =
		(const char *) record + record->xl_tot_len - headers->main_size;
}

WalredoLowering *
walredo_lowering_create(void)
{
	WalredoLowering *lowering = palloc0(sizeof(WalredoLowering));

	lowering->context = AllocSetContextCreate(CurrentMemoryContext,
											  "walredo lowering",
											  ALLOCSET_DEFAULT_SIZES);
	lowering->max_size = SIZE_MAX;
	return lowering;
}

int
walredo_lower_part(WalredoLowering *lowering, const XLogRecord *record,
				   XLogRecPtr end_lsn, uint64 first_pair, Size max_size,
				   WalredoPageRecord **pairs, bool *more)
{
	int			num_pairs;

	lowering->first_pair = first_pair;
	lowering->max_size = max_size;
	num_pairs = walredo_lower(lowering, record, end_lsn, NULL, false, pairs);
	*more = is_full(lowering);
	lowering->first_pair = 0;
	lowering->max_size = SIZE_MAX;
	return num_pairs;
}

int
walredo_lower(WalredoLowering *lowering, const XLogRecord *record,
			  XLogRecPtr end_lsn, const WalredoTag *only, bool whole_fork,
			  WalredoPageRecord **pairs)
{
	WalredoRecordHeaders headers;

	*pairs = NULL;
	if (only != NULL && !walredo_lower_may_concern(record, only, whole_fork))
		return 0;
	walredo_xlogrecord_headers(record, &headers);
	return walredo_lower_with_headers(lowering, record, &headers, end_lsn,
									  only, whole_fork, pairs);
}

int
walredo_lower_with_headers(WalredoLowering *lowering, const XLogRecord *record,
						   const WalredoRecordHeaders *headers,
						   XLogRecPtr end_lsn, const WalredoTag *only,
						   bool whole_fork, WalredoPageRecord **pairs)
{
	MemoryContextReset(lowering->context);
	lowering->pairs = NULL;
	lowering->num_pairs = 0;
	lowering->max_pairs = 0;
	lowering->next_pair = 0;
	lowering->size = 0;
	lowering->only = only;
	lowering->whole_fork = whole_fork;
	set_record(lowering, record, headers, end_lsn);

	switch (record->xl_rmid)
	{
		case RM_HEAP_ID:
		case RM_HEAP2_ID:
			if (only == NULL || only->forknum == VISIBILITYMAP_FORKNUM)
				lower_heap(lowering);
			break;
		case RM_SMGR_ID:
			lower_smgr(lowering);
			break;
		case RM_XACT_ID:
			lower_xact(lowering);
			break;
		case RM_CLOG_ID:
			if ((record->xl_info & ~XLR_INFO_MASK) == CLOG_ZEROPAGE)
				lower_zero_page(lowering, WALREDO_TAG_CLOG);
			break;
		case RM_MULTIXACT_ID:
			lower_multixact(lowering);
			break;
		case RM_COMMIT_TS_ID:
			if ((record->xl_info & ~XLR_INFO_MASK) == COMMIT_TS_ZEROPAGE)
				lower_zero_page(lowering, WALREDO_TAG_COMMIT_TS);
			break;
		case RM_RELMAP_ID:
			lower_relmap(lowering);
			break;
		default:
			break;
	}
	lower_blocks(lowering);

	*pairs = lowering->pairs;
	return lowering->num_pairs;
}

void
walredo_lowering_free(WalredoLowering *lowering)
{
	MemoryContextDelete(lowering->context);
	if (lowering->changes != NULL)
		pfree(lowering->changes);
	pfree(lowering);
}

void
walredo_report_broken_record(XLogRecPtr end_lsn, const char *error)
{
	broken(end_lsn, "%s", error);
}

/* ----------------------------------------
 * Files
 * ----------------------------------------
 */

static void
add_file_change(WalredoLowering *lowering, WalredoPageEnd end,
				WalredoFileScope scope, const WalredoTag *tag)
{
	WalredoFileChange *change;

	if (lowering->num_changes == lowering->max_changes)
	{
		Size		size;

		lowering->max_changes = Max(8, lowering->max_changes * 2);
		size = lowering->max_changes * sizeof(WalredoFileChange);
		if (lowering->changes == NULL)
			lowering->changes =
				MemoryContextAlloc(MemoryContextGetParent(lowering->context),
								   size);
		else
			lowering->changes = repalloc_huge(lowering->changes, size);
	}
	change = &lowering->changes[lowering->num_changes++];
	change->end = end;
	change->scope = scope;
	change->tag = *tag;
	change->first_page = 0;
}

/*
 * As smgr_redo() in src/backend/catalog/storage.c.
 *
 * A file is created under a number that no other file has, so what WAL knows
 * from before is about a file that had this number once.  The main fork is the
 * first to be created.  The free space map is left out, as it is not logged.
 */
static void
smgr_file_changes(WalredoLowering *lowering)
{
	xl_smgr_truncate truncate;
	Cursor		cursor = lowering->main_data;
	WalredoTag	tag;

	if (take_truncation(lowering, &truncate))
	{
		BlockNumber map_blocks = walredo_vm_page(truncate.blkno);

		if (walredo_vm_byte(truncate.blkno) != 0 ||
			walredo_vm_bit(truncate.blkno) != 0)
			map_blocks++;
		if ((truncate.flags & SMGR_TRUNCATE_HEAP) != 0)
		{
			tag = walredo_tag_of_block(&SmgrTruncateLocator(truncate),
									   MAIN_FORKNUM, truncate.blkno);
			add_file_change(lowering, WALREDO_TRUNCATED, WALREDO_SCOPE_FORK,
							&tag);
		}
		if ((truncate.flags & SMGR_TRUNCATE_VM) != 0)
		{
			tag = walredo_tag_of_block(&SmgrTruncateLocator(truncate),
									   VISIBILITYMAP_FORKNUM, map_blocks);
			add_file_change(lowering, WALREDO_TRUNCATED, WALREDO_SCOPE_FORK,
							&tag);
		}
	}
	else if ((lowering->record->xl_info & ~XLR_INFO_MASK) == XLOG_SMGR_CREATE)
	{
		xl_smgr_create create;

		take(lowering, &cursor, &create, sizeof(create));
		if (create.forkNum < MAIN_FORKNUM || create.forkNum > MAX_FORKNUM)
			broken(lowering->end_lsn, "It creates a fork that cannot be.");
		tag = walredo_tag_of_block(&SmgrCreateLocator(create), create.forkNum,
								   0);
		add_file_change(lowering, WALREDO_FILE_CREATED,
						create.forkNum == MAIN_FORKNUM ?
						WALREDO_SCOPE_RELATION : WALREDO_SCOPE_FORK, &tag);
	}
}

/*
 * As dbase_redo() in src/backend/commands/dbcommands.c.
 */
static void
dbase_file_changes(WalredoLowering *lowering)
{
	Cursor		cursor = lowering->main_data;
	WalredoTag	tag = {.kind = WALREDO_TAG_REL};

	switch (lowering->record->xl_info & ~XLR_INFO_MASK)
	{
		case XLOG_DBASE_CREATE_FILE_COPY:
			{
				xl_dbase_create_file_copy_rec xlrec;

				take(lowering, &cursor, &xlrec, sizeof(xlrec));
				tag.spcOid = xlrec.tablespace_id;
				tag.dbOid = xlrec.db_id;
				add_file_change(lowering, WALREDO_FILE_COPIED,
								WALREDO_SCOPE_DATABASE, &tag);
				break;
			}
		case XLOG_DBASE_CREATE_WAL_LOG:
			{
				xl_dbase_create_wal_log_rec xlrec;

				take(lowering, &cursor, &xlrec, sizeof(xlrec));
				tag.spcOid = xlrec.tablespace_id;
				tag.dbOid = xlrec.db_id;
				add_file_change(lowering, WALREDO_FILE_CREATED,
								WALREDO_SCOPE_DATABASE, &tag);
				break;
			}
		case XLOG_DBASE_DROP:
			{
				xl_dbase_drop_rec xlrec;
				int			n;

				take(lowering, &cursor, &xlrec.db_id, sizeof(xlrec.db_id));
				tag.dbOid = xlrec.db_id;
				n = take_count(lowering, &cursor, sizeof(Oid));
				for (int i = 0; i < n; i++)
				{
					take(lowering, &cursor, &tag.spcOid, sizeof(Oid));
					add_file_change(lowering, WALREDO_FILE_REMOVED,
									WALREDO_SCOPE_DATABASE, &tag);
				}
				break;
			}
		default:
			break;
	}
}

/*
 * As tblspc_redo() in src/backend/commands/tablespace.c.  A tablespace must be
 * empty to be dropped, but what WAL knows of its files ends in any case.
 */
static void
tblspc_file_changes(WalredoLowering *lowering)
{
	Cursor		cursor = lowering->main_data;
	WalredoTag	tag = {.kind = WALREDO_TAG_REL};
	xl_tblspc_drop_rec xlrec;

	if ((lowering->record->xl_info & ~XLR_INFO_MASK) != XLOG_TBLSPC_DROP)
		return;
	take(lowering, &cursor, &xlrec, sizeof(xlrec));
	tag.spcOid = xlrec.ts_id;
	add_file_change(lowering, WALREDO_FILE_REMOVED, WALREDO_SCOPE_TABLESPACE,
					&tag);
}

/*
 * The files that the end of a transaction removes: those of relations that it
 * has dropped, or, if it aborts, has created; and the state of a prepared
 * transaction, which ends with it.
 *
 * As xact_redo() in src/backend/access/transam/xact.c.
 */
static void
xact_file_changes(WalredoLowering *lowering)
{
	Cursor		cursor = lowering->main_data;
	uint32		xinfo = 0;
	WalredoTag	tag;

	switch (lowering->record->xl_info & XLOG_XACT_OPMASK)
	{
		case XLOG_XACT_COMMIT:
		case XLOG_XACT_COMMIT_PREPARED:
		case XLOG_XACT_ABORT:
		case XLOG_XACT_ABORT_PREPARED:
			break;
		default:
			return;
	}

	take(lowering, &cursor, NULL, sizeof(TimestampTz));
	if (lowering->record->xl_info & XLOG_XACT_HAS_INFO)
		take(lowering, &cursor, &xinfo, sizeof(xinfo));
	if (xinfo & XACT_XINFO_HAS_DBINFO)
		take(lowering, &cursor, NULL, sizeof(xl_xact_dbinfo));
	if (xinfo & XACT_XINFO_HAS_SUBXACTS)
		skip_array(lowering, &cursor, sizeof(TransactionId));
	if (xinfo & XACT_XINFO_HAS_RELFILELOCATORS)
	{
		int			n = take_count(lowering, &cursor, sizeof(RelFileLocator));

		for (int i = 0; i < n; i++)
		{
			RelFileLocator locator;

			take(lowering, &cursor, &locator, sizeof(locator));
			tag = walredo_tag_of_block(&locator, MAIN_FORKNUM, 0);
			add_file_change(lowering, WALREDO_FILE_REMOVED,
							WALREDO_SCOPE_RELATION, &tag);
		}
	}
	if (xinfo & XACT_XINFO_HAS_TWOPHASE)
	{
		TransactionId xid;
		bool		is_commit =
			(lowering->record->xl_info & XLOG_XACT_OPMASK) ==
			XLOG_XACT_COMMIT_PREPARED;

		if (xinfo & XACT_XINFO_HAS_DROPPED_STATS)
			skip_array(lowering, &cursor, sizeof(xl_xact_stats_item));
		if (is_commit && (xinfo & XACT_XINFO_HAS_INVALS))
			skip_array(lowering, &cursor, sizeof(SharedInvalidationMessage));
		take(lowering, &cursor, &xid, sizeof(xid));
		tag = slru_tag(WALREDO_TAG_TWOPHASE, xid);
		add_file_change(lowering, WALREDO_FILE_REMOVED, WALREDO_SCOPE_OBJECT,
						&tag);
	}
}

/*
 * As clog_redo() and commit_ts_redo(): both records begin with the page that
 * becomes the first.
 */
static void
slru_file_changes(WalredoLowering *lowering, WalredoTagKind kind)
{
	Cursor		cursor = lowering->main_data;
	LoggedSlruPage pageno;
	WalredoTag	tag;

	take(lowering, &cursor, &pageno, sizeof(pageno));
	if (pageno < 0)
		broken(lowering->end_lsn, "It names a page that cannot be.");
	tag = slru_tag(kind, pageno);
	add_file_change(lowering, WALREDO_TRUNCATED, WALREDO_SCOPE_SLRU, &tag);
}

/*
 * As multixact_redo() in src/backend/access/transam/multixact.c.  Offsets are
 * kept from the multixact before the oldest on: see PerformOffsetsTruncation().
 */
static void
multixact_file_changes(WalredoLowering *lowering)
{
	Cursor		cursor = lowering->main_data;
	xl_multixact_truncate xlrec;
	MultiXactId oldest;
	WalredoTag	tag;

	take(lowering, &cursor, &xlrec, SizeOfMultiXactTruncate);
	oldest = MultiXactTruncateOldest(xlrec);
	oldest = oldest > FirstMultiXactId ? oldest - 1 : MaxMultiXactId;
	tag = slru_tag(WALREDO_TAG_MULTIXACT_OFFSETS,
				   walredo_mxact_offset_page(oldest));
	add_file_change(lowering, WALREDO_TRUNCATED, WALREDO_SCOPE_SLRU, &tag);

	tag = slru_tag(WALREDO_TAG_MULTIXACT_MEMBERS,
				   walredo_mxact_member_page(MultiXactTruncateOffset(xlrec)));
	add_file_change(lowering, WALREDO_TRUNCATED, WALREDO_SCOPE_SLRU, &tag);
	lowering->changes[lowering->num_changes - 1].first_page =
		walredo_mxact_member_page(MultiXactTruncateFirstOffset(xlrec));
}

/*
 * All files of pg_commit_ts go when commit timestamps are switched off.
 *
 * As xlog_redo() in src/backend/access/transam/xlog.c, which calls
 * CommitTsParameterChange().
 */
static void
xlog_file_changes(WalredoLowering *lowering)
{
	Cursor		cursor = lowering->main_data;
	char		xlrec[sizeof(xl_parameter_change)];
	WalredoTag	tag = slru_tag(WALREDO_TAG_COMMIT_TS, 0);

	/* Not as a struct: a byte from elsewhere need not be a valid bool. */
	take(lowering, &cursor, xlrec, sizeof(xlrec));
	if (xlrec[offsetof(xl_parameter_change, track_commit_timestamp)] == 0)
		add_file_change(lowering, WALREDO_FILE_REMOVED, WALREDO_SCOPE_KIND,
						&tag);
}

bool
walredo_may_change_files(const XLogRecord *record)
{
	uint8		info = record->xl_info & ~XLR_INFO_MASK;

	switch (record->xl_rmid)
	{
		case RM_SMGR_ID:
		case RM_DBASE_ID:
		case RM_TBLSPC_ID:
			return true;
		case RM_XACT_ID:

			/* Files and two-phase states are in its additional information. */
			return (record->xl_info & XLOG_XACT_HAS_INFO) != 0;
		case RM_XLOG_ID:
			return info == XLOG_PARAMETER_CHANGE;
		case RM_CLOG_ID:
			return info == CLOG_TRUNCATE;
		case RM_COMMIT_TS_ID:
			return info == COMMIT_TS_TRUNCATE;
		case RM_MULTIXACT_ID:
			return info == XLOG_MULTIXACT_TRUNCATE_ID;
		default:
			return false;
	}
}

int
walredo_file_changes(WalredoLowering *lowering, const XLogRecord *record,
					 const WalredoRecordHeaders *headers, XLogRecPtr end_lsn,
					 WalredoFileChange **changes)
{
	lowering->num_changes = 0;
	if (!walredo_may_change_files(record))
		return 0;
	set_record(lowering, record, headers, end_lsn);

	switch (record->xl_rmid)
	{
		case RM_SMGR_ID:
			smgr_file_changes(lowering);
			break;
		case RM_DBASE_ID:
			dbase_file_changes(lowering);
			break;
		case RM_TBLSPC_ID:
			tblspc_file_changes(lowering);
			break;
		case RM_XACT_ID:
			xact_file_changes(lowering);
			break;
		case RM_XLOG_ID:
			xlog_file_changes(lowering);
			break;
		case RM_CLOG_ID:
			slru_file_changes(lowering, WALREDO_TAG_CLOG);
			break;
		case RM_COMMIT_TS_ID:
			slru_file_changes(lowering, WALREDO_TAG_COMMIT_TS);
			break;
		case RM_MULTIXACT_ID:
			multixact_file_changes(lowering);
			break;
		default:
			break;
	}
	*changes = lowering->changes;
	return lowering->num_changes;
}

/*
 * Is a page of an SLRU in a segment that goes when the SLRU is truncated?
 *
 * As SimpleLruTruncate() in src/backend/access/transam/slru.c: a segment goes
 * if its first and its last page are before the cutoff.  What is before what
 * wraps around, as the entries' numbers do, which have 32 bits.
 *
 * Members of multixacts may take more than half of their numbers.  So where
 * these have 32 bits, it is segments from one to another that go, as
 * PerformMembersTruncation() in multixact.c has it; where they have more, they
 * do not wrap around.
 */
static bool
slru_segment_precedes(const WalredoTag *tag, const WalredoFileChange *change)
{
	uint64		cutoff = change->tag.number;
	uint64		segment = tag->number / SLRU_PAGES_PER_SEGMENT;
	uint64		first = segment * SLRU_PAGES_PER_SEGMENT;
	uint64		last = first + SLRU_PAGES_PER_SEGMENT - 1;
	uint64		per_page = 1;

	switch ((WalredoTagKind) tag->kind)
	{
		case WALREDO_TAG_CLOG:
			per_page = WALREDO_CLOG_XACTS_PER_PAGE;
			break;
		case WALREDO_TAG_COMMIT_TS:
			per_page = WALREDO_COMMIT_TS_XACTS_PER_PAGE;
			break;
		case WALREDO_TAG_MULTIXACT_OFFSETS:
			per_page = WALREDO_MXACT_OFFSETS_PER_PAGE;
			break;
		case WALREDO_TAG_MULTIXACT_MEMBERS:
			if (sizeof(MultiXactOffset) > sizeof(uint32))
				return last < cutoff;
			else
			{
				uint64		from = change->first_page / SLRU_PAGES_PER_SEGMENT;
				uint64		to = cutoff / SLRU_PAGES_PER_SEGMENT;
				uint64		total =
					walredo_mxact_member_page(PG_UINT32_MAX) /
					SLRU_PAGES_PER_SEGMENT + 1;

				return (segment + total - from) % total <
					(to + total - from) % total;
			}
		default:
			return false;
	}
	return (int32) ((uint32) ((first - cutoff) * per_page)) < 0 &&
		(int32) ((uint32) ((last - cutoff) * per_page)) < 0;
}

uint64
walredo_file_change_from(const WalredoFileChange *change,
						 const WalredoTag *tag)
{
	bool		applies = false;

	/* The relation map of a database is one of its files. */
	if (change->tag.kind != tag->kind &&
		!(tag->kind == WALREDO_TAG_RELMAP &&
		  (change->scope == WALREDO_SCOPE_DATABASE ||
		   change->scope == WALREDO_SCOPE_TABLESPACE)))
		return PG_UINT64_MAX;

	switch (change->scope)
	{
		case WALREDO_SCOPE_OBJECT:
			applies = change->tag.number == tag->number;
			break;
		case WALREDO_SCOPE_FORK:
			if (walredo_tag_same_fork(&change->tag, tag))
				return change->tag.number;
			break;
		case WALREDO_SCOPE_RELATION:
			applies = change->tag.relNumber == tag->relNumber &&
				change->tag.dbOid == tag->dbOid &&
				change->tag.spcOid == tag->spcOid;
			break;
		case WALREDO_SCOPE_DATABASE:
			applies = change->tag.dbOid == tag->dbOid &&
				change->tag.spcOid == tag->spcOid;
			break;
		case WALREDO_SCOPE_TABLESPACE:
			applies = change->tag.spcOid == tag->spcOid;
			break;
		case WALREDO_SCOPE_SLRU:
			applies = slru_segment_precedes(tag, change);
			break;
		case WALREDO_SCOPE_KIND:
			applies = true;
			break;
	}
	if (!applies)
		return PG_UINT64_MAX;
	return tag->kind == WALREDO_TAG_REL ? 0 : tag->number;
}

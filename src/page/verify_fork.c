/*-------------------------------------------------------------------------
 *
 * verify_fork.c
 *	  Comparing one fork with the pages that WAL makes of it.
 *
 * verify.c explains how this works as a whole, and why.  In short, a fork is
 * compared window by window:
 *
 * 1. open_window() locks the relation and measures the fork.
 * 2. read_window() reads the next blocks through the server's buffers, and
 *	  compares each with the rebuild.  Most have a result then.  Of the others a
 *	  copy is kept.
 * 3. close_window() notes where WAL ends, and releases the lock.  From here on
 *	  only copies are looked at.
 * 4. compare_window() compares the copies: under a mask, if the page was not
 *	  changed since the WAL that was read, or else with a page that is rebuilt
 *	  with the WAL since then.
 * 5. report_window() reports all blocks of the window, in order.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/verify_fork.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "compat.h"
#include "miscadmin.h"
#include "page/rebuild.h"
#include "page/scan.h"
#include "page/verify_fork.h"
#include "portability/instr_time.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/smgr.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

/*
 * The most blocks of a window, and the time after which it ends.  The relation
 * is locked meanwhile: only with AccessShareLock, but whoever waits for a
 * stronger lock holds up everybody behind it.
 *
 * A window also ends when so many pages have been copied, as copies take
 * memory until they have been compared.
 */
#define WINDOW_BLOCKS			4096
#define WINDOW_COPIES			512
#define WINDOW_MS				100

/* How often, and after what time, a visibility map page is read again. */
#define MAP_PAGE_TRIES			10
#define MAP_PAGE_DELAY_MS		50

/* How long the startup process may take to publish what it has replayed. */
#define REPLAY_WAIT_MS			30000

/*
 * Each window with a page that was changed reads WAL on from where the first
 * reading ended, and so reads what the windows before it have read once more.
 * When this has become more than this much, and a good part of what was read
 * then, it is cheaper to read WAL anew for all that is left.
 */
#define MAX_LATER_WAL			(256 * 1024 * 1024)

/* What open_window() has found. */
typedef enum ForkCondition
{
	FORK_OPENED,				/* the relation is open and locked */
	FORK_UNREADABLE,			/* its file, or catalogs, are damaged */
	FORK_REPLACED,				/* the relation has another file now */
	FORK_DROPPED				/* the relation is not there any more */
} ForkCondition;

/* The comparison of a fork. */
typedef struct ForkCheck
{
	const WalredoVerifiedFork *fork;
	const WalredoVerifyWal *wal;
	const WalredoVerifySink *sink;
	WalredoVerifyProgress *progress;
	BufferAccessStrategy strategy;

	/*
	 * The blocks to compare: as many as the fork had in the first window, and
	 * as it must have by the WAL that was read.
	 */
	BlockNumber first_size;
	BlockNumber known_blocks;

	/* The next page that the rebuild has of the fork, if has_next. */
	bool		has_next;
	WalredoTag	next_tag;
	WalredoRebuiltPage next_page;

	/*
	 * The window: the relation, while it is locked, how long the fork is,
	 * where WAL ended right before it was locked, and right before it was
	 * unlocked.
	 */
	Relation	rel;
	WalredoForkSize size;
	XLogRecPtr	begin_lsn;
	XLogRecPtr	end_lsn;
	int			num_copies;
	int			num_blocks;
	WalredoBlockCheck blocks[WINDOW_BLOCKS];
} ForkCheck;

static WalredoTag
tag_of_block(const ForkCheck *check, BlockNumber blkno)
{
	WalredoTag	tag = check->fork->tag;

	tag.number = blkno;
	return tag;
}

void
walredo_report_fork(const WalredoVerifySink *sink, Oid relid,
					ForkNumber forknum, WalredoVerifyStatus status,
					const char *detail)
{
	WalredoVerifyResult result = {
		.relid = relid,
		.forknum = forknum,
		.blkno = InvalidBlockNumber,
		.page_lsn = InvalidXLogRecPtr,
		.status = status,
		.detail = detail
	};

	sink->report(&result, sink->arg);
}

void
walredo_report_unreadable(const WalredoVerifySink *sink, Oid relid,
						  ForkNumber forknum, const ErrorData *error)
{
	walredo_report_fork(sink, relid, forknum, WALREDO_VERIFY_MISMATCH,
						psprintf("The server cannot read it: %s.",
								 error->message));
}

/* Reports something about the fork as a whole. */
static void
report_fork(const ForkCheck *check, WalredoVerifyStatus status,
			const char *detail)
{
	walredo_report_fork(check->sink, check->fork->relid,
						check->fork->tag.forknum, status, detail);
}

/* The position up to which pages can have been changed by now. */
static XLogRecPtr
current_lsn(void)
{
	if (RecoveryInProgress())
		return GetXLogReplayRecPtr(NULL);
	return GetXLogInsertRecPtr();
}

bool
walredo_later_wal_is_long(const WalredoVerifyWal *wal)
{
	XLogRecPtr	now = current_lsn();

	return now > wal->end_lsn &&
		now - wal->end_lsn > Max(MAX_LATER_WAL,
								 (wal->end_lsn - wal->start_lsn) / 4);
}

WalredoForkSize
walredo_measure_fork(Relation rel, ForkNumber forknum)
{
	WalredoForkSize size = {false, 0};

	size.exists = smgrexists(RelationGetSmgr(rel), forknum);
	if (size.exists)
		size.nblocks = RelationGetNumberOfBlocksInFork(rel, forknum);
	return size;
}

/* Waits for some milliseconds, or less if the latch is set. */
static void
wait_for(long ms)
{
	(void) WaitLatch(MyLatch,
					 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* ----------------------------------------
 * The server's pages
 * ----------------------------------------
 */

/* A page that is read in an attempt. */
typedef struct ReadAttempt
{
	const ForkCheck *check;
	BlockNumber blkno;
	char	   *page;			/* BLCKSZ bytes, to which it is copied */
} ReadAttempt;

static void
copy_live_page(void *arg)
{
	ReadAttempt *work = arg;
	Buffer		buffer = ReadBufferExtended(work->check->rel,
											work->check->fork->tag.forknum,
											work->blkno, RBM_NORMAL,
											work->check->strategy);

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	memcpy(work->page, BufferGetPage(buffer), BLCKSZ);

	/*
	 * With checksums, setting a hint bit may log the page and give it a new
	 * LSN, and takes no more than a share lock, which others can hold at the
	 * same time as we do.  So the LSN in the copy may be half of the old one
	 * and half of the new one.  Read it again under the lock that protects
	 * it.
	 */
	if (!PageIsNew((Page) work->page))
		PageSetLSN((Page) work->page, BufferGetLSNAtomic(buffer));
	UnlockReleaseBuffer(buffer);
}

/*
 * Copies a page out of the server's buffers.  If the server cannot read it, as
 * its checksum is wrong for example, that is the block's result, and this
 * returns false.
 */
static bool
read_live_page(ForkCheck *check, WalredoBlockCheck *block, char *page)
{
	ReadAttempt work = {check, block->result.blkno, page};
	ErrorData  *error = walredo_verify_attempt(check->progress,
											   copy_live_page, &work);

	if (error != NULL)
	{
		/* An internal error may have another reason than the page. */
		walredo_block_set_result(block,
								 error->sqlerrcode == ERRCODE_INTERNAL_ERROR ?
								 WALREDO_VERIFY_UNVERIFIABLE :
								 WALREDO_VERIFY_MISMATCH,
								 psprintf("The server cannot read it: %s.",
										  error->message));
		return false;
	}
	block->result.page_lsn = PageGetLSN((Page) page);
	return true;
}

/*
 * Can a page have this LSN by now?
 *
 * On a primary, a page gets the end LSN of a record after the record has been
 * inserted, so that its LSN is never past the current one.  On a standby, the
 * startup process stamps a page while it replays the record, and publishes
 * afterwards that it has been replayed.  Before it begins, though, it publishes
 * which record it is going to replay.  So an LSN up to the end of that record
 * will be reached within moments, unless the replay hangs, for which it may be
 * waiting for a conflict with a query; and one past that never can be right.
 */
static bool
lsn_is_reached(XLogRecPtr lsn)
{
	if (lsn <= current_lsn())
		return true;

	/* The record may have been finished since, and published. */
	if (!RecoveryInProgress() || lsn > GetCurrentReplayRecPtr(NULL))
		return lsn <= current_lsn();

	for (int waited = 0; waited < REPLAY_WAIT_MS && lsn > current_lsn();
		 waited++)
		wait_for(1);
	return lsn <= current_lsn();
}

/*
 * Checks the LSN of a page that is newer than the WAL that was read.  If it is
 * one that no page can have yet, that is the block's result, and this returns
 * false.
 */
static bool
lsn_is_possible(WalredoBlockCheck *block)
{
	if (lsn_is_reached(block->result.page_lsn))
		return true;
	walredo_block_set_result(block, WALREDO_VERIFY_MISMATCH,
							 psprintf("The page has LSN %X/%X, which is past the end of WAL at %X/%X.",
									  LSN_FORMAT_ARGS(block->result.page_lsn),
									  LSN_FORMAT_ARGS(current_lsn())));
	return false;
}

/* ----------------------------------------
 * Pages of the rebuild
 * ----------------------------------------
 */

/* A page that is taken out of a rebuild in an attempt. */
typedef struct RebuildAttempt
{
	WalredoRebuild *rebuild;
	WalredoTag	tag;
	WalredoRebuiltPage *rebuilt;
} RebuildAttempt;

static void
get_rebuilt_page(void *arg)
{
	RebuildAttempt *work = arg;

	walredo_rebuild_get(work->rebuild, &work->tag, work->rebuilt);
}

/*
 * Gets a page out of a rebuild into block->rebuilt.  If it cannot be made, that
 * is the block's result, and this returns false.
 */
static bool
get_rebuilt(const ForkCheck *check, WalredoRebuild *rebuild,
			WalredoBlockCheck *block)
{
	RebuildAttempt work = {rebuild, tag_of_block(check, block->result.blkno),
	&block->rebuilt};
	ErrorData  *error = walredo_verify_attempt(check->progress,
											   get_rebuilt_page, &work);

	if (error == NULL)
		return true;
	walredo_block_set_result(block, WALREDO_VERIFY_UNVERIFIABLE,
							 psprintf("The page cannot be rebuilt: %s.%s%s",
									  error->message,
									  error->detail ? " " : "",
									  error->detail ? error->detail : ""));
	return false;
}

static void
advance_rebuild(ForkCheck *check)
{
	check->has_next = walredo_rebuild_next(check->wal->rebuild,
										   &check->next_tag,
										   &check->next_page);
}

/*
 * Finds what the rebuild has of a block, as get_rebuilt() does.
 *
 * Blocks are asked for in order, so the rebuild can be gone through alongside.
 * That way it replays many pages at a time, which is much faster.  Only pages
 * that it has no record of, which costs nothing to find out, and those that a
 * child has failed at are taken one by one, the latter to learn why.
 */
static bool
find_rebuilt(ForkCheck *check, WalredoBlockCheck *block)
{
	while (check->has_next && check->next_tag.number < block->result.blkno)
		advance_rebuild(check);
	if (check->has_next && check->next_tag.number == block->result.blkno &&
		!check->next_page.is_waiting)
	{
		block->rebuilt = check->next_page;
		return true;
	}
	return get_rebuilt(check, check->wal->rebuild, block);
}

/* ----------------------------------------
 * WAL since the rebuild
 * ----------------------------------------
 */

/* WAL that is read on, in an attempt. */
typedef struct LaterWal
{
	const WalredoPageFilter *filter;
	XLogRecPtr	start_lsn;
	XLogRecPtr	end_lsn;
	WalredoRebuild *rebuild;
	WalredoBlockCheck **blocks; /* those that are wanted, in order */
	int			nblocks;
} LaterWal;

/*
 * Is a change wanted that the current record makes, which ends at end_lsn?  Is
 * it about one of the blocks, and already in the copy of the server's page?
 * Ends of blocks are always wanted, as they tell whether a block was truncated
 * away.
 */
static bool
is_wanted(const LaterWal *later, const WalredoPageChange *change,
		  XLogRecPtr end_lsn)
{
	int			low = 0;
	int			high = later->nblocks;

	if (change->what == WALREDO_CHANGE_END)
		return true;
	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (later->blocks[middle]->result.blkno < change->tag.number)
			low = middle + 1;
		else
			high = middle;
	}
	return low < later->nblocks &&
		later->blocks[low]->result.blkno == change->tag.number &&
		end_lsn <= later->blocks[low]->limit;
}

static void
read_later_wal(void *arg)
{
	LaterWal   *later = arg;
	WalredoPageScan *scan;

	scan = walredo_page_scan_begin(later->filter, NULL, later->start_lsn,
								   later->end_lsn);
	while (walredo_page_scan_next(scan))
	{
		int			wanted = 0;

		if (scan->has_restarted)
			walredo_rebuild_reset(later->rebuild);
		scan->has_restarted = false;

		for (int i = 0; i < scan->num_changes; i++)
		{
			if (is_wanted(later, &scan->list[i],
						  walredo_reader_end_lsn(scan->reader)))
				scan->list[wanted++] = scan->list[i];
		}
		scan->num_changes = wanted;
		walredo_page_scan_add(scan, later->rebuild);
	}
	if (scan->has_restarted)
		walredo_rebuild_reset(later->rebuild);
	walredo_page_scan_end(scan);
}

/*
 * Makes a rebuild of some blocks of the fork, each as of its limit, with WAL up
 * to end_lsn.  The caller frees it.
 *
 * It begins with what is known as of the end of the WAL that was read, and adds
 * what came since.  That WAL may have been removed by now, as nothing keeps the
 * server from recycling it.  Then the rebuild is made from all WAL that there
 * still is, and *has_gap is set: between the WAL that was read first and the
 * WAL that there is now, anything may have happened.
 */
static WalredoRebuild *
rebuild_later(const ForkCheck *check, WalredoBlockCheck **blocks, int nblocks,
			  XLogRecPtr end_lsn, bool *has_gap)
{
	WalredoRebuild *rebuild = walredo_rebuild_create();
	LaterWal	later = {.blocks = blocks,.nblocks = nblocks};
	ErrorData  *error;
	WalredoTag	tag;

	*has_gap = false;
	for (int i = 0; i < nblocks; i++)
	{
		tag = tag_of_block(check, blocks[i]->result.blkno);

		/* There is no page that the image of a missing one would be for. */
		walredo_rebuild_copy_page(rebuild, check->wal->rebuild, &tag,
								  blocks[i]->state != WALREDO_BLOCK_MISSING);
	}
	if (end_lsn <= check->wal->end_lsn)
		return rebuild;

	tag = tag_of_block(check, blocks[0]->result.blkno);
	later.filter = nblocks == 1 ? walredo_filter_page(&tag) :
		walredo_filter_fork(&tag);
	later.start_lsn = check->wal->end_lsn;
	later.end_lsn = end_lsn;
	later.rebuild = rebuild;
	error = walredo_verify_attempt(check->progress, read_later_wal, &later);
	if (error == NULL)
		return rebuild;

	/*
	 * A segment that has been removed is missing.  One that is recycled while
	 * it is read turns into another segment, which looks like damage.
	 */
	if (error->sqlerrcode != ERRCODE_UNDEFINED_FILE &&
		error->sqlerrcode != ERRCODE_DATA_CORRUPTED)
		ReThrowError(error);

	*has_gap = true;
	walredo_rebuild_free(rebuild);
	later.rebuild = rebuild = walredo_rebuild_create();
	later.start_lsn = WALREDO_START_OF_WAL;
	read_later_wal(&later);
	return rebuild;
}

/*
 * Gives a result to a block that the fork should have by the WAL that was read,
 * and does not have; or lets it go, as it was truncated away since.
 */
static void
compare_missing(const ForkCheck *check, WalredoBlockCheck *block, bool has_gap)
{
	if (block->rebuilt.num_records == 0 &&
		block->rebuilt.end_lsn > check->wal->end_lsn)
		block->state = WALREDO_BLOCK_GONE;
	else if (block->rebuilt.num_records == 0 && has_gap)
		walredo_block_set_result(block, WALREDO_VERIFY_UNVERIFIABLE,
								 "The fork does not have the block, and WAL that may have truncated the fork has been removed.");
	else
		walredo_block_set_result(block, WALREDO_VERIFY_MISMATCH,
								 check->size.exists ?
								 psprintf("The block is missing: the fork has only %u blocks.",
										  check->size.nblocks) :
								 "The block is missing, as the fork has no file.");
}

/*
 * The LSN up to which a block of the window has to be rebuilt.
 *
 * A page has the changes of exactly those records that end at its LSN or
 * before, as records that change a page set its LSN while they hold its lock. A
 * page of the visibility map is the exception, as its LSN does not tell what it
 * has: it is rebuilt as of the end of the window, and if it was changed after
 * it was read, it differs, and is read again by recheck_map_page().  A page
 * that is missing was missing when the fork was measured, which was after
 * begin_lsn.
 */
static XLogRecPtr
limit_of_block(const ForkCheck *check, const WalredoBlockCheck *block)
{
	if (block->state == WALREDO_BLOCK_MISSING)
		return check->begin_lsn;
	if (check->fork->tag.forknum == VISIBILITYMAP_FORKNUM)
		return check->end_lsn;
	return block->result.page_lsn;
}

/*
 * Compares the blocks of the window that take WAL since the rebuild: those that
 * are CHANGED or MISSING.  This takes no lock, as only copies are looked at,
 * however many changes have been made to the pages since.
 */
static void
compare_later(ForkCheck *check)
{
	WalredoBlockCheck *blocks[WINDOW_BLOCKS];
	int			nblocks = 0;
	WalredoRebuild *rebuild;
	bool		has_gap;

	for (int i = 0; i < check->num_blocks; i++)
	{
		WalredoBlockCheck *block = &check->blocks[i];

		if (block->state != WALREDO_BLOCK_CHANGED &&
			block->state != WALREDO_BLOCK_MISSING)
			continue;
		block->limit = limit_of_block(check, block);
		blocks[nblocks++] = block;
	}
	if (nblocks == 0)
		return;

	rebuild = rebuild_later(check, blocks, nblocks, check->end_lsn, &has_gap);
	for (int i = 0; i < nblocks; i++)
	{
		WalredoBlockCheck *block = blocks[i];

		CHECK_FOR_INTERRUPTS();
		if (!get_rebuilt(check, rebuild, block))
			continue;
		if (block->state == WALREDO_BLOCK_MISSING)
			compare_missing(check, block, has_gap);
		else
			walredo_compare_block(check->fork, check->wal, block, block->live);
	}
	walredo_compare_masked(check->fork, check->progress, check->blocks,
						   check->num_blocks);
	walredo_rebuild_free(rebuild);
}

/* ----------------------------------------
 * Windows
 * ----------------------------------------
 */

/*
 * Could WAL that has not been read yet explain why a block is a mismatch?
 *
 * A page whose LSN is not newer than the WAL that was read was not changed
 * since, with two exceptions.  The block may have been truncated away and added
 * anew, and a page that was added without being logged has no LSN yet.  And a
 * page of the visibility map may have been changed without a new LSN.
 */
static bool
may_be_explained(const ForkCheck *check, const WalredoBlockCheck *block,
				 const char *live)
{
	ForkNumber	forknum = check->fork->tag.forknum;

	return block->state == WALREDO_BLOCK_HAS_RESULT &&
		block->result.status == WALREDO_VERIFY_MISMATCH &&
		(forknum == VISIBILITYMAP_FORKNUM ||
		 walredo_is_unlogged_page(forknum, live));
}

/*
 * Reads the server's page of a block that the fork has, and compares it with
 * block->rebuilt as far as this is possible at once.  If it is not, both images
 * that are needed later are copied.
 */
static void
check_page(ForkCheck *check, WalredoBlockCheck *block)
{
	PGAlignedBlock live;

	if (!read_live_page(check, block, live.data))
		return;

	if (block->result.page_lsn > check->wal->end_lsn)
	{
		if (!lsn_is_possible(block))
			return;
		block->state = WALREDO_BLOCK_CHANGED;
	}
	else
	{
		walredo_compare_block(check->fork, check->wal, block, live.data);
		if (may_be_explained(check, block, live.data))
			block->state = WALREDO_BLOCK_CHANGED;
	}

	if (block->state != WALREDO_BLOCK_HAS_RESULT)
	{
		block->live = palloc(BLCKSZ);
		memcpy(block->live, live.data, BLCKSZ);
		check->num_copies++;
	}

	/* The image is the rebuild's, and valid only until its next page. */
	if (block->state == WALREDO_BLOCK_DIFFERS)
		block->rebuilt.image =
			DatumGetByteaPCopy(PointerGetDatum(block->rebuilt.image));
	else
		block->rebuilt.image = NULL;
}

/* A relation that is looked at in an attempt. */
typedef struct MeasureAttempt
{
	const WalredoVerifiedFork *fork;
	bool		is_there;
	WalredoForkSize size;
} MeasureAttempt;

/* Opens a relation that is locked, and measures the fork. */
static void
measure_locked_fork(void *arg)
{
	MeasureAttempt *work = arg;
	Relation	rel = try_relation_open(work->fork->relid, NoLock);

	work->is_there = (rel != NULL);
	if (rel == NULL)
		return;
	work->size = walredo_measure_fork(rel, work->fork->tag.forknum);
	relation_close(rel, NoLock);
}

/*
 * Opens and locks the fork's relation for a window, and measures the fork.
 * The lock is held only if it returns FORK_OPENED.  *error is why the fork is
 * FORK_UNREADABLE.
 */
static ForkCondition
open_window(ForkCheck *check, ErrorData **error)
{
	MeasureAttempt work = {.fork = check->fork};
	RelFileLocator locator = walredo_tag_locator(&check->fork->tag);
	Oid			relid = check->fork->relid;
	ForkCondition condition;

	/* Blocks that WAL has made before this, the fork must have. */
	check->begin_lsn = current_lsn();

	/*
	 * The lock is taken outside of the attempt, since locks that are taken in
	 * a subtransaction belong to the transaction once it has ended.
	 */
	LockRelationOid(relid, AccessShareLock);
	*error = walredo_verify_attempt(check->progress, measure_locked_fork,
									&work);
	if (*error != NULL)
		condition = FORK_UNREADABLE;
	else if (!work.is_there)
		condition = FORK_DROPPED;
	else
	{
		check->rel = relation_open(relid, NoLock);
		check->size = work.size;
		if (RelFileLocatorEquals(RelationGetLocator(check->rel), locator))
			return FORK_OPENED;
		relation_close(check->rel, NoLock);
		condition = FORK_REPLACED;
	}
	UnlockRelationOid(relid, AccessShareLock);
	return condition;
}

/* Notes where WAL ends, and releases the relation. */
static void
close_window(ForkCheck *check)
{
	/* No page of the window has a change that is logged after this. */
	check->end_lsn = current_lsn();
	relation_close(check->rel, AccessShareLock);
}

static bool
window_is_full(const ForkCheck *check, instr_time begin)
{
	instr_time	now;

	if (check->num_blocks == WINDOW_BLOCKS ||
		check->num_copies >= WINDOW_COPIES)
		return true;
	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, begin);
	return INSTR_TIME_GET_MILLISEC(now) >= WINDOW_MS;
}

/* Adds a block to the window, and looks at it. */
static void
add_block(ForkCheck *check, BlockNumber blkno)
{
	WalredoBlockCheck *block = &check->blocks[check->num_blocks++];

	memset(block, 0, sizeof(WalredoBlockCheck));
	block->result.relid = check->fork->relid;
	block->result.forknum = check->fork->tag.forknum;
	block->result.blkno = blkno;
	block->state = WALREDO_BLOCK_UNREAD;

	/*
	 * The fork may have become shorter than it was in the first window, which
	 * is all right, or it may be shorter than WAL says, which is all right
	 * only if WAL since then says why.
	 */
	if (blkno >= check->size.nblocks)
	{
		block->state = blkno < check->known_blocks ?
			WALREDO_BLOCK_MISSING : WALREDO_BLOCK_GONE;
		return;
	}
	if (!find_rebuilt(check, block))
		return;
	check_page(check, block);

	/* An image that is not needed any more makes room for others. */
	if (block->state == WALREDO_BLOCK_HAS_RESULT && check->has_next &&
		check->next_tag.number == blkno)
		walredo_rebuild_forget(check->wal->rebuild);
}

/*
 * Adds blocks to the window, from blkno on, until it is full or end is
 * reached.  Returns the first block that has not been added.
 */
static BlockNumber
read_window(ForkCheck *check, BlockNumber blkno, BlockNumber end,
			instr_time begin)
{
	while (blkno < end && !window_is_full(check, begin))
	{
		CHECK_FOR_INTERRUPTS();
		add_block(check, blkno++);
	}
	return blkno;
}

/* Has blocks compared once more if WAL may explain why they are mismatches. */
static void
reconsider_mismatches(ForkCheck *check)
{
	for (int i = 0; i < check->num_blocks; i++)
	{
		WalredoBlockCheck *block = &check->blocks[i];

		if (block->live != NULL && may_be_explained(check, block, block->live))
			block->state = WALREDO_BLOCK_CHANGED;
	}
}

/*
 * Reads a page of the visibility map that differs once more, in a window of its
 * own, which is open, and compares it with WAL up to then.  False if there is
 * no point in trying again.
 */
static bool
recheck_map_page(ForkCheck *check, WalredoBlockCheck *block)
{
	WalredoRebuild *rebuild;
	bool		has_gap;
	bool		is_read = false;

	if (block->result.blkno < check->size.nblocks)
		is_read = read_live_page(check, block, block->live) &&
			lsn_is_possible(block);
	else
		block->state = WALREDO_BLOCK_GONE;
	close_window(check);
	if (!is_read)
		return false;

	block->state = WALREDO_BLOCK_CHANGED;
	block->limit = check->end_lsn;
	rebuild = rebuild_later(check, &block, 1, block->limit, &has_gap);
	if (get_rebuilt(check, rebuild, block))
		walredo_compare_block(check->fork, check->wal, block, block->live);
	walredo_rebuild_free(rebuild);
	walredo_compare_masked(check->fork, check->progress, block, 1);
	return true;
}

/*
 * Looks again, a few times, at pages of the visibility map that differ.
 *
 * The server clears a bit of the map before it logs the change of the heap that
 * goes with it.  So a page may differ because the record is about to be
 * inserted, or because it was inserted after the page had been copied.  Either
 * way the page and WAL agree moments later, unless another change is on its
 * way.  Damage stays.
 */
static void
recheck_map(ForkCheck *check)
{
	for (int i = 0; i < check->num_blocks; i++)
	{
		WalredoBlockCheck *block = &check->blocks[i];
		ErrorData  *error;

		for (int n = 0; n < MAP_PAGE_TRIES && block->live != NULL &&
			 may_be_explained(check, block, block->live); n++)
		{
			wait_for(n == 0 ? 1 : MAP_PAGE_DELAY_MS);

			/* If the relation has changed, the next window will see it. */
			if (open_window(check, &error) != FORK_OPENED)
				return;
			if (!recheck_map_page(check, block))
				break;
		}
	}
}

/* Compares what is left after the pages of the window have been read. */
static void
compare_window(ForkCheck *check)
{
	walredo_compare_masked(check->fork, check->progress, check->blocks,
						   check->num_blocks);
	reconsider_mismatches(check);
	compare_later(check);
	if (check->fork->tag.forknum == VISIBILITYMAP_FORKNUM)
		recheck_map(check);
}

static void
report_window(ForkCheck *check)
{
	for (int i = 0; i < check->num_blocks; i++)
	{
		const WalredoBlockCheck *block = &check->blocks[i];

		if (block->state == WALREDO_BLOCK_GONE)
			continue;
		Assert(block->state == WALREDO_BLOCK_HAS_RESULT);
		check->sink->report(&block->result, check->sink->arg);
	}
	walredo_progress_set_blocks_done(check->progress,
									 check->progress->blocks_done +
									 check->num_blocks);
}

/* Takes note of the fork's size in its first window, whose block is blkno. */
static void
begin_fork(ForkCheck *check, BlockNumber blkno)
{
	check->first_size = check->size.nblocks;
	check->progress->blocks_total = check->size.nblocks;
	walredo_progress_show(check->progress);

	/*
	 * If WAL has records of blocks, these will be reported as missing.  A
	 * visibility map is made when it is needed.
	 */
	if (!check->size.exists && check->known_blocks == 0 && blkno == 0 &&
		check->fork->tag.forknum != VISIBILITYMAP_FORKNUM)
		report_fork(check, WALREDO_VERIFY_MISMATCH, "The file of the fork is missing.");
}

/*
 * Compares blocks from *blkno on, window by window, until all have been
 * reported or something keeps it from going on.
 */
static WalredoForkOutcome
compare_windows(ForkCheck *check, MemoryContext window_context, bool may_pause,
				BlockNumber *blkno)
{
	BlockNumber first_block = *blkno;
	BlockNumber end = 0;
	bool		is_first = true;

	do
	{
		ErrorData  *error;
		instr_time	begin;

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(window_context);
		MemoryContextSwitchTo(window_context);
		check->num_blocks = 0;
		check->num_copies = 0;
		INSTR_TIME_SET_CURRENT(begin);

		switch (open_window(check, &error))
		{
			case FORK_OPENED:
				break;
			case FORK_UNREADABLE:
				walredo_report_unreadable(check->sink, check->fork->relid,
										  check->fork->tag.forknum, error);
				return WALREDO_FORK_DONE;
			case FORK_DROPPED:
				return WALREDO_FORK_DONE;
			case FORK_REPLACED:
				if (first_block == 0)
					return WALREDO_FORK_REPLACED;

				/* What was reported before a pause cannot be taken back. */
				report_fork(check, WALREDO_VERIFY_UNVERIFIABLE,
							psprintf("The relation got another file when blocks before %u had been verified.",
									 *blkno));
				return WALREDO_FORK_DONE;
		}
		if (is_first)
			begin_fork(check, *blkno);
		is_first = false;
		end = Max(check->first_size, check->known_blocks);

		*blkno = read_window(check, *blkno, end, begin);
		close_window(check);
		compare_window(check);
		report_window(check);
		if (*blkno < end && may_pause &&
			walredo_later_wal_is_long(check->wal))
			return WALREDO_FORK_PAUSED;
	} while (*blkno < end);
	return WALREDO_FORK_DONE;
}

WalredoForkOutcome
walredo_verify_fork(const WalredoVerifiedFork *fork,
					const WalredoVerifyWal *wal,
					const WalredoVerifySink *sink,
					WalredoVerifyProgress *progress, bool may_pause,
					BlockNumber *next_block)
{
	MemoryContext fork_context;
	MemoryContext window_context;
	MemoryContext old_context;
	ForkCheck  *check;
	WalredoForkOutcome outcome;

	fork_context = AllocSetContextCreate(CurrentMemoryContext, "walredo fork",
										 ALLOCSET_DEFAULT_SIZES);
	window_context = AllocSetContextCreate(fork_context, "walredo window",
										   ALLOCSET_DEFAULT_SIZES);
	old_context = MemoryContextSwitchTo(fork_context);

	/* The array of blocks is large, and blocks are set when they are added. */
	check = palloc(sizeof(ForkCheck));
	memset(check, 0, offsetof(ForkCheck, blocks));
	check->fork = fork;
	check->wal = wal;
	check->sink = sink;
	check->progress = progress;
	check->strategy = GetAccessStrategy(BAS_BULKREAD);

	progress->phase = WALREDO_PHASE_COMPARING_PAGES;
	progress->relid = fork->relid;
	progress->forknum = fork->tag.forknum;
	progress->blocks_total = 0;
	progress->blocks_done = *next_block;
	progress->wal_position = wal->end_lsn;

	walredo_rebuild_begin_fork(wal->rebuild, &fork->tag);
	check->known_blocks =
		(BlockNumber) walredo_rebuild_fork_blocks(wal->rebuild);
	advance_rebuild(check);

	outcome = compare_windows(check, window_context, may_pause, next_block);

	FreeAccessStrategy(check->strategy);
	MemoryContextSwitchTo(old_context);
	MemoryContextDelete(fork_context);
	sink->end_fork(outcome != WALREDO_FORK_REPLACED, sink->arg);
	return outcome;
}

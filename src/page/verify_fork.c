/*-------------------------------------------------------------------------
 *
 * verify_fork.c
 *	  Comparing one fork with the pages that were rebuilt from WAL.
 *
 * verify.c explains how this works as a whole, and why.  In short, a fork is
 * compared window by window:
 *
 * 1. open_window() locks the relation and measures the fork.
 * 2. read_window() reads the next blocks through the server's buffers, and
 *	  compares each with the rebuilt page.  Most blocks have a result then.  The
 *	  pages of the others are copied.
 * 3. close_window() notes where WAL ends, and releases the lock.  From here on
 *	  only the copies are used, except for the visibility map (step 4).
 * 4. compare_window() compares the copies.  A page that was not changed after
 *	  the WAL that was read is compared under a mask.  Otherwise the WAL since
 *	  then is read, and the copy is compared with a page that is rebuilt with
 *	  it.
 *	  Pages of the visibility map that still differ are read again, each in a
 *	  window of its own.
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
#include "page/attempt.h"
#include "page/cost_delay.h"
#include "page/current.h"
#include "page/rebuild.h"
#include "page/scan.h"
#include "page/verify_fork.h"
#include "portability/instr_time.h"
#include "progress/progress.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/smgr.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

/*
 * A window ends when it has WINDOW_BLOCKS blocks, or after WINDOW_MS
 * milliseconds.  The relation is locked until then.  This is only an
 * AccessShareLock, but if another session waits for a stronger lock meanwhile,
 * all that come after that session have to wait, too.
 *
 * A window also ends when WINDOW_COPIES pages have been copied, because the
 * copies take memory until they have been compared.
 */
#define WINDOW_BLOCKS			4096
#define WINDOW_COPIES			512
#define WINDOW_MS				100

/* How often a visibility map page is read again, and after what time. */
#define MAP_PAGE_TRIES			10
#define MAP_PAGE_DELAY_MS		50

/* How long lsn_is_reached() waits for the startup process. */
#define REPLAY_WAIT_MS			30000

/*
 * Each window with a page that was changed reads WAL from where the round's
 * first reading of WAL ended, and so reads the same WAL as the windows before
 * it, and some more.  When this WAL has grown to more than MAX_LATER_WAL
 * bytes, and to more than a quarter of the WAL that was read first, it is
 * faster to read all WAL again, once, for all blocks that are left.
 */
#define MAX_LATER_WAL			(256 * 1024 * 1024)

/* The result of open_window(). */
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
	BufferAccessStrategy strategy;
	BlockNumber shown_blocks;	/* of the fork, for the progress view */

	/*
	 * The fork is compared up to the larger of these two: the number of
	 * blocks that it had in the first window, and the number that it must
	 * have had at the end of the WAL that was read.
	 */
	BlockNumber first_size;
	BlockNumber known_blocks;

	/*
	 * The page that walredo_rebuild_next() has returned last.  has_next is
	 * false if there are no more.
	 */
	bool		has_next;
	WalredoTag	next_tag;
	WalredoRebuiltPage next_page;

	/*
	 * The window.  Its lock is held between open_window() and close_window().
	 */
	Relation	rel;			/* valid while it is locked */
	WalredoForkSize size;		/* of the fork, when it was locked */
	XLogRecPtr	begin_lsn;		/* end of WAL right before it was locked */
	XLogRecPtr	end_lsn;		/* end of WAL right before it was unlocked */
	int			num_copies;		/* number of blocks of which live is set */
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
					WalredoDamage damage, const char *detail)
{
	WalredoVerifyResult result = {
		.relid = relid,
		.forknum = forknum,
		.blkno = InvalidBlockNumber,
		.page_lsn = InvalidXLogRecPtr,
		.status = status,
		.damage = damage,
		.detail = detail
	};

	sink->report(&result, sink->arg);
}

void
walredo_report_unreadable(const WalredoVerifySink *sink, Oid relid,
						  ForkNumber forknum, const ErrorData *error)
{
	walredo_report_fork(sink, relid, forknum, WALREDO_VERIFY_MISMATCH,
						WALREDO_DAMAGE_UNREADABLE,
						psprintf("The server cannot read it: %s.",
								 error->message));
}

/* Reports something about the fork as a whole. */
static void
report_fork(const ForkCheck *check, WalredoVerifyStatus status,
			const char *detail)
{
	walredo_report_fork(check->sink, check->fork->relid,
						check->fork->tag.forknum, status,
						WALREDO_DAMAGE_MISSING, detail);
}

/*
 * Returns the LSN up to which pages can have been changed by now: the end of
 * the WAL that was inserted or, in recovery, replayed.
 */
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

/* The argument of copy_live_page(). */
typedef struct ReadAttempt
{
	const ForkCheck *check;
	BlockNumber blkno;
	char	   *page;			/* BLCKSZ bytes, to which it is copied */
	PGIOAlignedBlock *disk;		/* for the page in the file, or NULL */
	bool		has_disk;		/* it has been read */
	bool		bad_checksum;	/* ... and its checksum is wrong */
	bool		is_disk_error;	/* an error is about the page in the file */
} ReadAttempt;

static void
copy_live_page(void *arg)
{
	ReadAttempt *work = arg;

	if (work->disk != NULL)
		work->has_disk =
			walredo_copy_live_and_disk(work->check->rel,
									   work->check->fork->tag.forknum,
									   work->blkno, work->check->strategy,
									   work->page, work->disk,
									   &work->bad_checksum,
									   &work->is_disk_error);
	else
		walredo_copy_live_page(work->check->rel, work->check->fork->tag.forknum,
							   work->blkno, work->check->strategy, work->page);
}

/*
 * Keeps the page that a file has, and the one in shared buffers, unless only
 * the LSN and the checksum differ.  In shared buffers, the checksum is not kept
 * up to date.
 */
static void
keep_disk_page(ForkCheck *check, WalredoBlockCheck *block, const char *page,
			   const char *disk)
{
	block->disk = NULL;
	if (walredo_is_equal_page(page, disk))
		return;
	block->disk = palloc(BLCKSZ);
	memcpy(block->disk, disk, BLCKSZ);
	block->buffered = palloc(VARHDRSZ + BLCKSZ);
	SET_VARSIZE(block->buffered, VARHDRSZ + BLCKSZ);
	memcpy(VARDATA(block->buffered), page, BLCKSZ);
	check->num_copies += 2;
}

/*
 * Copies a page, of BLCKSZ bytes, out of the server's buffers, and sets the
 * block's page_lsn.  If the server cannot read the page, because its checksum
 * is wrong, for example, gives the block a result and returns false.
 */
static bool
read_live_page(ForkCheck *check, WalredoBlockCheck *block, char *page)
{
	PGIOAlignedBlock disk;
	ReadAttempt work = {check, block->result.blkno, page};
	ErrorData  *error;

	block->disk_damage = NULL;
	if (check->wal->from_disk)
		work.disk = &disk;
	error = walredo_attempt(copy_live_page, &work);
	if (error != NULL && work.is_disk_error)
	{
		/* The server need not read the file, as it has the page. */
		block->disk_damage =
			psprintf("The page in the file cannot be read: %s. The one in shared buffers is not dirty.",
					 error->message);
		work.disk = NULL;
		error = walredo_attempt(copy_live_page, &work);
	}
	if (error != NULL)
	{
		/* An internal error may have another reason than the page. */
		walredo_block_set_damage(block, WALREDO_DAMAGE_UNREADABLE,
								 psprintf("The server cannot read it: %s.",
										  error->message));
		if (error->sqlerrcode == ERRCODE_INTERNAL_ERROR)
			block->result.status = WALREDO_VERIFY_UNVERIFIABLE;
		return false;
	}
	block->result.page_lsn = PageGetLSN((Page) page);
	if (work.bad_checksum)
		block->disk_damage = "The page in the file has a wrong checksum. The one in shared buffers is not dirty.";
	if (work.has_disk && memcmp(page, disk.data, BLCKSZ) != 0)
		keep_disk_page(check, block, page, disk.data);
	return true;
}

/*
 * Can a page have this LSN by now?
 *
 * On a primary, a page gets the end LSN of a record after the record has been
 * inserted, so that its LSN is never past the current end of WAL.  On a
 * standby, the startup process sets the LSN of a page while it replays the
 * record, and publishes afterwards that it has replayed the record.  But
 * before, it publishes which record it is going to replay.  So an LSN up to
 * the end of that record is possible, and will be reached within moments,
 * unless replay waits for something, such as a query that conflicts with it.
 * An LSN past the end of that record is not possible.
 */
static bool
lsn_is_reached(XLogRecPtr lsn)
{
	if (lsn <= current_lsn())
		return true;

	/* Look once more, as the record may have been replayed in between. */
	if (!RecoveryInProgress() || lsn > GetCurrentReplayRecPtr(NULL))
		return lsn <= current_lsn();

	for (int waited = 0; waited < REPLAY_WAIT_MS && lsn > current_lsn();
		 waited++)
		wait_for(1);
	return lsn <= current_lsn();
}

/*
 * Checks the LSN of a page that is newer than the WAL that was read.  If it is
 * one that no page can have yet, gives the block a result and returns false.
 */
static bool
lsn_is_possible(WalredoBlockCheck *block)
{
	if (lsn_is_reached(block->result.page_lsn))
		return true;
	walredo_block_set_damage(block, WALREDO_DAMAGE_LSN,
							 psprintf("The page has LSN %X/%X, which is past the end of WAL at %X/%X.",
									  LSN_FORMAT_ARGS(block->result.page_lsn),
									  LSN_FORMAT_ARGS(current_lsn())));
	return false;
}

/* ----------------------------------------
 * Pages of the rebuild
 * ----------------------------------------
 */

/* The argument of get_rebuilt_page(). */
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
 * Gets the page of a block from a rebuild into block->rebuilt.  If it cannot be
 * rebuilt, gives the block a result and returns false.
 */
static bool
get_rebuilt(const ForkCheck *check, WalredoRebuild *rebuild,
			WalredoBlockCheck *block)
{
	RebuildAttempt work = {rebuild, tag_of_block(check, block->result.blkno),
	&block->rebuilt};
	ErrorData  *error = walredo_attempt(get_rebuilt_page, &work);

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
 * The same as get_rebuilt(), for the rebuild of the WAL that was read first,
 * and blocks in ascending order.
 *
 * Because of that order, most pages can be taken from walredo_rebuild_next(),
 * which has many pages replayed together and is much faster.  get_rebuilt() is
 * used for two sorts of blocks only: those of which the rebuild has no record,
 * which takes no replay, and those that walredo_rebuild_next() could not
 * replay, to get the error; and if only one block is verified.
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

/* The argument of read_later_wal(). */
typedef struct LaterWal
{
	const char *directory;
	const WalredoPageFilter *filter;
	XLogRecPtr	start_lsn;		/* the range of WAL */
	XLogRecPtr	end_lsn;
	WalredoRebuild *rebuild;	/* to which changes are added */
	WalredoBlockCheck **blocks; /* those that are wanted, in ascending order */
	int			nblocks;
} LaterWal;

/*
 * Is a change wanted?  end_lsn is the end LSN of the record that makes it.  It
 * is wanted if it changes one of the blocks, and if the record does not end
 * after that block's limit.  Ends of blocks are always wanted, because they
 * tell whether a block was truncated away.
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

/* Adds the wanted changes in a range of WAL to a rebuild. */
static void
read_later_wal(void *arg)
{
	LaterWal   *later = arg;
	WalredoPageScan *scan;

	scan = walredo_page_scan_begin(later->filter, later->directory,
								   later->start_lsn, later->end_lsn);
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
 * to end_lsn.  The caller has to free it.
 *
 * It begins with the pages as of the end of the WAL that was read first, and
 * adds the changes that were made later.  The server may have removed that WAL
 * by now, as nothing prevents it.  In this case the rebuild is made from all
 * WAL that still exists, and *has_gap is set, as any changes may be missing
 * that were made between the WAL that was read first and the WAL that still
 * exists.
 */
static WalredoRebuild *
rebuild_later(const ForkCheck *check, WalredoBlockCheck **blocks, int nblocks,
			  XLogRecPtr end_lsn, bool *has_gap)
{
	WalredoRebuild *rebuild =
		walredo_rebuild_beside(check->wal->rebuild);
	LaterWal	later = {.directory = check->wal->directory,.blocks = blocks,
	.nblocks = nblocks};
	ErrorData  *error;
	WalredoTag	tag;

	*has_gap = false;
	for (int i = 0; i < nblocks; i++)
	{
		tag = tag_of_block(check, blocks[i]->result.blkno);

		/* A missing block has no page with which an image could be compared. */
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
	error = walredo_attempt(read_later_wal, &later);
	if (error == NULL)
		return rebuild;

	/*
	 * These are the errors that are raised if WAL has been removed: a segment
	 * is missing or, if it was recycled while it was read, has pages of
	 * another segment, which are not valid.
	 */
	if (error->sqlerrcode != ERRCODE_UNDEFINED_FILE &&
		error->sqlerrcode != ERRCODE_DATA_CORRUPTED)
		ReThrowError(error);

	*has_gap = true;
	walredo_rebuild_free(rebuild);
	later.rebuild = rebuild =
		walredo_rebuild_beside(check->wal->rebuild);
	later.start_lsn = WALREDO_START_OF_WAL;
	read_later_wal(&later);
	return rebuild;
}

/*
 * Gives a result to a block that is MISSING, after WAL has been read on, or
 * moves it to GONE, if that WAL has truncated it away.
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
		walredo_block_set_damage(block, WALREDO_DAMAGE_MISSING,
								 check->size.exists ?
								 psprintf("The block is missing: the fork has only %u blocks.",
										  check->size.nblocks) :
								 "The block is missing, as the fork has no file.");
}

/*
 * Returns the LSN up to which a block of the window has to be rebuilt.
 *
 * A page has the changes of exactly those records that end at its LSN or
 * before, because whoever changes a page sets its LSN while holding the page's
 * lock.
 *
 * Pages of the visibility map are an exception, because their LSN is not
 * always set.  They are rebuilt as of the end of the window.  If such a page
 * was changed after it was read, but before the end of the window, it differs,
 * and recheck_map_page() reads it again.
 *
 * A block that is missing did not exist when the fork was measured.  So if WAL
 * has made it by begin_lsn, which is an earlier moment, it should have existed
 * then.
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
 * Compares those blocks of the window that are CHANGED or MISSING, for which
 * WAL has to be read on.  No lock is needed, because only copies of the pages
 * are compared.
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
	walredo_compare_masked(check->fork, check->blocks,
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
 * later, with two exceptions.  The block may have been truncated away and
 * added again; as the server extends a fork without logging that, the new page
 * has no LSN yet.  And a page of the visibility map may have been changed
 * without a new LSN.
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
 * Reads the server's page of a block, and compares it with block->rebuilt.  If
 * that does not give a result at once, copies the images that are needed later.
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

	/* The rebuild owns the image, and keeps it only until the next page. */
	if (block->state == WALREDO_BLOCK_DIFFERS)
		block->rebuilt.image =
			DatumGetByteaPCopy(PointerGetDatum(block->rebuilt.image));
	else
		block->rebuilt.image = NULL;
}

/* The argument of measure_locked_fork(). */
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

	/*
	 * This must be before the fork is measured: see limit_of_block().
	 */
	check->begin_lsn = current_lsn();

	/*
	 * Take the lock outside of the attempt, which is a subtransaction.  At
	 * its end, locks that were taken in it are given to the resource owner of
	 * the transaction, so that UnlockRelationOid() could not release this one
	 * under the current resource owner.
	 */
	LockRelationOid(relid, AccessShareLock);
	*error = walredo_attempt(measure_locked_fork, &work);
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

/* Adds a block to the window, and compares its page as far as possible. */
static void
add_block(ForkCheck *check, BlockNumber blkno)
{
	WalredoBlockCheck *block = &check->blocks[check->num_blocks++];

	memset(block, 0, sizeof(WalredoBlockCheck));
	block->result.relid = check->fork->relid;
	block->result.forknum = check->fork->tag.forknum;
	block->result.blkno = blkno;
	block->result.start_lsn = check->wal->page_start_lsn;
	block->state = WALREDO_BLOCK_UNREAD;

	/*
	 * If the fork has become shorter than it was in the first window, it has
	 * been truncated, and there is nothing to report.  But if it is shorter
	 * than it was at the end of the WAL that was read, a later record must
	 * have truncated it.
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

	/* If the image is not needed any more, make room for others. */
	if (block->state == WALREDO_BLOCK_HAS_RESULT && check->has_next &&
		check->next_tag.number == blkno)
		walredo_rebuild_forget(check->wal->rebuild);
}

/*
 * The first block from blkno on, and before end, that WAL names, other than to
 * end it; else end.
 */
static BlockNumber
next_named_block(ForkCheck *check, BlockNumber blkno, BlockNumber end)
{
	while (check->has_next && (check->next_tag.number < blkno ||
							   check->next_page.num_records == 0))
		advance_rebuild(check);
	if (!check->has_next || check->next_tag.number >= end)
		return end;
	return (BlockNumber) check->next_tag.number;
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
		if (check->wal->only_named)
			blkno = next_named_block(check, blkno, end);
		if (blkno >= end)
			break;
		add_block(check, blkno++);
	}
	return blkno;
}

/*
 * Moves blocks that are mismatches under their mask back to CHANGED, if later
 * WAL may explain why.
 */
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
 * Reads a page of the visibility map that differs once more, and compares it
 * with the page rebuilt as of now.  open_window() has been called for it; this
 * closes the window.  Returns false if there is no point in trying again.
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
	walredo_compare_masked(check->fork, block, 1);
	return true;
}

/*
 * Reads pages of the visibility map that differ again, up to MAP_PAGE_TRIES
 * times.
 *
 * The server clears a bit of the map before it inserts the record of the
 * heap's change.  So a page can differ because that record has not been
 * inserted yet, or because it was inserted after the page had been copied.  In
 * both cases the page agrees with WAL a moment later, unless it is being
 * changed again.  A page that is damaged goes on differing.
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

			/*
			 * If the relation has got another file, the next window finds
			 * out.
			 */
			if (open_window(check, &error) != FORK_OPENED)
				return;
			if (!recheck_map_page(check, block))
				break;
		}
	}
}

/*
 * Compares the pages that differ between the file and shared buffers, under the
 * mask.  A block that agrees with WAL in shared buffers, but not in the file,
 * is a mismatch.
 */
static void
compare_disk(ForkCheck *check)
{
	for (int i = 0; i < check->num_blocks; i++)
	{
		WalredoBlockCheck *block = &check->blocks[i];
		WalredoBlockCheck disk = *block;
		XLogRecPtr	disk_lsn;
		XLogRecPtr	buffer_lsn;

		if (block->disk_damage != NULL &&
			block->state == WALREDO_BLOCK_HAS_RESULT &&
			block->result.status != WALREDO_VERIFY_MISMATCH)
			walredo_block_set_damage(block, WALREDO_DAMAGE_DISK,
									 block->disk_damage);
		if (block->disk == NULL || block->state != WALREDO_BLOCK_HAS_RESULT ||
			block->result.status == WALREDO_VERIFY_MISMATCH)
			continue;
		disk.state = WALREDO_BLOCK_DIFFERS;
		disk.live = block->disk;
		disk.rebuilt.image = block->buffered;
		disk_lsn = PageGetLSN((Page) block->disk);
		buffer_lsn = PageGetLSN((Page) VARDATA(block->buffered));
		disk.result.page_lsn = disk_lsn;
		walredo_compare_masked(check->fork, &disk, 1);
		if (disk.result.status == WALREDO_VERIFY_MISMATCH)
			walredo_block_set_damage(block, WALREDO_DAMAGE_DISK,
									 psprintf("The page in the file has LSN %X/%X, and differs from the one in shared buffers, which has LSN %X/%X and is not dirty.",
											  LSN_FORMAT_ARGS(disk_lsn),
											  LSN_FORMAT_ARGS(buffer_lsn)));
	}
}

/* Compares the copies of pages, so that every block has a result or is GONE. */
static void
compare_window(ForkCheck *check)
{
	walredo_compare_masked(check->fork, check->blocks,
						   check->num_blocks);
	reconsider_mismatches(check);
	compare_later(check);
	if (check->fork->tag.forknum == VISIBILITYMAP_FORKNUM)
		recheck_map(check);
	compare_disk(check);
}

static void
report_window(ForkCheck *check, BlockNumber blocks_done)
{
	for (int i = 0; i < check->num_blocks; i++)
	{
		const WalredoBlockCheck *block = &check->blocks[i];

		if (block->state == WALREDO_BLOCK_GONE)
			continue;
		Assert(block->state == WALREDO_BLOCK_HAS_RESULT);
		check->sink->report(&block->result, check->sink->arg);
	}
	walredo_progress_set_blocks(blocks_done, check->shown_blocks);
}

/* Is called in the first window of a fork, which begins with block blkno. */
static void
begin_fork(ForkCheck *check, BlockNumber blkno)
{
	check->first_size = check->size.nblocks;
	check->shown_blocks =
		BlockNumberIsValid(check->fork->only_block) ? 1 : check->size.nblocks;
	walredo_progress_set_blocks(blkno, check->shown_blocks);

	/*
	 * If WAL has records of blocks, these will be reported as missing, and
	 * the fork need not be.  A visibility map is created when it is needed.
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
	BlockNumber only_block = check->fork->only_block;
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
		walredo_cost_delay_point();
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
				{
					/* The sink discards what was reported: begin again. */
					*blkno = 0;
					return WALREDO_FORK_REPLACED;
				}

				/* What was reported before a pause cannot be taken back. */
				report_fork(check, WALREDO_VERIFY_UNVERIFIABLE,
							psprintf("The relation got another file when blocks before %u had been verified.",
									 *blkno));
				return WALREDO_FORK_DONE;
		}
		if (is_first)
			begin_fork(check, *blkno);
		end = Max(check->first_size, check->known_blocks);
		if (BlockNumberIsValid(only_block))
		{
			end = Min(end, only_block + 1);
			if (is_first)
				*blkno = only_block;
		}
		is_first = false;

		*blkno = read_window(check, *blkno, end, begin);
		close_window(check);
		compare_window(check);
		report_window(check,
					  BlockNumberIsValid(only_block) ? 1 : *blkno);
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
					bool may_pause, BlockNumber *next_block)
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
	check->strategy = GetAccessStrategy(BAS_BULKREAD);

	walredo_progress_begin_phase(WALREDO_PHASE_COMPARING_PAGES, fork->relid,
								 fork->tag.forknum, 0);

	walredo_rebuild_begin_fork(wal->rebuild, &fork->tag);
	check->known_blocks =
		(BlockNumber) walredo_rebuild_fork_blocks(wal->rebuild);

	/* A single block is got by its number: see find_rebuilt(). */
	if (!BlockNumberIsValid(fork->only_block))
		advance_rebuild(check);

	outcome = compare_windows(check, window_context, may_pause, next_block);

	FreeAccessStrategy(check->strategy);
	MemoryContextSwitchTo(old_context);
	MemoryContextDelete(fork_context);
	sink->end_fork(outcome != WALREDO_FORK_REPLACED, sink->arg);
	return outcome;
}

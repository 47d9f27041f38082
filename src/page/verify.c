/*-------------------------------------------------------------------------
 *
 * verify.c
 *	  Checking the pages of a relation against the WAL that made them.
 *
 * WAL is read once, up to where it ends at the start, for all forks that are to
 * be checked.  Then the pages of one fork after the other are rebuilt as of
 * then, and the server's own are read through its buffers, and compared under
 * the resource manager's mask.  A page that was not changed meanwhile must be
 * equal.  Pages that are equal without a mask are done with at once.
 *
 * Nobody is kept from work.  While WAL is read, no lock is held.  A fork is
 * compared in windows of some blocks, and the relation is locked only while
 * the pages of a window are read.  So between the end of the WAL that was read
 * and the window, others may have changed pages, and truncated or extended the
 * fork; or the relation has got another file, and is then looked at anew.
 *
 * What does not agree with the rebuild, and what shows by its LSN that it was
 * changed since, is copied.  When the window's pages have been read and the
 * lock has been released, WAL is read on, up to where it ended while the lock
 * was held, and each copy is compared with the page rebuilt as of exactly the
 * copy's LSN.  So there is no need to try again until a
 * busy page holds still.
 *
 * A page of the visibility map does not show every change: bits are cleared
 * without a new LSN.  Where such a page differs, WAL is read on and the page
 * is read again, a few times.  A change on its way is in WAL a moment later;
 * damage stays.
 *
 * What a page's LSN cannot be trusted for is to say that a page is equal: the
 * server does not stamp every change (hint bits; an all-visible flag without
 * checksums), and damage may leave the LSN alone.  So contents are compared
 * first, and the LSNs only serve to say what is wrong.
 *
 * The caller's settings must not change what is read: with zero_damaged_pages a
 * damaged page would become an empty one, for everybody, as it stays in shared
 * buffers.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/verify.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/bufmask.h"
#include "access/relation.h"
#include "access/rmgr.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "catalog/pg_class.h"
#include "compat.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "page/diff.h"
#include "page/rebuild.h"
#include "page/scan.h"
#include "page/verify.h"
#include "portability/instr_time.h"
#include "redo/replay.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/smgr.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/wait_event.h"

/*
 * The most blocks of a window, the most of them that are copied, and the time
 * after which it ends, as the relation is locked meanwhile.
 */
#define WINDOW_BLOCKS			4096
#define WINDOW_COPIES			512
#define WINDOW_MS				100

/* Pages that are masked together. */
#define PAGES_MASKED_AT_ONCE	64

/* How often, and after what time, to look again at a visibility map page. */
#define MAP_PAGE_TRIES			10
#define MAP_PAGE_DELAY_MS		50

/* How long the startup process may take to publish what it has replayed. */
#define REPLAY_WAIT_MS			30000

/* Runs of different bytes that a DETAIL names. */
#define MAX_REPORTED_RUNS		5

/*
 * How often a relation that gets another file while WAL is read is looked at
 * anew, before it is locked meanwhile.  That is done for one at a time, as
 * whoever waits for a lock while holding another may be in a deadlock.
 */
#define MAX_UNLOCKED_ROUNDS		5

/*
 * Each window with a page that was changed reads WAL on from where the first
 * reading ended.  When this has become more, and a good part of what was read
 * then, WAL is read anew for what is left.
 */
#define MAX_LATER_WAL			(256 * 1024 * 1024)

/* What is known of a block of the window. */
typedef enum BlockState
{
	BLOCK_SETTLED,				/* status and detail are the result */
	BLOCK_DIFFERS,				/* from the rebuild, perhaps not under a mask */
	BLOCK_CHANGED,				/* WAL must be read on to compare the copy */
	BLOCK_MISSING,				/* WAL must be read on to know if it was cut */
	BLOCK_GONE					/* there is nothing to report */
} BlockState;

typedef struct BlockCheck
{
	BlockNumber blkno;
	BlockState	state;
	XLogRecPtr	page_lsn;
	WalredoVerifyStatus status;
	const char *detail;
	WalredoRebuiltPage rebuilt; /* its image: a copy, while it is needed */
	char	   *live;			/* a copy of BLCKSZ bytes, or NULL */
	XLogRecPtr	limit;			/* no record after it is in the page */
} BlockCheck;

typedef struct Verification
{
	const WalredoVerifySink *sink;
	WalredoRebuild *rebuild;
	XLogRecPtr	wal_start;		/* the rebuild has WAL from here ... */
	XLogRecPtr	wal_end;		/* ... to here, where a record ends */
	bool		keep_locks;		/* relations are locked until compared */
	bool		has_paused;		/* as WAL is to be read anew */

	/* The fork. */
	Oid			relid;
	WalredoTag	tag;			/* of its block 0 */
	RmgrId		rmid;			/* whose mask is used if WAL does not tell */
	Relation	rel;			/* while it is locked */
	BlockNumber nblocks;		/* that are checked */
	BlockNumber blocks_done;
	WalredoVerifyPhase phase;
	Oid			progress_relid;
	BufferAccessStrategy strategy;

	/* The window. */
	MemoryContext window_context;	/* reset after each */
	bool		fork_exists;
	BlockNumber fork_blocks;	/* of the fork, at its beginning */
	XLogRecPtr	begin_lsn;		/* where WAL ended then, ... */
	XLogRecPtr	end_lsn;		/* ... and after its pages were read */
	int			num_blocks;
	int			num_copies;
	BlockCheck	blocks[WINDOW_BLOCKS];
} Verification;

static WalredoTag
block_tag(const Verification *v, BlockNumber blkno)
{
	WalredoTag	tag = v->tag;

	tag.number = blkno;
	return tag;
}

static void
report(Verification *v, BlockNumber blkno, XLogRecPtr page_lsn,
	   WalredoVerifyStatus status, const char *detail)
{
	WalredoVerifyResult result = {v->relid, v->tag.forknum, blkno, page_lsn,
	status, detail};

	v->sink->report(&result, v->sink->arg);
}

/* The position up to which pages can have changed by now. */
static XLogRecPtr
current_lsn(void)
{
	if (RecoveryInProgress())
		return GetXLogReplayRecPtr(NULL);
	return GetXLogInsertRecPtr();
}

/*
 * Tells what is being done; the relation is none while WAL is read for many.
 */
static void
show_progress(Verification *v)
{
	pgstat_progress_start_command(WALREDO_PROGRESS_COMMAND, v->progress_relid);
	pgstat_progress_update_param(WALREDO_PROGRESS_PHASE, v->phase);
	pgstat_progress_update_param(WALREDO_PROGRESS_FORK, v->tag.forknum);
	pgstat_progress_update_param(WALREDO_PROGRESS_BLOCKS_TOTAL, v->nblocks);
	pgstat_progress_update_param(WALREDO_PROGRESS_BLOCKS_DONE,
								 v->blocks_done);
	pgstat_progress_update_param(WALREDO_PROGRESS_WAL_START, v->wal_start);
	pgstat_progress_update_param(WALREDO_PROGRESS_WAL_END, v->wal_end);
	pgstat_progress_update_param(WALREDO_PROGRESS_WAL_POSITION,
								 v->phase == WALREDO_PHASE_READING ?
								 v->wal_start : v->wal_end);
}

/* ----------------------------------------
 * Errors that are results
 * ----------------------------------------
 */

/* Something to do that may fail because of damage. */
typedef struct Attempt
{
	Verification *v;
	void		(*function) (struct Attempt *work);
	BlockNumber blkno;
	RmgrId		rmid;
	char	   *page;			/* BLCKSZ bytes */
	WalredoRebuild *rebuild;
	WalredoRebuiltPage *rebuilt;
	bool		is_there;		/* the relation: set by the attempt */
} Attempt;

static bool
is_about_data(const ErrorData *error)
{
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_TO_CATEGORY(ERRCODE_OPERATOR_INTERVENTION):
		case ERRCODE_TO_CATEGORY(ERRCODE_INSUFFICIENT_RESOURCES):
		case ERRCODE_TO_CATEGORY(ERRCODE_TRANSACTION_ROLLBACK):
		case ERRCODE_TO_CATEGORY(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE):
			return false;
		default:
			return true;
	}
}

ErrorData *
walredo_attempt(void (*function) (void *arg), void *arg)
{
	MemoryContext old_context = CurrentMemoryContext;
	ResourceOwner old_owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(old_context);
	PG_TRY();
	{
		function(arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(old_context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		if (!is_about_data(error))
			ReThrowError(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old_context);
	CurrentResourceOwner = old_owner;
	return error;
}

static void
call_attempt(void *arg)
{
	Attempt    *work = arg;

	work->function(work);
}

/* The same for an attempt of a verification, whose progress is shown on. */
static ErrorData *
attempt(void (*function) (Attempt *), Attempt *work)
{
	ErrorData  *error;

	work->function = function;
	error = walredo_attempt(call_attempt, work);

	/* The end of a failed subtransaction has ended the display of progress. */
	if (error != NULL)
		show_progress(work->v);
	return error;
}

/* ----------------------------------------
 * Comparison
 * ----------------------------------------
 */

/*
 * Which resource manager's mask goes with a relation's pages, as far as can be
 * told from its access method's handler.
 */
static RmgrId
mask_of_relation(Relation rel)
{
	if (RELKIND_HAS_TABLE_AM(rel->rd_rel->relkind))
		return RM_HEAP_ID;
	switch (rel->rd_amhandler)
	{
		case F_BTHANDLER:
			return RM_BTREE_ID;
		case F_HASHHANDLER:
			return RM_HASH_ID;
		case F_GISTHANDLER:
			return RM_GIST_ID;
		case F_GINHANDLER:
			return RM_GIN_ID;
		case F_SPGHANDLER:
			return RM_SPGIST_ID;
		case F_BRINHANDLER:
			return RM_BRIN_ID;
		default:
			/* Access methods of extensions use generic WAL. */
			return RM_GENERIC_ID;
	}
}

/*
 * True if two images are equal but for LSN and checksum, which are first in a
 * page, and which every mask leaves out.
 */
static bool
is_equal(const char *a, const char *b)
{
	const Size	first = offsetof(PageHeaderData, pd_flags);

	return memcmp(a + first, b + first, BLCKSZ - first) == 0;
}

static bool
is_all_zero(const char *bytes, Size size)
{
	return size == 0 ||
		(bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0);
}

/*
 * Is a page as the server makes one without logging it, when it extends a fork:
 * all zeroes, or with an empty page's header and no LSN?
 */
static bool
is_unlogged_page(ForkNumber forknum, const char *page)
{
	PageHeader	header = (PageHeader) page;

	if (is_all_zero(page, BLCKSZ))
		return true;
	return PageGetLSN((Page) page) == InvalidXLogRecPtr &&
		header->pd_lower == SizeOfPageHeaderData &&
		header->pd_upper == header->pd_special &&
		header->pd_special <= BLCKSZ &&
		header->pd_special > SizeOfPageHeaderData &&
		(forknum != VISIBILITYMAP_FORKNUM ||
		 is_all_zero(page + SizeOfPageHeaderData,
					 BLCKSZ - SizeOfPageHeaderData));
}

/* Which bytes differ, as the end of a sentence. */
static char *
describe_difference(const char *a, const char *b)
{
	StringInfoData buf;
	int			num_runs = 0;
	Size		start;
	Size		end = 0;

	initStringInfo(&buf);
	while (walredo_next_difference(a, b, BLCKSZ, &start, &end))
	{
		if (++num_runs > MAX_REPORTED_RUNS)
			continue;
		if (num_runs > 1)
			appendStringInfoString(&buf, ", ");
		if (end - start == 1)
			appendStringInfo(&buf, "%zu", start);
		else
			appendStringInfo(&buf, "%zu to %zu", start, end - 1);
	}
	if (num_runs > MAX_REPORTED_RUNS)
		appendStringInfo(&buf, ", and %d more runs",
						 num_runs - MAX_REPORTED_RUNS);
	return buf.data;
}

static void
settle(BlockCheck *block, WalredoVerifyStatus status, const char *detail)
{
	block->state = BLOCK_SETTLED;
	block->status = status;
	block->detail = detail;
}

/* What has become of a page with its file, as the middle of a sentence. */
static const char *
end_verb(WalredoPageEnd end)
{
	switch (end)
	{
		case WALREDO_TRUNCATED:
			return "cut off";
		case WALREDO_FILE_REMOVED:
			return "removed with its file";
		default:
			return "given a new file";
	}
}

/*
 * Settles a block that WAL has no image of to compare the page with.
 */
static void
settle_without_image(Verification *v, BlockCheck *block, const char *live)
{
	const WalredoRebuiltPage *page = &block->rebuilt;
	bool		is_new = is_all_zero(live, BLCKSZ);
	char	   *end_lsn = psprintf("%X/%X", LSN_FORMAT_ARGS(page->end_lsn));

	if (page->is_incomplete)
		settle(block, WALREDO_VERIFY_UNVERIFIABLE,
			   "The image that WAL has of it lacks a part of its contents.");
	else if (page->end == WALREDO_UNKNOWN_CHANGE)
		settle(block, WALREDO_VERIFY_UNVERIFIABLE,
			   psprintf("The record at %s has changed it, and its resource manager is not known.",
						end_lsn));
	else if (page->end == WALREDO_FILE_COPIED)
		settle(block, WALREDO_VERIFY_UNVERIFIABLE,
			   psprintf("Its file was copied at %s, which did not log its pages, and WAL has no image of it since.",
						end_lsn));
	else if (page->end != WALREDO_NOT_ENDED && page->num_records > 0)
		settle(block, WALREDO_VERIFY_UNVERIFIABLE,
			   psprintf("It was %s at %s, and WAL has no image of it since.",
						end_verb(page->end), end_lsn));
	else if (page->end != WALREDO_NOT_ENDED &&
			 is_unlogged_page(v->tag.forknum, live))
		settle(block, WALREDO_VERIFY_OK, NULL);
	else if (page->end == WALREDO_TRUNCATED)
		settle(block, WALREDO_VERIFY_MISMATCH,
			   psprintf("It was cut off at %s with the end of the relation, and not made again, but is not empty.",
						end_lsn));
	else if (page->end != WALREDO_NOT_ENDED)
		settle(block, WALREDO_VERIFY_UNVERIFIABLE,
			   psprintf("It was %s at %s, and WAL has no record of it since.",
						end_verb(page->end), end_lsn));
	else if (page->num_records > 0)
		settle(block, WALREDO_VERIFY_UNVERIFIABLE,
			   psprintf("%sWAL, which begins at %X/%X, has no image of it.",
						is_new ? "The page is all zeroes. " : "",
						LSN_FORMAT_ARGS(v->wal_start)));
	else
		settle(block, WALREDO_VERIFY_UNVERIFIABLE,
			   psprintf("%sWAL, which begins at %X/%X, has no record of it.",
						is_new ? "The page is all zeroes. " : "",
						LSN_FORMAT_ARGS(v->wal_start)));
}

/*
 * Compares a page with what WAL makes of it, as far as this takes no mask:
 * settles the block, or leaves it as one that differs.
 */
static void
compare(Verification *v, BlockCheck *block, const char *live)
{
	if (block->rebuilt.image == NULL)
		settle_without_image(v, block, live);
	else if (is_equal(live, VARDATA(block->rebuilt.image)))
		settle(block, WALREDO_VERIFY_OK, NULL);
	else
		block->state = BLOCK_DIFFERS;
}

/* The mask for a block's page. */
static RmgrId
block_mask(const Verification *v, const BlockCheck *block)
{
	return block->rebuilt.rmid >= 0 ? (RmgrId) block->rebuilt.rmid : v->rmid;
}

/*
 * Settles a block whose masked images are given: both are equal, or this is a
 * mismatch.
 */
static void
settle_masked(BlockCheck *block, const char *live, const char *rebuilt)
{
	XLogRecPtr	rebuilt_lsn = PageGetLSN((Page) VARDATA(block->rebuilt.image));
	char	   *difference;

	if (memcmp(live, rebuilt, BLCKSZ) == 0)
	{
		settle(block, WALREDO_VERIFY_OK, NULL);
		return;
	}
	difference = describe_difference(live, rebuilt);
	if (is_all_zero(block->live, BLCKSZ))
		settle(block, WALREDO_VERIFY_MISMATCH,
			   psprintf("The page is all zeroes, and by WAL it has LSN %X/%X.",
						LSN_FORMAT_ARGS(rebuilt_lsn)));
	else if (block->page_lsn < rebuilt_lsn)
		settle(block, WALREDO_VERIFY_MISMATCH,
			   psprintf("A write was lost: the page has LSN %X/%X, but WAL has changed it up to %X/%X. Bytes that differ: %s.",
						LSN_FORMAT_ARGS(block->page_lsn),
						LSN_FORMAT_ARGS(rebuilt_lsn), difference));
	else
		settle(block, WALREDO_VERIFY_MISMATCH,
			   psprintf("The page has LSN %X/%X, and by WAL it has %X/%X. Bytes that differ: %s.",
						LSN_FORMAT_ARGS(block->page_lsn),
						LSN_FORMAT_ARGS(rebuilt_lsn), difference));
}

static void
mask_page(Attempt *work)
{
	walredo_mask_page(work->rmid, work->blkno, work->page);
}

/*
 * Masks the two images of one block alone.  Masking follows what is in a page,
 * so that it may fail on a broken one, and the child with it.  If it fails on
 * either, both are left as they are, so that they differ.
 */
static void
mask_alone(Verification *v, const BlockCheck *block, char *live, char *rebuilt)
{
	PGAlignedBlock live_copy;
	PGAlignedBlock rebuilt_copy;
	Attempt		work = {.v = v,.blkno = block->blkno,
	.rmid = block_mask(v, block)};

	memcpy(live_copy.data, live, BLCKSZ);
	memcpy(rebuilt_copy.data, rebuilt, BLCKSZ);
	work.page = live_copy.data;
	if (attempt(mask_page, &work) != NULL)
		return;
	work.page = rebuilt_copy.data;
	if (attempt(mask_page, &work) != NULL)
		return;
	memcpy(live, live_copy.data, BLCKSZ);
	memcpy(rebuilt, rebuilt_copy.data, BLCKSZ);
}

/*
 * Settles up to PAGES_MASKED_AT_ONCE blocks that differ.
 *
 * A page of the visibility map looks to the heap's mask as if it had nothing
 * in it, so that all of it would be masked.
 */
static void
settle_some_masked(Verification *v, BlockCheck **blocks, int nblocks)
{
	PGAlignedBlock *pages = palloc(2 * nblocks * sizeof(PGAlignedBlock));
	WalredoMaskJob *jobs = palloc(2 * nblocks * sizeof(WalredoMaskJob));
	bool		done = true;

	for (int i = 0; i < nblocks; i++)
	{
		memcpy(pages[2 * i].data, blocks[i]->live, BLCKSZ);
		memcpy(pages[2 * i + 1].data, VARDATA(blocks[i]->rebuilt.image),
			   BLCKSZ);
	}
	for (int i = 0; i < 2 * nblocks; i++)
	{
		mask_page_lsn_and_checksum(pages[i].data);
		jobs[i].rmid = block_mask(v, blocks[i / 2]);
		jobs[i].blkno = blocks[i / 2]->blkno;
		jobs[i].page = pages[i].data;
	}

	if (v->tag.forknum != VISIBILITYMAP_FORKNUM)
	{
		WalredoStream *stream = walredo_mask_begin();

		for (int i = 0; i < 2 * nblocks; i++)
			walredo_mask_add(stream, &jobs[i]);
		walredo_stream_end(stream);
		for (int i = 0; i < 2 * nblocks; i++)
			done = done && jobs[i].done;
	}
	for (int i = 0; i < nblocks; i++)
	{
		char	   *live = pages[2 * i].data;
		char	   *rebuilt = pages[2 * i + 1].data;

		if (!done)
		{
			/* One of all these pages may be broken. */
			memcpy(live, blocks[i]->live, BLCKSZ);
			memcpy(rebuilt, VARDATA(blocks[i]->rebuilt.image), BLCKSZ);
			mask_page_lsn_and_checksum(live);
			mask_page_lsn_and_checksum(rebuilt);
			mask_alone(v, blocks[i], live, rebuilt);
		}
		settle_masked(blocks[i], live, rebuilt);
	}
	pfree(jobs);
	pfree(pages);
}

/* Settles all blocks of the window that differ. */
static void
settle_differing(Verification *v)
{
	BlockCheck *blocks[PAGES_MASKED_AT_ONCE];
	int			n = 0;

	for (int i = 0; i < v->num_blocks; i++)
	{
		if (v->blocks[i].state == BLOCK_DIFFERS)
			blocks[n++] = &v->blocks[i];
		if (n == PAGES_MASKED_AT_ONCE || (i == v->num_blocks - 1 && n > 0))
		{
			settle_some_masked(v, blocks, n);
			n = 0;
		}
	}
}

/* ----------------------------------------
 * Pages of the server's and of the rebuild
 * ----------------------------------------
 */

static void
copy_live_page(Attempt *work)
{
	Buffer		buffer = ReadBufferExtended(work->v->rel,
											work->v->tag.forknum, work->blkno,
											RBM_NORMAL, work->v->strategy);

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	memcpy(work->page, BufferGetPage(buffer), BLCKSZ);

	/*
	 * Who sets a hint bit holds a share lock, too, and may stamp the page at
	 * this moment.
	 */
	if (!PageIsNew((Page) work->page))
		PageSetLSN((Page) work->page, BufferGetLSNAtomic(buffer));
	UnlockReleaseBuffer(buffer);
}

/*
 * Copies a page out of the server's buffers.  On an error, such as a wrong
 * checksum, settles the block and returns false.
 */
static bool
read_live_page(Verification *v, BlockCheck *block, char *page)
{
	Attempt		work = {.v = v,.blkno = block->blkno,.page = page};
	ErrorData  *error = attempt(copy_live_page, &work);

	if (error != NULL)
	{
		/* An internal error may have another reason than the page. */
		settle(block, error->sqlerrcode == ERRCODE_INTERNAL_ERROR ?
			   WALREDO_VERIFY_UNVERIFIABLE : WALREDO_VERIFY_MISMATCH,
			   psprintf("The server cannot read it: %s.", error->message));
		return false;
	}
	block->page_lsn = PageGetLSN((Page) page);
	return true;
}

static void
get_rebuilt_page(Attempt *work)
{
	WalredoTag	tag = block_tag(work->v, work->blkno);

	walredo_rebuild_get(work->rebuild, &tag, work->rebuilt);
}

/*
 * Gets a page out of a rebuild.  If it cannot be made, settles the block and
 * returns false.
 */
static bool
get_rebuilt(Verification *v, WalredoRebuild *rebuild, BlockCheck *block)
{
	Attempt		work = {.v = v,.blkno = block->blkno,.rebuild = rebuild,
	.rebuilt = &block->rebuilt};
	ErrorData  *error = attempt(get_rebuilt_page, &work);

	if (error == NULL)
		return true;
	settle(block, WALREDO_VERIFY_UNVERIFIABLE,
		   psprintf("It cannot be rebuilt: %s.%s%s", error->message,
					error->detail ? " " : "",
					error->detail ? error->detail : ""));
	return false;
}

/*
 * Can a page have this LSN by now?
 *
 * On a standby, the startup process stamps a page before it says that it has
 * replayed the record.  It says before which record it is replaying, though.
 */
static bool
lsn_is_reached(XLogRecPtr lsn)
{
	if (lsn <= current_lsn())
		return true;
	if (!RecoveryInProgress() || lsn > GetCurrentReplayRecPtr(NULL))
		return lsn <= current_lsn();

	for (int waited = 0; waited < REPLAY_WAIT_MS && lsn > current_lsn();
		 waited++)
	{
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 1, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	return lsn <= current_lsn();
}

/* ----------------------------------------
 * WAL since the rebuild
 * ----------------------------------------
 */

/* WAL that is read on. */
typedef struct LaterWal
{
	Attempt		attempt;		/* first: that is what is tried */
	const WalredoPageFilter *filter;
	XLogRecPtr	start_lsn;
	XLogRecPtr	end_lsn;
	WalredoRebuild *rebuild;
	BlockCheck **blocks;		/* those that are wanted, in order */
	int			nblocks;
} LaterWal;

static void
read_later_wal(Attempt *arg)
{
	LaterWal   *later = (LaterWal *) arg;
	WalredoPageScan *scan;

	scan = walredo_page_scan_begin(later->filter, NULL, later->start_lsn,
								   later->end_lsn);
	while (walredo_page_scan_next(scan))
	{
		int			wanted = 0;

		if (scan->has_restarted)
			walredo_rebuild_reset(later->rebuild);
		scan->has_restarted = false;

		/* Leave out what is not wanted, and is in later copies only. */
		for (int i = 0; i < scan->num_changes; i++)
		{
			const WalredoPageChange *change = &scan->list[i];
			int			low = 0;
			int			high = later->nblocks;

			while (low < high)
			{
				int			middle = low + (high - low) / 2;

				if (later->blocks[middle]->blkno < change->tag.number)
					low = middle + 1;
				else
					high = middle;
			}
			if (change->what == WALREDO_CHANGE_END ||
				(low < later->nblocks &&
				 later->blocks[low]->blkno == change->tag.number &&
				 walredo_reader_end_lsn(scan->reader) <=
				 later->blocks[low]->limit))
				scan->list[wanted++] = *change;
		}
		scan->num_changes = wanted;
		walredo_page_scan_add(scan, later->rebuild);
	}
	if (scan->has_restarted)
		walredo_rebuild_reset(later->rebuild);
	walredo_page_scan_end(scan);
}

/*
 * A rebuild of some blocks of the fork with WAL up to end_lsn, or up to the LSN
 * of each block's copy.
 *
 * It begins with what is known as of the end of the WAL that was read.  Should
 * WAL since then have been removed, it is made from what there still is, and
 * *has_gap is set: then nothing is known of what was in between.
 */
static WalredoRebuild *
rebuild_later(Verification *v, BlockCheck **blocks, int nblocks,
			  XLogRecPtr end_lsn, bool *has_gap)
{
	WalredoRebuild *rebuild = walredo_rebuild_create();
	LaterWal	later = {.attempt.v = v,.blocks = blocks,.nblocks = nblocks};
	ErrorData  *error;
	WalredoTag	tag;

	*has_gap = false;
	for (int i = 0; i < nblocks; i++)
	{
		tag = block_tag(v, blocks[i]->blkno);
		walredo_rebuild_copy_page(rebuild, v->rebuild, &tag,
								  blocks[i]->state != BLOCK_MISSING);
	}
	if (end_lsn <= v->wal_end)
		return rebuild;

	tag = block_tag(v, blocks[0]->blkno);
	later.filter = nblocks == 1 ? walredo_filter_page(&tag) :
		walredo_filter_fork(&tag);
	later.start_lsn = v->wal_end;
	later.end_lsn = end_lsn;
	later.rebuild = rebuild;
	error = attempt(read_later_wal, &later.attempt);
	if (error == NULL)
		return rebuild;

	/* A segment that is used again while it is read looks damaged. */
	if (error->sqlerrcode != ERRCODE_UNDEFINED_FILE &&
		error->sqlerrcode != ERRCODE_DATA_CORRUPTED)
		ReThrowError(error);

	*has_gap = true;
	walredo_rebuild_free(rebuild);
	later.rebuild = rebuild = walredo_rebuild_create();
	later.start_lsn = WALREDO_START_OF_WAL;
	read_later_wal(&later.attempt);
	return rebuild;
}

/*
 * Settles the blocks of the window that take WAL since the rebuild.  No lock is
 * needed.
 */
static void
settle_changed(Verification *v)
{
	BlockCheck *blocks[WINDOW_BLOCKS];
	int			nblocks = 0;
	WalredoRebuild *rebuild;
	bool		has_gap;

	for (int i = 0; i < v->num_blocks; i++)
	{
		if (v->blocks[i].state == BLOCK_CHANGED ||
			v->blocks[i].state == BLOCK_MISSING)
			blocks[nblocks++] = &v->blocks[i];
	}
	if (nblocks == 0)
		return;

	/* The LSN of a page of the visibility map does not tell what it has. */
	for (int i = 0; i < nblocks; i++)
		blocks[i]->limit = blocks[i]->state == BLOCK_MISSING ? v->begin_lsn :
			v->tag.forknum == VISIBILITYMAP_FORKNUM ? v->end_lsn :
			blocks[i]->page_lsn;
	rebuild = rebuild_later(v, blocks, nblocks, v->end_lsn, &has_gap);
	for (int i = 0; i < nblocks; i++)
	{
		BlockCheck *block = blocks[i];

		CHECK_FOR_INTERRUPTS();
		if (!get_rebuilt(v, rebuild, block))
			continue;
		if (block->state == BLOCK_CHANGED)
			compare(v, block, block->live);
		else if (block->rebuilt.num_records == 0 &&
				 block->rebuilt.end_lsn > v->wal_end)
			block->state = BLOCK_GONE;	/* cut off since */
		else if (block->rebuilt.num_records == 0 && has_gap)
			settle(block, WALREDO_VERIFY_UNVERIFIABLE,
				   "The fork does not have it, and WAL that may have truncated the fork has been removed.");
		else
			settle(block, WALREDO_VERIFY_MISMATCH,
				   v->fork_exists ?
				   psprintf("The block is missing: the fork has %u blocks only.",
							v->fork_blocks) :
				   "The block is missing, as the fork has no file.");
	}
	settle_differing(v);
	walredo_rebuild_free(rebuild);
}

/* ----------------------------------------
 * Windows
 * ----------------------------------------
 */

/*
 * True, and the block is settled, if a page has an LSN that it cannot have.
 */
static bool
is_past_end(BlockCheck *block)
{
	if (lsn_is_reached(block->page_lsn))
		return false;
	settle(block, WALREDO_VERIFY_MISMATCH,
		   psprintf("The page has LSN %X/%X, which is past the end of WAL at %X/%X.",
					LSN_FORMAT_ARGS(block->page_lsn),
					LSN_FORMAT_ARGS(current_lsn())));
	return true;
}

/*
 * Must WAL be read on before a block that is settled as a mismatch is one?  If
 * its page was cut off since, it is there anew, and is either as new or has an
 * LSN from after that.  Of the visibility map nothing is certain.
 */
static bool
takes_later_wal(Verification *v, const BlockCheck *block, const char *live)
{
	return block->state == BLOCK_SETTLED &&
		block->status == WALREDO_VERIFY_MISMATCH &&
		(v->tag.forknum == VISIBILITYMAP_FORKNUM ||
		 is_unlogged_page(v->tag.forknum, live));
}

/*
 * Looks at a block that the fork has, of which block->rebuilt is what WAL
 * makes.
 */
static void
look_at_block(Verification *v, BlockCheck *block)
{
	PGAlignedBlock live;

	if (!read_live_page(v, block, live.data))
		return;

	if (block->page_lsn > v->wal_end)
	{
		if (is_past_end(block))
			return;
		block->state = BLOCK_CHANGED;
	}
	else
	{
		compare(v, block, live.data);
		if (takes_later_wal(v, block, live.data))
			block->state = BLOCK_CHANGED;
	}

	if (block->state != BLOCK_SETTLED)
	{
		block->live = palloc(BLCKSZ);
		memcpy(block->live, live.data, BLCKSZ);
		v->num_copies++;
	}
	if (block->state == BLOCK_DIFFERS)
		block->rebuilt.image =
			DatumGetByteaPCopy(PointerGetDatum(block->rebuilt.image));
	else
		block->rebuilt.image = NULL;
}

/* How a fork is found when its relation is opened. */
typedef enum ForkCondition
{
	FORK_THERE,
	FORK_REPLACED,				/* the relation has another file now */
	FORK_DROPPED				/* the relation is not there any more */
} ForkCondition;

/* Does the fork exist, and how long is it? */
static void
measure_fork(Verification *v, Relation rel)
{
	ForkNumber	forknum = v->tag.forknum;

	v->fork_exists = smgrexists(RelationGetSmgr(rel), forknum);
	v->fork_blocks = v->fork_exists ?
		RelationGetNumberOfBlocksInFork(rel, forknum) : 0;
}

/* Looks whether the relation, which is locked, and the fork can be opened. */
static void
look_at_locked_fork(Attempt *work)
{
	Verification *v = work->v;
	Relation	rel = try_relation_open(v->relid, NoLock);

	work->is_there = (rel != NULL);
	if (rel == NULL)
		return;
	measure_fork(v, rel);
	relation_close(rel, NoLock);
}

/*
 * Opens and locks the fork's relation, for a window.
 *
 * *error is why its files, or its entries in catalogs, cannot be read.
 */
static ForkCondition
begin_window(Verification *v, ErrorData **error)
{
	Attempt		work = {.v = v};
	RelFileLocator locator = walredo_tag_locator(&v->tag);

	/* What WAL has made before this, the fork must have. */
	v->begin_lsn = current_lsn();

	/* A lock that a subtransaction takes would be the transaction's. */
	LockRelationOid(v->relid, AccessShareLock);
	*error = attempt(look_at_locked_fork, &work);
	if (*error == NULL && work.is_there)
	{
		v->rel = relation_open(v->relid, NoLock);
		if (RelFileLocatorEquals(RelationGetLocator(v->rel), locator))
			return FORK_THERE;
		relation_close(v->rel, NoLock);
	}
	UnlockRelationOid(v->relid, AccessShareLock);
	if (*error != NULL)
		return FORK_THERE;
	return work.is_there ? FORK_REPLACED : FORK_DROPPED;
}

/*
 * Looks again, a few times, at pages of the visibility map that differ.  Each
 * look is a window of its own.
 *
 * Who changes such a page is about to log it, or has logged what the copy does
 * not have yet.
 */
static void
look_again(Verification *v)
{
	for (int i = 0; i < v->num_blocks; i++)
	{
		BlockCheck *block = &v->blocks[i];

		for (int n = 0; n < MAP_PAGE_TRIES && block->live != NULL &&
			 takes_later_wal(v, block, block->live); n++)
		{
			WalredoRebuild *rebuild;
			ErrorData  *error;
			bool		has_gap;
			bool		is_read = false;

			(void) WaitLatch(MyLatch,
							 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
							 n == 0 ? 1 : MAP_PAGE_DELAY_MS,
							 PG_WAIT_EXTENSION);
			ResetLatch(MyLatch);
			CHECK_FOR_INTERRUPTS();

			/* If the relation has changed, the next window will see it. */
			if (begin_window(v, &error) != FORK_THERE || error != NULL)
				return;
			if (block->blkno < v->fork_blocks)
				is_read = read_live_page(v, block, block->live) &&
					!is_past_end(block);
			else
				block->state = BLOCK_GONE;
			block->limit = current_lsn();
			relation_close(v->rel, AccessShareLock);
			if (!is_read)
				break;

			block->state = BLOCK_CHANGED;
			rebuild = rebuild_later(v, &block, 1, block->limit, &has_gap);
			if (get_rebuilt(v, rebuild, block))
				compare(v, block, block->live);
			walredo_rebuild_free(rebuild);
			if (block->state == BLOCK_DIFFERS)
				settle_some_masked(v, &block, 1);
		}
	}
}

/*
 * Has the window end here?
 */
static bool
window_is_full(Verification *v, instr_time begin)
{
	instr_time	now;

	if (v->num_blocks == WINDOW_BLOCKS || v->num_copies >= WINDOW_COPIES)
		return true;
	INSTR_TIME_SET_CURRENT(now);
	INSTR_TIME_SUBTRACT(now, begin);
	return INSTR_TIME_GET_MILLISEC(now) >= WINDOW_MS;
}

/* Is it time to read WAL anew? */
static bool
later_wal_is_long(const Verification *v)
{
	XLogRecPtr	now = current_lsn();

	return !v->keep_locks && now > v->wal_end &&
		now - v->wal_end > Max(MAX_LATER_WAL,
							   (v->wal_end - v->wal_start) / 4);
}

/* A fork that is left to be checked, from a block on. */
typedef struct ForkWork
{
	WalredoVerifyFork fork;
	BlockNumber first_block;
} ForkWork;

/* What became of it. */
typedef enum ForkResult
{
	FORK_DONE,
	FORK_ANEW,					/* it has another file now */
	FORK_PAUSED					/* WAL is to be read anew for the rest */
} ForkResult;

/* The next page that the rebuild has of the fork. */
typedef struct NextPage
{
	bool		is_there;
	WalredoTag	tag;
	WalredoRebuiltPage page;
} NextPage;

/*
 * What the rebuild has of a block.  False if it cannot be made, and the block
 * is settled.
 */
static bool
find_rebuilt(Verification *v, BlockCheck *block, NextPage *next)
{
	while (next->is_there && next->tag.number < block->blkno)
		next->is_there = walredo_rebuild_next(v->rebuild, &next->tag,
											  &next->page);
	if (next->is_there && next->tag.number == block->blkno &&
		!next->page.is_waiting)
	{
		block->rebuilt = next->page;
		return true;
	}
	return get_rebuilt(v, v->rebuild, block);
}

/*
 * Compares a fork with the rebuild, from work->first_block on, which is moved
 * if a part is left.
 */
static ForkResult
compare_fork(Verification *v, ForkWork *work)
{
	MemoryContext fork_context = AllocSetContextCreate(CurrentMemoryContext,
													   "walredo fork",
													   ALLOCSET_DEFAULT_SIZES);
	MemoryContext old_context = MemoryContextSwitchTo(fork_context);
	NextPage	next;
	BlockNumber known_blocks;
	BlockNumber blkno = work->first_block;
	BlockNumber end = 0;
	ForkResult	result = FORK_DONE;
	bool		is_first = true;
	ForkCondition condition = FORK_THERE;

	v->strategy = GetAccessStrategy(BAS_BULKREAD);
	v->window_context = AllocSetContextCreate(fork_context, "walredo window",
											  ALLOCSET_DEFAULT_SIZES);
	v->phase = WALREDO_PHASE_COMPARING;
	v->progress_relid = v->relid;
	v->blocks_done = blkno;

	walredo_rebuild_begin_fork(v->rebuild, &v->tag);
	known_blocks = (BlockNumber) walredo_rebuild_fork_blocks(v->rebuild);
	next.is_there = walredo_rebuild_next(v->rebuild, &next.tag, &next.page);

	do
	{
		ErrorData  *error;
		instr_time	begin;

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(v->window_context);
		MemoryContextSwitchTo(v->window_context);
		v->num_blocks = 0;
		v->num_copies = 0;
		INSTR_TIME_SET_CURRENT(begin);

		condition = begin_window(v, &error);
		if (error != NULL)
		{
			report(v, InvalidBlockNumber, InvalidXLogRecPtr,
				   WALREDO_VERIFY_MISMATCH,
				   psprintf("The server cannot read it: %s.", error->message));
			break;
		}
		if (condition != FORK_THERE)
			break;
		if (is_first)
		{
			v->nblocks = v->fork_blocks;
			show_progress(v);
			is_first = false;
			if (!v->fork_exists && known_blocks == 0 && blkno == 0 &&
				v->tag.forknum != VISIBILITYMAP_FORKNUM)
				report(v, InvalidBlockNumber, InvalidXLogRecPtr,
					   WALREDO_VERIFY_MISMATCH, "Its file is missing.");
		}
		end = Max(v->nblocks, known_blocks);

		while (blkno < end && !window_is_full(v, begin))
		{
			BlockCheck *block = &v->blocks[v->num_blocks++];

			CHECK_FOR_INTERRUPTS();
			memset(block, 0, sizeof(BlockCheck));
			block->blkno = blkno++;
			if (block->blkno >= v->fork_blocks)
			{
				/* Cut off since, unless WAL says that it must be there. */
				block->state = block->blkno < known_blocks ?
					BLOCK_MISSING : BLOCK_GONE;
				continue;
			}
			if (!find_rebuilt(v, block, &next))
				continue;
			look_at_block(v, block);

			/* An image that is not needed any more makes room. */
			if (block->state == BLOCK_SETTLED && next.is_there &&
				next.tag.number == block->blkno)
				walredo_rebuild_forget(v->rebuild);
		}
		v->end_lsn = current_lsn();
		relation_close(v->rel, AccessShareLock);

		settle_differing(v);
		for (int i = 0; i < v->num_blocks; i++)
		{
			BlockCheck *block = &v->blocks[i];

			if (block->live != NULL && takes_later_wal(v, block, block->live))
				block->state = BLOCK_CHANGED;
		}
		settle_changed(v);
		if (v->tag.forknum == VISIBILITYMAP_FORKNUM)
			look_again(v);

		for (int i = 0; i < v->num_blocks; i++)
		{
			BlockCheck *block = &v->blocks[i];

			if (block->state != BLOCK_GONE)
				report(v, block->blkno, block->page_lsn, block->status,
					   block->detail);
		}
		v->blocks_done += v->num_blocks;
		pgstat_progress_update_param(WALREDO_PROGRESS_BLOCKS_DONE,
									 v->blocks_done);
		if (blkno < end && later_wal_is_long(v))
			result = FORK_PAUSED;
	} while (blkno < end && result == FORK_DONE);

	if (condition == FORK_REPLACED && work->first_block == 0)
		result = FORK_ANEW;
	else if (condition == FORK_REPLACED)
		report(v, InvalidBlockNumber, InvalidXLogRecPtr,
			   WALREDO_VERIFY_UNVERIFIABLE,
			   psprintf("The relation got another file when blocks before %u had been verified.",
						blkno));
	work->first_block = result == FORK_PAUSED ? blkno : 0;

	FreeAccessStrategy(v->strategy);
	MemoryContextSwitchTo(old_context);
	MemoryContextDelete(fork_context);
	v->sink->end_fork(result != FORK_ANEW, v->sink->arg);
	return result;
}

/* ----------------------------------------
 * Forks
 * ----------------------------------------
 */

/*
 * All blocks of a fork that there is no point in looking at.
 */
static void
report_all(Verification *v, WalredoVerifyStatus status, const char *detail)
{
	for (BlockNumber blkno = 0; blkno < v->fork_blocks; blkno++)
	{
		CHECK_FOR_INTERRUPTS();
		report(v, blkno, InvalidXLogRecPtr, status, detail);
	}
}

/*
 * Looks at a fork, whose relation is open, before WAL is read.  False if there
 * is nothing to be read about it, and what there is to say has been reported.
 */
static bool
begin_fork(Verification *v, Relation rel)
{
	RelFileLocator locator = RelationGetLocator(rel);
	ForkNumber	forknum = v->tag.forknum;
	char		persistence = rel->rd_rel->relpersistence;

	/* Some forks need not be there, and only tables have a visibility map. */
	measure_fork(v, rel);
	if (!v->fork_exists &&
		(forknum == FSM_FORKNUM ||
		 (forknum == INIT_FORKNUM && persistence != RELPERSISTENCE_UNLOGGED) ||
		 (forknum == VISIBILITYMAP_FORKNUM &&
		  !RELKIND_HAS_TABLE_AM(rel->rd_rel->relkind))))
		return false;

	/*
	 * The build writes past shared buffers.  If we read pages of it there,
	 * they would stay there as they were before.
	 */
	if (rel->rd_rel->relkind == RELKIND_INDEX && !rel->rd_index->indisready)
	{
		if (forknum == MAIN_FORKNUM)
			report(v, InvalidBlockNumber, InvalidXLogRecPtr,
				   WALREDO_VERIFY_UNVERIFIABLE,
				   "The index is being built concurrently, or this has failed.");
		return false;
	}

	if (forknum == FSM_FORKNUM)
	{
		report_all(v, WALREDO_VERIFY_UNLOGGED,
				   "The free space map is not logged.");
		return false;
	}
	if (persistence != RELPERSISTENCE_PERMANENT && forknum != INIT_FORKNUM)
	{
		/* A standby has the init fork only, and makes the others of it. */
		if (!v->fork_exists && forknum == MAIN_FORKNUM &&
			!RecoveryInProgress())
			report(v, InvalidBlockNumber, InvalidXLogRecPtr,
				   WALREDO_VERIFY_MISMATCH, "Its file is missing.");
		report_all(v, WALREDO_VERIFY_UNLOGGED, "The relation is not logged.");
		return false;
	}
	if (v->fork_exists && rel->rd_rel->relkind == RELKIND_SEQUENCE)
	{
		report_all(v, WALREDO_VERIFY_UNVERIFIABLE,
				   "A sequence is logged ahead of its use, so that its page is never equal.");
		return false;
	}

	v->tag = walredo_tag_of_block(&locator, forknum, 0);
	v->rmid = mask_of_relation(rel);
	v->nblocks = v->fork_blocks;
	return true;
}

/* A fork that takes reading WAL. */
typedef struct LoggedFork
{
	ForkWork	work;
	WalredoTag	tag;
	RmgrId		rmid;
	bool		is_locked;
} LoggedFork;

/* What there is to do with one of the forks that were asked for. */
typedef struct ForkAttempt
{
	Attempt		attempt;		/* first: that is what is tried */
	bool		is_logged;
	LoggedFork *logged;
} ForkAttempt;

static void
look_at_fork(Attempt *arg)
{
	ForkAttempt *work = (ForkAttempt *) arg;
	Verification *v = work->attempt.v;
	Relation	rel = try_relation_open(v->relid, NoLock);

	/* It may be dropped at any time. */
	work->is_logged = false;
	if (rel == NULL)
		return;
	work->is_logged = begin_fork(v, rel);
	work->logged->tag = v->tag;
	work->logged->rmid = v->rmid;
	relation_close(rel, NoLock);
}

/*
 * Reads WAL for all forks of the list.
 */
static void
read_wal(Verification *v, const LoggedFork *forks, int nforks)
{
	WalredoTag *tags = palloc(nforks * sizeof(WalredoTag));
	WalredoPageFilter *filter;
	WalredoPageScan *scan;

	for (int i = 0; i < nforks; i++)
		tags[i] = forks[i].tag;
	filter = walredo_filter_forks(tags, nforks, false);
	v->rebuild = walredo_rebuild_create();
	scan = walredo_page_scan_begin(filter, NULL, WALREDO_START_OF_WAL,
								   WALREDO_END_OF_WAL);
	v->wal_start = walredo_reader_first_lsn(scan->reader);
	v->wal_end = walredo_reader_last_lsn(scan->reader);
	v->tag = tags[0];
	v->phase = WALREDO_PHASE_READING;
	v->progress_relid = nforks == 1 ? forks[0].work.fork.relid : InvalidOid;
	v->blocks_done = 0;
	show_progress(v);
	while (walredo_page_scan_add_some(scan, v->rebuild))
	{
		CHECK_FOR_INTERRUPTS();
		pgstat_progress_update_param(WALREDO_PROGRESS_WAL_POSITION,
									 walredo_reader_end_lsn(scan->reader));
	}

	/* Its beginning may have been removed meanwhile. */
	v->wal_start = walredo_reader_first_lsn(scan->reader);
	v->wal_end = walredo_reader_end_lsn(scan->reader);
	walredo_page_scan_end(scan);
	walredo_filter_free(filter);
	pfree(tags);
}

/*
 * Checks forks.  Those that are left are moved to the front of the list;
 * returns how many these are.
 */
static int
verify_round(Verification *v, ForkWork *forks, int nforks)
{
	LoggedFork *logged = MemoryContextAllocHuge(CurrentMemoryContext,
												nforks * sizeof(LoggedFork));
	int			nlooked = nforks;
	BlockNumber nblocks = 0;
	Oid			failed_relid = InvalidOid;
	int			nlogged = 0;
	int			nleft = 0;

	if (v->keep_locks)
		nlooked = 1;
	v->phase = WALREDO_PHASE_READING;
	for (int i = 0; i < nlooked; i++)
	{
		LoggedFork *fork = &logged[nlogged];
		ForkAttempt work = {.attempt.v = v,.logged = fork};
		ErrorData  *error;

		/* That a relation cannot be opened is said once. */
		if (forks[i].fork.relid == failed_relid)
			continue;

		CHECK_FOR_INTERRUPTS();
		memset(fork, 0, sizeof(LoggedFork));
		fork->work = forks[i];
		v->relid = v->progress_relid = forks[i].fork.relid;
		v->tag.forknum = forks[i].fork.forknum;
		v->nblocks = v->blocks_done = 0;
		LockRelationOid(v->relid, AccessShareLock);
		error = attempt(look_at_fork, &work.attempt);
		fork->is_locked = v->keep_locks && error == NULL && work.is_logged;
		if (!fork->is_locked)
			UnlockRelationOid(v->relid, AccessShareLock);
		if (error != NULL)
		{
			report(v, InvalidBlockNumber, InvalidXLogRecPtr,
				   WALREDO_VERIFY_MISMATCH,
				   psprintf("The server cannot read it: %s.", error->message));
			failed_relid = forks[i].fork.relid;
		}
		v->sink->end_fork(true, v->sink->arg);
		if (error != NULL || !work.is_logged)
			continue;
		nblocks = v->nblocks > MaxBlockNumber - nblocks ?
			MaxBlockNumber : nblocks + v->nblocks;
		nlogged++;
	}

	if (nlogged > 0)
	{
		v->nblocks = nblocks;
		read_wal(v, logged, nlogged);
	}
	v->has_paused = false;
	for (int i = 0; i < nlogged; i++)
	{
		LoggedFork *fork = &logged[i];
		ForkResult	result = FORK_PAUSED;

		v->relid = fork->work.fork.relid;
		v->tag = fork->tag;
		v->rmid = fork->rmid;
		/* However fast WAL grows, something is done in each round. */
		if (i == 0 || !later_wal_is_long(v))
			result = compare_fork(v, &fork->work);
		if (result != FORK_DONE)
			forks[nleft++] = fork->work;
		v->has_paused |= (result == FORK_PAUSED);
		if (fork->is_locked)
			UnlockRelationOid(v->relid, AccessShareLock);
	}
	if (nlogged > 0)
		walredo_rebuild_free(v->rebuild);
	pfree(logged);

	memmove(forks + nleft, forks + nlooked,
			(nforks - nlooked) * sizeof(ForkWork));
	return nleft + nforks - nlooked;
}

void
walredo_verify_forks(const WalredoVerifyFork *forks, int nforks,
					 const WalredoVerifySink *sink)
{
	Verification *v = palloc0(sizeof(Verification));
	ForkWork   *left = palloc0(Max(nforks, 1) * sizeof(ForkWork));
	bool		save_zero_damaged_pages = zero_damaged_pages;
	bool		save_ignore_checksum_failure = ignore_checksum_failure;

	v->sink = sink;
	for (int i = 0; i < nforks; i++)
		left[i].fork = forks[i];
	PG_TRY();
	{
		int			rounds = 0;

		zero_damaged_pages = false;
		ignore_checksum_failure = false;
		while (nforks > 0)
		{
			v->keep_locks = rounds >= MAX_UNLOCKED_ROUNDS;
			nforks = verify_round(v, left, nforks);
			if (!v->has_paused)
				rounds++;
		}
	}
	PG_FINALLY();
	{
		zero_damaged_pages = save_zero_damaged_pages;
		ignore_checksum_failure = save_ignore_checksum_failure;
	}
	PG_END_TRY();
	pgstat_progress_end_command();

	pfree(left);
	pfree(v);
}

/*-------------------------------------------------------------------------
 *
 * judge.c
 *	  Is a block what WAL says, and what should it be?
 *
 * First the page is rebuilt from all WAL that there is, and then the block is
 * looked at.  A page has the changes of exactly those records that end at its
 * LSN or before.  So if its LSN is not after the end of the WAL that was read,
 * it must be equal to the rebuilt page, under the resource manager's mask.  If
 * it is, it is rebuilt once more as of that LSN, for the comparison.  A page
 * that differs then is damaged, but what takes its place has to have all
 * changes since, so all is done again.
 *
 * Three sorts of damage may only seem to be.  A block that is missing or empty
 * may have been truncated away, or truncated away and added again, after WAL
 * was read.  And a bit of a visibility map is cleared before the record that
 * says so is inserted.  In these cases WAL is read once more.  A truncation is
 * logged before it is done.  A bit is cleared in the same critical section in
 * which the record is inserted, and a process takes part in a
 * ProcSignalBarrier only outside of critical sections.  So if there is such a
 * barrier before WAL is read again, everything that explains what was found is
 * in WAL, and a block that then is the same as before is damaged.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/repair/judge.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogrecovery.h"
#include "backup/backup.h"
#include "compat.h"
#include "miscadmin.h"
#include "page/attempt.h"
#include "page/bases.h"
#include "page/page_at.h"
#include "page/rebuild.h"
#include "page/scan.h"
#include "page/verify.h"
#include "repair/judge.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "utils/wait_event.h"
#include "wal/reader.h"

/* The longest wait for a lock that others have to wait behind. */
#define MAX_LOCK_WAIT_MS	900

/* How often a block is looked at, and the time in between. */
#define MAX_LOOKS			20
#define LOOK_DELAY_MS		20

void
walredo_repair_lock(Oid relid, LOCKMODE lockmode)
{
	int			save_lock_timeout = LockTimeout;

	PG_TRY();
	{
		if (lockmode >= ExclusiveLock &&
			(LockTimeout == 0 || LockTimeout > MAX_LOCK_WAIT_MS))
			LockTimeout = MAX_LOCK_WAIT_MS;
		LockRelationOid(relid, lockmode);
	}
	PG_FINALLY();
	{
		LockTimeout = save_lock_timeout;
	}
	PG_END_TRY();
}

Relation
walredo_repair_open(const WalredoRepairFork *fork, LOCKMODE lockmode)
{
	RelFileLocator locator = walredo_tag_locator(&fork->verified.tag);
	Relation	rel;

	walredo_repair_lock(fork->verified.relid, lockmode);
	rel = try_relation_open(fork->verified.relid, NoLock);
	if (rel != NULL && RelFileLocatorEquals(RelationGetLocator(rel), locator))
		return rel;
	if (rel != NULL)
		relation_close(rel, NoLock);
	UnlockRelationOid(fork->verified.relid, lockmode);
	return NULL;
}

/*
 * Flushes all WAL that was inserted, so that it can be read.
 */
static void
flush_wal(void)
{
	XLogRecPtr	lsn = GetXLogInsertRecPtr();

	/* If the next record begins a page, WAL ends before the page's header. */
	if (XLogSegmentOffset(lsn, wal_segment_size) == SizeOfXLogLongPHD)
		lsn -= SizeOfXLogLongPHD;
	else if (lsn % XLOG_BLCKSZ == SizeOfXLogShortPHD)
		lsn -= SizeOfXLogShortPHD;
	if (!RecoveryInProgress())
		XLogFlush(lsn);
}

static XLogRecPtr
end_of_changes(void)
{
	return RecoveryInProgress() ? GetXLogReplayRecPtr(NULL) :
		GetXLogInsertRecPtr();
}

/* ----------------------------------------
 * What the block should be
 * ----------------------------------------
 */

/* The argument of rebuild(). */
typedef struct RebuildAttempt
{
	const WalredoRepairFork *fork;
	WalredoGivenBase base;
	WalredoTag	tag;
	XLogRecPtr	lsn;

	/* Set by the attempt. */
	WalredoRebuiltPage page;
	XLogRecPtr	start_lsn;
	XLogRecPtr	wal_start;
	XLogRecPtr	wal_end;
	const WalredoBackup *backup;
} RebuildAttempt;

static void
rebuild(void *arg)
{
	RebuildAttempt *work = arg;
	XLogRecPtr	base_lsn = InvalidXLogRecPtr;
	WalredoPageAt *at = walredo_page_at_read(&work->tag, work->lsn,
											 &work->base,
											 work->fork->directory);

	walredo_verify_check_reader(at->scan->reader);
	walredo_page_at_get(at);
	work->page = at->page;
	work->start_lsn = at->start_lsn;
	work->wal_start = walredo_reader_first_lsn(at->scan->reader);
	work->wal_end = walredo_page_scan_end_lsn(at->scan);
	if (work->base.image != NULL)
		base_lsn = PageGetLSN((Page) VARDATA(work->base.image));
	if (base_lsn > work->wal_end)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("base image is newer than the LSN asked for"),
				 errdetail("The base image has LSN %X/%X, but WAL ends at %X/%X.",
						   LSN_FORMAT_ARGS(base_lsn),
						   LSN_FORMAT_ARGS(work->wal_end))));
	work->backup = at->bases->backup;
	walredo_page_at_end(at);
}

struct WalredoRebuiltFork
{
	WalredoRebuild *rebuild;
	WalredoBases *bases;
	XLogRecPtr	wal_start;
	XLogRecPtr	wal_end;

	/* The page that walredo_rebuild_next() has returned last, if any. */
	bool		has_next;
	WalredoTag	next_tag;
	WalredoRebuiltPage next_page;

	/* Ends of blocks have been looked for up to here, and the first found. */
	XLogRecPtr	checked_lsn;
	BlockNumber first_ended;
};

static void
advance(WalredoRebuiltFork *all)
{
	all->has_next = walredo_rebuild_next(all->rebuild, &all->next_tag,
										 &all->next_page);
}

void
walredo_rebuild_fork(WalredoRepairFork *fork)
{
	WalredoRebuiltFork *all = palloc0(sizeof(WalredoRebuiltFork));
	WalredoPageFilter *filter = walredo_filter_fork(&fork->verified.tag);
	WalredoPageScan *scan;

	flush_wal();
	all->rebuild = walredo_rebuild_create();
	all->bases = walredo_bases_open();
	scan = walredo_page_scan_from(filter, fork->directory, all->bases,
								  WALREDO_END_OF_WAL);
	walredo_verify_check_reader(scan->reader);
	walredo_rebuild_set_backup(all->rebuild, all->bases->backup,
							   all->bases->lsn);
	while (walredo_page_scan_add_some(scan, all->rebuild))
		CHECK_FOR_INTERRUPTS();
	all->wal_start = walredo_reader_first_lsn(scan->reader);
	all->wal_end = walredo_reader_end_lsn(scan->reader);
	all->checked_lsn = all->wal_end;
	all->first_ended = InvalidBlockNumber;
	walredo_page_scan_end(scan);
	walredo_filter_free(filter);
	walredo_rebuild_begin_fork(all->rebuild, &fork->verified.tag);
	advance(all);
	fork->rebuilt = all;
}

/*
 * Takes a page from those that were rebuilt together.  False if it is not
 * there, so that it has to be rebuilt alone.
 */
static bool
take_rebuilt(const WalredoRepairFork *fork, RebuildAttempt *work)
{
	WalredoRebuiltFork *all = fork->rebuilt;

	while (all->has_next && all->next_tag.number < work->tag.number)
		advance(all);
	if (!all->has_next || all->next_tag.number != work->tag.number ||
		all->next_page.is_waiting)
		return false;
	work->page = all->next_page;
	work->start_lsn = InvalidXLogRecPtr;
	work->wal_start = all->wal_start;
	work->wal_end = all->wal_end;
	work->backup = all->bases->backup;
	return true;
}

/*
 * Was a block truncated away, or its file replaced, after the WAL that a
 * judgement is made from?
 */
static bool
was_cut_off(const WalredoRepairFork *fork, BlockNumber blkno,
			const WalredoJudgement *judgement)
{
	WalredoRebuiltFork *all = fork->rebuilt;
	WalredoTag	tag = fork->verified.tag;
	XLogRecPtr	start_lsn = judgement->wal_end;
	BlockNumber first_ended = InvalidBlockNumber;
	WalredoPageFilter *filter = walredo_filter_forks(&tag, 1, true);
	WalredoPageScan *scan;

	/* For those that were rebuilt together, do not read all again. */
	if (all != NULL && start_lsn == all->wal_end)
	{
		start_lsn = all->checked_lsn;
		first_ended = all->first_ended;
	}
	flush_wal();
	scan = walredo_page_scan_begin(filter, fork->directory, start_lsn,
								   WALREDO_END_OF_WAL);
	while (walredo_page_scan_next(scan))
	{
		for (int i = 0; i < scan->num_changes; i++)
			first_ended = Min(first_ended,
							  (BlockNumber) scan->list[i].tag.number);
	}
	if (all != NULL && judgement->wal_end == all->wal_end)
	{
		all->checked_lsn = walredo_page_scan_end_lsn(scan);
		all->first_ended = first_ended;
	}
	walredo_page_scan_end(scan);
	walredo_filter_free(filter);
	return blkno >= first_ended;
}

/* Has WAL since then a record of the block? */
static bool
was_named(const WalredoRepairFork *fork, BlockNumber blkno,
		  const WalredoJudgement *judgement)
{
	WalredoTag	tag = fork->verified.tag;
	WalredoPageFilter *filter;
	WalredoPageScan *scan;
	bool		result;

	tag.number = blkno;
	filter = walredo_filter_page(&tag);
	flush_wal();
	scan = walredo_page_scan_begin(filter, fork->directory,
								   judgement->wal_end, WALREDO_END_OF_WAL);
	result = walredo_page_scan_next(scan);
	walredo_page_scan_end(scan);
	walredo_filter_free(filter);
	return result;
}

bool
walredo_judgement_is_old(const WalredoRepairFork *fork, BlockNumber blkno,
						 const WalredoJudgement *judgement)
{
	if (judgement->found.condition == WALREDO_BLOCK_IS_UNREADABLE)
		return was_named(fork, blkno, judgement);
	return judgement->is_doubtful && was_cut_off(fork, blkno, judgement);
}

/* What a page was rebuilt from; palloc'd. */
static const char *
describe_source(const RebuildAttempt *work)
{
	if (work->start_lsn != InvalidXLogRecPtr)
		return psprintf("WAL from %X/%X", LSN_FORMAT_ARGS(work->start_lsn));
	if (work->fork->peer != NULL && work->base.image != NULL)
		return "the other server and WAL";
	if (work->base.image != NULL)
		return "base image and WAL";
	if (work->backup != NULL)
		return psprintf("backup \"%s\" and WAL", work->backup->directory);
	return "WAL";
}

/* ----------------------------------------
 * Comparing
 * ----------------------------------------
 */

/*
 * Compares a page with a rebuilt one.  Sets the finding, and if the page should
 * be another one, image and detail.
 */
static void
compare(const WalredoRepairFork *fork, BlockNumber blkno,
		const RebuildAttempt *rebuilt, char *live, WalredoJudgement *judgement)
{
	WalredoVerifyWal wal = {
		.directory = fork->directory,
		.backup = rebuilt->backup,
		.start_lsn = rebuilt->wal_start,
		.end_lsn = rebuilt->wal_end
	};
	WalredoBlockCheck block = {
		.result.relid = fork->verified.relid,
		.result.forknum = fork->verified.tag.forknum,
		.result.blkno = blkno,
		.result.page_lsn = PageGetLSN((Page) live),
		.rebuilt = rebuilt->page,
		.live = live
	};

	walredo_compare_block(&fork->verified, &wal, &block, live);
	if (block.state == WALREDO_BLOCK_DIFFERS)
		walredo_compare_masked(&fork->verified, &block, 1);
	judgement->detail = block.result.detail;
	switch (block.result.status)
	{
		case WALREDO_VERIFY_OK:
			judgement->finding = WALREDO_FOUND_SOUND;
			break;
		case WALREDO_VERIFY_MISMATCH:
			judgement->finding = WALREDO_FOUND_DAMAGED;
			if (rebuilt->page.image != NULL)
				memcpy(judgement->image.data, VARDATA(rebuilt->page.image),
					   BLCKSZ);
			else
				memset(judgement->image.data, 0, BLCKSZ);
			break;
		default:
			judgement->finding = WALREDO_FOUND_UNKNOWN;
			break;
	}
}

/*
 * Sets the finding about a block that has no page that could be compared, as it
 * is missing or the server cannot read it.  It should be what was rebuilt; or
 * empty, if an empty page would be sound.
 */
static void
judge_without_page(const WalredoRepairFork *fork, BlockNumber blkno,
				   const RebuildAttempt *rebuilt, WalredoJudgement *judgement)
{
	bool		is_missing =
		(judgement->found.condition == WALREDO_BLOCK_IS_MISSING);
	PGAlignedBlock empty;
	const char *problem = is_missing ? "The block is missing." :
		psprintf("The server cannot read it: %s.", judgement->found.error);

	/* A page with nothing but a header is as empty as one of zeroes. */
	PageInit((Page) empty.data, BLCKSZ, 0);
	memset(judgement->image.data, 0, BLCKSZ);
	if (rebuilt->page.image != NULL)
	{
		memcpy(judgement->image.data, VARDATA(rebuilt->page.image), BLCKSZ);
		judgement->finding = WALREDO_FOUND_DAMAGED;
		judgement->detail = problem;
		return;
	}
	compare(fork, blkno, rebuilt, empty.data, judgement);
	if (is_missing)
	{
		/* An empty page need not be there. */
		judgement->finding = rebuilt->page.num_records > 0 ?
			WALREDO_FOUND_UNKNOWN : WALREDO_FOUND_NO_BLOCK;
	}
	else if (judgement->finding == WALREDO_FOUND_SOUND)
	{
		judgement->finding = WALREDO_FOUND_DAMAGED;
		judgement->detail = psprintf("%s It should be empty.", problem);
		return;
	}
	else if (fork->verified.tag.forknum == VISIBILITYMAP_FORKNUM)
	{
		/* A page without any bit set is never wrong. */
		PageInit((Page) judgement->image.data, BLCKSZ, 0);
		PageSetLSN((Page) judgement->image.data, rebuilt->page.last_lsn);
		judgement->finding = WALREDO_FOUND_DAMAGED;
		judgement->source = "nothing: all bits are cleared";
		judgement->detail = psprintf("%s %s", problem, judgement->detail);
		return;
	}
	judgement->detail = psprintf("%s %s", problem,
								 judgement->detail ? judgement->detail : "");
}

/*
 * A base image is of no use if WAL does not reach back to it, as changes may be
 * missing then.  There are none if it has the LSN that is asked for, or that of
 * the page that was found.  If there may be, sets the finding.
 */
static void
judge_base(const WalredoRepairFork *fork, const RebuildAttempt *rebuilt,
		   WalredoJudgement *judgement)
{
	XLogRecPtr	base_lsn;

	if (rebuilt->base.image == NULL ||
		rebuilt->start_lsn != InvalidXLogRecPtr ||
		judgement->finding != WALREDO_FOUND_DAMAGED)
		return;
	base_lsn = PageGetLSN((Page) VARDATA(rebuilt->base.image));
	if (base_lsn == fork->request->lsn ||
		(base_lsn == judgement->page_lsn && rebuilt->page.num_records == 0))
		return;
	if (fork->peer != NULL)
		base_lsn = Max(base_lsn, walredo_peer_redo_lsn(fork->peer));
	if (base_lsn >= rebuilt->wal_start)
		return;
	judgement->finding = WALREDO_FOUND_UNKNOWN;
	judgement->detail = psprintf(fork->peer == NULL ?
								 "The base image is as of %X/%X, but WAL begins at %X/%X, so that changes of the page may be missing." :
								 "The files of the other server are as of %X/%X, but WAL begins at %X/%X, so that changes of the page may be missing. CHECKPOINT on the other server makes them newer.",
								 LSN_FORMAT_ARGS(base_lsn),
								 LSN_FORMAT_ARGS(rebuilt->wal_start));
}

/*
 * A page that the server would not accept from a file is not put into a buffer,
 * where others rely on what it says, even if WAL, or a child, makes it.
 */
static void
judge_image(BlockNumber blkno, WalredoJudgement *judgement)
{
	PGAlignedBlock page = judgement->image;

	if (judgement->finding != WALREDO_FOUND_DAMAGED)
		return;
	walredo_set_checksum(page.data, blkno);
	if (walredo_page_is_verified(page.data, blkno))
		return;
	judgement->finding = WALREDO_FOUND_UNKNOWN;
	judgement->detail = psprintf("%s The page that was rebuilt is not valid.",
								 judgement->detail ? judgement->detail : "");
}

/*
 * Is a heap page marked as all-visible, and not what is to take its place?
 * Without checksums, VACUUM marks it without a new LSN, so that it may just
 * have done so.
 */
static bool
has_lost_flag(const WalredoRepairFork *fork, const WalredoJudgement *judgement)
{
	return fork->verified.rmid == RM_HEAP_ID &&
		fork->verified.tag.forknum == MAIN_FORKNUM &&
		judgement->found.condition == WALREDO_BLOCK_IS_READABLE &&
		PageIsAllVisible((Page) judgement->found.page.data) &&
		!PageIsAllVisible((Page) judgement->image.data);
}

/* Is damage, if it is found, to be made sure of by another look? */
static bool
is_doubtful(const WalredoRepairFork *fork, const WalredoJudgement *judgement)
{
	const WalredoFoundBlock *found = &judgement->found;

	switch (found->condition)
	{
		case WALREDO_BLOCK_IS_MISSING:
			return true;
		case WALREDO_BLOCK_IS_UNREADABLE:
			return false;
		case WALREDO_BLOCK_IS_READABLE:
			break;
	}

	return has_lost_flag(fork, judgement) ||
		fork->verified.tag.forknum == VISIBILITYMAP_FORKNUM ||
		walredo_is_unlogged_page(fork->verified.tag.forknum,
								 found->page.data);
}

static bool
is_same(const WalredoFoundBlock *a, const WalredoFoundBlock *b)
{
	return a->condition == b->condition &&
		(a->condition != WALREDO_BLOCK_IS_READABLE ||
		 memcmp(a->page.data, b->page.data, BLCKSZ) == 0);
}

static void
pause_before_look(void)
{
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 LOOK_DELAY_MS, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

/* Rebuilds the page; if that fails, sets the finding and returns false. */
static bool
try_rebuild(RebuildAttempt *work, WalredoJudgement *judgement)
{
	ErrorData  *error = walredo_attempt(rebuild, work);

	if (error == NULL)
		return true;
	judgement->finding = WALREDO_FOUND_UNKNOWN;
	judgement->detail = psprintf("The page cannot be rebuilt: %s.%s%s",
								 error->message,
								 error->detail ? " " : "",
								 error->detail ? error->detail : "");
	return false;
}

/*
 * Looks at a block, while its relation is locked.  Returns false if the
 * relation is not there any more.
 */
static bool
look_at_block(const WalredoRepairFork *fork, BlockNumber blkno,
			  WalredoJudgement *judgement)
{
	WalredoFoundBlock *found = &judgement->found;
	Relation	rel = walredo_repair_open(fork, AccessShareLock);

	if (rel == NULL)
		return false;
	walredo_look_at_block(rel, fork->verified.tag.forknum, blkno, found);
	relation_close(rel, AccessShareLock);
	judgement->page_lsn = InvalidXLogRecPtr;
	if (found->condition == WALREDO_BLOCK_IS_READABLE ||
		found->file_size >= sizeof(PageHeaderData))
		judgement->page_lsn = PageGetLSN((Page) found->page.data);
	return true;
}

/*
 * Compares what was found with what was rebuilt.  Returns false if that is not
 * enough, because the page was changed meanwhile, so that it has to be judged
 * again.
 */
static bool
judge_once(const WalredoRepairFork *fork, BlockNumber blkno,
		   RebuildAttempt *rebuilt, WalredoJudgement *judgement)
{
	char	   *page = judgement->found.page.data;

	if (judgement->found.condition != WALREDO_BLOCK_IS_READABLE)
		judge_without_page(fork, blkno, rebuilt, judgement);
	else if (fork->request->lsn == InvalidXLogRecPtr &&
			 judgement->page_lsn > rebuilt->wal_end &&
			 judgement->page_lsn <= end_of_changes())
	{
		flush_wal();
		rebuilt->lsn = judgement->page_lsn;
		if (!try_rebuild(rebuilt, judgement))
			return true;
		compare(fork, blkno, rebuilt, page, judgement);
		return judgement->finding != WALREDO_FOUND_DAMAGED;
	}
	else
		compare(fork, blkno, rebuilt, page, judgement);
	return true;
}

bool
walredo_judge_block(const WalredoRepairFork *fork, BlockNumber blkno,
					WalredoJudgement *judgement)
{
	const WalredoRepairRequest *request = fork->request;
	RebuildAttempt rebuilt = {.fork = fork,.tag = fork->verified.tag};
	WalredoFoundBlock *doubted = NULL;
	bool		from_all;

	rebuilt.tag.number = blkno;
	rebuilt.base = request->base;
	if (fork->peer != NULL)
		rebuilt.base.image = walredo_peer_page(fork->peer, &rebuilt.tag);
	for (int look = 0; look < MAX_LOOKS; look++)
	{
		if (look > 0)
			pause_before_look();
		if (doubted != NULL && !RecoveryInProgress())
			walredo_wait_for_all();
		flush_wal();
		judgement->source = judgement->detail = NULL;
		judgement->rebuilt_lsn = InvalidXLogRecPtr;
		rebuilt.lsn = request->lsn != InvalidXLogRecPtr ? request->lsn :
			WALREDO_END_OF_WAL;
		from_all = fork->rebuilt != NULL && look == 0 &&
			rebuilt.base.image == NULL &&
			take_rebuilt(fork, &rebuilt);
		if (!from_all && !try_rebuild(&rebuilt, judgement))
			return look_at_block(fork, blkno, judgement);
		judgement->source = describe_source(&rebuilt);
		judgement->wal_end = rebuilt.wal_end;
		judgement->rebuilt_lsn = rebuilt.page.last_lsn;
		if (judgement->rebuilt_lsn == InvalidXLogRecPtr &&
			rebuilt.page.image != NULL)
			judgement->rebuilt_lsn =
				PageGetLSN((Page) VARDATA(rebuilt.page.image));

		judgement->newest_lsn = rebuilt.page.last_lsn;
		if (request->lsn != InvalidXLogRecPtr)
		{
			RebuildAttempt newest = rebuilt;

			newest.lsn = WALREDO_END_OF_WAL;
			if (try_rebuild(&newest, judgement))
				judgement->newest_lsn = newest.page.last_lsn;
			judgement->detail = NULL;
		}

		if (!look_at_block(fork, blkno, judgement))
			return false;
		if (!judge_once(fork, blkno, &rebuilt, judgement))
			continue;

		/* If it could be read in between, it may have been changed. */
		if (from_all &&
			judgement->found.condition == WALREDO_BLOCK_IS_UNREADABLE)
			continue;
		judge_base(fork, &rebuilt, judgement);
		judge_image(blkno, judgement);
		judgement->is_doubtful = is_doubtful(fork, judgement);
		if (judgement->finding != WALREDO_FOUND_DAMAGED ||
			!judgement->is_doubtful ||
			(doubted != NULL && is_same(doubted, &judgement->found)))
			return true;

		/* The verification has seen it, too; but not what VACUUM did since. */
		if (from_all && !has_lost_flag(fork, judgement) &&
			!was_cut_off(fork, blkno, judgement))
			return true;
		if (doubted == NULL)
			doubted = palloc(sizeof(WalredoFoundBlock));
		*doubted = judgement->found;
	}
	judgement->finding = WALREDO_FOUND_UNKNOWN;
	judgement->detail = psprintf("The page was changed again and again. %s",
								 judgement->detail ? judgement->detail : "");
	return true;
}

/*-------------------------------------------------------------------------
 *
 * verify.c
 *	  Checking the pages of a relation against the log that made them.
 *
 * The log is read once, up to where it ends at the start, for all forks that
 * are to be checked.  Then the pages of one after the other are rebuilt as of
 * then, and the server's own are read through its buffers, and compared under
 * the resource manager's mask.  A page that was not changed meanwhile must be
 * equal.  Pages that are equal without a mask are done with at once.
 *
 * All relations are locked, as pg_dump does it, from before the log is read
 * until their pages are compared.  If one were truncated in between, it would
 * lack blocks that the log has made.
 *
 * Others may write to the relation all the time.  A page that was changed after
 * the point up to which the log was read shows that by its LSN.  Such a page
 * is copied, the log is read on as far as that LSN, and the copy is compared
 * with the page rebuilt as of exactly that LSN, so there is no race to lose
 * and no need to try again until a busy page holds still.
 *
 * A page of the visibility map does not show every change: bits are cleared
 * without a new LSN.  Where such a page differs, the log is read on and the
 * page is read again, a few times.  A change on its way is in the log a moment
 * later; damage stays.
 *
 * What a page's LSN cannot be trusted for is to say that a page is equal: the
 * server does not stamp every change (hint bits; an all-visible flag without
 * checksums), and damage may leave the LSN alone.  So contents are compared
 * first, and the LSNs only serve to say what is wrong.
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
#include "catalog/pg_am_d.h"
#include "catalog/pg_class.h"
#include "compat.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "page/diff.h"
#include "page/rebuild.h"
#include "page/scan.h"
#include "page/verify.h"
#include "redo/redo.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/wait_event.h"

/* Changed pages that are kept until the log is read on for them. */
#define MAX_CHANGED_PAGES	1024

/* How often, and after what time, to look again at a visibility map page. */
#define MAP_PAGE_TRIES		10
#define MAP_PAGE_DELAY_MS	50

/* Runs of different bytes that a DETAIL names. */
#define MAX_REPORTED_RUNS	5

/* Pages that differ and are kept until they are masked together. */
#define MAX_DOUBTS			64

/* A page that was changed after the rebuild. */
typedef struct ChangedPage
{
	BlockNumber blkno;
	char	   *live;			/* a copy */
} ChangedPage;

/* A page that differs, perhaps only in what a mask leaves out. */
typedef struct Doubt
{
	BlockNumber blkno;
	XLogRecPtr	live_lsn;
	XLogRecPtr	rebuilt_lsn;
	PGAlignedBlock live;
	PGAlignedBlock rebuilt;

	/* Under the mask. */
	PGAlignedBlock masked_live;
	PGAlignedBlock masked_rebuilt;
} Doubt;

typedef struct Verification
{
	Oid			relid;
	Relation	rel;			/* while it is open */
	WalredoPageFilter filter;	/* the fork */
	RmgrId		rmid;			/* whose mask is used */
	BlockNumber nblocks;
	BlockNumber num_reported;
	uint8	   *settled;		/* a bit a block: it has been reported */
	MemoryContext block_context;	/* reset for each block */
	BufferAccessStrategy strategy;
	WalredoRebuild *rebuild;
	XLogRecPtr	log_start;		/* the rebuild has the log from here ... */
	XLogRecPtr	log_end;		/* ... to here */
	WalredoVerifyReport report;
	void	   *report_arg;

	int			num_changed;
	ChangedPage changed[MAX_CHANGED_PAGES];
	MemoryContext changed_context;	/* of their copies */

	int			num_doubts;
	Doubt	   *doubts;			/* MAX_DOUBTS of them */
} Verification;

static WalredoTag
block_tag(const Verification *v, BlockNumber blkno)
{
	WalredoTag	tag = v->filter.tag;

	tag.number = blkno;
	return tag;
}

static void
report(Verification *v, BlockNumber blkno, XLogRecPtr page_lsn,
	   WalredoVerifyStatus status, const char *detail)
{
	WalredoVerdict verdict = {v->relid, v->filter.tag.forknum, blkno, page_lsn,
	status, detail};

	v->report(&verdict, v->report_arg);
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
 * Which resource manager's mask goes with a relation's pages.
 */
static RmgrId
mask_of_relation(Relation rel)
{
	switch (rel->rd_rel->relam)
	{
		case HEAP_TABLE_AM_OID:
			return RM_HEAP_ID;
		case BTREE_AM_OID:
			return RM_BTREE_ID;
		case HASH_AM_OID:
			return RM_HASH_ID;
		case GIST_AM_OID:
			return RM_GIST_ID;
		case GIN_AM_OID:
			return RM_GIN_ID;
		case SPGIST_AM_OID:
			return RM_SPGIST_ID;
		case BRIN_AM_OID:
			return RM_BRIN_ID;
		default:
			/* Access methods of extensions use generic WAL. */
			return RM_GENERIC_ID;
	}
}

/* Something to do with a page that may be damaged. */
typedef struct PageWork
{
	Verification *v;
	BlockNumber blkno;
	char	   *page;
} PageWork;

/*
 * Does it in a subtransaction, as the server cleans up after an error at the
 * end of a transaction only.  If it fails in a way that may be the page's
 * fault, returns the error, else NULL.  A cancel, say, is not.
 */
static ErrorData *
try_on_page(void (*function) (PageWork *), PageWork *work)
{
	MemoryContext old_context = CurrentMemoryContext;
	ResourceOwner old_owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(old_context);
	PG_TRY();
	{
		function(work);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(old_context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();

		if (error->sqlerrcode != ERRCODE_DATA_CORRUPTED &&
			error->sqlerrcode != ERRCODE_INDEX_CORRUPTED &&
			error->sqlerrcode != ERRCODE_IO_ERROR)
			ReThrowError(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old_context);
	CurrentResourceOwner = old_owner;
	return error;
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

/*
 * Masks all pages in doubt, both images of each, together.  False if that
 * failed, and they are in no certain state.
 */
static bool
mask_doubts(Verification *v)
{
	WalredoStream *stream = walredo_mask_begin();
	int			njobs = 2 * v->num_doubts;
	WalredoMaskJob *jobs = palloc(njobs * sizeof(WalredoMaskJob));
	bool		done = true;

	for (int i = 0; i < njobs; i++)
	{
		Doubt	   *doubt = &v->doubts[i / 2];

		jobs[i].rmid = v->rmid;
		jobs[i].blkno = doubt->blkno;
		jobs[i].page = i % 2 == 0 ? doubt->masked_live.data :
			doubt->masked_rebuilt.data;
		walredo_mask_add(stream, &jobs[i]);
	}
	walredo_stream_end(stream);
	for (int i = 0; i < njobs; i++)
		done = done && jobs[i].done;
	pfree(jobs);
	return done;
}

static void
mask_page(PageWork *work)
{
	walredo_mask_page(work->v->rmid, work->blkno, work->page);
}

/*
 * Masks a page in doubt alone.  Masking follows what is in a page, so that it
 * may fail on a broken one, and the child with it.  If it fails on the live
 * page only, that one is to blame; then both are left as they are.
 */
static void
mask_doubt(Verification *v, Doubt *doubt)
{
	PageWork	work = {v, doubt->blkno, doubt->masked_live.data};
	ErrorData  *error = try_on_page(mask_page, &work);

	work.page = doubt->masked_rebuilt.data;
	mask_page(&work);
	if (error != NULL)
	{
		doubt->masked_live = doubt->live;
		doubt->masked_rebuilt = doubt->rebuilt;
	}
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

/*
 * Reports on all pages in doubt, of which there are none then.
 *
 * A page of the visibility map looks to the heap's mask as if it had nothing
 * in it, so that all of it would be masked.
 */
static void
settle_doubts(Verification *v)
{
	for (int i = 0; i < v->num_doubts; i++)
	{
		Doubt	   *doubt = &v->doubts[i];

		mask_page_lsn_and_checksum(doubt->live.data);
		mask_page_lsn_and_checksum(doubt->rebuilt.data);
		doubt->masked_live = doubt->live;
		doubt->masked_rebuilt = doubt->rebuilt;
	}
	if (v->num_doubts > 0 &&
		v->filter.tag.forknum != VISIBILITYMAP_FORKNUM &&
		!mask_doubts(v))
	{
		/* One of them may be broken. */
		for (int i = 0; i < v->num_doubts; i++)
		{
			v->doubts[i].masked_live = v->doubts[i].live;
			v->doubts[i].masked_rebuilt = v->doubts[i].rebuilt;
			mask_doubt(v, &v->doubts[i]);
		}
	}

	for (int i = 0; i < v->num_doubts; i++)
	{
		Doubt	   *doubt = &v->doubts[i];
		char	   *difference;

		if (memcmp(doubt->masked_live.data, doubt->masked_rebuilt.data,
				   BLCKSZ) == 0)
		{
			report(v, doubt->blkno, doubt->live_lsn, WALREDO_VERIFY_OK, NULL);
			continue;
		}
		difference = describe_difference(doubt->masked_live.data,
										 doubt->masked_rebuilt.data);
		report(v, doubt->blkno, doubt->live_lsn, WALREDO_VERIFY_MISMATCH,
			   doubt->live_lsn < doubt->rebuilt_lsn ?
			   psprintf("A write was lost: the page has LSN %X/%X, but the log has changed it up to %X/%X. Bytes that differ: %s.",
						LSN_FORMAT_ARGS(doubt->live_lsn),
						LSN_FORMAT_ARGS(doubt->rebuilt_lsn), difference) :
			   psprintf("The page has LSN %X/%X, and by the log it has %X/%X. Bytes that differ: %s.",
						LSN_FORMAT_ARGS(doubt->live_lsn),
						LSN_FORMAT_ARGS(doubt->rebuilt_lsn), difference));
	}
	v->num_doubts = 0;
}

static void
add_doubt(Verification *v, BlockNumber blkno, const char *live,
		  const char *rebuilt)
{
	Doubt	   *doubt = &v->doubts[v->num_doubts++];

	doubt->blkno = blkno;
	doubt->live_lsn = PageGetLSN((Page) live);
	doubt->rebuilt_lsn = PageGetLSN((Page) rebuilt);
	memcpy(doubt->live.data, live, BLCKSZ);
	memcpy(doubt->rebuilt.data, rebuilt, BLCKSZ);
	if (v->num_doubts == MAX_DOUBTS)
		settle_doubts(v);
}

static void
copy_live_page(PageWork *work)
{
	Buffer		buffer = ReadBufferExtended(work->v->rel,
											work->v->filter.tag.forknum,
											work->blkno, RBM_NORMAL,
											work->v->strategy);

	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	memcpy(work->page, BufferGetPage(buffer), BLCKSZ);
	UnlockReleaseBuffer(buffer);
}

/*
 * Copies a page out of the server's buffers.  On an error, such as a wrong
 * checksum, returns what the server says, else NULL.
 */
static char *
read_live_page(Verification *v, BlockNumber blkno, char *page)
{
	PageWork	work = {v, blkno, page};
	ErrorData  *error = try_on_page(copy_live_page, &work);

	if (error == NULL)
		return NULL;
	return psprintf("The server cannot read it: %s.", error->message);
}

/*
 * Compares a page of the server's with what the log makes of it, and reports,
 * at the latest with the next settle_doubts().
 */
static void
judge(Verification *v, BlockNumber blkno, const char *live,
	  const WalredoRebuiltPage *page)
{
	XLogRecPtr	live_lsn = PageGetLSN((Page) live);

	if (page->image == NULL)
	{
		const char *detail;

		if (page->truncated)
			detail = "The log says that it was cut off with the end of the relation.";
		else if (page->num_records == 0)
			detail = psprintf("The log, which begins at %X/%X, has no record of it.",
							  LSN_FORMAT_ARGS(v->log_start));
		else
			detail = psprintf("The log, which begins at %X/%X, has no image of it.",
							  LSN_FORMAT_ARGS(v->log_start));
		report(v, blkno, live_lsn,
			   page->truncated && !PageIsNew((Page) live) ?
			   WALREDO_VERIFY_MISMATCH : WALREDO_VERIFY_UNVERIFIABLE, detail);
		return;
	}

	if (is_equal(live, VARDATA(page->image)))
		report(v, blkno, live_lsn, WALREDO_VERIFY_OK, NULL);
	else
		add_doubt(v, blkno, live, VARDATA(page->image));
}

/*
 * Reads the log on for the pages that were changed after the rebuild, and
 * judges each as of its own LSN.
 */
static void
judge_changed(Verification *v)
{
	WalredoRebuild *rebuild;
	WalredoPageScan *scan;
	XLogRecPtr	last = InvalidXLogRecPtr;

	if (v->num_changed == 0)
		return;

	rebuild = walredo_rebuild_create();
	for (int i = 0; i < v->num_changed; i++)
	{
		ChangedPage *changed = &v->changed[i];
		WalredoTag	tag = block_tag(v, changed->blkno);
		WalredoRebuiltPage page;

		last = Max(last, PageGetLSN((Page) changed->live));
		walredo_rebuild_get(v->rebuild, &tag, &page);
		if (page.image != NULL)
		{
			walredo_rebuild_set_base(rebuild, &tag, page.image);
			pfree(page.image);
		}
	}

	scan = walredo_page_scan_begin(&v->filter, NULL, v->log_end, last);
	while (walredo_page_scan_next(scan))
	{
		for (int i = 0; i < scan->num_records; i++)
		{
			WalredoPageRecord *record = &scan->records[i];

			for (int j = 0; j < v->num_changed; j++)
			{
				ChangedPage *changed = &v->changed[j];

				if (changed->blkno == record->tag.number &&
					record->record->lsn <= PageGetLSN((Page) changed->live))
					walredo_rebuild_add(rebuild, &record->tag,
										record->record);
			}
		}
	}
	walredo_page_scan_end(scan);

	for (int i = 0; i < v->num_changed; i++)
	{
		ChangedPage *changed = &v->changed[i];
		WalredoTag	tag = block_tag(v, changed->blkno);
		WalredoRebuiltPage page;

		walredo_rebuild_get(rebuild, &tag, &page);
		judge(v, changed->blkno, changed->live, &page);
	}

	walredo_rebuild_free(rebuild);
	MemoryContextReset(v->changed_context);
	v->num_changed = 0;
}

/*
 * Looks again at a page of the visibility map that differs.  Returns true if
 * it has come to be equal.  live is the page as read last.
 */
static bool
map_page_settles(Verification *v, const WalredoTag *tag, char *live,
				 WalredoRebuiltPage *page)
{
	bytea	   *base = page->image; /* as of log_end */

	for (int i = 0; i < MAP_PAGE_TRIES; i++)
	{
		WalredoRebuild *rebuild = walredo_rebuild_create();
		WalredoPageFilter filter = {.tag = *tag};
		WalredoPageScan *scan;
		char	   *error;

		/* Whoever changes the page is about to log it, or has just done so. */
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 MAP_PAGE_DELAY_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();

		error = read_live_page(v, (BlockNumber) tag->number, live);
		if (error != NULL)
			return false;

		walredo_rebuild_set_base(rebuild, tag, base);
		scan = walredo_page_scan_begin(&filter, NULL, v->log_end,
									   WALREDO_END_OF_LOG);
		while (walredo_page_scan_next(scan))
			walredo_page_scan_feed(scan, rebuild);
		walredo_page_scan_end(scan);
		walredo_rebuild_get(rebuild, tag, page);
		walredo_rebuild_free(rebuild);

		/* It may have been cut off meanwhile. */
		if (page->image == NULL || is_equal(live, VARDATA(page->image)))
			return true;
	}
	return false;
}

static void
verify_block(Verification *v, BlockNumber blkno)
{
	PGAlignedBlock live;
	WalredoTag	tag = block_tag(v, blkno);
	WalredoRebuiltPage page;
	XLogRecPtr	live_lsn;
	char	   *error;

	error = read_live_page(v, blkno, live.data);
	if (error != NULL)
	{
		report(v, blkno, InvalidXLogRecPtr, WALREDO_VERIFY_MISMATCH, error);
		return;
	}
	live_lsn = PageGetLSN((Page) live.data);

	if (live_lsn > v->log_end &&
		v->filter.tag.forknum != VISIBILITYMAP_FORKNUM)
	{
		XLogRecPtr	now = current_lsn();

		if (live_lsn > now)
		{
			report(v, blkno, live_lsn, WALREDO_VERIFY_MISMATCH,
				   psprintf("The page has LSN %X/%X, which is past the end of the log at %X/%X.",
							LSN_FORMAT_ARGS(live_lsn), LSN_FORMAT_ARGS(now)));
			return;
		}
		v->changed[v->num_changed].blkno = blkno;
		v->changed[v->num_changed].live =
			MemoryContextAlloc(v->changed_context, BLCKSZ);
		memcpy(v->changed[v->num_changed].live, live.data, BLCKSZ);
		if (++v->num_changed == MAX_CHANGED_PAGES)
			judge_changed(v);
		return;
	}

	walredo_rebuild_get(v->rebuild, &tag, &page);
	if (v->filter.tag.forknum == VISIBILITYMAP_FORKNUM &&
		page.image != NULL &&
		!is_equal(live.data, VARDATA(page.image)) &&
		map_page_settles(v, &tag, live.data, &page))
	{
		report(v, blkno, live_lsn, WALREDO_VERIFY_OK, NULL);
		return;
	}
	judge(v, blkno, live.data, &page);
}

/*
 * Looks at a page that has been rebuilt, and reports if it is equal, or is not
 * there.  False if it takes a mask or another look.
 */
static bool
settle_page(Verification *v, BlockNumber blkno, const char *rebuilt)
{
	PGAlignedBlock live;
	XLogRecPtr	live_lsn;

	if (blkno >= v->nblocks)
	{
		report(v, blkno, InvalidXLogRecPtr, WALREDO_VERIFY_MISMATCH,
			   psprintf("A write was lost: the fork has %u blocks only.",
						v->nblocks));
		return true;
	}
	if (read_live_page(v, blkno, live.data) != NULL)
		return false;
	live_lsn = PageGetLSN((Page) live.data);
	if (live_lsn > v->log_end || !is_equal(live.data, rebuilt))
		return false;

	report(v, blkno, live_lsn, WALREDO_VERIFY_OK, NULL);
	v->settled[blkno / 8] |= 1 << (blkno % 8);
	pgstat_progress_update_param(WALREDO_PROGRESS_BLOCKS_DONE,
								 ++v->num_reported);
	return true;
}

/*
 * Settles what it can of the pages that have been rebuilt, whose images are
 * not needed any more.
 */
static void
settle_pages(Verification *v)
{
	MemoryContext old_context = MemoryContextSwitchTo(v->block_context);
	const bytea *image;
	WalredoTag	tag;

	walredo_rebuild_begin_fork(v->rebuild, &v->filter.tag);
	while ((image = walredo_rebuild_next(v->rebuild, &tag)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (settle_page(v, (BlockNumber) tag.number, VARDATA(image)))
			walredo_rebuild_forget(v->rebuild);
		MemoryContextReset(v->block_context);
	}
	MemoryContextSwitchTo(old_context);
}

/*
 * All blocks of a fork that there is no point in looking at.
 */
static void
report_all(Verification *v, BlockNumber nblocks, WalredoVerifyStatus status,
		   const char *detail)
{
	for (BlockNumber blkno = 0; blkno < nblocks; blkno++)
	{
		CHECK_FOR_INTERRUPTS();
		report(v, blkno, InvalidXLogRecPtr, status, detail);
	}
}

/*
 * Looks at a fork before the log is read.  False if there is nothing to be
 * read about it, and what there is to say has been reported.
 */
static bool
begin_fork(Verification *v)
{
	BlockNumber nblocks;
	ForkNumber	forknum = v->filter.tag.forknum;
	RelFileLocator locator = RelationGetLocator(v->rel);

	if (!smgrexists(RelationGetSmgr(v->rel), forknum))
		return false;
	nblocks = RelationGetNumberOfBlocksInFork(v->rel, forknum);

	if (forknum == FSM_FORKNUM)
	{
		report_all(v, nblocks, WALREDO_VERIFY_UNLOGGED,
				   "The free space map is not logged.");
		return false;
	}
	if (v->rel->rd_rel->relpersistence != RELPERSISTENCE_PERMANENT &&
		forknum != INIT_FORKNUM)
	{
		report_all(v, nblocks, WALREDO_VERIFY_UNLOGGED,
				   "The relation is not logged.");
		return false;
	}
	if (v->rel->rd_rel->relkind == RELKIND_SEQUENCE)
	{
		report_all(v, nblocks, WALREDO_VERIFY_UNVERIFIABLE,
				   "A sequence is logged ahead of its use, so that its page is never equal.");
		return false;
	}

	v->filter.tag = walredo_tag_of_block(&locator, forknum, 0);
	v->filter.whole_fork = true;
	v->rmid = mask_of_relation(v->rel);
	v->nblocks = nblocks;
	return true;
}

/* Tells what is being done; the relation is none while the log is read. */
static void
show_progress(Verification *v, WalredoVerifyPhase phase, Oid relid)
{
	pgstat_progress_start_command(WALREDO_PROGRESS_COMMAND, relid);
	pgstat_progress_update_param(WALREDO_PROGRESS_PHASE, phase);
	pgstat_progress_update_param(WALREDO_PROGRESS_FORK,
								 v->filter.tag.forknum);
	pgstat_progress_update_param(WALREDO_PROGRESS_BLOCKS_TOTAL, v->nblocks);
	pgstat_progress_update_param(WALREDO_PROGRESS_LOG_START, v->log_start);
	pgstat_progress_update_param(WALREDO_PROGRESS_LOG_END, v->log_end);
	pgstat_progress_update_param(WALREDO_PROGRESS_LOG_POSITION,
								 phase == WALREDO_PHASE_READING ?
								 v->log_start : v->log_end);
}

/*
 * Compares a fork of an open relation with the rebuild.
 */
static void
compare_fork(Verification *v)
{
	MemoryContext fork_context = AllocSetContextCreate(CurrentMemoryContext,
													   "walredo fork",
													   ALLOCSET_DEFAULT_SIZES);
	MemoryContext old_context = MemoryContextSwitchTo(fork_context);

	/* What the log has made up to its end, the relation must have. */
	v->nblocks = RelationGetNumberOfBlocksInFork(v->rel,
												 v->filter.tag.forknum);
	v->num_reported = 0;
	show_progress(v, WALREDO_PHASE_COMPARING, v->relid);

	v->settled = MemoryContextAllocExtended(fork_context, v->nblocks / 8 + 1,
											MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	v->strategy = GetAccessStrategy(BAS_BULKREAD);
	v->changed_context = AllocSetContextCreate(fork_context,
											   "walredo changed pages",
											   ALLOCSET_DEFAULT_SIZES);
	v->num_changed = 0;
	v->num_doubts = 0;
	v->doubts = palloc(MAX_DOUBTS * sizeof(Doubt));
	v->block_context = AllocSetContextCreate(fork_context, "walredo block",
											 ALLOCSET_DEFAULT_SIZES);

	settle_pages(v);
	for (BlockNumber blkno = 0; blkno < v->nblocks; blkno++)
	{
		if (v->settled[blkno / 8] & (1 << (blkno % 8)))
			continue;
		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(v->block_context);
		verify_block(v, blkno);
		MemoryContextReset(v->block_context);
		pgstat_progress_update_param(WALREDO_PROGRESS_BLOCKS_DONE,
									 ++v->num_reported);
	}
	MemoryContextSwitchTo(fork_context);
	judge_changed(v);
	settle_doubts(v);

	FreeAccessStrategy(v->strategy);
	MemoryContextSwitchTo(old_context);
	MemoryContextDelete(fork_context);
}

void
walredo_verify_forks(const WalredoVerifyFork *forks, int nforks,
					 WalredoVerifyReport report_function, void *arg)
{
	Verification *v = palloc0(sizeof(Verification));
	WalredoTag *tags = palloc(Max(nforks, 1) * sizeof(WalredoTag));
	Oid		   *relids = palloc(Max(nforks, 1) * sizeof(Oid));
	RmgrId	   *rmids = palloc(Max(nforks, 1) * sizeof(RmgrId));
	WalredoForkScan *scan;
	BlockNumber nblocks = 0;
	int			nlogged = 0;

	v->report = report_function;
	v->report_arg = arg;
	for (int i = 0; i < nforks; i++)
	{
		v->relid = forks[i].relid;
		v->filter.tag.forknum = forks[i].forknum;

		/* It may be dropped at any time. */
		v->rel = try_relation_open(v->relid, AccessShareLock);
		if (v->rel == NULL)
			continue;
		if (begin_fork(v))
		{
			tags[nlogged] = v->filter.tag;
			relids[nlogged] = v->relid;
			rmids[nlogged] = v->rmid;
			nblocks = v->nblocks > MaxBlockNumber - nblocks ?
				MaxBlockNumber : nblocks + v->nblocks;
			nlogged++;

			/* The lock stays. */
			relation_close(v->rel, NoLock);
		}
		else
			relation_close(v->rel, AccessShareLock);
	}
	if (nlogged == 0)
		return;

	v->rebuild = walredo_rebuild_create();
	scan = walredo_fork_scan_begin(tags, nlogged, WALREDO_END_OF_LOG);
	v->log_start = walredo_fork_scan_first_lsn(scan);
	v->log_end = walredo_fork_scan_last_lsn(scan);
	v->nblocks = nblocks;
	v->filter.tag = tags[0];
	show_progress(v, WALREDO_PHASE_READING,
				  nlogged == 1 ? relids[0] : InvalidOid);
	while (walredo_fork_scan_next(scan, v->rebuild))
	{
		CHECK_FOR_INTERRUPTS();
		pgstat_progress_update_param(WALREDO_PROGRESS_LOG_POSITION,
									 walredo_fork_scan_position(scan));
	}
	walredo_fork_scan_end(scan);

	for (int i = 0; i < nlogged; i++)
	{
		v->relid = relids[i];
		v->rmid = rmids[i];
		v->filter.tag = tags[i];
		v->filter.whole_fork = true;
		v->rel = relation_open(v->relid, NoLock);
		compare_fork(v);
		relation_close(v->rel, AccessShareLock);
	}
	pgstat_progress_end_command();

	walredo_rebuild_free(v->rebuild);
	pfree(rmids);
	pfree(relids);
	pfree(tags);
	pfree(v);
}

/*-------------------------------------------------------------------------
 *
 * repair.c
 *	  Repairing pages of relations on a server that is running.
 *
 * Each block is judged, with no lock held while WAL is read and pages are
 * rebuilt (judge.c).  If it is damaged, what is there and what takes its place
 * is kept in a file (kept.c), and then it is replaced, under a cleanup lock, if
 * it still is what was judged (install.c).  If it is not, all of that is done
 * again.
 *
 * If all blocks of a fork are asked for, walredo_verify_forks() first finds out
 * which are damaged, reading WAL once for all of them.  Only these are judged.
 *
 * Where blocks are missing, they are added one after the other, each with the
 * page that it should have, and these pages are logged.  Meanwhile the relation
 * is locked against changes: a session that has a row to insert would make the
 * first block that is missing one with nothing but that row.  Nobody sees a
 * block that is empty only because it was added, not even if the server dies,
 * except where it is not known what it should be.  One file is kept for all
 * that were added, as there was nothing before.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/repair/repair.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xlog.h"
#include "catalog/pg_class.h"
#include "common/relpath.h"
#include "compat.h"
#include "miscadmin.h"
#include "page/attempt.h"
#include "page/diff.h"
#include "page/verify.h"
#include "progress/progress.h"
#include "repair/install.h"
#include "repair/judge.h"
#include "repair/kept.h"
#include "repair/logged.h"
#include "repair/repair.h"
#include "repair/undo.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/smgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "wal/reader.h"

/* How often a block is judged again because it has changed meanwhile. */
#define MAX_ATTEMPTS		10

/* If more blocks than this are damaged, all are rebuilt together. */
#define MAX_SINGLE_BLOCKS	16

/* A repair that is going on. */
typedef struct Repair
{
	WalredoRepairFork fork;
	WalredoReportRepair report;
	void	   *arg;

	/* If all blocks are asked for, those with a broken link, ascending. */
	BlockNumber *broken;
	uint64		num_broken;
	MemoryContext block_context;	/* reset after each block */

	bool		is_locked;		/* are others kept from changes? */

	/* Blocks from this one on were missing, and have been added. */
	BlockNumber first_added;
	int64		added_id;		/* the repair that is kept for them, or 0 */
	XLogRecPtr	added_lsn;		/* the last image that was logged for them */
	bool		is_index;
} Repair;

/* The blocks that a verification has found to be damaged. */
typedef struct DamagedBlocks
{
	WalredoBlockList list;
	uint64		num_final;		/* those that are certain */
	uint64		num_unverifiable;
	uint64		num_unverifiable_final;
	char	   *unverifiable_detail;	/* of the first of these */
	char	   *fork_detail;	/* a mismatch of the fork as a whole */
} DamagedBlocks;

static void
report(Repair *repair, const WalredoRepairResult *result)
{
	repair->report(result, repair->arg);
}

/* ----------------------------------------
 * What is refused
 * ----------------------------------------
 */

/*
 * Why the fork of a relation cannot be repaired, and what can be done instead,
 * or NULL.
 */
static const char *
refusal(Relation rel, ForkNumber forknum)
{
	switch (rel->rd_rel->relpersistence)
	{
		case RELPERSISTENCE_TEMP:
			return "Temporary tables are not logged. They are gone when their session ends.";
		case RELPERSISTENCE_UNLOGGED:
			if (forknum != INIT_FORKNUM)
				return "Unlogged relations are not logged. TRUNCATE makes the relation anew, and so does a crash of the server; REINDEX makes an index anew.";
			break;
		default:
			break;
	}
	if (forknum == FSM_FORKNUM)
		return "The free space map is not logged. The server does without what is broken in it, and VACUUM makes it anew.";
	if (rel->rd_rel->relkind == RELKIND_SEQUENCE)
		return "A sequence is logged ahead of its use, so that what WAL has is not what it was. Use setval() on it, or create it anew.";
	if (rel->rd_rel->relkind == RELKIND_INDEX && !rel->rd_index->indisready)
		return "The index is being built concurrently, or this has failed. DROP INDEX or REINDEX is what helps.";
	if (!RelationNeedsWAL(rel) && forknum != INIT_FORKNUM)
		return "The relation has a new file, which is not logged before the transaction is committed.";
	return NULL;
}

/* ----------------------------------------
 * One block
 * ----------------------------------------
 */

/* The number of bytes in which a page differs from its image. */
static int
count_differences(const WalredoJudgement *judgement)
{
	Size		size = judgement->found.condition == WALREDO_BLOCK_IS_READABLE ?
		BLCKSZ : judgement->found.file_size;
	Size		start;
	Size		end = 0;
	int			count = BLCKSZ - size;

	while (walredo_next_difference(judgement->found.page.data,
								   judgement->image.data, size, &start,
								   &end))
		count += end - start;
	return count;
}

/*
 * Is this a block that was added, and is still empty?
 */
static bool
is_added(const Repair *repair, BlockNumber blkno,
		 const WalredoFoundBlock *found)
{
	return blkno >= repair->first_added &&
		found->condition == WALREDO_BLOCK_IS_READABLE &&
		walredo_is_unlogged_page(repair->fork.verified.tag.forknum,
								 found->page.data);
}

/*
 * Replaces a block that was judged damaged; or one whose page in shared buffers
 * is sound, but not in the file, by that same page.  replaced is what is to be
 * kept, or NULL if there is nothing.
 */
static WalredoInstallOutcome
replace_block(Repair *repair, BlockNumber blkno,
			  const WalredoJudgement *judgement,
			  const WalredoFoundBlock *replaced)
{
	const WalredoRepairFork *fork = &repair->fork;
	ForkNumber	forknum = fork->verified.tag.forknum;
	volatile WalredoInstallOutcome outcome = WALREDO_INSTALL_CHANGED;
	PGAlignedBlock image = judgement->image;
	XLogRecPtr	image_lsn;
	Relation	rel;
	int64		id = 0;

	/*
	 * If changes of the page are undone, let it have the LSN of the newest
	 * one, so that the image that is logged continues what WAL has.
	 */
	if (fork->request->lsn != InvalidXLogRecPtr &&
		!PageIsNew((Page) image.data))
		PageSetLSN((Page) image.data,
				   judgement->found.condition == WALREDO_BLOCK_IS_READABLE &&
				   judgement->page_lsn <= GetXLogInsertRecPtr() ?
				   Max(judgement->newest_lsn, judgement->page_lsn) :
				   judgement->newest_lsn);
	if (replaced != NULL)
		id = walredo_keep_page(fork, blkno, judgement->source,
							   judgement->page_lsn, judgement->rebuilt_lsn,
							   replaced, image.data, 0);
	PG_TRY();
	{
		rel = walredo_repair_open(fork, RowExclusiveLock);
		if (rel != NULL)
		{
			if (!walredo_judgement_is_old(fork, blkno, judgement))
				outcome = walredo_install_page(rel, forknum, blkno,
											   &judgement->found,
											   image.data,
											   &image_lsn);
			if (outcome == WALREDO_INSTALLED && id != 0)
			{
				XLogFlush(image_lsn);
				walredo_kept_finish(id, image_lsn);
				walredo_write_page(rel, forknum, blkno, image_lsn);
			}
			relation_close(rel, RowExclusiveLock);
		}
	}
	PG_CATCH();
	{
		/* An error before the page is installed has overwritten nothing. */
		if (id != 0 && outcome != WALREDO_INSTALLED)
			walredo_kept_forget(id);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (id != 0 && outcome != WALREDO_INSTALLED)
		walredo_kept_forget(id);
	if (id == 0 && outcome == WALREDO_INSTALLED)
		repair->added_lsn = image_lsn;
	return outcome;
}

/*
 * Keeps others from changing the relation until the repair has ended, and lets
 * them close files that were removed.
 */
static void
lock_against_changes(Repair *repair)
{
	walredo_repair_lock(repair->fork.verified.relid, ExclusiveLock);
	repair->is_locked = true;
	walredo_wait_for_all();
}

/* Adds a block that was judged to be missing, while others are locked out. */
static void
add_block(Repair *repair, BlockNumber blkno,
		  const WalredoJudgement *judgement)
{
	const WalredoRepairFork *fork = &repair->fork;
	Relation	rel = walredo_repair_open(fork, RowExclusiveLock);

	if (rel == NULL)
		return;
	if (repair->added_id == 0)
	{
		WalredoFoundBlock *rest = palloc(sizeof(WalredoFoundBlock));

		/* The file may end within a block. */
		repair->first_added = judgement->found.nblocks;
		walredo_look_at_file(rel, fork->verified.tag.forknum,
							 repair->first_added, rest);
		repair->added_id =
			walredo_keep_page(fork, repair->first_added,
							  "blocks that were missing were added",
							  InvalidXLogRecPtr, InvalidXLogRecPtr,
							  rest->file_size > 0 ? rest : NULL, NULL, 0);
		pfree(rest);
	}
	walredo_add_block(rel, fork->verified.tag.forknum, blkno,
					  judgement->image.data);
	relation_close(rel, RowExclusiveLock);
}

/* What to say of a page that can be, or was, replaced; palloc'd. */
static const char *
describe_replacement(Repair *repair, const WalredoJudgement *judgement,
					 bool was_added)
{
	StringInfoData buf;

	initStringInfo(&buf);
	if (judgement->detail != NULL)
		appendStringInfoString(&buf, judgement->detail);
	if (was_added)
		appendStringInfoString(&buf, "The block was missing.");
	else if (judgement->finding == WALREDO_FOUND_SOUND)
	{
		if (judgement->detail == NULL)
			appendStringInfoString(&buf, "The block was missing in the file, but it was in shared buffers.");
	}
	else if (judgement->found.condition != WALREDO_BLOCK_IS_MISSING)
		appendStringInfo(&buf, "%s%d bytes of the page %s.",
						 buf.len > 0 ? " " : "",
						 count_differences(judgement),
						 repair->fork.request->dry_run ?
						 "would change" : "were changed");
	if (repair->is_index)
		appendStringInfoString(&buf, " REINDEX makes the index anew, too.");
	return buf.data;
}

/* Damage in the file of a page that is sound in shared buffers. */
typedef struct FileDamage
{
	MemoryContext context;		/* of the detail */
	char	   *detail;			/* NULL if there is none */
} FileDamage;

/* A WalredoVerifySink's report, and its end_fork. */
static void
note_file_damage(const WalredoVerifyResult *result, void *arg)
{
	FileDamage *damage = arg;

	if (result->status == WALREDO_VERIFY_MISMATCH &&
		result->damage == WALREDO_DAMAGE_DISK)
		damage->detail = MemoryContextStrdup(damage->context, result->detail);
}

static void
end_file_damage(bool keep_results, void *arg)
{
	FileDamage *damage = arg;

	if (!keep_results)
		damage->detail = NULL;
}

/*
 * Is a page that is sound in shared buffers another one in its file, though it
 * is clean, so that it is not going to be written?  If so, in_file is set to
 * what is in the file, and the judgement to that the page in shared buffers
 * takes its place.
 */
static bool
differs_in_file(Repair *repair, BlockNumber blkno,
				WalredoJudgement *judgement, WalredoFoundBlock *in_file)
{
	const WalredoRepairRequest *request = repair->fork.request;
	WalredoVerifyFork fork = {
		.relid = request->relid,
		.forknum = request->forknum,
		.blkno = blkno
	};
	WalredoVerifyOptions options = {
		.directory = request->directory,
		.from_disk = true
	};
	FileDamage	damage = {CurrentMemoryContext, NULL};
	WalredoVerifySink sink = {note_file_damage, end_file_damage, &damage};
	Relation	rel;

	if (judgement->found.condition != WALREDO_BLOCK_IS_READABLE ||
		request->lsn != InvalidXLogRecPtr)
		return false;
	walredo_verify_forks(&fork, 1, &options, &sink);
	if (damage.detail == NULL)
		return false;
	rel = walredo_repair_open(&repair->fork, AccessShareLock);
	if (rel == NULL)
		return false;
	walredo_look_at_file(rel, request->forknum, blkno, in_file);
	relation_close(rel, AccessShareLock);
	judgement->detail = damage.detail;
	judgement->source = "shared buffers";
	judgement->rebuilt_lsn = judgement->page_lsn;
	judgement->image = judgement->found.page;
	judgement->page_lsn = in_file->file_size < sizeof(PageHeaderData) ?
		InvalidXLogRecPtr : PageGetLSN((Page) in_file->page.data);
	return true;
}

static bool
has_broken_link(const Repair *repair, BlockNumber blkno)
{
	return repair->num_broken > 0 &&
		bsearch(&blkno, repair->broken, repair->num_broken,
				sizeof(BlockNumber), walredo_compare_blocks) != NULL;
}

/*
 * Judges a block, and repairs it if that is asked for.  Reports it, unless it
 * is sound and report_sound is not set.
 */
static void
repair_block(Repair *repair, BlockNumber blkno, bool report_sound)
{
	const WalredoRepairRequest *request = repair->fork.request;
	WalredoJudgement *judgement = palloc0(sizeof(WalredoJudgement));
	WalredoRepairResult result = {.blkno = blkno};
	WalredoInstallOutcome outcome = WALREDO_INSTALL_CHANGED;
	bool		look_at_links = request->lsn == InvalidXLogRecPtr &&
		request->base.image == NULL && !RecoveryInProgress() &&
		(report_sound || has_broken_link(repair, blkno));
	XLogRecPtr	last_lsn;
	bool		was_added = false;
	WalredoFoundBlock *in_file = palloc(sizeof(WalredoFoundBlock));

	for (int attempt = 0; attempt < MAX_ATTEMPTS; attempt++)
	{
		const WalredoFoundBlock *replaced = NULL;

		CHECK_FOR_INTERRUPTS();
		if (!walredo_judge_block(&repair->fork, blkno, judgement))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("relation with OID %u was dropped, or has got another file, while it was repaired",
							repair->fork.verified.relid)));
		result.page_lsn = judgement->page_lsn;
		result.rebuilt_lsn = judgement->rebuilt_lsn;
		result.source = judgement->source;
		result.detail = judgement->detail;
		if (look_at_links && attempt == 0 &&
			(judgement->finding == WALREDO_FOUND_SOUND ||
			 judgement->finding == WALREDO_FOUND_DAMAGED))
		{
			const char *logged = walredo_logged_damage(&repair->fork, blkno,
													   &last_lsn);

			if (logged != NULL)
			{
				result.status = WALREDO_REPAIR_REFUSED;
				result.rebuilt_lsn = last_lsn;
				result.detail = logged;
				report(repair, &result);
				return;
			}
		}
		switch (judgement->finding)
		{
			case WALREDO_FOUND_NO_BLOCK:
				if (!report_sound)
					return;
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("block number %u is out of range", blkno),
						 errdetail_internal("%s", judgement->detail)));
				break;
			case WALREDO_FOUND_UNKNOWN:

				/*
				 * What is in a clean buffer was in the file before, and the
				 * server would not accept what is there now.
				 */
				if (differs_in_file(repair, blkno, judgement, in_file) &&
					(in_file->file_size < BLCKSZ ||
					 !walredo_page_is_verified(in_file->page.data, blkno)))
				{
					judgement->finding = WALREDO_FOUND_SOUND;
					result.page_lsn = judgement->page_lsn;
					result.rebuilt_lsn = judgement->rebuilt_lsn;
					result.source = judgement->source;
					replaced = in_file;
					break;
				}
				result.status = WALREDO_REPAIR_UNVERIFIABLE;
				result.detail = judgement->detail;
				report(repair, &result);
				return;
			case WALREDO_FOUND_SOUND:

				/* A page that is only in a buffer has to get into its file. */
				if (blkno >= repair->first_added &&
					!is_added(repair, blkno, &judgement->found))
				{
					memcpy(judgement->image.data, judgement->found.page.data,
						   BLCKSZ);
					break;
				}
				if (differs_in_file(repair, blkno, judgement, in_file))
				{
					result.page_lsn = judgement->page_lsn;
					result.rebuilt_lsn = judgement->rebuilt_lsn;
					result.source = judgement->source;
					replaced = in_file;
					break;
				}
				result.status = WALREDO_REPAIR_OK;
				if (report_sound)
					report(repair, &result);
				return;
			case WALREDO_FOUND_DAMAGED:
				if (!is_added(repair, blkno, &judgement->found))
					replaced = &judgement->found;
				break;
		}

		if (RecoveryInProgress())
		{
			result.status = WALREDO_REPAIR_REFUSED;
			result.detail = psprintf("%s Recovery is in progress. Repair the page on the primary, which logs it, or make this standby anew.",
									 judgement->detail ? judgement->detail : "");
			report(repair, &result);
			return;
		}
		if (judgement->found.condition == WALREDO_BLOCK_IS_MISSING &&
			judgement->found.nblocks < blkno &&
			BlockNumberIsValid(request->blkno))
		{
			result.status = WALREDO_REPAIR_REFUSED;
			result.detail = "The block is missing, and so are blocks before it. Repair all blocks of the fork.";
			report(repair, &result);
			return;
		}
		result.detail = describe_replacement(repair, judgement, was_added);
		if (request->dry_run)
		{
			result.status = WALREDO_REPAIR_REPAIRABLE;
			report(repair, &result);
			return;
		}

		/*
		 * To clear a bit of the visibility map that is clear already changes
		 * nothing in its page.  So it is not known whether a bit that should
		 * be set still should, unless the table is not changed meanwhile.
		 */
		if (request->forknum == VISIBILITYMAP_FORKNUM && !repair->is_locked)
		{
			lock_against_changes(repair);
			continue;
		}
		if (judgement->found.condition == WALREDO_BLOCK_IS_MISSING)
		{
			/* What was found without the lock may have changed since. */
			if (repair->is_locked)
			{
				add_block(repair, blkno, judgement);
				was_added = true;
			}
			else
				lock_against_changes(repair);
			continue;
		}
		outcome = replace_block(repair, blkno, judgement, replaced);
		if (outcome == WALREDO_INSTALLED)
		{
			result.status = WALREDO_REPAIR_REPAIRED;
			report(repair, &result);
			return;
		}
		if (outcome == WALREDO_INSTALL_PINNED)
			break;
	}
	result.status = WALREDO_REPAIR_REFUSED;
	result.detail = outcome == WALREDO_INSTALL_PINNED ?
		"Another session uses the page all the time, as one with an open cursor does. Try again when it does not." :
		"The page was changed again and again while it was repaired. Try again later.";
	report(repair, &result);
}

/* ----------------------------------------
 * All blocks
 * ----------------------------------------
 */

/* A WalredoVerifySink's report. */
static void
note_result(const WalredoVerifyResult *result, void *arg)
{
	DamagedBlocks *damaged = arg;

	switch (result->status)
	{
		case WALREDO_VERIFY_OK:
		case WALREDO_VERIFY_UNLOGGED:
			return;
		case WALREDO_VERIFY_UNVERIFIABLE:
			damaged->num_unverifiable++;
			if (damaged->unverifiable_detail == NULL &&
				result->detail != NULL)
				damaged->unverifiable_detail =
					MemoryContextStrdup(damaged->list.context, result->detail);
			return;
		case WALREDO_VERIFY_MISMATCH:
			break;
	}
	if (!BlockNumberIsValid(result->blkno))
	{
		damaged->fork_detail = MemoryContextStrdup(damaged->list.context,
												   result->detail);
		return;
	}
	walredo_append_block(&damaged->list, result->blkno);
}

/* A WalredoVerifySink's end_fork. */
static void
end_results(bool keep_results, void *arg)
{
	DamagedBlocks *damaged = arg;

	if (keep_results)
	{
		damaged->num_final = damaged->list.count;
		damaged->num_unverifiable_final = damaged->num_unverifiable;
	}
	else
	{
		damaged->list.count = damaged->num_final;
		damaged->num_unverifiable = damaged->num_unverifiable_final;
	}
}

/*
 * Looks for a page in shared buffers at a block that was added, but of which
 * WAL does not know what it should be.  If it is there, it is written to the
 * file, because the empty page that is in it is certainly not the right one.
 */
static void
rescue_block(Repair *repair, BlockNumber blkno)
{
	WalredoJudgement *judgement = palloc0(sizeof(WalredoJudgement));
	ForkNumber	forknum = repair->fork.verified.tag.forknum;
	Relation	rel;
	WalredoRepairResult result = {.blkno = blkno};

	CHECK_FOR_INTERRUPTS();
	rel = walredo_repair_open(&repair->fork, AccessShareLock);
	if (rel == NULL)
		return;
	walredo_look_at_block(rel, forknum, blkno, &judgement->found);
	relation_close(rel, AccessShareLock);
	if (judgement->found.condition != WALREDO_BLOCK_IS_READABLE ||
		walredo_is_unlogged_page(forknum, judgement->found.page.data))
		return;
	judgement->finding = WALREDO_FOUND_SOUND;
	judgement->image = judgement->found.page;
	if (replace_block(repair, blkno, judgement, NULL) != WALREDO_INSTALLED)
		return;
	result.status = WALREDO_REPAIR_REPAIRED;
	result.page_lsn = PageGetLSN((Page) judgement->image.data);
	result.rebuilt_lsn = result.page_lsn;
	result.source = "shared buffers";
	result.detail = describe_replacement(repair, judgement, false);
	report(repair, &result);
}

/* Is this block, which is damaged, not in the file at all? */
static bool
is_missing(Repair *repair, BlockNumber blkno)
{
	Relation	rel = walredo_repair_open(&repair->fork, AccessShareLock);
	WalredoFoundBlock *found = palloc(sizeof(WalredoFoundBlock));
	bool		result;

	if (rel == NULL)
		return false;
	walredo_look_at_block(rel, repair->fork.verified.tag.forknum, blkno,
						  found);
	result = (found->condition == WALREDO_BLOCK_IS_MISSING);
	pfree(found);
	relation_close(rel, AccessShareLock);
	return result;
}

static void
repair_block_quietly(Repair *repair, BlockNumber blkno)
{
	repair_block(repair, blkno, false);
}

/* Does something about a block, and frees the memory that it has taken. */
static void
repair_in_context(Repair *repair, BlockNumber blkno,
				  void (*function) (Repair *repair, BlockNumber blkno))
{
	MemoryContext old_context;

	old_context = MemoryContextSwitchTo(repair->block_context);
	function(repair, blkno);
	MemoryContextSwitchTo(old_context);
	MemoryContextReset(repair->block_context);
}

/*
 * Adds blocks of which WAL itself has the damage to a list, which becomes
 * sorted.
 */
static void
find_broken_links(Repair *repair, WalredoBlockList *list)
{
	WalredoBlockList broken = {.context = list->context};

	walredo_find_logged_damage(&repair->fork, &broken);
	walredo_sort_blocks(&broken);
	repair->broken = broken.blocks;
	repair->num_broken = broken.count;
	for (uint64 i = 0; i < broken.count; i++)
		walredo_append_block(list, broken.blocks[i]);
	walredo_sort_blocks(list);
}

/* Shows a phase that has so many blocks, of which some are done. */
static void
show_phase(const Repair *repair, WalredoPhase phase, uint64 done, uint64 total)
{
	const WalredoRepairRequest *request = repair->fork.request;

	walredo_progress_begin_phase(phase, request->relid, request->forknum,
								 total);
	walredo_progress_set_blocks(done, total);
}

/* Repairs all damaged blocks of the fork. */
static void
repair_all(Repair *repair)
{
	const WalredoRepairRequest *request = repair->fork.request;
	WalredoVerifyFork fork = {
		.relid = request->relid,
		.forknum = request->forknum,
		.blkno = InvalidBlockNumber
	};
	WalredoVerifyOptions options = {
		.directory = request->directory,
		.from_disk = true
	};
	DamagedBlocks damaged = {.list.context = CurrentMemoryContext};
	WalredoBlockList *list = &damaged.list;
	WalredoVerifySink sink = {note_result, end_results, &damaged};
	BlockNumber next = 0;

	walredo_verify_forks(&fork, 1, &options, &sink);
	find_broken_links(repair, list);

	/* Those that are rebuilt together have to be rebuilt under the lock. */
	if (list->count > MAX_SINGLE_BLOCKS && !request->dry_run &&
		!RecoveryInProgress() &&
		is_missing(repair, list->blocks[list->count - 1]))
		lock_against_changes(repair);

	/* Pages of the visibility map have to be rebuilt at the last moment. */
	if (list->count > MAX_SINGLE_BLOCKS &&
		request->forknum != VISIBILITYMAP_FORKNUM)
	{
		show_phase(repair, WALREDO_PHASE_READING_WAL, 0, list->count);
		walredo_rebuild_fork(&repair->fork);
	}
	for (uint64 i = 0; i < list->count; i++)
	{
		show_phase(repair, WALREDO_PHASE_REPAIRING_PAGES, i, list->count);
		repair_in_context(repair, list->blocks[i], repair_block_quietly);
		for (next = Max(next, repair->first_added);
			 next < list->blocks[i]; next++)
			repair_in_context(repair, next, rescue_block);
		next = list->blocks[i] + 1;
	}
	if (damaged.fork_detail != NULL && list->count == 0)
	{
		WalredoRepairResult result = {
			.blkno = InvalidBlockNumber,
			.status = WALREDO_REPAIR_UNVERIFIABLE,
			.detail = psprintf("%s WAL has no block of it.",
							   damaged.fork_detail)
		};

		report(repair, &result);
	}
	if (damaged.num_unverifiable > 0)
	{
		WalredoRepairResult result = {
			.blkno = InvalidBlockNumber,
			.status = WALREDO_REPAIR_UNVERIFIABLE,
			.detail = psprintf(UINT64_FORMAT " blocks cannot be verified. Of the first one: %s",
							   damaged.num_unverifiable,
							   damaged.unverifiable_detail ?
							   damaged.unverifiable_detail : "")
		};

		report(repair, &result);
	}
}

/*
 * Opens the relation, and sets the fork to be repaired.  Returns why it is not
 * repaired, or NULL.
 */
static const char *
begin_fork(Repair *repair)
{
	const WalredoRepairRequest *request = repair->fork.request;
	WalredoVerifiedFork *verified = &repair->fork.verified;
	Relation	rel = try_relation_open(request->relid, AccessShareLock);
	RelFileLocator locator;
	const char *reason;

	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist",
						request->relid)));
	if (!RELKIND_HAS_STORAGE(rel->rd_rel->relkind))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot repair relation \"%s\"",
						RelationGetRelationName(rel)),
				 errdetail_relkind_not_supported(rel->rd_rel->relkind)));
	locator = RelationGetLocator(rel);
	verified->relid = request->relid;
	verified->tag = walredo_tag_of_block(&locator, request->forknum, 0);
	verified->rmid = walredo_mask_of_relation(rel);
	repair->is_index = (rel->rd_rel->relkind == RELKIND_INDEX);
	reason = refusal(rel, request->forknum);
	relation_close(rel, AccessShareLock);
	return reason;
}

void
walredo_repair_fork(const WalredoRepairRequest *request,
					WalredoReportRepair report_result, void *arg)
{
	Repair		repair = {.report = report_result,.arg = arg};
	bool		save_zero_damaged_pages = zero_damaged_pages;
	bool		save_ignore_checksum_failure = ignore_checksum_failure;
	const char *reason;

	repair.fork.request = request;
	repair.fork.directory = walredo_wal_with_local(request->directory);
	repair.first_added = InvalidBlockNumber;
	repair.block_context = AllocSetContextCreate(CurrentMemoryContext,
												 "walredo repair",
												 ALLOCSET_DEFAULT_SIZES);
	if (request->conninfo != NULL)
		repair.fork.peer = walredo_peer_connect(request->conninfo);
	reason = begin_fork(&repair);
	if (reason != NULL)
	{
		WalredoRepairResult result = {
			.blkno = request->blkno,
			.status = WALREDO_REPAIR_REFUSED,
			.detail = reason
		};

		report_result(&result, arg);
		return;
	}

	/* The caller's settings must not change what is read: see verify.c. */
	PG_TRY();
	{
		zero_damaged_pages = false;
		ignore_checksum_failure = false;
		if (BlockNumberIsValid(request->blkno))
			repair_block(&repair, request->blkno, true);
		else
			repair_all(&repair);
		if (repair.added_lsn != InvalidXLogRecPtr)
			XLogFlush(repair.added_lsn);
		if (repair.added_id != 0)
			walredo_kept_finish(repair.added_id, repair.added_lsn);
		if (repair.is_locked)
			UnlockRelationOid(request->relid, ExclusiveLock);
	}
	PG_FINALLY();
	{
		zero_damaged_pages = save_zero_damaged_pages;
		ignore_checksum_failure = save_ignore_checksum_failure;
	}
	PG_END_TRY();
	MemoryContextDelete(repair.block_context);
}

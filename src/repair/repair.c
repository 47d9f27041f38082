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

#include <dirent.h>

#include "access/relation.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "catalog/pg_class.h"
#include "commands/dbcommands.h"
#include "common/relpath.h"
#include "compat.h"
#include "miscadmin.h"
#include "page/attempt.h"
#include "page/diff.h"
#include "page/links.h"
#include "page/verify.h"
#include "repair/install.h"
#include "repair/judge.h"
#include "repair/kept.h"
#include "repair/repair.h"
#include "storage/bufmgr.h"
#include "storage/fd.h"
#include "storage/lmgr.h"
#include "storage/smgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
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

/* Numbers of blocks. */
typedef struct BlockList
{
	MemoryContext context;		/* of the array */
	BlockNumber *blocks;
	uint64		count;
	uint64		max_count;
} BlockList;

/* The blocks that a verification has found to be damaged. */
typedef struct DamagedBlocks
{
	BlockList	list;
	uint64		num_final;		/* those that are certain */
	uint64		num_unverifiable;
	uint64		num_unverifiable_final;
	char	   *unverifiable_detail;	/* of the first of these */
	char	   *fork_detail;	/* a mismatch of the fork as a whole */
} DamagedBlocks;

static void
append_block(BlockList *list, BlockNumber blkno)
{
	if (list->count == list->max_count)
	{
		list->max_count = Max(list->max_count * 2, 64);
		list->blocks = list->blocks == NULL ?
			MemoryContextAlloc(list->context,
							   list->max_count * sizeof(BlockNumber)) :
			repalloc_huge(list->blocks,
						  list->max_count * sizeof(BlockNumber));
	}
	list->blocks[list->count++] = blkno;
}

/* qsort() and bsearch() comparator. */
static int
compare_blocks(const void *a, const void *b)
{
	BlockNumber x = *(const BlockNumber *) a;
	BlockNumber y = *(const BlockNumber *) b;

	return (x > y) - (x < y);
}

/* Sorts a list, and leaves each number once in it. */
static void
sort_blocks(BlockList *list)
{
	uint64		count = 0;

	if (list->count == 0)
		return;
	qsort(list->blocks, list->count, sizeof(BlockNumber), compare_blocks);
	for (uint64 i = 0; i < list->count; i++)
	{
		if (i == 0 || list->blocks[i] != list->blocks[count - 1])
			list->blocks[count++] = list->blocks[i];
	}
	list->count = count;
}

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
 * Damage that WAL has, too
 * ----------------------------------------
 */

/* The newest broken link of a page, if lsn is not 0/0. */
typedef struct NewestLink
{
	XLogRecPtr	lsn;			/* of the image */
	XLogRecPtr	expected_lsn;	/* of the record before */
	char	   *detail;
} NewestLink;

/* A WalredoLinkCallback. */
static void
note_newest_link(const WalredoBrokenLink *link, void *arg)
{
	NewestLink *newest = arg;

	newest->lsn = link->lsn;
	newest->expected_lsn = link->expected_lsn;
	newest->detail = pstrdup(link->detail);
}

/* Where the server's own WAL begins, as far as the names of its files tell. */
static XLogRecPtr
oldest_local_wal(void)
{
	DIR		   *dir = AllocateDir(XLOGDIR);
	struct dirent *entry;
	XLogRecPtr	oldest = WALREDO_START_OF_WAL;

	while ((entry = ReadDir(dir, XLOGDIR)) != NULL)
	{
		TimeLineID	tli;
		XLogSegNo	segno;
		XLogRecPtr	lsn;

		if (!IsXLogFileName(entry->d_name))
			continue;
		XLogFromFileName(entry->d_name, &tli, &segno, wal_segment_size);
		XLogSegNoOffsetToRecPtr(segno, 0, wal_segment_size, lsn);
		if (oldest == WALREDO_START_OF_WAL || lsn < oldest)
			oldest = lsn;
	}
	FreeDir(dir);
	return oldest;
}

/* Has a page been replaced by a repair since an LSN? */
static bool
was_repaired_since(const WalredoTag *tag, XLogRecPtr lsn)
{
	List	   *ids = walredo_kept_ids();
	bool		result = false;
	ListCell   *lc;

	foreach(lc, ids)
	{
		WalredoKept *kept = walredo_kept_read(*(int64 *) lfirst(lc));

		if (kept != NULL && kept->is_done && kept->image_lsn >= lsn &&
			walredo_tag_compare(&kept->tag, tag) == 0)
			result = (kept->undo_of == 0);
	}
	return result;
}

/* The argument of look_for_link(). */
typedef struct LinkAttempt
{
	WalredoTag	tag;
	NewestLink	newest;
	WalredoLinksResult result;
} LinkAttempt;

static void
look_for_link(void *arg)
{
	LinkAttempt *work = arg;

	walredo_links_check_page(&work->tag, NULL, oldest_local_wal(),
							 note_newest_link, &work->newest, &work->result);
}

/*
 * If the server has logged an image of a page of which a write had been lost,
 * so that WAL has the damage, too, returns sentences that say so, and sets
 * *last_lsn to the LSN as of which the page was last right.  Else returns NULL.
 *
 * Only the server's own WAL is looked at, and only as far as it can be read.
 */
static const char *
logged_damage(Repair *repair, BlockNumber blkno, XLogRecPtr *last_lsn)
{
	LinkAttempt work = {.tag = repair->fork.verified.tag};

	work.tag.number = blkno;
	if (walredo_attempt(look_for_link, &work) != NULL ||
		work.newest.lsn == InvalidXLogRecPtr ||
		work.newest.lsn < work.result.made_lsn ||
		was_repaired_since(&work.tag, work.newest.lsn))
		return NULL;
	*last_lsn = work.newest.expected_lsn;
	return psprintf("%s The image ends at %X/%X, so WAL has the damage, too. walredo_page_history() shows what was changed since. With lsn => '%X/%X', the page becomes what it was before, without these changes.",
					work.newest.detail, LSN_FORMAT_ARGS(work.newest.lsn),
					LSN_FORMAT_ARGS(work.newest.expected_lsn));
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

/* The bytes that were there, or NULL if there were none; palloc'd. */
static bytea *
found_contents(const WalredoFoundBlock *found)
{
	Size		size = found->condition == WALREDO_BLOCK_IS_READABLE ?
		BLCKSZ : found->file_size;
	bytea	   *contents;

	if (size == 0)
		return NULL;
	contents = palloc(VARHDRSZ + size);
	SET_VARSIZE(contents, VARHDRSZ + size);
	memcpy(VARDATA(contents), found->page.data, size);
	return contents;
}

/* Keeps a repair of a page in a file.  Returns its ID. */
static int64
keep(const WalredoVerifiedFork *fork, BlockNumber blkno,
	 const char *source, XLogRecPtr page_lsn, XLogRecPtr rebuilt_lsn,
	 bool was_readable, const bytea *old_contents, const char *image,
	 int64 undo_of)
{
	WalredoKept kept = {0};
	char	   *relname = get_rel_name(fork->relid);
	char	   *nspname = get_namespace_name(get_rel_namespace(fork->relid));
	bytea	   *new_contents = NULL;

	if (image != NULL)
	{
		new_contents = palloc(VARHDRSZ + BLCKSZ);
		SET_VARSIZE(new_contents, VARHDRSZ + BLCKSZ);
		memcpy(VARDATA(new_contents), image, BLCKSZ);
	}
	kept.started_at = GetCurrentTimestamp();
	kept.role = GetUserNameFromId(GetUserId(), false);
	kept.database = get_database_name(MyDatabaseId);
	if (kept.database == NULL)
		kept.database = "";
	if (relname != NULL && nspname != NULL)
		kept.relation = quote_qualified_identifier(nspname, relname);
	kept.tag = fork->tag;
	kept.tag.number = blkno;
	kept.source = source;
	kept.page_lsn = page_lsn;
	kept.rebuilt_lsn = rebuilt_lsn;
	kept.was_readable = was_readable;
	kept.old_contents = old_contents;
	kept.new_contents = new_contents;
	kept.undo_of = undo_of;
	return walredo_kept_add(&kept);
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
 * Replaces a block that was judged damaged; or one that was added, and of which
 * shared buffers still had the page, by that same page.
 */
static WalredoInstallOutcome
replace_block(Repair *repair, BlockNumber blkno,
			  const WalredoJudgement *judgement)
{
	const WalredoRepairFork *fork = &repair->fork;
	ForkNumber	forknum = fork->verified.tag.forknum;
	volatile WalredoInstallOutcome outcome = WALREDO_INSTALL_CHANGED;
	PGAlignedBlock image = judgement->image;
	bool		nothing_lost = judgement->finding == WALREDO_FOUND_SOUND ||
		is_added(repair, blkno, &judgement->found);
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
				   Max(judgement->newest_lsn, judgement->page_lsn));
	if (!nothing_lost)
		id = keep(&fork->verified, blkno, judgement->source,
				  judgement->page_lsn, judgement->rebuilt_lsn,
				  judgement->found.condition == WALREDO_BLOCK_IS_READABLE,
				  found_contents(&judgement->found), image.data,
				  0);
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
	if (nothing_lost && outcome == WALREDO_INSTALLED)
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
	LockRelationOid(repair->fork.verified.relid, ExclusiveLock);
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
		repair->added_id = keep(&fork->verified, blkno,
								"blocks that were missing were added",
								InvalidXLogRecPtr, InvalidXLogRecPtr, false,
								NULL, NULL, 0);
		repair->first_added = judgement->found.nblocks;
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
		appendStringInfoString(&buf, "The block was missing in the file, but it was in shared buffers.");
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

static bool
has_broken_link(const Repair *repair, BlockNumber blkno)
{
	return repair->num_broken > 0 &&
		bsearch(&blkno, repair->broken, repair->num_broken,
				sizeof(BlockNumber), compare_blocks) != NULL;
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

	for (int attempt = 0; attempt < MAX_ATTEMPTS; attempt++)
	{
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
			const char *logged = logged_damage(repair, blkno, &last_lsn);

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
				result.status = WALREDO_REPAIR_UNVERIFIABLE;
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
				result.status = WALREDO_REPAIR_OK;
				if (report_sound)
					report(repair, &result);
				return;
			case WALREDO_FOUND_DAMAGED:
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
		outcome = replace_block(repair, blkno, judgement);
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
	append_block(&damaged->list, result->blkno);
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
	if (replace_block(repair, blkno, judgement) != WALREDO_INSTALLED)
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

/* A WalredoLinkCallback. */
static void
note_broken_link(const WalredoBrokenLink *link, void *arg)
{
	append_block(arg, (BlockNumber) link->tag.number);
}

/* The argument of look_for_links(). */
typedef struct LinksAttempt
{
	WalredoTag	tag;
	BlockList	list;
} LinksAttempt;

static void
look_for_links(void *arg)
{
	LinksAttempt *work = arg;
	WalredoLinksResult result;

	walredo_links_check(NULL, oldest_local_wal(), WALREDO_END_OF_WAL,
						&work->tag, 1, note_broken_link, &work->list, &result);
}

/*
 * Looks for blocks of the fork of which WAL has images that do not continue
 * what it had before, and adds them to a list, which becomes sorted.
 */
static void
find_broken_links(Repair *repair, BlockList *list)
{
	LinksAttempt work = {.tag = repair->fork.verified.tag};

	work.list.context = list->context;
	if (!RecoveryInProgress() &&
		walredo_attempt(look_for_links, &work) == NULL)
	{
		sort_blocks(&work.list);
		repair->broken = work.list.blocks;
		repair->num_broken = work.list.count;
		for (uint64 i = 0; i < work.list.count; i++)
			append_block(list, work.list.blocks[i]);
	}
	sort_blocks(list);
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
	WalredoVerifyOptions options = {.directory = request->directory};
	DamagedBlocks damaged = {.list.context = CurrentMemoryContext};
	BlockList  *list = &damaged.list;
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
		walredo_rebuild_fork(&repair->fork);
	for (uint64 i = 0; i < list->count; i++)
	{
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

/* ----------------------------------------
 * Undoing
 * ----------------------------------------
 */

/* Reads a repair that can be undone.  ERROR if it cannot be. */
static WalredoKept *
read_undoable(int64 id)
{
	WalredoKept *kept = walredo_kept_read(id);

	if (kept == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("repair %lld does not exist", (long long) id)));
	if (kept->tag.kind != WALREDO_TAG_REL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot undo repair %lld", (long long) id),
				 errdetail("It is not of a block of a relation.")));
	if (!kept->is_done)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot undo repair %lld", (long long) id),
				 errdetail("It was not finished.")));
	if (kept->undo_of != 0 && kept->new_contents == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot undo repair %lld", (long long) id),
				 errdetail("It has put back a page that the server cannot read. Repair the page again.")));
	if (kept->old_contents == NULL || kept->new_contents == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot undo repair %lld", (long long) id),
				 errdetail("There was nothing that it has replaced.")));
	if (VARSIZE(kept->new_contents) - VARHDRSZ != BLCKSZ ||
		VARSIZE(kept->old_contents) - VARHDRSZ > BLCKSZ ||
		(kept->was_readable &&
		 VARSIZE(kept->old_contents) - VARHDRSZ != BLCKSZ))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("cannot undo repair %lld", (long long) id),
				 errdetail("What was kept is no page.")));
	return kept;
}

Oid
walredo_undo_relation(int64 id)
{
	WalredoKept *kept = read_undoable(id);
	RelFileLocator locator = walredo_tag_locator(&kept->tag);

	if (LocatorDbOid(locator) != MyDatabaseId &&
		LocatorDbOid(locator) != InvalidOid)
		return InvalidOid;
	return RelidByRelfilenumber(LocatorSpcOid(locator),
								LocatorRelNumber(locator));
}

int64
walredo_repair_undo(int64 id)
{
	WalredoKept *kept = read_undoable(id);
	WalredoRepairFork fork = {.verified.relid = walredo_undo_relation(id),
	.verified.tag = kept->tag};
	WalredoFoundBlock *found = palloc0(sizeof(WalredoFoundBlock));
	BlockNumber blkno = (BlockNumber) kept->tag.number;
	ForkNumber	forknum = kept->tag.forknum;
	volatile WalredoInstallOutcome outcome = WALREDO_INSTALL_CHANGED;
	Relation	rel = walredo_repair_open(&fork, RowExclusiveLock);
	XLogRecPtr	image_lsn = kept->image_lsn;
	PGAlignedBlock old;
	int64		undo_id;

	if (rel != NULL)
		walredo_look_at_block(rel, forknum, blkno, found);
	if (rel == NULL || found->condition != WALREDO_BLOCK_IS_READABLE ||
		PageGetLSN((Page) found->page.data) != kept->image_lsn)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot undo repair %lld", (long long) id),
				 errdetail("The page has been changed since.")));
	undo_id = keep(&fork.verified, blkno,
				   psprintf("repair %lld", (long long) id), kept->image_lsn,
				   kept->page_lsn, true, found_contents(found),
				   kept->was_readable ? VARDATA(kept->old_contents) : NULL,
				   id);
	PG_TRY();
	{
		if (kept->was_readable)
		{
			/* The image continues what WAL has: see replace_block(). */
			memcpy(old.data, VARDATA(kept->old_contents), BLCKSZ);
			if (!PageIsNew((Page) old.data))
				PageSetLSN((Page) old.data, kept->image_lsn);
			outcome = walredo_install_page(rel, forknum, blkno, found,
										   old.data, &image_lsn);
		}
		else
			outcome = walredo_restore_contents(rel, forknum, blkno, image_lsn,
											   VARDATA(kept->old_contents),
											   VARSIZE(kept->old_contents) -
											   VARHDRSZ);
	}
	PG_FINALLY();
	{
		if (outcome != WALREDO_INSTALLED)
			walredo_kept_forget(undo_id);
	}
	PG_END_TRY();
	if (outcome != WALREDO_INSTALLED)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot undo repair %lld", (long long) id),
				 outcome == WALREDO_INSTALL_PINNED ?
				 errdetail("Another session uses the page all the time.") :
				 errdetail("The page has been changed since.")));
	if (kept->was_readable)
		XLogFlush(image_lsn);
	walredo_kept_finish(undo_id, kept->was_readable ? image_lsn :
						InvalidXLogRecPtr);
	if (kept->was_readable)
		walredo_write_page(rel, forknum, blkno, image_lsn);
	relation_close(rel, RowExclusiveLock);
	return undo_id;
}

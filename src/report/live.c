/*-------------------------------------------------------------------------
 *
 * live.c
 *	  A page as the server has it now, and whether it is what WAL says.
 *
 * What verify.c says of a page counts.  It reads the page itself, so here it is
 * read until both have read the same one, which is at once unless somebody
 * changes the page all the time.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/report/live.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xlog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_tablespace_d.h"
#include "compat.h"
#include "miscadmin.h"
#include "page/attempt.h"
#include "page/current.h"
#include "page/verify_compare.h"
#include "report/breaks.h"
#include "report/live.h"
#include "storage/bufpage.h"
#include "storage/lmgr.h"
#include "storage/smgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* How often a page is read that changes meanwhile. */
#define MAX_READS			5

/* An attempt: reads a page from its file, whatever its checksum is. */
static void
read_file(void *arg)
{
	WalredoLiveCopy *work = arg;
	PGIOAlignedBlock block;

	smgrread(RelationGetSmgr(work->rel), work->forknum, work->blkno,
			 block.data);
	memcpy(work->page, block.data, BLCKSZ);
}

/* Reads the page of a relation, which is locked. */
static void
read_block(Relation rel, const WalredoTag *tag, WalredoLivePage *live)
{
	WalredoLiveCopy work = {rel, tag->forknum, (BlockNumber) tag->number,
	live->page.data};
	bool		save_zero_damaged_pages = zero_damaged_pages;
	bool		save_ignore_checksum_failure = ignore_checksum_failure;
	BlockNumber nblocks;
	ErrorData  *error;

	live->has_page = false;
	live->from_file = false;
	if (!smgrexists(RelationGetSmgr(rel), tag->forknum))
	{
		live->problem = "The relation has no such fork now.";
		return;
	}
	nblocks = RelationGetNumberOfBlocksInFork(rel, tag->forknum);
	if (tag->number >= nblocks)
	{
		live->problem = psprintf("The number of blocks of the fork is %u now, so that this one is not there.",
								 nblocks);
		return;
	}

	/* The caller's settings must not change what is read: see verify.c. */
	PG_TRY();
	{
		zero_damaged_pages = false;
		ignore_checksum_failure = false;
		error = walredo_attempt(walredo_copy_live_attempt, &work);
		live->has_page = (error == NULL);
		if (error != NULL)
		{
			live->problem = psprintf("The server cannot read the page: %s.",
									 error->message);
			live->from_file = walredo_attempt(read_file, &work) == NULL;
			live->has_page = live->from_file;
		}
	}
	PG_FINALLY();
	{
		zero_damaged_pages = save_zero_damaged_pages;
		ignore_checksum_failure = save_ignore_checksum_failure;
	}
	PG_END_TRY();
}

/*
 * Reads the page that a tag names.  Returns whether it can be compared with
 * WAL.
 */
static bool
read_live(const WalredoTag *tag, WalredoLivePage *live)
{
	RelFileLocator locator = walredo_tag_locator(tag);
	Relation	rel = NULL;
	bool		is_permanent = false;
	char	   *schema;

	live->has_page = false;
	live->problem = NULL;
	if (tag->kind != WALREDO_TAG_REL)
	{
		live->is_elsewhere = true;
		live->problem = "It is no page of a relation, so it is not read from the server; walredo_verify_slru() compares pages of SLRUs.";
		return false;
	}
	if (tag->dbOid !=
		(tag->spcOid == GLOBALTABLESPACE_OID ? InvalidOid : MyDatabaseId))
	{
		live->is_elsewhere = true;
		live->problem = psprintf("It is a page of database %u, which is another one.",
								 tag->dbOid);
		return false;
	}
	live->relid = RelidByRelfilenumber(tag->spcOid, tag->relNumber);
	if (OidIsValid(live->relid))
	{
		LockRelationOid(live->relid, AccessShareLock);
		rel = try_relation_open(live->relid, NoLock);
		if (rel == NULL)
			UnlockRelationOid(live->relid, AccessShareLock);
	}
	if (rel == NULL)
	{
		live->relid = InvalidOid;
		live->problem = psprintf("No relation has the file %u now: it was dropped, or has another file.",
								 tag->relNumber);
		return false;
	}
	if (!RelFileLocatorEquals(RelationGetLocator(rel), locator) ||
		!RELKIND_HAS_STORAGE(rel->rd_rel->relkind) ||
		rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		live->problem = "The relation has another file now, or is temporary.";
	else
	{
		schema = get_namespace_name(RelationGetNamespace(rel));
		live->relname =
			quote_qualified_identifier(schema, RelationGetRelationName(rel));
		live->rmid = rel->rd_rel->relkind == RELKIND_SEQUENCE ? RM_SEQ_ID :
			walredo_mask_of_relation(rel);
		is_permanent = rel->rd_rel->relpersistence ==
			(tag->forknum == INIT_FORKNUM ? RELPERSISTENCE_UNLOGGED :
			 RELPERSISTENCE_PERMANENT);
		read_block(rel, tag, live);
	}
	relation_close(rel, AccessShareLock);
	return is_permanent;
}

/* A WalredoVerifySink's report: keeps the last result. */
static void
keep_result(const WalredoVerifyResult *result, void *arg)
{
	WalredoLivePage *live = arg;

	live->is_compared = true;
	live->result = *result;
	if (result->detail != NULL)
		live->result.detail = MemoryContextStrdup(live->context,
												  result->detail);
}

/* A WalredoVerifySink's end_fork. */
static void
end_fork(bool keep, void *arg)
{
	WalredoLivePage *live = arg;

	if (!keep)
		live->is_compared = false;
}

/* The argument of compare(). */
typedef struct CompareAttempt
{
	WalredoVerifyFork fork;
	WalredoVerifyOptions options;
	WalredoLivePage *live;
} CompareAttempt;

/* An attempt: compares the page with WAL. */
static void
compare(void *arg)
{
	CompareAttempt *work = arg;
	WalredoVerifySink sink = {keep_result, end_fork, work->live};

	work->live->is_compared = false;
	walredo_verify_forks(&work->fork, 1, &work->options, &sink);
}

void
walredo_live_read(const WalredoTag *tag, const char *directory, bool of_server,
				  const WalredoKnownPage *known, WalredoLivePage *live)
{
	CompareAttempt work = {0};
	bool		is_permanent;
	ErrorData  *error;

	memset(live, 0, sizeof(WalredoLivePage));
	live->rmid = -1;
	live->context = CurrentMemoryContext;
	is_permanent = read_live(tag, live);
	if (!is_permanent)
	{
		live->not_compared = live->relname == NULL ? live->problem :
			"The relation is not logged.";
		return;
	}
	if (!of_server)
	{
		live->not_compared = "The WAL that was read is not that of this server, on its timeline.";
		return;
	}
	if (tag->forknum == FSM_FORKNUM)
	{
		live->not_compared = "Changes of a free space map are not logged.";
		return;
	}
	work.fork.relid = live->relid;
	work.fork.forknum = tag->forknum;
	work.fork.blkno = (BlockNumber) tag->number;
	work.options.directory = directory;
	work.options.known = known;
	work.live = live;
	for (int i = 0; i < MAX_READS; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (i > 0)
			(void) read_live(tag, live);
		error = walredo_attempt(compare, &work);
		if (error != NULL)
		{
			live->is_compared = false;
			live->has_failed = true;
			live->not_compared = walredo_words_of_error(error);
			return;
		}
		if (!live->is_compared || !live->has_page || live->from_file ||
			live->result.page_lsn == PageGetLSN((Page) live->page.data))
			break;
	}
	if (!live->is_compared)
		live->not_compared = live->problem != NULL ? live->problem :
			"There is nothing to compare.";
}

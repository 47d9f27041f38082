/*-------------------------------------------------------------------------
 *
 * undo.c
 *	  Keeping what a repair of a page replaces, and putting it back.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/repair/undo.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xlog.h"
#include "compat.h"
#include "miscadmin.h"
#include "repair/install.h"
#include "repair/judge.h"
#include "repair/kept.h"
#include "repair/repair.h"
#include "repair/undo.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

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

int64
walredo_keep_page(const WalredoRepairFork *fork, BlockNumber blkno,
				  const char *source, XLogRecPtr page_lsn,
				  XLogRecPtr rebuilt_lsn, const WalredoFoundBlock *found,
				  const char *image, int64 undo_of)
{
	WalredoKept kept;
	Oid			relid = fork->verified.relid;
	char	   *relname = get_rel_name(relid);
	char	   *nspname = get_namespace_name(get_rel_namespace(relid));
	bytea	   *new_contents = NULL;

	if (image != NULL)
	{
		new_contents = palloc(VARHDRSZ + BLCKSZ);
		SET_VARSIZE(new_contents, VARHDRSZ + BLCKSZ);
		memcpy(VARDATA(new_contents), image, BLCKSZ);
	}
	walredo_kept_begin(&kept, &fork->verified.tag);
	kept.tag.number = blkno;
	if (relname != NULL && nspname != NULL)
		kept.relation = quote_qualified_identifier(nspname, relname);
	kept.source = source;
	kept.page_lsn = page_lsn;
	kept.rebuilt_lsn = rebuilt_lsn;
	if (found != NULL)
	{
		kept.was_readable = (found->condition == WALREDO_BLOCK_IS_READABLE);
		kept.old_contents = found_contents(found);
	}
	kept.new_contents = new_contents;
	kept.undo_of = undo_of;
	return walredo_kept_add(&kept);
}

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

/*
 * Is the page that was found the one that a repair has made?  A page of zeroes
 * gets no LSN when it is logged.
 */
static bool
is_as_repaired(const WalredoKept *kept, const WalredoFoundBlock *found)
{
	const char *image = VARDATA(kept->new_contents);

	if (found->condition != WALREDO_BLOCK_IS_READABLE)
		return false;
	if (PageIsNew((Page) image))
		return memcmp(found->page.data, image, BLCKSZ) == 0;
	return PageGetLSN((Page) found->page.data) == kept->image_lsn;
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
	LOCKMODE	lockmode = kept->was_readable ? RowExclusiveLock :
		AccessExclusiveLock;
	Relation	rel = walredo_repair_open(&fork, lockmode);
	XLogRecPtr	image_lsn = kept->image_lsn;
	PGAlignedBlock old;
	int64		undo_id;

	if (rel != NULL)
		walredo_look_at_block(rel, forknum, blkno, found);
	if (rel == NULL || !is_as_repaired(kept, found))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot undo repair %lld", (long long) id),
				 errdetail("The page has been changed since.")));
	undo_id = walredo_keep_page(&fork, blkno,
								psprintf("repair %lld", (long long) id),
								PageGetLSN((Page) found->page.data),
								kept->page_lsn, found,
								kept->was_readable ?
								VARDATA(kept->old_contents) : NULL, id);
	PG_TRY();
	{
		if (kept->was_readable)
		{
			/* The image continues what WAL has: see replace_block(). */
			memcpy(old.data, VARDATA(kept->old_contents), BLCKSZ);
			if (!PageIsNew((Page) old.data))
				PageSetLSN((Page) old.data,
						   PageGetLSN((Page) found->page.data));
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
	relation_close(rel, lockmode);
	return undo_id;
}

/*-------------------------------------------------------------------------
 *
 * verify_compare.h
 *	  Comparing a page of the server's with what WAL makes of it.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/verify_compare.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_VERIFY_COMPARE_H
#define WALREDO_VERIFY_COMPARE_H

#include "postgres.h"

#include "access/rmgr.h"
#include "page/rebuild.h"
#include "page/verify.h"
#include "page/verify_progress.h"
#include "record/tag.h"
#include "utils/rel.h"

/* A fork that is being verified. */
typedef struct WalredoVerifiedFork
{
	Oid			relid;
	WalredoTag	tag;			/* of its block 0, in the file that it had
								 * when it was looked at first */

	/* Whose mask is used for a page if no record of the page tells. */
	RmgrId		rmid;
} WalredoVerifiedFork;

/* The WAL that has been read, and the pages made of it. */
typedef struct WalredoVerifyWal
{
	WalredoRebuild *rebuild;
	XLogRecPtr	start_lsn;		/* the rebuild has WAL from here ... */
	XLogRecPtr	end_lsn;		/* ... to here, where a record ends */
} WalredoVerifyWal;

/*
 * What is known of a block, and which functions make it so; those whose names
 * do not begin with walredo_ are in verify_fork.c.
 *
 * UNREAD	   Nothing.  Every block of a window begins so: add_block().
 * DIFFERS	   The page and the rebuilt page are not equal byte by byte, but may
 *			   be under the resource manager's mask: walredo_compare_block().
 * CHANGED	   The copy of the page cannot be compared before WAL has been read
 *			   on, as the page was changed, or may have been, after the end of
 *			   the WAL that was read: check_page(), reconsider_mismatches(),
 *			   and recheck_map_page(), which has read the page again.
 * MISSING	   The fork is shorter than by WAL, and WAL must be read on to know
 *			   whether it was truncated since: add_block().
 * GONE		   There is nothing to report, as the fork has become shorter:
 *			   add_block(), compare_missing(), recheck_map_page().
 * HAS_RESULT  The result is known: walredo_block_set_result(), which all
 *			   comparisons end with.  A mismatch becomes CHANGED again if WAL
 *			   that has not been read yet might explain it.
 */
typedef enum WalredoBlockState
{
	WALREDO_BLOCK_UNREAD,
	WALREDO_BLOCK_DIFFERS,
	WALREDO_BLOCK_CHANGED,
	WALREDO_BLOCK_MISSING,
	WALREDO_BLOCK_GONE,
	WALREDO_BLOCK_HAS_RESULT
} WalredoBlockState;

/* A block that is being verified. */
typedef struct WalredoBlockCheck
{
	WalredoBlockState state;

	/*
	 * What will be reported.  relid, forknum and blkno are set from the
	 * beginning, page_lsn when the server's page has been read, and status
	 * and detail in state HAS_RESULT.
	 */
	WalredoVerifyResult result;

	/*
	 * What WAL makes of it.  The image is valid in state DIFFERS only: it is
	 * a copy that lives as long as the window.
	 */
	WalredoRebuiltPage rebuilt;

	/*
	 * The server's page: a copy of BLCKSZ bytes, for blocks that were in
	 * state DIFFERS or CHANGED when they had been read, else NULL.
	 */
	char	   *live;

	/*
	 * In states CHANGED and MISSING, when WAL is read on: no record that ends
	 * after this is in the copy.
	 */
	XLogRecPtr	limit;
} WalredoBlockCheck;

/* Moves a block into state HAS_RESULT.  detail is not copied. */
extern void walredo_block_set_result(WalredoBlockCheck *block,
									 WalredoVerifyStatus status,
									 const char *detail);

/*
 * Compares the server's page, live, with block->rebuilt, as far as this takes
 * no mask, and moves the block into state HAS_RESULT or DIFFERS.
 */
extern void walredo_compare_block(const WalredoVerifiedFork *fork,
								  const WalredoVerifyWal *wal,
								  WalredoBlockCheck *block, const char *live);

/*
 * Compares those of an array of blocks that are in state DIFFERS under the mask
 * of a resource manager, which gives each a result.
 */
extern void walredo_compare_masked(const WalredoVerifiedFork *fork,
								   const WalredoVerifyProgress *progress,
								   WalredoBlockCheck *blocks, int nblocks);

/*
 * The resource manager whose mask goes with a relation's pages, as far as can
 * be told from its access method's handler.
 */
extern RmgrId walredo_mask_of_relation(Relation rel);

/*
 * Is a page as the server makes one without logging it, when it extends a
 * fork: all zeroes, or with an empty page's header and no LSN?
 */
extern bool walredo_is_unlogged_page(ForkNumber forknum, const char *page);

#endif							/* WALREDO_VERIFY_COMPARE_H */

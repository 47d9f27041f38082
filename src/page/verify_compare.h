/*-------------------------------------------------------------------------
 *
 * verify_compare.h
 *	  Comparing a page of the server with the page rebuilt from WAL.
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
#include "record/tag.h"
#include "utils/rel.h"

/* A fork that is being verified. */
typedef struct WalredoVerifiedFork
{
	Oid			relid;
	WalredoTag	tag;			/* of its block 0, in the file that it had
								 * when the round began */
	BlockNumber only_block;		/* to be verified; InvalidBlockNumber: all */

	/*
	 * The resource manager whose mask is used for pages of which no record
	 * tells the resource manager.
	 */
	RmgrId		rmid;
} WalredoVerifiedFork;

/* The WAL that was read at the beginning of a round, and its pages. */
typedef struct WalredoVerifyWal
{
	const char *directory;		/* as for walredo_reader_begin() */
	WalredoRebuild *rebuild;
	const WalredoBackup *backup;	/* for base images, or NULL */
	XLogRecPtr	start_lsn;		/* the rebuild has WAL from here ... */
	XLogRecPtr	end_lsn;		/* ... to here, where a record ends */
	bool		from_disk;		/* as in WalredoVerifyOptions */
	bool		only_named;		/* blocks that it does not name are left out */
	XLogRecPtr	page_start_lsn; /* start_lsn of the WalredoVerifyResult */
} WalredoVerifyWal;

/*
 * The state of a block, with the functions that move it there.  Functions whose
 * names do not begin with walredo_ are in verify_fork.c.
 *
 * UNREAD	   The server's page has not been read: add_block().
 * DIFFERS	   The page and the rebuilt page are not equal byte by byte, but may
 *			   be under the resource manager's mask: walredo_compare_block().
 * CHANGED	   The copy of the page cannot be compared before WAL has been read
 *			   on, as the page was changed, or may have been, after the end of
 *			   the WAL that was read: check_page(), reconsider_mismatches(),
 *			   and recheck_map_page(), which has read the page again.
 * MISSING	   The fork should have the block, according to the WAL that was
 *			   read, but is shorter.  WAL must be read on to find out whether it
 *			   was truncated since: add_block().
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
	 * The rebuilt page.  Its image is valid only in state DIFFERS, and is
	 * then a copy that lives as long as the window.
	 */
	WalredoRebuiltPage rebuilt;

	/*
	 * The server's page: a copy of BLCKSZ bytes, for blocks that were in
	 * state DIFFERS or CHANGED when they had been read, else NULL.
	 */
	char	   *live;

	/*
	 * If the page in the file is not equal byte by byte to the server's page
	 * in shared buffers, which is clean: copies of both, else NULL.
	 */
	char	   *disk;
	bytea	   *buffered;

	/*
	 * If the page in shared buffers is clean, and the one in the file cannot
	 * be read, or has a wrong checksum: sentences that say so, else NULL.
	 */
	const char *disk_damage;

	/*
	 * The LSN as of which the block is rebuilt when WAL is read on, in states
	 * CHANGED and MISSING: see limit_of_block().
	 */
	XLogRecPtr	limit;
} WalredoBlockCheck;

/*
 * These functions move a block into state HAS_RESULT, the second one as a
 * mismatch.  detail is not copied.
 */
extern void walredo_block_set_result(WalredoBlockCheck *block,
									 WalredoVerifyStatus status,
									 const char *detail);
extern void walredo_block_set_damage(WalredoBlockCheck *block,
									 WalredoDamage damage,
									 const char *detail);

/*
 * Compares the server's page, live, with block->rebuilt, without a mask, and
 * moves the block into state HAS_RESULT or DIFFERS.
 */
extern void walredo_compare_block(const WalredoVerifiedFork *fork,
								  const WalredoVerifyWal *wal,
								  WalredoBlockCheck *block, const char *live);

/*
 * Compares those blocks of an array that are in state DIFFERS under the masks
 * of their resource managers, and gives each a result.
 */
extern void walredo_compare_masked(const WalredoVerifiedFork *fork,
								   WalredoBlockCheck *blocks, int nblocks);

/*
 * Masks two images of one block, which are given without LSN and checksum, in
 * place, with a request of its own for each.
 *
 * A mask routine may fail on a damaged page, and take the child with it.  If it
 * fails on one of the two images, both are left unmasked, and the result is
 * false: what the routine fails on is no page that redo makes.
 */
extern bool walredo_mask_pair(RmgrId rmid, BlockNumber blkno, char *a, char *b);

/*
 * Returns the resource manager whose mask fits a relation's pages, as far as
 * the handler of its access method tells.
 */
extern RmgrId walredo_mask_of_relation(Relation rel);

/*
 * Is a page as the server makes one without logging it, when it extends a
 * fork: all zeroes, or with an empty page's header and no LSN?
 */
extern bool walredo_is_unlogged_page(ForkNumber forknum, const char *page);

/*
 * True if two images are equal but for LSN and checksum.  These are the first
 * fields of a page, and every mask blanks them, so that a difference in them is
 * never a mismatch.
 */
extern bool walredo_is_equal_page(const char *a, const char *b);

#endif							/* WALREDO_VERIFY_COMPARE_H */

/*-------------------------------------------------------------------------
 *
 * logged.h
 *	  Damage that WAL has, too.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/repair/logged.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_REPAIR_LOGGED_H
#define WALREDO_REPAIR_LOGGED_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "repair/judge.h"
#include "storage/block.h"

/* Numbers of blocks.  All zeroes but for the context is an empty list. */
typedef struct WalredoBlockList
{
	MemoryContext context;		/* of the array */
	BlockNumber *blocks;
	uint64		count;
	uint64		max_count;
} WalredoBlockList;

extern void walredo_append_block(WalredoBlockList *list, BlockNumber blkno);

/* Sorts a list, and leaves each number once in it. */
extern void walredo_sort_blocks(WalredoBlockList *list);

/* qsort() and bsearch() comparator. */
extern int	walredo_compare_blocks(const void *a, const void *b);

/*
 * If the server has logged an image of a page of which a write had been lost,
 * so that WAL has the damage, too, returns sentences that say so, palloc'd, and
 * sets *last_lsn to the LSN as of which the page was last right.  Returns NULL
 * if it has not, or if the page has been repaired, or made anew, since.
 *
 * Only the server's own WAL is looked at, and only as far as it can be read.
 * This is fast where there are indexes of WAL.
 */
extern const char *walredo_logged_damage(const WalredoRepairFork *fork,
										 BlockNumber blkno,
										 XLogRecPtr *last_lsn);

/*
 * Adds all blocks of the fork to a list of which WAL has images that do not
 * continue what it had before.  Each may have been repaired since.
 */
extern void walredo_find_logged_damage(const WalredoRepairFork *fork,
									   WalredoBlockList *list);

#endif							/* WALREDO_REPAIR_LOGGED_H */

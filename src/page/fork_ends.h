/*-------------------------------------------------------------------------
 *
 * fork_ends.h
 *	  The ends of a fork's blocks.
 *
 * What is known of a block ends when its fork is truncated, its file is
 * removed, and so on: see WalredoPageEnd.  One end applies to all blocks of a
 * fork from a certain block on, which can be millions.  So it is not recorded
 * for each block, but once for the fork.  Whoever keeps something about a
 * block also keeps the number of the last end that it has taken into account,
 * and looks whether there is a newer one.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/fork_ends.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_PAGE_FORK_ENDS_H
#define WALREDO_PAGE_FORK_ENDS_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "storage/block.h"
#include "wal/changes.h"

/* An end of all blocks of a fork from first_block on. */
typedef struct WalredoForkEnd
{
	uint32		number;			/* of all ends of the fork, from 1 on */
	BlockNumber first_block;
	WalredoPageEnd end;
	XLogRecPtr	lsn;			/* the end LSN of the record */
} WalredoForkEnd;

/* The ends of a fork.  All zeroes means that there are none. */
typedef struct WalredoForkEnds
{
	uint32		total;			/* number of ends that were added */
	int			num;			/* number of those that are kept in ends */
	int			max;			/* allocated size of ends */
	WalredoForkEnd *ends;
} WalredoForkEnds;

/*
 * Adds an end, which must be later than all before it.  lsn is the end LSN of
 * the record.  Memory is allocated in the given context.
 */
extern void walredo_fork_ends_add(WalredoForkEnds *ends,
								  BlockNumber first_block, WalredoPageEnd end,
								  XLogRecPtr lsn, MemoryContext context);

/* Returns the last end that applies to a block, or NULL. */
extern const WalredoForkEnd *walredo_fork_ends_last(const WalredoForkEnds *ends,
													uint64 blkno);

/*
 * The first block that any end applies to, or PG_UINT64_MAX if there are no
 * ends.  All later blocks have ended, too.
 */
extern uint64 walredo_fork_ends_first_block(const WalredoForkEnds *ends);

/* Forgets all ends. */
extern void walredo_fork_ends_reset(WalredoForkEnds *ends);

#endif							/* WALREDO_PAGE_FORK_ENDS_H */

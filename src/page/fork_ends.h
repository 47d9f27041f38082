/*-------------------------------------------------------------------------
 *
 * fork_ends.h
 *	  How blocks of a fork have come to an end.
 *
 * What is known of a block ends when its fork is truncated, its file removed,
 * and so on.  An end is about all blocks of a fork from one on.  Blocks are not
 * told of it one by one, as there may be millions of them: ends are kept for
 * the fork, and whoever knows something of a block looks whether there is an
 * end that it has not seen.
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

/* The ends of a fork; all zeroes is none. */
typedef struct WalredoForkEnds
{
	uint32		total;			/* that ever were: the last end's number */
	int			num;			/* that are kept */
	int			max;			/* that there is room for */
	WalredoForkEnd *ends;
} WalredoForkEnds;

/* Adds an end, which is later than all before it.  Grows in the context. */
extern void walredo_fork_ends_add(WalredoForkEnds *ends,
								  BlockNumber first_block, WalredoPageEnd end,
								  XLogRecPtr lsn, MemoryContext context);

/* The last end that a block was part of, or NULL. */
extern const WalredoForkEnd *walredo_fork_ends_last(const WalredoForkEnds *ends,
													uint64 blkno);

/* Forgets all ends. */
extern void walredo_fork_ends_reset(WalredoForkEnds *ends);

#endif							/* WALREDO_PAGE_FORK_ENDS_H */

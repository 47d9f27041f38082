/*-------------------------------------------------------------------------
 *
 * fork_ends.c
 *	  The ends of a fork's blocks.
 *
 * Only the last end of each block matters.  So when an end is added, earlier
 * ends that began at the same or a later block are dropped: of a table that is
 * truncated a thousand times, one end is kept.  The first blocks of the ends
 * that are kept are therefore in ascending order, and the last end that applies
 * to a block can be found by binary search.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/fork_ends.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "page/fork_ends.h"
#include "utils/memutils.h"

void
walredo_fork_ends_add(WalredoForkEnds *ends, BlockNumber first_block,
					  WalredoPageEnd end, XLogRecPtr lsn,
					  MemoryContext context)
{
	WalredoForkEnd *last;

	while (ends->num > 0 &&
		   ends->ends[ends->num - 1].first_block >= first_block)
		ends->num--;
	if (ends->num == ends->max)
	{
		Size		size;

		ends->max = Max(4, 2 * ends->max);
		size = ends->max * sizeof(WalredoForkEnd);
		ends->ends = ends->ends ? repalloc_huge(ends->ends, size) :
			MemoryContextAlloc(context, size);
	}
	last = &ends->ends[ends->num++];
	last->number = ++ends->total;
	last->first_block = first_block;
	last->end = end;
	last->lsn = lsn;
}

const WalredoForkEnd *
walredo_fork_ends_last(const WalredoForkEnds *ends, uint64 blkno)
{
	int			low = 0;
	int			high = ends->num;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (ends->ends[middle].first_block <= blkno)
			low = middle + 1;
		else
			high = middle;
	}
	return low > 0 ? &ends->ends[low - 1] : NULL;
}

uint64
walredo_fork_ends_first_block(const WalredoForkEnds *ends)
{
	return ends->num > 0 ? ends->ends[0].first_block : PG_UINT64_MAX;
}

void
walredo_fork_ends_reset(WalredoForkEnds *ends)
{
	ends->num = 0;
	ends->total = 0;
}

/*-------------------------------------------------------------------------
 *
 * heap_tuples.h
 *	  The tuples of a heap file that a snapshot at an LSN sees, deformed.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/rows/heap_tuples.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_ROWS_HEAP_TUPLES_H
#define WALREDO_ROWS_HEAP_TUPLES_H

#include "postgres.h"

#include "access/tupdesc.h"
#include "rows/heap_at.h"

typedef struct WalredoHeapTuples
{
	WalredoHeapAt *heap;
	int			file;			/* its number in heap */
	TupleDesc	tupdesc;
	MemoryContext context;		/* of sentences, reset for each block */

	/* The block. */
	BlockNumber blkno;
	WalredoHeapPage page;
	OffsetNumber max_offnum;

	/* Where the last call has stopped. */
	OffsetNumber offnum;

	/* The tuple there.  Values by reference point into the page. */
	Datum	   *values;
	bool	   *nulls;

	/*
	 * If not NULL, there is no tuple that could be returned, and this
	 * sentence says why.
	 */
	const char *problem;
} WalredoHeapTuples;

/*
 * Prepares to read tuples of file number file of heap, whose rows are as
 * tupdesc says.  Nothing that is read is trusted: see tuple.h.  The result is
 * allocated in the current memory context, and refers to tupdesc.
 */
extern WalredoHeapTuples *walredo_heap_tuples_begin(WalredoHeapAt *heap,
													int file,
													TupleDesc tupdesc);

/*
 * Turns to a block.  Returns NULL, or a sentence that says why tuples of it are
 * not known, or not all of them: others may still be returned.
 *
 * The page is the one of walredo_heap_at_page(), so it, and the tuples in it,
 * are valid until somebody calls that function for the same file.
 */
extern const char *walredo_heap_tuples_open(WalredoHeapTuples *tuples,
											BlockNumber blkno);

/*
 * Goes on to the next tuple of the block that the snapshot sees, or may see but
 * that cannot be returned: then problem is set.  Returns false after the last
 * one.
 */
extern bool walredo_heap_tuples_next(WalredoHeapTuples *tuples);

/*
 * Goes to a line pointer of the block.  Returns whether there is a tuple that
 * the snapshot sees, or may see, as above.
 */
extern bool walredo_heap_tuples_at(WalredoHeapTuples *tuples,
								   OffsetNumber offnum);

extern void walredo_heap_tuples_end(WalredoHeapTuples *tuples);

#endif							/* WALREDO_ROWS_HEAP_TUPLES_H */

/*-------------------------------------------------------------------------
 *
 * heap_tuples.c
 *	  The tuples of a heap file that a snapshot at an LSN sees, deformed.
 *
 * What the page is, whether the snapshot sees a tuple, and whether the tuple is
 * sound are questions to heap_at.c, snapshot.c and tuple.c.  This file asks
 * them in the order in which the answers depend on each other, for the readers
 * of TOAST tables and of catalogs.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/rows/heap_tuples.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "rows/heap_tuples.h"
#include "rows/tuple.h"
#include "utils/memutils.h"

WalredoHeapTuples *
walredo_heap_tuples_begin(WalredoHeapAt *heap, int file, TupleDesc tupdesc)
{
	WalredoHeapTuples *tuples = palloc0(sizeof(WalredoHeapTuples));

	tuples->heap = heap;
	tuples->file = file;
	tuples->tupdesc = tupdesc;
	tuples->context = AllocSetContextCreate(CurrentMemoryContext,
											"walredo heap tuples",
											ALLOCSET_DEFAULT_SIZES);
	tuples->values = palloc(Max(tupdesc->natts, 1) * sizeof(Datum));
	tuples->nulls = palloc(Max(tupdesc->natts, 1) * sizeof(bool));
	tuples->blkno = InvalidBlockNumber;
	return tuples;
}

const char *
walredo_heap_tuples_open(WalredoHeapTuples *tuples, BlockNumber blkno)
{
	MemoryContext old_context;
	const char *problem;

	CHECK_FOR_INTERRUPTS();
	MemoryContextReset(tuples->context);
	tuples->blkno = blkno;
	tuples->offnum = tuples->max_offnum = InvalidOffsetNumber;
	tuples->problem = NULL;

	/* The caller's context may live as long as the query. */
	old_context = MemoryContextSwitchTo(tuples->context);
	walredo_heap_at_page(tuples->heap, tuples->file, blkno, &tuples->page);
	if (tuples->page.page == NULL)
	{
		MemoryContextSwitchTo(old_context);
		return tuples->page.problem;
	}
	if (walredo_check_heap_page(tuples->page.page, &tuples->max_offnum,
								&problem))
		problem = tuples->page.problem;
	else
		tuples->max_offnum = InvalidOffsetNumber;
	MemoryContextSwitchTo(old_context);
	return problem;
}

bool
walredo_heap_tuples_at(WalredoHeapTuples *tuples, OffsetNumber offnum)
{
	bool		is_later = tuples->page.kind == WALREDO_HEAP_PAGE_LATER;
	WalredoSnapshot *snapshot = walredo_heap_at_snapshot(tuples->heap);
	MemoryContext old_context;
	HeapTupleHeader tuple;
	Size		size;
	bool		is_found = false;

	tuples->offnum = offnum;
	tuples->problem = NULL;
	if (offnum < FirstOffsetNumber || offnum > tuples->max_offnum)
		return false;

	old_context = MemoryContextSwitchTo(tuples->context);
	tuple = walredo_heap_tuple(tuples->page.page, offnum, &size,
							   &tuples->problem);
	if (tuple == NULL)
		is_found = tuples->problem != NULL;
	else
	{
		WalredoAnswer answer = walredo_snapshot_sees(snapshot, tuple, is_later);

		is_found = answer != WALREDO_NO;
		if (answer == WALREDO_UNKNOWN)
			tuples->problem = "It is not known whether a transaction of the tuple had committed.";
		else if (answer == WALREDO_YES)
			(void) walredo_deform_tuple(tuples->tupdesc, tuple, size,
										tuples->values, tuples->nulls,
										&tuples->problem);
	}
	MemoryContextSwitchTo(old_context);
	return is_found;
}

bool
walredo_heap_tuples_next(WalredoHeapTuples *tuples)
{
	while (tuples->offnum < tuples->max_offnum)
	{
		if (walredo_heap_tuples_at(tuples, tuples->offnum + 1))
			return true;
	}
	return false;
}

void
walredo_heap_tuples_end(WalredoHeapTuples *tuples)
{
	MemoryContextDelete(tuples->context);
	pfree(tuples->values);
	pfree(tuples->nulls);
	pfree(tuples);
}

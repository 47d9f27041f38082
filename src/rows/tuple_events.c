/*-------------------------------------------------------------------------
 *
 * tuple_events.c
 *	  Which row versions a WAL record makes and ends.
 *
 * All that is needed is in the fixed parts of heap records: where a tuple is,
 * and who did it.  The tuples themselves are not read here, because records
 * leave out what is in an image of the page, or what an update has not changed.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/rows/tuple_events.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam_xlog.h"
#include "access/rmgr.h"
#include "catalog/pg_control.h"
#include "record/record.h"
#include "record/xlogrecord.h"
#include "rows/tuple_events.h"

/* A heap record that is looked at. */
typedef struct HeapRecord
{
	XLogRecPtr	end_lsn;
	WalredoRecordHeaders headers;
	const char *data;			/* its main data, not aligned */
	WalredoTupleEvent *events;
	int			nevents;
} HeapRecord;

/* Copies the first bytes of the main data.  ERROR if there are not so many. */
static void
read_main(HeapRecord *heap, void *dst, Size size)
{
	if (heap->headers.main_size < size)
		walredo_report_broken_record(heap->end_lsn, "The record's main data is too short.");
	memcpy(dst, heap->data, size);
}

/* The block with an ID, or NULL. */
static const WalredoBlockRef *
find_block(const HeapRecord *heap, int id)
{
	for (int i = 0; i < heap->headers.num_blocks; i++)
	{
		if (heap->headers.blocks[i].id == id)
			return &heap->headers.blocks[i];
	}
	return NULL;
}

static void
add_event(HeapRecord *heap, WalredoTupleEventKind kind,
		  const WalredoBlockRef *block, OffsetNumber offnum)
{
	WalredoTupleEvent *event;

	if (block == NULL || block->forknum != MAIN_FORKNUM)
		walredo_report_broken_record(heap->end_lsn, "The record does not name the block of its tuple.");
	if (offnum < FirstOffsetNumber || offnum > MaxHeapTuplesPerPage)
		walredo_report_broken_record(heap->end_lsn, "The record has a tuple at a line pointer that no page has.");
	event = &heap->events[heap->nevents++];
	event->kind = kind;
	event->locator = block->locator;
	event->blkno = block->blkno;
	event->offnum = offnum;
}

/* As heap_xlog_insert() in heapam.c. */
static void
add_insert(HeapRecord *heap)
{
	xl_heap_insert xlrec;

	read_main(heap, &xlrec, SizeOfHeapInsert);
	add_event(heap, WALREDO_TUPLE_MADE, find_block(heap, 0), xlrec.offnum);
}

/* As heap_xlog_multi_insert() in heapam.c. */
static void
add_multi_insert(HeapRecord *heap, bool is_init)
{
	xl_heap_multi_insert xlrec;

	read_main(heap, &xlrec, SizeOfHeapMultiInsert);
	if (xlrec.ntuples > MaxHeapTuplesPerPage)
		walredo_report_broken_record(heap->end_lsn, "The record has more tuples than a page.");
	if (!is_init && heap->headers.main_size < SizeOfHeapMultiInsert +
		xlrec.ntuples * sizeof(OffsetNumber))
		walredo_report_broken_record(heap->end_lsn, "The record's main data is too short.");
	for (int i = 0; i < xlrec.ntuples; i++)
	{
		OffsetNumber offnum = FirstOffsetNumber + i;

		if (!is_init)
			memcpy(&offnum, heap->data + SizeOfHeapMultiInsert +
				   i * sizeof(OffsetNumber), sizeof(OffsetNumber));
		add_event(heap, WALREDO_TUPLE_MADE, find_block(heap, 0), offnum);
	}
}

/* As heap_xlog_update() in heapam.c: block 1 is the old one, if different. */
static void
add_update(HeapRecord *heap)
{
	xl_heap_update xlrec;
	const WalredoBlockRef *new_block = find_block(heap, 0);
	const WalredoBlockRef *old_block = find_block(heap, 1);

	read_main(heap, &xlrec, SizeOfHeapUpdate);
	add_event(heap, WALREDO_TUPLE_ENDED,
			  old_block != NULL ? old_block : new_block, xlrec.old_offnum);
	add_event(heap, WALREDO_TUPLE_MADE, new_block, xlrec.new_offnum);
}

/*
 * As heap_xlog_delete() in heapam.c.  A "super" deletion takes an insertion
 * back that INSERT ... ON CONFLICT has not confirmed: nobody has seen the
 * tuple.
 */
static void
add_delete(HeapRecord *heap)
{
	xl_heap_delete xlrec;

	read_main(heap, &xlrec, SizeOfHeapDelete);
	add_event(heap, (xlrec.flags & XLH_DELETE_IS_SUPER) != 0 ?
			  WALREDO_TUPLE_REVOKED : WALREDO_TUPLE_ENDED,
			  find_block(heap, 0), xlrec.offnum);
}

int
walredo_tuple_events_of(const XLogRecord *record, XLogRecPtr end_lsn,
						WalredoTupleEvent *events)
{
	uint8		op = record->xl_info & XLOG_HEAP_OPMASK;
	HeapRecord	heap;

	if (record->xl_rmid == RM_HEAP2_ID ? op != XLOG_HEAP2_MULTI_INSERT :
		(record->xl_rmid != RM_HEAP_ID ||
		 (op != XLOG_HEAP_INSERT && op != XLOG_HEAP_DELETE &&
		  op != XLOG_HEAP_UPDATE && op != XLOG_HEAP_HOT_UPDATE)))
		return 0;

	walredo_xlogrecord_headers(record, &heap.headers);
	if (heap.headers.error != NULL)
		walredo_report_broken_record(end_lsn, heap.headers.error);
	heap.end_lsn = end_lsn;
	heap.data = (const char *) record + record->xl_tot_len -
		heap.headers.main_size;
	heap.events = events;
	heap.nevents = 0;

	if (record->xl_rmid == RM_HEAP2_ID)
		add_multi_insert(&heap, (record->xl_info & XLOG_HEAP_INIT_PAGE) != 0);
	else if (op == XLOG_HEAP_INSERT)
		add_insert(&heap);
	else if (op == XLOG_HEAP_DELETE)
		add_delete(&heap);
	else
		add_update(&heap);
	return heap.nevents;
}

bool
walredo_record_keeps_tuples(const XLogRecord *record)
{
	uint8		op = record->xl_info & XLOG_HEAP_OPMASK;

	switch (record->xl_rmid)
	{
		case RM_HEAP_ID:

			/*
			 * A record that initializes the page does not keep what was
			 * there.  A change in place keeps tuples, but not their values.
			 */
			return (record->xl_info & XLOG_HEAP_INIT_PAGE) == 0 &&
				(op == XLOG_HEAP_INSERT || op == XLOG_HEAP_DELETE ||
				 op == XLOG_HEAP_UPDATE || op == XLOG_HEAP_HOT_UPDATE ||
				 op == XLOG_HEAP_CONFIRM || op == XLOG_HEAP_LOCK);
		case RM_HEAP2_ID:
			return (record->xl_info & XLOG_HEAP_INIT_PAGE) == 0 &&
				(op == XLOG_HEAP2_MULTI_INSERT ||
				 op == XLOG_HEAP2_LOCK_UPDATED);
		case RM_XLOG_ID:
			return (record->xl_info & ~XLR_INFO_MASK) == XLOG_FPI_FOR_HINT;
		default:
			return false;
	}
}

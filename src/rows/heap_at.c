/*-------------------------------------------------------------------------
 *
 * heap_at.c
 *	  The pages of heap files, with all tuples that existed at an LSN.
 *
 * A page that no record has changed since the LSN is the server's own, and has
 * a page LSN that is not after the LSN: whatever changes tuples in a heap
 * stamps the page.  So for most pages no record has to be replayed.  Where the
 * page has changed, it is rebuilt from the records up to the LSN.
 *
 * If WAL is read from the redo point of a checkpoint before the LSN, and the
 * server writes full pages, then a page that has changed since the LSN, but
 * cannot be rebuilt as of it, was not changed between that point and the LSN.
 * The first record after the LSN that changes it has an image of it.  The image
 * has all tuples that were there at the LSN, even if they have been deleted or
 * updated since, unless this record has pruned the page.  A tuple that it has
 * removed then was dead to everyone, so its deletion has committed; it can only
 * be one that existed at the LSN if its transaction was running at the LSN.
 *
 * Without such images, the page that the server has now is as good, if no
 * record since the LSN has removed tuples from it.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/rows/heap_at.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam_xlog.h"
#include "access/relation.h"
#include "access/rmgr.h"
#include "access/xlog.h"
#include "catalog/pg_control.h"
#include "compat.h"
#include "miscadmin.h"
#include "page/attempt.h"
#include "page/bases.h"
#include "page/current.h"
#include "page/rebuild.h"
#include "record/xlogrecord.h"
#include "rows/heap_at.h"
#include "storage/bufmgr.h"
#include "storage/smgr.h"
#include "utils/hsearch.h"
#include "utils/rel.h"
#include "wal/changes.h"
#include "wal/reader.h"
#include "wal/redo_point.h"

/* The blocks of the server that are copied at a time, if in order. */
#define WINDOW_BLOCKS		32

typedef struct BlockKey
{
	int32		file;
	BlockNumber blkno;
} BlockKey;

/* What WAL has of a block. */
typedef struct BlockState
{
	BlockKey	key;			/* hash key */
	bool		is_changed;		/* after the LSN */
	bool		has_later;		/* WAL has an image of it after the LSN */
	bool		is_new;			/* ... or has initialized it: it was empty */
	bool		lost_change;	/* a change after the LSN, and before that,
								 * which can have deleted tuples */

	/*
	 * The end LSN of the last record up to the LSN that stamps the page, or
	 * InvalidXLogRecPtr.
	 */
	XLogRecPtr	stamped_lsn;

	/*
	 * After the LSN, the last record, up to the one that has the first image
	 * of the page, which has removed tuples.
	 */
	XLogRecPtr	removed_lsn;

	/* The image is of a page that took the place of another: its LSN. */
	XLogRecPtr	replaced_lsn;
} BlockState;

/* What is known of a file, beside what its blocks say. */
typedef struct FileState
{
	WalredoHeapFile *file;
	BlockNumber num_known;		/* one more than the last block in WAL */
	BlockNumber num_live;		/* blocks of the relation, if it has the file */
	bool		is_whole;		/* WAL has the file from its creation on */

	/*
	 * Blocks that ended after the LSN.  Those from there on are not as they
	 * were any more; what WAL says of them later does not count.
	 */
	BlockNumber gone_from;

	/* The same up to the LSN, and the end LSN of the record. */
	BlockNumber ended_from;
	XLogRecPtr	ended_lsn;

	/* The server's pages that were copied last, WINDOW_BLOCKS at most. */
	BlockNumber window_start;
	int			window_blocks;
	bool	   *is_read;
	PGAlignedBlock *window;		/* NULL if there are none */
	PGAlignedBlock *rebuilt;	/* what was rebuilt last, or NULL */
} FileState;

struct WalredoHeapAt
{
	MemoryContext context;
	XLogRecPtr	lsn;
	XLogRecPtr	wal_start;		/* WAL was read from here */
	XLogRecPtr	wal_end;		/* to here */
	const char *directory;		/* or NULL */
	bool		of_server;		/* the WAL is of this server */
	WalredoPageFilter *filter;
	WalredoChanges *changes;
	WalredoSnapshot *snapshot;
	WalredoBases *bases;		/* or NULL */
	WalredoRebuild *at;			/* pages as of the LSN */
	WalredoRebuild *later;		/* the first images after it */
	FileState  *files;
	int			nfiles;
	HTAB	   *blocks;			/* of BlockStates */
	BufferAccessStrategy strategy;
};

/* ----------------------------------------
 * Reading WAL
 * ----------------------------------------
 */

/*
 * Where WAL has to be read from, for the pages of then.  The reader has the
 * whole of WAL, which is the server's.
 */
static XLogRecPtr
find_start(WalredoReader *reader, XLogRecPtr lsn)
{
	XLogRecPtr	redo = GetRedoRecPtr();

	/* The last one is known without reading. */
	if (redo <= lsn && redo >= walredo_reader_first_lsn(reader))
		return redo;
	return walredo_find_redo_point(reader, lsn);
}

static BlockState *
get_block(WalredoHeapAt *heap, int file, BlockNumber blkno, bool create)
{
	BlockKey	key = {file, blkno};
	bool		found;
	BlockState *block = hash_search(heap->blocks, &key,
									create ? HASH_ENTER : HASH_FIND, &found);

	if (block != NULL && !found)
		memset((char *) block + sizeof(BlockKey), 0,
			   sizeof(BlockState) - sizeof(BlockKey));
	return block;
}

/* Finds the file that a block belongs to, or -1. */
static int
find_file(WalredoHeapAt *heap, const WalredoTag *tag)
{
	for (int i = 0; i < heap->nfiles; i++)
	{
		if (walredo_tag_same_fork(&heap->files[i].file->tag, tag))
			return i;
	}
	return -1;
}

/* Takes note that blocks of a file end. */
static void
note_end(WalredoHeapAt *heap, int i, const WalredoPageChange *change,
		 XLogRecPtr end_lsn)
{
	FileState  *state = &heap->files[i];
	BlockNumber blkno = (BlockNumber) change->tag.number;

	if (end_lsn > heap->lsn)
	{
		if ((change->end == WALREDO_FILE_CREATED ||
			 change->end == WALREDO_FILE_COPIED) && state->gone_from > 0)
			state->file->created_lsn = end_lsn;
		else if (change->end == WALREDO_FILE_REMOVED && state->gone_from > 0)
			state->file->removed_lsn = end_lsn;
		state->gone_from = Min(state->gone_from, blkno);
		return;
	}

	/*
	 * With wal_level = minimal, what a transaction writes into files that it
	 * has created need not be logged.
	 */
	if (change->end == WALREDO_FILE_CREATED)
		state->is_whole = XLogIsNeeded();
	else if (change->end == WALREDO_FILE_COPIED)
		state->is_whole = false;
	state->num_known = Min(state->num_known, blkno);
	state->ended_from = blkno;
	state->ended_lsn = end_lsn;
}

/* What a record after the LSN does to the tuples of a page that it names. */
typedef enum TupleChange
{
	TUPLES_KEPT,				/* none is removed, none can be later */
	TUPLES_DELETED,				/* some may be marked as deleted */
	TUPLES_REMOVED,				/* some may be removed */
	TUPLES_REPLACED				/* others take their place */
} TupleChange;

/*
 * Gets what a record that prunes or freezes a page says of itself.  Returns
 * false if the record is broken.
 */
static bool
get_prune(const XLogRecord *record, xl_heap_prune *prune)
{
	WalredoRecordHeaders headers;

	walredo_xlogrecord_headers(record, &headers);
	if (headers.error != NULL || headers.main_size < SizeOfHeapPrune)
		return false;
	memcpy(prune, (const char *) record + record->xl_tot_len -
		   headers.main_size, SizeOfHeapPrune);
	return true;
}

static TupleChange
tuple_change(const XLogRecord *record)
{
	xl_heap_prune prune;
	uint8		op = record->xl_info & ~XLR_INFO_MASK & XLOG_HEAP_OPMASK;

	switch (record->xl_rmid)
	{
		case RM_HEAP_ID:
			switch (op)
			{
				case XLOG_HEAP_INSERT:
				case XLOG_HEAP_LOCK:
				case XLOG_HEAP_CONFIRM:
				case XLOG_HEAP_INPLACE:

					/*
					 * A change in place is one that all snapshots see, so
					 * that it does not matter as of when it is.
					 */
					return TUPLES_KEPT;
				default:
					return TUPLES_DELETED;
			}
		case RM_HEAP2_ID:
			switch (op)
			{
				case XLOG_HEAP2_MULTI_INSERT:
				case XLOG_HEAP2_LOCK_UPDATED:
					return TUPLES_KEPT;
				default:

					/*
					 * The second pass of VACUUM removes no tuples, but line
					 * pointers.
					 */
					if (!walredo_heap2_prunes(op))
						return TUPLES_KEPT;
					return !get_prune(record, &prune) ||
						WalredoPruneRemoves(prune) ?
						TUPLES_REMOVED : TUPLES_KEPT;
			}
		case RM_XLOG_ID:

			/*
			 * The image of a page that was there before is that of a hint
			 * bit, or of a repair, which may have put an older page there.
			 */
			return (record->xl_info & ~XLR_INFO_MASK) == XLOG_FPI_FOR_HINT ?
				TUPLES_KEPT : TUPLES_REPLACED;
		default:
			return TUPLES_REMOVED;
	}
}

/*
 * Does redo of a record stamp the heap pages that it names?  If the record has
 * an image of the page, it does in any case.
 */
static bool
stamps_page(const XLogRecord *record)
{
	uint8		op = record->xl_info & XLOG_HEAP_OPMASK;
	xl_heap_prune prune;

	if (record->xl_rmid != RM_HEAP2_ID)
		return true;

	/*
	 * Bits of the visibility map, and the page's own bit, are set without
	 * stamping the page, unless hint bits are logged.
	 */
	if (walredo_heap2_prunes(op))
		return !get_prune(record, &prune) || WalredoPruneRemoves(prune) ||
			WalredoPruneFreezes(prune);
	return op != XLOG_HEAP2_VISIBLE;
}

/* Does a record have an image of a block, which it starts? */
static bool
has_image_of(const XLogRecord *record, const WalredoTag *tag)
{
	WalredoRecordHeaders headers;
	RelFileLocator locator = walredo_tag_locator(tag);

	walredo_xlogrecord_headers(record, &headers);
	for (int i = 0; i < headers.num_blocks; i++)
	{
		const WalredoBlockRef *block = &headers.blocks[i];

		if (block->forknum == tag->forknum && block->blkno == tag->number &&
			RelFileLocatorEquals(block->locator, locator) && block->has_image)
			return true;
	}
	return false;
}

/* Takes a change of a block after the LSN. */
static void
add_later(WalredoHeapAt *heap, int i, const WalredoPageChange *change,
		  const XLogRecord *record, XLogRecPtr end_lsn)
{
	FileState  *state = &heap->files[i];
	BlockNumber blkno = (BlockNumber) change->tag.number;
	BlockState *block;
	bool		has_image;

	if (blkno >= state->gone_from)
		return;

	/* It may have had tuples, and may be cut off after this. */
	state->num_known = Max(state->num_known, blkno + 1);
	block = get_block(heap, i, blkno, true);
	block->is_changed = true;
	if (block->has_later)
		return;
	has_image = change->starts_page && change->what == WALREDO_CHANGE_REPLAY;
	switch (tuple_change(record))
	{
		case TUPLES_REMOVED:
			block->removed_lsn = end_lsn;
			break;
		case TUPLES_REPLACED:
			block->replaced_lsn = end_lsn;
			break;
		case TUPLES_DELETED:
			if (!has_image)
				block->lost_change = true;
			break;
		case TUPLES_KEPT:
			break;
	}
	if (!has_image)
		return;
	block->has_later = true;

	/* A page that a record initializes has had no tuples before. */
	block->is_new = !has_image_of(record, &change->tag);
	if (!block->is_new)
		walredo_rebuild_add(heap->later, change, record, end_lsn);
}

/* Takes all that a record does. */
static void
add_record(WalredoHeapAt *heap, const XLogRecord *record, XLogRecPtr end_lsn)
{
	WalredoPageChange *list;
	int			n;

	walredo_snapshot_add(heap->snapshot, record, end_lsn);

	/* With wal_level = minimal before, WAL may not have all of a file. */
	if (record->xl_rmid == RM_XLOG_ID &&
		(record->xl_info & ~XLR_INFO_MASK) == XLOG_PARAMETER_CHANGE)
	{
		for (int i = 0; i < heap->nfiles; i++)
			heap->files[i].is_whole = false;
	}
	n = walredo_changes_of(heap->changes, record, end_lsn, &list);
	for (int j = 0; j < n; j++)
	{
		const WalredoPageChange *change = &list[j];
		int			i = find_file(heap, &change->tag);
		BlockNumber blkno = (BlockNumber) change->tag.number;

		if (i < 0)
			continue;
		if (change->what == WALREDO_CHANGE_END)
		{
			note_end(heap, i, change, end_lsn);
			if (end_lsn <= heap->lsn)
				walredo_rebuild_add(heap->at, change, record, end_lsn);
			continue;
		}
		if (end_lsn > heap->lsn)
		{
			add_later(heap, i, change, record, end_lsn);
			continue;
		}
		walredo_rebuild_add(heap->at, change, record, end_lsn);
		heap->files[i].num_known = Max(heap->files[i].num_known, blkno + 1);
		if (change->starts_page || stamps_page(record))
			get_block(heap, i, blkno, true)->stamped_lsn = end_lsn;
	}
}

/* Reads all that a reader has. */
static void
add_records(WalredoHeapAt *heap, WalredoReader *reader)
{
	while (walredo_reader_next(reader))
	{
		CHECK_FOR_INTERRUPTS();
		add_record(heap, walredo_reader_record(reader),
				   walredo_reader_end_lsn(reader));
	}
	heap->wal_end = walredo_reader_end_lsn(reader);
}

/* Reads what has been added to WAL since it was read. */
static void
read_on(WalredoHeapAt *heap)
{
	WalredoReader *reader = walredo_reader_begin(heap->directory,
												 heap->wal_end,
												 WALREDO_END_OF_WAL);

	add_records(heap, reader);
	walredo_reader_end(reader);
}

/* ERROR if an LSN is not in the range of WAL that there is. */
static void
check_lsn(WalredoReader *reader, XLogRecPtr lsn)
{
	XLogRecPtr	first_lsn = walredo_reader_first_lsn(reader);
	XLogRecPtr	last_lsn = walredo_reader_last_lsn(reader);

	if (lsn < first_lsn)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FILE),
				 errmsg("WAL does not reach back to %X/%X",
						LSN_FORMAT_ARGS(lsn)),
				 errdetail("WAL begins at %X/%X.", LSN_FORMAT_ARGS(first_lsn)),
				 errhint("Specify a directory that has older WAL.")));
	if (lsn > last_lsn)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("LSN %X/%X is after the end of WAL",
						LSN_FORMAT_ARGS(lsn)),
				 errdetail("WAL ends at %X/%X.", LSN_FORMAT_ARGS(last_lsn))));
}

/*
 * Do all files belong to relations of the server?  Then pages that WAL does not
 * have are there.
 */
static bool
all_are_live(WalredoHeapAt *heap)
{
	for (int i = 0; i < heap->nfiles; i++)
	{
		if (!OidIsValid(heap->files[i].file->relid))
			return false;
	}
	return true;
}

/*
 * Reads WAL for files of which the server may have nothing any more: as far
 * back as it goes, or as a backup is.
 */
static void
read_all(WalredoHeapAt *heap)
{
	WalredoReader *reader;

	heap->bases = walredo_bases_open();
	reader = walredo_bases_begin_reader(heap->bases, heap->directory,
										heap->lsn);
	heap->wal_start = walredo_reader_first_lsn(reader);
	walredo_rebuild_set_backup(heap->at, heap->bases->backup,
							   heap->bases->lsn);
	add_records(heap, reader);
	walredo_reader_end(reader);
	read_on(heap);
}

/* Measures a relation that has the file of a tag; or finds that it has not. */
static void
measure_file(FileState *state)
{
	WalredoHeapFile *file = state->file;
	Relation	rel;

	if (!OidIsValid(file->relid))
		return;
	rel = try_relation_open(file->relid, NoLock);
	if (rel != NULL &&
		RelFileLocatorEquals(RelationGetLocator(rel),
							 walredo_tag_locator(&file->tag)) &&
		smgrexists(RelationGetSmgr(rel), MAIN_FORKNUM))
		state->num_live = RelationGetNumberOfBlocks(rel);
	else
		file->relid = InvalidOid;
	if (rel != NULL)
		relation_close(rel, NoLock);
}

WalredoHeapAt *
walredo_heap_at_begin(WalredoHeapFile *files, int nfiles, XLogRecPtr lsn,
					  const char *directory)
{
	WalredoHeapAt *heap = palloc0(sizeof(WalredoHeapAt));
	WalredoTag *tags = palloc(Max(nfiles, 1) * sizeof(WalredoTag));
	WalredoReader *reader;
	HASHCTL		ctl = {0};

	heap->context = CurrentMemoryContext;
	heap->lsn = lsn;
	heap->nfiles = nfiles;
	heap->files = palloc0(Max(nfiles, 1) * sizeof(FileState));
	for (int i = 0; i < nfiles; i++)
	{
		FileState  *state = &heap->files[i];

		tags[i] = files[i].tag;
		tags[i].number = 0;
		state->file = &files[i];
		state->file->created_lsn = state->file->removed_lsn =
			InvalidXLogRecPtr;
		state->gone_from = state->ended_from = InvalidBlockNumber;
	}
	ctl.keysize = sizeof(BlockKey);
	ctl.entrysize = sizeof(BlockState);
	ctl.hcxt = CurrentMemoryContext;
	heap->blocks = hash_create("walredo blocks", 1024, &ctl,
							   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);

	reader = walredo_reader_begin(directory, WALREDO_START_OF_WAL,
								  WALREDO_END_OF_WAL);
	heap->of_server = walredo_reader_is_of_server(reader);
	heap->directory = directory;

	/*
	 * Whatever commits from here on has not committed at the LSN.  All that
	 * has committed before is in the WAL that is read now.
	 */
	heap->snapshot = walredo_snapshot_create(lsn, heap->of_server);
	if (heap->of_server)
	{
		walredo_reader_end(reader);
		heap->directory = walredo_wal_with_local(directory);
		reader = walredo_reader_begin(heap->directory, WALREDO_START_OF_WAL,
									  WALREDO_END_OF_WAL);
	}
	check_lsn(reader, lsn);
	for (int i = 0; i < nfiles; i++)
	{
		if (!heap->of_server)
			files[i].relid = InvalidOid;
		measure_file(&heap->files[i]);
	}

	heap->filter = walredo_filter_forks(tags, nfiles, false);
	heap->changes = walredo_changes_create(heap->filter);
	heap->at = walredo_rebuild_create();
	heap->later = walredo_rebuild_beside(heap->at);
	if (all_are_live(heap) && fullPageWrites)
	{
		heap->wal_start = find_start(reader, lsn);
		walredo_reader_begin_again(reader, heap->wal_start);
		add_records(heap, reader);
		walredo_reader_end(reader);
	}
	else
	{
		walredo_reader_end(reader);
		read_all(heap);
	}
	return heap;
}

WalredoSnapshot *
walredo_heap_at_snapshot(WalredoHeapAt *heap)
{
	return heap->snapshot;
}

void
walredo_heap_at_end(WalredoHeapAt *heap)
{
	walredo_changes_free(heap->changes);
	walredo_rebuild_free(heap->at);
	walredo_rebuild_free(heap->later);
	if (heap->strategy != NULL)
		FreeAccessStrategy(heap->strategy);
	heap->strategy = NULL;
}

BlockNumber
walredo_heap_at_blocks(WalredoHeapAt *heap, int file, bool *is_complete)
{
	FileState  *state = &heap->files[file];
	BlockNumber nblocks = Max(state->num_known, state->num_live);

	*is_complete = true;
	if (state->num_live == 0 && !OidIsValid(state->file->relid))
	{
		walredo_rebuild_begin_fork(heap->at, &state->file->tag);
		nblocks = Max(nblocks, walredo_rebuild_fork_blocks(heap->at));
		*is_complete = state->is_whole ||
			(heap->bases != NULL && heap->bases->backup != NULL);
	}
	return nblocks;
}

bool
walredo_heap_at_is_changed(WalredoHeapAt *heap, int file, BlockNumber blkno)
{
	BlockState *block = get_block(heap, file, blkno, false);

	return block != NULL && block->is_changed;
}

/* ----------------------------------------
 * The server's pages
 * ----------------------------------------
 */

/* The argument of copy_pages(). */
typedef struct CopyAttempt
{
	WalredoHeapAt *heap;
	FileState  *state;
	BlockNumber blkno;
	int			nblocks;
	int			first;			/* its place in the window */
} CopyAttempt;

static void
copy_pages(void *arg)
{
	CopyAttempt *work = arg;
	FileState  *state = work->state;
	Relation	rel = relation_open(state->file->relid, NoLock);

	for (int i = 0; i < work->nblocks; i++)
	{
		CHECK_FOR_INTERRUPTS();
		walredo_copy_live_page(rel, MAIN_FORKNUM, work->blkno + i,
							   work->heap->strategy,
							   state->window[work->first + i].data);
		state->is_read[work->first + i] = true;
	}
	relation_close(rel, NoLock);
}

/*
 * Copies blocks of the server from blkno on.  If one of them cannot be read,
 * the others are copied one by one.
 */
static void
copy_window(WalredoHeapAt *heap, FileState *state, BlockNumber blkno)
{
	CopyAttempt work = {heap, state, blkno, 1, 0};

	if (state->window == NULL)
	{
		MemoryContext old_context = MemoryContextSwitchTo(heap->context);

		if (heap->strategy == NULL)
			heap->strategy = GetAccessStrategy(BAS_BULKREAD);
		state->window = palloc(WINDOW_BLOCKS * sizeof(PGAlignedBlock));
		state->is_read = palloc(WINDOW_BLOCKS * sizeof(bool));
		state->window_start = state->window_blocks = 0;
		MemoryContextSwitchTo(old_context);
	}
	if (blkno == state->window_start + state->window_blocks)
		work.nblocks = Min(WINDOW_BLOCKS, state->num_live - blkno);
	state->window_start = blkno;
	state->window_blocks = work.nblocks;
	memset(state->is_read, 0, work.nblocks * sizeof(bool));
	if (walredo_attempt(copy_pages, &work) == NULL)
		return;
	work.nblocks = 1;
	for (int i = 0; i < state->window_blocks; i++)
	{
		work.blkno = blkno + i;
		work.first = i;
		if (!state->is_read[i])
			(void) walredo_attempt(copy_pages, &work);
	}
}

/* The server's page, or NULL if there is none, or it cannot be read. */
static char *
live_page(WalredoHeapAt *heap, FileState *state, BlockNumber blkno)
{
	if (!OidIsValid(state->file->relid) || blkno >= state->num_live)
		return NULL;
	if (state->window == NULL || blkno < state->window_start ||
		blkno >= state->window_start + state->window_blocks)
		copy_window(heap, state, blkno);
	if (!state->is_read[blkno - state->window_start])
		return NULL;
	return state->window[blkno - state->window_start].data;
}

void
walredo_heap_at_release(WalredoHeapAt *heap, int file)
{
	FileState  *state = &heap->files[file];

	if (state->window != NULL)
	{
		pfree(state->window);
		pfree(state->is_read);
	}
	if (state->rebuilt != NULL)
		pfree(state->rebuilt);
	state->window = state->rebuilt = NULL;
	state->is_read = NULL;
}

/* ----------------------------------------
 * Pages
 * ----------------------------------------
 */

/*
 * Gets the page that a rebuild has of a block.  Returns false if it has none,
 * and then sets *end to how the block has ended, if there is no record of it
 * since.
 */
static bool
get_rebuilt(WalredoHeapAt *heap, WalredoRebuild *rebuild, int file,
			BlockNumber blkno, WalredoHeapPage *result, WalredoPageEnd *end)
{
	FileState  *state = &heap->files[file];
	WalredoTag	tag = state->file->tag;
	WalredoRebuiltPage page;

	tag.number = blkno;
	walredo_rebuild_get(rebuild, &tag, &page);
	*end = page.num_records == 0 ? page.end : WALREDO_NOT_ENDED;
	if (page.image == NULL)
		return false;
	if (!page.is_incomplete)
	{
		if (state->rebuilt == NULL)
			state->rebuilt = MemoryContextAlloc(heap->context,
												sizeof(PGAlignedBlock));
		memcpy(state->rebuilt->data, VARDATA(page.image), BLCKSZ);
		result->page = state->rebuilt->data;
	}
	pfree(page.image);
	return !page.is_incomplete;
}

/* Why tuples may be missing on a page that is as of later, or NULL. */
static const char *
later_problem(WalredoHeapAt *heap, const BlockState *block, const char *page)
{
	bool		was_changed = block->stamped_lsn != InvalidXLogRecPtr;

	if (block->removed_lsn != InvalidXLogRecPtr)
	{
		if (block->lost_change)
			return psprintf("Rows were deleted or updated, and then pruned at %X/%X, before WAL has the first image of the page.",
							LSN_FORMAT_ARGS(block->removed_lsn));
		if (walredo_snapshot_may_have_deleted(heap->snapshot, was_changed,
											  block->removed_lsn))
			return psprintf("The page was pruned at %X/%X, before WAL has the first image of it, and transactions that were running at the LSN had committed then, which may have deleted or updated some of its rows.",
							LSN_FORMAT_ARGS(block->removed_lsn));
	}

	/* VACUUM logs an image of a page that was empty all the time. */
	if (block->replaced_lsn != InvalidXLogRecPtr && page != NULL &&
		!PageIsEmpty((Page) page))
		return psprintf("The page was replaced at %X/%X, as by walredo_repair(), before WAL has another image of it.",
						LSN_FORMAT_ARGS(block->replaced_lsn));
	return NULL;
}

/* Says why the tuples of a page are not known. */
static const char *
unknown_problem(WalredoHeapAt *heap, const BlockState *block, bool has_live)
{
	char	   *start = psprintf("%X/%X", LSN_FORMAT_ARGS(heap->wal_start));

	if (block != NULL)
		return psprintf("WAL from %s has records of the page, but neither enough to rebuild it as of the LSN nor an image of later that has all its rows.",
						start);
	if (has_live)
		return psprintf("The server's page has changed since, but WAL from %s has no record of it.",
						start);
	return psprintf("The server does not have the page, or cannot read it, and WAL from %s has no record of it.",
					start);
}

/*
 * Is there nothing in a block of which WAL has no record?  One that was at the
 * end of its file was cut off by VACUUM, which does that only to blocks without
 * tuples, or it was added later.
 */
static bool
is_empty_block(FileState *state, BlockNumber blkno)
{
	return state->is_whole ||
		(state->gone_from <= blkno &&
		 state->file->removed_lsn == InvalidXLogRecPtr) ||
		(OidIsValid(state->file->relid) && blkno >= state->num_live);
}

void
walredo_heap_at_page(WalredoHeapAt *heap, int file, BlockNumber blkno,
					 WalredoHeapPage *result)
{
	FileState  *state = &heap->files[file];
	BlockState *block = get_block(heap, file, blkno, false);
	char	   *live = live_page(heap, state, blkno);
	XLogRecPtr	live_lsn = live != NULL ? PageGetLSN((Page) live) :
		InvalidXLogRecPtr;
	XLogRecPtr	stamped_lsn = InvalidXLogRecPtr;
	WalredoPageEnd end = WALREDO_NOT_ENDED;

	memset(result, 0, sizeof(*result));

	/* It may have changed since WAL was read. */
	if (live_lsn > heap->wal_end)
	{
		read_on(heap);
		block = get_block(heap, file, blkno, false);
	}

	/* What WAL says of a block before it has ended is of no use. */
	if (block != NULL && (blkno < state->ended_from ||
						  block->stamped_lsn > state->ended_lsn))
		stamped_lsn = block->stamped_lsn;

	/* The server's page, if it has not changed, and lacks nothing. */
	if (live != NULL && live_lsn <= heap->lsn && live_lsn >= stamped_lsn &&
		blkno < state->gone_from)
	{
		result->kind = PageIsNew((Page) live) ? WALREDO_HEAP_PAGE_EMPTY :
			WALREDO_HEAP_PAGE_AT;
		result->page = PageIsNew((Page) live) ? NULL : live;
		return;
	}

	/* As of the LSN. */
	if (stamped_lsn != InvalidXLogRecPtr || heap->bases != NULL)
	{
		if (get_rebuilt(heap, heap->at, file, blkno, result, &end))
		{
			result->kind = WALREDO_HEAP_PAGE_AT;
			return;
		}
		if (end == WALREDO_TRUNCATED || end == WALREDO_FILE_CREATED)
		{
			result->kind = WALREDO_HEAP_PAGE_EMPTY;
			return;
		}
	}

	/* As of later: the first image, or what the server has now. */
	if (block != NULL && block->has_later)
	{
		if (block->is_new)
			result->kind = WALREDO_HEAP_PAGE_EMPTY;
		else if (get_rebuilt(heap, heap->later, file, blkno, result, &end))
			result->kind = WALREDO_HEAP_PAGE_LATER;
		else
			result->kind = WALREDO_HEAP_PAGE_UNKNOWN;
	}
	else if (block != NULL && live != NULL && !PageIsNew((Page) live) &&
			 live_lsn <= heap->wal_end && blkno < state->gone_from)
	{
		result->kind = WALREDO_HEAP_PAGE_LATER;
		result->page = live;
	}
	else if (block == NULL && is_empty_block(state, blkno))
		result->kind = WALREDO_HEAP_PAGE_EMPTY;
	else
		result->kind = WALREDO_HEAP_PAGE_UNKNOWN;

	if (result->kind == WALREDO_HEAP_PAGE_UNKNOWN)
		result->problem = unknown_problem(heap, block, live != NULL);
	else if (block != NULL)
		result->problem = later_problem(heap, block, result->page);
}

/*-------------------------------------------------------------------------
 *
 * toast_at.c
 *	  Values that are stored out of line, as they were at an LSN.
 *
 * A TOAST table is a heap whose rows are the chunks of values.  The chunks of a
 * value are read as other rows are: out of pages that have all tuples of the
 * LSN, and only those that a snapshot at the LSN sees.  That is stricter than
 * HeapTupleSatisfiesToast(), which need not look at the deletion of a chunk.
 * Here the chunks of an older value can still be there, whose OID another value
 * has got.
 *
 * What is left is to find them.  Where WAL has not changed a block of the TOAST
 * table since the LSN, its tuples have not been removed, and so the server's
 * own index still has them, with rare exceptions: an entry whose tuple is dead
 * for everybody can be removed without a change of the tuple's page.  The
 * places of chunks in all other blocks are kept in an array, which is made by
 * reading these blocks at the first fetch.
 *
 * If a value is not complete after that, because of such an exception, because
 * the index is damaged, or because WAL has changed a block just now, the array
 * is made again of all blocks, and the index is not asked any more.  For a file
 * that is not that of a TOAST table now, it is like that from the beginning.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/rows/toast_at.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <lz4.h>

#include "access/genam.h"
#include "access/heaptoast.h"
#include "access/relscan.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/toast_compression.h"
#include "access/toast_internals.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type_d.h"
#include "common/pg_lzcompress.h"
#include "miscadmin.h"
#include "page/attempt.h"
#include "rows/heap_tuples.h"
#include "rows/toast_at.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/*
 * How many bytes a compressed byte can stand for.  A tag of pglz has three
 * bytes, and stands for up to 273; lz4 lengthens a match by up to 255 with each
 * byte.
 */
#define MAX_COMPRESSION_RATIO	256

/* Where a chunk is that the snapshot sees. */
typedef struct ToastChunk
{
	Oid			valueid;
	int32		seq;
	BlockNumber blkno;
	OffsetNumber offnum;
} ToastChunk;

struct WalredoToastAt
{
	MemoryContext context;		/* of everything */
	WalredoHeapAt *heap;
	int			file;
	Oid			relid;
	WalredoHeapTuples *tuples;

	/* The array, ordered by value and sequence number. */
	ToastChunk *chunks;
	uint64		nchunks;
	uint64		max_chunks;

	bool		is_begun;		/* the array has been made */
	bool		uses_index;		/* it does not have all blocks */
	bool		is_too_large;	/* ... because that takes too much memory */

	/*
	 * A sentence that says why the array may lack chunks; NULL if it does
	 * not.
	 */
	char	   *problem;
};

/* A value that is being fetched. */
typedef struct ToastFetch
{
	Oid			valueid;
	uint32		extsize;		/* the bytes that are stored */
	int32		nchunks;		/* that it must have */
	char	   *data;			/* room for extsize bytes */
	uint8	   *is_there;		/* a bit for each chunk */
	int32		nfound;
	BlockNumber blkno;			/* that is open, or InvalidBlockNumber */
	const char *problem;		/* why it cannot be complete, or NULL */
} ToastFetch;

WalredoToastAt *
walredo_toast_at_begin(WalredoHeapAt *heap, int file, Oid relid)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "walredo TOAST values",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old_context = MemoryContextSwitchTo(context);
	WalredoToastAt *toast = palloc0(sizeof(WalredoToastAt));
	TupleDesc	tupdesc = CreateTemplateTupleDesc(3);

	/* As create_toast_table() makes it. */
	TupleDescInitEntry(tupdesc, 1, "chunk_id", OIDOID, -1, 0);
	TupleDescInitEntry(tupdesc, 2, "chunk_seq", INT4OID, -1, 0);
	TupleDescInitEntry(tupdesc, 3, "chunk_data", BYTEAOID, -1, 0);
	TupleDescFinalize(tupdesc);

	toast->context = context;
	toast->heap = heap;
	toast->file = file;
	toast->relid = relid;
	toast->uses_index = OidIsValid(relid);
	toast->tuples = walredo_heap_tuples_begin(heap, file, tupdesc);
	MemoryContextSwitchTo(old_context);
	return toast;
}

void
walredo_toast_at_end(WalredoToastAt *toast)
{
	MemoryContextDelete(toast->context);
}

/* ----------------------------------------
 * Chunks
 * ----------------------------------------
 */

/*
 * Takes apart the tuple that was read last.  Returns NULL, or a sentence,
 * palloc'd, if it is not a chunk.  *data is not aligned.
 */
static const char *
look_at_chunk(const WalredoHeapTuples *tuples, Oid *valueid, int32 *seq,
			  const char **data, Size *size)
{
	const char *chunk = DatumGetPointer(tuples->values[2]);

	if (tuples->problem != NULL)
		return pstrdup(tuples->problem);
	if (tuples->nulls[0] || tuples->nulls[1] || tuples->nulls[2])
		return pstrdup("A column of a chunk is null.");
	*valueid = DatumGetObjectId(tuples->values[0]);
	*seq = DatumGetInt32(tuples->values[1]);
	if (VARATT_IS_EXTERNAL(chunk) || VARATT_IS_COMPRESSED(chunk))
		return psprintf("Chunk %d of TOAST value %u is compressed, or stored out of line.",
						*seq, *valueid);
	*data = VARDATA_ANY(chunk);
	*size = VARSIZE_ANY_EXHDR(chunk);
	return NULL;
}

/* ----------------------------------------
 * The array
 * ----------------------------------------
 */

/* qsort() comparator: orders chunks by value and sequence number. */
static int
compare_chunks(const void *a, const void *b, void *arg)
{
	const ToastChunk *chunk_a = a;
	const ToastChunk *chunk_b = b;

	if (chunk_a->valueid != chunk_b->valueid)
		return chunk_a->valueid < chunk_b->valueid ? -1 : 1;
	if (chunk_a->seq != chunk_b->seq)
		return chunk_a->seq < chunk_b->seq ? -1 : 1;
	return 0;
}

/* Takes note of the first reason why chunks may be missing. */
static void
note_problem(WalredoToastAt *toast, BlockNumber blkno, const char *problem)
{
	MemoryContext old_context = MemoryContextSwitchTo(toast->context);

	if (toast->problem == NULL)
		toast->problem =
			psprintf("Not all of block %u of the TOAST table is known: %s",
					 blkno, problem);
	MemoryContextSwitchTo(old_context);
}

/* Adds a chunk.  Returns false if there is no room for it. */
static bool
add_chunk(WalredoToastAt *toast, const ToastChunk *chunk)
{
	if (toast->nchunks == toast->max_chunks)
	{
		uint64		limit = (uint64) maintenance_work_mem * 1024 /
			sizeof(ToastChunk);
		uint64		max_chunks = Min(Max(toast->max_chunks * 2, 1024), limit);

		if (max_chunks <= toast->nchunks)
			return false;
		if (toast->chunks == NULL)
			toast->chunks = MemoryContextAlloc(toast->context, max_chunks *
											   sizeof(ToastChunk));
		else
			toast->chunks = repalloc_huge(toast->chunks, max_chunks *
										  sizeof(ToastChunk));
		toast->max_chunks = max_chunks;
	}
	toast->chunks[toast->nchunks++] = *chunk;
	return true;
}

/* Adds the chunks of a block.  Returns false if there is no room for them. */
static bool
add_block(WalredoToastAt *toast, BlockNumber blkno)
{
	WalredoHeapTuples *tuples = toast->tuples;
	const char *problem = walredo_heap_tuples_open(tuples, blkno);

	if (problem != NULL)
		note_problem(toast, blkno, problem);
	while (walredo_heap_tuples_next(tuples))
	{
		ToastChunk	chunk = {0};
		const char *data;
		Size		size;

		problem = look_at_chunk(tuples, &chunk.valueid, &chunk.seq, &data,
								&size);
		chunk.blkno = blkno;
		chunk.offnum = tuples->offnum;
		if (problem != NULL)
			note_problem(toast, blkno, problem);
		else if (!add_chunk(toast, &chunk))
			return false;
	}
	return true;
}

/*
 * Makes the array of the blocks that WAL has changed, or of all blocks.
 * Returns false if there is no room for it.
 */
static bool
make_array(WalredoToastAt *toast, bool only_changed)
{
	bool		is_complete = true;
	BlockNumber nblocks = walredo_heap_at_blocks(toast->heap, toast->file,
												 &is_complete);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "walredo TOAST block",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old_context = MemoryContextSwitchTo(context);
	bool		has_room = true;

	toast->nchunks = 0;
	if (toast->problem != NULL)
		pfree(toast->problem);
	toast->problem = NULL;
	for (BlockNumber blkno = 0; blkno < nblocks && has_room; blkno++)
	{
		if (only_changed &&
			!walredo_heap_at_is_changed(toast->heap, toast->file, blkno))
			continue;
		has_room = add_block(toast, blkno);
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(old_context);
	MemoryContextDelete(context);
	if (!is_complete && toast->problem == NULL)
		toast->problem = MemoryContextStrdup(toast->context,
											 "The TOAST table may have had more blocks.");
	qsort_interruptible(toast->chunks, toast->nchunks, sizeof(ToastChunk),
						compare_chunks, NULL);
	return has_room;
}

/* Makes the array for the first time. */
static void
begin_array(WalredoToastAt *toast)
{
	if (!make_array(toast, toast->uses_index))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the places of TOAST values take more memory than maintenance_work_mem"),
				 errhint("Increase maintenance_work_mem.")));
	toast->is_begun = true;
}

/*
 * Makes the array of all blocks, if that is possible, as the index does not
 * suffice.  Values that the index suffices for must remain possible if not.
 */
static void
extend_array(WalredoToastAt *toast)
{
	if (make_array(toast, false))
		toast->uses_index = false;
	else
	{
		toast->is_too_large = true;
		begin_array(toast);
	}
}

/* The first element of the array that is not before a chunk. */
static uint64
find_in_array(const WalredoToastAt *toast, const ToastChunk *chunk)
{
	uint64		low = 0;
	uint64		high = toast->nchunks;

	while (low < high)
	{
		uint64		middle = low + (high - low) / 2;

		if (compare_chunks(&toast->chunks[middle], chunk, NULL) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* ----------------------------------------
 * The index
 * ----------------------------------------
 */

/* The argument of read_index(). */
typedef struct IndexAttempt
{
	Oid			relid;
	Oid			valueid;
	uint64		limit;			/* more entries are not believed */
	ItemPointerData *tids;
	uint64		ntids;
} IndexAttempt;

/* Gets the places of the chunks of a value, dead or alive, by their order. */
static void
read_index(void *arg)
{
	IndexAttempt *attempt = arg;
	uint64		max_tids = 16;
	Relation	rel = table_open(attempt->relid, NoLock);
	Relation   *indexes;
	int			nindexes;
	int			valid_index;
	Relation	index;
	IndexScanDesc scan;
	ScanKeyData key;
	ItemPointer tid;

	/* It may only be what a catalog's page says; its index has any keys. */
	if (rel->rd_rel->relkind != RELKIND_TOASTVALUE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg_internal("\"%s\" is not a TOAST table",
								 RelationGetRelationName(rel))));
	valid_index = toast_open_indexes(rel, AccessShareLock, &indexes,
									 &nindexes);
	index = indexes[valid_index];
	attempt->tids = palloc(max_tids * sizeof(ItemPointerData));
	ScanKeyInit(&key, (AttrNumber) 1, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(attempt->valueid));
	scan = walredo_index_beginscan(rel, index, SnapshotAny, 1);

	/* What is dead for everybody now may not have been at the LSN. */
	scan->ignore_killed_tuples = false;
	index_rescan(scan, &key, 1, NULL, 0);

	/* The tuples themselves may be damaged, and are not looked at here. */
	while ((tid = index_getnext_tid(scan, ForwardScanDirection)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (attempt->ntids == attempt->limit)
			ereport(ERROR,
					(errcode(ERRCODE_INDEX_CORRUPTED),
					 errmsg_internal("index \"%s\" has too many entries for value %u",
									 RelationGetRelationName(index),
									 attempt->valueid)));
		if (attempt->ntids == max_tids)
		{
			max_tids *= 2;
			attempt->tids = repalloc(attempt->tids, max_tids *
									 sizeof(ItemPointerData));
		}
		attempt->tids[attempt->ntids++] = *tid;
	}
	index_endscan(scan);
	toast_close_indexes(indexes, nindexes, AccessShareLock);
	table_close(rel, NoLock);
}

/* ----------------------------------------
 * Values
 * ----------------------------------------
 */

/* Reads what is at a place where a chunk of the value should be. */
static void
read_chunk(WalredoToastAt *toast, ToastFetch *fetch, BlockNumber blkno,
		   OffsetNumber offnum)
{
	WalredoHeapTuples *tuples = toast->tuples;
	const char *problem;
	const char *data;
	Size		size;
	Size		expected_size;
	Oid			valueid;
	int32		seq;

	if (blkno != fetch->blkno)
	{
		problem = walredo_heap_tuples_open(tuples, blkno);
		fetch->blkno = blkno;
		if (problem != NULL && tuples->max_offnum < offnum)
		{
			fetch->problem = psprintf("Block %u of the TOAST table is not known: %s",
									  blkno, problem);
			return;
		}
	}
	if (!walredo_heap_tuples_at(tuples, offnum))
		return;
	fetch->problem = look_at_chunk(tuples, &valueid, &seq, &data, &size);
	if (fetch->problem != NULL || valueid != fetch->valueid)
		return;

	/* The following is as in check_toast_tuple(). */
	if (seq < 0 || seq >= fetch->nchunks)
	{
		fetch->problem = psprintf("TOAST value %u has a chunk %d, but only %d chunks are expected.",
								  valueid, seq, fetch->nchunks);
		return;
	}
	expected_size = seq < fetch->nchunks - 1 ? TOAST_MAX_CHUNK_SIZE :
		fetch->extsize - (Size) seq * TOAST_MAX_CHUNK_SIZE;
	if (size != expected_size)
	{
		fetch->problem = psprintf("Chunk %d of TOAST value %u has a size of %zu, instead of %zu.",
								  seq, valueid, size, expected_size);
		return;
	}
	if ((fetch->is_there[seq / BITS_PER_BYTE] &
		 (1 << (seq % BITS_PER_BYTE))) != 0)
	{
		fetch->problem = psprintf("Chunk %d of TOAST value %u is there twice.",
								  seq, valueid);
		return;
	}
	memcpy(fetch->data + (Size) seq * TOAST_MAX_CHUNK_SIZE, data, size);
	fetch->is_there[seq / BITS_PER_BYTE] |= 1 << (seq % BITS_PER_BYTE);
	fetch->nfound++;
}

/* Reads the chunks that are in the array. */
static void
read_from_array(WalredoToastAt *toast, ToastFetch *fetch)
{
	ToastChunk	first = {.valueid = fetch->valueid,.seq = PG_INT32_MIN};

	for (uint64 i = find_in_array(toast, &first);
		 i < toast->nchunks && toast->chunks[i].valueid == fetch->valueid &&
		 fetch->problem == NULL; i++)
		read_chunk(toast, fetch, toast->chunks[i].blkno,
				   toast->chunks[i].offnum);
}

/* Reads the chunks that the array does not have. */
static void
read_from_index(WalredoToastAt *toast, ToastFetch *fetch)
{
	IndexAttempt attempt = {.relid = toast->relid,.valueid = fetch->valueid};
	ErrorData  *error;

	/* Twice as many can be there if an older value has had the same OID. */
	attempt.limit = (uint64) fetch->nchunks * 2 + 64;
	error = walredo_attempt(read_index, &attempt);
	if (error != NULL)
	{
		fetch->problem = psprintf("The TOAST table's index could not be read: %s.",
								  error->message);
		FreeErrorData(error);
		return;
	}
	for (uint64 i = 0; i < attempt.ntids && fetch->problem == NULL; i++)
	{
		ItemPointer tid = &attempt.tids[i];
		BlockNumber blkno = ItemPointerGetBlockNumberNoCheck(tid);
		bool		is_complete;

		if (blkno < walredo_heap_at_blocks(toast->heap, toast->file,
										   &is_complete) &&
			!walredo_heap_at_is_changed(toast->heap, toast->file, blkno))
			read_chunk(toast, fetch, blkno,
					   ItemPointerGetOffsetNumberNoCheck(tid));
	}
	pfree(attempt.tids);
}

/* Reads the chunks of a value.  Returns whether it is complete. */
static bool
read_chunks(WalredoToastAt *toast, ToastFetch *fetch)
{
	memset(fetch->is_there, 0, fetch->nchunks / BITS_PER_BYTE + 1);
	fetch->nfound = 0;
	fetch->blkno = InvalidBlockNumber;
	fetch->problem = NULL;
	read_from_array(toast, fetch);
	if (toast->uses_index && fetch->problem == NULL &&
		fetch->nfound < fetch->nchunks)
		read_from_index(toast, fetch);
	return fetch->problem == NULL && fetch->nfound == fetch->nchunks;
}

/* Says why a value is not complete. */
static const char *
describe_missing(const WalredoToastAt *toast, const ToastFetch *fetch)
{
	const char *why = toast->problem;

	if (fetch->problem != NULL)
		return fetch->problem;
	if (why == NULL && toast->is_too_large)
		why = "The places of all chunks would take more memory than maintenance_work_mem.";
	return psprintf("Only %d of %d chunks of TOAST value %u were found.%s%s",
					fetch->nfound, fetch->nchunks, fetch->valueid,
					why != NULL ? " " : "", why != NULL ? why : "");
}

/*
 * Checks what can be seen of a pointer alone.  Returns NULL, or a sentence,
 * palloc'd.  See check_tuple_attribute() in verify_heapam.c.
 */
static const char *
check_pointer(const WalredoToastAt *toast,
			  const struct varatt_external *pointer)
{
	uint32		extsize = VARATT_EXTERNAL_GET_EXTSIZE(*pointer);
	bool		is_complete;
	BlockNumber nblocks = walredo_heap_at_blocks(toast->heap, toast->file,
												 &is_complete);

	if (OidIsValid(toast->relid) && pointer->va_toastrelid != toast->relid)
		return psprintf("TOAST value %u is in TOAST table %u, which is not the table's.",
						pointer->va_valueid, pointer->va_toastrelid);
	if (pointer->va_rawsize < VARHDRSZ ||
		!AllocSizeIsValid((Size) pointer->va_rawsize) || extsize == 0 ||
		extsize > pointer->va_rawsize - VARHDRSZ)
		return psprintf("TOAST value %u has %u bytes, and a raw size of %d, which is not possible.",
						pointer->va_valueid, extsize, pointer->va_rawsize);

	/* Check the size before memory is allocated for it. */
	if (extsize / BLCKSZ >= nblocks)
		return psprintf("TOAST value %u has %u bytes, which are more than the TOAST table has.",
						pointer->va_valueid, extsize);
	if (VARATT_EXTERNAL_IS_COMPRESSED(*pointer) &&
		extsize < VARHDRSZ_COMPRESSED - VARHDRSZ)
		return psprintf("TOAST value %u has %u bytes, which are too few to be decompressed.",
						pointer->va_valueid, extsize);
	return NULL;
}

/*
 * Decompresses a value that was fetched, whose header has to say the same as
 * the pointer.
 */
static bytea *
decompress_fetched(const struct varatt_external *pointer, const bytea *value,
				   const char **problem)
{
	if (VARDATA_COMPRESSED_GET_EXTSIZE(value) !=
		pointer->va_rawsize - VARHDRSZ ||
		VARDATA_COMPRESSED_GET_COMPRESS_METHOD(value) !=
		VARATT_EXTERNAL_GET_COMPRESS_METHOD(*pointer))
	{
		*problem = psprintf("The size or the compression method of TOAST value %u is not what its row has.",
							pointer->va_valueid);
		return NULL;
	}
	return walredo_decompress_datum(value, VARSIZE(value), problem);
}

bytea *
walredo_toast_at_fetch(WalredoToastAt *toast,
					   const struct varatt_external *pointer,
					   const char **problem)
{
	ToastFetch	fetch = {.valueid = pointer->va_valueid};
	bytea	   *value;
	bytea	   *result = NULL;

	*problem = check_pointer(toast, pointer);
	if (*problem != NULL)
		return NULL;
	if (!toast->is_begun)
		begin_array(toast);

	fetch.extsize = VARATT_EXTERNAL_GET_EXTSIZE(*pointer);
	fetch.nchunks = (fetch.extsize - 1) / TOAST_MAX_CHUNK_SIZE + 1;
	value = palloc((Size) fetch.extsize + VARHDRSZ);
	fetch.data = VARDATA(value);
	fetch.is_there = palloc(fetch.nchunks / BITS_PER_BYTE + 1);

	if (!read_chunks(toast, &fetch) && toast->uses_index &&
		!toast->is_too_large)
	{
		extend_array(toast);
		(void) read_chunks(toast, &fetch);
	}
	if (fetch.problem != NULL || fetch.nfound < fetch.nchunks)
		*problem = describe_missing(toast, &fetch);
	else if (VARATT_EXTERNAL_IS_COMPRESSED(*pointer))
	{
		SET_VARSIZE_COMPRESSED(value, fetch.extsize + VARHDRSZ);
		result = decompress_fetched(pointer, value, problem);
	}
	else
	{
		SET_VARSIZE(value, fetch.extsize + VARHDRSZ);
		result = value;
	}
	pfree(fetch.is_there);
	if (result != value)
		pfree(value);
	return result;
}

/* ----------------------------------------
 * Compression
 * ----------------------------------------
 */

bytea *
walredo_decompress_datum(const struct varlena *value, Size size,
						 const char **problem)
{
	const char *data = (const char *) value + VARHDRSZ_COMPRESSED;
	ToastCompressionId method;
	bytea	   *result;
	Size		data_size;
	uint32		raw_size;
	int32		result_size = -1;

	*problem = NULL;
	if (size < VARHDRSZ_COMPRESSED || !VARATT_IS_COMPRESSED(value) ||
		VARSIZE(value) != size)
	{
		*problem = pstrdup("The header of a compressed value is broken.");
		return NULL;
	}
	data_size = size - VARHDRSZ_COMPRESSED;
	raw_size = VARDATA_COMPRESSED_GET_EXTSIZE(value);
	method = VARDATA_COMPRESSED_GET_COMPRESS_METHOD(value);
	if (!AllocSizeIsValid((Size) raw_size + VARHDRSZ) ||
		raw_size / MAX_COMPRESSION_RATIO > data_size)
	{
		*problem = psprintf("A value of %u bytes cannot have been compressed to %zu bytes.",
							raw_size, data_size);
		return NULL;
	}

	result = palloc((Size) raw_size + VARHDRSZ);
	switch (method)
	{
		case TOAST_PGLZ_COMPRESSION_ID:
			result_size = pglz_decompress(data, data_size, VARDATA(result),
										  raw_size, true);
			break;
		case TOAST_LZ4_COMPRESSION_ID:
			result_size = LZ4_decompress_safe(data, VARDATA(result),
											  data_size, raw_size);
			break;
		default:
			*problem = psprintf("A value is compressed with a method %d that does not exist.",
								method);
			pfree(result);
			return NULL;
	}
	/* Unlike pglz_decompress(), lz4 is content with less. */
	if (result_size != (int32) raw_size)
	{
		*problem = pstrdup("A compressed value is broken.");
		pfree(result);
		return NULL;
	}
	SET_VARSIZE(result, raw_size + VARHDRSZ);
	return result;
}

/*-------------------------------------------------------------------------
 *
 * chunks.c
 *	  Values of row versions that are stored out of line.
 *
 * The chunks of a value are inserted before the row that refers to it, and stay
 * as they are as long as any version of the row does.  So they were inserted in
 * the range of WAL that is looked at, or were there where it begins.  The first
 * are added one by one, and kept in a temporary file; what chunk is where is in
 * a hash table.  The others are read as of the LSN where the range begins, if
 * any row needs them: many do not, because what an update leaves as it is was
 * often inserted long ago, but the range has few such updates.
 *
 * The OID of a value is used again when the value is gone.  So a chunk counts
 * only for rows that were made after it.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/rows/chunks.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/heaptoast.h"
#include "access/tupdesc.h"
#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "rows/toast_at.h"
#include "rows/chunks.h"
#include "rows/tuple.h"
#include "storage/buffile.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

/* How many chunks are added between two looks at the memory. */
#define CHUNKS_AT_ONCE		1024

typedef struct ChunkKey
{
	int32		file;
	Oid			valueid;
	int32		seq;
} ChunkKey;

typedef struct Chunk
{
	ChunkKey	key;			/* hash key */
	bool		is_ambiguous;	/* there are several */
	XLogRecPtr	lsn;			/* end LSN of the record */
	uint32		size;
	int			fileno;			/* where it is in the temporary file */
	off_t		offset;
} Chunk;

struct WalredoChunks
{
	MemoryContext context;		/* of what is counted */
	WalredoHeapFile *files;
	int			nfiles;
	const char *directory;
	XLogRecPtr	lsn;
	TupleDesc	tupdesc;		/* of chunks */
	HTAB	   *chunks;			/* of Chunks */
	uint64		nchunks;
	BufFile    *buffile;

	/* The TOAST tables as of the LSN; heap is NULL before they are needed. */
	WalredoHeapAt *heap;
	WalredoToastAt **tables;
	MemoryContext parent;		/* that they are allocated in */
};

WalredoChunks *
walredo_chunks_create(WalredoHeapFile *files, int nfiles,
					  const char *directory, XLogRecPtr lsn)
{
	MemoryContext parent = CurrentMemoryContext;
	WalredoChunks *store = palloc0(sizeof(WalredoChunks));
	HASHCTL		ctl = {0};

	store->parent = parent;
	store->context = AllocSetContextCreate(parent, "walredo TOAST chunks",
										   ALLOCSET_DEFAULT_SIZES);
	store->files = files;
	store->nfiles = nfiles;
	store->directory = directory;
	store->lsn = lsn;

	/* As create_toast_table() makes it. */
	store->tupdesc = CreateTemplateTupleDesc(3);
	TupleDescInitEntry(store->tupdesc, 1, "chunk_id", OIDOID, -1, 0);
	TupleDescInitEntry(store->tupdesc, 2, "chunk_seq", INT4OID, -1, 0);
	TupleDescInitEntry(store->tupdesc, 3, "chunk_data", BYTEAOID, -1, 0);
	TupleDescFinalize(store->tupdesc);

	ctl.keysize = sizeof(ChunkKey);
	ctl.entrysize = sizeof(Chunk);
	ctl.hcxt = store->context;
	store->chunks = hash_create("walredo TOAST chunks", 64, &ctl,
								HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	return store;
}

void
walredo_chunks_end(WalredoChunks *store)
{
	if (store->buffile != NULL)
		BufFileClose(store->buffile);
	if (store->heap != NULL)
	{
		for (int i = 0; i < store->nfiles; i++)
			walredo_toast_at_end(store->tables[i]);
		walredo_heap_at_end(store->heap);
	}
	MemoryContextDelete(store->context);
}

/* Writes a chunk to the temporary file. */
static void
keep_chunk(WalredoChunks *store, const ChunkKey *key, const char *data,
		   uint32 size, XLogRecPtr lsn)
{
	bool		found;
	Chunk	   *chunk = hash_search(store->chunks, key, HASH_ENTER, &found);

	if (found)
	{
		chunk->is_ambiguous = true;
		return;
	}
	if (store->buffile == NULL)
	{
		MemoryContext old_context = MemoryContextSwitchTo(store->context);

		store->buffile = BufFileCreateTemp(false);
		MemoryContextSwitchTo(old_context);
	}
	chunk->is_ambiguous = false;
	chunk->lsn = lsn;
	chunk->size = size;
	BufFileTell(store->buffile, &chunk->fileno, &chunk->offset);
	BufFileWrite(store->buffile, unconstify(char *, data), size);
	if (++store->nchunks % CHUNKS_AT_ONCE == 0 &&
		MemoryContextMemAllocated(store->context, true) / 1024 >
		maintenance_work_mem / 2)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the places of TOAST values take more memory than half of maintenance_work_mem"),
				 errhint("Specify a shorter range of WAL, or increase maintenance_work_mem.")));
}

bool
walredo_chunks_add(WalredoChunks *store, int file,
				   HeapTupleHeader tuple, Size size, XLogRecPtr lsn,
				   const char **problem)
{
	Datum		values[3];
	bool		nulls[3];
	ChunkKey	key;
	const char *data;

	if (!walredo_deform_tuple(store->tupdesc, tuple, size, values, nulls,
							  problem))
		return false;
	if (nulls[0] || nulls[1] || nulls[2])
	{
		*problem = pstrdup("A column of a chunk is null.");
		return false;
	}
	key.file = file;
	key.valueid = DatumGetObjectId(values[0]);
	key.seq = DatumGetInt32(values[1]);
	data = DatumGetPointer(values[2]);
	if (VARATT_IS_EXTERNAL(data) || VARATT_IS_COMPRESSED(data))
	{
		*problem = psprintf("Chunk %d of TOAST value %u is compressed, or stored out of line.",
							key.seq, key.valueid);
		return false;
	}
	keep_chunk(store, &key, VARDATA_ANY(data), VARSIZE_ANY_EXHDR(data), lsn);
	return true;
}

/* ----------------------------------------
 * Values
 * ----------------------------------------
 */

/* The chunk of a value, if it was added, and inserted up to an LSN; or NULL. */
static Chunk *
find_chunk(WalredoChunks *store, int file, Oid valueid, int32 seq,
		   XLogRecPtr lsn)
{
	ChunkKey	key = {file, valueid, seq};
	Chunk	   *chunk = hash_search(store->chunks, &key, HASH_FIND, NULL);

	return chunk != NULL && chunk->lsn <= lsn ? chunk : NULL;
}

/*
 * Reads the chunks of a value into data, which has room for it.  Returns false,
 * and sets *problem, if they are not those of such a value.
 */
static bool
read_chunks(WalredoChunks *store, int file,
			const struct varatt_external *pointer, XLogRecPtr lsn,
			char *data, const char **problem)
{
	uint32		extsize = VARATT_EXTERNAL_GET_EXTSIZE(*pointer);
	int32		nchunks = (extsize - 1) / TOAST_MAX_CHUNK_SIZE + 1;

	for (int32 seq = 0; seq < nchunks; seq++)
	{
		Chunk	   *chunk = find_chunk(store, file, pointer->va_valueid, seq,
									   lsn);
		uint32		expected_size = seq < nchunks - 1 ? TOAST_MAX_CHUNK_SIZE :
			extsize - (uint32) seq * TOAST_MAX_CHUNK_SIZE;

		CHECK_FOR_INTERRUPTS();
		if (chunk == NULL || chunk->is_ambiguous)
		{
			*problem = psprintf("Chunk %d of TOAST value %u is %s.", seq,
								pointer->va_valueid,
								chunk == NULL ? "missing" : "there twice");
			return false;
		}
		if (chunk->size != expected_size)
		{
			*problem = psprintf("Chunk %d of TOAST value %u has a size of %u, instead of %u.",
								seq, pointer->va_valueid, chunk->size,
								expected_size);
			return false;
		}
		if (BufFileSeek(store->buffile, chunk->fileno, chunk->offset,
						SEEK_SET) != 0)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not seek in temporary file")));
		walredo_buffile_read_exact(store->buffile,
								   data + (Size) seq * TOAST_MAX_CHUNK_SIZE,
								   chunk->size);
	}
	return true;
}

/* Makes a value of chunks that were added. */
static bytea *
make_value(WalredoChunks *store, int file,
		   const struct varatt_external *pointer, XLogRecPtr lsn,
		   const char **problem)
{
	uint32		extsize = VARATT_EXTERNAL_GET_EXTSIZE(*pointer);
	bytea	   *value;
	bytea	   *result;

	/* What is added says how large the value can be: there are its chunks. */
	if (extsize == 0 || pointer->va_rawsize < VARHDRSZ ||
		!AllocSizeIsValid((Size) pointer->va_rawsize) ||
		extsize > pointer->va_rawsize - VARHDRSZ ||
		(extsize - 1) / TOAST_MAX_CHUNK_SIZE >= store->nchunks)
	{
		*problem = psprintf("TOAST value %u has %u bytes, and a raw size of %d, which is not possible.",
							pointer->va_valueid, extsize,
							pointer->va_rawsize);
		return NULL;
	}
	value = palloc((Size) extsize + VARHDRSZ);
	if (!read_chunks(store, file, pointer, lsn, VARDATA(value), problem))
		return NULL;
	if (!VARATT_EXTERNAL_IS_COMPRESSED(*pointer))
	{
		SET_VARSIZE(value, extsize + VARHDRSZ);
		return value;
	}
	SET_VARSIZE_COMPRESSED(value, extsize + VARHDRSZ);
	result = walredo_decompress_datum(value, extsize + VARHDRSZ, problem);
	if (result != NULL && VARSIZE(result) != pointer->va_rawsize)
	{
		*problem = psprintf("The size of TOAST value %u is not what its row has.",
							pointer->va_valueid);
		return NULL;
	}
	return result;
}

/* Opens the TOAST tables as of the LSN where the range begins. */
static void
open_tables(WalredoChunks *store)
{
	MemoryContext old_context = MemoryContextSwitchTo(store->parent);
	WalredoHeapAt *heap = walredo_heap_at_begin(store->files, store->nfiles,
												store->lsn, store->directory);

	store->tables = palloc(store->nfiles * sizeof(WalredoToastAt *));
	for (int i = 0; i < store->nfiles; i++)
		store->tables[i] = walredo_toast_at_begin(heap, i,
												  store->files[i].relid);
	store->heap = heap;
	MemoryContextSwitchTo(old_context);
}

bytea *
walredo_chunks_fetch(WalredoChunks *store, int file,
					 const struct varatt_external *pointer,
					 XLogRecPtr lsn, const char **problem)
{
	if (find_chunk(store, file, pointer->va_valueid, 0, lsn) != NULL)
		return make_value(store, file, pointer, lsn, problem);
	if (store->heap == NULL)
		open_tables(store);
	return walredo_toast_at_fetch(store->tables[file],
								  pointer, problem);
}

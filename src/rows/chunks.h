/*-------------------------------------------------------------------------
 *
 * chunks.h
 *	  Values of row versions that are stored out of line.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/rows/chunks.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_ROWS_CHUNKS_H
#define WALREDO_ROWS_CHUNKS_H

#include "postgres.h"

#include "access/htup_details.h"
#include "access/xlogdefs.h"
#include "compat.h"
#include "rows/heap_at.h"

typedef struct WalredoChunks WalredoChunks;

/*
 * Prepares to fetch values from TOAST tables, whose files are given as for
 * walredo_heap_at_begin().  The array must live as long as the result, which is
 * allocated in the current memory context.  lsn is where a range of WAL begins:
 * all chunks that were inserted in it have to be added.
 */
extern WalredoChunks *walredo_chunks_create(WalredoHeapFile *files,
											int nfiles,
											const char *directory,
											XLogRecPtr lsn);

/*
 * Adds a chunk of a file: a tuple that walredo_heap_tuple() has returned, and
 * that a transaction has inserted which has committed; lsn is the end LSN of
 * the record.  Returns false, and sets *problem to a sentence, palloc'd, if
 * that is not a chunk.  ERROR 54000 if the places of chunks take more than half
 * of maintenance_work_mem.  The chunks are kept in a temporary file.
 */
extern bool walredo_chunks_add(WalredoChunks *chunks, int file,
							   HeapTupleHeader tuple, Size size,
							   XLogRecPtr lsn, const char **problem);

/*
 * Fetches a value, as walredo_toast_at_fetch() does, that a row refers to whose
 * record ended at lsn.  It is made of chunks that have been added and were
 * inserted up to then; or else as it was where the range begins, for which WAL
 * is read on the first call.
 */
extern bytea *walredo_chunks_fetch(WalredoChunks *chunks,
								   int file,
								   const struct varatt_external *pointer,
								   XLogRecPtr lsn,
								   const char **problem);

/* Frees temporary files. */
extern void walredo_chunks_end(WalredoChunks *chunks);

#endif							/* WALREDO_ROWS_CHUNKS_H */

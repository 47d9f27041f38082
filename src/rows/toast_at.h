/*-------------------------------------------------------------------------
 *
 * toast_at.h
 *	  Values that are stored out of line, as they were at an LSN.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/rows/toast_at.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_ROWS_TOAST_AT_H
#define WALREDO_ROWS_TOAST_AT_H

#include "postgres.h"

#include "compat.h"
#include "rows/heap_at.h"

typedef struct WalredoToastAt WalredoToastAt;

/*
 * Prepares to fetch values from file number file of heap, which is that of a
 * TOAST table.  relid is the TOAST table whose file it is now, which the caller
 * has locked, or InvalidOid: as in WalredoHeapFile.  The result is allocated in
 * the current memory context.
 */
extern WalredoToastAt *walredo_toast_at_begin(WalredoHeapAt *heap, int file,
											  Oid relid);

/*
 * Fetches a value, and returns it as an uncompressed varlena with a four-byte
 * header, palloc'd in the current memory context.  Nothing in the pointer, or
 * in the chunks, is trusted.  Returns NULL and sets *problem to a sentence,
 * palloc'd in the same context, if the value is not there as a whole.
 *
 * The first call may read the whole file, or what WAL has changed of it.  ERROR
 * 54000 if the places of its chunks take more than maintenance_work_mem.
 */
extern bytea *walredo_toast_at_fetch(WalredoToastAt *toast,
									 const struct varatt_external *pointer,
									 const char **problem);

/*
 * Decompresses a value that is compressed inline, of size bytes with its
 * header, in the same way.  It must be aligned for an int.
 */
extern bytea *walredo_decompress_datum(const struct varlena *value, Size size,
									   const char **problem);

extern void walredo_toast_at_end(WalredoToastAt *toast);

#endif							/* WALREDO_ROWS_TOAST_AT_H */

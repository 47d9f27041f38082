/*-------------------------------------------------------------------------
 *
 * heap_at.h
 *	  The pages of heap files, with all tuples that existed at an LSN.
 *
 * This needs less than the pages as of the LSN.  Where a page cannot be rebuilt
 * as of the LSN, a later state of it has the same tuples, and perhaps more, if
 * no record in between has removed any: only pruning and vacuum do that, while
 * an insertion, update, deletion or lock does not.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/rows/heap_at.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_ROWS_HEAP_AT_H
#define WALREDO_ROWS_HEAP_AT_H

#include "postgres.h"

#include "record/tag.h"
#include "rows/snapshot.h"
#include "storage/bufpage.h"

/* What a page is. */
typedef enum WalredoHeapPageKind
{
	WALREDO_HEAP_PAGE_AT,		/* as of the LSN */
	WALREDO_HEAP_PAGE_LATER,	/* as of later, with all tuples of the LSN */
	WALREDO_HEAP_PAGE_EMPTY,	/* had no tuples at the LSN; there is no page */
	WALREDO_HEAP_PAGE_UNKNOWN	/* is not known, see problem */
} WalredoHeapPageKind;

typedef struct WalredoHeapPage
{
	WalredoHeapPageKind kind;

	/*
	 * BLCKSZ bytes, MAXALIGNed, of which nothing has been checked.  Valid
	 * until the next call for a page of this file.  NULL if there is no page.
	 */
	char	   *page;

	/*
	 * A sentence, if the page is not known, or if it may lack tuples that
	 * existed at the LSN (kind is then WALREDO_HEAP_PAGE_LATER); else NULL.
	 * Valid as long as the page.
	 */
	const char *problem;
} WalredoHeapPage;

/* A file of which pages are wanted: the main fork of a heap. */
typedef struct WalredoHeapFile
{
	WalredoTag	tag;			/* of any block of it */

	/*
	 * The relation, which the caller has locked, if the file is the one that
	 * it has now; else InvalidOid.
	 */
	Oid			relid;

	/*
	 * Set by walredo_heap_at_begin(): if not InvalidXLogRecPtr, the end LSN
	 * of the record after the LSN that has created the file, which therefore
	 * has no tuples of the LSN; or by which it was removed.
	 */
	XLogRecPtr	created_lsn;
	XLogRecPtr	removed_lsn;
} WalredoHeapFile;

typedef struct WalredoHeapAt WalredoHeapAt;

/*
 * Reads WAL of a directory, as for walredo_reader_begin(), and of the server,
 * if it is the server's, from before lsn to its end, for the pages of some
 * files.  The array must live as long as the result, which is allocated in the
 * current memory context.  ERROR if WAL does not reach back to lsn.
 */
extern WalredoHeapAt *walredo_heap_at_begin(WalredoHeapFile *files,
											int nfiles, XLogRecPtr lsn,
											const char *directory);

/* The snapshot at the LSN. */
extern WalredoSnapshot *walredo_heap_at_snapshot(WalredoHeapAt *heap);

/*
 * How many blocks of a file can be asked for.  Blocks after that had no tuples
 * at the LSN, or nothing is known of them: then *is_complete is set to false.
 */
extern BlockNumber walredo_heap_at_blocks(WalredoHeapAt *heap, int file,
										  bool *is_complete);

/*
 * Has WAL changed a block of a file after the LSN?  If the file is the one that
 * its relation has now, and it has not, the server's own page has the tuples of
 * the LSN.
 */
extern bool walredo_heap_at_is_changed(WalredoHeapAt *heap, int file,
									   BlockNumber blkno);

/*
 * Gets a page.  Calls are fastest in the order of block numbers, file by file,
 * but can be in any.
 */
extern void walredo_heap_at_page(WalredoHeapAt *heap, int file,
								 BlockNumber blkno, WalredoHeapPage *page);

/* Frees what the pages of a file take, none of which are asked for any more. */
extern void walredo_heap_at_release(WalredoHeapAt *heap, int file);

extern void walredo_heap_at_end(WalredoHeapAt *heap);

#endif							/* WALREDO_ROWS_HEAP_AT_H */

/*-------------------------------------------------------------------------
 *
 * index.h
 *	  Indexes of WAL: which records of a segment concern a page.
 *
 * An index is a cache.  It can be missing, for whatever reason, and then WAL
 * has to be read.  What an index says is a hint: those who use it read each
 * record that it names, and walredo_changes_of() says what that record does.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/index/index.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_INDEX_H
#define WALREDO_INDEX_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "index/format.h"
#include "record/tag.h"
#include "source/source.h"
#include "wal/reader.h"

/*
 * The setting walredo.index_size: how large the indexes of all directories may
 * be together, in kilobytes.  0 means that indexes are neither made nor used.
 */
extern int	walredo_index_size;

/* The setting walredo.index_wal: is the worker to index the server's WAL? */
extern bool walredo_index_server_wal;

/* ----------------------------------------
 * Using indexes
 * ----------------------------------------
 */

/*
 * The index of one segment.  The session keeps some that it used last.
 */
typedef struct WalredoIndexSegment WalredoIndexSegment;

/*
 * Finds the index of the segment that lsn is in, of the file that would be read
 * first.  This calls stat() for the file, and does not open it; of an index
 * that the session has, the file is not opened either.
 *
 * Returns false if there is no index, if it is not of that file as it is now,
 * or if it is damaged.  Otherwise sets *info, unless that is NULL, and *index,
 * which is valid until the next call of this function, or of a function that
 * reads WAL with an indexer.
 *
 * Nothing about an index is ever raised as an error.
 */
extern bool walredo_index_find(WalredoSource *source, XLogRecPtr lsn,
							   WalredoIndexInfo *info,
							   WalredoIndexSegment **index);

/*
 * Looks up the records that concern a page, as walredo_index_file_lookup()
 * does, which says what they are.  Returns their number.  If that is not 0,
 * *refs is palloc'd in the current memory context, in ascending order.
 *
 * Returns -1 if the index is damaged, or has gone.  It is then removed, and
 * must not be used again; the caller has to read WAL.
 */
extern int	walredo_index_lookup(WalredoIndexSegment *index,
								 const WalredoTag *tag,
								 WalredoIndexRef **refs);

/*
 * The same, but only records that may create, truncate or remove files of the
 * relation of a block, as walredo_index_file_lookup_ends() says.
 */
extern int	walredo_index_lookup_ends(WalredoIndexSegment *index,
									  const WalredoTag *tag,
									  WalredoIndexRef **refs);

/*
 * Removes an index that turned out to be wrong: it names a record that is not
 * there, or does not link to the segment before or after it.  It must not be
 * used again.
 */
extern void walredo_index_distrust(WalredoIndexSegment *index);

/* ----------------------------------------
 * Making indexes
 * ----------------------------------------
 */

typedef struct WalredoIndexWork WalredoIndexWork;

/*
 * Makes the missing indexes of the segments that a reader reads anyway.
 *
 * The index of a segment is made when the reader goes from the first record
 * that begins in the segment to the last one, which is known to be the last one
 * when the reader is at a record of a later segment, or at one that switches to
 * the next segment.  All of this must be read from the same file.
 */
typedef struct WalredoIndexer
{
	WalredoReader *reader;

	/*
	 * Records that begin in this range need not be looked at: their segment
	 * has an index, or cannot get one.
	 */
	XLogRecPtr	skip_from;
	uint64		skip_length;

	WalredoIndexWork *work;		/* private */
} WalredoIndexer;

/*
 * Creates an indexer for the records of a reader, in the current memory
 * context.  Returns NULL if indexes are turned off; the functions below accept
 * that.  The reader must live as long as the indexer.
 */
extern WalredoIndexer *walredo_indexer_create(WalredoReader *reader);

extern void walredo_indexer_add_record(WalredoIndexer *indexer);

/*
 * To be called after each record that walredo_reader_next() has found, once,
 * with where it begins.  Nothing is raised as an error, and no more than 33 MB
 * of memory are taken.
 */
static inline void
walredo_indexer_add(WalredoIndexer *indexer, XLogRecPtr lsn)
{
	if (indexer != NULL &&
		lsn - indexer->skip_from >= indexer->skip_length)
		walredo_indexer_add_record(indexer);
}

/* Frees an indexer.  It need not be called before the reader is freed. */
extern void walredo_indexer_free(WalredoIndexer *indexer);

/* What walredo_index_directory() has found and made. */
typedef struct WalredoIndexResult
{
	int64		segments;		/* that are whole */
	int64		indexed;		/* of them, those that have an index now */
	int64		made;			/* of them, those whose index was made now */
	int64		bytes;			/* of the indexes that they have */
} WalredoIndexResult;

/*
 * Makes the indexes that the segments in some directories lack, of the history
 * that walredo_source_begin() follows.  Raises the errors of
 * walredo_source_begin() for the directories, and none for anything else.
 */
extern void walredo_index_directory(const char *directories,
									WalredoIndexResult *result);

/* ----------------------------------------
 * The background worker
 * ----------------------------------------
 */

/*
 * Registers the worker that makes indexes of the server's own WAL.  To be
 * called from _PG_init() while shared_preload_libraries are loaded.
 */
extern void walredo_index_register_worker(void);

#endif							/* WALREDO_INDEX_H */

/*-------------------------------------------------------------------------
 *
 * pending.h
 *	  Records of one page that wait to be replayed.
 *
 * A rebuild keeps such records for many pages at a time.  Most pages have few
 * records, and some have very many.  The records of a page are stored one after
 * the other in chunks of memory, from which they can be sent to a child without
 * being copied, a chunk at a time.  The first chunk of a page is small, and
 * later ones are larger, in proportion to what the page has already, so that
 * little memory is unused.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/pending.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_PAGE_PENDING_H
#define WALREDO_PAGE_PENDING_H

#include "postgres.h"

#include "page/arena.h"
#include "redo/replay.h"

typedef struct WalredoPendingChunk
{
	struct WalredoPendingChunk *next;
	uint32		size;			/* of its data */
	uint32		used;
} WalredoPendingChunk;

#define WALREDO_CHUNK_HDRSZ	MAXALIGN(sizeof(WalredoPendingChunk))
#define WalredoChunkData(chunk)	((char *) (chunk) + WALREDO_CHUNK_HDRSZ)

/* The records of one page.  All zeroes means that there are none. */
typedef struct WalredoPending
{
	WalredoPendingChunk *first;
	WalredoPendingChunk *last;	/* which is filled now */
	int			num_chunks;
	int			num_records;
	Size		size;			/* of the chunks, with their headers */
} WalredoPending;

/* Adds a chunk that has room for a record of size bytes. */
extern void walredo_pending_grow(WalredoPending *pending,
								 WalredoArena *arena, Size size);

/*
 * Adds a record of size bytes, and returns where the caller has to write it.
 * The address is MAXALIGNed if the sizes of all records of the page are.
 */
static inline char *
walredo_pending_add(WalredoPending *pending, WalredoArena *arena,
					Size size)
{
	WalredoPendingChunk *chunk = pending->last;
	char	   *result;

	if (chunk == NULL || chunk->size - chunk->used < size)
	{
		walredo_pending_grow(pending, arena, size);
		chunk = pending->last;
	}
	result = WalredoChunkData(chunk) + chunk->used;
	chunk->used += size;
	pending->num_records++;
	return result;
}

/* Moves all records from earlier to the front of pending. */
extern void walredo_pending_prepend(WalredoPending *pending,
									WalredoPending *earlier);

/* Frees all records. */
extern void walredo_pending_free(WalredoPending *pending,
								 WalredoArena *arena);

/*
 * Returns the records as an array of num_chunks pieces for a WalredoReplayJob,
 * palloc'd in the given context.  The pieces point into the chunks.
 */
extern WalredoReplayPiece *walredo_pending_pieces(const WalredoPending *pending,
												  MemoryContext context);

#endif							/* WALREDO_PAGE_PENDING_H */

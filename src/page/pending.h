/*-------------------------------------------------------------------------
 *
 * pending.h
 *	  Records of one page that wait to be replayed.
 *
 * A rebuild keeps these for many pages at a time, of which most have few
 * records and some have a great many.  Records of a page are put into chunks of
 * memory, one after the other, so that a child can be sent them from where they
 * are, with as few pieces as possible.  The first chunk of a page is small, and
 * those after it grow with what the page has, so that no page wastes much.
 * Their sizes are powers of two, except where a record is larger, so that
 * memory that one page frees is of use to another.
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

#include "redo/replay.h"

/* A memory context, and how many bytes of it are in use. */
typedef struct WalredoCountedMemory
{
	MemoryContext context;
	Size		used;
} WalredoCountedMemory;

typedef struct WalredoPendingChunk
{
	struct WalredoPendingChunk *next;
	uint32		size;			/* of its data */
	uint32		used;
} WalredoPendingChunk;

#define WALREDO_CHUNK_HDRSZ	MAXALIGN(sizeof(WalredoPendingChunk))
#define WalredoChunkData(chunk)	((char *) (chunk) + WALREDO_CHUNK_HDRSZ)

/* The records; all zeroes is none. */
typedef struct WalredoPending
{
	WalredoPendingChunk *first;
	WalredoPendingChunk *last;	/* which is filled now */
	int			num_chunks;
	int			num_records;
	Size		size;			/* of the chunks, with their headers */
} WalredoPending;

/* Adds a chunk with room for at least size bytes. */
extern void walredo_pending_grow(WalredoPending *pending,
								 WalredoCountedMemory *memory, Size size);

/*
 * Adds a record of size bytes, which the caller writes where the result points
 * to.  It is aligned if all that were added have sizes that are.
 */
static inline char *
walredo_pending_add(WalredoPending *pending, WalredoCountedMemory *memory,
					Size size)
{
	WalredoPendingChunk *chunk = pending->last;
	char	   *result;

	if (chunk == NULL || chunk->size - chunk->used < size)
	{
		walredo_pending_grow(pending, memory, size);
		chunk = pending->last;
	}
	result = WalredoChunkData(chunk) + chunk->used;
	chunk->used += size;
	pending->num_records++;
	return result;
}

/* Puts records before others; what they were taken from is empty then. */
extern void walredo_pending_prepend(WalredoPending *pending,
									WalredoPending *earlier);

/* Frees all records. */
extern void walredo_pending_free(WalredoPending *pending,
								 WalredoCountedMemory *memory);

/* The chunks as pieces of a job; palloc'd in the given context. */
extern WalredoReplayPiece *walredo_pending_pieces(const WalredoPending *pending,
												  MemoryContext context);

#endif							/* WALREDO_PAGE_PENDING_H */

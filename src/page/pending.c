/*-------------------------------------------------------------------------
 *
 * pending.c
 *	  Records of one page that wait to be replayed.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/pending.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "page/pending.h"
#include "utils/memutils.h"

/* The sizes of chunks to ask for, unless a record is larger. */
#define MIN_CHUNK_SIZE		256
#define MAX_CHUNK_SIZE		8192

void
walredo_pending_grow(WalredoPending *pending, WalredoArena *arena, Size size)
{
	Size		wanted = pending->size / 4;
	WalredoPendingChunk *chunk;

	wanted = Max(wanted, MIN_CHUNK_SIZE);
	wanted = Min(wanted, MAX_CHUNK_SIZE);
	wanted = Max(wanted, WALREDO_CHUNK_HDRSZ + size);
	chunk = walredo_arena_alloc(arena, wanted, &wanted);
	chunk->next = NULL;
	chunk->size = wanted - WALREDO_CHUNK_HDRSZ;
	chunk->used = 0;

	if (pending->last)
		pending->last->next = chunk;
	else
		pending->first = chunk;
	pending->last = chunk;
	pending->num_chunks++;
	pending->size += wanted;
}

void
walredo_pending_prepend(WalredoPending *pending, WalredoPending *earlier)
{
	if (earlier->first == NULL)
		return;
	earlier->last->next = pending->first;
	pending->first = earlier->first;
	if (pending->last == NULL)
		pending->last = earlier->last;
	pending->num_chunks += earlier->num_chunks;
	pending->num_records += earlier->num_records;
	pending->size += earlier->size;
	memset(earlier, 0, sizeof(*earlier));
}

void
walredo_pending_free(WalredoPending *pending, WalredoArena *arena)
{
	WalredoPendingChunk *chunk = pending->first;

	while (chunk != NULL)
	{
		WalredoPendingChunk *next = chunk->next;

		walredo_arena_free(arena, chunk);
		chunk = next;
	}
	memset(pending, 0, sizeof(*pending));
}

WalredoReplayPiece *
walredo_pending_pieces(const WalredoPending *pending, MemoryContext context)
{
	WalredoReplayPiece *pieces =
		MemoryContextAlloc(context, pending->num_chunks *
						   sizeof(WalredoReplayPiece));
	WalredoPendingChunk *chunk = pending->first;

	for (int i = 0; i < pending->num_chunks; i++)
	{
		pieces[i].data = WalredoChunkData(chunk);
		pieces[i].size = chunk->used;
		chunk = chunk->next;
	}
	return pieces;
}

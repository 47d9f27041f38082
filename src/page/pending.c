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

/* Sizes of chunks with their headers, unless a record is larger. */
#define MIN_CHUNK_SIZE		256
#define MAX_CHUNK_SIZE		8192

void
walredo_pending_grow(WalredoPending *pending, WalredoCountedMemory *memory,
					 Size size)
{
	Size		chunk_size = MIN_CHUNK_SIZE;
	WalredoPendingChunk *chunk;

	while (chunk_size < MAX_CHUNK_SIZE && chunk_size < pending->size / 2)
		chunk_size *= 2;
	chunk_size = Max(chunk_size, MAXALIGN(WALREDO_CHUNK_HDRSZ + size));
	chunk = MemoryContextAlloc(memory->context, chunk_size);
	chunk->next = NULL;
	chunk->size = chunk_size - WALREDO_CHUNK_HDRSZ;
	chunk->used = 0;
	memory->used += chunk_size;

	if (pending->last)
		pending->last->next = chunk;
	else
		pending->first = chunk;
	pending->last = chunk;
	pending->num_chunks++;
	pending->size += chunk_size;
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
walredo_pending_free(WalredoPending *pending, WalredoCountedMemory *memory)
{
	WalredoPendingChunk *chunk = pending->first;

	memory->used -= pending->size;
	while (chunk != NULL)
	{
		WalredoPendingChunk *next = chunk->next;

		pfree(chunk);
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

/*-------------------------------------------------------------------------
 *
 * arena.h
 *	  Memory for the records and images of a rebuild, of which no more is
 *	  taken from the operating system than is counted.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/arena.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_ARENA_H
#define WALREDO_ARENA_H

#include "postgres.h"

#include "lib/ilist.h"

/* The number of sizes of chunks: see arena.c. */
#define WALREDO_ARENA_NUM_SIZES		29

typedef struct WalredoArena
{
	MemoryContext context;

	/*
	 * Bytes of all frames in which a chunk is used, and of chunks that are
	 * not in a frame, with headers.  Free frames are not included.
	 */
	Size		used;

	dlist_head	free_frames;

	/* For each size, frames that have room for another chunk. */
	dlist_head	open_frames[WALREDO_ARENA_NUM_SIZES];
} WalredoArena;

/* Prepares an arena, whose memory will be in a child of the given context. */
extern void walredo_arena_init(WalredoArena *arena, MemoryContext parent);

/*
 * Returns a chunk of at least size bytes, MAXALIGNed, and sets *actual_size to
 * how many it has, unless actual_size is NULL.  A size that is more than
 * MaxAllocSize raises an error.
 */
extern void *walredo_arena_alloc(WalredoArena *arena, Size size,
								 Size *actual_size);

extern void walredo_arena_free(WalredoArena *arena, void *chunk);

/* Returns free frames to the operating system, or to malloc() at least. */
extern void walredo_arena_trim(WalredoArena *arena);

#endif							/* WALREDO_ARENA_H */

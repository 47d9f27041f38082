/*-------------------------------------------------------------------------
 *
 * arena.c
 *	  Memory for the records and images of a rebuild, of which no more is
 *	  taken from the operating system than is counted.
 *
 * A rebuild allocates and frees millions of chunks, most of them between 256
 * bytes and a little more than a page, and in other sizes at one time than at
 * another.  An AllocSet rounds each up to a power of two, and never uses a
 * freed chunk of one size for another size, so that it can take several times
 * the memory that its user believes to have.
 *
 * Here, all memory is taken in frames of the same size.  The chunks of a frame
 * have the same size, too, which is one of a list in which each size is at most
 * a quarter larger than the one before.  A frame whose chunks are all free is
 * used again for chunks of any size.  What counts as used are whole frames,
 * even if a part of the chunks in them is free, so fragmentation is counted,
 * too.  It ends when the rebuild is flushed, which frees nearly all chunks.
 *
 * Most rebuilds are of one page, with a few records.  To get frames from the
 * operating system for them, and give them back, would take longer than all
 * else.  So the first chunks have memory of their own, without frames.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/arena.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "page/arena.h"
#include "utils/memutils.h"

/*
 * A frame is large enough for eight chunks that each have a record with a whole
 * image of a page, or such an image alone.
 */
#define FRAME_DATA_SIZE		(8 * (BLCKSZ + 256))

/* There are no frames before so much is used. */
#define FIRST_FRAME_AT		(64 * 1024)

typedef struct Frame
{
	dlist_node	node;			/* in free_frames or open_frames, if in any */
	uint16		size_class;		/* index in chunks_per_frame */
	uint16		num_used;		/* chunks that are used */
	uint16		num_made;		/* chunks that have been used at least once */
	struct Chunk *free;			/* those of them that are free */
	char		data[FRAME_DATA_SIZE];
} Frame;

/* What precedes a chunk. */
typedef struct ChunkHeader
{
	Frame	   *frame;			/* NULL if the chunk is not in a frame */
} ChunkHeader;

/* A free chunk. */
typedef struct Chunk
{
	struct Chunk *next;
} Chunk;

#define CHUNK_HEADER_SIZE	MAXALIGN(sizeof(ChunkHeader))
#define HeaderOfChunk(chunk) \
	((ChunkHeader *) ((char *) (chunk) - CHUNK_HEADER_SIZE))

/* How many chunks a frame is cut into, beginning with the smallest ones. */
static const uint16 chunks_per_frame[WALREDO_ARENA_NUM_SIZES] = {
	256, 224, 192, 160, 128, 112, 96, 80, 64, 56, 48, 40, 32, 28, 24, 20, 16,
	14, 12, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1
};

/* The size of chunks, with their headers. */
#define SizeOfClass(size_class) \
	MAXALIGN_DOWN(FRAME_DATA_SIZE / chunks_per_frame[size_class])

void
walredo_arena_init(WalredoArena *arena, MemoryContext parent)
{
	arena->context = AllocSetContextCreate(parent, "walredo records",
										   ALLOCSET_DEFAULT_SIZES);
	arena->used = 0;
	dlist_init(&arena->free_frames);
	for (int i = 0; i < WALREDO_ARENA_NUM_SIZES; i++)
		dlist_init(&arena->open_frames[i]);
}

/* Returns the class of the smallest chunks that have that size, or -1. */
static inline int
class_of_size(Size size)
{
	int			low = 0;
	int			high = WALREDO_ARENA_NUM_SIZES - 1;

	if (size > SizeOfClass(high))
		return -1;
	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (SizeOfClass(middle) < size)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Makes a frame for chunks of a class, and puts it among the open ones. */
static Frame *
open_frame(WalredoArena *arena, int size_class)
{
	Frame	   *frame;

	if (dlist_is_empty(&arena->free_frames))
		frame = MemoryContextAlloc(arena->context, sizeof(Frame));
	else
		frame = dlist_container(Frame, node,
								dlist_pop_head_node(&arena->free_frames));
	frame->size_class = size_class;
	frame->num_used = 0;
	frame->num_made = 0;
	frame->free = NULL;
	dlist_push_head(&arena->open_frames[size_class], &frame->node);
	arena->used += sizeof(Frame);
	return frame;
}

/* Returns a chunk that is not in a frame. */
static void *
alloc_alone(WalredoArena *arena, Size size, Size *actual_size)
{
	ChunkHeader *header;

	/* It might fit into the place of free frames. */
	walredo_arena_trim(arena);
	header = MemoryContextAlloc(arena->context, size);
	header->frame = NULL;
	arena->used += GetMemoryChunkSpace(header);
	if (actual_size)
		*actual_size = size - CHUNK_HEADER_SIZE;
	return (char *) header + CHUNK_HEADER_SIZE;
}

void *
walredo_arena_alloc(WalredoArena *arena, Size size, Size *actual_size)
{
	int			size_class;
	Frame	   *frame;
	Chunk	   *chunk;

	size = CHUNK_HEADER_SIZE + MAXALIGN(size);
	size_class = class_of_size(size);
	if (size_class < 0 || arena->used < FIRST_FRAME_AT)
		return alloc_alone(arena, size, actual_size);

	if (dlist_is_empty(&arena->open_frames[size_class]))
		frame = open_frame(arena, size_class);
	else
		frame = dlist_head_element(Frame, node,
								   &arena->open_frames[size_class]);
	if (frame->free != NULL)
	{
		chunk = frame->free;
		frame->free = chunk->next;
	}
	else
	{
		chunk = (Chunk *) (frame->data + CHUNK_HEADER_SIZE +
						   frame->num_made * SizeOfClass(size_class));
		HeaderOfChunk(chunk)->frame = frame;
		frame->num_made++;
	}
	frame->num_used++;
	if (frame->num_used == chunks_per_frame[size_class])
		dlist_delete(&frame->node);
	if (actual_size)
		*actual_size = SizeOfClass(size_class) - CHUNK_HEADER_SIZE;
	return chunk;
}

void
walredo_arena_free(WalredoArena *arena, void *pointer)
{
	Chunk	   *chunk = pointer;
	Frame	   *frame = HeaderOfChunk(chunk)->frame;

	if (frame == NULL)
	{
		arena->used -= GetMemoryChunkSpace(HeaderOfChunk(chunk));
		pfree(HeaderOfChunk(chunk));
		return;
	}

	chunk->next = frame->free;
	frame->free = chunk;
	if (frame->num_used == chunks_per_frame[frame->size_class])
		dlist_push_tail(&arena->open_frames[frame->size_class], &frame->node);
	frame->num_used--;
	if (frame->num_used == 0)
	{
		dlist_delete(&frame->node);
		dlist_push_head(&arena->free_frames, &frame->node);
		arena->used -= sizeof(Frame);
	}
}

void
walredo_arena_trim(WalredoArena *arena)
{
	while (!dlist_is_empty(&arena->free_frames))
		pfree(dlist_container(Frame, node,
							  dlist_pop_head_node(&arena->free_frames)));
}

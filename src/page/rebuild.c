/*-------------------------------------------------------------------------
 *
 * rebuild.c
 *	  Pages made from the records that WAL has of them.
 *
 * A page's records are of no use before the first that makes an image of its
 * own (unless a base image was given), and none before the last such record
 * is needed.  So the records that wait for a page are dropped whenever another
 * image of it comes.
 *
 * A child has nothing to do as long as WAL is being read, so it is given
 * pages that are unlikely to be changed again soon, and those that have many
 * records.  If more records come for them later, they are replayed on the image
 * that it has made.  If it fails, the records wait as before: they may yet turn
 * out not to be needed.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/rebuild.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/rmgr.h"
#include "common/hashfn.h"
#include "compat.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "native/native.h"
#include "page/hole.h"
#include "page/rebuild.h"
#include "redo/replay.h"
#include "storage/buffile.h"
#include "storage/bufpage.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

/*
 * Memory for records of one page that wait to be replayed, one after the
 * other, so that they are found together when they are.  Chunks grow with the
 * page: many pages have few records, and no page may waste much.  Their sizes
 * are powers of two, as far as that goes, so that they can be used again.
 *
 * Records of pages that only a child changes, which are nearly all, are in the
 * form in which a child is given them, and are sent from where they are.
 * Others are WalredoRecords, each aligned.
 */
typedef struct PendingChunk
{
	struct PendingChunk *next;
	uint32		size;			/* of its data */
	uint32		used;
} PendingChunk;

#define CHUNK_HDRSZ			MAXALIGN(sizeof(PendingChunk))
#define ChunkData(chunk)	((char *) (chunk) + CHUNK_HDRSZ)

#define MIN_CHUNK_SIZE		256 /* with the header */
#define MAX_CHUNK_SIZE		8192

#define OnlyChildChanges(tag) \
	((tag)->kind == WALREDO_TAG_REL && \
	 (tag)->forknum != VISIBILITYMAP_FORKNUM)

/*
 * When a page is replayed ahead of time: when so many bytes of records wait for
 * it, or fewer, and for so many bytes of WAL none has come.  It is a matter
 * of some 10 kB to send an image there and back, and that is for nothing if
 * more records come.
 */
#define MANY_PENDING		(32 * 1024)
#define SOME_PENDING		(4 * 1024)
#define QUIET_DISTANCE		(1024 * 1024)

/* Pages to look at for that before WAL is read on. */
#define MAX_LOOKS			64

/* Pages that are replayed before the first of them is returned. */
#define PAGES_AT_ONCE		256

typedef struct Replay Replay;

/* Pages of a fork, from a block on, have come to an end. */
typedef struct ForkEnd
{
	uint32		number;			/* of all ends of the fork, from 1 on */
	BlockNumber first_block;
	WalredoPageEnd end;
	XLogRecPtr	lsn;
} ForkEnd;

/*
 * A fork.  Its pages take note of ends when they are next looked at, so that an
 * end costs nothing for pages that nobody asks for any more.
 *
 * An end makes those before it that began at the same or a later block
 * pointless, and these are dropped.  So first blocks rise from one end to the
 * next, and the last end that a block was part of is found by bisection.
 */
typedef struct ForkEntry
{
	uint32		total_ends;		/* that ever were */
	int			num_ends;
	int			max_ends;
	ForkEnd    *ends;
} ForkEntry;

/* A page. */
typedef struct PageEntry
{
	WalredoTag	tag;
	bool		has_start;		/* there is an image, or pending begins one */
	bool		start_has_hole; /* ... which is an image with a hole */
	bool		is_waiting;		/* in the list of those with pending records */
	bool		has_failed;		/* a child, at the records that are pending */
	WalredoPageEnd end;
	XLogRecPtr	end_lsn;
	int			rmid;			/* as in WalredoRebuiltPage */
	ForkEntry  *fork;			/* NULL if it is no block of a relation */
	uint32		ends_seen;		/* of the fork's total_ends */
	int			num_pending;
	uint64		num_records;
	XLogRecPtr	first_lsn;
	XLogRecPtr	last_lsn;
	XLogRecPtr	base_lsn;		/* of the image given, while it matters */
	PendingChunk *chunks;		/* what the pending records are in */
	PendingChunk *chunk;		/* the last of them, which is filled now */
	int			num_chunks;
	Size		pending_size;	/* of the chunks */
	dlist_node	waiting_node;
	Replay	   *replay;			/* that has the image, or NULL */
	bytea	   *image;			/* NULL if none, or in the file */
	bool		in_file;		/* the image is in its slot there */
	int64		image_slot;		/* -1 if none yet */
} PageEntry;

/* A page on its way through a child. */
struct Replay
{
	WalredoReplayJob job;		/* first: it is what comes back */
	WalredoRebuild *rebuild;
	PageEntry  *page;			/* NULL if what comes back is outdated */
	PendingChunk *chunks;
	bytea	   *base;			/* NULL if none */
};

/* An element of the hash table. */
typedef struct PageSlot
{
	WalredoTag	tag;			/* hash key */
	char		status;			/* for simplehash */
	PageEntry  *page;
} PageSlot;

/*
 * Every block of every record is looked up, so this has to be cheap.  Blocks
 * are numbered one after the other, and relations nearly so.
 */
static inline uint32
hash_tag(const WalredoTag *tag)
{
	return murmurhash32((uint32) tag->number ^
						((uint32) (tag->number >> 32) * 31) ^
						(tag->relNumber * 0x9e3779b1) ^
						((uint32) tag->kind << 29) ^
						((uint32) tag->forknum << 27));
}

#define SH_PREFIX				pagetable
#define SH_ELEMENT_TYPE			PageSlot
#define SH_KEY_TYPE				WalredoTag
#define SH_KEY					tag
#define SH_HASH_KEY(tb, key)	hash_tag(&(key))
#define SH_EQUAL(tb, a, b) \
	((a).number == (b).number && \
	 memcmp(&(a), &(b), offsetof(WalredoTag, number)) == 0)
#define SH_SCOPE				static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* An element of the hash table of forks, keyed by their block 0. */
typedef struct ForkSlot
{
	WalredoTag	tag;			/* hash key */
	char		status;			/* for simplehash */
	ForkEntry  *fork;
} ForkSlot;

#define SH_PREFIX				forktable
#define SH_ELEMENT_TYPE			ForkSlot
#define SH_KEY_TYPE				WalredoTag
#define SH_KEY					tag
#define SH_HASH_KEY(tb, key)	hash_tag(&(key))
#define SH_EQUAL(tb, a, b)		(memcmp(&(a), &(b), sizeof(WalredoTag)) == 0)
#define SH_SCOPE				static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

struct WalredoRebuild
{
	MemoryContext context;		/* all of it is in here */
	ResourceOwner owner;		/* of the file */
	MemoryContext data_context; /* records that wait, and images */
	Size		data_size;		/* what is in there */
	Size		data_limit;
	pagetable_hash *pages;
	forktable_hash *forks;
	dlist_head	waiting;		/* pages that a child could replay */
	WalredoStream *stream;		/* NULL before the first replay */
	bool		has_failed;		/* a child, at a page: replay none ahead */
	BufFile    *images;			/* a page a slot; NULL before the first */
	int64		num_slots;

	/* While somebody goes through pages. */
	PageEntry **sorted;			/* all of them; NULL before the first time */
	int			num_sorted;
	int			next_page;		/* of those sorted */
	int			end_of_fork;
	int			replayed_to;	/* all before it have been given to a child */
	PageEntry  *last_page;		/* that was returned, or NULL */
	bytea	   *from_file;		/* its image, if it is not kept in memory */
};

static void end_page(WalredoRebuild *rebuild, PageEntry *page,
					 WalredoPageEnd end, XLogRecPtr lsn);

WalredoRebuild *
walredo_rebuild_create(void)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "walredo rebuild",
												  ALLOCSET_DEFAULT_SIZES);
	WalredoRebuild *rebuild = MemoryContextAllocZero(context,
													 sizeof(WalredoRebuild));

	rebuild->context = context;
	rebuild->owner = CurrentResourceOwner;
	rebuild->data_context = AllocSetContextCreate(context, "walredo records",
												  ALLOCSET_DEFAULT_SIZES);
	rebuild->data_limit = (Size) maintenance_work_mem * 1024;
	rebuild->pages = pagetable_create(context, 64, NULL);
	rebuild->forks = forktable_create(context, 16, NULL);
	dlist_init(&rebuild->waiting);
	return rebuild;
}

void
walredo_rebuild_free(WalredoRebuild *rebuild)
{
	if (rebuild->stream)
		walredo_stream_end(rebuild->stream);
	if (rebuild->images)
		BufFileClose(rebuild->images);
	MemoryContextDelete(rebuild->context);
}

/* Finds the fork of a block, or adds it if create is set. */
static ForkEntry *
find_fork(WalredoRebuild *rebuild, const WalredoTag *tag, bool create)
{
	WalredoTag	key = *tag;
	ForkSlot   *slot;
	bool		found = true;

	key.number = 0;
	slot = create ? forktable_insert(rebuild->forks, key, &found) :
		forktable_lookup(rebuild->forks, key);
	if (!found)
		slot->fork = MemoryContextAllocZero(rebuild->context,
											sizeof(ForkEntry));
	return slot ? slot->fork : NULL;
}

/* The last end that a block of a fork was part of, or NULL. */
static const ForkEnd *
last_end(const ForkEntry *fork, uint64 blkno)
{
	int			low = 0;
	int			high = fork->num_ends;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (fork->ends[middle].first_block <= blkno)
			low = middle + 1;
		else
			high = middle;
	}
	return low > 0 ? &fork->ends[low - 1] : NULL;
}

/* Has a page take note of the ends of its fork. */
static inline void
see_ends(WalredoRebuild *rebuild, PageEntry *page)
{
	const ForkEnd *end;

	if (page->fork == NULL || page->ends_seen == page->fork->total_ends)
		return;
	end = last_end(page->fork, page->tag.number);
	if (end != NULL && end->number > page->ends_seen)
		end_page(rebuild, page, end->end, end->lsn);
	page->ends_seen = page->fork->total_ends;
}

/* Finds a page, or adds it. */
static PageEntry *
find_page(WalredoRebuild *rebuild, const WalredoTag *tag)
{
	bool		found;
	PageSlot   *slot = pagetable_insert(rebuild->pages, *tag, &found);

	if (!found)
	{
		slot->page = MemoryContextAllocZero(rebuild->context,
											sizeof(PageEntry));
		slot->page->tag = *tag;
		slot->page->image_slot = -1;
		slot->page->rmid = -1;
		if (tag->kind == WALREDO_TAG_REL)
			slot->page->fork = find_fork(rebuild, tag, true);
	}
	see_ends(rebuild, slot->page);
	return slot->page;
}

/* ----------------------------------------
 * Images
 * ----------------------------------------
 */

static void
drop_image(WalredoRebuild *rebuild, PageEntry *page)
{
	if (page->image)
	{
		rebuild->data_size -= VARSIZE(page->image);
		pfree(page->image);
	}
	page->image = NULL;
	page->in_file = false;		/* its slot will be used again */
}

/* Keeps a copy of an image for later. */
static void
keep_image(WalredoRebuild *rebuild, PageEntry *page, const char *data,
		   Size size)
{
	bytea	   *image = MemoryContextAlloc(rebuild->data_context,
										   VARHDRSZ + size);

	SET_VARSIZE(image, VARHDRSZ + size);
	memcpy(VARDATA(image), data, size);
	drop_image(rebuild, page);
	page->image = image;
	rebuild->data_size += VARSIZE(image);
}

static void
seek_slot(WalredoRebuild *rebuild, int64 slot)
{
	if (BufFileSeekBlock(rebuild->images, slot) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not seek in temporary file")));
}

/* Puts the image of a page into the file. */
static void
put_in_file(WalredoRebuild *rebuild, PageEntry *page)
{
	Assert(VARSIZE(page->image) == VARHDRSZ + BLCKSZ);
	if (rebuild->images == NULL)
	{
		MemoryContext old_context = MemoryContextSwitchTo(rebuild->context);
		ResourceOwner old_owner = CurrentResourceOwner;

		/* It must not end with a subtransaction that is under way. */
		CurrentResourceOwner = rebuild->owner;
		rebuild->images = BufFileCreateTemp(false);
		CurrentResourceOwner = old_owner;
		MemoryContextSwitchTo(old_context);
	}
	if (page->image_slot < 0)
		page->image_slot = rebuild->num_slots++;
	seek_slot(rebuild, page->image_slot);
	BufFileWrite(rebuild->images, VARDATA(page->image), BLCKSZ);
	drop_image(rebuild, page);
	page->in_file = true;
}

static bytea *
read_from_file(WalredoRebuild *rebuild, PageEntry *page)
{
	bytea	   *image = palloc(VARHDRSZ + BLCKSZ);

	SET_VARSIZE(image, VARHDRSZ + BLCKSZ);
	seek_slot(rebuild, page->image_slot);
	walredo_buffile_read_exact(rebuild->images, VARDATA(image), BLCKSZ);
	return image;
}

/* A copy of the image that is kept, or NULL. */
static bytea *
copy_image(WalredoRebuild *rebuild, PageEntry *page)
{
	if (page->in_file)
		return read_from_file(rebuild, page);
	if (page->image)
		return DatumGetByteaPCopy(PointerGetDatum(page->image));
	return NULL;
}

/* Takes the image away from a page; it is the caller's, or NULL. */
static bytea *
detach_image(WalredoRebuild *rebuild, PageEntry *page)
{
	bytea	   *image = page->image;

	if (page->in_file)
	{
		MemoryContext old_context = CurrentMemoryContext;

		MemoryContextSwitchTo(rebuild->data_context);
		image = read_from_file(rebuild, page);
		MemoryContextSwitchTo(old_context);
		rebuild->data_size += VARSIZE(image);
		page->in_file = false;
	}
	page->image = NULL;
	return image;
}

/* ----------------------------------------
 * Records that wait
 * ----------------------------------------
 */

static void
free_chunks(WalredoRebuild *rebuild, PendingChunk *chunk)
{
	while (chunk != NULL)
	{
		PendingChunk *next = chunk->next;

		rebuild->data_size -= CHUNK_HDRSZ + chunk->size;
		pfree(chunk);
		chunk = next;
	}
}

/* Takes the pending records away from a page; they are the caller's. */
static PendingChunk *
detach_pending(PageEntry *page)
{
	PendingChunk *chunks = page->chunks;

	page->num_pending = 0;
	page->pending_size = 0;
	page->num_chunks = 0;
	page->chunks = page->chunk = NULL;
	if (page->is_waiting)
		dlist_delete(&page->waiting_node);
	page->is_waiting = false;
	return chunks;
}

static PendingChunk *
add_chunk(WalredoRebuild *rebuild, PageEntry *page, Size size)
{
	Size		chunk_size = MIN_CHUNK_SIZE;
	PendingChunk *chunk;

	while (chunk_size < MAX_CHUNK_SIZE && chunk_size < page->pending_size / 2)
		chunk_size *= 2;
	chunk_size = Max(chunk_size, MAXALIGN(CHUNK_HDRSZ + size));
	chunk = MemoryContextAlloc(rebuild->data_context, chunk_size);
	chunk->next = NULL;
	chunk->size = chunk_size - CHUNK_HDRSZ;
	chunk->used = 0;
	rebuild->data_size += chunk_size;

	if (page->chunk)
		page->chunk->next = chunk;
	else
		page->chunks = chunk;
	page->chunk = chunk;
	page->num_chunks++;
	page->pending_size += chunk_size;

	if (!page->is_waiting && OnlyChildChanges(&page->tag))
	{
		dlist_push_tail(&rebuild->waiting, &page->waiting_node);
		page->is_waiting = true;
	}
	else if (page->is_waiting && page->pending_size >= MANY_PENDING)
		dlist_move_head(&rebuild->waiting, &page->waiting_node);
	return chunk;
}

/*
 * Room for a record of the given size that waits for a page.
 */
static inline char *
add_pending(WalredoRebuild *rebuild, PageEntry *page, Size size)
{
	PendingChunk *chunk = page->chunk;
	char	   *result;

	if (chunk == NULL || chunk->size - chunk->used < size)
		chunk = add_chunk(rebuild, page, size);

	result = ChunkData(chunk) + chunk->used;
	chunk->used += size;
	page->num_pending++;
	return result;
}

/*
 * Forgets all that a page could be made from.
 */
static void
forget_image(WalredoRebuild *rebuild, PageEntry *page)
{
	free_chunks(rebuild, detach_pending(page));
	drop_image(rebuild, page);
	page->has_start = false;
	page->start_has_hole = false;
	page->has_failed = false;
	page->base_lsn = InvalidXLogRecPtr;

	/* What a child is about to answer is of no use any more. */
	if (page->replay)
		page->replay->page = NULL;
	page->replay = NULL;
}

/*
 * Ends what is known of a page, unless it is from a base image that is newer.
 */
static void
end_page(WalredoRebuild *rebuild, PageEntry *page, WalredoPageEnd end,
		 XLogRecPtr lsn)
{
	if (lsn <= page->base_lsn)
		return;
	forget_image(rebuild, page);
	page->num_records = 0;
	page->first_lsn = InvalidXLogRecPtr;
	page->last_lsn = InvalidXLogRecPtr;
	page->rmid = -1;
	page->end = end;
	page->end_lsn = lsn;
}

/* ----------------------------------------
 * Replay
 * ----------------------------------------
 */

/* The records, and the image, of a replay wait again as they did before it. */
static void
undo_replay(WalredoRebuild *rebuild, Replay *replay)
{
	PageEntry  *page = replay->page;
	PendingChunk *last = replay->chunks;

	page->pending_size += CHUNK_HDRSZ + last->size;
	while (last->next != NULL)
	{
		last = last->next;
		page->pending_size += CHUNK_HDRSZ + last->size;
	}
	last->next = page->chunks;
	page->chunks = replay->chunks;
	if (page->chunk == NULL)
		page->chunk = last;
	page->num_chunks += replay->job.npieces;
	page->num_pending += replay->job.nrecords;
	if (!page->is_waiting)
		dlist_push_tail(&rebuild->waiting, &page->waiting_node);
	page->is_waiting = true;

	page->image = replay->base;
	replay->chunks = NULL;
	replay->base = NULL;
}

/* What a child has made of a page; NULL if it could not. */
static void
take_replayed(void *arg, const char *data)
{
	Replay	   *replay = arg;
	WalredoRebuild *rebuild = replay->rebuild;
	PageEntry  *page = replay->page;

	if (page != NULL)
	{
		page->replay = NULL;
		if (data == NULL)
			undo_replay(rebuild, replay);
		else
		{
			keep_image(rebuild, page, data, BLCKSZ);
			if (rebuild->data_size > rebuild->data_limit)
				put_in_file(rebuild, page);
		}
	}
	if (data == NULL)
		rebuild->has_failed = true;

	free_chunks(rebuild, replay->chunks);
	if (replay->base)
	{
		rebuild->data_size -= VARSIZE(replay->base);
		pfree(replay->base);
	}
	pfree((void *) replay->job.pieces);
	pfree(replay);
}

/*
 * Waits until no child is at any page.  Where a child has failed, pages wait as
 * before.
 */
static void
finish_replays(WalredoRebuild *rebuild)
{
	if (rebuild->stream)
		walredo_stream_finish(rebuild->stream);
}

/* Fills in a job for the records that wait for a page. */
static void
prepare_job(WalredoRebuild *rebuild, PageEntry *page, WalredoReplayJob *job)
{
	PendingChunk *chunk = page->chunks;
	WalredoRequestPiece *pieces;

	pieces = MemoryContextAlloc(rebuild->context, page->num_chunks *
								sizeof(WalredoRequestPiece));
	for (int i = 0; i < page->num_chunks; i++)
	{
		pieces[i].data = ChunkData(chunk);
		pieces[i].size = chunk->used;
		chunk = chunk->next;
	}
	job->tag = page->tag;
	job->base = NULL;
	job->pieces = pieces;
	job->npieces = page->num_chunks;
	job->nrecords = page->num_pending;
}

/*
 * Gives a child a page that only a child changes, with the records that wait
 * for it.  The page is not with a child yet.
 */
static void
start_replay(WalredoRebuild *rebuild, PageEntry *page)
{
	Replay	   *replay;

	Assert(page->replay == NULL);
	if (rebuild->stream == NULL)
	{
		MemoryContext old_context = MemoryContextSwitchTo(rebuild->context);

		rebuild->stream = walredo_stream_begin(take_replayed, true);
		MemoryContextSwitchTo(old_context);
	}

	replay = MemoryContextAlloc(rebuild->context, sizeof(Replay));
	prepare_job(rebuild, page, &replay->job);
	replay->rebuild = rebuild;
	replay->page = page;
	replay->base = detach_image(rebuild, page);
	replay->job.base = replay->base ? VARDATA(replay->base) : NULL;
	replay->chunks = detach_pending(page);
	page->replay = replay;
	walredo_replay_add(rebuild->stream, &replay->job);
}

/*
 * Has a child replay what waits for one page, and raises what a child fails at.
 * No child is at any page.
 */
static void
replay_alone(WalredoRebuild *rebuild, PageEntry *page)
{
	WalredoReplayJob job;
	bytea	   *base = copy_image(rebuild, page);
	PGAlignedBlock image;

	prepare_job(rebuild, page, &job);
	job.base = base ? VARDATA(base) : NULL;
	page->has_failed = true;
	walredo_replay_one(&job, image.data);
	page->has_failed = false;
	pfree((void *) job.pieces);
	if (base)
		pfree(base);
	free_chunks(rebuild, detach_pending(page));
	keep_image(rebuild, page, image.data, BLCKSZ);
}

/*
 * Applies the records that wait for a page of which some may be native.  No
 * child is at any page.
 */
static void
replay_mixed(WalredoRebuild *rebuild, PageEntry *page)
{
	WalredoRecord **records = palloc(page->num_pending *
									 sizeof(WalredoRecord *));
	bytea	   *image = copy_image(rebuild, page);
	int			n = 0;

	for (PendingChunk *chunk = page->chunks; chunk != NULL;
		 chunk = chunk->next)
	{
		for (Size at = 0; at < chunk->used;)
		{
			records[n] = (WalredoRecord *) (ChunkData(chunk) + at);
			at += MAXALIGN(VARSIZE(records[n]));
			n++;
		}
	}
	Assert(n == page->num_pending);

	image = walredo_replay(&page->tag, image, records, n);
	keep_image(rebuild, page, VARDATA(image), VARSIZE(image) - VARHDRSZ);
	free_chunks(rebuild, detach_pending(page));
	pfree(image);
	pfree(records);
}

/*
 * Replays what waits for a page, and waits for its image.
 */
static void
replay_page(WalredoRebuild *rebuild, PageEntry *page)
{
	finish_replays(rebuild);
	if (page->is_waiting)
		replay_alone(rebuild, page);
	else if (page->num_pending > 0)
		replay_mixed(rebuild, page);
}

void
walredo_rebuild_advance(WalredoRebuild *rebuild, XLogRecPtr lsn)
{
	for (int i = 0; i < MAX_LOOKS && !rebuild->has_failed &&
		 !dlist_is_empty(&rebuild->waiting); i++)
	{
		PageEntry  *page = dlist_head_element(PageEntry, waiting_node,
											  &rebuild->waiting);

		see_ends(rebuild, page);
		if (!page->is_waiting)
			continue;
		if (page->replay == NULL &&
			(page->pending_size >= MANY_PENDING ||
			 (page->pending_size >= SOME_PENDING &&
			  lsn - page->last_lsn >= QUIET_DISTANCE)))
		{
			/* One more is sent as soon as there is room for it. */
			if (rebuild->stream && !walredo_stream_advance(rebuild->stream))
				return;
			start_replay(rebuild, page);
		}
		else
		{
			dlist_delete(&page->waiting_node);
			dlist_push_tail(&rebuild->waiting, &page->waiting_node);
		}
	}
	if (rebuild->stream)
		(void) walredo_stream_advance(rebuild->stream);
}

/* All pages; in memory of the current context. */
static PageEntry **
list_pages(WalredoRebuild *rebuild, int *npages)
{
	PageEntry **pages = MemoryContextAllocHuge(CurrentMemoryContext,
											   Max(rebuild->pages->members, 1) *
											   sizeof(PageEntry *));
	pagetable_iterator iter;
	PageSlot   *slot;
	int			n = 0;

	pagetable_start_iterate(rebuild->pages, &iter);
	while ((slot = pagetable_iterate(rebuild->pages, &iter)) != NULL)
		pages[n++] = slot->page;
	*npages = n;
	return pages;
}

/*
 * Replays everything that waits, and puts all images into the file.  Records of
 * a page that a child fails at go on waiting.
 */
static void
flush(WalredoRebuild *rebuild)
{
	int			npages;
	PageEntry **pages = list_pages(rebuild, &npages);

	finish_replays(rebuild);
	for (int i = 0; i < npages; i++)
	{
		see_ends(rebuild, pages[i]);
		if (pages[i]->is_waiting && !pages[i]->has_failed)
			start_replay(rebuild, pages[i]);
	}
	finish_replays(rebuild);
	for (int i = 0; i < npages; i++)
	{
		if (!pages[i]->is_waiting && pages[i]->num_pending > 0)
			replay_mixed(rebuild, pages[i]);
		if (pages[i]->image != NULL && WalredoTagIsPage(&pages[i]->tag))
			put_in_file(rebuild, pages[i]);
	}
	pfree(pages);

	/* What cannot be replayed must not cause this again with every record. */
	if (rebuild->data_size > rebuild->data_limit / 2)
		rebuild->data_limit = 2 * rebuild->data_size;
}

static int
compare_entries(const void *a, const void *b)
{
	return walredo_tag_compare(&(*(PageEntry *const *) a)->tag,
							   &(*(PageEntry *const *) b)->tag);
}

/* Done with the image that was returned last; it may still be wanted later. */
static void
leave_page(WalredoRebuild *rebuild)
{
	PageEntry  *page = rebuild->last_page;

	if (page != NULL && page->image != NULL && WalredoTagIsPage(&page->tag) &&
		rebuild->data_size > rebuild->data_limit)
		put_in_file(rebuild, page);
	if (rebuild->from_file)
		pfree(rebuild->from_file);
	rebuild->from_file = NULL;
	rebuild->last_page = NULL;
}

/* The first of the sorted pages that is not before a tag. */
static int
find_sorted(WalredoRebuild *rebuild, const WalredoTag *tag)
{
	int			low = 0;
	int			high = rebuild->num_sorted;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (walredo_tag_compare(&rebuild->sorted[middle]->tag, tag) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

void
walredo_rebuild_begin_fork(WalredoRebuild *rebuild,
						   const WalredoTag *fork_tag)
{
	WalredoTag	first = *fork_tag;

	if (rebuild->sorted == NULL)
	{
		MemoryContext old_context = MemoryContextSwitchTo(rebuild->context);

		rebuild->sorted = list_pages(rebuild, &rebuild->num_sorted);
		MemoryContextSwitchTo(old_context);
		qsort(rebuild->sorted, rebuild->num_sorted, sizeof(PageEntry *),
			  compare_entries);
	}
	first.number = 0;
	rebuild->next_page = find_sorted(rebuild, &first);
	rebuild->end_of_fork = rebuild->next_page;
	while (rebuild->end_of_fork < rebuild->num_sorted &&
		   walredo_tag_same_fork(&rebuild->sorted[rebuild->end_of_fork]->tag,
								 fork_tag))
		rebuild->end_of_fork++;
	rebuild->replayed_to = rebuild->next_page;
	leave_page(rebuild);
	finish_replays(rebuild);
}

uint64
walredo_rebuild_fork_blocks(WalredoRebuild *rebuild)
{
	for (int i = rebuild->end_of_fork - 1; i >= rebuild->next_page; i--)
	{
		see_ends(rebuild, rebuild->sorted[i]);
		if (rebuild->sorted[i]->num_records > 0)
			return rebuild->sorted[i]->tag.number + 1;
	}
	return 0;
}

/* Replays the next pages of the fork, those that a child is needed for. */
static void
replay_next(WalredoRebuild *rebuild)
{
	int			n = 0;

	for (int i = rebuild->next_page;
		 i < rebuild->end_of_fork && n < PAGES_AT_ONCE; i++)
	{
		see_ends(rebuild, rebuild->sorted[i]);
		if (rebuild->sorted[i]->is_waiting && !rebuild->sorted[i]->has_failed)
		{
			start_replay(rebuild, rebuild->sorted[i]);
			n++;
		}
		rebuild->replayed_to = i + 1;
	}
	finish_replays(rebuild);
}

/* What is known of a page, but for its image. */
static void
describe_page(const PageEntry *page, WalredoRebuiltPage *result)
{
	memset(result, 0, sizeof(*result));
	result->is_waiting = page->is_waiting;
	result->end = page->end;
	result->end_lsn = page->end_lsn;
	result->num_records = page->num_records;
	result->first_lsn = page->first_lsn;
	result->last_lsn = page->last_lsn;
	result->rmid = page->rmid;
}

/* Adds its image, which must not be used if it lacks contents. */
static void
add_image(const PageEntry *page, bytea *image, WalredoRebuiltPage *result)
{
	if (image != NULL && page->start_has_hole &&
		walredo_hole_has_contents(page->tag.forknum, VARDATA(image)))
		result->is_incomplete = true;
	else
		result->image = image;
}

bool
walredo_rebuild_next(WalredoRebuild *rebuild, WalredoTag *tag,
					 WalredoRebuiltPage *result)
{
	PageEntry  *page;

	leave_page(rebuild);
	if (rebuild->next_page >= rebuild->end_of_fork)
		return false;

	page = rebuild->sorted[rebuild->next_page];
	see_ends(rebuild, page);
	if (page->is_waiting)
	{
		/* After a failure, those that were sent together are tried alone. */
		if (rebuild->next_page >= rebuild->replayed_to)
			replay_next(rebuild);
	}
	else if (page->num_pending > 0)
		replay_mixed(rebuild, page);
	rebuild->next_page++;

	if (page->in_file)
	{
		MemoryContext old_context = CurrentMemoryContext;

		MemoryContextSwitchTo(rebuild->context);
		rebuild->from_file = read_from_file(rebuild, page);
		MemoryContextSwitchTo(old_context);
	}
	rebuild->last_page = page;
	*tag = page->tag;
	describe_page(page, result);
	if (!page->is_waiting)
		add_image(page, page->image ? page->image : rebuild->from_file,
				  result);
	return true;
}

void
walredo_rebuild_forget(WalredoRebuild *rebuild)
{
	drop_image(rebuild, rebuild->last_page);
}

void
walredo_rebuild_copy_page(WalredoRebuild *rebuild, WalredoRebuild *source,
						  const WalredoTag *tag, bool with_image)
{
	PageEntry  *page = find_page(rebuild, tag);
	PageEntry  *from = find_page(source, tag);

	forget_image(rebuild, page);
	if (with_image)
	{
		bytea	   *image;

		replay_page(source, from);
		image = copy_image(source, from);
		if (image != NULL)
		{
			keep_image(rebuild, page, VARDATA(image),
					   VARSIZE(image) - VARHDRSZ);
			pfree(image);
			page->has_start = true;
			page->start_has_hole = from->start_has_hole;
		}
	}
	page->end = from->end;
	page->end_lsn = from->end_lsn;
	page->num_records = from->num_records;
	page->first_lsn = from->first_lsn;
	page->last_lsn = from->last_lsn;
	page->rmid = from->rmid;
}

void
walredo_rebuild_set_base(WalredoRebuild *rebuild, const WalredoTag *tag,
						 const bytea *base)
{
	PageEntry  *page = find_page(rebuild, tag);

	if (WalredoTagIsPage(tag) && VARSIZE(base) != VARHDRSZ + BLCKSZ)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("base image has the wrong length"),
				 errdetail("A page has %d bytes, but the base image has %zu.",
						   BLCKSZ, (Size) (VARSIZE(base) - VARHDRSZ))));
	page->has_start = true;
	if (tag->kind == WALREDO_TAG_REL)
		page->base_lsn = PageGetLSN((Page) VARDATA(base));
	keep_image(rebuild, page, VARDATA(base), VARSIZE(base) - VARHDRSZ);
}

/*
 * Takes note of a record of a page, of which xlogrecord is NULL if it is
 * native. True if it has to be kept.
 */
static inline bool
note_record(WalredoRebuild *rebuild, PageEntry *page, XLogRecPtr lsn,
			const XLogRecord *xlogrecord, bool starts_page,
			bool image_has_hole)
{
	page->num_records++;
	if (page->num_records == 1)
		page->first_lsn = lsn;
	page->last_lsn = lsn;
	if (xlogrecord != NULL && xlogrecord->xl_rmid != RM_XLOG_ID &&
		RmgrIdIsBuiltin(xlogrecord->xl_rmid))
		page->rmid = xlogrecord->xl_rmid;

	if (starts_page)
	{
		/* Whatever was before does not matter any more. */
		forget_image(rebuild, page);
		page->has_start = true;
		page->start_has_hole = image_has_hole;
		page->end = WALREDO_NOT_ENDED;
		return true;
	}

	/*
	 * The image given may have this change already.  Redo would see that by
	 * its LSN, except that what clears bits of the visibility map looks at
	 * none, and would clear those that were set since.
	 */
	return page->has_start && lsn > page->base_lsn;
}

/* Room for a WalredoRecord of a page that is not changed by a child alone. */
static WalredoRecord *
add_pending_record(WalredoRebuild *rebuild, PageEntry *page, Size size)
{
	return (WalredoRecord *) add_pending(rebuild, page, MAXALIGN(size));
}

/*
 * Adds a whole WAL record, which a child is to replay.
 */
static inline void
add_replay(WalredoRebuild *rebuild, PageEntry *page,
		   const XLogRecord *xlogrecord, XLogRecPtr end_lsn)
{
	walredo_record_check_replay_size(end_lsn, xlogrecord->xl_tot_len);

	if (OnlyChildChanges(&page->tag))
	{
		Size		size = walredo_request_record_size(xlogrecord);

		walredo_request_put_record(add_pending(rebuild, page, size), end_lsn,
								   xlogrecord);
	}
	else
	{
		Size		size = WALREDO_RECORD_HDRSZ + xlogrecord->xl_tot_len;
		WalredoRecord *record = add_pending_record(rebuild, page, size);

		SET_VARSIZE(record, size);
		record->kind = WALREDO_POSTGRES;
		record->flags = 0;
		record->unused = 0;
		record->lsn = end_lsn;
		memcpy(record->u.data, xlogrecord, xlogrecord->xl_tot_len);
	}
}

/*
 * Ends all pages of a fork from first_block on.  They take note of it when they
 * are next looked at: see ForkEntry.
 */
static void
end_fork(WalredoRebuild *rebuild, const WalredoTag *fork_tag,
		 BlockNumber first_block, WalredoPageEnd end, XLogRecPtr lsn)
{
	ForkEntry  *fork = find_fork(rebuild, fork_tag, true);
	ForkEnd    *last;

	while (fork->num_ends > 0 &&
		   fork->ends[fork->num_ends - 1].first_block >= first_block)
		fork->num_ends--;
	if (fork->num_ends == fork->max_ends)
	{
		Size		size;

		fork->max_ends = Max(4, 2 * fork->max_ends);
		size = fork->max_ends * sizeof(ForkEnd);
		fork->ends = fork->ends ? repalloc_huge(fork->ends, size) :
			MemoryContextAlloc(rebuild->context, size);
	}
	last = &fork->ends[fork->num_ends++];
	last->number = ++fork->total_ends;
	last->first_block = first_block;
	last->end = end;
	last->lsn = lsn;
}

void
walredo_rebuild_add(WalredoRebuild *rebuild, const WalredoPageChange *change,
					const XLogRecord *record, XLogRecPtr end_lsn)
{
	PageEntry  *page;

	if (change->what == WALREDO_CHANGE_END &&
		change->tag.kind == WALREDO_TAG_REL)
	{
		end_fork(rebuild, &change->tag, change->tag.number, change->end,
				 end_lsn);
		return;
	}

	page = find_page(rebuild, &change->tag);
	switch (change->what)
	{
		case WALREDO_CHANGE_REPLAY:
			if (note_record(rebuild, page, end_lsn, record,
							change->starts_page, change->image_has_hole))
				add_replay(rebuild, page, record, end_lsn);
			break;
		case WALREDO_CHANGE_UNKNOWN:
			end_page(rebuild, page, WALREDO_UNKNOWN_CHANGE, end_lsn);
			(void) note_record(rebuild, page, end_lsn, record, false, false);
			break;
		case WALREDO_CHANGE_NATIVE:
			if (note_record(rebuild, page, end_lsn, NULL, change->starts_page,
							false))
				memcpy(add_pending_record(rebuild, page,
										  VARSIZE(change->native)),
					   change->native, VARSIZE(change->native));
			break;
		case WALREDO_CHANGE_END:
			end_page(rebuild, page, change->end, end_lsn);
			return;
	}
	if (rebuild->data_size > rebuild->data_limit)
		flush(rebuild);
}

void
walredo_rebuild_reset(WalredoRebuild *rebuild)
{
	pagetable_iterator page_iter;
	PageSlot   *page_slot;
	forktable_iterator fork_iter;
	ForkSlot   *fork_slot;

	pagetable_start_iterate(rebuild->pages, &page_iter);
	while ((page_slot = pagetable_iterate(rebuild->pages, &page_iter)) != NULL)
	{
		PageEntry  *page = page_slot->page;

		page->base_lsn = InvalidXLogRecPtr;
		end_page(rebuild, page, WALREDO_NOT_ENDED, PG_UINT64_MAX);
		page->end_lsn = InvalidXLogRecPtr;
		page->ends_seen = 0;
	}
	forktable_start_iterate(rebuild->forks, &fork_iter);
	while ((fork_slot = forktable_iterate(rebuild->forks, &fork_iter)) != NULL)
	{
		fork_slot->fork->num_ends = 0;
		fork_slot->fork->total_ends = 0;
	}
}

void
walredo_rebuild_get(WalredoRebuild *rebuild, const WalredoTag *tag,
					WalredoRebuiltPage *result)
{
	PageSlot   *slot = pagetable_lookup(rebuild->pages, *tag);

	if (slot == NULL)
	{
		ForkEntry  *fork = NULL;
		const ForkEnd *end = NULL;

		memset(result, 0, sizeof(*result));
		result->rmid = -1;
		if (tag->kind == WALREDO_TAG_REL)
			fork = find_fork(rebuild, tag, false);
		if (fork != NULL)
			end = last_end(fork, tag->number);
		if (end != NULL)
		{
			result->end = end->end;
			result->end_lsn = end->lsn;
		}
		return;
	}
	see_ends(rebuild, slot->page);
	replay_page(rebuild, slot->page);
	describe_page(slot->page, result);
	add_image(slot->page, copy_image(rebuild, slot->page), result);
}

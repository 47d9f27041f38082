/*-------------------------------------------------------------------------
 *
 * rebuild.c
 *	  Pages made from the records that the log has of them.
 *
 * A page's records are of no use before the first that makes an image of its
 * own (unless a base image was given), and none before the last such record
 * is needed.  So the records that wait for a page are dropped whenever another
 * image of it comes, and only what is left is ever replayed.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/rebuild.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "compat.h"
#include "miscadmin.h"
#include "native/native.h"
#include "page/rebuild.h"
#include "record/xlogrecord.h"
#include "redo/redo.h"
#include "storage/buffile.h"
#include "storage/bufpage.h"
#include "utils/memutils.h"

/*
 * Memory for records of one page that wait to be replayed, one after the
 * other, so that they are found together when they are.  Chunks grow with the
 * page: many pages have few records, and no page may waste much.
 *
 * Records of pages that only a child changes, which are nearly all, are in the
 * form in which a child is given them, and are sent from where they are.
 * Others are WalredoRecords, each aligned.
 */
typedef struct PendingChunk
{
	struct PendingChunk *next;
	Size		size;			/* of its data */
	Size		used;
} PendingChunk;

#define CHUNK_HDRSZ			MAXALIGN(sizeof(PendingChunk))
#define ChunkData(chunk)	((char *) (chunk) + CHUNK_HDRSZ)

#define MIN_CHUNK_SIZE		(256 - CHUNK_HDRSZ)
#define MAX_CHUNK_SIZE		(65536 - CHUNK_HDRSZ)

#define OnlyChildChanges(tag) \
	((tag)->kind == WALREDO_TAG_REL && \
	 (tag)->forknum != VISIBILITYMAP_FORKNUM)

/* A page. */
typedef struct PageEntry
{
	WalredoTag	tag;			/* hash key */
	char		status;			/* for simplehash */
	bool		has_start;		/* there is an image, or pending begins one */
	bool		truncated;
	bool		has_image;		/* kept in its slot, or as object */
	XLogRecPtr	base_lsn;		/* of the image given, while it matters */
	int64		image_slot;		/* in the file of images; -1 if none yet */
	bytea	   *object;			/* image that is not of page size, or NULL */
	uint64		num_records;
	XLogRecPtr	first_lsn;
	XLogRecPtr	last_lsn;
	int			num_pending;
	Size		pending_size;
	PendingChunk *chunks;		/* what the pending records are in */
	PendingChunk *chunk;		/* the one that is filled now */
	int			num_chunks;		/* up to that one */
} PageEntry;

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
#define SH_ELEMENT_TYPE			PageEntry
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

struct WalredoRebuild
{
	MemoryContext context;		/* all of it is in here, but ... */
	MemoryContext pending_context;	/* ... the records that wait */
	Size		pending_size;
	Size		pending_limit;
	pagetable_hash *pages;
	BufFile    *images;			/* a page a slot; NULL before the first */
	int64		num_slots;
	PageEntry **sorted;			/* all pages, once they are being taken */
	int			num_sorted;
};

WalredoRebuild *
walredo_rebuild_create(void)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "walredo rebuild",
												  ALLOCSET_DEFAULT_SIZES);
	WalredoRebuild *rebuild = MemoryContextAllocZero(context,
													 sizeof(WalredoRebuild));

	rebuild->context = context;

	/* Nothing in it is freed alone, and no size is rounded up. */
	rebuild->pending_context = GenerationContextCreate(context,
													   "walredo records",
													   ALLOCSET_DEFAULT_SIZES);
	rebuild->pending_limit = (Size) maintenance_work_mem * 1024;
	rebuild->pages = pagetable_create(context, 64, NULL);
	return rebuild;
}

void
walredo_rebuild_free(WalredoRebuild *rebuild)
{
	if (rebuild->images)
		BufFileClose(rebuild->images);
	MemoryContextDelete(rebuild->context);
}

/* Finds a page, or adds it. */
static PageEntry *
find_page(WalredoRebuild *rebuild, const WalredoTag *tag)
{
	bool		found;
	PageEntry  *page = pagetable_insert(rebuild->pages, *tag, &found);

	if (!found)
	{
		char		status = page->status;

		memset(page, 0, sizeof(*page));
		page->tag = *tag;
		page->status = status;
		page->image_slot = -1;
	}
	return page;
}

static void
seek_slot(WalredoRebuild *rebuild, int64 slot)
{
	if (BufFileSeekBlock(rebuild->images, slot) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not seek in temporary file")));
}

/* Keeps an image for later. */
static void
store_image(WalredoRebuild *rebuild, PageEntry *page, const bytea *image)
{
	page->has_image = true;
	if (!WalredoTagIsPage(&page->tag))
	{
		if (page->object)
			pfree(page->object);
		page->object = MemoryContextAlloc(rebuild->context, VARSIZE(image));
		memcpy(page->object, image, VARSIZE(image));
		return;
	}

	Assert(VARSIZE(image) == VARHDRSZ + BLCKSZ);
	if (rebuild->images == NULL)
	{
		MemoryContext old_context = MemoryContextSwitchTo(rebuild->context);

		rebuild->images = BufFileCreateTemp(false);
		MemoryContextSwitchTo(old_context);
	}
	if (page->image_slot < 0)
		page->image_slot = rebuild->num_slots++;
	seek_slot(rebuild, page->image_slot);
	BufFileWrite(rebuild->images, VARDATA(image), BLCKSZ);
}

/* The image that is kept, or NULL. */
static bytea *
load_image(WalredoRebuild *rebuild, PageEntry *page)
{
	bytea	   *image;

	if (!page->has_image)
		return NULL;
	if (page->object)
	{
		image = palloc(VARSIZE(page->object));
		memcpy(image, page->object, VARSIZE(page->object));
		return image;
	}

	image = palloc(VARHDRSZ + BLCKSZ);
	SET_VARSIZE(image, VARHDRSZ + BLCKSZ);
	seek_slot(rebuild, page->image_slot);
	walredo_buffile_read_exact(rebuild->images, VARDATA(image), BLCKSZ);
	return image;
}

static void
forget_pending(PageEntry *page)
{
	page->num_pending = 0;
	page->pending_size = 0;

	/* The memory can be used again. */
	page->chunk = page->chunks;
	page->num_chunks = 1;
	if (page->chunk)
		page->chunk->used = 0;
}

/*
 * Room for a record of the given size that waits for a page.
 */
static char *
add_pending(WalredoRebuild *rebuild, PageEntry *page, Size size)
{
	PendingChunk *chunk = page->chunk;
	char	   *result;

	if (chunk == NULL || chunk->size - chunk->used < size)
	{
		PendingChunk *next = chunk ? chunk->next : NULL;

		if (next == NULL || next->size < size)
		{
			Size		new_size = Min(page->pending_size / 4, MAX_CHUNK_SIZE);

			new_size = MAXALIGN(Max(Max(new_size, MIN_CHUNK_SIZE), size));
			next = MemoryContextAlloc(rebuild->pending_context,
									  CHUNK_HDRSZ + new_size);
			next->size = new_size;
			if (chunk)
			{
				next->next = chunk->next;
				chunk->next = next;
			}
			else
			{
				next->next = NULL;
				page->chunks = next;
			}
			rebuild->pending_size += CHUNK_HDRSZ + new_size;
		}
		next->used = 0;
		page->num_chunks = chunk ? page->num_chunks + 1 : 1;
		page->chunk = chunk = next;
	}

	result = ChunkData(chunk) + chunk->used;
	chunk->used += size;
	page->pending_size += size;
	page->num_pending++;
	return result;
}

/*
 * Forgets all that a page could be made from.
 */
static void
forget_image(PageEntry *page)
{
	forget_pending(page);
	page->has_start = false;
	page->has_image = false;	/* its slot will be used again */
	page->base_lsn = InvalidXLogRecPtr;
	if (page->object)
		pfree(page->object);
	page->object = NULL;
}

/* Pages that a child replays, on their way through walredo_redo_many(). */
typedef struct Replay
{
	WalredoRebuild *rebuild;
	PageEntry **pages;
	int			next;			/* the first that was not taken yet */
	WalredoTakePage take;		/* NULL if images are only stored */
	void	   *take_arg;
} Replay;

typedef struct ReplayArg
{
	Replay	   *replay;
	int			index;			/* in pages */
} ReplayArg;

static bytea *
replay_load(WalredoRedoJob *job)
{
	ReplayArg  *arg = job->arg;
	PageEntry  *page = arg->replay->pages[arg->index];
	PendingChunk *chunk = page->chunks;
	WalredoRequestPiece *pieces;

	if (job->pieces == NULL)
	{
		pieces = palloc(page->num_chunks * sizeof(WalredoRequestPiece));
		for (int i = 0; i < page->num_chunks; i++)
		{
			pieces[i].data = ChunkData(chunk);
			pieces[i].size = chunk->used;
			chunk = chunk->next;
		}
		job->pieces = pieces;
		job->npieces = page->num_chunks;
	}
	return load_image(arg->replay->rebuild, page);
}

/*
 * Hands out the images of pages before the one of the given index, for which
 * nothing had to be replayed.
 */
static void
take_pages_before(Replay *replay, int index)
{
	if (replay->take == NULL)
		return;
	for (; replay->next < index; replay->next++)
	{
		PageEntry  *page = replay->pages[replay->next];
		bytea	   *image = load_image(replay->rebuild, page);

		if (image == NULL)
			continue;
		(void) replay->take(&page->tag, image, replay->take_arg);
		pfree(image);
	}
}

static void
replay_store(WalredoRedoJob *job, const bytea *image)
{
	ReplayArg  *arg = job->arg;
	Replay	   *replay = arg->replay;
	PageEntry  *page = replay->pages[arg->index];

	pfree((void *) job->pieces);
	job->pieces = NULL;
	job->npieces = 0;
	take_pages_before(replay, arg->index);
	replay->next = arg->index + 1;
	if (replay->take == NULL ||
		!replay->take(&page->tag, image, replay->take_arg))
		store_image(replay->rebuild, page, image);
	forget_pending(page);
}

/*
 * Applies the records that wait for a page of which some may be native.
 */
static void
replay_mixed(WalredoRebuild *rebuild, PageEntry *page)
{
	WalredoRecord **records = palloc(page->num_pending *
									 sizeof(WalredoRecord *));
	bytea	   *image;
	int			n = 0;

	for (PendingChunk *chunk = page->chunks; n < page->num_pending;
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

	image = walredo_redo(&page->tag, load_image(rebuild, page), records, n);
	store_image(rebuild, page, image);
	forget_pending(page);
	pfree(image);
	pfree(records);
}

/*
 * Replays the records that wait for pages.  take, if not NULL, is given all
 * images of these pages in order, and says of each if it may be forgotten.
 */
static void
replay_pages(WalredoRebuild *rebuild, PageEntry **pages, int npages,
			 WalredoTakePage take, void *take_arg)
{
	MemoryContext replay_context =
	AllocSetContextCreate(CurrentMemoryContext, "walredo replay",
						  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old_context = MemoryContextSwitchTo(replay_context);
	Replay		replay = {rebuild, pages, 0, take, take_arg};
	WalredoRedoJob *jobs;
	ReplayArg  *args;
	int			njobs = 0;

	jobs = MemoryContextAllocHuge(replay_context,
								  Max(npages, 1) * sizeof(WalredoRedoJob));
	args = MemoryContextAllocHuge(replay_context,
								  Max(npages, 1) * sizeof(ReplayArg));
	for (int i = 0; i < npages; i++)
	{
		PageEntry  *page = pages[i];

		if (page->num_pending == 0)
			continue;
		if (!OnlyChildChanges(&page->tag))
		{
			replay_mixed(rebuild, page);
			continue;
		}
		args[njobs].replay = &replay;
		args[njobs].index = i;
		jobs[njobs].tag = page->tag;
		jobs[njobs].pieces = NULL;
		jobs[njobs].npieces = 0;
		jobs[njobs].nrecords = page->num_pending;
		jobs[njobs].arg = &args[njobs];
		njobs++;
	}
	if (njobs > 0)
		walredo_redo_many(jobs, njobs, replay_load, replay_store);
	take_pages_before(&replay, npages);

	MemoryContextSwitchTo(old_context);
	MemoryContextDelete(replay_context);
}

/* All pages; in memory of the current context. */
static PageEntry **
list_pages(WalredoRebuild *rebuild, int *npages)
{
	PageEntry **pages = MemoryContextAllocHuge(CurrentMemoryContext,
											   Max(rebuild->pages->members, 1) *
											   sizeof(PageEntry *));
	pagetable_iterator iter;
	PageEntry  *page;
	int			n = 0;

	pagetable_start_iterate(rebuild->pages, &iter);
	while ((page = pagetable_iterate(rebuild->pages, &iter)) != NULL)
		pages[n++] = page;
	*npages = n;
	return pages;
}

/*
 * Replays everything that waits, and gives the memory back.
 */
static void
flush(WalredoRebuild *rebuild)
{
	int			npages;
	PageEntry **pages = list_pages(rebuild, &npages);

	replay_pages(rebuild, pages, npages, NULL, NULL);
	for (int i = 0; i < npages; i++)
		pages[i]->chunks = pages[i]->chunk = NULL;
	pfree(pages);
	MemoryContextReset(rebuild->pending_context);
	rebuild->pending_size = 0;
}

static int
compare_entries(const void *a, const void *b)
{
	return walredo_tag_compare(&(*(PageEntry *const *) a)->tag,
							   &(*(PageEntry *const *) b)->tag);
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
walredo_rebuild_take(WalredoRebuild *rebuild, const WalredoTag *fork_tag,
					 WalredoTakePage take, void *arg)
{
	WalredoTag	first = *fork_tag;
	int			begin;
	int			end;

	if (rebuild->sorted == NULL)
	{
		MemoryContext old_context = MemoryContextSwitchTo(rebuild->context);

		rebuild->sorted = list_pages(rebuild, &rebuild->num_sorted);
		MemoryContextSwitchTo(old_context);
		qsort(rebuild->sorted, rebuild->num_sorted, sizeof(PageEntry *),
			  compare_entries);
	}

	first.number = 0;
	begin = end = find_sorted(rebuild, &first);
	while (end < rebuild->num_sorted &&
		   walredo_tag_same_fork(&rebuild->sorted[end]->tag, fork_tag))
		end++;
	replay_pages(rebuild, rebuild->sorted + begin, end - begin, take, arg);
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
	store_image(rebuild, page, base);
}

/*
 * CREATE DATABASE logs the pages of the visibility map as if they were of the
 * usual layout, in which what is between pd_lower and pd_upper is free.  But
 * that is where the bits are, so the log has an empty page of each.  That
 * does to replicate a database, since a map may have too few bits; but it is
 * not what the page was.  No other record has an image of a map page with a
 * hole.
 */
bool
walredo_record_starts_page(const WalredoTag *tag, const WalredoRecord *record)
{
	WalredoBlockIterator iter;

	if (!walredo_record_will_init(tag, record))
		return false;
	if (WalredoRecordIsNative(record) ||
		tag->forknum != VISIBILITYMAP_FORKNUM)
		return true;

	walredo_block_iterator_init(&iter, (const XLogRecord *) record->u.data);
	while (walredo_block_iterator_next(&iter))
	{
		if (iter.block.forknum == VISIBILITYMAP_FORKNUM &&
			iter.block.blkno == tag->number && iter.block.image_has_hole)
			return false;
	}
	return true;
}

/*
 * Takes note of a record of a page.  True if it has to be kept.
 */
static inline bool
note_record(PageEntry *page, XLogRecPtr lsn, bool starts_page)
{
	page->num_records++;
	if (page->num_records == 1)
		page->first_lsn = lsn;
	page->last_lsn = lsn;

	if (starts_page)
	{
		/* Whatever was before does not matter any more. */
		forget_image(page);
		page->has_start = true;
		page->truncated = false;
		return true;
	}

	/*
	 * The image given may have this change already.  Redo would see that by
	 * its LSN, except that what clears bits of the visibility map looks at
	 * none, and would clear those that were set since.
	 */
	return page->has_start && lsn > page->base_lsn;
}

static inline void
flush_if_full(WalredoRebuild *rebuild)
{
	if (rebuild->pending_size > rebuild->pending_limit)
		flush(rebuild);
}

/* Keeps a WalredoRecord for a page that is not changed by a child alone. */
static WalredoRecord *
add_pending_record(WalredoRebuild *rebuild, PageEntry *page, Size size)
{
	return (WalredoRecord *) add_pending(rebuild, page, MAXALIGN(size));
}

void
walredo_rebuild_add(WalredoRebuild *rebuild, const WalredoTag *tag,
					const WalredoRecord *record)
{
	bool		starts_page = walredo_record_starts_page(tag, record);
	PageEntry  *page;

	if (OnlyChildChanges(tag))
	{
		/* No native record is about such a page. */
		Assert(!WalredoRecordIsNative(record));
		walredo_rebuild_add_block(rebuild, tag,
								  (const XLogRecord *) record->u.data,
								  record->lsn, starts_page);
		return;
	}

	page = find_page(rebuild, tag);
	if (!note_record(page, record->lsn, starts_page))
		return;
	memcpy(add_pending_record(rebuild, page, VARSIZE(record)), record,
		   VARSIZE(record));
	flush_if_full(rebuild);
}

void
walredo_rebuild_add_block(WalredoRebuild *rebuild, const WalredoTag *tag,
						  const XLogRecord *xlogrecord, XLogRecPtr end_lsn,
						  bool starts_page)
{
	PageEntry  *page = find_page(rebuild, tag);

	if (!note_record(page, end_lsn, starts_page))
		return;

	/* A child would not take it: refuse it as always. */
	if (xlogrecord->xl_tot_len > WALREDO_MAX_RECORD_SIZE)
		(void) walredo_record_make(WALREDO_POSTGRES, end_lsn,
								   xlogrecord->xl_tot_len);

	if (OnlyChildChanges(tag))
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
	flush_if_full(rebuild);
}

void
walredo_rebuild_truncate(WalredoRebuild *rebuild, const WalredoTag *fork_tag,
						 BlockNumber nblocks, XLogRecPtr lsn)
{
	pagetable_iterator iter;
	PageEntry  *page;

	pagetable_start_iterate(rebuild->pages, &iter);
	while ((page = pagetable_iterate(rebuild->pages, &iter)) != NULL)
	{
		if (walredo_tag_same_fork(&page->tag, fork_tag) &&
			page->tag.number >= nblocks && lsn > page->base_lsn)
		{
			forget_image(page);
			page->truncated = true;
		}
	}
}

void
walredo_rebuild_get(WalredoRebuild *rebuild, const WalredoTag *tag,
					WalredoRebuiltPage *result)
{
	PageEntry  *page = pagetable_lookup(rebuild->pages, *tag);

	memset(result, 0, sizeof(*result));
	if (page == NULL)
		return;
	if (page->num_pending > 0)
		replay_pages(rebuild, &page, 1, NULL, NULL);
	result->image = load_image(rebuild, page);
	result->num_records = page->num_records;
	result->first_lsn = page->first_lsn;
	result->last_lsn = page->last_lsn;
	result->truncated = page->truncated;
}

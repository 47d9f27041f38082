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

/* A record that waits to be replayed. */
typedef struct PendingRecord
{
	struct PendingRecord *next;
	WalredoRecord *record;
} PendingRecord;

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
	PendingRecord *pending;		/* first */
	PendingRecord *last_pending;
} PageEntry;

#define SH_PREFIX				pagetable
#define SH_ELEMENT_TYPE			PageEntry
#define SH_KEY_TYPE				WalredoTag
#define SH_KEY					tag
#define SH_HASH_KEY(tb, key) \
	hash_bytes((const unsigned char *) &(key), sizeof(WalredoTag))
#define SH_EQUAL(tb, a, b)		(memcmp(&(a), &(b), sizeof(WalredoTag)) == 0)
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
	page->pending = page->last_pending = NULL;
	page->num_pending = 0;
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

/* The records that wait for a page, as an array; palloc'd. */
static WalredoRecord **
pending_records(PageEntry *page)
{
	WalredoRecord **records;
	int			n = 0;

	records = MemoryContextAllocHuge(CurrentMemoryContext,
									 page->num_pending *
									 sizeof(WalredoRecord *));
	for (PendingRecord *p = page->pending; p != NULL; p = p->next)
		records[n++] = p->record;
	Assert(n == page->num_pending);
	return records;
}

/*
 * The image of a page with all its pending records replayed; NULL if there is
 * none.  Does not change the page.
 */
static bytea *
replay_pending(WalredoRebuild *rebuild, PageEntry *page)
{
	WalredoRecord **records;
	bytea	   *image;

	if (!page->has_start)
		return NULL;

	image = load_image(rebuild, page);
	if (page->num_pending == 0)
		return image;

	records = pending_records(page);
	image = walredo_redo(&page->tag, image, records, page->num_pending);
	pfree(records);
	return image;
}

/* A page to be flushed, on its way through walredo_redo_many(). */
typedef struct FlushArg
{
	WalredoRebuild *rebuild;
	PageEntry  *page;
} FlushArg;

static bytea *
flush_load(WalredoRedoJob *job)
{
	FlushArg   *arg = job->arg;

	return load_image(arg->rebuild, arg->page);
}

static void
flush_store(WalredoRedoJob *job, const bytea *image)
{
	FlushArg   *arg = job->arg;

	store_image(arg->rebuild, arg->page, image);
	forget_pending(arg->page);
}

void
walredo_rebuild_flush(WalredoRebuild *rebuild)
{
	MemoryContext flush_context = AllocSetContextCreate(CurrentMemoryContext,
														"walredo flush",
														ALLOCSET_DEFAULT_SIZES);
	MemoryContext old_context = MemoryContextSwitchTo(flush_context);
	Size		npages = Max(rebuild->pages->members, 1);
	WalredoRedoJob *jobs;
	FlushArg   *args;
	int			njobs = 0;
	pagetable_iterator iter;
	PageEntry  *page;

	jobs = MemoryContextAllocHuge(flush_context,
								  npages * sizeof(WalredoRedoJob));
	args = MemoryContextAllocHuge(flush_context, npages * sizeof(FlushArg));

	pagetable_start_iterate(rebuild->pages, &iter);
	while ((page = pagetable_iterate(rebuild->pages, &iter)) != NULL)
	{
		WalredoRedoJob *job = &jobs[njobs];
		FlushArg   *arg = &args[njobs];

		if (page->num_pending == 0)
			continue;
		arg->rebuild = rebuild;
		arg->page = page;
		job->tag = page->tag;
		job->has_base = page->has_image;
		job->records = pending_records(page);
		job->nrecords = page->num_pending;
		job->arg = arg;
		njobs++;
	}
	walredo_redo_many(jobs, njobs, flush_load, flush_store);

	MemoryContextSwitchTo(old_context);
	MemoryContextDelete(flush_context);
	MemoryContextReset(rebuild->pending_context);
	rebuild->pending_size = 0;
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

void
walredo_rebuild_add(WalredoRebuild *rebuild, const WalredoTag *tag,
					const WalredoRecord *record)
{
	PageEntry  *page = find_page(rebuild, tag);
	PendingRecord *pending;

	page->num_records++;
	if (page->num_records == 1)
		page->first_lsn = record->lsn;
	page->last_lsn = record->lsn;

	if (walredo_record_starts_page(tag, record))
	{
		/* Whatever was before does not matter any more. */
		forget_image(page);
		page->has_start = true;
		page->truncated = false;
	}
	else if (!page->has_start)
		return;
	else if (record->lsn <= page->base_lsn)
	{
		/*
		 * The image given has this change already.  Redo would see that by
		 * its LSN, except that what clears bits of the visibility map looks
		 * at none, and would clear those that were set since.
		 */
		return;
	}

	pending = MemoryContextAlloc(rebuild->pending_context,
								 sizeof(PendingRecord));
	pending->next = NULL;
	pending->record = MemoryContextAlloc(rebuild->pending_context,
										 VARSIZE(record));
	memcpy(pending->record, record, VARSIZE(record));
	if (page->last_pending)
		page->last_pending->next = pending;
	else
		page->pending = pending;
	page->last_pending = pending;
	page->num_pending++;

	rebuild->pending_size += sizeof(PendingRecord) + VARSIZE(record);
	if (rebuild->pending_size > rebuild->pending_limit)
		walredo_rebuild_flush(rebuild);
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
	result->image = replay_pending(rebuild, page);
	result->num_records = page->num_records;
	result->first_lsn = page->first_lsn;
	result->last_lsn = page->last_lsn;
	result->truncated = page->truncated;
}

static int
compare_tags(const void *a, const void *b)
{
	return walredo_tag_compare(a, b);
}

WalredoTag *
walredo_rebuild_tags(WalredoRebuild *rebuild, int *ntags)
{
	WalredoTag *tags = palloc(Max(rebuild->pages->members, 1) *
							  sizeof(WalredoTag));
	pagetable_iterator iter;
	PageEntry  *page;
	int			n = 0;

	pagetable_start_iterate(rebuild->pages, &iter);
	while ((page = pagetable_iterate(rebuild->pages, &iter)) != NULL)
	{
		if (page->has_start)
			tags[n++] = page->tag;
	}
	qsort(tags, n, sizeof(WalredoTag), compare_tags);
	*ntags = n;
	return tags;
}

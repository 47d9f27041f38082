/*-------------------------------------------------------------------------
 *
 * rebuild.c
 *	  Pages made from the records that WAL has of them.
 *
 * A rebuild is given the records of any number of pages in the order of WAL,
 * and can say at the end what each page looks like.  It must not keep all that
 * WAL has of them, which may be many times the size of memory, and it must not
 * replay more than it needs to, since replay is the slowest part.
 *
 * What is kept of a page
 * ----------------------
 * A page's records are of no use before the first that makes an image of its
 * own, unless a base image was given: they are counted, and dropped.  And none
 * before the last such record is needed.  As the server logs a full image of
 * each page that it changes once per checkpoint, much of WAL is never replayed.
 * So what is kept of a page is its newest image, as far as it has been made,
 * and the records since then, which wait (pending.c), or the records alone if
 * the first of them makes an image.  All of it is dropped when a record comes
 * that makes the page anew.
 *
 * Replay ahead
 * ------------
 * A child has nothing to do as long as WAL is being read, and the session has
 * nothing to do once the child is at work.  So pages are given to a child while
 * WAL is read: those that have many records already, and those that are
 * unlikely to be changed again soon, as no record of them has come for a while.
 * walredo_rebuild_advance() picks them out of a list of the pages that have
 * records waiting, and puts them into a stream, which sends what there is room
 * for and never waits for an answer.
 *
 * This is a bet, and a lost one must cost nothing but time.  If more records
 * come while a child has the page, they wait, and are replayed on the image
 * that it answers with.  If a record comes that makes the page anew, or the
 * page ends, the answer is ignored (Replay.page is NULL then).  If the child
 * fails, the image and the records are put back as they were before: they may
 * yet turn out not to be needed, in which case nobody needs to know that they
 * cannot be replayed.  After that nothing is replayed ahead any more, since the
 * stream does not tell which page the child has failed at, and it would fail
 * again.  What waits at the end is replayed when somebody asks for it.
 *
 * Memory
 * ------
 * Records and images are counted.  When they take more than
 * maintenance_work_mem, flush() replays everything that waits and puts all
 * images into a temporary file (image_file.c).  A page needs no more than one
 * image there, however many records it has had.  What a child fails at stays in
 * memory.
 *
 * Ends of pages
 * -------------
 * What is known of a page can come to an end, other than by a record
 * that makes it anew: its fork is truncated, say, or its file removed.  This
 * may be about every page of a fork, and most of them are never looked at
 * again, so pages are not told.  The fork has a list of its ends (fork_ends.c),
 * and a page takes note of them when it is next looked at: see_ends() has to be
 * called before anything of a page is used.
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
#include "page/fork_ends.h"
#include "page/hole.h"
#include "page/image_file.h"
#include "page/pending.h"
#include "page/rebuild.h"
#include "redo/replay.h"
#include "storage/bufpage.h"
#include "utils/memutils.h"

/*
 * Is a page one that only a child changes, as nearly all are?  Then records
 * that wait for it are in the form in which a child is given them, and are sent
 * from where they are.  For others, to which native records may be applied,
 * they are WalredoRecords, each aligned, and are applied in the backend by
 * replay_mixed().
 */
#define OnlyChildChanges(tag) \
	((tag)->kind == WALREDO_TAG_REL && \
	 (tag)->forknum != VISIBILITYMAP_FORKNUM)

/*
 * When a page is replayed ahead of time: when so many bytes of records wait for
 * it, or fewer, and for so many bytes of WAL none has come.  Its image has to
 * be sent to the child and back, which is for nothing if more records come
 * later, so that there should be enough of them to be worth two pages.
 */
#define MANY_PENDING		(32 * 1024)
#define SOME_PENDING		(4 * 1024)
#define QUIET_DISTANCE		(1024 * 1024)

/*
 * The most pages that walredo_rebuild_advance() looks at before WAL is read on.
 * The list goes round, so each call looks at other pages.
 */
#define MAX_LOOKS			64

/*
 * How many pages walredo_rebuild_next() has replayed at once.  A child works
 * through them without waiting for the session in between; all their images
 * are in memory then.
 */
#define PAGES_AT_ONCE		256

typedef struct Replay Replay;

/*
 * What can be said of a page's image.
 *
 * UNKNOWN	  There is nothing that an image could be made from: no image, and
 *			  no record waits.  Records that come are counted only, unless they
 *			  make the page anew.
 * MADE		  The image has all records, and none waits.
 * WAITING	  Records wait, to be applied to the image, or, if there is none,
 *			  the first of them makes one.
 * SENT		  A replay has the image and all records, and none waits.
 * SENT_MORE  A replay has the image and the records up to some point, and those
 *			  that came since wait for its answer.
 * FAILED	  As WAITING, but a child has failed when it was given the page
 *			  alone.  It is not sent in a stream any more, as it would fail
 *			  again and take others with it.
 *
 * find_page() adds a page that is UNKNOWN.  These functions make the moves:
 *
 * any -> UNKNOWN				 forget_image(): a record makes the page anew,
 *								 and is added next; the page ends; or the
 *								 caller is done with it
 * UNKNOWN -> MADE				 walredo_rebuild_set_base(),
 *								 walredo_rebuild_copy_page()
 * UNKNOWN or MADE -> WAITING	 add_pending()
 * WAITING -> SENT				 start_replay()
 * SENT -> SENT_MORE			 add_pending()
 * SENT -> MADE					 take_replayed()
 * SENT_MORE -> WAITING			 take_replayed()
 * SENT or SENT_MORE -> WAITING  undo_replay(), if a child has failed
 * WAITING or FAILED -> MADE	 replay_alone(), replay_mixed()
 * WAITING -> FAILED			 replay_alone(), if it raises an error
 *
 * Only a page that OnlyChildChanges() is ever SENT or FAILED.
 *
 * Where the image is, is another matter.  In states MADE, WAITING and FAILED it
 * may be in memory (image is not NULL) or in the file (in_file is set).  While
 * it is SENT, the replay has it, in memory.
 */
typedef enum PageState
{
	PAGE_UNKNOWN,
	PAGE_MADE,
	PAGE_WAITING,
	PAGE_SENT,
	PAGE_SENT_MORE,
	PAGE_FAILED
} PageState;

/* A page. */
typedef struct PageEntry
{
	WalredoTag	tag;
	PageState	state;

	/*
	 * What the page starts from: whether that is an image in WAL with a hole,
	 * or the LSN of the base image that was given, else InvalidXLogRecPtr.
	 */
	bool		start_has_hole;
	XLogRecPtr	base_lsn;

	/* As in WalredoRebuiltPage. */
	WalredoPageEnd end;
	XLogRecPtr	end_lsn;
	int			rmid;
	uint64		num_records;
	XLogRecPtr	first_lsn;
	XLogRecPtr	last_lsn;

	WalredoForkEnds *fork;		/* NULL if it is no block of a relation */
	uint32		ends_seen;		/* of the fork's total */

	/*
	 * Records that wait.  If there are some, and OnlyChildChanges() the page,
	 * waiting_node is in the rebuild's list.
	 */
	WalredoPending pending;
	dlist_node	waiting_node;

	Replay	   *replay;			/* in states SENT and SENT_MORE, else NULL */

	bytea	   *image;
	bool		in_file;
	int64		image_slot;		/* in the file, -1 if it was never there */
} PageEntry;

/* Has a page records that wait? */
#define HasPending(page)	((page)->pending.num_records > 0)

/* Has it any that a stream can be given now? */
#define CanBeSent(page) \
	((page)->state == PAGE_WAITING && OnlyChildChanges(&(page)->tag))

/* A page on its way through a child. */
struct Replay
{
	WalredoReplayJob job;		/* first: it is what comes back */
	WalredoRebuild *rebuild;
	PageEntry  *page;			/* NULL if what comes back is outdated */
	WalredoPending pending;		/* its records */
	bytea	   *base;			/* its image before them, or NULL */
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
	WalredoForkEnds *fork;
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
	WalredoCountedMemory data;	/* records that wait, and images */
	Size		data_limit;
	pagetable_hash *pages;
	forktable_hash *forks;
	dlist_head	waiting;		/* pages with records that a child can replay */
	WalredoReplayStream *stream;	/* NULL before the first replay */
	bool		no_more_ahead;	/* a child has failed: replay none ahead */
	WalredoImageFile *file;

	/*
	 * While somebody goes through the pages of a fork: all pages, sorted, or
	 * NULL before the first time, and where in them the fork ends, which page
	 * is next, and up to where pages have been sent.
	 */
	PageEntry **sorted;
	int			num_sorted;
	int			end_of_fork;
	int			next_page;
	int			replayed_to;
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
	MemoryContext old_context = MemoryContextSwitchTo(context);
	WalredoRebuild *rebuild = palloc0(sizeof(WalredoRebuild));

	rebuild->context = context;
	rebuild->data.context = AllocSetContextCreate(context, "walredo records",
												  ALLOCSET_DEFAULT_SIZES);
	rebuild->data_limit = (Size) maintenance_work_mem * 1024;
	rebuild->pages = pagetable_create(context, 64, NULL);
	rebuild->forks = forktable_create(context, 16, NULL);
	rebuild->file = walredo_image_file_create();
	dlist_init(&rebuild->waiting);
	MemoryContextSwitchTo(old_context);
	return rebuild;
}

void
walredo_rebuild_free(WalredoRebuild *rebuild)
{
	if (rebuild->stream)
		walredo_replay_end(rebuild->stream);
	walredo_image_file_close(rebuild->file);
	MemoryContextDelete(rebuild->context);
}

/* ----------------------------------------
 * Forks and pages
 * ----------------------------------------
 */

/* Finds the fork of a block, or adds it if create is set. */
static WalredoForkEnds *
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
											sizeof(WalredoForkEnds));
	return slot ? slot->fork : NULL;
}

/*
 * Has a page take note of the ends of its fork.
 *
 * The page may be one that has been made anew since its last end; that was
 * seen at the latest when the record that made it came, so all ends that have
 * not been seen are later than all that is known of the page.
 */
static inline void
see_ends(WalredoRebuild *rebuild, PageEntry *page)
{
	const WalredoForkEnd *end;

	if (page->fork == NULL || page->ends_seen == page->fork->total)
		return;
	end = walredo_fork_ends_last(page->fork, page->tag.number);
	if (end != NULL && end->number > page->ends_seen)
		end_page(rebuild, page, end->end, end->lsn);
	page->ends_seen = page->fork->total;
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

/* Is memory that may be used for records and images exceeded? */
static inline bool
is_full(const WalredoRebuild *rebuild)
{
	return rebuild->data.used > rebuild->data_limit;
}

static void
drop_image(WalredoRebuild *rebuild, PageEntry *page)
{
	if (page->image)
	{
		rebuild->data.used -= VARSIZE(page->image);
		pfree(page->image);
	}
	page->image = NULL;
	page->in_file = false;		/* its slot will be used again */
}

/* Keeps a copy of an image in memory, instead of the one that there was. */
static void
keep_image(WalredoRebuild *rebuild, PageEntry *page, const char *data,
		   Size size)
{
	bytea	   *image = MemoryContextAlloc(rebuild->data.context,
										   VARHDRSZ + size);

	SET_VARSIZE(image, VARHDRSZ + size);
	memcpy(VARDATA(image), data, size);
	drop_image(rebuild, page);
	page->image = image;
	rebuild->data.used += VARSIZE(image);
}

/* Moves the image of a page from memory into the file. */
static void
put_in_file(WalredoRebuild *rebuild, PageEntry *page)
{
	Assert(VARSIZE(page->image) == VARHDRSZ + BLCKSZ);
	walredo_image_file_write(rebuild->file, &page->image_slot,
							 VARDATA(page->image));
	drop_image(rebuild, page);
	page->in_file = true;
}

/* A copy of an image that is in the file; palloc'd in the given context. */
static bytea *
read_from_file(WalredoRebuild *rebuild, const PageEntry *page,
			   MemoryContext context)
{
	bytea	   *image = MemoryContextAlloc(context, VARHDRSZ + BLCKSZ);

	SET_VARSIZE(image, VARHDRSZ + BLCKSZ);
	walredo_image_file_read(rebuild->file, page->image_slot, VARDATA(image));
	return image;
}

/* A palloc'd copy of a page's image, wherever it is, or NULL. */
static bytea *
copy_image(WalredoRebuild *rebuild, const PageEntry *page)
{
	if (page->in_file)
		return read_from_file(rebuild, page, CurrentMemoryContext);
	if (page->image)
		return DatumGetByteaPCopy(PointerGetDatum(page->image));
	return NULL;
}

/*
 * Takes the image away from a page, which has none then.  It is in memory, and
 * still counted; NULL if there is none.
 */
static bytea *
detach_image(WalredoRebuild *rebuild, PageEntry *page)
{
	bytea	   *image = page->image;

	if (page->in_file)
	{
		image = read_from_file(rebuild, page, rebuild->data.context);
		rebuild->data.used += VARSIZE(image);
		page->in_file = false;
	}
	page->image = NULL;
	return image;
}

/* ----------------------------------------
 * Records that wait
 * ----------------------------------------
 */

/*
 * Takes note of a chunk that has been added for records of a page: they wait,
 * if they did not before.
 *
 * The list is in the order in which pages are looked at.  One that has many
 * records is moved to its head, as it is certain to be replayed.
 */
static void
note_chunk(WalredoRebuild *rebuild, PageEntry *page)
{
	bool		is_listed = true;

	switch (page->state)
	{
		case PAGE_UNKNOWN:
		case PAGE_MADE:
			page->state = PAGE_WAITING;
			is_listed = false;
			break;
		case PAGE_SENT:
			page->state = PAGE_SENT_MORE;
			is_listed = false;
			break;
		case PAGE_WAITING:
		case PAGE_SENT_MORE:
		case PAGE_FAILED:
			break;
	}

	if (!OnlyChildChanges(&page->tag))
		return;
	if (!is_listed)
		dlist_push_tail(&rebuild->waiting, &page->waiting_node);
	else if (page->pending.size >= MANY_PENDING)
		dlist_move_head(&rebuild->waiting, &page->waiting_node);
}

/*
 * Room for a record of the given size that waits for a page.  The caller writes
 * it there.
 */
static inline char *
add_pending(WalredoRebuild *rebuild, PageEntry *page, Size size)
{
	Size		old_size = page->pending.size;
	char	   *result = walredo_pending_add(&page->pending, &rebuild->data,
											 size);

	/* This is called for every record, and most need no new chunk. */
	if (page->pending.size != old_size)
		note_chunk(rebuild, page);
	return result;
}

/*
 * Takes the records that wait away from a page; they are the caller's.  The
 * page's state is left to the caller.
 */
static WalredoPending
detach_pending(PageEntry *page)
{
	WalredoPending pending = page->pending;

	if (HasPending(page) && OnlyChildChanges(&page->tag))
		dlist_delete(&page->waiting_node);
	memset(&page->pending, 0, sizeof(page->pending));
	return pending;
}

static void
free_pending(WalredoRebuild *rebuild, PageEntry *page)
{
	WalredoPending pending = detach_pending(page);

	walredo_pending_free(&pending, &rebuild->data);
}

/* Forgets all that a page could be made from. */
static void
forget_image(WalredoRebuild *rebuild, PageEntry *page)
{
	free_pending(rebuild, page);
	drop_image(rebuild, page);
	page->start_has_hole = false;
	page->base_lsn = InvalidXLogRecPtr;

	/* What a child is about to answer is of no use any more. */
	if (page->replay)
		page->replay->page = NULL;
	page->replay = NULL;
	page->state = PAGE_UNKNOWN;
}

/*
 * Ends what is known of a page, by a record that ends at lsn.
 *
 * If the caller has given a base image that is newer than the record, the image
 * is one of the page that came to be later, and stays.
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

/*
 * A child has failed: the image and the records of a replay wait again as they
 * did before it, ahead of those that came since.
 */
static void
undo_replay(WalredoRebuild *rebuild, Replay *replay)
{
	PageEntry  *page = replay->page;

	if (page->state == PAGE_SENT)
		dlist_push_tail(&rebuild->waiting, &page->waiting_node);
	walredo_pending_prepend(&page->pending, &replay->pending);
	page->image = replay->base;
	replay->base = NULL;
	page->state = PAGE_WAITING;
}

/*
 * Takes what a child has made of a page, which is NULL if a child has failed at
 * it or at another page.
 */
static void
take_replayed(void *arg, const char *data)
{
	Replay	   *replay = arg;
	WalredoRebuild *rebuild = replay->rebuild;
	PageEntry  *page = replay->page;

	if (page != NULL)
	{
		Assert(page->state == PAGE_SENT || page->state == PAGE_SENT_MORE);
		page->replay = NULL;
		if (data == NULL)
			undo_replay(rebuild, replay);
		else
		{
			keep_image(rebuild, page, data, BLCKSZ);
			page->state = page->state == PAGE_SENT ? PAGE_MADE : PAGE_WAITING;
			if (is_full(rebuild))
				put_in_file(rebuild, page);
		}
	}
	if (data == NULL)
		rebuild->no_more_ahead = true;

	walredo_pending_free(&replay->pending, &rebuild->data);
	if (replay->base)
	{
		rebuild->data.used -= VARSIZE(replay->base);
		pfree(replay->base);
	}
	pfree((void *) replay->job.pieces);
	pfree(replay);
}

/*
 * Waits until no page is SENT.  Where a child has failed, pages wait as before.
 */
static void
finish_replays(WalredoRebuild *rebuild)
{
	if (rebuild->stream)
		walredo_replay_finish(rebuild->stream);
}

/* Fills in a job for the records that wait for a page, but for its base. */
static void
prepare_job(WalredoRebuild *rebuild, const PageEntry *page,
			WalredoReplayJob *job)
{
	job->tag = page->tag;
	job->base = NULL;
	job->pieces = walredo_pending_pieces(&page->pending, rebuild->context);
	job->npieces = page->pending.num_chunks;
	job->nrecords = page->pending.num_records;
}

/*
 * Puts a page that CanBeSent() into the stream, with the records that wait for
 * it.
 */
static void
start_replay(WalredoRebuild *rebuild, PageEntry *page)
{
	Replay	   *replay;

	Assert(CanBeSent(page) && page->replay == NULL);
	if (rebuild->stream == NULL)
	{
		MemoryContext old_context = MemoryContextSwitchTo(rebuild->context);

		rebuild->stream = walredo_replay_begin(take_replayed);
		MemoryContextSwitchTo(old_context);
	}

	replay = MemoryContextAlloc(rebuild->context, sizeof(Replay));
	prepare_job(rebuild, page, &replay->job);
	replay->rebuild = rebuild;
	replay->page = page;
	replay->base = detach_image(rebuild, page);
	replay->job.base = replay->base ? VARDATA(replay->base) : NULL;
	replay->pending = detach_pending(page);
	page->replay = replay;
	page->state = PAGE_SENT;
	walredo_replay_add(rebuild->stream, &replay->job);
}

/*
 * Has a child replay what waits for one page, and raises what a child fails at.
 * The stream has been finished, as a session has one child at a time.
 */
static void
replay_alone(WalredoRebuild *rebuild, PageEntry *page)
{
	WalredoReplayJob job;
	bytea	   *base = copy_image(rebuild, page);
	PGAlignedBlock image;

	prepare_job(rebuild, page, &job);
	job.base = base ? VARDATA(base) : NULL;

	/* This is what the page is if an error is raised here. */
	page->state = PAGE_FAILED;
	walredo_replay_one(&job, image.data);

	pfree((void *) job.pieces);
	if (base)
		pfree(base);
	free_pending(rebuild, page);
	keep_image(rebuild, page, image.data, BLCKSZ);
	page->state = PAGE_MADE;
}

/*
 * Applies the records that wait for a page of which some may be native.  The
 * stream has been finished, as others are replayed by a child.
 */
static void
replay_mixed(WalredoRebuild *rebuild, PageEntry *page)
{
	int			nrecords = page->pending.num_records;
	WalredoRecord **records = palloc(nrecords * sizeof(WalredoRecord *));
	bytea	   *image = copy_image(rebuild, page);
	int			n = 0;

	for (WalredoPendingChunk *chunk = page->pending.first; chunk != NULL;
		 chunk = chunk->next)
	{
		for (Size at = 0; at < chunk->used;)
		{
			records[n] = (WalredoRecord *) (WalredoChunkData(chunk) + at);
			at += MAXALIGN(VARSIZE(records[n]));
			n++;
		}
	}
	Assert(n == nrecords);

	image = walredo_replay(&page->tag, image, records, n);
	keep_image(rebuild, page, VARDATA(image), VARSIZE(image) - VARHDRSZ);
	free_pending(rebuild, page);
	page->state = PAGE_MADE;
	pfree(image);
	pfree(records);
}

/* Replays what waits for a page, and waits for its image. */
static void
replay_page(WalredoRebuild *rebuild, PageEntry *page)
{
	finish_replays(rebuild);
	if (!HasPending(page))
		return;
	if (OnlyChildChanges(&page->tag))
		replay_alone(rebuild, page);
	else
		replay_mixed(rebuild, page);
}

/* Is it time to have a page replayed that CanBeSent()? */
static bool
should_be_sent(const PageEntry *page, XLogRecPtr lsn)
{
	return page->pending.size >= MANY_PENDING ||
		(page->pending.size >= SOME_PENDING &&
		 lsn - page->last_lsn >= QUIET_DISTANCE);
}

void
walredo_rebuild_advance(WalredoRebuild *rebuild, XLogRecPtr lsn)
{
	for (int i = 0; i < MAX_LOOKS && !rebuild->no_more_ahead &&
		 !dlist_is_empty(&rebuild->waiting); i++)
	{
		PageEntry  *page = dlist_head_element(PageEntry, waiting_node,
											  &rebuild->waiting);

		/* If it has ended, it is not in the list any more. */
		see_ends(rebuild, page);
		if (!HasPending(page))
			continue;
		if (CanBeSent(page) && should_be_sent(page, lsn))
		{
			/*
			 * The stream takes any number of pages and keeps them.  As long
			 * as it has some that could not be sent, more would only be more
			 * that may turn out to be outdated.
			 */
			if (rebuild->stream && !walredo_replay_advance(rebuild->stream))
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
		(void) walredo_replay_advance(rebuild->stream);
}

/* All pages, in memory of the current context. */
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

	/* Pages that are SENT_MORE can be sent again only after this. */
	finish_replays(rebuild);
	for (int i = 0; i < npages; i++)
	{
		see_ends(rebuild, pages[i]);
		if (CanBeSent(pages[i]))
			start_replay(rebuild, pages[i]);
	}
	finish_replays(rebuild);
	for (int i = 0; i < npages; i++)
	{
		PageEntry  *page = pages[i];

		if (HasPending(page) && !OnlyChildChanges(&page->tag))
			replay_mixed(rebuild, page);
		if (page->image != NULL && WalredoTagIsPage(&page->tag))
			put_in_file(rebuild, page);
	}
	pfree(pages);

	/*
	 * What cannot be replayed or put into the file is still there.  If it is
	 * much, it must not cause this again with every record.
	 */
	if (rebuild->data.used > rebuild->data_limit / 2)
		rebuild->data_limit = 2 * rebuild->data.used;
}

/* ----------------------------------------
 * Going through the pages of a fork
 * ----------------------------------------
 */

static int
compare_entries(const void *a, const void *b)
{
	return walredo_tag_compare(&(*(PageEntry *const *) a)->tag,
							   &(*(PageEntry *const *) b)->tag);
}

/*
 * Is called when the caller is done with the image that was returned last.  It
 * may be asked for once more, so it is not dropped, but does not have to stay
 * in memory.
 */
static void
leave_page(WalredoRebuild *rebuild)
{
	PageEntry  *page = rebuild->last_page;

	if (page != NULL && page->image != NULL && WalredoTagIsPage(&page->tag) &&
		is_full(rebuild))
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

/* Replays the next pages of the fork that a child is needed for, together. */
static void
replay_next(WalredoRebuild *rebuild)
{
	int			n = 0;

	for (int i = rebuild->next_page;
		 i < rebuild->end_of_fork && n < PAGES_AT_ONCE; i++)
	{
		PageEntry  *page = rebuild->sorted[i];

		see_ends(rebuild, page);
		if (CanBeSent(page))
		{
			start_replay(rebuild, page);
			n++;
		}
		rebuild->replayed_to = i + 1;
	}
	finish_replays(rebuild);
}

/* Says what is known of a page, but for its image. */
static void
describe_page(const PageEntry *page, WalredoRebuiltPage *result)
{
	memset(result, 0, sizeof(*result));
	result->is_waiting = HasPending(page);
	result->end = page->end;
	result->end_lsn = page->end_lsn;
	result->num_records = page->num_records;
	result->first_lsn = page->first_lsn;
	result->last_lsn = page->last_lsn;
	result->rmid = page->rmid;
}

/*
 * Adds its image, unless the image in WAL that it was made from had a hole
 * where such a page keeps contents.
 */
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
	if (HasPending(page) && !OnlyChildChanges(&page->tag))
		replay_mixed(rebuild, page);
	else if (HasPending(page))
	{
		/*
		 * If a child fails at one of the pages that are sent together, they
		 * all go on waiting.  They are not sent together again: the caller is
		 * told that the page waits, and gets it alone.
		 */
		if (rebuild->next_page >= rebuild->replayed_to)
			replay_next(rebuild);
	}
	rebuild->next_page++;

	if (page->in_file)
		rebuild->from_file = read_from_file(rebuild, page, rebuild->context);
	rebuild->last_page = page;
	*tag = page->tag;
	describe_page(page, result);
	if (!HasPending(page))
		add_image(page, page->image ? page->image : rebuild->from_file,
				  result);
	return true;
}

void
walredo_rebuild_forget(WalredoRebuild *rebuild)
{
	forget_image(rebuild, rebuild->last_page);
}

/* ----------------------------------------
 * What is known to begin with
 * ----------------------------------------
 */

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
			page->start_has_hole = from->start_has_hole;
			page->state = PAGE_MADE;
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
	if (tag->kind == WALREDO_TAG_REL)
		page->base_lsn = PageGetLSN((Page) VARDATA(base));
	keep_image(rebuild, page, VARDATA(base), VARSIZE(base) - VARHDRSZ);
	page->state = PAGE_MADE;
}

/* ----------------------------------------
 * Records and ends that are added
 * ----------------------------------------
 */

/*
 * Counts a record of a page, which ends at lsn; xlogrecord is NULL if it is
 * native.  If it makes the page anew, drops what was before.  True if the
 * record has to be kept, to be replayed.
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
		page->start_has_hole = image_has_hole;
		page->end = WALREDO_NOT_ENDED;
		return true;
	}

	/*
	 * Without anything to start from, the record is of no use.
	 *
	 * A base image may have the change already.  Most redo routines compare
	 * the LSN of the page and leave it alone then.  Those that clear bits of
	 * the visibility map do not, and would clear bits that were set since. So
	 * such a record is not kept.
	 */
	return page->state != PAGE_UNKNOWN && lsn > page->base_lsn;
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
		Size		size = walredo_replay_record_size(xlogrecord);

		walredo_replay_put_record(add_pending(rebuild, page, size), end_lsn,
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

void
walredo_rebuild_add(WalredoRebuild *rebuild, const WalredoPageChange *change,
					const XLogRecord *record, XLogRecPtr end_lsn)
{
	PageEntry  *page;

	if (change->what == WALREDO_CHANGE_END &&
		change->tag.kind == WALREDO_TAG_REL)
	{
		/* Pages take note of it when they are next looked at. */
		walredo_fork_ends_add(find_fork(rebuild, &change->tag, true),
							  (BlockNumber) change->tag.number, change->end,
							  end_lsn, rebuild->context);
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
	if (is_full(rebuild))
		flush(rebuild);
}

/*
 * Nothing is left of the pages but their entries, which may be in use: in the
 * hash table, and as last_page.
 */
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
		walredo_fork_ends_reset(fork_slot->fork);
}

void
walredo_rebuild_get(WalredoRebuild *rebuild, const WalredoTag *tag,
					WalredoRebuiltPage *result)
{
	PageSlot   *slot = pagetable_lookup(rebuild->pages, *tag);

	if (slot == NULL)
	{
		WalredoForkEnds *fork = NULL;
		const WalredoForkEnd *end = NULL;

		memset(result, 0, sizeof(*result));
		result->rmid = -1;
		if (tag->kind == WALREDO_TAG_REL)
			fork = find_fork(rebuild, tag, false);
		if (fork != NULL)
			end = walredo_fork_ends_last(fork, tag->number);
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

const char *
walredo_rebuilt_page_problem(const WalredoRebuiltPage *page)
{
	if (page->is_incomplete)
		return "The image of the page in WAL lacks a part of its contents.";
	if (page->end == WALREDO_UNKNOWN_CHANGE)
		return psprintf("The record at %X/%X has changed the page, and the resource manager of the record is not known.",
						LSN_FORMAT_ARGS(page->end_lsn));
	if (page->end == WALREDO_FILE_COPIED)
		return psprintf("The file of the page was copied at %X/%X without logging its pages, and WAL has no image of the page since.",
						LSN_FORMAT_ARGS(page->end_lsn));
	return NULL;
}

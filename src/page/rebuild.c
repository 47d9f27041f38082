/*-------------------------------------------------------------------------
 *
 * rebuild.c
 *	  Rebuilding pages from WAL records.
 *
 * A rebuild is given the records of any number of pages in the order of WAL,
 * and returns each page as it is after all of them.  It must not keep all these
 * records, which may take many times the size of memory, and it must not replay
 * more of them than it needs to, because replay is the slowest part.
 *
 * What is kept of a page
 * ----------------------
 * A record "starts" a page if its redo does not need what was in the page
 * before: it initializes the page, or it has a full-page image of it.  Replay
 * can only begin with such a record, or with a base image that the caller has
 * given.  So records of a page that come before its first start are counted and
 * dropped, and when another record starts the page, all that came before is
 * dropped, too.  As the server logs a full-page image of each page that it
 * changes once per checkpoint, much of WAL is never replayed.
 *
 * What is kept of a page is therefore one image and the records that have to be
 * applied to it, which wait (pending.c); or records alone, the first of which
 * starts the page.  When the waiting records have been replayed, the resulting
 * image takes their place.
 *
 * Replay ahead
 * ------------
 * While the session reads WAL, a child could already replay records.  So some
 * pages are replayed before it is known whether more records of them will
 * follow: pages that have many records waiting, and pages that are unlikely to
 * be changed again soon, because no record of them has come for a while.
 * walredo_rebuild_advance() selects them from a list of the pages that have
 * records waiting, and adds them to a stream of requests to a child.  The
 * stream sends as much as the pipe accepts, and never waits for an answer.
 *
 * More records of such a page may still come, and the result must be the same
 * as without replay ahead.  There are three cases.  If records come while a
 * child has the page, they wait, and are later applied to the image that the
 * child returns.  If a record starts the page, or ends it, the image that the
 * child returns is ignored (Replay.page is NULL then).  If the child fails, the
 * image and the records are put back as they were before.  No error is raised
 * then, because a later record may start the page, and then those that cannot
 * be replayed are not needed.  After a failure nothing is replayed ahead any
 * more: the stream does not tell at which page the child has failed, so that
 * the next child would be given the same page, and fail, too.  What waits at
 * the end is replayed when the caller asks for the page.
 *
 * Memory
 * ------
 * All memory of a rebuild is counted: records and images (arena.c), the entries
 * of pages, and the hash table by which they are found.  When it exceeds
 * maintenance_work_mem, flush() replays everything that waits, and moves all
 * images to a temporary file (image_file.c).  There, a page takes BLCKSZ bytes,
 * however many records it has had.  Records that a child fails to replay stay
 * in memory.
 *
 * After that, nearly all of the memory that is still taken is that of the
 * entries.  If it is more than half of maintenance_work_mem, move_entries()
 * moves them to another temporary file, in the order of their tags
 * (entry_file.c).  The next record of such a page makes find_page() read its
 * entry from there again. That file is never changed: if there is an entry in
 * memory, the one in the file is obsolete.  When entries are to be moved once
 * more, both are merged into a new file.  After all records have been added,
 * entries in the file are only borrowed for as long as a page is being looked
 * at.
 *
 * Backups
 * -------
 * If the rebuild has a backup, this is asked for a base image only when one is
 * needed: when the first record of a page does not start the page.  So a page
 * that WAL starts anyway, as it does with most pages that were changed while
 * the backup was made, is never looked for in the backup.  Pages of which there
 * are no records do not get an entry.  walredo_rebuild_next() returns them
 * straight from the backup.
 *
 * Ends of pages
 * -------------
 * A record can also end pages without starting them: it truncates their fork,
 * for example, or removes their file.  That can concern every page of a fork,
 * and most of these are never used again, so their entries are not changed at
 * that moment.  Instead the fork has a list of its ends (fork_ends.c), and an
 * end is applied to a page's entry when the entry is used the next time.  So
 * see_ends() has to be called before anything in an entry is used.
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
#include "page/arena.h"
#include "page/entry_file.h"
#include "page/fork_ends.h"
#include "page/hole.h"
#include "page/image_file.h"
#include "page/pending.h"
#include "page/rebuild.h"
#include "redo/replay.h"
#include "storage/bufpage.h"
#include "utils/memutils.h"

/*
 * Are all records of a page replayed by a child, as is true of nearly all
 * pages?  If so, the records that wait for it are stored as
 * walredo_replay_put_record() writes them, and are sent to a child from where
 * they are.  The other pages can have native records, which the backend applies
 * itself.  The records that wait for these are stored as WalredoRecords, each
 * MAXALIGNed, and replay_mixed() applies them.
 */
#define OnlyChildChanges(tag) \
	((tag)->kind == WALREDO_TAG_REL && \
	 (tag)->forknum != VISIBILITYMAP_FORKNUM)

/*
 * A page is replayed ahead if MANY_PENDING bytes of records wait for it, or if
 * SOME_PENDING bytes wait and no record of it was among the last
 * QUIET_DISTANCE bytes of WAL.  Its image has to be sent to the child and
 * back, which has to be done once more if more records come later.  So it is
 * not worth while for a few short records.
 */
#define MANY_PENDING		(32 * 1024)
#define SOME_PENDING		(8 * 1024)
#define QUIET_DISTANCE		(1024 * 1024)

/*
 * The most pages that one call of walredo_rebuild_advance() looks at.  It moves
 * those that it leaves to the end of the list, so that the next call looks at
 * others.
 */
#define MAX_LOOKS			64

/*
 * One call of walredo_rebuild_advance() adds no more pages to the stream when
 * those that it has added have so many bytes of records and images.  That is
 * what the pipe to the child can hold; more would only wait for room, and later
 * records may start the pages meanwhile.
 */
#define MAX_ADDED			(256 * 1024)

/*
 * The number of pages that walredo_rebuild_next() has a child replay together.
 * The child replays one after the other without waiting for the session.  Their
 * images are in memory afterwards, unless there is no room for them.
 */
#define PAGES_AT_ONCE		256

/* The number of entries of pages for which memory is allocated together. */
#define ENTRIES_AT_ONCE		128

/*
 * The least memory that make_room() makes room for, and that entries may take
 * before they are moved to a file, even if maintenance_work_mem is less.
 */
#define MIN_ROOM				(1024 * 1024)

typedef struct Replay Replay;

/*
 * The state of a page's image.
 *
 * UNKNOWN	  There is no image, and no record waits.  Records that are added
 *			  are only counted, unless they start the page.
 * MADE		  There is an image, all records have been applied to it, and none
 *			  waits.
 * WAITING	  Records wait.  They have to be applied to the image; if there is
 *			  none, the first of them starts the page.
 * SENT		  The stream has the image and all records, and none waits.
 * SENT_MORE  The stream has the image and the earlier records.  Those that were
 *			  added since wait until it returns the resulting image.
 * FAILED	  As WAITING, but a child has failed when it was given this page
 *			  alone.  The page is not added to a stream any more, because the
 *			  child would fail again, and others in the stream would have to be
 *			  sent again.  Records that are added do not change this state.
 *
 * find_page() creates pages in state UNKNOWN.  These functions change it:
 *
 * any -> UNKNOWN				 forget_image(): a record starts the page, and
 *								 is added next; the page ends; or the caller
 *								 does not need it any more
 * UNKNOWN -> MADE				 walredo_rebuild_set_base(),
 *								 walredo_rebuild_copy_page(), look_in_backup()
 * UNKNOWN or MADE -> WAITING	 add_pending()
 * WAITING -> SENT				 start_replay()
 * SENT -> SENT_MORE			 add_pending()
 * SENT -> MADE					 take_replayed()
 * SENT_MORE -> WAITING			 take_replayed()
 * SENT or SENT_MORE -> WAITING  undo_replay(), if a child has failed
 * WAITING or FAILED -> MADE	 replay_alone(), replay_mixed()
 * WAITING -> FAILED			 replay_alone(), if it raises an error
 *
 * States SENT, SENT_MORE and FAILED are for pages that OnlyChildChanges().
 *
 * The state does not tell where the image is.  In states MADE, WAITING and
 * FAILED it may be in memory (image is not NULL) or in the file (in_file is
 * set).  In states SENT and SENT_MORE it is in memory, as replay->base.
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

/*
 * A page.  There may be millions of them, so their size matters.
 *
 * What comes before "fork" is what move_entries() writes to the file.
 */
typedef struct PageEntry
{
	WalredoTag	tag;			/* must be first: PageSlot.tag points here */

	/*
	 * The LSN of the base image, if the image is rebuilt from one, else
	 * InvalidXLogRecPtr.
	 */
	XLogRecPtr	base_lsn;

	/* As in WalredoRebuiltPage; end and rmid are below. */
	XLogRecPtr	end_lsn;
	uint64		num_records;
	XLogRecPtr	first_lsn;
	XLogRecPtr	last_lsn;

	int64		image_slot;		/* its place in the file, -1 if it has none */
	uint32		ends_seen;		/* fork->total when see_ends() last looked */
	int16		rmid;
	uint8		end;			/* WalredoPageEnd */
	uint8		state;			/* PageState */

	/* Is it rebuilt from a full-page image that was logged with a hole? */
	bool		start_has_hole;

	/* Has look_in_backup() looked?  The others are in WalredoRebuiltPage. */
	bool		has_looked_in_backup;
	bool		is_not_in_backup;

	bool		in_file;		/* the image is in the file */

	char	   *backup_problem; /* as in WalredoRebuiltPage; not freed */

	WalredoForkEnds *fork;		/* NULL if it is no block of a relation */

	/*
	 * Records that wait.  waiting_node is in the rebuild's list if there are
	 * any and OnlyChildChanges() is true of the page.
	 */
	WalredoPending pending;
	dlist_node	waiting_node;

	Replay	   *replay;			/* in states SENT and SENT_MORE, else NULL */
	bytea	   *image;			/* NULL if there is none in memory */
} PageEntry;

#define MOVED_ENTRY_SIZE	offsetof(PageEntry, fork)

/* Do records wait for a page? */
#define HasPending(page)	((page)->pending.num_records > 0)

/* Can a page be added to the stream now? */
#define CanBeSent(page) \
	((page)->state == PAGE_WAITING && OnlyChildChanges(&(page)->tag))

/* A page that has been added to the stream, and has not been returned yet. */
struct Replay
{
	WalredoReplayJob job;		/* must be first: take_replayed() gets it */
	WalredoRebuild *rebuild;
	PageEntry  *page;			/* NULL if the result is not needed any more */
	WalredoPending pending;		/* the records */
	bytea	   *base;			/* the image before them, or NULL */
};

/*
 * An element of the hash table.  The key is a pointer to the tag in the page's
 * entry, or to the caller's when a page is looked for.
 */
typedef struct PageSlot
{
	const WalredoTag *tag;		/* hash key */
	uint32		hash;
	char		status;			/* for simplehash */
} PageSlot;

#define PageOfSlot(slot) \
	((PageEntry *) unconstify(WalredoTag *, (slot)->tag))

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
						(tag->dbOid * 0x85ebca6b) ^
						(tag->spcOid * 0xc2b2ae35) ^
						((uint32) tag->kind << 29) ^
						((uint32) tag->forknum << 27));
}

/*
 * Fields are compared one by one, as the tag of a change has been written so
 * just now: see add_blocks() in changes.c.
 */
static inline bool
same_tag(const WalredoTag *a, const WalredoTag *b)
{
	return a->number == b->number && a->relNumber == b->relNumber &&
		a->forknum == b->forknum && a->kind == b->kind &&
		a->dbOid == b->dbOid && a->spcOid == b->spcOid;
}

#define SH_PREFIX				pagetable
#define SH_ELEMENT_TYPE			PageSlot
#define SH_KEY_TYPE				const WalredoTag *
#define SH_KEY					tag
#define SH_HASH_KEY(tb, key)	hash_tag(key)
#define SH_EQUAL(tb, a, b)		same_tag(a, b)
#define SH_STORE_HASH
#define SH_GET_HASH(tb, slot)	(slot)->hash
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
	WalredoArena data;			/* records that wait, and images */
	MemoryContext entries;		/* entries of pages, and their hash table */
	ResourceOwner owner;		/* of temporary files */
	Size		overhead;		/* of both contexts: see count_memory() */
	Size		max_memory;		/* that it may take */
	Size		memory_limit;	/* the same, or what is needed at least */
	pagetable_hash *pages;
	PageEntry  *new_entries;	/* memory for the next entries */
	int			num_new_entries;
	forktable_hash *forks;
	bool		has_wide_ends;	/* see end_many_forks() */
	dlist_head	waiting;		/* pages whose records wait for a child */
	WalredoReplayStream *stream;	/* NULL before the first replay */
	bool		no_more_ahead;	/* a child has failed: replay none ahead */
	WalredoImageFile *file;
	WalredoEntryFile *entry_file;	/* NULL if no entry has been moved */
	char	   *last_problem;	/* the last one that a backup has had */
	WalredoSlice slice;			/* of the pages of the backup that are wanted */
	WalredoBackup *backup;		/* for base images, or NULL */
	XLogRecPtr	lsn;			/* up to which records are added, if so */

	/*
	 * For walredo_rebuild_next(): all pages in the order of their tags, or
	 * NULL before the first call of walredo_rebuild_begin_fork(), and indexes
	 * in that array.
	 */
	PageEntry **sorted;
	int			num_sorted;
	int			end_of_fork;	/* the fork's last page is before this */
	int			next_page;		/* the next one to return */
	int			replayed_to;	/* replay_next() has been here already */
	int64		next_moved;		/* the next one of entry_file */
	PageEntry	borrowed;		/* it, if that was returned last */
	PageEntry  *last_page;		/* the one that was returned last, or NULL */
	bytea	   *from_file;		/* its image, if that had to be read */

	/*
	 * The same for blocks of the backup of which there are no records: the
	 * fork, the next one to return, the first that is not to be returned any
	 * more, and what belongs to the one that was returned last.
	 */
	WalredoTag	fork_tag;
	uint64		next_cold;
	uint64		end_of_cold;
	bytea	   *cold_image;
	char	   *cold_problem;
};

static void end_page(WalredoRebuild *rebuild, PageEntry *page,
					 WalredoPageEnd end, XLogRecPtr lsn);

static void make_room(WalredoRebuild *rebuild);

/*
 * Counts the memory of the rebuild that is not in its arena: entries, their
 * hash table, forks, and other things.  To be called when any of it has grown
 * much.
 */
static void
count_memory(WalredoRebuild *rebuild)
{
	rebuild->overhead = MemoryContextMemAllocated(rebuild->context, false) +
		MemoryContextMemAllocated(rebuild->entries, true);
}

/* May the rebuild take some more bytes of memory? */
static inline bool
has_room(const WalredoRebuild *rebuild, Size bytes)
{
	return rebuild->data.used + rebuild->overhead + bytes <=
		rebuild->memory_limit;
}

/* Does the rebuild take more memory than it may? */
static inline bool
is_full(const WalredoRebuild *rebuild)
{
	return !has_room(rebuild, 0);
}

WalredoRebuild *
walredo_rebuild_create(void)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "walredo rebuild",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old_context = MemoryContextSwitchTo(context);
	WalredoRebuild *rebuild = palloc0(sizeof(WalredoRebuild));

	rebuild->context = context;
	rebuild->entries = AllocSetContextCreate(context, "walredo pages",
											 ALLOCSET_DEFAULT_SIZES);
	walredo_arena_init(&rebuild->data, context);
	rebuild->max_memory = (Size) maintenance_work_mem * 1024;
	rebuild->memory_limit = rebuild->max_memory;
	rebuild->pages = pagetable_create(rebuild->entries, 64, NULL);
	rebuild->forks = forktable_create(context, 16, NULL);
	rebuild->file = walredo_image_file_create(CurrentResourceOwner);
	rebuild->owner = CurrentResourceOwner;
	dlist_init(&rebuild->waiting);
	count_memory(rebuild);
	MemoryContextSwitchTo(old_context);
	return rebuild;
}

WalredoRebuild *
walredo_rebuild_beside(const WalredoRebuild *other)
{
	WalredoRebuild *rebuild = walredo_rebuild_create();
	Size		used = other->data.used + other->overhead;

	rebuild->max_memory -= Min(rebuild->max_memory, used);
	rebuild->memory_limit = Max(rebuild->max_memory, MIN_ROOM);
	return rebuild;
}

void
walredo_rebuild_free(WalredoRebuild *rebuild)
{
	if (rebuild->stream)
		walredo_replay_end(rebuild->stream);
	walredo_image_file_close(rebuild->file);
	if (rebuild->entry_file)
		walredo_entry_file_close(rebuild->entry_file);
	MemoryContextDelete(rebuild->context);
}

/* ----------------------------------------
 * Forks and pages
 * ----------------------------------------
 */

/*
 * The key under which the ends of all forks of a database in a tablespace are
 * kept, or of all forks in a tablespace if database is 0.  No relation has file
 * number 0.
 */
static WalredoTag
wide_key(Oid tablespace, Oid database)
{
	WalredoTag	key = {.kind = WALREDO_TAG_REL};

	key.spcOid = tablespace;
	key.dbOid = database;
	return key;
}

#define IsWideKey(key)	((key)->relNumber == 0)

/* The last of the ends that are kept under such a key, or NULL. */
static const WalredoForkEnd *
last_wide_end(WalredoRebuild *rebuild, Oid tablespace, Oid database)
{
	ForkSlot   *slot = forktable_lookup(rebuild->forks,
										wide_key(tablespace, database));

	return slot ? walredo_fork_ends_last(slot->fork, 0) : NULL;
}

/*
 * Adds the last one of the ends that have ended all forks of a database or a
 * tablespace to a fork that has not been seen before.
 */
static void
inherit_end(WalredoRebuild *rebuild, const WalredoTag *key,
			WalredoForkEnds *fork)
{
	const WalredoForkEnd *end = last_wide_end(rebuild, key->spcOid,
											  key->dbOid);
	const WalredoForkEnd *wider = last_wide_end(rebuild, key->spcOid,
												InvalidOid);

	if (end == NULL || (wider != NULL && wider->lsn > end->lsn))
		end = wider;
	if (end != NULL)
		walredo_fork_ends_add(fork, 0, end->end, end->lsn, rebuild->context);
}

/*
 * Finds the fork of a block, or adds it if create is set, or if it may have
 * ended all the same.
 */
static WalredoForkEnds *
find_fork(WalredoRebuild *rebuild, const WalredoTag *tag, bool create)
{
	WalredoTag	key = *tag;
	ForkSlot   *slot;
	bool		found = true;

	key.number = 0;
	slot = create || rebuild->has_wide_ends ?
		forktable_insert(rebuild->forks, key, &found) :
		forktable_lookup(rebuild->forks, key);
	if (!found)
	{
		slot->fork = MemoryContextAllocZero(rebuild->context,
											sizeof(WalredoForkEnds));
		if (rebuild->has_wide_ends && !IsWideKey(&key))
			inherit_end(rebuild, &key, slot->fork);
	}
	return slot ? slot->fork : NULL;
}

/*
 * Applies an end of all files of a database or a tablespace: to the forks that
 * are known, and later to those that are not known yet.  Otherwise, a page
 * could get a base image from a backup that is older than the end.
 */
static void
end_many_forks(WalredoRebuild *rebuild, const WalredoPageChange *change,
			   XLogRecPtr lsn)
{
	const WalredoTag key = wide_key(change->tag.spcOid, change->tag.dbOid);
	WalredoForkEnds *wide;
	forktable_iterator iter;
	ForkSlot   *slot;

	rebuild->has_wide_ends = true;
	wide = find_fork(rebuild, &key, true);
	walredo_fork_ends_add(wide, 0, change->end, lsn, rebuild->context);
	forktable_start_iterate(rebuild->forks, &iter);
	while ((slot = forktable_iterate(rebuild->forks, &iter)) != NULL)
	{
		if (!IsWideKey(&slot->tag) && slot->tag.spcOid == key.spcOid &&
			(key.dbOid == InvalidOid || slot->tag.dbOid == key.dbOid))
			walredo_fork_ends_add(slot->fork, 0, change->end, lsn,
								  rebuild->context);
	}
}

/*
 * Applies the ends of a page's fork to the page's entry, as far as they have
 * not been applied yet.
 *
 * The last end of the page need not be the last thing that has happened to it:
 * a record may have started it again since.  But that record was added through
 * find_page(), which has called this function before.  So an end that has not
 * been applied yet is later than everything in the entry.
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

/* Returns the entry of a page, or NULL if it has none. */
static inline PageEntry *
lookup_page(WalredoRebuild *rebuild, const WalredoTag *tag)
{
	PageSlot   *slot = pagetable_lookup(rebuild->pages, tag);

	return slot ? PageOfSlot(slot) : NULL;
}

/* Fills in an entry from one that was moved to the file. */
static void
fill_entry(WalredoRebuild *rebuild, PageEntry *page, const PageEntry *moved)
{
	memset(page, 0, sizeof(PageEntry));
	memcpy(page, moved, MOVED_ENTRY_SIZE);
	if (page->tag.kind == WALREDO_TAG_REL)
		page->fork = find_fork(rebuild, &page->tag, true);
}

/* Returns memory for an entry. */
static PageEntry *
alloc_entry(WalredoRebuild *rebuild)
{
	if (rebuild->num_new_entries == 0)
	{
		rebuild->num_new_entries = ENTRIES_AT_ONCE;
		rebuild->new_entries =
			MemoryContextAlloc(rebuild->entries,
							   ENTRIES_AT_ONCE * sizeof(PageEntry));
		count_memory(rebuild);
	}
	return &rebuild->new_entries[--rebuild->num_new_entries];
}

/*
 * Fills in an entry from the file, and returns true, if the entry of the page
 * has been moved there.
 */
static bool
read_moved(WalredoRebuild *rebuild, const WalredoTag *tag, PageEntry *page)
{
	int64		number;
	const PageEntry *moved;

	if (rebuild->entry_file == NULL)
		return false;
	number = walredo_entry_file_find(rebuild->entry_file, tag);
	if (number == walredo_entry_file_count(rebuild->entry_file))
		return false;
	moved = walredo_entry_file_get(rebuild->entry_file, number);
	if (walredo_tag_compare(&moved->tag, tag) != 0)
		return false;
	fill_entry(rebuild, page, moved);
	return true;
}

/*
 * Returns the entry of a page, or NULL if it has none.  An entry that is in the
 * file is read into space.  The page's ends are applied.
 */
static PageEntry *
borrow_page(WalredoRebuild *rebuild, const WalredoTag *tag, PageEntry *space)
{
	PageEntry  *page = lookup_page(rebuild, tag);

	if (page == NULL && read_moved(rebuild, tag, space))
		page = space;
	if (page != NULL)
		see_ends(rebuild, page);
	return page;
}

/* Creates the entry of a page that has none in memory. */
static PageEntry *
create_page(WalredoRebuild *rebuild, const WalredoTag *tag)
{
	uint32		table_size = rebuild->pages->size;
	PageEntry  *page;
	bool		found;

	/* A new table is made before the old one is freed. */
	if (rebuild->pages->members >= rebuild->pages->grow_threshold &&
		!has_room(rebuild, 2 * table_size * sizeof(PageSlot)))
	{
		make_room(rebuild);
		table_size = rebuild->pages->size;
	}

	page = alloc_entry(rebuild);
	if (!read_moved(rebuild, tag, page))
	{
		memset(page, 0, sizeof(PageEntry));
		page->tag = *tag;
		page->image_slot = -1;
		page->rmid = -1;
		if (tag->kind == WALREDO_TAG_REL)
			page->fork = find_fork(rebuild, tag, true);
	}
	(void) pagetable_insert(rebuild->pages, &page->tag, &found);
	Assert(!found);
	if (rebuild->pages->size != table_size)
		count_memory(rebuild);
	return page;
}

/* Finds the entry of a page, or creates it.  The page's ends are applied. */
static PageEntry *
find_page(WalredoRebuild *rebuild, const WalredoTag *tag)
{
	PageEntry  *page = lookup_page(rebuild, tag);

	if (page == NULL)
		page = create_page(rebuild, tag);
	see_ends(rebuild, page);
	return page;
}

/* ----------------------------------------
 * Images
 * ----------------------------------------
 */

/* Allocates an image of size bytes that are not set yet. */
static bytea *
alloc_image(WalredoRebuild *rebuild, Size size)
{
	bytea	   *image = walredo_arena_alloc(&rebuild->data, VARHDRSZ + size,
											NULL);

	SET_VARSIZE(image, VARHDRSZ + size);
	return image;
}

/* Frees a page's image, wherever it is.  The state is left to the caller. */
static void
drop_image(WalredoRebuild *rebuild, PageEntry *page)
{
	if (page->image)
		walredo_arena_free(&rebuild->data, page->image);
	page->image = NULL;
	page->in_file = false;		/* the page keeps its slot for the next image */
}

/* Replaces a page's image by a copy of size bytes of data, in memory. */
static void
keep_image(WalredoRebuild *rebuild, PageEntry *page, const char *data,
		   Size size)
{
	bytea	   *image = alloc_image(rebuild, size);

	memcpy(VARDATA(image), data, size);
	drop_image(rebuild, page);
	page->image = image;
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

/* Returns a copy of an image that is in the file, palloc'd in the context. */
static bytea *
read_from_file(WalredoRebuild *rebuild, const PageEntry *page,
			   MemoryContext context)
{
	bytea	   *image = MemoryContextAlloc(context, VARHDRSZ + BLCKSZ);

	SET_VARSIZE(image, VARHDRSZ + BLCKSZ);
	walredo_image_file_read(rebuild->file, page->image_slot, VARDATA(image));
	return image;
}

/* Returns a palloc'd copy of a page's image, wherever it is, or NULL. */
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
 * Takes the image away from a page, and returns it, or NULL if there is none.
 * It is in rebuild->data then; the caller has to free it.
 */
static bytea *
detach_image(WalredoRebuild *rebuild, PageEntry *page)
{
	bytea	   *image = page->image;

	if (page->in_file)
	{
		image = alloc_image(rebuild, BLCKSZ);
		walredo_image_file_read(rebuild->file, page->image_slot,
								VARDATA(image));
		page->in_file = false;
	}
	page->image = NULL;
	return image;
}

/* ----------------------------------------
 * The backup
 * ----------------------------------------
 */

void
walredo_rebuild_set_backup(WalredoRebuild *rebuild, WalredoBackup *backup,
						   XLogRecPtr lsn)
{
	rebuild->backup = backup;
	rebuild->lsn = lsn;
}

void
walredo_rebuild_set_slice(WalredoRebuild *rebuild, const WalredoSlice *slice)
{
	rebuild->slice = *slice;
}

/*
 * Returns a copy of what is wrong with a page of a backup.  It is never freed,
 * but often the same for all pages.
 */
static char *
keep_problem(WalredoRebuild *rebuild, const char *problem)
{
	if (rebuild->last_problem == NULL ||
		strcmp(rebuild->last_problem, problem) != 0)
		rebuild->last_problem = MemoryContextStrdup(rebuild->context, problem);
	return rebuild->last_problem;
}

/*
 * Gives a page the base image that the backup has, if the page has not had any
 * records, nor an end.  After an end, what the backup has is not wanted any
 * more.
 */
static void
look_in_backup(WalredoRebuild *rebuild, PageEntry *page)
{
	const bytea *image;
	char	   *problem;

	if (rebuild->backup == NULL || page->has_looked_in_backup ||
		page->state != PAGE_UNKNOWN || page->num_records > 0 ||
		page->end_lsn != InvalidXLogRecPtr)
		return;
	page->has_looked_in_backup = true;
	switch (walredo_backup_read(rebuild->backup, &page->tag, rebuild->lsn,
								&image, &problem))
	{
		case WALREDO_BACKUP_HAS:
			if (page->tag.kind == WALREDO_TAG_REL)
				page->base_lsn = PageGetLSN((Page) VARDATA(image));
			keep_image(rebuild, page, VARDATA(image),
					   VARSIZE(image) - VARHDRSZ);
			page->state = PAGE_MADE;
			break;
		case WALREDO_BACKUP_LACKS:
			page->is_not_in_backup = true;
			break;
		case WALREDO_BACKUP_UNUSABLE:
			page->backup_problem = keep_problem(rebuild, problem);
			pfree(problem);
			break;
	}
}

/*
 * Fills in what is known of a page that has no entry, and which no record has
 * ended.  The image belongs to the backup, and backup_problem is palloc'd.
 */
static void
describe_cold(WalredoRebuild *rebuild, const WalredoTag *tag,
			  WalredoRebuiltPage *result)
{
	const bytea *image;
	char	   *problem;

	memset(result, 0, sizeof(*result));
	result->rmid = -1;
	if (rebuild->backup == NULL)
		return;
	switch (walredo_backup_read(rebuild->backup, tag, rebuild->lsn, &image,
								&problem))
	{
		case WALREDO_BACKUP_HAS:
			result->image = unconstify(bytea *, image);
			break;
		case WALREDO_BACKUP_LACKS:
			result->is_not_in_backup = true;
			break;
		case WALREDO_BACKUP_UNUSABLE:
			result->backup_problem = problem;
			break;
	}
}

/*
 * The number of blocks of a fork that are in the backup, and have not ended
 * since.  only_used is as for walredo_backup_fork_blocks().
 */
static uint64
count_cold(WalredoRebuild *rebuild, const WalredoTag *fork_tag,
		   bool only_used)
{
	const WalredoForkEnds *fork;
	uint64		nblocks;

	if (rebuild->backup == NULL || fork_tag->kind != WALREDO_TAG_REL)
		return 0;
	nblocks = walredo_backup_fork_blocks(rebuild->backup, fork_tag, only_used);
	fork = find_fork(rebuild, fork_tag, false);
	return fork == NULL ? nblocks :
		Min(nblocks, walredo_fork_ends_first_block(fork));
}

/* ----------------------------------------
 * Records that wait
 * ----------------------------------------
 */

/*
 * Is called when a chunk has been allocated for the records of a page, which
 * includes the first record that waits for it.  Changes the page's state, and
 * adds the page to the list of those that wait for a child.
 *
 * walredo_rebuild_advance() goes through the list from its head.  A page with
 * many records is moved there, because it is certain to be replayed.
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
 * Adds a record of size bytes to those that wait for a page.  Returns where the
 * caller has to write it.
 */
static inline char *
add_pending(WalredoRebuild *rebuild, PageEntry *page, Size size)
{
	Size		old_size = page->pending.size;
	char	   *result = walredo_pending_add(&page->pending, &rebuild->data,
											 size);

	/*
	 * This is called for every record, so be quick.  Most need no new chunk,
	 * but the first one that waits always does.
	 */
	if (page->pending.size != old_size)
		note_chunk(rebuild, page);
	return result;
}

/*
 * Takes the records that wait away from a page, and returns them.  The caller
 * has to free them, and to set the page's state.
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

/* Frees the records that wait for a page.  The state is left to the caller. */
static void
free_pending(WalredoRebuild *rebuild, PageEntry *page)
{
	WalredoPending pending = detach_pending(page);

	walredo_pending_free(&pending, &rebuild->data);
}

/*
 * Frees the image of a page and the records that wait, and moves the page to
 * state PAGE_UNKNOWN.
 */
static void
forget_image(WalredoRebuild *rebuild, PageEntry *page)
{
	free_pending(rebuild, page);
	drop_image(rebuild, page);
	page->start_has_hole = false;
	page->base_lsn = InvalidXLogRecPtr;

	/* If the stream has the page, take_replayed() must ignore the result. */
	if (page->replay)
		page->replay->page = NULL;
	page->replay = NULL;
	page->state = PAGE_UNKNOWN;
}

/*
 * Applies an end to a page.  lsn is the end LSN of the record that ends it.
 *
 * If the caller has given a base image that is not older than the record, that
 * is an image of the page as it was after this end, and is kept.
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
 * Undoes start_replay() after a child has failed: gives the page its image
 * back, and puts the records of the replay before those that were added since.
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
 * Takes a page out of the stream.  data is the image that a child has returned,
 * of BLCKSZ bytes, or NULL if the child has failed while it replayed this page
 * or another one.  Frees the replay.  This is a WalredoTakePage function.
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
		walredo_arena_free(&rebuild->data, replay->base);
	pfree((void *) replay->job.pieces);
	pfree(replay);
}

/*
 * Waits until the stream is empty, so that no page is in state SENT or
 * SENT_MORE any more.
 */
static void
finish_replays(WalredoRebuild *rebuild)
{
	if (rebuild->stream)
		walredo_replay_finish(rebuild->stream);
}

/* Fills in a job for the records that wait for a page, except job->base. */
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
 * Adds a page for which CanBeSent() is true to the stream, with its image and
 * the records that wait for it.
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
 * Has a child replay the records that wait for one page, without the stream,
 * and waits for the result.  Raises an error if the child fails.  The caller
 * must have called finish_replays(), because nothing else can have a child
 * while the stream has some.
 */
static void
replay_alone(WalredoRebuild *rebuild, PageEntry *page)
{
	WalredoReplayJob job;
	bytea	   *base = copy_image(rebuild, page);
	PGAlignedBlock image;

	prepare_job(rebuild, page, &job);
	job.base = base ? VARDATA(base) : NULL;

	/* The page stays in this state if walredo_replay_one() raises an error. */
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
 * Applies the records that wait for a page that is not OnlyChildChanges().
 * Some of them may be native, and a child replays the others, so the caller
 * must have called finish_replays().
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

/*
 * Replays the records that wait for a page, so that it is MADE or UNKNOWN.
 * Raises an error if that fails.
 */
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

/*
 * Should a page for which CanBeSent() is true be replayed ahead?  lsn is the
 * LSN up to which WAL has been read.
 */
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
	Size		added = 0;

	/*
	 * The stream keeps pages that the pipe has no room for.  While it has any
	 * of these, do not add more: the child is busy anyway.
	 */
	if (rebuild->stream && !walredo_replay_advance(rebuild->stream))
		return;

	for (int i = 0; i < MAX_LOOKS && !rebuild->no_more_ahead &&
		 added < MAX_ADDED && !dlist_is_empty(&rebuild->waiting); i++)
	{
		PageEntry  *page = dlist_head_element(PageEntry, waiting_node,
											  &rebuild->waiting);

		/* This removes the page from the list if the page has ended. */
		see_ends(rebuild, page);
		if (!HasPending(page))
			continue;
		if (CanBeSent(page) && should_be_sent(page, lsn))
		{
			added += page->pending.size + BLCKSZ;
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

/* qsort() comparator: orders pages by their tags. */
static int
compare_entries(const void *a, const void *b)
{
	return walredo_tag_compare(&(*(PageEntry *const *) a)->tag,
							   &(*(PageEntry *const *) b)->tag);
}

/* Returns an array of all entries in memory, palloc'd, and its length. */
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
		pages[n++] = PageOfSlot(slot);
	*npages = n;
	return pages;
}

/*
 * Replays all records that wait, and moves all images to the file, to free
 * memory.  If a child fails, records go on waiting.  No entry is added or
 * removed.
 */
static void
flush(WalredoRebuild *rebuild)
{
	pagetable_iterator iter;
	PageSlot   *slot;

	/* Records of pages that are SENT_MORE can only be sent after this. */
	finish_replays(rebuild);
	pagetable_start_iterate(rebuild->pages, &iter);
	while ((slot = pagetable_iterate(rebuild->pages, &iter)) != NULL)
	{
		see_ends(rebuild, PageOfSlot(slot));
		if (CanBeSent(PageOfSlot(slot)))
			start_replay(rebuild, PageOfSlot(slot));
	}
	finish_replays(rebuild);
	pagetable_start_iterate(rebuild->pages, &iter);
	while ((slot = pagetable_iterate(rebuild->pages, &iter)) != NULL)
	{
		PageEntry  *page = PageOfSlot(slot);

		if (HasPending(page) && !OnlyChildChanges(&page->tag))
			replay_mixed(rebuild, page);
		if (page->image != NULL && WalredoTagIsPage(&page->tag))
			put_in_file(rebuild, page);
	}
	walredo_arena_trim(&rebuild->data);
	count_memory(rebuild);
}

/* Can the entry of a page be moved to the file? */
static bool
can_be_moved(const PageEntry *page)
{
	return !HasPending(page) && page->image == NULL && page->replay == NULL;
}

/*
 * Makes a new entry file of the present one and all entries in memory that can
 * be moved, where those in memory take the place of those in the file.
 */
static WalredoEntryFile *
merge_entries(WalredoRebuild *rebuild)
{
	WalredoEntryFile *old = rebuild->entry_file;
	int64		num_old = old ? walredo_entry_file_count(old) : 0;
	int64		next_old = 0;
	MemoryContext old_context = MemoryContextSwitchTo(rebuild->context);
	WalredoEntryFile *file = walredo_entry_file_create(MOVED_ENTRY_SIZE,
													   rebuild->owner);
	int			npages;
	PageEntry **pages = list_pages(rebuild, &npages);

	qsort(pages, npages, sizeof(PageEntry *), compare_entries);
	for (int i = 0; i <= npages; i++)
	{
		for (; next_old < num_old; next_old++)
		{
			const PageEntry *moved = walredo_entry_file_get(old, next_old);
			int			order = i == npages ? -1 :
				walredo_tag_compare(&moved->tag, &pages[i]->tag);

			if (order > 0)
				break;
			if (order < 0)
				walredo_entry_file_add(file, moved);
			CHECK_FOR_INTERRUPTS();
		}
		if (i < npages && can_be_moved(pages[i]))
			walredo_entry_file_add(file, pages[i]);
	}
	walredo_entry_file_finish(file);
	pfree(pages);
	MemoryContextSwitchTo(old_context);
	return file;
}

/*
 * Moves the entries of pages to the file, except those of pages that have
 * records or an image in memory.  No replay may be under way.
 */
static void
move_entries(WalredoRebuild *rebuild)
{
	WalredoEntryFile *file = merge_entries(rebuild);
	MemoryContext old_entries = rebuild->entries;
	pagetable_hash *old_pages = rebuild->pages;
	pagetable_iterator iter;
	PageSlot   *slot;

	rebuild->entries = AllocSetContextCreate(rebuild->context,
											 "walredo pages",
											 ALLOCSET_DEFAULT_SIZES);
	rebuild->num_new_entries = 0;
	rebuild->pages = pagetable_create(rebuild->entries, 64, NULL);
	pagetable_start_iterate(old_pages, &iter);
	while ((slot = pagetable_iterate(old_pages, &iter)) != NULL)
	{
		PageEntry  *old = PageOfSlot(slot);
		PageEntry  *page;
		bool		found;

		if (can_be_moved(old))
			continue;
		page = alloc_entry(rebuild);
		*page = *old;
		(void) pagetable_insert(rebuild->pages, &page->tag, &found);
		if (HasPending(old) && OnlyChildChanges(&old->tag))
		{
			dlist_delete(&old->waiting_node);
			dlist_push_tail(&rebuild->waiting, &page->waiting_node);
		}
	}
	if (rebuild->entry_file)
		walredo_entry_file_close(rebuild->entry_file);
	rebuild->entry_file = file;
	MemoryContextDelete(old_entries);
	count_memory(rebuild);
}

/*
 * Frees memory by flush(), and, if entries take much of it, by move_entries().
 * To be called between records only, as entries get other places.
 */
static void
make_room(WalredoRebuild *rebuild)
{
	Size		room = Max(rebuild->max_memory / 2, MIN_ROOM);

	flush(rebuild);
	if (MemoryContextMemAllocated(rebuild->entries, true) > room &&
		rebuild->sorted == NULL)
		move_entries(rebuild);

	/*
	 * Records that could not be replayed, and images that are no pages, are
	 * still in memory.  There must be room for others all the same. Otherwise
	 * this function would be called again with every record.
	 */
	rebuild->memory_limit = Max(rebuild->memory_limit,
								rebuild->data.used + rebuild->overhead + room);
}

/* ----------------------------------------
 * Going through the pages of a fork
 * ----------------------------------------
 */

/*
 * Is called when the image that walredo_rebuild_next() has returned last does
 * not have to stay valid any longer.  walredo_rebuild_get() may still ask for
 * it, so it is not dropped, but it is moved to the file if there is no room
 * for it in memory.
 */
static void
leave_page(WalredoRebuild *rebuild)
{
	PageEntry  *page = rebuild->last_page;

	if (rebuild->cold_problem)
		pfree(rebuild->cold_problem);
	rebuild->cold_problem = NULL;

	if (page != NULL && page->image != NULL && WalredoTagIsPage(&page->tag) &&
		is_full(rebuild))
		put_in_file(rebuild, page);
	if (rebuild->from_file)
		pfree(rebuild->from_file);
	rebuild->from_file = NULL;
	rebuild->last_page = NULL;
}

/* Returns the index of the first sorted page that is not before a tag. */
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

		if (!has_room(rebuild, rebuild->pages->members * sizeof(PageEntry *)))
			flush(rebuild);
		rebuild->sorted = list_pages(rebuild, &rebuild->num_sorted);
		MemoryContextSwitchTo(old_context);
		qsort(rebuild->sorted, rebuild->num_sorted, sizeof(PageEntry *),
			  compare_entries);
		count_memory(rebuild);
	}
	first.number = 0;
	rebuild->next_page = find_sorted(rebuild, &first);
	rebuild->end_of_fork = rebuild->next_page;
	while (rebuild->end_of_fork < rebuild->num_sorted &&
		   walredo_tag_same_fork(&rebuild->sorted[rebuild->end_of_fork]->tag,
								 fork_tag))
		rebuild->end_of_fork++;
	rebuild->replayed_to = rebuild->next_page;
	if (rebuild->entry_file)
		rebuild->next_moved = walredo_entry_file_find(rebuild->entry_file,
													  &first);
	rebuild->fork_tag = first;
	rebuild->next_cold = 0;
	rebuild->end_of_cold = count_cold(rebuild, fork_tag, false);
	leave_page(rebuild);
	finish_replays(rebuild);
}

/*
 * Fills in the entry with the given number in the file, and applies the page's
 * ends.  Returns false if it is not of the fork that is being returned, or
 * obsolete, as there is one in memory.
 */
static bool
borrow_moved(WalredoRebuild *rebuild, int64 number, PageEntry *page)
{
	const PageEntry *moved = walredo_entry_file_get(rebuild->entry_file,
													number);

	if (!walredo_tag_same_fork(&moved->tag, &rebuild->fork_tag) ||
		lookup_page(rebuild, &moved->tag) != NULL)
		return false;
	fill_entry(rebuild, page, moved);
	see_ends(rebuild, page);
	return true;
}

uint64
walredo_rebuild_fork_blocks(WalredoRebuild *rebuild)
{
	uint64		nblocks = count_cold(rebuild, &rebuild->fork_tag, true);

	for (int i = rebuild->end_of_fork - 1; i >= rebuild->next_page; i--)
	{
		see_ends(rebuild, rebuild->sorted[i]);
		if (rebuild->sorted[i]->num_records > 0)
		{
			nblocks = Max(nblocks, rebuild->sorted[i]->tag.number + 1);
			break;
		}
	}
	if (rebuild->entry_file != NULL)
	{
		WalredoTag	last = rebuild->fork_tag;
		int64		i;

		last.number = PG_UINT64_MAX;
		i = walredo_entry_file_find(rebuild->entry_file, &last);
		while (--i >= rebuild->next_moved)
		{
			PageEntry	page;

			if (borrow_moved(rebuild, i, &page) && page.num_records > 0)
			{
				nblocks = Max(nblocks, page.tag.number + 1);
				break;
			}
		}
	}
	return nblocks;
}

/*
 * Returns the next page of the fork, which is in memory or, if it comes before
 * that, in the file.  NULL if there is none.  It is not passed over yet.
 */
static PageEntry *
peek_page(WalredoRebuild *rebuild)
{
	PageEntry  *page = NULL;
	int64		num_moved = 0;

	if (rebuild->next_page < rebuild->end_of_fork)
		page = rebuild->sorted[rebuild->next_page];
	if (rebuild->entry_file)
		num_moved = walredo_entry_file_count(rebuild->entry_file);
	for (; rebuild->next_moved < num_moved; rebuild->next_moved++)
	{
		const PageEntry *moved = walredo_entry_file_get(rebuild->entry_file,
														rebuild->next_moved);

		if (!walredo_tag_same_fork(&moved->tag, &rebuild->fork_tag) ||
			(page != NULL &&
			 walredo_tag_compare(&moved->tag, &page->tag) > 0))
			break;
		if (borrow_moved(rebuild, rebuild->next_moved, &rebuild->borrowed))
			return &rebuild->borrowed;
	}
	if (page != NULL)
		see_ends(rebuild, page);
	return page;
}

/*
 * Has a child replay the next pages of the fork that need one, up to
 * PAGES_AT_ONCE of them together.  If it fails, they are WAITING as before.
 */
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

/* Fills in what is known of a page, except image and is_incomplete. */
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
	result->is_not_in_backup = page->is_not_in_backup;
	result->backup_problem = page->backup_problem;
}

/*
 * Fills in image and is_incomplete.  An image is not returned if it was rebuilt
 * from a full-page image with a hole in which a page of this kind has contents.
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

/*
 * Returns the next block of the backup for walredo_rebuild_next(), if there is
 * one before the given block.
 */
static bool
next_cold(WalredoRebuild *rebuild, uint64 before, WalredoTag *tag,
		  WalredoRebuiltPage *result)
{
	*tag = rebuild->fork_tag;
	do
	{
		if (rebuild->next_cold >= Min(before, rebuild->end_of_cold))
			return false;
		tag->number = rebuild->next_cold++;
	} while (!walredo_slice_has(&rebuild->slice, tag));
	describe_cold(rebuild, tag, result);
	if (result->image != NULL)
	{
		if (rebuild->cold_image == NULL)
			rebuild->cold_image = MemoryContextAlloc(rebuild->context,
													 VARHDRSZ + BLCKSZ);
		memcpy(rebuild->cold_image, result->image, VARHDRSZ + BLCKSZ);
		result->image = rebuild->cold_image;
	}
	if (result->backup_problem != NULL)
	{
		rebuild->cold_problem = MemoryContextStrdup(rebuild->context,
													result->backup_problem);
		pfree(unconstify(char *, result->backup_problem));
		result->backup_problem = rebuild->cold_problem;
	}
	return true;
}

bool
walredo_rebuild_next(WalredoRebuild *rebuild, WalredoTag *tag,
					 WalredoRebuiltPage *result)
{
	PageEntry  *page;

	leave_page(rebuild);
	page = peek_page(rebuild);
	if (next_cold(rebuild, page ? page->tag.number : PG_UINT64_MAX, tag,
				  result))
		return true;
	if (page == NULL)
		return false;

	rebuild->next_cold = page->tag.number + 1;
	if (HasPending(page) && !OnlyChildChanges(&page->tag))
		replay_mixed(rebuild, page);
	else if (HasPending(page))
	{
		/*
		 * If a child fails while it replays pages that were sent together,
		 * they all are still WAITING.  They are not sent together again.
		 * Instead is_waiting tells the caller that it has to get the page
		 * with walredo_rebuild_get(), which sends it alone.
		 */
		if (rebuild->next_page >= rebuild->replayed_to)
			replay_next(rebuild);
	}
	if (page == &rebuild->borrowed)
		rebuild->next_moved++;
	else
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
	/* A page that came straight from the backup has no entry. */
	if (rebuild->last_page != NULL)
		forget_image(rebuild, rebuild->last_page);
}

/* ----------------------------------------
 * What is known of pages at the beginning
 * ----------------------------------------
 */

void
walredo_rebuild_copy_page(WalredoRebuild *rebuild, WalredoRebuild *source,
						  const WalredoTag *tag, bool with_image)
{
	PageEntry  *page = find_page(rebuild, tag);
	PageEntry	space;
	PageEntry  *from = borrow_page(source, tag, &space);

	if (from == NULL)
		from = find_page(source, tag);
	forget_image(rebuild, page);
	if (with_image)
	{
		bytea	   *image;

		look_in_backup(source, from);
		replay_page(source, from);
		image = copy_image(source, from);
		if (from == &space)
			drop_image(source, from);
		if (image != NULL)
		{
			keep_image(rebuild, page, VARDATA(image),
					   VARSIZE(image) - VARHDRSZ);
			pfree(image);
			page->start_has_hole = from->start_has_hole;
			page->state = PAGE_MADE;
			if (is_full(rebuild) && WalredoTagIsPage(tag))
				put_in_file(rebuild, page);
		}
	}
	page->end = from->end;
	page->end_lsn = from->end_lsn;
	page->num_records = from->num_records;
	page->first_lsn = from->first_lsn;
	page->last_lsn = from->last_lsn;
	page->rmid = from->rmid;
	page->is_not_in_backup = from->is_not_in_backup;
	if (from->backup_problem != NULL)
		page->backup_problem = keep_problem(rebuild, from->backup_problem);
}

void
walredo_rebuild_set_base(WalredoRebuild *rebuild, const WalredoTag *tag,
						 const bytea *base, XLogRecPtr base_lsn)
{
	PageEntry  *page = find_page(rebuild, tag);

	if (WalredoTagIsPage(tag) && VARSIZE(base) != VARHDRSZ + BLCKSZ)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("base image has the wrong length"),
				 errdetail("A page has %d bytes, but the base image has %zu.",
						   BLCKSZ, (Size) (VARSIZE(base) - VARHDRSZ))));
	if (base_lsn == InvalidXLogRecPtr && tag->kind == WALREDO_TAG_REL)
		base_lsn = PageGetLSN((Page) VARDATA(base));
	page->base_lsn = base_lsn;
	keep_image(rebuild, page, VARDATA(base), VARSIZE(base) - VARHDRSZ);
	page->state = PAGE_MADE;
}

/* ----------------------------------------
 * Adding changes
 * ----------------------------------------
 */

/*
 * Counts a record of a page.  lsn is its end LSN, and xlogrecord is NULL if it
 * is native.  If the record starts the page, frees what was kept before.
 * Returns true if the record has to be kept, to be replayed.
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

		forget_image(rebuild, page);
		page->start_has_hole = image_has_hole;
		page->end = WALREDO_NOT_ENDED;
		return true;
	}

	/*
	 * If there is nothing that the record could be applied to, it is of no
	 * use.
	 *
	 * A base image may already have the change.  Most redo routines compare
	 * the LSN of the page with the record's, and then do nothing.  But those
	 * that clear bits of the visibility map do not look at the page's LSN,
	 * and would clear bits that were set later.  So such a record must not be
	 * kept.
	 */
	return page->state != PAGE_UNKNOWN && lsn > page->base_lsn;
}

/*
 * The same as add_pending() for a WalredoRecord, of size bytes, of a page that
 * is not OnlyChildChanges().
 */
static WalredoRecord *
add_pending_record(WalredoRebuild *rebuild, PageEntry *page, Size size)
{
	return (WalredoRecord *) add_pending(rebuild, page, MAXALIGN(size));
}

/*
 * Adds a whole WAL record, which a child will replay, to those that wait for a
 * page.  ERROR if it is longer than a child accepts.
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
		if (change->ends_kind)
		{
			end_many_forks(rebuild, change, end_lsn);
			return;
		}

		/* see_ends() will apply it to the pages. */
		walredo_fork_ends_add(find_fork(rebuild, &change->tag, true),
							  (BlockNumber) change->tag.number, change->end,
							  end_lsn, rebuild->context);
		return;
	}

	page = find_page(rebuild, &change->tag);
	if (!change->starts_page && change->what != WALREDO_CHANGE_END)
		look_in_backup(rebuild, page);
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
		make_room(rebuild);
}

/*
 * The entries of pages are not freed, because last_page and the array of sorted
 * pages may point to them, but they become as find_page() creates them.
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
		PageEntry  *page = PageOfSlot(page_slot);

		page->base_lsn = InvalidXLogRecPtr;
		end_page(rebuild, page, WALREDO_NOT_ENDED, PG_UINT64_MAX);
		page->end_lsn = InvalidXLogRecPtr;
		page->ends_seen = 0;
		page->has_looked_in_backup = false;
		page->is_not_in_backup = false;
		page->backup_problem = NULL;
	}
	if (rebuild->entry_file)
		walredo_entry_file_close(rebuild->entry_file);
	rebuild->entry_file = NULL;
	rebuild->backup = NULL;
	rebuild->has_wide_ends = false;
	forktable_start_iterate(rebuild->forks, &fork_iter);
	while ((fork_slot = forktable_iterate(rebuild->forks, &fork_iter)) != NULL)
		walredo_fork_ends_reset(fork_slot->fork);
}

void
walredo_rebuild_get(WalredoRebuild *rebuild, const WalredoTag *tag,
					WalredoRebuiltPage *result)
{
	PageEntry	space;
	PageEntry  *entry = borrow_page(rebuild, tag, &space);

	if (entry == NULL)
	{
		WalredoForkEnds *fork = NULL;
		const WalredoForkEnd *end = NULL;

		if (tag->kind == WALREDO_TAG_REL)
			fork = find_fork(rebuild, tag, false);
		if (fork != NULL)
			end = walredo_fork_ends_last(fork, tag->number);
		if (end != NULL)
		{
			memset(result, 0, sizeof(*result));
			result->rmid = -1;
			result->end = end->end;
			result->end_lsn = end->lsn;
			return;
		}
		describe_cold(rebuild, tag, result);
		if (result->image != NULL)
			result->image =
				DatumGetByteaPCopy(PointerGetDatum(result->image));
		return;
	}
	look_in_backup(rebuild, entry);
	replay_page(rebuild, entry);
	describe_page(entry, result);
	add_image(entry, copy_image(rebuild, entry), result);
	if (entry == &space)
		drop_image(rebuild, entry);
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

/*-------------------------------------------------------------------------
 *
 * links.c
 *	  Whether the page images in WAL continue the pages that WAL knows.
 *
 * The server copies a page into WAL after it has changed the page, but before
 * it stamps it with the LSN of the record.  So the LSN inside the image is the
 * one that the page had before: the end LSN of the newest earlier record that
 * stamped it.  If it is an older one, the server has read a page from disk that
 * lacked changes which it had written, and has put it into WAL as what the page
 * is.  From there on, replay makes the same wrong page, and nothing but this
 * link shows it.
 *
 * No record has to be replayed to see that.  For each page that WAL names, a
 * hash table has the LSN that the page must have, and each image is compared
 * with it.  That is about as fast as reading WAL.
 *
 * Which records stamp which of their blocks follows from the server's source;
 * nearly all stamp all.  The exceptions are in the table block_rules, each with
 * its reason.  Where it depends on something that WAL does not tell whether a
 * record has stamped a page, both LSNs are right: see PageLink.
 *
 * What is found here does not depend on where the server ran its redo.  Crash
 * recovery, a standby and recovery of a backup stamp the same pages with the
 * same LSNs as the server that wrote the records; where that is not so, the
 * table says it.
 *
 * The hash table is bounded by maintenance_work_mem.  If there are too many
 * pages, those whose hash value has one bit set are dropped, and WAL is read
 * once more for them.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/page/links.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/ginxlog.h"
#include "access/gist.h"
#include "access/hash.h"
#include "access/hash_xlog.h"
#include "access/heapam_xlog.h"
#include "access/rmgr.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogreader.h"
#include "catalog/pg_control.h"
#include "common/hashfn.h"
#include "compat.h"
#include "miscadmin.h"
#include "page/cost_delay.h"
#include "page/links.h"
#include "page/scan.h"
#include "progress/progress.h"
#include "record/image.h"
#include "record/record.h"
#include "record/xlogrecord.h"
#include "utils/memutils.h"
#include "wal/changes.h"
#include "wal/names.h"

/* The number of stamps that are noted at once: see note_stamps(). */
#define MAX_STAMPS			32

/* The number of forks that are found without the hash table, a power of two. */
#define NUM_LAST_FORKS		64

/* Asks for memory that will be needed soon. */
#if defined(__GNUC__)
#define prefetch(address)	__builtin_prefetch(address)
#else
#define prefetch(address)	((void) 0)
#endif

/* How many of the records that were lost a detail lists. */
#define MAX_LISTED			5

/* How many broken links are looked into at once: see report_links(). */
#define MAX_LINKS			1000

/* The smallest hash table of pages, a power of two. */
#define MIN_TABLE_SIZE		1024

/* After how many bytes of WAL a check may sleep, as vacuum_cost_delay says. */
#define COST_INTERVAL		(1024 * 1024)

/* ----------------------------------------
 * Which record stamps which block
 * ----------------------------------------
 */

typedef enum Stamp
{
	STAMPS,						/* the page gets the LSN of the record */
	MAY_STAMP,					/* or it keeps the one that it has */
	NEVER_STAMPS				/* it keeps the one that it has */
} Stamp;

/* What is special about some blocks of some records. */
typedef struct BlockRule
{
	RmgrId		rmid;
	uint8		info;			/* of xl_info, the bits in info_mask */
	uint8		info_mask;
	uint8		first_id;		/* the blocks that it is about */
	uint8		last_id;

	/*
	 * Whether the page is stamped, and if that is MAY_STAMP, whether it
	 * certainly is if the block has data, or an image that redo restores.
	 */
	Stamp		stamp;
	bool		with_data;
	bool		with_image;

	/*
	 * The page in the image can be one that was built anew in memory, whose
	 * LSN is 0.  That says nothing about the page that was there before.
	 */
	bool		built_anew;
} BlockRule;

#define NOT_FLAGS			((uint8) ~XLR_INFO_MASK)
#define ANY_BLOCK			0, XLR_MAX_BLOCK_ID

static const BlockRule block_rules[] = {
	/*
	 * log_newpage() and its like log pages that were built in memory, or
	 * copied from another file.  All stamp the page.  Nearly all write each
	 * page of a new file once, so it has no link.  But _hash_alloc_buckets()
	 * does so once more if the split for which it was called could not be
	 * done: see is_built_anew().
	 */
	{RM_XLOG_ID, XLOG_FPI, NOT_FLAGS, ANY_BLOCK, STAMPS,.built_anew = true},

	/*
	 * MarkBufferDirtyHint() stamps the page only if the buffer is not dirty
	 * by the time that the record is written, which is not so if it is just
	 * being written to disk, or if two sessions do this at once.  Both hold a
	 * share lock, so the images of both can have the same LSN.  Redo always
	 * stamps.
	 */
	{RM_XLOG_ID, XLOG_FPI_FOR_HINT, NOT_FLAGS, ANY_BLOCK, MAY_STAMP},

	/*
	 * visibilitymap_set() and heap_xlog_visible() stamp the heap page only
	 * with data checksums or wal_log_hints.  Without them, log_heap_visible()
	 * takes no image of it.  (0x40 is XLOG_HEAP2_VISIBLE, which PostgreSQL 19
	 * no longer has.)
	 */
	{RM_HEAP2_ID, 0x40, XLOG_HEAP_OPMASK, 1, 1, MAY_STAMP,.with_image = true},

	/*
	 * Since PostgreSQL 19, log_heap_prune_and_freeze() can set bits in the
	 * visibility map, too.  If it does nothing else, it stamps the heap page
	 * under the same conditions; else the block has data.  (These are the
	 * XLOG_HEAP2_PRUNE_* records, or the older ones that they replace.)
	 */
	{RM_HEAP2_ID, 0x10, XLOG_HEAP_OPMASK, 0, 0, MAY_STAMP, true, true},
	{RM_HEAP2_ID, 0x20, XLOG_HEAP_OPMASK, 0, 0, MAY_STAMP, true, true},
	{RM_HEAP2_ID, 0x30, XLOG_HEAP_OPMASK, 0, 0, MAY_STAMP, true, true},

	/*
	 * The first page of a bucket is named for a cleanup lock only: see
	 * hashbucketcleanup(), _hash_squeezebucket() and _hash_freeovflpage().
	 */
	{RM_HASH_ID, XLOG_HASH_DELETE, NOT_FLAGS, 0, 0, NEVER_STAMPS},
	{RM_HASH_ID, XLOG_HASH_MOVE_PAGE_CONTENTS, NOT_FLAGS, 0, 0, NEVER_STAMPS},
	{RM_HASH_ID, XLOG_HASH_SQUEEZE_PAGE, NOT_FLAGS, 0, 0, NEVER_STAMPS},

	/*
	 * _hash_freeovflpage() moves what is on the page that it frees to another
	 * one.  If there was nothing, newer minor releases do not change that
	 * page, and do not stamp it, though it can have an image.  The page that
	 * is freed is initialized before.
	 */
	{RM_HASH_ID, XLOG_HASH_SQUEEZE_PAGE, NOT_FLAGS, 1, 1, MAY_STAMP,
	.with_data = true},
	{RM_HASH_ID, XLOG_HASH_SQUEEZE_PAGE, NOT_FLAGS, 2, 2, STAMPS,
	.built_anew = true},

	/*
	 * ginPlaceToPage() replaces the pages of a split by pages that
	 * GinInitPage() has made in memory.  The fourth block is the child.
	 */
	{RM_GIN_ID, XLOG_GIN_SPLIT, NOT_FLAGS, 0, 2, STAMPS,.built_anew = true},

	/*
	 * An extension can initialize a page, and have GenericXLogFinish() log
	 * all of it, as contrib/bloom does.
	 */
	{RM_GENERIC_ID, 0, 0, ANY_BLOCK, STAMPS,.built_anew = true},
};

static const BlockRule default_rule = {.stamp = STAMPS};

/*
 * VACUUM sets bits of the visibility map with a record that stamps the map's
 * page: until PostgreSQL 18 one of its own, since then the one that prunes.
 * The records of changes of the heap clear bits.  In older minor releases,
 * these do not name the map's page; where they do, they stamp it only if bits
 * were set.  (Redo can find other bits than the server did: CREATE DATABASE
 * logs images of the map without what it takes for free space.)
 */
static const BlockRule map_rule = {.stamp = MAY_STAMP};

static const BlockRule *
find_rule(const XLogRecord *record, const WalredoBlockRef *block)
{
	uint8		op = record->xl_info & XLOG_HEAP_OPMASK;

	if (block->forknum == VISIBILITYMAP_FORKNUM &&
		(record->xl_rmid == RM_HEAP_ID ||
		 (record->xl_rmid == RM_HEAP2_ID &&
		  (op == XLOG_HEAP2_MULTI_INSERT || op == XLOG_HEAP2_LOCK_UPDATED))))
		return &map_rule;
	if (record->xl_rmid == RM_HEAP_ID || record->xl_rmid == RM_BTREE_ID)
		return &default_rule;
	for (int i = 0; i < lengthof(block_rules); i++)
	{
		const BlockRule *rule = &block_rules[i];

		if (rule->rmid == record->xl_rmid &&
			rule->info == (record->xl_info & rule->info_mask) &&
			block->id >= rule->first_id && block->id <= rule->last_id)
			return rule;
	}
	return &default_rule;
}

/* ----------------------------------------
 * State
 * ----------------------------------------
 */

/*
 * A fork of a relation.  Its pages are found by its number.  If its file is
 * removed, the entry is, too.  If it comes again it has another number, and the
 * old pages are not found any more.
 */
typedef struct ForkKey
{
	RelFileLocator locator;
	ForkNumber	forknum;
} ForkKey;

typedef struct LinkedFork
{
	ForkKey		key;
	uint32		number;
	BlockNumber max_block;		/* the highest block that was added */
	char		status;			/* for simplehash */
} LinkedFork;

typedef struct PageKey
{
	uint32		fork;			/* its number */
	BlockNumber blkno;
} PageKey;

/*
 * What LSN a page must have.  That is the one in "sure", or that of a record
 * after it that may have stamped the page.  The first and the last of those are
 * kept, and any LSN from one to the other is taken for one of them.
 */
typedef struct PageLink
{
	PageKey		key;
	XLogRecPtr	sure;			/* 0 if the page is all zeroes */
	XLogRecPtr	may_first;		/* 0 if there are none */
	XLogRecPtr	may_last;

	/*
	 * The page was written to disk with GistBuildLSN before it was logged, as
	 * by gist_indexsortbuild_flush_ready_pages() before PostgreSQL 17, and
	 * its LSN on disk is that, unless the record was replayed.
	 */
	bool		is_built;
	char		status;			/* for simplehash */
} PageLink;

static inline uint32
hash_fork(const ForkKey *key)
{
	return murmurhash32(LocatorRelNumber(key->locator) ^
						murmurhash32(LocatorDbOid(key->locator) ^
									 key->forknum << 28));
}

static inline bool
same_fork(const ForkKey *a, const ForkKey *b)
{
	return a->forknum == b->forknum &&
		RelFileLocatorEquals(a->locator, b->locator);
}

static inline uint32
hash_page(PageKey key)
{
	uint64		h = ((uint64) key.fork << 32 | key.blkno) *
		UINT64CONST(0x9E3779B97F4A7C15);

	return (uint32) (h >> 32);
}

#define SH_PREFIX				linkfork
#define SH_ELEMENT_TYPE			LinkedFork
#define SH_KEY_TYPE				ForkKey
#define SH_KEY					key
#define SH_HASH_KEY(tb, key)	hash_fork(&(key))
#define SH_EQUAL(tb, a, b)		same_fork(&(a), &(b))
#define SH_SCOPE				static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

#define SH_PREFIX				pagelink
#define SH_ELEMENT_TYPE			PageLink
#define SH_KEY_TYPE				PageKey
#define SH_KEY					key
#define SH_HASH_KEY(tb, key)	hash_page(key)
#define SH_EQUAL(tb, a, b)		((a).fork == (b).fork && (a).blkno == (b).blkno)
#define SH_SCOPE				static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* A page that a record has stamped, which has not been noted yet. */
typedef struct PendingStamp
{
	PageKey		key;
	uint32		hash;
	XLogRecPtr	lsn;
} PendingStamp;

/* The pages of one pass: those of which a hash value has these low bits. */
typedef struct Share
{
	uint32		mask;			/* a power of two minus one */
	uint32		bits;
} Share;

/* A record that was lost. */
typedef struct LostRecord
{
	XLogRecPtr	lsn;			/* end LSN */
	const char *resource_manager;
	const char *record_type;
} LostRecord;

/* A broken link that has not been reported yet. */
typedef struct FoundLink
{
	WalredoBrokenLink link;
	LostRecord	lost[MAX_LISTED];
	uint64		num_lost;
} FoundLink;

typedef struct LinkCheck
{
	const char *directory;
	WalredoLinkCallback callback;
	void	   *arg;
	WalredoLinksResult *result;
	linkfork_hash *wanted;		/* or NULL, for all forks */
	BlockNumber only_block;		/* of the one wanted, or InvalidBlockNumber */
	uint64		max_entries;	/* that pages and forks may have */
	MemoryContext caller_context;	/* for the callback */
	MemoryContext context;		/* of the check */
	MemoryContext table_context;	/* of pages and forks */

	/* The passes that remain to be done. */
	Share	   *shares;
	int			num_shares;
	int			max_shares;

	/* The pass that is being done. */
	Share		share;
	WalredoReader *reader;
	WalredoChanges *changes;
	linkfork_hash *forks;
	pagelink_hash *pages;
	uint32		num_forks;		/* numbers of forks that were given */
	LinkedFork *last_forks[NUM_LAST_FORKS]; /* looked up lately, or NULL */
	PendingStamp stamps[MAX_STAMPS];
	int			num_stamps;

	/*
	 * Have hint bits been logged since the server was started?  Then records
	 * that set bits of the visibility map stamp the heap page.  And has this
	 * been used?
	 */
	bool		hints_logged;
	bool		hints_used;

	/* For decoding records that have images. */
	XLogReaderState *decoder;
	DecodedXLogRecord *decoded;
	Size		decoded_size;

	FoundLink  *found;
	int			num_found;
} LinkCheck;

/* ----------------------------------------
 * Pages and forks
 * ----------------------------------------
 */

/* To be called before forks are added or removed, as entries move then. */
static inline void
forget_last_forks(LinkCheck *check)
{
	memset(check->last_forks, 0, sizeof(check->last_forks));
}

/* Forgets all pages. */
static void
reset_tables(LinkCheck *check)
{
	MemoryContextReset(check->table_context);
	check->forks = linkfork_create(check->table_context, 64, NULL);
	check->pages = pagelink_create(check->table_context, 512, NULL);
	forget_last_forks(check);
	check->num_stamps = 0;
	check->num_forks = 0;
}

static inline LinkedFork *
find_fork(LinkCheck *check, const ForkKey *key)
{
	LinkedFork **last =
		&check->last_forks[(LocatorRelNumber(key->locator) * 4 +
							key->forknum) % NUM_LAST_FORKS];

	if (*last == NULL || !same_fork(&(*last)->key, key))
		*last = linkfork_lookup(check->forks, *key);
	return *last;
}

/* Finds a fork, or adds it. */
static inline LinkedFork *
add_fork(LinkCheck *check, const ForkKey *key, BlockNumber blkno)
{
	LinkedFork *fork = find_fork(check, key);
	bool		found;

	if (fork == NULL)
	{
		forget_last_forks(check);
		fork = linkfork_insert(check->forks, *key, &found);
		fork->number = check->num_forks++;
		fork->max_block = 0;
	}
	if (fork->max_block < blkno)
		fork->max_block = blkno;
	return fork;
}

static inline PageLink *
find_page(LinkCheck *check, const WalredoBlockRef *block)
{
	ForkKey		key = {block->locator, block->forknum};
	LinkedFork *fork = find_fork(check, &key);
	PageKey		page = {0, block->blkno};

	if (fork == NULL)
		return NULL;
	page.fork = fork->number;
	return pagelink_lookup(check->pages, page);
}

static inline bool
in_share_hashed(const Share *share, uint32 fork_hash, BlockNumber blkno)
{
	return (murmurhash32(fork_hash ^ blkno) & share->mask) == share->bits;
}

static inline bool
in_share(const Share *share, const ForkKey *key, BlockNumber blkno)
{
	return share->mask == 0 ||
		in_share_hashed(share, hash_fork(key), blkno);
}

/* Finds a page, or adds it.  NULL if it is not of the share of this pass. */
static PageLink *
add_page(LinkCheck *check, const WalredoBlockRef *block)
{
	ForkKey		key = {block->locator, block->forknum};
	PageKey		page_key;
	PageLink   *page;
	bool		found;

	if (!in_share(&check->share, &key, block->blkno))
		return NULL;
	page_key.fork = add_fork(check, &key, block->blkno)->number;
	page_key.blkno = block->blkno;
	page = pagelink_insert(check->pages, page_key, &found);
	if (!found)
	{
		page->sure = page->may_first = page->may_last = InvalidXLogRecPtr;
		page->is_built = false;
	}
	return page;
}

/*
 * Notes the stamps that are pending.
 *
 * Pages are changed in a random order, so most of the time would be spent
 * waiting for memory that is in no cache.  Instead, all of it is asked for
 * before any of it is needed.
 */
static pg_noinline void
note_stamps(LinkCheck *check)
{
	for (int i = 0; i < check->num_stamps; i++)
	{
		const PendingStamp *stamp = &check->stamps[i];
		PageLink   *page;
		bool		found;

		page = pagelink_insert_hash(check->pages, stamp->key, stamp->hash,
									&found);
		page->sure = stamp->lsn;
		page->may_first = page->may_last = InvalidXLogRecPtr;
		page->is_built = false;
	}
	check->num_stamps = 0;
}

/* Notes that a record stamps a page, of which it has no image. */
static inline void
add_stamp(LinkCheck *check, const WalredoBlockRef *block, XLogRecPtr lsn)
{
	ForkKey		key = {block->locator, block->forknum};
	PendingStamp *stamp = &check->stamps[check->num_stamps];

	if (!in_share(&check->share, &key, block->blkno))
		return;
	stamp->key.fork = add_fork(check, &key, block->blkno)->number;
	stamp->key.blkno = block->blkno;
	stamp->hash = hash_page(stamp->key);
	stamp->lsn = lsn;
	prefetch(&check->pages->data[stamp->hash & check->pages->sizemask]);
	if (++check->num_stamps == MAX_STAMPS)
		note_stamps(check);
}

/*
 * Makes room in the tables.  Pages of files that are gone are removed.  If that
 * is not enough, half of all pages are left to another pass.
 */
static void
make_room(LinkCheck *check)
{
	uint32	   *hashes;
	bool	   *exists;
	linkfork_iterator forks;
	pagelink_iterator pages;
	LinkedFork *fork;
	PageLink   *page;

	note_stamps(check);
	hashes = MemoryContextAllocHuge(check->context,
									(Size) check->num_forks * sizeof(uint32));
	exists = MemoryContextAllocExtended(check->context, check->num_forks,
										MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	linkfork_start_iterate(check->forks, &forks);
	while ((fork = linkfork_iterate(check->forks, &forks)) != NULL)
	{
		hashes[fork->number] = hash_fork(&fork->key);
		exists[fork->number] = true;
	}

	for (int i = 0; i < 2; i++)
	{
		if (i == 1)
		{
			Share	   *rest;

			if (check->pages->members + check->forks->members <
				check->max_entries / 2)
				break;
			if (check->share.mask == PG_UINT32_MAX)
				ereport(ERROR,
						(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						 errmsg("pages of too many relations take more memory than maintenance_work_mem"),
						 errhint("Increase maintenance_work_mem.")));
			if (check->num_shares == check->max_shares)
			{
				check->max_shares *= 2;
				check->shares = repalloc(check->shares,
										 check->max_shares * sizeof(Share));
			}
			rest = &check->shares[check->num_shares++];
			rest->mask = check->share.mask * 2 + 1;
			rest->bits = check->share.bits | (check->share.mask + 1);
			check->share.mask = rest->mask;
		}
		pagelink_start_iterate(check->pages, &pages);
		while ((page = pagelink_iterate(check->pages, &pages)) != NULL)
		{
			if (!exists[page->key.fork] ||
				!in_share_hashed(&check->share, hashes[page->key.fork],
								 page->key.blkno))
				pagelink_delete_item(check->pages, page);
		}
		CHECK_FOR_INTERRUPTS();
	}

	/* Forks of which no page is left. */
	if (check->num_forks > 0)
		memset(exists, 0, check->num_forks * sizeof(bool));
	pagelink_start_iterate(check->pages, &pages);
	while ((page = pagelink_iterate(check->pages, &pages)) != NULL)
		exists[page->key.fork] = true;
	forget_last_forks(check);
	linkfork_start_iterate(check->forks, &forks);
	while ((fork = linkfork_iterate(check->forks, &forks)) != NULL)
	{
		if (!exists[fork->number])
			linkfork_delete_item(check->forks, fork);
	}
	pfree(hashes);
	pfree(exists);
}

/* Ends the pages of a fork from a block on. */
static void
end_fork(LinkCheck *check, const ForkKey *key, BlockNumber first)
{
	LinkedFork *fork = find_fork(check, key);

	if (fork == NULL || first > fork->max_block)
		return;
	if (first == 0)
	{
		forget_last_forks(check);
		linkfork_delete(check->forks, *key);
		return;
	}
	if (fork->max_block - first < check->pages->members)
	{
		for (BlockNumber blkno = first; blkno <= fork->max_block; blkno++)
		{
			PageKey		page = {fork->number, blkno};

			pagelink_delete(check->pages, page);
		}
	}
	else
	{
		pagelink_iterator iterator;
		PageLink   *page;

		pagelink_start_iterate(check->pages, &iterator);
		while ((page = pagelink_iterate(check->pages, &iterator)) != NULL)
		{
			if (page->key.fork == fork->number && page->key.blkno >= first)
				pagelink_delete_item(check->pages, page);
		}
	}
	fork->max_block = first - 1;
}

/* Ends the pages of all relations in a database, or in a tablespace. */
static void
end_relations(LinkCheck *check, Oid spcOid, Oid dbOid)
{
	linkfork_iterator iterator;
	LinkedFork *fork;

	forget_last_forks(check);
	linkfork_start_iterate(check->forks, &iterator);
	while ((fork = linkfork_iterate(check->forks, &iterator)) != NULL)
	{
		if (LocatorSpcOid(fork->key.locator) == spcOid &&
			(dbOid == InvalidOid || LocatorDbOid(fork->key.locator) == dbOid))
			linkfork_delete_item(check->forks, fork);
	}
}

/* Ends the pages of the files that a record truncates, removes or replaces. */
static void
end_pages(LinkCheck *check, const XLogRecord *record, XLogRecPtr end_lsn)
{
	WalredoPageChange *list;
	int			n = walredo_changes_of(check->changes, record, end_lsn, &list);

	note_stamps(check);
	for (int i = 0; i < n; i++)
	{
		const WalredoTag *tag = &list[i].tag;
		ForkKey		key;

		if (list[i].what != WALREDO_CHANGE_END || tag->kind != WALREDO_TAG_REL)
			continue;
		if (list[i].ends_kind)
		{
			end_relations(check, tag->spcOid, tag->dbOid);
			continue;
		}
		key.locator = walredo_tag_locator(tag);
		if (list[i].of_fork_only)
		{
			key.forknum = tag->forknum;
			end_fork(check, &key, tag->number);
			continue;
		}
		for (key.forknum = 0; key.forknum <= MAX_FORKNUM; key.forknum++)
			end_fork(check, &key, 0);
	}
}

/* ----------------------------------------
 * Broken links
 * ----------------------------------------
 */

/* qsort() comparator: orders links by their pages. */
static int
compare_by_page(const void *a, const void *b)
{
	const FoundLink *const *la = a;
	const FoundLink *const *lb = b;

	return walredo_tag_compare(&(*la)->link.tag, &(*lb)->link.tag);
}

/* The first of the links, which are sorted, that is not before a page. */
static int
first_link(FoundLink **links, int nlinks, const WalredoTag *tag)
{
	int			first = 0;
	int			last = nlinks;

	while (first < last)
	{
		int			middle = (first + last) / 2;

		if (walredo_tag_compare(&links[middle]->link.tag, tag) < 0)
			first = middle + 1;
		else
			last = middle;
	}
	return first;
}

/*
 * Adds a record to those that were lost before links of a page, if it changes
 * the page.  If it ends the page and others, what was lost before is of no
 * concern.
 */
static void
add_lost(FoundLink **links, int nlinks, const WalredoPageChange *change,
		 const XLogRecord *record, XLogRecPtr end_lsn)
{
	bool		is_end = change->what == WALREDO_CHANGE_END;

	for (int i = first_link(links, nlinks, &change->tag); i < nlinks; i++)
	{
		FoundLink  *found = links[i];
		LostRecord *lost;

		if (is_end ? !walredo_tag_same_fork(&found->link.tag, &change->tag) :
			walredo_tag_compare(&found->link.tag, &change->tag) != 0)
			break;
		if (end_lsn <= found->link.page_lsn ||
			end_lsn > found->link.expected_lsn)
			continue;
		if (is_end)
		{
			found->num_lost = 0;
			continue;
		}
		if (found->num_lost < MAX_LISTED)
		{
			lost = &found->lost[found->num_lost];
			lost->lsn = end_lsn;
			lost->resource_manager = walredo_rmgr_name(record->xl_rmid);
			lost->record_type = walredo_record_type(record);
		}
		found->num_lost++;
	}
}

/*
 * Reads WAL once more, for the records that were lost before the links that
 * have been found, which are sorted by their pages.  If it has been removed
 * meanwhile, none are found.
 */
static void
find_lost(LinkCheck *check, FoundLink **links)
{
	int			nlinks = check->num_found;
	XLogRecPtr	start = WALREDO_END_OF_WAL;
	XLogRecPtr	end = InvalidXLogRecPtr;
	WalredoTag *forks = palloc(nlinks * sizeof(WalredoTag));
	int			nforks = 0;
	WalredoPageFilter *filter;
	WalredoPageScan *scan;

	for (int i = 0; i < nlinks; i++)
	{
		const WalredoBrokenLink *link = &links[i]->link;

		if (link->page_lsn >= link->expected_lsn)
			continue;
		start = Min(start, Max(link->page_lsn, check->result->first_lsn));
		end = Max(end, link->expected_lsn);
		if (nforks == 0 ||
			!walredo_tag_same_fork(&forks[nforks - 1], &link->tag))
			forks[nforks++] = link->tag;
	}
	if (nforks == 0)
	{
		pfree(forks);
		return;
	}

	filter = walredo_filter_forks(forks, nforks, false);
	scan = walredo_page_scan_seek(filter, check->directory, start);
	while (walredo_page_scan_next(scan) &&
		   walredo_page_scan_end_lsn(scan) <= end)
	{
		for (int i = 0; i < scan->num_changes; i++)
			add_lost(links, nlinks, &scan->list[i],
					 walredo_reader_record(scan->reader),
					 walredo_page_scan_end_lsn(scan));
	}
	walredo_page_scan_end(scan);
	walredo_filter_free(filter);
	pfree(forks);
}

/* Says in sentences what is wrong with a link. */
static void
describe_link(const FoundLink *found, StringInfo buf)
{
	const WalredoBrokenLink *link = &found->link;

	resetStringInfo(buf);
	if (link->page_lsn >= link->expected_lsn)
	{
		appendStringInfo(buf,
						 "The image was taken of a page with LSN %X/%X, which no record in WAL has given to it; the last one that it got is %X/%X.",
						 LSN_FORMAT_ARGS(link->page_lsn),
						 LSN_FORMAT_ARGS(link->expected_lsn));
		return;
	}
	appendStringInfo(buf,
					 "A write was lost: the image was taken of a page with LSN %X/%X, but WAL had changed the page up to %X/%X.",
					 LSN_FORMAT_ARGS(link->page_lsn),
					 LSN_FORMAT_ARGS(link->expected_lsn));
	if (found->num_lost == 0)
	{
		appendStringInfoString(buf,
							   " The records that were lost could not be read again.");
		return;
	}
	appendStringInfo(buf, " Lost records: " UINT64_FORMAT " (",
					 found->num_lost);
	for (int i = 0; i < Min(found->num_lost, MAX_LISTED); i++)
		appendStringInfo(buf, "%s%X/%X %s %s", i > 0 ? ", " : "",
						 LSN_FORMAT_ARGS(found->lost[i].lsn),
						 found->lost[i].resource_manager,
						 found->lost[i].record_type);
	if (found->num_lost > MAX_LISTED)
		appendStringInfo(buf, ", and " UINT64_FORMAT " more",
						 found->num_lost - MAX_LISTED);
	appendStringInfoString(buf, ").");
}

/*
 * Reports the links that have been found.  The records that were lost are
 * looked for now, for many links at once, since hardly anybody has any.
 */
static void
report_links(LinkCheck *check)
{
	FoundLink **links;
	StringInfoData buf;

	if (check->num_found == 0)
		return;
	links = palloc(check->num_found * sizeof(FoundLink *));
	for (int i = 0; i < check->num_found; i++)
		links[i] = &check->found[i];
	qsort(links, check->num_found, sizeof(FoundLink *), compare_by_page);
	find_lost(check, links);
	pfree(links);

	initStringInfo(&buf);
	for (int i = 0; i < check->num_found; i++)
	{
		WalredoBrokenLink *link = &check->found[i].link;

		describe_link(&check->found[i], &buf);
		link->detail = buf.data;
		MemoryContextSwitchTo(check->caller_context);
		check->callback(link, check->arg);
		MemoryContextSwitchTo(check->context);
	}
	pfree(buf.data);
	check->num_found = 0;
}

static void
add_link(LinkCheck *check, const XLogRecord *record,
		 const WalredoBlockRef *block, const PageLink *page,
		 XLogRecPtr page_lsn)
{
	FoundLink  *found;
	WalredoBrokenLink *link;

	if (check->num_found == MAX_LINKS)
		report_links(check);
	if (check->found == NULL)
		check->found = MemoryContextAlloc(check->context,
										  MAX_LINKS * sizeof(FoundLink));
	found = &check->found[check->num_found++];
	memset(found, 0, sizeof(*found));
	link = &found->link;
	link->lsn = walredo_reader_end_lsn(check->reader);
	link->start_lsn = walredo_reader_start_lsn(check->reader);
	link->tag = walredo_tag_of_block(&block->locator, block->forknum,
									 block->blkno);
	link->page_lsn = page_lsn;
	link->expected_lsn = page->sure;
	link->rmid = record->xl_rmid;
	link->info = record->xl_info;
	link->is_applied = block->has_image;
	link->resource_manager = walredo_rmgr_name(record->xl_rmid);
	link->record_type = walredo_record_type(record);
	check->result->num_broken++;
}

/* ----------------------------------------
 * Records
 * ----------------------------------------
 */

/* Decodes a record whose headers are sound, to look at its images. */
static void
decode(LinkCheck *check, const XLogRecord *record, XLogRecPtr end_lsn)
{
	Size		size = DecodeXLogRecordRequiredSpace(record->xl_tot_len);
	char	   *errormsg;

	if (check->decoder == NULL)
	{
		check->decoder = XLogReaderAllocate(wal_segment_size, NULL,
											XL_ROUTINE(.page_read = NULL),
											NULL);
		if (check->decoder == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OUT_OF_MEMORY),
					 errmsg("out of memory")));
	}
	if (size > check->decoded_size)
	{
		if (check->decoded != NULL)
			pfree(check->decoded);
		check->decoded = NULL;
		check->decoded_size = Max(size, 4 * BLCKSZ);
		check->decoded = MemoryContextAllocHuge(check->context,
												check->decoded_size);
	}
	if (!DecodeXLogRecord(check->decoder, check->decoded,
						  (XLogRecord *) record, InvalidXLogRecPtr, &errormsg))
		walredo_report_broken_record(end_lsn, errormsg);
	check->decoder->record = check->decoded;
}

/* Is this an LSN that a page can have? */
static bool
is_linked(const PageLink *page, XLogRecPtr page_lsn)
{
	if (page_lsn == page->sure)
		return true;
	if (page->may_first != 0 &&
		page_lsn >= page->may_first && page_lsn <= page->may_last)
		return true;
	return page->is_built && page_lsn == GistBuildLSN;
}

/*
 * Can the image be of a page that was built in memory?
 *
 * An XLOG_FPI can be of a heap page without an LSN, too, which VACUUM finds
 * empty, or of such a page of the visibility map.  But if WAL has an earlier
 * record of that page, a write was lost.  So it must be a page as hash indexes
 * have them.
 */
static inline bool
is_built_anew(const XLogRecord *record, const BlockRule *rule,
			  const PageHeaderData *header)
{
	if (!rule->built_anew || PageGetLSN((Page) header) != 0)
		return false;
	return record->xl_rmid != RM_XLOG_ID ||
		header->pd_special == BLCKSZ - MAXALIGN(sizeof(HashPageOpaqueData));
}

/* Does a record stamp a block? */
static inline Stamp
stamp_of(LinkCheck *check, const WalredoBlockRef *block, const BlockRule *rule)
{
	if (rule->stamp != MAY_STAMP)
		return rule->stamp;
	if (rule->with_data && (block->flags & BKPBLOCK_HAS_DATA) != 0)
		return STAMPS;
	if (!rule->with_image)
		return MAY_STAMP;
	if (block->has_image)
		return STAMPS;
	if (check->hints_logged)
	{
		check->hints_used = true;
		return STAMPS;
	}
	return MAY_STAMP;
}

/* Notes that a record may have stamped a page. */
static inline void
add_may_stamp(PageLink *page, XLogRecPtr lsn)
{
	if (page->may_first == InvalidXLogRecPtr)
		page->may_first = lsn;
	page->may_last = lsn;
}

/*
 * Looks at the image of a block, and notes what the page is after the record.
 */
static void
look_at_image(LinkCheck *check, const XLogRecord *record,
			  const WalredoBlockRef *block, const BlockRule *rule,
			  XLogRecPtr end_lsn)
{
	PageLink   *page;
	PageHeaderData header;
	XLogRecPtr	page_lsn;
	bool		is_new_page;

	note_stamps(check);
	page = find_page(check, block);

	/* An image of a block that redo initializes says nothing. */
	if ((block->flags & BKPBLOCK_WILL_INIT) == 0)
	{
		if (!walredo_image_header(check->decoder, block->id, &header))
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("invalid page image in the WAL record that ends at %X/%X",
							LSN_FORMAT_ARGS(end_lsn)),
					 errdetail("The image of block %d cannot be decompressed.",
							   block->id)));
		page_lsn = PageGetLSN((Page) &header);
		is_new_page = PageIsNew((Page) &header);
		check->result->num_images++;

		/* The record itself is no link, if it names a block twice. */
		if (page != NULL && page->sure != end_lsn &&
			page->may_last != end_lsn &&
			!is_built_anew(record, rule, &header))
		{
			check->result->num_links++;
			if (!is_linked(page, page_lsn))
				add_link(check, record, block, page, page_lsn);
		}
	}
	else
	{
		page_lsn = InvalidXLogRecPtr;
		is_new_page = false;
	}

	page = add_page(check, block);
	if (page == NULL)
		return;
	switch (stamp_of(check, block, rule))
	{
		case STAMPS:

			/* A page that is all zeroes gets no LSN. */
			page->sure = is_new_page ? InvalidXLogRecPtr : end_lsn;
			page->may_first = page->may_last = InvalidXLogRecPtr;
			page->is_built = record->xl_rmid == RM_XLOG_ID &&
				page_lsn == GistBuildLSN;
			break;
		case MAY_STAMP:

			/*
			 * Now it is known what LSN the page had.  If that is the one that
			 * is sure, records that may have stamped the page have not, but
			 * the one that has just been written may do so still, as another
			 * session does not wait for it.
			 */
			if (page_lsn != page->sure)
			{
				if (page_lsn == page->may_last || page_lsn < page->may_first ||
					page_lsn > page->may_last)
					page->may_first = page->may_last = InvalidXLogRecPtr;
				if (page_lsn != GistBuildLSN)
					page->is_built = false;
				page->sure = page_lsn;
			}
			add_may_stamp(page, end_lsn);
			break;
		case NEVER_STAMPS:
			break;
	}
}

/* The same for a block that has no image. */
static inline void
look_at_block(LinkCheck *check, const WalredoBlockRef *block,
			  const BlockRule *rule, XLogRecPtr end_lsn)
{
	Stamp		stamp = stamp_of(check, block, rule);
	PageLink   *page;

	if (stamp == STAMPS)
		add_stamp(check, block, end_lsn);
	else if (stamp == MAY_STAMP)
	{
		note_stamps(check);
		page = find_page(check, block);
		if (page != NULL)
			add_may_stamp(page, end_lsn);
	}
}

/*
 * Notes what a record tells about whether hint bits are logged, which they are
 * with data checksums or wal_log_hints.  Both can be changed only while the
 * server is down (checksums until PostgreSQL 18).
 */
static void
look_at_hints(LinkCheck *check, const XLogRecord *record)
{
	uint8		info = record->xl_info & ~XLR_INFO_MASK;

	if (!WALREDO_CHECKSUMS_ARE_FIXED || record->xl_rmid != RM_XLOG_ID)
		return;
	switch (info)
	{
		case XLOG_FPI_FOR_HINT:
			check->hints_logged = true;
			break;
		case XLOG_CHECKPOINT_SHUTDOWN:
		case XLOG_END_OF_RECOVERY:
			check->hints_logged = false;
			break;
		case XLOG_PARAMETER_CHANGE:

			/*
			 * Recovery was done with the new settings.  So it may not have
			 * stamped what the server had before, and this is written after
			 * recovery.
			 */
			check->hints_logged = false;
			if (check->hints_used)
				reset_tables(check);
			check->hints_used = false;
			break;
		default:
			break;
	}
}

/* Does a record concern a fork that is wanted? */
static inline bool
is_wanted(LinkCheck *check, const WalredoBlockRef *block)
{
	/* The free space map is not logged; its images are for torn pages only. */
	if (block->forknum == FSM_FORKNUM)
		return false;
	if (check->wanted != NULL)
	{
		ForkKey		key = {block->locator, block->forknum};

		return (check->only_block == InvalidBlockNumber ||
				check->only_block == block->blkno) &&
			linkfork_lookup(check->wanted, key) != NULL;
	}
	return true;
}

static inline void
look_at_record(LinkCheck *check, const XLogRecord *record, XLogRecPtr end_lsn)
{
	WalredoRecordHeaders headers;
	TransactionId xid;
	bool		has_images = (record->xl_info & XLR_CHECK_CONSISTENCY) != 0;

	walredo_xlogrecord_headers(record, &headers);
	if (headers.error != NULL)
		walredo_report_broken_record(end_lsn, headers.error);

	switch (record->xl_rmid)
	{
		case RM_XACT_ID:
		case RM_SMGR_ID:
		case RM_DBASE_ID:
		case RM_TBLSPC_ID:
			if (!walredo_changes_are_plain(record, &headers, &xid))
				end_pages(check, record, end_lsn);
			break;
		case RM_XLOG_ID:
			look_at_hints(check, record);
			break;
		default:
			break;
	}

	if (headers.num_blocks == 0)
		return;
	if (check->pages->members + check->forks->members + MAX_STAMPS +
		headers.num_blocks * 2 > check->max_entries)
		make_room(check);
	for (int i = 0; i < headers.num_blocks; i++)
		has_images |= headers.blocks[i].has_image;
	if (has_images)
		decode(check, record, end_lsn);

	for (int i = 0; i < headers.num_blocks; i++)
	{
		const WalredoBlockRef *block = &headers.blocks[i];
		const BlockRule *rule;

		if (!is_wanted(check, block))
			continue;

		/* It is not known what an extension's resource manager does. */
		if (!RmgrIdIsBuiltin(record->xl_rmid))
		{
			PageLink   *page;

			note_stamps(check);
			page = find_page(check, block);
			if (page != NULL)
				pagelink_delete_item(check->pages, page);
			continue;
		}
		rule = find_rule(record, block);
		if (has_images && check->decoded->blocks[block->id].has_image)
			look_at_image(check, record, block, rule, end_lsn);
		else
			look_at_block(check, block, rule, end_lsn);
	}
}

/* ----------------------------------------
 * Passes
 * ----------------------------------------
 */

/*
 * Reads WAL once, for the pages of a share.  This does not make indexes of what
 * it reads, as other scans do, because who checks all of WAL looks for no page,
 * and it would take half as long again.
 */
static void
run_pass(LinkCheck *check, XLogRecPtr start_lsn, XLogRecPtr end_lsn)
{
	WalredoLinksResult *result = check->result;
	bool		is_first = result->num_passes == 0;
	XLogRecPtr	counted_lsn;
	XLogRecPtr	record_lsn;

	reset_tables(check);
	check->hints_logged = check->hints_used = false;
	walredo_progress_begin_phase(WALREDO_PHASE_CHECKING_IMAGES, InvalidOid,
								 MAIN_FORKNUM, 0);
	check->reader = walredo_reader_begin(check->directory, start_lsn, end_lsn);
	walredo_reader_allow_restart(check->reader);
	if (is_first)
		result->first_lsn = walredo_reader_first_lsn(check->reader);
	counted_lsn = walredo_reader_first_lsn(check->reader);

	for (;;)
	{
		bool		found = walredo_reader_next(check->reader);

		if (walredo_reader_has_restarted(check->reader))
		{
			XLogRecPtr	first_lsn = walredo_reader_first_lsn(check->reader);

			ereport(WARNING,
					(errcode(ERRCODE_UNDEFINED_FILE),
					 errmsg("WAL before %X/%X was removed while it was read",
							LSN_FORMAT_ARGS(first_lsn)),
					 errdetail("The first image of each page after the gap was not checked.")));
			reset_tables(check);
			counted_lsn = first_lsn;
		}
		if (!found)
			break;
		record_lsn = walredo_reader_end_lsn(check->reader);
		look_at_record(check, walredo_reader_record(check->reader),
					   record_lsn);
		if (record_lsn - counted_lsn >= COST_INTERVAL)
		{
			walredo_cost_of_wal(record_lsn - counted_lsn);
			walredo_cost_delay_point();
			counted_lsn = record_lsn;
		}
	}

	if (is_first)
		result->end_lsn = walredo_reader_end_lsn(check->reader);
	result->num_passes++;
	report_links(check);
	walredo_reader_end(check->reader);
}

/* Does a record make a page without an image that redo restores? */
static bool
makes_page(const XLogRecord *record, const WalredoTag *tag)
{
	RelFileLocator locator = walredo_tag_locator(tag);
	WalredoRecordHeaders headers;

	walredo_xlogrecord_headers(record, &headers);
	for (int i = 0; i < headers.num_blocks; i++)
	{
		const WalredoBlockRef *block = &headers.blocks[i];

		if (block->forknum == tag->forknum && block->blkno == tag->number &&
			RelFileLocatorEquals(block->locator, locator))
			return !block->has_image;
	}
	return true;
}

/* Looks at the records of one page. */
static void
look_at_page_records(LinkCheck *check, const WalredoTag *tag,
					 XLogRecPtr start_lsn)
{
	WalredoLinksResult *result = check->result;
	WalredoPageFilter *filter = walredo_filter_page(tag);
	WalredoPageScan *scan;

	reset_tables(check);
	scan = walredo_page_scan_begin(filter, check->directory, start_lsn,
								   WALREDO_END_OF_WAL);
	check->reader = scan->reader;
	while (walredo_page_scan_next(scan))
	{
		for (int i = 0; i < scan->num_changes; i++)
		{
			const WalredoPageChange *change = &scan->list[i];

			if (change->what == WALREDO_CHANGE_END ||
				(change->starts_page &&
				 makes_page(walredo_reader_record(scan->reader), tag)))
				result->made_lsn = walredo_reader_end_lsn(scan->reader);
		}
		look_at_record(check, walredo_reader_record(scan->reader),
					   walredo_reader_end_lsn(scan->reader));
	}
	result->first_lsn = start_lsn;
	result->end_lsn = walredo_page_scan_end_lsn(scan);
	result->num_passes++;
	report_links(check);
	walredo_page_scan_end(scan);
	walredo_filter_free(filter);
}

/*
 * The number of entries that the tables may have.  A table doubles when 0.9 of
 * it is used, and for a moment both are there.
 */
static uint64
max_entries(void)
{
	Size		memory = (Size) maintenance_work_mem * 1024;
	Size		size = MIN_TABLE_SIZE;

	while (size * 2 * (sizeof(PageLink) + sizeof(LinkedFork)) * 3 / 2 <= memory)
		size *= 2;
	return size * 9 / 10 - 1;
}

/* Begins a check of some forks, or of all, and switches to its context. */
static void
begin_check(LinkCheck *check, const char *directory, const WalredoTag *forks,
			int nforks, WalredoLinkCallback callback, void *arg,
			WalredoLinksResult *result)
{
	bool		found;

	memset(result, 0, sizeof(*result));
	memset(check, 0, sizeof(*check));
	check->context = AllocSetContextCreate(CurrentMemoryContext,
										   "walredo links",
										   ALLOCSET_DEFAULT_SIZES);
	check->caller_context = MemoryContextSwitchTo(check->context);
	check->table_context = AllocSetContextCreate(check->context,
												 "walredo links of pages",
												 ALLOCSET_DEFAULT_SIZES);
	check->directory = directory;
	check->callback = callback;
	check->arg = arg;
	check->result = result;
	check->only_block = InvalidBlockNumber;
	check->changes = walredo_changes_create(walredo_filter_index());
	check->max_entries = max_entries();
	if (nforks > 0)
		check->wanted = linkfork_create(check->context, nforks, NULL);
	for (int i = 0; i < nforks; i++)
	{
		ForkKey		key = {walredo_tag_locator(&forks[i]), forks[i].forknum};

		linkfork_insert(check->wanted, key, &found);
	}
}

static void
end_check(LinkCheck *check)
{
	if (check->decoder != NULL)
		XLogReaderFree(check->decoder);
	MemoryContextSwitchTo(check->caller_context);
	MemoryContextDelete(check->context);
}

void
walredo_links_check(const char *directory, XLogRecPtr start_lsn,
					XLogRecPtr end_lsn, const WalredoTag *forks, int nforks,
					WalredoLinkCallback callback, void *arg,
					WalredoLinksResult *result)
{
	LinkCheck	check;

	begin_check(&check, directory, forks, nforks, callback, arg, result);

	/* The first pass is for all pages.  It may leave some to others. */
	check.max_shares = 8;
	check.shares = palloc(check.max_shares * sizeof(Share));
	check.num_shares = 1;
	check.shares[0].mask = check.shares[0].bits = 0;
	while (check.num_shares > 0)
	{
		check.share = check.shares[--check.num_shares];
		run_pass(&check, start_lsn, end_lsn);

		/* The others end there, too, however far WAL has come meanwhile. */
		end_lsn = result->end_lsn;
	}
	end_check(&check);
}

void
walredo_links_check_page(const WalredoTag *tag, const char *directory,
						 XLogRecPtr start_lsn, WalredoLinkCallback callback,
						 void *arg, WalredoLinksResult *result)
{
	LinkCheck	check;

	begin_check(&check, directory, tag, 1, callback, arg, result);
	check.only_block = (BlockNumber) tag->number;
	look_at_page_records(&check, tag, start_lsn);
	end_check(&check);
}

/*-------------------------------------------------------------------------
 *
 * changes.c
 *	  What a WAL record does to which page.
 *
 * A record can concern pages in three ways, and this module has a file for
 * each.  It can name blocks of relations (this file).  Its redo routine can
 * change pages that the record does not name (changes_native.c).  And it can
 * create, truncate and remove files (changes_end.c).  The table rmgr_parts
 * says which of the last two each resource manager does.
 *
 * What redo does to a block that the record names is not examined here, because
 * a wal-redo child replays the whole record.
 *
 * When WAL is searched for a page, this code is called for every record.
 * Therefore a filter holds which resource managers' records need not be
 * examined at all, the headers of the others are read only once, and no record
 * is copied before a caller asks for the copy.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/wal/changes.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/rmgr.h"
#include "catalog/pg_control.h"
#include "common/hashfn.h"
#include "compat.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "wal/changes_internal.h"

/* A relation of which forks are wanted. */
typedef struct WantedRelation
{
	RelFileLocator locator;		/* hash key */
	char		status;			/* for simplehash */
	uint8		forks;			/* bit n is set if fork number n is wanted */
} WantedRelation;

#define SH_PREFIX				wanted
#define SH_ELEMENT_TYPE			WantedRelation
#define SH_KEY_TYPE				RelFileLocator
#define SH_KEY					locator
#define SH_HASH_KEY(tb, key)	murmurhash32(LocatorRelNumber(key))
#define SH_EQUAL(tb, a, b)		RelFileLocatorEquals(a, b)
#define SH_SCOPE				static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/*
 * The parts of a record that can concern a page.  PART_MAP is like PART_NATIVE,
 * but the pages are visibility map pages of a relation of which the record also
 * names blocks.  So it is enough to look at records that name the relation.
 */
#define PART_BLOCKS			0x01	/* block references */
#define PART_NATIVE			0x02	/* pages that it does not name */
#define PART_MAP			0x04	/* see above */
#define PART_ENDS			0x08	/* files that it creates, truncates, ... */

/* Sets of kinds of pages: see walredo_tag_kind_bits(). */
#define REL					WALREDO_KIND_BIT(WALREDO_TAG_REL)
#define VM					WALREDO_VM_BIT
#define CLOG				WALREDO_KIND_BIT(WALREDO_TAG_CLOG)
#define MXACT_OFFSETS		WALREDO_KIND_BIT(WALREDO_TAG_MULTIXACT_OFFSETS)
#define MXACT_MEMBERS		WALREDO_KIND_BIT(WALREDO_TAG_MULTIXACT_MEMBERS)
#define COMMIT_TS			WALREDO_KIND_BIT(WALREDO_TAG_COMMIT_TS)
#define RELMAP				WALREDO_KIND_BIT(WALREDO_TAG_RELMAP)
#define TWOPHASE			WALREDO_KIND_BIT(WALREDO_TAG_TWOPHASE)

typedef void (*PartFunction) (WalredoChanges *changes);

/*
 * What records of a resource manager do to pages that they do not name: sets
 * of the kinds of pages that they change and end, and the functions that find
 * out which pages these are.  (Block references are not in this table, as
 * records of any resource manager can have them.)
 */
typedef struct RmgrParts
{
	uint8		native_part;	/* PART_NATIVE or PART_MAP */
	int			native_kinds;
	PartFunction add_native;
	int			end_kinds;
	PartFunction add_ends;
} RmgrParts;

static const RmgrParts rmgr_parts[RM_MAX_BUILTIN_ID + 1] =
{
	[RM_XLOG_ID] = {0, 0, NULL, COMMIT_TS, walredo_ends_of_xlog},
	[RM_XACT_ID] = {
		PART_NATIVE, CLOG | COMMIT_TS | TWOPHASE, walredo_native_of_xact,
		REL | TWOPHASE, walredo_ends_of_xact
	},
	[RM_SMGR_ID] = {
		PART_NATIVE, VM, walredo_native_of_smgr, REL, walredo_ends_of_smgr
	},
	[RM_CLOG_ID] = {
		PART_NATIVE, CLOG, walredo_native_of_clog, CLOG, walredo_ends_of_clog
	},
	[RM_DBASE_ID] = {0, 0, NULL, REL | RELMAP, walredo_ends_of_dbase},
	[RM_TBLSPC_ID] = {0, 0, NULL, REL | RELMAP, walredo_ends_of_tblspc},
	[RM_MULTIXACT_ID] = {
		PART_NATIVE, MXACT_OFFSETS | MXACT_MEMBERS, walredo_native_of_multixact,
		MXACT_OFFSETS | MXACT_MEMBERS, walredo_ends_of_multixact
	},
	[RM_RELMAP_ID] = {PART_NATIVE, RELMAP, walredo_native_of_relmap, 0, NULL},
	[RM_HEAP2_ID] = {PART_MAP, VM, walredo_native_of_heap, 0, NULL},
	[RM_HEAP_ID] = {PART_MAP, VM, walredo_native_of_heap, 0, NULL},
	[RM_COMMIT_TS_ID] = {
		PART_NATIVE, COMMIT_TS, walredo_native_of_commit_ts,
		COMMIT_TS, walredo_ends_of_commit_ts
	}
};

/* The number of blocks of which it is remembered if they are in a slice. */
#define SLICE_CACHE_SIZE	4096

/*
 * The memory that a change takes, approximately, except for the body of a
 * native record.  Counted for walredo_changes_part().
 */
#define CHANGE_OVERHEAD		(sizeof(WalredoPageChange) + 64)

/* ----------------------------------------
 * Filters
 * ----------------------------------------
 */

/*
 * Fills in kind and parts of a filter.  kinds is the set of the kinds of pages
 * that are wanted, and parts is the set of the PART_* that are to be examined.
 */
static void
prepare_filter(WalredoPageFilter *filter, WalredoFilterKind kind, int kinds,
			   int parts)
{
	filter->kind = kind;
	if ((kinds & REL) != 0)
		memset(filter->parts, parts & PART_BLOCKS, sizeof(filter->parts));
	for (int rmid = 0; rmid <= RM_MAX_BUILTIN_ID; rmid++)
	{
		const RmgrParts *rmgr = &rmgr_parts[rmid];

		if ((kinds & rmgr->native_kinds) != 0)
			filter->parts[rmid] |= parts & rmgr->native_part;
		if ((kinds & rmgr->end_kinds) != 0)
			filter->parts[rmid] |= parts & PART_ENDS;
	}
}

static WalredoPageFilter *
make_filter(WalredoFilterKind kind, int kinds, int parts)
{
	WalredoPageFilter *filter = palloc0(sizeof(WalredoPageFilter));

	prepare_filter(filter, kind, kinds, parts);
	return filter;
}

const WalredoPageFilter *
walredo_filter_all(void)
{
	static WalredoPageFilter filter;
	static bool is_prepared = false;

	if (!is_prepared)
		prepare_filter(&filter, WALREDO_FILTER_ALL, ~0,
					   PART_BLOCKS | PART_NATIVE | PART_MAP);
	is_prepared = true;
	return &filter;
}

const WalredoPageFilter *
walredo_filter_file_changes(void)
{
	static WalredoPageFilter filter;
	static bool is_prepared = false;

	if (!is_prepared)
		prepare_filter(&filter, WALREDO_FILTER_FILE_CHANGES, REL, PART_ENDS);
	is_prepared = true;
	return &filter;
}

const WalredoPageFilter *
walredo_filter_index(void)
{
	static WalredoPageFilter filter;
	static bool is_prepared = false;

	if (!is_prepared)
		prepare_filter(&filter, WALREDO_FILTER_INDEX, ~0, ~0);
	filter.slrus = CLOG | MXACT_OFFSETS | MXACT_MEMBERS;
	is_prepared = true;
	return &filter;
}

WalredoPageFilter *
walredo_filter_page(const WalredoTag *tag)
{
	WalredoPageFilter *filter = make_filter(WALREDO_FILTER_PAGE,
											walredo_tag_kind_bits(tag), ~0);

	filter->tag = *tag;

	/* For the visibility map, another block of the relation is named. */
	filter->named_parts = PART_BLOCKS;
	filter->relation_bits = WalredoRelationBit(tag->relNumber);
	filter->blkno = (BlockNumber) tag->number;
	return filter;
}

WalredoPageFilter *
walredo_filter_fork(const WalredoTag *tag)
{
	WalredoPageFilter *filter = make_filter(WALREDO_FILTER_FORK,
											walredo_tag_kind_bits(tag), ~0);

	Assert(tag->kind == WALREDO_TAG_REL);
	filter->tag = *tag;
	filter->named_parts = PART_BLOCKS | PART_MAP;
	filter->relation_bits = WalredoRelationBit(tag->relNumber);
	filter->blkno = InvalidBlockNumber;
	return filter;
}

WalredoPageFilter *
walredo_filter_forks(const WalredoTag *forks, int nforks, bool only_ends)
{
	WalredoPageFilter *filter;
	int			kinds = 0;

	for (int i = 0; i < nforks; i++)
		kinds |= walredo_tag_kind_bits(&forks[i]);
	filter = make_filter(only_ends ? WALREDO_FILTER_FILES :
						 WALREDO_FILTER_FORKS, kinds,
						 only_ends ? PART_ENDS : ~0);

	filter->forks = palloc(Max(nforks, 1) * sizeof(WalredoTag));
	filter->nforks = nforks;
	filter->relations = wanted_create(CurrentMemoryContext, Max(nforks, 1),
									  NULL);
	for (int i = 0; i < nforks; i++)
	{
		WantedRelation *relation;
		bool		found;

		Assert(forks[i].kind == WALREDO_TAG_REL);
		filter->forks[i] = forks[i];
		relation = wanted_insert(filter->relations,
								 walredo_tag_locator(&forks[i]), &found);
		filter->relation_bits |= WalredoRelationBit(forks[i].relNumber);
		if (!found)
			relation->forks = 0;
		relation->forks |= 1 << forks[i].forknum;
	}

	/* A look at the set would be of no use if it had every relation. */
	if (filter->relation_bits != PG_UINT64_MAX)
		filter->named_parts = PART_BLOCKS | PART_MAP;
	filter->blkno = InvalidBlockNumber;
	return filter;
}

WalredoPageFilter *
walredo_filter_slrus(int slrus)
{
	WalredoPageFilter *filter = make_filter(WALREDO_FILTER_SLRUS, slrus, ~0);

	Assert((slrus & ~(CLOG | MXACT_OFFSETS | MXACT_MEMBERS | COMMIT_TS)) == 0);
	filter->slrus = slrus;
	return filter;
}

WalredoPageFilter *
walredo_filter_relations(void)
{
	return make_filter(WALREDO_FILTER_RELATIONS, REL | VM, ~0);
}

void
walredo_filter_set_slice(WalredoPageFilter *filter, const WalredoSlice *slice)
{
	Assert(filter->kind == WALREDO_FILTER_FORKS ||
		   filter->kind == WALREDO_FILTER_RELATIONS);
	filter->slice = *slice;
}

void
walredo_filter_free(WalredoPageFilter *filter)
{
	if (filter->relations != NULL)
	{
		wanted_destroy(filter->relations);
		pfree(filter->forks);
	}
	pfree(filter);
}

/*
 * Inlined version of walredo_changes_find_forks(), as it is called for every
 * block of every record.
 */
static pg_attribute_always_inline uint8
find_forks(WalredoChanges *changes, const RelFileLocator *locator)
{
	if (!RelFileLocatorEquals(changes->last_locator, *locator))
	{
		const WantedRelation *relation =
			wanted_lookup(changes->filter->relations, *locator);

		changes->last_locator = *locator;
		changes->last_forks = relation ? relation->forks : 0;
	}
	return changes->last_forks;
}

uint8
walredo_changes_find_forks(WalredoChanges *changes,
						   const RelFileLocator *locator)
{
	return find_forks(changes, locator);
}

/* ERROR XX001 if there can be no page with that tag. */
static inline void
check_tag(WalredoChanges *changes, const WalredoTag *tag)
{
	if (!walredo_tag_is_valid(tag))
		walredo_changes_broken(changes, "The record refers to an invalid page address.");
}

/*
 * Takes note of a fork that is not in the cache.  ERROR 54000 if WAL names too
 * many relations.
 */
static void
note_new_fork(WalredoChanges *changes, const RelFileLocator *locator,
			  ForkNumber forknum)
{
	WalredoTag	tag = walredo_tag_of_block(locator, forknum, 0);
	WantedRelation *relation;
	bool		found;

	check_tag(changes, &tag);
	if (changes->named == NULL)
		changes->named = wanted_create(GetMemoryChunkContext(changes), 64,
									   NULL);

	/* A table grows to at most four times the size of its members. */
	if (changes->named->members * 4 * sizeof(WantedRelation) / 1024 >
		maintenance_work_mem / 2)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("relations in WAL up to %X/%X take more memory than half of maintenance_work_mem",
						LSN_FORMAT_ARGS(changes->end_lsn)),
				 errhint("Specify the files that are wanted, or increase maintenance_work_mem.")));
	relation = wanted_insert(changes->named, *locator, &found);
	if (!found)
		relation->forks = 0;
	relation->forks |= 1 << forknum;
	changes->last_locator = *locator;
	changes->last_forks = relation->forks;
}

/* Inlined, as it is called for every block of every record. */
static pg_attribute_always_inline void
note_fork(WalredoChanges *changes, const RelFileLocator *locator,
		  ForkNumber forknum)
{
	if ((changes->last_forks & (1 << forknum)) == 0 ||
		!RelFileLocatorEquals(changes->last_locator, *locator))
		note_new_fork(changes, locator, forknum);
}

void
walredo_changes_note_fork(WalredoChanges *changes,
						  const RelFileLocator *locator, ForkNumber forknum)
{
	note_fork(changes, locator, forknum);
}

/* qsort() comparator: orders tags. */
static int
compare_tags(const void *a, const void *b)
{
	return walredo_tag_compare(a, b);
}

WalredoTag *
walredo_changes_forks(WalredoChanges *changes, int *nforks)
{
	struct wanted_hash *named = changes->named;
	uint64		nrelations = named == NULL ? 0 : named->members;
	WalredoTag *forks;
	wanted_iterator iter;
	WantedRelation *relation;

	*nforks = 0;
	forks = MemoryContextAllocHuge(CurrentMemoryContext,
								   Max(nrelations, 1) * (MAX_FORKNUM + 1) *
								   sizeof(WalredoTag));
	if (named == NULL)
		return forks;
	wanted_start_iterate(named, &iter);
	while ((relation = wanted_iterate(named, &iter)) != NULL)
	{
		for (int forknum = 0; forknum <= MAX_FORKNUM; forknum++)
		{
			if ((relation->forks & (1 << forknum)) != 0)
				forks[(*nforks)++] = walredo_tag_of_block(&relation->locator,
														  forknum, 0);
		}
	}
	qsort(forks, *nforks, sizeof(WalredoTag), compare_tags);
	return forks;
}

/* Does a locator name the relation of a tag? */
static inline bool
is_relation(const RelFileLocator *locator, const WalredoTag *tag)
{
	return LocatorRelNumber(*locator) == tag->relNumber &&
		LocatorDbOid(*locator) == tag->dbOid &&
		LocatorSpcOid(*locator) == tag->spcOid;
}

/* Is a block in the slice of the filter? */
static pg_attribute_always_inline bool
slice_has(WalredoChanges *changes, const RelFileLocator *locator,
		  ForkNumber forknum, BlockNumber blkno)
{
	SliceEntry *entry;

	if (changes->slice_cache == NULL)
		return true;
	entry = &changes->slice_cache[(blkno ^ LocatorRelNumber(*locator) * 61 ^
								   forknum * 7) % SLICE_CACHE_SIZE];
	if (entry->tag.number != blkno || entry->tag.forknum != forknum ||
		!is_relation(locator, &entry->tag))
	{
		entry->tag = walredo_tag_of_block(locator, forknum, blkno);
		entry->is_in = walredo_slice_has(&changes->filter->slice,
										 &entry->tag);
	}
	return entry->is_in;
}

/* Does the filter have a block? */
static pg_attribute_always_inline bool
want_block(WalredoChanges *changes, const RelFileLocator *locator,
		   ForkNumber forknum, BlockNumber blkno)
{
	const WalredoPageFilter *filter = changes->filter;

	switch (filter->kind)
	{
		case WALREDO_FILTER_ALL:
		case WALREDO_FILTER_INDEX:
			return true;
		case WALREDO_FILTER_PAGE:
			return blkno == filter->tag.number &&
				forknum == filter->tag.forknum &&
				is_relation(locator, &filter->tag);
		case WALREDO_FILTER_FORK:
			return forknum == filter->tag.forknum &&
				is_relation(locator, &filter->tag);
		case WALREDO_FILTER_FILE_CHANGES:
			return false;
		case WALREDO_FILTER_FORKS:
		case WALREDO_FILTER_FILES:
			return (find_forks(changes, locator) & (1 << forknum)) != 0 &&
				slice_has(changes, locator, forknum, blkno);
		case WALREDO_FILTER_RELATIONS:
			if (forknum == FSM_FORKNUM)
				return false;
			note_fork(changes, locator, forknum);
			return slice_has(changes, locator, forknum, blkno);
		case WALREDO_FILTER_SLRUS:
			break;
	}
	return false;
}

bool
walredo_changes_want(WalredoChanges *changes, const WalredoTag *tag)
{
	RelFileLocator locator;

	if (changes->filter->kind == WALREDO_FILTER_ALL ||
		changes->filter->kind == WALREDO_FILTER_INDEX)
		return true;
	if (changes->filter->kind == WALREDO_FILTER_PAGE)
		return memcmp(&changes->filter->tag, tag, sizeof(WalredoTag)) == 0;
	if (changes->filter->kind == WALREDO_FILTER_SLRUS)
		return (changes->filter->slrus & WALREDO_KIND_BIT(tag->kind)) != 0;
	if (tag->kind != WALREDO_TAG_REL)
		return false;
	locator = walredo_tag_locator(tag);
	return want_block(changes, &locator, tag->forknum, tag->number);
}

/* ----------------------------------------
 * The list
 * ----------------------------------------
 */

void
walredo_changes_broken(WalredoChanges *changes, const char *fmt,...)
{
	StringInfoData detail;

	initStringInfo(&detail);
	for (;;)
	{
		va_list		args;
		int			needed;

		va_start(args, fmt);
		needed = appendStringInfoVA(&detail, fmt, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&detail, needed);
	}

	walredo_report_broken_record(changes->end_lsn, detail.data);
}

/*
 * Adds a change to the list, all zeroes.  Returns NULL if the change is not in
 * the part of the list that walredo_changes_part() asks for.
 */
static inline WalredoPageChange *
append_change(WalredoChanges *changes)
{
	WalredoPageChange *change;

	if (list_is_full(changes) || pass_over(changes))
		return NULL;

	if (changes->num_changes == changes->max_changes)
	{
		changes->max_changes *= 2;
		changes->list = repalloc_huge(changes->list,
									  changes->max_changes *
									  sizeof(WalredoPageChange));
	}
	change = &changes->list[changes->num_changes++];
	memset(change, 0, sizeof(WalredoPageChange));
	changes->next++;
	changes->size += CHANGE_OVERHEAD;
	return change;
}

/*
 * As append_change(), for a change of a page, whose tag is filled in.  ERROR
 * XX001 if there can be no such page.
 */
static WalredoPageChange *
add_change(WalredoChanges *changes, const WalredoTag *tag)
{
	WalredoPageChange *change;

	check_tag(changes, tag);
	change = append_change(changes);
	if (change != NULL)
		change->tag = *tag;
	return change;
}

/* Makes a record that lives as long as the list. */
static WalredoRecord *
make_record(WalredoChanges *changes, WalredoRecordKind kind, Size body_size)
{
	MemoryContext old_context = MemoryContextSwitchTo(changes->context);
	WalredoRecord *record;

	record = walredo_record_make(kind, changes->end_lsn, body_size);
	MemoryContextSwitchTo(old_context);
	return record;
}

WalredoRecord *
walredo_add_native(WalredoChanges *changes, const WalredoTag *tag,
				   WalredoRecordKind kind, Size body_size)
{
	WalredoRecord *record = make_record(changes, kind, body_size);
	WalredoPageChange *change = add_change(changes, tag);

	if (change != NULL)
	{
		change->what = WALREDO_CHANGE_NATIVE;
		change->starts_page = walredo_record_starts_page(kind);
		change->native = record;
		changes->size += body_size;
	}
	return record;
}

WalredoPageChange *
walredo_add_end(WalredoChanges *changes, const WalredoTag *tag,
				WalredoPageEnd end, bool of_fork_only)
{
	WalredoPageChange *change;

	/*
	 * A record can name a file any number of times.  Add the end only once if
	 * it does so in a row, as a hostile record may.
	 */
	if (changes->num_changes > 0)
	{
		change = &changes->list[changes->num_changes - 1];
		if (change->end == end &&
			memcmp(&change->tag, tag, sizeof(WalredoTag)) == 0)
			return change;
	}
	change = add_change(changes, tag);
	if (change != NULL)
	{
		change->what = WALREDO_CHANGE_END;
		change->end = end;
		change->of_fork_only = of_fork_only;
	}
	return change;
}

void
walredo_add_end_of_kind(WalredoChanges *changes, const WalredoTag *tag,
						WalredoPageEnd end)
{
	WalredoPageChange *change = append_change(changes);

	if (change != NULL)
	{
		change->tag = tag_of_number(tag->kind, 0);
		change->tag.spcOid = tag->spcOid;
		change->tag.dbOid = tag->dbOid;
		change->what = WALREDO_CHANGE_END;
		change->end = end;
		change->ends_kind = true;
	}
}

WalredoRecord *
walredo_change_record(WalredoChanges *changes, const WalredoPageChange *change)
{
	WalredoRecord **copy = &changes->copies[change->starts_page ? 1 : 0];

	Assert(change->what != WALREDO_CHANGE_END);
	if (change->what == WALREDO_CHANGE_NATIVE)
		return change->native;
	if (*copy == NULL)
	{
		*copy = make_record(changes, WALREDO_POSTGRES,
							changes->record->xl_tot_len);
		memcpy((*copy)->u.data, changes->record, changes->record->xl_tot_len);
		(*copy)->flags = WALREDO_WILL_INIT_GIVEN;
		if (change->starts_page)
			(*copy)->flags |= WALREDO_WILL_INIT;
	}
	return *copy;
}

/* ----------------------------------------
 * Blocks that the record names
 * ----------------------------------------
 */

static inline bool
same_block(const WalredoBlockRef *a, const WalredoBlockRef *b)
{
	return a->blkno == b->blkno && a->forknum == b->forknum &&
		RelFileLocatorEquals(a->locator, b->locator);
}

/*
 * Fills in what a record does to the block of its reference
 * headers->blocks[i], in the fields what, starts_page and image_has_hole of
 * *change.  Returns false if an earlier reference is to the same block, and so
 * has described it already.
 *
 * If a record names a block more than once, it is still replayed only once on
 * it.  So the record starts the block if any of the references says so.  But
 * the resource manager's redo routine is needed unless all of the references
 * have a full-page image to restore.
 */
static inline bool
describe_block(const XLogRecord *record, const WalredoRecordHeaders *headers,
			   int i, WalredoPageChange *change)
{
	const WalredoBlockRef *blocks = headers->blocks;
	bool		starts_page = blocks[i].will_init;
	bool		has_image = blocks[i].has_image;
	bool		image_has_hole = blocks[i].image_has_hole;

	for (int j = 0; j < i; j++)
	{
		if (same_block(&blocks[j], &blocks[i]))
			return false;
	}
	for (int j = i + 1; j < headers->num_blocks; j++)
	{
		if (!same_block(&blocks[j], &blocks[i]))
			continue;
		starts_page |= blocks[j].will_init;
		has_image &= blocks[j].has_image;
		image_has_hole |= blocks[j].image_has_hole;
	}
	change->what = RmgrIdIsBuiltin(record->xl_rmid) || has_image ?
		WALREDO_CHANGE_REPLAY : WALREDO_CHANGE_UNKNOWN;
	change->starts_page = starts_page;
	change->image_has_hole = image_has_hole;
	return true;
}

static void
add_blocks(WalredoChanges *changes)
{
	const WalredoRecordHeaders *headers = changes->headers;

	for (int i = 0; i < headers->num_blocks; i++)
	{
		const WalredoBlockRef *block = &headers->blocks[i];
		WalredoPageChange described;
		WalredoPageChange *change;

		if (!want_block(changes, &block->locator, block->forknum,
						block->blkno) ||
			!describe_block(changes->record, headers, i, &described))
			continue;
		change = append_change(changes);
		if (change == NULL)
			continue;

		/*
		 * The tag is written where it stays, a field at a time.  To copy one
		 * that has just been written like that takes a processor longer than
		 * all the rest, since it reads more bytes at once than were written
		 * at once, and has to wait until these have reached its cache.
		 */
		change->tag = walredo_tag_of_block(&block->locator, block->forknum,
										   block->blkno);
		check_tag(changes, &change->tag);
		change->what = described.what;
		change->starts_page = described.starts_page;
		change->image_has_hole = described.image_has_hole;
	}
}

bool
walredo_block_change(const XLogRecord *record, const WalredoTag *tag,
					 WalredoPageChange *change)
{
	WalredoRecordHeaders headers;

	if (tag->kind != WALREDO_TAG_REL)
		return false;
	walredo_xlogrecord_headers(record, &headers);
	for (int i = 0; i < headers.num_blocks; i++)
	{
		const WalredoBlockRef *block = &headers.blocks[i];

		if (block->blkno != tag->number || block->forknum != tag->forknum ||
			!is_relation(&block->locator, tag))
			continue;
		memset(change, 0, sizeof(WalredoPageChange));
		change->tag = *tag;
		return describe_block(record, &headers, i, change);
	}
	return false;
}

/* ----------------------------------------
 * Records
 * ----------------------------------------
 */

WalredoChanges *
walredo_changes_create(const WalredoPageFilter *filter)
{
	WalredoChanges *changes = palloc0(sizeof(WalredoChanges));

	changes->filter = filter;
	changes->max_changes = 4;
	changes->list = palloc(changes->max_changes * sizeof(WalredoPageChange));
	changes->context = AllocSetContextCreate(CurrentMemoryContext,
											 "walredo changes",
											 ALLOCSET_DEFAULT_SIZES);
	changes->max_size = SIZE_MAX;
	if (filter->slice.count > 1)
		changes->slice_cache = palloc0(SLICE_CACHE_SIZE * sizeof(SliceEntry));
	return changes;
}

void
walredo_changes_free(WalredoChanges *changes)
{
	MemoryContextDelete(changes->context);
	pfree(changes->list);
	if (changes->files != NULL)
		pfree(changes->files);
	if (changes->named != NULL)
		wanted_destroy(changes->named);
	if (changes->slice_cache != NULL)
		pfree(changes->slice_cache);
	pfree(changes);
}

/*
 * Does a record name a block of a relation of which the filter has pages?  If
 * it does not, PART_BLOCKS and PART_MAP of the record need not be examined.
 */
static pg_attribute_always_inline bool
names_relation(WalredoChanges *changes, const WalredoRecordHeaders *headers)
{
	const WalredoPageFilter *filter = changes->filter;

	if (filter->kind == WALREDO_FILTER_ALL ||
		filter->kind == WALREDO_FILTER_RELATIONS ||
		filter->kind == WALREDO_FILTER_INDEX)
		return true;
	for (int i = 0; i < headers->num_blocks; i++)
	{
		const RelFileLocator *locator = &headers->blocks[i].locator;

		if (filter->relations != NULL ? find_forks(changes, locator) != 0 :
			is_relation(locator, &filter->tag))
			return true;
	}
	return false;
}

/*
 * The rest of walredo_changes_of(), for a record of which the given PART_* have
 * to be examined.
 */
static pg_noinline int
look_at_record(WalredoChanges *changes, const XLogRecord *record,
			   XLogRecPtr end_lsn, uint8 parts)
{
	WalredoRecordHeaders headers;

	changes->end_lsn = end_lsn;
	walredo_xlogrecord_headers(record, &headers);
	if (headers.error != NULL)
		walredo_changes_broken(changes, "%s", headers.error);
	if ((parts & (PART_BLOCKS | PART_MAP)) != 0 &&
		!names_relation(changes, &headers))
		parts &= ~(PART_BLOCKS | PART_MAP);
	if (parts == 0)
		return 0;

	changes->record = record;
	changes->headers = &headers;
	changes->main_data.left = headers.main_size;
	changes->main_data.ptr =
		(const char *) record + record->xl_tot_len - headers.main_size;
	changes->next = 0;
	changes->size = 0;
	changes->copies[0] = changes->copies[1] = NULL;
	if (!changes->context->isReset)
		MemoryContextReset(changes->context);

	if ((parts & PART_ENDS) != 0)
		rmgr_parts[record->xl_rmid].add_ends(changes);
	if ((parts & (PART_NATIVE | PART_MAP)) != 0)
		rmgr_parts[record->xl_rmid].add_native(changes);
	if ((parts & PART_BLOCKS) != 0)
		add_blocks(changes);

	changes->headers = NULL;
	return changes->num_changes;
}

int
walredo_changes_of(WalredoChanges *changes, const XLogRecord *record,
				   XLogRecPtr end_lsn, WalredoPageChange **list)
{
	const WalredoPageFilter *filter = changes->filter;
	uint8		parts = filter->parts[record->xl_rmid];
	int			n;

	/*
	 * Most commits and aborts remove no files.  The files and two-phase
	 * states that they remove are part of their additional information, which
	 * most do not have.
	 */
	if (record->xl_rmid == RM_XACT_ID &&
		(record->xl_info & XLOG_XACT_HAS_INFO) == 0)
		parts &= ~PART_ENDS;
	changes->num_changes = 0;
	changes->num_files = 0;

	/*
	 * Most records name no block that is wanted, and that can be seen at a
	 * glance, unless blocks of many relations are wanted.
	 */
	if (parts == 0 ||
		((parts & ~filter->named_parts) == 0 &&
		 !walredo_xlogrecord_may_name(record, filter->relation_bits,
									  filter->blkno)))
		return 0;

	n = look_at_record(changes, record, end_lsn, parts);
	*list = changes->list;
	return n;
}

bool
walredo_changes_are_plain(const XLogRecord *record,
						  const WalredoRecordHeaders *headers,
						  TransactionId *xid)
{
	*xid = InvalidTransactionId;
	switch (record->xl_rmid)
	{
		case RM_HEAP_ID:
		case RM_HEAP2_ID:
			return !walredo_heap_clears_map(record, headers);
		case RM_XLOG_ID:
			return (record->xl_info & ~XLR_INFO_MASK) != XLOG_PARAMETER_CHANGE;
		case RM_XACT_ID:

			/* The end of a transaction that has no subtransactions. */
			if ((record->xl_info & ~XLR_INFO_MASK) != XLOG_XACT_COMMIT &&
				(record->xl_info & ~XLR_INFO_MASK) != XLOG_XACT_ABORT)
				return false;
			*xid = record->xl_xid;
			return headers->main_size >= sizeof(TimestampTz) &&
				TransactionIdIsNormal(*xid);
		default:
			return !RmgrIdIsBuiltin(record->xl_rmid) ||
				(rmgr_parts[record->xl_rmid].native_part == 0 &&
				 rmgr_parts[record->xl_rmid].end_kinds == 0);
	}
}

int
walredo_changes_part(WalredoChanges *changes, const XLogRecord *record,
					 XLogRecPtr end_lsn, uint64 first, Size max_size,
					 WalredoPageChange **list, bool *more)
{
	int			n;

	changes->first = first;
	changes->max_size = max_size;
	n = walredo_changes_of(changes, record, end_lsn, list);
	*more = list_is_full(changes);
	changes->first = 0;
	changes->max_size = SIZE_MAX;
	return n;
}

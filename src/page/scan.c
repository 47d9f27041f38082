/*-------------------------------------------------------------------------
 *
 * scan.c
 *	  The part of WAL that is about certain pages.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/scan.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/rmgr.h"
#include "common/hashfn.h"
#include "compat.h"
#include "miscadmin.h"
#include "page/scan.h"
#include "record/xlogrecord.h"

/* Records that one call of walredo_fork_scan_next() reads. */
#define RECORDS_AT_ONCE		1024

/* A relation of which forks are wanted. */
typedef struct WantedRelation
{
	RelFileLocator locator;		/* hash key */
	char		status;			/* for simplehash */
	uint8		forks;			/* a bit a fork */
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

struct WalredoForkScan
{
	WalredoReader *reader;
	wanted_hash *wanted;
	WalredoLowering *lowering;
};

#define ForkIsWanted(relation, forknum)	(((relation)->forks >> (forknum)) & 1)

static WalredoPageScan *
begin_page_scan(const WalredoPageFilter *filter, WalredoReader *reader)
{
	WalredoPageScan *scan = palloc0(sizeof(WalredoPageScan));

	scan->filter = *filter;
	scan->reader = reader;
	scan->lowering = walredo_lowering_create();
	return scan;
}

WalredoPageScan *
walredo_page_scan_begin(const WalredoPageFilter *filter, const char *directory,
						XLogRecPtr start_lsn, XLogRecPtr end_lsn)
{
	WalredoReader *reader = walredo_reader_begin(directory, start_lsn,
												 end_lsn);

	walredo_reader_allow_restart(reader);
	return begin_page_scan(filter, reader);
}

WalredoPageScan *
walredo_page_scan_seek(const WalredoPageFilter *filter,
					   const char *directory, XLogRecPtr start_lsn)
{
	return begin_page_scan(filter,
						   walredo_reader_begin_search(directory, start_lsn));
}

/* Looks at what the current record does to files. */
static void
find_end(WalredoPageScan *scan, const XLogRecord *record, XLogRecPtr end_lsn)
{
	WalredoRecordHeaders headers;
	WalredoFileChange *changes;
	int			nchanges;

	walredo_xlogrecord_headers(record, &headers);
	nchanges = walredo_file_changes(scan->lowering, record, &headers, end_lsn,
									&changes);
	for (int i = 0; i < nchanges; i++)
	{
		uint64		from = walredo_file_change_from(&changes[i],
													&scan->filter.tag);

		if (from < scan->end_from &&
			(scan->filter.whole_fork || from <= scan->filter.tag.number))
		{
			scan->end = changes[i].end;
			scan->end_from = from;
		}
	}
}

bool
walredo_page_scan_next(WalredoPageScan *scan)
{
	scan->num_records = 0;
	scan->end = WALREDO_NOT_ENDED;
	scan->end_from = PG_UINT64_MAX;
	while (walredo_reader_next(scan->reader))
	{
		const XLogRecord *record = walredo_reader_record(scan->reader);
		bool		may_end = walredo_may_change_files(record);
		XLogRecPtr	end_lsn;

		if (walredo_reader_has_restarted(scan->reader))
			scan->has_restarted = true;

		/* Most records do nothing to the page. */
		if (!walredo_lower_may_concern(record, &scan->filter.tag,
									   scan->filter.whole_fork))
		{
			if (!may_end)
				continue;
		}
		else
		{
			end_lsn = walredo_reader_end_lsn(scan->reader);
			scan->num_records = walredo_lower(scan->lowering, record, end_lsn,
											  &scan->filter.tag,
											  scan->filter.whole_fork,
											  &scan->records);
		}
		if (may_end)
			find_end(scan, record, walredo_reader_end_lsn(scan->reader));
		if (scan->num_records > 0 || scan->end != WALREDO_NOT_ENDED)
			return true;
	}
	scan->has_restarted |= walredo_reader_has_restarted(scan->reader);
	return false;
}

void
walredo_page_scan_add(WalredoPageScan *scan, WalredoRebuild *rebuild)
{
	XLogRecPtr	end_lsn = walredo_reader_end_lsn(scan->reader);

	if (scan->end != WALREDO_NOT_ENDED && scan->filter.whole_fork)
		walredo_rebuild_end_fork(rebuild, &scan->filter.tag,
								 (BlockNumber) scan->end_from, scan->end,
								 end_lsn);
	else if (scan->end != WALREDO_NOT_ENDED)
		walredo_rebuild_end_page(rebuild, &scan->filter.tag, scan->end,
								 end_lsn);
	for (int i = 0; i < scan->num_records; i++)
		walredo_rebuild_add(rebuild, &scan->records[i].tag,
							scan->records[i].record);
}

void
walredo_page_scan_end(WalredoPageScan *scan)
{
	walredo_lowering_free(scan->lowering);
	walredo_reader_end(scan->reader);
	pfree(scan);
}

/* ----------------------------------------
 * Many forks at once
 * ----------------------------------------
 */

WalredoForkScan *
walredo_fork_scan_begin(const WalredoTag *forks, int nforks,
						XLogRecPtr end_lsn)
{
	WalredoForkScan *scan = palloc0(sizeof(WalredoForkScan));

	scan->wanted = wanted_create(CurrentMemoryContext, Max(nforks, 1), NULL);
	for (int i = 0; i < nforks; i++)
	{
		RelFileLocator locator = walredo_tag_locator(&forks[i]);
		WantedRelation *relation;
		bool		found;

		Assert(forks[i].kind == WALREDO_TAG_REL);
		relation = wanted_insert(scan->wanted, locator, &found);
		if (!found)
			relation->forks = 0;
		relation->forks |= 1 << forks[i].forknum;
	}

	scan->reader = walredo_reader_begin(NULL, WALREDO_START_OF_WAL, end_lsn);
	walredo_reader_allow_restart(scan->reader);
	scan->lowering = walredo_lowering_create();
	return scan;
}

XLogRecPtr
walredo_fork_scan_first_lsn(WalredoForkScan *scan)
{
	return walredo_reader_first_lsn(scan->reader);
}

XLogRecPtr
walredo_fork_scan_last_lsn(WalredoForkScan *scan)
{
	return walredo_reader_last_lsn(scan->reader);
}

XLogRecPtr
walredo_fork_scan_position(WalredoForkScan *scan)
{
	return walredo_reader_end_lsn(scan->reader);
}

/*
 * What a record does to pages that it does not name: to those of a fork, or, if
 * fork is NULL, to all that are wanted.
 */
static void
add_unnamed(WalredoForkScan *scan, WalredoRebuild *rebuild,
			const WalredoRecordHeaders *headers, const WalredoTag *fork)
{
	WalredoPageRecord *pairs;
	int			npairs;

	npairs =
		walredo_lower_with_headers(scan->lowering,
								   walredo_reader_record(scan->reader),
								   headers,
								   walredo_reader_end_lsn(scan->reader), fork,
								   fork != NULL, &pairs);
	for (int i = 0; i < npairs; i++)
	{
		WantedRelation *relation =
			wanted_lookup(scan->wanted, walredo_tag_locator(&pairs[i].tag));

		if (relation != NULL && ForkIsWanted(relation, pairs[i].tag.forknum))
			walredo_rebuild_add(rebuild, &pairs[i].tag, pairs[i].record);
	}
}

/* Ends what is known of a relation's forks, as a change of files does. */
static void
end_forks(const WantedRelation *relation, const WalredoFileChange *change,
		  XLogRecPtr end_lsn, WalredoRebuild *rebuild)
{
	for (ForkNumber forknum = 0; forknum <= MAX_FORKNUM; forknum++)
	{
		WalredoTag	fork = walredo_tag_of_block(&relation->locator, forknum, 0);
		uint64		from;

		if (!ForkIsWanted(relation, forknum))
			continue;
		from = walredo_file_change_from(change, &fork);
		if (from != PG_UINT64_MAX)
			walredo_rebuild_end_fork(rebuild, &fork, (BlockNumber) from,
									 change->end, end_lsn);
	}
}

/*
 * A record that may create, truncate, replace or remove files.
 */
static void
add_file_changes(WalredoForkScan *scan, WalredoRebuild *rebuild,
				 const WalredoRecordHeaders *headers)
{
	XLogRecPtr	end_lsn = walredo_reader_end_lsn(scan->reader);
	WalredoFileChange *changes;
	int			nchanges;

	nchanges = walredo_file_changes(scan->lowering,
									walredo_reader_record(scan->reader),
									headers, end_lsn, &changes);
	for (int i = 0; i < nchanges; i++)
	{
		const WalredoFileChange *change = &changes[i];
		WantedRelation *relation;

		if (change->scope == WALREDO_SCOPE_FORK ||
			change->scope == WALREDO_SCOPE_RELATION)
		{
			relation = wanted_lookup(scan->wanted,
									 walredo_tag_locator(&change->tag));
			if (relation != NULL)
				end_forks(relation, change, end_lsn, rebuild);
		}
		else if (change->scope == WALREDO_SCOPE_DATABASE ||
				 change->scope == WALREDO_SCOPE_TABLESPACE)
		{
			wanted_iterator iter;

			wanted_start_iterate(scan->wanted, &iter);
			while ((relation = wanted_iterate(scan->wanted, &iter)) != NULL)
				end_forks(relation, change, end_lsn, rebuild);
		}
	}
}

/*
 * Blocks that a record names.  Few records are about more than one.
 */
static void
add_blocks(WalredoForkScan *scan, WalredoRebuild *rebuild,
		   const WalredoRecordHeaders *headers)
{
	const XLogRecord *record = walredo_reader_record(scan->reader);
	XLogRecPtr	end_lsn = walredo_reader_end_lsn(scan->reader);
	bool		is_heap = (record->xl_rmid == RM_HEAP_ID ||
						   record->xl_rmid == RM_HEAP2_ID);
	const WalredoBlockRef *blocks = headers->blocks;
	int			nblocks = headers->num_blocks;
	WantedRelation *relation = NULL;

	for (int i = 0; i < nblocks; i++)
	{
		const WalredoBlockRef *block = &blocks[i];
		WalredoTag	tag;
		WalredoBlockRef merged;
		int			j;

		/* Blocks of a record mostly are of one relation. */
		if (i == 0 || !RelFileLocatorEquals(block->locator,
											blocks[i - 1].locator))
			relation = wanted_lookup(scan->wanted, block->locator);
		if (relation == NULL)
			continue;

		/* Bits of the map that go with the heap: all of the map, once. */
		if (is_heap && ForkIsWanted(relation, VISIBILITYMAP_FORKNUM))
		{
			for (j = 0; j < i; j++)
			{
				if (RelFileLocatorEquals(blocks[j].locator, block->locator))
					break;
			}
			if (j == i)
			{
				tag = walredo_tag_of_block(&block->locator,
										   VISIBILITYMAP_FORKNUM, 0);
				add_unnamed(scan, rebuild, headers, &tag);
			}
			if (block->forknum == VISIBILITYMAP_FORKNUM)
				continue;
		}
		if (!ForkIsWanted(relation, block->forknum))
			continue;

		/* A record is replayed once, even if it names a block twice. */
		merged = *block;
		for (j = 0; j < nblocks; j++)
		{
			if (j == i || blocks[j].blkno != block->blkno ||
				blocks[j].forknum != block->forknum ||
				!RelFileLocatorEquals(blocks[j].locator, block->locator))
				continue;
			if (j < i)
				break;
			merged.will_init |= blocks[j].will_init;
			merged.has_image &= blocks[j].has_image;
			merged.image_has_hole |= blocks[j].image_has_hole;
		}
		if (j < nblocks)
			continue;

		tag = walredo_tag_of_block(&block->locator, block->forknum,
								   block->blkno);
		walredo_rebuild_add_block(rebuild, &tag, record, end_lsn, &merged);
	}
}

bool
walredo_fork_scan_next(WalredoForkScan *scan, WalredoRebuild *rebuild)
{
	for (int i = 0; i < RECORDS_AT_ONCE; i++)
	{
		WalredoRecordHeaders headers;
		const XLogRecord *record;
		bool		is_record = walredo_reader_next(scan->reader);

		if (walredo_reader_has_restarted(scan->reader))
			walredo_rebuild_reset(rebuild);
		if (!is_record)
			return false;
		record = walredo_reader_record(scan->reader);
		walredo_xlogrecord_headers(record, &headers);
		if (headers.error != NULL)
			walredo_report_broken_record(walredo_reader_end_lsn(scan->reader),
										 headers.error);
		if (walredo_may_change_files(record))
			add_file_changes(scan, rebuild, &headers);

		/* A truncation may cut through a page of the visibility map. */
		if (record->xl_rmid == RM_SMGR_ID)
			add_unnamed(scan, rebuild, &headers, NULL);
		else
			add_blocks(scan, rebuild, &headers);
	}
	walredo_rebuild_advance(rebuild, walredo_reader_end_lsn(scan->reader));
	return true;
}

void
walredo_fork_scan_end(WalredoForkScan *scan)
{
	walredo_lowering_free(scan->lowering);
	walredo_reader_end(scan->reader);
	wanted_destroy(scan->wanted);
	pfree(scan);
}

bool
walredo_find_created_file(const WalredoTag *tags, int ntags,
						  XLogRecPtr start_lsn, WalredoTag *found,
						  XLogRecPtr *created_lsn)
{
	WalredoReader *reader = walredo_reader_begin(NULL, start_lsn,
												 WALREDO_END_OF_WAL);
	WalredoLowering *lowering = walredo_lowering_create();
	bool		is_found = false;

	while (walredo_reader_next(reader))
	{
		const XLogRecord *record = walredo_reader_record(reader);
		WalredoRecordHeaders headers;
		WalredoFileChange *changes;
		int			nchanges;

		if (!walredo_may_change_files(record))
			continue;
		CHECK_FOR_INTERRUPTS();
		walredo_xlogrecord_headers(record, &headers);
		nchanges = walredo_file_changes(lowering, record, &headers,
										walredo_reader_end_lsn(reader),
										&changes);
		for (int i = 0; i < nchanges; i++)
		{
			if ((changes[i].end != WALREDO_FILE_CREATED &&
				 changes[i].end != WALREDO_FILE_COPIED) ||
				changes[i].scope == WALREDO_SCOPE_FORK)
				continue;
			for (int j = 0; j < ntags; j++)
			{
				if (walredo_file_change_from(&changes[i], &tags[j]) ==
					PG_UINT64_MAX)
					continue;
				*found = tags[j];
				*created_lsn = walredo_reader_end_lsn(reader);
				is_found = true;
			}
		}
	}
	walredo_lowering_free(lowering);
	walredo_reader_end(reader);
	return is_found;
}

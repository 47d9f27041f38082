/*-------------------------------------------------------------------------
 *
 * scan.c
 *	  The part of the log that is about certain pages.
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
#include "page/scan.h"
#include "record/xlogrecord.h"

/* Records between two calls of walredo_fork_scan_next(). */
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

WalredoPageScan *
walredo_page_scan_begin(const WalredoPageFilter *filter, const char *directory,
						XLogRecPtr start_lsn, XLogRecPtr end_lsn)
{
	WalredoPageScan *scan = palloc0(sizeof(WalredoPageScan));

	scan->filter = *filter;
	scan->reader = walredo_reader_begin(directory, start_lsn, end_lsn);
	scan->lowering = walredo_lowering_create();
	return scan;
}

bool
walredo_page_scan_next(WalredoPageScan *scan)
{
	while (walredo_reader_next(scan->reader))
	{
		const XLogRecord *record = walredo_reader_record(scan->reader);
		XLogRecPtr	end_lsn;

		/* Most records do not. */
		if (!walredo_lower_may_concern(record, &scan->filter.tag,
									   scan->filter.whole_fork))
			continue;

		end_lsn = walredo_reader_end_lsn(scan->reader);
		scan->num_records = walredo_lower(scan->lowering, record, end_lsn,
										  &scan->filter.tag,
										  scan->filter.whole_fork,
										  &scan->records);
		scan->truncated_to = walredo_lower_truncation(record, end_lsn,
													  &scan->filter.tag);
		if (scan->num_records > 0)
			return true;
		if (scan->truncated_to != InvalidBlockNumber &&
			(scan->filter.whole_fork ||
			 scan->filter.tag.number >= scan->truncated_to))
			return true;
	}
	return false;
}

void
walredo_page_scan_feed(WalredoPageScan *scan, WalredoRebuild *rebuild)
{
	if (scan->truncated_to != InvalidBlockNumber)
		walredo_rebuild_truncate(rebuild, &scan->filter.tag,
								 scan->truncated_to,
								 walredo_reader_end_lsn(scan->reader));
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

	scan->reader = walredo_reader_begin(NULL, WALREDO_START_OF_LOG, end_lsn);
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
 * What a record does to pages of a fork that it does not name.
 */
static void
feed_lowered(WalredoForkScan *scan, WalredoRebuild *rebuild,
			 const WalredoRecordHeaders *headers, const WalredoTag *fork)
{
	WalredoPageRecord *pairs;
	int			npairs;

	npairs =
		walredo_lower_with_headers(scan->lowering,
								   walredo_reader_record(scan->reader),
								   headers,
								   walredo_reader_end_lsn(scan->reader), fork,
								   true, &pairs);
	for (int i = 0; i < npairs; i++)
		walredo_rebuild_add(rebuild, &pairs[i].tag, pairs[i].record);
}

/*
 * A record that may truncate a relation.
 */
static void
feed_truncation(WalredoForkScan *scan, WalredoRebuild *rebuild,
				const WalredoRecordHeaders *headers)
{
	const XLogRecord *record = walredo_reader_record(scan->reader);
	XLogRecPtr	end_lsn = walredo_reader_end_lsn(scan->reader);
	RelFileLocator locator;
	WantedRelation *relation;

	if (!walredo_lower_truncated_relation(record, end_lsn, &locator))
		return;
	relation = wanted_lookup(scan->wanted, locator);
	if (relation == NULL)
		return;

	for (ForkNumber forknum = 0; forknum <= MAX_FORKNUM; forknum++)
	{
		WalredoTag	fork = walredo_tag_of_block(&locator, forknum, 0);
		BlockNumber nblocks;

		if (!ForkIsWanted(relation, forknum))
			continue;
		nblocks = walredo_lower_truncation(record, end_lsn, &fork);
		if (nblocks != InvalidBlockNumber)
			walredo_rebuild_truncate(rebuild, &fork, nblocks, end_lsn);
		if (forknum == VISIBILITYMAP_FORKNUM)
			feed_lowered(scan, rebuild, headers, &fork);
	}
}

/*
 * Blocks that a record names.  Few records are about more than one.
 */
static void
feed_blocks(WalredoForkScan *scan, WalredoRebuild *rebuild,
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
		bool		starts_page;
		bool		is_map;
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
				feed_lowered(scan, rebuild, headers, &tag);
			}
			if (block->forknum == VISIBILITYMAP_FORKNUM)
				continue;
		}
		if (!ForkIsWanted(relation, block->forknum))
			continue;

		/* A record is replayed once, even if it names a block twice. */
		is_map = (block->forknum == VISIBILITYMAP_FORKNUM);
		starts_page = block->will_init && !(is_map && block->image_has_hole);
		for (j = 0; j < nblocks; j++)
		{
			if (j == i || blocks[j].blkno != block->blkno ||
				blocks[j].forknum != block->forknum ||
				!RelFileLocatorEquals(blocks[j].locator, block->locator))
				continue;
			if (j < i)
				break;
			starts_page = starts_page || blocks[j].will_init;
			if (is_map && blocks[j].image_has_hole)
				starts_page = false;
		}
		if (j < nblocks)
			continue;

		tag = walredo_tag_of_block(&block->locator, block->forknum,
								   block->blkno);
		walredo_rebuild_add_block(rebuild, &tag, record, end_lsn,
								  starts_page);
	}
}

bool
walredo_fork_scan_next(WalredoForkScan *scan, WalredoRebuild *rebuild)
{
	for (int i = 0; i < RECORDS_AT_ONCE; i++)
	{
		WalredoRecordHeaders headers;
		const XLogRecord *record;

		if (!walredo_reader_next(scan->reader))
			return false;
		record = walredo_reader_record(scan->reader);
		walredo_xlogrecord_headers(record, &headers);
		if (headers.error != NULL)
			walredo_report_broken_record(walredo_reader_end_lsn(scan->reader),
										 headers.error);
		if (record->xl_rmid == RM_SMGR_ID)
			feed_truncation(scan, rebuild, &headers);
		else
			feed_blocks(scan, rebuild, &headers);
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

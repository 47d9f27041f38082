/*-------------------------------------------------------------------------
 *
 * wal_stats.h
 *	  What WAL consists of: numbers and sizes of records.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/wal/wal_stats.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_WAL_STATS_H
#define WALREDO_WAL_STATS_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "datatype/timestamp.h"
#include "record/tag.h"

/* What the records of a range are grouped by. */
typedef enum WalredoStatsBy
{
	WALREDO_BY_RELATION,
	WALREDO_BY_RESOURCE_MANAGER,
	WALREDO_BY_RECORD_TYPE,
	WALREDO_BY_TRANSACTION,
	WALREDO_BY_MINUTE
} WalredoStatsBy;

#define WALREDO_STATS_NBY	(WALREDO_BY_MINUTE + 1)

/*
 * Sizes are bytes of records, as XLogRecGetLen() in xlogstats.c counts them:
 * without headers of pages, and without the bytes that align records.
 */
typedef struct WalredoWalCounts
{
	uint64		records;
	uint64		record_bytes;	/* all but images */
	uint64		image_bytes;	/* images as they are in WAL */
} WalredoWalCounts;

/* A group of records.  Only those fields are set that the group is made by. */
typedef struct WalredoWalStat
{
	WalredoWalCounts counts;

	/* The first block of the relation's main fork, and its name. */
	bool		has_tag;
	WalredoTag	tag;
	const char *relation;

	const char *resource_manager;	/* or NULL */
	const char *record_type;	/* or NULL */

	/*
	 * 0 if there is none; otherwise, whether its end is in the range, and
	 * whether it has committed then.
	 */
	TransactionId xid;
	bool		has_end;
	bool		is_committed;

	/* When the transaction ended, or when the minute began. */
	bool		has_time;
	TimestampTz at;
} WalredoWalStat;

typedef struct WalredoWalStats WalredoWalStats;

/*
 * Counts the records of a range of WAL, which is as for walredo_reader_begin(),
 * and so are the errors.  Each record counts once, and each of its bytes is of
 * one group, so that all groups together are the range.
 *
 * By relation, a record counts for the relation of its first block, and so do
 * all of its bytes except those of other blocks: the data and the image of each
 * block are its relation's.  All forks count together.  A file number is a
 * relation, so one that got a new file in the range is two groups.  Names are
 * those at the end of the range, as far as WAL in the range tells; otherwise
 * those that the server has now, or else what older WAL tells, as far as it is
 * there.  A relation whose name is not known has the number of its file as its
 * name.  Records without blocks are a group without a tag.
 *
 * By transaction, subtransactions count for the top-level one as soon as WAL
 * has told of which one they are.
 *
 * By minute, a record counts for the minute of the first record at or after it
 * that has a time, which is the end of a transaction or a restore point.  What
 * comes after the last of these is a group without a time.
 *
 * The result is allocated in the current memory context.  ERROR XX001 if a
 * record is broken, and 54000 if what has to be kept takes more than
 * maintenance_work_mem.
 */
extern WalredoWalStats *walredo_wal_stats_read(const char *directory,
											   XLogRecPtr start_lsn,
											   XLogRecPtr end_lsn,
											   WalredoStatsBy by);

/* All groups together. */
extern WalredoWalCounts walredo_wal_stats_total(const WalredoWalStats *stats);

/*
 * Moves to the next group, in a definite order: transactions whose end is in
 * the range come first, in the order of their ends; otherwise by what the
 * groups are made by, with the group that has none of it first.  Returns false
 * after the last one, and frees the statistics.  The strings live as long as
 * the statistics.
 */
extern bool walredo_wal_stats_next(WalredoWalStats *stats,
								   WalredoWalStat *stat);

#endif							/* WALREDO_WAL_STATS_H */

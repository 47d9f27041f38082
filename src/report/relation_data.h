/*-------------------------------------------------------------------------
 *
 * relation_data.h
 *	  What a report about a relation tells of each block: a header private to
 *	  this room.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/report/relation_data.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_REPORT_RELATION_DATA_H
#define WALREDO_REPORT_RELATION_DATA_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "page/verify.h"
#include "record/tag.h"
#include "report/breaks.h"
#include "storage/block.h"

/* The status of a block: a WalredoVerifyStatus, or that there is none. */
#define WALREDO_BLOCK_NOT_COMPARED	(WALREDO_VERIFY_UNLOGGED + 1)
#define WALREDO_NUM_BLOCK_STATUSES	(WALREDO_BLOCK_NOT_COMPARED + 1)

/* How many blocks of a status are kept with their details. */
#define WALREDO_MAX_NOTES			200

/* How many reasons why blocks are unverifiable are told apart. */
#define WALREDO_MAX_REASONS			16

/* What is known of a block.  There is one for each block, so it is small. */
typedef struct WalredoBlockData
{
	XLogRecPtr	page_lsn;		/* LSN of the server's page, or
								 * InvalidXLogRecPtr if it was not read */

	/*
	 * The records in the range of WAL that change the block, and their bytes:
	 * those of the records without images, and those of the block's own
	 * images.  So a record that changes several blocks counts for each.
	 */
	uint64		wal_bytes;
	uint32		num_records;
	uint8		status;
} WalredoBlockData;

/* A block with the detail of its result. */
typedef struct WalredoBlockNote
{
	BlockNumber blkno;
	char	   *detail;
} WalredoBlockNote;

/* The notes of blocks that have one status: the first ones, in block order. */
typedef struct WalredoBlockNotes
{
	int			num;
	WalredoBlockNote notes[WALREDO_MAX_NOTES];
} WalredoBlockNotes;

/* A detail that blocks which are unverifiable have, and how many have it. */
typedef struct WalredoReason
{
	char	   *detail;
	uint64		num_blocks;
	BlockNumber first;
	BlockNumber last;
} WalredoReason;

/*
 * Transactions that ended one after the other within a short time: the end LSN
 * of the last one's record, and when that was.
 */
typedef struct WalredoXactTime
{
	XLogRecPtr	last_lsn;
	TimestampTz first_time;
	TimestampTz last_time;
} WalredoXactTime;

typedef struct WalredoRelationData
{
	Oid			relid;
	char	   *name;			/* qualified and quoted */
	WalredoTag	tag;			/* of block 0 of the fork */
	ForkNumber	forknum;

	/* The blocks of the fork, and those that it should have. */
	WalredoBlockData *blocks;
	BlockNumber num_blocks;
	uint64		num_of_status[WALREDO_NUM_BLOCK_STATUSES];
	uint64		num_new;		/* blocks that are ok and have no LSN */
	WalredoBlockNotes damaged;
	WalredoBlockNotes unverifiable;
	WalredoReason reasons[WALREDO_MAX_REASONS];
	int			num_reasons;
	uint64		num_other_reasons;	/* blocks whose reasons are not there */

	/*
	 * Why the fork could not be verified, in the words of the error, or NULL.
	 * Then no block is compared.
	 */
	char	   *not_verified;

	/* Sentences about the fork as a whole; the first ones are of damage. */
	List	   *fork_damage;
	List	   *fork_notes;

	/* The range of WAL that was read for what follows, and for block data. */
	XLogRecPtr	start_lsn;
	XLogRecPtr	end_lsn;
	bool		was_removed;	/* its beginning was, while it was read */
	WalredoBreaks breaks;		/* what of it could not be read */
	uint64		num_records;	/* records that change the fork */
	uint64		wal_bytes;		/* of them, each counted once, but only with
								 * the images of the fork's blocks */
	uint64		num_gone;		/* records that change blocks which it does
								 * not have */

	/* The ends of transactions, in the order of WAL. */
	WalredoXactTime *times;
	int			num_times;
	int64		resolution;		/* of times, in microseconds */

	/* Private to relation_data.c. */
	BlockNumber max_blocks;		/* of the array */
} WalredoRelationData;

/*
 * Finds out all of this about a fork: verifies it, and reads WAL from start_lsn
 * to end_lsn.  These and directory are as for walredo_reader_begin(), but the
 * server's own WAL is added to directory, as the pages are those of the server.
 * The result is allocated in the current memory context.  WAL that is broken or
 * missing is left out, and is an error only if all of it is.
 *
 * ERROR 54000 if there are more blocks than maintenance_work_mem has place for;
 * 55006 if the relation gets new files all the time; others as
 * walredo_reader_begin(), and as walredo_verify_forks(), of which the caller
 * must have checked that it can verify the relation.
 */
extern WalredoRelationData *walredo_collect_relation(Oid relid,
													 ForkNumber forknum,
													 XLogRecPtr start_lsn,
													 XLogRecPtr end_lsn,
													 const char *directory);

/*
 * When was an LSN?  Sets *at to the time of the first transaction that ended at
 * or after the LSN, which may be too late by the resolution.  False if the LSN
 * is not in the range, or no transaction ended between it and the range's end,
 * or some may have ended in WAL that could not be read.
 */
extern bool walredo_time_of_lsn(const WalredoRelationData *data,
								XLogRecPtr lsn, TimestampTz *at);

#endif							/* WALREDO_REPORT_RELATION_DATA_H */

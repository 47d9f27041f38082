/*-------------------------------------------------------------------------
 *
 * repair.h
 *	  Repairing pages of relations on a server that is running.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/repair/repair.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_REPAIR_H
#define WALREDO_REPAIR_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "common/relpath.h"
#include "page/page_at.h"
#include "storage/block.h"

typedef enum WalredoRepairStatus
{
	WALREDO_REPAIR_OK,			/* nothing to repair */
	WALREDO_REPAIR_REPAIRABLE,
	WALREDO_REPAIR_REPAIRED,
	WALREDO_REPAIR_REFUSED,
	WALREDO_REPAIR_UNVERIFIABLE /* not known what the page should be */
} WalredoRepairStatus;

/* What is to be done. */
typedef struct WalredoRepairRequest
{
	Oid			relid;
	ForkNumber	forknum;
	BlockNumber blkno;			/* InvalidBlockNumber: all blocks */
	bool		dry_run;		/* only say what would be done */
	const char *directory;		/* as for walredo_reader_begin() */

	/*
	 * The page is to become what it was at this LSN, even if it is sound; or
	 * InvalidXLogRecPtr, for what it should be now.  For one block only.
	 */
	XLogRecPtr	lsn;
	WalredoGivenBase base;		/* for one block only */

	/*
	 * Base images come from the server that this connection string names; or
	 * NULL.
	 */
	const char *conninfo;
} WalredoRepairRequest;

/* What was found, or done, about a block, or about the fork as a whole. */
typedef struct WalredoRepairResult
{
	BlockNumber blkno;			/* InvalidBlockNumber: the fork as a whole */
	WalredoRepairStatus status;
	XLogRecPtr	page_lsn;		/* LSN of the page that was there, or 0/0 */
	XLogRecPtr	rebuilt_lsn;	/* end LSN of the last record in the page that
								 * takes its place, or 0/0 */
	const char *source;			/* what that is made from, or NULL */
	const char *detail;			/* sentences, or NULL */
} WalredoRepairResult;

/* Is given a result, which is valid only during the call. */
typedef void (*WalredoReportRepair) (const WalredoRepairResult *result,
									 void *arg);

/*
 * Looks for damaged pages of a fork, or at one of its pages, and repairs them.
 * If one block was asked for, reports it in any case, and otherwise all blocks
 * that are not sound, and a number of those that cannot be verified.
 *
 * What is repaired stays repaired, even if the transaction is rolled back.
 *
 * ERROR 42P01 if there is no such relation, 42809 if it has no storage, 22023
 * if there is no such block, and never should have been.
 */
extern void walredo_repair_fork(const WalredoRepairRequest *request,
								WalredoReportRepair report, void *arg);

/*
 * Puts back what a repair has replaced, and returns the ID of the repair that
 * this is.  ERROR 42704 if no such repair is kept; 55000 if it was not done, if
 * there was nothing before, or if the page has been changed since.
 *
 * walredo_undo_relation() returns the relation whose page it is, InvalidOid if
 * it is not there any more or is in another database.
 */
extern int64 walredo_repair_undo(int64 id);
extern Oid	walredo_undo_relation(int64 id);

#endif							/* WALREDO_REPAIR_H */

/*-------------------------------------------------------------------------
 *
 * verify.h
 *	  Checking the pages of a relation against the WAL that made them.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/verify.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_VERIFY_H
#define WALREDO_VERIFY_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "common/relpath.h"
#include "storage/block.h"

typedef enum WalredoVerifyStatus
{
	WALREDO_VERIFY_OK,
	WALREDO_VERIFY_MISMATCH,
	WALREDO_VERIFY_UNVERIFIABLE,
	WALREDO_VERIFY_UNLOGGED
} WalredoVerifyStatus;

/* A fork to be verified. */
typedef struct WalredoVerifyFork
{
	Oid			relid;
	ForkNumber	forknum;
} WalredoVerifyFork;

/* What was found of a block, or of a fork as a whole. */
typedef struct WalredoVerifyResult
{
	Oid			relid;
	ForkNumber	forknum;
	BlockNumber blkno;			/* InvalidBlockNumber: the fork as a whole */
	XLogRecPtr	page_lsn;		/* InvalidXLogRecPtr if it was not read */
	WalredoVerifyStatus status;
	const char *detail;			/* a sentence, or NULL */
} WalredoVerifyResult;

/* Where results go to. */
typedef struct WalredoVerifySink
{
	/* Takes a result, which is valid during the call only. */
	void		(*report) (const WalredoVerifyResult *result, void *arg);

	/*
	 * Called after some results of a fork.  Those that were reported since
	 * the last such call are final with keep.  Otherwise they are to be
	 * forgotten: the relation has got another file in between, and all blocks
	 * of the fork will be reported anew.
	 */
	void		(*end_fork) (bool keep, void *arg);

	void	   *arg;
} WalredoVerifySink;

/*
 * Checks every block of forks, each of which is given once, and reports each
 * exactly once, in block order.  WAL is read once for all of them.
 *
 * A relation that is not there any more is left out.  What cannot be looked
 * at, because of damage to its files or to catalogs, is reported, and the
 * others are checked all the same.  Relations are locked one at a time, each
 * for a moment. They must have storage, and not be temporary ones.
 */
extern void walredo_verify_forks(const WalredoVerifyFork *forks, int nforks,
								 const WalredoVerifySink *sink);

#endif							/* WALREDO_VERIFY_H */

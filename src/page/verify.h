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
#include "utils/backend_progress.h"
#include "utils/rel.h"

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

/* What is done with results. */
typedef struct WalredoVerifySink
{
	/* Takes a result, of which nothing stays. */
	void		(*report) (const WalredoVerifyResult *result, void *arg);

	/*
	 * Called after the last result of a fork: all that were reported since
	 * the last such call are to be kept, or forgotten, because the relation
	 * has got another file in between, and will be looked at anew.
	 */
	void		(*end_fork) (bool keep, void *arg);

	void	   *arg;
} WalredoVerifySink;

/*
 * A verification in progress shows in the server's own command progress, under
 * a number that no command of the server has, and with these parameters.  It
 * ends with the transaction, whatever happens.
 */
#define WALREDO_PROGRESS_COMMAND	((ProgressCommandType) 0x57414c)

typedef enum WalredoVerifyProgress
{
	WALREDO_PROGRESS_PHASE,		/* WalredoVerifyPhase */
	WALREDO_PROGRESS_FORK,
	WALREDO_PROGRESS_BLOCKS_TOTAL,
	WALREDO_PROGRESS_BLOCKS_DONE,
	WALREDO_PROGRESS_WAL_START,
	WALREDO_PROGRESS_WAL_POSITION,
	WALREDO_PROGRESS_WAL_END
} WalredoVerifyProgress;

typedef enum WalredoVerifyPhase
{
	WALREDO_PHASE_READING,		/* WAL */
	WALREDO_PHASE_COMPARING		/* pages */
} WalredoVerifyPhase;

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

/*
 * Calls a function in a subtransaction, as the server cleans up after an error
 * at the end of a transaction only.  If it fails in a way that says something
 * about the data that it looked at, returns the error, which is palloc'd, else
 * NULL.  A cancel, a lack of resources or a conflict says nothing about the
 * data, and is raised.
 */
extern ErrorData *walredo_attempt(void (*function) (void *arg), void *arg);

#endif							/* WALREDO_VERIFY_H */

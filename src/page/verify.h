/*-------------------------------------------------------------------------
 *
 * verify.h
 *	  Checking the pages of a relation against the log that made them.
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

/* What was found of a block. */
typedef struct WalredoVerdict
{
	Oid			relid;
	ForkNumber	forknum;
	BlockNumber blkno;
	XLogRecPtr	page_lsn;		/* InvalidXLogRecPtr if it was not read */
	WalredoVerifyStatus status;
	const char *detail;			/* a sentence, or NULL */
} WalredoVerdict;

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
	WALREDO_PROGRESS_LOG_START,
	WALREDO_PROGRESS_LOG_POSITION,
	WALREDO_PROGRESS_LOG_END
} WalredoVerifyProgress;

typedef enum WalredoVerifyPhase
{
	WALREDO_PHASE_READING,		/* the log */
	WALREDO_PHASE_COMPARING		/* pages */
} WalredoVerifyPhase;

typedef void (*WalredoVerifyReport) (const WalredoVerdict *verdict, void *arg);

/*
 * Checks every block of forks, each of which is given once, and reports each
 * exactly once, in no certain order.  The log is read once for all of them.
 *
 * A relation that is not there any more is left out.  The others are locked
 * until they are done with, which keeps them from being truncated.  They must
 * have storage, and not be temporary ones of another session.
 */
extern void walredo_verify_forks(const WalredoVerifyFork *forks, int nforks,
								 WalredoVerifyReport report, void *arg);

#endif							/* WALREDO_VERIFY_H */

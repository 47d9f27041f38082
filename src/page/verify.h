/*-------------------------------------------------------------------------
 *
 * verify.h
 *	  Comparing the pages of relations with WAL.
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
#include "wal/reader.h"

typedef enum WalredoVerifyStatus
{
	WALREDO_VERIFY_OK,
	WALREDO_VERIFY_MISMATCH,
	WALREDO_VERIFY_UNVERIFIABLE,
	WALREDO_VERIFY_UNLOGGED
} WalredoVerifyStatus;

/* A fork to be verified, or one block of it. */
typedef struct WalredoVerifyFork
{
	Oid			relid;
	ForkNumber	forknum;
	BlockNumber blkno;			/* InvalidBlockNumber: all blocks */
} WalredoVerifyFork;

/* How forks are verified.  All zeroes is the default. */
typedef struct WalredoVerifyOptions
{
	/* As for walredo_reader_begin(); the server's own WAL is added. */
	const char *directory;
} WalredoVerifyOptions;

/* The result for a block, or for a fork as a whole. */
typedef struct WalredoVerifyResult
{
	Oid			relid;
	ForkNumber	forknum;
	BlockNumber blkno;			/* InvalidBlockNumber: the fork as a whole */
	XLogRecPtr	page_lsn;		/* LSN of the server's page, or
								 * InvalidXLogRecPtr if it was not read */
	WalredoVerifyStatus status;
	const char *detail;			/* a sentence, or NULL */
} WalredoVerifyResult;

/* The functions to which results are passed. */
typedef struct WalredoVerifySink
{
	/* Is given a result, which is valid only during the call. */
	void		(*report) (const WalredoVerifyResult *result, void *arg);

	/*
	 * Is called after some results of a fork.  If keep is true, the results
	 * that were reported since the last such call are final.  Otherwise they
	 * must be discarded, because the relation has got another file in
	 * between, and all blocks of the fork will be reported again.
	 */
	void		(*end_fork) (bool keep, void *arg);

	void	   *arg;
} WalredoVerifySink;

/*
 * Verifies every block of some forks, and reports the results to sink, in
 * block order.  A fork must not be in the array twice, and the forks of a
 * relation must follow each other.  Each block is reported once, not counting
 * results that the sink was told to discard; but a block that was truncated
 * away meanwhile is not reported.  WAL is read once for all forks, as a rule:
 * see verify.c.
 *
 * An element of the array can also be a single block.  Then WAL is read
 * backwards, only for this block, and no further than its page needs.  If the
 * fork does not have the block, and need not have it according to WAL, nothing
 * is reported.  Several blocks of a fork can be in the array.
 *
 * WAL comes from the directory of the options, and then, as the server's pages
 * are as of now, from the server's own WAL.
 *
 * A relation that was dropped is left out.  A fork that cannot be read because
 * its files or catalogs are damaged is reported as a whole, and the other forks
 * are verified nevertheless.  Relations are locked one at a time, each for a
 * moment.  They must have storage, and must not be temporary.
 */
extern void walredo_verify_forks(const WalredoVerifyFork *forks, int nforks,
								 const WalredoVerifyOptions *options,
								 const WalredoVerifySink *sink);

/*
 * ERROR 55000 unless a reader reads the WAL that the server writes, or replays,
 * as the server's pages cannot be compared with any other.
 */
extern void walredo_verify_check_reader(WalredoReader *reader);

#endif							/* WALREDO_VERIFY_H */

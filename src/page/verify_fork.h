/*-------------------------------------------------------------------------
 *
 * verify_fork.h
 *	  Comparing one fork with the pages that were rebuilt from WAL.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/verify_fork.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_VERIFY_FORK_H
#define WALREDO_VERIFY_FORK_H

#include "postgres.h"

#include "page/verify.h"
#include "page/verify_compare.h"
#include "utils/rel.h"

/* A fork's file at one moment, while its relation is locked. */
typedef struct WalredoForkSize
{
	bool		exists;
	BlockNumber nblocks;		/* 0 if it does not exist */
} WalredoForkSize;

/* The outcome of a call of walredo_verify_fork(). */
typedef enum WalredoForkOutcome
{
	/* All blocks have been reported, or the relation was dropped. */
	WALREDO_FORK_DONE,

	/*
	 * The relation has got another file, so the results that have been
	 * reported are about a file that does not exist any more.  The sink has
	 * been told to discard them, and the fork has to be verified again from
	 * its first block.
	 */
	WALREDO_FORK_REPLACED,

	/*
	 * So much WAL has been written since the rebuild that it is faster to
	 * read all of WAL again for the blocks that are left.  The blocks before
	 * these have been reported.
	 */
	WALREDO_FORK_PAUSED
} WalredoForkOutcome;

/*
 * Compares the blocks of a fork from *next_block on, or the one that is to be
 * verified, and reports each.  If the
 * outcome is WALREDO_FORK_PAUSED, which is possible only with may_pause,
 * *next_block is set to the first block that is left.
 *
 * The caller need not hold a lock on the relation, but may, to keep it from
 * getting another file.
 */
extern WalredoForkOutcome walredo_verify_fork(const WalredoVerifiedFork *fork,
											  const WalredoVerifyWal *wal,
											  const WalredoVerifySink *sink,
											  bool may_pause,
											  BlockNumber *next_block);

/*
 * Has so much WAL been written since the rebuild that it is faster to read all
 * of WAL again than to read on?
 */
extern bool walredo_later_wal_is_long(const WalredoVerifyWal *wal);

/* Returns the size of a fork.  ERROR if its file cannot be opened. */
extern WalredoForkSize walredo_measure_fork(Relation rel, ForkNumber forknum);

/* Reports something about a fork as a whole. */
extern void walredo_report_fork(const WalredoVerifySink *sink, Oid relid,
								ForkNumber forknum, WalredoVerifyStatus status,
								WalredoDamage damage, const char *detail);

/* Reports a fork that the server cannot read, with the server's error. */
extern void walredo_report_unreadable(const WalredoVerifySink *sink, Oid relid,
									  ForkNumber forknum,
									  const ErrorData *error);

#endif							/* WALREDO_VERIFY_FORK_H */

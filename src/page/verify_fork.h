/*-------------------------------------------------------------------------
 *
 * verify_fork.h
 *	  Comparing one fork with the pages that WAL makes of it.
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
#include "page/verify_progress.h"
#include "utils/rel.h"

/* A fork's file at one moment, while its relation is locked. */
typedef struct WalredoForkSize
{
	bool		exists;
	BlockNumber nblocks;		/* 0 if it does not exist */
} WalredoForkSize;

/* How the comparison of a fork has ended. */
typedef enum WalredoForkOutcome
{
	WALREDO_FORK_DONE,

	/*
	 * The relation has got another file, so that what has been reported is
	 * about one that is not there any more.  The sink has been told to drop
	 * it, and the fork has to be verified from the start.
	 */
	WALREDO_FORK_REPLACED,

	/*
	 * There is so much WAL since the rebuild that it pays to read WAL anew
	 * for the blocks that are left.  Those before them have been reported.
	 */
	WALREDO_FORK_PAUSED
} WalredoForkOutcome;

/*
 * Compares the blocks of a fork from *next_block on, and reports each.  If it
 * pauses, which it does only with may_pause, *next_block is moved to the first
 * that is left.
 *
 * The caller holds no lock on the relation, or holds one to keep it as it is.
 */
extern WalredoForkOutcome walredo_verify_fork(const WalredoVerifiedFork *fork,
											  const WalredoVerifyWal *wal,
											  const WalredoVerifySink *sink,
											  WalredoVerifyProgress *progress,
											  bool may_pause,
											  BlockNumber *next_block);

/* Is there so much WAL since the rebuild that it should be read anew? */
extern bool walredo_later_wal_is_long(const WalredoVerifyWal *wal);

/* Measures a fork.  ERROR if its file cannot be opened. */
extern WalredoForkSize walredo_measure_fork(Relation rel, ForkNumber forknum);

/* Reports something about a fork as a whole. */
extern void walredo_report_fork(const WalredoVerifySink *sink, Oid relid,
								ForkNumber forknum, WalredoVerifyStatus status,
								const char *detail);

/* Reports a fork that cannot be looked at, because of an error. */
extern void walredo_report_unreadable(const WalredoVerifySink *sink, Oid relid,
									  ForkNumber forknum,
									  const ErrorData *error);

#endif							/* WALREDO_VERIFY_FORK_H */

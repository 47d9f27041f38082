/*-------------------------------------------------------------------------
 *
 * judge.h
 *	  Is a block what WAL says, and what should it be?
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/repair/judge.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_REPAIR_JUDGE_H
#define WALREDO_REPAIR_JUDGE_H

#include "postgres.h"

#include "page/verify_compare.h"
#include "repair/install.h"
#include "repair/peer.h"
#include "repair/repair.h"

/* All pages of a fork, rebuilt together. */
typedef struct WalredoRebuiltFork WalredoRebuiltFork;

/* The fork of a repair. */
typedef struct WalredoRepairFork
{
	const WalredoRepairRequest *request;
	const char *directory;		/* with the server's own WAL */
	WalredoPeer *peer;			/* for base images, or NULL */
	WalredoVerifiedFork verified;	/* its relation, tag and mask */
	WalredoRebuiltFork *rebuilt;	/* or NULL: see walredo_rebuild_fork() */
} WalredoRepairFork;

typedef enum WalredoFinding
{
	WALREDO_FOUND_SOUND,
	WALREDO_FOUND_DAMAGED,		/* and it is known what it should be */
	WALREDO_FOUND_UNKNOWN,		/* it is not known what it should be */
	WALREDO_FOUND_NO_BLOCK		/* there is no such block, and should not be */
} WalredoFinding;

typedef struct WalredoJudgement
{
	WalredoFinding finding;
	WalredoFoundBlock found;
	XLogRecPtr	page_lsn;		/* of the page that was found, or 0/0 */

	/* What the block should be, and how that is known. */
	PGAlignedBlock image;
	XLogRecPtr	rebuilt_lsn;	/* end LSN of the last record in it */
	XLogRecPtr	wal_end;		/* WAL was read up to here */
	XLogRecPtr	newest_lsn;		/* the newest record of the page that WAL has */
	bool		is_doubtful;	/* see walredo_judgement_is_old() */
	const char *source;			/* what it is made from */
	const char *detail;			/* what is wrong, as sentences */
} WalredoJudgement;

/*
 * Judges a block.  If the result is WALREDO_FOUND_DAMAGED, image has all
 * changes that WAL had when the block was looked at, as
 * walredo_install_page() requires; or if the request has an LSN, those of up to
 * there.
 *
 * Takes locks for a moment only.  Returns false if the relation was dropped, or
 * has another file than that of fork->verified.tag.
 */
extern bool walredo_judge_block(const WalredoRepairFork *fork,
								BlockNumber blkno,
								WalredoJudgement *judgement);

/*
 * May the block have been changed after the WAL that a judgement is made from,
 * in a way that what was found does not show?  A block that the server could
 * not read is asked for in WAL.  One that seems to be missing, or empty, may
 * have been truncated away.  To be asked before the block is replaced, while
 * the relation is locked.
 */
extern bool walredo_judgement_is_old(const WalredoRepairFork *fork,
									 BlockNumber blkno,
									 const WalredoJudgement *judgement);

/*
 * Rebuilds all pages of the fork together, reading all WAL once, so that many
 * blocks can be judged.  They have to be judged in ascending order then.
 */
extern void walredo_rebuild_fork(WalredoRepairFork *fork);

/*
 * Locks a relation.  If the lock keeps others from using the relation, or from
 * changing it, they have to wait while we wait for it.  So this does not wait
 * for long then: ERROR 55P03.
 */
extern void walredo_repair_lock(Oid relid, LOCKMODE lockmode);

/*
 * Locks the fork's relation as walredo_repair_lock() does, and opens it.
 * Returns NULL, without a lock, if it was dropped, or has another file.
 */
extern Relation walredo_repair_open(const WalredoRepairFork *fork,
									LOCKMODE lockmode);

#endif							/* WALREDO_REPAIR_JUDGE_H */

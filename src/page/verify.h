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
#include "utils/rel.h"

typedef enum WalredoVerifyStatus
{
	WALREDO_VERIFY_OK,
	WALREDO_VERIFY_MISMATCH,
	WALREDO_VERIFY_UNVERIFIABLE,
	WALREDO_VERIFY_UNLOGGED
} WalredoVerifyStatus;

/* What was found of a block. */
typedef struct WalredoVerdict
{
	BlockNumber blkno;
	XLogRecPtr	page_lsn;		/* InvalidXLogRecPtr if it was not read */
	WalredoVerifyStatus status;
	const char *detail;			/* a sentence, or NULL */
} WalredoVerdict;

typedef void (*WalredoVerifyReport) (const WalredoVerdict *verdict, void *arg);

/*
 * Checks every block of a fork, and reports each exactly once, in no certain
 * order.  The caller has locked the relation against truncation, which any
 * lock does.
 */
extern void walredo_verify_fork(Relation rel, ForkNumber forknum,
								WalredoVerifyReport report, void *arg);

#endif							/* WALREDO_VERIFY_H */

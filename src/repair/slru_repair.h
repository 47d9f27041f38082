/*-------------------------------------------------------------------------
 *
 * slru_repair.h
 *	  Making lost pages of SLRUs anew on a server that is running.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/repair/slru_repair.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_SLRU_REPAIR_H
#define WALREDO_SLRU_REPAIR_H

#include "postgres.h"

#include "record/tag.h"
#include "repair/repair.h"

/* What is to be done. */
typedef struct WalredoSlruRepairRequest
{
	int			slrus;			/* a set of WALREDO_KIND_BIT()s */
	int64		pageno;			/* -1: all pages; else there is one SLRU */
	bool		dry_run;		/* only say what would be done */
	const char *directory;		/* WAL directory, or NULL */
} WalredoSlruRepairRequest;

/* What was found, or done, about a page. */
typedef struct WalredoSlruRepairResult
{
	WalredoTag	tag;
	WalredoRepairStatus status;
	const char *source;			/* what takes its place is made from, or NULL */
	const char *detail;			/* sentences, or NULL */
} WalredoSlruRepairResult;

/* Is given a result, which is valid only during the call. */
typedef void (*WalredoReportSlruRepair) (const WalredoSlruRepairResult *result,
										 void *arg);

/*
 * Looks for damaged pages of SLRUs, as walredo_verify_slrus() does, and makes
 * those anew that are in no file, because a file is missing or has been cut.
 * The pages of a file that are missing are made together, or not at all.
 *
 * A page that is in a file may also be in the server's buffers for the SLRU,
 * which are private to it.  So it is not replaced: the result is
 * WALREDO_REPAIR_REFUSED.
 *
 * If one page was asked for, it is reported in any case, with those that were
 * made together with it, and otherwise all pages that are not sound.
 *
 * What is repaired stays repaired, even if the transaction is rolled back.
 */
extern void walredo_repair_slrus(const WalredoSlruRepairRequest *request,
								 WalredoReportSlruRepair report, void *arg);

#endif							/* WALREDO_SLRU_REPAIR_H */

/*-------------------------------------------------------------------------
 *
 * slru_compare.h
 *	  Comparing a page of an SLRU with the page rebuilt from WAL.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/slru_compare.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_SLRU_COMPARE_H
#define WALREDO_SLRU_COMPARE_H

#include "postgres.h"

#include "access/multixact.h"
#include "datatype/timestamp.h"
#include "page/verify.h"
#include "record/tag.h"

/*
 * What is known of the multixacts that WAL creates: see verify_slru.c, which
 * makes it.
 */
typedef struct WalredoMultiXactGaps WalredoMultiXactGaps;

/* May the entry of a multixact be 0, because WAL does not create it? */
extern bool walredo_multixact_is_gap(const WalredoMultiXactGaps *gaps,
									 MultiXactId mid);

/* Are there multixacts that WAL does not create, although later ones exist? */
extern bool walredo_multixact_has_gaps(const WalredoMultiXactGaps *gaps);

/* A page of an SLRU, as the server and WAL have it. */
typedef struct WalredoSlruPages
{
	WalredoTag	tag;

	/* The server's page, as it was in its file, and the page as of later. */
	const char *server;
	const char *wal;

	/*
	 * A page that consisted of bytes 0xFF at the redo point of a checkpoint
	 * that was complete before the file was read, with all records applied to
	 * it that end after that redo point.  So its entries that no such record
	 * has set are all ones, which is no possible value of an entry that is
	 * set.  NULL if there is no such record.
	 */
	const char *recent;

	/*
	 * For multixacts, the same from an LSN shortly before the redo point on,
	 * or NULL: see verify_slru.c.
	 */
	const char *nearby;

	const WalredoMultiXactGaps *gaps;

	/*
	 * The next transaction, multixact and member of the server, as of later
	 * than the server's page.
	 */
	TransactionId next_xid;
	MultiXactId next_multixact;
	MultiXactOffset next_member;

	/* No transaction of this page can have committed before or after these. */
	TimestampTz earliest;
	TimestampTz latest;
} WalredoSlruPages;

/*
 * Compares the entries of two pages.  Returns WALREDO_VERIFY_OK,
 * WALREDO_VERIFY_MISMATCH if there are entries that WAL cannot have made, or
 * WALREDO_VERIFY_UNVERIFIABLE if there are none, but some of which that cannot
 * be said.  In the last two cases, *detail is set to sentences that tell how
 * many these are, and which is the first; palloc'd.
 */
extern WalredoVerifyStatus walredo_slru_compare(const WalredoSlruPages *pages,
												const char **detail);

#endif							/* WALREDO_SLRU_COMPARE_H */

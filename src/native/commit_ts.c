/*-------------------------------------------------------------------------
 *
 * commit_ts.c
 *	  Native changes to pages of pg_commit_ts.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/native/commit_ts.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "native/pages.h"
#include "record/slru.h"

/*
 * Writes the same entry for each transaction, as TransactionIdSetCommitTs()
 * in src/backend/access/transam/commit_ts.c does.
 */
void
walredo_commit_ts_apply(const WalredoTag *tag, const WalredoRecord *rec,
						char *page)
{
	const TransactionId *xids = rec->u.commit_ts.xids;
	Size		nxids = WalredoRecordNCommitTsXids(rec);
	uint16		origin = rec->u.commit_ts.origin;
	char		entry[WALREDO_COMMIT_TS_ENTRY_SIZE];

	/* Entries on the page are not aligned, so a struct cannot be used. */
	memcpy(entry, &rec->u.commit_ts.timestamp, sizeof(TimestampTz));
	memcpy(entry + sizeof(TimestampTz), &origin, sizeof(origin));

	for (Size i = 0; i < nxids; i++)
	{
		TransactionId xid = xids[i];

		if (walredo_commit_ts_page(xid) != tag->number)
			walredo_not_on_page(tag, rec, "Transaction", xid);
		memcpy(page + xid % WALREDO_COMMIT_TS_XACTS_PER_PAGE * sizeof(entry),
			   entry, sizeof(entry));
	}
}

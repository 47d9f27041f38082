/*-------------------------------------------------------------------------
 *
 * clog.c
 *	  Native changes to pages of pg_xact.
 *
 * The server keeps the LSNs of asynchronous commits beside its buffers, not
 * on the page, so there is no page LSN to set.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/native/clog.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/clog.h"

#include "native/pages.h"
#include "record/slru.h"

#define CLOG_XACT_MASK	((1 << WALREDO_CLOG_BITS_PER_XACT) - 1)

/*
 * Sets the status of each transaction, as TransactionIdSetStatusBit() in
 * src/backend/access/transam/clog.c does during recovery.
 */
void
walredo_clog_apply(const WalredoTag *tag, const WalredoRecord *rec,
				   char *page)
{
	const TransactionId *xids = rec->u.xids;
	Size		nxids = WalredoRecordNXids(rec);
	uint8	   *bytes = (uint8 *) page;
	uint8		status;

	if (rec->kind == WALREDO_CLOG_SET_COMMITTED)
		status = TRANSACTION_STATUS_COMMITTED;
	else if (rec->kind == WALREDO_CLOG_SET_ABORTED)
		status = TRANSACTION_STATUS_ABORTED;
	else
		status = TRANSACTION_STATUS_SUB_COMMITTED;

	for (Size i = 0; i < nxids; i++)
	{
		TransactionId xid = xids[i];
		uint32		entry = xid % WALREDO_CLOG_XACTS_PER_PAGE;
		uint8	   *byte = &bytes[entry / WALREDO_CLOG_XACTS_PER_BYTE];
		int			shift = (entry % WALREDO_CLOG_XACTS_PER_BYTE) *
			WALREDO_CLOG_BITS_PER_XACT;

		if (walredo_clog_page(xid) != tag->number)
			walredo_not_on_page(tag, rec, "Transaction", xid);

		/*
		 * A base image may be newer than the record.  As the server does
		 * during recovery, leave the status of a transaction that is
		 * committed already, rather than change it back to sub-committed.
		 */
		if (status == TRANSACTION_STATUS_SUB_COMMITTED &&
			((*byte >> shift) & CLOG_XACT_MASK) == TRANSACTION_STATUS_COMMITTED)
			continue;

		*byte = (*byte & ~(CLOG_XACT_MASK << shift)) | (status << shift);
	}
}

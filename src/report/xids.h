/*-------------------------------------------------------------------------
 *
 * xids.h
 *	  What has become of the transactions that a page names.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/report/xids.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_REPORT_XIDS_H
#define WALREDO_REPORT_XIDS_H

#include "postgres.h"

typedef struct WalredoXids WalredoXids;

typedef enum WalredoXidState
{
	WALREDO_XID_UNKNOWN,
	WALREDO_XID_COMMITTED,
	WALREDO_XID_ABORTED,
	WALREDO_XID_IN_PROGRESS
} WalredoXidState;

/*
 * Remembers what the server has said, in the current memory context.  It is
 * asked once for each transaction, so that one report does not say two things.
 */
extern WalredoXids *walredo_xids_create(void);

/*
 * Asks the server.  xid can be anything: what is not known, because it is too
 * old, or not assigned yet, or pg_xact cannot be read, is WALREDO_XID_UNKNOWN.
 * If xids is NULL, the server is not asked, as the page is not its own.
 */
extern WalredoXidState walredo_xid_state(WalredoXids *xids, TransactionId xid);

/*
 * The transaction that has updated or deleted a row that a multixact has
 * locked; 0 if there is none.  Returns false if that is not known.
 */
extern bool walredo_multi_updater(WalredoXids *xids, MultiXactId multi,
								  TransactionId *updater);

/* The state as the end of "inserted by 741, which ...". */
extern const char *walredo_xid_state_name(WalredoXidState state);

#endif							/* WALREDO_REPORT_XIDS_H */

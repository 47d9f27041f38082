/*-------------------------------------------------------------------------
 *
 * xids.c
 *	  What has become of the transactions that a page names.
 *
 * A page that is shown in a report can be damaged, so a transaction ID can be
 * any number.  It is compared with those that the server has before pg_xact or
 * pg_multixact is asked, and an error there is an answer, too.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/report/xids.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/multixact.h"
#include "access/transam.h"
#include "access/xact.h"
#include "compat.h"
#include "page/attempt.h"
#include "report/xids.h"
#include "storage/lwlock.h"
#include "storage/procarray.h"
#include "utils/hsearch.h"

/* What is known of a transaction or multixact. */
typedef struct KnownXid
{
	uint32		number;			/* hash key */
	WalredoXidState state;		/* of a transaction */
	bool		is_known;		/* a multixact's updater is */
	TransactionId updater;
} KnownXid;

struct WalredoXids
{
	HTAB	   *xids;
	HTAB	   *multis;
};

static HTAB *
make_hash(const char *name)
{
	HASHCTL		ctl = {0};

	ctl.keysize = sizeof(uint32);
	ctl.entrysize = sizeof(KnownXid);
	ctl.hcxt = CurrentMemoryContext;
	return hash_create(name, 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

WalredoXids *
walredo_xids_create(void)
{
	WalredoXids *result = palloc(sizeof(WalredoXids));

	result->xids = make_hash("walredo transactions");
	result->multis = make_hash("walredo multixacts");
	return result;
}

/*
 * An attempt: looks a transaction up.  As TransactionIdInRecentPast() in
 * xid8funcs.c, keeps pg_xact from being truncated meanwhile.
 */
static void
look_up_xid(void *arg)
{
	KnownXid   *known = arg;
	TransactionId xid = known->number;
	FullTransactionId next = ReadNextFullTransactionId();

	if (!TransactionIdPrecedes(xid, XidFromFullTransactionId(next)))
		return;
	if (TransactionIdIsInProgress(xid))
	{
		known->state = WALREDO_XID_IN_PROGRESS;
		return;
	}
	LWLockAcquire(XactTruncationLock, LW_SHARED);
	if (!TransactionIdPrecedes(xid, WalredoTransamVariables->oldestClogXid))
		known->state = TransactionIdDidCommit(xid) ?
			WALREDO_XID_COMMITTED : WALREDO_XID_ABORTED;
	LWLockRelease(XactTruncationLock);
}

/* An attempt: looks for the updater of a multixact. */
static void
look_up_multi(void *arg)
{
	KnownXid   *known = arg;
	MultiXactMember *members;
	int			nmembers = GetMultiXactIdMembers(known->number, &members,
												 false, false);

	for (int i = 0; i < nmembers; i++)
	{
		if (ISUPDATE_from_mxstatus(members[i].status))
			known->updater = members[i].xid;
	}
	if (nmembers > 0)
		pfree(members);
	known->is_known = true;
}

WalredoXidState
walredo_xid_state(WalredoXids *xids, TransactionId xid)
{
	KnownXid   *known;
	bool		found;

	if (!TransactionIdIsValid(xid) || xids == NULL)
		return WALREDO_XID_UNKNOWN;
	if (!TransactionIdIsNormal(xid))
		return WALREDO_XID_COMMITTED;
	known = hash_search(xids->xids, &xid, HASH_ENTER, &found);
	if (!found)
	{
		known->state = WALREDO_XID_UNKNOWN;
		(void) walredo_attempt(look_up_xid, known);
	}
	return known->state;
}

bool
walredo_multi_updater(WalredoXids *xids, MultiXactId multi,
					  TransactionId *updater)
{
	KnownXid   *known;
	MultiXactId oldest;
	MultiXactId next;
	bool		found;

	*updater = InvalidTransactionId;
	if (!MultiXactIdIsValid(multi) || xids == NULL)
		return false;
	known = hash_search(xids->multis, &multi, HASH_ENTER, &found);
	if (!found)
	{
		known->is_known = false;
		known->updater = InvalidTransactionId;
		ReadMultiXactIdRange(&oldest, &next);
		if (!MultiXactIdPrecedes(multi, oldest) &&
			MultiXactIdPrecedes(multi, next))
			(void) walredo_attempt(look_up_multi, known);
	}
	*updater = known->updater;
	return known->is_known;
}

const char *
walredo_xid_state_name(WalredoXidState state)
{
	switch (state)
	{
		case WALREDO_XID_COMMITTED:
			return "committed";
		case WALREDO_XID_ABORTED:
			return "aborted";
		case WALREDO_XID_IN_PROGRESS:
			return "in progress";
		case WALREDO_XID_UNKNOWN:
			break;
	}
	return "outcome not known";
}

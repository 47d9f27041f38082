/*-------------------------------------------------------------------------
 *
 * slru.h
 *	  Where PostgreSQL keeps which entry in its SLRUs.
 *
 * The server keeps this arithmetic private to clog.c, commit_ts.c and
 * multixact.c (all in src/backend/access/transam), so it is repeated here,
 * once, for everyone who must find the page of a transaction, a multixact or
 * a member.  Pages are counted from zero through all segments of an SLRU,
 * as in WalredoTag.number.
 *
 * The formulas are the same in all supported servers; what differs is the
 * width of MultiXactOffset, which is taken from the server's header.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/record/slru.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_SLRU_H
#define WALREDO_SLRU_H

#include "postgres.h"

#include "access/multixact.h"
#include "access/slru.h"
#include "access/transam.h"
#include "datatype/timestamp.h"

/* clog.c: two bits a transaction */
#define WALREDO_CLOG_BITS_PER_XACT		2
#define WALREDO_CLOG_XACTS_PER_BYTE		4
#define WALREDO_CLOG_XACTS_PER_PAGE		(BLCKSZ * WALREDO_CLOG_XACTS_PER_BYTE)

/* commit_ts.c: a timestamp and a replication origin, without padding */
#define WALREDO_COMMIT_TS_ENTRY_SIZE	(sizeof(TimestampTz) + sizeof(uint16))
#define WALREDO_COMMIT_TS_XACTS_PER_PAGE \
	(BLCKSZ / WALREDO_COMMIT_TS_ENTRY_SIZE)

/* multixact.c: where the members of each multixact begin */
#define WALREDO_MXACT_OFFSETS_PER_PAGE	(BLCKSZ / sizeof(MultiXactOffset))

/*
 * multixact.c: members, in groups of four status bytes and the four
 * transaction IDs they belong to.  A page ends with a few unused bytes.
 */
#define WALREDO_MXACT_MEMBERS_PER_GROUP	4
#define WALREDO_MXACT_GROUP_SIZE \
	(WALREDO_MXACT_MEMBERS_PER_GROUP * (1 + sizeof(TransactionId)))
#define WALREDO_MXACT_GROUPS_PER_PAGE	(BLCKSZ / WALREDO_MXACT_GROUP_SIZE)
#define WALREDO_MXACT_MEMBERS_PER_PAGE \
	(WALREDO_MXACT_GROUPS_PER_PAGE * WALREDO_MXACT_MEMBERS_PER_GROUP)

static inline uint64
walredo_clog_page(TransactionId xid)
{
	return xid / WALREDO_CLOG_XACTS_PER_PAGE;
}

static inline uint64
walredo_commit_ts_page(TransactionId xid)
{
	return xid / WALREDO_COMMIT_TS_XACTS_PER_PAGE;
}

static inline uint64
walredo_mxact_offset_page(MultiXactId mid)
{
	return mid / WALREDO_MXACT_OFFSETS_PER_PAGE;
}

static inline uint64
walredo_mxact_member_page(MultiXactOffset moff)
{
	return moff / WALREDO_MXACT_MEMBERS_PER_PAGE;
}

#endif							/* WALREDO_SLRU_H */

/*-------------------------------------------------------------------------
 *
 * slru_compare.c
 *	  Comparing a page of an SLRU with the page rebuilt from WAL.
 *
 * A page of an SLRU has no LSN, and its file lags behind the server's buffers.
 * But it is known that the file has all changes up to the redo point of the
 * last complete checkpoint, and none after the end of WAL as it was after the
 * file had been read.  So an entry that no record between the two has set must
 * be as WAL makes it, and one that such a record has set can also be as it was
 * before.
 *
 * There are more differences that do not mean that a page is damaged, because
 * the server does not log, or does not write, everything.
 *
 * A checkpoint does not wait until the end of an aborted transaction has got
 * into pg_xact, nor is the record of it flushed before the page is written.  If
 * the server crashes then, the transaction remains in progress in pg_xact, or
 * it remains aborted although WAL has no such record.  Both are the same to the
 * server, unless the transaction is running.  (Commits are different: see
 * RecordTransactionCommit() in src/backend/access/transam/xact.c.)
 *
 * The server writes pages of multixacts and of commit timestamps before it
 * flushes the records that have changed them.  If it crashes then, entries
 * remain that WAL does not have.  Multixacts after the last one of which there
 * is a record are removed at the next start, by TrimMultiXact().  But one is
 * not whose record came after that of a later multixact.  Commit timestamps are
 * never removed.
 *
 * TrimMultiXact() does not log what it does.  It also sets the offset of the
 * next multixact.  Older minor releases do not set that offset when they create
 * a multixact, but redo of current ones does, and so do we.
 *
 * A checkpoint does not wait until a multixact whose record is before its redo
 * point has got into the buffers.
 *
 * If a session has a replication origin, but has not said when the transaction
 * was committed there, the commit record does not have the timestamp that the
 * server uses for it.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/page/slru_compare.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/clog.h"
#include "access/transam.h"
#include "compat.h"
#include "miscadmin.h"
#include "page/slru_compare.h"
#include "record/slru.h"
#include "replication/origin.h"
#include "storage/procarray.h"
#include "utils/timestamp.h"

typedef enum EntryResult
{
	ENTRY_OK,
	ENTRY_DIFFERENT,			/* WAL cannot have made it */
	ENTRY_LOST,					/* maybe a crash has lost its record */
	ENTRY_IN_FLIGHT				/* maybe a checkpoint has not waited for it */
} EntryResult;

#define NUM_ENTRY_RESULTS	(ENTRY_IN_FLIGHT + 1)

/* An SLRU. */
typedef struct SlruKind
{
	int			num_entries;	/* on a page */
	Size		used_size;		/* bytes of a page that hold entries */

	/* Compares one entry. */
	EntryResult (*compare) (const WalredoSlruPages *pages, int entry);

	/* Says what the entry is according to the server and to WAL. */
	char	   *(*describe) (const WalredoSlruPages *pages, int entry);

	/*
	 * The most entries that a session sets at once, as a rule, and what the
	 * two undecided results mean.
	 */
	int			entries_at_once;
	const char *lost_reason;
	const char *in_flight_reason;
} SlruKind;

/* ----------------------------------------
 * pg_xact
 * ----------------------------------------
 */

static const char *const clog_status_names[] = {
	[TRANSACTION_STATUS_IN_PROGRESS] = "in progress",
	[TRANSACTION_STATUS_COMMITTED] = "committed",
	[TRANSACTION_STATUS_ABORTED] = "aborted",
	[TRANSACTION_STATUS_SUB_COMMITTED] = "sub-committed"
};

static inline int
clog_status(const char *page, int entry)
{
	return ((uint8) page[entry / WALREDO_CLOG_XACTS_PER_BYTE] >>
			entry % WALREDO_CLOG_XACTS_PER_BYTE * WALREDO_CLOG_BITS_PER_XACT) &
		((1 << WALREDO_CLOG_BITS_PER_XACT) - 1);
}

static inline TransactionId
clog_xid(const WalredoSlruPages *pages, int entry)
{
	return pages->tag.number * WALREDO_CLOG_XACTS_PER_PAGE + entry;
}

static EntryResult
compare_clog(const WalredoSlruPages *pages, int entry)
{
	TransactionId xid = clog_xid(pages, entry);
	int			server = clog_status(pages->server, entry);
	int			wal = clog_status(pages->wal, entry);
	bool		is_recent = pages->recent != NULL &&
		clog_status(pages->recent, entry) != TRANSACTION_STATUS_SUB_COMMITTED;

	if (server == wal)
		return ENTRY_OK;
	switch (wal)
	{
		case TRANSACTION_STATUS_ABORTED:
			if (server == TRANSACTION_STATUS_IN_PROGRESS)
				return ENTRY_OK;
			break;
		case TRANSACTION_STATUS_COMMITTED:

			/*
			 * It can also be sub-committed, or aborted: a transaction that a
			 * crash has made the server forget had the same ID.
			 */
			if (is_recent)
				return ENTRY_OK;
			break;
		case TRANSACTION_STATUS_IN_PROGRESS:

			/* An ID that has not been assigned yet counts as in progress. */
			if (server == TRANSACTION_STATUS_ABORTED &&
				(!TransactionIdPrecedes(xid, pages->next_xid) ||
				 !TransactionIdIsInProgress(xid)))
				return ENTRY_OK;
			break;
	}
	return ENTRY_DIFFERENT;
}

static char *
describe_clog(const WalredoSlruPages *pages, int entry)
{
	return psprintf("transaction %u is %s, but according to WAL it is %s",
					clog_xid(pages, entry),
					clog_status_names[clog_status(pages->server, entry)],
					clog_status_names[clog_status(pages->wal, entry)]);
}

/* ----------------------------------------
 * pg_multixact/offsets
 * ----------------------------------------
 */

static inline uint64
offset_at(const char *page, int entry)
{
	MultiXactOffset offset;

	memcpy(&offset, page + entry * sizeof(offset), sizeof(offset));
	return offset;
}

static inline bool
is_offset_set(const char *page, int entry)
{
	return page != NULL && offset_at(page, entry) != (MultiXactOffset) ~0;
}

static inline MultiXactId
offset_mid(const WalredoSlruPages *pages, int entry)
{
	return pages->tag.number * WALREDO_MXACT_OFFSETS_PER_PAGE + entry;
}

static EntryResult
compare_offset(const WalredoSlruPages *pages, int entry)
{
	MultiXactId mid = offset_mid(pages, entry);
	uint64		server = offset_at(pages->server, entry);
	uint64		wal = offset_at(pages->wal, entry);

	if (server == wal)
		return ENTRY_OK;

	/* Nobody uses what is set for a multixact that does not exist yet. */
	if (!MultiXactIdPrecedes(mid, pages->next_multixact))
		return ENTRY_OK;
	if (server == 0)
	{
		if (is_offset_set(pages->recent, entry) ||
			walredo_multixact_is_gap(pages->gaps, mid))
			return ENTRY_OK;
		if (is_offset_set(pages->nearby, entry))
			return ENTRY_IN_FLIGHT;
	}
	else if (wal == 0 && walredo_multixact_has_gaps(pages->gaps))
		return ENTRY_LOST;
	return ENTRY_DIFFERENT;
}

static char *
describe_offset(const WalredoSlruPages *pages, int entry)
{
	return psprintf("multixact %u begins at member " UINT64_FORMAT ", but according to WAL it begins at member " UINT64_FORMAT,
					offset_mid(pages, entry),
					offset_at(pages->server, entry),
					offset_at(pages->wal, entry));
}

/* ----------------------------------------
 * pg_multixact/members
 * ----------------------------------------
 */

typedef struct Member
{
	TransactionId xid;
	uint8		status;
} Member;

static inline Member
member_at(const char *page, int entry)
{
	const char *group = page + entry / WALREDO_MXACT_MEMBERS_PER_GROUP *
		WALREDO_MXACT_GROUP_SIZE;
	int			in_group = entry % WALREDO_MXACT_MEMBERS_PER_GROUP;
	Member		member;
	uint32		flags;

	memcpy(&flags, group, sizeof(flags));
	member.status = (uint8) (flags >> (in_group * BITS_PER_BYTE));
	memcpy(&member.xid,
		   group + sizeof(flags) + in_group * sizeof(TransactionId),
		   sizeof(TransactionId));
	return member;
}

static inline bool
is_member_set(const char *page, int entry)
{
	return page != NULL && member_at(page, entry).status != PG_UINT8_MAX;
}

static EntryResult
compare_member(const WalredoSlruPages *pages, int entry)
{
	Member		server = member_at(pages->server, entry);
	Member		wal = member_at(pages->wal, entry);

	if (server.xid == wal.xid && server.status == wal.status)
		return ENTRY_OK;

	/*
	 * Only on the page of the next member can be told which members do not
	 * exist yet, as their numbers wrap around.
	 */
	if (walredo_mxact_member_page(pages->next_member) == pages->tag.number &&
		entry >= pages->next_member % WALREDO_MXACT_MEMBERS_PER_PAGE)
		return ENTRY_OK;

	/*
	 * The transaction and the status are not set at once, and the page may be
	 * written in between.
	 */
	if (is_member_set(pages->recent, entry) &&
		(server.xid == InvalidTransactionId || server.xid == wal.xid))
		return ENTRY_OK;
	if (server.xid == InvalidTransactionId &&
		is_member_set(pages->nearby, entry))
		return ENTRY_IN_FLIGHT;
	if (wal.xid == InvalidTransactionId &&
		walredo_multixact_has_gaps(pages->gaps))
		return ENTRY_LOST;
	return ENTRY_DIFFERENT;
}

static char *
describe_member(const WalredoSlruPages *pages, int entry)
{
	Member		server = member_at(pages->server, entry);
	Member		wal = member_at(pages->wal, entry);

	return psprintf("member " UINT64_FORMAT " is transaction %u with status %u, but according to WAL it is transaction %u with status %u",
					pages->tag.number * WALREDO_MXACT_MEMBERS_PER_PAGE + entry,
					server.xid, server.status, wal.xid, wal.status);
}

/* ----------------------------------------
 * pg_commit_ts
 * ----------------------------------------
 */

typedef struct CommitTs
{
	TimestampTz time;
	uint16		origin;
} CommitTs;

static inline CommitTs
commit_ts_at(const char *page, int entry)
{
	const char *bytes = page + entry * WALREDO_COMMIT_TS_ENTRY_SIZE;
	CommitTs	result;

	memcpy(&result.time, bytes, sizeof(result.time));
	memcpy(&result.origin, bytes + sizeof(result.time), sizeof(result.origin));
	return result;
}

static inline bool
is_commit_ts_set(const char *page, int entry)
{
	CommitTs	commit_ts;

	if (page == NULL)
		return false;
	commit_ts = commit_ts_at(page, entry);
	return commit_ts.time != -1 || commit_ts.origin != PG_UINT16_MAX;
}

static inline TransactionId
commit_ts_xid(const WalredoSlruPages *pages, int entry)
{
	return pages->tag.number * WALREDO_COMMIT_TS_XACTS_PER_PAGE + entry;
}

static EntryResult
compare_commit_ts(const WalredoSlruPages *pages, int entry)
{
	CommitTs	server = commit_ts_at(pages->server, entry);
	CommitTs	wal = commit_ts_at(pages->wal, entry);
	bool		is_plausible = server.time >= pages->earliest &&
		server.time <= pages->latest;

	if (server.time == wal.time && server.origin == wal.origin)
		return ENTRY_OK;

	/*
	 * If there is no timestamp of the origin, the record has 0, and if
	 * changes are not to be replicated, it has whatever time the session has
	 * used last.
	 */
	if (server.origin == wal.origin && is_plausible &&
		(wal.origin == DoNotReplicateId ||
		 (wal.origin != InvalidReplOriginId && wal.time == 0)))
		return ENTRY_OK;

	/*
	 * What was there before can be what a crash has left of a transaction
	 * that had the same ID.
	 */
	if (is_commit_ts_set(pages->recent, entry) &&
		((server.time == 0 && server.origin == 0) || is_plausible))
		return ENTRY_OK;
	if (wal.time == 0 && wal.origin == 0 && is_plausible)
		return ENTRY_LOST;
	return ENTRY_DIFFERENT;
}

static char *
commit_ts_string(CommitTs commit_ts)
{
	if (commit_ts.time == 0 && commit_ts.origin == 0)
		return pstrdup("no commit timestamp");
	if (commit_ts.origin == InvalidReplOriginId)
		return psprintf("commit timestamp %s",
						timestamptz_to_str(commit_ts.time));
	return psprintf("commit timestamp %s and replication origin %u",
					timestamptz_to_str(commit_ts.time), commit_ts.origin);
}

static char *
describe_commit_ts(const WalredoSlruPages *pages, int entry)
{
	return psprintf("transaction %u has %s, but according to WAL it has %s",
					commit_ts_xid(pages, entry),
					commit_ts_string(commit_ts_at(pages->server, entry)),
					commit_ts_string(commit_ts_at(pages->wal, entry)));
}

/* ----------------------------------------
 * Pages
 * ----------------------------------------
 */

#define LOST_MULTIXACT \
	"The record that created it may have been lost in a crash of the server."
#define MULTIXACT_IN_FLIGHT \
	"The record is shortly before the last checkpoint, which does not wait for it: verify again after the next one."

/* In the order of WalredoTagKind, from WALREDO_TAG_CLOG on. */
static const SlruKind slru_kinds[] = {
	{
		WALREDO_CLOG_XACTS_PER_PAGE, BLCKSZ,
		compare_clog, describe_clog, 0, NULL, NULL
	},
	{
		WALREDO_MXACT_OFFSETS_PER_PAGE, BLCKSZ,
		compare_offset, describe_offset, 1, LOST_MULTIXACT, MULTIXACT_IN_FLIGHT
	},
	{
		WALREDO_MXACT_MEMBERS_PER_PAGE,
		WALREDO_MXACT_GROUPS_PER_PAGE * WALREDO_MXACT_GROUP_SIZE,
		compare_member, describe_member, 8, LOST_MULTIXACT, MULTIXACT_IN_FLIGHT
	},
	{
		WALREDO_COMMIT_TS_XACTS_PER_PAGE,
		WALREDO_COMMIT_TS_XACTS_PER_PAGE * WALREDO_COMMIT_TS_ENTRY_SIZE,
		compare_commit_ts, describe_commit_ts, 0,
		"The record of its commit may have been lost in a crash of the server.",
		NULL
	}
};

/* A sentence about count entries, the first of which is given. */
static char *
describe_entries(const SlruKind *kind, const WalredoSlruPages *pages,
				 int count, int first)
{
	char	   *entry = kind->describe(pages, first);

	if (count == 1)
		return psprintf("1 of %d entries differs: %s.", kind->num_entries,
						entry);
	return psprintf("%d of %d entries differ. The first of them: %s.", count,
					kind->num_entries, entry);
}

WalredoVerifyStatus
walredo_slru_compare(const WalredoSlruPages *pages, const char **detail)
{
	const SlruKind *kind = &slru_kinds[pages->tag.kind - WALREDO_TAG_CLOG];
	int			count[NUM_ENTRY_RESULTS] = {0};
	int			first[NUM_ENTRY_RESULTS] = {0};
	EntryResult result;

	*detail = NULL;
	if (memcmp(pages->server, pages->wal, BLCKSZ) == 0)
		return WALREDO_VERIFY_OK;

	for (int entry = 0; entry < kind->num_entries; entry++)
	{
		result = kind->compare(pages, entry);
		if (count[result]++ == 0)
			first[result] = entry;
	}

	/* Every session creates one multixact at a time. */
	if (count[ENTRY_DIFFERENT] == 0 &&
		count[ENTRY_IN_FLIGHT] > MaxBackends * kind->entries_at_once)
	{
		count[ENTRY_DIFFERENT] = count[ENTRY_IN_FLIGHT];
		first[ENTRY_DIFFERENT] = first[ENTRY_IN_FLIGHT];
	}

	if (count[ENTRY_DIFFERENT] > 0)
	{
		*detail = describe_entries(kind, pages, count[ENTRY_DIFFERENT],
								   first[ENTRY_DIFFERENT]);
		return WALREDO_VERIFY_MISMATCH;
	}
	if (memcmp(pages->server + kind->used_size, pages->wal + kind->used_size,
			   BLCKSZ - kind->used_size) != 0)
	{
		*detail = "The unused bytes at the end of the page differ.";
		return WALREDO_VERIFY_MISMATCH;
	}
	result = count[ENTRY_LOST] > 0 ? ENTRY_LOST : ENTRY_IN_FLIGHT;
	if (count[result] > 0)
	{
		*detail = psprintf("%s %s",
						   describe_entries(kind, pages, count[result],
											first[result]),
						   result == ENTRY_LOST ? kind->lost_reason :
						   kind->in_flight_reason);
		return WALREDO_VERIFY_UNVERIFIABLE;
	}
	return WALREDO_VERIFY_OK;
}

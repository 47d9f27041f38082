/*-------------------------------------------------------------------------
 *
 * snapshot.c
 *	  Which transactions had committed at an LSN, and which tuples a snapshot
 *	  taken there would see.
 *
 * The ends of transactions that WAL has are kept as two bits each, as pg_xact
 * has them, but with another meaning.  Transaction IDs in a range of WAL are
 * dense, so that this takes little memory.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/rows/snapshot.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam_xlog.h"
#include "access/multixact.h"
#include "access/rmgr.h"
#include "access/transam.h"
#include "access/xlogdefs.h"
#include "catalog/pg_control.h"
#include "compat.h"
#include "miscadmin.h"
#include "page/attempt.h"
#include "record/xlogrecord.h"
#include "rows/snapshot.h"
#include "storage/lwlock.h"
#include "storage/standbydefs.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "wal/xact_end.h"

/* What WAL says of a transaction. */
typedef enum XidEnd
{
	XID_NOT_ENDED,
	XID_COMMITTED,				/* at the LSN, or before */
	XID_COMMITTED_LATER,
	XID_ABORTED
} XidEnd;

/* The ends of some transactions, two bits each. */
#define XIDS_PER_PART		8192

typedef struct XidPart
{
	uint32		number;			/* hash key: transaction ID / XIDS_PER_PART */
	uint8		ends[XIDS_PER_PART / 4];
} XidPart;

/* The transaction that has updated a row, of several that have locked it. */
typedef struct MultiUpdater
{
	MultiXactId multi;			/* hash key */
	TransactionId updater;
} MultiUpdater;

struct WalredoSnapshot
{
	XLogRecPtr	lsn;
	bool		of_server;
	MemoryContext context;		/* of the hash tables */
	HTAB	   *parts;			/* of XidParts */
	HTAB	   *multis;			/* of MultiUpdaters */

	/* The server's transactions when this was created, if of_server. */
	SnapshotData server;

	/*
	 * The next transaction ID, or one that is higher, when the records began,
	 * and at the LSN.  Invalid as long as no record has told.
	 */
	TransactionId first_next_xid;
	TransactionId next_xid;

	/*
	 * The end LSN of the first commit record after the LSN of a transaction
	 * that had begun then: before the records begin, and before the LSN.
	 */
	XLogRecPtr	first_old_commit;
	XLogRecPtr	first_running_commit;
};

static HTAB *
make_hash(MemoryContext context, const char *name, Size entrysize)
{
	HASHCTL		ctl = {0};

	ctl.keysize = sizeof(uint32);
	ctl.entrysize = entrysize;
	ctl.hcxt = context;
	return hash_create(name, 64, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* Keeps the server's transactions as they are now, until memory is freed. */
static void
copy_server_snapshot(SnapshotData *copy)
{
	Snapshot	latest = GetLatestSnapshot();

	*copy = *latest;
	copy->xip = palloc(Max(latest->xcnt, 1) * sizeof(TransactionId));
	copy->subxip = palloc(Max(latest->subxcnt, 1) * sizeof(TransactionId));
	if (latest->xcnt > 0)
		memcpy(copy->xip, latest->xip, latest->xcnt * sizeof(TransactionId));
	if (latest->subxcnt > 0)
		memcpy(copy->subxip, latest->subxip,
			   latest->subxcnt * sizeof(TransactionId));
}

WalredoSnapshot *
walredo_snapshot_create(XLogRecPtr lsn, bool of_server)
{
	WalredoSnapshot *snapshot = palloc0(sizeof(WalredoSnapshot));

	snapshot->lsn = lsn;
	snapshot->of_server = of_server;
	snapshot->context = AllocSetContextCreate(CurrentMemoryContext,
											  "walredo snapshot",
											  ALLOCSET_DEFAULT_SIZES);
	snapshot->parts = make_hash(snapshot->context,
								"walredo ends of transactions",
								sizeof(XidPart));
	snapshot->multis = make_hash(snapshot->context, "walredo multixacts",
								 sizeof(MultiUpdater));
	if (of_server)
		copy_server_snapshot(&snapshot->server);
	return snapshot;
}

/* ----------------------------------------
 * What WAL says
 * ----------------------------------------
 */

static XidEnd
get_end(WalredoSnapshot *snapshot, TransactionId xid)
{
	uint32		number = xid / XIDS_PER_PART;
	XidPart    *part = hash_search(snapshot->parts, &number, HASH_FIND, NULL);
	uint32		i = xid % XIDS_PER_PART;

	if (part == NULL)
		return XID_NOT_ENDED;
	return (part->ends[i / 4] >> (i % 4 * 2)) & 3;
}

/*
 * Called when a hash table has got another entry.  The IDs that a server has
 * given are dense, but those of a damaged record can be anywhere.
 */
static void
check_memory(WalredoSnapshot *snapshot, XLogRecPtr end_lsn)
{
	if (MemoryContextMemAllocated(snapshot->context, true) / 1024 >
		maintenance_work_mem)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the ends of transactions up to %X/%X take more memory than maintenance_work_mem",
						LSN_FORMAT_ARGS(end_lsn)),
				 errhint("Increase maintenance_work_mem.")));
}

static void
set_end(WalredoSnapshot *snapshot, TransactionId xid, XidEnd end,
		XLogRecPtr end_lsn)
{
	uint32		number = xid / XIDS_PER_PART;
	uint32		i = xid % XIDS_PER_PART;
	XidPart    *part;
	bool		found;

	part = hash_search(snapshot->parts, &number, HASH_ENTER, &found);
	if (!found)
	{
		memset(part->ends, 0, sizeof(part->ends));
		check_memory(snapshot, end_lsn);
	}
	part->ends[i / 4] &= ~(3 << (i % 4 * 2));
	part->ends[i / 4] |= end << (i % 4 * 2);
}

/* The main data of a record of which the headers are sound, else NULL. */
static const char *
get_main_data(const XLogRecord *record, Size *size)
{
	WalredoRecordHeaders headers;

	walredo_xlogrecord_headers(record, &headers);
	if (headers.error != NULL)
		return NULL;
	*size = headers.main_size;
	return (const char *) record + record->xl_tot_len - headers.main_size;
}

/* Takes note of the ID that the next transaction was to have. */
static void
note_next_xid(WalredoSnapshot *snapshot, TransactionId next_xid,
			  XLogRecPtr end_lsn)
{
	if (!TransactionIdIsNormal(next_xid))
		return;
	if (!TransactionIdIsValid(snapshot->first_next_xid))
		snapshot->first_next_xid = next_xid;
	if (end_lsn <= snapshot->lsn &&
		(!TransactionIdIsValid(snapshot->next_xid) ||
		 TransactionIdFollows(next_xid, snapshot->next_xid)))
		snapshot->next_xid = next_xid;
}

/* The same for one that there is. */
static void
note_xid(WalredoSnapshot *snapshot, TransactionId xid, XLogRecPtr end_lsn)
{
	if (end_lsn > snapshot->lsn || !TransactionIdIsNormal(xid))
		return;
	TransactionIdAdvance(xid);
	if (!TransactionIdIsValid(snapshot->next_xid) ||
		TransactionIdFollows(xid, snapshot->next_xid))
		snapshot->next_xid = xid;
}

/* Takes note that a transaction has committed after the LSN. */
static void
note_later_commit(WalredoSnapshot *snapshot, TransactionId xid,
				  XLogRecPtr end_lsn)
{
	if (snapshot->first_old_commit == InvalidXLogRecPtr &&
		(!TransactionIdIsValid(snapshot->first_next_xid) ||
		 TransactionIdPrecedes(xid, snapshot->first_next_xid)))
		snapshot->first_old_commit = end_lsn;
	if (snapshot->first_running_commit == InvalidXLogRecPtr &&
		(!TransactionIdIsValid(snapshot->next_xid) ||
		 TransactionIdPrecedes(xid, snapshot->next_xid)))
		snapshot->first_running_commit = end_lsn;
}

static void
note_end(WalredoSnapshot *snapshot, TransactionId xid, bool is_commit,
		 XLogRecPtr end_lsn)
{
	if (!is_commit)
		set_end(snapshot, xid, XID_ABORTED, end_lsn);
	else if (end_lsn <= snapshot->lsn)
		set_end(snapshot, xid, XID_COMMITTED, end_lsn);
	else
	{
		set_end(snapshot, xid, XID_COMMITTED_LATER, end_lsn);
		note_later_commit(snapshot, xid, end_lsn);
	}
}

static void
add_xact_end(WalredoSnapshot *snapshot, const XLogRecord *record,
			 XLogRecPtr end_lsn)
{
	XactEnd		end;

	if (!walredo_record_xact_end(record, end_lsn, &end))
		return;
	for (int i = 0; i <= end.nsubxacts; i++)
	{
		TransactionId xid = walredo_xact_end_xid(&end, record, i);

		CHECK_FOR_INTERRUPTS();
		note_xid(snapshot, xid, end_lsn);
		note_end(snapshot, xid, end.is_commit, end_lsn);
	}
}

/* As multixact_redo() in multixact.c. */
static void
add_multixact(WalredoSnapshot *snapshot, const XLogRecord *record,
			  XLogRecPtr end_lsn)
{
	Size		size;
	const char *data;
	xl_multixact_create xlrec;

	if ((record->xl_info & ~XLR_INFO_MASK) != XLOG_MULTIXACT_CREATE_ID)
		return;
	data = get_main_data(record, &size);
	if (data == NULL || size < SizeOfMultiXactCreate)
		return;
	memcpy(&xlrec, data, SizeOfMultiXactCreate);
	if (xlrec.nmembers < 0 ||
		(Size) xlrec.nmembers >
		(size - SizeOfMultiXactCreate) / sizeof(MultiXactMember))
		return;
	for (int i = 0; i < xlrec.nmembers; i++)
	{
		MultiXactMember member;
		MultiUpdater *multi;

		memcpy(&member, data + SizeOfMultiXactCreate + i * sizeof(member),
			   sizeof(member));
		if (!ISUPDATE_from_mxstatus(member.status))
			continue;
		multi = hash_search(snapshot->multis, &xlrec.mid, HASH_ENTER, NULL);
		multi->updater = member.xid;
		check_memory(snapshot, end_lsn);
		break;
	}
}

/* Takes the next transaction ID from a record that has it. */
static void
add_next_xid(WalredoSnapshot *snapshot, const XLogRecord *record,
			 XLogRecPtr end_lsn)
{
	uint8		info = record->xl_info & ~XLR_INFO_MASK;
	Size		size;
	const char *data;

	if (record->xl_rmid == RM_STANDBY_ID && info == XLOG_RUNNING_XACTS)
	{
		xl_running_xacts xlrec;

		data = get_main_data(record, &size);
		if (data == NULL || size < offsetof(xl_running_xacts, xids))
			return;
		memcpy(&xlrec, data, offsetof(xl_running_xacts, xids));
		note_next_xid(snapshot, xlrec.nextXid, end_lsn);
	}
	else if (record->xl_rmid == RM_XLOG_ID &&
			 (info == XLOG_CHECKPOINT_ONLINE ||
			  info == XLOG_CHECKPOINT_SHUTDOWN))
	{
		CheckPoint	checkpoint;

		data = get_main_data(record, &size);
		if (data == NULL || size < sizeof(CheckPoint))
			return;
		memcpy(&checkpoint, data, sizeof(CheckPoint));
		note_next_xid(snapshot,
					  XidFromFullTransactionId(checkpoint.nextXid), end_lsn);
	}
}

void
walredo_snapshot_add(WalredoSnapshot *snapshot, const XLogRecord *record,
					 XLogRecPtr end_lsn)
{
	note_xid(snapshot, record->xl_xid, end_lsn);
	switch (record->xl_rmid)
	{
		case RM_XACT_ID:
			add_xact_end(snapshot, record, end_lsn);
			break;
		case RM_MULTIXACT_ID:
			add_multixact(snapshot, record, end_lsn);
			break;
		case RM_STANDBY_ID:
		case RM_XLOG_ID:
			add_next_xid(snapshot, record, end_lsn);
			break;
		default:
			break;
	}
}

bool
walredo_snapshot_may_have_deleted(WalredoSnapshot *snapshot, bool while_read,
								  XLogRecPtr lsn)
{
	XLogRecPtr	first = while_read ? snapshot->first_running_commit :
		snapshot->first_old_commit;

	return first != InvalidXLogRecPtr && first < lsn;
}

/* ----------------------------------------
 * What the server says
 * ----------------------------------------
 */

/* Whether the server knows that a transaction has committed. */
static WalredoAnswer
ask_server(WalredoSnapshot *snapshot, TransactionId xid)
{
	WalredoAnswer answer;

	/* Its end, if it has ended, is after the end of the WAL that was read. */
	if (XidInMVCCSnapshot(xid, &snapshot->server))
		return WALREDO_NO;

	/* As TransactionIdInRecentPast() in xid8funcs.c. */
	LWLockAcquire(XactTruncationLock, LW_SHARED);
	if (TransactionIdPrecedes(xid, WalredoTransamVariables->oldestClogXid))
		answer = WALREDO_UNKNOWN;
	else
		answer = TransactionIdDidCommit(xid) ? WALREDO_YES : WALREDO_NO;
	LWLockRelease(XactTruncationLock);
	return answer;
}

WalredoAnswer
walredo_snapshot_committed(WalredoSnapshot *snapshot, TransactionId xid)
{
	if (!TransactionIdIsNormal(xid))
		return TransactionIdIsValid(xid) ? WALREDO_YES : WALREDO_NO;
	switch (get_end(snapshot, xid))
	{
		case XID_COMMITTED:
			return WALREDO_YES;
		case XID_COMMITTED_LATER:
		case XID_ABORTED:
			return WALREDO_NO;
		case XID_NOT_ENDED:
			break;
	}
	return snapshot->of_server ? ask_server(snapshot, xid) : WALREDO_UNKNOWN;
}

/* The argument of ask_members(). */
typedef struct MembersAttempt
{
	MultiXactId multi;
	TransactionId updater;
} MembersAttempt;

static void
ask_members(void *arg)
{
	MembersAttempt *work = arg;
	MultiXactMember *members;
	int			nmembers = GetMultiXactIdMembers(work->multi, &members, false,
												 false);

	for (int i = 0; i < nmembers; i++)
	{
		if (ISUPDATE_from_mxstatus(members[i].status))
			work->updater = members[i].xid;
	}
	if (nmembers > 0)
		pfree(members);
}

/*
 * The transaction that has updated or deleted a row that a multixact has
 * locked, or 0.  Returns false if that is not known.
 */
static bool
get_updater(WalredoSnapshot *snapshot, MultiXactId multi,
			TransactionId *updater)
{
	MultiUpdater *known = hash_search(snapshot->multis, &multi, HASH_FIND,
									  NULL);
	MembersAttempt work = {multi, InvalidTransactionId};
	MultiXactId oldest;
	MultiXactId next;

	*updater = InvalidTransactionId;
	if (known != NULL)
	{
		*updater = known->updater;
		return true;
	}
	if (!snapshot->of_server)
		return false;
	ReadMultiXactIdRange(&oldest, &next);
	if (!MultiXactIdIsValid(multi) || MultiXactIdPrecedes(multi, oldest) ||
		!MultiXactIdPrecedes(multi, next) ||
		walredo_attempt(ask_members, &work) != NULL)
		return false;
	*updater = work.updater;
	return true;
}

/* ----------------------------------------
 * Tuples
 * ----------------------------------------
 */

/* Had the transaction that has inserted a tuple committed? */
static WalredoAnswer
is_inserted(WalredoSnapshot *snapshot, HeapTupleHeader tuple,
			bool page_is_later)
{
	TransactionId xmin = HeapTupleHeaderGetRawXmin(tuple);
	WalredoAnswer answer;

	/* VACUUM FULL moved rows about before PostgreSQL 9.0. */
	if ((tuple->t_infomask & HEAP_MOVED) != 0)
		return WALREDO_UNKNOWN;

	/*
	 * A frozen tuple keeps its xmin.  If it was frozen after the LSN, its
	 * transaction can have committed after the LSN, too.
	 */
	if (HeapTupleHeaderXminFrozen(tuple))
		return page_is_later && TransactionIdIsNormal(xmin) &&
			get_end(snapshot, xmin) == XID_COMMITTED_LATER ?
			WALREDO_NO : WALREDO_YES;

	answer = walredo_snapshot_committed(snapshot, xmin);

	/*
	 * What pg_xact has no longer, a hint bit may tell: whoever has set it
	 * knew it, and that it has happened after the LSN would be in WAL.
	 */
	if (answer == WALREDO_UNKNOWN)
	{
		if (HeapTupleHeaderXminCommitted(tuple))
			answer = WALREDO_YES;
		else if (HeapTupleHeaderXminInvalid(tuple))
			answer = WALREDO_NO;
	}
	return answer;
}

/* Had a transaction that has deleted or updated a tuple committed? */
static WalredoAnswer
is_deleted(WalredoSnapshot *snapshot, HeapTupleHeader tuple)
{
	uint16		infomask = tuple->t_infomask;
	TransactionId xmax = HeapTupleHeaderGetRawXmax(tuple);
	WalredoAnswer answer;

	if ((infomask & HEAP_XMAX_INVALID) != 0 ||
		HEAP_XMAX_IS_LOCKED_ONLY(infomask) || HEAP_LOCKED_UPGRADED(infomask))
		return WALREDO_NO;
	if ((infomask & HEAP_XMAX_IS_MULTI) != 0)
	{
		if (!get_updater(snapshot, xmax, &xmax))
			return WALREDO_UNKNOWN;
		return walredo_snapshot_committed(snapshot, xmax);
	}
	answer = walredo_snapshot_committed(snapshot, xmax);
	if (answer == WALREDO_UNKNOWN && (infomask & HEAP_XMAX_COMMITTED) != 0)
		answer = WALREDO_YES;
	return answer;
}

WalredoAnswer
walredo_snapshot_sees(WalredoSnapshot *snapshot, HeapTupleHeader tuple,
					  bool page_is_later)
{
	WalredoAnswer inserted = is_inserted(snapshot, tuple, page_is_later);
	WalredoAnswer deleted;

	if (inserted == WALREDO_NO)
		return WALREDO_NO;
	deleted = is_deleted(snapshot, tuple);
	if (deleted == WALREDO_YES)
		return WALREDO_NO;
	if (inserted == WALREDO_UNKNOWN || deleted == WALREDO_UNKNOWN)
		return WALREDO_UNKNOWN;
	return WALREDO_YES;
}

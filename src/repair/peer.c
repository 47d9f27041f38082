/*-------------------------------------------------------------------------
 *
 * peer.c
 *	  Pages of another server of the same system, such as a standby.
 *
 * The connection is made by the server's own client of replication, the module
 * libpqwalreceiver.  It waits for the other server in a way that can be
 * interrupted, and is only loaded by who needs it.  The other server sees a
 * replication connection to a database, which can also execute queries; so the
 * role needs the REPLICATION attribute there.
 *
 * What comes from there is not trusted.  A page has to pass the checks of a
 * page that is read from disk, and is used only as a base image, with which
 * nothing but a child works before it is put into a buffer.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/repair/peer.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "access/xlogrecovery.h"
#include "catalog/pg_type_d.h"
#include "compat.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "repair/peer.h"
#include "replication/walreceiver.h"
#include "storage/bufpage.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/tuplestore.h"

/* A page may be read while the server writes it, and is read again then. */
#define MAX_READS			3

struct WalredoPeer
{
	WalReceiverConn *connection;
	MemoryContextCallback callback;
	XLogRecPtr	redo_lsn;
};

static void
disconnect(void *arg)
{
	WalredoPeer *peer = arg;

	walrcv_disconnect(peer->connection);
}

/*
 * Executes a query whose result is one value of the given type, and returns
 * that, copied to the current memory context if it is a bytea; *isnull is set
 * if there is no row, or if it is null.
 */
static Datum
query_value(WalredoPeer *peer, const char *query, Oid type, bool *isnull)
{
	WalRcvExecResult *result = walrcv_exec(peer->connection, query, 1, &type);
	TupleTableSlot *slot;
	Datum		value = (Datum) 0;

	if (result->status != WALRCV_OK_TUPLES)
		ereport(ERROR,
				(errcode(ERRCODE_CONNECTION_FAILURE),
				 errmsg("could not read from the other server: %s",
						result->err ? result->err : "unexpected result")));
	*isnull = true;
	slot = MakeSingleTupleTableSlot(result->tupledesc, &TTSOpsMinimalTuple);
	if (tuplestore_gettupleslot(result->tuplestore, true, false, slot))
		value = slot_getattr(slot, 1, isnull);
	if (!*isnull && type == BYTEAOID)
		value = PointerGetDatum(DatumGetByteaPCopy(value));
	ExecDropSingleTupleTableSlot(slot);
	walrcv_clear_result(result);
	return value;
}

WalredoPeer *
walredo_peer_connect(const char *conninfo)
{
	WalredoPeer *peer = palloc0(sizeof(WalredoPeer));
	char	   *error = NULL;
	bool		isnull;
	uint64		system;
	TimeLineID	timeline;
	TimeLineID	own_timeline;

	load_file("libpqwalreceiver", false);
	peer->connection = walredo_connect_database(conninfo, "walredo", &error);
	if (peer->connection == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION),
				 errmsg("could not connect to the other server: %s",
						error ? error : "")));
	peer->callback.func = disconnect;
	peer->callback.arg = peer;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &peer->callback);

	system = (uint64) DatumGetInt64(query_value(peer,
												"SELECT system_identifier FROM pg_catalog.pg_control_system()",
												INT8OID, &isnull));
	if (isnull || system != GetSystemIdentifier())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the other server is of another database system"),
				 errdetail("Its system identifier is " UINT64_FORMAT ", and that of this server is " UINT64_FORMAT ".",
						   system, GetSystemIdentifier()),
				 errhint("Specify a standby of this server, or its primary.")));
	timeline = (TimeLineID) DatumGetInt32(query_value(peer,
													  "SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()",
													  INT4OID, &isnull));
	if (RecoveryInProgress())
		(void) GetXLogReplayRecPtr(&own_timeline);
	else
		own_timeline = GetWALInsertionTimeLine();
	if (isnull || timeline != own_timeline)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the other server is on another timeline"),
				 errdetail("Its last checkpoint is on timeline %u, and this server is on timeline %u.",
						   timeline, own_timeline),
				 errhint("If it follows this server, CHECKPOINT there.")));
	peer->redo_lsn = DatumGetLSN(query_value(peer,
											 "SELECT redo_lsn FROM pg_catalog.pg_control_checkpoint()",
											 LSNOID, &isnull));
	return peer;
}

XLogRecPtr
walredo_peer_redo_lsn(const WalredoPeer *peer)
{
	return peer->redo_lsn;
}

bytea *
walredo_peer_page(WalredoPeer *peer, const WalredoTag *tag)
{
	char	   *path = walredo_relation_path(walredo_tag_locator(tag),
											 tag->forknum);
	BlockNumber blkno = (BlockNumber) tag->number;
	BlockNumber segment = blkno / ((BlockNumber) RELSEG_SIZE);
	char	   *query;

	if (segment > 0)
		path = psprintf("%s.%u", path, segment);

	/* The path is made of numbers and fixed words. */
	query = psprintf("SELECT pg_catalog.pg_read_binary_file('%s', %lld, %d, true)",
					 path, (long long) BLCKSZ * (blkno % RELSEG_SIZE), BLCKSZ);
	for (int i = 0; i < MAX_READS; i++)
	{
		bool		isnull;
		bytea	   *page = (bytea *) DatumGetPointer(query_value(peer, query,
																 BYTEAOID,
																 &isnull));

		CHECK_FOR_INTERRUPTS();
		if (isnull || VARSIZE(page) != VARHDRSZ + BLCKSZ)
			return NULL;
		if (!PageIsNew((Page) VARDATA(page)) &&
			walredo_page_is_verified(VARDATA(page), blkno))
			return page;
	}
	return NULL;
}

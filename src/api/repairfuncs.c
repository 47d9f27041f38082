/*-------------------------------------------------------------------------
 *
 * repairfuncs.c
 *	  SQL functions that repair pages.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/api/repairfuncs.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "api/api.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "common/relpath.h"
#include "compat.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "page/attempt.h"
#include "repair/kept.h"
#include "repair/repair.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

WALREDO_LONG_FUNCTION(walredo_repair, WALREDO_COMMAND_REPAIR)
PG_FUNCTION_INFO_V1(walredo_undo_repair);
PG_FUNCTION_INFO_V1(walredo_get_repairs);

const char *const walredo_repair_names[] = {
	[WALREDO_REPAIR_OK] = "ok",
	[WALREDO_REPAIR_REPAIRABLE] = "repairable",
	[WALREDO_REPAIR_REPAIRED] = "repaired",
	[WALREDO_REPAIR_REFUSED] = "refused",
	[WALREDO_REPAIR_UNVERIFIABLE] = "unverifiable"
};

/*
 * ERROR 42501 unless the caller may change a page of a relation without the
 * server's usual ways: a superuser, or the owner if it may read WAL.
 */
static void
check_may_repair(Oid relid)
{
	walredo_check_may_read_wal();
	if (!superuser() && !walredo_relation_ownercheck(relid, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to repair relation \"%s\"",
						get_rel_name(relid)),
				 errdetail("Only superusers and the owner of the relation may repair it.")));
}

/* Where results go. */
typedef struct RepairSink
{
	ReturnSetInfo *rsinfo;
	ForkNumber	forknum;
} RepairSink;

/* A WalredoReportRepair: makes a row. */
static void
put_result(const WalredoRepairResult *result, void *arg)
{
	RepairSink *sink = arg;
	Datum		values[7];
	bool		nulls[7] = {0};

	values[0] = CStringGetTextDatum(forkNames[sink->forknum]);
	nulls[1] = !BlockNumberIsValid(result->blkno);
	values[1] = Int64GetDatum((int64) result->blkno);
	values[2] = CStringGetTextDatum(walredo_repair_names[result->status]);
	nulls[3] = XLogRecPtrIsInvalid(result->page_lsn);
	values[3] = LSNGetDatum(result->page_lsn);
	nulls[4] = XLogRecPtrIsInvalid(result->rebuilt_lsn);
	values[4] = LSNGetDatum(result->rebuilt_lsn);
	nulls[5] = (result->source == NULL);
	if (result->source != NULL)
		values[5] = CStringGetTextDatum(result->source);
	nulls[6] = (result->detail == NULL);
	if (result->detail != NULL)
		values[6] = CStringGetTextDatum(result->detail);
	tuplestore_putvalues(sink->rsinfo->setResult, sink->rsinfo->setDesc,
						 values, nulls);
}

/*
 * walredo_repair(relname regclass, fork text, blkno int8, dry_run bool,
 *				  wal_directory text, lsn pg_lsn, base bytea, conninfo text)
 */
static Datum
walredo_repair_work(PG_FUNCTION_ARGS)
{
	RepairSink	sink = {(ReturnSetInfo *) fcinfo->resultinfo};
	WalredoRepairRequest request = {.blkno = InvalidBlockNumber};

	walredo_check_may_read_wal();
	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(3))
		return (Datum) 0;
	request.relid = PG_GETARG_OID(0);
	request.forknum = forkname_to_number(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	if (!PG_ARGISNULL(2))
		request.blkno = walredo_check_block_number(PG_GETARG_INT64(2));
	request.dry_run = PG_GETARG_BOOL(3);
	request.directory = walredo_getarg_cstring(fcinfo, 4);
	if (!PG_ARGISNULL(5))
		request.lsn = PG_GETARG_LSN(5);
	if (!PG_ARGISNULL(6))
		request.base.image = PG_GETARG_BYTEA_P(6);
	if (!BlockNumberIsValid(request.blkno) &&
		(request.lsn != InvalidXLogRecPtr || request.base.image != NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("an LSN or a base image was specified, but no block"),
				 errhint("Specify one block.")));
	request.conninfo = walredo_getarg_cstring(fcinfo, 7);
	if (request.conninfo != NULL && request.base.image != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a base image and a connection string were specified")));
	if (request.conninfo != NULL && !superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to connect to another server"),
				 errdetail("Only superusers may specify a connection string.")));
	if (!request.dry_run)
	{
		check_may_repair(request.relid);

		/*
		 * Who chooses what a page is made from chooses what the server finds
		 * in it, and the server trusts what is in its pages.
		 */
		if (!superuser() &&
			(request.directory != NULL || request.lsn != InvalidXLogRecPtr ||
			 request.base.image != NULL))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied to choose what a relation is repaired from"),
					 errdetail("Only superusers may specify a directory, an LSN or a base image for a repair.")));
		PreventCommandIfReadOnly("walredo_repair()");
	}
	sink.forknum = request.forknum;
	walredo_repair_fork(&request, put_result, &sink);
	return (Datum) 0;
}

/*
 * walredo_repair_undo(id int8)
 */
Datum
walredo_undo_repair(PG_FUNCTION_ARGS)
{
	int64		id = PG_GETARG_INT64(0);
	Oid			relid;

	walredo_check_may_read_wal();
	PreventCommandIfReadOnly("walredo_repair_undo()");
	PreventCommandDuringRecovery("walredo_repair_undo()");
	relid = walredo_undo_relation(id);
	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot undo repair %lld", (long long) id),
				 errdetail("The file of the page does not belong to a relation of this database.")));
	check_may_repair(relid);
	PG_RETURN_INT64(walredo_repair_undo(id));
}

/* The argument of read_kept(). */
typedef struct KeptAttempt
{
	int64		id;
	WalredoKept *kept;			/* NULL: it is gone */
} KeptAttempt;

static void
read_kept(void *arg)
{
	KeptAttempt *work = arg;

	work->kept = walredo_kept_read(work->id);
}

/* Puts a repair into the columns of a row. */
static void
fill_repair(const WalredoKept *kept, Datum *values, bool *nulls)
{
	values[1] = TimestampTzGetDatum(kept->started_at);
	nulls[2] = !kept->is_done;
	values[2] = TimestampTzGetDatum(kept->finished_at);
	values[3] = CStringGetTextDatum(kept->role);
	values[4] = CStringGetTextDatum(kept->database);
	nulls[5] = (kept->relation == NULL);
	if (kept->relation != NULL)
		values[5] = CStringGetTextDatum(kept->relation);
	values[6] = PointerGetDatum(&kept->tag);
	values[7] = CStringGetTextDatum(kept->source);
	nulls[8] = XLogRecPtrIsInvalid(kept->page_lsn);
	values[8] = LSNGetDatum(kept->page_lsn);
	nulls[9] = XLogRecPtrIsInvalid(kept->rebuilt_lsn);
	values[9] = LSNGetDatum(kept->rebuilt_lsn);
	nulls[10] = XLogRecPtrIsInvalid(kept->image_lsn);
	values[10] = LSNGetDatum(kept->image_lsn);
	nulls[11] = (kept->undo_of == 0);
	values[11] = Int64GetDatum(kept->undo_of);
	nulls[12] = (kept->old_contents == NULL);
	values[12] = PointerGetDatum(kept->old_contents);
	nulls[13] = (kept->new_contents == NULL);
	values[13] = PointerGetDatum(kept->new_contents);
}

/*
 * walredo_get_repairs()
 *
 * Returns one row per repair that is kept.  Of one whose file is broken, only
 * the ID is known.
 */
Datum
walredo_get_repairs(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext row_context;
	List	   *ids;
	ListCell   *lc;

	walredo_check_may_read_wal();
	InitMaterializedSRF(fcinfo, 0);
	ids = walredo_kept_ids();
	row_context = AllocSetContextCreate(CurrentMemoryContext, "walredo repair",
										ALLOCSET_DEFAULT_SIZES);
	foreach(lc, ids)
	{
		MemoryContext old_context = MemoryContextSwitchTo(row_context);
		KeptAttempt work = {*(int64 *) lfirst(lc), NULL};
		ErrorData  *error = walredo_attempt(read_kept, &work);
		Datum		values[14];
		bool		nulls[14] = {0};

		CHECK_FOR_INTERRUPTS();
		if (error == NULL && work.kept == NULL)
		{
			MemoryContextSwitchTo(old_context);
			continue;
		}
		if (error != NULL)
		{
			error->elevel = WARNING;
			ThrowErrorData(error);
			memset(nulls, true, sizeof(nulls));
			nulls[0] = false;
		}
		else
			fill_repair(work.kept, values, nulls);
		values[0] = Int64GetDatum(work.id);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
		MemoryContextSwitchTo(old_context);
		MemoryContextReset(row_context);
	}
	return (Datum) 0;
}

/*-------------------------------------------------------------------------
 *
 * filefuncs.c
 *	  SQL functions that find things in WAL: files that came and went, and
 *	  moments.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/api/filefuncs.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/api.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "wal/files.h"
#include "wal/ranges.h"
#include "wal/times.h"

WALREDO_LONG_FUNCTION(walredo_files, WALREDO_COMMAND_FILES)
WALREDO_LONG_FUNCTION(walredo_lsn_at, WALREDO_COMMAND_LSN_AT)
WALREDO_LONG_FUNCTION(walredo_wal_range, WALREDO_COMMAND_WAL_RANGE)

static const char *const event_names[] = {
	[WALREDO_NOT_ENDED] = NULL,
	[WALREDO_TRUNCATED] = "truncated",
	[WALREDO_FILE_REMOVED] = "dropped",
	[WALREDO_FILE_CREATED] = "created",
	[WALREDO_FILE_COPIED] = "copied"
};

/*
 * walredo_files(start_lsn, end_lsn, wal_directory)
 *
 * Returns one row per file that is created, dropped, truncated or copied.
 */
static Datum
walredo_files_work(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	WalredoFileEvent *events;
	int			nevents;
	MemoryContext row_context;
	MemoryContext old_context;

	walredo_check_may_read_wal();
	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		return (Datum) 0;

	nevents = walredo_read_files(walredo_getarg_cstring(fcinfo, 2),
								 PG_GETARG_LSN(0), PG_GETARG_LSN(1), &events);
	row_context = AllocSetContextCreate(CurrentMemoryContext, "walredo row",
										ALLOCSET_DEFAULT_SIZES);
	old_context = MemoryContextSwitchTo(row_context);
	for (int i = 0; i < nevents; i++)
	{
		const WalredoFileEvent *event = &events[i];
		Datum		values[6];
		bool		nulls[6] = {0};

		CHECK_FOR_INTERRUPTS();
		values[0] = LSNGetDatum(event->lsn);
		values[1] = TimestampTzGetDatum(event->at);
		nulls[1] = !event->has_time;
		values[2] = TransactionIdGetDatum(event->xid);
		nulls[2] = !TransactionIdIsValid(event->xid);
		values[3] = CStringGetTextDatum(event_names[event->what]);
		values[4] = PointerGetDatum(&event->tag);
		nulls[4] = !event->has_tag;
		values[5] = CStringGetTextDatum(event->relation);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
		MemoryContextReset(row_context);
	}
	MemoryContextSwitchTo(old_context);
	MemoryContextDelete(row_context);
	return (Datum) 0;
}

/*
 * walredo_lsn_at(at, wal_directory)
 */
static Datum
walredo_lsn_at_work(PG_FUNCTION_ARGS)
{
	walredo_check_may_read_wal();
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();

	PG_RETURN_LSN(walredo_lsn_of_time(walredo_getarg_cstring(fcinfo, 1),
									  PG_GETARG_TIMESTAMPTZ(0)));
}

/*
 * walredo_wal_range(wal_directory)
 *
 * Returns one row per unbroken stretch of WAL.
 */
static Datum
walredo_wal_range_work(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *lc;

	walredo_check_may_read_wal();
	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, walredo_wal_ranges(walredo_getarg_cstring(fcinfo, 0)))
	{
		const WalredoWalRange *range = lfirst(lc);
		Datum		values[6];
		bool		nulls[6] = {0};

		values[0] = Int32GetDatum(range->tli);
		values[1] = LSNGetDatum(range->start_lsn);
		values[2] = LSNGetDatum(range->end_lsn);
		values[3] = TimestampTzGetDatum(range->start_time);
		values[4] = TimestampTzGetDatum(range->end_time);
		nulls[3] = nulls[4] = !range->has_times;
		values[5] = Int64GetDatum((int64) range->segments);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
	}
	return (Datum) 0;
}

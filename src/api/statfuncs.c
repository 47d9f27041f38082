/*-------------------------------------------------------------------------
 *
 * statfuncs.c
 *	  SQL functions that show statistics and progress.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/api/statfuncs.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "common/relpath.h"
#include "compat.h"
#include "fmgr.h"
#include "funcapi.h"
#include "pool/client.h"
#include "progress/progress.h"
#include "stats/stats.h"
#include "utils/array.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(walredo_get_stat);
PG_FUNCTION_INFO_V1(walredo_get_children);
PG_FUNCTION_INFO_V1(walredo_get_progress);
PG_FUNCTION_INFO_V1(walredo_stat_reset);

static Datum
read_counter(pg_atomic_uint64 *counter)
{
	return Int64GetDatum((int64) pg_atomic_read_u64(counter));
}

/*
 * walredo_get_stat()
 *
 * Returns one row: the counters and then the histograms, in the order of their
 * enums in stats.h, which is that of the columns in walredo--1.0.sql, and the
 * times of the last reset and of the last check.
 */
Datum
walredo_get_stat(PG_FUNCTION_ARGS)
{
#define STAT_COLS	(STAT_NCOUNTERS + STAT_NHISTOGRAMS + 2)
	TupleDesc	tupdesc;
	Datum		values[STAT_COLS];
	bool		nulls[STAT_COLS] = {0};
	TimestampTz reset_at;
	TimestampTz checked_at;
	int			n = 0;

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (tupdesc->natts != STAT_COLS)
		elog(ERROR, "wrong number of columns");

	walredo_pool_attach_stats();
	for (int i = 0; i < STAT_NCOUNTERS; i++)
		values[n++] = read_counter(&walredo_stats->counters[i]);
	for (int i = 0; i < STAT_NHISTOGRAMS; i++)
	{
		Datum		buckets[STAT_NBUCKETS];

		for (int j = 0; j < STAT_NBUCKETS; j++)
			buckets[j] = read_counter(&walredo_stats->histograms[i][j]);
		values[n++] = PointerGetDatum(construct_array(buckets, STAT_NBUCKETS,
													  INT8OID, sizeof(int64),
													  FLOAT8PASSBYVAL,
													  TYPALIGN_DOUBLE));
	}
	reset_at = (TimestampTz) pg_atomic_read_u64(&walredo_stats->reset_at);
	values[n++] = TimestampTzGetDatum(reset_at);
	checked_at = (TimestampTz) pg_atomic_read_u64(&walredo_stats->checked_at);
	nulls[n] = (checked_at == 0);
	values[n++] = TimestampTzGetDatum(checked_at);
	Assert(n == STAT_COLS);

	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc),
													  values, nulls)));
}

/*
 * walredo_get_children()
 *
 * Returns one row per slot of this session's pool that is in use.
 */
Datum
walredo_get_children(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	WalredoChildInfo *children;
	int			nchildren;

	InitMaterializedSRF(fcinfo, 0);
	children = walredo_pool_children(&nchildren);
	for (int i = 0; i < nchildren; i++)
	{
		WalredoChildInfo *child = &children[i];
		Datum		values[9];
		bool		nulls[9] = {0};

		values[0] = Int32GetDatum(child->slot);
		values[1] = Int32GetDatum((int32) child->pid);
		nulls[1] = (child->pid == 0);
		values[2] = CStringGetTextDatum(child->state);
		values[3] = ObjectIdGetDatum(child->database);
		values[4] = ObjectIdGetDatum(child->role);
		values[5] = TimestampTzGetDatum(child->launched_at);
		nulls[5] = (child->launched_at == 0);
		values[6] = TimestampTzGetDatum(child->last_redo_at);
		nulls[6] = (child->last_redo_at == 0);
		values[7] = Int64GetDatum((int64) child->requests);
		values[8] = Int64GetDatum((int64) child->records);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
	}
	return (Datum) 0;
}

/*
 * walredo_get_progress()
 *
 * Returns one row per process in which a function that lasts is at work.
 */
Datum
walredo_get_progress(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int			nbackends = pgstat_fetch_stat_numbackends();

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 1; i <= nbackends; i++)
	{
		PgBackendStatus *backend = &walredo_local_beentry(i)->backendStatus;
		WalredoProgress progress;
		Datum		values[12];
		bool		nulls[12] = {0};

		if (!walredo_progress_of_backend(backend, &progress))
			continue;
		values[0] = Int32GetDatum(backend->st_procpid);
		values[1] = ObjectIdGetDatum(backend->st_databaseid);
		nulls[1] = !OidIsValid(backend->st_databaseid);
		values[2] =
			CStringGetTextDatum(walredo_command_names[progress.command]);
		values[3] = ObjectIdGetDatum(progress.relid);
		nulls[3] = nulls[4] = !OidIsValid(progress.relid);
		values[4] = CStringGetTextDatum(forkNames[progress.forknum]);
		values[5] = PointerGetDatum(&progress.tag);
		nulls[5] = !progress.has_tag;
		values[6] = CStringGetTextDatum(walredo_phase_names[progress.phase]);
		values[7] = Int64GetDatum((int64) progress.blocks_total);
		values[8] = Int64GetDatum((int64) progress.blocks_done);
		values[9] = LSNGetDatum(progress.wal_start);
		nulls[9] = progress.wal_start == InvalidXLogRecPtr;
		values[10] = LSNGetDatum(progress.wal_position);
		nulls[10] = progress.wal_position == InvalidXLogRecPtr;
		values[11] = LSNGetDatum(progress.wal_end);
		nulls[11] = progress.wal_end == InvalidXLogRecPtr;
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
	}
	return (Datum) 0;
}

/*
 * walredo_stat_reset()
 *
 * Sets all statistics of this session's pool to zero.
 */
Datum
walredo_stat_reset(PG_FUNCTION_ARGS)
{
	walredo_pool_attach_stats();
	walredo_stats_reset(walredo_stats);
	PG_RETURN_VOID();
}

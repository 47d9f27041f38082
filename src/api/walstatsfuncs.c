/*-------------------------------------------------------------------------
 *
 * walstatsfuncs.c
 *	  SQL functions that say what WAL consists of.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/api/walstatsfuncs.c
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
#include "wal/wal_stats.h"

WALREDO_LONG_FUNCTION(walredo_wal_stats, WALREDO_COMMAND_WAL_STATS)

#define WAL_STATS_COLS	15

static const char *const by_names[WALREDO_STATS_NBY] = {
	[WALREDO_BY_RELATION] = "relation",
	[WALREDO_BY_RESOURCE_MANAGER] = "resource_manager",
	[WALREDO_BY_RECORD_TYPE] = "record_type",
	[WALREDO_BY_TRANSACTION] = "transaction",
	[WALREDO_BY_MINUTE] = "minute"
};

static WalredoStatsBy
by_of_name(const char *name)
{
	for (int by = 0; by < WALREDO_STATS_NBY; by++)
	{
		if (strcmp(name, by_names[by]) == 0)
			return by;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unrecognized grouping of WAL statistics: \"%s\"", name),
			 errhint("Valid groupings are \"%s\", \"%s\", \"%s\", \"%s\" and \"%s\".",
					 by_names[WALREDO_BY_RELATION],
					 by_names[WALREDO_BY_RESOURCE_MANAGER],
					 by_names[WALREDO_BY_RECORD_TYPE],
					 by_names[WALREDO_BY_TRANSACTION],
					 by_names[WALREDO_BY_MINUTE])));
	return 0;					/* keep compiler quiet */
}

/* Puts a number, and which part of a total it is, into two columns. */
static void
put_part(Datum *values, uint64 part, uint64 total)
{
	values[0] = Int64GetDatum(part);
	values[1] = Float8GetDatum(total == 0 ? 0 : 100 * (double) part / total);
}

static void
put_stat(ReturnSetInfo *rsinfo, const WalredoWalStat *stat,
		 const WalredoWalCounts *total)
{
	const WalredoWalCounts *counts = &stat->counts;
	Datum		values[WAL_STATS_COLS] = {0};
	bool		nulls[WAL_STATS_COLS] = {0};

	nulls[0] = stat->relation == NULL;
	if (!nulls[0])
		values[0] = CStringGetTextDatum(stat->relation);
	values[1] = PointerGetDatum(&stat->tag);
	nulls[1] = !stat->has_tag;
	nulls[2] = stat->resource_manager == NULL;
	if (!nulls[2])
		values[2] = CStringGetTextDatum(stat->resource_manager);
	nulls[3] = stat->record_type == NULL;
	if (!nulls[3])
		values[3] = CStringGetTextDatum(stat->record_type);
	values[4] = TransactionIdGetDatum(stat->xid);
	nulls[4] = !TransactionIdIsValid(stat->xid);
	values[5] = BoolGetDatum(stat->is_committed);
	nulls[5] = !stat->has_end;
	values[6] = TimestampTzGetDatum(stat->at);
	nulls[6] = !stat->has_time;
	put_part(&values[7], counts->records, total->records);
	put_part(&values[9], counts->record_bytes, total->record_bytes);
	put_part(&values[11], counts->image_bytes, total->image_bytes);
	put_part(&values[13], counts->record_bytes + counts->image_bytes,
			 total->record_bytes + total->image_bytes);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * walredo_wal_stats(start_lsn, end_lsn, wal_directory, by)
 *
 * Returns one row per group of records.
 */
static Datum
walredo_wal_stats_work(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext row_context;
	MemoryContext old_context;
	WalredoStatsBy by;
	WalredoWalStats *stats;
	WalredoWalCounts total;
	WalredoWalStat stat;

	walredo_check_may_read_wal();
	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(3))
		return (Datum) 0;

	by = by_of_name(walredo_getarg_cstring(fcinfo, 3));
	stats = walredo_wal_stats_read(walredo_getarg_cstring(fcinfo, 2),
								   PG_GETARG_LSN(0), PG_GETARG_LSN(1), by);
	total = walredo_wal_stats_total(stats);
	row_context = AllocSetContextCreate(CurrentMemoryContext, "walredo row",
										ALLOCSET_DEFAULT_SIZES);
	old_context = MemoryContextSwitchTo(row_context);
	while (walredo_wal_stats_next(stats, &stat))
	{
		CHECK_FOR_INTERRUPTS();
		put_stat(rsinfo, &stat, &total);
		MemoryContextReset(row_context);
	}
	MemoryContextSwitchTo(old_context);
	MemoryContextDelete(row_context);
	return (Datum) 0;
}

/*-------------------------------------------------------------------------
 *
 * slrurepairfuncs.c
 *	  The SQL function that repairs SLRUs.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/api/slrurepairfuncs.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "api/api.h"
#include "compat.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "repair/slru_repair.h"
#include "utils/builtins.h"
#include "utils/tuplestore.h"

WALREDO_LONG_FUNCTION(walredo_repair_slru, WALREDO_COMMAND_REPAIR_SLRU)

/* A WalredoReportSlruRepair: makes a row. */
static void
put_result(const WalredoSlruRepairResult *result, void *arg)
{
	ReturnSetInfo *rsinfo = arg;
	Datum		values[4];
	bool		nulls[4] = {0};

	values[0] = PointerGetDatum(&result->tag);
	values[1] = CStringGetTextDatum(walredo_repair_names[result->status]);
	nulls[2] = (result->source == NULL);
	if (result->source != NULL)
		values[2] = CStringGetTextDatum(result->source);
	nulls[3] = (result->detail == NULL);
	if (result->detail != NULL)
		values[3] = CStringGetTextDatum(result->detail);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * walredo_repair_slru(slru text, pageno int8, dry_run bool, wal_directory text)
 *
 * Returns one row per page that is not sound, or about the one that was asked
 * for.
 */
static Datum
walredo_repair_slru_work(PG_FUNCTION_ARGS)
{
	WalredoSlruRepairRequest request = {.pageno = -1};

	walredo_check_may_read_wal();
	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(2))
		return (Datum) 0;
	request.slrus = walredo_getarg_slrus(fcinfo, 0);
	if (!PG_ARGISNULL(1))
	{
		WalredoTag	tag = {0};

		request.pageno = PG_GETARG_INT64(1);
		if (PG_ARGISNULL(0))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a page number was specified, but no SLRU"),
					 errhint("Specify one SLRU.")));
		for (tag.kind = WALREDO_TAG_CLOG;
			 request.slrus != WALREDO_KIND_BIT(tag.kind); tag.kind++)
			;
		tag.number = (uint64) request.pageno;
		if (request.pageno < 0 || !walredo_tag_is_valid(&tag))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid page number %lld",
							(long long) request.pageno)));
	}
	request.dry_run = PG_GETARG_BOOL(2);
	request.directory = walredo_getarg_cstring(fcinfo, 3);
	if (!request.dry_run)
	{
		if (!superuser())
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied to repair SLRUs"),
					 errdetail("Only superusers may repair them."),
					 errhint("With dry_run => true, the function tells what could be repaired.")));
		PreventCommandIfReadOnly("walredo_repair_slru()");
	}
	walredo_repair_slrus(&request, put_result, fcinfo->resultinfo);
	return (Datum) 0;
}

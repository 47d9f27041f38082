/*-------------------------------------------------------------------------
 *
 * indexfuncs.c
 *	  SQL functions about indexes of WAL.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/api/indexfuncs.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "api/api.h"
#include "funcapi.h"
#include "index/index.h"

WALREDO_LONG_FUNCTION(walredo_index_wal, WALREDO_COMMAND_INDEX_WAL)

/*
 * walredo_index_wal(wal_directory)
 *
 * Makes the indexes that the segments in some directories lack.
 */
static Datum
walredo_index_wal_work(PG_FUNCTION_ARGS)
{
	TupleDesc	tupdesc;
	WalredoIndexResult result;
	Datum		values[4];
	bool		nulls[4] = {0};

	walredo_check_may_read_wal();
	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (walredo_index_size == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("indexes of WAL are turned off"),
				 errhint("Set walredo.index_size to the disk space that they may take.")));

	walredo_index_directory(walredo_getarg_cstring(fcinfo, 0), &result);
	values[0] = Int64GetDatum(result.segments);
	values[1] = Int64GetDatum(result.indexed);
	values[2] = Int64GetDatum(result.made);
	values[3] = Int64GetDatum(result.bytes);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc),
													  values, nulls)));
}

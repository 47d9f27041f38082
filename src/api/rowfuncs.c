/*-------------------------------------------------------------------------
 *
 * rowfuncs.c
 *	  SQL functions that return rows as of an LSN.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/api/rowfuncs.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "api/api.h"
#include "catalog/pg_class.h"
#include "funcapi.h"
#include "nodes/execnodes.h"
#include "rows/rows.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/pg_lsn.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(walredo_rows_at);

/* Called when the query ends, which may be before all rows were returned. */
static void
end_rows(Datum arg)
{
	walredo_rows_end((WalredoRows *) DatumGetPointer(arg));
}

/* Begins to return rows of the type of the first argument. */
static WalredoRows *
begin_rows(FunctionCallInfo fcinfo)
{
	Oid			typid = get_fn_expr_argtype(fcinfo->flinfo, 0);
	Oid			relid = OidIsValid(typid) ? get_typ_typrelid(typid) : InvalidOid;
	char		relkind;

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the first argument is not of the row type of a table"),
				 errhint("For a table t, specify NULL::t.")));

	/* A type that was created on its own has no rows. */
	relkind = get_rel_relkind(relid);
	if (relkind == RELKIND_COMPOSITE_TYPE)
	{
		if (PG_ARGISNULL(2))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("type %s is not the row type of a table",
							format_type_be(typid)),
					 errhint("Specify the address of a file to be read, as a walredo_tag.")));
		relid = InvalidOid;
	}
	return walredo_rows_begin(relid, lookup_rowtype_tupdesc_copy(typid, -1),
							  PG_ARGISNULL(2) ? NULL :
							  PG_GETARG_WALREDO_TAG_P(2),
							  PG_GETARG_LSN(1),
							  walredo_getarg_cstring(fcinfo, 3));
}

/*
 * walredo_rows_at(base anyelement, lsn pg_lsn, file walredo_tag,
 *				   wal_directory text)
 *
 * Rows are returned one by one.
 */
Datum
walredo_rows_at(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	FuncCallContext *funcctx;
	WalredoRows *rows;
	HeapTuple	row;

	if (SRF_IS_FIRSTCALL())
	{
		MemoryContext old_context;

		walredo_check_may_read_wal();
		funcctx = SRF_FIRSTCALL_INIT();
		if (PG_ARGISNULL(1))
			SRF_RETURN_DONE(funcctx);
		old_context = MemoryContextSwitchTo(funcctx->multi_call_memory_ctx);
		rows = begin_rows(fcinfo);
		funcctx->user_fctx = rows;
		RegisterExprContextCallback(rsinfo->econtext, end_rows,
									PointerGetDatum(rows));
		MemoryContextSwitchTo(old_context);
	}

	funcctx = SRF_PERCALL_SETUP();
	rows = funcctx->user_fctx;
	row = walredo_rows_next(rows);
	if (row == NULL)
	{
		UnregisterExprContextCallback(rsinfo->econtext, end_rows,
									  PointerGetDatum(rows));
		walredo_rows_end(rows);
		SRF_RETURN_DONE(funcctx);
	}
	SRF_RETURN_NEXT(funcctx, HeapTupleGetDatum(row));
}

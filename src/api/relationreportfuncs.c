/*-------------------------------------------------------------------------
 *
 * relationreportfuncs.c
 *	  SQL function that makes a report about a relation.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/api/relationreportfuncs.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/api.h"
#include "common/relpath.h"
#include "fmgr.h"
#include "report/relation_report.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"

WALREDO_LONG_FUNCTION(walredo_relation_report, WALREDO_COMMAND_RELATION_REPORT)

/*
 * walredo_relation_report(relname regclass, fork text, start_lsn pg_lsn,
 *						   end_lsn pg_lsn, wal_directory text)
 *
 * Returns an HTML document about a fork of a relation.
 */
static Datum
walredo_relation_report_work(PG_FUNCTION_ARGS)
{
	StringInfoData out;
	Oid			relid;
	ForkNumber	forknum;

	walredo_check_may_read_wal();
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	relid = PG_GETARG_OID(0);
	forknum = forkname_to_number(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	walredo_check_verifiable(relid);
	initStringInfo(&out);
	walredo_report_relation(&out, relid, forknum,
							PG_ARGISNULL(2) ? WALREDO_START_OF_WAL :
							PG_GETARG_LSN(2),
							PG_ARGISNULL(3) ? WALREDO_END_OF_WAL :
							PG_GETARG_LSN(3),
							walredo_getarg_cstring(fcinfo, 4));
	PG_RETURN_TEXT_P(cstring_to_text_with_len(out.data, out.len));
}

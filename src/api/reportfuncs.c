/*-------------------------------------------------------------------------
 *
 * reportfuncs.c
 *	  SQL functions that make documents to look at.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/api/reportfuncs.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/api.h"
#include "lib/stringinfo.h"
#include "record/tag.h"
#include "report/report.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "wal/reader.h"

WALREDO_LONG_FUNCTION(walredo_report, WALREDO_COMMAND_REPORT)

/*
 * walredo_report(tag, start_lsn, end_lsn, wal_directory)
 *
 * A page and its history as an HTML document.  If an end of the range is null,
 * it is that of WAL.
 */
static Datum
walredo_report_work(PG_FUNCTION_ARGS)
{
	StringInfoData out;
	XLogRecPtr	start_lsn;
	XLogRecPtr	end_lsn;

	walredo_check_may_read_wal();
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	start_lsn = PG_ARGISNULL(1) ? WALREDO_START_OF_WAL : PG_GETARG_LSN(1);
	end_lsn = PG_ARGISNULL(2) ? WALREDO_END_OF_WAL : PG_GETARG_LSN(2);
	initStringInfo(&out);
	walredo_report_page(&out, PG_GETARG_WALREDO_TAG_P(0), start_lsn, end_lsn,
						walredo_getarg_cstring(fcinfo, 3));
	PG_RETURN_TEXT_P(cstring_to_text_with_len(out.data, out.len));
}

/*-------------------------------------------------------------------------
 *
 * wal.c
 *	  SQL functions that read the write-ahead log.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/api/wal.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/rmgr.h"
#include "access/xlog_internal.h"
#include "api/api.h"
#include "catalog/pg_authid.h"
#include "compat.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "record/record.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "wal/lower.h"
#include "wal/names.h"
#include "wal/reader.h"

PG_FUNCTION_INFO_V1(walredo_decode);
PG_FUNCTION_INFO_V1(walredo_wal_records);

/* What a scan of the log keeps from row to row. */
typedef struct WalRecordsScan
{
	WalredoReader *reader;

	/*
	 * Names as text, made when first seen.  A resource manager has the upper
	 * four bits of xl_info for its record types.
	 */
	Datum		rmgr_names[RM_MAX_ID + 1];
	Datum		record_types[RM_MAX_ID + 1][16];
} WalRecordsScan;

/*
 * The log holds everybody's data, so a mere right to execute a function that
 * reads it is not enough: it may have been granted by someone who does not
 * know that.
 */
void
walredo_check_may_read_log(void)
{
	if (!has_privs_of_role(GetUserId(), ROLE_PG_READ_SERVER_FILES))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to read the write-ahead log"),
				 errdetail("Only roles with privileges of the \"%s\" role may read it.",
						   "pg_read_server_files")));
}

char *
walredo_getarg_cstring(FunctionCallInfo fcinfo, int argno)
{
	if (PG_ARGISNULL(argno))
		return NULL;
	return text_to_cstring(PG_GETARG_TEXT_PP(argno));
}

/*
 * The arguments of a function that scans a range of the log: start_lsn,
 * end_lsn, and a directory that may be NULL, from argument argno on.
 */
static WalredoReader *
begin_scan(FunctionCallInfo fcinfo, int argno)
{
	walredo_check_may_read_log();

	if (PG_ARGISNULL(argno) || PG_ARGISNULL(argno + 1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("start and end LSN must not be null")));

	return walredo_reader_begin(walredo_getarg_cstring(fcinfo, argno + 2),
								PG_GETARG_LSN(argno),
								PG_GETARG_LSN(argno + 1));
}

/*
 * A name as text, made once for each that is seen.
 */
static Datum
cached_text(WalRecordsScan *scan, Datum *cached, const char *name)
{
	if (*cached == 0)
	{
		MemoryContext old_cxt =
			MemoryContextSwitchTo(GetMemoryChunkContext(scan));

		*cached = CStringGetTextDatum(name);
		MemoryContextSwitchTo(old_cxt);
	}
	return *cached;
}

/*
 * walredo_wal_records(start_lsn, end_lsn, wal_directory)
 *
 * One row a record, from the first one that begins at or after start_lsn to
 * the last one that ends at or before end_lsn.  The log is the server's own
 * if wal_directory is null.  See wal/reader.h for what end_lsn may be.
 *
 * Rows are returned one by one: used in a select list the function takes no
 * more memory than its largest record, and stops when no more rows are asked
 * for.
 */
Datum
walredo_wal_records(PG_FUNCTION_ARGS)
{
#define WALREDO_WAL_RECORDS_COLS	8
	FuncCallContext *funcctx;
	WalRecordsScan *scan;
	const XLogRecord *record;
	Datum		values[WALREDO_WAL_RECORDS_COLS];
	bool		nulls[WALREDO_WAL_RECORDS_COLS] = {0};
	Datum		rmgr_name;
	Datum		record_type;
	bytea	   *rec;
	int			i = 0;

	if (SRF_IS_FIRSTCALL())
	{
		MemoryContext old_cxt;
		TupleDesc	tupdesc;

		funcctx = SRF_FIRSTCALL_INIT();
		old_cxt = MemoryContextSwitchTo(funcctx->multi_call_memory_ctx);

		if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		funcctx->tuple_desc = BlessTupleDesc(tupdesc);

		scan = palloc0(sizeof(WalRecordsScan));
		scan->reader = begin_scan(fcinfo, 0);
		funcctx->user_fctx = scan;

		MemoryContextSwitchTo(old_cxt);
	}

	funcctx = SRF_PERCALL_SETUP();
	scan = funcctx->user_fctx;

	if (!walredo_reader_next(scan->reader))
		SRF_RETURN_DONE(funcctx);

	record = walredo_reader_record(scan->reader);
	rmgr_name = cached_text(scan, &scan->rmgr_names[record->xl_rmid],
							walredo_rmgr_name(record->xl_rmid));
	record_type =
		cached_text(scan,
					&scan->record_types[record->xl_rmid][record->xl_info >> 4],
					walredo_record_type(record));
	rec = palloc(VARHDRSZ + record->xl_tot_len);
	SET_VARSIZE(rec, VARHDRSZ + record->xl_tot_len);
	memcpy(VARDATA(rec), record, record->xl_tot_len);

	values[i++] = LSNGetDatum(walredo_reader_start_lsn(scan->reader));
	values[i++] = LSNGetDatum(walredo_reader_end_lsn(scan->reader));
	values[i++] = LSNGetDatum(record->xl_prev);
	values[i++] = TransactionIdGetDatum(record->xl_xid);
	values[i++] = rmgr_name;
	values[i++] = record_type;
	values[i++] = Int32GetDatum((int32) record->xl_tot_len);
	values[i++] = PointerGetDatum(rec);
	Assert(i == WALREDO_WAL_RECORDS_COLS);

	SRF_RETURN_NEXT(funcctx,
					HeapTupleGetDatum(heap_form_tuple(funcctx->tuple_desc,
													  values, nulls)));
#undef WALREDO_WAL_RECORDS_COLS
}

/*
 * walredo_decode(lsn, rec)
 *
 * The pages that a WAL record changes, each with what happens to it, in the
 * order in which redo does it.  lsn is the record's end.  See wal/lower.h.
 */
Datum
walredo_decode(PG_FUNCTION_ARGS)
{
	FuncCallContext *funcctx;
	WalredoPageRecord *pairs;

	if (SRF_IS_FIRSTCALL())
	{
		XLogRecPtr	lsn = PG_GETARG_LSN(0);
		bytea	   *rec;
		Size		rec_size;
		WalredoRecord *record;
		TupleDesc	tupdesc;
		MemoryContext old_cxt;

		funcctx = SRF_FIRSTCALL_INIT();
		old_cxt = MemoryContextSwitchTo(funcctx->multi_call_memory_ctx);

		if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		funcctx->tuple_desc = BlessTupleDesc(tupdesc);

		/* What is no record to walredo_postgres() is none here either. */
		rec = PG_GETARG_BYTEA_PP(1);
		rec_size = VARSIZE_ANY_EXHDR(rec);
		record = walredo_record_make(WALREDO_POSTGRES, lsn, rec_size);
		memcpy(record->u.data, VARDATA_ANY(rec), rec_size);
		walredo_record_validate(record);

		funcctx->max_calls =
			walredo_lower(walredo_lowering_create(),
						  (const XLogRecord *) record->u.data, lsn,
						  NULL, false, &pairs);
		funcctx->user_fctx = pairs;

		MemoryContextSwitchTo(old_cxt);
	}

	funcctx = SRF_PERCALL_SETUP();
	pairs = funcctx->user_fctx;

	if (funcctx->call_cntr < funcctx->max_calls)
	{
		WalredoPageRecord *pair = &pairs[funcctx->call_cntr];
		Datum		values[2];
		bool		nulls[2] = {0};
		HeapTuple	tuple;

		values[0] = PointerGetDatum(&pair->tag);
		values[1] = PointerGetDatum(pair->record);
		tuple = heap_form_tuple(funcctx->tuple_desc, values, nulls);
		SRF_RETURN_NEXT(funcctx, HeapTupleGetDatum(tuple));
	}
	SRF_RETURN_DONE(funcctx);
}

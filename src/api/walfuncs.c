/*-------------------------------------------------------------------------
 *
 * walfuncs.c
 *	  SQL functions that read WAL.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/api/walfuncs.c
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
#include "index/index.h"
#include "miscadmin.h"
#include "record/record.h"
#include "redo/replay.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "wal/changes.h"
#include "wal/names.h"
#include "wal/reader.h"

PG_FUNCTION_INFO_V1(walredo_decode);
WALREDO_LONG_FUNCTION(walredo_read_wal, WALREDO_COMMAND_WAL_RECORDS)
PG_FUNCTION_INFO_V1(walredo_wal_start_lsn);
PG_FUNCTION_INFO_V1(walredo_wal_end_lsn);
PG_FUNCTION_INFO_V1(walredo_wal_prev_lsn);
PG_FUNCTION_INFO_V1(walredo_wal_xid);
PG_FUNCTION_INFO_V1(walredo_wal_resource_manager);
PG_FUNCTION_INFO_V1(walredo_wal_record_type);
PG_FUNCTION_INFO_V1(walredo_wal_description);

/* How many bytes of its rows walredo_decode() has at a time, at least. */
#define MIN_DECODE_PART		(64 * 1024)

/* What a scan of WAL keeps from row to row. */
typedef struct WalRecordsScan
{
	WalredoReader *reader;
	WalredoIndexer *indexer;
	bytea	   *entry;			/* the current row */
	Size		entry_size;		/* bytes that are allocated for it */
} WalRecordsScan;

/*
 * WAL holds everybody's data, so a mere right to execute a function that
 * reads it is not enough: it may have been granted by someone who does not
 * know that.
 */
void
walredo_check_may_read_wal(void)
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

int
walredo_getarg_slrus(FunctionCallInfo fcinfo, int argno)
{
	char	   *name = walredo_getarg_cstring(fcinfo, argno);
	int			slrus = 0;

	for (int kind = WALREDO_TAG_CLOG; kind <= WALREDO_TAG_COMMIT_TS; kind++)
	{
		if (name == NULL || strcmp(name, walredo_slru_directory(kind)) == 0)
			slrus |= WALREDO_KIND_BIT(kind);
	}
	if (slrus == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unrecognized SLRU: \"%s\"", name),
				 errhint("Valid SLRUs are \"%s\", \"%s\", \"%s\" and \"%s\".",
						 walredo_slru_directory(WALREDO_TAG_CLOG),
						 walredo_slru_directory(WALREDO_TAG_MULTIXACT_OFFSETS),
						 walredo_slru_directory(WALREDO_TAG_MULTIXACT_MEMBERS),
						 walredo_slru_directory(WALREDO_TAG_COMMIT_TS))));
	return slrus;
}

void
walredo_warn_of_gap(WalredoReader *reader)
{
	XLogRecPtr	first_lsn = walredo_reader_first_lsn(reader);

	ereport(WARNING,
			(errcode(ERRCODE_UNDEFINED_FILE),
			 errmsg("WAL before %X/%X was removed while it was read",
					LSN_FORMAT_ARGS(first_lsn)),
			 errdetail("The records that follow come after a gap.")));
}

/*
 * The arguments of a function that scans a range of WAL: start_lsn,
 * end_lsn, and a directory that may be NULL, from argument argno on.
 */
static WalredoReader *
begin_scan(FunctionCallInfo fcinfo, int argno)
{
	walredo_check_may_read_wal();

	if (PG_ARGISNULL(argno) || PG_ARGISNULL(argno + 1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("start and end LSN must not be null")));

	return walredo_reader_begin(walredo_getarg_cstring(fcinfo, argno + 2),
								PG_GETARG_LSN(argno),
								PG_GETARG_LSN(argno + 1));
}

/*
 * _walredo_read_wal(start_lsn, end_lsn, wal_directory)
 *
 * What walredo_wal_records() has under its columns, as its definition in SQL
 * says: a bytea a record, from the first one that begins at or after start_lsn
 * to the last one that ends at or before end_lsn.  WAL is the server's own
 * if wal_directory is null.  See wal/reader.h for what end_lsn may be.
 *
 * Rows are returned one by one, in one piece of memory, which holds until the
 * next is asked for: so it takes no more memory than the largest record, and
 * ends when no more rows are asked for.
 */
static Datum
walredo_read_wal_work(PG_FUNCTION_ARGS)
{
	FuncCallContext *funcctx;
	WalRecordsScan *scan;
	const XLogRecord *record;
	XLogRecPtr	start_lsn;
	Size		size;
	bool		found;

	if (SRF_IS_FIRSTCALL())
	{
		MemoryContext old_cxt;

		funcctx = SRF_FIRSTCALL_INIT();
		old_cxt = MemoryContextSwitchTo(funcctx->multi_call_memory_ctx);

		scan = palloc0(sizeof(WalRecordsScan));
		scan->reader = begin_scan(fcinfo, 0);
		walredo_reader_allow_restart(scan->reader);
		scan->indexer = walredo_indexer_create(scan->reader);
		scan->entry_size = 2 * XLOG_BLCKSZ;
		scan->entry = palloc(scan->entry_size);
		funcctx->user_fctx = scan;

		MemoryContextSwitchTo(old_cxt);
	}

	funcctx = SRF_PERCALL_SETUP();
	scan = funcctx->user_fctx;

	found = walredo_reader_next(scan->reader);
	if (walredo_reader_has_restarted(scan->reader))
		walredo_warn_of_gap(scan->reader);
	if (!found)
	{
		/* If fewer rows are asked for, the memory context sees to it. */
		walredo_indexer_free(scan->indexer);
		walredo_reader_end(scan->reader);
		SRF_RETURN_DONE(funcctx);
	}

	start_lsn = walredo_reader_start_lsn(scan->reader);
	walredo_indexer_add(scan->indexer, start_lsn);
	record = walredo_reader_record(scan->reader);
	size = walredo_entry_size(record);
	if (size > scan->entry_size)
	{
		pfree(scan->entry);
		scan->entry_size = size;
		scan->entry = MemoryContextAlloc(funcctx->multi_call_memory_ctx, size);
	}
	SET_VARSIZE(scan->entry, size);
	walredo_put_entry(VARDATA(scan->entry), start_lsn,
					  walredo_reader_end_lsn(scan->reader), record);

	SRF_RETURN_NEXT(funcctx, PointerGetDatum(scan->entry));
}

void
walredo_not_an_entry(const char *function)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("value is not an entry of %s()", function)));
}

void
walredo_getarg_entry(FunctionCallInfo fcinfo, WalredoEntry *entry)
{
	Datum		value = PG_GETARG_DATUM(0);
	const bytea *bytes;
	WalredoEntryStart start;
	Size		size;

	if (VARATT_IS_EXTERNAL_EXPANDED(DatumGetPointer(value)))
	{
		ExpandedObjectHeader *eoh = DatumGetEOHP(value);

		if (eoh->eoh_methods == &walredo_expanded_entry_methods)
		{
			entry->expanded = (WalredoExpandedEntry *) eoh;
			entry->start_lsn = entry->expanded->start_lsn;
			entry->end_lsn = entry->expanded->end_lsn;
			entry->header = *entry->expanded->record;
			entry->record = (const char *) entry->expanded->record;
			entry->tail = NULL;
			entry->tail_size = 0;
			return;
		}
	}

	bytes = DatumGetByteaPP(value);
	size = VARSIZE_ANY_EXHDR(bytes);
	if (size < sizeof(start) + SizeOfXLogRecord)
		walredo_not_an_entry("_walredo_read_wal");
	entry->expanded = NULL;
	memcpy(&start, VARDATA_ANY(bytes), sizeof(start));
	entry->start_lsn = start.start_lsn;
	entry->end_lsn = start.end_lsn;
	entry->record = VARDATA_ANY(bytes) + sizeof(start);
	memcpy(&entry->header, entry->record, SizeOfXLogRecord);
	size -= sizeof(start);
	if (entry->header.xl_tot_len < SizeOfXLogRecord ||
		entry->header.xl_tot_len > size)
		walredo_not_an_entry("_walredo_read_wal");
	entry->tail = entry->record + entry->header.xl_tot_len;
	entry->tail_size = size - entry->header.xl_tot_len;
}

WalredoRecord *
walredo_entry_record(const WalredoEntry *entry)
{
	WalredoRecord *record = walredo_record_make(WALREDO_POSTGRES,
												entry->end_lsn,
												entry->header.xl_tot_len);

	memcpy(record->u.data, entry->record, entry->header.xl_tot_len);
	walredo_record_validate(record);
	return record;
}

/*
 * _walredo_wal_start_lsn(entry) and so on
 *
 * The columns of walredo_wal_records(), each made only if it is asked for.
 * Columns of walredo_page_records() and walredo_page_history() are made by the
 * same functions.
 */
Datum
walredo_wal_start_lsn(PG_FUNCTION_ARGS)
{
	WalredoEntry entry;

	walredo_getarg_entry(fcinfo, &entry);
	PG_RETURN_LSN(entry.start_lsn);
}

Datum
walredo_wal_end_lsn(PG_FUNCTION_ARGS)
{
	WalredoEntry entry;

	walredo_getarg_entry(fcinfo, &entry);
	PG_RETURN_LSN(entry.end_lsn);
}

Datum
walredo_wal_prev_lsn(PG_FUNCTION_ARGS)
{
	WalredoEntry entry;

	walredo_getarg_entry(fcinfo, &entry);
	PG_RETURN_LSN(entry.header.xl_prev);
}

Datum
walredo_wal_xid(PG_FUNCTION_ARGS)
{
	WalredoEntry entry;

	walredo_getarg_entry(fcinfo, &entry);
	PG_RETURN_TRANSACTIONID(entry.header.xl_xid);
}

Datum
walredo_wal_resource_manager(PG_FUNCTION_ARGS)
{
	WalredoEntry entry;

	walredo_getarg_entry(fcinfo, &entry);
	PG_RETURN_TEXT_P(cstring_to_text(walredo_rmgr_name(entry.header.xl_rmid)));
}

Datum
walredo_wal_record_type(PG_FUNCTION_ARGS)
{
	WalredoEntry entry;

	walredo_getarg_entry(fcinfo, &entry);
	PG_RETURN_TEXT_P(cstring_to_text(walredo_record_type(&entry.header)));
}

Datum
walredo_wal_description(PG_FUNCTION_ARGS)
{
	WalredoEntry entry;
	WalredoRecord *record;

	walredo_getarg_entry(fcinfo, &entry);
	record = walredo_entry_record(&entry);
	PG_RETURN_TEXT_P(cstring_to_text(walredo_describe_record(record)));
}

/* What walredo_decode() keeps from row to row. */
typedef struct DecodeScan
{
	WalredoChanges *changes;
	WalredoRecord *record;		/* the whole record */
	WalredoPageChange *list;	/* a part of the result */
	int			num_changes;
	uint64		first;			/* number of the first of them */
	bool		more;			/* there may be another part */
} DecodeScan;

/*
 * walredo_decode(lsn, rec)
 *
 * The pages that a WAL record changes, each with what happens to it, in the
 * order in which redo does it.  lsn is the record's end.  See wal/changes.h.
 *
 * A record can have rows that take a hundred times its length.  They are made
 * in parts, for each of which the record is looked through again: as long as
 * the record, so that there are not too many of them.
 */
Datum
walredo_decode(PG_FUNCTION_ARGS)
{
	FuncCallContext *funcctx;
	DecodeScan *scan;
	const WalredoPageChange *change;
	Datum		values[2];
	bool		nulls[2] = {0};
	HeapTuple	tuple;

	if (SRF_IS_FIRSTCALL())
	{
		XLogRecPtr	lsn = PG_GETARG_LSN(0);
		bytea	   *rec;
		Size		rec_size;
		TupleDesc	tupdesc;
		MemoryContext old_cxt;

		funcctx = SRF_FIRSTCALL_INIT();
		old_cxt = MemoryContextSwitchTo(funcctx->multi_call_memory_ctx);

		if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		funcctx->tuple_desc = BlessTupleDesc(tupdesc);

		/* What is no record to walredo_postgres() is none here either. */
		scan = palloc0(sizeof(DecodeScan));
		rec = PG_GETARG_BYTEA_PP(1);
		rec_size = VARSIZE_ANY_EXHDR(rec);
		scan->record = walredo_record_make(WALREDO_POSTGRES, lsn, rec_size);
		memcpy(scan->record->u.data, VARDATA_ANY(rec), rec_size);
		PG_FREE_IF_COPY(rec, 1);
		walredo_record_validate(scan->record);
		scan->changes = walredo_changes_create(walredo_filter_all());
		scan->more = true;
		funcctx->user_fctx = scan;

		MemoryContextSwitchTo(old_cxt);
	}

	funcctx = SRF_PERCALL_SETUP();
	scan = funcctx->user_fctx;

	if (funcctx->call_cntr == scan->first + scan->num_changes)
	{
		const XLogRecord *xlogrecord =
			(const XLogRecord *) scan->record->u.data;

		if (!scan->more)
			SRF_RETURN_DONE(funcctx);
		scan->first += scan->num_changes;
		scan->num_changes =
			walredo_changes_part(scan->changes, xlogrecord, scan->record->lsn,
								 scan->first,
								 Max(xlogrecord->xl_tot_len, MIN_DECODE_PART),
								 &scan->list, &scan->more);
		if (scan->num_changes == 0)
			SRF_RETURN_DONE(funcctx);
	}

	change = &scan->list[funcctx->call_cntr - scan->first];
	values[0] = PointerGetDatum(&change->tag);
	values[1] = PointerGetDatum(walredo_change_record(scan->changes, change));
	tuple = heap_form_tuple(funcctx->tuple_desc, values, nulls);
	SRF_RETURN_NEXT(funcctx, HeapTupleGetDatum(tuple));
}

/*-------------------------------------------------------------------------
 *
 * page.c
 *	  SQL functions that make pages from the log, and show how they came to
 *	  be.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/api/page.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "api/api.h"
#include "common/relpath.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "page/diff.h"
#include "page/rebuild.h"
#include "page/scan.h"
#include "record/record.h"
#include "record/tag.h"
#include "redo/redo.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/tuplestore.h"
#include "wal/names.h"

PG_FUNCTION_INFO_V1(walredo_page_records);
PG_FUNCTION_INFO_V1(walredo_page_at);
PG_FUNCTION_INFO_V1(walredo_page_at_relation);
PG_FUNCTION_INFO_V1(walredo_page_at_literals);
PG_FUNCTION_INFO_V1(walredo_read_pages);
PG_FUNCTION_INFO_V1(walredo_page_history);
PG_FUNCTION_INFO_V1(walredo_page_diff);

/* A WAL record as the pool wants it, to have it described. */
static WalredoRecord *
whole_record(WalredoReader *reader)
{
	const XLogRecord *xlogrecord = walredo_reader_record(reader);
	WalredoRecord *record;

	record = walredo_record_make(WALREDO_POSTGRES,
								 walredo_reader_end_lsn(reader),
								 xlogrecord->xl_tot_len);
	memcpy(record->u.data, xlogrecord, xlogrecord->xl_tot_len);
	return record;
}

/*
 * walredo_page_records(tag, start_lsn, end_lsn, wal_directory)
 *
 * A row a change to the page.  One WAL record may change a page more than
 * once.
 */
Datum
walredo_page_records(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	WalredoPageFilter filter = {0};
	WalredoPageScan *scan;
	MemoryContext row_context;

	walredo_check_may_read_log();
	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		return (Datum) 0;

	filter.tag = *PG_GETARG_WALREDO_TAG_P(0);
	scan = walredo_page_scan_begin(&filter, walredo_getarg_cstring(fcinfo, 3),
								   PG_GETARG_LSN(1), PG_GETARG_LSN(2));

	row_context = AllocSetContextCreate(CurrentMemoryContext, "walredo row",
										ALLOCSET_DEFAULT_SIZES);
	while (walredo_page_scan_next(scan))
	{
		const XLogRecord *xlogrecord = walredo_reader_record(scan->reader);
		MemoryContext old_context = MemoryContextSwitchTo(row_context);

		for (int i = 0; i < scan->num_records; i++)
		{
			Datum		values[5];
			bool		nulls[5] = {0};

			values[0] = LSNGetDatum(walredo_reader_start_lsn(scan->reader));
			values[1] = LSNGetDatum(walredo_reader_end_lsn(scan->reader));
			values[2] =
				CStringGetTextDatum(walredo_rmgr_name(xlogrecord->xl_rmid));
			values[3] = CStringGetTextDatum(walredo_record_type(xlogrecord));
			values[4] = PointerGetDatum(scan->records[i].record);
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
								 nulls);
		}
		MemoryContextSwitchTo(old_context);
		MemoryContextReset(row_context);
	}
	walredo_page_scan_end(scan);
	return (Datum) 0;
}

/*
 * The first place after lsn where the log has all it takes to make the page,
 * or InvalidXLogRecPtr.
 */
static XLogRecPtr
first_start_after(const WalredoPageFilter *filter, const char *directory,
				  XLogRecPtr lsn)
{
	WalredoPageScan *scan = walredo_page_scan_begin(filter, directory, lsn,
													WALREDO_END_OF_LOG);
	XLogRecPtr	found = InvalidXLogRecPtr;

	while (found == InvalidXLogRecPtr && walredo_page_scan_next(scan))
	{
		for (int i = 0; i < scan->num_records; i++)
		{
			if (walredo_record_starts_page(&filter->tag,
										   scan->records[i].record))
				found = scan->records[i].record->lsn;
		}
	}
	walredo_page_scan_end(scan);
	return found;
}

/*
 * Says why a page cannot be made from the log.
 */
static void
report_no_image(WalredoPageScan *scan, const char *directory, XLogRecPtr lsn,
				const WalredoRebuiltPage *page)
{
	XLogRecPtr	log_start = walredo_reader_first_lsn(scan->reader);
	const char *name = walredo_tag_to_cstring(&scan->filter.tag);
	XLogRecPtr	later;
	StringInfoData detail;

	if (page->truncated)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s does not exist at %X/%X", name,
						LSN_FORMAT_ARGS(lsn)),
				 errdetail("It was cut off with the end of the relation, and not made again.")));

	initStringInfo(&detail);
	if (page->num_records == 0)
		appendStringInfo(&detail, "The log from %X/%X to %X/%X has no record of it.",
						 LSN_FORMAT_ARGS(log_start), LSN_FORMAT_ARGS(lsn));
	else
		appendStringInfo(&detail, "The log from %X/%X to %X/%X has " UINT64_FORMAT " records of it, but none that initializes it or holds an image of it.",
						 LSN_FORMAT_ARGS(log_start), LSN_FORMAT_ARGS(lsn),
						 page->num_records);

	later = first_start_after(&scan->filter, directory, lsn);
	if (later != InvalidXLogRecPtr)
		appendStringInfo(&detail, " The earliest LSN that it can be rebuilt at is %X/%X.",
						 LSN_FORMAT_ARGS(later));

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("cannot rebuild %s at %X/%X", name, LSN_FORMAT_ARGS(lsn)),
			 errdetail_internal("%s", detail.data),
			 errhint("Give a base image, or a directory that has the log before %X/%X: WAL segment \"%s\" is the first that is missing.",
					 LSN_FORMAT_ARGS(log_start),
					 walredo_reader_segment_name(scan->reader,
												 log_start - 1))));
}

/*
 * The image of a page as of lsn.
 */
static bytea *
page_at(const WalredoTag *tag, XLogRecPtr lsn, const bytea *base,
		const char *directory)
{
	WalredoPageFilter filter = {0};
	WalredoRebuild *rebuild = walredo_rebuild_create();
	WalredoRebuiltPage page;
	WalredoPageScan *scan;

	filter.tag = *tag;
	if (base != NULL)
		walredo_rebuild_set_base(rebuild, tag, base);

	scan = walredo_page_scan_begin(&filter, directory, WALREDO_START_OF_LOG,
								   lsn);
	while (walredo_page_scan_next(scan))
		walredo_page_scan_feed(scan, rebuild);
	walredo_rebuild_get(rebuild, tag, &page);
	if (page.image == NULL)
		report_no_image(scan, directory, lsn, &page);

	walredo_page_scan_end(scan);
	walredo_rebuild_free(rebuild);
	return page.image;
}

/*
 * walredo_page_at(tag, lsn, base, wal_directory)
 */
Datum
walredo_page_at(PG_FUNCTION_ARGS)
{
	walredo_check_may_read_log();
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();

	PG_RETURN_BYTEA_P(page_at(PG_GETARG_WALREDO_TAG_P(0), PG_GETARG_LSN(1),
							  PG_ARGISNULL(2) ? NULL : PG_GETARG_BYTEA_P(2),
							  walredo_getarg_cstring(fcinfo, 3)));
}

/*
 * walredo_page_at(relname regclass, fork text, blkno int8, lsn pg_lsn)
 * walredo_page_at(relname regclass, blkno int8, lsn pg_lsn)
 */
Datum
walredo_page_at_relation(PG_FUNCTION_ARGS)
{
	bool		main_fork = PG_NARGS() == 3;
	int			argno = main_fork ? 1 : 2;
	WalredoTag	tag;

	walredo_check_may_read_log();
	walredo_tag_of_relation(PG_GETARG_OID(0),
							main_fork ? forkNames[MAIN_FORKNUM] :
							text_to_cstring(PG_GETARG_TEXT_PP(1)),
							PG_GETARG_INT64(argno), &tag);
	PG_RETURN_BYTEA_P(page_at(&tag, PG_GETARG_LSN(argno + 1), NULL, NULL));
}

/*
 * walredo_page_at(text, text, text)
 * walredo_page_at(text, text, text, text)
 *
 * Any of the functions above, for calls whose arguments have no types: quoted
 * literals, NULL, and parameters.  The second argument tells which, as an LSN
 * has a slash, and neither a fork nor a number has one.
 */
Datum
walredo_page_at_literals(PG_FUNCTION_ARGS)
{
	int			nargs = PG_NARGS();
	char	   *args[4] = {NULL};
	bytea	   *base = NULL;
	WalredoTag	tag;
	Datum		lsn;

	walredo_check_may_read_log();
	for (int i = 0; i < nargs; i++)
		args[i] = walredo_getarg_cstring(fcinfo, i);
	if (args[0] == NULL || args[1] == NULL)
		PG_RETURN_NULL();

	if (strchr(args[1], '/') == NULL)
	{
		const char *fork = nargs == 3 ? forkNames[MAIN_FORKNUM] : args[1];
		Datum		relid;
		Datum		blkno;

		if (args[nargs - 2] == NULL || args[nargs - 1] == NULL)
			PG_RETURN_NULL();
		relid = DirectFunctionCall1(regclassin, CStringGetDatum(args[0]));
		blkno = DirectFunctionCall1(int8in, CStringGetDatum(args[nargs - 2]));
		lsn = DirectFunctionCall1(pg_lsn_in, CStringGetDatum(args[nargs - 1]));
		walredo_tag_of_relation(DatumGetObjectId(relid), fork,
								DatumGetInt64(blkno), &tag);
		PG_RETURN_BYTEA_P(page_at(&tag, DatumGetLSN(lsn), NULL, NULL));
	}

	tag = *walredo_tag_from_cstring(args[0]);
	lsn = DirectFunctionCall1(pg_lsn_in, CStringGetDatum(args[1]));
	if (args[2] != NULL)
		base = DatumGetByteaP(DirectFunctionCall1(byteain,
												  CStringGetDatum(args[2])));
	PG_RETURN_BYTEA_P(page_at(&tag, DatumGetLSN(lsn), base, args[3]));
}

/* What _walredo_read_pages() keeps from row to row. */
typedef struct PagesScan
{
	WalredoRebuild *rebuild;
	WalredoTag *forks;
	Oid		   *relids;			/* of which relation each of them is */
	int			nforks;
	int			fork;			/* the one at hand; -1 before the first */
} PagesScan;

static void
add_fork(PagesScan *scan, Oid relid, const char *name)
{
	scan->relids[scan->nforks] = relid;
	walredo_tag_of_relation(relid, name, 0, &scan->forks[scan->nforks]);
	scan->nforks++;
}

/*
 * Reads the log, of which all pages of the forks can be made then.
 */
static void
read_pages(PagesScan *scan, XLogRecPtr lsn)
{
	WalredoForkScan *log;

	scan->rebuild = walredo_rebuild_create();
	log = walredo_fork_scan_begin(scan->forks, scan->nforks, lsn);
	while (walredo_fork_scan_next(log, scan->rebuild))
		CHECK_FOR_INTERRUPTS();
	walredo_fork_scan_end(log);
}

/* Frees what a query leaves that does not ask for all rows. */
static void
end_pages_scan(Datum arg)
{
	PagesScan  *scan = (PagesScan *) DatumGetPointer(arg);

	walredo_rebuild_free(scan->rebuild);
}

/*
 * _walredo_read_pages(relations, fork, lsn)
 *
 * What walredo_pages_at() and walredo_pages_at_all() have under their columns,
 * as their definitions in SQL say: a row a block that the log can make, fork by
 * fork, in block order.  All forks that are logged if fork is null.
 *
 * Rows are returned one by one: a page is in memory no more often than it must
 * be.
 */
Datum
walredo_read_pages(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	FuncCallContext *funcctx;
	PagesScan  *scan;
	const bytea *image = NULL;
	WalredoTag	tag;
	Datum		values[4];
	bool		nulls[4] = {0};
	HeapTuple	tuple;

	if (SRF_IS_FIRSTCALL())
	{
		MemoryContext old_context;
		List	   *relations;
		ListCell   *lc;
		TupleDesc	tupdesc;
		char	   *fork = walredo_getarg_cstring(fcinfo, 1);

		walredo_check_may_read_log();
		funcctx = SRF_FIRSTCALL_INIT();
		if (PG_ARGISNULL(0) || PG_ARGISNULL(2))
			SRF_RETURN_DONE(funcctx);

		old_context = MemoryContextSwitchTo(funcctx->multi_call_memory_ctx);
		if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		funcctx->tuple_desc = BlessTupleDesc(tupdesc);

		relations = walredo_getarg_relations(fcinfo, 0);
		scan = palloc0(sizeof(PagesScan));
		scan->fork = -1;
		scan->forks = palloc(Max(list_length(relations), 1) *
							 WALREDO_NUM_LOGGED_FORKS * sizeof(WalredoTag));
		scan->relids = palloc(Max(list_length(relations), 1) *
							  WALREDO_NUM_LOGGED_FORKS * sizeof(Oid));
		foreach(lc, relations)
		{
			if (fork != NULL)
			{
				add_fork(scan, lfirst_oid(lc), fork);
				continue;
			}
			for (int i = 0; i < WALREDO_NUM_LOGGED_FORKS; i++)
				add_fork(scan, lfirst_oid(lc),
						 forkNames[walredo_logged_forks[i]]);
		}
		read_pages(scan, PG_GETARG_LSN(2));
		funcctx->user_fctx = scan;
		RegisterExprContextCallback(rsinfo->econtext, end_pages_scan,
									PointerGetDatum(scan));
		MemoryContextSwitchTo(old_context);
	}

	funcctx = SRF_PERCALL_SETUP();
	scan = funcctx->user_fctx;

	if (scan->fork >= 0)
		image = walredo_rebuild_next(scan->rebuild, &tag);
	while (image == NULL && ++scan->fork < scan->nforks)
	{
		walredo_rebuild_begin_fork(scan->rebuild, &scan->forks[scan->fork]);
		image = walredo_rebuild_next(scan->rebuild, &tag);
	}
	if (image == NULL)
	{
		UnregisterExprContextCallback(rsinfo->econtext, end_pages_scan,
									  PointerGetDatum(scan));
		walredo_rebuild_free(scan->rebuild);
		SRF_RETURN_DONE(funcctx);
	}

	values[0] = ObjectIdGetDatum(scan->relids[scan->fork]);
	values[1] = CStringGetTextDatum(forkNames[tag.forknum]);
	values[2] = Int64GetDatum((int64) tag.number);
	values[3] = PointerGetDatum(image);
	tuple = heap_form_tuple(funcctx->tuple_desc, values, nulls);
	walredo_rebuild_forget(scan->rebuild);
	SRF_RETURN_NEXT(funcctx, HeapTupleGetDatum(tuple));
}

/*
 * walredo_page_history(tag, start_lsn, end_lsn, wal_directory)
 *
 * A row a WAL record that changed the page, with the page as it was after it.
 * The log before start_lsn is read, too, for what the page was then; where it
 * does not tell, the page is null until a record makes it anew.
 */
Datum
walredo_page_history(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	WalredoPageFilter filter = {0};
	WalredoRebuild *rebuild = walredo_rebuild_create();
	XLogRecPtr	start_lsn;
	XLogRecPtr	log_start;
	WalredoPageScan *scan;
	bytea	   *current = NULL; /* the page before the next record */
	bool		in_range = false;
	MemoryContext row_context;

	walredo_check_may_read_log();
	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		return (Datum) 0;

	filter.tag = *PG_GETARG_WALREDO_TAG_P(0);
	start_lsn = PG_GETARG_LSN(1);
	scan = walredo_page_scan_begin(&filter, walredo_getarg_cstring(fcinfo, 3),
								   WALREDO_START_OF_LOG, PG_GETARG_LSN(2));

	/* What comes before the range need not be there, but the range must. */
	log_start = walredo_reader_first_lsn(scan->reader);
	if (start_lsn != WALREDO_START_OF_LOG && start_lsn < log_start)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FILE),
				 errmsg("WAL segment \"%s\" is missing",
						walredo_reader_segment_name(scan->reader,
													log_start - 1)),
				 errdetail("The history is wanted from %X/%X on, but the log begins at %X/%X.",
						   LSN_FORMAT_ARGS(start_lsn),
						   LSN_FORMAT_ARGS(log_start))));

	row_context = AllocSetContextCreate(CurrentMemoryContext, "walredo row",
										ALLOCSET_DEFAULT_SIZES);
	while (walredo_page_scan_next(scan))
	{
		const XLogRecord *xlogrecord = walredo_reader_record(scan->reader);
		MemoryContext old_context;
		bytea	   *image;
		char	   *description;
		Datum		values[6];
		bool		nulls[6] = {0};

		if (walredo_reader_start_lsn(scan->reader) < start_lsn)
		{
			walredo_page_scan_feed(scan, rebuild);
			continue;
		}
		if (!in_range)
		{
			WalredoRebuiltPage page;

			walredo_rebuild_get(rebuild, &filter.tag, &page);
			current = page.image;
			in_range = true;
		}

		old_context = MemoryContextSwitchTo(row_context);
		image = scan->truncated_to <= filter.tag.number ? NULL : current;
		for (int i = 0; i < scan->num_records; i++)
		{
			WalredoRecord *record = scan->records[i].record;
			bool		starts =
				walredo_record_starts_page(&filter.tag, record);

			if (image != NULL || starts)
				image = walredo_redo(&filter.tag, starts ? NULL : image,
									 &record, 1);
		}

		description = walredo_describe_record(whole_record(scan->reader));
		values[0] = LSNGetDatum(walredo_reader_end_lsn(scan->reader));
		values[1] = LSNGetDatum(walredo_reader_start_lsn(scan->reader));
		values[2] =
			CStringGetTextDatum(walredo_rmgr_name(xlogrecord->xl_rmid));
		values[3] = CStringGetTextDatum(walredo_record_type(xlogrecord));
		values[4] = CStringGetTextDatum(description);
		if (image == NULL)
			nulls[5] = true;
		else
			values[5] = PointerGetDatum(image);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
		MemoryContextSwitchTo(old_context);

		/* Redo works in place where it can. */
		if (image != current)
		{
			if (current != NULL)
				pfree(current);
			current = image == NULL ? NULL :
				DatumGetByteaPCopy(PointerGetDatum(image));
		}
		MemoryContextReset(row_context);
	}
	walredo_page_scan_end(scan);
	walredo_rebuild_free(rebuild);
	return (Datum) 0;
}

/*
 * walredo_page_diff(a bytea, b bytea)
 *
 * A row a run of bytes that differ.  What is no page is refused before it is
 * read, so there are no more rows than half the bytes of a page.
 */
Datum
walredo_page_diff(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	const char *a;
	const char *b;
	Size		start;
	Size		end = 0;

	walredo_check_page_length(fcinfo, 0, "a");
	walredo_check_page_length(fcinfo, 1, "b");
	a = VARDATA_ANY(PG_GETARG_BYTEA_PP(0));
	b = VARDATA_ANY(PG_GETARG_BYTEA_PP(1));

	InitMaterializedSRF(fcinfo, 0);
	while (walredo_next_difference(a, b, BLCKSZ, &start, &end))
	{
		Datum		values[4];
		bool		nulls[4] = {0};

		values[0] = Int32GetDatum((int32) start);
		values[1] = Int32GetDatum((int32) (end - start));
		values[2] = PointerGetDatum(cstring_to_text_with_len(a + start,
															 end - start));
		values[3] = PointerGetDatum(cstring_to_text_with_len(b + start,
															 end - start));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
	}
	return (Datum) 0;
}

/*-------------------------------------------------------------------------
 *
 * historyfuncs.c
 *	  SQL functions that list the WAL records of one page.
 *
 * Both are written in SQL, so that the planner can inline them, over a function
 * that returns entries (api.h) one by one.  Their columns are extracted from
 * the entry, each only if the query uses it.  A column can be computed long
 * after the scan has moved on: where a join, for example, has stored the
 * entries.
 *
 * The column "record" of walredo_page_records() is made from the entry alone.
 *
 * The page of walredo_page_history() depends on all earlier records of the
 * page, and cannot be made from the entry.  Records are collected in a rebuild,
 * and those that wait are replayed when a page is asked for.  So an entry is an
 * expanded object, whose value is that of the scan's current record.  As long
 * as the row is not stored, the column is computed while the scan is there, and
 * asks it for the page.  What stores a row, such as a sort, flattens expanded
 * objects, and then the page becomes a part of the entry.  This is of no use
 * where the query does not use the column at all: then entries have no page,
 * and no records are collected.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/api/historyfuncs.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "api/api.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "nodes/plannodes.h"
#include "page/bases.h"
#include "page/rebuild.h"
#include "page/scan.h"
#include "record/record.h"
#include "record/tag.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/syscache.h"

WALREDO_LONG_FUNCTION(walredo_read_page_records, WALREDO_COMMAND_PAGE_RECORDS)
PG_FUNCTION_INFO_V1(walredo_page_record);
WALREDO_LONG_FUNCTION(walredo_read_history, WALREDO_COMMAND_PAGE_HISTORY)
PG_FUNCTION_INFO_V1(walredo_history_page);

/*
 * How many bytes of records may wait for the page to be asked for.  If they are
 * more, they are replayed.  It is enough that a query that skips most pages
 * seldom replays records for nothing.
 */
#define MAX_WAITING			(4 * 1024 * 1024)

/* ----------------------------------------
 * walredo_page_records()
 * ----------------------------------------
 */

#define PAGE_RECORD_MAGIC	0x57505243

/* What follows the record in an entry of _walredo_read_page_records(). */
typedef struct PageRecordTail
{
	WalredoTag	tag;
	uint32		number;			/* of the change in the record's list */
	uint32		magic;			/* PAGE_RECORD_MAGIC */
} PageRecordTail;

/* What _walredo_read_page_records() keeps from row to row. */
typedef struct PageRecordsScan
{
	WalredoPageScan *scan;
	int			next_change;	/* of the current record */
	bytea	   *entry;			/* the current row */
	Size		entry_size;		/* bytes that are allocated for it */
	MemoryContext context;
} PageRecordsScan;

/* Called when the query ends, which may be before all rows were returned. */
static void
end_page_records(Datum arg)
{
	PageRecordsScan *records = (PageRecordsScan *) DatumGetPointer(arg);

	walredo_page_scan_end(records->scan);
}

/*
 * Moves to the next change that is a row, and returns its number in the list of
 * the current record, or -1 if there are no more.
 */
static int
next_change(PageRecordsScan *records)
{
	WalredoPageScan *scan = records->scan;

	for (;;)
	{
		MemoryContext old_context;
		bool		found;

		while (records->next_change < scan->num_changes)
		{
			int			number = records->next_change++;

			if (scan->list[number].what != WALREDO_CHANGE_END)
				return number;
		}
		old_context = MemoryContextSwitchTo(records->context);
		found = walredo_page_scan_next(scan);
		MemoryContextSwitchTo(old_context);
		if (scan->has_restarted)
			walredo_warn_of_gap(scan->reader);
		scan->has_restarted = false;
		if (!found)
			return -1;
		records->next_change = 0;
	}
}

/* The entry of a change of the current record. */
static bytea *
make_page_record_entry(PageRecordsScan *records, int number)
{
	WalredoReader *reader = records->scan->reader;
	const XLogRecord *xlogrecord = walredo_reader_record(reader);
	PageRecordTail tail = {0};
	Size		size = walredo_entry_size(xlogrecord) + sizeof(tail);

	if (size > records->entry_size)
	{
		if (records->entry != NULL)
			pfree(records->entry);
		records->entry = NULL;
		records->entry_size = Max(size, 2 * XLOG_BLCKSZ);
		records->entry = MemoryContextAlloc(records->context,
											records->entry_size);
	}
	tail.tag = records->scan->filter->tag;
	tail.number = number;
	tail.magic = PAGE_RECORD_MAGIC;
	SET_VARSIZE(records->entry, size);
	memcpy(walredo_put_entry(VARDATA(records->entry),
							 walredo_reader_start_lsn(reader),
							 walredo_reader_end_lsn(reader), xlogrecord),
		   &tail, sizeof(tail));
	return records->entry;
}

/*
 * _walredo_read_page_records(tag, start_lsn, end_lsn, wal_directory)
 *
 * Returns one entry per change to the page.  One WAL record may change a page
 * more than once, and has as many entries then.
 */
static Datum
walredo_read_page_records_work(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	FuncCallContext *funcctx;
	PageRecordsScan *records;
	int			number;

	if (SRF_IS_FIRSTCALL())
	{
		MemoryContext old_context;
		WalredoPageFilter *filter;
		char	   *directory;

		walredo_check_may_read_wal();
		funcctx = SRF_FIRSTCALL_INIT();
		if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
			SRF_RETURN_DONE(funcctx);

		old_context = MemoryContextSwitchTo(funcctx->multi_call_memory_ctx);
		records = palloc0(sizeof(PageRecordsScan));
		records->context = CurrentMemoryContext;
		walredo_progress_set_target(InvalidOid, PG_GETARG_WALREDO_TAG_P(0));
		filter = walredo_filter_page(PG_GETARG_WALREDO_TAG_P(0));
		directory = walredo_getarg_cstring(fcinfo, 3);
		records->scan = walredo_page_scan_begin(filter, directory,
												PG_GETARG_LSN(1),
												PG_GETARG_LSN(2));
		funcctx->user_fctx = records;
		RegisterExprContextCallback(rsinfo->econtext, end_page_records,
									PointerGetDatum(records));
		MemoryContextSwitchTo(old_context);
	}

	funcctx = SRF_PERCALL_SETUP();
	records = funcctx->user_fctx;
	number = next_change(records);
	if (number < 0)
	{
		UnregisterExprContextCallback(rsinfo->econtext, end_page_records,
									  PointerGetDatum(records));
		end_page_records(PointerGetDatum(records));
		SRF_RETURN_DONE(funcctx);
	}
	SRF_RETURN_NEXT(funcctx,
					PointerGetDatum(make_page_record_entry(records, number)));
}

/* What _walredo_page_record() keeps from call to call. */
typedef struct PageRecordState
{
	WalredoPageFilter *filter;	/* of the tag of the last entry */
	WalredoChanges *changes;
} PageRecordState;

/* Returns the state for entries of a page, in which nothing is stale. */
static PageRecordState *
get_page_record_state(FmgrInfo *flinfo, const WalredoTag *tag)
{
	PageRecordState *state = flinfo->fn_extra;
	MemoryContext old_context = MemoryContextSwitchTo(flinfo->fn_mcxt);

	if (state == NULL)
		flinfo->fn_extra = state = palloc0(sizeof(PageRecordState));
	if (state->filter == NULL ||
		walredo_tag_compare(&state->filter->tag, tag) != 0)
	{
		if (state->changes != NULL)
			walredo_changes_free(state->changes);
		state->changes = NULL;
		if (state->filter != NULL)
			walredo_filter_free(state->filter);
		state->filter = NULL;
		state->filter = walredo_filter_page(tag);
		state->changes = walredo_changes_create(state->filter);
	}
	MemoryContextSwitchTo(old_context);
	return state;
}

/*
 * _walredo_page_record(entry)
 *
 * The column "record" of walredo_page_records().  An entry can be given by
 * anyone, so nothing in it is trusted.
 */
Datum
walredo_page_record(PG_FUNCTION_ARGS)
{
	WalredoEntry entry;
	PageRecordTail tail;
	WalredoRecord *record;
	PageRecordState *state;
	WalredoPageChange *list;
	int			num_changes;

	walredo_getarg_entry(fcinfo, &entry);
	if (entry.tail_size != sizeof(tail))
		walredo_not_an_entry("_walredo_read_page_records");
	memcpy(&tail, entry.tail, sizeof(tail));
	if (tail.magic != PAGE_RECORD_MAGIC || !walredo_tag_is_valid(&tail.tag))
		walredo_not_an_entry("_walredo_read_page_records");

	record = walredo_entry_record(&entry);
	state = get_page_record_state(fcinfo->flinfo, &tail.tag);
	num_changes = walredo_changes_of(state->changes,
									 (const XLogRecord *) record->u.data,
									 record->lsn, &list);
	if (tail.number >= (uint32) num_changes ||
		list[tail.number].what == WALREDO_CHANGE_END)
		walredo_not_an_entry("_walredo_read_page_records");
	record = walredo_change_record(state->changes, &list[tail.number]);
	PG_RETURN_DATUM(datumCopy(PointerGetDatum(record), false, -1));
}

/* ----------------------------------------
 * walredo_page_history()
 * ----------------------------------------
 */

#define HISTORY_MAGIC		0x57485359

/* Is there a page in an entry of _walredo_read_history()? */
typedef enum EntryPage
{
	ENTRY_WITHOUT_PAGE,			/* it was not made */
	ENTRY_WITH_NULL,			/* it does not exist, or is not known */
	ENTRY_WITH_PAGE				/* its bytes follow the record */
} EntryPage;

/* What follows the record, and the page, in a flat entry. */
typedef struct HistoryTail
{
	uint32		page;			/* EntryPage */
	uint32		magic;			/* HISTORY_MAGIC */
} HistoryTail;

/* What is known about whether the page can be made, without making it. */
typedef enum HistoryState
{
	HISTORY_UNCERTAIN,
	HISTORY_NO_PAGE,			/* it cannot, or it does not exist */
	HISTORY_PAGE				/* it can */
} HistoryState;

/* What _walredo_read_history() keeps from row to row. */
typedef struct HistoryScan
{
	WalredoExpandedEntry entry; /* the current row; must be first */
	XLogRecPtr	start_lsn;		/* of the range that is wanted */
	XLogRecPtr	end_lsn;
	char	   *directory;		/* or NULL */
	WalredoPageScan *scan;
	bool		in_range;		/* the range has begun */
	HistoryState state;			/* after the current record, if so */

	/* Collects the records of the page; NULL if the query does not use it. */
	WalredoRebuild *rebuild;
	Size		waiting;		/* bytes of records since it was last made */

	/* The page after the current record, if it has been asked for. */
	bool		has_page;
	bytea	   *page;			/* or NULL */

	MemoryContext row_context;	/* reset with each row */
} HistoryScan;

/*
 * Does the statement that calls the current function use the column "page"?
 *
 * A plan lists the functions of extensions that occur in its expressions,
 * because it has to be made again if one of them is changed.  The planner
 * drops columns that are not used before it makes this list.
 */
static bool
is_page_used(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	EState	   *estate = rsinfo->econtext->ecxt_estate;
	Oid			schema = get_func_namespace(fcinfo->flinfo->fn_oid);
	Oid			argtype = BYTEAOID;
	Oid			funcid;
	uint32		hash;
	ListCell   *lc;

	if (estate == NULL || estate->es_plannedstmt == NULL)
		return true;
	funcid = GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid,
							 CStringGetDatum("_walredo_history_page"),
							 PointerGetDatum(buildoidvector(&argtype, 1)),
							 ObjectIdGetDatum(schema));
	hash = GetSysCacheHashValue1(PROCOID, ObjectIdGetDatum(funcid));
	foreach(lc, estate->es_plannedstmt->invalItems)
	{
		PlanInvalItem *item = lfirst_node(PlanInvalItem, lc);

		if (item->cacheId == PROCOID && item->hashValue == hash)
			return true;
	}
	return false;
}

/*
 * ERROR if WAL begins after the start of the range.  What comes before the
 * range need not be there, but the range must.
 */
static void
check_range_is_there(const HistoryScan *history)
{
	XLogRecPtr	first_lsn = walredo_reader_first_lsn(history->scan->reader);

	if (history->start_lsn != WALREDO_START_OF_WAL &&
		history->start_lsn < first_lsn)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FILE),
				 errmsg("WAL segment \"%s\" is missing",
						walredo_reader_segment_name(history->scan->reader,
													first_lsn - 1)),
				 errdetail("The history was to start at %X/%X, but WAL begins at %X/%X.",
						   LSN_FORMAT_ARGS(history->start_lsn),
						   LSN_FORMAT_ARGS(first_lsn))));
}

/*
 * Begins to read WAL for the page up to an LSN, and gives a rebuild the base
 * image that fits the start of the range.
 */
static WalredoPageScan *
begin_with_base(HistoryScan *history, const WalredoPageFilter *filter,
				WalredoRebuild *rebuild, XLogRecPtr end_lsn)
{
	WalredoBases *bases = walredo_bases_open();
	WalredoPageScan *scan;

	scan = walredo_page_scan_back(filter, history->directory, bases,
								  InvalidXLogRecPtr,
								  Min(history->start_lsn, end_lsn), end_lsn);
	walredo_rebuild_set_backup(rebuild, bases->backup, bases->lsn);
	return scan;
}

/*
 * Begins the scan.  WAL before the range is read only for what the page was
 * then.
 */
static void
begin_history(HistoryScan *history, const WalredoTag *tag, bool with_page)
{
	WalredoPageFilter *filter = walredo_filter_page(tag);

	if (with_page)
	{
		history->rebuild = walredo_rebuild_create();
		history->scan = begin_with_base(history, filter, history->rebuild,
										history->end_lsn);
	}
	else
		history->scan = walredo_page_scan_begin(filter, history->directory,
												history->start_lsn,
												history->end_lsn);
	check_range_is_there(history);

	/* There is no backup before the start of WAL. */
	history->state = history->start_lsn == WALREDO_START_OF_WAL ?
		HISTORY_NO_PAGE : HISTORY_UNCERTAIN;
	history->row_context = AllocSetContextCreate(CurrentMemoryContext,
												 "walredo row",
												 ALLOCSET_DEFAULT_SIZES);
}

/* Called when the query ends, which may be before all rows were returned. */
static void
end_history(Datum arg)
{
	HistoryScan *history = (HistoryScan *) DatumGetPointer(arg);

	if (history->rebuild != NULL)
		walredo_rebuild_free(history->rebuild);
	walredo_page_scan_end(history->scan);
}

/*
 * Handles WAL that was removed before it could be read: what was known of the
 * page is not known any more.
 */
static void
handle_gap(HistoryScan *history)
{
	if (!history->scan->has_restarted)
		return;
	history->scan->has_restarted = false;
	check_range_is_there(history);
	if (history->rebuild != NULL)
		walredo_rebuild_reset(history->rebuild);
	history->waiting = 0;
	history->state = HISTORY_NO_PAGE;
	if (history->in_range)
		walredo_warn_of_gap(history->scan->reader);
}

/*
 * Finds out whether the page could be made before the current record, by a scan
 * of its own.
 */
static bool
look_for_page(HistoryScan *history)
{
	const WalredoPageFilter *filter = history->scan->filter;
	WalredoRebuild *rebuild = walredo_rebuild_create();
	WalredoPageScan *scan;
	WalredoRebuiltPage page;

	scan = begin_with_base(history, filter, rebuild,
						   walredo_reader_start_lsn(history->scan->reader));
	while (walredo_page_scan_next(scan))
	{
		if (scan->has_restarted)
			walredo_rebuild_reset(rebuild);
		scan->has_restarted = false;
		walredo_page_scan_add(scan, rebuild);
	}
	walredo_page_scan_end(scan);
	walredo_rebuild_get(rebuild, &filter->tag, &page);
	walredo_rebuild_free(rebuild);
	return page.image != NULL;
}

/* Was there a page, as far as is known, before the current record? */
static bool
was_there_page(HistoryScan *history)
{
	WalredoRebuiltPage page;

	if (history->state != HISTORY_UNCERTAIN)
		return history->state == HISTORY_PAGE;
	if (history->rebuild == NULL)
		return look_for_page(history);
	walredo_rebuild_get(history->rebuild, &history->scan->filter->tag, &page);
	return page.image != NULL;
}

/*
 * Is the current record one row?  That a file is created is no change of a page
 * that was not there.
 */
static bool
is_row(HistoryScan *history)
{
	WalredoPageScan *scan = history->scan;

	return scan->num_changes > 1 ||
		scan->list[0].end != WALREDO_FILE_CREATED ||
		was_there_page(history);
}

/* Adds the current record to those that wait for the page to be asked for. */
static void
collect_record(HistoryScan *history)
{
	WalredoPageScan *scan = history->scan;
	WalredoRebuiltPage page;

	walredo_page_scan_add(scan, history->rebuild);
	for (int i = 0; i < scan->num_changes; i++)
	{
		/* The rebuild drops what came before. */
		if (scan->list[i].starts_page ||
			scan->list[i].what == WALREDO_CHANGE_END)
			history->waiting = 0;
		history->waiting += walredo_reader_record(scan->reader)->xl_tot_len;
	}
	if (history->waiting > MAX_WAITING)
	{
		walredo_rebuild_get(history->rebuild, &scan->filter->tag, &page);
		history->waiting = 0;
	}
}

/* Sets what is known of the page after the current record. */
static void
note_state(HistoryScan *history)
{
	for (int i = 0; i < history->scan->num_changes; i++)
	{
		const WalredoPageChange *change = &history->scan->list[i];

		if (change->what == WALREDO_CHANGE_END ||
			change->what == WALREDO_CHANGE_UNKNOWN)
			history->state = HISTORY_NO_PAGE;
		else if (change->starts_page)
		{
			/* An image with a hole may lack contents. */
			history->state = change->image_has_hole ? HISTORY_UNCERTAIN :
				HISTORY_PAGE;
		}
	}
}

/* Moves to the next record of the scan, in the memory of the scan. */
static bool
next_record(HistoryScan *history)
{
	MemoryContext old_context =
		MemoryContextSwitchTo(history->entry.eoh.eoh_context);
	bool		found = walredo_page_scan_next(history->scan);

	MemoryContextSwitchTo(old_context);
	return found;
}

/* Moves to the next record that is a row.  Returns false if there is none. */
static bool
next_row(HistoryScan *history)
{
	WalredoPageScan *scan = history->scan;

	history->has_page = false;
	history->page = NULL;
	MemoryContextReset(history->row_context);
	while (next_record(history))
	{
		bool		in_range;

		handle_gap(history);
		in_range = walredo_reader_start_lsn(scan->reader) >= history->start_lsn;
		history->in_range |= in_range;
		if (in_range && !is_row(history))
			continue;
		if (history->rebuild != NULL)
			collect_record(history);
		if (in_range)
		{
			note_state(history);
			history->entry.start_lsn = walredo_reader_start_lsn(scan->reader);
			history->entry.end_lsn = walredo_reader_end_lsn(scan->reader);
			history->entry.record = walredo_reader_record(scan->reader);
			return true;
		}
		MemoryContextReset(history->row_context);
	}
	return false;
}

/*
 * The page after the current record, or NULL if that is not known, or there is
 * no page.  It is valid until the next row.
 */
static bytea *
page_of_row(HistoryScan *history)
{
	WalredoRebuiltPage page;
	MemoryContext old_context;

	if (!history->has_page)
	{
		old_context = MemoryContextSwitchTo(history->row_context);
		walredo_rebuild_get(history->rebuild, &history->scan->filter->tag,
							&page);
		MemoryContextSwitchTo(old_context);
		history->page = page.image;
		history->has_page = true;
		history->waiting = 0;
	}
	return history->page;
}

/* The bytes of the page in a flat entry of the current row. */
static Size
flat_page_size(HistoryScan *history)
{
	bytea	   *page = history->rebuild == NULL ? NULL : page_of_row(history);

	return page == NULL ? 0 : VARSIZE(page) - VARHDRSZ;
}

/* Methods of the expanded form of an entry: see utils/expandeddatum.h. */
static Size
get_flat_size(ExpandedObjectHeader *eoh)
{
	HistoryScan *history = (HistoryScan *) eoh;

	return walredo_entry_size(history->entry.record) +
		flat_page_size(history) + sizeof(HistoryTail);
}

static void
flatten_into(ExpandedObjectHeader *eoh, void *result, Size allocated_size)
{
	HistoryScan *history = (HistoryScan *) eoh;
	Size		page_size = flat_page_size(history);
	HistoryTail tail;
	char	   *end;

	Assert(allocated_size == get_flat_size(eoh));
	SET_VARSIZE(result, allocated_size);
	end = walredo_put_entry(VARDATA(result), history->entry.start_lsn,
							history->entry.end_lsn, history->entry.record);
	if (page_size > 0)
		memcpy(end, VARDATA(history->page), page_size);
	tail.page = history->rebuild == NULL ? ENTRY_WITHOUT_PAGE :
		history->page == NULL ? ENTRY_WITH_NULL : ENTRY_WITH_PAGE;
	tail.magic = HISTORY_MAGIC;
	memcpy(end + page_size, &tail, sizeof(tail));
}

const ExpandedObjectMethods walredo_expanded_entry_methods = {
	.get_flat_size = get_flat_size,
	.flatten_into = flatten_into
};

/*
 * _walredo_read_history(tag, start_lsn, end_lsn, wal_directory)
 *
 * Returns one entry per WAL record that changed the page.  If the page is used,
 * WAL before start_lsn is read, too, for what the page was then, and a backup
 * may tell; where neither does, the page is null until a record makes it anew.
 */
static Datum
walredo_read_history_work(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	FuncCallContext *funcctx;
	HistoryScan *history;
	MemoryContext old_context;
	bool		found;

	if (SRF_IS_FIRSTCALL())
	{
		walredo_check_may_read_wal();
		funcctx = SRF_FIRSTCALL_INIT();
		if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
			SRF_RETURN_DONE(funcctx);

		old_context = MemoryContextSwitchTo(funcctx->multi_call_memory_ctx);
		history = palloc0(sizeof(HistoryScan));
		EOH_init_header(&history->entry.eoh, &walredo_expanded_entry_methods,
						CurrentMemoryContext);
		history->start_lsn = PG_GETARG_LSN(1);
		history->end_lsn = PG_GETARG_LSN(2);
		history->directory = walredo_getarg_cstring(fcinfo, 3);
		walredo_progress_set_target(InvalidOid, PG_GETARG_WALREDO_TAG_P(0));
		begin_history(history, PG_GETARG_WALREDO_TAG_P(0),
					  is_page_used(fcinfo));
		funcctx->user_fctx = history;
		RegisterExprContextCallback(rsinfo->econtext, end_history,
									PointerGetDatum(history));
		MemoryContextSwitchTo(old_context);
	}

	funcctx = SRF_PERCALL_SETUP();
	history = funcctx->user_fctx;
	old_context = MemoryContextSwitchTo(history->row_context);
	found = next_row(history);
	MemoryContextSwitchTo(old_context);
	if (!found)
	{
		UnregisterExprContextCallback(rsinfo->econtext, end_history,
									  PointerGetDatum(history));
		end_history(PointerGetDatum(history));
		SRF_RETURN_DONE(funcctx);
	}
	SRF_RETURN_NEXT(funcctx, EOHPGetRODatum(&history->entry.eoh));
}

/*
 * Does not return: the entry has no page, because the statement that has read
 * it did not call _walredo_history_page().
 */
static void
report_no_page(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("entry of _walredo_read_history() has no page"),
			 errdetail("It was stored by a statement that did not use the page."),
			 errhint("Use walredo_page_history() instead.")));
}

/*
 * _walredo_history_page(entry)
 *
 * The column "page" of walredo_page_history().  A flat entry can be given by
 * anyone, so nothing in it is trusted.
 */
Datum
walredo_history_page(PG_FUNCTION_ARGS)
{
	WalredoEntry entry;
	HistoryTail tail;
	Size		page_size;

	walredo_getarg_entry(fcinfo, &entry);
	if (entry.expanded != NULL)
	{
		HistoryScan *history = (HistoryScan *) entry.expanded;
		bytea	   *page;

		if (history->rebuild == NULL)
			report_no_page();
		page = page_of_row(history);
		if (page == NULL)
			PG_RETURN_NULL();
		PG_RETURN_BYTEA_P(page);
	}

	if (entry.tail_size < sizeof(tail))
		walredo_not_an_entry("_walredo_read_history");
	page_size = entry.tail_size - sizeof(tail);
	memcpy(&tail, entry.tail + page_size, sizeof(tail));
	if (tail.magic != HISTORY_MAGIC ||
		(tail.page != ENTRY_WITH_PAGE && page_size > 0))
		walredo_not_an_entry("_walredo_read_history");
	switch (tail.page)
	{
		case ENTRY_WITH_PAGE:
			PG_RETURN_BYTEA_P(cstring_to_text_with_len(entry.tail, page_size));
		case ENTRY_WITH_NULL:
			PG_RETURN_NULL();
		case ENTRY_WITHOUT_PAGE:
			report_no_page();
	}
	walredo_not_an_entry("_walredo_read_history");
	PG_RETURN_NULL();
}

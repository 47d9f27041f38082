/*-------------------------------------------------------------------------
 *
 * verifyfuncs.c
 *	  SQL functions that check pages of relations and SLRUs against WAL.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/api/verifyfuncs.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "api/api.h"
#include "catalog/pg_class.h"
#include "common/relpath.h"
#include "compat.h"
#include "executor/tuptable.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "page/attempt.h"
#include "page/verify.h"
#include "page/verify_slru.h"
#include "storage/bufmgr.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/pg_lsn.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

WALREDO_LONG_FUNCTION(walredo_verify, WALREDO_COMMAND_VERIFY)
WALREDO_LONG_FUNCTION(walredo_verify_block, WALREDO_COMMAND_VERIFY)
WALREDO_LONG_FUNCTION(walredo_verify_all, WALREDO_COMMAND_VERIFY_ALL)
WALREDO_LONG_FUNCTION(walredo_verify_slru, WALREDO_COMMAND_VERIFY_SLRU)

static const char *const status_names[] = {
	[WALREDO_VERIFY_OK] = "ok",
	[WALREDO_VERIFY_MISMATCH] = "mismatch",
	[WALREDO_VERIFY_UNVERIFIABLE] = "unverifiable",
	[WALREDO_VERIFY_UNLOGGED] = "unlogged"
};

/*
 * Columns of walredo_verify_all().  walredo_verify() has those from blkno on.
 */
typedef enum ResultColumn
{
	RESULT_RELATION,
	RESULT_FORK,
	RESULT_BLKNO,
	RESULT_PAGE_LSN,
	RESULT_STATUS,
	RESULT_DETAIL
} ResultColumn;

#define NUM_RESULT_COLUMNS	(RESULT_DETAIL + 1)

/*
 * Where results are put.
 *
 * Results of a fork are kept apart from those that the function returns until
 * the fork is done with, since they may have to be forgotten.
 */
typedef struct ResultSink
{
	ReturnSetInfo *rsinfo;
	Tuplestorestate *fork;		/* of the fork that is not done with */
	TupleTableSlot *slot;
	bool		with_fork;		/* rows begin with relation and fork */
	uint64		num_returned;	/* rows that have been moved */
} ResultSink;

/* A WalredoVerifySink's report: makes a row of a result. */
static void
put_result(const WalredoVerifyResult *result, void *arg)
{
	ResultSink *sink = arg;
	Datum		values[NUM_RESULT_COLUMNS];
	bool		nulls[NUM_RESULT_COLUMNS] = {0};
	const int	first = sink->with_fork ? 0 : RESULT_BLKNO;

	values[RESULT_RELATION] = ObjectIdGetDatum(result->relid);
	values[RESULT_FORK] = CStringGetTextDatum(forkNames[result->forknum]);
	nulls[RESULT_BLKNO] = !BlockNumberIsValid(result->blkno);
	values[RESULT_BLKNO] = Int64GetDatum((int64) result->blkno);
	nulls[RESULT_PAGE_LSN] = XLogRecPtrIsInvalid(result->page_lsn);
	values[RESULT_PAGE_LSN] = LSNGetDatum(result->page_lsn);
	values[RESULT_STATUS] = CStringGetTextDatum(status_names[result->status]);
	nulls[RESULT_DETAIL] = (result->detail == NULL);
	if (result->detail != NULL)
		values[RESULT_DETAIL] = CStringGetTextDatum(result->detail);
	tuplestore_putvalues(sink->fork, sink->rsinfo->setDesc, values + first,
						 nulls + first);
}

/*
 * A WalredoVerifySink's end_fork: moves the results of a fork to those that are
 * returned, or forgets them.
 */
static void
end_fork(bool keep, void *arg)
{
	ResultSink *sink = arg;

	while (keep && tuplestore_gettupleslot(sink->fork, true, false, sink->slot))
	{
		tuplestore_puttupleslot(sink->rsinfo->setResult, sink->slot);
		sink->num_returned++;
	}
	tuplestore_clear(sink->fork);
}

/*
 * Checks forks and returns the results as the function's rows, of which it
 * returns the number.
 */
static uint64
verify_forks(FunctionCallInfo fcinfo, const WalredoVerifyFork *forks,
			 int nforks, const char *directory, bool with_fork)
{
	ResultSink	sink = {(ReturnSetInfo *) fcinfo->resultinfo};
	WalredoVerifySink callbacks = {put_result, end_fork, &sink};
	WalredoVerifyOptions options = {.directory = directory};

	InitMaterializedSRF(fcinfo, 0);
	sink.fork = tuplestore_begin_heap(false, false, work_mem);
	sink.slot = MakeSingleTupleTableSlot(sink.rsinfo->setDesc,
										 &TTSOpsMinimalTuple);
	sink.with_fork = with_fork;
	walredo_verify_forks(forks, nforks, &options, &callbacks);
	ExecDropSingleTupleTableSlot(sink.slot);
	tuplestore_end(sink.fork);
	return sink.num_returned;
}

/*
 * It may have been dropped since its name was looked up.  That is an error,
 * too, as to return no rows would mean that it has no blocks.
 */
void
walredo_check_verifiable(Oid relid)
{
	Relation	rel = try_relation_open(relid, AccessShareLock);

	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	if (!RELKIND_HAS_STORAGE(rel->rd_rel->relkind))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot verify relation \"%s\"",
						RelationGetRelationName(rel)),
				 errdetail_relkind_not_supported(rel->rd_rel->relkind)));
	if (RELATION_IS_OTHER_TEMP(rel))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot verify temporary tables of other sessions")));
	relation_close(rel, AccessShareLock);
}

static void
check_relation_arg(void *arg)
{
	walredo_check_verifiable(*(Oid *) arg);
}

/*
 * walredo_verify(relname regclass, fork text, wal_directory text)
 *
 * Returns one row per block of the fork, and rows about the fork as a whole.
 */
static Datum
walredo_verify_work(PG_FUNCTION_ARGS)
{
	WalredoVerifyFork fork;

	walredo_check_may_read_wal();
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
	{
		InitMaterializedSRF(fcinfo, 0);
		return (Datum) 0;
	}
	fork.relid = PG_GETARG_OID(0);
	fork.forknum = forkname_to_number(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	fork.blkno = InvalidBlockNumber;

	walredo_check_verifiable(fork.relid);
	verify_forks(fcinfo, &fork, 1, walredo_getarg_cstring(fcinfo, 2), false);
	return (Datum) 0;
}

/*
 * walredo_verify(relname regclass, fork text, blkno int8, wal_directory text)
 *
 * Returns one row about the block, or about the fork as a whole.  As to return
 * none could be taken for "no damage", a block that does not exist is an error,
 * which is the one that get_raw_page() raises.
 */
static Datum
walredo_verify_block_work(PG_FUNCTION_ARGS)
{
	WalredoVerifyFork fork;

	walredo_check_may_read_wal();
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
	{
		InitMaterializedSRF(fcinfo, 0);
		return (Datum) 0;
	}
	fork.relid = PG_GETARG_OID(0);
	fork.forknum = forkname_to_number(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	fork.blkno = walredo_check_block_number(PG_GETARG_INT64(2));

	walredo_check_verifiable(fork.relid);
	if (verify_forks(fcinfo, &fork, 1, walredo_getarg_cstring(fcinfo, 3),
					 false) == 0)
	{
		char	   *relname = get_rel_name(fork.relid);

		if (relname == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("relation with OID %u does not exist",
							fork.relid)));
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("block number %u is out of range for relation \"%s\"",
						fork.blkno, relname)));
	}
	return (Datum) 0;
}

/* A scan of some blocks of pg_class for relations that can be verified. */
typedef struct ClassScan
{
	MemoryContext context;		/* of the list */
	Snapshot	snapshot;
	BlockNumber first_block;
	BlockNumber num_blocks;
	List	   *relids;
} ClassScan;

static void
scan_pg_class(void *arg)
{
	ClassScan  *work = arg;
	Relation	pg_class = table_open(RelationRelationId, AccessShareLock);
	TableScanDesc scan;
	HeapTuple	tuple;

	scan = table_beginscan_strat(pg_class, work->snapshot, 0, NULL, false,
								 false);
	heap_setscanlimits(scan, work->first_block, work->num_blocks);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);
		MemoryContext old_context = MemoryContextSwitchTo(work->context);

		if (RELKIND_HAS_STORAGE(form->relkind) &&
			form->relpersistence != RELPERSISTENCE_TEMP)
			work->relids = lappend_oid(work->relids, form->oid);
		MemoryContextSwitchTo(old_context);
	}
	table_endscan(scan);
	table_close(pg_class, AccessShareLock);
}

/*
 * Adds the relations in these blocks to the list.  False if a block could not
 * be read, because of damage to it; then the list is as before.
 */
static bool
try_scan_pg_class(ClassScan *work)
{
	List	   *relids = list_copy(work->relids);

	if (walredo_attempt(scan_pg_class, work) == NULL)
		return true;
	work->relids = relids;
	return false;
}

/*
 * If a page of pg_class is damaged, the verification of pg_class is going to
 * report it, and must not be kept from that.  So if the scan fails, pg_class is
 * read once more block by block, and blocks that cannot be read are left out.
 */
List *
walredo_all_relations(void)
{
	ClassScan	work = {CurrentMemoryContext, NULL, 0, InvalidBlockNumber, NIL};
	Relation	pg_class;
	BlockNumber nblocks;

	/*
	 * All scans use one snapshot, so that no row is missed because it is
	 * updated, and thereby moves to another page, between two of them.
	 */
	work.snapshot = RegisterSnapshot(GetTransactionSnapshot());
	if (!try_scan_pg_class(&work))
	{
		bool		complete = true;

		pg_class = table_open(RelationRelationId, AccessShareLock);
		nblocks = RelationGetNumberOfBlocks(pg_class);
		table_close(pg_class, AccessShareLock);
		work.num_blocks = 1;
		for (BlockNumber blkno = 0; blkno < nblocks; blkno++)
		{
			CHECK_FOR_INTERRUPTS();
			work.first_block = blkno;
			complete = try_scan_pg_class(&work) && complete;
		}
		if (!complete)
			ereport(WARNING,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("could not read all of pg_class"),
					 errdetail("Relations whose entries cannot be read are not verified.")));
	}
	UnregisterSnapshot(work.snapshot);
	list_sort(work.relids, list_oid_cmp);
	list_deduplicate_oid(work.relids);
	return work.relids;
}

WalredoVerifyFork *
walredo_logged_forks_of(const List *relids, int *nforks)
{
	WalredoVerifyFork *forks;
	ListCell   *lc;

	forks = MemoryContextAllocHuge(CurrentMemoryContext,
								   Max(list_length(relids), 1) *
								   WALREDO_NUM_LOGGED_FORKS *
								   sizeof(WalredoVerifyFork));
	*nforks = 0;
	foreach(lc, relids)
	{
		for (int i = 0; i < WALREDO_NUM_LOGGED_FORKS; i++)
		{
			forks[*nforks].relid = lfirst_oid(lc);
			forks[*nforks].forknum = walredo_logged_forks[i];
			forks[*nforks].blkno = InvalidBlockNumber;
			(*nforks)++;
		}
	}
	return forks;
}

/*
 * walredo_verify_all(relations regclass[], wal_directory text)
 *
 * Returns what walredo_verify() does, for all forks that are logged, of the
 * relations given or of all that there are.
 */
static Datum
walredo_verify_all_work(PG_FUNCTION_ARGS)
{
	List	   *relids;
	WalredoVerifyFork *forks;
	int			nforks = 0;
	ListCell   *lc;

	walredo_check_may_read_wal();
	if (PG_ARGISNULL(0))
		relids = walredo_all_relations();
	else
	{
		relids = walredo_getarg_relations(fcinfo, 0);
		foreach(lc, relids)
		{
			Oid			relid = lfirst_oid(lc);
			ErrorData  *error = walredo_attempt(check_relation_arg, &relid);

			/*
			 * What a caller has got wrong is an error.  That a relation
			 * cannot be opened because of damage will be among the results.
			 */
			if (error != NULL &&
				(error->sqlerrcode == ERRCODE_UNDEFINED_TABLE ||
				 error->sqlerrcode == ERRCODE_WRONG_OBJECT_TYPE ||
				 error->sqlerrcode == ERRCODE_FEATURE_NOT_SUPPORTED))
				ReThrowError(error);
		}
	}

	forks = walredo_logged_forks_of(relids, &nforks);
	verify_forks(fcinfo, forks, nforks, walredo_getarg_cstring(fcinfo, 1),
				 true);
	return (Datum) 0;
}

/* A WalredoReportSlruPage: makes a row of a result. */
static void
put_slru_result(const WalredoTag *tag, WalredoVerifyStatus status,
				const char *detail, void *arg)
{
	ReturnSetInfo *rsinfo = arg;
	Datum		values[3];
	bool		nulls[3] = {0};

	values[0] = PointerGetDatum(tag);
	values[1] = CStringGetTextDatum(status_names[status]);
	nulls[2] = (detail == NULL);
	if (detail != NULL)
		values[2] = CStringGetTextDatum(detail);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);

	/* There is a result for each page, and what is palloc'd here stays. */
	pfree(DatumGetPointer(values[1]));
	if (detail != NULL)
		pfree(DatumGetPointer(values[2]));
}

/*
 * walredo_verify_slru(slru text, wal_directory text)
 *
 * Returns one row per page of an SLRU, or of all that WAL has records of.
 */
static Datum
walredo_verify_slru_work(PG_FUNCTION_ARGS)
{
	char	   *directory = walredo_getarg_cstring(fcinfo, 1);
	int			slrus;

	walredo_check_may_read_wal();
	slrus = walredo_getarg_slrus(fcinfo, 0);
	InitMaterializedSRF(fcinfo, 0);
	walredo_verify_slrus(slrus, directory, put_slru_result,
						 fcinfo->resultinfo);
	return (Datum) 0;
}

/*-------------------------------------------------------------------------
 *
 * verify.c
 *	  SQL function that checks a relation's pages against the log.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/api/verify.c
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
#include "funcapi.h"
#include "page/verify.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(walredo_verify);
PG_FUNCTION_INFO_V1(walredo_verify_all);
PG_FUNCTION_INFO_V1(walredo_get_verify_progress);

static const char *const status_names[] = {
	[WALREDO_VERIFY_OK] = "ok",
	[WALREDO_VERIFY_MISMATCH] = "mismatch",
	[WALREDO_VERIFY_UNVERIFIABLE] = "unverifiable",
	[WALREDO_VERIFY_UNLOGGED] = "unlogged"
};

/* Where verdicts are put, and if they say which fork they are of. */
typedef struct VerdictSink
{
	ReturnSetInfo *rsinfo;
	bool		with_fork;
} VerdictSink;

static void
put_verdict(const WalredoVerdict *verdict, void *arg)
{
	VerdictSink *sink = arg;
	Datum		values[6];
	bool		nulls[6] = {0};
	int			i = 0;

	if (sink->with_fork)
	{
		values[i++] = ObjectIdGetDatum(verdict->relid);
		values[i++] = CStringGetTextDatum(forkNames[verdict->forknum]);
	}
	values[i++] = Int64GetDatum((int64) verdict->blkno);
	nulls[i] = XLogRecPtrIsInvalid(verdict->page_lsn);
	values[i++] = LSNGetDatum(verdict->page_lsn);
	values[i++] = CStringGetTextDatum(status_names[verdict->status]);
	if (verdict->detail != NULL)
		values[i] = CStringGetTextDatum(verdict->detail);
	else
		nulls[i] = true;
	tuplestore_putvalues(sink->rsinfo->setResult, sink->rsinfo->setDesc,
						 values, nulls);
}

/* ERROR unless a relation is one that can be looked at. */
static void
check_relation(Relation rel)
{
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
}

/*
 * walredo_verify(relname regclass, fork text)
 */
Datum
walredo_verify(PG_FUNCTION_ARGS)
{
	WalredoVerifyFork fork;
	VerdictSink sink = {(ReturnSetInfo *) fcinfo->resultinfo, false};
	Relation	rel;

	fork.relid = PG_GETARG_OID(0);
	fork.forknum = forkname_to_number(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	walredo_check_may_read_log();
	InitMaterializedSRF(fcinfo, 0);

	rel = relation_open(fork.relid, AccessShareLock);
	check_relation(rel);
	walredo_verify_forks(&fork, 1, put_verdict, &sink);
	relation_close(rel, AccessShareLock);
	return (Datum) 0;
}

/*
 * All relations of the database that have storage, without temporary ones.
 */
static List *
all_relations(void)
{
	List	   *relids = NIL;
	Relation	pg_class = table_open(RelationRelationId, AccessShareLock);
	TableScanDesc scan = table_beginscan_catalog(pg_class, 0, NULL);
	HeapTuple	tuple;

	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_class form = (Form_pg_class) GETSTRUCT(tuple);

		if (RELKIND_HAS_STORAGE(form->relkind) &&
			form->relpersistence != RELPERSISTENCE_TEMP)
			relids = lappend_oid(relids, form->oid);
	}
	table_endscan(scan);
	table_close(pg_class, AccessShareLock);
	return relids;
}

/*
 * walredo_verify_all(relations regclass[])
 *
 * All forks that are logged, of the relations given or of all that there are.
 */
Datum
walredo_verify_all(PG_FUNCTION_ARGS)
{
	VerdictSink sink = {(ReturnSetInfo *) fcinfo->resultinfo, true};
	List	   *relids;
	WalredoVerifyFork *forks;
	int			nforks = 0;
	ListCell   *lc;

	walredo_check_may_read_log();
	InitMaterializedSRF(fcinfo, 0);

	if (PG_ARGISNULL(0))
		relids = all_relations();
	else
	{
		relids = walredo_getarg_relations(fcinfo, 0);
		foreach(lc, relids)
		{
			Relation	rel = relation_open(lfirst_oid(lc), AccessShareLock);

			check_relation(rel);
			relation_close(rel, AccessShareLock);
		}
	}

	forks = palloc(Max(list_length(relids), 1) * WALREDO_NUM_LOGGED_FORKS *
				   sizeof(WalredoVerifyFork));
	foreach(lc, relids)
	{
		for (int i = 0; i < WALREDO_NUM_LOGGED_FORKS; i++)
		{
			forks[nforks].relid = lfirst_oid(lc);
			forks[nforks].forknum = walredo_logged_forks[i];
			nforks++;
		}
	}
	walredo_verify_forks(forks, nforks, put_verdict, &sink);
	return (Datum) 0;
}

/*
 * walredo_get_verify_progress()
 *
 * A row a session that is verifying now.
 */
Datum
walredo_get_verify_progress(PG_FUNCTION_ARGS)
{
	static const char *const phase_names[] = {
		[WALREDO_PHASE_READING] = "reading log",
		[WALREDO_PHASE_COMPARING] = "comparing pages"
	};
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int			nbackends = pgstat_fetch_stat_numbackends();

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 1; i <= nbackends; i++)
	{
		PgBackendStatus *status = &walredo_local_beentry(i)->backendStatus;
		int64	   *param = status->st_progress_param;
		Datum		values[10];
		bool		nulls[10] = {0};

		if (status->st_progress_command != WALREDO_PROGRESS_COMMAND)
			continue;
		values[0] = Int32GetDatum(status->st_procpid);
		values[1] = ObjectIdGetDatum(status->st_databaseid);
		values[2] = ObjectIdGetDatum(status->st_progress_command_target);
		nulls[2] = nulls[3] = !OidIsValid(status->st_progress_command_target);
		values[3] =
			CStringGetTextDatum(forkNames[param[WALREDO_PROGRESS_FORK]]);
		values[4] =
			CStringGetTextDatum(phase_names[param[WALREDO_PROGRESS_PHASE]]);
		values[5] = Int64GetDatum(param[WALREDO_PROGRESS_BLOCKS_TOTAL]);
		values[6] = Int64GetDatum(param[WALREDO_PROGRESS_BLOCKS_DONE]);
		values[7] = LSNGetDatum(param[WALREDO_PROGRESS_LOG_START]);
		values[8] = LSNGetDatum(param[WALREDO_PROGRESS_LOG_POSITION]);
		values[9] = LSNGetDatum(param[WALREDO_PROGRESS_LOG_END]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
	}
	return (Datum) 0;
}

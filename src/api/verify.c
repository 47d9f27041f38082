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

#include "access/relation.h"
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
PG_FUNCTION_INFO_V1(walredo_get_verify_progress);

static const char *const status_names[] = {
	[WALREDO_VERIFY_OK] = "ok",
	[WALREDO_VERIFY_MISMATCH] = "mismatch",
	[WALREDO_VERIFY_UNVERIFIABLE] = "unverifiable",
	[WALREDO_VERIFY_UNLOGGED] = "unlogged"
};

static void
put_verdict(const WalredoVerdict *verdict, void *arg)
{
	ReturnSetInfo *rsinfo = arg;
	Datum		values[4];
	bool		nulls[4] = {0};

	values[0] = Int64GetDatum((int64) verdict->blkno);
	values[1] = LSNGetDatum(verdict->page_lsn);
	nulls[1] = XLogRecPtrIsInvalid(verdict->page_lsn);
	values[2] = CStringGetTextDatum(status_names[verdict->status]);
	if (verdict->detail != NULL)
		values[3] = CStringGetTextDatum(verdict->detail);
	else
		nulls[3] = true;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * walredo_verify(relname regclass, fork text)
 */
Datum
walredo_verify(PG_FUNCTION_ARGS)
{
	Oid			relid = PG_GETARG_OID(0);
	ForkNumber	forknum =
		forkname_to_number(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	Relation	rel;

	walredo_check_may_read_log();
	InitMaterializedSRF(fcinfo, 0);

	rel = relation_open(relid, AccessShareLock);
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

	walredo_verify_fork(rel, forknum, put_verdict, fcinfo->resultinfo);
	relation_close(rel, AccessShareLock);
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

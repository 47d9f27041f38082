/*-------------------------------------------------------------------------
 *
 * support.c
 *	  For the planner: the support function that starts the session's pool
 *	  while a query that may run in parallel is planned, and what planner hooks
 *	  recognize functions by.
 *
 * Where the library was not preloaded, a session has a pool of its own, with a
 * background worker, which is normally started with the first request.  In a
 * query that is executed in parallel, the first request comes after the
 * parallel workers have been started, and these may have taken the last of
 * max_worker_processes places.  Then the pool's worker cannot be started, and
 * the query fails.  So the worker is registered before them, which means while
 * the query is planned.
 *
 * That is what the support function is for: as the planner calls it, the
 * library is loaded then if it was not before.  The planner itself learns
 * nothing from it.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/api/support.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "api/api.h"
#include "catalog/pg_language_d.h"
#include "catalog/pg_proc.h"
#include "compat.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/pathnodes.h"
#include "nodes/supportnodes.h"
#include "pool/client.h"
#include "utils/acl.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(walredo_support);

bool
walredo_is_function(Oid funcid, const char *name, PGFunction address)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(funcid));
	FmgrInfo	flinfo;
	bool		has_name;

	if (!HeapTupleIsValid(tuple))
		return false;

	/* Do not load other libraries to find out. */
	has_name = strcmp(NameStr(((Form_pg_proc) GETSTRUCT(tuple))->proname),
					  name) == 0 &&
		((Form_pg_proc) GETSTRUCT(tuple))->prolang == ClanguageId;
	ReleaseSysCache(tuple);
	if (!has_name)
		return false;
	fmgr_info(funcid, &flinfo);
	return flinfo.fn_addr == address;
}

/*
 * Whether the role may execute the function is checked only when the query is
 * executed.  As a role that may not must not make the server start processes,
 * it is checked here, too.
 */
static void
expect_requests(PlannerInfo *root, Oid funcid)
{
	if (root != NULL && root->glob->parallelModeOK &&
		walredo_function_aclcheck(funcid, GetUserId()) == ACLCHECK_OK)
		walredo_pool_expect_requests();
}

/*
 * _walredo_support(internal)
 *
 * The planner asks once for each call in the query, while it plans, whether the
 * call can be simplified.  It does not ask so for an aggregate, but what its
 * final function costs.
 */
Datum
walredo_support(PG_FUNCTION_ARGS)
{
	Node	   *request = (Node *) PG_GETARG_POINTER(0);

	if (IsA(request, SupportRequestSimplify))
	{
		SupportRequestSimplify *simplify = (SupportRequestSimplify *) request;

		expect_requests(simplify->root, simplify->fcall->funcid);
	}
	else if (IsA(request, SupportRequestCost))
	{
		SupportRequestCost *cost = (SupportRequestCost *) request;

		expect_requests(cost->root, cost->funcid);
	}
	PG_RETURN_POINTER(NULL);
}

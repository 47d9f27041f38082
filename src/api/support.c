/*-------------------------------------------------------------------------
 *
 * support.c
 *	  Planner support function: starts the session's pool while a query that may
 *	  run in parallel is planned.
 *
 * Where the library was not preloaded, the pool has a background worker of its
 * own.  If the query is executed in parallel, workers are started for it, and
 * if they take the last places that there are for background workers, the
 * pool's worker finds none any more.  So it is registered before them.  The
 * planner itself learns nothing from this function.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/api/support.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_proc.h"
#include "compat.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/pathnodes.h"
#include "nodes/supportnodes.h"
#include "pool/client.h"
#include "utils/acl.h"

PG_FUNCTION_INFO_V1(walredo_support);

/*
 * _walredo_support(internal)
 *
 * The planner asks to simplify the call once for each, while it plans; whether
 * the role may execute the function it looks at later only.
 */
Datum
walredo_support(PG_FUNCTION_ARGS)
{
	Node	   *request = (Node *) PG_GETARG_POINTER(0);

	if (IsA(request, SupportRequestSimplify))
	{
		SupportRequestSimplify *simplify = (SupportRequestSimplify *) request;

		if (simplify->root != NULL && simplify->root->glob->parallelModeOK &&
			walredo_function_aclcheck(simplify->fcall->funcid,
									  GetUserId()) == ACLCHECK_OK)
			walredo_pool_expect_requests();
	}
	PG_RETURN_POINTER(NULL);
}

/*-------------------------------------------------------------------------
 *
 * support.c
 *	  What the planner learns about functions that replay records.
 *
 * Nothing, in fact; but that a query with such a function is being planned is
 * the moment to begin the session's pool, where the library was not preloaded.
 * If the query is executed in parallel, workers are started for it, and if they
 * take the last places that there are for background workers, the pool's own
 * worker finds none any more.
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

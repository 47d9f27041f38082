/*-------------------------------------------------------------------------
 *
 * attempt.c
 *	  Calling functions that may fail because of damaged data.
 *
 * Verification looks at data that may be damaged, through functions of the
 * server that raise an error if it is: a page has a wrong checksum, a file is
 * missing, an entry of a catalog cannot be read.  Such an error is a result,
 * and must not keep the other pages from being verified.
 *
 * An error leaves buffer pins, locks and memory behind, which the server
 * cleans up at the end of a transaction or subtransaction only.  Therefore
 * every attempt is a subtransaction of its own.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/attempt.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "page/attempt.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

/*
 * Does an error say something about the data, rather than about the
 * circumstances under which it was looked at?  An error of which this is not
 * known does, so that it is reported with its page or relation.
 */
static bool
is_about_data(const ErrorData *error)
{
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_TO_CATEGORY(ERRCODE_OPERATOR_INTERVENTION):
		case ERRCODE_TO_CATEGORY(ERRCODE_INSUFFICIENT_RESOURCES):
		case ERRCODE_TO_CATEGORY(ERRCODE_TRANSACTION_ROLLBACK):
		case ERRCODE_TO_CATEGORY(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE):
			return false;
		default:
			return true;
	}
}

ErrorData *
walredo_attempt(void (*function) (void *arg), void *arg)
{
	MemoryContext old_context = CurrentMemoryContext;
	ResourceOwner old_owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);

	/* What the function allocates has to outlive the subtransaction. */
	MemoryContextSwitchTo(old_context);
	PG_TRY();
	{
		function(arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(old_context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		if (!is_about_data(error))
			ReThrowError(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old_context);
	CurrentResourceOwner = old_owner;
	return error;
}

/*-------------------------------------------------------------------------
 *
 * linkfuncs.c
 *	  SQL function that checks the page images in WAL.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/api/linkfuncs.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/api.h"
#include "funcapi.h"
#include "page/links.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"
#include "utils/tuplestore.h"

WALREDO_LONG_FUNCTION(walredo_verify_images, WALREDO_COMMAND_VERIFY_IMAGES)

static void
put_link(const WalredoBrokenLink *link, void *arg)
{
	ReturnSetInfo *rsinfo = arg;
	Datum		values[7];
	bool		nulls[7] = {0};

	values[0] = LSNGetDatum(link->lsn);
	values[1] = PointerGetDatum(&link->tag);
	values[2] = LSNGetDatum(link->page_lsn);
	values[3] = LSNGetDatum(link->expected_lsn);
	values[4] = CStringGetTextDatum(link->resource_manager);
	values[5] = CStringGetTextDatum(link->record_type);
	values[6] = CStringGetTextDatum(link->detail);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * walredo_verify_images(start_lsn, end_lsn, wal_directory)
 *
 * Returns one row per image that does not continue the page that the records
 * before it have made.
 */
static Datum
walredo_verify_images_work(PG_FUNCTION_ARGS)
{
	WalredoLinksResult result;

	walredo_check_may_read_wal();
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("start and end LSN must not be null")));
	InitMaterializedSRF(fcinfo, 0);

	walredo_links_check(walredo_getarg_cstring(fcinfo, 2), PG_GETARG_LSN(0),
						PG_GETARG_LSN(1), NULL, 0, put_link,
						fcinfo->resultinfo, &result);
	ereport(DEBUG1,
			(errmsg_internal("%llu images, %llu links, %llu broken, %d passes",
							 (unsigned long long) result.num_images,
							 (unsigned long long) result.num_links,
							 (unsigned long long) result.num_broken,
							 result.num_passes)));
	return (Datum) 0;
}

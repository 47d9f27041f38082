/*-------------------------------------------------------------------------
 *
 * walredo.c
 *	  Start of the library: settings, and whether this process is a wal-redo
 *	  child.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/walredo.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "child/child.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pool/pool.h"
#include "stats/stats.h"
#include "utils/guc.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

static void
define_settings(void)
{
	DefineCustomBoolVariable("walredo.enabled",
							 "Allows replay of WAL records.",
							 NULL,
							 &walredo_enabled,
							 true,
							 PGC_SUSET,
							 0,
							 NULL, NULL, NULL);

	DefineCustomIntVariable("walredo.timeout",
							"Sets how long a wal-redo child may take to start, or to answer a request.",
							NULL,
							&walredo_timeout,
							20000,
							1, INT_MAX,
							PGC_USERSET,
							GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomIntVariable("walredo.pool_size",
							"Sets how many wal-redo children all sessions share.",
							"Without walredo in shared_preload_libraries, each session has one of its own.",
							&walredo_pool_size,
							4,
							1, WALREDO_MAX_CHILDREN,
							PGC_SIGHUP,
							0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("walredo.idle_timeout",
							"Sets after how long a wal-redo child that nobody uses is ended.",
							"Zero keeps children for ever.",
							&walredo_idle_timeout,
							60000,
							0, INT_MAX,
							PGC_SIGHUP,
							GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomIntVariable("walredo.max_retries",
							"Sets how often a request is tried again if its wal-redo child was killed from outside.",
							"The same goes for a child that died after it had served other requests.",
							&walredo_max_retries,
							1,
							0, 10,
							PGC_USERSET,
							0,
							NULL, NULL, NULL);

	DefineCustomBoolVariable("walredo.save_failed_requests",
							 "Saves requests that a wal-redo child died of.",
							 "They are kept in the directory walredo_failed_requests below the data directory.",
							 &walredo_save_failed_requests,
							 false,
							 PGC_SUSET,
							 0,
							 NULL, NULL, NULL);

	MarkGUCPrefixReserved("walredo");
}

void
_PG_init(void)
{
	if (walredo_child_is_wanted())
	{
		walredo_child_init();
		return;
	}

	define_settings();
	walredo_stats_init(walredo_stats);
	if (process_shared_preload_libraries_in_progress)
		walredo_pool_init_shared();
}

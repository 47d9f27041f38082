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

#include "api/aggscan.h"
#include "api/rowscan.h"
#include "backup/backup.h"
#include "child/child.h"
#include "fmgr.h"
#include "index/index.h"
#include "miscadmin.h"
#include "pool/pool.h"
#include "source/restore.h"
#include "source/source.h"
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
							"Sets the maximum time that a wal-redo child may take to start, or to answer a request.",
							NULL,
							&walredo_timeout,
							20000,
							1, INT_MAX,
							PGC_USERSET,
							GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomIntVariable("walredo.pool_size",
							"Sets the maximum number of wal-redo children that all sessions share.",
							"If walredo is not in shared_preload_libraries, each session has its own child.",
							&walredo_pool_size,
							4,
							1, WALREDO_MAX_CHILDREN,
							PGC_SIGHUP,
							0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("walredo.max_parallel_children",
							"Sets the maximum number of wal-redo children that one query uses at a time.",
							"Only children that are free are used, besides one.",
							&walredo_max_parallel_children,
							2,
							1, WALREDO_MAX_CHILDREN,
							PGC_USERSET,
							0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("walredo.idle_timeout",
							"Sets how long a wal-redo child can be idle before it is ended.",
							"0 disables the timeout.",
							&walredo_idle_timeout,
							60000,
							0, INT_MAX,
							PGC_SIGHUP,
							GUC_UNIT_MS,
							NULL, NULL, NULL);

	DefineCustomIntVariable("walredo.max_retries",
							"Sets how often a request is retried if its wal-redo child was killed by something other than walredo.",
							"This also applies if the child died after it had answered other requests.",
							&walredo_max_retries,
							1,
							0, 10,
							PGC_USERSET,
							0,
							NULL, NULL, NULL);

	DefineCustomBoolVariable("walredo.save_failed_requests",
							 "Saves requests on which a wal-redo child failed.",
							 "They are kept in the directory walredo_failed_requests below the data directory.",
							 &walredo_save_failed_requests,
							 false,
							 PGC_SUSET,
							 0,
							 NULL, NULL, NULL);

	DefineCustomStringVariable("walredo.timeline",
							   "Sets the timeline along which WAL is read.",
							   "Can be \"current\", \"latest\", or the number of a timeline.",
							   &walredo_timeline_setting,
							   "current",
							   PGC_USERSET,
							   0,
							   walredo_check_timeline, NULL, NULL);

	DefineCustomStringVariable("walredo.backup_directory",
							   "Sets the base backups that pages are taken from, separated by colons.",
							   "They are directories as pg_basebackup makes them in plain format.",
							   &walredo_backup_directory,
							   "",
							   PGC_SUSET,
							   0,
							   NULL, NULL, NULL);

	DefineCustomStringVariable("walredo.restore_command",
							   "Sets the shell command that gets a WAL file that is not in the directories.",
							   "An empty string means that there is none.",
							   &walredo_restore_command,
							   "",
							   PGC_SUSET,
							   0,
							   walredo_check_restore_command, NULL, NULL);

	DefineCustomIntVariable("walredo.restore_segments",
							"Sets the maximum number of files from the restore command that a session keeps.",
							NULL,
							&walredo_restore_segments,
							8,
							1, WALREDO_MAX_RESTORE_SEGMENTS,
							PGC_SUSET,
							0,
							NULL, NULL, NULL);

	DefineCustomIntVariable("walredo.index_size",
							"Sets the maximum disk space that indexes of WAL take.",
							"0 means that indexes are neither made nor used.",
							&walredo_index_size,
							1024 * 1024,
							0, INT_MAX,
							PGC_SUSET,
							GUC_UNIT_KB,
							NULL, NULL, NULL);

	DefineCustomBoolVariable("walredo.index_wal",
							 "Makes indexes of the server's own WAL in the background.",
							 "This needs walredo in shared_preload_libraries.",
							 &walredo_index_server_wal,
							 true,
							 PGC_SIGHUP,
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
	walredo_agg_scan_init();
	walredo_rows_scan_init();
	if (process_shared_preload_libraries_in_progress)
	{
		walredo_pool_init_shared();
		walredo_index_register_worker();
	}
}

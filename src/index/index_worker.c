/*-------------------------------------------------------------------------
 *
 * index_worker.c
 *	  The background worker that indexes the server's own WAL.
 *
 * Scans make the indexes that they find missing, but the first scan has to read
 * all WAL for that.  So that it need not, this worker reads each segment of the
 * server's WAL soon after it was finished, while it is still in the kernel's
 * cache, and removes the indexes of segments that the server has removed.
 *
 * It is not the worker that has the children (pool/worker.c), which must answer
 * at once, while this one is busy for as long as it takes to read a segment.
 *
 * It must not take anything from the sessions.  It has the lowest priority that
 * an ordinary process can have, never asks the server to flush WAL, holds no
 * lock while it reads, and takes no part in transactions.  The server does not
 * wait for it before it removes a segment; then that has no index, and needs
 * none.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/index/index_worker.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/resource.h>
#include <unistd.h>

#include "access/xlog.h"
#include "compat.h"
#include "index/index.h"
#include "index/index_worker.h"
#include "index/indexer.h"
#include "index/store.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "progress/progress.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/pmsignal.h"
#include "storage/proc.h"
#include "storage/sinval.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"
#include "worker/signals.h"

/* A worker that failed is started again after this many seconds. */
#define RESTART_SECONDS		60

/*
 * How often the worker looks for finished segments, in milliseconds: the first
 * if it has found one lately, and up to the second in an idle server.
 */
#define MIN_NAP_MS			1000
#define MAX_NAP_MS			10000

bool		walredo_index_server_wal = true;

/*
 * The segment from which the worker goes on: those before it have been looked
 * at.  One that could not be indexed then is not tried again until the worker
 * is started again, or the settings are changed.
 */
static XLogSegNo next_segno = 0;

/* The end of WAL, the timeline, and the oldest segment at the last look. */
static XLogRecPtr last_end_lsn = 0;
static TimeLineID last_tli = 0;
static XLogSegNo oldest_segno = 0;

/* Is the worker to do something else than to index? */
static bool
should_stop(void)
{
	return walredo_worker_must_end || ConfigReloadPending ||
		!PostmasterIsAlive();
}

/*
 * Finds out which segment is the oldest, if that may have changed.  If it has,
 * removes the indexes of segments that the server has removed.
 */
static void
follow_oldest(WalredoSource *source, XLogRecPtr end_lsn)
{
	WalredoSegmentId id;

	if (oldest_segno != 0 &&
		walredo_source_identify(source, oldest_segno * source->segsize, 0,
								&id))
		return;
	oldest_segno = walredo_source_start(source, end_lsn) / source->segsize;
	if (walredo_source_identify(source, oldest_segno * source->segsize, 0,
								&id))
		walredo_store_clean(id.directory);
}

/*
 * Indexes the segments that have been finished, and have none.  Returns whether
 * there was a finished segment that had not been looked at.
 */
static bool
index_finished(void)
{
	XLogRecPtr	end_lsn = walredo_source_local_end(0);
	WalredoIndexRun run = {.should_stop = should_stop};

	/* This is the usual case, so it should cost nothing. */
	if (end_lsn == last_end_lsn || end_lsn / wal_segment_size <= next_segno)
		return false;

	run.source = walredo_source_begin(NULL, WALREDO_TOLERATE_ALL);
	if (run.source->tli != last_tli)
		next_segno = 0;
	last_tli = run.source->tli;
	follow_oldest(run.source, end_lsn);
	run.first = Max(oldest_segno, next_segno);
	run.last = end_lsn / wal_segment_size - 1;
	run.end_lsn = end_lsn;
	if (run.first <= run.last)
	{
		WalredoProgress *progress =
			walredo_progress_create(CurrentMemoryContext,
									WALREDO_COMMAND_INDEX_WORKER);

		walredo_progress_enter(progress);
		walredo_index_segments(&run);
		walredo_progress_leave(progress);
		walredo_progress_end(progress);
	}
	if (!should_stop())
	{
		next_segno = run.is_open ? run.last : run.last + 1;
		last_end_lsn = end_lsn;
	}
	walredo_source_end(run.source);
	return true;
}

/* Takes part in what all processes of a server must.  See pool/worker.c. */
static void
process_interrupts(MemoryContext turn_context)
{
	if (walredo_worker_must_end)
		proc_exit(walredo_worker_exit_code());
	CHECK_FOR_INTERRUPTS();
	ProcessCatchupInterrupt();
	MemoryContextSwitchTo(turn_context);
	MemoryContextReset(turn_context);

	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
		next_segno = 0;
		last_end_lsn = 0;
	}
}

void
walredo_index_worker_main(Datum main_arg)
{
	MemoryContext turn_context;
	uint32		wait_event_info;
	long		nap = MIN_NAP_MS;

	walredo_worker_set_signal_handlers();
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);

	/* The worker reads the server's WAL, along the server's timeline. */
	SetConfigOption("walredo.timeline", "current", PGC_SUSET, PGC_S_OVERRIDE);

	/* If this is not allowed, the worker does without. */
	(void) setpriority(PRIO_PROCESS, 0, PRIO_MAX - 1);

	turn_context = AllocSetContextCreate(TopMemoryContext,
										 "walredo index worker",
										 ALLOCSET_DEFAULT_SIZES);
	wait_event_info = walredo_wait_event("WalredoIndexWorkerMain",
										 PG_WAIT_EXTENSION);
	for (;;)
	{
		process_interrupts(turn_context);
		if (walredo_index_server_wal && walredo_index_size > 0 &&
			index_finished())
			nap = MIN_NAP_MS;
		else
			nap = Min(nap * 2, MAX_NAP_MS);
		if (should_stop())
			continue;
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 nap, wait_event_info);
		ResetLatch(MyLatch);
	}
}

void
walredo_index_register_worker(void)
{
	BackgroundWorker worker = {0};

	/* As for the worker of the pool, pg_stat_activity is to show it. */
	worker.bgw_flags =
		BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_ConsistentState;
	worker.bgw_restart_time = RESTART_SECONDS;
	strlcpy(worker.bgw_library_name, "walredo",
			sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "walredo_index_worker_main",
			sizeof(worker.bgw_function_name));
	strlcpy(worker.bgw_name, "walredo index worker", sizeof(worker.bgw_name));
	strlcpy(worker.bgw_type, "walredo index worker", sizeof(worker.bgw_type));
	RegisterBackgroundWorker(&worker);
}

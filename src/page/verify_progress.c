/*-------------------------------------------------------------------------
 *
 * verify_progress.c
 *	  How far a verification has come, as other sessions can see it.
 *
 * This uses the server's own command progress, as VACUUM does, so that it
 * needs no shared memory of its own, and works in sessions whose library was
 * not preloaded.  The server knows nothing of the command: its number is one
 * that no command of the server has, and only walredo_progress_read() knows
 * what the parameters mean.
 *
 * The server ends the display whenever a transaction or subtransaction fails.
 * That is right for an error that ends the verification, but not for an
 * attempt that fails and is reported as a result.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/verify_progress.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "page/attempt.h"
#include "page/verify_progress.h"
#include "utils/backend_progress.h"

#define PROGRESS_COMMAND	((ProgressCommandType) 0x57414c)

/* Parameters of the command, in its st_progress_param. */
typedef enum ProgressParam
{
	PARAM_PHASE,
	PARAM_FORK,
	PARAM_BLOCKS_TOTAL,
	PARAM_BLOCKS_DONE,
	PARAM_WAL_START,
	PARAM_WAL_POSITION,
	PARAM_WAL_END
} ProgressParam;

void
walredo_progress_show(const WalredoVerifyProgress *progress)
{
	pgstat_progress_start_command(PROGRESS_COMMAND, progress->relid);
	pgstat_progress_update_param(PARAM_PHASE, progress->phase);
	pgstat_progress_update_param(PARAM_FORK, progress->forknum);
	pgstat_progress_update_param(PARAM_BLOCKS_TOTAL, progress->blocks_total);
	pgstat_progress_update_param(PARAM_BLOCKS_DONE, progress->blocks_done);
	pgstat_progress_update_param(PARAM_WAL_START, progress->wal_start);
	pgstat_progress_update_param(PARAM_WAL_POSITION, progress->wal_position);
	pgstat_progress_update_param(PARAM_WAL_END, progress->wal_end);
}

void
walredo_progress_set_position(WalredoVerifyProgress *progress,
							  XLogRecPtr position)
{
	progress->wal_position = position;
	pgstat_progress_update_param(PARAM_WAL_POSITION, position);
}

void
walredo_progress_set_blocks_done(WalredoVerifyProgress *progress,
								 BlockNumber blocks_done)
{
	progress->blocks_done = blocks_done;
	pgstat_progress_update_param(PARAM_BLOCKS_DONE, blocks_done);
}

void
walredo_progress_end(void)
{
	pgstat_progress_end_command();
}

ErrorData *
walredo_verify_attempt(const WalredoVerifyProgress *progress,
					   void (*function) (void *arg), void *arg)
{
	ErrorData  *error = walredo_attempt(function, arg);

	if (error != NULL)
		walredo_progress_show(progress);
	return error;
}

bool
walredo_progress_read(const PgBackendStatus *backend,
					  WalredoVerifyProgress *progress)
{
	const int64 *param = backend->st_progress_param;

	if (backend->st_progress_command != PROGRESS_COMMAND)
		return false;
	progress->phase = (WalredoVerifyPhase) param[PARAM_PHASE];
	progress->relid = backend->st_progress_command_target;
	progress->forknum = (ForkNumber) param[PARAM_FORK];
	progress->blocks_total = (BlockNumber) param[PARAM_BLOCKS_TOTAL];
	progress->blocks_done = (BlockNumber) param[PARAM_BLOCKS_DONE];
	progress->wal_start = (XLogRecPtr) param[PARAM_WAL_START];
	progress->wal_position = (XLogRecPtr) param[PARAM_WAL_POSITION];
	progress->wal_end = (XLogRecPtr) param[PARAM_WAL_END];
	return true;
}

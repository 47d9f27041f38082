/*-------------------------------------------------------------------------
 *
 * verify_progress.h
 *	  How far a verification has come, as other sessions can see it.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/page/verify_progress.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_VERIFY_PROGRESS_H
#define WALREDO_VERIFY_PROGRESS_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "common/relpath.h"
#include "storage/block.h"
#include "utils/backend_status.h"

typedef enum WalredoVerifyPhase
{
	WALREDO_PHASE_READING_WAL,
	WALREDO_PHASE_COMPARING_PAGES
} WalredoVerifyPhase;

typedef struct WalredoVerifyProgress
{
	WalredoVerifyPhase phase;

	/*
	 * The fork that is compared.  While WAL is read for several forks, relid
	 * is InvalidOid, and forknum means nothing.
	 */
	Oid			relid;
	ForkNumber	forknum;

	/*
	 * Blocks of that fork, or of all forks that WAL is read for; and how many
	 * of the fork's blocks have been verified.
	 */
	BlockNumber blocks_total;
	BlockNumber blocks_done;

	/* The WAL that is read, and the end LSN of the last record read so far. */
	XLogRecPtr	wal_start;
	XLogRecPtr	wal_position;
	XLogRecPtr	wal_end;
} WalredoVerifyProgress;

/*
 * Shows all of the progress, or only that one value of it has changed.  The
 * display ends with the transaction at the latest.
 */
extern void walredo_progress_show(const WalredoVerifyProgress *progress);
extern void walredo_progress_set_position(WalredoVerifyProgress *progress,
										  XLogRecPtr position);
extern void walredo_progress_set_blocks_done(WalredoVerifyProgress *progress,
											 BlockNumber blocks_done);

/* Ends the display. */
extern void walredo_progress_end(void);

/*
 * As walredo_attempt(), for a verification whose progress is shown: it is still
 * shown after the attempt has failed.
 */
extern ErrorData *walredo_verify_attempt(const WalredoVerifyProgress *progress,
										 void (*function) (void *arg),
										 void *arg);

/* Reads the progress of a backend.  False if it is verifying nothing. */
extern bool walredo_progress_read(const PgBackendStatus *backend,
								  WalredoVerifyProgress *progress);

#endif							/* WALREDO_VERIFY_PROGRESS_H */

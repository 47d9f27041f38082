/*-------------------------------------------------------------------------
 *
 * progress.h
 *	  How far a function has come, as other sessions can see it.
 *
 * A function that can last is called through walredo_progress_call(), which
 * says what it is called.  Whatever works for it then tells here how far it
 * has come, without knowing for which function it works: the reader of WAL
 * tells where it is, so that a function that only reads WAL need not do
 * anything else.  Where no such function is at work, nothing is shown.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/progress/progress.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_PROGRESS_H
#define WALREDO_PROGRESS_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "common/relpath.h"
#include "fmgr.h"
#include "record/tag.h"
#include "utils/backend_status.h"

/* What is shown; progress.c has the names. */
typedef enum WalredoCommand
{
	WALREDO_COMMAND_CHECK,
	WALREDO_COMMAND_FILES,
	WALREDO_COMMAND_INDEX_WAL,
	WALREDO_COMMAND_INDEX_WORKER,
	WALREDO_COMMAND_LSN_AT,
	WALREDO_COMMAND_PAGE_AT,
	WALREDO_COMMAND_PAGE_HISTORY,
	WALREDO_COMMAND_PAGE_RECORDS,
	WALREDO_COMMAND_PAGES_AT,
	WALREDO_COMMAND_PAGES_AT_ALL,
	WALREDO_COMMAND_RELATION_REPORT,
	WALREDO_COMMAND_REPAIR,
	WALREDO_COMMAND_REPAIR_SLRU,
	WALREDO_COMMAND_REPORT,
	WALREDO_COMMAND_ROW_VERSIONS,
	WALREDO_COMMAND_ROWS_AT,
	WALREDO_COMMAND_VERIFY,
	WALREDO_COMMAND_VERIFY_ALL,
	WALREDO_COMMAND_VERIFY_IMAGES,
	WALREDO_COMMAND_VERIFY_SLRU,
	WALREDO_COMMAND_WAL_RANGE,
	WALREDO_COMMAND_WAL_RECORDS,
	WALREDO_COMMAND_WAL_STATS
} WalredoCommand;

#define WALREDO_NUM_COMMANDS	(WALREDO_COMMAND_WAL_STATS + 1)

typedef enum WalredoPhase
{
	/* In these, the reader tells where it is. */
	WALREDO_PHASE_READING_WAL,
	WALREDO_PHASE_CHECKING_IMAGES,

	/* In these, WAL is read only now and then: it tells nothing. */
	WALREDO_PHASE_COMPARING_PAGES,
	WALREDO_PHASE_REPAIRING_PAGES,
	WALREDO_PHASE_RETURNING_PAGES,
	WALREDO_PHASE_RETURNING_ROWS,

	/* Is shown in place of any of them while a restore command runs. */
	WALREDO_PHASE_RESTORING_WAL
} WalredoPhase;

#define WALREDO_NUM_PHASES	(WALREDO_PHASE_RESTORING_WAL + 1)

typedef struct WalredoProgress
{
	WalredoCommand command;
	WalredoPhase phase;

	/*
	 * The fork that the phase is about.  InvalidOid if it is not about one;
	 * then forknum means nothing.
	 */
	Oid			relid;
	ForkNumber	forknum;

	/* The page, or one of the file, that the function was asked for. */
	bool		has_tag;
	WalredoTag	tag;

	/* Blocks of this phase, if it has some. */
	uint64		blocks_total;
	uint64		blocks_done;

	/*
	 * The WAL that is read, and the LSN up to which it has been, or from
	 * which on if it is read backwards; or InvalidXLogRecPtr if that is not
	 * known.
	 */
	XLogRecPtr	wal_start;
	XLogRecPtr	wal_position;
	XLogRecPtr	wal_end;

	/* For progress.c only. */
	uint64		bytes_read;		/* of WAL, since the last display */
	bool		is_restoring;
	const void *scan;			/* the FuncCallContext that keeps it */
	struct WalredoProgress *outer;
	struct WalredoProgress *next;
} WalredoProgress;

/* ----------------------------------------
 * Which function is at work
 * ----------------------------------------
 */

/*
 * Calls a function, and shows its progress until it returns; or if it returns
 * a set row by row, until that has ended: by its last row, by an error, or
 * because no more rows are wanted.
 */
extern Datum walredo_progress_call(FunctionCallInfo fcinfo,
								   WalredoCommand command,
								   PGFunction function);

/*
 * The same for what is not called by fmgr.  Returns a new progress, which ends
 * when the memory context is reset.  What is done between _enter() and
 * _leave() is done for it; an error leaves it as well, at the latest when the
 * memory context is reset.
 */
extern WalredoProgress *walredo_progress_create(MemoryContext context,
												WalredoCommand command);
extern void walredo_progress_enter(WalredoProgress *progress);
extern void walredo_progress_leave(WalredoProgress *progress);

/* Ends the display of a progress, which may be shown again. */
extern void walredo_progress_end(WalredoProgress *progress);

/* ----------------------------------------
 * How far it has come
 * ----------------------------------------
 */

/*
 * The page that the function is asked for, or any of the file; and the relation
 * that it was asked for by, or InvalidOid.  Is shown with what comes next.
 */
extern void walredo_progress_set_target(Oid relid, const WalredoTag *tag);

/*
 * A phase begins, about a fork or, if relid is InvalidOid, about none, with so
 * many blocks, or zero.  If it is one in which the reader tells where it is,
 * this is not known from now on.
 */
extern void walredo_progress_begin_phase(WalredoPhase phase, Oid relid,
										 ForkNumber forknum,
										 uint64 blocks_total);

/* How many blocks of the phase have been done, and how many there are. */
extern void walredo_progress_set_blocks(uint64 done, uint64 total);

/* The WAL of this and the following phases; nothing is shown by this. */
extern void walredo_progress_set_wal(XLogRecPtr start, XLogRecPtr position,
									 XLogRecPtr end);

/*
 * The reader is going to read so many bytes of WAL at a position.  Is shown
 * unless so little has been read that nobody could see it.
 */
extern void walredo_progress_read_wal(XLogRecPtr start, XLogRecPtr position,
									  XLogRecPtr end, Size nbytes);

/* A restore command is started, or has ended. */
extern void walredo_progress_set_restoring(bool is_restoring);

/* ----------------------------------------
 * What other sessions see
 * ----------------------------------------
 */

extern const char *const walredo_command_names[WALREDO_NUM_COMMANDS];
extern const char *const walredo_phase_names[WALREDO_NUM_PHASES];

/*
 * Reads the progress of a backend.  False if no function is at work there.  All
 * that is returned is valid; what was written by others than walredo is not.
 */
extern bool walredo_progress_of_backend(const PgBackendStatus *backend,
										WalredoProgress *progress);

#endif							/* WALREDO_PROGRESS_H */

/*-------------------------------------------------------------------------
 *
 * progress.c
 *	  How far a function has come, as other sessions can see it.
 *
 * This uses the server's own command progress, as VACUUM does, so that it
 * needs no shared memory of its own, and works in sessions whose library was
 * not preloaded.  The server knows nothing of the command: its number is one
 * that no command of the server has, and only walredo_progress_of_backend()
 * knows what the parameters mean.
 *
 * There is one display in a session, and several functions can have begun in
 * it: a function calls another one, and cursors are open.  The display has the
 * one that told last how far it has come.  Each time, all of it is written, so
 * that nobody has to know what was shown in between.  For the same reason, it
 * does no harm that the server ends the display whenever a transaction or
 * subtransaction fails, even if the function goes on.
 *
 * The display can be in use by a command of the server, which must keep it.
 * Of these, only COPY is likely to call a function of ours that lasts.  It uses
 * the first parameters only, so that ours, which are the last ones, are shown
 * besides its own.  During other commands, ours are not shown.
 *
 * A function that returns soon must not take longer for this: page_at() is
 * called once per page.  So its progress is on the stack, and nothing is shown
 * before the function has read some WAL, or has begun a phase.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/progress/progress.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "funcapi.h"
#include "progress/progress.h"
#include "utils/backend_progress.h"
#include "utils/memutils.h"

#define PROGRESS_COMMAND	((ProgressCommandType) 0x57414c)

/* The first parameter says that the others are ours, in its upper half. */
#define PROGRESS_MAGIC		INT64CONST(0x57414c52)

/*
 * Bytes of WAL that are read before it is shown, first and then again.  The
 * second is what a reader of all WAL reads at once.
 */
#define BYTES_BEFORE_SHOW		(512 * 1024)
#define BYTES_BETWEEN_SHOWS		(128 * 1024)

/* Our parameters: the last ones of PGSTAT_NUM_PROGRESS_PARAM. */
typedef enum ProgressParam
{
	PARAM_WHAT = 10,			/* PROGRESS_MAGIC, command, phase, fork */
	PARAM_RELID,
	PARAM_BLOCKS_TOTAL,
	PARAM_BLOCKS_DONE,
	PARAM_WAL_START,
	PARAM_WAL_POSITION,
	PARAM_WAL_END,
	PARAM_TAG					/* the parts of a WalredoTag */
} ProgressParam;

#define NUM_TAG_PARAMS		(sizeof(WalredoTag) / sizeof(int64))
#define NUM_PARAMS			(PARAM_TAG - PARAM_WHAT + NUM_TAG_PARAMS)

StaticAssertDecl(PARAM_WHAT + NUM_PARAMS <= PGSTAT_NUM_PROGRESS_PARAM,
				 "walredo has too many progress parameters");

const char *const walredo_command_names[WALREDO_NUM_COMMANDS] = {
	[WALREDO_COMMAND_CHECK] = "walredo_check",
	[WALREDO_COMMAND_FILES] = "walredo_files",
	[WALREDO_COMMAND_INDEX_WAL] = "walredo_index_wal",
	[WALREDO_COMMAND_INDEX_WORKER] = "walredo index worker",
	[WALREDO_COMMAND_LSN_AT] = "walredo_lsn_at",
	[WALREDO_COMMAND_PAGE_AT] = "walredo_page_at",
	[WALREDO_COMMAND_PAGE_HISTORY] = "walredo_page_history",
	[WALREDO_COMMAND_PAGE_RECORDS] = "walredo_page_records",
	[WALREDO_COMMAND_PAGES_AT] = "walredo_pages_at",
	[WALREDO_COMMAND_PAGES_AT_ALL] = "walredo_pages_at_all",
	[WALREDO_COMMAND_RELATION_REPORT] = "walredo_relation_report",
	[WALREDO_COMMAND_REPAIR] = "walredo_repair",
	[WALREDO_COMMAND_REPAIR_SLRU] = "walredo_repair_slru",
	[WALREDO_COMMAND_REPORT] = "walredo_report",
	[WALREDO_COMMAND_ROW_VERSIONS] = "walredo_row_versions",
	[WALREDO_COMMAND_ROWS_AT] = "walredo_rows_at",
	[WALREDO_COMMAND_VERIFY] = "walredo_verify",
	[WALREDO_COMMAND_VERIFY_ALL] = "walredo_verify_all",
	[WALREDO_COMMAND_VERIFY_IMAGES] = "walredo_verify_images",
	[WALREDO_COMMAND_VERIFY_SLRU] = "walredo_verify_slru",
	[WALREDO_COMMAND_WAL_RANGE] = "walredo_wal_range",
	[WALREDO_COMMAND_WAL_RECORDS] = "walredo_wal_records",
	[WALREDO_COMMAND_WAL_STATS] = "walredo_wal_stats"
};

const char *const walredo_phase_names[WALREDO_NUM_PHASES] = {
	[WALREDO_PHASE_READING_WAL] = "reading WAL",
	[WALREDO_PHASE_CHECKING_IMAGES] = "checking images",
	[WALREDO_PHASE_COMPARING_PAGES] = "comparing pages",
	[WALREDO_PHASE_REPAIRING_PAGES] = "repairing pages",
	[WALREDO_PHASE_RETURNING_PAGES] = "returning pages",
	[WALREDO_PHASE_RETURNING_ROWS] = "returning rows",
	[WALREDO_PHASE_RESTORING_WAL] = "restoring WAL"
};

/* The function that is at work, or NULL; and the one that was shown last. */
static WalredoProgress *current = NULL;
static WalredoProgress *shown = NULL;

/* Those that are kept between calls, each in a memory context of its own. */
static WalredoProgress *kept = NULL;

/* ----------------------------------------
 * The display
 * ----------------------------------------
 */

static void
show(void)
{
	int			index[NUM_PARAMS];
	int64		param[NUM_PARAMS];
	WalredoPhase phase;

	if (MyBEEntry == NULL || !pgstat_track_activities)
		return;
	if (MyBEEntry->st_progress_command == PROGRESS_COMMAND_INVALID)
		pgstat_progress_start_command(PROGRESS_COMMAND, InvalidOid);
	else if (MyBEEntry->st_progress_command != PROGRESS_COMMAND &&
			 MyBEEntry->st_progress_command != PROGRESS_COMMAND_COPY)
		return;

	phase = current->is_restoring ? WALREDO_PHASE_RESTORING_WAL :
		current->phase;
	for (int i = 0; i < NUM_PARAMS; i++)
		index[i] = PARAM_WHAT + i;
	param[0] = PROGRESS_MAGIC << 32 | (int64) current->command << 16 |
		(int64) phase << 8 | (current->forknum & 0xff);
	param[PARAM_RELID - PARAM_WHAT] = current->relid;
	param[PARAM_BLOCKS_TOTAL - PARAM_WHAT] = (int64) current->blocks_total;
	param[PARAM_BLOCKS_DONE - PARAM_WHAT] = (int64) current->blocks_done;
	param[PARAM_WAL_START - PARAM_WHAT] = (int64) current->wal_start;
	param[PARAM_WAL_POSITION - PARAM_WHAT] = (int64) current->wal_position;
	param[PARAM_WAL_END - PARAM_WHAT] = (int64) current->wal_end;
	if (current->has_tag)
		memcpy(&param[PARAM_TAG - PARAM_WHAT], &current->tag,
			   sizeof(WalredoTag));
	else
		memset(&param[PARAM_TAG - PARAM_WHAT], 0xff, sizeof(WalredoTag));
	pgstat_progress_update_multi_param(NUM_PARAMS, index, param);
	shown = current;
}

void
walredo_progress_end(WalredoProgress *progress)
{
	if (shown != progress)
		return;
	shown = NULL;
	if (MyBEEntry == NULL)
		return;
	if (MyBEEntry->st_progress_command == PROGRESS_COMMAND)
		pgstat_progress_end_command();
	else if (MyBEEntry->st_progress_command == PROGRESS_COMMAND_COPY)
		pgstat_progress_update_param(PARAM_WHAT, 0);
}

bool
walredo_progress_of_backend(const PgBackendStatus *backend,
							WalredoProgress *progress)
{
	const int64 *param = backend->st_progress_param;
	uint64		what = (uint64) param[PARAM_WHAT];
	uint64		command = (what >> 16) & 0xffff;
	uint64		phase = (what >> 8) & 0xff;
	uint64		forknum = what & 0xff;

	if (backend->st_progress_command != PROGRESS_COMMAND &&
		backend->st_progress_command != PROGRESS_COMMAND_COPY)
		return false;
	if (what >> 32 != (uint64) PROGRESS_MAGIC ||
		command >= WALREDO_NUM_COMMANDS || phase >= WALREDO_NUM_PHASES ||
		forknum > MAX_FORKNUM)
		return false;
	progress->command = (WalredoCommand) command;
	progress->phase = (WalredoPhase) phase;
	progress->relid = (Oid) param[PARAM_RELID];
	progress->forknum = (ForkNumber) forknum;
	memcpy(&progress->tag, &param[PARAM_TAG], sizeof(WalredoTag));
	progress->has_tag = walredo_tag_is_valid(&progress->tag);
	progress->blocks_total = (uint64) param[PARAM_BLOCKS_TOTAL];
	progress->blocks_done = (uint64) param[PARAM_BLOCKS_DONE];
	progress->wal_start = (XLogRecPtr) param[PARAM_WAL_START];
	progress->wal_position = (XLogRecPtr) param[PARAM_WAL_POSITION];
	progress->wal_end = (XLogRecPtr) param[PARAM_WAL_END];
	return true;
}

/* ----------------------------------------
 * Which function is at work
 * ----------------------------------------
 */

/* The memory of a progress that is kept is going to be freed. */
static void
forget(void *arg)
{
	WalredoProgress *progress = arg;
	WalredoProgress **link = &kept;

	walredo_progress_end(progress);

	/* It was at work if an error has ended it.  Then so was what called it. */
	if (current == progress)
		current = progress->outer;
	for (WalredoProgress *other = kept; other != NULL; other = other->next)
	{
		if (other->outer == progress)
			other->outer = progress->outer;
	}
	while (*link != progress)
		link = &(*link)->next;
	*link = progress->next;
}

static WalredoProgress *
keep(MemoryContext context, const WalredoProgress *progress)
{
	WalredoProgress *copy = MemoryContextAlloc(context,
											   sizeof(WalredoProgress));
	MemoryContextCallback *callback =
		MemoryContextAlloc(context, sizeof(MemoryContextCallback));

	*copy = *progress;
	copy->next = kept;
	kept = copy;
	callback->func = forget;
	callback->arg = copy;
	MemoryContextRegisterResetCallback(context, callback);
	return copy;
}

WalredoProgress *
walredo_progress_create(MemoryContext context, WalredoCommand command)
{
	WalredoProgress progress = {.command = command};

	return keep(context, &progress);
}

void
walredo_progress_enter(WalredoProgress *progress)
{
	progress->outer = current;
	current = progress;
}

void
walredo_progress_leave(WalredoProgress *progress)
{
	current = progress->outer;
}

/*
 * The progress of a call that goes on with the rows of an earlier one, or NULL.
 */
static WalredoProgress *
find_kept(const FmgrInfo *flinfo)
{
	if (!flinfo->fn_retset || flinfo->fn_extra == NULL)
		return NULL;
	for (WalredoProgress *progress = kept; progress != NULL;
		 progress = progress->next)
	{
		if (progress->scan == flinfo->fn_extra)
			return progress;
	}
	return NULL;
}

Datum
walredo_progress_call(FunctionCallInfo fcinfo, WalredoCommand command,
					  PGFunction function)
{
	const FmgrInfo *flinfo = fcinfo->flinfo;
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	WalredoProgress *outer = current;
	WalredoProgress *progress = find_kept(flinfo);
	WalredoProgress local;
	Datum		result;

	if (progress != NULL)
	{
		/*
		 * With the last row, it has been freed.  After an error, it is freed
		 * with the rest of the query.  To catch errors here would take a
		 * tenth of the time that it takes to return a record.
		 */
		walredo_progress_enter(progress);
		result = function(fcinfo);
		current = outer;
		return result;
	}

	memset(&local, 0, sizeof(local));
	local.command = command;
	walredo_progress_enter(&local);
	PG_TRY();
	{
		result = function(fcinfo);
	}
	PG_CATCH();
	{
		walredo_progress_end(&local);
		current = outer;
		PG_RE_THROW();
	}
	PG_END_TRY();
	current = outer;

	if (flinfo->fn_retset && flinfo->fn_extra != NULL &&
		rsinfo != NULL && IsA(rsinfo, ReturnSetInfo) &&
		rsinfo->isDone == ExprMultipleResult)
	{
		FuncCallContext *funcctx = flinfo->fn_extra;

		local.scan = funcctx;
		progress = keep(funcctx->multi_call_memory_ctx, &local);
		if (shown == &local)
			shown = progress;
	}
	else
		walredo_progress_end(&local);
	return result;
}

/* ----------------------------------------
 * How far it has come
 * ----------------------------------------
 */

void
walredo_progress_set_target(Oid relid, const WalredoTag *tag)
{
	if (current == NULL)
		return;
	current->relid = relid;
	current->forknum = (ForkNumber) tag->forknum;
	current->has_tag = true;
	current->tag = *tag;
}

void
walredo_progress_begin_phase(WalredoPhase phase, Oid relid, ForkNumber forknum,
							 uint64 blocks_total)
{
	if (current == NULL)
		return;
	current->phase = phase;
	current->relid = relid;
	current->forknum = forknum;
	current->blocks_total = blocks_total;
	current->blocks_done = 0;
	current->is_restoring = false;
	if (phase <= WALREDO_PHASE_CHECKING_IMAGES)
		walredo_progress_set_wal(InvalidXLogRecPtr, InvalidXLogRecPtr,
								 InvalidXLogRecPtr);
	show();
}

void
walredo_progress_set_blocks(uint64 done, uint64 total)
{
	if (current == NULL)
		return;
	current->blocks_done = done;
	current->blocks_total = total;
	show();
}

void
walredo_progress_set_wal(XLogRecPtr start, XLogRecPtr position, XLogRecPtr end)
{
	if (current == NULL)
		return;
	current->wal_start = start;
	current->wal_position = position;
	current->wal_end = end;
}

void
walredo_progress_read_wal(XLogRecPtr start, XLogRecPtr position,
						  XLogRecPtr end, Size nbytes)
{
	if (current == NULL || current->phase > WALREDO_PHASE_CHECKING_IMAGES)
		return;
	current->is_restoring = false;
	walredo_progress_set_wal(start, position, end);
	current->bytes_read += nbytes;
	if (current->bytes_read < BYTES_BEFORE_SHOW)
		return;
	current->bytes_read = BYTES_BEFORE_SHOW - BYTES_BETWEEN_SHOWS;
	show();
}

void
walredo_progress_set_restoring(bool is_restoring)
{
	if (current == NULL)
		return;
	current->is_restoring = is_restoring;
	show();
}

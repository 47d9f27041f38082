/*-------------------------------------------------------------------------
 *
 * relation_data.c
 *	  What a report about a relation tells of each block.
 *
 * A fork is verified first, and then WAL is read, for how much of it changes
 * which block, and for when transactions ended.  In this order, all changes
 * that the compared pages have are in the WAL that is read, unless the caller
 * asks for a range that ends earlier.
 *
 * WAL is read once more than walredo_verify() reads it, rather than counted by
 * the way, because the range is the caller's here, while a verification needs
 * all that there is, or begins with a backup.
 *
 * There is a small struct for each block, and everything else is bounded: how
 * many blocks have details, how many reasons are told apart, and how many times
 * are kept.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/report/relation_data.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "compat.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "page/attempt.h"
#include "page/cost_delay.h"
#include "record/xlogrecord.h"
#include "report/relation_data.h"
#include "storage/smgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "wal/changes.h"
#include "wal/reader.h"
#include "wal/xact_end.h"

/* How often all is done again because the relation has got another file. */
#define MAX_ATTEMPTS		5

/* Times are kept to the second, as long as they are not more than these. */
#define MAX_TIMES			65536
#define FIRST_RESOLUTION	USECS_PER_SEC
#define MAX_RESOLUTION		(PG_INT64_MAX / 4)

/* Details of results are cut to so many bytes. */
#define MAX_DETAIL			500

/* Every so many bytes of WAL, cost-based delay is looked at. */
#define DELAY_BYTES			(1024 * 1024)

/* ----------------------------------------
 * Blocks
 * ----------------------------------------
 */

/*
 * Makes the array of blocks as long as num_blocks, if it is not.  ERROR 54000
 * if that takes too much memory.
 */
static void
need_blocks(WalredoRelationData *data, uint64 num_blocks)
{
	uint64		limit = (uint64) maintenance_work_mem * 1024 /
		sizeof(WalredoBlockData);

	if (num_blocks <= data->num_blocks)
		return;
	if (num_blocks > limit)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a report about %llu blocks takes more memory than maintenance_work_mem",
						(unsigned long long) num_blocks),
				 errdetail("There is place for %llu blocks.",
						   (unsigned long long) limit),
				 errhint("Increase maintenance_work_mem.")));
	if (num_blocks > data->max_blocks)
	{
		data->max_blocks = (BlockNumber)
			Min(Max(num_blocks, (uint64) data->max_blocks * 2), limit);
		data->blocks = repalloc_huge(data->blocks,
									 data->max_blocks *
									 sizeof(WalredoBlockData));
	}
	for (BlockNumber blkno = data->num_blocks; blkno < num_blocks; blkno++)
	{
		memset(&data->blocks[blkno], 0, sizeof(WalredoBlockData));
		data->blocks[blkno].status = WALREDO_BLOCK_NOT_COMPARED;
	}
	data->num_blocks = (BlockNumber) num_blocks;
}

/* ----------------------------------------
 * Verification
 * ----------------------------------------
 */

/* The detail of a result, palloc'd, for a report whose size is bounded. */
static char *
detail_of(const WalredoVerifyResult *result)
{
	const char *detail = result->detail ? result->detail : "";
	int			length = strlen(detail);

	if (length <= MAX_DETAIL)
		return pstrdup(detail);
	return psprintf("%.*s...", pg_mbcliplen(detail, length, MAX_DETAIL),
					detail);
}

static void
add_note(WalredoBlockNotes *notes, const WalredoVerifyResult *result)
{
	WalredoBlockNote *note;

	if (notes->num == WALREDO_MAX_NOTES)
		return;
	note = &notes->notes[notes->num++];
	note->blkno = result->blkno;
	note->detail = detail_of(result);
}

/* Counts a block that is unverifiable with others that are for its reason. */
static void
add_reason(WalredoRelationData *data, const WalredoVerifyResult *result)
{
	char	   *detail = detail_of(result);
	WalredoReason *reason = NULL;

	for (int i = 0; i < data->num_reasons; i++)
	{
		if (strcmp(data->reasons[i].detail, detail) == 0)
			reason = &data->reasons[i];
	}
	if (reason != NULL)
		pfree(detail);
	else
	{
		if (data->num_reasons == WALREDO_MAX_REASONS)
		{
			pfree(detail);
			data->num_other_reasons++;
			return;
		}
		reason = &data->reasons[data->num_reasons++];
		reason->detail = detail;
		reason->num_blocks = 0;
		reason->first = result->blkno;
	}
	reason->num_blocks++;
	reason->last = result->blkno;
}

/* A WalredoVerifySink's report. */
static void
take_result(const WalredoVerifyResult *result, void *arg)
{
	WalredoRelationData *data = arg;
	MemoryContext old_context =
		MemoryContextSwitchTo(GetMemoryChunkContext(data));

	if (BlockNumberIsValid(result->blkno))
	{
		WalredoBlockData *block;

		need_blocks(data, (uint64) result->blkno + 1);
		block = &data->blocks[result->blkno];
		block->status = result->status;
		block->page_lsn = result->page_lsn;
		if (result->status == WALREDO_VERIFY_MISMATCH)
			add_note(&data->damaged, result);
		else if (result->status == WALREDO_VERIFY_UNVERIFIABLE)
		{
			add_note(&data->unverifiable, result);
			add_reason(data, result);
		}
	}
	else
	{
		char	   *detail = detail_of(result);

		if (result->status == WALREDO_VERIFY_MISMATCH)
			data->fork_damage = lappend(data->fork_damage, detail);
		else
			data->fork_notes = lappend(data->fork_notes, detail);
	}
	MemoryContextSwitchTo(old_context);
}

/*
 * Forgets the results.  The details stay allocated; relations do not get new
 * files often.
 */
static void
forget_results(WalredoRelationData *data)
{
	data->num_blocks = 0;
	data->damaged.num = 0;
	data->unverifiable.num = 0;
	data->num_reasons = 0;
	data->num_other_reasons = 0;
	data->fork_damage = NIL;
	data->fork_notes = NIL;
}

/* A WalredoVerifySink's end_fork. */
static void
end_results(bool keep, void *arg)
{
	if (!keep)
		forget_results(arg);
}

/*
 * Looks up a relation's name and file, and returns the number of blocks of the
 * fork.
 */
static BlockNumber
look_up(WalredoRelationData *data)
{
	Relation	rel = try_relation_open(data->relid, AccessShareLock);
	RelFileLocator locator;
	BlockNumber num_blocks = 0;
	char	   *nspname;

	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", data->relid)));
	locator = RelationGetLocator(rel);
	data->tag = walredo_tag_of_block(&locator, data->forknum, 0);
	nspname = get_namespace_name(RelationGetNamespace(rel));
	data->name = quote_qualified_identifier(nspname,
											RelationGetRelationName(rel));
	if (smgrexists(RelationGetSmgr(rel), data->forknum))
		num_blocks = smgrnblocks(RelationGetSmgr(rel), data->forknum);
	relation_close(rel, AccessShareLock);
	return num_blocks;
}

/* The argument of verify_fork(). */
typedef struct VerifyAttempt
{
	WalredoRelationData *data;
	const char *directory;
} VerifyAttempt;

/* An attempt: verifies the fork. */
static void
verify_fork(void *arg)
{
	VerifyAttempt *work = arg;
	WalredoVerifyFork fork = {work->data->relid, work->data->forknum,
	InvalidBlockNumber};
	WalredoVerifySink sink = {take_result, end_results, work->data};
	WalredoVerifyOptions options = {.directory = work->directory};

	walredo_verify_forks(&fork, 1, &options, &sink);
}

/*
 * Verifies the fork.  Its results must be of one file, which is the one whose
 * WAL is counted, so all is done again if the relation has got another one.
 *
 * If WAL cannot be read, results that there are do not count: more of WAL may
 * say that a block is ok, or is not.  Returns the error.
 */
static ErrorData *
verify(WalredoRelationData *data, const char *directory)
{
	VerifyAttempt work = {data, directory};
	ErrorData  *error;

	for (int i = 0; i < MAX_ATTEMPTS; i++)
	{
		BlockNumber num_blocks = look_up(data);
		WalredoTag	tag = data->tag;

		forget_results(data);
		error = walredo_attempt(verify_fork, &work);
		if (error != NULL)
		{
			walredo_expect_wal_error(error);
			forget_results(data);
		}
		num_blocks = Min(num_blocks, look_up(data));
		if (!walredo_tag_same_fork(&tag, &data->tag))
			continue;

		/* Those that could not be compared have WAL all the same. */
		need_blocks(data, num_blocks);
		return error;
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("relation \"%s\" has got another file each time that it was verified",
					get_rel_name(data->relid)),
			 errhint("Try again when the relation is not being rewritten.")));
}

/* ----------------------------------------
 * Times
 * ----------------------------------------
 */

/*
 * Is a time kept together with others, the first of which is given?  Times in
 * WAL can be any: if they are so wild that the resolution cannot get coarser,
 * all are.
 */
static bool
is_close(const WalredoRelationData *data, TimestampTz first, TimestampTz at)
{
	uint64		distance = at > first ?
		(uint64) at - (uint64) first : (uint64) first - (uint64) at;

	return distance < (uint64) data->resolution ||
		data->resolution >= MAX_RESOLUTION;
}

/*
 * Takes note of the end of a transaction.  If there are too many, times are
 * kept to twice as long an interval.
 */
static void
add_time(WalredoRelationData *data, XLogRecPtr lsn, TimestampTz at)
{
	WalredoXactTime *last = &data->times[data->num_times - 1];

	if (data->num_times > 0 &&
		is_close(data, last->first_time, at))
	{
		last->last_lsn = lsn;
		last->last_time = at;
		return;
	}
	while (data->num_times == MAX_TIMES)
	{
		int			num = 0;

		data->resolution *= 2;
		for (int i = 1; i < data->num_times; i++)
		{
			WalredoXactTime *time = &data->times[i];

			if (is_close(data, data->times[num].first_time, time->last_time))
			{
				data->times[num].last_lsn = time->last_lsn;
				data->times[num].last_time = time->last_time;
			}
			else
				data->times[++num] = *time;
		}
		data->num_times = num + 1;
	}
	last = &data->times[data->num_times++];
	last->last_lsn = lsn;
	last->first_time = last->last_time = at;
}

bool
walredo_time_of_lsn(const WalredoRelationData *data, XLogRecPtr lsn,
					TimestampTz *at)
{
	int			low = 0;
	int			high = data->num_times;

	if (lsn < data->start_lsn || lsn > data->end_lsn)
		return false;
	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (data->times[middle].last_lsn < lsn)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == data->num_times)
		return false;
	if (walredo_has_break(&data->breaks, lsn, data->times[low].last_lsn))
		return false;
	*at = data->times[low].last_time;
	return true;
}

/* ----------------------------------------
 * WAL
 * ----------------------------------------
 */

/* Forgets what WAL before a gap has told. */
static void
forget_wal(WalredoRelationData *data)
{
	for (BlockNumber blkno = 0; blkno < data->num_blocks; blkno++)
	{
		data->blocks[blkno].wal_bytes = 0;
		data->blocks[blkno].num_records = 0;
	}
	data->num_records = 0;
	data->wal_bytes = 0;
	data->num_gone = 0;
	data->num_times = 0;
	data->resolution = FIRST_RESOLUTION;
}

/* Was this block among the first n changes, too? */
static bool
is_in_list(const WalredoPageChange *list, int n, uint64 blkno)
{
	for (int i = 0; i < n; i++)
	{
		if (list[i].what != WALREDO_CHANGE_END && list[i].tag.number == blkno)
			return true;
	}
	return false;
}

/* The bytes of images of a block of the fork, or of any, in a record. */
static uint64
image_bytes(const WalredoRelationData *data,
			const WalredoRecordHeaders *headers, uint64 blkno, bool of_any)
{
	uint64		bytes = 0;

	for (int i = 0; i < headers->num_blocks; i++)
	{
		const WalredoBlockRef *block = &headers->blocks[i];
		WalredoTag	tag = walredo_tag_of_block(&block->locator,
											   block->forknum, block->blkno);

		if (of_any || (block->blkno == blkno &&
					   walredo_tag_same_fork(&tag, &data->tag)))
			bytes += block->image_size;
	}
	return bytes;
}

/*
 * Counts a record for the blocks that it changes, each once.  Records that
 * only end blocks do not count: they have changed nothing in them.
 */
static void
count_record(WalredoRelationData *data, const XLogRecord *record,
			 const WalredoPageChange *list, int num_changes)
{
	WalredoRecordHeaders headers;
	uint64		own_bytes;		/* without images */
	bool		is_gone = false;
	bool		is_change = false;

	walredo_xlogrecord_headers(record, &headers);
	own_bytes = record->xl_tot_len - image_bytes(data, &headers, 0, true);
	for (int i = 0; i < num_changes; i++)
	{
		uint64		blkno = list[i].tag.number;
		uint64		images;
		WalredoBlockData *block;

		if (list[i].what == WALREDO_CHANGE_END || is_in_list(list, i, blkno))
			continue;
		images = image_bytes(data, &headers, blkno, false);
		if (!is_change)
			data->wal_bytes += own_bytes;
		data->wal_bytes += images;
		is_change = true;
		if (blkno >= data->num_blocks)
		{
			is_gone = true;
			continue;
		}
		block = &data->blocks[blkno];
		block->wal_bytes += own_bytes + images;
		if (block->num_records < PG_UINT32_MAX)
			block->num_records++;
	}
	data->num_records += is_change;
	data->num_gone += is_gone;
}

/* WAL that is read. */
typedef struct ReadAttempt
{
	WalredoRelationData *data;
	WalredoChanges *changes;
	const char *directory;
	XLogRecPtr	start_lsn;
	XLogRecPtr	end_lsn;
	WalredoReader *reader;		/* NULL if it could not begin */
} ReadAttempt;

/* An attempt: reads WAL from start_lsn to end_lsn. */
static void
read_range(void *arg)
{
	ReadAttempt *work = arg;
	WalredoRelationData *data = work->data;
	WalredoReader *reader;
	XLogRecPtr	delay_lsn;

	work->reader = NULL;
	reader = walredo_reader_begin(work->directory, work->start_lsn,
								  work->end_lsn);
	walredo_verify_check_reader(reader);
	walredo_reader_allow_restart(reader);
	work->reader = reader;
	delay_lsn = walredo_reader_first_lsn(reader);
	while (walredo_reader_next(reader))
	{
		const XLogRecord *record = walredo_reader_record(reader);
		XLogRecPtr	lsn = walredo_reader_end_lsn(reader);
		WalredoPageChange *list;
		int			num_changes;
		XactEnd		end;

		CHECK_FOR_INTERRUPTS();
		if (walredo_reader_has_restarted(reader))
		{
			data->was_removed = true;
			forget_wal(data);
		}
		if (lsn - Min(lsn, delay_lsn) >= DELAY_BYTES)
		{
			walredo_cost_of_wal(lsn - delay_lsn);
			walredo_cost_delay_point();
			delay_lsn = lsn;
		}
		if (record->xl_rmid == RM_XACT_ID &&
			walredo_record_xact_end(record, lsn, &end))
			add_time(data, lsn, end.xact_time);
		num_changes = walredo_changes_of(work->changes, record, lsn, &list);
		if (num_changes > 0)
			count_record(data, record, list, num_changes);
	}
	if (walredo_reader_has_restarted(reader))
	{
		data->was_removed = true;
		forget_wal(data);
	}
}

/*
 * Reads WAL from start_lsn to end_lsn, as far as that is possible.  ERROR if
 * nothing of it can be read.
 */
static void
read_wal(WalredoRelationData *data, XLogRecPtr start_lsn, XLogRecPtr end_lsn,
		 const char *directory)
{
	WalredoPageFilter *filter = walredo_filter_fork(&data->tag);
	ReadAttempt work = {data, walredo_changes_create(filter),
	walredo_wal_with_local(directory), start_lsn, end_lsn, NULL};
	bool		was_read = false;

	forget_wal(data);
	data->times = palloc(MAX_TIMES * sizeof(WalredoXactTime));
	for (;;)
	{
		ErrorData  *error = walredo_attempt(read_range, &work);
		XLogRecPtr	lsn = work.start_lsn;
		XLogRecPtr	next = InvalidXLogRecPtr;

		if (work.reader != NULL)
		{
			if (!was_read)
				data->start_lsn = walredo_reader_first_lsn(work.reader);
			was_read = true;
			data->end_lsn = lsn = walredo_reader_end_lsn(work.reader);
			walredo_reader_end(work.reader);
		}
		if (error == NULL)
			break;
		walredo_expect_wal_error(error);
		if (lsn == WALREDO_START_OF_WAL)
			lsn = walredo_start_of_rest(work.directory, lsn);
		next = walredo_break_at(&data->breaks, work.start_lsn, lsn, end_lsn,
								error, work.directory);
		if (next == InvalidXLogRecPtr && !was_read)
			ReThrowError(error);
		if (next == InvalidXLogRecPtr)
			break;
		work.start_lsn = next;
	}
	walredo_changes_free(work.changes);
	walredo_filter_free(filter);
}

WalredoRelationData *
walredo_collect_relation(Oid relid, ForkNumber forknum, XLogRecPtr start_lsn,
						 XLogRecPtr end_lsn, const char *directory)
{
	WalredoRelationData *data = palloc0(sizeof(WalredoRelationData));
	ErrorData  *error;

	data->relid = relid;
	data->forknum = forknum;
	data->max_blocks = 64;
	data->blocks = palloc(data->max_blocks * sizeof(WalredoBlockData));
	error = verify(data, directory);
	read_wal(data, start_lsn, end_lsn, directory);
	if (error != NULL)
		data->not_verified = walredo_words_of_error(error);
	for (BlockNumber blkno = 0; blkno < data->num_blocks; blkno++)
	{
		const WalredoBlockData *block = &data->blocks[blkno];

		data->num_of_status[block->status]++;
		if (block->status == WALREDO_VERIFY_OK &&
			block->page_lsn == InvalidXLogRecPtr)
			data->num_new++;
	}
	return data;
}

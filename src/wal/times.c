/*-------------------------------------------------------------------------
 *
 * times.c
 *	  From a time to an LSN.
 *
 * Only the ends of transactions have times that tell when something became
 * visible.  Recovery to a time (recovery_target_time) looks at the same times,
 * see getRecordTimestamp() in src/backend/access/transam/xlogrecovery.c.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/wal/times.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/timestamp.h"
#include "wal/changes_internal.h"
#include "wal/reader.h"
#include "wal/times.h"

/* The ends of transactions in a part of WAL. */
typedef struct XactTimes
{
	TimestampTz at;				/* that is looked for */
	XLogRecPtr	found_lsn;		/* the last one at or before it, or 0 */
	bool		has_any;
	TimestampTz first;			/* the times of the first and the last */
	TimestampTz last;
} XactTimes;

/*
 * Looks at the records that the reader has from here on, and that begin before
 * end_lsn.
 */
static void
read_times(WalredoReader *reader, XLogRecPtr end_lsn, XactTimes *times)
{
	times->found_lsn = InvalidXLogRecPtr;
	times->has_any = false;
	while (walredo_reader_next(reader) &&
		   walredo_reader_start_lsn(reader) < end_lsn)
	{
		const XLogRecord *record = walredo_reader_record(reader);
		XLogRecPtr	lsn = walredo_reader_end_lsn(reader);
		XactEnd		end;

		CHECK_FOR_INTERRUPTS();
		if (record->xl_rmid != RM_XACT_ID ||
			!walredo_record_xact_end(record, lsn, &end))
			continue;
		if (!times->has_any)
			times->first = end.xact_time;
		times->has_any = true;
		times->last = end.xact_time;
		if (end.xact_time <= times->at)
			times->found_lsn = lsn;
	}
}

XLogRecPtr
walredo_lsn_of_time(const char *directory, TimestampTz at)
{
	TimestampTz now = GetCurrentTimestamp();
	WalredoReader *reader = walredo_reader_begin(directory,
												 WALREDO_START_OF_WAL,
												 WALREDO_END_OF_WAL);
	bool		is_server = walredo_reader_is_local(reader) &&
		!RecoveryInProgress();
	XLogRecPtr	first_lsn = walredo_reader_first_lsn(reader);
	XLogRecPtr	lsn = walredo_reader_newest_segment(reader);
	XLogRecPtr	end_lsn = PG_UINT64_MAX;
	XactTimes	part = {.at = at};
	XactTimes	all = {.at = at};

	/* Transactions may yet end at or before a time that is to come. */
	if (is_server && at > now)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time %s is in the future",
						pstrdup(timestamptz_to_str(at))),
				 errdetail("It is %s now.",
						   pstrdup(timestamptz_to_str(now)))));
	for (;;)
	{
		lsn = Max(lsn, first_lsn);
		walredo_reader_begin_again(reader, lsn);

		/* WAL that is older may have been removed. */
		first_lsn = walredo_reader_first_lsn(reader);
		read_times(reader, end_lsn, &part);
		if (part.has_any)
		{
			if (!all.has_any && !is_server && at > part.last)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("time %s is after the end of WAL",
								pstrdup(timestamptz_to_str(at))),
						 errdetail("The last transaction in WAL ended at %s.",
								   pstrdup(timestamptz_to_str(part.last)))));
			all.first = part.first;
			all.has_any = true;
		}
		if (part.found_lsn != InvalidXLogRecPtr || lsn <= first_lsn)
			break;
		end_lsn = lsn;
		lsn = walredo_reader_segment_before(reader, lsn);
	}
	walredo_reader_end(reader);

	if (part.found_lsn == InvalidXLogRecPtr)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FILE),
				 errmsg("WAL does not reach back to %s",
						pstrdup(timestamptz_to_str(at))),
				 all.has_any ?
				 errdetail("WAL begins at %X/%X, and the first transaction in it ended at %s.",
						   LSN_FORMAT_ARGS(first_lsn),
						   pstrdup(timestamptz_to_str(all.first))) :
				 errdetail("WAL begins at %X/%X, and no transaction in it has ended.",
						   LSN_FORMAT_ARGS(first_lsn))));
	return part.found_lsn;
}

/*-------------------------------------------------------------------------
 *
 * redo_point.c
 *	  From where on WAL has an image of every page that it changes.
 *
 * With full_page_writes, the first record after a checkpoint's redo point that
 * changes a page has an image of it, unless it initializes the page.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/wal/redo_point.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/rmgr.h"
#include "catalog/pg_control.h"
#include "miscadmin.h"
#include "wal/redo_point.h"

/*
 * Reads the record of a checkpoint.  Returns false if it is another one.  Such
 * a record has no blocks, so its main data is what it ends with.
 */
static bool
read_checkpoint(const XLogRecord *record, CheckPoint *checkpoint)
{
	uint8		info = record->xl_info & ~XLR_INFO_MASK;

	if (record->xl_rmid != RM_XLOG_ID ||
		(info != XLOG_CHECKPOINT_ONLINE && info != XLOG_CHECKPOINT_SHUTDOWN) ||
		record->xl_tot_len < SizeOfXLogRecord + sizeof(CheckPoint))
		return false;
	memcpy(checkpoint, (const char *) record + record->xl_tot_len -
		   sizeof(CheckPoint), sizeof(CheckPoint));
	return true;
}

XLogRecPtr
walredo_find_redo_point(WalredoReader *reader, XLogRecPtr lsn)
{
	XLogRecPtr	first_lsn = walredo_reader_first_lsn(reader);
	XLogRecPtr	found = InvalidXLogRecPtr;
	XLogRecPtr	end_lsn = lsn;

	while (found == InvalidXLogRecPtr && end_lsn > first_lsn)
	{
		XLogRecPtr	at = walredo_reader_segment_before(reader, end_lsn);

		at = Max(at, first_lsn);
		walredo_reader_begin_again(reader, at);

		/* WAL that is older may have been removed meanwhile. */
		first_lsn = walredo_reader_first_lsn(reader);
		while (walredo_reader_next(reader) &&
			   walredo_reader_start_lsn(reader) < end_lsn)
		{
			CheckPoint	checkpoint;

			CHECK_FOR_INTERRUPTS();
			if (read_checkpoint(walredo_reader_record(reader), &checkpoint) &&
				checkpoint.fullPageWrites && checkpoint.redo <= lsn &&
				checkpoint.redo >= first_lsn)
				found = checkpoint.redo;
		}
		end_lsn = at;
	}
	return found == InvalidXLogRecPtr ? first_lsn : found;
}

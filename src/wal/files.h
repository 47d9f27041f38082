/*-------------------------------------------------------------------------
 *
 * files.h
 *	  Which files came and went, according to WAL.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/wal/files.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_FILES_H
#define WALREDO_FILES_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "datatype/timestamp.h"
#include "record/tag.h"
#include "wal/changes.h"

/* What has happened to a file, or to all files of a database or tablespace. */
typedef struct WalredoFileEvent
{
	XLogRecPtr	lsn;			/* end LSN of the record */
	WalredoPageEnd what;		/* WALREDO_TRUNCATED or _FILE_* */

	/*
	 * The transaction that did it, or 0 if none did or it is not known; and
	 * when it ended, which is known if its end is in the range.
	 */
	TransactionId xid;
	bool		has_time;
	TimestampTz at;

	/*
	 * The file: its first block, or the first one that was cut off.  Without
	 * a tag, what has come or gone is a directory.
	 */
	bool		has_tag;
	WalredoTag	tag;

	/*
	 * The name of the relation; or the number of the file, as text, if the
	 * name is not known; or which directory it is.
	 */
	const char *relation;
} WalredoFileEvent;

/*
 * Finds out what a range of WAL does to files of relations.  The range is as
 * for walredo_reader_begin(), and so are the errors.  Sets *events to an array
 * in the current memory context, in the order of WAL, and returns the number of
 * its elements.
 *
 * A commit or abort record removes all forks of a relation at once, as does the
 * creation of its main fork; then the tag is of the main fork.
 *
 * Names come from rows of pg_class in the range and, if they are not enough, in
 * older WAL, as far as it is there; and then from the server's catalogs, if the
 * file is there still.  ERROR 54000 if what has to be kept for that takes more
 * than maintenance_work_mem.
 */
extern int	walredo_read_files(const char *directory, XLogRecPtr start_lsn,
							   XLogRecPtr end_lsn, WalredoFileEvent **events);

#endif							/* WALREDO_FILES_H */

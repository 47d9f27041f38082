/*-------------------------------------------------------------------------
 *
 * strip.h
 *	  The history of a page as a strip of pictures, of which there are not too
 *	  many.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/report/strip.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_REPORT_STRIP_H
#define WALREDO_REPORT_STRIP_H

#include "postgres.h"

#include "access/rmgr.h"
#include "access/xlogdefs.h"
#include "datatype/timestamp.h"
#include "page/rebuild.h"
#include "record/tag.h"
#include "report/breaks.h"

/* The most pictures that a strip has; an even number. */
#define WALREDO_MAX_PICTURES	96

/* How many types of records a picture tells apart. */
#define WALREDO_PICTURE_TYPES	6

typedef struct WalredoRecordType
{
	const char *rmgr;
	const char *type;
	uint64		count;
} WalredoRecordType;

/* What a page was after a record, or after several. */
typedef struct WalredoPicture
{
	uint64		first;			/* the numbers of these records, from 1 on */
	uint64		last;
	XLogRecPtr	start_lsn;		/* where the first of them begins */
	XLogRecPtr	lsn;			/* the end LSN of the last */
	WalredoRecordType types[WALREDO_PICTURE_TYPES];
	int			ntypes;
	uint64		num_others;		/* records of other types */
	char	   *description;	/* of the record, if it is one, or NULL */

	/* The last transaction among them, or 0, and its end if that was found. */
	TransactionId xid;
	bool		has_end;
	bool		is_commit;
	TimestampTz time;
	XLogRecPtr	end_of_xact;

	/*
	 * The page, of which up to BLCKSZ bytes are kept; or why there is none.
	 * is_absent says that there was no page then.  Else it is not known.
	 */
	bool		is_taken;		/* these are set */
	bool		is_absent;
	char	   *page;
	int			size;
	Size		full_size;
	int			rmid;			/* the resource manager of the page, or -1 */
	const char *problem;
} WalredoPicture;

typedef struct WalredoStrip
{
	WalredoPicture pictures[WALREDO_MAX_PICTURES];
	int			npictures;
	uint64		nrecords;
	uint64		step;			/* records in each picture but the last */
	WalredoPicture before;		/* the page before the first record */

	/*
	 * Places in the range that could not be read.  No picture stands for
	 * records both before and after one, unless there are too many.
	 */
	WalredoBreaks breaks;

	XLogRecPtr	start_lsn;		/* of the range that was asked for */
	XLogRecPtr	wal_start;		/* WAL was looked at from here ... */
	XLogRecPtr	wal_end;		/* ... to here */
	bool		to_end;			/* the range goes on to its end */
	bool		has_gap;		/* WAL before wal_start was removed meanwhile */
	bool		of_server;		/* it is this server's WAL */
	TimeLineID	timeline;
	uint64		system;
	bool		near_only;		/* ends of transactions were looked for only
								 * shortly after the records */

	/*
	 * The rebuild with which the pictures were made, which has the page as of
	 * wal_end; NULL if there is none, or if that is not known to be the end
	 * of WAL.
	 */
	WalredoRebuild *rebuild;
} WalredoStrip;

/*
 * Reads the history of a page, or object, from start_lsn to end_lsn, and of
 * what comes before start_lsn as much as is needed to know the page then.
 * Arguments are as for walredo_reader_begin(), except that WAL need not reach
 * back to start_lsn.
 *
 * The result is palloc'd in the current memory context.  It is a few hundred
 * kilobytes, however many records there are.  If there are more than
 * WALREDO_MAX_PICTURES, each picture stands for several of them.  The caller
 * frees its rebuild.
 *
 * A record that cannot be replayed raises no error: the pictures from there on
 * say why they have no page.  Nor does WAL that is broken, or missing: it is
 * left out, and then the page is not known before a record starts it anew.
 * Then WAL is read about three times.  Raises other errors of the reader, and
 * these, too, if there is nothing in the range that can be read.
 */
extern WalredoStrip *walredo_strip_read(const WalredoTag *tag,
										XLogRecPtr start_lsn,
										XLogRecPtr end_lsn,
										const char *directory);

/*
 * Is the last picture of a strip, or what was before the first one, what the
 * page is as of the end of WAL, as far as WAL tells?
 */
extern bool walredo_strip_reaches_end(const WalredoStrip *strip);

/*
 * Finds out when the transactions of the pictures ended, and sets has_end and
 * so on of those of which WAL says it.
 */
extern void walredo_strip_find_ends(WalredoStrip *strip,
									const char *directory);

#endif							/* WALREDO_REPORT_STRIP_H */

/*-------------------------------------------------------------------------
 *
 * breaks.h
 *	  Places at which WAL cannot be read, for reports that go on after them.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/report/breaks.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_REPORT_BREAKS_H
#define WALREDO_REPORT_BREAKS_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "lib/stringinfo.h"

/* How many breaks a report tells of.  It ends at the last one. */
#define WALREDO_MAX_BREAKS		16

typedef struct WalredoBreak
{
	XLogRecPtr	from;			/* WAL could be read up to here ... */
	XLogRecPtr	to;				/* ... and again from here on, where a segment
								 * begins; InvalidXLogRecPtr: it was not */
	const char *reason;			/* the words of the error */
	uint64		after_record;	/* how many records were found before it */
} WalredoBreak;

typedef struct WalredoBreaks
{
	int			num;
	int			failures;		/* how often WAL could not be read */
	WalredoBreak list[WALREDO_MAX_BREAKS];
} WalredoBreaks;

/*
 * Takes note of an error that reading WAL has raised which began at start_lsn
 * and came as far as lsn.  Returns where to go on, which is where the next
 * segment begins that is there and begins before end_lsn, or InvalidXLogRecPtr
 * if there is none, or WAL was broken too often.  directory is as for
 * walredo_reader_begin().
 *
 * Raises the error again if it does not say that WAL is broken or missing.
 */
extern XLogRecPtr walredo_break_at(WalredoBreaks *breaks,
								   XLogRecPtr start_lsn, XLogRecPtr lsn,
								   XLogRecPtr end_lsn, ErrorData *error,
								   const char *directory);

/* Raises an error again unless it says that WAL is broken or missing. */
extern void walredo_expect_wal_error(ErrorData *error);

/* The message of an error and its detail, as sentences; palloc'd. */
extern char *walredo_words_of_error(const ErrorData *error);

/*
 * Where reading begins if a range that begins at start_lsn could not be read as
 * a whole: there, if there is a segment, else where WAL begins.  It must make
 * sense as walredo_reader_begin() says.
 */
extern XLogRecPtr walredo_start_of_rest(const char *directory,
										XLogRecPtr start_lsn);

/* Is there a break between two LSNs? */
extern bool walredo_has_break(const WalredoBreaks *breaks, XLogRecPtr from,
							  XLogRecPtr to);

/* What is to be said of a break, in a box, and as a sentence; palloc'd. */
extern void walredo_put_breaks(StringInfo out, const WalredoBreaks *breaks,
							   const char *consequence);
extern char *walredo_break_text(const WalredoBreak *b);

#endif							/* WALREDO_REPORT_BREAKS_H */

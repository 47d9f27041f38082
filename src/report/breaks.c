/*-------------------------------------------------------------------------
 *
 * breaks.c
 *	  Places at which WAL cannot be read, for reports that go on after them.
 *
 * Somebody who looks for what has happened to a page wants to see what can be
 * read, however little of WAL that is.  So where WAL is broken, or a segment is
 * missing, a report goes on at the next segment, and says what it has not read.
 * What is left of the segment is not looked at: the place of the next record is
 * known only at the header of a page, and whether a page after a broken one was
 * written in the same time is not known.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/report/breaks.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "report/breaks.h"
#include "report/html.h"
#include "wal/reader.h"

/* The most attempts to go on: each looks at all directories. */
#define MAX_FAILURES		128

void
walredo_expect_wal_error(ErrorData *error)
{
	if (error->sqlerrcode != ERRCODE_DATA_CORRUPTED &&
		error->sqlerrcode != ERRCODE_UNDEFINED_FILE &&
		error->sqlerrcode != ERRCODE_IO_ERROR)
		ReThrowError(error);
}

char *
walredo_words_of_error(const ErrorData *error)
{
	if (error->detail == NULL)
		return psprintf("%s.", error->message);
	return psprintf("%s. %s", error->message, error->detail);
}

XLogRecPtr
walredo_start_of_rest(const char *directory, XLogRecPtr start_lsn)
{
	WalredoReader *reader =
		walredo_reader_begin_search(directory, WALREDO_START_OF_WAL);
	XLogRecPtr	result = walredo_reader_first_lsn(reader);

	if (start_lsn != WALREDO_START_OF_WAL &&
		(start_lsn > result || walredo_reader_has_segment(reader, start_lsn)))
		result = start_lsn;
	walredo_reader_end(reader);
	return result;
}

XLogRecPtr
walredo_break_at(WalredoBreaks *breaks, XLogRecPtr start_lsn, XLogRecPtr lsn,
				 XLogRecPtr end_lsn, ErrorData *error, const char *directory)
{
	WalredoReader *reader;
	WalredoBreak *last;
	XLogRecPtr	to = InvalidXLogRecPtr;

	walredo_expect_wal_error(error);

	/* If nothing could be read after the last break, that one is longer. */
	if (breaks->num == 0 || lsn > start_lsn ||
		breaks->list[breaks->num - 1].to != start_lsn)
	{
		last = &breaks->list[breaks->num++];
		last->from = lsn;
		last->reason = walredo_words_of_error(error);
		last->after_record = 0;
	}
	last = &breaks->list[breaks->num - 1];
	if (++breaks->failures < MAX_FAILURES && breaks->num < WALREDO_MAX_BREAKS)
	{
		reader = walredo_reader_begin_search(directory, WALREDO_START_OF_WAL);
		to = walredo_reader_next_segment(reader, lsn);
		if (to >= end_lsn)
			to = InvalidXLogRecPtr;
		walredo_reader_end(reader);
	}
	last->to = to;
	return to;
}

bool
walredo_has_break(const WalredoBreaks *breaks, XLogRecPtr from, XLogRecPtr to)
{
	for (int i = 0; i < breaks->num; i++)
	{
		const WalredoBreak *b = &breaks->list[i];

		if (b->from < to && (b->to == InvalidXLogRecPtr || b->to > from))
			return true;
	}
	return false;
}

char *
walredo_break_text(const WalredoBreak *b)
{
	const char *where = b->to == InvalidXLogRecPtr ?
		psprintf("from %X/%X on", LSN_FORMAT_ARGS(b->from)) :
		psprintf("from %X/%X to %X/%X", LSN_FORMAT_ARGS(b->from),
				 LSN_FORMAT_ARGS(b->to));

	return psprintf("It was not read %s: %s", where, b->reason);
}

void
walredo_put_breaks(StringInfo out, const WalredoBreaks *breaks,
				   const char *consequence)
{
	for (int i = 0; i < breaks->num; i++)
		walredo_html_note(out, "damage", "WAL cannot be read.", " %s %s",
						  walredo_break_text(&breaks->list[i]), consequence);
}

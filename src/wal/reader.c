/*-------------------------------------------------------------------------
 *
 * reader.c
 *	  Reading whole WAL records from the segments of a source.
 *
 * These are the steps from files to records:
 *
 *	1. The source (source.c) finds out which segment files there are, and which
 *	   history of timelines they are read along.
 *	2. begin() determines where the range begins and ends.  The caller can leave
 *	   both open: then the range begins at the first LSN from which WAL can be
 *	   read up to its end without a gap, and ends where WAL ends.
 *	3. load_chunk() reads some pages at once from the segment that holds them.
 *	4. read_page() validates the header of a page.
 *	5. find_first() finds the first place at or after the begin of the range
 *	   where a record begins.
 *	6. next_record() assembles one record after the other from the pages.  Most
 *	   records are in the page in which the record before them ends; for these,
 *	   next_usable() does the same in a few steps.
 *
 * Pages are validated by the server's xlogreader, but records are assembled
 * here, for three reasons.  First, XLogReadRecord() decodes each record at
 * once, and decoding is not safe for a record from a hostile archive (see
 * record/xlogrecord.h).  Second, it returns the decoded parts, while callers
 * here need the record as it was logged.  Third, to scan gigabytes of WAL
 * quickly, reads must be large, and records that no caller examines must not
 * be decoded.  The conditions for a valid record are the same as in the
 * server; compare with XLogDecodeNextRecord() and XLogFindNextRecord() in
 * src/backend/access/transam/xlogreader.c.
 *
 * Nothing that is read is trusted.  Every length is checked before memory is
 * allocated for it or bytes are accessed.  When more of a page is needed than
 * has been read, the page is read again, and may have changed in between.
 *
 * There are two limits.  A record has at most MAX_RECORD_LENGTH bytes, and is
 * held in memory as a whole.  And records are read in ascending order of their
 * LSNs only.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/wal/reader.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog_internal.h"
#include "access/xlogreader.h"
#include "catalog/pg_control.h"
#include "compat.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "progress/progress.h"
#include "record/xlogrecord.h"
#include "utils/memutils.h"
#include "wal/reader.h"
#include "source/source.h"

/*
 * Bytes read at once.  The segment is opened for each chunk, so this is large
 * enough that the time to open it does not matter.
 */
#define READ_CHUNK	(16 * XLOG_BLCKSZ)

/*
 * The longest possible record.  The server enforces the same limit
 * (XLogRecordMaxSize, on servers that have it).  A row of an SQL function's
 * result that contains such a record still fits into palloc's limit.
 */
#define MAX_RECORD_LENGTH	(1020 * 1024 * 1024)

/*
 * The state of a reader.  It begins in READER_READING.  From there:
 *
 *	- begin_reading() moves to READER_FOUND_FIRST if the range holds a record,
 *	  and walredo_reader_next() moves back when it hands that record out.
 *	- stop_at() moves to READER_REMOVED or READER_STOPPED where WAL cannot be
 *	  read further, or reports an error.
 *	- restart() moves from READER_REMOVED back to READER_READING.
 *	- end_range() moves to READER_AT_END where the range ends.
 *	- report_end() moves from READER_STOPPED or READER_AT_END to
 *	  READER_FINISHED.
 */
typedef enum ReaderPhase
{
	READER_READING,				/* the next record is expected at next_lsn */
	READER_FOUND_FIRST,			/* the first record has been found, but not
								 * handed out */
	READER_REMOVED,				/* WAL at stop_lsn has been removed, and the
								 * caller lets us go on after the gap */
	READER_STOPPED,				/* WAL cannot be read beyond stop_lsn, which
								 * is within the range */
	READER_AT_END,				/* no record is left in the range */
	READER_FINISHED				/* as either of the two above, and
								 * report_end() has been called */
} ReaderPhase;

struct WalredoReader
{
	WalredoSource *source;
	bool		owns_source;	/* it ends with the reader */
	XLogReaderState *state;		/* for the validation of pages only */
	ReaderPhase phase;

	/* The range. */
	XLogRecPtr	first_lsn;		/* where it begins */
	XLogRecPtr	end_lsn;		/* no record that ends after it is wanted */
	XLogRecPtr	limit;			/* no byte at or after it may be read */
	bool		to_end;			/* read a directory's WAL up to its end, which
								 * is not known; end_lsn is a maximum */
	bool		quiet;			/* where something is wrong, the range ends
								 * without an error or a warning */
	XLogRecPtr	backwards_from; /* for walredo_reader_begin_last(), else 0 */
	bool		end_is_reported;	/* report_end() has warned */

	/*
	 * Where WAL could not be read further, and why; no reason is given if the
	 * segment is missing.
	 */
	XLogRecPtr	stop_lsn;
	char	   *stop_reason;

	/*
	 * A range of the server's WAL that has no given start can go on after a
	 * gap, if WAL is removed while it is read.
	 */
	bool		can_restart;	/* this is such a range */
	bool		may_restart;	/* ... and the caller allows it */
	bool		has_restarted;	/* the last call of walredo_reader_next() went
								 * on after a gap */

	/* The chunk that was read last. */
	WalredoSegment segment;		/* where it is from */
	uint64		file_number;	/* as walredo_reader_file_number() */
	char	   *buf;
	Size		buf_size;
	Size		wanted;			/* bytes to be read next: a page at first, as
								 * no more may be needed, up to READ_CHUNK */
	XLogRecPtr	buf_start;		/* LSN of the first byte, at a page boundary */
	XLogRecPtr	buf_end;		/* valid bytes are before it */
	bool		timeline_ends;	/* bytes at buf_end do not belong to the
								 * segment's timeline any more */
	XLogRecPtr	checked_page;	/* page whose header was validated last, or 0 */

	/*
	 * All bytes from next_lsn up to this LSN are in buf, in a page whose
	 * header has been validated, and are before both limit and end_lsn.  So a
	 * record in them can be used without checking any of that again.  0 if
	 * there are no such bytes.
	 */
	XLogRecPtr	usable_end;

	/* The current record. */
	XLogRecPtr	start_lsn;		/* 0 if none has been read since the begin of
								 * the range, or since a gap */
	XLogRecPtr	next_lsn;		/* its end, where the next one is expected */
	const XLogRecord *record;	/* in buf, or in assembled */
	char	   *assembled;		/* for records that cross pages */
	Size		assembled_size;

	/*
	 * If the current record goes on in a segment after the one in which it
	 * begins: that one's file.
	 */
	bool		left_has_id;
	WalredoSegmentId left_id;

	/*
	 * The current record, or the next one, is looked for by
	 * walredo_reader_read_at(): read single pages, and leave it to that
	 * function what to do if there is none.
	 */
	bool		is_single;
};

/* A record that next_record() is reading. */
typedef struct FoundRecord
{
	XLogRecPtr	lsn;			/* where it begins */
	uint32		total_len;		/* its length, as it was first read */
	const XLogRecord *record;	/* in buf, or in assembled */
	XLogRecPtr	pageptr;		/* the page that was last read for it */
	XLogRecPtr	end_lsn;		/* where it ends, once all of it is read */
} FoundRecord;

typedef enum RecordStatus
{
	RECORD_COMPLETE,
	RECORD_OVERWRITTEN,			/* its rest was lost in a crash: read on at
								 * pageptr */
	RECORD_NOT_READ				/* the reader's phase says why */
} RecordStatus;

static WalredoReader *begin(const char *directory, XLogRecPtr start_lsn,
							XLogRecPtr end_lsn, bool quiet);
static WalredoSource *begin_source(const char *directory, XLogRecPtr end_lsn,
								   bool quiet);
static int	choose_point(WalredoSource *source, const WalredoWalPoint *points,
						 int npoints, XLogRecPtr end_lsn);
static bool is_on_history(WalredoSource *source, const WalredoWalPoint *point);
static void begin_range(WalredoReader *reader, XLogRecPtr start_lsn,
						XLogRecPtr end_lsn);
static XLogRecPtr begin_local(WalredoReader *reader, XLogRecPtr start_lsn);
static void begin_pages(WalredoReader *reader);
static void begin_reading(WalredoReader *reader, XLogRecPtr start_lsn);
static void end_range(WalredoReader *reader);
static void stop_at(WalredoReader *reader, XLogRecPtr lsn,
					const char *errormsg);
static bool restart(WalredoReader *reader);
static void report_start(WalredoReader *reader);
static void report_end(WalredoReader *reader);
static const char *check_page_header(WalredoReader *reader,
									 XLogRecPtr pageptr);
static char *read_page(WalredoReader *reader, XLogRecPtr pageptr, uint32 need);
static bool find_first(WalredoReader *reader, XLogRecPtr start_lsn);
static inline bool next_usable(WalredoReader *reader);
static bool next_record(WalredoReader *reader);
static void stay_in_range(WalredoReader *reader);
static inline bool record_header_ok(WalredoReader *reader,
									const XLogRecord *record);
static const char *check_record_header(WalredoReader *reader, XLogRecPtr lsn,
									   const XLogRecord *record);
static inline bool record_crc_ok(const XLogRecord *record);
static inline bool is_switch(const XLogRecord *record);

/* ----------------------------------------
 * The interface
 * ----------------------------------------
 */

char *
walredo_wal_with_local(const char *directory)
{
	static const char local[] = WALREDO_LOCAL_WAL;
	const char *element = directory;

	if (directory == NULL)
		return NULL;
	while (element != NULL)
	{
		const char *colon = strchr(element, ':');
		Size		length = colon ? colon - element : strlen(element);

		if (length == strlen(local) && strncmp(element, local, length) == 0)
			return pstrdup(directory);
		element = colon ? colon + 1 : NULL;
	}
	return psprintf("%s:%s", directory, local);
}

WalredoReader *
walredo_reader_begin(const char *directory, XLogRecPtr start_lsn,
					 XLogRecPtr end_lsn)
{
	return begin(directory, start_lsn, end_lsn, false);
}

WalredoReader *
walredo_reader_begin_search(const char *directory, XLogRecPtr start_lsn)
{
	return begin(directory, start_lsn, WALREDO_END_OF_WAL, true);
}

void
walredo_reader_allow_restart(WalredoReader *reader)
{
	reader->may_restart = reader->can_restart;
}

bool
walredo_reader_has_restarted(WalredoReader *reader)
{
	return reader->has_restarted;
}

bool
walredo_reader_next(WalredoReader *reader)
{
	reader->has_restarted = false;

	if (reader->phase == READER_FOUND_FIRST)
	{
		reader->phase = READER_READING;
		return true;
	}

	if (next_usable(reader))
		return true;
	reader->is_single = false;
	if (next_record(reader))
		return true;
	if (reader->phase == READER_REMOVED && restart(reader))
		return true;

	report_end(reader);
	return false;
}

const XLogRecord *
walredo_reader_record(WalredoReader *reader)
{
	return reader->record;
}

XLogRecPtr
walredo_reader_start_lsn(WalredoReader *reader)
{
	return reader->start_lsn;
}

XLogRecPtr
walredo_reader_end_lsn(WalredoReader *reader)
{
	return reader->phase == READER_FOUND_FIRST ?
		reader->start_lsn : reader->next_lsn;
}

XLogRecPtr
walredo_reader_first_lsn(WalredoReader *reader)
{
	return reader->first_lsn;
}

XLogRecPtr
walredo_reader_last_lsn(WalredoReader *reader)
{
	return reader->end_lsn;
}

bool
walredo_reader_is_at_end(WalredoReader *reader)
{
	return reader->phase == READER_AT_END;
}

bool
walredo_reader_is_to_end(WalredoReader *reader)
{
	return reader->to_end;
}

XLogRecPtr
walredo_reader_back_lsn(WalredoReader *reader)
{
	int			segsize = reader->source->segsize;
	XLogSegNo	segno = reader->first_lsn / segsize;

	/* No record begins at 0/0, and to a caller it is no LSN. */
	return segno == 0 ? InvalidXLogRecPtr : Max((segno - 1) * segsize, 1);
}

bool
walredo_reader_go_back(WalredoReader *reader, bool is_there)
{
	XLogRecPtr	segment = walredo_reader_back_lsn(reader);

	if (!is_there &&
		!walredo_source_has_whole(reader->source,
								  segment / reader->source->segsize))
	{
		report_start(reader);
		return false;
	}
	reader->first_lsn = segment;
	return true;
}

bool
walredo_reader_has_point(WalredoReader *reader, const WalredoWalPoint *point)
{
	return point->system_identifier == reader->source->system_identifier &&
		is_on_history(reader->source, point);
}

/* Forgets where the reader is, so that it can read on anywhere. */
static void
leave_position(WalredoReader *reader)
{
	if (reader->stop_reason != NULL)
		pfree(reader->stop_reason);
	reader->stop_reason = NULL;
	reader->phase = READER_READING;
	reader->start_lsn = InvalidXLogRecPtr;
	reader->usable_end = 0;
}

void
walredo_reader_begin_again(WalredoReader *reader, XLogRecPtr lsn)
{
	reader->is_single = false;
	leave_position(reader);
	reader->next_lsn = lsn;
	if (lsn >= reader->end_lsn)
		end_range(reader);
	else
		begin_reading(reader, lsn);
}

/*
 * To say that there is none, next_record() leaves the phase at something else
 * than READER_READING, so that no record can be read until the position is
 * left.
 */
bool
walredo_reader_read_at(WalredoReader *reader, XLogRecPtr lsn)
{
	/* It may be the current one. */
	if (reader->is_single && reader->record != NULL &&
		reader->phase == READER_READING && reader->start_lsn == lsn)
		return true;

	leave_position(reader);
	reader->is_single = true;
	reader->has_restarted = false;
	reader->record = NULL;
	reader->next_lsn = lsn;

	/* An empty range has no buffers. */
	if (reader->buf == NULL || lsn < reader->first_lsn ||
		lsn >= reader->end_lsn || lsn % MAXIMUM_ALIGNOF != 0)
		end_range(reader);
	if (!next_record(reader))
		return false;

	/* If another record begins after lsn instead, that is not it. */
	if (reader->start_lsn != lsn)
	{
		reader->record = NULL;
		end_range(reader);
		return false;
	}
	return true;
}

bool
walredo_reader_segment_id(WalredoReader *reader, WalredoSegmentId *id)
{
	bool		left = reader->record == NULL ||
		reader->start_lsn / reader->source->segsize !=
		reader->buf_start / reader->source->segsize;

	if (reader->record == NULL ||
		!(left ? reader->left_has_id : reader->segment.has_id))
		return false;
	*id = left ? reader->left_id : reader->segment.id;
	return true;
}

uint64
walredo_reader_file_number(WalredoReader *reader)
{
	return reader->file_number;
}

int
walredo_reader_segsize(WalredoReader *reader)
{
	return reader->source->segsize;
}

WalredoSource *
walredo_reader_source(WalredoReader *reader)
{
	return reader->source;
}

XLogRecPtr
walredo_reader_newest_segment(WalredoReader *reader)
{
	int			segsize = reader->source->segsize;

	if (reader->source->is_local)
		return (reader->end_lsn - 1) / segsize * segsize;
	return walredo_source_newest(reader->source, PG_UINT64_MAX) * segsize;
}

XLogRecPtr
walredo_reader_segment_before(WalredoReader *reader, XLogRecPtr lsn)
{
	int			segsize = reader->source->segsize;

	return (lsn - 1) / segsize * segsize;
}

bool
walredo_reader_has_segment(WalredoReader *reader, XLogRecPtr lsn)
{
	XLogRecPtr	valid_end;

	return walredo_source_has(reader->source, lsn, &valid_end);
}

XLogRecPtr
walredo_reader_next_segment(WalredoReader *reader, XLogRecPtr lsn)
{
	int			segsize = reader->source->segsize;
	XLogSegNo	newest = walredo_reader_newest_segment(reader) / segsize;

	for (XLogSegNo segno = lsn / segsize + 1; segno <= newest; segno++)
	{
		CHECK_FOR_INTERRUPTS();
		if (walredo_reader_has_segment(reader, segno * segsize))
			return segno * segsize;
	}
	return InvalidXLogRecPtr;
}

bool
walredo_reader_is_local(WalredoReader *reader)
{
	return reader->source->is_local;
}

bool
walredo_reader_is_of_server(WalredoReader *reader)
{
	return walredo_source_is_of_server(reader->source);
}

uint64
walredo_reader_system(WalredoReader *reader)
{
	return reader->source->system_identifier;
}

TimeLineID
walredo_reader_timeline(WalredoReader *reader)
{
	return reader->source->tli;
}

char *
walredo_reader_segment_name(WalredoReader *reader, XLogRecPtr lsn)
{
	return walredo_source_segment_name(reader->source, lsn);
}

void
walredo_reader_end(WalredoReader *reader)
{
	if (reader->owns_source)
		walredo_source_end(reader->source);
	if (reader->state != NULL)
		XLogReaderFree(reader->state);
	if (reader->buf != NULL)
		pfree(reader->buf);
	if (reader->assembled != NULL)
		pfree(reader->assembled);
	if (reader->stop_reason != NULL)
		pfree(reader->stop_reason);
	pfree(reader);
}

/* ----------------------------------------
 * Where the range begins
 * ----------------------------------------
 */

/* ERROR if a range makes no sense. */
static void
check_range(XLogRecPtr start_lsn, XLogRecPtr end_lsn)
{
	if (start_lsn > end_lsn)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("WAL start LSN must not be greater than end LSN"),
				 errdetail("The requested range is %X/%X to %X/%X.",
						   LSN_FORMAT_ARGS(start_lsn),
						   LSN_FORMAT_ARGS(end_lsn))));
}

/* Makes a reader with a source of its own, for a range that ends at end_lsn. */
static WalredoReader *
create_reader(const char *directory, XLogRecPtr end_lsn, bool quiet)
{
	WalredoReader *reader = palloc0(sizeof(WalredoReader));

	reader->quiet = quiet;
	reader->source = begin_source(directory, end_lsn, quiet);
	reader->owns_source = true;
	return reader;
}

/*
 * Implements walredo_reader_begin() and, with quiet,
 * walredo_reader_begin_search().
 */
static WalredoReader *
begin(const char *directory, XLogRecPtr start_lsn, XLogRecPtr end_lsn,
	  bool quiet)
{
	WalredoReader *reader = create_reader(directory, end_lsn, quiet);

	begin_range(reader, start_lsn, end_lsn);
	return reader;
}

WalredoReader *
walredo_reader_begin_at(const char *directory, const WalredoWalPoint *points,
						int npoints, XLogRecPtr end_lsn, int *chosen)
{
	WalredoReader *reader = create_reader(directory, end_lsn, false);

	*chosen = choose_point(reader->source, points, npoints, end_lsn);
	begin_range(reader,
				*chosen < 0 ? WALREDO_START_OF_WAL : points[*chosen].lsn,
				end_lsn);
	return reader;
}

WalredoReader *
walredo_reader_begin_last(const char *directory, XLogRecPtr lsn,
						  XLogRecPtr end_lsn)
{
	WalredoReader *reader = create_reader(directory, end_lsn, false);

	reader->backwards_from = lsn;
	begin_range(reader, WALREDO_START_OF_WAL, end_lsn);
	return reader;
}

WalredoReader *
walredo_reader_begin_in(WalredoSource *source, XLogRecPtr start_lsn,
						XLogRecPtr end_lsn)
{
	WalredoReader *reader = palloc0(sizeof(WalredoReader));

	reader->quiet = true;
	reader->source = source;
	begin_range(reader, start_lsn, end_lsn);
	return reader;
}

/* Makes the source of a range that ends at end_lsn. */
static WalredoSource *
begin_source(const char *directory, XLogRecPtr end_lsn, bool quiet)
{
	WalredoTolerance tolerance = WALREDO_TOLERATE_NOTHING;

	if (quiet)
		tolerance = WALREDO_TOLERATE_ALL;
	else if (directory != NULL && end_lsn == WALREDO_END_OF_WAL)
		tolerance = WALREDO_TOLERATE_UNUSABLE;
	return walredo_source_begin(directory, tolerance);
}

/* Is all that a backup can contain in the history that is followed? */
static bool
is_on_history(WalredoSource *source, const WalredoWalPoint *point)
{
	if (!walredo_source_is_followed(source, point->tli, point->lsn))
		return false;

	/* The timeline that is followed has no end. */
	if (point->end_lsn == InvalidXLogRecPtr)
		return point->tli == source->tli;
	return walredo_source_is_followed(source, point->tli,
									  Max(point->lsn, point->end_lsn - 1));
}

/*
 * Returns the index of the first of some points, each of which is a place in
 * the WAL of some system and timeline, that is in the history that is followed,
 * and from which WAL can be read to end_lsn without a gap; or -1.
 */
static int
choose_point(WalredoSource *source, const WalredoWalPoint *points, int npoints,
			 XLogRecPtr end_lsn)
{
	XLogRecPtr	first_lsn = InvalidXLogRecPtr;
	XLogRecPtr	last_lsn = end_lsn;

	for (int i = 0; i < npoints; i++)
	{
		if (points[i].system_identifier != source->system_identifier ||
			!is_on_history(source, &points[i]))
			continue;

		/*
		 * It takes a while to find out where WAL begins, and is needed only
		 * now.  The backup may be newer than all WAL that is there, such as
		 * that of a standby that lags behind.
		 */
		if (first_lsn == InvalidXLogRecPtr)
		{
			if (source->is_local)
				last_lsn = Min(end_lsn, walredo_source_local_end(end_lsn));
			first_lsn = walredo_source_start(source, last_lsn);
			if (last_lsn == WALREDO_END_OF_WAL)
				last_lsn = (walredo_source_newest(source, PG_UINT64_MAX) + 1) *
					source->segsize;
		}
		if (points[i].lsn >= first_lsn && points[i].lsn <= last_lsn)
			return i;
	}
	return -1;
}

/*
 * Where the segment begins that the LSN is in from which WAL is read backwards.
 */
static XLogRecPtr
last_segment(WalredoReader *reader)
{
	int			segsize = reader->source->segsize;
	XLogRecPtr	lsn = Min(reader->backwards_from, reader->end_lsn);
	XLogRecPtr	result;

	if (lsn != WALREDO_END_OF_WAL)
		result = (lsn - 1) / segsize * segsize;
	else
	{
		result = walredo_source_newest(reader->source, PG_UINT64_MAX) * segsize;

		/* This raises the error that there is none. */
		if (result == 0)
			result = walredo_source_start(reader->source, lsn);
	}
	return Max(result, 1);
}

/* Begins to read a range of the reader's source. */
static void
begin_range(WalredoReader *reader, XLogRecPtr start_lsn, XLogRecPtr end_lsn)
{
	reader->phase = READER_READING;
	reader->to_end = (end_lsn == WALREDO_END_OF_WAL);
	reader->limit = PG_UINT64_MAX;

	/*
	 * The LSN up to which the server's WAL can be read is one that
	 * walredo_source_local_lsn() has converted, so that it is not after the
	 * header of a page that does not exist yet.  Convert the range, too, so
	 * that they can be compared.
	 */
	if (reader->source->is_local)
	{
		start_lsn = walredo_source_local_lsn(start_lsn);
		if (!reader->to_end)
			end_lsn = walredo_source_local_lsn(end_lsn);
	}
	check_range(start_lsn, end_lsn);
	reader->end_lsn = end_lsn;
	if (reader->source->is_local)
		start_lsn = begin_local(reader, start_lsn);

	if (reader->backwards_from != InvalidXLogRecPtr)
	{
		reader->first_lsn = reader->next_lsn = last_segment(reader);
		reader->can_restart = reader->source->is_local;
		begin_pages(reader);
		return;
	}

	if (start_lsn == WALREDO_START_OF_WAL && reader->end_lsn > start_lsn)
	{
		start_lsn = walredo_source_start(reader->source, reader->end_lsn);
		reader->can_restart = reader->source->is_local;
		reader->first_lsn = start_lsn;
		report_start(reader);
	}
	reader->first_lsn = start_lsn;
	reader->next_lsn = start_lsn;

	/* If the range is empty, no segment is needed, so none can be missing. */
	if (start_lsn == reader->end_lsn)
	{
		end_range(reader);
		return;
	}

	begin_pages(reader);
	begin_reading(reader, start_lsn);
}

/*
 * If the range of a local source is open, sets its end to the LSN up to which
 * WAL can be read; otherwise checks that it does not go beyond that.  Returns
 * the start of the range.
 */
static XLogRecPtr
begin_local(WalredoReader *reader, XLogRecPtr start_lsn)
{
	XLogRecPtr	last_lsn = walredo_source_local_end(reader->end_lsn);

	reader->limit = last_lsn;

	if (reader->to_end)
	{
		reader->end_lsn = last_lsn;
		reader->to_end = false;

		/* A range that begins at the end of WAL, or after it, is empty. */
		if (start_lsn == WALREDO_END_OF_WAL ||
			(reader->quiet && start_lsn > last_lsn))
			start_lsn = last_lsn;
	}
	if (start_lsn > last_lsn || reader->end_lsn > last_lsn)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 start_lsn > last_lsn ?
				 errmsg("WAL start LSN is in the future") :
				 errmsg("WAL end LSN is in the future"),
				 errdetail("Last known WAL LSN on the database system is at %X/%X.",
						   LSN_FORMAT_ARGS(last_lsn))));

	return start_lsn;
}

/* Allocates the buffers for pages and records. */
static void
begin_pages(WalredoReader *reader)
{
	reader->state = XLogReaderAllocate(reader->source->segsize, NULL,
									   XL_ROUTINE(.page_read = NULL), NULL);
	if (reader->state == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));

	/* Pages of another system will not be valid. */
	reader->state->system_identifier = reader->source->system_identifier;

	reader->buf_size = XLOG_BLCKSZ;
	reader->buf = palloc(reader->buf_size);
	reader->assembled_size = 4 * XLOG_BLCKSZ;
	reader->assembled = palloc(reader->assembled_size);
}

/*
 * Reads the first record of the range, if there is one, so that errors at the
 * beginning are raised at once.  The first call of walredo_reader_next()
 * returns it.
 */
static void
begin_reading(WalredoReader *reader, XLogRecPtr start_lsn)
{
	bool		found = false;

	/*
	 * LSNs that are up to a segment after an LSN in the range are computed
	 * below.  These must not wrap around.
	 */
	reader->end_lsn = Min(reader->end_lsn, PG_UINT64_MAX - WalSegMaxSize);
	reader->limit = Min(reader->limit, PG_UINT64_MAX - WalSegMaxSize);

	/*
	 * If WAL is removed before the first record has been returned, the range
	 * just begins later.  That makes no difference to the caller, so it need
	 * not have called walredo_reader_allow_restart().
	 */
	reader->may_restart = reader->can_restart;
	reader->wanted = XLOG_BLCKSZ;

	if (find_first(reader, start_lsn))
	{
		/* If the start is within a record, move on to the next record. */
		do
		{
			found = next_record(reader);
		} while (found && reader->start_lsn < start_lsn);
	}
	if (reader->phase == READER_REMOVED)
		found = restart(reader);

	if (found)
		reader->phase = READER_FOUND_FIRST;
	else
		stay_in_range(reader);

	reader->has_restarted = false;
	reader->may_restart = false;
}

/*
 * Warns if the range of a directory's WAL begins after a file that cannot be
 * used, or after a missing segment while older segments are there.  WAL that
 * the user expects to be read is left out then.
 */
static void
report_start(WalredoReader *reader)
{
	WalredoSource *source = reader->source;
	XLogSegNo	segno = reader->first_lsn / source->segsize;
	char		name[WALREDO_SEGMENT_NAME];
	char	   *problem;

	if (source->is_local || reader->quiet || segno == 0)
		return;

	if (walredo_source_find_unusable(source, segno - 1, segno - 1, true,
									 name, &problem))
		ereport(WARNING,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("WAL is read from %X/%X on, as file \"%s\" before it cannot be used: %s",
						LSN_FORMAT_ARGS(reader->first_lsn), name, problem)));

	/*
	 * Do not warn about a missing segment if the directory is pg_wal.  The
	 * server removes old segments from it, but not in order, so that an older
	 * one may still be there.
	 */
	else if (walredo_source_newest(source, segno) != 0 &&
			 !walredo_source_has_pg_wal(source))
		ereport(WARNING,
				(errcode(ERRCODE_UNDEFINED_FILE),
				 errmsg("WAL is read from %X/%X on, as segment \"%s\" before it is missing",
						LSN_FORMAT_ARGS(reader->first_lsn),
						walredo_source_segment_name(source,
													reader->first_lsn - 1))));
}

/* ----------------------------------------
 * Where the range ends
 * ----------------------------------------
 */

/* Takes note that no record is left in the range. */
static void
end_range(WalredoReader *reader)
{
	reader->phase = READER_AT_END;
}

/*
 * Returns the first LSN, from one LSN up to another, whose segment is not
 * there, or InvalidXLogRecPtr if all segments are there.
 */
static XLogRecPtr
first_removed(WalredoReader *reader, XLogRecPtr from, XLogRecPtr to)
{
	XLogRecPtr	lsn = from;
	int			segsize = reader->source->segsize;

	while (lsn <= to)
	{
		XLogRecPtr	valid_end;

		if (!walredo_source_has(reader->source, lsn, &valid_end))
			return lsn;
		lsn = Min(valid_end, (lsn / segsize + 1) * segsize);
	}
	return InvalidXLogRecPtr;
}

/* Raises an error because the segment that should hold lsn is missing. */
static void
report_missing(WalredoReader *reader, XLogRecPtr lsn)
{
	WalredoSource *source = reader->source;
	XLogSegNo	segno = lsn / source->segsize;
	char		name[WALREDO_SEGMENT_NAME];
	char	   *problem;
	bool		unusable = !source->is_local &&
		walredo_source_find_unusable(source, segno, segno, false, name,
									 &problem);

	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_FILE),
			 errmsg("WAL segment \"%s\" is missing",
					walredo_source_segment_name(source, lsn)),
			 errdetail("The segment is not in directory \"%s\", but WAL is needed from %X/%X on.",
					   source->directory, LSN_FORMAT_ARGS(lsn)),
			 unusable ?
			 errhint("There is a file \"%s\", but it cannot be used: %s.", name, problem) : 0));
}

/*
 * Returns whether lsn, where WAL in a directory cannot be read further, may be
 * its end.  errormsg is as in stop_at().
 *
 * It is not the end if a later segment is there.  And if the segment is
 * missing, it can only be the end if this would be the segment after the
 * newest one.  Otherwise it is a gap, or the caller has asked for a range that
 * begins after the end of WAL.
 */
static bool
may_end_at(WalredoReader *reader, XLogRecPtr lsn, const char *errormsg)
{
	int			segsize = reader->source->segsize;
	XLogSegNo	segno = lsn / segsize;
	XLogSegNo	newest = walredo_source_newest(reader->source, PG_UINT64_MAX);

	/* The segment that was read last may have been renamed since. */
	newest = Max(newest, reader->state->seg.ws_segno);
	if (errormsg != NULL)
		return newest <= segno;

	/*
	 * A timeline can end within a segment, whose rest is then in the file of
	 * the next timeline.  If that file is missing, WAL ends here, although
	 * there is a file for this segment.
	 */
	if (newest == segno)
		return XLogSegmentOffset(lsn, segsize) != 0;
	return newest != 0 && newest + 1 == segno;
}

/*
 * To be called when WAL cannot be read further than to lsn, which is within the
 * range.  errormsg says what is wrong there; NULL means that the segment is
 * missing.
 *
 * If this may be the end of WAL, the phase becomes READER_STOPPED, and the
 * range ends.  If it is a gap because WAL has been removed, and the caller
 * allows the reader to go on after it, the phase becomes READER_REMOVED, and
 * the caller of walredo_reader_next() gets what restart() finds.  In all other
 * cases this raises an error.
 */
static void
stop_at(WalredoReader *reader, XLogRecPtr lsn, const char *errormsg)
{
	reader->phase = READER_STOPPED;
	reader->record = NULL;
	reader->stop_lsn = lsn;
	if (errormsg != NULL)
		reader->stop_reason =
			MemoryContextStrdup(GetMemoryChunkContext(reader), errormsg);
	if (reader->quiet || reader->is_single)
		return;
	if (reader->to_end && may_end_at(reader, lsn, errormsg))
		return;

	/*
	 * The server removes old segments, or renames and overwrites them.  If it
	 * did so while we had the file open, a page of another segment looks like
	 * a broken one to us.  To find out, look whether there still is a file of
	 * that name: the server never gives a file the name of an old segment
	 * again.
	 */
	if (reader->may_restart)
	{
		XLogRecPtr	removed_lsn;

		walredo_source_follow_server(reader->source);
		removed_lsn = first_removed(reader, Min(reader->next_lsn, lsn), lsn);
		if (removed_lsn != InvalidXLogRecPtr)
		{
			reader->phase = READER_REMOVED;
			reader->stop_lsn = removed_lsn;
			return;
		}
	}

	if (errormsg == NULL)
		report_missing(reader, lsn);

	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("no valid WAL record at %X/%X",
					LSN_FORMAT_ARGS(reader->next_lsn)),
			 errdetail("WAL in directory \"%s\" is corrupted or ends there: %s.",
					   reader->source->directory, errormsg),
			 (!reader->source->is_local && !reader->to_end) ?
			 errhint("Use FFFFFFFF/FFFFFFFF as end LSN to read as far as WAL goes.") : 0));
}

/*
 * After stop_at() has found that WAL has been removed, moves to the first
 * record after the gap.  If more is removed meanwhile, tries again.
 *
 * Returns false if there is no record in what is left of the range.  ERROR if
 * the gap reaches to the end of the range.
 */
static bool
restart(WalredoReader *reader)
{
	bool		found;

	do
	{
		XLogRecPtr	first_lsn = walredo_source_start(reader->source,
													 reader->end_lsn);

		/* Is there no WAL after the gap? */
		if (first_lsn <= reader->stop_lsn)
			report_missing(reader, reader->stop_lsn);

		if (reader->stop_reason != NULL)
			pfree(reader->stop_reason);
		reader->stop_reason = NULL;
		reader->phase = READER_READING;
		reader->has_restarted = true;
		reader->first_lsn = first_lsn;
		reader->start_lsn = InvalidXLogRecPtr;
		reader->usable_end = 0;
		found = find_first(reader, first_lsn) && next_record(reader);
	} while (reader->phase == READER_REMOVED);

	if (!found)
		stay_in_range(reader);
	return found;
}

/*
 * Moves next_lsn into the range if no record has been found in the range.
 *
 * If a record crosses the start or the end of the range, next_lsn, where a
 * record was expected, can be before the start or after the end.  But callers
 * may later read on from walredo_reader_end_lsn(), and must then neither get
 * records from before this range nor miss any after it.
 */
static void
stay_in_range(WalredoReader *reader)
{
	reader->next_lsn = Max(reader->next_lsn, reader->first_lsn);
	reader->next_lsn = Min(reader->next_lsn, reader->end_lsn);
}

/*
 * Reports how far WAL was read, once, and finishes the reader.
 *
 * If WAL in a directory ends within a file, or before a file that cannot be
 * used, we do not know whether that is its end or whether something is
 * damaged.  So warn a caller that has asked for all WAL up to its end.  No
 * warning is needed if WAL ends at the end of a segment, nor if the directory
 * is pg_wal, in which the server always has a segment that it has not filled
 * yet.
 */
static void
report_end(WalredoReader *reader)
{
	WalredoSource *source = reader->source;
	XLogRecPtr	end_lsn = walredo_reader_end_lsn(reader);
	bool		has_stopped = (reader->phase == READER_STOPPED);
	char		name[WALREDO_SEGMENT_NAME];
	char	   *problem;

	if (reader->phase == READER_FINISHED)
		return;
	reader->phase = READER_FINISHED;

	ereport(DEBUG1,
			(errmsg_internal("read WAL in \"%s\" from %X/%X to %X/%X of at most %X/%X",
							 source->directory,
							 LSN_FORMAT_ARGS(reader->first_lsn),
							 LSN_FORMAT_ARGS(end_lsn),
							 LSN_FORMAT_ARGS(reader->end_lsn))));

	if (!reader->to_end || reader->quiet || !has_stopped ||
		reader->end_is_reported || walredo_source_has_pg_wal(source))
		return;
	reader->end_is_reported = true;

	if (reader->stop_reason != NULL)
		ereport(WARNING,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("WAL was read up to %X/%X, not to the end of file \"%s\": %s",
						LSN_FORMAT_ARGS(end_lsn), reader->segment.name,
						reader->stop_reason)));
	else if (walredo_source_find_unusable(source,
										  reader->stop_lsn / source->segsize,
										  PG_UINT64_MAX, false, name,
										  &problem))
		ereport(WARNING,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("WAL was read up to %X/%X, as file \"%s\" after it cannot be used: %s",
						LSN_FORMAT_ARGS(end_lsn), name, problem)));
	else if (XLogSegmentOffset(reader->stop_lsn, source->segsize) != 0)
		ereport(WARNING,
				(errcode(ERRCODE_UNDEFINED_FILE),
				 errmsg("WAL was read up to %X/%X, as segment \"%s\" is missing",
						LSN_FORMAT_ARGS(end_lsn),
						walredo_source_segment_name(source,
													reader->stop_lsn))));
}

/* ----------------------------------------
 * Pages
 * ----------------------------------------
 */

/* Are these of the same file? */
static bool
is_same_segment(const WalredoSegment *a, const WalredoSegment *b)
{
	if (a->opening == b->opening)
		return true;
	return a->has_id && b->has_id &&
		a->id.segno == b->id.segno && a->id.tli == b->id.tli &&
		a->id.size == b->id.size && a->id.mtime == b->id.mtime &&
		a->id.inode == b->id.inode &&
		strcmp(a->id.name, b->id.name) == 0 &&
		strcmp(a->id.directory, b->id.directory) == 0;
}

/* Takes note of the file that is read now, before anything is read from it. */
static void
enter_segment(WalredoReader *reader, XLogRecPtr pageptr,
			  const WalredoSegment *segment)
{
	if (!is_same_segment(&reader->segment, segment))
		reader->file_number++;
	if (reader->state->seg.ws_segno != pageptr / reader->source->segsize)
	{
		reader->left_has_id = reader->segment.has_id;
		reader->left_id = reader->segment.id;
	}
	reader->segment = *segment;

	/* XLogReaderValidatePageHeader() shows these in its messages. */
	reader->state->seg.ws_tli = segment->tli;
	reader->state->seg.ws_segno = pageptr / reader->source->segsize;
}

/* Takes what has been read into buf, from pageptr on. */
static void
take_chunk(WalredoReader *reader, XLogRecPtr pageptr, Size length)
{
	reader->buf_start = pageptr;
	reader->timeline_ends = (reader->segment.valid_end <= pageptr + length);
	reader->buf_end = Min(pageptr + length, reader->segment.valid_end);
}

/*
 * Implements load_chunk() for a single page.
 *
 * Of a file that has not been read before, the first page is read, too, as only
 * its header says to which system the file belongs.  A compressed file is read
 * from its beginning in any case.
 */
static bool
load_single_page(WalredoReader *reader, XLogRecPtr pageptr)
{
	WalredoSource *source = reader->source;
	uint32		offset = XLogSegmentOffset(pageptr, source->segsize);
	WalredoSegment segment;
	Size		length;
	const char *problem;
	bool	   *is_checked;

	do
	{
		if (!walredo_source_hold(source, pageptr, &segment))
		{
			stop_at(reader, pageptr, NULL);
			return false;
		}
		enter_segment(reader, pageptr, &segment);
		is_checked = walredo_source_held_is_checked(source);
		if (!*is_checked && offset > 0)
		{
			if (!walredo_source_read_held(source, 0, reader->buf,
										  SizeOfXLogLongPHD, &length,
										  &problem))
				continue;
			take_chunk(reader, pageptr - offset, length);
			if (reader->buf_end - reader->buf_start < SizeOfXLogLongPHD ||
				check_page_header(reader, pageptr - offset) != NULL)
			{
				reader->buf_end = reader->buf_start;
				stop_at(reader, pageptr - offset, "invalid segment");
				return false;
			}
			*is_checked = true;
		}
		if (walredo_source_read_held(source, offset, reader->buf, XLOG_BLCKSZ,
									 &length, &problem))
			break;
	} while (true);
	reader->segment.problem = problem;
	take_chunk(reader, pageptr, length);
	return true;
}

/* Shows that WAL is going to be read from a page on. */
static void
show_progress(WalredoReader *reader, XLogRecPtr pageptr)
{
	XLogRecPtr	end = reader->to_end ? InvalidXLogRecPtr : reader->end_lsn;
	XLogRecPtr	position = Max(pageptr, reader->first_lsn);

	if (end != InvalidXLogRecPtr)
		position = Min(position, end);
	walredo_progress_read_wal(Min(reader->first_lsn, position), position, end,
							  reader->is_single ?
							  XLOG_BLCKSZ : reader->wanted);
}

/*
 * Reads a chunk that begins with the given page.
 *
 * Returns false if there is no such segment and the reader has stopped.
 * Otherwise buf holds what the segment has there, from buf_start, the page's
 * address, to buf_end.  That may be less than a page, or nothing.
 */
static bool
load_chunk(WalredoReader *reader, XLogRecPtr pageptr)
{
	WalredoSource *source = reader->source;
	WalredoSegment segment;
	XLogSegNo	segno = pageptr / source->segsize;
	uint32		offset = XLogSegmentOffset(pageptr, source->segsize);
	Size		wanted;
	Size		length;
	bool		found;

	CHECK_FOR_INTERRUPTS();
	show_progress(reader, pageptr);

	reader->buf_start = reader->buf_end = pageptr;

	if (source->is_local)
		walredo_source_follow_server(source);

	if (reader->is_single)
		return load_single_page(reader, pageptr);

	if (reader->wanted > reader->buf_size)
	{
		pfree(reader->buf);
		reader->buf = NULL;
		reader->buf = MemoryContextAlloc(GetMemoryChunkContext(reader),
										 reader->wanted);
		reader->buf_size = reader->wanted;
	}
	wanted = Min(reader->wanted, source->segsize - offset);
	reader->wanted = Min(4 * reader->wanted, READ_CHUNK);

	found = walredo_source_read(source, pageptr, reader->buf, wanted,
								&segment, &length);

	/*
	 * In a directory to which segments are being copied, the segment may have
	 * arrived right after we looked for it.  Then it is the newest segment
	 * now, and may_end_at() would take its absence for a gap.  So try again.
	 */
	if (!found && reader->to_end && !reader->quiet &&
		walredo_source_newest(source, PG_UINT64_MAX) == segno)
		found = walredo_source_read(source, pageptr, reader->buf, wanted,
									&segment, &length);
	if (!found)
	{
		if (pageptr >= reader->end_lsn)
			end_range(reader);
		else
			stop_at(reader, pageptr, NULL);
		return false;
	}

	enter_segment(reader, pageptr, &segment);
	take_chunk(reader, pageptr, length);
	return true;
}

/*
 * Returns the size of the header that the page at pageptr has if it is valid.
 *
 * WAL can end right after a page header.  So callers of read_page() must ask
 * for the header first, and for more only if the header says that there is
 * more.
 */
static uint32
page_header_size(WalredoReader *reader, XLogRecPtr pageptr)
{
	return XLogSegmentOffset(pageptr, reader->source->segsize) == 0 ?
		SizeOfXLogLongPHD : SizeOfXLogShortPHD;
}

/*
 * Checks the header of a page in the chunk.  At least a short header must be
 * there.  Returns NULL if the header is valid, else what is wrong with it.
 */
static const char *
check_page_header(WalredoReader *reader, XLogRecPtr pageptr)
{
	XLogPageHeader header = (XLogPageHeader)
		(reader->buf + (pageptr - reader->buf_start));
	const char *errormsg = NULL;

	/*
	 * The page itself says whether its header is long, and the function below
	 * reads it as that, so check that it is all there.
	 */
	if (reader->buf_end - pageptr < XLogPageHeaderSize(header))
		errormsg = "the file ends within the page's header";
	else if (!XLogReaderValidatePageHeader(reader->state, pageptr,
										   (char *) header))
	{
		errormsg = pstrdup(reader->state->errormsg_buf);
		XLogReaderResetError(reader->state);
	}
	else if (header->xlp_rem_len > MAX_RECORD_LENGTH)
		errormsg = "a record is longer than any can be";

	return errormsg;
}

/*
 * Returns the page at pageptr, after validating its header.  At least the first
 * need bytes of the page are there.  The result is valid until the next call,
 * except that it stays valid if that call is for no more of the same page.
 *
 * Returns NULL if these bytes are not in the range, or cannot be read, or if
 * the header is not valid.  The reader's phase says which.
 */
static char *
read_page(WalredoReader *reader, XLogRecPtr pageptr, uint32 need)
{
	Assert(pageptr % XLOG_BLCKSZ == 0);
	Assert(need >= SizeOfXLogShortPHD && need <= XLOG_BLCKSZ);

	/* A record that has bytes beyond the limit is not in the range. */
	if (pageptr + need > reader->limit)
	{
		end_range(reader);
		return NULL;
	}

	if (pageptr < reader->buf_start || pageptr + need > reader->buf_end)
	{
		if (!load_chunk(reader, pageptr))
			return NULL;
		reader->checked_page = InvalidXLogRecPtr;

		if (pageptr + need > reader->buf_end)
		{
			if (pageptr >= reader->end_lsn)
				end_range(reader);
			else if (reader->timeline_ends)
				stop_at(reader, reader->buf_end, NULL);
			else if (reader->segment.problem != NULL)
				stop_at(reader, pageptr, reader->segment.problem);
			else
				stop_at(reader, pageptr, reader->buf_end == pageptr ?
						psprintf("the file ends at %X/%X",
								 LSN_FORMAT_ARGS(pageptr)) :
						psprintf("of the page at %X/%X only %u bytes are there",
								 LSN_FORMAT_ARGS(pageptr),
								 (uint32) (reader->buf_end - pageptr)));
			return NULL;
		}
	}

	if (reader->checked_page != pageptr)
	{
		const char *errormsg = check_page_header(reader, pageptr);

		if (errormsg != NULL)
		{
			if (pageptr >= reader->end_lsn)
				end_range(reader);
			else
				stop_at(reader, pageptr, errormsg);
			return NULL;
		}
		reader->checked_page = pageptr;
	}

	return reader->buf + (pageptr - reader->buf_start);
}

/* ----------------------------------------
 * Records
 * ----------------------------------------
 */

/*
 * Sets next_lsn to the first place where a record begins in the page of
 * start_lsn or, if none begins in that page, in a later one.  This can be
 * before start_lsn, because only a page's header says where in it the first
 * record begins.  Returns false if there is no such place in the range.
 */
static bool
find_first(WalredoReader *reader, XLogRecPtr start_lsn)
{
	XLogRecPtr	pageptr = start_lsn - start_lsn % XLOG_BLCKSZ;
	uint32		offset = XLogSegmentOffset(pageptr, reader->source->segsize);

	reader->next_lsn = start_lsn;

	/*
	 * Only the header of a segment's first page says to which system the
	 * segment belongs, so validate that page here.  This need not be done for
	 * later segments, because their first pages will be read in any case.
	 */
	if (read_page(reader, pageptr - offset, SizeOfXLogLongPHD) == NULL)
		return false;

	for (;;)
	{
		XLogPageHeader header = (XLogPageHeader)
			read_page(reader, pageptr, page_header_size(reader, pageptr));
		uint32		header_size;

		if (header == NULL)
			return false;

		header_size = XLogPageHeaderSize(header);
		reader->next_lsn = pageptr + header_size;
		if ((header->xlp_info & XLP_FIRST_IS_CONTRECORD) == 0)
			return true;

		/*
		 * The page begins with the rest of a record from the page before.  If
		 * that ends in this page, the next record begins after it.
		 */
		if (MAXALIGN(header->xlp_rem_len) < XLOG_BLCKSZ - header_size)
		{
			reader->next_lsn += MAXALIGN(header->xlp_rem_len);
			return true;
		}
		pageptr += XLOG_BLCKSZ;
	}
}

/*
 * Moves to the record at next_lsn if all of it is before usable_end, and if it
 * is valid and no switch record.  Otherwise changes nothing and returns false,
 * and the caller has to call next_record(), which handles all cases, and
 * reports what is wrong.
 */
static inline bool
next_usable(WalredoReader *reader)
{
	XLogRecPtr	lsn = reader->next_lsn;
	const XLogRecord *record;
	XLogRecPtr	next_lsn;

	/* This cannot wrap around: LSNs near the maximum are not in the range. */
	if (lsn + SizeOfXLogRecord > reader->usable_end)
		return false;

	record = (const XLogRecord *) (reader->buf + (lsn - reader->buf_start));
	next_lsn = lsn + MAXALIGN64((uint64) record->xl_tot_len);
	if (next_lsn > reader->usable_end ||
		!record_header_ok(reader, record) ||
		!record_crc_ok(record) || is_switch(record))
		return false;

	reader->start_lsn = lsn;
	reader->next_lsn = next_lsn;
	reader->record = record;
	return true;
}

/*
 * Finds the record that begins at lsn or, if a page begins there, after the
 * header of that page, and checks the record's header as far as it is in the
 * page.  Sets lsn, pageptr, record and total_len in *found.
 *
 * Returns false if there is none in the range, or it cannot be read.
 */
static bool
find_record(WalredoReader *reader, XLogRecPtr lsn, FoundRecord *found)
{
	uint32		offset = lsn % XLOG_BLCKSZ;
	uint32		header_size;
	char	   *page;
	const char *errormsg = NULL;

	found->pageptr = lsn - offset;

	/*
	 * No record is smaller than a record header.  So if not even that fits
	 * into the range, there is no record, and the page need not be read,
	 * which might fail.
	 */
	if (lsn + SizeOfXLogRecord + (offset == 0 ? SizeOfXLogShortPHD : 0) >
		reader->end_lsn)
	{
		end_range(reader);
		return false;
	}

	page = read_page(reader, found->pageptr,
					 Max(offset, page_header_size(reader, found->pageptr)));
	if (page == NULL)
		return false;

	header_size = XLogPageHeaderSize((XLogPageHeader) page);
	if (offset == 0)
		offset = header_size;
	else if (offset < header_size)
		errormsg = "a record cannot begin in a page's header";

	if (errormsg == NULL && offset == header_size &&
		(((XLogPageHeader) page)->xlp_info & XLP_FIRST_IS_CONTRECORD) != 0)
		errormsg = "the page begins with the rest of another record";

	if (errormsg != NULL)
	{
		stop_at(reader, found->pageptr, errormsg);
		return false;
	}
	found->lsn = found->pageptr + offset;

	/*
	 * Records are aligned, so at least the length, which comes first, is in
	 * the page.  The rest of the record's header need not be.
	 */
	page = read_page(reader, found->pageptr,
					 Min(offset + SizeOfXLogRecord, XLOG_BLCKSZ));
	if (page == NULL)
		return false;
	found->record = (const XLogRecord *) (page + offset);
	found->total_len = found->record->xl_tot_len;

	if (XLOG_BLCKSZ - offset >= SizeOfXLogRecord)
		errormsg = check_record_header(reader, found->lsn, found->record);
	else if (found->total_len < SizeOfXLogRecord)
		errormsg = psprintf("invalid record length %u", found->total_len);
	if (errormsg != NULL)
	{
		stop_at(reader, found->pageptr, errormsg);
		return false;
	}
	return true;
}

/*
 * Makes sure that all bytes of a record that are in the page in which it begins
 * have been read.  Returns false if that is not possible.
 */
static bool
read_first_page(WalredoReader *reader, FoundRecord *found)
{
	uint32		offset = found->lsn % XLOG_BLCKSZ;
	uint32		length = Min(found->total_len, XLOG_BLCKSZ - offset);
	char	   *page = read_page(reader, found->pageptr, offset + length);
	const char *errormsg = NULL;

	if (page == NULL)
		return false;

	/*
	 * The page has been read again if not all of these bytes were in the
	 * chunk.  It may then be at another address, and its contents need not be
	 * the same.
	 */
	found->record = (const XLogRecord *) (page + offset);
	if (found->record->xl_tot_len != found->total_len)
		errormsg = psprintf("invalid record length %u",
							found->record->xl_tot_len);
	else if (length >= SizeOfXLogRecord)
		errormsg = check_record_header(reader, found->lsn, found->record);
	if (errormsg != NULL)
	{
		stop_at(reader, found->pageptr, errormsg);
		return false;
	}
	return true;
}

/*
 * Checks that a record goes on in the page with the given header.  copied is
 * the number of the record's bytes in the pages before.  Returns NULL if it
 * does, else what is wrong.
 */
static const char *
check_continuation(const FoundRecord *found, XLogPageHeader header,
				   uint32 copied)
{
	if ((header->xlp_info & XLP_FIRST_IS_CONTRECORD) == 0)
		return psprintf("the record does not go on at %X/%X",
						LSN_FORMAT_ARGS(found->pageptr));
	if (header->xlp_rem_len == 0 ||
		found->total_len != (uint64) header->xlp_rem_len + copied)
		return psprintf("%u bytes of the record follow at %X/%X instead of %u",
						header->xlp_rem_len,
						LSN_FORMAT_ARGS(found->pageptr),
						found->total_len - copied);
	return NULL;
}

/*
 * Copies a record that crosses pages from all of its pages into
 * reader->assembled, and sets record, pageptr and end_lsn in *found.
 */
static RecordStatus
assemble_record(WalredoReader *reader, FoundRecord *found)
{
	uint32		copied = XLOG_BLCKSZ - found->lsn % XLOG_BLCKSZ;
	bool		header_checked = (copied >= SizeOfXLogRecord);

	/* It is less than a page, so there is room for it. */
	memcpy(reader->assembled, found->record, copied);
	found->record = (const XLogRecord *) reader->assembled;

	do
	{
		XLogPageHeader header;
		uint32		header_size;
		uint32		length;
		char	   *page;
		const char *errormsg;

		found->pageptr += XLOG_BLCKSZ;
		header = (XLogPageHeader)
			read_page(reader, found->pageptr,
					  page_header_size(reader, found->pageptr));
		if (header == NULL)
			return RECORD_NOT_READ;

		/*
		 * If the rest of a record was lost in a crash, the server sets this
		 * flag in the page where the rest should be, and writes another
		 * record there.
		 */
		if (header->xlp_info & XLP_FIRST_IS_OVERWRITE_CONTRECORD)
			return RECORD_OVERWRITTEN;

		errormsg = check_continuation(found, header, copied);
		if (errormsg != NULL)
		{
			stop_at(reader, found->pageptr, errormsg);
			return RECORD_NOT_READ;
		}

		/*
		 * Only now allocate as much memory as the record says it needs, since
		 * a second page agrees about its length, and read_page() has checked
		 * that xlp_rem_len is not above the limit.
		 */
		if (found->total_len > reader->assembled_size)
		{
			reader->assembled_size = pg_nextpower2_size_t(found->total_len);
			reader->assembled =
				repalloc_huge(reader->assembled, reader->assembled_size);
			found->record = (const XLogRecord *) reader->assembled;
		}

		header_size = XLogPageHeaderSize(header);
		length = Min(header->xlp_rem_len, XLOG_BLCKSZ - header_size);
		page = read_page(reader, found->pageptr, header_size + length);
		if (page == NULL)
			return RECORD_NOT_READ;
		memcpy(reader->assembled + copied, page + header_size, length);
		copied += length;
		found->end_lsn = found->pageptr + header_size + MAXALIGN(length);

		/*
		 * If the record's header did not fit into the first page, it is
		 * complete now, and find_record() could not check it.
		 */
		if (!header_checked)
		{
			errormsg = check_record_header(reader, found->lsn, found->record);
			if (errormsg != NULL)
			{
				stop_at(reader, found->pageptr, errormsg);
				return RECORD_NOT_READ;
			}
			header_checked = true;
		}
	} while (copied < found->total_len);

	return RECORD_COMPLETE;
}

/*
 * Reads all of a record that find_record() has found, and sets the remaining
 * fields of *found.
 */
static RecordStatus
read_record(WalredoReader *reader, FoundRecord *found)
{
	if (!read_first_page(reader, found))
		return RECORD_NOT_READ;

	if (found->total_len > XLOG_BLCKSZ - found->lsn % XLOG_BLCKSZ)
		return assemble_record(reader, found);

	found->end_lsn = found->lsn + MAXALIGN(found->total_len);
	return RECORD_COMPLETE;
}

/*
 * Makes a record, of which everything has been read and checked, the current
 * one.
 */
static void
accept_record(WalredoReader *reader, const FoundRecord *found)
{
	reader->start_lsn = found->lsn;
	reader->next_lsn = found->end_lsn;
	reader->record = found->record;

	/*
	 * next_usable() may use the rest of the page in which the record ends, as
	 * far as it is in the chunk.  checked_page is that page, except after a
	 * switch record, which ends in another page than its bytes.
	 */
	if (reader->next_lsn > reader->checked_page &&
		reader->next_lsn < reader->checked_page + XLOG_BLCKSZ)
		reader->usable_end =
			Min(Min(reader->checked_page + XLOG_BLCKSZ, reader->buf_end),
				Min(reader->limit, reader->end_lsn));
}

/*
 * Moves to the record at next_lsn, where the last one ended.
 *
 * Returns false if there is none in the range, or none that can be read; the
 * phase says which.  next_lsn is not changed then: it must never be within a
 * record, as callers and later scans go on from there.
 */
static bool
next_record(WalredoReader *reader)
{
	FoundRecord found;
	RecordStatus status;
	XLogRecPtr	lsn = reader->next_lsn;
	int			segsize = reader->source->segsize;

	reader->usable_end = 0;

	if (reader->phase != READER_READING)
		return false;

	/* If a record's rest was overwritten, the next one begins at pageptr. */
	do
	{
		if (!find_record(reader, lsn, &found))
			return false;
		status = read_record(reader, &found);
		lsn = found.pageptr;
	} while (status == RECORD_OVERWRITTEN);

	if (status == RECORD_NOT_READ)
		return false;

	if (!record_crc_ok(found.record))
	{
		stop_at(reader, found.pageptr, "incorrect checksum of the record");
		return false;
	}

	/* A switch record reaches to the end of its segment. */
	if (is_switch(found.record) &&
		XLogSegmentOffset(found.end_lsn, segsize) != 0)
		found.end_lsn += segsize - XLogSegmentOffset(found.end_lsn, segsize);

	if (found.end_lsn > reader->end_lsn)
	{
		end_range(reader);
		return false;
	}

	accept_record(reader, &found);
	return true;
}

/*
 * A fast check of a record's header.  If this returns true, the header is
 * valid.  If it returns false, check_record_header() has to decide.
 */
static inline bool
record_header_ok(WalredoReader *reader, const XLogRecord *record)
{
	return record->xl_tot_len >= SizeOfXLogRecord &&
		record->xl_tot_len <= MAX_RECORD_LENGTH &&
		RmgrIdIsValid(record->xl_rmid) &&
		record->xl_prev == reader->start_lsn &&
		!XLogRecPtrIsInvalid(record->xl_prev);
}

/*
 * Checks the header of the record at lsn.  Returns NULL if it is valid, else
 * what is wrong with it.
 *
 * This mirrors ValidXLogRecordHeader() in
 * src/backend/access/transam/xlogreader.c.
 */
static const char *
check_record_header(WalredoReader *reader, XLogRecPtr lsn,
					const XLogRecord *record)
{
	/* The unused part of a segment is all zeroes, so 0 marks the end of WAL. */
	if (record->xl_tot_len < SizeOfXLogRecord ||
		record->xl_tot_len > MAX_RECORD_LENGTH)
		return psprintf("invalid record length %u", record->xl_tot_len);
	if (!RmgrIdIsValid(record->xl_rmid))
		return psprintf("invalid resource manager ID %u", record->xl_rmid);

	/*
	 * xl_prev must be the LSN where the previous record begins.  For the
	 * first record that is read, that LSN is not known, but it must be before
	 * this record.
	 */
	if (XLogRecPtrIsInvalid(reader->start_lsn) ?
		record->xl_prev >= lsn : record->xl_prev != reader->start_lsn)
		return psprintf("incorrect link to the previous record %X/%X",
						LSN_FORMAT_ARGS(record->xl_prev));

	return NULL;
}

/*
 * Returns whether a record's checksum is right.  This mirrors ValidXLogRecord()
 * in src/backend/access/transam/xlogreader.c.
 */
static inline bool
record_crc_ok(const XLogRecord *record)
{
	return EQ_CRC32C(record->xl_crc, walredo_xlogrecord_crc(record));
}

static inline bool
is_switch(const XLogRecord *record)
{
	return record->xl_rmid == RM_XLOG_ID &&
		(record->xl_info & ~XLR_INFO_MASK) == XLOG_SWITCH;
}

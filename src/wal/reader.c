/*-------------------------------------------------------------------------
 *
 * reader.c
 *	  Reading whole WAL records from a directory of segment files.
 *
 * The server's xlogreader says what a valid page is, but the records are put
 * together here, for three reasons.  Its XLogReadRecord() decodes each record
 * at once, and decoding is not safe for a record from a hostile archive: see
 * record/xlogrecord.h.  It hands out the decoded parts, while the record as
 * it was logged is what walredo is about.  And a scan of gigabytes wants large
 * reads, and no decoding of records that nobody looks into.  What makes a
 * record valid is the same as there; XLogDecodeNextRecord() and
 * XLogFindNextRecord() of src/backend/access/transam/xlogreader.c are what to
 * compare with.
 *
 * The server's own pg_wal is read in the same way as any other directory.
 * Only the knowledge about it is better: segment size, system identifier,
 * the timeline, and how far WAL goes come from the server.
 *
 * No file stays open between two reads.  A set-returning function may be left
 * in the middle, and its caller may roll back a subtransaction and go on
 * fetching, so a descriptor that a (sub)transaction owns may be gone, or be
 * another file's, when the next record is wanted.  Opening the segment again
 * for each chunk costs next to nothing.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/wal/reader.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogreader.h"
#include "access/xlogrecovery.h"
#include "catalog/pg_control.h"
#include "compat.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "record/xlogrecord.h"
#include "storage/fd.h"
#include "utils/memutils.h"
#include "wal/reader.h"
#include "wal/timeline.h"

/* Bytes read at once.  Large enough that opening the file is not felt. */
#define READ_CHUNK	(16 * XLOG_BLCKSZ)

/*
 * No record is longer, as the server itself sees to (XLogRecordMaxSize on
 * servers that have it).  It fits into palloc's limit with a row around it.
 */
#define MAX_RECORD_LENGTH	(1020 * 1024 * 1024)

/* Where a segment's name ends that is followed by .partial or the like. */
#define SUFFIX(name)	((name) + XLOG_FNAME_LEN)

struct WalredoReader
{
	XLogReaderState *state;		/* for the validation of pages only */

	/* Where WAL is, and what of it is wanted. */
	char		directory[MAXPGPATH];
	bool		own;			/* it is read as the server's own */
	bool		quiet;			/* what is wrong is the end of the range */
	int			segsize;
	TimeLineID	tli;			/* the timeline to follow */
	List	   *history;		/* WalredoTimelines, newest first */
	XLogRecPtr	first_lsn;		/* where the range begins */
	XLogRecPtr	end_lsn;		/* no record that ends after it is wanted */
	XLogRecPtr	limit;			/* no byte at or after it may be read */
	bool		to_end;			/* end_lsn is not known: find the end */
	bool		done;

	/* Where WAL could not be read further, and why; NULL: it is missing. */
	bool		stopped;
	XLogRecPtr	stop_lsn;
	char	   *stop_reason;
	bool		end_reported;

	/*
	 * A range of the server's own WAL that has no given start may go on
	 * behind WAL that is removed while it is read.
	 */
	bool		open_start;		/* it is such a range */
	bool		may_restart;	/* ... and the caller knows of it */
	bool		restarted;		/* the last walredo_reader_next() did so */
	XLogRecPtr	removed_lsn;	/* wanted, and found to be removed, or 0 */

	/* What was read last. */
	char		file[MAXFNAMELEN];	/* its name in the directory */
	char	   *buf;			/* READ_CHUNK bytes */
	XLogRecPtr	buf_start;		/* a page boundary */
	XLogRecPtr	buf_end;		/* valid bytes are before it */
	bool		timeline_ends;	/* ... and after it another timeline's are */
	XLogRecPtr	checked_page;	/* page whose header was validated last */

	/*
	 * As far as this, from next_lsn on, lies what can be used without another
	 * look at the page, the chunk, the limit or the end of the range; 0 if
	 * nothing does.
	 */
	XLogRecPtr	at_hand;

	/* The current record. */
	XLogRecPtr	start_lsn;
	XLogRecPtr	next_lsn;		/* its end, where the next one is looked for */
	const XLogRecord *record;	/* in buf, or in assembled */
	char	   *assembled;		/* a record that crosses pages */
	Size		assembled_size;
	bool		pending;		/* found by begin, not yet handed out */
};

static WalredoReader *begin(const char *directory, XLogRecPtr start_lsn,
							XLogRecPtr end_lsn, bool quiet);
static XLogRecPtr before_page_header(XLogRecPtr lsn);
static void look_at_own_log(WalredoReader *reader);
static void look_at_directory(WalredoReader *reader);
static List *read_history(WalredoReader *reader, const char *directory,
						  TimeLineID tli, bool *found);
static bool is_segment_name(const char *name);
static bool is_regular_file(const char *directory, const char *name);
static bool parse_name(WalredoReader *reader, const char *name,
					   TimeLineID *tli, XLogSegNo *segno);
static bool in_history(WalredoReader *reader, TimeLineID tli,
					   XLogSegNo segno);
static int	open_regular_file(const char *path);
static void report_not_opened(const char *path);
static int	open_segment(WalredoReader *reader, XLogRecPtr lsn,
						 TimeLineID *tli, XLogRecPtr *valid_end);
static const char *read_long_header(const char *path,
									XLogLongPageHeader header);
static void follow_own_timeline(WalredoReader *reader);
static const char *segment_problem(WalredoReader *reader, const char *name,
								   XLogSegNo segno, bool whole);
static XLogSegNo newest_segment(WalredoReader *reader, XLogSegNo before);
static XLogRecPtr start_of_log(WalredoReader *reader);
static XLogRecPtr first_removed(WalredoReader *reader, XLogRecPtr from,
								XLogRecPtr to);
static bool find_unusable(WalredoReader *reader, XLogSegNo from, XLogSegNo to,
						  bool whole, char *name, char **problem);
static void report_start(WalredoReader *reader);
static void report_missing(WalredoReader *reader, XLogRecPtr lsn);
static bool may_end_at(WalredoReader *reader, XLogRecPtr lsn,
					   const char *errormsg);
static void stop_at(WalredoReader *reader, XLogRecPtr lsn,
					const char *errormsg);
static void load_chunk(WalredoReader *reader, XLogRecPtr pageptr);
static char *read_page(WalredoReader *reader, XLogRecPtr pageptr, uint32 need);
static bool find_first(WalredoReader *reader, XLogRecPtr start_lsn);
static inline bool next_at_hand(WalredoReader *reader);
static bool next_record(WalredoReader *reader);
static void stay_in_range(WalredoReader *reader);
static void report_end(WalredoReader *reader);
static bool restart(WalredoReader *reader);
static inline bool record_header_ok(WalredoReader *reader, XLogRecPtr lsn,
									const XLogRecord *record);
static const char *check_record_header(WalredoReader *reader, XLogRecPtr lsn,
									   const XLogRecord *record);
static inline bool record_crc_ok(const XLogRecord *record);
static inline bool is_switch(const XLogRecord *record);

/* ----------------------------------------
 * The interface
 * ----------------------------------------
 */

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

static WalredoReader *
begin(const char *directory, XLogRecPtr start_lsn, XLogRecPtr end_lsn,
	  bool quiet)
{
	WalredoReader *reader;
	bool		to_end = (end_lsn == WALREDO_END_OF_WAL);

	/* In these terms the server's own WAL ends, so that they compare. */
	if (directory == NULL)
	{
		start_lsn = before_page_header(start_lsn);
		if (!to_end)
			end_lsn = before_page_header(end_lsn);
	}

	if (start_lsn > end_lsn)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("WAL start LSN must not be greater than end LSN"),
				 errdetail("The range given is %X/%X to %X/%X.",
						   LSN_FORMAT_ARGS(start_lsn),
						   LSN_FORMAT_ARGS(end_lsn))));

	reader = palloc0(sizeof(WalredoReader));
	reader->to_end = to_end;
	reader->end_lsn = end_lsn;
	reader->own = (directory == NULL);
	reader->quiet = quiet;

	if (reader->own)
	{
		strlcpy(reader->directory, XLOGDIR, MAXPGPATH);
		look_at_own_log(reader);
	}
	else
	{
		/* Leave room for a file name. */
		if (strlen(directory) >= MAXPGPATH - MAXFNAMELEN - 1)
			ereport(ERROR,
					(errcode(ERRCODE_NAME_TOO_LONG),
					 errmsg("path of the WAL directory is too long")));
		strlcpy(reader->directory, directory, MAXPGPATH);
		canonicalize_path(reader->directory);
	}

	if (reader->own)
	{
		XLogRecPtr	last = reader->limit;

		if (reader->to_end)
		{
			reader->end_lsn = last;
			reader->to_end = false;

			/* From the end on, wherever that is, there is nothing. */
			if (start_lsn == WALREDO_END_OF_WAL ||
				(quiet && start_lsn > last))
				start_lsn = last;
		}
		if (start_lsn > last || reader->end_lsn > last)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 start_lsn > last ?
					 errmsg("WAL start LSN is in the future") :
					 errmsg("WAL end LSN is in the future"),
					 errdetail("Last known WAL LSN on the database system is at %X/%X.",
							   LSN_FORMAT_ARGS(last))));
	}
	else
		look_at_directory(reader);

	if (start_lsn == WALREDO_START_OF_WAL && reader->end_lsn > start_lsn)
	{
		start_lsn = start_of_log(reader);
		reader->open_start = reader->own;
		reader->first_lsn = start_lsn;
		report_start(reader);
	}
	reader->first_lsn = start_lsn;
	reader->next_lsn = start_lsn;

	/* Nothing to read is nothing that can be missing. */
	if (start_lsn == reader->end_lsn)
	{
		reader->done = true;
		return reader;
	}

	/* No position that is computed from one in the range may wrap around. */
	if (reader->end_lsn > PG_UINT64_MAX - WalSegMaxSize)
		reader->end_lsn = PG_UINT64_MAX - WalSegMaxSize;
	if (reader->limit > PG_UINT64_MAX - WalSegMaxSize)
		reader->limit = PG_UINT64_MAX - WalSegMaxSize;

	reader->buf = palloc(READ_CHUNK);
	reader->assembled_size = 4 * XLOG_BLCKSZ;
	reader->assembled = palloc(reader->assembled_size);

	/* Nothing has been handed out yet: WAL may begin later by now. */
	reader->may_restart = reader->open_start;

	if (find_first(reader, start_lsn))
	{
		/* A start within a record moves on to the next one. */
		do
		{
			reader->pending = next_record(reader);
		} while (reader->pending && reader->start_lsn < start_lsn);
	}
	if (reader->removed_lsn != InvalidXLogRecPtr)
		reader->pending = restart(reader);

	if (!reader->pending)
		stay_in_range(reader);

	reader->restarted = false;
	reader->may_restart = false;

	return reader;
}

void
walredo_reader_allow_restart(WalredoReader *reader)
{
	reader->may_restart = reader->open_start;
}

bool
walredo_reader_has_restarted(WalredoReader *reader)
{
	return reader->restarted;
}

bool
walredo_reader_next(WalredoReader *reader)
{
	reader->restarted = false;

	if (reader->pending)
	{
		reader->pending = false;
		return true;
	}

	if (next_at_hand(reader) || next_record(reader))
		return true;
	if (reader->removed_lsn != InvalidXLogRecPtr && restart(reader))
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
	return reader->pending ? reader->start_lsn : reader->next_lsn;
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

char *
walredo_reader_segment_name(WalredoReader *reader, XLogRecPtr lsn)
{
	XLogSegNo	segno = lsn / reader->segsize;
	TimeLineID	tli = reader->tli;
	char	   *name = palloc(MAXFNAMELEN);
	ListCell   *lc;

	/* Name the file that would be best. */
	foreach(lc, reader->history)
	{
		WalredoTimeline *timeline = lfirst(lc);

		if (timeline->begin < timeline->end &&
			walredo_timeline_covers(timeline, segno, reader->segsize))
		{
			tli = timeline->tli;
			break;
		}
	}
	XLogFileName(name, tli, segno, reader->segsize);
	return name;
}

void
walredo_reader_end(WalredoReader *reader)
{
	XLogReaderFree(reader->state);
	list_free_deep(reader->history);
	if (reader->buf != NULL)
		pfree(reader->buf);
	if (reader->assembled != NULL)
		pfree(reader->assembled);
	if (reader->stop_reason != NULL)
		pfree(reader->stop_reason);
	pfree(reader);
}

/* ----------------------------------------
 * The directory
 * ----------------------------------------
 */

/* Makes the state that pages are validated with. */
static void
set_segment_size(WalredoReader *reader, int segsize)
{
	reader->segsize = segsize;
	reader->state = XLogReaderAllocate(segsize, NULL,
									   XL_ROUTINE(.page_read = NULL), NULL);
	if (reader->state == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
}

/* The timeline of the running server, and how far its WAL is valid. */
static XLogRecPtr
own_log_end(TimeLineID *tli)
{
	/* As read_local_xlog_page() in src/backend/access/transam/xlogutils.c. */
	if (!RecoveryInProgress())
		return GetFlushRecPtr(tli);
	return GetXLogReplayRecPtr(tli);
}

/*
 * The same place in the server's own WAL, but not within or right after the
 * header of a page.
 *
 * Where the next record will begin may be after the header of a page that does
 * not exist yet; the record before it ends before that header.  (0/0, which
 * stands for something else, comes out of nothing but 0/0: there is no WAL in
 * that page.)
 */
static XLogRecPtr
before_page_header(XLogRecPtr lsn)
{
	uint32		offset = lsn % XLOG_BLCKSZ;
	bool		is_long = (XLogSegmentOffset(lsn - offset,
											 wal_segment_size) == 0);

	if (lsn > offset &&
		offset <= (is_long ? SizeOfXLogLongPHD : SizeOfXLogShortPHD))
		lsn -= offset;
	return lsn;
}

/*
 * Sees to it that what was logged up to end_lsn can be read.  It need not be
 * on disk yet: other sessions commit asynchronously, or have not committed.
 */
static void
flush_own_log(WalredoReader *reader)
{
	XLogRecPtr	last;

	if (RecoveryInProgress())
		return;

	/* There is nothing to flush of a page that does not exist yet. */
	last = before_page_header(GetXLogInsertRecPtr());
	if (reader->to_end)
		XLogFlush(last);
	else if (reader->end_lsn <= last)
		XLogFlush(reader->end_lsn);
}

static void
look_at_own_log(WalredoReader *reader)
{
	flush_own_log(reader);
	reader->limit = own_log_end(&reader->tli);
	set_segment_size(reader, wal_segment_size);
	reader->state->system_identifier = GetSystemIdentifier();
	reader->history = read_history(reader, XLOGDIR, reader->tli, NULL);
}

/*
 * Is a file that is named as a segment one of this PostgreSQL version?  Gets
 * its header.
 */
static bool
is_valid_segment(WalredoReader *reader, const char *name,
				 XLogLongPageHeader header)
{
	char		path[MAXPGPATH];

	snprintf(path, sizeof(path), "%s/%s", reader->directory, name);
	return read_long_header(path, header) == NULL &&
		header->std.xlp_magic == XLOG_PAGE_MAGIC &&
		(header->std.xlp_info & XLP_LONG_HEADER) != 0 &&
		IsValidWalSegSize(header->xlp_seg_size);
}

/* The timeline in a segment's or a history file's name; 0 is none. */
static TimeLineID
timeline_of(const char *name)
{
	TimeLineID	tli;

	/* The name begins with eight hexadecimal digits. */
	return sscanf(name, "%08X", &tli) == 1 ? tli : 0;
}

/* The order in which segments are asked whose they are: whole ones first. */
static bool
comes_before(const char *name, const char *other)
{
	bool		is_whole = IsXLogFileName(name);

	if (is_whole != IsXLogFileName(other))
		return is_whole;
	return strcmp(name, other) < 0;
}

/*
 * Which database system's WAL is meant, of those that the directory holds
 * segments of: this server's, or else the only one.  Gets a header of it.
 *
 * One segment is enough to know if it is this server's, and so it nearly always
 * is in an archive of it.
 */
static void
choose_system(WalredoReader *reader, const char *first,
			  XLogLongPageHeader header)
{
	/* The first valid segment, and the first of another system than that. */
	char		names[2][MAXFNAMELEN] = {"", ""};
	XLogLongPageHeaderData headers[2];
	DIR		   *dir;
	struct dirent *de;

	if (is_valid_segment(reader, first, header) &&
		header->xlp_sysid == GetSystemIdentifier())
		return;

	dir = AllocateDir(reader->directory);
	while ((de = ReadDir(dir, reader->directory)) != NULL)
	{
		XLogLongPageHeaderData another;
		int			i;

		CHECK_FOR_INTERRUPTS();

		if (!is_segment_name(de->d_name) || timeline_of(de->d_name) == 0 ||
			!is_regular_file(reader->directory, de->d_name) ||
			!is_valid_segment(reader, de->d_name, &another))
			continue;

		if (another.xlp_sysid == GetSystemIdentifier())
		{
			*header = another;
			FreeDir(dir);
			return;
		}
		i = names[0][0] != '\0' && another.xlp_sysid != headers[0].xlp_sysid;
		if (names[i][0] == '\0' ||
			(another.xlp_sysid == headers[i].xlp_sysid &&
			 comes_before(de->d_name, names[i])))
		{
			strlcpy(names[i], de->d_name, MAXFNAMELEN);
			headers[i] = another;
		}
	}
	FreeDir(dir);

	if (names[0][0] == '\0')
	{
		char		path[MAXPGPATH];
		const char *problem;

		snprintf(path, sizeof(path), "%s/%s", reader->directory, first);
		problem = read_long_header(path, header);
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("invalid WAL segment \"%s\"", first),
				 errdetail("No segment in directory \"%s\" begins with a valid page header of this PostgreSQL version.",
						   reader->directory),
				 problem != NULL ?
				 errhint("There is file \"%s\", but %s.", first, problem) : 0));
	}
	if (names[1][0] != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("WAL segments of different database systems in directory \"%s\"",
						reader->directory),
				 errdetail("Segment \"%s\" is of the system with identifier " UINT64_FORMAT ", segment \"%s\" of " UINT64_FORMAT ".",
						   names[0], headers[0].xlp_sysid,
						   names[1], headers[1].xlp_sysid),
				 errhint("Put the segments of each system into a directory of their own.")));
	*header = headers[0];
}

/*
 * Does the directory hold a segment of the history, and of the system that is
 * read?
 */
static bool
holds_history(WalredoReader *reader)
{
	DIR		   *dir = AllocateDir(reader->directory);
	struct dirent *de;
	bool		found = false;

	while (!found && (de = ReadDir(dir, reader->directory)) != NULL)
	{
		TimeLineID	tli;
		XLogSegNo	segno;
		XLogLongPageHeaderData header;

		CHECK_FOR_INTERRUPTS();

		if (!is_segment_name(de->d_name) ||
			!parse_name(reader, de->d_name, &tli, &segno))
			continue;
		found = in_history(reader, tli, segno) &&
			is_regular_file(reader->directory, de->d_name) &&
			is_valid_segment(reader, de->d_name, &header) &&
			header.xlp_sysid == reader->state->system_identifier;
	}
	FreeDir(dir);

	return found;
}

/*
 * Follows this server's own timeline in a directory of its own system.  False
 * if the directory holds no WAL of that timeline or its ancestors.
 *
 * Other servers of the same system may archive to the same place: restored
 * copies, which were promoted to timelines that this server does not know.  Two
 * of them may even have promoted to timelines with one number.
 */
static bool
follow_own_in_directory(WalredoReader *reader)
{
	bool		found_own;
	bool		found_there;
	List	   *own_history;
	List	   *history;
	TimeLineID	tli;

	(void) own_log_end(&tli);
	own_history = read_history(reader, XLOGDIR, tli, &found_own);
	history = read_history(reader, reader->directory, tli, &found_there);

	reader->history = found_own ? own_history : history;
	if (!holds_history(reader))
	{
		list_free_deep(own_history);
		list_free_deep(history);
		reader->history = NIL;
		return false;
	}
	if (found_own && found_there &&
		!walredo_timeline_histories_equal(own_history, history))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("history of timeline %u in directory \"%s\" is not this server's",
						tli, reader->directory),
				 errdetail("Another server of the same system has made a timeline with that number, and segments of it cannot be told from this server's."),
				 errhint("Remove the files of the other server from the directory.")));

	reader->tli = tli;
	list_free_deep(found_own ? history : own_history);
	return true;
}

/*
 * The newest timeline that has a segment of the system that is read, or a
 * history file.  Whose a history file is cannot be known if there are other
 * systems' segments, too.
 */
static TimeLineID
newest_timeline(WalredoReader *reader)
{
	DIR		   *dir = AllocateDir(reader->directory);
	struct dirent *de;
	TimeLineID	newest = 0;
	TimeLineID	newest_history = 0;
	bool		is_mixed = false;

	while ((de = ReadDir(dir, reader->directory)) != NULL)
	{
		bool		is_segment = is_segment_name(de->d_name);
		TimeLineID	tli;
		XLogLongPageHeaderData header;

		CHECK_FOR_INTERRUPTS();

		if ((!is_segment && !IsTLHistoryFileName(de->d_name)) ||
			!is_regular_file(reader->directory, de->d_name))
			continue;

		tli = timeline_of(de->d_name);
		if (!is_segment)
			newest_history = Max(newest_history, tli);
		else if (!is_valid_segment(reader, de->d_name, &header))
			continue;
		else if (header.xlp_sysid == reader->state->system_identifier)
			newest = Max(newest, tli);
		else
			is_mixed = true;
	}
	FreeDir(dir);

	return is_mixed ? newest : Max(newest, newest_history);
}

/*
 * Learns from the files of a directory what the server would tell.
 *
 * The timeline to follow is this server's own in a directory of this system,
 * or else the newest one that has a segment or a history file.  Segment size
 * and system identifier are those of a segment; every other segment's header
 * is checked against them when it is read.
 */
static void
look_at_directory(WalredoReader *reader)
{
	DIR		   *dir;
	struct dirent *de;
	char		first[MAXFNAMELEN] = "";
	XLogLongPageHeaderData header;

	dir = AllocateDir(reader->directory);
	while ((de = ReadDir(dir, reader->directory)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();

		if (is_segment_name(de->d_name) && timeline_of(de->d_name) != 0 &&
			(first[0] == '\0' || comes_before(de->d_name, first)) &&
			is_regular_file(reader->directory, de->d_name))
			strlcpy(first, de->d_name, sizeof(first));
	}
	FreeDir(dir);

	if (first[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FILE),
				 errmsg("no WAL segments in directory \"%s\"",
						reader->directory)));

	choose_system(reader, first, &header);
	reader->limit = PG_UINT64_MAX;
	set_segment_size(reader, header.xlp_seg_size);
	reader->state->system_identifier = header.xlp_sysid;

	if (header.xlp_sysid == GetSystemIdentifier() &&
		follow_own_in_directory(reader))
		return;

	reader->tli = newest_timeline(reader);
	reader->history = read_history(reader, reader->directory, reader->tli,
								   NULL);
}

/*
 * A standby may have been promoted, or have followed its upstream to another
 * timeline.  What was valid stays so, but is found in the new timeline's file,
 * if it was in the last one.
 */
static void
follow_own_timeline(WalredoReader *reader)
{
	TimeLineID	tli;

	(void) own_log_end(&tli);
	if (tli != reader->tli)
	{
		list_free_deep(reader->history);
		reader->history = NIL;
		reader->history = read_history(reader, XLOGDIR, tli, NULL);
		reader->tli = tli;
	}
}

/*
 * The history of a timeline out of a directory, in the reader's context.  A
 * timeline without a history file has no parents.
 */
static List *
read_history(WalredoReader *reader, const char *directory, TimeLineID tli,
			 bool *found)
{
	MemoryContext old_cxt =
		MemoryContextSwitchTo(GetMemoryChunkContext(reader));
	List	   *history;
	char		name[MAXFNAMELEN];
	char		path[MAXPGPATH];
	int			fd;

	TLHistoryFileName(name, tli);
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	fd = open_regular_file(path);
	if (fd < 0 && errno != ENOENT)
		report_not_opened(path);

	history = walredo_timeline_history(tli, fd, path);
	if (fd >= 0)
		CloseTransientFile(fd);
	if (found != NULL)
		*found = (fd >= 0);

	MemoryContextSwitchTo(old_cxt);

	return history;
}

/* A whole segment, or one that pg_receivewal or a promotion left unfinished? */
static bool
is_segment_name(const char *name)
{
	return IsXLogFileName(name) || IsPartialXLogFileName(name);
}

/*
 * What a segment's name says.  False if it cannot be one's name: its second
 * part is less than the number of segments in 4 GB.
 */
static bool
parse_name(WalredoReader *reader, const char *name, TimeLineID *tli,
		   XLogSegNo *segno)
{
	char		plain[MAXFNAMELEN];

	XLogFromFileName(name, tli, segno, reader->segsize);
	XLogFileName(plain, *tli, *segno, reader->segsize);
	return strncmp(name, plain, XLOG_FNAME_LEN) == 0;
}

/* Can a timeline's segment hold a part of the history? */
static bool
in_history(WalredoReader *reader, TimeLineID tli, XLogSegNo segno)
{
	ListCell   *lc;

	foreach(lc, reader->history)
	{
		WalredoTimeline *timeline = lfirst(lc);

		if (timeline->tli == tli)
			return walredo_timeline_covers(timeline, segno, reader->segsize);
	}
	return false;
}

static bool
is_regular_file(const char *directory, const char *name)
{
	char		path[MAXPGPATH];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/*
 * Opens a file for reading, until the end of the subtransaction at the
 * latest.  A negative result sets errno, to EISDIR for all that is no regular
 * file.
 *
 * The directory may be anyone's, so the name may be that of a FIFO, and
 * opening one must not wait for a writer.
 */
static int
open_regular_file(const char *path)
{
	int			fd = OpenTransientFile(path,
									   O_RDONLY | O_NONBLOCK | PG_BINARY);
	struct stat st;

	if (fd >= 0 && (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)))
	{
		CloseTransientFile(fd);
		errno = EISDIR;
		return -1;
	}

	return fd;
}

static void
report_not_opened(const char *path)
{
	if (errno == EISDIR)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a regular file", path)));
	ereport(ERROR,
			(errcode_for_file_access(),
			 errmsg("could not open file \"%s\": %m", path)));
}

/*
 * Is a file that could not be opened, as errno says, as none?  To a search it
 * always is.  A scan that ends wherever WAL does says what is wrong with the
 * file if it ends there, or before it.
 */
static bool
is_as_none(WalredoReader *reader)
{
	return errno == ENOENT || reader->quiet ||
		(reader->to_end && (errno == EISDIR || errno == EACCES ||
							errno == EPERM || errno == ELOOP ||
							errno == ENXIO));
}

/*
 * Is it the header of another database system's segment?  Also one of another
 * major version, as pg_upgrade leaves in an archive.
 */
static bool
is_foreign(WalredoReader *reader, const XLogLongPageHeaderData *header)
{
	return (header->std.xlp_magic & 0xFF00) == (XLOG_PAGE_MAGIC & 0xFF00) &&
		(header->std.xlp_info & XLP_LONG_HEADER) != 0 &&
		header->xlp_sysid != reader->state->system_identifier;
}

/*
 * Opens the file of the segment that lsn is in, or returns -1 if there is none
 * that is good there.
 *
 * Where a segment holds a change of timeline, the newest timeline's file is
 * taken: the server copies to it what went before.  Should only a parent's
 * file be there, it is good as far as the parent's timeline goes, and
 * *valid_end says how far that is.
 *
 * In a directory of this server's WAL another system's file is as none.
 */
static int
open_segment(WalredoReader *reader, XLogRecPtr lsn, TimeLineID *tli,
			 XLogRecPtr *valid_end)
{
	/* pg_receivewal renames a file when it is full, perhaps right now. */
	static const char *const suffixes[] = {"", ".partial", ""};
	XLogSegNo	segno = lsn / reader->segsize;
	ListCell   *lc;

	foreach(lc, reader->history)
	{
		WalredoTimeline *timeline = lfirst(lc);

		if (lsn >= timeline->end ||
			!walredo_timeline_covers(timeline, segno, reader->segsize))
			continue;

		for (int i = 0; i < lengthof(suffixes); i++)
		{
			XLogLongPageHeaderData header;
			char		path[MAXPGPATH];
			int			fd;

			XLogFileName(reader->file, timeline->tli, segno, reader->segsize);
			strlcat(reader->file, suffixes[i], MAXFNAMELEN);
			snprintf(path, sizeof(path), "%s/%s", reader->directory,
					 reader->file);
			fd = open_regular_file(path);
			if (fd < 0)
			{
				if (is_as_none(reader))
					continue;
				report_not_opened(path);
			}
			if (!reader->own &&
				pg_pread(fd, &header, sizeof(header), 0) == sizeof(header) &&
				is_foreign(reader, &header))
			{
				CloseTransientFile(fd);
				continue;
			}

			*tli = timeline->tli;
			*valid_end = timeline->end;
			return fd;
		}
	}

	return -1;
}

/*
 * The long header at the beginning of a segment file.  Says why there is none
 * to read, or returns NULL.
 */
static const char *
read_long_header(const char *path, XLogLongPageHeader header)
{
	int			fd = open_regular_file(path);
	int			n;
	const char *problem = NULL;

	if (fd < 0)
		return errno == EISDIR ? "it is not a regular file" :
			psprintf("it cannot be opened: %m");

	n = pg_pread(fd, header, sizeof(XLogLongPageHeaderData), 0);
	if (n < 0)
		problem = psprintf("it cannot be read: %m");
	else if (n < sizeof(XLogLongPageHeaderData))
		problem = "it is empty, or ends within its first page's header";
	CloseTransientFile(fd);

	return problem;
}

/*
 * Says why a file does not begin as the segment that it is named as, or, if a
 * whole one is wanted, is not all of it; returns NULL if there is no reason.
 *
 * A name does not tell: a server keeps old segments under names of segments
 * to come.  Such a file's first page still has its old address.
 */
static const char *
segment_problem(WalredoReader *reader, const char *name, XLogSegNo segno,
				bool whole)
{
	XLogLongPageHeaderData header;
	char		path[MAXPGPATH];
	struct stat st;
	const char *problem;

	if (strcmp(SUFFIX(name), "") != 0 && strcmp(SUFFIX(name), ".partial") != 0)
		return "it is not a plain segment, it may be compressed";
	if (!is_regular_file(reader->directory, name))
		return "it is not a regular file";

	snprintf(path, sizeof(path), "%s/%s", reader->directory, name);
	problem = read_long_header(path, &header);
	if (problem != NULL)
		return problem;
	if (is_foreign(reader, &header))
		return psprintf("it is of the database system with identifier " UINT64_FORMAT,
						header.xlp_sysid);
	if (header.std.xlp_magic != XLOG_PAGE_MAGIC ||
		(header.std.xlp_info & XLP_LONG_HEADER) == 0)
		return "it does not begin with a valid page header";
	if (header.std.xlp_pageaddr != segno * reader->segsize)
		return psprintf("it holds what was at %X/%X",
						LSN_FORMAT_ARGS(header.std.xlp_pageaddr));
	if (whole && stat(path, &st) == 0 && st.st_size < reader->segsize)
		return "it is shorter than a segment";
	return NULL;
}

/*
 * The newest segment of WAL in the directory before a given one, or 0 if there
 * is none.
 */
static XLogSegNo
newest_segment(WalredoReader *reader, XLogSegNo before)
{
	DIR		   *dir;
	struct dirent *de;
	XLogSegNo	newest = 0;

	dir = AllocateDir(reader->directory);
	while ((de = ReadDir(dir, reader->directory)) != NULL)
	{
		TimeLineID	tli;
		XLogSegNo	segno;

		CHECK_FOR_INTERRUPTS();

		if (!is_segment_name(de->d_name) ||
			!parse_name(reader, de->d_name, &tli, &segno))
			continue;
		if (segno > newest && segno < before &&
			in_history(reader, tli, segno) &&
			segment_problem(reader, de->d_name, segno, false) == NULL)
			newest = segno;
	}
	FreeDir(dir);

	return newest;
}

/*
 * The directory has files named as segments, but none is one of the history.
 */
static void
report_none_usable(WalredoReader *reader)
{
	char		name[MAXFNAMELEN];
	char	   *problem;
	bool		unusable = find_unusable(reader, 0, PG_UINT64_MAX, false,
										 name, &problem);

	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_FILE),
			 errmsg("no usable WAL segments of timeline %u in directory \"%s\"",
					reader->tli, reader->directory),
			 unusable ?
			 errhint("There is file \"%s\", but %s.", name, problem) : 0));
}

/*
 * Where WAL begins that goes on to the end of the range without a gap.
 */
static XLogRecPtr
start_of_log(WalredoReader *reader)
{
	XLogSegNo	segno;
	XLogSegNo	first;
	XLogRecPtr	lsn;

	if (reader->to_end)
	{
		segno = newest_segment(reader, PG_UINT64_MAX);
		if (segno == 0 && !reader->quiet)
			report_none_usable(reader);
	}
	else
		segno = (reader->end_lsn - 1) / reader->segsize;

	/* Of the last segment the begin is enough, the others must be whole. */
	first = segno;
	lsn = segno * reader->segsize;
	for (;;)
	{
		TimeLineID	tli;
		XLogRecPtr	valid_end;
		int			fd;
		struct stat st;
		bool		is_good;

		CHECK_FOR_INTERRUPTS();

		fd = open_segment(reader, lsn, &tli, &valid_end);
		if (fd < 0)
			break;
		is_good = XLogSegmentOffset(lsn, reader->segsize) == 0 ||
			(fstat(fd, &st) == 0 && st.st_size >= reader->segsize);
		CloseTransientFile(fd);
		if (!is_good)
			break;
		first = segno;
		if (segno == 0)
			break;
		lsn = segno * reader->segsize - 1;
		segno--;
	}

	/* No record begins at the very beginning. */
	return Max(first * reader->segsize, 1);
}

/* Are all characters printable ones, without spaces? */
static bool
is_plain_ascii(const char *name)
{
	while (*name > ' ' && *name < 0x7f)
		name++;
	return *name == '\0';
}

/*
 * Looks for the first file in the directory that is named as a segment of the
 * history in the given range, and cannot be used as it is; or, if whole ones
 * are wanted, not all of it.
 */
static bool
find_unusable(WalredoReader *reader, XLogSegNo from, XLogSegNo to, bool whole,
			  char *name, char **problem)
{
	DIR		   *dir = AllocateDir(reader->directory);
	struct dirent *de;
	XLogSegNo	found = 0;

	name[0] = '\0';
	while ((de = ReadDir(dir, reader->directory)) != NULL)
	{
		TimeLineID	tli;
		XLogSegNo	segno;
		char		plain[MAXFNAMELEN];
		const char *its_problem;

		CHECK_FOR_INTERRUPTS();

		/*
		 * Archives add a suffix, some with a checksum before it.  What nobody
		 * names a file must not get into a message.
		 */
		if (strspn(de->d_name, "0123456789ABCDEF") != XLOG_FNAME_LEN ||
			strlen(de->d_name) >= MAXFNAMELEN ||
			strstr(de->d_name, ".backup") != NULL ||
			!is_plain_ascii(de->d_name) ||
			!parse_name(reader, de->d_name, &tli, &segno))
			continue;
		if (segno < from || segno > to || !in_history(reader, tli, segno) ||
			(name[0] != '\0' && (segno > found ||
								 (segno == found &&
								  strcmp(de->d_name, name) > 0))))
			continue;

		/* Nobody needs it if the plain one is there. */
		strlcpy(plain, de->d_name, XLOG_FNAME_LEN + 1);
		if (*SUFFIX(de->d_name) != '\0' &&
			is_regular_file(reader->directory, plain))
			continue;

		its_problem = segment_problem(reader, de->d_name, segno, whole);
		if (its_problem == NULL)
			continue;
		strlcpy(name, de->d_name, MAXFNAMELEN);
		*problem = pstrdup(its_problem);
		found = segno;
	}
	FreeDir(dir);

	return name[0] != '\0';
}

/*
 * Is the directory the server's own pg_wal?
 */
static bool
is_own_directory(WalredoReader *reader)
{
	struct stat st;
	struct stat own;

	return reader->own ||
		(stat(reader->directory, &st) == 0 && stat(XLOGDIR, &own) == 0 &&
		 st.st_dev == own.st_dev && st.st_ino == own.st_ino);
}

/*
 * Says so if WAL seems to begin where it does only because what is before it
 * cannot be used, or is missing while older segments are there.
 */
static void
report_start(WalredoReader *reader)
{
	XLogSegNo	segno = reader->first_lsn / reader->segsize;
	char		name[MAXFNAMELEN];
	char	   *problem;

	if (reader->own || reader->quiet || segno == 0)
		return;

	if (!find_unusable(reader, segno - 1, segno - 1, true, name, &problem))
	{
		const char *missing =
			walredo_reader_segment_name(reader, reader->first_lsn - 1);

		/* The server removes the oldest of its own, and that is no gap. */
		if (newest_segment(reader, segno) != 0 && !is_own_directory(reader))
			ereport(WARNING,
					(errcode(ERRCODE_UNDEFINED_FILE),
					 errmsg("WAL is read from %X/%X on, as segment \"%s\" before it is missing",
							LSN_FORMAT_ARGS(reader->first_lsn), missing)));
		return;
	}

	ereport(WARNING,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("WAL is read from %X/%X on, as file \"%s\" before it cannot be used: %s",
					LSN_FORMAT_ARGS(reader->first_lsn), name, problem)));
}

/* ----------------------------------------
 * Pages
 * ----------------------------------------
 */

/*
 * The first place from one LSN to another whose segment is not there any more,
 * or InvalidXLogRecPtr.
 */
static XLogRecPtr
first_removed(WalredoReader *reader, XLogRecPtr from, XLogRecPtr to)
{
	XLogRecPtr	lsn = from;

	while (lsn <= to)
	{
		TimeLineID	tli;
		XLogRecPtr	valid_end;
		int			fd = open_segment(reader, lsn, &tli, &valid_end);

		if (fd < 0)
			return lsn;
		CloseTransientFile(fd);
		lsn = Min(valid_end, (lsn / reader->segsize + 1) * reader->segsize);
	}
	return InvalidXLogRecPtr;
}

static void
report_missing(WalredoReader *reader, XLogRecPtr lsn)
{
	XLogSegNo	segno = lsn / reader->segsize;
	char		name[MAXFNAMELEN];
	char	   *problem;
	bool		unusable = !reader->own &&
		find_unusable(reader, segno, segno, false, name, &problem);

	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_FILE),
			 errmsg("WAL segment \"%s\" is missing",
					walredo_reader_segment_name(reader, lsn)),
			 errdetail("It is not in directory \"%s\", and WAL is wanted from %X/%X on.",
					   reader->directory, LSN_FORMAT_ARGS(lsn)),
			 unusable ?
			 errhint("There is file \"%s\", but %s.", name, problem) : 0));
}

/*
 * May WAL in a directory end at lsn?  Not if a later segment is there.  Nor
 * where a segment is missing that does not follow the newest one: that is a
 * gap, or a place that WAL has not reached.
 */
static bool
may_end_at(WalredoReader *reader, XLogRecPtr lsn, const char *errormsg)
{
	XLogSegNo	segno = lsn / reader->segsize;
	XLogSegNo	newest = newest_segment(reader, PG_UINT64_MAX);

	/* What was read is there, perhaps with a new name by now. */
	newest = Max(newest, reader->state->seg.ws_segno);
	if (errormsg != NULL)
		return newest <= segno;

	/* A timeline can end within a segment, of which its own file is there. */
	if (newest == segno)
		return XLogSegmentOffset(lsn, reader->segsize) != 0;
	return newest != 0 && newest + 1 == segno;
}

/*
 * WAL cannot be read further than to lsn, within the range: ends the scan if
 * that may be where WAL ends, or if the caller can go on behind WAL that has
 * been removed, and reports an error if not.
 *
 * errormsg says what is wrong there; NULL means that the segment is missing.
 */
static void
stop_at(WalredoReader *reader, XLogRecPtr lsn, const char *errormsg)
{
	reader->done = true;
	reader->record = NULL;
	reader->stopped = true;
	reader->stop_lsn = lsn;
	if (errormsg != NULL)
		reader->stop_reason =
			MemoryContextStrdup(GetMemoryChunkContext(reader), errormsg);
	if (reader->quiet)
		return;
	if (reader->to_end && may_end_at(reader, lsn, errormsg))
		return;

	/*
	 * The server removes old segments, or gives them new names and overwrites
	 * them.  We may have one open meanwhile, so that its pages seem to be
	 * broken.  No name of an old segment comes back.
	 */
	if (reader->may_restart)
	{
		follow_own_timeline(reader);
		reader->removed_lsn =
			first_removed(reader, Min(reader->next_lsn, lsn), lsn);
		if (reader->removed_lsn != InvalidXLogRecPtr)
			return;
	}

	if (errormsg == NULL)
		report_missing(reader, lsn);

	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("no valid WAL record at %X/%X",
					LSN_FORMAT_ARGS(reader->next_lsn)),
			 errdetail("WAL in directory \"%s\" is broken or ends there: %s.",
					   reader->directory, errormsg),
			 (!reader->own && !reader->to_end) ?
			 errhint("Use FFFFFFFF/FFFFFFFF as end LSN to read as far as WAL goes.") : 0));
}

/*
 * Reads a chunk that begins with the given page.  After it, buf_end is
 * beyond pageptr, or nothing could be read and the scan is at its end.
 */
static void
load_chunk(WalredoReader *reader, XLogRecPtr pageptr)
{
	XLogSegNo	segno = pageptr / reader->segsize;
	uint32		offset = XLogSegmentOffset(pageptr, reader->segsize);
	Size		wanted = Min(READ_CHUNK, reader->segsize - offset);
	Size		length = 0;
	TimeLineID	tli;
	XLogRecPtr	valid_end;
	int			fd;

	CHECK_FOR_INTERRUPTS();

	reader->buf_start = reader->buf_end = pageptr;

	if (reader->own)
		follow_own_timeline(reader);

	fd = open_segment(reader, pageptr, &tli, &valid_end);

	/* A segment that has come meanwhile is not missing. */
	if (fd < 0 && reader->to_end && !reader->quiet &&
		newest_segment(reader, PG_UINT64_MAX) == segno)
		fd = open_segment(reader, pageptr, &tli, &valid_end);
	if (fd < 0)
	{
		if (pageptr >= reader->end_lsn)
			reader->done = true;
		else
			stop_at(reader, pageptr, NULL);
		return;
	}

	reader->state->seg.ws_tli = tli;
	reader->state->seg.ws_segno = segno;

	while (length < wanted)
	{
		int			n = pg_pread(fd, reader->buf + length, wanted - length,
								 offset + length);

		if (n < 0)
		{
			if (errno == EINTR)
				continue;
			if (reader->quiet)
				break;
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not read WAL segment \"%s\", offset %zu: %m",
							reader->file, offset + length)));
		}
		if (n == 0)
			break;
		length += n;
	}
	CloseTransientFile(fd);

	reader->timeline_ends = (valid_end <= pageptr + length);
	reader->buf_end = Min(pageptr + length, valid_end);
}

/*
 * The size of a page's header, if it is valid.  A caller wants no more than
 * that before it knows more: a record can end right after a short header.
 */
static uint32
page_header_size(WalredoReader *reader, XLogRecPtr pageptr)
{
	return XLogSegmentOffset(pageptr, reader->segsize) == 0 ?
		SizeOfXLogLongPHD : SizeOfXLogShortPHD;
}

/*
 * A page of WAL, with a valid header, of which at least the first need
 * bytes can be used.  NULL if it is not there and the scan ends.  It stays in
 * place until the next call for another page.
 */
static char *
read_page(WalredoReader *reader, XLogRecPtr pageptr, uint32 need)
{
	char	   *page;

	Assert(pageptr % XLOG_BLCKSZ == 0);
	Assert(need >= SizeOfXLogShortPHD && need <= XLOG_BLCKSZ);

	/* A record that goes on after it is not in the range. */
	if (pageptr + need > reader->limit)
	{
		reader->done = true;
		return NULL;
	}

	if (pageptr < reader->buf_start || pageptr + need > reader->buf_end)
	{
		load_chunk(reader, pageptr);
		if (reader->done)
			return NULL;
		if (pageptr + need > reader->buf_end)
		{
			if (pageptr >= reader->end_lsn)
				reader->done = true;
			else if (reader->timeline_ends)
				stop_at(reader, reader->buf_end, NULL);
			else
				stop_at(reader, pageptr, reader->buf_end == pageptr ?
						psprintf("the file ends at %X/%X",
								 LSN_FORMAT_ARGS(pageptr)) :
						psprintf("of the page at %X/%X only %u bytes are there",
								 LSN_FORMAT_ARGS(pageptr),
								 (uint32) (reader->buf_end - pageptr)));
			return NULL;
		}
		reader->checked_page = InvalidXLogRecPtr;
	}

	page = reader->buf + (pageptr - reader->buf_start);

	if (reader->checked_page != pageptr)
	{
		const char *errormsg = NULL;
		XLogPageHeader header = (XLogPageHeader) page;

		/* The long header is read by the function below. */
		if (reader->buf_end - pageptr < XLogPageHeaderSize(header))
			errormsg = "the file ends within the page's header";
		else if (!XLogReaderValidatePageHeader(reader->state, pageptr, page))
			errormsg = pstrdup(reader->state->errormsg_buf);
		else if (header->xlp_rem_len > MAX_RECORD_LENGTH)
			errormsg = "a record is longer than any can be";

		if (errormsg != NULL)
		{
			XLogReaderResetError(reader->state);
			if (pageptr >= reader->end_lsn)
				reader->done = true;
			else
				stop_at(reader, pageptr, errormsg);
			return NULL;
		}
		reader->checked_page = pageptr;
	}

	return page;
}

/* ----------------------------------------
 * Records
 * ----------------------------------------
 */

/*
 * Sets next_lsn to the first place in the page of start_lsn, or in a later
 * one, where a record begins.  False at the end of the range.
 */
static bool
find_first(WalredoReader *reader, XLogRecPtr start_lsn)
{
	XLogRecPtr	pageptr = start_lsn - start_lsn % XLOG_BLCKSZ;

	reader->next_lsn = start_lsn;

	/*
	 * The first page of a segment says whose it is.  Later segments' first
	 * pages will be read anyway.
	 */
	if (read_page(reader,
				  pageptr - XLogSegmentOffset(pageptr, reader->segsize),
				  SizeOfXLogLongPHD) == NULL)
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

		/* The page begins with the rest of a record from the page before. */
		if (MAXALIGN(header->xlp_rem_len) < XLOG_BLCKSZ - header_size)
		{
			reader->next_lsn += MAXALIGN(header->xlp_rem_len);
			return true;
		}
		pageptr += XLOG_BLCKSZ;
	}
}

/*
 * Moves to the record at next_lsn if all of it is at hand and nothing about it
 * is out of the ordinary.  If not, leaves everything to next_record(), which
 * finds out the same, and what is wrong.
 */
static inline bool
next_at_hand(WalredoReader *reader)
{
	XLogRecPtr	lsn = reader->next_lsn;
	const XLogRecord *record;
	XLogRecPtr	next_lsn;

	/* After what is at hand comes at least one page of other addresses. */
	if (lsn + SizeOfXLogRecord > reader->at_hand)
		return false;

	record = (const XLogRecord *) (reader->buf + (lsn - reader->buf_start));
	next_lsn = lsn + MAXALIGN64((uint64) record->xl_tot_len);
	if (next_lsn > reader->at_hand ||
		!record_header_ok(reader, lsn, record) ||
		!record_crc_ok(record) || is_switch(record))
		return false;

	reader->start_lsn = lsn;
	reader->next_lsn = next_lsn;
	reader->record = record;
	return true;
}

/*
 * Moves to the record at next_lsn, where the last one ended.
 */
static bool
next_record(WalredoReader *reader)
{
	XLogRecPtr	lsn;
	XLogRecPtr	pageptr;
	XLogRecPtr	next_lsn;
	XLogRecPtr	from = reader->next_lsn;
	uint32		offset;
	uint32		header_size;
	uint32		total_len;
	uint32		length;
	char	   *page;
	const XLogRecord *record;
	const char *errormsg = NULL;

	reader->at_hand = 0;

skip:
	if (reader->done)
		return false;

	lsn = from;
	offset = lsn % XLOG_BLCKSZ;
	pageptr = lsn - offset;

	/* No record is smaller than its header: no need to look for one. */
	if (lsn + SizeOfXLogRecord + (offset == 0 ? SizeOfXLogShortPHD : 0) >
		reader->end_lsn)
	{
		reader->done = true;
		return false;
	}

	page = read_page(reader, pageptr,
					 Max(offset, page_header_size(reader, pageptr)));
	if (page == NULL)
		return false;

	header_size = XLogPageHeaderSize((XLogPageHeader) page);
	if (offset == 0)
	{
		/* Records go on after the page's header. */
		offset = header_size;
		lsn += header_size;
	}
	else if (offset < header_size)
		errormsg = "a record cannot begin in a page's header";

	if (errormsg == NULL && offset == header_size &&
		(((XLogPageHeader) page)->xlp_info & XLP_FIRST_IS_CONTRECORD) != 0)
		errormsg = "the page begins with the rest of another record";

	if (errormsg != NULL)
	{
		stop_at(reader, pageptr, errormsg);
		return false;
	}

	/*
	 * The length of a record is always on the page where the record begins,
	 * the rest of its header need not be.
	 */
	page = read_page(reader, pageptr,
					 Min(offset + SizeOfXLogRecord, XLOG_BLCKSZ));
	if (page == NULL)
		return false;
	record = (const XLogRecord *) (page + offset);
	total_len = record->xl_tot_len;
	length = XLOG_BLCKSZ - offset;

	if (length >= SizeOfXLogRecord)
		errormsg = check_record_header(reader, lsn, record);
	else if (total_len < SizeOfXLogRecord)
		errormsg = psprintf("invalid record length %u", total_len);
	if (errormsg != NULL)
	{
		stop_at(reader, pageptr, errormsg);
		return false;
	}

	if (total_len <= length)
	{
		if (read_page(reader, pageptr, offset + total_len) == NULL)
			return false;
		next_lsn = lsn + MAXALIGN(total_len);
	}
	else
	{
		uint32		done = length;
		bool		header_checked = (length >= SizeOfXLogRecord);

		if (read_page(reader, pageptr, XLOG_BLCKSZ) == NULL)
			return false;
		memcpy(reader->assembled, record, length);
		record = (const XLogRecord *) reader->assembled;

		do
		{
			XLogPageHeader header;

			pageptr += XLOG_BLCKSZ;
			header = (XLogPageHeader)
				read_page(reader, pageptr,
						  page_header_size(reader, pageptr));
			if (header == NULL)
				return false;

			/*
			 * After a crash that lost the rest of a record, the server puts a
			 * mark here and goes on with another record.  Forget the first.
			 */
			if (header->xlp_info & XLP_FIRST_IS_OVERWRITE_CONTRECORD)
			{
				from = pageptr;
				goto skip;
			}

			if ((header->xlp_info & XLP_FIRST_IS_CONTRECORD) == 0)
				errormsg = psprintf("the record does not go on at %X/%X",
									LSN_FORMAT_ARGS(pageptr));
			else if (header->xlp_rem_len == 0 ||
					 total_len != (uint64) header->xlp_rem_len + done)
				errormsg = psprintf("%u bytes of the record follow at %X/%X instead of %u",
									header->xlp_rem_len,
									LSN_FORMAT_ARGS(pageptr),
									total_len - done);
			if (errormsg != NULL)
			{
				stop_at(reader, pageptr, errormsg);
				return false;
			}

			/*
			 * Two pages agree about the length, and it is below the limit
			 * that read_page() checks.  Before that, what is copied fits in
			 * any case.
			 */
			if (total_len > reader->assembled_size)
			{
				reader->assembled_size = pg_nextpower2_size_t(total_len);
				reader->assembled =
					repalloc_huge(reader->assembled, reader->assembled_size);
				record = (const XLogRecord *) reader->assembled;
			}

			header_size = XLogPageHeaderSize(header);
			length = Min(header->xlp_rem_len, XLOG_BLCKSZ - header_size);
			page = read_page(reader, pageptr, header_size + length);
			if (page == NULL)
				return false;
			memcpy(reader->assembled + done, page + header_size, length);
			done += length;

			if (!header_checked)
			{
				errormsg = check_record_header(reader, lsn, record);
				if (errormsg != NULL)
				{
					stop_at(reader, pageptr, errormsg);
					return false;
				}
				header_checked = true;
			}
		} while (done < total_len);

		next_lsn = pageptr + header_size + MAXALIGN(length);
	}

	if (!record_crc_ok(record))
	{
		stop_at(reader, pageptr, "incorrect checksum of the record");
		return false;
	}

	/* A switch record reaches to the end of its segment. */
	if (is_switch(record) && XLogSegmentOffset(next_lsn, reader->segsize) != 0)
		next_lsn += reader->segsize -
			XLogSegmentOffset(next_lsn, reader->segsize);

	if (next_lsn > reader->end_lsn)
	{
		reader->done = true;
		return false;
	}

	/*
	 * Only now, as callers and later scans go on from there, which must not
	 * be within a record.
	 */
	reader->next_lsn = next_lsn;
	reader->start_lsn = lsn;
	reader->record = record;

	/* The rest of the page that the record ends in can be used as it is. */
	if (reader->next_lsn > reader->checked_page &&
		reader->next_lsn < reader->checked_page + XLOG_BLCKSZ)
		reader->at_hand =
			Min(Min(reader->checked_page + XLOG_BLCKSZ, reader->buf_end),
				Min(reader->limit, reader->end_lsn));

	return true;
}

/*
 * No record was found from the begin of the range on.  The place where one was
 * looked for may be before the range, or after it, in a record that crosses
 * its begin or its end; but a scan that goes on from there takes up where this
 * one ended.
 */
static void
stay_in_range(WalredoReader *reader)
{
	reader->next_lsn = Max(reader->next_lsn, reader->first_lsn);
	reader->next_lsn = Min(reader->next_lsn, reader->end_lsn);
}

/*
 * Says how far WAL was read, once.
 *
 * In a directory WAL that ends in a file, or before one that cannot be used,
 * may be all there is, or may lack what is damaged: who wants all there is
 * must be told.  It ends as it should with a segment that is full, or ended by
 * a switch.
 */
static void
report_end(WalredoReader *reader)
{
	XLogRecPtr	end_lsn = walredo_reader_end_lsn(reader);
	XLogRecPtr	last_lsn = walredo_reader_last_lsn(reader);
	char		name[MAXFNAMELEN];
	char	   *problem;

	if (reader->end_reported)
		return;
	reader->end_reported = true;

	ereport(DEBUG1,
			(errmsg_internal("read WAL in \"%s\" from %X/%X to %X/%X of at most %X/%X",
							 reader->directory,
							 LSN_FORMAT_ARGS(reader->first_lsn),
							 LSN_FORMAT_ARGS(end_lsn),
							 LSN_FORMAT_ARGS(last_lsn))));

	if (!reader->to_end || reader->quiet || !reader->stopped ||
		is_own_directory(reader))
		return;

	if (reader->stop_reason != NULL)
		ereport(WARNING,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("WAL was read up to %X/%X, not to the end of file \"%s\": %s",
						LSN_FORMAT_ARGS(end_lsn), reader->file,
						reader->stop_reason)));
	else if (find_unusable(reader, reader->stop_lsn / reader->segsize,
						   PG_UINT64_MAX, false, name, &problem))
		ereport(WARNING,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("WAL was read up to %X/%X, as file \"%s\" after it cannot be used: %s",
						LSN_FORMAT_ARGS(end_lsn), name, problem)));
	else if (XLogSegmentOffset(reader->stop_lsn, reader->segsize) != 0)
		ereport(WARNING,
				(errcode(ERRCODE_UNDEFINED_FILE),
				 errmsg("WAL was read up to %X/%X, as segment \"%s\" is missing",
						LSN_FORMAT_ARGS(end_lsn),
						walredo_reader_segment_name(reader,
													reader->stop_lsn))));
}

/*
 * WAL at removed_lsn is gone: moves to the first record that is there now.
 * More may go meanwhile.
 */
static bool
restart(WalredoReader *reader)
{
	bool		found;

	do
	{
		XLogRecPtr	removed_lsn = reader->removed_lsn;
		XLogRecPtr	first_lsn = start_of_log(reader);

		/* WAL as far as the end of the range is gone. */
		if (first_lsn <= removed_lsn)
			report_missing(reader, removed_lsn);

		reader->removed_lsn = InvalidXLogRecPtr;
		reader->restarted = true;
		reader->done = false;
		reader->first_lsn = first_lsn;
		reader->start_lsn = InvalidXLogRecPtr;
		reader->at_hand = 0;
		found = find_first(reader, first_lsn) && next_record(reader);
	} while (reader->removed_lsn != InvalidXLogRecPtr);

	if (!found)
		stay_in_range(reader);
	return found;
}

/*
 * What is right with nearly every record's header.
 */
static inline bool
record_header_ok(WalredoReader *reader, XLogRecPtr lsn,
				 const XLogRecord *record)
{
	return record->xl_tot_len >= SizeOfXLogRecord &&
		record->xl_tot_len <= MAX_RECORD_LENGTH &&
		RmgrIdIsValid(record->xl_rmid) &&
		record->xl_prev == reader->start_lsn &&
		!XLogRecPtrIsInvalid(record->xl_prev);
}

/*
 * Says what is wrong with a record's header, or returns NULL.
 *
 * As ValidXLogRecordHeader() in src/backend/access/transam/xlogreader.c.
 */
static const char *
check_record_header(WalredoReader *reader, XLogRecPtr lsn,
					const XLogRecord *record)
{
	/* An unused part of a segment is all zeroes. */
	if (record->xl_tot_len < SizeOfXLogRecord ||
		record->xl_tot_len > MAX_RECORD_LENGTH)
		return psprintf("invalid record length %u", record->xl_tot_len);
	if (!RmgrIdIsValid(record->xl_rmid))
		return psprintf("invalid resource manager ID %u", record->xl_rmid);

	/* The link to the record before; of the first one all is not known. */
	if (XLogRecPtrIsInvalid(reader->start_lsn) ?
		record->xl_prev >= lsn : record->xl_prev != reader->start_lsn)
		return psprintf("incorrect link to the previous record %X/%X",
						LSN_FORMAT_ARGS(record->xl_prev));

	return NULL;
}

/*
 * As ValidXLogRecord() in src/backend/access/transam/xlogreader.c.
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

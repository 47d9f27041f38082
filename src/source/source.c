/*-------------------------------------------------------------------------
 *
 * source.c
 *	  Where WAL is read from: the segment files of a directory, and the
 *	  timeline history that says which of them belong together.
 *
 * The server's pg_wal is read in the same way as any other directory.  Only
 * the knowledge about it is better: segment size, system identifier, timeline
 * and the end of WAL come from the server.  In any other directory, all that
 * is known is what the files say.  So a source is made in these steps:
 *
 *	1. Look for files that have the name of a segment.
 *	2. Read the header of one to learn whose WAL is in the directory: the
 *	   system identifier and the segment size.  A directory can hold segments
 *	   of several systems, as an archive does after pg_upgrade.
 *	3. Choose the timeline to follow.  A directory can hold segments of several
 *	   timelines, and of those that other servers of the same system made.
 *	4. Read the timeline's history file, which says which timeline's segments
 *	   hold which part of WAL (timeline.c).
 *
 * After that, the file for an LSN is found by its name.  What is in the file
 * is not examined here, except that the header of its first page says to which
 * system it belongs.  The pages are validated by the reader.
 *
 * The limits: only plain segment files are read, and those that end in
 * .partial.  A file that may be a compressed segment is only reported as such.
 * All segments are in one directory.
 *
 * No file stays open between two calls.  A set-returning function can be left
 * in the middle, and its caller can roll back a subtransaction and then
 * continue to fetch.  By then, a descriptor that belonged to the
 * subtransaction has been closed, and its number may even be that of another
 * file.  Opening the segment again for each chunk costs next to nothing.
 *
 * Directories that are not the server's can be anyone's, and files in them can
 * be anything: no name is used in a message, and no file opened, before it has
 * been checked.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/source/source.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogrecovery.h"
#include "compat.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/memutils.h"
#include "source/source.h"
#include "source/timeline.h"

/* Where a segment's name ends that is followed by .partial or the like. */
#define SUFFIX(name)	((name) + XLOG_FNAME_LEN)

static XLogRecPtr local_wal_end(TimeLineID *tli);
static void flush_local_wal(XLogRecPtr end_lsn);
static void choose_system(WalredoSource *source);
static bool follow_local_in_directory(WalredoSource *source);
static TimeLineID newest_timeline(WalredoSource *source);
static bool holds_history(WalredoSource *source);
static List *read_history(WalredoSource *source, const char *directory,
						  TimeLineID tli, bool *found);
static int	open_segment(WalredoSource *source, XLogRecPtr lsn,
						 WalredoSegment *segment);
static bool is_segment_name(const char *name);
static TimeLineID timeline_of(const char *name);
static bool parse_name(WalredoSource *source, const char *name,
					   TimeLineID *tli, XLogSegNo *segno);
static bool in_history(WalredoSource *source, TimeLineID tli,
					   XLogSegNo segno);
static const char *next_of_history(WalredoSource *source, DIR *dir,
								   XLogSegNo *segno);
static const char *segment_problem(WalredoSource *source, const char *name,
								   XLogSegNo segno, bool whole);
static bool is_regular_file(const char *directory, const char *name);
static int	open_regular_file(const char *path);
static void report_not_opened(const char *path);
static const char *read_long_header(const char *path,
									XLogLongPageHeader header);
static bool is_valid_segment(WalredoSource *source, const char *name,
							 XLogLongPageHeader header);
static bool is_foreign(WalredoSource *source,
					   const XLogLongPageHeaderData *header);

/* ----------------------------------------
 * The server's WAL
 * ----------------------------------------
 */

WalredoSource *
walredo_source_begin_local(WalredoTolerance tolerance, XLogRecPtr end_lsn,
						   XLogRecPtr *last_lsn)
{
	WalredoSource *source = palloc0(sizeof(WalredoSource));

	source->is_local = true;
	source->tolerance = tolerance;
	strlcpy(source->directory, XLOGDIR, MAXPGPATH);
	source->segsize = wal_segment_size;
	source->system_identifier = GetSystemIdentifier();

	flush_local_wal(end_lsn);
	*last_lsn = local_wal_end(&source->tli);
	source->history = read_history(source, XLOGDIR, source->tli, NULL);

	return source;
}

/*
 * How far the server's WAL is valid, and the timeline that it is on.  This is
 * what read_local_xlog_page() in src/backend/access/transam/xlogutils.c uses.
 */
static XLogRecPtr
local_wal_end(TimeLineID *tli)
{
	if (!RecoveryInProgress())
		return GetFlushRecPtr(tli);
	return GetXLogReplayRecPtr(tli);
}

XLogRecPtr
walredo_source_local_lsn(XLogRecPtr lsn)
{
	uint32		offset = lsn % XLOG_BLCKSZ;
	bool		is_long = (XLogSegmentOffset(lsn - offset,
											 wal_segment_size) == 0);

	/*
	 * A place in the very first page, whose LSN is 0, is left as it is,
	 * because 0/0 does not stand for a place.  There is no WAL in that page
	 * anyway.
	 */
	if (lsn > offset &&
		offset <= (is_long ? SizeOfXLogLongPHD : SizeOfXLogShortPHD))
		lsn -= offset;
	return lsn;
}

/*
 * Flushes WAL up to end_lsn, or all of it, so that it can be read from the
 * files.  WAL that has been inserted need not be on disk yet, because other
 * sessions may commit asynchronously, or may not have committed.
 */
static void
flush_local_wal(XLogRecPtr end_lsn)
{
	XLogRecPtr	last;

	if (RecoveryInProgress())
		return;

	/*
	 * XLogFlush() complains of an LSN that is after the header of a page to
	 * which nothing has been written.
	 */
	last = walredo_source_local_lsn(GetXLogInsertRecPtr());
	if (end_lsn == PG_UINT64_MAX)
		XLogFlush(last);
	else if (end_lsn <= last)
		XLogFlush(end_lsn);
}

/*
 * A standby may have been promoted, or may have followed its upstream server
 * to another timeline.  WAL that was valid remains so, but if it is in the
 * segment in which the timelines part, it is now read from the new timeline's
 * file.
 */
void
walredo_source_follow_server(WalredoSource *source)
{
	TimeLineID	tli;

	(void) local_wal_end(&tli);
	if (tli != source->tli)
	{
		list_free_deep(source->history);
		source->history = NIL;
		source->history = read_history(source, XLOGDIR, tli, NULL);
		source->tli = tli;
	}
}

/* ----------------------------------------
 * WAL in a directory
 * ----------------------------------------
 */

WalredoSource *
walredo_source_begin_directory(WalredoTolerance tolerance,
							   const char *directory)
{
	WalredoSource *source;

	/* Leave room for a file name. */
	if (strlen(directory) >= MAXPGPATH - MAXFNAMELEN - 1)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("path of the WAL directory is too long")));

	source = palloc0(sizeof(WalredoSource));
	source->tolerance = tolerance;
	strlcpy(source->directory, directory, MAXPGPATH);
	canonicalize_path(source->directory);

	choose_system(source);

	if (source->system_identifier == GetSystemIdentifier() &&
		follow_local_in_directory(source))
		return source;

	source->tli = newest_timeline(source);
	source->history = read_history(source, source->directory, source->tli,
								   NULL);
	return source;
}

void
walredo_source_end(WalredoSource *source)
{
	list_free_deep(source->history);
	pfree(source);
}

/*
 * The order in which segments are preferred to learn of a system from: whole
 * ones come before partial ones, and then the names decide, so that messages
 * do not depend on the order of the directory.
 */
static bool
comes_before(const char *name, const char *other)
{
	bool		is_whole = IsXLogFileName(name);

	if (is_whole != IsXLogFileName(other))
		return is_whole;
	return strcmp(name, other) < 0;
}

/*
 * The next regular file that has the name of a segment of some timeline, of
 * whatever segment size, or NULL if there is none.
 */
static const char *
next_candidate(WalredoSource *source, DIR *dir)
{
	struct dirent *de;

	while ((de = ReadDir(dir, source->directory)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();

		if (is_segment_name(de->d_name) && timeline_of(de->d_name) != 0 &&
			is_regular_file(source->directory, de->d_name))
			return de->d_name;
	}
	return NULL;
}

/*
 * Sets first, of MAXFNAMELEN bytes, to the name of the preferred segment of the
 * directory.  ERROR if there is none.
 */
static void
find_first_candidate(WalredoSource *source, char *first)
{
	DIR		   *dir;
	const char *name;

	first[0] = '\0';
	dir = AllocateDir(source->directory);
	while ((name = next_candidate(source, dir)) != NULL)
	{
		if (first[0] == '\0' || comes_before(name, first))
			strlcpy(first, name, MAXFNAMELEN);
	}
	FreeDir(dir);

	if (first[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FILE),
				 errmsg("no WAL segments in directory \"%s\"",
						source->directory)));
}

static void
report_no_valid_segment(WalredoSource *source, const char *first)
{
	XLogLongPageHeaderData header;
	char		path[MAXPGPATH];
	const char *problem;

	snprintf(path, sizeof(path), "%s/%s", source->directory, first);
	problem = read_long_header(path, &header);
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("invalid WAL segment \"%s\"", first),
			 errdetail("No segment in directory \"%s\" begins with a valid page header of this PostgreSQL version.",
					   source->directory),
			 problem != NULL ?
			 errhint("There is a file \"%s\", but it cannot be used: %s.", first, problem) : 0));
}

/*
 * Sets the system identifier and the segment size: this server's if there is a
 * segment of this server's system, or else those of the only system of which
 * there are segments.
 *
 * The headers of all other segments are checked against these when they are
 * read.
 */
static void
choose_system(WalredoSource *source)
{
	/*
	 * The name of the first valid segment, and of the first one of another
	 * system than that.  "First" is meant as comes_before() says.
	 */
	char		names[2][MAXFNAMELEN] = {"", ""};
	XLogLongPageHeaderData headers[2];
	XLogLongPageHeaderData header;
	char		first[MAXFNAMELEN];
	DIR		   *dir;
	const char *name;

	find_first_candidate(source, first);

	/*
	 * Usually this is an archive of this server's, and then the header of one
	 * segment is enough.  If it is not, all headers have to be read, because
	 * any of them can be of this server's system.
	 */
	if (is_valid_segment(source, first, &header) &&
		header.xlp_sysid == GetSystemIdentifier())
	{
		source->system_identifier = header.xlp_sysid;
		source->segsize = header.xlp_seg_size;
		return;
	}

	dir = AllocateDir(source->directory);
	while ((name = next_candidate(source, dir)) != NULL)
	{
		int			i;

		if (!is_valid_segment(source, name, &header))
			continue;

		if (header.xlp_sysid == GetSystemIdentifier())
		{
			source->system_identifier = header.xlp_sysid;
			source->segsize = header.xlp_seg_size;
			FreeDir(dir);
			return;
		}
		i = names[0][0] != '\0' && header.xlp_sysid != headers[0].xlp_sysid;
		if (names[i][0] == '\0' ||
			(header.xlp_sysid == headers[i].xlp_sysid &&
			 comes_before(name, names[i])))
		{
			strlcpy(names[i], name, MAXFNAMELEN);
			headers[i] = header;
		}
	}
	FreeDir(dir);

	if (names[0][0] == '\0')
		report_no_valid_segment(source, first);
	if (names[1][0] != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("WAL segments of different database systems in directory \"%s\"",
						source->directory),
				 errdetail("Segment \"%s\" belongs to the database system with identifier " UINT64_FORMAT ", but segment \"%s\" to the one with identifier " UINT64_FORMAT ".",
						   names[0], headers[0].xlp_sysid,
						   names[1], headers[1].xlp_sysid),
				 errhint("Put the segments of each database system into a directory of their own.")));

	source->system_identifier = headers[0].xlp_sysid;
	source->segsize = headers[0].xlp_seg_size;
}

/*
 * Sets the timeline to this server's, in a directory with WAL of this server's
 * system.  Returns false if the directory holds no WAL of that timeline or its
 * ancestors.
 *
 * Other servers of the same system may archive to the same place: restored
 * copies, which were promoted to timelines that this server does not know.
 * Two of them may even have been promoted to timelines with the same number.
 * What is in pg_wal is therefore preferred to what is in the directory, and
 * where the two contradict each other, the segments cannot be trusted.
 */
static bool
follow_local_in_directory(WalredoSource *source)
{
	bool		found_local;
	bool		found_there;
	List	   *local_history;
	List	   *history;
	TimeLineID	tli;

	(void) local_wal_end(&tli);
	local_history = read_history(source, XLOGDIR, tli, &found_local);
	history = read_history(source, source->directory, tli, &found_there);

	source->history = found_local ? local_history : history;
	if (!holds_history(source))
	{
		list_free_deep(local_history);
		list_free_deep(history);
		source->history = NIL;
		return false;
	}
	if (found_local && found_there &&
		!walredo_timeline_histories_equal(local_history, history))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("history of timeline %u in directory \"%s\" is not this server's",
						tli, source->directory),
				 errdetail("Another server of the same database system has created a timeline with that number, and its segments cannot be distinguished from those of this server."),
				 errhint("Remove the files of the other server from the directory.")));

	source->tli = tli;
	list_free_deep(found_local ? history : local_history);
	return true;
}

/*
 * Returns whether the directory holds a segment of the history that belongs to
 * the system that is read.
 */
static bool
holds_history(WalredoSource *source)
{
	DIR		   *dir = AllocateDir(source->directory);
	const char *name;
	XLogSegNo	segno;
	bool		found = false;

	while (!found && (name = next_of_history(source, dir, &segno)) != NULL)
	{
		XLogLongPageHeaderData header;

		found = is_regular_file(source->directory, name) &&
			is_valid_segment(source, name, &header) &&
			header.xlp_sysid == source->system_identifier;
	}
	FreeDir(dir);

	return found;
}

/*
 * The newest timeline that has a segment of the system that is read, or a
 * history file.  A history file does not say to which system it belongs, so
 * history files do not count if segments of other systems are there.
 */
static TimeLineID
newest_timeline(WalredoSource *source)
{
	DIR		   *dir = AllocateDir(source->directory);
	struct dirent *de;
	TimeLineID	newest = 0;
	TimeLineID	newest_history = 0;
	bool		is_mixed = false;

	while ((de = ReadDir(dir, source->directory)) != NULL)
	{
		bool		is_segment = is_segment_name(de->d_name);
		TimeLineID	tli;
		XLogLongPageHeaderData header;

		CHECK_FOR_INTERRUPTS();

		if ((!is_segment && !IsTLHistoryFileName(de->d_name)) ||
			!is_regular_file(source->directory, de->d_name))
			continue;

		tli = timeline_of(de->d_name);
		if (!is_segment)
			newest_history = Max(newest_history, tli);
		else if (!is_valid_segment(source, de->d_name, &header))
			continue;
		else if (header.xlp_sysid == source->system_identifier)
			newest = Max(newest, tli);
		else
			is_mixed = true;
	}
	FreeDir(dir);

	return is_mixed ? newest : Max(newest, newest_history);
}

/*
 * Reads the history of a timeline from its history file in a directory, into
 * the memory context of the source.  A timeline that has no history file has
 * no parents; *found, which may be NULL, is set to whether there is one.
 */
static List *
read_history(WalredoSource *source, const char *directory, TimeLineID tli,
			 bool *found)
{
	MemoryContext old_cxt =
		MemoryContextSwitchTo(GetMemoryChunkContext(source));
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

bool
walredo_source_is_pg_wal(WalredoSource *source)
{
	struct stat st;
	struct stat local;

	return source->is_local ||
		(stat(source->directory, &st) == 0 && stat(XLOGDIR, &local) == 0 &&
		 st.st_dev == local.st_dev && st.st_ino == local.st_ino);
}

/* ----------------------------------------
 * Reading segments
 * ----------------------------------------
 */

bool
walredo_source_read(WalredoSource *source, XLogRecPtr lsn, char *buf,
					Size length, WalredoSegment *segment, Size *nread)
{
	uint32		offset = XLogSegmentOffset(lsn, source->segsize);
	int			fd;

	Assert(length <= source->segsize - offset);

	*nread = 0;
	fd = open_segment(source, lsn, segment);
	if (fd < 0)
		return false;

	while (*nread < length)
	{
		int			n = pg_pread(fd, buf + *nread, length - *nread,
								 offset + *nread);

		if (n < 0)
		{
			if (errno == EINTR)
				continue;
			if (source->tolerance == WALREDO_TOLERATE_ALL)
				break;
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not read WAL segment \"%s\", offset %zu: %m",
							segment->name, offset + *nread)));
		}
		if (n == 0)
			break;
		*nread += n;
	}
	CloseTransientFile(fd);

	return true;
}

bool
walredo_source_has(WalredoSource *source, XLogRecPtr lsn,
				   XLogRecPtr *valid_end)
{
	WalredoSegment segment;
	int			fd = open_segment(source, lsn, &segment);

	if (fd < 0)
		return false;
	CloseTransientFile(fd);
	*valid_end = segment.valid_end;
	return true;
}

/*
 * Returns whether the source takes a file that could not be opened, for the
 * reason that errno gives, as missing.
 *
 * A scan that goes on to the end of WAL, wherever that is, tolerates files
 * that can never be read.  If it ends at one of them, the reader reports what
 * is wrong with it.  Other reasons, such as a lack of descriptors, say nothing
 * of the file.
 */
static bool
counts_as_missing(WalredoSource *source)
{
	switch (source->tolerance)
	{
		case WALREDO_TOLERATE_NOTHING:
			break;
		case WALREDO_TOLERATE_UNUSABLE:
			if (errno == EISDIR || errno == EACCES || errno == EPERM ||
				errno == ELOOP || errno == ENXIO)
				return true;
			break;
		case WALREDO_TOLERATE_ALL:
			return true;
	}
	return errno == ENOENT;
}

/*
 * Opens the file of the segment that lsn is in and sets *segment, or returns
 * -1 if there is no file that holds lsn.
 *
 * Where a segment contains a change of timeline, there can be a file of each
 * timeline.  The newest timeline's is taken, because the server copies to it
 * what is before the change.  If only a parent's file is there, it can be used
 * as far as the parent's timeline goes, which segment->valid_end says.
 *
 * A file that belongs to another system counts as missing.  That is not so in
 * pg_wal, where such a file is an error that the reader finds.
 */
static int
open_segment(WalredoSource *source, XLogRecPtr lsn, WalredoSegment *segment)
{
	/*
	 * pg_receivewal renames a file when it is complete.  If that happens
	 * between the first two attempts, neither finds it, and the third does.
	 */
	static const char *const suffixes[] = {"", ".partial", ""};
	XLogSegNo	segno = lsn / source->segsize;
	ListCell   *lc;

	foreach(lc, source->history)
	{
		WalredoTimeline *timeline = lfirst(lc);

		if (lsn >= timeline->end ||
			!walredo_timeline_covers(timeline, segno, source->segsize))
			continue;

		for (int i = 0; i < lengthof(suffixes); i++)
		{
			XLogLongPageHeaderData header;
			char		path[MAXPGPATH];
			int			fd;

			XLogFileName(segment->name, timeline->tli, segno,
						 source->segsize);
			strlcat(segment->name, suffixes[i], MAXFNAMELEN);
			snprintf(path, sizeof(path), "%s/%s", source->directory,
					 segment->name);
			fd = open_regular_file(path);
			if (fd < 0)
			{
				if (counts_as_missing(source))
					continue;
				report_not_opened(path);
			}
			if (!source->is_local &&
				pg_pread(fd, &header, sizeof(header), 0) == sizeof(header) &&
				is_foreign(source, &header))
			{
				CloseTransientFile(fd);
				continue;
			}

			segment->tli = timeline->tli;
			segment->valid_end = timeline->end;
			return fd;
		}
	}

	return -1;
}

/* ----------------------------------------
 * Which segments are there
 * ----------------------------------------
 */

XLogSegNo
walredo_source_newest(WalredoSource *source, XLogSegNo before)
{
	DIR		   *dir = AllocateDir(source->directory);
	const char *name;
	XLogSegNo	segno;
	XLogSegNo	newest = 0;

	while ((name = next_of_history(source, dir, &segno)) != NULL)
	{
		if (segno > newest && segno < before &&
			segment_problem(source, name, segno, false) == NULL)
			newest = segno;
	}
	FreeDir(dir);

	return newest;
}

XLogRecPtr
walredo_source_start(WalredoSource *source, XLogRecPtr end_lsn)
{
	XLogSegNo	segno;
	XLogSegNo	first;
	XLogRecPtr	lsn;

	if (end_lsn == PG_UINT64_MAX)
	{
		segno = walredo_source_newest(source, PG_UINT64_MAX);

		/* There are files with names of segments, but none can be used. */
		if (segno == 0 && source->tolerance != WALREDO_TOLERATE_ALL)
		{
			char		name[MAXFNAMELEN];
			char	   *problem;
			bool		unusable =
				walredo_source_find_unusable(source, 0, PG_UINT64_MAX, false,
											 name, &problem);

			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_FILE),
					 errmsg("no usable WAL segments of timeline %u in directory \"%s\"",
							source->tli, source->directory),
					 unusable ?
					 errhint("There is a file \"%s\", but it cannot be used: %s.", name, problem) : 0));
		}
	}
	else
		segno = (end_lsn - 1) / source->segsize;

	/*
	 * Go back from segment to segment as long as each is there.  Of the last
	 * one it is enough that it exists, so ask for its first byte.  The others
	 * must be whole, so ask for their last byte; where a segment contains a
	 * change of timeline, that also rejects a parent's file.
	 */
	first = segno;
	lsn = segno * source->segsize;
	for (;;)
	{
		WalredoSegment segment;
		int			fd;
		struct stat st;
		bool		is_good;

		CHECK_FOR_INTERRUPTS();

		fd = open_segment(source, lsn, &segment);
		if (fd < 0)
			break;
		is_good = XLogSegmentOffset(lsn, source->segsize) == 0 ||
			(fstat(fd, &st) == 0 && st.st_size >= source->segsize);
		CloseTransientFile(fd);
		if (!is_good)
			break;
		first = segno;
		if (segno == 0)
			break;
		lsn = segno * source->segsize - 1;
		segno--;
	}

	/* No record begins at 0/0, and to a caller it is no LSN. */
	return Max(first * source->segsize, 1);
}

char *
walredo_source_segment_name(WalredoSource *source, XLogRecPtr lsn)
{
	XLogSegNo	segno = lsn / source->segsize;
	TimeLineID	tli = source->tli;
	char	   *name = palloc(MAXFNAMELEN);
	ListCell   *lc;

	/* Name the file that open_segment() tries first. */
	foreach(lc, source->history)
	{
		WalredoTimeline *timeline = lfirst(lc);

		if (timeline->begin < timeline->end &&
			walredo_timeline_covers(timeline, segno, source->segsize))
		{
			tli = timeline->tli;
			break;
		}
	}
	XLogFileName(name, tli, segno, source->segsize);
	return name;
}

/* Returns whether all characters are printable ASCII, without spaces. */
static bool
is_plain_ascii(const char *name)
{
	while (*name > ' ' && *name < 0x7f)
		name++;
	return *name == '\0';
}

/*
 * Returns whether a name is that of a segment of the history, plain or with a
 * suffix of any kind.  Archives add a suffix, some of them with a checksum
 * before it.
 *
 * The name will be shown in a message, so it must not have characters that
 * nobody uses in a file's name, and it must fit into MAXFNAMELEN.
 */
static bool
may_be_segment(WalredoSource *source, const char *name, XLogSegNo *segno)
{
	TimeLineID	tli;

	return strspn(name, "0123456789ABCDEF") == XLOG_FNAME_LEN &&
		strlen(name) < MAXFNAMELEN &&
		strstr(name, ".backup") == NULL &&
		is_plain_ascii(name) &&
		parse_name(source, name, &tli, segno) &&
		in_history(source, tli, *segno);
}

bool
walredo_source_find_unusable(WalredoSource *source, XLogSegNo first,
							 XLogSegNo last, bool whole, char *name,
							 char **problem)
{
	DIR		   *dir = AllocateDir(source->directory);
	struct dirent *de;
	XLogSegNo	found = 0;

	name[0] = '\0';
	while ((de = ReadDir(dir, source->directory)) != NULL)
	{
		XLogSegNo	segno;
		char		plain[MAXFNAMELEN];
		const char *its_problem;

		CHECK_FOR_INTERRUPTS();

		if (!may_be_segment(source, de->d_name, &segno) ||
			segno < first || segno > last)
			continue;

		/* Of several, report the one whose segment is first, then by name. */
		if (name[0] != '\0' &&
			(segno > found ||
			 (segno == found && strcmp(de->d_name, name) > 0)))
			continue;

		/* A file with a suffix is not needed if the plain one is there. */
		strlcpy(plain, de->d_name, XLOG_FNAME_LEN + 1);
		if (*SUFFIX(de->d_name) != '\0' &&
			is_regular_file(source->directory, plain))
			continue;

		its_problem = segment_problem(source, de->d_name, segno, whole);
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
 * Says why a file does not begin as the segment whose name it has or, if whole
 * is true, is not all of it.  Returns NULL if the file is good.
 *
 * The name alone is not enough, because the server gives old segments the
 * names of segments to come.  The first page of such a file still has its old
 * address.
 */
static const char *
segment_problem(WalredoSource *source, const char *name, XLogSegNo segno,
				bool whole)
{
	XLogLongPageHeaderData header;
	char		path[MAXPGPATH];
	struct stat st;
	const char *problem;

	if (strcmp(SUFFIX(name), "") != 0 && strcmp(SUFFIX(name), ".partial") != 0)
		return "it is not a plain segment and may be compressed";
	if (!is_regular_file(source->directory, name))
		return "it is not a regular file";

	snprintf(path, sizeof(path), "%s/%s", source->directory, name);
	problem = read_long_header(path, &header);
	if (problem != NULL)
		return problem;
	if (is_foreign(source, &header))
		return psprintf("it belongs to the database system with identifier " UINT64_FORMAT,
						header.xlp_sysid);
	if (header.std.xlp_magic != XLOG_PAGE_MAGIC ||
		(header.std.xlp_info & XLP_LONG_HEADER) == 0)
		return "it does not begin with a valid page header";
	if (header.std.xlp_pageaddr != segno * source->segsize)
		return psprintf("it still contains the WAL that was at %X/%X",
						LSN_FORMAT_ARGS(header.std.xlp_pageaddr));
	if (whole && stat(path, &st) == 0 && st.st_size < source->segsize)
		return "it is shorter than a segment";
	return NULL;
}

/* ----------------------------------------
 * Names
 * ----------------------------------------
 */

/*
 * Returns whether a name is that of a segment: of a complete one, or of one
 * that pg_receivewal or a promotion has left unfinished.
 */
static bool
is_segment_name(const char *name)
{
	return IsXLogFileName(name) || IsPartialXLogFileName(name);
}

/*
 * The timeline in the name of a segment or a history file, which begins with
 * eight hexadecimal digits.  0 is no timeline.
 */
static TimeLineID
timeline_of(const char *name)
{
	TimeLineID	tli;

	return sscanf(name, "%08X", &tli) == 1 ? tli : 0;
}

/*
 * Gets the timeline and the segment number from the name of a segment.
 *
 * Returns false if no segment has this name: its last eight digits are less
 * than the number of segments in 4 GB, which depends on the segment size.
 */
static bool
parse_name(WalredoSource *source, const char *name, TimeLineID *tli,
		   XLogSegNo *segno)
{
	char		plain[MAXFNAMELEN];

	XLogFromFileName(name, tli, segno, source->segsize);
	XLogFileName(plain, *tli, *segno, source->segsize);
	return strncmp(name, plain, XLOG_FNAME_LEN) == 0;
}

/* Returns whether a segment of a timeline can hold a part of the history. */
static bool
in_history(WalredoSource *source, TimeLineID tli, XLogSegNo segno)
{
	ListCell   *lc;

	foreach(lc, source->history)
	{
		WalredoTimeline *timeline = lfirst(lc);

		if (timeline->tli == tli)
			return walredo_timeline_covers(timeline, segno, source->segsize);
	}
	return false;
}

/*
 * The name of the next file in a directory that is named as a segment of the
 * history, and the segment's number; NULL if there are no more.
 */
static const char *
next_of_history(WalredoSource *source, DIR *dir, XLogSegNo *segno)
{
	struct dirent *de;

	while ((de = ReadDir(dir, source->directory)) != NULL)
	{
		TimeLineID	tli;

		CHECK_FOR_INTERRUPTS();

		if (is_segment_name(de->d_name) &&
			parse_name(source, de->d_name, &tli, segno) &&
			in_history(source, tli, *segno))
			return de->d_name;
	}
	return NULL;
}

/* ----------------------------------------
 * Files
 * ----------------------------------------
 */

static bool
is_regular_file(const char *directory, const char *name)
{
	char		path[MAXPGPATH];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/*
 * Opens a file for reading.  The caller closes it, or else the end of the
 * subtransaction does.  If the result is negative, errno is set, to EISDIR for
 * everything that is not a regular file.
 *
 * The directory may be anyone's, so the name may be that of a FIFO.  With
 * O_NONBLOCK, opening one does not wait for a writer.
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

/* Reports that open_regular_file() has failed as errno says. */
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
 * Reads the long page header at the beginning of a segment file.  Returns NULL,
 * or says why that is not possible.
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
 * Returns whether a file that has the name of a segment begins as a segment of
 * this PostgreSQL version does, and gets its header.
 */
static bool
is_valid_segment(WalredoSource *source, const char *name,
				 XLogLongPageHeader header)
{
	char		path[MAXPGPATH];

	snprintf(path, sizeof(path), "%s/%s", source->directory, name);
	return read_long_header(path, header) == NULL &&
		header->std.xlp_magic == XLOG_PAGE_MAGIC &&
		(header->std.xlp_info & XLP_LONG_HEADER) != 0 &&
		IsValidWalSegSize(header->xlp_seg_size);
}

/*
 * Returns whether a header is that of another system's segment.  The other
 * system can be one of another major version, which pg_upgrade leaves in an
 * archive, so of the magic number only the part is compared that all versions
 * share.
 */
static bool
is_foreign(WalredoSource *source, const XLogLongPageHeaderData *header)
{
	return (header->std.xlp_magic & 0xFF00) == (XLOG_PAGE_MAGIC & 0xFF00) &&
		(header->std.xlp_info & XLP_LONG_HEADER) != 0 &&
		header->xlp_sysid != source->system_identifier;
}

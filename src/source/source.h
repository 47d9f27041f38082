/*-------------------------------------------------------------------------
 *
 * source.h
 *	  Where WAL is read from: the segment files of some directories, what
 *	  walredo.restore_command fetches, and the timeline history that says which
 *	  of them belong together.
 *
 * The source deals with files, their names, and the header of their first page,
 * which says to which system a file belongs.  The reader (wal/reader.h) deals
 * with pages, records, and ranges.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/source/source.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_SOURCE_H
#define WALREDO_SOURCE_H

#include "postgres.h"

#include "access/xlog_internal.h"
#include "access/xlogdefs.h"
#include "nodes/pg_list.h"
#include "utils/guc.h"

/* The setting walredo.timeline, and its check hook. */
extern char *walredo_timeline_setting;
extern bool walredo_check_timeline(char **newval, void **extra,
								   GucSource source);

/* Stands for the server's own pg_wal in a list of directories. */
#define WALREDO_LOCAL_WAL	"$pg_wal"

/* Which files that are there but cannot be opened count as missing. */
typedef enum WalredoTolerance
{
	WALREDO_TOLERATE_NOTHING,	/* none: each is an ERROR */
	WALREDO_TOLERATE_UNUSABLE,	/* those that are of another type, or for
								 * which there is no permission */
	WALREDO_TOLERATE_ALL		/* all, and a read error ends the file */
} WalredoTolerance;

/* The longest name of a segment file, with its end. */
#define WALREDO_SEGMENT_NAME	128

typedef struct WalredoSourceFiles WalredoSourceFiles;

/*
 * All fields are set by the functions of this room; others only look at them.
 */
typedef struct WalredoSource
{
	const char *directory;		/* the directories, for messages */
	bool		is_local;		/* the server's own pg_wal is among them, and
								 * the server's own timeline is followed */
	WalredoTolerance tolerance;

	int			segsize;		/* bytes in a segment */
	uint64		system_identifier;

	TimeLineID	tli;			/* the timeline that is followed */
	List	   *history;		/* its WalredoTimelines, newest first */

	WalredoSourceFiles *files;	/* private to this room */
} WalredoSource;

/*
 * One of the files of a segment, by which it is known again.  That it is still
 * this file is as certain as its size, the time of its last change, and its
 * inode can tell: see walredo_source_identify().
 */
typedef struct WalredoSegmentId
{
	uint64		system_identifier;
	TimeLineID	tli;			/* the timeline that the file is of */
	XLogSegNo	segno;
	int			segsize;
	char		directory[MAXPGPATH];	/* as it was given, made absolute */
	char		name[MAXPGPATH];	/* within the directory, with a folder */
	int64		size;			/* of the file, in bytes */
	int64		mtime;			/* in nanoseconds since 1970 */
	uint64		inode;
	XLogRecPtr	valid_end;		/* as in WalredoSegment */
} WalredoSegmentId;

/* The segment file that was read last. */
typedef struct WalredoSegment
{
	char		name[WALREDO_SEGMENT_NAME]; /* within its directory */
	TimeLineID	tli;			/* the timeline that the file is of */
	XLogRecPtr	valid_end;		/* what is in it at or after this LSN belongs
								 * to another timeline */
	const char *problem;		/* why it could not be read further, or NULL */

	uint64		opening;		/* a number of its own for each time that a
								 * file is opened in the session */

	/*
	 * Which file it is, as it was when it was opened.  Files that cannot be
	 * taken for the whole segment have none, nor have those that
	 * walredo.restore_command has fetched, which are gone soon.
	 */
	bool		has_id;
	WalredoSegmentId id;
} WalredoSegment;

/*
 * Makes a source for the WAL in some directories, as the argument wal_directory
 * of SQL functions names them: see walredo_directories_parse().  NULL is the
 * server's own pg_wal.  The segment size, the system, and the timeline to
 * follow are determined from the files that are there; if the server's own
 * pg_wal is among the directories, from the server.
 *
 * The system is this server's if a segment of it is there, else the only one
 * that has segments.  The timeline is what walredo.timeline says.  If that is
 * "current", it is this server's if the directories hold WAL of this server's
 * system on that timeline or its ancestors, else the newest one.  Where there
 * is WAL that does not belong to the history of the chosen timeline, and
 * walredo.timeline does not give a number, a NOTICE says which timeline is
 * followed, once for each statement.
 *
 * ERROR 58P01 if there is no segment, or nothing of the timeline that
 * walredo.timeline asks for; XX001 if no segment has a valid header or if it
 * cannot be determined whose WAL is meant: if there are segments of several
 * systems and none of this server's, or if another server of the same system
 * has used the number of a timeline of this server; 22023 if the list of
 * directories is invalid.
 *
 * What the session knows about the directories since they were read last is
 * used as far as stat() shows that nothing has changed; the result is the same.
 *
 * The source has a memory context of its own, below the current one.  It can
 * be abandoned at any time, and holds no descriptors, except for a few that are
 * closed at the end of the transaction: see walredo_source_hold().
 */
extern WalredoSource *walredo_source_begin(const char *directories,
										   WalredoTolerance tolerance);

/*
 * The same without a timeline, for walredo_source_stretches() and
 * walredo_source_only_timeline().
 */
extern WalredoSource *walredo_source_open(const char *directories,
										  WalredoTolerance tolerance);

extern void walredo_source_end(WalredoSource *source);

/*
 * Restricts a source to the segments of one timeline, without its ancestors,
 * however far they reach.
 */
extern void walredo_source_only_timeline(WalredoSource *source,
										 TimeLineID tli);

/*
 * Returns how far the WAL of a local source can be read: to where it is
 * flushed, or replayed if the server is in recovery.  WAL up to end_lsn is
 * flushed first, if it has been inserted; with PG_UINT64_MAX, all that has been
 * inserted is.
 */
extern XLogRecPtr walredo_source_local_end(XLogRecPtr end_lsn);

/*
 * Is this WAL of the server that runs, on the timeline that it is on, whether
 * pg_wal is among the directories or not?
 */
extern bool walredo_source_is_of_server(WalredoSource *source);

/*
 * Converts an LSN of the server's WAL that is within or right after the header
 * of a page to the LSN of that page.  Returns all other LSNs unchanged, and so
 * those in the very first page, in which there is no WAL.
 *
 * When the server reports where the next record will begin, that can be after
 * the header of a page that does not exist yet, while the record before it ends
 * before that header.  After this conversion, two such LSNs can be compared.
 * The result is 0/0 for 0/0 only.
 */
extern XLogRecPtr walredo_source_local_lsn(XLogRecPtr lsn);

/*
 * Lets a local source follow the server to the timeline that it is on now, if
 * that has changed.
 */
extern void walredo_source_follow_server(WalredoSource *source);

/*
 * Reads up to length bytes of WAL from lsn on into buf.  They must all be in
 * one segment.
 *
 * Returns false if there is no file for that segment.  Otherwise *segment is
 * set, and *nread to the number of bytes read, which is less than length only
 * if the file ends there, or cannot be decompressed further.  Bytes at or after
 * segment->valid_end are read, but are no part of the history.  ERROR if the
 * file cannot be opened, or read, as far as the source's tolerance does not say
 * otherwise.
 */
extern bool walredo_source_read(WalredoSource *source, XLogRecPtr lsn,
								char *buf, Size length,
								WalredoSegment *segment, Size *nread);

/*
 * The same in two steps, for those who read a page here and a page there: the
 * first makes sure that the file of the segment that lsn is in is open, and the
 * second reads from it.
 *
 * A source has a few such files, which it keeps open until others are needed,
 * the source is not kept any longer, or the subtransaction that has opened them
 * ends.  So the file can be one that has been renamed or removed since the
 * source was begun, and the reader has to tell by the pages whether it still is
 * of the segment.
 *
 * walredo_source_hold() returns false if there is no file for that segment.
 * Otherwise *segment is set, without a problem.
 *
 * walredo_source_read_held() reads as walredo_source_read() does, from an
 * offset in the segment, right after walredo_source_hold().  *problem is set to
 * why the file could not be read further, or to NULL.  Returns false, once for
 * each file, if the file turns out to be damaged.  Then walredo_source_hold()
 * may find another one.
 *
 * walredo_source_held_is_checked() is where the reader takes note, right after
 * walredo_source_hold(), that it has checked the first page of this file; false
 * for a file that is new.
 */
extern bool walredo_source_hold(WalredoSource *source, XLogRecPtr lsn,
								WalredoSegment *segment);
extern bool walredo_source_read_held(WalredoSource *source, uint32 offset,
									 char *buf, Size length, Size *nread,
									 const char **problem);
extern bool *walredo_source_held_is_checked(WalredoSource *source);

/*
 * Sets *id to the n-th file, from 0, of the segment that lsn is in, without
 * opening it: the whole files that are listed in the directories, in the order
 * in which walredo_source_read() would try them.  Returns false if there are no
 * more.
 *
 * What is in the file is not known, not even to which system it belongs, and
 * walredo_source_read() may find that it has to use another one.
 */
extern bool walredo_source_identify(WalredoSource *source, XLogRecPtr lsn,
									int n, WalredoSegmentId *id);

/*
 * Whether walredo_source_read() would find a file for the segment that lsn is
 * in.  If so, *valid_end is set as in WalredoSegment.
 */
extern bool walredo_source_has(WalredoSource *source, XLogRecPtr lsn,
							   XLogRecPtr *valid_end);

/* Is all of a segment there, so that WAL can be read through it? */
extern bool walredo_source_has_whole(WalredoSource *source, XLogSegNo segno);

/*
 * Returns the first LSN from which WAL can be read without a gap up to end_lsn
 * or, with PG_UINT64_MAX, into the newest segment.  This can be in the middle
 * of a record.  ERROR 58P01 if there is no usable segment, unless the
 * tolerance is WALREDO_TOLERATE_ALL.
 *
 * What walredo.restore_command can fetch counts as there.  To find out how far
 * back that is, a few segments are fetched, as in a binary search: an archive
 * has no gaps, as a rule.
 */
extern XLogRecPtr walredo_source_start(WalredoSource *source,
									   XLogRecPtr end_lsn);

/*
 * The number of the newest usable segment of the history, in the directories,
 * that is less than before, or 0 if there is none.
 */
extern XLogSegNo walredo_source_newest(WalredoSource *source,
									   XLogSegNo before);

/*
 * Looks for the first file in the directories that has the name of a segment of
 * the history, numbered from first to last, and that cannot be used as it is,
 * while no other file of the segment can.  If whole is true, a file that is
 * shorter than a segment cannot be used, either.
 *
 * Returns false if there is none.  Otherwise sets name, of WALREDO_SEGMENT_NAME
 * bytes, and *problem, palloc'd, which says why in words that can follow "but
 * it cannot be used:".
 */
extern bool walredo_source_find_unusable(WalredoSource *source,
										 XLogSegNo first, XLogSegNo last,
										 bool whole, char *name,
										 char **problem);

/* Segments of one timeline that follow each other. */
typedef struct WalredoStretch
{
	TimeLineID	tli;
	XLogSegNo	first;
	XLogSegNo	last;
} WalredoStretch;

/*
 * Lists what the directories have of the system, whatever its timeline, as
 * WalredoStretches, palloc'd, by timeline and number.  Segments that cannot be
 * used are not there; all but the last one of a stretch are whole.
 */
extern List *walredo_source_stretches(WalredoSource *source);

/*
 * The name of the segment file that holds, or should hold, lsn; palloc'd.
 */
extern char *walredo_source_segment_name(WalredoSource *source,
										 XLogRecPtr lsn);

/*
 * Is an LSN on a timeline, in the history that is followed?  In the segment
 * where a timeline begins, it is also on that timeline before it begins.
 */
extern bool walredo_source_is_followed(WalredoSource *source, TimeLineID tli,
									   XLogRecPtr lsn);

/* Whether the server's pg_wal is among the directories, by whatever path. */
extern bool walredo_source_has_pg_wal(WalredoSource *source);

#endif							/* WALREDO_SOURCE_H */

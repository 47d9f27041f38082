/*-------------------------------------------------------------------------
 *
 * source.h
 *	  Where WAL is read from: the segment files of a directory, and the
 *	  timeline history that says which of them belong together.
 *
 * Only the reader (src/wal/reader.c) uses this.  The source
 * deals with files, their names, and the header of their first page, which says
 * to which system a file belongs.  The reader deals with pages, records, and
 * ranges.
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

/* Which files that are there but cannot be opened count as missing. */
typedef enum WalredoTolerance
{
	WALREDO_TOLERATE_NOTHING,	/* none: each is an ERROR */
	WALREDO_TOLERATE_UNUSABLE,	/* those that are of another type, or for
								 * which there is no permission */
	WALREDO_TOLERATE_ALL		/* all, and a read error ends the file */
} WalredoTolerance;

/*
 * All fields are set by the functions of source.c; the reader only looks at
 * them.
 */
typedef struct WalredoSource
{
	char		directory[MAXPGPATH];
	bool		is_local;		/* made by walredo_source_begin_local() */
	WalredoTolerance tolerance;

	int			segsize;		/* bytes in a segment */
	uint64		system_identifier;

	TimeLineID	tli;			/* the timeline that is followed */
	List	   *history;		/* its WalredoTimelines, newest first */
} WalredoSource;

/* The segment file that was read last. */
typedef struct WalredoSegment
{
	char		name[MAXFNAMELEN];	/* within the directory */
	TimeLineID	tli;			/* the timeline that the file is of */
	XLogRecPtr	valid_end;		/* what is in it at or after this LSN belongs
								 * to another timeline */
} WalredoSegment;

/*
 * Makes a source for the WAL of the running server, on the timeline that the
 * server is on.
 *
 * WAL up to end_lsn is flushed first, if it has been inserted; with
 * PG_UINT64_MAX, all that has been inserted is.  *last_lsn is set to how
 * far WAL can be read: to where it is flushed, or replayed if the server is in
 * recovery.
 *
 * The source is allocated in the current memory context, as are those of
 * walredo_source_begin_directory(), and holds no descriptor.
 */
extern WalredoSource *walredo_source_begin_local(WalredoTolerance tolerance,
												 XLogRecPtr end_lsn,
												 XLogRecPtr *last_lsn);

/*
 * Makes a source for the WAL in a directory.  The segment size, the system, and
 * the timeline to follow are determined from the files that are there.
 *
 * The system is this server's if a segment of it is there, else the only one
 * that has segments.  The timeline is this server's if the directory holds WAL
 * of this server's system on that timeline or its ancestors, else the newest
 * one.  ERROR 58P01 if there is no segment, XX001 if none has a valid header
 * or if it cannot be determined whose WAL is meant: if there are segments of
 * several systems and none of this server's, or if another server of the same
 * system has used the number of a timeline of this server.
 */
extern WalredoSource *walredo_source_begin_directory(WalredoTolerance tolerance,
													 const char *directory);

extern void walredo_source_end(WalredoSource *source);

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
 * if the file ends there.  Bytes at or after segment->valid_end are read, but
 * are no part of the history.  ERROR if the file cannot be opened, or read, as
 * far as the source's tolerance does not say otherwise.
 */
extern bool walredo_source_read(WalredoSource *source, XLogRecPtr lsn,
								char *buf, Size length,
								WalredoSegment *segment, Size *nread);

/*
 * Whether walredo_source_read() would find a file for the segment that lsn is
 * in.  If so, *valid_end is set as in WalredoSegment.
 */
extern bool walredo_source_has(WalredoSource *source, XLogRecPtr lsn,
							   XLogRecPtr *valid_end);

/*
 * Returns the first LSN from which WAL can be read without a gap up to end_lsn
 * or, with PG_UINT64_MAX, into the newest segment.  This can be in the middle
 * of a record.  ERROR 58P01 if there is no usable segment, unless the
 * tolerance is WALREDO_TOLERATE_ALL.
 */
extern XLogRecPtr walredo_source_start(WalredoSource *source,
									   XLogRecPtr end_lsn);

/*
 * The number of the newest usable segment of the history that is less than
 * before, or 0 if there is none.
 */
extern XLogSegNo walredo_source_newest(WalredoSource *source,
									   XLogSegNo before);

/*
 * Looks for the first file in the directory that has the name of a segment of
 * the history, numbered from first to last, and that cannot be used as it is.
 * If whole is true, a file that is shorter than a segment cannot be used,
 * either.
 *
 * Returns false if there is none.  Otherwise sets name, of MAXFNAMELEN bytes,
 * and *problem, palloc'd, which says why in words that can follow "but".
 */
extern bool walredo_source_find_unusable(WalredoSource *source,
										 XLogSegNo first, XLogSegNo last,
										 bool whole, char *name,
										 char **problem);

/*
 * The name of the segment file that holds, or should hold, lsn; palloc'd.
 */
extern char *walredo_source_segment_name(WalredoSource *source,
										 XLogRecPtr lsn);

/* Whether the directory is the server's pg_wal, by whatever path. */
extern bool walredo_source_is_pg_wal(WalredoSource *source);

#endif							/* WALREDO_SOURCE_H */

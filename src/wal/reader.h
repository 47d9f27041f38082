/*-------------------------------------------------------------------------
 *
 * reader.h
 *	  Reading whole WAL records from the server's WAL, or from directories of
 *	  segment files.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/wal/reader.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_READER_H
#define WALREDO_READER_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "access/xlogrecord.h"

struct WalredoSegmentId;
struct WalredoSource;

typedef struct WalredoReader WalredoReader;

/*
 * As the start of a range: the first LSN from which WAL can be read up to the
 * end of the range without a gap.
 */
#define WALREDO_START_OF_WAL	InvalidXLogRecPtr

/* As the end of a range: the end of WAL. */
#define WALREDO_END_OF_WAL	PG_UINT64_MAX

/*
 * Returns the directories of a directory argument with the server's own WAL
 * after them, unless it is among them; palloc'd.  For NULL, which is the
 * server's own WAL, returns NULL.
 */
extern char *walredo_wal_with_local(const char *directory);

/*
 * Starts reading at the first record that begins at or after start_lsn.
 * Records are returned up to the last one that ends at or before end_lsn.
 *
 * directory is one directory or several, separated by colons, which hold
 * segment files, in any of the layouts that listing.c describes; a relative
 * path is taken from the data directory, and "$pg_wal" stands for the server's
 * own WAL.  NULL is the server's own WAL alone.  walredo_source_begin() says
 * which system's WAL is read, and along which timeline.
 *
 * If the server's own WAL is among the directories, and its timeline is
 * followed, end_lsn must not be after the LSN up to which WAL is flushed or, on
 * a standby, replayed.  WALREDO_END_OF_WAL stands for that LSN.
 *
 * Otherwise, it is an error if WAL ends before end_lsn, and the message says
 * where it ends.  With WALREDO_END_OF_WAL, the range ends at the first place
 * where there is no valid record; it is an error if a later segment of the same
 * history is there.  A WARNING says where that place is, unless it is the end
 * of a segment and there is no file with the name of a later segment.  With
 * WALREDO_START_OF_WAL, there is a WARNING if the range begins later than the
 * oldest segment, because the file before its first segment cannot be used or
 * is missing.
 *
 * The reader is allocated in the current memory context, and can be abandoned
 * at any time.  ERROR 22023 if
 * the range makes no sense, 58P01 naming the segment if one is missing, XX001
 * if WAL is broken.
 */
extern WalredoReader *walredo_reader_begin(const char *directory,
										   XLogRecPtr start_lsn,
										   XLogRecPtr end_lsn);

/*
 * The same with WALREDO_END_OF_WAL, for a search whose result is only an
 * addition to an error message.  The range ends wherever WAL is missing or
 * broken, without an error or a warning; the errors that remain are those of
 * walredo_source_begin() about the directories as a whole.  It is empty if
 * start_lsn is after the end of WAL.
 */
extern WalredoReader *walredo_reader_begin_search(const char *directory,
												  XLogRecPtr start_lsn);

/* A place in the WAL of some system, on a timeline: where a backup starts. */
typedef struct WalredoWalPoint
{
	uint64		system_identifier;
	TimeLineID	tli;
	XLogRecPtr	lsn;

	/*
	 * Nothing in the backup is of WAL after this LSN; or InvalidXLogRecPtr,
	 * if that is not known.
	 */
	XLogRecPtr	end_lsn;
} WalredoWalPoint;

/*
 * The same, beginning at the first of some points that is in WAL of the system
 * and on the history that is read, and from which WAL can be read to end_lsn
 * without a gap.  The history must be that of the whole backup: another
 * timeline may begin while a backup is made on its parent, and then the files
 * that are copied later have changes that the new timeline has not.  *chosen is
 * set to its index.  If there is no such point, it is set to -1, and the range
 * begins with WALREDO_START_OF_WAL.
 */
extern WalredoReader *walredo_reader_begin_at(const char *directory,
											  const WalredoWalPoint *points,
											  int npoints, XLogRecPtr end_lsn,
											  int *chosen);

/*
 * Prepares to read WAL backwards, a segment at a time.  The range ends at
 * end_lsn, and begins with the segment that holds what is before lsn, which is
 * not 0/0, or with the newest one if both are WALREDO_END_OF_WAL.  Nothing is
 * read before walredo_reader_begin_again() or walredo_reader_read_at() is
 * called.  lsn must not be after end_lsn.
 */
extern WalredoReader *walredo_reader_begin_last(const char *directory,
												XLogRecPtr lsn,
												XLogRecPtr end_lsn);

/*
 * Where the segment before such a range begins, or 0/0 if there can be none.
 */
extern XLogRecPtr walredo_reader_back_lsn(WalredoReader *reader);

/*
 * Moves the begin of such a range back by that segment, if it is there as a
 * whole, which the caller may know.  Otherwise returns false: WAL can be read
 * without a gap only from where the range begins.  Then a WARNING is raised as
 * for a range that begins with WALREDO_START_OF_WAL.
 */
extern bool walredo_reader_go_back(WalredoReader *reader, bool is_there);

/*
 * Is a point in WAL of the system and on the history that is read?
 */
extern bool walredo_reader_has_point(WalredoReader *reader,
									 const WalredoWalPoint *point);

/*
 * The same as walredo_reader_begin_search(), but reads a source of the
 * caller's, which must live as long as the reader, up to end_lsn.
 */
extern WalredoReader *walredo_reader_begin_in(struct WalredoSource *source,
											  XLogRecPtr start_lsn,
											  XLogRecPtr end_lsn);

/*
 * Moves to the next record.  Returns false at the end of the range.  The record
 * stays valid until the next call.
 */
extern bool walredo_reader_next(WalredoReader *reader);

/*
 * Allows the reader to go on after a gap.  To be called before the first call
 * of walredo_reader_next().
 *
 * The server may remove WAL while it is read.  That is an error, unless the
 * range begins with WALREDO_START_OF_WAL and this function has been called.
 * Then the reader goes on at the first LSN from which WAL can now be read up
 * to the end of the range without a gap.
 *
 * With WALREDO_START_OF_WAL, it is never an error if WAL is removed before
 * walredo_reader_begin() returns.
 */
extern void walredo_reader_allow_restart(WalredoReader *reader);

/*
 * Returns whether the last call of walredo_reader_next() went on after a gap.
 * If so, the gap is between everything that was read before and what that call
 * found, be it a record or the end of the range.  walredo_reader_first_lsn()
 * then is where WAL begins after the gap.
 */
extern bool walredo_reader_has_restarted(WalredoReader *reader);

/*
 * The record that walredo_reader_next() has found, and the LSN where it begins.
 * This is the whole record as it was logged, of xl_tot_len bytes, without page
 * headers.  Its header is valid, as far as ValidXLogRecordHeader() checks that,
 * and its checksum is right.  Nothing else in it has been checked.
 */
extern const XLogRecord *walredo_reader_record(WalredoReader *reader);
extern XLogRecPtr walredo_reader_start_lsn(WalredoReader *reader);

/*
 * How far WAL has been read: the end LSN of the last record that
 * walredo_reader_next() has found, also after it has returned false.  If it has
 * found none, this is an LSN in the range, and no record of the range begins
 * before it.
 *
 * So a reader that begins at this LSN finds exactly the records that follow
 * those that this reader has found.  In the server's WAL, this is never the LSN
 * right after the header of a page, but that of the page itself.
 */
extern XLogRecPtr walredo_reader_end_lsn(WalredoReader *reader);

/*
 * Where the range begins.  With WALREDO_START_OF_WAL, this is the first LSN
 * from which WAL can be read without a gap, and can be in the middle of a
 * record.
 */
extern XLogRecPtr walredo_reader_first_lsn(WalredoReader *reader);

/*
 * Where the range ends.  With WALREDO_END_OF_WAL in the server's WAL, this is
 * the LSN up to which WAL was known to be flushed, or replayed.
 *
 * It can be in the middle of a record, as WAL is flushed by pages, so a scan
 * that begins here would miss that record.  To read on, begin at
 * walredo_reader_end_lsn().
 */
extern XLogRecPtr walredo_reader_last_lsn(WalredoReader *reader);

/*
 * After walredo_reader_read_at() has returned false: is that because the range
 * ends before the record does?
 */
extern bool walredo_reader_is_at_end(WalredoReader *reader);

/* Is the end of the range that of a directory's WAL, wherever that is? */
extern bool walredo_reader_is_to_end(WalredoReader *reader);

/*
 * Reads on at the first record that begins at or after lsn, which must be in
 * the range, and can be before what has been read.  As walredo_reader_begin(),
 * this reads that record.
 */
extern void walredo_reader_begin_again(WalredoReader *reader, XLogRecPtr lsn);

/*
 * Reads the one record that begins exactly at lsn, wherever in the range that
 * is, before or after what has been read.  It becomes the current one, and
 * walredo_reader_next() goes on after it.
 *
 * Returns false if there is no valid record, for whatever reason: lsn is not in
 * the range, or no record begins there, WAL has been removed, or is broken.
 * Then there is no current record, and only this function and
 * walredo_reader_begin_again() may be called next.  Files that cannot be opened
 * are an ERROR as for walredo_reader_next().
 *
 * What is checked is the same as for other records, except that the record
 * before is not known, so that the link to it can only be checked not to point
 * forward.  Nothing tells a record from bytes within another record that look
 * like one, so lsn must come from someone who knows that a record begins there.
 *
 * Only the pages of the record are read, and the file of the last one is kept
 * open for the next call: see walredo_source_hold().  In a compressed
 * file, calls are fast only in ascending order.
 */
extern bool walredo_reader_read_at(WalredoReader *reader, XLogRecPtr lsn);

/*
 * The file from which the first page of the current record was read.  Returns
 * false if there is none that is known by an ID: see WalredoSegment.
 */
extern bool walredo_reader_segment_id(WalredoReader *reader,
									  struct WalredoSegmentId *id);

/*
 * A number that changes whenever WAL is read from another file than before, or
 * from the same after a change of it.  So if it is the same after two records,
 * both, and all between, are from one file, with one ID.
 */
extern uint64 walredo_reader_file_number(WalredoReader *reader);

/* The number of bytes in a segment. */
extern int	walredo_reader_segsize(WalredoReader *reader);

/* The source that is read, which must not be ended. */
extern struct WalredoSource *walredo_reader_source(WalredoReader *reader);

/*
 * Where the newest segment begins that the range ends in, as far as that is
 * known before it is read; and where the segment begins that is before lsn.
 * For reading backwards.
 */
extern XLogRecPtr walredo_reader_newest_segment(WalredoReader *reader);
extern XLogRecPtr walredo_reader_segment_before(WalredoReader *reader,
												XLogRecPtr lsn);

/*
 * Is there a file for the segment that lsn is in?  And where does the first
 * segment begin, after the one that lsn is in, of which there is one; or
 * InvalidXLogRecPtr if there is none.
 */
extern bool walredo_reader_has_segment(WalredoReader *reader, XLogRecPtr lsn);
extern XLogRecPtr walredo_reader_next_segment(WalredoReader *reader,
											  XLogRecPtr lsn);

/*
 * Is this the server's own WAL, so that an open range ends where the server is
 * now?
 */
extern bool walredo_reader_is_local(WalredoReader *reader);

/*
 * Is this WAL of the server that runs, on the timeline that it is on, so that
 * what WAL tells of is what the server has?
 */
extern bool walredo_reader_is_of_server(WalredoReader *reader);

/* The identifier of the database system whose WAL is read. */
extern uint64 walredo_reader_system(WalredoReader *reader);

/* The timeline along whose history WAL is read. */
extern TimeLineID walredo_reader_timeline(WalredoReader *reader);

/* The name of the segment file that holds, or should hold, lsn; palloc'd. */
extern char *walredo_reader_segment_name(WalredoReader *reader,
										 XLogRecPtr lsn);

/* Frees the reader and its current record. */
extern void walredo_reader_end(WalredoReader *reader);

#endif							/* WALREDO_READER_H */

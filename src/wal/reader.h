/*-------------------------------------------------------------------------
 *
 * reader.h
 *	  Reading whole WAL records from a directory of segment files.
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

typedef struct WalredoReader WalredoReader;

/* As the start of a range: where WAL without a gap up to its end begins. */
#define WALREDO_START_OF_WAL	InvalidXLogRecPtr

/* As the end of a range: as far as WAL goes. */
#define WALREDO_END_OF_WAL	PG_UINT64_MAX

/*
 * Starts reading at the first record that begins at or after start_lsn.
 *
 * directory is NULL for the running server's own pg_wal, or the path of any
 * directory that holds segment files; a relative one is taken from the data
 * directory.  Records are returned up to those that end at or before end_lsn.
 *
 * In the server's own WAL end_lsn may not be beyond what is flushed (or, on a
 * standby, replayed), and WALREDO_END_OF_WAL stands for just that.  In another
 * directory WAL that ends before end_lsn is an error, which says where it
 * ends; with WALREDO_END_OF_WAL the range goes on to the first place that
 * holds no valid record, if no later segment of the same history is there.  A
 * WARNING says where that was, unless it is the end of a segment and nothing
 * that has a later segment's name is there.  So does one if WAL seems to
 * begin where it does because of a file that cannot be used, or a gap.
 *
 * A directory may hold WAL of several timelines and systems.  WAL of this
 * server's system, on the timeline that this server is on and its ancestors,
 * is meant if there is any; else the newest timeline of the only system.
 *
 * The reader lives in the current memory context and holds no descriptor
 * between calls, so it may be abandoned at any time.  ERROR 22023 if the range
 * makes no sense, 58P01 naming the segment if one is missing, XX001 if WAL is
 * broken.
 */
extern WalredoReader *walredo_reader_begin(const char *directory,
										   XLogRecPtr start_lsn,
										   XLogRecPtr end_lsn);

/*
 * The same to the end of WAL, for a search on behalf of an error message: the
 * range ends wherever WAL is missing or broken, in silence, and is empty if
 * start_lsn is after the end.
 */
extern WalredoReader *walredo_reader_begin_search(const char *directory,
												  XLogRecPtr start_lsn);

/*
 * Moves to the next record.  False at the end of the range.  The record stays
 * valid until the next call.
 */
extern bool walredo_reader_next(WalredoReader *reader);

/*
 * The server's own WAL may be removed while it is read.  That is an error,
 * unless the range has WALREDO_START_OF_WAL and the caller says by this, before
 * the first walredo_reader_next(), that it can go on behind a gap.  Then the
 * reader goes on where WAL without a gap up to the end of the range begins now.
 * (What is removed before walredo_reader_begin() returns is never an error
 * with WALREDO_START_OF_WAL.)
 */
extern void walredo_reader_allow_restart(WalredoReader *reader);

/*
 * Did the last call of walredo_reader_next() go on behind a gap?  Then all
 * that was read before is separated by the gap from what that call found,
 * whether it found a record or the end of the range, and
 * walredo_reader_first_lsn() is where WAL begins after the gap.  It is so
 * until the next call.
 */
extern bool walredo_reader_has_restarted(WalredoReader *reader);

/*
 * The record that walredo_reader_next() found, and where it begins: the whole
 * record as it was logged, of rec->xl_tot_len bytes, page headers removed.  Its
 * checksum is right, but nothing in it has been looked at.
 */
extern const XLogRecord *walredo_reader_record(WalredoReader *reader);
extern XLogRecPtr walredo_reader_start_lsn(WalredoReader *reader);

/*
 * How far WAL has been read: where the last record that walredo_reader_next()
 * found ends, also after it has returned false.  If it has found none, a place
 * in the range before which no record begins.  So this is never in the middle
 * of a record of which a part was read: a scan that begins here sees just what
 * comes after the records that this one saw.  In the server's own WAL it is
 * before a page's header where it might be right after it.
 */
extern XLogRecPtr walredo_reader_end_lsn(WalredoReader *reader);

/*
 * Where the range begins; with WALREDO_START_OF_WAL, where WAL without a gap
 * begins, which can be in the middle of a record.
 */
extern XLogRecPtr walredo_reader_first_lsn(WalredoReader *reader);

/*
 * Where the range ends; with WALREDO_END_OF_WAL in the server's own WAL, how
 * far that was known to be on disk, or replayed.  It may be in the middle of a
 * record, as WAL is flushed by pages: a scan that begins there would miss that
 * record.  To read on, begin at walredo_reader_end_lsn().
 */
extern XLogRecPtr walredo_reader_last_lsn(WalredoReader *reader);

/* The name of the segment file that holds, or should hold, lsn; palloc'd. */
extern char *walredo_reader_segment_name(WalredoReader *reader,
										 XLogRecPtr lsn);

extern void walredo_reader_end(WalredoReader *reader);

#endif							/* WALREDO_READER_H */

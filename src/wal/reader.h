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

/* As the start of a range: where the log without a gap up to its end begins. */
#define WALREDO_START_OF_LOG	InvalidXLogRecPtr

/* As the end of a range: as far as the log goes. */
#define WALREDO_END_OF_LOG	PG_UINT64_MAX

/*
 * Starts reading at the first record that begins at or after start_lsn.
 *
 * directory is NULL for the running server's own pg_wal, or the path of any
 * directory that holds segment files; a relative one is taken from the data
 * directory.  Records are returned up to those that end at or before end_lsn.
 *
 * In the server's own log end_lsn may not be beyond what is flushed (or, on a
 * standby, replayed), and WALREDO_END_OF_LOG stands for just that.  In another
 * directory a log that ends before end_lsn is an error, which says where it
 * ends; with WALREDO_END_OF_LOG the range goes on to the first place that
 * holds no valid record, if no later segment of the same history is there.
 *
 * The reader lives in the current memory context and holds no descriptor
 * between calls, so it may be abandoned at any time.  ERROR 22023 if the range
 * makes no sense, 58P01 naming the segment if one is missing, XX001 if the log
 * is broken.
 */
extern WalredoReader *walredo_reader_begin(const char *directory,
										   XLogRecPtr start_lsn,
										   XLogRecPtr end_lsn);

/*
 * Moves to the next record.  False at the end of the range.  The record stays
 * valid until the next call.
 */
extern bool walredo_reader_next(WalredoReader *reader);

/*
 * The record that walredo_reader_next() found, and where it begins and ends:
 * the whole record as it was logged, of rec->xl_tot_len bytes, page headers
 * removed.  Its checksum is right, but nothing in it has been looked at.
 */
extern const XLogRecord *walredo_reader_record(WalredoReader *reader);
extern XLogRecPtr walredo_reader_start_lsn(WalredoReader *reader);
extern XLogRecPtr walredo_reader_end_lsn(WalredoReader *reader);

/* Where the range begins; with WALREDO_START_OF_LOG, where that was. */
extern XLogRecPtr walredo_reader_first_lsn(WalredoReader *reader);

/*
 * Where the range ends; with WALREDO_END_OF_LOG in the server's own log, where
 * that was.
 */
extern XLogRecPtr walredo_reader_last_lsn(WalredoReader *reader);

/* The name of the segment file that holds, or should hold, lsn; palloc'd. */
extern char *walredo_reader_segment_name(WalredoReader *reader,
										 XLogRecPtr lsn);

extern void walredo_reader_end(WalredoReader *reader);

#endif							/* WALREDO_READER_H */

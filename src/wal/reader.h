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

#include "access/xlogreader.h"

typedef struct WalredoReader WalredoReader;

/*
 * Starts reading at the first record that begins at or after start_lsn.
 *
 * directory is NULL for the running server's own pg_wal, or the path of any
 * directory that holds segment files.  Records are returned up to those that
 * end at or before end_lsn.  The reader lives in the current memory context,
 * and its file is closed by walredo_reader_end() or at the end of the
 * (sub)transaction.  ERROR 22023 if the range makes no sense, 58P01 naming
 * the segment if one is missing, XX001 if the log is broken.
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
 * The record that walredo_reader_next() found: the server's own decoded form
 * (ReadRecPtr is the record's start, EndRecPtr its end), and the whole record
 * as it was logged, of rec->xl_tot_len bytes, page headers removed.
 */
extern XLogReaderState *walredo_reader_state(WalredoReader *reader);
extern const XLogRecord *walredo_reader_record(WalredoReader *reader);

extern void walredo_reader_end(WalredoReader *reader);

#endif							/* WALREDO_READER_H */

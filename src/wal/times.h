/*-------------------------------------------------------------------------
 *
 * times.h
 *	  From a time to an LSN.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/wal/times.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_TIMES_H
#define WALREDO_TIMES_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "datatype/timestamp.h"

/*
 * Returns the end LSN of the last record, in the order of WAL, that ends a
 * transaction at or before a time: a commit or an abort, also of a prepared
 * transaction.  The time is the one in the record.  Times in WAL need not be in
 * order, as a transaction takes the time before it writes the record, and
 * clocks can be set back.
 *
 * WAL is that of directory, as for walredo_reader_begin().  It is read from its
 * end backwards, segment by segment, so the time that this takes depends on how
 * long ago the time is.
 *
 * ERROR 58P01 if all ends of transactions that WAL has are later.  ERROR 22023
 * if the time is after the end of WAL, so that the result could be another once
 * there is more.  The WAL of a server that is not in recovery goes on until
 * now; other WAL goes on until the last end of a transaction in it.
 */
extern XLogRecPtr walredo_lsn_of_time(const char *directory, TimestampTz at);

#endif							/* WALREDO_TIMES_H */

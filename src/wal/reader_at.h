/*-------------------------------------------------------------------------
 *
 * reader_at.h
 *	  Beginning to read WAL at the first of some points.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/wal/reader_at.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_READER_AT_H
#define WALREDO_READER_AT_H

#include "postgres.h"

#include "miscadmin.h"
#include "wal/reader.h"

/* A place in the WAL of some system, on a timeline. */
typedef struct WalredoWalPoint
{
	uint64		system_identifier;
	TimeLineID	tli;
	XLogRecPtr	lsn;
} WalredoWalPoint;

static inline WalredoReader *
walredo_reader_begin_at(const char *directory, const WalredoWalPoint *points,
						int npoints, XLogRecPtr end_lsn, int *chosen)
{
	WalredoReader *reader = walredo_reader_begin(directory,
												 WALREDO_START_OF_WAL,
												 end_lsn);

	*chosen = -1;
	for (int i = 0; i < npoints; i++)
	{
		if (points[i].system_identifier != walredo_reader_system(reader) ||
			points[i].tli > walredo_reader_timeline(reader) ||
			points[i].lsn < walredo_reader_first_lsn(reader))
			continue;
		walredo_reader_end(reader);
		*chosen = i;
		return walredo_reader_begin(directory, points[i].lsn, end_lsn);
	}
	return reader;
}

#endif							/* WALREDO_READER_AT_H */

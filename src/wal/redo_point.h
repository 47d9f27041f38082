/*-------------------------------------------------------------------------
 *
 * redo_point.h
 *	  From where on WAL has an image of every page that it changes.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/wal/redo_point.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_REDO_POINT_H
#define WALREDO_REDO_POINT_H

#include "postgres.h"

#include "access/xlogdefs.h"
#include "wal/reader.h"

/*
 * Returns the redo point of the last checkpoint whose redo point is at or
 * before lsn, and since which the server has written full pages.  Every page
 * that a record from there up to lsn, or after it, changes has an image in WAL
 * from there on, or is initialized, before any other change of it.
 *
 * The reader's range must begin with WALREDO_START_OF_WAL.  It is searched
 * backwards from lsn, a segment at a time.  If there is no such checkpoint,
 * returns where the range begins.  The caller has to go on with
 * walredo_reader_begin_again().
 */
extern XLogRecPtr walredo_find_redo_point(WalredoReader *reader,
										  XLogRecPtr lsn);

#endif							/* WALREDO_REDO_POINT_H */

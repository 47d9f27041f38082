/*-------------------------------------------------------------------------
 *
 * rows.h
 *	  The rows of tables, as they were at an LSN.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/rows/rows.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_ROWS_H
#define WALREDO_ROWS_H

#include "postgres.h"

#include "access/tupdesc.h"
#include "record/tag.h"
#include "utils/relcache.h"

typedef struct WalredoRows WalredoRows;

/* ERROR unless WAL has the rows of a relation, or of its partitions. */
extern void walredo_check_has_rows(Relation rel);

/* ERROR 42501 unless the caller may read a relation, if it exists. */
extern void walredo_check_may_select(Oid relid);

/*
 * Begins to return the rows of a relation that a snapshot at lsn, which can be
 * WALREDO_END_OF_WAL, would have seen: of a table, a materialized view, or all
 * partitions of a partitioned table; as rows of the relation's own type,
 * tupdesc, which must live as long as the result.
 *
 * If file is not NULL, it is the address of any block of the file to be read,
 * which can be one that the relation, or another one, had once; relid can then
 * be InvalidOid, and tupdesc any.
 *
 * WAL is that of directory, as for walredo_reader_begin(); the server's own is
 * read as well, if it is of the same server.  Relations are locked as by a
 * SELECT, until the end of the transaction.
 *
 * What cannot be had is left out: a WARNING says what, and why.  With strict,
 * it is an ERROR.
 *
 * The result is allocated in the current memory context.  ERROR if the relation
 * is not of such a kind, if the caller may not read it, or if WAL does not
 * reach from before the LSN to now.
 */
extern WalredoRows *walredo_rows_begin(Oid relid, TupleDesc tupdesc,
									   const WalredoTag *file, XLogRecPtr lsn,
									   const char *directory,
									   bool strict);

/*
 * Moves to the next row.  Returns false if there are no more.  Otherwise sets
 * *values and *nulls to arrays with an element for each attribute of the row
 * type, which are valid until the next call, as is what they refer to.
 */
extern bool walredo_rows_next(WalredoRows *rows, Datum **values, bool **nulls);

/* Frees what is not memory. */
extern void walredo_rows_end(WalredoRows *rows);

#endif							/* WALREDO_ROWS_H */

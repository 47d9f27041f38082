/*-------------------------------------------------------------------------
 *
 * versions.h
 *	  The row versions that were made and ended in a range of WAL.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/rows/versions.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_ROWS_VERSIONS_H
#define WALREDO_ROWS_VERSIONS_H

#include "postgres.h"

#include "access/htup_details.h"
#include "access/xlogdefs.h"
#include "compat.h"
#include "datatype/timestamp.h"
#include "record/tag.h"
#include "storage/itemptr.h"
#include "wal/changes.h"

/* The file of a heap: its main fork. */
typedef struct WalredoVersionsFile
{
	WalredoTag	tag;			/* of any block of it */

	/*
	 * If it is the file of a TOAST table, the table, which the caller has
	 * locked; else InvalidOid.  Versions of its rows are not returned, but
	 * are what walredo_versions_fetch() makes values of.  Such files must
	 * come first in the array.
	 */
	Oid			toast_relid;

	/*
	 * Set by walredo_versions_begin().  If how_begun is not
	 * WALREDO_NOT_ENDED, a record of the range that ends at begin_lsn has
	 * made, copied or removed the file.  What WAL has of a file of this name
	 * before that is about another file, and is left out.
	 */
	WalredoPageEnd how_begun;
	XLogRecPtr	begin_lsn;
} WalredoVersionsFile;

/* A version of a row. */
typedef struct WalredoRowVersion
{
	int			file;			/* its number in the array of files */
	ItemPointerData ctid;

	/*
	 * The transaction that has made it, and the one that has ended it; 0 if
	 * it is not known, or if the version has not ended.  These are top-level
	 * transactions, except that xmin is the tuple's own if the transaction
	 * did not commit in WAL that was read.
	 */
	TransactionId xmin;
	TransactionId xmax;

	/* When these have committed, as far as that is known. */
	bool		has_inserted_at;
	bool		has_deleted_at;
	TimestampTz inserted_at;
	TimestampTz deleted_at;

	/*
	 * The end LSNs of the records, or InvalidXLogRecPtr: the version was made
	 * before the range, or has not ended.  One of them is valid.
	 */
	XLogRecPtr	insert_lsn;
	XLogRecPtr	delete_lsn;

	/*
	 * The tuple, MAXALIGNed, of tuple_size bytes, as walredo_heap_tuple() has
	 * returned it; or NULL if it is not known.  Valid until the next version
	 * is asked for.
	 */
	HeapTupleHeader tuple;
	Size		tuple_size;
} WalredoRowVersion;

/* Row versions without tuples: how many, and why, for the first of them. */
typedef struct WalredoUnknownTuples
{
	uint64		num;
	const char *problem;		/* a sentence */
} WalredoUnknownTuples;

typedef struct WalredoVersions WalredoVersions;

/*
 * Reads WAL of a directory, as for walredo_reader_begin(), for the versions
 * that were made or ended in files, by transactions that have committed, in
 * records that end after start_lsn and at or before end_lsn.  A commit after
 * end_lsn does not count.  The range is as for walredo_reader_begin(), and so
 * are the errors, but WAL is read from before start_lsn, if it is there, so
 * that the pages can be rebuilt.
 *
 * The array of files must live as long as the result, which is allocated in the
 * current memory context.
 *
 * ERROR 54000 if the transactions take more than half of maintenance_work_mem;
 * walredo_versions_next() can raise it because of the chunks of TOAST tables.
 * Versions are sorted, in as much memory as that, and then in temporary files.
 */
extern WalredoVersions *walredo_versions_begin(WalredoVersionsFile *files,
											   int nfiles,
											   const char *directory,
											   XLogRecPtr start_lsn,
											   XLogRecPtr end_lsn);

/* Up to where WAL has been read: the end LSN of the last record. */
extern XLogRecPtr walredo_versions_end_lsn(const WalredoVersions *versions);

/*
 * Returns the next version, by file and ctid, and of one ctid in the order of
 * WAL.  Returns false if there are no more.
 */
extern bool walredo_versions_next(WalredoVersions *versions,
								  WalredoRowVersion *version);

/*
 * Fetches a value that is stored out of line, of a version that has been
 * returned, from the TOAST table whose file has a number.  The rest is as for
 * walredo_toast_at_fetch().
 */
extern bytea *walredo_versions_fetch(WalredoVersions *versions,
									 const WalredoRowVersion *version,
									 int toast_file,
									 const struct varatt_external *pointer,
									 const char **problem);

/* What has been returned so far without a tuple. */
extern void walredo_versions_unknown(const WalredoVersions *versions,
									 WalredoUnknownTuples *unknown);

/* Frees temporary files. */
extern void walredo_versions_end(WalredoVersions *versions);

#endif							/* WALREDO_ROWS_VERSIONS_H */

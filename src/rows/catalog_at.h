/*-------------------------------------------------------------------------
 *
 * catalog_at.h
 *	  What the catalogs of the current database said of relations at an LSN.
 *
 * A relation may have been dropped since the LSN, or have got another file, or
 * other columns.  What it had then is in the rows of pg_class, pg_attribute and
 * pg_inherits as a snapshot at the LSN saw them, which are read in the same way
 * as the rows of other tables: with one pass over WAL for the three.
 *
 * What is not known of these catalogs is no error.  But then it is not known,
 * either, whether something that was not found in them was there.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/rows/catalog_at.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef WALREDO_ROWS_CATALOG_AT_H
#define WALREDO_ROWS_CATALOG_AT_H

#include "postgres.h"

#include "access/tupdesc.h"
#include "compat.h"
#include "rows/snapshot.h"

typedef struct WalredoCatalogAt WalredoCatalogAt;

/* What pg_class said of a relation. */
typedef struct WalredoRelationAt
{
	Oid			relid;
	const char *name;
	Oid			namespaceid;
	Oid			owner;
	char		kind;			/* relkind, or any other character */
	char		persistence;
	bool		is_partition;
	int16		natts;			/* relnatts */
	Oid			toastid;		/* its TOAST table, or InvalidOid */

	/*
	 * Its file, if it had one; otherwise the number is InvalidRelFileNumber.
	 * The files of relations that are in the relation map are those of now.
	 */
	RelFileLocator locator;
} WalredoRelationAt;

/*
 * Prepares to read the catalogs as of lsn, with WAL of a directory, as for
 * walredo_heap_at_begin().  Locks them in AccessShareLock mode until the end of
 * the transaction, so that their files stay.  The result is allocated in the
 * current memory context.  ERROR if WAL does not reach back to lsn.
 */
extern WalredoCatalogAt *walredo_catalog_at_begin(XLogRecPtr lsn,
												  const char *directory);

/*
 * Looks up a relation, by its OID or by its file.  *rel is set if the
 * answer is WALREDO_YES, and stays valid until the end.
 *
 * The first of these calls reads all of pg_class.  ERROR 54000 if that takes
 * more than maintenance_work_mem.
 */
extern WalredoAnswer walredo_catalog_at_relation(WalredoCatalogAt *catalog,
												 Oid relid,
												 const WalredoRelationAt **rel);
extern WalredoAnswer walredo_catalog_at_file(WalredoCatalogAt *catalog,
											 const RelFileLocator *locator,
											 const WalredoRelationAt **rel);

/*
 * Reads the columns of some relations, all at once, for the calls of the
 * following function, in place of those that were read before.  ERROR 54000 if
 * they take more than maintenance_work_mem.
 */
extern void walredo_catalog_at_read_columns(WalredoCatalogAt *catalog,
											const Oid *relids, int nrelids);

/*
 * The columns of a relation, with the dropped ones, and with the missing values
 * of those that were added to rows that had been there.  The result is palloc'd
 * in the current memory context.  Returns NULL and sets *problem to a sentence,
 * palloc'd, if they are not known, or not sound.
 *
 * Lengths, alignments and what else it takes to deform a tuple are sound in
 * themselves.  Whether the types are there, and still like that, is not
 * checked.
 */
extern TupleDesc walredo_catalog_at_columns(WalredoCatalogAt *catalog,
											Oid relid,
											const char **problem);

/*
 * The partitions of a partitioned table that are not partitioned themselves, at
 * any level, as an array palloc'd in the current memory context, in the order
 * of their OIDs at each level.  *is_complete is set to false if there may have
 * been more of them.
 *
 * Those that were being detached concurrently are left out if the server would
 * have done so in a query.
 */
extern Oid *walredo_catalog_at_partitions(WalredoCatalogAt *catalog,
										  Oid relid, int *npartitions,
										  bool *is_complete);

/*
 * The first reason why what was asked for may not have been found, as a
 * sentence that names the catalog; NULL if there is none.  It stays valid until
 * the end.
 */
extern const char *walredo_catalog_at_problem(WalredoCatalogAt *catalog);

extern void walredo_catalog_at_end(WalredoCatalogAt *catalog);

#endif							/* WALREDO_ROWS_CATALOG_AT_H */

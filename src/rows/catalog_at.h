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
#include "access/xlogdefs.h"
#include "compat.h"
#include "nodes/pg_list.h"

typedef struct WalredoCatalogAt WalredoCatalogAt;

/* A relation, as its row of pg_class said. */
typedef struct WalredoRelationAt
{
	Oid			relid;
	char	   *relname;
	char		relkind;		/* any character, if the row is damaged */
	char		relpersistence;
	Oid			relam;
	int16		natts;			/* its columns, with those that are dropped */
	RelFileLocator locator;		/* of its file; relNumber 0 if it has none */
	Oid			toast_relid;	/* or InvalidOid */
} WalredoRelationAt;

/*
 * Reads pg_class and pg_inherits as they were at lsn, with WAL of a directory,
 * as for walredo_heap_at_begin(), and prepares to read pg_attribute.  Locks the
 * three in AccessShareLock mode until the end of the transaction.  The result
 * is allocated in the current memory context.
 *
 * Raises the errors of walredo_heap_at_begin(); and ERROR 54000, as all other
 * functions here, if what has to be kept takes more than maintenance_work_mem.
 */
extern WalredoCatalogAt *walredo_catalog_at_begin(XLogRecPtr lsn,
												  const char *directory);

/*
 * A sentence that says what of pg_class and pg_inherits is not known, so that
 * what is not found in them may have been there; or NULL.
 */
extern const char *walredo_catalog_at_problem(WalredoCatalogAt *catalog);

/*
 * Finds a relation, by its OID or by its file.  A relation whose file is in the
 * relation map has the file that it has now.  Returns NULL if there is none.
 * The result lives as long as catalog.
 */
extern WalredoRelationAt *walredo_catalog_at_relation(WalredoCatalogAt *catalog,
													  Oid relid);
extern WalredoRelationAt *walredo_catalog_at_file(WalredoCatalogAt *catalog,
												  const RelFileLocator *file);

/*
 * The attributes of a relation, with dropped ones, and with missing values; or
 * NULL, and *problem a sentence, if they are not known as a whole.  Both are
 * palloc'd in the current memory context.
 *
 * Lengths, alignments and what else it takes to deform a tuple are possible
 * ones.  Whether the types exist any more, and are like that, is not checked.
 */
extern TupleDesc walredo_catalog_at_tupdesc(WalredoCatalogAt *catalog,
											Oid relid, const char **problem);

/*
 * The OIDs of the partitions of a partitioned table that have no partitions, in
 * their order at each level.  Those that were being detached concurrently are
 * left out, if a query would have done so.
 */
extern List *walredo_catalog_at_leaves(WalredoCatalogAt *catalog, Oid relid);

extern void walredo_catalog_at_end(WalredoCatalogAt *catalog);

#endif							/* WALREDO_ROWS_CATALOG_AT_H */

/*-------------------------------------------------------------------------
 *
 * catalog_at.h
 *	  What the catalogs of the current database said at an LSN.
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
#include "rows/snapshot.h"

typedef struct WalredoCatalogAt WalredoCatalogAt;

/* A relation, as its row of pg_class said. */
typedef struct WalredoRelationAt
{
	Oid			relid;
	char	   *relname;
	char		relkind;
	char		relpersistence;
	Oid			relam;
	RelFileLocator locator;		/* of its file; relNumber 0 if it has none */
	Oid			toast_relid;	/* or InvalidOid */
} WalredoRelationAt;

/*
 * Reads pg_class, pg_attribute and pg_inherits as they were at lsn, through
 * walredo_heap_at_begin().  The result is allocated in the current memory
 * context.  Raises its errors, and ERROR 54000 if what has to be kept takes more
 * than maintenance_work_mem; ERROR 0A000 if the file of one of these catalogs
 * was not yet what it is now.
 */
extern WalredoCatalogAt *walredo_catalog_at_begin(XLogRecPtr lsn,
												  const char *directory);

/*
 * A sentence that says what of the catalogs is not known, so that what is not
 * found may have been there; or NULL.
 */
extern const char *walredo_catalog_at_problem(WalredoCatalogAt *catalog);

/*
 * Finds a relation, by its OID or by its file.  A relation whose file is in the
 * relation map has the file that it has now.  Returns NULL if there is none.
 * The result lives as long as catalog.
 */
extern const WalredoRelationAt *walredo_catalog_at_relation(WalredoCatalogAt *catalog,
															Oid relid);
extern const WalredoRelationAt *walredo_catalog_at_file(WalredoCatalogAt *catalog,
														const RelFileLocator *locator);

/*
 * The attributes of a relation, with missing values; or NULL, and *problem a
 * sentence, if they are not known as a whole.
 */
extern TupleDesc walredo_catalog_at_tupdesc(WalredoCatalogAt *catalog,
											Oid relid, const char **problem);

/* The OIDs of the partitions of a partitioned table that have no partitions. */
extern List *walredo_catalog_at_leaves(WalredoCatalogAt *catalog, Oid relid);

extern void walredo_catalog_at_end(WalredoCatalogAt *catalog);

#endif							/* WALREDO_ROWS_CATALOG_AT_H */

/*-------------------------------------------------------------------------
 *
 * rows.c
 *	  The rows of tables, as they were at an LSN.
 *
 * Block by block, all tuples that a snapshot at the LSN sees are taken, each
 * alone: HOT chains and indexes do not matter for that, as they do not for a
 * sequential scan.
 *
 * Most tables have the file that they had at the LSN, and tuples that the
 * table's row type of today fits, because what ALTER TABLE does without a new
 * file leaves them as they are.  Otherwise, the file and the attributes are
 * those that the catalogs had at the LSN.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/rows/rows.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_class.h"
#include "catalog/pg_tablespace_d.h"
#include "compat.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "parser/parse_coerce.h"
#include "progress/progress.h"
#include "rewrite/rewriteHandler.h"
#include "rows/catalog_at.h"
#include "rows/heap_at.h"
#include "rows/heap_tuples.h"
#include "rows/rows.h"
#include "rows/toast_at.h"
#include "rows/value.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "wal/reader.h"

/* After so many warnings, the others are only counted. */
#define MAX_WARNINGS		100

/* A table whose rows are returned. */
typedef struct RowsTable
{
	const char *name;			/* for messages */
	int			file;			/* number of its file */
	int			toast_file;		/* ... and of its TOAST table's, or -1 */
	TupleDesc	tupdesc;		/* of the tuples in the file */

	/*
	 * For each attribute of the result, the number of that of the tuples,
	 * counted from 1; or 0 if there is none.
	 */
	AttrNumber *attnums;
} RowsTable;

struct WalredoRows
{
	MemoryContext context;
	MemoryContext row_context;	/* reset with each row */
	XLogRecPtr	lsn;
	const char *directory;
	TupleDesc	tupdesc;		/* of the result */
	WalredoValueChecker **checkers; /* for each of its attributes */
	Datum	   *values;			/* of the result */
	bool	   *nulls;
	WalredoHeapFile *files;
	int			nfiles;
	int			max_files;
	List	   *tables;			/* of RowsTable */
	WalredoHeapAt *heap;
	int			problem_level;	/* of what is left out: WARNING or ERROR */
	uint64		num_warnings;

	/*
	 * For each attribute of the result, how its value is computed if it is
	 * not stored, else NULL; and what that takes.  All NULL if there is none.
	 */
	ExprState **generated;
	EState	   *estate;
	TupleTableSlot *slot;

	/* Where the scan is. */
	int			table;			/* the next one */
	RowsTable  *current;		/* NULL before the first */
	WalredoHeapTuples *tuples;
	WalredoToastAt *toast;		/* NULL if there is none */
	BlockNumber nblocks;
	BlockNumber next_block;
};

/* ----------------------------------------
 * Which files
 * ----------------------------------------
 */

/*
 * Locks a relation, if it has a file, and returns its OID; or InvalidOid if it
 * has not, or does not exist.
 */
static Oid
lock_if_live(Oid relid, const RelFileLocator *locator)
{
	Relation	rel;
	bool		is_live;

	if (!OidIsValid(relid))
		return InvalidOid;
	rel = try_relation_open(relid, AccessShareLock);
	if (rel == NULL)
		return InvalidOid;
	is_live = RelFileLocatorEquals(RelationGetLocator(rel), *locator);
	relation_close(rel, is_live ? NoLock : AccessShareLock);
	return is_live ? relid : InvalidOid;
}

/*
 * Adds a file, and returns its number.  relid is the relation that it is or was
 * of, or InvalidOid.
 */
static int
add_file(WalredoRows *rows, const RelFileLocator *locator, Oid relid)
{
	WalredoHeapFile *file;

	if (rows->nfiles == rows->max_files)
	{
		rows->max_files = Max(2, rows->max_files * 2);
		rows->files = rows->files == NULL ?
			palloc(rows->max_files * sizeof(WalredoHeapFile)) :
			repalloc(rows->files, rows->max_files * sizeof(WalredoHeapFile));
	}
	file = &rows->files[rows->nfiles];
	memset(file, 0, sizeof(*file));
	file->tag = walredo_tag_of_block(locator, MAIN_FORKNUM, 0);
	file->relid = lock_if_live(relid, locator);
	return rows->nfiles++;
}

static RowsTable *
add_table(WalredoRows *rows, const char *name, const RelFileLocator *locator,
		  Oid relid, TupleDesc tupdesc)
{
	RowsTable  *table = palloc0(sizeof(RowsTable));

	table->name = pstrdup(name);
	table->tupdesc = tupdesc;
	table->file = add_file(rows, locator, relid);
	table->toast_file = -1;
	rows->tables = lappend(rows->tables, table);
	return table;
}

/* ERROR unless a relation is one whose rows are in WAL. */
static void
check_relation(const char *name, char relkind, char relpersistence)
{
	if (!RELKIND_HAS_TABLE_AM(relkind) &&
		relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table or materialized view", name),
				 errdetail_relkind_not_supported(relkind)));
	if (relpersistence != RELPERSISTENCE_PERMANENT)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("relation \"%s\" is not logged", name),
				 errdetail("WAL has no rows of unlogged and temporary tables.")));
}

void
walredo_check_has_rows(Relation rel)
{
	check_relation(RelationGetRelationName(rel), rel->rd_rel->relkind,
				   rel->rd_rel->relpersistence);
	if (rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE &&
		rel->rd_rel->relam != HEAP_TABLE_AM_OID)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("relation \"%s\" has an unsupported access method",
						RelationGetRelationName(rel)),
				 errdetail("Only rows of the access method heap can be read.")));
}

void
walredo_check_may_select(Oid relid)
{
	char	   *name = get_rel_name(relid);

	if (name != NULL &&
		pg_class_aclcheck(relid, GetUserId(), ACL_SELECT) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV,
					   get_relkind_objtype(get_rel_relkind(relid)), name);
}

/* The attributes of the result, for tuples that have just these. */
static AttrNumber *
same_attributes(TupleDesc tupdesc)
{
	AttrNumber *attnums = palloc(Max(tupdesc->natts, 1) * sizeof(AttrNumber));

	for (int i = 0; i < tupdesc->natts; i++)
		attnums[i] = TupleDescAttr(tupdesc, i)->attisdropped ? 0 : i + 1;
	return attnums;
}

/* The attribute of a name, or 0. */
static AttrNumber
find_attribute(TupleDesc tupdesc, const char *name)
{
	for (int i = 0; i < tupdesc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(tupdesc, i);

		if (!att->attisdropped && strcmp(NameStr(att->attname), name) == 0)
			return i + 1;
	}
	return 0;
}

/*
 * Finds the attributes of the result in the tuples of a table, of which the
 * attributes as of the LSN are known.  In tuples of the relation that the
 * result is of, they have the same numbers; in others, the same names.  If it
 * is of a partitioned table, parent has the columns of that as of the LSN.
 */
static AttrNumber *
match_attributes(WalredoRows *rows, const char *name, TupleDesc tupdesc,
				 bool same_relation, TupleDesc parent)
{
	TupleDesc	result = rows->tupdesc;
	AttrNumber *attnums = palloc0(Max(result->natts, 1) * sizeof(AttrNumber));

	for (int i = 0; i < result->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(result, i);
		Form_pg_attribute source;
		bool		is_new;		/* the column has been added since */

		if (att->attisdropped)
			continue;
		is_new = i >= (parent != NULL ? parent : tupdesc)->natts;
		if (parent != NULL && !is_new)
		{
			Form_pg_attribute then = TupleDescAttr(parent, i);

			attnums[i] = find_attribute(tupdesc, NameStr(then->attname));
		}
		else if (parent == NULL && !same_relation)
			attnums[i] = find_attribute(tupdesc, NameStr(att->attname));
		else if (!is_new)
			attnums[i] = i + 1;
		if (attnums[i] == 0 &&
			(parent != NULL ? !is_new : !same_relation))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("relation \"%s\" had no column \"%s\" at %X/%X",
							name, NameStr(att->attname),
							LSN_FORMAT_ARGS(rows->lsn)),
					 errhint("Specify a row type whose columns the relation had.")));
		if (attnums[i] == 0)
			continue;
		source = TupleDescAttr(tupdesc, attnums[i] - 1);
		if (source->atttypid != att->atttypid &&
			!IsBinaryCoercible(source->atttypid, att->atttypid))
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" of relation \"%s\" had another type at %X/%X",
							NameStr(att->attname), name,
							LSN_FORMAT_ARGS(rows->lsn)),
					 errdetail("It was of type %s then, and the row type has %s.",
							   format_type_extended(source->atttypid,
													source->atttypmod,
													FORMAT_TYPE_ALLOW_INVALID |
													FORMAT_TYPE_TYPEMOD_GIVEN),
							   format_type_with_typemod(att->atttypid,
														att->atttypmod)),
					 errhint("Specify the address of the file, as a walredo_tag, and a row type that has the column as it was.")));

		/* A catalog's page can say what is not so of any type. */
		if (source->attisdropped || source->attlen != att->attlen ||
			source->attbyval != att->attbyval ||
			(source->atttypid == att->atttypid &&
			 source->attalign != att->attalign))
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("column \"%s\" of relation \"%s\" was not stored as values of type %s at %X/%X",
							NameStr(att->attname), name,
							format_type_be(att->atttypid),
							LSN_FORMAT_ARGS(rows->lsn))));
	}
	return attnums;
}

/* Adds a table with the file that it has now. */
static void
add_live_table(WalredoRows *rows, Oid relid)
{
	Relation	rel = relation_open(relid, AccessShareLock);
	Oid			toast_relid = rel->rd_rel->reltoastrelid;
	RowsTable  *table;

	table = add_table(rows, RelationGetRelationName(rel),
					  &RelationGetLocator(rel), relid,
					  CreateTupleDescCopyConstr(RelationGetDescr(rel)));

	/* The type may have changed before the table was locked. */
	table->attnums = match_attributes(rows, table->name, table->tupdesc, true,
									  NULL);
	relation_close(rel, NoLock);
	if (!OidIsValid(toast_relid))
		return;
	rel = relation_open(toast_relid, AccessShareLock);
	table->toast_file = add_file(rows, &RelationGetLocator(rel), toast_relid);
	relation_close(rel, NoLock);
}

/* The columns of a relation, which have been read.  ERROR if not all are. */
static TupleDesc
get_columns_at(WalredoRows *rows, WalredoCatalogAt *catalog,
			   const WalredoRelationAt *rel)
{
	const char *problem;
	TupleDesc	tupdesc = walredo_catalog_at_columns(catalog, rel->relid,
													 &problem);

	if (tupdesc == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("could not find the columns that relation \"%s\" had at %X/%X",
						rel->name, LSN_FORMAT_ARGS(rows->lsn)),
				 errdetail_internal("%s", problem)));
	return tupdesc;
}

/*
 * Adds a table with the file and the columns that it had at the LSN.  Its
 * columns have been read.
 */
static void
add_table_at(WalredoRows *rows, WalredoCatalogAt *catalog,
			 const WalredoRelationAt *rel, Oid result_relid, TupleDesc parent)
{
	const WalredoRelationAt *toast;
	TupleDesc	tupdesc;
	RowsTable  *table;

	if (rel->kind == RELKIND_FOREIGN_TABLE)
	{
		ereport(rows->problem_level,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("partition \"%s\" is left out", rel->name),
				 errdetail("It is a foreign table, of which WAL has no rows.")));
		return;
	}
	check_relation(rel->name, rel->kind, rel->persistence);
	tupdesc = get_columns_at(rows, catalog, rel);
	table = add_table(rows, rel->name, &rel->locator, rel->relid, tupdesc);
	table->attnums = match_attributes(rows, rel->name, tupdesc,
									  rel->relid == result_relid, parent);
	if (OidIsValid(rel->toastid) &&
		walredo_catalog_at_relation(catalog, rel->toastid,
									&toast) == WALREDO_YES)
		table->toast_file = add_file(rows, &toast->locator, toast->relid);
}

/* Adds the partitions that a partitioned table had. */
static void
add_partitions_at(WalredoRows *rows, WalredoCatalogAt *catalog,
				  const WalredoRelationAt *parent)
{
	TupleDesc	tupdesc;
	bool		is_complete;
	int			n;
	Oid		   *relids = walredo_catalog_at_partitions(catalog, parent->relid,
													   &n, &is_complete);

	if (!is_complete)
		ereport(rows->problem_level,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("rows of partitions of \"%s\" may be missing",
						parent->name),
				 errdetail_internal("%s",
									walredo_catalog_at_problem(catalog))));
	relids = repalloc_huge(relids, (n + 1) * sizeof(Oid));
	relids[n] = parent->relid;
	walredo_catalog_at_read_columns(catalog, relids, n + 1);
	tupdesc = get_columns_at(rows, catalog, parent);
	for (int i = 0; i < n; i++)
	{
		const WalredoRelationAt *leaf;

		if (walredo_catalog_at_relation(catalog, relids[i],
										&leaf) == WALREDO_YES)
			add_table_at(rows, catalog, leaf, parent->relid, tupdesc);
		else
			ereport(rows->problem_level,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("partition with OID %u of \"%s\" is left out",
							relids[i], parent->name),
					 errdetail("Its row of pg_class cannot be had.")));
	}
}

/* Adds the tables that a relation was made of at the LSN. */
static void
add_relation_at(WalredoRows *rows, Oid relid)
{
	WalredoCatalogAt *catalog = walredo_catalog_at_begin(rows->lsn,
														 rows->directory);
	const WalredoRelationAt *rel;

	if (walredo_catalog_at_relation(catalog, relid, &rel) != WALREDO_YES)
	{
		const char *problem = walredo_catalog_at_problem(catalog);

		if (problem != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("could not find the file that relation \"%s\" had at %X/%X",
							get_rel_name(relid), LSN_FORMAT_ARGS(rows->lsn)),
					 errdetail_internal("%s", problem),
					 errhint("If you know the file, specify its address. walredo_files() shows files.")));
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"%s\" did not exist at %X/%X",
						get_rel_name(relid), LSN_FORMAT_ARGS(rows->lsn)),
				 errdetail("The catalogs of that time do not have it."),
				 errhint("If another relation had the name then, specify the address of its file, which walredo_files() shows.")));
	}
	if (rel->kind == RELKIND_PARTITIONED_TABLE)
		add_partitions_at(rows, catalog, rel);
	else
	{
		walredo_catalog_at_read_columns(catalog, &relid, 1);
		add_table_at(rows, catalog, rel, relid, NULL);
	}
	walredo_catalog_at_end(catalog);
}

/*
 * Is the WAL that a directory has that of this server?  Sets *end_lsn to the
 * end of it, as it is now.
 */
static bool
is_wal_of_server(const char *directory, XLogRecPtr *end_lsn)
{
	WalredoReader *reader = walredo_reader_begin(directory,
												 WALREDO_START_OF_WAL,
												 WALREDO_END_OF_WAL);
	bool		result = walredo_reader_is_of_server(reader);

	*end_lsn = walredo_reader_last_lsn(reader);
	walredo_reader_end(reader);
	return result;
}

/*
 * Adds the table that had a file at the LSN.  Returns false and sets *problem
 * if it is not found.
 */
static bool
add_file_at(WalredoRows *rows, const RelFileLocator *locator, Oid result_relid,
			const char **problem)
{
	WalredoCatalogAt *catalog = walredo_catalog_at_begin(rows->lsn,
														 rows->directory);
	const WalredoRelationAt *rel;
	bool		found;

	found = walredo_catalog_at_file(catalog, locator, &rel) == WALREDO_YES;
	if (found)
	{
		Oid			relid = rel->relid;

		walredo_check_may_select(relid);
		walredo_catalog_at_read_columns(catalog, &relid, 1);
		add_table_at(rows, catalog, rel, result_relid, NULL);
	}
	else
	{
		const char *reason = walredo_catalog_at_problem(catalog);

		*problem = reason != NULL ? pstrdup(reason) :
			"No relation had this file then, according to the catalogs of that time.";
	}
	walredo_catalog_at_end(catalog);
	return found;
}

/*
 * Adds the file of a tag.  result_relid is the relation that the result is of,
 * if there is one.
 */
static void
add_given_file(WalredoRows *rows, const WalredoTag *file, Oid result_relid)
{
	RelFileLocator locator = walredo_tag_locator(file);
	const char *problem;
	XLogRecPtr	end_lsn;
	RowsTable  *table;

	if (file->kind != WALREDO_TAG_REL || file->forknum != MAIN_FORKNUM)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there are no rows in the file of %s",
						walredo_tag_to_cstring(file)),
				 errdetail("Rows are in the main fork of a table.")));
	if (file->dbOid != MyDatabaseId && file->spcOid != GLOBALTABLESPACE_OID)
		problem = "The file is of another database.";
	else if (!is_wal_of_server(rows->directory, &end_lsn))
		problem = "WAL is of another server.";
	else if (add_file_at(rows, &locator, result_relid, &problem))
		return;
	ereport(rows->problem_level,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("could not find out which columns the rows of file \"%s\" have",
					walredo_relation_path(locator, MAIN_FORKNUM)),
			 errdetail_internal("%s", problem),
			 errhint("They are read as rows of the type that was specified, without values that are stored out of line.")));
	table = add_table(rows, walredo_relation_path(locator, MAIN_FORKNUM),
					  &locator, InvalidOid, rows->tupdesc);
	table->attnums = same_attributes(rows->tupdesc);
}

/* Would a snapshot at the LSN see the row of pg_class that there is now? */
static bool
has_row_since(WalredoRows *rows, Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	bool		result;

	if (!HeapTupleIsValid(tuple))
		return false;
	result = walredo_snapshot_sees(walredo_heap_at_snapshot(rows->heap),
								   tuple->t_data, true) == WALREDO_YES;
	ReleaseSysCache(tuple);
	return result;
}

/*
 * Did the relations have the files at the LSN that they have now?  A file may
 * have existed before the LSN, made by a transaction that has committed after
 * it.
 */
static bool
files_are_older(WalredoRows *rows)
{
	for (int i = 0; i < rows->nfiles; i++)
	{
		const WalredoHeapFile *file = &rows->files[i];

		if (file->created_lsn != InvalidXLogRecPtr ||
			(OidIsValid(file->relid) && !has_row_since(rows, file->relid)))
			return false;
	}
	return true;
}

/*
 * ERROR if a file of the catalogs as of the LSN did not exist then.  So it is
 * with relations that are in the relation map, of which only that of now is
 * known, and in a database that has been copied since.
 */
static void
check_files_existed(WalredoRows *rows)
{
	ListCell   *lc;

	foreach(lc, rows->tables)
	{
		RowsTable  *table = lfirst(lc);

		XLogRecPtr	created_lsn = rows->files[table->file].created_lsn;

		if (created_lsn == InvalidXLogRecPtr)
			continue;
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("relation \"%s\" had another file at %X/%X",
						table->name, LSN_FORMAT_ARGS(rows->lsn)),
				 errdetail("The file of now was created, or copied, at %X/%X, and the catalogs do not tell which one it was before.",
						   LSN_FORMAT_ARGS(created_lsn)),
				 errhint("Specify the address of the file of then, which walredo_files() shows.")));
	}
}

/*
 * Finds the files of a relation, and reads WAL for them.
 */
static void
begin_relation(WalredoRows *rows, Oid relid)
{
	Relation	rel = relation_open(relid, AccessShareLock);
	char		relkind = rel->rd_rel->relkind;

	walredo_check_has_rows(rel);
	relation_close(rel, NoLock);
	walredo_check_may_select(relid);

	if (relkind == RELKIND_PARTITIONED_TABLE)
		add_relation_at(rows, relid);
	else
		add_live_table(rows, relid);
	rows->heap = walredo_heap_at_begin(rows->files, rows->nfiles, rows->lsn,
									   rows->directory);
	if (relkind != RELKIND_PARTITIONED_TABLE && files_are_older(rows))
		return;
	if (relkind == RELKIND_PARTITIONED_TABLE)
	{
		check_files_existed(rows);
		return;
	}
	walredo_heap_at_end(rows->heap);
	rows->heap = NULL;
	rows->nfiles = 0;
	rows->tables = NIL;
	add_relation_at(rows, relid);
	rows->heap = walredo_heap_at_begin(rows->files, rows->nfiles, rows->lsn,
									   rows->directory);
	check_files_existed(rows);
}

/* Prepares to compute the virtual columns of a relation, if it has any. */
static void
prepare_virtual_columns(WalredoRows *rows, Oid relid)
{
	Relation	rel = NULL;

	for (int i = 0; i < rows->tupdesc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(rows->tupdesc, i);
		Node	   *expr;

		if (att->attisdropped || !walredo_is_virtual_column(att))
			continue;
		if (rel == NULL)
		{
			rel = relation_open(relid, AccessShareLock);
			rows->generated = palloc0(rows->tupdesc->natts *
									  sizeof(ExprState *));
			rows->estate = CreateExecutorState();
			rows->slot = MakeSingleTupleTableSlot(rows->tupdesc,
												  &TTSOpsVirtual);
		}
		expr = walredo_generation_expression(rel, i + 1);
		rows->generated[i] = ExecPrepareExpr((Expr *) expr, rows->estate);
	}
	if (rel != NULL)
		relation_close(rel, NoLock);
}

WalredoRows *
walredo_rows_begin(Oid relid, TupleDesc tupdesc, const WalredoTag *file,
				   XLogRecPtr lsn, const char *directory, bool strict)
{
	WalredoRows *rows = palloc0(sizeof(WalredoRows));
	int			natts = Max(tupdesc->natts, 1);

	walredo_progress_begin_phase(WALREDO_PHASE_READING_WAL, relid,
								 MAIN_FORKNUM, 0);
	rows->context = CurrentMemoryContext;
	rows->row_context = AllocSetContextCreate(CurrentMemoryContext,
											  "walredo row",
											  ALLOCSET_DEFAULT_SIZES);
	rows->lsn = lsn;
	if (lsn == WALREDO_END_OF_WAL)
		(void) is_wal_of_server(directory, &rows->lsn);
	rows->directory = directory;
	rows->problem_level = strict ? ERROR : WARNING;
	rows->tupdesc = tupdesc;
	rows->values = palloc(natts * sizeof(Datum));
	rows->nulls = palloc(natts * sizeof(bool));
	rows->checkers = palloc0(natts * sizeof(WalredoValueChecker *));
	for (int i = 0; i < tupdesc->natts; i++)
	{
		if (!TupleDescAttr(tupdesc, i)->attisdropped)
			rows->checkers[i] =
				walredo_value_checker(TupleDescAttr(tupdesc, i)->atttypid);
	}
	if (file != NULL)
	{
		if (OidIsValid(relid))
			walredo_check_may_select(relid);
		add_given_file(rows, file, relid);
		rows->heap = walredo_heap_at_begin(rows->files, rows->nfiles,
										   rows->lsn, directory);
	}
	else
		begin_relation(rows, relid);
	if (OidIsValid(relid))
		prepare_virtual_columns(rows, relid);
	return rows;
}

void
walredo_rows_end(WalredoRows *rows)
{
	if (rows->heap != NULL)
		walredo_heap_at_end(rows->heap);
	rows->heap = NULL;
}

/* ----------------------------------------
 * Rows
 * ----------------------------------------
 */

/* Counts a warning, and returns whether it is to be raised. */
static bool
count_warning(WalredoRows *rows)
{
	return ++rows->num_warnings <= MAX_WARNINGS;
}

static void
warn_of_block(WalredoRows *rows, BlockNumber blkno, const char *problem)
{
	if (count_warning(rows))
		ereport(rows->problem_level,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("rows of block %u of \"%s\" may be missing",
						blkno, rows->current->name),
				 errdetail_internal("%s", problem)));
}

static void
warn_of_tuple(WalredoRows *rows, const char *problem)
{
	if (count_warning(rows))
		ereport(rows->problem_level,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("row (%u,%u) of \"%s\" is left out",
						rows->tuples->blkno, rows->tuples->offnum,
						rows->current->name),
				 errdetail_internal("%s", problem)));
}

/* Ends the scan of the current table, if there is one. */
static void
end_table(WalredoRows *rows)
{
	if (rows->current == NULL)
		return;
	walredo_heap_tuples_end(rows->tuples);
	rows->tuples = NULL;
	if (rows->toast != NULL)
	{
		walredo_toast_at_end(rows->toast);
		walredo_heap_at_release(rows->heap, rows->current->toast_file);
	}
	rows->toast = NULL;
	walredo_heap_at_release(rows->heap, rows->current->file);
	rows->current = NULL;
}

/* Moves to the next table.  Returns false if there is none. */
static bool
next_table(WalredoRows *rows)
{
	RowsTable  *table;
	bool		is_complete;

	end_table(rows);
	if (rows->table == list_length(rows->tables))
		return false;
	rows->current = table = list_nth(rows->tables, rows->table++);
	rows->tuples = walredo_heap_tuples_begin(rows->heap, table->file,
											 table->tupdesc);
	if (table->toast_file >= 0)
	{
		Oid			relid = rows->files[table->toast_file].relid;

		rows->toast = walredo_toast_at_begin(rows->heap, table->toast_file,
											 relid);
	}
	rows->nblocks = walredo_heap_at_blocks(rows->heap, table->file,
										   &is_complete);
	rows->next_block = 0;
	walredo_progress_begin_phase(WALREDO_PHASE_RETURNING_ROWS,
								 rows->files[table->file].relid, MAIN_FORKNUM,
								 rows->nblocks);
	if (!is_complete && count_warning(rows))
		ereport(rows->problem_level,
				(errcode(ERRCODE_UNDEFINED_FILE),
				 errmsg("rows of \"%s\" may be missing from block %u on",
						table->name, rows->nblocks),
				 errdetail("The server does not have the file any more, and neither WAL nor a backup says how many blocks it had.")));
	return true;
}

/*
 * Makes a value one that can be returned: whole, in memory, and sound.  Returns
 * false and sets *problem if that is not possible.
 */
static bool
take_value(WalredoRows *rows, int i, Form_pg_attribute att, Datum *value,
		   const char **problem)
{
	if (att->attlen == -1)
	{
		struct varlena *datum = (struct varlena *) DatumGetPointer(*value);

		if (VARATT_IS_EXTERNAL(datum))
		{
			struct varatt_external pointer;

			if (rows->toast == NULL)
			{
				*problem = psprintf("The value of column \"%s\" is stored out of line, and the TOAST table is not known.",
									NameStr(att->attname));
				return false;
			}
			VARATT_EXTERNAL_GET_POINTER(pointer, datum);
			datum = (struct varlena *)
				walredo_toast_at_fetch(rows->toast, &pointer, problem);
		}
		else if (VARATT_IS_COMPRESSED(datum))
			datum = (struct varlena *)
				walredo_decompress_datum(datum, VARSIZE(datum), problem);
		if (datum == NULL)
		{
			*problem = psprintf("The value of column \"%s\" cannot be had: %s",
								NameStr(att->attname), *problem);
			return false;
		}
		*value = PointerGetDatum(datum);
	}
	if (!walredo_check_value(rows->checkers[i], *value, problem))
	{
		*problem = psprintf("The value of column \"%s\" is invalid: %s",
							NameStr(att->attname), *problem);
		return false;
	}
	return true;
}

/* Computes the virtual columns of the row. */
static void
compute_virtual_columns(WalredoRows *rows)
{
	ExprContext *econtext = GetPerTupleExprContext(rows->estate);
	TupleTableSlot *slot = ExecClearTuple(rows->slot);
	int			natts = rows->tupdesc->natts;

	ResetExprContext(econtext);
	memcpy(slot->tts_values, rows->values, natts * sizeof(Datum));
	memcpy(slot->tts_isnull, rows->nulls, natts * sizeof(bool));
	ExecStoreVirtualTuple(slot);
	econtext->ecxt_scantuple = slot;
	for (int i = 0; i < natts; i++)
	{
		if (rows->generated[i] != NULL)
			rows->values[i] = ExecEvalExpr(rows->generated[i], econtext,
										   &rows->nulls[i]);
	}
}

/*
 * Is there room in a row for a value that was taken?  No tuple can be larger,
 * but many values can be stored as one and the same.
 */
static bool
has_room(WalredoRows *rows, int i, Size *row_size, const char **problem)
{
	if (TupleDescAttr(rows->tupdesc, i)->attlen == -1)
		*row_size += VARSIZE_ANY(DatumGetPointer(rows->values[i]));
	if (AllocSizeIsValid(*row_size))
		return true;
	*problem = pstrdup("The row has more than 1 GB.");
	return false;
}

/*
 * Makes a row of the result out of the current tuple.  Returns false, and has
 * warned, if it cannot be made.
 */
static bool
make_row(WalredoRows *rows)
{
	RowsTable  *table = rows->current;
	MemoryContext old_context;
	Size		row_size = 0;
	const char *problem;

	MemoryContextReset(rows->row_context);
	old_context = MemoryContextSwitchTo(rows->row_context);
	for (int i = 0; i < rows->tupdesc->natts; i++)
	{
		AttrNumber	attnum = table->attnums[i];

		rows->nulls[i] = true;
		rows->values[i] = (Datum) 0;
		if (attnum == 0)
		{
			/* The column was added since. */
			if (!TupleDescAttr(rows->tupdesc, i)->attisdropped)
				rows->values[i] = getmissingattr(rows->tupdesc, i + 1,
												 &rows->nulls[i]);
			continue;
		}
		rows->nulls[i] = rows->tuples->nulls[attnum - 1];
		if (rows->nulls[i])
			continue;
		rows->values[i] = rows->tuples->values[attnum - 1];
		if (!take_value(rows, i, TupleDescAttr(rows->tupdesc, i),
						&rows->values[i], &problem) ||
			!has_room(rows, i, &row_size, &problem))
		{
			warn_of_tuple(rows, problem);
			MemoryContextSwitchTo(old_context);
			return false;
		}
	}
	if (rows->generated != NULL)
		compute_virtual_columns(rows);
	MemoryContextSwitchTo(old_context);
	return true;
}

bool
walredo_rows_next(WalredoRows *rows, Datum **values, bool **nulls)
{
	for (;;)
	{
		const char *problem;

		while (rows->current != NULL && walredo_heap_tuples_next(rows->tuples))
		{
			if (rows->tuples->problem != NULL)
			{
				warn_of_tuple(rows, rows->tuples->problem);
				continue;
			}
			if (make_row(rows))
			{
				*values = rows->values;
				*nulls = rows->nulls;
				return true;
			}
		}
		if (rows->current == NULL || rows->next_block == rows->nblocks)
		{
			MemoryContext old_context = MemoryContextSwitchTo(rows->context);
			bool		found = next_table(rows);

			MemoryContextSwitchTo(old_context);
			if (!found)
				break;
			continue;
		}
		problem = walredo_heap_tuples_open(rows->tuples, rows->next_block);
		if (problem != NULL)
			warn_of_block(rows, rows->next_block, problem);
		rows->next_block++;
		walredo_progress_set_blocks(rows->next_block, rows->nblocks);
	}
	if (rows->num_warnings > MAX_WARNINGS)
		ereport(WARNING,
				(errmsg(UINT64_FORMAT " more rows or blocks are left out",
						rows->num_warnings - MAX_WARNINGS),
				 errdetail("The first %d were reported one by one.",
						   MAX_WARNINGS)));
	return false;
}

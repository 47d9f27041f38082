/*-------------------------------------------------------------------------
 *
 * versionfuncs.c
 *	  SQL function that returns the row versions that were made and ended in a
 *	  range of WAL.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/api/versionfuncs.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "api/api.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "page/scan.h"
#include "rows/row_json.h"
#include "rows/rows.h"
#include "rows/versions.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

WALREDO_LONG_FUNCTION(walredo_row_versions, WALREDO_COMMAND_ROW_VERSIONS)

/* A table whose row versions are returned. */
typedef struct VersionsTable
{
	struct VersionsScan *scan;
	Relation	rel;			/* locked until the end of the transaction */
	WalredoRowJson *json;
	int			toast_file;		/* of its TOAST table; -1 if it has none */
} VersionsTable;

/* What is returned. */
typedef struct VersionsScan
{
	VersionsTable *tables;
	int			ntables;

	/* Those of TOAST tables, then those of the tables, in their order. */
	WalredoVersionsFile *files;
	int			nfiles;
	int			ntoast;

	WalredoVersions *versions;
	const WalredoRowVersion *version;	/* that is being returned */

	/* What cannot be returned, and why, for the first. */
	uint64		num_unsound;	/* versions without a row */
	const char *unsound_problem;
	uint64		num_lost;		/* values that are stored out of line */
	const char *lost_problem;
} VersionsScan;

/* Fetches a value of a table.  This is a WalredoFetchValue function. */
static bytea *
fetch_value(void *arg, const struct varatt_external *pointer,
			const char **problem)
{
	const VersionsTable *table = arg;

	if (table->toast_file < 0)
	{
		*problem = "The table has no TOAST table.";
		return NULL;
	}
	return walredo_versions_fetch(table->scan->versions, table->scan->version,
								  table->toast_file, pointer, problem);
}

/* Adds the file of a relation, and returns its number. */
static int
add_file(VersionsScan *scan, Relation rel, Oid toast_relid)
{
	RelFileLocator locator = RelationGetLocator(rel);
	WalredoVersionsFile *file = &scan->files[scan->nfiles];

	file->tag = walredo_tag_of_block(&locator, MAIN_FORKNUM, 0);
	file->toast_relid = toast_relid;
	return scan->nfiles++;
}

/* Adds a table, which is locked, and the file of its TOAST table. */
static void
add_table(VersionsScan *scan, Oid relid)
{
	Relation	rel = relation_open(relid, NoLock);
	Oid			toast_relid = rel->rd_rel->reltoastrelid;
	VersionsTable *table = &scan->tables[scan->ntables];

	walredo_check_has_rows(rel);
	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
	{
		relation_close(rel, NoLock);
		return;
	}
	table->scan = scan;
	table->rel = rel;
	table->json = walredo_row_json_create(RelationGetDescr(rel),
										  rel->rd_rel->relowner, fetch_value,
										  table);
	table->toast_file = -1;
	if (OidIsValid(toast_relid))
	{
		rel = relation_open(toast_relid, AccessShareLock);
		table->toast_file = add_file(scan, rel, toast_relid);
		relation_close(rel, NoLock);
	}
	scan->ntables++;
}

/*
 * Opens a table, or all partitions of one.  They are locked until the end of
 * the transaction, as by a SELECT.
 */
static VersionsScan *
open_tables(Oid relid)
{
	VersionsScan *scan = palloc0(sizeof(VersionsScan));
	Relation	rel = try_relation_open(relid, AccessShareLock);
	List	   *relids;
	ListCell   *lc;

	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	relation_close(rel, NoLock);
	walredo_check_may_select(relid);
	relids = get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE ?
		find_all_inheritors(relid, AccessShareLock, NULL) :
		list_make1_oid(relid);
	scan->tables = palloc0(list_length(relids) * sizeof(VersionsTable));
	scan->files = palloc0(list_length(relids) * 2 *
						  sizeof(WalredoVersionsFile));
	foreach(lc, relids)
		add_table(scan, lfirst_oid(lc));
	scan->ntoast = scan->nfiles;
	for (int i = 0; i < scan->ntables; i++)
		(void) add_file(scan, scan->tables[i].rel, InvalidOid);
	return scan;
}

/* Copies a sentence, so that it lives until the end. */
static const char *
keep(const VersionsScan *scan, const char *problem)
{
	return MemoryContextStrdup(GetMemoryChunkContext((void *) scan), problem);
}

/* Makes the row of a version jsonb.  Returns false if it is not known. */
static bool
make_row(VersionsScan *scan, const WalredoRowVersion *version, Datum *row)
{
	int			num_lost = 0;
	const char *problem = NULL;

	if (version->tuple == NULL)
		return false;
	scan->version = version;
	if (!walredo_row_to_json(scan->tables[version->file - scan->ntoast].json,
							 version->tuple, version->tuple_size, row,
							 &num_lost, &problem))
	{
		if (scan->num_unsound++ == 0)
			scan->unsound_problem = keep(scan, problem);
		return false;
	}
	if (num_lost > 0 && scan->num_lost == 0)
		scan->lost_problem = keep(scan, problem);
	scan->num_lost += num_lost;
	return true;
}

/* The columns of a version. */
static void
set_columns(VersionsScan *scan, const WalredoRowVersion *version,
			Datum *values, bool *nulls)
{
	values[0] = PointerGetDatum(&version->ctid);
	nulls[0] = false;
	values[1] = TransactionIdGetDatum(version->xmin);
	nulls[1] = !TransactionIdIsValid(version->xmin);
	values[2] = TransactionIdGetDatum(version->xmax);
	nulls[2] = !TransactionIdIsValid(version->xmax);
	values[3] = TimestampTzGetDatum(version->inserted_at);
	nulls[3] = !version->has_inserted_at;
	values[4] = TimestampTzGetDatum(version->deleted_at);
	nulls[4] = !version->has_deleted_at;
	values[5] = LSNGetDatum(version->insert_lsn);
	nulls[5] = version->insert_lsn == InvalidXLogRecPtr;
	values[6] = LSNGetDatum(version->delete_lsn);
	nulls[6] = version->delete_lsn == InvalidXLogRecPtr;
	values[7] = (Datum) 0;
	nulls[7] = !make_row(scan, version, &values[7]);
}

/*
 * ERROR if a table has got its file after the range: names are resolved as of
 * now, so WAL is read up to where the server is now, even if the directory has
 * no WAL after the range.
 */
static void
check_files_are_older(VersionsScan *scan, const char *directory)
{
	XLogRecPtr	end_lsn = walredo_versions_end_lsn(scan->versions);
	WalredoTag *tags = palloc(Max(scan->ntables, 1) * sizeof(WalredoTag));
	WalredoTag	tag;
	XLogRecPtr	created_lsn;

	for (int i = 0; i < scan->ntables; i++)
		tags[i] = scan->files[scan->ntoast + i].tag;
	if (!walredo_find_created_file(tags, scan->ntables,
								   walredo_wal_with_local(directory), end_lsn,
								   &tag, &created_lsn))
		return;
	for (int i = 0; i < scan->ntables; i++)
	{
		if (walredo_tag_same_fork(&tag, &tags[i]))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("relation \"%s\" had another file, or did not exist, at %X/%X",
							RelationGetRelationName(scan->tables[i].rel),
							LSN_FORMAT_ARGS(end_lsn)),
					 errdetail("The file \"%s\" of the relation was created at %X/%X.",
							   walredo_relation_path(walredo_tag_locator(&tag),
													 MAIN_FORKNUM),
							   LSN_FORMAT_ARGS(created_lsn)),
					 errhint("Row versions are read from the file that a relation has now. walredo_rows_at() returns the rows that it had then.")));
	}
}

/*
 * WARNING if a table has got its file in the range, so that versions of before
 * are not in it.
 */
static void
warn_of_other_files(VersionsScan *scan)
{
	for (int i = 0; i < scan->ntables; i++)
	{
		const WalredoVersionsFile *file = &scan->files[scan->ntoast + i];

		/* The first file of a table has the number of the table's OID. */
		if (file->how_begun != WALREDO_NOT_ENDED &&
			file->tag.relNumber != RelationGetRelid(scan->tables[i].rel))
			ereport(WARNING,
					(errmsg("relation \"%s\" had another file before %X/%X",
							RelationGetRelationName(scan->tables[i].rel),
							LSN_FORMAT_ARGS(file->begin_lsn)),
					 errdetail("Row versions in an earlier file are not returned.")));
	}
}

/* WARNINGs that say what is missing in what was returned. */
static void
warn_of_missing(VersionsScan *scan)
{
	WalredoUnknownTuples unknown;

	walredo_versions_unknown(scan->versions, &unknown);
	if (unknown.num > 0)
		ereport(WARNING,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the rows of some row versions are not known"),
				 errdetail("Their number is " UINT64_FORMAT ". The first reason is: %s",
						   unknown.num, unknown.problem)));
	if (scan->num_unsound > 0)
		ereport(WARNING,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("the rows of some row versions cannot be read"),
				 errdetail("Their number is " UINT64_FORMAT ". The first reason is: %s",
						   scan->num_unsound, scan->unsound_problem)));
	if (scan->num_lost > 0)
		ereport(WARNING,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("some values that are stored out of line are not known"),
				 errdetail("Their number is " UINT64_FORMAT ". The first reason is: %s",
						   scan->num_lost, scan->lost_problem)));
}

/*
 * walredo_row_versions(relname regclass, start_lsn, end_lsn, wal_directory)
 *
 * Returns one row per row version, in the order of tables and places.
 */
static Datum
walredo_row_versions_work(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	MemoryContext row_context;
	VersionsScan *scan;
	WalredoRowVersion version;
	const char *directory;

	walredo_check_may_read_wal();
	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		return (Datum) 0;

	directory = walredo_getarg_cstring(fcinfo, 3);
	scan = open_tables(PG_GETARG_OID(0));
	walredo_progress_begin_phase(WALREDO_PHASE_READING_WAL, PG_GETARG_OID(0),
								 MAIN_FORKNUM, 0);
	scan->versions = walredo_versions_begin(scan->files, scan->nfiles,
											directory, PG_GETARG_LSN(1),
											PG_GETARG_LSN(2));
	walredo_progress_begin_phase(WALREDO_PHASE_RETURNING_ROWS,
								 PG_GETARG_OID(0), MAIN_FORKNUM, 0);
	check_files_are_older(scan, directory);
	warn_of_other_files(scan);
	row_context = AllocSetContextCreate(CurrentMemoryContext,
										"walredo row version",
										ALLOCSET_DEFAULT_SIZES);
	while (walredo_versions_next(scan->versions, &version))
	{
		MemoryContext old_context = MemoryContextSwitchTo(row_context);
		Datum		values[8];
		bool		nulls[8];

		CHECK_FOR_INTERRUPTS();
		set_columns(scan, &version, values, nulls);
		MemoryContextSwitchTo(old_context);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values,
							 nulls);
		MemoryContextReset(row_context);
	}
	warn_of_missing(scan);
	walredo_versions_end(scan->versions);
	for (int i = 0; i < scan->ntables; i++)
		relation_close(scan->tables[i].rel, NoLock);
	return (Datum) 0;
}

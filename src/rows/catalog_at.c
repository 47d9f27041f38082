/*-------------------------------------------------------------------------
 *
 * catalog_at.c
 *	  What the catalogs of the current database said of relations at an LSN.
 *
 * The catalogs are heaps, but their indexes are no help: they lead to what is
 * there now.  So each catalog is read from its first block to its last one,
 * once, when something is asked that is in it.  Rows of pg_class and of
 * pg_inherits are small, and are all kept.  Of pg_attribute, which has many
 * more of them, only the rows of those relations are kept whose columns are
 * asked for.
 *
 * The rows come from pages that are not trusted.  A length or an alignment that
 * no type can have would lead the functions astray that deform tuples with it.
 * So would a missing value, which is in an array; this is taken apart by hand.
 *
 * If a catalog itself has been rewritten since the LSN, the file that it had
 * then is not known, and so nothing is found in it.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/rows/catalog_at.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tupdesc_details.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_tablespace_d.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "rows/catalog_at.h"
#include "rows/heap_tuples.h"
#include "rows/toast_at.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/relmapper.h"

/* The catalogs. */
enum
{
	CATALOG_CLASS,
	CATALOG_ATTRIBUTE,
	CATALOG_INHERITS,
	NUM_CATALOGS
};

static const Oid catalog_relids[NUM_CATALOGS] = {
	[CATALOG_CLASS] = RelationRelationId,
	[CATALOG_ATTRIBUTE] = AttributeRelationId,
	[CATALOG_INHERITS] = InheritsRelationId,
};

static const char *const catalog_names[NUM_CATALOGS] = {
	[CATALOG_CLASS] = "pg_class",
	[CATALOG_ATTRIBUTE] = "pg_attribute",
	[CATALOG_INHERITS] = "pg_inherits",
};

typedef struct RelationEntry
{
	Oid			relid;			/* hash key */
	bool		is_twice;		/* rows contradict each other */
	WalredoRelationAt relation;
} RelationEntry;

typedef struct InheritsRow
{
	Oid			parent;
	Oid			child;
} InheritsRow;

/* A row of pg_attribute. */
typedef struct ColumnRow
{
	bool		is_there;
	FormData_pg_attribute form; /* of which only some fields are set */
	bytea	   *missing;		/* attmissingval as it was stored, or NULL */
} ColumnRow;

typedef struct ColumnsEntry
{
	Oid			relid;			/* hash key */
	int			natts;
	bool		is_broken;		/* rows contradict each other */
	ColumnRow  *rows;			/* natts of them */
} ColumnsEntry;

struct WalredoCatalogAt
{
	MemoryContext context;		/* of everything */
	MemoryContext row_context;	/* of rows of pg_class and pg_inherits */
	XLogRecPtr	lsn;
	WalredoHeapAt *heap;
	WalredoHeapFile files[NUM_CATALOGS];
	TupleDesc	tupdescs[NUM_CATALOGS];
	char	   *problems[NUM_CATALOGS]; /* the first one of each, or NULL */

	HTAB	   *relations;		/* of RelationEntries; NULL if not read yet */

	/* pg_inherits, ordered by parent and child; NULL if not read yet. */
	InheritsRow *inherits;
	int			ninherits;
	int			max_inherits;

	/* The columns that were read last. */
	MemoryContext column_context;
	HTAB	   *columns;		/* of ColumnsEntries, or NULL */
};

WalredoCatalogAt *
walredo_catalog_at_begin(XLogRecPtr lsn, const char *directory)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "walredo catalogs",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old_context = MemoryContextSwitchTo(context);
	WalredoCatalogAt *catalog = palloc0(sizeof(WalredoCatalogAt));

	catalog->context = context;
	catalog->lsn = lsn;
	catalog->row_context = AllocSetContextCreate(context,
												 "walredo catalog rows",
												 ALLOCSET_DEFAULT_SIZES);
	catalog->column_context = AllocSetContextCreate(context,
													"walredo columns",
													ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < NUM_CATALOGS; i++)
	{
		Relation	rel = table_open(catalog_relids[i], AccessShareLock);

		catalog->files[i].tag =
			walredo_tag_of_block(&RelationGetLocator(rel), MAIN_FORKNUM, 0);
		catalog->files[i].relid = catalog_relids[i];
		catalog->tupdescs[i] = CreateTupleDescCopy(RelationGetDescr(rel));
		table_close(rel, NoLock);
	}
	catalog->heap = walredo_heap_at_begin(catalog->files, NUM_CATALOGS, lsn,
										  directory);
	MemoryContextSwitchTo(old_context);
	return catalog;
}

void
walredo_catalog_at_end(WalredoCatalogAt *catalog)
{
	walredo_heap_at_end(catalog->heap);
	MemoryContextDelete(catalog->context);
}

const char *
walredo_catalog_at_problem(WalredoCatalogAt *catalog)
{
	for (int i = 0; i < NUM_CATALOGS; i++)
	{
		if (catalog->problems[i] != NULL)
			return catalog->problems[i];
	}
	return NULL;
}

/* ----------------------------------------
 * Reading a catalog
 * ----------------------------------------
 */

/* Takes note that a catalog is not known as a whole, and why. */
static void
note_problem(WalredoCatalogAt *catalog, int which, const char *problem)
{
	if (catalog->problems[which] == NULL)
		catalog->problems[which] = MemoryContextStrdup(catalog->context,
													   problem);
}

static void
check_memory(WalredoCatalogAt *catalog, MemoryContext context)
{
	if (MemoryContextMemAllocated(context, true) / 1024 >
		maintenance_work_mem)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the catalogs as of %X/%X take more memory than maintenance_work_mem",
						LSN_FORMAT_ARGS(catalog->lsn)),
				 errhint("Increase maintenance_work_mem.")));
}

/* Columns of the row that was read last, which are not null. */
#define Column(tuples, attnum)		((tuples)->values[(attnum) - 1])
#define GetOid(tuples, attnum)		DatumGetObjectId(Column(tuples, attnum))
#define GetInt16(tuples, attnum)	DatumGetInt16(Column(tuples, attnum))
#define GetInt32(tuples, attnum)	DatumGetInt32(Column(tuples, attnum))
#define GetChar(tuples, attnum)		DatumGetChar(Column(tuples, attnum))
#define GetBool(tuples, attnum)		DatumGetBool(Column(tuples, attnum))
#define GetPointer(tuples, attnum)	DatumGetPointer(Column(tuples, attnum))

/* Has a row all these columns?  The list ends with InvalidAttrNumber. */
static bool
has_columns(const WalredoHeapTuples *tuples, const AttrNumber *attnums)
{
	for (; *attnums != InvalidAttrNumber; attnums++)
	{
		if (tuples->nulls[*attnums - 1])
			return false;
	}
	return true;
}

/*
 * Reads all of a catalog, and calls a function for each row, which returns
 * whether the row is sound.  What the function keeps is in a memory context,
 * which is the current one then.
 */
static void
read_catalog(WalredoCatalogAt *catalog, int which, MemoryContext context,
			 const AttrNumber *not_null,
			 bool (*take_row) (WalredoCatalogAt *catalog,
							   const WalredoHeapTuples *tuples))
{
	const char *name = catalog_names[which];
	XLogRecPtr	created_lsn = catalog->files[which].created_lsn;
	bool		is_complete = true;
	BlockNumber nblocks = walredo_heap_at_blocks(catalog->heap, which,
												 &is_complete);
	TupleDesc	tupdesc = catalog->tupdescs[which];
	WalredoHeapTuples *tuples = walredo_heap_tuples_begin(catalog->heap, which,
														  tupdesc);
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext,
												  "walredo catalog block",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old_context = MemoryContextSwitchTo(scratch);

	if (!XLogRecPtrIsInvalid(created_lsn))
	{
		note_problem(catalog, which,
					 psprintf("Catalog %s has been rewritten at %X/%X.", name,
							  LSN_FORMAT_ARGS(created_lsn)));
		nblocks = 0;
	}
	else if (!is_complete)
		note_problem(catalog, which,
					 psprintf("Catalog %s may have had more blocks.", name));

	for (BlockNumber blkno = 0; blkno < nblocks; blkno++)
	{
		const char *problem = walredo_heap_tuples_open(tuples, blkno);

		if (problem != NULL)
			note_problem(catalog, which,
						 psprintf("Not all of block %u of catalog %s is known: %s",
								  blkno, name, problem));
		while (walredo_heap_tuples_next(tuples))
		{
			problem = tuples->problem;
			if (problem == NULL)
			{
				MemoryContextSwitchTo(context);
				if (!has_columns(tuples, not_null) ||
					!take_row(catalog, tuples))
					problem = "The row is not sound.";
				MemoryContextSwitchTo(scratch);
			}
			if (problem != NULL)
				note_problem(catalog, which,
							 psprintf("Row (%u,%u) of catalog %s is not known: %s",
									  blkno, tuples->offnum, name, problem));
		}
		check_memory(catalog, context);
		MemoryContextReset(scratch);
	}
	MemoryContextSwitchTo(old_context);
	MemoryContextDelete(scratch);
	walredo_heap_tuples_end(tuples);
	walredo_heap_at_release(catalog->heap, which);
}

/* Copies a name.  Returns NULL if the database cannot have it. */
static char *
copy_name(Datum datum)
{
	const char *name = NameStr(*DatumGetName(datum));
	Size		length = strnlen(name, NAMEDATALEN);

	if (length == NAMEDATALEN || !pg_verifymbstr(name, length, true))
		return NULL;
	return pnstrdup(name, length);
}

static HTAB *
make_hash(const char *name, Size entrysize, MemoryContext context)
{
	HASHCTL		ctl = {0};

	ctl.keysize = sizeof(Oid);
	ctl.entrysize = entrysize;
	ctl.hcxt = context;
	return hash_create(name, 256, &ctl, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* ----------------------------------------
 * pg_class
 * ----------------------------------------
 */

static const AttrNumber class_not_null[] = {
	Anum_pg_class_oid,
	Anum_pg_class_relname,
	Anum_pg_class_relnamespace,
	Anum_pg_class_relowner,
	Anum_pg_class_relfilenode,
	Anum_pg_class_reltablespace,
	Anum_pg_class_reltoastrelid,
	Anum_pg_class_relisshared,
	Anum_pg_class_relpersistence,
	Anum_pg_class_relkind,
	Anum_pg_class_relnatts,
	Anum_pg_class_relispartition,
	InvalidAttrNumber
};

/* The file that a row of pg_class names: see RelationInitPhysicalAddr(). */
static RelFileLocator
locator_of_row(const WalredoHeapTuples *tuples)
{
	RelFileLocator locator = {0};
	char		kind = GetChar(tuples, Anum_pg_class_relkind);
	Oid			relid = GetOid(tuples, Anum_pg_class_oid);
	Oid			spcOid = GetOid(tuples, Anum_pg_class_reltablespace);
	RelFileNumber number = GetOid(tuples, Anum_pg_class_relfilenode);
	bool		is_shared = GetBool(tuples, Anum_pg_class_relisshared);

	if (!RELKIND_HAS_STORAGE(kind))
		return locator;
	if (!OidIsValid(spcOid))
		spcOid = MyDatabaseTableSpace;
	if (!RelFileNumberIsValid(number))
		number = RelationMapOidToFilenumber(relid, is_shared);
	LocatorSpcOid(locator) = spcOid;
	LocatorDbOid(locator) =
		spcOid == GLOBALTABLESPACE_OID ? InvalidOid : MyDatabaseId;
	LocatorRelNumber(locator) = number;
	return locator;
}

static bool
take_class_row(WalredoCatalogAt *catalog, const WalredoHeapTuples *tuples)
{
	Oid			relid = GetOid(tuples, Anum_pg_class_oid);
	int16		natts = GetInt16(tuples, Anum_pg_class_relnatts);
	char	   *name = copy_name(Column(tuples, Anum_pg_class_relname));
	RelationEntry *entry;
	WalredoRelationAt *relation;
	bool		is_found;

	if (!OidIsValid(relid) || name == NULL || natts < 0 ||
		natts > MaxHeapAttributeNumber)
		return false;
	entry = hash_search(catalog->relations, &relid, HASH_ENTER, &is_found);
	if (is_found)
	{
		entry->is_twice = true;
		return false;
	}
	entry->is_twice = false;
	relation = &entry->relation;
	relation->relid = relid;
	relation->name = name;
	relation->namespaceid = GetOid(tuples, Anum_pg_class_relnamespace);
	relation->owner = GetOid(tuples, Anum_pg_class_relowner);
	relation->kind = GetChar(tuples, Anum_pg_class_relkind);
	relation->persistence = GetChar(tuples, Anum_pg_class_relpersistence);
	relation->is_partition = GetBool(tuples, Anum_pg_class_relispartition);
	relation->natts = natts;
	relation->toastid = GetOid(tuples, Anum_pg_class_reltoastrelid);
	relation->locator = locator_of_row(tuples);
	return true;
}

static void
read_class(WalredoCatalogAt *catalog)
{
	if (catalog->relations != NULL)
		return;
	catalog->relations = make_hash("walredo relations", sizeof(RelationEntry),
								   catalog->row_context);
	read_catalog(catalog, CATALOG_CLASS, catalog->row_context, class_not_null,
				 take_class_row);
}

/* What it means that a relation was found, or not. */
static WalredoAnswer
answer_of(WalredoCatalogAt *catalog, const RelationEntry *entry,
		  const WalredoRelationAt **rel)
{
	*rel = NULL;
	if (entry == NULL)
		return catalog->problems[CATALOG_CLASS] == NULL ? WALREDO_NO :
			WALREDO_UNKNOWN;
	if (entry->is_twice)
		return WALREDO_UNKNOWN;
	*rel = &entry->relation;
	return WALREDO_YES;
}

WalredoAnswer
walredo_catalog_at_relation(WalredoCatalogAt *catalog, Oid relid,
							const WalredoRelationAt **rel)
{
	read_class(catalog);
	return answer_of(catalog,
					 hash_search(catalog->relations, &relid, HASH_FIND, NULL),
					 rel);
}

WalredoAnswer
walredo_catalog_at_file(WalredoCatalogAt *catalog,
						const RelFileLocator *locator,
						const WalredoRelationAt **rel)
{
	HASH_SEQ_STATUS seq;
	RelationEntry *entry;

	read_class(catalog);
	hash_seq_init(&seq, catalog->relations);
	while ((entry = hash_seq_search(&seq)) != NULL)
	{
		if (RelFileLocatorEquals(entry->relation.locator, *locator))
		{
			hash_seq_term(&seq);
			break;
		}
	}
	return answer_of(catalog, entry, rel);
}

/* ----------------------------------------
 * pg_attribute
 * ----------------------------------------
 */

static const AttrNumber attribute_not_null[] = {
	Anum_pg_attribute_attrelid,
	Anum_pg_attribute_attname,
	Anum_pg_attribute_atttypid,
	Anum_pg_attribute_attlen,
	Anum_pg_attribute_attnum,
	Anum_pg_attribute_atttypmod,
	Anum_pg_attribute_attbyval,
	Anum_pg_attribute_attalign,
	Anum_pg_attribute_attstorage,
	Anum_pg_attribute_attcompression,
	Anum_pg_attribute_atthasmissing,
	Anum_pg_attribute_attgenerated,
	Anum_pg_attribute_attisdropped,
	Anum_pg_attribute_attcollation,
	InvalidAttrNumber
};

/*
 * Can a type have this length, passing and alignment?  See TypeCreate().
 */
static bool
is_possible_type(int16 attlen, bool attbyval, char attalign)
{
	if (attalign != TYPALIGN_CHAR && attalign != TYPALIGN_SHORT &&
		attalign != TYPALIGN_INT && attalign != TYPALIGN_DOUBLE)
		return false;
	if (attbyval)
		return (attlen == sizeof(char) && attalign == TYPALIGN_CHAR) ||
			(attlen == sizeof(int16) && attalign == TYPALIGN_SHORT) ||
			(attlen == sizeof(int32) && attalign == TYPALIGN_INT) ||
			(attlen == sizeof(int64) && attalign == TYPALIGN_DOUBLE &&
			 sizeof(Datum) >= sizeof(int64));
	if (attlen == -1)
		return attalign == TYPALIGN_INT || attalign == TYPALIGN_DOUBLE;
	if (attlen == -2)
		return attalign == TYPALIGN_CHAR;
	return attlen > 0;
}

static bool
take_attribute_row(WalredoCatalogAt *catalog, const WalredoHeapTuples *tuples)
{
	Oid			relid = GetOid(tuples, Anum_pg_attribute_attrelid);
	int16		attnum = GetInt16(tuples, Anum_pg_attribute_attnum);
	ColumnsEntry *entry = hash_search(catalog->columns, &relid, HASH_FIND,
									  NULL);
	ColumnRow  *row;
	FormData_pg_attribute *form;
	char	   *name;

	/* System columns have numbers below 0. */
	if (entry == NULL || attnum < 0)
		return true;
	if (attnum == 0 || attnum > entry->natts ||
		entry->rows[attnum - 1].is_there)
	{
		entry->is_broken = true;
		return false;
	}

	row = &entry->rows[attnum - 1];
	form = &row->form;
	form->attrelid = relid;
	form->atttypid = GetOid(tuples, Anum_pg_attribute_atttypid);
	form->attlen = GetInt16(tuples, Anum_pg_attribute_attlen);
	form->attnum = attnum;
	form->atttypmod = GetInt32(tuples, Anum_pg_attribute_atttypmod);
	form->attbyval = GetBool(tuples, Anum_pg_attribute_attbyval);
	form->attalign = GetChar(tuples, Anum_pg_attribute_attalign);
	form->attstorage = GetChar(tuples, Anum_pg_attribute_attstorage);
	form->attcompression = GetChar(tuples, Anum_pg_attribute_attcompression);
	form->atthasmissing = GetBool(tuples, Anum_pg_attribute_atthasmissing);
	form->attgenerated = GetChar(tuples, Anum_pg_attribute_attgenerated);
	form->attisdropped = GetBool(tuples, Anum_pg_attribute_attisdropped);
	form->attislocal = true;
	form->attcollation = GetOid(tuples, Anum_pg_attribute_attcollation);
	name = copy_name(Column(tuples, Anum_pg_attribute_attname));
	if (name == NULL ||
		!is_possible_type(form->attlen, form->attbyval, form->attalign))
	{
		entry->is_broken = true;
		return false;
	}
	namestrcpy(&form->attname, name);
	pfree(name);

	/* It cannot be out of line, as pg_attribute has no TOAST table. */
	if (form->atthasmissing &&
		!tuples->nulls[Anum_pg_attribute_attmissingval - 1])
	{
		const char *missing = GetPointer(tuples,
										 Anum_pg_attribute_attmissingval);

		if (VARATT_IS_EXTERNAL(missing))
		{
			entry->is_broken = true;
			return false;
		}
		row->missing = palloc(VARSIZE_ANY(missing));
		memcpy(row->missing, missing, VARSIZE_ANY(missing));
	}
	row->is_there = true;
	return true;
}

void
walredo_catalog_at_read_columns(WalredoCatalogAt *catalog, const Oid *relids,
								int nrelids)
{
	MemoryContext old_context;

	MemoryContextReset(catalog->column_context);
	catalog->columns = make_hash("walredo columns", sizeof(ColumnsEntry),
								 catalog->column_context);
	old_context = MemoryContextSwitchTo(catalog->column_context);
	for (int i = 0; i < nrelids; i++)
	{
		const WalredoRelationAt *relation;
		ColumnsEntry *entry;
		bool		is_found;

		if (walredo_catalog_at_relation(catalog, relids[i],
										&relation) != WALREDO_YES)
			continue;
		entry = hash_search(catalog->columns, &relids[i], HASH_ENTER,
							&is_found);
		if (is_found)
			continue;
		entry->natts = relation->natts;
		entry->is_broken = false;
		entry->rows = palloc0(Max(entry->natts, 1) * sizeof(ColumnRow));
		check_memory(catalog, catalog->column_context);
	}
	MemoryContextSwitchTo(old_context);
	read_catalog(catalog, CATALOG_ATTRIBUTE, catalog->column_context,
				 attribute_not_null, take_attribute_row);
}

/*
 * A missing value as an array in memory, aligned, and not compressed.  Returns
 * NULL if it is broken.
 */
static ArrayType *
expand_missing(const bytea *missing)
{
	const char *problem;
	Size		size;
	bytea	   *result;

	if (VARATT_IS_COMPRESSED(missing))
		return (ArrayType *) walredo_decompress_datum(missing,
													  VARSIZE(missing),
													  &problem);
	size = VARSIZE_ANY_EXHDR(missing);
	result = palloc(size + VARHDRSZ);
	SET_VARSIZE(result, size + VARHDRSZ);
	memcpy(VARDATA(result), VARDATA_ANY(missing), size);
	return (ArrayType *) result;
}

/* How long a value is that begins here, of up to room bytes; 0 if longer. */
static Size
size_of_value(const char *value, Size room, int16 attlen)
{
	Size		size;

	if (attlen > 0)
		size = attlen;
	else if (attlen == -2)
		size = strnlen(value, room) + 1;
	else if (room < VARHDRSZ)
		return 0;
	else if (VARATT_IS_4B_U(value))
		size = VARSIZE_4B(value);
	else
		return 0;				/* construct_md_array() makes nothing else */
	return size <= room && (attlen != -1 || size >= VARHDRSZ) ? size : 0;
}

/*
 * Sets the missing value of a column.  It is the only element of an array, as
 * StoreAttrMissingVal() makes it.  Returns false if the array is broken.  What
 * is in the value is yet to be checked, as with values that are in tuples.
 */
static bool
get_missing(const ColumnRow *row, AttrMissing *result)
{
	const FormData_pg_attribute *form = &row->form;
	ArrayType  *array = expand_missing(row->missing);
	const char *value;
	Size		size;

	if (array == NULL || VARSIZE(array) < ARR_OVERHEAD_NONULLS(1) ||
		ARR_NDIM(array) != 1 || ARR_HASNULL(array) ||
		ARR_ELEMTYPE(array) != form->atttypid || ARR_DIMS(array)[0] != 1)
		return false;
	value = ARR_DATA_PTR(array);
	size = size_of_value(value, VARSIZE(array) - ARR_OVERHEAD_NONULLS(1),
						 form->attlen);
	if (size == 0)
		return false;
	result->am_value = fetch_att(value, form->attbyval, form->attlen);
	result->am_present = true;
	return true;
}

/* Says that columns are not known, and why, if that is known. */
static const char *
describe_missing(WalredoCatalogAt *catalog, const char *what)
{
	const char *why = catalog->problems[CATALOG_ATTRIBUTE];

	return why != NULL ? psprintf("%s %s", what, why) : what;
}

TupleDesc
walredo_catalog_at_columns(WalredoCatalogAt *catalog, Oid relid,
						   const char **problem)
{
	const WalredoRelationAt *relation;
	ColumnsEntry *entry = NULL;
	TupleDesc	tupdesc;

	*problem = NULL;
	if (catalog->columns != NULL)
		entry = hash_search(catalog->columns, &relid, HASH_FIND, NULL);
	if (entry == NULL &&
		walredo_catalog_at_relation(catalog, relid, &relation) == WALREDO_YES)
	{
		walredo_catalog_at_read_columns(catalog, &relid, 1);
		entry = hash_search(catalog->columns, &relid, HASH_FIND, NULL);
	}
	if (entry == NULL || entry->is_broken)
	{
		*problem = describe_missing(catalog,
									psprintf("The columns of relation %u are not known.",
											 relid));
		return NULL;
	}

	tupdesc = CreateTemplateTupleDesc(entry->natts);
	for (int i = 0; i < entry->natts; i++)
	{
		const ColumnRow *row = &entry->rows[i];

		if (!row->is_there)
		{
			*problem = describe_missing(catalog,
										psprintf("Column %d of relation %u is not known.",
												 i + 1, relid));
			return NULL;
		}
		*TupleDescAttr(tupdesc, i) = row->form;
		TupleDescAttr(tupdesc, i)->atthasmissing =
			row->missing != NULL && !row->form.attisdropped;
		walredo_complete_column(tupdesc, i + 1);
		if (!TupleDescAttr(tupdesc, i)->atthasmissing)
			continue;
		if (tupdesc->constr == NULL)
		{
			tupdesc->constr = palloc0(sizeof(TupleConstr));
			tupdesc->constr->missing = palloc0(entry->natts *
											   sizeof(AttrMissing));
		}
		if (!get_missing(row, &tupdesc->constr->missing[i]))
		{
			*problem = psprintf("The value that column %d of relation %u has in older rows is not known.",
								i + 1, relid);
			return NULL;
		}
	}
	TupleDescFinalize(tupdesc);
	return tupdesc;
}

/* ----------------------------------------
 * pg_inherits
 * ----------------------------------------
 */

static const AttrNumber inherits_not_null[] = {
	Anum_pg_inherits_inhrelid,
	Anum_pg_inherits_inhparent,
	Anum_pg_inherits_inhdetachpending,
	InvalidAttrNumber
};

static bool
take_inherits_row(WalredoCatalogAt *catalog, const WalredoHeapTuples *tuples)
{
	InheritsRow *row;

	/* As find_inheritance_children_extended() for a query. */
	if (GetBool(tuples, Anum_pg_inherits_inhdetachpending))
		return true;
	if (catalog->ninherits == catalog->max_inherits)
	{
		catalog->max_inherits *= 2;
		catalog->inherits = repalloc_huge(catalog->inherits,
										  catalog->max_inherits *
										  sizeof(InheritsRow));
	}
	row = &catalog->inherits[catalog->ninherits++];
	row->parent = GetOid(tuples, Anum_pg_inherits_inhparent);
	row->child = GetOid(tuples, Anum_pg_inherits_inhrelid);
	return true;
}

/* qsort() comparator: orders rows by parent and child. */
static int
compare_inherits(const void *a, const void *b)
{
	const InheritsRow *row_a = a;
	const InheritsRow *row_b = b;

	if (row_a->parent != row_b->parent)
		return row_a->parent < row_b->parent ? -1 : 1;
	if (row_a->child != row_b->child)
		return row_a->child < row_b->child ? -1 : 1;
	return 0;
}

static void
read_inherits(WalredoCatalogAt *catalog)
{
	if (catalog->inherits != NULL)
		return;
	catalog->max_inherits = 64;
	catalog->inherits = MemoryContextAlloc(catalog->row_context,
										   catalog->max_inherits *
										   sizeof(InheritsRow));
	read_catalog(catalog, CATALOG_INHERITS, catalog->row_context,
				 inherits_not_null, take_inherits_row);
	qsort(catalog->inherits, catalog->ninherits, sizeof(InheritsRow),
		  compare_inherits);
}

/* The first row of pg_inherits that is not before this parent's. */
static int
find_inherits(const WalredoCatalogAt *catalog, Oid parent)
{
	int			low = 0;
	int			high = catalog->ninherits;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;

		if (catalog->inherits[middle].parent < parent)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

Oid *
walredo_catalog_at_partitions(WalredoCatalogAt *catalog, Oid relid,
							  int *npartitions, bool *is_complete)
{
	HTAB	   *seen = make_hash("walredo partitions", sizeof(Oid),
								 CurrentMemoryContext);
	Oid		   *partitions;
	Oid		   *parents;
	int			nparents = 1;

	read_inherits(catalog);
	read_class(catalog);
	*npartitions = 0;
	partitions = palloc_extended((catalog->ninherits + 1) * sizeof(Oid),
								 MCXT_ALLOC_HUGE);
	parents = palloc_extended((catalog->ninherits + 1) * sizeof(Oid),
							  MCXT_ALLOC_HUGE);
	parents[0] = relid;
	(void) hash_search(seen, &relid, HASH_ENTER, NULL);

	/* Each child is taken once, so that a circle has an end. */
	for (int i = 0; i < nparents; i++)
	{
		for (int row = find_inherits(catalog, parents[i]);
			 row < catalog->ninherits &&
			 catalog->inherits[row].parent == parents[i]; row++)
		{
			Oid			child = catalog->inherits[row].child;
			const WalredoRelationAt *relation;
			bool		is_found;

			(void) hash_search(seen, &child, HASH_ENTER, &is_found);
			if (is_found)
				continue;
			if (walredo_catalog_at_relation(catalog, child,
											&relation) != WALREDO_YES)
				note_problem(catalog, CATALOG_INHERITS,
							 psprintf("Relation %u was a partition, but its row of pg_class is not known.",
									  child));
			else if (relation->kind == RELKIND_PARTITIONED_TABLE)
				parents[nparents++] = child;
			else
				partitions[(*npartitions)++] = child;
		}
	}
	*is_complete = catalog->problems[CATALOG_INHERITS] == NULL;
	hash_destroy(seen);
	pfree(parents);
	return partitions;
}

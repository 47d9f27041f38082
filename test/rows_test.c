/*-------------------------------------------------------------------------
 *
 * rows_test.c
 *	  Functions for tests of tuples and values that are not trusted.
 *
 *	rows_checker(typid oid) RETURNS void
 *		ERROR if values of a type cannot be checked.
 *	rows_problem(value anyelement) RETURNS text
 *		What is wrong with a value, NULL if nothing is.
 *	rows_problem_of(contents bytea, typid oid) RETURNS text
 *		... with a varlena of any contents.
 *	rows_page(row anyelement, page bytea) RETURNS text
 *		The tuples of a page of a table that has rows of a composite type, one
 *		in a line; or what is wrong with a tuple, or with the page.
 *	rows_mutate(value anyelement, seed int4, rounds int4,
 *				OUT passed int4, OUT refused int4)
 *		Changes copies of a value, and checks them.  One that has passed is
 *		given to functions of its type: to be written as text and in binary,
 *		hashed, and compared with the value.
 *	rows_mutate_page(row anyelement, page bytea, seed int4, rounds int4,
 *					 OUT passed int4, OUT refused int4)
 *		Changes copies of a page of a table that has rows of a composite type,
 *		and does the same with the values in its tuples.
 *
 * What is checked ends where memory ends that can be read, so that a byte too
 * many is a segmentation fault.
 *
 * The module has copies of the sources that it tests, because a server hides
 * the symbols of one module from others.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * test/rows_test.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/mman.h>
#include <unistd.h>

#include "access/detoast.h"
#include "access/htup_details.h"
#include "catalog/pg_collation_d.h"
#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "compat.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "page/attempt.h"
#include "rows/heap_tuples.h"
#include "rows/toast_at.h"
#include "rows/tuple.h"
#include "rows/value.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(rows_checker);
PG_FUNCTION_INFO_V1(rows_problem);
PG_FUNCTION_INFO_V1(rows_problem_of);
PG_FUNCTION_INFO_V1(rows_page);
PG_FUNCTION_INFO_V1(rows_mutate);
PG_FUNCTION_INFO_V1(rows_mutate_page);

/* The most bytes that can be read before those that cannot. */
#define GUARDED_SIZE	(1024 * 1024)

/* A value is made longer by less than this. */
#define MAX_EXTENSION	64

/* A type, and what its values are given to. */
typedef struct TestType
{
	Oid			typid;
	int16		typlen;
	bool		typbyval;
	WalredoValueChecker *checker;
	FmgrInfo	output;
	FmgrInfo	send;			/* fn_oid is invalid if there is none */
	TypeCacheEntry *cache;
	Oid			collation;
} TestType;

static pg_prng_state prng;

/* ----------------------------------------
 * What toast_at.c calls, of which only walredo_decompress_datum() is used here
 * ----------------------------------------
 */

ErrorData *
walredo_attempt(void (*function) (void *arg), void *arg)
{
	elog(ERROR, "values are not fetched here");
}

BlockNumber
walredo_heap_at_blocks(WalredoHeapAt *heap, int file, bool *is_complete)
{
	elog(ERROR, "values are not fetched here");
}

bool
walredo_heap_at_is_changed(WalredoHeapAt *heap, int file, BlockNumber blkno)
{
	elog(ERROR, "values are not fetched here");
}

WalredoHeapTuples *
walredo_heap_tuples_begin(WalredoHeapAt *heap, int file, TupleDesc tupdesc)
{
	elog(ERROR, "values are not fetched here");
}

const char *
walredo_heap_tuples_open(WalredoHeapTuples *tuples, BlockNumber blkno)
{
	elog(ERROR, "values are not fetched here");
}

bool
walredo_heap_tuples_at(WalredoHeapTuples *tuples, OffsetNumber offnum)
{
	elog(ERROR, "values are not fetched here");
}

bool
walredo_heap_tuples_next(WalredoHeapTuples *tuples)
{
	elog(ERROR, "values are not fetched here");
}

/* ----------------------------------------
 * Values
 * ----------------------------------------
 */

/* Copies something to the end of memory that can be read. */
static char *
guarded_copy(const void *data, Size size)
{
	static char *end = NULL;

	if (end == NULL)
	{
		Size		page_size = sysconf(_SC_PAGESIZE);
		char	   *begin = mmap(NULL, GUARDED_SIZE + page_size,
								 PROT_READ | PROT_WRITE,
								 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (begin == MAP_FAILED ||
			mprotect(begin + GUARDED_SIZE, page_size, PROT_NONE) != 0)
			elog(ERROR, "could not get guarded memory: %m");
		end = begin + GUARDED_SIZE;
	}
	if (size > GUARDED_SIZE)
		elog(ERROR, "%zu bytes are too many", size);
	return memcpy(end - size, data, size);
}

static void
init_type(TestType *type, Oid typid)
{
	Oid			function;
	bool		is_varlena;
	HeapTuple	tuple;
	Form_pg_type form;

	memset(type, 0, sizeof(*type));
	type->typid = typid;
	get_typlenbyval(typid, &type->typlen, &type->typbyval);
	type->checker = walredo_value_checker(typid);
	getTypeOutputInfo(typid, &function, &is_varlena);
	fmgr_info(function, &type->output);
	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(typid));
	form = (Form_pg_type) GETSTRUCT(tuple);
	if (OidIsValid(form->typsend) && form->typelem != ACLITEMOID)
		fmgr_info(form->typsend, &type->send);
	type->collation = OidIsValid(form->typcollation) ?
		DEFAULT_COLLATION_OID : InvalidOid;
	ReleaseSysCache(tuple);
	type->cache = lookup_type_cache(typid, TYPECACHE_HASH_PROC_FINFO |
									TYPECACHE_CMP_PROC_FINFO);
}

/* The bytes of a value by reference. */
static Size
size_of(const TestType *type, Datum value)
{
	return datumGetSize(value, type->typbyval, type->typlen);
}

/* What is wrong with a value; NULL if nothing is. */
static const char *
problem_of(const TestType *type, Datum value)
{
	const char *problem = NULL;
	Datum		copy = value;

	if (!type->typbyval)
		copy = PointerGetDatum(guarded_copy(DatumGetPointer(value),
											size_of(type, value)));
	if (walredo_check_value(type->checker, copy, &problem))
	{
		if (problem != NULL)
			elog(ERROR, "a value without a problem has one: %s", problem);
		return NULL;
	}
	if (problem == NULL || !pg_verifymbstr(problem, strlen(problem), true) ||
		problem[strlen(problem) - 1] != '.')
		elog(ERROR, "a value is refused without a sentence");
	return problem;
}

/* Gives a value that has passed to functions of its type. */
static void
use_value(TestType *type, Datum value, Datum original)
{
	char	   *text = OutputFunctionCall(&type->output, value);

	if (!pg_verifymbstr(text, strlen(text), true))
		elog(ERROR, "a value of type %s was written in a wrong encoding",
			 format_type_be(type->typid));
	if (OidIsValid(type->send.fn_oid))
		(void) SendFunctionCall(&type->send, value);
	if (OidIsValid(type->cache->hash_proc_finfo.fn_oid))
		(void) FunctionCall1Coll(&type->cache->hash_proc_finfo,
								 type->collation, value);
	if (OidIsValid(type->cache->cmp_proc_finfo.fn_oid))
		(void) FunctionCall2Coll(&type->cache->cmp_proc_finfo,
								 type->collation, value, original);
}

/* ----------------------------------------
 * Changes
 * ----------------------------------------
 */

static uint32
random_below(uint32 limit)
{
	return limit == 0 ? 0 : pg_prng_uint64(&prng) % limit;
}

/* A number that code is likelier to handle wrongly. */
static uint32
random_number(Size size)
{
	switch (random_below(8))
	{
		case 0:
			return random_below(8);
		case 1:
			return size + random_below(16) - 8;
		case 2:
			return UINT32_C(1) << random_below(32);
		case 3:
			return (UINT32_C(1) << random_below(32)) - 1;
		case 4:
			return PG_INT32_MAX - random_below(32);
		case 5:
			return PG_UINT32_MAX - random_below(32);
		default:
			return (uint32) pg_prng_uint64(&prng);
	}
}

/* Makes a few changes to bytes, of which the first are likelier. */
static void
change_bytes(char *bytes, Size size)
{
	int			changes = 1 + random_below(3);

	while (changes-- > 0 && size > 0)
	{
		Size		at = random_below(random_below(2) ? size : Min(size, 40));
		uint32		number = random_number(size);

		switch (random_below(6))
		{
			case 0:
				bytes[at] ^= 1 << random_below(8);
				break;
			case 1:
				bytes[at] = (char) number;
				break;
			case 2:
				memcpy(bytes + at, &number, Min(2, size - at));
				break;
			case 3:
				at -= at % sizeof(number);
				memcpy(bytes + at, &number, Min(sizeof(number), size - at));
				break;
			case 4:
				/* A little more, or less. */
				bytes[at] += 1 + random_below(4) - 3 * random_below(2);
				break;
			case 5:
				{
					Size		from = random_below(size);
					Size		length = 1 + random_below(16);

					length = Min(length, size - Max(at, from));
					memmove(bytes + at, bytes + from, length);
				}
				break;
		}
	}
}

/* A copy of a value, with changes.  A varlena can get another length, too. */
static Datum
mutated_value(const TestType *type, Datum value)
{
	char	   *copy;
	Size		size;

	if (type->typbyval)
	{
		Datum		changed = value;

		change_bytes((char *) &changed, type->typlen);
		return changed;
	}
	size = size_of(type, value);
	copy = palloc0(size + MAX_EXTENSION);
	memcpy(copy, DatumGetPointer(value), size);
	if (type->typlen != -1)
	{
		change_bytes(copy, size);
		return PointerGetDatum(copy);
	}

	if (random_below(4) == 0)
	{
		if (random_below(2) == 0)
			size = VARHDRSZ + random_below(size - VARHDRSZ + 1);
		else
			size += random_below(MAX_EXTENSION);
		SET_VARSIZE(copy, size);
	}
	change_bytes(copy + VARHDRSZ, size - VARHDRSZ);

	/* A value without a problem is returned with a short header at times. */
	if (size - VARHDRSZ + VARHDRSZ_SHORT <= VARATT_SHORT_MAX &&
		get_typstorage(type->typid) != TYPSTORAGE_PLAIN &&
		random_below(4) == 0)
	{
		SET_VARSIZE_SHORT(copy, size - VARHDRSZ + VARHDRSZ_SHORT);
		memmove(copy + VARHDRSZ_SHORT, copy + VARHDRSZ, size - VARHDRSZ);
	}
	return PointerGetDatum(copy);
}

/* ----------------------------------------
 * Functions
 * ----------------------------------------
 */

/* An argument as it is checked: neither compressed nor stored out of line. */
static Datum
plain_argument(const TestType *type, Datum value)
{
	if (type->typlen == -1)
		value = PointerGetDatum(PG_DETOAST_DATUM(value));
	return value;
}

Datum
rows_checker(PG_FUNCTION_ARGS)
{
	(void) walredo_value_checker(PG_GETARG_OID(0));
	PG_RETURN_VOID();
}

Datum
rows_problem(PG_FUNCTION_ARGS)
{
	TestType   *type = fcinfo->flinfo->fn_extra;
	const char *problem = NULL;
	Datum		value;

	/* For each row of a table, the same. */
	if (type == NULL)
	{
		MemoryContext old_context =
			MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);

		type = palloc(sizeof(TestType));
		init_type(type, get_fn_expr_argtype(fcinfo->flinfo, 0));
		fcinfo->flinfo->fn_extra = type;
		MemoryContextSwitchTo(old_context);
	}
	value = plain_argument(type, PG_GETARG_DATUM(0));
	if (!walredo_check_value(type->checker, value, &problem))
		PG_RETURN_TEXT_P(cstring_to_text(problem));
	PG_RETURN_NULL();
}

Datum
rows_problem_of(PG_FUNCTION_ARGS)
{
	TestType	type;
	const char *problem;

	init_type(&type, PG_GETARG_OID(1));
	problem = problem_of(&type, plain_argument(&type, PG_GETARG_DATUM(0)));
	if (problem != NULL)
		PG_RETURN_TEXT_P(cstring_to_text(problem));
	use_value(&type, plain_argument(&type, PG_GETARG_DATUM(0)),
			  plain_argument(&type, PG_GETARG_DATUM(0)));
	PG_RETURN_NULL();
}

Datum
rows_page(PG_FUNCTION_ARGS)
{
	Oid			typid = get_fn_expr_argtype(fcinfo->flinfo, 0);
	TupleDesc	tupdesc = lookup_rowtype_tupdesc_copy(typid, -1);
	bytea	   *contents = PG_GETARG_BYTEA_PP(1);
	char	   *page = palloc(BLCKSZ);
	Datum	   *values = palloc(tupdesc->natts * sizeof(Datum));
	bool	   *nulls = palloc(tupdesc->natts * sizeof(bool));
	StringInfoData lines;
	OffsetNumber max_offnum;
	const char *problem = NULL;

	if (VARSIZE_ANY_EXHDR(contents) != BLCKSZ)
		elog(ERROR, "a page has %d bytes", BLCKSZ);
	memcpy(page, VARDATA_ANY(contents), BLCKSZ);
	if (!walredo_check_heap_page(page, &max_offnum, &problem))
		PG_RETURN_TEXT_P(cstring_to_text(problem));

	initStringInfo(&lines);
	for (OffsetNumber i = 1; i <= max_offnum; i++)
	{
		Size		size;
		HeapTupleHeader tuple = walredo_heap_tuple(page, i, &size, &problem);

		if (tuple != NULL &&
			walredo_deform_tuple(tupdesc, tuple, size, values, nulls,
								 &problem))
		{
			HeapTuple	row = heap_form_tuple(tupdesc, values, nulls);
			Oid			function;
			bool		is_varlena;

			getTypeOutputInfo(typid, &function, &is_varlena);
			problem = OidOutputFunctionCall(function,
											HeapTupleGetDatum(row));
		}
		appendStringInfo(&lines, "%s%s", i > 1 ? "\n" : "",
						 problem != NULL ? problem : "nothing");
	}
	PG_RETURN_TEXT_P(cstring_to_text_with_len(lines.data, lines.len));
}

/* Returns two numbers. */
static Datum
return_counts(FunctionCallInfo fcinfo, int32 passed, int32 refused)
{
	TupleDesc	tupdesc;
	Datum		values[2] = {Int32GetDatum(passed), Int32GetDatum(refused)};
	bool		nulls[2] = {false, false};

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values,
											 nulls));
}

/* A memory context for one round. */
static MemoryContext
round_context(void)
{
	return AllocSetContextCreate(CurrentMemoryContext, "rows_test round",
								 ALLOCSET_DEFAULT_SIZES);
}

Datum
rows_mutate(PG_FUNCTION_ARGS)
{
	TestType	type;
	Datum		value;
	int32		rounds = PG_GETARG_INT32(2);
	int32		passed = 0;
	MemoryContext context = round_context();

	init_type(&type, get_fn_expr_argtype(fcinfo->flinfo, 0));
	value = plain_argument(&type, PG_GETARG_DATUM(0));
	if (problem_of(&type, value) != NULL)
		elog(ERROR, "the value has a problem: %s", problem_of(&type, value));
	pg_prng_seed(&prng, PG_GETARG_INT32(1));
	for (int32 i = 0; i < rounds; i++)
	{
		MemoryContext old_context = MemoryContextSwitchTo(context);
		Datum		mutated = mutated_value(&type, value);

		if (problem_of(&type, mutated) == NULL)
		{
			use_value(&type, mutated, value);
			passed++;
		}
		MemoryContextSwitchTo(old_context);
		MemoryContextReset(context);
		CHECK_FOR_INTERRUPTS();
	}
	return return_counts(fcinfo, passed, rounds - passed);
}

/* Changes a page: its header, line pointers, headers of tuples, or values. */
static void
change_page(char *page)
{
	PageHeader	header = (PageHeader) page;
	int			max_offnum = PageGetMaxOffsetNumber(page);
	OffsetNumber offnum = 1 + random_below(max_offnum);
	ItemId		line_pointer = PageGetItemId(page, offnum);
	char	   *tuple = PageGetItem(page, line_pointer);

	switch (random_below(16))
	{
		case 0:
			change_bytes(page, SizeOfPageHeaderData);
			break;
		case 1:
			change_bytes((char *) header->pd_linp,
						 max_offnum * sizeof(ItemIdData));
			break;
		case 2:
			change_bytes((char *) line_pointer, sizeof(ItemIdData));
			break;
		case 3:
		case 4:
			change_bytes(tuple, SizeofHeapTupleHeader + 8);
			break;
		default:
			change_bytes(tuple + ((HeapTupleHeader) tuple)->t_hoff,
						 ItemIdGetLength(line_pointer) -
						 ((HeapTupleHeader) tuple)->t_hoff);
			break;
	}
}

/*
 * A tuple is checked, and so are its values.  Returns whether all is right, and
 * uses all of it if it is.
 */
static bool
try_tuple(TupleDesc tupdesc, TestType *types, const char *page,
		  OffsetNumber offnum)
{
	Datum	   *values = palloc(tupdesc->natts * sizeof(Datum));
	bool	   *nulls = palloc(tupdesc->natts * sizeof(bool));
	const char *problem = NULL;
	Size		size;
	HeapTupleHeader tuple = walredo_heap_tuple(page, offnum, &size, &problem);
	HeapTupleHeader copy;

	if (tuple == NULL)
		return false;

	/*
	 * The header must be aligned.  What is between the tuple's end and that
	 * of memory is not zero.
	 */
	copy = palloc(MAXALIGN(size));
	memset(copy, 0x55, MAXALIGN(size));
	memcpy(copy, tuple, size);
	copy = (HeapTupleHeader) guarded_copy(copy, MAXALIGN(size));
	if (!walredo_deform_tuple(tupdesc, copy, size, values, nulls, &problem))
	{
		if (problem == NULL)
			elog(ERROR, "a tuple is refused without a sentence");
		return false;
	}

	/* The copy is not kept while its values are copied to the same place. */
	if (!walredo_deform_tuple(tupdesc, tuple, size, values, nulls, &problem))
		elog(ERROR, "a tuple is refused at another address: %s", problem);
	for (int i = 0; i < tupdesc->natts; i++)
	{
		if (nulls[i])
			continue;
		if (types[i].typlen == -1)
		{
			struct varlena *value;

			value = (struct varlena *) DatumGetPointer(values[i]);

			if (VARATT_IS_EXTERNAL(value))
			{
				nulls[i] = true;
				continue;
			}
			if (VARATT_IS_COMPRESSED(value))
				value = walredo_decompress_datum(value, VARSIZE(value),
												 &problem);
			if (value == NULL)
				return false;
			if (VARSIZE_ANY(value) > GUARDED_SIZE)
				return false;
			values[i] = PointerGetDatum(value);
		}
		if (problem_of(&types[i], values[i]) != NULL)
			return false;
	}
	for (int i = 0; i < tupdesc->natts; i++)
	{
		if (!nulls[i])
			use_value(&types[i], values[i], values[i]);
	}
	return true;
}

Datum
rows_mutate_page(PG_FUNCTION_ARGS)
{
	Oid			typid = get_fn_expr_argtype(fcinfo->flinfo, 0);
	TupleDesc	tupdesc = lookup_rowtype_tupdesc_copy(typid, -1);
	bytea	   *contents = PG_GETARG_BYTEA_PP(1);
	int32		rounds = PG_GETARG_INT32(3);
	TestType   *types = palloc0(tupdesc->natts * sizeof(TestType));
	char	   *page = palloc(BLCKSZ);
	MemoryContext context = round_context();
	int32		passed = 0;
	int32		refused = 0;

	if (VARSIZE_ANY_EXHDR(contents) != BLCKSZ)
		elog(ERROR, "a page has %d bytes", BLCKSZ);
	for (int i = 0; i < tupdesc->natts; i++)
	{
		if (!TupleDescAttr(tupdesc, i)->attisdropped)
			init_type(&types[i], TupleDescAttr(tupdesc, i)->atttypid);
	}
	pg_prng_seed(&prng, PG_GETARG_INT32(2));
	for (int32 i = 0; i < rounds; i++)
	{
		MemoryContext old_context = MemoryContextSwitchTo(context);
		OffsetNumber max_offnum;
		const char *problem = NULL;

		memcpy(page, VARDATA_ANY(contents), BLCKSZ);
		if (i > 0)
			change_page(page);
		if (!walredo_check_heap_page(page, &max_offnum, &problem))
		{
			if (problem == NULL || i == 0)
				elog(ERROR, "a page is refused: %s", problem);
			refused++;
		}
		else
		{
			for (OffsetNumber j = 1; j <= max_offnum; j++)
			{
				if (try_tuple(tupdesc, types, page, j))
					passed++;
				else if (i == 0)
					elog(ERROR, "tuple %u is refused", j);
				else
					refused++;
			}
		}
		MemoryContextSwitchTo(old_context);
		MemoryContextReset(context);
		CHECK_FOR_INTERRUPTS();
	}
	return return_counts(fcinfo, passed, refused);
}

/*-------------------------------------------------------------------------
 *
 * row_json.c
 *	  Tuples that are not trusted, as jsonb.
 *
 * Every value is checked before the output function of its type sees it.  That
 * function can still fail, because of a label of an enum that is gone, for
 * example, which must not end the query.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * IDENTIFICATION
 *	  src/rows/row_json.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "page/attempt.h"
#include "rows/row_json.h"
#include "rows/toast_at.h"
#include "rows/tuple.h"
#include "rows/value.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/memutils.h"

struct WalredoRowJson
{
	TupleDesc	tupdesc;		/* as tuples are stored */
	TupleDesc	record_desc;	/* the same columns, as a record type */
	Oid			owner;			/* of the relation */
	WalredoFetchValue fetch;
	void	   *fetch_arg;
	WalredoValueChecker **checkers; /* NULL for columns that are dropped */
	Datum	   *values;
	bool	   *nulls;
};

WalredoRowJson *
walredo_row_json_create(TupleDesc tupdesc, Oid owner,
						WalredoFetchValue fetch, void *fetch_arg)
{
	WalredoRowJson *json = palloc0(sizeof(WalredoRowJson));
	int			natts = Max(tupdesc->natts, 1);

	json->tupdesc = tupdesc;
	json->record_desc = CreateTupleDescCopy(tupdesc);
	json->record_desc->tdtypeid = RECORDOID;
	json->record_desc->tdtypmod = -1;
	BlessTupleDesc(json->record_desc);
	json->owner = owner;
	json->fetch = fetch;
	json->fetch_arg = fetch_arg;
	json->checkers = palloc0(natts * sizeof(WalredoValueChecker *));
	json->values = palloc(natts * sizeof(Datum));
	json->nulls = palloc(natts * sizeof(bool));
	for (int i = 0; i < tupdesc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(tupdesc, i);

		if (!att->attisdropped)
			json->checkers[i] = walredo_value_checker(att->atttypid);
	}
	return json;
}

/*
 * Makes a varlena, which walredo_deform_tuple() has returned, one that is in
 * memory as a whole, and not compressed.  Returns NULL if that is not possible.
 * *is_lost is set if it is stored out of line, and not there.
 */
static struct varlena *
get_varlena(WalredoRowJson *json, struct varlena *value, bool *is_lost,
			const char **problem)
{
	*is_lost = false;
	if (VARATT_IS_EXTERNAL(value))
	{
		struct varatt_external pointer;

		VARATT_EXTERNAL_GET_POINTER(pointer, value);
		value = NULL;
		if (json->fetch != NULL)
			value = json->fetch(json->fetch_arg, &pointer, problem);
		else
			*problem = "The relation has no TOAST table.";
		*is_lost = (value == NULL);
		return value;
	}
	if (VARATT_IS_COMPRESSED(value))
		return walredo_decompress_datum(value, VARSIZE_ANY(value), problem);
	return value;
}

/*
 * Checks the values of a tuple that has been deformed.  Returns false, and sets
 * *problem, if there is one that cannot be used.
 */
static bool
check_values(WalredoRowJson *json, int *num_lost, const char **problem)
{
	Size		row_size = 0;

	for (int i = 0; i < json->tupdesc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(json->tupdesc, i);
		const char *why = NULL;

		if (json->checkers[i] == NULL)
			json->nulls[i] = true;
		if (json->nulls[i])
			continue;
		if (att->attlen == -1)
		{
			Datum	   *datum = &json->values[i];
			struct varlena *value = (struct varlena *) DatumGetPointer(*datum);
			bool		is_lost;

			value = get_varlena(json, value, &is_lost, &why);
			if (is_lost)
			{
				json->nulls[i] = true;
				(*num_lost)++;
				*problem = why;
				continue;
			}
			*datum = PointerGetDatum(value);
			if (value == NULL)
			{
				*problem = why;
				return false;
			}
		}
		if (!walredo_check_value(json->checkers[i], json->values[i], &why))
		{
			*problem = why;
			return false;
		}

		/* No tuple is larger, but many values can be stored as the same. */
		if (att->attlen == -1)
			row_size += VARSIZE_ANY(DatumGetPointer(json->values[i]));
		if (!AllocSizeIsValid(row_size))
		{
			*problem = "The row has more than 1 GB.";
			return false;
		}
	}
	return true;
}

/* The argument of convert(). */
typedef struct Conversion
{
	WalredoRowJson *json;
	Datum		result;
} Conversion;

/*
 * Calls the functions of the types.  A cast to json can be anybody's, so they
 * are run as the owner of the table, like expressions of indexes.  In case of
 * an error, the end of the subtransaction restores the user.
 */
static void
convert(void *arg)
{
	Conversion *conversion = arg;
	WalredoRowJson *json = conversion->json;
	Oid			userid;
	int			sec_context;
	int			nest_level = NewGUCNestLevel();
	HeapTuple	tuple = heap_form_tuple(json->record_desc, json->values,
										json->nulls);
	Datum		object;

	GetUserIdAndSecContext(&userid, &sec_context);
	SetUserIdAndSecContext(json->owner,
						   sec_context | SECURITY_RESTRICTED_OPERATION);
	object = DirectFunctionCall1(row_to_json, HeapTupleGetDatum(tuple));
	conversion->result =
		DirectFunctionCall1(jsonb_in,
							CStringGetDatum(TextDatumGetCString(object)));
	AtEOXact_GUC(false, nest_level);
	SetUserIdAndSecContext(userid, sec_context);
}

bool
walredo_row_to_json(WalredoRowJson *json, HeapTupleHeader tuple, Size size,
					Datum *result, int *num_lost, const char **problem)
{
	Conversion	conversion = {json};
	ErrorData  *error;

	if (!walredo_deform_tuple(json->tupdesc, tuple, size, json->values,
							  json->nulls, problem) ||
		!check_values(json, num_lost, problem))
		return false;
	error = walredo_attempt(convert, &conversion);
	if (error != NULL)
	{
		*problem = error->message;
		return false;
	}
	*result = conversion.result;
	return true;
}

/*-------------------------------------------------------------------------
 *
 * applyfuncs.c
 *	  SQL functions that apply records to page images, mask pages, and test
 *	  children.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/api/applyfuncs.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/tupmacs.h"
#include "access/xlog_internal.h"
#include "api/api.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "record/record.h"
#include "record/tag.h"
#include "redo/replay.h"
#include "utils/array.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(walredo_apply);
PG_FUNCTION_INFO_V1(walredo_page_mask);
PG_FUNCTION_INFO_V1(walredo_ping);
PG_FUNCTION_INFO_V1(walredo_replay_request);

/*
 * Returns an array argument in its flat form.  Variables of PL/pgSQL are
 * expanded arrays.  If one of whose elements none was accessed yet, it still
 * has the flat form that it was made from, which is returned rather than made
 * again.
 */
static ArrayType *
getarg_array(FunctionCallInfo fcinfo, int argno)
{
	AnyArrayType *array = PG_GETARG_ANY_ARRAY_P(argno);

	if (!VARATT_IS_EXPANDED_HEADER(array))
		return &array->flt;
	if (array->xpn.fvalue != NULL)
		return array->xpn.fvalue;
	return PG_GETARG_ARRAYTYPE_P(argno);
}

/*
 * The elements of an array of records, read in place: they are varlenas with
 * full headers, aligned as the type asks for.
 */
static WalredoRecord **
records_of_array(ArrayType *array, int *nrecords)
{
	int			n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	WalredoRecord **records;
	char	   *p;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" must be a one-dimensional array",
						"records")));
	if (array_contains_nulls(array))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" must not contain nulls", "records")));

	records = (WalredoRecord **) palloc(Max(n, 1) * sizeof(WalredoRecord *));
	p = ARR_DATA_PTR(array);
	for (int i = 0; i < n; i++)
	{
		p = (char *) att_align_nominal(p, TYPALIGN_DOUBLE);
		records[i] = (WalredoRecord *) p;
		p += VARSIZE(p);
	}
	*nrecords = n;
	return records;
}

void
walredo_check_page_length(FunctionCallInfo fcinfo, int argno,
						  const char *argname)
{
	Size		size = toast_raw_datum_size(PG_GETARG_DATUM(argno)) - VARHDRSZ;

	if (size != BLCKSZ)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("page has the wrong length"),
				 errdetail("A page has %d bytes, but argument \"%s\" has %zu.",
						   BLCKSZ, argname, size)));
}

/*
 * walredo_apply(tag walredo_tag, base bytea, records walredo_record[])
 */
Datum
walredo_apply(PG_FUNCTION_ARGS)
{
	WalredoTag *tag;
	bytea	   *base;
	WalredoRecord **records;
	int			nrecords;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("page address must not be null")));
	if (PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no records to apply")));

	tag = PG_GETARG_WALREDO_TAG_P(0);
	base = PG_ARGISNULL(1) ? NULL : PG_GETARG_BYTEA_P_COPY(1);
	records = records_of_array(getarg_array(fcinfo, 2), &nrecords);

	PG_RETURN_BYTEA_P(walredo_replay(tag, base, records, nrecords));
}

/*
 * walredo_page_mask(resource_manager text, page bytea, blkno int8)
 */
Datum
walredo_page_mask(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	int64		blkno = PG_GETARG_INT64(2);
	bytea	   *page;
	int			rmid;

	for (rmid = 0; rmid <= RM_MAX_ID; rmid++)
	{
		if (RmgrIdIsValid(rmid) && RmgrIdExists(rmid) &&
			pg_strcasecmp(RmgrTable[rmid].rm_name, name) == 0)
			break;
	}
	if (rmid > RM_MAX_ID)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("resource manager \"%s\" does not exist", name)));
	walredo_check_page_length(fcinfo, 1, "page");
	(void) walredo_check_block_number(blkno);

	page = PG_GETARG_BYTEA_P_COPY(1);
	walredo_mask_page(rmid, blkno, VARDATA(page));
	PG_RETURN_BYTEA_P(page);
}

/*
 * walredo_ping()
 */
Datum
walredo_ping(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8(walredo_ping_child());
}

/*
 * walredo_replay_request(name text)
 */
Datum
walredo_replay_request(PG_FUNCTION_ARGS)
{
	bytea	   *page = (bytea *) palloc(VARHDRSZ + BLCKSZ);

	SET_VARSIZE(page, VARHDRSZ + BLCKSZ);
	walredo_replay_saved_request(text_to_cstring(PG_GETARG_TEXT_PP(0)),
								 VARDATA(page));
	PG_RETURN_BYTEA_P(page);
}

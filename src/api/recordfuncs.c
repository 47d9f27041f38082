/*-------------------------------------------------------------------------
 *
 * recordfuncs.c
 *	  SQL functions of the type walredo_record: input, output, and one
 *	  constructor for each kind.
 *
 * SQL has no unsigned numbers, so a constructor takes the next wider type or
 * a signed one.  Here it is only checked that a number fits into the record;
 * all other checks are walredo_record_validate()'s.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/api/recordfuncs.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "libpq/pqformat.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "record/record.h"

PG_FUNCTION_INFO_V1(walredo_record_in);
PG_FUNCTION_INFO_V1(walredo_record_out);
PG_FUNCTION_INFO_V1(walredo_record_recv);
PG_FUNCTION_INFO_V1(walredo_record_send);
PG_FUNCTION_INFO_V1(walredo_postgres);
PG_FUNCTION_INFO_V1(walredo_clear_visibility_map_flags);
PG_FUNCTION_INFO_V1(walredo_truncate_visibility_map);
PG_FUNCTION_INFO_V1(walredo_clog_set_committed);
PG_FUNCTION_INFO_V1(walredo_clog_set_aborted);
PG_FUNCTION_INFO_V1(walredo_clog_set_subcommitted);
PG_FUNCTION_INFO_V1(walredo_multixact_offset_create);
PG_FUNCTION_INFO_V1(walredo_multixact_members_create);
PG_FUNCTION_INFO_V1(walredo_commit_ts_set);
PG_FUNCTION_INFO_V1(walredo_zero_page);
PG_FUNCTION_INFO_V1(walredo_replace);

#define PG_RETURN_WALREDO_RECORD_P(x)	PG_RETURN_POINTER(x)

static uint64 check_range(const char *name, int64 value, uint64 max);
static int	check_array(ArrayType *array, const char *name);
static WalredoRecord *make_from_bytes(WalredoRecordKind kind, XLogRecPtr lsn,
									  bytea *data);
static Datum make_clog_set(FunctionCallInfo fcinfo, WalredoRecordKind kind);
static void read_member(HeapTupleHeader tuple, WalredoMultiXactMember *member);

/*
 * A number from SQL, which must be between 0 and max.
 */
static uint64
check_range(const char *name, int64 value, uint64 max)
{
	if (value < 0 || (uint64) value > max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" is out of range", name),
				 errdetail(INT64_FORMAT " is not between 0 and " UINT64_FORMAT ".",
						   value, max)));
	return (uint64) value;
}

/*
 * The number of elements of an array, which must be a plain list.
 */
static int
check_array(ArrayType *array, const char *name)
{
	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("argument \"%s\" must be a one-dimensional array",
						name),
				 errdetail("The array has %d dimensions.", ARR_NDIM(array))));
	if (array_contains_nulls(array))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not contain nulls", name),
				 errdetail("An element of the array is null.")));
	return ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
}

Datum
walredo_record_in(PG_FUNCTION_ARGS)
{
	char	   *str = PG_GETARG_CSTRING(0);

	PG_RETURN_WALREDO_RECORD_P(walredo_record_from_cstring(str));
}

Datum
walredo_record_out(PG_FUNCTION_ARGS)
{
	WalredoRecord *rec = PG_GETARG_WALREDO_RECORD_P(0);

	PG_RETURN_CSTRING(walredo_record_to_cstring(rec));
}

Datum
walredo_record_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buf = (StringInfo) PG_GETARG_POINTER(0);

	PG_RETURN_WALREDO_RECORD_P(walredo_record_read(buf));
}

Datum
walredo_record_send(PG_FUNCTION_ARGS)
{
	StringInfoData buf;

	pq_begintypsend(&buf);
	walredo_record_write(&buf, PG_GETARG_WALREDO_RECORD_P(0));
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

static WalredoRecord *
make_from_bytes(WalredoRecordKind kind, XLogRecPtr lsn, bytea *data)
{
	WalredoRecord *rec;

	rec = walredo_record_make(kind, lsn, VARSIZE_ANY_EXHDR(data));
	memcpy(rec->u.data, VARDATA_ANY(data), VARSIZE_ANY_EXHDR(data));
	return rec;
}

/*
 * walredo_postgres(lsn pg_lsn, rec bytea, will_init bool)
 */
Datum
walredo_postgres(PG_FUNCTION_ARGS)
{
	WalredoRecord *rec;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();

	rec = make_from_bytes(WALREDO_POSTGRES, PG_GETARG_LSN(0),
						  PG_GETARG_BYTEA_PP(1));
	if (!PG_ARGISNULL(2))
	{
		rec->flags = WALREDO_WILL_INIT_GIVEN;
		if (PG_GETARG_BOOL(2))
			rec->flags |= WALREDO_WILL_INIT;
	}
	walredo_record_validate(rec);
	PG_RETURN_WALREDO_RECORD_P(rec);
}

/*
 * walredo_clear_visibility_map_flags(lsn pg_lsn, new_heap_blkno int8,
 *									  old_heap_blkno int8, flags int4)
 */
Datum
walredo_clear_visibility_map_flags(PG_FUNCTION_ARGS)
{
	WalredoRecord *rec;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(3))
		PG_RETURN_NULL();

	rec = walredo_record_make(WALREDO_CLEAR_VISIBILITY_MAP_FLAGS,
							  PG_GETARG_LSN(0),
							  sizeof(WalredoClearVisibilityMapFlags));
	rec->u.clear_vm.new_heap_blkno = PG_ARGISNULL(1) ? InvalidBlockNumber :
		check_range("new_heap_blkno", PG_GETARG_INT64(1), MaxBlockNumber);
	rec->u.clear_vm.old_heap_blkno = PG_ARGISNULL(2) ? InvalidBlockNumber :
		check_range("old_heap_blkno", PG_GETARG_INT64(2), MaxBlockNumber);
	rec->u.clear_vm.flags = check_range("flags", PG_GETARG_INT32(3),
										PG_INT32_MAX);
	walredo_record_validate(rec);
	PG_RETURN_WALREDO_RECORD_P(rec);
}

/*
 * walredo_truncate_visibility_map(lsn pg_lsn, trunc_byte int4,
 *								   trunc_offs int4)
 */
Datum
walredo_truncate_visibility_map(PG_FUNCTION_ARGS)
{
	WalredoRecord *rec;

	rec = walredo_record_make(WALREDO_TRUNCATE_VISIBILITY_MAP,
							  PG_GETARG_LSN(0),
							  sizeof(WalredoTruncateVisibilityMap));
	rec->u.truncate_vm.trunc_byte =
		check_range("trunc_byte", PG_GETARG_INT32(1), PG_INT32_MAX);
	rec->u.truncate_vm.trunc_offs =
		check_range("trunc_offs", PG_GETARG_INT32(2), PG_INT32_MAX);
	walredo_record_validate(rec);
	PG_RETURN_WALREDO_RECORD_P(rec);
}

/*
 * walredo_clog_set_*(lsn pg_lsn, xids xid[])
 */
static Datum
make_clog_set(FunctionCallInfo fcinfo, WalredoRecordKind kind)
{
	ArrayType  *xids = PG_GETARG_ARRAYTYPE_P(1);
	int			nxids = check_array(xids, "xids");
	WalredoRecord *rec;

	rec = walredo_record_make(kind, PG_GETARG_LSN(0),
							  nxids * sizeof(TransactionId));
	memcpy(rec->u.data, ARR_DATA_PTR(xids), nxids * sizeof(TransactionId));
	walredo_record_validate(rec);
	PG_RETURN_WALREDO_RECORD_P(rec);
}

Datum
walredo_clog_set_committed(PG_FUNCTION_ARGS)
{
	return make_clog_set(fcinfo, WALREDO_CLOG_SET_COMMITTED);
}

Datum
walredo_clog_set_aborted(PG_FUNCTION_ARGS)
{
	return make_clog_set(fcinfo, WALREDO_CLOG_SET_ABORTED);
}

Datum
walredo_clog_set_subcommitted(PG_FUNCTION_ARGS)
{
	return make_clog_set(fcinfo, WALREDO_CLOG_SET_SUBCOMMITTED);
}

/*
 * walredo_multixact_offset_create(lsn pg_lsn, mid xid, moff int8)
 */
Datum
walredo_multixact_offset_create(PG_FUNCTION_ARGS)
{
	WalredoRecord *rec;

	rec = walredo_record_make(WALREDO_MULTIXACT_OFFSET_CREATE,
							  PG_GETARG_LSN(0),
							  sizeof(WalredoMultiXactOffset));
	rec->u.mxact_offset.mid = PG_GETARG_TRANSACTIONID(1);
	rec->u.mxact_offset.moff = check_range("moff", PG_GETARG_INT64(2),
										   WALREDO_MAX_MULTIXACT_OFFSET);
	walredo_record_validate(rec);
	PG_RETURN_WALREDO_RECORD_P(rec);
}

/*
 * walredo_multixact_members_create(lsn pg_lsn, moff int8,
 *									members walredo_multixact_member[])
 */
Datum
walredo_multixact_members_create(PG_FUNCTION_ARGS)
{
	ArrayType  *members = PG_GETARG_ARRAYTYPE_P(2);
	int			nmembers = check_array(members, "members");
	WalredoRecord *rec;
	Datum	   *elements;
	int16		typlen;
	bool		typbyval;
	char		typalign;

	rec = walredo_record_make(WALREDO_MULTIXACT_MEMBERS_CREATE,
							  PG_GETARG_LSN(0),
							  offsetof(WalredoMultiXactMembers, members) +
							  nmembers * sizeof(WalredoMultiXactMember));
	rec->u.mxact_members.moff = check_range("moff", PG_GETARG_INT64(1),
											WALREDO_MAX_MULTIXACT_OFFSET);

	get_typlenbyvalalign(ARR_ELEMTYPE(members), &typlen, &typbyval, &typalign);
	deconstruct_array(members, ARR_ELEMTYPE(members), typlen, typbyval,
					  typalign, &elements, NULL, &nmembers);
	for (int i = 0; i < nmembers; i++)
		read_member(DatumGetHeapTupleHeader(elements[i]),
					&rec->u.mxact_members.members[i]);

	walredo_record_validate(rec);
	PG_RETURN_WALREDO_RECORD_P(rec);
}

/*
 * A row of type walredo_multixact_member.  Its owner can alter that type, so
 * look at what the row really has.
 */
static void
read_member(HeapTupleHeader tuple, WalredoMultiXactMember *member)
{
	TupleDesc	tupdesc;
	HeapTupleData tmptup;
	Datum		values[2];
	bool		nulls[2];

	tupdesc = lookup_rowtype_tupdesc(HeapTupleHeaderGetTypeId(tuple),
									 HeapTupleHeaderGetTypMod(tuple));
	if (tupdesc->natts != 2 ||
		TupleDescAttr(tupdesc, 0)->atttypid != XIDOID ||
		TupleDescAttr(tupdesc, 1)->atttypid != INT4OID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("wrong row type for a multixact member"),
				 errdetail("The row must have two columns of type xid and integer.")));

	tmptup.t_len = HeapTupleHeaderGetDatumLength(tuple);
	ItemPointerSetInvalid(&tmptup.t_self);
	tmptup.t_tableOid = InvalidOid;
	tmptup.t_data = tuple;
	heap_deform_tuple(&tmptup, tupdesc, values, nulls);
	ReleaseTupleDesc(tupdesc);

	if (nulls[0] || nulls[1])
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"members\" must not contain nulls"),
				 errdetail("The %s of a member is null.",
						   nulls[0] ? "transaction" : "status")));

	member->xid = DatumGetTransactionId(values[0]);
	member->status = check_range("status", DatumGetInt32(values[1]),
								 PG_INT32_MAX);
}

/*
 * walredo_commit_ts_set(lsn pg_lsn, xids xid[], "timestamp" timestamptz,
 *						 origin int4)
 */
Datum
walredo_commit_ts_set(PG_FUNCTION_ARGS)
{
	ArrayType  *xids = PG_GETARG_ARRAYTYPE_P(1);
	int			nxids = check_array(xids, "xids");
	WalredoRecord *rec;

	rec = walredo_record_make(WALREDO_COMMIT_TS_SET, PG_GETARG_LSN(0),
							  offsetof(WalredoCommitTs, xids) +
							  nxids * sizeof(TransactionId));
	rec->u.commit_ts.timestamp = PG_GETARG_TIMESTAMPTZ(2);
	rec->u.commit_ts.origin = check_range("origin", PG_GETARG_INT32(3),
										  PG_UINT16_MAX);
	memcpy(rec->u.commit_ts.xids, ARR_DATA_PTR(xids),
		   nxids * sizeof(TransactionId));
	walredo_record_validate(rec);
	PG_RETURN_WALREDO_RECORD_P(rec);
}

/*
 * walredo_zero_page(lsn pg_lsn)
 */
Datum
walredo_zero_page(PG_FUNCTION_ARGS)
{
	WalredoRecord *rec;

	rec = walredo_record_make(WALREDO_ZERO_PAGE, PG_GETARG_LSN(0), 0);
	walredo_record_validate(rec);
	PG_RETURN_WALREDO_RECORD_P(rec);
}

/*
 * walredo_replace(lsn pg_lsn, contents bytea)
 */
Datum
walredo_replace(PG_FUNCTION_ARGS)
{
	WalredoRecord *rec;

	rec = make_from_bytes(WALREDO_REPLACE, PG_GETARG_LSN(0),
						  PG_GETARG_BYTEA_PP(1));
	walredo_record_validate(rec);
	PG_RETURN_WALREDO_RECORD_P(rec);
}

/*-------------------------------------------------------------------------
 *
 * tagfuncs.c
 *	  SQL functions of the type walredo_tag.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/api/tagfuncs.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "common/relpath.h"
#include "libpq/pqformat.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "api/api.h"
#include "compat.h"
#include "record/tag.h"

PG_FUNCTION_INFO_V1(walredo_tag_in);
PG_FUNCTION_INFO_V1(walredo_tag_out);
PG_FUNCTION_INFO_V1(walredo_tag_recv);
PG_FUNCTION_INFO_V1(walredo_tag_send);
PG_FUNCTION_INFO_V1(walredo_tag_from_relation);
PG_FUNCTION_INFO_V1(walredo_tag_eq);
PG_FUNCTION_INFO_V1(walredo_tag_ne);
PG_FUNCTION_INFO_V1(walredo_tag_lt);
PG_FUNCTION_INFO_V1(walredo_tag_le);
PG_FUNCTION_INFO_V1(walredo_tag_gt);
PG_FUNCTION_INFO_V1(walredo_tag_ge);
PG_FUNCTION_INFO_V1(walredo_tag_cmp);
PG_FUNCTION_INFO_V1(walredo_tag_hash);
PG_FUNCTION_INFO_V1(walredo_tag_hash_extended);

Datum
walredo_tag_in(PG_FUNCTION_ARGS)
{
	PG_RETURN_WALREDO_TAG_P(walredo_tag_from_cstring(PG_GETARG_CSTRING(0)));
}

Datum
walredo_tag_out(PG_FUNCTION_ARGS)
{
	PG_RETURN_CSTRING(walredo_tag_to_cstring(PG_GETARG_WALREDO_TAG_P(0)));
}

Datum
walredo_tag_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buf = (StringInfo) PG_GETARG_POINTER(0);

	PG_RETURN_WALREDO_TAG_P(walredo_tag_read(buf));
}

Datum
walredo_tag_send(PG_FUNCTION_ARGS)
{
	StringInfoData buf;

	pq_begintypsend(&buf);
	walredo_tag_write(&buf, PG_GETARG_WALREDO_TAG_P(0));
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

const ForkNumber walredo_logged_forks[WALREDO_NUM_LOGGED_FORKS] = {
	MAIN_FORKNUM, VISIBILITYMAP_FORKNUM, INIT_FORKNUM
};

void
walredo_report_null_element(const char *argname)
{
	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("argument \"%s\" must not contain nulls", argname)));
}

List *
walredo_getarg_relations(FunctionCallInfo fcinfo, int argno)
{
	Datum	   *elements;
	bool	   *nulls;
	int			n;
	List	   *relids = NIL;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(argno), REGCLASSOID, sizeof(Oid),
					  true, TYPALIGN_INT, &elements, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			walredo_report_null_element("relations");
		relids = lappend_oid(relids, DatumGetObjectId(elements[i]));
	}
	list_sort(relids, list_oid_cmp);
	list_deduplicate_oid(relids);
	return relids;
}

BlockNumber
walredo_check_block_number(int64 blkno)
{
	if (blkno < 0 || blkno > MaxBlockNumber)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid block number"),
				 errdetail("Block " INT64_FORMAT " is not in the range of 0 to %u.",
						   blkno, MaxBlockNumber)));
	return (BlockNumber) blkno;
}

void
walredo_tag_of_relation(Oid relid, const char *forkname, int64 blkno,
						WalredoTag *tag)
{
	ForkNumber	forknum = forkname_to_number(forkname);
	Relation	rel;

	(void) walredo_check_block_number(blkno);

	rel = try_relation_open(relid, AccessShareLock);
	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));

	if (!RELKIND_HAS_STORAGE(rel->rd_rel->relkind))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot get page address from relation \"%s\"",
						RelationGetRelationName(rel)),
				 errdetail_relkind_not_supported(rel->rd_rel->relkind)));

	/* WAL has nothing of them, neither this session's nor another's */
	if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot get page address from relation \"%s\"",
						RelationGetRelationName(rel)),
				 errdetail("Temporary relations are not WAL-logged.")));

	memset(tag, 0, sizeof(*tag));
	tag->kind = WALREDO_TAG_REL;
	tag->forknum = forknum;
	tag->spcOid = LocatorSpcOid(RelationGetLocator(rel));
	tag->dbOid = LocatorDbOid(RelationGetLocator(rel));
	tag->relNumber = LocatorRelNumber(RelationGetLocator(rel));
	tag->number = blkno;

	relation_close(rel, AccessShareLock);
}

/*
 * walredo_tag(relname regclass, fork text, blkno int8)
 * walredo_tag(relname regclass, blkno int8)
 *
 * The block may lie past the end that the fork has now: a page that was
 * truncated away has a history, too.
 */
Datum
walredo_tag_from_relation(PG_FUNCTION_ARGS)
{
	bool		main_fork = PG_NARGS() == 2;
	WalredoTag *tag = palloc(sizeof(WalredoTag));

	walredo_tag_of_relation(PG_GETARG_OID(0),
							main_fork ? forkNames[MAIN_FORKNUM] :
							text_to_cstring(PG_GETARG_TEXT_PP(1)),
							PG_GETARG_INT64(main_fork ? 1 : 2), tag);
	PG_RETURN_WALREDO_TAG_P(tag);
}

#define TAG_COMPARE(fcinfo) \
	walredo_tag_compare(PG_GETARG_WALREDO_TAG_P(0), PG_GETARG_WALREDO_TAG_P(1))

Datum
walredo_tag_eq(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(TAG_COMPARE(fcinfo) == 0);
}

Datum
walredo_tag_ne(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(TAG_COMPARE(fcinfo) != 0);
}

Datum
walredo_tag_lt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(TAG_COMPARE(fcinfo) < 0);
}

Datum
walredo_tag_le(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(TAG_COMPARE(fcinfo) <= 0);
}

Datum
walredo_tag_gt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(TAG_COMPARE(fcinfo) > 0);
}

Datum
walredo_tag_ge(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(TAG_COMPARE(fcinfo) >= 0);
}

Datum
walredo_tag_cmp(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(TAG_COMPARE(fcinfo));
}

/* The struct has no padding, so it is hashed as it lies in memory. */

Datum
walredo_tag_hash(PG_FUNCTION_ARGS)
{
	return hash_any((unsigned char *) PG_GETARG_WALREDO_TAG_P(0),
					sizeof(WalredoTag));
}

Datum
walredo_tag_hash_extended(PG_FUNCTION_ARGS)
{
	PG_RETURN_UINT64(walredo_tag_hash_value(PG_GETARG_WALREDO_TAG_P(0),
											PG_GETARG_INT64(1)));
}

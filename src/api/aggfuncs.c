/*-------------------------------------------------------------------------
 *
 * aggfuncs.c
 *	  The aggregate walredo_apply_agg(): the records of a group applied to the
 *	  image of one page.
 *
 * It is written in C throughout, and all that it needs to know is in its
 * arguments, so that postgres_fdw can have it computed by a foreign server,
 * which calls functions with a search_path of pg_catalog alone.
 *
 * The transition function keeps the records one after the other in chunks of
 * memory.  They are replayed when the result is asked for, or earlier when they
 * take more than work_mem: then the state goes on with the resulting page, so
 * that a group of any number of records takes a bounded amount of memory.
 *
 * As a window function, the aggregate is asked for its result once a row, or
 * once for all rows with the same LSN.  So the state goes on with the page
 * then, too, and each record is replayed only once.
 *
 * There is no combine function, as the order of the records matters: a parallel
 * plan can spread groups over processes, but not the records of a group.  Nor
 * is there an inverse of replay, so the executor begins anew when the start of
 * a window's frame moves.
 *
 * The executor's Agg node asks for the page of a group before it passes a
 * record of the next one, so each group makes a request of its own.  For most
 * queries with GROUP BY, the node of aggscan.c takes its place, which has the
 * requests of many groups in one stream.  It uses the same groups, by the
 * functions that agggroup.h declares.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/api/aggfuncs.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "access/xlogdefs.h"
#include "api/agggroup.h"
#include "api/api.h"
#include "catalog/pg_aggregate.h"
#include "compat.h"
#include "fmgr.h"
#include "lib/ilist.h"
#include "miscadmin.h"
#include "record/record.h"
#include "record/tag.h"
#include "redo/replay.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(walredo_apply_agg_transfn);
PG_FUNCTION_INFO_V1(walredo_apply_agg_finalfn);

/*
 * The sizes of chunks, without their headers, unless a record needs a larger
 * one.  Most groups have few records, and there may be very many groups.
 */
#define MIN_CHUNK_SIZE	1024
#define MAX_CHUNK_SIZE	(1024 * 1024)

/* Some records, one after the other, each aligned. */
typedef struct Chunk
{
	slist_node	node;
	int			num_records;
	Size		size;			/* of the records' room, after this header */
	Size		used;			/* of that */
} Chunk;

#define CHUNK_HEADER_SIZE	MAXALIGN(sizeof(Chunk))
#define ChunkData(chunk)	((char *) (chunk) + CHUNK_HEADER_SIZE)

struct WalredoApplyGroup
{
	MemoryContext context;		/* that all of it is in */
	WalredoTag	tag;
	bytea	   *base;			/* as it was given, or NULL */

	/*
	 * If base was stored out of line: what it was fetched by, so that it need
	 * not be fetched again to see that the next row has the same one.
	 */
	bool		base_is_stored;
	varatt_external base_pointer;

	/*
	 * The page after the records that have been replayed, or NULL if none
	 * has.
	 */
	bytea	   *page;

	/* The records that have not: the last chunk is the first of the list. */
	slist_head	chunks;
	int			num_records;
	Size		size;			/* of all chunks */
	XLogRecPtr	last_lsn;		/* of the last record of the group */

	/* What has been added to a stream, and where its answer goes. */
	WalredoReplayRun run;
	bytea	   *answer;			/* not ours */
	bool		is_answered;
};

/* An error_context_stack callback: says to which group an error belongs. */
static void
apply_error_context(void *arg)
{
	WalredoApplyGroup *state = arg;

	errcontext("walredo_apply_agg of %s", walredo_tag_to_cstring(&state->tag));
}

static void
check_same_tag(const WalredoApplyGroup *state, const WalredoTag *tag)
{
	if (memcmp(&state->tag, tag, sizeof(WalredoTag)) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("records of a group must have the same page address"),
				 errdetail("The group has records of %s and of %s.",
						   walredo_tag_to_cstring(&state->tag),
						   walredo_tag_to_cstring(tag)),
				 errhint("Group the records by their page addresses.")));
}

/* The pointer by which a value is stored out of line, if it is. */
static bool
get_stored_pointer(struct varlena *value, varatt_external * pointer)
{
	if (!VARATT_IS_EXTERNAL_ONDISK(value))
		return false;
	VARATT_EXTERNAL_GET_POINTER(*pointer, value);
	return true;
}

/*
 * Takes the base image of a group over from its first record.  An image of a
 * wrong length is not fetched.
 */
static void
take_base(WalredoApplyGroup *state, Datum datum)
{
	struct varlena *value = (struct varlena *) DatumGetPointer(datum);
	MemoryContext old_context;

	if (WalredoTagIsPage(&state->tag))
		walredo_check_base_size(toast_raw_datum_size(datum) - VARHDRSZ);
	state->base_is_stored = get_stored_pointer(value, &state->base_pointer);
	old_context = MemoryContextSwitchTo(state->context);
	state->base = DatumGetByteaPCopy(datum);
	MemoryContextSwitchTo(old_context);
}

/* True if a value is the base image of the group.  It may be NULL. */
static bool
is_same_base(const WalredoApplyGroup *state, struct varlena *value)
{
	varatt_external pointer;
	bytea	   *image;
	bool		result;

	if (value == NULL || state->base == NULL)
		return value == NULL && state->base == NULL;
	if (state->base_is_stored && get_stored_pointer(value, &pointer) &&
		memcmp(&pointer, &state->base_pointer, sizeof(pointer)) == 0)
		return true;
	if (toast_raw_datum_size(PointerGetDatum(value)) != VARSIZE(state->base))
		return false;
	image = (bytea *) pg_detoast_datum_packed(value);
	result = memcmp(VARDATA_ANY(image), VARDATA(state->base),
					VARSIZE(state->base) - VARHDRSZ) == 0;
	if ((Pointer) image != (Pointer) value)
		pfree(image);
	return result;
}

/* Makes the state of a group, from the arguments of its first record. */
static WalredoApplyGroup *
make_state(MemoryContext context, const NullableDatum *args)
{
	WalredoApplyGroup *state =
		MemoryContextAllocZero(context, sizeof(WalredoApplyGroup));
	ErrorContextCallback callback = {
		.previous = error_context_stack,
		.callback = apply_error_context,
		.arg = state
	};

	state->context = context;
	state->tag = *DatumGetWalredoTagP(args[0].value);
	slist_init(&state->chunks);
	error_context_stack = &callback;
	if (!args[1].isnull)
		take_base(state, args[1].value);
	error_context_stack = callback.previous;
	return state;
}

/* Frees all chunks but the smallest one, which is used again. */
static void
forget_records(WalredoApplyGroup *state)
{
	while (!slist_is_empty(&state->chunks))
	{
		slist_node *node = slist_pop_head_node(&state->chunks);
		Chunk	   *chunk = slist_container(Chunk, node, node);

		state->size -= chunk->size;
		if (slist_is_empty(&state->chunks) && chunk->size <= MIN_CHUNK_SIZE)
		{
			chunk->num_records = 0;
			chunk->used = 0;
			state->size += chunk->size;
			slist_push_head(&state->chunks, &chunk->node);
			break;
		}
		pfree(chunk);
	}
	state->num_records = 0;
}

/*
 * The records that have not been replayed, in their order; palloc'd.  There
 * must be one.
 */
static WalredoRecord **
list_records(WalredoApplyGroup *state)
{
	WalredoRecord **records;
	int			end = state->num_records;
	slist_iter	iter;

	records = palloc_extended(end * sizeof(WalredoRecord *), MCXT_ALLOC_HUGE);
	slist_foreach(iter, &state->chunks)
	{
		Chunk	   *chunk = slist_container(Chunk, node, iter.cur);
		char	   *p = ChunkData(chunk);

		end -= chunk->num_records;
		for (int i = end; i < end + chunk->num_records; i++)
		{
			records[i] = (WalredoRecord *) p;
			p += MAXALIGN(VARSIZE(p));
		}
	}
	Assert(end == 0);
	return records;
}

/*
 * The page after all records, palloc'd in the current memory context.  Changes
 * nothing in the state.
 */
static bytea *
replay_records(WalredoApplyGroup *state)
{
	bytea	   *image = state->page != NULL ? state->page : state->base;
	bytea	   *result = NULL;
	WalredoRecord **records;
	ErrorContextCallback callback = {
		.previous = error_context_stack,
		.callback = apply_error_context,
		.arg = state
	};

	if (image != NULL)
	{
		result = palloc(VARSIZE(image));
		memcpy(result, image, VARSIZE(image));
	}
	if (state->num_records == 0)
		return result;

	error_context_stack = &callback;
	records = list_records(state);
	result = walredo_replay(&state->tag, result, records, state->num_records);
	error_context_stack = callback.previous;
	pfree(records);
	return result;
}

/*
 * Replays the records, and has the state go on with the page that results, of
 * which it keeps a copy.  Returns the page.
 */
static bytea *
advance_page(WalredoApplyGroup *state)
{
	bytea	   *page = replay_records(state);

	if (state->num_records == 0)
		return page;
	if (state->page == NULL || VARSIZE(state->page) != VARSIZE(page))
	{
		if (state->page != NULL)
			pfree(state->page);
		state->page = MemoryContextAlloc(state->context, VARSIZE(page));
	}
	memcpy(state->page, page, VARSIZE(page));
	forget_records(state);
	return page;
}

/* Room for a record of a given size, which is counted as one. */
static WalredoRecord *
reserve_record(WalredoApplyGroup *state, Size record_size)
{
	Size		size = MAXALIGN(record_size);
	Chunk	   *chunk = NULL;
	char	   *result;

	if (!slist_is_empty(&state->chunks))
		chunk = slist_head_element(Chunk, node, &state->chunks);
	if (chunk == NULL || chunk->size - chunk->used < size)
	{
		Size		chunk_size = MIN_CHUNK_SIZE;

		if (chunk != NULL)
			chunk_size = Min(Max(chunk->size, MIN_CHUNK_SIZE) * 2,
							 MAX_CHUNK_SIZE);
		chunk_size = Max(chunk_size, size);
		chunk = MemoryContextAllocHuge(state->context,
									   CHUNK_HEADER_SIZE + chunk_size);
		chunk->num_records = 0;
		chunk->size = chunk_size;
		chunk->used = 0;
		slist_push_head(&state->chunks, &chunk->node);
		state->size += chunk_size;
	}
	result = ChunkData(chunk) + chunk->used;
	chunk->used += size;
	chunk->num_records++;
	state->num_records++;
	return (WalredoRecord *) result;
}

/*
 * Adds a record.  What a table or a sort has is most often neither compressed
 * nor out of line, but has a short header, and is copied only once.
 */
static void
add_record(WalredoApplyGroup *state, struct varlena *value,
		   WalredoReplayStream *stream)
{
	WalredoRecord *record;
	struct varlena *packed = pg_detoast_datum_packed(value);
	Size		size = VARSIZE_ANY_EXHDR(packed) + VARHDRSZ;

	/*
	 * Before the record is added, not after: then the last ones are replayed
	 * when the result is asked for, and most groups with one request.
	 */
	if (state->num_records == PG_INT32_MAX ||
		(state->num_records > 0 &&
		 state->size + size > work_mem * (Size) 1024))
	{
		if (stream != NULL)
			walredo_replay_finish(stream);
		pfree(advance_page(state));
	}

	record = reserve_record(state, size);
	SET_VARSIZE(record, size);
	memcpy(VARDATA(record), VARDATA_ANY(packed), size - VARHDRSZ);
	if (packed != value)
		pfree(packed);

	if (record->lsn < state->last_lsn)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("records of a group must be in the order of their LSNs"),
				 errdetail("The record at %X/%X of %s comes after the one at %X/%X.",
						   LSN_FORMAT_ARGS(record->lsn),
						   walredo_tag_to_cstring(&state->tag),
						   LSN_FORMAT_ARGS(state->last_lsn)),
				 errhint("Write walredo_apply_agg(tag, base, record ORDER BY lsn).")));
	state->last_lsn = record->lsn;
}

WalredoApplyGroup *
walredo_apply_group_add(WalredoApplyGroup *group, MemoryContext context,
						const NullableDatum *args, WalredoReplayStream *stream)
{
	if (args[2].isnull)
		return group;
	if (args[0].isnull)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("page address must not be null")));
	if (group == NULL)
		group = make_state(context, args);
	else
	{
		check_same_tag(group, DatumGetWalredoTagP(args[0].value));
		if (!is_same_base(group, args[1].isnull ? NULL :
						  (struct varlena *) DatumGetPointer(args[1].value)))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("records of a group must have the same base image"),
					 errdetail("The group is that of %s.",
							   walredo_tag_to_cstring(&group->tag))));
	}
	add_record(group, (struct varlena *) DatumGetPointer(args[2].value),
			   stream);
	return group;
}

void
walredo_apply_group_send(WalredoApplyGroup *group, WalredoReplayStream *stream,
						 bytea *page)
{
	MemoryContext old_context = MemoryContextSwitchTo(group->context);
	ErrorContextCallback callback = {
		.previous = error_context_stack,
		.callback = apply_error_context,
		.arg = group
	};

	error_context_stack = &callback;
	group->run.tag = &group->tag;
	group->run.base = group->page != NULL ? group->page : group->base;
	group->run.records = list_records(group);
	group->run.nrecords = group->num_records;
	group->answer = page;
	SET_VARSIZE(page, VARHDRSZ + BLCKSZ);
	(void) walredo_replay_add_run(stream, &group->run);
	error_context_stack = callback.previous;
	MemoryContextSwitchTo(old_context);
}

void
walredo_apply_group_take(void *job, const char *page)
{
	WalredoApplyGroup *group = (WalredoApplyGroup *)
		((char *) job - offsetof(WalredoApplyGroup, run));

	group->is_answered = (page != NULL);
	if (group->is_answered)
		memcpy(VARDATA(group->answer), page, BLCKSZ);
}

bytea *
walredo_apply_group_page(WalredoApplyGroup *group)
{
	return group->is_answered ? group->answer : replay_records(group);
}

/*
 * _walredo_apply_agg_transfn(internal, tag walredo_tag, base bytea,
 *		record walredo_record)
 *
 * Like other aggregates, ignores a row whose record is null.
 */
Datum
walredo_apply_agg_transfn(PG_FUNCTION_ARGS)
{
	MemoryContext context;
	WalredoApplyGroup *state;

	if (!AggCheckCallContext(fcinfo, &context))
		elog(ERROR, "aggregate function called in non-aggregate context");

	state = PG_ARGISNULL(0) ? NULL : (WalredoApplyGroup *) PG_GETARG_POINTER(0);
	state = walredo_apply_group_add(state, context, fcinfo->args + 1, NULL);
	if (state == NULL)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(state);
}

/*
 * _walredo_apply_agg_finalfn(internal)
 *
 * Can be called more than once for a state, with more records in between.
 */
Datum
walredo_apply_agg_finalfn(PG_FUNCTION_ARGS)
{
	WalredoApplyGroup *state;
	int			call_context = AggCheckCallContext(fcinfo, NULL);

	if (!call_context)
		elog(ERROR, "aggregate function called in non-aggregate context");
	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();

	state = (WalredoApplyGroup *) PG_GETARG_POINTER(0);
	if (call_context == AGG_CONTEXT_WINDOW)
		PG_RETURN_BYTEA_P(advance_page(state));
	PG_RETURN_BYTEA_P(replay_records(state));
}

bool
walredo_is_apply_agg(Oid aggfnoid)
{
	HeapTuple	tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(aggfnoid));
	Form_pg_aggregate form;
	Oid			transfn;
	Oid			finalfn;
	bool		is_normal;

	if (!HeapTupleIsValid(tuple))
		return false;
	form = (Form_pg_aggregate) GETSTRUCT(tuple);
	transfn = form->aggtransfn;
	finalfn = form->aggfinalfn;
	is_normal = form->aggkind == AGGKIND_NORMAL;
	ReleaseSysCache(tuple);
	return is_normal &&
		walredo_is_function(transfn, "_walredo_apply_agg_transfn",
							walredo_apply_agg_transfn) &&
		walredo_is_function(finalfn, "_walredo_apply_agg_finalfn",
							walredo_apply_agg_finalfn);
}

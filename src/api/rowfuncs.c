/*-------------------------------------------------------------------------
 *
 * rowfuncs.c
 *	  SQL functions that return rows as of an LSN.
 *
 * The server stores all that a function in FROM returns before it goes on with
 * the first row.  For a large table, that takes time and room on disk.  So the
 * planner is given a node that scans the rows one by one instead, with what the
 * function does: a custom scan.  It is chosen for a call of walredo_rows_at()
 * that stands alone in FROM, or in a join.  Elsewhere, such as in the target
 * list, the function itself is called.
 *
 * The hook for this is set when the library is loaded, and the function's
 * support function, which estimates the number of rows, sees to it that the
 * library is loaded before the hook is called.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/api/rowfuncs.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "api/api.h"
#include "api/rowscan.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "compat.h"
#include "executor/executor.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/extensible.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "nodes/supportnodes.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/restrictinfo.h"
#include "parser/parsetree.h"
#include "rows/rows.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/pg_lsn.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

WALREDO_LONG_FUNCTION(walredo_rows_at, WALREDO_COMMAND_ROWS_AT)
PG_FUNCTION_INFO_V1(walredo_rows_support);

/* The arguments of walredo_rows_at(). */
#define NUM_ROWS_ARGS		5

/*
 * Begins to return rows of a type, as the arguments say, which are those of
 * walredo_rows_at().  tupdesc is the type's.  The result, and what it refers
 * to, is in the current memory context.  Returns NULL if there is no LSN.
 */
static WalredoRows *
begin_rows(Oid typid, TupleDesc tupdesc, const NullableDatum *args)
{
	Oid			relid = get_typ_typrelid(typid);
	WalredoTag *file = NULL;
	char	   *directory = NULL;

	walredo_check_may_read_wal();
	if (args[1].isnull)
		return NULL;
	if (!args[2].isnull)
	{
		file = palloc(sizeof(WalredoTag));
		*file = *DatumGetWalredoTagP(args[2].value);
	}
	if (!args[3].isnull)
		directory = TextDatumGetCString(args[3].value);

	/* A type that was created on its own has no rows. */
	if (get_rel_relkind(relid) == RELKIND_COMPOSITE_TYPE)
	{
		if (file == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("type %s is not the row type of a table",
							format_type_be(typid)),
					 errhint("Specify the address of a file to be read, as a walredo_tag.")));
		relid = InvalidOid;
	}
	return walredo_rows_begin(relid, tupdesc, file,
							  DatumGetLSN(args[1].value), directory,
							  !args[4].isnull && DatumGetBool(args[4].value));
}

/* The row type of a call, and its attributes.  ERROR if it is none. */
static TupleDesc
get_row_type(Oid typid)
{
	if (!OidIsValid(typid) || !OidIsValid(get_typ_typrelid(typid)))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("the first argument is not of the row type of a table"),
				 errhint("For a table t, specify NULL::t.")));
	return lookup_rowtype_tupdesc_copy(typid, -1);
}

/* ----------------------------------------
 * The function
 * ----------------------------------------
 */

/* What the function keeps from row to row. */
typedef struct RowsCall
{
	TupleDesc	tupdesc;
	WalredoRows *rows;
} RowsCall;

/* Called when the query ends, which may be before all rows were returned. */
static void
end_rows(Datum arg)
{
	walredo_rows_end((WalredoRows *) DatumGetPointer(arg));
}

/*
 * walredo_rows_at(base anyelement, lsn pg_lsn, file walredo_tag,
 *				   wal_directory text, strict bool)
 */
static Datum
walredo_rows_at_work(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	FuncCallContext *funcctx;
	RowsCall   *call;
	Datum	   *values;
	bool	   *nulls;

	if (SRF_IS_FIRSTCALL())
	{
		Oid			typid = get_fn_expr_argtype(fcinfo->flinfo, 0);
		MemoryContext old_context;

		funcctx = SRF_FIRSTCALL_INIT();
		old_context = MemoryContextSwitchTo(funcctx->multi_call_memory_ctx);
		call = palloc0(sizeof(RowsCall));
		call->tupdesc = get_row_type(typid);
		call->rows = begin_rows(typid, call->tupdesc, fcinfo->args);
		if (call->rows != NULL)
			RegisterExprContextCallback(rsinfo->econtext, end_rows,
										PointerGetDatum(call->rows));
		funcctx->user_fctx = call;
		MemoryContextSwitchTo(old_context);
	}

	funcctx = SRF_PERCALL_SETUP();
	call = funcctx->user_fctx;
	if (call->rows == NULL)
		SRF_RETURN_DONE(funcctx);
	if (!walredo_rows_next(call->rows, &values, &nulls))
	{
		UnregisterExprContextCallback(rsinfo->econtext, end_rows,
									  PointerGetDatum(call->rows));
		walredo_rows_end(call->rows);
		SRF_RETURN_DONE(funcctx);
	}
	SRF_RETURN_NEXT(funcctx,
					HeapTupleGetDatum(heap_form_tuple(call->tupdesc, values,
													  nulls)));
}

/*
 * walredo_rows_support(internal)
 *
 * The estimate is the number of rows that the table has now.
 */
Datum
walredo_rows_support(PG_FUNCTION_ARGS)
{
	Node	   *request = (Node *) PG_GETARG_POINTER(0);
	SupportRequestRows *rows_request;
	FuncExpr   *call;
	Oid			relid;
	HeapTuple	tuple;
	double		reltuples = -1;

	if (!IsA(request, SupportRequestRows))
		PG_RETURN_POINTER(NULL);
	rows_request = (SupportRequestRows *) request;
	if (!IsA(rows_request->node, FuncExpr))
		PG_RETURN_POINTER(NULL);
	call = (FuncExpr *) rows_request->node;
	relid = get_typ_typrelid(exprType(linitial(call->args)));
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	if (HeapTupleIsValid(tuple))
	{
		reltuples = ((Form_pg_class) GETSTRUCT(tuple))->reltuples;
		ReleaseSysCache(tuple);
	}
	if (reltuples < 0)
		PG_RETURN_POINTER(NULL);
	rows_request->rows = Max(reltuples, 1);
	PG_RETURN_POINTER(request);
}

/* ----------------------------------------
 * The custom scan
 * ----------------------------------------
 */

typedef struct RowsScanState
{
	CustomScanState css;		/* must be first */
	FuncExpr   *call;
	List	   *args;			/* of ExprState, of the call */
	Oid			typid;			/* the row type */
	TupleDesc	tupdesc;
	MemoryContext context;		/* reset with each scan */
	WalredoRows *rows;			/* NULL before the first row */
	WalredoProgress *progress;	/* the same, in context */
	bool		is_done;
} RowsScanState;

static Plan *plan_rows_path(PlannerInfo *root, RelOptInfo *rel,
							CustomPath *best_path, List *tlist, List *clauses,
							List *custom_plans);
static Node *create_rows_scan_state(CustomScan *scan);
static void begin_rows_scan(CustomScanState *node, EState *estate, int eflags);
static TupleTableSlot *exec_rows_scan(CustomScanState *node);
static void end_rows_scan(CustomScanState *node);
static void rescan_rows_scan(CustomScanState *node);

static const CustomPathMethods rows_path_methods = {
	.CustomName = "walredo rows",
	.PlanCustomPath = plan_rows_path,
};

static const CustomScanMethods rows_scan_methods = {
	.CustomName = "walredo rows",
	.CreateCustomScanState = create_rows_scan_state,
};

static const CustomExecMethods rows_exec_methods = {
	.CustomName = "walredo rows",
	.BeginCustomScan = begin_rows_scan,
	.ExecCustomScan = exec_rows_scan,
	.EndCustomScan = end_rows_scan,
	.ReScanCustomScan = rescan_rows_scan,
};

static set_rel_pathlist_hook_type prev_set_rel_pathlist_hook = NULL;

/* The call of walredo_rows_at() that a range table entry is, or NULL. */
static FuncExpr *
get_rows_call(RangeTblEntry *rte)
{
	RangeTblFunction *function;
	FuncExpr   *call;

	if (rte->rtekind != RTE_FUNCTION || rte->funcordinality ||
		list_length(rte->functions) != 1)
		return NULL;
	function = linitial(rte->functions);
	call = (FuncExpr *) function->funcexpr;
	if (!IsA(call, FuncExpr) || !call->funcretset ||
		list_length(call->args) != NUM_ROWS_ARGS ||
		!walredo_is_function(call->funcid, "walredo_rows_at",
							 walredo_rows_at) ||
		!OidIsValid(get_typ_typrelid(exprType(linitial(call->args)))))
		return NULL;
	return call;
}

/*
 * Is a column wanted that the row type has not, or not any more?  A query that
 * is planned again after the table has been altered still has the columns that
 * there were when it was parsed.
 */
static bool
wants_missing_column(RelOptInfo *rel, Oid typid)
{
	TupleDesc	tupdesc = get_row_type(typid);
	List	   *exprs = extract_actual_clauses(rel->baserestrictinfo, false);
	ListCell   *cell;

	exprs = list_concat(exprs, rel->reltarget->exprs);
	foreach(cell, pull_var_clause((Node *) exprs, PVC_RECURSE_PLACEHOLDERS))
	{
		Var		   *var = lfirst_node(Var, cell);

		if (var->varno != rel->relid || var->varattno <= 0)
			continue;
		if (var->varattno > tupdesc->natts ||
			TupleDescAttr(tupdesc, var->varattno - 1)->attisdropped ||
			TupleDescAttr(tupdesc, var->varattno - 1)->atttypid != var->vartype)
			return true;
	}
	return false;
}

/*
 * Replaces the scan of a function, which would store all rows.
 */
static void
set_rows_pathlist(PlannerInfo *root, RelOptInfo *rel, Index rti,
				  RangeTblEntry *rte)
{
	FuncExpr   *call = get_rows_call(rte);
	CustomPath *path;

	if (prev_set_rel_pathlist_hook != NULL)
		prev_set_rel_pathlist_hook(root, rel, rti, rte);
	if (call == NULL)
		return;

	/* The function's own scan fails as any function's does. */
	if (wants_missing_column(rel, exprType(linitial(call->args))))
		return;

	/* EvalPlanQual() has the rows of such a relation, and not of this node. */
	if (root->rowMarks != NIL)
		return;

	path = makeNode(CustomPath);
	path->path.pathtype = T_CustomScan;
	path->path.parent = rel;
	path->path.pathtarget = rel->reltarget;
	path->path.param_info = get_baserel_parampathinfo(root, rel,
													  rel->lateral_relids);
	path->path.rows = rel->rows;
	path->path.total_cost = rel->rows * (cpu_tuple_cost +
										 rel->baserestrictcost.per_tuple);
	path->flags = CUSTOMPATH_SUPPORT_PROJECTION;
	path->methods = &rows_path_methods;
	rel->pathlist = NIL;
	add_path(rel, &path->path);
}

/* Is the row as a whole among what is wanted of the relation? */
static bool
uses_whole_row(RelOptInfo *rel, List *clauses)
{
	Bitmapset  *attnums = NULL;

	pull_varattnos((Node *) rel->reltarget->exprs, rel->relid, &attnums);
	pull_varattnos((Node *) clauses, rel->relid, &attnums);
	return bms_is_member(0 - FirstLowInvalidHeapAttributeNumber, attnums);
}

/*
 * The plan has the call as its expression.  The tuples of the scan have all
 * columns that the row type has, and then, if the query uses it, the row as a
 * whole.
 */
static Plan *
plan_rows_path(PlannerInfo *root, RelOptInfo *rel, CustomPath *best_path,
			   List *tlist, List *clauses, List *custom_plans)
{
	CustomScan *scan = makeNode(CustomScan);
	RangeTblEntry *rte = planner_rt_fetch(rel->relid, root);
	FuncExpr   *call = get_rows_call(rte);
	Oid			typid = exprType(linitial(call->args));
	TupleDesc	tupdesc = get_row_type(typid);
	List	   *actual = extract_actual_clauses(clauses, false);
	List	   *columns = NIL;

	for (int i = 0; i < tupdesc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(tupdesc, i);
		Var		   *var;

		if (att->attisdropped)
			continue;
		var = makeVar(rel->relid, i + 1, att->atttypid, att->atttypmod,
					  att->attcollation, 0);
		columns = lappend(columns,
						  makeTargetEntry((Expr *) var,
										  list_length(columns) + 1,
										  pstrdup(NameStr(att->attname)),
										  false));
	}
	if (uses_whole_row(rel, actual))
	{
		Var		   *var = makeVar(rel->relid, InvalidAttrNumber, typid, -1,
								  InvalidOid, 0);

		columns = lappend(columns,
						  makeTargetEntry((Expr *) var,
										  list_length(columns) + 1, NULL,
										  false));
	}

	/* The plan is of no use any more if the row type changes. */
	root->glob->relationOids = lappend_oid(root->glob->relationOids,
										   get_typ_typrelid(typid));
	scan->scan.plan.targetlist = tlist;
	scan->scan.plan.qual = actual;
	scan->flags = best_path->flags;
	scan->custom_exprs = list_make1(call);
	scan->custom_scan_tlist = columns;
	scan->methods = &rows_scan_methods;
	return &scan->scan.plan;
}

static Node *
create_rows_scan_state(CustomScan *scan)
{
	RowsScanState *state = palloc0(sizeof(RowsScanState));

	NodeSetTag(state, T_CustomScanState);
	state->css.methods = &rows_exec_methods;
	state->call = linitial(scan->custom_exprs);
	return (Node *) state;
}

/*
 * ERROR if the row type has changed since the query was planned: the slot of
 * the scan is as it was then.
 */
static void
check_row_type(const RowsScanState *state, TupleDesc planned)
{
	int			n = 0;
	bool		is_same = true;

	for (int i = 0; i < state->tupdesc->natts && is_same; i++)
	{
		Form_pg_attribute att = TupleDescAttr(state->tupdesc, i);

		if (att->attisdropped)
			continue;
		is_same = n < planned->natts &&
			TupleDescAttr(planned, n)->atttypid == att->atttypid;
		n++;
	}
	if (is_same && n < planned->natts)
		is_same = n + 1 == planned->natts &&
			TupleDescAttr(planned, n)->atttypid == state->typid;
	if (!is_same)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("row type %s has changed since the query was planned",
						format_type_be(state->typid))));
}

/* As ExecInitTableFunctionExpr() in execSRF.c. */
static void
begin_rows_scan(CustomScanState *node, EState *estate, int eflags)
{
	RowsScanState *state = (RowsScanState *) node;
	Oid			funcid = state->call->funcid;
	AclResult	aclresult = walredo_function_aclcheck(funcid, GetUserId());

	if (aclresult != ACLCHECK_OK)
		aclcheck_error(aclresult, OBJECT_FUNCTION, get_func_name(funcid));
	state->args = ExecInitExprList(state->call->args, &node->ss.ps);
	state->typid = exprType(linitial(state->call->args));
	state->tupdesc = get_row_type(state->typid);
	check_row_type(state, node->ss.ss_ScanTupleSlot->tts_tupleDescriptor);
	state->context = AllocSetContextCreate(estate->es_query_cxt,
										   "walredo rows",
										   ALLOCSET_DEFAULT_SIZES);
}

/* Evaluates the arguments of the call, and begins. */
static void
start_rows(RowsScanState *state)
{
	MemoryContext old_context = MemoryContextSwitchTo(state->context);
	NullableDatum args[NUM_ROWS_ARGS];

	for (int i = 0; i < NUM_ROWS_ARGS; i++)
		args[i].value = ExecEvalExpr((ExprState *) list_nth(state->args, i),
									 state->css.ss.ps.ps_ExprContext,
									 &args[i].isnull);
	state->rows = begin_rows(state->typid, state->tupdesc, args);
	state->is_done = state->rows == NULL;
	MemoryContextSwitchTo(old_context);
}

/* Gets the next row, and shows the progress.  False if there are no more. */
static bool
fetch_row(RowsScanState *state, Datum **values, bool **nulls)
{
	if (state->is_done)
		return false;
	if (state->progress == NULL)
		state->progress = walredo_progress_create(state->context,
												  WALREDO_COMMAND_ROWS_AT);
	walredo_progress_enter(state->progress);
	if (state->rows == NULL)
		start_rows(state);
	if (!state->is_done)
		state->is_done = !walredo_rows_next(state->rows, values, nulls);
	walredo_progress_leave(state->progress);
	if (state->is_done)
		walredo_progress_end(state->progress);
	return !state->is_done;
}

/* Gets the next row into the slot of the scan. */
static TupleTableSlot *
next_row(ScanState *node)
{
	RowsScanState *state = (RowsScanState *) node;
	TupleTableSlot *slot = node->ss_ScanTupleSlot;
	Datum	   *values;
	bool	   *nulls;
	int			n = 0;

	ExecClearTuple(slot);
	if (!fetch_row(state, &values, &nulls))
		return slot;
	for (int i = 0; i < state->tupdesc->natts; i++)
	{
		if (TupleDescAttr(state->tupdesc, i)->attisdropped)
			continue;
		slot->tts_values[n] = values[i];
		slot->tts_isnull[n++] = nulls[i];
	}
	if (n < slot->tts_tupleDescriptor->natts)
	{
		ExprContext *econtext = node->ps.ps_ExprContext;
		MemoryContext old_context =
			MemoryContextSwitchTo(econtext->ecxt_per_tuple_memory);

		slot->tts_values[n] =
			HeapTupleGetDatum(heap_form_tuple(state->tupdesc, values, nulls));
		slot->tts_isnull[n] = false;
		MemoryContextSwitchTo(old_context);
	}
	return ExecStoreVirtualTuple(slot);
}

/*
 * Called instead of next_row() within EvalPlanQual(), which has no row for this
 * node: it is in a subquery.
 */
static bool
recheck_row(ScanState *node, TupleTableSlot *slot)
{
	(void) next_row(node);
	return true;
}

static TupleTableSlot *
exec_rows_scan(CustomScanState *node)
{
	return ExecScan(&node->ss, next_row, recheck_row);
}

static void
end_rows_scan(CustomScanState *node)
{
	RowsScanState *state = (RowsScanState *) node;

	if (state->rows != NULL)
		walredo_rows_end(state->rows);
	state->rows = NULL;
	if (state->progress != NULL)
		walredo_progress_end(state->progress);
	state->progress = NULL;
}

static void
rescan_rows_scan(CustomScanState *node)
{
	RowsScanState *state = (RowsScanState *) node;

	end_rows_scan(node);
	MemoryContextReset(state->context);
	state->is_done = false;
	ExecScanReScan(&node->ss);
}

void
walredo_rows_scan_init(void)
{
	RegisterCustomScanMethods(&rows_scan_methods);
	prev_set_rel_pathlist_hook = set_rel_pathlist_hook;
	set_rel_pathlist_hook = set_rows_pathlist;
}

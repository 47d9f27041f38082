/*-------------------------------------------------------------------------
 *
 * aggscan.c
 *	  Groups of walredo_apply_agg() whose requests share a stream.
 *
 * An Agg node wants the page of a group before it passes a record of the next
 * one, so that a child waits for the session after each group, and the session
 * for the child.  So the planner is given another node for the grouping step of
 * a query: a custom scan over a sort of its own.  It reads the records of many
 * groups, a batch, adds each group to a stream as soon as it is complete, and
 * returns the pages when the whole batch has been replayed.  What is done with
 * the records of a group is the same, see aggfuncs.c.
 *
 * While the stream has requests in flight, nothing else in this process can
 * have a child.  So all expressions of the query below the node, which may call
 * functions that need one, are evaluated before the rows are sorted, and those
 * above it when the stream has been finished.  In between, rows are only
 * fetched from the sort, and compared, by operators that are written in C.
 *
 * A batch begins small, and grows, so that LIMIT does not make us replay much
 * more than is wanted.  It ends when its groups take work_mem.  As a group can
 * take as much before it is replayed in parts, a node takes up to two times
 * work_mem, besides what the sort takes.
 *
 * Errors of an aggregate's arguments come when a batch is read, which is before
 * the pages of the groups before are returned.  If a child fails, the group is
 * replayed again on its own when its turn comes, and raises its error then.
 *
 * The node takes the place of an Agg node if the aggregate is the only one in
 * the query, has ORDER BY, and has neither FILTER nor DISTINCT, and if there is
 * a plain GROUP BY of what is not volatile.  Without ORDER BY, the order of
 * rows would have to be that of the input, which a sort does not keep.
 *
 * The hook for this is set when the library is loaded.  The support function of
 * the aggregate's final function sees to it that this has happened when the
 * planner has found out what aggregates cost, which it does before it calls the
 * hook.
 *
 * Portions Copyright (c) 2026, walredo developers
 *
 * src/api/aggscan.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/agggroup.h"
#include "api/aggscan.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_aggregate.h"
#include "catalog/pg_language_d.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/extensible.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/planner.h"
#include "optimizer/prep.h"
#include "optimizer/tlist.h"
#include "utils/acl.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/selfuncs.h"
#include "utils/syscache.h"

/* The arguments of walredo_apply_agg(). */
#define NUM_AGG_ARGS		3

/* How many groups the first batch has, and how many a batch has at most. */
#define FIRST_BATCH_SIZE	16
#define MAX_BATCH_SIZE		256

/*
 * After so many rows of a group, pages of the groups before are taken, so that
 * a child does not have to wait for the end of a large group.
 */
#define ROWS_PER_ADVANCE	1000

/*
 * How much memory is kept from batch to batch, so that it is not given back to
 * the operating system in between.  MAX_BATCH_SIZE small groups need about as
 * much, besides their pages.
 */
#define BATCH_CONTEXT_SIZE	(512 * 1024)

/*
 * What a request in a stream costs, as a part of what one on its own does: the
 * final function's cost in an Agg node.
 */
#define STREAM_COST_FACTOR	0.5

/* ----------------------------------------
 * The planner's part
 * ----------------------------------------
 */

/*
 * A path for the grouping step.  The input of the node has, in this order: the
 * columns that are kept of the first row of each group, which begin with the
 * group's; the arguments of the aggregate; and what it is ordered by; each only
 * once.
 */
typedef struct AggScanPath
{
	CustomPath	custom;			/* must be first */
	List	   *kept;			/* of expressions */
	int			num_keys;		/* how many of them are the group's */
	Aggref	   *aggref;
	List	   *args;			/* columns of the arguments, from 1 */
	List	   *sort_clauses;	/* of SortGroupClause */
	List	   *sort_columns;	/* of these, from 1 */
	List	   *having;
} AggScanPath;

static Plan *plan_agg_path(PlannerInfo *root, RelOptInfo *rel,
						   CustomPath *best_path, List *tlist, List *clauses,
						   List *custom_plans);
static Node *create_agg_scan_state(CustomScan *scan);
static void begin_agg_scan(CustomScanState *node, EState *estate, int eflags);
static TupleTableSlot *exec_agg_scan(CustomScanState *node);
static void end_agg_scan(CustomScanState *node);
static void rescan_agg_scan(CustomScanState *node);

static const CustomPathMethods agg_path_methods = {
	.CustomName = "walredo apply",
	.PlanCustomPath = plan_agg_path,
};

static const CustomScanMethods agg_scan_methods = {
	.CustomName = "walredo apply",
	.CreateCustomScanState = create_agg_scan_state,
};

static const CustomExecMethods agg_exec_methods = {
	.CustomName = "walredo apply",
	.BeginCustomScan = begin_agg_scan,
	.ExecCustomScan = exec_agg_scan,
	.EndCustomScan = end_agg_scan,
	.ReScanCustomScan = rescan_agg_scan,
};

static create_upper_paths_hook_type prev_create_upper_paths_hook = NULL;

/* The column, from 1, of an expression, which is added if it is not there. */
static int
add_column(List **columns, Expr *expr)
{
	int			n = 0;
	ListCell   *lc;

	foreach(lc, *columns)
	{
		n++;
		if (equal(lfirst(lc), expr))
			return n;
	}
	*columns = lappend(*columns, expr);
	return n + 1;
}

/* Is the function of an operator written in C? */
static bool
is_c_operator(Oid opno)
{
	Oid			funcid = get_opcode(opno);
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(funcid));
	Oid			language;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", funcid);
	language = ((Form_pg_proc) GETSTRUCT(tuple))->prolang;
	ReleaseSysCache(tuple);
	return language == INTERNALlanguageId || language == ClanguageId;
}

/*
 * Can rows be compared by an expression while the stream has requests in
 * flight?  Operators in other languages than C may call functions that need a
 * child.  A value that consists of others is compared by the operators of their
 * types, at which we do not look.
 */
static bool
is_comparable(const SortGroupClause *clause, Node *expr)
{
	Oid			type = getBaseType(exprType(expr));
	char		typtype = get_typtype(type);

	return (typtype == TYPTYPE_BASE || typtype == TYPTYPE_ENUM) &&
		!OidIsValid(get_element_type(type)) &&
		is_c_operator(clause->eqop) && is_c_operator(clause->sortop);
}

/*
 * Is a call one that the node can compute?  Its base image must not be
 * computed: it takes much room in a sort if it is not stored out of line.
 */
static bool
is_computable(Aggref *aggref)
{
	Node	   *base;
	ListCell   *lc;

	if (aggref->aggorder == NIL || aggref->aggdistinct != NIL ||
		aggref->aggfilter != NULL ||
		list_length(aggref->args) < NUM_AGG_ARGS ||
		contain_volatile_functions((Node *) aggref) ||
		!walredo_is_apply_agg(aggref->aggfnoid))
		return false;
	foreach(lc, aggref->aggorder)
	{
		SortGroupClause *clause = lfirst_node(SortGroupClause, lc);

		if (!is_comparable(clause,
						   get_sortgroupclause_expr(clause, aggref->args)))
			return false;
	}
	base = (Node *) lsecond_node(TargetEntry, aggref->args)->expr;
	return IsA(base, Var) ||
		(IsA(base, Const) && ((Const *) base)->constisnull);
}

/* The expression of a target that has the given number, or NULL. */
static Expr *
find_labeled_expr(PathTarget *target, Index sortgroupref)
{
	int			i = 0;
	ListCell   *lc;

	foreach(lc, target->exprs)
	{
		if (get_pathtarget_sortgroupref(target, i) == sortgroupref)
			return lfirst(lc);
		i++;
	}
	return NULL;
}

/*
 * Finds what path->kept and path->aggref have to be, of which everything that
 * is wanted of the groups can be computed.  This is similar to
 * make_partial_grouping_target() in planner.c.  Returns false if the node
 * cannot do that.
 */
static bool
find_group_columns(AggScanPath *path, PathTarget *input, PathTarget *output,
				   List *group_clause)
{
	List	   *others = NIL;
	int			i = 0;
	ListCell   *lc;

	foreach(lc, group_clause)
	{
		SortGroupClause *clause = lfirst_node(SortGroupClause, lc);
		Expr	   *key = find_labeled_expr(input, clause->tleSortGroupRef);

		/*
		 * The planner finds columns of the scan by what they are computed of,
		 * which does not tell two calls of random() apart.
		 */
		if (key == NULL || contain_volatile_functions((Node *) key) ||
			!is_comparable(clause, (Node *) key))
			return false;
		path->kept = lappend(path->kept, key);
	}
	path->num_keys = list_length(path->kept);

	foreach(lc, output->exprs)
	{
		Index		sortgroupref = get_pathtarget_sortgroupref(output, i++);

		if (sortgroupref == 0 ||
			get_sortgroupref_clause_noerr(sortgroupref, group_clause) == NULL)
			others = lappend(others, lfirst(lc));
	}
	others = pull_var_clause((Node *) list_concat(others, path->having),
							 PVC_INCLUDE_AGGREGATES |
							 PVC_RECURSE_WINDOWFUNCS |
							 PVC_INCLUDE_PLACEHOLDERS);
	foreach(lc, others)
	{
		Node	   *node = lfirst(lc);

		if (IsA(node, GroupingFunc))
			return false;
		if (!IsA(node, Aggref))
			(void) add_column(&path->kept, (Expr *) node);
		else if (path->aggref == NULL && is_computable((Aggref *) node))
			path->aggref = (Aggref *) node;
		else if (path->aggref == NULL || !equal(path->aggref, node))
			return false;
	}
	return path->aggref != NULL;
}

/*
 * Offers a path for the grouping step.  Its cost is that of an Agg node over a
 * sort of the input, with less for each request.  That our sort has the
 * arguments and the order of the aggregate, too, costs no more: an Agg node
 * sorts these for each group, for which the planner does not charge.
 */
static void
add_agg_path(PlannerInfo *root, RelOptInfo *input_rel, RelOptInfo *grouped_rel,
			 GroupPathExtraData *extra)
{
	Path	   *input = input_rel->cheapest_total_path;
	List	   *group_clause = WalredoGroupClause(root);
	AggScanPath *path = (AggScanPath *) newNode(sizeof(AggScanPath),
												T_CustomPath);
	PathTarget *target = create_empty_pathtarget();
	AggClauseCosts costs = {0};
	Path	   *sort;
	Path	   *agg_sort;
	AggPath    *agg;
	ListCell   *lc;

	path->having = (List *) extra->havingQual;
	if (!find_group_columns(path, input->pathtarget, grouped_rel->reltarget,
							group_clause))
		return;

	/* The columns of the input, and how they are sorted. */
	target->exprs = list_copy(path->kept);
	foreach(lc, group_clause)
	{
		path->sort_clauses = lappend(path->sort_clauses, lfirst(lc));
		path->sort_columns = lappend_int(path->sort_columns,
										 foreach_current_index(lc) + 1);
	}
	for (int i = 0; i < NUM_AGG_ARGS; i++)
	{
		TargetEntry *arg = list_nth_node(TargetEntry, path->aggref->args, i);

		path->args = lappend_int(path->args,
								 add_column(&target->exprs, arg->expr));
	}
	foreach(lc, path->aggref->aggorder)
	{
		SortGroupClause *clause = lfirst_node(SortGroupClause, lc);
		Node	   *expr = get_sortgroupclause_expr(clause,
													path->aggref->args);

		path->sort_clauses = lappend(path->sort_clauses, clause);
		path->sort_columns = lappend_int(path->sort_columns,
										 add_column(&target->exprs,
													(Expr *) expr));
	}
	set_pathtarget_cost_width(root, target);

	/*
	 * The sort has no keys yet, as columns of partitions need not be known as
	 * members of equivalence classes.  plan_agg_path() sets them.
	 */
	sort = (Path *) create_projection_path(root, input_rel, input, target);
	sort = (Path *) create_sort_path(root, grouped_rel, sort, NIL, -1.0);
	agg_sort = (Path *) create_sort_path(root, grouped_rel, input, NIL, -1.0);
	sort->startup_cost = agg_sort->startup_cost;
	sort->total_cost = agg_sort->total_cost;
	get_agg_clause_costs(root, AGGSPLIT_SIMPLE, &costs);
	costs.finalCost.per_tuple *= STREAM_COST_FACTOR;
	agg = create_agg_path(root, grouped_rel, agg_sort, grouped_rel->reltarget,
						  AGG_SORTED, AGGSPLIT_SIMPLE, group_clause,
						  path->having, &costs,
						  estimate_num_groups(root,
											  list_copy_head(path->kept,
															 path->num_keys),
											  input->rows, NULL, NULL));

	path->custom.path = agg->path;
	NodeSetTag(path, T_CustomPath);
	path->custom.path.pathtype = T_CustomScan;
	path->custom.path.parallel_safe = sort->parallel_safe;
	path->custom.path.pathkeys = WalredoGroupPathKeys(root);
	path->custom.flags = CUSTOMPATH_SUPPORT_PROJECTION;
	path->custom.custom_paths = list_make1(sort);
	path->custom.methods = &agg_path_methods;
	add_path(grouped_rel, &path->custom.path);
}

/*
 * Has a foreign server been found to be best at computing the groups, or those
 * of a partition?  Its cost is that of one server that does nothing else, but
 * several can do it at the same time.
 */
static bool
is_computed_elsewhere(List *paths)
{
	ListCell   *lc;

	foreach(lc, paths)
	{
		Path	   *path = lfirst(lc);

		if (IsA(path, ForeignPath) ||
			(IsA(path, AppendPath) &&
			 is_computed_elsewhere(((AppendPath *) path)->subpaths)))
			return true;
	}
	return false;
}

/* Called for the groups of each query, and of each of its partitions. */
static void
add_upper_paths(PlannerInfo *root, UpperRelationKind stage,
				RelOptInfo *input_rel, RelOptInfo *output_rel, void *extra)
{
	if (prev_create_upper_paths_hook != NULL)
		prev_create_upper_paths_hook(root, stage, input_rel, output_rel,
									 extra);
	if (stage == UPPERREL_GROUP_AGG && list_length(root->agginfos) == 1 &&
		root->parse->groupingSets == NIL && !root->parse->hasTargetSRFs &&
		WalredoGroupClause(root) != NIL &&
		grouping_is_sortable(WalredoGroupClause(root)) &&
		!is_computed_elsewhere(output_rel->pathlist))
		add_agg_path(root, input_rel, output_rel, extra);
}

/* Sets the keys of the sort below the node, as make_sort() in createplan.c. */
static void
set_sort_keys(Sort *sort, const AggScanPath *path)
{
	int			n = list_length(path->sort_columns);

	sort->numCols = n;
	sort->sortColIdx = palloc(n * sizeof(AttrNumber));
	sort->sortOperators = palloc(n * sizeof(Oid));
	sort->collations = palloc(n * sizeof(Oid));
	sort->nullsFirst = palloc(n * sizeof(bool));
	for (int i = 0; i < n; i++)
	{
		SortGroupClause *clause = list_nth_node(SortGroupClause,
												path->sort_clauses, i);
		int			column = list_nth_int(path->sort_columns, i);
		TargetEntry *tle = list_nth_node(TargetEntry, sort->plan.targetlist,
										 column - 1);

		sort->sortColIdx[i] = column;
		sort->sortOperators[i] = clause->sortop;
		sort->collations[i] = exprCollation((Node *) tle->expr);
		sort->nullsFirst[i] = clause->nulls_first;
	}
}

/*
 * The tuples of the scan have the columns that are kept of each group, and then
 * the page.  The plan says where the input has the aggregate's arguments, how
 * the keys of groups are compared, and which function the aggregate is.
 */
static Plan *
plan_agg_path(PlannerInfo *root, RelOptInfo *rel, CustomPath *best_path,
			  List *tlist, List *clauses, List *custom_plans)
{
	AggScanPath *path = (AggScanPath *) best_path;
	CustomScan *scan = makeNode(CustomScan);
	List	   *columns = lappend(list_copy(path->kept), path->aggref);
	List	   *operators = NIL;
	List	   *collations = NIL;
	ListCell   *lc;

	foreach(lc, columns)
	{
		TargetEntry *tle = makeTargetEntry(copyObject(lfirst(lc)),
										   foreach_current_index(lc) + 1,
										   NULL, false);

		scan->custom_scan_tlist = lappend(scan->custom_scan_tlist, tle);
	}
	for (int i = 0; i < path->num_keys; i++)
	{
		operators = lappend_oid(operators,
								list_nth_node(SortGroupClause,
											  path->sort_clauses, i)->eqop);
		collations = lappend_oid(collations,
								 exprCollation(list_nth(path->kept, i)));
	}
	set_sort_keys(linitial_node(Sort, custom_plans), path);

	scan->scan.plan.targetlist = tlist;
	scan->scan.plan.qual = path->having;
	scan->flags = best_path->flags;
	scan->custom_plans = custom_plans;
	scan->custom_private = list_make4(path->args, operators, collations,
									  list_make1_oid(path->aggref->aggfnoid));
	scan->methods = &agg_scan_methods;
	return &scan->scan.plan;
}

/* ----------------------------------------
 * The executor's part
 * ----------------------------------------
 */

/* A group of a batch. */
typedef struct BatchGroup
{
	Datum	   *values;			/* of its columns that are kept */
	bool	   *nulls;
	WalredoApplyGroup *records;
	bytea	   *page;			/* room that is used again; NULL at first */
} BatchGroup;

typedef struct AggScanState
{
	CustomScanState css;		/* must be first */
	int			num_kept;
	AttrNumber	args[NUM_AGG_ARGS];
	ExprState  *is_same_group;	/* outer tuple: key, inner tuple: row */
	TupleTableSlot *key;		/* the kept columns of the last group */

	/* The next row of the input; NULL at its beginning, and at its end. */
	TupleTableSlot *row;
	bool		is_done;

	WalredoReplayStream *stream;	/* NULL if none was needed yet */
	MemoryContext context;		/* of the batch */
	int			batch_size;		/* of the next one, in groups */
	int			num_groups;
	int			next_group;		/* to be returned */
	BatchGroup	groups[MAX_BATCH_SIZE];
} AggScanState;

static Node *
create_agg_scan_state(CustomScan *scan)
{
	AggScanState *state = palloc0(sizeof(AggScanState));

	NodeSetTag(state, T_CustomScanState);
	state->css.methods = &agg_exec_methods;
	return (Node *) state;
}

static void
check_may_execute(Oid funcid, Oid role, ObjectType type)
{
	AclResult	aclresult = walredo_function_aclcheck(funcid, role);

	if (aclresult != ACLCHECK_OK)
		aclcheck_error(aclresult, type, get_func_name(funcid));
	InvokeFunctionExecuteHook(funcid);
}

/* The privileges that an Agg node checks, see ExecInitAgg() in nodeAgg.c. */
static void
check_privileges(Oid aggfnoid)
{
	HeapTuple	tuple;
	Oid			owner;
	Oid			transfn;
	Oid			finalfn;

	check_may_execute(aggfnoid, GetUserId(), OBJECT_AGGREGATE);
	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(aggfnoid));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", aggfnoid);
	owner = ((Form_pg_proc) GETSTRUCT(tuple))->proowner;
	ReleaseSysCache(tuple);
	tuple = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(aggfnoid));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for aggregate %u", aggfnoid);
	transfn = ((Form_pg_aggregate) GETSTRUCT(tuple))->aggtransfn;
	finalfn = ((Form_pg_aggregate) GETSTRUCT(tuple))->aggfinalfn;
	ReleaseSysCache(tuple);
	check_may_execute(transfn, owner, OBJECT_FUNCTION);
	check_may_execute(finalfn, owner, OBJECT_FUNCTION);
}

static void
begin_agg_scan(CustomScanState *node, EState *estate, int eflags)
{
	AggScanState *state = (AggScanState *) node;
	CustomScan *scan = (CustomScan *) node->ss.ps.plan;
	List	   *operators = lsecond(scan->custom_private);
	List	   *collations = lthird(scan->custom_private);
	int			num_keys = list_length(operators);
	AttrNumber *key_columns = palloc(num_keys * sizeof(AttrNumber));
	Oid		   *key_operators = palloc(num_keys * sizeof(Oid));
	Oid		   *key_collations = palloc(num_keys * sizeof(Oid));
	PlanState  *input;
	TupleDesc	tupdesc;

	check_privileges(linitial_oid((List *) lfourth(scan->custom_private)));
	input = ExecInitNode(linitial(scan->custom_plans), estate, eflags);
	node->custom_ps = list_make1(input);
	tupdesc = ExecGetResultType(input);

	state->num_kept = list_length(scan->custom_scan_tlist) - 1;
	for (int i = 0; i < NUM_AGG_ARGS; i++)
		state->args[i] = list_nth_int(linitial(scan->custom_private), i);
	for (int i = 0; i < num_keys; i++)
	{
		key_columns[i] = i + 1;
		key_operators[i] = list_nth_oid(operators, i);
		key_collations[i] = list_nth_oid(collations, i);
	}
	state->is_same_group = execTuplesMatchPrepare(tupdesc, num_keys,
												  key_columns, key_operators,
												  key_collations,
												  &node->ss.ps);
	state->key = ExecInitExtraTupleSlot(estate, tupdesc, &TTSOpsVirtual);
	state->context = AllocSetContextCreate(estate->es_query_cxt,
										   "walredo apply",
										   Min(BATCH_CONTEXT_SIZE,
											   work_mem * (Size) 1024 / 4),
										   ALLOCSET_DEFAULT_INITSIZE,
										   ALLOCSET_DEFAULT_MAXSIZE);
	state->batch_size = FIRST_BATCH_SIZE;
}

static void
fetch_row(AggScanState *state)
{
	state->row = ExecProcNode(linitial(state->css.custom_ps));
	if (TupIsNull(state->row))
	{
		state->row = NULL;
		state->is_done = true;
	}
}

/* Keeps columns of a group's first row. */
static void
keep_columns(AggScanState *state, BatchGroup *group)
{
	TupleTableSlot *key = state->key;
	TupleDesc	tupdesc = key->tts_tupleDescriptor;
	int			n = state->num_kept;

	slot_getsomeattrs(state->row, n);
	group->values = palloc(n * sizeof(Datum));
	group->nulls = palloc(n * sizeof(bool));
	memcpy(group->nulls, state->row->tts_isnull, n * sizeof(bool));
	for (int i = 0; i < n; i++)
	{
		Form_pg_attribute att = TupleDescAttr(tupdesc, i);

		group->values[i] = group->nulls[i] ? (Datum) 0 :
			datumCopy(state->row->tts_values[i], att->attbyval, att->attlen);
	}

	ExecClearTuple(key);
	memset(key->tts_isnull, true, tupdesc->natts * sizeof(bool));
	memcpy(key->tts_values, group->values, n * sizeof(Datum));
	memcpy(key->tts_isnull, group->nulls, n * sizeof(bool));
	ExecStoreVirtualTuple(key);
}

/* Adds the record of a row to a group. */
static void
add_row(AggScanState *state, BatchGroup *group)
{
	ExprContext *econtext = state->css.ss.ps.ps_ExprContext;
	NullableDatum args[NUM_AGG_ARGS];
	MemoryContext old_context;

	for (int i = 0; i < NUM_AGG_ARGS; i++)
		args[i].value = slot_getattr(state->row, state->args[i],
									 &args[i].isnull);
	old_context = MemoryContextSwitchTo(econtext->ecxt_per_tuple_memory);
	group->records = walredo_apply_group_add(group->records, state->context,
											 args, state->stream);
	MemoryContextSwitchTo(old_context);
}

/* Reads the rows of a group, and adds it to the stream. */
static void
read_group(AggScanState *state, BatchGroup *group)
{
	ExprContext *econtext = state->css.ss.ps.ps_ExprContext;
	MemoryContext old_context = MemoryContextSwitchTo(state->context);
	uint64		num_rows = 0;

	keep_columns(state, group);
	MemoryContextSwitchTo(old_context);
	group->records = NULL;
	do
	{
		CHECK_FOR_INTERRUPTS();
		if (state->stream != NULL && ++num_rows % ROWS_PER_ADVANCE == 0)
			(void) walredo_replay_advance(state->stream);
		add_row(state, group);
		ResetExprContext(econtext);
		fetch_row(state);
		econtext->ecxt_outertuple = state->key;
		econtext->ecxt_innertuple = state->row;
	} while (state->row != NULL &&
			 ExecQualAndReset(state->is_same_group, econtext));
	if (group->records == NULL)
		return;

	/* These stay until the query ends. */
	old_context = MemoryContextSwitchTo(state->css.ss.ps.state->es_query_cxt);
	if (state->stream == NULL)
		state->stream = walredo_replay_begin(walredo_apply_group_take);
	if (group->page == NULL)
		group->page = palloc(VARHDRSZ + BLCKSZ);
	MemoryContextSwitchTo(old_context);
	walredo_apply_group_send(group->records, state->stream, group->page);
}

/*
 * Reads the next groups, and waits for their pages.  There are none if the
 * input has ended.
 */
static void
read_batch(AggScanState *state)
{
	MemoryContextReset(state->context);
	state->num_groups = 0;
	state->next_group = 0;
	if (state->row == NULL && !state->is_done)
		fetch_row(state);
	while (state->row != NULL && state->num_groups < state->batch_size &&
		   (state->num_groups == 0 ||
			MemoryContextMemAllocated(state->context, false) +
			state->num_groups * (VARHDRSZ + BLCKSZ) < work_mem * (Size) 1024))
		read_group(state, &state->groups[state->num_groups++]);
	if (state->stream != NULL)
		walredo_replay_finish(state->stream);
	state->batch_size = Min(state->batch_size * 2, MAX_BATCH_SIZE);
}

/* Gets the next group into the slot of the scan. */
static TupleTableSlot *
next_group(ScanState *node)
{
	AggScanState *state = (AggScanState *) node;
	TupleTableSlot *slot = node->ss_ScanTupleSlot;
	int			n = state->num_kept;
	BatchGroup *group;

	ExecClearTuple(slot);
	if (state->next_group == state->num_groups)
		read_batch(state);
	if (state->next_group == state->num_groups)
		return slot;

	group = &state->groups[state->next_group++];
	memcpy(slot->tts_values, group->values, n * sizeof(Datum));
	memcpy(slot->tts_isnull, group->nulls, n * sizeof(bool));
	slot->tts_isnull[n] = group->records == NULL;
	if (group->records != NULL)
	{
		ExprContext *econtext = node->ps.ps_ExprContext;
		MemoryContext old_context =
			MemoryContextSwitchTo(econtext->ecxt_per_tuple_memory);

		slot->tts_values[n] =
			PointerGetDatum(walredo_apply_group_page(group->records));
		MemoryContextSwitchTo(old_context);
	}
	return ExecStoreVirtualTuple(slot);
}

/* Called instead of next_group() within EvalPlanQual(). */
static bool
recheck_group(ScanState *node, TupleTableSlot *slot)
{
	(void) next_group(node);
	return true;
}

static TupleTableSlot *
exec_agg_scan(CustomScanState *node)
{
	return ExecScan(&node->ss, next_group, recheck_group);
}

static void
end_agg_scan(CustomScanState *node)
{
	AggScanState *state = (AggScanState *) node;

	if (state->stream != NULL)
		walredo_replay_end(state->stream);
	state->stream = NULL;
	ExecEndNode(linitial(node->custom_ps));
}

static void
rescan_agg_scan(CustomScanState *node)
{
	AggScanState *state = (AggScanState *) node;
	PlanState  *input = linitial(node->custom_ps);

	MemoryContextReset(state->context);
	state->num_groups = 0;
	state->next_group = 0;
	state->batch_size = FIRST_BATCH_SIZE;
	state->row = NULL;
	state->is_done = false;
	if (node->ss.ps.chgParam != NULL)
		UpdateChangedParamSet(input, node->ss.ps.chgParam);
	if (input->chgParam == NULL)
		ExecReScan(input);
	ExecScanReScan(&node->ss);
}

void
walredo_agg_scan_init(void)
{
	RegisterCustomScanMethods(&agg_scan_methods);
	prev_create_upper_paths_hook = create_upper_paths_hook;
	create_upper_paths_hook = add_upper_paths;
}

/*
 * target.c
 *
 * A table ready to be written to.
 *
 * Memory: a kept target and its executor state live in a context of their own,
 * below CacheMemoryContext.  The catalog's edition says whether it is of the table
 * as it is now.
 */
#include "target.h"

#include "access/genam.h"
#include "access/tableam.h"
#include "catalog/pg_am.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "compat.h"
#include "executor/executor.h"
#include "nodes/nodeFuncs.h"
#include "utils/memutils.h"
#include "utils/rel.h"

typedef struct KeptTarget
{
	PayTarget	target;
	MemoryContext context;		/* NULL: this edition of the table cannot be kept */
	uint64		edition;
	bool		in_use;
} KeptTarget;

static KeptTarget kept[PAY_TABLES];

/* ---- triggers ---- */

/* The store collects no transition tables: say so, rather than fire a trigger without them. */
static void
RefuseTransitionTables(ResultRelInfo *ri, const Trigger *trigger)
{
	if (!TRIGGER_FOR_ROW(trigger->tgtype) ||
		(trigger->tgoldtable == NULL && trigger->tgnewtable == NULL))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("trigger \"%s\" on \"%s\" has transition tables", trigger->tgname,
					RelationGetRelationName(ri->ri_RelationDesc)),
			 errdetail("pay_idem writes rows one by one and collects no transition tables."),
			 errhint("Use a row trigger without REFERENCING.")));
}

/* Take pay_idem's guards out of the triggers that our own write fires. */
static void
LeaveOutGuards(ResultRelInfo *ri)
{
	TriggerDesc *desc = ri->ri_TrigDesc;
	int			left = 0;
	int			i;

	if (desc == NULL)
		return;
	desc->trig_insert_before_row = desc->trig_insert_after_row = false;
	desc->trig_update_before_row = desc->trig_update_after_row = false;
	for (i = 0; i < desc->numtriggers; i++)
	{
		Trigger    *trigger = &desc->triggers[i];
		bool		after;

		if (trigger->tgfoid == pay_catalog.guard)
			continue;
		RefuseTransitionTables(ri, trigger);
		after = TRIGGER_FOR_AFTER(trigger->tgtype);
		if (TRIGGER_FOR_ROW(trigger->tgtype) && TRIGGER_FOR_INSERT(trigger->tgtype))
			*(after ? &desc->trig_insert_after_row : &desc->trig_insert_before_row) = true;
		if (TRIGGER_FOR_ROW(trigger->tgtype) && TRIGGER_FOR_UPDATE(trigger->tgtype))
			*(after ? &desc->trig_update_after_row : &desc->trig_update_before_row) = true;
		desc->triggers[left++] = *trigger;
	}
	desc->numtriggers = left;
	if (left == 0)
		ri->ri_TrigDesc = NULL;
}

/* ---- setting up ---- */

static void
SetUp(PayTarget *target, Relation rel, EState *estate)
{
	PayCompatAddRangeTableEntry(estate, rel);
	target->estate = estate;
	target->ri = makeNode(ResultRelInfo);
	InitResultRelInfo(target->ri, rel, estate->es_range_table_size, NULL, 0);
	LeaveOutGuards(target->ri);
	estate->es_opened_result_relations = lappend(estate->es_opened_result_relations, target->ri);
}

PayTarget *
PayMakeTarget(Relation rel, EState *estate)
{
	PayTarget  *target = palloc0(sizeof(PayTarget));

	SetUp(target, rel, estate);
	target->slot = ExecInitExtraTupleSlot(estate, RelationGetDescr(rel), table_slot_callbacks(rel));
	return target;
}

/*
 * The indexes that may find our key taken.  There can be several of a kind: a
 * user's twin, or the new one, not valid yet, of REINDEX CONCURRENTLY.
 */
static List *
Arbiters(PayTableId id, const ResultRelInfo *ri, bool drawn_too)
{
	const PayTable *table = &pay_tables[id];
	List	   *arbiters = NIL;
	int			i;
	int			k;

	for (i = 0; i < ri->ri_NumIndices; i++)
		for (k = 0; k < table->n_indexes; k++)
			if ((table->index[k].options & ARBITER) && (drawn_too || !(table->index[k].options & DRAWN)) &&
				PayIndexFits(ri->ri_IndexRelationDescs[i], table, &pay_catalog.table[id],
							 &table->index[k]))
				arbiters = lappend_oid(arbiters, RelationGetRelid(ri->ri_IndexRelationDescs[i]));
	return arbiters;
}

/* Is the row in the slot none that a partial index wants? Most conditions only ask for NULL. */
static bool
IsNotWanted(const IndexInfo *info, TupleTableSlot *slot)
{
	ListCell   *cell;

	foreach(cell, info->ii_Predicate)
	{
		NullTest   *test = lfirst(cell);

		if (IsA(test, NullTest) && IsA(test->arg, Var) && !test->argisrow &&
			slot_attisnull(slot, ((Var *) test->arg)->varattno) != (test->nulltesttype == IS_NULL))
			return true;
	}
	return false;
}

/* The executor leaves out an index that is not open. */
static void
OpenKeptIndexes(PayTarget *target)
{
	ResultRelInfo *ri = target->ri;
	int			i;

	for (i = 0; i < target->n_indexes; i++)
	{
		IndexInfo  *info = ri->ri_IndexRelationInfo[i];

		if (ri->ri_IndexRelationDescs[i] != NULL || IsNotWanted(info, target->slot))
			continue;
		ri->ri_IndexRelationDescs[i] = index_open(target->index[i], RowExclusiveLock);
		/* CREATE INDEX CONCURRENTLY changes that without a new edition of the table */
		info->ii_ReadyForInserts = ri->ri_IndexRelationDescs[i]->rd_index->indisready;
	}
}

void
PayOpenIndexes(PayTarget *target, PayTableId id)
{
	MemoryContext old;

	if (target->kept)
		OpenKeptIndexes(target);
	else if (!target->indexes_open)
	{
		old = MemoryContextSwitchTo(target->estate->es_query_cxt);
		ExecOpenIndices(target->ri, pay_tables[id].insert_or_find);
		target->arbiters = Arbiters(id, target->ri, true);
		target->contested = Arbiters(id, target->ri, false);
		MemoryContextSwitchTo(old);
		target->indexes_open = true;
	}
}

/* ---- keeping ---- */

/*
 * Does an expression have parts whose compiled form remembers memory of one
 * statement, as a whole row does?  Those that we know are safe are listed.
 */
static bool
IsOfOneStatement(Node *node, void *context)
{
	if (node == NULL)
		return false;
	switch (nodeTag(node))
	{
		case T_Var:
			return ((Var *) node)->varattno <= 0;
		case T_List:
		case T_Const:
		case T_FuncExpr:
		case T_OpExpr:
		case T_ScalarArrayOpExpr:
		case T_BoolExpr:
		case T_NullTest:
		case T_CaseExpr:
		case T_CaseWhen:
		case T_CaseTestExpr:
		case T_CoalesceExpr:
		case T_RelabelType:
		case T_CoerceViaIO:
			return expression_tree_walker(node, IsOfOneStatement, context);
		default:
			return true;
	}
}

/* May the executor's compiled constraints be kept? */
static bool
ConstraintsCanBeKept(Relation rel)
{
	TupleConstr *constr = rel->rd_att->constr;
	int			i;

	if (constr == NULL)
		return true;
	if (constr->has_generated_stored)
		return false;
	for (i = 0; i < constr->num_check; i++)
		if (IsOfOneStatement(stringToNode(constr->check[i].ccbin), NULL))
			return false;
	return true;
}

/* May what the executor knows of the indexes be kept? */
static bool
IndexesCanBeKept(const ResultRelInfo *ri)
{
	int			i;

	for (i = 0; i < ri->ri_NumIndices; i++)
	{
		const IndexInfo *info = ri->ri_IndexRelationInfo[i];

		if (ri->ri_IndexRelationDescs[i]->rd_rel->relam != BTREE_AM_OID ||
			info->ii_Expressions != NIL || info->ii_ExclusionOps != NULL ||
			IsOfOneStatement((Node *) info->ii_Predicate, NULL))
			return false;
	}
	return true;
}

/* Set up a target to be kept, in the current memory context; false if it cannot be. */
static bool
SetUpToKeep(PayTarget *target, PayTableId id, Relation rel)
{
	int			i;

	memset(target, 0, sizeof(PayTarget));
	if (pay_catalog.table[id].has_defaults || rel->rd_rel->relispartition || !ConstraintsCanBeKept(rel))
		return false;
	SetUp(target, rel, CreateExecutorState());
	if (target->ri->ri_TrigDesc != NULL)
		return false;
	PayOpenIndexes(target, id);
	if (!IndexesCanBeKept(target->ri))
	{
		ExecCloseIndices(target->ri);
		return false;
	}
	target->n_indexes = target->ri->ri_NumIndices;
	target->index = palloc(target->n_indexes * sizeof(Oid));
	for (i = 0; i < target->n_indexes; i++)
		target->index[i] = RelationGetRelid(target->ri->ri_IndexRelationDescs[i]);
	/* the relation's own descriptor goes with its relcache entry */
	target->slot = MakeTupleTableSlot(CreateTupleDescCopy(RelationGetDescr(rel)), table_slot_callbacks(rel));
	target->kept = true;
	return true;
}

PayTarget *
PayTakeTarget(PayTableId id, Relation rel)
{
	KeptTarget *it = &kept[id];

	if (it->in_use)
		return NULL;
	if (it->edition != pay_catalog.edition)
	{
		MemoryContext context;
		MemoryContext old;
		bool		can_be_kept;

		PayForgetTarget(id);
		context = AllocSetContextCreate(CurrentMemoryContext, "pay_idem target", ALLOCSET_SMALL_SIZES);
		old = MemoryContextSwitchTo(context);
		can_be_kept = SetUpToKeep(&it->target, id, rel);
		MemoryContextSwitchTo(old);
		if (can_be_kept)
		{
			MemoryContextSetParent(context, CacheMemoryContext);
			it->context = context;
		}
		else
			MemoryContextDelete(context);
		it->edition = pay_catalog.edition;
	}
	if (it->context == NULL)
		return NULL;
	it->in_use = true;
	it->target.ri->ri_RelationDesc = rel;
	return &it->target;
}

void
PayResetTarget(PayTarget *target)
{
	ExecClearTuple(target->slot);
	ResetPerTupleExprContext(target->estate);
	/* they are in the call's memory */
	PayCompatSetUpdatedColumns(target->estate, target->ri->ri_RangeTableIndex, NULL);
}

void
PayGiveBackTarget(PayTarget *target)
{
	int			i;

	PayResetTarget(target);
	for (i = 0; i < target->n_indexes; i++)
	{
		if (target->ri->ri_IndexRelationDescs[i] != NULL)
			index_close(target->ri->ri_IndexRelationDescs[i], NoLock);
		target->ri->ri_IndexRelationDescs[i] = NULL;
	}
	((KeptTarget *) target)->in_use = false;
}

void
PayForgetTarget(PayTableId id)
{
	KeptTarget *it = &kept[id];

	if (it->context != NULL)
		MemoryContextDelete(it->context);
	it->context = NULL;
	it->edition = 0;
	it->in_use = false;
}

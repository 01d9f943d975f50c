/*
 * compat.h
 *
 * PostgreSQL 15 is what we are written for; what later versions call or pass
 * differently is bridged here and, for what throws, in errors.h.
 */
#ifndef PAY_COMPAT_H
#define PAY_COMPAT_H

#include "postgres.h"

#include "access/genam.h"
#include "access/tableam.h"
#include "access/tupdesc.h"
#include "access/xact.h"
#include "catalog/pg_proc.h"
#include "executor/executor.h"
#include "nodes/parsenodes.h"
#include "utils/acl.h"
#include "utils/datetime.h"
#include "utils/rel.h"

/* 16 moved the macros of variable-length values to a header of their own. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#if PG_VERSION_NUM < 150000
#error "pay_idem needs PostgreSQL 15 or later"
#endif

/* 16 moved the sets of written columns from the range table to permission infos. */
static inline void
PayCompatAddRangeTableEntry(EState *estate, Relation rel)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);

	rte->rtekind = RTE_RELATION;
	rte->relid = RelationGetRelid(rel);
	rte->relkind = rel->rd_rel->relkind;
	rte->rellockmode = RowExclusiveLock;
#if PG_VERSION_NUM >= 160000
	{
		RTEPermissionInfo *perminfo = makeNode(RTEPermissionInfo);

		perminfo->relid = rte->relid;
		estate->es_rteperminfos = lappend(estate->es_rteperminfos, perminfo);
		rte->perminfoindex = list_length(estate->es_rteperminfos);
	}
#endif
	estate->es_range_table = lappend(estate->es_range_table, rte);
	estate->es_range_table_size = list_length(estate->es_range_table);
}

/* Say which columns the next UPDATE of this range table entry sets. */
static inline void
PayCompatSetUpdatedColumns(EState *estate, Index rti, Bitmapset *columns)
{
	RangeTblEntry *rte = list_nth_node(RangeTblEntry, estate->es_range_table, rti - 1);

#if PG_VERSION_NUM >= 160000
	RTEPermissionInfo *perminfo = list_nth_node(RTEPermissionInfo, estate->es_rteperminfos,
												rte->perminfoindex - 1);

	perminfo->updatedCols = columns;
#else
	rte->updatedCols = columns;
#endif
}

static inline void
PayCompatEvalPlanQualInit(EPQState *epqstate, EState *estate)
{
#if PG_VERSION_NUM >= 160000
	EvalPlanQualInit(epqstate, estate, NULL, NIL, -1, NIL);
#else
	EvalPlanQualInit(epqstate, estate, NULL, NIL, -1);
#endif
}

/* Insert index entries of a new row: the deferred constraints to check again later. */
static inline List *
PayCompatInsertIndexTuples(ResultRelInfo *ri, TupleTableSlot *slot, EState *estate)
{
	if (ri->ri_NumIndices == 0)
		return NIL;
#if PG_VERSION_NUM >= 160000
	return ExecInsertIndexTuples(ri, slot, estate, false, false, NULL, NIL, false);
#else
	return ExecInsertIndexTuples(ri, slot, estate, false, false, NULL, NIL);
#endif
}

/* Which indexes want an entry for a row's next version: 16 has those that only summarize. */
#if PG_VERSION_NUM >= 160000
typedef TU_UpdateIndexes PayCompatUpdateIndexes;
#else
typedef bool PayCompatUpdateIndexes;
#endif

static inline bool
PayCompatHasIndexUpdates(PayCompatUpdateIndexes indexes)
{
#if PG_VERSION_NUM >= 160000
	return indexes != TU_None;
#else
	return indexes;
#endif
}

/* Write a row's next version; waits while another transaction has the row locked. */
static inline TM_Result
PayCompatUpdateTuple(Relation rel, ItemPointer tid, TupleTableSlot *slot, Snapshot snapshot,
					 TM_FailureData *failure, PayCompatUpdateIndexes *indexes)
{
	LockTupleMode lockmode;

	return table_tuple_update(rel, tid, slot, GetCurrentCommandId(true), snapshot, InvalidSnapshot,
							  true, failure, &lockmode, indexes);
}

static inline void
PayCompatUpdateIndexTuples(ResultRelInfo *ri, TupleTableSlot *slot, EState *estate,
						   PayCompatUpdateIndexes indexes)
{
#if PG_VERSION_NUM >= 160000
	list_free(ExecInsertIndexTuples(ri, slot, estate, true, false, NULL, NIL, indexes == TU_Summarizing));
#else
	list_free(ExecInsertIndexTuples(ri, slot, estate, true, false, NULL, NIL));
#endif
}

/* Insert index entries of a speculatively inserted tuple; true if one conflicts. */
static inline bool
PayCompatInsertSpeculativeIndexTuples(ResultRelInfo *ri, TupleTableSlot *slot, EState *estate,
									  List *arbiters, List **recheck)
{
	bool		conflict = false;

#if PG_VERSION_NUM >= 160000
	*recheck = ExecInsertIndexTuples(ri, slot, estate, false, true, &conflict, arbiters, false);
#else
	*recheck = ExecInsertIndexTuples(ri, slot, estate, false, true, &conflict, arbiters);
#endif
	return conflict;
}

/* True if no arbiter index holds the slot's keys; else where the other row is. */
static inline bool
PayCompatCheckIndexConstraints(ResultRelInfo *ri, TupleTableSlot *slot, EState *estate,
							   ItemPointer conflict, List *arbiters)
{
#if PG_VERSION_NUM >= 180000
	ItemPointerData none;

	ItemPointerSetInvalid(&none);
	return ExecCheckIndexConstraints(ri, slot, estate, conflict, &none, arbiters);
#else
	return ExecCheckIndexConstraints(ri, slot, estate, conflict, arbiters);
#endif
}

static inline IndexScanDesc
PayCompatIndexBeginScan(Relation heap, Relation index, Snapshot snapshot, int nkeys)
{
#if PG_VERSION_NUM >= 180000
	return index_beginscan(heap, index, snapshot, NULL, nkeys, 0);
#else
	return index_beginscan(heap, index, snapshot, nkeys, 0);
#endif
}

/* Read what ParseDateTime() has split; 0 if it is a time. */
static inline int
PayCompatDecodeDateTime(char **field, int *kind, int n, int *type, struct pg_tm *tm, fsec_t *fsec,
						int *zone)
{
#if PG_VERSION_NUM >= 160000
	DateTimeErrorExtra extra;

	return DecodeDateTime(field, kind, n, type, tm, fsec, zone, &extra);
#else
	return DecodeDateTime(field, kind, n, type, tm, fsec, zone);
#endif
}

/* Does a CHECK hold for all rows that are stored, or for none?  18 has those that are not enforced. */
static inline bool
PayCompatCheckIsProven(const ConstrCheck *check)
{
#if PG_VERSION_NUM >= 180000
	return check->ccvalid || !check->ccenforced;
#else
	return check->ccvalid;
#endif
}

/* 18 has CHECKs that are not enforced. */
static inline bool
PayCompatIsEnforced(const ConstrCheck *check)
{
#if PG_VERSION_NUM >= 180000
	return check->ccenforced;
#else
	return true;
#endif
}

static inline bool
PayCompatMayExecute(Oid function, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(ProcedureRelationId, function, role, ACL_EXECUTE) == ACLCHECK_OK;
#else
	return pg_proc_aclcheck(function, role, ACL_EXECUTE) == ACLCHECK_OK;
#endif
}

#endif							/* PAY_COMPAT_H */

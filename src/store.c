/*
 * store.c
 *
 * Rows in, rows out.
 *
 * All reading and writing goes through the lists of tables.h; what a table
 * needs to be written to is target.h's.
 *
 * Locking: a table that is only read is opened with AccessShareLock, one that is
 * locked in or written with RowExclusiveLock, its indexes likewise, as the
 * executor does.  We keep all of it until the transaction ends.
 *
 * Memory: a call's context holds everything but the targets that are kept
 * between calls.
 */
#include "store.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "caller.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "compat.h"
#include "errors.h"
#include "executor/executor.h"
#include "executor/nodeModifyTable.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "machine.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "rewrite/rewriteHandler.h"
#include "storage/lmgr.h"
#include "storage/sinval.h"
#include "tables.h"
#include "target.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

/* ---- an open store ---- */

typedef struct OpenTable
{
	Relation	rel;
	bool		locked_for_writing;
	TupleTableSlot *read_slot;	/* NULL until a row is read */
	PayTarget  *target;			/* NULL until written to */
	bool		contested;		/* a key was used, or is being used, whose row we did not find */
	PayTableMap map;
} OpenTable;

struct PayStore
{
	MemoryContext context;
	MemoryContext caller;
	MemoryContext item;			/* of one of many things, or NULL */
	Oid			home;
	Oid			function;
	List	   *merchants;		/* that the caller acts for; NIL: all */
	PayNumber	seen;			/* the last payment that was found to be one of theirs */
	List	   *slots;
	bool		has_snapshot;
	uint64		heard;			/* invalidations, when the snapshot was taken */
	bool		writes;			/* something was written */
	bool		passes_damage_by;
	const char *damage;			/* that was met, or NULL */
	EState	   *estate;			/* of the targets that are not kept; NULL while there is none */
	MemoryContextCallback release;
	OpenTable	open[PAY_TABLES];
};

/* ---- struct fields and datums ---- */

static void *
Field(const void *row, const PayColumn *column)
{
	return (char *) row + column->offset;
}

/* Is the field the struct's "none"? */
static bool
FieldIsNone(const void *row, const PayColumn *column)
{
	const void *field = Field(row, column);

	switch (column->kind)
	{
		case KIND_INT2:
			return *(const int16 *) field == 0;
		case KIND_INT4:
			return *(const int32 *) field == 0;
		case KIND_INT8:
			return *(const int64 *) field == 0;
		case KIND_STATE:
		case KIND_DECISION:
		case KIND_REFUND_STATE:
			return *(const uint8 *) field == 0;
		case KIND_UUID:
			return PayNumberIsNone(*(const PayNumber *) field);
		case KIND_TIME:
			return *(const TimestampTz *) field == PAY_NO_TIME;
		case KIND_TEXT:
		case KIND_JSONB:
		case KIND_INTERVALS:
			return *(void *const *) field == NULL;
		case KIND_BOOL:
		case KIND_NAME:
		case KIND_INTERVAL:
		case KIND_ROUTES:
			break;
	}
	return false;
}

static Datum
RoutesGetDatum(const PayRoutes *routes)
{
	Datum		element[PAY_MAX_ATTEMPTS];
	int			i;

	if (routes->n == 0)
		return PointerGetDatum(construct_empty_array(INT2OID));
	for (i = 0; i < routes->n; i++)
		element[i] = Int16GetDatum(routes->route[i]);
	return PointerGetDatum(construct_array(element, routes->n, INT2OID, sizeof(int16), true,
										   TYPALIGN_SHORT));
}

/* May have been written by an importer: its shape is checked. What is wrong with it, or NULL. */
static const char *
DatumGetRoutes(Datum datum, PayRoutes *routes)
{
	ArrayType  *array = DatumGetArrayTypeP(datum);
	int			n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));

	memset(routes, 0, sizeof(PayRoutes));
	if (ARR_NDIM(array) > 1 || ARR_HASNULL(array) || n > PAY_MAX_ATTEMPTS)
		return "is no list of routes";
	routes->n = n;
	memcpy(routes->route, ARR_DATA_PTR(array), n * sizeof(int16));
	return NULL;
}

/* The same for the waits of a schedule. */
static const char *
DatumGetWaits(Datum datum, struct varlena **waits)
{
	ArrayType  *array = DatumGetArrayTypeP(datum);

	*waits = (struct varlena *) array;
	if (ARR_NDIM(array) != 1 || ARR_HASNULL(array) || ARR_LBOUND(array)[0] != 1)
		return "is no list of waits";
	return NULL;
}

/* A label is read from its byte: it must be one that has a label. */
static const char *
DatumGetLabel(Datum datum, int last, uint8 *label)
{
	*label = (uint8) DatumGetChar(datum);
	return *label >= 1 && *label <= last ? NULL : "has a value without a label";
}

static Datum
FieldGetDatum(const void *row, const PayColumn *column)
{
	const void *field = Field(row, column);

	switch (column->kind)
	{
		case KIND_INT2:
			return Int16GetDatum(*(const int16 *) field);
		case KIND_INT4:
			return Int32GetDatum(*(const int32 *) field);
		case KIND_INT8:
			return Int64GetDatum(*(const int64 *) field);
		case KIND_BOOL:
			return BoolGetDatum(*(const bool *) field);
		case KIND_STATE:
		case KIND_DECISION:
		case KIND_REFUND_STATE:
			return CharGetDatum((char) *(const uint8 *) field);
		case KIND_TIME:
			return TimestampTzGetDatum(*(const TimestampTz *) field);
		case KIND_UUID:
		case KIND_INTERVAL:
		case KIND_NAME:
			return PointerGetDatum(field);
		case KIND_TEXT:
		case KIND_JSONB:
		case KIND_INTERVALS:
			return PointerGetDatum(*(void *const *) field);
		case KIND_ROUTES:
			return RoutesGetDatum(field);
	}
	pg_unreachable();
}

/* Load a field; what is wrong with the value, or NULL. */
static const char *
SetField(void *row, const PayColumn *column, Datum datum, bool isnull)
{
	void	   *field = Field(row, column);

	if (isnull)
	{
		memset(field, 0, pay_kinds[column->kind].size);
		if (column->kind == KIND_TIME)
			*(TimestampTz *) field = PAY_NO_TIME;
		return (column->options & NULLABLE) ? NULL : "is NULL";
	}
	switch (column->kind)
	{
		case KIND_INT2:
			*(int16 *) field = DatumGetInt16(datum);
			break;
		case KIND_INT4:
			*(int32 *) field = DatumGetInt32(datum);
			break;
		case KIND_INT8:
			*(int64 *) field = DatumGetInt64(datum);
			break;
		case KIND_BOOL:
			*(bool *) field = DatumGetBool(datum);
			break;
		case KIND_STATE:
			return DatumGetLabel(datum, PAY_LAST_STATE, field);
		case KIND_DECISION:
			return DatumGetLabel(datum, PAY_LAST_DECISION, field);
		case KIND_REFUND_STATE:
			return DatumGetLabel(datum, PAY_LAST_REFUND_STATE, field);
		case KIND_TIME:
			*(TimestampTz *) field = DatumGetTimestampTz(datum);
			break;
		case KIND_UUID:
			*(PayNumber *) field = *DatumGetUUIDP(datum);
			break;
		case KIND_INTERVAL:
			*(Interval *) field = *DatumGetIntervalP(datum);
			break;
		case KIND_NAME:
			*(NameData *) field = *DatumGetName(datum);
			break;
		case KIND_TEXT:
			*(text **) field = DatumGetTextPP(datum);
			break;
		case KIND_JSONB:
			/* may be large: stays toasted until somebody reads it */
			*(struct varlena **) field = (struct varlena *) DatumGetPointer(datum);
			break;
		case KIND_INTERVALS:
			return DatumGetWaits(datum, field);
		case KIND_ROUTES:
			return DatumGetRoutes(datum, field);
	}
	return NULL;
}

/* Are two values that are not toasted the same bytes? */
static bool
ValuesEqual(const struct varlena *a, const struct varlena *b)
{
	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
		memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}

/* Does a column have the same value in both rows? */
static bool
FieldsEqual(const void *a, const void *b, const PayColumn *column)
{
	const void *field_a = Field(a, column);
	const void *field_b = Field(b, column);

	if (memcmp(field_a, field_b, pay_kinds[column->kind].size) == 0)
		return true;
	if (column->kind == KIND_TEXT || column->kind == KIND_JSONB || column->kind == KIND_INTERVALS)
	{
		struct varlena *value_a = *(struct varlena *const *) field_a;
		struct varlena *value_b = *(struct varlena *const *) field_b;

		if (value_a == NULL || value_b == NULL)
			return false;
		return ValuesEqual(pg_detoast_datum_packed(value_a), pg_detoast_datum_packed(value_b));
	}
	return false;
}

static PayRowHead *
Head(void *row)
{
	/* every row struct begins with its head */
	return (PayRowHead *) row;
}

/* ---- the snapshot ---- */

static void
TakeSnapshot(PayStore *store)
{
	store->heard = SharedInvalidMessageCounter;
	PushActiveSnapshot(GetTransactionSnapshot());
	store->has_snapshot = true;
}

/* See what others have committed since, where the isolation level allows it. */
static void
RenewSnapshot(PayStore *store)
{
	PopActiveSnapshot();
	TakeSnapshot(store);
}

pg_noreturn static void
ThrowSerializationFailure(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not serialize access due to concurrent %s", what),
			 errdetail("The row changed after this transaction's snapshot was taken."),
			 errhint("The transaction might succeed if retried.")));
}

/* Where a table's rows are as the snapshot sees it; InvalidOid if it does not see the table. */
static Oid
FileUnderSnapshot(Oid relid, Snapshot snapshot)
{
	Relation	pg_class = table_open(RelationRelationId, AccessShareLock);
	Oid			file = InvalidOid;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_class_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(pg_class, ClassOidIndexId, true, snapshot, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		file = ((Form_pg_class) GETSTRUCT(tuple))->relfilenode;
	systable_endscan(scan);
	table_close(pg_class, AccessShareLock);
	return file;
}

/*
 * A snapshot that the whole transaction has cannot be renewed.  What rewrites a
 * table gives it another file, in another version of its row in pg_class.
 */
static void
CheckSnapshotSeesTable(Relation rel)
{
	Snapshot	snapshot = GetTransactionSnapshot();
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(RelationGetRelid(rel)));
	TransactionId xmin;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", RelationGetRelid(rel));
	xmin = HeapTupleHeaderGetXmin(tuple->t_data);
	ReleaseSysCache(tuple);
	if (TransactionIdIsCurrentTransactionId(xmin) || !XidInMVCCSnapshot(xmin, snapshot) ||
		FileUnderSnapshot(RelationGetRelid(rel), snapshot) == rel->rd_rel->relfilenode)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not serialize access due to concurrent rewrite of \"%s\"",
					RelationGetRelationName(rel)),
			 errdetail("The table was created, truncated or rewritten after this transaction's snapshot was taken."),
			 errhint("The transaction might succeed if retried.")));
}

/*
 * A table was opened: make sure that the snapshot sees its rows.  The commit of
 * a rewrite is heard of, as an invalidation, before we get the table's lock.
 */
static void
CheckSnapshot(PayStore *store, Relation rel)
{
	if (IsolationUsesXactSnapshot())
		CheckSnapshotSeesTable(rel);
	else if (store->has_snapshot && store->heard != SharedInvalidMessageCounter)
		RenewSnapshot(store);
}

/* ---- opening tables ---- */

/* Open a table, with this lock if it is not open yet. */
static OpenTable *
OpenWithLock(PayStore *store, PayTableId id, LOCKMODE lockmode)
{
	OpenTable  *open = &store->open[id];

	if (open->rel != NULL)
		return open;
	while (open->rel == NULL)
	{
		uint64		messages;

		PayFillCatalog(store->home);
		messages = SharedInvalidMessageCounter;
		open->rel = try_relation_open(pay_catalog.table[id].relid, lockmode);
		open->locked_for_writing = lockmode == RowExclusiveLock;
		open->map = pay_catalog.table[id];
		if (open->rel != NULL && messages != SharedInvalidMessageCounter && !pay_catalog.valid)
		{
			/* changed before we had the lock: what we know of it may be old */
			table_close(open->rel, lockmode);
			open->rel = NULL;
		}
		else if (open->rel == NULL)
			pay_catalog.valid = false;
	}
	CheckSnapshot(store, open->rel);
	return open;
}

/* The slot that rows of a table are read into. */
static TupleTableSlot *
ReadSlot(PayStore *store, OpenTable *open)
{
	MemoryContext old;

	if (open->read_slot == NULL)
	{
		old = MemoryContextSwitchTo(store->context);
		open->read_slot = table_slot_create(open->rel, &store->slots);
		MemoryContextSwitchTo(old);
	}
	return open->read_slot;
}

static OpenTable *
Open(PayStore *store, PayTableId id)
{
	return OpenWithLock(store, id, AccessShareLock);
}

static OpenTable *
OpenLocked(PayStore *store, PayTableId id)
{
	OpenTable  *open = OpenWithLock(store, id, RowExclusiveLock);

	if (!open->locked_for_writing)
	{
		LockRelationOid(open->map.relid, RowExclusiveLock);
		/* what can have changed while we waited is what writing it takes: triggers, indexes, constraints */
		if (!pay_catalog.valid)
		{
			PayFillCatalog(store->home);
			open->map = pay_catalog.table[id];
		}
	}
	open->locked_for_writing = true;
	return open;
}

/* ---- the store ---- */

/* A call's memory goes, after an error too: what it still had of the kept is forgotten. */
static void
ForgetTargets(void *arg)
{
	PayStore   *store = arg;
	int			i;

	for (i = 0; i < PAY_TABLES; i++)
		if (store->open[i].target != NULL && store->open[i].target->kept)
			PayForgetTarget((PayTableId) i);
}

PayStore *
PayStoreOpen(FunctionCallInfo fcinfo, PayAccess access, int looks_at)
{
	Oid			function = fcinfo->flinfo->fn_oid;
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context;
	PayStore   *store;
	int			i;

	if (access == PAY_WRITES && (XactReadOnly || IsInParallelMode()))
	{
		char	   *name = psprintf("%s()", get_func_name(function));

		PreventCommandIfReadOnly(name);
		PreventCommandIfParallelMode(name);
	}

	context = AllocSetContextCreate(caller, "pay_idem call", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	store = palloc0(sizeof(PayStore));
	store->context = context;
	store->caller = caller;
	store->function = function;
	store->home = get_func_namespace(function);
	store->release.func = ForgetTargets;
	store->release.arg = store;
	MemoryContextRegisterResetCallback(context, &store->release);
	/*
	 * A guard looks at a direct UPDATE.  Rights on the table are its gate, and
	 * it runs beside the owner's triggers as with any DML: whoever runs that
	 * has let them run.
	 */
	if (!CALLED_AS_TRIGGER(fcinfo))
		store->merchants = PayAdmitCaller(store->home, function, access == PAY_WRITES);
	for (i = 0; i < PAY_TABLES; i++)
		if (looks_at & PAY_LOOK_AT(i))
			OpenWithLock(store, (PayTableId) i, AccessShareLock);
	TakeSnapshot(store);
	return store;
}

void
PayStoreClose(PayStore *store)
{
	int			i;

	if (store->estate != NULL)
	{
		AfterTriggerEndQuery(store->estate);
		ExecResetTupleTable(store->estate->es_tupleTable, false);
		ExecCloseResultRelations(store->estate);
		FreeExecutorState(store->estate);
	}
	ExecResetTupleTable(store->slots, false);
	for (i = 0; i < PAY_TABLES; i++)
	{
		OpenTable  *open = &store->open[i];

		if (open->target != NULL && open->target->kept)
			PayGiveBackTarget(open->target);
		open->target = NULL;
		if (open->rel != NULL)
			table_close(open->rel, NoLock);
	}
	PopActiveSnapshot();
	MemoryContextSwitchTo(store->caller);
	MemoryContextDelete(store->context);
}

void
PayStoreNextItem(PayStore *store)
{
	int			i;

	if (store->item == NULL)
		store->item = AllocSetContextCreate(store->context, "pay_idem item", ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(store->item);
	for (i = 0; i < PAY_TABLES; i++)
		if (store->open[i].target != NULL)
			PayResetTarget(store->open[i].target);
	MemoryContextSwitchTo(store->item);
}

MemoryContext
PayStoreCallerContext(PayStore *store)
{
	return store->caller;
}

bool
PayMayActFor(PayStore *store, const text *merchant)
{
	ListCell   *cell;

	if (store->merchants == NIL)
		return true;
	foreach(cell, store->merchants)
		if (merchant != NULL && ValuesEqual(lfirst(cell), merchant))
			return true;
	return false;
}

/* A merchant as a key: the caller names it, so that another's is a mistake to be told. */
static void
CheckMerchant(PayStore *store, const text *merchant)
{
	if (!PayMayActFor(store, merchant))
		PayThrowOtherMerchant(store->merchants, merchant);
}

/* What was written is seen by what the call reads from here on. */
static void
SeeOwnWrites(void)
{
	CommandCounterIncrement();
	UpdateActiveSnapshotCommandId();
}

pg_noreturn static void
ThrowModifiedByCaller(PayStore *store, PayTableId id)
{
	ereport(ERROR,
			(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
			 errmsg("row of \"%s\" was already modified by the command that is calling",
					pay_tables[id].name),
			 errdetail("A statement that updates the row cannot call %s() for it.",
					   get_func_name(store->function)),
			 errhint("Make the call a statement of its own.")));
}

/* ---- reading ---- */

/* "merchant=M, order_no=A1": which row it is. */
static char *
DescribeKey(const PayTable *table, const void *row)
{
	StringInfoData key;
	int			i;

	initStringInfo(&key);
	for (i = 0; i < table->index[0].n; i++)
	{
		const PayColumn *column = &table->column[PayColumnNamed(table, table->index[0].column[i])];
		Oid			output;
		bool		is_varlena;

		getTypeOutputInfo(pay_kinds[column->kind].type, &output, &is_varlena);
		appendStringInfo(&key, "%s%s=%s", i > 0 ? ", " : "", column->name,
						 FieldIsNone(row, column) && is_varlena ? "NULL" :
						 OidOutputFunctionCall(output, FieldGetDatum(row, column)));
	}
	return key.data;
}

void
PayDamaged(PayStore *store, PayTableId id, const void *row, const char *what)
{
	const PayTable *table = &pay_tables[id];
	char	   *key = DescribeKey(table, row);

	if (!store->passes_damage_by)
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_INSTALLED),
				 errmsg("row of \"%s\" is damaged: %s", table->name, key),
				 errdetail("%s.", what),
				 errhint("Repair the row; nothing was changed.")));
	if (store->damage == NULL)
		store->damage = psprintf("row of \"%s\" is damaged: %s: %s", table->name, key, what);
}

void
PayPassDamageBy(PayStore *store, bool passes)
{
	store->passes_damage_by = passes;
}

const char *
PayTakeDamage(PayStore *store)
{
	const char *damage = store->damage;

	store->damage = NULL;
	return damage;
}

static void
LoadTuple(PayStore *store, PayTableId id, const PayTableMap *map, HeapTuple tuple, TupleDesc desc, void *row)
{
	const PayTable *table = &pay_tables[id];
	Datum		values[MaxTupleAttributeNumber];
	bool		nulls[MaxTupleAttributeNumber];
	PayRowHead *head = Head(row);
	const char *wrong = NULL;
	int			i;

	memset(row, 0, table->row_size);
	heap_deform_tuple(tuple, desc, values, nulls);
	for (i = 0; i < table->n_columns; i++)
	{
		const char *fault = SetField(row, &table->column[i], values[map->attnum[i] - 1],
									 nulls[map->attnum[i] - 1]);

		if (fault != NULL && wrong == NULL)
			wrong = psprintf("column \"%s\" %s", table->column[i].name, fault);
	}
	head->tid = tuple->t_self;
	head->tuple = tuple;
	head->stored = palloc(table->row_size);
	memcpy(head->stored, row, table->row_size);
	if (wrong != NULL)
		PayDamaged(store, id, row, wrong);
}

/*
 * The CHECK that a stored row violates, or NULL.  Only one that was added NOT
 * VALID can be violated, so usually none is looked at.
 */
static const char *
ViolatedCheck(Relation rel, TupleTableSlot *slot)
{
	const TupleConstr *constr = RelationGetDescr(rel)->constr;
	int			i;

	for (i = 0; constr != NULL && i < constr->num_check; i++)
	{
		ExprContext *context;
		bool		holds;

		if (PayCompatCheckIsProven(&constr->check[i]))
			continue;
		context = CreateStandaloneExprContext();
		context->ecxt_scantuple = slot;
		holds = ExecCheck(ExecInitExpr(expression_planner(stringToNode(constr->check[i].ccbin)), NULL), context);
		FreeExprContext(context, true);
		if (!holds)
			return constr->check[i].ccname;
	}
	return NULL;
}

static void
LoadSlot(PayStore *store, PayTableId id, TupleTableSlot *slot, void *row)
{
	OpenTable  *open = &store->open[id];
	HeapTuple	tuple = ExecCopySlotHeapTuple(slot);
	const char *violated;

	tuple->t_self = slot->tts_tid;
	LoadTuple(store, id, &open->map, tuple, RelationGetDescr(open->rel), row);
	if (store->damage != NULL)
		return;
	violated = ViolatedCheck(open->rel, slot);
	if (violated != NULL)
		PayDamaged(store, id, row, psprintf("it violates CHECK constraint \"%s\"", violated));
}

/*
 * Start a scan for equality with the first n key columns of an index (a text
 * may be NULL: then for NULL) and,
 * unless it is NULL, for the next column, a uuid, not below at_least.
 */
static IndexScanDesc
BeginScan(PayStore *store, PayTableId id, int index, const Datum *keys, int n,
		  const PayNumber *at_least)
{
	OpenTable  *open = Open(store, id);
	Relation	rel = index_open(open->map.index[index],
								 open->locked_for_writing ? RowExclusiveLock : AccessShareLock);
	ScanKeyData scan_keys[PAY_MAX_KEYS];
	IndexScanDesc scan;
	int			i;

	Assert(n + (at_least != NULL) <= PAY_MAX_KEYS);
	for (i = 0; i < n; i++)
	{
		PayKind		kind = open->map.key_kind[index][i];

		if (kind == KIND_TEXT && DatumGetPointer(keys[i]) == NULL)
			ScanKeyEntryInitialize(&scan_keys[i], SK_ISNULL | SK_SEARCHNULL, i + 1, InvalidStrategy,
								   InvalidOid, InvalidOid, InvalidOid, (Datum) 0);
		else
			ScanKeyEntryInitialize(&scan_keys[i], 0, i + 1, BTEqualStrategyNumber, InvalidOid,
								   rel->rd_indcollation[i], pay_kinds[kind].equals, keys[i]);
	}
	if (at_least != NULL)
	{
		ScanKeyEntryInitialize(&scan_keys[n], 0, n + 1, BTGreaterEqualStrategyNumber, InvalidOid,
							   InvalidOid, F_UUID_GE, UUIDPGetDatum(at_least));
		n++;
	}
	scan = PayCompatIndexBeginScan(open->rel, rel, GetActiveSnapshot(), n);
	index_rescan(scan, scan_keys, n, NULL, 0);
	return scan;
}

static void
EndScan(IndexScanDesc scan)
{
	Relation	index = scan->indexRelation;

	index_endscan(scan);
	index_close(index, NoLock);
}

/* Load the next row of a scan; false at its end. */
static bool
NextRow(PayStore *store, PayTableId id, IndexScanDesc scan, ScanDirection direction, void *row)
{
	OpenTable  *open = &store->open[id];
	bool		used = false;

	while (index_getnext_tid(scan, direction) != NULL)
	{
		TupleTableSlot *slot = ReadSlot(store, open);

		used = true;
		if (index_fetch_heap(scan, slot))
		{
			LoadSlot(store, id, slot, row);
			ExecClearTuple(slot);
			return true;
		}
	}
	if (used)
		open->contested = true;
	return false;
}

static bool
FindOne(PayStore *store, PayTableId id, int index, const Datum *keys, int n, void *row)
{
	IndexScanDesc scan;
	bool		found;

	Assert(n == pay_tables[id].index[index].n);
	scan = BeginScan(store, id, index, keys, n, NULL);
	found = NextRow(store, id, scan, ForwardScanDirection, row);
	EndScan(scan);
	return found;
}

/* The rows that a scan gives, at most so many. */
static List *
FindRows(PayStore *store, PayTableId id, IndexScanDesc scan, ScanDirection direction, int at_most)
{
	List	   *rows = NIL;
	void	   *row = palloc(pay_tables[id].row_size);

	while (list_length(rows) < at_most && NextRow(store, id, scan, direction, row))
	{
		CHECK_FOR_INTERRUPTS();
		rows = lappend(rows, row);
		row = palloc(pay_tables[id].row_size);
	}
	EndScan(scan);
	return rows;
}

static List *
FindAll(PayStore *store, PayTableId id, int index, const Datum *keys, int n)
{
	return FindRows(store, id, BeginScan(store, id, index, keys, n, NULL), ForwardScanDirection, PG_INT32_MAX);
}

/*
 * Channels change once a month and are asked for in every call: the backend
 * remembers those that it met.  The guard on pay_channel sends a relcache
 * invalidation with each change, which ends the catalog's edition, and what is
 * remembered is of one edition.
 */
#define MAX_REMEMBERED 64

static struct
{
	MemoryContext context;
	uint64		edition;
	int			n;
	PayChannel	channel[MAX_REMEMBERED];
}			remembered;

/* What a channel's row points to, in memory of our own; nobody else needs its head. */
static void
CopyChannel(const PayChannel *from, PayChannel *to)
{
	*to = *from;
	memset(&to->head, 0, sizeof(PayRowHead));
	to->channel = (text *) DatumGetPointer(datumCopy(PointerGetDatum(from->channel), false, -1));
	to->method = (text *) DatumGetPointer(datumCopy(PointerGetDatum(from->method), false, -1));
	to->schedule = (struct varlena *) DatumGetPointer(datumCopy(PointerGetDatum(from->schedule), false, -1));
	to->schedule_held = (struct varlena *) DatumGetPointer(datumCopy(PointerGetDatum(from->schedule_held), false, -1));
	to->message_ids = (text *) DatumGetPointer(datumCopy(PointerGetDatum(from->message_ids), false, -1));
}

/* The place of a route, or of a channel and method, among the remembered; n if it is not there. */
static int
RememberedChannel(int route, const text *channel, const text *method)
{
	int			i;

	if (remembered.context == NULL)
		remembered.context = AllocSetContextCreate(CacheMemoryContext, "pay_idem channels",
												   ALLOCSET_SMALL_SIZES);
	if (remembered.edition != pay_catalog.edition || remembered.n == MAX_REMEMBERED)
	{
		MemoryContextReset(remembered.context);
		remembered.n = 0;
		remembered.edition = pay_catalog.edition;
	}
	for (i = 0; i < remembered.n; i++)
		if (channel == NULL ? remembered.channel[i].route == route :
			ValuesEqual(remembered.channel[i].channel, channel) &&
			ValuesEqual(remembered.channel[i].method, method))
			break;
	return i;
}

static bool
FindChannel(PayStore *store, int index, const Datum *keys, int n, int route, const text *channel,
			const text *method, PayChannel *row)
{
	MemoryContext old;
	int			i;

	/* where all calls of a transaction see one snapshot, they see the channels that it sees */
	if (IsolationUsesXactSnapshot())
		return FindOne(store, PAY_CHANNEL_TABLE, index, keys, n, row);
	PayFillCatalog(store->home);
	i = RememberedChannel(route, channel, method);
	if (i == remembered.n)
	{
		if (!FindOne(store, PAY_CHANNEL_TABLE, index, keys, n, row))
			return false;
		/* what a snapshot saw that is older than an invalidation we have heard of would be kept for ever */
		if (store->heard != SharedInvalidMessageCounter || !pay_catalog.valid || store->damage != NULL)
			return true;
		i = RememberedChannel(route, channel, method);
		old = MemoryContextSwitchTo(remembered.context);
		CopyChannel(row, &remembered.channel[i]);
		MemoryContextSwitchTo(old);
		remembered.n = i + 1;
	}
	CopyChannel(&remembered.channel[i], row);
	return true;
}

bool
PayFindChannel(PayStore *store, text *channel, text *method, PayChannel *row)
{
	Datum		keys[] = {PointerGetDatum(channel), PointerGetDatum(method)};

	return FindChannel(store, CHANNEL_BY_NAME, keys, lengthof(keys), 0, channel, method, row);
}

bool
PayFindRoute(PayStore *store, int route, PayChannel *row)
{
	Datum		key = Int16GetDatum((int16) route);

	return FindChannel(store, CHANNEL_BY_ROUTE, &key, 1, route, NULL, NULL, row);
}

bool
PayChannelExists(PayStore *store, text *channel)
{
	Datum		key = PointerGetDatum(channel);

	return FindAll(store, PAY_CHANNEL_TABLE, CHANNEL_BY_NAME, &key, 1) != NIL;
}

bool
PayFindOrder(PayStore *store, text *merchant, text *order_no, PayPayment *row)
{
	Datum		keys[] = {PointerGetDatum(merchant), PointerGetDatum(order_no)};

	CheckMerchant(store, merchant);
	return FindOne(store, PAY_PAYMENT_TABLE, PAYMENT_BY_ORDER, keys, lengthof(keys), row);
}

bool
PayFindPayment(PayStore *store, PayNumber pay_no, PayPayment *row)
{
	Datum		key = UUIDPGetDatum(&pay_no);

	if (!FindOne(store, PAY_PAYMENT_TABLE, PAYMENT_BY_NUMBER, &key, 1, row))
		return false;
	if (store->merchants == NIL)
		return true;
	if (!PayMayActFor(store, row->merchant))
		return false;
	store->seen = pay_no;
	return true;
}

/* Is this another merchant's payment, so that nothing that hangs on it is there? */
static bool
IsHidden(PayStore *store, PayNumber pay_no)
{
	PayPayment	payment;

	if (store->merchants == NIL)
		return false;
	return PayNumberIsNone(pay_no) ||
		(!PayNumbersEqual(store->seen, pay_no) && !PayFindPayment(store, pay_no, &payment));
}

bool
PayFindAttempt(PayStore *store, PayNumber trade_no, PayAttempt *row)
{
	Datum		key = UUIDPGetDatum(&trade_no);

	return !IsHidden(store, PayPaymentNumber(trade_no)) &&
		FindOne(store, PAY_ATTEMPT_TABLE, ATTEMPT_BY_NUMBER, &key, 1, row);
}

bool
PayFindMessage(PayStore *store, PayNumber pay_no, text *source, text *message_id, PayEvent *row)
{
	Datum		keys[] = {UUIDPGetDatum(&pay_no), PointerGetDatum(source), PointerGetDatum(message_id)};

	return !IsHidden(store, pay_no) && FindOne(store, PAY_EVENT_TABLE, EVENT_BY_MESSAGE, keys, lengthof(keys), row);
}

bool
PayFindReview(PayStore *store, int64 review_id, PayReview *row)
{
	Datum		key = Int64GetDatum(review_id);

	/* one of no payment is nobody's, and for who acts for all */
	return FindOne(store, PAY_REVIEW_TABLE, REVIEW_BY_ID, &key, 1, row) && !IsHidden(store, row->pay_no);
}

bool
PayFindUnmatched(PayStore *store, text *source, text *trade_no, text *message_id, text *merchant,
				 PayReview *row)
{
	Datum		keys[] = {PointerGetDatum(source), PointerGetDatum(trade_no),
		PointerGetDatum(message_id), PointerGetDatum(merchant)
	};

	return FindOne(store, PAY_REVIEW_TABLE, REVIEW_UNMATCHED, keys, lengthof(keys), row);
}

bool
PayFindRefund(PayStore *store, text *merchant, text *refund_no, PayRefund *row)
{
	Datum		keys[] = {PointerGetDatum(merchant), PointerGetDatum(refund_no)};

	CheckMerchant(store, merchant);
	return FindOne(store, PAY_REFUND_TABLE, REFUND_BY_NUMBER, keys, lengthof(keys), row) &&
		!IsHidden(store, row->pay_no);
}

bool
PayFindDatabase(PayStore *store, int64 system_identifier, PayDatabase *row)
{
	Datum		key = Int64GetDatum(system_identifier);

	return FindOne(store, PAY_DATABASE_TABLE, DATABASE_BY_IDENTIFIER, &key, 1, row);
}

bool
PayFindDispute(PayStore *store, int64 dispute_id, PayDispute *row)
{
	Datum		key = Int64GetDatum(dispute_id);

	return FindOne(store, PAY_DISPUTE_TABLE, DISPUTE_BY_ID, &key, 1, row) &&
		!IsHidden(store, row->pay_no) && !IsHidden(store, row->other_pay_no);
}

bool
PayFindOpenDispute(PayStore *store, PayNumber pay_no, PayNumber other_pay_no, PayDispute *row)
{
	Datum		keys[] = {UUIDPGetDatum(&pay_no), UUIDPGetDatum(&other_pay_no)};

	return !IsHidden(store, pay_no) && !IsHidden(store, other_pay_no) &&
		FindOne(store, PAY_DISPUTE_TABLE, DISPUTE_BY_PAYMENTS, keys, lengthof(keys), row);
}

bool
PayFindResource(PayStore *store, text *merchant, text *resource, PayResource *row)
{
	Datum		keys[] = {PointerGetDatum(merchant), PointerGetDatum(resource)};

	/* what no merchant has to itself is for all */
	if (VARSIZE_ANY_EXHDR(merchant) > 0)
		CheckMerchant(store, merchant);
	return FindOne(store, PAY_RESOURCE_TABLE, RESOURCE_BY_NAME, keys, lengthof(keys), row);
}

bool
PayFindHold(PayStore *store, PayNumber pay_no, text *resource, PayHold *row)
{
	Datum		keys[] = {UUIDPGetDatum(&pay_no), PointerGetDatum(resource)};

	return !IsHidden(store, pay_no) && FindOne(store, PAY_HOLD_TABLE, HOLD_BY_RESOURCE, keys, lengthof(keys), row);
}

List *
PayListRefunds(PayStore *store, PayNumber pay_no)
{
	Datum		key = UUIDPGetDatum(&pay_no);

	return IsHidden(store, pay_no) ? NIL : FindAll(store, PAY_REFUND_TABLE, REFUND_BY_PAYMENT, &key, 1);
}

List *
PayListHolds(PayStore *store, PayNumber pay_no)
{
	Datum		key = UUIDPGetDatum(&pay_no);

	return IsHidden(store, pay_no) ? NIL : FindAll(store, PAY_HOLD_TABLE, HOLD_BY_RESOURCE, &key, 1);
}

List *
PayListEvents(PayStore *store, PayNumber pay_no)
{
	Datum		key = UUIDPGetDatum(&pay_no);

	return IsHidden(store, pay_no) ? NIL : FindAll(store, PAY_EVENT_TABLE, EVENT_BY_SEQ, &key, 1);
}

List *
PayListOpenReviews(PayStore *store, PayNumber pay_no)
{
	Datum		key = UUIDPGetDatum(&pay_no);

	/* the index has the open ones only */
	return IsHidden(store, pay_no) ? NIL : FindAll(store, PAY_REVIEW_TABLE, REVIEW_BY_PAYMENT, &key, 1);
}

List *
PayListPaymentsOfPayer(PayStore *store, text *merchant, text *payer, PayNumber from, int at_most)
{
	Datum		keys[] = {PointerGetDatum(merchant), PointerGetDatum(payer)};

	CheckMerchant(store, merchant);
	return FindRows(store, PAY_PAYMENT_TABLE,
					BeginScan(store, PAY_PAYMENT_TABLE, PAYMENT_BY_PAYER, keys, 2, &from),
					BackwardScanDirection, at_most);
}

struct PayDueScan
{
	PayStore   *store;
	IndexScanDesc scan;
	Snapshot	snapshot;		/* outlives the renewal of the call's own */
	TupleTableSlot *slot;
};

PayDueScan *
PayBeginDue(PayStore *store, TimestampTz now)
{
	PayDueScan *due = palloc(sizeof(PayDueScan));
	OpenTable  *open = OpenLocked(store, PAY_TASK_TABLE);
	ScanKeyData key;
	Relation	index;

	due->store = store;
	due->snapshot = RegisterSnapshot(GetTransactionSnapshot());
	due->slot = table_slot_create(open->rel, &store->slots);
	index = index_open(open->map.index[TASK_BY_TIME], RowExclusiveLock);
	ScanKeyEntryInitialize(&key, 0, 1, BTLessEqualStrategyNumber, InvalidOid, InvalidOid,
						   F_TIMESTAMPTZ_LE, TimestampTzGetDatum(now));
	due->scan = PayCompatIndexBeginScan(open->rel, index, due->snapshot, 1);
	index_rescan(due->scan, &key, 1, NULL, 0);
	return due;
}

bool
PayNextDue(PayDueScan *due, PayTask *row)
{
	/* the scan lives as long as the call */
	MemoryContext item = MemoryContextSwitchTo(due->store->context);
	bool		found = index_getnext_slot(due->scan, ForwardScanDirection, due->slot);

	MemoryContextSwitchTo(item);
	if (found)
		LoadSlot(due->store, PAY_TASK_TABLE, due->slot, row);
	return found;
}

void
PayEndDue(PayDueScan *due)
{
	ExecClearTuple(due->slot);
	EndScan(due->scan);
	UnregisterSnapshot(due->snapshot);
}

bool
PayIsCurrent(PayStore *store, const PayAttempt *row)
{
	OpenTable  *open = Open(store, PAY_ATTEMPT_TABLE);
	TupleTableSlot *slot = ReadSlot(store, open);
	ItemPointerData tid = row->head.tid;
	bool		current = table_tuple_fetch_row_version(open->rel, &tid, GetActiveSnapshot(), slot);

	ExecClearTuple(slot);
	return current;
}

/* ---- locking ---- */

static bool
LockRow(PayStore *store, PayTableId id, void *row, LockWaitPolicy wait)
{
	OpenTable  *open = OpenLocked(store, id);
	TupleTableSlot *slot = ReadSlot(store, open);
	uint8		flags = TUPLE_LOCK_FLAG_LOCK_UPDATE_IN_PROGRESS;
	ItemPointerData tid = Head(row)->tid;
	TM_FailureData failure;
	TM_Result	result;

	if (!IsolationUsesXactSnapshot())
		flags |= TUPLE_LOCK_FLAG_FIND_LAST_VERSION;
	result = table_tuple_lock(open->rel, &tid, GetActiveSnapshot(), slot,
							  GetCurrentCommandId(true), LockTupleNoKeyExclusive, wait,
							  flags, &failure);
	if (wait == LockWaitSkip && (result == TM_WouldBlock || result == TM_Updated || result == TM_Deleted))
		return false;
	switch (result)
	{
		case TM_Ok:
			if (!ItemPointerEquals(&slot->tts_tid, &Head(row)->tid))
				LoadSlot(store, id, slot, row);
			break;
		case TM_Updated:
			ThrowSerializationFailure("update");
			break;
		case TM_Deleted:
			if (IsolationUsesXactSnapshot())
				ThrowSerializationFailure("delete");
			break;
		case TM_SelfModified:
			ThrowModifiedByCaller(store, id);
			break;
		default:
			elog(ERROR, "unexpected result of locking a row of \"%s\": %d", pay_tables[id].name, result);
	}
	ExecClearTuple(slot);
	return result == TM_Ok;
}

bool
PayLockPayment(PayStore *store, PayPayment *row)
{
	bool		there = LockRow(store, PAY_PAYMENT_TABLE, row, LockWaitBlock);

	if (!IsolationUsesXactSnapshot())
		RenewSnapshot(store);
	return there;
}

bool
PayLockReview(PayStore *store, PayReview *row)
{
	return LockRow(store, PAY_REVIEW_TABLE, row, LockWaitBlock);
}

bool
PayLockRefund(PayStore *store, PayRefund *row)
{
	return LockRow(store, PAY_REFUND_TABLE, row, LockWaitBlock);
}

bool
PayLockDispute(PayStore *store, PayDispute *row)
{
	return LockRow(store, PAY_DISPUTE_TABLE, row, LockWaitBlock);
}

bool
PayLockResource(PayStore *store, PayResource *row)
{
	bool		there = LockRow(store, PAY_RESOURCE_TABLE, row, LockWaitBlock);

	if (!IsolationUsesXactSnapshot())
		RenewSnapshot(store);
	return there;
}

bool
PayLockHold(PayStore *store, PayHold *row)
{
	return LockRow(store, PAY_HOLD_TABLE, row, LockWaitBlock);
}

bool
PayTryLockPayment(PayStore *store, PayPayment *row)
{
	bool		locked = LockRow(store, PAY_PAYMENT_TABLE, row, LockWaitSkip);

	if (locked && !IsolationUsesXactSnapshot())
		RenewSnapshot(store);
	return locked;
}

bool
PayTryLockAttempt(PayStore *store, PayAttempt *row)
{
	return LockRow(store, PAY_ATTEMPT_TABLE, row, LockWaitSkip);
}

bool
PayTryLockRefund(PayStore *store, PayRefund *row)
{
	return LockRow(store, PAY_REFUND_TABLE, row, LockWaitSkip);
}

bool
PayTryLockHold(PayStore *store, PayHold *row)
{
	return LockRow(store, PAY_HOLD_TABLE, row, LockWaitSkip);
}

bool
PayTryLockResource(PayStore *store, PayResource *row)
{
	return LockRow(store, PAY_RESOURCE_TABLE, row, LockWaitSkip);
}

bool
PayTryLockTask(PayStore *store, PayTask *row)
{
	bool		locked = LockRow(store, PAY_TASK_TABLE, row, LockWaitSkip);

	if (locked && !IsolationUsesXactSnapshot())
		RenewSnapshot(store);
	return locked;
}

/* ---- writing ---- */

/* Make a table ready to be written to. */
static OpenTable *
OpenForWriting(PayStore *store, PayTableId id)
{
	OpenTable  *open = OpenLocked(store, id);
	MemoryContext old;

	if (!store->writes)
	{
		/* a command that updates the same row as we do must notice (27000), so we are not part of it */
		SeeOwnWrites();
		store->writes = true;
	}
	if (open->target == NULL)
		open->target = PayTakeTarget(id, open->rel);
	if (open->target == NULL)
	{
		old = MemoryContextSwitchTo(store->context);
		if (store->estate == NULL)
		{
			store->estate = CreateExecutorState();
			AfterTriggerBeginQuery();
		}
		open->target = PayMakeTarget(open->rel, store->estate);
		MemoryContextSwitchTo(old);
	}
	open->target->estate->es_output_cid = GetCurrentCommandId(true);
	open->target->estate->es_snapshot = GetActiveSnapshot();
	return open;
}

/* A domain may refuse NULL: then a missing value must be checked; NULL if it is no domain. */
static Expr *
NullOfDomain(Form_pg_attribute att)
{
	int32		typmod = att->atttypmod;
	Oid			base = getBaseTypeAndTypmod(att->atttypid, &typmod);

	if (base == att->atttypid)
		return NULL;
	return (Expr *) coerce_to_domain((Node *) makeNullConst(base, typmod, get_typcollation(base)),
									 base, typmod, att->atttypid, COERCION_IMPLICIT,
									 COERCE_IMPLICIT_CAST, -1, false);
}

/* Compute the defaults of columns that are not ours, or that we leave to their default. */
static void
FillDefaults(PayTableId id, OpenTable *open, const void *row, Datum *values, bool *nulls)
{
	const PayTable *table = &pay_tables[id];
	TupleDesc	desc = RelationGetDescr(open->rel);
	int			i;

	for (i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		Expr	   *expr;
		int			c = 0;

		if (att->attisdropped || att->attgenerated)
			continue;
		while (c < table->n_columns && open->map.attnum[c] != att->attnum)
			c++;
		if (c < table->n_columns &&
			!((table->column[c].options & DEFAULTED) && FieldIsNone(row, &table->column[c])))
			continue;
		expr = (Expr *) build_column_default(open->rel, att->attnum);
		if (expr == NULL)
			expr = NullOfDomain(att);
		if (expr != NULL)
			values[i] = ExecEvalExpr(ExecInitExpr(expression_planner(expr), NULL),
									 GetPerTupleExprContext(open->target->estate), &nulls[i]);
	}
}

/* Put a new row into the table's write slot. */
static void
FormNewRow(PayTableId id, OpenTable *open, const void *row)
{
	const PayTable *table = &pay_tables[id];
	TupleTableSlot *slot = open->target->slot;
	int			i;

	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, slot->tts_tupleDescriptor->natts * sizeof(bool));
	for (i = 0; i < table->n_columns; i++)
	{
		const PayColumn *column = &table->column[i];
		int			att = open->map.attnum[i] - 1;

		if ((column->options & (NULLABLE | DEFAULTED)) && FieldIsNone(row, column))
			continue;
		slot->tts_values[att] = FieldGetDatum(row, column);
		slot->tts_isnull[att] = false;
	}
	if (open->map.has_defaults)
		FillDefaults(id, open, row, slot->tts_values, slot->tts_isnull);
	ExecStoreVirtualTuple(slot);
	slot->tts_tableOid = RelationGetRelid(open->rel);
	ItemPointerSetInvalid(&slot->tts_tid);
}

pg_noreturn static void
ThrowTriggerInterfered(PayTableId id, const char *what)
{
	ereport(ERROR,
			(errcode(PAY_ERR_PROTECTED),
			 errmsg("a trigger on \"%s\" %s", pay_tables[id].name, what),
			 errdetail("What was decided would not be what is written."),
			 errhint("A BEFORE trigger may fill columns that you added; leave the others alone.")));
}

/* A user's BEFORE triggers may have changed the row, but nothing of what was decided. */
static void
CheckTriggersKept(PayStore *store, PayTableId id, const void *row)
{
	OpenTable  *open = &store->open[id];
	const PayTable *table = &pay_tables[id];
	void	   *stored = palloc(table->row_size);
	int			i;

	if (!ItemPointerIsValid(&open->target->slot->tts_tid))
		ThrowTriggerInterfered(id, "suppressed a row");
	LoadSlot(store, id, open->target->slot, stored);
	for (i = 0; i < table->n_columns; i++)
	{
		const PayColumn *column = &table->column[i];

		if (!FieldsEqual(stored, row, column) &&
			!((column->options & DEFAULTED) && FieldIsNone(row, column)))
			ThrowTriggerInterfered(id, psprintf("changed column \"%s\"", column->name));
	}
}

/* The row is written as it is: what its next version is made from. */
static void
RememberWritten(PayTableId id, OpenTable *open, void *row)
{
	const PayTable *table = &pay_tables[id];
	TupleTableSlot *slot = open->target->slot;
	PayRowHead *head = Head(row);
	int			i;

	for (i = 0; open->map.has_defaults && i < table->n_columns; i++)
		if ((table->column[i].options & DEFAULTED) && FieldIsNone(row, &table->column[i]))
		{
			bool		isnull;
			Datum		datum = slot_getattr(slot, open->map.attnum[i], &isnull);

			SetField(row, &table->column[i], datum, isnull);
		}
	head->tid = slot->tts_tid;
	head->tuple = ExecCopySlotHeapTuple(slot);
	head->stored = memcpy(palloc(table->row_size), row, table->row_size);
}

/* What comes before a new row is in its table: BEFORE triggers, generated columns, constraints. */
static void
PrepareInsert(PayTableId id, OpenTable *open)
{
	PayTarget  *target = open->target;
	ResultRelInfo *ri = target->ri;

	if (ri->ri_TrigDesc != NULL && ri->ri_TrigDesc->trig_insert_before_row &&
		!ExecBRInsertTriggers(target->estate, ri, target->slot))
		ThrowTriggerInterfered(id, "suppressed a row");
	if (open->rel->rd_att->constr != NULL)
	{
		if (open->rel->rd_att->constr->has_generated_stored)
			ExecComputeStoredGenerated(ri, target->estate, target->slot, CMD_INSERT);
		ExecConstraints(ri, target->slot, target->estate);
	}
	if (open->rel->rd_rel->relispartition)
		ExecPartitionCheck(ri, target->slot, target->estate, true);
}

/* What comes after: AFTER triggers; a BEFORE trigger must not have changed what was decided. */
static void
FinishInsert(PayStore *store, PayTableId id, const void *row, List *recheck)
{
	OpenTable  *open = &store->open[id];
	ResultRelInfo *ri = open->target->ri;

	ExecARInsertTriggers(open->target->estate, ri, open->target->slot, recheck, NULL);
	if (ri->ri_TrigDesc != NULL && ri->ri_TrigDesc->trig_insert_before_row)
		CheckTriggersKept(store, id, row);
	SeeOwnWrites();
}

/* Nobody can take these keys while the payment is locked: a row that no function of ours wrote has one. */
static void
ExplainTakenKey(void *arg)
{
	const PayTable *table = arg;

	if (geterrcode() != ERRCODE_UNIQUE_VIOLATION)
		return;
	errcode(PAY_ERR_NOT_INSTALLED);
	errmsg("\"%s\" is damaged: the key of a new row is taken", table->name);
	errhint("A row that pay_idem did not write has it: remove that row, or restore the table.");
}

/* Insert a row that is not changed by this call again. */
static OpenTable *
InsertOnly(PayStore *store, PayTableId id, const void *row)
{
	OpenTable  *open = OpenForWriting(store, id);
	PayTarget  *target = open->target;
	ErrorContextCallback explain = {error_context_stack, ExplainTakenKey,
		unconstify(PayTable *, &pay_tables[id])
	};
	List	   *recheck;

	FormNewRow(id, open, row);
	PrepareInsert(id, open);
	PayOpenIndexes(target, id);
	error_context_stack = &explain;
	table_tuple_insert(open->rel, target->slot, GetCurrentCommandId(true), 0, NULL);
	recheck = PayCompatInsertIndexTuples(target->ri, target->slot, target->estate);
	error_context_stack = explain.previous;
	FinishInsert(store, id, row, recheck);
	return open;
}

static void
Insert(PayStore *store, PayTableId id, void *row)
{
	RememberWritten(id, InsertOnly(store, id, row), row);
}

/*
 * The row that is in the way must be one that this transaction may see; in
 * READ COMMITTED a newer snapshot will.
 */
static void
CheckConflictIsVisible(PayStore *store, OpenTable *open, ItemPointer conflict)
{
	TupleTableSlot *slot = ReadSlot(store, open);

	if (!IsolationUsesXactSnapshot())
		RenewSnapshot(store);
	else if (!table_tuple_fetch_row_version(open->rel, conflict, GetActiveSnapshot(), slot))
		ThrowSerializationFailure("update");
	ExecClearTuple(slot);
}

/* What INSERT ... ON CONFLICT DO NOTHING does, with the target's arbiters. */
static bool
InsertOrFind(PayStore *store, PayTableId id, void *row)
{
	OpenTable  *open = OpenForWriting(store, id);
	PayTarget  *target = open->target;
	List	   *recheck = NIL;
	List	   *look_in;

	FormNewRow(id, open, row);
	PrepareInsert(id, open);
	PayOpenIndexes(target, id);
	look_in = target->contested;
	for (;;)
	{
		ItemPointerData other;
		uint32		token;
		bool		conflict;

		CHECK_FOR_INTERRUPTS();
		/*
		 * Waits for whoever is inserting the same key.  Where nobody was a moment
		 * ago, and for a number that we drew, we learn soon enough by inserting it.
		 */
		if (open->contested &&
			!PayCompatCheckIndexConstraints(target->ri, target->slot, target->estate, &other, look_in))
		{
			CheckConflictIsVisible(store, open, &other);
			return false;
		}
		token = SpeculativeInsertionLockAcquire(GetCurrentTransactionId());
		table_tuple_insert_speculative(open->rel, target->slot, GetCurrentCommandId(true), 0, NULL,
									   token);
		conflict = PayCompatInsertSpeculativeIndexTuples(target->ri, target->slot, target->estate,
														 target->arbiters, &recheck);
		table_tuple_complete_speculative(open->rel, target->slot, token, !conflict);
		SpeculativeInsertionLockRelease(GetCurrentTransactionId());
		if (!conflict)
			break;
		list_free(recheck);
		look_in = target->arbiters;
		open->contested = true;
	}
	FinishInsert(store, id, row, recheck);
	RememberWritten(id, open, row);
	return true;
}

/* Put the next version of a row into the table's write slot; the columns that change, NULL if none does. */
static Bitmapset *
FormNextVersion(PayTableId id, OpenTable *open, const void *row, const PayRowHead *head)
{
	const PayTable *table = &pay_tables[id];
	TupleDesc	desc = RelationGetDescr(open->rel);
	Datum	   *values = palloc0(desc->natts * sizeof(Datum));
	bool	   *nulls = palloc0(desc->natts * sizeof(bool));
	bool	   *replaced = palloc0(desc->natts * sizeof(bool));
	Bitmapset  *columns = NULL;
	int			i;

	for (i = 0; i < table->n_columns; i++)
	{
		const PayColumn *column = &table->column[i];
		int			att = open->map.attnum[i] - 1;

		/* a field nobody touched keeps its stored value, toasted or not */
		if (memcmp(Field(row, column), Field(head->stored, column), pay_kinds[column->kind].size) == 0)
			continue;
		replaced[att] = true;
		nulls[att] = (column->options & NULLABLE) && FieldIsNone(row, column);
		if (!nulls[att])
			values[att] = FieldGetDatum(row, column);
		columns = bms_add_member(columns, att + 1 - FirstLowInvalidHeapAttributeNumber);
	}
	if (columns != NULL)
	{
		ExecForceStoreHeapTuple(heap_modify_tuple(head->tuple, desc, values, nulls, replaced),
								open->target->slot, false);
		ItemPointerSetInvalid(&open->target->slot->tts_tid);
	}
	return columns;
}

/*
 * A row that somebody changed since we read it.  The payment's lock keeps the
 * functions from it, so it was a direct UPDATE, or the command that is calling.
 */
static void
CheckUpdated(PayStore *store, PayTableId id, TM_Result result, const TM_FailureData *failure)
{
	if (result == TM_Ok)
		return;
	if (result == TM_SelfModified || TransactionIdIsCurrentTransactionId(failure->xmax))
		ThrowModifiedByCaller(store, id);
	if (result != TM_Updated && result != TM_Deleted)
		elog(ERROR, "unexpected result of updating a row of \"%s\": %d", pay_tables[id].name, result);
	ThrowSerializationFailure(result == TM_Updated ? "update" : "delete");
}

/* The executor's way, where triggers are to be fired. */
static void
UpdateWithTriggers(PayStore *store, PayTableId id, OpenTable *open, PayRowHead *head)
{
	TupleTableSlot *slot = ReadSlot(store, open);
	TM_FailureData failure;
	ItemPointerData tid = head->tid;
	EPQState	epqstate;

	/* so that they see no other version than the one that was decided on */
	CheckUpdated(store, id,
				 table_tuple_lock(open->rel, &tid, GetActiveSnapshot(), slot,
								  GetCurrentCommandId(true), LockTupleNoKeyExclusive, LockWaitBlock,
								  0, &failure), &failure);
	ExecClearTuple(slot);
	slot->tts_tid = head->tid;
	PayOpenIndexes(open->target, id);
	PayCompatEvalPlanQualInit(&epqstate, open->target->estate);
	ExecSimpleRelationUpdate(open->target->ri, open->target->estate, &epqstate, slot,
							 open->target->slot);
	EvalPlanQualEnd(&epqstate);
}

/* Without triggers: a HOT update, as most are, needs no index. */
static void
UpdateDirectly(PayStore *store, PayTableId id, OpenTable *open, PayRowHead *head)
{
	PayTarget  *target = open->target;
	TM_FailureData failure;
	PayCompatUpdateIndexes indexes;

	CheckCmdReplicaIdentity(open->rel, CMD_UPDATE);
	if (open->rel->rd_att->constr != NULL)
		ExecConstraints(target->ri, target->slot, target->estate);
	CheckUpdated(store, id,
				 PayCompatUpdateTuple(open->rel, &head->tid, target->slot, GetActiveSnapshot(),
									  &failure, &indexes), &failure);
	if (PayCompatHasIndexUpdates(indexes))
	{
		PayOpenIndexes(target, id);
		PayCompatUpdateIndexTuples(target->ri, target->slot, target->estate, indexes);
	}
}

static void
Update(PayStore *store, PayTableId id, void *row)
{
	OpenTable  *open = OpenForWriting(store, id);
	PayTarget  *target = open->target;
	Bitmapset  *columns = FormNextVersion(id, open, row, Head(row));

	if (columns == NULL)
		return;
	PayCompatSetUpdatedColumns(target->estate, target->ri->ri_RangeTableIndex, columns);
	if (target->kept)
		UpdateDirectly(store, id, open, Head(row));
	else
		UpdateWithTriggers(store, id, open, Head(row));
	if (target->ri->ri_TrigDesc != NULL && target->ri->ri_TrigDesc->trig_update_before_row)
		CheckTriggersKept(store, id, row);
	SeeOwnWrites();
	RememberWritten(id, open, row);
}

bool
PayInsertPayment(PayStore *store, PayPayment *row)
{
	CheckMerchant(store, row->merchant);
	return InsertOrFind(store, PAY_PAYMENT_TABLE, row);
}

bool
PayInsertReview(PayStore *store, PayReview *row)
{
	return InsertOrFind(store, PAY_REVIEW_TABLE, row);
}

bool
PayInsertRefund(PayStore *store, PayRefund *row)
{
	CheckMerchant(store, row->merchant);
	return InsertOrFind(store, PAY_REFUND_TABLE, row);
}

bool
PayInsertDispute(PayStore *store, PayDispute *row)
{
	return InsertOrFind(store, PAY_DISPUTE_TABLE, row);
}

bool
PayInsertDatabase(PayStore *store, PayDatabase *row)
{
	return InsertOrFind(store, PAY_DATABASE_TABLE, row);
}

bool
PayInsertResource(PayStore *store, PayResource *row)
{
	return InsertOrFind(store, PAY_RESOURCE_TABLE, row);
}

void
PayInsertTask(PayStore *store, PayTask *row)
{
	InsertOnly(store, PAY_TASK_TABLE, row);
}

void
PayInsertHold(PayStore *store, PayHold *row)
{
	InsertOnly(store, PAY_HOLD_TABLE, row);
}

void
PayInsertAttempt(PayStore *store, PayAttempt *row)
{
	Insert(store, PAY_ATTEMPT_TABLE, row);
}

void
PayInsertEvent(PayStore *store, PayEvent *row)
{
	InsertOnly(store, PAY_EVENT_TABLE, row);
}

void
PayUpdatePayment(PayStore *store, PayPayment *row)
{
	Update(store, PAY_PAYMENT_TABLE, row);
}

void
PayUpdateAttempt(PayStore *store, PayAttempt *row)
{
	Update(store, PAY_ATTEMPT_TABLE, row);
}

void
PayUpdateReview(PayStore *store, PayReview *row)
{
	Update(store, PAY_REVIEW_TABLE, row);
}

void
PayUpdateRefund(PayStore *store, PayRefund *row)
{
	Update(store, PAY_REFUND_TABLE, row);
}

void
PayUpdateDispute(PayStore *store, PayDispute *row)
{
	Update(store, PAY_DISPUTE_TABLE, row);
}

void
PayUpdateTask(PayStore *store, PayTask *row)
{
	Update(store, PAY_TASK_TABLE, row);
}

void
PayUpdateResource(PayStore *store, PayResource *row)
{
	Update(store, PAY_RESOURCE_TABLE, row);
}

void
PayUpdateHold(PayStore *store, PayHold *row)
{
	Update(store, PAY_HOLD_TABLE, row);
}

static void
Delete(PayStore *store, PayTableId id, void *row)
{
	OpenTable  *open = OpenForWriting(store, id);
	TupleTableSlot *slot = ReadSlot(store, open);
	EState	   *estate = open->target->estate;
	TriggerDesc *triggers = open->target->ri->ri_TrigDesc;
	EPQState	epqstate;

	slot->tts_tid = Head(row)->tid;
	PayCompatEvalPlanQualInit(&epqstate, estate);
	ExecSimpleRelationDelete(open->target->ri, estate, &epqstate, slot);
	EvalPlanQualEnd(&epqstate);
	SeeOwnWrites();
	if (triggers && triggers->trig_delete_before_row &&
		table_tuple_fetch_row_version(open->rel, &Head(row)->tid, GetActiveSnapshot(), slot))
		ThrowTriggerInterfered(id, "suppressed a row");
	ExecClearTuple(slot);
}

void
PayDeleteTask(PayStore *store, PayTask *row)
{
	Delete(store, PAY_TASK_TABLE, row);
}

void
PayDeleteResource(PayStore *store, PayResource *row)
{
	Delete(store, PAY_RESOURCE_TABLE, row);
}

/* ---- the row that a function answers ---- */

/* Somebody altered the type that a function answers. */
pg_noreturn static void
ThrowAltered(TupleDesc desc, const char *how)
{
	ereport(ERROR,
			(errcode(PAY_ERR_NOT_INSTALLED),
			 errmsg("type \"%s\" is not as pay_idem made it", format_type_be(desc->tdtypeid)),
			 errdetail("%s.", how),
			 errhint("Undo it by ALTER TYPE; columns of your own belong into tables and views of your own.")));
}

/* The type's attributes must be these, but for holes that dropped ones left. */
static void
CheckAttributes(TupleDesc desc, const Oid *types, int n)
{
	int			column = 0;
	int			i;

	for (i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped)
			continue;
		if (column == n)
			ThrowAltered(desc, psprintf("It has a new attribute \"%s\"", NameStr(att->attname)));
		if (att->atttypid != types[column])
			ThrowAltered(desc, psprintf("Its attribute \"%s\" is of type %s, not %s", NameStr(att->attname),
										format_type_be(att->atttypid), format_type_be(types[column])));
		column++;
	}
	if (column < n)
		ThrowAltered(desc, psprintf("It has %d attributes, not %d", column, n));
}

/* Form a row of it. */
static HeapTuple
FormRow(TupleDesc desc, const Datum *values, const bool *nulls, int n)
{
	Datum	   *row_values;
	bool	   *row_nulls;
	int			column = 0;
	int			i;

	if (desc->natts == n)
		return heap_form_tuple(desc, unconstify(Datum *, values), unconstify(bool *, nulls));
	row_values = palloc0(desc->natts * sizeof(Datum));
	row_nulls = palloc(desc->natts * sizeof(bool));
	for (i = 0; i < desc->natts; i++)
	{
		row_nulls[i] = TupleDescAttr(desc, i)->attisdropped || nulls[column];
		if (!TupleDescAttr(desc, i)->attisdropped)
			row_values[i] = values[column++];
	}
	return heap_form_tuple(desc, row_values, row_nulls);
}

Datum
PayReplyRow(PayStore *store, const Datum *values, const bool *nulls, const Oid *types, int n)
{
	TupleDesc	desc = lookup_rowtype_tupdesc(get_func_rettype(store->function), -1);
	MemoryContext call = MemoryContextSwitchTo(store->caller);
	Datum		result;

	CheckAttributes(desc, types, n);
	result = HeapTupleGetDatum(FormRow(desc, values, nulls, n));
	MemoryContextSwitchTo(call);
	ReleaseTupleDesc(desc);
	PayStoreClose(store);
	return result;
}

/* ---- for the guards ---- */

PayTableId
PayTableOf(FunctionCallInfo fcinfo, Relation rel)
{
	int			i;

	PayFillCatalog(get_func_namespace(fcinfo->flinfo->fn_oid));
	for (i = 0; i < PAY_TABLES; i++)
		if (pay_catalog.table[i].relid == RelationGetRelid(rel))
			break;
	return (PayTableId) i;
}

void
PayLoadTuple(PayStore *store, PayTableId id, HeapTuple tuple, TupleDesc desc, void *row)
{
	LoadTuple(store, id, &Open(store, id)->map, tuple, desc, row);
}

const char **
PayChangedColumns(PayTableId id, const void *before, const void *after)
{
	const PayTable *table = &pay_tables[id];
	const char **names = palloc0((table->n_columns + 1) * sizeof(char *));
	int			n = 0;
	int			i;

	for (i = 0; i < table->n_columns; i++)
		if (!FieldsEqual(before, after, &table->column[i]))
			names[n++] = table->column[i].name;
	return names;
}

HeapTuple
PayTupleWithInt32(PayStore *store, HeapTuple tuple, TupleDesc desc, const char *column, int32 value)
{
	int			attnum = SPI_fnumber(desc, column);
	Datum		datum = Int32GetDatum(value);
	bool		isnull = false;
	MemoryContext old = MemoryContextSwitchTo(store->caller);
	HeapTuple	result = heap_modify_tuple_by_cols(tuple, desc, 1, &attnum, &datum, &isnull);

	MemoryContextSwitchTo(old);
	return result;
}

void
PayReplaceChannel(PayStore *store, const PayChannel *new_row)
{
	Datum		keys[] = {PointerGetDatum(new_row->channel), PointerGetDatum(new_row->method)};
	OpenTable  *open = OpenLocked(store, PAY_CHANNEL_TABLE);
	PayChannel	old_row;

	if (!FindOne(store, PAY_CHANNEL_TABLE, CHANNEL_BY_NAME, keys, lengthof(keys), &old_row) ||
		old_row.route != new_row->route)
		return;
	simple_table_tuple_delete(open->rel, &old_row.head.tid, GetActiveSnapshot());
	CommandCounterIncrement();
}

void
PayForgetDatabase(PayStore *store, PayDatabase *row)
{
	OpenTable  *open = OpenLocked(store, PAY_DATABASE_TABLE);

	simple_table_tuple_delete(open->rel, &row->head.tid, GetActiveSnapshot());
	CommandCounterIncrement();
}

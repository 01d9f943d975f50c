/*
 * store.c
 *
 * Rows in, rows out.
 *
 * What a table of ours looks like is data: a list of columns (name, kind,
 * place in the C struct) and a list of indexes (names of their columns).  All
 * reading and writing goes through these lists.
 *
 * Locking: tables are opened with AccessShareLock, and with RowExclusiveLock
 * from the first row lock or write on; like the executor we keep both until
 * the transaction ends.
 *
 * Memory: a call's context holds everything, the executor state included.
 * The catalog below lives for the backend, in static memory.
 */
#include "store.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "compat.h"
#include "errors.h"
#include "executor/executor.h"
#include "executor/nodeModifyTable.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "rewrite/rewriteHandler.h"
#include "storage/lmgr.h"
#include "storage/sinval.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#define MAX_COLUMNS	26
#define MAX_INDEXES	3
#define MAX_KEYS	4
#define MAX_CONDITIONS	2

/* ---- what our tables look like ---- */

typedef enum ColumnKind
{
	KIND_INT2,
	KIND_INT4,
	KIND_INT8,
	KIND_BOOL,
	KIND_STATE,					/* pay_state */
	KIND_DECISION,				/* pay_decision */
	KIND_REFUND_STATE,			/* pay_refund_state */
	KIND_UUID,
	KIND_TIME,
	KIND_INTERVAL,
	KIND_TEXT,
	KIND_JSONB,
	KIND_ROUTES,				/* smallint[] */
	KIND_INTERVALS				/* interval[] */
} ColumnKind;

/* struct bytes, for a key the type's equality, and the type: by name where it is ours */
static const struct
{
	Size		size;
	RegProcedure equals;
	Oid			type;
	const char *own_type;
}			kinds[] =
{
	[KIND_INT2] = {sizeof(int16), F_INT2EQ, INT2OID},
	[KIND_INT4] = {sizeof(int32), F_INT4EQ, INT4OID},
	[KIND_INT8] = {sizeof(int64), F_INT8EQ, INT8OID},
	[KIND_BOOL] = {sizeof(bool), F_BOOLEQ, BOOLOID},
	[KIND_STATE] = {sizeof(uint8), InvalidOid, InvalidOid, "pay_state"},
	[KIND_DECISION] = {sizeof(uint8), InvalidOid, InvalidOid, "pay_decision"},
	[KIND_REFUND_STATE] = {sizeof(uint8), InvalidOid, InvalidOid, "pay_refund_state"},
	[KIND_UUID] = {sizeof(PayNumber), F_UUID_EQ, UUIDOID},
	[KIND_TIME] = {sizeof(TimestampTz), F_TIMESTAMPTZ_EQ, TIMESTAMPTZOID},
	[KIND_INTERVAL] = {sizeof(Interval), InvalidOid, INTERVALOID},
	[KIND_TEXT] = {sizeof(text *), F_TEXTEQ, TEXTOID},
	[KIND_JSONB] = {sizeof(struct varlena *), InvalidOid, JSONBOID},
	[KIND_ROUTES] = {sizeof(PayRoutes), InvalidOid, INT2ARRAYOID},
	[KIND_INTERVALS] = {sizeof(struct varlena *), InvalidOid, INTERVALARRAYOID}
};

/* column options */
#define NULLABLE	0x01		/* the struct's "none" is NULL */
#define DEFAULTED	0x04		/* "none" takes the column's default */

typedef struct Column
{
	const char *name;
	ColumnKind	kind;
	int			options;
	Size		offset;
} Column;

/* what an index is for */
#define LOOKUP		0x00		/* only to find rows */
#define UNIQUE		0x01		/* at most one row has these keys */
#define ARBITER		0x02		/* others may insert the same keys at the same instant */

/* A partial index has one or two columns that are, or are not, NULL. */
typedef struct Condition
{
	const char *column;
	NullTestType test;
} Condition;

typedef struct Key
{
	int			options;
	int			n;
	const char *column[MAX_KEYS];
	int			n_where;
	Condition	where[MAX_CONDITIONS];
} Key;

typedef struct Table
{
	const char *name;
	Size		row_size;
	bool		insert_or_find;
	int			n_columns;
	Column		column[MAX_COLUMNS];
	int			n_indexes;
	Key		index[MAX_INDEXES];
} Table;

#define CHANNEL(field) offsetof(PayChannel, field)
#define PAYMENT(field) offsetof(PayPayment, field)
#define ATTEMPT(field) offsetof(PayAttempt, field)
#define EVENT(field) offsetof(PayEvent, field)
#define REVIEW(field) offsetof(PayReview, field)
#define REFUND(field) offsetof(PayRefund, field)
#define DISPUTE(field) offsetof(PayDispute, field)
#define TASK(field) offsetof(PayTask, field)
#define RESOURCE(field) offsetof(PayResource, field)
#define HOLD(field) offsetof(PayHold, field)

static const Table tables[PAY_TABLES] = {
	[PAY_CHANNEL_TABLE] = {
		"pay_channel", sizeof(PayChannel), false,
		10, {
			{"route", KIND_INT2, 0, CHANNEL(route)},
			{"max_attempts", KIND_INT2, 0, CHANNEL(max_attempts)},
			{"can_resubmit", KIND_BOOL, 0, CHANNEL(can_resubmit)},
			{"can_close", KIND_BOOL, 0, CHANNEL(can_close)},
			{"can_reverse", KIND_BOOL, 0, CHANNEL(can_reverse)},
			{"resubmit_after", KIND_INTERVAL, 0, CHANNEL(resubmit_after)},
			{"timeout", KIND_INTERVAL, 0, CHANNEL(timeout)},
			{"schedule", KIND_INTERVALS, 0, CHANNEL(schedule)},
			{"channel", KIND_TEXT, 0, CHANNEL(channel)},
			{"method", KIND_TEXT, 0, CHANNEL(method)}
		},
		2, {
			{UNIQUE, 1, {"route"}},
			{UNIQUE, 2, {"channel", "method"}}
		}
	},
	[PAY_PAYMENT_TABLE] = {
		"pay_payment", sizeof(PayPayment), true,
		19, {
			{"pay_no", KIND_UUID, 0, PAYMENT(pay_no)},
			{"amount", KIND_INT8, 0, PAYMENT(amount)},
			{"amount_collected", KIND_INT8, 0, PAYMENT(amount_collected)},
			{"amount_refunded", KIND_INT8, 0, PAYMENT(amount_refunded)},
			{"created_at", KIND_TIME, 0, PAYMENT(created_at)},
			{"valid_until", KIND_TIME, NULLABLE, PAYMENT(valid_until)},
			{"last_seq", KIND_INT4, 0, PAYMENT(last_seq)},
			{"winner", KIND_INT2, NULLABLE, PAYMENT(winner)},
			{"state", KIND_STATE, 0, PAYMENT(state)},
			{"multi", KIND_BOOL, 0, PAYMENT(multi)},
			{"end_requested", KIND_BOOL, 0, PAYMENT(end_requested)},
			{"currency", KIND_TEXT, 0, PAYMENT(currency)},
			{"merchant", KIND_TEXT, 0, PAYMENT(merchant)},
			{"order_no", KIND_TEXT, 0, PAYMENT(order_no)},
			{"payer", KIND_TEXT, NULLABLE, PAYMENT(payer)},
			{"routes", KIND_ROUTES, 0, PAYMENT(routes)},
			{"replaced_by", KIND_UUID, NULLABLE, PAYMENT(replaced_by)},
			{"holds", KIND_INT2, NULLABLE, PAYMENT(holds)},
			{"metadata", KIND_JSONB, NULLABLE, PAYMENT(metadata)}
		},
		3, {
			{UNIQUE | ARBITER, 1, {"pay_no"}},
			{UNIQUE | ARBITER, 2, {"merchant", "order_no"}},
			{LOOKUP, 3, {"merchant", "payer", "pay_no"}, 1, {{"payer", IS_NOT_NULL}}}
		}
	},
	[PAY_ATTEMPT_TABLE] = {
		"pay_attempt", sizeof(PayAttempt), false,
		19, {
			{"trade_no", KIND_UUID, 0, ATTEMPT(trade_no)},
			{"pay_no", KIND_UUID, 0, ATTEMPT(pay_no)},
			{"amount", KIND_INT8, 0, ATTEMPT(amount)},
			{"amount_to_capture", KIND_INT8, NULLABLE, ATTEMPT(amount_to_capture)},
			{"amount_collected", KIND_INT8, NULLABLE, ATTEMPT(amount_collected)},
			{"amount_extra", KIND_INT8, NULLABLE, ATTEMPT(amount_extra)},
			{"amount_reserved", KIND_INT8, NULLABLE, ATTEMPT(amount_reserved)},
			{"amount_refunded", KIND_INT8, NULLABLE, ATTEMPT(amount_refunded)},
			{"opened_at", KIND_TIME, 0, ATTEMPT(opened_at)},
			{"handed_out_at", KIND_TIME, 0, ATTEMPT(handed_out_at)},
			{"credential_expires_at", KIND_TIME, NULLABLE, ATTEMPT(credential_expires_at)},
			{"attempt", KIND_INT2, 0, ATTEMPT(attempt)},
			{"route", KIND_INT2, 0, ATTEMPT(route)},
			{"state", KIND_STATE, 0, ATTEMPT(state)},
			{"request_id", KIND_TEXT, 0, ATTEMPT(request_id)},
			{"channel_txn", KIND_TEXT, NULLABLE, ATTEMPT(channel_txn)},
			{"credential", KIND_TEXT, NULLABLE, ATTEMPT(credential)},
			{"check_at", KIND_TIME, NULLABLE, ATTEMPT(check_at)},
			{"asked_by", KIND_TEXT, NULLABLE, ATTEMPT(asked_by)}
		},
		1, {
			{UNIQUE, 1, {"trade_no"}}
		}
	},
	[PAY_EVENT_TABLE] = {
		"pay_event", sizeof(PayEvent), false,
		24, {
			{"pay_no", KIND_UUID, 0, EVENT(pay_no)},
			{"recorded_at", KIND_TIME, 0, EVENT(recorded_at)},
			{"occurred_at", KIND_TIME, NULLABLE, EVENT(occurred_at)},
			{"amount", KIND_INT8, NULLABLE, EVENT(amount)},
			{"seq", KIND_INT4, 0, EVENT(seq)},
			{"attempt", KIND_INT2, 0, EVENT(attempt)},
			{"reported", KIND_STATE, NULLABLE, EVENT(reported)},
			{"decision", KIND_DECISION, 0, EVENT(decision)},
			{"payment_before", KIND_STATE, NULLABLE, EVENT(payment_before)},
			{"payment_after", KIND_STATE, 0, EVENT(payment_after)},
			{"attempt_before", KIND_STATE, NULLABLE, EVENT(attempt_before)},
			{"attempt_after", KIND_STATE, NULLABLE, EVENT(attempt_after)},
			{"source", KIND_TEXT, 0, EVENT(source)},
			{"message_id", KIND_TEXT, NULLABLE, EVENT(message_id)},
			{"currency", KIND_TEXT, NULLABLE, EVENT(currency)},
			{"channel_txn", KIND_TEXT, NULLABLE, EVENT(channel_txn)},
			{"actor", KIND_TEXT, 0, EVENT(actor)},
			{"session_actor", KIND_TEXT, 0, EVENT(session_actor)},
			{"reason", KIND_TEXT, NULLABLE, EVENT(reason)},
			{"payload", KIND_JSONB, NULLABLE, EVENT(payload)},
			{"refund_reported", KIND_REFUND_STATE, NULLABLE, EVENT(refund_reported)},
			{"refund_before", KIND_REFUND_STATE, NULLABLE, EVENT(refund_before)},
			{"refund_after", KIND_REFUND_STATE, NULLABLE, EVENT(refund_after)},
			{"refund_no", KIND_TEXT, NULLABLE, EVENT(refund_no)}
		},
		2, {
			{UNIQUE, 2, {"pay_no", "seq"}},
			{UNIQUE, 3, {"pay_no", "source", "message_id"}, 1, {{"message_id", IS_NOT_NULL}}}
		}
	},
	[PAY_REVIEW_TABLE] = {
		"pay_review", sizeof(PayReview), true,
		25, {
			{"review_id", KIND_INT8, DEFAULTED, REVIEW(review_id)},
			{"pay_no", KIND_UUID, NULLABLE, REVIEW(pay_no)},
			{"opened_at", KIND_TIME, 0, REVIEW(opened_at)},
			{"occurred_at", KIND_TIME, NULLABLE, REVIEW(occurred_at)},
			{"resolved_at", KIND_TIME, NULLABLE, REVIEW(resolved_at)},
			{"amount", KIND_INT8, NULLABLE, REVIEW(amount)},
			{"seq", KIND_INT4, NULLABLE, REVIEW(seq)},
			{"attempt", KIND_INT2, 0, REVIEW(attempt)},
			{"about_money", KIND_BOOL, 0, REVIEW(about_money)},
			{"reported", KIND_STATE, NULLABLE, REVIEW(reported)},
			{"refund_reported", KIND_REFUND_STATE, NULLABLE, REVIEW(refund_reported)},
			{"refund_no", KIND_TEXT, NULLABLE, REVIEW(refund_no)},
			{"merchant", KIND_TEXT, NULLABLE, REVIEW(merchant)},
			{"kind", KIND_TEXT, 0, REVIEW(kind)},
			{"source", KIND_TEXT, 0, REVIEW(source)},
			{"message_id", KIND_TEXT, NULLABLE, REVIEW(message_id)},
			{"trade_no", KIND_TEXT, 0, REVIEW(trade_no)},
			{"currency", KIND_TEXT, NULLABLE, REVIEW(currency)},
			{"channel_txn", KIND_TEXT, NULLABLE, REVIEW(channel_txn)},
			{"detail", KIND_TEXT, NULLABLE, REVIEW(detail)},
			{"payload", KIND_JSONB, NULLABLE, REVIEW(payload)},
			{"verdict", KIND_TEXT, NULLABLE, REVIEW(verdict)},
			{"reason", KIND_TEXT, NULLABLE, REVIEW(reason)},
			{"resolved_by", KIND_TEXT, NULLABLE, REVIEW(resolved_by)},
			{"resolved_session", KIND_TEXT, NULLABLE, REVIEW(resolved_session)}
		},
		3, {
			{UNIQUE, 1, {"review_id"}},
			{LOOKUP, 1, {"pay_no"}, 1, {{"resolved_at", IS_NULL}}},
			{UNIQUE | ARBITER, 4, {"source", "trade_no", "message_id", "merchant"},
			2, {{"pay_no", IS_NULL}, {"resolved_at", IS_NULL}}}
		}
	},
	[PAY_REFUND_TABLE] = {
		"pay_refund", sizeof(PayRefund), true,
		13, {
			{"pay_no", KIND_UUID, 0, REFUND(pay_no)},
			{"amount", KIND_INT8, 0, REFUND(amount)},
			{"requested_at", KIND_TIME, 0, REFUND(requested_at)},
			{"attempt", KIND_INT2, 0, REFUND(attempt)},
			{"state", KIND_REFUND_STATE, 0, REFUND(state)},
			{"adopted", KIND_BOOL, 0, REFUND(adopted)},
			{"kind", KIND_TEXT, 0, REFUND(kind)},
			{"merchant", KIND_TEXT, 0, REFUND(merchant)},
			{"refund_no", KIND_TEXT, 0, REFUND(refund_no)},
			{"reason", KIND_TEXT, NULLABLE, REFUND(reason)},
			{"channel_txn", KIND_TEXT, NULLABLE, REFUND(channel_txn)},
			{"check_at", KIND_TIME, NULLABLE, REFUND(check_at)},
			{"asked_by", KIND_TEXT, NULLABLE, REFUND(asked_by)}
		},
		1, {
			{UNIQUE | ARBITER, 2, {"merchant", "refund_no"}}
		}
	},
	[PAY_DISPUTE_TABLE] = {
		"pay_dispute", sizeof(PayDispute), true,
		13, {
			{"dispute_id", KIND_INT8, DEFAULTED, DISPUTE(dispute_id)},
			{"pay_no", KIND_UUID, 0, DISPUTE(pay_no)},
			{"other_pay_no", KIND_UUID, 0, DISPUTE(other_pay_no)},
			{"opened_at", KIND_TIME, 0, DISPUTE(opened_at)},
			{"resolved_at", KIND_TIME, NULLABLE, DISPUTE(resolved_at)},
			{"reason", KIND_TEXT, 0, DISPUTE(reason)},
			{"opened_by", KIND_TEXT, 0, DISPUTE(opened_by)},
			{"opened_session", KIND_TEXT, 0, DISPUTE(opened_session)},
			{"verdict", KIND_TEXT, NULLABLE, DISPUTE(verdict)},
			{"verdict_reason", KIND_TEXT, NULLABLE, DISPUTE(verdict_reason)},
			{"resolved_by", KIND_TEXT, NULLABLE, DISPUTE(resolved_by)},
			{"resolved_session", KIND_TEXT, NULLABLE, DISPUTE(resolved_session)},
			{"refund_no", KIND_TEXT, NULLABLE, DISPUTE(refund_no)}
		},
		2, {
			{UNIQUE, 1, {"dispute_id"}},
			{UNIQUE | ARBITER, 2, {"pay_no", "other_pay_no"}, 1, {{"resolved_at", IS_NULL}}}
		}
	},
	[PAY_TASK_TABLE] = {
		"pay_task", sizeof(PayTask), false,
		7, {
			{"due_at", KIND_TIME, 0, TASK(due_at)},
			{"claimed_at", KIND_TIME, NULLABLE, TASK(claimed_at)},
			{"pay_no", KIND_UUID, 0, TASK(pay_no)},
			{"attempt", KIND_INT2, 0, TASK(attempt)},
			{"tries", KIND_INT2, 0, TASK(tries)},
			{"refund_no", KIND_TEXT, NULLABLE, TASK(refund_no)},
			{"resource", KIND_TEXT, NULLABLE, TASK(resource)}
		},
		1, {
			{LOOKUP, 1, {"due_at"}}
		}
	},
	[PAY_RESOURCE_TABLE] = {
		"pay_resource", sizeof(PayResource), true,
		5, {
			{"capacity", KIND_INT8, NULLABLE, RESOURCE(capacity)},
			{"taken", KIND_INT8, 0, RESOURCE(taken)},
			{"external", KIND_BOOL, 0, RESOURCE(external)},
			{"merchant", KIND_TEXT, 0, RESOURCE(merchant)},
			{"resource", KIND_TEXT, 0, RESOURCE(resource)}
		},
		1, {
			{UNIQUE | ARBITER, 2, {"merchant", "resource"}}
		}
	},
	[PAY_HOLD_TABLE] = {
		"pay_hold", sizeof(PayHold), false,
		10, {
			{"pay_no", KIND_UUID, 0, HOLD(pay_no)},
			{"quantity", KIND_INT8, 0, HOLD(quantity)},
			{"taken_at", KIND_TIME, 0, HOLD(taken_at)},
			{"check_at", KIND_TIME, NULLABLE, HOLD(check_at)},
			{"position", KIND_INT2, 0, HOLD(position)},
			{"external", KIND_BOOL, 0, HOLD(external)},
			{"tried", KIND_BOOL, 0, HOLD(tried)},
			{"state", KIND_TEXT, 0, HOLD(state)},
			{"resource", KIND_TEXT, 0, HOLD(resource)},
			{"asked_by", KIND_TEXT, NULLABLE, HOLD(asked_by)}
		},
		1, {
			{UNIQUE, 2, {"pay_no", "resource"}}
		}
	}
};

/* positions in the lists of indexes above */
#define CHANNEL_BY_ROUTE	0
#define CHANNEL_BY_NAME		1
#define PAYMENT_BY_NUMBER	0
#define PAYMENT_BY_ORDER	1
#define PAYMENT_BY_PAYER	2
#define ATTEMPT_BY_NUMBER	0
#define EVENT_BY_SEQ		0
#define EVENT_BY_MESSAGE	1
#define REVIEW_BY_ID		0
#define REVIEW_BY_PAYMENT	1
#define REVIEW_UNMATCHED	2
#define REFUND_BY_NUMBER	0
#define DISPUTE_BY_ID		0
#define DISPUTE_BY_PAYMENTS	1
#define TASK_BY_TIME		0
#define RESOURCE_BY_NAME	0
#define HOLD_BY_RESOURCE	0

/* ---- where they are: remembered by the backend ---- */

/* A table found: where each of our columns and indexes is. */
typedef struct TableMap
{
	Oid			relid;
	bool		has_defaults;	/* columns whose default an INSERT must compute */
	AttrNumber	attnum[MAX_COLUMNS];
	Oid			index[MAX_INDEXES];
} TableMap;

typedef struct Catalog
{
	bool		valid;
	Oid			home;			/* schema */
	Oid			guard;			/* the function pay_guard() */
	uint64		edition;		/* counts how often it was filled */
	TableMap	table[PAY_TABLES];
} Catalog;

static Catalog catalog;

/*
 * A table's CHECK constraints, compiled.  The executor reads them from their
 * text form for every statement, which costs more than all else that a call
 * does; so they are kept, until the catalog is filled anew.  Only one call
 * uses them at a time: a constraint may call a function that calls us.
 */
typedef struct CompiledChecks
{
	MemoryContext context;
	uint64		edition;		/* of the catalog */
	bool		in_use;
	ExprState **checks;			/* NULL: leave them to the executor */
} CompiledChecks;

static CompiledChecks compiled[PAY_TABLES];

/* ---- an open store ---- */

typedef struct OpenTable
{
	Relation	rel;
	bool		locked_for_writing;
	TupleTableSlot *read_slot;
	ResultRelInfo *ri;			/* NULL until written to */
	CompiledChecks *checks;		/* that this call is using */
	TupleTableSlot *write_slot;
	TableMap	map;
} OpenTable;

struct PayStore
{
	MemoryContext context;
	MemoryContext caller;
	MemoryContext item;			/* of one of many things, or NULL */
	Oid			home;
	Oid			function;
	List	   *slots;
	EState	   *estate;			/* NULL until something is written */
	MemoryContextCallback release;
	OpenTable	open[PAY_TABLES];
};

/* ---- struct fields and datums ---- */

static void *
Field(const void *row, const Column *column)
{
	return (char *) row + column->offset;
}

/* Is the field the struct's "none"? */
static bool
FieldIsNone(const void *row, const Column *column)
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

/* An importer may have written any smallint[] here: do not trust its shape. */
static void
DatumGetRoutes(Datum datum, PayRoutes *routes)
{
	ArrayType  *array = DatumGetArrayTypeP(datum);
	int			n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));

	if (ARR_NDIM(array) > 1 || ARR_HASNULL(array) || ARR_ELEMTYPE(array) != INT2OID ||
		n > PAY_MAX_ATTEMPTS)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("column \"routes\" of \"pay_payment\" is no list of routes"),
				 errdetail("It must have one dimension, no NULL, and at most %d elements.",
						   PAY_MAX_ATTEMPTS)));
	memset(routes, 0, sizeof(PayRoutes));
	routes->n = n;
	memcpy(routes->route, ARR_DATA_PTR(array), n * sizeof(int16));
}

static Datum
FieldGetDatum(const void *row, const Column *column)
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

static void
SetField(void *row, const Column *column, Datum datum, bool isnull)
{
	void	   *field = Field(row, column);

	if (isnull)
	{
		memset(field, 0, kinds[column->kind].size);
		if (column->kind == KIND_TIME)
			*(TimestampTz *) field = PAY_NO_TIME;
		return;
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
		case KIND_DECISION:
		case KIND_REFUND_STATE:
			*(uint8 *) field = (uint8) DatumGetChar(datum);
			break;
		case KIND_TIME:
			*(TimestampTz *) field = DatumGetTimestampTz(datum);
			break;
		case KIND_UUID:
			*(PayNumber *) field = *DatumGetUUIDP(datum);
			break;
		case KIND_INTERVAL:
			*(Interval *) field = *DatumGetIntervalP(datum);
			break;
		case KIND_TEXT:
			*(text **) field = DatumGetTextPP(datum);
			break;
		case KIND_JSONB:
		case KIND_INTERVALS:
			/* may be large: stays toasted until somebody reads it */
			*(struct varlena **) field = (struct varlena *) DatumGetPointer(datum);
			break;
		case KIND_ROUTES:
			DatumGetRoutes(datum, field);
			break;
	}
}

/* Does a column have the same value in both rows? */
static bool
FieldsEqual(const void *a, const void *b, const Column *column)
{
	const void *field_a = Field(a, column);
	const void *field_b = Field(b, column);

	if (memcmp(field_a, field_b, kinds[column->kind].size) == 0)
		return true;
	if (column->kind == KIND_TEXT || column->kind == KIND_JSONB || column->kind == KIND_INTERVALS)
	{
		struct varlena *value_a = *(struct varlena *const *) field_a;
		struct varlena *value_b = *(struct varlena *const *) field_b;

		if (value_a == NULL || value_b == NULL)
			return false;
		value_a = pg_detoast_datum_packed(value_a);
		value_b = pg_detoast_datum_packed(value_b);
		return VARSIZE_ANY_EXHDR(value_a) == VARSIZE_ANY_EXHDR(value_b) &&
			memcmp(VARDATA_ANY(value_a), VARDATA_ANY(value_b), VARSIZE_ANY_EXHDR(value_a)) == 0;
	}
	return false;
}

static PayRowHead *
Head(void *row)
{
	/* every row struct begins with its head */
	return (PayRowHead *) row;
}

/* ---- finding our tables ---- */

static void
InvalidateCatalog(Datum arg, Oid relid)
{
	int			i;

	if (relid == InvalidOid)
		catalog.valid = false;
	for (i = 0; i < PAY_TABLES; i++)
		if (catalog.table[i].relid == relid)
			catalog.valid = false;
}

/* A function changed, perhaps one of ours or one in a constraint: rare, so look everything up again. */
static void
InvalidateCatalogForObject(Datum arg, int cacheid, uint32 hashvalue)
{
	catalog.valid = false;
}

/* Somebody put it there, or it was given to somebody else. */
static void
ThrowNotOurs(Relation rel)
{
	char	   *owner = GetUserNameFromId(rel->rd_rel->relowner, true);

	ereport(ERROR,
			(errcode(PAY_ERR_NOT_INSTALLED),
			 errmsg("pay_idem does not trust table \"%s\"", RelationGetRelationName(rel)),
			 errdetail("It belongs to \"%s\", who may not call pay_install().", owner ? owner : "nobody"),
			 errhint("If it is pay_idem's own table, GRANT EXECUTE ON FUNCTION pay_install() to its owner; else drop it.")));
}

static void
ThrowNotInstalled(const char *table, const char *why)
{
	ereport(ERROR,
			(errcode(PAY_ERR_NOT_INSTALLED),
			 errmsg("pay_idem is not installed in this database"),
			 errdetail("Table \"%s\" %s.", table, why),
			 errhint("SELECT pay_install(); creates the tables, or brings them up to date.")));
}

/* The OID of an extension function without arguments. */
static Oid
FunctionWithoutArguments(const char *name, Oid home)
{
	oidvector  *none = buildoidvector(NULL, 0);

	return GetSysCacheOid3(PROCNAMEARGSNSP, Anum_pg_proc_oid, CStringGetDatum(name),
						   PointerGetDatum(none), ObjectIdGetDatum(home));
}

static Oid
TypeOfKind(ColumnKind kind, Oid home)
{
	if (kinds[kind].own_type == NULL)
		return kinds[kind].type;
	return GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum(kinds[kind].own_type),
						   ObjectIdGetDatum(home));
}

/* Position of a column of ours in its table's list. */
static int
ColumnNamed(const Table *table, const char *name)
{
	int			c = 0;

	while (strcmp(table->column[c].name, name) != 0)
		c++;
	return c;
}

/* Is the index partial just as we want it? A user's own partial index would miss rows. */
static bool
HasConditions(Relation index, const Table *table, const TableMap *map, const Key *wanted)
{
	List	   *clauses = RelationGetIndexPredicate(index);
	ListCell   *cell;
	int			met = 0;

	foreach(cell, clauses)
	{
		NullTest   *test = lfirst(cell);
		int			i;

		if (!IsA(test, NullTest) || !IsA(test->arg, Var))
			return false;
		for (i = 0; i < wanted->n_where; i++)
			if (((Var *) test->arg)->varattno ==
				map->attnum[ColumnNamed(table, wanted->where[i].column)] &&
				test->nulltesttype == wanted->where[i].test)
				met++;
	}
	return met == wanted->n_where && list_length(clauses) == wanted->n_where;
}

/* Has the index just the keys, their order and the conditions that we want? */
static bool
IndexFits(Relation index, const Table *table, const TableMap *map, const Key *wanted)
{
	Form_pg_index form = index->rd_index;
	int			i;

	if (form->indnkeyatts != wanted->n || index->rd_rel->relam != BTREE_AM_OID)
		return false;
	if ((wanted->options & UNIQUE) && !(form->indisunique && form->indimmediate))
		return false;
	for (i = 0; i < wanted->n; i++)
	{
		int			c = ColumnNamed(table, wanted->column[i]);

		if (form->indkey.values[i] != map->attnum[c] ||
			index->rd_indoption[i] != 0 ||
			index->rd_opcintype[i] != kinds[table->column[c].kind].type ||
			(table->column[c].kind == KIND_TEXT && index->rd_indcollation[i] != C_COLLATION_OID))
			return false;
	}
	return HasConditions(index, table, map, wanted);
}

/* Find the index that we want among a table's. */
static Oid
MapIndex(Relation rel, const Table *table, const TableMap *map, const Key *wanted)
{
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *cell;
	Oid			found = InvalidOid;

	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		if (index->rd_index->indisvalid && IndexFits(index, table, map, wanted))
			found = lfirst_oid(cell);
		index_close(index, AccessShareLock);
		if (OidIsValid(found))
			break;
	}
	list_free(indexes);
	return found;
}

/*
 * Map one table.  A table that another role put there before pay_install()
 * did is not ours: its triggers would run with the rights of whoever pays.
 * Ours belong to somebody who may call pay_install().
 */
static void
MapTable(const Table *table, Oid home, TableMap *map)
{
	Oid			relid = get_relname_relid(table->name, home);
	Relation	rel = OidIsValid(relid) ? try_relation_open(relid, AccessShareLock) : NULL;
	Oid			installer = FunctionWithoutArguments("pay_install", home);
	int			i;

	if (rel == NULL)
		ThrowNotInstalled(table->name, "does not exist");
	if (rel->rd_rel->relkind != RELKIND_RELATION)
		ThrowNotInstalled(table->name, "is not an ordinary table");
	if (!OidIsValid(installer) || !PayCompatMayExecute(installer, rel->rd_rel->relowner))
		ThrowNotOurs(rel);

	map->relid = relid;
	map->has_defaults = false;
	for (i = 0; i < table->n_columns; i++)
	{
		map->attnum[i] = get_attnum(relid, table->column[i].name);
		if (map->attnum[i] == InvalidAttrNumber)
			ThrowNotInstalled(table->name,
							  psprintf("has no column \"%s\"", table->column[i].name));
		if (get_atttype(relid, map->attnum[i]) != TypeOfKind(table->column[i].kind, home))
			ThrowNotInstalled(table->name,
							  psprintf("has a column \"%s\" of another type", table->column[i].name));
		if (table->column[i].options & DEFAULTED)
			map->has_defaults = true;
	}
	for (i = 0; i < RelationGetNumberOfAttributes(rel); i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);
		int			c = 0;

		while (c < table->n_columns && map->attnum[c] != att->attnum)
			c++;
		if (c == table->n_columns && !att->attisdropped)
			map->has_defaults = true;
	}
	for (i = 0; i < table->n_indexes; i++)
	{
		map->index[i] = MapIndex(rel, table, map, &table->index[i]);
		if (!OidIsValid(map->index[i]))
			ThrowNotInstalled(table->name,
							  psprintf("has no %sindex as pay_install() makes it that begins with \"%s\" and has %d columns",
									   table->index[i].options & UNIQUE ? "unique " : "",
									   table->index[i].column[0], table->index[i].n));
	}
	table_close(rel, AccessShareLock);
}

/* Make the catalog valid for this schema, or say PY503. */
static void
FillCatalog(Oid home)
{
	static bool registered = false;

	if (!registered)
	{
		CacheRegisterRelcacheCallback(InvalidateCatalog, (Datum) 0);
		CacheRegisterSyscacheCallback(PROCOID, InvalidateCatalogForObject, (Datum) 0);
		registered = true;
	}
	while (!catalog.valid || catalog.home != home)
	{
		uint64		messages;
		int			i;

		CHECK_FOR_INTERRUPTS();
		AcceptInvalidationMessages();
		catalog.valid = false;
		messages = SharedInvalidMessageCounter;
		for (i = 0; i < PAY_TABLES; i++)
			MapTable(&tables[i], home, &catalog.table[i]);
		catalog.guard = FunctionWithoutArguments("pay_guard", home);
		catalog.home = home;
		catalog.edition++;
		/* as name look-ups do: somebody's DDL while we looked makes us look again */
		catalog.valid = (messages == SharedInvalidMessageCounter);
	}
}

static OpenTable *
Open(PayStore *store, PayTableId id)
{
	OpenTable  *open = &store->open[id];

	while (open->rel == NULL)
	{
		uint64		messages;

		FillCatalog(store->home);
		messages = SharedInvalidMessageCounter;
		open->rel = try_relation_open(catalog.table[id].relid, AccessShareLock);
		if (open->rel != NULL && messages != SharedInvalidMessageCounter && !catalog.valid)
		{
			/* changed before we had the lock: what we know of it may be old */
			table_close(open->rel, AccessShareLock);
			open->rel = NULL;
		}
		else if (open->rel == NULL)
			catalog.valid = false;
	}
	if (open->read_slot == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(store->context);

		open->map = catalog.table[id];
		open->read_slot = table_slot_create(open->rel, &store->slots);
		MemoryContextSwitchTo(old);
	}
	return open;
}

static OpenTable *
OpenLocked(PayStore *store, PayTableId id)
{
	OpenTable  *open = Open(store, id);

	if (!open->locked_for_writing)
		LockRelationOid(open->map.relid, RowExclusiveLock);
	open->locked_for_writing = true;
	return open;
}

/* ---- the store ---- */

/* Give back what a call used; runs when its memory goes, after an error too. */
static void
ReleaseChecks(void *arg)
{
	PayStore   *store = arg;
	int			i;

	for (i = 0; i < PAY_TABLES; i++)
		if (store->open[i].checks != NULL)
			store->open[i].checks->in_use = false;
}

PayStore *
PayStoreOpen(FunctionCallInfo fcinfo, PayAccess access)
{
	Oid			function = fcinfo->flinfo->fn_oid;
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext context;
	PayStore   *store;

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
	store->release.func = ReleaseChecks;
	store->release.arg = store;
	MemoryContextRegisterResetCallback(context, &store->release);
	PushActiveSnapshot(GetTransactionSnapshot());
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
		if (store->open[i].rel != NULL)
			table_close(store->open[i].rel, NoLock);
	PopActiveSnapshot();
	MemoryContextSwitchTo(store->caller);
	MemoryContextDelete(store->context);
}

void
PayStoreNextItem(PayStore *store)
{
	if (store->item == NULL)
		store->item = AllocSetContextCreate(store->context, "pay_idem item", ALLOCSET_DEFAULT_SIZES);
	MemoryContextReset(store->item);
	if (store->estate != NULL)
		ResetPerTupleExprContext(store->estate);
	MemoryContextSwitchTo(store->item);
}

MemoryContext
PayStoreCallerContext(PayStore *store)
{
	return store->caller;
}

TupleDesc
PayStoreResultDesc(PayStore *store)
{
	return lookup_rowtype_tupdesc(get_func_rettype(store->function), -1);
}

/* See what others have committed since, where the isolation level allows it. */
static void
RenewSnapshot(void)
{
	PopActiveSnapshot();
	PushActiveSnapshot(GetTransactionSnapshot());
}

/* What was written is seen by what the call reads from here on. */
static void
SeeOwnWrites(void)
{
	CommandCounterIncrement();
	UpdateActiveSnapshotCommandId();
}

static void
ThrowSerializationFailure(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("could not serialize access due to concurrent %s", what),
			 errdetail("The row changed after this transaction's snapshot was taken."),
			 errhint("The transaction might succeed if retried.")));
}

/* ---- reading ---- */

static void
LoadTuple(const Table *table, const TableMap *map, HeapTuple tuple, TupleDesc desc, void *row)
{
	Datum	   *values = palloc(desc->natts * sizeof(Datum));
	bool	   *nulls = palloc(desc->natts * sizeof(bool));
	PayRowHead *head = Head(row);
	int			i;

	memset(row, 0, table->row_size);
	heap_deform_tuple(tuple, desc, values, nulls);
	for (i = 0; i < table->n_columns; i++)
		SetField(row, &table->column[i], values[map->attnum[i] - 1], nulls[map->attnum[i] - 1]);
	head->tid = tuple->t_self;
	head->tuple = tuple;
	head->stored = palloc(table->row_size);
	memcpy(head->stored, row, table->row_size);
	pfree(values);
	pfree(nulls);
}

static void
LoadSlot(PayTableId id, OpenTable *open, TupleTableSlot *slot, void *row)
{
	HeapTuple	tuple = ExecCopySlotHeapTuple(slot);

	tuple->t_self = slot->tts_tid;
	LoadTuple(&tables[id], &open->map, tuple, RelationGetDescr(open->rel), row);
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
	const Table *table = &tables[id];
	Relation	rel = index_open(open->map.index[index], AccessShareLock);
	ScanKeyData scan_keys[MAX_KEYS];
	IndexScanDesc scan;
	int			i;

	for (i = 0; i < n; i++)
	{
		int			c = ColumnNamed(table, table->index[index].column[i]);

		if (table->column[c].kind == KIND_TEXT && DatumGetPointer(keys[i]) == NULL)
			ScanKeyEntryInitialize(&scan_keys[i], SK_ISNULL | SK_SEARCHNULL, i + 1, InvalidStrategy,
								   InvalidOid, InvalidOid, InvalidOid, (Datum) 0);
		else
			ScanKeyEntryInitialize(&scan_keys[i], 0, i + 1, BTEqualStrategyNumber, InvalidOid,
								   rel->rd_indcollation[i], kinds[table->column[c].kind].equals, keys[i]);
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

static bool
FindOne(PayStore *store, PayTableId id, int index, const Datum *keys, void *row)
{
	OpenTable  *open = Open(store, id);
	IndexScanDesc scan = BeginScan(store, id, index, keys, tables[id].index[index].n, NULL);
	bool		found = index_getnext_slot(scan, ForwardScanDirection, open->read_slot);

	if (found)
		LoadSlot(id, open, open->read_slot, row);
	ExecClearTuple(open->read_slot);
	EndScan(scan);
	return found;
}

static List *
FindAll(PayStore *store, PayTableId id, int index, const Datum *keys, int n)
{
	OpenTable  *open = Open(store, id);
	IndexScanDesc scan = BeginScan(store, id, index, keys, n, NULL);
	List	   *rows = NIL;

	while (index_getnext_slot(scan, ForwardScanDirection, open->read_slot))
	{
		void	   *row = palloc(tables[id].row_size);

		CHECK_FOR_INTERRUPTS();
		LoadSlot(id, open, open->read_slot, row);
		rows = lappend(rows, row);
	}
	ExecClearTuple(open->read_slot);
	EndScan(scan);
	return rows;
}

bool
PayFindChannel(PayStore *store, text *channel, text *method, PayChannel *row)
{
	Datum		keys[] = {PointerGetDatum(channel), PointerGetDatum(method)};

	return FindOne(store, PAY_CHANNEL_TABLE, CHANNEL_BY_NAME, keys, row);
}

bool
PayFindRoute(PayStore *store, int route, PayChannel *row)
{
	Datum		key = Int16GetDatum((int16) route);

	return FindOne(store, PAY_CHANNEL_TABLE, CHANNEL_BY_ROUTE, &key, row);
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

	return FindOne(store, PAY_PAYMENT_TABLE, PAYMENT_BY_ORDER, keys, row);
}

bool
PayFindPayment(PayStore *store, PayNumber pay_no, PayPayment *row)
{
	Datum		key = UUIDPGetDatum(&pay_no);

	return FindOne(store, PAY_PAYMENT_TABLE, PAYMENT_BY_NUMBER, &key, row);
}

bool
PayFindAttempt(PayStore *store, PayNumber trade_no, PayAttempt *row)
{
	Datum		key = UUIDPGetDatum(&trade_no);

	return FindOne(store, PAY_ATTEMPT_TABLE, ATTEMPT_BY_NUMBER, &key, row);
}

bool
PayFindMessage(PayStore *store, PayNumber pay_no, text *source, text *message_id, PayEvent *row)
{
	Datum		keys[] = {UUIDPGetDatum(&pay_no), PointerGetDatum(source), PointerGetDatum(message_id)};

	return FindOne(store, PAY_EVENT_TABLE, EVENT_BY_MESSAGE, keys, row);
}

bool
PayFindReview(PayStore *store, int64 review_id, PayReview *row)
{
	Datum		key = Int64GetDatum(review_id);

	return FindOne(store, PAY_REVIEW_TABLE, REVIEW_BY_ID, &key, row);
}

bool
PayFindUnmatched(PayStore *store, text *source, text *trade_no, text *message_id, text *merchant,
				 PayReview *row)
{
	Datum		keys[] = {PointerGetDatum(source), PointerGetDatum(trade_no),
		PointerGetDatum(message_id), PointerGetDatum(merchant)
	};

	return FindOne(store, PAY_REVIEW_TABLE, REVIEW_UNMATCHED, keys, row);
}

bool
PayFindRefund(PayStore *store, text *merchant, text *refund_no, PayRefund *row)
{
	Datum		keys[] = {PointerGetDatum(merchant), PointerGetDatum(refund_no)};

	return FindOne(store, PAY_REFUND_TABLE, REFUND_BY_NUMBER, keys, row);
}

bool
PayFindDispute(PayStore *store, int64 dispute_id, PayDispute *row)
{
	Datum		key = Int64GetDatum(dispute_id);

	return FindOne(store, PAY_DISPUTE_TABLE, DISPUTE_BY_ID, &key, row);
}

bool
PayFindOpenDispute(PayStore *store, PayNumber pay_no, PayNumber other_pay_no, PayDispute *row)
{
	Datum		keys[] = {UUIDPGetDatum(&pay_no), UUIDPGetDatum(&other_pay_no)};

	return FindOne(store, PAY_DISPUTE_TABLE, DISPUTE_BY_PAYMENTS, keys, row);
}

bool
PayFindResource(PayStore *store, text *merchant, text *resource, PayResource *row)
{
	Datum		keys[] = {PointerGetDatum(merchant), PointerGetDatum(resource)};

	return FindOne(store, PAY_RESOURCE_TABLE, RESOURCE_BY_NAME, keys, row);
}

bool
PayFindHold(PayStore *store, PayNumber pay_no, text *resource, PayHold *row)
{
	Datum		keys[] = {UUIDPGetDatum(&pay_no), PointerGetDatum(resource)};

	return FindOne(store, PAY_HOLD_TABLE, HOLD_BY_RESOURCE, keys, row);
}

List *
PayListHolds(PayStore *store, PayNumber pay_no)
{
	Datum		key = UUIDPGetDatum(&pay_no);

	return FindAll(store, PAY_HOLD_TABLE, HOLD_BY_RESOURCE, &key, 1);
}

List *
PayListEvents(PayStore *store, PayNumber pay_no)
{
	Datum		key = UUIDPGetDatum(&pay_no);

	return FindAll(store, PAY_EVENT_TABLE, EVENT_BY_SEQ, &key, 1);
}

List *
PayListOpenReviews(PayStore *store, PayNumber pay_no)
{
	Datum		key = UUIDPGetDatum(&pay_no);

	/* the index has the open ones only */
	return FindAll(store, PAY_REVIEW_TABLE, REVIEW_BY_PAYMENT, &key, 1);
}

List *
PayListPaymentsOfPayer(PayStore *store, text *merchant, text *payer, PayNumber from, int at_most)
{
	Datum		keys[] = {PointerGetDatum(merchant), PointerGetDatum(payer)};
	OpenTable  *open = Open(store, PAY_PAYMENT_TABLE);
	IndexScanDesc scan = BeginScan(store, PAY_PAYMENT_TABLE, PAYMENT_BY_PAYER, keys, 2, &from);
	List	   *rows = NIL;

	while (list_length(rows) < at_most &&
		   index_getnext_slot(scan, BackwardScanDirection, open->read_slot))
	{
		PayPayment *row = palloc(sizeof(PayPayment));

		LoadSlot(PAY_PAYMENT_TABLE, open, open->read_slot, row);
		rows = lappend(rows, row);
	}
	ExecClearTuple(open->read_slot);
	EndScan(scan);
	return rows;
}

struct PayDueScan
{
	MemoryContext context;		/* of the call: the scan lives as long */
	OpenTable  *open;
	IndexScanDesc scan;
	Snapshot	snapshot;		/* outlives the renewal of the call's own */
	TupleTableSlot *slot;
};

PayDueScan *
PayBeginDue(PayStore *store, TimestampTz now)
{
	PayDueScan *due = palloc(sizeof(PayDueScan));
	ScanKeyData key;
	Relation	index;

	due->context = store->context;
	due->open = OpenLocked(store, PAY_TASK_TABLE);
	due->snapshot = RegisterSnapshot(GetTransactionSnapshot());
	due->slot = table_slot_create(due->open->rel, &store->slots);
	index = index_open(due->open->map.index[TASK_BY_TIME], AccessShareLock);
	ScanKeyEntryInitialize(&key, 0, 1, BTLessEqualStrategyNumber, InvalidOid, InvalidOid,
						   F_TIMESTAMPTZ_LE, TimestampTzGetDatum(now));
	due->scan = PayCompatIndexBeginScan(due->open->rel, index, due->snapshot, 1);
	index_rescan(due->scan, &key, 1, NULL, 0);
	return due;
}

bool
PayNextDue(PayDueScan *due, PayTask *row)
{
	MemoryContext item = MemoryContextSwitchTo(due->context);
	bool		found = index_getnext_slot(due->scan, ForwardScanDirection, due->slot);

	MemoryContextSwitchTo(item);
	if (found)
		LoadSlot(PAY_TASK_TABLE, due->open, due->slot, row);
	return found;
}

void
PayEndDue(PayDueScan *due)
{
	ExecClearTuple(due->slot);
	EndScan(due->scan);
	UnregisterSnapshot(due->snapshot);
}

/* ---- locking ---- */

static bool
LockRow(PayStore *store, PayTableId id, void *row, LockWaitPolicy wait)
{
	OpenTable  *open = OpenLocked(store, id);
	uint8		flags = TUPLE_LOCK_FLAG_LOCK_UPDATE_IN_PROGRESS;
	ItemPointerData tid = Head(row)->tid;
	TM_FailureData failure;
	TM_Result	result;

	if (!IsolationUsesXactSnapshot())
		flags |= TUPLE_LOCK_FLAG_FIND_LAST_VERSION;
	result = table_tuple_lock(open->rel, &tid, GetActiveSnapshot(), open->read_slot,
							  GetCurrentCommandId(true), LockTupleNoKeyExclusive, wait,
							  flags, &failure);
	if (wait == LockWaitSkip && (result == TM_WouldBlock || result == TM_Updated || result == TM_Deleted))
		return false;
	switch (result)
	{
		case TM_Ok:
			LoadSlot(id, open, open->read_slot, row);
			break;
		case TM_Updated:
			ThrowSerializationFailure("update");
			break;
		case TM_Deleted:
			if (IsolationUsesXactSnapshot())
				ThrowSerializationFailure("delete");
			break;
		case TM_SelfModified:
			ereport(ERROR,
					(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
					 errmsg("row of \"%s\" was already modified by the command that is calling",
							tables[id].name),
					 errdetail("A statement that updates the row cannot call %s() for it.",
							   get_func_name(store->function)),
					 errhint("Make the call a statement of its own.")));
			break;
		default:
			elog(ERROR, "unexpected result of locking a row of \"%s\": %d", tables[id].name, result);
	}
	ExecClearTuple(open->read_slot);
	return result == TM_Ok;
}

bool
PayLockPayment(PayStore *store, PayPayment *row)
{
	bool		there = LockRow(store, PAY_PAYMENT_TABLE, row, LockWaitBlock);

	if (!IsolationUsesXactSnapshot())
		RenewSnapshot();
	return there;
}

bool
PayLockAttempt(PayStore *store, PayAttempt *row)
{
	return LockRow(store, PAY_ATTEMPT_TABLE, row, LockWaitBlock);
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
		RenewSnapshot();
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
		RenewSnapshot();
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
		RenewSnapshot();
	return locked;
}

/* ---- writing ---- */

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
	int			kept = 0;
	int			i;

	if (desc == NULL)
		return;
	desc->trig_insert_before_row = desc->trig_insert_after_row = false;
	desc->trig_update_before_row = desc->trig_update_after_row = false;
	for (i = 0; i < desc->numtriggers; i++)
	{
		Trigger    *trigger = &desc->triggers[i];
		bool		after;

		if (trigger->tgfoid == catalog.guard)
			continue;
		RefuseTransitionTables(ri, trigger);
		after = TRIGGER_FOR_AFTER(trigger->tgtype);
		if (TRIGGER_FOR_ROW(trigger->tgtype) && TRIGGER_FOR_INSERT(trigger->tgtype))
			*(after ? &desc->trig_insert_after_row : &desc->trig_insert_before_row) = true;
		if (TRIGGER_FOR_ROW(trigger->tgtype) && TRIGGER_FOR_UPDATE(trigger->tgtype))
			*(after ? &desc->trig_update_after_row : &desc->trig_update_before_row) = true;
		desc->triggers[kept++] = *trigger;
	}
	desc->numtriggers = kept;
	if (kept == 0)
		ri->ri_TrigDesc = NULL;
}

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

/* Let the executor find the table's constraints compiled. */
static void
UseCompiledChecks(OpenTable *open, PayTableId id)
{
	TupleConstr *constr = open->rel->rd_att->constr;
	CompiledChecks *kept = &compiled[id];

	if (constr == NULL || constr->num_check == 0 || kept->in_use)
		return;
	if (kept->context == NULL || kept->edition != catalog.edition)
	{
		MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "pay_idem constraints",
													  ALLOCSET_SMALL_SIZES);
		MemoryContext old = MemoryContextSwitchTo(context);
		ExprState **checks = palloc(constr->num_check * sizeof(ExprState *));
		int			i;

		for (i = 0; checks != NULL && i < constr->num_check; i++)
		{
			Expr	   *check = expression_planner(stringToNode(constr->check[i].ccbin));

			if (IsOfOneStatement((Node *) check, NULL))
				checks = NULL;
			else
				checks[i] = ExecInitExpr(check, NULL);
		}
		MemoryContextSwitchTo(old);
		MemoryContextSetParent(context, CacheMemoryContext);
		if (kept->context != NULL)
			MemoryContextDelete(kept->context);
		kept->context = context;
		kept->checks = checks;
		kept->edition = catalog.edition;
	}
	if (kept->checks == NULL)
		return;
	PayCompatSetChecks(open->ri, kept->checks);
	kept->in_use = true;
	open->checks = kept;
}

/* Make a table ready to be written to. */
static OpenTable *
OpenForWriting(PayStore *store, PayTableId id)
{
	OpenTable  *open = OpenLocked(store, id);
	EState	   *estate = store->estate;
	MemoryContext old = MemoryContextSwitchTo(store->context);

	if (estate == NULL)
	{
		/* a command that updates the same row as we do must notice (27000), so we are not part of it */
		SeeOwnWrites();
		estate = store->estate = CreateExecutorState();
		AfterTriggerBeginQuery();
	}
	if (open->ri == NULL)
	{
		PayCompatAddRangeTableEntry(estate, open->rel);
		open->ri = makeNode(ResultRelInfo);
		InitResultRelInfo(open->ri, open->rel, estate->es_range_table_size, NULL, 0);
		LeaveOutGuards(open->ri);
		UseCompiledChecks(open, id);
		estate->es_opened_result_relations = lappend(estate->es_opened_result_relations, open->ri);
		ExecOpenIndices(open->ri, tables[id].insert_or_find);
		open->write_slot = ExecInitExtraTupleSlot(estate, RelationGetDescr(open->rel),
												  table_slot_callbacks(open->rel));
	}
	MemoryContextSwitchTo(old);
	estate->es_output_cid = GetCurrentCommandId(true);
	estate->es_snapshot = GetActiveSnapshot();
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
FillDefaults(PayStore *store, PayTableId id, OpenTable *open, const void *row, Datum *values, bool *nulls)
{
	const Table *table = &tables[id];
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
									 GetPerTupleExprContext(store->estate), &nulls[i]);
	}
}

/* Put a new row into the table's write slot. */
static void
FormNewRow(PayStore *store, PayTableId id, OpenTable *open, const void *row)
{
	const Table *table = &tables[id];
	TupleTableSlot *slot = open->write_slot;
	int			i;

	ExecClearTuple(slot);
	memset(slot->tts_isnull, true, slot->tts_tupleDescriptor->natts * sizeof(bool));
	for (i = 0; i < table->n_columns; i++)
	{
		const Column *column = &table->column[i];
		int			att = open->map.attnum[i] - 1;

		if ((column->options & (NULLABLE | DEFAULTED)) && FieldIsNone(row, column))
			continue;
		slot->tts_values[att] = FieldGetDatum(row, column);
		slot->tts_isnull[att] = false;
	}
	if (open->map.has_defaults)
		FillDefaults(store, id, open, row, slot->tts_values, slot->tts_isnull);
	ExecStoreVirtualTuple(slot);
	slot->tts_tableOid = RelationGetRelid(open->rel);
	ItemPointerSetInvalid(&slot->tts_tid);
}

static void
ThrowTriggerInterfered(PayTableId id, const char *what)
{
	ereport(ERROR,
			(errcode(PAY_ERR_PROTECTED),
			 errmsg("a trigger on \"%s\" %s", tables[id].name, what),
			 errdetail("What was decided would not be what is written."),
			 errhint("A BEFORE trigger may fill columns that you added; leave the others alone.")));
}

/*
 * See what was stored: the row must be what was decided, whatever the user's
 * BEFORE triggers did.
 */
static void
FinishWrite(PayTableId id, OpenTable *open, void *row, bool before_triggers)
{
	const Table *table = &tables[id];
	TupleTableSlot *slot = open->write_slot;
	void	   *intended = NULL;
	int			i;

	if (!ItemPointerIsValid(&slot->tts_tid))
		ThrowTriggerInterfered(id, "suppressed a row");
	if (before_triggers)
	{
		intended = palloc(table->row_size);
		memcpy(intended, row, table->row_size);
	}
	LoadSlot(id, open, slot, row);
	for (i = 0; before_triggers && i < table->n_columns; i++)
	{
		const Column *column = &table->column[i];

		if (!FieldsEqual(row, intended, column) &&
			!((column->options & DEFAULTED) && FieldIsNone(intended, column)))
			ThrowTriggerInterfered(id, psprintf("changed column \"%s\"", column->name));
	}
	SeeOwnWrites();
}

static void
Insert(PayStore *store, PayTableId id, void *row)
{
	OpenTable  *open = OpenForWriting(store, id);
	TriggerDesc *triggers = open->ri->ri_TrigDesc;

	FormNewRow(store, id, open, row);
	ExecSimpleRelationInsert(open->ri, store->estate, open->write_slot);
	FinishWrite(id, open, row, triggers && triggers->trig_insert_before_row);
}

/*
 * The row that is in the way must be one that this transaction may see; in
 * READ COMMITTED a newer snapshot will.
 */
static void
CheckConflictIsVisible(OpenTable *open, ItemPointer conflict)
{
	if (!IsolationUsesXactSnapshot())
		RenewSnapshot();
	else if (!table_tuple_fetch_row_version(open->rel, conflict, GetActiveSnapshot(), open->read_slot))
		ThrowSerializationFailure("update");
	ExecClearTuple(open->read_slot);
}

/*
 * The indexes that may find our key taken.  There can be several of a kind: a
 * user's twin, or the new one, not valid yet, of REINDEX CONCURRENTLY.
 */
static List *
Arbiters(PayTableId id, const OpenTable *open)
{
	const Table *table = &tables[id];
	List	   *arbiters = NIL;
	int			i;
	int			k;

	for (i = 0; i < open->ri->ri_NumIndices; i++)
	{
		Relation	index = open->ri->ri_IndexRelationDescs[i];

		for (k = 0; k < table->n_indexes; k++)
			if ((table->index[k].options & ARBITER) &&
				IndexFits(index, table, &open->map, &table->index[k]))
				arbiters = lappend_oid(arbiters, RelationGetRelid(index));
	}
	return arbiters;
}

/* What INSERT ... ON CONFLICT DO NOTHING does, with the indexes above as arbiters. */
static bool
InsertOrFind(PayStore *store, PayTableId id, void *row)
{
	OpenTable  *open = OpenForWriting(store, id);
	EState	   *estate = store->estate;
	ResultRelInfo *ri = open->ri;
	TupleTableSlot *slot = open->write_slot;
	bool		before_triggers = ri->ri_TrigDesc && ri->ri_TrigDesc->trig_insert_before_row;
	List	   *arbiters = Arbiters(id, open);
	List	   *recheck = NIL;

	FormNewRow(store, id, open, row);
	if (before_triggers && !ExecBRInsertTriggers(estate, ri, slot))
		ThrowTriggerInterfered(id, "suppressed a row");
	if (open->rel->rd_att->constr != NULL)
	{
		if (open->rel->rd_att->constr->has_generated_stored)
			ExecComputeStoredGenerated(ri, estate, slot, CMD_INSERT);
		ExecConstraints(ri, slot, estate);
	}
	for (;;)
	{
		ItemPointerData other;
		uint32		token;
		bool		conflict;

		CHECK_FOR_INTERRUPTS();
		/* waits for whoever is inserting the same key */
		if (!PayCompatCheckIndexConstraints(ri, slot, estate, &other, arbiters))
		{
			CheckConflictIsVisible(open, &other);
			return false;
		}
		token = SpeculativeInsertionLockAcquire(GetCurrentTransactionId());
		table_tuple_insert_speculative(open->rel, slot, estate->es_output_cid, 0, NULL, token);
		conflict = PayCompatInsertSpeculativeIndexTuples(ri, slot, estate, arbiters, &recheck);
		table_tuple_complete_speculative(open->rel, slot, token, !conflict);
		SpeculativeInsertionLockRelease(GetCurrentTransactionId());
		if (!conflict)
			break;
		list_free(recheck);
	}
	ExecARInsertTriggers(estate, ri, slot, recheck, NULL);
	FinishWrite(id, open, row, before_triggers);
	return true;
}

static void
Update(PayStore *store, PayTableId id, void *row)
{
	const Table *table = &tables[id];
	OpenTable  *open = OpenForWriting(store, id);
	TupleDesc	desc = RelationGetDescr(open->rel);
	TriggerDesc *triggers = open->ri->ri_TrigDesc;
	PayRowHead *head = Head(row);
	Datum	   *values = palloc0(desc->natts * sizeof(Datum));
	bool	   *nulls = palloc0(desc->natts * sizeof(bool));
	bool	   *replaced = palloc0(desc->natts * sizeof(bool));
	Bitmapset  *columns = NULL;
	EPQState	epqstate;
	int			i;

	for (i = 0; i < table->n_columns; i++)
	{
		const Column *column = &table->column[i];
		int			att = open->map.attnum[i] - 1;

		/* a field nobody touched keeps its stored value, toasted or not */
		if (memcmp(Field(row, column), Field(head->stored, column), kinds[column->kind].size) == 0)
			continue;
		replaced[att] = true;
		nulls[att] = (column->options & NULLABLE) && FieldIsNone(row, column);
		if (!nulls[att])
			values[att] = FieldGetDatum(row, column);
		columns = bms_add_member(columns, att + 1 - FirstLowInvalidHeapAttributeNumber);
	}
	if (columns == NULL)
		return;

	PayCompatSetUpdatedColumns(store->estate, open->ri->ri_RangeTableIndex, columns);
	ExecForceStoreHeapTuple(heap_modify_tuple(head->tuple, desc, values, nulls, replaced),
							open->write_slot, false);
	ItemPointerSetInvalid(&open->write_slot->tts_tid);
	open->read_slot->tts_tid = head->tid;
	PayCompatEvalPlanQualInit(&epqstate, store->estate);
	ExecSimpleRelationUpdate(open->ri, store->estate, &epqstate, open->read_slot, open->write_slot);
	EvalPlanQualEnd(&epqstate);
	FinishWrite(id, open, row, triggers && triggers->trig_update_before_row);
}

bool
PayInsertPayment(PayStore *store, PayPayment *row)
{
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
	return InsertOrFind(store, PAY_REFUND_TABLE, row);
}

bool
PayInsertDispute(PayStore *store, PayDispute *row)
{
	return InsertOrFind(store, PAY_DISPUTE_TABLE, row);
}

bool
PayInsertResource(PayStore *store, PayResource *row)
{
	return InsertOrFind(store, PAY_RESOURCE_TABLE, row);
}

void
PayInsertTask(PayStore *store, PayTask *row)
{
	Insert(store, PAY_TASK_TABLE, row);
}

void
PayInsertHold(PayStore *store, PayHold *row)
{
	Insert(store, PAY_HOLD_TABLE, row);
}

void
PayInsertAttempt(PayStore *store, PayAttempt *row)
{
	Insert(store, PAY_ATTEMPT_TABLE, row);
}

void
PayInsertEvent(PayStore *store, PayEvent *row)
{
	Insert(store, PAY_EVENT_TABLE, row);
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
	TriggerDesc *triggers = open->ri->ri_TrigDesc;
	EPQState	epqstate;

	open->read_slot->tts_tid = Head(row)->tid;
	PayCompatEvalPlanQualInit(&epqstate, store->estate);
	ExecSimpleRelationDelete(open->ri, store->estate, &epqstate, open->read_slot);
	EvalPlanQualEnd(&epqstate);
	SeeOwnWrites();
	if (triggers && triggers->trig_delete_before_row &&
		table_tuple_fetch_row_version(open->rel, &Head(row)->tid, GetActiveSnapshot(), open->read_slot))
		ThrowTriggerInterfered(id, "suppressed a row");
	ExecClearTuple(open->read_slot);
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

/* ---- for the guards ---- */

PayTableId
PayTableOf(PayStore *store, Relation rel)
{
	int			i;

	FillCatalog(store->home);
	for (i = 0; i < PAY_TABLES; i++)
		if (catalog.table[i].relid == RelationGetRelid(rel))
			break;
	return (PayTableId) i;
}

void
PayLoadTuple(PayStore *store, PayTableId id, HeapTuple tuple, TupleDesc desc, void *row)
{
	LoadTuple(&tables[id], &Open(store, id)->map, tuple, desc, row);
}

const char **
PayChangedColumns(PayTableId id, const void *before, const void *after)
{
	const Table *table = &tables[id];
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
PayDeleteChannel(PayStore *store, PayChannel *row)
{
	OpenTable  *open = OpenLocked(store, PAY_CHANNEL_TABLE);

	simple_table_tuple_delete(open->rel, &row->head.tid, GetActiveSnapshot());
	CommandCounterIncrement();
}

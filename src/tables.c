/*
 * tables.c
 *
 * What our tables look like, and where they are.
 *
 * The catalog lives for the backend, in static memory; "not installed" is
 * never remembered.
 */
#include "tables.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_am.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "compat.h"
#include "errors.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/sinval.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

PayCatalog	pay_catalog;

/* ---- what our tables look like ---- */

const PayKindTraits pay_kinds[] =
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
	[KIND_NAME] = {sizeof(NameData), F_NAMEEQ, NAMEOID},
	[KIND_TEXT] = {sizeof(text *), F_TEXTEQ, TEXTOID},
	[KIND_JSONB] = {sizeof(struct varlena *), InvalidOid, JSONBOID},
	[KIND_ROUTES] = {sizeof(PayRoutes), InvalidOid, INT2ARRAYOID},
	[KIND_INTERVALS] = {sizeof(struct varlena *), InvalidOid, INTERVALARRAYOID}
};

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
#define DATABASE(field) offsetof(PayDatabase, field)
#define GRANTEE(field) offsetof(PayGrantee, field)

/* A list of them, with its length in front. */
#define COUNTED(type, ...) lengthof(((const type[]) {__VA_ARGS__})), {__VA_ARGS__}
#define COLUMNS(...) COUNTED(PayColumn, __VA_ARGS__)
#define INDEXES(...) COUNTED(PayKey, __VA_ARGS__)
#define KEYS(...) COUNTED(char *, __VA_ARGS__)
#define WHERE(...) COUNTED(PayCondition, __VA_ARGS__)

const PayTable pay_tables[PAY_TABLES] = {
	[PAY_CHANNEL_TABLE] = {
		"pay_channel", sizeof(PayChannel), false,
		COLUMNS(
			{"route", KIND_INT2, 0, CHANNEL(route)},
			{"max_attempts", KIND_INT2, 0, CHANNEL(max_attempts)},
			{"can_resubmit", KIND_BOOL, 0, CHANNEL(can_resubmit)},
			{"can_close", KIND_BOOL, 0, CHANNEL(can_close)},
			{"can_reverse", KIND_BOOL, 0, CHANNEL(can_reverse)},
			{"resubmit_after", KIND_INTERVAL, 0, CHANNEL(resubmit_after)},
			{"resubmit_within", KIND_INTERVAL, 0, CHANNEL(resubmit_within)},
			{"timeout", KIND_INTERVAL, 0, CHANNEL(timeout)},
			{"schedule", KIND_INTERVALS, 0, CHANNEL(schedule)},
			{"schedule_held", KIND_INTERVALS, 0, CHANNEL(schedule_held)},
			{"held_for", KIND_INTERVAL, 0, CHANNEL(held_for)},
			{"message_ids", KIND_TEXT, 0, CHANNEL(message_ids)},
			{"channel", KIND_TEXT, 0, CHANNEL(channel)},
			{"method", KIND_TEXT, 0, CHANNEL(method)}
		),
		INDEXES(
			{UNIQUE, KEYS("route")},
			{UNIQUE, KEYS("channel", "method")}
		)
	},
	[PAY_DATABASE_TABLE] = {
		"pay_database", sizeof(PayDatabase), true,
		COLUMNS(
			{"system_identifier", KIND_INT8, 0, DATABASE(system_identifier)},
			{"adopted_at", KIND_TIME, 0, DATABASE(adopted_at)},
			{"adopted_by", KIND_TEXT, 0, DATABASE(adopted_by)},
			{"reason", KIND_TEXT, NULLABLE, DATABASE(reason)}
		),
		INDEXES(
			{UNIQUE | ARBITER, KEYS("system_identifier")}
		)
	},
	[PAY_PAYMENT_TABLE] = {
		"pay_payment", sizeof(PayPayment), true,
		COLUMNS(
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
		),
		INDEXES(
			{UNIQUE | ARBITER | DRAWN, KEYS("pay_no")},
			{UNIQUE | ARBITER, KEYS("merchant", "order_no")},
			{LOOKUP, KEYS("merchant", "payer", "pay_no"), WHERE({"payer", IS_NOT_NULL})}
		)
	},
	[PAY_ATTEMPT_TABLE] = {
		"pay_attempt", sizeof(PayAttempt), false,
		COLUMNS(
			{"trade_no", KIND_UUID, 0, ATTEMPT(trade_no)},
			{"pay_no", KIND_UUID, 0, ATTEMPT(pay_no)},
			{"amount", KIND_INT8, 0, ATTEMPT(amount)},
			{"amount_to_capture", KIND_INT8, NULLABLE, ATTEMPT(amount_to_capture)},
			{"amount_collected", KIND_INT8, NULLABLE, ATTEMPT(amount_collected)},
			{"amount_extra", KIND_INT8, NULLABLE, ATTEMPT(amount_extra)},
			{"amount_reserved", KIND_INT8, NULLABLE, ATTEMPT(amount_reserved)},
			{"amount_refunded", KIND_INT8, NULLABLE, ATTEMPT(amount_refunded)},
			{"amount_overdrawn", KIND_INT8, NULLABLE, ATTEMPT(amount_overdrawn)},
			{"opened_at", KIND_TIME, 0, ATTEMPT(opened_at)},
			{"handed_out_at", KIND_TIME, 0, ATTEMPT(handed_out_at)},
			{"reported_at", KIND_TIME, NULLABLE, ATTEMPT(reported_at)},
			{"credential_expires_at", KIND_TIME, NULLABLE, ATTEMPT(credential_expires_at)},
			{"check_at", KIND_TIME, NULLABLE | REMAKEABLE, ATTEMPT(check_at)},
			{"reports", KIND_INT4, REMAKEABLE, ATTEMPT(reports)},
			{"attempt", KIND_INT2, 0, ATTEMPT(attempt)},
			{"route", KIND_INT2, 0, ATTEMPT(route)},
			{"state", KIND_STATE, 0, ATTEMPT(state)},
			{"request_id", KIND_TEXT, 0, ATTEMPT(request_id)},
			{"channel_txn", KIND_TEXT, NULLABLE, ATTEMPT(channel_txn)},
			{"credential", KIND_TEXT, NULLABLE, ATTEMPT(credential)}
		),
		INDEXES(
			{UNIQUE, KEYS("trade_no")}
		)
	},
	[PAY_EVENT_TABLE] = {
		"pay_event", sizeof(PayEvent), false,
		COLUMNS(
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
		),
		INDEXES(
			{UNIQUE, KEYS("pay_no", "seq")},
			{UNIQUE, KEYS("pay_no", "source", "message_id"), WHERE({"message_id", IS_NOT_NULL})}
		)
	},
	[PAY_REVIEW_TABLE] = {
		"pay_review", sizeof(PayReview), true,
		COLUMNS(
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
			{"refund_kind", KIND_TEXT, NULLABLE, REVIEW(refund_kind)},
			{"merchant", KIND_TEXT, NULLABLE, REVIEW(merchant)},
			{"kind", KIND_TEXT, 0, REVIEW(kind)},
			{"source", KIND_TEXT, 0, REVIEW(source)},
			{"message_id", KIND_TEXT, NULLABLE, REVIEW(message_id)},
			{"trade_no", KIND_TEXT, 0, REVIEW(trade_no)},
			{"attempt_no", KIND_UUID, NULLABLE, REVIEW(attempt_no)},
			{"currency", KIND_TEXT, NULLABLE, REVIEW(currency)},
			{"channel_txn", KIND_TEXT, NULLABLE, REVIEW(channel_txn)},
			{"detail", KIND_TEXT, NULLABLE, REVIEW(detail)},
			{"payload", KIND_JSONB, NULLABLE, REVIEW(payload)},
			{"verdict", KIND_TEXT, NULLABLE, REVIEW(verdict)},
			{"reason", KIND_TEXT, NULLABLE, REVIEW(reason)},
			{"resolved_by", KIND_TEXT, NULLABLE, REVIEW(resolved_by)},
			{"resolved_session", KIND_TEXT, NULLABLE, REVIEW(resolved_session)}
		),
		INDEXES(
			{UNIQUE, KEYS("review_id")},
			{LOOKUP, KEYS("pay_no"), WHERE({"resolved_at", IS_NULL})},
			{UNIQUE | ARBITER, KEYS("source", "trade_no", "message_id", "merchant"),
				WHERE({"pay_no", IS_NULL}, {"resolved_at", IS_NULL})}
		)
	},
	[PAY_REFUND_TABLE] = {
		"pay_refund", sizeof(PayRefund), true,
		COLUMNS(
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
			{"of_txn", KIND_TEXT, NULLABLE, REFUND(of_txn)},
			{"handed_out_at", KIND_TIME, NULLABLE, REFUND(handed_out_at)},
			{"check_at", KIND_TIME, NULLABLE | REMAKEABLE, REFUND(check_at)},
			{"reports", KIND_INT4, REMAKEABLE, REFUND(reports)}
		),
		INDEXES(
			{UNIQUE | ARBITER, KEYS("merchant", "refund_no")},
			{LOOKUP, KEYS("pay_no")}
		)
	},
	[PAY_DISPUTE_TABLE] = {
		"pay_dispute", sizeof(PayDispute), true,
		COLUMNS(
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
		),
		INDEXES(
			{UNIQUE, KEYS("dispute_id")},
			{UNIQUE | ARBITER, KEYS("pay_no", "other_pay_no"), WHERE({"resolved_at", IS_NULL})}
		)
	},
	[PAY_TASK_TABLE] = {
		"pay_task", sizeof(PayTask), false,
		COLUMNS(
			{"due_at", KIND_TIME, 0, TASK(due_at)},
			{"queued_for", KIND_TIME, 0, TASK(queued_for)},
			{"claimed_at", KIND_TIME, NULLABLE, TASK(claimed_at)},
			{"pay_no", KIND_UUID, 0, TASK(pay_no)},
			{"reports", KIND_INT4, 0, TASK(reports)},
			{"attempt", KIND_INT2, 0, TASK(attempt)},
			{"tries", KIND_INT2, 0, TASK(tries)},
			{"refund_no", KIND_TEXT, NULLABLE, TASK(refund_no)},
			{"resource", KIND_TEXT, NULLABLE, TASK(resource)},
			{"asked_by", KIND_TEXT, NULLABLE, TASK(asked_by)}
		),
		INDEXES(
			{LOOKUP, KEYS("due_at")}
		)
	},
	[PAY_RESOURCE_TABLE] = {
		"pay_resource", sizeof(PayResource), true,
		COLUMNS(
			{"capacity", KIND_INT8, NULLABLE, RESOURCE(capacity)},
			{"taken", KIND_INT8, 0, RESOURCE(taken)},
			{"taken_by", KIND_UUID, NULLABLE, RESOURCE(taken_by)},
			{"external", KIND_BOOL, 0, RESOURCE(external)},
			{"merchant", KIND_TEXT, 0, RESOURCE(merchant)},
			{"resource", KIND_TEXT, 0, RESOURCE(resource)}
		),
		INDEXES(
			{UNIQUE | ARBITER, KEYS("merchant", "resource")}
		)
	},
	[PAY_HOLD_TABLE] = {
		"pay_hold", sizeof(PayHold), false,
		COLUMNS(
			{"pay_no", KIND_UUID, 0, HOLD(pay_no)},
			{"quantity", KIND_INT8, 0, HOLD(quantity)},
			{"taken_at", KIND_TIME, 0, HOLD(taken_at)},
			{"check_at", KIND_TIME, NULLABLE, HOLD(check_at)},
			{"position", KIND_INT2, 0, HOLD(position)},
			{"external", KIND_BOOL, 0, HOLD(external)},
			{"tried", KIND_BOOL, 0, HOLD(tried)},
			{"state", KIND_TEXT, 0, HOLD(state)},
			{"resource", KIND_TEXT, 0, HOLD(resource)}
		),
		INDEXES(
			{UNIQUE, KEYS("pay_no", "resource")}
		)
	},
	/* read by caller.c, which counts on this order */
	[PAY_GRANTEE_TABLE] = {
		"pay_grantee", sizeof(PayGrantee), false,
		COLUMNS(
			{"role", KIND_NAME, 0, GRANTEE(role)},
			{"kind", KIND_TEXT, 0, GRANTEE(kind)},
			{"merchant", KIND_TEXT, NULLABLE, GRANTEE(merchant)}
		)
	}
};

/* ---- what else they must have ---- */

#define BEFORE_ROW(events) (TRIGGER_TYPE_BEFORE | TRIGGER_TYPE_ROW | (events))
#define CHANGES BEFORE_ROW(TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE)
#define CHANGED (TRIGGER_TYPE_AFTER | TRIGGER_TYPE_ROW | TRIGGER_TYPE_UPDATE)
#define TRUNCATES (TRIGGER_TYPE_BEFORE | TRIGGER_TYPE_STATEMENT | TRIGGER_TYPE_TRUNCATE)

#define GUARDS 3
#define MAX_CHECKS 10

static const char *const guard_name[GUARDS] = {
	"pay_guard_before", "pay_guard_after", "pay_guard_truncate"
};

/*
 * The guards and CHECKs of each table.  pay_install() makes them, and repairs
 * what is missing, from its own lists, which have their definitions too.
 */
static const struct
{
	int16		guard[GUARDS];	/* tgtype; 0: none */
	const char *check[MAX_CHECKS];
}			protection[PAY_TABLES] = {
	[PAY_CHANNEL_TABLE] = {
		{BEFORE_ROW(TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE), 0, TRUNCATES},
		{"pay_channel_route_check", "pay_channel_channel_check", "pay_channel_method_check",
			"pay_channel_resubmit_after_check", "pay_channel_timeout_check", "pay_channel_schedule_check",
			"pay_channel_max_attempts_check", "pay_channel_message_ids_check", "pay_channel_waits_check",
			"pay_channel_bounds_check"}
	},
	[PAY_PAYMENT_TABLE] = {
		{CHANGES, CHANGED, TRUNCATES},
		{"pay_payment_pay_no_check", "pay_payment_keys_check", "pay_payment_amount_check",
			"pay_payment_attempts_check", "pay_payment_winner_check", "pay_payment_replaced_check"}
	},
	[PAY_ATTEMPT_TABLE] = {
		{CHANGES, CHANGED, TRUNCATES},
		{"pay_attempt_attempt_check", "pay_attempt_route_check", "pay_attempt_state_check",
			"pay_attempt_trade_no_check", "pay_attempt_amount_check", "pay_attempt_collected_check",
			"pay_attempt_credential_check", "pay_attempt_refunds_check", "pay_attempt_cap_check"}
	},
	[PAY_EVENT_TABLE] = {
		{CHANGES, CHANGED, TRUNCATES}, {"pay_event_seq_check", "pay_event_attempt_check"}
	},
	[PAY_REVIEW_TABLE] = {
		{CHANGES, CHANGED, TRUNCATES},
		{"pay_review_resolved_check", "pay_review_kind_check", "pay_review_attempt_check"}
	},
	[PAY_REFUND_TABLE] = {
		{CHANGES, CHANGED, TRUNCATES},
		{"pay_refund_keys_check", "pay_refund_amount_check", "pay_refund_attempt_check",
			"pay_refund_kind_check"}
	},
	[PAY_DISPUTE_TABLE] = {
		{CHANGES, CHANGED, TRUNCATES}, {"pay_dispute_payments_check", "pay_dispute_resolved_check"}
	},
	[PAY_TASK_TABLE] = {
		{CHANGES, CHANGED, TRUNCATES}, {"pay_task_attempt_check", "pay_task_tries_check"}
	},
	[PAY_RESOURCE_TABLE] = {
		{CHANGES, CHANGED, TRUNCATES}, {"pay_resource_keys_check", "pay_resource_taken_check"}
	},
	[PAY_HOLD_TABLE] = {
		{CHANGES, CHANGED, TRUNCATES},
		{"pay_hold_quantity_check", "pay_hold_state_check", "pay_hold_position_check"}
	},
	[PAY_DATABASE_TABLE] = {
		{BEFORE_ROW(TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE), 0, TRUNCATES}, {NULL}
	},
	[PAY_GRANTEE_TABLE] = {
		{BEFORE_ROW(TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE)},
		{"pay_grantee_given_check"}
	}
};

/* ---- finding our tables ---- */

static void
InvalidateCatalog(Datum arg, Oid relid)
{
	int			i;

	if (relid == InvalidOid)
		pay_catalog.valid = false;
	for (i = 0; i < PAY_TABLES; i++)
		if (pay_catalog.table[i].relid == relid)
			pay_catalog.valid = false;
}

/* A function changed, perhaps one of ours or one in a constraint: rare, so look everything up again. */
static void
InvalidateCatalogForObject(Datum arg, int cacheid, uint32 hashvalue)
{
	pay_catalog.valid = false;
}

static const char *
OwnerName(Oid owner)
{
	char	   *name = GetUserNameFromId(owner, true);

	return name ? name : "nobody";
}

/*
 * Somebody put it there, or it was given to somebody else: its triggers would
 * run with the rights of whoever pays.  Nothing that would have it adopted is
 * suggested.
 */
pg_noreturn static void
ThrowNotOurs(const char *table, const char *fact)
{
	ereport(ERROR,
			(errcode(PAY_ERR_NOT_INSTALLED),
			 errmsg("pay_idem does not trust table \"%s\"", table),
			 errdetail("%s", fact),
			 errhint("Rename or drop it, then SELECT pay_install(); makes another.")));
}

/* All our tables are of one owner: a second one's triggers would run beside the first one's. */
static void
CheckOneOwner(void)
{
	Oid			owner = pay_catalog.table[PAY_PAYMENT_TABLE].owner;
	int			i;

	for (i = 0; i < PAY_TABLES; i++)
		if (pay_catalog.table[i].owner != owner)
			ThrowNotOurs(pay_tables[i].name,
						 psprintf("It belongs to \"%s\", and \"pay_payment\" to \"%s\".",
								  OwnerName(pay_catalog.table[i].owner), OwnerName(owner)));
	pay_catalog.owner = owner;
}

/* What a table is not as it must be. */
typedef struct Fault
{
	const char *what;			/* "is ...", "has ..."; NULL: nothing */
	const char *remedy;			/* NULL: pay_install() repairs it */
} Fault;

static const Fault no_fault = {NULL, NULL};

static const char not_ours[] =
"If it is none of pay_idem's tables, rename or drop it; else restore it. Then SELECT pay_install();";

static Fault
Damage(const char *what, const char *remedy)
{
	Fault		fault = {what, remedy};

	return fault;
}

pg_noreturn static void
ThrowNotInstalled(const char *table, const char *why)
{
	ereport(ERROR,
			(errcode(PAY_ERR_NOT_INSTALLED),
			 errmsg("pay_idem is not installed in this database"),
			 errdetail("Table \"%s\" %s.", table, why),
			 errhint("SELECT pay_install(); creates the tables, or brings them up to date.")));
}

pg_noreturn static void
ThrowFault(const char *table, Fault fault)
{
	ereport(ERROR,
			(errcode(PAY_ERR_NOT_INSTALLED),
			 errmsg("table \"%s\" is not as pay_install() makes it", table),
			 errdetail("It %s.", fault.what),
			 fault.remedy != NULL ? errhint("%s", fault.remedy) :
			 errhint("SELECT pay_install(); repairs it, or brings it up to date.")));
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
TypeOfKind(PayKind kind, Oid home)
{
	if (pay_kinds[kind].own_type == NULL)
		return pay_kinds[kind].type;
	return GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum(pay_kinds[kind].own_type),
						   ObjectIdGetDatum(home));
}

int
PayColumnNamed(const PayTable *table, const char *name)
{
	int			c;

	for (c = 0; c < table->n_columns; c++)
		if (strcmp(table->column[c].name, name) == 0)
			return c;
	elog(ERROR, "the library knows no column \"%s\" of \"%s\"", name, table->name);
}

/*
 * The conditions of an index as they are stored.  RelationGetIndexPredicate()
 * would simplify them, which calls the functions in them with the rights of
 * whoever asks.
 */
static List *
StoredConditions(Relation index)
{
	bool		isnull;
	Datum		stored = SysCacheGetAttr(INDEXRELID, index->rd_indextuple, Anum_pg_index_indpred, &isnull);

	return isnull ? NIL : make_ands_implicit((Expr *) stringToNode(TextDatumGetCString(stored)));
}

/* Is the index partial just as we want it? A user's own partial index would miss rows. */
static bool
HasConditions(Relation index, const PayTable *table, const PayTableMap *map, const PayKey *wanted)
{
	List	   *clauses = StoredConditions(index);
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
				map->attnum[PayColumnNamed(table, wanted->where[i].column)] &&
				test->nulltesttype == wanted->where[i].test)
				met++;
	}
	return met == wanted->n_where && list_length(clauses) == wanted->n_where;
}

bool
PayIndexFits(Relation index, const PayTable *table, const PayTableMap *map, const PayKey *wanted)
{
	Form_pg_index form = index->rd_index;
	int			i;

	if (form->indnkeyatts != wanted->n || index->rd_rel->relam != BTREE_AM_OID)
		return false;
	if ((wanted->options & UNIQUE) && !(form->indisunique && form->indimmediate))
		return false;
	for (i = 0; i < wanted->n; i++)
	{
		int			c = PayColumnNamed(table, wanted->column[i]);

		if (form->indkey.values[i] != map->attnum[c] ||
			index->rd_indoption[i] != 0 ||
			index->rd_opcintype[i] != pay_kinds[table->column[c].kind].type ||
			(table->column[c].kind == KIND_TEXT && index->rd_indcollation[i] != C_COLLATION_OID))
			return false;
	}
	return HasConditions(index, table, map, wanted);
}

/* Find the index that we want among a table's. */
static Oid
MapIndex(Relation rel, const PayTable *table, const PayTableMap *map, const PayKey *wanted)
{
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *cell;
	Oid			found = InvalidOid;

	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		if (index->rd_index->indisvalid && PayIndexFits(index, table, map, wanted))
			found = lfirst_oid(cell);
		index_close(index, AccessShareLock);
		if (OidIsValid(found))
			break;
	}
	list_free(indexes);
	return found;
}

/* ---- what is wrong with a table ---- */

static const char *
Qualified(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), get_rel_name(relid));
}

/* A parent by inheritance or partitioning; or none. */
static Oid
AnyParent(Oid relid)
{
	Relation	inherits = table_open(InheritsRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			parent = InvalidOid;

	ScanKeyInit(&key, Anum_pg_inherits_inhrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(inherits, InheritsRelidSeqnoIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		parent = ((Form_pg_inherits) GETSTRUCT(tuple))->inhparent;
	systable_endscan(scan);
	table_close(inherits, AccessShareLock);
	return parent;
}

/* A parent's columns are inherited ones; a parent without columns does no harm. */
static bool
HasInheritedColumns(Relation rel)
{
	int			i;

	for (i = 0; i < RelationGetNumberOfAttributes(rel); i++)
		if (TupleDescAttr(RelationGetDescr(rel), i)->attinhcount > 0)
			return true;
	return false;
}

static Fault
FindRelatives(Relation rel)
{
	Oid			relid = RelationGetRelid(rel);
	const char *name = Qualified(relid);
	Oid			parent;
	List	   *children;

	if (rel->rd_rel->relispartition || HasInheritedColumns(rel))
	{
		parent = AnyParent(relid);
		if (rel->rd_rel->relispartition)
			return Damage(psprintf("is a partition of %s", Qualified(parent)),
						  psprintf("ALTER TABLE %s DETACH PARTITION %s;", Qualified(parent), name));
		return Damage(psprintf("inherits from %s", Qualified(parent)),
					  psprintf("ALTER TABLE %s NO INHERIT %s;", name, Qualified(parent)));
	}
	/* the mark stays when the last child has gone */
	children = rel->rd_rel->relhassubclass ? find_inheritance_children(relid, NoLock) : NIL;
	if (children != NIL)
		return Damage(psprintf("has a child %s, which nothing guards", Qualified(linitial_oid(children))),
					  psprintf("ALTER TABLE %s NO INHERIT %s;", Qualified(linitial_oid(children)), name));
	return no_fault;
}

/* Is it an ordinary table, with all that it is made of, that nothing rewrites? */
static Fault
FindWrongKind(Relation rel)
{
	if (rel->rd_rel->relkind != RELKIND_RELATION)
		return Damage("is not an ordinary table", not_ours);
	if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		return Damage("is temporary", not_ours);
	if (rel->rd_rel->relpersistence != RELPERSISTENCE_PERMANENT)
		return Damage("is UNLOGGED, and so empty after a crash", NULL);
	if (rel->rd_rules != NULL)
	{
		ObjectAddress rule;
		List	   *names;
		List	   *arguments;

		ObjectAddressSet(rule, RewriteRelationId, rel->rd_rules->rules[0]->ruleId);
		getObjectIdentityParts(&rule, &names, &arguments, false);
		return Damage(psprintf("has a rule \"%s\", which would rewrite what people do to it", (char *) llast(names)),
					  psprintf("DROP RULE %s ON %s;", quote_identifier(llast(names)), Qualified(RelationGetRelid(rel))));
	}
	return FindRelatives(rel);
}

/* Are the guards there, for all that they must stop, and enabled? */
static Fault
FindMissingGuard(Relation rel, int id, Oid guard)
{
	TriggerDesc *triggers = rel->trigdesc;
	int			n = triggers != NULL ? triggers->numtriggers : 0;
	int			g;
	int			i;

	for (g = 0; g < GUARDS; g++)
	{
		const Trigger *trigger = NULL;

		if (protection[id].guard[g] == 0)
			continue;
		for (i = 0; i < n; i++)
			if (strcmp(triggers->triggers[i].tgname, guard_name[g]) == 0)
				trigger = &triggers->triggers[i];
		if (trigger == NULL)
			return Damage(psprintf("has no trigger \"%s\"", guard_name[g]), NULL);
		if (trigger->tgfoid != guard)
			return Damage(psprintf("has a trigger \"%s\" that does not call pay_guard()", guard_name[g]),
						  psprintf("ALTER TRIGGER %s ON %s RENAME TO another_name; then SELECT pay_install();",
								   guard_name[g], Qualified(RelationGetRelid(rel))));
		if (trigger->tgtype != protection[id].guard[g] || trigger->tgnattr > 0 || trigger->tgqual != NULL ||
			trigger->tgdeferrable)
			return Damage(psprintf("has a trigger \"%s\" that does not fire for all that it must", guard_name[g]), NULL);
		if (trigger->tgenabled != TRIGGER_FIRES_ON_ORIGIN && trigger->tgenabled != TRIGGER_FIRES_ALWAYS)
			return Damage(psprintf("has its trigger \"%s\" %s", guard_name[g],
								   trigger->tgenabled == TRIGGER_DISABLED ? "disabled" : "enabled for a replica only"), NULL);
	}
	return no_fault;
}

/* Are the CHECKs there, by their names? Rows from before may break them. */
static Fault
FindMissingCheck(Relation rel, int id)
{
	TupleConstr *constraints = RelationGetDescr(rel)->constr;
	int			n = constraints != NULL ? constraints->num_check : 0;
	int			c;
	int			i;

	for (c = 0; c < MAX_CHECKS && protection[id].check[c] != NULL; c++)
	{
		for (i = 0; i < n; i++)
			if (strcmp(constraints->check[i].ccname, protection[id].check[c]) == 0 &&
				PayCompatIsEnforced(&constraints->check[i]))
				break;
		if (i == n)
			return Damage(psprintf("has no constraint \"%s\"", protection[id].check[c]), NULL);
	}
	return no_fault;
}

/* Where are its columns? */
static Fault
MapColumns(Relation rel, const PayTable *table, Oid home, PayTableMap *map)
{
	Oid			relid = RelationGetRelid(rel);
	int			i;

	for (i = 0; i < table->n_columns; i++)
	{
		const PayColumn *column = &table->column[i];
		Oid			type = TypeOfKind(column->kind, home);
		Form_pg_attribute att;

		map->attnum[i] = get_attnum(relid, column->name);
		if (map->attnum[i] <= 0)
			return Damage(psprintf("has no column \"%s\"", column->name),
						  column->options & REMAKEABLE ? NULL : not_ours);
		att = TupleDescAttr(RelationGetDescr(rel), map->attnum[i] - 1);
		if (att->atttypid != type)
			return Damage(psprintf("has a column \"%s\" of another type, %s", column->name,
								   format_type_be(att->atttypid)),
						  psprintf("ALTER TABLE %s ALTER COLUMN %s TYPE %s%s; or, if it is none of pay_idem's tables, rename or drop it.",
								   Qualified(relid), quote_identifier(column->name),
								   OidIsValid(type) ? format_type_be_qualified(type) : pay_kinds[column->kind].own_type,
								   column->kind == KIND_TEXT ? " COLLATE \"C\"" : ""));
		if (column->kind == KIND_TEXT && att->attcollation != C_COLLATION_OID)
			return Damage(psprintf("has a column \"%s\" of another collation, %s", column->name,
								   quote_identifier(get_collation_name(att->attcollation))),
						  psprintf("ALTER TABLE %s ALTER COLUMN %s TYPE pg_catalog.text COLLATE \"C\"; or, if it is none of pay_idem's tables, rename or drop it.",
								   Qualified(relid), quote_identifier(column->name)));
		if (column->options & DEFAULTED)
			map->has_defaults = true;
		if ((column->options & DEFAULTED) && !att->atthasdef && att->attidentity == '\0')
			return Damage(psprintf("has no default for column \"%s\"", column->name), NULL);
	}
	return no_fault;
}

/* Has it columns of the user's own? */
static bool
HasOtherColumns(Relation rel, const PayTable *table, const PayTableMap *map)
{
	int			i;

	for (i = 0; i < RelationGetNumberOfAttributes(rel); i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);
		int			c = 0;

		while (c < table->n_columns && map->attnum[c] != att->attnum)
			c++;
		if (c == table->n_columns && !att->attisdropped)
			return true;
	}
	return false;
}

static Fault
MapIndexes(Relation rel, const PayTable *table, PayTableMap *map)
{
	int			i;
	int			k;

	for (i = 0; i < table->n_indexes; i++)
	{
		for (k = 0; k < table->index[i].n; k++)
			map->key_kind[i][k] = table->column[PayColumnNamed(table, table->index[i].column[k])].kind;
		map->index[i] = MapIndex(rel, table, map, &table->index[i]);
		if (!OidIsValid(map->index[i]))
			return Damage(psprintf("has no %sindex as pay_install() makes it that begins with \"%s\" and has %d columns",
								   table->index[i].options & UNIQUE ? "unique " : "",
								   table->index[i].column[0], table->index[i].n), NULL);
	}
	return no_fault;
}

/*
 * The one rule for what a table of ours must be; in passing, its map.  What
 * pay_install() cannot repair is found first.
 */
static Fault
MapShape(Relation rel, int id, Oid home, Oid guard, PayTableMap *map)
{
	Fault		kind = FindWrongKind(rel);
	Fault		fault = kind;

	if (kind.what == NULL || kind.remedy == NULL)
		fault = MapColumns(rel, &pay_tables[id], home, map);
	if (fault.what == NULL)
		fault = kind;
	if (fault.what == NULL)
		fault = FindMissingGuard(rel, id, guard);
	if (fault.what == NULL)
		fault = FindMissingCheck(rel, id);
	if (fault.what == NULL)
		fault = MapIndexes(rel, &pay_tables[id], map);
	return fault;
}

/*
 * Map one table.  A table that another role put there before pay_install()
 * did is not ours: its triggers would run with the rights of whoever pays.
 * Ours belong to somebody who may call pay_install().
 */
static void
MapTable(PayTableId id, Oid home, PayTableMap *map)
{
	const PayTable *table = &pay_tables[id];
	Oid			relid = get_relname_relid(table->name, home);
	Relation	rel = OidIsValid(relid) ? try_relation_open(relid, AccessShareLock) : NULL;
	Oid			installer = FunctionWithoutArguments("pay_install", home);
	Fault		fault;

	if (rel == NULL)
		ThrowNotInstalled(table->name, "does not exist");
	if (rel->rd_rel->relkind != RELKIND_RELATION)
		ThrowNotInstalled(table->name, "is not an ordinary table");
	if (!OidIsValid(installer) || !PayCompatMayExecute(installer, rel->rd_rel->relowner))
		ThrowNotOurs(table->name,
					 psprintf("It belongs to \"%s\", who may not call pay_install().",
							  OwnerName(rel->rd_rel->relowner)));

	map->relid = relid;
	map->owner = rel->rd_rel->relowner;
	map->has_defaults = false;
	fault = MapShape(rel, id, home, pay_catalog.guard, map);
	if (fault.what != NULL)
		ThrowFault(table->name, fault);
	if (HasOtherColumns(rel, table, map))
		map->has_defaults = true;
	table_close(rel, AccessShareLock);
}

/* ---- the same for SQL ---- */

/* Open a relation that has the name of one of our tables; NULL if it has not. */
static Relation
OpenByName(Oid relid, Oid home, int *id)
{
	char	   *name = get_rel_name(relid);

	if (name == NULL || get_rel_namespace(relid) != home)
		return NULL;
	for (*id = 0; *id < PAY_TABLES; (*id)++)
		if (strcmp(name, pay_tables[*id].name) == 0)
			return try_relation_open(relid, AccessShareLock);
	return NULL;
}

/* All our tables are of one owner. */
static bool
HasOwnerOfPayments(Relation rel, Oid home)
{
	Oid			relid = get_relname_relid(pay_tables[PAY_PAYMENT_TABLE].name, home);
	Relation	payments = OidIsValid(relid) ? try_relation_open(relid, AccessShareLock) : NULL;
	bool		same = payments == NULL || payments->rd_rel->relowner == rel->rd_rel->relowner;

	if (payments != NULL)
		relation_close(payments, AccessShareLock);
	return same;
}

PG_FUNCTION_INFO_V1(pay_trusts);
Datum
pay_trusts(PG_FUNCTION_ARGS)
{
	Oid			home = get_func_namespace(fcinfo->flinfo->fn_oid);
	Oid			installer = FunctionWithoutArguments("pay_install", home);
	PayTableMap map;
	Relation	rel;
	int			id;
	bool		trusts;

	rel = OpenByName(PG_GETARG_OID(0), home, &id);
	if (rel == NULL)
		PG_RETURN_BOOL(false);
	trusts = OidIsValid(installer) && PayCompatMayExecute(installer, rel->rd_rel->relowner) &&
		HasOwnerOfPayments(rel, home) &&
		MapShape(rel, id, home, FunctionWithoutArguments("pay_guard", home), &map).what == NULL;
	relation_close(rel, AccessShareLock);
	PG_RETURN_BOOL(trusts);
}

PG_FUNCTION_INFO_V1(pay_table_fault);
Datum
pay_table_fault(PG_FUNCTION_ARGS)
{
	Oid			home = get_func_namespace(fcinfo->flinfo->fn_oid);
	Datum		values[2] = {0};
	bool		nulls[2] = {true, true};
	PayTableMap map;
	TupleDesc	desc;
	Relation	rel;
	Fault		fault;
	int			id;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "pay_table_fault() must return a row");
	rel = OpenByName(PG_GETARG_OID(0), home, &id);
	fault = rel == NULL ? Damage("is none of pay_idem's tables", not_ours) :
		MapShape(rel, id, home, FunctionWithoutArguments("pay_guard", home), &map);
	if (rel != NULL)
		relation_close(rel, AccessShareLock);
	if (fault.what != NULL)
	{
		values[0] = CStringGetTextDatum(fault.what);
		nulls[0] = false;
	}
	if (fault.remedy != NULL)
	{
		values[1] = CStringGetTextDatum(fault.remedy);
		nulls[1] = false;
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

void
PayFillCatalog(Oid home)
{
	static bool registered = false;

	if (!registered)
	{
		CacheRegisterRelcacheCallback(InvalidateCatalog, (Datum) 0);
		CacheRegisterSyscacheCallback(PROCOID, InvalidateCatalogForObject, (Datum) 0);
		registered = true;
	}
	while (!pay_catalog.valid || pay_catalog.home != home)
	{
		uint64		messages;
		int			i;

		CHECK_FOR_INTERRUPTS();
		AcceptInvalidationMessages();
		pay_catalog.valid = false;
		messages = SharedInvalidMessageCounter;
		pay_catalog.guard = FunctionWithoutArguments("pay_guard", home);
		for (i = 0; i < PAY_TABLES; i++)
			MapTable((PayTableId) i, home, &pay_catalog.table[i]);
		CheckOneOwner();
		pay_catalog.home = home;
		pay_catalog.edition++;
		/* as name look-ups do: somebody's DDL while we looked makes us look again */
		pay_catalog.valid = (messages == SharedInvalidMessageCounter);
	}
}

/*
 * guard.c
 *
 * Triggers that stop writes that go around the functions.
 *
 * pay_guard() is on our own tables.  BEFORE refuses; AFTER looks at the row
 * as it became, because another trigger may have changed it after BEFORE, and
 * logs a legal direct UPDATE as an event.  The store's own writes do not fire
 * it.  INSERT is no step: rights and CHECKs are its gate, so that a restore
 * works.
 *
 * A direct UPDATE of a payment's state is the caller's own step of it: AFTER
 * takes its attempts along, and refuses a row that does not follow from them.
 *
 * A direct UPDATE locks its row first; of an attempt or a refund it then locks
 * the payment, against the order that the functions keep, so a deadlock (40P01) is
 * possible there, and only there.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "commands/trigger.h"
#include "errors.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "hold.h"
#include "lib/stringinfo.h"
#include "machine.h"
#include "payment.h"
#include "record.h"
#include "refund.h"
#include "report.h"
#include "store.h"
#include "task.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

/* What a direct UPDATE may change of our columns; all others are protected. */
#define MAX_CHANGEABLE 12
static const char *const changeable[PAY_TABLES][MAX_CHANGEABLE] = {
	[PAY_CHANNEL_TABLE] = {"max_attempts", "can_resubmit", "can_close", "can_reverse", "resubmit_after",
	"resubmit_within", "timeout", "schedule", "schedule_held", "held_for", "message_ids"},
	[PAY_PAYMENT_TABLE] = {"state", "winner", "amount_collected", "valid_until", "multi",
	"end_requested", "payer", "metadata"},
	[PAY_ATTEMPT_TABLE] = {"state", "amount_to_capture", "amount_collected", "handed_out_at",
	"credential", "credential_expires_at", "channel_txn"},
	[PAY_REFUND_TABLE] = {"state", "reason", "channel_txn"},
	[PAY_RESOURCE_TABLE] = {"capacity", "external"}
};

/* Routes below are the install's; where pay_channel's numbering of the user's own begins. */
#define FIRST_OWN_ROUTE 1000

/* Room for a row of any table of ours. */
typedef union AnyRow
{
	PayChannel	channel;
	PayPayment	payment;
	PayAttempt	attempt;
	PayEvent	event;
	PayReview	review;
	PayRefund	refund;
	PayDispute	dispute;
	PayTask		task;
	PayResource resource;
	PayHold		hold;
	PayGrantee	grantee;
} AnyRow;

/* A direct UPDATE of one row. */
typedef struct DirectUpdate
{
	PayTableId	table;
	const char *table_name;
	AnyRow	   *before;
	AnyRow	   *after;
	const char **columns;		/* of ours that changed, NULL at the end */
} DirectUpdate;

pg_noreturn static void
ThrowProtected(const char *table, const char *what)
{
	ereport(ERROR,
			(errcode(PAY_ERR_PROTECTED),
			 errmsg("%s of \"%s\" is not allowed", what, table),
			 errdetail("The record of payments is changed by the pay_ functions; history only grows.")));
}

static bool
IsChangeable(PayTableId table, const char *column)
{
	int			i;

	for (i = 0; i < MAX_CHANGEABLE && changeable[table][i] != NULL; i++)
		if (strcmp(changeable[table][i], column) == 0)
			return true;
	return false;
}

/* What was collected is a fact once it is there, and a replaced order stays at its end. */
static bool
IsSettled(const DirectUpdate *update, const char *column)
{
	if (update->table == PAY_PAYMENT_TABLE && strcmp(column, "end_requested") == 0)
		return !PayNumberIsNone(update->before->payment.replaced_by);
	if (strcmp(column, "winner") != 0 && strcmp(column, "amount_collected") != 0)
		return false;
	return update->table == PAY_PAYMENT_TABLE ? update->before->payment.state == PAY_PAID :
		update->before->attempt.state == PAY_PAID;
}

static void
RefuseProtectedColumns(const DirectUpdate *update)
{
	int			i;

	for (i = 0; update->columns[i] != NULL; i++)
		if (!IsChangeable(update->table, update->columns[i]) || IsSettled(update, update->columns[i]))
			ThrowProtected(update->table_name, psprintf("UPDATE of column \"%s\"", update->columns[i]));
}

pg_noreturn static void
ThrowIllegalStep(const char *what, PayState from, PayState to, const char *legal)
{
	ereport(ERROR,
			(errcode(PAY_ERR_NOT_ALLOWED),
			 errmsg("%s cannot step from %s to %s", what, PayStateLabel(from), PayStateLabel(to)),
			 to == PAY_PAYING ?
			 errdetail("No direct UPDATE leads to paying.") :
			 errdetail("Legal steps from %s: %s.", PayStateLabel(from), legal),
			 to == PAY_PAYING ? errhint("pay_prepay() opens the next attempt.") : 0));
}

static void
RefuseIllegalRefundStep(PayRefundState from, PayRefundState to)
{
	if (from != to && !PayRefundCan(from, to))
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_ALLOWED),
				 errmsg("a refund cannot step from %s to %s", PayRefundStateLabel(from),
						PayRefundStateLabel(to)),
				 errdetail("Legal steps from %s: %s.", PayRefundStateLabel(from),
						   PayRefundStepsFrom(from))));
}

/* To paying leads only an attempt that a caller is handed, whatever the machine says. */
static void
RefuseIllegalStep(const DirectUpdate *update)
{
	PayState	from;
	PayState	to;

	if (update->table == PAY_PAYMENT_TABLE)
	{
		from = (PayState) update->before->payment.state;
		to = (PayState) update->after->payment.state;
		if (from != to && (to == PAY_PAYING || !PayPaymentCan(from, to)))
			ThrowIllegalStep("a payment", from, to, PayPaymentStepsFrom(from));
	}
	else if (update->table == PAY_ATTEMPT_TABLE)
	{
		from = (PayState) update->before->attempt.state;
		to = (PayState) update->after->attempt.state;
		if (from != to && (to == PAY_PAYING || !PayAttemptCan(from, to)))
			ThrowIllegalStep("an attempt", from, to, PayAttemptStepsFrom(from));
	}
	else if (update->table == PAY_REFUND_TABLE)
		RefuseIllegalRefundStep((PayRefundState) update->before->refund.state,
								(PayRefundState) update->after->refund.state);
}

static DirectUpdate
LoadUpdate(PayStore *store, PayTableId table, TriggerData *trigger)
{
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	DirectUpdate update;

	update.table = table;
	update.table_name = RelationGetRelationName(trigger->tg_relation);
	update.before = palloc(sizeof(AnyRow));
	update.after = palloc(sizeof(AnyRow));
	PayLoadTuple(store, table, trigger->tg_trigtuple, desc, update.before);
	PayLoadTuple(store, table, trigger->tg_newtuple, desc, update.after);
	update.columns = PayChangedColumns(table, update.before, update.after);
	return update;
}

static HeapTuple
GuardBeforeUpdate(PayStore *store, PayTableId table, TriggerData *trigger)
{
	DirectUpdate update = LoadUpdate(store, table, trigger);

	RefuseIllegalStep(&update);
	RefuseProtectedColumns(&update);
	if (table != PAY_PAYMENT_TABLE || update.columns[0] == NULL)
		return trigger->tg_newtuple;

	/* number the event that AFTER will write */
	return PayTupleWithInt32(store, trigger->tg_newtuple, RelationGetDescr(trigger->tg_relation),
							 "last_seq", update.before->payment.last_seq + 1);
}

/* "direct UPDATE of a, b" */
static PayNews
UpdateNews(const DirectUpdate *update)
{
	StringInfoData reason;
	PayNews		news;
	int			i;

	initStringInfo(&reason);
	for (i = 0; update->columns[i] != NULL; i++)
		appendStringInfo(&reason, "%s%s", i > 0 ? ", " : "direct UPDATE of ", update->columns[i]);
	memset(&news, 0, sizeof(news));
	news.source = cstring_to_text("update");
	news.occurred_at = PAY_NO_TIME;
	news.reason = cstring_to_text(reason.data);
	return news;
}

/* "1 paying, 2 failed" */
static const char *
AttemptStates(const PayRecord *record)
{
	StringInfoData states;
	int			i;

	initStringInfo(&states);
	for (i = 0; i < record->payment.routes.n; i++)
		appendStringInfo(&states, "%s%d %s", i > 0 ? ", " : "", i + 1,
						 PayStateLabel((PayState) record->attempt[i]->state));
	return i > 0 ? states.data : "none";
}

/* The row that was written is not what follows from the attempts. */
pg_noreturn static void
ThrowNotWhatFollows(const DirectUpdate *update, const PayRecord *record)
{
	const PayPayment *written = &update->after->payment;

	ereport(ERROR,
			(errcode(PAY_ERR_NOT_ALLOWED),
			 errmsg("payment of order \"%s\" cannot become %s by this UPDATE",
					text_to_cstring(written->order_no), PayStateLabel((PayState) written->state)),
			 errdetail("Its attempts are %s: so it is %s, winner %d, amount_collected %lld, end_requested %s; not %s, winner %d, amount_collected %lld, end_requested %s.",
					   AttemptStates(record), PayStateLabel((PayState) record->payment.state),
					   record->payment.winner, (long long) record->payment.amount_collected,
					   record->payment.end_requested ? "true" : "false",
					   PayStateLabel((PayState) written->state), written->winner,
					   (long long) written->amount_collected, written->end_requested ? "true" : "false"),
			 errhint("A payment's state follows from its attempts: UPDATE the attempt, or call pay_transition().")));
}

/* Was anything changed that follows from the attempts? */
static bool
IsStep(const PayPayment *before, const PayPayment *after)
{
	return before->state != after->state || before->winner != after->winner ||
		before->amount_collected != after->amount_collected ||
		before->end_requested != after->end_requested;
}

/* Make the record's payment what it was before the UPDATE, but for what that asks of it. */
static void
TakeBack(PayRecord *record, const DirectUpdate *update)
{
	const PayPayment *before = &update->before->payment;
	int			i;

	record->payment.state = before->state;
	record->payment.winner = before->winner;
	record->payment.amount_collected = before->amount_collected;
	record->payment.end_requested = before->end_requested;
	/* what the queue knows of the attempts is from before the UPDATE */
	for (i = 0; i < record->payment.routes.n; i++)
		record->queued[i] = PayRecordCare(record, record->attempt[i]);
	record->payment.end_requested = update->after->payment.end_requested;
}

/*
 * Save what the payment's UPDATE did where the same statement stepped attempts
 * and their events are written: the number that BEFORE gave it comes before theirs.
 */
static void
SaveBesideAttempts(PayStore *store, PayRecord *record, const DirectUpdate *update, const PayNews *news)
{
	PayRecord  *written = palloc0(sizeof(PayRecord));

	written->payment = update->after->payment;
	PaySaveEvent(store, written, NULL, (PayState) update->before->payment.state, PAY_NO_STATE, news, PAY_APPLIED);
	PayQueueAttempts(store, record);
	PayUpdatePayment(store, &record->payment);
	PaySettleHolds(store, &record->payment);
}

/*
 * Take the step that the UPDATE wrote once more, from where the payment was and
 * with its attempts, and compare.  It is the caller's own, as pay_transition()
 * with the payment's number is; end_requested follows it.
 */
static void
FollowPaymentUpdate(PayStore *store, const DirectUpdate *update, PayNews *news)
{
	const PayPayment *before = &update->before->payment;
	const PayPayment *written = &update->after->payment;
	PayRecord  *record = palloc0(sizeof(PayRecord));
	PayNews		step_news = *news;
	TimestampTz now = GetCurrentTimestamp();
	PayState	state_before;
	int32		last_seq;
	bool		is_latest;

	if (!PayFindRecord(store, written->pay_no, record) || !PayLockRecord(store, record))
		ThrowProtected(update->table_name, "removing a row by a trigger after pay_guard");
	/* the same statement may have stepped an attempt, whose event came first and has the next number */
	is_latest = record->payment.last_seq == written->last_seq;
	TakeBack(record, update);
	record->payment.last_seq -= is_latest ? 1 : 0;
	last_seq = record->payment.last_seq;
	if (before->state != written->state)
	{
		step_news.reported = (PayState) written->state;
		step_news.amount = written->state == PAY_PAID ? written->amount_collected : 0;
		PayStepByHand(store, record, &step_news, written->winner, now);
	}
	if (!is_latest && record->payment.last_seq != last_seq)
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_ALLOWED),
				 errmsg("payment of order \"%s\" cannot take attempts along that the same statement left out",
						text_to_cstring(written->order_no)),
				 errdetail("Its attempts are %s.", AttemptStates(record)),
				 errhint("UPDATE the payment, or the attempts, each by a statement of its own.")));
	/* where an attempt's event was written, that told of the payment's step too */
	state_before = (PayState) (record->payment.last_seq == last_seq ? before->state : record->payment.state);
	PayRecordRollUp(record, now);
	if (record->payment.state != written->state || record->payment.winner != written->winner ||
		record->payment.amount_collected != written->amount_collected ||
		(record->payment.end_requested != written->end_requested &&
		 before->end_requested != written->end_requested))
		ThrowNotWhatFollows(update, record);
	if (is_latest)
		PaySaveRecord(store, record, NULL, state_before, PAY_NO_STATE, news, PAY_APPLIED);
	else
		SaveBesideAttempts(store, record, update, news);
}

static void
LogPaymentUpdate(PayStore *store, const DirectUpdate *update)
{
	PayRecord  *record = palloc0(sizeof(PayRecord));
	PayNews		news = UpdateNews(update);

	if (IsStep(&update->before->payment, &update->after->payment))
		FollowPaymentUpdate(store, update, &news);
	else
	{
		record->payment = update->after->payment;
		PaySaveEvent(store, record, NULL, (PayState) update->before->payment.state, PAY_NO_STATE,
					 &news, PAY_APPLIED);
	}
	/* where it holds something, somebody must look when its time is over */
	if (update->after->payment.holds > 0 &&
		update->before->payment.valid_until != update->after->payment.valid_until &&
		update->after->payment.valid_until != PAY_NO_TIME)
		PayQueueAttempt(store, update->after->payment.pay_no, 0, update->after->payment.valid_until);
}

/* The payment follows its attempt; an attempt that became paid wins if the order waits for it. */
static void
LogAttemptUpdate(PayStore *store, const DirectUpdate *update)
{
	const PayAttempt *after = &update->after->attempt;
	PayState	attempt_before = (PayState) update->before->attempt.state;
	PayRecord  *record = palloc0(sizeof(PayRecord));
	PayNews		news = UpdateNews(update);
	PayAttempt *attempt;
	PayDecision decision = PAY_APPLIED;
	PayState	payment_before;
	TimestampTz now = GetCurrentTimestamp();

	if (!PayFindRecord(store, after->pay_no, record) || !PayLockRecord(store, record) ||
		(attempt = PayRecordAttempt(record, after->trade_no)) == NULL)
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_FOUND),
				 errmsg("attempt \"%s\" has no payment", text_to_cstring(PayNumberText(after->trade_no))),
				 errdetail("Its payment's row is missing, or has no such attempt.")));
	payment_before = (PayState) record->payment.state;
	if (attempt->state != attempt_before)
	{
		/* what the queue knows of it is from before the UPDATE */
		record->queued[attempt->attempt - 1] = PayRecordCare(record, &update->before->attempt);
		if (PayIsAboutMoney((PayState) attempt->state) && !PayPaymentWaits(&record->payment) &&
			record->payment.winner != attempt->attempt)
			decision = PAY_SURPLUS;
		if (attempt->state == PAY_PAID)
			PayCollect(record, attempt, attempt->amount_collected, decision == PAY_APPLIED, now);
		else
			PayRecordRollUp(record, now);
		news.reported = (PayState) attempt->state;
		news.amount = attempt->amount_collected;
		news.currency = news.amount > 0 ? record->payment.currency : NULL;
	}
	PaySaveRecord(store, record, attempt, payment_before, attempt_before, &news, decision);
	if (decision == PAY_SURPLUS && attempt->state == PAY_PAID)
		PayOpenSurplus(store, record, attempt, "a direct UPDATE says that it was paid, and the order needs no more money");
}

static void
LogRefundUpdate(PayStore *store, const DirectUpdate *update)
{
	PayNews		news = UpdateNews(update);

	PayFollowRefund(store, &update->after->refund, (PayRefundState) update->before->refund.state, &news);
}

/* Take last_seq, which BEFORE has set, out of the changed columns; complain if it is not as set. */
static void
CheckNumbered(DirectUpdate *update)
{
	bool		changed = false;
	int			kept = 0;
	int			i;

	for (i = 0; update->columns[i] != NULL; i++)
		if (strcmp(update->columns[i], "last_seq") != 0)
		{
			changed = true;
			update->columns[kept++] = update->columns[i];
		}
	update->columns[kept] = NULL;
	if (update->after->payment.last_seq != update->before->payment.last_seq + (changed ? 1 : 0))
		ThrowProtected(update->table_name, "a trigger's change after pay_guard");
}

static void
GuardAfterUpdate(PayStore *store, PayTableId table, TriggerData *trigger)
{
	DirectUpdate update = LoadUpdate(store, table, trigger);

	if (table == PAY_PAYMENT_TABLE)
		CheckNumbered(&update);
	RefuseIllegalStep(&update);
	RefuseProtectedColumns(&update);
	if (update.columns[0] == NULL)
		return;
	if (table == PAY_PAYMENT_TABLE)
		LogPaymentUpdate(store, &update);
	else if (table == PAY_ATTEMPT_TABLE)
		LogAttemptUpdate(store, &update);
	else if (table == PAY_REFUND_TABLE)
		LogRefundUpdate(store, &update);
}

/*
 * A route of the install's own range that is inserted again, with the same
 * number and names, takes the new row's settings: so a data-only restore works
 * into tables that pay_install() filled.
 */
static void
ReplaceChannel(PayStore *store, TriggerData *trigger)
{
	PayChannel	new_row;

	/* what the new row must not be, its constraints say */
	PayPassDamageBy(store, true);
	PayLoadTuple(store, PAY_CHANNEL_TABLE, trigger->tg_trigtuple,
				 RelationGetDescr(trigger->tg_relation), &new_row);
	PayPassDamageBy(store, false);
	if (PayTakeDamage(store) == NULL && new_row.route < FIRST_OWN_ROUTE)
		PayReplaceChannel(store, &new_row);
}

/*
 * A row of pay_database comes in, by a restore: it takes the place of what says
 * that this cluster was adopted.  So a data-only restore works into tables that
 * pay_install() made; and where what comes in was written in another cluster,
 * they are a copy until somebody adopts them.
 */
static void
ForgetAdoption(PayStore *store)
{
	PayDatabase adopted;

	if (PayFindDatabase(store, (int64) GetSystemIdentifier(), &adopted))
		PayForgetDatabase(store, &adopted);
}

/* Does anybody hold this resource, or has spent it? */
static bool
IsTaken(PayStore *store, TriggerData *trigger)
{
	PayResource resource;

	PayLoadTuple(store, PAY_RESOURCE_TABLE, trigger->tg_trigtuple,
				 RelationGetDescr(trigger->tg_relation), &resource);
	return resource.taken > 0;
}

/*
 * PUBLIC may call the guards, and so anybody may put one on a table of his own,
 * whatever its name and columns.  Nothing of such a table is read.
 */
pg_noreturn static void
ThrowNoTableOfOurs(Relation rel)
{
	ereport(ERROR,
			(errcode(PAY_ERR_PROTECTED),
			 errmsg("pay_guard() does not guard \"%s\"", RelationGetRelationName(rel)),
			 errdetail("It is for the tables that pay_install() creates."),
			 errhint("DROP TRIGGER. For a pay_state column of your own table there is pay_state_guard('column').")));
}

/* Refuse what nobody may do to a table of ours, whatever the row. */
static void
RefuseEvent(const TriggerData *trigger, PayTableId table)
{
	const char *table_name = RelationGetRelationName(trigger->tg_relation);

	if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
		ThrowProtected(table_name, "TRUNCATE");
	if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event) && table != PAY_RESOURCE_TABLE && table != PAY_GRANTEE_TABLE)
		ThrowProtected(table_name, "DELETE");
	if (!TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("pay_guard() must be fired for each row"),
				 errdetail("Only TRUNCATE is guarded for a statement.")));
}

PG_FUNCTION_INFO_V1(pay_guard);
Datum
pay_guard(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	HeapTuple	result;
	PayStore   *store;
	PayTableId	table;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("pay_guard() must be called as a trigger"),
				 errdetail("It guards the tables that pay_install() creates.")));
	table = PayTableOf(fcinfo, trigger->tg_relation);
	if (table == PAY_TABLES)
		ThrowNoTableOfOurs(trigger->tg_relation);
	RefuseEvent(trigger, table);

	/* AFTER triggers run before the command's own rows are visible to us */
	if (TRIGGER_FIRED_AFTER(trigger->tg_event))
		CommandCounterIncrement();
	store = PayStoreOpen(fcinfo, PAY_WRITES, PAY_LOOK_AT_NOTHING);
	result = trigger->tg_trigtuple;
	if (table == PAY_CHANNEL_TABLE || table == PAY_GRANTEE_TABLE)
		CacheInvalidateRelcache(trigger->tg_relation);	/* the backends remember what is in them */
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
	{
		result = trigger->tg_newtuple;
		if (TRIGGER_FIRED_BEFORE(trigger->tg_event))
			result = GuardBeforeUpdate(store, table, trigger);
		else
			GuardAfterUpdate(store, table, trigger);
	}
	else if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event) && table == PAY_RESOURCE_TABLE && IsTaken(store, trigger))
		ThrowProtected(RelationGetRelationName(trigger->tg_relation), "DELETE of what is held or spent");
	else if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event) && table == PAY_CHANNEL_TABLE &&
			 TRIGGER_FIRED_BEFORE(trigger->tg_event))
		ReplaceChannel(store, trigger);
	else if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event) && table == PAY_DATABASE_TABLE &&
			 TRIGGER_FIRED_BEFORE(trigger->tg_event))
		ForgetAdoption(store);
	PayStoreClose(store);
	return PointerGetDatum(result);
}

/* ---- anybody's table ---- */

pg_noreturn static void
ThrowWrongUse(const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
			 errmsg("pay_state_guard() is not used as it must be"),
			 errdetail("%s", detail),
			 errhint("CREATE TRIGGER ... BEFORE UPDATE ON ... FOR EACH ROW EXECUTE FUNCTION pay_state_guard('column')")));
}

/* The column that the trigger guards, of type pay_state. */
static int
GuardedColumn(FunctionCallInfo fcinfo, TriggerData *trigger)
{
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	const char *name = trigger->tg_trigger->tgargs[0];
	int			attnum = SPI_fnumber(desc, name);
	Oid			pay_state = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum("pay_state"),
											ObjectIdGetDatum(get_func_namespace(fcinfo->flinfo->fn_oid)));

	if (attnum <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of \"%s\" does not exist", name,
						RelationGetRelationName(trigger->tg_relation)),
				 errdetail("pay_state_guard() was told to guard it.")));
	if (TupleDescAttr(desc, attnum - 1)->atttypid != pay_state)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of \"%s\" is not of type pay_state", name,
						RelationGetRelationName(trigger->tg_relation)),
				 errdetail("pay_state_guard() guards columns of this type only.")));
	if (TupleDescAttr(desc, attnum - 1)->attgenerated != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("column \"%s\" of \"%s\" is generated", name,
						RelationGetRelationName(trigger->tg_relation)),
				 errdetail("A BEFORE trigger does not see what a generated column becomes."),
				 errhint("Guard the column that it is generated from.")));
	return attnum;
}

PG_FUNCTION_INFO_V1(pay_state_guard);
Datum
pay_state_guard(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	TupleDesc	desc;
	int			attnum;
	Datum		before;
	Datum		after;
	bool		before_null;
	bool		after_null;
	PayState	from;
	PayState	to;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ThrowWrongUse("It was not called as a trigger.");
	if (!TRIGGER_FIRED_BEFORE(trigger->tg_event) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		!TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		ThrowWrongUse("It guards UPDATE, BEFORE, and for each row.");
	if (trigger->tg_trigger->tgnargs != 1)
		ThrowWrongUse("It takes one argument, the name of the column to guard.");

	desc = RelationGetDescr(trigger->tg_relation);
	attnum = GuardedColumn(fcinfo, trigger);
	before = heap_getattr(trigger->tg_trigtuple, attnum, desc, &before_null);
	after = heap_getattr(trigger->tg_newtuple, attnum, desc, &after_null);
	/* a row that had no state yet may take any */
	if (before_null)
		return PointerGetDatum(trigger->tg_newtuple);
	from = (PayState) (unsigned char) DatumGetChar(before);
	if (after_null)
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_ALLOWED),
				 errmsg("\"%s\" of \"%s\" cannot step from %s to NULL", trigger->tg_trigger->tgargs[0],
						RelationGetRelationName(trigger->tg_relation), PayStateLabel(from)),
				 errdetail("Legal steps from %s: %s.", PayStateLabel(from), PayPaymentStepsFrom(from))));
	to = (PayState) (unsigned char) DatumGetChar(after);
	if (from != to && !PayPaymentCan(from, to))
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_ALLOWED),
				 errmsg("\"%s\" of \"%s\" cannot step from %s to %s", trigger->tg_trigger->tgargs[0],
						RelationGetRelationName(trigger->tg_relation), PayStateLabel(from), PayStateLabel(to)),
				 errdetail("Legal steps from %s: %s.", PayStateLabel(from), PayPaymentStepsFrom(from))));
	return PointerGetDatum(trigger->tg_newtuple);
}

/*
 * dispute.c
 *
 * A customer says that two orders are one.
 *
 * A case names two payments and is resolved by a person.  Opening and
 * resolving lock both payments, the lower pay_no first, then the case; both
 * histories say what happened.
 */
#include "postgres.h"

#include "argument.h"
#include "catalog/pg_type.h"
#include "errors.h"
#include "fmgr.h"
#include "funcapi.h"
#include "history.h"
#include "miscadmin.h"
#include "payment.h"
#include "record.h"
#include "refund.h"
#include "text.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

typedef enum Verdict
{
	REFUND,
	REJECT,
	VERDICTS
} Verdict;

static const char *const verdict_label[VERDICTS] = {
	[REFUND] = "refund",
	[REJECT] = "reject"
};

/* The columns of pay_dispute_result, in their order. */
enum
{
	DISPUTE_DECISION,
	DISPUTE_ID,
	DISPUTE_PAY_NO,
	DISPUTE_OTHER_PAY_NO,
	DISPUTE_VERDICT,
	DISPUTE_REFUND_NO,
	DISPUTE_DETAIL,
	DISPUTE_COLUMNS
};

static const Oid dispute_result_type[DISPUTE_COLUMNS] = {
	[DISPUTE_DECISION] = TEXTOID,
	[DISPUTE_ID] = INT8OID,
	[DISPUTE_PAY_NO] = TEXTOID,
	[DISPUTE_OTHER_PAY_NO] = TEXTOID,
	[DISPUTE_VERDICT] = TEXTOID,
	[DISPUTE_REFUND_NO] = TEXTOID,
	[DISPUTE_DETAIL] = TEXTOID
};

static Datum
Reply(PayStore *store, const PayDispute *dispute, PayDecision decision, const char *detail)
{
	Datum		values[DISPUTE_COLUMNS];
	bool		nulls[DISPUTE_COLUMNS];

	memset(nulls, false, sizeof(nulls));
	values[DISPUTE_DECISION] = CStringGetTextDatum(PayDecisionLabel(decision));
	values[DISPUTE_ID] = Int64GetDatum(dispute->dispute_id);
	values[DISPUTE_PAY_NO] = PointerGetDatum(PayNumberText(dispute->pay_no));
	values[DISPUTE_OTHER_PAY_NO] = PointerGetDatum(PayNumberText(dispute->other_pay_no));
	values[DISPUTE_VERDICT] = PointerGetDatum(dispute->verdict);
	nulls[DISPUTE_VERDICT] = dispute->verdict == NULL;
	values[DISPUTE_REFUND_NO] = PointerGetDatum(dispute->refund_no);
	nulls[DISPUTE_REFUND_NO] = dispute->refund_no == NULL;
	values[DISPUTE_DETAIL] = detail ? CStringGetTextDatum(detail) : (Datum) 0;
	nulls[DISPUTE_DETAIL] = detail == NULL;
	return PayReplyRow(store, values, nulls, dispute_result_type, DISPUTE_COLUMNS);
}

/* Say in a payment's history what happened to its case. */
static void
SaveStep(PayStore *store, PayRecord *record, const PayDispute *dispute, const char *step, const text *reason)
{
	PayNews		news;

	memset(&news, 0, sizeof(news));
	news.source = cstring_to_text("dispute");
	news.occurred_at = PAY_NO_TIME;
	news.reason = cstring_to_text(psprintf("dispute %lld %s: %s", (long long) dispute->dispute_id, step,
										   text_to_cstring(reason)));
	PaySaveRecord(store, record, NULL, (PayState) record->payment.state, PAY_NO_STATE, &news, PAY_APPLIED);
}

/* A payment by its own number, or by that of an attempt. */
static void
FindNamed(PayStore *store, PayNumber number, const text *given, PayRecord *record)
{
	if (!PayFindRecord(store, PayPaymentNumber(number), record) ||
		!PayNumberFits(&record->payment, number))
		PayThrowNotFound(given);
}

/* The open case of two payments, whichever is said to repeat the other. */
static bool
FindOpenCase(PayStore *store, PayNumber a, PayNumber b, PayDispute *dispute)
{
	return PayFindOpenDispute(store, a, b, dispute) || PayFindOpenDispute(store, b, a, dispute);
}

PG_FUNCTION_INFO_V1(pay_dispute_open);
Datum
pay_dispute_open(PG_FUNCTION_ARGS)
{
	PayNumber	number = PayNumberArgument(fcinfo, 0, "trade_no");
	PayNumber	other_number = PayNumberArgument(fcinfo, 1, "duplicate_of");
	text	   *reason = PayTextArgument(fcinfo, 2, "reason", PAY_MAX_REASON_BYTES, PAY_REQUIRED);
	PayStore   *store;
	PayRecord	record;
	PayRecord	other;
	PayDispute	dispute;

	if (PayNumbersEqual(PayPaymentNumber(number), PayPaymentNumber(other_number)))
		ereport(ERROR,
				(errcode(PAY_ERR_BAD_ARGUMENT),
				 errmsg("a payment does not repeat itself: \"%s\"", text_to_cstring(PG_GETARG_TEXT_PP(0))),
				 errdetail("Both numbers are of the same payment.")));
	store = PayStoreOpen(fcinfo, PAY_WRITES, PAY_LOOK_AT_RECORDS | PAY_LOOK_AT(PAY_DISPUTE_TABLE));
	FindNamed(store, number, PG_GETARG_TEXT_PP(0), &record);
	FindNamed(store, other_number, PG_GETARG_TEXT_PP(1), &other);
	if (!PayTextsEqual(record.payment.merchant, other.payment.merchant))
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_ALLOWED),
				 errmsg("orders \"%s\" and \"%s\" are of two merchants",
						text_to_cstring(record.payment.order_no), text_to_cstring(other.payment.order_no)),
				 errdetail("They are \"%s\" and \"%s\"; a dispute is settled by one merchant.",
						   text_to_cstring(record.payment.merchant),
						   text_to_cstring(other.payment.merchant))));
	if (!PayLockRecords(store, &record, &other))
		PayThrowNotFound(PG_GETARG_TEXT_PP(0));
	do
	{
		CHECK_FOR_INTERRUPTS();
		if (FindOpenCase(store, record.payment.pay_no, other.payment.pay_no, &dispute))
			return Reply(store, &dispute, PAY_UNCHANGED, "these two are in an open case already");
		memset(&dispute, 0, sizeof(dispute));
		dispute.pay_no = record.payment.pay_no;
		dispute.other_pay_no = other.payment.pay_no;
		dispute.opened_at = GetCurrentTimestamp();
		dispute.resolved_at = PAY_NO_TIME;
		dispute.reason = reason;
		dispute.opened_by = cstring_to_text(GetUserNameFromId(GetUserId(), false));
		dispute.opened_session = cstring_to_text(GetUserNameFromId(GetSessionUserId(), false));
	} while (!PayInsertDispute(store, &dispute));
	SaveStep(store, &record, &dispute, "opened", reason);
	SaveStep(store, &other, &dispute, "opened", reason);
	return Reply(store, &dispute, PAY_APPLIED, NULL);
}

pg_noreturn static void
ThrowNoDispute(int64 dispute_id)
{
	ereport(ERROR,
			(errcode(PAY_ERR_NOT_FOUND),
			 errmsg("no such dispute: %lld", (long long) dispute_id),
			 errdetail("There is no row of this dispute_id in pay_dispute.")));
}

/* Give back all that is refundable of the payment that was one too many. */
static void
RefundDisputed(PayStore *store, PayRecord *record, PayDispute *dispute, text *reason)
{
	PayAttempt *winner = PayRecordWinner(record);

	if (winner == NULL || PayRefundable(winner) == 0)
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_ALLOWED),
				 errmsg("dispute %lld cannot be resolved by refund", (long long) dispute->dispute_id),
				 errdetail("Of order \"%s\", which is %s, nothing is refundable.",
						   text_to_cstring(record->payment.order_no),
						   PayStateLabel((PayState) record->payment.state)),
				 errhint("Where it was refunded before, or never paid, reject and say so.")));
	dispute->refund_no = PayOpenDisputed(store, record, winner, dispute->dispute_id, reason);
}

PG_FUNCTION_INFO_V1(pay_dispute_resolve);
Datum
pay_dispute_resolve(PG_FUNCTION_ARGS)
{
	int64		dispute_id = PayIdArgument(fcinfo, 0, "dispute_id");
	text	   *word = PayKeyArgument(fcinfo, 1, "verdict", PAY_REQUIRED);
	text	   *reason = PayTextArgument(fcinfo, 2, "reason", PAY_MAX_REASON_BYTES, PAY_REQUIRED);
	PayStore   *store;
	PayRecord	record;
	PayRecord	other;
	PayDispute	dispute;
	const char *step;
	Verdict		verdict = PayWordArgument(word, "verdict", verdict_label, VERDICTS,
										  "A verdict is refund or reject.");

	store = PayStoreOpen(fcinfo, PAY_WRITES, PAY_LOOK_AT_RECORDS | PAY_LOOK_AT(PAY_DISPUTE_TABLE));
	if (!PayFindDispute(store, dispute_id, &dispute) ||
		!PayFindRecord(store, dispute.pay_no, &record) ||
		!PayFindRecord(store, dispute.other_pay_no, &other) ||
		!PayLockRecords(store, &record, &other) || !PayLockDispute(store, &dispute))
		ThrowNoDispute(dispute_id);
	if (dispute.verdict != NULL)
	{
		if (!PayTextsEqual(dispute.verdict, word))
			ereport(ERROR,
					(errcode(PAY_ERR_NOT_ALLOWED),
					 errmsg("dispute %lld cannot be resolved by %s", (long long) dispute_id,
							text_to_cstring(word)),
					 errdetail("It was resolved by %s before: %s.", text_to_cstring(dispute.verdict),
							   text_to_cstring(dispute.verdict_reason))));
		return Reply(store, &dispute, PAY_UNCHANGED, "resolved so before");
	}

	if (verdict == REFUND)
		RefundDisputed(store, &record, &dispute, reason);
	dispute.verdict = word;
	dispute.verdict_reason = reason;
	dispute.resolved_at = GetCurrentTimestamp();
	dispute.resolved_by = cstring_to_text(GetUserNameFromId(GetUserId(), false));
	dispute.resolved_session = cstring_to_text(GetUserNameFromId(GetSessionUserId(), false));
	PayUpdateDispute(store, &dispute);
	step = verdict == REFUND ? "resolved by refund" : "rejected";
	SaveStep(store, &record, &dispute, step, reason);
	SaveStep(store, &other, &dispute, step, reason);
	return Reply(store, &dispute, PAY_APPLIED, NULL);
}

/* ---- the operation record ---- */

static void
PutCaseEvent(ReturnSetInfo *rsinfo, const PayPayment *payment, const PayEvent *event)
{
	Datum		values[2 + PAY_HISTORY_COLUMNS];
	bool		nulls[2 + PAY_HISTORY_COLUMNS] = {false, false};

	values[0] = PointerGetDatum(payment->order_no);
	values[1] = PointerGetDatum(PayNumberText(payment->pay_no));
	PayShowEvent(event, values + 2, nulls + 2);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

PG_FUNCTION_INFO_V1(pay_dispute_case);
Datum
pay_dispute_case(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int64		dispute_id = PayIdArgument(fcinfo, 0, "dispute_id");
	PayStore   *store;
	PayDispute	dispute;
	PayPayment	payment;
	PayPayment	other;
	List	   *events;
	List	   *other_events;
	int			i = 0;
	int			j = 0;

	InitMaterializedSRF(fcinfo, 0);
	store = PayStoreOpen(fcinfo, PAY_READS, PAY_LOOK_AT(PAY_PAYMENT_TABLE) | PAY_LOOK_AT(PAY_EVENT_TABLE) |
						 PAY_LOOK_AT(PAY_DISPUTE_TABLE));
	if (!PayFindDispute(store, dispute_id, &dispute) ||
		!PayFindPayment(store, dispute.pay_no, &payment) ||
		!PayFindPayment(store, dispute.other_pay_no, &other))
		ThrowNoDispute(dispute_id);
	events = PayListEvents(store, payment.pay_no);
	other_events = PayListEvents(store, other.pay_no);
	/* by their time, but each payment's own in their own order, whatever the clock did */
	while (i < list_length(events) || j < list_length(other_events))
	{
		const PayEvent *event = i < list_length(events) ? list_nth(events, i) : NULL;
		const PayEvent *other_event = j < list_length(other_events) ? list_nth(other_events, j) : NULL;

		if (other_event == NULL || (event != NULL && event->recorded_at <= other_event->recorded_at))
		{
			PutCaseEvent(rsinfo, &payment, event);
			i++;
		}
		else
		{
			PutCaseEvent(rsinfo, &other, other_event);
			j++;
		}
	}
	PayStoreClose(store);
	return (Datum) 0;
}

/*
 * answer.c
 *
 * What a function answers.
 */
#include "answer.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "payment.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* The columns of pay_result, in their order. */
enum
{
	RESULT_DECISION,
	RESULT_PAY_NO,
	RESULT_TRADE_NO,
	RESULT_MERCHANT,
	RESULT_ORDER_NO,
	RESULT_STATE,
	RESULT_ATTEMPT,
	RESULT_ATTEMPT_STATE,
	RESULT_CHANNEL,
	RESULT_METHOD,
	RESULT_AMOUNT,
	RESULT_CURRENCY,
	RESULT_CREDENTIAL,
	RESULT_CREDENTIAL_EXPIRES_AT,
	RESULT_REFUNDABLE,
	RESULT_REFUND_NO,
	RESULT_OTHER_ORDER_NO,
	RESULT_DETAIL,
	RESULT_COLUMNS
};

StaticAssertDecl((int) RESULT_COLUMNS == PAY_RESULT_COLUMNS, "the header counts the columns");

static const Oid result_type[RESULT_COLUMNS] = {
	[RESULT_DECISION] = TEXTOID,
	[RESULT_PAY_NO] = TEXTOID,
	[RESULT_TRADE_NO] = TEXTOID,
	[RESULT_MERCHANT] = TEXTOID,
	[RESULT_ORDER_NO] = TEXTOID,
	[RESULT_STATE] = TEXTOID,
	[RESULT_ATTEMPT] = INT4OID,
	[RESULT_ATTEMPT_STATE] = TEXTOID,
	[RESULT_CHANNEL] = TEXTOID,
	[RESULT_METHOD] = TEXTOID,
	[RESULT_AMOUNT] = INT8OID,
	[RESULT_CURRENCY] = TEXTOID,
	[RESULT_CREDENTIAL] = TEXTOID,
	[RESULT_CREDENTIAL_EXPIRES_AT] = TIMESTAMPTZOID,
	[RESULT_REFUNDABLE] = INT8OID,
	[RESULT_REFUND_NO] = TEXTOID,
	[RESULT_OTHER_ORDER_NO] = TEXTOID,
	[RESULT_DETAIL] = TEXTOID
};

/* The columns of pay_refund_result. */
enum
{
	REFUND_DECISION,
	REFUND_REFUND_NO,
	REFUND_PAY_NO,
	REFUND_TRADE_NO,
	REFUND_STATE,
	REFUND_AMOUNT,
	REFUND_CURRENCY,
	REFUND_REFUNDABLE,
	REFUND_DETAIL,
	REFUND_COLUMNS
};

static const Oid refund_result_type[REFUND_COLUMNS] = {
	[REFUND_DECISION] = TEXTOID,
	[REFUND_REFUND_NO] = TEXTOID,
	[REFUND_PAY_NO] = TEXTOID,
	[REFUND_TRADE_NO] = TEXTOID,
	[REFUND_STATE] = TEXTOID,
	[REFUND_AMOUNT] = INT8OID,
	[REFUND_CURRENCY] = TEXTOID,
	[REFUND_REFUNDABLE] = INT8OID,
	[REFUND_DETAIL] = TEXTOID
};

StaticAssertDecl((int) REFUND_COLUMNS == PAY_REFUND_RESULT_COLUMNS, "the header counts the columns");

typedef struct ResultRow
{
	Datum		values[RESULT_COLUMNS];
	bool		nulls[RESULT_COLUMNS];
} ResultRow;

static void
InitRow(ResultRow *row)
{
	StaticAssertStmt((int) REFUND_COLUMNS <= (int) RESULT_COLUMNS, "a row has room for both results");
	memset(row->nulls, true, sizeof(row->nulls));
}

static void
Set(ResultRow *row, int column, Datum value)
{
	row->values[column] = value;
	row->nulls[column] = false;
}

static void
SetString(ResultRow *row, int column, const char *label)
{
	if (label != NULL)
		Set(row, column, CStringGetTextDatum(label));
}

static void
SetText(ResultRow *row, int column, const text *value)
{
	if (value != NULL)
		Set(row, column, PointerGetDatum(value));
}

static void
SetPayment(ResultRow *row, const PayAnswer *answer)
{
	const PayPayment *payment = &answer->record->payment;
	const PayAttempt *winner = PayRecordWinner(answer->record);

	Set(row, RESULT_PAY_NO, PointerGetDatum(PayNumberText(payment->pay_no)));
	SetText(row, RESULT_MERCHANT, payment->merchant);
	SetText(row, RESULT_ORDER_NO, payment->order_no);
	SetString(row, RESULT_STATE, PayStateLabel(answer->payment_state ? answer->payment_state :
											  (PayState) payment->state));
	Set(row, RESULT_AMOUNT, Int64GetDatum(payment->amount));
	SetText(row, RESULT_CURRENCY, payment->currency);
	Set(row, RESULT_REFUNDABLE, Int64GetDatum(winner != NULL ? PayRefundable(winner) : 0));
}

static void
SetAttempt(ResultRow *row, const PayAnswer *answer)
{
	const PayAttempt *attempt = answer->attempt;

	Set(row, RESULT_TRADE_NO, PointerGetDatum(PayNumberText(attempt->trade_no)));
	Set(row, RESULT_ATTEMPT, Int32GetDatum(attempt->attempt));
	SetString(row, RESULT_ATTEMPT_STATE, PayStateLabel(answer->attempt_state ? answer->attempt_state :
													  (PayState) attempt->state));
	/* nobody is to pay with a credential that the order does not wait for */
	if (attempt->state == PAY_PAYING && PayPaymentWaits(&answer->record->payment) &&
		attempt->credential != NULL &&
		attempt->credential_expires_at > GetCurrentTimestamp())
	{
		SetText(row, RESULT_CREDENTIAL, attempt->credential);
		Set(row, RESULT_CREDENTIAL_EXPIRES_AT, TimestampTzGetDatum(attempt->credential_expires_at));
	}
}

/* The order that an answer refers to: the one named, or the successor of a replaced order. */
static const text *
OtherOrder(PayStore *store, const PayAnswer *answer)
{
	PayPayment	successor;

	if (answer->other_order_no != NULL || answer->record == NULL ||
		PayNumberIsNone(answer->record->payment.replaced_by) ||
		!PayFindPayment(store, answer->record->payment.replaced_by, &successor))
		return answer->other_order_no;
	return successor.order_no;
}

static void
ShowAnswer(PayStore *store, const PayAnswer *answer, ResultRow *row)
{
	InitRow(row);
	SetString(row, RESULT_DECISION, PayDecisionLabel(answer->decision));
	SetText(row, RESULT_TRADE_NO, answer->trade_no);
	if (answer->record != NULL)
		SetPayment(row, answer);
	if (answer->attempt != NULL)
		SetAttempt(row, answer);
	if (answer->channel != NULL)
	{
		SetText(row, RESULT_CHANNEL, answer->channel->channel);
		SetText(row, RESULT_METHOD, answer->channel->method);
	}
	SetText(row, RESULT_REFUND_NO, answer->refund_no);
	SetText(row, RESULT_OTHER_ORDER_NO, OtherOrder(store, answer));
	SetString(row, RESULT_DETAIL, answer->detail);
}

Datum
PayReply(PayStore *store, const PayAnswer *answer)
{
	ResultRow	row;

	ShowAnswer(store, answer, &row);
	return PayReplyRow(store, row.values, row.nulls, result_type, RESULT_COLUMNS);
}

void
PayShowAnswer(PayStore *store, const PayAnswer *answer, Datum *values, bool *nulls)
{
	ResultRow	row;

	ShowAnswer(store, answer, &row);
	memcpy(values, row.values, sizeof(row.values));
	memcpy(nulls, row.nulls, sizeof(row.nulls));
}

Datum
PayReplyAbout(PayStore *store, const PayRecord *record, const PayAttempt *attempt,
			  const PayChannel *channel, PayDecision decision, const char *detail)
{
	PayAnswer	answer;

	memset(&answer, 0, sizeof(answer));
	answer.decision = decision;
	answer.record = record;
	answer.attempt = attempt;
	answer.channel = channel;
	answer.detail = detail;
	return PayReply(store, &answer);
}

static void
ShowRefundAnswer(const PayRefundAnswer *answer, ResultRow *row)
{
	InitRow(row);
	SetString(row, REFUND_DECISION, PayDecisionLabel(answer->decision));
	SetText(row, REFUND_REFUND_NO, answer->refund_no);
	SetText(row, REFUND_TRADE_NO, answer->trade_no);
	if (answer->record != NULL)
	{
		Set(row, REFUND_PAY_NO, PointerGetDatum(PayNumberText(answer->record->payment.pay_no)));
		SetText(row, REFUND_CURRENCY, answer->record->payment.currency);
	}
	if (answer->attempt != NULL)
	{
		Set(row, REFUND_TRADE_NO, PointerGetDatum(PayNumberText(answer->attempt->trade_no)));
		Set(row, REFUND_REFUNDABLE, Int64GetDatum(PayRefundable(answer->attempt)));
	}
	if (answer->refund != NULL)
	{
		SetText(row, REFUND_REFUND_NO, answer->refund->refund_no);
		SetString(row, REFUND_STATE, PayRefundStateLabel(answer->state ? answer->state :
														 (PayRefundState) answer->refund->state));
		Set(row, REFUND_AMOUNT, Int64GetDatum(answer->refund->amount));
	}
	SetString(row, REFUND_DETAIL, answer->detail);
}

Datum
PayReplyRefund(PayStore *store, const PayRefundAnswer *answer)
{
	ResultRow	row;

	ShowRefundAnswer(answer, &row);
	return PayReplyRow(store, row.values, row.nulls, refund_result_type, REFUND_COLUMNS);
}

void
PayShowRefundAnswer(const PayRefundAnswer *answer, Datum *values, bool *nulls)
{
	ResultRow	row;

	ShowRefundAnswer(answer, &row);
	memcpy(values, row.values, REFUND_COLUMNS * sizeof(Datum));
	memcpy(nulls, row.nulls, REFUND_COLUMNS * sizeof(bool));
}

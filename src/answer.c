/*
 * answer.c
 *
 * Arguments in, answers out.
 */
#include "answer.h"

#include "catalog/pg_type.h"
#include "deadline.h"
#include "errors.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
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

/* ---- values ---- */

void
PayThrowFault(const PayFault *fault)
{
	ereport(ERROR,
			(errcode(PAY_ERR_BAD_ARGUMENT),
			 errmsg("%s", fault->message),
			 errdetail("%s", fault->detail),
			 fault->hint ? errhint("%s", fault->hint) : 0));
}

bool
PaySetFault(PayFault *fault, const char *message, const char *detail, const char *hint)
{
	fault->message = message;
	fault->detail = detail;
	fault->hint = hint;
	return false;
}

static bool
IsMissing(const char *name, PayFault *fault)
{
	return PaySetFault(fault, psprintf("%s must not be NULL", name), "Nothing was read or written.", NULL);
}

bool
PayCheckText(const text *value, const char *name, int max_bytes, PayPresence presence, PayFault *fault)
{
	int			length;

	if (value == NULL)
		return presence == PAY_OPTIONAL || IsMissing(name, fault);
	length = VARSIZE_ANY_EXHDR(value);
	if (length == 0 && presence != PAY_MAY_BE_EMPTY)
		return PaySetFault(fault, psprintf("%s must not be empty", name), "An empty text names nothing.",
						  presence == PAY_OPTIONAL ? "Leave it out, or pass NULL." : NULL);
	if (length > max_bytes)
	{
		char	   *start = text_to_cstring(value);

		start[pg_mbcliplen(start, length, 40)] = '\0';
		return PaySetFault(fault, psprintf("%s is too long: \"%s...\"", name, start),
						  psprintf("It has %d bytes; at most %d are allowed.", length, max_bytes), NULL);
	}
	return true;
}

bool
PayCheckAmount(int64 amount, const char *name, PayFault *fault)
{
	if (amount >= 1 && amount <= PAY_MAX_AMOUNT)
		return true;
	return PaySetFault(fault, psprintf("invalid %s: %lld", name, (long long) amount),
					  psprintf("An amount is a whole number of the currency's minor units (fen, cents), from 1 to %lld.",
							   (long long) PAY_MAX_AMOUNT), NULL);
}

bool
PayCheckCurrency(const text *currency, PayFault *fault)
{
	const char *c = VARDATA_ANY(currency);
	int			i;

	for (i = 0; i < 3 && VARSIZE_ANY_EXHDR(currency) == 3; i++)
		if (c[i] < 'A' || c[i] > 'Z')
			break;
	if (i == 3)
		return true;
	return PaySetFault(fault, psprintf("invalid currency: \"%s\"", text_to_cstring(currency)),
					  "A currency is an ISO 4217 code: three capital letters.",
					  "Write it as in CNY, USD or JPY.");
}

bool
PayCheckState(const text *label, const char *name, PayState *state, PayFault *fault)
{
	*state = PayStateByLabel(VARDATA_ANY(label), VARSIZE_ANY_EXHDR(label));
	if (*state != PAY_NO_STATE && *state != PAY_CREATED)
		return true;
	return PaySetFault(fault, psprintf("invalid %s: \"%s\"", name, text_to_cstring(label)),
					  "An attempt is paying, authorized, capturing, unknown, closing, failed, paid, closed or reversed.",
					  NULL);
}

bool
PayCheckRefundState(const text *label, const char *name, PayRefundState *state, PayFault *fault)
{
	*state = PayRefundStateByLabel(VARDATA_ANY(label), VARSIZE_ANY_EXHDR(label));
	if (*state != PAY_NO_REFUND_STATE)
		return true;
	return PaySetFault(fault, psprintf("invalid %s: \"%s\"", name, text_to_cstring(label)),
					  "A refund is requested, processing, succeeded, failed, abnormal, unknown, cancelled or returned.",
					  NULL);
}

/* ---- arguments ---- */

static void
ThrowMissing(const char *name)
{
	PayFault	fault;

	IsMissing(name, &fault);
	PayThrowFault(&fault);
}

text *
PayTextArgument(FunctionCallInfo fcinfo, int n, const char *name, int max_bytes, PayPresence presence)
{
	text	   *value = PG_ARGISNULL(n) ? NULL : PG_GETARG_TEXT_PP(n);
	PayFault	fault;

	if (!PayCheckText(value, name, max_bytes, presence, &fault))
		PayThrowFault(&fault);
	return value;
}

text *
PayKeyArgument(FunctionCallInfo fcinfo, int n, const char *name, PayPresence presence)
{
	return PayTextArgument(fcinfo, n, name, PAY_MAX_KEY_BYTES, presence);
}

int64
PayAmountArgument(FunctionCallInfo fcinfo, int n, const char *name, PayPresence presence)
{
	PayFault	fault;

	if (PG_ARGISNULL(n))
	{
		if (presence != PAY_OPTIONAL)
			ThrowMissing(name);
		return 0;
	}
	if (!PayCheckAmount(PG_GETARG_INT64(n), name, &fault))
		PayThrowFault(&fault);
	return PG_GETARG_INT64(n);
}

int64
PayIdArgument(FunctionCallInfo fcinfo, int n, const char *name)
{
	if (PG_ARGISNULL(n))
		ThrowMissing(name);
	return PG_GETARG_INT64(n);
}

text *
PayCurrencyArgument(FunctionCallInfo fcinfo, int n, PayPresence presence)
{
	text	   *currency = PayKeyArgument(fcinfo, n, "currency", presence);
	PayFault	fault;

	if (currency != NULL && !PayCheckCurrency(currency, &fault))
		PayThrowFault(&fault);
	return currency;
}

PayState
PayStateArgument(FunctionCallInfo fcinfo, int n, const char *name)
{
	PayState	state;
	PayFault	fault;

	if (!PayCheckState(PayKeyArgument(fcinfo, n, name, PAY_REQUIRED), name, &state, &fault))
		PayThrowFault(&fault);
	return state;
}

PayRefundState
PayRefundStateArgument(FunctionCallInfo fcinfo, int n, const char *name)
{
	PayRefundState state;
	PayFault	fault;

	if (!PayCheckRefundState(PayKeyArgument(fcinfo, n, name, PAY_REQUIRED), name, &state, &fault))
		PayThrowFault(&fault);
	return state;
}

/* Is wait longer than none and at most so many days, a month being 30 of them? */
static bool
IsWithinDays(const Interval *wait, int max_days)
{
	const Interval none = {0, 0, 0};
	const Interval longest = {0, max_days, 0};

	return DatumGetBool(DirectFunctionCall2(interval_gt, IntervalPGetDatum(wait), IntervalPGetDatum(&none))) &&
		DatumGetBool(DirectFunctionCall2(interval_le, IntervalPGetDatum(wait), IntervalPGetDatum(&longest)));
}

/*
 * PostgreSQL reads a bare number as seconds.  Clients count in milliseconds, or in
 * nanoseconds as Go does: where one of these would have been a good value, say so.
 */
static char *
HintUnit(const Interval *wait, int max_days)
{
	static const struct
	{
		const char *name;
		int64		per_second;
	}			units[] = {{"milliseconds", 1000}, {"nanoseconds", 1000000000}};
	int64		seconds = wait->time / USECS_PER_SEC;
	int			i;

	for (i = 0; i < lengthof(units) && wait->month == 0 && wait->day == 0; i++)
		if (seconds >= units[i].per_second &&
			seconds / units[i].per_second <= (int64) max_days * SECS_PER_DAY)
			return psprintf("A number without a unit is seconds. For " INT64_FORMAT " %s pass '%g seconds'.",
							seconds, units[i].name, (double) seconds / units[i].per_second);
	return pstrdup("A number without a unit is seconds. Say the unit, as in '2 hours'.");
}

TimestampTz
PayDeadlineArgument(FunctionCallInfo fcinfo, int n, const char *name, TimestampTz now,
					int max_days, PayPresence presence)
{
	const Interval *wait;
	TimestampTz deadline;

	if (PG_ARGISNULL(n))
	{
		if (presence != PAY_OPTIONAL)
			ThrowMissing(name);
		return PAY_NO_TIME;
	}
	wait = PG_GETARG_INTERVAL_P(n);
	deadline = PayAfter(now, wait);
	if (!IsWithinDays(wait, max_days) || deadline <= now || deadline == PAY_NO_TIME)
		ereport(ERROR,
				(errcode(PAY_ERR_BAD_ARGUMENT),
				 errmsg("invalid %s: %s", name,
						DatumGetCString(DirectFunctionCall1(interval_out, PG_GETARG_DATUM(n)))),
				 errdetail("It must be positive and at most %d %s.", max_days, max_days == 1 ? "day" : "days"),
				 errhint("%s", HintUnit(wait, max_days))));
	return deadline;
}

PayNumber
PayNumberArgument(FunctionCallInfo fcinfo, int n, const char *name)
{
	text	   *given = PayKeyArgument(fcinfo, n, name, PAY_REQUIRED);
	PayNumber	number;

	if (!PayParseNumber(given, &number))
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_FOUND),
				 errmsg("no such payment: \"%s\"", text_to_cstring(given)),
				 errdetail("It is not a number that pay_idem made."),
				 errhint("Numbers are 32 hex digits, dashes allowed, as pay_prepay() answers them.")));
	return number;
}

void
PayThrowNotFound(const text *trade_no)
{
	ereport(ERROR,
			(errcode(PAY_ERR_NOT_FOUND),
			 errmsg("no such payment: \"%s\"", text_to_cstring(trade_no)),
			 errdetail("There is no payment or attempt of this number.")));
}

void
PayCheckChannelIsKnown(PayStore *store, text *channel)
{
	if (!PayChannelExists(store, channel))
		ereport(ERROR,
				(errcode(PAY_ERR_BAD_ARGUMENT),
				 errmsg("unknown channel: \"%s\"", text_to_cstring(channel)),
				 errdetail("There is no such channel in pay_channel."),
				 errhint("INSERT INTO pay_channel (channel, method) adds one.")));
}

bool
PayTextsEqual(const text *a, const text *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return VARSIZE_ANY_EXHDR(a) == VARSIZE_ANY_EXHDR(b) &&
		memcmp(VARDATA_ANY(a), VARDATA_ANY(b), VARSIZE_ANY_EXHDR(a)) == 0;
}

int
PayCompareTexts(const text *a, const text *b)
{
	int			difference;

	if (a == NULL || b == NULL)
		return (a != NULL) - (b != NULL);
	difference = memcmp(VARDATA_ANY(a), VARDATA_ANY(b), Min(VARSIZE_ANY_EXHDR(a), VARSIZE_ANY_EXHDR(b)));
	return difference != 0 ? difference : (int) VARSIZE_ANY_EXHDR(a) - (int) VARSIZE_ANY_EXHDR(b);
}

bool
PayTextIs(const text *value, const char *word)
{
	return value != NULL && VARSIZE_ANY_EXHDR(value) == strlen(word) &&
		memcmp(VARDATA_ANY(value), word, strlen(word)) == 0;
}

/* ---- answers ---- */

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
	if (attempt->state == PAY_PAYING && PayRecordWaits(answer->record) &&
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

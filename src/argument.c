/*
 * argument.c
 *
 * What comes in as arguments of a SQL function.
 */
#include "argument.h"

#include "compat.h"
#include "deadline.h"
#include "errors.h"
#include "mb/pg_wchar.h"
#include "text.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

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

pg_noreturn static void
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

int
PayWordArgument(const text *value, const char *name, const char *const *words, int n, const char *detail)
{
	int			i;

	for (i = 0; i < n; i++)
		if (PayTextIs(value, words[i]))
			return i;
	ereport(ERROR,
			(errcode(PAY_ERR_BAD_ARGUMENT),
			 errmsg("invalid %s: \"%s\"", name, text_to_cstring(value)),
			 errdetail("%s", detail)));
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

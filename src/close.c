/*
 * close.c
 *
 * The shop gives an order up, by its own number for it.
 *
 * Which step that is, the shop need not know: with an attempt open the payment is
 * closing until the channel says how that ended, else it is closed at once.  As with
 * any other call, what changes nothing is answered without a lock.
 */
#include "postgres.h"

#include "answer.h"
#include "argument.h"
#include "errors.h"
#include "fmgr.h"
#include "payment.h"
#include "record.h"
#include "report.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

static bool
IsBeingCaptured(const PayRecord *record)
{
	int			i;

	for (i = 0; i < record->payment.routes.n; i++)
		if (record->attempt[i]->state == PAY_CAPTURING)
			return true;
	return false;
}

/* What closing the order as it stands answers: applied, with the step to take, or why there is none. */
static PayDecision
DecideClose(const PayRecord *record, PayState *step, const char **detail)
{
	PayState	state = (PayState) record->payment.state;

	*step = PayAttemptIsOpen(state) ? PAY_CLOSING : PAY_CLOSED;
	*detail = NULL;
	if (state == PAY_PAID)
	{
		*detail = "the order is paid: give its money back with pay_refund()";
		return PAY_ALREADY_PAID;
	}
	if (!PayPaymentWaits(&record->payment))
		return PAY_IS_CLOSED;
	if (IsBeingCaptured(record))
	{
		*detail = "its money is being captured: wait for the outcome";
		return PAY_IN_PROGRESS;
	}
	if (PayIsThere(record, *step))
	{
		*detail = "the channel was not heard of yet";
		return PAY_UNCHANGED;
	}
	return PAY_APPLIED;
}

static void
Close(PayStore *store, PayRecord *record, PayState step, text *reason)
{
	TimestampTz now = GetCurrentTimestamp();
	PayState	before;
	PayNews		news;

	memset(&news, 0, sizeof(news));
	news.source = cstring_to_text("close");
	news.reported = step;
	news.occurred_at = PAY_NO_TIME;
	news.reason = reason;
	PayStepByHand(store, record, &news, 0, now);
	before = (PayState) record->payment.state;
	PayRecordRollUp(record, now);
	PaySaveRecord(store, record, NULL, before, PAY_NO_STATE, &news, PAY_APPLIED);
}

pg_noreturn static void
ThrowNoOrder(const text *order_no, const text *merchant)
{
	ereport(ERROR,
			(errcode(PAY_ERR_NOT_FOUND),
			 errmsg("no such order: \"%s\"", text_to_cstring(order_no)),
			 errdetail("Merchant \"%s\" has no payment for it.", text_to_cstring(merchant))));
}

PG_FUNCTION_INFO_V1(pay_close);
Datum
pay_close(PG_FUNCTION_ARGS)
{
	text	   *order_no = PayKeyArgument(fcinfo, 0, "order_no", PAY_REQUIRED);
	text	   *merchant = PayKeyArgument(fcinfo, 1, "merchant", PAY_MAY_BE_EMPTY);
	text	   *reason = PayTextArgument(fcinfo, 2, "reason", PAY_MAX_REASON_BYTES, PAY_OPTIONAL);
	PayStore   *store = PayStoreOpen(fcinfo, PAY_WRITES, PAY_LOOK_AT_RECORDS);
	PayRecord	record;
	PayDecision decision;
	PayState	step;
	const char *detail;

	if (!PayFindRecordByOrder(store, merchant, order_no, &record))
		ThrowNoOrder(order_no, merchant);
	decision = DecideClose(&record, &step, &detail);
	if (decision == PAY_APPLIED)
	{
		if (!PayLockRecord(store, &record))
			ThrowNoOrder(order_no, merchant);
		decision = DecideClose(&record, &step, &detail);
	}
	if (decision == PAY_APPLIED)
		Close(store, &record, step, reason);
	return PayReplyAbout(store, &record, NULL, NULL, decision, detail);
}

/*
 * record.c
 *
 * A payment with its attempts.
 */
#include "record.h"

#include "errors.h"
#include "hold.h"
#include "miscadmin.h"
#include "payment.h"
#include "task.h"
#include "utils/builtins.h"
#include "utils/uuid.h"

PayNews
PayNewsWithoutId(const PayNews *news)
{
	PayNews		without = *news;

	without.reason = cstring_to_text(psprintf("message id \"%s\" is known with other content",
											  text_to_cstring(news->message_id)));
	without.message_id = NULL;
	return without;
}

/* What in the payment's own row does not fit together; NULL if it does. */
static const char *
PaymentMisfit(const PayPayment *payment)
{
	if (payment->winner < 0 || payment->winner > payment->routes.n)
		return psprintf("column \"winner\" is %d; the payment has had %d attempts", payment->winner,
						payment->routes.n);
	return NULL;
}

/* The same for the row of the attempt that should be number n. */
static const char *
AttemptMisfit(const PayPayment *payment, const PayAttempt *attempt, int n)
{
	if (attempt->attempt != n || attempt->route != payment->routes.route[n - 1] ||
		!PayNumbersEqual(attempt->pay_no, payment->pay_no))
		return "its attempt, route or pay_no is not what its trade_no says";
	return NULL;
}

/* Read the attempt that should be number n; false if it is missing or damaged. */
static bool
ReadAttempt(PayStore *store, PayRecord *record, int n)
{
	const PayPayment *payment = &record->payment;
	PayAttempt *attempt = record->attempt[n - 1];
	PayNumber	trade_no = PayAttemptNumber(payment->pay_no, payment->routes.route[n - 1], n);
	const char *wrong = "it is missing";

	if (PayFindAttempt(store, trade_no, attempt))
		wrong = AttemptMisfit(payment, attempt, n);
	if (wrong == NULL)
		return true;
	attempt->trade_no = trade_no;
	PayDamaged(store, PAY_ATTEMPT_TABLE, attempt,
			   psprintf("%s (number %d of %d)", wrong, n, payment->routes.n));
	return false;
}

/*
 * Read the attempts; the first so many were read before, and only those that
 * changed are read again.  Ends where it meets damage that the call passes by.
 */
static void
ReadAttempts(PayStore *store, PayRecord *record, int known)
{
	const char *wrong = PaymentMisfit(&record->payment);
	int			i;

	if (wrong != NULL)
	{
		PayDamaged(store, PAY_PAYMENT_TABLE, &record->payment, wrong);
		return;
	}
	for (i = 0; i < record->payment.routes.n; i++)
	{
		if (i >= known)
			record->attempt[i] = palloc0(sizeof(PayAttempt));
		if (!(i < known && PayIsCurrent(store, record->attempt[i])) &&
			!ReadAttempt(store, record, i + 1))
			return;
		record->queued[i] = record->attempt[i]->check_at == PAY_NO_TASK ? PAY_NO_CARE :
			PayRecordCare(record, record->attempt[i]);
	}
}

bool
PayFindRecordByOrder(PayStore *store, text *merchant, text *order_no, PayRecord *record)
{
	if (!PayFindOrder(store, merchant, order_no, &record->payment))
		return false;
	ReadAttempts(store, record, 0);
	return true;
}

bool
PayFindRecord(PayStore *store, PayNumber pay_no, PayRecord *record)
{
	if (!PayFindPayment(store, pay_no, &record->payment))
		return false;
	ReadAttempts(store, record, 0);
	return true;
}

bool
PayLockRecord(PayStore *store, PayRecord *record)
{
	int			known = record->payment.routes.n;

	if (!PayLockPayment(store, &record->payment))
		return false;
	ReadAttempts(store, record, Min(known, record->payment.routes.n));
	return true;
}

bool
PayLockRecords(PayStore *store, PayRecord *a, PayRecord *b)
{
	bool		in_order = PayCompareNumbers(a->payment.pay_no, b->payment.pay_no) < 0;

	return PayLockRecord(store, in_order ? a : b) && PayLockRecord(store, in_order ? b : a);
}

void
PayChannelOf(PayStore *store, const PayAttempt *attempt, PayChannel *channel)
{
	if (!PayFindRoute(store, attempt->route, channel))
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_INSTALLED),
				 errmsg("route %d is missing in \"pay_channel\"", attempt->route),
				 errdetail("Attempt %d was opened by this route; routes are never removed.",
						   attempt->attempt)));
}

PayAttempt *
PayRecordAttempt(const PayRecord *record, PayNumber trade_no)
{
	int			attempt = PayNumberAttempt(trade_no);

	if (attempt == 0 || !PayNumberFits(&record->payment, trade_no))
		return NULL;
	return record->attempt[attempt - 1];
}

const PayAttempt *
PayCapturedAttempt(const PayRecord *record, const PayAttempt *other_than)
{
	int			i;

	for (i = 0; i < record->payment.routes.n; i++)
	{
		const PayAttempt *attempt = record->attempt[i];

		if (attempt != other_than &&
			(attempt->state == PAY_CAPTURING ||
			 ((attempt->state == PAY_UNKNOWN || attempt->state == PAY_CLOSING) &&
			  attempt->amount_to_capture > 0)))
			return attempt;
	}
	return NULL;
}

bool
PayMayCapture(const PayRecord *record, const PayAttempt **captured)
{
	*captured = NULL;
	if (!PayPaymentWaits(&record->payment))
		return false;
	*captured = PayCapturedAttempt(record, NULL);
	return *captured == NULL;
}

PayCare
PayRecordCare(const PayRecord *record, const PayAttempt *attempt)
{
	if (!PayAttemptIsOpen((PayState) attempt->state))
		return PAY_NO_CARE;
	/* an order that was to end is, also when an older answer said since that the attempt is authorized */
	return attempt->state == PAY_CLOSING || record->payment.end_requested ||
		!PayPaymentWaits(&record->payment) ? PAY_END : PAY_WATCH;
}

PayAttempt *
PayRecordWinner(const PayRecord *record)
{
	return record->payment.winner > 0 ? record->attempt[record->payment.winner - 1] : NULL;
}

/* What the payment shows of its winner's money, and what was taken beyond an attempt's. */
static void
SettleSums(PayRecord *record, PayAttempt *attempt)
{
	attempt->amount_overdrawn = Max(attempt->amount_reserved + attempt->amount_refunded -
									attempt->amount_collected, 0);
	if (attempt == PayRecordWinner(record))
		record->payment.amount_refunded = Min(attempt->amount_refunded, record->payment.amount_collected);
}

void
PayTakeBack(PayRecord *record, PayAttempt *attempt, int64 reserved, int64 refunded)
{
	attempt->amount_reserved += reserved;
	attempt->amount_refunded += refunded;
	SettleSums(record, attempt);
}

void
PayRecordRollUp(PayRecord *record, TimestampTz now)
{
	PayState	states[PAY_MAX_ATTEMPTS];
	int			n = record->payment.routes.n;
	int			i;

	for (i = 0; i < n; i++)
		states[i] = (PayState) record->attempt[i]->state;
	/* cppcheck-suppress uninitvar ; without attempts, no state is read */
	record->payment.state = PayRollUp((PayState) record->payment.state, states, n,
									  record->payment.winner > 0, PayIsToEnd(&record->payment, now));
}

void
PayStepAttempt(PayRecord *record, PayAttempt *attempt, PayState to, TimestampTz now)
{
	attempt->state = to;
	/* nobody pays with it any more, and the row's next version fits beside this one */
	if (!PayAttemptIsOpen(to))
	{
		attempt->credential = NULL;
		attempt->credential_expires_at = PAY_NO_TIME;
	}
	PayRecordRollUp(record, now);
}

void
PayCollect(PayRecord *record, PayAttempt *attempt, int64 amount, bool wins, TimestampTz now)
{
	attempt->amount_collected = amount;
	if (wins)
	{
		record->payment.winner = attempt->attempt;
		record->payment.amount_collected = amount;
	}
	SettleSums(record, attempt);
	PayStepAttempt(record, attempt, PAY_PAID, now);
}

PayEvent
PayMakeEvent(const PayRecord *record, const PayAttempt *attempt,
			 PayState payment_before, PayState attempt_before,
			 const PayNews *news, PayDecision decision)
{
	PayEvent	event;

	memset(&event, 0, sizeof(event));
	event.pay_no = record->payment.pay_no;
	event.seq = record->payment.last_seq;
	event.recorded_at = GetCurrentTimestamp();
	event.occurred_at = news->occurred_at;
	event.amount = news->amount;
	event.reported = news->reported;
	event.decision = decision;
	event.payment_before = payment_before;
	event.payment_after = record->payment.state;
	if (attempt != NULL)
	{
		event.attempt = attempt->attempt;
		event.attempt_before = attempt_before;
		event.attempt_after = attempt->state;
	}
	event.source = news->source;
	event.message_id = news->message_id;
	event.currency = news->currency;
	event.channel_txn = news->channel_txn;
	event.actor = cstring_to_text(GetUserNameFromId(GetUserId(), false));
	event.session_actor = cstring_to_text(GetUserNameFromId(GetSessionUserId(), false));
	event.reason = news->reason;
	event.payload = news->payload;
	event.refund_no = news->refund_no;
	event.refund_reported = news->refund_reported;
	event.refund_before = news->refund_before;
	event.refund_after = news->refund_after;
	return event;
}

void
PaySaveEvent(PayStore *store, const PayRecord *record, const PayAttempt *attempt,
			 PayState payment_before, PayState attempt_before,
			 const PayNews *news, PayDecision decision)
{
	PayEvent	event = PayMakeEvent(record, attempt, payment_before, attempt_before, news, decision);

	PayInsertEvent(store, &event);
}

void
PayQueueAttempts(PayStore *store, PayRecord *record)
{
	TimestampTz now = GetCurrentTimestamp();
	int			i;

	for (i = 0; i < record->payment.routes.n; i++)
	{
		PayAttempt *attempt = record->attempt[i];
		PayCare		care = PayRecordCare(record, attempt);
		PayChannel	channel;

		if (care > record->queued[i])
		{
			attempt->check_at = now;
			if (care == PAY_WATCH)
			{
				PayChannelOf(store, attempt, &channel);
				attempt->check_at = PayQuestionTime(&channel, 0, now);
			}
			PayQueueAttempt(store, attempt->pay_no, attempt->attempt, attempt->check_at);
			PayUpdateAttempt(store, attempt);
		}
		record->queued[i] = care;
	}
}

void
PaySaveRecord(PayStore *store, PayRecord *record, PayAttempt *attempt,
			  PayState payment_before, PayState attempt_before,
			  const PayNews *news, PayDecision decision)
{
	record->payment.last_seq++;
	PayQueueAttempts(store, record);
	if (attempt != NULL)
		PayUpdateAttempt(store, attempt);
	PayUpdatePayment(store, &record->payment);
	PaySettleHolds(store, &record->payment);
	PaySaveEvent(store, record, attempt, payment_before, attempt_before, news, decision);
}

void
PayStepOpenAttempts(PayStore *store, PayRecord *record, PayState to, const PayNews *news)
{
	TimestampTz now = GetCurrentTimestamp();
	PayNews		event_news = *news;
	int			i;

	event_news.message_id = NULL;
	for (i = 0; i < record->payment.routes.n; i++)
	{
		PayAttempt *attempt = record->attempt[i];
		PayState	payment_before = (PayState) record->payment.state;
		PayState	attempt_before = (PayState) attempt->state;

		if (!PayAttemptIsOpen(attempt_before) || !PayAttemptCan(attempt_before, to))
			continue;
		PayStepAttempt(record, attempt, to, now);
		PaySaveRecord(store, record, attempt, payment_before, attempt_before, &event_news, PAY_APPLIED);
	}
}

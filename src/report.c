/*
 * report.c
 *
 * What a report does to an attempt and its payment, whoever brings it.
 *
 * A message that was handled before is found without a lock and answered from
 * its event.  Anything else locks the payment's row, which covers its attempts,
 * looks for the message once more, decides, and writes the event.  A message
 * counts as handled if and only if its event exists.
 */
#include "report.h"

#include "answer.h"
#include "argument.h"
#include "errors.h"
#include "fmgr.h"
#include "payment.h"
#include "record.h"
#include "refund.h"
#include "review.h"
#include "text.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* Money and its capture are one attempt's; any other step can be the payment's and all its attempts'. */
static bool
IsOfOneAttempt(PayState reported)
{
	return PayIsAboutMoney(reported) || reported == PAY_CAPTURING;
}

/* Is it a step of the payment and all its attempts?  Whatever a channel reports is one attempt's. */
static bool
IsAboutPayment(const PayReport *report)
{
	return report->channel == NULL && PayNumberAttempt(report->number) == 0 &&
		!IsOfOneAttempt(report->news.reported);
}

/* What the channel should collect or authorize, or has collected. */
static int64
ExpectedAmount(const PayAttempt *attempt, PayState reported)
{
	if (reported != PAY_PAID)
		return attempt->amount;
	if (attempt->state == PAY_PAID)
		return attempt->amount_collected;
	return attempt->amount_to_capture > 0 ? attempt->amount_to_capture : attempt->amount;
}

/* A capture is under way, or of unknown outcome: is this one of another amount? */
static bool
CapturesOtherwise(const PayAttempt *attempt, const PayNews *news)
{
	return (attempt->state == PAY_CAPTURING || attempt->state == PAY_UNKNOWN) &&
		attempt->amount_to_capture > 0 && news->amount > 0 && news->amount != attempt->amount_to_capture;
}

/* Is it news of a second transaction for an attempt that is paid? */
static bool
IsPaidAgain(const PayAttempt *attempt, const PayNews *news)
{
	return news->reported == PAY_PAID && attempt->state == PAY_PAID && news->channel_txn != NULL &&
		attempt->channel_txn != NULL && !PayTextsEqual(news->channel_txn, attempt->channel_txn);
}

/* Does something in the report not fit the attempt?  What; NULL if all fits. */
static const char *
FindMismatch(const PayRecord *record, const PayAttempt *attempt, const PayChannel *channel,
			 const text *reporting_channel, const PayNews *news)
{
	if (reporting_channel != NULL && !PayTextsEqual(reporting_channel, channel->channel))
		return psprintf("the attempt went through channel \"%s\", not \"%s\"",
						text_to_cstring(channel->channel), text_to_cstring(reporting_channel));
	if (news->reported == PAY_CAPTURING && news->amount > attempt->amount)
		return psprintf("%lld cannot be captured of %lld",
						(long long) news->amount, (long long) attempt->amount);
	if (news->reported == PAY_CAPTURING && CapturesOtherwise(attempt, news))
		return psprintf("%lld were to be captured, not %lld",
						(long long) attempt->amount_to_capture, (long long) news->amount);
	if (news->reported == PAY_CAPTURING && news->currency != NULL &&
		!PayTextsEqual(news->currency, record->payment.currency))
		return psprintf("the currency is %s, not %s",
						text_to_cstring(record->payment.currency), text_to_cstring(news->currency));
	if (!PayIsAboutMoney(news->reported))
		return NULL;
	if (news->amount != ExpectedAmount(attempt, news->reported))
		return psprintf("the amount is %lld, not %lld",
						(long long) ExpectedAmount(attempt, news->reported), (long long) news->amount);
	if (!PayTextsEqual(news->currency, record->payment.currency))
		return psprintf("the currency is %s, not %s",
						text_to_cstring(record->payment.currency), text_to_cstring(news->currency));
	if (IsPaidAgain(attempt, news))
		return psprintf("the message names transaction \"%s\", we know \"%s\": one payment under two names (accept), or a second one (refund)?",
						text_to_cstring(news->channel_txn), text_to_cstring(attempt->channel_txn));
	return NULL;
}

/* Why the order needs no money, and what becomes of it. */
static const char *
WhyNotNeeded(const PayRecord *record, PayState reported)
{
	const char *follows = reported == PAY_PAID ? "a refund was opened" : "void this authorization: step to closing";

	if (record->payment.winner > 0)
		return psprintf("the order was paid by attempt %d: %s", record->payment.winner, follows);
	if (!PayNumberIsNone(record->payment.replaced_by))
		return psprintf("the order was replaced: %s", follows);
	return psprintf("the order is %s: %s", PayStateLabel((PayState) record->payment.state), follows);
}

/* When the latest capture was asked for; PAY_NO_TIME if nobody knows. */
static TimestampTz
CaptureTime(PayStore *store, const PayAttempt *attempt)
{
	TimestampTz at = PAY_NO_TIME;
	ListCell   *cell;

	foreach(cell, PayListEvents(store, attempt->pay_no))
	{
		const PayEvent *event = lfirst(cell);

		if (event->attempt == attempt->attempt && event->attempt_after == PAY_CAPTURING &&
			event->attempt_before != PAY_CAPTURING)
			at = event->recorded_at;
	}
	return at;
}

/*
 * Is it an authorization that the channel gave before the capture was asked for?
 * A late message of it must not open the way to a second capture: only one that
 * says that it occurred after the capture tells that this one did not come off.
 */
static bool
IsOfBeforeCapture(PayStore *store, const PayAttempt *attempt, const PayNews *news)
{
	return news->reported == PAY_AUTHORIZED && attempt->amount_to_capture > 0 &&
		(attempt->state == PAY_CAPTURING || attempt->state == PAY_UNKNOWN || attempt->state == PAY_CLOSING) &&
		(news->occurred_at == PAY_NO_TIME || news->occurred_at <= CaptureTime(store, attempt));
}

/* The one rule: what does this report do?  reporting_channel is NULL for the caller's own step. */
static PayDecision
DecideReport(PayStore *store, const PayRecord *record, const PayAttempt *attempt,
			 const PayChannel *channel, const text *reporting_channel, const PayNews *news,
			 const char **detail)
{
	PayState	reported = news->reported;
	PayState	state = (PayState) attempt->state;

	*detail = NULL;
	if (IsPaidAgain(attempt, news) && (PayIsCounted(store, record, attempt, news->channel_txn) ||
									   PayIsAlias(store, attempt->pay_no, news->channel_txn)))
		return PAY_UNCHANGED;
	*detail = FindMismatch(record, attempt, channel, reporting_channel, news);
	if (*detail != NULL)
		return PAY_MISMATCH;
	if (state == reported)
		return PAY_UNCHANGED;
	if (reporting_channel != NULL && IsOfBeforeCapture(store, attempt, news))
	{
		*detail = "the authorization is known, and a capture was asked for since";
		return PAY_UNCHANGED;
	}
	if (!PayAttemptCan(state, reported))
	{
		*detail = psprintf("the attempt is %s already", PayStateLabel(state));
		return PAY_STALE;
	}
	/* a direct UPDATE may have made the payment paid before its winner's own news came */
	if (PayIsAboutMoney(reported) && !PayPaymentWaits(&record->payment) &&
		record->payment.winner != attempt->attempt)
	{
		*detail = WhyNotNeeded(record, reported);
		return PAY_SURPLUS;
	}
	return PAY_APPLIED;
}

static void
CheckOwnCapture(const PayRecord *record, const PayAttempt *attempt, const PayNews *news)
{
	const PayAttempt *captured;
	bool		allowed = PayMayCapture(record, &captured);

	if (!allowed && captured == NULL)
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_ALLOWED),
				 errmsg("attempt %d of order \"%s\" must not be captured", attempt->attempt,
						text_to_cstring(record->payment.order_no)),
				 errdetail("The payment is %s%s and needs no more money.",
						   PayNumberIsNone(record->payment.replaced_by) ? "" : "replaced, ",
						   PayStateLabel((PayState) record->payment.state)),
				 errhint("Void the authorization: step to closing.")));
	if (!allowed && captured == attempt)
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_ALLOWED),
				 errmsg("attempt %d of order \"%s\" must not be captured again", attempt->attempt,
						text_to_cstring(record->payment.order_no)),
				 errdetail("%lld %s were to be captured before, and the outcome is not known.",
						   (long long) attempt->amount_to_capture,
						   text_to_cstring(record->payment.currency)),
				 errhint("Query the channel and report what it says: paid, or, if it was not captured, authorized with an occurred_at after the capture.")));
	if (!allowed)
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_ALLOWED),
				 errmsg("attempt %d of order \"%s\" must not be captured now", attempt->attempt,
						text_to_cstring(record->payment.order_no)),
				 errdetail("Attempt %d is %s, after a capture was asked for.", captured->attempt,
						   PayStateLabel((PayState) captured->state)),
				 errhint("Wait for its outcome, or void this authorization: step to closing.")));
	if (news->amount > attempt->amount ||
		(news->currency != NULL && !PayTextsEqual(news->currency, record->payment.currency)))
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_ALLOWED),
				 errmsg("attempt %d of order \"%s\" cannot capture %lld %s", attempt->attempt,
						text_to_cstring(record->payment.order_no), (long long) news->amount,
						text_to_cstring(news->currency ? news->currency : record->payment.currency)),
				 errdetail("%lld %s are authorized.", (long long) attempt->amount,
						   text_to_cstring(record->payment.currency))));
}

/* The caller's own step must be legal; news of money is never refused. */
static void
CheckOwnStep(const PayRecord *record, const PayAttempt *attempt, const PayNews *news)
{
	PayState	state = (PayState) attempt->state;
	PayState	to = news->reported;

	if (PayIsAboutMoney(to))
		return;
	if (to == PAY_CAPTURING && CapturesOtherwise(attempt, news))
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_ALLOWED),
				 errmsg("attempt %d of order \"%s\" cannot capture %lld", attempt->attempt,
						text_to_cstring(record->payment.order_no), (long long) news->amount),
				 errdetail("A capture of %lld was asked for before.", (long long) attempt->amount_to_capture)));
	if (state == to)
		return;
	if (!PayAttemptCan(state, to))
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_ALLOWED),
				 errmsg("attempt %d of order \"%s\" cannot step from %s to %s", attempt->attempt,
						text_to_cstring(record->payment.order_no), PayStateLabel(state), PayStateLabel(to)),
				 errdetail("Legal steps from %s: %s.", PayStateLabel(state), PayAttemptStepsFrom(state)),
				 state != PAY_PAID ? 0 :
				 errhint("What is paid stays paid; its money goes back by pay_refund().")));
	if (to == PAY_CAPTURING)
		CheckOwnCapture(record, attempt, news);
}

/* Change the record as decided. */
static void
ApplyReport(PayRecord *record, PayAttempt *attempt, const PayNews *news, PayDecision decision,
			TimestampTz now)
{
	bool		changes = decision == PAY_APPLIED || decision == PAY_SURPLUS;

	if (news->channel_txn != NULL &&
		(changes || (decision == PAY_UNCHANGED && attempt->channel_txn == NULL)))
		attempt->channel_txn = news->channel_txn;
	if (!changes)
		return;
	if (news->reported == PAY_CAPTURING && news->amount > 0)
		attempt->amount_to_capture = news->amount;
	else if (news->reported == PAY_CAPTURING && attempt->amount_to_capture == 0)
		attempt->amount_to_capture = attempt->amount;
	/* a capture takes seconds: ask about it soon, not when the authorization's next turn is */
	if (news->reported == PAY_CAPTURING)
		record->queued[attempt->attempt - 1] = PAY_NO_CARE;
	if (news->reported == PAY_PAID)
		PayCollect(record, attempt, news->amount, decision == PAY_APPLIED, now);
	else
		PayStepAttempt(record, attempt, news->reported, now);
}

/* ---- messages ---- */

text *
PayCallbackSource(const text *channel)
{
	return cstring_to_text(psprintf("callback:%s", text_to_cstring(channel)));
}

/* Does the channel give all messages about a payment one id? */
static bool
HasIdsPerPayment(PayStore *store, const PayRecord *record, const PayReport *report)
{
	const PayAttempt *attempt = PayMeantAttempt(record, report);
	PayChannel	channel;

	return attempt != NULL && PayFindRoute(store, attempt->route, &channel) &&
		PayTextIs(channel.message_ids, "state");
}

/*
 * A known id with the same content was handled; with other content it is news
 * without an id.  What the caller's own step leaves out (amount, currency,
 * which attempt of the payment) fits anything.
 */
bool
PayFindHandled(PayStore *store, const PayRecord *record, PayReport *report, PayEvent *event)
{
	PayNews    *news = &report->news;
	bool		own = report->channel == NULL;
	int			attempt = PayNumberAttempt(report->number);

	if (news->message_id == NULL ||
		!PayFindMessage(store, record->payment.pay_no, news->source, news->message_id, event))
		return false;
	if (!own && event->reported != (uint8) news->reported && HasIdsPerPayment(store, record, report))
	{
		/* a message is its id and what it says */
		news->message_id = cstring_to_text(psprintf("%s:%s", text_to_cstring(news->message_id),
													PayStateLabel(news->reported)));
		if (!PayFindMessage(store, record->payment.pay_no, news->source, news->message_id, event))
			return false;
	}
	report->conflict = event->reported != (uint8) news->reported ||
		(event->attempt != attempt && (attempt > 0 || IsAboutPayment(report))) ||
		(event->amount != news->amount && !(own && news->amount == 0)) ||
		(!PayTextsEqual(event->currency, news->currency) && !(own && news->currency == NULL));
	return !report->conflict;
}

bool
PayLockUnlessHandled(PayStore *store, PayRecord *record, PayReport *report, PayEvent *event)
{
	int32		seen = record->payment.last_seq;

	if (PayFindHandled(store, record, report, event))
		return false;
	if (!PayLockRecord(store, record))
		PayThrowNotFound(report->trade_no);
	/* where no event came in the meantime, neither did the message */
	return record->payment.last_seq == seen || !PayFindHandled(store, record, report, event);
}

/* The channel of an attempt, for an answer. */
static PayChannel *
ChannelOf(PayStore *store, const PayAttempt *attempt)
{
	PayChannel *channel = palloc(sizeof(PayChannel));

	PayChannelOf(store, attempt, channel);
	return channel;
}

/* The refund that an event's decision opened; NULL if it opened none. */
static const text *
OpenedRefundNo(PayStore *store, const PayRecord *record, const PayAttempt *attempt, const PayEvent *event)
{
	text	   *refund_no = PaySurplusRefundNo(attempt);
	PayRefund	ignored;

	if (event->decision != PAY_SURPLUS || event->reported != PAY_PAID ||
		!PayFindRefund(store, record->payment.merchant, refund_no, &ignored))
		return NULL;
	return refund_no;
}

void
PayAnswerReplayed(PayStore *store, const PayRecord *record, const PayEvent *event, PayAnswer *answer)
{
	memset(answer, 0, sizeof(*answer));
	answer->decision = PAY_REPLAYED;
	answer->record = record;
	answer->payment_state = (PayState) event->payment_after;
	if (event->attempt > 0 && event->attempt <= record->payment.routes.n)
	{
		answer->attempt = record->attempt[event->attempt - 1];
		answer->attempt_state = (PayState) event->attempt_after;
		answer->channel = ChannelOf(store, answer->attempt);
		answer->refund_no = OpenedRefundNo(store, record, answer->attempt, event);
	}
	answer->detail = psprintf("handled before: %s", PayDecisionLabel((PayDecision) event->decision));
}

void
PayAnswerUnmatched(const PayReport *report, PayAnswer *answer)
{
	memset(answer, 0, sizeof(*answer));
	answer->decision = PAY_UNMATCHED;
	answer->trade_no = report->trade_no;
	answer->detail = "no such attempt: answer the channel \"not OK\", so that it sends again";
}

void
PayKeepUnmatched(PayStore *store, const PayReport *report)
{
	PayCheckChannelIsKnown(store, report->channel);
	PayOpenReview(store, PAY_REVIEW_UNMATCHED, NULL, NULL, &report->news, report->trade_no,
				  "there is no such attempt");
}

/* ---- one attempt ---- */

pg_noreturn static void
ThrowIllegalPaymentStep(const PayRecord *record, PayState to)
{
	PayState	state = (PayState) record->payment.state;

	ereport(ERROR,
			(errcode(PAY_ERR_NOT_ALLOWED),
			 errmsg("payment of order \"%s\" cannot step from %s to %s",
					text_to_cstring(record->payment.order_no), PayStateLabel(state), PayStateLabel(to)),
			 errdetail("Legal steps from %s: %s.", PayStateLabel(state), PayPaymentStepsFrom(state))));
}

/* The winner, or the only attempt that is not over, or the only one there is. */
static PayAttempt *
OnlyAttempt(const PayRecord *record)
{
	PayAttempt *only = NULL;
	int			open = 0;
	int			i;

	if (record->payment.winner > 0)
		return record->attempt[record->payment.winner - 1];
	for (i = 0; i < record->payment.routes.n; i++)
		if (PayAttemptIsOpen((PayState) record->attempt[i]->state))
		{
			only = record->attempt[i];
			open++;
		}
	if (open == 1)
		return only;
	return open == 0 && record->payment.routes.n == 1 ? record->attempt[0] : NULL;
}

PayAttempt *
PayMeantAttempt(const PayRecord *record, const PayReport *report)
{
	if (report->news.merchant != NULL && !PayTextsEqual(report->news.merchant, record->payment.merchant))
		return NULL;
	return PayNumberAttempt(report->number) > 0 ?
		PayRecordAttempt(record, report->number) : OnlyAttempt(record);
}

/* The caller's own step must say which attempt it means. */
pg_noreturn static void
ThrowNoAttemptMeant(const PayRecord *record, const PayReport *report)
{
	if (record->payment.routes.n == 0)
		ThrowIllegalPaymentStep(record, report->news.reported);
	ereport(ERROR,
			(errcode(PAY_ERR_NOT_ALLOWED),
			 errmsg("payment of order \"%s\" has several attempts that this could be about",
					text_to_cstring(record->payment.order_no)),
			 errdetail("It has had %d attempts.", record->payment.routes.n),
			 errhint("Name the attempt by its own trade_no.")));
}

/*
 * What is reported; an own step that leaves amount and currency out means the
 * attempt's: for money what is expected, to capture all that is authorized.
 */
static PayNews
MeantNews(const PayRecord *record, const PayAttempt *attempt, const PayReport *report)
{
	PayNews		news = report->news;

	if (report->channel == NULL && PayIsAboutMoney(news.reported))
	{
		if (news.amount == 0)
			news.amount = ExpectedAmount(attempt, news.reported);
		if (news.currency == NULL)
			news.currency = record->payment.currency;
	}
	if (report->channel == NULL && news.reported == PAY_CAPTURING && news.amount == 0 &&
		attempt->state == PAY_AUTHORIZED)
		news.amount = attempt->amount;
	return news;
}

void
PayReportAttempt(PayStore *store, PayRecord *record, const PayReport *report, TimestampTz now,
				 PayAnswer *answer)
{
	PayAttempt *attempt = PayMeantAttempt(record, report);
	PayChannel *channel;
	PayNews		news;
	PayNews		event_news;
	PayDecision decision;
	PayState	payment_before;
	PayState	attempt_before;
	text	   *surplus = NULL;
	bool		given_up;
	const char *detail;

	if (attempt == NULL && report->channel != NULL)
	{
		PayAnswerUnmatched(report, answer);
		return;
	}
	if (attempt == NULL)
		ThrowNoAttemptMeant(record, report);
	news = MeantNews(record, attempt, report);
	channel = ChannelOf(store, attempt);
	if (report->channel != NULL && !PayTextsEqual(report->channel, channel->channel))
		PayCheckChannelIsKnown(store, report->channel);
	if (report->channel == NULL)
		CheckOwnStep(record, attempt, &news);

	payment_before = (PayState) record->payment.state;
	attempt_before = (PayState) attempt->state;
	given_up = attempt->check_at == PAY_NO_TASK;
	decision = DecideReport(store, record, attempt, channel, report->channel, &news, &detail);
	ApplyReport(record, attempt, &news, decision, now);
	if (report->channel != NULL && attempt->state == PAY_PAYING)
		attempt->reported_at = now;
	if (PayAttemptIsOpen(attempt_before) || PayAttemptIsOpen((PayState) attempt->state))
		attempt->reports++;
	event_news = report->conflict ? PayNewsWithoutId(&news) : news;
	PaySaveRecord(store, record, attempt, payment_before, attempt_before, &event_news, decision);

	if (report->conflict)
		PayOpenReview(store, PAY_REVIEW_CONFLICT, record, attempt, &news, report->trade_no,
					  "a known message id came with other content");
	if (decision == PAY_MISMATCH)
		PayOpenReview(store, PAY_REVIEW_MISMATCH, record, attempt, &news, report->trade_no, detail);
	if (report->channel != NULL && decision == PAY_STALE && PayIsBounce((PayState) attempt->state, news.reported) &&
		!PayIsBounceBooked(store, record, attempt))
		PayOpenReview(store, PAY_REVIEW_MISMATCH, record, attempt, &news, report->trade_no,
					  psprintf("the channel says %s of what is paid: accept books a chargeback of all of it",
							   PayStateLabel(news.reported)));
	if (decision == PAY_SURPLUS && news.reported == PAY_PAID)
		surplus = PayOpenSurplus(store, record, attempt, detail);
	if (report->channel != NULL)
		PayCloseUnmatched(store, &news, report->trade_no);
	if (given_up && attempt->state != attempt_before)
		PayCloseExhausted(store, record, attempt, NULL);

	memset(answer, 0, sizeof(*answer));
	answer->decision = decision;
	answer->record = record;
	answer->attempt = attempt;
	answer->channel = channel;
	answer->refund_no = surplus;
	answer->detail = detail;
}

/* Decide on a report about an attempt, and answer it. */
static Datum
ReportAttempt(PayStore *store, PayRecord *record, PayReport *report)
{
	PayEvent	handled;
	PayAnswer	answer;

	if (PayLockUnlessHandled(store, record, report, &handled))
		PayReportAttempt(store, record, report, GetCurrentTimestamp(), &answer);
	else
		PayAnswerReplayed(store, record, &handled, &answer);
	if (answer.decision == PAY_UNMATCHED)
		PayKeepUnmatched(store, report);
	return PayReply(store, &answer);
}

/* ---- a payment as a whole ---- */

/* May the payment and all its open attempts take this step?  Else PY409. */
static void
CheckPaymentStep(const PayRecord *record, const PayNews *news)
{
	int			i;

	if (record->payment.state != news->reported &&
		!PayPaymentCan((PayState) record->payment.state, news->reported))
		ThrowIllegalPaymentStep(record, news->reported);
	for (i = 0; i < record->payment.routes.n; i++)
		if (PayAttemptIsOpen((PayState) record->attempt[i]->state))
			CheckOwnStep(record, record->attempt[i], news);
}

/* Does stepping a payment here ask it to end? */
static bool
EndsPayment(PayState to)
{
	return to == PAY_CLOSING || to == PAY_CLOSED || to == PAY_REVERSED;
}

bool
PayIsThere(const PayRecord *record, PayState to)
{
	bool		any_open = false;
	int			i;

	if (record->payment.state != to || PayPaymentIsFinal(to))
		return record->payment.state == to;
	for (i = 0; i < record->payment.routes.n; i++)
		if (PayAttemptIsOpen((PayState) record->attempt[i]->state))
		{
			if (record->attempt[i]->state != to)
				return false;
			any_open = true;
		}
	/* one that is to end, with nothing open, has still to */
	return !EndsPayment(to) || (record->payment.end_requested && any_open);
}

/* Step a payment and all its open attempts, with an event for each of these; PY409. */
static void
StepPayment(PayStore *store, PayRecord *record, const PayNews *news)
{
	CheckPaymentStep(record, news);
	if (EndsPayment(news->reported))
		record->payment.end_requested = true;
	PayStepOpenAttempts(store, record, news->reported, news);
}

/* The same for a step that is one attempt's: the one that is said to win, or the only one that can be meant. */
static void
StepMeantAttempt(PayStore *store, PayRecord *record, const PayNews *news, int winner, TimestampTz now)
{
	PayAttempt *attempt = winner == 0 ? OnlyAttempt(record) :
		winner <= record->payment.routes.n ? record->attempt[winner - 1] : NULL;
	PayState	payment_before = (PayState) record->payment.state;
	PayState	attempt_before;
	PayReport	report;
	PayDecision decision;
	const PayAttempt *captured;
	const char *detail;

	memset(&report, 0, sizeof(report));
	report.news = *news;
	if (attempt == NULL)
		ThrowNoAttemptMeant(record, &report);
	report.news = MeantNews(record, attempt, &report);
	CheckOwnStep(record, attempt, &report.news);
	decision = DecideReport(store, record, attempt, ChannelOf(store, attempt), NULL, &report.news, &detail);
	captured = news->reported == PAY_PAID ? PayCapturedAttempt(record, attempt) : NULL;
	if (decision == PAY_SURPLUS)
		detail = "the order needs no more money";
	if (decision == PAY_APPLIED && captured != NULL)
		detail = psprintf("attempt %d is %s, after a capture was asked for", captured->attempt,
						  PayStateLabel((PayState) captured->state));
	if (detail != NULL)
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_ALLOWED),
				 errmsg("attempt %d of order \"%s\" cannot become %s with its payment", attempt->attempt,
						text_to_cstring(record->payment.order_no), PayStateLabel(news->reported)),
				 errdetail("It is %s, and %s.", PayStateLabel((PayState) attempt->state), detail),
				 errhint("UPDATE the attempt, or call pay_transition() with its trade_no.")));

	attempt_before = (PayState) attempt->state;
	if (decision == PAY_APPLIED)
		ApplyReport(record, attempt, &report.news, decision, now);
	else if (news->reported == PAY_PAID)
		PayCollect(record, attempt, attempt->amount_collected, true, now);
	if (attempt_before != news->reported)
		PaySaveRecord(store, record, attempt, payment_before, attempt_before, &report.news, decision);
}

void
PayStepByHand(PayStore *store, PayRecord *record, const PayNews *news, int winner, TimestampTz now)
{
	if (IsOfOneAttempt(news->reported))
		StepMeantAttempt(store, record, news, winner, now);
	else
		StepPayment(store, record, news);
}

/*
 * Step a payment and all its open attempts: an event for each attempt that
 * changes, then one for the payment as a whole, which carries the request id.
 */
static Datum
ReportPayment(PayStore *store, PayRecord *record, PayReport *report)
{
	PayState	to = report->news.reported;
	PayDecision decision = PAY_APPLIED;
	PayEvent	handled;
	PayAnswer	replayed;
	PayNews		event_news;
	PayState	before;

	if (!PayLockUnlessHandled(store, record, report, &handled))
	{
		PayAnswerReplayed(store, record, &handled, &replayed);
		return PayReply(store, &replayed);
	}

	event_news = report->conflict ? PayNewsWithoutId(&report->news) : report->news;
	if (PayIsThere(record, to))
		decision = PAY_UNCHANGED;
	else
		StepPayment(store, record, &event_news);
	before = (PayState) record->payment.state;
	if (decision == PAY_APPLIED)
		PayRecordRollUp(record, GetCurrentTimestamp());
	PaySaveRecord(store, record, NULL, before, PAY_NO_STATE, &event_news, decision);
	if (report->conflict)
		PayOpenReview(store, PAY_REVIEW_CONFLICT, record, NULL, &report->news, report->trade_no,
					  "a known request id came with other content");
	return PayReplyAbout(store, record, NULL, NULL, decision, NULL);
}

/* ---- SQL functions ---- */

void
PayCallbackArguments(FunctionCallInfo fcinfo, PayReport *report)
{
	PayNews    *news = &report->news;

	memset(report, 0, sizeof(*report));
	report->channel = PayKeyArgument(fcinfo, 0, "channel", PAY_REQUIRED);
	news->message_id = PayKeyArgument(fcinfo, 1, "callback_id", PAY_OPTIONAL);
	report->trade_no = PayKeyArgument(fcinfo, 2, "trade_no", PAY_REQUIRED);
	news->reported = PayStateArgument(fcinfo, 3, "reported");
	news->amount = PayAmountArgument(fcinfo, 4, "amount",
									 PayIsAboutMoney(news->reported) ? PAY_REQUIRED : PAY_OPTIONAL);
	news->currency = PayCurrencyArgument(fcinfo, 5,
										 PayIsAboutMoney(news->reported) ? PAY_REQUIRED : PAY_OPTIONAL);
	news->channel_txn = PayKeyArgument(fcinfo, 6, "channel_txn", PAY_OPTIONAL);
	news->occurred_at = PG_ARGISNULL(7) ? PAY_NO_TIME : PG_GETARG_TIMESTAMPTZ(7);
	news->payload = PG_ARGISNULL(8) ? NULL : PG_DETOAST_DATUM(PG_GETARG_DATUM(8));
	news->merchant = PG_ARGISNULL(9) ? NULL : PayKeyArgument(fcinfo, 9, "merchant", PAY_MAY_BE_EMPTY);
	news->source = PayCallbackSource(report->channel);
	if (!PayParseNumber(report->trade_no, &report->number))
		memset(&report->number, 0, sizeof(report->number));
}

PG_FUNCTION_INFO_V1(pay_callback);
Datum
pay_callback(PG_FUNCTION_ARGS)
{
	PayReport	report;
	PayStore   *store;
	PayRecord	record;
	PayAnswer	unmatched;

	PayCallbackArguments(fcinfo, &report);
	store = PayStoreOpen(fcinfo, PAY_WRITES, PAY_LOOK_AT_RECORDS | PAY_LOOK_AT(PAY_EVENT_TABLE) |
						 PAY_LOOK_AT(PAY_REVIEW_TABLE));
	if (!PayNumberIsNone(report.number) &&
		PayFindRecord(store, PayPaymentNumber(report.number), &record) &&
		PayMeantAttempt(&record, &report) != NULL)
		return ReportAttempt(store, &record, &report);
	PayAnswerUnmatched(&report, &unmatched);
	PayKeepUnmatched(store, &report);
	return PayReply(store, &unmatched);
}

PG_FUNCTION_INFO_V1(pay_transition);
Datum
pay_transition(PG_FUNCTION_ARGS)
{
	PayReport	report;
	PayNews    *news = &report.news;
	PayStore   *store;
	PayRecord	record;

	memset(&report, 0, sizeof(report));
	report.number = PayNumberArgument(fcinfo, 0, "trade_no");
	report.trade_no = PG_GETARG_TEXT_PP(0);
	news->reported = PayStateArgument(fcinfo, 1, "to_state");
	news->reason = PayTextArgument(fcinfo, 2, "reason", PAY_MAX_REASON_BYTES, PAY_OPTIONAL);
	news->amount = PayAmountArgument(fcinfo, 3, "amount", PAY_OPTIONAL);
	news->currency = PayCurrencyArgument(fcinfo, 4, PAY_OPTIONAL);
	news->channel_txn = PayKeyArgument(fcinfo, 5, "channel_txn", PAY_OPTIONAL);
	news->message_id = PayKeyArgument(fcinfo, 6, "request_id", PAY_OPTIONAL);
	news->occurred_at = PAY_NO_TIME;
	if (news->reported == PAY_PAYING)
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_ALLOWED),
				 errmsg("no step leads to paying"),
				 errdetail("An attempt opens as paying."),
				 errhint("pay_prepay() opens the next attempt.")));

	store = PayStoreOpen(fcinfo, PAY_WRITES, PAY_LOOK_AT_RECORDS | PAY_LOOK_AT(PAY_EVENT_TABLE));
	news->source = cstring_to_text("transition");
	if (!PayFindRecord(store, PayPaymentNumber(report.number), &record) ||
		!PayNumberFits(&record.payment, report.number))
		PayThrowNotFound(report.trade_no);
	if (IsAboutPayment(&report))
		return ReportPayment(store, &record, &report);
	return ReportAttempt(store, &record, &report);
}

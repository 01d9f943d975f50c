/*
 * prepay.c
 *
 * May this order be paid now?
 *
 * A call reads the order without a lock and decides.  Only if the decision
 * needs a write does it lock the payment, read everything again and decide
 * again, on what is locked; so a duplicate costs index lookups and nothing
 * else.  A payment that is not there yet is inserted speculatively; a call that
 * finds it made by another one in the meantime starts over.
 *
 * Locks: existing payments by pay_no, so the order to replace before one that
 * is made.
 */
#include "postgres.h"

#include "answer.h"
#include "argument.h"
#include "deadline.h"
#include "errors.h"
#include "fmgr.h"
#include "hold.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "payment.h"
#include "record.h"
#include "review.h"
#include "settings.h"
#include "task.h"
#include "text.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* What a caller asks for; NULL channel: only asking how it stands (pay_query). */
typedef struct Request
{
	text	   *merchant;
	text	   *order_no;
	int64		amount;
	text	   *currency;
	text	   *request_id;
	text	   *payer;
	bool		has_multi;
	bool		multi;
	TimestampTz valid_until;
	text	   *replaces;		/* order_no, or NULL */
	bool		confirmed;		/* the customer was asked */
	List	   *holds;			/* PayWanted, by name */
	struct varlena *metadata;
	const PayChannel *channel;
} Request;

/* What a decision makes the caller of DecidePrepay() write. */
typedef enum Act
{
	JUST_ANSWER,
	CLOSE_EXPIRED,
	HAND_OUT_AGAIN,
	OPEN_ATTEMPT
} Act;

typedef struct Verdict
{
	Act			act;
	PayDecision decision;
	PayAttempt *attempt;		/* the one that it is about */
	const char *detail;
	const text *other_order_no; /* that the decision names */
} Verdict;

/*
 * The attempt as the call saw it first: none, where it waited for whoever opened
 * it.  One that was handed out since then went to somebody else, and only one
 * caller gets it.
 */
typedef struct Sighting
{
	PayNumber	trade_no;
	TimestampTz handed_out_at;
} Sighting;

/* So many of a payer's latest payments are looked at before a customer is asked. */
#define MAX_LOOKALIKES 100

static const char unknown_outcome[] = "the outcome of this attempt is not known: query or close it first";
static const char payer_became_known[] = "the payer became known";
static const char nothing_to_pay[] = "nothing is to be paid for this order";
static const char past_its_time[] = "the order is past its time: query or close this attempt first";

/* ---- rules ---- */

/* The latest attempt that this request opened. */
static PayAttempt *
OwnAttempt(const PayRecord *record, const Request *request)
{
	int			i;

	for (i = record->payment.routes.n - 1; request->request_id != NULL && i >= 0; i--)
		if (PayTextsEqual(record->attempt[i]->request_id, request->request_id))
			return record->attempt[i];
	return NULL;
}

/* The most open attempt, the later one of equals; NULL if all are over. */
static PayAttempt *
MostOpenAttempt(const PayRecord *record)
{
	PayAttempt *most = NULL;
	int			i;

	for (i = 0; i < record->payment.routes.n; i++)
	{
		PayAttempt *attempt = record->attempt[i];

		if (PayAttemptIsOpen((PayState) attempt->state) &&
			(most == NULL ||
			 PayOpenRank((PayState) attempt->state) >= PayOpenRank((PayState) most->state)))
			most = attempt;
	}
	return most;
}

static bool
HoldsMoney(const PayAttempt *attempt)
{
	return attempt->state == PAY_AUTHORIZED || attempt->state == PAY_CAPTURING;
}

/* An attempt that is being closed; NULL if there is none. */
static PayAttempt *
ClosingAttempt(const PayRecord *record)
{
	int			i;

	for (i = 0; i < record->payment.routes.n; i++)
		if (record->attempt[i]->state == PAY_CLOSING)
			return record->attempt[i];
	return NULL;
}

/* The attempt that an answer about this order is about. */
static PayAttempt *
SubjectAttempt(const PayRecord *record, const Request *request)
{
	PayAttempt *own = OwnAttempt(record, request);
	PayAttempt *open = MostOpenAttempt(record);

	if (record->payment.winner > 0)
		return record->attempt[record->payment.winner - 1];
	/* where money is held, nobody is sent to pay, whoever asks */
	if (open != NULL && HoldsMoney(open))
		return open;
	if (own != NULL && PayAttemptIsOpen((PayState) own->state))
		return own;
	if (open != NULL)
		return open;
	return record->payment.routes.n > 0 ? record->attempt[record->payment.routes.n - 1] : NULL;
}

/* The same key must come with the same content. */
static void
CheckSameContent(const PayPayment *payment, const Request *request)
{
	StringInfoData fields;
	StringInfoData facts;

	initStringInfo(&fields);
	initStringInfo(&facts);
#define DIFFERS(name) \
	appendStringInfo(&fields, "%s%s", fields.len > 0 ? ", " : "", name); \
	appendStringInfoString(&facts, facts.len > 0 ? "; " : "")

	if (payment->amount != request->amount)
	{
		DIFFERS("amount");
		appendStringInfo(&facts, "amount is %lld, not %lld",
						 (long long) payment->amount, (long long) request->amount);
	}
	if (!PayTextsEqual(payment->currency, request->currency))
	{
		DIFFERS("currency");
		appendStringInfo(&facts, "currency is %s, not %s",
						 text_to_cstring(payment->currency), text_to_cstring(request->currency));
	}
	if (request->payer != NULL && payment->payer != NULL && !PayTextsEqual(payment->payer, request->payer))
	{
		DIFFERS("payer");
		appendStringInfo(&facts, "payer is \"%s\", not \"%s\"", text_to_cstring(payment->payer),
						 text_to_cstring(request->payer));
	}
	if (request->has_multi && payment->multi != request->multi)
	{
		DIFFERS("multi");
		appendStringInfo(&facts, "multi is %s, not %s",
						 payment->multi ? "true" : "false", request->multi ? "true" : "false");
	}
#undef DIFFERS
	if (fields.len > 0)
		ereport(ERROR,
				(errcode(PAY_ERR_CONFLICT),
				 errmsg("order \"%s\" has other content: %s",
						text_to_cstring(payment->order_no), fields.data),
				 errdetail("In the payment %s.", facts.data),
				 errhint("A changed order needs an order number of its own.")));
}

/* A request that opened an attempt (own) must ask for the same channel and method again. */
static void
CheckSameRoute(const PayAttempt *own, const Request *request)
{
	if (own != NULL && own->route != request->channel->route)
		ereport(ERROR,
				(errcode(PAY_ERR_CONFLICT),
				 errmsg("request \"%s\" opened an attempt with another channel or method",
						text_to_cstring(request->request_id)),
				 errdetail("It opened attempt %d by route %d; now it asks for %s/%s, route %d.",
						   own->attempt, own->route, text_to_cstring(request->channel->channel),
						   text_to_cstring(request->channel->method), request->channel->route),
				 errhint("A customer's new choice needs a request id of its own.")));
}

static int
AttemptsByRoute(const PayRecord *record, int route)
{
	int			n = 0;
	int			i;

	for (i = 0; i < record->payment.routes.n; i++)
		if (record->payment.routes.route[i] == route)
			n++;
	return n;
}

static bool
HasLiveCredential(const PayAttempt *attempt, TimestampTz now)
{
	return attempt->credential != NULL && attempt->credential_expires_at > now;
}

static bool
IsDueAgain(const PayAttempt *attempt, const PayChannel *channel, TimestampTz now)
{
	return PayAfter(attempt->handed_out_at, &channel->resubmit_after) <= now;
}

/* Did the channel speak of it since somebody was last told to call? */
static bool
HasReachedChannel(const PayAttempt *attempt)
{
	return attempt->reported_at != PAY_NO_TIME && attempt->reported_at >= attempt->handed_out_at;
}

/*
 * Was it handed out since the call began?  An attempt that the call's own request
 * opened meanwhile is what the call waited for and is asked for again: the first
 * who says so gets it.
 */
static bool
WentToSomebodyElse(const PayAttempt *attempt, const Sighting *sighting, bool own)
{
	if (sighting == NULL)
		return false;
	if (own && !PayNumbersEqual(sighting->trade_no, attempt->trade_no))
		return attempt->handed_out_at != attempt->opened_at;
	return !PayNumbersEqual(sighting->trade_no, attempt->trade_no) ||
		sighting->handed_out_at != attempt->handed_out_at;
}

/*
 * Rule 6 for an attempt in paying: show its credential, or hand it out again,
 * because nobody knows whether the first caller reached the channel.
 */
static Verdict
DecidePaying(const Request *request, PayAttempt *attempt, const PayChannel *channel,
			 const Sighting *sighting, bool own, bool ends, TimestampTz now)
{
	bool		same_route = request->channel == NULL || request->channel->route == attempt->route;

	Assert(channel != NULL);
	if (HasLiveCredential(attempt, now))
		return (Verdict) {JUST_ANSWER, PAY_IN_PROGRESS, attempt, "the customer can pay with this credential"};
	if (ends)
		return (Verdict) {JUST_ANSWER, PAY_OUTCOME_UNKNOWN, attempt, past_its_time};
	if (!own && !IsDueAgain(attempt, channel, now))
		return (Verdict) {JUST_ANSWER, PAY_IN_PROGRESS, attempt, "somebody is calling the channel"};
	if (WentToSomebodyElse(attempt, sighting, own))
		return (Verdict) {JUST_ANSWER, PAY_IN_PROGRESS, attempt, "somebody else was just handed this attempt"};
	if (!channel->can_resubmit)
		return (Verdict) {JUST_ANSWER, PAY_OUTCOME_UNKNOWN, attempt,
			"the channel does not take a number twice: query or close this attempt first"};
	if (HasReachedChannel(attempt))
		return (Verdict) {JUST_ANSWER, PAY_OUTCOME_UNKNOWN, attempt,
			"the channel has this attempt: query or close it first"};
	if (PayAfter(attempt->opened_at, &channel->resubmit_within) <= now)
		return (Verdict) {JUST_ANSWER, PAY_OUTCOME_UNKNOWN, attempt,
			"the channel may have forgotten this number and would collect again: query or close this attempt first"};
	/* a caller who asked for another channel would send this number there */
	if (!same_route)
		return (Verdict) {JUST_ANSWER, PAY_OUTCOME_UNKNOWN, attempt,
			"an attempt through another channel has no known outcome: query or close it first"};
	return (Verdict) {HAND_OUT_AGAIN, PAY_PROCEED, attempt,
		"the same attempt again: nobody knows whether the channel was called"};
}

/*
 * The rules of prepay about an order that is not paid, in their order (2 to 7 and 10).
 *
 * channel		of the subject attempt
 * money_review	a review about money of this payment is open
 * sighting		the subject attempt as first seen; NULL: this is the first look
 */
static Verdict
DecidePrepay(const PayRecord *record, const Request *request, PayAttempt *subject,
			 const PayChannel *channel, bool money_review, const Sighting *sighting, TimestampTz now)
{
	PayState	state = (PayState) record->payment.state;
	PayAttempt *own = OwnAttempt(record, request);
	bool		open = subject != NULL && PayAttemptIsOpen((PayState) subject->state);
	bool		ends = PayIsToEnd(&record->payment, now);
	const PayChannel *wanted = request->channel ? request->channel : channel;

	if (!PayPaymentWaits(&record->payment))
		return (Verdict) {JUST_ANSWER, PAY_IS_CLOSED, subject,
			PayPaymentIsFinal(state) ? NULL : "the order was replaced by another"};
	if (!open && ends)
		return (Verdict) {CLOSE_EXPIRED, PAY_IS_CLOSED, subject, "the order is past the time that it was valid for"};
	if (money_review)
		return (Verdict) {JUST_ANSWER, PAY_OUTCOME_UNKNOWN, subject, "a review about money of this payment is open"};

	if (open && HoldsMoney(subject))
		return (Verdict) {JUST_ANSWER, PAY_IN_PROGRESS, subject, "the money is authorized"};
	if (open && record->payment.multi && subject != own)
	{
		/* paying and unknown do not stop a second attempt, all else does */
		if (ClosingAttempt(record) != NULL)
			return (Verdict) {JUST_ANSWER, PAY_OUTCOME_UNKNOWN, ClosingAttempt(record), unknown_outcome};
		if (ends)
			return (Verdict) {JUST_ANSWER, PAY_OUTCOME_UNKNOWN, subject, past_its_time};
	}
	else if (open && subject->state == PAY_PAYING)
		return DecidePaying(request, subject, channel, sighting, subject == own, ends, now);
	else if (open)
		return (Verdict) {JUST_ANSWER, PAY_OUTCOME_UNKNOWN, subject, unknown_outcome};

	if (record->payment.routes.n >= PAY_MAX_ATTEMPTS)
		return (Verdict) {JUST_ANSWER, PAY_THROTTLED, subject, "the payment has had all its attempts"};
	if (wanted != NULL && AttemptsByRoute(record, wanted->route) >= wanted->max_attempts)
		return (Verdict) {JUST_ANSWER, PAY_THROTTLED, subject, "too many attempts through this channel"};
	return (Verdict) {OPEN_ATTEMPT, PAY_PROCEED, subject, NULL};
}

/* Rule 8 for an order that has a payment (record) or not yet (NULL), which is to replace old. */
static Verdict
DecideReplaces(const PayRecord *record, const PayRecord *old, Verdict otherwise)
{
	const PayPayment *given_up = &old->payment;

	if (given_up->state == PAY_PAID)
		return (Verdict) {JUST_ANSWER, PAY_ALREADY_PAID, NULL,
			"the order that this one was to replace is paid", given_up->order_no};
	if (!PayNumberIsNone(given_up->replaced_by))
	{
		if (record != NULL && PayNumbersEqual(given_up->replaced_by, record->payment.pay_no))
			return otherwise;
		/* the answer names the successor */
		return (Verdict) {JUST_ANSWER, PAY_IS_CLOSED, NULL,
			"the order that this one was to replace was replaced by another before"};
	}
	if (record != NULL && record->payment.routes.n > 0)
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_ALLOWED),
				 errmsg("order \"%s\" cannot replace order \"%s\"",
						text_to_cstring(record->payment.order_no), text_to_cstring(given_up->order_no)),
				 errdetail("Attempts to pay it: %d; only an order that nobody tried to pay yet can replace another.",
						   record->payment.routes.n),
				 errhint("Close one of the two, or replace the old one by a new order.")));
	return otherwise;
}

/* May a customer confuse this payment with the one that is asked for? */
static bool
LooksAlike(const PayPayment *payment, const PayRecord *record, const Request *request)
{
	return payment->amount == request->amount && PayTextsEqual(payment->currency, request->currency) &&
		!PayTextsEqual(payment->order_no, request->replaces) &&
		!(record != NULL && PayNumbersEqual(payment->pay_no, record->payment.pay_no));
}

static bool
IsUndecided(const PayPayment *payment)
{
	return PayAttemptIsOpen((PayState) payment->state) && PayNumberIsNone(payment->replaced_by);
}

/* ---- reading what the rules need ---- */

/* When a payment became paid; the beginning of time if its history does not say. */
static TimestampTz
PaidTime(PayStore *store, PayNumber pay_no)
{
	ListCell   *cell;

	foreach(cell, PayListEvents(store, pay_no))
	{
		const PayEvent *event = lfirst(cell);

		if (event->payment_after == PAY_PAID && event->payment_before != PAY_PAID)
			return event->recorded_at;
	}
	return DT_NOBEGIN;
}

static bool
HasOpenMoneyReview(PayStore *store, PayNumber pay_no)
{
	ListCell   *cell;

	foreach(cell, PayListOpenReviews(store, pay_no))
		if (((PayReview *) lfirst(cell))->about_money)
			return true;
	return false;
}

/* The channel of an attempt; the requested one, if it is that, is not read again. */
static const PayChannel *
ChannelOf(PayStore *store, const PayAttempt *attempt, const PayChannel *requested)
{
	PayChannel *channel;

	if (attempt == NULL)
		return NULL;
	if (requested != NULL && requested->route == attempt->route)
		return requested;
	channel = palloc(sizeof(PayChannel));
	PayChannelOf(store, attempt, channel);
	return channel;
}

/* What an open review says of money of a paid order that left again; NULL if none does. */
static const char *
DescribeMoneyLost(PayStore *store, PayNumber pay_no)
{
	ListCell   *cell;

	foreach(cell, PayListOpenReviews(store, pay_no))
	{
		const PayReview *review = lfirst(cell);

		if (PayReviewKindOf(review) == PAY_REVIEW_OVERDRAWN || PayTextIs(review->refund_kind, "chargeback") ||
			(review->refund_no == NULL && PayIsBounce(PAY_PAID, (PayState) review->reported)))
			return psprintf("its money may have left again: see review %lld before goods go out",
							(long long) review->review_id);
	}
	return NULL;
}

/* Apply the rules to a record as it was read. */
static Verdict
Decide(PayStore *store, const PayRecord *record, const Request *request, const Sighting *sighting)
{
	PayAttempt *subject = SubjectAttempt(record, request);
	bool		waits = PayPaymentWaits(&record->payment);

	if (record->payment.state == PAY_PAID)
		return (Verdict) {JUST_ANSWER, PAY_ALREADY_PAID, subject,
			DescribeMoneyLost(store, record->payment.pay_no)};
	return DecidePrepay(record, request, subject,
						waits ? ChannelOf(store, subject, request->channel) : NULL,
						waits && HasOpenMoneyReview(store, record->payment.pay_no),
						sighting, GetCurrentTimestamp());
}

/* Rule 9: is another payment open, or was it just paid, that the customer may mean? */
static Verdict
DecideConfirm(PayStore *store, const PayRecord *record, const Request *request, Verdict otherwise)
{
	TimestampTz since = GetCurrentTimestamp() - pay_lookalike_window_s * USECS_PER_SEC;
	const PayNumber any = {{0}};
	ListCell   *cell;

	if (request->payer == NULL || request->confirmed || pay_lookalike_window_s == 0)
		return otherwise;
	foreach(cell, PayListPaymentsOfPayer(store, request->merchant, request->payer, any, MAX_LOOKALIKES))
	{
		const PayPayment *payment = lfirst(cell);

		if (!LooksAlike(payment, record, request))
			continue;
		if (IsUndecided(payment) && payment->created_at > since)
			return (Verdict) {JUST_ANSWER, PAY_CONFIRM, NULL,
				"another payment of this payer and amount is open: ask the customer, then call with confirm => true",
				payment->order_no};
		if (payment->state == PAY_PAID && PaidTime(store, payment->pay_no) > since)
			return (Verdict) {JUST_ANSWER, PAY_CONFIRM, NULL,
				"another order of this payer and amount was just paid: ask the customer, then call with confirm => true",
				payment->order_no};
	}
	return otherwise;
}

/*
 * Rules 8 and 9, which look at other orders; asked only where the rules before
 * would open an attempt.
 *
 * record	NULL: the order has no payment yet
 * old		the order to replace, NULL if it is not there
 */
static Verdict
DecideBesideOthers(PayStore *store, const PayRecord *record, const PayRecord *old,
				   const Request *request, Verdict verdict)
{
	PayPayment	successor;

	if (verdict.act == OPEN_ATTEMPT && request->replaces != NULL)
	{
		if (old == NULL)
			ereport(ERROR,
					(errcode(PAY_ERR_NOT_FOUND),
					 errmsg("no such order to replace: \"%s\"", text_to_cstring(request->replaces)),
					 errdetail("Merchant \"%s\" has no payment for it.", text_to_cstring(request->merchant))));
		verdict = DecideReplaces(record, old, verdict);
		if (verdict.decision == PAY_IS_CLOSED &&
			PayFindPayment(store, old->payment.replaced_by, &successor))
			verdict.other_order_no = successor.order_no;
	}
	if (verdict.act == OPEN_ATTEMPT)
		verdict = DecideConfirm(store, record, request, verdict);
	return verdict;
}

/* What is not to be had, and how much of it is. */
static const char *
DescribeTaken(const PayWanted *taken)
{
	const PayResource *resource = &taken->resource;

	if (resource->capacity == 1)
		return psprintf("\"%s\" is taken", text_to_cstring(taken->name));
	return psprintf("\"%s\": %lld of %lld are free, %lld were asked for", text_to_cstring(taken->name),
					(long long) (resource->capacity - resource->taken), (long long) resource->capacity,
					(long long) taken->quantity);
}

/* The order that has it, where only one can: perhaps the customer's own. */
static const text *
HolderOf(PayStore *store, const PayWanted *taken)
{
	PayPayment	holder;

	if (taken->resource.capacity != 1 || PayNumberIsNone(taken->resource.taken_by) ||
		!PayFindPayment(store, taken->resource.taken_by, &holder))
		return NULL;
	return holder.order_no;
}

/*
 * Rule 10: lock what is to be held, if an attempt is to be opened or handed out
 * again: who is told to proceed holds what he asked for.
 *
 * record	NULL: the order has no payment yet
 * old		the order to replace, or NULL
 * wanted	what it does not hold yet, and is to be taken
 */
static Verdict
DecideHolds(PayStore *store, const PayRecord *record, const PayRecord *old, const Request *request,
			List **wanted, Verdict verdict)
{
	const PayPayment *payment = record ? &record->payment : NULL;
	const PayWanted *taken;

	*wanted = NIL;
	if (verdict.act != OPEN_ATTEMPT)
		old = NULL;
	if ((verdict.act != OPEN_ATTEMPT && verdict.act != HAND_OUT_AGAIN) ||
		(request->holds == NIL && old == NULL))
		return verdict;
	if (request->holds != NIL && request->amount > 0 &&
		(payment ? payment->valid_until : request->valid_until) == PAY_NO_TIME)
		ereport(ERROR,
				(errcode(PAY_ERR_BAD_ARGUMENT),
				 errmsg("holds need valid_for"),
				 errdetail("What is held by an order that nobody pays or closes must come back some time."),
				 errhint("Say with valid_for, when the order is made, how long it can be paid.")));
	*wanted = PayWantedStill(store, payment, request->holds);
	taken = PayLockWanted(store, request->merchant, *wanted, old ? &old->payment : NULL);
	if (taken == NULL)
		return verdict;
	return (Verdict) {JUST_ANSWER, PAY_UNAVAILABLE, NULL, DescribeTaken(taken), HolderOf(store, taken)};
}

/* ---- writing ---- */

static PayNews
PrepayNews(const char *source, const Request *request, const char *reason)
{
	PayNews		news;

	memset(&news, 0, sizeof(news));
	news.source = cstring_to_text(source);
	news.amount = request->amount;
	news.currency = request->currency;
	news.occurred_at = PAY_NO_TIME;
	news.reason = reason ? cstring_to_text(reason) : NULL;
	return news;
}

/* Append an attempt to the record; the payment's state follows. */
static PayAttempt *
AddAttempt(PayRecord *record, const Request *request, TimestampTz now)
{
	PayAttempt *attempt = palloc0(sizeof(PayAttempt));
	PayRoutes  *routes = &record->payment.routes;

	routes->route[routes->n] = request->channel->route;
	record->attempt[routes->n++] = attempt;
	attempt->trade_no = PayAttemptNumber(record->payment.pay_no, request->channel->route, routes->n);
	attempt->pay_no = record->payment.pay_no;
	attempt->amount = record->payment.amount;
	attempt->opened_at = attempt->handed_out_at = now;
	attempt->reported_at = PAY_NO_TIME;
	attempt->credential_expires_at = PAY_NO_TIME;
	attempt->attempt = routes->n;
	attempt->route = request->channel->route;
	attempt->request_id = request->request_id;
	PayStepAttempt(record, attempt, PAY_PAYING, now);
	record->queued[routes->n - 1] = PAY_WATCH;
	return attempt;
}

/* Write a new attempt and queue the first question about it. */
static void
InsertAttempt(PayStore *store, PayAttempt *attempt, const PayChannel *channel)
{
	attempt->check_at = PayQuestionTime(channel, 0, attempt->opened_at);
	PayInsertAttempt(store, attempt);
	PayQueueAttempt(store, attempt->pay_no, attempt->attempt, attempt->check_at);
}

/*
 * Make the payment of an order, with its first attempt if a channel is asked
 * for.  False, and nothing written, if somebody else made it first or the
 * number is taken: look again.
 */
static bool
MakePayment(PayStore *store, const Request *request, PayRecord *record)
{
	PayPayment *payment = &record->payment;
	TimestampTz now = GetCurrentTimestamp();
	PayAttempt *attempt = NULL;
	PayNews		news;

	memset(payment, 0, sizeof(*payment));
	payment->pay_no = PayNewNumber(PayShard(request->merchant, request->order_no));
	payment->amount = request->amount;
	payment->created_at = now;
	payment->valid_until = request->valid_until;
	payment->last_seq = 1;
	payment->state = PAY_CREATED;
	payment->multi = request->multi;
	payment->currency = request->currency;
	payment->merchant = request->merchant;
	payment->order_no = request->order_no;
	payment->payer = request->payer;
	payment->metadata = request->metadata;
	payment->holds = list_length(request->holds);
	if (request->amount == 0)
		payment->state = PAY_PAID;
	else if (request->channel != NULL)
		attempt = AddAttempt(record, request, now);

	if (!PayInsertPayment(store, payment))
		return false;
	if (attempt != NULL)
	{
		/* the payment may have waited for somebody who made it and rolled back */
		attempt->opened_at = attempt->handed_out_at = GetCurrentTimestamp();
		InsertAttempt(store, attempt, request->channel);
	}
	news = PrepayNews(request->channel ? "prepay" : "create", request,
					  request->amount == 0 ? nothing_to_pay : NULL);
	PaySaveEvent(store, record, attempt, attempt ? PAY_CREATED : PAY_NO_STATE, PAY_NO_STATE,
				 &news, attempt ? PAY_PROCEED : PAY_APPLIED);
	return true;
}

/* The customer gives up this order for another: its attempts are to be closed, its money is surplus. */
static void
Replace(PayStore *store, PayRecord *old, const PayPayment *successor)
{
	PayNews		news;
	PayState	before;

	memset(&news, 0, sizeof(news));
	news.source = cstring_to_text("prepay");
	news.occurred_at = PAY_NO_TIME;
	news.reason = cstring_to_text(psprintf("replaced by order \"%s\"", text_to_cstring(successor->order_no)));
	old->payment.replaced_by = successor->pay_no;
	old->payment.end_requested = true;
	PayStepOpenAttempts(store, old, PAY_CLOSING, &news);
	before = (PayState) old->payment.state;
	PayRecordRollUp(old, GetCurrentTimestamp());
	PaySaveRecord(store, old, NULL, before, PAY_NO_STATE, &news, PAY_APPLIED);
}

/* NULL means not known yet: the first call that brings a payer makes it known, unless it writes nothing. */
static bool
LearnsPayer(const PayPayment *payment, const Request *request, const Verdict *verdict)
{
	return payment->payer == NULL && request->payer != NULL &&
		verdict->decision != PAY_CONFIRM && verdict->decision != PAY_UNAVAILABLE;
}

/*
 * Do what the rules decided on the locked record; the attempt that the answer
 * is about.  old is the order to replace, or NULL; wanted what to hold, locked.
 */
static PayAttempt *
Carry(PayStore *store, PayRecord *record, PayRecord *old, const Request *request, List *wanted,
	  const Verdict *verdict)
{
	TimestampTz now = GetCurrentTimestamp();
	PayState	before = (PayState) record->payment.state;
	PayAttempt *attempt = verdict->attempt;
	PayNews		news = PrepayNews("prepay", request, verdict->detail);
	bool		learns = LearnsPayer(&record->payment, request, verdict);

	record->payment.holds += list_length(wanted);
	if (learns)
		record->payment.payer = request->payer;
	switch (verdict->act)
	{
		case JUST_ANSWER:
			if (!learns)
				break;
			news.reason = cstring_to_text(payer_became_known);
			PaySaveRecord(store, record, NULL, before, PAY_NO_STATE, &news, verdict->decision);
			break;
		case CLOSE_EXPIRED:
			/* whatever its attempts ended as, the payment is closed */
			record->payment.state = PAY_CLOSED;
			PaySaveRecord(store, record, NULL, before, PAY_NO_STATE, &news, verdict->decision);
			break;
		case HAND_OUT_AGAIN:
			PayTakeWanted(store, &record->payment, wanted);
			/* no two hand-outs at one time, whatever the clock does: by it a caller knows its own */
			attempt->handed_out_at = Max(now, attempt->handed_out_at + 1);
			if (!PayTextsEqual(attempt->request_id, request->request_id))
				news.reason = cstring_to_text(psprintf("%s (to request \"%s\")", verdict->detail,
													   text_to_cstring(request->request_id)));
			PaySaveRecord(store, record, attempt, before, (PayState) attempt->state, &news,
						  verdict->decision);
			break;
		case OPEN_ATTEMPT:
			if (old != NULL && PayNumberIsNone(old->payment.replaced_by))
				Replace(store, old, &record->payment);
			PayTakeWanted(store, &record->payment, wanted);
			attempt = AddAttempt(record, request, now);
			InsertAttempt(store, attempt, request->channel);
			PaySaveRecord(store, record, attempt, before, PAY_NO_STATE, &news, verdict->decision);
			break;
	}
	return attempt;
}

static Datum
Reply(PayStore *store, const PayRecord *record, const PayAttempt *attempt, const Request *request,
	  PayDecision decision, const char *detail)
{
	return PayReplyAbout(store, record, attempt, ChannelOf(store, attempt, request->channel),
						 decision, detail);
}

/* The answer of a verdict; record is NULL where there is no payment. */
static Datum
ReplyVerdict(PayStore *store, const PayRecord *record, const Request *request, const Verdict *verdict)
{
	PayAnswer	answer;

	memset(&answer, 0, sizeof(answer));
	answer.decision = verdict->decision;
	answer.record = record;
	answer.attempt = verdict->attempt;
	answer.channel = ChannelOf(store, verdict->attempt, request->channel);
	answer.other_order_no = verdict->other_order_no;
	answer.detail = verdict->detail;
	return PayReply(store, &answer);
}

/* The order to replace, read into old; NULL if none is asked for or there. */
static PayRecord *
FindOld(PayStore *store, const Request *request, PayRecord *old)
{
	if (request->replaces == NULL ||
		!PayFindRecordByOrder(store, request->merchant, request->replaces, old))
		return NULL;
	return old;
}

static Datum
Prepay(PayStore *store, const Request *request)
{
	PayRecord	record;
	PayRecord	old_record;
	Sighting	sighting;
	bool		first = true;
	bool		others_locked = false;

	memset(&sighting, 0, sizeof(sighting));
	for (;;)
	{
		Verdict		verdict = {OPEN_ATTEMPT, PAY_PROCEED};
		PayRecord  *old = NULL;
		List	   *wanted;
		bool		found;

		CHECK_FOR_INTERRUPTS();
		found = PayFindRecordByOrder(store, request->merchant, request->order_no, &record);
		if (found)
		{
			PayForgetWanted(store, request->holds);
			CheckSameContent(&record.payment, request);
			CheckSameRoute(OwnAttempt(&record, request), request);
			verdict = Decide(store, &record, request, first ? NULL : &sighting);
		}
		if (verdict.act != JUST_ANSWER)
		{
			old = FindOld(store, request, &old_record);
			verdict = DecideBesideOthers(store, found ? &record : NULL, old, request, verdict);
		}
		if (verdict.act == JUST_ANSWER && !(found && LearnsPayer(&record.payment, request, &verdict)))
		{
			PayForgetWanted(store, request->holds);
			return ReplyVerdict(store, found ? &record : NULL, request, &verdict);
		}

		if (first && verdict.attempt != NULL)
		{
			sighting.trade_no = verdict.attempt->trade_no;
			sighting.handed_out_at = verdict.attempt->handed_out_at;
		}
		first = false;
		if (!found && !others_locked && (old != NULL || request->holds != NIL))
		{
			/* look again, at what is true while nobody else can change it */
			if (old != NULL && !PayLockRecord(store, old))
				continue;
			DecideHolds(store, NULL, old, request, &wanted, verdict);
			others_locked = true;
			continue;
		}
		if (!found)
		{
			verdict = DecideHolds(store, NULL, old, request, &wanted, verdict);
			if (verdict.act == JUST_ANSWER)
				return ReplyVerdict(store, NULL, request, &verdict);
			if (!MakePayment(store, request, &record))
				continue;
			if (old != NULL)
				Replace(store, old, &record.payment);
			PayTakeWanted(store, &record.payment, wanted);
			if (request->amount > 0)
				return Reply(store, &record, record.attempt[0], request, PAY_PROCEED, NULL);
			PaySettleHolds(store, &record.payment);
			return Reply(store, &record, NULL, request, PAY_ALREADY_PAID, nothing_to_pay);
		}

		if (!(old != NULL ? PayLockRecords(store, &record, old) : PayLockRecord(store, &record)))
			continue;
		CheckSameContent(&record.payment, request);
		CheckSameRoute(OwnAttempt(&record, request), request);
		verdict = DecideBesideOthers(store, &record, old, request,
									 Decide(store, &record, request, &sighting));
		verdict = DecideHolds(store, &record, old, request, &wanted, verdict);
		verdict.attempt = Carry(store, &record, old, request, wanted, &verdict);
		return ReplyVerdict(store, &record, request, &verdict);
	}
}

/* ---- SQL functions ---- */

/* What an order costs: nothing, where a coupon pays for all of it. */
static int64
OrderAmountArgument(FunctionCallInfo fcinfo, int n)
{
	return !PG_ARGISNULL(n) && PG_GETARG_INT64(n) == 0 ? 0 :
		PayAmountArgument(fcinfo, n, "amount", PAY_REQUIRED);
}

PG_FUNCTION_INFO_V1(pay_prepay);
Datum
pay_prepay(PG_FUNCTION_ARGS)
{
	Request		request;
	PayChannel	channel;
	text	   *channel_name;
	text	   *method;
	PayStore   *store;

	memset(&request, 0, sizeof(request));
	request.order_no = PayKeyArgument(fcinfo, 0, "order_no", PAY_REQUIRED);
	request.amount = OrderAmountArgument(fcinfo, 1);
	request.currency = PayCurrencyArgument(fcinfo, 2, PAY_REQUIRED);
	channel_name = PayKeyArgument(fcinfo, 3, "channel", PAY_REQUIRED);
	method = PayKeyArgument(fcinfo, 4, "method", PAY_REQUIRED);
	request.request_id = PayKeyArgument(fcinfo, 5, "request_id", PAY_REQUIRED);
	request.merchant = PayKeyArgument(fcinfo, 6, "merchant", PAY_MAY_BE_EMPTY);
	request.payer = PayKeyArgument(fcinfo, 7, "payer", PAY_OPTIONAL);
	request.has_multi = !PG_ARGISNULL(8);
	request.multi = request.has_multi && PG_GETARG_BOOL(8);
	request.valid_until = PayDeadlineArgument(fcinfo, 9, "valid_for", GetCurrentTimestamp(),
											  PAY_MAX_ORDER_DAYS, PAY_OPTIONAL);
	request.replaces = PayKeyArgument(fcinfo, 10, "replaces", PAY_OPTIONAL);
	request.confirmed = !PG_ARGISNULL(11) && PG_GETARG_BOOL(11);
	request.holds = PayHoldsArgument(fcinfo, 12);
	request.metadata = PG_ARGISNULL(13) ? NULL : PG_DETOAST_DATUM(PG_GETARG_DATUM(13));

	if (PayTextsEqual(request.replaces, request.order_no))
		ereport(ERROR,
				(errcode(PAY_ERR_BAD_ARGUMENT),
				 errmsg("order \"%s\" cannot replace itself", text_to_cstring(request.order_no)),
				 errdetail("replaces names the order that the customer gives up for this one.")));

	store = PayStoreOpen(fcinfo, PAY_WRITES, PAY_LOOK_AT_RECORDS | PAY_LOOK_AT(PAY_REVIEW_TABLE) |
						 (request.holds == NIL ? 0 : PAY_LOOK_AT(PAY_RESOURCE_TABLE) | PAY_LOOK_AT(PAY_HOLD_TABLE)));
	if (!PayFindChannel(store, channel_name, method, &channel))
		ereport(ERROR,
				(errcode(PAY_ERR_BAD_ARGUMENT),
				 errmsg("unknown channel or method: \"%s\", \"%s\"",
						text_to_cstring(channel_name), text_to_cstring(method)),
				 errdetail("There is no such row in pay_channel."),
				 errhint("INSERT INTO pay_channel (channel, method) adds one.")));
	request.channel = &channel;
	return Prepay(store, &request);
}

/* Keep a payer that was not known; false if somebody else was faster, or the payment is gone: look again. */
static bool
LearnPayer(PayStore *store, PayRecord *record, const Request *request)
{
	PayNews		news = PrepayNews("create", request, payer_became_known);

	if (!PayLockRecord(store, record) || record->payment.payer != NULL)
		return false;
	record->payment.payer = request->payer;
	PaySaveRecord(store, record, NULL, (PayState) record->payment.state, PAY_NO_STATE, &news, PAY_UNCHANGED);
	return true;
}

PG_FUNCTION_INFO_V1(pay_create);
Datum
pay_create(PG_FUNCTION_ARGS)
{
	Request		request;
	PayRecord	record;
	PayStore   *store;
	PayDecision decision = PAY_APPLIED;

	memset(&request, 0, sizeof(request));
	request.order_no = PayKeyArgument(fcinfo, 0, "order_no", PAY_REQUIRED);
	request.amount = OrderAmountArgument(fcinfo, 1);
	request.currency = PayCurrencyArgument(fcinfo, 2, PAY_REQUIRED);
	request.merchant = PayKeyArgument(fcinfo, 3, "merchant", PAY_MAY_BE_EMPTY);
	request.payer = PayKeyArgument(fcinfo, 4, "payer", PAY_OPTIONAL);
	request.has_multi = !PG_ARGISNULL(5);
	request.multi = request.has_multi && PG_GETARG_BOOL(5);
	request.valid_until = PayDeadlineArgument(fcinfo, 6, "valid_for", GetCurrentTimestamp(),
											  PAY_MAX_ORDER_DAYS, PAY_OPTIONAL);
	request.metadata = PG_ARGISNULL(7) ? NULL : PG_DETOAST_DATUM(PG_GETARG_DATUM(7));

	store = PayStoreOpen(fcinfo, PAY_WRITES, PAY_LOOK_AT_RECORDS);
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		if (PayFindRecordByOrder(store, request.merchant, request.order_no, &record))
		{
			CheckSameContent(&record.payment, &request);
			if (record.payment.payer == NULL && request.payer != NULL && !LearnPayer(store, &record, &request))
				continue;
			decision = PAY_UNCHANGED;
			break;
		}
		if (MakePayment(store, &request, &record))
			break;
	}
	return Reply(store, &record, SubjectAttempt(&record, &request), &request, decision, NULL);
}

/* What is named beside a number must be of the same payment; the merchant '' alone names none. */
static void
CheckSameOrder(const PayPayment *payment, const text *number, const Request *named)
{
	if (PayTextsEqual(payment->merchant, named->merchant) ?
		named->order_no == NULL || PayTextsEqual(payment->order_no, named->order_no) :
		named->order_no == NULL && PayTextIs(named->merchant, ""))
		return;
	ereport(ERROR,
			(errcode(PAY_ERR_CONFLICT),
			 errmsg("number \"%s\" is of another order", text_to_cstring(number)),
			 errdetail("It is of order \"%s\" of merchant \"%s\".", text_to_cstring(payment->order_no),
					   text_to_cstring(payment->merchant)),
			 errhint("Ask by the order or by the number; either is enough.")));
}

PG_FUNCTION_INFO_V1(pay_query);
Datum
pay_query(PG_FUNCTION_ARGS)
{
	Request		request;
	PayNumber	number = {{0}};
	PayRecord	record;
	PayAnswer	unknown_order;
	PayStore   *store;
	Verdict		verdict;

	memset(&request, 0, sizeof(request));
	request.order_no = PayKeyArgument(fcinfo, 0, "order_no", PAY_OPTIONAL);
	request.merchant = PayKeyArgument(fcinfo, 1, "merchant", PAY_MAY_BE_EMPTY);
	if (!PG_ARGISNULL(2))
		number = PayNumberArgument(fcinfo, 2, "trade_no");
	else if (request.order_no == NULL)
		ereport(ERROR,
				(errcode(PAY_ERR_BAD_ARGUMENT),
				 errmsg("order_no and trade_no must not both be NULL"),
				 errdetail("Nothing was read or written."),
				 errhint("Ask by the order's number, or by that of its payment or an attempt.")));

	store = PayStoreOpen(fcinfo, PAY_READS, PAY_LOOK_AT_RECORDS | PAY_LOOK_AT(PAY_REVIEW_TABLE));
	if (!PayNumberIsNone(number))
	{
		if (!PayFindRecord(store, PayPaymentNumber(number), &record) || !PayNumberFits(&record.payment, number))
			PayThrowNotFound(PG_GETARG_TEXT_PP(2));
		CheckSameOrder(&record.payment, PG_GETARG_TEXT_PP(2), &request);
	}
	else if (!PayFindRecordByOrder(store, request.merchant, request.order_no, &record))
	{
		memset(&unknown_order, 0, sizeof(unknown_order));
		unknown_order.decision = PAY_PROCEED;
		unknown_order.detail = "no payment was made for this order yet";
		return PayReply(store, &unknown_order);
	}
	verdict = Decide(store, &record, &request, NULL);
	return ReplyVerdict(store, &record, &request, &verdict);
}

/* What becomes of a credential; one that died may come again, with a new time to live. */
static PayDecision
DecideCredential(const PayRecord *record, const PayAttempt *attempt, const text *credential,
				 TimestampTz now)
{
	if (attempt->state != PAY_PAYING || !PayPaymentWaits(&record->payment) || PayIsToEnd(&record->payment, now))
		return PAY_STALE;
	if (PayTextsEqual(attempt->credential, credential) && HasLiveCredential(attempt, now))
		return PAY_REPLAYED;
	return PAY_APPLIED;
}

PG_FUNCTION_INFO_V1(pay_credential);
Datum
pay_credential(PG_FUNCTION_ARGS)
{
	TimestampTz now = GetCurrentTimestamp();
	PayNumber	number = PayNumberArgument(fcinfo, 0, "trade_no");
	text	   *credential = PayTextArgument(fcinfo, 1, "credential", PAY_MAX_CREDENTIAL_BYTES, PAY_REQUIRED);
	TimestampTz expires_at = PayDeadlineArgument(fcinfo, 2, "valid_for", now, PAY_MAX_CREDENTIAL_DAYS, PAY_REQUIRED);
	PayStore   *store;
	PayRecord	record;
	PayAttempt *attempt = NULL;
	PayDecision decision;
	Request		none;
	PayNews		news;

	memset(&none, 0, sizeof(none));
	store = PayStoreOpen(fcinfo, PAY_WRITES, PAY_LOOK_AT_RECORDS);
	if (PayFindRecord(store, PayPaymentNumber(number), &record))
		attempt = PayRecordAttempt(&record, number);
	if (attempt == NULL)
		PayThrowNotFound(PG_GETARG_TEXT_PP(0));
	if (DecideCredential(&record, attempt, credential, now) == PAY_REPLAYED)
		return Reply(store, &record, attempt, &none, PAY_REPLAYED, NULL);

	if (!PayLockRecord(store, &record))
		PayThrowNotFound(PG_GETARG_TEXT_PP(0));
	attempt = PayRecordAttempt(&record, number);
	decision = DecideCredential(&record, attempt, credential, GetCurrentTimestamp());
	if (decision == PAY_APPLIED)
	{
		attempt->credential = credential;
		attempt->credential_expires_at = expires_at;
	}
	if (decision != PAY_REPLAYED)
	{
		news = PrepayNews("credential", &none, NULL);
		PaySaveRecord(store, &record, attempt, (PayState) record.payment.state,
					  (PayState) attempt->state, &news, decision);
	}
	return Reply(store, &record, attempt, &none, decision,
				 decision == PAY_STALE ? "do not hand this credential out: the attempt is over" : NULL);
}

/*
 * review.c
 *
 * What a person must look at, and what the person's verdict does.
 *
 * Locks: the payment first, then the review.
 */
#include "review.h"

#include "answer.h"
#include "compat.h"
#include "errors.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

static bool
SameReport(const PayReview *a, const PayReview *b)
{
	return a->attempt == b->attempt && a->reported == b->reported && a->amount == b->amount &&
		PayTextsEqual(a->kind, b->kind) && PayTextsEqual(a->source, b->source) &&
		PayTextsEqual(a->currency, b->currency) && PayTextsEqual(a->channel_txn, b->channel_txn);
}

void
PayOpenReview(PayStore *store, const char *kind, const PayRecord *record, const PayAttempt *attempt,
			  const PayNews *news, text *trade_no, const char *detail)
{
	PayReview	review;
	ListCell   *cell;

	memset(&review, 0, sizeof(review));
	review.opened_at = GetCurrentTimestamp();
	review.occurred_at = news->occurred_at;
	review.resolved_at = PAY_NO_TIME;
	review.amount = news->amount;
	review.about_money = PayIsAboutMoney(news->reported);
	review.reported = news->reported;
	review.kind = cstring_to_text(kind);
	review.source = news->source;
	review.message_id = news->message_id;
	review.trade_no = trade_no;
	review.currency = news->currency;
	review.channel_txn = news->channel_txn;
	review.detail = cstring_to_text(detail);
	review.payload = news->payload;
	if (record != NULL)
	{
		review.pay_no = record->payment.pay_no;
		review.seq = record->payment.last_seq;
		review.attempt = attempt ? attempt->attempt : 0;
		foreach(cell, PayListOpenReviews(store, review.pay_no))
			if (SameReport(lfirst(cell), &review))
				return;
	}
	PayInsertReview(store, &review);
}

/* ---- verdicts ---- */

static void
ThrowCannot(const PayReview *review, const char *verdict, const char *why)
{
	ereport(ERROR,
			(errcode(PAY_ERR_NOT_ALLOWED),
			 errmsg("review %lld cannot be resolved by %s", (long long) review->review_id, verdict),
			 errdetail("It is about a %s: %s.", text_to_cstring(review->kind), why)));
}

static bool
IsText(const text *value, const char *word)
{
	return value != NULL && VARSIZE_ANY_EXHDR(value) == strlen(word) &&
		memcmp(VARDATA_ANY(value), word, strlen(word)) == 0;
}

/* The reported money counts as the attempt's: it wins, or is held, as reported. */
static void
Accept(const PayReview *review, PayRecord *record, PayAttempt *attempt, TimestampTz now)
{
	if (!IsText(review->kind, "mismatch") || !review->about_money)
		ThrowCannot(review, "accept", "there is no money that the order could use");
	if (!PayRecordWaits(record))
		ThrowCannot(review, "accept", "the order needs no more money");
	if (!PayTextsEqual(review->currency, record->payment.currency))
		ThrowCannot(review, "accept", "the money is of another currency");
	if (!PayAttemptCan((PayState) attempt->state, (PayState) review->reported))
		ThrowCannot(review, "accept", psprintf("the attempt is %s", PayStateLabel((PayState) attempt->state)));
	if (review->reported == PAY_PAID)
		PayCollect(record, attempt, review->amount, true, now);
	else
		PayStepAttempt(record, attempt, (PayState) review->reported, now);
	if (review->channel_txn != NULL)
		attempt->channel_txn = review->channel_txn;
}

/* The reported money arrived and goes back: the attempt is paid, the order is not. */
static void
Refund(const PayReview *review, PayRecord *record, PayAttempt *attempt, TimestampTz now)
{
	if (!review->about_money || IsText(review->kind, "unmatched") || IsText(review->kind, "conflict"))
		ThrowCannot(review, "refund", "no money of a known attempt is in question");
	if (review->reported != PAY_PAID || !PayAttemptCan((PayState) attempt->state, PAY_PAID) ||
		!PayTextsEqual(review->currency, record->payment.currency))
		return;
	PayCollect(record, attempt, review->amount, false, now);
	if (review->channel_txn != NULL)
		attempt->channel_txn = review->channel_txn;
}

static void
Resolve(PayReview *review, text *verdict, text *reason)
{
	review->verdict = verdict;
	review->reason = reason;
	review->resolved_at = GetCurrentTimestamp();
	review->resolved_by = cstring_to_text(GetUserNameFromId(GetUserId(), false));
	review->resolved_session = cstring_to_text(GetUserNameFromId(GetSessionUserId(), false));
}

/* Carry out a verdict on a payment's review; the payment is locked. */
static void
ResolveForPayment(PayStore *store, PayReview *review, PayRecord *record, PayAttempt *attempt,
				  text *verdict, text *reason)
{
	TimestampTz now = GetCurrentTimestamp();
	PayState	payment_before = (PayState) record->payment.state;
	PayState	attempt_before = attempt ? (PayState) attempt->state : PAY_NO_STATE;
	PayNews		news;

	if (IsText(verdict, "accept"))
		Accept(review, record, attempt, now);
	else if (IsText(verdict, "refund"))
		Refund(review, record, attempt, now);

	memset(&news, 0, sizeof(news));
	news.source = cstring_to_text("review");
	news.reported = (PayState) review->reported;
	news.amount = review->amount;
	news.currency = review->currency;
	news.channel_txn = review->channel_txn;
	news.occurred_at = PAY_NO_TIME;
	news.reason = cstring_to_text(psprintf("review %lld, %s: %s", (long long) review->review_id,
										   text_to_cstring(verdict), text_to_cstring(reason)));
	PaySaveRecord(store, record, attempt, payment_before, attempt_before, &news, PAY_APPLIED);
}

static void
ThrowNoReview(int64 review_id)
{
	ereport(ERROR,
			(errcode(PAY_ERR_NOT_FOUND),
			 errmsg("no such review: %lld", (long long) review_id),
			 errdetail("There is no row of this review_id in pay_review.")));
}

static int64
ReviewArgument(FunctionCallInfo fcinfo, int n)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(PAY_ERR_BAD_ARGUMENT),
				 errmsg("review_id must not be NULL"),
				 errdetail("Nothing was read or written.")));
	return PG_GETARG_INT64(n);
}

PG_FUNCTION_INFO_V1(pay_review_resolve);
Datum
pay_review_resolve(PG_FUNCTION_ARGS)
{
	int64		review_id = ReviewArgument(fcinfo, 0);
	text	   *verdict = PayKeyArgument(fcinfo, 1, "verdict", PAY_REQUIRED);
	text	   *reason = PayTextArgument(fcinfo, 2, "reason", PAY_MAX_REASON_BYTES, PAY_REQUIRED);
	PayStore   *store;
	PayReview	review;
	PayRecord	record;
	PayAttempt *attempt = NULL;
	PayChannel	channel;
	PayAnswer	answer;
	bool		of_payment;

	if (!IsText(verdict, "accept") && !IsText(verdict, "refund") && !IsText(verdict, "dismiss"))
		ereport(ERROR,
				(errcode(PAY_ERR_BAD_ARGUMENT),
				 errmsg("invalid verdict: \"%s\"", text_to_cstring(verdict)),
				 errdetail("A verdict is accept, refund or dismiss.")));

	store = PayStoreOpen(fcinfo, PAY_WRITES);
	if (!PayFindReview(store, review_id, &review))
		ThrowNoReview(review_id);
	memset(&answer, 0, sizeof(answer));
	answer.decision = PAY_APPLIED;
	answer.trade_no = review.trade_no;
	of_payment = !PayNumberIsNone(review.pay_no);
	if (of_payment)
	{
		if (!PayFindRecord(store, review.pay_no, &record) || !PayLockRecord(store, &record))
			ThrowNoReview(review_id);
		if (review.attempt > 0 && review.attempt <= record.payment.routes.n)
			attempt = record.attempt[review.attempt - 1];
		answer.payment = &record.payment;
		answer.attempt = attempt;
		if (attempt != NULL && PayFindRoute(store, attempt->route, &channel))
			answer.channel = &channel;
	}
	if (!PayLockReview(store, &review))
		ThrowNoReview(review_id);

	if (review.verdict != NULL)
	{
		if (!PayTextsEqual(review.verdict, verdict))
			ThrowCannot(&review, text_to_cstring(verdict),
						psprintf("it was resolved by %s before", text_to_cstring(review.verdict)));
		answer.decision = PAY_UNCHANGED;
		return PayReply(store, &answer);
	}
	if (!IsText(verdict, "dismiss") && attempt == NULL)
		ThrowCannot(&review, text_to_cstring(verdict), "it names no attempt of ours");
	if (of_payment)
		ResolveForPayment(store, &review, &record, attempt, verdict, reason);
	Resolve(&review, verdict, reason);
	PayUpdateReview(store, &review);
	return PayReply(store, &answer);
}

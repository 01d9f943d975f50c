/*
 * verdict.c
 *
 * What a person's verdict on a review does: pay_review_resolve().
 *
 * Locks: the payment first, then the review.
 */
#include "postgres.h"

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

typedef enum Verdict
{
	ACCEPT,
	REFUND,
	DISMISS,
	ALIAS,
	SAME,
	VERDICTS
} Verdict;

static const char *const verdict_label[VERDICTS] = {
	[ACCEPT] = "accept",
	[REFUND] = "refund",
	[DISMISS] = "dismiss",
	[ALIAS] = "alias",
	[SAME] = "same"
};

pg_noreturn static void
ThrowCannot(const PayReview *review, Verdict verdict, const char *why)
{
	ereport(ERROR,
			(errcode(PAY_ERR_NOT_ALLOWED),
			 errmsg("review %lld cannot be resolved by %s", (long long) review->review_id, verdict_label[verdict]),
			 errdetail("It is of kind %s: %s.", text_to_cstring(review->kind), why)));
}

static const char settle_refund[] = "settle the refund with pay_refund_transition(), then dismiss";

/* Does it say of a paid attempt that it was paid, just so, by a transaction that is not known? */
static bool
IsOtherName(PayStore *store, const PayReview *review, const PayRecord *record, const PayAttempt *attempt)
{
	return PayReviewKindOf(review) == PAY_REVIEW_MISMATCH &&
		review->refund_no == NULL && review->reported == PAY_PAID &&
		attempt->state == PAY_PAID && review->amount == attempt->amount_collected &&
		PayTextsEqual(review->currency, record->payment.currency) &&
		review->channel_txn != NULL && attempt->channel_txn != NULL &&
		!PayIsCounted(store, record, attempt, review->channel_txn);
}

/*
 * The reported money counts as the attempt's: it wins, or is held, or went
 * back, as reported.  Where it came before by another transaction, the report's
 * is another name of that.
 */
static void
Accept(PayStore *store, const PayReview *review, PayRecord *record, PayAttempt *attempt, text *reason,
	   TimestampTz now)
{
	PayReviewKind kind = PayReviewKindOf(review);
	const char *cannot;

	if (kind == PAY_REVIEW_ADOPTED || kind == PAY_REVIEW_RETURNED || kind == PAY_REVIEW_OVERDRAWN)
		return;					/* it counts already */
	if (review->refund_no != NULL && kind != PAY_REVIEW_MISMATCH && kind != PAY_REVIEW_TWIN)
		ThrowCannot(review, ACCEPT, settle_refund);
	if (review->refund_no != NULL)
	{
		cannot = PayAcceptRefund(store, record, review, reason);
		if (cannot != NULL)
			ThrowCannot(review, ACCEPT, cannot);
		return;
	}
	if (kind == PAY_REVIEW_MISMATCH && PayIsBounce((PayState) attempt->state, (PayState) review->reported))
	{
		PayBookBounce(store, record, attempt, reason);
		return;
	}
	if (IsOtherName(store, review, record, attempt))
		return;
	if (kind != PAY_REVIEW_MISMATCH || !review->about_money)
		ThrowCannot(review, ACCEPT, "there is no money that the order could use");
	if (!PayPaymentWaits(&record->payment) && record->payment.winner != attempt->attempt)
		ThrowCannot(review, ACCEPT, "the order needs no more money");
	if (!PayTextsEqual(review->currency, record->payment.currency))
		ThrowCannot(review, ACCEPT, "the money is of another currency");
	if (!PayAttemptCan((PayState) attempt->state, (PayState) review->reported))
		ThrowCannot(review, ACCEPT, psprintf("the attempt is %s", PayStateLabel((PayState) attempt->state)));
	if (review->reported == PAY_PAID)
		PayCollect(record, attempt, review->amount, true, now);
	else
		PayStepAttempt(record, attempt, (PayState) review->reported, now);
	if (review->channel_txn != NULL)
		attempt->channel_txn = review->channel_txn;
}

/* What makes the verdict refund impossible for money that was reported as paid; NULL if nothing. */
static const char *
CannotGoBack(PayStore *store, const PayReview *review, const PayRecord *record, const PayAttempt *attempt)
{
	if (!PayTextsEqual(review->currency, record->payment.currency))
		return "the money is of another currency than the payment: give it back at the channel by hand, then dismiss and say how";
	if (attempt->state != PAY_PAID)
		return record->payment.winner == attempt->attempt ? "it is the order's own money: accept" : NULL;
	if (review->channel_txn == NULL || attempt->channel_txn == NULL)
		return "the attempt is paid, and nothing says that this was another transaction";
	if (PayIsCounted(store, record, attempt, review->channel_txn))
		return "this transaction is counted already: dismiss";
	return NULL;
}

/*
 * The reported money arrived and goes back.  What an attempt collected first
 * makes it paid, but not the order; what it collected again is extra; what is
 * only authorized is to be voided.
 */
static void
Refund(PayStore *store, const PayReview *review, PayRecord *record, PayAttempt *attempt, TimestampTz now)
{
	const char *cannot;

	if (review->refund_no != NULL)
		ThrowCannot(review, REFUND, PayReviewKindOf(review) == PAY_REVIEW_ADOPTED ?
					"the money goes back by the channel's own doing already" : settle_refund);
	if (!review->about_money || PayReviewKindOf(review) != PAY_REVIEW_MISMATCH)
		ThrowCannot(review, REFUND, "no money of a known attempt is in question");
	if (review->reported == PAY_PAID)
	{
		cannot = CannotGoBack(store, review, record, attempt);
		if (cannot != NULL)
			ThrowCannot(review, REFUND, cannot);
		if (attempt->state == PAY_PAID)
			return;
		PayCollect(record, attempt, review->amount, false, now);
		if (review->channel_txn != NULL)
			attempt->channel_txn = review->channel_txn;
	}
	else if (PayAttemptCan((PayState) attempt->state, PAY_CLOSING))
		PayStepAttempt(record, attempt, PAY_CLOSING, now);
	else if (attempt->state != PAY_CLOSING)
		ThrowCannot(review, REFUND,
					psprintf("the attempt is %s: void the authorization at the channel by hand, then dismiss",
							 PayStateLabel((PayState) attempt->state)));
}

/* One transaction under two names: the reported one is another name of what is counted. */
static void
CheckAlias(const PayReview *review, const PayAttempt *attempt)
{
	bool		paid = review->refund_no == NULL && review->reported == PAY_PAID && attempt->state == PAY_PAID;
	bool		refunded = review->refund_no != NULL && review->refund_reported == PAY_REFUND_SUCCEEDED;

	if (PayReviewKindOf(review) != PAY_REVIEW_MISMATCH || review->channel_txn == NULL || !(paid || refunded))
		ThrowCannot(review, ALIAS, "it does not say that money moved by another transaction");
}

/* The report is about a refund of ours that the channel names otherwise. */
static void
Join(PayStore *store, const PayReview *review, PayRecord *record, text *reason)
{
	const char *cannot;

	if (PayReviewKindOf(review) != PAY_REVIEW_TWIN)
		ThrowCannot(review, SAME, "it names no refund of ours that could be the same");
	cannot = PayJoinRefund(store, record, review, reason);
	if (cannot != NULL)
		ThrowCannot(review, SAME, cannot);
}

/* Carry out a verdict on a payment's review, which is locked; the refund that it opened, or NULL. */
static text *
ResolveForPayment(PayStore *store, PayReview *review, PayRecord *record, PayAttempt *attempt,
				  Verdict verdict, text *reason)
{
	TimestampTz now = GetCurrentTimestamp();
	PayState	payment_before = (PayState) record->payment.state;
	PayState	attempt_before = attempt ? (PayState) attempt->state : PAY_NO_STATE;
	bool		collects = verdict == REFUND && review->reported == PAY_PAID;
	bool		names = verdict == ALIAS || (verdict == ACCEPT && IsOtherName(store, review, record, attempt));
	PayRefund	refund;
	PayNews		news;

	Assert(verdict < VERDICTS);
	switch (verdict)
	{
		case ACCEPT:
			Accept(store, review, record, attempt, reason, now);
			break;
		case REFUND:
			Refund(store, review, record, attempt, now);
			break;
		case ALIAS:
			CheckAlias(review, attempt);
			break;
		case SAME:
			Join(store, review, record, reason);
			break;
		case DISMISS:
		case VERDICTS:
			break;
	}

	memset(&news, 0, sizeof(news));
	news.source = cstring_to_text("review");
	if (names && !PayIsAlias(store, review->pay_no, review->channel_txn))
		news.message_id = PayAliasId(review->channel_txn);
	news.reported = (PayState) review->reported;
	news.amount = review->amount;
	news.currency = review->currency;
	news.channel_txn = review->channel_txn;
	news.occurred_at = PAY_NO_TIME;
	news.reason = cstring_to_text(psprintf("review %lld, %s: %s", (long long) review->review_id,
										   verdict_label[verdict], text_to_cstring(reason)));
	news.refund_no = review->refund_no;
	news.refund_reported = (PayRefundState) review->refund_reported;
	/* the number may be, or have become, that of another attempt's refund */
	if (review->refund_no != NULL &&
		PayFindRefund(store, record->payment.merchant, review->refund_no, &refund) &&
		PayNumbersEqual(refund.pay_no, review->pay_no) && refund.attempt == review->attempt)
		news.refund_before = news.refund_after = (PayRefundState) refund.state;
	PaySaveRecord(store, record, attempt, payment_before, attempt_before, &news, PAY_APPLIED);
	if (!collects)
		return verdict == ACCEPT ? review->refund_no : NULL;
	if (attempt_before == PAY_PAID)
		return PayOpenExtra(store, record, attempt, review->amount, review->channel_txn, news.reason);
	return PayOpenSurplus(store, record, attempt, text_to_cstring(news.reason));
}

pg_noreturn static void
ThrowNoReview(int64 review_id)
{
	ereport(ERROR,
			(errcode(PAY_ERR_NOT_FOUND),
			 errmsg("no such review: %lld", (long long) review_id),
			 errdetail("There is no row of this review_id in pay_review.")));
}

PG_FUNCTION_INFO_V1(pay_review_resolve);
Datum
pay_review_resolve(PG_FUNCTION_ARGS)
{
	int64		review_id = PayIdArgument(fcinfo, 0, "review_id");
	text	   *word = PayKeyArgument(fcinfo, 1, "verdict", PAY_REQUIRED);
	text	   *reason = PayTextArgument(fcinfo, 2, "reason", PAY_MAX_REASON_BYTES, PAY_REQUIRED);
	Verdict		verdict;
	PayStore   *store;
	PayReview	review;
	PayRecord	record;
	PayAttempt *attempt = NULL;
	PayChannel	channel;
	PayAnswer	answer;
	bool		of_payment;

	verdict = PayWordArgument(word, "verdict", verdict_label, VERDICTS,
							  "A verdict is accept, refund, dismiss, alias or same.");
	store = PayStoreOpen(fcinfo, PAY_WRITES, PAY_LOOK_AT_RECORDS | PAY_LOOK_AT(PAY_REVIEW_TABLE));
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
		answer.record = &record;
		answer.attempt = attempt;
		if (attempt != NULL && PayFindRoute(store, attempt->route, &channel))
			answer.channel = &channel;
	}
	if (!PayLockReview(store, &review))
		ThrowNoReview(review_id);

	if (review.verdict != NULL)
	{
		if (!PayTextsEqual(review.verdict, word))
			ThrowCannot(&review, verdict,
						psprintf("it was resolved by %s before", text_to_cstring(review.verdict)));
		answer.decision = PAY_UNCHANGED;
		return PayReply(store, &answer);
	}
	if (verdict != DISMISS && attempt == NULL)
		ThrowCannot(&review, verdict, "it names no attempt of ours");
	/* closed first: what the verdict books closes the reviews that wait for it, and this may be one */
	PayResolveReview(store, &review, word, reason);
	if (of_payment)
		answer.refund_no = ResolveForPayment(store, &review, &record, attempt, verdict, reason);
	return PayReply(store, &answer);
}

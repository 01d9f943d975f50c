/*
 * review.c
 *
 * What a person must look at.
 */
#include "review.h"

#include "miscadmin.h"
#include "text.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

static const char *const kind_label[PAY_REVIEW_KINDS] = {
	[PAY_REVIEW_MISMATCH] = "mismatch",
	[PAY_REVIEW_UNMATCHED] = "unmatched",
	[PAY_REVIEW_CONFLICT] = "conflict",
	[PAY_REVIEW_ADOPTED] = "adopted",
	[PAY_REVIEW_TWIN] = "twin",
	[PAY_REVIEW_ABNORMAL] = "abnormal",
	[PAY_REVIEW_RETURNED] = "returned",
	[PAY_REVIEW_OVERDRAWN] = "overdrawn",
	[PAY_REVIEW_EXHAUSTED] = "exhausted",
	[PAY_REVIEW_DAMAGED] = "damaged"
};

PayReviewKind
PayReviewKindOf(const PayReview *review)
{
	int			kind = 0;

	while (kind < PAY_REVIEW_KINDS && !PayTextIs(review->kind, kind_label[kind]))
		kind++;
	return (PayReviewKind) kind;
}

void
PayResolveReview(PayStore *store, PayReview *review, text *verdict, text *reason)
{
	review->verdict = verdict;
	review->reason = reason;
	review->resolved_at = GetCurrentTimestamp();
	review->resolved_by = cstring_to_text(GetUserNameFromId(GetUserId(), false));
	review->resolved_session = cstring_to_text(GetUserNameFromId(GetSessionUserId(), false));
	PayUpdateReview(store, review);
}

bool
PayIsBounce(PayState attempt, PayState reported)
{
	return attempt == PAY_PAID && (reported == PAY_FAILED || reported == PAY_REVERSED);
}

text *
PayAliasId(const text *channel_txn)
{
	return cstring_to_text(psprintf("alias:%s", text_to_cstring(channel_txn)));
}

bool
PayIsAlias(PayStore *store, PayNumber pay_no, const text *channel_txn)
{
	PayEvent	ignored;

	return PayFindMessage(store, pay_no, cstring_to_text("review"), PayAliasId(channel_txn), &ignored);
}

static bool
SameReport(const PayReview *a, const PayReview *b)
{
	return a->attempt == b->attempt && a->reported == b->reported && a->amount == b->amount &&
		a->refund_reported == b->refund_reported && PayTextsEqual(a->refund_no, b->refund_no) &&
		PayTextsEqual(a->kind, b->kind) && PayTextsEqual(a->source, b->source) &&
		PayTextsEqual(a->currency, b->currency) && PayTextsEqual(a->channel_txn, b->channel_txn);
}

/* The attempt, or else what was reported, as pay_attempt has a number. */
static PayNumber
AttemptNo(const PayAttempt *attempt, const text *reported)
{
	const PayNumber none = {{0}};
	PayNumber	number;

	if (attempt != NULL)
		return attempt->trade_no;
	return PayParseNumber(reported, &number) ? number : none;
}

void
PayOpenReview(PayStore *store, PayReviewKind kind, const PayRecord *record, const PayAttempt *attempt,
			  const PayNews *news, text *trade_no, const char *detail)
{
	PayReview	review;
	PayReview	known;
	ListCell   *cell;

	memset(&review, 0, sizeof(review));
	review.opened_at = GetCurrentTimestamp();
	review.occurred_at = news->occurred_at;
	review.resolved_at = PAY_NO_TIME;
	review.amount = news->amount;
	review.about_money = PayIsAboutMoney(news->reported);
	review.reported = news->reported;
	review.refund_reported = news->refund_reported;
	review.refund_no = news->refund_no;
	review.refund_kind = news->refund_kind;
	review.merchant = record == NULL ? news->merchant : NULL;
	review.kind = cstring_to_text(kind_label[kind]);
	review.source = news->source;
	review.message_id = news->message_id;
	review.trade_no = trade_no;
	review.attempt_no = AttemptNo(attempt, trade_no);
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
	else if (PayFindUnmatched(store, review.source, review.trade_no, review.message_id, review.merchant, &known))
		return;
	PayInsertReview(store, &review);
}

/* ---- reviews that close themselves ---- */

/* What it waited for has come. */
static void
Settle(PayStore *store, PayReview *review, const char *verdict, const char *reason)
{
	if (!PayLockReview(store, review) || review->verdict != NULL)
		return;
	PayResolveReview(store, review, cstring_to_text(verdict), cstring_to_text(reason));
}

void
PayCloseUnmatched(PayStore *store, const PayNews *news, text *reported_no)
{
	PayReview	review;

	if (PayFindUnmatched(store, news->source, reported_no, news->message_id, news->merchant, &review))
		Settle(store, &review, "accept", "the message came again and was taken in");
}

void
PayCloseExhausted(PayStore *store, const PayRecord *record, const PayAttempt *attempt, const text *refund_no)
{
	ListCell   *cell;

	foreach(cell, PayListOpenReviews(store, record->payment.pay_no))
	{
		PayReview  *review = lfirst(cell);

		if (PayReviewKindOf(review) == PAY_REVIEW_EXHAUSTED && review->attempt == attempt->attempt &&
			PayTextsEqual(review->refund_no, refund_no))
			Settle(store, review, "dismiss", "news came after all");
	}
}

void
PayCloseReviewsOfTwin(PayStore *store, const PayRecord *record, const PayRefund *refund)
{
	ListCell   *cell;

	if (refund->channel_txn == NULL && !refund->adopted)
		return;
	foreach(cell, PayListOpenReviews(store, record->payment.pay_no))
	{
		PayReview  *review = lfirst(cell);

		if (PayReviewKindOf(review) != PAY_REVIEW_TWIN)
			continue;
		if (refund->channel_txn != NULL && (PayTextsEqual(review->channel_txn, refund->channel_txn) ||
											PayTextsEqual(review->refund_no, refund->channel_txn)))
			Settle(store, review, refund->adopted ? "accept" : "same", "a refund has this transaction now");
		else if (refund->adopted && PayTextsEqual(review->refund_no, refund->refund_no))
			Settle(store, review, "accept", "the channel's refund of this number was taken in");
	}
}

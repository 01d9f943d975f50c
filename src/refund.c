/*
 * refund.c
 *
 * Money that goes back.
 *
 * As with reports: what was handled before is found without a lock and
 * answered.  Anything else locks the payment's row, which covers its attempts,
 * then the refund, looks once more, decides, and writes the event.
 *
 * Refunds of kind extra give back what pay_attempt.amount_extra says, one to
 * one; they take no part in the attempt's sums.
 */
#include "refund.h"

#include "answer.h"
#include "argument.h"
#include "compat.h"
#include "errors.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "payment.h"
#include "review.h"
#include "settings.h"
#include "task.h"
#include "text.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* ---- the sums ---- */

static bool
IsExtra(const PayRefund *refund)
{
	return PayTextIs(refund->kind, "extra");
}

static bool
IsOfSurplus(const PayRefund *refund)
{
	return PayTextIs(refund->kind, "surplus") || IsExtra(refund);
}

/* Surplus is given back, never kept: its refund ends by success alone. */
static bool
KeepsSurplus(const PayRefund *refund, PayRefundState to)
{
	return to == PAY_REFUND_CANCELLED && IsOfSurplus(refund);
}

static void
RefuseToKeepSurplus(const PayRefund *refund, PayRefundState to)
{
	if (KeepsSurplus(refund, to))
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_ALLOWED),
				 errmsg("refund \"%s\" cannot be cancelled", text_to_cstring(refund->refund_no)),
				 errdetail("It gives back money that the order does not need; that is never kept."),
				 errhint("If the money went back in another way, step it to succeeded and say how.")));
}

/* What somebody was told to send may be at the channel already, whatever he says. */
static void
RefuseToCallBack(const PayRefund *refund, PayRefundState from, PayRefundState to)
{
	if (from == PAY_REFUND_REQUESTED && to == PAY_REFUND_CANCELLED && refund->handed_out_at != PAY_NO_TIME)
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_ALLOWED),
				 errmsg("refund \"%s\" cannot be cancelled: it is on its way", text_to_cstring(refund->refund_no)),
				 errdetail("It was handed out at %s, to be sent to the channel.",
						   timestamptz_to_str(refund->handed_out_at)),
				 errhint("If the channel does not have it and never will, step it to failed first.")));
}

/* What the channel started is never ours to send. */
static void
RefuseToSend(const PayRefund *refund, PayRefundState from, PayRefundState to)
{
	if (from != to && to == PAY_REFUND_REQUESTED && refund->adopted)
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_ALLOWED),
				 errmsg("refund \"%s\" cannot be requested: the channel started it", text_to_cstring(refund->refund_no)),
				 errdetail("It is a %s of %lld and %s; a worker would be told to send it.",
						   text_to_cstring(refund->kind), (long long) refund->amount, PayRefundStateLabel(from)),
				 errhint("Ask for a refund of your own with pay_refund().")));
}

/*
 * Is there money for what is to be sent again?  What the channel says has gone is
 * never refused; what we ask it to send is.
 */
static bool
FitsStep(const PayAttempt *attempt, const PayRefund *refund, PayRefundState from, PayRefundState to)
{
	return to != PAY_REFUND_REQUESTED || PayRefundTakes(from) || IsExtra(refund) ||
		refund->amount <= PayRefundable(attempt);
}

void
PayMoveSums(PayRecord *record, PayAttempt *attempt, const PayRefund *refund,
			PayRefundState from, PayRefundState to)
{
	int			reserved = PayRefundReserves(to) - PayRefundReserves(from);
	int			refunded = (to == PAY_REFUND_SUCCEEDED) - (from == PAY_REFUND_SUCCEEDED);

	if (!IsExtra(refund))
		PayTakeBack(record, attempt, reserved * refund->amount, refunded * refund->amount);
}

/* What left beyond what was collected; NULL if nothing did. */
static const char *
DescribeOverdrawn(const PayAttempt *attempt)
{
	return attempt->amount_overdrawn == 0 ? NULL :
		psprintf("%lld more left than attempt %d collected", (long long) attempt->amount_overdrawn, attempt->attempt);
}

/* Put what is overdrawn up for review, unless an open review says just that. */
static void
ReviewOverdrawn(PayStore *store, const PayRecord *record, const PayAttempt *attempt, const PayNews *news)
{
	const char *detail = DescribeOverdrawn(attempt);
	ListCell   *cell;

	if (detail == NULL)
		return;
	foreach(cell, PayListOpenReviews(store, attempt->pay_no))
	{
		const PayReview *review = lfirst(cell);

		if (PayReviewKindOf(review) == PAY_REVIEW_OVERDRAWN && PayTextIs(review->detail, detail))
			return;
	}
	PayOpenReview(store, PAY_REVIEW_OVERDRAWN, record, attempt, news, PayNumberText(attempt->trade_no), detail);
}

PayNews
PayRefundNews(const char *source, const PayRecord *record, const PayRefund *refund,
			  PayRefundState before, text *reason)
{
	PayNews		news;

	memset(&news, 0, sizeof(news));
	news.source = cstring_to_text(source);
	news.amount = refund->amount;
	news.currency = record->payment.currency;
	news.occurred_at = PAY_NO_TIME;
	news.reason = reason;
	news.refund_no = refund->refund_no;
	news.refund_before = before;
	news.refund_after = (PayRefundState) refund->state;
	return news;
}

/* Write the event of a refund, and the sums that changed with it. */
static void
SaveRefund(PayStore *store, PayRecord *record, PayAttempt *attempt, const PayNews *news,
		   PayDecision decision)
{
	PaySaveRecord(store, record, attempt, (PayState) record->payment.state,
				  attempt != NULL ? (PayState) attempt->state : PAY_NO_STATE, news, decision);
}

/* The attempt of a refund that is there. */
static PayAttempt *
AttemptOf(PayStore *store, const PayRecord *record, const PayRefund *refund)
{
	if (refund->attempt < 1 || refund->attempt > record->payment.routes.n)
		PayDamaged(store, PAY_REFUND_TABLE, refund,
				   psprintf("it is of attempt %d; the payment has had %d", refund->attempt,
							record->payment.routes.n));
	return record->attempt[refund->attempt - 1];
}

static void
FindRecordOf(PayStore *store, const PayRefund *refund, PayRecord *record, bool lock)
{
	if (!PayFindRecord(store, refund->pay_no, record) || (lock && !PayLockRecord(store, record)))
		PayDamaged(store, PAY_REFUND_TABLE, refund, "its payment is missing");
}

/* Is the worker to do something about a refund in this state? */
static bool
NeedsWorker(PayRefundState state)
{
	return PayRefundReserves(state) && state != PAY_REFUND_ABNORMAL;
}

/* When to look at a refund that the queue does not know of: at once where it is to be submitted. */
static TimestampTz
FirstLook(PayStore *store, const PayAttempt *attempt, const PayRefund *refund)
{
	PayChannel	channel;

	if (refund->state == PAY_REFUND_REQUESTED)
		return GetCurrentTimestamp();
	PayChannelOf(store, attempt, &channel);
	return PayQuestionTime(&channel, 0, GetCurrentTimestamp());
}

/* ---- refunds that we open ---- */

PayRefund
PayNewRefund(const PayRecord *record, const PayAttempt *attempt, const char *kind, text *refund_no,
			 int64 amount, text *reason)
{
	PayRefund	refund;

	memset(&refund, 0, sizeof(refund));
	refund.pay_no = record->payment.pay_no;
	refund.amount = amount;
	refund.requested_at = GetCurrentTimestamp();
	refund.attempt = attempt->attempt;
	refund.state = PAY_REFUND_REQUESTED;
	refund.check_at = PAY_NO_TIME;
	refund.handed_out_at = PAY_NO_TIME;
	refund.of_txn = attempt->channel_txn;
	refund.kind = cstring_to_text(kind);
	refund.merchant = record->payment.merchant;
	refund.refund_no = refund_no;
	refund.reason = reason;
	return refund;
}

bool
PayAddRefund(PayStore *store, const PayAttempt *attempt, PayRefund *refund)
{
	bool		is_queued = NeedsWorker((PayRefundState) refund->state);

	if (is_queued)
		refund->check_at = FirstLook(store, attempt, refund);
	if (!PayInsertRefund(store, refund))
		return false;
	if (is_queued)
		PayQueueRefund(store, refund, refund->check_at);
	return true;
}

/* Insert a refund that fits, with its event; false, and nothing written, if its number is taken. */
static bool
OpenRefund(PayStore *store, PayRecord *record, PayAttempt *attempt, PayRefund *refund)
{
	PayNews		news;

	if (!PayAddRefund(store, attempt, refund))
		return false;
	PayMoveSums(record, attempt, refund, PAY_NO_REFUND_STATE, (PayRefundState) refund->state);
	news = PayRefundNews("refund", record, refund, PAY_NO_REFUND_STATE, refund->reason);
	SaveRefund(store, record, attempt, &news, PAY_PROCEED);
	return true;
}

/*
 * Numbers of the refunds that we open ourselves: one of our numbers, a letter,
 * and what tells them apart.  Nobody else may give such a number, so they are
 * always free.
 */
#define SURPLUS_LETTER	's'
#define EXTRA_LETTER	'x'
#define DISPUTE_LETTER	'd'
#define BOUNCE_LETTER	'b'

static const char own_letters[] = {SURPLUS_LETTER, EXTRA_LETTER, DISPUTE_LETTER, BOUNCE_LETTER};

static text *
OwnRefundNo(PayNumber number, char letter, const char *tail)
{
	return cstring_to_text(psprintf("%s%c%s", text_to_cstring(PayNumberText(number)), letter, tail));
}

bool
PayIsOwnRefundNo(const text *refund_no)
{
	const char *data = VARDATA_ANY(refund_no);
	int			length = VARSIZE_ANY_EXHDR(refund_no);
	int			digits = length > 8 && data[8] == '-' ? 36 : 32;	/* with or without dashes */
	PayNumber	ignored;

	return length > digits && memchr(own_letters, data[digits], sizeof(own_letters)) != NULL &&
		PayParseNumber(cstring_to_text_with_len(data, digits), &ignored);
}

/* Only rows that were written by hand can have taken a number of ours. */
pg_noreturn static void
ThrowNumberTaken(const text *refund_no)
{
	ereport(ERROR,
			(errcode(PAY_ERR_CONFLICT),
			 errmsg("refund \"%s\" is there already", text_to_cstring(refund_no)),
			 errdetail("Numbers of this form are for refunds that pay_idem opens itself.")));
}

text *
PaySurplusRefundNo(const PayAttempt *attempt)
{
	return OwnRefundNo(attempt->trade_no, SURPLUS_LETTER, "");
}

text *
PayOpenSurplus(PayStore *store, PayRecord *record, PayAttempt *attempt, const char *reason)
{
	PayRefund	refund = PayNewRefund(record, attempt, "surplus", PaySurplusRefundNo(attempt),
								   PayRefundable(attempt), cstring_to_text(reason));

	/* the channel may have taken it back before it said that it had come */
	if (refund.amount == 0)
		return NULL;
	if (!OpenRefund(store, record, attempt, &refund))
		ThrowNumberTaken(refund.refund_no);
	return refund.refund_no;
}

/* One per transaction, which may be long or have letters that no channel takes: so by its digest. */
static text *
ExtraRefundNo(const PayAttempt *attempt, const text *channel_txn)
{
	uint64		digest = PayDigest(PayNumberText(attempt->trade_no), channel_txn);

	return OwnRefundNo(attempt->trade_no, EXTRA_LETTER,
					   psprintf("%08x%08x", (uint32) (digest >> 32), (uint32) digest));
}

text *
PayOpenExtra(PayStore *store, PayRecord *record, PayAttempt *attempt, int64 amount,
			 const text *channel_txn, text *reason)
{
	PayRefund	refund = PayNewRefund(record, attempt, "extra", ExtraRefundNo(attempt, channel_txn),
								   amount, reason);

	refund.of_txn = cstring_to_text(text_to_cstring(channel_txn));
	attempt->amount_extra += amount;
	return OpenRefund(store, record, attempt, &refund) ? refund.refund_no : NULL;
}

bool
PayIsCounted(PayStore *store, const PayRecord *record, const PayAttempt *attempt, const text *channel_txn)
{
	PayRefund	ignored;

	return PayTextsEqual(attempt->channel_txn, channel_txn) ||
		PayFindRefund(store, record->payment.merchant, ExtraRefundNo(attempt, channel_txn), &ignored);
}

text *
PayOpenDisputed(PayStore *store, PayRecord *record, PayAttempt *attempt, int64 dispute_id, text *reason)
{
	text	   *refund_no = OwnRefundNo(record->payment.pay_no, DISPUTE_LETTER,
										psprintf("%lld", (long long) dispute_id));
	PayRefund	refund = PayNewRefund(record, attempt, "refund", refund_no, PayRefundable(attempt), reason);

	if (!OpenRefund(store, record, attempt, &refund))
		ThrowNumberTaken(refund_no);
	return refund_no;
}

/* ---- the caller's own ---- */

static void
Answer(const PayRecord *record, const PayAttempt *attempt, const PayRefund *refund, PayDecision decision,
	   const char *detail, PayRefundAnswer *answer)
{
	memset(answer, 0, sizeof(*answer));
	answer->decision = decision;
	answer->record = record;
	answer->attempt = attempt;
	answer->refund = refund;
	answer->detail = detail;
}

static Datum
Reply(PayStore *store, const PayRecord *record, const PayAttempt *attempt, const PayRefund *refund,
	  PayDecision decision, const char *detail)
{
	PayRefundAnswer answer;

	Answer(record, attempt, refund, decision, detail, &answer);
	return PayReplyRefund(store, &answer);
}

/* The attempt that a refund request means, the payment's number meaning the winner. */
static PayAttempt *
MeantAttempt(const PayRecord *record, PayNumber number)
{
	return PayNumberAttempt(number) > 0 ? PayRecordAttempt(record, number) : PayRecordWinner(record);
}

/* The same refund_no must come with the same content. */
static void
CheckSameContent(const PayRecord *record, PayNumber number, const PayRefund *refund, int64 amount)
{
	const PayAttempt *meant = MeantAttempt(record, number);

	if (PayNumbersEqual(refund->pay_no, record->payment.pay_no) && !refund->adopted &&
		meant != NULL && meant->attempt == refund->attempt && refund->amount == amount)
		return;
	if (refund->adopted)
		ereport(ERROR,
				(errcode(PAY_ERR_CONFLICT),
				 errmsg("refund \"%s\" was not asked for here", text_to_cstring(refund->refund_no)),
				 errdetail("The channel started it, a %s of %lld.", text_to_cstring(refund->kind),
						   (long long) refund->amount),
				 errhint("Another refund needs a refund_no of its own.")));
	ereport(ERROR,
			(errcode(PAY_ERR_CONFLICT),
			 errmsg("refund \"%s\" has other content", text_to_cstring(refund->refund_no)),
			 !PayNumbersEqual(refund->pay_no, record->payment.pay_no) ?
			 errdetail("It belongs to another payment of this merchant.") :
			 meant == NULL ?
			 errdetail("It is of attempt %d, and no attempt has won the payment.", refund->attempt) :
			 errdetail("It gives back %lld of attempt %d, not %lld of attempt %d.",
					   (long long) refund->amount, refund->attempt, (long long) amount, meant->attempt),
			 errhint("Another refund needs a refund_no of its own.")));
}

pg_noreturn static void
ThrowNothingLeft(const PayAttempt *attempt, const text *refund_no, int64 amount, const text *currency)
{
	ereport(ERROR,
			(errcode(PAY_ERR_NOT_ALLOWED),
			 errmsg("refund \"%s\" of %lld %s is more than is refundable: %lld",
					text_to_cstring(refund_no), (long long) amount, text_to_cstring(currency),
					(long long) PayRefundable(attempt)),
			 errdetail("Attempt %d collected %lld; %lld are reserved by refunds under way, %lld went back.",
					   attempt->attempt, (long long) attempt->amount_collected,
					   (long long) attempt->amount_reserved, (long long) attempt->amount_refunded)));
}

/* The attempt must have collected something. */
static PayAttempt *
PaidAttempt(const PayRecord *record, PayNumber number)
{
	PayAttempt *attempt = MeantAttempt(record, number);

	if (attempt == NULL)
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_ALLOWED),
				 errmsg("order \"%s\" has nothing to refund", text_to_cstring(record->payment.order_no)),
				 errdetail("The payment is %s, no attempt has won it.",
						   PayStateLabel((PayState) record->payment.state)),
				 errhint("Money of an attempt that did not win is refunded by that attempt's trade_no.")));
	if (attempt->state != PAY_PAID)
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_ALLOWED),
				 errmsg("attempt %d of order \"%s\" has nothing to refund", attempt->attempt,
						text_to_cstring(record->payment.order_no)),
				 errdetail("It is %s; only a paid attempt has collected money.",
						   PayStateLabel((PayState) attempt->state)),
				 attempt->state == PAY_AUTHORIZED ?
				 errhint("Void the authorization: step to closing.") : 0));
	return attempt;
}

void
PayReviewAbnormal(PayStore *store, const PayRecord *record, const PayAttempt *attempt,
				  const PayRefund *refund, const PayNews *news)
{
	if (refund->state == PAY_REFUND_ABNORMAL)
		PayOpenReview(store, PAY_REVIEW_ABNORMAL, record, attempt, news, PayNumberText(attempt->trade_no),
					  "the channel cannot carry out this refund by itself: settle it, then step it on");
}

/* What a person must know of a refund's step: it cannot go on, it came back, it overdraws. */
static void
ReviewStep(PayStore *store, const PayRecord *record, const PayAttempt *attempt,
		   const PayRefund *refund, const PayNews *news)
{
	PayReviewAbnormal(store, record, attempt, refund, news);
	/* a chargeback that was won is good news, but not of money that the order does not need */
	if (refund->state == PAY_REFUND_RETURNED &&
		(!PayTextIs(refund->kind, "chargeback") ||
		 (attempt->state == PAY_PAID && attempt != PayRecordWinner(record))))
		PayOpenReview(store, PAY_REVIEW_RETURNED, record, attempt, news, PayNumberText(attempt->trade_no),
					  IsExtra(refund) ?
					  "the money of this refund came back: give it back in another way, then step it to succeeded" :
					  "the money of this refund came back: refund it again by another refund_no, or say why it stays");
	if (PayRefundTakes((PayRefundState) refund->state))
		ReviewOverdrawn(store, record, attempt, news);
}

/* Step a locked refund, with its sums and its event; what does not fit was refused before. */
static void
StepRefund(PayStore *store, PayRecord *record, PayAttempt *attempt, PayRefund *refund,
		   PayRefundState to, PayNews *news, PayDecision decision)
{
	PayRefundState from = (PayRefundState) refund->state;

	news->refund_before = from;
	news->refund_after = to;
	if (news->channel_txn != NULL && (from != to || refund->channel_txn == NULL))
		refund->channel_txn = news->channel_txn;
	if (from != to)
	{
		PayMoveSums(record, attempt, refund, from, to);
		refund->state = to;
		PayCloseExhausted(store, record, attempt, refund->refund_no);
	}
	if (NeedsWorker(to) && (!NeedsWorker(from) || refund->check_at == PAY_NO_TASK))
	{
		refund->check_at = FirstLook(store, attempt, refund);
		PayQueueRefund(store, refund, refund->check_at);
	}
	refund->reports++;
	PayUpdateRefund(store, refund);
	SaveRefund(store, record, attempt, news, decision);
	if (from != to)
		ReviewStep(store, record, attempt, refund, news);
	PayCloseReviewsOfTwin(store, record, refund);
}

/* Does this report say that money which went has not gone? */
static bool
ContradictsEnd(PayRefundState state, PayRefundState reported)
{
	return state == PAY_REFUND_SUCCEEDED &&
		(reported == PAY_REFUND_FAILED || reported == PAY_REFUND_CANCELLED || reported == PAY_REFUND_ABNORMAL);
}

/* What does a report do to a refund that we know? */
static PayDecision
DecideKnown(PayStore *store, const PayRefund *refund, const PayNews *news, const char **detail)
{
	PayRefundState state = (PayRefundState) refund->state;
	PayRefundState reported = news->refund_reported;

	if (state == reported && state == PAY_REFUND_SUCCEEDED && news->channel_txn != NULL &&
		refund->channel_txn != NULL && !PayTextsEqual(news->channel_txn, refund->channel_txn) &&
		!PayIsAlias(store, refund->pay_no, news->channel_txn))
	{
		*detail = psprintf("the message names transaction \"%s\", we know \"%s\": one refund under two names (alias), or a second one (accept)?",
						   text_to_cstring(news->channel_txn), text_to_cstring(refund->channel_txn));
		return PAY_MISMATCH;
	}
	if (state == reported)
		return PAY_UNCHANGED;
	*detail = psprintf("the refund is in state %s already", PayRefundStateLabel(state));
	if (ContradictsEnd(state, reported))
		return PAY_MISMATCH;
	/* what is only asked for is our own step, whoever repeats it */
	if (reported == PAY_REFUND_REQUESTED || !PayRefundCan(state, reported))
		return PAY_STALE;
	*detail = "it gives back money that the order does not need; that is never kept";
	if (KeepsSurplus(refund, reported))
		return PAY_MISMATCH;
	*detail = NULL;
	return PAY_APPLIED;
}

/*
 * ... and the amount, of what the channel started?  That more is taken in the same
 * state is news; that less is may be a late message, and frees money.
 */
static PayDecision
DecideAmount(const PayRefund *refund, const PayNews *news, PayDecision decision, const char **detail)
{
	if (decision != PAY_UNCHANGED || news->amount == 0 || news->amount == refund->amount)
		return decision;
	if (news->amount > refund->amount)
		return PAY_APPLIED;
	*detail = psprintf("the amount is %lld, not %lld", (long long) refund->amount, (long long) news->amount);
	return PAY_MISMATCH;
}

/* Write what was decided about a refund that we know, with its event. */
static void
SaveDecided(PayStore *store, PayRecord *record, PayAttempt *attempt, PayRefund *refund,
			PayNews *news, PayDecision decision)
{
	if (decision == PAY_APPLIED || decision == PAY_UNCHANGED)
	{
		StepRefund(store, record, attempt, refund, news->refund_reported, news, decision);
		return;
	}
	news->refund_before = news->refund_after = (PayRefundState) refund->state;
	refund->reports++;
	PayUpdateRefund(store, refund);
	SaveRefund(store, record, attempt, news, decision);
}

/* Was this refund asked for before?  With other content that is PY422. */
static bool
FindAsked(PayStore *store, const PayRecord *record, PayNumber number, text *refund_no, int64 amount,
		  PayRefund *refund)
{
	if (!PayFindRefund(store, record->payment.merchant, refund_no, refund))
		return false;
	CheckSameContent(record, number, refund, amount);
	return true;
}

static Datum
ReplyReplayed(PayStore *store, const PayRecord *record, const PayRefund *refund)
{
	return Reply(store, record, AttemptOf(store, record, refund), refund, PAY_REPLAYED,
				 "asked for before: do not ask the channel again");
}

/* A refund that failed is asked for again: it takes its money again. */
static Datum
TryAgain(PayStore *store, PayRecord *record, PayRefund *refund, text *reason)
{
	PayAttempt *attempt = AttemptOf(store, record, refund);
	PayNews		news = PayRefundNews("refund", record, refund, PAY_REFUND_FAILED, reason);

	if (!FitsStep(attempt, refund, PAY_REFUND_FAILED, PAY_REFUND_REQUESTED))
		ThrowNothingLeft(attempt, refund->refund_no, refund->amount, record->payment.currency);
	refund->handed_out_at = GetCurrentTimestamp();
	StepRefund(store, record, attempt, refund, PAY_REFUND_REQUESTED, &news, PAY_PROCEED);
	return Reply(store, record, attempt, refund, PAY_PROCEED, "it failed before: ask the channel again");
}

static void
CheckCurrency(const PayPayment *payment, const text *refund_no, const text *currency)
{
	if (currency != NULL && !PayTextsEqual(currency, payment->currency))
		ereport(ERROR,
				(errcode(PAY_ERR_CONFLICT),
				 errmsg("refund \"%s\" is of another currency than its payment: %s", text_to_cstring(refund_no),
						text_to_cstring(currency)),
				 errdetail("Order \"%s\" was paid in %s.", text_to_cstring(payment->order_no),
						   text_to_cstring(payment->currency)),
				 errhint("Amounts are in minor units of the payment's currency.")));
}

/* A refund asked for a moment ago that this one may repeat under another number (one click, two numbers). */
static const PayRefund *
FindLookAlike(PayStore *store, const PayAttempt *attempt, int64 amount, const text *reason)
{
	TimestampTz since = GetCurrentTimestamp() - pay_lookalike_window_s * USECS_PER_SEC;
	ListCell   *cell;

	if (pay_lookalike_window_s == 0)
		return NULL;
	foreach(cell, PayListRefunds(store, attempt->pay_no))
	{
		const PayRefund *refund = lfirst(cell);

		if (refund->attempt == attempt->attempt && refund->amount == amount && !refund->adopted &&
			refund->requested_at > since && PayRefundTakes((PayRefundState) refund->state) &&
			PayTextsEqual(refund->reason, reason))
			return refund;
	}
	return NULL;
}

/* The refund that the caller may mean, if there is money for another one like it; NULL: there is no question. */
static const PayRefund *
FindMeant(PayStore *store, const PayRecord *record, PayNumber number, int64 amount, const text *reason)
{
	const PayAttempt *attempt = MeantAttempt(record, number);

	return attempt != NULL && amount <= PayRefundable(attempt) ?
		FindLookAlike(store, attempt, amount, reason) : NULL;
}

static Datum
ReplyConfirm(PayStore *store, const PayRecord *record, const PayRefund *alike)
{
	return Reply(store, record, record->attempt[alike->attempt - 1], NULL, PAY_CONFIRM,
				 psprintf("refund \"%s\" gives back the same for the same reason: if this is another one, call with confirm => true",
						  text_to_cstring(alike->refund_no)));
}

PG_FUNCTION_INFO_V1(pay_refund);
Datum
pay_refund(PG_FUNCTION_ARGS)
{
	PayNumber	number = PayNumberArgument(fcinfo, 0, "trade_no");
	text	   *refund_no = PayKeyArgument(fcinfo, 1, "refund_no", PAY_REQUIRED);
	int64		amount = PayAmountArgument(fcinfo, 2, "amount", PAY_REQUIRED);
	text	   *reason = PayTextArgument(fcinfo, 3, "reason", PAY_MAX_REASON_BYTES, PAY_REQUIRED);
	text	   *currency = PayCurrencyArgument(fcinfo, 4, PAY_OPTIONAL);
	bool		confirmed = !PG_ARGISNULL(5) && PG_GETARG_BOOL(5);
	PayStore   *store = PayStoreOpen(fcinfo, PAY_WRITES, PAY_LOOK_AT_RECORDS | PAY_LOOK_AT(PAY_REFUND_TABLE));
	PayRecord	record;
	PayRefund	refund;
	PayAttempt *attempt;
	const PayRefund *alike;
	bool		known;

	if (!PayFindRecord(store, PayPaymentNumber(number), &record) ||
		!PayNumberFits(&record.payment, number))
		PayThrowNotFound(PG_GETARG_TEXT_PP(0));
	CheckCurrency(&record.payment, refund_no, currency);
	known = FindAsked(store, &record, number, refund_no, amount, &refund);
	if (known && refund.state != PAY_REFUND_FAILED)
		return ReplyReplayed(store, &record, &refund);
	/* one click more, which has nothing to write, takes no lock */
	alike = confirmed || known ? NULL : FindMeant(store, &record, number, amount, reason);
	if (alike != NULL)
		return ReplyConfirm(store, &record, alike);

	if (!PayLockRecord(store, &record))
		PayThrowNotFound(PG_GETARG_TEXT_PP(0));
	if (FindAsked(store, &record, number, refund_no, amount, &refund) && PayLockRefund(store, &refund))
		return refund.state == PAY_REFUND_FAILED ?
			TryAgain(store, &record, &refund, reason) : ReplyReplayed(store, &record, &refund);

	if (PayIsOwnRefundNo(refund_no))
		ereport(ERROR,
				(errcode(PAY_ERR_BAD_ARGUMENT),
				 errmsg("reserved refund_no: \"%s\"", text_to_cstring(refund_no)),
				 errdetail("A number of ours followed by s, x, d or b is for refunds that pay_idem opens itself."),
				 errhint("Choose another refund_no.")));
	attempt = PaidAttempt(&record, number);
	if (amount > PayRefundable(attempt))
		ThrowNothingLeft(attempt, refund_no, amount, record.payment.currency);
	alike = confirmed ? NULL : FindMeant(store, &record, number, amount, reason);
	if (alike != NULL)
		return ReplyConfirm(store, &record, alike);
	refund = PayNewRefund(&record, attempt, "refund", refund_no, amount, reason);
	refund.handed_out_at = GetCurrentTimestamp();
	if (!OpenRefund(store, &record, attempt, &refund))
	{
		/* another payment of this merchant took the number at the same time */
		FindAsked(store, &record, number, refund_no, amount, &refund);
		ThrowNumberTaken(refund_no);
	}
	return Reply(store, &record, attempt, &refund, PAY_PROCEED, NULL);
}

/*
 * A channel's transaction is one refund, whatever number a report gives it.  What the
 * channel started goes by the channel's own number, too.
 */
static bool
FindByTransaction(PayStore *store, PayNumber pay_no, const PayNews *news, PayRefund *refund)
{
	ListCell   *cell;

	foreach(cell, PayListRefunds(store, pay_no))
	{
		const PayRefund *known = lfirst(cell);

		if (!(known->channel_txn != NULL && (PayTextsEqual(known->channel_txn, news->channel_txn) ||
											 PayTextsEqual(known->channel_txn, news->refund_no))) &&
			!(known->adopted && news->channel_txn != NULL && PayTextsEqual(known->refund_no, news->channel_txn)))
			continue;
		*refund = *known;
		return true;
	}
	return false;
}

pg_noreturn static void
ThrowNoRefund(const text *merchant, const text *refund_no)
{
	ereport(ERROR,
			(errcode(PAY_ERR_NOT_FOUND),
			 errmsg("no such refund: \"%s\"", text_to_cstring(refund_no)),
			 errdetail("Merchant \"%s\" has no refund of this number.", text_to_cstring(merchant))));
}

PG_FUNCTION_INFO_V1(pay_refund_transition);
Datum
pay_refund_transition(PG_FUNCTION_ARGS)
{
	text	   *refund_no = PayKeyArgument(fcinfo, 0, "refund_no", PAY_REQUIRED);
	PayRefundState to = PayRefundStateArgument(fcinfo, 1, "to_state");
	text	   *reason = PayTextArgument(fcinfo, 2, "reason", PAY_MAX_REASON_BYTES, PAY_OPTIONAL);
	text	   *channel_txn = PayKeyArgument(fcinfo, 3, "channel_txn", PAY_OPTIONAL);
	text	   *merchant = PayKeyArgument(fcinfo, 4, "merchant", PAY_MAY_BE_EMPTY);
	PayStore   *store = PayStoreOpen(fcinfo, PAY_WRITES, PAY_LOOK_AT_RECORDS | PAY_LOOK_AT(PAY_REFUND_TABLE) |
									 PAY_LOOK_AT(PAY_REVIEW_TABLE));
	PayRecord	record;
	PayRefund	refund;
	PayRefund	named;
	PayAttempt *attempt;
	PayRefundState from;
	PayNews		news;
	PayDecision decision;
	const char *detail = NULL;

	if (!PayFindRefund(store, merchant, refund_no, &refund))
		ThrowNoRefund(merchant, refund_no);
	FindRecordOf(store, &refund, &record, true);
	if (!PayLockRefund(store, &refund))
		ThrowNoRefund(merchant, refund_no);
	attempt = AttemptOf(store, &record, &refund);
	from = (PayRefundState) refund.state;
	if (from != to && !PayRefundCan(from, to))
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_ALLOWED),
				 errmsg("refund \"%s\" cannot step from %s to %s", text_to_cstring(refund_no),
						PayRefundStateLabel(from), PayRefundStateLabel(to)),
				 errdetail("Legal steps from %s: %s.", PayRefundStateLabel(from),
						   PayRefundStepsFrom(from))));
	RefuseToKeepSurplus(&refund, to);
	RefuseToCallBack(&refund, from, to);
	RefuseToSend(&refund, from, to);
	if (!FitsStep(attempt, &refund, from, to))
		ThrowNothingLeft(attempt, refund_no, refund.amount, record.payment.currency);
	news = PayRefundNews("refund_transition", &record, &refund, from, reason);
	news.refund_reported = to;
	news.channel_txn = channel_txn;
	decision = from == to ? PAY_UNCHANGED : PAY_APPLIED;
	if (to == PAY_REFUND_SUCCEEDED)
		decision = DecideKnown(store, &refund, &news, &detail);
	if (channel_txn != NULL && FindByTransaction(store, refund.pay_no, &news, &named) &&
		!PayTextsEqual(named.refund_no, refund_no))
	{
		decision = PAY_MISMATCH;
		detail = psprintf("transaction \"%s\" is refund \"%s\"", text_to_cstring(channel_txn),
						  text_to_cstring(named.refund_no));
	}
	SaveDecided(store, &record, attempt, &refund, &news, decision);
	if (decision == PAY_MISMATCH)
		PayOpenReview(store, PAY_REVIEW_MISMATCH, &record, attempt, &news, refund_no, detail);
	return Reply(store, &record, attempt, &refund, decision, detail ? detail : DescribeOverdrawn(attempt));
}

/* ---- the channel's reports ---- */

/*
 * Was this message handled before?  A known id with the same content is; with
 * other content it is news without an id.  A report may have named the refund
 * by another number than ours.
 */
static bool
FindHandled(PayStore *store, const PayRecord *record, const PayRefund *refund, PayRefundReport *report,
			PayEvent *event)
{
	const PayNews *news = &report->news;

	if (news->message_id == NULL ||
		!PayFindMessage(store, record->payment.pay_no, news->source, news->message_id, event))
		return false;
	report->conflict = !(PayTextsEqual(event->refund_no, news->refund_no) ||
						 (refund != NULL && PayTextsEqual(event->refund_no, refund->refund_no))) ||
		event->refund_reported != (uint8) news->refund_reported ||
		event->amount != news->amount || !PayTextsEqual(event->currency, news->currency);
	return !report->conflict;
}

static void
AnswerHandled(PayStore *store, const PayRecord *record, const PayRefundReport *report, const PayEvent *event,
			  PayRefundAnswer *answer)
{
	PayRefund  *refund = palloc(sizeof(PayRefund));

	memset(answer, 0, sizeof(*answer));
	answer->decision = PAY_REPLAYED;
	answer->record = record;
	answer->refund_no = report->news.refund_no;
	answer->trade_no = report->trade_no;
	if (event->attempt > 0 && event->attempt <= record->payment.routes.n)
		answer->attempt = record->attempt[event->attempt - 1];
	if (event->refund_after != PAY_NO_REFUND_STATE &&
		PayFindRefund(store, report->news.merchant, event->refund_no, refund))
	{
		answer->refund = refund;
		answer->state = (PayRefundState) event->refund_after;
	}
	answer->detail = psprintf("handled before: %s", PayDecisionLabel((PayDecision) event->decision));
}

void
PayAnswerRefundUnmatched(PayRefundReport *report, const char *why, PayRefundAnswer *answer)
{
	report->unmatched = why;
	memset(answer, 0, sizeof(*answer));
	answer->decision = PAY_UNMATCHED;
	answer->refund_no = report->news.refund_no;
	answer->trade_no = report->trade_no;
	answer->detail = psprintf("%s: answer the channel \"not OK\", so that it sends again", why);
}

void
PayKeepRefundUnmatched(PayStore *store, const PayRefundReport *report)
{
	PayOpenReview(store, PAY_REVIEW_UNMATCHED, NULL, NULL, &report->news, report->news.refund_no, report->unmatched);
}

/* Does something in the report not fit the attempt, or what is known of the refund?  What; NULL if all fits. */
static const char *
FindMismatch(PayStore *store, const PayRecord *record, const PayAttempt *attempt,
			 const PayRefund *refund, const PayRefundReport *report)
{
	const PayNews *news = &report->news;
	PayChannel	channel;

	PayChannelOf(store, attempt, &channel);
	if (!PayTextsEqual(report->channel, channel.channel))
		return psprintf("the attempt went through channel \"%s\", not \"%s\"",
						text_to_cstring(channel.channel), text_to_cstring(report->channel));
	if (news->currency != NULL && !PayTextsEqual(news->currency, record->payment.currency))
		return psprintf("the currency is %s, not %s",
						text_to_cstring(record->payment.currency), text_to_cstring(news->currency));
	if (refund == NULL)
		return NULL;
	if (report->trade_no != NULL && !PayNumbersEqual(report->number, attempt->trade_no) &&
		!PayNumbersEqual(report->number, record->payment.pay_no))
		return psprintf("the refund is of attempt %d, not of \"%s\"", attempt->attempt,
						text_to_cstring(report->trade_no));
	if (!PayTextsEqual(news->refund_kind, refund->kind) &&
		!(PayTextIs(news->refund_kind, "refund") && !PayTextIs(refund->kind, "chargeback")))
		return psprintf("it is a %s, not a %s",
						text_to_cstring(refund->kind), text_to_cstring(news->refund_kind));
	if (news->amount > 0 && news->amount != refund->amount &&
		!(refund->adopted && PayRefundTakes(news->refund_reported)))
		return psprintf("the amount is %lld, not %lld",
						(long long) refund->amount, (long long) news->amount);
	return NULL;
}

/* Why a refund or chargeback that the channel started cannot be ours; NULL if it can. */
static const char *
FindMismatchOfAdopted(PayStore *store, const PayRecord *record, const PayAttempt *attempt,
					  const PayRefundReport *report)
{
	if (PayIsOwnRefundNo(report->news.refund_no))
		return "only pay_idem gives numbers of this form";
	if (attempt == NULL)
		return psprintf("the payment is %s, no attempt has won it",
						PayStateLabel((PayState) record->payment.state));
	return FindMismatch(store, record, attempt, NULL, report);
}

/* Put a report whose event is written up for review. */
static void
Review(PayStore *store, PayReviewKind kind, const PayRecord *record, const PayAttempt *attempt,
	   const PayRefundReport *report, const char *detail)
{
	PayOpenReview(store, kind, record, attempt, &report->news,
				  report->trade_no ? report->trade_no : report->news.refund_no, detail);
}

static void
ReviewConflict(PayStore *store, const PayRecord *record, const PayAttempt *attempt,
			   const PayRefundReport *report)
{
	if (report->conflict)
		Review(store, PAY_REVIEW_CONFLICT, record, attempt, report, "a known message id came with other content");
}

/*
 * What the channel started is as large as the channel says: a dispute may grow by
 * its fee.
 */
static void
FollowAmount(PayRecord *record, PayAttempt *attempt, PayRefund *refund, int64 amount)
{
	PayRefundState state = (PayRefundState) refund->state;

	PayMoveSums(record, attempt, refund, state, PAY_NO_REFUND_STATE);
	refund->amount = amount;
	PayMoveSums(record, attempt, refund, PAY_NO_REFUND_STATE, state);
}

/* A report about a refund that we know; all is locked. */
static void
ReportKnown(PayStore *store, PayRecord *record, PayRefund *refund, const PayRefundReport *report,
			PayRefundAnswer *answer)
{
	PayAttempt *attempt = AttemptOf(store, record, refund);
	PayNews		news = report->conflict ? PayNewsWithoutId(&report->news) : report->news;
	PayDecision decision = PAY_MISMATCH;
	const char *detail = FindMismatch(store, record, attempt, refund, report);
	PayRefundReport named = *report;
	bool		grew;

	/* it may have named the refund by the channel's number: a verdict is to find ours */
	named.news.refund_no = news.refund_no = refund->refund_no;
	if (detail == NULL)
		decision = DecideAmount(refund, &news, DecideKnown(store, refund, &news, &detail), &detail);
	grew = decision == PAY_APPLIED && news.amount > 0 && news.amount != refund->amount;
	if (grew)
		FollowAmount(record, attempt, refund, news.amount);
	SaveDecided(store, record, attempt, refund, &news, decision);
	if (decision == PAY_MISMATCH)
		Review(store, PAY_REVIEW_MISMATCH, record, attempt, &named, detail);
	if (grew)
	{
		Review(store, PAY_REVIEW_ADOPTED, record, attempt, &named, "the channel started it, and changed its amount");
		ReviewOverdrawn(store, record, attempt, &news);
	}
	ReviewConflict(store, record, attempt, &named);
	Answer(record, attempt, refund, decision, detail ? detail : DescribeOverdrawn(attempt), answer);
}

/* A report about a refund that is none of ours yet, though its payment is: a person must say what it is. */
static void
ReportMismatch(PayStore *store, PayRecord *record, PayAttempt *attempt, const PayRefundReport *report,
			   PayReviewKind kind, const char *mismatch, PayRefundAnswer *answer)
{
	PayNews		news = report->conflict ? PayNewsWithoutId(&report->news) : report->news;

	SaveRefund(store, record, attempt, &news, PAY_MISMATCH);
	Review(store, kind, record, attempt, report, mismatch);
	ReviewConflict(store, record, attempt, report);
	Answer(record, attempt, NULL, PAY_MISMATCH, mismatch, answer);
	answer->refund_no = report->news.refund_no;
	answer->trade_no = report->trade_no;
}

static const char number_taken[] = "another payment of this merchant has a refund of this number";

/*
 * Write a refund that the channel started, which takes what is left and overdraws
 * the rest; false if its number is taken.
 */
static bool
AddAdopted(PayStore *store, PayRecord *record, PayAttempt *attempt, PayRefund *refund, PayRefundState state,
		   const text *channel_txn, PayNews *news)
{
	refund->state = state;
	refund->adopted = true;
	refund->channel_txn = unconstify(text *, channel_txn);
	if (!PayAddRefund(store, attempt, refund))
		return false;
	PayMoveSums(record, attempt, refund, PAY_NO_REFUND_STATE, state);
	news->refund_after = state;
	SaveRefund(store, record, attempt, news, PAY_APPLIED);
	ReviewStep(store, record, attempt, refund, news);
	PayCloseReviewsOfTwin(store, record, refund);
	return true;
}

/*
 * A refund of ours that is under way or done, of the same amount and without a
 * transaction, may be the one that the channel reports by a number of its own.
 */
static bool
FindTwin(PayStore *store, const PayAttempt *attempt, int64 amount, PayRefund *twin)
{
	bool		found = false;
	ListCell   *cell;

	foreach(cell, PayListRefunds(store, attempt->pay_no))
	{
		const PayRefund *refund = lfirst(cell);

		if (refund->attempt == attempt->attempt && refund->amount == amount && !refund->adopted &&
			refund->channel_txn == NULL && PayRefundTakes((PayRefundState) refund->state) &&
			(!found || refund->requested_at < twin->requested_at))
		{
			*twin = *refund;
			found = true;
		}
	}
	return found;
}

/* A refund or chargeback that the channel started becomes ours, as refund; all is locked. */
static void
Adopt(PayStore *store, PayRecord *record, PayRefund *refund, const PayRefundReport *report, PayRefundAnswer *answer)
{
	PayAttempt *attempt = MeantAttempt(record, report->number);
	PayNews		news = report->conflict ? PayNewsWithoutId(&report->news) : report->news;
	PayReviewKind kind = PAY_REVIEW_MISMATCH;
	const char *mismatch = FindMismatchOfAdopted(store, record, attempt, report);

	if (mismatch == NULL && PayTextIs(news.refund_kind, "refund") && FindTwin(store, attempt, news.amount, refund))
	{
		kind = PAY_REVIEW_TWIN;
		mismatch = psprintf("refund \"%s\" of the same amount has no transaction yet: same says that it is this one, accept that it is another",
							text_to_cstring(refund->refund_no));
	}
	if (mismatch == NULL)
	{
		*refund = PayNewRefund(record, attempt, text_to_cstring(news.refund_kind), news.refund_no, news.amount, NULL);
		if (!AddAdopted(store, record, attempt, refund, news.refund_reported, news.channel_txn, &news))
			mismatch = number_taken;
	}
	if (mismatch != NULL)
	{
		ReportMismatch(store, record, attempt, report, kind, mismatch, answer);
		return;
	}
	Review(store, PAY_REVIEW_ADOPTED, record, attempt, report, "the channel started it; it was not asked for here");
	ReviewConflict(store, record, attempt, report);
	Answer(record, attempt, refund, PAY_APPLIED,
		   attempt->amount_overdrawn == 0 ? "adopted: the channel started it" :
		   psprintf("adopted: the channel started it; %s", DescribeOverdrawn(attempt)), answer);
}

/* Can news of this state be of a refund that the channel started and that may move money? */
static bool
IsAdoptable(PayRefundState reported)
{
	return PayRefundTakes(reported) && reported != PAY_REFUND_REQUESTED;
}

static const char no_such_refund[] = "there is no such refund";

/* Read the payment that a report of an unknown refund_no names; why it names none, or NULL. */
static const char *
FindNamedRecord(PayStore *store, const PayRefundReport *report, PayRecord *record)
{
	if (report->trade_no == NULL)
		return "there is no such refund, and no trade_no";
	if (PayNumberIsNone(report->number) ||
		!PayFindRecord(store, PayPaymentNumber(report->number), record) ||
		!PayNumberFits(&record->payment, report->number))
		return "there is no such refund, and no such attempt";
	/* nobody can burn another merchant's message ids: an event of his payment would */
	if (!PayTextsEqual(report->news.merchant, record->payment.merchant))
		return "there is no such refund, and the attempt is another merchant's";
	return NULL;
}

/* Why a report of an unknown refund cannot be taken in; NULL if it can. */
static const char *
WhyNotAdopted(const PayRefundReport *report)
{
	if (!IsAdoptable(report->news.refund_reported))
		return no_such_refund;
	return report->news.amount == 0 ? "there is no such refund, and no amount" : NULL;
}

/* A transaction that another refund of this payment has says more than the number. */
static void
FindByOtherTransaction(PayStore *store, const PayNews *news, PayRefund *refund)
{
	if (news->channel_txn != NULL && !PayTextsEqual(news->channel_txn, refund->channel_txn))
		FindByTransaction(store, refund->pay_no, news, refund);
}

const char *
PayFindReportedRefund(PayStore *store, const PayRefundReport *report, PayRecord *record, PayRefund *refund,
					  bool *known)
{
	const char *why;

	*known = PayFindRefund(store, report->news.merchant, report->news.refund_no, refund);
	if (*known)
	{
		FindByOtherTransaction(store, &report->news, refund);
		FindRecordOf(store, refund, record, false);
		return NULL;
	}
	why = FindNamedRecord(store, report, record);
	if (why != NULL)
		return why;
	*known = FindByTransaction(store, record->payment.pay_no, &report->news, refund);
	return *known ? NULL : WhyNotAdopted(report);
}

/* The same once the payment is known: another one may have taken the number meanwhile. */
static bool
FindReportedAgain(PayStore *store, const PayRefundReport *report, const PayRecord *record, PayRefund *refund)
{
	if (!PayFindRefund(store, report->news.merchant, report->news.refund_no, refund))
		return FindByTransaction(store, record->payment.pay_no, &report->news, refund);
	FindByOtherTransaction(store, &report->news, refund);
	return true;
}

bool
PayAnswerRefundHandled(PayStore *store, const PayRecord *record, const PayRefund *refund, PayRefundReport *report,
					   PayRefundAnswer *answer)
{
	PayEvent	handled;

	if (!FindHandled(store, record, refund, report, &handled))
		return false;
	AnswerHandled(store, record, report, &handled, answer);
	return true;
}

void
PayReportRefund(PayStore *store, PayRecord *record, PayRefundReport *report, PayRefundAnswer *answer)
{
	PayRefund  *refund = palloc(sizeof(PayRefund));
	bool		known = FindReportedAgain(store, report, record, refund);

	if (PayAnswerRefundHandled(store, record, known ? refund : NULL, report, answer))
		return;
	PayCloseUnmatched(store, &report->news, report->news.refund_no);
	if (!known)
		Adopt(store, record, refund, report, answer);
	else if (!PayNumbersEqual(refund->pay_no, record->payment.pay_no))
		ReportMismatch(store, record, NULL, report, PAY_REVIEW_MISMATCH, number_taken, answer);
	else if (!PayLockRefund(store, refund))
		PayAnswerRefundUnmatched(report, no_such_refund, answer);
	else
		ReportKnown(store, record, refund, report, answer);
}

void
PayRefundCallbackArguments(FunctionCallInfo fcinfo, PayRefundReport *report)
{
	PayNews    *news = &report->news;

	memset(report, 0, sizeof(*report));
	report->channel = PayKeyArgument(fcinfo, 0, "channel", PAY_REQUIRED);
	news->message_id = PayKeyArgument(fcinfo, 1, "callback_id", PAY_OPTIONAL);
	news->refund_no = PayKeyArgument(fcinfo, 2, "refund_no", PAY_REQUIRED);
	news->refund_reported = PayRefundStateArgument(fcinfo, 3, "reported");
	news->amount = PayAmountArgument(fcinfo, 4, "amount", PAY_OPTIONAL);
	news->currency = PayCurrencyArgument(fcinfo, 5, PAY_OPTIONAL);
	report->trade_no = PayKeyArgument(fcinfo, 6, "trade_no", PAY_OPTIONAL);
	news->channel_txn = PayKeyArgument(fcinfo, 7, "channel_txn", PAY_OPTIONAL);
	news->occurred_at = PG_ARGISNULL(8) ? PAY_NO_TIME : PG_GETARG_TIMESTAMPTZ(8);
	news->payload = PG_ARGISNULL(9) ? NULL : PG_DETOAST_DATUM(PG_GETARG_DATUM(9));
	news->refund_kind = PayKeyArgument(fcinfo, 10, "kind", PAY_REQUIRED);
	news->merchant = PayKeyArgument(fcinfo, 11, "merchant", PAY_MAY_BE_EMPTY);
	if (!PayTextIs(news->refund_kind, "refund") && !PayTextIs(news->refund_kind, "chargeback"))
		ereport(ERROR,
				(errcode(PAY_ERR_BAD_ARGUMENT),
				 errmsg("invalid kind: \"%s\"", text_to_cstring(news->refund_kind)),
				 errdetail("A channel reports a refund or a chargeback.")));
	if (report->trade_no != NULL && !PayParseNumber(report->trade_no, &report->number))
		memset(&report->number, 0, sizeof(report->number));
	news->source = cstring_to_text(psprintf("refund_callback:%s", text_to_cstring(report->channel)));
}

PG_FUNCTION_INFO_V1(pay_refund_callback);
Datum
pay_refund_callback(PG_FUNCTION_ARGS)
{
	PayRefundReport report;
	PayStore   *store;
	PayRecord	record;
	PayRefund	refund;
	PayRefundAnswer answer;
	const char *unmatched;
	bool		known;

	PayRefundCallbackArguments(fcinfo, &report);
	store = PayStoreOpen(fcinfo, PAY_WRITES, PAY_LOOK_AT_RECORDS | PAY_LOOK_AT(PAY_REFUND_TABLE) |
						 PAY_LOOK_AT(PAY_EVENT_TABLE) | PAY_LOOK_AT(PAY_REVIEW_TABLE));
	PayCheckChannelIsKnown(store, report.channel);
	unmatched = PayFindReportedRefund(store, &report, &record, &refund, &known);
	if (unmatched == NULL && !PayAnswerRefundHandled(store, &record, known ? &refund : NULL, &report, &answer))
	{
		if (PayLockRecord(store, &record))
			PayReportRefund(store, &record, &report, &answer);
		else
			unmatched = no_such_refund;
	}
	if (unmatched != NULL)
		PayAnswerRefundUnmatched(&report, unmatched, &answer);
	if (answer.decision == PAY_UNMATCHED)
		PayKeepRefundUnmatched(store, &report);
	return PayReplyRefund(store, &answer);
}

/* ---- for reviews ---- */

static const char other_currency[] = "the money is of another currency";

/* The refund counts as it was reported: the state, the amount, the transaction. */
static const char *
AcceptKnown(PayStore *store, PayRecord *record, PayRefund *refund, const PayReview *review, text *reason)
{
	PayAttempt *attempt = AttemptOf(store, record, refund);
	PayRefundState from = (PayRefundState) refund->state;
	PayRefundState to = (PayRefundState) review->refund_reported;
	int64		amount = review->amount;
	PayNews		news;

	if (to == PAY_REFUND_REQUESTED)
		return "what is only asked for is our own step";
	if (ContradictsEnd(from, to))
		to = PAY_REFUND_RETURNED;
	if ((from != to && !PayRefundCan(from, to)) || KeepsSurplus(refund, to))
		return psprintf("the refund is in state %s", PayRefundStateLabel(from));
	/* where a part came back, the rest stays gone; what takes nothing keeps its amount */
	if (from == PAY_REFUND_SUCCEEDED && to == PAY_REFUND_RETURNED && amount > 0 && amount < refund->amount)
	{
		to = from;
		amount = refund->amount - amount;
	}
	if (PayRefundTakes(to) && amount > 0)
		FollowAmount(record, attempt, refund, amount);
	news = PayRefundNews("review", record, refund, from, reason);
	news.refund_reported = (PayRefundState) review->refund_reported;
	news.channel_txn = review->channel_txn;
	StepRefund(store, record, attempt, refund, to, &news, PAY_APPLIED);
	if (PayRefundTakes(to))
		ReviewOverdrawn(store, record, attempt, &news);
	return NULL;
}

/* A second transaction under the number of a refund that succeeded: money went twice. */
static bool
IsAnotherTransaction(const PayRefund *refund, const PayReview *review)
{
	return refund->state == PAY_REFUND_SUCCEEDED && review->refund_reported == PAY_REFUND_SUCCEEDED &&
		refund->channel_txn != NULL && review->channel_txn != NULL &&
		!PayTextsEqual(refund->channel_txn, review->channel_txn);
}

/* Take in what was reported as a refund that the channel started. */
static const char *
AcceptNew(PayStore *store, PayRecord *record, const PayReview *review, text *refund_no, int64 amount, text *reason)
{
	PayRefundState reported = (PayRefundState) review->refund_reported;
	PayAttempt *attempt;
	PayRefund	refund;
	PayNews		news;

	if (review->attempt < 1 || review->attempt > record->payment.routes.n)
		return "it names no attempt of ours";
	attempt = record->attempt[review->attempt - 1];
	if (!IsAdoptable(reported) || amount < 1 || PayIsOwnRefundNo(refund_no))
		return "it cannot be a refund of this payment";
	refund = PayNewRefund(record, attempt,
						  review->refund_kind != NULL ? text_to_cstring(review->refund_kind) : "refund",
						  refund_no, amount, reason);
	news = PayRefundNews("review", record, &refund, PAY_NO_REFUND_STATE, reason);
	news.refund_reported = reported;
	return AddAdopted(store, record, attempt, &refund, reported, review->channel_txn, &news) ? NULL : number_taken;
}

const char *
PayAcceptRefund(PayStore *store, PayRecord *record, const PayReview *review, text *reason)
{
	PayRefund	refund;

	if (review->currency != NULL && !PayTextsEqual(review->currency, record->payment.currency))
		return other_currency;
	if (!PayFindRefund(store, record->payment.merchant, review->refund_no, &refund))
		return AcceptNew(store, record, review, review->refund_no, review->amount, reason);
	if (!PayNumbersEqual(refund.pay_no, record->payment.pay_no) || !PayLockRefund(store, &refund))
		return number_taken;
	if (IsAnotherTransaction(&refund, review))
		return AcceptNew(store, record, review, review->channel_txn,
						 review->amount > 0 ? review->amount : refund.amount, reason);
	return AcceptKnown(store, record, &refund, review, reason);
}

const char *
PayJoinRefund(PayStore *store, PayRecord *record, const PayReview *review, text *reason)
{
	PayReview	joined = *review;
	PayRefund	twin;

	if (review->attempt < 1 || review->attempt > record->payment.routes.n ||
		!FindTwin(store, record->attempt[review->attempt - 1], review->amount, &twin) ||
		!PayLockRefund(store, &twin))
		return "no refund of ours of this amount is without a transaction";
	if (joined.channel_txn == NULL)
		joined.channel_txn = review->refund_no;
	/* it may have gone on meanwhile: then the name alone is new */
	if (!PayRefundCan((PayRefundState) twin.state, (PayRefundState) joined.refund_reported))
		joined.refund_reported = twin.state;
	return AcceptKnown(store, record, &twin, &joined, reason);
}

/* The chargeback that a bounce of this attempt was booked as. */
static bool
FindBounce(PayStore *store, const PayRecord *record, const PayAttempt *attempt, PayRefund *refund)
{
	return PayFindRefund(store, record->payment.merchant,
						 OwnRefundNo(attempt->trade_no, BOUNCE_LETTER, ""), refund);
}

bool
PayIsBounceBooked(PayStore *store, const PayRecord *record, const PayAttempt *attempt)
{
	PayRefund	refund;

	return FindBounce(store, record, attempt, &refund) && PayRefundTakes((PayRefundState) refund.state);
}

void
PayBookBounce(PayStore *store, PayRecord *record, PayAttempt *attempt, text *reason)
{
	PayRefund	refund;
	PayNews		news;
	bool		known = FindBounce(store, record, attempt, &refund) && PayLockRefund(store, &refund);

	if (!known)
		refund = PayNewRefund(record, attempt, "chargeback", OwnRefundNo(attempt->trade_no, BOUNCE_LETTER, ""),
							  attempt->amount_collected, reason);
	news = PayRefundNews("review", record, &refund, known ? (PayRefundState) refund.state : PAY_NO_REFUND_STATE, reason);
	news.refund_reported = PAY_REFUND_SUCCEEDED;
	if (known)
		StepRefund(store, record, attempt, &refund, PAY_REFUND_SUCCEEDED, &news, PAY_APPLIED);
	else if (!AddAdopted(store, record, attempt, &refund, PAY_REFUND_SUCCEEDED, NULL, &news))
		ThrowNumberTaken(refund.refund_no);
}

/* ---- for the guards ---- */

void
PayFollowRefund(PayStore *store, const PayRefund *refund, PayRefundState before, const PayNews *update)
{
	PayRecord	record;
	PayAttempt *attempt;
	PayNews		news = *update;
	PayRefundState after = (PayRefundState) refund->state;

	FindRecordOf(store, refund, &record, true);
	attempt = AttemptOf(store, &record, refund);
	if (before != after)
	{
		RefuseToKeepSurplus(refund, after);
		RefuseToCallBack(refund, before, after);
		RefuseToSend(refund, before, after);
	}
	if (!FitsStep(attempt, refund, before, after))
		ThrowNothingLeft(attempt, refund->refund_no, refund->amount, record.payment.currency);
	if (before != after)
		PayMoveSums(&record, attempt, refund, before, after);
	if (NeedsWorker(after) && (!NeedsWorker(before) || refund->check_at == PAY_NO_TASK))
	{
		PayRefund	queued = *refund;

		queued.check_at = FirstLook(store, attempt, refund);
		PayQueueRefund(store, &queued, queued.check_at);
		PayUpdateRefund(store, &queued);
	}
	news.refund_no = refund->refund_no;
	news.refund_reported = before != after ? after : PAY_NO_REFUND_STATE;
	news.refund_before = before;
	news.refund_after = after;
	SaveRefund(store, &record, attempt, &news, PAY_APPLIED);
	if (before != after)
		ReviewStep(store, &record, attempt, refund, &news);
}

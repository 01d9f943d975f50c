/*
 * refund.h
 *
 * Money that goes back: of one attempt, partial and several, never more than
 * that attempt collected.
 *
 * The attempt's row keeps the sums (what is reserved by refunds under way, what
 * went back), so the locks of PayLockRecord() cover them, and a CHECK on that row
 * keeps the cap whatever else happens.
 */
#ifndef PAY_REFUND_H
#define PAY_REFUND_H

#include "postgres.h"

#include "answer.h"
#include "fmgr.h"
#include "record.h"
#include "store.h"

/* Number of the refund for an attempt whose money the order does not need: trade_no, then s. */
extern text *PaySurplusRefundNo(const PayAttempt *attempt);

/*
 * The attempt was just recorded as paid and did not win: open the refund of all
 * that it has left.  The record is locked.  The refund's number; NULL where the
 * channel took all of it back before.
 */
extern text *PayOpenSurplus(PayStore *store, PayRecord *record, PayAttempt *attempt, const char *reason);

/*
 * An attempt that was paid already collected once more, by another transaction
 * of the channel: record it and open its refund, whose number is returned; NULL
 * if this transaction is counted already.
 */
extern text *PayOpenExtra(PayStore *store, PayRecord *record, PayAttempt *attempt, int64 amount,
						  const text *channel_txn, text *reason);

/* Is money that an attempt collected by this transaction counted already? */
extern bool PayIsCounted(PayStore *store, const PayRecord *record, const PayAttempt *attempt,
						 const text *channel_txn);

/*
 * Open a refund of what is still refundable of a paid attempt, for the verdict
 * on this dispute; its number.
 */
extern text *PayOpenDisputed(PayStore *store, PayRecord *record, PayAttempt *attempt,
							 int64 dispute_id, text *reason);

/* A channel's report about a refund. */
typedef struct PayRefundReport
{
	PayNews		news;
	text	   *channel;
	text	   *trade_no;		/* as it was given, or NULL */
	PayNumber	number;			/* none if it is no number of ours */
	bool		conflict;		/* its message id is known with other content */
	const char *unmatched;		/* why it fits nothing, once that was answered */
} PayRefundReport;

/* The twelve arguments of pay_refund_callback(); PY400. */
extern void PayRefundCallbackArguments(FunctionCallInfo fcinfo, PayRefundReport *report);

/*
 * Read what a report is about: the payment and, if it is known, the refund.  NULL,
 * or why there is neither: a constant.
 */
extern const char *PayFindReportedRefund(PayStore *store, const PayRefundReport *report, PayRecord *record,
										 PayRefund *refund, bool *known);

/*
 * Was this message handled before?  Then the first answer again; else report->conflict
 * is known.  refund may be NULL.
 */
extern bool PayAnswerRefundHandled(PayStore *store, const PayRecord *record, const PayRefund *refund,
								   PayRefundReport *report, PayRefundAnswer *answer);

/* Decide on a report, write what follows, and answer; the record is locked. */
extern void PayReportRefund(PayStore *store, PayRecord *record, PayRefundReport *report,
							PayRefundAnswer *answer);

/* A report that fits nothing: its answer, and the review that keeps it, once; the caller asks for both. */
extern void PayAnswerRefundUnmatched(PayRefundReport *report, const char *why, PayRefundAnswer *answer);
extern void PayKeepRefundUnmatched(PayStore *store, const PayRefundReport *report);

/*
 * A person accepts a channel's report about a refund that did not fit when it
 * came: it counts as reported, if it fits now.  NULL, or why it does not.  All
 * is locked.
 */
extern const char *PayAcceptRefund(PayStore *store, PayRecord *record, const PayReview *review,
								   text *reason);

/*
 * A person says that a channel's report is about a refund of ours of the same
 * amount, under way or done, which has no transaction.  NULL, or why it cannot be.
 * All is locked.
 */
extern const char *PayJoinRefund(PayStore *store, PayRecord *record, const PayReview *review, text *reason);

/*
 * The channel took back all that a paid attempt collected (a debit that bounced):
 * book it as a chargeback.  The record is locked.
 */
extern void PayBookBounce(PayStore *store, PayRecord *record, PayAttempt *attempt, text *reason);

/* Is it booked, and the money still gone? */
extern bool PayIsBounceBooked(PayStore *store, const PayRecord *record, const PayAttempt *attempt);

/*
 * A direct UPDATE stepped this refund: let the sums of its attempt follow, with
 * an event; PY409 if it does not fit.  The record is locked here.
 */
extern void PayFollowRefund(PayStore *store, const PayRefund *refund, PayRefundState before,
							const PayNews *news);

/*
 * For an import, whose refunds were opened elsewhere: a refund in state
 * requested; the news of one, with the state before; let the sums follow its
 * step; insert it and queue what is to be done about it, false and nothing
 * written if its number is taken.
 */
extern PayRefund PayNewRefund(const PayRecord *record, const PayAttempt *attempt, const char *kind,
							  text *refund_no, int64 amount, text *reason);
extern PayNews PayRefundNews(const char *source, const PayRecord *record, const PayRefund *refund,
							 PayRefundState before, text *reason);
extern void PayMoveSums(PayRecord *record, PayAttempt *attempt, const PayRefund *refund,
						PayRefundState from, PayRefundState to);
extern bool PayAddRefund(PayStore *store, const PayAttempt *attempt, PayRefund *refund);

/* Is a number of the form that only refunds have that we open ourselves? */
extern bool PayIsOwnRefundNo(const text *refund_no);

/* A refund that became abnormal waits for a person. */
extern void PayReviewAbnormal(PayStore *store, const PayRecord *record, const PayAttempt *attempt,
							  const PayRefund *refund, const PayNews *news);

#endif							/* PAY_REFUND_H */

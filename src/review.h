/*
 * review.h
 *
 * What a person must look at: opening a review, and closing it when what it
 * waited for comes.  What a person's verdict does is in verdict.c.
 */
#ifndef PAY_REVIEW_H
#define PAY_REVIEW_H

#include "postgres.h"

#include "record.h"
#include "store.h"

typedef enum PayReviewKind
{
	PAY_REVIEW_MISMATCH,
	PAY_REVIEW_UNMATCHED,
	PAY_REVIEW_CONFLICT,
	PAY_REVIEW_ADOPTED,
	PAY_REVIEW_TWIN,
	PAY_REVIEW_ABNORMAL,
	PAY_REVIEW_RETURNED,
	PAY_REVIEW_OVERDRAWN,
	PAY_REVIEW_EXHAUSTED,
	PAY_REVIEW_DAMAGED,
	PAY_REVIEW_KINDS
} PayReviewKind;

/* The kind that a review's row names; PAY_REVIEW_KINDS if it is one of a later version. */
extern PayReviewKind PayReviewKindOf(const PayReview *review);

/*
 * Put a report up for review, unless one with the same content is open.
 *
 * record	the payment, locked; NULL for unmatched
 * attempt	NULL for the payment as a whole
 * trade_no	the number as it was reported
 */
extern void PayOpenReview(PayStore *store, PayReviewKind kind, const PayRecord *record,
						  const PayAttempt *attempt, const PayNews *news, text *trade_no,
						  const char *detail);

/* Write the verdict into a review that is locked, as the current user's. */
extern void PayResolveReview(PayStore *store, PayReview *review, text *verdict, text *reason);

/*
 * Reviews that close themselves when what they waited for comes; the payment is
 * locked.  The message, that was unmatched; the attempt (or its refund) that
 * nobody could say anything about; a report of a refund by the channel's own
 * number, when a refund has its transaction or was taken in by that number.
 */
extern void PayCloseUnmatched(PayStore *store, const PayNews *news, text *reported_no);
extern void PayCloseExhausted(PayStore *store, const PayRecord *record, const PayAttempt *attempt,
							  const text *refund_no);
extern void PayCloseReviewsOfTwin(PayStore *store, const PayRecord *record, const PayRefund *refund);

/* Does the channel take back what it said was paid? */
extern bool PayIsBounce(PayState attempt, PayState reported);

/* The message id of the event by which a person says that a transaction is one that we know. */
extern text *PayAliasId(const text *channel_txn);

/* Has a person said that this transaction is another name of one that is counted? */
extern bool PayIsAlias(PayStore *store, PayNumber pay_no, const text *channel_txn);

#endif							/* PAY_REVIEW_H */

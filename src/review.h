/*
 * review.h
 *
 * What a person must look at.
 */
#ifndef PAY_REVIEW_H
#define PAY_REVIEW_H

#include "postgres.h"

#include "record.h"
#include "store.h"

/*
 * Put a report up for review, unless one with the same content is open.
 *
 * kind		mismatch, unmatched, conflict, adopted, abnormal
 * record	the payment, locked; NULL for unmatched
 * attempt	NULL for the payment as a whole
 * trade_no	the number as it was reported
 */
extern void PayOpenReview(PayStore *store, const char *kind, const PayRecord *record,
						  const PayAttempt *attempt, const PayNews *news, text *trade_no,
						  const char *detail);

#endif							/* PAY_REVIEW_H */

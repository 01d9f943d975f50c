/*
 * payment.h
 *
 * What the row of a payment or an attempt says by itself, without any other.
 *
 * These are rules: they read and write nothing.
 */
#ifndef PAY_PAYMENT_H
#define PAY_PAYMENT_H

#include "postgres.h"

#include "rows.h"

/* Does a number fit this payment: its own, or of an attempt that it has with this very route? */
extern bool PayNumberFits(const PayPayment *payment, PayNumber number);

/* Is the payment to end when no attempt is open any more? */
extern bool PayIsToEnd(const PayPayment *payment, TimestampTz now);

/* Can the order still use money?  Not if it is won, over or replaced. */
extern bool PayPaymentWaits(const PayPayment *payment);

/* What of an attempt's money can still be refunded; 0 while it is overdrawn. */
extern int64 PayRefundable(const PayAttempt *attempt);

#endif							/* PAY_PAYMENT_H */

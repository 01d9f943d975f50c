/*
 * payment.c
 *
 * What the row of a payment or an attempt says by itself.
 */
#include "payment.h"

#include "machine.h"

bool
PayNumberFits(const PayPayment *payment, PayNumber number)
{
	int			attempt = PayNumberAttempt(number);

	return attempt == 0 || (attempt <= payment->routes.n &&
							payment->routes.route[attempt - 1] == PayNumberRoute(number));
}

bool
PayIsToEnd(const PayPayment *payment, TimestampTz now)
{
	return payment->end_requested ||
		(payment->valid_until != PAY_NO_TIME && payment->valid_until <= now);
}

bool
PayPaymentWaits(const PayPayment *payment)
{
	return !PayPaymentIsFinal((PayState) payment->state) && PayNumberIsNone(payment->replaced_by);
}

int64
PayRefundable(const PayAttempt *attempt)
{
	return Max(attempt->amount_collected - attempt->amount_reserved - attempt->amount_refunded, 0);
}

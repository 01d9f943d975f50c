/*
 * machine.h
 *
 * States, decisions, and which steps are legal.
 *
 * Each closed set of labels is a 1-byte SQL type.  The byte values are on
 * disk: frozen, never reused.  0 is no label and stands for NULL inside the
 * library.  The tables of legal steps in machine.c are the only place that says
 * which step is legal; the functions below read them, pay_steps() shows them.
 *
 * This room knows no tables and no rows.
 */
#ifndef PAY_MACHINE_H
#define PAY_MACHINE_H

#include "postgres.h"

/* State of a payment, and of an attempt (which is never PAY_CREATED). */
typedef enum PayState
{
	PAY_NO_STATE = 0,
	PAY_CREATED = 1,
	PAY_PAYING = 2,
	PAY_AUTHORIZED = 3,
	PAY_CAPTURING = 4,
	PAY_UNKNOWN = 5,
	PAY_CLOSING = 6,
	PAY_FAILED = 7,
	PAY_PAID = 8,
	PAY_CLOSED = 9,
	PAY_REVERSED = 10
} PayState;

#define PAY_LAST_STATE PAY_REVERSED

/* What a call answers; the manual's table of decisions says what its caller does next. */
typedef enum PayDecision
{
	PAY_NO_DECISION = 0,
	PAY_PROCEED = 1,
	PAY_REPLAYED = 2,
	PAY_IN_PROGRESS = 3,
	PAY_ALREADY_PAID = 4,
	PAY_OUTCOME_UNKNOWN = 5,
	PAY_CONFIRM = 6,
	PAY_THROTTLED = 7,
	PAY_UNAVAILABLE = 8,
	PAY_IS_CLOSED = 9,
	PAY_APPLIED = 10,
	PAY_UNCHANGED = 11,
	PAY_STALE = 12,
	PAY_SURPLUS = 13,
	PAY_MISMATCH = 14,
	PAY_UNMATCHED = 15
} PayDecision;

#define PAY_LAST_DECISION PAY_UNMATCHED

/* State of a refund. */
typedef enum PayRefundState
{
	PAY_NO_REFUND_STATE = 0,
	PAY_REFUND_REQUESTED = 1,
	PAY_REFUND_PROCESSING = 2,
	PAY_REFUND_SUCCEEDED = 3,
	PAY_REFUND_FAILED = 4,
	PAY_REFUND_ABNORMAL = 5,
	PAY_REFUND_UNKNOWN = 6,
	PAY_REFUND_CANCELLED = 7,
	PAY_REFUND_RETURNED = 8
} PayRefundState;

#define PAY_LAST_REFUND_STATE PAY_REFUND_RETURNED

/* Label of a state or decision; NULL where there is none. */
extern const char *PayStateLabel(PayState state);
extern const char *PayDecisionLabel(PayDecision decision);
extern const char *PayRefundStateLabel(PayRefundState state);

/* State by its label, PAY_NO_STATE or PAY_NO_REFUND_STATE if there is none of that name. */
extern PayState PayStateByLabel(const char *label, size_t length);
extern PayRefundState PayRefundStateByLabel(const char *label, size_t length);

/* Is the step legal?  Staying in a state is no step. */
extern bool PayPaymentCan(PayState from, PayState to);
extern bool PayAttemptCan(PayState from, PayState to);
extern bool PayRefundCan(PayRefundState from, PayRefundState to);

/* "a, b, c": the legal steps from a state, "none" if there are none. */
extern char *PayPaymentStepsFrom(PayState from);
extern char *PayAttemptStepsFrom(PayState from);
extern char *PayRefundStepsFrom(PayRefundState from);

/* Does a refund in this state keep its amount from others, though the money has not gone yet? */
extern bool PayRefundReserves(PayRefundState state);

/* Does it keep its amount from others at all: reserved, or gone? */
extern bool PayRefundTakes(PayRefundState state);

/* Can money still arrive through an attempt in this state, by its own course? */
extern bool PayAttemptIsOpen(PayState state);

/* Does news of this state say that the channel holds or has the customer's money? */
extern bool PayIsAboutMoney(PayState state);

/* Does no step of a payment lead out of this state? */
extern bool PayPaymentIsFinal(PayState state);

/*
 * How open an attempt is: a payment shows the state of the highest rank, capturing
 * before authorized, paying, unknown and closing.  0: over.
 */
extern int	PayOpenRank(PayState state);

/*
 * The roll-up rule: the state of a payment that follows from its attempts.
 *
 * current	the payment's state now
 * attempts	the attempts' states, in their order
 * n		how many
 * won		an attempt of them has won the payment
 * ends		it was asked to end, was replaced, or is past valid_for
 */
extern PayState PayRollUp(PayState current, const PayState *attempts, int n,
						  bool won, bool ends);

#endif							/* PAY_MACHINE_H */

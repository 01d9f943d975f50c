/*
 * hold.h
 *
 * What an order reserves besides money: coupons, stock, points, and what other
 * systems keep for it.
 *
 * Each resource is a row of pay_resource with what may be taken of it and what
 * is; a hold is a row of pay_hold.  paid confirms a payment's holds; closed,
 * reversed and replaced release them; failed keeps them for the next attempt.
 * Holds of our own end in the payment's own transaction.  External ones become
 * tasks (confirm_hold, release_hold) for a worker, until pay_hold_done()
 * (participant.c).
 *
 * Locks: a payment that is there before its resources, these in the order of
 * their names.  An order that is not there yet locks its resources first, so
 * that the call that loses the race for them writes nothing; if another call
 * makes the order in the meantime, the two can deadlock (40P01).  A claim, which
 * ends several payments, never waits for them.
 */
#ifndef PAY_HOLD_H
#define PAY_HOLD_H

#include "postgres.h"

#include "store.h"

/*
 * The states of a hold: held, then confirmed or released.  An external one is
 * confirming or releasing in between, until its participant has done it.
 */
typedef enum PayHoldState
{
	PAY_HELD,
	PAY_CONFIRMING,
	PAY_CONFIRMED,
	PAY_RELEASING,
	PAY_RELEASED,
	PAY_HOLD_STATES
} PayHoldState;

/* The state that a hold's row names; PAY_HOLD_STATES if it is none of them. */
extern PayHoldState PayHoldStateOf(const PayHold *hold);

/* Set it in the row. */
extern void PaySetHoldState(PayHold *hold, PayHoldState state);

/* A resource that is asked for. */
typedef struct PayWanted
{
	text	   *name;
	int64		quantity;		/* 0: only to be locked */
	int			position;		/* among those asked for, from 1 */
	PayResource resource;		/* its row, once it is locked */
	bool		made;			/* the row was inserted by this call */
} PayWanted;

/* Read holds => '{coupon:C1,stock:SKU9#2}': a list of PayWanted by name, NIL for NULL; PY400. */
extern List *PayHoldsArgument(FunctionCallInfo fcinfo, int n);

/*
 * What of the wanted the payment (NULL: not there yet) does not hold yet; PY422
 * if it holds another quantity.
 */
extern List *PayWantedStill(PayStore *store, const PayPayment *payment, List *wanted);

/*
 * Lock the wanted resources; NULL, or one that is not to be had, with its row
 * (then nothing is written).  What the payment that is to be replaced (or NULL)
 * holds counts as free.  PY400 if there is no such resource.
 */
extern const PayWanted *PayLockWanted(PayStore *store, text *merchant, List *wanted, const PayPayment *replaced);

/* Nothing is taken after all: leave no row that was made for it. */
extern void PayForgetWanted(PayStore *store, List *wanted);

/* Take what is locked for a payment, which is written already and counts them in payment.holds. */
extern void PayTakeWanted(PayStore *store, const PayPayment *payment, List *wanted);

/* Lock a payment's holds and their resources without waiting; false if somebody else has one locked. */
extern bool PayTryLockHolds(PayStore *store, const PayPayment *payment);

/* The payment is paid, or over, or replaced: confirm or release what it still holds. */
extern void PaySettleHolds(PayStore *store, const PayPayment *payment);

/* Give back what a hold that is locked has taken of its resource, and release it. */
extern void PayGiveBackHold(PayStore *store, const PayPayment *payment, PayHold *hold);

/*
 * Ask the participant whose hold was taken last to release it, unless one was
 * asked already: they release one after the other, as a saga compensates.
 */
extern void PayReleaseNextHold(PayStore *store, PayNumber pay_no);

/*
 * For a call that may end many payments: what a payment gives back when it ends
 * is added to a list, and all of it is locked in the order of merchant and name
 * before the first one ends.
 */
extern List *PayAddGivenBack(PayStore *store, const PayPayment *payment, List *resources);
extern void PayLockGivenBack(PayStore *store, List *resources);

#endif							/* PAY_HOLD_H */

/*
 * record.h
 *
 * A payment with its attempts, read and changed together, every change with
 * its event.  Uses the store for the rows and the machine for the roll-up; what
 * a change queues (task) or ends (hold) is written with it.
 */
#ifndef PAY_RECORD_H
#define PAY_RECORD_H

#include "postgres.h"

#include "machine.h"
#include "store.h"

/* What the queue is to know of an attempt. */
typedef enum PayCare
{
	PAY_NO_CARE,				/* over */
	PAY_WATCH,					/* to be asked about by the schedule */
	PAY_END						/* to be closed or voided: nobody wants its money */
} PayCare;

typedef struct PayRecord
{
	PayPayment	payment;
	PayAttempt *attempt[PAY_MAX_ATTEMPTS];	/* payment.routes.n of them, in their order */
	PayCare		queued[PAY_MAX_ATTEMPTS];	/* what the queue knows already */
} PayRecord;

/* What brings a change, for its event.  Pointers NULL and times PAY_NO_TIME where there is none. */
typedef struct PayNews
{
	text	   *source;
	text	   *message_id;
	PayState	reported;
	int64		amount;			/* 0: none */
	text	   *currency;
	text	   *channel_txn;
	TimestampTz occurred_at;
	text	   *reason;
	struct varlena *payload;	/* jsonb */
	/* where it is about a refund */
	text	   *merchant;		/* as a channel's report names it */
	text	   *refund_no;
	text	   *refund_kind;	/* as a channel's report names it */
	PayRefundState refund_reported;
	PayRefundState refund_before;
	PayRefundState refund_after;
} PayNews;

/* The same without its message id, which is known with other content. */
extern PayNews PayNewsWithoutId(const PayNews *news);

/* Read a payment and its attempts under the call's snapshot; false if there is none. */
extern bool PayFindRecordByOrder(PayStore *store, text *merchant, text *order_no, PayRecord *record);
extern bool PayFindRecord(PayStore *store, PayNumber pay_no, PayRecord *record);

/*
 * Lock the payment's row, and read again what changed since the record was
 * found; false if it is gone.  From here until the transaction ends nobody else
 * changes this payment: a change of an attempt locks its payment, too.
 */
extern bool PayLockRecord(PayStore *store, PayRecord *record);

/* Lock two payments so, the lower pay_no first; false if one is gone. */
extern bool PayLockRecords(PayStore *store, PayRecord *a, PayRecord *b);

/* The attempt that a number means, if the record has it with this very route. */
extern PayAttempt *PayRecordAttempt(const PayRecord *record, PayNumber trade_no);

/* The channel's row that an attempt was opened by; an error (PY503) if it is gone. */
extern void PayChannelOf(PayStore *store, const PayAttempt *attempt, PayChannel *channel);

/* What is to be done about an attempt later. */
extern PayCare PayRecordCare(const PayRecord *record, const PayAttempt *attempt);

/*
 * May an attempt of it be captured now?  The order is paid once, so nobody captures
 * for it twice.
 *
 * captured		if not: the attempt whose money is being captured, or may have been;
 *				NULL: the order needs no money
 */
extern bool PayMayCapture(const PayRecord *record, const PayAttempt **captured);

/* The attempt, other than this one (NULL: any), whose money is being captured, or may have been; or NULL. */
extern const PayAttempt *PayCapturedAttempt(const PayRecord *record, const PayAttempt *other_than);

/* The attempt that won the payment, or NULL. */
extern PayAttempt *PayRecordWinner(const PayRecord *record);

/*
 * Refunds took, or gave up, an amount of the attempt: what is reserved and what
 * went back.  What goes beyond what it collected is overdrawn.
 */
extern void PayTakeBack(PayRecord *record, PayAttempt *attempt, int64 reserved, int64 refunded);

/* Let the payment's state follow from its attempts. */
extern void PayRecordRollUp(PayRecord *record, TimestampTz now);

/* Set an attempt's state in the record and let the payment follow. */
extern void PayStepAttempt(PayRecord *record, PayAttempt *attempt, PayState to, TimestampTz now);

/* The attempt collected this amount and is paid; if it wins, the payment is. */
extern void PayCollect(PayRecord *record, PayAttempt *attempt, int64 amount, bool wins,
					   TimestampTz now);

/*
 * Write what changed in the record, and the event that says so; what became
 * urgent or is open again goes to the queue.
 *
 * attempt			the attempt it is about, NULL for the payment as a whole
 * payment_before	the states before the change; PAY_NO_STATE for what is new
 * attempt_before
 */
extern void PaySaveRecord(PayStore *store, PayRecord *record, PayAttempt *attempt,
						  PayState payment_before, PayState attempt_before,
						  const PayNews *news, PayDecision decision);

/*
 * Step all open attempts that may take this step, and write an event for each:
 * the news without its message id, which belongs to the payment's own event.
 */
extern void PayStepOpenAttempts(PayStore *store, PayRecord *record, PayState to, const PayNews *news);

/*
 * Queue what needs more care than the queue knows of: at once if it must end.
 * For direct UPDATEs; PaySaveRecord() does it itself.
 */
extern void PayQueueAttempts(PayStore *store, PayRecord *record);

/* The event that says what changed, with the payment's last_seq as its number. */
extern PayEvent PayMakeEvent(const PayRecord *record, const PayAttempt *attempt,
							 PayState payment_before, PayState attempt_before,
							 const PayNews *news, PayDecision decision);

/* Write only that event. */
extern void PaySaveEvent(PayStore *store, const PayRecord *record, const PayAttempt *attempt,
						 PayState payment_before, PayState attempt_before,
						 const PayNews *news, PayDecision decision);

#endif							/* PAY_RECORD_H */

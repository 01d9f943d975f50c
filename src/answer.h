/*
 * answer.h
 *
 * What a function answers: decisions about payments as rows of pay_result, and
 * about refunds as rows of pay_refund_result.
 */
#ifndef PAY_ANSWER_H
#define PAY_ANSWER_H

#include "postgres.h"

#include "machine.h"
#include "record.h"
#include "store.h"

/* What a call answers; what is NULL or 0 here is NULL there. */
typedef struct PayAnswer
{
	PayDecision decision;
	const PayRecord *record;
	const PayAttempt *attempt;
	const PayChannel *channel;	/* of the attempt */
	PayState	payment_state;	/* PAY_NO_STATE: as the rows say */
	PayState	attempt_state;
	const text *trade_no;		/* where there is no attempt: as it was given */
	const text *refund_no;		/* that was opened */
	const text *other_order_no; /* NULL: the order that replaced this one, if any */
	const char *detail;
} PayAnswer;

/* Close the store and give the answer as a pay_result datum. */
extern Datum PayReply(PayStore *store, const PayAnswer *answer);

/* Columns of pay_result, and the answer as values of them, for a function that answers many. */
#define PAY_RESULT_COLUMNS 18

extern void PayShowAnswer(PayStore *store, const PayAnswer *answer, Datum *values, bool *nulls);

/* The same for the usual answer: about an attempt, or about the payment where that is NULL. */
extern Datum PayReplyAbout(PayStore *store, const PayRecord *record, const PayAttempt *attempt,
						   const PayChannel *channel, PayDecision decision, const char *detail);

/* What a refund function answers. */
typedef struct PayRefundAnswer
{
	PayDecision decision;
	const PayRecord *record;	/* NULL: no payment of ours */
	const PayAttempt *attempt;	/* whose money goes back */
	const PayRefund *refund;	/* NULL: no refund of ours */
	PayRefundState state;		/* PAY_NO_REFUND_STATE: as the row says */
	const text *refund_no;		/* where there is no refund: as it was given */
	const text *trade_no;		/* where there is no attempt: as it was given */
	const char *detail;
} PayRefundAnswer;

/* Close the store and give the answer as a pay_refund_result datum. */
extern Datum PayReplyRefund(PayStore *store, const PayRefundAnswer *answer);

/* Columns of pay_refund_result, and the answer as values of them. */
#define PAY_REFUND_RESULT_COLUMNS 9

extern void PayShowRefundAnswer(const PayRefundAnswer *answer, Datum *values, bool *nulls);

#endif							/* PAY_ANSWER_H */

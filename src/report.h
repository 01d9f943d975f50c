/*
 * report.h
 *
 * What a report does to an attempt and its payment, step by step: for one
 * message (report.c), for many (batch.c), and for a direct UPDATE (guard.c).
 */
#ifndef PAY_REPORT_H
#define PAY_REPORT_H

#include "postgres.h"

#include "answer.h"
#include "record.h"
#include "store.h"

/* A report, from a channel's callback or as the caller's own step. */
typedef struct PayReport
{
	PayNews		news;
	text	   *trade_no;		/* as it was given */
	PayNumber	number;			/* none if it is no number of ours */
	text	   *channel;		/* NULL: the caller's own step */
	bool		conflict;		/* its message id is known with other content */
} PayReport;

/* The ten arguments of pay_callback(); PY400. */
extern void PayCallbackArguments(FunctionCallInfo fcinfo, PayReport *report);

/* The source of the events that a channel's callbacks leave. */
extern text *PayCallbackSource(const text *channel);

/*
 * The attempt that a report is about, the payment's number meaning its only one;
 * NULL if there is none, or if another merchant's keys verified the message.
 */
extern PayAttempt *PayMeantAttempt(const PayRecord *record, const PayReport *report);

/* Was this message handled before?  Then its event; else report->conflict is known. */
extern bool PayFindHandled(PayStore *store, const PayRecord *record, PayReport *report, PayEvent *event);

/* Lock the record to decide on it; false, with its event, if the message was handled before. */
extern bool PayLockUnlessHandled(PayStore *store, PayRecord *record, PayReport *report, PayEvent *event);

/* The first answer again. */
extern void PayAnswerReplayed(PayStore *store, const PayRecord *record, const PayEvent *event,
							  PayAnswer *answer);

/*
 * Decide on a report that was not handled before, write what follows, and
 * answer; the record is locked.  Where it means no attempt, the answer is
 * unmatched and nothing is written.
 */
extern void PayReportAttempt(PayStore *store, PayRecord *record, const PayReport *report, TimestampTz now,
							 PayAnswer *answer);

/*
 * Take along the attempts of a payment that is stepped without a call, as
 * pay_transition() with its number would: the record is locked and as it was
 * before the step.  Writes them and their events; the payment's own event is
 * the caller's.  Refused with PY409 where the step, or its amount, is.
 *
 * winner			the attempt that is said to win; 0: the only one that can be meant
 */
extern void PayStepByHand(PayStore *store, PayRecord *record, const PayNews *news, int winner,
						  TimestampTz now);

/* Has the payment taken this step of the whole already, with all that it means? */
extern bool PayIsThere(const PayRecord *record, PayState to);

/* The answer to a report that fits nothing; the caller asks for the review that keeps it, too. */
extern void PayAnswerUnmatched(const PayReport *report, PayAnswer *answer);

/* Put it up for review, once; PY400 if the channel is none. */
extern void PayKeepUnmatched(PayStore *store, const PayReport *report);

#endif							/* PAY_REPORT_H */

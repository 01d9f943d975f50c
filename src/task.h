/*
 * task.h
 *
 * The queue of what has to be looked at later.
 *
 * A row of pay_task only says when to look, and at what; what is to be done
 * follows from the state that is found then (claim.c).  So reports never touch
 * the queue, and a task that finds nothing to do is dropped.
 *
 * There may be several rows about one thing, when it became urgent after the
 * first was queued.  The thing's check_at says which of them counts: the one that
 * was queued for that time, or any while it is PAY_NO_TIME.
 *
 * A lease is in the task's row alone: handing out by the hundred writes one row
 * for each, and nothing that other calls read.
 */
#ifndef PAY_TASK_H
#define PAY_TASK_H

#include "postgres.h"

#include "store.h"

/*
 * The time of question number n (from 0) of a channel's schedule, counted from
 * a time, with jitter: up to a fifth of the wait later, so that what broke in
 * one second does not come back in one second.  PAY_NO_TIME past the end.
 */
extern TimestampTz PayQuestionTime(const PayChannel *channel, int n, TimestampTz from);

/*
 * The same while the money is authorized or a refund is on its way: such news
 * takes hours and days.  The last wait repeats until it was held for as long as
 * the channel's row says, since it began; then PAY_NO_TIME.
 */
extern TimestampTz PayHeldQuestionTime(const PayChannel *channel, int n, TimestampTz from,
									   TimestampTz began);

/* Queue a look at an attempt, a refund, a hold, or (attempt 0) a payment. */
extern void PayQueueAttempt(PayStore *store, PayNumber pay_no, int attempt, TimestampTz due_at);
extern void PayQueueRefund(PayStore *store, const PayRefund *refund, TimestampTz due_at);
extern void PayQueueHold(PayStore *store, const PayHold *hold, TimestampTz due_at);

#endif							/* PAY_TASK_H */

/*
 * task.c
 *
 * The queue of what has to be looked at later.
 */
#include "task.h"

#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "deadline.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* Up to 1 / JITTER of a wait is added to it. */
#define JITTER 5

/* After wait number n (from 0) of a schedule, with jitter; PAY_NO_TIME past its end. */
static TimestampTz
AfterWait(const struct varlena *schedule, int n, TimestampTz from)
{
	TimestampTz at;
	int			place = n + 1;
	bool		past_end;
	Datum		wait = array_get_element(PointerGetDatum(schedule), 1, &place, -1,
										 sizeof(Interval), false, TYPALIGN_DOUBLE, &past_end);

	if (past_end)
		return PAY_NO_TIME;
	at = PayAfter(from, DatumGetIntervalP(wait));
	if (at == PAY_NO_TIME)
		return at;
	return at + (TimestampTz) ((at - from) / JITTER * pg_prng_double(&pg_global_prng_state));
}

TimestampTz
PayQuestionTime(const PayChannel *channel, int n, TimestampTz from)
{
	return AfterWait(channel->schedule, n, from);
}

TimestampTz
PayHeldQuestionTime(const PayChannel *channel, int n, TimestampTz from, TimestampTz began)
{
	ArrayType  *waits = (ArrayType *) channel->schedule_held;
	int			last = ArrayGetNItems(ARR_NDIM(waits), ARR_DIMS(waits)) - 1;

	if (PayAfter(began, &channel->held_for) <= from)
		return PAY_NO_TIME;
	return AfterWait(channel->schedule_held, Min(n, last), from);
}

static void
Queue(PayStore *store, PayNumber pay_no, int attempt, text *refund_no, text *resource, TimestampTz due_at)
{
	PayTask		task;

	memset(&task, 0, sizeof(task));
	task.due_at = task.queued_for = due_at;
	task.claimed_at = PAY_NO_TIME;
	task.pay_no = pay_no;
	task.attempt = attempt;
	task.refund_no = refund_no;
	task.resource = resource;
	PayInsertTask(store, &task);
}

void
PayQueueAttempt(PayStore *store, PayNumber pay_no, int attempt, TimestampTz due_at)
{
	Queue(store, pay_no, attempt, NULL, NULL, due_at);
}

void
PayQueueRefund(PayStore *store, const PayRefund *refund, TimestampTz due_at)
{
	Queue(store, refund->pay_no, refund->attempt, refund->refund_no, NULL, due_at);
}

void
PayQueueHold(PayStore *store, const PayHold *hold, TimestampTz due_at)
{
	Queue(store, hold->pay_no, 0, NULL, hold->resource, due_at);
}

/*
 * claim.c
 *
 * Due work, handed out to workers.
 *
 * A claim goes through the tasks that are due, the longest due first, and skips
 * whatever this worker does not do or somebody else has locked.  It locks the
 * task, then the payment with its attempts, then the refund or hold, never
 * waiting, decides what is to be done by the states that it finds, and hands
 * that out with a lease: until it runs out nobody else gets it.  A task that
 * finds nothing to do is dropped.
 *
 * A worker that was handed a task answers by reporting what the channel said
 * (pay_callback and the like), which the attempt or refund counts.  When the lease
 * is over the task is due again: with a report since, it waits for the next
 * question of the channel's schedule; without one, somebody else gets it.
 */
#include "postgres.h"

#include "argument.h"
#include "catalog/pg_type.h"
#include "database.h"
#include "deadline.h"
#include "errors.h"
#include "fmgr.h"
#include "funcapi.h"
#include "hold.h"
#include "miscadmin.h"
#include "payment.h"
#include "record.h"
#include "review.h"
#include "task.h"
#include "text.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define MAX_TASKS 10000

/* A claim that has dropped so many tasks with nothing to do ends early, to be a short transaction. */
#define MAX_DROPS 100000

typedef enum Action
{
	NO_ACTION,
	QUERY,
	CLOSE,
	VOID,
	SUBMIT_REFUND,
	QUERY_REFUND,
	CONFIRM_HOLD,
	RELEASE_HOLD,
	LABELLED_ACTIONS,
	EXPIRE = LABELLED_ACTIONS,	/* done here: no worker is needed */
	PASS_BY,					/* the rows are damaged: a person is */
	ACTIONS
} Action;

static const char *const action_label[LABELLED_ACTIONS] = {
	[QUERY] = "query",
	[CLOSE] = "close",
	[VOID] = "void",
	[SUBMIT_REFUND] = "submit_refund",
	[QUERY_REFUND] = "query_refund",
	[CONFIRM_HOLD] = "confirm_hold",
	[RELEASE_HOLD] = "release_hold"
};

/* The columns of pay_claim(), in their order. */
enum
{
	CLAIM_ACTION,
	CLAIM_TRADE_NO,
	CLAIM_REFUND_NO,
	CLAIM_RESOURCE,
	CLAIM_PAY_NO,
	CLAIM_MERCHANT,
	CLAIM_ORDER_NO,
	CLAIM_STATE,
	CLAIM_CHANNEL,
	CLAIM_METHOD,
	CLAIM_AMOUNT,
	CLAIM_CURRENCY,
	CLAIM_QUANTITY,
	CLAIM_CHANNEL_TXN,
	CLAIM_TRIES,
	CLAIM_LEASE_UNTIL,
	CLAIM_KIND,
	CLAIM_COLUMNS
};

typedef struct Claim
{
	PayStore   *store;
	ReturnSetInfo *rsinfo;
	text	   *worker;
	TimestampTz now;
	TimestampTz lease_until;
	bool		wanted[ACTIONS];
	int			handed_out;
	int			dropped;
} Claim;

/* What a task is about, as it was found. */
typedef struct Subject
{
	PayRecord	record;
	PayAttempt *attempt;		/* NULL: a hold's task, or the payment's own */
	PayChannel	channel;		/* of the attempt */
	PayRefund	refund;			/* where the task names one */
	PayHold		hold;
	TimestampTz *check_at;		/* of the attempt, refund or hold: which task counts */
	int32		reports;		/* of the attempt or refund */
	const char *state;
	const char *damage;			/* what is wrong with the rows; NULL: nothing */
	Action		action;
} Subject;

/* ---- handing out ---- */

static void
SetColumn(Datum *values, bool *nulls, int column, Datum value)
{
	values[column] = value;
	nulls[column] = false;
}

static void
SetTextColumn(Datum *values, bool *nulls, int column, const text *value)
{
	if (value != NULL)
		SetColumn(values, nulls, column, PointerGetDatum(value));
}

static void
HandOut(Claim *claim, const PayTask *task, const Subject *subject)
{
	const PayPayment *payment = &subject->record.payment;
	const PayAttempt *attempt = subject->attempt;
	Datum		values[CLAIM_COLUMNS];
	bool		nulls[CLAIM_COLUMNS];

	Assert(subject->action > NO_ACTION && subject->action < LABELLED_ACTIONS);
	memset(nulls, true, sizeof(nulls));
	SetColumn(values, nulls, CLAIM_ACTION, CStringGetTextDatum(action_label[subject->action]));
	SetColumn(values, nulls, CLAIM_PAY_NO, PointerGetDatum(PayNumberText(payment->pay_no)));
	SetTextColumn(values, nulls, CLAIM_MERCHANT, payment->merchant);
	SetTextColumn(values, nulls, CLAIM_ORDER_NO, payment->order_no);
	SetColumn(values, nulls, CLAIM_STATE, CStringGetTextDatum(subject->state));
	SetTextColumn(values, nulls, CLAIM_CURRENCY, payment->currency);
	SetColumn(values, nulls, CLAIM_TRIES, Int32GetDatum(task->tries));
	SetColumn(values, nulls, CLAIM_LEASE_UNTIL, TimestampTzGetDatum(claim->lease_until));
	if (attempt != NULL)
	{
		SetColumn(values, nulls, CLAIM_TRADE_NO, PointerGetDatum(PayNumberText(attempt->trade_no)));
		SetTextColumn(values, nulls, CLAIM_CHANNEL, subject->channel.channel);
		SetTextColumn(values, nulls, CLAIM_METHOD, subject->channel.method);
		SetColumn(values, nulls, CLAIM_AMOUNT, Int64GetDatum(attempt->amount));
		SetTextColumn(values, nulls, CLAIM_CHANNEL_TXN, attempt->channel_txn);
	}
	if (task->refund_no != NULL)
	{
		SetTextColumn(values, nulls, CLAIM_REFUND_NO, task->refund_no);
		SetColumn(values, nulls, CLAIM_AMOUNT, Int64GetDatum(subject->refund.amount));
		SetTextColumn(values, nulls, CLAIM_KIND, subject->refund.kind);
		if (subject->refund.of_txn != NULL)
			SetTextColumn(values, nulls, CLAIM_CHANNEL_TXN, subject->refund.of_txn);
	}
	if (task->resource != NULL)
	{
		SetTextColumn(values, nulls, CLAIM_RESOURCE, task->resource);
		SetColumn(values, nulls, CLAIM_QUANTITY, Int64GetDatum(subject->hold.quantity));
	}
	tuplestore_putvalues(claim->rsinfo->setResult, claim->rsinfo->setDesc, values, nulls);
	claim->handed_out++;
}

/* ---- when ---- */

typedef enum Turn
{
	ITS_TURN,					/* hand it out now */
	NOT_YET,					/* answered: the next question is later */
	EXHAUSTED					/* the schedule is over */
} Turn;

/* When the next question is due about what was answered; PAY_NO_TIME if there is none. */
static TimestampTz
NextQuestion(const PayTask *task, const Subject *subject)
{
	if (task->refund_no != NULL && subject->refund.state == PAY_REFUND_PROCESSING)
		return PayHeldQuestionTime(&subject->channel, task->tries - 1, task->claimed_at, subject->refund.requested_at);
	if (task->refund_no == NULL && subject->attempt->state == PAY_AUTHORIZED)
		return PayHeldQuestionTime(&subject->channel, task->tries - 1, task->claimed_at, subject->attempt->opened_at);
	return PayQuestionTime(&subject->channel, task->tries, task->claimed_at);
}

/*
 * Is it a task's turn, which is due?
 *
 * next			if it is not: when it will be
 */
static Turn
TakeTurn(const Claim *claim, PayTask *task, const Subject *subject, TimestampTz *next)
{
	if (task->claimed_at == PAY_NO_TIME)
	{
		task->tries = Max(task->tries, 1);
		return ITS_TURN;
	}
	/* a question that nobody put, or whose answer was lost, is none: an outage uses up no schedule */
	if (task->asked_by != NULL && task->reports == subject->reports)
		return ITS_TURN;
	*next = NextQuestion(task, subject);
	if (*next == PAY_NO_TIME)
		return EXHAUSTED;
	task->tries++;
	if (*next <= claim->now)
		return ITS_TURN;
	/* when it is due again it is its turn, whatever jitter would be drawn then */
	task->claimed_at = PAY_NO_TIME;
	return NOT_YET;
}

/* More left than came: what we were to send besides waits, for nothing further goes back meanwhile. */
static bool
IsHeldBack(const Subject *subject)
{
	return subject->action == SUBMIT_REFUND && subject->attempt->amount_overdrawn > 0 &&
		!PayTextIs(subject->refund.kind, "extra");
}

/*
 * The same for what is held back: it is looked at by the channel's schedule, until
 * the money is there again or a person calls it off.
 */
static Turn
PutOff(const Claim *claim, PayTask *task, const Subject *subject, TimestampTz *next)
{
	task->tries = Max(task->tries, 1);
	*next = PayQuestionTime(&subject->channel, task->tries, claim->now);
	if (*next == PAY_NO_TIME)
		return EXHAUSTED;
	task->tries++;
	task->claimed_at = PAY_NO_TIME;
	return NOT_YET;
}

/* A task finds nothing to do, now or ever. */
static void
Drop(Claim *claim, PayTask *task)
{
	PayDeleteTask(claim->store, task);
	claim->dropped++;
}

static PayNews
ClaimNews(const char *reason)
{
	PayNews		news;

	memset(&news, 0, sizeof(news));
	news.source = cstring_to_text("claim");
	news.occurred_at = PAY_NO_TIME;
	news.reason = cstring_to_text(reason);
	return news;
}

/* ---- attempts ---- */

/* Was money ever authorized by it? Only asked of what is to end. */
static bool
WasAuthorized(PayStore *store, const PayAttempt *attempt)
{
	ListCell   *cell;

	foreach(cell, PayListEvents(store, attempt->pay_no))
	{
		const PayEvent *event = lfirst(cell);

		if (event->attempt == attempt->attempt && event->attempt_after == PAY_AUTHORIZED)
			return true;
	}
	return false;
}

static Action
ActionForAttempt(PayStore *store, const PayRecord *record, const PayAttempt *attempt,
				 const PayChannel *channel)
{
	if (PayRecordCare(record, attempt) != PAY_END || attempt->state == PAY_CAPTURING)
		return QUERY;
	if (attempt->state == PAY_AUTHORIZED || WasAuthorized(store, attempt))
		return VOID;
	if (channel->can_close)
		return CLOSE;
	return channel->can_reverse ? VOID : QUERY;
}

/* An attempt that the channel itself no longer keeps open has an unknown outcome until somebody asks. */
static void
TimeOut(Claim *claim, PayRecord *record, PayAttempt *attempt, const PayChannel *channel)
{
	TimestampTz ends = PayAfter(attempt->handed_out_at, &channel->timeout);
	PayState	payment_before = (PayState) record->payment.state;
	PayNews		news;

	if (attempt->state != PAY_PAYING || ends > claim->now)
		return;
	news = ClaimNews("the channel's timeout is over");
	PayStepAttempt(record, attempt, PAY_UNKNOWN, claim->now);
	PaySaveRecord(claim->store, record, attempt, payment_before, PAY_PAYING, &news, PAY_APPLIED);
}

static Action
ActionForRefund(const PayRefund *refund)
{
	switch ((PayRefundState) refund->state)
	{
		case PAY_REFUND_REQUESTED:
			return SUBMIT_REFUND;
		case PAY_REFUND_PROCESSING:
		case PAY_REFUND_UNKNOWN:
			return QUERY_REFUND;
		default:
			return NO_ACTION;	/* it is over, or a person's */
	}
}

static Action
ActionForHold(const PayHold *hold)
{
	PayHoldState state = PayHoldStateOf(hold);

	if (state == PAY_CONFIRMING)
		return CONFIRM_HOLD;
	return state == PAY_RELEASING ? RELEASE_HOLD : NO_ACTION;
}

/* ---- looking ---- */

/* Read what a task is about, as far as the rows are sound; false if it is not there. */
static bool
ReadSubject(PayStore *store, const PayTask *task, Subject *subject)
{
	PayRecord  *record = &subject->record;

	if (!PayFindRecord(store, task->pay_no, record))
	{
		PayDamaged(store, PAY_TASK_TABLE, task,
				   psprintf("payment %s is missing", text_to_cstring(PayNumberText(task->pay_no))));
		return false;
	}
	if (task->attempt < 0 || task->attempt > record->payment.routes.n)
		return false;
	if (task->resource != NULL)
		return PayFindHold(store, task->pay_no, task->resource, &subject->hold);
	if (task->attempt == 0)
		return true;
	subject->attempt = record->attempt[task->attempt - 1];
	if (subject->attempt == NULL)
		return false;
	if (!PayFindRoute(store, subject->attempt->route, &subject->channel))
		PayDamaged(store, PAY_ATTEMPT_TABLE, subject->attempt,
				   psprintf("route %d is missing in \"pay_channel\"", subject->attempt->route));
	if (task->refund_no == NULL)
		return true;
	if (!PayFindRefund(store, record->payment.merchant, task->refund_no, &subject->refund))
		return false;
	if (subject->refund.attempt != task->attempt || !PayNumbersEqual(subject->refund.pay_no, task->pay_no))
		PayDamaged(store, PAY_REFUND_TABLE, &subject->refund,
				   psprintf("its task says attempt %d of payment %s", task->attempt,
							text_to_cstring(PayNumberText(task->pay_no))));
	return true;
}

/* The same; where rows are damaged, the subject says so and must not be looked at further. */
static bool
Load(PayStore *store, const PayTask *task, Subject *subject)
{
	bool		found;

	memset(subject, 0, sizeof(Subject));
	PayPassDamageBy(store, true);
	found = ReadSubject(store, task, subject);
	PayPassDamageBy(store, false);
	subject->damage = PayTakeDamage(store);
	return found;
}

/* Decide by the rows as they were read what is to be done; NO_ACTION: nothing, or another task counts. */
static Action
Judge(PayStore *store, const PayTask *task, Subject *subject)
{
	const PayRecord *record = &subject->record;
	PayAttempt *attempt = subject->attempt;

	if (task->resource != NULL)
	{
		subject->check_at = &subject->hold.check_at;
		subject->state = text_to_cstring(subject->hold.state);
		subject->action = ActionForHold(&subject->hold);
	}
	else if (task->refund_no != NULL)
	{
		subject->check_at = &subject->refund.check_at;
		subject->reports = subject->refund.reports;
		subject->state = PayRefundStateLabel((PayRefundState) subject->refund.state);
		subject->action = ActionForRefund(&subject->refund);
	}
	else if (attempt != NULL)
	{
		subject->check_at = &attempt->check_at;
		subject->reports = attempt->reports;
		subject->state = PayStateLabel((PayState) attempt->state);
		subject->action = PayAttemptIsOpen((PayState) attempt->state) ?
			ActionForAttempt(store, record, attempt, &subject->channel) : NO_ACTION;
	}
	else
		subject->action = PayPaymentWaits(&record->payment) ? EXPIRE : NO_ACTION;

	/* what became urgent has a newer task */
	if (subject->check_at != NULL && *subject->check_at != PAY_NO_TIME && *subject->check_at != task->queued_for)
		subject->action = NO_ACTION;
	return subject->action;
}

static Action
Look(PayStore *store, const PayTask *task, Subject *subject)
{
	bool		found = Load(store, task, subject);

	if (subject->damage != NULL)
		return subject->action = PASS_BY;
	return found ? Judge(store, task, subject) : NO_ACTION;
}

/* Lock what a task is about and look again; false if somebody else has it. */
static bool
TryLock(PayStore *store, const PayTask *task, Subject *subject)
{
	PayRecord  *record = &subject->record;
	int			i;

	if (!PayTryLockPayment(store, &record->payment) || !Load(store, task, subject) ||
		subject->damage != NULL)
		return false;
	for (i = 0; i < record->payment.routes.n; i++)
		if (!PayTryLockAttempt(store, record->attempt[i]))
			return false;
	if (task->refund_no != NULL && !PayTryLockRefund(store, &subject->refund))
		return false;
	return task->resource == NULL || PayTryLockHold(store, &subject->hold);
}

/* ---- carrying out ---- */

static void
Update(PayStore *store, const PayTask *task, Subject *subject)
{
	if (task->resource != NULL)
		PayUpdateHold(store, &subject->hold);
	else if (task->refund_no != NULL)
		PayUpdateRefund(store, &subject->refund);
	else
		PayUpdateAttempt(store, subject->attempt);
}

/* Move a task to another time; worker: who has it until then, or NULL. */
static void
Reschedule(PayStore *store, PayTask *task, TimestampTz due_at, text *worker)
{
	task->due_at = due_at;
	task->asked_by = worker;
	PayUpdateTask(store, task);
}

/* What a hand-out changes of what it is about: most often nothing, so that a lease is one row's write. */
static void
NoteHandedOut(Claim *claim, const PayTask *task, Subject *subject)
{
	bool		is_pinned = *subject->check_at != PAY_NO_TIME;

	/* of several tasks that an import left about one thing, this one counts from now on */
	if (!is_pinned)
		*subject->check_at = task->queued_for;
	if (subject->action == SUBMIT_REFUND)
		subject->refund.handed_out_at = claim->now;
	if (!is_pinned || subject->action == SUBMIT_REFUND)
		Update(claim->store, task, subject);
}

/* What a person is told when the schedule of questions is over. */
static const char *
DescribeExhausted(const PayTask *task, const Subject *subject)
{
	if (IsHeldBack(subject))
		return psprintf("%lld more left than the attempt collected, so this refund was not sent: step it to failed, or to succeeded if it went back all the same",
						(long long) subject->attempt->amount_overdrawn);
	if (task->refund_no != NULL)
		return psprintf("the channel was asked to the end of its schedule and the refund is %s: ask there and step it",
						subject->state);
	if (subject->attempt->state == PAY_AUTHORIZED)
		return "the money has been authorized for as long as the channel's row says: capture it, or void it by stepping to closing";
	return psprintf("the channel was asked to the end of its schedule and the attempt is %s: ask there and report it",
					subject->state);
}

/* The questions are over and it is not: a person must look. */
static void
GiveUp(Claim *claim, PayTask *task, Subject *subject)
{
	PayNews		news = ClaimNews("the schedule is over");

	news.refund_no = task->refund_no;
	PayOpenReview(claim->store, PAY_REVIEW_EXHAUSTED, &subject->record, subject->attempt, &news,
				  PayNumberText(subject->attempt->trade_no), DescribeExhausted(task, subject));
	*subject->check_at = PAY_NO_TASK;
	Update(claim->store, task, subject);
	Drop(claim, task);
}

/* Past its time, with nothing open, a payment is over and gives back what it holds. */
static void
Expire(Claim *claim, PayTask *task, PayRecord *record)
{
	PayStore   *store = claim->store;
	PayState	before = (PayState) record->payment.state;
	bool		ends = PayIsToEnd(&record->payment, claim->now);
	PayNews		news;
	int			i;

	for (i = 0; i < record->payment.routes.n; i++)
		if (PayAttemptIsOpen((PayState) record->attempt[i]->state))
			break;
	/* what is open must end first; then we look again */
	if (!ends || i < record->payment.routes.n)
	{
		task->due_at = ends ? claim->lease_until : record->payment.valid_until;
		PayUpdateTask(store, task);
		return;
	}
	if (!PayTryLockHolds(store, &record->payment))
		return;
	news = ClaimNews("the order is past the time that it was valid for");
	record->payment.state = PAY_CLOSED;
	PaySaveRecord(store, record, NULL, before, PAY_NO_STATE, &news, PAY_APPLIED);
	Drop(claim, task);
}

/* Hand a task out, if it is its turn; all is locked. */
static void
CarryOut(Claim *claim, PayTask *task, Subject *subject)
{
	PayStore   *store = claim->store;
	Turn		turn = ITS_TURN;
	TimestampTz next;

	if (subject->action == EXPIRE)
	{
		Expire(claim, task, &subject->record);
		return;
	}
	/* a participant is asked until he has done it; a channel by its schedule */
	if (task->resource != NULL)
		task->tries = Min(task->tries + 1, PG_INT16_MAX);
	else
		turn = IsHeldBack(subject) ? PutOff(claim, task, subject, &next) : TakeTurn(claim, task, subject, &next);
	if (turn == NOT_YET)
		Reschedule(store, task, next, NULL);
	else if (turn == EXHAUSTED)
		GiveUp(claim, task, subject);
	if (turn != ITS_TURN)
		return;

	if (task->resource == NULL && task->refund_no == NULL)
	{
		TimeOut(claim, &subject->record, subject->attempt, &subject->channel);
		subject->state = PayStateLabel((PayState) subject->attempt->state);
	}
	NoteHandedOut(claim, task, subject);
	task->claimed_at = claim->now;
	task->reports = subject->reports;
	Reschedule(store, task, claim->lease_until, claim->worker);
	HandOut(claim, task, subject);
}

/* ---- the claim ---- */

/* Does a worker who takes only some actions take any about such a thing? */
static bool
MayBeWanted(const Claim *claim, const PayTask *task)
{
	if (task->refund_no != NULL)
		return claim->wanted[SUBMIT_REFUND] || claim->wanted[QUERY_REFUND];
	if (task->resource != NULL)
		return claim->wanted[CONFIRM_HOLD] || claim->wanted[RELEASE_HOLD];
	return task->attempt == 0 || claim->wanted[QUERY] || claim->wanted[CLOSE] || claim->wanted[VOID];
}

/* Does an open review say already that rows of this payment are damaged? */
static bool
IsNoted(PayStore *store, PayNumber pay_no)
{
	ListCell   *cell;

	foreach(cell, PayListOpenReviews(store, pay_no))
		if (PayReviewKindOf(lfirst(cell)) == PAY_REVIEW_DAMAGED)
			return true;
	return false;
}

/*
 * Nobody can be told what to do about damaged rows, and nobody else's task
 * waits for them.  The task stays due, so it is handed out once they are repaired.
 */
static void
NoteDamage(Claim *claim, const PayTask *task, Subject *subject)
{
	PayPayment *payment = &subject->record.payment;
	bool		there = payment->head.tuple != NULL;
	PayNews		news = ClaimNews(subject->damage);

	if (there && (IsNoted(claim->store, task->pay_no) || !PayTryLockPayment(claim->store, payment) ||
				  IsNoted(claim->store, task->pay_no)))
		return;
	PayOpenReview(claim->store, PAY_REVIEW_DAMAGED, there ? &subject->record : NULL, NULL, &news,
				  PayNumberText(task->pay_no), subject->damage);
}

/*
 * Whom a task is about is read first, so that nothing is locked that this
 * worker does not do; what is decided is decided on what is locked.
 */
static void
ClaimTask(Claim *claim, PayTask *task)
{
	PayStore   *store = claim->store;
	Subject		subject;
	Action		action = Look(store, task, &subject);

	/* what is not there for this worker may be another merchant's: another worker's, and not to be dropped */
	if (!PayMayActFor(store, subject.record.payment.merchant))
		return;
	if (action == PASS_BY)
		NoteDamage(claim, task, &subject);
	if (action == PASS_BY || (action != NO_ACTION && !claim->wanted[action]))
		return;
	if (!PayTryLockTask(store, task) || task->due_at > claim->now)
		return;
	if (Look(store, task, &subject) == NO_ACTION)
		Drop(claim, task);
	else if (claim->wanted[subject.action] && TryLock(store, task, &subject) &&
			 claim->wanted[Judge(store, task, &subject)])
		CarryOut(claim, task, &subject);
}

/* The next task whose row is sound; false at the end. */
static bool
NextDue(Claim *claim, PayDueScan *due, PayTask *task)
{
	const char *damage;
	bool		found;

	do
	{
		CHECK_FOR_INTERRUPTS();
		PayPassDamageBy(claim->store, true);
		found = PayNextDue(due, task);
		PayPassDamageBy(claim->store, false);
		damage = PayTakeDamage(claim->store);
		if (damage != NULL)
		{
			PayNews		news = ClaimNews(damage);

			PayOpenReview(claim->store, PAY_REVIEW_DAMAGED, NULL, NULL, &news, PayNumberText(task->pay_no), damage);
		}
	} while (damage != NULL);
	return found;
}

static int
TasksArgument(FunctionCallInfo fcinfo, int n)
{
	int			tasks;

	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(PAY_ERR_BAD_ARGUMENT),
				 errmsg("max_tasks must not be NULL"),
				 errdetail("Nothing was read or written.")));
	tasks = PG_GETARG_INT32(n);
	if (tasks < 1 || tasks > MAX_TASKS)
		ereport(ERROR,
				(errcode(PAY_ERR_BAD_ARGUMENT),
				 errmsg("invalid max_tasks: %d", tasks),
				 errdetail("A claim hands out from 1 to %d tasks.", MAX_TASKS)));
	return tasks;
}

/* Which actions a worker takes; NULL: all. */
static void
ActionsArgument(FunctionCallInfo fcinfo, int n, bool *wanted)
{
	Datum	   *labels;
	bool	   *nulls;
	int			count;
	int			i;
	int			action;

	memset(wanted, PG_ARGISNULL(n), ACTIONS * sizeof(bool));
	wanted[NO_ACTION] = wanted[PASS_BY] = false;
	wanted[EXPIRE] = true;
	if (PG_ARGISNULL(n))
		return;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(n), TEXTOID, -1, false, TYPALIGN_INT, &labels, &nulls, &count);
	for (i = 0; i < count; i++)
	{
		for (action = QUERY; action < LABELLED_ACTIONS; action++)
			if (!nulls[i] && PayTextIs(DatumGetTextPP(labels[i]), action_label[action]))
				break;
		if (action == LABELLED_ACTIONS)
			ereport(ERROR,
					(errcode(PAY_ERR_BAD_ARGUMENT),
					 errmsg("invalid action: \"%s\"", nulls[i] ? "NULL" : TextDatumGetCString(labels[i])),
					 errdetail("The actions are query, close, void, submit_refund, query_refund, confirm_hold and release_hold.")));
		wanted[action] = true;
	}
}

PG_FUNCTION_INFO_V1(pay_claim);
Datum
pay_claim(PG_FUNCTION_ARGS)
{
	Claim		claim;
	int			max_tasks;
	PayDueScan *due;
	PayTask		task;

	memset(&claim, 0, sizeof(claim));
	claim.now = GetCurrentTimestamp();
	claim.worker = PayKeyArgument(fcinfo, 0, "worker", PAY_REQUIRED);
	max_tasks = TasksArgument(fcinfo, 1);
	claim.lease_until = PayDeadlineArgument(fcinfo, 2, "lease", claim.now, PAY_MAX_LEASE_DAYS, PAY_REQUIRED);
	ActionsArgument(fcinfo, 3, claim.wanted);

	InitMaterializedSRF(fcinfo, 0);
	claim.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	claim.store = PayStoreOpen(fcinfo, PAY_WRITES, PAY_LOOK_AT_RECORDS | PAY_LOOK_AT(PAY_TASK_TABLE) |
							   PAY_LOOK_AT(PAY_DATABASE_TABLE));
	PayCheckDatabaseIsAdopted(claim.store);
	due = PayBeginDue(claim.store, claim.now);
	while (claim.handed_out < max_tasks && claim.dropped < MAX_DROPS)
	{
		CHECK_FOR_INTERRUPTS();
		PayStoreNextItem(claim.store);
		if (!NextDue(&claim, due, &task))
			break;
		if (MayBeWanted(&claim, &task))
			ClaimTask(&claim, &task);
	}
	PayEndDue(due);
	PayStoreClose(claim.store);
	return (Datum) 0;
}

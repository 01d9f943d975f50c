/*
 * batch.c
 *
 * One call for many callbacks: as if each had come by itself, in their order,
 * within one transaction; but locked so that no two batches deadlock.
 *
 * All messages are read and checked before anything is locked.  Then the
 * payments that a message changes are locked in the order of pay_no, then the
 * resources that they may give back in the order of (merchant, resource).  All
 * messages are decided on under these locks, by the code of report.c.  Those
 * that fit nothing come last, in the order of their key in pay_review, where
 * whoever inserts the same waits.  So each kind of lock is taken in one order,
 * and none is waited for while a later kind is held.
 *
 * A payment with nothing but messages that were handled before is not locked:
 * a batch that is delivered again writes nothing.
 *
 * Memory: the messages live as long as the call, and so do the records of the
 * payments that one message alone is about, which it is decided on; all else that
 * a message needs is forgotten with the next.
 */
#include "postgres.h"

#include "answer.h"
#include "fmgr.h"
#include "funcapi.h"
#include "hold.h"
#include "json_in.h"
#include "miscadmin.h"
#include "report.h"
#include "utils/timestamp.h"

/* The arguments of pay_callback(), in their order. */
static const PayJsonKey message_keys[] = {
	{"channel", PAY_JSON_TEXT},
	{"callback_id", PAY_JSON_TEXT},
	{"trade_no", PAY_JSON_TEXT},
	{"reported", PAY_JSON_TEXT},
	{"amount", PAY_JSON_INTEGER},
	{"currency", PAY_JSON_TEXT},
	{"channel_txn", PAY_JSON_TEXT},
	{"occurred_at", PAY_JSON_TIME},
	{"payload", PAY_JSON_ANY},
	{"merchant", PAY_JSON_TEXT}
};

typedef struct Message
{
	int			n;				/* place in the array, from 1 */
	PayReport	report;
	bool		locked;			/* its payment is */
	PayRecord  *record;			/* it, where no other message is about it */
} Message;

typedef struct Batch
{
	PayStore   *store;
	ReturnSetInfo *rsinfo;
	MemoryContext context;		/* of what lives as long as the call */
	Message    *messages;
	int			count;
	Message   **by_payment;		/* those whose number is one of ours, by payment and place */
	int			of_payments;
	List	   *holders;			/* pay_no of locked payments that may give something back */
	Message   **unmatched;		/* in the order of the array until they are kept */
	int			n_unmatched;
	int			at;				/* message that is being worked on; 0: none */
} Batch;

static void
SayWhich(void *arg)
{
	const Batch *batch = arg;

	if (batch->at > 0)
		errcontext("message %d of %d", batch->at, batch->count);
}

/* Begin with a message: forget what the last one needed. */
static void
Begin(Batch *batch, const Message *message)
{
	CHECK_FOR_INTERRUPTS();
	batch->at = message->n;
	PayStoreNextItem(batch->store);
}

/* ---- reading ---- */

static void
ReadMessages(Batch *batch, const JsonbValue *elements)
{
	int			i;

	batch->messages = palloc0(batch->count * sizeof(Message));
	for (i = 0; i < batch->count; i++)
	{
		LOCAL_FCINFO(call, lengthof(message_keys));
		PayFault	fault;

		CHECK_FOR_INTERRUPTS();
		batch->at = batch->messages[i].n = i + 1;
		InitFunctionCallInfoData(*call, NULL, lengthof(message_keys), InvalidOid, NULL, NULL);
		if (!PayReadObject(&elements[i], message_keys, lengthof(message_keys), call->args, &fault))
			PayThrowFault(&fault);
		PayCallbackArguments(call, &batch->messages[i].report);
	}
}

/* ---- payments ---- */

static bool
AreAboutOnePayment(const Message *a, const Message *b)
{
	return PayNumbersEqual(PayPaymentNumber(a->report.number), PayPaymentNumber(b->report.number));
}

static int
CompareByPayment(const void *a, const void *b)
{
	const Message *x = *(Message *const *) a;
	const Message *y = *(Message *const *) b;
	int			difference = PayCompareNumbers(PayPaymentNumber(x->report.number),
											   PayPaymentNumber(y->report.number));

	return difference != 0 ? difference : x->n - y->n;
}

static void
SortByPayment(Batch *batch)
{
	int			i;

	batch->by_payment = palloc(batch->count * sizeof(Message *));
	for (i = 0; i < batch->count; i++)
		if (!PayNumberIsNone(batch->messages[i].report.number))
			batch->by_payment[batch->of_payments++] = &batch->messages[i];
	qsort(batch->by_payment, batch->of_payments, sizeof(Message *), CompareByPayment);
}

/* Lock a payment, if any of the messages about it says anything new. */
static bool
LockForNews(PayStore *store, PayRecord *record, Message **messages, int n)
{
	PayEvent	ignored;
	int			i;

	for (i = 0; i < n; i++)
		if (PayMeantAttempt(record, &messages[i]->report) != NULL &&
			PayLockUnlessHandled(store, record, &messages[i]->report, &ignored))
			return true;
	return false;
}

/* Can news of this state end a payment that is to end? */
static bool
EndsAttempt(PayState reported)
{
	return !PayAttemptIsOpen(reported) && reported != PAY_PAID;
}

/*
 * Lock the payment that these messages are about, if they say anything new.
 * Where there is one, it is decided on what was read here.
 */
static void
LockPayment(Batch *batch, Message **messages, int n)
{
	PayStore   *store = batch->store;
	PayNumber	pay_no = PayPaymentNumber(messages[0]->report.number);
	PayRecord  *record;
	bool		ends = false;
	int			i;

	Begin(batch, messages[0]);
	if (n == 1)
		MemoryContextSwitchTo(batch->context);
	record = palloc(sizeof(PayRecord));
	if (!PayFindRecord(store, pay_no, record) || !LockForNews(store, record, messages, n))
		return;
	if (n == 1)
		messages[0]->record = record;
	for (i = 0; i < n; i++)
	{
		messages[i]->locked = true;
		ends = ends || EndsAttempt(messages[i]->report.news.reported);
	}
	if (ends && record->payment.holds > 0)
	{
		PayNumber  *holder;

		MemoryContextSwitchTo(batch->context);
		holder = palloc(sizeof(PayNumber));
		*holder = pay_no;
		batch->holders = lappend(batch->holders, holder);
	}
}

static void
LockPayments(Batch *batch)
{
	int			first;
	int			end;

	SortByPayment(batch);
	for (first = 0; first < batch->of_payments; first = end)
	{
		for (end = first + 1; end < batch->of_payments; end++)
			if (!AreAboutOnePayment(batch->by_payment[first], batch->by_payment[end]))
				break;
		LockPayment(batch, batch->by_payment + first, end - first);
	}
	batch->at = 0;
}

/* ---- resources ---- */

/* Lock what payments give back that may end now: whether one does is decided at one time for all. */
static void
LockResources(Batch *batch, TimestampTz now)
{
	List	   *resources = NIL;
	ListCell   *cell;

	MemoryContextSwitchTo(batch->context);
	foreach(cell, batch->holders)
	{
		PayPayment	payment;

		CHECK_FOR_INTERRUPTS();
		if (PayFindPayment(batch->store, *(PayNumber *) lfirst(cell), &payment) &&
			PayIsToEnd(&payment, now))
			resources = PayAddGivenBack(batch->store, &payment, resources);
	}
	PayLockGivenBack(batch->store, resources);
}

/* ---- deciding ---- */

static void
Answer(Batch *batch, Message *message, const PayAnswer *answer)
{
	Datum		values[1 + PAY_RESULT_COLUMNS];
	bool		nulls[1 + PAY_RESULT_COLUMNS];

	values[0] = Int32GetDatum(message->n);
	nulls[0] = false;
	PayShowAnswer(batch->store, answer, values + 1, nulls + 1);
	tuplestore_putvalues(batch->rsinfo->setResult, batch->rsinfo->setDesc, values, nulls);
	if (answer->decision == PAY_UNMATCHED)
		batch->unmatched[batch->n_unmatched++] = message;
}

/* As pay_callback() does it.  What had no news when payments were locked has none now. */
static void
Decide(Batch *batch, Message *message, TimestampTz now)
{
	PayStore   *store = batch->store;
	PayReport  *report = &message->report;
	PayRecord	record;
	PayEvent	handled;
	PayAnswer	answer;

	if (message->record != NULL)
		PayReportAttempt(store, message->record, report, now, &answer);
	else if (PayNumberIsNone(report->number) ||
		!PayFindRecord(store, PayPaymentNumber(report->number), &record) ||
		PayMeantAttempt(&record, report) == NULL)
		PayAnswerUnmatched(report, &answer);
	else if (PayFindHandled(store, &record, report, &handled))
		PayAnswerReplayed(store, &record, &handled, &answer);
	else if (message->locked)
		PayReportAttempt(store, &record, report, now, &answer);
	else
		PayAnswerUnmatched(report, &answer);
	Answer(batch, message, &answer);
}

/* ---- what fits nothing ---- */

/* By the key that pay_review has for them. */
static int
CompareByReview(const void *a, const void *b)
{
	const PayReport *x = &(*(Message *const *) a)->report;
	const PayReport *y = &(*(Message *const *) b)->report;
	int			difference = PayCompareTexts(x->news.source, y->news.source);

	if (difference == 0)
		difference = PayCompareTexts(x->trade_no, y->trade_no);
	if (difference == 0)
		difference = PayCompareTexts(x->news.message_id, y->news.message_id);
	if (difference == 0)
		difference = PayCompareTexts(x->news.merchant, y->news.merchant);
	return difference != 0 ? difference : (*(Message *const *) a)->n - (*(Message *const *) b)->n;
}

static void
KeepUnmatched(Batch *batch)
{
	int			i;

	qsort(batch->unmatched, batch->n_unmatched, sizeof(Message *), CompareByReview);
	for (i = 0; i < batch->n_unmatched; i++)
	{
		Begin(batch, batch->unmatched[i]);
		PayKeepUnmatched(batch->store, &batch->unmatched[i]->report);
	}
}

PG_FUNCTION_INFO_V1(pay_callbacks);
Datum
pay_callbacks(PG_FUNCTION_ARGS)
{
	Batch		batch;
	JsonbValue *elements;
	ErrorContextCallback which = {error_context_stack, SayWhich, &batch};
	TimestampTz now;
	int			i;

	memset(&batch, 0, sizeof(batch));
	elements = PayElementsArgument(fcinfo, 0, "messages", &batch.count);
	InitMaterializedSRF(fcinfo, 0);
	batch.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	batch.store = PayStoreOpen(fcinfo, PAY_WRITES, PAY_LOOK_AT_RECORDS | PAY_LOOK_AT(PAY_EVENT_TABLE) |
							   PAY_LOOK_AT(PAY_REVIEW_TABLE));
	batch.context = CurrentMemoryContext;
	error_context_stack = &which;

	ReadMessages(&batch, elements);
	batch.unmatched = palloc(batch.count * sizeof(Message *));
	LockPayments(&batch);
	now = GetCurrentTimestamp();
	LockResources(&batch, now);
	for (i = 0; i < batch.count; i++)
	{
		Begin(&batch, &batch.messages[i]);
		Decide(&batch, &batch.messages[i], now);
	}
	KeepUnmatched(&batch);

	error_context_stack = which.previous;
	PayStoreClose(batch.store);
	return (Datum) 0;
}

/*
 * batch.c
 *
 * One call for many callbacks, of payments or of refunds: as if each had come by
 * itself within one transaction, but locked so that no two batches deadlock.
 *
 * All messages are read and checked before anything is locked.  Then the
 * payments that a message changes are locked in the order of pay_no, then the
 * resources that they may give back in the order of (merchant, resource).  All
 * messages are decided on under these locks, by the code of report.c and refund.c,
 * in their order; but those of refunds that are not known come after the others,
 * in the order of their key in pay_refund, and those that fit nothing come last, in
 * the order of their key in pay_review: two batches that insert the same key wait
 * there.  So each kind of lock is taken in one order, and none is waited for while
 * a later kind is held.
 *
 * A payment with nothing but messages that were handled before is not locked:
 * a batch that is delivered again writes nothing.
 *
 * Memory: the messages live as long as the call, and so do their answers, and the
 * records of the payments that one callback alone is about, which it is decided on;
 * all else that a message needs is forgotten with the next.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "answer.h"
#include "argument.h"
#include "fmgr.h"
#include "funcapi.h"
#include "hold.h"
#include "json_in.h"
#include "miscadmin.h"
#include "payment.h"
#include "refund.h"
#include "report.h"
#include "text.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

typedef struct Message
{
	int			n;				/* place in the array, from 1 */
	union
	{
		PayNews		news;		/* both begin with it */
		PayReport	of_payment;
		PayRefundReport of_refund;
	}			report;
	text	   *number;			/* as it was given: of the attempt, or of the refund */
	PayNumber	pay_no;			/* of the payment that it is about; none: it fits nothing */
	bool		ends;			/* it can end a payment that is to end */
	bool		is_new;			/* its refund was not known when payments were locked */
	PayRecord  *record;			/* its payment, locked, where no other message is about it */
	HeapTuple	answer;
} Message;

typedef struct Batch
{
	const struct Kind *kind;
	PayStore   *store;
	ReturnSetInfo *rsinfo;
	MemoryContext context;		/* of what lives as long as the call */
	TimestampTz now;			/* of all that is decided */
	Message    *messages;
	int			count;
	PayNumber  *locked;			/* the payments that are, in their order */
	int			n_locked;
	List	   *holders;			/* pay_no of those that may give something back */
	Message   **unmatched;		/* in the order of the array until they are kept */
	int			n_unmatched;
	int			at;				/* message that is being worked on; 0: none */
} Batch;

/* What a batch is of. */
typedef struct Kind
{
	const PayJsonKey *keys;		/* the arguments of the call for one message, in their order */
	int			n_keys;
	int			columns;		/* of an answer */
	uint32		tables;

	/* From the arguments; PY400. */
	void		(*read) (FunctionCallInfo call, Message *message);

	/* Which payment is it about? */
	void		(*find) (PayStore *store, Message *message);

	/* Lock the payment if the message is news to it; false if it is none. */
	bool		(*lock) (PayStore *store, PayRecord *record, Message *message);

	/* Decide on it, and fill in the answer. */
	PayDecision (*decide) (Batch *batch, Message *message, Datum *values, bool *nulls);

	/* Keep one that fits nothing. */
	void		(*keep) (PayStore *store, Message *message);
} Kind;

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

static int
CompareNumbers(const void *a, const void *b)
{
	return PayCompareNumbers(*(const PayNumber *) a, *(const PayNumber *) b);
}

/* Did this batch lock the payment? */
static bool
IsLocked(const Batch *batch, PayNumber pay_no)
{
	return bsearch(&pay_no, batch->locked, batch->n_locked, sizeof(PayNumber), CompareNumbers) != NULL;
}

/* ---- callbacks of payments ---- */

/* The arguments of pay_callback(), in their order. */
static const PayJsonKey callback_keys[] = {
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

static void
ReadCallback(FunctionCallInfo call, Message *message)
{
	PayCallbackArguments(call, &message->report.of_payment);
	message->number = message->report.of_payment.trade_no;
}

static void
FindCallback(PayStore *store, Message *message)
{
	PayState	reported = message->report.news.reported;

	if (PayNumberIsNone(message->report.of_payment.number))
		return;
	message->pay_no = PayPaymentNumber(message->report.of_payment.number);
	message->ends = !PayAttemptIsOpen(reported) && reported != PAY_PAID;
}

static bool
LockForCallback(PayStore *store, PayRecord *record, Message *message)
{
	PayEvent	ignored;

	return PayMeantAttempt(record, &message->report.of_payment) != NULL &&
		PayLockUnlessHandled(store, record, &message->report.of_payment, &ignored);
}

/* As pay_callback() does it.  What had no news when payments were locked has none now. */
static PayDecision
DecideCallback(Batch *batch, Message *message, Datum *values, bool *nulls)
{
	PayStore   *store = batch->store;
	PayReport  *report = &message->report.of_payment;
	PayRecord	record;
	PayEvent	handled;
	PayAnswer	answer;

	if (message->record != NULL)
		PayReportAttempt(store, message->record, report, batch->now, &answer);
	else if (PayNumberIsNone(message->pay_no) || !PayFindRecord(store, message->pay_no, &record) ||
			 PayMeantAttempt(&record, report) == NULL)
		PayAnswerUnmatched(report, &answer);
	else if (PayFindHandled(store, &record, report, &handled))
		PayAnswerReplayed(store, &record, &handled, &answer);
	else if (IsLocked(batch, message->pay_no))
		PayReportAttempt(store, &record, report, batch->now, &answer);
	else
		PayAnswerUnmatched(report, &answer);
	PayShowAnswer(store, &answer, values, nulls);
	return answer.decision;
}

static void
KeepCallback(PayStore *store, Message *message)
{
	PayKeepUnmatched(store, &message->report.of_payment);
}

static const Kind callbacks = {
	callback_keys, lengthof(callback_keys), PAY_RESULT_COLUMNS,
	PAY_LOOK_AT_RECORDS | PAY_LOOK_AT(PAY_EVENT_TABLE) | PAY_LOOK_AT(PAY_REVIEW_TABLE),
	ReadCallback, FindCallback, LockForCallback, DecideCallback, KeepCallback
};

/* ---- callbacks of refunds ---- */

enum
{
	REFUND_KIND = 10,
	REFUND_MERCHANT = 11
};

/* The arguments of pay_refund_callback(), in their order. */
static const PayJsonKey refund_keys[] = {
	{"channel", PAY_JSON_TEXT},
	{"callback_id", PAY_JSON_TEXT},
	{"refund_no", PAY_JSON_TEXT},
	{"reported", PAY_JSON_TEXT},
	{"amount", PAY_JSON_INTEGER},
	{"currency", PAY_JSON_TEXT},
	{"trade_no", PAY_JSON_TEXT},
	{"channel_txn", PAY_JSON_TEXT},
	{"occurred_at", PAY_JSON_TIME},
	{"payload", PAY_JSON_ANY},
	[REFUND_KIND] = {"kind", PAY_JSON_TEXT},
	[REFUND_MERCHANT] = {"merchant", PAY_JSON_TEXT}
};

/* What SQL has as a default, where it is left out. */
static void
SetDefault(NullableDatum *value, const char *otherwise)
{
	if (!value->isnull)
		return;
	value->value = CStringGetTextDatum(otherwise);
	value->isnull = false;
}

static void
ReadRefund(FunctionCallInfo call, Message *message)
{
	SetDefault(&call->args[REFUND_KIND], "refund");
	SetDefault(&call->args[REFUND_MERCHANT], "");
	PayRefundCallbackArguments(call, &message->report.of_refund);
	message->number = message->report.news.refund_no;
}

static void
FindRefund(PayStore *store, Message *message)
{
	PayRecord	record;
	PayRefund	refund;
	bool		known;

	PayCheckChannelIsKnown(store, message->report.of_refund.channel);
	if (PayFindReportedRefund(store, &message->report.of_refund, &record, &refund, &known) == NULL)
		message->pay_no = record.payment.pay_no;
	message->is_new = !known;
}

static bool
LockForRefund(PayStore *store, PayRecord *record, Message *message)
{
	PayRefundReport *report = &message->report.of_refund;
	PayRecord	again;
	PayRefund	refund;
	PayRefundAnswer ignored;
	bool		known;

	return PayFindReportedRefund(store, report, &again, &refund, &known) == NULL &&
		PayNumbersEqual(again.payment.pay_no, record->payment.pay_no) &&
		!PayAnswerRefundHandled(store, record, known ? &refund : NULL, report, &ignored) &&
		PayLockRecord(store, record);
}

/* As pay_refund_callback() does it, where it is about a payment that this batch locked. */
static PayDecision
DecideRefund(Batch *batch, Message *message, Datum *values, bool *nulls)
{
	PayStore   *store = batch->store;
	PayRefundReport *report = &message->report.of_refund;
	PayRecord	record;
	PayRefund	refund;
	PayRefundAnswer answer;
	bool		known;
	const char *unmatched = PayFindReportedRefund(store, report, &record, &refund, &known);

	if (unmatched != NULL)
		PayAnswerRefundUnmatched(report, unmatched, &answer);
	else if (IsLocked(batch, record.payment.pay_no))
		PayReportRefund(store, &record, report, &answer);
	else if (!PayAnswerRefundHandled(store, &record, known ? &refund : NULL, report, &answer))
		PayAnswerRefundUnmatched(report, "its refund came only just now", &answer);
	PayShowRefundAnswer(&answer, values, nulls);
	return answer.decision;
}

static void
KeepRefund(PayStore *store, Message *message)
{
	PayKeepRefundUnmatched(store, &message->report.of_refund);
}

static const Kind refund_callbacks = {
	refund_keys, lengthof(refund_keys), PAY_REFUND_RESULT_COLUMNS,
	PAY_LOOK_AT_RECORDS | PAY_LOOK_AT(PAY_REFUND_TABLE) | PAY_LOOK_AT(PAY_EVENT_TABLE) | PAY_LOOK_AT(PAY_REVIEW_TABLE),
	ReadRefund, FindRefund, LockForRefund, DecideRefund, KeepRefund
};

/* ---- reading ---- */

static void
ReadMessages(Batch *batch, const JsonbValue *elements)
{
	const Kind *kind = batch->kind;
	int			i;

	batch->messages = palloc0(batch->count * sizeof(Message));
	for (i = 0; i < batch->count; i++)
	{
		LOCAL_FCINFO(call, FUNC_MAX_ARGS);
		PayFault	fault;

		CHECK_FOR_INTERRUPTS();
		batch->at = batch->messages[i].n = i + 1;
		InitFunctionCallInfoData(*call, NULL, kind->n_keys, InvalidOid, NULL, NULL);
		if (!PayReadObject(&elements[i], kind->keys, kind->n_keys, call->args, &fault))
			PayThrowFault(&fault);
		kind->read(call, &batch->messages[i]);
	}
}

/* ---- payments ---- */

static int
CompareByPayment(const void *a, const void *b)
{
	const Message *x = *(Message *const *) a;
	const Message *y = *(Message *const *) b;
	int			difference = PayCompareNumbers(x->pay_no, y->pay_no);

	return difference != 0 ? difference : x->n - y->n;
}

/* Find out which payments the messages are about, and sort those that are about one; how many these are. */
static int
SortByPayment(Batch *batch, Message **by_payment)
{
	int			n = 0;
	int			i;

	for (i = 0; i < batch->count; i++)
	{
		Begin(batch, &batch->messages[i]);
		batch->kind->find(batch->store, &batch->messages[i]);
		if (!PayNumberIsNone(batch->messages[i].pay_no))
			by_payment[n++] = &batch->messages[i];
	}
	qsort(by_payment, n, sizeof(Message *), CompareByPayment);
	return n;
}

/* Lock a payment, if any of the messages about it says anything new. */
static bool
LockForNews(const Batch *batch, PayRecord *record, Message **messages, int n)
{
	int			i;

	for (i = 0; i < n; i++)
		if (batch->kind->lock(batch->store, record, messages[i]))
			return true;
	return false;
}

/*
 * Lock the payment that these messages are about, if they say anything new.
 * Where there is one, it can be decided on what was read here.
 */
static void
LockPayment(Batch *batch, Message **messages, int n)
{
	PayNumber	pay_no = messages[0]->pay_no;
	PayRecord  *record;
	bool		ends = false;
	int			i;

	Begin(batch, messages[0]);
	if (n == 1)
		MemoryContextSwitchTo(batch->context);
	record = palloc(sizeof(PayRecord));
	if (!PayFindRecord(batch->store, pay_no, record) || !LockForNews(batch, record, messages, n))
		return;
	batch->locked[batch->n_locked++] = pay_no;
	if (n == 1)
		messages[0]->record = record;
	for (i = 0; i < n; i++)
		ends = ends || messages[i]->ends;
	if (ends && record->payment.holds > 0)
	{
		MemoryContextSwitchTo(batch->context);
		batch->holders = lappend(batch->holders, &batch->locked[batch->n_locked - 1]);
	}
}

static void
LockPayments(Batch *batch)
{
	Message   **by_payment = palloc(batch->count * sizeof(Message *));
	int			n = SortByPayment(batch, by_payment);
	int			first;
	int			end;

	for (first = 0; first < n; first = end)
	{
		for (end = first + 1; end < n; end++)
			if (!PayNumbersEqual(by_payment[first]->pay_no, by_payment[end]->pay_no))
				break;
		LockPayment(batch, by_payment + first, end - first);
	}
	batch->at = 0;
}

/* ---- resources ---- */

/* Lock what payments give back that may end now: whether one does is decided at one time for all. */
static void
LockResources(Batch *batch)
{
	List	   *resources = NIL;
	ListCell   *cell;

	MemoryContextSwitchTo(batch->context);
	foreach(cell, batch->holders)
	{
		PayPayment	payment;

		CHECK_FOR_INTERRUPTS();
		if (PayFindPayment(batch->store, *(PayNumber *) lfirst(cell), &payment) &&
			PayIsToEnd(&payment, batch->now))
			resources = PayAddGivenBack(batch->store, &payment, resources);
	}
	PayLockGivenBack(batch->store, resources);
}

/* ---- deciding ---- */

/* By their place; but those that may insert a refund later, by its key. */
static int
CompareByTurn(const void *a, const void *b)
{
	const Message *x = *(Message *const *) a;
	const Message *y = *(Message *const *) b;
	int			difference = x->is_new - y->is_new;

	if (difference == 0 && x->is_new)
		difference = PayCompareTexts(x->report.news.merchant, y->report.news.merchant);
	if (difference == 0 && x->is_new)
		difference = PayCompareTexts(x->number, y->number);
	return difference != 0 ? difference : x->n - y->n;
}

static void
Decide(Batch *batch, Message *message)
{
	Datum		values[1 + PAY_RESULT_COLUMNS];
	bool		nulls[1 + PAY_RESULT_COLUMNS];

	StaticAssertStmt(PAY_REFUND_RESULT_COLUMNS <= PAY_RESULT_COLUMNS, "there is room for both results");
	Begin(batch, message);
	values[0] = Int32GetDatum(message->n);
	nulls[0] = false;
	if (batch->kind->decide(batch, message, values + 1, nulls + 1) == PAY_UNMATCHED)
		batch->unmatched[batch->n_unmatched++] = message;
	MemoryContextSwitchTo(batch->context);
	message->answer = heap_form_tuple(batch->rsinfo->setDesc, values, nulls);
}

static void
DecideAll(Batch *batch)
{
	Message   **turns = palloc(batch->count * sizeof(Message *));
	int			i;

	batch->unmatched = palloc(batch->count * sizeof(Message *));
	for (i = 0; i < batch->count; i++)
		turns[i] = &batch->messages[i];
	qsort(turns, batch->count, sizeof(Message *), CompareByTurn);
	for (i = 0; i < batch->count; i++)
		Decide(batch, turns[i]);
	for (i = 0; i < batch->count; i++)
		tuplestore_puttuple(batch->rsinfo->setResult, batch->messages[i].answer);
}

/* ---- what fits nothing ---- */

/* By the key that pay_review has for them. */
static int
CompareByReview(const void *a, const void *b)
{
	const Message *x = *(Message *const *) a;
	const Message *y = *(Message *const *) b;
	int			difference = PayCompareTexts(x->report.news.source, y->report.news.source);

	if (difference == 0)
		difference = PayCompareTexts(x->number, y->number);
	if (difference == 0)
		difference = PayCompareTexts(x->report.news.message_id, y->report.news.message_id);
	if (difference == 0)
		difference = PayCompareTexts(x->report.news.merchant, y->report.news.merchant);
	return difference != 0 ? difference : x->n - y->n;
}

static void
KeepUnmatched(Batch *batch)
{
	int			i;

	qsort(batch->unmatched, batch->n_unmatched, sizeof(Message *), CompareByReview);
	for (i = 0; i < batch->n_unmatched; i++)
	{
		Begin(batch, batch->unmatched[i]);
		batch->kind->keep(batch->store, batch->unmatched[i]);
	}
}

static Datum
TakeIn(FunctionCallInfo fcinfo, const Kind *kind)
{
	Batch		batch;
	JsonbValue *elements;
	ErrorContextCallback which = {error_context_stack, SayWhich, &batch};

	memset(&batch, 0, sizeof(batch));
	batch.kind = kind;
	elements = PayElementsArgument(fcinfo, 0, "messages", &batch.count);
	InitMaterializedSRF(fcinfo, 0);
	batch.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	batch.store = PayStoreOpen(fcinfo, PAY_WRITES, kind->tables);
	batch.context = CurrentMemoryContext;
	error_context_stack = &which;

	ReadMessages(&batch, elements);
	batch.locked = palloc(batch.count * sizeof(PayNumber));
	LockPayments(&batch);
	batch.now = GetCurrentTimestamp();
	LockResources(&batch);
	DecideAll(&batch);
	KeepUnmatched(&batch);

	error_context_stack = which.previous;
	PayStoreClose(batch.store);
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(pay_callbacks);
Datum
pay_callbacks(PG_FUNCTION_ARGS)
{
	return TakeIn(fcinfo, &callbacks);
}

PG_FUNCTION_INFO_V1(pay_refund_callbacks);
Datum
pay_refund_callbacks(PG_FUNCTION_ARGS)
{
	return TakeIn(fcinfo, &refund_callbacks);
}

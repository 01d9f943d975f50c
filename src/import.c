/*
 * import.c
 *
 * Payments of another system come in.
 *
 * Each is read and retold before anything of it is written, and then written as
 * it ended, with inserts alone.  What does not fit is refused with the reason,
 * and the others come in all the same; what nobody can foresee (a constraint of
 * the user's own) is an error, and nothing of the call remains.
 *
 * Locks: an order that is here already is only read.  New payments are inserted
 * in the order of (merchant, order_no), whatever the order of the array; who
 * inserts the same at the same instant waits.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "errors.h"
#include "fmgr.h"
#include "funcapi.h"
#include "import_tell.h"
#include "json_in.h"
#include "miscadmin.h"
#include "refund.h"
#include "task.h"
#include "text.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* The columns of pay_import(), in their order. */
enum
{
	IMPORT_N,
	IMPORT_MERCHANT,
	IMPORT_ORDER_NO,
	IMPORT_OUTCOME,
	IMPORT_PAY_NO,
	IMPORT_TRADE_NOS,
	IMPORT_REASON,
	IMPORT_COLUMNS
};

/* A line of the report. */
typedef struct Line
{
	int			n;				/* place in the array, from 1 */
	const JsonbValue *in;
	text	   *merchant;		/* NULL, as the order number, where it cannot be read */
	text	   *order_no;
	const char *outcome;
	PayNumber	pay_no;			/* none: refused */
	Datum		trade_nos;
	const char *reason;
} Line;

typedef struct Import
{
	PayStore   *store;
	MemoryContext context;		/* of what lives as long as the call */
	TimestampTz now;
	int			count;
	int			at;				/* payment that is being worked on; 0: none */
} Import;

static void
SayWhich(void *arg)
{
	const Import *import = arg;

	if (import->at > 0)
		errcontext("payment %d of %d", import->at, import->count);
}

/* ---- the report ---- */

static void
Refuse(const Import *import, Line *line, const char *reason)
{
	line->outcome = "refused";
	line->reason = MemoryContextStrdup(import->context, reason);
}

static void
Accept(const Import *import, Line *line, const char *outcome, const PayPayment *payment)
{
	MemoryContext item = MemoryContextSwitchTo(import->context);
	Datum		numbers[PAY_MAX_ATTEMPTS];
	int			i;

	for (i = 0; i < payment->routes.n; i++)
		numbers[i] = PointerGetDatum(PayNumberText(PayAttemptNumber(payment->pay_no,
																	payment->routes.route[i], i + 1)));
	line->outcome = outcome;
	line->pay_no = payment->pay_no;
	line->trade_nos = PointerGetDatum(construct_array(numbers, i, TEXTOID, -1, false, TYPALIGN_INT));
	MemoryContextSwitchTo(item);
}

static void
Report(ReturnSetInfo *rsinfo, const Line *line)
{
	Datum		values[IMPORT_COLUMNS];
	bool		nulls[IMPORT_COLUMNS];

	memset(nulls, false, sizeof(nulls));
	values[IMPORT_N] = Int32GetDatum(line->n);
	values[IMPORT_MERCHANT] = PointerGetDatum(line->merchant);
	nulls[IMPORT_MERCHANT] = line->merchant == NULL;
	values[IMPORT_ORDER_NO] = PointerGetDatum(line->order_no);
	nulls[IMPORT_ORDER_NO] = line->order_no == NULL;
	values[IMPORT_OUTCOME] = CStringGetTextDatum(line->outcome);
	values[IMPORT_PAY_NO] = PointerGetDatum(PayNumberText(line->pay_no));
	values[IMPORT_TRADE_NOS] = line->trade_nos;
	nulls[IMPORT_PAY_NO] = nulls[IMPORT_TRADE_NOS] = PayNumberIsNone(line->pay_no);
	nulls[IMPORT_REASON] = line->reason == NULL;
	values[IMPORT_REASON] = line->reason ? CStringGetTextDatum(line->reason) : (Datum) 0;
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* ---- orders that are here ---- */

/* Is a payment that is here the same as the other system's?  Else why not. */
static bool
IsSame(const PayRecord *record, PayOld *old)
{
	static const char there[] = "the order is here with other content: ";
	const PayPayment *payment = &record->payment;
	int			i;

	if (payment->amount != old->amount)
		return PayRefuse(old, "%samount is %lld, not %lld", there,
						 (long long) payment->amount, (long long) old->amount);
	if (!PayTextsEqual(payment->currency, old->currency))
		return PayRefuse(old, "%scurrency is %s, not %s", there,
						 text_to_cstring(payment->currency), text_to_cstring(old->currency));
	if (!PayTextsEqual(payment->payer, old->payer))
		return PayRefuse(old, "%spayer is %s, not %s", there,
						 payment->payer ? text_to_cstring(payment->payer) : "NULL",
						 old->payer ? text_to_cstring(old->payer) : "NULL");
	if (payment->multi != old->multi)
		return PayRefuse(old, "%smulti is %s, not %s", there,
						 payment->multi ? "true" : "false", old->multi ? "true" : "false");
	if (payment->routes.n != old->n_attempts)
		return PayRefuse(old, "%sit has %d attempts, not %d", there, payment->routes.n, old->n_attempts);
	for (i = 0; i < old->n_attempts; i++)
	{
		if (record->attempt[i]->route != old->attempts[i].channel.route)
			return PayRefuse(old, "%sattempt %d went by route %d, not %d", there, i + 1,
							 record->attempt[i]->route, old->attempts[i].channel.route);
		if (record->attempt[i]->state != old->attempts[i].state)
			return PayRefuse(old, "%sattempt %d is %s, not %s", there, i + 1,
							 PayStateLabel((PayState) record->attempt[i]->state),
							 PayStateLabel(old->attempts[i].state));
	}
	return true;
}

/* Are the numbers of its refunds free? */
static bool
AreRefundsNew(PayStore *store, PayOld *old)
{
	PayRefund	ignored;
	int			i;

	for (i = 0; i < old->n_refunds; i++)
		if (PayFindRefund(store, old->merchant, old->refunds[i].refund_no, &ignored))
			return PayRefuse(old, "refund %d: this merchant has a refund \"%s\" already", i + 1,
							 text_to_cstring(old->refunds[i].refund_no));
	return true;
}

/* ---- writing ---- */

static void
WriteAttempts(PayStore *store, const PayOld *old, const PayRecord *record, TimestampTz now)
{
	int			i;

	for (i = 0; i < record->payment.routes.n; i++)
	{
		PayAttempt *attempt = record->attempt[i];
		PayCare		care = PayRecordCare(record, attempt);

		if (care != PAY_NO_CARE)
			attempt->check_at = care == PAY_END ? now : PayQuestionTime(&old->attempts[i].channel, 0, now);
		PayInsertAttempt(store, attempt);
		if (care != PAY_NO_CARE)
			PayQueueAttempt(store, attempt->pay_no, attempt->attempt, attempt->check_at);
	}
}

static void
WriteRefunds(PayStore *store, const PayTold *told)
{
	ListCell   *cell;

	foreach(cell, told->refunds)
	{
		PayRefund  *refund = &((PayToldRefund *) lfirst(cell))->refund;

		if (!PayAddRefund(store, told->record.attempt[refund->attempt - 1], refund))
			ereport(ERROR,
					(errcode(PAY_ERR_CONFLICT),
					 errmsg("refund \"%s\" is there already", text_to_cstring(refund->refund_no)),
					 errdetail("Somebody opened it while it was being imported."),
					 errhint("Import again: this payment will be refused, the others come in.")));
	}
}

/* The reviews of refunds that a person must settle. */
static void
WriteReviews(PayStore *store, const PayTold *told)
{
	PayRecord	then = told->record;
	ListCell   *cell;

	foreach(cell, told->refunds)
	{
		const PayToldRefund *refund = lfirst(cell);

		then.payment.last_seq = refund->review_seq;
		if (refund->review_seq > 0)
			PayReviewAbnormal(store, &then, then.attempt[refund->refund.attempt - 1], &refund->refund,
							  &refund->news);
	}
}

/* Write a payment that was retold; false, and nothing written, if its order or number is there. */
static bool
Write(PayStore *store, const PayOld *old, PayTold *told, TimestampTz now)
{
	ListCell   *cell;

	if (!PayInsertPayment(store, &told->record.payment))
		return false;
	WriteAttempts(store, old, &told->record, now);
	WriteRefunds(store, told);
	foreach(cell, told->events)
		PayInsertEvent(store, lfirst(cell));
	WriteReviews(store, told);
	return true;
}

static void
ImportOne(const Import *import, Line *line)
{
	PayStore   *store = import->store;
	PayOld		old;
	PayTold		told;

	if (!PayReadOld(store, line->in, import->now, &old))
	{
		Refuse(import, line, old.refused);
		return;
	}
	for (;;)
	{
		PayNumber	pay_no = PayNewNumberOf(PayShard(old.merchant, old.order_no), old.created_at);

		CHECK_FOR_INTERRUPTS();
		if (PayFindRecordByOrder(store, old.merchant, old.order_no, &told.record))
		{
			if (IsSame(&told.record, &old))
				Accept(import, line, "unchanged", &told.record.payment);
			else
				Refuse(import, line, old.refused);
			return;
		}
		if (!AreRefundsNew(store, &old) || !PayTell(&old, pay_no, import->now, &told))
		{
			Refuse(import, line, old.refused);
			return;
		}
		if (Write(store, &old, &told, import->now))
		{
			Accept(import, line, "imported", &told.record.payment);
			return;
		}
	}
}

/* ---- the call ---- */

static int
CompareByOrder(const void *a, const void *b)
{
	const Line *x = *(Line *const *) a;
	const Line *y = *(Line *const *) b;
	int			difference = PayCompareTexts(x->merchant, y->merchant);

	if (difference == 0)
		difference = PayCompareTexts(x->order_no, y->order_no);
	return difference != 0 ? difference : x->n - y->n;
}

/* Read which orders they are, and sort those that can be read; how many these are. */
static int
ReadOrders(Import *import, const JsonbValue *elements, Line *lines, Line **by_order)
{
	int			n = 0;
	int			i;

	for (i = 0; i < import->count; i++)
	{
		Line	   *line = &lines[i];
		MemoryContext item;
		PayOld		old;
		bool		readable;

		CHECK_FOR_INTERRUPTS();
		PayStoreNextItem(import->store);
		line->n = i + 1;
		line->in = &elements[i];
		readable = PayReadOldOrder(line->in, &old);
		item = MemoryContextSwitchTo(import->context);
		line->merchant = old.merchant ? PG_DETOAST_DATUM_COPY(PointerGetDatum(old.merchant)) : NULL;
		line->order_no = old.order_no ? PG_DETOAST_DATUM_COPY(PointerGetDatum(old.order_no)) : NULL;
		MemoryContextSwitchTo(item);
		if (readable)
			by_order[n++] = line;
		else
			Refuse(import, line, old.refused);
	}
	qsort(by_order, n, sizeof(Line *), CompareByOrder);
	return n;
}

PG_FUNCTION_INFO_V1(pay_import);
Datum
pay_import(PG_FUNCTION_ARGS)
{
	Import		import;
	JsonbValue *elements;
	ErrorContextCallback which = {error_context_stack, SayWhich, &import};
	Line	   *lines;
	Line	  **by_order;
	int			n;
	int			i;

	memset(&import, 0, sizeof(import));
	elements = PayElementsArgument(fcinfo, 0, "payments", &import.count);
	InitMaterializedSRF(fcinfo, 0);
	import.store = PayStoreOpen(fcinfo, PAY_WRITES, PAY_LOOK_AT_RECORDS | PAY_LOOK_AT(PAY_REFUND_TABLE));
	import.context = CurrentMemoryContext;
	import.now = GetCurrentTimestamp();
	error_context_stack = &which;

	lines = palloc0(import.count * sizeof(Line));
	by_order = palloc(import.count * sizeof(Line *));
	n = ReadOrders(&import, elements, lines, by_order);
	for (i = 0; i < n; i++)
	{
		PayStoreNextItem(import.store);
		import.at = by_order[i]->n;
		ImportOne(&import, by_order[i]);
	}
	import.at = 0;
	PayStoreNextItem(import.store);
	for (i = 0; i < import.count; i++)
		Report((ReturnSetInfo *) fcinfo->resultinfo, &lines[i]);

	error_context_stack = which.previous;
	PayStoreClose(import.store);
	return (Datum) 0;
}

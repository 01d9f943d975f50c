/*
 * history.c
 *
 * Everything that happened to one payment, oldest first.
 */
#include "postgres.h"

#include "answer.h"
#include "fmgr.h"
#include "funcapi.h"
#include "record.h"
#include "store.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define HISTORY_COLUMNS 19

static void
PutLabel(Datum *value, bool *isnull, uint8 state)
{
	*isnull = state == PAY_NO_STATE;
	if (!*isnull)
		*value = CStringGetTextDatum(PayStateLabel((PayState) state));
}

static void
PutPointer(Datum *value, bool *isnull, const void *pointer)
{
	*isnull = pointer == NULL;
	*value = PointerGetDatum(pointer);
}

static void
PutEvent(ReturnSetInfo *rsinfo, const PayEvent *event)
{
	Datum		values[HISTORY_COLUMNS];
	bool		nulls[HISTORY_COLUMNS];
	int			i = 0;

	memset(nulls, false, sizeof(nulls));
	values[i++] = Int32GetDatum(event->seq);
	values[i++] = TimestampTzGetDatum(event->recorded_at);
	values[i++] = PointerGetDatum(event->source);
	PutPointer(&values[i], &nulls[i], event->message_id), i++;
	values[i++] = Int32GetDatum(event->attempt);
	PutLabel(&values[i], &nulls[i], event->reported), i++;
	values[i++] = CStringGetTextDatum(PayDecisionLabel((PayDecision) event->decision));
	PutLabel(&values[i], &nulls[i], event->payment_before), i++;
	PutLabel(&values[i], &nulls[i], event->payment_after), i++;
	PutLabel(&values[i], &nulls[i], event->attempt_before), i++;
	PutLabel(&values[i], &nulls[i], event->attempt_after), i++;
	nulls[i] = event->amount == 0;
	values[i++] = Int64GetDatum(event->amount);
	PutPointer(&values[i], &nulls[i], event->currency), i++;
	PutPointer(&values[i], &nulls[i], event->channel_txn), i++;
	nulls[i] = event->occurred_at == PAY_NO_TIME;
	values[i++] = TimestampTzGetDatum(event->occurred_at);
	values[i++] = PointerGetDatum(event->actor);
	values[i++] = PointerGetDatum(event->session_actor);
	PutPointer(&values[i], &nulls[i], event->reason), i++;
	PutPointer(&values[i], &nulls[i], event->payload ? pg_detoast_datum(event->payload) : NULL), i++;
	Assert(i == HISTORY_COLUMNS);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

PG_FUNCTION_INFO_V1(pay_history);
Datum
pay_history(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	PayNumber	number = PayNumberArgument(fcinfo, 0);
	PayStore   *store;
	PayPayment	payment;
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	store = PayStoreOpen(fcinfo, PAY_READS);
	if (!PayFindPayment(store, PayPaymentNumber(number), &payment) || !PayNumberFits(&payment, number))
		PayThrowNotFound(PG_GETARG_TEXT_PP(0));
	foreach(cell, PayListEvents(store, payment.pay_no))
		PutEvent(rsinfo, lfirst(cell));
	PayStoreClose(store);
	return (Datum) 0;
}

/*
 * history.c
 *
 * Everything that happened to one payment, oldest first.
 */
#include "history.h"

#include "argument.h"
#include "fmgr.h"
#include "funcapi.h"
#include "payment.h"
#include "store.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

static void
PutLabel(Datum *value, bool *isnull, const char *label)
{
	*isnull = label == NULL;
	if (!*isnull)
		*value = CStringGetTextDatum(label);
}

static void
PutPointer(Datum *value, bool *isnull, const void *pointer)
{
	*isnull = pointer == NULL;
	*value = PointerGetDatum(pointer);
}

void
PayShowEvent(const PayEvent *event, Datum *values, bool *nulls)
{
	const char *reported = event->refund_reported ?
		PayRefundStateLabel((PayRefundState) event->refund_reported) :
		PayStateLabel((PayState) event->reported);
	int			i = 0;

	memset(nulls, false, PAY_HISTORY_COLUMNS * sizeof(bool));
	values[i++] = Int32GetDatum(event->seq);
	values[i++] = TimestampTzGetDatum(event->recorded_at);
	values[i++] = PointerGetDatum(event->source);
	PutPointer(&values[i], &nulls[i], event->message_id), i++;
	values[i++] = Int32GetDatum(event->attempt);
	PutLabel(&values[i], &nulls[i], reported), i++;
	values[i++] = CStringGetTextDatum(PayDecisionLabel((PayDecision) event->decision));
	PutLabel(&values[i], &nulls[i], PayStateLabel((PayState) event->payment_before)), i++;
	PutLabel(&values[i], &nulls[i], PayStateLabel((PayState) event->payment_after)), i++;
	PutLabel(&values[i], &nulls[i], PayStateLabel((PayState) event->attempt_before)), i++;
	PutLabel(&values[i], &nulls[i], PayStateLabel((PayState) event->attempt_after)), i++;
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
	PutPointer(&values[i], &nulls[i], event->refund_no), i++;
	PutLabel(&values[i], &nulls[i], PayRefundStateLabel((PayRefundState) event->refund_before)), i++;
	PutLabel(&values[i], &nulls[i], PayRefundStateLabel((PayRefundState) event->refund_after)), i++;
	Assert(i == PAY_HISTORY_COLUMNS);
}

PG_FUNCTION_INFO_V1(pay_history);
Datum
pay_history(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	PayNumber	number = PayNumberArgument(fcinfo, 0, "trade_no");
	PayStore   *store;
	PayPayment	payment;
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	store = PayStoreOpen(fcinfo, PAY_READS, PAY_LOOK_AT(PAY_PAYMENT_TABLE) | PAY_LOOK_AT(PAY_EVENT_TABLE));
	if (!PayFindPayment(store, PayPaymentNumber(number), &payment) || !PayNumberFits(&payment, number))
		PayThrowNotFound(PG_GETARG_TEXT_PP(0));
	foreach(cell, PayListEvents(store, payment.pay_no))
	{
		Datum		values[PAY_HISTORY_COLUMNS];
		bool		nulls[PAY_HISTORY_COLUMNS];

		PayShowEvent(lfirst(cell), values, nulls);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	PayStoreClose(store);
	return (Datum) 0;
}

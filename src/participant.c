/*
 * participant.c
 *
 * What another system did about what it keeps for an order: pay_hold_done().
 *
 * Locks: the payment first, then the hold.
 */
#include "postgres.h"

#include "argument.h"
#include "catalog/pg_type.h"
#include "errors.h"
#include "fmgr.h"
#include "hold.h"
#include "payment.h"
#include "record.h"
#include "store.h"
#include "utils/builtins.h"

/* What a participant has done. */
typedef enum Done
{
	TRIED,
	CONFIRMED,
	RELEASED,
	DONES
} Done;

static const char *const done_label[DONES] = {
	[TRIED] = "tried",
	[CONFIRMED] = "confirmed",
	[RELEASED] = "released"
};

/* The columns of pay_hold_result, in their order. */
enum
{
	HOLD_DECISION,
	HOLD_PAY_NO,
	HOLD_RESOURCE,
	HOLD_STATE,
	HOLD_QUANTITY,
	HOLD_DETAIL,
	HOLD_COLUMNS
};

static const Oid hold_result_type[HOLD_COLUMNS] = {
	[HOLD_DECISION] = TEXTOID,
	[HOLD_PAY_NO] = TEXTOID,
	[HOLD_RESOURCE] = TEXTOID,
	[HOLD_STATE] = TEXTOID,
	[HOLD_QUANTITY] = INT8OID,
	[HOLD_DETAIL] = TEXTOID
};

static Datum
Reply(PayStore *store, const PayHold *hold, PayDecision decision, const char *detail)
{
	Datum		values[HOLD_COLUMNS];
	bool		nulls[HOLD_COLUMNS];

	memset(nulls, false, sizeof(nulls));
	values[HOLD_DECISION] = CStringGetTextDatum(PayDecisionLabel(decision));
	values[HOLD_PAY_NO] = PointerGetDatum(PayNumberText(hold->pay_no));
	values[HOLD_RESOURCE] = PointerGetDatum(hold->resource);
	values[HOLD_STATE] = PointerGetDatum(hold->state);
	values[HOLD_QUANTITY] = Int64GetDatum(hold->quantity);
	values[HOLD_DETAIL] = detail ? CStringGetTextDatum(detail) : (Datum) 0;
	nulls[HOLD_DETAIL] = detail == NULL;
	return PayReplyRow(store, values, nulls, hold_result_type, HOLD_COLUMNS);
}

/* A try counts while the hold does; one that comes after the cancel must not stay. */
static Datum
Tried(PayStore *store, PayHold *hold)
{
	PayHoldState state = PayHoldStateOf(hold);

	if (state == PAY_RELEASING || state == PAY_RELEASED)
		return Reply(store, hold, PAY_IS_CLOSED, "it was cancelled: give it back at once");
	if (hold->tried)
		return Reply(store, hold, PAY_UNCHANGED, NULL);
	hold->tried = true;
	PayUpdateHold(store, hold);
	return Reply(store, hold, PAY_APPLIED, NULL);
}

/* The participant ended it as it was asked to. */
static Datum
Ended(PayStore *store, const PayPayment *payment, PayHold *hold, Done done)
{
	bool		confirms = done == CONFIRMED;
	PayHoldState state = PayHoldStateOf(hold);

	if (state == (confirms ? PAY_CONFIRMED : PAY_RELEASED))
		return Reply(store, hold, PAY_UNCHANGED, NULL);
	if (state != (confirms ? PAY_CONFIRMING : PAY_RELEASING))
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_ALLOWED),
				 errmsg("hold \"%s\" of order \"%s\" cannot be %s", text_to_cstring(hold->resource),
						text_to_cstring(payment->order_no), done_label[done]),
				 errdetail("It is %s; its participant was not asked to.", text_to_cstring(hold->state))));
	if (confirms)
	{
		PaySetHoldState(hold, PAY_CONFIRMED);
		PayUpdateHold(store, hold);
	}
	else
	{
		PayGiveBackHold(store, payment, hold);
		PayReleaseNextHold(store, payment->pay_no);
	}
	return Reply(store, hold, PAY_APPLIED, NULL);
}

PG_FUNCTION_INFO_V1(pay_hold_done);
Datum
pay_hold_done(PG_FUNCTION_ARGS)
{
	PayNumber	number = PayNumberArgument(fcinfo, 0, "trade_no");
	text	   *resource = PayKeyArgument(fcinfo, 1, "resource", PAY_REQUIRED);
	Done		done = PayWordArgument(PayKeyArgument(fcinfo, 2, "done", PAY_REQUIRED), "done",
									   done_label, DONES, "A participant has tried, confirmed or released.");
	PayStore   *store;
	PayRecord	record;
	PayHold		hold;

	store = PayStoreOpen(fcinfo, PAY_WRITES, PAY_LOOK_AT_RECORDS | PAY_LOOK_AT(PAY_HOLD_TABLE));
	if (!PayFindRecord(store, PayPaymentNumber(number), &record) ||
		!PayNumberFits(&record.payment, number) || !PayLockRecord(store, &record))
		PayThrowNotFound(PG_GETARG_TEXT_PP(0));
	if (!PayFindHold(store, record.payment.pay_no, resource, &hold) || !PayLockHold(store, &hold))
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_FOUND),
				 errmsg("no such hold: \"%s\"", text_to_cstring(resource)),
				 errdetail("Order \"%s\" does not hold it.", text_to_cstring(record.payment.order_no))));
	if (!hold.external)
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_ALLOWED),
				 errmsg("hold \"%s\" has no participant", text_to_cstring(resource)),
				 errdetail("It ends with its payment, in the same transaction.")));
	return done == TRIED ? Tried(store, &hold) : Ended(store, &record.payment, &hold, done);
}

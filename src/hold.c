/*
 * hold.c
 *
 * What an order reserves besides money.
 */
#include "hold.h"

#include "argument.h"
#include "catalog/pg_type.h"
#include "errors.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "payment.h"
#include "task.h"
#include "text.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* A payment asks for at most this many. */
#define MAX_HOLDS 100

static const char *const state_label[PAY_HOLD_STATES] = {
	[PAY_HELD] = "held",
	[PAY_CONFIRMING] = "confirming",
	[PAY_CONFIRMED] = "confirmed",
	[PAY_RELEASING] = "releasing",
	[PAY_RELEASED] = "released"
};

PayHoldState
PayHoldStateOf(const PayHold *hold)
{
	int			state = 0;

	while (state < PAY_HOLD_STATES && !PayTextIs(hold->state, state_label[state]))
		state++;
	return (PayHoldState) state;
}

void
PaySetHoldState(PayHold *hold, PayHoldState state)
{
	hold->state = cstring_to_text(state_label[state]);
}

/* ---- arguments ---- */

pg_noreturn static void
ThrowBadHold(const char *hold, const char *why)
{
	ereport(ERROR,
			(errcode(PAY_ERR_BAD_ARGUMENT),
			 errmsg("invalid hold: \"%s\"", hold),
			 errdetail("%s", why),
			 errhint("Write class:name or class:name#quantity, as in coupon:C1 or stock:SKU9#2.")));
}

static PayWanted *
ParseHold(const char *hold)
{
	PayWanted  *wanted = palloc0(sizeof(PayWanted));
	const char *hash = strrchr(hold, '#');
	int			length = hash ? hash - hold : strlen(hold);
	const char *colon = memchr(hold, ':', length);

	wanted->quantity = 1;
	if (hash != NULL)
	{
		char	   *end;

		errno = 0;
		wanted->quantity = strtoll(hash + 1, &end, 10);
		if (hash[1] < '0' || hash[1] > '9' || *end != '\0' || errno != 0 ||
			wanted->quantity < 1 || wanted->quantity > PAY_MAX_AMOUNT)
			ThrowBadHold(hold, "The quantity after # must be a positive whole number.");
	}
	if (colon == NULL || colon == hold || colon == hold + length - 1)
		ThrowBadHold(hold, "It has no class, or no name.");
	if (length > PAY_MAX_KEY_BYTES)
		ThrowBadHold(hold, psprintf("Its name has %d bytes; at most %d are allowed.", length, PAY_MAX_KEY_BYTES));
	wanted->name = cstring_to_text_with_len(hold, length);
	return wanted;
}

static int
CompareWanted(const ListCell *a, const ListCell *b)
{
	return PayCompareTexts(((PayWanted *) lfirst(a))->name, ((PayWanted *) lfirst(b))->name);
}

List *
PayHoldsArgument(FunctionCallInfo fcinfo, int n)
{
	List	   *wanted = NIL;
	Datum	   *elements;
	bool	   *nulls;
	int			count;
	int			i;

	if (PG_ARGISNULL(n))
		return NIL;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(n), TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	if (count > MAX_HOLDS)
		ereport(ERROR,
				(errcode(PAY_ERR_BAD_ARGUMENT),
				 errmsg("too many holds: %d", count),
				 errdetail("A payment holds at most %d resources.", MAX_HOLDS)));
	for (i = 0; i < count; i++)
	{
		if (nulls[i])
			ThrowBadHold("NULL", "A hold names a resource.");
		wanted = lappend(wanted, ParseHold(TextDatumGetCString(elements[i])));
		((PayWanted *) llast(wanted))->position = i + 1;
	}
	list_sort(wanted, CompareWanted);
	for (i = 1; i < count; i++)
		if (CompareWanted(list_nth_cell(wanted, i - 1), list_nth_cell(wanted, i)) == 0)
			ThrowBadHold(text_to_cstring(((PayWanted *) list_nth(wanted, i))->name), "It is named twice.");
	return wanted;
}

/* ---- taking ---- */

List *
PayWantedStill(PayStore *store, const PayPayment *payment, List *wanted)
{
	List	   *still = NIL;
	ListCell   *cell;

	if (payment == NULL || payment->holds == 0)
		return wanted;
	foreach(cell, wanted)
	{
		PayWanted  *want = lfirst(cell);
		PayHold		hold;

		if (!PayFindHold(store, payment->pay_no, want->name, &hold))
			still = lappend(still, want);
		else if (hold.quantity != want->quantity)
			ereport(ERROR,
					(errcode(PAY_ERR_CONFLICT),
					 errmsg("order \"%s\" has other content: holds", text_to_cstring(payment->order_no)),
					 errdetail("It holds %lld of \"%s\", not %lld.", (long long) hold.quantity,
							   text_to_cstring(want->name), (long long) want->quantity),
					 errhint("A changed order needs an order number of its own.")));
	}
	return still;
}

/* How much a payment that is to be replaced gives back of a resource, in the same transaction. */
static int64
GivenBackBy(PayStore *store, const PayPayment *replaced, text *name)
{
	PayHold		hold;

	if (replaced == NULL || replaced->holds == 0 || !PayNumberIsNone(replaced->replaced_by) ||
		!PayFindHold(store, replaced->pay_no, name, &hold) ||
		hold.external || PayHoldStateOf(&hold) != PAY_HELD)
		return 0;
	return hold.quantity;
}

static bool
IsToBeHad(PayStore *store, const PayWanted *want, const PayPayment *replaced)
{
	return want->resource.capacity == 0 ||
		want->quantity <= want->resource.capacity - want->resource.taken +
		GivenBackBy(store, replaced, want->name);
}

/* The class that says what a resource nobody has named before may give. */
static bool
FindClass(PayStore *store, text *merchant, const text *name, PayResource *row)
{
	const char *data = VARDATA_ANY(name);
	const char *colon = memchr(data, ':', VARSIZE_ANY_EXHDR(name));
	text	   *class_name = cstring_to_text_with_len(data, colon - data);

	if (PayFindResource(store, merchant, class_name, row) ||
		PayFindResource(store, cstring_to_text(""), class_name, row))
		return true;
	/* a coupon is one order's only; that needs no row */
	memset(row, 0, sizeof(PayResource));
	row->capacity = 1;
	return PayTextIs(class_name, "coupon");
}

/* Find a resource's row, or what it would be; true if it is there. */
static bool
FindWanted(PayStore *store, text *merchant, PayWanted *want)
{
	if (PayFindResource(store, merchant, want->name, &want->resource))
		return true;
	if (!FindClass(store, merchant, want->name, &want->resource))
		ereport(ERROR,
				(errcode(PAY_ERR_BAD_ARGUMENT),
				 errmsg("unknown resource: \"%s\"", text_to_cstring(want->name)),
				 errdetail("Neither it nor its class is in pay_resource."),
				 errhint("INSERT INTO pay_resource (merchant, resource, capacity) adds a resource or a class.")));
	memset(&want->resource.head, 0, sizeof(PayRowHead));
	want->resource.merchant = merchant;
	want->resource.resource = want->name;
	want->resource.taken = 0;
	return false;
}

/*
 * The wanted and what the replaced payment gives back, by name: both are locked
 * in one order.
 */
static List *
WithGivenBack(PayStore *store, List *wanted, const PayPayment *replaced)
{
	List	   *all = list_copy(wanted);
	ListCell   *cell;
	int			n;

	if (replaced == NULL || replaced->holds == 0)
		return wanted;
	foreach(cell, PayListHolds(store, replaced->pay_no))
	{
		PayWanted  *given = palloc0(sizeof(PayWanted));

		given->name = ((PayHold *) lfirst(cell))->resource;
		all = lappend(all, given);
	}
	list_sort(all, CompareWanted);
	for (n = list_length(all) - 1; n > 0; n--)
		if (CompareWanted(list_nth_cell(all, n - 1), list_nth_cell(all, n)) == 0)
			all = list_delete_nth_cell(all, ((PayWanted *) list_nth(all, n))->quantity == 0 ? n : n - 1);
	return all;
}

/* Lock a resource's row, making it if nobody did; false if it is not to be had. */
static bool
LockOne(PayStore *store, text *merchant, PayWanted *want, const PayPayment *replaced)
{
	if (want->quantity == 0)
		return !PayFindResource(store, merchant, want->name, &want->resource) ||
			PayLockResource(store, &want->resource);
	while (!FindWanted(store, merchant, want))
	{
		CHECK_FOR_INTERRUPTS();
		want->made = PayInsertResource(store, &want->resource);
		if (want->made)
			return true;
	}
	return PayLockResource(store, &want->resource) && IsToBeHad(store, want, replaced);
}

const PayWanted *
PayLockWanted(PayStore *store, text *merchant, List *wanted, const PayPayment *replaced)
{
	ListCell   *cell;

	/* what is taken already is said without a lock, and before anything is written */
	foreach(cell, wanted)
	{
		PayWanted  *want = lfirst(cell);

		FindWanted(store, merchant, want);
		if (!IsToBeHad(store, want, replaced))
			return want;
	}
	foreach(cell, WithGivenBack(store, wanted, replaced))
	{
		PayWanted  *want = lfirst(cell);

		if (LockOne(store, merchant, want, replaced))
			continue;
		PayForgetWanted(store, wanted);
		return want;
	}
	return NULL;
}

/* The position of what a payment took last. */
static int
LastPosition(PayStore *store, const PayPayment *payment)
{
	int			last = 0;
	ListCell   *cell;

	foreach(cell, PayListHolds(store, payment->pay_no))
		last = Max(last, ((PayHold *) lfirst(cell))->position);
	return last;
}

/* The place of a wanted resource among the others, as the caller listed them, from 1. */
static int
Rank(List *wanted, const PayWanted *want)
{
	int			rank = 1;
	ListCell   *cell;

	foreach(cell, wanted)
		if (((PayWanted *) lfirst(cell))->position < want->position)
			rank++;
	return rank;
}

void
PayForgetWanted(PayStore *store, List *wanted)
{
	ListCell   *cell;

	foreach(cell, wanted)
	{
		PayWanted  *want = lfirst(cell);

		if (want->made)
			PayDeleteResource(store, &want->resource);
		want->made = false;
	}
}

void
PayTakeWanted(PayStore *store, const PayPayment *payment, List *wanted)
{
	int			last;
	ListCell   *cell;

	if (wanted == NIL)
		return;
	last = LastPosition(store, payment);
	foreach(cell, wanted)
	{
		PayWanted  *want = lfirst(cell);
		PayHold		hold;

		/* a replaced order may have given some back since it was locked */
		if (!PayFindResource(store, payment->merchant, want->name, &want->resource))
			elog(ERROR, "resource \"%s\" is gone", text_to_cstring(want->name));
		want->resource.taken += want->quantity;
		if (want->resource.capacity == 1)
			want->resource.taken_by = payment->pay_no;
		PayUpdateResource(store, &want->resource);
		memset(&hold, 0, sizeof(hold));
		hold.pay_no = payment->pay_no;
		hold.quantity = want->quantity;
		hold.taken_at = GetCurrentTimestamp();
		hold.check_at = PAY_NO_TIME;
		hold.position = last + Rank(wanted, want);
		hold.external = want->resource.external;
		PaySetHoldState(&hold, PAY_HELD);
		hold.resource = want->name;
		PayInsertHold(store, &hold);
	}
	/*
	 * Where nobody pays or closes it, somebody must give them back; an order of
	 * amount 0 is paid and has no such time.
	 */
	if (payment->valid_until != PAY_NO_TIME)
		PayQueueAttempt(store, payment->pay_no, 0, payment->valid_until);
}

/* ---- settling ---- */

void
PayGiveBackHold(PayStore *store, const PayPayment *payment, PayHold *hold)
{
	PayResource resource;

	if (PayFindResource(store, payment->merchant, hold->resource, &resource) &&
		PayLockResource(store, &resource))
	{
		resource.taken -= hold->quantity;
		PayUpdateResource(store, &resource);
	}
	PaySetHoldState(hold, PAY_RELEASED);
	PayUpdateHold(store, hold);
}

bool
PayTryLockHolds(PayStore *store, const PayPayment *payment)
{
	ListCell   *cell;

	foreach(cell, PayListHolds(store, payment->pay_no))
	{
		PayHold    *hold = lfirst(cell);
		PayResource resource;

		if (!PayTryLockHold(store, hold) ||
			(PayFindResource(store, payment->merchant, hold->resource, &resource) &&
			 !PayTryLockResource(store, &resource)))
			return false;
	}
	return true;
}

List *
PayAddGivenBack(PayStore *store, const PayPayment *payment, List *resources)
{
	ListCell   *cell;

	foreach(cell, PayListHolds(store, payment->pay_no))
	{
		PayHold    *hold = lfirst(cell);

		if (PayHoldStateOf(hold) == PAY_HELD && !hold->external)
			resources = lappend(resources, list_make2(payment->merchant, hold->resource));
	}
	return resources;
}

static int
CompareResources(const ListCell *a, const ListCell *b)
{
	const List *x = lfirst(a);
	const List *y = lfirst(b);
	int			difference = PayCompareTexts(linitial(x), linitial(y));

	return difference != 0 ? difference : PayCompareTexts(lsecond(x), lsecond(y));
}

void
PayLockGivenBack(PayStore *store, List *resources)
{
	ListCell   *cell;

	list_sort(resources, CompareResources);
	foreach(cell, resources)
	{
		List	   *name = lfirst(cell);
		PayResource resource;
		int			i = foreach_current_index(cell);

		CHECK_FOR_INTERRUPTS();
		if (i > 0 && CompareResources(cell, list_nth_cell(resources, i - 1)) == 0)
			continue;
		if (PayFindResource(store, linitial(name), lsecond(name), &resource))
			PayLockResource(store, &resource);
	}
}

/* Ask a participant to do something now. */
static void
AskParticipant(PayStore *store, PayHold *hold, PayHoldState state)
{
	PaySetHoldState(hold, state);
	hold->check_at = GetCurrentTimestamp();
	PayUpdateHold(store, hold);
	PayQueueHold(store, hold, hold->check_at);
}

void
PayReleaseNextHold(PayStore *store, PayNumber pay_no)
{
	PayHold    *last = NULL;
	ListCell   *cell;

	foreach(cell, PayListHolds(store, pay_no))
	{
		PayHold    *hold = lfirst(cell);

		if (!hold->external || PayHoldStateOf(hold) == PAY_RELEASED)
			continue;
		if (PayHoldStateOf(hold) == PAY_RELEASING && hold->check_at != PAY_NO_TIME)
			return;
		if (last == NULL || hold->position > last->position)
			last = hold;
	}
	if (last != NULL && PayLockHold(store, last))
		AskParticipant(store, last, PAY_RELEASING);
}

void
PaySettleHolds(PayStore *store, const PayPayment *payment)
{
	bool		paid = payment->state == PAY_PAID;
	bool		releases = false;
	ListCell   *cell;

	if (payment->holds == 0 || PayPaymentWaits(payment))
		return;
	foreach(cell, PayListHolds(store, payment->pay_no))
	{
		PayHold    *hold = lfirst(cell);

		if (PayHoldStateOf(hold) != PAY_HELD || !PayLockHold(store, hold) ||
			PayHoldStateOf(hold) != PAY_HELD)
			continue;
		if (paid && hold->external)
			AskParticipant(store, hold, PAY_CONFIRMING);
		else if (paid)
		{
			PaySetHoldState(hold, PAY_CONFIRMED);
			PayUpdateHold(store, hold);
		}
		else if (hold->external)
		{
			PaySetHoldState(hold, PAY_RELEASING);
			PayUpdateHold(store, hold);
			releases = true;
		}
		else
			PayGiveBackHold(store, payment, hold);
	}
	if (releases)
		PayReleaseNextHold(store, payment->pay_no);
}

/*
 * import_tell.c
 *
 * What another system says of a payment, retold as if it had happened here.
 *
 * The payment is made, its attempts are opened, the steps of its history are
 * taken, each by the rules of the machine and with the event that it would have
 * left.  What the history leaves out is filled in: an attempt that it does not
 * mention takes the shortest way to the state that it is in.  So a payment comes
 * in only with states that it could have come to here, and with events that say
 * so; where the two do not meet it is refused.
 *
 * Nothing is read or written here.
 */
#include "import_tell.h"

#include "payment.h"
#include "refund.h"
#include "text.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

typedef struct Telling
{
	PayOld	   *old;
	PayTold    *told;
	PayRecord  *record;			/* told->record */
	TimestampTz clock;			/* time of the last event */
	text	   *actor;			/* of the events that are written now; NULL: the caller */
} Telling;

/* ---- events ---- */

static PayEvent *
Tell(Telling *telling, const PayAttempt *attempt, PayState payment_before, PayState attempt_before,
	 const PayNews *news, PayDecision decision)
{
	PayEvent   *event = palloc(sizeof(PayEvent));

	telling->record->payment.last_seq++;
	*event = PayMakeEvent(telling->record, attempt, payment_before, attempt_before, news, decision);
	event->recorded_at = telling->clock;
	if (telling->actor != NULL)
		event->actor = telling->actor;
	telling->told->events = lappend(telling->told->events, event);
	return event;
}

static PayNews
News(const char *source, PayState reported, const char *reason)
{
	PayNews		news;

	memset(&news, 0, sizeof(news));
	news.source = cstring_to_text(source);
	news.reported = reported;
	news.occurred_at = PAY_NO_TIME;
	news.reason = reason ? cstring_to_text(reason) : NULL;
	return news;
}

/* ---- steps ---- */

/* What an attempt's step to a state is about; 0: no amount belongs to it. */
static int64
AmountOf(const PayOldAttempt *old, PayState to)
{
	switch (to)
	{
		case PAY_AUTHORIZED:
			return old->amount;
		case PAY_CAPTURING:
			return old->amount_to_capture > 0 ? old->amount_to_capture : old->amount;
		case PAY_PAID:
			return old->amount_collected > 0 ? old->amount_collected : old->amount;
		default:
			return 0;
	}
}

/* May an attempt take this step, by what is known of the others? */
static bool
CheckStep(Telling *telling, const PayAttempt *attempt, const PayNews *news, const char *where)
{
	PayOld	   *old = telling->old;
	PayState	from = (PayState) attempt->state;
	PayState	to = news->reported;
	const PayAttempt *captured;

	if (!PayAttemptCan(from, to))
		return PayRefuse(old, "%sattempt %d cannot step from %s to %s (legal: %s)", where, attempt->attempt,
						 PayStateLabel(from), PayStateLabel(to), PayAttemptStepsFrom(from));
	if (to != PAY_CAPTURING || PayMayCapture(telling->record, &captured))
		return true;
	if (captured == NULL)
		return PayRefuse(old, "%sattempt %d cannot be captured: the payment is %s then", where, attempt->attempt,
						 PayStateLabel((PayState) telling->record->payment.state));
	return PayRefuse(old, "%sattempt %d cannot be captured while attempt %d is", where, attempt->attempt,
					 captured->attempt);
}

/* Money came by this attempt: is it the one that is said to have won, or was there another? */
static bool
CheckWinner(Telling *telling, const PayAttempt *attempt, bool wins, const char *where)
{
	PayOld	   *old = telling->old;
	const PayPayment *payment = &telling->record->payment;

	if (wins && old->winner > 0 && old->winner != attempt->attempt)
		return PayRefuse(old, "%sattempt %d is paid before attempt %d, so it wins", where,
						 attempt->attempt, old->winner);
	if (!wins && old->winner == attempt->attempt)
		return PayRefuse(old, "%sattempt %d cannot win: the payment is %s then", where,
						 attempt->attempt, PayStateLabel((PayState) payment->state));
	if (wins && attempt->amount != payment->amount)
		return PayRefuse(old, "%sattempt %d is of %lld and cannot win an order of %lld", where,
						 attempt->attempt, (long long) attempt->amount, (long long) payment->amount);
	return true;
}

/* Take an attempt's step, as news of it. */
static bool
StepAttempt(Telling *telling, PayAttempt *attempt, const PayNews *given, const char *where)
{
	const PayOldAttempt *old = &telling->old->attempts[attempt->attempt - 1];
	PayRecord  *record = telling->record;
	PayNews		news = *given;
	PayState	to = news.reported;
	PayState	payment_before = (PayState) record->payment.state;
	PayState	attempt_before = (PayState) attempt->state;
	int64		amount = AmountOf(old, to);
	bool		needed = PayPaymentWaits(&record->payment);

	if (amount > 0 && news.amount > 0 && news.amount != amount)
		return PayRefuse(telling->old, "%sthe amount is %lld, not %lld", where, (long long) amount,
						 (long long) news.amount);
	if (PayIsAboutMoney(to))
	{
		news.amount = amount;
		news.currency = record->payment.currency;
	}
	if (attempt->channel_txn == NULL)
		attempt->channel_txn = news.channel_txn;
	if (attempt_before == to)
	{
		Tell(telling, attempt, payment_before, attempt_before, &news, PAY_UNCHANGED);
		return true;
	}
	if (!CheckStep(telling, attempt, &news, where) ||
		(to == PAY_PAID && !CheckWinner(telling, attempt, needed, where)))
		return false;
	if (to == PAY_CAPTURING || (to == PAY_PAID && old->amount_to_capture > 0))
		attempt->amount_to_capture = amount;
	if (to == PAY_PAID)
		PayCollect(record, attempt, amount, needed, telling->clock);
	else
		PayStepAttempt(record, attempt, to, telling->clock);
	Tell(telling, attempt, payment_before, attempt_before, &news,
		 PayIsAboutMoney(to) && !needed ? PAY_SURPLUS : PAY_APPLIED);
	return true;
}

/* The payment was to end: all its open attempts take the step. */
static bool
EndPayment(Telling *telling, const PayNews *news, const char *where)
{
	PayRecord  *record = telling->record;
	PayState	to = news->reported;
	PayNews		of_attempt = *news;
	PayState	before;
	int			i;

	if (!PayPaymentCan((PayState) record->payment.state, to))
		return PayRefuse(telling->old, "%sthe payment cannot step from %s to %s (legal: %s)", where,
						 PayStateLabel((PayState) record->payment.state), PayStateLabel(to),
						 PayPaymentStepsFrom((PayState) record->payment.state));
	record->payment.end_requested = true;
	of_attempt.message_id = NULL;
	for (i = 0; i < record->payment.routes.n; i++)
		if (PayAttemptIsOpen((PayState) record->attempt[i]->state) &&
			PayAttemptCan((PayState) record->attempt[i]->state, to) &&
			!StepAttempt(telling, record->attempt[i], &of_attempt, where))
			return false;
	before = (PayState) record->payment.state;
	PayRecordRollUp(record, telling->clock);
	if (record->payment.state != to)
		return PayRefuse(telling->old, "%sthe payment is %s then, not %s: it follows from its attempts",
						 where, PayStateLabel((PayState) record->payment.state), PayStateLabel(to));
	Tell(telling, NULL, before, PAY_NO_STATE, news, PAY_APPLIED);
	return true;
}

/* What the history says of the payment as a whole. */
static bool
StepPayment(Telling *telling, const PayNews *news, const char *where)
{
	const PayPayment *payment = &telling->record->payment;
	PayState	to = news->reported;
	PayNews		said = *news;

	if (payment->state != to && (to == PAY_CLOSING || to == PAY_CLOSED || to == PAY_REVERSED))
		return EndPayment(telling, news, where);
	if (payment->state != to)
		return PayRefuse(telling->old, "%sthe payment is %s then, not %s: it follows from its attempts",
						 where, PayStateLabel((PayState) payment->state), PayStateLabel(to));
	/* nobody's step: the other system's word for what followed */
	said.source = cstring_to_text("import");
	Tell(telling, NULL, to, PAY_NO_STATE, &said, PAY_UNCHANGED);
	return true;
}

/* ---- attempts ---- */

/* May the next attempt be opened now? */
static bool
CheckOpening(Telling *telling, int number)
{
	PayOld	   *old = telling->old;
	const PayRecord *record = telling->record;
	const PayChannel *channel = &old->attempts[number - 1].channel;
	int			by_channel = 1;
	int			i;

	if (PayPaymentIsFinal((PayState) record->payment.state))
		return PayRefuse(old, "attempt %d was opened when the payment was %s", number,
						 PayStateLabel((PayState) record->payment.state));
	if (PayIsToEnd(&record->payment, telling->clock))
		return PayRefuse(old, "attempt %d was opened when the payment was %s", number,
						 record->payment.end_requested ? "to end" : "past valid_until");
	for (i = 0; i < number - 1; i++)
	{
		PayState	state = (PayState) record->attempt[i]->state;

		if (PayAttemptIsOpen(state) &&
			(!old->multi || (state != PAY_PAYING && state != PAY_UNKNOWN)))
			return PayRefuse(old, "attempt %d was opened while attempt %d was %s (%s)", number, i + 1,
							 PayStateLabel(state), old->multi ? "multi allows that only beside paying and unknown" :
							 "say multi, or tell in the history how that ended before");
		by_channel += record->attempt[i]->route == channel->route;
	}
	return by_channel <= channel->max_attempts ||
		PayRefuse(old, "attempt %d: more than %d attempts through %s/%s", number, channel->max_attempts,
				  text_to_cstring(channel->channel), text_to_cstring(channel->method));
}

/* Is what ends it left to the step that ends the payment? */
static bool
EndsWithPayment(const PayOld *old, int number)
{
	return old->attempts[number - 1].state == old->state &&
		(old->state == PAY_CLOSING || old->state == PAY_CLOSED || old->state == PAY_REVERSED) &&
		number == old->n_attempts;
}

/* Take an attempt that the history does not mention to the state that it is in. */
static bool
Fill(Telling *telling, PayAttempt *attempt)
{
	const PayOldAttempt *old = &telling->old->attempts[attempt->attempt - 1];
	PayState	way[] = {PAY_AUTHORIZED, PAY_CAPTURING, old->state};
	bool		captured = old->state == PAY_CAPTURING ||
		(old->state == PAY_UNKNOWN && old->amount_to_capture > 0);
	int			i;

	for (i = captured ? 0 : 2; attempt->state != old->state && i < lengthof(way); i++)
	{
		PayNews		news = News("transition", way[i], NULL);

		if (attempt->state != way[i] && !StepAttempt(telling, attempt, &news, ""))
			return false;
	}
	return true;
}

/* Open the next attempt, as the step says (NULL: nobody said how). */
static bool
OpenNext(Telling *telling, const PayNews *step)
{
	PayRecord  *record = telling->record;
	PayRoutes  *routes = &record->payment.routes;
	const PayOldAttempt *old = &telling->old->attempts[routes->n];
	PayAttempt *attempt = palloc0(sizeof(PayAttempt));
	PayState	payment_before = (PayState) record->payment.state;
	PayNews		news = News("prepay", PAY_NO_STATE, NULL);

	if (old->opened_at != PAY_NO_TIME)
		telling->clock = Max(telling->clock, old->opened_at);
	if (!CheckOpening(telling, routes->n + 1))
		return false;
	routes->route[routes->n] = old->channel.route;
	record->attempt[routes->n++] = attempt;
	attempt->trade_no = PayAttemptNumber(record->payment.pay_no, old->channel.route, routes->n);
	attempt->pay_no = record->payment.pay_no;
	attempt->amount = old->amount;
	attempt->opened_at = attempt->handed_out_at =
		old->opened_at != PAY_NO_TIME ? old->opened_at : telling->clock;
	attempt->reported_at = PAY_NO_TIME;
	attempt->credential_expires_at = PAY_NO_TIME;
	attempt->check_at = PAY_NO_TIME;
	attempt->attempt = routes->n;
	attempt->route = old->channel.route;
	attempt->request_id = old->request_id;
	attempt->channel_txn = old->channel_txn;
	PayStepAttempt(record, attempt, PAY_PAYING, telling->clock);
	if (step != NULL)
	{
		news = *step;
		news.reported = PAY_NO_STATE;
		news.source = cstring_to_text("prepay");
	}
	news.amount = old->amount;
	news.currency = record->payment.currency;
	Tell(telling, attempt, payment_before, PAY_NO_STATE, &news, PAY_PROCEED);
	/* one that is over made room for the next */
	if (!old->told && !PayAttemptIsOpen(old->state) && old->state != PAY_PAID &&
		!EndsWithPayment(telling->old, attempt->attempt))
		return Fill(telling, attempt);
	return true;
}

/* ---- the history ---- */

static bool
TakeStep(Telling *telling, const PayOldStep *step, int number)
{
	PayOld	   *old = telling->old;
	PayRoutes  *routes = &telling->record->payment.routes;
	TimestampTz at = step->at != PAY_NO_TIME ? step->at : telling->clock;
	char	   *where = psprintf("history step %d: ", number);
	bool		own = PayTextIs(step->news.source, "transition");
	bool		opens = false;

	if (at < telling->clock)
		return PayRefuse(old, "%sit is earlier than what comes before it: %s", where, timestamptz_to_str(at));
	telling->actor = NULL;
	while (routes->n < old->n_attempts && old->attempts[routes->n].opened_at < at)
		if (!OpenNext(telling, NULL))
			return false;
	while (routes->n < step->attempt)
	{
		TimestampTz opened_at = old->attempts[routes->n].opened_at;

		if (opened_at != PAY_NO_TIME && opened_at > at)
			return PayRefuse(old, "%sattempt %d was opened later: %s", where, routes->n + 1,
							 timestamptz_to_str(opened_at));
		telling->clock = at;
		/* the step may be its opening */
		opens = own && routes->n + 1 == step->attempt && step->news.reported == PAY_PAYING;
		telling->actor = opens ? step->actor : NULL;
		if (!OpenNext(telling, opens ? &step->news : NULL))
			return false;
	}
	telling->clock = at;
	telling->actor = step->actor;
	if (opens)
		return true;
	return step->attempt > 0 ?
		StepAttempt(telling, telling->record->attempt[step->attempt - 1], &step->news, where) :
		StepPayment(telling, &step->news, where);
}

/* Do the states that it is said to be in go together at all? */
static bool
CheckStates(PayOld *old)
{
	PayState	states[PAY_MAX_ATTEMPTS];
	PayState	follows;
	StringInfoData of;
	bool		won = false;
	int			i;

	if (old->state == PAY_NO_STATE)
		return true;
	initStringInfo(&of);
	for (i = 0; i < old->n_attempts; i++)
	{
		states[i] = old->attempts[i].state;
		won = won || (states[i] == PAY_PAID && old->state == PAY_PAID);
		appendStringInfo(&of, "%s%s", i > 0 ? ", " : "", PayStateLabel(states[i]));
	}
	/* cppcheck-suppress uninitvar ; without attempts, no state is read */
	follows = PayRollUp(old->n_attempts > 0 ? PAY_UNKNOWN : PAY_CREATED, states, old->n_attempts, won,
						old->state == PAY_CLOSED || old->state == PAY_REVERSED);
	if (follows == old->state)
		return true;
	return PayRefuse(old, "state %s does not follow from its attempts (%s): they make it %s",
					 PayStateLabel(old->state), i > 0 ? of.data : "none", PayStateLabel(follows));
}

/* Has the whole led to what is said to be? */
static bool
CheckEnd(Telling *telling)
{
	PayOld	   *old = telling->old;
	const PayRecord *record = telling->record;
	int			i;

	for (i = 0; i < old->n_attempts; i++)
		if (record->attempt[i]->state != old->attempts[i].state)
			return PayRefuse(old, "attempt %d: its history leaves it %s, not %s", i + 1,
							 PayStateLabel((PayState) record->attempt[i]->state),
							 PayStateLabel(old->attempts[i].state));
	if (old->state != PAY_NO_STATE && record->payment.state != old->state)
		return PayRefuse(old, "state %s does not follow from its attempts and their history: they make it %s",
						 PayStateLabel(old->state), PayStateLabel((PayState) record->payment.state));
	return true;
}

/* Fill in what the history leaves out: the winner first, and what comes late, for nothing, last. */
static bool
FillIn(Telling *telling)
{
	PayOld	   *old = telling->old;
	PayRecord  *record = telling->record;
	bool		late = old->state != PAY_NO_STATE && old->state != PAY_PAID;
	PayNews		news = News("transition", old->state, "the whole payment");
	int			i;

	telling->actor = NULL;
	while (record->payment.routes.n < old->n_attempts)
		if (!OpenNext(telling, NULL))
			return false;
	if (old->winner > 0 && !old->attempts[old->winner - 1].told &&
		!Fill(telling, record->attempt[old->winner - 1]))
		return false;
	for (i = 0; i < old->n_attempts; i++)
		if (!old->attempts[i].told && !EndsWithPayment(old, i + 1) &&
			!(late && old->attempts[i].state == PAY_PAID) && !Fill(telling, record->attempt[i]))
			return false;
	if (record->payment.state != old->state &&
		(old->state == PAY_CLOSING || old->state == PAY_CLOSED || old->state == PAY_REVERSED) &&
		!EndPayment(telling, &news, ""))
		return false;
	for (i = 0; i < old->n_attempts; i++)
		if (!old->attempts[i].told && !Fill(telling, record->attempt[i]))
			return false;
	return CheckEnd(telling);
}

/* ---- refunds ---- */

/* Surplus goes back whole, by one refund that has our own number. */
static bool
CheckSurplus(Telling *telling, const PayOldRefund *old, const PayAttempt *attempt, const char *where)
{
	if (attempt->attempt == telling->record->payment.winner)
		return PayRefuse(telling->old, "%sattempt %d won, its money is no surplus", where, attempt->attempt);
	if (old->amount != attempt->amount_collected)
		return PayRefuse(telling->old, "%ssurplus goes back whole: %lld, not %lld", where,
						 (long long) attempt->amount_collected, (long long) old->amount);
	if (old->state == PAY_REFUND_CANCELLED)
		return PayRefuse(telling->old, "%ssurplus is never kept: its refund cannot be cancelled", where);
	return true;
}

/* The refund that gives back an attempt's surplus; NULL if it was not told yet. */
static const PayRefund *
SurplusOf(const Telling *telling, const PayAttempt *attempt)
{
	ListCell   *cell;

	foreach(cell, telling->told->refunds)
	{
		const PayToldRefund *told = lfirst(cell);

		if (PayTextIs(told->refund.kind, "surplus") && told->refund.attempt == attempt->attempt)
			return &told->refund;
	}
	return NULL;
}

/* A refund is asked for, and steps to the state that it is in. */
static bool
TellRefund(Telling *telling, const PayOldRefund *old, const char *where)
{
	PayRecord  *record = telling->record;
	int			number = old->attempt > 0 ? old->attempt : record->payment.winner;
	bool		surplus = strcmp(old->kind, "surplus") == 0;
	PayAttempt *attempt;
	PayToldRefund *told = palloc0(sizeof(PayToldRefund));
	PayRefund  *refund = &told->refund;
	text	   *reason = old->reason;

	if (number == 0)
		return PayRefuse(telling->old, "%sno attempt has won: say of which it is", where);
	attempt = record->attempt[number - 1];
	if (attempt->state != PAY_PAID)
		return PayRefuse(telling->old, "%sattempt %d is %s and has nothing to refund", where, number,
						 PayStateLabel((PayState) attempt->state));
	if (surplus && SurplusOf(telling, attempt) != NULL)
		return PayRefuse(telling->old, "%sthe surplus of attempt %d has a refund already", where, number);
	if (surplus && !CheckSurplus(telling, old, attempt, where))
		return false;
	if (old->amount > PayRefundable(attempt))
		return PayRefuse(telling->old, "%sit is of %lld, and only %lld of attempt %d are left", where,
						 (long long) old->amount, (long long) PayRefundable(attempt), number);

	telling->clock = old->requested_at != PAY_NO_TIME ? Max(telling->clock, old->requested_at) : telling->clock;
	if (surplus && old->refund_no != NULL)
		reason = cstring_to_text(psprintf("was refund \"%s\"%s%s", text_to_cstring(old->refund_no),
										  reason ? ": " : "", reason ? text_to_cstring(reason) : ""));
	*refund = PayNewRefund(record, attempt, old->kind, surplus ? PaySurplusRefundNo(attempt) : old->refund_no,
						   old->amount, reason);
	refund->requested_at = old->requested_at != PAY_NO_TIME ? old->requested_at : telling->clock;
	refund->adopted = strcmp(old->kind, "chargeback") == 0;
	refund->channel_txn = old->channel_txn;
	PayMoveSums(record, attempt, refund, PAY_NO_REFUND_STATE, PAY_REFUND_REQUESTED);
	told->news = PayRefundNews("refund", record, refund, PAY_NO_REFUND_STATE, reason);
	Tell(telling, attempt, (PayState) record->payment.state, PAY_PAID, &told->news, PAY_PROCEED);
	telling->told->refunds = lappend(telling->told->refunds, told);
	if (old->state == PAY_REFUND_REQUESTED)
		return true;

	PayMoveSums(record, attempt, refund, PAY_REFUND_REQUESTED, old->state);
	refund->state = old->state;
	told->news = PayRefundNews("refund_transition", record, refund, PAY_REFUND_REQUESTED, NULL);
	told->news.refund_reported = old->state;
	told->news.channel_txn = old->channel_txn;
	Tell(telling, attempt, (PayState) record->payment.state, PAY_PAID, &told->news, PAY_APPLIED);
	if (old->state == PAY_REFUND_ABNORMAL)
		told->review_seq = record->payment.last_seq;
	return true;
}

/* Those that took nothing in the end come first: so never more is taken than there is. */
static bool
TellRefunds(Telling *telling)
{
	PayOld	   *old = telling->old;
	PayRecord  *record = telling->record;
	int			taking;
	int			i;

	for (taking = 0; taking <= 1; taking++)
		for (i = 0; i < old->n_refunds; i++)
		{
			PayRefundState state = old->refunds[i].state;

			if ((PayRefundReserves(state) || state == PAY_REFUND_SUCCEEDED) == taking &&
				!TellRefund(telling, &old->refunds[i], psprintf("refund %d: ", i + 1)))
				return false;
		}
	for (i = 0; i < record->payment.routes.n; i++)
	{
		const PayAttempt *attempt = record->attempt[i];
		PayOldRefund surplus = {i + 1, PAY_REFUND_REQUESTED, attempt->amount_collected, PAY_NO_TIME, "surplus"};

		if (attempt->state != PAY_PAID || i + 1 == record->payment.winner ||
			SurplusOf(telling, attempt) != NULL)
			continue;
		surplus.reason = cstring_to_text("imported: the order did not need this money, and no refund gave it back");
		if (!TellRefund(telling, &surplus, psprintf("surplus of attempt %d: ", i + 1)))
			return false;
	}
	return true;
}

/* ---- payments ---- */

static void
MakePayment(Telling *telling, PayNumber pay_no)
{
	const PayOld *old = telling->old;
	PayPayment *payment = &telling->record->payment;
	PayNews		news = News("create", PAY_NO_STATE, NULL);

	payment->pay_no = pay_no;
	payment->amount = old->amount;
	payment->created_at = old->created_at;
	payment->valid_until = old->valid_until;
	payment->state = PAY_CREATED;
	payment->multi = old->multi;
	payment->currency = old->currency;
	payment->merchant = old->merchant;
	payment->order_no = old->order_no;
	payment->payer = old->payer;
	payment->metadata = old->metadata;
	news.amount = old->amount;
	news.currency = old->currency;
	Tell(telling, NULL, PAY_NO_STATE, PAY_NO_STATE, &news, PAY_APPLIED);
}

bool
PayTell(PayOld *old, PayNumber pay_no, TimestampTz now, PayTold *told)
{
	Telling		telling = {old, told, &told->record, old->created_at, NULL};
	PayNews		news;
	PayState	state;
	int			i;

	memset(told, 0, sizeof(*told));
	if (!CheckStates(old))
		return false;
	MakePayment(&telling, pay_no);
	for (i = 0; i < old->n_steps; i++)
		if (!TakeStep(&telling, &old->steps[i], i + 1))
			return false;
	if (!FillIn(&telling) || !TellRefunds(&telling))
		return false;

	telling.clock = now;
	telling.actor = NULL;
	state = (PayState) told->record.payment.state;
	news = News("import", PAY_NO_STATE, psprintf("attempts: %d, refunds: %d, steps of history: %d",
												 old->n_attempts, old->n_refunds, old->n_steps));
	Tell(&telling, NULL, state, PAY_NO_STATE, &news, PAY_APPLIED);
	return true;
}

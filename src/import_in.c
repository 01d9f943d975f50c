/*
 * import_in.c
 *
 * A payment of another system, read from JSON, every value checked by itself.
 * Whether they go together is found out by retelling it.
 */
#include "import_in.h"

#include "argument.h"
#include "json_in.h"
#include "refund.h"
#include "report.h"
#include "text.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* Steps of a history, and refunds, of one payment at most. */
#define MAX_LIST 1000

/* Keys of a payment; the manual says what they mean. */
enum
{
	ORDER_NO, AMOUNT, CURRENCY, MERCHANT, PAYER, MULTI, CREATED_AT, VALID_UNTIL, METADATA, STATE,
	ATTEMPTS, WINNER, REFUNDS, HISTORY, PAYMENT_KEYS
};

static const PayJsonKey payment_keys[PAYMENT_KEYS] = {
	[ORDER_NO] = {"order_no", PAY_JSON_TEXT},
	[AMOUNT] = {"amount", PAY_JSON_INTEGER},
	[CURRENCY] = {"currency", PAY_JSON_TEXT},
	[MERCHANT] = {"merchant", PAY_JSON_TEXT},
	[PAYER] = {"payer", PAY_JSON_TEXT},
	[MULTI] = {"multi", PAY_JSON_BOOLEAN},
	[CREATED_AT] = {"created_at", PAY_JSON_TIME},
	[VALID_UNTIL] = {"valid_until", PAY_JSON_TIME},
	[METADATA] = {"metadata", PAY_JSON_ANY},
	[STATE] = {"state", PAY_JSON_TEXT},
	[ATTEMPTS] = {"attempts", PAY_JSON_LIST},
	[WINNER] = {"winner", PAY_JSON_INTEGER},
	[REFUNDS] = {"refunds", PAY_JSON_LIST},
	[HISTORY] = {"history", PAY_JSON_LIST}
};

/* Keys of an attempt. */
enum
{
	ATTEMPT_CHANNEL, ATTEMPT_METHOD, ATTEMPT_STATE, ATTEMPT_REQUEST_ID, ATTEMPT_AMOUNT,
	ATTEMPT_TO_CAPTURE, ATTEMPT_COLLECTED, ATTEMPT_OPENED_AT, ATTEMPT_CHANNEL_TXN, ATTEMPT_KEYS
};

static const PayJsonKey attempt_keys[ATTEMPT_KEYS] = {
	[ATTEMPT_CHANNEL] = {"channel", PAY_JSON_TEXT},
	[ATTEMPT_METHOD] = {"method", PAY_JSON_TEXT},
	[ATTEMPT_STATE] = {"state", PAY_JSON_TEXT},
	[ATTEMPT_REQUEST_ID] = {"request_id", PAY_JSON_TEXT},
	[ATTEMPT_AMOUNT] = {"amount", PAY_JSON_INTEGER},
	[ATTEMPT_TO_CAPTURE] = {"amount_to_capture", PAY_JSON_INTEGER},
	[ATTEMPT_COLLECTED] = {"amount_collected", PAY_JSON_INTEGER},
	[ATTEMPT_OPENED_AT] = {"opened_at", PAY_JSON_TIME},
	[ATTEMPT_CHANNEL_TXN] = {"channel_txn", PAY_JSON_TEXT}
};

/* Keys of a refund. */
enum
{
	REFUND_NO, REFUND_AMOUNT, REFUND_STATE, REFUND_ATTEMPT, REFUND_KIND, REFUND_REASON,
	REFUND_REQUESTED_AT, REFUND_CHANNEL_TXN, REFUND_KEYS
};

static const PayJsonKey refund_keys[REFUND_KEYS] = {
	[REFUND_NO] = {"refund_no", PAY_JSON_TEXT},
	[REFUND_AMOUNT] = {"amount", PAY_JSON_INTEGER},
	[REFUND_STATE] = {"state", PAY_JSON_TEXT},
	[REFUND_ATTEMPT] = {"attempt", PAY_JSON_INTEGER},
	[REFUND_KIND] = {"kind", PAY_JSON_TEXT},
	[REFUND_REASON] = {"reason", PAY_JSON_TEXT},
	[REFUND_REQUESTED_AT] = {"requested_at", PAY_JSON_TIME},
	[REFUND_CHANNEL_TXN] = {"channel_txn", PAY_JSON_TEXT}
};

/* Keys of a step of the history. */
enum
{
	STEP_ATTEMPT, STEP_STATE, STEP_AT, STEP_REASON, STEP_CHANNEL, STEP_CALLBACK_ID, STEP_AMOUNT,
	STEP_CURRENCY, STEP_CHANNEL_TXN, STEP_PAYLOAD, STEP_ACTOR, STEP_KEYS
};

static const PayJsonKey step_keys[STEP_KEYS] = {
	[STEP_ATTEMPT] = {"attempt", PAY_JSON_INTEGER},
	[STEP_STATE] = {"state", PAY_JSON_TEXT},
	[STEP_AT] = {"at", PAY_JSON_TIME},
	[STEP_REASON] = {"reason", PAY_JSON_TEXT},
	[STEP_CHANNEL] = {"channel", PAY_JSON_TEXT},
	[STEP_CALLBACK_ID] = {"callback_id", PAY_JSON_TEXT},
	[STEP_AMOUNT] = {"amount", PAY_JSON_INTEGER},
	[STEP_CURRENCY] = {"currency", PAY_JSON_TEXT},
	[STEP_CHANNEL_TXN] = {"channel_txn", PAY_JSON_TEXT},
	[STEP_PAYLOAD] = {"payload", PAY_JSON_ANY},
	[STEP_ACTOR] = {"actor", PAY_JSON_TEXT}
};

/* An object that is being read. */
typedef struct Object
{
	PayOld	   *old;
	const char *where;			/* in it: "", or as "attempt 2: " */
	const PayJsonKey *keys;
	NullableDatum values[PAYMENT_KEYS];
} Object;

bool
PayRefuse(PayOld *old, const char *format,...)
{
	StringInfoData why;
	int			needed = 1;

	initStringInfo(&why);
	while (needed != 0)
	{
		va_list		args;

		va_start(args, format);
		needed = appendStringInfoVA(&why, format, args);
		va_end(args);
		if (needed != 0)
			enlargeStringInfo(&why, needed);
	}
	old->refused = why.data;
	return false;
}

/* ---- values ---- */

static bool
Fault(const Object *object, const PayFault *fault)
{
	return PayRefuse(object->old, "%s%s (%s)", object->where, fault->message, fault->detail);
}

static bool
ReadObject(Object *object, PayOld *old, const char *where, const JsonbValue *in,
		   const PayJsonKey *keys, int n)
{
	PayFault	fault;

	Assert(n <= PAYMENT_KEYS);
	object->old = old;
	object->where = where;
	object->keys = keys;
	return PayReadObject(in, keys, n, object->values, &fault) || Fault(object, &fault);
}

static bool
ReadText(const Object *object, int key, int max_bytes, PayPresence presence, text **value)
{
	const NullableDatum *given = &object->values[key];
	PayFault	fault;

	*value = given->isnull ? NULL : DatumGetTextPP(given->value);
	if (*value == NULL && presence != PAY_OPTIONAL)
		return PayRefuse(object->old, "%s%s is missing", object->where, object->keys[key].name);
	return PayCheckText(*value, object->keys[key].name, max_bytes, presence, &fault) ||
		Fault(object, &fault);
}

static bool
ReadKey(const Object *object, int key, PayPresence presence, text **value)
{
	return ReadText(object, key, PAY_MAX_KEY_BYTES, presence, value);
}

/* An amount; 0 where it is left out. */
static bool
ReadAmount(const Object *object, int key, int64 *amount)
{
	const NullableDatum *given = &object->values[key];
	PayFault	fault;

	*amount = given->isnull ? 0 : DatumGetInt64(given->value);
	return given->isnull || PayCheckAmount(*amount, object->keys[key].name, &fault) ||
		Fault(object, &fault);
}

static bool
ReadCurrency(const Object *object, int key, PayPresence presence, text **currency)
{
	PayFault	fault;

	return ReadKey(object, key, presence, currency) &&
		(*currency == NULL || PayCheckCurrency(*currency, &fault) || Fault(object, &fault));
}

/* A state; only a payment is ever created. */
static bool
ReadState(const Object *object, int key, PayPresence presence, bool of_payment, PayState *state)
{
	text	   *label;
	PayFault	fault;

	if (!ReadKey(object, key, presence, &label))
		return false;
	*state = of_payment && PayTextIs(label, PayStateLabel(PAY_CREATED)) ? PAY_CREATED : PAY_NO_STATE;
	return label == NULL || *state == PAY_CREATED ||
		PayCheckState(label, object->keys[key].name, state, &fault) || Fault(object, &fault);
}

/* A time that has been; PAY_NO_TIME where it is left out. */
static bool
ReadPast(const Object *object, int key, TimestampTz now, TimestampTz *time)
{
	const NullableDatum *given = &object->values[key];

	*time = given->isnull ? PAY_NO_TIME : DatumGetTimestampTz(given->value);
	if (given->isnull || (*time >= SetEpochTimestamp() && *time <= now))
		return true;
	return PayRefuse(object->old, "%s%s is not between 1970 and now: %s", object->where,
					 object->keys[key].name, timestamptz_to_str(*time));
}

/* The number of an attempt; 0 where it is left out. */
static bool
ReadAttemptNumber(const Object *object, int key, int *attempt)
{
	const NullableDatum *given = &object->values[key];
	int64		number = given->isnull ? 0 : DatumGetInt64(given->value);

	*attempt = (int) number;
	if (number >= 0 && number <= object->old->n_attempts)
		return true;
	return PayRefuse(object->old, "%s%s: there is no attempt %lld", object->where,
					 object->keys[key].name, (long long) number);
}

/* The elements of a list, none where it is left out. */
static bool
ReadList(const Object *object, int key, int at_most, JsonbValue **elements, int *n)
{
	*elements = NULL;
	*n = 0;
	if (!object->values[key].isnull)
		*elements = PayListElements((JsonbContainer *) DatumGetPointer(object->values[key].value), n);
	return *n <= at_most ||
		PayRefuse(object->old, "%s has %d elements; at most %d are allowed",
				  object->keys[key].name, *n, at_most);
}

/* ---- attempts ---- */

/* Amounts must be such that they can have come about here. */
static bool
CheckAttemptAmounts(PayOld *old, PayOldAttempt *attempt, const char *where)
{
	bool		paid = attempt->state == PAY_PAID;

	if (attempt->amount == 0)
		attempt->amount = old->amount;
	if (attempt->amount_to_capture > attempt->amount)
		return PayRefuse(old, "%samount_to_capture is %lld, more than its amount: %lld", where,
						 (long long) attempt->amount_to_capture, (long long) attempt->amount);
	if (attempt->amount_to_capture > 0 && !paid && attempt->state != PAY_CAPTURING &&
		attempt->state != PAY_UNKNOWN)
		return PayRefuse(old, "%samount_to_capture of an attempt that is %s", where,
						 PayStateLabel(attempt->state));
	if (!paid && attempt->amount_collected > 0)
		return PayRefuse(old, "%sit collected %lld and is %s, not paid", where,
						 (long long) attempt->amount_collected, PayStateLabel(attempt->state));
	if (!paid)
		return true;
	if (attempt->amount_collected == 0)
		attempt->amount_collected = attempt->amount_to_capture > 0 ?
			attempt->amount_to_capture : attempt->amount;
	/* a part can only have been collected by capturing it */
	if (attempt->amount_to_capture == 0 && attempt->amount_collected < attempt->amount)
		attempt->amount_to_capture = attempt->amount_collected;
	if (attempt->amount_collected !=
		(attempt->amount_to_capture > 0 ? attempt->amount_to_capture : attempt->amount))
		return PayRefuse(old, "%sit collected %lld, not %lld", where, (long long) attempt->amount_collected,
						 (long long) (attempt->amount_to_capture > 0 ?
									  attempt->amount_to_capture : attempt->amount));
	return true;
}

static bool
ReadAttempt(PayStore *store, PayOld *old, const JsonbValue *in, int number, TimestampTz now)
{
	PayOldAttempt *attempt = &old->attempts[number - 1];
	char	   *where = psprintf("attempt %d: ", number);
	Object		object;
	text	   *channel;
	text	   *method;

	if (!ReadObject(&object, old, where, in, attempt_keys, ATTEMPT_KEYS) ||
		!ReadKey(&object, ATTEMPT_CHANNEL, PAY_REQUIRED, &channel) ||
		!ReadKey(&object, ATTEMPT_METHOD, PAY_REQUIRED, &method) ||
		!ReadState(&object, ATTEMPT_STATE, PAY_REQUIRED, false, &attempt->state) ||
		!ReadKey(&object, ATTEMPT_REQUEST_ID, PAY_OPTIONAL, &attempt->request_id) ||
		!ReadAmount(&object, ATTEMPT_AMOUNT, &attempt->amount) ||
		!ReadAmount(&object, ATTEMPT_TO_CAPTURE, &attempt->amount_to_capture) ||
		!ReadAmount(&object, ATTEMPT_COLLECTED, &attempt->amount_collected) ||
		!ReadPast(&object, ATTEMPT_OPENED_AT, now, &attempt->opened_at) ||
		!ReadKey(&object, ATTEMPT_CHANNEL_TXN, PAY_OPTIONAL, &attempt->channel_txn))
		return false;
	if (attempt->request_id == NULL)
		attempt->request_id = cstring_to_text(psprintf("import %d", number));
	if (!PayFindChannel(store, channel, method, &attempt->channel))
		return PayRefuse(old, "%sunknown channel or method: \"%s\", \"%s\"", where,
						 text_to_cstring(channel), text_to_cstring(method));
	if (number > 1 && attempt->opened_at < attempt[-1].opened_at && attempt[-1].opened_at != PAY_NO_TIME)
		return PayRefuse(old, "%sit was opened before attempt %d", where, number - 1);
	return CheckAttemptAmounts(old, attempt, where);
}

static bool
ReadAttempts(PayStore *store, const Object *payment, TimestampTz now)
{
	PayOld	   *old = payment->old;
	JsonbValue *elements;
	int			i;

	if (!ReadList(payment, ATTEMPTS, PAY_MAX_ATTEMPTS, &elements, &old->n_attempts))
		return false;
	old->attempts = palloc0(old->n_attempts * sizeof(PayOldAttempt));
	for (i = 0; i < old->n_attempts; i++)
		if (!ReadAttempt(store, old, &elements[i], i + 1, now))
			return false;
	return true;
}

/* ---- refunds ---- */

static bool
ReadRefundKind(const Object *object, PayOldRefund *refund)
{
	static const char *const kinds[] = {"refund", "chargeback", "surplus"};
	text	   *kind;
	int			i;

	if (!ReadKey(object, REFUND_KIND, PAY_OPTIONAL, &kind))
		return false;
	for (i = 0; i < lengthof(kinds); i++)
		if (kind == NULL || PayTextIs(kind, kinds[i]))
		{
			refund->kind = kinds[i];
			return true;
		}
	return PayRefuse(object->old, "%sinvalid kind: \"%s\" (It is refund, chargeback or surplus.)",
					 object->where, text_to_cstring(kind));
}

static bool
ReadRefund(PayOld *old, const JsonbValue *in, int number, TimestampTz now)
{
	PayOldRefund *refund = &old->refunds[number - 1];
	char	   *where = psprintf("refund %d: ", number);
	Object		object;
	text	   *state;
	PayFault	fault;
	int			i;

	if (!ReadObject(&object, old, where, in, refund_keys, REFUND_KEYS) ||
		!ReadKey(&object, REFUND_NO, PAY_REQUIRED, &refund->refund_no) ||
		!ReadAmount(&object, REFUND_AMOUNT, &refund->amount) ||
		!ReadKey(&object, REFUND_STATE, PAY_REQUIRED, &state) ||
		!ReadAttemptNumber(&object, REFUND_ATTEMPT, &refund->attempt) ||
		!ReadRefundKind(&object, refund) ||
		!ReadText(&object, REFUND_REASON, PAY_MAX_REASON_BYTES, PAY_OPTIONAL, &refund->reason) ||
		!ReadPast(&object, REFUND_REQUESTED_AT, now, &refund->requested_at) ||
		!ReadKey(&object, REFUND_CHANNEL_TXN, PAY_OPTIONAL, &refund->channel_txn))
		return false;
	if (refund->amount == 0)
		return PayRefuse(old, "%samount is missing", where);
	if (!PayCheckRefundState(state, "state", &refund->state, &fault))
		return Fault(&object, &fault);
	if (PayIsOwnRefundNo(refund->refund_no))
		return PayRefuse(old, "%sreserved refund_no: \"%s\"", where, text_to_cstring(refund->refund_no));
	for (i = 0; i < number - 1; i++)
		if (PayTextsEqual(old->refunds[i].refund_no, refund->refund_no))
			return PayRefuse(old, "%srefund_no \"%s\" is refund %d's already", where,
							 text_to_cstring(refund->refund_no), i + 1);
	return true;
}

static bool
ReadRefunds(const Object *payment, TimestampTz now)
{
	PayOld	   *old = payment->old;
	JsonbValue *elements;
	int			i;

	if (!ReadList(payment, REFUNDS, MAX_LIST, &elements, &old->n_refunds))
		return false;
	old->refunds = palloc0(old->n_refunds * sizeof(PayOldRefund));
	for (i = 0; i < old->n_refunds; i++)
		if (!ReadRefund(old, &elements[i], i + 1, now))
			return false;
	return true;
}

/* ---- history ---- */

/* What a channel reported is about an attempt that went through it, and came once. */
static bool
CheckCallback(PayOld *old, const PayOldStep *step, const text *channel, const char *where)
{
	const PayOldStep *other;

	if (channel == NULL)
		return step->news.message_id == NULL ||
			PayRefuse(old, "%scallback_id \"%s\" needs a channel", where,
					  text_to_cstring(step->news.message_id));
	if (step->attempt == 0)
		return PayRefuse(old, "%schannel \"%s\" reports an attempt: say which", where,
						 text_to_cstring(channel));
	if (!PayTextsEqual(channel, old->attempts[step->attempt - 1].channel.channel))
		return PayRefuse(old, "%sattempt %d went through channel \"%s\", not \"%s\"", where, step->attempt,
						 text_to_cstring(old->attempts[step->attempt - 1].channel.channel),
						 text_to_cstring(channel));
	for (other = old->steps; step->news.message_id != NULL && other < step; other++)
		if (PayTextsEqual(other->news.message_id, step->news.message_id) &&
			PayTextsEqual(other->news.source, step->news.source))
			return PayRefuse(old, "%scallback_id \"%s\" is history step %d's already", where,
							 text_to_cstring(step->news.message_id), (int) (other - old->steps) + 1);
	return true;
}

static bool
ReadStep(PayOld *old, const JsonbValue *in, int number, TimestampTz now)
{
	PayOldStep *step = &old->steps[number - 1];
	PayNews    *news = &step->news;
	char	   *where = psprintf("history step %d: ", number);
	Object		object;
	text	   *channel;

	if (!ReadObject(&object, old, where, in, step_keys, STEP_KEYS) ||
		!ReadAttemptNumber(&object, STEP_ATTEMPT, &step->attempt) ||
		!ReadState(&object, STEP_STATE, PAY_REQUIRED, step->attempt == 0, &news->reported) ||
		!ReadPast(&object, STEP_AT, now, &step->at) ||
		!ReadText(&object, STEP_REASON, PAY_MAX_REASON_BYTES, PAY_OPTIONAL, &news->reason) ||
		!ReadKey(&object, STEP_CHANNEL, PAY_OPTIONAL, &channel) ||
		!ReadKey(&object, STEP_CALLBACK_ID, PAY_OPTIONAL, &news->message_id) ||
		!ReadAmount(&object, STEP_AMOUNT, &news->amount) ||
		!ReadCurrency(&object, STEP_CURRENCY, PAY_OPTIONAL, &news->currency) ||
		!ReadKey(&object, STEP_CHANNEL_TXN, PAY_OPTIONAL, &news->channel_txn) ||
		!ReadKey(&object, STEP_ACTOR, PAY_OPTIONAL, &step->actor))
		return false;
	news->source = channel ? PayCallbackSource(channel) : cstring_to_text("transition");
	news->occurred_at = step->at;
	if (!object.values[STEP_PAYLOAD].isnull)
		news->payload = (struct varlena *) DatumGetPointer(object.values[STEP_PAYLOAD].value);
	if (news->currency != NULL && !PayTextsEqual(news->currency, old->currency))
		return PayRefuse(old, "%sthe currency is %s, not %s", where, text_to_cstring(old->currency),
						 text_to_cstring(news->currency));
	if (step->attempt > 0)
		old->attempts[step->attempt - 1].told = true;
	return CheckCallback(old, step, channel, where);
}

static bool
ReadHistory(const Object *payment, TimestampTz now)
{
	PayOld	   *old = payment->old;
	JsonbValue *elements;
	int			i;

	if (!ReadList(payment, HISTORY, MAX_LIST, &elements, &old->n_steps))
		return false;
	old->steps = palloc0(old->n_steps * sizeof(PayOldStep));
	for (i = 0; i < old->n_steps; i++)
		if (!ReadStep(old, &elements[i], i + 1, now))
			return false;
	return true;
}

/* ---- payments ---- */

/* When it was made, if nobody says: with the first thing that is known of it. */
static TimestampTz
Earliest(const PayOld *old, TimestampTz now)
{
	TimestampTz earliest = now;
	int			i;

	for (i = 0; i < old->n_attempts; i++)
		earliest = Min(earliest, old->attempts[i].opened_at);
	for (i = 0; i < old->n_steps; i++)
		earliest = Min(earliest, old->steps[i].at);
	return earliest;
}

static bool
CheckTimes(PayOld *old, TimestampTz now)
{
	if (old->created_at == PAY_NO_TIME)
		old->created_at = Earliest(old, now);
	if (old->valid_until <= old->created_at)
		return PayRefuse(old, "valid_until is not after created_at: %s", timestamptz_to_str(old->valid_until));
	if (old->n_attempts > 0 && old->attempts[0].opened_at < old->created_at)
		return PayRefuse(old, "attempt 1: it was opened before its payment was created");
	return true;
}

static bool
CheckWinner(PayOld *old)
{
	PayState	state;

	if (old->winner == 0)
		return true;
	state = old->attempts[old->winner - 1].state;
	if (state != PAY_PAID)
		return PayRefuse(old, "winner: attempt %d is %s, not paid", old->winner, PayStateLabel(state));
	if (old->state != PAY_NO_STATE && old->state != PAY_PAID)
		return PayRefuse(old, "winner: attempt %d is given, and state %s", old->winner, PayStateLabel(old->state));
	return true;
}

bool
PayReadOldOrder(const JsonbValue *in, PayOld *old)
{
	Object		object;
	bool		readable;
	const char *refused;

	memset(old, 0, sizeof(*old));
	readable = ReadObject(&object, old, "", in, payment_keys, PAYMENT_KEYS);
	refused = old->refused;
	if (object.values[MERCHANT].isnull)
		old->merchant = cstring_to_text("");
	else
		readable = ReadKey(&object, MERCHANT, PAY_MAY_BE_EMPTY, &old->merchant) && readable;
	readable = ReadKey(&object, ORDER_NO, PAY_REQUIRED, &old->order_no) && readable;
	/* whose order it is is said even where something else is wrong */
	if (refused != NULL)
		old->refused = refused;
	return readable;
}

bool
PayReadOld(PayStore *store, const JsonbValue *in, TimestampTz now, PayOld *old)
{
	Object		object;

	if (!PayReadOldOrder(in, old) ||
		!ReadObject(&object, old, "", in, payment_keys, PAYMENT_KEYS) ||
		!ReadAmount(&object, AMOUNT, &old->amount) ||
		!ReadCurrency(&object, CURRENCY, PAY_REQUIRED, &old->currency) ||
		!ReadKey(&object, PAYER, PAY_OPTIONAL, &old->payer) ||
		!ReadPast(&object, CREATED_AT, now, &old->created_at) ||
		!ReadState(&object, STATE, PAY_OPTIONAL, true, &old->state))
		return false;
	if (old->amount == 0)
		return PayRefuse(old, "amount is missing");
	old->multi = !object.values[MULTI].isnull && DatumGetBool(object.values[MULTI].value);
	old->valid_until = object.values[VALID_UNTIL].isnull ? PAY_NO_TIME :
		DatumGetTimestampTz(object.values[VALID_UNTIL].value);
	if (!object.values[METADATA].isnull)
		old->metadata = (struct varlena *) DatumGetPointer(object.values[METADATA].value);
	return ReadAttempts(store, &object, now) &&
		ReadAttemptNumber(&object, WINNER, &old->winner) &&
		CheckWinner(old) &&
		ReadRefunds(&object, now) &&
		ReadHistory(&object, now) &&
		CheckTimes(old, now);
}

/*
 * machine.c
 *
 * States, decisions, legal steps, and their SQL types.
 */
#include "machine.h"

#include "errors.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "libpq/pqformat.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "catalog/pg_type.h"

/* A closed set of labels; the byte is the index, 0 has no label. */
typedef struct PayLabels
{
	const char *type_name;
	int			last;
	const char *const *label;
} PayLabels;

static const char *const state_label[PAY_LAST_STATE + 1] = {
	[PAY_CREATED] = "created",
	[PAY_PAYING] = "paying",
	[PAY_AUTHORIZED] = "authorized",
	[PAY_CAPTURING] = "capturing",
	[PAY_UNKNOWN] = "unknown",
	[PAY_CLOSING] = "closing",
	[PAY_FAILED] = "failed",
	[PAY_PAID] = "paid",
	[PAY_CLOSED] = "closed",
	[PAY_REVERSED] = "reversed"
};

static const char *const decision_label[PAY_LAST_DECISION + 1] = {
	[PAY_PROCEED] = "proceed",
	[PAY_REPLAYED] = "replayed",
	[PAY_IN_PROGRESS] = "in_progress",
	[PAY_ALREADY_PAID] = "already_paid",
	[PAY_OUTCOME_UNKNOWN] = "unknown",
	[PAY_CONFIRM] = "confirm",
	[PAY_THROTTLED] = "throttled",
	[PAY_UNAVAILABLE] = "unavailable",
	[PAY_IS_CLOSED] = "closed",
	[PAY_APPLIED] = "applied",
	[PAY_UNCHANGED] = "unchanged",
	[PAY_STALE] = "stale",
	[PAY_SURPLUS] = "surplus",
	[PAY_MISMATCH] = "mismatch",
	[PAY_UNMATCHED] = "unmatched"
};

static const char *const refund_state_label[PAY_LAST_REFUND_STATE + 1] = {
	[PAY_REFUND_REQUESTED] = "requested",
	[PAY_REFUND_PROCESSING] = "processing",
	[PAY_REFUND_SUCCEEDED] = "succeeded",
	[PAY_REFUND_FAILED] = "failed",
	[PAY_REFUND_ABNORMAL] = "abnormal",
	[PAY_REFUND_UNKNOWN] = "unknown",
	[PAY_REFUND_CANCELLED] = "cancelled",
	[PAY_REFUND_RETURNED] = "returned"
};

static const PayLabels pay_state_labels = {"pay_state", PAY_LAST_STATE, state_label};
static const PayLabels pay_decision_labels = {"pay_decision", PAY_LAST_DECISION, decision_label};
static const PayLabels pay_refund_state_labels = {
	"pay_refund_state", PAY_LAST_REFUND_STATE, refund_state_label
};

/* A machine: for each state, the set of states it may step to. */
#define TO(state) (1u << (state))
#define MAX_STATE PAY_LAST_STATE

typedef struct PayMachine
{
	const char *name;
	const PayLabels *states;
	int			first;			/* the first state that it can be in */
	uint32		steps[MAX_STATE + 1];
} PayMachine;

static const PayMachine payment_machine = {
	"payment", &pay_state_labels, PAY_CREATED, {
		[PAY_CREATED] = TO(PAY_PAYING) | TO(PAY_CLOSED),
		[PAY_PAYING] = TO(PAY_AUTHORIZED) | TO(PAY_PAID) | TO(PAY_FAILED) | TO(PAY_UNKNOWN) |
		TO(PAY_CLOSING) | TO(PAY_CLOSED) | TO(PAY_REVERSED),
		[PAY_AUTHORIZED] = TO(PAY_CAPTURING) | TO(PAY_PAID) | TO(PAY_FAILED) | TO(PAY_UNKNOWN) |
		TO(PAY_CLOSING) | TO(PAY_CLOSED) | TO(PAY_REVERSED),
		[PAY_CAPTURING] = TO(PAY_PAID) | TO(PAY_AUTHORIZED) | TO(PAY_FAILED) | TO(PAY_UNKNOWN) |
		TO(PAY_REVERSED),
		[PAY_UNKNOWN] = TO(PAY_PAYING) | TO(PAY_AUTHORIZED) | TO(PAY_CAPTURING) | TO(PAY_PAID) |
		TO(PAY_FAILED) | TO(PAY_CLOSING) | TO(PAY_CLOSED) | TO(PAY_REVERSED),
		[PAY_CLOSING] = TO(PAY_PAID) | TO(PAY_AUTHORIZED) | TO(PAY_FAILED) | TO(PAY_UNKNOWN) |
		TO(PAY_CLOSED) | TO(PAY_REVERSED),
		[PAY_FAILED] = TO(PAY_PAYING) | TO(PAY_AUTHORIZED) | TO(PAY_PAID) | TO(PAY_CLOSED)
	}
};

/* An attempt opens as paying.  What ended can only be changed by news of money. */
static const PayMachine attempt_machine = {
	"attempt", &pay_state_labels, PAY_PAYING, {
		[PAY_PAYING] = TO(PAY_AUTHORIZED) | TO(PAY_PAID) | TO(PAY_FAILED) | TO(PAY_UNKNOWN) |
		TO(PAY_CLOSING) | TO(PAY_CLOSED) | TO(PAY_REVERSED),
		[PAY_AUTHORIZED] = TO(PAY_CAPTURING) | TO(PAY_PAID) | TO(PAY_FAILED) | TO(PAY_UNKNOWN) |
		TO(PAY_CLOSING) | TO(PAY_CLOSED) | TO(PAY_REVERSED),
		[PAY_CAPTURING] = TO(PAY_PAID) | TO(PAY_AUTHORIZED) | TO(PAY_FAILED) | TO(PAY_UNKNOWN) |
		TO(PAY_REVERSED),
		[PAY_UNKNOWN] = TO(PAY_PAYING) | TO(PAY_AUTHORIZED) | TO(PAY_CAPTURING) | TO(PAY_PAID) |
		TO(PAY_FAILED) | TO(PAY_CLOSING) | TO(PAY_CLOSED) | TO(PAY_REVERSED),
		[PAY_CLOSING] = TO(PAY_PAID) | TO(PAY_AUTHORIZED) | TO(PAY_FAILED) | TO(PAY_UNKNOWN) |
		TO(PAY_CLOSED) | TO(PAY_REVERSED),
		[PAY_FAILED] = TO(PAY_AUTHORIZED) | TO(PAY_PAID),
		[PAY_CLOSED] = TO(PAY_AUTHORIZED) | TO(PAY_PAID),
		[PAY_REVERSED] = TO(PAY_AUTHORIZED) | TO(PAY_PAID)
	}
};

/* Money that the bank sends back, and what was called off too late, are the channel's word. */
static const PayMachine refund_machine = {
	"refund", &pay_refund_state_labels, PAY_REFUND_REQUESTED, {
		[PAY_REFUND_REQUESTED] = TO(PAY_REFUND_PROCESSING) | TO(PAY_REFUND_SUCCEEDED) |
		TO(PAY_REFUND_FAILED) | TO(PAY_REFUND_ABNORMAL) | TO(PAY_REFUND_UNKNOWN) | TO(PAY_REFUND_CANCELLED),
		[PAY_REFUND_PROCESSING] = TO(PAY_REFUND_SUCCEEDED) | TO(PAY_REFUND_FAILED) |
		TO(PAY_REFUND_ABNORMAL) | TO(PAY_REFUND_UNKNOWN),
		[PAY_REFUND_UNKNOWN] = TO(PAY_REFUND_PROCESSING) | TO(PAY_REFUND_SUCCEEDED) |
		TO(PAY_REFUND_FAILED) | TO(PAY_REFUND_ABNORMAL),
		[PAY_REFUND_SUCCEEDED] = TO(PAY_REFUND_RETURNED),
		[PAY_REFUND_RETURNED] = TO(PAY_REFUND_SUCCEEDED),
		[PAY_REFUND_CANCELLED] = TO(PAY_REFUND_PROCESSING) | TO(PAY_REFUND_SUCCEEDED),
		[PAY_REFUND_FAILED] = TO(PAY_REFUND_REQUESTED) | TO(PAY_REFUND_PROCESSING) |
		TO(PAY_REFUND_SUCCEEDED) | TO(PAY_REFUND_CANCELLED),
		[PAY_REFUND_ABNORMAL] = TO(PAY_REFUND_PROCESSING) | TO(PAY_REFUND_SUCCEEDED) |
		TO(PAY_REFUND_FAILED) | TO(PAY_REFUND_CANCELLED)
	}
};

static const PayMachine *const machines[] = {&payment_machine, &attempt_machine, &refund_machine};

/* How open an attempt is, for PayRollUp; 0: over. */
static const int open_rank[PAY_LAST_STATE + 1] = {
	[PAY_CLOSING] = 1,
	[PAY_UNKNOWN] = 2,
	[PAY_PAYING] = 3,
	[PAY_AUTHORIZED] = 4,
	[PAY_CAPTURING] = 5
};

/* ---- rules ---- */

static bool
MachineCan(const PayMachine *machine, int from, int to)
{
	return (machine->steps[from] & TO(to)) != 0;
}

bool
PayPaymentCan(PayState from, PayState to)
{
	return MachineCan(&payment_machine, from, to);
}

bool
PayAttemptCan(PayState from, PayState to)
{
	return MachineCan(&attempt_machine, from, to);
}

bool
PayRefundCan(PayRefundState from, PayRefundState to)
{
	return MachineCan(&refund_machine, from, to);
}

bool
PayRefundReserves(PayRefundState state)
{
	return state == PAY_REFUND_REQUESTED || state == PAY_REFUND_PROCESSING ||
		state == PAY_REFUND_UNKNOWN || state == PAY_REFUND_ABNORMAL;
}

bool
PayRefundTakes(PayRefundState state)
{
	return PayRefundReserves(state) || state == PAY_REFUND_SUCCEEDED;
}

bool
PayPaymentIsFinal(PayState state)
{
	return payment_machine.steps[state] == 0;
}

bool
PayIsAboutMoney(PayState state)
{
	return state == PAY_PAID || state == PAY_AUTHORIZED;
}

bool
PayAttemptIsOpen(PayState state)
{
	return open_rank[state] > 0;
}

int
PayOpenRank(PayState state)
{
	return open_rank[state];
}

PayState
PayRollUp(PayState current, const PayState *attempts, int n, bool won, bool ends)
{
	PayState	shows = PAY_NO_STATE;
	int			i;

	if (won)
		return PAY_PAID;
	if (PayPaymentIsFinal(current))
		return current;

	for (i = 0; i < n; i++)
		if (open_rank[attempts[i]] > (shows ? open_rank[shows] : 0))
			shows = attempts[i];

	if (shows != PAY_NO_STATE)
	{
		if (shows == current || PayPaymentCan(current, shows))
			return shows;
		/* only after a direct UPDATE may even that be no step: then it stays */
		return PayPaymentCan(current, PAY_UNKNOWN) ? PAY_UNKNOWN : current;
	}

	/* nothing is open: it ends if it was to end, else it can be paid again */
	if (n == 0)
		return ends ? PAY_CLOSED : current;
	if (ends && attempts[n - 1] == PAY_REVERSED && PayPaymentCan(current, PAY_REVERSED))
		return PAY_REVERSED;
	if (ends && PayPaymentCan(current, PAY_CLOSED))
		return PAY_CLOSED;
	return PAY_FAILED;
}

static char *
StepsFrom(const PayMachine *machine, int from)
{
	StringInfoData buf;
	int			to;

	initStringInfo(&buf);
	for (to = 1; to <= machine->states->last; to++)
		if (MachineCan(machine, from, to))
			appendStringInfo(&buf, "%s%s", buf.len > 0 ? ", " : "", machine->states->label[to]);
	return buf.len > 0 ? buf.data : "none";
}

char *
PayPaymentStepsFrom(PayState from)
{
	return StepsFrom(&payment_machine, from);
}

char *
PayAttemptStepsFrom(PayState from)
{
	return StepsFrom(&attempt_machine, from);
}

char *
PayRefundStepsFrom(PayRefundState from)
{
	return StepsFrom(&refund_machine, from);
}

/* ---- labels ---- */

/* Find a label; 0 if the set has none of that name. */
static int
FindLabel(const PayLabels *labels, const char *label, size_t length)
{
	int			i;

	for (i = 1; i <= labels->last; i++)
		if (strlen(labels->label[i]) == length && memcmp(labels->label[i], label, length) == 0)
			return i;
	return 0;
}

const char *
PayStateLabel(PayState state)
{
	return state_label[state];
}

const char *
PayDecisionLabel(PayDecision decision)
{
	return decision_label[decision];
}

const char *
PayRefundStateLabel(PayRefundState state)
{
	return refund_state_label[state];
}

PayState
PayStateByLabel(const char *label, size_t length)
{
	return (PayState) FindLabel(&pay_state_labels, label, length);
}

PayRefundState
PayRefundStateByLabel(const char *label, size_t length)
{
	return (PayRefundState) FindLabel(&pay_refund_state_labels, label, length);
}

/* List the labels of a set for an error's DETAIL. */
static char *
ListLabels(const PayLabels *labels)
{
	StringInfoData buf;
	int			i;

	initStringInfo(&buf);
	for (i = 1; i <= labels->last; i++)
		appendStringInfo(&buf, "%s%s", i > 1 ? ", " : "", labels->label[i]);
	return buf.data;
}

pg_noreturn static void
ThrowUnknownLabel(const PayLabels *labels, const char *label)
{
	ereport(ERROR,
			(errcode(PAY_ERR_BAD_ARGUMENT),
			 errmsg("invalid input value for type %s: \"%s\"", labels->type_name, label),
			 errdetail("The values are %s.", ListLabels(labels))));
}

static char
LabelIn(const PayLabels *labels, const char *label)
{
	int			value = FindLabel(labels, label, strlen(label));

	if (value == 0)
		ThrowUnknownLabel(labels, label);
	return (char) value;
}

/* A byte that is no label can only come from a damaged page or a newer library. */
static const char *
LabelOut(const PayLabels *labels, char value)
{
	int			i = (unsigned char) value;

	if (i < 1 || i > labels->last)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("invalid %s on disk: %d", labels->type_name, i),
				 errdetail("The values are 1 to %d.", labels->last)));
	return labels->label[i];
}

static char
LabelRecv(const PayLabels *labels, StringInfo buf)
{
	int			length;
	char	   *label = pq_getmsgtext(buf, buf->len - buf->cursor, &length);
	int			value = FindLabel(labels, label, length);

	if (value == 0)
		ThrowUnknownLabel(labels, label);
	return (char) value;
}

static bytea *
LabelSend(const PayLabels *labels, char value)
{
	const char *label = LabelOut(labels, value);
	StringInfoData buf;

	pq_begintypsend(&buf);
	pq_sendtext(&buf, label, strlen(label));
	return pq_endtypsend(&buf);
}

/* The SQL input and output functions of a label type. */
#define PAY_LABEL_TYPE(type) \
	PG_FUNCTION_INFO_V1(type##_in); \
	Datum type##_in(PG_FUNCTION_ARGS) \
	{ \
		PG_RETURN_CHAR(LabelIn(&type##_labels, PG_GETARG_CSTRING(0))); \
	} \
	PG_FUNCTION_INFO_V1(type##_out); \
	Datum type##_out(PG_FUNCTION_ARGS) \
	{ \
		PG_RETURN_CSTRING(pstrdup(LabelOut(&type##_labels, PG_GETARG_CHAR(0)))); \
	} \
	PG_FUNCTION_INFO_V1(type##_recv); \
	Datum type##_recv(PG_FUNCTION_ARGS) \
	{ \
		PG_RETURN_CHAR(LabelRecv(&type##_labels, (StringInfo) PG_GETARG_POINTER(0))); \
	} \
	PG_FUNCTION_INFO_V1(type##_send); \
	Datum type##_send(PG_FUNCTION_ARGS) \
	{ \
		PG_RETURN_BYTEA_P(LabelSend(&type##_labels, PG_GETARG_CHAR(0))); \
	} \
	extern int	no_such_variable

PAY_LABEL_TYPE(pay_state);
PAY_LABEL_TYPE(pay_decision);
PAY_LABEL_TYPE(pay_refund_state);

/* ---- SQL functions ---- */

/* Get a state from a text argument. */
static PayState
StateArgument(FunctionCallInfo fcinfo, int n)
{
	text	   *label = PG_GETARG_TEXT_PP(n);
	int			state = FindLabel(&pay_state_labels, VARDATA_ANY(label), VARSIZE_ANY_EXHDR(label));

	if (state == 0)
		ThrowUnknownLabel(&pay_state_labels, text_to_cstring(label));
	return (PayState) state;
}

PG_FUNCTION_INFO_V1(pay_can);
Datum
pay_can(PG_FUNCTION_ARGS)
{
	PayState	from = StateArgument(fcinfo, 0);
	PayState	to = StateArgument(fcinfo, 1);

	PG_RETURN_BOOL(PayPaymentCan(from, to));
}

PG_FUNCTION_INFO_V1(pay_next);
Datum
pay_next(PG_FUNCTION_ARGS)
{
	PayState	from = StateArgument(fcinfo, 0);
	Datum		labels[PAY_LAST_STATE];
	int			n = 0;
	int			to;

	for (to = 1; to <= PAY_LAST_STATE; to++)
		if (PayPaymentCan(from, to))
			labels[n++] = CStringGetTextDatum(state_label[to]);
	PG_RETURN_ARRAYTYPE_P(construct_array(labels, n, TEXTOID, -1, false, TYPALIGN_INT));
}

PG_FUNCTION_INFO_V1(pay_is_final);
Datum
pay_is_final(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(PayPaymentIsFinal(StateArgument(fcinfo, 0)));
}

PG_FUNCTION_INFO_V1(pay_steps);
Datum
pay_steps(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int			m;
	int			from;
	int			to;

	InitMaterializedSRF(fcinfo, 0);
	for (m = 0; m < (int) lengthof(machines); m++)
		for (from = 1; from <= machines[m]->states->last; from++)
			for (to = 1; to <= machines[m]->states->last; to++)
				if (MachineCan(machines[m], from, to))
				{
					Datum		values[3];
					bool		nulls[3] = {false, false, false};

					values[0] = CStringGetTextDatum(machines[m]->name);
					values[1] = CStringGetTextDatum(machines[m]->states->label[from]);
					values[2] = CStringGetTextDatum(machines[m]->states->label[to]);
					tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
				}
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(pay_diagram);
Datum
pay_diagram(PG_FUNCTION_ARGS)
{
	StringInfoData buf;
	int			m;
	int			from;
	int			to;

	initStringInfo(&buf);
	appendStringInfoString(&buf, "digraph pay_idem {\n\trankdir=LR;\n\tnode [shape=box, style=rounded];\n");
	for (m = 0; m < (int) lengthof(machines); m++)
	{
		const PayMachine *machine = machines[m];
		const char *const *label = machine->states->label;

		appendStringInfo(&buf, "\tsubgraph cluster_%s {\n\t\tlabel=\"%s\";\n", machine->name, machine->name);
		for (from = machine->first; from <= machine->states->last; from++)
		{
			appendStringInfo(&buf, "\t\t%s_%s [label=\"%s\"%s];\n", machine->name, label[from],
							 label[from], machine->steps[from] == 0 ? ", peripheries=2" : "");
			for (to = 1; to <= machine->states->last; to++)
				if (MachineCan(machine, from, to))
					appendStringInfo(&buf, "\t\t%s_%s -> %s_%s;\n", machine->name, label[from],
									 machine->name, label[to]);
		}
		appendStringInfoString(&buf, "\t}\n");
	}
	appendStringInfoString(&buf, "}\n");
	PG_RETURN_TEXT_P(cstring_to_text_with_len(buf.data, buf.len));
}

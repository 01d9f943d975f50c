/*
 * argument.h
 *
 * What comes in as arguments of a SQL function.
 *
 * Arguments are checked here, before anything is read or written: what means
 * nothing is PY400, and a number that is none of ours is PY404.  The checks do
 * not throw but say what is wrong as a fault, so that a call that takes many
 * things can go on with the next one.
 */
#ifndef PAY_ARGUMENT_H
#define PAY_ARGUMENT_H

#include "postgres.h"

#include "errors.h"
#include "fmgr.h"
#include "machine.h"
#include "number.h"
#include "store.h"

/* Keys (order numbers, ids, names) are at most this many bytes, so that they fit an index entry. */
#define PAY_MAX_KEY_BYTES		255

/* Credentials may be whole HTML forms, but not films. */
#define PAY_MAX_CREDENTIAL_BYTES	65536

/* A reason is a sentence or a page. */
#define PAY_MAX_REASON_BYTES		65536

/*
 * 2^53 - 1: the largest integer that every JSON reader keeps exact (RFC 8259,
 * section 6); it also keeps sums over all attempts far from overflow.
 */
#define PAY_MAX_AMOUNT			INT64CONST(9007199254740991)

/* What is wrong with a value that came in, as the parts of an error. */
typedef struct PayFault
{
	const char *message;
	const char *detail;
	const char *hint;			/* or NULL */
} PayFault;

/* The fault as PY400. */
pg_noreturn extern void PayThrowFault(const PayFault *fault);

/* Fill in a fault; false, so that a check can return it. */
extern bool PaySetFault(PayFault *fault, const char *message, const char *detail, const char *hint);

/* A key; NULL only where it is optional, '' only where it may be empty. */
typedef enum PayPresence
{
	PAY_REQUIRED,
	PAY_MAY_BE_EMPTY,
	PAY_OPTIONAL
} PayPresence;

/* Is a value what it must be?  Else false, and the fault.  A text may be NULL where it is optional. */
extern bool PayCheckText(const text *value, const char *name, int max_bytes, PayPresence presence,
						 PayFault *fault);
extern bool PayCheckAmount(int64 amount, const char *name, PayFault *fault);
extern bool PayCheckCurrency(const text *currency, PayFault *fault);
extern bool PayCheckState(const text *label, const char *name, PayState *state, PayFault *fault);
extern bool PayCheckRefundState(const text *label, const char *name, PayRefundState *state,
								PayFault *fault);

/* A key as an argument. */
extern text *PayKeyArgument(FunctionCallInfo fcinfo, int n, const char *name, PayPresence presence);

/* Which of these words is it?  PY400 if none; the detail says which there are. */
extern int	PayWordArgument(const text *value, const char *name, const char *const *words, int n,
							const char *detail);

/* Any text of at most this many bytes. */
extern text *PayTextArgument(FunctionCallInfo fcinfo, int n, const char *name, int max_bytes,
							 PayPresence presence);

/* A positive amount in minor units; 0 for NULL where that is allowed. */
extern int64 PayAmountArgument(FunctionCallInfo fcinfo, int n, const char *name, PayPresence presence);

/* The id of a row, as the install's identity columns give it. */
extern int64 PayIdArgument(FunctionCallInfo fcinfo, int n, const char *name);

/* Three capital letters, as ISO 4217 has them. */
extern text *PayCurrencyArgument(FunctionCallInfo fcinfo, int n, PayPresence presence);

/* A state that can be reported or stepped to: any but created. */
extern PayState PayStateArgument(FunctionCallInfo fcinfo, int n, const char *name);

/* A refund's state. */
extern PayRefundState PayRefundStateArgument(FunctionCallInfo fcinfo, int n, const char *name);

/*
 * What an interval can sensibly mean, in days: anything longer is a number in
 * another unit.  A worker that has not come back after a day will not; no channel
 * keeps a credential for two months; two years can have 731 days.
 */
#define PAY_MAX_LEASE_DAYS			1
#define PAY_MAX_CREDENTIAL_DAYS		60
#define PAY_MAX_ORDER_DAYS			731

/* now + a positive interval of at most so many days; PAY_NO_TIME for NULL where that is allowed. */
extern TimestampTz PayDeadlineArgument(FunctionCallInfo fcinfo, int n, const char *name,
									   TimestampTz now, int max_days, PayPresence presence);

/* A number of ours, PY404 for anything else. */
extern PayNumber PayNumberArgument(FunctionCallInfo fcinfo, int n, const char *name);

/* An error for a number that leads to no payment or attempt. */
pg_noreturn extern void PayThrowNotFound(const text *trade_no);

/* PY400 if pay_channel has no route of this channel. */
extern void PayCheckChannelIsKnown(PayStore *store, text *channel);

#endif							/* PAY_ARGUMENT_H */

/*
 * import_in.h
 *
 * A payment as another system had it, read from JSON.
 *
 * Nothing here throws because of what the other system says: what is wrong is
 * put into the payment's `refused`, and the function returns false.
 */
#ifndef PAY_IMPORT_IN_H
#define PAY_IMPORT_IN_H

#include "postgres.h"

#include "record.h"
#include "store.h"
#include "utils/jsonb.h"

/* An attempt as it is now.  Amounts are 0 and times PAY_NO_TIME where there is none. */
typedef struct PayOldAttempt
{
	PayChannel	channel;
	PayState	state;
	int64		amount;
	int64		amount_to_capture;
	int64		amount_collected;
	TimestampTz opened_at;
	text	   *request_id;
	text	   *channel_txn;
	bool		told;			/* the history says how it came to this */
} PayOldAttempt;

typedef struct PayOldRefund
{
	int			attempt;		/* 0: the winner */
	PayRefundState state;
	int64		amount;
	TimestampTz requested_at;
	const char *kind;
	text	   *refund_no;
	text	   *reason;
	text	   *channel_txn;
} PayOldRefund;

/* A step of the history: of an attempt, or of the payment (0). */
typedef struct PayOldStep
{
	int			attempt;
	TimestampTz at;
	text	   *actor;
	PayNews		news;
} PayOldStep;

typedef struct PayOld
{
	text	   *merchant;
	text	   *order_no;
	int64		amount;
	text	   *currency;
	text	   *payer;
	bool		multi;
	TimestampTz created_at;
	TimestampTz valid_until;
	struct varlena *metadata;
	PayState	state;			/* PAY_NO_STATE: whatever follows from the attempts */
	int			winner;			/* 0: the attempt that was paid first */
	int			n_attempts;
	PayOldAttempt *attempts;
	int			n_refunds;
	PayOldRefund *refunds;
	int			n_steps;
	PayOldStep *steps;
	const char *refused;		/* why; NULL: it was not */
} PayOld;

/* Say why a payment is refused; false, so that a check can return it. */
extern bool PayRefuse(PayOld *old, const char *format,...) pg_attribute_printf(2, 3);

/* Read merchant and order number alone, and then everything. */
extern bool PayReadOldOrder(const JsonbValue *in, PayOld *old);
extern bool PayReadOld(PayStore *store, const JsonbValue *in, TimestampTz now, PayOld *old);

#endif							/* PAY_IMPORT_IN_H */

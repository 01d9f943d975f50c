/*
 * rows.h
 *
 * The rows of our tables as C structs, one for each table.
 *
 * A struct has a field for each column that the library reads or writes;
 * tables.c says which column fills which field.  The store reads and writes
 * them, the rooms above decide on them.
 */
#ifndef PAY_ROWS_H
#define PAY_ROWS_H

#include "postgres.h"

#include "access/htup.h"
#include "number.h"
#include "storage/itemptr.h"
#include "utils/timestamp.h"

typedef enum PayTableId
{
	PAY_CHANNEL_TABLE,
	PAY_PAYMENT_TABLE,
	PAY_ATTEMPT_TABLE,
	PAY_EVENT_TABLE,
	PAY_REVIEW_TABLE,
	PAY_REFUND_TABLE,
	PAY_DISPUTE_TABLE,
	PAY_TASK_TABLE,
	PAY_RESOURCE_TABLE,
	PAY_HOLD_TABLE,
	PAY_GRANTEE_TABLE,
	PAY_DATABASE_TABLE,
	PAY_TABLES
} PayTableId;

/*
 * In the rows below NULL is: no state, no decision, number zero, a NULL
 * pointer, attempt 0, amount 0, and for a time infinity (a payment that is
 * valid until infinity has no limit either way).
 */
#define PAY_NO_TIME DT_NOEND

/* check_at of what was given up: there is no task about it, until news comes. */
#define PAY_NO_TASK DT_NOBEGIN

/* What the store remembers of a row that it read or wrote. */
typedef struct PayRowHead
{
	ItemPointerData tid;
	HeapTuple	tuple;			/* as stored, with the user's columns */
	void	   *stored;			/* this struct as it was then */
} PayRowHead;

typedef struct PayChannel
{
	PayRowHead	head;
	int16		route;
	int16		max_attempts;
	bool		can_resubmit;
	bool		can_close;
	bool		can_reverse;
	Interval	resubmit_after;
	Interval	resubmit_within;	/* how long it knows a number */
	Interval	timeout;
	struct varlena *schedule;	/* interval[]: waits between questions */
	struct varlena *schedule_held;	/* the same while the money is authorized, or a refund on its way */
	Interval	held_for;		/* how long that is asked about */
	text	   *message_ids;	/* message; state: one id for all states of a payment */
	text	   *channel;
	text	   *method;
} PayChannel;

typedef struct PayRoutes
{
	int			n;
	int16		route[PAY_MAX_ATTEMPTS];	/* of attempt i + 1 */
} PayRoutes;

typedef struct PayDatabase
{
	PayRowHead	head;
	int64		system_identifier;	/* of the cluster */
	TimestampTz adopted_at;
	text	   *adopted_by;
	text	   *reason;
} PayDatabase;

typedef struct PayPayment
{
	PayRowHead	head;
	PayNumber	pay_no;
	int64		amount;
	int64		amount_collected;
	int64		amount_refunded;
	TimestampTz created_at;
	TimestampTz valid_until;
	int32		last_seq;
	int16		winner;
	uint8		state;			/* PayState */
	bool		multi;
	bool		end_requested;
	text	   *currency;
	text	   *merchant;
	text	   *order_no;
	text	   *payer;
	PayRoutes	routes;
	PayNumber	replaced_by;
	int16		holds;			/* how many resources it has asked for */
	struct varlena *metadata;	/* jsonb */
} PayPayment;

typedef struct PayAttempt
{
	PayRowHead	head;
	PayNumber	trade_no;
	PayNumber	pay_no;
	int64		amount;
	int64		amount_to_capture;
	int64		amount_collected;
	int64		amount_extra;	/* beyond it, by a second transaction */
	int64		amount_reserved;	/* for refunds that are under way */
	int64		amount_refunded;
	int64		amount_overdrawn;	/* what the channel took beyond what was collected */
	TimestampTz opened_at;
	TimestampTz handed_out_at;
	TimestampTz reported_at;	/* when the channel last spoke of it while it was paying */
	TimestampTz credential_expires_at;
	TimestampTz check_at;		/* when its task was queued for; PAY_NO_TIME: any; PAY_NO_TASK */
	int32		reports;		/* about it, while it was open */
	int16		attempt;
	int16		route;
	uint8		state;			/* PayState */
	text	   *request_id;
	text	   *channel_txn;
	text	   *credential;
} PayAttempt;

typedef struct PayEvent
{
	PayRowHead	head;
	PayNumber	pay_no;
	TimestampTz recorded_at;
	TimestampTz occurred_at;
	int64		amount;
	int32		seq;
	int16		attempt;		/* 0, not NULL: the payment as a whole */
	uint8		reported;		/* PayState */
	uint8		decision;		/* PayDecision */
	uint8		payment_before; /* PayState, as the next three */
	uint8		payment_after;
	uint8		attempt_before;
	uint8		attempt_after;
	text	   *source;
	text	   *message_id;
	text	   *currency;
	text	   *channel_txn;
	text	   *actor;
	text	   *session_actor;
	text	   *reason;
	struct varlena *payload;	/* jsonb */
	uint8		refund_reported;	/* PayRefundState, as the next two */
	uint8		refund_before;
	uint8		refund_after;
	text	   *refund_no;
} PayEvent;

typedef struct PayReview
{
	PayRowHead	head;
	int64		review_id;
	PayNumber	pay_no;
	TimestampTz opened_at;
	TimestampTz occurred_at;
	TimestampTz resolved_at;
	int64		amount;
	int32		seq;
	int16		attempt;
	bool		about_money;
	uint8		reported;		/* PayState */
	uint8		refund_reported;	/* PayRefundState */
	text	   *refund_no;
	text	   *refund_kind;	/* as reported */
	text	   *merchant;		/* of a refund that is none of ours */
	text	   *kind;			/* review.h has a word for each */
	text	   *source;
	text	   *message_id;
	text	   *trade_no;		/* as reported */
	PayNumber	attempt_no;		/* of the attempt, as pay_attempt has it; none: it is no number of ours */
	text	   *currency;
	text	   *channel_txn;
	text	   *detail;
	struct varlena *payload;	/* jsonb */
	text	   *verdict;
	text	   *reason;
	text	   *resolved_by;
	text	   *resolved_session;
} PayReview;

typedef struct PayRefund
{
	PayRowHead	head;
	PayNumber	pay_no;
	int64		amount;
	TimestampTz requested_at;
	int16		attempt;
	uint8		state;			/* PayRefundState */
	bool		adopted;		/* the channel's own, not asked for here */
	text	   *kind;
	text	   *merchant;
	text	   *refund_no;
	text	   *reason;
	text	   *channel_txn;
	text	   *of_txn;			/* the channel's transaction that it gives back */
	TimestampTz handed_out_at;	/* when somebody was told to send it; PAY_NO_TIME: nobody was */
	TimestampTz check_at;		/* as for an attempt, and the next */
	int32		reports;
} PayRefund;

typedef struct PayDispute
{
	PayRowHead	head;
	int64		dispute_id;
	PayNumber	pay_no;
	PayNumber	other_pay_no;
	TimestampTz opened_at;
	TimestampTz resolved_at;
	text	   *reason;
	text	   *opened_by;
	text	   *opened_session;
	text	   *verdict;
	text	   *verdict_reason;
	text	   *resolved_by;
	text	   *resolved_session;
	text	   *refund_no;
} PayDispute;

/*
 * A task: somebody must look at an attempt, a refund, a hold or, if it names
 * none of them, the payment.  What is to be done follows from their state.
 */
typedef struct PayTask
{
	PayRowHead	head;
	TimestampTz due_at;
	TimestampTz queued_for;		/* due_at as it was queued */
	TimestampTz claimed_at;
	PayNumber	pay_no;
	int32		reports;		/* of what it is about, when it was handed out */
	int16		attempt;
	int16		tries;			/* how often it was handed out and answered */
	text	   *refund_no;
	text	   *resource;
	text	   *asked_by;		/* worker that it was handed out to; NULL: it is not handed out */
} PayTask;

typedef struct PayResource
{
	PayRowHead	head;
	int64		capacity;		/* 0: no limit */
	int64		taken;
	PayNumber	taken_by;		/* of what one alone can have: who took it last */
	bool		external;
	text	   *merchant;
	text	   *resource;
} PayResource;

typedef struct PayHold
{
	PayRowHead	head;
	PayNumber	pay_no;
	int64		quantity;
	TimestampTz taken_at;
	TimestampTz check_at;		/* as for an attempt */
	int16		position;		/* order of taking */
	bool		external;
	bool		tried;			/* the participant's own try was heard of */
	text	   *state;			/* hold.h has a word for each */
	text	   *resource;
} PayHold;

/* What pay_grant() gave a role, for one merchant or, NULL, for all. */
typedef struct PayGrantee
{
	PayRowHead	head;
	NameData	role;
	text	   *kind;
	text	   *merchant;
} PayGrantee;

#endif							/* PAY_ROWS_H */

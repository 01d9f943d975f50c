/*
 * store.h
 *
 * Rows in, rows out: the only room that touches tables.  It knows no rules.
 *
 * A call opens the store, reads and writes rows as C structs, and closes it.
 * What it promises:
 *
 * - One snapshot per call, newer than the calling statement's, so that a call
 *   sees what the same statement's earlier calls and it itself wrote.
 *   PayLockPayment() renews it in READ COMMITTED.
 * - No snapshot is older than a rewrite of a table that it reads: to such a
 *   snapshot the table would look empty.  The tables that a call decides on are
 *   locked before its snapshot is taken; a table that is first touched later
 *   renews the snapshot in READ COMMITTED.  In REPEATABLE READ and SERIALIZABLE
 *   a table that was rewritten after the transaction's snapshot is a
 *   serialization failure (40001).
 * - A stored row is input: a value that no row can have is an error (PY503) that
 *   names table, key and column, or is passed by, if the call asks for that.
 * - Reads take no row lock and write nothing; under SERIALIZABLE they leave
 *   SIREAD locks as any index scan does.
 * - A write does what the executor would do for a DELETE, or an INSERT or
 *   UPDATE naming these columns: defaults, generated columns, constraints,
 *   BEFORE and AFTER row triggers, foreign keys, all indexes, replica identity.
 *   It runs as the caller; rights on the tables are not asked for, EXECUTE on
 *   the called function is the gate.  pay_idem's own guards are left out: they
 *   stop writes that go around the functions.  Statement triggers do not fire.
 * - A user's BEFORE trigger may fill columns that the user added; one that
 *   changes a column of ours, or returns NULL, is refused (PY423): the
 *   decision would not be what was written.
 * - Columns are found by name, indexes by their columns; the user may add
 *   both.  What is remembered between calls, pay_channel's rows too, is dropped
 *   by relcache invalidation, and "not installed" is never remembered.
 * - A caller who acts for some merchants only (pay_grant() with a merchant)
 *   finds nothing of another one's: its payments are not there, and neither is
 *   what hangs on them.  To name another merchant as a key, or to write for
 *   it, is an error (42501).
 * - All memory of a call is in one context that PayStoreClose() deletes.
 *
 * Locks: a writer locks the payment's row, then a refund's, in that order (FOR
 * NO KEY UPDATE), and decides on the locked versions; of two payments, the lower
 * pay_no first.  The payment's lock is its attempts' and its events', too.  In REPEATABLE READ
 * and SERIALIZABLE a row that changed after the snapshot is a serialization
 * failure (40001).  New rows that others may insert at the same instant go in
 * by speculative insertion.
 */
#ifndef PAY_STORE_H
#define PAY_STORE_H

#include "postgres.h"

#include "access/tupdesc.h"
#include "fmgr.h"
#include "nodes/pg_list.h"
#include "rows.h"
#include "utils/relcache.h"
#include "utils/timestamp.h"

typedef struct PayStore PayStore;

typedef enum PayAccess
{
	PAY_READS,
	PAY_WRITES
} PayAccess;

/* A set of tables: OR these together. */
#define PAY_LOOK_AT_NOTHING	0
#define PAY_LOOK_AT(table)	(1 << (table))
#define PAY_LOOK_AT_RECORDS	(PAY_LOOK_AT(PAY_PAYMENT_TABLE) | PAY_LOOK_AT(PAY_ATTEMPT_TABLE))

/*
 * Open the store for the SQL function being called, whose schema is where the
 * tables are.  Memory is allocated in the call's context from here on.
 * Writers are refused in a read-only transaction and in a parallel worker, and
 * a superuser's on tables whose owner is none (42501).
 *
 * looks_at		the tables that the call decides on before it locks a payment
 */
extern PayStore *PayStoreOpen(FunctionCallInfo fcinfo, PayAccess access, int looks_at);

/*
 * May the caller act for this merchant?  Where it is NULL, because the payment
 * was not found: may the caller act for all?
 */
extern bool PayMayActFor(PayStore *store, const text *merchant);

/* Fire AFTER triggers, close the tables, go back to the caller's memory context. */
extern void PayStoreClose(PayStore *store);

/*
 * Close the store and give a row of what the called function answers: n columns
 * of these types.  PY503 if the function's result type was altered.
 */
extern Datum PayReplyRow(PayStore *store, const Datum *values, const bool *nulls, const Oid *types, int n);

/*
 * For a call that goes through many things: forget the memory that the last
 * one took, and take the next one's from the same place.
 */
extern void PayStoreNextItem(PayStore *store);

/* Where what outlives the call must be allocated. */
extern MemoryContext PayStoreCallerContext(PayStore *store);

/*
 * Rows that contradict themselves or each other.
 *
 * PayDamaged() is an error (PY503), unless the call passes damage by at the
 * moment: then what was read is not to be used, and PayTakeDamage() says, once,
 * what is wrong with it; NULL if nothing is.
 */
extern void PayDamaged(PayStore *store, PayTableId table, const void *row, const char *what);
extern void PayPassDamageBy(PayStore *store, bool passes);
extern const char *PayTakeDamage(PayStore *store);

/* Find a row under the call's snapshot; false if it is not there. */
extern bool PayFindChannel(PayStore *store, text *channel, text *method, PayChannel *row);
extern bool PayFindRoute(PayStore *store, int route, PayChannel *row);
extern bool PayFindOrder(PayStore *store, text *merchant, text *order_no, PayPayment *row);
extern bool PayFindPayment(PayStore *store, PayNumber pay_no, PayPayment *row);
extern bool PayFindAttempt(PayStore *store, PayNumber trade_no, PayAttempt *row);
extern bool PayFindMessage(PayStore *store, PayNumber pay_no, text *source, text *message_id,
						   PayEvent *row);
extern bool PayFindReview(PayStore *store, int64 review_id, PayReview *row);

/* An open review of a report that fitted nothing; message_id and merchant may be NULL. */
extern bool PayFindUnmatched(PayStore *store, text *source, text *trade_no, text *message_id,
							 text *merchant, PayReview *row);
extern bool PayFindRefund(PayStore *store, text *merchant, text *refund_no, PayRefund *row);
extern bool PayFindResource(PayStore *store, text *merchant, text *resource, PayResource *row);
extern bool PayFindHold(PayStore *store, PayNumber pay_no, text *resource, PayHold *row);
extern bool PayFindDatabase(PayStore *store, int64 system_identifier, PayDatabase *row);
extern bool PayFindDispute(PayStore *store, int64 dispute_id, PayDispute *row);

/* The dispute about these two payments, in this order, that is not resolved yet. */
extern bool PayFindOpenDispute(PayStore *store, PayNumber pay_no, PayNumber other_pay_no,
							   PayDispute *row);

/* Does any route of this channel exist? */
extern bool PayChannelExists(PayStore *store, text *channel);

/* All events of a payment, oldest first; all its open reviews. Lists of pointers to rows. */
extern List *PayListEvents(PayStore *store, PayNumber pay_no);
extern List *PayListOpenReviews(PayStore *store, PayNumber pay_no);

/* All refunds of a payment, in no order. */
extern List *PayListRefunds(PayStore *store, PayNumber pay_no);

/* All holds of a payment, by resource. */
extern List *PayListHolds(PayStore *store, PayNumber pay_no);

/* The latest payments of a payer, at most this many, whose numbers are not below this one. */
extern List *PayListPaymentsOfPayer(PayStore *store, text *merchant, text *payer, PayNumber from,
									int at_most);

/* Is this, which was read before, still the version that the call's snapshot sees? */
extern bool PayIsCurrent(PayStore *store, const PayAttempt *row);

/*
 * Lock a row that was found and load its locked version; false if it is gone.
 * PayLockPayment(), PayTryLockPayment(), PayLockResource() and
 * PayTryLockTask() renew the snapshot too: read everything else again.
 */
extern bool PayLockPayment(PayStore *store, PayPayment *row);
extern bool PayLockReview(PayStore *store, PayReview *row);
extern bool PayLockRefund(PayStore *store, PayRefund *row);
extern bool PayLockDispute(PayStore *store, PayDispute *row);

extern bool PayLockResource(PayStore *store, PayResource *row);
extern bool PayLockHold(PayStore *store, PayHold *row);

/* The same, but false too if somebody else has it locked, or changed it unseen: never waits. */
extern bool PayTryLockPayment(PayStore *store, PayPayment *row);
extern bool PayTryLockAttempt(PayStore *store, PayAttempt *row);
extern bool PayTryLockRefund(PayStore *store, PayRefund *row);
extern bool PayTryLockHold(PayStore *store, PayHold *row);
extern bool PayTryLockResource(PayStore *store, PayResource *row);
extern bool PayTryLockTask(PayStore *store, PayTask *row);

/*
 * Insert a row that others may insert at the same instant.  False, and
 * nothing written, if a row with one of its keys is there: the snapshot is
 * renewed, so look again.
 */
extern bool PayInsertPayment(PayStore *store, PayPayment *row);
extern bool PayInsertReview(PayStore *store, PayReview *row);
extern bool PayInsertRefund(PayStore *store, PayRefund *row);
extern bool PayInsertDispute(PayStore *store, PayDispute *row);
extern bool PayInsertResource(PayStore *store, PayResource *row);
extern bool PayInsertDatabase(PayStore *store, PayDatabase *row);

/* Insert a row whose keys the payment's lock keeps free. */
extern void PayInsertAttempt(PayStore *store, PayAttempt *row);
extern void PayInsertEvent(PayStore *store, PayEvent *row);
extern void PayInsertTask(PayStore *store, PayTask *row);
extern void PayInsertHold(PayStore *store, PayHold *row);

/* Write the changed columns of a locked row. */
extern void PayUpdatePayment(PayStore *store, PayPayment *row);
extern void PayUpdateAttempt(PayStore *store, PayAttempt *row);
extern void PayUpdateReview(PayStore *store, PayReview *row);
extern void PayUpdateRefund(PayStore *store, PayRefund *row);
extern void PayUpdateDispute(PayStore *store, PayDispute *row);
extern void PayUpdateTask(PayStore *store, PayTask *row);
extern void PayUpdateResource(PayStore *store, PayResource *row);
extern void PayUpdateHold(PayStore *store, PayHold *row);

/* Remove a task that is locked and finds nothing to do; a resource that was inserted in vain. */
extern void PayDeleteTask(PayStore *store, PayTask *row);
extern void PayDeleteResource(PayStore *store, PayResource *row);

/*
 * Go through the tasks that are due, the longest due first, as the snapshot of
 * the first step sees them; lock each before use.  What is written meanwhile
 * is not met again.  End the scan before the store is closed.
 */
typedef struct PayDueScan PayDueScan;

extern PayDueScan *PayBeginDue(PayStore *store, TimestampTz now);
extern bool PayNextDue(PayDueScan *scan, PayTask *row);
extern void PayEndDue(PayDueScan *scan);

/* ---- for the guards: our tables as a trigger sees them ---- */

/*
 * Which of our tables is this relation, in the schema of the function being
 * called?  PAY_TABLES if none.  By what it is, whatever its name; nothing of it is
 * read.
 */
extern PayTableId PayTableOf(FunctionCallInfo fcinfo, Relation rel);

/* Load a row struct of that table from a tuple. */
extern void PayLoadTuple(PayStore *store, PayTableId table, HeapTuple tuple, TupleDesc desc, void *row);

/* Names of our columns that differ between two rows of a table, NULL at the end. */
extern const char **PayChangedColumns(PayTableId table, const void *before, const void *after);

/* A tuple with one integer column of ours replaced. */
extern HeapTuple PayTupleWithInt32(PayStore *store, HeapTuple tuple, TupleDesc desc,
								   const char *column, int32 value);

/* Remove the row of the same route, channel and method, to make room for one that is about to be inserted. */
extern void PayReplaceChannel(PayStore *store, const PayChannel *new_row);

/* Remove a row that was found, past the guards. */
extern void PayForgetDatabase(PayStore *store, PayDatabase *row);

#endif							/* PAY_STORE_H */

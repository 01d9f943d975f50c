/*
 * import_tell.h
 *
 * A payment of another system, retold as if it had happened here: as rows of
 * ours, to be written by import.c.
 *
 * What does not fit is put into the payment's `refused`, as import_in.h does.
 */
#ifndef PAY_IMPORT_TELL_H
#define PAY_IMPORT_TELL_H

#include "postgres.h"

#include "import_in.h"
#include "nodes/pg_list.h"
#include "record.h"

/* A refund retold, and the event after which it needs a person (0: none does). */
typedef struct PayToldRefund
{
	PayRefund	refund;
	PayNews		news;
	int32		review_seq;
} PayToldRefund;

/* The same payment as rows of ours. */
typedef struct PayTold
{
	PayRecord	record;
	List	   *refunds;		/* of PayToldRefund */
	List	   *events;			/* of PayEvent */
} PayTold;

/*
 * Retell it under a number of ours: its events, and the rows that they lead to.
 * Reads and writes nothing; false, with the reason, if it cannot have happened.
 */
extern bool PayTell(PayOld *old, PayNumber pay_no, TimestampTz now, PayTold *told);

#endif							/* PAY_IMPORT_TELL_H */

/*
 * number.h
 *
 * pay_no and trade_no: UUIDs of RFC 9562 version 8, from the left
 *
 *	48 bits	Unix time in ms		when the payment was made
 *	 4 bits	8					version
 *	12 bits	route				0 in a payment's own number
 *	 2 bits	10					variant
 *	 6 bits	attempt				0 in a payment's own number
 *	12 bits	shard				of the order
 *	44 bits	random
 *
 * A payment and its attempts share all bits but route and attempt.  Numbers
 * prove nothing: check route and attempt against the record.
 */
#ifndef PAY_NUMBER_H
#define PAY_NUMBER_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/uuid.h"

typedef pg_uuid_t PayNumber;

#define PAY_MAX_ATTEMPTS	63
#define PAY_MAX_ROUTE		4095

/* Draw a payment's number for now and this shard. */
extern PayNumber PayNewNumber(int shard);

/* The same for another time since 1970. */
extern PayNumber PayNewNumberOf(int shard, TimestampTz made_at);

/* The number of an attempt, given its own payment's or any attempt's number. */
extern PayNumber PayAttemptNumber(PayNumber number, int route, int attempt);

/* The payment's number that an attempt's number leads to. */
extern PayNumber PayPaymentNumber(PayNumber number);

extern int	PayNumberRoute(PayNumber number);
extern int	PayNumberAttempt(PayNumber number);
extern int	PayNumberShard(PayNumber number);
extern TimestampTz PayNumberTime(PayNumber number);

/* The lowest number that a payment made at this time can have. */
extern PayNumber PayLowestNumber(TimestampTz made_at);

/* Order of numbers, as SQL orders them: negative, 0, positive. */
extern int	PayCompareNumbers(PayNumber a, PayNumber b);

extern bool PayNumbersEqual(PayNumber a, PayNumber b);

/* All bits zero: stands for NULL inside the library. */
extern bool PayNumberIsNone(PayNumber number);

/* Read 32 hex digits, dashes allowed where a UUID has them; false if it is no number of ours. */
extern bool PayParseNumber(const text *in, PayNumber *number);

/* Write the 32 hex digits that channels and callers get. */
extern text *PayNumberText(PayNumber number);

/* First 64 bits of SHA-256(a, 0x1F, b) in UTF-8; in a SQL_ASCII database, of their bytes. */
extern uint64 PayDigest(const text *a, const text *b);

/* Shard of an order, 0 to 4095: first 12 bits of SHA-256(merchant, 0x1F, order_no) in UTF-8. */
extern int	PayShard(const text *merchant, const text *order_no);

#endif							/* PAY_NUMBER_H */

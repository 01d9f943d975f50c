/*
 * number_sql.c
 *
 * What a number says, and numbers as the tables' constraints and views need
 * them: the SQL functions about pay_no and trade_no.
 */
#include "postgres.h"

#include "argument.h"
#include "catalog/pg_type.h"
#include "compat.h"
#include "fmgr.h"
#include "number.h"
#include "store.h"
#include "utils/array.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(pay_shard);
Datum
pay_shard(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(PayShard(PG_GETARG_TEXT_PP(1), PG_GETARG_TEXT_PP(0)));
}

PG_FUNCTION_INFO_V1(pay_shard_of);
Datum
pay_shard_of(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(PayNumberShard(PayNumberArgument(fcinfo, 0, "trade_no")));
}

PG_FUNCTION_INFO_V1(pay_time);
Datum
pay_time(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(PayNumberTime(PayNumberArgument(fcinfo, 0, "trade_no")));
}

PG_FUNCTION_INFO_V1(pay_attempt_of);
Datum
pay_attempt_of(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(PayNumberAttempt(PayNumberArgument(fcinfo, 0, "trade_no")));
}

/* The digits of a number, without what the type uuid lets stand around and between them. */
static text *
BareDigits(const text *in)
{
	const char *c = VARDATA_ANY(in);
	const char *end = c + VARSIZE_ANY_EXHDR(in);
	text	   *out = palloc(VARHDRSZ + 2 * UUID_LEN);
	int			n = 0;

	if (end - c > 2 && *c == '{' && end[-1] == '}')
	{
		c++;
		end--;
	}
	while (c < end && n < 2 * UUID_LEN)
	{
		VARDATA(out)[n++] = *c++;
		if (n % 4 == 0 && end - c > 1 && *c == '-')
			c++;
	}
	SET_VARSIZE(out, VARHDRSZ + (c == end ? n : 0));
	return out;
}

PG_FUNCTION_INFO_V1(pay_number);
Datum
pay_number(PG_FUNCTION_ARGS)
{
	PayNumber  *number = palloc(sizeof(PayNumber));

	if (!PayParseNumber(BareDigits(PG_GETARG_TEXT_PP(0)), number))
		PG_RETURN_NULL();
	PG_RETURN_UUID_P(number);
}

PG_FUNCTION_INFO_V1(pay_channel_of);
Datum
pay_channel_of(PG_FUNCTION_ARGS)
{
	PayNumber	number = PayNumberArgument(fcinfo, 0, "trade_no");
	PayStore   *store = PayStoreOpen(fcinfo, PAY_READS, PAY_LOOK_AT(PAY_CHANNEL_TABLE));
	PayChannel	channel;
	bool		found = PayFindRoute(store, PayNumberRoute(number), &channel);
	char	   *name = NULL;

	if (found)
		name = MemoryContextStrdup(PayStoreCallerContext(store), text_to_cstring(channel.channel));
	PayStoreClose(store);
	if (!found)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(name));
}

PG_FUNCTION_INFO_V1(pay_number_matches);
Datum
pay_number_matches(PG_FUNCTION_ARGS)
{
	PayNumber	number = *PG_GETARG_UUID_P(0);
	PayNumber	pay_no = *PG_GETARG_UUID_P(1);
	int			attempt = PG_GETARG_INT32(2);
	int			route = PG_GETARG_INT32(3);

	PG_RETURN_BOOL((pay_no.data[6] & 0xF0) == 0x80 && (pay_no.data[8] & 0xC0) == 0x80 &&
				   PayNumbersEqual(pay_no, PayPaymentNumber(pay_no)) &&
				   PayNumbersEqual(number, PayAttemptNumber(pay_no, route, attempt)));
}

PG_FUNCTION_INFO_V1(pay_trade_nos);
Datum
pay_trade_nos(PG_FUNCTION_ARGS)
{
	PayNumber	pay_no = *PG_GETARG_UUID_P(0);
	PayNumber	numbers[PAY_MAX_ATTEMPTS];
	Datum		trade_nos[PAY_MAX_ATTEMPTS];
	Datum	   *routes;
	bool	   *nulls;
	int			n;
	int			i;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), INT2OID, sizeof(int16), true, TYPALIGN_SHORT,
					  &routes, &nulls, &n);
	for (i = 0; i < n && i < PAY_MAX_ATTEMPTS && !nulls[i]; i++)
	{
		numbers[i] = PayAttemptNumber(pay_no, DatumGetInt16(routes[i]), i + 1);
		trade_nos[i] = UUIDPGetDatum(&numbers[i]);
	}
	PG_RETURN_ARRAYTYPE_P(construct_array(trade_nos, i, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
}

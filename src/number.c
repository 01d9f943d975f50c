/*
 * number.c
 *
 * pay_no and trade_no, bit by bit.
 */
#include "number.h"

#include "common/cryptohash.h"
#include "common/pg_prng.h"
#include "common/sha2.h"
#include "compat.h"
#include "mb/pg_wchar.h"
#include "utils/timestamp.h"

#define MS_FROM_UNIX_TO_PG_EPOCH \
	((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * 1000)

PayNumber
PayLowestNumber(TimestampTz made_at)
{
	PayNumber	number;
	uint64		ms = made_at / 1000 + MS_FROM_UNIX_TO_PG_EPOCH;
	int			i;

	memset(&number, 0, sizeof(number));
	for (i = 0; i < 6; i++)
		number.data[i] = (uint8) (ms >> (40 - 8 * i));
	number.data[6] = 0x80;		/* version 8, route 0 */
	number.data[8] = 0x80;		/* variant 10, attempt 0 */
	return number;
}

PayNumber
PayNewNumber(int shard)
{
	return PayNewNumberOf(shard, GetCurrentTimestamp());
}

PayNumber
PayNewNumberOf(int shard, TimestampTz made_at)
{
	PayNumber	number = PayLowestNumber(made_at);
	uint64		random = pg_prng_uint64(&pg_global_prng_state);
	int			i;

	number.data[9] = (uint8) (shard >> 4);
	number.data[10] = (uint8) ((shard & 0x0F) << 4 | ((random >> 40) & 0x0F));
	for (i = 11; i < UUID_LEN; i++)
		number.data[i] = (uint8) (random >> (8 * (UUID_LEN - 1 - i)));
	return number;
}

PayNumber
PayAttemptNumber(PayNumber number, int route, int attempt)
{
	number.data[6] = (uint8) (0x80 | route >> 8);
	number.data[7] = (uint8) route;
	number.data[8] = (uint8) (0x80 | attempt);
	return number;
}

PayNumber
PayPaymentNumber(PayNumber number)
{
	return PayAttemptNumber(number, 0, 0);
}

int
PayNumberRoute(PayNumber number)
{
	return (number.data[6] & 0x0F) << 8 | number.data[7];
}

int
PayNumberAttempt(PayNumber number)
{
	return number.data[8] & 0x3F;
}

int
PayNumberShard(PayNumber number)
{
	return number.data[9] << 4 | number.data[10] >> 4;
}

TimestampTz
PayNumberTime(PayNumber number)
{
	int64		ms = 0;
	int			i;

	for (i = 0; i < 6; i++)
		ms = ms << 8 | number.data[i];
	return (ms - MS_FROM_UNIX_TO_PG_EPOCH) * 1000;
}

int
PayCompareNumbers(PayNumber a, PayNumber b)
{
	return memcmp(a.data, b.data, UUID_LEN);
}

bool
PayNumbersEqual(PayNumber a, PayNumber b)
{
	return PayCompareNumbers(a, b) == 0;
}

bool
PayNumberIsNone(PayNumber number)
{
	static const PayNumber none;

	return PayNumbersEqual(number, none);
}

static int
HexDigit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

bool
PayParseNumber(const text *in, PayNumber *number)
{
	const char *c = VARDATA_ANY(in);
	int			length = VARSIZE_ANY_EXHDR(in);
	bool		dashes = (length == 36);
	int			i;

	if (length != 32 && !dashes)
		return false;
	for (i = 0; i < UUID_LEN; i++)
	{
		int			high;
		int			low;

		if (dashes && (i == 4 || i == 6 || i == 8 || i == 10) && *c++ != '-')
			return false;
		high = HexDigit(*c++);
		low = HexDigit(*c++);
		if (high < 0 || low < 0)
			return false;
		number->data[i] = (uint8) (high << 4 | low);
	}
	/* version 8, variant 10, and a route exactly where there is an attempt */
	return (number->data[6] & 0xF0) == 0x80 && (number->data[8] & 0xC0) == 0x80 &&
		(PayNumberRoute(*number) == 0) == (PayNumberAttempt(*number) == 0);
}

text *
PayNumberText(PayNumber number)
{
	static const char hex[] = "0123456789abcdef";
	text	   *out = palloc(VARHDRSZ + 2 * UUID_LEN);
	char	   *c = VARDATA(out);
	int			i;

	SET_VARSIZE(out, VARHDRSZ + 2 * UUID_LEN);
	for (i = 0; i < UUID_LEN; i++)
	{
		*c++ = hex[number.data[i] >> 4];
		*c++ = hex[number.data[i] & 0x0F];
	}
	return out;
}

/*
 * Feed a text to the hash in UTF-8, whatever the database's encoding. SQL_ASCII
 * does not say what its bytes mean, so they are taken as they are.
 */
static int
HashText(pg_cryptohash_ctx *ctx, const text *in)
{
	const char *data = VARDATA_ANY(in);
	int			length = VARSIZE_ANY_EXHDR(in);
	const char *utf8 = data;

	if (GetDatabaseEncoding() != PG_SQL_ASCII)
		utf8 = pg_server_to_any(data, length, PG_UTF8);

	if (utf8 != data)
		length = strlen(utf8);
	return pg_cryptohash_update(ctx, (const uint8 *) utf8, length);
}

uint64
PayDigest(const text *a, const text *b)
{
	static const uint8 separator = 0x1F;
	uint8		digest[PG_SHA256_DIGEST_LENGTH];
	uint64		first = 0;
	pg_cryptohash_ctx *ctx = pg_cryptohash_create(PG_SHA256);
	int			i;

	if (pg_cryptohash_init(ctx) < 0 || HashText(ctx, a) < 0 ||
		pg_cryptohash_update(ctx, &separator, 1) < 0 || HashText(ctx, b) < 0 ||
		pg_cryptohash_final(ctx, digest, sizeof(digest)) < 0)
		elog(ERROR, "could not compute SHA-256: %s", pg_cryptohash_error(ctx));
	pg_cryptohash_free(ctx);
	for (i = 0; i < 8; i++)
		first = first << 8 | digest[i];
	return first;
}

int
PayShard(const text *merchant, const text *order_no)
{
	return (int) (PayDigest(merchant, order_no) >> 52);
}

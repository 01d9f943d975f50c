/*
 * json_in.c
 *
 * JSON in, datums out.
 *
 * Whatever may be wrong with a value is said as a fault and not thrown, so that
 * a caller can go on with the next one.
 */
#include "json_in.h"

#include "compat.h"
#include "errors.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

/* So much of a wrong value is shown. */
#define SHOWN_BYTES 40

static const char *const expected[] = {
	[PAY_JSON_TEXT] = "a string",
	[PAY_JSON_INTEGER] = "a whole number",
	[PAY_JSON_BOOLEAN] = "true or false",
	[PAY_JSON_TIME] = "a string",
	[PAY_JSON_LIST] = "an array"
};

/* A value as an error shows it. */
static char *
Show(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			if (value->val.string.len <= SHOWN_BYTES)
				return psprintf("\"%.*s\"", value->val.string.len, value->val.string.val);
			return psprintf("\"%.*s...\"",
							pg_mbcliplen(value->val.string.val, value->val.string.len, SHOWN_BYTES),
							value->val.string.val);
		case jbvNumeric:
			return psprintf("%.*s", SHOWN_BYTES,
							DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric))));
		case jbvBool:
			return value->val.boolean ? "true" : "false";
		case jbvNull:
			return "null";
		default:
			return JsonContainerIsArray(value->val.binary.data) ? "an array" : "an object";
	}
}

static bool
IsArray(const JsonbValue *value)
{
	return value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data);
}

/* A whole number that fits, and is written as one. */
static bool
ReadInteger(Numeric number, int64 *result)
{
	char	   *digits = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(number)));
	char	   *end;

	errno = 0;
	*result = strtoll(digits, &end, 10);
	return errno == 0 && *end == '\0';
}

/* Skip from least to most digits; NULL if there are fewer, or if there was no text any more. */
static const char *
SkipDigits(const char *c, int least, int most)
{
	int			n = 0;

	while (c != NULL && n < most && c[n] >= '0' && c[n] <= '9')
		n++;
	return c != NULL && n >= least ? c + n : NULL;
}

/* Skip one of these letters and then so many digits; NULL if they are not there. */
static const char *
SkipPart(const char *c, const char *letters, int least, int most)
{
	return c != NULL && *c != '\0' && strchr(letters, *c) != NULL ? SkipDigits(c + 1, least, most) : NULL;
}

/*
 * Is it of the form 2026-11-11T08:30:00.123+08:00?  Seconds, fraction and zone
 * may be left out, and the whole time.  So what is read does not depend on
 * DateStyle, and has no names of zones, for which the reader below would throw.
 */
static bool
IsTime(const char *value)
{
	const char *c = SkipPart(SkipPart(SkipDigits(value, 4, 6), "-", 2, 2), "-", 2, 2);
	const char *next = SkipPart(SkipPart(c, "T ", 2, 2), ":", 2, 2);

	if (next != NULL)
	{
		c = next;
		if ((next = SkipPart(c, ":", 2, 2)) != NULL)
			c = next;
		if (next != NULL && (next = SkipPart(c, ".", 1, 9)) != NULL)
			c = next;
		if (*c == 'Z')
			c++;
		else if ((next = SkipPart(c, "+-", 2, 2)) != NULL)
		{
			c = next;
			while ((next = *c == ':' ? SkipDigits(c + 1, 2, 2) : SkipDigits(c, 2, 2)) != NULL)
				c = next;
		}
	}
	return c != NULL && *c == '\0';
}

/* What the cast of a text to timestamptz does, but for the error. */
static bool
ReadTime(const char *value, TimestampTz *result)
{
	char		buffer[MAXDATELEN + MAXDATEFIELDS];
	char	   *field[MAXDATEFIELDS];
	int			kind[MAXDATEFIELDS];
	int			n;
	int			type;
	int			zone;
	struct pg_tm tm;
	fsec_t		fsec;

	if (!IsTime(value) && strcmp(value, "infinity") != 0 && strcmp(value, "-infinity") != 0)
		return false;
	if (ParseDateTime(value, buffer, sizeof(buffer), field, kind, MAXDATEFIELDS, &n) != 0 ||
		PayCompatDecodeDateTime(field, kind, n, &type, &tm, &fsec, &zone) != 0)
		return false;
	switch (type)
	{
		case DTK_DATE:
			return tm2timestamp(&tm, fsec, &zone, result) == 0;
		case DTK_LATE:
			TIMESTAMP_NOEND(*result);
			return true;
		case DTK_EARLY:
			TIMESTAMP_NOBEGIN(*result);
			return true;
		default:
			return false;
	}
}

/* "a, b, c": the keys that there are. */
static char *
ListKeys(const PayJsonKey *keys, int n)
{
	StringInfoData buf;
	int			i;

	initStringInfo(&buf);
	for (i = 0; i < n; i++)
		appendStringInfo(&buf, "%s%s", i > 0 ? ", " : "", keys[i].name);
	return buf.data;
}

static bool
FaultOfType(const PayJsonKey *key, const JsonbValue *value, PayFault *fault)
{
	return PaySetFault(fault, psprintf("invalid %s: %s", key->name, Show(value)),
					   psprintf("It must be %s in JSON.", expected[key->type]),
					   value->type == jbvString && key->type == PAY_JSON_INTEGER ?
					   "Write numbers without quotes." : NULL);
}

/* Make a key's value the datum of its type. */
static bool
ReadValue(const PayJsonKey *key, JsonbValue *value, Datum *datum, PayFault *fault)
{
	int64		number;
	TimestampTz time;

	switch (key->type)
	{
		case PAY_JSON_TEXT:
			if (value->type != jbvString)
				return FaultOfType(key, value, fault);
			*datum = PointerGetDatum(cstring_to_text_with_len(value->val.string.val, value->val.string.len));
			return true;
		case PAY_JSON_INTEGER:
			if (value->type != jbvNumeric || !ReadInteger(value->val.numeric, &number))
				return FaultOfType(key, value, fault);
			*datum = Int64GetDatum(number);
			return true;
		case PAY_JSON_BOOLEAN:
			if (value->type != jbvBool)
				return FaultOfType(key, value, fault);
			*datum = BoolGetDatum(value->val.boolean);
			return true;
		case PAY_JSON_TIME:
			if (value->type != jbvString)
				return FaultOfType(key, value, fault);
			if (!ReadTime(pnstrdup(value->val.string.val, value->val.string.len), &time))
				return PaySetFault(fault, psprintf("invalid %s: %s", key->name, Show(value)),
								   "A time in JSON is written as ISO 8601 has it.",
								   "Write it as in 2026-11-11T08:30:00Z.");
			*datum = TimestampTzGetDatum(time);
			return true;
		case PAY_JSON_LIST:
			if (!IsArray(value))
				return FaultOfType(key, value, fault);
			*datum = PointerGetDatum(value->val.binary.data);
			return true;
		case PAY_JSON_ANY:
			*datum = JsonbPGetDatum(JsonbValueToJsonb(value));
			return true;
	}
	pg_unreachable();
}

/* Position of a key; n if there is none of that name. */
static int
FindKey(const PayJsonKey *keys, int n, const JsonbValue *name)
{
	int			i;

	for (i = 0; i < n; i++)
		if (strlen(keys[i].name) == name->val.string.len &&
			memcmp(keys[i].name, name->val.string.val, name->val.string.len) == 0)
			break;
	return i;
}

bool
PayReadObject(const JsonbValue *in, const PayJsonKey *keys, int n, NullableDatum *values, PayFault *fault)
{
	JsonbIterator *iterator;
	JsonbValue	value;
	PayFault	later;
	PayFault   *here = fault;	/* of several the first one counts */
	int			i;

	for (i = 0; i < n; i++)
		values[i].isnull = true;
	if (in->type != jbvBinary || !JsonContainerIsObject(in->val.binary.data))
		return PaySetFault(fault, psprintf("not a JSON object: %s", Show(in)),
						   psprintf("It must be an object with the keys %s.", ListKeys(keys, n)), NULL);
	iterator = JsonbIteratorInit(in->val.binary.data);
	(void) JsonbIteratorNext(&iterator, &value, true);	/* the object's beginning */
	while (JsonbIteratorNext(&iterator, &value, true) == WJB_KEY)
	{
		bool		known;

		i = FindKey(keys, n, &value);
		known = i < n || PaySetFault(here, psprintf("unknown key: %s", Show(&value)),
									 psprintf("The keys are %s.", ListKeys(keys, n)), NULL);
		(void) JsonbIteratorNext(&iterator, &value, true);
		if (known && value.type == jbvNull)
			continue;
		if (known && ReadValue(&keys[i], &value, &values[i].value, here))
			values[i].isnull = false;
		else
			here = &later;
	}
	return here == fault;
}

JsonbValue *
PayListElements(JsonbContainer *list, int *count)
{
	JsonbIterator *iterator = JsonbIteratorInit(list);
	JsonbValue *elements;
	JsonbValue	array;
	int			i;

	(void) JsonbIteratorNext(&iterator, &array, true);	/* its beginning, with its length */
	*count = array.val.array.nElems;
	elements = palloc(*count * sizeof(JsonbValue));
	for (i = 0; i < *count; i++)
		(void) JsonbIteratorNext(&iterator, &elements[i], true);
	return elements;
}

JsonbValue *
PayElementsArgument(FunctionCallInfo fcinfo, int n, const char *name, int *count)
{
	Jsonb	   *array = PG_ARGISNULL(n) ? NULL : PG_GETARG_JSONB_P(n);

	if (array == NULL || !JB_ROOT_IS_ARRAY(array) || JB_ROOT_IS_SCALAR(array))
		ereport(ERROR,
				(errcode(PAY_ERR_BAD_ARGUMENT),
				 errmsg("%s must be a JSON array", name),
				 errdetail(array == NULL ? "It is NULL." :
						   JB_ROOT_IS_SCALAR(array) ? "It is a single value." : "It is an object."),
				 errhint("Put even a single one in brackets.")));
	if (JB_ROOT_COUNT(array) > PAY_MAX_BATCH)
		ereport(ERROR,
				(errcode(PAY_ERR_BAD_ARGUMENT),
				 errmsg("too many %s: %d", name, (int) JB_ROOT_COUNT(array)),
				 errdetail("One call takes at most %d.", PAY_MAX_BATCH),
				 errhint("Call again with the rest.")));
	return PayListElements(&array->root, count);
}

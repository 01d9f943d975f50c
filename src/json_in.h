/*
 * json_in.h
 *
 * Many things in one argument: a JSON array of objects whose keys are known.
 * What is wrong with an object is said as a fault, so that the caller can go on
 * with the next one.
 */
#ifndef PAY_JSON_IN_H
#define PAY_JSON_IN_H

#include "postgres.h"

#include "argument.h"
#include "fmgr.h"
#include "utils/jsonb.h"

/* One call takes at most so many things: it is one transaction, and others wait for its locks. */
#define PAY_MAX_BATCH 10000

/* What a key's value must be, and the datum that it becomes. */
typedef enum PayJsonType
{
	PAY_JSON_TEXT,				/* a string: text */
	PAY_JSON_INTEGER,			/* a whole number: bigint */
	PAY_JSON_BOOLEAN,			/* true or false: boolean */
	PAY_JSON_TIME,				/* a string: timestamptz */
	PAY_JSON_LIST,				/* an array: a pointer to its JsonbContainer */
	PAY_JSON_ANY				/* anything: jsonb */
} PayJsonType;

typedef struct PayJsonKey
{
	const char *name;
	PayJsonType type;
} PayJsonKey;

/* The elements of an argument that is an array of at most PAY_MAX_BATCH; PY400. */
extern JsonbValue *PayElementsArgument(FunctionCallInfo fcinfo, int n, const char *name, int *count);

/* The elements of a PAY_JSON_LIST. */
extern JsonbValue *PayListElements(JsonbContainer *list, int *count);

/*
 * Read an object: a value for each of the n keys, NULL where it is left out or
 * null.  False, and the first fault, if it is no object, has another key, or a
 * value is of another type; then the values are those that could be read.
 */
extern bool PayReadObject(const JsonbValue *in, const PayJsonKey *keys, int n,
						  NullableDatum *values, PayFault *fault);

#endif							/* PAY_JSON_IN_H */

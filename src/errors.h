/*
 * errors.h
 *
 * SQLSTATE class PY: each code mirrors the HTTP status that an API over these
 * functions would answer with.  An error is for a caller's mistake and leaves
 * nothing changed; what a caller must act on is a decision, returned.
 *
 * Every error carries a message with the values, a DETAIL with the facts and,
 * where there is a remedy, a HINT.
 */
#ifndef PAY_ERRORS_H
#define PAY_ERRORS_H

#include "utils/elog.h"

/* Before a function that always throws.  18 has this word in place of an attribute behind it. */
#if PG_VERSION_NUM < 180000
#define pg_noreturn pg_attribute_noreturn()
#endif

/* PY400: an argument that means nothing */
#define PAY_ERR_BAD_ARGUMENT	MAKE_SQLSTATE('P', 'Y', '4', '0', '0')
/* PY404: no such payment, attempt, refund, review, dispute or order to replace */
#define PAY_ERR_NOT_FOUND		MAKE_SQLSTATE('P', 'Y', '4', '0', '4')
/* PY409: this step is not allowed now */
#define PAY_ERR_NOT_ALLOWED		MAKE_SQLSTATE('P', 'Y', '4', '0', '9')
/* PY422: the same key with different content */
#define PAY_ERR_CONFLICT		MAKE_SQLSTATE('P', 'Y', '4', '2', '2')
/* PY423: the row or column is protected */
#define PAY_ERR_PROTECTED		MAKE_SQLSTATE('P', 'Y', '4', '2', '3')
/* PY503: the tables are not there, or they or rows of them are not as this library needs them */
#define PAY_ERR_NOT_INSTALLED	MAKE_SQLSTATE('P', 'Y', '5', '0', '3')

#endif							/* PAY_ERRORS_H */

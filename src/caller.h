/*
 * caller.h
 *
 * Who calls: what the rows of pay_grantee let the current user do, beyond the
 * right to EXECUTE, and what a superuser is kept from.
 *
 * Merchants.  A user acts for the merchants that pay_grantee names for the
 * roles whose privileges the user has.  Where it names none, or one of these
 * rows names no merchant, or the user is a superuser or has the privileges of
 * the tables' owner, the user acts for all.
 *
 * Superusers.  A write runs code of the tables' owner: triggers, constraints,
 * defaults.  It runs as the caller, so a superuser does not write to tables
 * whose owner is none.
 *
 * Rights count as they are now, as a GRANT does, whatever snapshot the
 * transaction reads payments by.
 *
 * A part of the store: only it uses this.
 */
#ifndef PAY_CALLER_H
#define PAY_CALLER_H

#include "postgres.h"

#include "errors.h"
#include "nodes/pg_list.h"

/*
 * Let the current user in: the merchants that the user acts for, texts in the
 * current memory context; NIL: all.  A superuser who would write to tables of
 * somebody who is none is refused (42501).
 */
extern List *PayAdmitCaller(Oid home, Oid function, bool writes);

/* An error for a merchant that the current user does not act for (42501). */
pg_noreturn extern void PayThrowOtherMerchant(const List *merchants, const text *merchant);

#endif							/* PAY_CALLER_H */

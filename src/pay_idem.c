/*
 * pay_idem.c
 *
 * Module start, settings.
 */
#include "postgres.h"

#include "datatype/timestamp.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "settings.h"
#include "utils/guc.h"

PG_MODULE_MAGIC;

int			pay_lookalike_window_s = 600;

void		_PG_init(void);

void
_PG_init(void)
{
	/* pg_upgrade loads libraries to check them and must not be told of settings */
	if (IsBinaryUpgrade)
		return;
	DefineCustomIntVariable("pay_idem.lookalike_window",
							"How old another open payment of the same payer and amount may be to ask the customer.",
							"Sets how long pay_prepay() answers confirm; 0 turns the question off.",
							&pay_lookalike_window_s, pay_lookalike_window_s, 0, SECS_PER_DAY,
							PGC_USERSET, GUC_UNIT_S, NULL, NULL, NULL);
	MarkGUCPrefixReserved("pay_idem");
}

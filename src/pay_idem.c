/*
 * pay_idem.c
 *
 * Module start.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/guc.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

void
_PG_init(void)
{
	/* pg_upgrade loads libraries to check them and must not be told of settings */
	if (IsBinaryUpgrade)
		return;
	MarkGUCPrefixReserved("pay_idem");
}

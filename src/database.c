/*
 * database.c
 *
 * Is this database the one that talks to channels, or a copy of it?
 */
#include "database.h"

#include "access/xlog.h"
#include "argument.h"
#include "errors.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

void
PayCheckDatabaseIsAdopted(PayStore *store)
{
	int64		here = (int64) GetSystemIdentifier();
	PayDatabase database;

	if (!PayFindDatabase(store, here, &database))
		ereport(ERROR,
				(errcode(PAY_ERR_NOT_ALLOWED),
				 errmsg("this database is a copy: nothing is handed out"),
				 errdetail("pay_database does not name this cluster, %llu.", (unsigned long long) here),
				 errhint("If it takes the place of the original, and that one is stopped: SELECT pay_adopt_database('why').")));
}

PG_FUNCTION_INFO_V1(pay_adopt_database);
Datum
pay_adopt_database(PG_FUNCTION_ARGS)
{
	PayDatabase database;
	PayStore   *store;
	bool		adopted;

	memset(&database, 0, sizeof(database));
	database.reason = PayTextArgument(fcinfo, 0, "reason", PAY_MAX_REASON_BYTES, PAY_REQUIRED);
	database.system_identifier = (int64) GetSystemIdentifier();
	database.adopted_at = GetCurrentTimestamp();
	store = PayStoreOpen(fcinfo, PAY_WRITES, PAY_LOOK_AT(PAY_DATABASE_TABLE));
	database.adopted_by = cstring_to_text(GetUserNameFromId(GetUserId(), false));
	adopted = PayInsertDatabase(store, &database);
	PayStoreClose(store);
	PG_RETURN_BOOL(adopted);
}

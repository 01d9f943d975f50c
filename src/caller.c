/*
 * caller.c
 *
 * Who calls.
 *
 * What pay_grantee says about the current user is remembered by the backend,
 * for one user and one edition of the catalog.  The guard on pay_grantee sends
 * a relcache invalidation with each change, which ends the edition; changes of
 * roles and of who is a member of whom come as syscache invalidations.
 */
#include "caller.h"

#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "errors.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/sinval.h"
#include "tables.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

static struct
{
	bool		valid;
	Oid			user;
	uint64		edition;		/* of the catalog */
	bool		superusers_tables;	/* the tables' owner is a superuser */
	MemoryContext context;
	List	   *merchants;
}			remembered;

/* Columns of pay_grantee, in the order of its list in tables.c. */
enum
{
	GRANTEE_ROLE,
	GRANTEE_KIND,
	GRANTEE_MERCHANT
};

static void
ForgetCaller(Datum arg, int cacheid, uint32 hashvalue)
{
	remembered.valid = false;
}

static void
RegisterCallbacks(void)
{
	static bool registered = false;

	if (registered)
		return;
	CacheRegisterSyscacheCallback(AUTHOID, ForgetCaller, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, ForgetCaller, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMMEMROLE, ForgetCaller, (Datum) 0);
	/* who owns the database is a member of pg_database_owner */
	CacheRegisterSyscacheCallback(DATABASEOID, ForgetCaller, (Datum) 0);
	registered = true;
}

/* Does the row's role lend the user its privileges? */
static bool
IsAboutUser(TupleTableSlot *slot, const PayTableMap *map, Oid user)
{
	bool		isnull;
	Datum		role = slot_getattr(slot, map->attnum[GRANTEE_ROLE], &isnull);
	Oid			roleid = isnull ? InvalidOid : get_role_oid(NameStr(*DatumGetName(role)), true);

	return OidIsValid(roleid) && has_privs_of_role(user, roleid);
}

/* Go through the rows of an open pay_grantee. */
static List *
ReadMerchants(Relation rel, const PayTableMap *map, Oid user)
{
	Snapshot	snapshot = RegisterSnapshot(GetCatalogSnapshot(RelationGetRelid(rel)));
	TableScanDesc scan = table_beginscan(rel, snapshot, 0, NULL);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	List	   *merchants = NIL;
	bool		all = false;

	while (!all && table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		bool		isnull;
		Datum		merchant;

		CHECK_FOR_INTERRUPTS();
		if (!IsAboutUser(slot, map, user))
			continue;
		merchant = slot_getattr(slot, map->attnum[GRANTEE_MERCHANT], &isnull);
		all = isnull;
		if (!all)
			merchants = lappend(merchants, DatumGetTextPCopy(merchant));
	}
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	return all ? NIL : merchants;
}

/*
 * Read which merchants pay_grantee names for the user; NIL: all.  False where the
 * table changed since the catalog was filled, and these messages had come in: what
 * we know of its columns may be old.
 */
static bool
LookUpMerchants(Oid user, uint64 messages, List **merchants)
{
	const PayTableMap *map = &pay_catalog.table[PAY_GRANTEE_TABLE];
	Relation	rel;
	bool		same;

	*merchants = NIL;
	if (superuser_arg(user) || has_privs_of_role(user, pay_catalog.owner))
		return true;
	rel = try_relation_open(map->relid, AccessShareLock);
	same = rel != NULL && messages == SharedInvalidMessageCounter;
	if (same)
		*merchants = ReadMerchants(rel, map, user);
	if (rel != NULL)
		table_close(rel, AccessShareLock);
	else
		pay_catalog.valid = false;
	return same;
}

/*
 * Look everything up; what changes meanwhile makes us look again.  The counter says
 * whether something did, as for PayFillCatalog(): under debug_discard_caches what is
 * remembered is forgotten at each look-up, and this would never end.
 */
static void
Remember(Oid home, Oid user)
{
	MemoryContext old;

	RegisterCallbacks();
	if (remembered.context == NULL)
		remembered.context = AllocSetContextCreate(CacheMemoryContext, "pay_idem caller",
												   ALLOCSET_SMALL_SIZES);
	remembered.valid = false;
	while (!remembered.valid)
	{
		uint64		messages;
		bool		same;

		CHECK_FOR_INTERRUPTS();
		PayFillCatalog(home);
		messages = SharedInvalidMessageCounter;
		remembered.user = user;
		remembered.edition = pay_catalog.edition;
		remembered.superusers_tables = superuser_arg(pay_catalog.owner);
		MemoryContextReset(remembered.context);
		old = MemoryContextSwitchTo(remembered.context);
		same = LookUpMerchants(user, messages, &remembered.merchants);
		MemoryContextSwitchTo(old);
		/* not before all of it is known: an error must not leave half of it behind */
		remembered.valid = same && messages == SharedInvalidMessageCounter;
	}
}

/*
 * Is the caller a superuser, or may the code that runs as the caller become one?
 * RESET ROLE undoes a superuser's SET ROLE, but not in a SECURITY DEFINER function.
 */
static bool
MayBeSuperuser(void)
{
	return superuser() || (!InLocalUserIdChange() && superuser_arg(GetSessionUserId()));
}

pg_noreturn static void
RefuseSuperuser(Oid function)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("a superuser does not call %s() on tables of \"%s\"", get_func_name(function),
					GetUserNameFromId(pay_catalog.owner, false)),
			 errdetail("Triggers and constraints of their owner, who is no superuser, would run with a superuser's rights; SET ROLE does not keep them from it."),
			 errhint("Log in as a role that is no superuser and may call it.")));
}

List *
PayAdmitCaller(Oid home, Oid function, bool writes)
{
	List	   *merchants = NIL;
	ListCell   *cell;

	PayFillCatalog(home);
	if (!remembered.valid || remembered.user != GetUserId() || remembered.edition != pay_catalog.edition)
		Remember(home, GetUserId());
	if (writes && !remembered.superusers_tables && MayBeSuperuser())
		RefuseSuperuser(function);
	foreach(cell, remembered.merchants)
		merchants = lappend(merchants, DatumGetTextPCopy(PointerGetDatum(lfirst(cell))));
	return merchants;
}

void
PayThrowOtherMerchant(const List *merchants, const text *merchant)
{
	StringInfoData names;
	ListCell   *cell;

	initStringInfo(&names);
	foreach(cell, merchants)
		appendStringInfo(&names, "%s\"%s\"", names.len > 0 ? ", " : "", text_to_cstring(lfirst(cell)));
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("role \"%s\" does not act for merchant \"%s\"",
					GetUserNameFromId(GetUserId(), false), text_to_cstring(merchant)),
			 errdetail("It acts for %s.", names.data),
			 errhint("Name the merchant that the order is of; pay_grant() with a merchant lets a role act for another one.")));
}

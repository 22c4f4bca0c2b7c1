/*
 * owner.c: becoming the owner of eventmkt_data and going back. SECURITY_LOCAL_USERID_CHANGE forbids SET ROLE inside;
 * SECURITY_RESTRICTED_OPERATION is not set because a deferred trigger or temp table of the app's own transaction is none of
 * our business, and every statement we run is our own and qualified.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "base/base.h"
#include "base/base_int.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/rls.h"
#include "utils/syscache.h"

static Oid	owner_oid = InvalidOid;

static void
forget_owner(Datum arg, int cacheid, uint32 hashvalue)
{
	owner_oid = InvalidOid;
}

void
emk_base_init_owner(void)
{
	CacheRegisterSyscacheCallback(NAMESPACEOID, forget_owner, (Datum) 0);
}

Oid
emk_owner_oid(void)
{
	if (!OidIsValid(owner_oid))
	{
		HeapTuple	tup = SearchSysCache1(NAMESPACENAME, CStringGetDatum("eventmkt_data"));

		if (!HeapTupleIsValid(tup))
			ereport(ERROR,
					(errcode(ERRCODE_EMK_NOT_INITIALIZED),
					 errmsg("eventmkt has no tables in this database"),
					 errhint("Run SELECT eventmkt.init() as a superuser.")));
		owner_oid = ((Form_pg_namespace) GETSTRUCT(tup))->nspowner;
		ReleaseSysCache(tup);
	}
	return owner_oid;
}

void
emk_owner_enter(EmkOwner *saved)
{
	Oid			owner = emk_owner_oid();

	GetUserIdAndSecContext(&saved->user, &saved->sec_context);
	SetUserIdAndSecContext(owner, saved->sec_context | SECURITY_LOCAL_USERID_CHANGE);
	saved->settings = 0;
	if (unlikely(!row_security || SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA))
	{
		saved->settings = NewGUCNestLevel();
		(void) set_config_option("row_security", "on", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
		(void) set_config_option("session_replication_role", "origin", PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	}
}

void
emk_owner_leave(const EmkOwner *saved)
{
	if (unlikely(saved->settings > 0))
		AtEOXact_GUC(true, saved->settings);
	SetUserIdAndSecContext(saved->user, saved->sec_context);
}

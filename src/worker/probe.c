/*
 * probe.c: a short-lived process that looks into one database: is the extension there, are its tables, who owns them? Only
 * C and catalogs: it connects as a superuser, so it runs no SQL and no code of the database. The answer goes to
 * EmkShared.probe. It lives for milliseconds, so that it delays no DROP DATABASE.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/lsyscache.h"
#include "worker/life.h"

PGDLLEXPORT void emk_worker_probe_main(Datum arg);

void
emk_worker_probe_main(Datum arg)
{
	EmkStart	start;
	bool		present = false;
	Oid			owner = InvalidOid;

	memcpy(&start, MyBgworkerEntry->bgw_extra, sizeof(start));
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	if (emk_worker_shared == NULL)
		proc_exit(0);
	BackgroundWorkerInitializeConnectionByOid(start.db, InvalidOid, 0);
	StartTransactionCommand();
	if (OidIsValid(get_extension_oid("eventmkt", true)) && emk_setting_initialized())
	{
		owner = emk_owner_oid();
		present = !superuser_arg(owner);
	}
	CommitTransactionCommand();
	LWLockAcquire(emk_worker_shared->lock, LW_EXCLUSIVE);
	if (emk_worker_shared->probe.db == start.db && emk_worker_shared->probe.ticket == start.ticket)
	{
		emk_worker_shared->probe.done = true;
		emk_worker_shared->probe.present = present;
		emk_worker_shared->probe.owner = owner;
	}
	LWLockRelease(emk_worker_shared->lock);
	proc_exit(0);
}

/*
 * view.c: DDL on views that others read.
 *
 * A statement that waits for ACCESS EXCLUSIVE has every later reader wait behind it, the worker too, for as long as the reader before it
 * takes: a report of an hour would stop what asks a segment for that hour. So the lock is tried, and nobody waits behind who only tries.
 */
#include "postgres.h"

#include "base/base.h"
#include "base/clock.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/proc.h"

#define PAUSE_MS	20

bool
emk_base_try_views(const Oid *views, int n)
{
	for (int i = 0; i < n; i++)
		if (OidIsValid(views[i]) && !ConditionalLockRelationOid(views[i], AccessExclusiveLock))
		{
			while (i-- > 0)
				if (OidIsValid(views[i]))
					UnlockRelationOid(views[i], AccessExclusiveLock);
			return false;
		}
	return true;
}

void
emk_base_await_readers(int64 *since, const char *name)
{
	int64		limit = (LockTimeout > 0 ? LockTimeout : EMK_VIEW_WAIT_MS) * INT64CONST(1000);

	if (*since == 0)
		*since = emk_clock_monotonic();
	if (emk_clock_monotonic() - *since > limit)
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("could not change view \"%s\" while it is being read", name),
				 errhint("Try again when the transactions that read it have ended, or set lock_timeout to wait for longer; "
						 "pg_locks shows them.")));
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, PAUSE_MS, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}

void
emk_base_lock_view(Oid view, const char *name)
{
	int64		since = 0;

	while (!emk_base_try_views(&view, 1))
		emk_base_await_readers(&since, name);
}

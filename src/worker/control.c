/*
 * control.c: eventmkt.start_worker() and stop_worker(), and what health() asks about the workers of this database.
 * Preloaded: they set a flag in shared memory that the launcher follows; otherwise they find, start and signal the
 * launcher of this database, which has a process type of its own.
 *
 * start_worker() also gives up workers that are frozen (stopped, waiting for a disk): late for their next turn by eventmkt.frozen_after.
 * Their slot is free for another process, which revokes their epoch (lease.c); a SIGTERM waits for them. Whether one was only slow does
 * not matter: what decides is who holds a row, not the time.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xlog.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/wait_event.h"
#include "worker/life.h"

#define WAIT_START	(5 * USECS_PER_SEC)
#define WAIT_STOP	(10 * USECS_PER_SEC)

/* Pids of the background workers of a type; `db` InvalidOid: in any database. */
int
emk_worker_find(const char *type, Oid db, int *pids, int max)
{
	int			n = 0;
	int			total;

	pgstat_clear_backend_activity_snapshot();
	total = pgstat_fetch_stat_numbackends();
	for (int i = 1; i <= total && n < max; i++)
	{
		LocalPgBackendStatus *b = emk_local_beentry(i);
		const char *t;

		if (b == NULL || b->backendStatus.st_backendType != B_BG_WORKER ||
			(OidIsValid(db) && b->backendStatus.st_databaseid != db))
			continue;
		t = GetBackgroundWorkerTypeByPid(b->backendStatus.st_procpid);
		if (t != NULL && strcmp(t, type) == 0)
			pids[n++] = b->backendStatus.st_procpid;
	}
	return n;
}

static const char *
solo_type(void)
{
	return psprintf("%s %u", EMK_LAUNCHER_TYPE, MyDatabaseId);
}

void
emk_worker_state(EmkWorkerState *out)
{
	int			pids[EMK_MAX_WORKERS];
	int			n;

	MemSet(out, 0, sizeof(*out));
	if (emk_worker_shared != NULL)
	{
		EmkDatabase *d;

		LWLockAcquire(emk_worker_shared->lock, LW_SHARED);
		out->launcher = emk_worker_shared->launcher_pid != 0;
		out->starved = emk_worker_shared->starved;
		d = emk_worker_entry(MyDatabaseId, false);
		out->stopped = d != NULL && d->stopped;
		for (int k = 0; d != NULL && k < EMK_MAX_WORKERS; k++)
			if (d->slots[k].state == EMK_SLOT_RUNNING)
			{
				EmkWorkerInfo *w = &out->workers[out->n++];

				w->slot = k;
				w->pid = d->slots[k].pid;
				w->started_at = d->slots[k].started_at;
				w->heartbeat = (TimestampTz) pg_atomic_read_u64(&d->slots[k].heartbeat);
				w->frozen = emk_worker_is_frozen(&d->slots[k].turns_by);
			}
		LWLockRelease(emk_worker_shared->lock);
		return;
	}
	out->launcher = emk_worker_find(solo_type(), InvalidOid, pids, 1) > 0;
	out->stopped = !out->launcher;
	n = emk_worker_find(EMK_WORKER_TYPE, MyDatabaseId, pids, EMK_MAX_WORKERS);
	for (int k = 0; k < n; k++)
	{
		out->workers[k].slot = k;
		out->workers[k].pid = pids[k];
	}
	out->n = n;
}

/* Waits until so many workers run at least (0: none at all); false when that takes too long. */
static bool
wait_for(int running, int64 limit)
{
	int64		deadline = emk_clock_monotonic() + limit;

	for (;;)
	{
		EmkWorkerState st;
		bool		ready;

		emk_worker_state(&st);
		ready = running > 0 ? st.n >= running : st.n == 0;
		if (running == 0 && emk_worker_shared == NULL)
			ready = ready && !st.launcher;
		if (ready)
			return true;
		if (emk_clock_monotonic() > deadline)
			return false;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 20, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Not preloaded: registers the launcher of this database, or makes the one that runs try at once. */
static void
start_solo(void)
{
	BackgroundWorker w;
	BackgroundWorkerHandle *handle;
	EmkStart	start = {MyDatabaseId, emk_owner_oid(), -1, 0, emk_guc_workers};
	int			pid;

	if (superuser_arg(start.owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("the owner of eventmkt_data is a superuser"),
				 errhint("Give the schema to a role that is no superuser.")));
	if (emk_worker_find(solo_type(), InvalidOid, &pid, 1) > 0)
	{
		kill(pid, EMK_REPLACE_SIGNAL);	/* first: what SIGHUP leads to may wait for workers */
		kill(pid, SIGHUP);
		return;
	}
	emk_worker_describe(&w, solo_type(), "emk_worker_solo_main", &start);
	w.bgw_restart_time = 1;
	if (!RegisterDynamicBackgroundWorker(&w, &handle))
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("could not start a worker: no free background worker slot"),
				 errhint("Raise max_worker_processes; eventmkt needs three slots and one for each further worker.")));
}

/* Gives up the workers of this database that are frozen; returns how many run then, or are to come. Under the lock. */
static int
replace_frozen(EmkDatabase *d, int *pids, int *n)
{
	int			left = 0;

	*n = 0;
	for (int k = 0; k < EMK_MAX_WORKERS; k++)
	{
		EmkSlot    *slot = &d->slots[k];

		left += slot->state != EMK_SLOT_FREE;
		if (slot->state != EMK_SLOT_RUNNING || !emk_worker_is_frozen(&slot->turns_by))
			continue;
		pids[(*n)++] = slot->replaced = slot->pid;
		slot->forget = true;
		slot->pid = 0;
		slot->retire_since = 0;
		slot->ticket++;
		slot->state = EMK_SLOT_FREE;
		kill(slot->replaced, SIGTERM);
	}
	return left;
}

PG_FUNCTION_INFO_V1(emk_worker_start);
/* eventmkt.start_worker(): 'running', or 'starting' when no worker came up within five seconds */
Datum
emk_worker_start(PG_FUNCTION_ARGS)
{
	int			pids[EMK_MAX_WORKERS];
	int			n = 0;
	int			want = 1;

	(void) emk_owner_oid();
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("cannot start a worker on a standby"),
				 errhint("Workers start by themselves when a preloaded server is promoted.")));
	if (emk_worker_shared == NULL)
		start_solo();
	else
	{
		EmkDatabase *d;

		LWLockAcquire(emk_worker_shared->lock, LW_EXCLUSIVE);
		d = emk_worker_entry(MyDatabaseId, false);
		if (d != NULL)
		{
			d->stopped = false;
			want = replace_frozen(d, pids, &n);
			for (int k = 0; k < EMK_MAX_WORKERS; k++)
				d->slots[k].fails = d->slots[k].crashes = d->slots[k].next_start = 0;
		}
		LWLockRelease(emk_worker_shared->lock);
		for (int k = 0; k < n; k++)
			ereport(NOTICE,
					(errmsg("worker process %d is frozen and is replaced", pids[k]),
					 errhint("It ends by itself when it goes on; if it is stopped, send it SIGCONT.")));
		emk_worker_announce_database(MyDatabaseId);
	}
	PG_RETURN_TEXT_P(cstring_to_text(wait_for(Max(want, 1), WAIT_START) ? "running" : "starting"));
}

PG_FUNCTION_INFO_V1(emk_worker_stop);
/* eventmkt.stop_worker(): 'stopped'; ERROR EM006 when the workers do not end within ten seconds */
Datum
emk_worker_stop(PG_FUNCTION_ARGS)
{
	(void) emk_owner_oid();
	if (emk_worker_shared != NULL)
	{
		EmkDatabase *d;

		LWLockAcquire(emk_worker_shared->lock, LW_EXCLUSIVE);
		d = emk_worker_entry(MyDatabaseId, true);
		if (d != NULL)
		{
			d->stopped = true;
			emk_worker_retire(d);
		}
		LWLockRelease(emk_worker_shared->lock);
		emk_worker_tell_launcher();
	}
	else
	{
		int			pid;

		if (emk_worker_find(solo_type(), InvalidOid, &pid, 1) > 0)
			kill(pid, SIGUSR2);
	}
	if (!wait_for(0, WAIT_STOP))
		ereport(ERROR,
				(errcode(ERRCODE_EMK_WORKER),
				 errmsg("could not stop the workers of this database within ten seconds"),
				 errhint("Look at pg_stat_activity for backend_type 'eventmkt worker'; they end when their statement does.")));
	PG_RETURN_TEXT_P(cstring_to_text("stopped"));
}

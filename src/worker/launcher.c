/*
 * launcher.c: the one process a preloaded server has that keeps the right number of workers in every database that has the
 * extension. It is connected to no database, reads pg_database, and lets a probe look into each.
 *
 * It is level-triggered: every turn compares what should be with what is, so a lost signal, a full worker table or a failed
 * fork delays a start by seconds and loses nothing. The state of a slot:
 *
 *     FREE --start_worker()--> STARTING --claim_slot()--> RUNNING --release_slot()--> FREE
 *                                  `-- reap(): the process never came --> FREE
 *
 * Where start_worker() found a worker frozen (control.c) the slot is FREE though the process is there: what starts next in it is told its
 * pid and revokes it (lease.c) before it does anything else.
 *
 * A database whose worker ended is probed before the next start, so a dropped extension or another owner is seen. A worker that
 * was told to end comes back at once, one that failed by itself after 1 to 60 seconds, one that crashed after up to 2 (survive.c).
 * On a standby the launcher is started by promotion.
 */
#include "postgres.h"

#include <limits.h>
#include <signal.h>

#include "access/heapam.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"
#include "worker/life.h"

#define SCAN_EVERY		(60 * USECS_PER_SEC)
#define PROBE_LIMIT		(5 * USECS_PER_SEC)
#define COME_UP_LIMIT	(15 * USECS_PER_SEC)
#define STARVED_RETRY	(2 * USECS_PER_SEC)

typedef struct KnownDatabase
{
	Oid			db;
	int64		next_probe;		/* monotonic; PG_INT64_MAX: none wanted */
} KnownDatabase;

int			emk_guc_workers = 1;
int			emk_guc_frozen_after = 15000;

static MemoryContext launcher_context;	/* the two lists and the handles; lives as long as the process */
static KnownDatabase *known = NULL;
static int	nknown = 0;
static int	known_size = 0;
static BackgroundWorkerHandle *handles[EMK_MAX_DATABASES][EMK_MAX_WORKERS];
static BackgroundWorkerHandle *probe_handle = NULL;
static int64 probe_started = 0;
static int64 next_turn;			/* monotonic: when the loop must look again */

PGDLLEXPORT void emk_worker_launcher_main(Datum arg);

static void
turn_at(int64 when)
{
	next_turn = Min(next_turn, when);
}

int64
emk_worker_backoff(int fails)
{
	return fails <= 0 ? 0 : Min(EMK_BACKOFF_MAX, USECS_PER_SEC << Min(fails - 1, 6));
}

bool
emk_worker_is_frozen(pg_atomic_uint64 *turns_by)
{
	int64		by = (int64) pg_atomic_read_u64(turns_by);

	return by != 0 && emk_clock_monotonic() - by > emk_guc_frozen_after * INT64CONST(1000);
}

void
emk_worker_describe(BackgroundWorker *w, const char *type, const char *function, const EmkStart *start)
{
	MemSet(w, 0, sizeof(*w));
	w->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	w->bgw_start_time = BgWorkerStart_RecoveryFinished;
	w->bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(w->bgw_name, type, BGW_MAXLEN);
	strlcpy(w->bgw_type, type, BGW_MAXLEN);
	strlcpy(w->bgw_library_name, "eventmkt", sizeof(w->bgw_library_name));
	strlcpy(w->bgw_function_name, function, sizeof(w->bgw_function_name));
	if (start != NULL)
		memcpy(w->bgw_extra, start, sizeof(*start));
	StaticAssertStmt(sizeof(EmkStart) <= BGW_EXTRALEN, "a start fits bgw_extra");
}

static KnownDatabase *
know(Oid db)
{
	for (int i = 0; i < nknown; i++)
		if (known[i].db == db)
			return &known[i];
	if (nknown == known_size)
	{
		known_size = Max(64, known_size * 2);
		known = known == NULL ? MemoryContextAlloc(launcher_context, known_size * sizeof(KnownDatabase)) :
			repalloc(known, known_size * sizeof(KnownDatabase));
	}
	known[nknown].db = db;
	known[nknown].next_probe = PG_INT64_MAX;
	return &known[nknown++];
}

/* Reads pg_database: forgets databases that went, and wants a probe of each that has no workers yet. */
static void
scan_databases(int64 now)
{
	EmkShared  *s = emk_worker_shared;
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tup;

	nknown = 0;
	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tup = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database d = (Form_pg_database) GETSTRUCT(tup);

		if (d->datallowconn && !d->datistemplate && d->datconnlimit != -2)
			(void) know(d->oid);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();

	LWLockAcquire(s->lock, LW_EXCLUSIVE);
	for (int i = 0; i < EMK_MAX_DATABASES; i++)
	{
		bool		there = false;

		for (int j = 0; j < nknown && !there; j++)
			there = known[j].db == s->dbs[i].db;
		if (!there)
			s->dbs[i].present = s->dbs[i].stopped = false;
	}
	for (int j = 0; j < nknown; j++)
	{
		EmkDatabase *d = emk_worker_entry(known[j].db, false);

		if (d == NULL || !d->present)
			known[j].next_probe = now;
	}
	LWLockRelease(s->lock);
}

static void
take_announcements(int64 now)
{
	for (int i = 0; i < EMK_ANNOUNCEMENTS; i++)
	{
		Oid			db = pg_atomic_exchange_u32(&emk_worker_shared->announced[i], 0);

		if (OidIsValid(db))
			know(db)->next_probe = now;
	}
}

/* Takes the answer of the probe when it came, gives it up when it takes too long. */
static void
finish_probe(int64 now)
{
	EmkShared  *s = emk_worker_shared;
	pid_t		pid;
	bool		ended;

	if (probe_handle == NULL)
		return;
	ended = GetBackgroundWorkerPid(probe_handle, &pid) == BGWH_STOPPED;
	if (!ended && now - probe_started > PROBE_LIMIT)
		TerminateBackgroundWorker(probe_handle);
	LWLockAcquire(s->lock, LW_EXCLUSIVE);
	if (OidIsValid(s->probe.db) && (s->probe.done || ended))
	{
		EmkDatabase *d = emk_worker_entry(s->probe.db, s->probe.done && s->probe.present);

		if (d != NULL && s->probe.done)
		{
			d->present = s->probe.present;
			d->owner = s->probe.owner;
			d->recheck = false;
		}
		else if (d == NULL && s->probe.done && s->probe.present)
			ereport(WARNING,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("eventmkt runs workers in %d databases at most: none in database %u", EMK_MAX_DATABASES,
							s->probe.db)));
		else if (d != NULL)
			know(s->probe.db)->next_probe = now + PROBE_LIMIT;	/* no answer: ask again */
		s->probe.db = InvalidOid;
		s->probe.done = false;
	}
	LWLockRelease(s->lock);
	if (ended)
	{
		pfree(probe_handle);
		probe_handle = NULL;
	}
	else
		turn_at(now + USECS_PER_SEC);
}

static void
start_probe(int64 now)
{
	EmkShared  *s = emk_worker_shared;
	KnownDatabase *next = NULL;
	EmkStart	start = {InvalidOid, InvalidOid, -1};
	BackgroundWorker w;
	bool		blocked;

	if (probe_handle != NULL)
		return;
	for (int i = 0; i < nknown; i++)
		if (known[i].next_probe <= now && (next == NULL || known[i].next_probe < next->next_probe))
			next = &known[i];
		else if (known[i].next_probe != PG_INT64_MAX)
			turn_at(known[i].next_probe);
	if (next == NULL)
		return;
	LWLockAcquire(s->lock, LW_EXCLUSIVE);
	blocked = emk_worker_is_blocked(next->db);
	if (!blocked)
	{
		start.db = s->probe.db = next->db;
		start.ticket = ++s->probe.ticket;
		s->probe.done = false;
	}
	LWLockRelease(s->lock);
	if (!blocked)
	{
		MemoryContext old = MemoryContextSwitchTo(launcher_context);

		emk_worker_describe(&w, EMK_PROBE_TYPE, "emk_worker_probe_main", &start);
		w.bgw_notify_pid = MyProcPid;
		if (!RegisterDynamicBackgroundWorker(&w, &probe_handle))
			probe_handle = NULL;
		MemoryContextSwitchTo(old);
	}
	s->starved = !blocked && probe_handle == NULL;
	probe_started = now;
	next->next_probe = probe_handle ? PG_INT64_MAX : now + STARVED_RETRY;
	turn_at(now + STARVED_RETRY);
}

/* Slots whose process never came up are free again. */
static void
reap(int i, int64 now)
{
	EmkDatabase *d = &emk_worker_shared->dbs[i];

	for (int k = 0; k < EMK_MAX_WORKERS; k++)
	{
		EmkSlot    *slot = &d->slots[k];
		pid_t		pid;
		bool		ended;

		if (slot->forget && handles[i][k] != NULL)
		{
			pfree(handles[i][k]);
			handles[i][k] = NULL;
		}
		slot->forget = false;
		ended = handles[i][k] != NULL && GetBackgroundWorkerPid(handles[i][k], &pid) == BGWH_STOPPED;
		if (slot->state == EMK_SLOT_STARTING &&
			(ended || (handles[i][k] == NULL && now - slot->since > COME_UP_LIMIT)))
		{
			slot->state = EMK_SLOT_FREE;
			slot->fails++;
			slot->next_start = now + emk_worker_backoff(slot->fails);
			d->recheck = true;
		}
		if (ended)
		{
			pfree(handles[i][k]);
			handles[i][k] = NULL;
		}
	}
}

/* Asks the postmaster for worker k; the slot is STARTING already. Not under the lock. */
static void
start_worker(int i, int k, const EmkStart *start, int64 now)
{
	EmkShared  *s = emk_worker_shared;
	MemoryContext old = MemoryContextSwitchTo(launcher_context);
	BackgroundWorker w;
	bool		ok;

	emk_worker_describe(&w, EMK_WORKER_TYPE, "emk_worker_main", start);
	w.bgw_notify_pid = MyProcPid;
	ok = RegisterDynamicBackgroundWorker(&w, &handles[i][k]);
	MemoryContextSwitchTo(old);
	if (!ok)
		handles[i][k] = NULL;
	LWLockAcquire(s->lock, LW_EXCLUSIVE);
	if (!ok)
	{
		s->dbs[i].slots[k].state = EMK_SLOT_FREE;
		s->dbs[i].slots[k].next_start = now + STARVED_RETRY;
		turn_at(now + STARVED_RETRY);
	}
	s->starved = !ok;
	LWLockRelease(s->lock);
}

/* Is worker k of entry i to be started now? Then its slot is taken and *start filled. Under the lock. */
static bool
take_slot(int i, int k, int64 now, EmkStart *start)
{
	EmkDatabase *d = &emk_worker_shared->dbs[i];
	EmkSlot    *slot = &d->slots[k];

	if (slot->state != EMK_SLOT_FREE || handles[i][k] != NULL)
		return false;
	if (now < slot->next_start)
	{
		turn_at(slot->next_start);
		return false;
	}
	if (d->recheck)
	{
		KnownDatabase *kd = know(d->db);

		if (kd->next_probe == PG_INT64_MAX && (probe_handle == NULL || emk_worker_shared->probe.db != d->db))
			kd->next_probe = now;
		return false;
	}
	slot->state = EMK_SLOT_STARTING;
	slot->since = now;
	start->db = d->db;
	start->owner = d->owner;
	start->entry = i;
	start->slot = k;
	start->nslots = d->nslots;
	start->ticket = ++slot->ticket;
	start->replaces = slot->replaced;
	return true;
}

/* Brings one database from what is to what should be. */
static void
reconcile(int i, int64 now)
{
	EmkShared  *s = emk_worker_shared;
	EmkDatabase *d = &s->dbs[i];
	EmkStart	starts[EMK_MAX_WORKERS];
	int			nstarts = 0;
	bool		want;

	LWLockAcquire(s->lock, LW_EXCLUSIVE);
	if (!OidIsValid(d->db))
	{
		LWLockRelease(s->lock);
		return;
	}
	reap(i, now);
	want = d->present && !d->stopped && !emk_worker_is_blocked(d->db);
	if (emk_worker_all_free(d))
	{
		d->nslots = emk_guc_workers;
		if (!d->present && !d->stopped)
			d->db = InvalidOid;
	}
	else if (!want || d->nslots != emk_guc_workers)
	{
		emk_worker_retire(d);
		want = false;
	}
	if (OidIsValid(d->db) && !want)
		turn_at(now + USECS_PER_SEC);
	for (int k = 0; want && OidIsValid(d->db) && k < d->nslots; k++)
		if (take_slot(i, k, now, &starts[nstarts]))
			nstarts++;
	LWLockRelease(s->lock);
	for (int n = 0; n < nstarts; n++)
		start_worker(i, starts[n].slot, &starts[n], now);
}

static void
leave(int code, Datum arg)
{
	LWLockAcquire(emk_worker_shared->lock, LW_EXCLUSIVE);
	emk_worker_shared->launcher_pid = 0;
	LWLockRelease(emk_worker_shared->lock);
}

/* The launcher: one turn a wake-up, at least one a minute. */
void
emk_worker_launcher_main(Datum arg)
{
	EmkShared  *s = emk_worker_shared;
	int64		next_scan = 0;

	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	launcher_context = AllocSetContextCreate(TopMemoryContext, "eventmkt launcher", ALLOCSET_DEFAULT_SIZES);
	LWLockAcquire(s->lock, LW_EXCLUSIVE);
	s->launcher_pid = MyProcPid;
	s->launcher_procno = EMK_MY_PROCNO;
	LWLockRelease(s->lock);
	on_shmem_exit(leave, (Datum) 0);

	while (!ShutdownRequestPending)
	{
		int64		now = emk_clock_monotonic();
		long		timeout;

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		if (pg_atomic_exchange_u32(&s->rescan, 0) != 0 || now >= next_scan)
		{
			scan_databases(now);
			next_scan = now + SCAN_EVERY;
		}
		next_turn = next_scan;
		take_announcements(now);
		finish_probe(now);
		for (int i = 0; i < EMK_MAX_DATABASES; i++)
			reconcile(i, now);
		start_probe(now);
		timeout = Max(0, (next_turn - emk_clock_monotonic()) / 1000 + 1);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, timeout, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
	proc_exit(1);
}

void
emk_worker_init(void)
{
	BackgroundWorker w;

	DefineCustomIntVariable("eventmkt.workers", "Number of eventmkt workers in each database that has the extension.",
							NULL, &emk_guc_workers, 1, 1, EMK_MAX_WORKERS, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("eventmkt.frozen_after", "A worker so late for its next turn is replaced by start_worker().",
							NULL, &emk_guc_frozen_after, 15000, 1000, 3600000, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	if (!process_shared_preload_libraries_in_progress)
	{
		emk_worker_init_solo_wake();
		return;
	}
	emk_worker_init_state();
	emk_worker_init_hook();
	emk_worker_describe(&w, EMK_LAUNCHER_TYPE, "emk_worker_launcher_main", NULL);
	w.bgw_restart_time = 1;
	if (!IsBinaryUpgrade)		/* pg_upgrade's server is for its own commands */
		RegisterBackgroundWorker(&w);
}

/*
 * worker_state.c: the shared memory of the worker layer, and the wake-up through it. It holds pids, numbers and flags,
 * never pointers, and exists only where the library is preloaded.
 *
 * Waking takes no lock: the entry of our database is remembered by its number and checked; flag first, then latch. A latch
 * set at the wrong process (the number was reused) costs that process one empty turn.
 */
#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/shmem.h"
#include "worker/life.h"

EmkShared  *emk_worker_shared = NULL;

static shmem_request_hook_type prev_shmem_request = NULL;
static shmem_startup_hook_type prev_shmem_startup = NULL;
static int	my_entry = -1;		/* of this backend's database, as last seen */
static bool announce_wanted = false;

static void
request_shmem(void)
{
	if (prev_shmem_request)
		prev_shmem_request();
	RequestAddinShmemSpace(MAXALIGN(sizeof(EmkShared)));
	RequestNamedLWLockTranche("eventmkt", 1);
}

static void
startup_shmem(void)
{
	bool		found;

	if (prev_shmem_startup)
		prev_shmem_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	emk_worker_shared = ShmemInitStruct("eventmkt", sizeof(EmkShared), &found);
	if (!found)
	{
		MemSet(emk_worker_shared, 0, sizeof(EmkShared));
		emk_worker_shared->lock = &GetNamedLWLockTranche("eventmkt")->lock;
		pg_atomic_init_u32(&emk_worker_shared->rescan, 1);
		for (int i = 0; i < EMK_ANNOUNCEMENTS; i++)
			pg_atomic_init_u32(&emk_worker_shared->announced[i], 0);
		for (int i = 0; i < EMK_MAX_DATABASES; i++)
			for (int k = 0; k < EMK_MAX_WORKERS; k++)
			{
				pg_atomic_init_u64(&emk_worker_shared->dbs[i].slots[k].heartbeat, 0);
				pg_atomic_init_u64(&emk_worker_shared->dbs[i].slots[k].turns_by, 0);
				pg_atomic_init_u32(&emk_worker_shared->dbs[i].slots[k].wake, 0);
			}
		emk_worker_survive();
	}
	LWLockRelease(AddinShmemInitLock);
}

EmkDatabase *
emk_worker_entry(Oid db, bool make)
{
	EmkDatabase *spare = NULL;

	for (int i = 0; i < EMK_MAX_DATABASES; i++)
	{
		EmkDatabase *d = &emk_worker_shared->dbs[i];

		if (d->db == db)
			return d;
		if (spare == NULL && !OidIsValid(d->db))
			spare = d;
	}
	if (!make || spare == NULL)
		return NULL;
	spare->db = db;
	spare->owner = InvalidOid;
	spare->present = spare->stopped = spare->recheck = false;
	spare->nslots = 0;
	for (int k = 0; k < EMK_MAX_WORKERS; k++)
	{
		spare->slots[k].fails = spare->slots[k].crashes = 0;
		spare->slots[k].next_start = 0;
		spare->slots[k].replaced = 0;
	}
	return spare;
}

bool
emk_worker_is_blocked(Oid db)
{
	int64		now = emk_clock_monotonic();

	for (int i = 0; i < EMK_BLOCKS; i++)
		if (emk_worker_shared->blocks[i].db == db && emk_worker_shared->blocks[i].until > now)
			return true;
	return false;
}

void
emk_worker_signal(EmkDatabase *d, int signo)
{
	for (int k = 0; k < EMK_MAX_WORKERS; k++)
		if (d->slots[k].state == EMK_SLOT_RUNNING)
			kill(d->slots[k].pid, signo);
}

/* A worker takes the first SIGTERM as "let what is open be answered, then end", any further one as "end". */
void
emk_worker_retire(EmkDatabase *d)
{
	int64		now = emk_clock_monotonic();

	for (int k = 0; k < EMK_MAX_WORKERS; k++)
	{
		EmkSlot    *slot = &d->slots[k];
		bool		first = slot->retire_since == 0;

		if (slot->state != EMK_SLOT_RUNNING || (!first && now - slot->retire_since < EMK_RETIRE_LIMIT))
			continue;
		if (first)
			slot->retire_since = now;
		kill(slot->pid, SIGTERM);
	}
}

bool
emk_worker_all_free(EmkDatabase *d)
{
	for (int k = 0; k < EMK_MAX_WORKERS; k++)
		if (d->slots[k].state != EMK_SLOT_FREE)
			return false;
	return true;
}

void
emk_worker_tell_launcher(void)
{
	volatile EmkShared *s = emk_worker_shared;

	if (s->launcher_pid != 0)
		SetLatch(&ProcGlobal->allProcs[s->launcher_procno].procLatch);
}

void
emk_worker_announce_database(Oid db)
{
	EmkShared  *s = emk_worker_shared;
	bool		told = false;

	for (int i = 0; i < EMK_ANNOUNCEMENTS && !told; i++)
	{
		uint32		expected = 0;

		told = pg_atomic_read_u32(&s->announced[i]) == db ||
			pg_atomic_compare_exchange_u32(&s->announced[i], &expected, db);
	}
	if (!told)
		pg_atomic_write_u32(&s->rescan, 1);
	emk_worker_tell_launcher();
}

/* The notifier: runs after commit, so it neither raises nor allocates. */
static void
wake_shared(void)
{
	EmkShared  *s = emk_worker_shared;
	EmkDatabase *d;

	if (s == NULL || !OidIsValid(MyDatabaseId))
		return;
	if (my_entry < 0 || s->dbs[my_entry].db != MyDatabaseId)
	{
		my_entry = -1;
		for (int i = 0; i < EMK_MAX_DATABASES && my_entry < 0; i++)
			if (s->dbs[i].db == MyDatabaseId)
				my_entry = i;
	}
	if (announce_wanted || my_entry < 0)
	{
		announce_wanted = false;
		emk_worker_announce_database(MyDatabaseId);
	}
	if (my_entry < 0)
		return;
	d = &s->dbs[my_entry];
	for (int k = 0; k < EMK_MAX_WORKERS; k++)
		if (d->slots[k].state == EMK_SLOT_RUNNING && pg_atomic_exchange_u32(&d->slots[k].wake, 1) == 0)
			SetLatch(&ProcGlobal->allProcs[d->slots[k].procno].procLatch);
}

void
emk_worker_announce(void)
{
	if (emk_worker_shared == NULL)
		return;
	announce_wanted = true;
	emk_wake_at_commit();
}

bool
emk_worker_preloaded(void)
{
	return emk_worker_shared != NULL;
}

void
emk_worker_init_state(void)
{
	prev_shmem_request = shmem_request_hook;
	shmem_request_hook = request_shmem;
	prev_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = startup_shmem;
	emk_wake_set_notifier(wake_shared);
}

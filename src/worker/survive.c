/*
 * survive.c: what the launcher must know after the server has restarted itself because a process crashed. Its shared memory is
 * thrown away then; the postmaster lives on, and this is its copy: which databases have workers, where they were stopped, and whose
 * worker it was that crashed.
 *
 * A worker that is told to quit because another process crashed says so in its slot (worker_sigquit); one that leaves its slot
 * taken without that has crashed itself. A few times is bad luck, and the next one starts at once. When one short run after the
 * other ends so, it is let wait: its crash stops the workers of all other databases, too, and they get that time to work.
 *
 * Only the postmaster runs this: at the start of shared memory, and, through on_shmem_exit(), at its end.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "worker/life.h"

#define PATIENCE		3			/* crashes in a row, of runs shorter than EMK_HEALTHY_RUN */
#define LONGEST_WAIT	(2 * USECS_PER_SEC)

typedef struct Survivor
{
	Oid			db;
	Oid			owner;
	bool		present;
	bool		stopped;
	int			crashes[EMK_MAX_WORKERS];
} Survivor;

static Survivor survivors[EMK_MAX_DATABASES];

/* How many crashes in a row this slot has seen, the one that ends this memory included */
static int
count_crashes(const EmkSlot *slot, int64 now)
{
	bool		healthy = slot->state == EMK_SLOT_RUNNING && now - slot->since >= EMK_HEALTHY_RUN;
	int			before = healthy ? 0 : slot->crashes;

	return slot->state == EMK_SLOT_RUNNING && !slot->quit ? Min(before + 1, 1000) : before;
}

static void
remember(int code, Datum arg)
{
	int64		now = emk_clock_monotonic();

	for (int i = 0; i < EMK_MAX_DATABASES; i++)
	{
		const EmkDatabase *d = &emk_worker_shared->dbs[i];

		survivors[i].db = d->db;
		survivors[i].owner = d->owner;
		survivors[i].present = d->present;
		survivors[i].stopped = d->stopped;
		for (int k = 0; k < EMK_MAX_WORKERS; k++)
			survivors[i].crashes[k] = count_crashes(&d->slots[k], now);
	}
}

void
emk_worker_survive(void)
{
	int64		now = emk_clock_monotonic();

	for (int i = 0; i < EMK_MAX_DATABASES; i++)
	{
		EmkDatabase *d = &emk_worker_shared->dbs[i];

		d->db = survivors[i].db;
		d->owner = survivors[i].owner;
		d->present = survivors[i].present;
		d->stopped = survivors[i].stopped;
		d->recheck = true;
		for (int k = 0; k < EMK_MAX_WORKERS; k++)
		{
			d->slots[k].crashes = survivors[i].crashes[k];
			d->slots[k].next_start = now + Min(Max(d->slots[k].crashes - PATIENCE, 0) * USECS_PER_SEC, LONGEST_WAIT);
		}
	}
	on_shmem_exit(remember, (Datum) 0);
}

/*
 * solo.c: the launcher of one database on a server that did not preload the library. start_worker() registers it; it
 * keeps the workers of its database alive, comes back after a crash restart, and is forgotten at server restart. It cannot
 * look into its database, so every worker looks for itself whether the extension is there; one that found nothing, or
 * failed, is followed by the next after 1 to 60 seconds, one that was told to end at once (it says so on a board in
 * dynamic shared memory).
 *
 * SIGTERM ends it with its workers until the postmaster starts it again; SIGUSR2, sent by stop_worker(), ends it for good, after
 * its workers, which may finish what is open;
 * SIGHUP makes it forget its back-off; EMK_REPLACE_SIGNAL, sent by start_worker(), makes it replace workers that are frozen
 * (worker_main.c), also while it waits for them.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/wait_event.h"
#include "worker/life.h"

#define LOOK_EVERY	(60 * USECS_PER_SEC)

typedef struct Child
{
	BackgroundWorkerHandle *handle;
	int64		started;
	int64		next_start;
	int			fails;
	int			replaced;		/* pid of the last one that was frozen */
} Child;

static Child children[EMK_MAX_WORKERS];
static EmkBoard *board;
static volatile sig_atomic_t stop_for_good = false;
static volatile sig_atomic_t replace_wanted = false;
static int	wake_pids[EMK_MAX_WORKERS]; /* in a backend: whom to wake at commit */

PGDLLEXPORT void emk_worker_solo_main(Datum arg);

static void
handle_stop(SIGNAL_ARGS)
{
	int			save_errno = errno;

	stop_for_good = true;
	SetLatch(MyLatch);
	errno = save_errno;
}

static void
handle_replace(SIGNAL_ARGS)
{
	int			save_errno = errno;

	replace_wanted = true;
	SetLatch(MyLatch);
	errno = save_errno;
}

static bool
database_exists(Oid db)
{
	bool		there;

	StartTransactionCommand();
	there = SearchSysCacheExists1(DATABASEOID, ObjectIdGetDatum(db));
	CommitTransactionCommand();
	return there;
}

/* Looks after worker k; returns when it must be looked at again. */
static int64
tend(EmkStart *start, int k, int64 now)
{
	Child	   *c = &children[k];
	pid_t		pid;
	BackgroundWorker w;
	EmkStart	s = *start;

	if (c->handle != NULL && GetBackgroundWorkerPid(c->handle, &pid) == BGWH_STOPPED)
	{
		pfree(c->handle);
		c->handle = NULL;
		c->fails = board->ended[k] || now - c->started >= EMK_HEALTHY_RUN ? 0 : c->fails + 1;
		c->next_start = now + emk_worker_backoff(c->fails);
		if (!database_exists(start->db))
			stop_for_good = true;
	}
	if (c->handle != NULL)
		return now + LOOK_EVERY;
	if (stop_for_good || now < c->next_start)
		return stop_for_good ? now : c->next_start;
	board->ended[k] = board->retire[k] = 0;
	s.slot = k;
	s.nslots = start->nslots;
	s.replaces = c->replaced;
	emk_worker_describe(&w, EMK_WORKER_TYPE, "emk_worker_main", &s);
	w.bgw_notify_pid = MyProcPid;
	if (!RegisterDynamicBackgroundWorker(&w, &c->handle))
		c->handle = NULL;
	c->started = now;
	c->next_start = now + 2 * USECS_PER_SEC;
	return c->handle != NULL ? now + LOOK_EVERY : c->next_start;
}

static void
make_board(EmkStart *start)
{
	dsm_segment *seg = dsm_create(sizeof(EmkBoard), 0);

	dsm_pin_mapping(seg);
	start->board = dsm_segment_handle(seg);
	board = dsm_segment_address(seg);
	memset(board, 0, sizeof(EmkBoard));
	for (int k = 0; k < EMK_MAX_WORKERS; k++)
		pg_atomic_init_u64(&board->turns_by[k], 0);
}

/* Gives up the workers that are frozen: the next turn starts others. */
static void
replace_frozen(void)
{
	for (int k = 0; k < EMK_MAX_WORKERS; k++)
	{
		Child	   *c = &children[k];
		pid_t		pid;

		if (c->handle == NULL || !emk_worker_is_frozen(&board->turns_by[k]) ||
			GetBackgroundWorkerPid(c->handle, &pid) != BGWH_STARTED)
			continue;
		board->pid[k] = 0;
		pg_atomic_write_u64(&board->turns_by[k], 0);
		kill(pid, SIGTERM);
		pfree(c->handle);
		c->handle = NULL;
		c->replaced = pid;
		c->fails = c->next_start = 0;
	}
}

static void
take_replace(void)
{
	if (!replace_wanted)
		return;
	replace_wanted = false;
	replace_frozen();
}

static void
end_children(void)
{
	for (int k = 0; k < EMK_MAX_WORKERS; k++)
		if (children[k].handle != NULL)
			TerminateBackgroundWorker(children[k].handle);
}

/* Lets the workers finish and waits for their end, for EMK_RETIRE_LIMIT at most; those that run still are to be cut. */
static void
retire_children(void)
{
	int64		deadline = emk_clock_monotonic() + EMK_RETIRE_LIMIT;
	bool		left;

	for (int k = 0; k < EMK_MAX_WORKERS; k++)
		board->retire[k] = 1;
	pg_memory_barrier();
	end_children();
	do
	{
		pid_t		pid;

		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 20, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		left = false;
		for (int k = 0; k < EMK_MAX_WORKERS; k++)
			left |= children[k].handle != NULL && GetBackgroundWorkerPid(children[k].handle, &pid) != BGWH_STOPPED;
	} while (left && !ShutdownRequestPending && emk_clock_monotonic() < deadline);
	for (int k = 0; k < EMK_MAX_WORKERS; k++)
	{
		pid_t		pid;

		if (children[k].handle != NULL && GetBackgroundWorkerPid(children[k].handle, &pid) == BGWH_STARTED)
			kill(pid, SIGTERM);
	}
}

/* Ends the workers and waits for them, when their number is to change; not for those that are given up meanwhile, nor when it is to end. */
static void
renumber(EmkStart *start)
{
	bool		left = true;

	retire_children();
	while (left && !ShutdownRequestPending && !stop_for_good)
	{
		left = false;
		take_replace();
		for (int k = 0; k < EMK_MAX_WORKERS; k++)
		{
			pid_t		pid;

			if (children[k].handle == NULL)
				continue;
			if (GetBackgroundWorkerPid(children[k].handle, &pid) != BGWH_STOPPED)
			{
				left = true;
				continue;
			}
			pfree(children[k].handle);
			children[k].handle = NULL;
		}
		if (left)
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, 1000, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	if (!left)
		start->nslots = emk_guc_workers;
}

void
emk_worker_solo_main(Datum arg)
{
	EmkStart	start;
	int64		next_look = 0;

	memcpy(&start, MyBgworkerEntry->bgw_extra, sizeof(start));
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGUSR2, handle_stop);
	pqsignal(EMK_REPLACE_SIGNAL, handle_replace);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	MemoryContextSwitchTo(TopMemoryContext);
	make_board(&start);
	start.nslots = emk_guc_workers;
	while (!ShutdownRequestPending && !stop_for_good)
	{
		int64		now = emk_clock_monotonic();
		int64		next = now + LOOK_EVERY;

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
			take_replace();
			for (int k = 0; k < EMK_MAX_WORKERS; k++)
				children[k].fails = children[k].next_start = 0;
			if (start.nslots != emk_guc_workers)
				renumber(&start);
		}
		take_replace();
		if (now >= next_look)
		{
			if (!database_exists(start.db))
				stop_for_good = true;
			next_look = now + LOOK_EVERY;
		}
		for (int k = 0; k < start.nslots && !stop_for_good; k++)
		{
			int64		again = tend(&start, k, now);

			next = Min(next, again);
		}
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 stop_for_good ? 0 : Max(0, (next - emk_clock_monotonic()) / 1000 + 1), PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
	if (stop_for_good && !ShutdownRequestPending)
		retire_children();
	else
		end_children();
	proc_exit(stop_for_good ? 0 : 1);
}

/* In the app's backend, when it first asks for a wake: the pids, read through the settings cache. */
static void
prepare_pids(void)
{
	for (int k = 0; k < EMK_MAX_WORKERS; k++)
	{
		char		key[32] = "worker_pid";
		const char *pid;

		if (k > 0)
			snprintf(key, sizeof(key), "worker_pid_%d", k);
		pid = emk_setting_get(key);
		wake_pids[k] = pid ? atoi(pid) : 0;
		if (pid == NULL)
			break;
	}
}

/* After commit. A pid that another process has by now costs that process one signal that background workers ignore. */
static void
wake_pid(void)
{
	for (int k = 0; k < EMK_MAX_WORKERS && wake_pids[k] != 0; k++)
	{
		PGPROC	   *proc = BackendPidGetProc(wake_pids[k]);

		if (proc != NULL && proc->databaseId == MyDatabaseId && EMK_PROC_IS_WORKER(proc))
			kill(wake_pids[k], SIGUSR2);
	}
}

void
emk_worker_init_solo_wake(void)
{
	emk_wake_set_notifier(wake_pid);
	emk_wake_set_prepare(prepare_pids);
}

/*
 * worker_main.c: the frame around the loop of one worker: signals, slot, connection as the owner, pauses, the end.
 *
 * Rules: SIGTERM is die(), so pg_terminate_backend() and DROP DATABASE ... WITH FORCE end the worker in the middle of a
 * statement; the exit code is 1. The first SIGTERM of a planned stop (emk_worker_retire) only asks it to finish: it takes no
 * new work, lets open transfers be answered for a moment (emk_send_drain), and leaves with 0. When the extension is gone the
 * worker leaves without a word. One worker a slot: a session lock that only we take stands behind the bookkeeping; those who were
 * replaced while they were frozen hold one besides, with the number of another life, until they end. The session is pinned: what
 * ALTER ROLE or ALTER DATABASE set does not reach our statements.
 *
 * A worker that was replaced finds a SIGTERM when it goes on. It may still end a transaction or take an answer before it sees it;
 * what it then settles or claims is refused, because its rows are not under its epoch any more or its epoch is revoked (lease.c).
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"
#include "worker/life.h"

#define CHECK_EVERY	USECS_PER_SEC
#define POLL_MS		5000


static EmkStart me;
static EmkSlot *my_slot = NULL; /* in shared memory; NULL when not preloaded */
static EmkBoard *board = NULL;	/* in dynamic shared memory; NULL when preloaded */
static volatile sig_atomic_t told_to_end = false;
static volatile sig_atomic_t retiring = false;
static volatile sig_atomic_t wake_asked = false;	/* not preloaded: what EmkSlot.wake is where it is */
static int64 last_check = 0;	/* monotonic */
static const char *pause_reason = NULL;
static bool is_gone = false;

PGDLLEXPORT void emk_worker_main(Datum arg);

static void
worker_sigterm(SIGNAL_ARGS)
{
	bool		planned = my_slot != NULL ? my_slot->pid == MyProcPid && my_slot->retire_since != 0 :
	board != NULL && board->pid[me.slot] == MyProcPid && board->retire[me.slot];

	told_to_end = true;
	if (planned && !retiring)
	{
		int			save_errno = errno;

		retiring = true;
		SetLatch(MyLatch);
		errno = save_errno;
		return;
	}
	die(postgres_signal_arg);
}

/* pg_cancel_backend() ends a statement. Between statements there is nothing to end: open transfers go on. */
static void
worker_sigint(SIGNAL_ARGS)
{
	if (IsTransactionState())
		StatementCancelHandler(postgres_signal_arg);
}

/* Another process crashed and the server starts again. A worker that ends without this mark is the one that crashed. */
static void
worker_sigquit(SIGNAL_ARGS)
{
	if (my_slot != NULL && my_slot->pid == MyProcPid)
		my_slot->quit = true;
	_exit(2);
}

/* Not preloaded: a backend that committed wakes us. The latch alone would not do: a wait for a lock or a standby takes it. */
static void
worker_sigusr2(SIGNAL_ARGS)
{
	int			save_errno = errno;

	wake_asked = true;
	SetLatch(MyLatch);
	errno = save_errno;
}

/* At exit: the slot is free, and the launcher knows when to start the next worker in it. */
static void
release_slot(int code, Datum arg)
{
	EmkShared  *s = emk_worker_shared;
	int64		now = emk_clock_monotonic();

	LWLockAcquire(s->lock, LW_EXCLUSIVE);
	if (my_slot->state != EMK_SLOT_RUNNING || my_slot->pid != MyProcPid)
	{
		LWLockRelease(s->lock); /* it was replaced: the slot is another's */
		return;
	}
	if (told_to_end || now - my_slot->since >= EMK_HEALTHY_RUN)
		my_slot->fails = my_slot->crashes = 0;
	else
		my_slot->fails++;
	my_slot->next_start = now + emk_worker_backoff(my_slot->fails);
	my_slot->state = EMK_SLOT_FREE;
	my_slot->pid = 0;
	s->dbs[me.entry].recheck = true;
	LWLockRelease(s->lock);
	emk_worker_tell_launcher();
}

/* Takes the slot that the launcher made ready; leaves when it is not ours any more. */
static void
claim_slot(void)
{
	EmkShared  *s = emk_worker_shared;
	EmkSlot    *slot = &s->dbs[me.entry].slots[me.slot];
	bool		mine;

	LWLockAcquire(s->lock, LW_EXCLUSIVE);
	mine = s->dbs[me.entry].db == me.db && slot->state == EMK_SLOT_STARTING && slot->ticket == me.ticket;
	if (mine && emk_worker_is_blocked(me.db))
	{
		slot->state = EMK_SLOT_FREE;
		mine = false;
	}
	if (mine)
	{
		my_slot = slot;
		slot->state = EMK_SLOT_RUNNING;
		slot->pid = MyProcPid;
		slot->procno = EMK_MY_PROCNO;
		slot->since = emk_clock_monotonic();
		slot->retire_since = 0;
		slot->quit = false;
		slot->started_at = emk_clock_real();
		pg_atomic_write_u64(&slot->heartbeat, (uint64) slot->started_at);
		pg_atomic_write_u64(&slot->turns_by, (uint64) slot->since);
		pg_atomic_write_u32(&slot->wake, 1);
	}
	LWLockRelease(s->lock);
	if (!mine)
		proc_exit(0);
	on_shmem_exit(release_slot, (Datum) 0);
}

/* Not preloaded: at exit, tells the launcher whether we ended because we were told to. */
static void
write_board(int code, Datum arg)
{
	if (board->pid[me.slot] == MyProcPid)
	{
		board->ended[me.slot] = told_to_end;
		pg_atomic_write_u64(&board->turns_by[me.slot], 0);
	}
	board = NULL;				/* a signal may come when the segment is gone */
}

static void
find_board(void)
{
	dsm_segment *seg = dsm_attach(me.board);

	if (seg == NULL)
		proc_exit(0);			/* our launcher is gone */
	dsm_pin_mapping(seg);
	board = dsm_segment_address(seg);
	board->pid[me.slot] = MyProcPid;
	emk_worker_turns_within(0);
	before_shmem_exit(write_board, (Datum) 0);
}

static void
pin_session(void)
{
	static const char *const pins[][2] = {
		{"search_path", "pg_catalog, pg_temp"},
		{"timezone", "UTC"},
		{"datestyle", "ISO, MDY"},
		{"intervalstyle", "postgres"},
		{"standard_conforming_strings", "on"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"session_replication_role", "origin"},
		{"statement_timeout", "0"},
		{"lock_timeout", "1s"},
		{"idle_in_transaction_session_timeout", "0"},
		{"idle_session_timeout", "0"},
#if PG_VERSION_NUM >= 170000
		{"transaction_timeout", "0"},
#endif
		{"row_security", "on"},
		/* every statement of ours reads by index, and a plan made while a table was small must not stay a scan when it has grown */
		{"enable_seqscan", "off"},
		{"enable_hashjoin", "off"},
		{"enable_mergejoin", "off"},
		{"jit", "off"}
	};

	for (int i = 0; i < lengthof(pins); i++)
		SetConfigOption(pins[i][0], pins[i][1], PGC_SUSET, PGC_S_OVERRIDE);
}

/* Looks whether the extension is there and whether anything pauses us; in a transaction of its own. */
static void
check_database(void)
{
	const char *reason = NULL;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	is_gone = !OidIsValid(get_extension_oid("eventmkt", true)) || !emk_setting_initialized() || emk_owner_oid() != me.owner;
	if (!is_gone)
		reason = emk_worker_paused();
	if (!is_gone && reason == NULL && emk_send_lease() != 0)
		is_gone = emk_lease_is_revoked();
	PopActiveSnapshot();
	CommitTransactionCommand();
	last_check = emk_clock_monotonic();
	if (reason != NULL && reason != pause_reason)
	{
		if (strcmp(reason, "copy") == 0)
			ereport(WARNING,
					(errcode(ERRCODE_EMK_NOT_ADOPTED),
					 errmsg("this database is a copy: eventmkt sends nothing from it"),
					 errhint("Call eventmkt.adopt() if it is to send.")));
		else
			ereport(LOG, (errmsg("eventmkt worker pauses: %s", reason)));
	}
	pause_reason = reason;
}

const char *
emk_worker_paused(void)
{
	const char *version;

	if (RecoveryInProgress())
		return "standby";
	if (!emk_guc_enabled)
		return "disabled";
	if (!emk_setting_initialized())
		return "not initialised";
	if (emk_version_other() != NULL)
		return "extension version";
	version = emk_setting_get("data_version");
	if (version == NULL || atoi(version) != EMK_DATA_VERSION ||
		!emk_schema_usage(get_namespace_oid("eventmkt", false), emk_owner_oid()))
		return "data version";
	if (!emk_setting_is_home())
		return "copy";
	return NULL;
}

void
emk_worker_turns_within(int64 us)
{
	int64		by = emk_clock_monotonic() + us;

	if (my_slot != NULL && my_slot->pid == MyProcPid)
		pg_atomic_write_u64(&my_slot->turns_by, (uint64) by);
	else if (board != NULL && board->pid[me.slot] == MyProcPid)
		pg_atomic_write_u64(&board->turns_by[me.slot], (uint64) by);
}

bool
emk_worker_go_on(void)
{
	QueryCancelPending = false; /* it came too late for its statement */
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
		last_check = 0;
	}
	if (my_slot != NULL && my_slot->pid == MyProcPid)
		pg_atomic_write_u64(&my_slot->heartbeat, (uint64) emk_clock_real());
	emk_worker_turns_within(0);
	if (emk_clock_monotonic() - last_check >= CHECK_EVERY)
		check_database();
	return !is_gone && pause_reason == NULL && !retiring;
}

bool
emk_worker_may_drain(void)
{
	return !is_gone && (pause_reason == NULL ? retiring : strcmp(pause_reason, "disabled") == 0);
}

bool
emk_worker_take_wake(bool latch)
{
	bool		asked = wake_asked;

	if (my_slot != NULL)
		return pg_atomic_exchange_u32(&my_slot->wake, 0) != 0;
	wake_asked = false;
	return latch || asked;
}

void
emk_worker_keep_wake(void)
{
	if (my_slot != NULL ? pg_atomic_read_u32(&my_slot->wake) != 0 : wake_asked)
		SetLatch(MyLatch);
}

bool
emk_worker_is_gone(void)
{
	check_database();
	return is_gone;
}

static void
idle(void)
{
	emk_worker_turns_within(POLL_MS * INT64CONST(1000));
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, POLL_MS, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
}

/*
 * One run of the loop. An ERROR that comes out of it ends the worker, without a word when the extension was dropped. A
 * clean process is worth more than a clever one: the next worker starts from what is committed.
 */
static void
run_loop(void)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		emk_worker_loop(me.slot, me.nslots);
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		MemoryContextSwitchTo(context);
		edata = CopyErrorData();
		FlushErrorState();
		LWLockReleaseAll();
		AbortOutOfAnyTransaction();
		MemoryContextSwitchTo(context);
		if (edata->sqlerrcode == ERRCODE_QUERY_CANCELED)
			told_to_end = true; /* the next worker may start at once */
		if (!emk_worker_is_gone())
			ThrowErrorData(edata);
	}
	PG_END_TRY();
}

/*
 * The lock that makes two workers in one slot impossible. An advisory lock, because the server releases those of a session at
 * its end; the class 7 is none that a SQL function can take.
 */
static bool
lock_slot(void)
{
	bool		ours = false;

	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	for (int life = 0; life < EMK_LIVES && !ours; life++)
	{
		LOCKTAG		tag;

		SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, NamespaceRelationId, life * EMK_MAX_WORKERS + me.slot, 7);
		ours = LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
	}
	/* two that come at once see each other: both leave, and one of them comes again */
	ours = ours && emk_lease_alone(me.slot, me.replaces);
	PopActiveSnapshot();
	CommitTransactionCommand();
	return ours;
}

/* Not preloaded: committing backends find our pid in the settings. */
static void
publish_pid(void)
{
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	emk_setting_put(me.slot == 0 ? "worker_pid" : psprintf("worker_pid_%d", me.slot), psprintf("%d", MyProcPid));
	PopActiveSnapshot();
	CommitTransactionCommand();
}

/* A worker: claims its slot, connects as the owner, and runs the loop whenever nothing pauses it. */
void
emk_worker_main(Datum arg)
{
	memcpy(&me, MyBgworkerEntry->bgw_extra, sizeof(me));
	pqsignal(SIGTERM, worker_sigterm);
	pqsignal(SIGINT, worker_sigint);
	pqsignal(SIGQUIT, worker_sigquit);
	pqsignal(SIGUSR2, worker_sigusr2);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();
	if (emk_worker_shared != NULL && me.entry >= 0)
		claim_slot();
	else
		find_board();
	BackgroundWorkerInitializeConnectionByOid(me.db, me.owner, EMK_WORKER_CONNECT_FLAGS);
	pin_session();
	pgstat_report_appname(psprintf("%s %d/%d", EMK_WORKER_TYPE, me.slot + 1, me.nslots));
	check_database();
	if (is_gone || !lock_slot())
		proc_exit(0);
	if (my_slot == NULL && !RecoveryInProgress())
		publish_pid();
	for (;;)
	{
		if (emk_worker_go_on())
			run_loop();
		else if (!is_gone && !retiring)
			idle();
		if (is_gone || retiring)
			proc_exit(0);
	}
}

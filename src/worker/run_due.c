/*
 * run_due.c: one pass of spine 2 without HTTP in the caller's session: for tests, for pg_cron, for people who want to see.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "profile/profile.h"
#include "segment/segment.h"
#include "utils/guc.h"
#include "worker/pass.h"
#include "worker/worker.h"

#define PASS_BATCH 2000
#define PARTITIONS_AHEAD 8
#define MAX_TRIES 10
#define TRY_PAUSE 5000L			/* microseconds, growing */
#define FORGET_BATCH 10000		/* rows of each table a turn of the worker, or a call of maintain() */
#define LOCK_WAIT "100ms"
#define LOCK_PAUSE 50000		/* microseconds */
#define LOCK_TRIES 100			/* of a call of maintain(); a worker has other things to do and comes back */

/* Rows first, then partitions: those of old rows go before others are made. Returns true when there are more rows to forget. */
static bool
maintain(TimestampTz now)
{
	const char *period = emk_setting_get("partition_period");
	int64		length = period && strcmp(period, "day") == 0 ? USECS_PER_DAY : 7 * USECS_PER_DAY;
	TimestampTz keep = emk_event_retention(now);
	uint64		forgotten = 0;

	if (keep != DT_NOBEGIN)
	{
		forgotten = emk_deliver_drop_old(keep, FORGET_BATCH);
		forgotten = Max(forgotten, emk_segment_drop_old(keep, FORGET_BATCH));
		forgotten = Max(forgotten, emk_profile_drop_old(keep, FORGET_BATCH));
	}
	if (emk_event_drop_old(now) > 0)
		emk_segment_recheck(keep, now);
	emk_event_make_partitions(now, now + PARTITIONS_AHEAD * length);
	return forgotten == FORGET_BATCH;
}

typedef struct Upkeep
{
	TimestampTz now;
	bool		more;
} Upkeep;

static void
maintain_soon(void *arg)
{
	Upkeep	   *u = arg;
	int			nest = NewGUCNestLevel();

	(void) set_config_option("lock_timeout", LOCK_WAIT, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	u->more = maintain(u->now);
	AtEOXact_GUC(true, nest);
}

/*
 * A pass reads events, decides, and reads events again: while it does, no order of our locks could keep us out of a deadlock with it. So
 * all is done in one subtransaction that waits for no lock longer than LOCK_WAIT, well below deadlock_timeout. When it had to wait longer
 * it is undone, which gives back whatever it held, and tried again.
 */
bool
emk_worker_maintain(TimestampTz now, int tries, bool *done)
{
	Upkeep		u = {now, true};

	*done = false;
	for (int try = 1; !*done && try <= tries; try++)
	{
		ErrorData  *e;

		if (try > 1)
			pg_usleep(LOCK_PAUSE);
		CHECK_FOR_INTERRUPTS();
		e = emk_guard_try(maintain_soon, &u);
		*done = e == NULL;
		if (e != NULL && e->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE && e->sqlerrcode != ERRCODE_T_R_DEADLOCK_DETECTED)
			ReThrowError(e);
	}
	return u.more;
}

/*
 * Due runs from the mark of this session's earlier calls. A mark is only a guess (a call that was rolled back has raised it too), so
 * a scan that comes short is made again from the beginning: a pass misses nothing.
 */
static int
handle_due(int max)
{
	static EmkDueScan scan = {DT_NOBEGIN};
	bool		whole = false;
	int			n = 0;

	while (n < max && !whole)
	{
		EmkPass		p = {emk_clock_now()};
		int			taken = emk_worker_take_due(&scan, max - n, &p, &whole);

		emk_worker_fire(&p);
		(void) emk_worker_due_taken(&scan);
		if (!whole && n + taken < max)
			scan.next_sweep = 0;
		n += taken;
	}
	return n;
}

/* Members of segments, then work rows and due runs, at most `max` together; the first is as much again at most. */
static int
handle(int max, bool *more)
{
	EmkPass		p = {emk_clock_now()};
	TimestampTz next;
	int			segments = emk_segment_turn(max, p.now, &next);	/* first: what it tells is work */
	int			told = emk_activate_turn(p.now, &next);
	int			worked = emk_trigger_take_work(max, 0, 1, p.now, &p.due, &p.decisions);
	int			due = 0;

	emk_worker_fire(&p);
	if (worked < max)
		due = handle_due(max - worked);
	*more = worked + due + segments + told > 0;
	return worked + due + segments + told;
}

typedef struct Batch
{
	int			max;
	bool	   *more;
	int			n;
} Batch;

static void
handle_batch(void *arg)
{
	Batch	   *b = arg;

	b->n = handle(b->max, b->more);
}

/*
 * One batch in a subtransaction: where another pass was at the same runs, it is undone and tried again with what that one
 * committed. Under REPEATABLE READ only the caller can do so. After the first batch this transaction holds locks that the other
 * may be waiting for: then the call ends with what it has, and its caller's commit lets both go on.
 */
static int
try_batch(int max, bool first, bool *more)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "eventmkt pass", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Batch		b = {max, more, -1};

	for (int tries = 1; b.n < 0; tries++)
	{
		ErrorData  *e = emk_guard_try(handle_batch, &b);

		if (e == NULL)
			break;
		if (tries == MAX_TRIES || IsolationUsesXactSnapshot() ||
			(e->sqlerrcode != ERRCODE_T_R_SERIALIZATION_FAILURE && e->sqlerrcode != ERRCODE_T_R_DEADLOCK_DETECTED))
			ReThrowError(e);
		*more = first;
		b.n = first ? -1 : 0;
		if (first)
			pg_usleep(tries * TRY_PAUSE);	/* nothing is locked now */
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return b.n;
}

/* One pass in the current transaction, until max_rows are handled or nothing is left. */
int
emk_worker_pass(int max_rows)
{
	int			total = 0;
	bool		more = true;

	while (more && total < max_rows)
		total += try_batch(Min(PASS_BATCH, max_rows - total), total == 0, &more);
	return total;
}

static void
check_home(void)
{
	if (!emk_setting_is_home())
		ereport(ERROR,
				(errcode(ERRCODE_EMK_NOT_ADOPTED),
				 errmsg("this database is a copy that has not been adopted"),
				 errhint("An operator calls eventmkt.adopt() once it is meant to send.")));
}

void
emk_worker_require_tables(void)
{
	const char *version = emk_setting_get("data_version");

	if (version != NULL && atoi(version) == EMK_DATA_VERSION)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the tables of eventmkt are of version %s, and this library works on those of version %d",
					version != NULL ? version : "unknown", EMK_DATA_VERSION),
			 version != NULL && atoi(version) > EMK_DATA_VERSION ?
			 errhint("Install the newer library, then run ALTER EXTENSION eventmkt UPDATE.") :
			 errhint("Run SELECT eventmkt.init().")));
}

PG_FUNCTION_INFO_V1(emk_worker_run_due);
/* eventmkt.run_due(max_rows): rows of work and due runs handled */
Datum
emk_worker_run_due(PG_FUNCTION_ARGS)
{
	int			max = PG_ARGISNULL(0) ? 10000 : PG_GETARG_INT32(0);
	EmkOwner	owner;
	int			pinned;
	int			done;

	if (max < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_rows is %d; it must be at least 1", max),
				 errhint("Leave the argument out for 10000.")));
	emk_owner_enter(&owner);
	check_home();
	emk_worker_require_tables();
	pinned = emk_spi_pin();
	SPI_connect();
	done = emk_worker_pass(max);
	SPI_finish();
	emk_spi_unpin(pinned);
	emk_owner_leave(&owner);
	PG_RETURN_INT32(done);
}

PG_FUNCTION_INFO_V1(emk_worker_maintain_sql);
/* eventmkt.maintain(): partitions ahead, retention, message keys; what the worker does by itself every hour */
Datum
emk_worker_maintain_sql(PG_FUNCTION_ARGS)
{
	EmkOwner	owner;
	bool		done;

	emk_owner_enter(&owner);
	SPI_connect();
	(void) emk_worker_maintain(emk_clock_now(), LOCK_TRIES, &done);
	SPI_finish();
	emk_owner_leave(&owner);
	if (!done)
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("could not lock the partitions of events and decisions within %d tries", LOCK_TRIES),
				 errhint("A long transaction holds them; look at pg_locks, and call maintain() again.")));
	PG_RETURN_VOID();
}

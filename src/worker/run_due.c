/*
 * run_due.c: one pass of spine 2 without HTTP in the caller's session: for tests, for pg_cron, for people who want to see.
 */
#include "postgres.h"

#include "fmgr.h"
#include "worker/pass.h"
#include "worker/worker.h"

#define PASS_BATCH 2000
#define PARTITIONS_AHEAD 8

void
emk_worker_maintain(TimestampTz now)
{
	const char *period = emk_setting_get("partition_period");
	int64		length = period && strcmp(period, "day") == 0 ? USECS_PER_DAY : 7 * USECS_PER_DAY;

	emk_event_make_partitions(now, now + PARTITIONS_AHEAD * length);
	emk_event_drop_old(now);
}

/* One pass in the current transaction: work rows first, then due runs, until max_rows or nothing is left. */
int
emk_worker_pass(int max_rows)
{
	int			total = 0;
	int			worked,
				due;

	do
	{
		MemoryContext batch = AllocSetContextCreate(CurrentMemoryContext, "eventmkt pass", ALLOCSET_DEFAULT_SIZES);
		MemoryContext old = MemoryContextSwitchTo(batch);
		EmkPass		p = {emk_clock_now()};

		worked = emk_trigger_take_work(Min(PASS_BATCH, max_rows - total), 0, 1, p.now, &p.due, &p.decisions);
		emk_worker_fire(&p);
		p = (EmkPass) {emk_clock_now()};
		due = worked == PASS_BATCH ? 0 :
			emk_trigger_take_due(Min(PASS_BATCH, max_rows - total), DT_NOBEGIN, p.now, &p.due);
		emk_worker_fire(&p);
		total += worked + due;
		MemoryContextSwitchTo(old);
		MemoryContextDelete(batch);
	} while (worked + due > 0 && total < max_rows);
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
				 errmsg("max_rows is %d; it must be at least 1", max)));
	emk_owner_enter(&owner);
	check_home();
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

	emk_owner_enter(&owner);
	SPI_connect();
	emk_worker_maintain(emk_clock_now());
	SPI_finish();
	emk_owner_leave(&owner);
	PG_RETURN_VOID();
}

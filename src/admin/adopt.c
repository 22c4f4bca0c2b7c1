/*
 * adopt.c: eventmkt.adopt(): an operator says that this copy of a database is to send from now on, and what becomes of what
 * was waiting when the copy was made. Each run that ends here gets its decision, reason `adopted`.
 *
 * send      everything goes on; what is too late expires by its rule as always
 * expire    what is due already ends as expired, runs and deliveries; what is due later goes on. Events that no worker has seen
 *           are looked at first, because the original sends what they start
 * discard   everything that waits ends as cancelled, and events that no worker has seen start nothing
 */
#include "postgres.h"

#include "admin/admin_int.h"
#include "catalog/pg_type.h"
#include "event/event.h"
#include "trigger/trigger.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"
#include "worker/worker.h"

#define BATCH 2000

/* $1: all of them; $2: now. A row's decision columns, in the order of end_rows() */
static EmkPlan runs_plan = {
	"DELETE FROM eventmkt_data.pending_trigger p USING eventmkt_data.rule r "
	"WHERE p.ctid OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT q.ctid FROM eventmkt_data.pending_trigger q "
	"WHERE $1 OR q.wake_at OPERATOR(pg_catalog.<=) $2 LIMIT 2000)) "
	"AND r.rule_id OPERATOR(pg_catalog.=) p.rule_id AND r.version OPERATOR(pg_catalog.=) p.rule_version "
	"RETURNING p.run_id, p.rule_id, r.name, p.rule_version, p.profile_id, p.key, p.event_id, p.started_at, p.due_at, "
	"NULL::pg_catalog.uuid", 2, {BOOLOID, TIMESTAMPTZOID}
};
static EmkPlan deliveries_plan = {
	"UPDATE eventmkt_data.delivery d SET status = 'cancelled', settled_at = $2, lease = NULL, last_error = 'adopted' "
	"WHERE d.ctid OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT q.ctid FROM eventmkt_data.delivery q "
	"WHERE q.status OPERATOR(pg_catalog.=) ANY (ARRAY['queued', 'retrying', 'in_flight']) "
	"AND ($1 OR q.created_at OPERATOR(pg_catalog.<=) $2) LIMIT 2000)) "
	"RETURNING d.run_id, d.rule_id, d.rule, d.rule_version, d.profile_id, d.key, d.event_id, d.started_at, d.due_at, d.id",
	2, {BOOLOID, TIMESTAMPTZOID}
};
static EmkPlan work_plan = {
	"DELETE FROM eventmkt_data.work", 0, {0}
};

static TimestampTz
time_of(uint64 row, int col)
{
	bool		isnull;
	Datum		d = emk_spi_datum(row, col, &isnull);

	return isnull ? 0 : DatumGetTimestampTz(d);
}

/* Ends rows batch by batch, a decision each; returns how many. */
static int64
end_rows(EmkPlan *plan, bool all, TimestampTz now)
{
	Datum		args[2] = {BoolGetDatum(all), TimestampTzGetDatum(now)};
	int64		total = 0;
	uint64		n;

	while ((n = emk_spi_run(plan, args, NULL, false, 0)) > 0)
	{
		EmkDecision *d = palloc0(n * sizeof(EmkDecision));

		for (uint64 i = 0; i < n; i++)
		{
			bool		isnull;
			Datum		id = emk_spi_datum(i, 10, &isnull);

			d[i].run_id = emk_spi_int8(i, 1, 0);
			d[i].rule_id = emk_spi_int4(i, 2, 0);
			d[i].rule = emk_spi_text(i, 3);
			d[i].rule_version = emk_spi_int4(i, 4, 0);
			d[i].profile_id = emk_spi_text(i, 5);
			d[i].key = emk_spi_text(i, 6);
			d[i].event_id = emk_spi_int8(i, 7, 0);
			d[i].started_at = time_of(i, 8);
			d[i].due_at = time_of(i, 9);
			d[i].delivery_id = isnull ? NULL : DatumGetUUIDP(id);
			d[i].outcome = all ? "cancelled" : "expired";
			d[i].reason = "adopted";
		}
		emk_event_decide(d, n, now);
		pfree(d);
		total += n;
	}
	return total;
}

typedef struct Look
{
	int			max;
	TimestampTz now;
	int			n;
	const char *error;			/* of the row that is to be set aside; NULL: none */
} Look;

static void
look_at_work(void *arg)
{
	Look	   *l = arg;
	EmkRuns		due = {0};
	EmkDecisions decisions = {0};

	if (l->error != NULL)
	{
		emk_trigger_quarantine_work(l->error, 0, 1, l->now);
		return;
	}
	SPI_connect();				/* what it read goes with it: the queue may be long */
	l->n = emk_trigger_take_work(l->max, 0, 1, l->now, &due, &decisions);
	emk_trigger_put(due.v, due.n);
	emk_event_decide(decisions.v, decisions.n, l->now);
	SPI_finish();
}

/* Makes the runs that events in the queue begin and does what else they ask for; runs that are due are stored, like those due later. */
static void
work_off(TimestampTz now)
{
	Look		look = {.max = BATCH, .now = now, .n = 1};
	int			pinned = emk_spi_pin();

	emk_worker_require_tables();
	while (look.n > 0)
	{
		MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "eventmkt adopt", ALLOCSET_DEFAULT_SIZES);
		MemoryContext old = MemoryContextSwitchTo(context);
		ErrorData  *e = emk_guard_try_on(look_at_work, &look);

		if (e != NULL && emk_worker_is_server_fault(e->sqlerrcode))
			ReThrowError(e);
		if (e != NULL && look.max == 1)
		{
			look.error = e->message;
			look_at_work(&look);
			look.error = NULL;
		}
		if (e != NULL)
			look.max = look.max == 1 ? BATCH : 1;
		MemoryContextSwitchTo(old);
		MemoryContextDelete(context);
	}
	emk_spi_unpin(pinned);
}

PG_FUNCTION_INFO_V1(emk_admin_adopt);
/* eventmkt.adopt(policy text): how many runs and deliveries ended here */
Datum
emk_admin_adopt(PG_FUNCTION_ARGS)
{
	emk_base_refuse_null(fcinfo, (const char *const[]) {"policy"});
	char	   *policy = text_to_cstring(PG_GETARG_TEXT_PP(0));
	bool		discard = strcmp(policy, "discard") == 0;
	bool		expire = strcmp(policy, "expire") == 0;
	bool		was_home = emk_setting_is_home();
	int64		ended = 0;
	EmkOwner	saved;
	int			nest;

	if (!discard && !expire && strcmp(policy, "send") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is no policy for adopting a copy", policy),
				 errhint("The policies are send, expire and discard.")));
	nest = emk_admin_pin();
	SPI_connect();
	emk_admin_put_identity();
	emk_setting_put("adopted_at", timestamptz_to_str(emk_clock_real()));
	if (!was_home && (discard || expire))
	{
		TimestampTz now = emk_clock_now();

		emk_owner_enter(&saved);
		if (expire)
			work_off(now);
		ended = end_rows(&runs_plan, discard, now) + end_rows(&deliveries_plan, discard, now);
		if (discard)
			emk_spi_run(&work_plan, NULL, NULL, false, 0);
		emk_base_invalidate_table("rule_event");	/* sessions that know of an inactivity run forget it */
		emk_owner_leave(&saved);
	}
	SPI_finish();
	emk_admin_unpin(nest);
	if (was_home)
		ereport(NOTICE,
				(errmsg("this database was no copy"),
				 errdetail("Its timeline was noted; nothing that waits was touched.")));
	emk_wake_at_commit();
	PG_RETURN_INT64(ended);
}

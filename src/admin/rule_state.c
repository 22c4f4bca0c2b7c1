/*
 * rule_state.c: replace_rule(), enable_rule(), disable_rule(), drop_rule(): what changes a rule and its live runs together.
 *
 * disable   starts nothing more; runs that fall due are held (wake_at infinity), so no backlog is built and cancelling
 *           events are still found by the gates when the run is asked again
 * enable    held runs are due when they were due: one that is too late by then expires instead of being sent
 * replace   live runs keep the version they started with
 * drop      every live run and every delivery that is not on the wire ends as cancelled, `rule_dropped`. A delivery on the
 *           wire settles as it answers; a run that another transaction is just starting is ended by the worker, which
 *           finds no current version.
 */
#include "postgres.h"

#include "admin/admin_int.h"
#include "catalog/pg_type.h"
#include "deliver/deliver.h"
#include "event/event.h"
#include "rule/rule.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define BATCH 2000

static EmkPlan wake_plan = {
	"UPDATE eventmkt_data.pending_trigger SET state = 'waiting', wake_at = due_at WHERE rule_id OPERATOR(pg_catalog.=) $1 "
	"AND wake_at OPERATOR(pg_catalog.=) 'infinity'", 1, {INT4OID}
};
static EmkPlan drop_plan = {
	"UPDATE eventmkt_data.rule SET current = false WHERE rule_id OPERATOR(pg_catalog.=) $1 AND current", 1, {INT4OID}
};
static EmkPlan drop_runs_plan = {
	"DELETE FROM eventmkt_data.pending_trigger WHERE rule_id OPERATOR(pg_catalog.=) $1 "
	"RETURNING run_id, rule_version, profile_id, key, event_id, started_at, due_at, NULL::pg_catalog.uuid", 1, {INT4OID}
};
static EmkPlan drop_deliveries_plan = {
	"UPDATE eventmkt_data.delivery SET status = 'cancelled', settled_at = $2, last_error = 'rule_dropped' "
	"WHERE rule_id OPERATOR(pg_catalog.=) $1 AND waiting "
	"RETURNING run_id, rule_version, profile_id, key, event_id, started_at, due_at, id", 2, {INT4OID, TIMESTAMPTZOID}
};

static void
wake_runs(int32 rule_id)
{
	Datum		arg = Int32GetDatum(rule_id);

	emk_spi_run(&wake_plan, &arg, NULL, false, 0);
	emk_wake_at_commit();
}

static char *
rule_name_arg(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the name of the rule must not be null"),
				 errhint("The rules are listed in the view eventmkt_bi.rules.")));
	return text_to_cstring(PG_GETARG_TEXT_PP(0));
}

static void
set_enabled(FunctionCallInfo fcinfo, bool enable)
{
	char	   *name = rule_name_arg(fcinfo);
	EmkOwner	owner;
	int32		rule_id;
	bool		was_enabled;

	emk_owner_enter(&owner);
	SPI_connect();
	rule_id = emk_rule_find(name, NULL, &was_enabled);
	if (was_enabled != enable)
	{
		emk_rule_set_enabled(rule_id, enable, enable ? NULL : "disable_rule()");
		if (enable)
			wake_runs(rule_id);
	}
	SPI_finish();
	emk_owner_leave(&owner);
}

static TimestampTz
time_column(uint64 row, int col)
{
	bool		isnull;
	Datum		d = emk_spi_datum(row, col, &isnull);

	return isnull ? 0 : DatumGetTimestampTz(d);
}

/* One `rule_dropped` decision for each row that the statement returns; their number. */
static int64
end_rows(EmkPlan *plan, Datum *args, int32 rule_id, const char *name, TimestampTz now)
{
	Portal		portal = SPI_cursor_open(NULL, emk_spi_plan(plan), args, NULL, false);
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "eventmkt dropped runs", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);
	int64		total = 0;

	for (;;)
	{
		EmkDecision *d;
		const pg_uuid_t **ids;
		int			nids;
		uint64		n;

		SPI_cursor_fetch(portal, true, BATCH);
		n = SPI_processed;
		if (n == 0)
			break;
		d = palloc0(sizeof(EmkDecision) * n);
		ids = palloc(sizeof(pg_uuid_t *) * n);
		nids = 0;
		for (uint64 i = 0; i < n; i++)
		{
			bool		isnull;
			Datum		id = emk_spi_datum(i, 8, &isnull);

			d[i].run_id = emk_spi_int8(i, 1, 0);
			d[i].rule_id = rule_id;
			d[i].rule = name;
			d[i].rule_version = emk_spi_int4(i, 2, 0);
			d[i].profile_id = emk_spi_text(i, 3);
			d[i].key = emk_spi_text(i, 4);
			d[i].outcome = "cancelled";
			d[i].reason = "rule_dropped";
			if (!isnull)
			{
				pg_uuid_t  *copy = palloc(sizeof(pg_uuid_t));

				*copy = *DatumGetUUIDP(id);
				d[i].delivery_id = ids[nids++] = copy;
			}
			d[i].event_id = emk_spi_int8(i, 5, 0);
			d[i].started_at = time_column(i, 6);
			d[i].due_at = time_column(i, 7);
		}
		SPI_freetuptable(SPI_tuptable);
		emk_event_decide(d, n, now);
		if (emk_lane_advance(ids, nids, now) > 0)
			emk_wake_at_commit();
		total += n;
		MemoryContextReset(scratch);
	}
	SPI_cursor_close(portal);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
	return total;
}

PG_FUNCTION_INFO_V1(emk_admin_replace_rule);
/* eventmkt.replace_rule(…) → int: makes the next version of a rule; its id */
Datum
emk_admin_replace_rule(PG_FUNCTION_ARGS)
{
	bool		newly_enabled;
	int32		rule_id = emk_rule_define(fcinfo, true, &newly_enabled);

	if (newly_enabled)
	{
		EmkOwner	owner;

		emk_owner_enter(&owner);
		SPI_connect();
		wake_runs(rule_id);
		SPI_finish();
		emk_owner_leave(&owner);
	}
	PG_RETURN_INT32(rule_id);
}

PG_FUNCTION_INFO_V1(emk_admin_enable_rule);
/* eventmkt.enable_rule(name) */
Datum
emk_admin_enable_rule(PG_FUNCTION_ARGS)
{
	set_enabled(fcinfo, true);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(emk_admin_disable_rule);
/* eventmkt.disable_rule(name) */
Datum
emk_admin_disable_rule(PG_FUNCTION_ARGS)
{
	set_enabled(fcinfo, false);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(emk_admin_drop_rule);
/* eventmkt.drop_rule(name) → bigint: how many live runs and waiting deliveries were cancelled */
Datum
emk_admin_drop_rule(PG_FUNCTION_ARGS)
{
	char	   *name = rule_name_arg(fcinfo);
	TimestampTz now = emk_clock_now();
	EmkOwner	owner;
	int32		rule_id;
	Datum		args[2];
	int64		ended;

	emk_owner_enter(&owner);
	SPI_connect();
	rule_id = emk_rule_find(name, NULL, NULL);
	args[0] = Int32GetDatum(rule_id);
	args[1] = TimestampTzGetDatum(now);
	emk_spi_run(&drop_plan, args, NULL, false, 0);
	emk_rule_sync(rule_id);
	ended = end_rows(&drop_runs_plan, args, rule_id, name, now);
	ended += end_rows(&drop_deliveries_plan, args, rule_id, name, now);
	SPI_finish();
	emk_owner_leave(&owner);
	PG_RETURN_INT64(ended);
}

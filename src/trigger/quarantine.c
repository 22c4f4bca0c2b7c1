/*
 * quarantine.c: a poison event or run must not stop the others (A34). The loop narrows a failing batch down to one row; that
 * row is set aside here, with a decision that carries the error.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "trigger/trigger_int.h"
#include "utils/builtins.h"

#define HOLD_ONCE (10 * 60 * USECS_PER_SEC)

static EmkPlan work_plan = {
	"WITH t AS (DELETE FROM eventmkt_data.work WHERE ctid OPERATOR(pg_catalog.=) (SELECT ctid FROM eventmkt_data.work "
	"WHERE node OPERATOR(pg_catalog.=) $1 AND ($3 OPERATOR(pg_catalog.=) 1 OR "
	"(pg_catalog.hashtext(profile_id) OPERATOR(pg_catalog.&) 65535) OPERATOR(pg_catalog.%) $3 OPERATOR(pg_catalog.=) $2) "
	"LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING event_id, profile_id, occurred_at, rules) "
	"SELECT r.rule_id, r.name, r.version, t.profile_id, t.event_id, t.occurred_at FROM t "
	"JOIN eventmkt_data.rule r ON r.rule_id OPERATOR(pg_catalog.=) ANY (t.rules) AND r.current",
	3, {INT2OID, INT4OID, INT4OID}
};
static EmkPlan due_plan = {
	"SELECT p.state, p.run_id, p.rule_id, COALESCE(r.name, 'unknown'), p.rule_version, p.profile_id, p.key, p.event_id, "
	"p.started_at, p.due_at, p.ctid FROM eventmkt_data.pending_trigger p LEFT JOIN eventmkt_data.rule r "
	"ON r.rule_id OPERATOR(pg_catalog.=) p.rule_id AND r.version OPERATOR(pg_catalog.=) p.rule_version "
	"WHERE p.wake_at OPERATOR(pg_catalog.<=) $1 AND p.node OPERATOR(pg_catalog.=) $2 "
	"ORDER BY p.wake_at LIMIT 1 FOR UPDATE OF p SKIP LOCKED",
	2, {TIMESTAMPTZOID, INT2OID}
};
static EmkPlan hold_plan = {
	"UPDATE eventmkt_data.pending_trigger SET state = 'held', wake_at = $2 WHERE ctid OPERATOR(pg_catalog.=) $1",
	2, {TIDOID, TIMESTAMPTZOID}
};
static EmkPlan end_plan = {
	"DELETE FROM eventmkt_data.pending_trigger WHERE ctid OPERATOR(pg_catalog.=) $1", 1, {TIDOID}
};

void
emk_trigger_quarantine_work(const char *error, int slot, int slots, TimestampTz now)
{
	Datum		args[3] = {Int16GetDatum(emk_setting_node()), Int32GetDatum(slot), Int32GetDatum(slots)};
	int			n = (int) emk_spi_run(&work_plan, args, NULL, false, 0);
	EmkDecision *d = palloc0(sizeof(EmkDecision) * Max(n, 1));

	for (int i = 0; i < n; i++)
	{
		bool		isnull;

		d[i].rule_id = emk_spi_int4(i, 1, 0);
		d[i].rule = emk_spi_text(i, 2);
		d[i].rule_version = emk_spi_int4(i, 3, 0);
		d[i].profile_id = emk_spi_text(i, 4);
		d[i].event_id = emk_spi_int8(i, 5, 0);
		d[i].started_at = DatumGetTimestampTz(emk_spi_datum(i, 6, &isnull));
		d[i].outcome = "suppressed";
		d[i].reason = "error";
		d[i].facts = emk_trigger_error_facts(error);
	}
	emk_event_decide(d, n, now);
	emk_base_invalidate_table("rule_event");	/* an inactivity run that this row was to begin is not there */
}

void
emk_trigger_quarantine_due(const char *error, TimestampTz now)
{
	Datum		args[2] = {TimestampTzGetDatum(now), Int16GetDatum(emk_setting_node())};
	EmkDecision d;
	Datum		where[2];
	bool		isnull;
	bool		held;

	if (emk_spi_run(&due_plan, args, NULL, false, 1) == 0)
		return;
	memset(&d, 0, sizeof(d));
	held = strcmp(emk_spi_text(0, 1), "held") == 0;
	d.run_id = emk_spi_int8(0, 2, 0);
	d.rule_id = emk_spi_int4(0, 3, 0);
	d.rule = emk_spi_text(0, 4);
	d.rule_version = emk_spi_int4(0, 5, 0);
	d.profile_id = emk_spi_text(0, 6);
	d.key = emk_spi_text(0, 7);
	d.event_id = emk_spi_int8(0, 8, 0);
	d.started_at = DatumGetTimestampTz(emk_spi_datum(0, 9, &isnull));
	d.due_at = DatumGetTimestampTz(emk_spi_datum(0, 10, &isnull));
	d.outcome = held ? "suppressed" : "held";
	d.reason = "error";
	d.facts = emk_trigger_error_facts(error);
	where[0] = emk_spi_datum(0, 11, &isnull);
	where[1] = TimestampTzGetDatum(now + HOLD_ONCE);
	emk_spi_run(held ? &end_plan : &hold_plan, where, NULL, false, 0);
	emk_event_decide(&d, 1, now);
}

/*
 * cancel.c: what a cancelling event does. It ends the live runs it concerns and the deliveries that wait for another try; it
 * changes nothing about a delivered one but leaves a `late_cancel` for measurement. An event that arrives before the run it
 * cancels is found by the gate when the run falls due.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "trigger/trigger_int.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* one row a delivery: cancelled when it waits, marked when it was delivered */
static EmkPlan late_plan = {
	"UPDATE eventmkt_data.delivery d SET late_cancel = d.status OPERATOR(pg_catalog.=) 'delivered', "
	"status = CASE WHEN d.status OPERATOR(pg_catalog.=) 'delivered' THEN d.status ELSE 'cancelled' END, "
	"settled_at = COALESCE(d.settled_at, $6) "
	"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), "
	"pg_catalog.unnest($5)) AS u (u_profile, u_rule, u_key, u_at, u_event) "
	"WHERE d.profile_id OPERATOR(pg_catalog.=) u.u_profile AND d.rule_id OPERATOR(pg_catalog.=) u.u_rule "
	"AND (u.u_key IS NULL OR d.key OPERATOR(pg_catalog.=) u.u_key) "
	"AND d.started_at OPERATOR(pg_catalog.<=) u.u_at AND d.event_id OPERATOR(pg_catalog.<>) u.u_event "
	"AND d.status OPERATOR(pg_catalog.=) ANY ('{queued,retrying,delivered}') AND NOT d.late_cancel "
	"RETURNING d.id, d.run_id, d.rule_id, d.rule, d.rule_version, d.profile_id, d.key, d.event_id, d.started_at, d.due_at, "
	"d.status, u.u_event",
	6, {TEXTARRAYOID, INT4ARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, INT8ARRAYOID, TIMESTAMPTZOID}
};

char *
emk_trigger_cancel_facts(int64 event_id, const char *name, TimestampTz at, bool key_absent)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "{\"event_id\": " INT64_FORMAT ", ", event_id);
	emk_json_append_string(&buf, "event", name);
	appendStringInfo(&buf, ", \"occurred_at\": \"%s\"", timestamptz_to_str(at));
	if (key_absent)
		appendStringInfoString(&buf, ", \"key\": \"absent\"");
	appendStringInfoChar(&buf, '}');
	return buf.data;
}

/* A condition that fails here says nothing: the gate asks it again before anything is sent, and then it keeps the message back. */
static bool
cancels(const EmkTake *t, const EmkRule *rule, const EmkItem *item)
{
	char	   *error;
	bool		result = emk_rule_cancels(rule, item->name, item->depth, item->properties, &error);

	if (error != NULL)
		emk_trigger_failed(t, rule, error);
	return result;
}

void
emk_trigger_end_run(EmkTake *t, EmkRun *run, const EmkRule *rule, const EmkItem *item, bool key_absent)
{
	run->gone = true;
	emk_trigger_decide(t->decisions, run, rule, "cancelled", "cancelled_by",
					   emk_trigger_cancel_facts(item->event_id, item->name, item->occurred_at, key_absent));
	emk_trigger_place_rest(t, rule, run, emk_clock_add(item->occurred_at, &rule->look_back));
}

void
emk_trigger_cancel(EmkTake *t, const EmkRule *current, const EmkItem *item)
{
	EmkRun	   *next;

	for (EmkRun *r = emk_trigger_walk(t, item->profile_id, current->rule_id, NULL); r != NULL; r = next)
	{
		const EmkRule *rule = r->rule_version == current->version ? current : emk_rule_get(r->rule_id, r->rule_version);
		char	   *key;

		next = emk_trigger_walk(t, item->profile_id, current->rule_id, r);
		if (rule == NULL || r->gone || r->event_id == item->event_id || !cancels(t, rule, item) ||
			item->occurred_at < emk_clock_subtract(r->started_at, &rule->look_back))
			continue;
		key = emk_rule_key(rule, item->properties);
		if (key == NULL || strcmp(key, r->key) == 0)
			emk_trigger_end_run(t, r, rule, item, key == NULL);
	}
}

/* For all cancelling events of the batch at once: deliveries that wait are cancelled, delivered ones marked. */
void
emk_trigger_late_cancels(EmkTake *t, const EmkItem *items, int n)
{
	Datum	   *v[5];
	bool	   *no_key;
	Datum		args[6];
	int			room = 0;
	int			k = 0;

	for (int i = 0; i < n; i++)
		room += items[i].nrules;
	for (int c = 0; c < 5; c++)
		v[c] = palloc(sizeof(Datum) * Max(room, 1));
	no_key = palloc(sizeof(bool) * Max(room, 1));
	for (int i = 0; i < n; i++)
		for (int r = 0; r < items[i].nrules && items[i].name != NULL; r++)
		{
			const EmkRule *rule = emk_rule_current(items[i].rules[r]);
			char	   *key;

			if (rule == NULL || rule->lapse || !cancels(t, rule, &items[i]))
				continue;
			key = emk_rule_key(rule, items[i].properties);
			v[0][k] = CStringGetTextDatum(items[i].profile_id);
			v[1][k] = Int32GetDatum(rule->rule_id);
			no_key[k] = key == NULL;
			v[2][k] = key ? CStringGetTextDatum(key) : (Datum) 0;
			v[3][k] = TimestampTzGetDatum(emk_clock_add(items[i].occurred_at, &rule->look_back));
			v[4][k++] = Int64GetDatum(items[i].event_id);
		}
	if (k == 0)
		return;
	args[0] = emk_spi_array(v[0], NULL, k, TEXTOID);
	args[1] = emk_spi_array(v[1], NULL, k, INT4OID);
	args[2] = emk_spi_array(v[2], no_key, k, TEXTOID);
	args[3] = emk_spi_array(v[3], NULL, k, TIMESTAMPTZOID);
	args[4] = emk_spi_array(v[4], NULL, k, INT8OID);
	args[5] = TimestampTzGetDatum(t->now);
	emk_spi_run(&late_plan, args, NULL, false, 0);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		EmkRun		run;
		EmkRule		rule;
		EmkDecision *d;
		pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));
		bool		isnull;
		bool		delivered = strcmp(emk_spi_text(row, 11), "delivered") == 0;

		memset(&run, 0, sizeof(run));
		memset(&rule, 0, sizeof(rule));
		*id = *DatumGetUUIDP(emk_spi_datum(row, 1, &isnull));
		run.run_id = emk_spi_int8(row, 2, 0);
		rule.rule_id = emk_spi_int4(row, 3, 0);
		rule.name = emk_spi_text(row, 4);
		rule.version = emk_spi_int4(row, 5, 0);
		run.profile_id = emk_spi_text(row, 6);
		run.key = emk_spi_text(row, 7);
		run.event_id = emk_spi_int8(row, 8, 0);
		run.started_at = DatumGetTimestampTz(emk_spi_datum(row, 9, &isnull));
		run.due_at = DatumGetTimestampTz(emk_spi_datum(row, 10, &isnull));
		d = emk_trigger_decide(t->decisions, &run, &rule, delivered ? "late_cancel" : "cancelled", "cancelled_by",
							   psprintf("{\"event_id\": " INT64_FORMAT "}", emk_spi_int8(row, 12, 0)));
		d->delivery_id = id;
	}
}

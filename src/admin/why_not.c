/*
 * why_not.c: eventmkt.why_not(user_id, rule): why has this person not got that message?
 *
 * Everything on the way is looked at in the order of the way: rule, endpoint, profile, worker, starting events (condition,
 * key, count, cancelling events), audience, re-entry, live runs, open deliveries, decisions. Each finding is a row and has
 * a weight; the weightiest is repeated as the first row, `answer`. Reads only, and as the owner.
 *
 * The weights: what stops everything now > what is under way > the newest thing that was decided or refused > the rest.
 */
#include "postgres.h"

#include "admin/explain.h"
#include "admin/why_not.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "profile/profile.h"
#include "segment/segment.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/timestamp.h"
#include "worker/worker.h"

static EmkPlan rule_plan = {
	"SELECT rule_id, version, current, enabled, disabled_reason, (SELECT pg_catalog.min(f.created_at) "
	"FROM eventmkt_data.rule f WHERE f.rule_id OPERATOR(pg_catalog.=) r.rule_id), created_at FROM eventmkt_data.rule r "
	"WHERE name OPERATOR(pg_catalog.=) $1 ORDER BY current DESC, rule_id DESC, version DESC LIMIT 1", 1, {TEXTOID}
};
static EmkPlan endpoint_plan = {
	"SELECT e.name, e.enabled, e.disabled_reason, EXISTS (SELECT FROM eventmkt.secret k "
	"WHERE k.endpoint OPERATOR(pg_catalog.=) e.name), s.open_until, s.last_error FROM eventmkt_data.endpoint e "
	"LEFT JOIN eventmkt_data.endpoint_state s ON s.endpoint_id OPERATOR(pg_catalog.=) e.endpoint_id "
	"WHERE e.endpoint_id OPERATOR(pg_catalog.=) $1", 1, {INT4OID}
};
static EmkPlan known_plan = {
	"SELECT EXISTS (SELECT FROM eventmkt_data.profile WHERE profile_id OPERATOR(pg_catalog.=) ANY ($1)) "
	"OR EXISTS (SELECT FROM eventmkt_data.event WHERE profile_id OPERATOR(pg_catalog.=) ANY ($1))", 1, {TEXTARRAYOID}
};
static EmkPlan runs_plan = {
	"SELECT state, key, event_id, due_at, wake_at, rule_version FROM eventmkt_data.pending_trigger "
	"WHERE profile_id OPERATOR(pg_catalog.=) ANY ($1) AND rule_id OPERATOR(pg_catalog.=) $2 ORDER BY due_at LIMIT 20", 2,
	{TEXTARRAYOID, INT4OID}
};
static EmkPlan deliveries_plan = {
	"SELECT status, key, event_id, next_attempt_at, attempts, last_status, last_error, id::pg_catalog.text "
	"FROM eventmkt_data.delivery WHERE profile_id OPERATOR(pg_catalog.=) ANY ($1) AND rule_id OPERATOR(pg_catalog.=) $2 "
	"AND status OPERATOR(pg_catalog.=) ANY ('{queued,in_flight,retrying}') ORDER BY created_at LIMIT 20", 2,
	{TEXTARRAYOID, INT4OID}
};
static EmkPlan decisions_plan = {
	"SELECT outcome, reason, event_id, decided_at, key, facts, rule_version FROM eventmkt_data.decision "
	"WHERE profile_id OPERATOR(pg_catalog.=) ANY ($1) AND rule_id OPERATOR(pg_catalog.=) $2 "
	"ORDER BY decided_at DESC, decision_id DESC LIMIT 10", 2, {TEXTARRAYOID, INT4OID}
};
static EmkPlan work_plan = {
	"SELECT event_id FROM eventmkt_data.work WHERE profile_id OPERATOR(pg_catalog.=) ANY ($1) "
	"AND $2 OPERATOR(pg_catalog.=) ANY (rules) ORDER BY event_id LIMIT 5", 2, {TEXTARRAYOID, INT4OID}
};
static EmkPlan delivered_plan = {
	"SELECT pg_catalog.max(settled_at) FROM eventmkt_data.delivery WHERE profile_id OPERATOR(pg_catalog.=) ANY ($1) "
	"AND rule_id OPERATOR(pg_catalog.=) $2 AND key OPERATOR(pg_catalog.=) $3 AND status OPERATOR(pg_catalog.=) 'delivered'",
	3, {TEXTARRAYOID, INT4OID, TEXTOID}
};

static char *
time_text(TimestampTz t)
{
	return DatumGetCString(DirectFunctionCall1(timestamptz_out, TimestampTzGetDatum(t)));
}

static TimestampTz
time_column(uint64 row, int col)
{
	bool		isnull;
	Datum		d = emk_spi_datum(row, col, &isnull);

	return isnull ? 0 : DatumGetTimestampTz(d);
}

void
emk_why_time(StringInfo json, const char *key, TimestampTz t)
{
	char		buf[MAXDATELEN + 1];

	if (TIMESTAMP_NOT_FINITE(t))
		emk_json_append_string(json, key, t > 0 ? "infinity" : "-infinity");
	else
		emk_json_append_string(json, key, JsonEncodeDateTime(buf, TimestampTzGetDatum(t), TIMESTAMPTZOID, NULL));
}

void
emk_why_add(EmkWhy *why, int weight, const char *step, const char *outcome, const char *reason, int64 event_id,
			const char *detail)
{
	EmkWhyRow  *row = palloc(sizeof(EmkWhyRow));

	row->weight = weight;
	row->step = step;
	row->outcome = outcome;
	row->reason = reason;
	row->event_id = event_id;
	row->detail = detail;
	why->rows = lappend(why->rows, row);
}

/* Finds the rule by name; a dropped one too, because its decisions are still there. */
static void
look_at_rule(EmkWhy *why, const char *name)
{
	Datum		arg = CStringGetTextDatum(name);
	bool		current;
	bool		enabled;
	char	   *reason;
	StringInfoData json;

	if (emk_spi_run(&rule_plan, &arg, NULL, true, 1) == 0)
		emk_rule_unknown(name);
	why->rule_id = emk_spi_int4(0, 1, 0);
	current = emk_spi_bool(0, 3, false);
	enabled = emk_spi_bool(0, 4, false);
	reason = emk_spi_text(0, 5);
	why->made_at = time_column(0, 6);
	why->changed_at = time_column(0, 7);
	why->rule = emk_rule_get(why->rule_id, emk_spi_int4(0, 2, 0));
	initStringInfo(&json);
	appendStringInfo(&json, "{\"rule_id\": %d, \"version\": %d, ", why->rule_id, why->rule->version);
	emk_json_append_string(&json, "on_event", why->rule->on_event);
	appendStringInfoChar(&json, '}');
	if (!current)
		emk_why_add(why, 100, "rule", "dropped", "the rule was dropped", 0, json.data);
	else if (!enabled)
		emk_why_add(why, 95, "rule", "disabled",
					psprintf("the rule is disabled%s%s", reason ? ": " : "", reason ? reason : ""), 0, json.data);
	else
		emk_why_add(why, 0, "rule", "enabled", NULL, 0, json.data);
}

/* What stops the workers stops every message; that none runs matters only when there is something to do now. */
static void
look_at_worker(EmkWhy *why)
{
	const char *paused = emk_worker_paused();
	EmkWorkerState state;

	if (paused != NULL)
	{
		emk_why_add(why, 98, "worker", "paused", psprintf("the workers of this database do nothing: %s", paused), 0, NULL);
		return;
	}
	if (why->ready == 0)
		return;
	emk_worker_state(&state);
	if (state.n == 0)
		emk_why_add(why, 93, "worker", "not running",
					"no worker runs in this database: see eventmkt.start_worker() and eventmkt.health()", 0, NULL);
}

static void
look_at_endpoint(EmkWhy *why)
{
	Datum		arg = Int32GetDatum(why->rule->endpoint_id);
	char	   *name;
	char	   *reason;
	TimestampTz open_until;

	if (why->rule->endpoint_id == 0)
	{
		emk_why_add(why, 5, "endpoint", "none", "the rule only records: send_to is 'none'", 0, NULL);
		return;
	}
	if (emk_spi_run(&endpoint_plan, &arg, NULL, true, 1) == 0)
	{
		emk_why_add(why, 94, "endpoint", "dropped", "the endpoint of the rule does not exist any more", 0, NULL);
		return;
	}
	name = emk_spi_text(0, 1);
	reason = emk_spi_text(0, 3);
	open_until = time_column(0, 5);
	if (!emk_spi_bool(0, 2, true))
		emk_why_add(why, 94, "endpoint", "disabled",
					psprintf("endpoint \"%s\" is disabled%s%s", name, reason ? ": " : "", reason ? reason : ""), 0, NULL);
	else if (!emk_spi_bool(0, 4, true))
		emk_why_add(why, 94, "endpoint", "no secret",
					psprintf("endpoint \"%s\" has no secret: run eventmkt.set_secret()", name), 0, NULL);
	else if (open_until > why->now)
		emk_why_add(why, 91, "endpoint", "failing",
					psprintf("endpoint \"%s\" fails and is tried again at %s", name, time_text(open_until)), 0, NULL);
	else
		emk_why_add(why, 0, "endpoint", "ok", psprintf("endpoint \"%s\"", name), 0, NULL);
}

/* Is anything stored of one of these ids? */
static bool
is_known(Datum ids)
{
	emk_spi_run(&known_plan, &ids, NULL, true, 0);
	return emk_spi_bool(0, 1, false);
}

static void
look_at_profile(EmkWhy *why, const char *user_id)
{
	EmkIds		ids;
	Datum	   *datums;
	StringInfoData json;
	bool		alias;

	why->profile_id = pstrdup(emk_profile_resolve(user_id));
	emk_profile_ids(&why->profile_id, 1, &ids);
	datums = palloc(sizeof(Datum) * ids.n);
	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	emk_json_append_string(&json, "profile_id", why->profile_id);
	appendStringInfo(&json, ", \"ids\": %d}", ids.n);
	for (int i = 0; i < ids.n; i++)
		datums[i] = CStringGetTextDatum(ids.ids[i]);
	why->ids = emk_spi_array(datums, NULL, ids.n, TEXTOID);
	why->traits = emk_profile_traits(why->profile_id);
	alias = strcmp(user_id, why->profile_id) != 0;
	if (emk_profile_is_erased(user_id))
		emk_why_add(why, 97, "profile", "erased",
					"this person was erased: nothing is stored of them, see eventmkt.unerase()", 0, json.data);
	else if (!alias && ids.n == 1 && !is_known(why->ids))
		emk_why_add(why, 77, "profile", "unknown", "nothing is stored of this id: no event, no trait, no alias", 0, json.data);
	else
		emk_why_add(why, 0, "profile", alias ? "alias" : "found", NULL, 0, json.data);
}

static void
look_at_audience(EmkWhy *why)
{
	EmkTermResult *terms;
	int			n;

	if (why->rule->where_profile == NULL)
		return;
	if (emk_admin_explain(why->rule->where_profile, why->traits, &terms, &n))
		emk_why_add(why, 0, "audience", "in", NULL, 0, emk_why_terms(terms, n));
	else
		emk_why_add(why, why->newest_matches ? 78 : 60, "audience", "out", emk_admin_explain_reason(terms, n), 0,
					emk_why_terms(terms, n));
}

static void
look_at_segment(EmkWhy *why)
{
	char	   *facts;

	if (why->rule->where_segment == 0)
		return;
	if (emk_segment_has(why->rule->where_segment, why->profile_id, why->now, &facts))
		emk_why_add(why, 0, "segment", "in", NULL, 0, facts);
	else
		emk_why_add(why, why->newest_matches ? 77 : 59, "segment", "out",
					psprintf("the profile is not in segment \"%s\"", emk_segment_name(why->rule->where_segment)), 0, facts);
}

static void
look_at_reentry(EmkWhy *why)
{
	Datum		args[3] = {why->ids, Int32GetDatum(why->rule_id), CStringGetTextDatum(why->newest_key)};
	TimestampTz last;
	TimestampTz until;

	if (why->rule->reentry == NULL)
		return;
	emk_spi_run(&delivered_plan, args, NULL, true, 0);
	last = time_column(0, 1);
	if (last == 0)
		return;
	until = emk_clock_add(last, why->rule->reentry);
	if (until > why->now)
		emk_why_add(why, 40, "reentry", "too soon",
					psprintf("delivered at %s, not again before %s", time_text(last), time_text(until)), 0, NULL);
}

static void
look_at_runs(EmkWhy *why)
{
	Datum		args[2] = {why->ids, Int32GetDatum(why->rule_id)};
	uint64		n = emk_spi_run(&runs_plan, args, NULL, true, 0);

	for (uint64 i = 0; i < n; i++)
	{
		StringInfoData json;
		TimestampTz due = time_column(i, 4);
		TimestampTz wake = time_column(i, 5);
		char	   *state = emk_spi_text(i, 1);
		char	   *reason;

		initStringInfo(&json);
		appendStringInfo(&json, "{\"version\": %d, ", emk_spi_int4(i, 6, 0));
		emk_json_append_string(&json, "key", emk_spi_text(i, 2));
		appendStringInfoString(&json, ", ");
		emk_why_time(&json, "due_at", due);
		appendStringInfoString(&json, ", ");
		emk_why_time(&json, "wake_at", wake);
		appendStringInfoChar(&json, '}');
		if (TIMESTAMP_NOT_FINITE(wake))
			reason = "held until the rule is enabled";
		else if (wake > why->now)
			reason = psprintf("due at %s", time_text(due));
		else
			reason = "due now: the worker has not taken it yet";
		emk_why_add(why, 85, "run", state, reason, emk_spi_int8(i, 3, 0), json.data);
		why->open++;
		why->ready += wake <= why->now;
	}
}

/* The try that is on the wire is counted already; the error is that of the one before. */
static char *
tries_text(int attempts, bool in_flight, const char *error)
{
	const char *last = error ? ", last error: " : "";

	if (in_flight)
		return psprintf("try %d is under way%s%s", attempts, last, error ? error : "");
	if (attempts == 0)
		return "not tried yet";
	return psprintf("tried %s%s%s", attempts == 1 ? "once" : psprintf("%d times", attempts), last, error ? error : "");
}

static void
look_at_deliveries(EmkWhy *why)
{
	Datum		args[2] = {why->ids, Int32GetDatum(why->rule_id)};
	uint64		n = emk_spi_run(&deliveries_plan, args, NULL, true, 0);

	for (uint64 i = 0; i < n; i++)
	{
		StringInfoData json;
		char	   *status = emk_spi_text(i, 1);
		char	   *error = emk_spi_text(i, 7);
		int			attempts = emk_spi_int4(i, 5, 0);

		initStringInfo(&json);
		appendStringInfo(&json, "{\"attempts\": %d, ", attempts);
		emk_json_append_string(&json, "delivery_id", emk_spi_text(i, 8));
		appendStringInfoString(&json, ", ");
		emk_json_append_string(&json, "key", emk_spi_text(i, 2));
		appendStringInfoString(&json, ", ");
		emk_why_time(&json, "next_attempt_at", time_column(i, 4));
		appendStringInfoChar(&json, '}');
		emk_why_add(why, 90, "delivery", status, tries_text(attempts, strcmp(status, "in_flight") == 0, error), emk_spi_int8(i, 3, 0),
					json.data);
		why->open++;
		why->ready += time_column(i, 4) <= why->now;
	}
}

static void
look_at_decisions(EmkWhy *why)
{
	Datum		args[2] = {why->ids, Int32GetDatum(why->rule_id)};
	uint64		n = emk_spi_run(&decisions_plan, args, NULL, true, 0);
	uint64		newest = 0;

	/* what came after the message was delivered is measured, but it is not what became of the message */
	for (uint64 i = n; i-- > 0;)
		if (strcmp(emk_spi_text(i, 1), "late_cancel") != 0)
			newest = i;
	for (uint64 i = 0; i < n; i++)
	{
		StringInfoData json;
		bool		isnull;
		Datum		facts = emk_spi_datum(i, 6, &isnull);

		initStringInfo(&json);
		appendStringInfo(&json, "{\"version\": %d, ", emk_spi_int4(i, 7, 0));
		emk_json_append_string(&json, "key", emk_spi_text(i, 5));
		appendStringInfoString(&json, ", ");
		emk_why_time(&json, "decided_at", time_column(i, 4));
		appendStringInfoString(&json, ", ");
		emk_json_append_jsonb(&json, "facts", isnull ? NULL : DatumGetJsonbP(facts));
		appendStringInfoChar(&json, '}');
		emk_why_add(why, i == newest ? 80 : 20, "decision", emk_spi_text(i, 1), emk_spi_text(i, 2), emk_spi_int8(i, 3, 0),
					json.data);
		if (i == newest)
			why->decided_at = time_column(i, 4);
	}
}

static void
look_at_work(EmkWhy *why)
{
	Datum		args[2] = {why->ids, Int32GetDatum(why->rule_id)};
	uint64		n = emk_spi_run(&work_plan, args, NULL, true, 0);

	for (uint64 i = 0; i < n; i++)
		emk_why_add(why, 84, "work", "waiting", "the worker has not looked at this event yet", emk_spi_int8(i, 1, 0), NULL);
	why->open += n;
	why->ready += n;
}

static void
emit(EmkWhy *why, ReturnSetInfo *rsinfo)
{
	EmkWhyRow  *answer = NULL;
	EmkWhyRow	copy;
	ListCell   *lc;

	foreach(lc, why->rows)
	{
		EmkWhyRow  *row = lfirst(lc);

		if (row->weight > 0 && (answer == NULL || row->weight > answer->weight))
			answer = row;
	}
	if (answer != NULL)
	{
		copy = *answer;
		copy.reason = psprintf("%s%s%s", copy.step, copy.reason ? ": " : "", copy.reason ? copy.reason : "");
		copy.step = "answer";
		copy.detail = NULL;
		why->rows = lcons(&copy, why->rows);
	}
	foreach(lc, why->rows)
	{
		EmkWhyRow  *row = lfirst(lc);
		Datum		values[5];
		bool		nulls[5] = {false, row->outcome == NULL, row->reason == NULL, row->event_id == 0, row->detail == NULL};

		values[0] = CStringGetTextDatum(row->step);
		values[1] = row->outcome ? CStringGetTextDatum(row->outcome) : 0;
		values[2] = row->reason ? CStringGetTextDatum(row->reason) : 0;
		values[3] = Int64GetDatum(row->event_id);
		values[4] = row->detail ? JsonbPGetDatum(emk_json_parse(row->detail)) : 0;
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

PG_FUNCTION_INFO_V1(emk_admin_why_not);
/* eventmkt.why_not(user_id, rule): see the top of the file */
Datum
emk_admin_why_not(PG_FUNCTION_ARGS)
{
	EmkWhy		why = {0};
	EmkOwner	owner;
	char	   *user_id;
	char	   *name;

	for (int i = 0; i < 2; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s must not be null", i == 0 ? "user_id" : "rule"),
					 errhint("Say of whom and of which rule, for example why_not('42', 'welcome').")));
	user_id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	InitMaterializedSRF(fcinfo, 0);
	emk_owner_enter(&owner);
	SPI_connect();
	why.now = emk_clock_now();
	look_at_rule(&why, name);
	look_at_endpoint(&why);
	look_at_profile(&why, user_id);
	look_at_deliveries(&why);
	look_at_runs(&why);
	look_at_work(&why);
	look_at_worker(&why);
	look_at_decisions(&why);
	emk_why_look_at_events(&why);
	look_at_audience(&why);
	look_at_segment(&why);
	look_at_reentry(&why);
	emit(&why, (ReturnSetInfo *) fcinfo->resultinfo);
	SPI_finish();
	emk_owner_leave(&owner);
	return (Datum) 0;
}

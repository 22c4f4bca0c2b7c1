/*
 * why_events.c: the starting events of one profile for why_not(): each is put to the tests of the rule in their order, and
 * the first test it fails is its outcome.
 *
 *   conflict → condition → key → made before the rule → count → cancelled by a later (or looked-back) event → match
 */
#include "postgres.h"

#include "admin/why_not.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/timestamp.h"

#define EVENTS_SHOWN	5
#define EVENTS_COUNTED	10000
#define CANCELS_LOOKED_AT 100

typedef struct Event
{
	int64		event_id;
	char	   *name;
	Jsonb	   *properties;
	TimestampTz occurred_at;
	TimestampTz received_at;
	bool		conflict;
	const char *key;			/* '' without per, NULL when missing */
} Event;

#define EVENT_COLUMNS "SELECT event_id, name, properties, occurred_at, received_at, conflict_of IS NOT NULL " \
	"FROM eventmkt_data.event WHERE profile_id OPERATOR(pg_catalog.=) ANY ($1) "

static EmkPlan newest_plan = {
	EVENT_COLUMNS "AND (name OPERATOR(pg_catalog.=) $2 OR ($2 OPERATOR(pg_catalog.=) '*' AND depth OPERATOR(pg_catalog.=) 0))"
	" ORDER BY occurred_at DESC, event_id DESC LIMIT $3", 3, {TEXTARRAYOID, TEXTOID, INT8OID}
};
static EmkPlan counted_plan = {
	EVENT_COLUMNS "AND (name OPERATOR(pg_catalog.=) $2 OR ($2 OPERATOR(pg_catalog.=) '*' AND depth OPERATOR(pg_catalog.=) 0))"
	" AND occurred_at OPERATOR(pg_catalog.>=) $3 AND occurred_at OPERATOR(pg_catalog.<=) $4 "
	"ORDER BY occurred_at DESC LIMIT $5", 5, {TEXTARRAYOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID}
};
static EmkPlan cancelling_plan = {
	EVENT_COLUMNS "AND (name OPERATOR(pg_catalog.=) ANY ($2) OR ('*' OPERATOR(pg_catalog.=) ANY ($2) "
	"AND depth OPERATOR(pg_catalog.=) 0)) AND occurred_at OPERATOR(pg_catalog.>=) $3 "
	"ORDER BY occurred_at, event_id LIMIT $4", 4, {TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID, INT8OID}
};
static EmkPlan names_plan = {
	"SELECT DISTINCT name FROM (SELECT name FROM eventmkt_data.event WHERE profile_id OPERATOR(pg_catalog.=) ANY ($1) "
	"ORDER BY occurred_at DESC LIMIT 200) e ORDER BY name LIMIT 20", 1, {TEXTARRAYOID}
};

char *
emk_why_terms(const EmkTermResult *terms, int n)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoString(&json, "{\"terms\": [");
	for (int i = 0; i < n; i++)
	{
		appendStringInfo(&json, "%s{", i ? ", " : "");
		emk_json_append_string(&json, "term", terms[i].term);
		appendStringInfo(&json, ", \"holds\": %s", terms[i].holds ? "true" : "false");
		if (terms[i].said)
		{
			appendStringInfoString(&json, ", ");
			emk_json_append_string(&json, "why", terms[i].said);
		}
		appendStringInfoChar(&json, '}');
	}
	appendStringInfoString(&json, "]}");
	return json.data;
}

/* Row `i` of the current result as an event of this rule. */
static void
read_event(const EmkRule *rule, uint64 i, Event *e)
{
	bool		isnull;

	e->event_id = emk_spi_int8(i, 1, 0);
	e->name = emk_spi_text(i, 2);
	e->properties = DatumGetJsonbPCopy(emk_spi_datum(i, 3, &isnull));
	e->occurred_at = DatumGetTimestampTz(emk_spi_datum(i, 4, &isnull));
	e->received_at = DatumGetTimestampTz(emk_spi_datum(i, 5, &isnull));
	e->conflict = emk_spi_bool(i, 6, false);
	e->key = rule->per ? emk_json_scalar(e->properties, rule->per, strlen(rule->per)) : "";
}

/* Does the event satisfy a condition? One that raises does not. */
static bool
holds(JsonPath *path, bool cold, Jsonb *properties)
{
	char	   *error;

	return emk_rule_test(path, cold, properties, &error);
}

static char *
interval_text(const Interval *iv)
{
	return DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(iv)));
}

/* How many matching events of the same key lie in the window that ends with this one? */
static int
count_window(EmkWhy *why, const Event *e)
{
	const EmkRule *rule = why->rule;
	TimestampTz from = rule->within ? emk_clock_subtract(e->occurred_at, rule->within) : DT_NOBEGIN;
	Datum		args[5] = {why->ids, CStringGetTextDatum(rule->on_event), TimestampTzGetDatum(from),
	TimestampTzGetDatum(e->occurred_at), Int64GetDatum(EVENTS_COUNTED)};
	uint64		n = emk_spi_run(&counted_plan, args, NULL, true, 0);
	Event	   *all = palloc(sizeof(Event) * Max(n, 1));
	int			count = 0;

	for (uint64 i = 0; i < n; i++)
		read_event(rule, i, &all[i]);
	for (uint64 i = 0; i < n; i++)
		if (!all[i].conflict && all[i].key && strcmp(all[i].key, e->key) == 0 &&
			holds(rule->where_event, rule->cold_event, all[i].properties))
			count++;
	return count;
}

/* The first event that cancels a run started by `e`; false when there is none. */
static bool
find_cancelling(EmkWhy *why, const Event *e, Event *found)
{
	const EmkRule *rule = why->rule;
	Datum		names[EMK_MAX_UNLESS];
	Datum		args[4] = {why->ids, 0, TimestampTzGetDatum(emk_clock_subtract(e->occurred_at, &rule->look_back)),
	Int64GetDatum(CANCELS_LOOKED_AT)};
	Event	   *all;
	uint64		n;

	if (rule->nunless == 0 || rule->lapse)
		return false;
	for (int i = 0; i < rule->nunless; i++)
		names[i] = CStringGetTextDatum(rule->unless[i]);
	args[1] = emk_spi_array(names, NULL, rule->nunless, TEXTOID);
	n = emk_spi_run(&cancelling_plan, args, NULL, true, 0);
	all = palloc(sizeof(Event) * Max(n, 1));
	for (uint64 i = 0; i < n; i++)
		read_event(rule, i, &all[i]);
	for (uint64 i = 0; i < n; i++)
	{
		bool		restarts = strcmp(all[i].name, rule->on_event) == 0 &&
			holds(rule->where_event, rule->cold_event, all[i].properties);

		if (all[i].event_id == e->event_id || all[i].conflict || restarts ||
			(all[i].key && strcmp(all[i].key, e->key) != 0) ||
			!holds(rule->unless_where, rule->cold_unless, all[i].properties))
			continue;
		*found = all[i];
		return true;
	}
	return false;
}

/* The tests of one starting event; sets outcome and reason, and the terms when the condition was asked. */
static void
judge(EmkWhy *why, const Event *e, const char **outcome, const char **reason, char **terms_json)
{
	const EmkRule *rule = why->rule;
	EmkTermResult *terms;
	int			n;
	bool		matches = emk_admin_explain(rule->where_event, e->properties, &terms, &n);
	Event		other;

	*terms_json = n ? emk_why_terms(terms, n) : NULL;
	*reason = NULL;
	if (e->conflict)
	{
		*outcome = "ignored";
		*reason = "the same message id came before with other content";
		return;
	}
	if (!matches)
	{
		*outcome = "no match";
		*reason = emk_admin_explain_reason(terms, n);
		return;
	}
	if (e->key == NULL)
	{
		*outcome = "no key";
		*reason = psprintf("%s is missing, empty, too long or no plain value, and the rule counts per %s", rule->per, rule->per);
		return;
	}
	if (e->received_at < why->made_at)
	{
		*outcome = "too early";
		*reason = "it came before the rule was made";
		return;
	}
	if (rule->at_least > 1)
	{
		int			count = count_window(why, e);

		if (count != rule->at_least)
		{
			*outcome = "count";
			*reason = psprintf("%d of %d%s%s%s", count, rule->at_least, rule->within ? " in " : "",
							   rule->within ? interval_text(rule->within) : "",
							   count > rule->at_least ? ": the rule fires when the count is reached, not beyond" : "");
			return;
		}
	}
	if (find_cancelling(why, e, &other))
	{
		*outcome = "cancelled";
		*reason = psprintf("%s (event " INT64_FORMAT ")%s cancels it", other.name, other.event_id,
						   other.key == NULL ? psprintf(", which has no %s,", rule->per) : "");
		return;
	}
	*outcome = "match";
}

static void
no_events(EmkWhy *why)
{
	Datum		arg = why->ids;
	uint64		n = emk_spi_run(&names_plan, &arg, NULL, true, 0);
	StringInfoData json;

	if (n == 0)
	{
		emk_why_add(why, 76, "event", "none", "this profile has no events at all", 0, NULL);
		return;
	}
	initStringInfo(&json);
	appendStringInfoString(&json, "{\"names_seen\": [");
	for (uint64 i = 0; i < n; i++)
	{
		if (i > 0)
			appendStringInfoString(&json, ", ");
		escape_json(&json, emk_spi_text(i, 1));
	}
	appendStringInfoString(&json, "]}");
	emk_why_add(why, 75, "event", "none", psprintf("this profile has no event named \"%s\"", why->rule->on_event), 0,
				json.data);
}

/* One row for a starting event; `newest` ones can be the answer. */
static void
report(EmkWhy *why, const Event *e, bool newest)
{
	const char *outcome;
	const char *reason;
	char	   *terms;
	StringInfoData json;
	bool		undecided = e->received_at > why->decided_at;
	int			weight = 10;

	judge(why, e, &outcome, &reason, &terms);
	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	emk_json_append_string(&json, "event", e->name);
	appendStringInfoString(&json, ", ");
	emk_why_time(&json, "occurred_at", e->occurred_at);
	if (why->rule->per)
	{
		appendStringInfoString(&json, ", ");
		emk_json_append_string(&json, "key", e->key);
	}
	if (terms)
		appendStringInfo(&json, ", %s", terms + 1); /* its members; its brace closes ours */
	else
		appendStringInfoChar(&json, '}');
	if (newest)
	{
		why->newest_matches = strcmp(outcome, "match") == 0;
		why->newest_key = e->key ? e->key : "";
		if (!why->newest_matches)
			weight = undecided ? 82 : 30;
		else if (undecided && why->open == 0)
		{
			weight = 77;
			reason = e->received_at < why->changed_at ?
				psprintf("it matches version %d of the rule, which was made after it came", why->rule->version) :
				"it matches, but no run began: the rule was disabled when it came or was looked at, or it came with eventmkt.fire = off";
		}
	}
	emk_why_add(why, weight, "event", outcome, reason, e->event_id, json.data);
}

void
emk_why_look_at_events(EmkWhy *why)
{
	Datum		args[3] = {why->ids, CStringGetTextDatum(why->rule->on_event), Int64GetDatum(EVENTS_SHOWN)};
	uint64		n = emk_spi_run(&newest_plan, args, NULL, true, 0);
	Event		events[EVENTS_SHOWN];

	why->newest_key = "";
	for (uint64 i = 0; i < n; i++)
		read_event(why->rule, i, &events[i]);
	if (n == 0)
		no_events(why);
	for (uint64 i = 0; i < n; i++)
		report(why, &events[i], i == 0);
}

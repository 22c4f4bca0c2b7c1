/*
 * segment_view.c: a definition → the SELECT of its view, which yields canonical profile ids, each once.
 *
 * Shape. `u` are the profiles that can be meant: those with a row, and (where no trait is demanded) those of whom only events
 * are known. Each condition is a correlated sub-select on `u.profile_id` that looks up all ids of the profile and reads
 * their events through the index (profile_id, occurred_at). So `profile_id = …` reaches every index and decides one profile
 * by a handful of probes, and without it each profile is decided the same way.
 *
 * Time. Windows begin at eventmkt.statement_clock() less the interval, counted in UTC (a day is 24 hours), and have no end:
 * an event stamped a little ahead of the clock counts. clock() will not do: it is VOLATILE, and what it is compared with
 * can only be left out while a plan runs, after every partition has been opened. A STABLE function is asked before, so a
 * window of a month opens five partitions of sixty, and every condition of a statement sees the same moment.
 *
 * The text is parsed with search_path pg_catalog, so names of functions and operators need no schema here.
 */
#include "postgres.h"

#include "rule/rule.h"
#include "segment/segment_int.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#define IDS_OF_U "(SELECT u.profile_id AS id UNION ALL SELECT a.alias FROM eventmkt_data.alias a " \
	"WHERE a.profile_id = u.profile_id) i"

static char *
literal_condition(const EmkCondPath *cond, const char *value)
{
	char	   *text = DatumGetCString(DirectFunctionCall1(jsonpath_out, PointerGetDatum(cond->path)));

	return psprintf("jsonb_path_match%s(%s, %s::jsonpath, '{}'::jsonb, true) IS TRUE", cond->cold ? "_tz" : "", value,
					quote_literal_cstr(text));
}

/* ` AND e.occurred_at >= …` for a window */
static void
put_window(StringInfo buf, const Interval *within)
{
	if (within != NULL)
		appendStringInfo(buf, " AND e.occurred_at >= ((eventmkt.statement_clock() AT TIME ZONE 'UTC') - %s::interval) "
						 "AT TIME ZONE 'UTC'",
						 quote_literal_cstr(DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(within)))));
}

/* The events `e` of one name; '*' is any event of the app. */
static void
put_name(StringInfo buf, const char *name)
{
	if (strcmp(name, "*") == 0)
		appendStringInfoString(buf, "e.depth = 0");
	else
		appendStringInfo(buf, "e.name = %s", quote_literal_cstr(name));
	appendStringInfoString(buf, " AND e.conflict_of IS NULL");
}

static void
put_hours(StringInfo buf, const EmkSegmentSpec *spec)
{
	char	   *local = psprintf("(e.occurred_at AT TIME ZONE %s)", quote_literal_cstr(spec->time_zone));
	bool		over_midnight = spec->from_time > spec->to_time;

	if (spec->ndays > 0)
	{
		appendStringInfo(buf, " AND extract(isodow FROM %s) IN (", local);
		for (int i = 0; i < spec->ndays; i++)
			appendStringInfo(buf, "%s%d", i ? ", " : "", spec->days[i]);
		appendStringInfoChar(buf, ')');
	}
	if (spec->has_from || spec->has_to)
		appendStringInfo(buf, " AND (%s::time >= %s::time %s %s::time < %s::time)", local,
						 quote_literal_cstr(DatumGetCString(DirectFunctionCall1(time_out, TimeADTGetDatum(spec->from_time)))),
						 over_midnight ? "OR" : "AND", local,
						 quote_literal_cstr(DatumGetCString(DirectFunctionCall1(time_out, TimeADTGetDatum(spec->to_time)))));
}

/* The condition on the events that on_event names, after WHERE */
static void
put_counted(StringInfo buf, const EmkSegmentSpec *spec)
{
	put_name(buf, spec->on_event);
	put_window(buf, spec->within);
	put_hours(buf, spec);
	if (spec->where_event.path != NULL)
		appendStringInfo(buf, " AND %s", literal_condition(&spec->where_event, "e.properties"));
}

/* on_event: at least so many, for one value of `per` */
static void
put_count(StringInfo buf, const EmkSegmentSpec *spec)
{
	appendStringInfoString(buf, " AND EXISTS (SELECT 1 FROM " IDS_OF_U " JOIN eventmkt_data.event e ON e.profile_id = i.id WHERE ");
	put_counted(buf, spec);
	if (spec->per != NULL)
	{
		char	   *per = quote_literal_cstr(spec->per);

		/* the same text that a rule's `per` makes of a value: 1 and 1.0 are one key */
		appendStringInfo(buf, " AND e.properties ->> %s <> '' AND jsonb_typeof(e.properties -> %s) IN ('string', 'number', "
						 "'boolean') GROUP BY CASE jsonb_typeof(e.properties -> %s) WHEN 'number' THEN "
						 "trim_scale((e.properties ->> %s)::numeric)::text ELSE e.properties ->> %s END HAVING count(*) >= %d",
						 per, per, per, per, per, spec->at_least);
	}
	else if (spec->at_least > 1)
		appendStringInfo(buf, " OFFSET %d", spec->at_least - 1);
	appendStringInfoChar(buf, ')');
}

/* unless: none of these in the window */
static void
put_absence(StringInfo buf, const EmkSegmentSpec *spec)
{
	appendStringInfoString(buf, " AND NOT EXISTS (SELECT 1 FROM " IDS_OF_U " JOIN eventmkt_data.event e ON e.profile_id = i.id "
						   "WHERE (");
	for (int i = 0; i < spec->unless.n; i++)
	{
		appendStringInfoString(buf, i ? " OR " : "");
		put_name(buf, spec->unless.v[i]);
	}
	appendStringInfoChar(buf, ')');
	put_window(buf, spec->unless_within ? spec->unless_within : spec->within);
	if (spec->unless_where.path != NULL)
		appendStringInfo(buf, " AND %s", literal_condition(&spec->unless_where, "e.properties"));
	appendStringInfoChar(buf, ')');
}

/*
 * steps: each the earliest after the one before it. The earliest choice leaves most room for the rest, so it finds an order
 * whenever there is one.
 */
static void
put_steps(StringInfo buf, const EmkSegmentSpec *spec)
{
	appendStringInfoString(buf, " AND EXISTS (SELECT 1 FROM ");
	for (int k = 0; k < spec->steps.n; k++)
	{
		appendStringInfo(buf, "%s(SELECT e.occurred_at AS at FROM " IDS_OF_U " JOIN eventmkt_data.event e "
						 "ON e.profile_id = i.id WHERE ", k ? ", LATERAL " : "");
		put_name(buf, spec->steps.v[k]);
		put_window(buf, spec->within);
		if (k > 0)
			appendStringInfo(buf, " AND e.occurred_at > s%d.at", k - 1);
		appendStringInfo(buf, " ORDER BY e.occurred_at LIMIT 1) s%d", k);
	}
	appendStringInfoChar(buf, ')');
}

bool
emk_segment_takes_unknown(const EmkSegmentSpec *spec)
{
	return spec->where_profile.path == NULL ||
		emk_rule_test(spec->where_profile.path, spec->where_profile.cold, emk_json_parse("{}"), NULL);
}

/* The profiles that can be meant, as u (profile_id, traits) */
static void
put_universe(StringInfo buf, const EmkSegmentSpec *spec)
{
	appendStringInfoString(buf, "(SELECT p.profile_id, p.traits FROM eventmkt_data.profile p");
	if (emk_segment_takes_unknown(spec))
	{
		appendStringInfoString(buf, " UNION ALL SELECT x.profile_id, '{}'::jsonb FROM (SELECT DISTINCT e.profile_id "
							   "FROM eventmkt_data.event e WHERE ");
		if (spec->on_event != NULL)
		{
			put_name(buf, spec->on_event);
			put_window(buf, spec->within);
		}
		else if (spec->steps.n > 0)
		{
			put_name(buf, spec->steps.v[0]);
			put_window(buf, spec->within);
		}
		else
			appendStringInfoString(buf, "true");
		appendStringInfoString(buf, ") x WHERE NOT EXISTS (SELECT FROM eventmkt_data.profile p WHERE p.profile_id = x.profile_id) "
							   "AND NOT EXISTS (SELECT FROM eventmkt_data.alias a WHERE a.alias = x.profile_id)");
	}
	appendStringInfoString(buf, ") u");
}

static void
put_members(StringInfo buf, const EmkNames *names, const char *head, const char *between, const char *tail)
{
	if (names->n == 0)
		return;
	appendStringInfoString(buf, head);
	for (int i = 0; i < names->n; i++)
		appendStringInfo(buf, "%sEXISTS (SELECT FROM %s s WHERE s.profile_id = u.profile_id)", i ? between : "",
						 emk_segment_view_name(names->v[i]));
	appendStringInfoString(buf, tail);
}

/* and, or, not of segments; the members of the first kind given are the profiles that can be meant */
static void
put_segments(StringInfo buf, const EmkSegmentSpec *spec)
{
	EmkNames	rest = spec->all_of;
	bool		first_all = spec->all_of.n > 0;
	bool		first_any = !first_all && spec->any_of.n > 0;

	appendStringInfoString(buf, "SELECT u.profile_id FROM ");
	if (first_all)
	{
		appendStringInfo(buf, "%s u", emk_segment_view_name(spec->all_of.v[0]));
		rest.v++;
		rest.n--;
	}
	else if (first_any)
	{
		appendStringInfoChar(buf, '(');
		for (int i = 0; i < spec->any_of.n; i++)
			appendStringInfo(buf, "%sSELECT s.profile_id FROM %s s", i ? " UNION " : "",
							 emk_segment_view_name(spec->any_of.v[i]));
		appendStringInfoString(buf, ") u");
	}
	else
		put_universe(buf, spec);
	appendStringInfoString(buf, " WHERE true");
	put_members(buf, &rest, " AND ", " AND ", "");
	if (!first_any)
		put_members(buf, &spec->any_of, " AND (", " OR ", ")");
	put_members(buf, &spec->none_of, " AND NOT (", " OR ", ")");
}

char *
emk_segment_view_name(const char *segment)
{
	return psprintf("eventmkt_bi.%s", quote_identifier(psprintf(EMK_SEGMENT_PREFIX "%s", segment)));
}

char *
emk_segment_view_query(const EmkSegmentSpec *spec, int32 segment_id)
{
	StringInfoData buf;
	char	   *query;

	initStringInfo(&buf);
	if (spec->kind == EMK_SEGMENT_QUERY)
	{
		/* ids as the query gives them → canonical ones */
		query = emk_segment_query_name(segment_id);
		appendStringInfo(&buf, "SELECT q.profile_id FROM %s q WHERE q.profile_id IS NOT NULL AND NOT EXISTS (SELECT "
						 "FROM eventmkt_data.alias a WHERE a.alias = q.profile_id) UNION SELECT a.profile_id FROM "
						 "eventmkt_data.alias a JOIN %s q ON q.profile_id = a.alias", query, query);
		return buf.data;
	}
	if (spec->kind == EMK_SEGMENT_SEGMENTS)
	{
		put_segments(&buf, spec);
		return buf.data;
	}
	appendStringInfoString(&buf, "SELECT u.profile_id FROM ");
	put_universe(&buf, spec);
	appendStringInfoString(&buf, " WHERE true");
	if (spec->where_profile.path != NULL)
		appendStringInfo(&buf, " AND %s", literal_condition(&spec->where_profile, "u.traits"));
	if (spec->on_event != NULL)
		put_count(&buf, spec);
	if (spec->steps.n > 0)
		put_steps(&buf, spec);
	if (spec->unless.n > 0)
		put_absence(&buf, spec);
	return buf.data;
}

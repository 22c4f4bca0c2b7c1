/*
 * measure.c: what a company counts: funnels and goals.
 *
 * A funnel is a list of events in order; it is a row of eventmkt_data.funnel and the view eventmkt_bi.funnel_<name>, one row a
 * step. Steps are taken as eventmkt.funnel_times() takes them under strict_increase: each later than the one before, all within
 * the window after the first.
 * A goal is an event that messages are meant to bring about, within a window after a message, and the property that holds its
 * revenue. It has no view of its own: eventmkt_bi.conversions has a row for each rule and goal.
 */
#include "postgres.h"

#include "analytics/analytics.h"
#include "catalog/pg_type.h"
#include "report/report_int.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#define PREFIX "funnel_"

static EmkPlan funnel_exists_plan = {
	"SELECT 1 FROM eventmkt_data.funnel WHERE name OPERATOR(pg_catalog.=) $1", 1, {TEXTOID}
};
static EmkPlan funnel_put_plan = {
	"INSERT INTO eventmkt_data.funnel (name, steps, within, history, comment, changed_at) VALUES ($1, $2, $3, $4, $5, $6) "
	"ON CONFLICT (name) DO UPDATE SET steps = $2, within = $3, history = $4, comment = $5, changed_at = $6", 6,
	{TEXTOID, TEXTARRAYOID, INTERVALOID, INTERVALOID, TEXTOID, TIMESTAMPTZOID}
};
static EmkPlan funnel_delete_plan = {
	"DELETE FROM eventmkt_data.funnel WHERE name OPERATOR(pg_catalog.=) $1", 1, {TEXTOID}
};
static EmkPlan funnel_steps_plan = {
	"SELECT s.event, f.within::pg_catalog.text, f.history::pg_catalog.text, f.comment FROM eventmkt_data.funnel f, "
	"pg_catalog.unnest(f.steps) WITH ORDINALITY AS s (event, step) WHERE f.name OPERATOR(pg_catalog.=) $1 ORDER BY s.step", 1,
	{TEXTOID}
};
static EmkPlan goal_insert_plan = {
	"INSERT INTO eventmkt_data.goal (name, event, within, revenue, comment, changed_at) VALUES ($1, $2, $3, $4, $5, $6) "
	"ON CONFLICT (name) DO NOTHING", 6, {TEXTOID, TEXTOID, INTERVALOID, TEXTOID, TEXTOID, TIMESTAMPTZOID}
};
static EmkPlan goal_delete_plan = {
	"DELETE FROM eventmkt_data.goal WHERE name OPERATOR(pg_catalog.=) $1", 1, {TEXTOID}
};

/* The view's comments, the view first */
static const char *const funnel_columns[][2] = {
	{"step", "1 is the first"},
	{"event", "the event that is this step"},
	{"profiles", "people who came at least this far; by their canonical ids"},
	{"conversion", "of those who took the first step, 0 to 1"},
	{"step_conversion", "of those who took the step before, 0 to 1; NULL at the first"},
	{"median_time", "from the step before to this one, of those who took it"},
	{"median_total", "from the first step to this one"},
};

/* An interval of the past: above 0, at most EMK_MAX_INTERVAL_DAYS. */
static void
check_interval(FunctionCallInfo fcinfo, int arg, const char *name)
{
	if (!PG_ARGISNULL(arg))
	{
		int64		span = emk_analytics_span(PG_GETARG_INTERVAL_P(arg), name);

		if (span <= 0 || span > EMK_MAX_INTERVAL_DAYS * USECS_PER_DAY)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("%s must be more than zero and at most %d days", name, EMK_MAX_INTERVAL_DAYS)));
	}
}

static void
check_steps(FunctionCallInfo fcinfo, int arg)
{
	Datum	   *steps;
	bool	   *nulls;
	int			n = 0;

	if (!PG_ARGISNULL(arg))
		deconstruct_array(PG_GETARG_ARRAYTYPE_P(arg), TEXTOID, -1, false, TYPALIGN_INT, &steps, &nulls, &n);
	if (n < 2 || n > EMK_MAX_CONDITIONS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a funnel has 2 to %d steps, not %d", EMK_MAX_CONDITIONS, n),
				 errhint("steps names the events in order: ARRAY['Product Viewed', 'Order Completed'].")));
	for (int i = 0; i < n; i++)
		emk_report_check_name(nulls[i] ? NULL : TextDatumGetCString(steps[i]), EMK_MAX_EVENT_NAME_BYTES, "an event in steps",
							  "max event name bytes", "Name an event.");
}

void
emk_report_make_funnel_view(const char *name)
{
	Datum		arg = CStringGetTextDatum(name);
	int			n = (int) emk_spi_run(&funnel_steps_plan, &arg, NULL, false, 0);
	char	   *view = emk_report_view(PREFIX, name);
	char	   *comment = n > 0 ? emk_spi_text(0, 4) : NULL;
	char	   *within = n > 0 ? emk_spi_text(0, 2) : "";
	char	   *history = n > 0 ? emk_spi_text(0, 3) : NULL;
	StringInfoData conditions,
				names,
				buf;

	if (n == 0)
		return;
	emk_report_take_view(PREFIX, name);
	initStringInfo(&conditions);
	initStringInfo(&names);
	initStringInfo(&buf);
	for (int i = 0; i < n; i++)
	{
		char	   *event = quote_literal_cstr(emk_spi_text(i, 1));

		appendStringInfo(&conditions, ", e.name OPERATOR(pg_catalog.=) %s", event);
		appendStringInfo(&names, "%s%s", i ? ", " : "", event);
	}
	appendStringInfo(&buf, "CREATE OR REPLACE VIEW %s (step, event, profiles, conversion, step_conversion, median_time, median_total) "
					 "AS WITH taken AS MATERIALIZED (SELECT eventmkt.funnel_times(%s::pg_catalog.interval, e.occurred_at, "
					 "'strict_increase'%s) AS at FROM eventmkt_data.event e LEFT JOIN eventmkt_data.alias a "
					 "ON a.alias OPERATOR(pg_catalog.=) e.profile_id WHERE e.name OPERATOR(pg_catalog.=) ANY "
					 "(ARRAY[%s]::pg_catalog.text[]) AND e.conflict_of IS NULL", view, quote_literal_cstr(within), conditions.data,
					 names.data);
	if (history != NULL)
		appendStringInfo(&buf, " AND e.occurred_at OPERATOR(pg_catalog.>=) pg_catalog.timezone('UTC', pg_catalog.timezone('UTC', "
						 "eventmkt.statement_clock()) OPERATOR(pg_catalog.-) %s::pg_catalog.interval)", quote_literal_cstr(history));
	appendStringInfo(&buf, " GROUP BY COALESCE(a.profile_id, e.profile_id)), counted AS (SELECT s.step::pg_catalog.int4 AS step, "
					 "s.event, pg_catalog.count(t.at) AS profiles, pg_catalog.percentile_cont(0.5) WITHIN GROUP (ORDER BY "
					 "t.at[s.step] OPERATOR(pg_catalog.-) t.at[s.step OPERATOR(pg_catalog.-) 1]) AS median_time, "
					 "pg_catalog.percentile_cont(0.5) WITHIN GROUP (ORDER BY t.at[s.step] OPERATOR(pg_catalog.-) t.at[1]) "
					 "AS median_total FROM pg_catalog.unnest(ARRAY[%s]::pg_catalog.text[]) WITH ORDINALITY AS s (event, step) "
					 "LEFT JOIN taken t ON pg_catalog.cardinality(t.at) OPERATOR(pg_catalog.>=) s.step GROUP BY 1, 2) "
					 "SELECT c.step, c.event, c.profiles, pg_catalog.round(c.profiles::pg_catalog.numeric OPERATOR(pg_catalog./) "
					 "NULLIF(pg_catalog.first_value(c.profiles) OVER w, 0), 4), pg_catalog.round(c.profiles::pg_catalog.numeric "
					 "OPERATOR(pg_catalog./) NULLIF(pg_catalog.lag(c.profiles) OVER w, 0), 4), c.median_time, c.median_total "
					 "FROM counted c WINDOW w AS (ORDER BY c.step) ORDER BY c.step", names.data);
	emk_spi_script(buf.data);
	emk_report_comment(view, NULL, comment ? comment : psprintf("how far people come along the funnel %s, within %s", name, within));
	for (int i = 0; i < lengthof(funnel_columns); i++)
		emk_report_comment(view, funnel_columns[i][0], funnel_columns[i][1]);
}

pg_noreturn static void
unknown(const char *what, const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("%s \"%s\" does not exist", what, name),
			 errhint("They are listed in the view eventmkt_bi.%ss.", what)));
}

pg_noreturn static void
exists(const char *what, const char *name, const char *hint)
{
	ereport(ERROR, (errcode(ERRCODE_DUPLICATE_OBJECT), errmsg("%s \"%s\" already exists", what, name), errhint("%s", hint)));
}

static char *
check_funnel_name(FunctionCallInfo fcinfo)
{
	char	   *name = emk_report_text(fcinfo, 0);

	emk_report_check_name(name, EMK_MAX_FUNNEL_NAME_BYTES, "name", "max funnel name bytes",
						  "The name of the view is funnel_ and this name, 63 bytes at most.");
	return name;
}

/* create_funnel() and replace_funnel() have the same arguments: name, steps, within, history, comment. */
static Datum
define_funnel(FunctionCallInfo fcinfo, bool replace)
{
	char	   *name = check_funnel_name(fcinfo);
	Datum		args[6] = {CStringGetTextDatum(name)};
	char		nulls[] = "      ";
	bool		found;
	EmkOwner	owner;

	check_steps(fcinfo, 1);
	if (PG_ARGISNULL(2))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("within must not be null")));
	check_interval(fcinfo, 2, "within");
	check_interval(fcinfo, 3, "history");
	emk_report_enter(&owner, "funnel");
	found = emk_spi_run(&funnel_exists_plan, args, NULL, false, 1) > 0;
	if (found && !replace)
		exists("funnel", name, "Use eventmkt.replace_funnel() to give it another definition.");
	if (!found && replace)
		unknown("funnel", name);
	if (!found)
		emk_report_refuse_taken(PREFIX, name);
	for (int i = 1; i <= 4; i++)
	{
		nulls[i] = PG_ARGISNULL(i) ? 'n' : ' ';
		args[i] = PG_ARGISNULL(i) ? (Datum) 0 : PG_GETARG_DATUM(i);
	}
	args[5] = TimestampTzGetDatum(emk_clock_now());
	emk_spi_run(&funnel_put_plan, args, nulls, false, 0);
	emk_report_make_funnel_view(name);
	emk_report_leave(&owner);
	PG_RETURN_TEXT_P(cstring_to_text(emk_report_view(PREFIX, name)));
}

PG_FUNCTION_INFO_V1(emk_report_create_funnel);
/* eventmkt.create_funnel(name, steps, within, history, comment) → text: the name of the view, quoted */
Datum
emk_report_create_funnel(PG_FUNCTION_ARGS)
{
	return define_funnel(fcinfo, false);
}

PG_FUNCTION_INFO_V1(emk_report_replace_funnel);
/* eventmkt.replace_funnel(…): the same */
Datum
emk_report_replace_funnel(PG_FUNCTION_ARGS)
{
	return define_funnel(fcinfo, true);
}

PG_FUNCTION_INFO_V1(emk_report_drop_funnel);
/* eventmkt.drop_funnel(name) */
Datum
emk_report_drop_funnel(PG_FUNCTION_ARGS)
{
	char	   *name = check_funnel_name(fcinfo);
	Datum		arg = CStringGetTextDatum(name);
	EmkOwner	owner;

	emk_report_enter(&owner, "funnel");
	if (emk_spi_run(&funnel_delete_plan, &arg, NULL, false, 0) == 0)
		unknown("funnel", name);
	emk_report_take_view(PREFIX, name);
	emk_spi_script(psprintf("DROP VIEW IF EXISTS %s", emk_report_view(PREFIX, name)));
	emk_report_leave(&owner);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(emk_report_create_goal);
/* eventmkt.create_goal(name, event, within, revenue, comment) */
Datum
emk_report_create_goal(PG_FUNCTION_ARGS)
{
	char	   *name = emk_report_text(fcinfo, 0);
	char	   *event = emk_report_text(fcinfo, 1);
	char	   *revenue = emk_report_text(fcinfo, 3);
	char	   *comment = emk_report_text(fcinfo, 4);
	Datum		args[6];
	EmkOwner	owner;

	emk_report_check_name(name, EMK_MAX_NAME_BYTES, "name", "max name bytes", "Give a shorter one.");
	emk_report_check_name(event, EMK_MAX_EVENT_NAME_BYTES, "event", "max event name bytes", "Name an event.");
	if (PG_ARGISNULL(2))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("within must not be null")));
	check_interval(fcinfo, 2, "within");
	emk_report_enter(&owner, "goal");
	emk_spi_script("LOCK TABLE eventmkt_data.exposed_property IN SHARE ROW EXCLUSIVE MODE");
	if (revenue != NULL && !emk_report_is_number(event, revenue))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("property \"%s\" of event \"%s\" is not exposed as a number", revenue, event),
				 errhint("Run SELECT eventmkt.expose_property(%s, %s, 'numeric') first.", quote_literal_cstr(event),
						 quote_literal_cstr(revenue))));
	args[0] = CStringGetTextDatum(name);
	args[1] = CStringGetTextDatum(event);
	args[2] = PG_GETARG_DATUM(2);
	args[3] = revenue ? CStringGetTextDatum(revenue) : (Datum) 0;
	args[4] = comment ? CStringGetTextDatum(comment) : (Datum) 0;
	args[5] = TimestampTzGetDatum(emk_clock_now());
	if (emk_spi_run(&goal_insert_plan, args, psprintf("   %c%c ", revenue ? ' ' : 'n', comment ? ' ' : 'n'), false, 0) == 0)
		exists("goal", name, "Drop it first with eventmkt.drop_goal(), or take another name.");
	emk_report_leave(&owner);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(emk_report_drop_goal);
/* eventmkt.drop_goal(name) */
Datum
emk_report_drop_goal(PG_FUNCTION_ARGS)
{
	char	   *name = emk_report_text(fcinfo, 0);
	Datum		arg;
	EmkOwner	owner;

	emk_report_check_name(name, EMK_MAX_NAME_BYTES, "name", "max name bytes", "Look in eventmkt_bi.goals.");
	arg = CStringGetTextDatum(name);
	emk_report_enter(&owner, "goal");
	if (emk_spi_run(&goal_delete_plan, &arg, NULL, false, 0) == 0)
		unknown("goal", name);
	emk_report_leave(&owner);
	PG_RETURN_VOID();
}

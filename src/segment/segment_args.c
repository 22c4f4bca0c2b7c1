/*
 * segment_args.c: the arguments of create_segment() and replace_segment() → a checked definition, or an ERROR that says which
 * argument is wrong, why, and what to write instead.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "pgtime.h"
#include "rule/rule.h"
#include "segment/segment_int.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/timestamp.h"

#define MAX_STEPS 20

enum
{
	ARG_NAME, ARG_WHERE_PROFILE, ARG_ON_EVENT, ARG_WHERE_EVENT, ARG_AT_LEAST, ARG_WITHIN, ARG_PER, ARG_UNLESS,
	ARG_UNLESS_WHERE, ARG_UNLESS_WITHIN, ARG_STEPS, ARG_ON_DAYS, ARG_FROM_TIME, ARG_TO_TIME, ARG_TIME_ZONE, ARG_ALL_OF,
	ARG_ANY_OF, ARG_NONE_OF, ARG_QUERY, ARG_COMMENT, ARG_TRACK
};

static const char *const arg_names[] = {
	"name", "where_profile", "on_event", "where_event", "at_least", "within", "per", "unless", "unless_where",
	"unless_within", "steps", "on_days", "from_time", "to_time", "time_zone", "all_of", "any_of", "none_of", "query", "comment",
	"track_membership"
};

const char *const emk_segment_kinds[] = {"traits", "behaviour", "segments", "query"};

pg_noreturn static void
wrong(const char *message, const char *hint)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg_internal("%s", message), errhint("%s", hint)));
}

static char *
text_arg(FunctionCallInfo fcinfo, int arg)
{
	return PG_ARGISNULL(arg) ? NULL : TextDatumGetCString(PG_GETARG_DATUM(arg));
}

static void
check_name(const char *name)
{
	size_t		len = name ? strlen(name) : 0;

	if (len == 0 || strspn(name, " ") == len)
		wrong("a segment needs a name", "Its view is called eventmkt_bi.segment_<name>.");
	if (len > EMK_MAX_SEGMENT_NAME_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the name of the segment is too long"),
				 errdetail("It has %zu bytes; the limit (max segment name bytes) is %d.", len,
						   EMK_MAX_SEGMENT_NAME_BYTES)));
	for (const unsigned char *c = (const unsigned char *) name; *c; c++)
		if (*c < 0x20 || *c == 0x7f)
			wrong("the name of a segment must not contain control characters", "Use letters, digits and spaces.");
}

static void
check_event_name(const char *event, const char *arg)
{
	size_t		len = strlen(event);

	if (len == 0 || len > EMK_MAX_EVENT_NAME_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg(len ? "the event name in %s is too long" : "%s must not be an empty event name", arg),
				 errdetail("It has %zu bytes; the limit (max event name bytes) is %d.", len,
						   EMK_MAX_EVENT_NAME_BYTES)));
}

/* A text array without NULLs, at most `max`; NULL is the empty one. */
static void
names_arg(FunctionCallInfo fcinfo, int arg, int max, bool events, EmkNames *out)
{
	Datum	   *elems;
	bool	   *nulls;

	out->n = 0;
	if (PG_ARGISNULL(arg))
		return;
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(arg), TEXTOID, -1, false, TYPALIGN_INT, &elems, &nulls, &out->n);
	if (out->n > max)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%s has too many names", arg_names[arg]),
				 errdetail("It has %d; the limit is %d.", out->n, max)));
	out->v = palloc(sizeof(char *) * Max(out->n, 1));
	for (int i = 0; i < out->n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("%s must not contain null", arg_names[arg])));
		out->v[i] = TextDatumGetCString(elems[i]);
		if (events)
			check_event_name(out->v[i], arg_names[arg]);
	}
}

static Interval *
interval_arg(FunctionCallInfo fcinfo, int arg)
{
	Interval   *iv;
	double		days;

	if (PG_ARGISNULL(arg))
		return NULL;
	iv = PG_GETARG_INTERVAL_P(arg);
	days = (double) iv->month * DAYS_PER_MONTH + iv->day + (double) iv->time / USECS_PER_DAY;
	if (iv->month < 0 || iv->day < 0 || iv->time < 0 || days <= 0 || days > EMK_MAX_INTERVAL_DAYS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be more than zero and at most %d days", arg_names[arg], EMK_MAX_INTERVAL_DAYS),
				 errdetail("The limit is max interval days.")));
	return iv;
}

static void
condition_arg(FunctionCallInfo fcinfo, int arg, EmkCondPath *out)
{
	EmkCondition c;

	if (PG_ARGISNULL(arg))
		return;
	out->path = PG_GETARG_JSONPATH_P(arg);
	if (VARSIZE(out->path) > EMK_MAX_CONDITION_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%s is too long", arg_names[arg]),
				 errdetail("The limit (max condition bytes) is %d.", EMK_MAX_CONDITION_BYTES)));
	emk_rule_analyse(out->path, &c);
	out->cold = c.cold;
	if (!c.predicate)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is not a predicate", arg_names[arg]),
				 errhint("Write a comparison, for example $.amount >= 50 or exists($.coupon).")));
}

/* on_days, from_time, to_time and the zone they are meant in */
static void
read_hours(FunctionCallInfo fcinfo, EmkSegmentSpec *spec)
{
	spec->time_zone = PG_ARGISNULL(ARG_TIME_ZONE) ? "UTC" : text_arg(fcinfo, ARG_TIME_ZONE);
	if (pg_tzset(spec->time_zone) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time zone \"%s\" not recognized", spec->time_zone),
				 errhint("Write a name of pg_timezone_names, for example Europe/Berlin.")));
	if (!PG_ARGISNULL(ARG_ON_DAYS))
	{
		Datum	   *elems;
		bool	   *nulls;

		deconstruct_array(PG_GETARG_ARRAYTYPE_P(ARG_ON_DAYS), INT4OID, 4, true, TYPALIGN_INT, &elems, &nulls, &spec->ndays);
		if (spec->ndays > 7)
			wrong("on_days has more than seven days", "Monday is 1, Sunday is 7.");
		for (int i = 0; i < spec->ndays; i++)
		{
			if (nulls[i] || DatumGetInt32(elems[i]) < 1 || DatumGetInt32(elems[i]) > 7)
				wrong("a day in on_days must lie between 1 and 7", "Monday is 1, Sunday is 7.");
			spec->days[i] = DatumGetInt32(elems[i]);
		}
	}
	spec->has_from = !PG_ARGISNULL(ARG_FROM_TIME);
	spec->has_to = !PG_ARGISNULL(ARG_TO_TIME);
	spec->from_time = spec->has_from ? PG_GETARG_TIMEADT(ARG_FROM_TIME) : 0;
	spec->to_time = spec->has_to ? PG_GETARG_TIMEADT(ARG_TO_TIME) : USECS_PER_DAY;
	if (spec->from_time == spec->to_time)
		wrong("from_time and to_time are the same", "to_time is the first moment that does not count any more.");
}

/* What only makes sense together; decides the kind. */
static void
check_combination(FunctionCallInfo fcinfo, EmkSegmentSpec *spec)
{
	bool		segments = spec->all_of.n + spec->any_of.n + spec->none_of.n > 0;
	bool		behaviour = spec->on_event || spec->unless.n > 0 || spec->steps.n > 0;
	bool		counts = spec->where_event.path || spec->at_least != 1 || spec->per || spec->ndays || spec->has_from ||
		spec->has_to;

	if (spec->query && (segments || behaviour || spec->where_profile.path))
		wrong("query stands alone", "Make a segment of the query and name both in all_of of a third.");
	if (segments && (behaviour || spec->where_profile.path))
		wrong("all_of, any_of and none_of combine segments only", "Make a segment of the condition and name it in all_of.");
	if (counts && !spec->on_event)
		wrong("where_event, at_least, per, on_days, from_time and to_time need on_event", "Name the event that they speak of.");
	if (spec->within && !spec->on_event && spec->steps.n == 0)
		wrong("within needs on_event or steps", "For what was not done write unless_within.");
	if ((spec->unless_where.path || spec->unless_within) && spec->unless.n == 0)
		wrong("unless_where and unless_within need unless", "Name the events that must not have happened in unless.");
	if (spec->steps.n == 1)
		wrong("steps needs two events or more", "Write on_event for a single one.");
	spec->kind = spec->query ? EMK_SEGMENT_QUERY : segments ? EMK_SEGMENT_SEGMENTS : behaviour ? EMK_SEGMENT_BEHAVIOUR :
		EMK_SEGMENT_TRAITS;
	if (spec->kind == EMK_SEGMENT_TRAITS && !spec->where_profile.path)
		wrong("a segment needs a condition", "Give where_profile, on_event, steps, unless, all_of, any_of, none_of or query.");
}

void
emk_segment_read_args(FunctionCallInfo fcinfo, EmkSegmentSpec *spec)
{
	memset(spec, 0, sizeof(*spec));
	spec->name = text_arg(fcinfo, ARG_NAME);
	check_name(spec->name);
	condition_arg(fcinfo, ARG_WHERE_PROFILE, &spec->where_profile);
	spec->on_event = text_arg(fcinfo, ARG_ON_EVENT);
	if (spec->on_event)
		check_event_name(spec->on_event, "on_event");
	condition_arg(fcinfo, ARG_WHERE_EVENT, &spec->where_event);
	spec->at_least = PG_ARGISNULL(ARG_AT_LEAST) ? 1 : PG_GETARG_INT32(ARG_AT_LEAST);
	if (spec->at_least < 1 || spec->at_least > EMK_MAX_AT_LEAST)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("at_least must lie between 1 and %d", EMK_MAX_AT_LEAST),
				 errdetail("It is %d; the limit is max at least.", spec->at_least)));
	spec->within = interval_arg(fcinfo, ARG_WITHIN);
	spec->per = text_arg(fcinfo, ARG_PER);
	if (spec->per && (spec->per[0] == '\0' || strlen(spec->per) > EMK_MAX_KEY_BYTES))
		wrong("per is empty or too long", "Name the property that tells one product or page from another.");
	names_arg(fcinfo, ARG_UNLESS, EMK_MAX_UNLESS, true, &spec->unless);
	condition_arg(fcinfo, ARG_UNLESS_WHERE, &spec->unless_where);
	spec->unless_within = interval_arg(fcinfo, ARG_UNLESS_WITHIN);
	names_arg(fcinfo, ARG_STEPS, MAX_STEPS, true, &spec->steps);
	read_hours(fcinfo, spec);
	names_arg(fcinfo, ARG_ALL_OF, EMK_MAX_UNLESS, false, &spec->all_of);
	names_arg(fcinfo, ARG_ANY_OF, EMK_MAX_UNLESS, false, &spec->any_of);
	names_arg(fcinfo, ARG_NONE_OF, EMK_MAX_UNLESS, false, &spec->none_of);
	spec->query = text_arg(fcinfo, ARG_QUERY);
	spec->comment = text_arg(fcinfo, ARG_COMMENT);
	spec->track = PG_ARGISNULL(ARG_TRACK) ? -1 : PG_GETARG_BOOL(ARG_TRACK);
	check_combination(fcinfo, spec);
}

static void
put_text(StringInfo buf, const char *key, const char *value)
{
	if (value == NULL)
		return;
	appendStringInfoString(buf, buf->len > 1 ? ", " : "");
	emk_json_append_string(buf, key, value);
}

static void
put_number(StringInfo buf, const char *key, int value)
{
	appendStringInfo(buf, "%s\"%s\": %d", buf->len > 1 ? ", " : "", key, value);
}

static void
put_condition(StringInfo buf, const char *key, const EmkCondPath *cond)
{
	if (cond->path)
		put_text(buf, key, DatumGetCString(DirectFunctionCall1(jsonpath_out, PointerGetDatum(cond->path))));
}

static void
put_interval(StringInfo buf, const char *key, const Interval *iv)
{
	if (iv)
		put_text(buf, key, DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(iv))));
}

static void
put_names(StringInfo buf, const char *key, const EmkNames *names)
{
	if (names->n == 0)
		return;
	appendStringInfo(buf, "%s\"%s\": [", buf->len > 1 ? ", " : "", key);
	for (int i = 0; i < names->n; i++)
	{
		appendStringInfoString(buf, i ? ", " : "");
		escape_json(buf, names->v[i]);
	}
	appendStringInfoChar(buf, ']');
}

char *
emk_segment_definition(const EmkSegmentSpec *spec)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoChar(&buf, '{');
	put_condition(&buf, "where_profile", &spec->where_profile);
	put_text(&buf, "on_event", spec->on_event);
	put_condition(&buf, "where_event", &spec->where_event);
	if (spec->at_least != 1)
		put_number(&buf, "at_least", spec->at_least);
	put_interval(&buf, "within", spec->within);
	put_text(&buf, "per", spec->per);
	put_names(&buf, "unless", &spec->unless);
	put_condition(&buf, "unless_where", &spec->unless_where);
	put_interval(&buf, "unless_within", spec->unless_within);
	put_names(&buf, "steps", &spec->steps);
	if (spec->ndays > 0)
	{
		appendStringInfo(&buf, "%s\"on_days\": [", buf.len > 1 ? ", " : "");
		for (int i = 0; i < spec->ndays; i++)
			appendStringInfo(&buf, "%s%d", i ? ", " : "", spec->days[i]);
		appendStringInfoChar(&buf, ']');
	}
	if (spec->has_from)
		put_text(&buf, "from_time", DatumGetCString(DirectFunctionCall1(time_out, TimeADTGetDatum(spec->from_time))));
	if (spec->has_to)
		put_text(&buf, "to_time", DatumGetCString(DirectFunctionCall1(time_out, TimeADTGetDatum(spec->to_time))));
	if (spec->ndays > 0 || spec->has_from || spec->has_to)
		put_text(&buf, "time_zone", spec->time_zone);
	put_names(&buf, "all_of", &spec->all_of);
	put_names(&buf, "any_of", &spec->any_of);
	put_names(&buf, "none_of", &spec->none_of);
	put_text(&buf, "query", spec->query);
	appendStringInfoChar(&buf, '}');
	return buf.data;
}

/*
 * validate.c: the arguments of create_rule() and replace_rule() → a checked definition, or an ERROR that says which argument
 * is wrong, why, and what to write instead. Nothing is read but the arguments.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "rule/define_int.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

const char *const emk_rule_repeat_names[] = {"ignore", "debounce", "replace", "parallel", NULL};

const char *const emk_rule_arg_names[] = {
	"name", "on_event", "where_event", "where_profile", "at_least", "within", "per", "unless", "unless_where", "look_back",
	"after", "on_repeat", "reentry", "send_to", "template", "steps", "max_lateness", "priority", "enabled", "where_segment"
};

static const char *
text_arg(FunctionCallInfo fcinfo, int arg)
{
	return PG_ARGISNULL(arg) ? NULL : TextDatumGetCString(PG_GETARG_DATUM(arg));
}

static void
require(FunctionCallInfo fcinfo, int arg)
{
	if (PG_ARGISNULL(arg))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", emk_rule_arg_names[arg]),
				 arg <= ARG_ON_EVENT ? errhint("Every rule has a name and a starting event.") :
				 errhint("Leave the argument out to take its default.")));
}

static void
check_name(const char *name)
{
	size_t		len = strlen(name);

	if (len == 0 || strspn(name, " ") == len)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the name of a rule must not be empty"),
				 errhint("Give it the name that decisions and messages are to show.")));
	if (len > EMK_MAX_NAME_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the name of the rule is too long"),
				 errdetail("It has %zu bytes; the limit (max name bytes) is %d.", len, EMK_MAX_NAME_BYTES),
				 errhint("Give a shorter one.")));
	for (const unsigned char *c = (const unsigned char *) name; *c; c++)
		if (*c < 0x20 || *c == 0x7f)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("the name of a rule must not contain control characters"),
					 errdetail("There is one at byte %d.", (int) (c - (const unsigned char *) name) + 1),
					 errhint("Leave it out.")));
}

static void
check_event_name(const char *event, const char *arg)
{
	size_t		len = strlen(event);

	if (len == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be an empty event name", arg),
				 errhint("Use '*' for any event.")));
	if (len > EMK_MAX_EVENT_NAME_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the event name in %s is too long", arg),
				 errdetail("It has %zu bytes; the limit (max event name bytes) is %d.", len,
						   EMK_MAX_EVENT_NAME_BYTES),
				 errhint("No event can have such a name: track() has the same limit.")));
}

static void
check_per(const char *per)
{
	size_t		len = strlen(per);

	if (len == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("per must not be empty"),
				 errhint("Name the property that tells one cart, product or order from another, or leave per out.")));
	if (len > EMK_MAX_KEY_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("per is too long"),
				 errdetail("It has %zu bytes; the limit (max key bytes) is %d.", len, EMK_MAX_KEY_BYTES),
				 errhint("Name a property at the top level, for example 'cart_id'.")));
	if (strncmp(per, "$.", 2) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("per is the plain name of a property, not a path"),
				 errhint("Write per => '%s'.", per + 2)));
}

/* The unless array: distinct, non-empty names without NULLs. */
static void
read_unless(FunctionCallInfo fcinfo, EmkRule *rule)
{
	ArrayType  *array = PG_GETARG_ARRAYTYPE_P(ARG_UNLESS);
	Datum	   *elems;
	bool	   *nulls;
	int			n;

	if (ARR_NDIM(array) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("unless must be an array of one dimension"),
				 errhint("Write unless => ARRAY['Order Completed', 'Cart Emptied'].")));
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elems, &nulls, &n);
	if (n > EMK_MAX_UNLESS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("unless has too many event names"),
				 errdetail("It has %d; the limit (max unless) is %d.", n, EMK_MAX_UNLESS),
				 errhint("Name fewer, or '*' with unless_where.")));
	rule->unless = palloc(sizeof(char *) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("unless must not contain null"),
					 errdetail("Element %d is null.", i + 1),
					 errhint("Leave it out; without cancelling events unless is '{}'.")));
		rule->unless[i] = TextDatumGetCString(elems[i]);
		check_event_name(rule->unless[i], "unless");
		for (int j = 0; j < i; j++)
			if (strcmp(rule->unless[i], rule->unless[j]) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("unless names \"%s\" twice", rule->unless[i]),
						 errhint("Name it once.")));
	}
	rule->nunless = n;
}

/* An interval argument: no negative part, within the limit; `positive`: not zero. */
static Interval *
interval_arg(FunctionCallInfo fcinfo, int arg, bool positive)
{
	Interval   *iv = PG_GETARG_INTERVAL_P(arg);
	double		days = (double) iv->month * DAYS_PER_MONTH + iv->day + (double) iv->time / USECS_PER_DAY;

	if (iv->month < 0 || iv->day < 0 || iv->time < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be negative", emk_rule_arg_names[arg]),
				 errdetail("It is %s.", DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(iv)))),
				 errhint("Months, days and time of the interval must each be zero or more.")));
	if (positive && iv->month == 0 && iv->day == 0 && iv->time == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be more than zero", emk_rule_arg_names[arg]),
				 errhint("Leave the argument out for no limit in time.")));
	if (days > EMK_MAX_INTERVAL_DAYS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is too long", emk_rule_arg_names[arg]),
				 errdetail("The limit (max interval days) is %d days.", EMK_MAX_INTERVAL_DAYS),
				 errhint("Give a shorter interval.")));
	return iv;
}

static JsonPath *
condition_arg(FunctionCallInfo fcinfo, int arg, bool *cold)
{
	JsonPath   *path;
	EmkCondition c;
	char	   *text;

	if (PG_ARGISNULL(arg))
		return NULL;
	path = PG_GETARG_JSONPATH_P(arg);
	if (VARSIZE(path) > EMK_MAX_CONDITION_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%s is too long", emk_rule_arg_names[arg]),
				 errdetail("It takes %d bytes; the limit (max condition bytes) is %d.", (int) VARSIZE(path),
						   EMK_MAX_CONDITION_BYTES)));
	memset(&c, 0, sizeof(c));
	emk_rule_analyse(path, &c);
	text = DatumGetCString(DirectFunctionCall1(jsonpath_out, PointerGetDatum(path)));
	if (!c.predicate)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is not a predicate", emk_rule_arg_names[arg]),
				 errdetail("The path %s yields values, not true or false.", text),
				 strchr(text, '?') ? errhint("Write exists(%s), or a comparison such as $.amount >= 50.", text) :
				 errhint("Write a comparison, for example $.amount >= 50 or exists($.coupon).")));
	*cold = c.cold;
	return path;
}

static EmkRepeat
repeat_arg(FunctionCallInfo fcinfo)
{
	char	   *given = TextDatumGetCString(PG_GETARG_DATUM(ARG_ON_REPEAT));

	for (int i = 0; emk_rule_repeat_names[i]; i++)
		if (strcmp(given, emk_rule_repeat_names[i]) == 0)
			return (EmkRepeat) i;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("on_repeat does not know \"%s\"", given),
			 errhint("It is one of ignore, debounce, replace, parallel.")));
}

/* max_lateness: as given, else the greater of `after` and one hour */
static void
set_max_lateness(FunctionCallInfo fcinfo, EmkRule *rule)
{
	Interval	hour = {.time = USECS_PER_HOUR};

	if (!PG_ARGISNULL(ARG_MAX_LATENESS))
		rule->max_lateness = *interval_arg(fcinfo, ARG_MAX_LATENESS, false);
	else if (DatumGetBool(DirectFunctionCall2(interval_gt, IntervalPGetDatum(&rule->after), IntervalPGetDatum(&hour))))
		rule->max_lateness = rule->after;
	else
		rule->max_lateness = hour;
}

/* What only makes sense together. */
static void
check_combination(const EmkRule *rule)
{
	if (rule->nunless > 0)
		return;
	if (rule->unless_where != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("unless_where needs unless"),
				 errhint("Name the cancelling events, for example unless => ARRAY['Order Completed'].")));
	if (rule->look_back.time != 0 || rule->look_back.day != 0 || rule->look_back.month != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("look_back needs unless"),
				 errhint("It says how long before the start a cancelling event still counts: name those in unless.")));
}

static void
refuse_journeys(FunctionCallInfo fcinfo)
{
	for (int arg = ARG_TEMPLATE; arg <= ARG_STEPS; arg++)
		if (!PG_ARGISNULL(arg))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("%s is not supported", emk_rule_arg_names[arg]),
					 errhint("Journeys and templates are not in this version: a rule sends its event and the "
							 "profile's traits to one endpoint.")));
}

void
emk_rule_validate(FunctionCallInfo fcinfo, bool replace, EmkRuleSpec *spec)
{
	static const int required[] = {ARG_NAME, ARG_ON_EVENT, ARG_AT_LEAST, ARG_UNLESS, ARG_LOOK_BACK, ARG_AFTER,
	ARG_ON_REPEAT, ARG_PRIORITY};
	EmkRule    *rule = &spec->rule;

	memset(spec, 0, sizeof(*spec));
	for (int i = 0; i < lengthof(required); i++)
		require(fcinfo, required[i]);
	if (!replace)
		require(fcinfo, ARG_ENABLED);
	refuse_journeys(fcinfo);

	rule->name = (char *) text_arg(fcinfo, ARG_NAME);
	check_name(rule->name);
	rule->current = true;
	rule->on_event = (char *) text_arg(fcinfo, ARG_ON_EVENT);
	check_event_name(rule->on_event, "on_event");
	rule->where_event = condition_arg(fcinfo, ARG_WHERE_EVENT, &rule->cold_event);
	rule->where_profile = condition_arg(fcinfo, ARG_WHERE_PROFILE, &rule->cold_profile);
	rule->at_least = PG_GETARG_INT32(ARG_AT_LEAST);
	if (rule->at_least < 1 || rule->at_least > EMK_MAX_AT_LEAST)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("at_least must lie between 1 and %d", EMK_MAX_AT_LEAST),
				 errdetail("It is %d; the limit is max at least.", rule->at_least),
				 errhint("Leave the argument out to start at each matching event.")));
	rule->within = PG_ARGISNULL(ARG_WITHIN) ? NULL : interval_arg(fcinfo, ARG_WITHIN, true);
	rule->per = (char *) text_arg(fcinfo, ARG_PER);
	if (rule->per != NULL)
		check_per(rule->per);
	read_unless(fcinfo, rule);
	rule->unless_where = condition_arg(fcinfo, ARG_UNLESS_WHERE, &rule->cold_unless);
	rule->look_back = *interval_arg(fcinfo, ARG_LOOK_BACK, false);
	rule->after = *interval_arg(fcinfo, ARG_AFTER, false);
	rule->on_repeat = repeat_arg(fcinfo);
	rule->reentry = PG_ARGISNULL(ARG_REENTRY) ? NULL : interval_arg(fcinfo, ARG_REENTRY, false);
	set_max_lateness(fcinfo, rule);
	rule->priority = PG_GETARG_INT32(ARG_PRIORITY);
	spec->keep_enabled = PG_ARGISNULL(ARG_ENABLED);
	rule->enabled = spec->keep_enabled || PG_GETARG_BOOL(ARG_ENABLED);
	spec->send_to = text_arg(fcinfo, ARG_SEND_TO);
	spec->where_segment = text_arg(fcinfo, ARG_WHERE_SEGMENT);
	check_combination(rule);
	rule->lapse = emk_rule_is_lapse(rule);
}

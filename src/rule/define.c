/*
 * define.c: create_rule(), replace_rule(), and the state of a rule as a whole.
 *
 * A rule is a rule_id with versions. The current version starts runs; live runs keep the version they started with. A
 * dropped rule has no current version, and its name is free. `enabled` is the same in all versions of a rule. Editing
 * only writes definitions: it never looks at events, so it never fires.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "rule/define_int.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#define CLOSE_NAME_DISTANCE 4
#define CLOSE_NAMES_SCANNED 1000
#define REPLACE_TRIES 10

static EmkPlan insert_plan = {
	"INSERT INTO eventmkt_data.rule (rule_id, version, name, current, enabled, on_event, where_event, where_profile, "
	"at_least, within, per, unless, unless_where, look_back, after, on_repeat, reentry, endpoint_id, max_lateness, "
	"priority, created_at, where_segment) VALUES (COALESCE($1, pg_catalog.nextval('eventmkt_data.rule_id_seq')::pg_catalog.int4), $2, "
	"$3, true, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21) "
	"ON CONFLICT (name) WHERE current DO NOTHING RETURNING rule_id", 21,
	{INT4OID, INT4OID, TEXTOID, BOOLOID, TEXTOID, JSONPATHOID, JSONPATHOID, INT4OID, INTERVALOID, TEXTOID, TEXTARRAYOID,
	JSONPATHOID, INTERVALOID, INTERVALOID, TEXTOID, INTERVALOID, INT4OID, INTERVALOID, INT4OID, TIMESTAMPTZOID,
	INT4OID}
};
static EmkPlan find_plan = {
	"SELECT rule_id, version, enabled FROM eventmkt_data.rule WHERE name OPERATOR(pg_catalog.=) $1 AND current "
	"FOR NO KEY UPDATE", 1, {TEXTOID}
};
static EmkPlan names_plan = {
	"SELECT name FROM eventmkt_data.rule WHERE current LIMIT $1", 1, {INT8OID}
};
static EmkPlan retire_plan = {
	"UPDATE eventmkt_data.rule SET current = false WHERE rule_id OPERATOR(pg_catalog.=) $1 AND current", 1, {INT4OID}
};
static EmkPlan enabled_plan = {
	"UPDATE eventmkt_data.rule SET enabled = $2, disabled_reason = $3 WHERE rule_id OPERATOR(pg_catalog.=) $1", 3,
	{INT4OID, BOOLOID, TEXTOID}
};
static EmkPlan endpoint_plan = {
	"SELECT endpoint_id FROM eventmkt_data.endpoint WHERE name OPERATOR(pg_catalog.=) $1", 1, {TEXTOID}
};
/* keeps the segment from being dropped until this transaction ends */
static EmkPlan segment_plan = {
	"SELECT segment_id FROM eventmkt_data.segment WHERE name OPERATOR(pg_catalog.=) $1 FOR KEY SHARE", 1, {TEXTOID}
};
static EmkPlan endpoints_plan = {
	"SELECT endpoint_id, name FROM eventmkt_data.endpoint ORDER BY name LIMIT 20", 0, {0}
};

/* "a", "b" of a text column of the current result */
static char *
quoted_list(int col, uint64 n)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (uint64 i = 0; i < n; i++)
		appendStringInfo(&buf, "%s\"%s\"", i ? ", " : "", emk_spi_text(i, col));
	return buf.data;
}

/* The endpoint that send_to means; 0 for 'none'. */
static int32
resolve_endpoint(const char *send_to)
{
	uint64		n;

	if (send_to != NULL && strcmp(send_to, "none") == 0)
		return 0;
	if (send_to != NULL)
	{
		Datum		arg = CStringGetTextDatum(send_to);

		if (emk_spi_run(&endpoint_plan, &arg, NULL, false, 1) == 1)
			return emk_spi_int4(0, 1, 0);
	}
	n = emk_spi_run(&endpoints_plan, NULL, NULL, false, 0);
	if (n == 0)
		ereport(ERROR,
				(errcode(send_to ? ERRCODE_EMK_UNKNOWN_ENDPOINT : ERRCODE_INVALID_PARAMETER_VALUE),
				 send_to ? errmsg("endpoint \"%s\" does not exist", send_to) :
				 errmsg("there is no endpoint to send to"),
				 errhint("Make one with eventmkt.create_endpoint(), or write send_to => 'none' to only record.")));
	if (send_to != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_EMK_UNKNOWN_ENDPOINT),
				 errmsg("endpoint \"%s\" does not exist", send_to),
				 errhint("There are %s, and 'none' to only record.", quoted_list(2, n))));
	if (n > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("send_to must name an endpoint because there are several"),
				 errhint("There are %s, and 'none' to only record.", quoted_list(2, n))));
	return emk_spi_int4(0, 1, 0);
}

/* The id of the segment that where_segment names; 0 for NULL. */
static int32
resolve_segment(const char *name)
{
	Datum		arg;

	if (name == NULL)
		return 0;
	arg = CStringGetTextDatum(name);
	if (emk_spi_run(&segment_plan, &arg, NULL, false, 1) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_EMK_UNKNOWN_SEGMENT),
				 errmsg("segment \"%s\" does not exist", name),
				 errhint("The segments are listed in the view eventmkt_bi.segments.")));
	return emk_spi_int4(0, 1, 0);
}

static int32
insert_version(const EmkRule *r)
{
	Datum		unless[EMK_MAX_UNLESS];
	Datum		args[21];
	char		nulls[21];
	int			n = 0;

#define PUT(isnull, datum) (nulls[n] = (isnull) ? 'n' : ' ', args[n] = (isnull) ? (Datum) 0 : (datum), n++)
	for (int i = 0; i < r->nunless; i++)
		unless[i] = CStringGetTextDatum(r->unless[i]);
	PUT(r->rule_id == 0, Int32GetDatum(r->rule_id));
	PUT(false, Int32GetDatum(r->version));
	PUT(false, CStringGetTextDatum(r->name));
	PUT(false, BoolGetDatum(r->enabled));
	PUT(false, CStringGetTextDatum(r->on_event));
	PUT(r->where_event == NULL, PointerGetDatum(r->where_event));
	PUT(r->where_profile == NULL, PointerGetDatum(r->where_profile));
	PUT(false, Int32GetDatum(r->at_least));
	PUT(r->within == NULL, IntervalPGetDatum(r->within));
	PUT(r->per == NULL, CStringGetTextDatum(r->per));
	PUT(false, emk_spi_array(unless, NULL, r->nunless, TEXTOID));
	PUT(r->unless_where == NULL, PointerGetDatum(r->unless_where));
	PUT(false, IntervalPGetDatum(&r->look_back));
	PUT(false, IntervalPGetDatum(&r->after));
	PUT(false, CStringGetTextDatum(emk_rule_repeat_names[r->on_repeat]));
	PUT(r->reentry == NULL, IntervalPGetDatum(r->reentry));
	PUT(r->endpoint_id == 0, Int32GetDatum(r->endpoint_id));
	PUT(false, IntervalPGetDatum(&r->max_lateness));
	PUT(false, Int32GetDatum(r->priority));
	PUT(false, TimestampTzGetDatum(emk_clock_now()));
	PUT(r->where_segment == 0, Int32GetDatum(r->where_segment));
#undef PUT
	if (emk_spi_run(&insert_plan, args, nulls, false, 0) == 0)
		return 0;
	return emk_spi_int4(0, 1, 0);
}

/* The names of rules that could have been meant, quoted; NULL when none comes close. */
static char *
close_names(const char *name)
{
	Datum		limit = Int64GetDatum(CLOSE_NAMES_SCANNED);
	int			len = strlen(name);
	uint64		n = len > 255 ? 0 : emk_spi_run(&names_plan, &limit, NULL, true, 0);
	StringInfoData buf;
	int			found = 0;

	initStringInfo(&buf);
	for (uint64 i = 0; i < n && found < 3; i++)
	{
		char	   *other = emk_spi_text(i, 1);

		if (varstr_levenshtein_less_equal(name, len, other, strlen(other), 1, 1, 1, CLOSE_NAME_DISTANCE, true) <=
			Min(CLOSE_NAME_DISTANCE, len / 2))
			appendStringInfo(&buf, "%s\"%s\"", found++ ? ", " : "", other);
	}
	return found ? buf.data : NULL;
}

void
emk_rule_unknown(const char *name)
{
	char	   *others;

	others = close_names(name);
	ereport(ERROR,
			(errcode(ERRCODE_EMK_UNKNOWN_RULE),
			 errmsg("rule \"%s\" does not exist", name),
			 others ? errhint("Did you mean %s?", others) :
			 errhint("The rules are listed in the view eventmkt_bi.rules.")));
}

int32
emk_rule_find(const char *name, int32 *version, bool *enabled)
{
	Datum		arg = CStringGetTextDatum(name);

	/* a version that was replaced while we waited for its lock is no longer current: look again */
	for (int i = 0; i < REPLACE_TRIES; i++)
		if (emk_spi_run(&find_plan, &arg, NULL, false, 1) == 1)
		{
			if (version)
				*version = emk_spi_int4(0, 2, 0);
			if (enabled)
				*enabled = emk_spi_bool(0, 3, false);
			return emk_spi_int4(0, 1, 0);
		}
	emk_rule_unknown(name);
}

void
emk_rule_set_enabled(int32 rule_id, bool enabled, const char *reason)
{
	Datum		args[3] = {Int32GetDatum(rule_id), BoolGetDatum(enabled), reason ? CStringGetTextDatum(reason) : 0};

	emk_spi_run(&enabled_plan, args, reason ? NULL : "  n", false, 0);
	emk_rule_sync(rule_id);
}

/* Retires the current version of a rule that exists and fills in what its successor inherits. */
static bool
retire_current(EmkRuleSpec *spec)
{
	EmkRule    *rule = &spec->rule;
	bool		was_enabled;
	int32		version;
	Datum		arg;

	rule->rule_id = emk_rule_find(rule->name, &version, &was_enabled);
	rule->version = version + 1;
	if (spec->keep_enabled)
		rule->enabled = was_enabled;
	arg = Int32GetDatum(rule->rule_id);
	emk_spi_run(&retire_plan, &arg, NULL, false, 0);
	return was_enabled;
}

static void (*estimator) (const EmkRule *rule) = NULL;

void
emk_rule_set_estimator(void (*fn) (const EmkRule *rule))
{
	estimator = fn;
}

int32
emk_rule_define(FunctionCallInfo fcinfo, bool replace, bool *newly_enabled)
{
	EmkRuleSpec spec;
	EmkRule    *rule = &spec.rule;
	bool		was_enabled = false;
	EmkOwner	owner;

	if (PG_NARGS() <= ARG_WHERE_SEGMENT)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the extension in this database is older than its library"),
				 errhint("Run ALTER EXTENSION eventmkt UPDATE, then SELECT eventmkt.init().")));
	emk_rule_validate(fcinfo, replace, &spec);
	emk_owner_enter(&owner);
	SPI_connect();
	rule->endpoint_id = resolve_endpoint(spec.send_to);
	rule->where_segment = resolve_segment(spec.where_segment);
	rule->version = 1;
	if (replace)
		was_enabled = retire_current(&spec);
	rule->rule_id = insert_version(rule);
	if (rule->rule_id == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("rule \"%s\" already exists", rule->name),
				 errhint("Use eventmkt.replace_rule() to make a new version of it.")));
	if (replace && was_enabled != rule->enabled)
		emk_rule_set_enabled(rule->rule_id, rule->enabled, rule->enabled ? NULL : "replace_rule()");
	else if (replace)
		emk_rule_sync(rule->rule_id);
	else if (rule->enabled)
	{
		emk_rule_write_events(rule, 1);
		emk_rule_check_crowd(rule->rule_id);
	}
	emk_rule_advise(rule);
	if (!rule->enabled && estimator != NULL)
		estimator(rule);
	SPI_finish();
	emk_owner_leave(&owner);
	if (newly_enabled)
		*newly_enabled = replace && rule->enabled && !was_enabled;
	return rule->rule_id;
}

PG_FUNCTION_INFO_V1(emk_rule_create);
/* eventmkt.create_rule(…) → int: the id of the new rule */
Datum
emk_rule_create(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(emk_rule_define(fcinfo, false, NULL));
}

/*
 * expose.c: expose_property() and hide_property(): the view eventmkt_bi.event_<name> of an event, with a typed column for each
 * property that somebody exposed. Nobody who reads eventmkt_bi sees a property that was not.
 *
 * A row of eventmkt_data.exposed_property is a column. A new column is added at the end, so that what reads the view stays; a
 * column that goes or changes its type makes the view anew, which PostgreSQL refuses while another view needs it.
 * The view is a security barrier: a function of the reader's own sees no row of another event.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "parser/parse_type.h"
#include "report/report_int.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/syscache.h"

#define PREFIX "event_"

/* what a property can be read as, and the expression that does it, of (properties, name) */
static const struct
{
	Oid			oid;
	const char *name;			/* as stored and shown */
	const char *expression;
	bool		number;
}			types[] = {
	{TEXTOID, "text", "e.properties OPERATOR(pg_catalog.->>) %s", false},
	{NUMERICOID, "numeric", "eventmkt.property_numeric(e.properties, %s)", true},
	{FLOAT8OID, "double precision", "eventmkt.property_double(e.properties, %s)", true},
	{INT8OID, "bigint", "eventmkt.property_bigint(e.properties, %s)", true},
	{INT4OID, "integer", "eventmkt.property_integer(e.properties, %s)", true},
	{BOOLOID, "boolean", "eventmkt.property_boolean(e.properties, %s)", false},
	{TIMESTAMPTZOID, "timestamp with time zone", "eventmkt.property_timestamptz(e.properties, %s)", false},
	{DATEOID, "date", "eventmkt.property_date(e.properties, %s)", false},
	{JSONBOID, "jsonb", "NULLIF(e.properties OPERATOR(pg_catalog.->) %s, 'null'::pg_catalog.jsonb)", false},
};

static const struct
{
	const char *name;
	const char *comment;
}			fixed[] = {
	{"event_id", "number of the event; each once"},
	{"profile_id", "canonical id of the person, whatever id the event came with"},
	{"occurred_at", "when it happened"},
	{"received_at", "since when it is known"},
};

static EmkPlan columns_plan = {
	"SELECT property, type, column_name, comment FROM eventmkt_data.exposed_property "
	"WHERE event OPERATOR(pg_catalog.=) $1 ORDER BY position", 1, {TEXTOID}
};
static EmkPlan put_plan = {
	"INSERT INTO eventmkt_data.exposed_property AS x (event, property, type, column_name, comment, position, changed_at) "
	"VALUES ($1, $2, $3, $4, $5, (SELECT COALESCE(pg_catalog.max(position), 0) OPERATOR(pg_catalog.+) 1 "
	"FROM eventmkt_data.exposed_property WHERE event OPERATOR(pg_catalog.=) $1), $6) "
	"ON CONFLICT (event, property) DO UPDATE SET type = $3, column_name = $4, comment = $5, changed_at = $6", 6,
	{TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID}
};
static EmkPlan delete_plan = {
	"DELETE FROM eventmkt_data.exposed_property WHERE event OPERATOR(pg_catalog.=) $1 AND property OPERATOR(pg_catalog.=) $2", 2,
	{TEXTOID, TEXTOID}
};
static EmkPlan goal_plan = {
	"SELECT name FROM eventmkt_data.goal WHERE event OPERATOR(pg_catalog.=) $1 AND revenue OPERATOR(pg_catalog.=) $2", 2,
	{TEXTOID, TEXTOID}
};

/* The index in types[] of a name of a type as SQL knows it */
static int
find_type(const char *name)
{
	Oid			oid;
	int32		typmod;
	int			nest = NewGUCNestLevel();

	(void) set_config_option("search_path", "pg_catalog", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
#if PG_VERSION_NUM >= 160000
	(void) parseTypeString(name, &oid, &typmod, NULL);
#else
	parseTypeString(name, &oid, &typmod, false);
#endif
	AtEOXact_GUC(true, nest);
	for (int i = 0; i < lengthof(types) && typmod < 0; i++)
		if (types[i].oid == oid)
			return i;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("a property cannot be exposed as %s", name),
			 errhint("The types are text, numeric, double precision, bigint, integer, boolean, timestamptz, date and jsonb.")));
	return -1;
}

static int
stored_type(const char *name)
{
	for (int i = 0; i < lengthof(types); i++)
		if (strcmp(types[i].name, name) == 0)
			return i;
	ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED), errmsg("a property is exposed as %s, which is not known", name)));
	return -1;
}

typedef struct Column
{
	char	   *property;
	int			type;
	char	   *name;
	char	   *comment;		/* NULL: none of its own */
} Column;

static Column *
read_columns(const char *event, int *n)
{
	Datum		arg = CStringGetTextDatum(event);
	Column	   *c;

	*n = (int) emk_spi_run(&columns_plan, &arg, NULL, false, 0);
	c = palloc(sizeof(Column) * (*n + 1));
	for (int i = 0; i < *n; i++)
	{
		c[i].property = emk_spi_text(i, 1);
		c[i].type = stored_type(emk_spi_text(i, 2));
		c[i].name = emk_spi_text(i, 3);
		c[i].comment = emk_spi_text(i, 4);
	}
	return c;
}

static void
put_comments(const char *view, const char *event, const Column *c, int n)
{
	emk_report_comment(view, NULL, psprintf("events %s, one a row, with the properties that are exposed", event));
	for (int i = 0; i < lengthof(fixed); i++)
		emk_report_comment(view, fixed[i].name, fixed[i].comment);
	for (int i = 0; i < n; i++)
		emk_report_comment(view, quote_identifier(c[i].name), c[i].comment ? c[i].comment :
						   psprintf("property %s as %s; NULL where it is missing or no such value", c[i].property,
									types[c[i].type].name));
}

void
emk_report_make_event_view(const char *event, bool anew)
{
	char	   *view = emk_report_view(PREFIX, event);
	StringInfoData buf;
	int			n;
	Column	   *c = read_columns(event, &n);

	emk_report_take_view(PREFIX, event);
	if (anew)
		emk_spi_script(psprintf("DROP VIEW IF EXISTS %s", view));
	if (n == 0)
		return;
	initStringInfo(&buf);
	appendStringInfo(&buf, "CREATE OR REPLACE VIEW %s WITH (security_barrier) AS SELECT e.event_id, "
					 "COALESCE(a.profile_id, e.profile_id) AS profile_id, e.occurred_at, e.received_at", view);
	for (int i = 0; i < n; i++)
	{
		appendStringInfoString(&buf, ", ");
		appendStringInfo(&buf, types[c[i].type].expression, quote_literal_cstr(c[i].property));
		appendStringInfo(&buf, " AS %s", quote_identifier(c[i].name));
	}
	appendStringInfo(&buf, " FROM eventmkt_data.event e LEFT JOIN eventmkt_data.alias a ON a.alias OPERATOR(pg_catalog.=) "
					 "e.profile_id WHERE e.name OPERATOR(pg_catalog.=) %s AND e.conflict_of IS NULL", quote_literal_cstr(event));
	emk_spi_script(buf.data);
	put_comments(view, event, c, n);
}

/* A column of this name must be free: neither one of those that every event has nor that of another property. */
static void
refuse_clash(const char *event, const char *property, const char *column, const Column *c, int n)
{
	const char *taken = NULL;

	for (int i = 0; i < lengthof(fixed); i++)
		if (strcmp(fixed[i].name, column) == 0)
			taken = "Every event has one of this name.";
	for (int i = 0; i < n; i++)
		if (strcmp(c[i].property, property) != 0 && strcmp(c[i].name, column) == 0)
			taken = psprintf("It shows the property \"%s\".", c[i].property);
	if (taken != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_COLUMN),
				 errmsg("the view of event \"%s\" already has a column \"%s\"", event, column),
				 errdetail("%s", taken),
				 errhint("Give the column another name with column_name.")));
}

bool
emk_report_is_number(const char *event, const char *property)
{
	int			n;
	Column	   *c = read_columns(event, &n);

	for (int i = 0; i < n; i++)
		if (strcmp(c[i].property, property) == 0)
			return types[c[i].type].number;
	return false;
}

/* A goal that counts this property as revenue holds it. */
static void
refuse_goal(const char *event, const char *property)
{
	Datum		args[2] = {CStringGetTextDatum(event), CStringGetTextDatum(property)};

	if (emk_spi_run(&goal_plan, args, NULL, false, 1) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("property \"%s\" of event \"%s\" is the revenue of goal \"%s\"", property, event, emk_spi_text(0, 1)),
				 errhint("Drop the goal first: SELECT eventmkt.drop_goal(%s).", quote_literal_cstr(emk_spi_text(0, 1)))));
}

static void
put_row(const char *event, const Column *c)
{
	Datum		args[6] = {CStringGetTextDatum(event), CStringGetTextDatum(c->property), CStringGetTextDatum(types[c->type].name),
		CStringGetTextDatum(c->name), c->comment ? CStringGetTextDatum(c->comment) : 0, TimestampTzGetDatum(emk_clock_now())};

	emk_spi_run(&put_plan, args, c->comment ? NULL : "    n ", false, 0);
}

static void
check_event(const char *event)
{
	emk_report_check_name(event, EMK_MAX_EXPOSED_EVENT_BYTES, "event", "max exposed event bytes",
						  "The name of the view is event_ and the name of the event, 63 bytes at most.");
}

PG_FUNCTION_INFO_V1(emk_report_expose);
/* eventmkt.expose_property(event, property, type, column_name, comment) → text: the name of the view, quoted */
Datum
emk_report_expose(PG_FUNCTION_ARGS)
{
	char	   *event = emk_report_text(fcinfo, 0);
	char	   *type = emk_report_text(fcinfo, 2);
	Column		new = {.property = emk_report_text(fcinfo, 1),.name = emk_report_text(fcinfo, 3),
		.comment = emk_report_text(fcinfo, 4)};
	Column	   *c;
	int			n;
	bool		anew = false;
	EmkOwner	owner;

	check_event(event);
	emk_report_check_name(new.property, EMK_MAX_KEY_BYTES, "property", "max key bytes", "Take a property with a shorter name.");
	if (type == NULL)
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("type must not be null")));
	new.type = find_type(type);
	if (new.name == NULL)
		new.name = new.property;
	emk_report_check_name(new.name, EMK_MAX_NAME_BYTES, "the name of the column", "max name bytes",
						  "Give a shorter one with column_name.");

	emk_report_enter(&owner, "exposed_property");
	c = read_columns(event, &n);
	refuse_clash(event, new.property, new.name, c, n);
	if (n == 0)
		emk_report_refuse_taken(PREFIX, event);
	for (int i = 0; i < n; i++)
		if (strcmp(c[i].property, new.property) == 0)
			anew = c[i].type != new.type || strcmp(c[i].name, new.name) != 0;
	if (anew && !types[new.type].number)
		refuse_goal(event, new.property);
	put_row(event, &new);
	emk_report_make_event_view(event, anew);
	emk_report_leave(&owner);
	PG_RETURN_TEXT_P(cstring_to_text(emk_report_view(PREFIX, event)));
}

PG_FUNCTION_INFO_V1(emk_report_hide);
/* eventmkt.hide_property(event, property) */
Datum
emk_report_hide(PG_FUNCTION_ARGS)
{
	char	   *event = emk_report_text(fcinfo, 0);
	char	   *property = emk_report_text(fcinfo, 1);
	Datum		args[2];
	EmkOwner	owner;

	emk_report_check_name(event, EMK_MAX_EVENT_NAME_BYTES, "event", "max event name bytes", "Look in eventmkt_bi.exposed_properties.");
	emk_report_check_name(property, EMK_MAX_KEY_BYTES, "property", "max key bytes", "Look in eventmkt_bi.exposed_properties.");
	emk_report_enter(&owner, "exposed_property");
	refuse_goal(event, property);
	args[0] = CStringGetTextDatum(event);
	args[1] = CStringGetTextDatum(property);
	if (emk_spi_run(&delete_plan, args, NULL, false, 0) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("property \"%s\" of event \"%s\" is not exposed", property, event),
				 errhint("What is exposed is listed in the view eventmkt_bi.exposed_properties.")));
	emk_report_make_event_view(event, true);
	emk_report_leave(&owner);
	PG_RETURN_VOID();
}

/*
 * sync.c: rule → rule_event, the rows that the matcher reads: which current, enabled rule listens to which event name, and
 * what spine 1 can already refuse.
 *
 * Rules. A name that only starts carries the starting condition, a name that only cancels the cancelling one. A name that
 * does both is let through unless both conditions are the same, because refusing needs both to be false. A cold condition is
 * let through, but the comparison it demands (`$.p == constant`) still serves as hash. An inactivity rule never cancels.
 *
 * What the matcher may have to ask one by one for an event is bounded (EMK_MAX_RULES_PER_EVENT): of a name, and of `*`, the
 * rules without a hash and those that demand one and the same value. Two sessions that add rules at the same moment do not see
 * each other's, so the bound may be passed by what was under way.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "rule/define_int.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define COLUMNS 10
#define NAMES_PER_INSERT 2000

static EmkPlan delete_plan = {
	"DELETE FROM eventmkt_data.rule_event WHERE rule_id OPERATOR(pg_catalog.=) $1", 1, {INT4OID}
};
static EmkPlan delete_all_plan = {
	"DELETE FROM eventmkt_data.rule_event WHERE rule_id OPERATOR(pg_catalog.>) 0", 0, {0}
};
static EmkPlan delete_listeners_plan = {
	"DELETE FROM eventmkt_data.rule_event WHERE rule_id OPERATOR(pg_catalog.<) 0", 0, {0}
};
#define RULE_COLUMNS "rule_id, version, on_event, where_event, at_least, within, per, unless, unless_where, look_back, " \
	"after, on_repeat FROM eventmkt_data.rule WHERE current AND enabled"
static EmkPlan load_plan = {
	"SELECT " RULE_COLUMNS " AND rule_id OPERATOR(pg_catalog.=) $1", 1, {INT4OID}
};
static EmkPlan load_all_plan = {
	"SELECT " RULE_COLUMNS " ORDER BY rule_id", 0, {0}
};
static EmkPlan insert_plan = {
	"INSERT INTO eventmkt_data.rule_event (name, rule_id, version, starts, cancels, lapse, lapse_after, hash_property, "
	"hash_value, condition) SELECT * FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), "
	"pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8), "
	"pg_catalog.unnest($9), pg_catalog.unnest($10))", COLUMNS,
	{TEXTARRAYOID, INT4ARRAYOID, INT4ARRAYOID, BOOLARRAYOID, BOOLARRAYOID, BOOLARRAYOID, INTERVALARRAYOID, TEXTARRAYOID,
	JSONBARRAYOID, JSONPATHARRAYOID}
};
static const Oid column_types[COLUMNS] = {
	TEXTOID, INT4OID, INT4OID, BOOLOID, BOOLOID, BOOLOID, INTERVALOID, TEXTOID, JSONBOID, JSONPATHOID
};

#define NAMED(alias) alias ".name OPERATOR(pg_catalog.=) ANY (ARRAY[e.name, '*'::pg_catalog.text]) "
#define HASH_OF(alias) "pg_catalog.hashtext(" alias ".hash_property)"
#define VALUE_OF(alias) "pg_catalog.jsonb_hash(" alias ".hash_value)"
/* are there more than $2 rows at all, and does rule $1 listen to `*`? Planned anew at each change of a rule, like those below */
static EmkPlan many_plan = {
	"SELECT EXISTS (SELECT FROM eventmkt_data.rule_event OFFSET $2), EXISTS (SELECT FROM eventmkt_data.rule_event e "
	"WHERE e.name OPERATOR(pg_catalog.=) '*' AND e.rule_id OPERATOR(pg_catalog.=) $1)", 2, {INT4OID, INT8OID}
};
/* names of rule $1 for which one value of one event would meet more than $2 rules; reads the index rule_event_hash */
static EmkPlan crowded_plan = {
	"SELECT e.name FROM eventmkt_data.rule_event e CROSS JOIN LATERAL (SELECT pg_catalog.count(*) AS n FROM ("
	"SELECT FROM eventmkt_data.rule_event p WHERE " NAMED("p") "AND " HASH_OF("p") " IS NULL "
	"LIMIT $2 OPERATOR(pg_catalog.+) 1) x) plain CROSS JOIN LATERAL (SELECT CASE WHEN e.hash_property IS NULL THEN "
	"(SELECT COALESCE(pg_catalog.max(c.n), 0) FROM (SELECT pg_catalog.count(*) AS n FROM eventmkt_data.rule_event h "
	"WHERE " NAMED("h") "AND " HASH_OF("h") " IS NOT NULL GROUP BY h.hash_property, h.hash_value) c) ELSE "
	"(SELECT pg_catalog.count(*) FROM (SELECT FROM eventmkt_data.rule_event h WHERE " NAMED("h")
	"AND " HASH_OF("h") " OPERATOR(pg_catalog.=) " HASH_OF("e") " AND " VALUE_OF("h") " OPERATOR(pg_catalog.=) " VALUE_OF("e")
	" AND h.hash_property OPERATOR(pg_catalog.=) e.hash_property AND h.hash_value OPERATOR(pg_catalog.=) e.hash_value "
	"LIMIT $2 OPERATOR(pg_catalog.+) 1) x) END AS n) same WHERE e.rule_id OPERATOR(pg_catalog.=) $1 "
	"AND plain.n OPERATOR(pg_catalog.+) same.n OPERATOR(pg_catalog.>) $2 ORDER BY e.name LIMIT 1", 2, {INT4OID, INT8OID}
};
/* the same for a rule that listens to `*` and so joins every name: all rows are looked at */
static EmkPlan crowded_star_plan = {
	"SELECT t.name FROM (SELECT g.name, pg_catalog.sum(g.n) FILTER (WHERE g.hash_property IS NULL) AS plain, "
	"pg_catalog.max(g.n) FILTER (WHERE g.hash_property IS NOT NULL) AS same FROM (SELECT name, hash_property, "
	"pg_catalog.count(*) AS n FROM eventmkt_data.rule_event GROUP BY name, hash_property, hash_value) g GROUP BY g.name) t, "
	"(SELECT pg_catalog.count(*) AS n FROM eventmkt_data.rule_event WHERE name OPERATOR(pg_catalog.=) '*') s "
	"WHERE $1 IS NOT NULL AND COALESCE(t.plain, 0) OPERATOR(pg_catalog.+) COALESCE(t.same, 0) "
	"OPERATOR(pg_catalog.+) CASE WHEN t.name OPERATOR(pg_catalog.=) '*' THEN 0 ELSE s.n END OPERATOR(pg_catalog.>) $2 "
	"ORDER BY t.name LIMIT 1", 2, {INT4OID, INT8OID}
};

/* Rows under construction, column by column, for unnest(). */
typedef struct Rows
{
	int			n;
	int			size;
	Datum	   *values[COLUMNS];
	bool	   *nulls[COLUMNS];
} Rows;

static bool
is_zero(const Interval *iv)
{
	return iv->time == 0 && iv->day == 0 && iv->month == 0;
}

bool
emk_rule_is_lapse(const EmkRule *rule)
{
	bool		restarts = strcmp(rule->on_event, "*") == 0 && rule->nunless == 0;

	if (is_zero(&rule->after) || !is_zero(&rule->look_back) || rule->on_repeat != EMK_REPEAT_DEBOUNCE ||
		rule->at_least != 1 || rule->per || rule->where_event || rule->unless_where)
		return false;
	for (int i = 0; i < rule->nunless; i++)
	{
		if (strcmp(rule->unless[i], rule->on_event) != 0)
			return false;
		restarts = true;
	}
	return restarts;
}

static bool
same_path(const JsonPath *a, const JsonPath *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	return VARSIZE(a) == VARSIZE(b) && memcmp(a, b, VARSIZE(a)) == 0;
}

static void
flush(Rows *rows)
{
	Datum		args[COLUMNS];

	if (rows->n == 0)
		return;
	for (int c = 0; c < COLUMNS; c++)
		args[c] = emk_spi_array(rows->values[c], rows->nulls[c], rows->n, column_types[c]);
	emk_spi_run(&insert_plan, args, NULL, false, 0);
	rows->n = 0;
}

static void
put(Rows *rows, int column, bool isnull, Datum value)
{
	rows->nulls[column][rows->n] = isnull;
	rows->values[column][rows->n] = isnull ? (Datum) 0 : value;
}

/* The row of one event name of a rule. */
static void
add_name(Rows *rows, const EmkRule *rule, const char *name, bool starts, bool cancels)
{
	JsonPath   *path = NULL;
	EmkCondition c;
	bool		test;

	if (starts && cancels)
		path = same_path(rule->where_event, rule->unless_where) ? rule->where_event : NULL;
	else
		path = starts ? rule->where_event : rule->unless_where;
	memset(&c, 0, sizeof(c));
	if (path != NULL)
		emk_rule_analyse(path, &c);
	test = path != NULL && !c.cold && !(c.hash_property && c.hash_is_all);

	if (rows->n == rows->size)
		flush(rows);
	put(rows, 0, false, CStringGetTextDatum(name));
	put(rows, 1, false, Int32GetDatum(rule->rule_id));
	put(rows, 2, false, Int32GetDatum(rule->version));
	put(rows, 3, false, BoolGetDatum(starts));
	put(rows, 4, false, BoolGetDatum(cancels));
	put(rows, 5, false, BoolGetDatum(rule->lapse));
	put(rows, 6, !rule->lapse, IntervalPGetDatum(&rule->after));
	put(rows, 7, c.hash_property == NULL, c.hash_property ? CStringGetTextDatum(c.hash_property) : 0);
	put(rows, 8, c.hash_property == NULL, PointerGetDatum(c.hash_value));
	put(rows, 9, !test, PointerGetDatum(path));
	rows->n++;
}

void
emk_rule_write_events(const EmkRule *rules, int n)
{
	Rows		rows = {.size = n == 1 ? rules->nunless + 1 : NAMES_PER_INSERT};

	for (int c = 0; c < COLUMNS; c++)
	{
		rows.values[c] = palloc(sizeof(Datum) * rows.size);
		rows.nulls[c] = palloc(sizeof(bool) * rows.size);
	}
	for (const EmkRule *rule = rules; rule < rules + n; rule++)
	{
		bool		also_cancels = false;

		for (int i = 0; i < rule->nunless; i++)
			also_cancels |= strcmp(rule->unless[i], rule->on_event) == 0;
		add_name(&rows, rule, rule->on_event, true, also_cancels && !rule->lapse);
		for (int i = 0; i < rule->nunless; i++)
			if (strcmp(rule->unless[i], rule->on_event) != 0)
				add_name(&rows, rule, rule->unless[i], false, true);
	}
	flush(&rows);
}

static JsonPath *
path_column(uint64 row, int col)
{
	bool		isnull;
	Datum		d = emk_spi_datum(row, col, &isnull);

	return isnull ? NULL : DatumGetJsonPathPCopy(d);
}

/* A row of load_plan, as far as rule_event depends on it. */
static void
load_rule(uint64 row, EmkRule *rule)
{
	Datum	   *elems;
	bool		isnull;
	char	   *repeat = emk_spi_text(row, 12);

	memset(rule, 0, sizeof(*rule));
	rule->rule_id = emk_spi_int4(row, 1, 0);
	rule->version = emk_spi_int4(row, 2, 0);
	rule->current = rule->enabled = true;
	rule->on_event = emk_spi_text(row, 3);
	rule->where_event = path_column(row, 4);
	rule->at_least = emk_spi_int4(row, 5, 1);
	rule->per = emk_spi_text(row, 7);
	deconstruct_array(DatumGetArrayTypeP(emk_spi_datum(row, 8, &isnull)), TEXTOID, -1, false, TYPALIGN_INT, &elems, NULL,
					  &rule->nunless);
	rule->unless = palloc(sizeof(char *) * Max(rule->nunless, 1));
	for (int i = 0; i < rule->nunless; i++)
		rule->unless[i] = TextDatumGetCString(elems[i]);
	rule->unless_where = path_column(row, 9);
	rule->look_back = *DatumGetIntervalP(emk_spi_datum(row, 10, &isnull));
	rule->after = *DatumGetIntervalP(emk_spi_datum(row, 11, &isnull));
	for (int i = 0; emk_rule_repeat_names[i]; i++)
		if (strcmp(repeat, emk_rule_repeat_names[i]) == 0)
			rule->on_repeat = (EmkRepeat) i;
	rule->lapse = emk_rule_is_lapse(rule);
}

static void
load_and_write(EmkPlan *plan, Datum *args)
{
	uint64		n = emk_spi_run(plan, args, NULL, false, 0);
	EmkRule    *rules = palloc(sizeof(EmkRule) * Max(n, 1));

	for (uint64 i = 0; i < n; i++)
		load_rule(i, &rules[i]);
	SPI_freetuptable(SPI_tuptable);
	if (n > 0)
		emk_rule_write_events(rules, n);
	pfree(rules);
}

void
emk_rule_check_crowd(int32 rule_id)
{
	Datum		args[2] = {Int32GetDatum(rule_id), Int64GetDatum(EMK_MAX_RULES_PER_EVENT)};

	emk_spi_run(&many_plan, args, NULL, false, 0);
	if (!emk_spi_bool(0, 1, true))
		return;
	if (emk_spi_run(emk_spi_bool(0, 2, true) ? &crowded_star_plan : &crowded_plan, args, NULL, false, 0) == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("one event \"%s\" could start or cancel more than %d enabled rules (EMK_MAX_RULES_PER_EVENT)",
					emk_spi_text(0, 1), EMK_MAX_RULES_PER_EVENT),
			 errhint("Rules that demand different values, as in $.category == \"shoes\", are counted a value. "
					 "Disable or drop rules that are no longer needed.")));
}

void
emk_rule_sync(int32 rule_id)
{
	Datum		arg = Int32GetDatum(rule_id);

	emk_spi_run(&delete_plan, &arg, NULL, false, 0);
	load_and_write(&load_plan, &arg);
	emk_rule_check_crowd(rule_id);
}

void
emk_rule_set_listeners(const EmkRule *listeners, int n)
{
	emk_spi_run(&delete_listeners_plan, NULL, NULL, false, 0);
	if (n > 0)
		emk_rule_write_events(listeners, n);
}

void
emk_rule_sync_all(void)
{
	EmkOwner	owner;

	emk_owner_enter(&owner);
	SPI_connect();
	emk_spi_run(&delete_all_plan, NULL, NULL, false, 0);
	load_and_write(&load_all_plan, NULL);
	SPI_finish();
	emk_owner_leave(&owner);
}

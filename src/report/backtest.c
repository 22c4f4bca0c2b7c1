/*
 * backtest.c: what would rules have done? backtest() gives a row for each decision, backtest_summary() counts them by day and reason and
 * says what was bought after, estimate_rule() tells a month's volume from a sample of people.
 *
 * A rule is taken to have been made `warm_up` before the span (default: its delay and re-entry), so that who was waiting at the beginning
 * is decided within; only what is decided in the span is told, and what waits at its end. With warm_up => '0' the rows are those
 * that the worker would have written for a rule made at `from`, had it decided each run exactly at its due time.
 */
#include "postgres.h"

#include <math.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "report/backtest.h"
#include "report/report.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/tuplestore.h"

#define ROW_COLUMNS 10
#define SAMPLE_EVENTS 2000000	/* estimate_rule(): where history has more, some people are asked for all */
#define ROWS_NAME "backtest_rows"
#define HINT_MS 500				/* what making a disabled rule may take longer for its estimate */
#define HINT_EVENTS 200000		/* where history has more, some people are asked for all */

/* What a call works with */
typedef struct Call
{
	EmkBacktest b;
	Tuplestorestate *rows;
	TupleDesc	desc;			/* of the rows */
} Call;

static Datum
text_or_null(const char *s, bool *isnull)
{
	*isnull = s == NULL;
	return s ? CStringGetTextDatum(s) : (Datum) 0;
}

static void
put_row(void *arg, const EmkDecision *d, TimestampTz decided_at)
{
	Call	   *c = arg;
	Datum		v[ROW_COLUMNS];
	bool		isnull[ROW_COLUMNS] = {false};

	v[0] = CStringGetTextDatum(d->rule);
	v[1] = CStringGetTextDatum(d->profile_id);
	v[2] = CStringGetTextDatum(d->key ? d->key : "");
	v[3] = TimestampTzGetDatum(d->started_at);
	v[4] = Int64GetDatum(d->event_id);
	v[5] = TimestampTzGetDatum(d->due_at);
	isnull[5] = d->due_at == 0;
	v[6] = CStringGetTextDatum(d->outcome);
	v[7] = text_or_null(d->reason, &isnull[7]);
	isnull[8] = d->facts == NULL;
	v[8] = d->facts ? JsonbPGetDatum(emk_json_parse(d->facts)) : (Datum) 0;
	v[9] = TimestampTzGetDatum(decided_at);
	isnull[9] = decided_at == DT_NOEND;
	tuplestore_putvalues(c->rows, c->desc, v, isnull);
}

static void
add_rule(EmkBacktest *b, const EmkRule *rule)
{
	b->tried = b->tried == NULL ? palloc(sizeof(EmkTried)) : repalloc(b->tried, sizeof(EmkTried) * (b->ntried + 1));
	b->tried[b->ntried++].rule = rule;
}

/* The rules that the first argument means: a name, names, a definition, or an array of definitions */
static void
read_rules(FunctionCallInfo fcinfo, EmkBacktest *b)
{
	Oid			type = get_fn_expr_argtype(fcinfo->flinfo, 0);

	if (type == TEXTARRAYOID)
	{
		Datum	   *elems;
		bool	   *nulls;
		int			n;

		deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false, TYPALIGN_INT, &elems, &nulls, &n);
		for (int i = 0; i < n; i++)
			add_rule(b, emk_rule_peek(nulls[i] ? "" : TextDatumGetCString(elems[i])));
	}
	else if (type == JSONBOID)
	{
		Jsonb	   *given = PG_GETARG_JSONB_P(0);

		if (!JB_ROOT_IS_ARRAY(given) || JB_ROOT_IS_SCALAR(given))
			add_rule(b, emk_rule_draft(given));
		else
			for (int i = 0; i < (int) JB_ROOT_COUNT(given); i++)
				add_rule(b, emk_rule_draft(JsonbValueToJsonb(getIthJsonbValueFromContainer(&given->root, i))));
	}
	else
		add_rule(b, emk_rule_peek(TextDatumGetCString(PG_GETARG_DATUM(0))));
	if (b->ntried == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("there is no rule to try"),
				 errhint("Name at least one rule, or give at least one definition.")));
}

static void
set_span(EmkBacktest *b, TimestampTz from, TimestampTz to, const Interval *warm_up)
{
	if (from >= to)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"from\" must lie before \"to\"")));
	b->from = from;
	b->to = to;
	b->every = 1;
	for (int i = 0; i < b->ntried; i++)
	{
		EmkTried   *t = &b->tried[i];

		if (warm_up != NULL)
			t->since = emk_clock_subtract(from, warm_up);
		else
		{
			t->since = emk_clock_subtract(from, &t->rule->after);
			if (t->rule->reentry != NULL)
				t->since = emk_clock_subtract(t->since, t->rule->reentry);
		}
	}
}

static TimestampTz
time_arg(FunctionCallInfo fcinfo, int arg, const char *name)
{
	if (PG_ARGISNULL(arg))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
	return PG_GETARG_TIMESTAMPTZ(arg);
}

static void
refuse_null_rule(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the rule must not be null"),
				 errhint("Give the name of a rule, several names, or a definition.")));
}

static void
run(EmkBacktest *b, EmkBacktestRow row, void *arg)
{
	EmkBacktestData data = {{{0}}};
	int			level = NewGUCNestLevel();

	b->row = row;
	b->arg = arg;
	b->told = emk_clock_monotonic();
	(void) set_config_option("jit", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	emk_report_backtest_read(b, &data);
	AtEOXact_GUC(true, level);
	emk_report_backtest_part(b, &data);
}

PG_FUNCTION_INFO_V1(emk_report_backtest_sql);
/* eventmkt.backtest(rule, from, to, warm_up) → rows */
Datum
emk_report_backtest_sql(PG_FUNCTION_ARGS)
{
	Call		c = {{0}};
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	EmkOwner	owner;

	refuse_null_rule(fcinfo);
	InitMaterializedSRF(fcinfo, 0);
	c.rows = rsinfo->setResult;
	c.desc = rsinfo->setDesc;
	emk_owner_enter(&owner);
	SPI_connect();
	read_rules(fcinfo, &c.b);
	set_span(&c.b, time_arg(fcinfo, 1, "\"from\""), PG_ARGISNULL(2) ? emk_clock_now() : PG_GETARG_TIMESTAMPTZ(2),
			 PG_ARGISNULL(3) ? NULL : PG_GETARG_INTERVAL_P(3));
	run(&c.b, put_row, &c);
	SPI_finish();
	emk_owner_leave(&owner);
	return (Datum) 0;
}

/* ---- questions to the rows, which the queries below read as a table ---- */

/*
 * Each order is counted once a rule: for the last message before it. The ids of a person are all asked.
 */
static const char *const summary_query =
	"WITH r AS MATERIALIZED (SELECT pg_catalog.row_number() OVER () AS n, x.* FROM " ROWS_NAME " x), sent AS ("
	"SELECT r.n, r.rule, r.decided_at, p.profile_id, LEAST(pg_catalog.timezone('UTC', "
	"pg_catalog.timezone('UTC', r.decided_at) OPERATOR(pg_catalog.+) $2), pg_catalog.lead(r.decided_at) OVER ("
	"PARTITION BY r.rule, p.profile_id ORDER BY r.decided_at, r.n DESC)) AS until FROM r "
	"LEFT JOIN eventmkt_data.alias a ON a.alias OPERATOR(pg_catalog.=) (r.profile_id COLLATE \"C\") "
	"CROSS JOIN LATERAL (SELECT COALESCE(a.profile_id, r.profile_id) AS profile_id) p "
	"WHERE $1 IS NOT NULL AND r.outcome OPERATOR(pg_catalog.=) ANY ('{delivered,recorded}')), orders AS ("
	"SELECT s.n, eventmkt.property_numeric(e.properties, $3) AS value "
	"FROM sent s CROSS JOIN LATERAL (SELECT s.profile_id UNION ALL SELECT b.alias FROM eventmkt_data.alias b "
	"WHERE b.profile_id OPERATOR(pg_catalog.=) (s.profile_id COLLATE \"C\")) i (id) JOIN eventmkt_data.event e "
	"ON e.profile_id OPERATOR(pg_catalog.=) (i.id COLLATE \"C\") AND e.name OPERATOR(pg_catalog.=) ($1 COLLATE \"C\") "
	"AND e.occurred_at OPERATOR(pg_catalog.>) s.decided_at AND e.occurred_at OPERATOR(pg_catalog.<=) s.until "
	"AND e.conflict_of IS NULL), bought AS ("
	"SELECT n, pg_catalog.sum(value) AS value FROM orders GROUP BY n) "
	"SELECT r.rule, r.decided_at::pg_catalog.date, r.outcome, r.reason, pg_catalog.count(*), "
	"pg_catalog.count(DISTINCT r.profile_id), CASE WHEN $1 IS NOT NULL THEN pg_catalog.count(b.n) END, "
	"pg_catalog.sum(b.value) FROM r LEFT JOIN bought b ON b.n OPERATOR(pg_catalog.=) r.n "
	"GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4";

static const char *const estimate_query =
	"SELECT x.rule, pg_catalog.count(*) FILTER (WHERE x.outcome OPERATOR(pg_catalog.=) ANY ('{delivered,recorded}')), "
	"pg_catalog.count(*) FILTER (WHERE x.outcome OPERATOR(pg_catalog.=) 'cancelled'), "
	"pg_catalog.count(*) FILTER (WHERE x.outcome OPERATOR(pg_catalog.=) ANY ('{suppressed,expired}')), "
	"pg_catalog.count(DISTINCT x.profile_id) FILTER (WHERE x.outcome OPERATOR(pg_catalog.=) ANY ('{delivered,recorded}')) "
	"FROM " ROWS_NAME " x GROUP BY 1";

static EmkPlan size_plan = {
	"SELECT COALESCE(pg_catalog.sum(GREATEST(c.reltuples, 0)), 0)::pg_catalog.int8 FROM pg_catalog.pg_inherits i "
	"JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) i.inhrelid "
	"WHERE i.inhparent OPERATOR(pg_catalog.=) 'eventmkt_data.event'::pg_catalog.regclass", 0, {0}
};

static void
make_rows(Call *c)
{
	static const struct
	{
		const char *name;
		Oid			type;
	}			columns[ROW_COLUMNS] = {
		{"rule", TEXTOID}, {"profile_id", TEXTOID}, {"key", TEXTOID}, {"started_at", TIMESTAMPTZOID}, {"event_id", INT8OID},
		{"due_at", TIMESTAMPTZOID}, {"outcome", TEXTOID}, {"reason", TEXTOID}, {"facts", JSONBOID},
		{"decided_at", TIMESTAMPTZOID}
	};

	c->desc = CreateTemplateTupleDesc(ROW_COLUMNS);
	for (int i = 0; i < ROW_COLUMNS; i++)
		TupleDescInitEntry(c->desc, i + 1, columns[i].name, columns[i].type, -1, 0);
	c->rows = tuplestore_begin_heap(true, false, work_mem);
}

/* Runs a query that may read the rows. */
static void
ask_rows(Call *c, const char *query, int nargs, Oid *types, Datum *values, const char *nulls)
{
	EphemeralNamedRelation enr = palloc0(sizeof(EphemeralNamedRelationData));
	int			rc;

	enr->md.name = ROWS_NAME;
	enr->md.reliddesc = InvalidOid;
	enr->md.tupdesc = c->desc;
	enr->md.enrtype = ENR_NAMED_TUPLESTORE;
	enr->md.enrtuples = tuplestore_tuple_count(c->rows);
	enr->reldata = c->rows;
	if (SPI_register_relation(enr) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register the rows");
	rc = SPI_execute_with_args(query, nargs, types, values, nulls, true, 0);
	if (rc != SPI_OK_SELECT)
		elog(ERROR, "could not run statement: %s", SPI_result_code_string(rc));
	(void) SPI_unregister_relation(ROWS_NAME);
}

PG_FUNCTION_INFO_V1(emk_report_backtest_summary);
/* eventmkt.backtest_summary(rule, from, to, converted_by, within, revenue, warm_up) → rows by day, outcome and reason */
Datum
emk_report_backtest_summary(PG_FUNCTION_ARGS)
{
	Oid			types[3] = {TEXTOID, INTERVALOID, TEXTOID};
	Call		c = {{0}};
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum		values[3];
	char		nulls[4] = "   ";
	EmkOwner	owner;

	refuse_null_rule(fcinfo);
	InitMaterializedSRF(fcinfo, 0);
	emk_owner_enter(&owner);
	SPI_connect();
	read_rules(fcinfo, &c.b);
	set_span(&c.b, time_arg(fcinfo, 1, "\"from\""), PG_ARGISNULL(2) ? emk_clock_now() : PG_GETARG_TIMESTAMPTZ(2),
			 PG_ARGISNULL(6) ? NULL : PG_GETARG_INTERVAL_P(6));
	make_rows(&c);
	run(&c.b, put_row, &c);
	for (int i = 0; i < 3; i++)
	{
		nulls[i] = PG_ARGISNULL(3 + i) ? 'n' : ' ';
		values[i] = PG_ARGISNULL(3 + i) ? (Datum) 0 : PG_GETARG_DATUM(3 + i);
	}
	ask_rows(&c, summary_query, 3, types, values, nulls);
	for (uint64 row = 0; row < SPI_processed; row++)
		tuplestore_puttuple(rsinfo->setResult, SPI_tuptable->vals[row]);
	tuplestore_end(c.rows);
	SPI_finish();
	emk_owner_leave(&owner);
	return (Datum) 0;
}

/* One row a rule, also for one that did nothing */
static void
put_estimates(Call *c, ReturnSetInfo *rsinfo)
{
	double		days = (double) (c->b.to - c->b.from) / USECS_PER_DAY;
	SPITupleTable *rows = SPI_tuptable;
	uint64		n = SPI_processed;

	for (int t = 0; t < c->b.ntried; t++)
	{
		int64		count[4] = {0};
		Datum		v[8];
		bool		isnull[8] = {false};

		SPI_tuptable = rows;
		for (uint64 row = 0; row < n; row++)
			for (int i = 0; strcmp(emk_spi_text(row, 1), c->b.tried[t].rule->name) == 0 && i < 4; i++)
				count[i] = emk_spi_int8(row, 2 + i, 0);
		v[0] = CStringGetTextDatum(c->b.tried[t].rule->name);
		v[1] = Int64GetDatum((int64) rint((double) count[0] * c->b.every * 30 / days));
		v[2] = Int64GetDatum((int64) rint((double) count[3] * c->b.every * 30 / days));
		for (int i = 0; i < 3; i++)
			v[3 + i] = Int64GetDatum(count[i]);
		v[6] = Int64GetDatum(c->b.people);
		v[7] = Int64GetDatum(c->b.every);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, v, isnull);
	}
}

/* ---- what a rule that was just made would do ---- */

typedef struct Volume
{
	EmkBacktest b;
	const EmkRule *rule;
	int64		sends;
	int64		people;
	char		last[EMK_MAX_ID_BYTES + 1]; /* whose rows come now */
} Volume;

static void
count_row(void *arg, const EmkDecision *d, TimestampTz decided_at)
{
	Volume	   *v = arg;

	if (strcmp(d->outcome, "delivered") != 0 && strcmp(d->outcome, "recorded") != 0)
		return;
	v->sends++;
	if (strcmp(v->last, d->profile_id) == 0)
		return;
	v->people++;
	strlcpy(v->last, d->profile_id, sizeof(v->last));
}

static void
measure(void *arg)
{
	Volume	   *v = arg;
	TimestampTz now = emk_clock_now();

	add_rule(&v->b, v->rule);
	set_span(&v->b, now - 30 * USECS_PER_DAY, now, NULL);
	emk_spi_run(&size_plan, NULL, NULL, true, 1);
	v->b.every = Max(1, emk_spi_int8(0, 1, 0) / HINT_EVENTS);
	run(&v->b, count_row, v);
}

/*
 * A rule that is made disabled is one that somebody still thinks about: it is said what it would have sent. Of one that is enabled nothing
 * is said, for then scripts make it, and nobody reads that.
 */
static void
tell_volume(const EmkRule *rule)
{
	Volume		v = {.rule = rule};
	char	   *failed = emk_guard_run(HINT_MS, "the estimate", measure, &v);

	if (failed != NULL)
		ereport(NOTICE,
				(errmsg("what rule \"%s\" would send was not estimated: %s", rule->name, failed),
				 errhint("Ask eventmkt.estimate_rule(), which takes the time that it needs.")));
	else if (v.b.people > 0)
		ereport(NOTICE,
				(errmsg("rule \"%s\" would have sent %s%lld messages to %lld people in the last 30 days", rule->name,
						v.b.every > 1 ? "about " : "", (long long) (v.sends * v.b.every), (long long) (v.people * v.b.every)),
				 errhint("Ask eventmkt.backtest() who would have got them.")));
}

void
emk_report_init_backtest(void)
{
	emk_rule_set_estimator(tell_volume);
}

PG_FUNCTION_INFO_V1(emk_report_estimate_rule);
/* eventmkt.estimate_rule(rule, over) → the volume of a month */
Datum
emk_report_estimate_rule(PG_FUNCTION_ARGS)
{
	Call		c = {{0}};
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	TimestampTz now;
	Interval   *over;
	EmkOwner	owner;

	refuse_null_rule(fcinfo);
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("\"over\" must not be null")));
	over = PG_GETARG_INTERVAL_P(1);
	InitMaterializedSRF(fcinfo, 0);
	emk_owner_enter(&owner);
	SPI_connect();
	read_rules(fcinfo, &c.b);
	now = emk_clock_now();
	set_span(&c.b, emk_clock_subtract(now, over), now, NULL);
	emk_spi_run(&size_plan, NULL, NULL, true, 1);
	c.b.every = Max(1, emk_spi_int8(0, 1, 0) / SAMPLE_EVENTS);
	make_rows(&c);
	run(&c.b, put_row, &c);
	ask_rows(&c, estimate_query, 0, NULL, NULL, NULL);
	put_estimates(&c, rsinfo);
	tuplestore_end(c.rows);
	SPI_finish();
	emk_owner_leave(&owner);
	return (Datum) 0;
}

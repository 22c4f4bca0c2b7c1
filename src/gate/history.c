/*
 * history.c: has something happened that ends the run? One query a rule version, over all ids of each profile, bounded below by
 * the run's start less look_back and above by how far ahead events may be stamped, so it touches one or two partitions.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "gate/gate.h"
#include "gate/gate_int.h"
#include "trigger/trigger.h"
#include "utils/builtins.h"

#define FIRST_CANDIDATES 1000	/* as in cancel_plan: who has more and is not cancelled by these is asked for all */

#define RUN_VECTORS \
	"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4)) " \
	"AS u (ord, profile_id, since, own) CROSS JOIN LATERAL " \
	"(SELECT e.event_id, e.name, e.properties, e.occurred_at, e.depth FROM eventmkt_data.event e " \
	"WHERE e.profile_id OPERATOR(pg_catalog.=) u.profile_id AND e.occurred_at OPERATOR(pg_catalog.>=) u.since " \
	"AND e.occurred_at OPERATOR(pg_catalog.<=) $5 AND e.event_id OPERATOR(pg_catalog.<>) u.own " \
	"AND (e.name OPERATOR(pg_catalog.=) ANY ($6) OR $7 AND e.depth OPERATOR(pg_catalog.=) 0) AND e.conflict_of IS NULL "

static EmkPlan cancel_plan = {
	"SELECT u.ord, e.event_id, e.name, e.properties, e.occurred_at, e.depth " RUN_VECTORS
	"ORDER BY e.occurred_at LIMIT 1000) e ORDER BY u.ord, e.occurred_at, e.event_id",
	7, {INT4ARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, INT8ARRAYOID, TIMESTAMPTZOID, TEXTARRAYOID, BOOLOID}
};
static EmkPlan cancel_all_plan = {
	"SELECT u.ord, e.event_id, e.name, e.properties, e.occurred_at, e.depth " RUN_VECTORS
	") e ORDER BY u.ord, e.occurred_at, e.event_id",
	7, {INT4ARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, INT8ARRAYOID, TIMESTAMPTZOID, TEXTARRAYOID, BOOLOID}
};
static EmkPlan latest_plan = {
	"SELECT u.ord, e.event_id, e.name, e.properties, e.occurred_at, e.depth " RUN_VECTORS
	"AND e.occurred_at OPERATOR(pg_catalog.>) u.since ORDER BY e.occurred_at DESC LIMIT 1) e ORDER BY u.ord, e.occurred_at DESC",
	7, {INT4ARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, INT8ARRAYOID, TIMESTAMPTZOID, TEXTARRAYOID, BOOLOID}
};

/* Asks one plan for the runs index[0..k), all of one rule version. */
static void
query(EmkPlan *plan, EmkGateRun *runs, const int *index, int k, const EmkIds *ids, TimestampTz now)
{
	const EmkRule *rule = runs[index[0]].rule;
	Datum	   *v[4];
	Datum	   *names = palloc(sizeof(Datum) * (rule->nunless + 1));
	bool		any = false;
	Datum		args[7];
	int			rows = 0;
	int			r = 0;

	for (int i = 0; i < k; i++)
		rows += ids[index[i]].n;
	for (int c = 0; c < 4; c++)
		v[c] = palloc(sizeof(Datum) * rows);
	for (int i = 0; i < k; i++)
	{
		EmkGateRun *run = &runs[index[i]];
		TimestampTz since = rule->lapse ? run->started_at : emk_clock_subtract(run->started_at, &rule->look_back);

		for (int j = 0; j < ids[index[i]].n; j++)
		{
			v[0][r] = Int32GetDatum(index[i]);
			v[1][r] = CStringGetTextDatum(ids[index[i]].ids[j]);
			v[2][r] = TimestampTzGetDatum(since);
			v[3][r++] = Int64GetDatum(run->event_id);
		}
	}
	for (int i = 0; i < rule->nunless; i++)
	{
		names[i] = CStringGetTextDatum(rule->unless[i]);
		any = any || strcmp(rule->unless[i], "*") == 0;
	}
	names[rule->nunless] = CStringGetTextDatum(rule->on_event);
	any = any || (rule->lapse && strcmp(rule->on_event, "*") == 0);
	args[0] = emk_spi_array(v[0], NULL, rows, INT4OID);
	args[1] = emk_spi_array(v[1], NULL, rows, TEXTOID);
	args[2] = emk_spi_array(v[2], NULL, rows, TIMESTAMPTZOID);
	args[3] = emk_spi_array(v[3], NULL, rows, INT8OID);
	args[4] = TimestampTzGetDatum(now + EMK_MAX_FUTURE_SECONDS * USECS_PER_SEC);
	args[5] = emk_spi_array(names, NULL, rule->nunless + (rule->lapse ? 1 : 0), TEXTOID);
	args[6] = BoolGetDatum(any);
	emk_spi_run(plan, args, NULL, false, 0);
}

/* A condition of its own: it is asked for events of the key only, and one that fails is counted against the rule. */
static bool
cancels(EmkGateRun *r, const char *name, int depth, Jsonb *properties)
{
	char	   *error;
	bool		result = emk_rule_cancels(r->rule, name, depth, properties, &error);

	if (error == NULL)
		return result;
	if (!r->replayed)
		emk_trigger_condition_failed(r->rule, error);
	r->verdict = EMK_SUPPRESS;
	r->reason = "condition_error";
	r->facts = emk_trigger_error_facts(error);
	return false;
}

/* Nobody knows whether an event cancels whose unless_where fails: nothing is sent, unless another one surely cancels. */
void
emk_gate_judge_cancel(EmkGateRun *r, int64 event_id, const char *name, int depth, Jsonb *properties, TimestampTz at)
{
	char	   *key;

	if (r->verdict == EMK_CANCEL)
		return;
	key = emk_rule_key(r->rule, properties);
	if ((key != NULL && strcmp(key, r->key) != 0) || !cancels(r, name, depth, properties))
		return;
	r->verdict = EMK_CANCEL;
	r->reason = "cancelled_by";
	r->cancel_at = at;
	r->facts = emk_trigger_cancel_facts(event_id, name, at, key == NULL);
}

static void
read_cancels(EmkGateRun *runs, SPITupleTable *rows, uint64 n)
{
	for (uint64 row = 0; row < n; row++)
	{
		EmkGateRun *r;
		bool		isnull;

		SPI_tuptable = rows;
		r = &runs[emk_spi_int4(row, 1, 0)];
		if (r->verdict != EMK_CANCEL)
			emk_gate_judge_cancel(r, emk_spi_int8(row, 2, 0), emk_spi_text(row, 3),
								  DatumGetInt16(emk_spi_datum(row, 6, &isnull)), DatumGetJsonbP(emk_spi_datum(row, 4, &isnull)),
								  DatumGetTimestampTz(emk_spi_datum(row, 5, &isnull)));
	}
}

/* Has one of the runs index[0..k), all of one rule version, been cancelled? */
static void
ask_cancels(EmkGateRun *runs, const int *index, int k, const EmkIds *ids, TimestampTz now)
{
	int		   *seen;
	uint64		n;
	SPITupleTable *rows;

	query(&cancel_plan, runs, index, k, ids, now);
	n = SPI_processed;
	if (n < FIRST_CANDIDATES)
	{
		read_cancels(runs, SPI_tuptable, n);
		return;
	}
	rows = SPI_tuptable;
	seen = palloc0(sizeof(int) * k);
	for (uint64 row = 0, i = 0; row < n; row++)
	{
		/* rows come by number, which index[] need not be in */
		int			ord = emk_spi_int4(row, 1, 0);

		while (index[i] != ord)
			i = (i + 1) % k;
		seen[i]++;
	}
	read_cancels(runs, rows, n);
	for (int i = 0; i < k; i++)
		if (seen[i] >= FIRST_CANDIDATES && runs[index[i]].verdict != EMK_CANCEL)
		{
			query(&cancel_all_plan, runs, index + i, 1, ids, now);
			rows = SPI_tuptable;
			read_cancels(runs, rows, SPI_processed);
			SPI_freetuptable(rows);
		}
}

/* Later activity: an inactivity run waits on from there. A delivery that is about to be tried again is cancelled by it. */
void
emk_gate_judge_activity(EmkGateRun *r, int64 event_id, char *name, Jsonb *properties, TimestampTz at)
{
	if (r->verdict != EMK_PASS)
		return;
	r->new_event_id = event_id;
	r->new_event_name = name;
	r->new_properties = properties;
	r->new_start = at;
	if (r->delivery_id == NULL)
	{
		r->verdict = EMK_REARM;
		r->hold_until = emk_clock_add(at, &r->rule->after);
		return;
	}
	r->verdict = EMK_CANCEL;
	r->reason = "cancelled_by";
	r->cancel_at = at;
	r->facts = emk_trigger_cancel_facts(event_id, name, at, false);
}

static void
read_latest(EmkGateRun *runs, uint64 n)
{
	for (uint64 row = 0; row < n; row++)
	{
		EmkGateRun *r = &runs[emk_spi_int4(row, 1, 0)];
		bool		isnull;

		if (r->verdict == EMK_PASS)
			emk_gate_judge_activity(r, emk_spi_int8(row, 2, 0), emk_spi_text(row, 3),
									DatumGetJsonbPCopy(emk_spi_datum(row, 4, &isnull)),
									DatumGetTimestampTz(emk_spi_datum(row, 5, &isnull)));
	}
}

static EmkGateRun *sorting;		/* for compare_by_rule: qsort has no argument to pass it */

static int
compare_by_rule(const void *a, const void *b)
{
	const EmkRule *x = sorting[*(const int *) a].rule;
	const EmkRule *y = sorting[*(const int *) b].rule;

	if (x->rule_id != y->rule_id)
		return x->rule_id < y->rule_id ? -1 : 1;
	return x->version < y->version ? -1 : x->version > y->version;
}

void
emk_gate_ask_history(EmkGateRun *runs, int n, const EmkIds *ids, TimestampTz now)
{
	int		   *index = palloc(sizeof(int) * n);

	for (int i = 0; i < n; i++)
		index[i] = i;
	sorting = runs;
	qsort(index, n, sizeof(int), compare_by_rule);
	for (int first = 0, next; first < n; first = next)
	{
		const EmkRule *rule = runs[index[first]].rule;

		for (next = first + 1; next < n && compare_by_rule(&index[first], &index[next]) == 0; next++)
			;
		if (rule->lapse)
		{
			query(&latest_plan, runs, index + first, next - first, ids, now);
			read_latest(runs, SPI_processed);
		}
		else if (rule->nunless > 0)
			ask_cancels(runs, index + first, next - first, ids, now);
	}
}

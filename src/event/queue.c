/*
 * queue.c: the work queue and the decision log, each with its only writer.
 *
 * work: spine 1 appends one narrow row for an event that a rule is interested in; spine 2 deletes it in the transaction
 * that acts on it. decision: append-only; every run ends with exactly one row whose outcome is final.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "event/event.h"
#include "event/event_int.h"
#include "utils/builtins.h"

static EmkPlan enqueue_plan = {
	"INSERT INTO eventmkt_data.work (node, kind, event_id, profile_id, occurred_at, rules) "
	"VALUES ($1, $2, $3, $4, $5, $6)",
	6, {INT2OID, CHAROID, INT8OID, TEXTOID, TIMESTAMPTZOID, INT4ARRAYOID}
};
/* rules of all rows in one flat array, each row taking its slice: arrays of arrays do not unnest raggedly */
static EmkPlan enqueue_many_plan = {
	"INSERT INTO eventmkt_data.work (node, kind, event_id, profile_id, occurred_at, rules) "
	"SELECT $1, u.kind, u.event_id, u.profile_id, u.occurred_at, "
	"$6[u.first OPERATOR(pg_catalog.+) 1 : u.last] "
	"FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), pg_catalog.unnest($5), "
	"pg_catalog.unnest($7), pg_catalog.unnest($8)) AS u (kind, event_id, profile_id, occurred_at, first, last)",
	8, {INT2OID, CHARARRAYOID, INT8ARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, INT4ARRAYOID, INT4ARRAYOID, INT4ARRAYOID}
};
static EmkPlan decide_plan = {
	"INSERT INTO eventmkt_data.decision (decision_id, run_id, rule_id, rule, rule_version, profile_id, key, outcome, "
	"reason, facts, delivery_id, event_id, started_at, due_at, decided_at) "
	"SELECT pg_catalog.nextval('eventmkt_data.decision_id_seq'), u.*, $14 "
	"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), "
	"pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8), "
	"pg_catalog.unnest($9), pg_catalog.unnest($10), pg_catalog.unnest($11), pg_catalog.unnest($12), "
	"pg_catalog.unnest($13)) AS u",
	14, {INT8ARRAYOID, INT4ARRAYOID, TEXTARRAYOID, INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID,
	JSONBARRAYOID, UUIDARRAYOID, INT8ARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZOID}
};

void
emk_event_init(void)
{
	emk_event_init_append();
}

static Datum
int4_array(const int32 *v, int n)
{
	Datum	   *d = palloc(sizeof(Datum) * Max(n, 1));

	for (int i = 0; i < n; i++)
		d[i] = Int32GetDatum(v[i]);
	return emk_spi_array(d, NULL, n, INT4OID);
}

static void
enqueue_one(const EmkWork *w)
{
	Datum		v[6] = {
		Int16GetDatum(emk_setting_node()), CharGetDatum(w->kind), Int64GetDatum(w->event_id),
		CStringGetTextDatum(w->profile_id), TimestampTzGetDatum(w->occurred_at), int4_array(w->rules, w->nrules)
	};

	emk_spi_run(&enqueue_plan, v, NULL, false, 0);
}

void
emk_event_enqueue(const EmkWork *work, int n)
{
	Datum	   *kind, *id, *profile, *at, *first, *last, *rules;
	Datum		args[8];
	int			total = 0;

	if (n == 0)
		return;
	emk_wake_at_commit();
	if (n == 1)
	{
		enqueue_one(work);
		return;
	}
	for (int i = 0; i < n; i++)
		total += work[i].nrules;
	kind = palloc(sizeof(Datum) * n);
	id = palloc(sizeof(Datum) * n);
	profile = palloc(sizeof(Datum) * n);
	at = palloc(sizeof(Datum) * n);
	first = palloc(sizeof(Datum) * n);
	last = palloc(sizeof(Datum) * n);
	rules = palloc(sizeof(Datum) * Max(total, 1));
	total = 0;
	for (int i = 0; i < n; i++)
	{
		kind[i] = CharGetDatum(work[i].kind);
		id[i] = Int64GetDatum(work[i].event_id);
		profile[i] = CStringGetTextDatum(work[i].profile_id);
		at[i] = TimestampTzGetDatum(work[i].occurred_at);
		first[i] = Int32GetDatum(total);
		for (int r = 0; r < work[i].nrules; r++)
			rules[total++] = Int32GetDatum(work[i].rules[r]);
		last[i] = Int32GetDatum(total);
	}
	args[0] = Int16GetDatum(emk_setting_node());
	args[1] = emk_spi_array(kind, NULL, n, CHAROID);
	args[2] = emk_spi_array(id, NULL, n, INT8OID);
	args[3] = emk_spi_array(profile, NULL, n, TEXTOID);
	args[4] = emk_spi_array(at, NULL, n, TIMESTAMPTZOID);
	args[5] = emk_spi_array(rules, NULL, total, INT4OID);
	args[6] = emk_spi_array(first, NULL, n, INT4OID);
	args[7] = emk_spi_array(last, NULL, n, INT4OID);
	emk_spi_run(&enqueue_many_plan, args, NULL, false, 0);
}

static void
set_text(Datum *v, bool *isnull, const char *s)
{
	*isnull = s == NULL;
	*v = s ? CStringGetTextDatum(s) : (Datum) 0;
}

static void
set_time(Datum *v, bool *isnull, TimestampTz t)
{
	*isnull = t == 0;
	*v = TimestampTzGetDatum(t);
}

void
emk_event_decide(const EmkDecision *d, int n, TimestampTz now)
{
	static const Oid elem[13] = {INT8OID, INT4OID, TEXTOID, INT4OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, JSONBOID, UUIDOID,
	INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID};
	Datum	   *v[13];
	bool	   *isnull[13];
	Datum		args[14];

	if (n == 0)
		return;
	for (int c = 0; c < 13; c++)
	{
		v[c] = palloc(sizeof(Datum) * n);
		isnull[c] = palloc0(sizeof(bool) * n);
	}
	for (int i = 0; i < n; i++)
	{
		v[0][i] = Int64GetDatum(d[i].run_id);
		isnull[0][i] = d[i].run_id == 0;
		v[1][i] = Int32GetDatum(d[i].rule_id);
		set_text(&v[2][i], &isnull[2][i], d[i].rule);
		v[3][i] = Int32GetDatum(d[i].rule_version);
		set_text(&v[4][i], &isnull[4][i], d[i].profile_id);
		set_text(&v[5][i], &isnull[5][i], d[i].key ? d[i].key : "");
		set_text(&v[6][i], &isnull[6][i], d[i].outcome);
		set_text(&v[7][i], &isnull[7][i], d[i].reason);
		isnull[8][i] = d[i].facts == NULL;
		v[8][i] = d[i].facts ? JsonbPGetDatum(emk_json_parse(d[i].facts)) : (Datum) 0;
		isnull[9][i] = d[i].delivery_id == NULL;
		v[9][i] = UUIDPGetDatum(d[i].delivery_id);
		v[10][i] = Int64GetDatum(d[i].event_id);
		isnull[10][i] = d[i].event_id == 0;
		set_time(&v[11][i], &isnull[11][i], d[i].started_at);
		set_time(&v[12][i], &isnull[12][i], d[i].due_at);
	}
	for (int c = 0; c < 13; c++)
		args[c] = emk_spi_array(v[c], isnull[c], n, elem[c]);
	args[13] = TimestampTzGetDatum(now);
	emk_spi_run(&decide_plan, args, NULL, false, 0);
}

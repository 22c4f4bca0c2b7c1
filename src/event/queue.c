/*
 * queue.c: the work queues and the decision log, each with its only writer.
 *
 * work: spine 1 appends one narrow row for an event that a rule is interested in; spine 2 deletes it in the transaction
 * that acts on it. segment_work: the same for the membership of segments.
 * decision: append-only; every run ends with exactly one row whose outcome is final.
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
static EmkPlan decide_plan = {
	"INSERT INTO eventmkt_data.decision (decision_id, run_id, rule_id, rule, rule_version, profile_id, key, outcome, "
	"reason, facts, delivery_id, event_id, started_at, due_at, decided_at) "
	"SELECT * FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), "
	"pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8), "
	"pg_catalog.unnest($9), pg_catalog.unnest($10), pg_catalog.unnest($11), pg_catalog.unnest($12), "
	"pg_catalog.unnest($13), pg_catalog.unnest($14), pg_catalog.unnest($15))",
	15, {INT8ARRAYOID, INT8ARRAYOID, INT4ARRAYOID, TEXTARRAYOID, INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID,
		TEXTARRAYOID, JSONBARRAYOID, UUIDARRAYOID, INT8ARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID,
	TIMESTAMPTZARRAYOID}
};

static EmkPlan segment_plan = {
	"INSERT INTO eventmkt_data.segment_work (node, kind, quiet, depth, profile_id, segments) VALUES ($1, $2, $3, $4, $5, $6)",
	6, {INT2OID, CHAROID, BOOLOID, INT2OID, TEXTOID, INT4ARRAYOID}
};

static void form_work(const void *rows, int i, Datum *v, bool *isnull);
static void form_segment(const void *rows, int i, Datum *v, bool *isnull);
static void form_decision(const void *rows, int i, Datum *v, bool *isnull);

static const Oid work_types[] = {INT2OID, CHAROID, INT8OID, TEXTOID, TIMESTAMPTZOID, INT4ARRAYOID};
static const Oid segment_types[] = {INT2OID, CHAROID, BOOLOID, INT2OID, TEXTOID, INT4ARRAYOID};
static const Oid decision_types[] = {INT8OID, INT8OID, INT4OID, TEXTOID, INT4OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, JSONBOID,
UUIDOID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID};
static EmkSink work_sink = {"work", lengthof(work_types), work_types, form_work};
static EmkSink segment_sink = {"segment_work", lengthof(segment_types), segment_types, form_segment};
static EmkSink decision_sink = {"decision", lengthof(decision_types), decision_types, form_decision};

void
emk_event_init(void)
{
	emk_event_init_append();
}

/* The ids of a row as an array: those of rules, or those of segments turned positive */
static Datum
id_array(const EmkWork *w, bool segments)
{
	Datum	   *ids = palloc(sizeof(Datum) * Max(w->nrules, 1));
	int			n = 0;

	for (int r = 0; r < w->nrules; r++)
		if ((w->rules[r] < 0) == segments)
			ids[n++] = Int32GetDatum(segments ? -w->rules[r] : w->rules[r]);
	return PointerGetDatum(construct_array(ids, n, INT4OID, sizeof(int32), true, TYPALIGN_INT));
}

static void
form_work(const void *rows, int i, Datum *v, bool *isnull)
{
	const EmkWork *w = (const EmkWork *) rows + i;

	memset(isnull, 0, sizeof(bool) * lengthof(work_types));
	v[0] = Int16GetDatum(emk_setting_node());
	v[1] = CharGetDatum(w->kind);
	v[2] = Int64GetDatum(w->event_id);
	v[3] = CStringGetTextDatum(w->profile_id);
	v[4] = TimestampTzGetDatum(w->occurred_at);
	v[5] = id_array(w, false);
}

static void
form_segment(const void *rows, int i, Datum *v, bool *isnull)
{
	const EmkWork *w = (const EmkWork *) rows + i;

	memset(isnull, 0, sizeof(bool) * lengthof(segment_types));
	v[0] = Int16GetDatum(emk_setting_node());
	v[1] = CharGetDatum(w->kind);
	v[2] = BoolGetDatum(w->quiet);
	v[3] = Int16GetDatum(w->depth);
	v[4] = CStringGetTextDatum(w->profile_id);
	v[5] = id_array(w, true);
}

static void
write_work(EmkSink *sink, EmkPlan *plan, const EmkWork *work, int n)
{
	for (int i = emk_event_write(sink, work, n); i < n; i++)
	{
		Datum		v[EMK_PLAN_MAX_ARGS];
		bool		isnull[EMK_PLAN_MAX_ARGS];

		SPI_connect();
		sink->form(work, i, v, isnull);
		emk_spi_run(plan, v, NULL, false, 0);
		SPI_finish();
	}
}

/* Splits the rows: what rules want, what segments want, or both. */
static void
enqueue_both(const EmkWork *work, int n)
{
	EmkWork    *rules = palloc(sizeof(EmkWork) * n);
	EmkWork    *segments = palloc(sizeof(EmkWork) * n);
	int			nr = 0;
	int			ns = 0;

	for (int i = 0; i < n; i++)
	{
		int			negative = 0;

		for (int r = 0; r < work[i].nrules; r++)
			negative += work[i].rules[r] < 0;
		if (negative > 0)
			segments[ns++] = work[i];
		if (negative < work[i].nrules || negative == 0)
			rules[nr++] = work[i];
	}
	write_work(&work_sink, &enqueue_plan, rules, nr);
	write_work(&segment_sink, &segment_plan, segments, ns);
	pfree(rules);
	pfree(segments);
}

void
emk_event_enqueue(const EmkWork *work, int n)
{
	bool		mixed = false;

	if (n == 0)
		return;
	emk_wake_at_commit();
	for (int i = 0; i < n && !mixed; i++)
		for (int r = 0; r < work[i].nrules && !mixed; r++)
			mixed = work[i].rules[r] < 0;
	if (mixed)
		enqueue_both(work, n);
	else
		write_work(&work_sink, &enqueue_plan, work, n);
}

/* A decision and the time of its batch */
typedef struct Decided
{
	const EmkDecision *d;
	TimestampTz now;
	Oid			sequence;
} Decided;

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

static void
form_decision(const void *rows, int i, Datum *v, bool *isnull)
{
	const Decided *batch = rows;
	const EmkDecision *d = &batch->d[i];

	memset(isnull, 0, sizeof(bool) * lengthof(decision_types));
	v[0] = Int64GetDatum(emk_setting_next_id(batch->sequence));
	v[1] = Int64GetDatum(d->run_id);
	isnull[1] = d->run_id == 0;
	v[2] = Int32GetDatum(d->rule_id);
	set_text(&v[3], &isnull[3], d->rule);
	v[4] = Int32GetDatum(d->rule_version);
	set_text(&v[5], &isnull[5], d->profile_id);
	set_text(&v[6], &isnull[6], d->key ? d->key : "");
	set_text(&v[7], &isnull[7], d->outcome);
	set_text(&v[8], &isnull[8], d->reason);
	isnull[9] = d->facts == NULL;
	v[9] = d->facts ? JsonbPGetDatum(emk_json_parse(d->facts)) : (Datum) 0;
	isnull[10] = d->delivery_id == NULL;
	v[10] = UUIDPGetDatum(d->delivery_id);
	v[11] = Int64GetDatum(d->event_id);
	isnull[11] = d->event_id == 0;
	set_time(&v[12], &isnull[12], d->started_at);
	set_time(&v[13], &isnull[13], d->due_at);
	v[14] = TimestampTzGetDatum(batch->now);
}

void
emk_event_decide(const EmkDecision *d, int n, TimestampTz now)
{
	Decided		batch = {d, now, InvalidOid};
	int			written;

	if (n == 0)
		return;
	batch.sequence = emk_setting_table("decision_id_seq");
	written = emk_event_write(&decision_sink, &batch, n);
	batch.d += written;
	if (written < n)
		emk_event_run_arrays(&decide_plan, &decision_sink, &batch, n - written);
}

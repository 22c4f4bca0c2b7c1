/*
 * absorb.c: a start that arrives late may belong to what was decided before it came. Then it begins nothing:
 *
 *   the very start was decided                      → nothing, whatever the rule is
 *   inactivity: one at or after it was              → nothing
 *   a count: an edge at or after it was decided, or waits, and the count was not reached anew between the two → nothing; it is that
 *            edge, moved by a late event. The count is not reached at it any more: another pass has moved it to an event before, which
 *            it had not seen, and decided that → nothing. Else it has a run of its own, if what follows does not say otherwise
 *   debounce: another start followed it in its delay → nothing; else it had been nobody's yet, and has a run of its own
 *   ignore, replace: it lies within the series that was decided, or that series begins within its delay → nothing
 *
 * What was decided under an id that was merged away since counts too.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "profile/profile.h"
#include "storage/lock.h"
#include "trigger/trigger_int.h"
#include "utils/builtins.h"

#define ABSORB_LOCKS 256
#define ABSORB_LOCK_CLASS 0x656d6b
#define PLACE_LOCK_CLASS 0x656d6c

#define OF_THE_RUN \
	"WHERE d.profile_id OPERATOR(pg_catalog.=) u.profile_id AND d.rule_id OPERATOR(pg_catalog.=) u.rule_id " \
	"AND d.key OPERATOR(pg_catalog.=) u.key AND (d.started_at OPERATOR(pg_catalog.>=) u.started_at " \
	"OR d.due_at OPERATOR(pg_catalog.>=) u.started_at) "
/* a row a run: was its very start decided, which at or after it was first, and until when was the series that it belongs to waiting? */
static EmkPlan absorb_plan = {
	"SELECT u.ord, pg_catalog.bool_or(d.started_at OPERATOR(pg_catalog.=) u.started_at), "
	"pg_catalog.min(d.started_at) FILTER (WHERE d.started_at OPERATOR(pg_catalog.>=) u.started_at), "
	"pg_catalog.max(d.due_at) FILTER (WHERE d.series AND d.started_at OPERATOR(pg_catalog.<=) u.until) "
	"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), "
	"pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6)) AS u (ord, profile_id, rule_id, key, started_at, until) "
	"CROSS JOIN LATERAL (SELECT d.started_at, d.due_at, d.outcome OPERATOR(pg_catalog.<>) 'cancelled' AS series "
	"FROM eventmkt_data.decision d "
	OF_THE_RUN "AND d.run_id IS NOT NULL AND d.outcome OPERATOR(pg_catalog.<>) ALL ('{held,late_cancel}') "
	"AND COALESCE(d.reason, '') OPERATOR(pg_catalog.<>) 'merged' "
	"AND d.decided_at OPERATOR(pg_catalog.>=) (u.started_at OPERATOR(pg_catalog.-) '1 hour'::pg_catalog.interval) "
	"UNION ALL SELECT d.started_at, d.due_at, d.status OPERATOR(pg_catalog.<>) 'cancelled' FROM eventmkt_data.delivery d " OF_THE_RUN ") d "
	"GROUP BY u.ord",
	6, {INT4ARRAYOID, TEXTARRAYOID, INT4ARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID}
};

/* of the same runs: the first edge of a count at or after it that waits, stored since this pass read what waits ($6: the runs it knows) */
static EmkPlan waiting_plan = {
	"SELECT u.ord, pg_catalog.min(p.started_at) "
	"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), "
	"pg_catalog.unnest($4), pg_catalog.unnest($5)) AS u (ord, profile_id, rule_id, key, started_at) "
	"JOIN eventmkt_data.pending_trigger p ON p.profile_id OPERATOR(pg_catalog.=) u.profile_id "
	"AND p.rule_id OPERATOR(pg_catalog.=) u.rule_id AND p.key OPERATOR(pg_catalog.=) u.key "
	"AND p.started_at OPERATOR(pg_catalog.>=) u.started_at AND p.run_id OPERATOR(pg_catalog.<>) ALL ($6) GROUP BY u.ord",
	6, {INT4ARRAYOID, TEXTARRAYOID, INT4ARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, INT8ARRAYOID}
};

static int
compare_uint32(const void *a, const void *b)
{
	uint32		x = *(const uint32 *) a;
	uint32		y = *(const uint32 *) b;

	return x < y ? -1 : x > y;
}

bool
emk_trigger_lock_people(const char *const *ids, int n, EmkPeopleLock lock)
{
	uint32		lock_class = lock == EMK_PEOPLE_DECIDE ? ABSORB_LOCK_CLASS : PLACE_LOCK_CLASS;
	LOCKMODE	mode = lock == EMK_PEOPLE_PLACE ? ShareLock : ExclusiveLock;
	uint32	   *bucket = palloc(sizeof(uint32) * Max(n, 1));
	LOCKTAG		tag;

	for (int i = 0; i < n; i++)
		bucket[i] = hash_bytes((const unsigned char *) ids[i], strlen(ids[i])) % ABSORB_LOCKS;
	qsort(bucket, n, sizeof(uint32), compare_uint32);
	for (int i = 0; i < n; i++)
	{
		if (i > 0 && bucket[i] == bucket[i - 1])
			continue;
		SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, lock_class, bucket[i], 3);
		if (LockAcquire(&tag, mode, false, lock == EMK_PEOPLE_RESTART) == LOCKACQUIRE_NOT_AVAIL)
			return false;
	}
	pfree(bucket);
	return true;
}

/*
 * Two passes at events of one person at the same time could each find the edge of a count, or each take a late event for a new
 * one, and neither sees what the other is deciding. So what may repeat a decision waits for the other's end: one lock of 256
 * by profile, in ascending order, held to the end of the transaction. Advisory lock tags of class 3 are out of SQL's reach.
 * Young starts of ignore and replace, which are most of them, go without: what may decide their series at this moment is this very
 * worker, unless a session runs a pass of its own.
 */
static void
lock_people(const EmkTake *t, const EmkRuns *runs)
{
	const char **ids = palloc(sizeof(char *) * runs->n);
	int			n = 0;

	for (int i = 0; i < runs->n; i++)
	{
		const EmkRun *r = runs->v[i];
		const EmkRule *rule = emk_rule_get(r->rule_id, r->rule_version);

		if (r->started_at <= t->now - EMK_TRIGGER_YOUNG || (rule != NULL && rule->at_least > 1))
			ids[n++] = r->profile_id;
	}
	(void) emk_trigger_lock_people(ids, n, EMK_PEOPLE_DECIDE);
}

/* What is known of a fresh run */
typedef struct Known
{
	bool		same;			/* its very start was decided */
	TimestampTz later;			/* the first start at or after it that was; DT_NOEND: none */
	TimestampTz waits;			/* the first at or after it that another pass has stored meanwhile; DT_NOEND: none; of counts only */
	TimestampTz series;			/* the due time of a series that it lies in, or that began within its delay; DT_NOBEGIN: none */
} Known;

/* Is the edge of a count one that was decided, or that waits, moved by what came late? Those of this pass are all where they belong. */
static bool
is_moved(EmkTake *t, const EmkRun *run, const EmkRule *rule, const Known *k)
{
	TimestampTz later = Min(k->later, k->waits);

	for (EmkRun *r = emk_trigger_walk(t, run->profile_id, run->rule_id, NULL); r != NULL;
		 r = emk_trigger_walk(t, run->profile_id, run->rule_id, r))
		if (r != run && r->stored && r->started_at >= run->started_at && strcmp(r->key, run->key) == 0)
			later = Min(later, r->started_at);
	return later != DT_NOEND && later < emk_trigger_next_edge(rule, run, later);
}

static bool
belongs(EmkTake *t, const EmkRun *run, const EmkRule *rule, const Known *k)
{
	TimestampTz to;

	if (rule == NULL || k->same)
		return true;
	if (rule->lapse)
		return k->later != DT_NOEND;
	if (rule->at_least > 1 && (is_moved(t, run, rule, k) || !emk_trigger_is_edge(rule, run)))
		return true;
	if (!emk_trigger_debounces(rule))
		return k->series != DT_NOBEGIN && rule->on_repeat != EMK_REPEAT_PARALLEL;
	if (k->later == DT_NOEND)
		return false;
	to = emk_clock_add(run->event_at, &rule->after);
	return rule->at_least > 1 ? emk_trigger_next_edge(rule, run, to) <= to : emk_trigger_is_followed(rule, run, to);
}

/* args: the first five of absorb_plan */
static void
ask_waiting(const EmkTake *t, Datum *args, Known *known)
{
	Datum	   *ids = palloc(sizeof(Datum) * Max(t->runs.n, 1));
	int			n = 0;

	for (int i = 0; i < t->runs.n; i++)
		if (t->runs.v[i]->stored)
			ids[n++] = Int64GetDatum(t->runs.v[i]->run_id);
	args[5] = emk_spi_array(ids, NULL, n, INT8OID);
	emk_spi_run(&waiting_plan, args, NULL, false, 0);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		bool		isnull;

		known[emk_spi_int4(row, 1, 0)].waits = DatumGetTimestampTz(emk_spi_datum(row, 2, &isnull));
	}
}

/* Asks the tables about n runs. */
static void
ask(const EmkTake *t, EmkRun *const *runs, int n, Known *known)
{
	char	  **who = palloc(sizeof(char *) * n);
	EmkIds	   *ids = palloc(sizeof(EmkIds) * n);
	Datum	   *v[6];
	Datum		args[6];
	int			rows = 0;
	int			k = 0;
	bool		counts = false;

	for (int i = 0; i < n; i++)
	{
		who[i] = unconstify(char *, runs[i]->profile_id);
		known[i] = (Known) {false, DT_NOEND, DT_NOEND, DT_NOBEGIN};
	}
	emk_profile_ids(who, n, ids);
	for (int i = 0; i < n; i++)
		rows += ids[i].n;
	for (int c = 0; c < 6; c++)
		v[c] = palloc(sizeof(Datum) * rows);
	for (int i = 0; i < n; i++)
	{
		const EmkRule *rule = emk_rule_get(runs[i]->rule_id, runs[i]->rule_version);

		counts = counts || (rule != NULL && rule->at_least > 1);
		for (int j = 0; j < ids[i].n; j++)
		{
			v[0][k] = Int32GetDatum(i);
			v[1][k] = CStringGetTextDatum(ids[i].ids[j]);
			v[2][k] = Int32GetDatum(runs[i]->rule_id);
			v[3][k] = CStringGetTextDatum(runs[i]->key);
			v[4][k] = TimestampTzGetDatum(runs[i]->started_at);
			v[5][k++] = TimestampTzGetDatum(rule ? emk_clock_add(runs[i]->started_at, &rule->after) : runs[i]->started_at);
		}
	}
	args[0] = emk_spi_array(v[0], NULL, k, INT4OID);
	args[1] = emk_spi_array(v[1], NULL, k, TEXTOID);
	args[2] = emk_spi_array(v[2], NULL, k, INT4OID);
	args[3] = emk_spi_array(v[3], NULL, k, TEXTOID);
	args[4] = emk_spi_array(v[4], NULL, k, TIMESTAMPTZOID);
	if (counts)
		ask_waiting(t, args, known);	/* first: what waits no more when the next statement looks is decided there */
	args[5] = emk_spi_array(v[5], NULL, k, TIMESTAMPTZOID);
	emk_spi_run(&absorb_plan, args, NULL, false, 0);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		bool		no_later;
		bool		no_series;
		Datum		later = emk_spi_datum(row, 3, &no_later);
		Datum		series = emk_spi_datum(row, 4, &no_series);

		Known	   *own = &known[emk_spi_int4(row, 1, 0)];

		own->same = emk_spi_bool(row, 2, false);
		if (!no_later)
			own->later = DatumGetTimestampTz(later);
		if (!no_series)
			own->series = DatumGetTimestampTz(series);
	}
}

/* What this very pass found cancelled is in no table yet. */
static void
add_cancelled(EmkTake *t, const EmkRun *run, Known *k)
{
	for (EmkRun *r = emk_trigger_walk_cancelled(t, run->profile_id, run->rule_id, NULL); r != NULL;
		 r = emk_trigger_walk_cancelled(t, run->profile_id, run->rule_id, r))
		if (r != run && r->started_at >= run->started_at && strcmp(r->key, run->key) == 0)
		{
			k->same = k->same || r->started_at == run->started_at;
			k->later = Min(k->later, r->started_at);
		}
}

/*
 * A run that is no beginning ends here without a row. Of ignore and replace it may have taken in later starts: those that lie after the
 * series, or after a start that was cancelled, find or begin their runs as if they came now, and are asked about in turn.
 */
static void
absorb(EmkTake *t, EmkRun *run, const Known *k)
{
	const EmkRule *rule = emk_rule_get(run->rule_id, run->rule_version);

	if (run->gone || !belongs(t, run, rule, k))
		return;
	run->gone = true;
	if (rule != NULL)
		emk_trigger_place_rest(t, rule, run, Max(k->series, run->started_at));
}

/* Does a late start, of ignore or replace and older than the run that waits, lie in a series that was decided? */
bool
emk_trigger_is_decided(EmkTake *t, const EmkRule *rule, const EmkItem *item, const char *key)
{
	EmkRun		run = {.rule_id = rule->rule_id, .rule_version = rule->version, .profile_id = item->profile_id, .key = key,
	.started_at = item->occurred_at};
	EmkRun	   *one = &run;
	Known		known;

	if (t->history != NULL)
		return false;			/* comes in order */
	ask(t, &one, 1, &known);
	return known.same || known.series != DT_NOBEGIN;
}

void
emk_trigger_absorb(EmkTake *t)
{
	EmkRuns		asked = t->fresh;

	if (asked.n > 0)
		lock_people(t, &asked);
	while (asked.n > 0)
	{
		Known	   *known = palloc(sizeof(Known) * asked.n);

		ask(t, asked.v, asked.n, known);
		t->fresh = (EmkRuns) {0};
		for (int i = 0; i < asked.n; i++)
		{
			add_cancelled(t, asked.v[i], &known[i]);
			absorb(t, asked.v[i], &known[i]);
		}
		asked = t->fresh;
	}
}

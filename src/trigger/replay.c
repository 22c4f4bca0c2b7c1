/*
 * replay.c: the runs of one rule over the past of one person. The machine is the one that works on the tables (start.c, cancel.c,
 * follow.c, lookback.c); here its runs stay in memory and what happened comes from an EmkHistory in event order. Nothing is written,
 * no rule is disabled, no sequence drawn from: it works on a standby.
 *
 * What is decided, and when, is the caller's: he feeds items and takes due runs in the order of time. All that is known of a time is
 * `known`, so a decision sees what the worker would have seen who decides exactly when a run is due.
 */
#include "postgres.h"

#include "segment/segment.h"
#include "trigger/trigger_int.h"

#define REPLAY_BUCKETS 16
#define KEEP_GONE 64			/* ended runs are swept out when there are more, and more than live ones */

struct EmkReplay
{
	EmkTake		t;
	int			live;			/* runs that had not ended when last counted */
};

EmkReplay *
emk_trigger_replay(EmkHistory *history, EmkDecisions *decisions)
{
	EmkReplay  *r = palloc0(sizeof(EmkReplay));

	r->t.history = history;
	r->t.decisions = decisions;
	r->t.nbuckets = REPLAY_BUCKETS;
	r->t.buckets = palloc0(sizeof(EmkRun *) * REPLAY_BUCKETS);
	return r;
}

/* Everybody whom the merged profile owned belongs to the other from now on; counts are read again over the joined history. */
static void
merge(EmkTake *t, const EmkItem *item)
{
	emk_trigger_merge(t, item);
	t->edges = NULL;
}

bool
emk_trigger_history_in_segment(EmkHistory *h, int32 segment_id, const char *profile_id, TimestampTz at, char **facts)
{
	EmkSegmentThen then = {.at = at, .ids = palloc(sizeof(char *) * (h->nids + 1))};

	then.ids[then.nids++] = profile_id;
	for (int i = 0; i < h->nids; i++)
		if (h->owner[i] == profile_id && strcmp(h->ids[i], profile_id) != 0)
			then.ids[then.nids++] = h->ids[i];
	then.known = h->known_at(h, profile_id, at);
	then.traits = h->traits(h, profile_id, at);
	return emk_segment_had(segment_id, &then, facts);
}

void
emk_trigger_replay_item(EmkReplay *r, int i)
{
	EmkHistory *h = r->t.history;
	EmkItem    *item = &h->items[i];

	r->t.now = item->occurred_at;
	r->t.fresh.n = 0;			/* what is told in order repeats no decision */
	if (item->kind == 'm')
	{
		merge(&r->t, item);
		return;
	}
	item->profile_id = h->owner[item->who];
	emk_trigger_obey(&r->t, h->rule, item);
}

/* Throws out what has ended, so that chains stay short. */
static void
sweep(EmkReplay *r)
{
	EmkTake    *t = &r->t;
	EmkRuns		all = t->runs;
	int			n = all.n;

	if (n < KEEP_GONE || n < 2 * r->live)
		return;
	memset(t->buckets, 0, sizeof(EmkRun *) * t->nbuckets);
	t->runs.n = 0;
	for (int i = 0; i < n; i++)
		if (!all.v[i]->gone)
			emk_trigger_add(t, all.v[i]);
	r->live = t->runs.n;
}

TimestampTz
emk_trigger_replay_wake(const EmkReplay *r)
{
	TimestampTz wake = emk_trigger_storm_end(&r->t);

	for (int i = 0; i < r->t.runs.n; i++)
		if (!r->t.runs.v[i]->gone)
			wake = Min(wake, r->t.runs.v[i]->wake_at);
	return wake;
}

static int
compare_due(const void *a, const void *b)
{
	const EmkRun *x = *(EmkRun *const *) a;
	const EmkRun *y = *(EmkRun *const *) b;

	if (x->due_at != y->due_at)
		return x->due_at < y->due_at ? -1 : 1;
	return x->run_id < y->run_id ? -1 : x->run_id > y->run_id;
}

void
emk_trigger_replay_due(EmkReplay *r, TimestampTz now, EmkRuns *due)
{
	int			minutes;

	due->n = 0;
	emk_trigger_tell_storms(&r->t, now, &minutes);
	for (int i = 0; i < r->t.runs.n; i++)
	{
		EmkRun	   *run = r->t.runs.v[i];

		if (run->gone || run->wake_at > now)
			continue;
		emk_trigger_push(due, memcpy(palloc(sizeof(EmkRun)), run, sizeof(EmkRun)));
		run->gone = true;
	}
	if (due->n > 1)
		qsort(due->v, due->n, sizeof(EmkRun *), compare_due);
	sweep(r);
}

void
emk_trigger_replay_put(EmkReplay *r, EmkRun *run)
{
	emk_trigger_add(&r->t, run);
}

void
emk_trigger_replay_restart(EmkReplay *r, const EmkRun *run, TimestampTz cancel_at, TimestampTz now, EmkRun **others, int n)
{
	const EmkRule *rule = r->t.history->rule;

	r->t.now = now;
	emk_trigger_place_after_gate(&r->t, rule, run, emk_clock_add(cancel_at, &rule->look_back), others, n);
	r->t.fresh.n = 0;
}

void
emk_trigger_replay_end(EmkReplay *r)
{
	int			minutes;

	emk_trigger_tell_storms(&r->t, DT_NOEND, &minutes);
}

void
emk_trigger_replay_live(const EmkReplay *r, EmkRuns *live)
{
	for (int i = 0; i < r->t.runs.n; i++)
		if (!r->t.runs.v[i]->gone)
			emk_trigger_push(live, r->t.runs.v[i]);
}

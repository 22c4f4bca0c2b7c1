/*
 * series.c: the runs of one rule, profile and key whose starts go together, as a function of the starts that were let in.
 *
 *   start     a starting event that its rule let in: while the rule was enabled, with its profile in the audience. What was loaded,
 *             was refused, or came while the rule was disabled is none, and never becomes one
 *   series    the starts of one run. debounce: none is further from the next than the delay. ignore, replace: those within the
 *             delay of the first
 *   record    run->starts, in order of time: what the run took in, each with the version of the rule that let it in. Of debounce
 *             the first and the newest are enough, since all between them is the run's
 *
 * Rules
 *   1. Which series there are depends on the starts, not on the order in which they came, nor on when what cancels them came.
 *   2. What was let in goes on until it was decided: where a run is cancelled, or divided, the starts that are not concerned find
 *      or begin their runs as if they came now (place).
 *   3. A run has the oldest version of its starts.
 *   4. A record holds up to EMK_MAX_RUN_STARTS starts: the first and the newest. Of those between nothing begins anew.
 *
 * An inactivity run, one of `parallel` and one without delay have no record.
 */
#include "postgres.h"

#include "trigger/trigger_int.h"

/* A start on its way to its run */
typedef struct Place
{
	EmkTake    *t;
	const EmkRule *rule;		/* the version that let it in */
	const char *profile_id;
	const char *key;
	EmkStart	start;
	const EmkItem *item;		/* its event, when at hand */
	int64	   *slot;			/* for the first run that begins, USED once it has one; NULL: the usual one */
} Place;

#define USED (-1)

static void place(Place *p);

bool
emk_trigger_has_delay(const EmkRule *rule)
{
	return rule->after.time != 0 || rule->after.day != 0 || rule->after.month != 0;
}

bool
emk_trigger_debounces(const EmkRule *rule)
{
	return emk_trigger_has_delay(rule) && rule->on_repeat == EMK_REPEAT_DEBOUNCE && !rule->lapse;
}

bool
emk_trigger_has_series(const EmkRule *rule)
{
	return emk_trigger_has_delay(rule) && rule->on_repeat != EMK_REPEAT_PARALLEL && !rule->lapse;
}

/* A version of the rule of `rule` */
static const EmkRule *
version_of(const EmkTake *t, const EmkRule *rule, int32 version)
{
	const EmkRule *found;

	if (rule->version == version || t->history != NULL)
		return rule;
	found = emk_rule_get(rule->rule_id, version);
	return found != NULL ? found : rule;
}

/* The version by which a run and a start are one, or two */
static const EmkRule *
common(const Place *p, const EmkRun *run)
{
	return version_of(p->t, p->rule, Min(run->rule_version, p->start.version));
}

/* Walks the runs with a record: NULL first, then the last one. */
static EmkRun *
next_series(const Place *p, EmkRun *last)
{
	EmkRun	   *r = last;

	while ((r = emk_trigger_walk(p->t, p->profile_id, p->rule->rule_id, r)) != NULL)
		if (r->nstarts > 0 && strcmp(r->key, p->key) == 0)
			return r;
	return NULL;
}

static bool
in_record(const EmkRun *run, int64 event_id)
{
	for (int i = 0; i < run->nstarts; i++)
		if (run->starts[i].event_id == event_id)
			return true;
	return false;
}

static void
record(EmkRun *run, const EmkStart *s)
{
	int			i = run->nstarts;

	if (run->nstarts >= run->starts_room)
	{
		EmkStart   *old = run->starts;

		run->starts_room = Max(4, run->nstarts * 2);
		run->starts = palloc(sizeof(EmkStart) * run->starts_room);
		if (run->nstarts > 0)
			memcpy(run->starts, old, sizeof(EmkStart) * run->nstarts);
	}
	while (i > 0 && (run->starts[i - 1].at > s->at || (run->starts[i - 1].at == s->at && run->starts[i - 1].event_id > s->event_id)))
		i--;
	memmove(run->starts + i + 1, run->starts + i, sizeof(EmkStart) * (run->nstarts - i));
	run->starts[i] = *s;
	if (++run->nstarts > EMK_MAX_RUN_STARTS)
	{
		run->nstarts--;
		memmove(run->starts + 1, run->starts + 2, sizeof(EmkStart) * (run->nstarts - 1));
	}
	run->last_at = Max(run->last_at, s->at);
	run->dirty = true;
}

static void
set_version(EmkRun *run, int32 version)
{
	run->rule_version = Min(run->rule_version, version);
	run->dirty = true;
}

/* The event of a start: the one at hand, or read again. NULL: it is gone. */
static const EmkItem *
item_of(const Place *p, const EmkStart *s)
{
	EmkItem    *item;

	if (p->item != NULL && p->item->event_id == s->event_id)
		return p->item;
	item = palloc(sizeof(EmkItem));
	return emk_trigger_read_start(p->t->history, p->rule, p->profile_id, p->key, s, item) ? item : NULL;
}

/* A run of ignore has the data of its first start, one of replace those of the newest; ties in the order of events. */
static void
take_better(EmkRun *run, const EmkItem *item, bool first)
{
	int			c = emk_trigger_compare(item->occurred_at, item->message_id, item->properties, run->event_at, run->message_id,
										run->properties);

	if (first ? c < 0 : c > 0)
		emk_trigger_take_data(run, item);
}

/* After the record changed in more than one start */
static void
settle_data(const Place *p, EmkRun *run, const EmkRule *own)
{
	bool		first = own->on_repeat == EMK_REPEAT_IGNORE;
	TimestampTz at = run->starts[first ? 0 : run->nstarts - 1].at;
	bool		found = run->event_at == at && in_record(run, run->event_id);

	for (int i = 0; i < run->nstarts; i++)
	{
		const EmkItem *item;

		if (run->starts[i].at != at || run->starts[i].event_id == run->event_id || (item = item_of(p, &run->starts[i])) == NULL)
			continue;
		if (found)
			take_better(run, item, first);
		else
			emk_trigger_take_data(run, item);
		found = true;
	}
}

/* Was a run cancelled by what was told before it began, or loaded? The gate finds that when it is due; here asks who is to build on it. */
static bool
ends(const Place *p, EmkRun *run)
{
	const EmkRule *own = version_of(p->t, p->rule, run->rule_version);
	EmkItem		cancel;
	bool		key_absent;

	if (own->nunless == 0 || !emk_trigger_was_cancelled(p->t->history, own, run, &cancel, &key_absent))
		return false;
	run->cancelled = true;
	emk_trigger_end_run(p->t, run, own, &cancel, key_absent);
	return true;
}

static void
place_again(EmkTake *t, const EmkRule *rule, const EmkRun *run, const EmkStart *starts, int n, int64 *slot)
{
	for (int i = 0; i < n; i++)
	{
		Place		p = {t, version_of(t, rule, starts[i].version), run->profile_id, run->key, starts[i], NULL, slot};

		/* a run from before there were records has only the time of its newest start */
		if (p.start.event_id == 0 && (p.item = item_of(&p, &p.start)) != NULL)
			p.start.event_id = p.item->event_id;
		place(&p);
	}
}

/* A slot of its own: nobody else's is negative. */
static int64
own_slot(const EmkRun *run)
{
	return -run->run_id;
}

/* The newest run has slot 0, so that two passes that begin it at the same time meet there. */
static void
give_slot(const Place *p, EmkRun *run)
{
	EmkRun	   *open = NULL;

	for (EmkRun *r = emk_trigger_walk(p->t, p->profile_id, p->rule->rule_id, NULL); r != NULL;
		 r = emk_trigger_walk(p->t, p->profile_id, p->rule->rule_id, r))
		if (r != run && r->slot == 0 && strcmp(r->key, p->key) == 0)
			open = r;
	if (p->slot != NULL)
	{
		run->slot = *p->slot == 0 && open == NULL ? 0 : own_slot(run);
		*p->slot = USED;
	}
	else if (open == NULL)
		run->slot = 0;
	else if (open->nstarts == 0 || open->started_at > run->started_at)
		run->slot = own_slot(run);
	else
	{
		run->slot = 0;
		open->slot = own_slot(open);	/* it fell due before this event: to be decided for itself */
		open->dirty = true;
	}
}

static void
begin(const Place *p)
{
	const EmkItem *item = item_of(p, &p->start);
	EmkRun	   *run;

	if (item == NULL || emk_trigger_in_storm(p->t, p->rule, item, p->key))
		return;
	run = emk_trigger_begin(p->t, p->rule, item, p->key, 0);
	give_slot(p, run);
	record(run, &p->start);
}

/* Takes in the runs that begin within the delay of one that was moved back, and gives back what lies beyond. */
static void
divide(Place *p, EmkRun *run, const EmkRule *own)
{
	EmkStart   *rest;
	int			n;
	int			k = 1;

	for (EmkRun *r = next_series(p, NULL); r != NULL; r = next_series(p, r))
	{
		if (r == run || r->started_at < run->started_at || r->started_at > run->due_at)
			continue;
		r->gone = true;
		set_version(run, r->rule_version);
		if (r->slot == 0)
			run->slot = 0;
		for (int i = 0; i < r->nstarts; i++)
			record(run, &r->starts[i]);
	}
	while (k < run->nstarts && run->starts[k].at <= run->due_at)
		k++;
	n = run->nstarts - k;
	rest = palloc(sizeof(EmkStart) * Max(n, 1));
	memcpy(rest, run->starts + k, sizeof(EmkStart) * n);
	run->nstarts = k;
	run->last_at = run->starts[k - 1].at;
	settle_data(p, run, own);
	place_again(p->t, p->rule, run, rest, n, NULL);
}

/* A start before all others of a run of ignore or replace */
static void
move_back(Place *p, EmkRun *run)
{
	const EmkRule *own = common(p, run);
	EmkItem		at = {.occurred_at = p->start.at, .profile_id = p->profile_id};

	if (emk_trigger_is_decided(p->t, own, &at, p->key))
		return;
	set_version(run, p->start.version);
	record(run, &p->start);
	run->started_at = p->start.at;
	emk_trigger_set_due(run, own, run->started_at);
	divide(p, run, own);
}

/* A start within a run of ignore or replace */
static void
join(Place *p, EmkRun *run)
{
	const EmkRule *own = common(p, run);
	bool		older = run->rule_version > p->start.version;
	bool		first = own->on_repeat == EMK_REPEAT_IGNORE;
	const EmkItem *item;

	record(run, &p->start);
	if (older)
	{
		set_version(run, p->start.version);
		emk_trigger_set_due(run, own, run->started_at);
		divide(p, run, own);
	}
	else if ((first ? p->start.at == run->event_at : p->start.at >= run->event_at) && (item = item_of(p, &p->start)) != NULL)
		take_better(run, item, first);
}

/* A start that is near enough to a run of debounce, which may be near enough to others then */
static void
extend(Place *p, EmkRun *run)
{
	const EmkRule *own = common(p, run);
	EmkStart	first = run->starts[0];
	EmkStart	newest = run->starts[run->nstarts - 1];
	const EmkItem *item;
	int			c = p->start.at < newest.at ? -1 : p->start.at > newest.at;

	if (run->rule_version > p->start.version)
	{
		set_version(run, p->start.version);
		emk_trigger_set_due(run, own, run->started_at);
	}
	if (c >= 0 && (item = item_of(p, &p->start)) != NULL)
	{
		c = emk_trigger_compare(item->occurred_at, item->message_id, item->properties, run->event_at, run->message_id, run->properties);
		if (c > 0)
		{
			emk_trigger_take_data(run, item);
			run->started_at = item->occurred_at;
			emk_trigger_set_due(run, own, run->started_at);
			newest = p->start;
		}
	}
	if (p->start.at < first.at)
		first = p->start;
	else if (c <= 0)
		return;
	run->nstarts = 0;
	record(run, &first);
	if (newest.event_id != first.event_id)
		record(run, &newest);
}

static bool
reaches(const Place *p, const EmkRun *run)
{
	const EmkRule *own = common(p, run);

	if (own->on_repeat == EMK_REPEAT_DEBOUNCE)
		return p->start.at <= emk_clock_add(run->started_at, &own->after) && run->starts[0].at <= emk_clock_add(p->start.at, &own->after);
	return p->start.at >= run->started_at && p->start.at <= emk_clock_add(run->started_at, &own->after);
}

/* The run of debounce that a start belongs to; those that it joins to one are one. */
static EmkRun *
bridge(Place *p, EmkRun *run)
{
	EmkRun	   *next;

	for (EmkRun *r = next_series(p, NULL); r != NULL; r = next)
	{
		next = next_series(p, r);
		if (r == run || !reaches(p, r))
			continue;
		if (r->slot == 0)
			run->slot = 0;
		set_version(run, r->rule_version);
		if (r->starts[0].at < run->starts[0].at)
		{
			EmkStart	first = r->starts[0];

			run->starts[0] = run->starts[run->nstarts - 1];
			run->nstarts = 1;
			record(run, &first);
		}
		r->gone = true;
	}
	return run;
}

static void
place(Place *p)
{
	EmkRun	   *in = NULL;		/* has it within */
	EmkRun	   *before = NULL;	/* the nearest that began before it */
	EmkRun	   *after = NULL;	/* the nearest that began after it */

	for (EmkRun *r = next_series(p, NULL); r != NULL; r = next_series(p, r))
	{
		if (in_record(r, p->start.event_id))
			return;
		if (reaches(p, r) && (in == NULL || in->started_at < r->started_at))
			in = r;
		if (r->started_at <= p->start.at && (before == NULL || before->started_at < r->started_at))
			before = r;
		if (r->started_at > p->start.at && (after == NULL || after->started_at > r->started_at))
			after = r;
	}
	if (in != NULL)
	{
		bool		debounce = common(p, in)->on_repeat == EMK_REPEAT_DEBOUNCE;

		if ((in->rule_version != p->start.version || (after != NULL && !debounce)) && ends(p, in))
			place(p);
		else if (debounce)
			extend(p, bridge(p, in));
		else
			join(p, in);
	}
	else if (before != NULL && before->nstarts > 1 && common(p, before)->on_repeat != EMK_REPEAT_DEBOUNCE && ends(p, before))
		place(p);
	else if (after != NULL && common(p, after)->on_repeat != EMK_REPEAT_DEBOUNCE &&
			 after->started_at <= emk_clock_add(p->start.at, &common(p, after)->after))
		move_back(p, after);
	else
		begin(p);
}

void
emk_trigger_place(EmkTake *t, const EmkRule *rule, const EmkItem *item, const char *key)
{
	Place		p = {t, rule, item->profile_id, key, {item->occurred_at, item->event_id, rule->version}, item, NULL};

	place(&p);
}

void
emk_trigger_place_rest(EmkTake *t, const EmkRule *rule, const EmkRun *run, TimestampTz after)
{
	int			k = 0;

	if (run->last_at <= after)
		return;
	while (k < run->nstarts && run->starts[k].at <= after)
		k++;
	place_again(t, rule, run, run->starts + k, run->nstarts - k, NULL);
}

void
emk_trigger_dissolve(EmkTake *t, const EmkRule *rule, const EmkRun *run, const EmkItem *item)
{
	for (int i = 0; i < run->nstarts; i++)
	{
		Place		p = {t, version_of(t, rule, run->starts[i].version), item->profile_id, run->key, run->starts[i], item, NULL};

		place(&p);
	}
}

bool
emk_trigger_touch(const EmkTake *t, const EmkRule *rule, const EmkRun *a, const EmkRun *b)
{
	const EmkRule *own = version_of(t, rule, Min(a->rule_version, b->rule_version));

	return a->starts[0].at <= emk_clock_add(b->started_at, &own->after) && b->starts[0].at <= emk_clock_add(a->started_at, &own->after);
}

void
emk_trigger_place_after_gate(EmkTake *t, const EmkRule *rule, const EmkRun *run, TimestampTz after)
{
	int64		slot = run->slot == 0 ? 0 : USED;
	int			k = 0;

	while (k < run->nstarts && run->starts[k].at <= after)
		k++;
	place_again(t, rule, run, run->starts + k, run->nstarts - k, &slot);
}

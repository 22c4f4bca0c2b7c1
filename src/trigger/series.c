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
 *   3. A run has the oldest version of its starts. By it the run started, is due, has its data and its bounds (normalise).
 *   4. A record holds up to EMK_MAX_RUN_STARTS starts: the first and the newest. Of those between nothing begins anew, neither after a
 *      cancelling event nor where a run is divided.
 *
 * An inactivity run, one of `parallel` and one without delay have no record.
 */
#include "postgres.h"

#include "miscadmin.h"
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

/* One that is not known by its id is by its time. */
static bool
same_start(const EmkStart *a, const EmkStart *b)
{
	return a->event_id == b->event_id && (a->event_id != 0 || a->at == b->at);
}

static bool
in_record(const EmkRun *run, const EmkStart *s)
{
	for (int i = 0; i < run->nstarts; i++)
		if (same_start(&run->starts[i], s))
			return true;
	return false;
}

static void
record(EmkRun *run, const EmkStart *s)
{
	int			i = run->nstarts;

	if (in_record(run, s))
		return;
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
	/* within what is known to be one it is, too */
	run->starts[i].joined = s->joined || (i < run->nstarts && run->starts[i + 1].joined);
	run->starts[i].fresh = true;
	run->nstarts++;
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

/*
 * A run of ignore has the data of its first start, others those of the newest; ties in the order of events. Those it has are the best of
 * the starts it had by version `before`, so only those that are new to it are read, as long as it is the same time and choice.
 */
static void
settle_data(const Place *p, EmkRun *run, int32 before)
{
	bool		first = version_of(p->t, p->rule, run->rule_version)->on_repeat == EMK_REPEAT_IGNORE;
	TimestampTz at = run->starts[first ? 0 : run->nstarts - 1].at;
	bool		found = run->event_at == at;
	bool		kept = found && first == (version_of(p->t, p->rule, before)->on_repeat == EMK_REPEAT_IGNORE);

	for (int i = 0; i < run->nstarts; i++)
	{
		const EmkItem *item;
		bool		fresh = run->starts[i].fresh;
		int			c;

		run->starts[i].fresh = false;
		if (run->starts[i].at != at || (kept && !fresh) || run->starts[i].event_id == run->event_id ||
			(item = item_of(p, &run->starts[i])) == NULL)
			continue;
		c = !found ? 0 : emk_trigger_compare(item->occurred_at, item->message_id, item->properties, run->event_at, run->message_id,
											 run->properties);
		if (!found || (first ? c < 0 : c > 0))
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

	if (own->nunless == 0 || (run->spared_version == own->version && run->spared_at <= run->started_at))
		return false;
	if (!emk_trigger_was_cancelled(p->t->history, own, run, &cancel, &key_absent))
	{
		/* nobody asks again in this pass; a replay, where more has happened at each item, does */
		run->spared_version = p->t->history == NULL ? own->version : 0;
		run->spared_at = run->started_at;
		return false;
	}
	run->cancelled = true;
	emk_trigger_end_run(p->t, run, own, &cancel, key_absent);
	return true;
}

/* Starts of a run that is gone, or that gives them back. `item` (or NULL): the event of one of them */
static void
place_again(EmkTake *t, const EmkRule *rule, const char *profile_id, const char *key, const EmkStart *starts, int n,
			const EmkItem *item, int64 *slot)
{
	for (int i = 0; i < n; i++)
	{
		Place		p = {t, version_of(t, rule, starts[i].version), profile_id, key, starts[i], item, slot};

		/* a run from before there were records has only the time of its newest start */
		if (p.start.event_id == 0 && (p.item = item_of(&p, &p.start)) != NULL)
			p.start.event_id = p.item->event_id;
		p.start.joined = false;
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

static TimestampTz
last_of(const EmkRun *run)
{
	return run->starts[run->nstarts - 1].at;
}

/* Are two runs near enough to be one of `own`? */
static bool
touch(const EmkRule *own, const EmkRun *a, const EmkRun *b)
{
	bool		debounce = own->on_repeat == EMK_REPEAT_DEBOUNCE;

	return a->starts[0].at <= emk_clock_add(debounce ? last_of(b) : b->starts[0].at, &own->after) &&
		b->starts[0].at <= emk_clock_add(debounce ? last_of(a) : a->starts[0].at, &own->after);
}

static int
index_of(const EmkRun *run, const EmkStart *s)
{
	int			i = 0;

	while (!same_start(&run->starts[i], s))
		i++;
	return i;
}

/* The starts of another run are the run's, too. Whatever lies within what is known to be one is within it. */
static void
unite_records(EmkRun *run, const EmkRun *other)
{
	for (int i = 0; i < other->nstarts; i++)
	{
		record(run, &other->starts[i]);
		for (int k = other->starts[i].joined ? index_of(run, &other->starts[i - 1]) + 1 : run->nstarts;
			 k < run->nstarts && k <= index_of(run, &other->starts[i]); k++)
			run->starts[k].joined = true;
	}
	run->rule_version = Min(run->rule_version, other->rule_version);
}

/* The starts of `other`, which ends without a word, are the run's. */
static void
swallow(EmkRun *run, EmkRun *other)
{
	other->gone = true;
	other->dirty = true;
	if (other->slot == 0)
		run->slot = 0;
	unite_records(run, other);
}

/* Another run that is one with this, by the older version of the two. Of ignore and replace the one that began first has the other. */
static EmkRun *
next_to(const Place *p, const EmkRun *run)
{
	for (EmkRun *r = next_series(p, NULL); r != NULL; r = next_series(p, r))
	{
		const EmkRule *rule = version_of(p->t, p->rule, Min(run->rule_version, r->rule_version));

		if (r != run && touch(rule, run, r) && (rule->on_repeat == EMK_REPEAT_DEBOUNCE || r->starts[0].at >= run->starts[0].at))
			return r;
	}
	return NULL;
}

/* How many of its starts a run has by its version; the others lie beyond. */
static int
extent(const EmkRun *run, const EmkRule *own)
{
	bool		debounce = own->on_repeat == EMK_REPEAT_DEBOUNCE;
	TimestampTz end = emk_clock_add(run->starts[0].at, &own->after);
	int			k = 1;

	for (; k < run->nstarts && ((debounce && run->starts[k].joined) || run->starts[k].at <= end); k++)
		if (debounce)
			end = emk_clock_add(run->starts[k].at, &own->after);
	return k;
}

/* Of debounce the first start and the one whose data the run has are enough; of others a record has a limit. */
static void
shorten(EmkRun *run, bool debounce)
{
	int			newest = run->nstarts - 1;

	if (debounce)
	{
		for (int i = newest; i > 0 && run->starts[i].at == run->starts[run->nstarts - 1].at; i--)
			if (run->starts[i].event_id == run->event_id)
				newest = i;
		if (newest > 0)
		{
			run->starts[1] = run->starts[newest];
			run->starts[1].joined = true;
			run->nstarts = 2;
		}
		return;
	}
	while (run->nstarts > EMK_MAX_RUN_STARTS)
	{
		run->nstarts--;
		memmove(run->starts + 1, run->starts + 2, sizeof(EmkStart) * (run->nstarts - 1));
	}
	for (int i = 0; i < run->nstarts; i++)
		run->starts[i].joined = false;
}

/*
 * All that follows from a run's record and version, after either has changed: which runs are one with it, which starts are not its own
 * and go on by themselves, when it started and is due, and whose data it has. before: the version by which it had them
 */
static void
normalise(const Place *p, EmkRun *run, int32 before)
{
	const EmkRule *own;
	EmkRun	   *other;
	EmkStart   *rest;
	bool		debounce;
	TimestampTz started;
	int			k;
	int			n;

	do
	{
		for (int i = 0; i < run->nstarts; i++)
			run->rule_version = Min(run->rule_version, run->starts[i].version);
		if ((other = next_to(p, run)) != NULL)
			swallow(run, other);
	} while (other != NULL);
	own = version_of(p->t, p->rule, run->rule_version);
	debounce = own->on_repeat == EMK_REPEAT_DEBOUNCE;
	k = extent(run, own);
	n = run->nstarts - k;
	rest = palloc(sizeof(EmkStart) * Max(n, 1));
	memcpy(rest, run->starts + k, sizeof(EmkStart) * n);
	run->nstarts = k;
	run->last_at = last_of(run);
	started = debounce ? run->last_at : run->starts[0].at;
	settle_data(p, run, before);
	shorten(run, debounce);
	if (run->started_at != started || run->due_at != emk_clock_add(started, &own->after))
	{
		run->started_at = started;
		emk_trigger_set_due(run, own, started);
	}
	run->dirty = true;
	place_again(p->t, p->rule, p->profile_id, p->key, rest, n, p->item, NULL);
	pfree(rest);
}

static void
take_in(const Place *p, EmkRun *run)
{
	record(run, &p->start);
	normalise(p, run, run->rule_version);
}

/* A start before all others of a run of ignore or replace */
static void
move_back(const Place *p, EmkRun *run)
{
	EmkItem		at = {.occurred_at = p->start.at, .profile_id = p->profile_id};

	if (!emk_trigger_is_decided(p->t, common(p, run), &at, p->key))
		take_in(p, run);
}

static bool
reaches(const Place *p, const EmkRun *run)
{
	const EmkRule *own = common(p, run);

	if (own->on_repeat == EMK_REPEAT_DEBOUNCE)
		return p->start.at <= emk_clock_add(last_of(run), &own->after) && run->starts[0].at <= emk_clock_add(p->start.at, &own->after);
	return p->start.at >= run->starts[0].at && p->start.at <= emk_clock_add(run->starts[0].at, &own->after);
}

static void
place(Place *p)
{
	EmkRun	   *in = NULL;		/* has it within */
	EmkRun	   *before = NULL;	/* the nearest that began before it */
	EmkRun	   *after = NULL;	/* the nearest that began after it */

	check_stack_depth();		/* what is placed can end a run, of which something else is placed then */
	CHECK_FOR_INTERRUPTS();
	for (EmkRun *r = next_series(p, NULL); r != NULL; r = next_series(p, r))
	{
		if (in_record(r, &p->start))
			return;
		if (reaches(p, r) && (in == NULL || in->starts[0].at < r->starts[0].at))
			in = r;
		if (r->starts[0].at <= p->start.at && (before == NULL || before->starts[0].at < r->starts[0].at))
			before = r;
		if (r->starts[0].at > p->start.at && (after == NULL || after->starts[0].at > r->starts[0].at))
			after = r;
	}
	if (in != NULL)
	{
		bool		debounce = common(p, in)->on_repeat == EMK_REPEAT_DEBOUNCE;

		if ((in->rule_version != p->start.version || (after != NULL && !debounce)) && ends(p, in))
			place(p);
		else
			take_in(p, in);
	}
	else if (before != NULL && before->nstarts > 1 && common(p, before)->on_repeat != EMK_REPEAT_DEBOUNCE && ends(p, before))
		place(p);
	else if (after != NULL && common(p, after)->on_repeat != EMK_REPEAT_DEBOUNCE &&
			 after->starts[0].at <= emk_clock_add(p->start.at, &common(p, after)->after))
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

/*
 * From which start on a run that was cancelled goes on. What cancels it lies no more than look_back before its own start; in months that
 * start may lie later than look_back after it all the same. It is never among those that go on, or it would begin for ever.
 */
static int
first_after(const EmkRun *run, TimestampTz after)
{
	int			k = 0;

	after = Max(after, run->started_at);
	while (k < run->nstarts && run->starts[k].at <= after)
		k++;
	return k;
}

void
emk_trigger_place_rest(EmkTake *t, const EmkRule *rule, const EmkRun *run, TimestampTz after)
{
	int			k = first_after(run, after);

	place_again(t, rule, run->profile_id, run->key, run->starts + k, run->nstarts - k, NULL, NULL);
}

/* Of debounce the record has the first and the newest start only, which would not find each other again one by one. */
void
emk_trigger_unite(EmkTake *t, const EmkRule *rule, EmkRun *into, const EmkRun *run, const EmkItem *item)
{
	Place		p = {t, rule, item->profile_id, into->key, {0}, item, NULL};
	int32		before = into->rule_version;

	if (into->gone || version_of(t, rule, Min(into->rule_version, run->rule_version))->on_repeat != EMK_REPEAT_DEBOUNCE)
	{
		place_again(t, rule, item->profile_id, run->key, run->starts, run->nstarts, item, NULL);
		return;
	}
	unite_records(into, run);
	normalise(&p, into, before);
}

bool
emk_trigger_touch(const EmkTake *t, const EmkRule *rule, const EmkRun *a, const EmkRun *b)
{
	return touch(version_of(t, rule, Min(a->rule_version, b->rule_version)), a, b);
}

/* The others are lent as copies: what stays as it was is the caller's again. */
void
emk_trigger_place_after_gate(EmkTake *t, const EmkRule *rule, const EmkRun *run, TimestampTz after, EmkRun **others, int n)
{
	int64		slot = run->slot == 0 ? 0 : USED;
	int			k = first_after(run, after);
	EmkRun	  **lent = palloc(sizeof(EmkRun *) * Max(n, 1));

	for (int i = 0; i < n; i++)
	{
		lent[i] = memcpy(palloc(sizeof(EmkRun)), others[i], sizeof(EmkRun));
		lent[i]->starts_room = 0;	/* a record that grows is its own */
		lent[i]->dirty = false;
		if (strcmp(lent[i]->profile_id, run->profile_id) != 0)
		{
			lent[i]->profile_id = run->profile_id;	/* of a person whose merge is still to be done; its place may be taken there */
			lent[i]->slot = own_slot(lent[i]);
		}
		emk_trigger_add(t, lent[i]);
	}
	place_again(t, rule, run->profile_id, run->key, run->starts + k, run->nstarts - k, NULL, &slot);
	for (int i = 0; i < n; i++)
		if (lent[i]->gone || lent[i]->dirty)
			others[i]->gone = true;
		else
			lent[i]->gone = true;
}

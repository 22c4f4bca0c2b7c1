/*
 * start.c: what a starting event does to the runs of its rule, profile and key. The transitions:
 *
 *   no run                        → begin()
 *   a run, event after its due_at → the run is set aside, begin()
 *   a run, event before it        → move_back() where the older event decides and was not decided before, else nothing; what was
 *                                   folded in and lies beyond the new due time: split()
 *   a run, event so long before it that it was over when the run began → begin(), beside it
 *   a run, event before it that another live run's series has or begins with (ignore, replace) → that run's business
 *   a run, event within it        → refresh() by on_repeat
 *
 * begin() asks whether its profile is in a storm.
 *
 * The result does not depend on the order in which events arrive; ties of occurred_at are ordered by message id and properties.
 */
#include "postgres.h"

#include "segment/segment.h"
#include "trigger/trigger_int.h"

static int64
next_run_id(EmkHistory *history)
{
	if (history != NULL)
		return ++history->last_run_id;
	return emk_setting_next_id(emk_setting_table("run_id_seq"));
}

static bool
has_delay(const EmkRule *rule)
{
	return rule->after.time != 0 || rule->after.day != 0 || rule->after.month != 0;
}

bool
emk_trigger_debounces(const EmkRule *rule)
{
	return has_delay(rule) && rule->on_repeat == EMK_REPEAT_DEBOUNCE && !rule->lapse;
}

static void
take_data(EmkRun *run, const EmkItem *item)
{
	run->event_id = item->event_id;
	run->event_name = item->name;
	run->event_at = item->occurred_at;
	run->message_id = item->message_id;
	run->properties = item->properties;
	run->received_at = item->received_at;
	run->dirty = true;
}

static void
set_due(EmkRun *run, const EmkRule *rule, TimestampTz from)
{
	run->due_at = emk_clock_add(from, &rule->after);
	run->wake_at = run->held ? run->wake_at : run->due_at;
	run->dirty = true;
}

static EmkRun *
make_run(EmkHistory *history, const EmkRule *rule, const EmkItem *item, const char *key, int64 slot, TimestampTz now)
{
	EmkRun	   *run = palloc0(sizeof(EmkRun));

	run->run_id = next_run_id(history);
	run->rule_id = rule->rule_id;
	run->rule_version = rule->version;
	run->profile_id = item->profile_id;
	run->key = key;
	run->slot = slot;
	run->started_at = run->last_at = item->occurred_at;
	run->created_at = now;
	run->depth = item->depth;
	take_data(run, item);
	set_due(run, rule, item->occurred_at);
	return run;
}

/*
 * Can what this start belongs to have been decided before it came? A series of ignore or replace has its events up to its due time, which
 * may be just over; one of debounce, or an inactivity, is decided a delay after its newest start. Of a count any edge may be a moved one.
 */
static bool
can_be_decided(const EmkRule *rule, const EmkItem *item, TimestampTz now)
{
	if (rule->at_least > 1)
		return true;
	if (!has_delay(rule) || rule->on_repeat == EMK_REPEAT_PARALLEL)
		return false;
	return item->occurred_at <= now - EMK_TRIGGER_YOUNG || rule->on_repeat == EMK_REPEAT_IGNORE || rule->on_repeat == EMK_REPEAT_REPLACE ||
		emk_clock_add(item->occurred_at, &rule->after) <= now;
}

static void
begin(EmkTake *t, const EmkRule *rule, const EmkItem *item, const char *key, int64 slot, bool late)
{
	EmkRun	   *run;

	if (emk_trigger_in_storm(t, rule, item, key))
		return;
	run = make_run(t->history, rule, item, key, slot, t->now);
	run->late = late;
	emk_trigger_add(t, run);
	if (late || can_be_decided(rule, item, t->now))
		emk_trigger_push(&t->fresh, run);
}

/* An older event than the run's start: it decides for ignore (all) and replace (start and due time). */
static void
set_back(EmkRun *run, const EmkRule *rule, const EmkItem *item)
{
	run->started_at = item->occurred_at;
	if (rule->on_repeat == EMK_REPEAT_IGNORE)
		take_data(run, item);
	set_due(run, rule, item->occurred_at);
}

/* A newer event within the run */
static void
refresh(EmkRun *run, const EmkRule *rule, const EmkItem *item)
{
	run->last_at = Max(run->last_at, item->occurred_at);
	run->dirty = true;
	if (rule->on_repeat == EMK_REPEAT_IGNORE)
		return;
	take_data(run, item);
	if (rule->on_repeat == EMK_REPEAT_DEBOUNCE)
	{
		run->started_at = item->occurred_at;
		set_due(run, rule, item->occurred_at);
	}
}

static EmkRun *
open_run(EmkTake *t, const char *profile_id, const EmkRule *rule, const char *key)
{
	for (EmkRun *r = emk_trigger_walk(t, profile_id, rule->rule_id, NULL); r != NULL;
		 r = emk_trigger_walk(t, profile_id, rule->rule_id, r))
		if (r->slot == 0 && strcmp(r->key, key) == 0)
			return r;
	return NULL;
}

/* A start that was folded into a run begins as if it came now; what else was may begin anew yet, up to `last_at`. */
static void
unfold(EmkTake *t, const EmkRule *rule, const EmkItem *start, const char *key, TimestampTz last_at)
{
	emk_trigger_start(t, rule, start, key);
	for (EmkRun *r = emk_trigger_walk(t, start->profile_id, rule->rule_id, NULL); r != NULL;
		 r = emk_trigger_walk(t, start->profile_id, rule->rule_id, r))
		if ((r->slot == 0 || r->event_id == start->event_id) && strcmp(r->key, key) == 0 && r->last_at < Min(last_at, r->due_at))
		{
			r->last_at = Min(last_at, r->due_at);
			r->dirty = true;
		}
}

/* A run that was moved back: what had been folded into it and lies beyond its new due time is a series of its own. */
static void
split(EmkTake *t, EmkRun *run, const EmkRule *own, const EmkItem *first)
{
	TimestampTz last_at = run->last_at;
	EmkItem    *starts;
	int			n;
	int			k = 0;

	if (last_at <= run->due_at)
		return;
	n = emk_trigger_starts_in(t->history, own, run, run->started_at, &starts);
	while (k < n && starts[k].occurred_at <= run->due_at)
		k++;
	run->last_at = k > 0 ? starts[k - 1].occurred_at : run->started_at;
	if (run->event_at > run->due_at)
		take_data(run, k > 0 ? &starts[k - 1] : first);
	if (k < n)
		unfold(t, own, &starts[k], run->key, last_at);
}

/*
 * Was a run cancelled by what came before it began? Then it ends, and what was folded into it begins anew. The gate would find that when
 * it is due; who is about to begin a run beside it asks here, since what begins anew at the gate sees no other run.
 */
static bool
ends(EmkTake *t, EmkRun *run, const EmkRule *own)
{
	EmkItem		cancel;
	bool		key_absent;

	if (t->history != NULL || own->on_repeat == EMK_REPEAT_DEBOUNCE ||
		!emk_trigger_was_cancelled(own, run, &cancel, &key_absent))
		return false;
	emk_trigger_end_run(t, run, own, &cancel, key_absent);
	return true;
}

/* The older start may lie within the reach of a cancelling event that the newer one did not. */
static void
move_back(EmkTake *t, EmkRun *run, const EmkRule *own, const EmkItem *item)
{
	set_back(run, own, item);
	if (!own->lapse && !ends(t, run, own))
		split(t, run, own, item);
}

/* An event before the run, or within it */
static void
join(EmkTake *t, EmkRun *run, const EmkRule *own, const EmkItem *item)
{
	int			c = emk_trigger_compare(item->occurred_at, item->message_id, item->properties,
										run->event_at, run->message_id, run->properties);

	if (item->occurred_at < run->started_at)
	{
		if (own->on_repeat != EMK_REPEAT_DEBOUNCE && !emk_trigger_is_decided(t, own, item, run->key))
			move_back(t, run, own, item);
	}
	else if (c > 0)
		refresh(run, own, item);
	else if (own->on_repeat == EMK_REPEAT_IGNORE && item->occurred_at == run->started_at && c < 0)
		take_data(run, item);
}

/*
 * A run beside `run` (one that began there, was set aside or is held) of a series that has the event, or would have begun with it.
 * Asked for an event before `run`; NULL for none.
 */
static EmkRun *
beside(EmkTake *t, const EmkRun *run, const EmkRule *own, const EmkItem *item)
{
	TimestampTz end = emk_clock_add(item->occurred_at, &own->after);
	EmkRun	   *found = NULL;

	if (own->on_repeat == EMK_REPEAT_DEBOUNCE || item->occurred_at >= run->started_at)
		return NULL;
	for (EmkRun *r = emk_trigger_walk(t, item->profile_id, own->rule_id, NULL); r != NULL;
		 r = emk_trigger_walk(t, item->profile_id, own->rule_id, r))
	{
		if (r == run || r->slot == 0 || strcmp(r->key, run->key) != 0 || item->occurred_at > r->due_at || r->started_at > end)
			continue;
		if (r->started_at <= item->occurred_at)
			return r;
		if (found == NULL || r->started_at < found->started_at)
			found = r;
	}
	return found;
}

void
emk_trigger_start(EmkTake *t, const EmkRule *rule, const EmkItem *item, const char *key)
{
	const EmkRule *own;			/* of the version that the run keeps */
	EmkRun	   *run;
	EmkRun	   *other;

	if (rule->on_repeat == EMK_REPEAT_PARALLEL || !has_delay(rule))
	{
		if (!emk_trigger_has_event(t, item->profile_id, rule->rule_id, item->event_id))
			begin(t, rule, item, key, item->event_id, false);
		return;
	}
	run = open_run(t, item->profile_id, rule, key);
	if (run == NULL)
	{
		begin(t, rule, item, key, 0, false);
		return;
	}
	if (run->event_id == item->event_id)
		return;
	own = run->rule_version == rule->version ? rule : emk_rule_get(rule->rule_id, run->rule_version);
	if (own == NULL)
		own = rule;
	if (item->occurred_at > run->due_at && !rule->lapse)
	{
		if (run->last_at > run->started_at && ends(t, run, own))
		{
			emk_trigger_start(t, rule, item, key);
			return;
		}
		/* it fell due before this event: to be decided for itself */
		run->slot = run->event_id;
		run->dirty = true;
		begin(t, rule, item, key, 0, false);
	}
	else if (!rule->lapse && (other = beside(t, run, own, item)) != NULL)
	{
		if (other->event_id == item->event_id)
			return;
		if (ends(t, other, own))
			emk_trigger_start(t, rule, item, key);
		else
			join(t, other, own, item);
	}
	else if (emk_clock_add(item->occurred_at, &own->after) < run->started_at && !rule->lapse &&
			 (own->on_repeat != EMK_REPEAT_DEBOUNCE || emk_trigger_debounces(rule)))
	{
		if (!emk_trigger_has_event(t, item->profile_id, rule->rule_id, item->event_id))
			begin(t, rule, item, key, item->event_id, emk_trigger_debounces(rule));
	}
	else
		join(t, run, own, item);
}

void
emk_trigger_begin_again(EmkTake *t, const EmkRule *rule, const EmkRun *run, TimestampTz after)
{
	EmkItem		again;

	if (run->last_at <= after || rule->on_repeat == EMK_REPEAT_DEBOUNCE || rule->on_repeat == EMK_REPEAT_PARALLEL ||
		!emk_trigger_next_start(t->history, rule, run, after, &again))
		return;
	unfold(t, rule, &again, run->key, run->last_at);
}

EmkRun *
emk_trigger_restart(EmkHistory *history, const EmkRule *rule, const EmkRun *run, TimestampTz cancel_at, TimestampTz now)
{
	EmkItem		again;
	EmkRun	   *next;

	if (rule->on_repeat == EMK_REPEAT_DEBOUNCE || rule->on_repeat == EMK_REPEAT_PARALLEL || run->last_at <= cancel_at ||
		!emk_trigger_next_start(history, rule, run, cancel_at, &again))
		return NULL;
	next = make_run(history, rule, &again, run->key, run->slot, now);
	next->last_at = Max(next->last_at, run->last_at);	/* what else was folded in may begin anew yet */
	return next;
}

void
emk_trigger_rearm(EmkRun *run, TimestampTz at, int64 event_id, const char *name, Jsonb *properties, TimestampTz due_at)
{
	run->started_at = run->event_at = run->last_at = at;
	run->event_id = event_id;
	run->event_name = name;
	run->properties = properties;
	run->message_id = NULL;
	run->due_at = due_at;
	run->held = false;
}

/* A refusal before a run began */
static void
refuse(EmkTake *t, const EmkRule *rule, const EmkItem *item, const char *key, const char *reason, const char *facts)
{
	EmkRun		run;

	memset(&run, 0, sizeof(run));
	run.profile_id = item->profile_id;
	run.key = key ? key : "";
	run.event_id = item->event_id;
	run.started_at = item->occurred_at;
	emk_trigger_decide(t->decisions, &run, rule, "suppressed", reason, facts);
}

char *
emk_trigger_error_facts(const char *error)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoChar(&buf, '{');
	emk_json_append_string(&buf, "error", error);
	appendStringInfoChar(&buf, '}');
	return buf.data;
}

/* Is the profile in the rule's audience now? If not, says so. */
static bool
in_audience(EmkTake *t, const EmkRule *rule, const EmkItem *item, const char *key)
{
	char	   *error;
	char	   *facts;
	Jsonb	   *traits = item->traits;
	bool		in;

	if (t->history != NULL && rule->where_profile != NULL)
		traits = t->history->traits(t->history, item->profile_id, t->now);
	in = emk_rule_test(rule->where_profile, rule->cold_profile, traits, &error);

	if (error != NULL)
	{
		emk_trigger_failed(t, rule, error);
		refuse(t, rule, item, key, "condition_error", emk_rule_audience_facts(traits, error));
	}
	else if (!in)
		refuse(t, rule, item, key, "audience", emk_rule_audience_facts(traits, NULL));
	else if (rule->where_segment != 0)
	{
		in = t->history == NULL ? emk_segment_has(rule->where_segment, item->profile_id, t->now, &facts) :
			emk_trigger_history_in_segment(t->history, rule->where_segment, item->profile_id, t->now, &facts);
		if (!in)
			refuse(t, rule, item, key, "audience", facts);
	}
	return in;
}

/*
 * An event whose name starts the rule. A false where_event says nothing; a missing key, too great a depth and a profile outside
 * the audience each leave a decision.
 */
void
emk_trigger_consider(EmkTake *t, const EmkRule *rule, const EmkItem *item)
{
	EmkItem    *edges;
	char	   *error;
	char	   *key;
	int			n;

	if (!emk_rule_test(rule->where_event, rule->cold_event, item->properties, &error))
	{
		if (error != NULL)
		{
			emk_trigger_failed(t, rule, error);
			refuse(t, rule, item, NULL, "condition_error", emk_trigger_error_facts(error));
		}
		return;
	}
	key = emk_rule_key(rule, item->properties);
	if (key == NULL)
		refuse(t, rule, item, NULL, "no_key", emk_trigger_error_facts(psprintf("%s is missing", rule->per)));
	else if (item->depth > EMK_MAX_DEPTH)
		refuse(t, rule, item, key, "depth", NULL);
	else if (rule->at_least > 1)
	{
		n = emk_trigger_edges(t, rule, item, key, &edges);
		for (int i = 0; i < n; i++)
		{
			/* the count is known since the later of the two, whichever came last */
			edges[i].received_at = Max(edges[i].received_at, item->received_at);
			if (!emk_trigger_has_event(t, edges[i].profile_id, rule->rule_id, edges[i].event_id) && in_audience(t, rule, &edges[i], key))
				emk_trigger_start(t, rule, &edges[i], key);
		}
	}
	else if (rule->lapse || in_audience(t, rule, item, key))
		emk_trigger_start(t, rule, item, key);
}

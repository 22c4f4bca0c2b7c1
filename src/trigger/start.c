/*
 * start.c: what a starting event does: whether its rule lets it in, and the run that begins.
 *
 *   condition, key, depth, count, audience → let in, or refused with a decision
 *   parallel, or no delay                  → a run of its own
 *   inactivity                             → one run a profile, which the newest event has
 *   else                                   → series.c
 *
 * Whoever begins a run asks whether its profile is in a storm.
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

void
emk_trigger_take_data(EmkRun *run, const EmkItem *item)
{
	run->event_id = item->event_id;
	run->event_name = item->name;
	run->event_at = item->occurred_at;
	run->message_id = item->message_id;
	run->properties = item->properties;
	run->received_at = item->received_at;
	run->dirty = true;
}

void
emk_trigger_set_due(EmkRun *run, const EmkRule *rule, TimestampTz from)
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
	emk_trigger_take_data(run, item);
	emk_trigger_set_due(run, rule, item->occurred_at);
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
	if (!emk_trigger_has_delay(rule) || rule->on_repeat == EMK_REPEAT_PARALLEL)
		return false;
	return item->occurred_at <= now - EMK_TRIGGER_YOUNG || rule->on_repeat == EMK_REPEAT_IGNORE || rule->on_repeat == EMK_REPEAT_REPLACE ||
		emk_clock_add(item->occurred_at, &rule->after) <= now;
}

EmkRun *
emk_trigger_begin(EmkTake *t, const EmkRule *rule, const EmkItem *item, const char *key, int64 slot)
{
	EmkRun	   *run = make_run(t->history, rule, item, key, slot, t->now);

	emk_trigger_add(t, run);
	if (can_be_decided(rule, item, t->now))
		emk_trigger_push(&t->fresh, run);
	return run;
}

/* Inactivity: the newest event has the run. */
static void
restart_wait(EmkRun *run, const EmkRule *rule, const EmkItem *item)
{
	if (emk_trigger_compare(item->occurred_at, item->message_id, item->properties, run->event_at, run->message_id, run->properties) <= 0)
		return;
	run->last_at = run->started_at = item->occurred_at;
	emk_trigger_take_data(run, item);
	emk_trigger_set_due(run, rule, item->occurred_at);
}

/* The run of an inactivity rule; NULL: none waits. A version of the rule that was no such rule may have left another at its place. */
static EmkRun *
waiting_run(EmkTake *t, const EmkRule *rule, const EmkItem *item, const char *key, const EmkRule **own)
{
	for (EmkRun *r = emk_trigger_walk(t, item->profile_id, rule->rule_id, NULL); r != NULL;
		 r = emk_trigger_walk(t, item->profile_id, rule->rule_id, r))
		if (r->slot == 0 && strcmp(r->key, key) == 0)
		{
			*own = r->rule_version == rule->version || t->history != NULL ? rule : emk_rule_get(rule->rule_id, r->rule_version);
			return *own != NULL && (rule->lapse || (*own)->lapse) ? r : NULL;
		}
	return NULL;
}

void
emk_trigger_start(EmkTake *t, const EmkRule *rule, const EmkItem *item, const char *key)
{
	const EmkRule *own;
	EmkRun	   *run;

	if (rule->on_repeat == EMK_REPEAT_PARALLEL || !emk_trigger_has_delay(rule))
	{
		if (!emk_trigger_has_event(t, item->profile_id, rule->rule_id, item->event_id) && !emk_trigger_in_storm(t, rule, item, key))
			emk_trigger_begin(t, rule, item, key, item->event_id);
	}
	else if ((run = waiting_run(t, rule, item, key, &own)) != NULL && run->nstarts == 0)
		restart_wait(run, own, item);
	else if (run != NULL)
		emk_trigger_place(t, own, item, key);
	else if (rule->lapse)
		emk_trigger_begin(t, rule, item, key, 0);
	else
		emk_trigger_place(t, rule, item, key);
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
		refuse(t, rule, item, NULL, "no_key",
			   emk_trigger_error_facts(psprintf("%s is missing, empty, too long or no plain value", rule->per)));
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

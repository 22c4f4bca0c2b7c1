/*
 * follow.c: a profile was merged into another: its live runs and deliveries follow (S12). Of two runs of one rule and key the
 * older stays and takes the other's start as it would have taken the event. Events are not touched: they keep the id they came
 * with, and readers ask for all ids of a profile. The runs of both are woken, so their gates are asked over the joined history.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "profile/profile.h"
#include "trigger/trigger_int.h"
#include "utils/builtins.h"

static EmkPlan runs_plan = {
	"SELECT " EMK_RUN_COLUMNS ", ctid FROM eventmkt_data.pending_trigger "
	"WHERE profile_id OPERATOR(pg_catalog.=) $1 ORDER BY rule_id, key, slot FOR UPDATE", 1, {TEXTOID}
};
static EmkPlan deliveries_plan = {
	"UPDATE eventmkt_data.delivery SET profile_id = $2 WHERE profile_id OPERATOR(pg_catalog.=) $1", 2, {TEXTOID, TEXTOID}
};

#define TID_COLUMN (EMK_RUN_NCOLS + 1)

/* Those of a replay are in memory: copies, which may move to another chain; the originals go. */
static EmkRuns
take_over(EmkTake *t, const char *profile_id)
{
	EmkRuns		runs = {0};

	for (int i = 0; i < t->runs.n; i++)
		if (!t->runs.v[i]->gone && t->runs.v[i]->profile_id == profile_id)
		{
			EmkRun	   *run = palloc(sizeof(EmkRun));

			*run = *t->runs.v[i];
			t->runs.v[i]->gone = true;
			emk_trigger_push(&runs, run);
		}
	return runs;
}

static EmkRuns
load_runs(const char *profile_id)
{
	Datum		arg = CStringGetTextDatum(profile_id);
	EmkRuns		runs = {0};

	emk_spi_run(&runs_plan, &arg, NULL, false, 0);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		EmkRun	   *run = palloc(sizeof(EmkRun));
		bool		isnull;

		emk_trigger_read_run(row, run);
		run->tid = *(ItemPointer) DatumGetPointer(emk_spi_datum(row, TID_COLUMN, &isnull));
		run->stored = true;
		emk_trigger_push(&runs, run);
	}
	return runs;
}

static void
as_item(const EmkTake *t, const EmkRun *run, const char *profile_id, EmkItem *item)
{
	memset(item, 0, sizeof(*item));
	item->kind = 'e';
	item->event_id = run->event_id;
	item->profile_id = profile_id;
	item->occurred_at = run->event_at;
	item->name = run->event_name;
	item->properties = run->properties;
	item->message_id = run->message_id;
	item->received_at = run->received_at;
	item->depth = run->depth;
	item->traits = t->history != NULL ? NULL : emk_profile_traits(profile_id);
}

/*
 * The live run of the other profile that is to be one with a run: of runs with a record the oldest that is near enough, of others the one
 * in its slot. What an earlier merge of this pass moved counts. *open: slot 0 is taken.
 */
static EmkRun *
rival(EmkTake *t, const EmkRule *rule, const char *profile_id, const EmkRun *of, bool *open)
{
	EmkRun	   *found = NULL;

	*open = false;
	for (EmkRun *r = emk_trigger_walk(t, profile_id, of->rule_id, NULL); r != NULL;
		 r = emk_trigger_walk(t, profile_id, of->rule_id, r))
	{
		if (strcmp(r->key, of->key) != 0)
			continue;
		*open = *open || r->slot == 0;
		if (r->nstarts > 0 && of->nstarts > 0 ? rule != NULL && emk_trigger_touch(t, rule, r, of) : r->slot == of->slot)
			found = found == NULL || r->started_at < found->started_at ? r : found;
	}
	return found;
}

/* Has this pass the row of a run already? NULL: no */
static EmkRun *
known_run(const EmkTake *t, EmkRun *run)
{
	for (int i = 0; i < t->runs.n; i++)
		if (t->runs.v[i]->stored && ItemPointerEquals(&t->runs.v[i]->tid, &run->tid))
			return t->runs.v[i];
	return NULL;
}

/* Has the gates asked over the joined history. */
static void
wake(const EmkTake *t, EmkRun *run)
{
	run->wake_at = run->held ? run->wake_at : Min(run->wake_at, t->now);
	run->spared_version = 0;
	run->dirty = true;
}

/* A run of the survivor: what the other one did can have cancelled it. */
static void
stay(EmkTake *t, EmkRun *run)
{
	EmkRun	   *known = known_run(t, run);
	const EmkRule *rule = emk_rule_get(run->rule_id, run->rule_version);

	if (known == NULL)
		emk_trigger_add(t, run);
	else
		run = known;
	if (!run->gone && rule != NULL && rule->nunless > 0)
		wake(t, run);
}

static void
move_to(EmkTake *t, EmkRun *run, const char *into)
{
	run->profile_id = into;
	run->dirty = true;
	emk_trigger_add(t, run);
}

/* Ends the younger of two runs; its starts are the person's, and go to the older one. */
static void
fold(EmkTake *t, const EmkRule *rule, EmkRun *younger, EmkRun *older)
{
	EmkItem		item;

	younger->gone = true;
	younger->dirty = true;
	emk_trigger_decide(t->decisions, younger, rule, "cancelled", "merged", psprintf("{\"into_run\": " INT64_FORMAT "}", older->run_id));
	as_item(t, younger, older->profile_id, &item);
	if (younger->nstarts > 0)
		emk_trigger_unite(t, rule, older, younger, &item);
	else
		emk_trigger_start(t, rule, &item, older->key);
}

/* Moves one run to the canonical profile, or folds it into the run that is there, or that one into it. */
static void
move_run(EmkTake *t, EmkRun *run, const char *into)
{
	const EmkRule *rule = t->history != NULL ? t->history->rule : emk_rule_get(run->rule_id, run->rule_version);
	EmkRuns		younger = {0};
	bool		open;
	EmkRun	   *other = rival(t, rule, into, run, &open);

	if (other != NULL && rule != NULL && other->started_at <= run->started_at)
	{
		emk_trigger_push(&t->runs, run);
		fold(t, rule, run, other);
		return;
	}
	for (; other != NULL && rule != NULL; other = rival(t, rule, into, run, &open))
	{
		other->gone = true;
		emk_trigger_push(&younger, other);
	}
	if (run->nstarts > 0)
		run->slot = !open ? 0 : run->slot == 0 ? -run->run_id : run->slot;
	move_to(t, run, into);
	wake(t, run);
	for (int i = 0; i < younger.n; i++)
		fold(t, rule, younger.v[i], run);
}

void
emk_trigger_merge(EmkTake *t, const EmkItem *item)
{
	Datum		args[2] = {CStringGetTextDatum(item->raw_id), CStringGetTextDatum(item->profile_id)};
	EmkRuns		from,
				there;

	if (strcmp(item->raw_id, item->profile_id) == 0)
		return;					/* undone since */
	if (t->history != NULL)
	{
		from = take_over(t, item->raw_id);
		for (int i = 0; i < t->runs.n; i++)
			if (!t->runs.v[i]->gone && t->runs.v[i]->profile_id == item->profile_id && t->history->rule->nunless > 0)
				wake(t, t->runs.v[i]);
		for (int i = 0; i < from.n; i++)
			move_run(t, from.v[i], item->profile_id);
		return;
	}
	emk_spi_run(&deliveries_plan, args, NULL, false, 0);
	from = load_runs(item->raw_id);
	/* of the canonical profile the batch may have some runs already; load the others */
	there = load_runs(item->profile_id);
	for (int i = 0; i < there.n; i++)
		stay(t, there.v[i]);
	for (int i = 0; i < from.n; i++)
		if (known_run(t, from.v[i]) == NULL)	/* merged, undone and merged again */
			move_run(t, from.v[i], item->profile_id);
}

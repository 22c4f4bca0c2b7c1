/*
 * fire.c: from due runs to decisions. The one place where a run ends in a delivery.
 *
 *   rule dropped                        → cancelled, rule_dropped
 *   rule disabled                       → held until it is enabled
 *   gate: cancelling event              → cancelled (and later starts that the run took in go on)
 *   gate: later activity (inactivity)   → waits on from there
 *   gate: audience, re-entry            → suppressed
 *   gate: an earlier send is open       → held
 *   later than max_lateness             → expired
 *   send_to 'none'                      → recorded
 *   else                                → a delivery; its decision is written when it settles
 *
 * A run may be looked at before it is due (after a merge): then only a cancelling event ends it. What such events end comes first; the
 * other runs of a pass are decided in the order of their rules' priority, the highest first, then in that of their due times; deliveries
 * are born, and those that have to wait are queued, in the same order.
 */
#include "postgres.h"

#include "gate/gate.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "worker/pass.h"
#include "worker/worker.h"

#define DEFER_TIME (USECS_PER_SEC / 5)

typedef struct Fire
{
	EmkPass    *pass;
	EmkRuns		put;			/* runs that wait on */
	const char *stored_id;		/* whose the run being decided is in its row, where a merge has not moved it yet */
	int			room;			/* of pass->out */
} Fire;

static void
wait_on(Fire *f, EmkRun *run, TimestampTz until)
{
	run->wake_at = until;
	run->profile_id = f->stored_id;	/* the survivor may have a run of its own: the merge's work row brings them together */
	emk_trigger_push(&f->put, run);
}

static void
hold(Fire *f, EmkRun *run, const EmkRule *rule, TimestampTz until, const char *reason, const char *facts)
{
	if (!run->held)
		emk_trigger_decide(&f->pass->decisions, run, rule, "held", reason, facts);
	run->held = true;
	wait_on(f, run, until);
}

/* The runs asked[0..k) of one rule, profile and key to be decided yet (with those cancelled); palloc'd in *out, with their number */
static int
undecided(EmkRun **asked, const EmkGateRun *gates, int k, const EmkGateRun *g, bool cancelled, EmkRun ***out)
{
	int			n = 0;

	*out = palloc(sizeof(EmkRun *) * k);
	for (int i = 0; i < k; i++)
		if (!asked[i]->gone && (cancelled || gates[i].verdict != EMK_CANCEL) && gates[i].rule->rule_id == g->rule->rule_id &&
			strcmp(gates[i].canonical, g->canonical) == 0 && strcmp(gates[i].key, g->key) == 0)
			(*out)[n++] = asked[i];
	return n;
}

/* Those of a key, which what goes on may be one with, are looked at again in a moment, when the other pass has placed its starts. */
static void
defer(Fire *f, EmkRun **runs, int n)
{
	for (int i = 0; i < n; i++)
	{
		f->stored_id = runs[i]->profile_id;
		wait_on(f, runs[i], f->pass->now + DEFER_TIME);
		runs[i]->gone = true;
	}
}

/*
 * What was cancelled comes first: starts that it took in go on, and those that are one with a run of this pass are decided with it, not
 * beside it. A run that changes by that is a row again, whose gates the next pass asks.
 */
static void
cancel(Fire *f, EmkRun **asked, EmkGateRun *gates, int k)
{
	for (int i = 0; i < k; i++)
	{
		EmkRun	   *run = asked[i];
		EmkGateRun *g = &gates[i];
		EmkRun	  **others = NULL;
		const char *stored_id = run->profile_id;
		int			n = 0;

		if (g->verdict != EMK_CANCEL || run->gone)
			continue;
		run->profile_id = g->canonical;
		if (!emk_trigger_may_restart(g->rule, run, g->cancel_at))
		{
			run->profile_id = stored_id;
			n = undecided(asked, gates, k, g, true, &others);
			defer(f, others, n);
			continue;
		}
		run->gone = true;
		if (run->nstarts > 1)
			n = undecided(asked, gates, k, g, false, &others);
		emk_trigger_decide(&f->pass->decisions, run, g->rule, "cancelled", g->reason, g->facts);
		emk_trigger_restart(g->rule, run, g->cancel_at, f->pass->now, &f->pass->decisions, others, n);
	}
}

/* An inactivity run goes on from the newest event. */
static void
rearm(Fire *f, EmkRun *run, const EmkGateRun *g)
{
	emk_trigger_rearm(run, g->new_start, g->new_event_id, g->new_event_name, g->new_properties, g->hold_until);
	wait_on(f, run, run->due_at);
}

static void
send(Fire *f, EmkRun *run, const EmkGateRun *g)
{
	EmkPass    *p = f->pass;
	EmkOutbox  *o;

	if (p->nout == f->room)
	{
		f->room = Max(64, f->room * 2);
		p->out = p->out == NULL ? palloc(sizeof(EmkOutbox) * f->room) : repalloc(p->out, sizeof(EmkOutbox) * f->room);
	}
	o = &p->out[p->nout++];
	memset(o, 0, sizeof(*o));
	o->run_id = run->run_id;
	o->rule_id = run->rule_id;
	o->rule = g->rule->name;
	o->rule_version = run->rule_version;
	o->profile_id = g->canonical;
	o->key = run->key;
	o->endpoint_id = g->rule->endpoint_id;
	o->body = emk_worker_body(run, g->rule, g->canonical, g->traits, p->now);
	o->event_id = run->event_id;
	o->started_at = run->started_at;
	o->received_at = run->received_at;
	o->run_created_at = run->created_at;
	o->due_at = run->due_at;
	o->depth = run->depth;
	o->priority = g->rule->priority;
	o->in_flight = p->lease != 0 && emk_send_reserve(o->endpoint_id);
}

/* Is an earlier run of this batch about to send for the same rule, profile and key? Then re-entry decides later. */
static bool
sends_already(const Fire *f, const EmkGateRun *g)
{
	for (int i = 0; g->rule->reentry != NULL && i < f->pass->nout; i++)
	{
		const EmkOutbox *o = &f->pass->out[i];

		if (o->rule_id == g->rule->rule_id && strcmp(o->profile_id, g->canonical) == 0 && strcmp(o->key, g->key) == 0)
			return true;
	}
	return false;
}

static void
decide(Fire *f, EmkRun *run, EmkGateRun *g)
{
	EmkPass    *p = f->pass;

	f->stored_id = run->profile_id;
	run->profile_id = g->canonical;
	switch (emk_gate_fate(g, run->due_at, g->verdict == EMK_PASS && sends_already(f, g), p->now))
	{
		case EMK_FATE_WAIT:
			wait_on(f, run, run->due_at);
			break;
		case EMK_FATE_CANCELLED:	/* was done first */
			break;
		case EMK_FATE_REARMED:
			rearm(f, run, g);
			break;
		case EMK_FATE_SUPPRESSED:
			emk_trigger_decide(&p->decisions, run, g->rule, "suppressed", g->reason, g->facts);
			break;
		case EMK_FATE_HELD:
			if (g->verdict == EMK_HOLD)
				hold(f, run, g->rule, g->hold_until, g->reason, g->facts);
			else
				hold(f, run, g->rule, p->now + USECS_PER_SEC, "earlier_send_open", NULL);
			break;
		case EMK_FATE_EXPIRED:
			emk_trigger_decide(&p->decisions, run, g->rule, "expired", "late",
							   psprintf("{\"late_seconds\": " INT64_FORMAT "}", (p->now - run->due_at) / USECS_PER_SEC));
			break;
		case EMK_FATE_RECORDED:
			emk_trigger_decide(&p->decisions, run, g->rule, "recorded", NULL, NULL);
			break;
		case EMK_FATE_SENT:
			send(f, run, g);
			break;
	}
}

typedef struct Turn
{
	int32		priority;		/* of the version of the run */
	EmkRun	   *run;
} Turn;

static int
compare_turns(const void *a, const void *b)
{
	const Turn *s = a;
	const Turn *t = b;
	const EmkRun *x = s->run;
	const EmkRun *y = t->run;

	if (s->priority != t->priority)
		return s->priority > t->priority ? -1 : 1;
	if (x->due_at != y->due_at)
		return x->due_at < y->due_at ? -1 : 1;
	return x->run_id < y->run_id ? -1 : x->run_id > y->run_id;
}

static void
put_in_order(EmkRun **runs, int n)
{
	Turn	   *turns = palloc(sizeof(Turn) * n);

	for (int i = 0; i < n; i++)
	{
		const EmkRule *rule = emk_rule_get(runs[i]->rule_id, runs[i]->rule_version);

		turns[i] = (Turn) {rule ? rule->priority : 0, runs[i]};
	}
	qsort(turns, n, sizeof(Turn), compare_turns);
	for (int i = 0; i < n; i++)
		runs[i] = turns[i].run;
	pfree(turns);
}

/* What waited for a message that a late event has cancelled may go, at an ordered endpoint. */
static void
advance(const EmkPass *p)
{
	const pg_uuid_t **ids = NULL;
	int			n = 0;

	for (int i = 0; i < p->decisions.n; i++)
	{
		const EmkDecision *d = &p->decisions.v[i];

		if (d->delivery_id == NULL || strcmp(d->outcome, "cancelled") != 0)
			continue;
		if (ids == NULL)
			ids = palloc(sizeof(pg_uuid_t *) * p->decisions.n);
		ids[n++] = d->delivery_id;
	}
	if (emk_lane_advance(ids, n, p->now) > 0)
		emk_wake_at_commit();
}

void
emk_worker_fire(EmkPass *p)
{
	Fire		f = {p};
	int			n = p->due.n;
	EmkGateRun *gates = palloc0(sizeof(EmkGateRun) * Max(n, 1));
	EmkRun	  **asked = palloc(sizeof(EmkRun *) * Max(n, 1));
	int			k = 0;

	if (n > 1)
		put_in_order(p->due.v, n);
	for (int i = 0; i < n; i++)
	{
		EmkRun	   *run = p->due.v[i];
		const EmkRule *rule = emk_rule_get(run->rule_id, run->rule_version);
		const EmkRule *current = emk_rule_current(run->rule_id);

		if (rule == NULL)
			elog(ERROR, "rule %d version %d does not exist", run->rule_id, run->rule_version);
		if (current == NULL)
			emk_trigger_decide(&p->decisions, run, rule, "cancelled", "rule_dropped", NULL);
		else if (!current->enabled)
		{
			f.stored_id = run->profile_id;
			hold(&f, run, rule, DT_NOEND, "rule_disabled", NULL);
		}
		else
		{
			gates[k].rule = rule;
			gates[k].profile_id = run->profile_id;
			gates[k].key = run->key;
			gates[k].started_at = run->started_at;
			gates[k].event_id = run->event_id;
			asked[k++] = run;
		}
	}
	emk_gate_ask(gates, k, p->now);
	cancel(&f, asked, gates, k);
	for (int i = 0; i < k; i++)
		if (!asked[i]->gone)
			decide(&f, asked[i], &gates[i]);
	EMK_PAUSE_POINT("gates_asked");
	emk_trigger_put(f.put.v, f.put.n);
	emk_outbox_insert(p->out, p->nout, p->lease, p->now);
	if (p->nout > 0)
		EMK_PAUSE_POINT("outbox_written");
	emk_send_adopt(p->out, p->nout);
	advance(p);
	emk_event_decide(p->decisions.v, p->decisions.n, p->now);
	EMK_PAUSE_POINT("decided");
}

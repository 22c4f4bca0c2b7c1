/*
 * backtest_sim.c: one rule over the past of one person, decided at due time. The machine of runs and the judges of the gates are those
 * that the worker uses (trigger/replay.c, gate/replay_gate.c); this file is the clock: what happens first, an event or a due run?
 *
 *   an event and a run at the same microsecond: the event first, so what is committed at the due time still cancels
 *   a message is delivered at once, at the moment of its decision; re-entry counts from there
 *
 * Ids that were merged are separate profiles until their merge, as they were when it happened.
 */
#include "postgres.h"

#include "gate/gate.h"
#include "report/backtest.h"

/* When the rule last sent to a profile and key */
typedef struct Sent
{
	const char *profile_id;
	const char *key;
	TimestampTz at;
} Sent;

typedef struct Sim
{
	EmkBacktest *b;
	const EmkTried *tried;
	EmkHistory	h;
	EmkReplay  *runs;
	EmkDecisions decisions;
	EmkRuns		due;
	Sent	   *sent;
	int			nsent;
	int			room;
	TimestampTz now;
} Sim;

static Jsonb *
traits_at(EmkHistory *h, const char *profile_id, TimestampTz at)
{
	return emk_profile_past_at(h->arg, profile_id, at);
}

static bool
known_at(EmkHistory *h, const char *profile_id, TimestampTz at)
{
	return emk_profile_past_knows(h->arg, profile_id, at);
}

static void
tell(Sim *s)
{
	for (int i = 0; i < s->decisions.n; i++)
		if (s->now >= s->b->from)
			s->b->row(s->b->arg, &s->decisions.v[i], s->now);
	s->decisions.n = 0;
}

static Sent *
last_send(Sim *s, const char *profile_id, const char *key)
{
	for (int i = 0; i < s->nsent; i++)
		if (s->sent[i].profile_id == profile_id && strcmp(s->sent[i].key, key) == 0)
			return &s->sent[i];
	return NULL;
}

static void
send(Sim *s, const EmkRun *run)
{
	Sent	   *sent;

	emk_trigger_decide(&s->decisions, run, s->tried->rule, "delivered", NULL, NULL);
	if (s->tried->rule->reentry == NULL)
		return;
	sent = last_send(s, run->profile_id, run->key);
	if (sent == NULL)
	{
		if (s->nsent == s->room)
		{
			s->room = Max(16, s->room * 2);
			s->sent = s->sent == NULL ? palloc(sizeof(Sent) * s->room) : repalloc(s->sent, sizeof(Sent) * s->room);
		}
		sent = &s->sent[s->nsent++];
		sent->profile_id = run->profile_id;
		sent->key = run->key;
	}
	sent->at = s->now;
}

static EmkGateRun
ask(Sim *s, const EmkRun *run)
{
	const EmkRule *rule = s->tried->rule;
	Sent	   *sent = rule->reentry != NULL ? last_send(s, run->profile_id, run->key) : NULL;
	EmkGateRun	g = {.rule = rule, .profile_id = run->profile_id, .key = run->key, .started_at = run->started_at,
	.event_id = run->event_id};

	emk_gate_replay(&g, &s->h, sent ? sent->at : DT_NOBEGIN, s->now);
	return g;
}

/* What was cancelled comes first, as in the worker: others of its key that fall due now may take in what is left of it. */
static void
cancel(Sim *s, const EmkGateRun *gates)
{
	EmkRun	  **others = palloc(sizeof(EmkRun *) * Max(s->due.n, 1));

	for (int k = 0; k < s->due.n; k++)
	{
		EmkRun	   *run = s->due.v[k];
		int			n = 0;

		if (gates[k].verdict != EMK_CANCEL)
			continue;
		run->gone = true;
		emk_trigger_decide(&s->decisions, run, s->tried->rule, "cancelled", gates[k].reason, gates[k].facts);
		for (int i = 0; i < s->due.n; i++)
			if (!s->due.v[i]->gone && gates[i].verdict != EMK_CANCEL && s->due.v[i]->profile_id == run->profile_id &&
				strcmp(s->due.v[i]->key, run->key) == 0)
				others[n++] = s->due.v[i];
		emk_trigger_replay_restart(s->runs, run, gates[k].cancel_at, s->now, others, n);
	}
	pfree(others);
}

static void
decide(Sim *s, EmkRun *run, const EmkGateRun *gate)
{
	const EmkRule *rule = s->tried->rule;
	EmkGateRun	g = *gate;

	switch (emk_gate_fate(&g, run->due_at, false, s->now))
	{
		case EMK_FATE_WAIT:
			run->wake_at = run->due_at;
			emk_trigger_replay_put(s->runs, run);
			break;
		case EMK_FATE_CANCELLED:	/* was done first */
			break;
		case EMK_FATE_REARMED:
			emk_trigger_rearm(run, g.new_start, g.new_event_id, g.new_event_name, g.new_properties, g.hold_until);
			run->wake_at = run->due_at;
			emk_trigger_replay_put(s->runs, run);
			break;
		case EMK_FATE_SUPPRESSED:
		case EMK_FATE_HELD:		/* never: what is sent here is delivered at once */
			emk_trigger_decide(&s->decisions, run, rule, "suppressed", g.reason, g.facts);
			break;
		case EMK_FATE_EXPIRED:
			emk_trigger_decide(&s->decisions, run, rule, "expired", "late",
							   psprintf("{\"late_seconds\": " INT64_FORMAT "}", (s->now - run->due_at) / USECS_PER_SEC));
			break;
		case EMK_FATE_RECORDED:
			emk_trigger_decide(&s->decisions, run, rule, "recorded", NULL, NULL);
			break;
		case EMK_FATE_SENT:
			send(s, run);
			break;
	}
}

static void
decide_due(Sim *s)
{
	EmkGateRun *gates = palloc(sizeof(EmkGateRun) * Max(s->due.n, 1));

	for (int k = 0; k < s->due.n; k++)
	{
		CHECK_FOR_INTERRUPTS();
		gates[k] = ask(s, s->due.v[k]);
	}
	cancel(s, gates);
	for (int k = 0; k < s->due.n; k++)
	{
		CHECK_FOR_INTERRUPTS();
		if (s->due.v[k]->gone)
			continue;
		if (k > 0 && s->tried->rule->reentry != NULL)
			gates[k] = ask(s, s->due.v[k]); /* one before it may have sent */
		decide(s, s->due.v[k], &gates[k]);
	}
	pfree(gates);
}

/* From now on all that belonged to the one profile belongs to the other, what was sent to it too. */
static void
merge(Sim *s, const EmkPerson *p, const EmkItem *item)
{
	for (int i = 0; i < p->nids; i++)
		if (s->h.owner[i] == item->raw_id)
			s->h.owner[i] = item->profile_id;
	for (int i = 0; i < s->nsent; i++)
	{
		Sent	   *mine = &s->sent[i];
		Sent	   *other;

		if (mine->profile_id != item->raw_id)
			continue;
		other = last_send(s, item->profile_id, mine->key);
		if (other != NULL)
			other->at = mine->at = Max(other->at, mine->at);
		mine->profile_id = item->profile_id;
	}
}

static inline bool
concerns(const Sim *s, const EmkItem *item)
{
	return item->kind == 'm' || (item->occurred_at >= s->tried->since && s->tried->cares[item->name_no]);
}

/* All items of one microsecond are known when the first of them is looked at. Returns the index of the next one. */
static int
happen(Sim *s, const EmkPerson *p, int first)
{
	int			next = first;

	s->now = Max(s->now, p->items[first].occurred_at);
	while (next < p->n && p->items[next].occurred_at == p->items[first].occurred_at)
		next++;
	s->h.known = next;
	for (int i = first; i < next; i++)
		if (concerns(s, &p->items[i]))
		{
			CHECK_FOR_INTERRUPTS();
			if (p->items[i].kind == 'm')
				merge(s, p, &p->items[i]);
			emk_trigger_replay_item(s->runs, i);
		}
	tell(s);
	return next;
}

static void
tell_waiting(Sim *s)
{
	EmkRuns		live = {0};

	emk_trigger_replay_live(s->runs, &live);
	for (int i = 0; i < live.n; i++)
		emk_trigger_decide(&s->decisions, live.v[i], s->tried->rule, "waiting", NULL, NULL);
	s->now = DT_NOEND;
	tell(s);
}

void
emk_report_simulate(EmkBacktest *b, const EmkTried *tried, EmkPerson *p)
{
	Sim			s = {.b = b, .tried = tried, .now = DT_NOBEGIN};
	int			i = 0;

	while (i < p->n && !concerns(&s, &p->items[i]))
		i++;
	if (i == p->n)
		return;
	s.h.items = p->items;
	s.h.n = p->n;
	s.h.rule = tried->rule;
	s.h.traits = traits_at;
	s.h.known_at = known_at;
	s.h.ids = p->ids;
	s.h.nids = p->nids;
	s.h.arg = b->past;
	s.h.owner = palloc(sizeof(char *) * p->nids);
	for (int k = 0; k < p->nids; k++)
		s.h.owner[k] = p->before ? p->before[k] : p->ids[0];
	s.runs = emk_trigger_replay(&s.h, &s.decisions);
	for (;;)
	{
		TimestampTz wake = emk_trigger_replay_wake(s.runs);

		CHECK_FOR_INTERRUPTS();
		/* DT_NOEND: nothing waits; a backtest without an end may not take that for a time that comes */
		if (wake < DT_NOEND && wake <= b->to && (i == p->n || wake < p->items[i].occurred_at))
		{
			s.now = Max(s.now, wake);
			emk_trigger_replay_due(s.runs, s.now, &s.due);
			decide_due(&s);
			tell(&s);
		}
		else if (i < p->n)
		{
			i = happen(&s, p, i);
			while (i < p->n && !concerns(&s, &p->items[i]))
				i++;
		}
		else
			break;
	}
	emk_trigger_replay_end(s.runs);
	tell(&s);
	tell_waiting(&s);
}

/*
 * replay_gate.c: the gates of a run that is replayed, and what becomes of any due run. The judges are those of ask.c and history.c; only
 * where the answers come from differs.
 */
#include "postgres.h"

#include "gate/gate.h"
#include "gate/gate_int.h"

/* The newest event after the start that is activity for an inactivity rule; a merge can bring one that no item told the run of */
static void
ask_activity(EmkGateRun *r, EmkHistory *h)
{
	for (int i = h->known - 1; i >= 0 && h->items[i].occurred_at > r->started_at; i--)
	{
		EmkItem    *it = &h->items[i];

		if (it->kind == 'e' && h->owner[it->who] == r->canonical && it->event_id != r->event_id &&
			(emk_rule_names_start(r->rule, it->name, it->depth) || emk_rule_names_cancel(r->rule, it->name, it->depth)))
		{
			emk_gate_judge_activity(r, it->event_id, (char *) it->name, it->properties, it->occurred_at);
			return;
		}
	}
}

static void
ask_cancels(EmkGateRun *r, EmkHistory *h)
{
	TimestampTz since = emk_clock_subtract(r->started_at, &r->rule->look_back);

	for (int i = emk_trigger_history_from(h, since); i < h->known && r->verdict != EMK_CANCEL; i++)
	{
		EmkItem    *it = &h->items[i];

		if (it->kind == 'e' && h->owner[it->who] == r->canonical && it->event_id != r->event_id &&
			emk_rule_names_cancel(r->rule, it->name, it->depth))
			emk_gate_judge_cancel(r, it->event_id, it->name, it->depth, it->properties, it->occurred_at);
	}
}

static void
ask_segment(EmkGateRun *r, EmkHistory *h, TimestampTz now)
{
	char	   *facts = NULL;
	bool		in = r->rule->where_segment == 0 || emk_trigger_history_in_segment(h, r->rule->where_segment, r->canonical, now, &facts);

	emk_gate_judge_segment(r, in, facts);
}

void
emk_gate_replay(EmkGateRun *r, EmkHistory *history, TimestampTz sent_at, TimestampTz now)
{
	r->verdict = EMK_PASS;
	r->replayed = true;
	r->canonical = r->profile_id;
	if (r->rule->lapse)
		ask_activity(r, history);
	else if (r->rule->nunless > 0)
		ask_cancels(r, history);
	if (r->verdict == EMK_PASS && r->rule->where_profile != NULL)
	{
		r->traits = history->traits(history, r->canonical, now);
		emk_gate_judge_audience(r);
	}
	if (r->verdict == EMK_PASS)
		ask_segment(r, history, now);
	if (r->verdict == EMK_PASS && r->rule->reentry != NULL && sent_at != DT_NOBEGIN)
		emk_gate_judge_reentry(r, true, sent_at, NULL, 0, now);
}

EmkFate
emk_gate_fate(const EmkGateRun *r, TimestampTz due_at, bool sends_already, TimestampTz now)
{
	if (due_at > now && r->verdict != EMK_CANCEL && r->verdict != EMK_REARM)
		return EMK_FATE_WAIT;
	switch (r->verdict)
	{
		case EMK_CANCEL:
			return EMK_FATE_CANCELLED;
		case EMK_REARM:
			return EMK_FATE_REARMED;
		case EMK_SUPPRESS:
			return EMK_FATE_SUPPRESSED;
		case EMK_HOLD:
			return EMK_FATE_HELD;
		case EMK_PASS:
			break;
	}
	if (emk_clock_add(due_at, &r->rule->max_lateness) < now)
		return EMK_FATE_EXPIRED;
	if (sends_already)
		return EMK_FATE_HELD;
	return r->rule->endpoint_id == 0 ? EMK_FATE_RECORDED : EMK_FATE_SENT;
}

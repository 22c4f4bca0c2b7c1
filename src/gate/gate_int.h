/*
 * gate_int.h: what the files of the gate layer share.
 */
#ifndef EMK_GATE_INT_H
#define EMK_GATE_INT_H

#include "gate/gate.h"
#include "profile/profile.h"

/* history.c: cancelling events, and for inactivity rules later activity; sets EMK_CANCEL and EMK_REARM */
extern void emk_gate_ask_history(EmkGateRun *runs, int n, const EmkIds *ids, TimestampTz now);

/*
 * What one thing that is known means for a run, wherever it was read: a possible cancelling event, later activity (inactivity rules;
 * the newest first), traits and segment, an earlier send of the rule. A verdict that stands already is not made milder.
 */
extern void emk_gate_judge_cancel(EmkGateRun *r, int64 event_id, const char *name, int depth, Jsonb *properties, TimestampTz at);
extern void emk_gate_judge_activity(EmkGateRun *r, int64 event_id, char *name, Jsonb *properties, TimestampTz at);
extern void emk_gate_judge_audience(EmkGateRun *r);
extern void emk_gate_judge_segment(EmkGateRun *r, bool in, char *facts);
extern void emk_gate_judge_reentry(EmkGateRun *r, bool delivered, TimestampTz settled, const char *id, TimestampTz next,
								   TimestampTz now);

#endif

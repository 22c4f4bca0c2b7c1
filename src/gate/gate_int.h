/*
 * gate_int.h: what the files of the gate layer share.
 */
#ifndef EMK_GATE_INT_H
#define EMK_GATE_INT_H

#include "gate/gate.h"
#include "profile/profile.h"

/* history.c: cancelling events, and for inactivity rules later activity; sets EMK_CANCEL and EMK_REARM */
extern void emk_gate_ask_history(EmkGateRun *runs, int n, const EmkIds *ids, TimestampTz now);

#endif

/*
 * gate.h: the gates between a due run and the wire (S1), asked at fire time and again before every attempt:
 * cancelled? → audience → re-entry. All are asked for a batch in one snapshot with a handful of queries.
 */
#ifndef EMK_GATE_H
#define EMK_GATE_H

#include "base/base.h"
#include "rule/rule.h"
#include "trigger/trigger.h"
#include "utils/uuid.h"

typedef enum EmkVerdict
{
	EMK_PASS,
	EMK_CANCEL,					/* a cancelling event is committed */
	EMK_SUPPRESS,				/* audience or re-entry: final */
	EMK_HOLD,					/* ask again at hold_until */
	EMK_REARM					/* inactivity rule: there was activity; wait until hold_until, started_at is moved */
} EmkVerdict;

typedef struct EmkGateRun
{
	/* in */
	const EmkRule *rule;		/* the version of the run */
	const char *profile_id;		/* canonical or an alias: it is resolved here */
	const char *key;
	TimestampTz started_at;
	int64		event_id;		/* the run's own start, which never cancels it */
	const pg_uuid_t *delivery_id;	/* a delivery about to be tried; NULL for a due run */
	bool		replayed;		/* nothing is written: a condition that fails is not counted against the rule */
	/* out */
	const char *canonical;
	Jsonb	   *traits;
	EmkVerdict	verdict;
	const char *reason;			/* cancelled_by, audience, reentry, earlier_send_open, profile_error … */
	char	   *facts;			/* JSON text */
	TimestampTz hold_until;
	TimestampTz cancel_at;		/* EMK_CANCEL: when the cancelling event occurred */
	/* EMK_REARM: the newest event, whose data the run now carries */
	TimestampTz new_start;
	int64		new_event_id;
	char	   *new_event_name;
	Jsonb	   *new_properties;
} EmkGateRun;

/* A rule without cancelling events, audience (conditions or a segment) and re-entry has nothing to ask before an attempt. */
extern bool emk_gate_needed(const EmkRule *rule);

/* Asks the gates for n runs; inside an open SPI connection, as the owner. Strings live in the caller's context. */
extern void emk_gate_ask(EmkGateRun *runs, int n, TimestampTz now);

/*
 * The same gates for one due run of a replay: what happened comes from `history` up to `known`, the traits from its callback, and
 * `sent_at` is when the rule last sent to this profile and key (DT_NOBEGIN: never). SPI is needed for segments only.
 */
extern void emk_gate_replay(EmkGateRun *r, EmkHistory *history, TimestampTz sent_at, TimestampTz now);

/*
 * What becomes of a due run whose gates have been asked; pure. `sends_already`: an earlier run of the same pass is about to send for
 * the same rule, profile and key.
 */
typedef enum EmkFate
{
	EMK_FATE_WAIT,				/* it was looked at before its time */
	EMK_FATE_CANCELLED,
	EMK_FATE_REARMED,
	EMK_FATE_SUPPRESSED,
	EMK_FATE_HELD,				/* until hold_until, or until the earlier send is settled */
	EMK_FATE_EXPIRED,
	EMK_FATE_RECORDED,
	EMK_FATE_SENT
} EmkFate;
extern EmkFate emk_gate_fate(const EmkGateRun *r, TimestampTz due_at, bool sends_already, TimestampTz now);

#endif

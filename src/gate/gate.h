/*
 * gate.h: the gates between a due run and the wire (S1), asked at fire time and again before every attempt:
 * cancelled? → audience → re-entry. All are asked for a batch in one snapshot with a handful of queries.
 */
#ifndef EMK_GATE_H
#define EMK_GATE_H

#include "base/base.h"
#include "rule/rule.h"
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

/* A rule without cancelling events, audience and re-entry has nothing to ask before an attempt. */
extern bool emk_gate_needed(const EmkRule *rule);

/* Asks the gates for n runs; inside an open SPI connection, as the owner. Strings live in the caller's context. */
extern void emk_gate_ask(EmkGateRun *runs, int n, TimestampTz now);

#endif

/*
 * trigger_int.h: what the files of the trigger layer share.
 */
#ifndef EMK_TRIGGER_INT_H
#define EMK_TRIGGER_INT_H

#include "trigger/trigger.h"

/* A pass over work rows */
#define EMK_TAKE_BUCKETS 8192	/* power of two, as that of a replay */
#define EMK_TRIGGER_YOUNG USECS_PER_SEC /* of a start as young as that no run of its own was cancelled before */

typedef struct EmkEdges EmkEdges;
typedef struct EmkStorms EmkStorms;

typedef struct EmkTake
{
	TimestampTz now;
	EmkHistory *history;		/* a replay: what happened comes from here, and nothing is written; NULL: from the tables */
	EmkRun	  **buckets;		/* chains over `runs` by profile and rule */
	uint32		nbuckets;
	EmkRuns		runs;			/* all runs of the profiles and rules of the batch, and the new ones */
	EmkDecisions *decisions;
	EmkRuns		fresh;			/* new runs that may repeat what was decided already */
	EmkEdges   *edges;			/* counts read so far, of one profile: see lookback.c */
	const char *edges_of;
	EmkStorms  *storms;			/* see storm.c */
	int			burst;			/* the limit, once read */
} EmkTake;

/* store.c */
extern void emk_trigger_read_run(uint64 row, EmkRun *run);
extern void emk_trigger_load(EmkTake *t, const EmkItem *items, int n);
extern void emk_trigger_add(EmkTake *t, EmkRun *run);
/* Walks the live runs of a profile and rule: pass NULL first, then the last one; returns NULL at the end. */
extern EmkRun *emk_trigger_walk(EmkTake *t, const char *profile_id, int32 rule_id, EmkRun *last);
extern bool emk_trigger_has_event(EmkTake *t, const char *profile_id, int32 rule_id, int64 event_id);
extern void emk_trigger_save(EmkTake *t, EmkRuns *due);
extern void emk_trigger_delete(EmkRun **runs, int n);
#define EMK_RUN_COLUMNS \
	"run_id, rule_id, rule_version, profile_id, key, slot, state, started_at, event_id, event_name, event_at, " \
	"message_id, properties, last_at, due_at, wake_at, received_at, created_at, depth"

/* absorb.c: ends the new runs that belong to what was decided already */
extern void emk_trigger_absorb(EmkTake *t);
extern bool emk_trigger_is_decided(EmkTake *t, const EmkRule *rule, const EmkItem *item, const char *key);

/* start.c */
extern void emk_trigger_start(EmkTake *t, const EmkRule *rule, const EmkItem *item, const char *key);
/* The first start after `after` that was folded into a run that is over begins as if it came now, and keeps what else was. */
extern void emk_trigger_begin_again(EmkTake *t, const EmkRule *rule, const EmkRun *run, TimestampTz after);
/* Of the starts of the rule only those fire that none follows within its delay */
extern bool emk_trigger_debounces(const EmkRule *rule);
extern void emk_trigger_consider(EmkTake *t, const EmkRule *rule, const EmkItem *item);
/* A condition failed: counted against the rule, but not in a replay */
extern void emk_trigger_failed(const EmkTake *t, const EmkRule *rule, const char *error);

/* cancel.c */
extern void emk_trigger_cancel(EmkTake *t, const EmkRule *rule, const EmkItem *item);
/* Ends a run; where a later start was folded into it (ignore, replace) that start begins a run of its own. */
extern void emk_trigger_end_run(EmkTake *t, EmkRun *run, const EmkRule *rule, const EmkItem *cancel, bool key_absent);
extern void emk_trigger_late_cancels(EmkTake *t, const EmkItem *items, int n);

/*
 * lookback.c: the events at which a count reaches at_least, from `item` on as far as it can have a say, in event order; each is
 * given out once a pass. palloc'd array
 */
extern int	emk_trigger_edges(EmkTake *t, const EmkRule *rule, const EmkItem *item, const char *key, EmkItem **out);
/* the starting events of the run's key from `from` to its last_at, in event order; returns how many. Of a count: its edges */
extern int	emk_trigger_starts_in(EmkHistory *history, const EmkRule *rule, const EmkRun *run, TimestampTz from, EmkItem **out);
/* the first starting event after `after`, for a run that begins anew; false when there is none */
extern bool emk_trigger_next_start(EmkHistory *history, const EmkRule *rule, const EmkRun *run, TimestampTz after,
								   EmkItem *out);
/* has an event that cancels the run been told already? The newest, from the tables; facts and time are set in *out, nothing else */
extern bool emk_trigger_was_cancelled(const EmkRule *rule, const EmkRun *run, EmkItem *out, bool *key_absent);
/* does a starting event follow the run's, in event order, at `to` at the latest? From the tables; not for counts */
extern bool emk_trigger_is_followed(const EmkRule *rule, const EmkRun *run, TimestampTz to);
/* is the count still reached at the run's start, by what is committed now? From the tables */
extern bool emk_trigger_is_edge(const EmkRule *rule, const EmkRun *run);
/* when a count is reached next after the run's start, at `to` at the latest; DT_NOEND: it is not. From the tables */
extern TimestampTz emk_trigger_next_edge(const EmkRule *rule, const EmkRun *run, TimestampTz to);

/* take.c: one event or merge does what its rules ask */
extern void emk_trigger_obey(EmkTake *t, const EmkRule *rule, const EmkItem *item);

/*
 * storm.c. expect: asks for all events of a batch at once. in: is this event beyond what its profile may begin in its minute? Then it is
 * counted, for the decisions that end writes. tell: those of the minutes that are over by `until`; returns the events. storm_end: when
 * there will be some to tell, DT_NOEND for never.
 */
extern void emk_trigger_expect_storms(EmkTake *t, const EmkItem *items, int n);
extern bool emk_trigger_in_storm(EmkTake *t, const EmkRule *rule, const EmkItem *item, const char *key);
extern void emk_trigger_end_storms(EmkTake *t);
extern int	emk_trigger_tell_storms(EmkTake *t, TimestampTz until, int *minutes);
extern TimestampTz emk_trigger_storm_end(const EmkTake *t);

/* follow.c */
extern void emk_trigger_merge(EmkTake *t, const EmkItem *item);

#endif

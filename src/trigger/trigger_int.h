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
/* The same for those that this pass found cancelled */
extern EmkRun *emk_trigger_walk_cancelled(EmkTake *t, const char *profile_id, int32 rule_id, EmkRun *last);
extern bool emk_trigger_has_event(EmkTake *t, const char *profile_id, int32 rule_id, int64 event_id);
extern void emk_trigger_save(EmkTake *t, EmkRuns *due);
extern void emk_trigger_delete(EmkRun **runs, int n);
#define EMK_RUN_COLUMNS \
	"run_id, rule_id, rule_version, profile_id, key, slot, state, started_at, event_id, event_name, event_at, " \
	"message_id, properties, last_at, due_at, wake_at, received_at, created_at, depth, starts"
#define EMK_RUN_NCOLS 20

/* absorb.c: ends the new runs that belong to what was decided already */
extern void emk_trigger_absorb(EmkTake *t);
extern bool emk_trigger_is_decided(EmkTake *t, const EmkRule *rule, const EmkItem *item, const char *key);
/*
 * For these people, to the end of the transaction, in one order for all passes. decide: what may repeat a decision, one pass at a time.
 * place: starts are being placed that may belong to any of their runs, by any number of passes, and none that goes on with what was
 * cancelled (restart, which does not wait: false, another pass is at them).
 */
typedef enum EmkPeopleLock
{
	EMK_PEOPLE_DECIDE,
	EMK_PEOPLE_PLACE,
	EMK_PEOPLE_RESTART
} EmkPeopleLock;
extern bool emk_trigger_lock_people(const char *const *ids, int n, EmkPeopleLock lock);

/* start.c */
extern void emk_trigger_start(EmkTake *t, const EmkRule *rule, const EmkItem *item, const char *key);
extern EmkRun *emk_trigger_begin(EmkTake *t, const EmkRule *rule, const EmkItem *item, const char *key, int64 slot);
extern void emk_trigger_take_data(EmkRun *run, const EmkItem *item);
extern void emk_trigger_set_due(EmkRun *run, const EmkRule *rule, TimestampTz from);
extern void emk_trigger_consider(EmkTake *t, const EmkRule *rule, const EmkItem *item);
/* A condition failed: counted against the rule, but not in a replay */
extern void emk_trigger_failed(const EmkTake *t, const EmkRule *rule, const char *error);

/*
 * series.c. place: a start finds its run, or begins one. place_rest: those that a run took in after `after`, and after its own start; the
 * run is gone. place_after_gate: the same where its row is gone, too; `others` are runs of the same key that this pass has in hand, and
 * become `gone` where they change. unite: all starts of a run that is gone, with its data in `item`, go to the person of `into`, a run near
 * enough to be one with it. touch: are two runs of one rule and key near enough to be one?
 */
extern bool emk_trigger_has_delay(const EmkRule *rule);
/* Of the starts of the rule only those fire that none follows within its delay */
extern bool emk_trigger_debounces(const EmkRule *rule);
/* Its runs have a record */
extern bool emk_trigger_has_series(const EmkRule *rule);
extern void emk_trigger_place(EmkTake *t, const EmkRule *rule, const EmkItem *item, const char *key);
extern void emk_trigger_place_rest(EmkTake *t, const EmkRule *rule, const EmkRun *run, TimestampTz after);
extern void emk_trigger_place_after_gate(EmkTake *t, const EmkRule *rule, const EmkRun *run, TimestampTz after, EmkRun **others,
										 int n);
extern void emk_trigger_unite(EmkTake *t, const EmkRule *rule, EmkRun *into, const EmkRun *run, const EmkItem *item);
extern bool emk_trigger_touch(const EmkTake *t, const EmkRule *rule, const EmkRun *a, const EmkRun *b);

/* cancel.c */
extern void emk_trigger_cancel(EmkTake *t, const EmkRule *rule, const EmkItem *item);
/* Ends a run; what else it took in (ignore, replace) goes on. */
extern void emk_trigger_end_run(EmkTake *t, EmkRun *run, const EmkRule *rule, const EmkItem *cancel, bool key_absent);
extern void emk_trigger_late_cancels(EmkTake *t, const EmkItem *items, int n);

/*
 * lookback.c: the events at which a count reaches at_least, from `item` on as far as it can have a say, in event order; each is
 * given out once a pass. palloc'd array
 */
extern int	emk_trigger_edges(EmkTake *t, const EmkRule *rule, const EmkItem *item, const char *key, EmkItem **out);
/* the event of a start that a run took in; false when it is gone */
extern bool emk_trigger_read_start(EmkHistory *h, const EmkRule *rule, const char *profile_id, const char *key, const EmkStart *s,
								   EmkItem *out);
/* has an event that cancels the run been told already? The newest; facts and time are set in *out, nothing else */
extern bool emk_trigger_was_cancelled(const EmkHistory *h, const EmkRule *rule, const EmkRun *run, EmkItem *out, bool *key_absent);
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

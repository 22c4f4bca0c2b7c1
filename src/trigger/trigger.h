/*
 * trigger.h: live runs of rules: how work rows start, refresh and cancel them, and how due ones are taken.
 *
 * A run is what a rule remembers of one profile and key between its starting event and its decision. Its state is a function
 * of the committed events ordered by (occurred_at, message_id, properties), never of the order in which they arrived:
 *
 *   debounce   the newest starting event decides: start, data and due time are its own
 *   ignore     the oldest starting event decides
 *   replace    the oldest gives start and due time, the newest the data
 *   parallel   each starting event has a run of its own (so has each of a rule without delay)
 *
 * A starting event later than due_at does not touch a run: the run is set aside (slot = minus its id) to be decided, and the event
 * begins another.
 */
#ifndef EMK_TRIGGER_H
#define EMK_TRIGGER_H

#include "base/base.h"
#include "event/event.h"
#include "rule/rule.h"
#include "storage/itemptr.h"

/* A starting event that a run took in */
typedef struct EmkStart
{
	TimestampTz at;
	int64		event_id;		/* 0: not known, from before there were records */
	int32		version;		/* of the rule that let it in */
	/* not stored */
	bool		joined;			/* debounce: all between the one before it and this one is the run's, whatever the gap is */
	bool		fresh;			/* the run's data do not know of it yet */
} EmkStart;

/* One run. Strings and properties live in the pass's memory context. */
typedef struct EmkRun
{
	int64		run_id;
	int32		rule_id;
	int32		rule_version;
	const char *profile_id;		/* canonical */
	const char *key;			/* '' without `per` */
	int64		slot;
	bool		held;
	TimestampTz started_at;		/* cancelling events count from here, less look_back */
	int64		event_id;
	const char *event_name;
	TimestampTz event_at;
	const char *message_id;		/* or NULL */
	Jsonb	   *properties;
	TimestampTz last_at;
	TimestampTz due_at;
	TimestampTz wake_at;
	TimestampTz received_at;
	TimestampTz created_at;
	int			depth;
	EmkStart   *starts;			/* in order of time, see series.c */
	int			nstarts;		/* 0: no record is kept */
	/* not stored */
	int			starts_room;
	int32		spared_version;	/* as a run of this version (0: none) that started then or later, it is not cancelled */
	TimestampTz spared_at;
	bool		stored;			/* it has a row, at tid, locked by us */
	bool		dirty;			/* the row is behind */
	bool		gone;			/* ended */
	bool		cancelled;		/* by what had been told before this pass, which found that: the decision is not stored yet */
	ItemPointerData tid;
	uint32		hash;			/* of profile and rule; chain of the pass's look-up table */
	struct EmkRun *next;
} EmkRun;

/* One event, or one merge, as a pass takes it */
typedef struct EmkItem
{
	char		kind;
	int64		event_id;
	const char *raw_id;			/* as in the event; NULL: one that began a run before */
	const char *profile_id;		/* canonical */
	TimestampTz occurred_at;
	int32	   *rules;
	int			nrules;
	const char *name;			/* NULL: the event is gone (retention) or this is a merge */
	Jsonb	   *properties;
	const char *message_id;
	TimestampTz received_at;
	int			depth;
	Jsonb	   *traits;			/* of the moment; a replay asks for them instead */
	int			who;			/* of a replay: index into owner[] */
	uint32		name_no;		/* of a replay: the number of its name, for the caller */
} EmkItem;

/*
 * What happened to one person, for a replay: the same machine works on it as on the tables. Items are in event order; `owner` says
 * to which profile each id belongs by now, a pointer a profile, and changes where a merge is replayed.
 */
typedef struct EmkHistory
{
	EmkItem    *items;
	int			n;
	int			known;			/* items[0..known) have happened */
	const char **owner;			/* an id each, as ids[] has them: to whom it belongs now */
	int			nids;
	const char **ids;
	const EmkRule *rule;		/* the version that all runs have */
	int64		last_run_id;
	Jsonb	   *(*traits) (struct EmkHistory *h, const char *profile_id, TimestampTz at);
	bool		(*known_at) (struct EmkHistory *h, const char *profile_id, TimestampTz at);	/* had it a row? */
	void	   *arg;
} EmkHistory;

/* Was a profile, as ids[] has it, in a segment by what had happened then? As emk_segment_had(). */
extern bool emk_trigger_history_in_segment(EmkHistory *h, int32 segment_id, const char *profile_id, TimestampTz at, char **facts);
typedef struct EmkRuns
{
	EmkRun	  **v;
	int			n;
	int			room;
} EmkRuns;
extern void emk_trigger_push(EmkRuns *runs, EmkRun *run);

/* Decisions gathered during a pass */
typedef struct EmkDecisions
{
	EmkDecision *v;
	int			n;
	int			room;
} EmkDecisions;
extern EmkDecision *emk_trigger_decide(EmkDecisions *list, const EmkRun *run, const EmkRule *rule, const char *outcome,
									   const char *reason, const char *facts);

/*
 * Takes up to `max` work rows of our node (of the profiles that fall to worker `slot` of `slots`), with their events, and
 * does what they ask for: starts, refreshes, cancels, merges. Runs that are due at once are not stored but added to `due`.
 * Returns the number of rows taken. Inside an open SPI connection, as the owner.
 */
extern int	emk_trigger_take_work(int max, int slot, int slots, TimestampTz now, EmkRuns *due, EmkDecisions *decisions);

/*
 * Takes (deletes) up to `max` runs with low ≤ wake_at ≤ now, oldest first; what is not decided must be put back.
 */
extern int	emk_trigger_take_due(int max, TimestampTz low, TimestampTz now, EmkRuns *due);
extern void emk_trigger_put(EmkRun **runs, int n);
/* The smallest wake_at this process has put since the last call, DT_NOEND for none: lowers a low-water mark. */
extern TimestampTz emk_trigger_lowest_put(void);
/* The next time a run wants to be looked at, from `low` on; DT_NOEND for never */
extern TimestampTz emk_trigger_next_wake(TimestampTz low);

/*
 * What fails again and again alone is set aside, with a decision that says so: the next work row, or the next due run (held
 * once for ten minutes, then ended). For after an ERROR, in a transaction of its own.
 */
extern void emk_trigger_quarantine_work(const char *error, int slot, int slots, TimestampTz now);
extern void emk_trigger_quarantine_due(const char *error, TimestampTz now);

/*
 * After a due run was cancelled at `cancel_at`: the starts that it took in and that are not concerned find or begin their runs, as rows.
 * `others`: runs of the same rule, profile and key that this pass took and has not decided yet. One that changes is a row again, or ended,
 * and `gone`: the caller is done with it. may: asked first. false: another pass is placing starts of these people, so the run has to wait a
 * moment; this pass has rows locked that the other may be waiting for.
 */
extern bool emk_trigger_may_restart(const EmkRule *rule, const EmkRun *run, TimestampTz cancel_at);
extern void emk_trigger_restart(const EmkRule *rule, const EmkRun *run, TimestampTz cancel_at, TimestampTz now,
								EmkDecisions *decisions, EmkRun **others, int n);

/* An inactivity run goes on from a later event. */
extern void emk_trigger_rearm(EmkRun *run, TimestampTz at, int64 event_id, const char *name, Jsonb *properties, TimestampTz due_at);

/*
 * The runs of one rule over the history of one person, in memory. Pure but for segments, which it asks through `history`'s time;
 * needs an open SPI connection for those only. Everything lives in the current memory context.
 *
 * item: items[i] happens. due: takes the runs that want to be looked at until `now`, in the order of their due times; put gives one
 * back, restart what is left of a cancelled one (`others` as in emk_trigger_restart). wake: when the next run wants to be looked at, or
 * a storm is over; DT_NOEND for never. end: a storm that goes on is told. live: the runs that there are.
 */
typedef struct EmkReplay EmkReplay;
extern EmkReplay *emk_trigger_replay(EmkHistory *history, EmkDecisions *decisions);
extern void emk_trigger_replay_item(EmkReplay *r, int i);
extern TimestampTz emk_trigger_replay_wake(const EmkReplay *r);
extern void emk_trigger_replay_due(EmkReplay *r, TimestampTz now, EmkRuns *due);
extern void emk_trigger_replay_put(EmkReplay *r, EmkRun *run);
extern void emk_trigger_replay_restart(EmkReplay *r, const EmkRun *run, TimestampTz cancel_at, TimestampTz now, EmkRun **others,
									   int n);
extern void emk_trigger_replay_end(EmkReplay *r);
extern void emk_trigger_replay_live(const EmkReplay *r, EmkRuns *live);
/* items[] from this index on are not before `at` */
extern int	emk_trigger_history_from(const EmkHistory *h, TimestampTz at);

/* Total order of events: (occurred_at, message_id, properties) */
extern int	emk_trigger_compare(TimestampTz at1, const char *mid1, Jsonb *p1, TimestampTz at2, const char *mid2, Jsonb *p2);

/* {"event_id", "event", "occurred_at", …} of a cancelling event, for its decision; palloc'd */
extern char *emk_trigger_cancel_facts(int64 event_id, const char *name, TimestampTz at, bool key_absent);

/* {"error": …} for a decision; palloc'd */
extern char *emk_trigger_error_facts(const char *error);

/* A condition of a rule that failed to evaluate: counted, and after many in a row the rule is disabled. */
extern void emk_trigger_condition_failed(const EmkRule *rule, const char *error);

#endif

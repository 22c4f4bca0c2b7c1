/*
 * pass.h: private to the worker layer: one pass of spine 2 up to the outbox.
 */
#ifndef EMK_WORKER_PASS_H
#define EMK_WORKER_PASS_H

#include "deliver/deliver.h"
#include "trigger/trigger.h"

/* What a pass made; lives in the pass's memory context. */
typedef struct EmkPass
{
	TimestampTz now;
	int64		lease;			/* epoch of the sending worker, 0: leave deliveries in the queue */
	EmkRuns		due;			/* to be decided */
	EmkDecisions decisions;
	EmkOutbox  *out;			/* deliveries made */
	int			nout;
} EmkPass;

/* due.c: where the next scan for due runs begins; {DT_NOBEGIN} at first, and whenever what was taken came back */
typedef struct EmkDueScan
{
	TimestampTz low;			/* no run that this process knows of wakes before */
	bool		owed;			/* the last scan began at `low`: another one is due at next_sweep */
	int64		next_sweep;		/* monotonic: when a scan begins at the beginning again */
} EmkDueScan;

/* Takes up to `max` due runs into p->due, the oldest first; *whole: the scan was one from the beginning. Returns how many. */
extern int	emk_worker_take_due(EmkDueScan *scan, int max, EmkPass *p, bool *whole);

/* After those were decided: raises the mark; returns when the next run wakes, DT_NOEND for never. */
extern TimestampTz emk_worker_due_taken(EmkDueScan *scan);

/* Decides p->due: gates, lateness, outbox; writes decisions, deliveries and the runs that wait on. */
extern void emk_worker_fire(EmkPass *p);

/* The body of a message: JSON text, palloc'd. `traits` are those of the moment of the decision. */
extern char *emk_worker_body(const EmkRun *run, const EmkRule *rule, const char *user_id, Jsonb *traits, TimestampTz now);

/*
 * activate.c: one step of every line from a segment to an endpoint; returns what was done. *next is brought forward to when to look
 * again at a message that is under way. After emk_segment_turn(), inside SPI, as the owner.
 */
extern int	emk_activate_turn(TimestampTz now, TimestampTz *next);

/*
 * Makes partitions ahead, drops what retention makes old, a bounded number of rows; true: there is more to drop. *done is false when
 * the locks were not to be had in so many tries: nothing has happened then, and nothing is locked.
 */
extern bool emk_worker_maintain(TimestampTz now, int tries, bool *done);

#endif

/*
 * segment.h: named sets of profiles, each the view eventmkt_bi.segment_<name>.
 *
 * A segment is asked by the engine through its view, so a rule and a report cannot disagree. Time is
 * eventmkt.statement_clock() in the views; the engine pins it to the moment at which it decides.
 */
#ifndef EMK_SEGMENT_H
#define EMK_SEGMENT_H

#include "base/base.h"
#include "utils/jsonb.h"

extern void emk_segment_init(void);

/*
 * Is a canonical profile in the segment at `now`? *facts gets JSON text that names the segment and, where its query failed, the
 * error (then the answer is false). Inside an open SPI connection, as the owner; a query of somebody's own runs with its
 * author's rights, read only, in a subtransaction with a time limit of eventmkt.segment_timeout.
 */
extern bool emk_segment_has(int32 segment_id, const char *canonical, TimestampTz now, char **facts);

/* A profile as it was at some time: its ids then, the canonical one first; whether it had a row, and which traits */
typedef struct EmkSegmentThen
{
	TimestampTz at;
	int			nids;
	const char **ids;
	bool		known;
	Jsonb	   *traits;
} EmkSegmentThen;

/*
 * Was it in the segment, by what had happened then? Where a query of somebody's own takes part: as emk_segment_has(). Inside SPI, as the
 * owner; reads only.
 */
extern bool emk_segment_had(int32 segment_id, const EmkSegmentThen *then, char **facts);

/* The name of a segment, palloc'd; its id in words when it does not exist. Inside SPI, as the owner. */
extern char *emk_segment_name(int32 segment_id);

/* Makes the views that are missing again, for init(). Inside SPI, as a superuser; a query that fails leaves a WARNING. */
extern void emk_segment_restore(void);

/*
 * Live membership: one step of spine 2. Weighs up to `max` events that may matter to tracked segments and timers that are due,
 * stores entries and exits with their events, and fills new segments a chunk at a time. Returns how many were handled, 0 when
 * nothing is left; *next is when to come again (business time, DT_NOEND: when woken). Cheap where nothing is tracked. Inside SPI,
 * as the owner, with a snapshot a statement: under a snapshot a transaction it does nothing.
 */
extern int	emk_segment_turn(int max, TimestampTz now, TimestampTz *next);

/* Is the membership of any segment kept, as of the last turn? */
extern bool emk_segment_any(void);

/* Keeps other turns away to the end of the transaction; false: one is under way and we were not to wait. In SPI, as the owner. */
extern bool emk_segment_lock(bool wait);

/* Sets aside the oldest work row, or puts off the first timer, after ERRORs that will not go away. In SPI, as the owner. */
extern void emk_segment_set_aside(TimestampTz now);

/* History before `keep` was dropped: segments that look back further ask everybody again. In SPI, as the owner. */
extern void emk_segment_recheck(TimestampTz keep, TimestampTz now);

/* Forgets up to `limit` memberships that ended before `keep`, and sizes; how many memberships. In SPI, as the owner. */
extern uint64 emk_segment_drop_old(TimestampTz keep, int limit);

#endif

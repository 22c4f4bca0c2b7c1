/*
 * segment.h: named sets of profiles, each the view eventmkt_bi.segment_<name>.
 *
 * A segment is asked by the engine through its view, so a rule and a report cannot disagree. Time is
 * eventmkt.statement_clock() in the views; the engine pins it to the moment at which it decides.
 */
#ifndef EMK_SEGMENT_H
#define EMK_SEGMENT_H

#include "base/base.h"

extern void emk_segment_init(void);

/*
 * Is a canonical profile in the segment at `now`? *facts gets JSON text that names the segment and, where its query failed, the
 * error (then the answer is false). Inside an open SPI connection, as the owner; a query of somebody's own runs with its
 * author's rights, read only, in a subtransaction with a time limit of eventmkt.segment_timeout.
 */
extern bool emk_segment_has(int32 segment_id, const char *canonical, TimestampTz now, char **facts);

/* The name of a segment, palloc'd; its id in words when it does not exist. Inside SPI, as the owner. */
extern char *emk_segment_name(int32 segment_id);

/* Makes the views that are missing again, for init(). Inside SPI, as a superuser; a query that fails leaves a WARNING. */
extern void emk_segment_restore(void);

#endif

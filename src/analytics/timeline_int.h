/*
 * timeline_int.h: what the files of timelines share: values, reading event by event, the questions' way in.
 */
#ifndef EMK_ANALYTICS_TIMELINE_INT_H
#define EMK_ANALYTICS_TIMELINE_INT_H

#include "analytics/timeline.h"
#include "utils/expandeddatum.h"
#include "utils/numeric.h"

extern Numeric emk_timeline_numeric(int64 value);

/* As emk_analytics_add_timeline(), for bytes without a length word. */
extern void emk_timeline_add_bytes(EmkTimelineBuilder *b, const uint8 *p, Size size);

/* A packed timeline and loose events behind it (timeline_join.c) */
typedef struct EmkJoined
{
	ExpandedObjectHeader header;
	const struct varlena *packed;	/* not empty */
	EmkLoose	loose;
	struct varlena *flat;		/* once it was needed */
} EmkJoined;

/* The argument as one of these; NULL when it is an ordinary value. */
extern const EmkJoined *emk_timeline_joined(Datum value);

typedef struct EmkTimelineReader
{
	EmkTimeline tl;
	EmkNamed   *names;
	EmkNamed   *keys;
	const uint8 *times;
	const uint8 *values;
	const uint8 *ids;
	int64		next;
	EmkMoment	event;			/* the one read last; key counts from 1 */
} EmkTimelineReader;

extern void emk_timeline_start_reading(EmkTimelineReader *r, const struct varlena *value);
extern bool emk_timeline_read(EmkTimelineReader *r);

#endif

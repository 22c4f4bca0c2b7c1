/*
 * rollup_upkeep.h: between upkeep.c, which runs the passes, and rollup_upkeep.c. All inside open SPI, as the owner.
 */
#ifndef EMK_ROLLUP_UPKEEP_H
#define EMK_ROLLUP_UPKEEP_H

#include "base/base.h"

/* Of an event e under the wishes in row s of timeline_state */
#define EMK_ROLLUP_MONTH \
	"pg_catalog.date_trunc('month', pg_catalog.timezone('UTC', e.occurred_at))::pg_catalog.date"
#define EMK_ROLLUP_COLUMNS \
	"eventmkt.rollup(e.occurred_at, e.name, CASE WHEN s.item_event IS NULL OR e.name OPERATOR(pg_catalog.=) s.item_event " \
	"THEN eventmkt.timeline_key(e.properties, s.item_property) END, eventmkt.timeline_value(e.properties, s.sum_property))"
/* the scalar subquery is asked once and spares the events where no roll-ups are kept */
#define EMK_ROLLUP_FILTER "e.depth OPERATOR(pg_catalog.=) 0 AND e.conflict_of IS NULL " \
	"AND (SELECT k.rollups FROM eventmkt_data.timeline_state k)"

/* Adds the events of the day that begins at `day`, where roll-ups are kept. */
extern void emk_report_rollup_day(TimestampTz day);
/* Removes months before the one that `before` lies in. */
extern void emk_report_rollup_forget(TimestampTz before);
/* Notes what is wanted: item property, value property, item event. */
extern void emk_report_want_rollups(Datum *args, const char *nulls);
/* upkeep.c: starts the upkeep anew, with key and value property of timelines; roll-ups stay wanted. */
extern void emk_report_start_upkeep(Datum *args, const char *nulls);

#endif

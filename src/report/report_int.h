/*
 * report_int.h: between the files of the report layer that make views on request: expose.c (events with typed properties),
 * measure.c (funnels and goals), restore.c (what they share, and the views after the extension was re-created).
 */
#ifndef EMK_REPORT_INT_H
#define EMK_REPORT_INT_H

#include "base/base.h"
#include "report/report.h"

/* The argument as a palloc'd string; NULL for SQL NULL. */
extern char *emk_report_text(FunctionCallInfo fcinfo, int arg);

/*
 * ERROR unless `value` has 1 to `max` bytes and no control character; `what` names it in the error, `limit` is the name of the
 * limit, `hint` says what to do when it is too long.
 */
extern void emk_report_check_name(const char *value, int max, const char *what, const char *limit, const char *hint);

/* eventmkt_bi.<prefix><name>, quoted; palloc'd. */
extern char *emk_report_view(const char *prefix, const char *name);

/* Takes such a view, if it is there, from its readers, without having others wait: before it is replaced or dropped. */
extern void emk_report_take_view(const char *prefix, const char *name);

/* ERROR 42P07 when a relation of this name is there. Call it when the row of the view is new. */
extern void emk_report_refuse_taken(const char *prefix, const char *name);

/* Opens SPI as the owner and locks a table of definitions, so that they change one at a time. EM001 before init(). */
extern void emk_report_enter(EmkOwner *owner, const char *table);
extern void emk_report_leave(const EmkOwner *owner);

/* COMMENT ON VIEW, and ON COLUMN: both names as SQL identifiers, already quoted. Inside SPI. */
extern void emk_report_comment(const char *view, const char *column, const char *comment);

/* Make the view of an event, of a funnel, from its rows. Inside SPI, as the owner. */
extern void emk_report_make_event_view(const char *event, bool anew);
extern void emk_report_make_funnel_view(const char *name);

/* Does the event have this property as a number? Inside SPI, as the owner. */
extern bool emk_report_is_number(const char *event, const char *property);

#endif

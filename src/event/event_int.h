/*
 * event_int.h: what the files of the event layer share.
 */
#ifndef EMK_EVENT_INT_H
#define EMK_EVENT_INT_H

#include "event/event.h"
#include "utils/relcache.h"

extern void emk_event_init_append(void);
/* late.c: leaves a mark for each event that came after the day it belongs to, where timelines are kept. */
extern void emk_event_mark_late(const struct EmkEvent *evs, int n);

/* append.c: the table of a sink, opened for writing, and whether it can be written without a statement. */
extern Relation emk_event_open_sink(EmkSink *sink);
extern bool emk_event_is_plain(Relation rel, const EmkSink *sink);

#endif

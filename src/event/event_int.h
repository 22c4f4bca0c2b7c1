/*
 * event_int.h: the starts of the event layer's files, called by emk_event_init() alone.
 */
#ifndef EMK_EVENT_INT_H
#define EMK_EVENT_INT_H

extern void emk_event_init_append(void);

#endif

/*
 * event_int.h: what the files of the event layer share.
 */
#ifndef EMK_EVENT_INT_H
#define EMK_EVENT_INT_H

#include "event/event.h"

extern void emk_event_init_append(void);
/* late.c: leaves a mark for each event that came after the day it belongs to, where timelines are kept. */
extern void emk_event_mark_late(const struct EmkEvent *evs, int n);

/* A table that append.c writes: the types of its columns in order, and how a row of the caller becomes one of the table. */
typedef struct EmkSink
{
	const char *relname;
	int			natts;
	const Oid  *types;
	void		(*form) (const void *rows, int i, Datum *values, bool *isnull);
	Oid			relid;			/* InvalidOid: to be looked up */
	bool		listed;			/* `next` is in use: the relcache callback knows it */
	struct EmkSink *next;
} EmkSink;

/*
 * Writes rows as the owner, with the executor's own calls; returns how many. Fewer than n means that the rest must go through a
 * statement, because something (a trigger, a policy, a column of somebody else) lies in the way.
 */
extern int	emk_event_write(EmkSink *sink, const void *rows, int n);
/* Runs a plan whose arguments are the columns of the rows as arrays; opens its own SPI connection. */
extern void emk_event_run_arrays(EmkPlan *plan, const EmkSink *sink, const void *rows, int n);

#endif

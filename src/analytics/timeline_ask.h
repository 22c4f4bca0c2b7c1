/*
 * timeline_ask.h: how a question over a timeline gets from event names to marks.
 */
#ifndef EMK_ANALYTICS_TIMELINE_ASK_H
#define EMK_ANALYTICS_TIMELINE_ASK_H

#include "analytics/timeline_int.h"

#define EMK_ASK_OWN_BITS	(-1)	/* each element of the array is a condition */
#define EMK_ASK_PATTERN		(-2)	/* a sequence pattern over the conditions */
#define EMK_ASK_ARGS		3

/* Which arguments of a function name events, and the condition each of them stands for */
typedef struct EmkAsk
{
	int			nargs;
	struct
	{
		int			argno;
		int			bit;
		bool		array;		/* text[], else text */
	}			args[EMK_ASK_ARGS];
} EmkAsk;

/* One call: the opened timeline, and per code of a name the conditions it meets */
typedef struct EmkAsked
{
	EmkTimeline tl;
	const EmkLoose *loose;		/* events behind it, or NULL */
	const uint32 *masks;		/* NULL: every event meets condition 1 */
	const uint32 *loose_masks;	/* the same by the names of the loose events */
	uint32		present;		/* conditions met by any name of the timeline */
	int			nconditions;
	EmkSequence *seq;			/* with EMK_ASK_PATTERN */
	FunctionCallInfo fcinfo;	/* of the question, and what it asks for */
	const EmkAsk *ask;
} EmkAsked;

#define EMK_MARKS_ON_STACK	256

/* Opens argument 0 and finds the names; what was found is kept in the call site for the next row. */
extern void emk_ask(FunctionCallInfo fcinfo, const EmkAsk *ask, EmkAsked *asked);
/* The same of the flat form, so that there are no loose events: for who reads more of tl than names and times. */
extern void emk_ask_flat(FunctionCallInfo fcinfo, const EmkAsk *ask, EmkAsked *asked);
/* The marks in time order, in `buf` (room for EMK_MARKS_ON_STACK) or palloc'd; ties in the order of names. */
extern EmkMark *emk_ask_marks(EmkAsked *asked, bool keep_unmatched, EmkMark *buf, int64 *n);
extern int64 *emk_ask_times(EmkAsked *asked, int64 *buf, int64 *n);

#endif

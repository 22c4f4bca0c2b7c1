/*
 * track.h: spine 1, in the app's transaction: validate → resolve → append → match → enqueue → wake at commit.
 */
#ifndef EMK_TRACK_H
#define EMK_TRACK_H

#include "base/base.h"

extern void emk_track_init(void);

typedef struct EmkMessage
{
	const char *user_id;		/* or NULL */
	const char *anonymous_id;	/* or NULL; one of both is set */
	const char *event;
	Jsonb	   *properties;		/* NULL: {} */
	TimestampTz occurred_at;	/* DT_NOBEGIN: now */
	bool		time_derived;	/* occurred_at was worked out at arrival: it does not make two messages different */
	const char *message_id;		/* or NULL */
	int			depth;			/* 0: the app's own event */
	int64		event_id;		/* out: the id of the event, of the first one for a repeat */
	bool		repeat;			/* out: the same message_id and content came before; nothing was stored */
} EmkMessage;

/*
 * Stores one message and leaves work for the rules it concerns; returns its event id. Becomes the owner and opens SPI by
 * itself. ERROR 22004, 22023, 22008 or 54000 for bad input, EM001 before init().
 */
extern int64 emk_track_one(EmkMessage *m);

/* The same for n messages at a fraction of the cost, all or nothing; returns how many were stored (repeats are not). */
extern int	emk_track_many(EmkMessage *m, int n);

/* In errors about one of many messages its position is named: set before validating, -1 after. */
extern int	emk_track_position;

#endif

/*
 * track_int.h: what the files of the track layer share.
 */
#ifndef EMK_TRACK_INT_H
#define EMK_TRACK_INT_H

#include "event/event.h"
#include "track/track.h"

extern bool emk_track_fire;		/* GUC eventmkt.fire */

/* Checks a message and fills its defaults; ERROR names the limit. */
extern void emk_track_validate(EmkMessage *m, TimestampTz now);

/* ERROR EM009 when one of the ids (NULL: none) belongs to somebody who was erased. HOT; as the owner. */
extern void emk_track_refuse_erased(const char *user_id, const char *anonymous_id);

/* The same time; ERROR 22008 when it is not finite. */
extern TimestampTz emk_track_given_time(TimestampTz t);

/* Hash of what makes two messages the same: name, properties and occurred_at as the caller gave them. */
extern int64 emk_track_digest(const EmkMessage *m);

extern void emk_track_init_inbox(void);

#endif

/*
 * identity.h: who is who, as identify(), alias() and ingest() write it. All run as the owner, with or without SPI.
 */
#ifndef EMK_TRACK_IDENTITY_H
#define EMK_TRACK_IDENTITY_H

#include "track/track.h"

/* Engine-made events that wait to be tracked. Start with {0}; grows in the context of the first addition. */
typedef struct EmkMessages
{
	EmkMessage *list;
	int			n;
	int			size;
} EmkMessages;

/*
 * Sets traits of a user (NULL: of the anonymous id) and, when both ids are given, merges the anonymous id into the user.
 * Returns the canonical id, palloc'd; appends a 'trait changed' event a change to *events.
 */
extern const char *emk_track_identify(const char *user_id, const char *anonymous_id, Jsonb *traits, EmkMessages *events);

/* Merges what `previous_id` belongs to into what `user_id` belongs to. Returns the canonical id, palloc'd. */
extern const char *emk_track_alias(const char *previous_id, const char *user_id);

/* Tracks what emk_track_identify() appended. */
extern void emk_track_flush(EmkMessages *events);

#endif

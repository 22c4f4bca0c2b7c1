/*
 * tail.h: the open tail of kept timelines: events not packed yet, gathered by profile (tail.c) from the event table
 * (tail_scan.c), as the view eventmkt_bi.profile_timelines reads them (tail_view.c). For the files of this layer only.
 */
#ifndef EMK_REPORT_TAIL_H
#define EMK_REPORT_TAIL_H

#include "analytics/analytics.h"
#include "base/base.h"
#include "fmgr.h"

/* An event while the tail is gathered; finished it is an EmkLooseEvent */
typedef struct EmkTailEvent
{
	int64		at;
	uint32		profile;		/* index into the profiles */
	uint32		extra;
	uint16		name;			/* index into the names, as they came */
	uint16		has;
} EmkTailEvent;

/* A text by its place, so that everything can be copied as it is */
typedef struct EmkTailText
{
	uint32		offset;
	uint32		hash;
	uint16		len;
	uint16		flags;			/* EMK_TAIL_HIDDEN */
	uint32		first;			/* a profile of the finished form: its first event and how many */
	uint32		n;
} EmkTailText;

#define EMK_TAIL_HIDDEN		1	/* what is packed under this id does not count */

typedef struct EmkTailTexts
{
	EmkTailText *items;
	uint32		n;
	uint32		room;
	uint32	   *slots;			/* index + 1, open addressing */
	uint32		nslots;
} EmkTailTexts;

/* While it is gathered: in a memory context of its caller. */
typedef struct EmkTail
{
	MemoryContext context;
	EmkTailTexts profiles;
	EmkTailTexts names;
	EmkTailEvent *events;
	uint32		nevents;
	uint32		events_room;
	char	   *texts;
	Size		texts_used;
	Size		texts_room;
	bool		too_big;		/* beyond EMK_MAX_TAIL_BYTES: nothing is kept any more */
} EmkTail;

extern EmkTail *emk_tail_start(MemoryContext context);
/* Forgets everything and is too big from now on. */
extern void emk_tail_give_up(EmkTail *t);
/* Index of a profile, made when it is new; PG_UINT32_MAX when the tail is too big. */
extern uint32 emk_tail_profile(EmkTail *t, const char *id, int len);
/* An event at a finite time; value and key NULL for none. A name or id that nothing of ours may have makes the tail too big. */
extern void emk_tail_add(EmkTail *t, const char *id, int idlen, const char *name, int namelen, TimestampTz at,
						 const int64 *value, const char *key, int keylen);

/* Finished: the value of the type eventmkt.tail, which exists within a query only. */
typedef struct EmkTailMap
{
	int32		vl_len_;
	uint32		nprofiles;
	uint64		number;			/* no other map of this server's life has it */
	uint32		nslots;			/* a power of two */
	uint32		nnames;
	uint32		nevents;
	uint32		filter_mask;	/* bits of the filter less one */
	bool		whole;			/* nothing packed is to be read: tail_rows() answers everything */
	EmkLooseEvent events[FLEXIBLE_ARRAY_MEMBER];	/* by profile; then filter, profiles, names, slots, texts */
} EmkTailMap;

/*
 * A bit for each hash of a profile, about twelve bits a profile: who did nothing lately, nearly everybody, is told by one look at a
 * few kilobytes.
 */
static inline const uint64 *
emk_tail_filter(const EmkTailMap *m)
{
	return (const uint64 *) (m->events + m->nevents);
}

static inline const EmkTailText *
emk_tail_profiles(const EmkTailMap *m)
{
	return (const EmkTailText *) (emk_tail_filter(m) + (m->filter_mask + 1) / 64);
}

static inline const EmkLooseName *
emk_tail_names(const EmkTailMap *m)
{
	return (const EmkLooseName *) (emk_tail_profiles(m) + m->nprofiles);
}

static inline const uint32 *
emk_tail_slots(const EmkTailMap *m)
{
	return (const uint32 *) (emk_tail_names(m) + m->nnames);
}

static inline const char *
emk_tail_texts(const EmkTailMap *m)
{
	return (const char *) (emk_tail_slots(m) + m->nslots);
}

/* In the current memory context. `whole`: only that is told. */
extern EmkTailMap *emk_tail_finish(EmkTail *t, bool whole);
/* The events of a profile, of which it has some. */
extern void emk_tail_loose(const EmkTailMap *m, const EmkTailText *p, EmkLoose *loose);
/* The profile of this id, or NULL. */
extern const EmkTailText *emk_tail_find(const EmkTailMap *m, const char *id, int len);

/* ---- tables (tail_scan.c); both read in the active snapshot ---- */

/* Adds all events from `from` on; key and value: names of properties, or NULL. False where the table is not as init() makes it. */
extern bool emk_tail_scan(EmkTail *t, TimestampTz from, const text *key, const text *value);
/* Of the profiles that have events and no flags those without a packed row: indexes, palloc'd. */
extern uint32 *emk_tail_unpacked(const EmkTailMap *m, uint32 *n);

/* ---- properties as keys and values (upkeep.c) ---- */

/* The key of an event: *key points into the jsonb or is palloc'd. */
extern bool emk_report_property_key(struct varlena *properties, const char *name, int len, const char **key,
									int *keylen);
extern bool emk_report_property_value(struct varlena *properties, const char *name, int len, int64 *value);

#endif

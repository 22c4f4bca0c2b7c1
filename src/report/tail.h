/*
 * tail.h: the open tail of kept timelines: events not packed yet, gathered by profile (tail.c) from the event table (tail_scan.c),
 * kept for all processes of a question (tail_ref.c), as the view eventmkt_bi.profile_timelines reads them (tail_view.c). For the files of
 * this layer only.
 */
#ifndef EMK_REPORT_TAIL_H
#define EMK_REPORT_TAIL_H

#include "base/base.h"
#include "fmgr.h"
#include "port/atomics.h"
#include "report/tail_map.h"
#include "storage/block.h"
#include "utils/relcache.h"

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
	uint32		n;				/* while it is finished: how many events, and where the next one goes */
	uint32		next;
} EmkTailText;

/* Of a hash table with open addressing */
typedef struct EmkTailSlot
{
	uint32		item;			/* index + 1 */
	uint32		hash;
} EmkTailSlot;

typedef struct EmkTailTexts
{
	EmkTailText *items;
	uint32		n;
	uint32		room;
	EmkTailSlot *slots;
	uint32		nslots;
} EmkTailTexts;

typedef struct EmkTailBytes
{
	char	   *p;
	Size		used;
	Size		room;
} EmkTailBytes;

/* While it is gathered: in a memory context of its caller. */
typedef struct EmkTail
{
	MemoryContext context;
	EmkTailTexts profiles;
	EmkTailTexts names;
	EmkTailEvent *events;
	uint32		nevents;
	uint32		events_room;
	EmkTailBytes texts;			/* ids and names: looked at for each event, so they lie close together */
	EmkTailBytes extras;		/* values and keys */
	bool		too_big;		/* beyond EMK_MAX_TAIL_BYTES: nothing is kept any more */
} EmkTail;

extern EmkTail *emk_tail_start(MemoryContext context);
/* Forgets everything. */
extern void emk_tail_empty(EmkTail *t);
/* … and is too big from now on. */
extern void emk_tail_give_up(EmkTail *t);
/* Index of a profile, made when it is new; PG_UINT32_MAX when the tail is too big. */
extern uint32 emk_tail_profile(EmkTail *t, const char *id, int len);
/* An event at a finite time; value and key NULL for none. A name or id that nothing of ours may have makes the tail too big. */
extern void emk_tail_add(EmkTail *t, const char *id, int idlen, const char *name, int namelen, TimestampTz at,
						 const int64 *value, const char *key, int keylen);
/* What another process has gathered, as one piece of memory that tells its size first; both sides are of this library. */
typedef struct EmkTailPart EmkTailPart;
extern Size emk_tail_part_size(const EmkTail *t);
extern void emk_tail_put_part(const EmkTail *t, EmkTailPart *part);
extern void emk_tail_add_part(EmkTail *t, const EmkTailPart *part);

/* In what `room` gives for a size, aligned for anything; NULL when it gives none. */
extern EmkTailMap *emk_tail_finish(EmkTail *t, uint64 number, void *(*room) (Size size, void *arg), void *arg);
/*
 * What the version of the library and the layout of what processes share make together. A process that finds another form in memory
 * has loaded another library than the one that wrote it, and leaves it alone.
 */
extern uint64 emk_tail_form(void);

/* ---- shared memory, which may be short (tail_share.c) ---- */

/*
 * Runs fn(arg), which makes pieces of shared memory. True when it ended; nothing may then belong to its resource owner any more: pin
 * or detach. False when there is too little memory, descriptors or room for segments: it was left in the middle, its mappings are gone.
 * Other errors are raised.
 */
extern bool emk_tail_share(void (*fn) (void *arg), void *arg);
/* Sends for what emk_tail_add() will look at for this id. */
static inline void
emk_tail_expect(const EmkTail *t, const char *id, int len)
{
#ifdef __GNUC__
	if (t->profiles.nslots > 0)
		__builtin_prefetch(&t->profiles.slots[emk_tail_hash(id, len) & (t->profiles.nslots - 1)]);
#endif
}

/* ---- tables (tail_scan.c, tail_packed.c); all are read in the active snapshot ---- */

typedef struct EmkTailTable
{
	Oid			relid;
	BlockNumber nblocks;
	uint32		first_piece;	/* after the last table there is one more, with the highest number */
} EmkTailTable;

/* Pages of the event table that may hold the tail, in pieces for the processes that read them; it may lie in shared memory. */
typedef struct EmkTailPages
{
	pg_atomic_uint32 next;		/* piece that nobody has taken yet */
	TimestampTz from;
	uint32		npieces;
	uint32		piece;			/* pages */
	uint32		ntables;
	uint64		nblocks;
	EmkTailTable tables[FLEXIBLE_ARRAY_MEMBER];
} EmkTailPages;

/* For events from `from` on; palloc'd; NULL where the table is not as init() makes it. */
extern EmkTailPages *emk_tail_pages(TimestampTz from);
extern Size emk_tail_pages_size(uint32 ntables);
/* Takes pieces until none is left, and adds their events; key and value: names of properties, or NULL. */
extern void emk_tail_read(EmkTail *t, EmkTailPages *pages, const text *key, const text *value);
/* The same of all pages, with the help of other processes where the question may have them (tail_help.c). */
extern void emk_tail_read_together(EmkTail *t, EmkTailPages *pages, const text *key, const text *value);
/* A table of eventmkt_data, locked for reading. */
extern Relation emk_tail_open(const char *name);
/* These columns of its first row, palloc'd; false when it has none. */
extern bool emk_tail_first_row(const char *table, int ncolumns, const char *const *names, Datum *values, bool *isnull);
/* Of the profiles that have events and no flags those without a packed row: indexes, palloc'd. */
extern uint32 *emk_tail_unpacked(const EmkTailMap *m, uint32 *n);

/* ---- properties as keys and values (upkeep.c) ---- */

/* The key of an event: *key points into the jsonb or is palloc'd. */
extern bool emk_report_property_key(struct varlena *properties, const char *name, int len, const char **key,
									int *keylen);
extern bool emk_report_property_value(struct varlena *properties, const char *name, int len, int64 *value);

#endif

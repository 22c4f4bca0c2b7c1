/*
 * tail_map.h: the open tail when it is finished (tail.c): who did what since everything was packed, in one piece of memory that any process
 * reads where it lies. Nothing in it is a pointer.
 */
#ifndef EMK_REPORT_TAIL_MAP_H
#define EMK_REPORT_TAIL_MAP_H

#include "analytics/analytics.h"

#define EMK_TAIL_HIDDEN		1	/* what is packed under this id does not count */

typedef struct EmkTailPerson
{
	uint32		hash;			/* of the id */
	uint32		first;			/* index of the first event; the id lies before it, in as many events as it needs */
	uint32		n;
	uint16		len;			/* of the id */
	uint16		flags;
} EmkTailPerson;

typedef struct EmkTailMap
{
	uint64		form;			/* emk_tail_form(); the first in every version: who has loaded another one reads no more */
	uint64		number;			/* no other map of this server's life has it */
	uint32		npersons;
	uint32		nbuckets;		/* a power of two, at least 2 */
	uint32		bucket_shift;	/* the bucket of a hash is what is left of it */
	uint32		nnames;
	uint32		nevents;
	uint32		nplaces;		/* events, and those whose place an id takes */
	uint32		filter_mask;	/* words of the filter less one */
	bool		whole;			/* nothing packed is to be read: tail_rows() answers everything, and the map is empty */
	bool		shows_all;		/* no profile is hidden */
	EmkLooseEvent events[FLEXIBLE_ARRAY_MEMBER];	/* then filter, persons, names, first person of each bucket, texts */
} EmkTailMap;

/*
 * Two bits of one word for each profile, 8 to 16 bits a profile: who did nothing lately, nearly everybody, is told by one look at
 * what a processor keeps near, and one of 40 is looked up in vain.
 */
static inline const uint64 *
emk_tail_filter(const EmkTailMap *m)
{
	return (const uint64 *) (m->events + m->nplaces);
}

static inline uint64
emk_tail_filter_bits(uint32 hash)
{
	return UINT64CONST(1) << (hash >> 26) | UINT64CONST(1) << (hash >> 20 & 63);
}

/* By the bucket of their hash: who is looked for lies in one cache line, or in two */
static inline const EmkTailPerson *
emk_tail_persons(const EmkTailMap *m)
{
	return (const EmkTailPerson *) (emk_tail_filter(m) + m->filter_mask + 1);
}

static inline const EmkLooseName *
emk_tail_names(const EmkTailMap *m)
{
	return (const EmkLooseName *) (emk_tail_persons(m) + m->npersons);
}

static inline const uint32 *
emk_tail_buckets(const EmkTailMap *m)
{
	return (const uint32 *) (emk_tail_names(m) + m->nnames);
}

static inline uint32
emk_tail_bucket_of(const EmkTailMap *m, uint32 hash)
{
	return hash >> m->bucket_shift;
}

static inline const char *
emk_tail_texts(const EmkTailMap *m)
{
	return (const char *) (emk_tail_buckets(m) + m->nbuckets + 1);
}

#define EMK_TAIL_ID_PLACES(len)	(((len) + sizeof(EmkLooseEvent) - 1) / sizeof(EmkLooseEvent))

static inline const char *
emk_tail_id(const EmkTailMap *m, const EmkTailPerson *p)
{
	return (const char *) (m->events + p->first - EMK_TAIL_ID_PLACES(p->len));
}

/* The events of a profile, of which it has some. */
extern void emk_tail_loose(const EmkTailMap *m, const EmkTailPerson *p, EmkLoose *loose);
/* Who has this id: with events, or hidden, or NULL (tail_find.c). The id may lie in a page of a table. */
extern const EmkTailPerson *emk_tail_find(const EmkTailMap *m, const char *id, int len);
/* Tells nearly always that there is none. */
static inline bool
emk_tail_may_have(const EmkTailMap *m, uint32 hash)
{
	uint64		bits = emk_tail_filter_bits(hash);

	return (emk_tail_filter(m)[hash & m->filter_mask] & bits) == bits;
}

/* Of an id, the same in all processes: it is asked for once for each row of a question. */
static inline uint32
emk_tail_hash(const char *p, int len)
{
	uint64		h = (uint64) len;
	uint64		w;

	if (len >= 8)
	{
		for (int left = len; left > 8; left -= 8, p += 8)
		{
			memcpy(&w, p, 8);
			h = (h ^ w) * UINT64CONST(0x9E3779B97F4A7C15);
			h ^= h >> 32;
		}
		memcpy(&w, p + (len - 1) % 8 - 7, 8);	/* the last eight */
	}
	else if (len >= 4)
	{
		uint32		begin;
		uint32		end;

		memcpy(&begin, p, 4);
		memcpy(&end, p + len - 4, 4);
		w = (uint64) begin << 32 | end;
	}
	else
	{
		w = 0;
		for (int i = 0; i < len; i++)
			w = w << 8 | (uint8) p[i];
	}
	h = (h ^ w) * UINT64CONST(0x9E3779B97F4A7C15);
	h ^= h >> 32;
	return (uint32) (h * UINT64CONST(0xD6E8FEB86659FD93) >> 32);
}

#endif

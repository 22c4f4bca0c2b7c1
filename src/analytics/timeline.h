/*
 * timeline.h: reading a packed timeline, inline because every function over timelines runs through it once an event.
 * The form is described in timeline.c.
 */
#ifndef EMK_ANALYTICS_TIMELINE_H
#define EMK_ANALYTICS_TIMELINE_H

#include "analytics/analytics_int.h"
#include "port/pg_bitutils.h"
#include "port/pg_bswap.h"

#define EMK_TL_VERSION		1
#define EMK_TL_KEYS			0x01
#define EMK_TL_VALUES		0x02
#define EMK_TL_IDS			0x04
#define EMK_TL_WIDE_NAMES	0x08	/* codes of names take two bytes */
#define EMK_TL_ALL_IDS		0x10	/* with EMK_TL_IDS: no event is without */
#define EMK_TL_FLAGS		0x1f

typedef struct EmkTimeline
{
	const uint8 *end;			/* of the whole value */
	int			flags;
	int64		n;
	int			nnames;
	const uint8 *names;			/* per name: length (1), bytes; ascending */
	uint32		names_bytes;
	const uint8 *codes;
	int64		first;			/* time of the first event */
	const uint8 *times;			/* distances of the others */
	const uint8 *rest;			/* keys, values, ids: see emk_tl_open_rest() */

	/* after emk_tl_open_rest() */
	uint32		nkeys;
	const uint8 *keys;			/* per key: length shared with the one before, length of the rest (varints), rest */
	const uint8 *keys_end;
	const uint8 *key_codes;		/* 0: no key */
	int			key_width;
	int			scale;
	const uint8 *values;		/* varints: 0: none; else zigzag + 1 */
	const uint8 *ids;			/* per event emk_tl_id() */
} EmkTimeline;

pg_noreturn extern void emk_tl_malformed(void);
/* Reads the header; everything up to the times is checked against the length of the value. */
extern void emk_tl_open(EmkTimeline *tl, const struct varlena *value);
extern void emk_tl_open_bytes(EmkTimeline *tl, const uint8 *p, Size size);
extern void emk_tl_open_rest(EmkTimeline *tl);
/* All keys as text, the array's index is the code less one; palloc'd */
extern EmkNamed *emk_tl_keys(const EmkTimeline *tl);
extern EmkNamed *emk_tl_names(const EmkTimeline *tl);

/*
 * A varint: the number of trailing zero bits of the first byte says how many bytes follow it; the value is what lies above
 * the lowest set bit, least significant byte first. A first byte of zero is followed by all eight.
 */
static inline uint64
emk_tl_varint(const uint8 **p, const uint8 *end)
{
	uint64		w;
	int			len;

	if (likely(end - *p >= 9))
		memcpy(&w, *p, 8);
	else
	{
		uint8		tail[8] = {0};

		memcpy(tail, *p, Min(end - *p, 8));
		memcpy(&w, tail, 8);
	}
#ifdef WORDS_BIGENDIAN
	w = pg_bswap64(w);
#endif
	if (unlikely((w & 0xff) == 0))
	{
		if (end - *p < 9)
			emk_tl_malformed();
		memcpy(&w, *p + 1, 8);
#ifdef WORDS_BIGENDIAN
		w = pg_bswap64(w);
#endif
		*p += 9;
		return w;
	}
	len = pg_rightmost_one_pos64(w) + 1;
	if (unlikely(end - *p < len))
		emk_tl_malformed();
	*p += len;
	return (w << (64 - 8 * len)) >> (64 - 7 * len);
}

/* Writes a varint; p has room for eight bytes more than it needs. */
static inline uint8 *
emk_tl_put_varint(uint8 *p, uint64 v)
{
	int			bits = v == 0 ? 1 : pg_leftmost_one_pos64(v) + 1;
	int			len = (bits + 6) / 7;

	if (len > 8)
	{
		*p++ = 0;
		for (int i = 0; i < 8; i++)
			*p++ = (uint8) (v >> (8 * i));
		return p;
	}
	v = v << len | (uint64) 1 << (len - 1);
#ifdef WORDS_BIGENDIAN
	v = pg_bswap64(v);
#endif
	memcpy(p, &v, 8);			
	return p + len;
}

static inline uint32
emk_tl_code(const EmkTimeline *tl, int64 i)
{
	uint32		code;

	if (likely(!(tl->flags & EMK_TL_WIDE_NAMES)))
		code = tl->codes[i];
	else
		code = tl->codes[2 * i] | (uint32) tl->codes[2 * i + 1] << 8;
	if (unlikely(code >= tl->nnames))
		emk_tl_malformed();
	return code;
}

static inline uint32
emk_tl_key_code(const EmkTimeline *tl, int64 i)
{
	const uint8 *p = tl->key_codes + i * tl->key_width;
	uint32		code = p[0];

	if (tl->key_width > 1)
		code |= (uint32) p[1] << 8;
	if (tl->key_width > 2)
		code |= (uint32) p[2] << 16 | (uint32) p[3] << 24;
	if (unlikely(code > tl->nkeys))
		emk_tl_malformed();
	return code;
}

static inline int64
emk_tl_unzigzag(uint64 v)
{
	return (int64) (v >> 1) ^ -(int64) (v & 1);
}

/* The next id, from the one before in *id; false when the event has none. */
static inline bool
emk_tl_id(const EmkTimeline *tl, const uint8 **ids, int64 *id)
{
	if (!(tl->flags & EMK_TL_ALL_IDS) && emk_tl_varint(ids, tl->end) == 0)
		return false;
	*id = (int64) ((uint64) *id + (uint64) emk_tl_unzigzag(emk_tl_varint(ids, tl->end)));
	return true;
}

#endif

/*
 * timeline.c: the packed form of a timeline, and the builder that makes it.
 *
 * A timeline is one profile's events of a period as one value. Its bytes, after the length word of every varlena:
 *   version (1), flags (1), number of events, number of names, bytes of names, bytes of times   (varints)
 *   names        length (1), bytes; each name once, ascending by byte
 *   codes        per event the index of its name, one byte, or two when there are more than 256 names
 *   first time   8 bytes, microseconds; then per further event the distance to the one before, a varint
 *   with keys:   number, bytes (varints); each key once, ascending, without what it shares with the one before;
 *                per event 1, 2 or 4 bytes: 0 or the key's index + 1
 *   with values: decimals (1), bytes (varint); per event a varint: 0, or zigzag of the scaled value + 1
 *   with ids:    per event, zigzag, the distance to the last id; where not all events have one a varint 0 or 1 goes before
 * All integers are least significant byte first; varints are those of timeline.h. Columns lie one behind the other, because
 * a question reads names and times of all events and often nothing else.
 *
 * Order: (time, name, key, value, id), what is absent first, texts by byte. The form is canonical: the same events make
 * the same bytes, however they came together. Of events with the same id the first in this order is kept.
 */
#include "postgres.h"

#include "analytics/analytics.h"
#include "analytics/analytics_int.h"
#include "analytics/timeline_int.h"
#include "base/base.h"
#include "common/hashfn.h"
#include "common/int.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/memutils.h"

/* In loops that may run over millions: a query that is cancelled ends within milliseconds. */
#define BREATHE(i) \
	do { \
		if (((i) & 0xffff) == 0xffff) \
			CHECK_FOR_INTERRUPTS(); \
	} while (0)

/* ---- reading ---- */

void
emk_tl_malformed(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
			 errmsg("malformed timeline")));
}

void
emk_tl_open_bytes(EmkTimeline *tl, const uint8 *p, Size size)
{
	const uint8 *end = p + size;
	uint64		n;
	uint64		nnames;
	uint64		names_bytes;
	uint64		times_bytes;

	if (size < 3 || p[0] != EMK_TL_VERSION || (p[1] & ~EMK_TL_FLAGS) != 0)
		emk_tl_malformed();
	tl->end = end;
	tl->flags = p[1];
	p += 2;
	n = emk_tl_varint(&p, end);
	tl->n = (int64) n;
	if (n == 0)
	{
		if (p != end || tl->flags != 0)
			emk_tl_malformed();
		tl->nnames = 0;
		tl->names = tl->codes = tl->times = tl->rest = end;
		tl->names_bytes = 0;
		tl->first = 0;
		return;
	}
	nnames = emk_tl_varint(&p, end);
	names_bytes = emk_tl_varint(&p, end);
	times_bytes = emk_tl_varint(&p, end);
	if (nnames == 0 || nnames > EMK_MAX_TIMELINE_NAMES || n > EMK_MAX_TIMELINE_EVENTS ||
		names_bytes > (uint64) (end - p))
		emk_tl_malformed();
	tl->nnames = (int) nnames;
	tl->names_bytes = (uint32) names_bytes;
	tl->names = p;
	p += names_bytes;
	n *= tl->flags & EMK_TL_WIDE_NAMES ? 2 : 1;
	if (n > (uint64) (end - p))
		emk_tl_malformed();
	tl->codes = p;
	p += n;
	if (end - p < 8 || times_bytes > (uint64) (end - p - 8))
		emk_tl_malformed();
	memcpy(&n, p, 8);
#ifdef WORDS_BIGENDIAN
	n = pg_bswap64(n);
#endif
	tl->first = (int64) n;
	tl->times = p + 8;
	tl->rest = tl->times + times_bytes;
}

void
emk_tl_open(EmkTimeline *tl, const struct varlena *value)
{
	emk_tl_open_bytes(tl, (const uint8 *) VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
}

void
emk_tl_open_rest(EmkTimeline *tl)
{
	const uint8 *p = tl->rest;
	const uint8 *end = tl->end;

	tl->nkeys = 0;
	tl->keys = tl->keys_end = tl->key_codes = tl->values = tl->ids = NULL;
	tl->scale = 0;
	if (tl->flags & EMK_TL_KEYS)
	{
		uint64		nkeys = emk_tl_varint(&p, end);
		uint64		bytes = emk_tl_varint(&p, end);

		if (nkeys == 0 || nkeys > tl->n || bytes > (uint64) (end - p))
			emk_tl_malformed();
		tl->nkeys = (uint32) nkeys;
		tl->keys = p;
		p += bytes;
		tl->keys_end = p;
		tl->key_width = nkeys < 256 ? 1 : nkeys < 65536 ? 2 : 4;
		if ((uint64) tl->n * tl->key_width > (uint64) (end - p))
			emk_tl_malformed();
		tl->key_codes = p;
		p += tl->n * tl->key_width;
	}
	if (tl->flags & EMK_TL_VALUES)
	{
		uint64		bytes;

		if (p >= end || *p > EMK_VALUE_SCALE)
			emk_tl_malformed();
		tl->scale = *p++;
		bytes = emk_tl_varint(&p, end);
		if (bytes > (uint64) (end - p))
			emk_tl_malformed();
		tl->values = p;
		p += bytes;
	}
	if (tl->flags & EMK_TL_IDS)
		tl->ids = p;
}

EmkNamed *
emk_tl_names(const EmkTimeline *tl)
{
	EmkNamed   *names = palloc(Max(tl->nnames, 1) * sizeof(EmkNamed));
	const uint8 *p = tl->names;
	const uint8 *end = p + tl->names_bytes;

	for (int i = 0; i < tl->nnames; i++)
	{
		int			len;

		if (p >= end)
			emk_tl_malformed();
		len = *p++;
		if (len > end - p)
			emk_tl_malformed();
		names[i] = (EmkNamed) {.name = (const char *) p, .len = len};
		p += len;
	}
	return names;
}

EmkNamed *
emk_tl_keys(const EmkTimeline *tl)
{
	EmkNamed   *keys = palloc_extended(Max(tl->nkeys, 1) * sizeof(EmkNamed), MCXT_ALLOC_HUGE);
	const uint8 *p = tl->keys;

	for (uint32 i = 0; i < tl->nkeys; i++)
	{
		uint64		shared = emk_tl_varint(&p, tl->keys_end);
		uint64		len = emk_tl_varint(&p, tl->keys_end);
		char	   *text;

		if (shared > (i == 0 ? 0 : keys[i - 1].len) || len > (uint64) (tl->keys_end - p) ||
			shared + len > EMK_MAX_KEY_BYTES)
			emk_tl_malformed();
		if (shared == 0)
			text = unconstify(char *, (const char *) p);
		else
		{
			text = palloc(shared + len);
			memcpy(text, keys[i - 1].name, shared);
			memcpy(text + shared, p, len);
		}
		keys[i] = (EmkNamed) {.name = text, .len = (int) (shared + len)};
		p += len;
		BREATHE(i);
	}
	return keys;
}

/* ---- the builder: events as they come, texts numbered as they come ---- */

typedef struct Texts
{
	EmkNamed   *items;			/* number: hash */
	uint32		n;
	uint32		room;
	uint32	   *slots;			/* index + 1, open addressing; made from the ninth text on */
	uint32		nslots;
} Texts;

struct EmkTimelineBuilder
{
	EmkMoment   *events;
	int64		n;
	int64		room;
	Texts		names;
	Texts		keys;
	bool		has_ids;
};

static void
rehash(Texts *t)
{
	if (t->slots)
		pfree(t->slots);
	t->nslots = Max(32, t->nslots * 4);
	t->slots = palloc_extended(t->nslots * sizeof(uint32), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (uint32 i = 0; i < t->n; i++)
	{
		uint32		slot = (uint32) t->items[i].number & (t->nslots - 1);

		while (t->slots[slot])
			slot = (slot + 1) & (t->nslots - 1);
		t->slots[slot] = i + 1;
		BREATHE(i);
	}
}

/* The number of a text, which must stay where it is as long as the builder is used. */
static uint32
number_of(Texts *t, const char *text, int len)
{
	uint32		hash = 0;
	uint32		slot = 0;

	if (t->slots == NULL)
	{
		for (uint32 i = 0; i < t->n; i++)
			if (t->items[i].len == len && memcmp(t->items[i].name, text, len) == 0)
				return i;
	}
	else
	{
		hash = hash_bytes((const unsigned char *) text, len);
		for (slot = hash & (t->nslots - 1); t->slots[slot]; slot = (slot + 1) & (t->nslots - 1))
		{
			EmkNamed   *item = &t->items[t->slots[slot] - 1];

			if ((uint32) item->number == hash && item->len == len && memcmp(item->name, text, len) == 0)
				return t->slots[slot] - 1;
		}
	}
	if (t->n == t->room)
	{
		t->room = Max(8, t->room * 2);
		t->items = t->items ? repalloc_huge(t->items, t->room * sizeof(EmkNamed)) :
			palloc(t->room * sizeof(EmkNamed));
	}
	t->items[t->n++] = (EmkNamed) {.name = text, .len = len, .number = hash};
	if (t->slots == NULL ? t->n > 8 : t->n * 2 > t->nslots)
	{
		if (t->slots == NULL)
			for (uint32 i = 0; i < t->n; i++)
				t->items[i].number = hash_bytes((const unsigned char *) t->items[i].name, t->items[i].len);
		rehash(t);
	}
	else if (t->slots)
		t->slots[slot] = t->n;
	return t->n - 1;
}

EmkTimelineBuilder *
emk_analytics_start_timeline(void)
{
	return palloc0(sizeof(EmkTimelineBuilder));
}

static EmkMoment *
next_event(EmkTimelineBuilder *b)
{
	if (b->n == b->room)
	{
		b->room = Max(32, b->room * 2);
		b->events = b->events ? repalloc_huge(b->events, b->room * sizeof(EmkMoment)) :
			palloc(b->room * sizeof(EmkMoment));
	}
	if (b->n >= EMK_MAX_TIMELINE_EVENTS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a timeline cannot hold more than %d events", EMK_MAX_TIMELINE_EVENTS),
				 errhint("Make one timeline a profile and period.")));
	if ((b->n & 0xfff) == 0)
		CHECK_FOR_INTERRUPTS();
	return &b->events[b->n++];
}

static uint16
name_number(EmkTimelineBuilder *b, const char *name, int len)
{
	uint32		number;

	if (len > EMK_MAX_EVENT_NAME_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("event name is longer than %d bytes", EMK_MAX_EVENT_NAME_BYTES)));
	number = number_of(&b->names, name, len);
	if (number >= EMK_MAX_TIMELINE_NAMES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a timeline cannot hold more than %d event names", EMK_MAX_TIMELINE_NAMES)));
	return (uint16) number;
}

void
emk_analytics_add_event(EmkTimelineBuilder *b, int64 at, const char *name, int namelen, const char *key, int keylen,
						const int64 *value, const int64 *id)
{
	EmkMoment   *e;

	if (!EMK_TIME_IS_FINITE(at))
		return;
	e = next_event(b);
	*e = (EmkMoment) {.at = at};
	e->name = name_number(b, name, namelen);
	if (key)
	{
		if (keylen > EMK_MAX_KEY_BYTES)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("event key is longer than %d bytes", EMK_MAX_KEY_BYTES)));
		e->key = number_of(&b->keys, key, keylen) + 1;
	}
	if (value)
	{
		e->value = *value;
		e->has |= EMK_EVENT_VALUE;
	}
	if (id)
	{
		e->id = *id;
		e->has |= EMK_EVENT_ID;
		b->has_ids = true;
	}
}

/* Adds the events of an opened timeline; texts are numbered only when an event of the period has them. */
static void
add_opened(EmkTimelineBuilder *b, EmkTimeline *tl, int64 from, int64 to)
{
	static const int64 units[] = {1000000, 100000, 10000, 1000, 100, 10, 1};
	EmkNamed   *names;
	EmkNamed   *keys;
	uint32	   *name_map;
	uint32	   *key_map;
	const uint8 *times = tl->times;
	const uint8 *values;
	const uint8 *ids;
	int64		at = tl->first;
	int64		id = 0;

	if (tl->n == 0)
		return;
	emk_tl_open_rest(tl);
	names = emk_tl_names(tl);
	keys = emk_tl_keys(tl);
	name_map = palloc0(tl->nnames * sizeof(uint32));
	key_map = palloc_extended((tl->nkeys + 1) * sizeof(uint32), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	values = tl->values;
	ids = tl->ids;
	for (int64 i = 0; i < tl->n; i++)
	{
		uint32		name = emk_tl_code(tl, i);
		uint32		key = tl->key_codes ? emk_tl_key_code(tl, i) : 0;
		uint64		value = values ? emk_tl_varint(&values, tl->end) : 0;
		bool		has_id = false;
		EmkMoment   *e;

		if (i > 0)
			at = (int64) ((uint64) at + emk_tl_varint(&times, tl->end));
		if (ids)
			has_id = emk_tl_id(tl, &ids, &id);
		if (at < from || at >= to || !EMK_TIME_IS_FINITE(at))
			continue;
		if (name_map[name] == 0)
			name_map[name] = name_number(b, names[name].name, names[name].len) + 1;
		if (key > 0 && key_map[key] == 0)
			key_map[key] = number_of(&b->keys, keys[key - 1].name, keys[key - 1].len) + 1;
		e = next_event(b);
		*e = (EmkMoment) {.at = at, .name = name_map[name] - 1, .key = key > 0 ? key_map[key] : 0};
		if (value > 0)
		{
			e->has |= EMK_EVENT_VALUE;
			if (pg_mul_s64_overflow(emk_tl_unzigzag(value - 1), units[tl->scale], &e->value))
				emk_tl_malformed();
		}
		if (has_id)
		{
			e->has |= EMK_EVENT_ID;
			e->id = id;
			b->has_ids = true;
		}
	}
	pfree(name_map);
	pfree(key_map);
}

void
emk_analytics_add_timeline(EmkTimelineBuilder *b, const struct varlena *value, int64 from, int64 to)
{
	EmkTimeline tl;

	emk_tl_open(&tl, value);
	add_opened(b, &tl, from, to);
}

void
emk_timeline_add_bytes(EmkTimelineBuilder *b, const uint8 *p, Size size)
{
	EmkTimeline tl;

	emk_tl_open_bytes(&tl, p, size);
	add_opened(b, &tl, PG_INT64_MIN, PG_INT64_MAX);
}

/* ---- order and duplicates ---- */

static inline int
compare_events(const EmkMoment *a, const EmkMoment *b)
{
	if (a->at != b->at)
		return a->at < b->at ? -1 : 1;
	if (a->name != b->name)
		return a->name < b->name ? -1 : 1;
	if (a->key != b->key)
		return a->key < b->key ? -1 : 1;
	if ((a->has ^ b->has) & EMK_EVENT_VALUE)
		return a->has & EMK_EVENT_VALUE ? 1 : -1;
	if (a->value != b->value)
		return a->value < b->value ? -1 : 1;
	if ((a->has ^ b->has) & EMK_EVENT_ID)
		return a->has & EMK_EVENT_ID ? 1 : -1;
	return (a->id > b->id) - (a->id < b->id);
}

#define ST_SORT sort_events
#define ST_ELEMENT_TYPE EmkMoment
#define ST_COMPARE(a, b) compare_events(a, b)
#define ST_CHECK_FOR_INTERRUPTS
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

typedef struct IdPlace
{
	int64		id;
	int64		place;
} IdPlace;

static inline int
compare_ids(const IdPlace *a, const IdPlace *b)
{
	if (a->id != b->id)
		return a->id < b->id ? -1 : 1;
	return (a->place > b->place) - (a->place < b->place);
}

#define ST_SORT sort_ids
#define ST_ELEMENT_TYPE IdPlace
#define ST_COMPARE(a, b) compare_ids(a, b)
#define ST_CHECK_FOR_INTERRUPTS
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

static void
drop_duplicates(EmkTimelineBuilder *b)
{
	IdPlace    *ids = palloc_extended(b->n * sizeof(IdPlace), MCXT_ALLOC_HUGE);
	int64		n = 0;
	int64		kept = 0;
	bool		any = false;

	for (int64 i = 0; i < b->n; i++)
		if (b->events[i].has & EMK_EVENT_ID)
			ids[n++] = (IdPlace) {.id = b->events[i].id, .place = i};
	sort_ids(ids, n);
	CHECK_FOR_INTERRUPTS();
	for (int64 i = 1; i < n; i++)
		if (ids[i].id == ids[i - 1].id)
		{
			b->events[ids[i].place].at = DT_NOEND;	/* no event has it: marks what is to go */
			any = true;
		}
	pfree(ids);
	if (!any)
		return;
	CHECK_FOR_INTERRUPTS();
	for (int64 i = 0; i < b->n; i++)
		if (b->events[i].at != DT_NOEND)
			b->events[kept++] = b->events[i];
	b->n = kept;
}

typedef struct Ranked
{
	EmkNamed	text;
	uint32		number;
} Ranked;

static inline int
compare_ranked(const Ranked *a, const Ranked *b)
{
	return emk_compare_text(a->text.name, a->text.len, b->text.name, b->text.len);
}

#define ST_SORT sort_ranked
#define ST_ELEMENT_TYPE Ranked
#define ST_COMPARE(a, b) compare_ranked(a, b)
#define ST_CHECK_FOR_INTERRUPTS
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/* Puts the texts in order; rank[old number] = new number. NULL when they were in order. */
static uint32 *
rank_texts(Texts *t)
{
	Ranked	   *ranked;
	uint32	   *rank;
	bool		sorted = true;

	for (uint32 i = 1; i < t->n && sorted; i++)
		sorted = emk_compare_text(t->items[i - 1].name, t->items[i - 1].len, t->items[i].name, t->items[i].len) < 0;
	if (sorted)
		return NULL;
	ranked = palloc_extended(t->n * sizeof(Ranked), MCXT_ALLOC_HUGE);
	rank = palloc_extended(t->n * sizeof(uint32), MCXT_ALLOC_HUGE);
	for (uint32 i = 0; i < t->n; i++)
		ranked[i] = (Ranked) {.text = t->items[i], .number = i};
	sort_ranked(ranked, t->n);
	for (uint32 i = 0; i < t->n; i++)
	{
		t->items[i] = ranked[i].text;
		rank[ranked[i].number] = i;
	}
	pfree(ranked);
	return rank;
}

/* Takes out the texts that no event has (any more); the order stays. */
static void
drop_unused(EmkTimelineBuilder *b)
{
	uint32	   *name_map = palloc0((b->names.n + 1) * sizeof(uint32));
	uint32	   *key_map = palloc_extended((b->keys.n + 1) * sizeof(uint32), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	uint32		nnames = 0;
	uint32		nkeys = 0;

	for (int64 i = 0; i < b->n; i++)
	{
		name_map[b->events[i].name] = 1;
		key_map[b->events[i].key] = 1;
	}
	for (uint32 i = 0; i < b->names.n; i++)
		if (name_map[i])
		{
			b->names.items[nnames] = b->names.items[i];
			name_map[i] = nnames++;
		}
	for (uint32 i = 1; i <= b->keys.n; i++)
		if (key_map[i])
		{
			b->keys.items[nkeys] = b->keys.items[i - 1];
			key_map[i] = ++nkeys;
		}
	key_map[0] = 0;
	CHECK_FOR_INTERRUPTS();
	for (int64 i = 0; i < b->n; i++)
	{
		b->events[i].name = name_map[b->events[i].name];
		b->events[i].key = key_map[b->events[i].key];
	}
	b->names.n = nnames;
	b->keys.n = nkeys;
	pfree(name_map);
	pfree(key_map);
}

static void
put_in_order(EmkTimelineBuilder *b)
{
	uint32	   *name_rank = rank_texts(&b->names);
	uint32	   *key_rank = rank_texts(&b->keys);

	if (name_rank || key_rank)
		for (int64 i = 0; i < b->n; i++)
		{
			EmkMoment   *e = &b->events[i];

			if (name_rank)
				e->name = name_rank[e->name];
			if (key_rank && e->key > 0)
				e->key = key_rank[e->key - 1] + 1;
		}
	CHECK_FOR_INTERRUPTS();
	sort_events(b->events, b->n);
	CHECK_FOR_INTERRUPTS();
	if (b->has_ids)
	{
		int64		before = b->n;

		drop_duplicates(b);
		if (b->n < before)
			drop_unused(b);
	}
}

/* ---- writing ---- */

static inline uint64
zigzag(int64 v)
{
	return (uint64) v << 1 ^ (uint64) (v >> 63);
}

static uint8 *
put_times(uint8 *p, const EmkTimelineBuilder *b)
{
	for (int64 i = 1; i < b->n; i++)
		p = emk_tl_put_varint(p, (uint64) b->events[i].at - (uint64) b->events[i - 1].at);
	return p;
}

static uint8 *
put_key_texts(uint8 *p, const EmkTimelineBuilder *b)
{
	const EmkNamed *before = NULL;

	for (uint32 i = 0; i < b->keys.n; i++)
	{
		const EmkNamed *k = &b->keys.items[i];
		int			shared = 0;

		while (before && shared < before->len && shared < k->len && before->name[shared] == k->name[shared])
			shared++;
		p = emk_tl_put_varint(p, shared);
		p = emk_tl_put_varint(p, k->len - shared);
		memcpy(p, k->name + shared, k->len - shared);
		p += k->len - shared;
		before = k;
		BREATHE(i);
	}
	return p;
}

static uint8 *
put_keys(uint8 *p, const EmkTimelineBuilder *b, uint8 *scratch)
{
	uint32		n = b->keys.n;
	int			width = n < 256 ? 1 : n < 65536 ? 2 : 4;
	Size		bytes = put_key_texts(scratch, b) - scratch;

	p = emk_tl_put_varint(p, n);
	p = emk_tl_put_varint(p, bytes);
	memcpy(p, scratch, bytes);
	p += bytes;
	for (int64 i = 0; i < b->n; i++)
		for (int k = 0; k < width; k++)
			*p++ = (uint8) (b->events[i].key >> (8 * k));
	return p;
}

static uint8 *
put_values(uint8 *p, const EmkTimelineBuilder *b, uint8 *scratch)
{
	int			scale = EMK_VALUE_SCALE;
	int64		unit = 1;
	uint8	   *q = scratch;

	for (; scale > 0; scale--, unit *= 10)
	{
		bool		divides = true;

		for (int64 i = 0; i < b->n && divides; i++)
			divides = b->events[i].value == 0 || b->events[i].value % (unit * 10) == 0;
		if (!divides)
			break;
	}
	for (int64 i = 0; i < b->n; i++)
		q = emk_tl_put_varint(q, b->events[i].has & EMK_EVENT_VALUE ? zigzag(b->events[i].value / unit) + 1 : 0);
	*p++ = scale;
	p = emk_tl_put_varint(p, q - scratch);
	memcpy(p, scratch, q - scratch);
	return p + (q - scratch);
}

static uint8 *
put_ids(uint8 *p, const EmkTimelineBuilder *b, bool all)
{
	int64		last = 0;

	for (int64 i = 0; i < b->n; i++)
	{
		if (!(b->events[i].has & EMK_EVENT_ID))
		{
			p = emk_tl_put_varint(p, 0);
			continue;
		}
		if (!all)
			p = emk_tl_put_varint(p, 1);
		p = emk_tl_put_varint(p, zigzag((int64) ((uint64) b->events[i].id - (uint64) last)));
		last = b->events[i].id;
	}
	return p;
}

/* What the value can take at most, and what it holds; also checks what came from outside. */
static Size
measure(const EmkTimelineBuilder *b, bool *has_values, bool *all_ids, Size *texts)
{
	Size		size = 64;

	*has_values = false;
	*all_ids = true;
	*texts = 0;
	for (uint32 i = 0; i < b->names.n; i++)
	{
		pg_verifymbstr(b->names.items[i].name, b->names.items[i].len, false);
		size += 1 + b->names.items[i].len;
	}
	for (uint32 i = 0; i < b->keys.n; i++)
	{
		pg_verifymbstr(b->keys.items[i].name, b->keys.items[i].len, false);
		*texts += 4 + b->keys.items[i].len;
		BREATHE(i);
	}
	for (int64 i = 0; i < b->n; i++)
	{
		*has_values |= (b->events[i].has & EMK_EVENT_VALUE) != 0;
		*all_ids &= (b->events[i].has & EMK_EVENT_ID) != 0;
	}
	if (!IS_VALID_TIMESTAMP(b->events[0].at) || !IS_VALID_TIMESTAMP(b->events[b->n - 1].at))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	size += *texts + b->n * (Size) (2 + 9 + 4 + (*has_values ? 9 : 0) + (b->has_ids ? 10 : 0));
	return size;
}

struct varlena *
emk_analytics_finish_timeline(EmkTimelineBuilder *b)
{
	struct varlena *result;
	uint8	   *buf;
	uint8	   *scratch;
	uint8	   *p;
	Size		texts;
	Size		bytes = 0;
	Size		times;
	bool		has_values;
	bool		all_ids;

	if (b->n == 0)
	{
		result = palloc(VARHDRSZ + 3);
		SET_VARSIZE(result, VARHDRSZ + 3);
		buf = (uint8 *) VARDATA(result);
		buf[0] = EMK_TL_VERSION;
		buf[1] = 0;
		buf[2] = 1;				/* the varint of 0; put_varint() writes eight bytes */
		return result;
	}
	put_in_order(b);
	result = palloc_extended(VARHDRSZ + measure(b, &has_values, &all_ids, &texts), MCXT_ALLOC_HUGE);
	scratch = palloc_extended(Max(texts, b->n * 9) + 16, MCXT_ALLOC_HUGE);
	buf = p = (uint8 *) VARDATA(result);
	for (uint32 i = 0; i < b->names.n; i++)
		bytes += 1 + b->names.items[i].len;
	CHECK_FOR_INTERRUPTS();
	times = put_times(scratch, b) - scratch;
	CHECK_FOR_INTERRUPTS();

	*p++ = EMK_TL_VERSION;
	*p++ = (b->keys.n > 0 ? EMK_TL_KEYS : 0) | (has_values ? EMK_TL_VALUES : 0) | (b->has_ids ? EMK_TL_IDS : 0) |
		(b->names.n > 256 ? EMK_TL_WIDE_NAMES : 0) | (b->has_ids && all_ids ? EMK_TL_ALL_IDS : 0);
	p = emk_tl_put_varint(p, b->n);
	p = emk_tl_put_varint(p, b->names.n);
	p = emk_tl_put_varint(p, bytes);
	p = emk_tl_put_varint(p, times);
	for (uint32 i = 0; i < b->names.n; i++)
	{
		*p++ = (uint8) b->names.items[i].len;
		memcpy(p, b->names.items[i].name, b->names.items[i].len);
		p += b->names.items[i].len;
	}
	for (int64 i = 0; i < b->n; i++)
	{
		*p++ = (uint8) b->events[i].name;
		if (b->names.n > 256)
			*p++ = (uint8) (b->events[i].name >> 8);
	}
	for (int i = 0; i < 8; i++)
		*p++ = (uint8) ((uint64) b->events[0].at >> (8 * i));
	memcpy(p, scratch, times);
	p += times;
	CHECK_FOR_INTERRUPTS();
	if (b->keys.n > 0)
		p = put_keys(p, b, scratch);
	CHECK_FOR_INTERRUPTS();
	if (has_values)
		p = put_values(p, b, scratch);
	CHECK_FOR_INTERRUPTS();
	if (b->has_ids)
		p = put_ids(p, b, all_ids);
	pfree(scratch);
	if ((Size) (p - buf) + VARHDRSZ > MaxAllocSize)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("timeline is too large")));
	SET_VARSIZE(result, VARHDRSZ + (p - buf));
	return result;
}

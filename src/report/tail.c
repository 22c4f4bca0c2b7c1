/*
 * tail.c: the open tail of kept timelines in memory: while it is gathered, and finished, as a value in which every text lies by its
 * place. So it goes from one process to another by copying, and is looked up without being read first.
 *
 * Bounded: a tail of more than EMK_MAX_TAIL_BYTES says so and keeps nothing; the view then works without it.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "report/tail.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

EmkTail *
emk_tail_start(MemoryContext context)
{
	EmkTail    *t = MemoryContextAllocZero(context, sizeof(EmkTail));

	t->context = context;
	return t;
}

/* Forgets everything that was gathered. */
static void
empty(EmkTail *t)
{
	EmkTailTexts none = {0};

	if (t->events)
		pfree(t->events);
	if (t->texts)
		pfree(t->texts);
	for (int i = 0; i < 2; i++)
	{
		EmkTailTexts *x = i ? &t->names : &t->profiles;

		if (x->items)
		{
			pfree(x->items);
			pfree(x->slots);
		}
		*x = none;
	}
	t->events = NULL;
	t->texts = NULL;
	t->nevents = t->events_room = 0;
	t->texts_used = t->texts_room = 0;
}

void
emk_tail_give_up(EmkTail *t)
{
	empty(t);
	t->too_big = true;
}

static bool
has_room(const EmkTail *t)
{
	return t->nevents * sizeof(EmkTailEvent) + (t->profiles.n + t->names.n) * (sizeof(EmkTailText) + 8) + t->texts_used <
		EMK_MAX_TAIL_BYTES;
}

/* Room for `len` bytes at the end of the texts */
static char *
more_text(EmkTail *t, Size len)
{
	char	   *p;

	/* the first text may be an empty one, and it too needs a place */
	if (t->texts == NULL || t->texts_used + len > t->texts_room)
	{
		t->texts_room = Max(8192, (t->texts_used + len) * 3 / 2);
		t->texts = t->texts ? repalloc(t->texts, t->texts_room) : MemoryContextAlloc(t->context, t->texts_room);
	}
	p = t->texts + t->texts_used;
	t->texts_used += len;
	return p;
}

static uint32
keep_text(EmkTail *t, const char *text, int len)
{
	char	   *p = more_text(t, len);

	memcpy(p, text, len);
	return (uint32) (p - t->texts);
}

static uint32 *
make_slots(uint32 *slots, uint32 nslots, const EmkTailText *items, uint32 n)
{
	memset(slots, 0, nslots * sizeof(uint32));
	for (uint32 i = 0; i < n; i++)
	{
		uint32		slot = items[i].hash & (nslots - 1);

		while (slots[slot])
			slot = (slot + 1) & (nslots - 1);
		slots[slot] = i + 1;
	}
	return slots;
}

static uint32
number_of(EmkTail *t, EmkTailTexts *x, const char *text, int len)
{
	uint32		hash = hash_bytes((const unsigned char *) text, len);
	uint32		slot;

	if (x->n * 2 >= x->nslots)
	{
		x->nslots = Max(64, x->nslots * 4);
		if (x->slots)
			pfree(x->slots);
		x->slots = make_slots(MemoryContextAlloc(t->context, x->nslots * sizeof(uint32)), x->nslots, x->items, x->n);
	}
	for (slot = hash & (x->nslots - 1); x->slots[slot]; slot = (slot + 1) & (x->nslots - 1))
	{
		EmkTailText *item = &x->items[x->slots[slot] - 1];

		if (item->hash == hash && item->len == len && memcmp(t->texts + item->offset, text, len) == 0)
			return x->slots[slot] - 1;
	}
	if (x->n == x->room)
	{
		x->room = Max(64, x->room * 2);
		x->items = x->items ? repalloc(x->items, x->room * sizeof(EmkTailText)) :
			MemoryContextAlloc(t->context, x->room * sizeof(EmkTailText));
	}
	x->items[x->n] = (EmkTailText) {.offset = keep_text(t, text, len), .hash = hash, .len = len};
	x->slots[slot] = ++x->n;
	return x->n - 1;
}

uint32
emk_tail_profile(EmkTail *t, const char *id, int len)
{
	if (!has_room(t))
		emk_tail_give_up(t);
	return t->too_big ? PG_UINT32_MAX : number_of(t, &t->profiles, id, len);
}

static EmkTailEvent *
next_event(EmkTail *t)
{
	if (t->nevents == t->events_room)
	{
		t->events_room = Max(256, t->events_room / 2 * 3);
		t->events = t->events ? repalloc(t->events, t->events_room * sizeof(EmkTailEvent)) :
			MemoryContextAlloc(t->context, t->events_room * sizeof(EmkTailEvent));
	}
	return &t->events[t->nevents++];
}

void
emk_tail_add(EmkTail *t, const char *id, int idlen, const char *name, int namelen, TimestampTz at, const int64 *value,
			 const char *key, int keylen)
{
	EmkTailEvent *e;
	uint32		profile;
	uint32		number;

	if (!has_room(t) || idlen > EMK_MAX_ID_BYTES || namelen > EMK_MAX_EVENT_NAME_BYTES)
		emk_tail_give_up(t);
	if (t->too_big)
		return;
	profile = number_of(t, &t->profiles, id, idlen);
	number = number_of(t, &t->names, name, namelen);
	if (number > PG_UINT16_MAX)
	{
		emk_tail_give_up(t);
		return;
	}
	e = next_event(t);
	*e = (EmkTailEvent) {.at = at, .profile = profile, .name = number};
	if (value || key)
		e->extra = t->texts_used;
	if (value)
	{
		e->has |= EMK_EVENT_VALUE;
		memcpy(more_text(t, sizeof(int64)), value, sizeof(int64));
	}
	if (key)
	{
		uint16		len = keylen;

		e->has |= EMK_LOOSE_KEY;
		memcpy(more_text(t, sizeof(len)), &len, sizeof(len));
		keep_text(t, key, keylen);
	}
}

/* ---- the finished form ---- */

/* Other bits of the hash than those that choose a slot come first. */
static inline uint32
filter_bit(const EmkTailMap *m, uint32 hash)
{
	return (hash >> 16 | hash << 16) & m->filter_mask;
}

static const char *sorted_texts;	/* what the places in items being sorted are counted from */

static int
compare_names(const void *a, const void *b)
{
	const EmkTailText *x = a;
	const EmkTailText *y = b;
	int			c = memcmp(sorted_texts + x->offset, sorted_texts + y->offset, Min(x->len, y->len));

	return c != 0 ? c : (int) x->len - (int) y->len;
}

/* Writes the names in order; rank[number as gathered] = number from now on */
static uint16 *
order_names(const EmkTail *t, EmkLooseName *to)
{
	EmkTailText *sorted = palloc(Max(t->names.n, 1) * sizeof(EmkTailText));
	uint16	   *rank = palloc(Max(t->names.n, 1) * sizeof(uint16));

	for (uint32 i = 0; i < t->names.n; i++)
	{
		sorted[i] = t->names.items[i];
		sorted[i].n = i;
	}
	sorted_texts = t->texts;
	qsort(sorted, t->names.n, sizeof(EmkTailText), compare_names);
	for (uint32 i = 0; i < t->names.n; i++)
	{
		to[i] = (EmkLooseName) {.offset = sorted[i].offset, .len = sorted[i].len};
		rank[sorted[i].n] = i;
	}
	return rank;
}

#define ST_SORT sort_loose
#define ST_ELEMENT_TYPE EmkLooseEvent
#define ST_COMPARE(a, b) ((a)->at != (b)->at ? ((a)->at < (b)->at ? -1 : 1) : (int) (a)->name - (int) (b)->name)
#define ST_CHECK_FOR_INTERRUPTS
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/* Copies the events so that those of a profile lie together, by time and name; sets first and n of the profiles. */
static void
group_events(EmkTail *t, const uint16 *rank, EmkLooseEvent *to)
{
	EmkTailText *profiles = t->profiles.items;
	uint32		sum = 0;

	for (uint32 i = 0; i < t->profiles.n; i++)
		profiles[i].n = 0;
	for (uint32 i = 0; i < t->nevents; i++)
		profiles[t->events[i].profile].n++;
	for (uint32 i = 0; i < t->profiles.n; i++)
	{
		profiles[i].first = sum;
		sum += profiles[i].n;
		profiles[i].n = 0;
	}
	for (uint32 i = 0; i < t->nevents; i++)
	{
		const EmkTailEvent *e = &t->events[i];
		EmkTailText *p = &profiles[e->profile];

		to[p->first + p->n++] = (EmkLooseEvent) {.at = e->at, .extra = e->extra, .name = rank[e->name], .has = e->has};
	}
	for (uint32 i = 0; i < t->profiles.n; i++)
		if (profiles[i].n > 1)
			sort_loose(to + profiles[i].first, profiles[i].n);
}

EmkTailMap *
emk_tail_finish(EmkTail *t, bool whole)
{
	static uint64 last_number = 0;
	EmkTailMap *m;
	uint64	   *filter;
	uint32		nslots = 64;
	uint32		nbits = 64;
	Size		size;

	if (whole)
		emk_tail_give_up(t);
	while (nslots < t->profiles.n * 2)
		nslots *= 2;
	while (nbits < t->profiles.n * 8)
		nbits *= 2;
	size = sizeof(EmkTailMap) + t->nevents * sizeof(EmkLooseEvent) + nbits / 8 + t->profiles.n * sizeof(EmkTailText) +
		t->names.n * sizeof(EmkLooseName) + nslots * sizeof(uint32) + t->texts_used;
	m = palloc(size);
	memset(m, 0, sizeof(EmkTailMap));
	SET_VARSIZE(m, size);
	m->nprofiles = t->profiles.n;
	m->nnames = t->names.n;
	m->nevents = t->nevents;
	m->nslots = nslots;
	m->whole = whole;
	m->number = (uint64) MyProcPid << 40 | ++last_number;
	m->filter_mask = nbits - 1;
	group_events(t, order_names(t, unconstify(EmkLooseName *, emk_tail_names(m))), m->events);
	filter = unconstify(uint64 *, emk_tail_filter(m));
	memset(filter, 0, nbits / 8);
	for (uint32 i = 0; i < t->profiles.n; i++)
	{
		uint32		bit = filter_bit(m, t->profiles.items[i].hash);

		filter[bit / 64] |= UINT64CONST(1) << (bit % 64);
	}
	if (t->profiles.n > 0)
		memcpy(unconstify(EmkTailText *, emk_tail_profiles(m)), t->profiles.items, t->profiles.n * sizeof(EmkTailText));
	make_slots(unconstify(uint32 *, emk_tail_slots(m)), nslots, t->profiles.items, t->profiles.n);
	if (t->texts_used > 0)
		memcpy(unconstify(char *, emk_tail_texts(m)), t->texts, t->texts_used);
	return m;
}

void
emk_tail_loose(const EmkTailMap *m, const EmkTailText *p, EmkLoose *loose)
{
	*loose = (EmkLoose) {
		.number = m->number,
		.events = m->events + p->first,
		.n = p->n,
		.names = emk_tail_names(m),
		.nnames = m->nnames,
		.texts = emk_tail_texts(m),
	};
}

const EmkTailText *
emk_tail_find(const EmkTailMap *m, const char *id, int len)
{
	const uint32 *slots = emk_tail_slots(m);
	const EmkTailText *profiles = emk_tail_profiles(m);
	const char *texts = emk_tail_texts(m);
	uint32		hash;
	uint32		bit;

	if (m->nprofiles == 0)
		return NULL;
	hash = hash_bytes((const unsigned char *) id, len);
	bit = filter_bit(m, hash);
	if (!(emk_tail_filter(m)[bit / 64] >> (bit % 64) & 1))
		return NULL;
	for (uint32 slot = hash & (m->nslots - 1); slots[slot]; slot = (slot + 1) & (m->nslots - 1))
	{
		const EmkTailText *p = &profiles[slots[slot] - 1];

		if (p->hash == hash && p->len == len && memcmp(texts + p->offset, id, len) == 0)
			return p;
	}
	return NULL;
}

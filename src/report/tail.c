/*
 * tail.c: the open tail of kept timelines in memory: while it is gathered, and finished, as a map in which everything lies by its
 * place. So it is read wherever it lies, by several processes too.
 *
 * Bounded: a tail of more than EMK_MAX_TAIL_BYTES says so and keeps nothing; the view then works without it.
 */
#include "postgres.h"

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
	for (int i = 0; i < 2; i++)
	{
		EmkTailBytes *b = i ? &t->extras : &t->texts;

		if (b->p)
			pfree(b->p);
		*b = (EmkTailBytes) {0};
	}
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
	t->nevents = t->events_room = 0;
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
	return t->nevents * sizeof(EmkTailEvent) + (t->profiles.n + t->names.n) * (sizeof(EmkTailText) + 16) + t->texts.used +
		t->extras.used < EMK_MAX_TAIL_BYTES;
}

/* Room for `len` bytes at the end */
static char *
more_bytes(EmkTail *t, EmkTailBytes *b, Size len)
{
	char	   *p;

	/* the first text may be an empty one, and it too needs a place */
	if (b->p == NULL || b->used + len > b->room)
	{
		b->room = Max(8192, (b->used + len) * 3 / 2);
		b->p = b->p ? repalloc(b->p, b->room) : MemoryContextAlloc(t->context, b->room);
	}
	p = b->p + b->used;
	b->used += len;
	return p;
}

static EmkTailSlot *
make_slots(EmkTailSlot *slots, uint32 nslots, const EmkTailText *items, uint32 n)
{
	memset(slots, 0, nslots * sizeof(EmkTailSlot));
	for (uint32 i = 0; i < n; i++)
	{
		uint32		slot = items[i].hash & (nslots - 1);

		while (slots[slot].item)
			slot = (slot + 1) & (nslots - 1);
		slots[slot] = (EmkTailSlot) {.item = i + 1, .hash = items[i].hash};
	}
	return slots;
}

static uint32
number_of(EmkTail *t, EmkTailTexts *x, const char *text, int len)
{
	uint32		hash = emk_tail_hash(text, len);
	uint32		slot;

	if (x->n * 2 >= x->nslots)
	{
		x->nslots = Max(64, x->nslots * 4);
		if (x->slots)
			pfree(x->slots);
		x->slots = make_slots(MemoryContextAlloc(t->context, x->nslots * sizeof(EmkTailSlot)), x->nslots, x->items, x->n);
	}
	for (slot = hash & (x->nslots - 1); x->slots[slot].item; slot = (slot + 1) & (x->nslots - 1))
		if (x->slots[slot].hash == hash)
		{
			EmkTailText *item = &x->items[x->slots[slot].item - 1];

			if (item->len == len && memcmp(t->texts.p + item->offset, text, len) == 0)
				return x->slots[slot].item - 1;
		}
	if (x->n == x->room)
	{
		x->room = Max(64, x->room * 2);
		x->items = x->items ? repalloc(x->items, x->room * sizeof(EmkTailText)) :
			MemoryContextAlloc(t->context, x->room * sizeof(EmkTailText));
	}
	x->items[x->n] = (EmkTailText) {.offset = t->texts.used, .hash = hash, .len = len};
	memcpy(more_bytes(t, &t->texts, len), text, len);
	x->slots[slot] = (EmkTailSlot) {.item = ++x->n, .hash = hash};
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
		e->extra = t->extras.used;
	if (value)
	{
		e->has |= EMK_EVENT_VALUE;
		memcpy(more_bytes(t, &t->extras, sizeof(int64)), value, sizeof(int64));
	}
	if (key)
	{
		uint16		len = keylen;

		e->has |= EMK_LOOSE_KEY;
		memcpy(more_bytes(t, &t->extras, sizeof(len)), &len, sizeof(len));
		memcpy(more_bytes(t, &t->extras, keylen), key, keylen);
	}
}

/* ---- the finished form ---- */

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
	sorted_texts = t->texts.p;
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

		to[p->first + p->n++] = (EmkLooseEvent) {.at = e->at, .extra = t->texts.used + e->extra, .name = rank[e->name], .has = e->has};
	}
	for (uint32 i = 0; i < t->profiles.n; i++)
		if (profiles[i].n > 1)
			sort_loose(to + profiles[i].first, profiles[i].n);
}

EmkTailMap *
emk_tail_finish(EmkTail *t, bool whole, void *(*room) (Size size, void *arg), void *arg)
{
	static uint64 last_number = 0;
	EmkTailMap *m;
	uint64	   *filter;
	uint32		nslots = 64;
	uint32		nwords = 1;
	Size		size;

	if (whole)
		emk_tail_give_up(t);
	while (nslots < t->profiles.n * 2)
		nslots *= 2;
	while (nwords * 4 < t->profiles.n)
		nwords *= 2;
	size = sizeof(EmkTailMap) + t->nevents * sizeof(EmkLooseEvent) + nwords * sizeof(uint64) + t->profiles.n * sizeof(EmkTailText) +
		t->names.n * sizeof(EmkLooseName) + nslots * sizeof(EmkTailSlot) + t->texts.used +
		t->extras.used;
	m = room(size, arg);
	memset(m, 0, sizeof(EmkTailMap));
	m->nprofiles = t->profiles.n;
	m->nnames = t->names.n;
	m->nevents = t->nevents;
	m->nslots = nslots;
	m->whole = whole;
	m->shows_all = !whole;
	m->number = (uint64) MyProcPid << 40 | ++last_number;
	m->filter_mask = nwords - 1;
	group_events(t, order_names(t, unconstify(EmkLooseName *, emk_tail_names(m))), m->events);
	filter = unconstify(uint64 *, emk_tail_filter(m));
	memset(filter, 0, nwords * sizeof(uint64));
	for (uint32 i = 0; i < t->profiles.n; i++)
	{
		uint32		hash = t->profiles.items[i].hash;

		filter[hash & m->filter_mask] |= emk_tail_filter_bits(hash);
		m->shows_all = m->shows_all && t->profiles.items[i].flags == 0;
	}
	if (t->profiles.n > 0)
		memcpy(unconstify(EmkTailText *, emk_tail_profiles(m)), t->profiles.items, t->profiles.n * sizeof(EmkTailText));
	make_slots(unconstify(EmkTailSlot *, emk_tail_slots(m)), nslots, t->profiles.items, t->profiles.n);
	if (t->texts.used > 0)
		memcpy(unconstify(char *, emk_tail_texts(m)), t->texts.p, t->texts.used);
	if (t->extras.used > 0)
		memcpy(unconstify(char *, emk_tail_texts(m)) + t->texts.used, t->extras.p, t->extras.used);
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
emk_tail_find(const EmkTailMap *m, const char *id, int len, uint32 hash)
{
	const EmkTailSlot *slots = emk_tail_slots(m);

	for (uint32 slot = hash & (m->nslots - 1); slots[slot].item; slot = (slot + 1) & (m->nslots - 1))
		if (slots[slot].hash == hash)
		{
			const EmkTailText *p = &emk_tail_profiles(m)[slots[slot].item - 1];

			if (p->len == len && memcmp(emk_tail_texts(m) + p->offset, id, len) == 0)
				return p;
		}
	return NULL;
}

/*
 * tail.c: the open tail of kept timelines in memory: while it is gathered, and finished, as a map in which everything lies by its
 * place. So it is read wherever it lies, by several processes too.
 *
 * Bounded: a tail of more than EMK_MAX_TAIL_BYTES says so and keeps nothing; the view then works without it.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "report/tail.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define INTERRUPT_EVERY	65536	/* items that are put together without a look whether to stop */

EmkTail *
emk_tail_start(MemoryContext context)
{
	EmkTail    *t = MemoryContextAllocZero(context, sizeof(EmkTail));

	t->context = context;
	return t;
}

void
emk_tail_empty(EmkTail *t)
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
	emk_tail_empty(t);
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
number_hashed(EmkTail *t, EmkTailTexts *x, const char *text, int len, uint32 hash)
{
	uint32		slot;

	if (x->n * 2 >= x->nslots)
	{
		x->nslots = Max(64, x->nslots * 2);
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

static uint32
number_of(EmkTail *t, EmkTailTexts *x, const char *text, int len)
{
	return number_hashed(t, x, text, len, emk_tail_hash(text, len));
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
		t->events_room = Max(1024, t->events_room * 2);
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

/* ---- parts: what several processes gathered ---- */

struct EmkTailPart
{
	Size		size;
	uint32		nprofiles;
	uint32		nnames;
	uint32		nevents;
	Size		texts;			/* bytes */
	Size		extras;
	EmkTailEvent events[FLEXIBLE_ARRAY_MEMBER]; /* then profiles, names, texts, extras */
};

Size
emk_tail_part_size(const EmkTail *t)
{
	return sizeof(EmkTailPart) + t->nevents * sizeof(EmkTailEvent) + (t->profiles.n + t->names.n) * sizeof(EmkTailText) +
		t->texts.used + t->extras.used;
}

static char *
put(char *to, const void *from, Size size)
{
	if (size > 0)
		memcpy(to, from, size);
	return to + size;
}

void
emk_tail_put_part(const EmkTail *t, EmkTailPart *part)
{
	char	   *p = (char *) part->events;

	part->size = emk_tail_part_size(t);
	part->nprofiles = t->profiles.n;
	part->nnames = t->names.n;
	part->nevents = t->nevents;
	part->texts = t->texts.used;
	part->extras = t->extras.used;
	p = put(p, t->events, t->nevents * sizeof(EmkTailEvent));
	p = put(p, t->profiles.items, t->profiles.n * sizeof(EmkTailText));
	p = put(p, t->names.items, t->names.n * sizeof(EmkTailText));
	p = put(p, t->texts.p, t->texts.used);
	p = put(p, t->extras.p, t->extras.used);
}

/* Numbers in `x` of the texts of a part */
static uint32 *
number_all(EmkTail *t, EmkTailTexts *x, const EmkTailText *items, uint32 n, const char *texts)
{
	uint32	   *numbers = MemoryContextAllocHuge(t->context, Max(n, 1) * sizeof(uint32));

	for (uint32 i = 0; i < n; i++)
	{
		if (i % INTERRUPT_EVERY == 0)
			CHECK_FOR_INTERRUPTS();
		numbers[i] = number_hashed(t, x, texts + items[i].offset, items[i].len, items[i].hash);
	}
	return numbers;
}

void
emk_tail_add_part(EmkTail *t, const EmkTailPart *part)
{
	const EmkTailText *profiles = (const EmkTailText *) (part->events + part->nevents);
	const EmkTailText *names = profiles + part->nprofiles;
	const char *texts = (const char *) (names + part->nnames);
	uint32		extras = t->extras.used;
	uint32	   *profile;
	uint32	   *name;

	if (t->too_big || part->size + emk_tail_part_size(t) > EMK_MAX_TAIL_BYTES)
	{
		emk_tail_give_up(t);
		return;
	}
	profile = number_all(t, &t->profiles, profiles, part->nprofiles, texts);
	name = number_all(t, &t->names, names, part->nnames, texts);
	if (t->names.n > PG_UINT16_MAX + 1)
	{
		emk_tail_give_up(t);
		return;
	}
	if (part->extras > 0)
		memcpy(more_bytes(t, &t->extras, part->extras), texts + part->texts, part->extras);
	for (uint32 i = 0; i < part->nevents; i++)
	{
		EmkTailEvent *e = next_event(t);

		if (i % INTERRUPT_EVERY == 0)
			CHECK_FOR_INTERRUPTS();
		*e = part->events[i];
		e->profile = profile[e->profile];
		e->name = name[e->name];
		e->extra += extras;
	}
	pfree(profile);
	pfree(name);
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

/* Writes where the persons of each bucket begin; which of the profiles is the i-th of them */
static uint32 *
order_persons(const EmkTail *t, const EmkTailMap *m, uint32 *first)
{
	uint32	   *profiles = palloc_extended(Max(t->profiles.n, 1) * sizeof(uint32), MCXT_ALLOC_HUGE);

	memset(first, 0, (m->nbuckets + 1) * sizeof(uint32));
	for (uint32 i = 0; i < t->profiles.n; i++)
		first[emk_tail_bucket_of(m, t->profiles.items[i].hash) + 1]++;
	for (uint32 b = 0; b < m->nbuckets; b++)
		first[b + 1] += first[b];
	for (uint32 i = 0; i < t->profiles.n; i++)
		profiles[first[emk_tail_bucket_of(m, t->profiles.items[i].hash)]++] = i;
	memmove(first + 1, first, m->nbuckets * sizeof(uint32));	/* each has come to where the next one begins */
	first[0] = 0;
	return profiles;
}

/* Writes the persons, each with room for its id and events, and the ids */
static void
put_persons(EmkTail *t, const uint32 *profiles, EmkTailPerson *persons, EmkLooseEvent *events)
{
	uint32		place = 0;

	for (uint32 i = 0; i < t->profiles.n; i++)
		t->profiles.items[i].n = 0;
	for (uint32 i = 0; i < t->nevents; i++)
		t->profiles.items[t->events[i].profile].n++;
	for (uint32 i = 0; i < t->profiles.n; i++)
	{
		EmkTailText *p = &t->profiles.items[profiles[i]];
		uint32		id_places = EMK_TAIL_ID_PLACES(p->len);
		char	   *id = (char *) (events + place);

		if (id_places > 0)
		{
			memset(id + (id_places - 1) * sizeof(EmkLooseEvent), 0, sizeof(EmkLooseEvent));
			memcpy(id, t->texts.p + p->offset, p->len);
		}
		place += id_places;
		persons[i] = (EmkTailPerson) {.hash = p->hash, .first = place, .n = p->n, .len = p->len, .flags = p->flags};
		p->next = place;
		place += p->n;
	}
}

/* Copies the events so that those of a person lie together, by time and name */
static void
group_events(EmkTail *t, const uint16 *rank, const EmkTailPerson *persons, EmkLooseEvent *to)
{
	for (uint32 i = 0; i < t->nevents; i++)
	{
		const EmkTailEvent *e = &t->events[i];

		to[t->profiles.items[e->profile].next++] = (EmkLooseEvent) {.at = e->at, .extra = t->texts.used + e->extra,
			.name = rank[e->name], .has = e->has};
	}
	for (uint32 i = 0; i < t->profiles.n; i++)
		if (persons[i].n > 1)
			sort_loose(to + persons[i].first, persons[i].n);
}

/* An empty map with room for all; NULL when there is none */
static EmkTailMap *
make_room(const EmkTail *t, void *(*room) (Size size, void *arg), void *arg)
{
	EmkTailMap	h = {.form = emk_tail_form(), .npersons = t->profiles.n, .nnames = t->names.n, .nevents = t->nevents};
	EmkTailMap *m;
	uint32		nwords = 1;

	h.nplaces = t->nevents;
	for (uint32 i = 0; i < t->profiles.n; i++)
		h.nplaces += EMK_TAIL_ID_PLACES(t->profiles.items[i].len);
	h.nbuckets = 2;
	h.bucket_shift = 31;
	for (; h.nbuckets * 4 < t->profiles.n; h.nbuckets *= 2)
		h.bucket_shift--;
	while (nwords * 8 < t->profiles.n)
		nwords *= 2;
	h.filter_mask = nwords - 1;
	m = room(sizeof(EmkTailMap) + h.nplaces * sizeof(EmkLooseEvent) + nwords * sizeof(uint64) +
			 h.npersons * sizeof(EmkTailPerson) + h.nnames * sizeof(EmkLooseName) + (h.nbuckets + 1) * sizeof(uint32) +
			 t->texts.used + t->extras.used, arg);
	if (m != NULL)
		*m = h;
	return m;
}

EmkTailMap *
emk_tail_finish(EmkTail *t, uint64 number, void *(*room) (Size size, void *arg), void *arg)
{
	EmkTailMap *m = make_room(t, room, arg);
	EmkTailPerson *persons;
	uint64	   *filter;

	if (m == NULL)
		return NULL;
	m->number = number;
	m->shows_all = true;
	persons = unconstify(EmkTailPerson *, emk_tail_persons(m));
	put_persons(t, order_persons(t, m, unconstify(uint32 *, emk_tail_buckets(m))), persons, m->events);
	group_events(t, order_names(t, unconstify(EmkLooseName *, emk_tail_names(m))), persons, m->events);
	filter = unconstify(uint64 *, emk_tail_filter(m));
	memset(filter, 0, (m->filter_mask + 1) * sizeof(uint64));
	for (uint32 i = 0; i < m->npersons; i++)
	{
		filter[persons[i].hash & m->filter_mask] |= emk_tail_filter_bits(persons[i].hash);
		m->shows_all = m->shows_all && persons[i].flags == 0;
	}
	if (t->texts.used > 0)
		memcpy(unconstify(char *, emk_tail_texts(m)), t->texts.p, t->texts.used);
	if (t->extras.used > 0)
		memcpy(unconstify(char *, emk_tail_texts(m)) + t->texts.used, t->extras.p, t->extras.used);
	return m;
}

void
emk_tail_loose(const EmkTailMap *m, const EmkTailPerson *p, EmkLoose *loose)
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

/* ---- the form ---- */

#define FIELD(type, field)	offsetof(type, field), sizeof(((type *) 0)->field)

uint64
emk_tail_form(void)
{
	static const uint32 layout[] = {
		sizeof(EmkTailMap), FIELD(EmkTailMap, form), FIELD(EmkTailMap, number), FIELD(EmkTailMap, npersons), FIELD(EmkTailMap, nbuckets),
		FIELD(EmkTailMap, bucket_shift), FIELD(EmkTailMap, nnames), FIELD(EmkTailMap, nevents), FIELD(EmkTailMap, nplaces),
		FIELD(EmkTailMap, filter_mask), FIELD(EmkTailMap, whole), FIELD(EmkTailMap, shows_all), offsetof(EmkTailMap, events),
		sizeof(EmkTailPerson), FIELD(EmkTailPerson, hash), FIELD(EmkTailPerson, first), FIELD(EmkTailPerson, n), FIELD(EmkTailPerson, len),
		FIELD(EmkTailPerson, flags), EMK_TAIL_HIDDEN,
		sizeof(EmkLooseEvent), FIELD(EmkLooseEvent, at), FIELD(EmkLooseEvent, extra), FIELD(EmkLooseEvent, name),
		FIELD(EmkLooseEvent, has), EMK_EVENT_VALUE, EMK_LOOSE_KEY,
		sizeof(EmkLooseName), FIELD(EmkLooseName, offset), FIELD(EmkLooseName, len),
		sizeof(EmkTailEvent), FIELD(EmkTailEvent, at), FIELD(EmkTailEvent, profile), FIELD(EmkTailEvent, extra),
		FIELD(EmkTailEvent, name), FIELD(EmkTailEvent, has),
		sizeof(EmkTailText), FIELD(EmkTailText, offset), FIELD(EmkTailText, hash), FIELD(EmkTailText, len), FIELD(EmkTailText, flags),
		sizeof(EmkTailPart), FIELD(EmkTailPart, size), FIELD(EmkTailPart, nprofiles), FIELD(EmkTailPart, nnames),
		FIELD(EmkTailPart, nevents), FIELD(EmkTailPart, texts), FIELD(EmkTailPart, extras), offsetof(EmkTailPart, events),
		sizeof(EmkTailPages), FIELD(EmkTailPages, next), FIELD(EmkTailPages, from), FIELD(EmkTailPages, npieces),
		FIELD(EmkTailPages, piece), FIELD(EmkTailPages, ntables), FIELD(EmkTailPages, nblocks), offsetof(EmkTailPages, tables),
		sizeof(EmkTailTable), FIELD(EmkTailTable, relid), FIELD(EmkTailTable, nblocks), FIELD(EmkTailTable, first_piece)
	};
	static uint64 form = 0;

	if (form == 0)
		form = hash_bytes_extended((const unsigned char *) EMK_VERSION, strlen(EMK_VERSION),
								   hash_bytes_extended((const unsigned char *) layout, sizeof(layout), 0)) | 1;
	return form;
}

/*
 * tail.c: gathers the open tail: an aggregate whose state is a few arrays, in which every text lies by its place. So a part
 * goes from one process to another by copying, and the finished form is looked up without being read first.
 *
 * The aggregate open_tail(profile_id, at, name, properties, key_property, value_property) answers with its state as bytes; from them
 * tail_view.c makes the map that the view reads. Nobody else can make one: the type has no input.
 *
 * Bounded: a tail of more than EMK_MAX_TAIL_BYTES says so and keeps nothing; the view then works without it.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "report/tail.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

typedef struct Saved
{
	int32		vl_len_;
	uint32		nprofiles;
	uint32		nnames;
	uint32		nevents;
	uint32		texts_bytes;
	uint32		too_big;
	/* events, profiles, names, texts */
} Saved;

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

static void
give_up(EmkTail *t)
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

static uint32
keep_text(EmkTail *t, const char *text, int len)
{
	uint32		offset = (uint32) t->texts_used;

	/* the first text may be an empty one, and it too needs a place */
	if (t->texts == NULL || t->texts_used + len > t->texts_room)
	{
		t->texts_room = Max(8192, (t->texts_used + len) * 3 / 2);
		t->texts = t->texts ? repalloc(t->texts, t->texts_room) : MemoryContextAlloc(t->context, t->texts_room);
	}
	memcpy(t->texts + offset, text, len);
	t->texts_used += len;
	return offset;
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
		give_up(t);
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

static void
add(EmkTail *t, const char *id, int idlen, const char *name, int namelen, const EmkTailEvent *e, const char *key)
{
	EmkTailEvent *to;
	uint32		profile;
	uint32		number;

	if (!has_room(t))
		give_up(t);
	if (t->too_big)
		return;
	profile = number_of(t, &t->profiles, id, idlen);
	number = number_of(t, &t->names, name, namelen);
	if (number > PG_UINT16_MAX)
	{
		give_up(t);
		return;
	}
	to = next_event(t);
	*to = *e;
	to->profile = profile;
	to->name = number;
	if (e->has & EMK_TAIL_KEY)
		to->key = keep_text(t, key, e->keylen);
}

static EmkTail *
state_of(FunctionCallInfo fcinfo)
{
	MemoryContext context;

	if (!AggCheckCallContext(fcinfo, &context))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a part of an aggregate was called by itself")));
	return PG_ARGISNULL(0) ? emk_tail_start(context) : (EmkTail *) PG_GETARG_POINTER(0);
}

PG_FUNCTION_INFO_V1(emk_report_tail_add);
/* tail_add(state, profile_id, at, name, properties, key_property, value_property) */
Datum
emk_report_tail_add(PG_FUNCTION_ARGS)
{
	EmkTail    *t = state_of(fcinfo);
	EmkTailEvent e = {0};
	text	   *id;
	text	   *name;
	const char *key = NULL;
	int			keylen;

	if (t->too_big || PG_ARGISNULL(1) || PG_ARGISNULL(2) || PG_ARGISNULL(3) ||
		TIMESTAMP_NOT_FINITE(PG_GETARG_TIMESTAMPTZ(2)))
		PG_RETURN_POINTER(t);
	id = PG_GETARG_TEXT_PP(1);
	name = PG_GETARG_TEXT_PP(3);
	if (VARSIZE_ANY_EXHDR(id) > EMK_MAX_ID_BYTES || VARSIZE_ANY_EXHDR(name) > EMK_MAX_EVENT_NAME_BYTES)
	{
		give_up(t);
		PG_RETURN_POINTER(t);
	}
	e.at = PG_GETARG_TIMESTAMPTZ(2);
	if (!PG_ARGISNULL(4) && (!PG_ARGISNULL(5) || !PG_ARGISNULL(6)))
	{
		struct varlena *properties = PG_GETARG_VARLENA_P(4);

		if (!PG_ARGISNULL(5) && emk_report_property_key(properties, VARDATA_ANY(PG_GETARG_TEXT_PP(5)),
														VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(5)), &key, &keylen))
		{
			e.has |= EMK_TAIL_KEY;
			e.keylen = keylen;
		}
		if (!PG_ARGISNULL(6) && emk_report_property_value(properties, VARDATA_ANY(PG_GETARG_TEXT_PP(6)),
														  VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(6)), &e.value))
			e.has |= EMK_EVENT_VALUE;
	}
	add(t, VARDATA_ANY(id), VARSIZE_ANY_EXHDR(id), VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name), &e, key);
	PG_RETURN_POINTER(t);
}

PG_FUNCTION_INFO_V1(emk_report_tail_merge);
/* tail_merge(a, b): b's rows into a */
Datum
emk_report_tail_merge(PG_FUNCTION_ARGS)
{
	EmkTail    *t;
	EmkTail    *b;

	if (PG_ARGISNULL(0) && !PG_ARGISNULL(1))
		PG_RETURN_DATUM(PG_GETARG_DATUM(1));	/* tail_load() has put it where it may stay */
	t = state_of(fcinfo);
	if (PG_ARGISNULL(1))
		PG_RETURN_POINTER(t);
	b = (EmkTail *) PG_GETARG_POINTER(1);
	if (b->too_big && !t->too_big)
		give_up(t);
	for (uint32 i = 0; i < b->nevents && !t->too_big; i++)
	{
		const EmkTailEvent *e = &b->events[i];
		const EmkTailText *id = &b->profiles.items[e->profile];
		const EmkTailText *name = &b->names.items[e->name];

		if ((i & 0xfff) == 0)
			CHECK_FOR_INTERRUPTS();
		add(t, b->texts + id->offset, id->len, b->texts + name->offset, name->len, e, b->texts + e->key);
	}
	empty(b);
	PG_RETURN_POINTER(t);
}

PG_FUNCTION_INFO_V1(emk_report_tail_save);
/* tail_save(state): as bytes; also the aggregate's answer */
Datum
emk_report_tail_save(PG_FUNCTION_ARGS)
{
	EmkTail    *t = state_of(fcinfo);
	Size		size = sizeof(Saved) + t->nevents * sizeof(EmkTailEvent) +
		(t->profiles.n + t->names.n) * sizeof(EmkTailText) + t->texts_used;
	Saved	   *s = palloc(size);
	char	   *p = (char *) (s + 1);

	SET_VARSIZE(s, size);
	s->nprofiles = t->profiles.n;
	s->nnames = t->names.n;
	s->nevents = t->nevents;
	s->texts_bytes = t->texts_used;
	s->too_big = t->too_big;
	if (t->nevents > 0)
		memcpy(p, t->events, t->nevents * sizeof(EmkTailEvent));
	p += t->nevents * sizeof(EmkTailEvent);
	for (int i = 0; i < 2; i++)
	{
		EmkTailTexts *x = i ? &t->names : &t->profiles;

		if (x->n > 0)
			memcpy(p, x->items, x->n * sizeof(EmkTailText));
		p += x->n * sizeof(EmkTailText);
	}
	if (t->texts_used > 0)
		memcpy(p, t->texts, t->texts_used);
	PG_RETURN_POINTER(s);
}

/* Copies `n` items, with slots where they will be looked up */
static void
load_texts(EmkTail *t, EmkTailTexts *x, const char **p, uint32 n)
{
	if (n == 0)
		return;
	x->n = x->room = n;
	x->items = MemoryContextAlloc(t->context, n * sizeof(EmkTailText));
	memcpy(x->items, *p, n * sizeof(EmkTailText));
	*p += n * sizeof(EmkTailText);
	for (x->nslots = 64; x->nslots < n * 2;)
		x->nslots *= 2;
	x->slots = make_slots(MemoryContextAlloc(t->context, x->nslots * sizeof(uint32)), x->nslots, x->items, n);
}

EmkTail *
emk_tail_load(const struct varlena *saved, MemoryContext context)
{
	EmkTail    *t = emk_tail_start(context);
	Saved		s;
	const char *p = (const char *) VARDATA_ANY(saved) + sizeof(Saved) - VARHDRSZ;

	memcpy((char *) &s + VARHDRSZ, VARDATA_ANY(saved), sizeof(Saved) - VARHDRSZ);
	t->too_big = s.too_big;
	t->nevents = t->events_room = s.nevents;
	if (s.nevents > 0)
	{
		t->events = MemoryContextAlloc(context, s.nevents * sizeof(EmkTailEvent));
		memcpy(t->events, p, s.nevents * sizeof(EmkTailEvent));
		p += s.nevents * sizeof(EmkTailEvent);
	}
	load_texts(t, &t->profiles, &p, s.nprofiles);
	load_texts(t, &t->names, &p, s.nnames);
	if (s.texts_bytes > 0)
	{
		t->texts_used = t->texts_room = s.texts_bytes;
		t->texts = MemoryContextAlloc(context, s.texts_bytes);
		memcpy(t->texts, p, s.texts_bytes);
	}
	return t;
}

PG_FUNCTION_INFO_V1(emk_report_tail_load);
/* tail_load(bytea, internal): a part that another process gathered */
Datum
emk_report_tail_load(PG_FUNCTION_ARGS)
{
	MemoryContext context;

	if (!AggCheckCallContext(fcinfo, &context))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a part of an aggregate was called by itself")));
	PG_RETURN_POINTER(emk_tail_load(PG_GETARG_VARLENA_PP(0), context));
}

/* ---- the finished form ---- */

/* Copies the events so that those of a profile lie together; sets first and n of the profiles. */
static void
group_events(EmkTail *t, EmkTailEvent *to)
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
		EmkTailText *p = &profiles[t->events[i].profile];

		to[p->first + p->n++] = t->events[i];
	}
}

/* Other bits of the hash than those that choose a slot come first. */
static inline uint32
filter_bit(const EmkTailMap *m, uint32 hash)
{
	return (hash >> 16 | hash << 16) & m->filter_mask;
}

EmkTailMap *
emk_tail_finish(EmkTail *t, TimestampTz packed_to, bool whole)
{
	static uint64 last_number = 0;
	EmkTailMap *m;
	uint64	   *filter;
	uint32		nslots = 64;
	uint32		nbits = 64;
	Size		size;

	if (whole)
		give_up(t);
	while (nslots < t->profiles.n * 2)
		nslots *= 2;
	while (nbits < t->profiles.n * 8)
		nbits *= 2;
	size = sizeof(EmkTailMap) + t->nevents * sizeof(EmkTailEvent) + nbits / 8 +
		(t->profiles.n + t->names.n) * sizeof(EmkTailText) + nslots * sizeof(uint32) + t->texts_used;
	m = palloc0(size);
	SET_VARSIZE(m, size);
	m->nprofiles = t->profiles.n;
	m->nnames = t->names.n;
	m->nevents = t->nevents;
	m->nslots = nslots;
	m->packed_to = packed_to;
	m->whole = whole;
	m->number = (uint64) MyProcPid << 40 | ++last_number;
	m->filter_mask = nbits - 1;
	group_events(t, m->events);
	filter = unconstify(uint64 *, emk_tail_filter(m));
	for (uint32 i = 0; i < t->profiles.n; i++)
	{
		uint32		bit = filter_bit(m, t->profiles.items[i].hash);

		filter[bit / 64] |= UINT64CONST(1) << (bit % 64);
	}
	if (t->profiles.n > 0)
		memcpy(unconstify(EmkTailText *, emk_tail_profiles(m)), t->profiles.items, t->profiles.n * sizeof(EmkTailText));
	if (t->names.n > 0)
		memcpy(unconstify(EmkTailText *, emk_tail_names(m)), t->names.items, t->names.n * sizeof(EmkTailText));
	make_slots(unconstify(uint32 *, emk_tail_slots(m)), nslots, t->profiles.items, t->profiles.n);
	if (t->texts_used > 0)
		memcpy(unconstify(char *, emk_tail_texts(m)), t->texts, t->texts_used);
	return m;
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

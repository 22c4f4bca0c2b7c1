/*
 * timeline_ask.c: from event names to marks.
 *
 * Runs once a profile, over millions of them, so it does next to nothing twice. The names a call asks for are constants
 * nearly always: they are kept in the call site and compared by bytes. Profiles that did the same kinds of things have the
 * same list of names, byte by byte: what its codes mean for this question is kept as well, in a small table by hash, and a hit is
 * proved by comparing the whole list.
 */
#include "postgres.h"

#include "analytics/analytics.h"
#include "analytics/timeline_ask.h"
#include "base/base.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/primnodes.h"
#include "utils/array.h"
#include "utils/memutils.h"

#define SLOTS			64
#define SLOT_NAMES		32			/* longer lists of names are looked up each time */
#define SLOT_BYTES		512
#define LINE			64			/* bytes of a cache line */
#define LINES_AHEAD		6			/* a row of twenty events, its header, and the end of the one after it */

typedef struct Wanted
{
	EmkNamed	text;
	uint32		mask;
} Wanted;

typedef struct Slot
{
	uint32		bytes;			/* 0: empty */
	int			n;
	uint32		present;
	uint32		masks[SLOT_NAMES];
	uint8		names[SLOT_BYTES];
} Slot;

typedef struct Cache
{
	bool		constant;		/* the arguments can only be those that were learnt */
	MemoryContext context;		/* of the arguments and what was made of them */
	struct varlena *args[EMK_ASK_ARGS];
	Wanted	   *wanted;
	int			nwanted;
	int			nconditions;
	EmkSequence *seq;
	Slot	   *slots[SLOTS];	/* allocated one by one in fn_mcxt, emptied when the arguments change */
	uint32	   *spare;			/* masks of a list that is too long for a slot */
	int			spare_room;
	uint64		loose_number;	/* of the list of names whose masks these are; 0: none */
	uint32	   *loose_masks;
	uint32		loose_room;
} Cache;

static void
want(Cache *c, const char *text, int len, uint32 mask, int *room)
{
	if (c->nwanted == *room)
	{
		*room = Max(8, *room * 2);
		c->wanted = c->wanted ? repalloc(c->wanted, *room * sizeof(Wanted)) : palloc(*room * sizeof(Wanted));
	}
	c->wanted[c->nwanted++] = (Wanted) {.text = {.name = text, .len = len}, .mask = mask};
}

static void
want_array(Cache *c, ArrayType *arr, int bit, int *room)
{
	Datum	   *values;
	bool	   *nulls;
	int			n;

	if (ARR_NDIM(arr) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("array of event names must have one dimension")));
	deconstruct_array(arr, TEXTOID, -1, false, TYPALIGN_INT, &values, &nulls, &n);
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("at least one event name is needed")));
	if (bit == EMK_ASK_OWN_BITS)
	{
		if (n > EMK_MAX_CONDITIONS)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("more than %d conditions", EMK_MAX_CONDITIONS)));
		c->nconditions = n;
	}
	for (int i = 0; i < n; i++)
		if (!nulls[i])
			want(c, VARDATA_ANY(DatumGetPointer(values[i])), VARSIZE_ANY_EXHDR(DatumGetPointer(values[i])),
				 (uint32) 1 << (bit == EMK_ASK_OWN_BITS ? i : bit), room);
}

/* Takes over the arguments of this call; what was found for others is forgotten. */
static void
learn(const EmkAsk *ask, Cache *c, struct varlena **args)
{
	MemoryContext before;
	int			room = 0;

	c->args[0] = NULL;			/* an error on the way leaves nothing half known */
	MemoryContextReset(c->context);
	before = MemoryContextSwitchTo(c->context);
	c->wanted = NULL;
	c->nwanted = 0;
	c->nconditions = 1;
	c->seq = NULL;
	c->loose_number = 0;
	for (int i = 0; i < SLOTS; i++)
		if (c->slots[i])
			c->slots[i]->bytes = 0;
	for (int i = ask->nargs - 1; i >= 0; i--)
	{
		struct varlena *arg = palloc(VARSIZE_ANY(args[i]));

		memcpy(arg, args[i], VARSIZE_ANY(args[i]));
		if (ask->args[i].bit == EMK_ASK_PATTERN)	/* comes before the conditions, so it is compiled after them */
			c->seq = emk_analytics_compile_sequence(VARDATA_ANY(arg), VARSIZE_ANY_EXHDR(arg), c->nconditions);
		else if (ask->args[i].array)
			want_array(c, (ArrayType *) PG_DETOAST_DATUM(PointerGetDatum(arg)), ask->args[i].bit, &room);
		else
			want(c, VARDATA_ANY(arg), VARSIZE_ANY_EXHDR(arg), (uint32) 1 << ask->args[i].bit, &room);
		c->args[i] = arg;
	}
	MemoryContextSwitchTo(before);
}

/* Do all names of this call stand in the text of the query? Of parameters, some callers keep the call site for other values. */
static bool
are_constants(FunctionCallInfo fcinfo, const EmkAsk *ask)
{
	Node	   *call = fcinfo->flinfo->fn_expr;

	if (call == NULL || !IsA(call, FuncExpr))
		return false;
	for (int i = 0; i < ask->nargs; i++)
	{
		List	   *args = ((FuncExpr *) call)->args;

		if (ask->args[i].argno >= list_length(args) || !IsA(list_nth(args, ask->args[i].argno), Const))
			return false;
	}
	return true;
}

static Cache *
get_cache(FunctionCallInfo fcinfo, const EmkAsk *ask)
{
	Cache	   *c = fcinfo->flinfo->fn_extra;
	struct varlena *args[EMK_ASK_ARGS];
	bool		known;

	if (unlikely(c == NULL))
	{
		c = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(Cache));
		c->context = AllocSetContextCreate(fcinfo->flinfo->fn_mcxt, "eventmkt names", ALLOCSET_SMALL_SIZES);
		fcinfo->flinfo->fn_extra = c;
	}
	if (c->constant)
		return c;
	known = c->args[0] != NULL;
	for (int i = 0; i < ask->nargs; i++)
	{
		args[i] = PG_GETARG_VARLENA_PP(ask->args[i].argno);
		known = known && VARSIZE_ANY(args[i]) == VARSIZE_ANY(c->args[i]) &&
			memcmp(args[i], c->args[i], VARSIZE_ANY(args[i])) == 0;
	}
	if (!known)
		learn(ask, c, args);
	c->constant = are_constants(fcinfo, ask);
	return c;
}

static uint32
find_masks(const Cache *c, const EmkTimeline *tl, uint32 *masks)
{
	const uint8 *p = tl->names;
	const uint8 *end = p + tl->names_bytes;
	uint32		present = 0;

	for (int i = 0; i < tl->nnames; i++)
	{
		int			len;

		if (p >= end)
			emk_tl_malformed();
		len = *p++;
		if (len > end - p)
			emk_tl_malformed();
		masks[i] = 0;
		for (int w = 0; w < c->nwanted; w++)
			if (c->wanted[w].text.len == len && memcmp(c->wanted[w].text.name, p, len) == 0)
				masks[i] |= c->wanted[w].mask;
		present |= masks[i];
		p += len;
	}
	return present;
}

static inline uint32
hash_names(const EmkTimeline *tl)
{
	uint64		h = tl->names_bytes;
	const uint8 *p = tl->names;
	uint32		left = tl->names_bytes;
	uint64		w;

	for (; left >= 8; left -= 8, p += 8)
	{
		memcpy(&w, p, 8);
		h = (h ^ w) * UINT64CONST(0x9E3779B97F4A7C15);
	}
	for (; left > 0; left--, p++)
		h = (h ^ *p) * UINT64CONST(0x9E3779B97F4A7C15);
	return (uint32) (h >> 40);
}

/* Loose events share their list of names over all rows of a query, so it is looked up once. */
static void
find_loose_masks(FunctionCallInfo fcinfo, Cache *c, EmkAsked *asked)
{
	const EmkLoose *l = asked->loose;

	if (c->loose_number != l->number)
	{
		c->loose_number = 0;
		if (l->nnames > c->loose_room)
		{
			if (c->loose_masks)
				pfree(c->loose_masks);
			c->loose_room = 0;
			c->loose_masks = MemoryContextAlloc(fcinfo->flinfo->fn_mcxt, l->nnames * sizeof(uint32));
			c->loose_room = l->nnames;
		}
		for (uint32 i = 0; i < l->nnames; i++)
		{
			c->loose_masks[i] = 0;
			for (int w = 0; w < c->nwanted; w++)
				if (c->wanted[w].text.len == l->names[i].len &&
					memcmp(c->wanted[w].text.name, l->texts + l->names[i].offset, l->names[i].len) == 0)
					c->loose_masks[i] |= c->wanted[w].mask;
		}
		c->loose_number = l->number;
	}
	asked->loose_masks = c->loose_masks;
	for (uint32 i = 0; i < l->n; i++)
		asked->present |= c->loose_masks[l->events[i].name];
}

static void
find_packed_masks(FunctionCallInfo fcinfo, Cache *c, EmkAsked *asked)
{
	const EmkTimeline *tl = &asked->tl;

	if (tl->nnames <= SLOT_NAMES && tl->names_bytes <= SLOT_BYTES && tl->names_bytes > 0)
	{
		Slot	  **place = &c->slots[hash_names(tl) % SLOTS];
		Slot	   *slot = *place;

		if (slot == NULL)
			slot = *place = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(Slot));
		if (slot->bytes != tl->names_bytes || slot->n != tl->nnames ||
			memcmp(slot->names, tl->names, tl->names_bytes) != 0)
		{
			slot->bytes = 0;
			slot->present = find_masks(c, tl, slot->masks);
			memcpy(slot->names, tl->names, tl->names_bytes);
			slot->n = tl->nnames;
			slot->bytes = tl->names_bytes;
		}
		asked->masks = slot->masks;
		asked->present = slot->present;
		return;
	}
	if (tl->nnames > c->spare_room)
	{
		if (c->spare)
			pfree(c->spare);
		c->spare_room = 0;
		c->spare = MemoryContextAlloc(fcinfo->flinfo->fn_mcxt, tl->nnames * sizeof(uint32));
		c->spare_room = tl->nnames;
	}
	asked->present = find_masks(c, tl, c->spare);
	asked->masks = c->spare;
}

static inline void
ask_of(FunctionCallInfo fcinfo, const EmkAsk *ask, EmkAsked *asked, const struct varlena *packed, const EmkLoose *loose)
{
	Cache	   *c;

	emk_tl_open(&asked->tl, packed);
	asked->loose = loose;
	asked->masks = asked->loose_masks = NULL;
	asked->present = asked->tl.n > 0 ? 1 : 0;
	asked->nconditions = 1;
	asked->seq = NULL;
	asked->fcinfo = fcinfo;
	asked->ask = ask;
	if (ask == NULL || ask->nargs == 0)
		return;
	c = get_cache(fcinfo, ask);
	asked->nconditions = c->nconditions;
	asked->seq = c->seq;
	if (asked->tl.n == 0)
		return;
	find_packed_masks(fcinfo, c, asked);
	if (loose)
		find_loose_masks(fcinfo, c, asked);
}

/*
 * A row of a table is read while it is asked, and waits for memory. The one that a scan comes to next lies before this one in its
 * page, so it is sent for meanwhile. Where it does not, nothing but that is lost.
 */
static inline void
fetch_next(const struct varlena *value)
{
#ifdef __GNUC__
	const char *p = (const char *) value;

	for (int i = 1; i <= LINES_AHEAD; i++)
		__builtin_prefetch(p - i * LINE);
#endif
}

void
emk_ask(FunctionCallInfo fcinfo, const EmkAsk *ask, EmkAsked *asked)
{
	const EmkJoined *j = emk_timeline_joined(PG_GETARG_DATUM(0));

	if (unlikely(j != NULL))
	{
		fetch_next(j->packed);
		ask_of(fcinfo, ask, asked, j->packed, &j->loose);
	}
	else
	{
		const struct varlena *value = PG_GETARG_VARLENA_PP(0);

		fetch_next(value);
		ask_of(fcinfo, ask, asked, value, NULL);
	}
}

void
emk_ask_flat(FunctionCallInfo fcinfo, const EmkAsk *ask, EmkAsked *asked)
{
	ask_of(fcinfo, ask, asked, PG_GETARG_VARLENA_PP(0), NULL);
}

static int64
most_events(const EmkAsked *asked)
{
	return asked->tl.n + (asked->loose ? asked->loose->n : 0);
}

/* The event at i is condition-less unless masks say so; with NULL masks all meet condition 1. */
EmkMark *
emk_ask_marks(EmkAsked *asked, bool keep_unmatched, EmkMark *buf, int64 *n)
{
	const EmkTimeline *tl = &asked->tl;
	const uint8 *times = tl->times;
	EmkMark    *marks = buf;
	int64		at = tl->first;
	int64		found = 0;

	if (most_events(asked) > EMK_MARKS_ON_STACK)
		marks = palloc_extended(most_events(asked) * sizeof(EmkMark), MCXT_ALLOC_HUGE);
	for (int64 i = 0; i < tl->n; i++)
	{
		uint32		mask = asked->masks ? asked->masks[emk_tl_code(tl, i)] : 1;

		if (i > 0)
			at = (int64) ((uint64) at + emk_tl_varint(&times, tl->end));
		marks[found].at = at;
		marks[found].mask = mask;
		marks[found].key = (uint32) i;
		found += mask != 0 || keep_unmatched;
		if ((i & 0xffff) == 0xffff)
			CHECK_FOR_INTERRUPTS();
	}
	if (asked->loose && asked->loose->events[0].at <= at)
	{
		emk_ask_flat(asked->fcinfo, asked->ask, asked);
		return emk_ask_marks(asked, keep_unmatched, buf, n);
	}
	for (uint32 i = 0; asked->loose && i < asked->loose->n; i++)
	{
		const EmkLooseEvent *e = &asked->loose->events[i];
		uint32		mask = asked->masks ? asked->loose_masks[e->name] : 1;

		marks[found].at = e->at;
		marks[found].mask = mask;
		marks[found].key = (uint32) (tl->n + i);
		found += mask != 0 || keep_unmatched;
	}
	*n = found;
	return marks;
}

int64 *
emk_ask_times(EmkAsked *asked, int64 *buf, int64 *n)
{
	const EmkTimeline *tl = &asked->tl;
	const uint8 *p = tl->times;
	int64	   *times = buf;
	int64		at = tl->first;
	int64		found = 0;

	*n = 0;
	if (asked->present == 0)
		return times;
	if (most_events(asked) > EMK_MARKS_ON_STACK)
		times = palloc_extended(most_events(asked) * sizeof(int64), MCXT_ALLOC_HUGE);
	for (int64 i = 0; i < tl->n; i++)
	{
		if (i > 0)
			at = (int64) ((uint64) at + emk_tl_varint(&p, tl->end));
		times[found] = at;
		found += asked->masks ? asked->masks[emk_tl_code(tl, i)] != 0 : 1;
		if ((i & 0xffff) == 0xffff)
			CHECK_FOR_INTERRUPTS();
	}
	if (asked->loose && asked->loose->events[0].at <= at)
	{
		emk_ask_flat(asked->fcinfo, asked->ask, asked);
		return emk_ask_times(asked, buf, n);
	}
	for (uint32 i = 0; asked->loose && i < asked->loose->n; i++)
	{
		times[found] = asked->loose->events[i].at;
		found += asked->masks ? asked->loose_masks[asked->loose->events[i].name] != 0 : 1;
	}
	*n = found;
	return times;
}

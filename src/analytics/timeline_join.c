/*
 * timeline_join.c: a packed timeline with loose events behind it, as one value that is not put together until somebody needs its
 * bytes. Most questions read times and names in order: they read the packed part where it lies and then the loose events
 * (timeline_ask.c), and nothing is copied. Everybody else sees an ordinary timeline: it is an expanded object of the server, whose
 * flat form is what a builder makes of both parts.
 *
 * Rules
 *   1. Only a read-only pointer to one is given out, so nobody takes it over: it lives in the memory context it was made in, as
 *      any result does, and whoever keeps a value longer copies its flat form.
 *   2. It points to its parts. They must live as long as it does.
 *   3. Loose events are sorted by time and name. That they come after the packed ones is the rule; a question proves it as it
 *      reads, and where it does not hold takes the flat form.
 */
#include "postgres.h"

#include "analytics/analytics.h"
#include "analytics/timeline_int.h"
#include "base/base.h"

static void
join_flat(EmkJoined *j)
{
	MemoryContext before;
	EmkTimelineBuilder *b;

	if (j->flat)
		return;
	before = MemoryContextSwitchTo(j->header.eoh_context);
	b = emk_analytics_start_timeline();
	emk_analytics_add_timeline(b, j->packed, PG_INT64_MIN, PG_INT64_MAX);
	emk_analytics_add_loose(b, &j->loose);
	j->flat = emk_analytics_finish_timeline(b);
	MemoryContextSwitchTo(before);
}

static Size
flat_size(ExpandedObjectHeader *header)
{
	EmkJoined  *j = (EmkJoined *) header;

	join_flat(j);
	return VARSIZE(j->flat);
}

static void
flatten_into(ExpandedObjectHeader *header, void *result, Size size)
{
	EmkJoined  *j = (EmkJoined *) header;

	join_flat(j);
	Assert(size == VARSIZE(j->flat));
	memcpy(result, j->flat, size);
}

static const ExpandedObjectMethods methods = {flat_size, flatten_into};

Datum
emk_analytics_join(const struct varlena *packed, const EmkLoose *loose)
{
	EmkJoined  *j;
	EmkTimeline tl;

	emk_tl_open(&tl, packed);
	if (tl.n == 0)
	{
		EmkTimelineBuilder *b = emk_analytics_start_timeline();

		emk_analytics_add_loose(b, loose);
		return PointerGetDatum(emk_analytics_finish_timeline(b));
	}
	j = palloc(sizeof(EmkJoined));
	EOH_init_header(&j->header, &methods, CurrentMemoryContext);
	j->packed = packed;
	j->loose = *loose;
	j->flat = NULL;
	return EOHPGetRODatum(&j->header);
}

const EmkJoined *
emk_timeline_joined(Datum value)
{
	ExpandedObjectHeader *header;

	if (!VARATT_IS_EXTERNAL_EXPANDED(DatumGetPointer(value)))
		return NULL;
	header = DatumGetEOHP(value);
	return header->eoh_methods == &methods ? (EmkJoined *) header : NULL;
}

void
emk_analytics_add_loose(EmkTimelineBuilder *b, const EmkLoose *loose)
{
	for (uint32 i = 0; i < loose->n; i++)
	{
		const EmkLooseEvent *e = &loose->events[i];
		const EmkLooseName *name = &loose->names[e->name];
		const char *p = loose->texts + e->extra;
		const char *key = NULL;
		uint16		keylen = 0;
		int64		value = 0;

		if (e->has & EMK_EVENT_VALUE)
		{
			memcpy(&value, p, sizeof(value));
			p += sizeof(value);
		}
		if (e->has & EMK_LOOSE_KEY)
		{
			memcpy(&keylen, p, sizeof(keylen));
			key = p + sizeof(keylen);
		}
		emk_analytics_add_event(b, e->at, loose->texts + name->offset, name->len, key, keylen,
								e->has & EMK_EVENT_VALUE ? &value : NULL, NULL);
	}
}

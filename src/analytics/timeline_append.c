/*
 * timeline_append.c: a few plain events behind a packed timeline. That is what happens to most profiles from day to day, and it needs
 * no unpacking: the columns are copied and grow at their ends. The result is what a builder would make, byte by byte.
 */
#include "postgres.h"

#include "analytics/analytics.h"
#include "analytics/timeline.h"
#include "base/base.h"

/* Codes of the events' names in the timeline; false when it lacks one. */
static bool
find_codes(const EmkTimeline *tl, EmkPlainEvent *events, int n)
{
	for (int i = 0; i < n; i++)
	{
		const uint8 *p = tl->names;
		const uint8 *end = p + tl->names_bytes;

		events[i].code = -1;
		for (int k = 0; k < tl->nnames && p < end; k++)
		{
			int			len = *p++;

			if (len > end - p)
				emk_tl_malformed();
			if (len == events[i].namelen && memcmp(p, events[i].name, len) == 0)
			{
				events[i].code = k;
				break;
			}
			p += len;
		}
		if (events[i].code < 0)
			return false;
	}
	return true;
}

/* By time and name; there are few, and they are nearly in order. */
static void
sort_events(EmkPlainEvent *e, int n)
{
	for (int i = 1; i < n; i++)
	{
		EmkPlainEvent x = e[i];
		int			k = i;

		for (; k > 0 && (e[k - 1].at > x.at || (e[k - 1].at == x.at && e[k - 1].code > x.code)); k--)
			e[k] = e[k - 1];
		e[k] = x;
	}
}

static int64
last_time(const EmkTimeline *tl)
{
	const uint8 *p = tl->times;
	int64		at = tl->first;

	for (int64 i = 1; i < tl->n; i++)
		at = (int64) ((uint64) at + emk_tl_varint(&p, tl->end));
	if (p != tl->rest)
		emk_tl_malformed();
	return at;
}

static uint8 *
copy(uint8 *p, const uint8 *from, const uint8 *to)
{
	memcpy(p, from, to - from);
	return p + (to - from);
}

/* Keys and values of the timeline, and none for the n new events */
static uint8 *
put_rest(uint8 *p, const EmkTimeline *tl, int n)
{
	if (tl->flags & EMK_TL_KEYS)
	{
		p = copy(p, tl->rest, tl->key_codes + tl->n * tl->key_width);
		memset(p, 0, n * tl->key_width);
		p += n * tl->key_width;
	}
	if (tl->flags & EMK_TL_VALUES)
	{
		*p++ = tl->scale;
		p = emk_tl_put_varint(p, tl->end - tl->values + n);
		p = copy(p, tl->values, tl->end);
		for (int i = 0; i < n; i++)
			p = emk_tl_put_varint(p, 0);
	}
	return p;
}

struct varlena *
emk_analytics_append_events(const struct varlena *value, EmkPlainEvent *events, int n)
{
	uint8		times[EMK_PLAIN_EVENTS * 9 + 8];
	uint8	   *times_end = times;
	EmkTimeline tl;
	struct varlena *result;
	uint8	   *p;
	int64		at;

	Assert(n > 0 && n <= EMK_PLAIN_EVENTS);
	emk_tl_open(&tl, value);
	if (tl.n == 0 || tl.n + n > EMK_MAX_TIMELINE_EVENTS || (tl.flags & (EMK_TL_IDS | EMK_TL_WIDE_NAMES)) ||
		!find_codes(&tl, events, n))
		return NULL;
	sort_events(events, n);
	at = last_time(&tl);
	if (events[0].at <= at)
		return NULL;
	for (int i = 0; i < n; i++)
	{
		times_end = emk_tl_put_varint(times_end, (uint64) events[i].at - (uint64) at);
		at = events[i].at;
	}
	emk_tl_open_rest(&tl);
	result = palloc_extended(VARSIZE_ANY(value) + VARHDRSZ + 64 + n * (1 + 9 + 4 + 1), MCXT_ALLOC_HUGE);
	p = (uint8 *) VARDATA(result);
	*p++ = EMK_TL_VERSION;
	*p++ = tl.flags;
	p = emk_tl_put_varint(p, tl.n + n);
	p = emk_tl_put_varint(p, tl.nnames);
	p = emk_tl_put_varint(p, tl.names_bytes);
	p = emk_tl_put_varint(p, (tl.rest - tl.times) + (times_end - times));
	p = copy(p, tl.names, tl.codes + tl.n);
	for (int i = 0; i < n; i++)
		*p++ = (uint8) events[i].code;
	p = copy(p, tl.codes + tl.n, tl.rest);		/* the first time and the distances */
	p = copy(p, times, times_end);
	p = put_rest(p, &tl, n);
	if ((Size) (p - (uint8 *) result) > MaxAllocSize)
		return NULL;
	SET_VARSIZE(result, p - (uint8 *) result);
	return result;
}

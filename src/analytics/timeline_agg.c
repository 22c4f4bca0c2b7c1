/*
 * timeline_agg.c: the aggregates timeline(at, event, key, value, id) and merge(timeline), and the functions that put timelines
 * together or cut them: merge(a, b), slice, timeline of parts.
 *
 * A record of their state is a log entry: the time (that of the first event for a packed one), and a text that begins
 * with a byte of flags. Many records are from time to time replaced by one packed timeline, so the state of a long history
 * stays about as small as its timeline.
 */
#include "postgres.h"

#include "analytics/analytics.h"
#include "analytics/analytics_int.h"
#include "analytics/compact.h"
#include "analytics/timeline_int.h"
#include "base/base.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define RECORD_KEY		0x01
#define RECORD_VALUE	0x02
#define RECORD_ID		0x04
#define RECORD_PACKED	0x08	/* the rest is a packed timeline */
#define RECORD_FLAGS	0x0f

#define COMPACT_FROM	16384	/* bytes of log from which packing pays */

typedef struct Record
{
	const char *name;
	const char *key;
	int			namelen;
	int			keylen;
	int64		value;
	int64		id;
} Record;

/* ---- transition ---- */

static void
append_event(EmkState **st, int64 at, const Record *r, int flags)
{
	uint32		len = 1 + 1 + r->namelen + (flags & RECORD_KEY ? 2 + r->keylen : 0) +
		(flags & RECORD_VALUE ? 8 : 0) + (flags & RECORD_ID ? 8 : 0);
	char	   *p = emk_state_append(st, EMK_LOG_HEADER + len);

	memcpy(p, &at, 8);
	memcpy(p + 8, &len, 4);
	p += EMK_LOG_HEADER;
	*p++ = flags;
	*p++ = r->namelen;
	memcpy(p, r->name, r->namelen);
	p += r->namelen;
	if (flags & RECORD_KEY)
	{
		*p++ = r->keylen & 0xff;
		*p++ = r->keylen >> 8;
		memcpy(p, r->key, r->keylen);
		p += r->keylen;
	}
	if (flags & RECORD_VALUE)
	{
		memcpy(p, &r->value, 8);
		p += 8;
	}
	if (flags & RECORD_ID)
		memcpy(p, &r->id, 8);
}

PG_FUNCTION_INFO_V1(emk_analytics_timeline_add);
/* timeline_add(state, at, event [, key [, value [, id]]]) */
Datum
emk_analytics_timeline_add(PG_FUNCTION_ARGS)
{
	EmkState   *st;
	Record		r = {0};
	int			flags = 0;
	int			nargs = PG_NARGS();

	if (PG_ARGISNULL(1) || PG_ARGISNULL(2) || !EMK_TIME_IS_FINITE(PG_GETARG_TIMESTAMPTZ(1)))
	{
		if (PG_ARGISNULL(0))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	}
	r.name = emk_arg_text(fcinfo, 2, &r.namelen);
	if (r.namelen > EMK_MAX_EVENT_NAME_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("event name is longer than %d bytes", EMK_MAX_EVENT_NAME_BYTES)));
	if (nargs > 3 && !PG_ARGISNULL(3))
	{
		r.key = emk_arg_text(fcinfo, 3, &r.keylen);
		flags |= RECORD_KEY;
		if (r.keylen > EMK_MAX_KEY_BYTES)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("event key is longer than %d bytes", EMK_MAX_KEY_BYTES)));
	}
	if (nargs > 4 && !PG_ARGISNULL(4))
	{
		r.value = emk_analytics_value(PG_GETARG_NUMERIC(4));
		flags |= RECORD_VALUE;
	}
	if (nargs > 5 && !PG_ARGISNULL(5))
	{
		r.id = PG_GETARG_INT64(5);
		flags |= RECORD_ID;
	}
	st = emk_state_take(fcinfo, EMK_STATE_TIMELINE, 0, "", 0);
	append_event(&st, PG_GETARG_TIMESTAMPTZ(1), &r, flags);
	PG_RETURN_POINTER(st);
}

PG_FUNCTION_INFO_V1(emk_analytics_timeline_merge_add);
/* merge_add(state, timeline) */
Datum
emk_analytics_timeline_merge_add(PG_FUNCTION_ARGS)
{
	EmkState   *st;
	struct varlena *value;
	EmkTimeline tl;
	char		flags = RECORD_PACKED;
	uint32		size;
	uint32		len;
	char	   *p;

	if (PG_ARGISNULL(1))
	{
		if (PG_ARGISNULL(0))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	}
	value = PG_GETARG_VARLENA_PP(1);
	emk_tl_open(&tl, value);
	size = VARSIZE_ANY_EXHDR(value);
	len = size + 1;
	st = emk_state_take(fcinfo, EMK_STATE_TIMELINE, 0, "", 0);
	p = emk_state_append(&st, EMK_LOG_HEADER + len);
	memcpy(p, &tl.first, 8);
	memcpy(p + 8, &len, 4);
	p[EMK_LOG_HEADER] = flags;
	memcpy(p + EMK_LOG_HEADER + 1, VARDATA_ANY(value), size);
	PG_RETURN_POINTER(st);
}

/* ---- reading the log ---- */

static void
add_record(EmkTimelineBuilder *b, int64 at, const char *p, int len)
{
	const char *end = p + len;
	Record		r = {0};
	int			flags;

	if (len < 1 || (*p & ~RECORD_FLAGS) != 0)
		emk_state_malformed();
	flags = *p++;
	if (flags & RECORD_PACKED)
	{
		emk_timeline_add_bytes(b, (const uint8 *) p, end - p);
		return;
	}
	if (p >= end)
		emk_state_malformed();
	r.namelen = (uint8) *p++;
	if (r.namelen > end - p)
		emk_state_malformed();
	r.name = p;
	p += r.namelen;
	if (flags & RECORD_KEY)
	{
		if (end - p < 2 || (r.keylen = (uint8) p[0] | (uint8) p[1] << 8) > end - p - 2)
			emk_state_malformed();
		r.key = p + 2;
		p += 2 + r.keylen;
	}
	if (end - p != (flags & RECORD_VALUE ? 8 : 0) + (flags & RECORD_ID ? 8 : 0))
		emk_state_malformed();
	if (flags & RECORD_VALUE)
	{
		memcpy(&r.value, p, 8);
		p += 8;
	}
	if (flags & RECORD_ID)
		memcpy(&r.id, p, 8);
	emk_analytics_add_event(b, at, r.name, r.namelen, r.key, r.keylen, flags & RECORD_VALUE ? &r.value : NULL,
							flags & RECORD_ID ? &r.id : NULL);
}

/* The log when it is one packed timeline and nothing else: that needs no work. */
static struct varlena *
only_part(EmkState *st)
{
	const char *p = emk_state_records(st);
	const char *end = p + st->used;
	const char *record;
	struct varlena *result;
	int			len;

	if (st->used < EMK_LOG_HEADER + 1)
		return NULL;
	(void) emk_log_next(&p, end, &record, &len);
	if (p != end || len < 1 || record[0] != RECORD_PACKED)
		return NULL;
	result = palloc(VARHDRSZ + len - 1);
	SET_VARSIZE(result, VARHDRSZ + len - 1);
	memcpy(VARDATA(result), record + 1, len - 1);
	return result;
}

static struct varlena *
pack_log(EmkState *st)
{
	EmkTimelineBuilder *b = emk_analytics_start_timeline();
	const char *p = emk_state_records(st);
	const char *end = p + st->used;

	while (p < end)
	{
		const char *record;
		int			len;
		int64		at = emk_log_next(&p, end, &record, &len);

		add_record(b, at, record, len);
	}
	return emk_analytics_finish_timeline(b);
}

void
emk_timeline_compact(EmkState *st)
{
	MemoryContext work;
	MemoryContext before;
	struct varlena *packed;
	uint32		size;
	uint32		len;
	char	   *p = emk_state_records(st);

	if (st->used < COMPACT_FROM || st->width != 0)
		return;
	work = AllocSetContextCreate(CurrentMemoryContext, "eventmkt timeline", ALLOCSET_DEFAULT_SIZES);
	before = MemoryContextSwitchTo(work);
	packed = pack_log(st);
	MemoryContextSwitchTo(before);
	size = VARSIZE_ANY_EXHDR(packed);
	len = size + 1;
	if (EMK_LOG_HEADER + len < st->used)
	{
		int64		at = 0;

		memcpy(p, &at, 8);
		memcpy(p + 8, &len, 4);
		p[EMK_LOG_HEADER] = RECORD_PACKED;
		memcpy(p + EMK_LOG_HEADER + 1, VARDATA_ANY(packed), size);
		st->used = EMK_LOG_HEADER + len;
	}
	MemoryContextDelete(work);
}

PG_FUNCTION_INFO_V1(emk_analytics_timeline);
/* Final function; NULL without rows */
Datum
emk_analytics_timeline(PG_FUNCTION_ARGS)
{
	EmkState   *st = emk_state_view(fcinfo, EMK_STATE_TIMELINE);

	if (st == NULL)
		PG_RETURN_NULL();
	if (st->width != 0)
		emk_state_malformed();
	if (AggCheckCallContext(fcinfo, NULL))
	{
		struct varlena *part = only_part(st);

		if (part)
			PG_RETURN_POINTER(part);
	}
	PG_RETURN_POINTER(pack_log(st));
}

/* ---- putting together and cutting ---- */

PG_FUNCTION_INFO_V1(emk_analytics_timeline_merge);
/* merge(a, b); NULL counts as no events, of two NULLs the merge is NULL */
Datum
emk_analytics_timeline_merge(PG_FUNCTION_ARGS)
{
	EmkTimelineBuilder *b;

	if (PG_ARGISNULL(0) && PG_ARGISNULL(1))
		PG_RETURN_NULL();
	if (PG_ARGISNULL(0))
		PG_RETURN_DATUM(PG_GETARG_DATUM(1));
	if (PG_ARGISNULL(1))
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	b = emk_analytics_start_timeline();
	emk_analytics_add_timeline(b, PG_GETARG_VARLENA_PP(0), PG_INT64_MIN, PG_INT64_MAX);
	emk_analytics_add_timeline(b, PG_GETARG_VARLENA_PP(1), PG_INT64_MIN, PG_INT64_MAX);
	PG_RETURN_POINTER(emk_analytics_finish_timeline(b));
}

PG_FUNCTION_INFO_V1(emk_analytics_timeline_slice);
/* slice(timeline, from, to): from <= at < to; NULL is open */
Datum
emk_analytics_timeline_slice(PG_FUNCTION_ARGS)
{
	EmkTimelineBuilder *b;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	b = emk_analytics_start_timeline();
	emk_analytics_add_timeline(b, PG_GETARG_VARLENA_PP(0),
							   PG_ARGISNULL(1) ? PG_INT64_MIN : PG_GETARG_TIMESTAMPTZ(1),
							   PG_ARGISNULL(2) ? PG_INT64_MAX : PG_GETARG_TIMESTAMPTZ(2));
	PG_RETURN_POINTER(emk_analytics_finish_timeline(b));
}

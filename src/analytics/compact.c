/*
 * compact.c: records of the kinds whose log can be made smaller without changing an answer, and how.
 *
 *   retention   condition bits (4)               -> one, all bits
 *   streak      day (4)                          -> each day once
 *   hours       hour (1), count (8)              -> one an hour
 *   cohort      period (4), count (8)            -> one a period
 *   touches     time (8), length (4), value      -> the first, or the last
 *   top values  count (8), length (4), value     -> one a value
 *   timeline    see timeline_agg.c               -> one packed timeline
 * Shrinking runs when the log is full, so its cost is spread over the rows that filled it.
 */
#include "postgres.h"

#include "analytics/analytics.h"
#include "analytics/analytics_int.h"
#include "analytics/compact.h"
#include "base/base.h"
#include "miscadmin.h"
#include "common/int.h"

int64
emk_log_next(const char **p, const char *end, const char **value, int *len)
{
	int64		number;
	uint32		n;

	if (end - *p < EMK_LOG_HEADER)
		emk_state_malformed();
	memcpy(&number, *p, sizeof(number));
	memcpy(&n, *p + sizeof(number), sizeof(n));
	if (n > end - *p - EMK_LOG_HEADER)
		emk_state_malformed();
	*value = *p + EMK_LOG_HEADER;
	*len = n;
	*p += EMK_LOG_HEADER + n;
	return number;
}

void
emk_log_append(EmkState **st, int64 number, const char *value, int len)
{
	uint32		n = len;
	char	   *p = emk_state_append(st, EMK_LOG_HEADER + n);

	memcpy(p, &number, sizeof(number));
	memcpy(p + sizeof(number), &n, sizeof(n));
	memcpy(p + EMK_LOG_HEADER, value, n);
}

#define ST_SORT sort_days
#define ST_ELEMENT_TYPE int32
#define ST_COMPARE(a, b) ((*(a) > *(b)) - (*(a) < *(b)))
#define ST_CHECK_FOR_INTERRUPTS
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

int64
emk_distinct_days(int32 *days, int64 n)
{
	int64		kept = 0;

	sort_days(days, n);
	for (int64 i = 0; i < n; i++)
		if (kept == 0 || days[i] != days[kept - 1])
			days[kept++] = days[i];
	return kept;
}

static void
compact_days(EmkState *st)
{
	int64		n = emk_state_count(st);
	int32	   *days = palloc(Max(st->used, 4));

	memcpy(days, emk_state_records(st), st->used);
	n = emk_distinct_days(days, n);
	memcpy(emk_state_records(st), days, n * sizeof(int32));
	st->used = n * sizeof(int32);
	pfree(days);
}

uint32
emk_union_masks(EmkState *st)
{
	uint32		all = 0;

	for (int64 i = 0; i < emk_state_count(st); i++)
	{
		uint32		mask;

		memcpy(&mask, emk_state_records(st) + i * sizeof(mask), sizeof(mask));
		all |= mask;
	}
	return all;
}

/* Adds up records of (position, count); returns one more than the highest position. */
int
emk_sum_counts(EmkState *st, int position_bytes, int64 *counts, int limit)
{
	const char *p = emk_state_records(st);
	int			top = 0;

	memset(counts, 0, limit * sizeof(int64));
	for (int64 i = 0; i < emk_state_count(st); i++, p += st->width)
	{
		uint32		position = 0;
		int64		count;

		if (position_bytes == 1)
			position = (uint8) *p;
		else
			memcpy(&position, p, sizeof(position));
		memcpy(&count, p + position_bytes, sizeof(count));
		if (position >= limit || pg_add_s64_overflow(counts[position], count, &counts[position]))
			emk_state_malformed();
		top = Max(top, position + 1);
	}
	return top;
}

void
emk_put_count(char *p, int position_bytes, uint32 position, int64 count)
{
	if (position_bytes == 1)
		*p = (char) position;
	else
		memcpy(p, &position, sizeof(position));
	memcpy(p + position_bytes, &count, sizeof(count));
}

static void
compact_counts(EmkState *st, int position_bytes, int limit)
{
	int64	   *counts = palloc(limit * sizeof(int64));
	int			top = emk_sum_counts(st, position_bytes, counts, limit);
	char	   *p = emk_state_records(st);

	if (top * st->width >= st->used)
	{
		pfree(counts);
		return;
	}
	for (int i = 0; i < top; i++, p += st->width)
		emk_put_count(p, position_bytes, i, counts[i]);
	st->used = top * st->width;
	pfree(counts);
}

/* The earliest record and of those the smallest value; for last touch the latest and of those the greatest. */
bool
emk_find_touch(EmkState *st, int64 *at, const char **value, int *len)
{
	const char *p = emk_state_records(st);
	const char *end = p + st->used;
	int			sign = st->kind == EMK_STATE_FIRST_TOUCH ? 1 : -1;
	bool		found = false;

	while (p < end)
	{
		const char *v;
		int			l;
		int64		t = emk_log_next(&p, end, &v, &l);
		int			c = !found ? -1 : t != *at ? (t < *at ? -sign : sign) : sign * emk_compare_text(v, l, *value, *len);

		if (c < 0)
		{
			*at = t;
			*value = v;
			*len = l;
			found = true;
		}
	}
	return found;
}

static void
compact_touch(EmkState *st)
{
	int64		at;
	const char *value;
	int			len;

	if (!emk_find_touch(st, &at, &value, &len))
		return;
	memmove(emk_state_records(st), value - EMK_LOG_HEADER, EMK_LOG_HEADER + len);
	st->used = EMK_LOG_HEADER + len;
}

static inline int
compare_values(const EmkNamed *a, const EmkNamed *b)
{
	return emk_compare_text(a->name, a->len, b->name, b->len);
}

#define ST_SORT sort_values
#define ST_ELEMENT_TYPE EmkNamed
#define ST_COMPARE(a, b) compare_values(a, b)
#define ST_CHECK_FOR_INTERRUPTS
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

int64
emk_count_values(EmkNamed *rows, int64 n)
{
	int64		kept = 0;

	sort_values(rows, n);
	for (int64 i = 0; i < n; i++)
	{
		if ((i & 0xffff) == 0)
			CHECK_FOR_INTERRUPTS();
		if (kept > 0 && compare_values(&rows[kept - 1], &rows[i]) == 0)
		{
			if (pg_add_s64_overflow(rows[kept - 1].number, rows[i].number, &rows[kept - 1].number))
				emk_state_malformed();
		}
		else
			rows[kept++] = rows[i];
	}
	return kept;
}

EmkNamed *
emk_log_values(EmkState *st, int64 *n)
{
	const char *p = emk_state_records(st);
	const char *end = p + st->used;
	EmkNamed   *rows = palloc_extended((st->used / EMK_LOG_HEADER + 1) * sizeof(EmkNamed), MCXT_ALLOC_HUGE);

	*n = 0;
	while (p < end)
	{
		EmkNamed   *row = &rows[(*n)++];

		if ((*n & 0xffff) == 0)
			CHECK_FOR_INTERRUPTS();
		row->number = emk_log_next(&p, end, &row->name, &row->len);
	}
	*n = emk_count_values(rows, *n);
	return rows;
}

static void
compact_values(EmkState *st)
{
	int64		n;
	EmkNamed   *rows = emk_log_values(st, &n);
	char	   *copy = palloc_extended(Max(st->used, 1), MCXT_ALLOC_HUGE);
	uint32		used = 0;

	for (int64 i = 0; i < n; i++)
	{
		uint32		len = rows[i].len;

		memcpy(copy + used, &rows[i].number, sizeof(int64));
		memcpy(copy + used + sizeof(int64), &len, sizeof(len));
		memcpy(copy + used + EMK_LOG_HEADER, rows[i].name, len);
		used += EMK_LOG_HEADER + len;
	}
	memcpy(emk_state_records(st), copy, used);
	st->used = used;
	pfree(copy);
	pfree(rows);
}

void
emk_state_compact(EmkState *st)
{
	switch ((EmkStateKind) st->kind)
	{
		case EMK_STATE_RETENTION:
			if (st->width == sizeof(uint32) && st->used > 0)
			{
				uint32		all = emk_union_masks(st);

				memcpy(emk_state_records(st), &all, sizeof(all));
				st->used = sizeof(all);
			}
			break;
		case EMK_STATE_STREAK:
			if (st->width == sizeof(int32))
				compact_days(st);
			break;
		case EMK_STATE_HOURS:
			if (st->width == EMK_HOUR_WIDTH)
				compact_counts(st, 1, 24);
			break;
		case EMK_STATE_COHORT:
			if (st->width == EMK_COHORT_WIDTH)
				compact_counts(st, 4, EMK_MAX_PERIODS);
			break;
		case EMK_STATE_FIRST_TOUCH:
		case EMK_STATE_LAST_TOUCH:
			compact_touch(st);
			break;
		case EMK_STATE_TOP_VALUES:
			compact_values(st);
			break;
		case EMK_STATE_TIMELINE:
			emk_timeline_compact(st);
			break;
		default:
			break;
	}
}

/*
 * window.c: openings without closing, the busiest window, sessions, cadence: questions about the distance of events.
 * All edges are inclusive, and several events of one time count as the text of each function says.
 */
#include "postgres.h"

#include "analytics/analytics.h"
#include "base/base.h"
#include "miscadmin.h"

#define OPENS	1
#define CLOSES	2
#define NEVER	PG_INT64_MAX		/* no such event follows; times are always below */

/* How many of n ascending times lie before t: mostly nearly all. */
static int64
count_before(const int64 *times, int64 n, int64 t)
{
	int64		high = n;		/* from here on none does */
	int64		low;
	int64		step = 1;

	while (high >= step && times[high - step] >= t)
	{
		high -= step;
		step *= 2;
	}
	low = high >= step ? high - step + 1 : 0;
	while (low < high)
	{
		int64		mid = low + (high - low) / 2;

		if (times[mid] < t)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/*
 * One run of marks, backwards, a time after the other. An opening at t is closed by a closing in [t, t + within]. A mark that is
 * both (any order after an order) repeats an opening of its own time and closes those before it. `general`, ascending, are
 * closings that count for every key; they open nothing.
 */
static int64
find_in_run(const EmkMark *marks, int64 n, const int64 *general, int64 ngeneral, int64 within, bool debounce,
			EmkMark *out)
{
	int64		found = 0;
	int64		next_closing = NEVER;
	int64		next_opening = NEVER;
	int64		g = ngeneral;
	int64		i = n;

	while (i > 0)
	{
		int64		t = marks[i - 1].at;
		uint32		key = marks[i - 1].key;
		int64		until = emk_analytics_until(t, within);
		bool		opens = false;
		bool		closes = false;
		bool		closed = false;

		while (i > 0 && marks[i - 1].at == t)
		{
			uint32		mask = marks[--i].mask;

			opens |= (mask & OPENS) != 0;
			closes |= (mask & CLOSES) != 0;
			closed |= (mask & (OPENS | CLOSES)) == CLOSES;
			if ((i & 0xffff) == 0)
				CHECK_FOR_INTERRUPTS();
		}
		g = count_before(general, g, t);
		if (opens)
		{
			closed |= next_closing != NEVER && next_closing <= until;
			closed |= g < ngeneral && general[g] <= until;
			closed |= debounce && next_opening != NEVER && next_opening <= until;
			if (!closed)
				out[found++] = (EmkMark) {.at = t, .mask = OPENS, .key = key};
			next_opening = t;
		}
		if (closes)
			next_closing = t;
	}
	return found;
}

int64
emk_analytics_find_abandoned(const EmkMark *marks, int64 n, int64 within, bool debounce, int64 *out)
{
	EmkMark    *found = palloc_extended(Max(n, 1) * sizeof(EmkMark), MCXT_ALLOC_HUGE);
	int64		count = find_in_run(marks, n, NULL, 0, within, debounce, found);

	for (int64 i = 0; i < count; i++)
	{
		out[i] = found[count - 1 - i].at;
		if ((i & 0xffff) == 0)
			CHECK_FOR_INTERRUPTS();
	}
	pfree(found);
	return count;
}

static inline int
compare_found(const EmkMark *a, const EmkMark *b)
{
	if (a->at != b->at)
		return a->at < b->at ? -1 : 1;
	return (a->key > b->key) - (a->key < b->key);
}

#define ST_SORT sort_found
#define ST_ELEMENT_TYPE EmkMark
#define ST_COMPARE(a, b) compare_found(a, b)
#define ST_CHECK_FOR_INTERRUPTS
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

int64
emk_analytics_find_abandoned_keys(const EmkMark *marks, int64 n, int64 within, bool debounce, EmkMark *out)
{
	int64		found = 0;
	int64		ngeneral = 0;
	int64	   *general;
	int64		i = 0;

	CHECK_FOR_INTERRUPTS();
	for (; i < n && marks[i].key == 0; i++)
		if ((i & 0xffff) == 0)
			CHECK_FOR_INTERRUPTS();
	general = palloc_extended(Max(i, 1) * sizeof(int64), MCXT_ALLOC_HUGE);
	for (int64 k = 0; k < i; k++)
	{
		if (marks[k].mask & CLOSES)
			general[ngeneral++] = marks[k].at;
		if ((k & 0xffff) == 0)
			CHECK_FOR_INTERRUPTS();
	}
	while (i < n)
	{
		int64		first = i;

		for (; i < n && marks[i].key == marks[first].key; i++)
			if ((i & 0xffff) == 0)
				CHECK_FOR_INTERRUPTS();
		found += find_in_run(marks + first, i - first, general, ngeneral, within, debounce, out + found);
	}
	sort_found(out, found);
	pfree(general);
	return found;
}

int64
emk_analytics_max_in_window(const int64 *at, int64 n, int64 within)
{
	int64		from = 0;
	int64		most = 0;

	for (int64 to = 0; to < n; to++)
	{
		while (emk_analytics_until(at[from], within) < at[to])
			from++;
		most = Max(most, to - from + 1);
		if ((to & 0xffff) == 0)
			CHECK_FOR_INTERRUPTS();
	}
	return most;
}

int64
emk_analytics_find_sessions(const int64 *at, int64 n, int64 gap, EmkSession *out)
{
	int64		found = 0;

	for (int64 i = 0; i < n; i++)
	{
		if (found > 0 && at[i] <= emk_analytics_until(out[found - 1].to, gap))
		{
			out[found - 1].to = at[i];
			out[found - 1].events++;
		}
		else
			out[found++] = (EmkSession) {.from = at[i], .to = at[i], .events = 1};
		if ((i & 0xffff) == 0)
			CHECK_FOR_INTERRUPTS();
	}
	return found;
}

/* Several events of one time are one: two rows of one order are no gap of nothing. */
void
emk_analytics_find_cadence(const int64 *at, int64 n, EmkCadence *out)
{
	int64	   *gaps = palloc_extended(Max(n, 1) * sizeof(int64), MCXT_ALLOC_HUGE);
	int64		ngaps = 0;

	out->times = n > 0 ? 1 : 0;
	out->gap = 0;
	out->last = n > 0 ? at[n - 1] : 0;
	for (int64 i = 1; i < n; i++)
	{
		if (at[i] > at[i - 1])
			gaps[ngaps++] = (int64) ((uint64) at[i] - (uint64) at[i - 1]) & PG_INT64_MAX;
		if ((i & 0xffff) == 0)
			CHECK_FOR_INTERRUPTS();
	}
	out->times += ngaps;
	if (ngaps > 0)
	{
		emk_analytics_sort_int64(gaps, ngaps);
		out->gap = gaps[(ngaps - 1) / 2];
		out->gap += (gaps[ngaps / 2] - out->gap) / 2;
	}
	pfree(gaps);
}

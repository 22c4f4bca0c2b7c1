/*
 * timeline_fn.c: every question asked of a timeline. Each function is thin: it turns event names into marks (timeline_ask.c)
 * and hands them to the same core that the aggregate of that name uses.
 */
#include "postgres.h"

#include "analytics/analytics.h"
#include "analytics/analytics_int.h"
#include "analytics/compact.h"
#include "analytics/timeline_ask.h"
#include "base/base.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"

/* Events named by the last argument, if it is there: (…, VARIADIC events text[]) beside (…) */
static const EmkAsk *
named_after(FunctionCallInfo fcinfo, int argno, EmkAsk *ask, int bit)
{
	if (PG_NARGS() <= argno)
		return NULL;
	*ask = (EmkAsk) {.nargs = 1, .args = {{.argno = argno, .bit = bit, .array = true}}};
	return ask;
}

/* ---- what is in it ---- */

PG_FUNCTION_INFO_V1(emk_analytics_tl_count);
/* count(timeline [, events]) */
Datum
emk_analytics_tl_count(PG_FUNCTION_ARGS)
{
	EmkAsk		ask;
	EmkAsked	a;
	int64		n = 0;

	emk_ask(fcinfo, named_after(fcinfo, 1, &ask, 0), &a);
	if (a.masks == NULL || a.present == 0)
		PG_RETURN_INT64(a.masks ? 0 : a.tl.n + (a.loose ? a.loose->n : 0));
	for (int64 i = 0; i < a.tl.n; i++)
		n += a.masks[emk_tl_code(&a.tl, i)] != 0;
	for (uint32 i = 0; a.loose && i < a.loose->n; i++)
		n += a.loose_masks[a.loose->events[i].name] != 0;
	PG_RETURN_INT64(n);
}

PG_FUNCTION_INFO_V1(emk_analytics_tl_sum);
/* sum(timeline [, events]); NULL when none of them has a value */
Datum
emk_analytics_tl_sum(PG_FUNCTION_ARGS)
{
	static const int64 units[] = {1000000, 100000, 10000, 1000, 100, 10, 1};
	EmkAsk		ask;
	EmkAsked	a;
	const uint8 *p;
	int64		low = 0;		/* millionths below a million million millions, the rest in high */
	int64		high = 0;
	bool		any = false;
	Datum		sum;

	emk_ask_flat(fcinfo, named_after(fcinfo, 1, &ask, 0), &a);
	if (a.present == 0 || !(a.tl.flags & EMK_TL_VALUES))
		PG_RETURN_NULL();
	emk_tl_open_rest(&a.tl);
	p = a.tl.values;
	for (int64 i = 0; i < a.tl.n; i++)
	{
		uint64		v = emk_tl_varint(&p, a.tl.end);
		int64		value;

		if (v == 0 || (a.masks && a.masks[emk_tl_code(&a.tl, i)] == 0))
			continue;
		if (__builtin_mul_overflow(emk_tl_unzigzag(v - 1), units[a.tl.scale], &value))
			emk_tl_malformed();
		any = true;
		high += value / INT64CONST(1000000000000000);
		low += value % INT64CONST(1000000000000000);
		high += low / INT64CONST(1000000000000000);
		low %= INT64CONST(1000000000000000);
	}
	if (!any)
		PG_RETURN_NULL();
	/* high counts 10^15 millionths, that is 10^9 */
	sum = DirectFunctionCall2(numeric_mul, NumericGetDatum(int64_to_numeric(high)),
							  NumericGetDatum(int64_to_numeric(INT64CONST(1000000000))));
	sum = DirectFunctionCall2(numeric_add, sum, NumericGetDatum(int64_div_fast_to_numeric(low, EMK_VALUE_SCALE)));
	PG_RETURN_DATUM(DirectFunctionCall1(numeric_trim_scale, sum));
}

static Datum
edge_time(FunctionCallInfo fcinfo, bool last)
{
	EmkAsk		ask;
	EmkAsked	a;
	int64		buf[EMK_MARKS_ON_STACK];
	int64	   *at;
	int64		n;

	emk_ask(fcinfo, named_after(fcinfo, 1, &ask, 0), &a);
	at = emk_ask_times(&a, buf, &n);
	if (n == 0)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(at[last ? n - 1 : 0]);
}

PG_FUNCTION_INFO_V1(emk_analytics_tl_first_at);
Datum
emk_analytics_tl_first_at(PG_FUNCTION_ARGS)
{
	return edge_time(fcinfo, false);
}

PG_FUNCTION_INFO_V1(emk_analytics_tl_last_at);
Datum
emk_analytics_tl_last_at(PG_FUNCTION_ARGS)
{
	return edge_time(fcinfo, true);
}

/* ---- funnel(timeline, within, VARIADIC events), funnel(timeline, within, events, mode) ---- */

static int
ask_funnel(FunctionCallInfo fcinfo, int64 *times)
{
	EmkAsk		ask;
	EmkAsked	a;
	EmkFunnel	f;
	EmkMark		buf[EMK_MARKS_ON_STACK];
	EmkMark    *marks;
	int64		n;
	int			depth;

	emk_ask(fcinfo, named_after(fcinfo, 2, &ask, EMK_ASK_OWN_BITS), &a);
	f.within = emk_arg_span(fcinfo, 1, "funnel window");
	f.nsteps = a.nconditions;
	f.modes = PG_NARGS() > 3 ? emk_analytics_funnel_modes(emk_arg_cstring(fcinfo, 3, "funnel mode")) : 0;
	if (!(a.present & 1))
		return 0;
	marks = emk_ask_marks(&a, f.modes & EMK_FUNNEL_STRICT_ORDER, buf, &n);
	if (f.modes)
		emk_analytics_sort_marks(marks, n);
	depth = emk_analytics_run_funnel(&f, marks, n, times);
	if (marks != buf)
		pfree(marks);
	return depth;
}

PG_FUNCTION_INFO_V1(emk_analytics_tl_funnel);
Datum
emk_analytics_tl_funnel(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(ask_funnel(fcinfo, NULL));
}

PG_FUNCTION_INFO_V1(emk_analytics_tl_funnel_times);
Datum
emk_analytics_tl_funnel_times(PG_FUNCTION_ARGS)
{
	int64		times[EMK_MAX_CONDITIONS];
	int			n = ask_funnel(fcinfo, times);

	PG_RETURN_DATUM(emk_result_times(times, n));
}

/* ---- sequence_…(timeline, pattern, VARIADIC events) ---- */

static int64
ask_sequence(FunctionCallInfo fcinfo, int64 limit, int64 *times, int *ntimes)
{
	static const EmkAsk ask = {.nargs = 2, .args = {
		{.argno = 1, .bit = EMK_ASK_PATTERN},
		{.argno = 2, .bit = EMK_ASK_OWN_BITS, .array = true},
	}};
	EmkAsked	a;
	EmkMark		buf[EMK_MARKS_ON_STACK];
	EmkMark    *marks;
	int64		n;
	int64		found;

	emk_ask(fcinfo, &ask, &a);
	if (a.present == 0)
		return 0;
	marks = emk_ask_marks(&a, false, buf, &n);
	emk_analytics_sort_marks(marks, n);
	found = emk_analytics_run_sequence(a.seq, marks, n, limit, times);
	if (ntimes)
		*ntimes = found > 0 ? emk_analytics_sequence_length(a.seq) : 0;
	if (marks != buf)
		pfree(marks);
	return found;
}

PG_FUNCTION_INFO_V1(emk_analytics_tl_sequence_match);
Datum
emk_analytics_tl_sequence_match(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(ask_sequence(fcinfo, 1, NULL, NULL) > 0);
}

PG_FUNCTION_INFO_V1(emk_analytics_tl_sequence_count);
Datum
emk_analytics_tl_sequence_count(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(ask_sequence(fcinfo, PG_INT64_MAX, NULL, NULL));
}

PG_FUNCTION_INFO_V1(emk_analytics_tl_sequence_events);
Datum
emk_analytics_tl_sequence_events(PG_FUNCTION_ARGS)
{
	int64		times[EMK_MAX_CONDITIONS];
	int			n = 0;

	ask_sequence(fcinfo, 1, times, &n);
	PG_RETURN_DATUM(emk_result_times(times, n));
}

/* ---- abandoned(timeline, opened, closed, within, debounce, per_key), names as text or text[] ---- */

static const EmkAsk ask_opened = {.nargs = 2, .args = {{.argno = 1, .bit = 0}, {.argno = 2, .bit = 1}}};
static const EmkAsk ask_opened_arrays = {.nargs = 2, .args = {
	{.argno = 1, .bit = 0, .array = true},
	{.argno = 2, .bit = 1, .array = true},
}};

/* The keys of the marks: emk_ask_marks() leaves the number of the event there. */
static void
key_marks(EmkTimeline *tl, EmkMark *marks, int64 n)
{
	emk_tl_open_rest(tl);
	for (int64 i = 0; i < n; i++)
		marks[i].key = tl->key_codes ? emk_tl_key_code(tl, marks[i].key) : 0;
	emk_analytics_sort_keyed(marks, n);
}

static Datum
ask_abandoned(FunctionCallInfo fcinfo, const EmkAsk *ask)
{
	EmkAsked	a;
	EmkMark		buf[EMK_MARKS_ON_STACK];
	int64		out_buf[EMK_MARKS_ON_STACK];
	EmkMark    *marks;
	int64	   *out = out_buf;
	int64		n;
	int64		found = 0;
	int64		within;
	bool		debounce = PG_GETARG_BOOL(4);
	bool		per_key = PG_GETARG_BOOL(5);

	if (per_key)
		emk_ask_flat(fcinfo, ask, &a);
	else
		emk_ask(fcinfo, ask, &a);
	within = emk_arg_span(fcinfo, 3, "window");
	if (!(a.present & 1))
		PG_RETURN_DATUM(emk_result_times(NULL, 0));
	marks = emk_ask_marks(&a, false, buf, &n);
	if (n > EMK_MARKS_ON_STACK)
		out = palloc_extended(n * sizeof(int64), MCXT_ALLOC_HUGE);
	if (per_key)
	{
		EmkMark    *rows = palloc_extended(Max(n, 1) * sizeof(EmkMark), MCXT_ALLOC_HUGE);
		int64		rows_found;

		key_marks(&a.tl, marks, n);
		rows_found = emk_analytics_find_abandoned_keys(marks, n, within, debounce, rows);
		for (int64 i = 0; i < rows_found; i++)
			if (found == 0 || rows[i].at != out[found - 1])
				out[found++] = rows[i].at;
	}
	else
		found = emk_analytics_find_abandoned(marks, n, within, debounce, out);
	PG_RETURN_DATUM(emk_result_times(out, found));
}

PG_FUNCTION_INFO_V1(emk_analytics_tl_abandoned);
Datum
emk_analytics_tl_abandoned(PG_FUNCTION_ARGS)
{
	return ask_abandoned(fcinfo, &ask_opened);
}

PG_FUNCTION_INFO_V1(emk_analytics_tl_abandoned_any);
Datum
emk_analytics_tl_abandoned_any(PG_FUNCTION_ARGS)
{
	return ask_abandoned(fcinfo, &ask_opened_arrays);
}

PG_FUNCTION_INFO_V1(emk_analytics_tl_abandoned_keys);
/* abandoned_keys(timeline, opened, closed, within, debounce) */
Datum
emk_analytics_tl_abandoned_keys(PG_FUNCTION_ARGS)
{
	EmkAsked	a;
	EmkMark		buf[EMK_MARKS_ON_STACK];
	EmkMark    *marks;
	EmkMark    *found;
	EmkNamed   *keys;
	EmkNamed   *rows;
	int64		within;
	int64		n;

	emk_ask_flat(fcinfo, &ask_opened, &a);
	within = emk_arg_span(fcinfo, 3, "window");
	if (!(a.present & 1))
		PG_RETURN_DATUM(emk_result_named(fcinfo, NULL, 0));
	marks = emk_ask_marks(&a, false, buf, &n);
	key_marks(&a.tl, marks, n);
	found = palloc_extended(Max(n, 1) * sizeof(EmkMark), MCXT_ALLOC_HUGE);
	n = emk_analytics_find_abandoned_keys(marks, n, within, PG_GETARG_BOOL(4), found);
	keys = emk_tl_keys(&a.tl);
	rows = palloc_extended(Max(n, 1) * sizeof(EmkNamed), MCXT_ALLOC_HUGE);
	for (int64 i = 0; i < n; i++)
	{
		rows[i] = keys[found[i].key - 1];
		rows[i].number = found[i].at;
	}
	PG_RETURN_DATUM(emk_result_named(fcinfo, rows, n));
}

/* ---- retention ---- */

PG_FUNCTION_INFO_V1(emk_analytics_tl_retention);
/* retention(timeline, VARIADIC events): the list of names alone knows the answer */
Datum
emk_analytics_tl_retention(PG_FUNCTION_ARGS)
{
	EmkAsk		ask;
	EmkAsked	a;
	uint64		bits;

	emk_ask(fcinfo, named_after(fcinfo, 1, &ask, EMK_ASK_OWN_BITS), &a);
	bits = a.masks && (a.present & 1) ? a.present : 0;
	PG_RETURN_DATUM(emk_result_bools(&bits, a.nconditions));
}

PG_FUNCTION_INFO_V1(emk_analytics_tl_retained);
/* retained(timeline, first_event, return_event, period, periods); NULL when first_event never happened */
Datum
emk_analytics_tl_retained(PG_FUNCTION_ARGS)
{
	EmkAsked	a;
	EmkMark		buf[EMK_MARKS_ON_STACK];
	EmkMark    *marks;
	int64	   *at;
	int64		n;
	int64		start = 0;
	int64		found = 0;
	bool		started = false;
	int64	   *bounds;

	emk_ask(fcinfo, &ask_opened, &a);
	if (PG_GETARG_INT32(4) < 1 || PG_GETARG_INT32(4) > EMK_MAX_PERIODS)
		(void) emk_period_bounds(0, PG_GETARG_INTERVAL_P(3), PG_GETARG_INT32(4));
	if (!(a.present & 1))
		PG_RETURN_NULL();
	marks = emk_ask_marks(&a, false, buf, &n);
	at = palloc_extended(Max(n, 1) * sizeof(int64), MCXT_ALLOC_HUGE);
	for (int64 i = 0; i < n; i++)
	{
		if (!started && (marks[i].mask & 1))
		{
			started = true;
			start = marks[i].at;
		}
		if (marks[i].mask & 2)
			at[found++] = marks[i].at;
	}
	if (!started)
		PG_RETURN_NULL();
	bounds = emk_period_bounds(start, PG_GETARG_INTERVAL_P(3), PG_GETARG_INT32(4));
	PG_RETURN_DATUM(emk_result_retained(at, found, bounds, PG_GETARG_INT32(4)));
}

/* ---- distances and days ---- */

PG_FUNCTION_INFO_V1(emk_analytics_tl_max_in_window);
/* max_in_window(timeline, within [, events]) */
Datum
emk_analytics_tl_max_in_window(PG_FUNCTION_ARGS)
{
	EmkAsk		ask;
	EmkAsked	a;
	int64		buf[EMK_MARKS_ON_STACK];
	int64	   *at;
	int64		within;
	int64		n;
	int64		most;

	emk_ask(fcinfo, named_after(fcinfo, 2, &ask, 0), &a);
	within = emk_arg_span(fcinfo, 1, "window");
	at = emk_ask_times(&a, buf, &n);
	most = emk_analytics_max_in_window(at, n, within);
	if (at != buf)
		pfree(at);
	PG_RETURN_INT64(most);
}

PG_FUNCTION_INFO_V1(emk_analytics_tl_sessions);
/* sessions(timeline, gap [, events]) */
Datum
emk_analytics_tl_sessions(PG_FUNCTION_ARGS)
{
	EmkAsk		ask;
	EmkAsked	a;
	int64		buf[EMK_MARKS_ON_STACK];
	int64	   *at;
	int64		gap;
	int64		n;
	EmkSession *sessions;

	emk_ask(fcinfo, named_after(fcinfo, 2, &ask, 0), &a);
	gap = emk_arg_span(fcinfo, 1, "session gap");
	at = emk_ask_times(&a, buf, &n);
	sessions = palloc_extended(Max(n, 1) * sizeof(EmkSession), MCXT_ALLOC_HUGE);
	n = emk_analytics_find_sessions(at, n, gap, sessions);
	PG_RETURN_DATUM(emk_result_sessions(fcinfo, sessions, n));
}

PG_FUNCTION_INFO_V1(emk_analytics_tl_cadence);
/* cadence(timeline [, events]) */
Datum
emk_analytics_tl_cadence(PG_FUNCTION_ARGS)
{
	EmkAsk		ask;
	EmkAsked	a;
	int64		buf[EMK_MARKS_ON_STACK];
	int64	   *at;
	int64		n;

	emk_ask(fcinfo, named_after(fcinfo, 1, &ask, 0), &a);
	at = emk_ask_times(&a, buf, &n);
	PG_RETURN_DATUM(emk_result_cadence(fcinfo, at, n));
}

PG_FUNCTION_INFO_V1(emk_analytics_tl_streak);
/* streak(timeline, zone, grace [, events]) */
Datum
emk_analytics_tl_streak(PG_FUNCTION_ARGS)
{
	EmkAsk		ask;
	EmkAsked	a;
	EmkStreak	streak;
	int64		buf[EMK_MARKS_ON_STACK];
	int64	   *at;
	int32	   *days;
	int64		n;
	struct pg_tz *zone = emk_analytics_zone(emk_arg_cstring(fcinfo, 1, "time zone"));
	int32		grace = PG_GETARG_INT32(2);

	if (grace < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("grace must not be negative")));
	emk_ask(fcinfo, named_after(fcinfo, 3, &ask, 0), &a);
	at = emk_ask_times(&a, buf, &n);
	if (n == 0)
		PG_RETURN_NULL();
	days = palloc_extended(n * sizeof(int32), MCXT_ALLOC_HUGE);
	for (int64 i = 0; i < n; i++)
	{
		days[i] = emk_analytics_local_day(at[i], zone);
		if ((i & 0xfff) == 0)
			CHECK_FOR_INTERRUPTS();
	}
	n = emk_distinct_days(days, n);
	emk_analytics_find_streak(days, n, grace, &streak);
	PG_RETURN_DATUM(emk_result_streak(fcinfo, &streak));
}

PG_FUNCTION_INFO_V1(emk_analytics_tl_hours);
/* engaged_hours(timeline, zone [, events]) */
Datum
emk_analytics_tl_hours(PG_FUNCTION_ARGS)
{
	EmkAsk		ask;
	EmkAsked	a;
	int64		buf[EMK_MARKS_ON_STACK];
	int64		counts[24] = {0};
	int64	   *at;
	int64		n;
	struct pg_tz *zone = emk_analytics_zone(emk_arg_cstring(fcinfo, 1, "time zone"));

	emk_ask(fcinfo, named_after(fcinfo, 2, &ask, 0), &a);
	at = emk_ask_times(&a, buf, &n);
	for (int64 i = 0; i < n; i++)
	{
		counts[emk_analytics_local_hour(at[i], zone)]++;
		if ((i & 0xfff) == 0)
			CHECK_FOR_INTERRUPTS();
	}
	PG_RETURN_DATUM(emk_result_hours(counts));
}

/* ---- keys ---- */

PG_FUNCTION_INFO_V1(emk_analytics_tl_top_values);
/* top_values(timeline, k [, events]): the keys that occur most often */
Datum
emk_analytics_tl_top_values(PG_FUNCTION_ARGS)
{
	EmkAsk		ask;
	EmkAsked	a;
	EmkNamed   *keys;
	int32		k = PG_GETARG_INT32(1);
	int64		kept = 0;

	if (k < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("number of values must be positive")));
	emk_ask_flat(fcinfo, named_after(fcinfo, 2, &ask, 0), &a);
	if (a.present == 0 || !(a.tl.flags & EMK_TL_KEYS))
		PG_RETURN_DATUM(emk_result_named(fcinfo, NULL, 0));
	emk_tl_open_rest(&a.tl);
	keys = emk_tl_keys(&a.tl);
	for (int64 i = 0; i < a.tl.n; i++)
	{
		uint32		key = emk_tl_key_code(&a.tl, i);

		if (key > 0 && (!a.masks || a.masks[emk_tl_code(&a.tl, i)] != 0))
			keys[key - 1].number++;
	}
	for (uint32 i = 0; i < a.tl.nkeys; i++)
		if (keys[i].number > 0)
			keys[kept++] = keys[i];
	PG_RETURN_DATUM(emk_result_top(fcinfo, keys, kept, k));
}

/* The key of the first (last) event that has one; of several at that time the smallest (greatest). */
static Datum
edge_key(FunctionCallInfo fcinfo, bool last)
{
	EmkAsk		ask;
	EmkAsked	a;
	EmkNamed   *keys;
	const uint8 *times;
	int64		at;
	int64		best_at = 0;
	uint32		best = 0;

	emk_ask_flat(fcinfo, named_after(fcinfo, 1, &ask, 0), &a);
	if (a.present == 0 || !(a.tl.flags & EMK_TL_KEYS))
		PG_RETURN_NULL();
	emk_tl_open_rest(&a.tl);
	times = a.tl.times;
	at = a.tl.first;
	for (int64 i = 0; i < a.tl.n; i++)
	{
		uint32		key = emk_tl_key_code(&a.tl, i);

		if (i > 0)
			at = (int64) ((uint64) at + emk_tl_varint(&times, a.tl.end));
		if (key == 0 || (a.masks && a.masks[emk_tl_code(&a.tl, i)] == 0))
			continue;
		if (best == 0 || (last && at > best_at) || (at == best_at && (last ? key > best : key < best)))
		{
			best = key;
			best_at = at;
		}
	}
	if (best == 0)
		PG_RETURN_NULL();
	keys = emk_tl_keys(&a.tl);
	pg_verifymbstr(keys[best - 1].name, keys[best - 1].len, false);
	PG_RETURN_TEXT_P(cstring_to_text_with_len(keys[best - 1].name, keys[best - 1].len));
}

PG_FUNCTION_INFO_V1(emk_analytics_tl_first_touch);
Datum
emk_analytics_tl_first_touch(PG_FUNCTION_ARGS)
{
	return edge_key(fcinfo, false);
}

PG_FUNCTION_INFO_V1(emk_analytics_tl_last_touch);
Datum
emk_analytics_tl_last_touch(PG_FUNCTION_ARGS)
{
	return edge_key(fcinfo, true);
}

/*
 * agg_times.c: the aggregates over times: abandoned, max_in_window, sessions, cadence, retained, streak, engaged hours,
 * and the window function session_number.
 */
#include "postgres.h"

#include "analytics/analytics.h"
#include "analytics/analytics_int.h"
#include "analytics/compact.h"
#include "base/base.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "windowapi.h"

/* What a transition function gives back for a row it leaves out */
#define RETURN_UNCHANGED() \
	do { \
		if (PG_ARGISNULL(0)) \
			PG_RETURN_NULL(); \
		PG_RETURN_DATUM(PG_GETARG_DATUM(0)); \
	} while (0)

#define OMITS_TIME(argno) \
	(PG_ARGISNULL(argno) || !EMK_TIME_IS_FINITE(PG_GETARG_TIMESTAMPTZ(argno)))

/* ---- abandoned ---- */

typedef struct AbandonedParams
{
	int64		within;
	uint8		debounce;
	uint8		zero[7];
} AbandonedParams;

static uint8
opened_closed(FunctionCallInfo fcinfo, int argno)
{
	bool		opened = !PG_ARGISNULL(argno) && PG_GETARG_BOOL(argno);
	bool		closed = !PG_ARGISNULL(argno + 1) && PG_GETARG_BOOL(argno + 1);

	return (opened ? 1 : 0) | (closed ? 2 : 0);
}

PG_FUNCTION_INFO_V1(emk_analytics_abandoned_add);
/* abandoned_add(state, at, opened, closed, within [, debounce]) */
Datum
emk_analytics_abandoned_add(PG_FUNCTION_ARGS)
{
	AbandonedParams params = {0};
	EmkState   *st;
	uint8		mask;
	int64		at;
	char	   *p;

	if (OMITS_TIME(1))
		RETURN_UNCHANGED();
	at = PG_GETARG_TIMESTAMPTZ(1);
	params.within = emk_arg_span(fcinfo, 4, "window");
	if (PG_NARGS() > 5)
	{
		emk_arg_required(fcinfo, 5, "debounce");
		params.debounce = PG_GETARG_BOOL(5);
	}
	mask = opened_closed(fcinfo, 2);
	st = emk_state_take(fcinfo, EMK_STATE_ABANDONED, 9, &params, sizeof(params));
	if (mask != 0)
	{
		p = emk_state_append(&st, 9);
		memcpy(p, &at, 8);
		memcpy(p + 8, &mask, 1);
	}
	PG_RETURN_POINTER(st);
}

static AbandonedParams
abandoned_params(EmkState *st)
{
	AbandonedParams params;

	if (st->nparams != sizeof(params))
		emk_state_malformed();
	memcpy(&params, emk_state_params(st), sizeof(params));
	if (params.within < 0)
		emk_state_malformed();
	return params;
}

PG_FUNCTION_INFO_V1(emk_analytics_abandoned);
Datum
emk_analytics_abandoned(PG_FUNCTION_ARGS)
{
	EmkState   *st = emk_state_view(fcinfo, EMK_STATE_ABANDONED);
	AbandonedParams params;
	const char *p;
	EmkMark    *marks;
	int64	   *out;
	int64		n;

	if (st == NULL)
		PG_RETURN_DATUM(emk_result_times(NULL, 0));
	params = abandoned_params(st);
	if (st->width != 9)
		emk_state_malformed();
	n = emk_state_count(st);
	p = emk_state_records(st);
	marks = palloc_extended(Max(n, 1) * sizeof(EmkMark), MCXT_ALLOC_HUGE);
	for (int64 i = 0; i < n; i++, p += 9)
	{
		if ((i & 0xffff) == 0)
			CHECK_FOR_INTERRUPTS();
		memcpy(&marks[i].at, p, 8);
		marks[i].mask = p[8] & 3;
		marks[i].key = 0;
	}
	emk_analytics_sort_marks(marks, n);
	out = palloc_extended(Max(n, 1) * sizeof(int64), MCXT_ALLOC_HUGE);
	n = emk_analytics_find_abandoned(marks, n, params.within, params.debounce, out);
	PG_RETURN_DATUM(emk_result_times(out, n));
}

/* With a key the record is a log entry: time, then a byte of conditions (4: there is a key) and the key. */

PG_FUNCTION_INFO_V1(emk_analytics_abandoned_keys_add);
/* abandoned_keys_add(state, at, opened, closed, within, key [, debounce]) */
Datum
emk_analytics_abandoned_keys_add(PG_FUNCTION_ARGS)
{
	AbandonedParams params = {0};
	EmkState   *st;
	uint8		mask;
	int64		at;
	int			len = 0;
	const char *key = NULL;
	char	   *p;
	uint32		n;

	if (OMITS_TIME(1))
		RETURN_UNCHANGED();
	at = PG_GETARG_TIMESTAMPTZ(1);
	params.within = emk_arg_span(fcinfo, 4, "window");
	if (PG_NARGS() > 6)
	{
		emk_arg_required(fcinfo, 6, "debounce");
		params.debounce = PG_GETARG_BOOL(6);
	}
	mask = opened_closed(fcinfo, 2);
	if (!PG_ARGISNULL(5))
	{
		key = emk_arg_text(fcinfo, 5, &len);
		mask |= mask ? 4 : 0;
	}
	st = emk_state_take(fcinfo, EMK_STATE_ABANDONED_KEYS, 0, &params, sizeof(params));
	if (mask != 0)
	{
		p = emk_state_append(&st, EMK_LOG_HEADER + 1 + len);
		n = len + 1;
		memcpy(p, &at, 8);
		memcpy(p + 8, &n, 4);
		memcpy(p + EMK_LOG_HEADER, &mask, 1);
		if (len > 0)
			memcpy(p + EMK_LOG_HEADER + 1, key, len);
	}
	PG_RETURN_POINTER(st);
}

typedef struct KeyedRow
{
	const char *key;
	int			len;
	EmkMark    *mark;
} KeyedRow;

static inline int
compare_rows(const KeyedRow *a, const KeyedRow *b)
{
	return emk_compare_text(a->key, a->len, b->key, b->len);
}

#define ST_SORT sort_rows
#define ST_ELEMENT_TYPE KeyedRow
#define ST_COMPARE(a, b) compare_rows(a, b)
#define ST_CHECK_FOR_INTERRUPTS
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/* Reads the log into marks, numbers the keys in their order; keys[i - 1] is key i. */
static EmkMark *
read_keyed(EmkState *st, int64 *count, EmkNamed **keys)
{
	const char *p = emk_state_records(st);
	const char *end = p + st->used;
	int64		room = st->used / EMK_LOG_HEADER + 1;
	EmkMark    *marks = palloc_extended(room * sizeof(EmkMark), MCXT_ALLOC_HUGE);
	KeyedRow   *rows = palloc_extended(room * sizeof(KeyedRow), MCXT_ALLOC_HUGE);
	int64		n = 0;
	int64		nrows = 0;
	uint32		nkeys = 0;

	while (p < end)
	{
		const char *text;
		int			len;
		int64		at = emk_log_next(&p, end, &text, &len);

		if (len < 1)
			emk_state_malformed();
		if ((n & 0xffff) == 0)
			CHECK_FOR_INTERRUPTS();
		marks[n] = (EmkMark) {.at = at, .mask = text[0] & 3};
		if (text[0] & 4)
			rows[nrows++] = (KeyedRow) {.key = text + 1, .len = len - 1, .mark = &marks[n]};
		n++;
	}
	sort_rows(rows, nrows);
	*keys = palloc_extended(Max(nrows, 1) * sizeof(EmkNamed), MCXT_ALLOC_HUGE);
	for (int64 i = 0; i < nrows; i++)
	{
		if ((i & 0xffff) == 0)
			CHECK_FOR_INTERRUPTS();
		if (i == 0 || compare_rows(&rows[i - 1], &rows[i]) != 0)
			(*keys)[nkeys++] = (EmkNamed) {.name = rows[i].key, .len = rows[i].len};
		rows[i].mark->key = nkeys;
	}
	pfree(rows);
	emk_analytics_sort_keyed(marks, n);
	*count = n;
	return marks;
}

static int64
finish_abandoned_keys(EmkState *st, EmkMark **out, EmkNamed **keys)
{
	AbandonedParams params = abandoned_params(st);
	int64		n;
	EmkMark    *marks;

	if (st->width != 0)
		emk_state_malformed();
	marks = read_keyed(st, &n, keys);
	*out = palloc_extended(Max(n, 1) * sizeof(EmkMark), MCXT_ALLOC_HUGE);
	return emk_analytics_find_abandoned_keys(marks, n, params.within, params.debounce, *out);
}

PG_FUNCTION_INFO_V1(emk_analytics_abandoned_keyed);
/* Times only, each once */
Datum
emk_analytics_abandoned_keyed(PG_FUNCTION_ARGS)
{
	EmkState   *st = emk_state_view(fcinfo, EMK_STATE_ABANDONED_KEYS);
	EmkMark    *found;
	EmkNamed   *keys;
	int64	   *times;
	int64		n;
	int64		kept = 0;

	if (st == NULL)
		PG_RETURN_DATUM(emk_result_times(NULL, 0));
	n = finish_abandoned_keys(st, &found, &keys);
	times = palloc_extended(Max(n, 1) * sizeof(int64), MCXT_ALLOC_HUGE);
	for (int64 i = 0; i < n; i++)
		if (kept == 0 || found[i].at != times[kept - 1])
			times[kept++] = found[i].at;
	PG_RETURN_DATUM(emk_result_times(times, kept));
}

PG_FUNCTION_INFO_V1(emk_analytics_abandoned_keys);
/* Key and time, ordered by time and key */
Datum
emk_analytics_abandoned_keys(PG_FUNCTION_ARGS)
{
	EmkState   *st = emk_state_view(fcinfo, EMK_STATE_ABANDONED_KEYS);
	EmkMark    *found;
	EmkNamed   *keys;
	EmkNamed   *rows;
	int64		n;

	if (st == NULL)
		PG_RETURN_DATUM(emk_result_named(fcinfo, NULL, 0));
	n = finish_abandoned_keys(st, &found, &keys);
	rows = palloc_extended(Max(n, 1) * sizeof(EmkNamed), MCXT_ALLOC_HUGE);
	for (int64 i = 0; i < n; i++)
	{
		rows[i] = keys[found[i].key - 1];
		rows[i].number = found[i].at;
	}
	PG_RETURN_DATUM(emk_result_named(fcinfo, rows, n));
}

/* ---- plain lists of times ---- */

static void
append_time(EmkState **st, int64 at)
{
	memcpy(emk_state_append(st, sizeof(at)), &at, sizeof(at));
}

static int64 *
read_times(EmkState *st, int64 *n)
{
	int64	   *at;

	if (st->width != sizeof(int64))
		emk_state_malformed();
	*n = emk_state_count(st);
	at = palloc_extended(Max(*n, 1) * sizeof(int64), MCXT_ALLOC_HUGE);
	emk_state_copy(at, emk_state_records(st), *n * sizeof(int64));
	emk_analytics_sort_int64(at, *n);
	return at;
}

static int64
span_param(EmkState *st)
{
	int64		span;

	if (st->nparams != sizeof(span))
		emk_state_malformed();
	memcpy(&span, emk_state_params(st), sizeof(span));
	if (span < 0)
		emk_state_malformed();
	return span;
}

static Datum
add_with_span(FunctionCallInfo fcinfo, EmkStateKind kind, const char *what)
{
	EmkState   *st;
	int64		span;

	if (OMITS_TIME(1))
		RETURN_UNCHANGED();
	span = emk_arg_span(fcinfo, 2, what);
	st = emk_state_take(fcinfo, kind, sizeof(int64), &span, sizeof(span));
	append_time(&st, PG_GETARG_TIMESTAMPTZ(1));
	PG_RETURN_POINTER(st);
}

PG_FUNCTION_INFO_V1(emk_analytics_window_add);
Datum
emk_analytics_window_add(PG_FUNCTION_ARGS)
{
	return add_with_span(fcinfo, EMK_STATE_WINDOW, "window");
}

PG_FUNCTION_INFO_V1(emk_analytics_window_most);
Datum
emk_analytics_window_most(PG_FUNCTION_ARGS)
{
	EmkState   *st = emk_state_view(fcinfo, EMK_STATE_WINDOW);
	int64	   *at;
	int64		n;

	if (st == NULL)
		PG_RETURN_INT64(0);
	at = read_times(st, &n);
	PG_RETURN_INT64(emk_analytics_max_in_window(at, n, span_param(st)));
}

PG_FUNCTION_INFO_V1(emk_analytics_sessions_add);
Datum
emk_analytics_sessions_add(PG_FUNCTION_ARGS)
{
	return add_with_span(fcinfo, EMK_STATE_SESSIONS, "session gap");
}

PG_FUNCTION_INFO_V1(emk_analytics_sessions);
Datum
emk_analytics_sessions(PG_FUNCTION_ARGS)
{
	EmkState   *st = emk_state_view(fcinfo, EMK_STATE_SESSIONS);
	EmkSession *sessions;
	int64	   *at;
	int64		n;

	if (st == NULL)
		PG_RETURN_DATUM(emk_result_sessions(fcinfo, NULL, 0));
	at = read_times(st, &n);
	sessions = palloc_extended(Max(n, 1) * sizeof(EmkSession), MCXT_ALLOC_HUGE);
	n = emk_analytics_find_sessions(at, n, span_param(st), sessions);
	PG_RETURN_DATUM(emk_result_sessions(fcinfo, sessions, n));
}

PG_FUNCTION_INFO_V1(emk_analytics_cadence_add);
Datum
emk_analytics_cadence_add(PG_FUNCTION_ARGS)
{
	EmkState   *st;

	if (OMITS_TIME(1))
		RETURN_UNCHANGED();
	st = emk_state_take(fcinfo, EMK_STATE_CADENCE, sizeof(int64), "", 0);
	append_time(&st, PG_GETARG_TIMESTAMPTZ(1));
	PG_RETURN_POINTER(st);
}

PG_FUNCTION_INFO_V1(emk_analytics_cadence);
Datum
emk_analytics_cadence(PG_FUNCTION_ARGS)
{
	EmkState   *st = emk_state_view(fcinfo, EMK_STATE_CADENCE);
	int64	   *at;
	int64		n;

	if (st == NULL)
		PG_RETURN_DATUM(emk_result_cadence(fcinfo, NULL, 0));
	at = read_times(st, &n);
	PG_RETURN_DATUM(emk_result_cadence(fcinfo, at, n));
}

/* ---- retained: in which periods after the start there was an event ---- */

typedef struct RetainedParams
{
	int64		start;
	Interval	period;
	int32		periods;
	int32		from_first;		/* the start is the first event */
} RetainedParams;

PG_FUNCTION_INFO_V1(emk_analytics_retained_add);
/* retained_add(state, at, start, period, periods) */
Datum
emk_analytics_retained_add(PG_FUNCTION_ARGS)
{
	RetainedParams params;
	EmkState   *st;

	if (OMITS_TIME(1))
		RETURN_UNCHANGED();
	emk_arg_required(fcinfo, 3, "period");
	emk_arg_required(fcinfo, 4, "number of periods");
	memset(&params, 0, sizeof(params));
	params.from_first = PG_ARGISNULL(2);
	if (!params.from_first)
		params.start = PG_GETARG_TIMESTAMPTZ(2);
	params.period = *PG_GETARG_INTERVAL_P(3);
	params.periods = PG_GETARG_INT32(4);
	if (!EMK_TIME_IS_FINITE(params.start))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("start of retention must be finite")));
	if (params.periods < 1 || params.periods > EMK_MAX_PERIODS)
		(void) emk_period_bounds(0, &params.period, params.periods);
	st = emk_state_take(fcinfo, EMK_STATE_RETAINED, sizeof(int64), &params, sizeof(params));
	append_time(&st, PG_GETARG_TIMESTAMPTZ(1));
	PG_RETURN_POINTER(st);
}

PG_FUNCTION_INFO_V1(emk_analytics_retained);
Datum
emk_analytics_retained(PG_FUNCTION_ARGS)
{
	EmkState   *st = emk_state_view(fcinfo, EMK_STATE_RETAINED);
	RetainedParams params;
	int64	   *at;
	int64		n;

	if (st == NULL)
		PG_RETURN_NULL();
	if (st->nparams != sizeof(params))
		emk_state_malformed();
	memcpy(&params, emk_state_params(st), sizeof(params));
	at = read_times(st, &n);
	if (n == 0)
		PG_RETURN_NULL();
	if (params.from_first)
		params.start = at[0];
	PG_RETURN_DATUM(emk_result_retained(at, n, emk_period_bounds(params.start, &params.period, params.periods),
										params.periods));
}

/* ---- streak: the parameters are the grace and the name of the zone ---- */

PG_FUNCTION_INFO_V1(emk_analytics_streak_add);
/* streak_add(state, at, zone, grace) */
Datum
emk_analytics_streak_add(PG_FUNCTION_ARGS)
{
	char		params[4 + 256];
	EmkState   *st;
	char	   *name;
	int32		grace;
	int32		day;
	int			len;
	struct pg_tz *zone;

	if (OMITS_TIME(1))
		RETURN_UNCHANGED();
	name = emk_arg_cstring(fcinfo, 2, "time zone");
	emk_arg_required(fcinfo, 3, "grace");
	grace = PG_GETARG_INT32(3);
	if (grace < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("grace must not be negative")));
	zone = emk_analytics_zone(name);
	len = strlen(name);
	memcpy(params, &grace, 4);
	memcpy(params + 4, name, len);
	day = emk_analytics_local_day(PG_GETARG_TIMESTAMPTZ(1), zone);
	st = emk_state_take(fcinfo, EMK_STATE_STREAK, sizeof(day), params, 4 + len);
	memcpy(emk_state_append(&st, sizeof(day)), &day, sizeof(day));
	PG_RETURN_POINTER(st);
}

PG_FUNCTION_INFO_V1(emk_analytics_streak);
Datum
emk_analytics_streak(PG_FUNCTION_ARGS)
{
	EmkState   *st = emk_state_view(fcinfo, EMK_STATE_STREAK);
	EmkStreak	streak;
	int32		grace;
	int32	   *days;
	int64		n;

	if (st == NULL)
		PG_RETURN_NULL();
	if (st->nparams < 4 || st->width != sizeof(int32) || st->used == 0)
		emk_state_malformed();
	memcpy(&grace, emk_state_params(st), sizeof(grace));
	days = palloc_extended(st->used, MCXT_ALLOC_HUGE);
	emk_state_copy(days, emk_state_records(st), st->used);
	n = emk_distinct_days(days, emk_state_count(st));
	emk_analytics_find_streak(days, n, Max(grace, 0), &streak);
	PG_RETURN_DATUM(emk_result_streak(fcinfo, &streak));
}

/* ---- engaged hours: the parameter is the name of the zone ---- */

PG_FUNCTION_INFO_V1(emk_analytics_hours_add);
/* hours_add(state, at, zone) */
Datum
emk_analytics_hours_add(PG_FUNCTION_ARGS)
{
	EmkState   *st;
	char	   *name;
	int			hour;

	if (OMITS_TIME(1))
		RETURN_UNCHANGED();
	name = emk_arg_cstring(fcinfo, 2, "time zone");
	hour = emk_analytics_local_hour(PG_GETARG_TIMESTAMPTZ(1), emk_analytics_zone(name));
	st = emk_state_take(fcinfo, EMK_STATE_HOURS, EMK_HOUR_WIDTH, name, strlen(name));
	emk_put_count(emk_state_append(&st, EMK_HOUR_WIDTH), 1, hour, 1);
	PG_RETURN_POINTER(st);
}

PG_FUNCTION_INFO_V1(emk_analytics_hours);
Datum
emk_analytics_hours(PG_FUNCTION_ARGS)
{
	EmkState   *st = emk_state_view(fcinfo, EMK_STATE_HOURS);
	int64		counts[24];

	if (st == NULL)
		PG_RETURN_NULL();
	if (st->width != EMK_HOUR_WIDTH)
		emk_state_malformed();
	emk_sum_counts(st, 1, counts, 24);
	PG_RETURN_DATUM(emk_result_hours(counts));
}

/* ---- session_number(at, gap): window function over a partition ordered by time ---- */

typedef struct SessionNumber
{
	bool		started;
	int64		last;
	int64		number;
} SessionNumber;

PG_FUNCTION_INFO_V1(emk_analytics_session_number);
Datum
emk_analytics_session_number(PG_FUNCTION_ARGS)
{
	WindowObject winobj = PG_WINDOW_OBJECT();
	SessionNumber *s;
	bool		isnull;
	bool		gap_null;
	Datum		at;
	Datum		gap;
	int64		t;

	if (!WindowObjectIsValid(winobj))
		ereport(ERROR,
				(errcode(ERRCODE_WINDOWING_ERROR),
				 errmsg("session_number() can only be called as a window function")));
	s = WinGetPartitionLocalMemory(winobj, sizeof(SessionNumber));
	at = WinGetFuncArgCurrent(winobj, 0, &isnull);
	gap = WinGetFuncArgCurrent(winobj, 1, &gap_null);
	if (isnull || !EMK_TIME_IS_FINITE(DatumGetTimestampTz(at)))
		PG_RETURN_NULL();
	if (gap_null)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("session gap must not be null")));
	t = DatumGetTimestampTz(at);
	if (s->started && t < s->last)
		ereport(ERROR,
				(errcode(ERRCODE_WINDOWING_ERROR),
				 errmsg("session_number() needs rows in time order"),
				 errhint("Write OVER (PARTITION BY profile ORDER BY the same time).")));
	if (!s->started ||
		t > emk_analytics_until(s->last, emk_analytics_span(DatumGetIntervalP(gap), "session gap")))
		s->number++;
	s->started = true;
	s->last = t;
	PG_RETURN_INT64(s->number);
}

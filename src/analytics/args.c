/*
 * args.c: arguments and results of the SQL functions: arrays of conditions, spans, texts; arrays and rows to answer with.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "analytics/analytics.h"
#include "analytics/analytics_int.h"
#include "base/base.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/lsyscache.h"
#include "utils/typcache.h"

void
emk_arg_required(FunctionCallInfo fcinfo, int argno, const char *what)
{
	if (PG_ARGISNULL(argno))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", what)));
}

uint32
emk_arg_conditions(FunctionCallInfo fcinfo, int argno, int *n)
{
	ArrayType  *arr;
	uint32		mask = 0;
	int			count;
	const char *p;
	bits8	   *nulls;

	emk_arg_required(fcinfo, argno, "array of conditions");
	arr = PG_GETARG_ARRAYTYPE_P(argno);
	if (ARR_NDIM(arr) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("array of conditions must have one dimension")));
	count = ARR_NDIM(arr) == 0 ? 0 : ARR_DIMS(arr)[0];
	if (count < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("at least one condition is needed")));
	if (count > EMK_MAX_CONDITIONS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("more than %d conditions", EMK_MAX_CONDITIONS)));
	p = ARR_DATA_PTR(arr);
	nulls = ARR_NULLBITMAP(arr);
	for (int i = 0; i < count; i++)
	{
		if (nulls && !(nulls[i / 8] >> (i % 8) & 1))
			continue;
		mask |= (uint32) (*p++ != 0) << i;
	}
	*n = count;
	return mask;
}

int64
emk_arg_span(FunctionCallInfo fcinfo, int argno, const char *what)
{
	emk_arg_required(fcinfo, argno, what);
	return emk_analytics_span(PG_GETARG_INTERVAL_P(argno), what);
}

const char *
emk_arg_text(FunctionCallInfo fcinfo, int argno, int *len)
{
	text	   *t = PG_GETARG_TEXT_PP(argno);

	*len = VARSIZE_ANY_EXHDR(t);
	return VARDATA_ANY(t);
}

char *
emk_arg_cstring(FunctionCallInfo fcinfo, int argno, const char *what)
{
	emk_arg_required(fcinfo, argno, what);
	return text_to_cstring(PG_GETARG_TEXT_PP(argno));
}

int
emk_compare_text(const char *a, int alen, const char *b, int blen)
{
	int			c = memcmp(a, b, Min(alen, blen));

	return c != 0 ? c : (alen > blen) - (alen < blen);
}

/* An array of fixed-width values without NULLs; `n` is checked against what an array can hold. */
static Datum
make_array(Datum *values, int64 n, Oid type, int len, bool byval, char align)
{
	if (n > MaxAllocSize / 64)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the answer has more than %d elements", (int) (MaxAllocSize / 64))));
	return PointerGetDatum(construct_array(values, (int) n, type, len, byval, align));
}

static Datum *
alloc_datums(int64 n)
{
	return palloc_extended(Max(n, 1) * sizeof(Datum), MCXT_ALLOC_HUGE);
}

Datum
emk_result_times(const int64 *times, int64 n)
{
	Datum	   *values = alloc_datums(n);

	for (int64 i = 0; i < n; i++)
		values[i] = TimestampTzGetDatum(times[i]);
	return make_array(values, n, TIMESTAMPTZOID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
}

Datum
emk_result_bools(uint64 *bits, int n)
{
	Datum	   *values = alloc_datums(n);

	for (int i = 0; i < n; i++)
		values[i] = BoolGetDatum(bits[i / 64] >> (i % 64) & 1);
	return make_array(values, n, BOOLOID, 1, true, TYPALIGN_CHAR);
}

Datum
emk_result_hours(const int64 *counts)
{
	Datum		values[24];

	for (int i = 0; i < 24; i++)
		values[i] = Int64GetDatum(counts[i]);
	return make_array(values, 24, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE);
}

/* The row type of the function's result, or of the elements of its array; the caller releases it. */
static TupleDesc
result_desc(FunctionCallInfo fcinfo, bool array)
{
	Oid			type = get_fn_expr_rettype(fcinfo->flinfo);
	TupleDesc	desc;

	if (!OidIsValid(type))
		type = get_func_rettype(fcinfo->flinfo->fn_oid);
	if (array)
		type = get_element_type(type);
	desc = OidIsValid(type) ? lookup_rowtype_tupdesc_noerror(type, -1, true) : NULL;
	if (desc == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("function must be declared to return a row type of eventmkt")));
	return desc;
}

static Datum
make_row_array(TupleDesc desc, Datum *rows, int64 n)
{
	Oid			type = desc->tdtypeid;

	ReleaseTupleDesc(desc);
	return make_array(rows, n, type, -1, false, TYPALIGN_DOUBLE);
}

static Datum
make_row(TupleDesc desc, Datum *values, bool *nulls)
{
	Datum		row = HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));

	ReleaseTupleDesc(desc);
	return row;
}

static void
check_desc(TupleDesc desc, int natts, const Oid *types)
{
	bool		ok = desc->natts == natts;

	for (int i = 0; ok && i < natts; i++)
		ok = TupleDescAttr(desc, i)->atttypid == types[i] && !TupleDescAttr(desc, i)->attisdropped;
	if (!ok)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("result type does not have the columns that eventmkt gave it")));
}

Datum
emk_result_sessions(FunctionCallInfo fcinfo, const EmkSession *s, int64 n)
{
	static const Oid types[] = {TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID};
	TupleDesc	desc = result_desc(fcinfo, true);
	Datum	   *rows = alloc_datums(n);
	bool		nulls[3] = {false, false, false};

	check_desc(desc, 3, types);
	for (int64 i = 0; i < n; i++)
	{
		Datum		v[3] = {TimestampTzGetDatum(s[i].from), TimestampTzGetDatum(s[i].to), Int64GetDatum(s[i].events)};

		rows[i] = HeapTupleGetDatum(heap_form_tuple(desc, v, nulls));
		if ((i & 0xfff) == 0)
			CHECK_FOR_INTERRUPTS();
	}
	return make_row_array(desc, rows, n);
}

/* ERROR when a time that was calculated is none that timestamptz can hold */
static int64
checked_time(int64 t)
{
	if (!IS_VALID_TIMESTAMP(t))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	return t;
}

Datum
emk_result_cadence(FunctionCallInfo fcinfo, const int64 *at, int64 n)
{
	static const Oid types[] = {INT8OID, INTERVALOID, TIMESTAMPTZOID, TIMESTAMPTZOID};
	TupleDesc	desc = result_desc(fcinfo, false);
	EmkCadence	c;
	Interval   *gap = palloc0(sizeof(Interval));
	Datum		v[4];
	bool		nulls[4] = {false, false, false, false};

	check_desc(desc, 4, types);
	emk_analytics_find_cadence(at, n, &c);
	gap->day = (int32) (c.gap / USECS_PER_DAY);
	gap->time = c.gap % USECS_PER_DAY;
	v[0] = Int64GetDatum(c.times);
	v[1] = IntervalPGetDatum(gap);
	v[2] = TimestampTzGetDatum(c.last);
	nulls[1] = nulls[3] = c.times < 2;
	nulls[2] = c.times < 1;
	v[3] = nulls[3] ? (Datum) 0 : TimestampTzGetDatum(checked_time(emk_analytics_until(c.last, c.gap)));
	return make_row(desc, v, nulls);
}

Datum
emk_result_streak(FunctionCallInfo fcinfo, const EmkStreak *s)
{
	static const Oid types[] = {INT4OID, INT4OID, DATEOID};
	TupleDesc	desc = result_desc(fcinfo, false);
	Datum		v[3] = {Int32GetDatum(s->current), Int32GetDatum(s->longest), DateADTGetDatum(s->last_day)};
	bool		nulls[3] = {false, false, false};

	check_desc(desc, 3, types);
	return make_row(desc, v, nulls);
}

Datum
emk_result_named(FunctionCallInfo fcinfo, const EmkNamed *named, int64 n)
{
	TupleDesc	desc = result_desc(fcinfo, true);
	Datum	   *rows = alloc_datums(n);
	bool		nulls[2] = {false, false};

	if (desc->natts != 2 || TupleDescAttr(desc, 0)->atttypid != TEXTOID ||
		(TupleDescAttr(desc, 1)->atttypid != INT8OID && TupleDescAttr(desc, 1)->atttypid != TIMESTAMPTZOID))
		check_desc(desc, 0, NULL);
	for (int64 i = 0; i < n; i++)
	{
		Datum		v[2];

		pg_verifymbstr(named[i].name, named[i].len, false);
		v[0] = PointerGetDatum(cstring_to_text_with_len(named[i].name, named[i].len));
		v[1] = Int64GetDatum(named[i].number);
		rows[i] = HeapTupleGetDatum(heap_form_tuple(desc, v, nulls));
		pfree(DatumGetPointer(v[0]));
		if ((i & 0xfff) == 0)
			CHECK_FOR_INTERRUPTS();
	}
	return make_row_array(desc, rows, n);
}

static inline int
compare_top(const EmkNamed *a, const EmkNamed *b)
{
	if (a->number != b->number)
		return a->number > b->number ? -1 : 1;
	return emk_compare_text(a->name, a->len, b->name, b->len);
}

#define ST_SORT sort_top
#define ST_ELEMENT_TYPE EmkNamed
#define ST_COMPARE(a, b) compare_top(a, b)
#define ST_CHECK_FOR_INTERRUPTS
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

Datum
emk_result_top(FunctionCallInfo fcinfo, EmkNamed *rows, int64 n, int32 k)
{
	sort_top(rows, n);
	return emk_result_named(fcinfo, rows, Min(n, k));
}

int64 *
emk_period_bounds(int64 start, const Interval *period, int32 periods)
{
	int64	   *bounds;

	if (periods < 1 || periods > EMK_MAX_PERIODS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("number of periods must be between 1 and %d", EMK_MAX_PERIODS)));
	bounds = palloc((periods + 1) * sizeof(int64));
	bounds[0] = start;
	for (int32 i = 1; i <= periods; i++)
	{
		Datum		span = DirectFunctionCall2(interval_mul, IntervalPGetDatum(period), Float8GetDatum((float8) i));

		/* as timestamp without time zone, that is, in UTC: the answer must not depend on the session */
		bounds[i] = DatumGetTimestamp(DirectFunctionCall2(timestamp_pl_interval, TimestampGetDatum(start), span));
		if (bounds[i] <= bounds[i - 1])
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("period must be positive")));
	}
	return bounds;
}

Datum
emk_result_retained(const int64 *at, int64 n, const int64 *bounds, int32 periods)
{
	uint64	   *bits = palloc0((periods / 64 + 1) * sizeof(uint64));

	for (int64 i = 0; i < n; i++)
	{
		int32		lo = 0;
		int32		hi = periods;

		if (at[i] < bounds[0] || at[i] >= bounds[periods])
			continue;
		while (hi - lo > 1)
		{
			int32		mid = (lo + hi) / 2;

			if (at[i] >= bounds[mid])
				lo = mid;
			else
				hi = mid;
		}
		bits[lo / 64] |= UINT64CONST(1) << (lo % 64);
		if ((i & 0xffff) == 0)
			CHECK_FOR_INTERRUPTS();
	}
	return emk_result_bools(bits, periods);
}

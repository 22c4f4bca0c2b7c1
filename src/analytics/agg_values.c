/*
 * agg_values.c: the aggregates that answer with values: first and last touch, top values, the retention of a cohort.
 */
#include "postgres.h"

#include "analytics/analytics.h"
#include "analytics/analytics_int.h"
#include "analytics/compact.h"
#include "base/base.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"

/* ---- first and last touch ---- */

static Datum
add_touch(FunctionCallInfo fcinfo, EmkStateKind kind)
{
	EmkState   *st;
	const char *value;
	int			len;

	if (PG_ARGISNULL(1) || PG_ARGISNULL(2) || !EMK_TIME_IS_FINITE(PG_GETARG_TIMESTAMPTZ(1)))
	{
		if (PG_ARGISNULL(0))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	}
	value = emk_arg_text(fcinfo, 2, &len);
	st = emk_state_take(fcinfo, kind, 0, "", 0);
	emk_log_append(&st, PG_GETARG_TIMESTAMPTZ(1), value, len);
	PG_RETURN_POINTER(st);
}

static Datum
finish_touch(FunctionCallInfo fcinfo, EmkStateKind kind)
{
	EmkState   *st = emk_state_view(fcinfo, kind);
	const char *value;
	int64		at;
	int			len;

	if (st != NULL && st->width != 0)
		emk_state_malformed();
	if (st == NULL || !emk_find_touch(st, &at, &value, &len))
		PG_RETURN_NULL();
	pg_verifymbstr(value, len, false);
	PG_RETURN_TEXT_P(cstring_to_text_with_len(value, len));
}

PG_FUNCTION_INFO_V1(emk_analytics_first_touch_add);
Datum
emk_analytics_first_touch_add(PG_FUNCTION_ARGS)
{
	return add_touch(fcinfo, EMK_STATE_FIRST_TOUCH);
}

PG_FUNCTION_INFO_V1(emk_analytics_last_touch_add);
Datum
emk_analytics_last_touch_add(PG_FUNCTION_ARGS)
{
	return add_touch(fcinfo, EMK_STATE_LAST_TOUCH);
}

PG_FUNCTION_INFO_V1(emk_analytics_first_touch);
Datum
emk_analytics_first_touch(PG_FUNCTION_ARGS)
{
	return finish_touch(fcinfo, EMK_STATE_FIRST_TOUCH);
}

PG_FUNCTION_INFO_V1(emk_analytics_last_touch);
Datum
emk_analytics_last_touch(PG_FUNCTION_ARGS)
{
	return finish_touch(fcinfo, EMK_STATE_LAST_TOUCH);
}

/* ---- top values: the parameter is k ---- */

PG_FUNCTION_INFO_V1(emk_analytics_top_values_add);
/* top_values_add(state, value, k) */
Datum
emk_analytics_top_values_add(PG_FUNCTION_ARGS)
{
	EmkState   *st;
	const char *value;
	int			len;
	int32		k;

	if (PG_ARGISNULL(1))
	{
		if (PG_ARGISNULL(0))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	}
	emk_arg_required(fcinfo, 2, "number of values");
	k = PG_GETARG_INT32(2);
	if (k < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("number of values must be positive")));
	value = emk_arg_text(fcinfo, 1, &len);
	st = emk_state_take(fcinfo, EMK_STATE_TOP_VALUES, 0, &k, sizeof(k));
	emk_log_append(&st, 1, value, len);
	PG_RETURN_POINTER(st);
}

PG_FUNCTION_INFO_V1(emk_analytics_top_values);
Datum
emk_analytics_top_values(PG_FUNCTION_ARGS)
{
	EmkState   *st = emk_state_view(fcinfo, EMK_STATE_TOP_VALUES);
	EmkNamed   *rows;
	int64		n;
	int32		k;

	if (st == NULL)
		PG_RETURN_DATUM(emk_result_named(fcinfo, NULL, 0));
	if (st->nparams != sizeof(k) || st->width != 0)
		emk_state_malformed();
	memcpy(&k, emk_state_params(st), sizeof(k));
	rows = emk_log_values(st, &n);
	PG_RETURN_DATUM(emk_result_top(fcinfo, rows, n, Max(k, 0)));
}

/* ---- cohort_retention(boolean[]): how many profiles were there in each period ---- */

PG_FUNCTION_INFO_V1(emk_analytics_cohort_add);
Datum
emk_analytics_cohort_add(PG_FUNCTION_ARGS)
{
	EmkState   *st;
	ArrayType  *arr;
	Datum	   *values;
	bool	   *nulls;
	int			n;

	if (PG_ARGISNULL(1))
	{
		if (PG_ARGISNULL(0))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	}
	arr = PG_GETARG_ARRAYTYPE_P(1);
	if (ARR_NDIM(arr) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("array of periods must have one dimension")));
	deconstruct_array(arr, BOOLOID, 1, true, TYPALIGN_CHAR, &values, &nulls, &n);
	if (n > EMK_MAX_PERIODS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("more than %d periods", EMK_MAX_PERIODS)));
	st = emk_state_take(fcinfo, EMK_STATE_COHORT, EMK_COHORT_WIDTH, "", 0);
	for (int i = 0; i < n; i++)
	{
		bool		there = !nulls[i] && DatumGetBool(values[i]);

		/* the last period is written even if nobody was there, so that the answer is as long as the longest array */
		if (there || i == n - 1)
			emk_put_count(emk_state_append(&st, EMK_COHORT_WIDTH), 4, i, there ? 1 : 0);
	}
	PG_RETURN_POINTER(st);
}

PG_FUNCTION_INFO_V1(emk_analytics_cohort);
Datum
emk_analytics_cohort(PG_FUNCTION_ARGS)
{
	EmkState   *st = emk_state_view(fcinfo, EMK_STATE_COHORT);
	int64		counts[EMK_MAX_PERIODS];
	Datum		values[EMK_MAX_PERIODS];
	int			n;

	if (st == NULL)
		PG_RETURN_NULL();
	if (st->width != EMK_COHORT_WIDTH)
		emk_state_malformed();
	n = emk_sum_counts(st, 4, counts, EMK_MAX_PERIODS);
	for (int i = 0; i < n; i++)
		values[i] = Int64GetDatum(counts[i]);
	PG_RETURN_ARRAYTYPE_P(construct_array(values, n, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

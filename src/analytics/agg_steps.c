/*
 * agg_steps.c: the aggregates over conditions: funnel, sequence, retention. One record a row that meets a condition: the time (8) and
 * the conditions as 1, 2 or 4 bytes, as many as their number needs.
 */
#include "postgres.h"

#include "analytics/analytics.h"
#include "analytics/analytics_int.h"
#include "analytics/compact.h"
#include "base/base.h"
#include "miscadmin.h"
#include "utils/builtins.h"

static inline int
mask_bytes(int n)
{
	return n <= 8 ? 1 : n <= 16 ? 2 : 4;
}

static inline uint32
all_conditions(int n)
{
	return n >= 32 ? ~(uint32) 0 : ((uint32) 1 << n) - 1;
}

static void
append_mark(EmkState **st, int64 at, uint32 mask)
{
	int			bytes = (*st)->width - 8;
	char	   *p = emk_state_append(st, 8 + bytes);
	uint8		mask8 = mask;
	uint16		mask16 = mask;

	memcpy(p, &at, 8);
	if (bytes == 1)
		memcpy(p + 8, &mask8, 1);
	else if (bytes == 2)
		memcpy(p + 8, &mask16, 2);
	else
		memcpy(p + 8, &mask, 4);
}

/* The records as marks in order; conditions above `n` cannot be and are dropped. */
static EmkMark *
read_marks(EmkState *st, int n, int64 *count)
{
	int			bytes = mask_bytes(n);
	const char *p = emk_state_records(st);
	EmkMark    *marks;

	if (st->width != 8 + bytes)
		emk_state_malformed();
	*count = emk_state_count(st);
	marks = palloc_extended(Max(*count, 1) * sizeof(EmkMark), MCXT_ALLOC_HUGE);
	for (int64 i = 0; i < *count; i++, p += 8 + bytes)
	{
		uint8		mask8;
		uint16		mask16;

		if ((i & 0xffff) == 0)
			CHECK_FOR_INTERRUPTS();
		memcpy(&marks[i].at, p, 8);
		marks[i].key = 0;
		if (bytes == 1)
		{
			memcpy(&mask8, p + 8, 1);
			marks[i].mask = mask8;
		}
		else if (bytes == 2)
		{
			memcpy(&mask16, p + 8, 2);
			marks[i].mask = mask16;
		}
		else
			memcpy(&marks[i].mask, p + 8, 4);
		marks[i].mask &= all_conditions(n);
	}
	emk_analytics_sort_marks(marks, *count);
	return marks;
}

/* ---- funnel ---- */

typedef struct FunnelParams
{
	int64		within;
	uint8		nsteps;
	uint8		modes;
	uint8		zero[6];
} FunnelParams;

PG_FUNCTION_INFO_V1(emk_analytics_funnel_add);
/* funnel_add(state, within, at, [mode,] steps) */
Datum
emk_analytics_funnel_add(PG_FUNCTION_ARGS)
{
	bool		with_mode = PG_NARGS() == 5;
	FunnelParams params = {0};
	EmkState   *st;
	uint32		mask;
	int			n;

	if (PG_ARGISNULL(2) || !EMK_TIME_IS_FINITE(PG_GETARG_TIMESTAMPTZ(2)))
	{
		if (PG_ARGISNULL(0))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	}
	params.within = emk_arg_span(fcinfo, 1, "funnel window");
	mask = emk_arg_conditions(fcinfo, with_mode ? 4 : 3, &n);
	params.nsteps = n;
	if (with_mode)
		params.modes = emk_analytics_funnel_modes(emk_arg_cstring(fcinfo, 3, "funnel mode"));
	st = emk_state_take(fcinfo, EMK_STATE_FUNNEL, 8 + mask_bytes(n), &params, sizeof(params));
	if (mask != 0 || (params.modes & EMK_FUNNEL_STRICT_ORDER))
		append_mark(&st, PG_GETARG_TIMESTAMPTZ(2), mask);
	PG_RETURN_POINTER(st);
}

static int
finish_funnel(FunctionCallInfo fcinfo, int64 *times)
{
	EmkState   *st = emk_state_view(fcinfo, EMK_STATE_FUNNEL);
	FunnelParams params;
	EmkFunnel	f;
	EmkMark    *marks;
	int64		n;

	if (st == NULL)
		return 0;
	if (st->nparams != sizeof(params))
		emk_state_malformed();
	memcpy(&params, emk_state_params(st), sizeof(params));
	if (params.within < 0 || params.nsteps < 1 || params.nsteps > EMK_MAX_CONDITIONS)
		emk_state_malformed();
	f = (EmkFunnel) {.within = params.within, .nsteps = params.nsteps, .modes = params.modes};
	marks = read_marks(st, params.nsteps, &n);
	return emk_analytics_run_funnel(&f, marks, n, times);
}

PG_FUNCTION_INFO_V1(emk_analytics_funnel_depth);
Datum
emk_analytics_funnel_depth(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(finish_funnel(fcinfo, NULL));
}

PG_FUNCTION_INFO_V1(emk_analytics_funnel_path);
Datum
emk_analytics_funnel_path(PG_FUNCTION_ARGS)
{
	int64		times[EMK_MAX_CONDITIONS];
	int			n = finish_funnel(fcinfo, times);

	PG_RETURN_DATUM(emk_result_times(times, n));
}

/* ---- sequence: the parameters are the number of conditions and the pattern ---- */

PG_FUNCTION_INFO_V1(emk_analytics_sequence_add);
/* sequence_add(state, pattern, at, conditions) */
Datum
emk_analytics_sequence_add(PG_FUNCTION_ARGS)
{
	EmkState   *st;
	uint32		mask;
	int			n;
	int			len;
	const char *pattern;
	char		params[EMK_MAX_PATTERN_BYTES + 1];

	if (PG_ARGISNULL(2) || !EMK_TIME_IS_FINITE(PG_GETARG_TIMESTAMPTZ(2)))
	{
		if (PG_ARGISNULL(0))
			PG_RETURN_NULL();
		PG_RETURN_DATUM(PG_GETARG_DATUM(0));
	}
	emk_arg_required(fcinfo, 1, "sequence pattern");
	pattern = emk_arg_text(fcinfo, 1, &len);
	mask = emk_arg_conditions(fcinfo, 3, &n);
	if (PG_ARGISNULL(0) || len > EMK_MAX_PATTERN_BYTES)
		(void) emk_analytics_compile_sequence(pattern, len, n); /* errors at the first row, not the last */
	params[0] = n;
	memcpy(params + 1, pattern, len);
	st = emk_state_take(fcinfo, EMK_STATE_SEQUENCE, 8 + mask_bytes(n), params, len + 1);
	if (mask != 0)
		append_mark(&st, PG_GETARG_TIMESTAMPTZ(2), mask);
	PG_RETURN_POINTER(st);
}

static int64
finish_sequence(FunctionCallInfo fcinfo, int64 limit, int64 *times, int *ntimes)
{
	EmkState   *st = emk_state_view(fcinfo, EMK_STATE_SEQUENCE);
	EmkSequence *seq;
	EmkMark    *marks;
	int64		n;
	int64		found;
	int			conditions;

	if (st == NULL)
		return 0;
	conditions = st->nparams > 0 ? (uint8) emk_state_params(st)[0] : 0;
	if (conditions < 1 || conditions > EMK_MAX_CONDITIONS)
		emk_state_malformed();
	seq = emk_analytics_compile_sequence(emk_state_params(st) + 1, st->nparams - 1, conditions);
	marks = read_marks(st, conditions, &n);
	found = emk_analytics_run_sequence(seq, marks, n, limit, times);
	if (ntimes)
		*ntimes = found > 0 ? emk_analytics_sequence_length(seq) : 0;
	return found;
}

PG_FUNCTION_INFO_V1(emk_analytics_sequence_match);
Datum
emk_analytics_sequence_match(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(finish_sequence(fcinfo, 1, NULL, NULL) > 0);
}

PG_FUNCTION_INFO_V1(emk_analytics_sequence_count);
Datum
emk_analytics_sequence_count(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(finish_sequence(fcinfo, PG_INT64_MAX, NULL, NULL));
}

PG_FUNCTION_INFO_V1(emk_analytics_sequence_events);
Datum
emk_analytics_sequence_events(PG_FUNCTION_ARGS)
{
	int64		times[EMK_MAX_CONDITIONS];
	int			n = 0;

	finish_sequence(fcinfo, 1, times, &n);
	PG_RETURN_DATUM(emk_result_times(times, n));
}

/* ---- retention: the parameter is the number of conditions ---- */

PG_FUNCTION_INFO_V1(emk_analytics_retention_add);
/* retention_add(state, conditions) */
Datum
emk_analytics_retention_add(PG_FUNCTION_ARGS)
{
	EmkState   *st;
	uint32		mask;
	int			n;
	uint8		params;

	mask = emk_arg_conditions(fcinfo, 1, &n);
	params = n;
	st = emk_state_take(fcinfo, EMK_STATE_RETENTION, sizeof(mask), &params, 1);
	if (mask != 0)
		memcpy(emk_state_append(&st, sizeof(mask)), &mask, sizeof(mask));
	PG_RETURN_POINTER(st);
}

PG_FUNCTION_INFO_V1(emk_analytics_retention);
/* Condition 1 met; condition 1 and condition i met, in any rows */
Datum
emk_analytics_retention(PG_FUNCTION_ARGS)
{
	EmkState   *st = emk_state_view(fcinfo, EMK_STATE_RETENTION);
	uint64		bits;
	int			n;

	if (st == NULL)
		PG_RETURN_NULL();
	n = st->nparams == 1 ? (uint8) emk_state_params(st)[0] : 0;
	if (n < 1 || n > EMK_MAX_CONDITIONS || st->width != sizeof(uint32))
		emk_state_malformed();
	bits = emk_union_masks(st);
	if (!(bits & 1))
		bits = 0;
	PG_RETURN_DATUM(emk_result_bools(&bits, n));
}

/*
 * retry.c: what follows from an answer. Pure: the same try gives the same plan.
 *
 * delivered   2xx, and nothing else
 * retry       no answer, 408, 425, 429, 5xx: after the next gap of the row's own schedule, ±20 %; a usable Retry-After
 *             replaces the gap, clamped to [gap, max(2 × gap, 1 h)]
 * dead        any other status (a redirect is not followed: the receiver named another place, an operator must look), or
 *             a try that would be retried when the schedule is used up
 * gone        410: dead, and the endpoint is to be disabled
 */
#include "postgres.h"

#include <ctype.h>

#include "deliver/deliver.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#define JITTER			0.2
#define ONE_HOUR		3600
#define IGNORED_BEYOND	(366 * 86400)	/* a Retry-After further away than a year is no answer to trust */

/* ten tries over about 75 hours */
const int32 emk_retry_default[] = {5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400};
const int	emk_retry_default_length = lengthof(emk_retry_default);

bool
emk_retry_is_transient(int status)
{
	return status == 0 || status == 408 || status == 425 || status == 429 || (status >= 500 && status <= 599);
}

/* The date of RFC 9110 (`Sun, 06 Nov 1994 08:49:37 GMT`) as seconds from `real`; -1 when it is no such date. */
static int64
date_seconds(const char *s, TimestampTz real)
{
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	static const char shape[] = "Aaa, 00 Aaa 0000 00:00:00 GMT";
	struct pg_tm tm = {0};
	TimestampTz t;
	char		month[4] = {0};
	const char *m;

	if (strlen(s) != strlen(shape))
		return -1;
	for (int i = 0; shape[i]; i++)
		if (shape[i] == '0' ? !isdigit((unsigned char) s[i]) :
			shape[i] == 'A' ? !isupper((unsigned char) s[i]) :
			shape[i] == 'a' ? !islower((unsigned char) s[i]) : s[i] != shape[i])
			return -1;
	memcpy(month, s + 8, 3);
	m = strstr(months, month);
	if (m == NULL || (m - months) % 3 != 0)
		return -1;
	tm.tm_mday = atoi(s + 5);
	tm.tm_mon = (m - months) / 3 + 1;
	tm.tm_year = atoi(s + 12);
	tm.tm_hour = atoi(s + 17);
	tm.tm_min = atoi(s + 20);
	tm.tm_sec = atoi(s + 23);
	if (tm.tm_year < 1970 || tm.tm_mday < 1 || tm.tm_mday > day_tab[isleap(tm.tm_year)][tm.tm_mon - 1] ||
		tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60 || tm2timestamp(&tm, 0, NULL, &t) != 0)
		return -1;
	return t < real ? -1 : (t - real + USECS_PER_SEC - 1) / USECS_PER_SEC;
}

int64
emk_retry_after_seconds(const char *value, TimestampTz real)
{
	char		buf[64];
	size_t		len;
	int64		seconds = 0;

	while (*value == ' ' || *value == '\t')
		value++;
	len = strlen(value);
	while (len > 0 && (value[len - 1] == ' ' || value[len - 1] == '\t'))
		len--;
	if (len == 0 || len >= sizeof(buf))
		return -1;
	memcpy(buf, value, len);
	buf[len] = '\0';
	if (isdigit((unsigned char) buf[0]))
	{
		for (const char *p = buf; *p; p++)
		{
			if (!isdigit((unsigned char) *p))
				return -1;
			seconds = seconds * 10 + (*p - '0');
			if (seconds > IGNORED_BEYOND)
				return -1;
		}
		return seconds;
	}
	seconds = date_seconds(buf, real);
	return seconds > IGNORED_BEYOND ? -1 : seconds;
}

EmkTryPlan
emk_retry_plan(const EmkTry *t)
{
	EmkTryPlan	plan = {EMK_TRY_DEAD, 0, NULL};
	int64		gap;
	int64		asked = -1;

	if (t->status >= 200 && t->status <= 299)
	{
		plan.verdict = EMK_TRY_DELIVERED;
		return plan;
	}
	if (!emk_retry_is_transient(t->status))
	{
		if (t->status == 410)
			plan.verdict = EMK_TRY_GONE;
		plan.reason = t->status == 410 ? "gone" :
			t->status >= 300 && t->status <= 399 ? "redirect_not_followed" :
			t->status >= 400 && t->status <= 499 ? "refused" : "unexpected_status";
		return plan;
	}
	if (t->attempts > t->nschedule)
	{
		plan.reason = "tries_used_up";
		return plan;
	}
	gap = Max(t->schedule[Max(t->attempts, 1) - 1], 0);
	if (t->retry_after != NULL && (t->status == 429 || t->status == 503))
		asked = emk_retry_after_seconds(t->retry_after, t->real);
	plan.verdict = EMK_TRY_RETRY;
	if (asked >= 0)
		plan.next = t->now + Min(Max(asked, gap), Max(2 * gap, ONE_HOUR)) * USECS_PER_SEC;
	else
		plan.next = t->now + (int64) (gap * (1 - JITTER + 2 * JITTER * t->spread) * USECS_PER_SEC);
	return plan;
}

PG_FUNCTION_INFO_V1(emk_deliver_plan_retry);
/* eventmkt.plan_retry(status, tries, schedule, retry_after, at, spread): what the worker would do with this answer */
Datum
emk_deliver_plan_retry(PG_FUNCTION_ARGS)
{
	EmkTry		t = {0};
	EmkTryPlan	plan;
	ArrayType  *schedule = PG_ARGISNULL(2) ? NULL : PG_GETARG_ARRAYTYPE_P(2);
	TupleDesc	desc;
	Datum		values[3];
	bool		nulls[3];
	static const char *const verdicts[] = {"delivered", "retry", "dead", "gone"};

	if (PG_ARGISNULL(1) || PG_ARGISNULL(4) || PG_ARGISNULL(5))
		PG_RETURN_NULL();
	t.status = PG_ARGISNULL(0) ? 0 : PG_GETARG_INT32(0);
	t.attempts = PG_GETARG_INT32(1);
	t.schedule = emk_retry_default;
	t.nschedule = emk_retry_default_length;
	if (schedule != NULL)
	{
		if (ARR_NDIM(schedule) > 1 || array_contains_nulls(schedule))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a schedule is a one-dimensional array of seconds without nulls")));
		t.schedule = (int32 *) ARR_DATA_PTR(schedule);
		t.nschedule = ArrayGetNItems(ARR_NDIM(schedule), ARR_DIMS(schedule));
	}
	t.retry_after = PG_ARGISNULL(3) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(3));
	t.now = t.real = PG_GETARG_TIMESTAMPTZ(4);
	t.spread = PG_GETARG_FLOAT8(5);
	if (t.attempts < 1 || TIMESTAMP_NOT_FINITE(t.now) || !(t.spread >= 0 && t.spread <= 1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("tries must be at least 1, the time finite and the spread between 0 and 1")));
	plan = emk_retry_plan(&t);
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	nulls[0] = false;
	values[0] = CStringGetTextDatum(verdicts[plan.verdict]);
	nulls[1] = plan.verdict != EMK_TRY_RETRY;
	values[1] = TimestampTzGetDatum(plan.next);
	nulls[2] = plan.reason == NULL;
	values[2] = nulls[2] ? (Datum) 0 : CStringGetTextDatum(plan.reason);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

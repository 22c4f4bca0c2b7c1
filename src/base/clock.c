/*
 * clock.c: the only reader of the time. The offset is a row of eventmkt_data.setting (`clock_offset`, microseconds), read
 * through the settings cache, so moving the clock reaches every backend with the relcache invalidation of that table.
 */
#include "postgres.h"

#include <time.h>

#include "access/xact.h"
#include "base/base.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

TimestampTz
emk_clock_real(void)
{
	return GetCurrentTimestamp();
}

int64
emk_clock_offset(void)
{
	const char *s = emk_setting_get("clock_offset");

	return s == NULL || !emk_setting_is_home() ? 0 : strtoll(s, NULL, 10);
}

TimestampTz
emk_clock_now(void)
{
	return GetCurrentTimestamp() + emk_clock_offset();
}

static TimestampTz pinned = 0;

TimestampTz
emk_clock_statement(void)
{
	return pinned != 0 ? pinned : GetCurrentStatementStartTimestamp() + emk_clock_offset();
}

TimestampTz
emk_clock_pin(TimestampTz now)
{
	TimestampTz before = pinned;

	pinned = now;
	return before;
}

int64
emk_clock_monotonic(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64) ts.tv_sec * USECS_PER_SEC + ts.tv_nsec / 1000;
}

int64
emk_clock_cpu(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (int64) ts.tv_sec * USECS_PER_SEC + ts.tv_nsec / 1000;
}

/* No interval of ours is longer; times nearer to the end of time than that are moved no further. */
#define LONGEST (INT64CONST(3700) * USECS_PER_DAY)

TimestampTz
emk_clock_add(TimestampTz t, const Interval *iv)
{
	if (t >= END_TIMESTAMP - LONGEST)
		return t;
	return DatumGetTimestampTz(DirectFunctionCall2(timestamp_pl_interval, TimestampTzGetDatum(t),
												   IntervalPGetDatum(iv)));
}

TimestampTz
emk_clock_subtract(TimestampTz t, const Interval *iv)
{
	if (t < MIN_TIMESTAMP + LONGEST)
		return t;
	return DatumGetTimestampTz(DirectFunctionCall2(timestamp_mi_interval, TimestampTzGetDatum(t),
												   IntervalPGetDatum(iv)));
}

PG_FUNCTION_INFO_V1(emk_base_clock);
/* eventmkt.clock(): business time now */
Datum
emk_base_clock(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(emk_clock_now());
}

PG_FUNCTION_INFO_V1(emk_base_statement_clock);
/* eventmkt.statement_clock(): business time at the start of the statement */
Datum
emk_base_statement_clock(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(emk_clock_statement());
}

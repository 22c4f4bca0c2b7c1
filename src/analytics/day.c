/*
 * day.c: questions about local days and hours. A day is one of the calendar of the zone that is given, whatever its length.
 */
#include "postgres.h"

#include "analytics/analytics.h"
#include "base/base.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

struct pg_tz *
emk_analytics_zone(const char *name)
{
	pg_tz	   *zone = strlen(name) <= TZ_STRLEN_MAX ? pg_tzset(name) : NULL;

	if (zone == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time zone \"%.64s\" not recognized", name)));
	return zone;
}

static void
break_down(int64 at, pg_tz *zone, struct pg_tm *tm)
{
	fsec_t		fsec;
	int			tz;

	if (timestamp2tm(at, &tz, tm, &fsec, NULL, zone) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
}

int32
emk_analytics_local_day(int64 at, struct pg_tz *zone)
{
	struct pg_tm tm;

	break_down(at, zone, &tm);
	return date2j(tm.tm_year, tm.tm_mon, tm.tm_mday) - POSTGRES_EPOCH_JDATE;
}

int
emk_analytics_local_hour(int64 at, struct pg_tz *zone)
{
	struct pg_tm tm;

	break_down(at, zone, &tm);
	return tm.tm_hour;
}

void
emk_analytics_find_streak(const int32 *days, int64 n, int32 grace, EmkStreak *out)
{
	int32		run = 1;

	Assert(n > 0);
	out->longest = 1;
	for (int64 i = 1; i < n; i++)
	{
		if (days[i] == days[i - 1])
			continue;
		run = (int64) days[i] - days[i - 1] <= (int64) grace + 1 ? run + 1 : 1;
		out->longest = Max(out->longest, run);
		if ((i & 0xffff) == 0)
			CHECK_FOR_INTERRUPTS();
	}
	out->current = run;
	out->last_day = days[n - 1];
}

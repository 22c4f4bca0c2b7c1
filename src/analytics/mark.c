/*
 * mark.c: the order in which every question sees its events, and spans of time.
 *
 * Ties: marks of one time are ordered by the lowest condition they meet, then by all of them, and marks that meet none come first. So
 * an answer depends on what happened and never on the order in which rows arrived.
 */
#include "postgres.h"

#include <math.h>

#include "analytics/analytics.h"
#include "base/base.h"
#include "common/int.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

static inline int
compare_marks(const EmkMark *a, const EmkMark *b)
{
	uint32		la,
				lb;

	if (a->at != b->at)
		return a->at < b->at ? -1 : 1;
	la = a->mask & (~a->mask + 1);
	lb = b->mask & (~b->mask + 1);
	if (la != lb)
		return la < lb ? -1 : 1;
	return (a->mask > b->mask) - (a->mask < b->mask);
}

static inline int
compare_keyed(const EmkMark *a, const EmkMark *b)
{
	if (a->key != b->key)
		return a->key < b->key ? -1 : 1;
	return (a->at > b->at) - (a->at < b->at);
}

#define ST_SORT sort_marks
#define ST_ELEMENT_TYPE EmkMark
#define ST_COMPARE(a, b) compare_marks(a, b)
#define ST_CHECK_FOR_INTERRUPTS
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

#define ST_SORT sort_keyed
#define ST_ELEMENT_TYPE EmkMark
#define ST_COMPARE(a, b) compare_keyed(a, b)
#define ST_CHECK_FOR_INTERRUPTS
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

#define ST_SORT sort_int64
#define ST_ELEMENT_TYPE int64
#define ST_COMPARE(a, b) ((*(a) > *(b)) - (*(a) < *(b)))
#define ST_CHECK_FOR_INTERRUPTS
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

void
emk_analytics_sort_marks(EmkMark *marks, int64 n)
{
	sort_marks(marks, n);
}

void
emk_analytics_sort_keyed(EmkMark *marks, int64 n)
{
	sort_keyed(marks, n);
}

void
emk_analytics_sort_int64(int64 *values, int64 n)
{
	sort_int64(values, n);
}

/*
 * A day is 24 hours here: a span has no start, so it cannot follow a change of clocks. A month has no length at all, so it is
 * refused rather than taken as thirty days.
 */
int64
emk_analytics_span(const Interval *iv, const char *what)
{
	int64		days;
	int64		span;

#ifdef INTERVAL_NOT_FINITE
	if (INTERVAL_IS_NOEND(iv))
		return EMK_SPAN_UNLIMITED;
#endif
	if (iv->month != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not contain months or years", what),
				 errhint("Give days or hours, such as interval '30 days'; a day counts as 24 hours.")));
	if (pg_mul_s64_overflow(iv->day, USECS_PER_DAY, &days) || pg_add_s64_overflow(iv->time, days, &span))
		ereport(ERROR,
				(errcode(ERRCODE_INTERVAL_FIELD_OVERFLOW),
				 errmsg("%s is out of range", what)));
	if (span < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must not be negative", what)));
	return span;
}

/*
 * compact.h: the records that compact.c knows, for the aggregates that write and read them.
 */
#ifndef EMK_ANALYTICS_COMPACT_H
#define EMK_ANALYTICS_COMPACT_H

#include "analytics/analytics_int.h"

#define EMK_LOG_HEADER		12		/* number (8), length (4); the text follows */
#define EMK_HOUR_WIDTH		9
#define EMK_COHORT_WIDTH	12

/* Next record of a log of (number, text); moves *p. */
extern int64 emk_log_next(const char **p, const char *end, const char **value, int *len);
extern void emk_log_append(EmkState **st, int64 number, const char *value, int len);

extern int64 emk_distinct_days(int32 *days, int64 n);
extern uint32 emk_union_masks(EmkState *st);
extern int	emk_sum_counts(EmkState *st, int position_bytes, int64 *counts, int limit);
extern void emk_put_count(char *p, int position_bytes, uint32 position, int64 count);
extern bool emk_find_touch(EmkState *st, int64 *at, const char **value, int *len);
/* Sorts by text and adds up the numbers of equal ones; the new number of rows. */
extern int64 emk_count_values(EmkNamed *rows, int64 n);
/* The values of a log with their counts, sorted by value. */
extern EmkNamed *emk_log_values(EmkState *st, int64 *n);
/* timeline_agg.c */
extern void emk_timeline_compact(EmkState *st);

#endif

/*
 * analytics_int.h: what the files of this layer share among themselves: aggregate states and arguments.
 */
#ifndef EMK_ANALYTICS_INT_H
#define EMK_ANALYTICS_INT_H

#include "analytics/analytics.h"
#include "base/compat.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/timestamp.h"

#define EMK_TIME_IS_FINITE(t)	(!TIMESTAMP_NOT_FINITE(t))

/* ---- aggregate states (agg_state.c) ---- */

typedef enum EmkStateKind
{
	EMK_STATE_FUNNEL = 1,
	EMK_STATE_SEQUENCE,
	EMK_STATE_ABANDONED,
	EMK_STATE_ABANDONED_KEYS,
	EMK_STATE_RETENTION,
	EMK_STATE_RETAINED,
	EMK_STATE_COHORT,
	EMK_STATE_SESSIONS,
	EMK_STATE_WINDOW,
	EMK_STATE_CADENCE,
	EMK_STATE_STREAK,
	EMK_STATE_HOURS,
	EMK_STATE_FIRST_TOUCH,
	EMK_STATE_LAST_TOUCH,
	EMK_STATE_TOP_VALUES,
	EMK_STATE_TIMELINE,
	EMK_STATE_KINDS
} EmkStateKind;

/*
 * The state of every aggregate: a bytea with parameters (what must be the same for all rows of a group) and a log of
 * records, one a row. Parts merge by putting one log behind the other, so the order of rows and of merges never matters. The end
 * of the value may be slack, so that most rows are added in place. A full log of some kinds is first made smaller (compact.c).
 */
typedef struct EmkState
{
	int32		vl_len_;
	uint8		version;
	uint8		kind;
	uint8		width;			/* bytes of a record; 0: the records know their own length */
	uint8		reserved;
	uint32		nparams;		/* bytes of parameters at the start of data */
	uint32		used;			/* bytes of records after them */
	char		data[FLEXIBLE_ARRAY_MEMBER];
} EmkState;

#define EMK_STATE_VERSION		1
#define EMK_STATE_HEADER		offsetof(EmkState, data)

static inline char *
emk_state_params(EmkState *st)
{
	return st->data;
}

static inline char *
emk_state_records(EmkState *st)
{
	return st->data + st->nparams;
}

static inline int64
emk_state_count(const EmkState *st)
{
	return st->width ? st->used / st->width : 0;
}

/*
 * Argument 0 of a transition function as a state that may be written to, made on first use. ERROR 22023 when the parameters are
 * not those of the rows before.
 */
extern EmkState *emk_state_take(FunctionCallInfo fcinfo, EmkStateKind kind, int width, const void *params,
								uint32 nparams);
/* Room for a record at the end of the log, counted as used; *st may move. */
extern char *emk_state_append(EmkState **st, uint32 bytes);
/* memcpy() of records; a large one can be cancelled in between. */
extern void emk_state_copy(void *to, const void *from, Size size);
/* Argument 0 of a final function, checked, not to be written to; NULL for no rows. */
extern EmkState *emk_state_view(FunctionCallInfo fcinfo, EmkStateKind kind);
/* ERROR 22P03: the bytes are no state of ours. */
pg_noreturn extern void emk_state_malformed(void);

/* Makes the log smaller where the kind can do so (compact.c). */
extern void emk_state_compact(EmkState *st);

/* ---- arguments and results (args.c) ---- */

/* An array of booleans as bits; NULL elements count as false. ERROR for NULL, several dimensions, too many. */
extern uint32 emk_arg_conditions(FunctionCallInfo fcinfo, int argno, int *n);
extern int64 emk_arg_span(FunctionCallInfo fcinfo, int argno, const char *what);
extern void emk_arg_required(FunctionCallInfo fcinfo, int argno, const char *what);
/* Text argument, detoasted; length apart. */
extern const char *emk_arg_text(FunctionCallInfo fcinfo, int argno, int *len);
extern char *emk_arg_cstring(FunctionCallInfo fcinfo, int argno, const char *what);

extern Datum emk_result_times(const int64 *times, int64 n);
extern Datum emk_result_bools(uint64 *bits, int n);
extern Datum emk_result_sessions(FunctionCallInfo fcinfo, const EmkSession *s, int64 n);
extern Datum emk_result_cadence(FunctionCallInfo fcinfo, const int64 *at, int64 n);
extern Datum emk_result_streak(FunctionCallInfo fcinfo, const EmkStreak *s);
extern Datum emk_result_hours(const int64 *counts);

/* (text, bigint)[] and (text, timestamptz)[]: arrays of a composite type of ours */
typedef struct EmkNamed
{
	const char *name;
	int			len;
	int64		number;
} EmkNamed;
extern Datum emk_result_named(FunctionCallInfo fcinfo, const EmkNamed *rows, int64 n);
/* Sorts by number descending, name ascending, and answers with the first k. */
extern Datum emk_result_top(FunctionCallInfo fcinfo, EmkNamed *rows, int64 n, int32 k);
extern int	emk_compare_text(const char *a, int alen, const char *b, int blen);

/* Boundaries of `periods` periods after `start`, periods + 1 times; months follow the calendar in UTC */
extern int64 *emk_period_bounds(int64 start, const Interval *period, int32 periods);
extern Datum emk_result_retained(const int64 *at, int64 n, const int64 *bounds, int32 periods);

#endif

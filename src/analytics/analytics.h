/*
 * analytics.h: the pure questions over history. Each takes plain C values in time order and an answer buffer; none reads a
 * table, a clock or a setting. Aggregates, timelines and every other layer ask through these functions, so that live
 * matching, backtest, segments and reports cannot disagree.
 *
 * Words
 *   mark     one event as a question sees it: when, which of the question's conditions it meets, which key it carries
 *   time     microseconds as in timestamptz; marks never hold an infinite time
 *   span     a length of time in microseconds, >= 0; EMK_SPAN_UNLIMITED for no limit. All edges are inclusive.
 *
 * Marks are sorted by (at, lowest condition, conditions): emk_analytics_sort_marks() makes that order.
 */
#ifndef EMK_ANALYTICS_H
#define EMK_ANALYTICS_H

#include "datatype/timestamp.h"
#include "lib/stringinfo.h"

#define EMK_MAX_CONDITIONS		32			/* steps of a funnel, conditions of a sequence or of retention */
#define EMK_SPAN_UNLIMITED		PG_INT64_MAX

typedef struct EmkMark
{
	int64		at;
	uint32		mask;			/* bit i: condition i + 1 is met */
	uint32		key;			/* 0: no key */
} EmkMark;

/* Sorts as described above; interruptible. */
extern void emk_analytics_sort_marks(EmkMark *marks, int64 n);
/* Sorts by (key, at): what the keyed questions want. */
extern void emk_analytics_sort_keyed(EmkMark *marks, int64 n);
extern void emk_analytics_sort_int64(int64 *values, int64 n);

/* An interval as a span; ERROR 22023 for months and for negative ones. `what` names the argument in the message. */
extern int64 emk_analytics_span(const Interval *iv, const char *what);

/* t + span without overflow. */
static inline int64
emk_analytics_until(int64 t, int64 span)
{
	return t > PG_INT64_MAX - span ? PG_INT64_MAX : t + span;
}

/* ---- funnel ---- */

#define EMK_FUNNEL_STRICT_ORDER		0x01
#define EMK_FUNNEL_STRICT_DEDUP		0x02
#define EMK_FUNNEL_STRICT_INCREASE	0x04
#define EMK_FUNNEL_STRICT_ONCE		0x08
#define EMK_FUNNEL_REENTRY			0x10

typedef struct EmkFunnel
{
	int64		within;
	int			nsteps;			/* 1 .. EMK_MAX_CONDITIONS */
	int			modes;			/* EMK_FUNNEL_... */
} EmkFunnel;

/* Mode words, separated by spaces or commas; ERROR 22023 for an unknown one. */
extern int	emk_analytics_funnel_modes(const char *words);

/*
 * The furthest step, 0 .. nsteps. With `times` (room for nsteps) also when each step of the chain was taken. Marks that meet no
 * condition matter in strict order only.
 */
extern int	emk_analytics_run_funnel(const EmkFunnel *f, const EmkMark *marks, int64 n, int64 *times);

/* ---- openings without closing: bit 0 of the mask opens, bit 1 closes ---- */

/*
 * Writes the distinct times of openings that no closing followed within the span, ascending; room for n. With `debounce` only the
 * last of a series of openings that are no more than the span apart.
 */
extern int64 emk_analytics_find_abandoned(const EmkMark *marks, int64 n, int64 within, bool debounce, int64 *out);
/*
 * The same per key; marks sorted by (key, at). Openings without key are left out, closings without key close every
 * key. Writes marks (at, key), ordered by (at, key).
 */
extern int64 emk_analytics_find_abandoned_keys(const EmkMark *marks, int64 n, int64 within, bool debounce, EmkMark *out);

/* ---- counting in time ---- */

/* The most marks in any window of the span, both edges inclusive. */
extern int64 emk_analytics_max_in_window(const int64 *at, int64 n, int64 within);

typedef struct EmkSession
{
	int64		from;
	int64		to;
	int64		events;
} EmkSession;

/* Runs of times no more than `gap` apart; room for n. */
extern int64 emk_analytics_find_sessions(const int64 *at, int64 n, int64 gap, EmkSession *out);

typedef struct EmkCadence
{
	int64		times;			/* distinct times */
	int64		gap;			/* median of the gaps between them; valid from two times on */
	int64		last;
} EmkCadence;

extern void emk_analytics_find_cadence(const int64 *at, int64 n, EmkCadence *out);

typedef struct EmkStreak
{
	int32		current;		/* days of the run that ends with the last day */
	int32		longest;
	int32		last_day;		/* days since 2000-01-01 */
} EmkStreak;

/* Days ascending, repeats allowed, n > 0; a run goes on over at most `grace` missed days. */
extern void emk_analytics_find_streak(const int32 *days, int64 n, int32 grace, EmkStreak *out);

/* Local day (since 2000-01-01) and hour of a time; ERROR 22023 for an unknown zone. */
struct pg_tz;
extern struct pg_tz *emk_analytics_zone(const char *name);
extern int32 emk_analytics_local_day(int64 at, struct pg_tz *zone);
extern int	emk_analytics_local_hour(int64 at, struct pg_tz *zone);

/* ---- sequences ---- */

typedef struct EmkSequence EmkSequence;

/* Compiles a pattern over `nconditions` conditions in the current memory context; ERROR 22023 where it is malformed. */
extern EmkSequence *emk_analytics_compile_sequence(const char *pattern, int len, int nconditions);
extern int	emk_analytics_sequence_length(const EmkSequence *seq);
/*
 * Number of non-overlapping matches, at most `limit`. With `times` (room for the pattern's elements) also the times of the
 * first match. Marks that meet no condition must have been left out.
 */
extern int64 emk_analytics_run_sequence(const EmkSequence *seq, const EmkMark *marks, int64 n, int64 limit, int64 *times);

/* ---- timelines: the packed history of one profile ---- */

typedef struct EmkMoment
{
	int64		at;
	int64		value;			/* millionths; valid with EMK_EVENT_VALUE */
	int64		id;				/* valid with EMK_EVENT_ID */
	uint32		key;			/* 0: none; else index + 1 into the keys */
	uint16		name;			/* index into the names */
	uint16		has;
} EmkMoment;

#define EMK_EVENT_VALUE		0x1
#define EMK_EVENT_ID		0x2
#define EMK_VALUE_SCALE		6			/* decimals kept of a value */
#define EMK_VALUE_UNIT		INT64CONST(1000000)

typedef struct EmkTimelineBuilder EmkTimelineBuilder;

/* A number in millionths, rounded; ERROR 22003, or false, beyond what a timeline holds. */
struct NumericData;
extern int64 emk_analytics_value(struct NumericData *value);
extern bool emk_analytics_try_value(struct NumericData *value, int64 *result);

/* A builder lives in the memory context current at its start. */
extern EmkTimelineBuilder *emk_analytics_start_timeline(void);
/* Adds an event; lengths in bytes; key NULL for none, value and id NULL for none. Infinite times are left out. */
extern void emk_analytics_add_event(EmkTimelineBuilder *b, int64 at, const char *name, int namelen, const char *key,
									int keylen, const int64 *value, const int64 *id);
/* Adds the events of a packed timeline with from <= at < to. */
extern void emk_analytics_add_timeline(EmkTimelineBuilder *b, const struct varlena *tl, int64 from, int64 to);
/* The packed value: sorted, events of an id counted once; palloc'd. */
extern struct varlena *emk_analytics_finish_timeline(EmkTimelineBuilder *b);

/* Events of one profile that come after its packed timeline; texts are told by their places, so all this can be copied as it is */
typedef struct EmkLooseEvent
{
	int64		at;				/* finite */
	uint32		extra;			/* place of its value (8 bytes) and key (2 bytes of length, text), those that `has` tells */
	uint16		name;			/* index into the names */
	uint16		has;			/* EMK_EVENT_VALUE, EMK_LOOSE_KEY */
} EmkLooseEvent;

#define EMK_LOOSE_KEY		0x8000

typedef struct EmkLooseName
{
	uint32		offset;
	uint32		len;
} EmkLooseName;

typedef struct EmkLoose
{
	uint64		number;			/* of the list of names, not 0: the same number, the same list */
	const EmkLooseEvent *events;	/* by time and name */
	const EmkLooseName *names;	/* each once, ascending by byte */
	const char *texts;			/* places are counted from here */
	uint32		n;				/* at least 1 */
	uint32		nnames;
} EmkLoose;

/* The timeline of both, put together only when its bytes are needed: timeline_join.c. It points to both parts, not to *loose. */
extern Datum emk_analytics_join(const struct varlena *packed, const EmkLoose *loose);
extern void emk_analytics_add_loose(EmkTimelineBuilder *b, const EmkLoose *loose);

#endif

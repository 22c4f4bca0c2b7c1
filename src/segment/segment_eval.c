/*
 * segment_eval.c: is this person in that segment at `now`, and when can time alone change that?
 *
 * The same answer as the segment's view (segment_view.c), from what was read of the person. Each condition is an answer of two
 * values: whether it holds, and the next moment at which it can be otherwise though nothing happens. Events only leave a
 * window, so a count and an order of steps can only end, and an absence can only begin. Of several conditions:
 *
 *   all hold         until the first of them changes
 *   one does not     until the last of those that do not changes, at the earliest
 */
#include "postgres.h"

#include "segment/segment_live.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

static const EmkAnswer always = {true, DT_NOEND};
static const EmkAnswer never = {false, DT_NOEND};

static EmkAnswer
both(EmkAnswer a, EmkAnswer b)
{
	if (a.in != b.in)
		return a.in ? b : a;
	return (EmkAnswer) {a.in, a.in ? Min(a.change, b.change) : Max(a.change, b.change)};
}

static EmkAnswer
negated(EmkAnswer a)
{
	a.in = !a.in;
	return a;
}

static EmkAnswer
either(EmkAnswer a, EmkAnswer b)
{
	return negated(both(negated(a), negated(b)));
}

static TimestampTz
window_start(const Interval *within, TimestampTz now)
{
	return within == NULL ? DT_NOBEGIN : emk_clock_subtract(now, within);
}

/* The first moment at which what happened at `at` is out of the window; months have their own lengths, so they are searched. */
static TimestampTz
leaves_at(TimestampTz at, const Interval *within)
{
	int64		lo,
				hi;

	if (within == NULL || at >= END_TIMESTAMP - INT64CONST(3700) * USECS_PER_DAY)
		return DT_NOEND;
	if (within->month == 0)
		return at + within->day * USECS_PER_DAY + within->time + 1;
	lo = 0;						/* still in */
	hi = (within->month * INT64CONST(32) + within->day + 1) * USECS_PER_DAY + within->time;
	while (hi - lo > 1)
	{
		int64		mid = lo + (hi - lo) / 2;

		if (emk_clock_subtract(at + mid, within) <= at)
			lo = mid;
		else
			hi = mid;
	}
	return at + hi;
}

static bool
has_name(const EmkPast *e, const char *name)
{
	return strcmp(name, "*") == 0 ? e->app : strcmp(e->name, name) == 0;
}

static bool
test(const EmkCondPath *cond, Jsonb *value)
{
	char	   *error = NULL;

	return cond->path == NULL || emk_rule_test(cond->path, cond->cold, value, &error);
}

static bool
in_hours(const EmkSegmentSpec *spec, TimestampTz at)
{
	Timestamp	local;
	int64		days;
	TimeADT		time;
	int			isodow;
	bool		day_fits = spec->ndays == 0;

	if (spec->ndays == 0 && !spec->has_from && !spec->has_to)
		return true;
	local = DatumGetTimestamp(DirectFunctionCall2(timestamptz_zone, CStringGetTextDatum(spec->time_zone),
												  TimestampTzGetDatum(at)));
	days = local / USECS_PER_DAY - (local % USECS_PER_DAY < 0);
	time = local - days * USECS_PER_DAY;
	isodow = (int) (((days + 5) % 7 + 7) % 7) + 1;	/* 2000-01-01, day 0, was a Saturday */
	for (int i = 0; i < spec->ndays; i++)
		day_fits |= spec->days[i] == isodow;
	if (!day_fits || (!spec->has_from && !spec->has_to))
		return day_fits;
	return spec->from_time > spec->to_time ? time >= spec->from_time || time < spec->to_time :
		time >= spec->from_time && time < spec->to_time;
}

static bool
counts(const EmkSegmentSpec *spec, const EmkPast *e)
{
	return has_name(e, spec->on_event) && in_hours(spec, e->at) && test(&spec->where_event, e->properties);
}

typedef struct Keyed
{
	char	   *key;
	TimestampTz at;
} Keyed;

static int
compare_keyed(const void *a, const void *b)
{
	const Keyed *x = a;
	const Keyed *y = b;
	int			c = strcmp(x->key, y->key);

	return c != 0 ? c : x->at > y->at ? -1 : x->at < y->at;
}

/* per: of the values that have enough, the one that has them longest; *most: how many one value has */
static EmkAnswer
count_per(const EmkSegmentSpec *spec, const EmkPerson *who, TimestampTz start, int *most)
{
	Keyed	   *v = palloc(sizeof(Keyed) * Max(who->n, 1));
	int			n = 0;
	TimestampTz until = DT_NOBEGIN;

	for (int i = who->n - 1; i >= 0 && who->past[i].at >= start; i--)
	{
		const EmkPast *e = &who->past[i];
		char	   *key;

		if (!counts(spec, e))
			continue;
		key = emk_json_scalar(e->properties, spec->per, strlen(spec->per));
		if (key != NULL && key[0] != '\0')
			v[n++] = (Keyed) {key, e->at};
	}
	qsort(v, n, sizeof(Keyed), compare_keyed);
	for (int i = 0, same = 0; i < n; i++)
	{
		same = i > 0 && strcmp(v[i].key, v[i - 1].key) == 0 ? same + 1 : 1;
		*most = Max(*most, same);
		if (same == spec->at_least)
			until = Max(until, v[i].at);
	}
	return until == DT_NOBEGIN ? never : (EmkAnswer) {true, leaves_at(until, spec->within)};
}

/* *n: how many there are, up to as many as it takes */
static EmkAnswer
count(const EmkSegmentSpec *spec, const EmkPerson *who, TimestampTz now, int *n)
{
	TimestampTz start = window_start(spec->within, now);

	*n = 0;
	if (spec->per != NULL)
		return count_per(spec, who, start, n);
	for (int i = who->n - 1; i >= 0 && who->past[i].at >= start; i--)
		if (counts(spec, &who->past[i]) && ++*n == spec->at_least)
			return (EmkAnswer) {true, leaves_at(who->past[i].at, spec->within)};
	return never;
}

/* Each step the earliest after the one before it; its first step leaves the window first. */
static EmkAnswer
steps(const EmkSegmentSpec *spec, const EmkPerson *who, TimestampTz now)
{
	TimestampTz start = window_start(spec->within, now);
	TimestampTz first = 0;
	TimestampTz last = 0;
	int			k = 0;

	for (int i = 0; i < who->n && k < spec->steps.n; i++)
	{
		const EmkPast *e = &who->past[i];

		if (e->at < start || (k > 0 && e->at <= last) || !has_name(e, spec->steps.v[k]))
			continue;
		if (k++ == 0)
			first = e->at;
		last = e->at;
	}
	return k < spec->steps.n ? never : (EmkAnswer) {true, leaves_at(first, spec->within)};
}

static EmkAnswer
absence(const EmkSegmentSpec *spec, const EmkPerson *who, TimestampTz now)
{
	TimestampTz start = window_start(spec->unless_within, now);

	for (int i = who->n - 1; i >= 0 && who->past[i].at >= start; i--)
		for (int k = 0; k < spec->unless.n; k++)
			if (has_name(&who->past[i], spec->unless.v[k]) && test(&spec->unless_where, who->past[i].properties))
				return (EmkAnswer) {false, leaves_at(who->past[i].at, spec->unless_within)};
	return always;
}

/* Is the person meant at all: somebody with a row, or of whom an event is known that can bring people in? */
static EmkAnswer
meant(const EmkLive *s, const EmkPerson *who, TimestampTz now)
{
	const char *name = s->spec.on_event ? s->spec.on_event : s->spec.steps.n > 0 ? s->spec.steps.v[0] : NULL;
	TimestampTz start = window_start(s->spec.within, now);

	if (who->has_row)
		return always;
	if (!s->takes_unknown)
		return never;
	if (name == NULL)
		return who->seen ? always : never;
	for (int i = who->n - 1; i >= 0 && who->past[i].at >= start; i--)
		if (who->past[i].own && has_name(&who->past[i], name))
			return (EmkAnswer) {true, leaves_at(who->past[i].at, s->spec.within)};
	return never;
}

static EmkAnswer
decide_base(const EmkLive *s, const EmkPerson *who, TimestampTz now)
{
	const EmkSegmentSpec *spec = &s->spec;
	EmkAnswer	a = meant(s, who, now);
	int			n;

	if (!a.in || !test(&spec->where_profile, who->traits))
		return never;			/* neither comes about by time */
	if (spec->on_event != NULL)
		a = both(a, count(spec, who, now, &n));
	if (spec->steps.n > 0)
		a = both(a, steps(spec, who, now));
	if (!a.in)
		return never;
	return spec->unless.n > 0 ? both(a, absence(spec, who, now)) : a;
}

EmkAnswer
emk_live_decide(const EmkLive *s, const EmkPerson *who, TimestampTz now)
{
	EmkAnswer	a = always;

	if (who->gone)
		return never;
	if (s->spec.kind != EMK_SEGMENT_SEGMENTS)
		return decide_base(s, who, now);
	if (s->nkids[0] + s->nkids[1] == 0)
		a = meant(s, who, now);
	for (int i = 0; i < s->nkids[0]; i++)
		a = both(a, emk_live_decide(s->kids[0][i], who, now));
	if (s->nkids[1] > 0)
	{
		EmkAnswer	any = never;

		for (int i = 0; i < s->nkids[1]; i++)
			any = either(any, emk_live_decide(s->kids[1][i], who, now));
		a = both(a, any);
	}
	for (int i = 0; i < s->nkids[2]; i++)
		a = both(a, negated(emk_live_decide(s->kids[2][i], who, now)));
	return a;
}

int
emk_live_step(const EmkSegmentSpec *spec, int k)
{
	for (int i = 0; i < k; i++)
		if (strcmp(spec->steps.v[i], spec->steps.v[k]) == 0)
			return i + 1;
	return k + 1;
}

/* Steps of which nothing has happened in the window */
static uint16
missing_steps(const EmkSegmentSpec *spec, const EmkPerson *who, TimestampTz now)
{
	TimestampTz start = window_start(spec->within, now);
	uint16		missing = 0;

	for (int k = 0; k < spec->steps.n; k++)
	{
		int			step = emk_live_step(spec, k);
		bool		found = step > EMK_LISTEN_STEPS;	/* nobody says when it comes */

		for (int i = who->n - 1; i >= 0 && who->past[i].at >= start && !found; i--)
			found = has_name(&who->past[i], spec->steps.v[k]);
		if (!found)
			missing |= 1 << step;
	}
	return missing;
}

/* A cold condition that failed or took too long may be true the next time, so it bars nobody. */
void
emk_live_find_bars(const EmkLive *s, const EmkPerson *who, TimestampTz now, EmkBars *bars)
{
	const EmkSegmentSpec *spec = &s->spec;
	int			n;

	memset(bars, 0, sizeof(*bars));
	if (spec->kind == EMK_SEGMENT_SEGMENTS || who->gone)
		return;
	if (!spec->where_profile.cold && !test(&spec->where_profile, who->traits))
		bars->never = true;		/* but a trait, which asks */
	if (spec->on_event != NULL && !spec->where_event.cold && !count(spec, who, now, &n).in)
		bars->need = spec->at_least - n;
	bars->missing = missing_steps(spec, who, now);
	if (spec->unless.n > 0 && !absence(spec, who, now).in)
	{
		bars->never |= spec->unless_within == NULL;
		bars->absent = true;
	}
}

TimestampTz
emk_live_since(const EmkLive *s, TimestampTz now)
{
	TimestampTz since = DT_NOEND;

	if (s->spec.on_event != NULL || s->spec.steps.n > 0)
		since = window_start(s->spec.within, now);
	if (s->spec.unless.n > 0)
		since = Min(since, window_start(s->spec.unless_within, now));
	for (int k = 0; k < 3; k++)
		for (int i = 0; i < s->nkids[k]; i++)
			since = Min(since, emk_live_since(s->kids[k][i], now));
	return since;
}

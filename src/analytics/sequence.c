/*
 * sequence.c: does a pattern of events occur, how often, and when?
 *
 * A pattern is a list of elements, with what may lie between two of them:
 *   (?2)        a mark that meets condition 2; (?1|3) one that meets condition 1 or 3
 *   .           any mark
 *   .*          between two elements: any number of marks; without it the next element is the very next mark
 *   (?t<=30m)   between two elements: bounds the time from the one to the other, with any number of marks in between. Operators
 *               < <= > >= ==; a whole number with ms, s, m, h, d or w; without a unit, seconds. Several bounds all hold.
 * Blanks mean nothing. A match may begin at any mark. Matches do not overlap: of all the one that ends first is taken, and within
 * it, from the back, each element as late as it can be; the search goes on after it.
 *
 * No backtracking: per element a queue of the times at which the pattern up to there has been met. What follows depends
 * on that time alone, so a later one replaces all before it as soon as it is far enough away for the lower bound. Only times that
 * are still too near wait in the queue. One pass, amortized steps per mark: the number of elements.
 */
#include "postgres.h"

#include "analytics/analytics.h"
#include "analytics/analytics_int.h"
#include "base/base.h"
#include "common/int.h"
#include "miscadmin.h"

#define MAX_ELEMENTS	32

typedef struct Element
{
	uint32		mask;			/* conditions, any of which will do */
	bool		any;			/* any mark will do */
	bool		adjacent;		/* must follow the element before it at once */
	int64		least;			/* time since the element before it */
	int64		most;
} Element;

struct EmkSequence
{
	int			n;
	Element		elements[MAX_ELEMENTS];
};

typedef struct Parser
{
	const char *p;
	const char *start;
	const char *end;
	int			nconditions;
} Parser;

static void
fail(const Parser *ps, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid sequence pattern at character %d: %s", (int) (ps->p - ps->start) + 1, why),
			 errhint("A pattern looks like (?1)(?t<=30m)(?2).*(?3).")));
}

static int64
parse_number(Parser *ps)
{
	int64		v = 0;

	if (ps->p == ps->end || *ps->p < '0' || *ps->p > '9')
		fail(ps, "a number is missing");
	for (; ps->p < ps->end && *ps->p >= '0' && *ps->p <= '9'; ps->p++)
		if (pg_mul_s64_overflow(v, 10, &v) || pg_add_s64_overflow(v, *ps->p - '0', &v))
			fail(ps, "the number is too large");
	return v;
}

/* After "(?t": operator, number, unit */
static void
parse_bound(Parser *ps, Element *e)
{
	static const struct
	{
		const char *name;
		int64		factor;
	}			units[] = {
		{"ms", 1000}, {"s", USECS_PER_SEC}, {"m", USECS_PER_MINUTE}, {"h", USECS_PER_HOUR}, {"d", USECS_PER_DAY},
		{"w", 7 * USECS_PER_DAY}, {"", USECS_PER_SEC},
	};
	char		op;
	bool		equal;
	int64		v;
	int			u;

	while (ps->p < ps->end && *ps->p == ' ')
		ps->p++;
	if (ps->p == ps->end || !strchr("<>=", *ps->p))
		fail(ps, "an operator < <= > >= or == is missing");
	op = *ps->p++;
	equal = ps->p < ps->end && *ps->p == '=';
	if (equal)
		ps->p++;
	while (ps->p < ps->end && *ps->p == ' ')
		ps->p++;
	v = parse_number(ps);
	for (u = 0; u < lengthof(units); u++)
	{
		int			len = strlen(units[u].name);

		if (ps->end - ps->p > len && memcmp(ps->p, units[u].name, len) == 0 && ps->p[len] == ')')
			break;
	}
	if (u == lengthof(units))
		fail(ps, "the unit must be ms, s, m, h, d or w");
	if (pg_mul_s64_overflow(v, units[u].factor, &v))
		fail(ps, "the number is too large");
	ps->p += strlen(units[u].name) + 1;

	if (op == '=' || op == '>')
		e->least = Max(e->least, op == '>' && !equal ? emk_analytics_until(v, 1) : v);
	if (op == '=' || op == '<')
		e->most = Min(e->most, op == '<' && !equal ? v - 1 : v);
}

/* After "(?": 1|2|3) */
static uint32
parse_conditions(Parser *ps)
{
	uint32		mask = 0;

	for (;;)
	{
		int64		v = parse_number(ps);

		if (v < 1 || v > ps->nconditions)
			fail(ps, "there is no such condition");
		mask |= (uint32) 1 << (v - 1);
		if (ps->p == ps->end || (*ps->p != '|' && *ps->p != ')'))
			fail(ps, "a closing parenthesis is missing");
		if (*ps->p++ == ')')
			return mask;
	}
}

EmkSequence *
emk_analytics_compile_sequence(const char *pattern, int len, int nconditions)
{
	EmkSequence *seq = palloc0(sizeof(EmkSequence));
	Parser		ps = {.p = pattern, .start = pattern, .end = pattern + len, .nconditions = nconditions};
	Element		next = {.adjacent = true, .most = EMK_SPAN_UNLIMITED};
	bool		bounded = false;

	if (len > EMK_MAX_PATTERN_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("sequence pattern is longer than %d bytes", EMK_MAX_PATTERN_BYTES)));
	while (ps.p < ps.end)
	{
		if (*ps.p == ' ')
		{
			ps.p++;
			continue;
		}
		if (ps.end - ps.p >= 3 && memcmp(ps.p, "(?t", 3) == 0)
		{
			if (seq->n == 0)
				fail(&ps, "a time bound needs an element before it");
			ps.p += 3;
			parse_bound(&ps, &next);
			next.adjacent = false;
			bounded = true;
			continue;
		}
		if (ps.end - ps.p >= 2 && memcmp(ps.p, ".*", 2) == 0)
		{
			ps.p += 2;
			next.adjacent = false;
			continue;
		}
		if (seq->n == MAX_ELEMENTS)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("sequence pattern has more than %d elements", MAX_ELEMENTS)));
		if (*ps.p == '.')
		{
			ps.p++;
			next.any = true;
		}
		else if (ps.end - ps.p >= 2 && memcmp(ps.p, "(?", 2) == 0)
		{
			ps.p += 2;
			next.mask = parse_conditions(&ps);
		}
		else
			fail(&ps, "an element such as (?1) is expected");
		seq->elements[seq->n++] = next;
		next = (Element) {.adjacent = true, .most = EMK_SPAN_UNLIMITED};
		bounded = false;
	}
	if (seq->n == 0)
		fail(&ps, "there is no element");
	if (bounded)
		fail(&ps, "a time bound needs an element after it");
	return seq;
}

int
emk_analytics_sequence_length(const EmkSequence *seq)
{
	return seq->n;
}

/* Times at which the pattern up to an element was met, oldest first; each with the times of the elements before it */
typedef struct Queue
{
	int64	   *words;
	int			stride;			/* words of an entry; its own time is the last */
	int64		head;			/* entries */
	int64		count;
	int64		room;
	int64		last_mark;		/* index of the mark of the newest entry */
} Queue;

static inline int64 *
entry(const Queue *q, int64 i)
{
	return q->words + (q->head + i) * q->stride;
}

static inline int64
entry_time(const Queue *q, int64 i)
{
	return entry(q, i)[q->stride - 1];
}

/* Adds an entry at the end; with `one` it replaces what is there. */
static void
push(Queue *q, const int64 *path, int64 at, int64 mark, bool one, int64 *allotted)
{
	int64	   *e;

	if (one || q->count == 0)
		q->head = q->count = 0;
	if (q->head + q->count == q->room)
	{
		if (q->head > q->room / 2)
		{
			memmove(q->words, entry(q, 0), q->count * q->stride * sizeof(int64));
			q->head = 0;
		}
		else
		{
			int64		room = Max(16, q->room * 2);

			*allotted += (room - q->room) * q->stride * sizeof(int64);
			if (*allotted > EMK_MAX_STATE_BYTES)
				ereport(ERROR,
						(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
						 errmsg("sequence pattern needs more than %d MB for one group",
								EMK_MAX_STATE_BYTES / (1024 * 1024))));
			if (q->words)
				q->words = repalloc_huge(q->words, room * q->stride * sizeof(int64));
			else
				q->words = palloc_extended(room * q->stride * sizeof(int64), MCXT_ALLOC_HUGE);
			q->room = room;
		}
	}
	e = entry(q, q->count++);
	if (path)
		memcpy(e, path, (q->stride - 1) * sizeof(int64));
	e[q->stride - 1] = at;
	q->last_mark = mark;
}

/* The entry from which a mark at t goes on to the element, or NULL. Times that a later one has replaced are dropped. */
static const int64 *
reach(Queue *before, const Element *e, int64 t, int64 mark)
{
	if (before->count == 0)
		return NULL;
	if (e->adjacent)
		return before->last_mark == mark - 1 ? entry(before, 0) : NULL;
	while (before->count > 1 && emk_analytics_until(entry_time(before, 1), e->least) <= t)
	{
		before->head++;
		before->count--;
	}
	if (emk_analytics_until(entry_time(before, 0), e->least) > t ||
		(e->most < 0 || emk_analytics_until(entry_time(before, 0), e->most) < t))
		return NULL;
	return entry(before, 0);
}

int64
emk_analytics_run_sequence(const EmkSequence *seq, const EmkMark *marks, int64 n, int64 limit, int64 *times)
{
	Queue		queues[MAX_ELEMENTS] = {0};
	int			last = seq->n - 1;
	int64		found = 0;
	int64		allotted = 0;

	for (int e = 0; e <= last; e++)
		queues[e].stride = times ? e + 1 : 1;
	for (int64 i = 0; i < n && found < limit; i++)
	{
		int64		t = marks[i].at;

		if ((i & 0xfff) == 0)
			CHECK_FOR_INTERRUPTS();
		for (int e = last; e >= 0; e--)
		{
			const Element *el = &seq->elements[e];
			const int64 *path = NULL;

			if (!el->any && (marks[i].mask & el->mask) == 0)
				continue;
			if (e > 0 && (path = reach(&queues[e - 1], el, t, i)) == NULL)
				continue;
			if (e < last)
			{
				const Element *after = &seq->elements[e + 1];

				push(&queues[e], path, t, i, after->adjacent || after->least == 0, &allotted);
				continue;
			}
			if (found++ == 0 && times)
			{
				if (path)
					memcpy(times, path, e * sizeof(int64));
				times[e] = t;
			}
			for (int k = 0; k < last; k++)
				queues[k].head = queues[k].count = 0;
			break;
		}
	}
	for (int e = 0; e < last; e++)
		if (queues[e].words)
			pfree(queues[e].words);
	return found;
}

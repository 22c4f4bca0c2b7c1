/*
 * funnel.c: how far somebody came along a list of steps.
 *
 * A chain starts at a mark that meets step 1 and takes the steps in order; all of it lies within the span after its start, the edge
 * included. The answer is the furthest step any chain reached. Modes:
 *   (none)           anything may lie between two steps; marks of one time may serve in any order; one mark that
 *                    meets several steps may serve them all
 *   strict_increase  each step is later than the one before, equality is not enough
 *   strict_once      a mark serves one step of a chain only
 *   strict_order     a mark that meets no step, or only steps beyond the next one, ends the chains that are under way;
 *                    repeats of steps already taken do not
 *   reentry          with strict_order: steps beyond the next one are passed over instead of ending the chain
 *   strict_dedup     a repeat of a step already taken, other than the first, ends the chain
 * With strict_order or strict_dedup a chain takes a step whenever it can, in the order of marks.
 *
 * Why one pass is enough: of two chains that stand at the same step, the one that started later is at least as good for
 * all that follows. So per step one start is kept, the latest.
 */
#include "postgres.h"

#include "analytics/analytics.h"
#include "base/base.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"

#define NONE PG_INT64_MIN		/* no chain stands here; no time of a mark has this value */

/* Per step (0-based): the latest start of a chain that stands there, and when it took each step */
typedef struct Chains
{
	const EmkFunnel *f;
	int64		start[EMK_MAX_CONDITIONS];
	int64	   *path;			/* nsteps * nsteps times, or NULL when nobody asks */
	int64	   *times;			/* the answer */
	int			best;
} Chains;

static const struct
{
	const char *word;
	int			mode;
}			mode_words[] = {
	{"strict_order", EMK_FUNNEL_STRICT_ORDER},
	{"strict_dedup", EMK_FUNNEL_STRICT_DEDUP},
	{"strict_deduplication", EMK_FUNNEL_STRICT_DEDUP},
	{"strict_increase", EMK_FUNNEL_STRICT_INCREASE},
	{"strict_once", EMK_FUNNEL_STRICT_ONCE},
	{"reentry", EMK_FUNNEL_REENTRY},
	{"allow_reentry", EMK_FUNNEL_REENTRY},
};

int
emk_analytics_funnel_modes(const char *words)
{
	int			modes = 0;

	for (;;)
	{
		int			len;
		int			i;

		words += strspn(words, " ,");
		if (*words == '\0')
			return modes;
		len = strcspn(words, " ,");
		for (i = 0; i < lengthof(mode_words); i++)
			if (strlen(mode_words[i].word) == len && strncmp(mode_words[i].word, words, len) == 0)
				break;
		if (i == lengthof(mode_words))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("unknown funnel mode \"%.*s\"", Min(len, 64), words),
					 errhint("Modes are strict_order, strict_dedup, strict_increase, strict_once and reentry.")));
		modes |= mode_words[i].mode;
		words += len;
	}
}

static inline int64 *
path_of(const Chains *c, int step)
{
	return c->path ? c->path + step * c->f->nsteps : NULL;
}

/* A chain that stands at step `from` - 1 (or, for from = 0, starts now) takes step `from` at time t. */
static inline void
take_step(Chains *c, int from, int64 start, int64 t, const int64 *path)
{
	if (c->start[from] != NONE && start <= c->start[from])
		return;
	c->start[from] = start;
	if (c->path)
	{
		int64	   *mine = path_of(c, from);

		if (from > 0)
			memmove(mine, path, from * sizeof(int64));
		mine[from] = t;
		if (from + 1 > c->best)
			memcpy(c->times, mine, (from + 1) * sizeof(int64));
	}
	c->best = Max(c->best, from + 1);
}

static inline bool
alive(const Chains *c, int step, int64 t)
{
	return c->start[step] != NONE && t <= emk_analytics_until(c->start[step], c->f->within);
}

/* All marks of one time together: each step of `mask` is taken from the step before it, on this very time too. */
static void
take_together(Chains *c, uint32 mask, int64 t)
{
	while (mask)
	{
		int			step = pg_rightmost_one_pos32(mask);

		mask &= mask - 1;
		if (step == 0)
			take_step(c, 0, t, t, NULL);
		else if (alive(c, step - 1, t))
			take_step(c, step, c->start[step - 1], t, path_of(c, step - 1));
	}
}

/* One mark, or all marks of one time under strict_increase: at most one step of a chain is taken. */
static void
take_one(Chains *c, uint32 mask, int64 t)
{
	while (mask)
	{
		int			step = pg_leftmost_one_pos32(mask);

		mask &= ~((uint32) 1 << step);
		if (step == 0)
			take_step(c, 0, t, t, NULL);
		else if (alive(c, step - 1, t))
			take_step(c, step, c->start[step - 1], t, path_of(c, step - 1));
	}
}

/* ---- strict_once among marks of one time: which steps can be served by marks that are all different ---- */

typedef struct Matching
{
	const EmkMark *marks;
	int			ncandidates[EMK_MAX_CONDITIONS];
	int64		candidates[EMK_MAX_CONDITIONS][EMK_MAX_CONDITIONS]; /* no more than nsteps marks a step are ever needed */
	int64		served[EMK_MAX_CONDITIONS]; /* mark that serves a step, or -1 */
	bool		tried[EMK_MAX_CONDITIONS];
} Matching;

/* Finds a mark for `step`, moving other steps to other marks where need be (an augmenting path). */
static bool
serve(Matching *m, int step, int from, int to)
{
	for (int i = 0; i < m->ncandidates[step]; i++)
	{
		int64		mark = m->candidates[step][i];
		int			owner = -1;

		for (int s = from; s < to; s++)
			if (m->served[s] == mark)
				owner = s;
		if (owner >= 0 && m->tried[owner])
			continue;
		if (owner >= 0)
		{
			m->tried[owner] = true;
			if (!serve(m, owner, from, to))
				continue;
		}
		m->served[step] = mark;
		return true;
	}
	return false;
}

static void
take_matched(Chains *c, const EmkMark *marks, int64 n)
{
	Matching	m;
	Chains		before = *c;
	int64		before_path[EMK_MAX_CONDITIONS * EMK_MAX_CONDITIONS];
	int			steps = c->f->nsteps;
	int64		t = marks[0].at;

	m.marks = marks;
	memset(m.ncandidates, 0, sizeof(m.ncandidates));
	for (int64 i = 0; i < n; i++)
		for (int s = 0; s < steps; s++)
			if ((marks[i].mask >> s & 1) && m.ncandidates[s] < steps)
				m.candidates[s][m.ncandidates[s]++] = i;
	if (c->path)
		memcpy(before_path, c->path, steps * steps * sizeof(int64));

	/* from = step to be taken first: 0 starts a chain here, others go on from a chain that stood before this time */
	for (int from = 0; from < steps; from++)
	{
		int64		start = t;
		int64		path[EMK_MAX_CONDITIONS];

		if (from > 0)
		{
			if (!alive(&before, from - 1, t))
				continue;
			start = before.start[from - 1];
			if (c->path)
				memcpy(path, before_path + (from - 1) * steps, from * sizeof(int64));
		}
		for (int s = from; s < steps; s++)
			m.served[s] = -1;
		for (int s = from; s < steps; s++)
		{
			memset(m.tried, 0, sizeof(m.tried));
			m.tried[s] = true;
			if (!serve(&m, s, from, s))
				break;
			take_step(c, s, start, t, path);
			path[s] = t;
		}
	}
}

/* ---- strict_order and strict_dedup ---- */

/* Does a mark end a chain that stands at `step` (0-based) and does not move on with it? */
static inline bool
ends_chain(int modes, int step, uint32 mask)
{
	uint32		taken = step >= 31 ? ~(uint32) 0 : ((uint32) 1 << (step + 1)) - 1;

	if (modes & EMK_FUNNEL_STRICT_ORDER)
	{
		if (mask == 0)
			return true;
		if (!(modes & EMK_FUNNEL_REENTRY) && (mask & taken) == 0 && !(mask >> step >> 1 & 1))
			return true;
	}
	return (modes & EMK_FUNNEL_STRICT_DEDUP) && (mask & taken & ~(uint32) 1) != 0;
}

/* A chain at step `from` (-1: it starts now) takes the next step, or all that follow if a mark may serve several. */
static void
move_on(Chains *c, Chains *into, int from, int64 start, const EmkMark *mark, bool once)
{
	int64		path[EMK_MAX_CONDITIONS];
	int			to = from;

	if (c->path && from >= 0)
		memcpy(path, path_of(c, from), (from + 1) * sizeof(int64));
	do
		path[++to] = mark->at;
	while (!once && to + 1 < c->f->nsteps && (mark->mask >> to >> 1 & 1));
	take_step(into, to, start, mark->at, path);
}

/*
 * One mark. Chains move on, end or stay, the furthest first so that none meets the mark twice. Chains that took a step at this
 * very time stand in `fresh` while strict_increase forbids them another one, and join the others when the time is over.
 */
static void
take_strict(Chains *c, Chains *fresh, const EmkMark *mark)
{
	int			modes = c->f->modes;
	int			n = c->f->nsteps;
	bool		once = (modes & EMK_FUNNEL_STRICT_ONCE) || fresh;
	Chains	   *into = fresh ? fresh : c;
	uint32		mask = mark->mask;

	if (fresh)
		for (int step = 0; step < n; step++)
			if (fresh->start[step] != NONE && ends_chain(modes, step, mask))
				fresh->start[step] = NONE;
	for (int step = n - 1; step >= 0; step--)
	{
		int64		start = c->start[step];

		if (start == NONE)
			continue;
		if (!alive(c, step, mark->at))
			c->start[step] = NONE;
		else if (step + 1 < n && (mask >> step >> 1 & 1))
		{
			c->start[step] = NONE;
			move_on(c, into, step, start, mark, once);
		}
		else if (ends_chain(modes, step, mask))
			c->start[step] = NONE;
	}
	if (mask & 1)
		move_on(c, into, -1, mark->at, mark, once);
	c->best = Max(c->best, into->best);
}

static void
run_strict(Chains *c, const EmkMark *marks, int64 n)
{
	bool		increase = c->f->modes & EMK_FUNNEL_STRICT_INCREASE;
	int			steps = c->f->nsteps;
	int64		fresh_path[EMK_MAX_CONDITIONS * EMK_MAX_CONDITIONS];
	Chains		fresh = *c;

	if (c->path)
		fresh.path = fresh_path;
	for (int64 i = 0; i < n && c->best < steps; i++)
	{
		if ((i & 0xfff) == 0)
			CHECK_FOR_INTERRUPTS();
		if (increase && (i == 0 || marks[i].at != marks[i - 1].at))
		{
			fresh.best = c->best;
			for (int s = 0; s < steps; s++)
			{
				if (i > 0 && fresh.start[s] != NONE && fresh.start[s] > c->start[s])
				{
					c->start[s] = fresh.start[s];
					if (c->path)
						memcpy(c->path + s * steps, fresh_path + s * steps, steps * sizeof(int64));
				}
				fresh.start[s] = NONE;
			}
		}
		take_strict(c, increase ? &fresh : NULL, &marks[i]);
	}
}

/* Depth only, no mode: what nearly everybody asks. Per step the last moment at which the next one may still be taken. */
static int
run_plain(const EmkFunnel *f, const EmkMark *marks, int64 n)
{
	int64		until[EMK_MAX_CONDITIONS];
	int			steps = f->nsteps;
	int			best = 0;

	for (int s = 0; s < steps; s++)
		until[s] = NONE;
	for (int64 i = 0; i < n;)
	{
		int64		t = marks[i].at;
		uint32		mask = marks[i].mask;

		while (++i < n && marks[i].at == t)
			mask |= marks[i].mask;
		while (mask)
		{
			int			step = pg_rightmost_one_pos32(mask);

			mask &= mask - 1;
			if (step >= steps)
				break;
			if (step == 0)
				until[0] = emk_analytics_until(t, f->within);
			else if (t <= until[step - 1])
				until[step] = until[step - 1];
			else
				continue;
			if (step + 1 > best && (best = step + 1) == steps)
				return best;
		}
		if ((i & 0xffff) == 0)
			CHECK_FOR_INTERRUPTS();
	}
	return best;
}

int
emk_analytics_run_funnel(const EmkFunnel *f, const EmkMark *marks, int64 n, int64 *times)
{
	Chains		c;
	int64		path[EMK_MAX_CONDITIONS * EMK_MAX_CONDITIONS];
	int			modes = f->modes;

	Assert(f->nsteps >= 1 && f->nsteps <= EMK_MAX_CONDITIONS);
	if (!times && (modes & ~EMK_FUNNEL_REENTRY) == 0)
		return run_plain(f, marks, n);

	c.f = f;
	c.path = times ? path : NULL;
	c.times = times;
	c.best = 0;
	for (int s = 0; s < f->nsteps; s++)
		c.start[s] = NONE;
	if (modes & (EMK_FUNNEL_STRICT_ORDER | EMK_FUNNEL_STRICT_DEDUP))
	{
		run_strict(&c, marks, n);
		return c.best;
	}
	for (int64 i = 0; i < n && c.best < f->nsteps;)
	{
		int64		first = i;
		int64		t = marks[i].at;
		uint32		mask = marks[i].mask;

		while (++i < n && marks[i].at == t)
			mask |= marks[i].mask;
		if (modes & EMK_FUNNEL_STRICT_INCREASE)
			take_one(&c, mask, t);
		else if (!(modes & EMK_FUNNEL_STRICT_ONCE))
			take_together(&c, mask, t);
		else if (i == first + 1)
			take_one(&c, mask, t);
		else
			take_matched(&c, marks + first, i - first);
		CHECK_FOR_INTERRUPTS();
	}
	return c.best;
}

/*
 * segment_turn.c: keeps the members of tracked segments: from work rows, and from timers.
 *
 * Invariants
 *   1. After a turn, membership is what the views said when the turn looked, for every person whose last event, trait or merge the
 *      turn saw, at every clock until the person's timer.
 *   2. One turn at a time in a database (emk_live_lock), each statement with its own snapshot: a turn reads the history after it
 *      took the work, so what it stores is never older than what a turn before it stored.
 *   3. Who is in stays in by an event that can only bring in, and who is out stays out by one that can only take out: these are
 *      weighed without reading anything but the membership itself. Their timers may then be early, never late. What a turn has
 *      learnt of somebody is remembered (segment_mark.c), and most events then cost no look at all.
 *   4. A change and the event that tells of it are one transaction. Filling, history and undone merges tell nobody.
 *
 * A turn: take work and due timers → pairs of person and segment, each once → leave out what is remembered to change nothing →
 * read membership → read the history of those that may change → store. Changes also mark what the endpoints of sync_segment()
 * have to be told.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "segment/segment_live.h"
#include "storage/lock.h"
#include "track/track.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/timestamp.h"

#define LOCK_CLASS	0x454d4b02
#define LOCK_KIND	8			/* as the epoch's: no SQL function takes it */
#define BUSY_PAUSE	(USECS_PER_SEC / 5)
#define ENTERED		"Segment Entered"
#define EXITED		"Segment Exited"

/* The rows of ($1 segments, $2 ids). A probe each, by the LIMIT: a plan made while the table was empty would read it whole for each. */
#define TIDS(table) \
	"ARRAY(SELECT x.ctid FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS u (s, id) CROSS JOIN LATERAL (" \
	"SELECT y.ctid FROM eventmkt_data." table " y WHERE y.segment_id OPERATOR(pg_catalog.=) u.s " \
	"AND y.profile_id OPERATOR(pg_catalog.=) (u.id COLLATE \"C\") LIMIT 1) x)"

static EmkPlan take_plan = {
	"WITH t AS (DELETE FROM eventmkt_data.segment_work WHERE ctid OPERATOR(pg_catalog.=) ANY (ARRAY("
	"SELECT ctid FROM eventmkt_data.segment_work WHERE node OPERATOR(pg_catalog.=) $2 LIMIT $1 FOR UPDATE SKIP LOCKED)) "
	"RETURNING kind, quiet, depth, profile_id, segments) SELECT t.kind, t.quiet, t.depth, t.profile_id, "
	"COALESCE(a.profile_id, t.profile_id), t.segments FROM t LEFT JOIN LATERAL (SELECT a.profile_id FROM eventmkt_data.alias a "
	"WHERE a.alias OPERATOR(pg_catalog.=) t.profile_id LIMIT 1) a ON true", 2, {INT8OID, INT2OID}
};
static EmkPlan due_plan = {
	"SELECT t.segment_id, t.profile_id, EXISTS (SELECT FROM eventmkt_data.alias a WHERE a.alias OPERATOR(pg_catalog.=) "
	"t.profile_id) FROM eventmkt_data.segment_timer t WHERE t.wake_at OPERATOR(pg_catalog.<=) $1 ORDER BY t.wake_at LIMIT $2", 2,
	{TIMESTAMPTZOID, INT8OID}
};
static EmkPlan next_plan = {
	"SELECT wake_at FROM eventmkt_data.segment_timer ORDER BY wake_at LIMIT 1", 0, {0}
};
static EmkPlan members_plan = {
	"SELECT u.n::pg_catalog.int4 FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) WITH ORDINALITY AS u (s, id, n) "
	"CROSS JOIN LATERAL (SELECT FROM eventmkt_data.membership x WHERE x.segment_id OPERATOR(pg_catalog.=) u.s "
	"AND x.profile_id OPERATOR(pg_catalog.=) (u.id COLLATE \"C\") LIMIT 1) m", 2, {INT4ARRAYOID, TEXTARRAYOID}
};
static EmkPlan timers_plan = {
	"SELECT u.n::pg_catalog.int4, t.wake_at FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) WITH ORDINALITY AS u "
	"(s, id, n) CROSS JOIN LATERAL (SELECT x.wake_at FROM eventmkt_data.segment_timer x WHERE x.segment_id "
	"OPERATOR(pg_catalog.=) u.s AND x.profile_id OPERATOR(pg_catalog.=) (u.id COLLATE \"C\") LIMIT 1) t", 2,
	{INT4ARRAYOID, TEXTARRAYOID}
};
static EmkPlan enter_plan = {
	"INSERT INTO eventmkt_data.membership (segment_id, profile_id, since) SELECT u.s, u.id, $3 "
	"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS u (s, id)", 3, {INT4ARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID}
};
static EmkPlan leave_plan = {
	"WITH g AS (DELETE FROM eventmkt_data.membership m WHERE m.ctid OPERATOR(pg_catalog.=) ANY (" TIDS("membership") ") "
	"RETURNING m.segment_id, m.profile_id, m.since) INSERT INTO eventmkt_data.membership_past (segment_id, profile_id, entered_at, "
	"left_at) SELECT g.segment_id, g.profile_id, g.since, $3 FROM g", 3, {INT4ARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID}
};
static EmkPlan set_timer_plan = {
	"INSERT INTO eventmkt_data.segment_timer AS t (segment_id, profile_id, wake_at) SELECT u.s, u.id, u.at "
	"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) AS u (s, id, at) "
	"ON CONFLICT (segment_id, profile_id) DO UPDATE SET wake_at = EXCLUDED.wake_at", 3,
	{INT4ARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID}
};
static EmkPlan drop_timer_plan = {
	"DELETE FROM eventmkt_data.segment_timer t WHERE t.ctid OPERATOR(pg_catalog.=) ANY (" TIDS("segment_timer") ")", 2,
	{INT4ARRAYOID, TEXTARRAYOID}
};
static EmkPlan size_plan = {
	"WITH n AS (UPDATE eventmkt_data.segment_state x SET members = x.members OPERATOR(pg_catalog.+) u.d "
	"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS u (s, d) WHERE x.segment_id OPERATOR(pg_catalog.=) u.s "
	"RETURNING x.segment_id, x.members) INSERT INTO eventmkt_data.segment_size AS z (segment_id, at, members) "
	"SELECT n.segment_id, pg_catalog.timezone('UTC', pg_catalog.date_trunc('hour', pg_catalog.timezone('UTC', $3))), n.members "
	"FROM n ON CONFLICT (segment_id, at) DO UPDATE SET members = EXCLUDED.members", 3, {INT4ARRAYOID, INT8ARRAYOID, TIMESTAMPTZOID}
};
static EmkPlan mark_plan = {
	"INSERT INTO eventmkt_data.segment_told AS t (sync_id, profile_id, told, pending) SELECT y.sync_id, u.id, false, true "
	"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS u (s, id) JOIN eventmkt_data.segment_sync y "
	"ON y.segment_id OPERATOR(pg_catalog.=) u.s ON CONFLICT (sync_id, profile_id) DO UPDATE SET pending = true", 2,
	{INT4ARRAYOID, TEXTARRAYOID}
};
static EmkPlan put_off_plan = {
	"UPDATE eventmkt_data.segment_timer SET wake_at = $1 OPERATOR(pg_catalog.+) '10 minutes'::pg_catalog.interval WHERE ctid "
	"OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT ctid FROM eventmkt_data.segment_timer ORDER BY wake_at LIMIT 1))", 1, {TIMESTAMPTZOID}
};
static EmkPlan filling_plan = {
	"SELECT segment_id FROM eventmkt_data.segment_state WHERE fill IS NOT NULL", 0, {0}
};

bool
emk_live_lock(bool wait)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, LOCK_CLASS, 0, LOCK_KIND);
	if (LockAcquire(&tag, ExclusiveLock, false, !wait) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	AcceptInvalidationMessages();
	return true;
}

void
emk_live_unlock(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, LOCK_CLASS, 0, LOCK_KIND);
	(void) LockRelease(&tag, ExclusiveLock, false);
}

/* ---- pairs ---- */

typedef struct Pairs
{
	EmkPair    *v;
	int			n;
	int			room;
} Pairs;

/* Somebody who was merged, and into whom */
typedef struct Merged
{
	char	   *from;
	char	   *into;
} Merged;

static EmkPair *
add_pair(Pairs *p, char *profile_id, EmkLive *s, int code)
{
	if (p->n == p->room)
	{
		p->room = Max(256, p->room * 2);
		p->v = p->v == NULL ? palloc(sizeof(EmkPair) * p->room) : repalloc_huge(p->v, sizeof(EmkPair) * p->room);
	}
	memset(&p->v[p->n], 0, sizeof(EmkPair));
	p->v[p->n].profile_id = profile_id;
	p->v[p->n].s = s;
	p->v[p->n].code = code;
	p->v[p->n].hits = 1;
	return &p->v[p->n++];
}

static void
add_all_tracked(Pairs *p, char *profile_id, bool gone, bool quiet, int depth)
{
	int			n;
	EmkLive   **all = emk_live_all(&n);

	for (int i = 0; i < n; i++)
		if (all[i]->tracked)
		{
			EmkPair    *pair = add_pair(p, profile_id, all[i], EMK_WEIGH_ASK);

			pair->gone = gone;
			pair->quiet = quiet || gone;
			pair->depth = depth;
		}
}

/* The pairs that one thing a base listens to makes. */
static void
add_listener(Pairs *p, char *profile_id, int32 listener, bool quiet, int depth)
{
	int			step = listener >> EMK_LISTEN_STEP_BITS;
	EmkLive    *base;

	if (listener / EMK_LISTEN_CODES == 0)
	{
		add_all_tracked(p, profile_id, false, quiet, depth);
		return;
	}
	listener &= (1 << EMK_LISTEN_STEP_BITS) - 1;
	base = emk_live_find(listener / EMK_LISTEN_CODES);
	for (int i = 0; base != NULL && i < base->nusers; i++)
	{
		int			code = listener % EMK_LISTEN_CODES;
		EmkPair    *pair;

		if (code == EMK_LISTEN_KNOWN || code == EMK_LISTEN_ANY)
			code = EMK_WEIGH_ASK;
		else if (base->users[i].ways == 3)
			code = EMK_WEIGH_ENTER | EMK_WEIGH_LEAVE;
		else
			code = (code == EMK_LISTEN_ENTER) == (base->users[i].ways == 1) ? EMK_WEIGH_ENTER : EMK_WEIGH_LEAVE;
		pair = add_pair(p, profile_id, base->users[i].of, code);
		pair->hits = step == 0;
		pair->steps = step > 0 ? 1 << step : base->spec.steps.n > 0 ? PG_UINT32_MAX : 0;
		pair->quiet = quiet;
		pair->depth = depth;
	}
}

/* Takes work; returns rows, and the merges among them. */
static int
take_work(Pairs *p, int max, Merged **merged, int *nmerged)
{
	Datum		args[2] = {Int64GetDatum(max), Int16GetDatum(emk_setting_node())};
	int			n = (int) emk_spi_run(&take_plan, args, NULL, false, 0);

	*nmerged = 0;
	*merged = palloc(sizeof(Merged) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		bool		isnull;
		char		kind = DatumGetChar(emk_spi_datum(i, 1, &isnull));
		bool		quiet = emk_spi_bool(i, 2, false);
		int			depth = DatumGetInt16(emk_spi_datum(i, 3, &isnull));
		char	   *raw = emk_spi_text(i, 4);
		char	   *id = emk_spi_text(i, 5);
		ArrayType  *a = DatumGetArrayTypePCopy(emk_spi_datum(i, 6, &isnull));
		int32	   *listeners = (int32 *) ARR_DATA_PTR(a);

		if (kind == 'm' && strcmp(raw, id) != 0)
		{
			add_all_tracked(p, raw, true, true, depth);
			(*merged)[(*nmerged)++] = (Merged) {raw, id};
		}
		for (int k = 0; k < ArrayGetNItems(ARR_NDIM(a), ARR_DIMS(a)); k++)
			add_listener(p, id, listeners[k], quiet, depth);
	}
	SPI_freetuptable(SPI_tuptable);
	return n;
}

/* ---- storing ---- */

/* Columns of a statement over pairs */
typedef struct Columns
{
	Datum	   *s;
	Datum	   *id;
	Datum	   *x;
	int			n;
} Columns;

static void
begin_columns(Columns *c, int n)
{
	c->s = palloc_extended(sizeof(Datum) * Max(n, 1), MCXT_ALLOC_HUGE);
	c->id = palloc_extended(sizeof(Datum) * Max(n, 1), MCXT_ALLOC_HUGE);
	c->x = palloc_extended(sizeof(Datum) * Max(n, 1), MCXT_ALLOC_HUGE);
	c->n = 0;
}

static void
put(Columns *c, const EmkPair *p, Datum x)
{
	c->s[c->n] = Int32GetDatum(p->s->id);
	c->id[c->n] = CStringGetTextDatum(p->profile_id);
	c->x[c->n++] = x;
}

/* Runs a plan of (segments, ids) and, where it has one, a third argument. */
static uint64
run(EmkPlan *plan, Columns *c, Datum third)
{
	Datum		args[3] = {0, 0, third};

	if (c->n == 0)
		return 0;
	args[0] = emk_spi_array(c->s, NULL, c->n, INT4OID);
	args[1] = emk_spi_array(c->id, NULL, c->n, TEXTOID);
	return emk_spi_run(plan, args, NULL, false, 0);
}

static int
compare_pairs(const void *a, const void *b)
{
	const EmkPair *x = a;
	const EmkPair *y = b;
	int			c = strcmp(x->profile_id, y->profile_id);

	return c != 0 ? c : x->s->id < y->s->id ? -1 : x->s->id > y->s->id;
}

/* Sorts, and makes one of what speaks of the same person and segment. */
static int
unite(EmkPair *v, int n)
{
	int			kept = 0;

	qsort(v, n, sizeof(EmkPair), compare_pairs);
	for (int i = 0; i < n; i++)
	{
		EmkPair    *last = kept > 0 ? &v[kept - 1] : NULL;

		if (last == NULL || compare_pairs(last, &v[i]) != 0)
		{
			v[kept++] = v[i];
			continue;
		}
		last->code |= v[i].code;
		last->hits += v[i].hits;
		last->steps |= v[i].steps;
		last->depth = Max(last->depth, v[i].depth);
		last->quiet &= v[i].quiet;
		last->gone |= v[i].gone;
	}
	return kept;
}

/* Which of the pairs are in, and which of them need more than that to be decided; those have their timers read. */
static int
read_membership(EmkPair *v, int n)
{
	Columns		c;
	int		   *which = palloc_extended(sizeof(int) * Max(n, 1), MCXT_ALLOC_HUGE);
	bool		isnull;

	begin_columns(&c, n);
	for (int i = 0; i < n; i++)
		put(&c, &v[i], 0);
	for (uint64 r = 0, found = run(&members_plan, &c, 0); r < found; r++)
		v[emk_spi_int4(r, 1, 1) - 1].was = true;
	SPI_freetuptable(SPI_tuptable);
	c.n = 0;
	for (int i = 0; i < n; i++)
	{
		v[i].asked = v[i].gone || (v[i].code & (EMK_WEIGH_ASK | (v[i].was ? EMK_WEIGH_LEAVE : EMK_WEIGH_ENTER)));
		if (!v[i].asked)
			continue;
		which[c.n] = i;
		put(&c, &v[i], 0);
	}
	if (c.n == 0)
		return 0;
	for (uint64 r = 0, found = run(&timers_plan, &c, 0); r < found; r++)
		v[which[emk_spi_int4(r, 1, 1) - 1]].wake = DatumGetTimestampTz(emk_spi_datum(r, 2, &isnull));
	SPI_freetuptable(SPI_tuptable);
	return c.n;
}

static void
store_timers(const EmkPair *v, int n, TimestampTz now)
{
	Columns		set;
	Columns		drop;

	begin_columns(&set, n);
	begin_columns(&drop, n);
	for (int i = 0; i < n; i++)
	{
		TimestampTz at = v[i].answer.change;

		if (!v[i].asked)
			continue;
		if (at == DT_NOEND)
		{
			if (v[i].wake != 0)
				put(&drop, &v[i], 0);
		}
		else if (v[i].wake <= now || at < v[i].wake)	/* a timer that is early does no harm; 0: none */
			put(&set, &v[i], TimestampTzGetDatum(Max(at, now + 1)));
	}
	if (set.n > 0)
		run(&set_timer_plan, &set, emk_spi_array(set.x, NULL, set.n, TIMESTAMPTZOID));
	run(&drop_timer_plan, &drop, 0);
}

/* Counts of the segments, and their course by the hour */
static void
store_sizes(const EmkPair *v, int n, TimestampTz now)
{
	int			nall;
	EmkLive   **all = emk_live_all(&nall);
	Datum	   *ids = palloc(sizeof(Datum) * Max(nall, 1));
	Datum	   *deltas = palloc(sizeof(Datum) * Max(nall, 1));
	int		   *delta = palloc0(sizeof(int) * Max(nall, 1));
	int			k = 0;
	Datum		args[3];

	for (int i = 0; i < n; i++)
	{
		int			lo = 0;

		if (!v[i].asked || v[i].was == v[i].answer.in)
			continue;
		for (int hi = nall - 1; lo < hi;)
		{
			int			mid = (lo + hi) / 2;

			if (all[mid]->id < v[i].s->id)
				lo = mid + 1;
			else
				hi = mid;
		}
		delta[lo] += v[i].answer.in ? 1 : -1;
	}
	for (int i = 0; i < nall; i++)
		if (delta[i] != 0)
		{
			ids[k] = Int32GetDatum(all[i]->id);
			deltas[k++] = Int64GetDatum(delta[i]);
		}
	if (k == 0)
		return;
	args[0] = emk_spi_array(ids, NULL, k, INT4OID);
	args[1] = emk_spi_array(deltas, NULL, k, INT8OID);
	args[2] = TimestampTzGetDatum(now);
	emk_spi_run(&size_plan, args, NULL, false, 0);
}

/* The events of the changes. Of somebody who was merged in, the two count as one who was in if either was. */
static void
tell(const EmkPair *v, int n)
{
	EmkMessage *m = palloc0(sizeof(EmkMessage) * Max(n, 1));
	int			k = 0;

	for (int i = 0; i < n; i++)
	{
		StringInfoData buf;

		if (!v[i].asked || v[i].quiet || (v[i].was || v[i].kin) == v[i].answer.in || v[i].depth > EMK_MAX_DEPTH)
			continue;
		initStringInfo(&buf);
		appendStringInfoChar(&buf, '{');
		emk_json_append_string(&buf, "segment", v[i].s->spec.name);
		appendStringInfoChar(&buf, '}');
		m[k].user_id = v[i].profile_id;
		m[k].event = v[i].answer.in ? ENTERED : EXITED;
		m[k].properties = emk_json_parse(buf.data);
		m[k].occurred_at = DT_NOBEGIN;
		m[k++].depth = v[i].depth + 1;
	}
	if (k > 0)
		emk_track_many(m, k);
}

/* Nothing that a segment's first or renewed filling finds is news. */
static void
hush_filling(EmkPair *v, int n)
{
	uint64		filling = emk_spi_run(&filling_plan, NULL, NULL, false, 0);
	int			nall;
	EmkLive   **all = emk_live_all(&nall);

	for (int i = 0; i < nall; i++)
		all[i]->filling = false;
	for (uint64 r = 0; r < filling; r++)
	{
		EmkLive    *s = emk_live_find(emk_spi_int4(r, 1, 0));

		if (s != NULL)
			s->filling = true;
	}
	SPI_freetuptable(SPI_tuptable);
	for (int i = 0; i < n; i++)
		v[i].quiet |= v[i].s->filling;
}

static void
find_kin(EmkPair *v, int n, const Merged *merged, int nmerged)
{
	for (int i = 0; i < n && nmerged > 0; i++)
		for (int k = 0; v[i].gone && v[i].was && k < nmerged; k++)
		{
			EmkPair		key = {.profile_id = merged[k].into, .s = v[i].s};
			EmkPair    *into = strcmp(merged[k].from, v[i].profile_id) == 0 ?
				bsearch(&key, v, n, sizeof(EmkPair), compare_pairs) : NULL;

			if (into != NULL)
				into->kin = true;
		}
}

/* Leaves out those of whom it is remembered that nothing changes. */
static int
drop_settled(EmkPair *v, int n, TimestampTz now)
{
	int			kept = 0;

	for (int i = 0; i < n; i++)
		if (v[i].gone || !emk_live_mark_settles(&v[i], now))
			v[kept++] = v[i];
	return kept;
}

/* Asks and stores; v has what is not remembered. */
static void
weigh_asked(EmkPair *v, int n, const Merged *merged, int nmerged, TimestampTz now)
{
	Columns		enter;
	Columns		leave;
	Columns		both;

	hush_filling(v, n);
	find_kin(v, n, merged, nmerged);
	emk_live_answer(v, n, now);
	begin_columns(&enter, n);
	begin_columns(&leave, n);
	begin_columns(&both, n);
	for (int i = 0; i < n; i++)
		if (v[i].asked && v[i].was != v[i].answer.in)
		{
			put(v[i].was ? &leave : &enter, &v[i], 0);
			put(&both, &v[i], 0);
		}
	run(&enter_plan, &enter, TimestampTzGetDatum(now));
	run(&leave_plan, &leave, TimestampTzGetDatum(now));
	store_timers(v, n, now);
	if (both.n > 0)
	{
		store_sizes(v, n, now);
		if (run(&mark_plan, &both, 0) > 0)
			emk_wake_at_commit();
		EMK_PAUSE_POINT("membership_changed");
	}
	tell(v, n);
}

static void
weigh(EmkPair *v, int n, const Merged *merged, int nmerged, TimestampTz now)
{
	n = drop_settled(v, unite(v, n), now);
	if (n == 0)
		return;
	if (read_membership(v, n) > 0)
		weigh_asked(v, n, merged, nmerged, now);
	for (int i = 0; i < n; i++)
		emk_live_mark_put(&v[i]);
}

void
emk_live_weigh(EmkPair *pairs, int n, TimestampTz now)
{
	weigh(pairs, n, NULL, 0, now);
}

/* ---- the turn ---- */

/* Pairs of the timers that are due; returns rows. What belongs to no tracked segment any more is dropped. */
static int
take_due(Pairs *p, int max, TimestampTz now)
{
	Datum		args[2] = {TimestampTzGetDatum(now), Int64GetDatum(max)};
	int			n = (int) emk_spi_run(&due_plan, args, NULL, false, 0);
	SPITupleTable *rows = SPI_tuptable;
	Columns		orphans;

	begin_columns(&orphans, n);
	for (int i = 0; i < n; i++)
	{
		EmkLive    *s = emk_live_find(emk_spi_int4(i, 1, 0));

		if (s != NULL && s->tracked)
			add_pair(p, emk_spi_text(i, 2), s, EMK_WEIGH_ASK)->gone = emk_spi_bool(i, 3, false);
		else
		{
			orphans.s[orphans.n] = Int32GetDatum(emk_spi_int4(i, 1, 0));
			orphans.id[orphans.n++] = CStringGetTextDatum(emk_spi_text(i, 2));
		}
	}
	SPI_freetuptable(rows);
	run(&drop_timer_plan, &orphans, 0);
	return n;
}

static TimestampTz
next_wake(void)
{
	bool		isnull;

	if (emk_spi_run(&next_plan, NULL, NULL, false, 1) == 0)
		return DT_NOEND;
	return DatumGetTimestampTz(emk_spi_datum(0, 1, &isnull));
}

/* One turn; the locks are ours, and what is tracked is known. */
static int
turn(int max, TimestampTz now, TimestampTz *next)
{
	Pairs		pairs = {0};
	Merged	   *merged;
	int			nmerged;
	int			done;
	bool		wait = false;

	emk_live_marks_begin(now);
	done = take_work(&pairs, max, &merged, &nmerged);
	if (done < max)				/* a merge among the work comes before the timers of who was merged */
		done += take_due(&pairs, max, now);
	weigh(pairs.v, pairs.n, merged, nmerged, now);
	if (done < max)
		done += emk_live_fill(now, &wait);
	*next = next_wake();
	if (wait)
		*next = Min(*next, now + BUSY_PAUSE);
	return done;
}

int
emk_segment_turn(int max, TimestampTz now, TimestampTz *next)
{
	static bool turning = false;	/* a trigger of somebody's own that calls run_due() is in the middle of a turn */
	const char *version = emk_setting_get("data_version");
	volatile int done = 0;

	*next = DT_NOEND;
	if (turning || version == NULL || atoi(version) < EMK_DATA_VERSION || IsolationUsesXactSnapshot())
		return 0;				/* a turn needs to see what others committed */
	emk_live_refresh();
	if (emk_live_tracked() == 0)
		return 0;
	if (!emk_live_lock(false))
	{
		*next = now + BUSY_PAUSE;
		return 0;
	}
	emk_live_refresh();
	turning = true;
	PG_TRY();
	{
		done = turn(max, now, next);
	}
	PG_FINALLY();
	{
		turning = false;
	}
	PG_END_TRY();
	return done;
}

void
emk_segment_set_aside(TimestampTz now)
{
	Datum		args[2] = {Int64GetDatum(1), Int16GetDatum(emk_setting_node())};
	Datum		arg = TimestampTzGetDatum(now);

	if (emk_spi_run(&take_plan, args, NULL, false, 0) == 0)
		emk_spi_run(&put_off_plan, &arg, NULL, false, 0);
}

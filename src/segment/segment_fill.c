/*
 * segment_fill.c: a tracked segment that is new or was changed is filled from history, a chunk of people a turn, and nobody is told.
 *
 *   members    those who are in are asked again (a changed definition)
 *   profiles   all who have a row, by id
 *   events     where they can be in it: who is known by events alone, by id
 *   NULL       done; tracked_since says from when on the history of its members is known
 *
 * Progress is the row of segment_state, stored with each chunk, so a worker that ends loses nothing and untrack_segment() ends it.
 * Segments that stand at the same place share a chunk: a hundred that were made together are filled in one walk. People whom
 * something happens to meanwhile are weighed by their work rows as ever, wherever the walk is.
 *
 * A transaction that is open when a segment begins to listen may have been matched before: it leaves no work, and nobody sees yet what it
 * wrote. So no walk begins before those that write people or events at that moment have ended (`writers`). The matcher hears of a change as
 * soon as its transaction takes the lock of one of these tables, so who takes one later has heard.
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "segment/segment_live.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define CHUNK 500				/* people */
#define CHUNK_PAIRS 20000
#define SHARED 100				/* segments of one chunk */

static EmkPlan next_plan = {
	"WITH w AS (SELECT segment_id, fill, fill_at, fill_at OPERATOR(pg_catalog.=) '' AND filled OPERATOR(pg_catalog.=) 0 AS begins "
	"FROM eventmkt_data.segment_state WHERE fill IS NOT NULL) SELECT w.segment_id, w.fill, w.fill_at, w.begins FROM w "
	"JOIN (SELECT fill, fill_at, begins FROM w WHERE $1 OR NOT begins ORDER BY segment_id LIMIT 1) f "
	"ON w.fill OPERATOR(pg_catalog.=) f.fill AND w.fill_at OPERATOR(pg_catalog.=) f.fill_at AND w.begins OPERATOR(pg_catalog.=) f.begins "
	"ORDER BY w.segment_id LIMIT 100", 1, {BOOLOID}
};
static EmkPlan writers_plan = {
	"SELECT DISTINCT l.virtualtransaction, l.pid IS NULL FROM pg_catalog.pg_locks l WHERE l.locktype OPERATOR(pg_catalog.=) 'relation' "
	"AND l.relation OPERATOR(pg_catalog.=) ANY ($1) AND l.database OPERATOR(pg_catalog.=) (SELECT d.oid FROM pg_catalog.pg_database d "
	"WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) AND l.mode OPERATOR(pg_catalog.=) 'RowExclusiveLock' "
	"AND l.granted AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()", 1, {OIDARRAYOID}
};
static EmkPlan members_plan = {
	"SELECT m.profile_id, EXISTS (SELECT FROM eventmkt_data.alias a WHERE a.alias OPERATOR(pg_catalog.=) m.profile_id) "
	"FROM eventmkt_data.membership m WHERE m.segment_id OPERATOR(pg_catalog.=) $3 AND m.profile_id OPERATOR(pg_catalog.>) $1 "
	"ORDER BY m.profile_id LIMIT $2", 3, {TEXTOID, INT8OID, INT4OID}
};
static EmkPlan profiles_plan = {
	"SELECT p.profile_id, false FROM eventmkt_data.profile p WHERE p.profile_id OPERATOR(pg_catalog.>) $1 AND $3 IS NOT NULL "
	"ORDER BY p.profile_id LIMIT $2", 3, {TEXTOID, INT8OID, INT4OID}
};
/* $2 ids, of which those with a row or a person of their own are left out by the caller */
static EmkPlan events_plan = {
	"SELECT d.profile_id, EXISTS (SELECT FROM eventmkt_data.profile p WHERE p.profile_id OPERATOR(pg_catalog.=) d.profile_id) "
	"OR EXISTS (SELECT FROM eventmkt_data.alias a WHERE a.alias OPERATOR(pg_catalog.=) d.profile_id) FROM ("
	"SELECT DISTINCT e.profile_id FROM eventmkt_data.event e WHERE e.profile_id OPERATOR(pg_catalog.>) $1 AND $3 IS NOT NULL "
	"ORDER BY e.profile_id LIMIT $2) d ORDER BY d.profile_id", 3, {TEXTOID, INT8OID, INT4OID}
};
static EmkPlan advance_plan = {
	"UPDATE eventmkt_data.segment_state SET fill = $2, fill_at = COALESCE($3, ''), filled = filled OPERATOR(pg_catalog.+) $4, "
	"tracked_since = CASE WHEN $2 IS NULL THEN COALESCE(tracked_since, $5) ELSE tracked_since END, "
	"filled_at = CASE WHEN $2 IS NULL THEN $5 END WHERE segment_id OPERATOR(pg_catalog.=) ANY ($1)", 5,
	{INT4ARRAYOID, TEXTOID, TEXTOID, INT8OID, TIMESTAMPTZOID}
};
static EmkPlan size_plan = {
	"INSERT INTO eventmkt_data.segment_size (segment_id, at, members) SELECT s.segment_id, "
	"pg_catalog.timezone('UTC', pg_catalog.date_trunc('hour', pg_catalog.timezone('UTC', $2))), s.members "
	"FROM eventmkt_data.segment_state s WHERE s.segment_id OPERATOR(pg_catalog.=) ANY ($1) ON CONFLICT DO NOTHING", 2,
	{INT4ARRAYOID, TIMESTAMPTZOID}
};

/* Transactions that wrote when the newest change of a segment was first seen and have not ended since. Of this process. */
static struct
{
	bool		stale;			/* a segment was changed since they were noted */
	int			n;				/* -1: not noted */
	char	  **v;
	TransactionId next;			/* the first id that none of them has */
}			writers = {.stale = true};
static Oid	state_oid = InvalidOid;

static void
on_change(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == state_oid)
		writers.stale = true;
}

void
emk_live_fill_init(void)
{
	emk_base_on_relcache(on_change);
}

/* Was it there when the writers were noted? A prepared transaction goes by its own id, whatever it was known by before. */
static bool
was_noted(const char *name, bool prepared)
{
	const char *id = strchr(name, '/');

	if (prepared && id != NULL)
		return TransactionIdPrecedes((TransactionId) strtoul(id + 1, NULL, 10), writers.next);
	for (int i = 0; i < writers.n; i++)
		if (strcmp(writers.v[i], name) == 0)
			return true;
	return false;
}

/* May a walk begin? */
static bool
writers_ended(void)
{
	bool		note;
	Datum		tables[3];
	Datum		arg;
	char	  **left;
	int			n;
	int			kept = 0;

	state_oid = emk_setting_table("segment_state");	/* first: it may hear of a change */
	note = writers.stale || writers.n < 0;
	if (!note && writers.n == 0)
		return true;
	writers.stale = false;
	if (note)
	{
		for (int i = 0; i < writers.n; i++)
			pfree(writers.v[i]);
		writers.n = -1;			/* to the end of this, or an ERROR notes them again */
		writers.next = XidFromFullTransactionId(ReadNextFullTransactionId());
	}
	tables[0] = ObjectIdGetDatum(emk_setting_table("event"));
	tables[1] = ObjectIdGetDatum(emk_setting_table("profile"));
	tables[2] = ObjectIdGetDatum(emk_setting_table("merge_log"));
	arg = emk_spi_array(tables, NULL, lengthof(tables), OIDOID);
	n = (int) emk_spi_run(&writers_plan, &arg, NULL, false, 0);
	left = MemoryContextAlloc(TopMemoryContext, sizeof(char *) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		char	   *name = emk_spi_text(i, 1);

		if (note || was_noted(name, emk_spi_bool(i, 2, false)))
			left[kept++] = MemoryContextStrdup(TopMemoryContext, name);
	}
	SPI_freetuptable(SPI_tuptable);
	for (int i = 0; i < writers.n; i++)
		pfree(writers.v[i]);
	if (writers.v != NULL)
		pfree(writers.v);
	writers.v = left;
	writers.n = kept;
	return kept == 0;
}

/* Stores where these segments stand now; fill NULL: done. */
static void
advance(EmkLive **s, int n, const char *fill, const char *fill_at, int64 people, TimestampTz now)
{
	Datum	   *ids = palloc(sizeof(Datum) * n);
	Datum		args[5] = {0, fill ? CStringGetTextDatum(fill) : 0, fill_at ? CStringGetTextDatum(fill_at) : 0, Int64GetDatum(people),
	TimestampTzGetDatum(now)};
	char		nulls[5] = {' ', fill ? ' ' : 'n', fill_at ? ' ' : 'n', ' ', ' '};

	for (int i = 0; i < n; i++)
		ids[i] = Int32GetDatum(s[i]->id);
	args[0] = emk_spi_array(ids, NULL, n, INT4OID);
	if (n == 0)
		return;
	emk_spi_run(&advance_plan, args, nulls, false, 0);
	if (fill == NULL)
	{
		args[1] = args[4];
		emk_spi_run(&size_plan, args, NULL, false, 0);
	}
}

/* The phase after `fill` of each: those that take people of whom there is no row go on, the others are done. */
static void
next_phase(EmkLive **s, int n, const char *fill, int64 people, TimestampTz now)
{
	EmkLive    *on[SHARED];
	EmkLive    *done[SHARED];
	int			non = 0;
	int			ndone = 0;

	if (strcmp(fill, "members") == 0)
	{
		advance(s, n, "profiles", "", people, now);
		return;
	}
	for (int i = 0; i < n; i++)
		if (strcmp(fill, "profiles") == 0 && s[i]->unknown)
			on[non++] = s[i];
		else
			done[ndone++] = s[i];
	advance(on, non, "events", "", people, now);
	advance(done, ndone, NULL, NULL, people, now);
}

/* The segments of the next chunk; rows of next_plan. *wait: there are some that may not begin yet. */
static int
find_next(bool *wait)
{
	Datum		all = BoolGetDatum(true);
	int			n = (int) emk_spi_run(&next_plan, &all, NULL, false, 0);

	*wait = false;
	if (n == 0 || !emk_spi_bool(0, 4, false))
		return n;
	SPI_freetuptable(SPI_tuptable);
	*wait = !writers_ended();
	all = BoolGetDatum(!*wait);
	return (int) emk_spi_run(&next_plan, &all, NULL, false, 0);
}

int
emk_live_fill(TimestampTz now, bool *wait)
{
	int			n = find_next(wait);
	EmkLive    *s[SHARED];
	EmkPair    *pairs;
	Datum		args[3];
	char	   *fill;
	char	   *last = NULL;
	int			limit;
	int			rows;
	int			people = 0;
	int			npairs = 0;
	int			k = 0;

	if (n == 0)
		return 0;
	fill = emk_spi_text(0, 2);
	args[0] = CStringGetTextDatum(emk_spi_text(0, 3));
	for (int i = 0; i < n; i++)
	{
		s[k] = emk_live_find(emk_spi_int4(i, 1, 0));
		k += s[k] != NULL;
	}
	if (k == 0)
		return 0;
	if (strcmp(fill, "members") == 0)
		k = 1;
	limit = Max(1, Min(CHUNK, CHUNK_PAIRS / k));
	args[1] = Int64GetDatum(limit);
	args[2] = Int32GetDatum(s[0]->id);
	rows = (int) emk_spi_run(strcmp(fill, "members") == 0 ? &members_plan : strcmp(fill, "events") == 0 ? &events_plan :
							 &profiles_plan, args, NULL, false, 0);
	pairs = palloc0(sizeof(EmkPair) * Max(rows * k, 1));
	for (int r = 0; r < rows; r++)
	{
		char	   *id = last = emk_spi_text(r, 1);
		bool		other = emk_spi_bool(r, 2, false);

		if (other && strcmp(fill, "events") == 0)
			continue;
		people++;
		for (int i = 0; i < k; i++, npairs++)
			pairs[npairs] = (EmkPair) {.profile_id = id, .s = s[i], .code = EMK_WEIGH_ASK, .quiet = true, .gone = other};
	}
	SPI_freetuptable(SPI_tuptable);
	emk_live_weigh(pairs, npairs, now);
	if (rows < limit)
		next_phase(s, k, fill, people, now);
	else
		advance(s, k, fill, last, people, now);
	return Max(rows, 1);
}

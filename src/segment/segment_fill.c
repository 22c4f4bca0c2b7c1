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
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "segment/segment_live.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#define CHUNK 500				/* people */
#define CHUNK_PAIRS 20000
#define SHARED 100				/* segments of one chunk */

static EmkPlan next_plan = {
	"SELECT s.segment_id, s.fill, s.fill_at FROM eventmkt_data.segment_state s JOIN (SELECT fill, fill_at FROM "
	"eventmkt_data.segment_state WHERE fill IS NOT NULL ORDER BY segment_id LIMIT 1) f ON s.fill OPERATOR(pg_catalog.=) f.fill "
	"AND s.fill_at OPERATOR(pg_catalog.=) f.fill_at ORDER BY s.segment_id LIMIT 100", 0, {0}
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

int
emk_live_fill(TimestampTz now)
{
	int			n = (int) emk_spi_run(&next_plan, NULL, NULL, false, 0);
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

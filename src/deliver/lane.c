/*
 * lane.c: strict order by person, for endpoints that were made `ordered`. Others pay nothing: the indexes hold no row of theirs.
 *
 * Words: a lane is what waits for, or is on its way to, an ordered endpoint for one profile: rows that are queued, retrying or in
 * flight. Its head is the one in flight, else the one with the lowest id (ids rise, see make_ids() in outbox.c). A row is
 * behind when it has the time `infinity` in next_attempt_at: it waits for the head of its lane, and no claim looks at it.
 *
 * Rules
 *   1. Only the head of a lane is claimed: at most one is in flight, and none overtakes an older one that waits for its next try,
 *      is held by a gate, or was redelivered. What is dead, delivered or cancelled is in no lane.
 *   2. The first of a batch for a profile is born ready, the others of the batch behind it (emk_lane_line_up): they become visible
 *      together, so nobody can miss to tell them. Whether an older one is open is asked when it is claimed; then it is set
 *      behind (emk_lane_park), once, whatever waits: no scan passes over it a second time.
 *   3. Whoever ends a delivery lets the head of its lane go (emk_lane_advance). An endpoint belongs to one worker, which claims and
 *      settles by turns, so parking and ending do not miss each other. Where they do (an UPDATE by hand, another session, a worker
 *      that just took the endpoint over) a round over the lanes finds a head that is behind (emk_lane_heal).
 *   4. A row may be let go too early: it is parked again when it is claimed. So every doubt is decided that way.
 *   5. Deliveries of rule 0 (members of segments) are of no single person and in no lane.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "deliver/deliver.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#define BEHIND \
	"x.ordered AND x.waiting AND x.next_attempt_at OPERATOR(pg_catalog.=) 'infinity'"

static EmkPlan join_plan = {
	"UPDATE eventmkt_data.delivery SET ordered = true WHERE id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT x.id FROM "
	"eventmkt_data.delivery x WHERE x.endpoint_id OPERATOR(pg_catalog.=) $1 AND x.waiting "
	"AND NOT x.ordered AND x.rule_id OPERATOR(pg_catalog.<>) 0 UNION ALL SELECT x.id FROM eventmkt_data.lease l, "
	"pg_catalog.unnest(l.ids) AS u (id), eventmkt_data.delivery x WHERE x.id OPERATOR(pg_catalog.=) u.id AND "
	"x.status OPERATOR(pg_catalog.=) 'in_flight' AND x.endpoint_id OPERATOR(pg_catalog.=) $1 AND NOT x.ordered "
	"AND x.rule_id OPERATOR(pg_catalog.<>) 0))",
	1, {INT4OID}
};
static EmkPlan leave_plan = {
	"UPDATE eventmkt_data.delivery SET ordered = false, next_attempt_at = CASE WHEN next_attempt_at "
	"OPERATOR(pg_catalog.=) 'infinity' THEN $2 ELSE next_attempt_at END WHERE endpoint_id OPERATOR(pg_catalog.=) $1 AND "
	"waiting AND ordered", 2, {INT4OID, TIMESTAMPTZOID}
};
/*
 * The three below reach a row by its id alone: WAITING_YET is asked of the row and serves no partial index. Statistics
 * from before a backlog came say that nobody waits; then each of those who do would be read, and for each the sub-query
 * run again.
 */
#define WAITING_YET(x)	x ".status OPERATOR(pg_catalog.=) ANY ('{queued,retrying}')"
static EmkPlan park_plan = {
	"WITH u (id, behind) AS MATERIALIZED (SELECT y.id, w.ordered AND w.head OPERATOR(pg_catalog.<>) w.id FROM (SELECT "
	"x.id, x.ordered, "
	"(" EMK_LANE_HEAD("o.id", "x") ") AS head FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS e "
	"(endpoint_id, low) CROSS JOIN LATERAL (SELECT r.id, r.endpoint_id, r.profile_id, r.node, r.ordered FROM "
	"eventmkt_data.delivery r WHERE r.endpoint_id OPERATOR(pg_catalog.=) e.endpoint_id AND r.waiting AND "
	"r.next_attempt_at OPERATOR(pg_catalog.>=) e.low AND "
	"r.next_attempt_at OPERATOR(pg_catalog.<=) $3 AND r.node OPERATOR(pg_catalog.=) $5 AND r.rule_id "
	"OPERATOR(pg_catalog.<>) 0 ORDER BY r.next_attempt_at LIMIT $4) x OFFSET 0) w JOIN eventmkt_data.delivery y ON y.id "
	"OPERATOR(pg_catalog.=) w.id WHERE (NOT w.ordered OR w.head OPERATOR(pg_catalog.<>) w.id) AND " WAITING_YET("y") " "
	"FOR UPDATE OF y SKIP LOCKED) "
	"UPDATE eventmkt_data.delivery AS d SET ordered = true, next_attempt_at = CASE WHEN d.id OPERATOR(pg_catalog.=) ANY "
	"(ARRAY(SELECT v.id FROM u AS v WHERE v.behind)) THEN 'infinity' ELSE d.next_attempt_at END "
	"WHERE d.id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT v.id FROM u AS v))",
	5, {INT4ARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZOID, INT4OID, INT2OID}
};
static EmkPlan advance_plan = {
	"UPDATE eventmkt_data.delivery AS d SET next_attempt_at = $2 WHERE d.id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT h.id "
	"FROM pg_catalog.unnest($1) AS "
	"u (id) CROSS JOIN LATERAL (SELECT s.endpoint_id, s.profile_id, s.node FROM eventmkt_data.delivery s WHERE s.id "
	"OPERATOR(pg_catalog.=) u.id AND s.ordered LIMIT 1) x "
	"CROSS JOIN LATERAL (" EMK_LANE_HEAD("o.id, o.next_attempt_at", "x") ") h WHERE h.next_attempt_at "
	"OPERATOR(pg_catalog.=) 'infinity')) AND " WAITING_YET("d") " "
	"AND d.next_attempt_at OPERATOR(pg_catalog.=) 'infinity'", 2, {UUIDARRAYOID, TIMESTAMPTZOID}
};
/*
 * From the lane after ($1, $2) on, at most $3; the row says where it came to. A lane of an endpoint that is not ordered any more goes
 * whole.
 */
static EmkPlan heal_plan = {
	"WITH RECURSIVE l (endpoint_id, profile_id, node, n) AS ((SELECT x.endpoint_id, x.profile_id, x.node, 1 FROM "
	"eventmkt_data.delivery x "
	"WHERE " BEHIND " AND ROW(x.endpoint_id, x.profile_id) OPERATOR(pg_catalog.>) ROW($1, $2) ORDER BY "
	"x.endpoint_id, x.profile_id LIMIT 1) UNION ALL SELECT y.endpoint_id, y.profile_id, y.node, l.n "
	"OPERATOR(pg_catalog.+) 1 FROM l CROSS JOIN LATERAL (SELECT x.endpoint_id, "
	"x.profile_id, x.node FROM eventmkt_data.delivery x WHERE " BEHIND " AND ROW(x.endpoint_id, x.profile_id) "
	"OPERATOR(pg_catalog.>) ROW(l.endpoint_id, l.profile_id) ORDER BY x.endpoint_id, x.profile_id LIMIT 1) y WHERE l.n "
	"OPERATOR(pg_catalog.<) $3), "
	"f (id) AS (SELECT h.id FROM l CROSS JOIN LATERAL (" EMK_LANE_HEAD("o.id, o.next_attempt_at", "l") ") h "
	"WHERE h.next_attempt_at OPERATOR(pg_catalog.=) 'infinity' UNION SELECT g.id FROM l CROSS JOIN LATERAL (SELECT x.id "
	"FROM eventmkt_data.delivery x WHERE " BEHIND " AND x.endpoint_id OPERATOR(pg_catalog.=) l.endpoint_id "
	"AND x.profile_id OPERATOR(pg_catalog.=) l.profile_id LIMIT 1000) g WHERE NOT EXISTS (SELECT FROM "
	"eventmkt_data.endpoint e WHERE e.endpoint_id OPERATOR(pg_catalog.=) l.endpoint_id AND e.ordered)), u AS (UPDATE "
	"eventmkt_data.delivery d SET next_attempt_at = $4 WHERE d.id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT y.id FROM "
	"eventmkt_data.delivery y WHERE y.id OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT f.id FROM f)) AND " WAITING_YET("y") " "
	"FOR UPDATE SKIP LOCKED)) RETURNING 1) "
	"SELECT l.endpoint_id, l.profile_id, l.n, (SELECT pg_catalog.count(*) FROM u) FROM l ORDER BY l.n DESC LIMIT 1",
	4, {INT4OID, TEXTOID, INT4OID, TIMESTAMPTZOID}
};

/* ---- birth ---- */

/* By lane, and within one as they were */
static int
compare_rows(const void *a, const void *b)
{
	const EmkOutbox *x = *(EmkOutbox *const *) a;
	const EmkOutbox *y = *(EmkOutbox *const *) b;
	int			c;

	if (x->endpoint_id != y->endpoint_id)
		return x->endpoint_id < y->endpoint_id ? -1 : 1;
	c = strcmp(x->profile_id, y->profile_id);
	return c != 0 ? c : memcmp(&x->id, &y->id, sizeof(pg_uuid_t));
}

void
emk_lane_line_up(EmkOutbox **rows, int n)
{
	if (n > 1)
		qsort(rows, n, sizeof(EmkOutbox *), compare_rows);
	for (int i = 0; i < n; i++)
	{
		rows[i]->in_flight = false;
		rows[i]->behind = i > 0 && rows[i - 1]->endpoint_id == rows[i]->endpoint_id &&
			strcmp(rows[i - 1]->profile_id, rows[i]->profile_id) == 0;
	}
}

/* ---- life ---- */

void
emk_lane_switch(int32 endpoint_id, bool ordered, TimestampTz now)
{
	Datum		args[2] = {Int32GetDatum(endpoint_id), TimestampTzGetDatum(now)};

	emk_spi_run(ordered ? &join_plan : &leave_plan, args, NULL, false, 0);
}

uint64
emk_lane_park(const int32 *endpoints, const TimestampTz *lows, int n, int limit, TimestampTz now)
{
	Datum	   *ids = palloc(sizeof(Datum) * Max(n, 1));
	Datum	   *from = palloc(sizeof(Datum) * Max(n, 1));
	Datum		args[5];

	for (int i = 0; i < n; i++)
	{
		ids[i] = Int32GetDatum(endpoints[i]);
		from[i] = TimestampTzGetDatum(lows[i]);
	}
	args[0] = emk_spi_array(ids, NULL, n, INT4OID);
	args[1] = emk_spi_array(from, NULL, n, TIMESTAMPTZOID);
	args[2] = TimestampTzGetDatum(now);
	args[3] = Int32GetDatum(limit);
	args[4] = Int16GetDatum(emk_setting_node());
	return emk_spi_run(&park_plan, args, NULL, false, 0);
}

uint64
emk_lane_advance(const pg_uuid_t **ids, int n, TimestampTz now)
{
	Datum	   *d = palloc(sizeof(Datum) * Max(n, 1));
	Datum		args[2];

	if (n == 0)
		return 0;
	for (int i = 0; i < n; i++)
		d[i] = UUIDPGetDatum(ids[i]);
	args[0] = emk_spi_array(d, NULL, n, UUIDOID);
	args[1] = TimestampTzGetDatum(now);
	return emk_spi_run(&advance_plan, args, NULL, false, 0);
}

uint64
emk_lane_heal(int limit, TimestampTz now)
{
	static int32 endpoint = 0;	/* the lane that the round has come to */
	static char profile[EMK_MAX_ID_BYTES + 1];
	Datum		args[4] = {Int32GetDatum(endpoint), CStringGetTextDatum(profile), Int32GetDatum(limit), TimestampTzGetDatum(now)};

	if (emk_spi_run(&heal_plan, args, NULL, false, 0) == 0 || emk_spi_int4(0, 3, 0) < limit)
	{
		endpoint = 0;
		profile[0] = '\0';
	}
	else
	{
		endpoint = emk_spi_int4(0, 1, 0);
		strlcpy(profile, emk_spi_text(0, 2), sizeof(profile));
	}
	return SPI_processed == 0 ? 0 : (uint64) emk_spi_int8(0, 4, 0);
}

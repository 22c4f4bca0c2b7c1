/*
 * activate.c: tells endpoints who came into a tracked segment and who left: sync_segment().
 *
 * Words: a line is a row of segment_sync, one segment to one endpoint. What the endpoint knows of a person is a row of segment_told:
 * `told` arrived there, `sending` is what the message under way says, `pending` says that the truth may be another since.
 *
 * Rules
 *   1. One message of a line is under way at a time, so messages arrive in order and a change back while it travels is the next.
 *   2. A message holds up to BATCH people whose membership differs from what the endpoint knows; who came and went again
 *      before it was made is in none.
 *   3. A message is a delivery like any other, with its own id, signature and tries; what it said is `told` once it is delivered.
 *      One that died holds the line until it is redelivered, or sync_segment() is called again, which makes a new one. Whether the
 *      endpoint had taken it nobody knows, so the people it named are told again, those who left meanwhile as well.
 *   4. All of it is rows, changed in the transaction that makes the delivery: it goes on where it stood.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "segment/segment.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/timestamp.h"
#include "worker/pass.h"
#include "worker/worker.h"

#define BATCH		100				/* people of one message */
#define LOOK_AT		1000			/* pending people a step: most net out in a segment that flutters */
#define TYPE		"segment.members"
#define PAUSE_MIN	(USECS_PER_SEC / 50)	/* between looks at a message under way */
#define PAUSE_MAX	USECS_PER_SEC

static EmkPlan lines_plan = {
	"SELECT y.sync_id, s.name, y.endpoint_id, y.segment_id, y.delivery_id IS NOT NULL, (SELECT d.status FROM eventmkt_data.delivery d "
	"WHERE d.id OPERATOR(pg_catalog.=) y.delivery_id), EXISTS (SELECT FROM eventmkt_data.endpoint e WHERE e.endpoint_id "
	"OPERATOR(pg_catalog.=) y.endpoint_id) FROM eventmkt_data.segment_sync y JOIN eventmkt_data.segment s "
	"ON s.segment_id OPERATOR(pg_catalog.=) y.segment_id ORDER BY y.sync_id FOR UPDATE OF y SKIP LOCKED", 0, {0}
};
static EmkPlan arrived_plan = {
	"WITH gone AS (DELETE FROM eventmkt_data.segment_told WHERE sync_id OPERATOR(pg_catalog.=) $1 AND sending IS NOT NULL AND NOT sending "
	"AND NOT pending "
	"RETURNING 1), here AS (UPDATE eventmkt_data.segment_told SET told = sending, sending = NULL WHERE sync_id "
	"OPERATOR(pg_catalog.=) $1 AND sending IS NOT NULL AND (sending OR pending) RETURNING 1) "
	"UPDATE eventmkt_data.segment_sync SET delivery_id = NULL, last_at = $2, told = told OPERATOR(pg_catalog.+) "
	"(SELECT pg_catalog.count(*) FROM gone) OPERATOR(pg_catalog.+) (SELECT pg_catalog.count(*) FROM here) "
	"WHERE sync_id OPERATOR(pg_catalog.=) $1", 2, {INT4OID, TIMESTAMPTZOID}
};
static EmkPlan again_plan = {
	"WITH t AS (UPDATE eventmkt_data.segment_told SET pending = true, told = NULL, sending = NULL WHERE sync_id OPERATOR(pg_catalog.=) $1 "
	"AND sending IS NOT NULL) UPDATE eventmkt_data.segment_sync SET delivery_id = NULL WHERE sync_id OPERATOR(pg_catalog.=) $1", 1,
	{INT4OID}
};
static EmkPlan pending_plan = {
	"SELECT t.profile_id, t.told, EXISTS (SELECT FROM eventmkt_data.membership m WHERE m.segment_id OPERATOR(pg_catalog.=) $2 "
	"AND m.profile_id OPERATOR(pg_catalog.=) t.profile_id) FROM eventmkt_data.segment_told t WHERE t.sync_id "
	"OPERATOR(pg_catalog.=) $1 AND t.pending ORDER BY t.profile_id LIMIT $3", 3, {INT4OID, INT4OID, INT8OID}
};
static EmkPlan settle_plan = {
	"WITH u AS MATERIALIZED (SELECT y.tid, y.told, x.sending FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) AS x "
	"(id, sending) CROSS JOIN LATERAL (SELECT z.ctid AS tid, z.told FROM eventmkt_data.segment_told z WHERE z.sync_id "
	"OPERATOR(pg_catalog.=) $1 AND z.profile_id OPERATOR(pg_catalog.=) (x.id COLLATE \"C\") LIMIT 1) y), "
	"gone AS (DELETE FROM eventmkt_data.segment_told t WHERE t.ctid OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT u.tid FROM u "
	"WHERE u.sending IS NULL AND NOT u.told))), "
	"same AS (UPDATE eventmkt_data.segment_told t SET pending = false WHERE t.ctid OPERATOR(pg_catalog.=) ANY (ARRAY("
	"SELECT u.tid FROM u WHERE u.sending IS NULL AND u.told))) "
	"UPDATE eventmkt_data.segment_told t SET pending = false, sending = t.ctid OPERATOR(pg_catalog.=) ANY (ARRAY("
	"SELECT u.tid FROM u WHERE u.sending)) WHERE t.ctid OPERATOR(pg_catalog.=) ANY (ARRAY("
	"SELECT u.tid FROM u WHERE u.sending IS NOT NULL))", 3,
	{INT4OID, TEXTARRAYOID, BOOLARRAYOID}
};
static EmkPlan under_way_plan = {
	"UPDATE eventmkt_data.segment_sync SET delivery_id = $2 WHERE sync_id OPERATOR(pg_catalog.=) $1", 2, {INT4OID, UUIDOID}
};
static EmkPlan drop_plan = {
	"WITH t AS (DELETE FROM eventmkt_data.segment_told WHERE sync_id OPERATOR(pg_catalog.=) $1) "
	"DELETE FROM eventmkt_data.segment_sync WHERE sync_id OPERATOR(pg_catalog.=) $1", 1, {INT4OID}
};
static EmkPlan find_plan = {
	"SELECT s.segment_id, s.tracked, (SELECT e.endpoint_id FROM eventmkt_data.endpoint e WHERE e.name OPERATOR(pg_catalog.=) $2), "
	"y.sync_id, (SELECT d.status FROM eventmkt_data.delivery d WHERE d.id OPERATOR(pg_catalog.=) y.delivery_id) "
	"FROM eventmkt_data.segment s LEFT JOIN eventmkt_data.segment_sync y ON y.segment_id OPERATOR(pg_catalog.=) s.segment_id "
	"AND y.endpoint_id OPERATOR(pg_catalog.=) (SELECT e.endpoint_id FROM eventmkt_data.endpoint e "
	"WHERE e.name OPERATOR(pg_catalog.=) $2) WHERE s.name OPERATOR(pg_catalog.=) $1", 2, {TEXTOID, TEXTOID}
};
static EmkPlan begin_plan = {
	"WITH y AS (INSERT INTO eventmkt_data.segment_sync (segment_id, endpoint_id, created_at) VALUES ($1, $2, $3) RETURNING sync_id) "
	"INSERT INTO eventmkt_data.segment_told (sync_id, profile_id, told, pending) SELECT y.sync_id, m.profile_id, false, true "
	"FROM y, eventmkt_data.membership m WHERE m.segment_id OPERATOR(pg_catalog.=) $1", 3, {INT4OID, INT4OID, TIMESTAMPTZOID}
};
static EmkPlan cancel_plan = {
	"UPDATE eventmkt_data.delivery d SET status = 'cancelled', settled_at = $2, last_error = 'unsync_segment()' "
	"FROM eventmkt_data.segment_sync y WHERE y.sync_id OPERATOR(pg_catalog.=) $1 AND d.id OPERATOR(pg_catalog.=) y.delivery_id "
	"AND d.waiting", 2, {INT4OID, TIMESTAMPTZOID}
};

typedef struct Line
{
	int32		sync_id;
	char	   *segment;
	int32		endpoint_id;
	int32		segment_id;
	bool		under_way;		/* a message was made whose end is not known yet */
	char	   *status;			/* of that message; NULL: it is gone */
	bool		endpoint;		/* it exists */
} Line;

static void
append_ids(StringInfo buf, const char *key, char **ids, int n)
{
	appendStringInfo(buf, ", \"%s\": [", key);
	for (int i = 0; i < n; i++)
	{
		appendStringInfoString(buf, i ? ", " : "");
		escape_json(buf, ids[i]);
	}
	appendStringInfoChar(buf, ']');
}

static char *
body(const Line *l, char **added, int nadded, char **removed, int nremoved, TimestampTz now)
{
	static const int utc = 0;
	char		iso[MAXDATELEN + 1];
	StringInfoData buf;

	JsonEncodeDateTime(iso, TimestampTzGetDatum(now), TIMESTAMPTZOID, &utc);
	initStringInfo(&buf);
	appendStringInfo(&buf, "{\"type\": \"" TYPE "\", \"timestamp\": \"%s\", \"data\": {", iso);
	emk_json_append_string(&buf, "segment", l->segment);
	append_ids(&buf, "added", added, nadded);
	append_ids(&buf, "removed", removed, nremoved);
	appendStringInfoString(&buf, "}}");
	return buf.data;
}

static void
send(const Line *l, const char *text, TimestampTz now)
{
	EmkOutbox	o = {.rule = TYPE, .profile_id = "", .key = l->segment, .endpoint_id = l->endpoint_id, .body = text,
		.started_at = now, .received_at = now, .run_created_at = now, .due_at = now,
		.depth = EMK_MAX_DEPTH + 1	/* its delivery is no event */
	};
	Datum		args[2] = {Int32GetDatum(l->sync_id), 0};

	emk_outbox_insert(&o, 1, 0, now);
	args[1] = UUIDPGetDatum(&o.id);
	emk_spi_run(&under_way_plan, args, NULL, false, 0);
}

/* Makes the next message of a line whose last one arrived; returns how many people were looked at. */
static int
next_message(const Line *l, TimestampTz now)
{
	Datum		args[3] = {Int32GetDatum(l->sync_id), Int32GetDatum(l->segment_id), Int64GetDatum(LOOK_AT)};
	int			n = (int) emk_spi_run(&pending_plan, args, NULL, false, 0);
	Datum	   *ids = palloc(sizeof(Datum) * Max(n, 1));
	Datum	   *sending = palloc(sizeof(Datum) * Max(n, 1));
	bool	   *same = palloc(Max(n, 1));
	char	   *changed[2][BATCH];		/* removed, added */
	int			nchanged[2] = {0, 0};
	int			k = 0;

	for (int i = 0; i < n; i++)
	{
		char	   *id = emk_spi_text(i, 1);
		bool		in = emk_spi_bool(i, 3, false);
		bool		unknown;
		bool		told = DatumGetBool(emk_spi_datum(i, 2, &unknown)) == in && !unknown;

		if (!told && nchanged[0] + nchanged[1] == BATCH)
			continue;			/* of the next message */
		if (!told)
			changed[in][nchanged[in]++] = id;
		ids[k] = CStringGetTextDatum(id);
		sending[k] = BoolGetDatum(in);
		same[k++] = told;
	}
	SPI_freetuptable(SPI_tuptable);
	if (k == 0)
		return 0;
	args[1] = emk_spi_array(ids, NULL, k, TEXTOID);
	args[2] = emk_spi_array(sending, same, k, BOOLOID);
	emk_spi_run(&settle_plan, args, NULL, false, 0);
	if (nchanged[0] + nchanged[1] > 0)
		send(l, body(l, changed[1], nchanged[1], changed[0], nchanged[0], now), now);
	return k;
}

/* One step of a line; returns what was done. *waits: a message is under way. */
static int
step(Line *l, TimestampTz now, bool *waits)
{
	Datum		args[2] = {Int32GetDatum(l->sync_id), TimestampTzGetDatum(now)};

	if (!l->endpoint)
	{
		emk_spi_run(&drop_plan, args, NULL, false, 0);
		return 1;
	}
	if (l->under_way && l->status == NULL)
		emk_spi_run(&again_plan, args, NULL, false, 0);	/* retention took the message: what it said is to be told again */
	else if (l->under_way && strcmp(l->status, "delivered") == 0)
		emk_spi_run(&arrived_plan, args, NULL, false, 0);
	else if (l->under_way)
	{
		*waits |= strcmp(l->status, "dead") != 0 && strcmp(l->status, "cancelled") != 0;
		return 0;
	}
	return next_message(l, now) + l->under_way;
}

int
emk_activate_turn(TimestampTz now, TimestampTz *next)
{
	static int64 pause = PAUSE_MIN;
	uint64		n;
	Line	   *lines;
	bool		waits = false;
	int			done = 0;

	if (!emk_segment_any() || !emk_segment_lock(false))
		return 0;				/* whose turn it is comes back to it */
	n = emk_spi_run(&lines_plan, NULL, NULL, false, 0);
	lines = palloc(sizeof(Line) * Max(n, 1));
	for (uint64 i = 0; i < n; i++)
		lines[i] = (Line) {
			emk_spi_int4(i, 1, 0), emk_spi_text(i, 2), emk_spi_int4(i, 3, 0), emk_spi_int4(i, 4, 0), emk_spi_bool(i, 5, false),
			emk_spi_text(i, 6), emk_spi_bool(i, 7, false)
		};
	SPI_freetuptable(SPI_tuptable);
	for (uint64 i = 0; i < n; i++)
		done += step(&lines[i], now, &waits);
	pause = done > 0 ? PAUSE_MIN : Min(pause * 2, PAUSE_MAX);
	if (waits)
		*next = Min(*next, now + pause);
	return done;
}

/* ---- SQL ---- */

/* Finds segment and endpoint by name into *l, sync_id 0 where there is no line; ERROR EM008, EM003. */
static bool
find(FunctionCallInfo fcinfo, Line *l)
{
	Datum		args[2] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)};

	if (emk_spi_run(&find_plan, args, NULL, false, 1) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_EMK_UNKNOWN_SEGMENT),
				 errmsg("segment \"%s\" does not exist", text_to_cstring(PG_GETARG_TEXT_PP(0))),
				 errhint("The segments are listed in the view eventmkt_bi.segments.")));
	*l = (Line) {emk_spi_int4(0, 4, 0), .segment_id = emk_spi_int4(0, 1, 0), .endpoint_id = emk_spi_int4(0, 3, 0),
		.status = emk_spi_text(0, 5)
	};
	if (l->endpoint_id == 0)
		ereport(ERROR,
				(errcode(ERRCODE_EMK_UNKNOWN_ENDPOINT),
				 errmsg("endpoint \"%s\" does not exist", text_to_cstring(PG_GETARG_TEXT_PP(1)))));
	return emk_spi_bool(0, 2, false);
}

PG_FUNCTION_INFO_V1(emk_activate_sync);
/* eventmkt.sync_segment(segment, endpoint) */
Datum
emk_activate_sync(PG_FUNCTION_ARGS)
{
	EmkOwner	owner;
	Datum		args[3];
	Line		l;

	emk_owner_enter(&owner);
	SPI_connect();
	(void) emk_segment_lock(true);
	if (!find(fcinfo, &l))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("members of segment \"%s\" are not tracked", text_to_cstring(PG_GETARG_TEXT_PP(0))),
				 errhint("Call eventmkt.track_segment() first.")));
	args[0] = Int32GetDatum(l.sync_id != 0 ? l.sync_id : l.segment_id);
	args[1] = Int32GetDatum(l.endpoint_id);
	args[2] = TimestampTzGetDatum(emk_clock_now());
	if (l.sync_id == 0)
		emk_spi_run(&begin_plan, args, NULL, false, 0);
	else if (l.status != NULL && (strcmp(l.status, "dead") == 0 || strcmp(l.status, "cancelled") == 0))
		emk_spi_run(&again_plan, args, NULL, false, 0);
	emk_wake_at_commit();
	SPI_finish();
	emk_owner_leave(&owner);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(emk_activate_unsync);
/* eventmkt.unsync_segment(segment, endpoint) */
Datum
emk_activate_unsync(PG_FUNCTION_ARGS)
{
	EmkOwner	owner;
	Datum		args[2];
	Line		l;

	emk_owner_enter(&owner);
	SPI_connect();
	(void) emk_segment_lock(true);
	(void) find(fcinfo, &l);
	args[0] = Int32GetDatum(l.sync_id);
	args[1] = TimestampTzGetDatum(emk_clock_now());
	if (l.sync_id != 0)
	{
		emk_spi_run(&cancel_plan, args, NULL, false, 0);
		emk_spi_run(&drop_plan, args, NULL, false, 0);
	}
	SPI_finish();
	emk_owner_leave(&owner);
	PG_RETURN_VOID();
}

/*
 * claim.c: taking deliveries that are ready. Rows of endpoints that have room are locked (SKIP LOCKED), the gates are asked
 * once more, and what passes is marked in flight with our epoch. One statement each for a batch, whatever its size.
 *
 * At an ordered endpoint only the head of a lane may go (deliver/lane.c); what is found ready but is not, is set behind.
 *
 * The index delivery_ready is read from the low-water mark of each endpoint on, so that the dead entries of what was sent
 * before cost nothing; every five seconds the mark is put back and a row that became visible late is found.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "gate/gate.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "rule/rule.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "worker/send_int.h"

#define SLACK			(2 * USECS_PER_SEC)
#define HOLD_DISABLED	(60 * USECS_PER_SEC)	/* a delivery of a disabled rule is looked at again */
#define PARK_AT_MOST	500
#define PARK_FOR_ONE	32		/* rows that are looked at for one that was found to be behind */
#define HOLD_BROKEN		(300 * USECS_PER_SEC)	/* one whose gates raised an error */

static EmkPlan ready_plan = {
	"SELECT d.id, d.endpoint_id, d.run_id, d.rule_id, d.rule, d.rule_version, d.profile_id, d.key, d.attempts, d.schedule, "
	"d.body, d.event_id, d.started_at, d.due_at, d.depth, d.was IS NOT NULL, d.next_attempt_at, d.was OPERATOR(pg_catalog.=) 'delivered', "
	"d.tid, e.ordered AND d.rule_id OPERATOR(pg_catalog.<>) 0 AND (NOT d.ordered OR d.id OPERATOR(pg_catalog.<>) ("
	EMK_LANE_HEAD("o.id", "d") ")) FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), "
	"pg_catalog.unnest($8)) AS e (endpoint_id, room, low, ordered) "
	"CROSS JOIN LATERAL (SELECT x.ctid AS tid, x.* FROM eventmkt_data.delivery x "
	"WHERE x.endpoint_id OPERATOR(pg_catalog.=) e.endpoint_id AND x.waiting "
	"AND x.next_attempt_at OPERATOR(pg_catalog.>=) e.low AND x.next_attempt_at OPERATOR(pg_catalog.<=) $4 "
	"AND x.node OPERATOR(pg_catalog.=) $5 AND x.id OPERATOR(pg_catalog.<>) ALL ($7) "
	"ORDER BY x.next_attempt_at LIMIT e.room FOR UPDATE SKIP LOCKED) AS d LIMIT $6", 8,
	{INT4ARRAYOID, INT4ARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZOID, INT2OID, INT8OID, UUIDARRAYOID, BOOLARRAYOID}
};
static EmkPlan next_plan = {
	"SELECT e.endpoint_id, (SELECT x.next_attempt_at FROM eventmkt_data.delivery x "
	"WHERE x.endpoint_id OPERATOR(pg_catalog.=) e.endpoint_id AND x.waiting "
	"AND x.next_attempt_at OPERATOR(pg_catalog.>) $2 AND x.node OPERATOR(pg_catalog.=) $3 "
	"ORDER BY x.next_attempt_at LIMIT 1) FROM pg_catalog.unnest($1) AS e (endpoint_id)", 3,
	{INT4ARRAYOID, TIMESTAMPTZOID, INT2OID}
};
static EmkPlan mark_plan = {
	"UPDATE eventmkt_data.delivery AS d SET status = 'in_flight', lease = $2, attempts = d.attempts OPERATOR(pg_catalog.+) 1, "
	"first_sent_at = COALESCE(d.first_sent_at, $3) FROM pg_catalog.unnest($1) AS u (id) "
	"WHERE d.id OPERATOR(pg_catalog.=) u.id", 3, {UUIDARRAYOID, INT8OID, TIMESTAMPTZOID}
};
static EmkPlan refuse_plan = {
	"UPDATE eventmkt_data.delivery AS d SET status = CASE WHEN u.held_until IS NOT NULL THEN d.status "
	"WHEN d.was OPERATOR(pg_catalog.=) 'delivered' THEN d.was ELSE 'cancelled' END, "
	"next_attempt_at = COALESCE(u.held_until, d.next_attempt_at), last_error = u.reason, "
	"settled_at = CASE WHEN u.held_until IS NULL THEN $4 ELSE d.settled_at END "
	"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) AS u (id, held_until, reason) "
	"WHERE d.id OPERATOR(pg_catalog.=) u.id", 4, {UUIDARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID}
};
static EmkPlan orphans_plan = {
	"WITH RECURSIVE e (endpoint_id) AS ((SELECT x.endpoint_id FROM eventmkt_data.delivery x "
	"WHERE x.waiting ORDER BY x.endpoint_id LIMIT 1) UNION ALL "
	"SELECT (SELECT x.endpoint_id FROM eventmkt_data.delivery x WHERE x.waiting "
	"AND x.endpoint_id OPERATOR(pg_catalog.>) e.endpoint_id ORDER BY x.endpoint_id LIMIT 1) FROM e "
	"WHERE e.endpoint_id IS NOT NULL) SELECT e.endpoint_id FROM e WHERE e.endpoint_id IS NOT NULL "
	"AND NOT EXISTS (SELECT FROM eventmkt_data.endpoint p WHERE p.endpoint_id OPERATOR(pg_catalog.=) e.endpoint_id) "
	"AND EXISTS (SELECT FROM eventmkt_data.delivery x WHERE x.endpoint_id OPERATOR(pg_catalog.=) e.endpoint_id "
	"AND x.waiting AND x.node OPERATOR(pg_catalog.=) $1)", 1, {INT2OID}
};

/* ---- the rows ---- */

static char *
body_in_utf8(char *body, size_t *length)
{
	char	   *converted = pg_server_to_any(body, strlen(body), PG_UTF8);

	*length = strlen(converted);
	return converted;
}

/* A slot from a row of ready_plan; NULL when no slot is free. */
static EmkSend *
fill(uint64 row, EmkPeer *peer)
{
	bool		isnull;
	EmkSend    *s = emk_send_take_slot(peer);
	ArrayType  *a;
	MemoryContext before;

	if (s == NULL)
		return NULL;
	before = MemoryContextSwitchTo(s->context);
	s->id = *DatumGetUUIDP(emk_spi_datum(row, 1, &isnull));
	s->tid = *(ItemPointer) DatumGetPointer(emk_spi_datum(row, 19, &isnull));
	s->run_id = emk_spi_int8(row, 3, 0);
	s->rule_id = emk_spi_int4(row, 4, 0);
	s->rule = emk_spi_text(row, 5);
	s->rule_version = emk_spi_int4(row, 6, 0);
	s->profile_id = emk_spi_text(row, 7);
	s->key = emk_spi_text(row, 8);
	s->attempts = emk_spi_int4(row, 9, 0) + 1;
	a = DatumGetArrayTypePCopy(emk_spi_datum(row, 10, &isnull));
	s->nschedule = ARR_HASNULL(a) ? 0 : ArrayGetNItems(ARR_NDIM(a), ARR_DIMS(a));
	s->schedule = (int32 *) ARR_DATA_PTR(a);
	s->body = body_in_utf8(emk_spi_text(row, 11), &s->length);
	s->event_id = emk_spi_int8(row, 12, 0);
	s->started_at = DatumGetTimestampTz(emk_spi_datum(row, 13, &isnull));
	s->due_at = DatumGetTimestampTz(emk_spi_datum(row, 14, &isnull));
	s->depth = DatumGetInt16(emk_spi_datum(row, 15, &isnull));
	s->again = emk_spi_bool(row, 16, false);
	s->was_delivered = emk_spi_bool(row, 18, false);
	MemoryContextSwitchTo(before);
	return s;
}

/* ---- the gates ---- */

/* False when it raised an error, which nobody asks about */
static bool
guarded(void (*fn) (void *arg), void *arg)
{
	return emk_guard_try_on(fn, arg) == NULL;
}

typedef struct Asking
{
	EmkGateRun *runs;
	int			n;
	TimestampTz now;
} Asking;

static void
ask_gates(void *arg)
{
	Asking	   *a = arg;

	emk_gate_ask(a->runs, a->n, a->now);
}

/* False when the gates raised an error, which a run asked alone is held for and which is told once in a while */
static bool
ask_guarded(EmkGateRun *runs, int n, TimestampTz now)
{
	Asking		a = {runs, n, now};
	ErrorData  *e = emk_guard_try_on(ask_gates, &a);

	if (e != NULL && n == 1 && emk_worker_may_report())
		ereport(LOG,
				(errcode(e->sqlerrcode),
				 errmsg("eventmkt could not ask whether a message is still wanted (SQLSTATE %s)", unpack_sql_state(e->sqlerrcode)),
				 errdetail("It is held and asked about again.")));
	return e == NULL;
}

/* Judges what does not need the gates' queries; true when `run` is to be asked. */
static bool
needs_gates(const EmkSend *s, EmkGateRun *run, TimestampTz now)
{
	const EmkRule *current = emk_rule_current(s->rule_id);
	const EmkRule *rule;

	memset(run, 0, sizeof(*run));
	run->profile_id = s->profile_id;
	run->key = s->key;
	run->started_at = s->started_at;
	run->event_id = s->event_id;
	run->delivery_id = &s->id;
	run->verdict = EMK_PASS;
	if (s->rule_id == 0)
		return false;			/* what an endpoint is told of a segment: no rule has a say */
	if (current != NULL && !current->enabled)
	{
		run->verdict = EMK_HOLD;
		run->reason = "rule_disabled";
		run->hold_until = now + HOLD_DISABLED;
		return false;
	}
	rule = current == NULL ? NULL : emk_rule_get(s->rule_id, s->rule_version);
	if (rule == NULL)
	{
		run->verdict = EMK_CANCEL;
		run->reason = "rule_dropped";
		return false;
	}
	run->rule = rule;
	return emk_gate_needed(rule);
}

/* Verdicts for all; a delivery whose gates raise an error is held, and stops no other. */
static void
ask(EmkSend **sends, EmkGateRun *runs, int n, TimestampTz now)
{
	EmkGateRun *asked = palloc(sizeof(EmkGateRun) * n);
	int		   *which = palloc(sizeof(int) * n);
	int			nasked = 0;

	for (int i = 0; i < n; i++)
		if (needs_gates(sends[i], &runs[i], now))
			which[nasked++] = i;
	/* loading a rule may have processed an invalidation: take the pointers only now */
	for (int k = 0; k < nasked; k++)
	{
		EmkSend    *s = sends[which[k]];

		runs[which[k]].rule = emk_rule_get(s->rule_id, s->rule_version);
		asked[k] = runs[which[k]];
	}
	if (nasked > 0 && !ask_guarded(asked, nasked, now))
		for (int k = 0; k < nasked; k++)
		{
			asked[k] = runs[which[k]];
			if (nasked > 1 && ask_guarded(&asked[k], 1, now))
				continue;
			asked[k] = runs[which[k]];
			asked[k].verdict = EMK_HOLD;
			asked[k].reason = "gate_error";
			asked[k].hold_until = now + HOLD_BROKEN;
		}
	for (int k = 0; k < nasked; k++)
		runs[which[k]] = asked[k];
}

/* Stores the refusals, and their decisions unless the run is only held. Their slots become free. */
static void
refuse(EmkSend **sends, EmkGateRun *runs, int n, TimestampTz now)
{
	Datum	   *ids = palloc(sizeof(Datum) * n);
	Datum	   *until = palloc(sizeof(Datum) * n);
	bool	   *final = palloc(sizeof(bool) * n);
	Datum	   *reasons = palloc(sizeof(Datum) * n);
	EmkDecision *d = palloc0(sizeof(EmkDecision) * n);
	Datum		args[4];
	int			refused = 0;
	int			decided = 0;

	for (int i = 0; i < n; i++)
	{
		EmkSend    *s = sends[i];
		EmkGateRun *r = &runs[i];

		if (r->verdict == EMK_PASS)
			continue;
		ids[refused] = UUIDPGetDatum(&s->id);
		final[refused] = r->verdict != EMK_HOLD;
		until[refused] = TimestampTzGetDatum(Max(r->hold_until, now + USECS_PER_SEC));
		reasons[refused++] = CStringGetTextDatum(r->reason ? r->reason : r->verdict == EMK_REARM ? "activity" : "gate");
		if (r->verdict != EMK_HOLD && !s->was_delivered)
			d[decided++] = (EmkDecision) {
				.run_id = s->again ? 0 : s->run_id, .rule_id = s->rule_id, .rule = s->rule, .rule_version = s->rule_version,
				.profile_id = s->profile_id, .key = s->key, .outcome = r->verdict == EMK_SUPPRESS ? "suppressed" : "cancelled",
				.reason = r->reason ? r->reason : "activity", .facts = r->facts, .delivery_id = &s->id, .event_id = s->event_id,
				.started_at = s->started_at, .due_at = s->due_at
			};
	}
	if (refused == 0)
		return;
	args[0] = emk_spi_array(ids, NULL, refused, UUIDOID);
	args[1] = emk_spi_array(until, final, refused, TIMESTAMPTZOID);
	args[2] = emk_spi_array(reasons, NULL, refused, TEXTOID);
	args[3] = TimestampTzGetDatum(now);
	emk_spi_run(&refuse_plan, args, NULL, false, 0);
	if (decided > 0)
		emk_event_decide(d, decided, now);
	for (int i = 0; i < n; i++)
		final[i] = runs[i].verdict != EMK_PASS && runs[i].verdict != EMK_HOLD;
	emk_claim_advance(sends, final, n, now);
	for (int i = 0; i < n; i++)
		if (runs[i].verdict != EMK_PASS)
			emk_send_free_slot(sends[i]);
}

void
emk_claim_advance(EmkSend **sends, const bool *ended, int n, TimestampTz now)
{
	const pg_uuid_t **ids = palloc(sizeof(pg_uuid_t *) * Max(n, 1));
	int			k = 0;

	for (int i = 0; i < n; i++)
		if (ended[i] && sends[i]->peer->ordered && sends[i]->rule_id != 0)
		{
			ids[k++] = &sends[i]->id;
			sends[i]->peer->maybe = true;
		}
	if (k > 0)
		emk_lane_advance(ids, k, now);
	pfree(ids);
}

/* ---- claiming ---- */

static Datum
peer_array(EmkPeer **peers, int n)
{
	Datum	   *ids = palloc(sizeof(Datum) * Max(n, 1));

	for (int i = 0; i < n; i++)
		ids[i] = Int32GetDatum(peers[i]->endpoint_id);
	return emk_spi_array(ids, NULL, n, INT4OID);
}

static EmkPlan back_plan = {
	"UPDATE eventmkt_data.delivery AS d SET next_attempt_at = d.next_attempt_at OPERATOR(pg_catalog.-) $3 FROM ("
	"SELECT x.id FROM eventmkt_data.delivery x "
	"WHERE x.endpoint_id OPERATOR(pg_catalog.=) ANY ($1) AND x.waiting AND x.node OPERATOR(pg_catalog.=) $4 "
	"AND x.next_attempt_at OPERATOR(pg_catalog.>) $2 AND x.next_attempt_at OPERATOR(pg_catalog.<) 'infinity'::pg_catalog.timestamptz "
	"FOR UPDATE SKIP LOCKED) AS y WHERE d.id OPERATOR(pg_catalog.=) y.id",
	4, {INT4ARRAYOID, TIMESTAMPTZOID, INTERVALOID, INT2OID}
};

/*
 * What was made at a time that is still to come, and was not tried or held since the clock was set back, waits from now on. What was moved
 * lies before its birth: it is not moved again by the next worker.
 */
static EmkPlan unborn_plan = {
	"UPDATE eventmkt_data.delivery AS d SET next_attempt_at = d.next_attempt_at OPERATOR(pg_catalog.-) "
	"(d.created_at OPERATOR(pg_catalog.-) $2) FROM ("
	"SELECT x.id FROM eventmkt_data.delivery x "
	"WHERE x.endpoint_id OPERATOR(pg_catalog.=) ANY ($1) AND x.waiting AND x.node OPERATOR(pg_catalog.=) $4 "
	"AND x.next_attempt_at OPERATOR(pg_catalog.>) $2 AND x.next_attempt_at OPERATOR(pg_catalog.<) 'infinity'::pg_catalog.timestamptz "
	"AND x.created_at OPERATOR(pg_catalog.>) ($2 OPERATOR(pg_catalog.+) $3) "
	"AND x.attempts OPERATOR(pg_catalog.=) 0 AND x.next_attempt_at OPERATOR(pg_catalog.>=) x.created_at "
	"FOR UPDATE SKIP LOCKED) AS y WHERE d.id OPERATOR(pg_catalog.=) y.id",
	4, {INT4ARRAYOID, TIMESTAMPTZOID, INTERVALOID, INT2OID}
};

static void
move_unborn(void *arg)
{
	emk_spi_run(&unborn_plan, arg, NULL, false, 0);
}

void
emk_claim_unborn(EmkPeer **peers, int n, TimestampTz now)
{
	Interval	iv = {.time = EMK_CLOCK_STEP};
	Datum		args[4] = {peer_array(peers, n), TimestampTzGetDatum(now), IntervalPGetDatum(&iv), Int16GetDatum(emk_setting_node())};

	if (emk_outbox_lead() > EMK_CLOCK_STEP)	/* else there is none such: ids rise, and are by the same clock */
		(void) guarded(move_unborn, args);
}

static void
move_back(void *arg)
{
	emk_spi_run(&back_plan, arg, NULL, false, 0);
}

bool
emk_claim_clock_back(EmkPeer **peers, int n, int64 by, TimestampTz now)
{
	Interval	iv = {.time = by};
	Datum		args[4] = {peer_array(peers, n), TimestampTzGetDatum(now), IntervalPGetDatum(&iv), Int16GetDatum(emk_setting_node())};

	return guarded(move_back, args);
}

typedef struct Healing
{
	int			limit;
	TimestampTz now;
	uint64		healed;
} Healing;

static void
heal_lanes(void *arg)
{
	Healing    *h = arg;

	h->healed = emk_lane_heal(h->limit, h->now);
}

bool
emk_claim_heal(int limit, TimestampTz now)
{
	Healing		h = {limit, now};

	return guarded(heal_lanes, &h) && h.healed > 0;
}

/* For endpoints that gave less than they were asked for: nothing is ready there before next_ready. */
static void
find_next(EmkPeer **peers, int n, TimestampTz now)
{
	Datum		args[3] = {peer_array(peers, n), TimestampTzGetDatum(now), Int16GetDatum(emk_setting_node())};

	emk_spi_run(&next_plan, args, NULL, false, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Datum		next = emk_spi_datum(i, 2, &isnull);
		EmkPeer    *p = emk_peer_find(emk_spi_int4(i, 1, 0));

		p->maybe = false;
		p->next_ready = isnull ? DT_NOEND : DatumGetTimestampTz(next);
	}
}

static uint64
find_ready(EmkPeer **peers, const int *limits, int n, int total, TimestampTz now)
{
	Datum	   *rooms = palloc(sizeof(Datum) * n);
	Datum	   *lows = palloc(sizeof(Datum) * n);
	Datum	   *ordered = palloc(sizeof(Datum) * n);
	Datum		args[8];

	for (int i = 0; i < n; i++)
	{
		rooms[i] = Int32GetDatum(limits[i]);
		lows[i] = TimestampTzGetDatum(peers[i]->low);
		ordered[i] = BoolGetDatum(peers[i]->ordered);
	}
	args[0] = peer_array(peers, n);
	args[1] = emk_spi_array(rooms, NULL, n, INT4OID);
	args[2] = emk_spi_array(lows, NULL, n, TIMESTAMPTZOID);
	args[3] = TimestampTzGetDatum(now);
	args[4] = Int16GetDatum(emk_setting_node());
	args[5] = Int64GetDatum(total);
	args[6] = emk_poison_skip(emk_clock_monotonic());
	args[7] = emk_spi_array(ordered, NULL, n, BOOLOID);
	return emk_spi_run(&ready_plan, args, NULL, false, 0);
}

/* A batch being marked in flight */
typedef struct Marking
{
	EmkSend   **sends;
	TimestampTz now;
	Datum		status;
} Marking;

static bool
mark_row(void *rows, int i, Datum *v, bool *isnull)
{
	const Marking *m = rows;
	const EmkSend *s = m->sends[i];

	if (memcmp(DatumGetUUIDP(v[EMK_DELIVERY_ID]), &s->id, sizeof(pg_uuid_t)) != 0 ||
		DatumGetInt32(v[EMK_DELIVERY_ATTEMPTS]) != s->attempts - 1)
		return false;
	v[EMK_DELIVERY_STATUS] = m->status;
	v[EMK_DELIVERY_LEASE] = Int64GetDatum(emk_send_epoch);
	v[EMK_DELIVERY_ATTEMPTS] = Int32GetDatum(s->attempts);
	v[EMK_DELIVERY_WAITING] = v[EMK_DELIVERY_LANE] = BoolGetDatum(false);
	if (isnull[EMK_DELIVERY_FIRST_SENT_AT])
		v[EMK_DELIVERY_FIRST_SENT_AT] = TimestampTzGetDatum(m->now);
	isnull[EMK_DELIVERY_LEASE] = isnull[EMK_DELIVERY_FIRST_SENT_AT] = false;
	return true;
}

/* Marks what passed. The rows are locked by us; a statement does what cannot be written where it lies. */
static void
mark(EmkSend **sends, EmkGateRun *runs, int n, TimestampTz now)
{
	Marking		m = {palloc(sizeof(EmkSend *) * n), now, CStringGetTextDatum("in_flight")};
	ItemPointer *tids = palloc(sizeof(ItemPointer) * n);
	bool	   *done = palloc(sizeof(bool) * n);
	Datum	   *ids = palloc(sizeof(Datum) * n);
	int			passed = 0;
	int			left = 0;
	Datum		args[3];

	for (int i = 0; i < n; i++)
		if (runs[i].verdict == EMK_PASS)
		{
			emk_peer_spend(sends[i]->peer, 1);
			tids[passed] = &sends[i]->tid;
			m.sends[passed++] = sends[i];
		}
	if (passed == 0)
		return;
	emk_lease_write();
	if (emk_outbox_rewrite(tids, passed, mark_row, &m, done) == passed)
		return;
	for (int i = 0; i < passed; i++)
		if (!done[i])
			ids[left++] = UUIDPGetDatum(&m.sends[i]->id);
	args[0] = emk_spi_array(ids, NULL, left, UUIDOID);
	args[1] = Int64GetDatum(emk_send_epoch);
	args[2] = TimestampTzGetDatum(now);
	if (emk_spi_run(&mark_plan, args, NULL, false, 0) != (uint64) left)
		emk_outbox_suppressed();
}

/* Is a row of ready_plan not the head of its lane? Unknown counts as such: parking looks again. */
static bool
is_behind(uint64 row)
{
	return emk_spi_bool(row, 20, true);
}

typedef struct Parking
{
	int32	   *endpoints;
	TimestampTz *lows;
	int			n;
	int			limit;
	TimestampTz now;
	int			parked;
} Parking;

static void
park_lanes(void *arg)
{
	Parking    *p = arg;

	p->parked = emk_lane_park(p->endpoints, p->lows, p->n, p->limit, p->now);
}

/* Sets behind what has to wait for others of its person, where such was found, so that nobody comes across it again. */
static void
park(EmkPeer **peers, const int *behind, int n, int limit, TimestampTz now)
{
	int32	   *ids = palloc(sizeof(int32) * n);
	TimestampTz *lows = palloc(sizeof(TimestampTz) * n);
	Parking		p;
	int			k = 0;

	for (int i = 0; i < n; i++)
		if (behind[i] > 0)
		{
			ids[k] = peers[i]->endpoint_id;
			lows[k++] = peers[i]->low;
		}
	p = (Parking) {ids, lows, k, limit, now};
	/* a row that cannot be changed, because a trigger raises on it, stops nobody but those behind it */
	if (!guarded(park_lanes, &p) || p.parked == 0)
		return;
	for (int i = 0; i < n; i++)
		peers[i]->maybe |= behind[i] > 0;
}

int
emk_claim_ready(EmkPeer **peers, const int *limits, int n, int total, TimestampTz now)
{
	uint64		rows;
	EmkSend   **sends;
	EmkGateRun *runs;
	EmkPeer   **drained = palloc(sizeof(EmkPeer *) * n);
	int		   *behind = palloc0(sizeof(int) * n);
	int			ndrained = 0;
	int			nbehind = 0;
	int			taken = 0;
	int			passed = 0;

	if (total <= 0)
		return 0;
	rows = find_ready(peers, limits, n, total, now);
	sends = palloc(sizeof(EmkSend *) * Max(rows, 1));
	runs = palloc(sizeof(EmkGateRun) * Max(rows, 1));
	for (int i = 0; i < n; i++)
	{
		int			got = 0;

		for (uint64 r = 0; r < rows; r++)
			if (emk_spi_int4(r, 2, 0) == peers[i]->endpoint_id)
			{
				got++;
				behind[i] += is_behind(r);
			}
		nbehind += behind[i];
		peers[i]->maybe = true;
		if (got < limits[i] && rows < total)
			drained[ndrained++] = peers[i];
	}
	for (uint64 r = 0; r < rows; r++)
	{
		bool		isnull;
		EmkPeer    *p = emk_peer_find(emk_spi_int4(r, 2, 0));

		if (is_behind(r))
			continue;
		sends[taken] = fill(r, p);
		if (sends[taken] == NULL)
			break;
		p->low = Max(p->low, DatumGetTimestampTz(emk_spi_datum(r, 17, &isnull)) - SLACK);
		taken++;
	}
	if (taken > 0)
	{
		ask(sends, runs, taken, now);
		mark(sends, runs, taken, now);
		EMK_PAUSE_POINT("claim_marked");
		for (int i = 0; i < taken; i++)
			passed += runs[i].verdict == EMK_PASS;
		refuse(sends, runs, taken, now);
	}
	if (ndrained > 0)
		find_next(drained, ndrained, now);
	if (nbehind > 0)
		park(peers, behind, n, Min(PARK_AT_MOST, PARK_FOR_ONE * nbehind + (int) rows), now);
	return passed;
}

/*
 * Ends what waits for an endpoint that is gone: it was in flight, or in a transaction that had not committed, when the
 * endpoint was dropped.
 */
void
emk_claim_orphans(TimestampTz now)
{
	Datum		arg = Int16GetDatum(emk_setting_node());
	uint64		n = emk_spi_run(&orphans_plan, &arg, NULL, false, 0);
	int32	   *ids = palloc(sizeof(int32) * Max(n, 1));

	for (uint64 i = 0; i < n; i++)
		ids[i] = emk_spi_int4(i, 1, 0);
	for (uint64 i = 0; i < n; i++)
		emk_outbox_cancel_endpoint(ids[i], now);
}

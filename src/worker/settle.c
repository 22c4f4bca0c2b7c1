/*
 * settle.c: storing what came of tries: the rows are changed where they lie, attempts and decisions appended. A row that no
 * longer carries our epoch and the number of the try was taken over by somebody else and stays untouched.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "rule/rule.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"
#include "worker/send_int.h"

#define DELIVERED_EVENT "Message Delivered"

/* for rows that could not be changed where they lie */
static EmkPlan settle_plan = {
	"UPDATE eventmkt_data.delivery AS d SET status = u.status, lease = NULL, "
	"next_attempt_at = COALESCE(u.next_at, d.next_attempt_at), "
	"settled_at = CASE WHEN u.status OPERATOR(pg_catalog.=) 'retrying' THEN d.settled_at ELSE $9 END, "
	"last_status = u.http, last_error = u.error "
	"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), "
	"pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7)) AS u (ord, id, attempt, status, next_at, http, error) "
	"WHERE d.id OPERATOR(pg_catalog.=) u.id AND d.status OPERATOR(pg_catalog.=) 'in_flight' "
	"AND d.lease OPERATOR(pg_catalog.=) $8 AND d.attempts OPERATOR(pg_catalog.=) u.attempt RETURNING u.ord", 9,
	{INT4ARRAYOID, UUIDARRAYOID, INT4ARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, INT4ARRAYOID, TEXTARRAYOID, INT8OID,
	TIMESTAMPTZOID}
};
static EmkPlan still_ours_plan = {
	"SELECT EXISTS (SELECT FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS u (id, attempt), eventmkt_data.delivery d "
	"WHERE d.id OPERATOR(pg_catalog.=) u.id AND d.status OPERATOR(pg_catalog.=) 'in_flight' "
	"AND d.lease OPERATOR(pg_catalog.=) $3 AND d.attempts OPERATOR(pg_catalog.=) u.attempt)", 3,
	{UUIDARRAYOID, INT4ARRAYOID, INT8OID}
};
static EmkPlan release_held_plan = {
	"UPDATE eventmkt_data.pending_trigger AS p SET wake_at = $4 "
	"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) AS u (profile_id, rule_id, key) "
	"WHERE p.profile_id OPERATOR(pg_catalog.=) u.profile_id AND p.rule_id OPERATOR(pg_catalog.=) u.rule_id "
	"AND p.key OPERATOR(pg_catalog.=) u.key AND p.state OPERATOR(pg_catalog.=) 'held' "
	"AND p.wake_at OPERATOR(pg_catalog.>) $4 AND p.wake_at OPERATOR(pg_catalog.<) 'infinity'", 4,
	{TEXTARRAYOID, INT4ARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID}
};
static EmkPlan named_plan = {
	"SELECT EXISTS (SELECT FROM eventmkt_data.rule_event WHERE name OPERATOR(pg_catalog.=) 'Message Delivered')", 0, {0}
};

static Oid	rule_event_relid = InvalidOid;
static bool named = false;		/* does a rule name DELIVERED_EVENT? valid while rule_event_relid is */
static uint64 changes = 0;		/* moves with every invalidation */

static void
forget(Datum arg, Oid relid)
{
	/* while it is read its table is not known yet: any invalidation counts */
	if (relid == InvalidOid || relid == rule_event_relid || !OidIsValid(rule_event_relid))
	{
		rule_event_relid = InvalidOid;
		changes++;
	}
}

void
emk_settle_init(void)
{
	static bool registered = false;

	if (!registered)
		emk_base_on_relcache(forget);
	registered = true;
}

/* ---- rows ---- */

static const char *
status_of(const EmkSend *s)
{
	if (s->plan.verdict == EMK_TRY_DELIVERED)
		return "delivered";
	if (s->plan.verdict != EMK_TRY_RETRY)
		return "dead";
	return s->peer->exists ? "retrying" : s->was_delivered ? "delivered" : "cancelled";
}

/* A batch being settled */
typedef struct Settling
{
	EmkSend   **sends;
	TimestampTz now;
} Settling;

static bool
settle_row(void *rows, int i, Datum *v, bool *isnull)
{
	const Settling *batch = rows;
	const EmkSend *s = batch->sends[i];
	const char *status = status_of(s);

	if (memcmp(DatumGetUUIDP(v[EMK_DELIVERY_ID]), &s->id, sizeof(pg_uuid_t)) != 0 || isnull[EMK_DELIVERY_LEASE] ||
		DatumGetInt64(v[EMK_DELIVERY_LEASE]) != emk_send_epoch || DatumGetInt32(v[EMK_DELIVERY_ATTEMPTS]) != s->attempts ||
		!emk_outbox_status_is(v[EMK_DELIVERY_STATUS], "in_flight"))
		return false;
	v[EMK_DELIVERY_STATUS] = CStringGetTextDatum(status);
	isnull[EMK_DELIVERY_LEASE] = true;
	if (s->plan.verdict == EMK_TRY_RETRY)
		v[EMK_DELIVERY_NEXT_ATTEMPT_AT] = TimestampTzGetDatum(s->plan.next);	/* else it stays: an index knows it */
	v[EMK_DELIVERY_WAITING] = v[EMK_DELIVERY_LANE] = BoolGetDatum(strcmp(status, "retrying") == 0);
	isnull[EMK_DELIVERY_LANE] |= strcmp(status, "retrying") != 0;
	if (strcmp(status, "retrying") != 0)
	{
		v[EMK_DELIVERY_SETTLED_AT] = TimestampTzGetDatum(batch->now);
		isnull[EMK_DELIVERY_SETTLED_AT] = false;
	}
	v[EMK_DELIVERY_DIED_AT] = v[EMK_DELIVERY_SETTLED_AT];
	isnull[EMK_DELIVERY_DIED_AT] = strcmp(status, "dead") != 0;
	v[EMK_DELIVERY_LAST_STATUS] = Int32GetDatum(s->status);
	isnull[EMK_DELIVERY_LAST_STATUS] = s->status == 0;
	v[EMK_DELIVERY_LAST_ERROR] = s->error ? CStringGetTextDatum(s->error) : (Datum) 0;
	isnull[EMK_DELIVERY_LAST_ERROR] = s->error == NULL;
	if (s->plan.verdict == EMK_TRY_RETRY)
		EMK_PAUSE_POINT("settle_retry");
	else if (s->plan.verdict != EMK_TRY_DELIVERED)
		EMK_PAUSE_POINT("settle_dead");
	return true;
}

/* For the n of which stored[] is false: the same by a statement. */
static void
store_by_statement(EmkSend **sends, int n, bool *stored, TimestampTz now)
{
	Datum		args[9];
	Datum	   *c[7];
	bool	   *null_next = palloc(n);
	bool	   *null_http = palloc(n);
	bool	   *null_error = palloc(n);
	int			k = 0;

	for (int i = 0; i < 7; i++)
		c[i] = palloc(sizeof(Datum) * n);
	for (int i = 0; i < n; i++)
	{
		EmkSend    *s = sends[i];

		if (stored[i])
			continue;
		c[0][k] = Int32GetDatum(i);
		c[1][k] = UUIDPGetDatum(&s->id);
		c[2][k] = Int32GetDatum(s->attempts);
		c[3][k] = CStringGetTextDatum(status_of(s));
		c[4][k] = TimestampTzGetDatum(s->plan.next);
		null_next[k] = s->plan.verdict != EMK_TRY_RETRY;
		c[5][k] = Int32GetDatum(s->status);
		null_http[k] = s->status == 0;
		null_error[k] = s->error == NULL;
		c[6][k++] = s->error ? CStringGetTextDatum(s->error) : (Datum) 0;
	}
	args[0] = emk_spi_array(c[0], NULL, k, INT4OID);
	args[1] = emk_spi_array(c[1], NULL, k, UUIDOID);
	args[2] = emk_spi_array(c[2], NULL, k, INT4OID);
	args[3] = emk_spi_array(c[3], NULL, k, TEXTOID);
	args[4] = emk_spi_array(c[4], null_next, k, TIMESTAMPTZOID);
	args[5] = emk_spi_array(c[5], null_http, k, INT4OID);
	args[6] = emk_spi_array(c[6], null_error, k, TEXTOID);
	args[7] = Int64GetDatum(emk_send_epoch);
	args[8] = TimestampTzGetDatum(now);
	emk_spi_run(&settle_plan, args, NULL, false, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
		stored[emk_spi_int4(i, 1, 0)] = true;
	if (SPI_processed == (uint64) k)
		return;
	/* what was not changed is somebody else's by now, or a trigger keeps it from being changed: then it must stay in its slot */
	args[0] = args[1];
	args[1] = args[2];
	args[2] = args[7];
	emk_spi_run(&still_ours_plan, args, NULL, false, 0);
	if (emk_spi_bool(0, 1, false))
		emk_outbox_suppressed();
}

/* Stores n tries; marks in `stored` those whose row was still ours. */
static void
store(EmkSend **sends, int n, bool *stored, TimestampTz now)
{
	Settling	batch = {sends, now};
	ItemPointer *tids = palloc(sizeof(ItemPointer) * n);
	EmkAttempt *tries = palloc(sizeof(EmkAttempt) * n);
	int			k = 0;

	for (int i = 0; i < n; i++)
		tids[i] = &sends[i]->tid;
	if (emk_outbox_rewrite(tids, n, settle_row, &batch, stored) < n)
		store_by_statement(sends, n, stored, now);
	for (int i = 0; i < n; i++)
		if (stored[i])
			tries[k++] = (EmkAttempt) {
				.delivery_id = &sends[i]->id, .attempt = sends[i]->attempts, .started_at = sends[i]->sent_at,
				.latency_us = sends[i]->latency_us, .status = sends[i]->status, .error = sends[i]->error,
				.response = sends[i]->excerpt
			};
	emk_outbox_log(tries, k);
}

/* ---- decisions ---- */

static const char *
facts_of(const EmkSend *s)
{
	StringInfoData buf;

	if (s->plan.verdict == EMK_TRY_DELIVERED && s->attempts == 1)
		return NULL;
	initStringInfo(&buf);
	appendStringInfo(&buf, "{\"attempts\": %d", s->attempts);
	if (s->status != 0)
		appendStringInfo(&buf, ", \"status\": %d", s->status);
	if (s->error != NULL)
	{
		appendStringInfoString(&buf, ", ");
		emk_json_append_string(&buf, "error", s->error);
	}
	appendStringInfoChar(&buf, '}');
	return buf.data;
}

static void
decide(EmkSend **sends, int n, const bool *stored, TimestampTz now)
{
	EmkDecision *d = palloc0(sizeof(EmkDecision) * n);
	int			decided = 0;

	for (int i = 0; i < n; i++)
	{
		EmkSend    *s = sends[i];
		const char *status = status_of(s);

		if (!stored[i] || strcmp(status, "retrying") == 0 || (s->was_delivered && s->plan.verdict != EMK_TRY_DEAD))
			continue;
		d[decided++] = (EmkDecision) {
			.run_id = s->again ? 0 : s->run_id, .rule_id = s->rule_id, .rule = s->rule, .rule_version = s->rule_version,
			.profile_id = s->profile_id, .key = s->key, .outcome = status,
			.reason = status[0] == 'c' ? "endpoint_dropped" : s->plan.reason ? s->plan.reason : s->again ? "redelivered" : NULL,
			.facts = facts_of(s), .delivery_id = &s->id, .event_id = s->event_id, .started_at = s->started_at,
			.due_at = s->due_at
		};
	}
	if (decided > 0)
		emk_event_decide(d, decided, now);
}

/* Runs that were held because an earlier send of their rule, profile and key was open: it is not any more. */
static void
release_held(EmkSend **sends, int n, const bool *stored, TimestampTz now)
{
	Datum	   *c[3];
	Datum		args[4];
	int			k = 0;

	for (int i = 0; i < 3; i++)
		c[i] = palloc(sizeof(Datum) * n);
	for (int i = 0; i < n; i++)
	{
		const EmkRule *rule;

		if (!stored[i] || (sends[i]->plan.verdict == EMK_TRY_RETRY && sends[i]->peer->exists))
			continue;
		rule = emk_rule_get(sends[i]->rule_id, sends[i]->rule_version);
		if (rule == NULL || rule->reentry == NULL)
			continue;
		c[0][k] = CStringGetTextDatum(sends[i]->profile_id);
		c[1][k] = Int32GetDatum(sends[i]->rule_id);
		c[2][k++] = CStringGetTextDatum(sends[i]->key);
	}
	if (k == 0)
		return;
	args[0] = emk_spi_array(c[0], NULL, k, TEXTOID);
	args[1] = emk_spi_array(c[1], NULL, k, INT4OID);
	args[2] = emk_spi_array(c[2], NULL, k, TEXTOID);
	args[3] = TimestampTzGetDatum(now);
	if (emk_spi_run(&release_held_plan, args, NULL, false, 0) > 0)
		emk_wake_at_commit();
}

/* ---- the engine's own event ---- */

static bool
is_named(void)
{
	if (!OidIsValid(rule_event_relid))
	{
		Oid			relid = emk_setting_table("rule_event");
		uint64		seen = changes;

		emk_spi_run(&named_plan, NULL, NULL, false, 0);
		named = emk_spi_bool(0, 1, false);
		if (seen == changes)
			rule_event_relid = relid;
	}
	return named;
}

static void
tell(const EmkSend *s, TimestampTz now)
{
	const int32 *rules;
	EmkMatchInput in = {.name = DELIVERED_EVENT, .profile_id = s->profile_id, .depth = s->depth + 1, .occurred_at = now,
	.now = now};
	StringInfoData buf;
	EmkEvent	ev = {.event_id = emk_event_next_id(), .profile_id = s->profile_id, .name = DELIVERED_EVENT,
		.occurred_at = now, .received_at = now, .depth = s->depth + 1
	};
	int			n;

	initStringInfo(&buf);
	appendStringInfoChar(&buf, '{');
	emk_json_append_string(&buf, "rule", s->rule);
	appendStringInfoString(&buf, ", ");
	emk_json_append_string(&buf, "key", s->key);
	appendStringInfoString(&buf, ", ");
	emk_json_append_string(&buf, "endpoint", s->peer->name);
	appendStringInfoString(&buf, ", ");
	emk_json_append_string(&buf, "delivery_id", DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&s->id))));
	appendStringInfoChar(&buf, '}');
	ev.properties = emk_json_parse(buf.data);
	emk_event_append(&ev);
	in.properties = ev.properties;
	in.event_id = ev.event_id;
	n = emk_rule_match(&in, &rules);
	if (n > 0)
	{
		EmkWork		work = {.kind = 'e', .event_id = ev.event_id, .profile_id = ev.profile_id, .occurred_at = now,
			.rules = rules, .nrules = n, .depth = ev.depth
		};

		emk_event_enqueue(&work, 1);
	}
}

int
emk_settle_done(int64 mono, TimestampTz now)
{
	EmkSend   **sends = palloc(sizeof(EmkSend *) * Max(emk_poison_limit(EMK_STAGE_SETTLE), 1));
	int			n = emk_poison_pick(sends, mono);
	bool	   *stored = palloc(Max(n, 1));
	bool	   *ended = palloc(Max(n, 1));

	if (n == 0)
		return 0;
	for (int i = 0; i < n; i++)
		emk_send_clock_back(sends[i]);
	store(sends, n, stored, now);
	EMK_PAUSE_POINT("settle_stored");
	decide(sends, n, stored, now);
	EMK_PAUSE_POINT("settle_decided");
	release_held(sends, n, stored, now);
	for (int i = 0; i < n; i++)
		ended[i] = stored[i] && strcmp(status_of(sends[i]), "retrying") != 0;
	emk_claim_advance(sends, ended, n, now);
	for (int i = 0; i < n; i++)
	{
		EmkSend    *s = sends[i];

		s->settled = true;
		if (!stored[i])
			continue;
		if (s->plan.verdict == EMK_TRY_RETRY)
			s->peer->next_ready = Min(s->peer->next_ready, s->plan.next);
		else if (s->plan.verdict == EMK_TRY_DELIVERED && !s->again && s->depth <= EMK_MAX_DEPTH && is_named())
			tell(s, now);
	}
	return n;
}

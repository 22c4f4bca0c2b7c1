/*
 * outbox.c: the only writer of new deliveries, and what an operator may do to old ones.
 *
 * State of a delivery (eventmkt_data.delivery.status), with the function of each change:
 *
 *   (run is due) --emk_outbox_insert--> queued, or in_flight with the lease of the worker that made it
 *   queued, retrying --emk_claim--> in_flight            the gates passed; lease and attempts are set
 *   queued, retrying --emk_claim--> cancelled            a gate said no
 *   in_flight --emk_settle--> delivered | retrying | dead
 *   in_flight --emk_claim_lost--> retrying               the worker that held the lease is gone
 *   dead, delivered --redeliver--> queued                same id, same body; `was` keeps the status it had
 *   queued, retrying --drop_endpoint--> cancelled
 *
 * A message that was delivered stays delivered when a redelivery of it is refused or its endpoint dropped.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "deliver/deliver.h"
#include "event/event.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#define CANCEL_BATCH 5000

static EmkPlan insert_plan = {
	"INSERT INTO eventmkt_data.delivery (id, node, run_id, rule_id, rule, rule_version, profile_id, key, endpoint_id, status, "
	"attempts, next_attempt_at, lease, schedule, body, event_id, started_at, received_at, run_created_at, due_at, created_at, "
	"first_sent_at, depth, priority) "
	"SELECT u.id, $18, u.run_id, u.rule_id, u.rule, u.rule_version, u.profile_id, u.key, u.endpoint_id, "
	"CASE WHEN u.mine THEN 'in_flight' ELSE 'queued' END, u.mine::pg_catalog.int4, $20, CASE WHEN u.mine THEN $19 END, "
	"e.schedule, u.body, u.event_id, u.started_at, u.received_at, u.run_created_at, u.due_at, $20, "
	"CASE WHEN u.mine THEN $20 END, u.depth, u.priority "
	"FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4), "
	"pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8), pg_catalog.unnest($9), "
	"pg_catalog.unnest($10), pg_catalog.unnest($11), pg_catalog.unnest($12), pg_catalog.unnest($13), pg_catalog.unnest($14), "
	"pg_catalog.unnest($15), pg_catalog.unnest($16), pg_catalog.unnest($17)) "
	"AS u (id, run_id, rule_id, rule, rule_version, profile_id, key, endpoint_id, mine, body, event_id, started_at, "
	"received_at, run_created_at, due_at, depth, priority) "
	"JOIN eventmkt_data.endpoint e ON e.endpoint_id OPERATOR(pg_catalog.=) u.endpoint_id", 20,
	{UUIDARRAYOID, INT8ARRAYOID, INT4ARRAYOID, TEXTARRAYOID, INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT4ARRAYOID,
		BOOLARRAYOID, TEXTARRAYOID, INT8ARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID,
	TIMESTAMPTZARRAYOID, INT2ARRAYOID, INT4ARRAYOID, INT2OID, INT8OID, TIMESTAMPTZOID}
};
static EmkPlan known_plan = {
	"SELECT endpoint_id FROM eventmkt_data.endpoint", 0, {0}
};
static EmkPlan cancel_plan = {
	"UPDATE eventmkt_data.delivery AS d SET settled_at = $2, last_error = 'the endpoint was dropped', "
	"status = CASE WHEN x.was OPERATOR(pg_catalog.=) 'delivered' THEN x.was ELSE 'cancelled' END "
	"FROM (SELECT id, was FROM eventmkt_data.delivery WHERE endpoint_id OPERATOR(pg_catalog.=) $1 "
	"AND status OPERATOR(pg_catalog.=) ANY ('{queued,retrying}') LIMIT 5000 FOR UPDATE) AS x "
	"WHERE d.id OPERATOR(pg_catalog.=) x.id "
	"RETURNING d.id, CASE WHEN x.was IS NULL THEN d.run_id END, d.rule_id, d.rule, d.rule_version, "
	"d.profile_id, d.key, d.event_id, d.started_at, d.due_at, d.status", 2, {INT4OID, TIMESTAMPTZOID}
};

void
emk_outbox_make_ids(pg_uuid_t *ids, int n, int stride)
{
	uint64		us = emk_clock_real() + ((uint64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)) * USECS_PER_DAY;
	uint64		ms = us / 1000;
	uint64		fraction = us % 1000 * 4096 / 1000;
	uint8		random[64 * 8];

	for (int i = 0; i < n; i++)
	{
		uint8	   *d = ((pg_uuid_t *) ((char *) ids + (Size) i * stride))->data;

		if (i % 64 == 0 && !pg_strong_random(random, Min(n - i, 64) * 8))
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("could not generate random values")));
		for (int b = 0; b < 6; b++)
			d[b] = ms >> (40 - 8 * b);
		d[6] = 0x70 | fraction >> 8;
		d[7] = fraction;
		memcpy(d + 8, random + i % 64 * 8, 8);
		d[8] = 0x80 | (d[8] & 0x3f);
	}
}

/* Rows whose endpoint is gone were not inserted: their runs end here. */
static void
bury(EmkOutbox *rows, int n, TimestampTz now)
{
	uint64		nknown = emk_spi_run(&known_plan, NULL, NULL, false, 0);
	EmkDecision *d = palloc0(sizeof(EmkDecision) * n);
	int			ndead = 0;

	for (int i = 0; i < n; i++)
	{
		bool		known = false;

		for (uint64 k = 0; k < nknown && !known; k++)
			known = emk_spi_int4(k, 1, 0) == rows[i].endpoint_id;
		if (known)
			continue;
		rows[i].in_flight = false;
		d[ndead++] = (EmkDecision) {
			.run_id = rows[i].run_id, .rule_id = rows[i].rule_id, .rule = rows[i].rule, .rule_version = rows[i].rule_version,
			.profile_id = rows[i].profile_id, .key = rows[i].key, .outcome = "dead", .reason = "endpoint_dropped",
			.event_id = rows[i].event_id, .started_at = rows[i].started_at, .due_at = rows[i].due_at
		};
	}
	emk_event_decide(d, ndead, now);
}

/* One array of the insert: a column of the rows. */
#define COLUMN(index, type, expression) \
	do { \
		for (int i = 0; i < n; i++) \
			cells[i] = (expression); \
		values[index] = emk_spi_array(cells, NULL, n, type); \
	} while (0)

void
emk_outbox_insert(EmkOutbox *rows, int n, int64 lease, TimestampTz now)
{
	Datum		values[20];
	Datum	   *cells;
	bool		queued = false;

	if (n == 0)
		return;
	cells = palloc(sizeof(Datum) * n);
	emk_outbox_make_ids(&rows[0].id, n, sizeof(EmkOutbox));
	COLUMN(0, UUIDOID, UUIDPGetDatum(&rows[i].id));
	COLUMN(1, INT8OID, Int64GetDatum(rows[i].run_id));
	COLUMN(2, INT4OID, Int32GetDatum(rows[i].rule_id));
	COLUMN(3, TEXTOID, CStringGetTextDatum(rows[i].rule));
	COLUMN(4, INT4OID, Int32GetDatum(rows[i].rule_version));
	COLUMN(5, TEXTOID, CStringGetTextDatum(rows[i].profile_id));
	COLUMN(6, TEXTOID, CStringGetTextDatum(rows[i].key));
	COLUMN(7, INT4OID, Int32GetDatum(rows[i].endpoint_id));
	COLUMN(8, BOOLOID, BoolGetDatum(rows[i].in_flight && lease != 0));
	COLUMN(9, TEXTOID, CStringGetTextDatum(rows[i].body));
	COLUMN(10, INT8OID, Int64GetDatum(rows[i].event_id));
	COLUMN(11, TIMESTAMPTZOID, TimestampTzGetDatum(rows[i].started_at));
	COLUMN(12, TIMESTAMPTZOID, TimestampTzGetDatum(rows[i].received_at));
	COLUMN(13, TIMESTAMPTZOID, TimestampTzGetDatum(rows[i].run_created_at));
	COLUMN(14, TIMESTAMPTZOID, TimestampTzGetDatum(rows[i].due_at));
	COLUMN(15, INT2OID, Int16GetDatum(rows[i].depth));
	COLUMN(16, INT4OID, Int32GetDatum(rows[i].priority));
	values[17] = Int16GetDatum(emk_setting_node());
	values[18] = Int64GetDatum(lease);
	values[19] = TimestampTzGetDatum(now);
	if (emk_spi_run(&insert_plan, values, NULL, false, 0) < n)
		bury(rows, n, now);
	for (int i = 0; i < n && !queued; i++)
		queued = !rows[i].in_flight;
	if (queued)
		emk_wake_at_commit();
}

uint64
emk_outbox_cancel_endpoint(int32 endpoint_id, TimestampTz now)
{
	Datum		args[2] = {Int32GetDatum(endpoint_id), TimestampTzGetDatum(now)};
	uint64		total = 0;
	uint64		n;

	do
	{
		EmkDecision *d;
		int			ndecided = 0;

		n = emk_spi_run(&cancel_plan, args, NULL, false, 0);
		d = palloc0(sizeof(EmkDecision) * Max(n, 1));
		for (uint64 i = 0; i < n; i++)
		{
			bool		isnull;

			if (strcmp(emk_spi_text(i, 11), "cancelled") != 0)
				continue;
			d[ndecided++] = (EmkDecision) {
				.delivery_id = DatumGetUUIDP(emk_spi_datum(i, 1, &isnull)), .run_id = emk_spi_int8(i, 2, 0),
				.rule_id = emk_spi_int4(i, 3, 0), .rule = emk_spi_text(i, 4), .rule_version = emk_spi_int4(i, 5, 0),
				.profile_id = emk_spi_text(i, 6), .key = emk_spi_text(i, 7), .outcome = "cancelled",
				.reason = "endpoint_dropped", .event_id = emk_spi_int8(i, 8, 0),
				.started_at = DatumGetTimestampTz(emk_spi_datum(i, 9, &isnull)),
				.due_at = DatumGetTimestampTz(emk_spi_datum(i, 10, &isnull))
			};
		}
		emk_event_decide(d, ndecided, now);
		total += n;
	} while (n == CANCEL_BATCH);
	return total;
}

/*
 * lease.c: what a worker has in flight, as rows.
 *
 * A delivery in flight carries the epoch of its worker, and no index of that: a message would pay for an entry when it is claimed
 * and for more when it is settled. Instead a worker keeps the ids in its slots in eventmkt_data.lease, a row for CHUNK of them,
 * changed in the transaction that claims. The list may name what was settled since; it never lacks what is in flight.
 *
 * An epoch whose lock nobody holds is dead (rule 2 of send.c): what its rows name and is still in flight under that epoch is
 * anybody's, and the rows go once nothing is.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "worker/send_int.h"

#define CHUNK 64

static EmkPlan write_plan = {
	"INSERT INTO eventmkt_data.lease (lease, chunk, node, ids) VALUES ($1, $2, $3, $4) "
	"ON CONFLICT (node, lease, chunk) DO UPDATE SET ids = EXCLUDED.ids", 4, {INT8OID, INT4OID, INT2OID, UUIDARRAYOID}
};
static EmkPlan dead_plan = {
	"SELECT pg_catalog.array_agg(x.lease) FROM (SELECT DISTINCT lease FROM eventmkt_data.lease "
	"WHERE lease OPERATOR(pg_catalog.<>) $1 AND node OPERATOR(pg_catalog.=) $3) AS x WHERE NOT EXISTS ("
	"SELECT FROM pg_catalog.pg_locks l WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory' AND l.granted "
	"AND l.database OPERATOR(pg_catalog.=) $4 AND l.classid OPERATOR(pg_catalog.=) $2 "
	"AND l.objsubid OPERATOR(pg_catalog.=) 8 "
	"AND l.objid::pg_catalog.int8 OPERATOR(pg_catalog.=) (x.lease OPERATOR(pg_catalog.&) 4294967295))", 4,
	{INT8OID, OIDOID, INT2OID, OIDOID}
};
#define STILL_IN_FLIGHT \
	"pg_catalog.unnest(l.ids) AS u (id), eventmkt_data.delivery d WHERE d.id OPERATOR(pg_catalog.=) u.id " \
	"AND d.status OPERATOR(pg_catalog.=) 'in_flight' AND d.lease OPERATOR(pg_catalog.=) l.lease "
static EmkPlan free_plan = {
	"WITH r AS (UPDATE eventmkt_data.delivery AS d SET status = 'retrying', lease = NULL, next_attempt_at = $2, "
	"last_status = NULL, last_error = 'the worker ended before an answer came' "
	"FROM (SELECT d.id FROM eventmkt_data.lease l, " STILL_IN_FLIGHT
	"AND l.lease OPERATOR(pg_catalog.=) ANY ($1) AND d.node OPERATOR(pg_catalog.=) $4 "
	"ORDER BY CASE WHEN $6 THEN pg_catalog.random() END LIMIT $5 FOR UPDATE OF d SKIP LOCKED) AS x "
	"WHERE d.id OPERATOR(pg_catalog.=) x.id RETURNING d.id, d.attempts, d.last_error) "
	"INSERT INTO eventmkt_data.attempt (delivery_id, attempt, started_at, latency_us, error) "
	"SELECT r.id, r.attempts, $3, 0, r.last_error FROM r ON CONFLICT DO NOTHING", 6,
	{INT8ARRAYOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT2OID, INT8OID, BOOLOID}
};
static EmkPlan forget_plan = {
	"DELETE FROM eventmkt_data.lease l WHERE l.node OPERATOR(pg_catalog.=) $2 AND l.lease OPERATOR(pg_catalog.=) ANY ($1) "
	"AND NOT EXISTS (SELECT FROM " STILL_IN_FLIGHT ")", 2, {INT8ARRAYOID, INT2OID}
};

/* The ids of one chunk of slots, when one of them was claimed by the transaction under way; else 0 of them. */
static int
claimed_ids(int chunk, Datum *ids)
{
	bool		claimed = false;
	int			n = 0;

	for (int i = chunk * CHUNK; i < Min(emk_send_nslots, (chunk + 1) * CHUNK); i++)
	{
		EmkSend    *s = &emk_send_slots[i];

		if (s->state == EMK_SEND_FREE)
			continue;
		claimed |= s->state == EMK_SEND_CLAIMED;
		ids[n++] = UUIDPGetDatum(&s->id);
	}
	return claimed ? n : 0;
}

void
emk_lease_write(void)
{
	Datum		ids[CHUNK];

	for (int chunk = 0; chunk * CHUNK < emk_send_nslots; chunk++)
	{
		int			n = claimed_ids(chunk, ids);

		if (n > 0)
		{
			Datum		args[4] = {Int64GetDatum(emk_send_epoch), Int32GetDatum(chunk), Int16GetDatum(emk_setting_node()),
			emk_spi_array(ids, NULL, n, UUIDOID)};

			emk_spi_run(&write_plan, args, NULL, false, 0);
		}
	}
}

int
emk_lease_free_lost(int max, bool shuffle, TimestampTz now)
{
	Datum		args[6] = {Int64GetDatum(emk_send_epoch), ObjectIdGetDatum(EMK_EPOCH_LOCK_CLASS),
	Int16GetDatum(emk_setting_node()), ObjectIdGetDatum(MyDatabaseId)};
	bool		isnull;
	Datum		dead;
	int			freed;

	emk_spi_run(&dead_plan, args, NULL, false, 0);
	dead = emk_spi_datum(0, 1, &isnull);
	if (isnull)
		return 0;
	args[0] = dead;
	args[1] = TimestampTzGetDatum(now);
	args[2] = TimestampTzGetDatum(emk_clock_real());
	args[3] = Int16GetDatum(emk_setting_node());
	args[4] = Int64GetDatum(max);
	args[5] = BoolGetDatum(shuffle);
	freed = (int) emk_spi_run(&free_plan, args, NULL, false, 0);
	args[1] = args[3];
	if (freed < max)
		emk_spi_run(&forget_plan, args, NULL, false, 0);
	return freed;
}

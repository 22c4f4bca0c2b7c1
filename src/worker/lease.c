/*
 * lease.c: what a worker has in flight, as rows.
 *
 * A delivery in flight carries the epoch of its worker, and no index of that: a message would pay for an entry when it is claimed
 * and for more when it is settled. Instead a worker keeps the ids in its slots in eventmkt_data.lease, a row for CHUNK of them,
 * changed in the transaction that claims. The list may name what was settled since; it never lacks what is in flight.
 *
 * An epoch whose lock nobody holds is dead (rule 2 of send.c): what its rows name and is still in flight under that epoch is
 * anybody's, and the rows go once nothing is.
 *
 * An epoch is revoked by a row of chunk REVOKED, when start_worker() found its worker frozen: it counts as dead from that commit on,
 * whatever its process holds. The process may go on at any moment. What it settles then is refused row by row, because a row that was
 * freed does not carry its epoch any more; one that it is just settling is locked, so it is not freed before that is decided. It claims
 * nothing more, because a claim is refused by the row of REVOKED; one that was under way at that commit is freed like the rest. The rows
 * of a revoked epoch go when the lock does.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "worker/life.h"
#include "worker/send_int.h"

#define CHUNK 64
#define REVOKED "(-1)"			/* a chunk */
#define EPOCH_LOCKS \
	"pg_catalog.pg_locks k WHERE k.locktype OPERATOR(pg_catalog.=) 'advisory' AND k.granted " \
	"AND k.database OPERATOR(pg_catalog.=) $4 AND k.classid OPERATOR(pg_catalog.=) $2 AND k.objsubid OPERATOR(pg_catalog.=) 8 " \
	"AND k.objid::pg_catalog.int8 OPERATOR(pg_catalog.=) "

static EmkPlan write_plan = {
	"INSERT INTO eventmkt_data.lease (lease, chunk, node, ids) SELECT $1, $2, $3, $4 WHERE NOT EXISTS (SELECT FROM eventmkt_data.lease r "
	"WHERE r.node OPERATOR(pg_catalog.=) $3 AND r.lease OPERATOR(pg_catalog.=) $1 AND r.chunk OPERATOR(pg_catalog.=) " REVOKED ") "
	"ON CONFLICT (node, lease, chunk) DO UPDATE SET ids = EXCLUDED.ids", 4, {INT8OID, INT4OID, INT2OID, UUIDARRAYOID}
};
/* The epochs that are dead, and those of them whose lock nobody holds any more */
static EmkPlan dead_plan = {
	"SELECT pg_catalog.array_agg(x.lease), pg_catalog.array_agg(x.lease) FILTER (WHERE NOT x.held) FROM ("
	"SELECT y.lease, EXISTS (SELECT FROM " EPOCH_LOCKS "(y.lease OPERATOR(pg_catalog.&) 4294967295)) AS held "
	"FROM (SELECT DISTINCT lease FROM eventmkt_data.lease "
	"WHERE lease OPERATOR(pg_catalog.<>) $1 AND node OPERATOR(pg_catalog.=) $3) AS y OFFSET 0) AS x WHERE NOT x.held "
	"OR EXISTS (SELECT FROM eventmkt_data.lease r WHERE r.node OPERATOR(pg_catalog.=) $3 "
	"AND r.lease OPERATOR(pg_catalog.=) x.lease AND r.chunk OPERATOR(pg_catalog.=) " REVOKED ")", 4,
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
/*
 * Only of epochs whose lock was gone before this statement's snapshot. A revoked process may still commit a claim: its new list would be
 * deleted here after a look at what was in flight before.
 */
static EmkPlan forget_plan = {
	"DELETE FROM eventmkt_data.lease AS g USING (SELECT l.lease, l.chunk FROM eventmkt_data.lease l "
	"WHERE l.node OPERATOR(pg_catalog.=) $2 AND l.lease OPERATOR(pg_catalog.=) ANY ($1) "
	"AND NOT EXISTS (SELECT FROM " STILL_IN_FLIGHT ") "
	"FOR UPDATE OF l SKIP LOCKED) AS y WHERE g.node OPERATOR(pg_catalog.=) $2 AND g.lease OPERATOR(pg_catalog.=) y.lease "
	"AND g.chunk OPERATOR(pg_catalog.=) y.chunk", 2, {INT8ARRAYOID, INT2OID}
};
/* Who else holds a lock of our slot, and the low half of the epoch of each; $2: the class of epochs, $3, $4: slot, of how many */
static EmkPlan holders_plan = {
	"SELECT h.pid, (SELECT l.objid::pg_catalog.int8 FROM pg_catalog.pg_locks l WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory' "
	"AND l.granted AND l.database OPERATOR(pg_catalog.=) $1 AND l.classid OPERATOR(pg_catalog.=) $2 "
	"AND l.objsubid OPERATOR(pg_catalog.=) 8 AND l.pid OPERATOR(pg_catalog.=) h.pid LIMIT 1) FROM pg_catalog.pg_locks h "
	"WHERE h.locktype OPERATOR(pg_catalog.=) 'advisory' AND h.granted AND h.database OPERATOR(pg_catalog.=) $1 "
	"AND h.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass "
	"AND h.objsubid OPERATOR(pg_catalog.=) 7 AND (h.objid::pg_catalog.int8 OPERATOR(pg_catalog.%) $4) OPERATOR(pg_catalog.=) $3 "
	"AND h.pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid()", 4, {OIDOID, OIDOID, INT8OID, INT8OID}
};
/* An epoch of which the low half is known is one of the last that were drawn. */
static EmkPlan revoke_plan = {
	"INSERT INTO eventmkt_data.lease (node, lease, chunk, ids) SELECT $2, e.lease, " REVOKED ", '{}' FROM ("
	"SELECT s.last_value OPERATOR(pg_catalog.-) ((s.last_value OPERATOR(pg_catalog.-) $1) OPERATOR(pg_catalog.&) 4294967295) AS lease "
	"FROM eventmkt_data.epoch_seq s) AS e ON CONFLICT DO NOTHING", 2, {INT8OID, INT2OID}
};
static EmkPlan revoked_plan = {
	"SELECT EXISTS (SELECT FROM eventmkt_data.lease r WHERE r.node OPERATOR(pg_catalog.=) $2 "
	"AND (r.lease OPERATOR(pg_catalog.&) 4294967295) OPERATOR(pg_catalog.=) $1 AND r.chunk OPERATOR(pg_catalog.=) " REVOKED ")", 2,
	{INT8OID, INT2OID}
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

			if (emk_spi_run(&write_plan, args, NULL, false, 0) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_ADMIN_SHUTDOWN),
						 errmsg("this worker was replaced while it was frozen")));
		}
	}
}

int
emk_lease_free_lost(int max, bool shuffle, TimestampTz now)
{
	Datum		args[6] = {Int64GetDatum(emk_send_epoch), ObjectIdGetDatum(EMK_EPOCH_LOCK_CLASS),
	Int16GetDatum(emk_setting_node()), ObjectIdGetDatum(MyDatabaseId)};
	bool		isnull;
	bool		all_held;
	Datum		dead;
	Datum		gone;
	int			freed;

	emk_spi_run(&dead_plan, args, NULL, false, 0);
	dead = emk_spi_datum(0, 1, &isnull);
	if (isnull)
		return 0;
	gone = emk_spi_datum(0, 2, &all_held);
	args[0] = dead;
	args[1] = TimestampTzGetDatum(now);
	args[2] = TimestampTzGetDatum(emk_clock_real());
	args[3] = Int16GetDatum(emk_setting_node());
	args[4] = Int64GetDatum(max);
	args[5] = BoolGetDatum(shuffle);
	freed = (int) emk_spi_run(&free_plan, args, NULL, false, 0);
	if (freed < max && !all_held)
	{
		args[0] = gone;
		args[1] = args[3];
		emk_spi_run(&forget_plan, args, NULL, false, 0);
	}
	return freed;
}

static bool
is_revoked(int64 epoch)
{
	Datum		args[2] = {Int64GetDatum(epoch & INT64CONST(0xffffffff)), Int16GetDatum(emk_setting_node())};

	emk_spi_run(&revoked_plan, args, NULL, false, 0);
	return emk_spi_bool(0, 1, false);
}

bool
emk_lease_alone(int slot, int replaces)
{
	Datum		args[4] = {ObjectIdGetDatum(MyDatabaseId), ObjectIdGetDatum(EMK_EPOCH_LOCK_CLASS), Int64GetDatum(slot),
	Int64GetDatum(EMK_MAX_WORKERS)};
	int			pids[EMK_LIVES];
	int64		epochs[EMK_LIVES];
	int			n;
	bool		alone = true;

	SPI_connect();
	n = (int) Min(emk_spi_run(&holders_plan, args, NULL, false, 0), EMK_LIVES);
	for (int i = 0; i < n; i++)
	{
		pids[i] = emk_spi_int4(i, 1, 0);
		epochs[i] = emk_spi_int8(i, 2, -1);
	}
	for (int i = 0; i < n && alone; i++)
	{
		if (pids[i] == replaces && epochs[i] >= 0)
		{
			args[0] = Int64GetDatum(epochs[i]);
			args[1] = Int16GetDatum(emk_setting_node());
			emk_spi_run(&revoke_plan, args, NULL, false, 0);
		}
		else
			alone = pids[i] == replaces || (epochs[i] >= 0 && is_revoked(epochs[i]));
	}
	SPI_finish();
	return alone;
}

bool
emk_lease_is_revoked(void)
{
	bool		revoked;

	SPI_connect();
	revoked = is_revoked(emk_send_epoch);
	SPI_finish();
	return revoked;
}

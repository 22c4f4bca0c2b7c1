/*
 * retention.c: deliveries that are settled and old are forgotten, with their attempts, a bounded number at a time.
 *
 * A delivery's id begins with the real time at which it was made, which is never later than the business time at which it settled.
 * So the ids below that of the limit are all that can be old enough, and the primary key finds them, oldest first.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "deliver/deliver.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

static EmkPlan forget_plan = {
	"WITH d AS (DELETE FROM eventmkt_data.delivery WHERE id OPERATOR(pg_catalog.=) ANY (ARRAY("
	"SELECT x.id FROM eventmkt_data.delivery x WHERE x.id OPERATOR(pg_catalog.<) $1 "
	"AND x.status OPERATOR(pg_catalog.=) ANY ('{delivered,dead,cancelled}') AND x.settled_at OPERATOR(pg_catalog.<) $2 "
	"ORDER BY x.id LIMIT $3 FOR UPDATE SKIP LOCKED)) RETURNING id), a AS (DELETE FROM eventmkt_data.attempt t USING d "
	"WHERE t.delivery_id OPERATOR(pg_catalog.=) d.id) SELECT pg_catalog.count(*) FROM d", 3,
	{UUIDOID, TIMESTAMPTZOID, INT8OID}
};

uint64
emk_deliver_drop_old(TimestampTz keep, int limit)
{
	int64		ms = (keep + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY) / 1000;
	pg_uuid_t	first = {0};
	Datum		args[3] = {UUIDPGetDatum(&first), TimestampTzGetDatum(keep), Int64GetDatum(limit)};

	if (ms < 0)
		return 0;
	for (int b = 0; b < 6; b++)
		first.data[b] = ms >> (40 - 8 * b);
	emk_spi_run(&forget_plan, args, NULL, false, 0);
	return emk_spi_int8(0, 1, 0);
}

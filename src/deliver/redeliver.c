/*
 * redeliver.c: sending again what is dead or delivered, with the id and the body it had. The row is locked first, so a
 * retry that is about to be claimed and a redelivery end in one state. What is still on its way is not sent twice: a row that
 * waits for its next try is only made due, one that is in flight is left alone.
 * A redelivery has a schedule of its own: the tries made so far count as used, the endpoint's schedule follows.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "deliver/deliver.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#define BATCH 5000

static EmkPlan lock_plan = {
	"SELECT d.status, e.endpoint_id FROM eventmkt_data.delivery d "
	"LEFT JOIN eventmkt_data.endpoint e ON e.endpoint_id OPERATOR(pg_catalog.=) d.endpoint_id "
	"WHERE d.id OPERATOR(pg_catalog.=) $1 FOR UPDATE OF d", 1, {UUIDOID}
};
static EmkPlan requeue_plan = {
	"UPDATE eventmkt_data.delivery AS d SET status = 'queued', was = d.status, next_attempt_at = $2, "
	"schedule = pg_catalog.array_cat(pg_catalog.array_fill(0, ARRAY[d.attempts]), e.schedule) "
	"FROM eventmkt_data.endpoint e "
	"WHERE d.id OPERATOR(pg_catalog.=) $1 AND e.endpoint_id OPERATOR(pg_catalog.=) d.endpoint_id", 2,
	{UUIDOID, TIMESTAMPTZOID}
};
static EmkPlan hurry_plan = {
	"UPDATE eventmkt_data.delivery SET next_attempt_at = $2 WHERE id OPERATOR(pg_catalog.=) $1", 2, {UUIDOID, TIMESTAMPTZOID}
};
static EmkPlan range_plan = {
	"UPDATE eventmkt_data.delivery AS d SET status = 'queued', was = d.status, next_attempt_at = $2, "
	"schedule = pg_catalog.array_cat(pg_catalog.array_fill(0, ARRAY[d.attempts]), e.schedule) "
	"FROM (SELECT x.id, e.schedule FROM eventmkt_data.delivery x "
	"JOIN eventmkt_data.endpoint e ON e.endpoint_id OPERATOR(pg_catalog.=) x.endpoint_id "
	"WHERE e.name OPERATOR(pg_catalog.=) $1 "
	"AND x.died_at OPERATOR(pg_catalog.>=) $3 AND x.died_at OPERATOR(pg_catalog.<=) $4 "
	"ORDER BY x.died_at LIMIT 5000 FOR UPDATE OF x) AS e WHERE d.id OPERATOR(pg_catalog.=) e.id", 4,
	{TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
};
static EmkPlan endpoint_plan = {
	"SELECT endpoint_id FROM eventmkt_data.endpoint WHERE name OPERATOR(pg_catalog.=) $1", 1, {TEXTOID}
};

/* Locks the row and does what its state asks for; returns whether it will be sent. */
static bool
redeliver_one(Datum id, TimestampTz now)
{
	Datum		args[2] = {id, TimestampTzGetDatum(now)};
	char	   *status;

	if (emk_spi_run(&lock_plan, args, NULL, false, 1) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("there is no delivery %s", DatumGetCString(DirectFunctionCall1(uuid_out, id))),
				 errhint("What is kept is in eventmkt_data.delivery, until retention drops it.")));
	status = emk_spi_text(0, 1);
	if (emk_spi_int4(0, 2, 0) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_EMK_UNKNOWN_ENDPOINT),
				 errmsg("the endpoint of this delivery was dropped")));
	if (strcmp(status, "in_flight") == 0)
		return false;
	if (strcmp(status, "cancelled") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a cancelled delivery is not sent"),
				 errhint("Its decision says why it was cancelled; only dead and delivered messages can be sent again.")));
	if (strcmp(status, "dead") == 0 || strcmp(status, "delivered") == 0)
	{
		emk_spi_run(&requeue_plan, args, NULL, false, 0);
		EMK_PAUSE_POINT("requeued");
	}
	else
		emk_spi_run(&hurry_plan, args, NULL, false, 0);
	return true;
}

PG_FUNCTION_INFO_V1(emk_deliver_redeliver);
/* eventmkt.redeliver(delivery) */
Datum
emk_deliver_redeliver(PG_FUNCTION_ARGS)
{
	emk_base_refuse_null(fcinfo, (const char *const[]) {"delivery"});
	EmkOwner	owner;
	bool		result;

	emk_owner_enter(&owner);
	SPI_connect();
	result = redeliver_one(PG_GETARG_DATUM(0), emk_clock_now());
	SPI_finish();
	emk_owner_leave(&owner);
	emk_wake_at_commit();
	PG_RETURN_BOOL(result);
}

PG_FUNCTION_INFO_V1(emk_deliver_redeliver_dead);
/* eventmkt.redeliver_dead(endpoint, since, until) */
Datum
emk_deliver_redeliver_dead(PG_FUNCTION_ARGS)
{
	emk_base_refuse_null(fcinfo, (const char *const[]) {"endpoint", "since", "until"});
	Datum		args[4] = {PG_GETARG_DATUM(0), TimestampTzGetDatum(emk_clock_now()), PG_GETARG_DATUM(1), PG_GETARG_DATUM(2)};
	EmkOwner	owner;
	uint64		total = 0;
	uint64		n;

	emk_owner_enter(&owner);
	SPI_connect();
	if (emk_spi_run(&endpoint_plan, args, NULL, false, 1) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_EMK_UNKNOWN_ENDPOINT),
				 errmsg("endpoint \"%s\" does not exist", TextDatumGetCString(args[0]))));
	do
	{
		CHECK_FOR_INTERRUPTS();
		n = emk_spi_run(&range_plan, args, NULL, false, 0);
		total += n;
	} while (n == BATCH);
	SPI_finish();
	emk_owner_leave(&owner);
	emk_wake_at_commit();
	PG_RETURN_INT64(total);
}

/*
 * rollup_upkeep.c: roll-ups, what each profile did by month (analytics/rollup.c), kept in the passes of upkeep.c: a day that is packed is
 * added to its month, a marked profile is built anew. Its invariants hold for both; eventmkt_bi.rollup_parts reads what is packed and
 * the rest from the event table, so it is always right. Only the app's own events count, and of a message id only the first.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "report/rollup_upkeep.h"

static EmkPlan day_plan = {
	"INSERT INTO eventmkt_data.rollup AS x (profile_id, month, r) "
	"SELECT COALESCE(a.profile_id, p.profile_id), p.month, eventmkt.merge_rollups(p.r) FROM ("
	"SELECT e.profile_id, " EMK_ROLLUP_MONTH " AS month, " EMK_ROLLUP_COLUMNS " AS r FROM eventmkt_data.event e "
	"JOIN eventmkt_data.timeline_state s ON s.rollups WHERE e.occurred_at OPERATOR(pg_catalog.>=) $1 "
	"AND e.occurred_at OPERATOR(pg_catalog.<) $2 AND " EMK_ROLLUP_FILTER " GROUP BY 1, 2) p "
	"LEFT JOIN eventmkt_data.alias a ON a.alias OPERATOR(pg_catalog.=) p.profile_id GROUP BY 1, 2 "
	"ON CONFLICT (profile_id, month) DO UPDATE SET r = eventmkt.rollup_merge(x.r, EXCLUDED.r)",
	2, {TIMESTAMPTZOID, TIMESTAMPTZOID}
};
static EmkPlan forget_plan = {
	"DELETE FROM eventmkt_data.rollup WHERE month OPERATOR(pg_catalog.<) "
	"pg_catalog.date_trunc('month', pg_catalog.timezone('UTC', $1))::pg_catalog.date",
	1, {TIMESTAMPTZOID}
};
static EmkPlan want_plan = {
	"UPDATE eventmkt_data.timeline_state SET rollups = true, item_property = $1, sum_property = $2, item_event = $3",
	3, {TEXTOID, TEXTOID, TEXTOID}
};
static EmkPlan same_plan = {
	"SELECT 1 FROM eventmkt_data.timeline_state WHERE rollups AND item_property IS NOT DISTINCT FROM $1 "
	"AND sum_property IS NOT DISTINCT FROM $2 AND item_event IS NOT DISTINCT FROM $3",
	3, {TEXTOID, TEXTOID, TEXTOID}
};
static EmkPlan kept_plan = {
	"SELECT key_property, value_property FROM eventmkt_data.timeline_state", 0, {0}
};
static EmkPlan unwant_plan = {
	"UPDATE eventmkt_data.timeline_state SET rollups = false, item_property = NULL, sum_property = NULL, item_event = NULL", 0, {0}
};

void
emk_report_rollup_day(TimestampTz day)
{
	Datum		args[2] = {TimestampTzGetDatum(day), TimestampTzGetDatum(day + USECS_PER_DAY)};

	emk_spi_run(&day_plan, args, NULL, false, 0);
}

void
emk_report_rollup_forget(TimestampTz before)
{
	Datum		arg = TimestampTzGetDatum(before);

	emk_spi_run(&forget_plan, &arg, NULL, false, 0);
}

void
emk_report_want_rollups(Datum *args, const char *nulls)
{
	emk_spi_run(&want_plan, args, nulls, false, 0);
}

PG_FUNCTION_INFO_V1(emk_report_keep_rollups);
/* eventmkt.keep_rollups(item_property, value_property, item_event): starts anew when they change, timelines too */
Datum
emk_report_keep_rollups(PG_FUNCTION_ARGS)
{
	Datum		args[3];
	char		nulls[4] = "   ";
	Datum		timelines[2] = {0};
	char		timelines_nulls[3] = "nn";
	EmkOwner	owner;

	for (int i = 0; i < 3; i++)
	{
		args[i] = PG_ARGISNULL(i) ? (Datum) 0 : PG_GETARG_DATUM(i);
		nulls[i] = PG_ARGISNULL(i) ? 'n' : ' ';
	}
	emk_owner_enter(&owner);
	SPI_connect();
	if (emk_setting_get("keep_timelines") == NULL || emk_spi_run(&same_plan, args, nulls, false, 1) == 0)
	{
		if (emk_spi_run(&kept_plan, NULL, NULL, false, 1) > 0)
			for (int i = 0; i < 2; i++)
			{
				bool		isnull;

				timelines[i] = emk_spi_datum(0, 1 + i, &isnull);
				timelines_nulls[i] = isnull ? 'n' : ' ';
			}
		emk_report_start_upkeep(timelines, timelines_nulls);
		emk_report_want_rollups(args, nulls);
	}
	SPI_finish();
	emk_owner_leave(&owner);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(emk_report_drop_rollups);
Datum
emk_report_drop_rollups(PG_FUNCTION_ARGS)
{
	EmkOwner	owner;

	emk_owner_enter(&owner);
	SPI_connect();
	emk_spi_run(&unwant_plan, NULL, NULL, false, 0);
	emk_spi_script("TRUNCATE eventmkt_data.rollup");
	SPI_finish();
	emk_owner_leave(&owner);
	PG_RETURN_VOID();
}

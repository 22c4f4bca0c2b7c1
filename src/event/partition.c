/*
 * partition.c: partitions of event (by occurred_at) and decision (by decided_at), made ahead and dropped when old.
 *
 * Names carry the start and the length: event_w20261116 is the week from Monday 2026-11-16 00:00 UTC, event_d20261116 the
 * day. A partition is made as a plain table and attached, which takes no lock that stops writers; rows of its range that
 * lie in the DEFAULT partition are moved first.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "event/event.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#define WEEK_ORIGIN (2 * USECS_PER_DAY)		/* PostgreSQL's epoch, 2000-01-01, is a Saturday */

/* names carry a year of four digits */
#define FIRST_PARTITION (INT64CONST(-365242) * USECS_PER_DAY)	/* 1000-01-01 */
#define LAST_PARTITION (INT64CONST(2921574) * USECS_PER_DAY)	/* 9998-12-31 */

typedef struct Partitioned
{
	const char *table;
	const char *column;
} Partitioned;

static const Partitioned partitioned[] = {{"event", "occurred_at"}, {"decision", "decided_at"}};

static EmkPlan list_plan = {
	"SELECT c.relname::pg_catalog.text FROM pg_catalog.pg_inherits i "
	"JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) i.inhrelid "
	"JOIN pg_catalog.pg_class p ON p.oid OPERATOR(pg_catalog.=) i.inhparent "
	"JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.relnamespace "
	"WHERE n.nspname OPERATOR(pg_catalog.=) 'eventmkt_data' AND p.relname OPERATOR(pg_catalog.=) $1",
	1, {NAMEOID}
};
static EmkPlan forget_keys_plan = {
	"DELETE FROM eventmkt_data.message_key WHERE seen_at OPERATOR(pg_catalog.<) $1", 1, {TIMESTAMPTZOID}
};

static bool
by_day(void)
{
	const char *period = emk_setting_get("partition_period");

	return period != NULL && strcmp(period, "day") == 0;
}

/* Start of the period that holds t, and its length */
static TimestampTz
period_start(TimestampTz t, int64 *length)
{
	int64		origin = by_day() ? 0 : WEEK_ORIGIN;
	int64		rest;

	*length = by_day() ? USECS_PER_DAY : 7 * USECS_PER_DAY;
	rest = (t - origin) % *length;
	if (rest < 0)
		rest += *length;
	return t - rest;
}

static char *
partition_name(const char *table, TimestampTz start, int64 length)
{
	struct pg_tm tm;
	fsec_t		fsec;

	if (timestamp2tm(start, NULL, &tm, &fsec, NULL, NULL) != 0)
		ereport(ERROR, (errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("timestamp out of range")));
	return psprintf("%s_%c%04d%02d%02d", table, length == USECS_PER_DAY ? 'd' : 'w', tm.tm_year, tm.tm_mon, tm.tm_mday);
}

/* The range of a partition by its name; false for DEFAULT and for names that are not ours */
static bool
partition_range(const char *name, TimestampTz *from, TimestampTz *to)
{
	const char *p = strrchr(name, '_');
	struct pg_tm tm;
	char		kind;

	memset(&tm, 0, sizeof(tm));
	if (p == NULL || sscanf(p, "_%c%4d%2d%2d", &kind, &tm.tm_year, &tm.tm_mon, &tm.tm_mday) != 4 ||
		(kind != 'd' && kind != 'w') || tm2timestamp(&tm, 0, NULL, from) != 0)
		return false;
	*to = *from + (kind == 'd' ? USECS_PER_DAY : 7 * USECS_PER_DAY);
	return true;
}

typedef enum Coverage
{
	COVERED_NOT,
	COVERED_PARTLY,
	COVERED_BY_ONE
} Coverage;

/* Is [from, to) overlapped by partitions that exist? A change of the period leaves the old ones in place. */
static Coverage
coverage(const Partitioned *p, TimestampTz from, TimestampTz to)
{
	NameData	table;
	Datum		arg;
	Coverage	result = COVERED_NOT;

	namestrcpy(&table, p->table);
	arg = NameGetDatum(&table);
	emk_spi_run(&list_plan, &arg, NULL, false, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		TimestampTz f,
					t;

		if (!partition_range(emk_spi_text(i, 1), &f, &t) || f >= to || from >= t)
			continue;
		if (f <= from && t >= to)
			return COVERED_BY_ONE;
		result = COVERED_PARTLY;
	}
	return result;
}

static void
make_partition(const Partitioned *p, TimestampTz start, int64 length)
{
	char	   *name = partition_name(p->table, start, length);
	char	   *from = quote_literal_cstr(psprintf("%s", timestamptz_to_str(start)));
	char	   *to = quote_literal_cstr(psprintf("%s", timestamptz_to_str(start + length)));

	emk_spi_script(psprintf(
		"CREATE TABLE eventmkt_data.%s (LIKE eventmkt_data.%s INCLUDING DEFAULTS INCLUDING CONSTRAINTS); "
		"ALTER TABLE eventmkt_data.%s REPLICA IDENTITY FULL; "	/* it has no key, and a publication may take it */
		"WITH moved AS (DELETE FROM eventmkt_data.%s_default WHERE %s OPERATOR(pg_catalog.>=) %s::pg_catalog.timestamptz "
		"AND %s OPERATOR(pg_catalog.<) %s::pg_catalog.timestamptz RETURNING *) "
		"INSERT INTO eventmkt_data.%s SELECT * FROM moved; "
		"ALTER TABLE eventmkt_data.%s ATTACH PARTITION eventmkt_data.%s FOR VALUES FROM (%s) TO (%s)",
		name, p->table, name, p->table, p->column, from, p->column, to, name, p->table, name, from, to));
}

/* Makes what a period lacks; of a week that has partitions of days already the other days. Returns how many. */
static int
fill_period(const Partitioned *p, TimestampTz start, int64 length)
{
	Coverage	c = coverage(p, start, start + length);
	int			made = 0;

	if (c == COVERED_NOT)
	{
		make_partition(p, start, length);
		EMK_PAUSE_POINT("partition_made");
		return 1;
	}
	for (TimestampTz day = start; c == COVERED_PARTLY && length > USECS_PER_DAY && day < start + length; day += USECS_PER_DAY)
		made += fill_period(p, day, USECS_PER_DAY);
	return made;
}

/*
 * Makes the partitions of event and decision that cover [from, to); returns how many. Inside an open SPI connection, as the
 * owner. ERROR 22023 for more than 2,000 periods, 22008 for years that a name cannot carry.
 */
int
emk_event_make_partitions(TimestampTz from, TimestampTz to)
{
	int			made = 0;
	int64		length;
	TimestampTz start = period_start(from, &length);

	if (from < FIRST_PARTITION || to > LAST_PARTITION)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("partitions are made for the years 1000 to 9998 only"),
				 errhint("Rows of other times lie in the default partition.")));
	if (to < from)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("make_partitions() needs the earlier time first"),
				 errhint("Give the times between which there are to be partitions: from, to.")));
	if ((to - start) / length > 2000)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("too many partitions: the limit is 2000 a call"),
				 errhint("Give a shorter range, or set partition_period to week.")));
	for (int i = 0; i < lengthof(partitioned); i++)
		for (TimestampTz t = start; t < to; t += length)
			made += fill_period(&partitioned[i], t, length);
	return made;
}

static TimestampTz
before(TimestampTz now, const char *setting, const char *standard)
{
	const char *s = emk_setting_get(setting);
	Datum		iv;

	if (s == NULL)
		s = standard;
	if (s == NULL)
		return DT_NOBEGIN;
	iv = DirectFunctionCall3(interval_in, CStringGetDatum(s), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	return emk_clock_subtract(now, DatumGetIntervalP(iv));
}

TimestampTz
emk_event_retention(TimestampTz now)
{
	return before(now, "retention", NULL);
}

/*
 * Drops what the setting `retention` (none unless set) and `dedupe_window` (30 days) make old; returns the partitions dropped.
 * Inside an open SPI connection, as the owner.
 */
int
emk_event_drop_old(TimestampTz now)
{
	TimestampTz keep = emk_event_retention(now);
	Datum		window = TimestampTzGetDatum(before(now, "dedupe_window", "30 days"));
	int			dropped = 0;

	emk_spi_run(&forget_keys_plan, &window, NULL, false, 0);
	for (int i = 0; i < lengthof(partitioned) && keep != DT_NOBEGIN; i++)
	{
		NameData	table;
		Datum		arg;
		List	   *old = NIL;
		ListCell   *lc;

		namestrcpy(&table, partitioned[i].table);
		arg = NameGetDatum(&table);
		emk_spi_run(&list_plan, &arg, NULL, false, 0);
		for (uint64 r = 0; r < SPI_processed; r++)
		{
			char	   *name = emk_spi_text(r, 1);
			TimestampTz from,
						to;

			if (partition_range(name, &from, &to) && to <= keep)
				old = lappend(old, name);
		}
		foreach(lc, old)
		{
			emk_spi_script(psprintf("DROP TABLE eventmkt_data.%s", quote_identifier((char *) lfirst(lc))));
			dropped++;
		}
	}
	return dropped;
}

PG_FUNCTION_INFO_V1(emk_event_make_partitions_sql);
/* eventmkt.make_partitions(from, to): number of partitions made */
Datum
emk_event_make_partitions_sql(PG_FUNCTION_ARGS)
{
	EmkOwner	owner;
	int			made;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || TIMESTAMP_NOT_FINITE(PG_GETARG_TIMESTAMPTZ(0)) ||
		TIMESTAMP_NOT_FINITE(PG_GETARG_TIMESTAMPTZ(1)))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("make_partitions() needs two finite times"),
				 errhint("Give the times between which there are to be partitions.")));
	emk_owner_enter(&owner);
	SPI_connect();
	made = emk_event_make_partitions(PG_GETARG_TIMESTAMPTZ(0), PG_GETARG_TIMESTAMPTZ(1));
	SPI_finish();
	emk_owner_leave(&owner);
	PG_RETURN_INT32(made);
}

/*
 * upkeep.c: the upkeep of timelines, derived data: the events of one profile as one packed value; and of roll-ups, what one profile did
 * by month, where they are wanted too: the same passes, the same marks, other columns (rollup_upkeep.c).
 *
 * Words
 *   day        a day of UTC
 *   packed_to  events before it are in eventmkt_data.profile_timeline; later ones, the open tail, are read from the event table
 *   mark       a row of eventmkt_data.late_event: an event that came after its day (event/late.c), or, at -infinity, an id that was
 *              merged or parted
 *   sealed     a day is sealed two hours after its end: whoever writes an event of it from then on leaves a mark
 *
 * Invariants
 *   1. Every event is in the row of the profile it belongs to, or at or after packed_to, or that profile has a mark. The view
 *      eventmkt_bi.profile_timelines reads accordingly (tail_view.c), so it always equals the event table, in any snapshot.
 *   2. packed_to never passes sealed_to, and not while a transaction runs that began before the seal: it may hold an event
 *      that was in time but is not yet visible. (The seal is a transaction id; a transaction that was in time has had its own for
 *      an hour.)
 *   3. A mark goes in the transaction that rebuilds what it marks, and only marks that it saw go.
 *   4. Rows are by canonical id. Whoever changes an alias marks both its profiles in the same transaction (mark_merged()), so a
 *      packer that did not see the alias yet has left nothing wrong behind: the mark is there as soon as the alias is.
 *
 * A pass:  seal (if a day ended) → [old transactions gone?] → pack days → rebuild marked profiles → forget what is beyond
 * retention (if a day ended).
 * Passes exclude each other by the row lock on timeline_state; who finds it locked does nothing.
 */
#include "postgres.h"

#include "analytics/analytics.h"
#include "base/base.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "report/report.h"
#include "report/rollup_upkeep.h"
#include "report/tail.h"
#include "utils/builtins.h"
#include "utils/numeric.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "worker/worker.h"

#define SEAL_AFTER		(2 * USECS_PER_HOUR)
#define DAYS_A_PASS		1		/* of the worker, which delivers nothing during a pass */
#define MARKS_A_PASS	500		/* profiles */

#define PACKED_COLUMNS \
	"eventmkt.timeline(e.occurred_at, e.name, eventmkt.timeline_key(e.properties, s.key_property), " \
	"eventmkt.timeline_value(e.properties, s.value_property))"

static EmkPlan state_plan = {
	"SELECT packed_to, sealed_to, "
	"sealed_xid OPERATOR(pg_catalog.<) pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::pg_catalog.text::pg_catalog.int8, "
	"sealed_xid OPERATOR(pg_catalog.>) pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::pg_catalog.text::pg_catalog.int8 "
	"FROM eventmkt_data.timeline_state FOR UPDATE SKIP LOCKED",
	0, {0}
};
static EmkPlan seal_plan = {
	"UPDATE eventmkt_data.timeline_state SET sealed_to = $1, "
	"sealed_xid = pg_catalog.pg_current_xact_id()::pg_catalog.text::pg_catalog.int8",
	1, {TIMESTAMPTZOID}
};
/* the first event there is, by partition: each has few pages or is read once in a life */
static EmkPlan first_plan = {
	"SELECT pg_catalog.min(occurred_at) FROM eventmkt_data.event",
	0, {0}
};
static EmkPlan pack_plan = {
	"INSERT INTO eventmkt_data.profile_timeline AS x (profile_id, t) "
	"SELECT COALESCE(a.profile_id, p.profile_id), eventmkt.merge(p.t) FROM (SELECT e.profile_id, " PACKED_COLUMNS " AS t "
	"FROM eventmkt_data.event e CROSS JOIN eventmkt_data.timeline_state s "
	"WHERE e.occurred_at OPERATOR(pg_catalog.>=) $1 AND e.occurred_at OPERATOR(pg_catalog.<) $2 GROUP BY e.profile_id) p "
	"LEFT JOIN eventmkt_data.alias a ON a.alias OPERATOR(pg_catalog.=) p.profile_id GROUP BY 1 "
	"ON CONFLICT (profile_id) DO UPDATE SET t = eventmkt.merge(x.t, EXCLUDED.t)",
	2, {TIMESTAMPTZOID, TIMESTAMPTZOID}
};
static EmkPlan packed_plan = {
	"UPDATE eventmkt_data.timeline_state SET packed_to = $1",
	1, {TIMESTAMPTZOID}
};
/* The months of the marked profiles, where roll-ups are kept, and those that have no event any more */
#define ROLLED_AGAIN \
	"rolled AS (INSERT INTO eventmkt_data.rollup (profile_id, month, r) SELECT m.c, " EMK_ROLLUP_MONTH ", " EMK_ROLLUP_COLUMNS " " \
	"FROM member m JOIN eventmkt_data.event e ON e.profile_id OPERATOR(pg_catalog.=) m.id " \
	"JOIN eventmkt_data.timeline_state s ON s.rollups WHERE e.occurred_at OPERATOR(pg_catalog.<) $1 AND " EMK_ROLLUP_FILTER " " \
	"GROUP BY 1, 2 ON CONFLICT (profile_id, month) DO UPDATE SET r = EXCLUDED.r RETURNING profile_id, month), " \
	"unrolled AS (DELETE FROM eventmkt_data.rollup t USING (SELECT id FROM marked UNION SELECT id FROM member) m " \
	"WHERE t.profile_id OPERATOR(pg_catalog.=) m.id AND NOT EXISTS (SELECT FROM rolled d " \
	"WHERE d.profile_id OPERATOR(pg_catalog.=) t.profile_id AND d.month OPERATOR(pg_catalog.=) t.month)), "

/*
 * One statement, so one snapshot: the marks that go are those whose events are read. A profile is rebuilt whole, from the events
 * under all its ids, and what stands under ids that are none of their own any more goes; marks of the open tail need nothing.
 */
static EmkPlan rebuild_plan = {
	"WITH gone AS (DELETE FROM eventmkt_data.late_event l USING ("
	"SELECT DISTINCT profile_id FROM (SELECT profile_id FROM eventmkt_data.late_event LIMIT $2) m) d "
	"WHERE l.profile_id OPERATOR(pg_catalog.=) d.profile_id RETURNING l.profile_id, l.occurred_at), "
	"marked AS MATERIALIZED (SELECT DISTINCT g.profile_id AS id, COALESCE(a.profile_id, g.profile_id) AS c FROM gone g "
	"LEFT JOIN eventmkt_data.alias a ON a.alias OPERATOR(pg_catalog.=) g.profile_id "
	"WHERE g.occurred_at OPERATOR(pg_catalog.<) $1), "
	"member AS MATERIALIZED (SELECT c AS id, c FROM marked UNION SELECT a.alias, a.profile_id FROM marked m "
	"JOIN eventmkt_data.alias a ON a.profile_id OPERATOR(pg_catalog.=) m.c), "
	"done AS (INSERT INTO eventmkt_data.profile_timeline (profile_id, t) SELECT m.c, " PACKED_COLUMNS " "
	"FROM member m JOIN eventmkt_data.event e ON e.profile_id OPERATOR(pg_catalog.=) m.id "
	"CROSS JOIN eventmkt_data.timeline_state s WHERE e.occurred_at OPERATOR(pg_catalog.<) $1 GROUP BY m.c "
	"ON CONFLICT (profile_id) DO UPDATE SET t = EXCLUDED.t RETURNING profile_id), "
	ROLLED_AGAIN
	"dropped AS (DELETE FROM eventmkt_data.profile_timeline t USING (SELECT id FROM marked UNION SELECT id FROM member) m "
	"WHERE t.profile_id OPERATOR(pg_catalog.=) m.id AND NOT EXISTS (SELECT FROM done d "
	"WHERE d.profile_id OPERATOR(pg_catalog.=) t.profile_id)) "
	"SELECT pg_catalog.count(DISTINCT c), (SELECT pg_catalog.count(*) FROM gone) FROM marked",
	2, {TIMESTAMPTZOID, INT8OID}
};
/* Partitions go by retention: what is older than the quarter that it ends in goes here. */
static EmkPlan forget_plan = {
	"WITH bound AS (SELECT pg_catalog.timezone('UTC', pg_catalog.date_trunc('quarter', pg_catalog.timezone('UTC', $1))) AS at) "
	"UPDATE eventmkt_data.profile_timeline SET t = eventmkt.slice(t, (SELECT at FROM bound), NULL) "
	"WHERE eventmkt.first_at(t) OPERATOR(pg_catalog.<) (SELECT at FROM bound)",
	1, {TIMESTAMPTZOID}
};
static EmkPlan forget_empty_plan = {
	"DELETE FROM eventmkt_data.profile_timeline WHERE eventmkt.count(t) OPERATOR(pg_catalog.=) 0", 0, {0}
};
static EmkPlan keep_plan = {
	"INSERT INTO eventmkt_data.timeline_state (key_property, value_property, sealed_xid) "
	"VALUES ($1, $2, pg_catalog.pg_current_xact_id()::pg_catalog.text::pg_catalog.int8)",
	2, {TEXTOID, TEXTOID}
};
static EmkPlan same_plan = {
	"SELECT 1 FROM eventmkt_data.timeline_state WHERE key_property IS NOT DISTINCT FROM $1 "
	"AND value_property IS NOT DISTINCT FROM $2",
	2, {TEXTOID, TEXTOID}
};

static EmkPlan rollups_plan = {
	"SELECT item_property, sum_property, item_event FROM eventmkt_data.timeline_state WHERE rollups", 0, {0}
};

static TimestampTz
day_of(TimestampTz t)
{
	int64		into_day = t % USECS_PER_DAY;

	return t - (into_day < 0 ? into_day + USECS_PER_DAY : into_day);
}

static void
run_time(EmkPlan *plan, TimestampTz t)
{
	Datum		arg = TimestampTzGetDatum(t);

	emk_spi_run(plan, &arg, NULL, false, 0);
}

/* Packs at most max_days days up to sealed_to; returns how many. */
static int
pack_days(TimestampTz packed_to, TimestampTz sealed_to, int max_days)
{
	int			days = 0;

	if (TIMESTAMP_IS_NOBEGIN(packed_to))
	{
		bool		isnull;
		Datum		first;

		emk_spi_run(&first_plan, NULL, NULL, true, 1);
		first = emk_spi_datum(0, 1, &isnull);
		packed_to = isnull ? sealed_to : Min(day_of(DatumGetTimestampTz(first)), sealed_to);
		run_time(&packed_plan, packed_to);
	}
	for (; packed_to < sealed_to && days < max_days; days++)
	{
		Datum		args[2] = {TimestampTzGetDatum(packed_to), TimestampTzGetDatum(packed_to + USECS_PER_DAY)};

		emk_spi_run(&pack_plan, args, NULL, false, 0);
		EMK_PAUSE_POINT("day_packed");
		emk_report_rollup_day(packed_to);
		packed_to += USECS_PER_DAY;
		run_time(&packed_plan, packed_to);
	}
	return days;
}

static void
forget(TimestampTz now)
{
	const char *retention = emk_setting_get("retention");
	Interval   *iv;

	if (retention == NULL)
		return;
	iv = DatumGetIntervalP(DirectFunctionCall3(interval_in, CStringGetDatum(retention), ObjectIdGetDatum(InvalidOid),
											   Int32GetDatum(-1)));
	run_time(&forget_plan, emk_clock_subtract(now, iv));
	emk_spi_run(&forget_empty_plan, NULL, NULL, false, 0);
	emk_report_rollup_forget(emk_clock_subtract(now, iv));
}

/* Returns days and profiles packed; *more: there is more to do at once. Inside open SPI, as the owner. */
static int
pack(TimestampTz now, int max_days, bool *more)
{
	TimestampTz packed_to;
	TimestampTz sealed_to;
	TimestampTz limit = day_of(now - SEAL_AFTER);
	bool		settled;
	bool		ended = false;
	bool		isnull;
	int			done = 0;
	Datum		args[2];

	*more = false;
	if (emk_setting_get("keep_timelines") == NULL || emk_spi_run(&state_plan, NULL, NULL, false, 1) == 0)
		return 0;
	packed_to = DatumGetTimestampTz(emk_spi_datum(0, 1, &isnull));
	sealed_to = DatumGetTimestampTz(emk_spi_datum(0, 2, &isnull));
	settled = emk_spi_bool(0, 3, false);
	if (sealed_to < limit || emk_spi_bool(0, 4, false))	/* a day ended, or this is a copy whose ids began anew */
	{
		run_time(&seal_plan, limit);
		ended = *more = true;
	}
	else if (settled && (packed_to < sealed_to || TIMESTAMP_IS_NOBEGIN(packed_to)))
	{
		done = pack_days(packed_to, sealed_to, max_days);
		*more = done == max_days;
	}
	if (done > 0)
		return done;
	args[0] = TimestampTzGetDatum(packed_to);
	args[1] = Int64GetDatum(MARKS_A_PASS);
	emk_spi_run(&rebuild_plan, args, NULL, false, 1);
	done = (int) emk_spi_int8(0, 1, 0);
	*more |= emk_spi_int8(0, 2, 0) >= MARKS_A_PASS;
	if (ended)
		forget(now);
	return done;
}

static bool
upkeep(TimestampTz now)
{
	bool		more;

	pack(now, DAYS_A_PASS, &more);
	return more;
}

void
emk_report_init(void)
{
	emk_worker_add_upkeep(upkeep);
	emk_report_init_backtest();
}

PG_FUNCTION_INFO_V1(emk_report_pack_timelines);
Datum
emk_report_pack_timelines(PG_FUNCTION_ARGS)
{
	int			max_days = PG_GETARG_INT32(0);
	EmkOwner	owner;
	bool		more;
	int			done;

	if (max_days < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("number of days must be positive")));
	emk_owner_enter(&owner);
	SPI_connect();
	done = pack(emk_clock_now(), max_days, &more);
	SPI_finish();
	emk_owner_leave(&owner);
	PG_RETURN_INT32(done);
}

static void
empty_tables(void)
{
	emk_spi_script("DELETE FROM eventmkt_data.timeline_state; TRUNCATE eventmkt_data.profile_timeline, eventmkt_data.rollup; "
				   "DELETE FROM eventmkt_data.late_event;");
}

void
emk_report_start_upkeep(Datum *args, const char *nulls)
{
	emk_spi_run(&rollups_plan, NULL, NULL, false, 1);	/* what is wanted of roll-ups stays as it is */
	if (SPI_processed > 0)
	{
		Datum		wanted[3];
		char		wanted_nulls[4] = "   ";

		for (int i = 0; i < 3; i++)
		{
			bool		isnull;

			wanted[i] = emk_spi_datum(0, 1 + i, &isnull);
			wanted_nulls[i] = isnull ? 'n' : ' ';
		}
		empty_tables();
		emk_spi_run(&keep_plan, args, nulls, false, 0);
		emk_report_want_rollups(wanted, wanted_nulls);
	}
	else
	{
		empty_tables();
		emk_spi_run(&keep_plan, args, nulls, false, 0);
	}
	emk_setting_put("keep_timelines", "on");
}

PG_FUNCTION_INFO_V1(emk_report_keep_timelines);
Datum
emk_report_keep_timelines(PG_FUNCTION_ARGS)
{
	Datum		args[2];
	char		nulls[3] = "  ";
	EmkOwner	owner;

	for (int i = 0; i < 2; i++)
	{
		args[i] = PG_ARGISNULL(i) ? (Datum) 0 : PG_GETARG_DATUM(i);
		nulls[i] = PG_ARGISNULL(i) ? 'n' : ' ';
	}
	emk_owner_enter(&owner);
	SPI_connect();
	if (emk_setting_get("keep_timelines") == NULL || emk_spi_run(&same_plan, args, nulls, false, 1) == 0)
	{
		emk_report_start_upkeep(args, nulls);
	}
	SPI_finish();
	emk_owner_leave(&owner);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(emk_report_drop_timelines);
Datum
emk_report_drop_timelines(PG_FUNCTION_ARGS)
{
	EmkOwner	owner;

	emk_owner_enter(&owner);
	SPI_connect();
	emk_setting_put("keep_timelines", NULL);
	empty_tables();
	SPI_finish();
	emk_owner_leave(&owner);
	PG_RETURN_VOID();
}

/* ---- merges ---- */

static EmkPlan mark_plan = {
	"INSERT INTO eventmkt_data.late_event (profile_id, occurred_at) SELECT i.id, '-infinity' FROM pg_catalog.unnest($1) i(id)",
	1, {TEXTARRAYOID}
};

PG_FUNCTION_INFO_V1(emk_report_mark_merged);
/* Trigger, for each row of alias that came, changed or went: the profiles it names are to be packed anew. */
Datum
emk_report_mark_merged(PG_FUNCTION_ARGS)
{
	TriggerData *td = emk_base_trigger(fcinfo, "alias", true, EMK_ON_INSERT | EMK_ON_DELETE | EMK_ON_UPDATE);
	TupleDesc	desc;
	HeapTuple	rows[2];
	Datum		ids[4];
	int			n = 0;
	Datum		arg;

	if (emk_setting_get("keep_timelines") == NULL)
		PG_RETURN_POINTER(NULL);
	desc = RelationGetDescr(td->tg_relation);
	rows[0] = td->tg_trigtuple;
	rows[1] = TRIGGER_FIRED_BY_UPDATE(td->tg_event) ? td->tg_newtuple : NULL;
	for (int i = 0; i < 4; i++)
	{
		bool		isnull;

		if (rows[i / 2] == NULL)
			break;
		ids[n] = heap_getattr(rows[i / 2], i % 2 + 1, desc, &isnull);
		n += !isnull;
	}
	SPI_connect();
	arg = emk_spi_array(ids, NULL, n, TEXTOID);
	emk_spi_run(&mark_plan, &arg, NULL, false, 0);
	SPI_finish();
	PG_RETURN_POINTER(NULL);
}

/* ---- from properties to keys and values; nothing an app sends may make packing fail ---- */

static JsonbValue *
property(Jsonb *jb, const char *name, int len)
{
	if (!JB_ROOT_IS_OBJECT(jb))
		return NULL;
	return getKeyJsonValueFromContainer(&jb->root, name, len, NULL);
}

bool
emk_report_property_key(struct varlena *properties, const char *name, int len, const char **key, int *keylen)
{
	Jsonb	   *jb = (Jsonb *) properties;
	JsonbValue *v = property(jb, name, len);

	if (v == NULL)
		return false;
	if (v->type == jbvString)
	{
		*key = v->val.string.val;
		*keylen = v->val.string.len;
	}
	else
	{
		*key = emk_json_scalar(jb, name, len);
		*keylen = *key ? strlen(*key) : 0;
	}
	return *key != NULL && *keylen <= EMK_MAX_KEY_BYTES;
}

/* The number at a property, also in millionths, when a timeline can hold it, else NULL. */
static Numeric
property_number(Jsonb *jb, const char *name, int len, int64 *value)
{
	JsonbValue *v = property(jb, name, len);

	if (v == NULL || v->type != jbvNumeric || !emk_analytics_try_value(v->val.numeric, value))
		return NULL;
	return v->val.numeric;
}

bool
emk_report_property_value(struct varlena *properties, const char *name, int len, int64 *value)
{
	return property_number((Jsonb *) properties, name, len, value) != NULL;
}

/* Is it {} (no scalar is as short)? That is told by its size, without a copy. */
static bool
is_empty(Datum properties)
{
	struct varlena *p = (struct varlena *) DatumGetPointer(properties);

	return !VARATT_IS_EXTERNAL(p) && !VARATT_IS_COMPRESSED(p) && VARSIZE_ANY_EXHDR(p) <= sizeof(uint32);
}

PG_FUNCTION_INFO_V1(emk_report_timeline_key);
Datum
emk_report_timeline_key(PG_FUNCTION_ARGS)
{
	const char *key;
	int			len;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || is_empty(PG_GETARG_DATUM(0)) ||
		!emk_report_property_key(PG_GETARG_VARLENA_P(0), VARDATA_ANY(PG_GETARG_TEXT_PP(1)),
								 VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(1)), &key, &len))
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text_with_len(key, len));
}

PG_FUNCTION_INFO_V1(emk_report_timeline_value);
Datum
emk_report_timeline_value(PG_FUNCTION_ARGS)
{
	Numeric		number = NULL;
	int64		value;

	if (!PG_ARGISNULL(0) && !PG_ARGISNULL(1) && !is_empty(PG_GETARG_DATUM(0)))
		number = property_number(PG_GETARG_JSONB_P(0), VARDATA_ANY(PG_GETARG_TEXT_PP(1)),
								 VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(1)), &value);
	if (number == NULL)
		PG_RETURN_NULL();
	PG_RETURN_NUMERIC(number);
}

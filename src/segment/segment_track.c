/*
 * segment_track.c: what people call about live membership: track_segment(), untrack_segment(), refresh_segment(),
 * segment_members_on(); and the triggers that tell the matcher of people who are new, merged or parted again.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "event/event.h"
#include "funcapi.h"
#include "segment/segment_live.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

static EmkPlan set_plan = {
	"UPDATE eventmkt_data.segment SET tracked = $2 WHERE segment_id OPERATOR(pg_catalog.=) $1 "
	"AND tracked OPERATOR(pg_catalog.<>) $2", 2, {INT4OID, BOOLOID}
};
/* a query takes part: what matters to it is not known */
static EmkPlan query_plan = {
	"WITH RECURSIVE below (id) AS (SELECT $1 UNION SELECT pg_catalog.unnest(s.all_of OPERATOR(pg_catalog.||) s.any_of "
	"OPERATOR(pg_catalog.||) s.none_of) FROM below b JOIN eventmkt_data.segment s ON s.segment_id OPERATOR(pg_catalog.=) b.id) "
	"SELECT s.name FROM below b JOIN eventmkt_data.segment s ON s.segment_id OPERATOR(pg_catalog.=) b.id "
	"WHERE s.kind OPERATOR(pg_catalog.=) 'query' ORDER BY s.name LIMIT 1", 1, {INT4OID}
};
static EmkPlan state_plan = {
	"INSERT INTO eventmkt_data.segment_state (segment_id, members, fill, fill_at, filled) VALUES ($1, 0, 'profiles', '', 0) "
	"ON CONFLICT (segment_id) DO NOTHING", 1, {INT4OID}
};
/* a tracked segment and all tracked ones that are made of it are asked again */
static EmkPlan again_plan = {
	"WITH RECURSIVE above (id) AS (SELECT $1 UNION SELECT s.segment_id FROM above a JOIN eventmkt_data.segment s "
	"ON a.id OPERATOR(pg_catalog.=) ANY (s.all_of OPERATOR(pg_catalog.||) s.any_of OPERATOR(pg_catalog.||) s.none_of)) "
	"UPDATE eventmkt_data.segment_state x SET fill = 'members', fill_at = '', filled = 0, filled_at = NULL "
	"FROM above a WHERE x.segment_id OPERATOR(pg_catalog.=) a.id", 1, {INT4OID}
};
/* the tracked ones among them */
static EmkPlan above_plan = {
	"WITH RECURSIVE above (id) AS (SELECT $1 UNION SELECT s.segment_id FROM above a JOIN eventmkt_data.segment s "
	"ON a.id OPERATOR(pg_catalog.=) ANY (s.all_of OPERATOR(pg_catalog.||) s.any_of OPERATOR(pg_catalog.||) s.none_of)) "
	"SELECT s.segment_id, s.name FROM above a JOIN eventmkt_data.segment s ON s.segment_id OPERATOR(pg_catalog.=) a.id "
	"WHERE s.tracked", 1, {INT4OID}
};
static EmkPlan synced_plan = {
	"SELECT e.name FROM eventmkt_data.segment_sync y JOIN eventmkt_data.endpoint e USING (endpoint_id) "
	"WHERE y.segment_id OPERATOR(pg_catalog.=) $1 LIMIT 1", 1, {INT4OID}
};
static EmkPlan all_again_plan = {
	"UPDATE eventmkt_data.segment_state SET fill = 'members', fill_at = '', filled = 0, filled_at = NULL "
	"WHERE segment_id OPERATOR(pg_catalog.=) ANY ($1)", 1, {INT4ARRAYOID}
};
static EmkPlan find_plan = {
	"SELECT s.segment_id, s.tracked, x.tracked_since FROM eventmkt_data.segment s LEFT JOIN eventmkt_data.segment_state x "
	"USING (segment_id) WHERE s.name OPERATOR(pg_catalog.=) $1", 1, {TEXTOID}
};
static EmkPlan members_on_plan = {
	"SELECT m.profile_id FROM eventmkt_data.membership m WHERE m.segment_id OPERATOR(pg_catalog.=) $1 "
	"AND m.since OPERATOR(pg_catalog.<=) $2 UNION SELECT p.profile_id FROM eventmkt_data.membership_past p "
	"WHERE p.segment_id OPERATOR(pg_catalog.=) $1 AND p.entered_at OPERATOR(pg_catalog.<=) $2 "
	"AND p.left_at OPERATOR(pg_catalog.>) $2", 2, {INT4OID, TIMESTAMPTZOID}
};
static EmkPlan forget_plan = {
	"WITH g AS (DELETE FROM eventmkt_data.membership_past WHERE ctid OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT p.ctid "
	"FROM eventmkt_data.membership_past p WHERE p.left_at OPERATOR(pg_catalog.<) $1 LIMIT $2)) RETURNING 1), "
	"z AS (DELETE FROM eventmkt_data.segment_size WHERE at OPERATOR(pg_catalog.<) $1), "
	"s AS (UPDATE eventmkt_data.segment_state SET tracked_since = $1 WHERE tracked_since OPERATOR(pg_catalog.<) $1) "
	"SELECT pg_catalog.count(*) FROM g", 2, {TIMESTAMPTZOID, INT8OID}
};

/* Everything that is kept of a segment, its lines to endpoints too */
static const char *const kept[] = {
	"membership", "membership_past", "segment_timer", "segment_size", "segment_state"
};

static void
drop_kept(int32 id)
{
	for (int i = 0; i < lengthof(kept); i++)
		emk_spi_script(psprintf("DELETE FROM eventmkt_data.%s WHERE segment_id OPERATOR(pg_catalog.=) %d", kept[i], id));
	emk_spi_script(psprintf("DELETE FROM eventmkt_data.segment_told WHERE sync_id OPERATOR(pg_catalog.=) ANY (ARRAY("
							"SELECT sync_id FROM eventmkt_data.segment_sync WHERE segment_id OPERATOR(pg_catalog.=) %d)); "
							"DELETE FROM eventmkt_data.segment_sync WHERE segment_id OPERATOR(pg_catalog.=) %d", id, id));
}

/* What can be tracked, or ERROR */
static void
check_trackable(int32 id, const char *name)
{
	Datum		arg = Int32GetDatum(id);

	if (id > EMK_MAX_TRACKED_ID)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("members of segment number %d cannot be tracked, the highest number is %d", id, EMK_MAX_TRACKED_ID)));
	if (emk_spi_run(&query_plan, &arg, NULL, false, 1) == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("members of segment \"%s\" cannot be tracked", name),
			 errdetail("Segment \"%s\" is a query, and nothing says which events change its answer.", emk_spi_text(0, 1)),
			 errhint("Say it with on_event, steps, unless or where_profile; or read its view when you need it.")));
}

static void
check_idle(int32 id, const char *name)
{
	Datum		arg = Int32GetDatum(id);

	if (emk_spi_run(&synced_plan, &arg, NULL, false, 1) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("segment \"%s\" is synced to endpoint \"%s\"", name, emk_spi_text(0, 1)),
				 errhint("Call eventmkt.unsync_segment() first.")));
}

/* A tracked segment stays one that can be tracked, also when one of its parts changes. */
static void
check_users(int32 id)
{
	Datum		arg = Int32GetDatum(id);
	uint64		n = emk_spi_run(&above_plan, &arg, NULL, false, 0);
	SPITupleTable *rows = SPI_tuptable;

	for (uint64 i = 0; i < n; i++)
	{
		SPI_tuptable = rows;
		check_trackable(emk_spi_int4(i, 1, 0), emk_spi_text(i, 2));
	}
}

void
emk_segment_changed(int32 id, const char *name, int track, bool changed)
{
	Datum		args[2] = {Int32GetDatum(id), BoolGetDatum(track > 0)};

	(void) emk_live_lock(true);
	if (track > 0)
		check_trackable(id, name);
	else if (track == 0)
		check_idle(id, name);
	if (track >= 0)
		emk_spi_run(&set_plan, args, NULL, false, 0);
	if (track > 0)
		emk_spi_run(&state_plan, args, NULL, false, 0);
	else if (track == 0)
		drop_kept(id);
	if (changed)
	{
		check_users(id);
		emk_spi_run(&again_plan, args, NULL, false, 0);
	}
	emk_live_listen();
	emk_base_invalidate_table("segment_state"); /* who fills notes whose events were matched before */
	emk_wake_at_commit();
}

void
emk_segment_recheck(TimestampTz keep, TimestampTz now)
{
	int			n;
	int			k = 0;
	EmkLive   **all;
	Datum	   *ids;
	Datum		arg;

	emk_live_refresh();
	all = emk_live_all(&n);
	ids = palloc(sizeof(Datum) * Max(n, 1));
	for (int i = 0; i < n; i++)
		if (all[i]->tracked && (all[i]->unknown_any || emk_live_since(all[i], now) < keep))
			ids[k++] = Int32GetDatum(all[i]->id);
	arg = emk_spi_array(ids, NULL, k, INT4OID);
	if (k > 0)
		emk_spi_run(&all_again_plan, &arg, NULL, false, 0);
}

bool
emk_segment_any(void)
{
	return emk_live_tracked() > 0;
}

bool
emk_segment_lock(bool wait)
{
	return emk_live_lock(wait);
}

uint64
emk_segment_drop_old(TimestampTz keep, int limit)
{
	Datum		args[2] = {TimestampTzGetDatum(keep), Int64GetDatum(limit)};

	emk_spi_run(&forget_plan, args, NULL, false, 0);
	return emk_spi_int8(0, 1, 0);
}

/* ---- SQL ---- */

/* The id of a segment; ERROR EM008 when there is none, 55000 when `must` and it is not tracked. */
static int32
find(const char *name, bool must, bool *tracked, TimestampTz *since)
{
	Datum		arg = CStringGetTextDatum(name);
	bool		isnull;
	Datum		d;

	if (emk_spi_run(&find_plan, &arg, NULL, false, 1) == 0)
		emk_segment_unknown(name);
	*tracked = emk_spi_bool(0, 2, false);
	d = emk_spi_datum(0, 3, &isnull);
	if (since != NULL)
		*since = isnull ? DT_NOEND : DatumGetTimestampTz(d);
	if (must && !*tracked)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("members of segment \"%s\" are not tracked", name),
				 errhint("Call eventmkt.track_segment(%s).", quote_literal_cstr(name))));
	return emk_spi_int4(0, 1, 0);
}

/* track: 1 begins, 0 ends, -1 asks everybody again */
static Datum
change_tracking(FunctionCallInfo fcinfo, int track)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	EmkOwner	owner;
	bool		tracked;
	int32		id;

	emk_owner_enter(&owner);
	SPI_connect();
	emk_spi_script("LOCK TABLE eventmkt_data.segment IN SHARE ROW EXCLUSIVE MODE");
	id = find(name, track < 0, &tracked, NULL);
	if (track < 0 || tracked != (track > 0))
		emk_segment_changed(id, name, track, track < 0);
	SPI_finish();
	emk_owner_leave(&owner);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(emk_segment_track);
/* eventmkt.track_segment(name) */
Datum
emk_segment_track(PG_FUNCTION_ARGS)
{
	return change_tracking(fcinfo, 1);
}

PG_FUNCTION_INFO_V1(emk_segment_untrack);
/* eventmkt.untrack_segment(name) */
Datum
emk_segment_untrack(PG_FUNCTION_ARGS)
{
	return change_tracking(fcinfo, 0);
}

PG_FUNCTION_INFO_V1(emk_segment_refresh);
/* eventmkt.refresh_segment(name) */
Datum
emk_segment_refresh(PG_FUNCTION_ARGS)
{
	return change_tracking(fcinfo, -1);
}

PG_FUNCTION_INFO_V1(emk_segment_members_on);
/* eventmkt.segment_members_on(name, at) → setof text */
Datum
emk_segment_members_on(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Datum		args[2] = {0, PG_GETARG_DATUM(1)};
	TimestampTz since;
	EmkOwner	owner;
	bool		tracked;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	emk_owner_enter(&owner);
	SPI_connect();
	args[0] = Int32GetDatum(find(name, true, &tracked, &since));
	if (PG_GETARG_TIMESTAMPTZ(1) < since)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the members of segment \"%s\" are not known for that time", name),
				 since == DT_NOEND ? errdetail("The segment is still being filled.") :
				 errdetail("They are known since %s.", timestamptz_to_str(since))));
	emk_spi_run(&members_on_plan, args, NULL, false, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Datum		value = emk_spi_datum(i, 1, &isnull);

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &value, &isnull);
	}
	SPI_finish();
	emk_owner_leave(&owner);
	return (Datum) 0;
}

/* ---- triggers ---- */

/* Runs a name that nobody sees through the matcher and leaves the work it asks for. */
static void
leave_work(const char *name, char kind, const char *profile_id, bool quiet)
{
	const char *fire = GetConfigOption("eventmkt.fire", true, false);
	TimestampTz now = emk_clock_now();
	EmkMatchInput in = {.name = name, .properties = emk_json_parse("{}"), .profile_id = profile_id, .depth = 1,
	.occurred_at = now, .now = now, .history = true};
	const int32 *listeners;
	int			n = emk_rule_match(&in, &listeners);

	if (n > 0)
	{
		EmkWork		work = {.kind = kind, .profile_id = profile_id, .occurred_at = now, .rules = listeners, .nrules = n,
		.quiet = quiet || (fire != NULL && strcmp(fire, "off") == 0)};

		emk_event_enqueue(&work, 1);
	}
}

static char *
column(TriggerData *t, HeapTuple row, const char *name)
{
	return SPI_getvalue(row, t->tg_relation->rd_att, SPI_fnumber(t->tg_relation->rd_att, name));
}

PG_FUNCTION_INFO_V1(emk_segment_note_profile);
/* eventmkt.note_profile(), trigger on profile: somebody has a row who had none */
Datum
emk_segment_note_profile(PG_FUNCTION_ARGS)
{
	TriggerData *t = emk_base_trigger(fcinfo, "profile", true, EMK_ON_INSERT);
	EmkOwner	owner;

	emk_owner_enter(&owner);
	leave_work(EMK_PROFILE_MADE, 'e', column(t, t->tg_trigtuple, "profile_id"), false);
	emk_owner_leave(&owner);
	return PointerGetDatum(NULL);
}

PG_FUNCTION_INFO_V1(emk_segment_note_merge);
/* eventmkt.note_merge(), trigger on merge_log: two became one, or one is two again, which is no news of either */
Datum
emk_segment_note_merge(PG_FUNCTION_ARGS)
{
	TriggerData *t = emk_base_trigger(fcinfo, "merge_log", true, EMK_ON_INSERT | EMK_ON_UPDATE);
	bool		undone = TRIGGER_FIRED_BY_UPDATE(t->tg_event);
	HeapTuple	row;
	EmkOwner	owner;

	row = undone ? t->tg_newtuple : t->tg_trigtuple;
	if (column(t, row, "refused") != NULL || (undone && column(t, row, "undone_at") == NULL))
		return PointerGetDatum(NULL);
	emk_owner_enter(&owner);
	leave_work(EMK_PROFILE_MERGED, 'm', column(t, row, "from_id"), undone);
	if (undone)
		leave_work(EMK_PROFILE_MERGED, 'e', column(t, row, "into_id"), true);
	emk_owner_leave(&owner);
	return PointerGetDatum(NULL);
}

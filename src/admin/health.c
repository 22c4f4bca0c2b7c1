/*
 * health.c: eventmkt.health(): one row a check, each with what to do about it. Cheap at any size: index ends, limited
 * counts and estimates, never a full scan. It works before init(), in a copy and on a standby.
 *
 * State: ok; warn (something wants attention); error (messages do not go out as they should).
 */
#include "postgres.h"

#include "access/xlog.h"
#include "admin/admin_int.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "deliver/deliver.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "worker/worker.h"

#define STUCK	(60 * USECS_PER_SEC)	/* a worker that has not turned for this long */

/* Checks that are one query: rows (check, state, detail, hint); $1 is the clock, $2 whether the workers are paused */
static EmkPlan checks[] = {
	{"SELECT 'work', CASE WHEN n OPERATOR(pg_catalog.>) 10000 AND NOT $2 THEN 'warn' ELSE 'ok' END, CASE WHEN n "
		"OPERATOR(pg_catalog.>) 10000 THEN 'more than 10000' ELSE n::pg_catalog.text END OPERATOR(pg_catalog.||) "
		"' events wait for the worker', CASE WHEN n OPERATOR(pg_catalog.>) 10000 AND NOT $2 THEN "
		"'Look again; if the number does not fall, raise eventmkt.workers.' END "
		"FROM (SELECT pg_catalog.count(*) AS n FROM (SELECT FROM eventmkt_data.work LIMIT 10001) w) c "
	"WHERE $1 IS NOT NULL", 2, {TIMESTAMPTZOID, BOOLOID}},
	{"SELECT 'replaced workers', 'warn', 'frozen, not ended yet: pid ' OPERATOR(pg_catalog.||) p, 'They end by themselves when they go on: "
		"send SIGCONT to one that is stopped. What they have locked waits for that; SIGKILL would restart the server.' "
		"FROM (SELECT pg_catalog.string_agg(l.pid::pg_catalog.text, ', ' ORDER BY l.pid) AS p FROM eventmkt_data.lease r "
		"JOIN pg_catalog.pg_locks l ON l.locktype OPERATOR(pg_catalog.=) 'advisory' AND l.granted "
		"AND l.classid OPERATOR(pg_catalog.=) " EMK_EPOCH_LOCK_CLASS_TEXT " AND l.objsubid OPERATOR(pg_catalog.=) 8 "
		"AND l.objid::pg_catalog.int8 OPERATOR(pg_catalog.=) (r.lease OPERATOR(pg_catalog.&) 4294967295) "
		"AND l.database OPERATOR(pg_catalog.=) (SELECT d.oid FROM pg_catalog.pg_database d "
		"WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()) "
		"WHERE r.chunk OPERATOR(pg_catalog.<) 0) x WHERE p IS NOT NULL AND $1 IS NOT NULL AND $2 IS NOT NULL", 2,
	{TIMESTAMPTZOID, BOOLOID}},
	{"SELECT 'segments', CASE WHEN w OPERATOR(pg_catalog.>) 10000 AND NOT $2 THEN 'warn' ELSE 'ok' END, t::pg_catalog.text "
		"OPERATOR(pg_catalog.||) ' tracked, ' OPERATOR(pg_catalog.||) f::pg_catalog.text OPERATOR(pg_catalog.||) ' being filled, ' "
		"OPERATOR(pg_catalog.||) CASE WHEN w OPERATOR(pg_catalog.>) 10000 THEN 'more than 10000' ELSE w::pg_catalog.text END "
		"OPERATOR(pg_catalog.||) ' events wait', CASE WHEN w OPERATOR(pg_catalog.>) 10000 AND NOT $2 THEN "
		"'Look again; if the number does not fall, track fewer segments.' END FROM (SELECT pg_catalog.count(*) AS t, "
		"pg_catalog.count(fill) AS f FROM eventmkt_data.segment_state) s, (SELECT pg_catalog.count(*) AS w FROM "
		"(SELECT FROM eventmkt_data.segment_work LIMIT 10001) l) c WHERE t OPERATOR(pg_catalog.>) 0 AND $1 IS NOT NULL", 2,
	{TIMESTAMPTZOID, BOOLOID}},
	{"SELECT 'due', CASE WHEN $2 OR late OPERATOR(pg_catalog.<) '1 minute'::pg_catalog.interval OR late IS NULL THEN 'ok' "
		"WHEN late OPERATOR(pg_catalog.<) '10 minutes'::pg_catalog.interval THEN 'warn' ELSE 'error' END, "
		"'about ' OPERATOR(pg_catalog.||) live::pg_catalog.text OPERATOR(pg_catalog.||) ' live runs' OPERATOR(pg_catalog.||) "
		"CASE WHEN late OPERATOR(pg_catalog.>) '0'::pg_catalog.interval THEN ', the oldest due since ' "
		"OPERATOR(pg_catalog.||) pg_catalog.date_trunc('second', late)::pg_catalog.text ELSE ', none due' END, "
		"CASE WHEN NOT $2 AND late OPERATOR(pg_catalog.>=) '1 minute'::pg_catalog.interval THEN "
		"'Look at the server log for errors of the worker.' END "
		"FROM (SELECT $1 OPERATOR(pg_catalog.-) pg_catalog.min(wake_at) AS late FROM eventmkt_data.pending_trigger "
		"WHERE wake_at OPERATOR(pg_catalog.<) 'infinity'::pg_catalog.timestamptz) d, (SELECT GREATEST(reltuples, 0)::"
		"pg_catalog.int8 AS live FROM pg_catalog.pg_class WHERE oid OPERATOR(pg_catalog.=) "
	"'eventmkt_data.pending_trigger'::pg_catalog.regclass) e", 2, {TIMESTAMPTZOID, BOOLOID}},
	{"SELECT 'deliveries', CASE WHEN $2 OR late IS NULL OR late OPERATOR(pg_catalog.<) '1 minute'::pg_catalog.interval "
		"THEN 'ok' ELSE 'warn' END, CASE WHEN q OPERATOR(pg_catalog.>) 10000 THEN 'more than 10000' ELSE q::pg_catalog.text END "
		"OPERATOR(pg_catalog.||) ' waiting, ' OPERATOR(pg_catalog.||) f::pg_catalog.text OPERATOR(pg_catalog.||) ' in flight' "
		"OPERATOR(pg_catalog.||) CASE WHEN late OPERATOR(pg_catalog.>) '0'::pg_catalog.interval THEN ', the oldest ready since ' "
		"OPERATOR(pg_catalog.||) pg_catalog.date_trunc('second', late)::pg_catalog.text ELSE '' END, "
		"CASE WHEN NOT $2 AND late OPERATOR(pg_catalog.>=) '1 minute'::pg_catalog.interval THEN "
		"'Look at the endpoints below: limits, failures, missing secrets.' END "
		"FROM (SELECT pg_catalog.count(*) AS q FROM (SELECT FROM eventmkt_data.delivery WHERE waiting "
		"LIMIT 10001) w) a, (SELECT pg_catalog.count(*) AS f FROM eventmkt_data.lease l, pg_catalog.unnest(l.ids) AS u (id), "
		"eventmkt_data.delivery d WHERE d.id OPERATOR(pg_catalog.=) u.id AND d.status OPERATOR(pg_catalog.=) 'in_flight' "
		"AND d.lease OPERATOR(pg_catalog.=) l.lease) b, "
		"(SELECT $1 OPERATOR(pg_catalog.-) pg_catalog.min(o.next_attempt_at) AS late FROM eventmkt_data.endpoint e, "
		"LATERAL (SELECT d.next_attempt_at FROM eventmkt_data.delivery d WHERE d.endpoint_id OPERATOR(pg_catalog.=) "
		"e.endpoint_id AND d.waiting AND d.next_attempt_at OPERATOR(pg_catalog.<) 'infinity' "
		"ORDER BY d.next_attempt_at LIMIT 1) o WHERE e.enabled) c",
	2, {TIMESTAMPTZOID, BOOLOID}},
	{"SELECT 'dead letters', CASE WHEN n OPERATOR(pg_catalog.>) 0 THEN 'warn' ELSE 'ok' END, "
		"CASE WHEN n OPERATOR(pg_catalog.>) 1000 THEN 'more than 1000' ELSE n::pg_catalog.text END OPERATOR(pg_catalog.||) "
		"' within a day', CASE WHEN n OPERATOR(pg_catalog.>) 0 THEN 'Look at eventmkt_data.attempt, then call "
		"eventmkt.redeliver(id).' END FROM (SELECT pg_catalog.count(*) AS n FROM (SELECT FROM eventmkt_data.delivery WHERE "
		"died_at OPERATOR(pg_catalog.>) ($1 OPERATOR(pg_catalog.-) "
		"'24 hours'::pg_catalog.interval) LIMIT 1001) w) c WHERE $2 IS NOT NULL", 2, {TIMESTAMPTZOID, BOOLOID}},
	{"SELECT 'endpoints', 'ok', pg_catalog.count(*)::pg_catalog.text OPERATOR(pg_catalog.||) ' enabled', NULL "
	"FROM eventmkt_data.endpoint WHERE enabled AND $1 IS NOT NULL AND $2 IS NOT NULL", 2, {TIMESTAMPTZOID, BOOLOID}},
	{"SELECT 'endpoint ' OPERATOR(pg_catalog.||) name, state, detail, hint FROM ("
		"SELECT e.name, 'warn' AS state, 'disabled' OPERATOR(pg_catalog.||) "
		"COALESCE(': ' OPERATOR(pg_catalog.||) e.disabled_reason, '') "
		"AS detail, "
		"'Call eventmkt.enable_endpoint() when it works again; what waits for it is held.' AS hint "
		"FROM eventmkt_data.endpoint e WHERE NOT e.enabled UNION ALL "
		"SELECT e.name, 'error', 'no secret', 'Call eventmkt.set_secret(); its messages are held until then.' "
		"FROM eventmkt_data.endpoint e WHERE e.enabled AND NOT EXISTS (SELECT FROM eventmkt.secret s WHERE "
		"s.endpoint OPERATOR(pg_catalog.=) e.name AND (s.expires_at IS NULL OR s.expires_at OPERATOR(pg_catalog.>) $1)) "
		"UNION ALL SELECT e.name, 'warn', s.failures::pg_catalog.text OPERATOR(pg_catalog.||) ' failures in a row' "
		"OPERATOR(pg_catalog.||) CASE WHEN s.last_error IS NULL THEN '' ELSE ', the last: ' OPERATOR(pg_catalog.||) "
		"s.last_error END, CASE WHEN s.open_until OPERATOR(pg_catalog.>) $1 THEN 'It gets one try at a time until it answers.' "
		"END FROM eventmkt_data.endpoint e JOIN eventmkt_data.endpoint_state s ON s.endpoint_id OPERATOR(pg_catalog.=) "
		"e.endpoint_id WHERE e.enabled AND s.failures OPERATOR(pg_catalog.>=) 3) x WHERE $2 IS NOT NULL ORDER BY 1, 2 LIMIT 100",
	2, {TIMESTAMPTZOID, BOOLOID}},
	{"SELECT 'erased', CASE WHEN t OPERATOR(pg_catalog.>) 0 THEN 'warn' ELSE 'ok' END, 'the files of ' OPERATOR(pg_catalog.||) "
		"n::pg_catalog.text OPERATOR(pg_catalog.||) ' tables may hold bytes of erased people' OPERATOR(pg_catalog.||) CASE WHEN t "
		"OPERATOR(pg_catalog.>) 0 THEN ', ' OPERATOR(pg_catalog.||) t::pg_catalog.text OPERATOR(pg_catalog.||) ' wait for VACUUM, "
		"ANALYZE or REINDEX' ELSE '' END, CASE WHEN t OPERATOR(pg_catalog.>) 0 THEN 'Run SELECT unnest(todo) FROM eventmkt_data.scrub "
		"and what it returns, where autovacuum does not.' END FROM (SELECT pg_catalog.count(*) AS n, pg_catalog.count(todo) AS t "
		"FROM eventmkt_data.scrub) s WHERE n OPERATOR(pg_catalog.>) 0 AND $1 IS NOT NULL AND $2 IS NOT NULL", 2, {TIMESTAMPTZOID, BOOLOID}},
	{"SELECT 'rule ' OPERATOR(pg_catalog.||) name, 'warn', 'disabled: ' OPERATOR(pg_catalog.||) disabled_reason, "
		"'Correct it with eventmkt.replace_rule(), then call eventmkt.enable_rule().' FROM eventmkt_data.rule WHERE current AND "
		"NOT enabled AND disabled_reason OPERATOR(pg_catalog.<>) ALL ('{disable_rule(),replace_rule()}') AND $1 IS NOT NULL "
	"AND $2 IS NOT NULL "
	"ORDER BY 1 LIMIT 100", 2, {TIMESTAMPTZOID, BOOLOID}},
	{"SELECT 'partitions', CASE WHEN filled THEN 'warn' WHEN ahead OPERATOR(pg_catalog.<) '0'::pg_catalog.interval "
		"OR ahead IS NULL THEN 'error' WHEN ahead OPERATOR(pg_catalog.<) '7 days'::pg_catalog.interval THEN 'warn' ELSE 'ok' "
		"END, CASE WHEN ahead IS NULL THEN 'none' ELSE 'made for ' OPERATOR(pg_catalog.||) "
		"pg_catalog.date_part('day', ahead)::pg_catalog.int4::pg_catalog.text OPERATOR(pg_catalog.||) ' days ahead' END "
		"OPERATOR(pg_catalog.||) "
		"CASE WHEN filled THEN '; the default partition holds rows' ELSE '' END, CASE WHEN filled THEN "
		"'Call eventmkt.make_partitions(from, to) for their range.' WHEN ahead IS NULL OR ahead OPERATOR(pg_catalog.<) "
		"'7 days'::pg_catalog.interval THEN 'The worker makes them; call eventmkt.make_partitions(from, to) where none runs.' END "
		"FROM (SELECT EXISTS (SELECT FROM eventmkt_data.event_default) OR EXISTS (SELECT FROM eventmkt_data.decision_default) "
		"AS filled) f, (SELECT pg_catalog.max(pg_catalog.timezone('UTC', pg_catalog.to_date(pg_catalog.right(c.relname::"
		"pg_catalog.text, 8), 'YYYYMMDD')::pg_catalog.timestamp) OPERATOR(pg_catalog.+) CASE WHEN c.relname "
		"OPERATOR(pg_catalog.~) '_w' THEN '168 hours'::pg_catalog.interval ELSE '24 hours' END) OPERATOR(pg_catalog.-) $1 AS ahead "
		"FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) i.inhrelid "
		"WHERE i.inhparent OPERATOR(pg_catalog.=) 'eventmkt_data.event'::pg_catalog.regclass "
	"AND c.relname OPERATOR(pg_catalog.~) '^event_[dw][0-9]{8}$') p WHERE $2 IS NOT NULL", 2, {TIMESTAMPTZOID, BOOLOID}},
};

static void
say(ReturnSetInfo *rsinfo, const char *check, const char *state, const char *detail, const char *hint)
{
	emk_admin_row(rsinfo, 4, (const char *const[]) {check, state, detail, hint});
}

static void
say_preload(ReturnSetInfo *rsinfo)
{
	if (emk_worker_preloaded())
		say(rsinfo, "preload", "ok", "the library is preloaded", NULL);
	else
		say(rsinfo, "preload", "warn", "the library is not preloaded: workers do not survive a server restart",
			"Add eventmkt to shared_preload_libraries, or call eventmkt.start_worker() after every server start.");
}

/* Why nothing happens though workers may run; returns the reason or NULL. */
static const char *
say_paused(ReturnSetInfo *rsinfo)
{
	const char *reason = emk_worker_paused();

	if (reason == NULL)
		say(rsinfo, "paused", "ok", "no", NULL);
	else if (strcmp(reason, "standby") == 0)
		say(rsinfo, "paused", "ok", "standby", "Workers start when this server is promoted.");
	else if (strcmp(reason, "disabled") == 0)
		say(rsinfo, "paused", "warn", "disabled", "Set eventmkt.enabled to on and reload the configuration.");
	else if (strcmp(reason, "copy") == 0)
		say(rsinfo, "paused", "error", "copy: this database is not the one that init() or adopt() marked",
			"Call eventmkt.adopt('expire') if it is to send messages; otherwise this is as it should be.");
	else if (strcmp(reason, "extension version") == 0)
		say(rsinfo, "paused", "error", psprintf("extension version %s, library version %s", emk_version_other(), EMK_VERSION),
			"Install and load the newer library, or run ALTER EXTENSION eventmkt UPDATE, then SELECT eventmkt.init().");
	else
		say(rsinfo, "paused", "error", reason, "Run SELECT eventmkt.init() as a superuser.");
	return reason;
}

static void
say_workers(ReturnSetInfo *rsinfo, const char *paused)
{
	EmkWorkerState st;
	const char *bad = paused ? "ok" : "error";

	emk_worker_state(&st);
	if (st.n == 0)
	{
		if (paused && strcmp(paused, "standby") == 0)
			say(rsinfo, "worker", "ok", "none on a standby", NULL);
		else if (st.starved)
			say(rsinfo, "worker", "error", "none: the server has no free worker slot",
				"Raise max_worker_processes; it is tried again every two seconds.");
		else if (st.stopped || !st.launcher)
			say(rsinfo, "worker", paused ? "warn" : "error", st.launcher || emk_worker_preloaded() ? "stopped" : "not started",
				"Run SELECT eventmkt.start_worker().");
		else
			say(rsinfo, "worker", bad, "none runs yet", "It is started within a minute; look at the server log.");
		return;
	}
	for (int i = 0; i < st.n; i++)
	{
		EmkWorkerInfo *w = &st.workers[i];
		int64		idle = w->heartbeat ? emk_clock_real() - w->heartbeat : 0;
		char	   *detail = psprintf("pid %d", w->pid);

		if (w->heartbeat)
			detail = psprintf("%s, last turn %.1f s ago", detail, idle / 1000000.0);
		if (w->frozen)
			detail = psprintf("%s, frozen: it should have turned long ago", detail);
		say(rsinfo, st.n == 1 ? "worker" : psprintf("worker %d", w->slot + 1), w->frozen ? "error" : idle > STUCK ? "warn" : "ok", detail,
			w->frozen ? "Run SELECT eventmkt.start_worker() to have another take its place; look at pg_stat_activity for what it "
			"waits for." :
			idle > STUCK ? "Look at pg_stat_activity and pg_locks for what it waits for." : NULL);
	}
}

static void
say_instance(ReturnSetInfo *rsinfo)
{
	const char *instance = emk_setting_get("instance");
	const char *timeline = emk_setting_get("timeline");
	bool		named = instance != NULL && instance[0] != '\0';
	TimeLineID	now = RecoveryInProgress() ? 0 : GetWALInsertionTimeLine();

	if (!emk_setting_is_home())
		say(rsinfo, "instance", "warn",
			psprintf("marked as \"%s\", database %s of system %s", named ? instance : "",
					 emk_setting_get("database_oid") ? emk_setting_get("database_oid") : "?",
					 emk_setting_get("system_identifier") ? emk_setting_get("system_identifier") : "?"),
			"Call eventmkt.adopt('expire') if this database is to send messages.");
	else if (now != 0 && timeline != NULL && strtoul(timeline, NULL, 10) != now && !named)
		say(rsinfo, "instance", "error", psprintf("timeline changed: %u, was %s", now, timeline),
			"After a failover call eventmkt.adopt('send'). If this is a clone, set eventmkt.instance to another name at once.");
	else
		say(rsinfo, "instance", "ok", named ? instance : "unnamed",
			named ? NULL : "Set eventmkt.instance in production, so that a disk-level clone stays silent.");
}

static void
say_clock(ReturnSetInfo *rsinfo)
{
	int64		offset = emk_clock_offset();

	if (offset == 0)
		say(rsinfo, "clock", "ok", "real time", NULL);
	else
		say(rsinfo, "clock", "warn", psprintf("%.3f hours ahead of real time", offset / (double) USECS_PER_HOUR),
			"advance_clock() moved it; it does not go back.");
}

/* Answers that a worker cannot store, and rows that it cannot claim, because something of somebody else refuses them */
static void
say_settling(ReturnSetInfo *rsinfo)
{
	const char *error = emk_setting_get("settle_error");

	if (error != NULL)
		say(rsinfo, "settling", "error", psprintf("deliveries that cannot be stored: %s", error),
			"Look for triggers and constraints of your own on eventmkt_data.delivery, attempt and decision; it is tried again "
			"until it works.");
}

PG_FUNCTION_INFO_V1(emk_admin_health);
/* eventmkt.health(): rows (check, state, detail, hint) */
Datum
emk_admin_health(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	const char *paused;
	Datum		args[2];
	EmkOwner	saved;
	int			nest;

	InitMaterializedSRF(fcinfo, 0);
	if (!emk_setting_initialized())
	{
		say(rsinfo, "initialised", "error", "there are no tables", "Run SELECT eventmkt.init() as a superuser.");
		return (Datum) 0;
	}
	say(rsinfo, "initialised", "ok", psprintf("tables of version %s", emk_setting_get("data_version")), NULL);
	say_preload(rsinfo);
	paused = say_paused(rsinfo);
	say_workers(rsinfo, paused);
	say_instance(rsinfo);
	say_clock(rsinfo);
	say_settling(rsinfo);
	if (paused != NULL && (strstr(paused, " version") != NULL || strcmp(paused, "not initialised") == 0))
		return (Datum) 0;
	args[0] = TimestampTzGetDatum(emk_clock_now());
	args[1] = BoolGetDatum(paused != NULL);
	nest = emk_admin_pin();
	emk_admin_pin_setting("enable_seqscan", "off"); /* a partial index without rows answers at once, whatever the estimate */
	emk_owner_enter(&saved);
	SPI_connect();
	for (int i = 0; i < lengthof(checks); i++)
	{
		uint64		n = emk_spi_run(&checks[i], args, NULL, false, 0);

		for (uint64 r = 0; r < n; r++)
			say(rsinfo, emk_spi_text(r, 1), emk_spi_text(r, 2), emk_spi_text(r, 3), emk_spi_text(r, 4));
	}
	SPI_finish();
	emk_owner_leave(&saved);
	emk_admin_unpin(nest);
	return (Datum) 0;
}

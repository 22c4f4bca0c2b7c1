/*
 * erase.c: eventmkt.erase(), unerase() and export(): a person leaves with everything, or is given everything.
 *
 * Words: the ids of a person are the canonical one and its aliases. A part is a table with rows about people: how to remove those
 * of some ids, and how to read them. test/…/admin_erase puts a canary into every table there is: a new one needs a part.
 *
 * Rules
 * 1. erase() takes the lock of the profile, leaves tombstones (profile/erased.c), removes what it sees, and writes the ids into
 *    eventmkt_data.erasing. A transaction that was open meanwhile may still bring rows of theirs; so when all that can have known
 *    nothing of it have ended, finish() removes once more, and only then forgets the ids. The worker does that by itself.
 * 2. Decisions stay, because reports count them, under the name "erased:<n>" and without anything about the person. What was waiting
 *    ends with one more of them: cancelled, `erased`. Deliveries go with their bodies and tries; a worker whose transfer is open finds
 *    no row when it settles and writes nothing.
 * 3. Messages of synchronised segments name many people: the ids are taken out of them.
 * 4. Nothing about the person is in privacy_log: a salted hash, counts, who, when.
 * 5. Rows that are gone still lie in the files: what becomes of those is in scrub.c.
 */
#include "postgres.h"

#include "access/transam.h"
#include "admin/admin_int.h"
#include "admin/scrub.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "event/event.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "profile/profile.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"
#include "worker/worker.h"

#define SETTLE_TIME	USECS_PER_SEC	/* a call that was told nothing of the erasure has taken its transaction id by then */

#define MINE(column)	column " OPERATOR(pg_catalog.=) ANY ($1)"
#define SIMPLE(name, where) \
	{name, {"DELETE FROM eventmkt_data." name " t WHERE " where, 1, {TEXTARRAYOID}}, \
	{"SELECT pg_catalog.to_jsonb(t) FROM eventmkt_data." name " t WHERE " where, 1, {TEXTARRAYOID}}}
#define DERIVED(name, where) \
	{name, {"DELETE FROM eventmkt_data." name " t WHERE " where, 1, {TEXTARRAYOID}}, {NULL, 0, {0}}}
/* a table whose key begins with a segment or a line: found through those, which are few */
#define KEYED(name, key, owners) \
	{name, {"DELETE FROM eventmkt_data." name " t USING eventmkt_data." owners " o, pg_catalog.unnest($1) u(id) " \
	"WHERE t." key " OPERATOR(pg_catalog.=) o." key " AND t.profile_id OPERATOR(pg_catalog.=) (u.id COLLATE \"C\")", 1, {TEXTARRAYOID}}, \
	{"SELECT pg_catalog.to_jsonb(t) FROM eventmkt_data." name " t WHERE " \
	MINE("t.profile_id"), 1, {TEXTARRAYOID}}}

typedef struct Part
{
	const char *name;
	EmkPlan		remove;			/* $1: the ids; sql NULL: part of another step */
	EmkPlan		read;			/* → jsonb, a row each; sql NULL: derived from others, not exported */
} Part;

/* in the order of removal: first what takes long and nobody waits for */
static Part parts[] = {
	SIMPLE("event", MINE("t.profile_id")),
	SIMPLE("alias", MINE("t.profile_id") " OR " MINE("t.alias")),
	SIMPLE("message_key", MINE("t.user_id")),
	SIMPLE("trait_change", MINE("t.profile_id")),
	SIMPLE("merge_log", MINE("t.from_id") " OR " MINE("t.into_id")),
	SIMPLE("profile", MINE("t.profile_id")),
	DERIVED("late_event", MINE("t.profile_id")),
	DERIVED("profile_timeline", MINE("t.profile_id")),
	DERIVED("rollup", MINE("t.profile_id")),
	{"membership", {
		"WITH g AS (DELETE FROM eventmkt_data.membership t USING eventmkt_data.segment o, pg_catalog.unnest($1) u(id) "
		"WHERE t.segment_id OPERATOR(pg_catalog.=) o.segment_id AND t.profile_id OPERATOR(pg_catalog.=) (u.id COLLATE \"C\") "
		"RETURNING t.segment_id), c AS (UPDATE eventmkt_data.segment_state x SET members = x.members OPERATOR(pg_catalog.-) n.n "
		"FROM (SELECT g.segment_id, pg_catalog.count(*) AS n FROM g GROUP BY 1) n "
		"WHERE x.segment_id OPERATOR(pg_catalog.=) n.segment_id) SELECT g.segment_id FROM g", 1, {TEXTARRAYOID}},
	{"SELECT pg_catalog.to_jsonb(t) FROM eventmkt_data.membership t WHERE "
	MINE("t.profile_id"), 1, {TEXTARRAYOID}}},
	SIMPLE("membership_past", MINE("t.profile_id")),
	KEYED("segment_timer", "segment_id", "segment"),
	KEYED("segment_told", "sync_id", "segment_sync"),
	{"segment_state", {"UPDATE eventmkt_data.segment_state t SET fill_at = '' WHERE " MINE("t.fill_at"), 1, {TEXTARRAYOID}},
	{NULL, 0, {0}}},
	SIMPLE("segment_work", MINE("t.profile_id")),
	SIMPLE("work", MINE("t.profile_id")),
	{"pending_trigger", {NULL, 0, {0}}, {
		"SELECT pg_catalog.to_jsonb(t) FROM eventmkt_data.pending_trigger t "
		"WHERE " MINE("t.profile_id"), 1, {TEXTARRAYOID}}},
	{"delivery", {NULL, 0, {0}}, {
		"SELECT pg_catalog.to_jsonb(t) FROM eventmkt_data.delivery t "
		"WHERE " MINE("t.profile_id"), 1, {TEXTARRAYOID}}},
	{"attempt", {NULL, 0, {0}}, {
		"SELECT pg_catalog.to_jsonb(a) FROM eventmkt_data.delivery t "
		"JOIN eventmkt_data.attempt a ON a.delivery_id OPERATOR(pg_catalog.=) t.id WHERE " MINE("t.profile_id"), 1, {TEXTARRAYOID}}},
	{"decision", {NULL, 0, {0}}, {
		"SELECT pg_catalog.to_jsonb(t) FROM eventmkt_data.decision t "
		"WHERE " MINE("t.profile_id"), 1, {TEXTARRAYOID}}},
};
enum {PART_RUN = lengthof(parts) - 4, PART_DELIVERY, PART_ATTEMPT, PART_DECISION};

static EmkPlan end_runs_plan = {
	"DELETE FROM eventmkt_data.pending_trigger p WHERE " MINE("p.profile_id") " RETURNING p.run_id, p.rule_id, (SELECT r.name "
	"FROM eventmkt_data.rule r WHERE r.rule_id OPERATOR(pg_catalog.=) p.rule_id AND r.version OPERATOR(pg_catalog.=) p.rule_version), "
	"p.rule_version, true, NULL::pg_catalog.uuid, NULL::pg_catalog.text, p.started_at, p.due_at", 1, {TEXTARRAYOID}
};
static EmkPlan end_deliveries_plan = {
	"DELETE FROM eventmkt_data.delivery d WHERE " MINE("d.profile_id") " RETURNING d.run_id, d.rule_id, d.rule, d.rule_version, "
	"d.was IS NULL AND d.status OPERATOR(pg_catalog.=) ANY ('{queued,retrying,in_flight}'), d.id, d.status, d.started_at, d.due_at",
	1, {TEXTARRAYOID}
};
static EmkPlan attempts_plan = {
	"DELETE FROM eventmkt_data.attempt a WHERE a.delivery_id OPERATOR(pg_catalog.=) ANY ($1)", 1, {UUIDARRAYOID}
};
static EmkPlan decisions_plan = {
	"UPDATE eventmkt_data.decision d SET profile_id = $2, key = '', facts = NULL, event_id = NULL, delivery_id = NULL, "
	"reason = CASE WHEN d.reason OPERATOR(pg_catalog.~) '^[a-z_ ]+$' THEN d.reason END WHERE " MINE("d.profile_id"),
	2, {TEXTARRAYOID, TEXTOID}
};
/* messages of segments: JSON of our own making, so an id stands there as to_json() writes it, followed by a comma or the end */
static EmkPlan bodies_plan = {
	"UPDATE eventmkt_data.delivery d SET body = pg_catalog.jsonb_set(pg_catalog.jsonb_set(d.body::pg_catalog.jsonb, '{data,added}', "
	"(d.body::pg_catalog.jsonb OPERATOR(pg_catalog.#>) '{data,added}') OPERATOR(pg_catalog.-) $1), '{data,removed}', "
	"(d.body::pg_catalog.jsonb OPERATOR(pg_catalog.#>) '{data,removed}') OPERATOR(pg_catalog.-) $1)::pg_catalog.text "
	"WHERE d.rule_id OPERATOR(pg_catalog.=) 0 AND d.rule OPERATOR(pg_catalog.=) 'segment.members' "
	"AND EXISTS (SELECT FROM pg_catalog.unnest($1) u(id) WHERE pg_catalog.strpos(d.body, pg_catalog.to_json(u.id)::pg_catalog.text) "
	"OPERATOR(pg_catalog.>) 0)", 1, {TEXTARRAYOID}
};
static EmkPlan log_plan = {
	"INSERT INTO eventmkt_data.privacy_log (action, id_hash, at, by_role, counts) VALUES ($1, $2, $3, $4, '{}') RETURNING log_id",
	4, {TEXTOID, BYTEAOID, TIMESTAMPTZOID, TEXTOID}
};
static EmkPlan count_plan = {
	"UPDATE eventmkt_data.privacy_log l SET counts = (SELECT COALESCE(pg_catalog.jsonb_object_agg(c.key, c.n), '{}') FROM ("
	"SELECT x.key, pg_catalog.sum(x.n) AS n FROM (SELECT o.key, o.value::pg_catalog.int8 AS n FROM pg_catalog.jsonb_each_text(l.counts) o "
	"UNION ALL SELECT u.k, u.n FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) u(k, n)) x GROUP BY 1) c), "
	"finished_at = $4 WHERE l.log_id OPERATOR(pg_catalog.=) $1", 4, {INT8OID, TEXTARRAYOID, INT8ARRAYOID, TIMESTAMPTZOID}
};
static EmkPlan begin_plan = {
	"INSERT INTO eventmkt_data.erasing (log_id, ids) VALUES ($1, $2)", 2, {INT8OID, TEXTARRAYOID}
};
static EmkPlan erasing_plan = {
	"SELECT e.log_id, e.ids, e.horizon, e.noted_at FROM eventmkt_data.erasing e ORDER BY e.log_id LIMIT 1000", 0, {0}
};
static EmkPlan note_plan = {
	"UPDATE eventmkt_data.erasing SET horizon = $2, noted_at = $3 WHERE log_id OPERATOR(pg_catalog.=) $1",
	3, {INT8OID, INT8OID, TIMESTAMPTZOID}
};
static EmkPlan end_plan = {
	"DELETE FROM eventmkt_data.erasing WHERE log_id OPERATOR(pg_catalog.=) $1", 1, {INT8OID}
};
static Datum
text_array(char **s, int n)
{
	Datum	   *d = palloc(sizeof(Datum) * Max(n, 1));

	for (int i = 0; i < n; i++)
		d[i] = CStringGetTextDatum(s[i]);
	return emk_spi_array(d, NULL, n, TEXTOID);
}

/* ---- removal ---- */

/* Runs a plan that removes runs or deliveries; those that had no decision yet get one. Returns rows; *uuids: of deliveries. */
static int64
end_rows(EmkPlan *plan, Datum ids, const char *nobody, Datum *uuids, TimestampTz now)
{
	uint64		n = emk_spi_run(plan, &ids, NULL, false, 0);
	SPITupleTable *rows = SPI_tuptable;
	EmkDecision *d = palloc0(sizeof(EmkDecision) * Max(n, 1));
	Datum	   *id = palloc(sizeof(Datum) * Max(n, 1));
	int			open = 0;
	bool		isnull;

	for (uint64 i = 0; i < n; i++)
	{
		char	   *status = emk_spi_text(i, 7);

		id[i] = emk_spi_datum(i, 6, &isnull);
		if (!emk_spi_bool(i, 5, false) || emk_spi_int4(i, 2, 0) == 0 || emk_spi_text(i, 3) == NULL)
			continue;			/* decided before, or of no rule */
		d[open++] = (EmkDecision) {
			.run_id = emk_spi_int8(i, 1, 0), .rule_id = emk_spi_int4(i, 2, 0), .rule = emk_spi_text(i, 3),
			.rule_version = emk_spi_int4(i, 4, 0), .profile_id = nobody, .key = "", .outcome = "cancelled", .reason = "erased",
			.facts = status && strcmp(status, "in_flight") == 0 ? "{\"in_flight\": true}" : NULL,
			.started_at = DatumGetTimestampTz(emk_spi_datum(i, 8, &isnull)), .due_at = DatumGetTimestampTz(emk_spi_datum(i, 9, &isnull))
		};
	}
	if (uuids != NULL)
		*uuids = emk_spi_array(id, NULL, (int) n, UUIDOID);
	if (open > 0)
		emk_event_decide(d, open, now);
	SPI_freetuptable(rows);
	return (int64) n;
}

/* Removes what there is of some ids; counts rows by part. Inside SPI, as the owner. */
static void
remove_all(char **list, int n, int64 log_id, int64 *counts, TimestampTz now)
{
	char	   *nobody = psprintf("erased:" INT64_FORMAT, log_id);
	Datum		args[2] = {text_array(list, n), CStringGetTextDatum(nobody)};
	Datum		uuids;

	for (int i = 0; i < lengthof(parts); i++)
		if (parts[i].remove.sql != NULL)
			counts[i] += (int64) emk_spi_run(&parts[i].remove, args, NULL, false, 0);
	counts[PART_RUN] += end_rows(&end_runs_plan, args[0], nobody, NULL, now);
	counts[PART_DELIVERY] += end_rows(&end_deliveries_plan, args[0], nobody, &uuids, now);
	EMK_PAUSE_POINT("erased");
	counts[PART_ATTEMPT] += (int64) emk_spi_run(&attempts_plan, &uuids, NULL, false, 0);
	counts[PART_DECISION] += (int64) emk_spi_run(&decisions_plan, args, NULL, false, 0);
	counts[PART_DELIVERY] += (int64) emk_spi_run(&bodies_plan, args, NULL, false, 0);
	/* sessions that know of an inactivity run of theirs forget it */
	emk_base_invalidate_table("rule_event");
	/* and the worker what it remembers of segments */
	emk_base_invalidate_table("segment");
}

/* Adds counts to a row of the log; finished: 0 when something is left to be done. */
static void
add_counts(int64 log_id, const int64 *counts, TimestampTz finished)
{
	Datum		names[lengthof(parts)];
	Datum		values[lengthof(parts)];
	Datum		args[4];
	int			n = 0;

	for (int i = 0; i < lengthof(parts); i++)
		if (counts[i] > 0)
		{
			names[n] = CStringGetTextDatum(parts[i].name);
			values[n++] = Int64GetDatum(counts[i]);
		}
	args[0] = Int64GetDatum(log_id);
	args[1] = emk_spi_array(names, NULL, n, TEXTOID);
	args[2] = emk_spi_array(values, NULL, n, INT8OID);
	args[3] = TimestampTzGetDatum(finished);
	emk_spi_run(&count_plan, args, finished == 0 ? "   n" : NULL, false, 0);
}

static int64
write_log(const char *action, const char *id)
{
	Datum		args[4] = {CStringGetTextDatum(action), emk_profile_hash_id(id), TimestampTzGetDatum(emk_clock_real()),
	CStringGetTextDatum(GetUserNameFromId(GetSessionUserId(), false))};

	emk_spi_run(&log_plan, args, NULL, false, 0);
	return emk_spi_int8(0, 1, 0);
}

static void
refuse_nobody(const char *id)
{
	emk_profile_check_id(id, "user_id");
	if (emk_profile_is_blocked(id))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("this id stands for nobody"),
				 errdetail("Ids such as null, zeros, anonymous or guest are shared by many people."),
				 errhint("Give the id of one person.")));
}

PG_FUNCTION_INFO_V1(emk_admin_erase);
/* eventmkt.erase(user_id): rows by table */
Datum
emk_admin_erase(PG_FUNCTION_ARGS)
{
	emk_base_refuse_null(fcinfo, (const char *const[]) {"user_id"});
	const char *id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int64		counts[lengthof(parts)] = {0};
	const char *canonical;
	EmkIds		ids;
	EmkOwner	owner;
	Datum		args[2];
	int64		log_id;

	InitMaterializedSRF(fcinfo, 0);
	refuse_nobody(id);
	emk_owner_enter(&owner);
	SPI_connect();
	emk_profile_lock(&id, &canonical, 1);
	emk_profile_ids((char **) &canonical, 1, &ids);
	log_id = write_log("erase", canonical);
	emk_profile_bury(ids.ids, ids.n, log_id);
	remove_all(ids.ids, ids.n, log_id, counts, emk_clock_now());
	add_counts(log_id, counts, 0);
	args[0] = Int64GetDatum(log_id);
	args[1] = text_array(ids.ids, ids.n);
	emk_spi_run(&begin_plan, args, NULL, false, 0);
	for (int i = 0; i < lengthof(parts); i++)
	{
		Datum		values[2] = {CStringGetTextDatum(parts[i].name), Int64GetDatum(counts[i])};
		bool		nulls[2] = {false, false};

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	SPI_finish();
	emk_owner_leave(&owner);
	emk_wake_at_commit();
	return (Datum) 0;
}

/* ---- the second look ---- */

typedef struct Erasing
{
	int64		log_id;
	EmkIds		ids;
	int64		horizon;		/* 0: not noted yet */
	TimestampTz noted_at;
} Erasing;

static int
read_erasing(Erasing **out)
{
	int			n = (int) emk_spi_run(&erasing_plan, NULL, NULL, false, 0);
	Erasing    *e = palloc0(sizeof(Erasing) * Max(n, 1));

	for (int i = 0; i < n; i++)
	{
		bool		isnull;
		Datum	   *d;
		Datum		at;

		deconstruct_array(DatumGetArrayTypeP(emk_spi_datum(i, 2, &isnull)), TEXTOID, -1, false, TYPALIGN_INT, &d, NULL, &e[i].ids.n);
		e[i].ids.ids = palloc(sizeof(char *) * Max(e[i].ids.n, 1));
		for (int k = 0; k < e[i].ids.n; k++)
			e[i].ids.ids[k] = TextDatumGetCString(d[k]);
		e[i].log_id = emk_spi_int8(i, 1, 0);
		e[i].horizon = emk_spi_int8(i, 3, 0);
		at = emk_spi_datum(i, 4, &isnull);
		e[i].noted_at = isnull ? 0 : DatumGetTimestampTz(at);
	}
	*out = e;
	return n;
}

/* Ends the erasures that can be ended; returns how many are left. Inside SPI, as the owner. */
static int
finish(void)
{
	int64		next = (int64) U64FromFullTransactionId(ReadNextFullTransactionId());
	TransactionId oldest = GetLatestSnapshot()->xmin;
	TimestampTz now = emk_clock_real();
	Erasing    *e;
	int			n = read_erasing(&e);
	int			left = n;

	for (int i = 0; i < n; i++)
	{
		Datum		args[3] = {Int64GetDatum(e[i].log_id), Int64GetDatum(next), TimestampTzGetDatum(now)};
		int64		counts[lengthof(parts)] = {0};

		if (e[i].horizon == 0)
			emk_spi_run(&note_plan, args, NULL, false, 0);
		else if (now - e[i].noted_at >= SETTLE_TIME && !TransactionIdPrecedes(oldest, (TransactionId) e[i].horizon))
		{
			remove_all(e[i].ids.ids, e[i].ids.n, e[i].log_id, counts, emk_clock_now());
			add_counts(e[i].log_id, counts, now);
			emk_spi_run(&end_plan, args, NULL, false, 0);
			left--;
		}
	}
	if (left < n)
		emk_admin_want_scrub();
	return left;
}

/* By the worker, every ten seconds; tables of an older version have nothing to erase. */
static bool
upkeep(TimestampTz now)
{
	if (OidIsValid(get_relname_relid("erasing", get_namespace_oid("eventmkt_data", true))))
		finish();
	return false;
}

/* Apart from it: an unreadable page does not keep erasures from their end */
static bool
scrub(TimestampTz now)
{
	return emk_admin_scrub_step();
}

PG_FUNCTION_INFO_V1(emk_admin_finish_erasures);
/* eventmkt.finish_erasures(): how many are left */
Datum
emk_admin_finish_erasures(PG_FUNCTION_ARGS)
{
	EmkOwner	owner;
	int			left;

	emk_owner_enter(&owner);
	SPI_connect();
	left = finish();
	SPI_finish();
	emk_owner_leave(&owner);
	PG_RETURN_INT64(left);
}

PG_FUNCTION_INFO_V1(emk_admin_unerase);
/* eventmkt.unerase(user_id): how many ids are taken again */
Datum
emk_admin_unerase(PG_FUNCTION_ARGS)
{
	emk_base_refuse_null(fcinfo, (const char *const[]) {"user_id"});
	const char *id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	int64		counts[lengthof(parts)] = {0};
	EmkOwner	owner;
	int64		n;

	emk_owner_enter(&owner);
	SPI_connect();
	n = emk_profile_unbury(id);
	if (n > 0)
		add_counts(write_log("unerase", id), counts, emk_clock_real());
	SPI_finish();
	emk_owner_leave(&owner);
	PG_RETURN_INT64(n);
}

/* ---- export ---- */

static void
push_string(JsonbParseState **state, JsonbIteratorToken seq, const char *text)
{
	JsonbValue	v = {.type = jbvString};

	v.val.string.val = (char *) text;
	v.val.string.len = strlen(text);
	pushJsonbValue(state, seq, &v);
}

/*
 * An array of the rows of the last statement, of which what is pushed keeps parts: they live until SPI_finish(). jsonb_agg() and
 * jsonb_object_agg() would copy all of it twice more, without a place where it can be stopped.
 */
static void
push_rows(JsonbParseState **state, uint64 n)
{
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	for (uint64 i = 0; i < n; i++)
	{
		bool		isnull;
		Jsonb	   *row = DatumGetJsonbP(emk_spi_datum(i, 1, &isnull));
		JsonbValue	v = {.type = jbvBinary};

		CHECK_FOR_INTERRUPTS();
		v.val.binary.data = &row->root;
		v.val.binary.len = VARSIZE(row) - VARHDRSZ;
		pushJsonbValue(state, WJB_ELEM, &v);
	}
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

PG_FUNCTION_INFO_V1(emk_admin_export);
/* eventmkt.export(user_id): everything about a person */
Datum
emk_admin_export(PG_FUNCTION_ARGS)
{
	emk_base_refuse_null(fcinfo, (const char *const[]) {"user_id"});
	const char *id = text_to_cstring(PG_GETARG_TEXT_PP(0));
	MemoryContext caller = CurrentMemoryContext;
	int64		counts[lengthof(parts)] = {0};
	JsonbParseState *state = NULL;
	JsonbValue *all;
	Datum		args[1];
	Datum		result;
	char	   *canonical;
	EmkIds		ids;
	EmkOwner	owner;
	MemoryContext old;

	refuse_nobody(id);
	emk_owner_enter(&owner);
	SPI_connect();
	canonical = pstrdup(emk_profile_resolve(id));
	emk_profile_ids(&canonical, 1, &ids);
	args[0] = text_array(ids.ids, ids.n);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_string(&state, WJB_KEY, "ids");
	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < ids.n; i++)
		push_string(&state, WJB_ELEM, ids.ids[i]);
	pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	for (int i = 0; i < lengthof(parts); i++)
	{
		if (parts[i].read.sql == NULL)
			continue;
		counts[i] = emk_spi_run(&parts[i].read, args, NULL, false, 0);
		push_string(&state, WJB_KEY, parts[i].name);
		push_rows(&state, counts[i]);
	}
	all = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	old = MemoryContextSwitchTo(caller);
	result = JsonbPGetDatum(JsonbValueToJsonb(all));
	MemoryContextSwitchTo(old);
	add_counts(write_log("export", ids.ids[0]), counts, emk_clock_real());
	SPI_finish();
	emk_owner_leave(&owner);
	PG_RETURN_DATUM(result);
}

void
emk_admin_init_erase(void)
{
	emk_worker_add_upkeep(upkeep);
	emk_worker_add_upkeep(scrub);
}

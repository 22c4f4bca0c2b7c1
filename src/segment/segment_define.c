/*
 * segment_define.c: create_segment(), replace_segment(), drop_segment(), and the views after the extension was re-created.
 *
 * A segment is a row of eventmkt_data.segment and the view eventmkt_bi.segment_<name>, owned by the owner of the tables, of one
 * column, so that a replaced definition leaves everything that reads the view in place. Definitions change one at a time, under
 * a lock on the table; rules that name a segment hold its row.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "segment/segment_live.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

static EmkPlan find_plan = {
	"SELECT segment_id, kind, owner FROM eventmkt_data.segment WHERE name OPERATOR(pg_catalog.=) $1 FOR UPDATE", 1, {TEXTOID}
};
static EmkPlan id_plan = {
	"SELECT segment_id FROM eventmkt_data.segment WHERE name OPERATOR(pg_catalog.=) $1", 1, {TEXTOID}
};
static EmkPlan next_plan = {
	"SELECT pg_catalog.nextval(pg_catalog.pg_get_serial_sequence('eventmkt_data.segment', 'segment_id')::pg_catalog.regclass)"
	"::pg_catalog.int4", 0, {0}
};
static EmkPlan insert_plan = {
	"INSERT INTO eventmkt_data.segment (segment_id, name, kind, definition, view_query, inner_query, all_of, any_of, none_of, "
	"comment, owner, created_at, changed_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $12)", 12,
	{INT4OID, TEXTOID, TEXTOID, JSONBOID, TEXTOID, TEXTOID, INT4ARRAYOID, INT4ARRAYOID, INT4ARRAYOID, TEXTOID, TEXTOID,
	TIMESTAMPTZOID}
};
static EmkPlan update_plan = {
	"UPDATE eventmkt_data.segment SET kind = $3, definition = $4, view_query = $5, inner_query = $6, all_of = $7, any_of = $8, "
	"none_of = $9, comment = $10, owner = $11, changed_at = $12 WHERE segment_id OPERATOR(pg_catalog.=) $1 "
	"AND name OPERATOR(pg_catalog.=) $2", 12,
	{INT4OID, TEXTOID, TEXTOID, JSONBOID, TEXTOID, TEXTOID, INT4ARRAYOID, INT4ARRAYOID, INT4ARRAYOID, TEXTOID, TEXTOID,
	TIMESTAMPTZOID}
};
static EmkPlan delete_plan = {
	"DELETE FROM eventmkt_data.segment WHERE segment_id OPERATOR(pg_catalog.=) $1", 1, {INT4OID}
};
/* everything below a segment: does it lead back to $1? */
static EmkPlan cycle_plan = {
	"WITH RECURSIVE below (id) AS (SELECT pg_catalog.unnest($2) UNION SELECT pg_catalog.unnest("
	"s.all_of OPERATOR(pg_catalog.||) s.any_of OPERATOR(pg_catalog.||) s.none_of) FROM below b "
	"JOIN eventmkt_data.segment s ON s.segment_id OPERATOR(pg_catalog.=) b.id) "
	"SELECT 1 FROM below WHERE id OPERATOR(pg_catalog.=) $1", 2, {INT4OID, INT4ARRAYOID}
};
static EmkPlan users_plan = {
	"SELECT 'sync to', e.name FROM eventmkt_data.segment_sync y JOIN eventmkt_data.endpoint e USING (endpoint_id) "
	"WHERE y.segment_id OPERATOR(pg_catalog.=) $1 UNION ALL "
	"SELECT 'segment', name FROM eventmkt_data.segment WHERE $1 OPERATOR(pg_catalog.=) ANY (all_of OPERATOR(pg_catalog.||) "
	"any_of OPERATOR(pg_catalog.||) none_of) UNION ALL SELECT 'rule', r.name FROM eventmkt_data.rule r "
	"WHERE r.where_segment OPERATOR(pg_catalog.=) $1 AND (r.current OR EXISTS (SELECT FROM eventmkt_data.pending_trigger t "
	"WHERE t.rule_id OPERATOR(pg_catalog.=) r.rule_id AND t.rule_version OPERATOR(pg_catalog.=) r.version) OR EXISTS ("
	"SELECT FROM eventmkt_data.delivery d WHERE d.rule_id OPERATOR(pg_catalog.=) r.rule_id "
	"AND d.rule_version OPERATOR(pg_catalog.=) r.version "
	"AND d.status OPERATOR(pg_catalog.=) ANY ('{queued,in_flight,retrying}'))) LIMIT 1", 1, {INT4OID}
};
static EmkPlan all_plan = {
	"SELECT segment_id, name, view_query, inner_query, owner, comment FROM eventmkt_data.segment ORDER BY segment_id", 0, {0}
};

int
emk_segment_pin(void)
{
	int			nest = NewGUCNestLevel();

	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("standard_conforming_strings", "on", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	(void) set_config_option("client_min_messages", "warning", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	return nest;
}

void
emk_segment_unknown(const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_EMK_UNKNOWN_SEGMENT),
			 errmsg("segment \"%s\" does not exist", name),
			 errhint("The segments are listed in the view eventmkt_bi.segments.")));
}

/*
 * Takes what a change of a segment that is there needs: the lock of turns, and its views from their readers. Turns come first, because
 * one of run_due() asks views while it has its lock; and they do not wait while there are readers.
 */
static void
lock_for_change(int32 segment_id, const char *name)
{
	Oid			views[2] = {
		get_relname_relid(psprintf(EMK_SEGMENT_PREFIX "%s", name), get_namespace_oid("eventmkt_bi", false)),
		get_relname_relid(psprintf("segment_query_%d", segment_id), get_namespace_oid("eventmkt_data", false))
	};
	int64		since = 0;

	for (;;)
	{
		(void) emk_live_lock(true);
		if (emk_base_try_views(views, lengthof(views)))
			return;
		emk_live_unlock();
		emk_base_await_readers(&since, psprintf(EMK_SEGMENT_PREFIX "%s", name));
	}
}

/* Makes or replaces the view; as the owner. Its text is parsed with pg_catalog alone in sight. */
static void
make_view(const char *name, const char *select, const char *comment)
{
	int			nest = emk_segment_pin();
	char	   *view = emk_segment_view_name(name);

	emk_spi_script(psprintf("CREATE OR REPLACE VIEW %s (profile_id) AS %s", view, select));
	emk_spi_script(psprintf("COMMENT ON VIEW %s IS %s", view,
							quote_literal_cstr(comment ? comment : psprintf("the profiles in segment %s", name))));
	emk_spi_script(psprintf("COMMENT ON COLUMN %s.profile_id IS 'canonical id of the person; each once'", view));
	AtEOXact_GUC(true, nest);
}

/* Lets the author of a query read the view of the segment, because it is asked in their name. */
static void
let_author_read(const char *name, Oid author)
{
	if (author != emk_owner_oid())
		emk_spi_script(psprintf("GRANT SELECT ON %s TO %s", emk_segment_view_name(name),
								quote_identifier(GetUserNameFromId(author, false))));
}

static void
resolve(EmkNames *names)
{
	names->ids = palloc(sizeof(int32) * Max(names->n, 1));
	for (int i = 0; i < names->n; i++)
	{
		Datum		arg = CStringGetTextDatum(names->v[i]);

		if (emk_spi_run(&id_plan, &arg, NULL, false, 1) == 0)
			emk_segment_unknown(names->v[i]);
		names->ids[i] = emk_spi_int4(0, 1, 0);
	}
}

static Datum
id_array(const EmkNames *a, const EmkNames *b, const EmkNames *c)
{
	const EmkNames *all[] = {a, b, c};
	Datum	   *d = palloc(sizeof(Datum) * (a->n + (b ? b->n : 0) + (c ? c->n : 0) + 1));
	int			n = 0;

	for (int k = 0; k < 3; k++)
		for (int i = 0; all[k] != NULL && i < all[k]->n; i++)
			d[n++] = Int32GetDatum(all[k]->ids[i]);
	return emk_spi_array(d, NULL, n, INT4OID);
}

/* A segment may not be made of itself. */
static void
refuse_cycle(int32 segment_id, const EmkSegmentSpec *spec)
{
	Datum		args[2] = {Int32GetDatum(segment_id), id_array(&spec->all_of, &spec->any_of, &spec->none_of)};

	if (emk_spi_run(&cycle_plan, args, NULL, false, 1) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("segment \"%s\" would be made of itself", spec->name)));
}

static void
write_row(EmkPlan *plan, int32 segment_id, const EmkSegmentSpec *spec, const char *view, const char *inner, Oid author)
{
	char		nulls[12];
	Datum		args[12] = {
		Int32GetDatum(segment_id), CStringGetTextDatum(spec->name), CStringGetTextDatum(emk_segment_kinds[spec->kind]),
		JsonbPGetDatum(emk_json_parse(emk_segment_definition(spec))), CStringGetTextDatum(view),
		inner ? CStringGetTextDatum(inner) : 0, id_array(&spec->all_of, NULL, NULL), id_array(&spec->any_of, NULL, NULL),
		id_array(&spec->none_of, NULL, NULL), spec->comment ? CStringGetTextDatum(spec->comment) : 0,
	CStringGetTextDatum(GetUserNameFromId(author, false)), TimestampTzGetDatum(emk_clock_now())};

	memset(nulls, ' ', sizeof(nulls));
	nulls[5] = inner ? ' ' : 'n';
	nulls[9] = spec->comment ? ' ' : 'n';
	emk_spi_run(plan, args, nulls, false, 0);
}

/* The id for a new definition: the one there is, or a new one. */
static int32
claim_id(const EmkSegmentSpec *spec, bool replace, Oid author)
{
	Datum		arg = CStringGetTextDatum(spec->name);
	bool		found = emk_spi_run(&find_plan, &arg, NULL, false, 1) > 0;
	int32		id;
	bool		was_query;
	Oid			was_author;

	if (!found && replace)
		emk_segment_unknown(spec->name);
	if (!found)
	{
		emk_spi_run(&next_plan, NULL, NULL, false, 1);
		return emk_spi_int4(0, 1, 0);
	}
	if (!replace)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("segment \"%s\" already exists", spec->name),
				 errhint("Use eventmkt.replace_segment() to give it another definition.")));
	id = emk_spi_int4(0, 1, 0);
	was_query = strcmp(emk_spi_text(0, 2), "query") == 0;
	was_author = get_role_oid(emk_spi_text(0, 3), true);
	if (was_query != (spec->kind == EMK_SEGMENT_QUERY) || (was_query && was_author != author))
		ereport(ERROR,
				(errcode(was_query ? ERRCODE_INSUFFICIENT_PRIVILEGE : ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("segment \"%s\" cannot be replaced by this definition", spec->name),
				 errdetail("A query stays a query, and of the role that wrote it."),
				 errhint("Drop the segment and make it again.")));
	return id;
}

static int32
define(FunctionCallInfo fcinfo, bool replace)
{
	EmkSegmentSpec spec;
	EmkOwner	owner;
	Oid			author = GetUserId();
	int32		id;
	char	   *inner = NULL;
	char	   *view;

	emk_segment_read_args(fcinfo, &spec);
	emk_owner_enter(&owner);
	SPI_connect();
	emk_spi_script("LOCK TABLE eventmkt_data.segment IN SHARE ROW EXCLUSIVE MODE");
	id = claim_id(&spec, replace, author);
	if (replace)
		lock_for_change(id, spec.name);
	resolve(&spec.all_of);
	resolve(&spec.any_of);
	resolve(&spec.none_of);
	if (spec.kind == EMK_SEGMENT_SEGMENTS)
		refuse_cycle(id, &spec);
	if (spec.kind == EMK_SEGMENT_QUERY)
		inner = emk_segment_make_query(id, spec.query, author);
	view = emk_segment_view_query(&spec, id);
	make_view(spec.name, view, spec.comment);
	if (inner != NULL)
		let_author_read(spec.name, author);
	write_row(replace ? &update_plan : &insert_plan, id, &spec, view, inner, author);
	if (replace || spec.track > 0)
		emk_segment_changed(id, spec.name, spec.track, replace);
	SPI_finish();
	emk_owner_leave(&owner);
	return id;
}

PG_FUNCTION_INFO_V1(emk_segment_create);
/* eventmkt.create_segment(…) → int: the id of the new segment */
Datum
emk_segment_create(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(define(fcinfo, false));
}

PG_FUNCTION_INFO_V1(emk_segment_replace);
/* eventmkt.replace_segment(…) → int: its id */
Datum
emk_segment_replace(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(define(fcinfo, true));
}

/* The view of a query belongs to its author, so it is dropped in their name. */
static void
drop_query(int32 segment_id)
{
	Oid			rel = get_relname_relid(psprintf("segment_query_%d", segment_id),
										get_namespace_oid("eventmkt_data", false));
	EmkOwner	owner;

	if (!OidIsValid(rel))
		return;
	GetUserIdAndSecContext(&owner.user, &owner.sec_context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, owner.sec_context);
	emk_spi_script(psprintf("DROP VIEW %s", emk_segment_query_name(segment_id)));
	SetUserIdAndSecContext(owner.user, owner.sec_context);
}

PG_FUNCTION_INFO_V1(emk_segment_drop);
/* eventmkt.drop_segment(name) */
Datum
emk_segment_drop(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Datum		arg = CStringGetTextDatum(name);
	EmkOwner	owner;
	int32		id;

	emk_owner_enter(&owner);
	SPI_connect();
	emk_spi_script("LOCK TABLE eventmkt_data.segment IN SHARE ROW EXCLUSIVE MODE");
	if (emk_spi_run(&find_plan, &arg, NULL, false, 1) == 0)
		emk_segment_unknown(name);
	id = emk_spi_int4(0, 1, 0);
	arg = Int32GetDatum(id);
	if (emk_spi_run(&users_plan, &arg, NULL, false, 1) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
				 errmsg("segment \"%s\" is used by %s \"%s\"", name, emk_spi_text(0, 1), emk_spi_text(0, 2)),
				 errhint("All its users are in the column used_by of eventmkt_bi.segments; live runs of older versions count.")));
	lock_for_change(id, name);
	emk_segment_changed(id, name, 0, false);
	emk_spi_script(psprintf("DROP VIEW IF EXISTS %s", emk_segment_view_name(name)));
	drop_query(id);
	emk_spi_run(&delete_plan, &arg, NULL, false, 0);
	SPI_finish();
	emk_owner_leave(&owner);
	PG_RETURN_VOID();
}

typedef struct Missing
{
	int32		id;
	char	   *name;
	char	   *view;
	char	   *inner;
	char	   *owner;
	char	   *comment;
	bool		made;
	ErrorData  *error;
} Missing;

/* Makes one view */
static void
restore_one(void *arg)
{
	Missing    *m = arg;

	if (m->inner != NULL)
		(void) emk_segment_make_query(m->id, m->inner, get_role_oid(m->owner, false));
	make_view(m->name, m->view, m->comment);
	if (m->inner != NULL)
		let_author_read(m->name, get_role_oid(m->owner, false));
}

void
emk_segment_restore(void)
{
	EmkOwner	owner;
	Oid			bi = get_namespace_oid("eventmkt_bi", false);
	Missing    *m;
	uint64		n;
	bool		progress = true;

	emk_owner_enter(&owner);
	n = emk_spi_run(&all_plan, NULL, NULL, false, 0);
	m = palloc0(sizeof(Missing) * (n + 1));
	for (uint64 i = 0; i < n; i++)
	{
		m[i].id = emk_spi_int4(i, 1, 0);
		m[i].name = emk_spi_text(i, 2);
		m[i].view = emk_spi_text(i, 3);
		m[i].inner = emk_spi_text(i, 4);
		m[i].owner = emk_spi_text(i, 5);
		m[i].comment = emk_spi_text(i, 6);
		m[i].made = OidIsValid(get_relname_relid(psprintf(EMK_SEGMENT_PREFIX "%s", m[i].name), bi));
	}
	/* a segment of segments needs theirs first */
	while (progress)
	{
		progress = false;
		for (uint64 i = 0; i < n; i++)
			if (!m[i].made)
			{
				m[i].error = emk_guard_try_on(restore_one, &m[i]);
				m[i].made = m[i].error == NULL;
				progress |= m[i].made;
			}
	}
	for (uint64 i = 0; i < n; i++)
		if (!m[i].made)
			ereport(WARNING,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("segment \"%s\" has no view: %s", m[i].name, m[i].error->message),
					 errhint("Drop the segment, or give it another definition.")));
	emk_live_listen();
	emk_owner_leave(&owner);
}

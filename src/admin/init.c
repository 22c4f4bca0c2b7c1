/*
 * init.c: eventmkt.init(), which makes this database ready: owner role, schemas, tables, identity, partitions.
 *
 * Rules: idempotent; superuser only; all that lies in the schemas is made by the owner and owned by it, so that no code on
 * our tables ever runs as a superuser; the identity is written once and then never again (that is what adopt() is for).
 * Nothing is dropped. DDL waits at most lock_timeout for the app.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "admin/admin_int.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_namespace.h"
#include "commands/dbcommands.h"
#include "event/event.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "report/report.h"
#include "rule/rule.h"
#include "segment/segment.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "worker/worker.h"

#define AHEAD_DAYS 56			/* partitions are made this far ahead and back */

/* A change of the tables that CREATE ... IF NOT EXISTS cannot make: run when data_version is older than `version`. */
static const struct
{
	int			version;
	const char *sql;
}			migrations[] = {
	{4, "ALTER TABLE eventmkt_data.delivery ADD COLUMN IF NOT EXISTS ordered bool NOT NULL DEFAULT false, "
		"ADD COLUMN IF NOT EXISTS waiting bool GENERATED ALWAYS AS (status OPERATOR(pg_catalog.=) ANY (ARRAY['queued', 'retrying'])) "
		"STORED, ADD COLUMN IF NOT EXISTS died_at timestamptz GENERATED ALWAYS AS (CASE WHEN status OPERATOR(pg_catalog.=) 'dead' "
		"THEN settled_at END) STORED, ADD COLUMN IF NOT EXISTS lane bool GENERATED ALWAYS AS (CASE WHEN ordered AND status "
		"OPERATOR(pg_catalog.=) ANY (ARRAY['queued', 'in_flight', 'retrying']) THEN status OPERATOR(pg_catalog.<>) 'in_flight' END) "
		"STORED;"
		"DROP INDEX IF EXISTS eventmkt_data.delivery_ready, eventmkt_data.delivery_in_flight, eventmkt_data.delivery_dead;"
		"CREATE TABLE IF NOT EXISTS eventmkt_data.lease (node smallint NOT NULL, lease bigint NOT NULL, chunk int NOT NULL, "
		"ids uuid[] NOT NULL, PRIMARY KEY (node, lease, chunk));"
		"INSERT INTO eventmkt_data.lease SELECT node, lease, 0, pg_catalog.array_agg(id) FROM eventmkt_data.delivery WHERE status "
	"OPERATOR(pg_catalog.=) 'in_flight' AND lease IS NOT NULL GROUP BY lease, node ON CONFLICT DO NOTHING"},
	{5, "ALTER TABLE eventmkt_data.pending_trigger ADD COLUMN IF NOT EXISTS starts bytea"},
	{0, NULL}
};

static const char *const schemas[] = {"eventmkt_data", "eventmkt_bi"};

/* The owner role: made when missing; refused when it could do more than it should. */
static Oid
ensure_owner(const char *owner)
{
	HeapTuple	tup = SearchSysCache1(AUTHNAME, CStringGetDatum(owner));
	Oid			oid;

	if (!HeapTupleIsValid(tup))
	{
		emk_admin_run("CREATE ROLE %s NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION %s", quote_identifier(owner),
#if PG_VERSION_NUM >= 170000
					  "NOLOGIN"
#else
					  "LOGIN"
#endif
			);
		ereport(NOTICE,
				(errmsg("role \"%s\" was made to own the tables of eventmkt", owner),
				 errdetail("It is no superuser and has no password.")));
		return get_role_oid(owner, false);
	}
	oid = ((Form_pg_authid) GETSTRUCT(tup))->oid;
	if (((Form_pg_authid) GETSTRUCT(tup))->rolsuper)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" cannot own the tables of eventmkt", owner),
				 errdetail("It is a superuser, and the worker runs as the owner."),
				 errhint("Name a role that is no superuser, or one that does not exist yet.")));
#if PG_VERSION_NUM < 170000
	if (!((Form_pg_authid) GETSTRUCT(tup))->rolcanlogin)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("role \"%s\" cannot own the tables of eventmkt", owner),
				 errdetail("The worker connects as the owner, and the role may not log in."),
				 errhint("Run ALTER ROLE %s LOGIN, without a password.", quote_identifier(owner))));
#endif
	ReleaseSysCache(tup);
	return oid;
}

/* The two schemas, owned by the owner. One that belongs to another is refused, whoever made it. */
static void
ensure_schemas(const char *owner, Oid owner_oid)
{
	for (int i = 0; i < lengthof(schemas); i++)
	{
		HeapTuple	tup = SearchSysCache1(NAMESPACENAME, CStringGetDatum(schemas[i]));
		Oid			now_owner;

		if (!HeapTupleIsValid(tup))
		{
			emk_admin_run("CREATE SCHEMA %s AUTHORIZATION %s", schemas[i], quote_identifier(owner));
			continue;
		}
		now_owner = ((Form_pg_namespace) GETSTRUCT(tup))->nspowner;
		ReleaseSysCache(tup);
		if (now_owner != owner_oid)
		{
			char	   *name = GetUserNameFromId(now_owner, true);

			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("schema \"%s\" belongs to role \"%s\", not to \"%s\"", schemas[i], name ? name : "?", owner),
					 errhint("If that role is to own the tables of eventmkt, call eventmkt.init(%s); otherwise rename or "
							 "drop the schema.", quote_literal_cstr(name ? name : "?"))));
		}
	}
}

static void
grant_to_owner(const char *owner, Oid owner_oid)
{
	const char *o = quote_identifier(owner);
	char	   *db = get_database_name(MyDatabaseId);

	if (DatumGetBool(DirectFunctionCall3(has_database_privilege_id_id, ObjectIdGetDatum(owner_oid),
										 ObjectIdGetDatum(MyDatabaseId),
										 CStringGetTextDatum("CONNECT"))) == false)
		emk_admin_run("GRANT CONNECT ON DATABASE %s TO %s", quote_identifier(db), o);
	emk_admin_run("GRANT USAGE ON SCHEMA eventmkt TO %s", o);
	emk_admin_run("GRANT EXECUTE ON ALL ROUTINES IN SCHEMA eventmkt TO %s", o);
	emk_admin_run("GRANT SELECT, INSERT, UPDATE, DELETE ON eventmkt.secret TO %s", o);
	emk_admin_run("GRANT SELECT ON eventmkt.secret_known TO %s", o);
}

/*
 * Tables without a primary key tell a publication their rows by all columns, or a publication FOR ALL TABLES would make the server refuse
 * our deletes. Only tables that do not do so yet are locked.
 */
static void
identify_rows(Oid owner)
{
	static EmkPlan plan = {
		"SELECT pg_catalog.string_agg(pg_catalog.format('ALTER TABLE eventmkt_data.%I REPLICA IDENTITY FULL', c.relname), '; ') "
		"FROM pg_catalog.pg_class c WHERE c.relnamespace OPERATOR(pg_catalog.=) 'eventmkt_data'::pg_catalog.regnamespace "
		"AND c.relowner OPERATOR(pg_catalog.=) $1 AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p}'::pg_catalog.\"char\"[]) "
		"AND c.relreplident OPERATOR(pg_catalog.=) 'd' AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_index i "
		"WHERE i.indrelid OPERATOR(pg_catalog.=) c.oid AND i.indisprimary)", 1, {OIDOID}
	};
	Datum		arg = ObjectIdGetDatum(owner);
	char	   *script;

	emk_spi_run(&plan, &arg, NULL, false, 0);
	script = emk_spi_text(0, 1);
	if (script)
		emk_spi_script(script);
}

/* Tables, indexes, views and triggers, made by the owner; then what changed since the data version that is stored. */
static void
ensure_tables(Oid owner_oid)
{
	Oid			user;
	int			sec_context;
	const char *stored = NULL;
	int			from;

	if (emk_setting_initialized())
		stored = emk_setting_get("data_version");
	from = stored ? atoi(stored) : EMK_DATA_VERSION;
	if (from > EMK_DATA_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the tables of eventmkt are of version %d, newer than this library knows (%d)", from,
						EMK_DATA_VERSION),
				 errhint("Install the newer library, then run ALTER EXTENSION eventmkt UPDATE.")));

	GetUserIdAndSecContext(&user, &sec_context);
	SetUserIdAndSecContext(owner_oid, sec_context | SECURITY_LOCAL_USERID_CHANGE);
	for (int i = 0; migrations[i].version > 0; i++)
		if (from < migrations[i].version)
			emk_spi_script(migrations[i].sql);
	for (int i = 0; emk_base_tables[i] != NULL; i++)
		emk_spi_script(emk_base_tables[i]);
	identify_rows(owner_oid);
	SetUserIdAndSecContext(user, sec_context);

	if (stored == NULL || from != EMK_DATA_VERSION)
		emk_setting_put("data_version", psprintf("%d", EMK_DATA_VERSION));
}

void
emk_admin_put_identity(void)
{
	emk_setting_put("system_identifier", psprintf(UINT64_FORMAT, GetSystemIdentifier()));
	emk_setting_put("database_oid", psprintf("%u", MyDatabaseId));
	emk_setting_put("instance", emk_guc_instance ? emk_guc_instance : "");
	emk_setting_put("timeline", psprintf("%u", GetWALInsertionTimeLine()));
}

static int
ensure_partitions(void)
{
	EmkOwner	saved;
	TimestampTz now = emk_clock_now();
	int			made = 0;

	emk_owner_enter(&saved);
	made = emk_event_make_partitions(now - AHEAD_DAYS * USECS_PER_DAY, now + AHEAD_DAYS * USECS_PER_DAY);
	emk_owner_leave(&saved);
	return made;
}

static void
report(ReturnSetInfo *rsinfo, int partitions_made)
{
	bool		preloaded = emk_worker_preloaded();
	bool		home = emk_setting_is_home();
	const char *instance = emk_setting_get("instance");
	EmkWorkerState workers;
	const char *state;

	emk_worker_state(&workers);
	state = workers.n > 0 ? "running" : !preloaded ? "not started" : workers.stopped ? "stopped" : "starting";
	emk_admin_row(rsinfo, 3, (const char *const[]) {
		"worker", state, strcmp(state, "running") == 0 || strcmp(state, "starting") == 0 ? NULL :
		preloaded ? "Run SELECT eventmkt.start_worker()." :
		"Run SELECT eventmkt.start_worker() now and after every server start, or preload the library."});
	emk_admin_row(rsinfo, 3, (const char *const[]) {
		"preload", preloaded ? "yes" : "no",
		preloaded ? NULL : "Add eventmkt to shared_preload_libraries and restart the server when convenient."});
	emk_admin_row(rsinfo, 3, (const char *const[]) {
		"partitions", psprintf("%d made", partitions_made),
		"The worker makes them ahead; eventmkt.make_partitions() serves history."});
	emk_admin_row(rsinfo, 3, (const char *const[]) {
		"instance", !home ? "copy" : instance && instance[0] ? instance : "unnamed",
		!home ? "This database is a copy and sends nothing until eventmkt.adopt()." :
		instance && instance[0] ? NULL :
		"Set eventmkt.instance in postgresql.conf before the first init() of a production server, or run adopt() after, so that "
		"a disk-level clone stays silent too."});
}

PG_FUNCTION_INFO_V1(emk_admin_initialize);
/* eventmkt.init(owner name): see the top of the file */
Datum
emk_admin_initialize(PG_FUNCTION_ARGS)
{
	emk_base_refuse_null(fcinfo, (const char *const[]) {"owner"});
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	char	   *owner = NameStr(*PG_GETARG_NAME(0));
	Oid			owner_oid;
	int			nest;
	int			made;

	emk_admin_require_superuser("eventmkt.init()");
	PreventCommandDuringRecovery("eventmkt.init()");
	PreventCommandIfReadOnly("eventmkt.init()");
	InitMaterializedSRF(fcinfo, 0);
	emk_version_require();
	LockDatabaseObject(NamespaceRelationId, get_namespace_oid("eventmkt", false), 0, ShareUpdateExclusiveLock);
	nest = emk_admin_pin();
	SPI_connect();
	owner_oid = ensure_owner(owner);
	ensure_schemas(owner, owner_oid);
	grant_to_owner(owner, owner_oid);
	ensure_tables(owner_oid);
	if (emk_setting_get("system_identifier") == NULL)
	{
		emk_admin_put_identity();
		emk_setting_put("node", "0");
	}
	emk_rule_sync_all();
	(void) emk_admin_regrant();	/* first: segments of queries are made with their authors' rights */
	emk_report_restore();
	emk_segment_restore();
	made = ensure_partitions();
	SPI_finish();
	emk_admin_unpin(nest);
	report(rsinfo, made);
	emk_worker_announce();
	return (Datum) 0;
}

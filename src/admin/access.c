/*
 * access.c: eventmkt.grant_access() and revoke_access(): four kinds of roles and what each may do. PUBLIC has nothing.
 *
 * The tables below are all there is to it. A function is found by its name, so that a kind may name one that this version
 * does not have. What was given is a row of eventmkt_data.access, because a re-created extension forgets its grants;
 * init() gives them again. Revoking takes everything a kind gives and then gives the role's other kinds again.
 */
#include "postgres.h"

#include "admin/admin_int.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#define MAX_FUNCTIONS 60

typedef struct AccessKind
{
	const char *name;
	bool		pure;			/* aggregates and immutable functions too */
	bool		data_usage;		/* USAGE on eventmkt_data */
	bool		inbox;			/* INSERT on eventmkt_data.inbox */
	bool		data_select;	/* SELECT on all of eventmkt_data, also on tables to come */
	bool		bi_select;		/* SELECT on all of eventmkt_bi, also on views to come */
	const char *functions[MAX_FUNCTIONS];
} AccessKind;

static const AccessKind kinds[] = {
	{"tracker", false, true, true, false, false,
	{"track", "track_many", "identify", "alias", "ingest", "clock"}},
	{"marketer", true, false, false, false, true,
		{"create_rule", "replace_rule", "enable_rule", "disable_rule", "drop_rule", "why_not", "traits_at", "backtest",
			"backtest_summary", "estimate_rule", "yearly_summary", "clock", "statement_clock", "in_segment", "health",
			"create_segment", "replace_segment", "drop_segment", "track_segment", "untrack_segment", "refresh_segment",
			"segment_members_on", "sync_segment", "unsync_segment", "create_template", "replace_template", "drop_template",
	"expose_property", "hide_property", "create_funnel", "replace_funnel", "drop_funnel", "create_goal", "drop_goal", "open_tail",
	"tail_rows"}},
	{"analyst", true, false, false, false, true,
	{"clock", "statement_clock", "in_segment", "segment_members_on", "backtest", "backtest_summary", "estimate_rule",
	"yearly_summary", "open_tail", "tail_rows"}},
	{"operator", true, true, false, true, true,
		{"create_endpoint", "replace_endpoint", "enable_endpoint", "disable_endpoint", "drop_endpoint", "set_secret",
			"rotate_secret", "redeliver", "redeliver_dead", "start_worker", "stop_worker", "run_due", "health", "adopt",
			"advance_clock", "clock", "statement_clock", "in_segment", "change_setting", "make_partitions", "maintain",
			"why_not", "traits_at", "undo_merge", "refresh_segment", "segment_members_on", "sync_segment",
			"unsync_segment", "erase", "export",
			"unerase", "finish_erasures", "scrub_erased", "expose_property", "hide_property", "create_funnel", "replace_funnel",
	"drop_funnel", "create_goal", "drop_goal", "open_tail", "tail_rows"}},
};

static const AccessKind *
find_kind(const char *name)
{
	for (int i = 0; i < lengthof(kinds); i++)
		if (strcmp(kinds[i].name, name) == 0)
			return &kinds[i];
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("\"%s\" is no kind of access", name),
			 errhint("The kinds are tracker, marketer, analyst and operator.")));
	return NULL;
}

static EmkPlan functions_plan = {
	"SELECT p.oid::pg_catalog.regprocedure::pg_catalog.text FROM pg_catalog.pg_proc p "
	"JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace "
	"WHERE n.nspname OPERATOR(pg_catalog.=) 'eventmkt' AND (p.proname::pg_catalog.text OPERATOR(pg_catalog.=) ANY ($1) "
	"OR $2 AND (p.prokind OPERATOR(pg_catalog.=) 'a' OR p.provolatile OPERATOR(pg_catalog.=) 'i' "
	"AND NOT (2281::pg_catalog.oid OPERATOR(pg_catalog.=) ANY (p.proargtypes::pg_catalog.oid[]))))",
	2, {TEXTARRAYOID, BOOLOID}
};

/* GRANT or REVOKE of the functions of a kind */
static void
apply_functions(const AccessKind *kind, bool grant, const char *role)
{
	Datum		names[MAX_FUNCTIONS];
	int			n = 0;
	Datum		args[2];
	uint64		found;
	char	  **procs;

	while (n < MAX_FUNCTIONS && kind->functions[n] != NULL)
	{
		names[n] = CStringGetTextDatum(kind->functions[n]);
		n++;
	}
	args[0] = emk_spi_array(names, NULL, n, TEXTOID);
	args[1] = BoolGetDatum(kind->pure);
	found = emk_spi_run(&functions_plan, args, NULL, false, 0);
	procs = palloc(sizeof(char *) * (found + 1));
	for (uint64 i = 0; i < found; i++)
		procs[i] = emk_spi_text(i, 1);
	for (uint64 i = 0; i < found; i++)
		emk_admin_run(grant ? "GRANT EXECUTE ON ROUTINE %s TO %s" : "REVOKE EXECUTE ON ROUTINE %s FROM %s", procs[i], role);
}

/* GRANT or REVOKE of everything a kind gives to `role`, an identifier that is already quoted. Inside open SPI. */
static void
apply_kind(const AccessKind *kind, bool grant, const char *role)
{
	const char *verb = grant ? "GRANT" : "REVOKE";
	const char *prep = grant ? "TO" : "FROM";
	const char *owner = quote_identifier(GetUserNameFromId(emk_owner_oid(), false));

	emk_admin_run("%s USAGE ON SCHEMA eventmkt %s %s", verb, prep, role);
	apply_functions(kind, grant, role);
	if (kind->data_usage)
		emk_admin_run("%s USAGE ON SCHEMA eventmkt_data %s %s", verb, prep, role);
	if (kind->inbox && OidIsValid(get_relname_relid("inbox", get_namespace_oid("eventmkt_data", false))))
		emk_admin_run("%s INSERT ON eventmkt_data.inbox %s %s", verb, prep, role);
	if (kind->data_select)
	{
		emk_admin_run("%s SELECT ON ALL TABLES IN SCHEMA eventmkt_data %s %s", verb, prep, role);
		emk_admin_run("ALTER DEFAULT PRIVILEGES FOR ROLE %s IN SCHEMA eventmkt_data %s SELECT ON TABLES %s %s", owner, verb,
					  prep, role);
	}
	if (kind->bi_select)
	{
		emk_admin_run("%s USAGE ON SCHEMA eventmkt_bi %s %s", verb, prep, role);
		emk_admin_run("%s SELECT ON ALL TABLES IN SCHEMA eventmkt_bi %s %s", verb, prep, role);
		emk_admin_run("ALTER DEFAULT PRIVILEGES FOR ROLE %s IN SCHEMA eventmkt_bi %s SELECT ON TABLES %s %s", owner, verb,
					  prep, role);
	}
}

static EmkPlan record_plan = {
	"INSERT INTO eventmkt_data.access (role, kind, granted_at) VALUES ($1, $2, $3) ON CONFLICT (role, kind) DO NOTHING",
	3, {TEXTOID, TEXTOID, TIMESTAMPTZOID}
};
static EmkPlan forget_plan = {
	"DELETE FROM eventmkt_data.access WHERE role OPERATOR(pg_catalog.=) $1 AND kind OPERATOR(pg_catalog.=) $2",
	2, {TEXTOID, TEXTOID}
};
static EmkPlan recorded_plan = {
	"SELECT a.role, a.kind FROM eventmkt_data.access a JOIN pg_catalog.pg_roles r "
	"ON r.rolname::pg_catalog.text OPERATOR(pg_catalog.=) a.role "
	"WHERE $1 IS NULL OR a.role OPERATOR(pg_catalog.=) $1 ORDER BY 1, 2", 1, {TEXTOID}
};

static void
record(EmkPlan *plan, const char *role, const char *kind)
{
	Datum		args[3] = {CStringGetTextDatum(role), CStringGetTextDatum(kind), TimestampTzGetDatum(emk_clock_now())};
	EmkOwner	saved;

	emk_owner_enter(&saved);
	emk_spi_run(plan, args, NULL, false, 0);
	emk_owner_leave(&saved);
}

/* Gives again what is recorded for one role, or for all (NULL); returns how many grants there were. */
static int
regrant(const char *role)
{
	Datum		arg = role ? CStringGetTextDatum(role) : (Datum) 0;
	EmkOwner	saved;
	uint64		n;
	char	  **roles;
	char	  **names;

	emk_owner_enter(&saved);
	n = emk_spi_run(&recorded_plan, &arg, role ? " " : "n", false, 0);
	emk_owner_leave(&saved);
	roles = palloc(sizeof(char *) * (n + 1));
	names = palloc(sizeof(char *) * (n + 1));
	for (uint64 i = 0; i < n; i++)
	{
		roles[i] = emk_spi_text(i, 1);
		names[i] = emk_spi_text(i, 2);
	}
	for (uint64 i = 0; i < n; i++)
		apply_kind(find_kind(names[i]), true, quote_identifier(roles[i]));
	return n;
}

int
emk_admin_regrant(void)
{
	return regrant(NULL);
}

PG_FUNCTION_INFO_V1(emk_admin_grant_access);
/* eventmkt.grant_access(role name, kind text) */
Datum
emk_admin_grant_access(PG_FUNCTION_ARGS)
{
	emk_base_refuse_null(fcinfo, (const char *const[]) {"role", "kind"});
	char	   *role = NameStr(*PG_GETARG_NAME(0));
	const AccessKind *kind = find_kind(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	int			nest;

	emk_admin_require_superuser("eventmkt.grant_access()");
	(void) get_role_oid(role, false);
	(void) emk_owner_oid();
	nest = emk_admin_pin();
	SPI_connect();
	apply_kind(kind, true, quote_identifier(role));
	record(&record_plan, role, kind->name);
	SPI_finish();
	emk_admin_unpin(nest);
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(emk_admin_revoke_access);
/* eventmkt.revoke_access(role name, kind text): other kinds the role has stay whole */
Datum
emk_admin_revoke_access(PG_FUNCTION_ARGS)
{
	emk_base_refuse_null(fcinfo, (const char *const[]) {"role", "kind"});
	char	   *role = NameStr(*PG_GETARG_NAME(0));
	const AccessKind *kind = find_kind(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	int			nest;

	emk_admin_require_superuser("eventmkt.revoke_access()");
	(void) get_role_oid(role, false);
	nest = emk_admin_pin();
	SPI_connect();
	record(&forget_plan, role, kind->name);
	apply_kind(kind, false, quote_identifier(role));
	(void) regrant(role);
	SPI_finish();
	emk_admin_unpin(nest);
	PG_RETURN_VOID();
}

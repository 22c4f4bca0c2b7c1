/*
 * segment_query.c: SQL of somebody's own as a segment.
 *
 * The query becomes the view eventmkt_data.segment_query_<id>, made by and owned by its author, who must not be a superuser, so
 * it reads what the author may read. Functions in a view, however, run with the rights of whoever reads it. Therefore
 *
 *   only functions, operators, casts and types of pg_catalog and of eventmkt may stand in it, none of them VOLATILE, and none
 *   that runs a text as SQL; only tables, materialized views and the views of eventmkt_bi
 *   the author has no way to change the view afterwards (it lies in a schema that marketers cannot reach)
 *   the engine asks it as its author, in a security-restricted operation (segment_ask.c), never as the owner of the tables
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parser.h"
#include "rewrite/rewriteHandler.h"
#include "segment/segment_int.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* What the view leans on that it may not: kind and name. Built-in objects leave no row, except that every table has a type. */
static EmkPlan depends_plan = {
	"SELECT pg_catalog.pg_describe_object(d.refclassid, d.refobjid, 0) FROM pg_catalog.pg_depend d "
	"JOIN pg_catalog.pg_rewrite r ON r.oid OPERATOR(pg_catalog.=) d.objid "
	"LEFT JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) d.refobjid "
	"AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass "
	"LEFT JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace "
	"LEFT JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) d.refobjid "
	"AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass "
	"LEFT JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) d.refobjid "
	"AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass "
	"WHERE r.ev_class OPERATOR(pg_catalog.=) $1 "
	"AND d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND NOT (CASE "
	"WHEN c.oid IS NOT NULL THEN c.oid OPERATOR(pg_catalog.=) $1 OR c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,m}') "
	"OR c.relkind OPERATOR(pg_catalog.=) 'v' AND n.nspname OPERATOR(pg_catalog.=) ANY ('{pg_catalog,eventmkt_bi}') "
	"AND c.relowner OPERATOR(pg_catalog.=) $2 "
	"WHEN t.oid IS NOT NULL THEN t.typtype OPERATOR(pg_catalog.=) 'e' "
	"WHEN p.oid IS NOT NULL THEN p.pronamespace OPERATOR(pg_catalog.=) 'eventmkt'::pg_catalog.regnamespace "
	"OR p.pronamespace OPERATOR(pg_catalog.=) 'pg_catalog'::pg_catalog.regnamespace "
	"ELSE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass END) ORDER BY 1 LIMIT 1", 2,
	{OIDOID, OIDOID}
};
static EmkPlan viewdef_plan = {
	"SELECT pg_catalog.pg_get_viewdef($1)", 1, {OIDOID}
};

char *
emk_segment_query_name(int32 segment_id)
{
	return psprintf("eventmkt_data.segment_query_%d", segment_id);
}

/* The text of one SELECT, without a semicolon; anything else is an ERROR. */
static char *
one_select(const char *query)
{
	List	   *parsed = pg_parse_query(query);
	RawStmt    *stmt;

	if (list_length(parsed) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("query must be one SELECT"),
				 errdetail("It has %d statements.", list_length(parsed))));
	stmt = linitial_node(RawStmt, parsed);
	if (!IsA(stmt->stmt, SelectStmt) || ((SelectStmt *) stmt->stmt)->intoClause != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("query must be one SELECT"),
				 errhint("It returns the column profile_id.")));
	return stmt->stmt_len > 0 ? pnstrdup(query + stmt->stmt_location, stmt->stmt_len) : pstrdup(query + stmt->stmt_location);
}

/* A function that makes SQL of its arguments, which nothing recorded in the catalogs would show */
static bool
runs_text(Oid funcid, void *context)
{
	char	   *name = get_func_name(funcid);

	return name != NULL && (strstr(name, "to_xml") != NULL || strcmp(name, "ts_stat") == 0);
}

static bool
find_runner(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (check_functions_in_node(node, runs_text, context))
		return true;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, find_runner, context, 0);
	return expression_tree_walker(node, find_runner, context);
}

static void
check_tree(Oid view)
{
	Relation	rel = table_open(view, AccessShareLock);
	Query	   *query = get_view_query(rel);

	if (contain_volatile_functions((Node *) query))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("query calls a volatile function"),
				 errhint("The time is eventmkt.statement_clock().")));
	if (find_runner((Node *) query, NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("query calls a function that runs a text as SQL")));
	table_close(rel, AccessShareLock);
}

/* Checks the view; as the owner. */
static void
check_view(Oid view)
{
	Datum		args[2] = {ObjectIdGetDatum(view), ObjectIdGetDatum(emk_owner_oid())};

	check_tree(view);
	if (emk_spi_run(&depends_plan, args, NULL, false, 0) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("query may not use %s", emk_spi_text(0, 1)),
				 errhint("It may use tables, materialized views, the views of eventmkt_bi, and functions, operators and "
						 "types of pg_catalog and eventmkt.")));
}

/* Lets the author make a view among the tables, or takes that back; by the owner. */
static void
let_create(bool give, Oid author, bool usage_too)
{
	if (author != emk_owner_oid())
		emk_spi_script(psprintf("%s %sCREATE ON SCHEMA eventmkt_data %s %s", give ? "GRANT" : "REVOKE",
								usage_too ? "USAGE, " : "", give ? "TO" : "FROM",
								quote_identifier(GetUserNameFromId(author, false))));
}

char *
emk_segment_make_query(int32 segment_id, const char *query, Oid author)
{
	char	   *name = emk_segment_query_name(segment_id);
	char	   *select = one_select(query);
	Oid			nsp = get_namespace_oid("eventmkt_data", false);
	bool		had_usage = DatumGetBool(DirectFunctionCall3(has_schema_privilege_id_id, ObjectIdGetDatum(author),
															 ObjectIdGetDatum(nsp), CStringGetTextDatum("USAGE")));
	Oid			owner;
	int			sec_context;
	Oid			view;
	int			nest;
	Datum		arg;
	char	   *qualified;

	if (superuser_arg(author))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("a superuser cannot make a segment of a query"),
				 errdetail("The query runs with its author's rights for as long as the segment is there."),
				 errhint("Make it as a role that may read the tables it needs, and may create segments.")));
	let_create(true, author, !had_usage);
	GetUserIdAndSecContext(&owner, &sec_context);
	SetUserIdAndSecContext(author, sec_context);
	emk_spi_script(psprintf("CREATE OR REPLACE VIEW %s (profile_id) WITH (security_barrier = false) AS SELECT "
							"q.profile_id::pg_catalog.text COLLATE pg_catalog.\"C\" FROM (\n%s\n) q", name, select));
	emk_spi_script(psprintf("GRANT SELECT ON %s TO %s", name, quote_identifier(GetUserNameFromId(owner, false))));
	SetUserIdAndSecContext(owner, sec_context);
	view = get_relname_relid(psprintf("segment_query_%d", segment_id), nsp);
	check_view(view);
	/* may the author read all of it? */
	SetUserIdAndSecContext(author, sec_context | SECURITY_RESTRICTED_OPERATION);
	emk_spi_script(psprintf("SELECT FROM %s LIMIT 0", name));
	SetUserIdAndSecContext(owner, sec_context);
	let_create(false, author, !had_usage);

	nest = emk_segment_pin();
	arg = ObjectIdGetDatum(view);
	emk_spi_run(&viewdef_plan, &arg, NULL, false, 1);
	qualified = emk_spi_text(0, 1);
	AtEOXact_GUC(true, nest);
	return qualified;
}

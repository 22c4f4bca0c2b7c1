-- what an analyst can reach, whole: read from the catalogs, so that whatever is added anywhere shows here and must be put into this list
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
SELECT eventmkt.create_rule('some', on_event => 'Bought', send_to => 'none') > 0 AS rule;
SELECT eventmkt.expose_property('Bought', 'amount', 'numeric'), eventmkt.create_funnel('two', ARRAY['A', 'B']),
	eventmkt.create_segment('gold', where_profile => '$.tier == "gold"') > 0 AS segment;
CREATE ROLE regress_rights_analyst;
SELECT eventmkt.grant_access('regress_rights_analyst', 'analyst');
\set who '''regress_rights_analyst'''
-- schemas; no kind of role may make anything in ours
SELECT nspname, has_schema_privilege(:who, oid, 'USAGE') AS usage, has_schema_privilege(:who, oid, 'CREATE') AS create
  FROM pg_namespace WHERE nspname ~ '^eventmkt' ORDER BY 1;
-- relations outside eventmkt_bi: nothing at all, neither whole nor one column, whatever kind of relation it is
SELECT c.oid::regclass, p.privilege FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,
	unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) AS p (privilege)
 WHERE n.nspname IN ('eventmkt', 'eventmkt_data') AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND (has_table_privilege(:who, c.oid, p.privilege)
	OR (p.privilege IN ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES') AND has_any_column_privilege(:who, c.oid, p.privilege)));
SELECT c.oid::regclass FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname ~ '^eventmkt' AND CASE WHEN c.relkind = 'S' THEN has_sequence_privilege(:who, c.oid, 'USAGE,SELECT,UPDATE') END;
-- in eventmkt_bi: views, to be read and no more; these, with these columns
SELECT c.relkind, c.oid::regclass, p.privilege FROM pg_class c, unnest('{INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) AS p (privilege)
 WHERE c.relnamespace = 'eventmkt_bi'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
	AND (c.relkind <> 'v' OR has_table_privilege(:who, c.oid, p.privilege));
\pset format unaligned
\pset tuples_only on
SELECT c.relname || CASE WHEN NOT has_table_privilege(:who, c.oid, 'SELECT') THEN ' (not to be read)' ELSE '' END AS view,
	string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum) AS columns
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
 WHERE c.relnamespace = 'eventmkt_bi'::regnamespace AND a.attnum > 0 GROUP BY c.oid ORDER BY c.relname COLLATE "C";
-- functions: these names, and none outside the schema eventmkt that PUBLIC would have
SELECT DISTINCT n.nspname || '.' || p.proname COLLATE "C" AS function FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname ~ '^eventmkt' AND has_function_privilege(:who, p.oid, 'EXECUTE') ORDER BY 1;
\pset format aligned
\pset tuples_only off
-- none of them changes anything or reads more than the views show: what is VOLATILE is named here
SELECT p.oid::regprocedure, p.provolatile FROM pg_proc p WHERE p.pronamespace = 'eventmkt'::regnamespace AND p.prokind = 'f'
	AND p.provolatile <> 'i' AND has_function_privilege(:who, p.oid, 'EXECUTE') ORDER BY p.proname;
SELECT p.oid::regprocedure FROM pg_proc p WHERE p.pronamespace = 'eventmkt'::regnamespace AND p.prosecdef;
-- types of ours may be named, and other kinds of objects there are none
SELECT count(*) FROM pg_operator WHERE oprnamespace IN (SELECT oid FROM pg_namespace WHERE nspname ~ '^eventmkt');
SELECT 'large object' FROM pg_largeobject_metadata UNION ALL SELECT 'foreign server' FROM pg_foreign_server
	UNION ALL SELECT 'publication' FROM pg_publication;
-- no role's membership, no attribute
SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls, (SELECT count(*) FROM pg_auth_members WHERE member = r.oid) AS memberships
  FROM pg_roles r WHERE rolname = :who;
-- and so it is when it is tried: every view answers, every table refuses
SET ROLE regress_rights_analyst;
DO $$
DECLARE r record;
BEGIN
	FOR r IN SELECT c.oid::regclass AS rel, n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname ~ '^eventmkt' AND c.relkind IN ('r', 'p', 'v') LOOP
		BEGIN
			EXECUTE format('SELECT count(*) FROM %s', r.rel);
			IF r.nspname <> 'eventmkt_bi' THEN RAISE WARNING '% is read', r.rel; END IF;
		EXCEPTION WHEN insufficient_privilege THEN
			IF r.nspname = 'eventmkt_bi' THEN RAISE WARNING '% is not read: %', r.rel, SQLERRM; END IF;
		END;
	END LOOP;
END $$;
-- views do not lend the rights of their owner to the reader's own functions
CREATE TEMP TABLE mine (a int);
CREATE FUNCTION pg_temp.try(int) RETURNS bool LANGUAGE plpgsql AS 'BEGIN RETURN EXISTS (SELECT FROM eventmkt_data.event); END';
\set VERBOSITY terse
SELECT count(*) FROM eventmkt_bi.rules WHERE pg_temp.try(rule_id);
SELECT count(*) FROM eventmkt_bi.segments WHERE pg_temp.try(1);
CREATE VIEW eventmkt_bi.more AS SELECT 1;
RESET ROLE;
-- nothing is left when it is taken back
SELECT eventmkt.revoke_access('regress_rights_analyst', 'analyst');
SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname ~ '^eventmkt' AND c.relkind IN ('r', 'p', 'v') AND has_table_privilege(:who, c.oid, 'SELECT,INSERT,UPDATE,DELETE');
SELECT count(*) FROM pg_proc WHERE pronamespace = 'eventmkt'::regnamespace AND has_function_privilege(:who, oid, 'EXECUTE');
DROP OWNED BY regress_rights_analyst;
DROP ROLE regress_rights_analyst;

-- who may do what, whole (R53 to R55, A40): every object of ours with what each kind of access may do with it, read from the catalogs, so that whatever
-- is added anywhere shows here and must be put into this list. A role that was given nothing has nothing.
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
CREATE ROLE regress_rights_t;
CREATE ROLE regress_rights_m;
CREATE ROLE regress_rights_a;
CREATE ROLE regress_rights_o;
CREATE ROLE regress_rights_none;
SELECT eventmkt.grant_access('regress_rights_t', 'tracker'), eventmkt.grant_access('regress_rights_m', 'marketer'),
	eventmkt.grant_access('regress_rights_a', 'analyst'), eventmkt.grant_access('regress_rights_o', 'operator');
CREATE TABLE public.kinds (k text, role name);
INSERT INTO public.kinds VALUES ('t', 'regress_rights_t'), ('m', 'regress_rights_m'), ('a', 'regress_rights_a'), ('o', 'regress_rights_o'),
	('!', 'regress_rights_none');
\pset format unaligned
\pset tuples_only on
-- schemas: USAGE, CREATE
SELECT n.nspname || ' ' || string_agg(CASE WHEN has_schema_privilege(k.role, n.oid, 'USAGE') THEN k.k ELSE '-' END
	|| CASE WHEN has_schema_privilege(k.role, n.oid, 'CREATE') THEN 'C' ELSE '' END, '' ORDER BY strpos('tmao!', k.k))
  FROM pg_namespace n, public.kinds k WHERE n.nspname ~ '^eventmkt' GROUP BY n.nspname ORDER BY n.nspname COLLATE "C";
-- relations: r SELECT, a INSERT, w UPDATE, d DELETE, D TRUNCATE, x REFERENCES, t TRIGGER, of the whole or of any column; none: -
SELECT c.oid::regclass || ' ' || string_agg(k.k || ' ' || coalesce((SELECT string_agg(p.letter, '' ORDER BY p.ord) FROM (VALUES ('r', 'SELECT', 1), ('a', 'INSERT', 2),
		('w', 'UPDATE', 3), ('d', 'DELETE', 4), ('D', 'TRUNCATE', 5), ('x', 'REFERENCES', 6), ('t', 'TRIGGER', 7)) p (letter, name, ord)
	WHERE has_table_privilege(k.role, c.oid, p.name) OR (p.letter IN ('r', 'a', 'w', 'x') AND has_any_column_privilege(k.role, c.oid, p.name))), '-'),
	', ' ORDER BY strpos('tmao!', k.k))
  FROM pg_class c, public.kinds k WHERE c.relnamespace IN ('eventmkt'::regnamespace, 'eventmkt_data'::regnamespace, 'eventmkt_bi'::regnamespace)
   AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND (NOT c.relispartition OR c.relname ~ '_default$') GROUP BY c.oid ORDER BY c.oid::regclass::text COLLATE "C";
-- partitions are made later than the grant: they are as their parents
SELECT c.oid::regclass, k.k FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid, public.kinds k WHERE c.relnamespace = 'eventmkt_data'::regnamespace
   AND c.relkind = 'r' AND has_table_privilege(k.role, c.oid, 'SELECT') <> has_table_privilege(k.role, i.inhparent, 'SELECT');
-- sequences: nobody
SELECT c.oid::regclass, k.k FROM pg_class c, public.kinds k WHERE c.relnamespace IN ('eventmkt'::regnamespace, 'eventmkt_data'::regnamespace, 'eventmkt_bi'::regnamespace)
   AND CASE WHEN c.relkind = 'S' THEN has_sequence_privilege(k.role, c.oid, 'USAGE,SELECT,UPDATE') END;
-- functions and aggregates, by name and by who may call them
SELECT calls || ': ' || string_agg(name, ', ' ORDER BY name COLLATE "C") FROM (
	SELECT p.proname || CASE WHEN count(*) OVER (PARTITION BY p.proname) > 1 THEN '/' || p.pronargs ELSE '' END AS name,
		(SELECT string_agg(CASE WHEN has_function_privilege(k.role, p.oid, 'EXECUTE') THEN k.k ELSE '-' END, '' ORDER BY strpos('tmao!', k.k)) FROM public.kinds k) AS calls
	  FROM pg_proc p WHERE p.pronamespace IN ('eventmkt'::regnamespace, 'eventmkt_data'::regnamespace, 'eventmkt_bi'::regnamespace)) f GROUP BY calls ORDER BY calls COLLATE "C";
-- who owns them: C code of ours only, none SECURITY DEFINER; tables belong to a role that is no superuser
SELECT count(*) FILTER (WHERE p.prosecdef) AS definer, count(*) FILTER (WHERE l.lanname NOT IN ('c', 'internal', 'sql')) AS other_language
  FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang WHERE p.pronamespace = 'eventmkt'::regnamespace;
SELECT DISTINCT r.rolname, r.rolsuper, r.rolcreaterole, r.rolcreatedb, r.rolbypassrls, r.rolreplication FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner
 WHERE c.relnamespace IN ('eventmkt_data'::regnamespace, 'eventmkt_bi'::regnamespace);
DROP OWNED BY regress_rights_t, regress_rights_m, regress_rights_a, regress_rights_o;
DROP ROLE regress_rights_t, regress_rights_m, regress_rights_a, regress_rights_o, regress_rights_none;

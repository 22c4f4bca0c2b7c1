-- init(): once, twice, from hostile sessions, over schemas of others, after a re-created extension
\set QUIET on
CREATE FUNCTION public.caught(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE m text; h text;
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS m = MESSAGE_TEXT, h = PG_EXCEPTION_HINT;
	RETURN SQLSTATE || ': ' || m || coalesce(' / ' || nullif(h, ''), '');
END $$;
SET client_min_messages = warning;
-- before init every function says what to do
SELECT public.caught('SELECT eventmkt.stop_worker()');
SELECT "check", state FROM eventmkt.health();
-- who may not
CREATE ROLE admin_init_clerk;
GRANT USAGE ON SCHEMA eventmkt TO admin_init_clerk;
GRANT EXECUTE ON FUNCTION eventmkt.init(name) TO admin_init_clerk;
SET ROLE admin_init_clerk;
SELECT public.caught('SELECT eventmkt.init()');
RESET ROLE;
DROP OWNED BY admin_init_clerk;
-- owners that will not do
SELECT public.caught(format('SELECT eventmkt.init(%L)', current_user));
-- (a worker connects as a role without LOGIN since 17: nothing to refuse there)
SELECT CASE WHEN pg_catalog.current_setting('server_version_num')::int < 170000 THEN public.caught('SELECT eventmkt.init(''admin_init_clerk'')')
	ELSE '55000: role "admin_init_clerk" cannot own the tables of eventmkt / Run ALTER ROLE admin_init_clerk LOGIN, without a password.' END AS caught;
-- schemas of others
CREATE SCHEMA eventmkt_bi AUTHORIZATION admin_init_clerk;
SELECT public.caught('SELECT eventmkt.init()');
DROP SCHEMA eventmkt_bi;
-- a session full of traps: nothing of it is used
CREATE SCHEMA trap;
CREATE FUNCTION trap.trapped(text, text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
CREATE OPERATOR trap.= (leftarg = text, rightarg = text, function = trap.trapped);
CREATE FUNCTION trap.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped'; END $$;
CREATE TEMP TABLE setting (key text, value text);
SET search_path = pg_temp, trap, pg_catalog;
SET standard_conforming_strings = off;
SELECT step, state FROM eventmkt.init() WHERE step <> 'partitions';
RESET standard_conforming_strings;
RESET search_path;
SELECT count(*) FROM pg_temp.setting;
DROP SCHEMA trap CASCADE;
-- what was set in the session is as it was
SHOW search_path;
SHOW lock_timeout;
-- everything lies with the owner, who is no superuser
SELECT n.nspname, n.nspowner::regrole, r.rolsuper, r.rolcreaterole, r.rolcreatedb
  FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner WHERE nspname LIKE 'eventmkt\__%' ORDER BY 1;
SELECT c.oid::regclass, c.relowner::regrole FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname IN ('eventmkt_data', 'eventmkt_bi') AND c.relowner <> 'eventmkt'::regrole;
-- only types of pg_catalog, but for timelines, which are derived
SELECT a.attrelid::regclass, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
  JOIN pg_type t ON t.oid = a.atttypid WHERE c.relnamespace = 'eventmkt_data'::regnamespace AND a.attnum > 0
   AND c.relname <> 'profile_timeline' AND t.typnamespace <> 'pg_catalog'::regnamespace AND NOT a.attisdropped AND c.relkind IN ('r', 'p');
-- nothing of it is a member of the extension
SELECT count(*) FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'eventmkt'
  JOIN pg_class c ON c.oid = d.objid AND d.classid = 'pg_class'::regclass
 WHERE d.deptype = 'e' AND c.relnamespace <> 'eventmkt'::regnamespace;
-- again: nothing changes but what has to
CREATE TABLE public.before AS SELECT c.oid, c.relname FROM pg_class c WHERE relnamespace = 'eventmkt_data'::regnamespace;
CREATE TABLE public.identity AS SELECT key, value FROM eventmkt_data.setting;
SELECT step, state FROM eventmkt.init() WHERE step = 'partitions';
SELECT count(*) FROM pg_class c FULL JOIN public.before b USING (oid)
 WHERE (c.relnamespace = 'eventmkt_data'::regnamespace OR b.oid IS NOT NULL) AND (c.oid IS NULL OR b.oid IS NULL);
SELECT key FROM eventmkt_data.setting s FULL JOIN public.identity i USING (key) WHERE s.value IS DISTINCT FROM i.value;
-- another owner is refused, and the hint names the right one
SELECT public.caught('SELECT eventmkt.init(''admin_init_other'')');
-- the identity of a copy is not overwritten
UPDATE eventmkt_data.setting SET value = '1' WHERE key = 'database_oid';
SELECT step, state FROM eventmkt.init() WHERE step = 'instance';
SELECT value FROM eventmkt_data.setting WHERE key = 'database_oid';
UPDATE eventmkt_data.setting s SET value = i.value FROM public.identity i WHERE i.key = s.key AND s.key = 'database_oid';
-- tables of a newer version
UPDATE eventmkt_data.setting SET value = '999' WHERE key = 'data_version';
SELECT public.caught('SELECT eventmkt.init()');
SELECT detail FROM eventmkt.health() WHERE "check" = 'paused';
UPDATE eventmkt_data.setting SET value = '2' WHERE key = 'data_version';
-- the extension goes and comes back: the data stays, the triggers return, and so do the rights
CREATE ROLE admin_init_app;
SELECT eventmkt.grant_access('admin_init_app', 'tracker');
INSERT INTO eventmkt_data.profile (profile_id, traits, created_at, updated_at)
	VALUES ('p1', '{"a": 1}', '2026-01-01', '2026-01-01');
CREATE TABLE public.triggers AS SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE NOT tgisinternal;
DROP EXTENSION eventmkt CASCADE;
SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal;
SELECT count(*) FROM pg_namespace WHERE nspname = 'eventmkt';
CREATE EXTENSION eventmkt;
SELECT detail FROM eventmkt.health() WHERE "check" = 'paused';
SELECT step, state FROM eventmkt.init() WHERE step = 'instance';
SELECT count(*) FROM (SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE NOT tgisinternal
 EXCEPT SELECT * FROM public.triggers) t;
SELECT count(*) FROM (SELECT * FROM public.triggers
 EXCEPT SELECT tgrelid::regclass::text, tgname FROM pg_trigger WHERE NOT tgisinternal) t;
SELECT profile_id, traits FROM eventmkt_data.profile;
SELECT has_function_privilege('admin_init_app', 'eventmkt.clock()', 'execute') AS app_may,
	has_function_privilege('eventmkt', 'eventmkt.clock()', 'execute') AS owner_may;
SELECT detail FROM eventmkt.health() WHERE "check" = 'paused';
DROP OWNED BY admin_init_app;
DROP ROLE admin_init_app, admin_init_clerk;

-- who may do what with segments; queries of somebody's own: with whose rights they run, and what may not stand in them
\set QUIET on
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
CREATE ROLE segment_rights_marketer;
CREATE ROLE segment_rights_analyst;
CREATE ROLE segment_rights_none;
SELECT eventmkt.grant_access('segment_rights_marketer', 'marketer'), eventmkt.grant_access('segment_rights_analyst', 'analyst');
CREATE FUNCTION public.caught(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
CREATE SCHEMA shop;
CREATE TABLE shop.customer (id text, country text, spent numeric);
CREATE TABLE shop.hidden (id text);
INSERT INTO shop.customer VALUES ('ann', 'de', 10), ('bob-phone', 'de', 20), ('cid', 'fr', 30), (NULL, 'de', 1), ('ann', 'de', 2);
GRANT USAGE ON SCHEMA shop TO segment_rights_marketer;
GRANT SELECT ON shop.customer TO segment_rights_marketer;
CREATE FUNCTION shop.evil(x anyelement) RETURNS anyelement LANGUAGE plpgsql IMMUTABLE AS
	'BEGIN RAISE EXCEPTION ''ran as %'', current_user; END';
CREATE OPERATOR shop.~~~ (FUNCTION = shop.evil, RIGHTARG = anyelement);
CREATE VIEW shop.via AS SELECT shop.evil(id) AS profile_id FROM shop.customer;
CREATE DOMAIN shop.checked AS text CHECK (shop.evil(VALUE) IS NOT NULL);
GRANT SELECT ON shop.via TO segment_rights_marketer;
SELECT eventmkt.identify('bob', '{"country": "de"}', 'bob-phone');
SELECT count(eventmkt.track(p, 'Seen')) FROM unnest('{ann,bob,cid}'::text[]) p;
\set QUIET off
SET ROLE segment_rights_marketer;
SET search_path = shop, public;
SELECT eventmkt.create_segment('germans', query => 'SELECT id AS profile_id FROM customer WHERE country = ''de'' -- all;
	;') > 0 AS made;
-- canonical ids, each once
SELECT * FROM eventmkt_bi.segment_germans ORDER BY 1;
SELECT u, eventmkt.in_segment(u, 'germans') FROM unnest('{ann,bob,bob-phone,cid}'::text[]) u;
SELECT eventmkt.create_segment('seen', on_event => 'Seen') > 0 AS made;
SELECT eventmkt.create_segment('foreign', all_of => '{seen}', none_of => '{germans}') > 0 AS made;
SELECT * FROM eventmkt_bi.segment_foreign ORDER BY 1;
SELECT u, eventmkt.in_segment(u, 'foreign') FROM unnest('{ann,bob-phone,cid}'::text[]) u;
-- what is refused
SELECT q, public.caught(format('SELECT eventmkt.create_segment(''bad'', query => %L)', q)) FROM unnest(ARRAY[
	'SELECT', 'SELECT 1', 'SELECT id FROM shop.customer', 'DELETE FROM shop.customer RETURNING id AS profile_id', '',
	'SELECT id AS profile_id FROM shop.customer; SELECT 1', 'SELECT id AS profile_id INTO x FROM shop.customer',
	'WITH d AS (DELETE FROM shop.customer RETURNING id) SELECT id AS profile_id FROM d', 'SELECT 1) q; SELECT (2',
	'SELECT id AS profile_id FROM shop.hidden', 'SELECT shop.evil(id) AS profile_id FROM shop.customer',
	'SELECT id AS profile_id FROM shop.customer WHERE (OPERATOR(shop.~~~) id) = ''''', 'SELECT profile_id FROM shop.via',
	'SELECT id::shop.checked AS profile_id FROM shop.customer', 'SELECT random()::text AS profile_id',
	'SELECT clock_timestamp()::text AS profile_id', 'SELECT profile_id FROM eventmkt_data.profile',
	'SELECT query_to_xml(''SELECT shop.evil(1)'', true, true, '''')::text AS profile_id',
	'SELECT table_to_xml(''shop.via'', true, true, '''')::text AS profile_id',
	'SELECT id AS profile_id FROM shop.customer WHERE spent > (SELECT count(*) FROM shop.via)']) q;
-- nothing of it is left, no right either
SELECT name FROM eventmkt_bi.segments ORDER BY 1;
SELECT has_schema_privilege('eventmkt_data', 'USAGE') AS usage, has_schema_privilege('eventmkt_data', 'CREATE') AS create;
-- the author cannot change the view behind it
CREATE OR REPLACE RULE "_RETURN" AS ON SELECT TO eventmkt_data.segment_query_1 DO INSTEAD SELECT shop.evil('x'::text) AS profile_id;
\echo :SQLSTATE
-- an analyst reads, and makes nothing
SET ROLE segment_rights_analyst;
RESET search_path;
SELECT count(*) FROM eventmkt_bi.segment_germans;
SELECT count(*) FROM eventmkt_bi.segment_seen;
SELECT name, owner FROM eventmkt_bi.segments ORDER BY 1;
SELECT eventmkt.in_segment('ann', 'germans');
SELECT public.caught(s) FROM unnest(ARRAY[$$SELECT eventmkt.create_segment('x', on_event => 'A')$$,
	$$SELECT eventmkt.drop_segment('seen')$$, $$SELECT eventmkt.replace_segment('seen', on_event => 'A')$$,
	'TABLE eventmkt_data.segment', 'TABLE eventmkt_data.segment_query_1', 'TABLE shop.customer']) s;
SET ROLE segment_rights_none;
SELECT public.caught(s) FROM unnest(ARRAY[$$SELECT eventmkt.in_segment('ann', 'seen')$$, 'TABLE eventmkt_bi.segment_seen',
	'SELECT eventmkt.statement_clock()']) s;
RESET ROLE;
-- a rule on it: asked as its author, who loses the right to the table: no, with the reason
SELECT eventmkt.create_rule('r', on_event => 'View', where_segment => 'foreign', send_to => 'none') AS rule;
SELECT count(eventmkt.track(p, 'View')) FROM unnest('{ann,cid}'::text[]) p;
SELECT eventmkt.run_due() > 0 AS ran;
REVOKE SELECT ON shop.customer FROM segment_rights_marketer;
SELECT eventmkt.track('cid', 'View') > 0 AS tracked;
SELECT eventmkt.run_due() > 0 AS ran;
GRANT SELECT ON shop.customer TO segment_rights_marketer;
-- and one that takes too long
SET ROLE segment_rights_marketer;
SELECT eventmkt.replace_segment('germans', query => 'SELECT g::text AS profile_id FROM generate_series(1, 1000000000) g '
	'WHERE g % 1000000 = 1000001') > 0 AS replaced;
RESET ROLE;
SET eventmkt.segment_timeout = '20ms';
SELECT eventmkt.track('cid', 'View') > 0 AS tracked;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT profile_id, outcome, reason, facts FROM eventmkt_data.decision ORDER BY decision_id;
-- another role may not replace it, nor may it become something else
SELECT public.caught($$SELECT eventmkt.replace_segment('germans', on_event => 'A')$$);
-- a query over views of ours: of another segment, and of an event
SELECT eventmkt.expose_property('View', 'page', 'text');
SET ROLE segment_rights_marketer;
SELECT eventmkt.create_segment('page two', query => 'SELECT s.profile_id FROM eventmkt_bi.segment_seen s JOIN eventmkt_bi."event_View" e USING (profile_id) WHERE e.page = ''2''') > 0 AS made;
RESET ROLE;
SELECT eventmkt.create_segment('also two', any_of => '{page two}') > 0 AS made;
SELECT eventmkt.track('cid', 'View', '{"page": 2}') > 0 AS tracked;
SELECT * FROM eventmkt_bi."segment_also two";
-- the views come back, each with its author
DROP EXTENSION eventmkt CASCADE;
DROP VIEW IF EXISTS eventmkt_bi.segment_foreign, eventmkt_bi.segment_germans, eventmkt_data.segment_query_1;
CREATE EXTENSION eventmkt;
SELECT count(*) > 0 AS init FROM eventmkt.init();
SELECT relname, relowner::regrole FROM pg_class WHERE relname LIKE 'segment\_%' AND relkind = 'v' ORDER BY 1;
SELECT * FROM eventmkt_bi."segment_also two";
SELECT eventmkt.drop_segment(s) FROM unnest('{also two,page two}'::text[]) s;
SELECT eventmkt.hide_property('View', 'page');
SELECT eventmkt.drop_rule('r') AS ended;
SELECT eventmkt.drop_segment(s) FROM unnest('{foreign,germans,seen}'::text[]) s;
SELECT relname FROM pg_class WHERE relname LIKE 'segment\_%' AND relkind = 'v';
SELECT eventmkt.revoke_access('segment_rights_marketer', 'marketer'), eventmkt.revoke_access('segment_rights_analyst', 'analyst');
DROP SCHEMA shop CASCADE;
DROP ROLE segment_rights_marketer, segment_rights_analyst, segment_rights_none;

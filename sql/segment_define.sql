-- create_segment, replace_segment, drop_segment: what they make, what they refuse, and what they show
\set QUIET on
SET client_min_messages = warning;
SELECT count(*) > 0 AS init FROM eventmkt.init();
CREATE FUNCTION public.caught(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
SELECT eventmkt.identify('ann', '{"tier": "gold", "age": 41}'), eventmkt.identify('bob', '{"tier": "blue"}');
SELECT eventmkt.track('cid', 'Seen') > 0 AS tracked;
\set QUIET off
-- a condition on traits; who has no row has no traits
SELECT eventmkt.create_segment('gold', where_profile => '$.tier == "gold"', comment => 'the best') > 0 AS made;
SELECT * FROM eventmkt_bi.segment_gold;
SELECT eventmkt.create_segment('not gold', where_profile => '!($.tier == "gold")') > 0 AS made;
SELECT * FROM eventmkt_bi."segment_not gold" ORDER BY 1;
SELECT obj_description('eventmkt_bi.segment_gold'::regclass), col_description('eventmkt_bi.segment_gold'::regclass, 1);
SELECT u, eventmkt.in_segment(u, 'gold') AS gold, eventmkt.in_segment(u, 'not gold') AS not_gold
  FROM unnest('{ann,bob,cid,nobody}'::text[]) u;
-- of segments
SELECT eventmkt.create_segment('both', all_of => '{gold,not gold}') > 0 AS made;
SELECT eventmkt.create_segment('either', any_of => '{gold,not gold}') > 0 AS made;
SELECT eventmkt.create_segment('rest', none_of => '{gold}') > 0 AS made;
SELECT (SELECT count(*) FROM eventmkt_bi.segment_both) AS both, (SELECT count(*) FROM eventmkt_bi.segment_either) AS either,
	(SELECT array_agg(profile_id ORDER BY 1) FROM eventmkt_bi.segment_rest) AS rest;
SELECT u, eventmkt.in_segment(u, 'both') AS both, eventmkt.in_segment(u, 'either') AS either, eventmkt.in_segment(u, 'rest') AS rest
  FROM unnest('{ann,bob,cid,nobody}'::text[]) u;
SELECT name, kind, definition, comment, used_by FROM eventmkt_bi.segments ORDER BY name;
-- replace: views and segments that use it see the new definition
SELECT eventmkt.replace_segment('gold', where_profile => '$.age > 40 || $.tier == "blue"') > 0 AS replaced;
SELECT * FROM eventmkt_bi.segment_gold ORDER BY 1;
SELECT * FROM eventmkt_bi.segment_rest ORDER BY 1;
SELECT u, eventmkt.in_segment(u, 'gold') AS gold, eventmkt.in_segment(u, 'rest') AS rest FROM unnest('{ann,bob,cid}'::text[]) u;
-- names
SELECT eventmkt.create_segment('a"b''c; DROP TABLE x --', where_profile => '$.x == "it''s \"q\""') > 0 AS made;
SELECT * FROM eventmkt_bi."segment_a""b'c; DROP TABLE x --";
SELECT eventmkt.create_segment('größe ☃', where_profile => '$.x == 1') > 0 AS made;
SELECT count(*) FROM eventmkt_bi."segment_größe ☃";
SELECT eventmkt.create_segment(repeat('x', 55), where_profile => '$.x == 1') > 0 AS made;
SELECT public.caught(format('SELECT eventmkt.create_segment(%L, where_profile => ''$.x == 1'')', n))
  FROM unnest(ARRAY[repeat('x', 56), '', '  ', E'a\nb', 'gold']) n;
SELECT public.caught('SELECT eventmkt.create_segment(NULL, where_profile => ''$.x == 1'')');
-- what makes no sense
SELECT a, public.caught('SELECT eventmkt.create_segment(''new'', ' || a || ')') FROM unnest(ARRAY[
	$$comment => 'nothing'$$, $$where_profile => '$.x'$$, $$where_profile => '$.x == $y'$$, $$on_event => ''$$,
	$$where_event => '$.x == 1'$$, $$at_least => 2$$, $$on_event => 'A', at_least => 0$$, $$on_event => 'A', within => '0'$$,
	$$on_event => 'A', within => '-1 day'$$, $$unless => '{A}', within => '1 day'$$, $$on_event => 'A', unless_within => '1 day'$$,
	$$steps => '{A}'$$, $$steps => '{A,NULL}'$$, $$on_event => 'A', on_days => '{0}'$$, $$on_event => 'A', per => ''$$,
	$$on_event => 'A', from_time => '09:00', to_time => '09:00'$$, $$on_event => 'A', from_time => '09:00', time_zone => 'Mars'$$,
	$$all_of => '{nowhere}'$$, $$all_of => '{gold}', on_event => 'A'$$, $$query => 'SELECT 1', where_profile => '$.x == 1'$$,
	$$query => 'SELECT ''ann'' AS profile_id'$$, $$unless => array_fill('A'::text, ARRAY[101])$$]) a;
SELECT public.caught($$SELECT eventmkt.replace_segment('new', where_profile => '$.x == 1')$$);
SELECT public.caught($$SELECT eventmkt.drop_segment('new')$$);
SELECT public.caught($$SELECT eventmkt.in_segment('ann', 'new')$$);
-- not of itself, and not dropped while it is used
SELECT public.caught($$SELECT eventmkt.replace_segment('gold', all_of => '{both}')$$);
SELECT public.caught($$SELECT eventmkt.replace_segment('gold', none_of => '{gold}')$$);
SELECT public.caught($$SELECT eventmkt.drop_segment('gold')$$);
SELECT eventmkt.create_rule('r', on_event => 'Seen', where_segment => 'both', send_to => 'none') AS rule;
SELECT public.caught($$SELECT eventmkt.drop_segment('both')$$);
SELECT used_by FROM eventmkt_bi.segments WHERE name = 'both';
SELECT eventmkt.drop_rule('r');
SELECT eventmkt.drop_segment(s) FROM unnest('{both,either,rest,gold}'::text[]) s;
SELECT name FROM eventmkt_bi.segments ORDER BY 1;
-- the views come back with a re-created extension
SELECT eventmkt.create_segment('seen', on_event => 'Seen', within => '1 day') > 0 AS made;
SELECT eventmkt.create_segment('seen rest', none_of => '{seen}') > 0 AS made;
SET client_min_messages = error;
DROP EXTENSION eventmkt CASCADE;
SELECT to_regclass('eventmkt_bi.segment_seen') AS gone;
CREATE EXTENSION eventmkt;
SELECT count(*) > 0 AS init FROM eventmkt.init();
SELECT * FROM eventmkt_bi.segment_seen;
SELECT * FROM eventmkt_bi."segment_seen rest" ORDER BY 1;
SELECT obj_description('eventmkt_bi.segment_seen'::regclass);

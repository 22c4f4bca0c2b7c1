-- live membership: entries and exits are events, once an edge; by events, traits, time, merges; filled without firing
\set QUIET on
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT count(*) > 0 AS init FROM eventmkt.init();
CREATE FUNCTION public.caught(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
CREATE VIEW public.told AS SELECT event_id, profile_id, name, properties ->> 'segment' AS segment, depth FROM eventmkt_data.event
	WHERE name LIKE 'Segment %';
-- history that was there before
SELECT count(eventmkt.track(u, 'Order Completed', '{"amount": 70}', eventmkt.clock() - interval '2 days')) FROM unnest('{ann,bob}'::text[]) u;
SELECT eventmkt.identify('gus', '{"tier": "gold"}');
\set QUIET off
SELECT eventmkt.create_segment('buyers', on_event => 'Order Completed', where_event => '$.amount >= 50', within => '7 days', track_membership => true) AS id;
SELECT eventmkt.create_segment('gold', where_profile => '$.tier == "gold"', track_membership => true) AS id;
SELECT eventmkt.create_segment('quiet', on_event => 'Seen', unless => '{Seen}', unless_within => '30 days', track_membership => true) AS id;
SELECT eventmkt.create_segment('gold buyers', all_of => '{gold,buyers}', track_membership => true) AS id;
SELECT eventmkt.create_rule('welcome', on_event => 'Segment Entered', where_event => '$.segment == "gold buyers"', send_to => 'none') AS rule;
SELECT eventmkt.create_rule('bye', on_event => 'Segment Exited', where_event => '$.segment == "gold buyers"', send_to => 'none') AS rule;
SELECT eventmkt.create_rule('all', on_event => '*', send_to => 'none') AS rule;
SELECT eventmkt.create_rule('come back', on_event => 'Segment Entered', where_event => '$.segment == "quiet"', send_to => 'none') AS rule;
-- filled, and nobody is told
SELECT name, members, tracked, tracked_since IS NULL AS unknown, filling FROM eventmkt_bi.segments ORDER BY name;
SELECT public.caught($$SELECT * FROM eventmkt.segment_members_on('gold', eventmkt.clock())$$);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT name, members, tracked, tracked_since IS NULL AS unknown, filling, filled FROM eventmkt_bi.segments ORDER BY name;
SELECT segment, profile_id FROM eventmkt_bi.members ORDER BY 1, 2;
SELECT * FROM public.told;
-- what concerns no segment leaves nothing; what can change nothing changes nothing
SELECT eventmkt.track('ann', 'Page Viewed') > 0, eventmkt.track('ann', 'Order Completed', '{"amount": 10}') > 0;
SELECT count(*) FROM eventmkt_data.segment_work;
SELECT eventmkt.track('ann', 'Order Completed', '{"amount": 60}') > 0 AS again;
SELECT profile_id, kind, quiet, depth FROM eventmkt_data.segment_work;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.told;
-- a trait, an order: an edge each
SELECT eventmkt.identify('ann', '{"tier": "gold", "age": 20}');
SELECT eventmkt.track('gus', 'Order Completed', '{"amount": 50}') > 0 AS tracked;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT profile_id, name, segment, depth FROM public.told ORDER BY event_id;
SELECT eventmkt.identify('ann', '{"tier": "gold", "age": 21}');
SELECT eventmkt.track('gus', 'Order Completed', '{"amount": 51}') > 0 AS tracked;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT count(*) FROM public.told;
-- time alone: bob's order leaves the window, then ann's and gus's; and with the window ends what is made of it
SELECT eventmkt.advance_clock('5 days') > '2000-01-01' AS moved;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT profile_id, name, segment, depth FROM public.told ORDER BY event_id OFFSET 4;
SELECT eventmkt.advance_clock('2 days') > '2000-01-01' AS moved;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT profile_id, name, segment FROM public.told ORDER BY event_id OFFSET 5;
-- no event at all for 30 days: one firing a lapse (S10)
SELECT eventmkt.track('ida', 'Seen') > 0 AS seen;
SELECT eventmkt.run_due() > 0 AS ran, eventmkt.advance_clock('29 days 23 hours') > '2000-01-01' AS moved;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT count(*) FROM public.told WHERE segment = 'quiet';
SELECT eventmkt.advance_clock('1 hour') > '2000-01-01' AS moved;
SELECT eventmkt.run_due() > 0 AS ran, eventmkt.run_due() AS again;
SELECT eventmkt.advance_clock('60 days') > '2000-01-01' AS moved;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT eventmkt.track('ida', 'Seen') > 0 AS seen;
SELECT eventmkt.run_due() > 0 AS ran, eventmkt.advance_clock('31 days') > '2000-01-01' AS moved;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT profile_id, name FROM public.told WHERE segment = 'quiet' ORDER BY event_id;
-- rules start on them when they name them, never by *
SELECT rule, profile_id, outcome FROM eventmkt_data.decision WHERE rule <> 'all' ORDER BY decision_id;
SELECT count(*) FROM eventmkt_data.decision d JOIN eventmkt_data.event e USING (event_id) WHERE rule = 'all' AND e.depth > 0;
-- who was in it, and how many
SELECT m.profile_id FROM eventmkt_data.segment_state x, eventmkt.segment_members_on('buyers', x.tracked_since) m (profile_id)
 WHERE x.segment_id = 1 ORDER BY 1;
SELECT m.profile_id FROM eventmkt_data.segment_state x, eventmkt.segment_members_on('buyers', x.tracked_since + interval '6 days') m (profile_id)
 WHERE x.segment_id = 1 ORDER BY 1;
SELECT count(*) FROM eventmkt.segment_members_on('buyers', eventmkt.clock());
SELECT public.caught($$SELECT * FROM eventmkt.segment_members_on('buyers', '2000-01-01')$$) ~ '^22023 the members of segment "buyers" are not known';
SELECT segment, profile_id, left_at - entered_at > '1 day' AS stayed FROM eventmkt_bi.membership_history WHERE segment = 'buyers' ORDER BY 2, entered_at;
SELECT segment, members FROM eventmkt_bi.membership_sizes WHERE segment = 'buyers' ORDER BY at;
-- history loaded without firing: in, and nobody is told
SELECT count(*) AS told FROM public.told \gset
SET eventmkt.fire = off;
SELECT eventmkt.track('hal', 'Order Completed', '{"amount": 99}', eventmkt.clock() - interval '1 day') > 0 AS loaded;
SELECT eventmkt.identify('hal', '{"tier": "gold"}');
RESET eventmkt.fire;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT segment FROM eventmkt_bi.members WHERE profile_id = 'hal' ORDER BY 1;
-- merges: the two count as one, who is in if either was; an undone merge is no news
SELECT eventmkt.track(NULL, 'Order Completed', '{"amount": 90}', anonymous_id => 'phone') > 0 AS tracked;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT profile_id, name, segment FROM public.told ORDER BY event_id OFFSET :told;
SELECT eventmkt.identify('kim', '{}', 'phone');
SELECT eventmkt.run_due() > 0 AS ran;
SELECT profile_id FROM eventmkt_bi.members WHERE segment = 'buyers' ORDER BY 1;
SELECT eventmkt.identify('kim', '{"tier": "gold"}');
SELECT eventmkt.run_due() > 0 AS ran;
SELECT profile_id, name, segment FROM public.told ORDER BY event_id OFFSET :told + 1;
SELECT eventmkt.undo_merge(merge_id) FROM eventmkt_data.merge_log;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT profile_id, segment FROM eventmkt_bi.members WHERE profile_id IN ('kim', 'phone') ORDER BY 1, 2;
SELECT count(*) - :told AS told FROM public.told;
-- two halves of an order: together they are news
SELECT eventmkt.replace_segment('gold buyers', on_event => 'Order Completed', at_least => 2, within => '7 days') AS id;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT count(*) - :told AS told FROM public.told;
SELECT eventmkt.track(NULL, 'Order Completed', '{}', anonymous_id => 'tab') > 0, eventmkt.track('leo', 'Order Completed') > 0;
SELECT eventmkt.run_due() > 0 AS ran, eventmkt.identify('leo', '{}', 'tab');
SELECT eventmkt.run_due() > 0 AS ran;
SELECT profile_id, name, segment FROM public.told ORDER BY event_id DESC LIMIT 1;
-- an edited definition asks everybody again and fires nothing; what was not said stays
SELECT count(*) AS told FROM public.told \gset
SELECT eventmkt.replace_segment('gold', where_profile => '$.tier == "gold" || $.age > 5') AS id;
SELECT eventmkt.identify('mia', '{"age": 9}');
SELECT eventmkt.run_due() > 0 AS ran;
SELECT profile_id FROM eventmkt_bi.members WHERE segment = 'gold' EXCEPT SELECT profile_id FROM eventmkt_bi.segment_gold;
SELECT members, tracked, filling FROM eventmkt_bi.segments WHERE name = 'gold';
SELECT count(*) - :told AS told FROM public.told;
-- tables changed by hand are seen when asked
DELETE FROM eventmkt_data.event WHERE profile_id = 'hal';
SELECT eventmkt.run_due() AS ran;
SELECT count(*) AS members FROM eventmkt_bi.members WHERE profile_id = 'hal' AND segment = 'buyers';
SELECT eventmkt.refresh_segment('buyers');
SELECT eventmkt.run_due() > 0 AS ran;
SELECT count(*) AS members FROM eventmkt_bi.members WHERE profile_id = 'hal' AND segment = 'buyers';
-- and health() counts them
SELECT "check", state, detail FROM eventmkt.health() WHERE "check" = 'segments';
-- a query cannot be tracked, nor what is made of one
CREATE ROLE segment_live_author;
SELECT eventmkt.grant_access('segment_live_author', 'marketer');
SET ROLE segment_live_author;
SELECT eventmkt.create_segment('sql', query => 'SELECT profile_id FROM eventmkt_bi.segment_gold') > 0 AS made;
SELECT public.caught(s) FROM unnest(ARRAY[$$SELECT eventmkt.track_segment('sql')$$,
	$$SELECT eventmkt.create_segment('sql 2', query => 'SELECT profile_id FROM eventmkt_bi.segment_gold', track_membership => true)$$,
	$$SELECT eventmkt.create_segment('of sql', all_of => '{sql}', track_membership => true)$$,
	$$SELECT eventmkt.replace_segment('gold buyers', all_of => '{sql}')$$, $$SELECT eventmkt.track_segment('nowhere')$$,
	$$SELECT eventmkt.refresh_segment('sql')$$, $$SELECT eventmkt.segment_members_on('sql', now())$$]) s;
RESET ROLE;
-- an end: members and history are forgotten, the view stays
SELECT eventmkt.untrack_segment('gold'), eventmkt.untrack_segment('gold');
SELECT tracked, members, tracked_since FROM eventmkt_bi.segments WHERE name = 'gold';
SELECT count(*) > 0 AS stays FROM eventmkt_bi.segment_gold;
SELECT eventmkt.drop_segment('quiet');
SELECT segment_id, count(*) FROM eventmkt_data.membership GROUP BY 1 UNION SELECT segment_id, 0 FROM eventmkt_data.segment_timer WHERE segment_id = 3 ORDER BY 1;
-- a chain of segments that know of each other ends
SELECT eventmkt.create_segment('in 0', on_event => 'Go', track_membership => true) > 0 AS made;
SELECT count(eventmkt.create_segment('in ' || i, on_event => 'Segment Entered', where_event => format('$.segment == "in %s"', i - 1)::jsonpath,
	track_membership => true)) FROM generate_series(1, 12) i;
SELECT eventmkt.run_due() > 0 AS ran, eventmkt.track('max', 'Go') > 0 AS gone;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT segment, depth FROM public.told WHERE profile_id = 'max' ORDER BY event_id;
SELECT max(segment) FROM eventmkt_bi.members WHERE profile_id = 'max';
-- the matcher knows again after the extension was made again
SET client_min_messages = error;
SELECT name, rule_id FROM eventmkt_data.rule_event WHERE rule_id < 0 AND name NOT LIKE 'Segment%' ORDER BY 1, 2;
DROP EXTENSION eventmkt CASCADE;
DELETE FROM eventmkt_data.rule_event;
CREATE EXTENSION eventmkt;
SELECT count(*) > 0 AS init FROM eventmkt.init();
SELECT name, rule_id FROM eventmkt_data.rule_event WHERE rule_id < 0 AND name NOT LIKE 'Segment%' ORDER BY 1, 2;
SELECT eventmkt.track('ned', 'Order Completed', '{"amount": 50}') > 0 AS tracked, eventmkt.run_due() > 0 AS ran;
SELECT count(*) AS members FROM eventmkt_bi.members WHERE profile_id = 'ned';

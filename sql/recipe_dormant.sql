-- dormant: no event of any kind for 30 days, one message a lapse
\set QUIET on
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
SELECT eventmkt.create_endpoint('email', 'https://hooks.example.com/') <> '' AS endpoint;
SET eventmkt.allow_clock_with_remote_endpoints = on;
\set ECHO none
\o /dev/null
\i contrib/recipes.sql
\o
\set ECHO all
-- only this recipe, so that the others do not add to the picture
SELECT count(eventmkt.disable_rule(rule)) AS disabled FROM eventmkt_bi.rules WHERE rule <> ALL ('{dormant}');
CREATE FUNCTION pg_temp.sent() RETURNS TABLE (rule text, person text, key text, message text) BEGIN ATOMIC
	SELECT d.rule, d.profile_id, d.key, 'event ' || (e.properties ->> 'n') FROM eventmkt_data.delivery d
	  JOIN eventmkt_data.event e USING (event_id) ORDER BY 1, 2, 3, 4;
END;
CREATE FUNCTION pg_temp.why() RETURNS TABLE (rule text, person text, key text, outcome text, reason text) BEGIN ATOMIC
	SELECT d.rule, d.profile_id, d.key, d.outcome, d.reason FROM eventmkt_data.decision d ORDER BY 1, 2, 3, decision_id;
END;
CREATE FUNCTION pg_temp.pass(by interval DEFAULT '0') RETURNS bigint LANGUAGE sql AS $$
	SELECT eventmkt.advance_clock(by); SELECT eventmkt.run_due(); SELECT count(*) FROM eventmkt_data.pending_trigger $$;
\set QUIET off
SELECT eventmkt.track(p, 'Visit', '{"n": 1}') > 0 AS tracked FROM unnest('{ann,bob}'::text[]) p;
SELECT pg_temp.pass('29 days') AS live;
-- bob does something else a day before
SELECT eventmkt.track('bob', 'Search', '{"n": 2}') > 0 AS twin;
SELECT pg_temp.pass('23 hours 59 minutes') AS live;
SELECT * FROM pg_temp.sent();
SELECT pg_temp.pass('1 minute') AS live;
SELECT * FROM pg_temp.sent();
-- nothing more for ann however long she stays away; bob is due 30 days after his search
SELECT pg_temp.pass('28 days 23 hours') AS live;
SELECT * FROM pg_temp.sent();
SELECT pg_temp.pass('1 hour') AS live;
SELECT * FROM pg_temp.sent();
-- ann is back, and away again: a new lapse
SELECT eventmkt.track('ann', 'Visit', '{"n": 3}') > 0 AS tracked;
SELECT pg_temp.pass('30 days') AS live;
SELECT * FROM pg_temp.sent();

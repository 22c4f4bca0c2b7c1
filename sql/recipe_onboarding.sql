-- on-boarding without a sign-up is reminded after 24 hours; one that led to a sign-up is congratulated
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
-- only this recipes, so that the others do not add to the picture
SELECT count(eventmkt.disable_rule(rule)) AS disabled FROM eventmkt_bi.rules WHERE rule <> ALL ('{onboarding_reminder,onboarding_congratulation}');
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
SELECT eventmkt.track(p, 'Onboarding Started', '{"n": 1}') > 0 AS tracked FROM unnest('{ann,bob,cid}'::text[]) p;
SELECT eventmkt.track(NULL, 'Onboarding Started', '{"n": 1}', anonymous_id => 'anon-1') > 0 AS tracked;
SELECT pg_temp.pass('23 hours 58 minutes') AS live;
-- bob signs up himself, cid from the on-boarding, anon-1 turns out to be dan
SELECT eventmkt.track('bob', 'Signed Up', '{"n": 2, "source": "shop"}') > 0 AS twin;
SELECT eventmkt.track('cid', 'Signed Up', '{"n": 2, "source": "onboarding"}') > 0 AS twin;
SELECT eventmkt.track('dan', 'Signed Up', '{"n": 2}') > 0 AS twin;
SELECT eventmkt.identify('dan', anonymous_id => 'anon-1');
SELECT pg_temp.pass('30 seconds') AS live;
SELECT * FROM pg_temp.sent();
SELECT pg_temp.pass('90 seconds') AS live;
SELECT * FROM pg_temp.sent();
SELECT * FROM pg_temp.why();

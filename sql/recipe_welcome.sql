-- the welcome: at once, once in a lifetime
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
SELECT count(eventmkt.disable_rule(rule)) AS disabled FROM eventmkt_bi.rules WHERE rule <> ALL ('{welcome}');
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
SELECT eventmkt.track('ann', 'Signed Up', '{"n": 1}') > 0 AS tracked;
SELECT eventmkt.track('bob', 'Logged In', '{"n": 2}') > 0 AS twin;
SELECT pg_temp.pass() AS live;
SELECT * FROM pg_temp.sent();
-- delivered; the app reports it once more a year later
UPDATE eventmkt_data.delivery SET status = 'delivered', settled_at = eventmkt.clock();
SELECT pg_temp.pass('365 days') AS live;
SELECT eventmkt.track('ann', 'Signed Up', '{"n": 3}') > 0 AS twin;
SELECT pg_temp.pass() AS live;
SELECT * FROM pg_temp.sent();
SELECT * FROM pg_temp.why();

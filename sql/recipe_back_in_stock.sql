-- back-in-stock sign-ups are collected, each with its product, and nothing is sent
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
SELECT count(eventmkt.disable_rule(rule)) AS disabled FROM eventmkt_bi.rules WHERE rule <> ALL ('{back_in_stock_signup}');
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
SELECT eventmkt.track('ann', 'Back In Stock Requested', '{"n": 1, "product_id": "p1"}') > 0 AS tracked;
SELECT eventmkt.track('ann', 'Back In Stock Requested', '{"n": 2, "product_id": "p2"}') > 0 AS tracked;
-- twins: a double click; withdrawn; another product withdrawn; no product
SELECT eventmkt.track('bob', 'Back In Stock Requested', '{"n": 1, "product_id": "p1"}') > 0 AS tracked;
SELECT eventmkt.track('bob', 'Back In Stock Requested', '{"n": 2, "product_id": "p1"}') > 0 AS twin;
SELECT eventmkt.track('cid', 'Back In Stock Requested', '{"n": 1, "product_id": "p1"}') > 0 AS tracked;
SELECT eventmkt.track('cid', 'Back In Stock Withdrawn', '{"n": 2, "product_id": "p1"}') > 0 AS twin;
SELECT eventmkt.track('dan', 'Back In Stock Requested', '{"n": 1, "product_id": "p1"}') > 0 AS tracked;
SELECT eventmkt.track('dan', 'Back In Stock Withdrawn', '{"n": 2, "product_id": "p9"}') > 0 AS tracked;
SELECT eventmkt.track('eve', 'Back In Stock Requested', '{"n": 1}') > 0 AS twin;
SELECT pg_temp.pass('5 minutes') AS live;
SELECT * FROM pg_temp.sent();
SELECT * FROM pg_temp.why();
-- the audience of p1
SELECT profile_id FROM eventmkt_data.decision WHERE rule = 'back_in_stock_signup' AND key = 'p1' AND outcome = 'recorded' ORDER BY 1;

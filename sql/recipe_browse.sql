-- browse abandonment: looked, put nothing in the cart, bought nothing for two hours
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
SELECT count(eventmkt.disable_rule(rule)) AS disabled FROM eventmkt_bi.rules WHERE rule <> ALL ('{browse_abandoned}');
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
SELECT eventmkt.track(p, 'Product Viewed', '{"n": 1, "product_id": "p1"}') > 0 AS tracked FROM unnest('{ann,bob,cid}'::text[]) p;
SELECT pg_temp.pass('1 hour') AS live;
SELECT eventmkt.track('ann', 'Product Viewed', '{"n": 2, "product_id": "p2"}') > 0 AS tracked;
SELECT eventmkt.track('bob', 'Product Added', '{"n": 2, "product_id": "p1"}') > 0 AS twin;
SELECT eventmkt.track('cid', 'Order Completed', '{"n": 2}') > 0 AS twin;
SELECT pg_temp.pass('1 hour') AS live;
SELECT * FROM pg_temp.sent();
SELECT pg_temp.pass('1 hour') AS live;
SELECT * FROM pg_temp.sent();
-- delivered; another look the same day is too soon, one a day later is not
UPDATE eventmkt_data.delivery SET status = 'delivered', settled_at = eventmkt.clock();
SELECT eventmkt.track('ann', 'Product Viewed', '{"n": 3, "product_id": "p2"}') > 0 AS twin;
SELECT pg_temp.pass('2 hours') AS live;
SELECT pg_temp.pass('22 hours') AS live;
SELECT eventmkt.track('ann', 'Product Viewed', '{"n": 4, "product_id": "p2"}') > 0 AS tracked;
SELECT pg_temp.pass('2 hours') AS live;
SELECT * FROM pg_temp.sent();
SELECT * FROM pg_temp.why();

-- a cart left for 24 hours without an order, and the confirmation of an order
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
SELECT count(eventmkt.disable_rule(rule)) AS disabled FROM eventmkt_bi.rules WHERE rule <> ALL ('{cart_abandoned,order_confirmation}');
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
SELECT eventmkt.track(p, 'Product Added', '{"n": 1, "cart_id": "c1"}') > 0 AS tracked FROM unnest('{ann,bob,cid,dan}'::text[]) p;
SELECT eventmkt.track('ann', 'Product Added', '{"n": 1, "cart_id": "c2"}') > 0 AS tracked;
SELECT pg_temp.pass('23 hours') AS live;
-- ann changes c1; bob orders c1; cid orders another cart; dan orders without saying which; all in the last hour
SELECT eventmkt.track('ann', 'Product Added', '{"n": 2, "cart_id": "c1"}') > 0 AS tracked;
SELECT eventmkt.track('bob', 'Order Completed', '{"n": 2, "cart_id": "c1", "order_id": "o1"}') > 0 AS twin;
SELECT eventmkt.track('cid', 'Order Completed', '{"n": 2, "cart_id": "c9", "order_id": "o2"}') > 0 AS tracked;
SELECT eventmkt.track('dan', 'Order Completed', '{"n": 2, "order_id": "o3"}') > 0 AS twin;
SELECT pg_temp.pass() AS live;
SELECT * FROM pg_temp.sent();
SELECT pg_temp.pass('1 hour') AS live;
SELECT * FROM pg_temp.sent();
SELECT pg_temp.pass('23 hours') AS live;
SELECT * FROM pg_temp.sent();
SELECT * FROM pg_temp.why();

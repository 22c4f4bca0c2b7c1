-- a message that was delivered stays delivered for why_not(), whatever cancels it afterwards
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
SET eventmkt.allow_plain_http = on;
SET eventmkt.allowed_networks = '127.0.0.0/8';
SELECT eventmkt.create_endpoint('hooks', 'http://127.0.0.1:9999/') IS NOT NULL AS made;
SELECT eventmkt.create_rule('cart', on_event => 'Cart', per => 'id', unless => '{Order}') > 0 AS made;
SELECT eventmkt.track('u', 'Cart', '{"id": 1}') IS NOT NULL AS x;
SELECT eventmkt.run_due() AS rows;
-- the worker's part: sent, and answered with 200
UPDATE eventmkt_data.delivery SET status = 'delivered', settled_at = eventmkt.clock(), attempts = 1;
INSERT INTO eventmkt_data.decision (decision_id, run_id, rule_id, rule, rule_version, profile_id, key, outcome, delivery_id, event_id, started_at, due_at, decided_at)
	SELECT -1, run_id, rule_id, rule, rule_version, profile_id, key, 'delivered', id, event_id, started_at, due_at, settled_at FROM eventmkt_data.delivery;
SELECT outcome, reason FROM eventmkt.why_not('u', 'cart') WHERE step = 'answer';
SELECT eventmkt.track('u', 'Order', '{"id": 1}') IS NOT NULL AS x;
SELECT eventmkt.run_due() AS rows;
SELECT outcome, reason FROM eventmkt_data.decision ORDER BY decided_at, decision_id;
SELECT outcome, reason FROM eventmkt.why_not('u', 'cart') WHERE step = 'answer';
SELECT outcome, reason FROM eventmkt.why_not('u', 'cart') WHERE step = 'decision';
-- another cart that is new is news again
SELECT eventmkt.track('u', 'Cart', '{"id": 2}') IS NOT NULL AS x;
SELECT outcome FROM eventmkt.why_not('u', 'cart') WHERE step = 'answer';

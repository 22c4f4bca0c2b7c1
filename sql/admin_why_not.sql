-- why_not(): every reason for a message that did not come, with the event and the values (S19)
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
RESET client_min_messages;
CREATE FUNCTION pg_temp.why(person text, rule text) RETURNS TABLE (step text, outcome text, reason text, event_id bigint)
BEGIN ATOMIC
	SELECT w.step, w.outcome, regexp_replace(w.reason, '\d{4}-\d\d-\d\d [0-9:.]+\S*|\w{3} \w{3} \d\d [0-9:.]+ \d{4} \w+', '<time>', 'g'), w.event_id
	  FROM eventmkt.why_not(person, rule) w WHERE w.outcome NOT IN ('ok', 'enabled') OR w.step = 'answer';
END;
CREATE PROCEDURE pg_temp.event(id bigint, who text, what text, props jsonb, ago interval DEFAULT '0') LANGUAGE sql AS $$
	INSERT INTO eventmkt_data.event (event_id, profile_id, name, properties, occurred_at, received_at, depth)
	VALUES (id, who, what, props, eventmkt.clock() - ago, eventmkt.clock(), 0);
$$;
SELECT eventmkt.create_rule('cart', on_event => 'Product Added', where_event => '$.amount >= 50 && $.currency == "EUR"',
	where_profile => '$.tier == "gold"', per => 'cart_id', unless => '{Order Completed}', unless_where => '$.total > 0',
	look_back => '10 minutes', after => '1 day', reentry => '7 days', send_to => 'none') > 0 AS made;
-- nobody of that name; somebody who does other things
SELECT * FROM pg_temp.why('nobody', 'cart');
CALL pg_temp.event(1, 'ann', 'Visit', '{}');
SELECT * FROM pg_temp.why('ann', 'cart');
SELECT detail FROM eventmkt.why_not('ann', 'cart') WHERE step = 'event';
-- the condition, term by term
CALL pg_temp.event(2, 'ann', 'Product Added', '{"amount": 40, "currency": "USD", "cart_id": "c1"}', '4 minutes');
CALL pg_temp.event(3, 'ann', 'Product Added', '{"amount": "60", "currency": "EUR", "cart_id": "c1"}', '3 minutes');
CALL pg_temp.event(4, 'ann', 'Product Added', '{"currency": "EUR"}', '2 minutes');
CALL pg_temp.event(5, 'ann', 'Product Added', '{"amount": [10, 20], "currency": null, "cart_id": "c1"}', '1 minute');
SELECT * FROM pg_temp.why('ann', 'cart');
SELECT event_id, jsonb_pretty(detail -> 'terms') FROM eventmkt.why_not('ann', 'cart') WHERE event_id = 2 AND step = 'event';
-- the key
CALL pg_temp.event(6, 'bob', 'Product Added', '{"amount": 70, "currency": "EUR", "cart_id": null}');
SELECT * FROM pg_temp.why('bob', 'cart');
-- the audience
CALL pg_temp.event(7, 'cid', 'Product Added', '{"amount": 70, "currency": "EUR", "cart_id": "c7"}', '5 minutes');
SELECT * FROM pg_temp.why('cid', 'cart');
INSERT INTO eventmkt_data.profile (profile_id, traits, created_at, updated_at) VALUES ('cid', '{"tier": "silver"}', eventmkt.clock(), eventmkt.clock());
SELECT * FROM pg_temp.why('cid', 'cart');
UPDATE eventmkt_data.profile SET traits = '{"tier": "gold"}';
SELECT * FROM pg_temp.why('cid', 'cart');
-- cancelled: not by another cart, nor by an order of nothing; by one within the look-back, by one without a key
CALL pg_temp.event(8, 'cid', 'Order Completed', '{"total": 9, "cart_id": "c8"}', '4 minutes');
CALL pg_temp.event(9, 'cid', 'Order Completed', '{"total": 0, "cart_id": "c7"}', '4 minutes');
SELECT * FROM pg_temp.why('cid', 'cart');
CALL pg_temp.event(10, 'cid', 'Order Completed', '{"total": 9}', '1 minute');
SELECT * FROM pg_temp.why('cid', 'cart');
CALL pg_temp.event(11, 'cid', 'Order Completed', '{"total": 9, "cart_id": "c7"}', '14 minutes');
SELECT * FROM pg_temp.why('cid', 'cart');
-- a work row, a live run, an open delivery, decisions
INSERT INTO eventmkt_data.work SELECT 0, 'e', 7, 'cid', eventmkt.clock(), ARRAY[rule_id] FROM eventmkt_data.rule;
SELECT * FROM pg_temp.why('cid', 'cart');
TRUNCATE eventmkt_data.work;
INSERT INTO eventmkt_data.pending_trigger (run_id, node, rule_id, rule_version, profile_id, key, slot, state, started_at, event_id, event_name, event_at,
	properties, last_at, due_at, wake_at, received_at, created_at, depth)
	SELECT 1, 0, rule_id, 1, 'cid', 'c7', 0, 'waiting', c, 7, 'Product Added', c, '{}', c, c + '1 day', c + '1 day', c, c, 0
	  FROM eventmkt_data.rule, eventmkt.clock() c;
SELECT * FROM pg_temp.why('cid', 'cart');
SELECT eventmkt.disable_rule('cart');
UPDATE eventmkt_data.pending_trigger SET state = 'held', wake_at = 'infinity';
SELECT * FROM pg_temp.why('cid', 'cart');
SELECT eventmkt.enable_rule('cart');
SELECT state, wake_at = due_at AS again FROM eventmkt_data.pending_trigger;
SELECT eventmkt.drop_rule('cart');
SELECT * FROM pg_temp.why('cid', 'cart');
SELECT rule, profile_id, key, outcome, reason, event_id FROM eventmkt_data.decision;
-- counts
SELECT eventmkt.create_rule('scarce', on_event => 'Viewed', at_least => 3, within => '7 days', per => 'sku', send_to => 'none') > 0 AS made;
CALL pg_temp.event(20, 'dan', 'Viewed', '{"sku": "a"}', '8 days');
CALL pg_temp.event(21, 'dan', 'Viewed', '{"sku": "a"}', '6 days');
CALL pg_temp.event(22, 'dan', 'Viewed', '{"sku": "b"}', '5 days');
CALL pg_temp.event(23, 'dan', 'Viewed', '{"sku": "a"}', '4 days');
SELECT * FROM pg_temp.why('dan', 'scarce');
-- by an alias, and for a cold condition that raises
INSERT INTO eventmkt_data.alias VALUES ('anon-1', 'dan', eventmkt.clock());
SELECT step, outcome, detail FROM eventmkt.why_not('anon-1', 'scarce') WHERE step = 'profile';
SET client_min_messages = warning;
SELECT eventmkt.create_rule('cold', on_event => 'Dated', where_event => '$.day.datetime() < "2026-01-01T00:00:00Z".datetime()', send_to => 'none') > 0 AS made;
CALL pg_temp.event(30, 'eve', 'Dated', '{"day": "2026-02-30"}');
SELECT * FROM pg_temp.why('eve', 'cold') WHERE step = 'answer';
-- of a version that was made after the event came, and of a rule that was disabled before the worker looked at it
SELECT eventmkt.create_rule('edited', on_event => 'Edited', where_event => '$.a == 1', send_to => 'none') > 0 AS made;
SELECT eventmkt.track('fay', 'Edited', '{"a": 2}') IS NOT NULL AS tracked, eventmkt.run_due() >= 0 AS ran;
SELECT eventmkt.replace_rule('edited', on_event => 'Edited', send_to => 'none') > 0 AS edited;
SELECT step, outcome, reason FROM eventmkt.why_not('fay', 'edited') WHERE step IN ('answer', 'event');
SELECT eventmkt.track('gil', 'Edited') IS NOT NULL AS tracked;
SELECT eventmkt.disable_rule('edited');
SELECT eventmkt.run_due() >= 0 AS ran;
SELECT eventmkt.enable_rule('edited');
SELECT step, outcome, reason FROM eventmkt.why_not('gil', 'edited') WHERE step IN ('answer', 'event');
-- keys that are none
SELECT eventmkt.track('hal', 'Viewed', '{"sku": {"a": 1}}') IS NOT NULL AS tracked, eventmkt.run_due() >= 0 AS ran;
SELECT reason, facts FROM eventmkt_data.decision WHERE profile_id = 'hal';
-- a message on its way: the try on the wire is counted, its error is not known yet
SET eventmkt.allow_plain_http = on;
SET eventmkt.allowed_networks = '127.0.0.0/8';
SELECT eventmkt.create_endpoint('hook', 'http://127.0.0.1:9999/') LIKE 'whsec_%' AS made;
SELECT eventmkt.create_rule('sent', on_event => 'Sent', send_to => 'hook') > 0 AS made;
SELECT eventmkt.track('ida', 'Sent') IS NOT NULL AS tracked, eventmkt.run_due() >= 0 AS ran;
SELECT outcome, reason FROM eventmkt.why_not('ida', 'sent') WHERE step = 'delivery';
UPDATE eventmkt_data.delivery SET status = 'in_flight', attempts = 1, lease = 1;
SELECT outcome, reason FROM eventmkt.why_not('ida', 'sent') WHERE step = 'delivery';
UPDATE eventmkt_data.delivery SET status = 'retrying', lease = NULL, last_error = 'status 503';
SELECT outcome, reason FROM eventmkt.why_not('ida', 'sent') WHERE step = 'delivery';
UPDATE eventmkt_data.delivery SET status = 'in_flight', attempts = 2, lease = 1;
SELECT outcome, reason FROM eventmkt.why_not('ida', 'sent') WHERE step = 'delivery';
-- somebody who was erased
SELECT count(*) > 0 AS erased FROM eventmkt.erase('bob');
SELECT * FROM pg_temp.why('bob', 'cold') WHERE step IN ('answer', 'profile');
-- an unknown rule, and nothing
SELECT * FROM eventmkt.why_not('ann', 'scarse');
SELECT * FROM eventmkt.why_not(NULL, 'scarce');
SELECT * FROM eventmkt.why_not('ann', NULL);
-- it only reads
BEGIN READ ONLY;
SELECT count(*) > 0 AS answered FROM eventmkt.why_not('dan', 'scarce');
SELECT * FROM eventmkt.why_not('dan', 'scarse');
ROLLBACK;

-- a cancelling event counts however many others that do not cancel lie before it
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
SELECT eventmkt.create_rule('cart', on_event => 'Product Added', per => 'cart_id', unless => '{Order Completed}', after => '1 hour',
	send_to => 'none') > 0 AS made;
RESET client_min_messages;
SELECT eventmkt.track('u', 'Product Added', '{"cart_id": "mine"}') > 0 AS ok;
SELECT eventmkt.track('u', 'Product Added', '{"cart_id": "other"}') > 0 AS ok;
SELECT eventmkt.run_due();
-- known to the gate only: they left no work
SET eventmkt.fire = off;
SELECT eventmkt.track_many(jsonb_agg(jsonb_build_object('user_id', 'u', 'event', 'Order Completed',
	'properties', jsonb_build_object('cart_id', CASE WHEN i = 1500 THEN 'mine' ELSE 'c' || i END)) ORDER BY i))
	FROM generate_series(1, 3000) i;
RESET eventmkt.fire;
SELECT eventmkt.advance_clock('2 hours') > now() AS moved;
SELECT count(eventmkt.run_due()) AS ran;
SELECT key, outcome, reason FROM eventmkt_data.decision ORDER BY key;

-- test/upgrade/fill.sql: a shop's data, for the frozen dumps of this folder (see test/tap/114_update.pl). Variables: segments, live, goals = 1
-- where the version has them. Run after CREATE EXTENSION and init() as superuser, with the worker stopped.
SET client_min_messages = warning;
CREATE ROLE upgrade_app;
CREATE ROLE upgrade_boss;
CREATE ROLE upgrade_eyes;
SELECT eventmkt.grant_access('upgrade_app', 'tracker'), eventmkt.grant_access('upgrade_boss', 'operator'),
	eventmkt.grant_access('upgrade_eyes', 'analyst');
INSERT INTO eventmkt_data.endpoint (name, url, schedule, created_at) VALUES ('mail', 'http://127.0.0.1:1/', '{5}', '2026-01-01'),
	('push', 'http://127.0.0.1:1/', '{5}', '2026-01-01');
SELECT eventmkt.make_partitions('2026-08-03', '2026-08-16');
SELECT eventmkt.create_rule('thanks', on_event => 'Order Completed', send_to => 'mail');
SELECT eventmkt.create_rule('cart', on_event => 'Product Added', where_event => '$.amount >= 50', per => 'cart_id',
	unless => '{Order Completed}', after => '24 hours', max_lateness => '3000 days', send_to => 'mail');
SELECT eventmkt.create_rule('viewed', on_event => 'Product Viewed', where_profile => '$.tier == "gold"', at_least => 3, within => '7 days',
	per => 'product_id', send_to => 'none');
SELECT eventmkt.create_rule('old', on_event => 'Gone', send_to => 'push');
SELECT eventmkt.replace_rule('old', on_event => 'Gone', where_event => '$.x == 1', send_to => 'push');
SELECT eventmkt.disable_rule('old');
SET eventmkt.fire = off;
SELECT count(eventmkt.track('u' || i % 50, (ARRAY['Product Viewed', 'Product Added', 'Order Completed'])[1 + i % 3],
	jsonb_build_object('amount', i, 'cart_id', i % 7, 'product_id', i % 5), '2026-08-03'::timestamptz + i * interval '30 minutes', 'h' || i)) FROM generate_series(1, 600) i;
RESET eventmkt.fire;
SELECT count(eventmkt.identify('u' || i, jsonb_build_object('tier', CASE WHEN i % 2 = 0 THEN 'gold' ELSE 'blue' END, 'n', i))) FROM generate_series(0, 49) i;
SELECT count(eventmkt.identify('u' || i, '{"tier": "red"}')) FROM generate_series(0, 9) i;
SELECT eventmkt.track(NULL, 'Product Viewed', '{"product_id": 1}', anonymous_id => 'anon1');
SELECT eventmkt.identify('u1', '{"mail": "u1@shop.example"}', 'anon1');
SELECT count(eventmkt.track('u' || i, 'Order Completed', jsonb_build_object('order_id', i, 'total', 10 * i))) FROM generate_series(1, 20) i;
SELECT count(eventmkt.track('u' || i, 'Product Added', jsonb_build_object('cart_id', i, 'amount', 10 * i))) FROM generate_series(1, 20) i;
SELECT count(eventmkt.track('u' || i % 10, 'Product Viewed', jsonb_build_object('product_id', i % 3))) FROM generate_series(1, 60) i;
SELECT eventmkt.run_due();
UPDATE eventmkt_data.delivery SET status = 'delivered', settled_at = created_at WHERE profile_id IN ('u1', 'u2', 'u3');
UPDATE eventmkt_data.delivery SET status = 'dead', settled_at = created_at WHERE profile_id IN ('u4');
SELECT eventmkt.keep_timelines('product_id', 'amount');
SELECT eventmkt.pack_timelines(1000);
SELECT eventmkt.pack_timelines(1000);
SELECT count(eventmkt.track('u' || i, 'Order Completed', jsonb_build_object('order_id', 100 + i, 'total', 10 * i))) FROM generate_series(30, 35) i;
\if :segments
SELECT eventmkt.create_segment('gold', where_profile => '$.tier == "gold"');
SELECT eventmkt.create_segment('buyers', on_event => 'Order Completed', within => '365 days');
SELECT eventmkt.create_segment('golden_buyers', all_of => '{gold,buyers}');
\endif
\if :live
SELECT eventmkt.track_segment('gold');
INSERT INTO eventmkt_data.membership SELECT 1, 'u' || i, '2026-09-01' FROM generate_series(0, 48, 2) i;
INSERT INTO eventmkt_data.membership_past VALUES (1, 'u7', '2026-08-01', '2026-08-05');
SELECT count(eventmkt.identify('u' || i, '{"tier": "gold"}')) FROM generate_series(1, 3) i;
\endif
\if :goals
SELECT eventmkt.expose_property('Order Completed', 'total', 'numeric');
SELECT eventmkt.create_funnel('shop', '{Product Viewed,Product Added,Order Completed}', '7 days');
\endif

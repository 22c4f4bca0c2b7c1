-- two months of a small shop, for test/tap/410_dashboard.pl: events with a weekly rhythm, four rules with their outcomes, the
-- deliveries and tries behind them, a funnel, goals with revenue, segments. The same rows at every run, ending yesterday.
SET client_min_messages = warning;
SET TimeZone = 'UTC';
SELECT setseed(0.2026) \g /dev/null
SELECT date_trunc('day', eventmkt.clock()) - interval '61 days' AS start \gset
SELECT eventmkt.make_partitions(:'start', eventmkt.clock()) \g /dev/null
INSERT INTO eventmkt_data.profile (profile_id, traits, identified, created_at, updated_at)
	SELECT 'u' || i, jsonb_build_object('tier', (ARRAY['gold', 'silver', 'none'])[1 + i % 3]), true, :'start', :'start' FROM generate_series(1, 400) i;
CREATE TEMP TABLE visit AS
	SELECT n, 'u' || (1 + power(random(), 1.6) * least(399, 40 + d * 7))::int AS who, :'start'::timestamptz + d * interval '1 day'
		+ (8 + 13 * sqrt(random())) * interval '1 hour' AS at, random() AS luck, random() AS r2
	FROM generate_series(0, 60) d, LATERAL generate_series(1, (22 + d * 0.7 + 14 * (extract(isodow FROM :'start'::timestamptz + d * interval '1 day') >= 6)::int
		+ 8 * random())::int) n;
INSERT INTO eventmkt_data.event (event_id, profile_id, name, properties, occurred_at, received_at, depth)
	SELECT nextval('eventmkt_data.event_id_seq'), who, name, CASE name WHEN 'Order Completed' THEN jsonb_build_object('amount',
		round((12 + 90 * r2 * r2)::numeric, 2), 'coupon', CASE WHEN r2 < 0.2 THEN 'WELCOME' END) ELSE '{}' END, at + step, at + step, 0
	FROM visit, LATERAL (VALUES ('Product Viewed', '0'::interval, 0), ('Product Viewed', '4 min', 0.35), ('Product Added', '9 min', 0.52),
		('Checkout Started', '14 min', 0.71), ('Order Completed', '19 min', 0.8), ('Newsletter Opened', '2 hours', 0.88)) e (name, step, from_luck)
	WHERE luck >= from_luck AND (name <> 'Newsletter Opened' OR r2 < 0.7);
INSERT INTO eventmkt_data.endpoint (name, url, schedule, created_at) VALUES ('email', 'https://mail.example.com/send', '{5}', :'start'),
	('push', 'https://push.example.com/v1', '{5}', :'start');
INSERT INTO eventmkt.secret SELECT name, '\xdeadbeef', :'start' FROM eventmkt_data.endpoint;
SELECT eventmkt.create_rule('cart_abandoned', on_event => 'Product Added', unless => '{Order Completed}', after => '4 hours', send_to => 'email'),
	eventmkt.create_rule('welcome', on_event => 'Product Viewed', reentry => '300 days', send_to => 'email'),
	eventmkt.create_rule('thank you', on_event => 'Order Completed', send_to => 'push'),
	eventmkt.create_rule('come back', on_event => 'Checkout Started', after => '14 days', unless => '{Checkout Started}', send_to => 'email') \g /dev/null
SELECT eventmkt.disable_rule('welcome') \g /dev/null
CREATE TEMP TABLE run AS
	SELECT row_number() OVER (ORDER BY at, rule_id) AS run_id, r.rule_id, r.name AS rule, r.endpoint_id, who, at + step AS at, at + step + r.after AS due,
		CASE WHEN luck >= 0.8 AND r.name IN ('cart_abandoned', 'come back') OR luck < 0.1 AND r.name = 'thank you' THEN 'cancelled'
			WHEN r2 < 0.05 THEN 'dead' WHEN r2 < 0.16 AND r.name <> 'thank you' THEN 'suppressed' WHEN r2 > 0.985 THEN 'expired' ELSE 'delivered' END AS outcome,
		r2
	FROM visit v JOIN eventmkt_data.rule r ON CASE r.name WHEN 'cart_abandoned' THEN luck >= 0.52 WHEN 'thank you' THEN luck >= 0.8
		WHEN 'come back' THEN luck >= 0.71 AND at < eventmkt.clock() - interval '15 days'
		ELSE NOT EXISTS (SELECT FROM visit w WHERE w.who = v.who AND w.at < v.at) END
	CROSS JOIN LATERAL (SELECT CASE r.name WHEN 'cart_abandoned' THEN interval '9 min' WHEN 'thank you' THEN '19 min' WHEN 'come back' THEN '14 min' ELSE '0' END AS step) s
	WHERE r.current AND at + step + r.after < date_trunc('day', eventmkt.clock());
INSERT INTO eventmkt_data.delivery (id, node, run_id, rule_id, rule, rule_version, profile_id, key, endpoint_id, status, attempts, next_attempt_at,
	schedule, body, event_id, started_at, received_at, run_created_at, due_at, created_at, first_sent_at, settled_at, depth, last_status)
	SELECT ('00000000-0000-7000-8000-' || lpad(run_id::text, 12, '0'))::uuid, 0, run_id, rule_id, rule, 1, who, '', endpoint_id, outcome, 1, due, '{5}', '',
		run_id, at, at, at + (1 + 20 * r2 * r2) * interval '1 ms', due, due, greatest(due, at + interval '30 ms') + (2 + 160 * r2 ^ 4) * interval '1 ms', due + interval '2 s', 0,
		CASE outcome WHEN 'dead' THEN 404 ELSE 200 END
	FROM run WHERE outcome IN ('delivered', 'dead');
INSERT INTO eventmkt_data.attempt (delivery_id, attempt, started_at, latency_us, status)
	SELECT id, 1, first_sent_at, 18000 + (hashtext(id::text) & 1048575) / 6, last_status FROM eventmkt_data.delivery;
INSERT INTO eventmkt_data.decision (decision_id, run_id, rule_id, rule, rule_version, profile_id, key, outcome, reason, delivery_id, started_at, due_at, decided_at)
	SELECT run_id, run_id, rule_id, rule, 1, who, '', outcome, CASE outcome WHEN 'cancelled' THEN 'cancelled_by' WHEN 'dead' THEN 'status 404'
		WHEN 'suppressed' THEN CASE WHEN r2 < 0.12 THEN 'reentry' ELSE 'audience' END WHEN 'expired' THEN 'lateness' END,
		CASE WHEN outcome IN ('delivered', 'dead') THEN ('00000000-0000-7000-8000-' || lpad(run_id::text, 12, '0'))::uuid END, at, due, due + interval '2 s'
	FROM run;
INSERT INTO eventmkt_data.endpoint_state (endpoint_id, last_success_at) SELECT endpoint_id, date_trunc('day', eventmkt.clock()) FROM eventmkt_data.endpoint;
SELECT eventmkt.expose_property('Order Completed', 'amount', 'numeric', comment => 'gross, in euros'),
	eventmkt.expose_property('Order Completed', 'coupon', 'text'),
	eventmkt.create_funnel('purchase', ARRAY['Product Viewed', 'Product Added', 'Checkout Started', 'Order Completed'], '3 days', comment => 'from the shelf to the till'),
	eventmkt.create_funnel('second look', ARRAY['Product Viewed', 'Newsletter Opened', 'Order Completed'], '14 days'),
	eventmkt.create_goal('order', 'Order Completed', '5 days', 'amount'), eventmkt.create_goal('visit', 'Product Viewed', '5 days'),
	eventmkt.create_segment('gold', where_profile => '$.tier == "gold"', comment => 'the best customers'),
	eventmkt.create_segment('buyers', on_event => 'Order Completed', comment => 'bought at least once'),
	eventmkt.create_segment('lapsing', on_event => 'Order Completed', unless => '{Product Viewed}', unless_within => '14 days', comment => 'bought, but was not seen for two weeks'),
	eventmkt.create_segment('gold buyers', all_of => '{gold,buyers}') \g /dev/null
-- sizes as tracking would have left them: buyers of the day before, gold customers seen so far
INSERT INTO eventmkt_data.segment_size (segment_id, at, members)
	SELECT s.segment_id, d, count(DISTINCT e.profile_id) FROM eventmkt_data.segment s, generate_series(:'start'::timestamptz + interval '1 day', eventmkt.clock(), '1 day') d
	JOIN eventmkt_data.event e ON e.occurred_at < d JOIN eventmkt_data.profile p ON p.profile_id = e.profile_id
	WHERE s.name = 'buyers' AND e.name = 'Order Completed' OR s.name = 'gold' AND p.traits ->> 'tier' = 'gold' GROUP BY 1, 2;
ANALYZE;

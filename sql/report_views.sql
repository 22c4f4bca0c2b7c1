-- the views of eventmkt_bi: their figures on a few rows, what they do not show, and who may look
SET client_min_messages = error;
SET TimeZone = 'UTC';
SELECT count(*) > 0 AS init FROM eventmkt.init();
INSERT INTO eventmkt_data.endpoint (name, url, headers, schedule, created_at) VALUES
	('email', 'https://user:pass@hooks.example.com:8443/in?key=abc#x', '{"Authorization": "Bearer hidden"}', '{5}', '2026-01-01'),
	('v6', 'http://[::1]:8080/in', '{}', '{5}', '2026-01-01'), ('off', 'http://127.0.0.1', '{}', '{5}', '2026-01-01');
UPDATE eventmkt_data.endpoint SET enabled = false, disabled_reason = '410 Gone' WHERE name = 'off';
INSERT INTO eventmkt.secret SELECT name, '\xdeadbeef', '2026-01-01' FROM eventmkt_data.endpoint WHERE name <> 'v6';
SELECT eventmkt.create_rule('cart', on_event => 'Product Added', where_event => '$.amount > 5', unless => '{Order Completed}', after => '1 hour',
	send_to => 'email') AS cart \gset
SELECT eventmkt.create_rule('count', on_event => 'Viewed', at_least => 3, within => '7 days', send_to => 'none') AS count \gset
-- a day of ann: two carts, one sent, one bought; a first life as anon-1
SELECT date_trunc('day', eventmkt.clock()) - interval '3 days' AS d \gset
INSERT INTO eventmkt_data.alias VALUES ('anon-1', 'ann', :'d');
INSERT INTO eventmkt_data.event (event_id, profile_id, name, properties, occurred_at, received_at, depth, conflict_of) VALUES
	(1, 'anon-1', 'Product Added', '{"amount": 9, "card": "4111"}', :'d', :'d'::timestamptz + '5 ms', 0, NULL),
	(2, 'ann', 'Product Added', '{"amount": 8}', :'d'::timestamptz + '3 hours', :'d'::timestamptz + '3 hours', 0, NULL),
	(3, 'ann', 'Order Completed', '{}', :'d'::timestamptz + '3 hours 10 min', :'d'::timestamptz + '3 hours 10 min', 0, NULL),
	(4, 'bob', 'Product Added', '{"amount": 7}', :'d'::timestamptz + '4 hours', :'d'::timestamptz + '4 hours', 0, NULL),
	(5, 'bob', 'Product Added', '{"amount": 6}', :'d'::timestamptz + '4 hours', :'d'::timestamptz + '4 hours', 0, 4);
INSERT INTO eventmkt_data.delivery (id, node, run_id, rule_id, rule, rule_version, profile_id, key, endpoint_id, status, attempts, next_attempt_at,
	schedule, body, event_id, started_at, received_at, run_created_at, due_at, created_at, first_sent_at, settled_at, depth, last_status, last_error) VALUES
	('00000000-0000-0000-0000-000000000001', 0, 1, :cart, 'cart', 1, 'anon-1', '', 1, 'delivered', 2, :'d', '{5}', 'hidden body', 1, :'d',
	 :'d'::timestamptz + '5 ms', :'d'::timestamptz + '15 ms', :'d'::timestamptz + '1 hour', :'d'::timestamptz + '30 hours', :'d'::timestamptz + '30 hours 2 ms',
	 :'d'::timestamptz + '30 hours 6 s', 0, 200, NULL),
	('00000000-0000-0000-0000-000000000002', 0, 3, :cart, 'cart', 1, 'bob', '', 1, 'dead', 2, :'d', '{5}', 'hidden body', 4, :'d'::timestamptz + '4 hours',
	 :'d'::timestamptz + '4 hours', :'d'::timestamptz + '4 hours', :'d'::timestamptz + '5 hours', :'d'::timestamptz + '30 hours', :'d'::timestamptz + '30 hours 4 ms',
	 :'d'::timestamptz + '30 hours 6 s', 0, 404, 'not found');
INSERT INTO eventmkt_data.attempt VALUES ('00000000-0000-0000-0000-000000000001', 1, :'d', 30000, 503, 'unavailable', 'hidden answer'),
	('00000000-0000-0000-0000-000000000001', 2, :'d', 10000, 200, NULL, NULL), ('00000000-0000-0000-0000-000000000002', 1, :'d', 99000, NULL, 'refused', NULL);
-- the clock jumped over the due times: not a delay
INSERT INTO eventmkt_data.clock_move VALUES (:'d'::timestamptz + '30 hours'), (:'d'::timestamptz + '40 hours');
INSERT INTO eventmkt_data.decision (decision_id, run_id, rule_id, rule, rule_version, profile_id, key, outcome, reason, facts, delivery_id, event_id, started_at, due_at, decided_at) VALUES
	(1, 1, :cart, 'cart', 1, 'ann', '', 'delivered', NULL, NULL, '00000000-0000-0000-0000-000000000001', 1, :'d', :'d'::timestamptz + '1 hour', :'d'::timestamptz + '30 hours 6 s'),
	(2, 2, :cart, 'cart', 1, 'ann', '', 'cancelled', 'cancelled_by', '{"event_id": 3}', NULL, 2, :'d'::timestamptz + '3 hours', :'d'::timestamptz + '4 hours', :'d'::timestamptz + '3 hours 10 min'),
	(3, 3, :cart, 'cart', 1, 'bob', '', 'held', 'earlier_send_open', NULL, NULL, 4, :'d'::timestamptz + '4 hours', :'d'::timestamptz + '5 hours', :'d'::timestamptz + '5 hours'),
	(4, 3, :cart, 'cart', 1, 'bob', '', 'dead', 'status 404', NULL, '00000000-0000-0000-0000-000000000002', 4, :'d'::timestamptz + '4 hours', :'d'::timestamptz + '5 hours', :'d'::timestamptz + '30 hours 6 s');
INSERT INTO eventmkt_data.pending_trigger (run_id, node, rule_id, rule_version, profile_id, key, slot, state, started_at, event_id, event_name, event_at,
	properties, last_at, due_at, wake_at, received_at, created_at, depth)
	SELECT v.id, 0, :cart, 1, v.who, '', 0, v.state, :'d', 1, 'Product Added', :'d', '{}', :'d', c, v.wake, :'d', :'d', 0
	  FROM eventmkt.clock() c, LATERAL (VALUES (9, 'cid', 'waiting', c), (10, 'dan', 'held', 'infinity')) v (id, who, state, wake);
INSERT INTO eventmkt_data.endpoint_state VALUES (1, 3, :'d', eventmkt.clock() + interval '1 minute', :'d', :'d', 'connection refused');
CREATE ROLE regress_report_views;
SELECT eventmkt.grant_access('regress_report_views', 'analyst');
SET ROLE regress_report_views;
\x
SELECT rule, version, enabled, on_event, where_event, count, unless, after, send_to, live_runs, open_deliveries, delivered, dead, cancelled, expired, suppressed, recorded
  FROM eventmkt_bi.rules ORDER BY rule;
\x
SELECT day = :'d'::date AS first_day, rule, outcome, reason, decisions, profiles FROM eventmkt_bi.decisions_by_rule ORDER BY last_at, outcome;
SELECT rule, measure, n, p50_ms, p95_ms, p99_ms, max_ms FROM eventmkt_bi.latency WHERE period = 'all';
SELECT what, n, age < '1 minute' AS young FROM eventmkt_bi.queue;
SELECT endpoint, host, state, disabled_reason, failures, last_error FROM eventmkt_bi.endpoints ORDER BY endpoint;
SELECT endpoint, open_deliveries FROM eventmkt_bi.endpoints WHERE endpoint = 'email';
SELECT delivery_id, rule, endpoint, profile_id, attempts, last_status, last_error FROM eventmkt_bi.dead_letters;
SELECT day = :'d'::date AS first_day, event, events, profiles FROM eventmkt_bi.events_by_day ORDER BY event;
SELECT at - :'d'::timestamptz AS at, kind, what, detail - '{received_at,due_at,settled_at}'::text[] AS detail FROM eventmkt_bi.timeline
 WHERE profile_id = 'ann' ORDER BY 1, step;
SELECT count(*) FROM eventmkt_bi.timeline WHERE profile_id = 'anon-1';
-- nothing of a body, an answer, a header, a property, a secret or a credential in any view
DO $$
DECLARE v text; n int;
BEGIN
	FOR v IN SELECT viewname FROM pg_views WHERE schemaname = 'eventmkt_bi' LOOP
		EXECUTE format('SELECT count(*) FROM eventmkt_bi.%I v WHERE v::text ~ ''hidden|deadbeef|pass@|abc|4111''', v) INTO n;
		IF n > 0 THEN RAISE 'eventmkt_bi.% shows too much', v; END IF;
	END LOOP;
END $$;
SELECT count(*) FROM eventmkt_data.delivery;
SELECT count(*) FROM eventmkt.secret;
DELETE FROM eventmkt_bi.timeline;
RESET ROLE;
-- one profile is asked through indexes, never by reading a whole table
SET enable_seqscan = off;
DO $$
DECLARE l text;
BEGIN
	FOR l IN EXPLAIN SELECT * FROM eventmkt_bi.timeline WHERE profile_id = 'ann' LOOP
		IF l ~ 'Seq Scan on (event|decision|delivery|pending)' THEN RAISE NOTICE '%', l; END IF;
	END LOOP;
END $$;
-- every view and what is not plain in it is described
SELECT c.oid::regclass FROM pg_class c WHERE relnamespace = 'eventmkt_bi'::regnamespace AND relkind = 'v' AND obj_description(oid, 'pg_class') IS NULL;
SELECT eventmkt.revoke_access('regress_report_views', 'analyst');
DROP OWNED BY regress_report_views;
DROP ROLE regress_report_views;

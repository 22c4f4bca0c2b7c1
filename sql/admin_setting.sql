-- change_setting(): what an operator may choose, and what retention then forgets
SET client_min_messages = warning;
SELECT count(*) > 0 AS init FROM eventmkt.init();
CREATE FUNCTION pg_temp.refused(k text, v text) RETURNS TABLE (key text, value text, state text, message text, hint text)
LANGUAGE plpgsql AS $$
BEGIN
	key := k; value := v; state := '-----'; message := 'accepted';
	PERFORM eventmkt.change_setting(k, v);
	RETURN NEXT;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
	RETURN NEXT;
END $$;
\pset format unaligned
SELECT r.* FROM (VALUES (1, NULL, 'x'), (2, '', 'x'), (3, 'clock_offset', '1'), (4, 'database_oid', '1'), (5, 'worker_pid', NULL),
	(6, 'data_version', '9'), (7, 'eventmkt.workers', '2'), (8, 'partition_period', 'month'), (9, 'partition_period', ''), (10, 'retention', 'long'),
	(11, 'retention', '-1 day'), (12, 'retention', '1 hour'), (13, 'retention', '0'), (14, 'retention', '1000 years'), (15, 'retention', '178000000 years'),
	(16, 'dedupe_window', '1 second'), (17, 'dedupe_window', '11 years'), (18, 'dedupe_window', '1 month -40 days'), (19, 'node', '-1'),
	(20, 'node', '1024'), (21, 'node', '1x'), (22, 'node', ''), (23, 'node', '99999999999999999999'), (24, 'node', ' 1'), (25, 'profile_burst', '0'),
	(26, 'profile_burst', '1000001'), (27, 'profile_burst', '1e3')) v (n, key, value),
	LATERAL pg_temp.refused(v.key, v.value) r ORDER BY n;
\pset format aligned
SELECT key, value FROM eventmkt_data.setting WHERE key IN ('retention', 'dedupe_window', 'partition_period', 'node');
-- stored in one spelling, whatever the session's style
SET intervalstyle = sql_standard;
SELECT r.state FROM (VALUES ('partition_period', 'day'), ('retention', '30 days'), ('dedupe_window', '1 12:00:00'), ('node', '7'), ('profile_burst', '007')) v (key, value),
	LATERAL pg_temp.refused(v.key, v.value) r;
RESET intervalstyle;
SELECT key, value FROM eventmkt_data.setting WHERE key IN ('retention', 'dedupe_window', 'partition_period', 'profile_burst', 'node') ORDER BY key;
SELECT eventmkt.track('u', 'E') >> 53 AS node;
SELECT eventmkt.change_setting('dedupe_window', NULL), eventmkt.change_setting('partition_period', NULL);
SELECT key FROM eventmkt_data.setting WHERE key IN ('retention', 'dedupe_window', 'partition_period', 'node') ORDER BY key;
-- the node stays while anything waits for it
SELECT eventmkt.create_rule('r', on_event => 'E', after => '1 day', send_to => 'none') > 0 AS made;
SELECT eventmkt.track('u', 'E') IS NOT NULL AS x;
SELECT eventmkt.change_setting('node', '8');
SELECT eventmkt.run_due() AS rows;
SELECT eventmkt.change_setting('node', NULL);
SELECT eventmkt.change_setting('node', '7');
SELECT eventmkt.drop_rule('r') AS ended;
SELECT eventmkt.change_setting('node', NULL);
-- a re-entry that outlives what it is judged by
SELECT eventmkt.create_rule('welcome', on_event => 'E', reentry => '10 years', send_to => 'none') > 0 AS made;
SELECT eventmkt.change_setting('retention', '100 days');
-- an operator may, others may not
CREATE ROLE admin_setting_operator;
CREATE ROLE admin_setting_marketer;
SELECT eventmkt.grant_access('admin_setting_operator', 'operator'), eventmkt.grant_access('admin_setting_marketer', 'marketer');
SET ROLE admin_setting_marketer;
SELECT eventmkt.change_setting('retention', '5 years');
SET ROLE admin_setting_operator;
SELECT eventmkt.change_setting('retention', '10 years');
RESET ROLE;

-- retention forgets what is settled and old: deliveries with their attempts, and changes of traits
SET eventmkt.allow_plain_http = on;
SET eventmkt.allowed_networks = '127.0.0.0/8';
SELECT eventmkt.create_endpoint('hooks', 'http://127.0.0.1:9999/') IS NOT NULL AS made;
SELECT eventmkt.create_rule('send', on_event => 'Sent', send_to => 'hooks') > 0 AS made;
SELECT count(eventmkt.track('p' || i, 'Sent')) FROM generate_series(1, 6) i;
SELECT eventmkt.identify('t', '{"plan": "free", "city": "Bonn", "tier": 1}') AS id;
SELECT eventmkt.run_due() AS rows;
UPDATE eventmkt_data.delivery SET status = (ARRAY['delivered', 'dead', 'cancelled', 'queued', 'retrying', 'in_flight'])[right(profile_id, 1)::int],
	settled_at = CASE WHEN right(profile_id, 1)::int <= 3 THEN eventmkt.clock() END;
INSERT INTO eventmkt_data.attempt SELECT id, 1, created_at, 1, 200 FROM eventmkt_data.delivery;
CREATE TABLE public.times AS SELECT eventmkt.clock() AS first;
SELECT eventmkt.advance_clock('20 days') IS NOT NULL AS moved;
SELECT eventmkt.identify('t', '{"plan": "pro", "city": null}') AS id;
UPDATE eventmkt_data.delivery SET settled_at = eventmkt.clock() WHERE profile_id = 'p2';
SELECT eventmkt.change_setting('retention', '30 days');
SELECT eventmkt.maintain();
SELECT count(*), (SELECT count(*) FROM eventmkt_data.attempt), (SELECT count(*) FROM eventmkt_data.trait_change) FROM eventmkt_data.delivery;
SELECT eventmkt.advance_clock('10 days 1 second') IS NOT NULL AS moved;
SELECT eventmkt.maintain();
SELECT profile_id, status, (SELECT count(*) FROM eventmkt_data.attempt WHERE delivery_id = id) AS attempts FROM eventmkt_data.delivery ORDER BY 1;
-- the traits of any time since then are still known
SELECT trait, old_value, new_value FROM eventmkt_data.trait_change ORDER BY trait;
SELECT eventmkt.traits_at('t', eventmkt.clock()) AS now, eventmkt.traits_at('t', eventmkt.clock() - interval '10 days') AS ago,
	eventmkt.traits_at('t', (SELECT first FROM public.times)) AS first, eventmkt.traits_at('t', '2001-01-01') AS never;
SELECT eventmkt.advance_clock('40 days') IS NOT NULL AS moved;
SELECT eventmkt.maintain();
SELECT profile_id, status FROM eventmkt_data.delivery ORDER BY 1;
SELECT count(*) AS changes, eventmkt.traits_at('t', eventmkt.clock()) AS now FROM eventmkt_data.trait_change;
DROP OWNED BY admin_setting_operator, admin_setting_marketer;
DROP ROLE admin_setting_operator, admin_setting_marketer;

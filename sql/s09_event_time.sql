-- S9: event time and arrival
\set QUIET on
SET client_min_messages = warning;
SELECT count(*) AS init FROM eventmkt.init();
SELECT eventmkt.make_partitions(eventmkt.clock() - interval '30 days', eventmkt.clock()) > 0 AS made;
SELECT eventmkt.create_rule('now', on_event => 'A', max_lateness => '72 hours', send_to => 'none') AS rule;
SELECT eventmkt.create_rule('count', on_event => 'A', at_least => 3, max_lateness => '72 hours', send_to => 'none') AS rule;
-- 71 h old triggers under a 72 h limit, 73 h only counts
SELECT eventmkt.track('u', 'A', '{"n": 1}', eventmkt.clock() - interval '73 hours') IS NULL AS x;
SELECT eventmkt.track('u', 'A', '{"n": 2}', eventmkt.clock() - interval '71 hours') IS NULL AS x;
SELECT eventmkt.track('u', 'A', '{"n": 3}') IS NULL AS x;
SELECT eventmkt.run_due() AS rows;
SELECT rule, outcome, reason, count(*) FROM eventmkt_data.decision GROUP BY 1, 2, 3 ORDER BY 1, 2;
-- history fires nothing, and counts
BEGIN;
SET LOCAL eventmkt.fire = off;
INSERT INTO eventmkt_data.inbox (user_id, event, occurred_at)
	SELECT 'h', 'A', eventmkt.clock() - i * interval '1 hour' FROM generate_series(1, 2) i;
COMMIT;
SELECT count(*) AS work FROM eventmkt_data.work;
SELECT eventmkt.track('h', 'A') IS NULL AS x;
SELECT eventmkt.run_due() AS rows;
SELECT profile_id, rule, outcome FROM eventmkt_data.decision WHERE profile_id = 'h' ORDER BY 2;
-- stamps far in the future are refused, a little ahead is allowed
SELECT eventmkt.track('f', 'A', '{}', eventmkt.clock() + interval '59 minutes') IS NULL AS x;
\set VERBOSITY terse
\set SHOW_CONTEXT never
DO $$ BEGIN PERFORM eventmkt.track('f', 'A', '{}', eventmkt.clock() + interval '61 minutes');
EXCEPTION WHEN datetime_field_overflow THEN RAISE WARNING '% %', SQLSTATE, SQLERRM; END $$;
DO $$ BEGIN PERFORM eventmkt.track('f', 'A', '{}', 'infinity');
EXCEPTION WHEN datetime_field_overflow THEN RAISE WARNING '% %', SQLSTATE, SQLERRM; END $$;
\set VERBOSITY default
-- an event in a partition that does not exist lands in DEFAULT and is decided all the same; later its partition is made
SELECT eventmkt.track('old', 'A', '{}', '2001-01-01') IS NULL AS x;
SELECT count(*) FROM eventmkt_data.event_default;
SELECT eventmkt.make_partitions('2001-01-01', '2001-01-02') AS made;
SELECT count(*) FROM eventmkt_data.event_default;
SELECT tableoid::regclass, count(*) FROM eventmkt_data.event WHERE profile_id = 'old' GROUP BY 1;
SELECT eventmkt.run_due() AS rows;
SELECT rule, outcome FROM eventmkt_data.decision WHERE profile_id = 'old';
-- retention drops whole partitions
UPDATE eventmkt_data.setting SET value = '1 year' WHERE key = 'retention';
INSERT INTO eventmkt_data.setting VALUES ('retention', '1 year') ON CONFLICT DO NOTHING;
SELECT eventmkt.maintain();
SELECT count(*) FROM eventmkt_data.event WHERE profile_id = 'old';

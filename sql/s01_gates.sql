-- S1: the gates are asked at fire time with the facts of that moment; S11: the audience sees what was written with the event
\set QUIET on
SET client_min_messages = warning;
SELECT count(*) AS init FROM eventmkt.init();
SELECT eventmkt.create_rule('gold', on_event => 'A', where_profile => '$.tier == "gold"', after => '1 hour', unless => ARRAY['Stop'],
	send_to => 'none') AS rule;
SELECT eventmkt.identify(u, '{"tier": "gold"}') FROM unnest(ARRAY['stays', 'leaves', 'stops and leaves']) u;
SELECT eventmkt.track(u, 'A') IS NULL AS x FROM unnest(ARRAY['stays', 'leaves', 'stops and leaves', 'never was']) u;
-- in one transaction: the trait and the event
BEGIN;
SELECT eventmkt.track('together', 'A') IS NULL AS x;
SELECT eventmkt.identify('together', '{"tier": "gold"}');
COMMIT;
SELECT eventmkt.run_due() AS rows;
SELECT eventmkt.identify('leaves', '{"tier": "silver"}');
SELECT eventmkt.identify('stops and leaves', '{"tier": "silver"}');
SELECT eventmkt.advance_clock('1 hour') IS NOT NULL AS moved;
-- seen in history alone: the work row of this one is taken after the run is decided
BEGIN; SET LOCAL eventmkt.fire = off; SELECT eventmkt.track('stops and leaves', 'Stop') IS NULL AS x; COMMIT;
SELECT eventmkt.run_due() AS rows;
SELECT profile_id, outcome, reason FROM eventmkt_data.decision ORDER BY profile_id;
-- a cold condition is asked by the worker, times with zones included
SELECT eventmkt.create_rule('cold', on_event => 'C', where_event => '$.at.datetime() < "2020-01-01 00:00:00+00".datetime()', send_to => 'none') AS rule;
SELECT eventmkt.create_rule('plain', on_event => 'C', send_to => 'none') AS rule;
SELECT eventmkt.track('c1', 'C', '{"at": "2019-05-05"}') IS NULL AS x;
SELECT eventmkt.track('c2', 'C', '{"at": "2021-05-05"}') IS NULL AS x;
SELECT eventmkt.track('c3', 'C', '{"at": "not a date"}') IS NULL AS x;
SELECT eventmkt.run_due() AS rows;
SELECT profile_id, rule, outcome, reason FROM eventmkt_data.decision WHERE profile_id LIKE 'c_' ORDER BY 1, 2;
-- one that takes too long costs only its own rule; a rule that keeps failing is disabled with a reason
SET eventmkt.condition_timeout = '2ms';
SELECT eventmkt.create_rule('slow', on_event => 'D', where_event => '$.s like_regex "^(.*)(.*)(.*)\\1\\2\\3$"', send_to => 'none') AS rule;
SELECT eventmkt.create_rule('beside', on_event => 'D', send_to => 'none') AS rule;
SELECT count(eventmkt.track('s' || i, 'D', jsonb_build_object('s', repeat('ab', 2000) || 'c'))) FROM generate_series(1, 30) i;
SELECT eventmkt.run_due() AS rows;
SELECT rule, outcome, reason, facts, count(*) BETWEEN 20 AND 30 AS some FROM eventmkt_data.decision WHERE profile_id LIKE 's%' AND rule IN ('slow', 'beside')
	GROUP BY 1, 2, 3, 4 ORDER BY 1;
SELECT name, enabled, disabled_reason FROM eventmkt_data.rule WHERE name IN ('slow', 'beside') ORDER BY 1;
SELECT count(*) AS work FROM eventmkt_data.work;

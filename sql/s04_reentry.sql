-- S4: re-entry counts from the last delivery of this rule to this profile and key
\set QUIET on
SET client_min_messages = warning;
SELECT count(*) AS init FROM eventmkt.init();
SET eventmkt.allow_plain_http = on;
SET eventmkt.allowed_networks = '127.0.0.0/8';
SELECT eventmkt.create_endpoint('hook', 'http://127.0.0.1:9999/') LIKE 'whsec_%' AS made;
SELECT eventmkt.create_rule('daily', on_event => 'A', per => 'k', reentry => '1 day', max_lateness => '10 days') AS rule;
CREATE VIEW public.d AS SELECT profile_id, key, outcome, reason FROM eventmkt_data.decision ORDER BY decision_id;
CREATE FUNCTION public.delivered() RETURNS bigint LANGUAGE sql AS $$
	WITH u AS (UPDATE eventmkt_data.delivery SET status = 'delivered', settled_at = eventmkt.clock()
		WHERE status = 'queued' RETURNING 1) SELECT count(*) FROM u $$;
SELECT eventmkt.track('u', 'A', '{"k": 1}') IS NULL AS x;
SELECT eventmkt.run_due() AS rows;
-- while the first is on its way the second is held, another key is not
SELECT eventmkt.track('u', 'A', '{"k": 1}') IS NULL AS x;
SELECT eventmkt.track('u', 'A', '{"k": 2}') IS NULL AS x;
SELECT eventmkt.run_due() AS rows;
SELECT key, count(*) FROM eventmkt_data.delivery GROUP BY 1 ORDER BY 1;
SELECT * FROM public.d;
-- delivered: the held one is suppressed
SELECT public.delivered();
SELECT eventmkt.advance_clock('1 minute') IS NOT NULL AS moved;
SELECT eventmkt.run_due() AS rows;
SELECT * FROM public.d;
-- an interval, not a date: the next morning, 23 h 59 min later, is still too early; a day and a minute is not
SELECT eventmkt.advance_clock('23 hours 57 minutes') IS NOT NULL AS moved;
SELECT eventmkt.track('u', 'A', '{"k": 1}') IS NULL AS x;
SELECT eventmkt.run_due() AS rows;
SELECT eventmkt.advance_clock('3 minutes') IS NOT NULL AS moved;
SELECT eventmkt.track('u', 'A', '{"k": 1}') IS NULL AS x;
SELECT eventmkt.run_due() AS rows;
SELECT * FROM public.d;
SELECT key, status, count(*) FROM eventmkt_data.delivery GROUP BY 1, 2 ORDER BY 1, 2;
-- a failed run uses none
UPDATE eventmkt_data.delivery SET status = 'dead' WHERE status = 'queued';
SELECT eventmkt.advance_clock('1 minute') IS NOT NULL AS moved;
UPDATE eventmkt_data.delivery SET settled_at = settled_at - interval '2 days' WHERE status = 'delivered';
SELECT eventmkt.track('u', 'A', '{"k": 1}') IS NULL AS x;
SELECT eventmkt.run_due() AS rows;
SELECT key, status, count(*) FROM eventmkt_data.delivery GROUP BY 1, 2 ORDER BY 1, 2;
-- two runs that fall due in one pass: one sends, the other is held
SELECT eventmkt.create_rule('burst', on_event => 'B', on_repeat => 'parallel', reentry => '1 hour') AS rule;
SELECT count(eventmkt.track('v', 'B')) FROM generate_series(1, 3);
SELECT eventmkt.run_due() AS rows;
SELECT count(*) FROM eventmkt_data.delivery WHERE profile_id = 'v';
SELECT state, count(*) FROM eventmkt_data.pending_trigger WHERE profile_id = 'v' GROUP BY 1;

-- strict order by person: what stands first and what behind it, ids that rise, and tables of an older version
SET client_min_messages = error;
SET eventmkt.allow_plain_http = on;
SET eventmkt.allowed_networks = '127.0.0.0/8';
SELECT count(*) > 0 AS init FROM eventmkt.init();
SELECT count(eventmkt.create_endpoint(name, 'http://127.0.0.1:9999/', ordered => name = 'lined')) FROM unnest('{lined,free}'::text[]) name;
SELECT eventmkt.create_endpoint('null', 'http://127.0.0.1:9999/', ordered => NULL);
SELECT eventmkt.create_rule('l', on_event => 'A', send_to => 'lined') + eventmkt.create_rule('f', on_event => 'A', send_to => 'free') AS rules;
CREATE VIEW public.queue AS SELECT rule, profile_id, ordered, string_agg(CASE WHEN next_attempt_at = 'infinity' THEN 'behind' ELSE 'ready' END || ' '
	|| (body::jsonb -> 'data' -> 'event' -> 'properties' ->> 'n'), ', ' ORDER BY id) AS waiting FROM eventmkt_data.delivery WHERE status = 'queued' GROUP BY 1, 2, 3;

-- one pass: the first of each person is ready, the others behind it, in the order of the events
SELECT count(eventmkt.track(CASE i % 3 WHEN 0 THEN 'ann' ELSE 'bob' END, 'A', jsonb_build_object('n', i), now() - interval '1 minute' + i * interval '1 second'))
  FROM generate_series(1, 6) i;
SELECT eventmkt.run_due();
SELECT * FROM public.queue ORDER BY 1, 2;
-- the next pass does not know who is still on the way; the claim will see
SELECT count(eventmkt.track('ann', 'A', jsonb_build_object('n', i), now() - interval '30 s' + i * interval '1 ms')) FROM generate_series(7, 8) i;
SELECT eventmkt.run_due();
SELECT * FROM public.queue WHERE profile_id = 'ann' ORDER BY 1, 2;
-- ids rise with the order of the queue, though they are made within a microsecond
SELECT count(eventmkt.track('cat', 'A', jsonb_build_object('n', i), now() - interval '30 s' + i * interval '1 ms')) FROM generate_series(1, 300) i;
SELECT eventmkt.run_due(250) + eventmkt.run_due() AS rows;
SELECT count(*) > 200 AS some, bool_and(n > before) AS rising FROM (SELECT n, lag(n) OVER (ORDER BY id) AS before FROM (
	SELECT id, (body::jsonb -> 'data' -> 'event' -> 'properties' ->> 'n')::int AS n FROM eventmkt_data.delivery WHERE rule = 'f' AND profile_id = 'cat') q) r;
-- a dropped rule lets the next of each person go
SELECT eventmkt.create_rule('m', on_event => 'B', send_to => 'lined') > 0 AS rule;
SELECT count(eventmkt.track('dan', name, jsonb_build_object('n', n), now() - interval '10 s' + n * interval '1 s')) FROM (VALUES ('A', 1), ('B', 2), ('B', 3)) e (name, n);
SELECT eventmkt.run_due();
SELECT * FROM public.queue WHERE profile_id = 'dan' ORDER BY 1, 2;
SELECT eventmkt.drop_rule('l') > 0 AS dropped;
SELECT * FROM public.queue WHERE profile_id = 'dan' ORDER BY 1, 2;
-- on and off, for what waits too
SELECT eventmkt.replace_endpoint('lined', 'http://127.0.0.1:9999/');
SELECT * FROM public.queue WHERE profile_id = 'dan' ORDER BY 1, 2;
SELECT eventmkt.replace_endpoint('lined', 'http://127.0.0.1:9999/', ordered => true);
SELECT * FROM public.queue WHERE profile_id = 'dan' ORDER BY 1, 2;
SELECT endpoint, ordered FROM eventmkt_bi.endpoints ORDER BY 1;
SELECT what, n > 0 AS some FROM eventmkt_bi.queue WHERE what LIKE 'deliveries%';

-- tables of data version 3: init() brings them up, and what waits goes on; columns of others make no difference
DROP VIEW public.queue;
ALTER TABLE eventmkt_data.delivery DROP COLUMN ordered CASCADE, ADD COLUMN of_a_dba int;
ALTER TABLE eventmkt_data.endpoint DROP COLUMN ordered CASCADE;
UPDATE eventmkt_data.setting SET value = '3' WHERE key = 'data_version';
SELECT count(*) > 0 AS init FROM eventmkt.init();
SELECT value FROM eventmkt_data.setting WHERE key = 'data_version';
SELECT eventmkt.replace_endpoint('lined', 'http://127.0.0.1:9999/', ordered => true);
SELECT count(eventmkt.track('eve', 'B', jsonb_build_object('n', i), now() - interval '30 s' + i * interval '1 ms')) FROM generate_series(1, 3) i;
SELECT eventmkt.run_due();
SELECT ordered, next_attempt_at = 'infinity' AS behind, count(*) FROM eventmkt_data.delivery WHERE profile_id = 'eve' GROUP BY 1, 2 ORDER BY 1, 2;
SELECT indexname FROM pg_indexes WHERE schemaname = 'eventmkt_data' AND tablename = 'delivery' ORDER BY 1;

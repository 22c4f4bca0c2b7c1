-- S17: a storm on one profile is limited and said; cancels, counts, other names and other people go on
\set QUIET on
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
SELECT eventmkt.change_setting('profile_burst', '100');
SELECT eventmkt.create_rule('each', on_event => 'Opened', send_to => 'none') AS rule;
SELECT eventmkt.create_rule('tenth', on_event => 'Opened', at_least => 10, within => '10 seconds', send_to => 'none') AS rule;
SELECT eventmkt.create_rule('later', on_event => 'Opened', per => 'm', after => '1 hour', on_repeat => 'parallel', unless => ARRAY['Bought'],
	max_lateness => '1 day', send_to => 'none') AS rule;
SELECT eventmkt.create_rule('last', on_event => 'Opened', after => '1 hour', max_lateness => '1 day', send_to => 'none') AS rule;
SELECT eventmkt.create_rule('silent', on_event => '*', after => '3 hours', max_lateness => '1 day', send_to => 'none') AS rule;
SELECT eventmkt.create_rule('clicked', on_event => 'Clicked', send_to => 'none') AS rule;
-- one second of a storm within one minute of event time, with normal traffic before, within and after
CREATE TABLE public.t AS SELECT date_trunc('minute', eventmkt.clock()) - interval '2 minutes' AS at;
CREATE TABLE public.storm AS SELECT n, 'u' AS u, 'Opened' AS e, at + n * interval '1 ms' AS at, jsonb_build_object('m', n % 3, 'n', n) AS p
	FROM public.t, generate_series(0, 2999) n;
SELECT count(eventmkt.track(u, e, p, at)) AS storm FROM (TABLE public.storm ORDER BY n) s;
SELECT count(eventmkt.track('n' || n, 'Opened', '{"m": 0}', at + n * interval '30 ms')) AS others FROM public.t, generate_series(1, 100) n;
SELECT count(eventmkt.track('u', 'Clicked', '{}', at + n * interval '30 ms')) AS other_name FROM public.t, generate_series(1, 100) n;
SELECT eventmkt.track('u', 'Opened', '{"m": 0, "next": "minute"}', at + interval '1 minute') > 0 AS next_minute FROM public.t;
SELECT eventmkt.run_due(100000) > 0 AS ran;
-- the 100 that came first, and one of the next minute; the others of that time all
SELECT rule, profile_id = 'u' AS storm, count(*), count(*) FILTER (WHERE facts IS NULL AND started_at > (SELECT at FROM public.t) + interval '99 ms'
	AND rule = 'each' AND profile_id = 'u') AS beyond FROM eventmkt_data.decision WHERE outcome = 'recorded' GROUP BY 1, 2 ORDER BY 1, 2;
SELECT rule, profile_id, key, outcome, reason, sum((facts->>'count')::int) AS count, facts->'limit' AS limit, facts->'event' AS event,
	min((facts->>'minute')::timestamptz) - t.at AS minute, min(started_at) - t.at AS first FROM eventmkt_data.decision, public.t
	WHERE reason = 'storm' GROUP BY rule, profile_id, key, outcome, reason, facts->'limit', facts->'event', t.at ORDER BY rule;
-- what came after the limit still refreshed the run that lives; the last event of a silence is looked for when it is due
SELECT r.name, count(*), max(p.properties->>'n') FILTER (WHERE r.name <> 'silent') AS n, max(p.properties->>'next') AS next FROM eventmkt_data.pending_trigger p
	JOIN eventmkt_data.rule r USING (rule_id) WHERE profile_id = 'u' GROUP BY 1 ORDER BY 1;
-- a cancelling event within a storm of its own cancels
SELECT count(eventmkt.track('u', 'Bought', '{"m": 1}', at + interval '1 second')) FROM public.t, generate_series(1, 300);
SELECT eventmkt.run_due(100000) > 0 AS ran;
SELECT key, outcome, reason, count(*) FROM eventmkt_data.decision WHERE rule = 'later' AND reason <> 'storm' GROUP BY 1, 2, 3 ORDER BY 1, 2;
SELECT eventmkt.advance_clock('5 hours') IS NOT NULL AS moved;
SELECT eventmkt.run_due(100000) > 0 AS ran;
SELECT rule, key, outcome, count(*) FROM eventmkt_data.decision WHERE profile_id = 'u' AND rule IN ('later', 'last', 'silent') AND reason IS NULL
	GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
SELECT count(*) AS left_behind FROM eventmkt_data.pending_trigger;
-- the same told in reverse, in small batches, once all is known: the same events begin runs. Twins at one time in any order too.
CREATE TABLE public.t2 AS SELECT date_trunc('minute', eventmkt.clock()) - interval '2 minutes' AS at;
CREATE FUNCTION public.tell(who text) RETURNS bigint LANGUAGE sql AS $$
	SELECT count(eventmkt.track(who, e, p, t2.at + (n / 7) * interval '1 ms')) FROM public.storm, public.t2 $$;
SELECT public.tell('forward'), public.tell('back');
-- the queue is taken from its head: turn it round
CREATE TEMP TABLE w AS TABLE eventmkt_data.work;
DELETE FROM eventmkt_data.work WHERE profile_id = 'back';
INSERT INTO eventmkt_data.work SELECT * FROM w WHERE profile_id = 'back' ORDER BY event_id DESC;
SELECT count(eventmkt.run_due(70)) AS passes FROM generate_series(1, 300);
SELECT count(*) AS work FROM eventmkt_data.work;
CREATE VIEW public.begun AS SELECT d.profile_id, e.properties->'n' AS n, rule FROM eventmkt_data.decision d JOIN eventmkt_data.event e USING (event_id)
	WHERE d.profile_id IN ('forward', 'back') AND d.rule = 'each' AND outcome = 'recorded';
SELECT profile_id, count(*), max(n::int) FROM public.begun GROUP BY 1 ORDER BY 1;
SELECT count(*) AS differ FROM (SELECT n FROM public.begun GROUP BY n HAVING count(*) <> 2) x;
SELECT sum((facts->>'count')::int) AS surplus, count(*) > 1 AS batches FROM eventmkt_data.decision WHERE reason = 'storm' AND rule = 'each'
	AND profile_id = 'back';
-- events that are the same in all but their arrival: the limit holds too
SELECT eventmkt.track_many(jsonb_agg(jsonb_build_object('user_id', 'same', 'event', 'Opened', 'occurred_at', at))) FROM public.t2, generate_series(1, 500);
SELECT eventmkt.run_due(100000) > 0 AS ran;
SELECT rule, outcome, reason, count(*), facts->'count' AS events FROM eventmkt_data.decision WHERE profile_id = 'same' AND rule = 'each'
	GROUP BY rule, outcome, reason, facts->'count' ORDER BY outcome;
-- who asks why is told
SELECT * FROM eventmkt.why_not('u', 'each') LIMIT 3;

-- S3: records of two people that become one; starts at one time; what a start costs
\set QUIET on
SET client_min_messages = error;
SET timezone = 'UTC';
SELECT count(*) AS init FROM eventmkt.init();
CREATE TABLE public.base AS SELECT date_trunc('day', eventmkt.clock()) + interval '2 days' AS t0;
CREATE FUNCTION public.tell(who text, name text, VARIADIC hours numeric[]) RETURNS void LANGUAGE sql AS $$
	SELECT eventmkt.track(who, name, '{}', (SELECT t0 FROM public.base) + h * interval '1 hour') FROM unnest(hours) h $$;
CREATE FUNCTION public.tell_anon(who text, name text, VARIADIC hours numeric[]) RETURNS void LANGUAGE sql AS $$
	SELECT eventmkt.track(NULL, name, '{}', (SELECT t0 FROM public.base) + h * interval '1 hour', NULL, who) FROM unnest(hours) h $$;
CREATE FUNCTION public.clock_to(h numeric) RETURNS bool LANGUAGE sql AS $$
	SELECT eventmkt.advance_clock((SELECT t0 FROM public.base) + h * interval '1 hour' - eventmkt.clock()) IS NOT NULL $$;
CREATE FUNCTION public.hour(t timestamptz) RETURNS numeric LANGUAGE sql AS $$ SELECT round(extract(epoch FROM t - t0) / 3600, 2) FROM public.base $$;
CREATE VIEW public.runs AS SELECT r.name AS rule, p.profile_id, public.hour(p.started_at) AS started, public.hour(p.event_at) AS data, public.hour(p.due_at) AS due,
	p.rule_version AS version, octet_length(p.starts) / 20 AS starts FROM eventmkt_data.pending_trigger p JOIN eventmkt_data.rule r USING (rule_id) WHERE r.current ORDER BY 1, 2, 3;
CREATE VIEW public.ends AS SELECT d.rule, d.profile_id, public.hour(d.started_at) AS started, d.outcome, d.reason
	FROM eventmkt_data.decision d WHERE d.run_id IS NOT NULL ORDER BY 1, 2, 3, decision_id;
SELECT eventmkt.advance_clock((SELECT t0 FROM public.base) - eventmkt.clock()) IS NOT NULL AS on_the_day;
SELECT eventmkt.maintain();


-- debounce keeps the first and the newest start of a series; where another one lies in it, they are one all the same, whoever is merged into whom
SELECT eventmkt.create_rule('deb', on_event => 'D', after => '30 minutes', max_lateness => '1 day', send_to => 'none') > 0 AS made;
SELECT public.clock_to(11.02);
SELECT public.tell('p', 'D', 10, 10.33, 10.67, 11), public.tell_anon('q', 'D', 10.85);
SELECT public.tell('p2', 'D', 10.85), public.tell_anon('q2', 'D', 10, 10.33, 10.67, 11);
SELECT public.tell('p3', 'D', 10, 10.33, 10.67), public.tell_anon('q3', 'D', 10.85, 11);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT eventmkt.identify('p', '{}', 'q') IS NOT NULL AS one, eventmkt.identify('p2', '{}', 'q2') IS NOT NULL AS two, eventmkt.identify('p3', '{}', 'q3') IS NOT NULL AS three;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.runs;
SELECT public.clock_to(13);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.ends WHERE outcome <> 'cancelled';
SELECT b.profile_id, public.hour(b.started_at) AS started, b.outcome FROM eventmkt.backtest('deb', (SELECT t0 FROM public.base), eventmkt.clock()) b ORDER BY 1, 2;

-- of two rows of one series the one takes the place (slot) that the other leaves
SELECT eventmkt.create_rule('sl', on_event => 'S', after => '30 minutes', max_lateness => '1 day', send_to => 'none') > 0 AS made;
SELECT public.clock_to(20);
SELECT public.tell('P', 'S', 20);
SELECT eventmkt.run_due(1);
SELECT public.clock_to(22);
SELECT public.tell_anon('Q', 'S', 21.6667);
SELECT eventmkt.run_due(1);
SELECT eventmkt.identify('P', '{}', 'Q') IS NOT NULL AS one;
SELECT eventmkt.run_due(1);
SELECT public.tell('P', 'S', 21.0834, 21.4167);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.runs WHERE rule = 'sl';
SELECT * FROM public.ends WHERE rule = 'sl';

-- 400 starts at one time: which has the data is known without reading those before it again
SELECT eventmkt.create_rule(k, on_event => 'T', after => '30 minutes', on_repeat => k, send_to => 'none') > 0 AS made FROM unnest('{ignore,replace}'::text[]) k;
SELECT public.clock_to(30.1);
SELECT count(*) FROM (SELECT eventmkt.track('tied', 'T', jsonb_build_object('n', i * 7 % 401), (SELECT t0 FROM public.base) + interval '30 hours', 'm' || i * 7 % 401)
	FROM generate_series(1, 400) i) t;
BEGIN;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT sum(idx_scan) < 200 AS few FROM pg_stat_xact_user_tables WHERE schemaname = 'eventmkt_data' AND relname ~ '^event_';
COMMIT;
SELECT r.name, p.properties, p.message_id, octet_length(p.starts) / 20 AS starts FROM eventmkt_data.pending_trigger p JOIN eventmkt_data.rule r USING (rule_id)
	WHERE p.profile_id = 'tied' ORDER BY 1;
-- and beyond what a record holds, a batch later; the least and the greatest are the last
SELECT count(*) FROM (SELECT eventmkt.track('tied', 'T', '{"n": "more"}', (SELECT t0 FROM public.base) + interval '30 hours', m) FROM unnest('{mm,a,z}'::text[]) m) t;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT r.name, p.properties, p.message_id FROM eventmkt_data.pending_trigger p JOIN eventmkt_data.rule r USING (rule_id) WHERE p.profile_id = 'tied' ORDER BY 1;

-- a run of an older version asks once a pass whether it is cancelled, not at each start
SELECT eventmkt.create_rule('old', on_event => 'V', after => '30 minutes', unless => ARRAY['W'], send_to => 'none') > 0 AS made;
SELECT public.tell('versions', 'V', 30.05);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT eventmkt.replace_rule('old', on_event => 'V', after => '40 minutes', unless => ARRAY['W'], send_to => 'none') > 0 AS replaced;
SELECT public.clock_to(30.2);
SELECT count(*) FROM (SELECT eventmkt.track('versions', 'V', '{}', (SELECT t0 FROM public.base) + interval '30.1 hours' + i * interval '1 second') FROM generate_series(1, 300) i) t;
BEGIN;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT sum(idx_scan) < 500 AS few FROM pg_stat_xact_user_tables WHERE schemaname = 'eventmkt_data' AND relname ~ '^event_';
COMMIT;
SELECT started, due, version, starts FROM public.runs WHERE rule = 'old';

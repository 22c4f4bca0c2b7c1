-- S3: a run remembers which starts it took in, so what came while its rule was disabled, was loaded or refused never begins one
\set QUIET on
SET client_min_messages = error;
SET timezone = 'UTC';
SELECT count(*) AS init FROM eventmkt.init();
SELECT eventmkt.advance_clock(date_trunc('hour', eventmkt.clock()) + interval '1 hour' - eventmkt.clock()) IS NOT NULL AS on_the_hour;
CREATE TABLE public.base AS SELECT date_trunc('hour', eventmkt.clock()) AS t0;
CREATE FUNCTION public.tell(who text, name text, VARIADIC hours numeric[]) RETURNS void LANGUAGE sql AS $$
	SELECT eventmkt.track(who, name, '{}', (SELECT t0 FROM public.base) + h * interval '1 hour') FROM unnest(hours) h $$;
CREATE FUNCTION public.clock_to(h numeric) RETURNS bool LANGUAGE sql AS $$
	SELECT eventmkt.advance_clock((SELECT t0 FROM public.base) + h * interval '1 hour' - eventmkt.clock()) IS NOT NULL $$;
CREATE VIEW public.runs AS SELECT r.name AS rule, p.profile_id, round(extract(epoch FROM p.started_at - t0) / 3600, 2) AS started,
	round(extract(epoch FROM p.event_at - t0) / 3600, 2) AS data, round(extract(epoch FROM p.due_at - t0) / 3600, 2) AS due, p.rule_version AS version
	FROM eventmkt_data.pending_trigger p JOIN eventmkt_data.rule r USING (rule_id), public.base WHERE r.current ORDER BY 1, 2, 3;
CREATE VIEW public.ends AS SELECT d.rule, d.profile_id, round(extract(epoch FROM d.started_at - t0) / 3600, 2) AS started, d.outcome, d.reason
	FROM eventmkt_data.decision d, public.base WHERE d.run_id IS NOT NULL ORDER BY 1, 2, 3, decision_id;
SELECT eventmkt.create_rule('ign', on_event => 'A', after => '9 hours', on_repeat => 'ignore', unless => ARRAY['B'], where_profile => '$.tier == "gold"',
	send_to => 'none') > 0 AS made;
SELECT eventmkt.create_rule('rep', on_event => 'A', after => '9 hours', on_repeat => 'replace', unless => ARRAY['B'], where_profile => '$.tier == "gold"',
	send_to => 'none') > 0 AS made;
SELECT count(eventmkt.identify(who, '{"tier": "gold"}')) AS gold FROM unnest('{off,loaded,refused}'::text[]) who;
SELECT public.clock_to(1);
SELECT public.tell('off', 'A', 1), public.tell('loaded', 'A', 1), public.tell('refused', 'A', 1);
SELECT eventmkt.run_due() > 0 AS ran;

-- these three at 2 o'clock are no starts: the rules are disabled, it is history, its profile is in no audience
SELECT public.clock_to(2);
SELECT eventmkt.disable_rule('ign'), eventmkt.disable_rule('rep');
SELECT public.tell('off', 'A', 2);
SELECT eventmkt.enable_rule('ign'), eventmkt.enable_rule('rep');
BEGIN;
SET LOCAL eventmkt.fire = off;
SELECT public.tell('loaded', 'A', 2);
COMMIT;
SELECT eventmkt.identify('refused', '{"tier": "silver"}');
SELECT public.tell('refused', 'A', 2);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT eventmkt.identify('refused', '{"tier": "gold"}');
SELECT public.clock_to(3);
SELECT public.tell('off', 'A', 3), public.tell('loaded', 'A', 3), public.tell('refused', 'A', 3);
SELECT eventmkt.run_due() > 0 AS ran;
-- what began at 1 is cancelled: of what came since the start at 3 is left
SELECT public.tell('off', 'B', 1.5), public.tell('loaded', 'B', 1.5), public.tell('refused', 'B', 1.5);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.runs;
-- the same where a start told late moves a run back: of the three at 2 none is split from it
SELECT public.tell('off', 'A', 2.9), public.tell('loaded', 'A', 2.9), public.tell('refused', 'A', 2.9);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.runs;
SELECT eventmkt.drop_rule('ign'), eventmkt.drop_rule('rep');
SELECT eventmkt.run_due() > 0 AS ran;
SELECT count(*) AS left_behind FROM eventmkt_data.pending_trigger;

-- debounce: a start told late, with nothing but an event that was no start between it and the run: a series of its own
SELECT public.clock_to(20);
SELECT eventmkt.create_rule('deb', on_event => 'A', after => '2 hours', send_to => 'none') > 0 AS made;
SELECT eventmkt.disable_rule('deb');
SELECT public.tell('gap', 'A', 18.5);
SELECT eventmkt.enable_rule('deb');
SELECT public.tell('gap', 'A', 20);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT public.tell('gap', 'A', 17);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.ends WHERE rule = 'deb';
-- a start between two series, near enough to both, makes them one
SELECT eventmkt.create_rule('near', on_event => 'N', after => '30 minutes', send_to => 'none') > 0 AS made;
SELECT public.tell('bridged', 'N', 20, 20.7), public.tell('apart', 'N', 20, 20.7);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.runs WHERE rule = 'near';
SELECT public.tell('bridged', 'N', 20.4), public.tell('apart', 'N', 20.1);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.runs WHERE rule = 'near';

-- what begins anew at its gate joins the run that waits beside it: one series, as if the cancelling event had been known
SELECT eventmkt.create_rule('gate', on_event => 'G', after => '30 minutes', on_repeat => 'ignore', unless => ARRAY['B'], send_to => 'none') > 0 AS made;
SELECT public.tell('beside', 'G', 20, 20.3, 20.7);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.runs WHERE rule = 'gate';
BEGIN;
SET LOCAL eventmkt.fire = off;
SELECT public.tell('beside', 'B', 20.2);
COMMIT;
SELECT public.clock_to(20.5);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.runs WHERE rule = 'gate';

-- a run that the old version of its rule cancels and the new one does not: a start by the new version is not lost with it
SELECT eventmkt.create_rule('v', on_event => 'V', after => '12 hours', unless => ARRAY['W'], look_back => '1 hour', send_to => 'none') > 0 AS made;
SELECT public.clock_to(21);
SELECT public.tell('renewed', 'V', 21);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT eventmkt.replace_rule('v', on_event => 'V', after => '1 hour', unless => ARRAY['W'], unless_where => '$.big == true', look_back => '1 hour', send_to => 'none') > 0 AS made;
SELECT public.clock_to(24);
SELECT public.tell('renewed', 'W', 24);
SELECT public.tell('renewed', 'V', 24.5);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.runs WHERE rule = 'v';
SELECT public.clock_to(26);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.ends WHERE rule = 'v';
-- and one that a run of the old version took in begins anew by the version that let it in
SELECT eventmkt.create_rule('w', on_event => 'V', after => '9 hours', on_repeat => 'ignore', unless => ARRAY['W'], send_to => 'none') > 0 AS made;
SELECT public.tell('older', 'V', 26);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT eventmkt.replace_rule('w', on_event => 'V', after => '3 hours', on_repeat => 'ignore', unless => ARRAY['W'], send_to => 'none') > 0 AS made;
SELECT public.clock_to(27);
SELECT public.tell('older', 'V', 27);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.runs WHERE rule = 'w';
SELECT public.tell('older', 'W', 26.5);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.runs WHERE rule = 'w';

-- two people are one: so are their starts, of both runs
SELECT eventmkt.create_rule('m', on_event => 'M', after => '9 hours', on_repeat => 'replace', unless => ARRAY['B'], send_to => 'none') > 0 AS made;
SELECT public.tell('one', 'M', 24, 27);
SELECT count(eventmkt.track(NULL, 'M', '{}', t0 + h * interval '1 hour', NULL, 'two')) AS told FROM public.base, unnest('{25,26}'::int[]) h;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT eventmkt.identify('one', '{}', 'two');
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.runs WHERE rule = 'm';
SELECT public.tell('one', 'B', 25.5);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.runs WHERE rule = 'm';

-- a run remembers its first start and its newest: of those between nothing begins anew
SELECT eventmkt.create_rule('many', on_event => 'L', after => '9 hours', on_repeat => 'ignore', unless => ARRAY['B'], send_to => 'none') > 0 AS made;
SELECT count(eventmkt.track('long', 'L', '{}', t0 + interval '22 hours' + i * interval '36 seconds')) AS told FROM public.base, generate_series(1, 300) i;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT octet_length(starts) / 20 AS remembered FROM eventmkt_data.pending_trigger WHERE profile_id = 'long';
SELECT public.tell('long', 'B', 22.1);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.runs WHERE rule = 'many';

-- tables of data version 4: of a run from then the newest start is known by its time, and begins anew
SELECT public.tell('before', 'M', 26, 26.5);
SELECT eventmkt.run_due() > 0 AS ran;
ALTER TABLE eventmkt_data.pending_trigger DROP COLUMN starts;
UPDATE eventmkt_data.setting SET value = '4' WHERE key = 'data_version';
SELECT count(*) > 0 AS init FROM eventmkt.init();
SELECT public.tell('before', 'B', 26.2);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.runs WHERE profile_id = 'before';

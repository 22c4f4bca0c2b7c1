-- S3: what begins anew after it was cancelled: never its own start, and one with what falls due beside it; runs of two versions; damaged records
\set QUIET on
SET client_min_messages = error;
SET timezone = 'UTC';
SELECT count(*) AS init FROM eventmkt.init();
-- the next 31st that is no day of the month before: a month back and forth is no way home
CREATE TABLE public.base AS SELECT min(d) AS t0 FROM generate_series(date_trunc('day', eventmkt.clock()) + interval '2 days', eventmkt.clock() + interval '1 year', interval '1 day') d
	WHERE extract(day FROM d) = 31 AND extract(day FROM d - interval '1 month') < 31;
CREATE FUNCTION public.tell(who text, name text, VARIADIC hours numeric[]) RETURNS void LANGUAGE sql AS $$
	SELECT eventmkt.track(who, name, '{}', (SELECT t0 FROM public.base) + h * interval '1 hour') FROM unnest(hours) h $$;
CREATE FUNCTION public.tell_month_before(who text, name text, hour numeric) RETURNS void LANGUAGE sql AS $$
	SELECT eventmkt.track(who, name, '{}', (SELECT t0 FROM public.base) - interval '1 month' + hour * interval '1 hour') $$;
CREATE FUNCTION public.clock_to(h numeric) RETURNS bool LANGUAGE sql AS $$
	SELECT eventmkt.advance_clock((SELECT t0 FROM public.base) + h * interval '1 hour' - eventmkt.clock()) IS NOT NULL $$;
CREATE FUNCTION public.hour(t timestamptz) RETURNS numeric LANGUAGE sql AS $$ SELECT round(extract(epoch FROM t - t0) / 3600, 2) FROM public.base $$;
CREATE FUNCTION public.caught(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	state text; message text; detail text; hint text;
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(' / ', state, regexp_replace(message, 'run \d+', 'run N'), nullif(detail, ''), nullif(hint, ''));
END $$;
CREATE VIEW public.runs AS SELECT r.name AS rule, p.profile_id, public.hour(p.started_at) AS started, public.hour(p.event_at) AS data, public.hour(p.due_at) AS due,
	p.rule_version AS version, octet_length(p.starts) / 20 AS starts FROM eventmkt_data.pending_trigger p JOIN eventmkt_data.rule r USING (rule_id) WHERE r.current ORDER BY 1, 2, 3;
CREATE VIEW public.ends AS SELECT d.rule, d.profile_id, public.hour(d.started_at) AS started, d.outcome, d.reason
	FROM eventmkt_data.decision d WHERE d.run_id IS NOT NULL ORDER BY 1, 2, 3, decision_id;
SELECT eventmkt.advance_clock((SELECT t0 FROM public.base) - eventmkt.clock()) IS NOT NULL AS on_the_day;
SELECT eventmkt.maintain();

-- look_back in months: of what is cancelled only later starts begin anew, at the gate, by an event told late, beside a new version
SELECT eventmkt.create_rule('gate', on_event => 'A', after => '9 hours', on_repeat => 'ignore', unless => ARRAY['B'], look_back => '1 month', send_to => 'none') > 0 AS made;
SELECT eventmkt.create_rule('late', on_event => 'C', after => '9 hours', on_repeat => 'ignore', unless => ARRAY['B'], look_back => '1 month', send_to => 'none') > 0 AS made;
SELECT eventmkt.create_rule('renew', on_event => 'D', after => '9 hours', on_repeat => 'ignore', unless => ARRAY['B'], look_back => '1 month', send_to => 'none') > 0 AS made;
SELECT public.tell_month_before('at_gate', 'B', 18), public.tell_month_before('renewed', 'B', 18);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT public.clock_to(18.6);
SELECT public.tell('at_gate', 'A', 10, 15, 18.5), public.tell('told_late', 'C', 10, 15, 18.5), public.tell('renewed', 'D', 10, 15, 18.5);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT public.tell_month_before('told_late', 'B', 18);
SELECT eventmkt.replace_rule('renew', on_event => 'D', after => '10 hours', on_repeat => 'ignore', unless => ARRAY['B'], look_back => '1 month', send_to => 'none') > 0 AS made;
SELECT public.tell('renewed', 'D', 18.55);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.runs;
SELECT public.clock_to(30);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.ends;
SELECT count(*) AS left_behind FROM eventmkt_data.pending_trigger;
SELECT profile_id, public.hour(started_at) AS started, outcome FROM eventmkt.backtest('gate', (SELECT t0 FROM public.base) - interval '1 month', eventmkt.clock()) ORDER BY 1, 2, 3;
SELECT eventmkt.drop_rule(r) FROM unnest('{gate,late,renew}'::text[]) r;

-- two series fall due in one pass, and what cancels the first was loaded: the rest of it and the second are one, as a backtest has it
SELECT public.clock_to(40);
SELECT eventmkt.create_rule('pass', on_event => 'P', after => '30 minutes', on_repeat => 'ignore', unless => ARRAY['X'], max_lateness => '1 day', send_to => 'none') > 0 AS made;
SELECT public.clock_to(40.66);
SELECT public.tell('both', 'P', 40.34, 40.64, 40.87), public.tell('apart', 'P', 40.2, 40.4, 40.95);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.runs WHERE rule = 'pass';
BEGIN;
SET LOCAL eventmkt.fire = off;
SELECT public.tell('both', 'X', 40.5), public.tell('apart', 'X', 40.3);
COMMIT;
SELECT public.clock_to(42);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.ends WHERE rule = 'pass';
SELECT profile_id, public.hour(started_at) AS started, outcome FROM eventmkt.backtest('pass', (SELECT t0 FROM public.base) + interval '40 hours', eventmkt.clock()) ORDER BY 1, 2, 3;
SELECT count(*) AS left_behind FROM eventmkt_data.pending_trigger;
-- the same with events taken and decided at once, long after
SELECT public.clock_to(44);
SELECT public.tell('long_after', 'P', 42.34, 42.64, 42.87);
BEGIN;
SET LOCAL eventmkt.fire = off;
SELECT public.tell('long_after', 'X', 42.5);
COMMIT;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.ends WHERE profile_id = 'long_after';
SELECT count(*) AS left_behind FROM eventmkt_data.pending_trigger;

-- two people who are one wake the runs of both: what one did cancels a run of the other, and the rest is one with the run beside it
SELECT public.clock_to(46.66);
SELECT public.tell('joined', 'P', 46.34, 46.64);
SELECT count(eventmkt.track(NULL, name, '{}', t0 + h * interval '1 hour', NULL, 'joins')) AS told FROM public.base, (VALUES ('P', 46.87), ('X', 46.5)) v (name, h);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.runs WHERE rule = 'pass';
SELECT eventmkt.identify('joined', '{}', 'joins');
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.runs WHERE rule = 'pass';
SELECT public.clock_to(48);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.ends WHERE profile_id = 'joined';
SELECT profile_id, public.hour(started_at) AS started, outcome FROM eventmkt.backtest('pass', (SELECT t0 FROM public.base) + interval '46 hours', eventmkt.clock()) ORDER BY 1, 2, 3;

-- runs of two versions, which repeat in different ways, are one person's: by the older one, its start, due time and data
SELECT public.clock_to(50);
SELECT eventmkt.create_rule('mix', on_event => 'M', after => '4 hours', send_to => 'none') > 0 AS made;
SELECT public.clock_to(61.5);
SELECT count(eventmkt.track(NULL, 'M', '{}', t0 + interval '58 hours', NULL, 'older')) AS told FROM public.base;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT eventmkt.replace_rule('mix', on_event => 'M', after => '9 hours', on_repeat => 'ignore', send_to => 'none') > 0 AS made;
SELECT public.tell('newer', 'M', 53, 57, 61);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.runs WHERE rule = 'mix';
SELECT eventmkt.identify('newer', '{}', 'older');
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.runs WHERE rule = 'mix';
-- the other way round: the older version is of ignore, and what lies beyond its delay goes on by itself
SELECT eventmkt.drop_rule('mix');
SELECT public.clock_to(70);
SELECT eventmkt.create_rule('xim', on_event => 'M', after => '2 hours', on_repeat => 'replace', send_to => 'none') > 0 AS made;
SELECT public.clock_to(71.5);
SELECT count(eventmkt.track(NULL, 'M', '{}', t0 + interval '70 hours', NULL, 'first')) AS told FROM public.base;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT eventmkt.replace_rule('xim', on_event => 'M', after => '9 hours', send_to => 'none') > 0 AS made;
SELECT public.tell('then', 'M', 70.5, 71, 72.3);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT eventmkt.identify('then', '{}', 'first');
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.runs WHERE rule = 'xim';
SELECT eventmkt.drop_rule('xim');
SELECT eventmkt.run_due() >= 0 AS ran;

-- a run without a record is merged: the start that it knows by its time only is found
SELECT eventmkt.create_rule('known', on_event => 'K', after => '9 hours', on_repeat => 'replace', unless => ARRAY['B'], send_to => 'none') > 0 AS made;
SELECT public.tell('oldest', 'K', 71.1);
SELECT count(eventmkt.track(NULL, 'K', '{}', t0 + h * interval '1 hour', NULL, 'browser7')) AS told FROM public.base, unnest('{71.2,71.3}'::numeric[]) h;
SELECT eventmkt.run_due() > 0 AS ran;
UPDATE eventmkt_data.pending_trigger SET starts = NULL;
SELECT eventmkt.identify('oldest', '{}', 'browser7');
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.runs WHERE rule = 'known';
SELECT count(*) AS unknown FROM eventmkt_data.pending_trigger, generate_series(0, octet_length(starts) / 20 - 1) i WHERE substring(starts FROM i * 20 + 9 FOR 8) = '\x0000000000000000';

-- a row that an older library changed: its record is not believed
UPDATE eventmkt_data.pending_trigger SET last_at = last_at + interval '3 minutes';
SELECT public.tell('oldest', 'K', 71.4);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.runs WHERE rule = 'known';
-- a damaged one stops the pass with an error that names the run
UPDATE eventmkt_data.pending_trigger SET starts = substring(starts FOR 33);
SELECT public.tell('oldest', 'K', 71.45);
SELECT public.caught('SELECT eventmkt.run_due()');
UPDATE eventmkt_data.pending_trigger SET starts = decode(repeat('00', 40), 'hex');
SELECT public.caught('SELECT eventmkt.run_due()');
UPDATE eventmkt_data.pending_trigger SET starts = NULL;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.runs WHERE rule = 'known';

-- the library is newer than the tables: run_due() says what to do
UPDATE eventmkt_data.setting SET value = '4' WHERE key = 'data_version';
DROP VIEW public.runs;
ALTER TABLE eventmkt_data.pending_trigger DROP COLUMN starts;
SELECT public.caught('SELECT eventmkt.run_due()');
SELECT count(*) > 0 AS init FROM eventmkt.init();
SELECT public.tell('oldest', 'K', 71.46);
SELECT eventmkt.run_due() > 0 AS ran;

-- S3: a start that arrives when its series was decided already; the cases were found by test/tap/340_model.pl
\set QUIET on
SET client_min_messages = error;
SET timezone = 'UTC';
SELECT count(*) AS init FROM eventmkt.init();
SELECT eventmkt.advance_clock(date_trunc('hour', eventmkt.clock()) + interval '1 hour' - eventmkt.clock()) IS NOT NULL AS on_the_hour;
SELECT date_trunc('hour', eventmkt.clock()) - interval '20 hours' AS t0 \gset
SELECT eventmkt.create_rule('ign', on_event => 'A', after => '2 hours', on_repeat => 'ignore', unless => ARRAY['B'], max_lateness => '100 hours', send_to => 'none') > 0 AS made;
SELECT eventmkt.create_rule('rep', on_event => 'A', after => '2 hours', on_repeat => 'replace', unless => ARRAY['B'], max_lateness => '100 hours', send_to => 'none') > 0 AS made;
SELECT eventmkt.create_rule('third', on_event => 'V', at_least => 3, max_lateness => '100 hours', send_to => 'none') > 0 AS made;
CREATE TABLE public.base AS SELECT :'t0'::timestamptz AS t0;
CREATE FUNCTION public.tell(who text, name text, VARIADIC hours numeric[]) RETURNS void LANGUAGE sql AS $$
	SELECT eventmkt.track(who, name, '{}', (SELECT t0 FROM public.base) + h * interval '1 hour') FROM unnest(hours) h $$;
CREATE VIEW public.sends AS SELECT d.profile_id, d.rule, round(extract(epoch FROM d.started_at - t0) / 3600, 1) AS started, d.outcome
	FROM eventmkt_data.decision d, public.base ORDER BY 1, 2, 3, decision_id;
-- within the delay of a series that was decided, edge included: nothing, in whatever order told
SELECT public.tell('within', 'A', 0);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT public.tell('within', 'A', 1, 2);
SELECT eventmkt.run_due() > 0 AS ran;
-- after it: another series, though an event that belongs to the first comes in the same batch
SELECT public.tell('after', 'A', 0);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT public.tell('after', 'A', 1, 2.5);
SELECT eventmkt.run_due() > 0 AS ran;
-- a series that was over before the one that was decided: its own message
SELECT public.tell('before', 'A', 10);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT public.tell('before', 'A', 3);
SELECT eventmkt.run_due() > 0 AS ran;
-- one that would have begun the series that was decided: nothing more
SELECT public.tell('begun', 'A', 10);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT public.tell('begun', 'A', 9);
SELECT eventmkt.run_due() > 0 AS ran;
-- a run that waits does not begin earlier for what belongs to the series before it
SELECT public.tell('waits', 'A', 18);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT public.tell('waits', 'A', 20.5);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT public.tell('waits', 'A', 19);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT profile_id, extract(epoch FROM due_at - t0) / 3600 AS due FROM eventmkt_data.pending_trigger, public.base ORDER BY 1, 2;
-- two late starts of one series in one batch, beside a run that waits: one message; and the second does not move that run back
SELECT public.tell('pair', 'A', 20.5);
SELECT public.tell('chain', 'A', 20.5);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT public.tell('pair', 'A', 3.5, 3);
SELECT public.tell('chain', 'A', 17, 18.6);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT profile_id, extract(epoch FROM due_at - t0) / 3600 AS due FROM eventmkt_data.pending_trigger, public.base WHERE profile_id IN ('pair', 'chain') ORDER BY 1, 2;
-- a late start that belongs to a decided series, with one folded in that does not, beside a run that waits and begins within that one's delay: one run
SELECT public.tell('taken', 'A', 15);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT public.tell('taken', 'A', 20.5);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT public.tell('taken', 'A', 16.8, 18.7);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT profile_id, round(extract(epoch FROM started_at - t0) / 3600, 1) AS started, round(extract(epoch FROM due_at - t0) / 3600, 1) AS due FROM eventmkt_data.pending_trigger, public.base WHERE profile_id = 'taken';
-- cancelled, begun anew from what was folded in, cancelled again: the third start is not lost
SELECT public.tell('thrice', 'A', 18.5, 19, 20);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT public.tell('thrice', 'B', 18.7);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT public.tell('thrice', 'B', 19.5);
SELECT eventmkt.run_due() > 0 AS ran;
-- one cancelled start told twice, the second time together with a newer one: that is not lost
SELECT public.tell('again', 'A', 18.5);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT public.tell('again', 'B', 18.7);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT public.tell('again', 'A', 18.5, 19.5);
SELECT eventmkt.run_due() > 0 AS ran;
-- a run that is moved back to an older start: what was folded into it and lies beyond its new due time has a message of its own
SELECT public.tell('split', 'A', 18.5, 20);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT public.tell('split', 'A', 17);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT profile_id, extract(epoch FROM started_at - t0) / 3600 AS started, extract(epoch FROM due_at - t0) / 3600 AS due FROM eventmkt_data.pending_trigger, public.base WHERE profile_id = 'split' ORDER BY 1, 2;
-- a run that was cancelled before it began, then two more starts of one series, all told at once: one message
SELECT public.tell('aside', 'B', 16);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT public.tell('aside', 'A', 16, 17, 18.5);
SELECT eventmkt.run_due() > 0 AS ran;
-- what a merged profile had done cancels a run of the survivor at once (S12)
SELECT public.tell('survivor', 'A', 19);
SELECT eventmkt.track(NULL, 'B', '{}', t0 + interval '19.5 hours', NULL, 'merged_b') IS NULL AS x FROM public.base;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT eventmkt.identify('survivor', '{}', 'merged_b');
SELECT eventmkt.run_due() > 0 AS ran;
SELECT count(*) AS waiting FROM eventmkt_data.pending_trigger WHERE profile_id = 'survivor';
SELECT eventmkt.advance_clock('10 hours') IS NOT NULL AS moved;
SELECT eventmkt.run_due() > 0 AS ran;
-- what was decided under an id that is merged into another since is decided (S12)
SELECT eventmkt.track(NULL, 'V', '{}', t0 + h * interval '1 hour', NULL, 'anon') IS NULL AS x FROM public.base, unnest('{1,2,3}'::int[]) h;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT eventmkt.identify('merged', '{}', 'anon');
SELECT public.tell('merged', 'V', 4);
SELECT public.tell('merged', 'V', 2.5);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.sends;
SELECT count(*) AS left_behind FROM eventmkt_data.pending_trigger;
-- and within the last second: of a series that has just been decided; of debounce, one that another follows
SELECT eventmkt.create_rule('quick', on_event => 'A', after => '300 ms', max_lateness => '100 hours', send_to => 'none') > 0 AS made;
DO $$
DECLARE
	s timestamptz = eventmkt.clock();
BEGIN
	PERFORM eventmkt.track('just', 'A', '{}', s - interval '2 hours' + interval '20 ms');
	PERFORM pg_sleep(0.05);
	PERFORM eventmkt.run_due();
	PERFORM eventmkt.track('just', 'A', '{}', s + interval '10 ms');
	PERFORM eventmkt.track('quick', 'A', '{}', s - interval '400 ms');
	PERFORM eventmkt.run_due();
	PERFORM eventmkt.track('quick', 'A', '{}', s - interval '500 ms');
	PERFORM eventmkt.run_due();
END $$;
SELECT d.profile_id, d.rule, d.outcome, count(*) FROM eventmkt_data.decision d WHERE d.profile_id = 'just' AND d.rule <> 'quick' OR d.profile_id = 'quick'
	GROUP BY 1, 2, 3 ORDER BY 1, 2;
SELECT p.profile_id, r.name, count(*) FROM eventmkt_data.pending_trigger p JOIN eventmkt_data.rule r ON r.rule_id = p.rule_id
	WHERE p.profile_id IN ('just', 'quick') AND r.name IN ('ign', 'rep') GROUP BY 1, 2 ORDER BY 1, 2;
-- counts: an edge that is known only after a later one was decided, or while a later one waits, has a message of its own
SELECT eventmkt.create_rule('c ' || r, on_event => 'C', at_least => 3, within => CASE r WHEN 'brief' THEN '6 minutes' ELSE '2 hours' END::interval,
	after => CASE r WHEN 'at once' THEN '0' ELSE '30 minutes' END::interval, on_repeat => CASE r WHEN 'ignore' THEN r WHEN 'parallel' THEN r ELSE 'debounce' END,
	max_lateness => '100 hours', send_to => 'none') > 0 AS made FROM unnest('{at once,brief,debounce,ignore,parallel}'::text[]) r;
SELECT public.tell('anew', 'C', 20, 20.04, 20.08);
SELECT public.tell('live', 'C', 30, 30.04, 30.08);
SELECT public.tell('moved', 'C', 20, 21, 21.9);
SELECT public.tell('moving', 'C', 28.7, 29.4, 30.1);
SELECT public.tell('followed', 'C', 10.25, 10.28, 10.3);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT public.tell('anew', 'C', 13, 13.04, 13.08);
SELECT public.tell('live', 'C', 13, 13.04, 13.08);
-- but not one that a late event moved, nor, of debounce, one that another follows
SELECT public.tell('moved', 'C', 19.95);
SELECT public.tell('moving', 'C', 28.6);
SELECT public.tell('followed', 'C', 10, 10.02, 10.05);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.sends WHERE rule LIKE 'c %' ORDER BY 1, 2, 3;
SELECT p.profile_id, r.name, extract(epoch FROM due_at - t0) / 3600 AS due FROM eventmkt_data.pending_trigger p JOIN eventmkt_data.rule r
	ON r.rule_id = p.rule_id, public.base WHERE r.name LIKE 'c %' ORDER BY 1, 2;

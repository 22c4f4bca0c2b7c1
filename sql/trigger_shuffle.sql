-- invariant 7: the state of runs is a function of the committed events, not of their order of arrival or of the batches
\set QUIET on
SET client_min_messages = error;
SELECT count(*) AS init FROM eventmkt.init();
SELECT setseed(0.17);
SELECT eventmkt.create_rule('deb', on_event => 'A', per => 'k', after => '3 hours', unless => ARRAY['B'], max_lateness => '10 days', send_to => 'none') AS rule;
SELECT eventmkt.create_rule('ign', on_event => 'A', per => 'k', after => '3 hours', on_repeat => 'ignore', unless => ARRAY['B'], max_lateness => '10 days', send_to => 'none') AS rule;
SELECT eventmkt.create_rule('rep', on_event => 'A', per => 'k', after => '3 hours', on_repeat => 'replace', unless => ARRAY['B'], max_lateness => '10 days', send_to => 'none') AS rule;
SELECT eventmkt.create_rule('par', on_event => 'A', per => 'k', after => '3 hours', on_repeat => 'parallel', unless => ARRAY['B'], max_lateness => '10 days', send_to => 'none') AS rule;
SELECT eventmkt.create_rule('cnt', on_event => 'A', per => 'k', at_least => 3, within => '40 minutes', max_lateness => '10 days', send_to => 'none') AS rule;
SELECT eventmkt.create_rule('sil', on_event => 'A', unless => ARRAY['A'], after => '2 hours', max_lateness => '10 days', send_to => 'none') AS rule;
-- one history of two hours for 150 people, told to twins in event order, in random order, and in random order in small batches
CREATE TABLE public.base AS SELECT eventmkt.clock() - interval '2 hours' AS t0;
CREATE TABLE public.history AS
	SELECT u, CASE WHEN random() < 0.8 THEN 'A' ELSE 'B' END AS name, jsonb_build_object('k', floor(random() * 2), 'n', n) AS props,
		floor(random() * 119) AS minute, random() AS shuffle
	FROM generate_series(1, 150) u, generate_series(1, 9) n WHERE random() < 0.7;
CREATE FUNCTION public.tell(who text, h public.history) RETURNS void LANGUAGE sql AS $$
	SELECT eventmkt.track(who || ' ' || h.u, h.name, h.props, (SELECT t0 FROM public.base) + h.minute * interval '1 minute') $$;
SELECT count(public.tell('ordered', h)) > 500 AS told FROM (SELECT * FROM public.history ORDER BY minute) h;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT count(public.tell('shuffled', h)) > 500 AS told FROM (SELECT * FROM public.history ORDER BY shuffle) h;
SELECT eventmkt.run_due() > 0 AS ran;
DO $$ DECLARE h public.history; i int = 0;
BEGIN
	FOR h IN SELECT * FROM public.history ORDER BY shuffle DESC LOOP
		PERFORM public.tell('pieces', h);
		i := i + 1;
		IF i % 7 = 0 THEN PERFORM eventmkt.run_due(3); END IF;
	END LOOP;
END $$;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT eventmkt.advance_clock('6 hours') IS NOT NULL AS moved;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT count(*) AS left_behind FROM eventmkt_data.pending_trigger;
CREATE VIEW public.sends AS
	SELECT d.rule, split_part(d.profile_id, ' ', 1) AS told, split_part(d.profile_id, ' ', 2)::int AS u, d.key,
		extract(epoch FROM d.started_at - b.t0) / 60 AS started, extract(epoch FROM d.due_at - b.t0) / 60 AS due, count(*) AS n
	FROM eventmkt_data.decision d, public.base b WHERE d.outcome = 'recorded' GROUP BY 1, 2, 3, 4, 5, 6;
SELECT rule, count(*) > 50 AS some FROM public.sends WHERE told = 'ordered' GROUP BY 1 ORDER BY 1;
CREATE VIEW public.differ AS
	SELECT t.told, s.rule, u, key, started, due, n FROM public.sends s, (VALUES ('shuffled'), ('pieces')) t (told) WHERE s.told = 'ordered';
SELECT rule, told, count(*) AS differ FROM (
	(TABLE public.differ EXCEPT SELECT told, rule, u, key, started, due, n FROM public.sends)
	UNION ALL
	(SELECT told, rule, u, key, started, due, n FROM public.sends WHERE told <> 'ordered' EXCEPT TABLE public.differ)
	) x WHERE (rule, told) <> ('cnt', 'pieces') GROUP BY 1, 2 ORDER BY 1, 2;
-- told in pieces, the count without delay is decided as soon as it is reached with what is known then: at another event perhaps,
-- and when a late event would have moved the edge, not a second time
SELECT u, key, sum(n) FILTER (WHERE told = 'ordered') AS ordered, sum(n) FILTER (WHERE told = 'pieces') AS pieces
	FROM public.sends WHERE rule = 'cnt' GROUP BY 1, 2
	HAVING sum(n) FILTER (WHERE told = 'pieces') > sum(n) FILTER (WHERE told = 'ordered') LIMIT 5;

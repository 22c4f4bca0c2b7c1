-- invariant 7 for debounce: a start fires when none follows it within the delay, in whatever order they are told, even newest first
\set QUIET on
SET client_min_messages = error;
SELECT count(*) AS init FROM eventmkt.init();
SELECT setseed(0.31);
SELECT eventmkt.create_rule('deb', on_event => 'A', per => 'k', after => '40 minutes', unless => ARRAY['B'], max_lateness => '30 days', send_to => 'none') AS rule;
SELECT eventmkt.create_rule('some', on_event => 'A', where_event => '$.n > 3', after => '70 minutes', max_lateness => '30 days', send_to => 'none') AS rule;
SELECT eventmkt.create_rule('short', on_event => 'A', per => 'k', after => '200 ms', max_lateness => '30 days', send_to => 'none') AS rule;
SELECT eventmkt.create_rule('day', on_event => 'A', per => 'k', after => '1 day', max_lateness => '30 days', send_to => 'none') AS rule;
SELECT eventmkt.create_rule('narrow', on_event => 'A', after => '40 minutes', max_lateness => '2 hours', send_to => 'none') AS rule;
-- ten hours of eighty people, told to five of each: in order at once; newest first in pieces, one by one, at once; in random order in pieces
CREATE TABLE public.base AS SELECT eventmkt.clock() - interval '10 hours' AS t0;
CREATE TABLE public.history AS
	SELECT u, CASE WHEN random() < 0.9 THEN 'A' ELSE 'B' END AS name, jsonb_build_object('k', floor(random() * 2), 'n', n) AS props,
		floor(random() * 60) * 10 AS minute, random() AS shuffle
	FROM generate_series(1, 80) u, generate_series(1, 12) n WHERE random() < 0.7;
CREATE FUNCTION public.tell(who text, h public.history) RETURNS void LANGUAGE sql AS $$
	SELECT eventmkt.track(who || ' ' || h.u, h.name, h.props, (SELECT t0 FROM public.base) + h.minute * interval '1 minute') $$;
CREATE PROCEDURE public.tell_all(who text, by text, piece int) LANGUAGE plpgsql AS $$
DECLARE h public.history; i int = 0;
BEGIN
	FOR h IN EXECUTE 'SELECT * FROM public.history ORDER BY ' || by LOOP
		PERFORM public.tell(who, h);
		i := i + 1;
		IF i % piece = 0 THEN PERFORM eventmkt.run_due(); END IF;
	END LOOP;
	PERFORM eventmkt.run_due();
END $$;
CALL public.tell_all('ordered', 'minute, props', 1000000);
CALL public.tell_all('newest', 'minute DESC, name DESC, props DESC', 7);
CALL public.tell_all('single', 'minute DESC, name DESC, props DESC', 1);
CALL public.tell_all('batch', 'minute DESC', 1000000);
SELECT count(*) > 0 AS some_wait FROM eventmkt_data.pending_trigger;
SELECT eventmkt.advance_clock('2 days') IS NOT NULL AS moved;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT count(*) AS left_behind FROM eventmkt_data.pending_trigger;
CREATE VIEW public.decided AS
	SELECT d.rule, split_part(d.profile_id, ' ', 1) AS told, split_part(d.profile_id, ' ', 2)::int AS u, d.key,
		extract(epoch FROM d.started_at - b.t0) / 60 AS started, extract(epoch FROM d.due_at - b.t0) / 60 AS due, d.outcome, d.reason,
		(SELECT e.properties FROM eventmkt_data.event e WHERE e.event_id = d.event_id) AS props, count(*) AS n
	FROM eventmkt_data.decision d, public.base b WHERE d.outcome <> 'cancelled' GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9;
SELECT rule, outcome, reason, count(*) > 30 AS some FROM public.decided WHERE told = 'ordered' GROUP BY 1, 2, 3 ORDER BY 1, 2;
CREATE VIEW public.differ AS
	SELECT t.told, rule, u, key, started, due, outcome, reason, props, n FROM public.decided s, (VALUES ('newest'), ('single'), ('batch')) t (told)
	WHERE s.told = 'ordered';
SELECT x.by, rule, told, outcome, count(*) AS differ FROM (
	SELECT 'ordered' AS by, * FROM (TABLE public.differ EXCEPT SELECT told, rule, u, key, started, due, outcome, reason, props, n FROM public.decided) a
	UNION ALL
	SELECT told, * FROM (SELECT told, rule, u, key, started, due, outcome, reason, props, n FROM public.decided WHERE told <> 'ordered'
		EXCEPT TABLE public.differ) b
	) x GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4;
-- the oracle: whom no start follows within the delay, and no B
SELECT count(o.u) > 300 AS some, count(o.u) - count(*) AS unexpected, count(d.u) - count(*) AS missing FROM
	(SELECT DISTINCT h.u, h.props->>'k' AS key, h.minute FROM public.history h WHERE h.name = 'A'
		AND NOT EXISTS (SELECT FROM public.history f WHERE f.u = h.u AND f.name = 'A' AND f.props->'k' = h.props->'k'
			AND f.minute > h.minute AND f.minute <= h.minute + 40)
		AND NOT EXISTS (SELECT FROM public.history f WHERE f.u = h.u AND f.name = 'B' AND f.props->'k' = h.props->'k' AND f.minute >= h.minute)) o
	FULL JOIN (SELECT * FROM public.decided WHERE rule = 'deb' AND told = 'newest') d ON d.u = o.u AND d.key = o.key AND d.started = o.minute;
-- at the edge of the delay a follower counts; one microsecond later it does not; the same event twice makes one run
CREATE TABLE public.edge AS SELECT date_trunc('hour', eventmkt.clock()) - interval '5 hours' AS t;
SELECT eventmkt.track('edge', 'A', '{"k": 7, "n": 0}', t + interval '40 minutes') > 0 AS told FROM public.edge;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT eventmkt.track('edge', 'A', '{"k": 7, "n": 0}', t - interval '1 microsecond') > 0 AS told FROM public.edge;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT eventmkt.track('edge', 'A', '{"k": 7, "n": 0}', t) > 0 AS told FROM public.edge;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT started_at - t AS started, outcome, count(*) FROM eventmkt_data.decision, public.edge WHERE profile_id = 'edge' AND rule = 'deb' GROUP BY 1, 2 ORDER BY 1;

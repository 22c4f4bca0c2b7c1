-- S17 in a backtest: the same events begin runs, and the surplus is told as the engine tells it when it takes the minute at once
\set QUIET on
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
SELECT eventmkt.change_setting('profile_burst', '100');
SELECT setseed(0.4);
SELECT count(eventmkt.create_rule(n, on_event => 'A', where_event => w::jsonpath, at_least => c, within => i, per => k, unless => CASE WHEN d > '0' THEN '{B}' ELSE '{}' END::text[], after => d,
		on_repeat => o, max_lateness => '1 day', send_to => 'none')) AS rules
	FROM (VALUES ('each', NULL, 1, NULL::interval, NULL, interval '0', 'debounce'), ('some', '$.k == 1', 1, NULL, NULL, '0', 'debounce'),
		('count', NULL, 7, '50 ms', 'k', '0', 'debounce'), ('life', NULL, 500, NULL, NULL, '0', 'debounce'),
		('par', NULL, 1, NULL, 'k', '10 minutes', 'parallel'), ('deb', NULL, 1, NULL, 'k', '10 minutes', 'debounce'),
		('ign', NULL, 1, NULL, 'k', '10 minutes', 'ignore'), ('rep', NULL, 1, NULL, NULL, '10 minutes', 'replace')) v (n, w, c, i, k, d, o);
SELECT eventmkt.create_rule('sil', on_event => 'A', unless => '{A}', after => '1 hour', max_lateness => '1 day', send_to => 'none') > 0 AS sil;
-- a quarter of the people has less than the limit, and a quarter goes beyond it in two minutes running
CREATE TABLE public.base AS SELECT date_trunc('minute', eventmkt.clock()) + interval '1 hour' AS t0;
CREATE TABLE public.event AS SELECT 'u' || u AS who, CASE WHEN random() < 0.01 THEN 'B' ELSE 'A' END AS name,
		t0 + n * (CASE u % 4 WHEN 0 THEN interval '200 ms' ELSE interval '7 ms' END) AS at, jsonb_build_object('k', n % 2, 'n', n) AS props
	FROM public.base, generate_series(1, 12) u, generate_series(1, CASE u % 4 WHEN 0 THEN 600 WHEN 1 THEN 90 ELSE 700 END) n;
SELECT eventmkt.advance_clock(t0 + interval '3 minutes' - eventmkt.clock()) IS NOT NULL AS moved FROM public.base;
SELECT count(eventmkt.track(who, name, props, at)) > 5000 AS told FROM (SELECT * FROM public.event ORDER BY at) e;
SELECT eventmkt.run_due(100000) > 0 AS ran;
SELECT eventmkt.advance_clock('5 hours') IS NOT NULL AS moved;
SELECT eventmkt.run_due(100000) > 0 AS ran;
-- how many decisions tell of a minute's surplus is a matter of batches: what they say together is compared
CREATE TABLE public.lived AS SELECT rule, profile_id, key, started_at, due_at, outcome, reason, facts FROM eventmkt_data.decision;
CREATE TABLE public.tested AS SELECT b.rule, profile_id, key, started_at, due_at, outcome, reason, facts
	FROM public.base, eventmkt.backtest((SELECT array_agg(name ORDER BY rule_id) FROM eventmkt_data.rule), t0, eventmkt.clock()) b;
CREATE FUNCTION public.gist(of regclass) RETURNS TABLE (rule text, profile_id text, key text, at timestamptz, due_at timestamptz, outcome text, reason text,
	events bigint, last bigint) LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY EXECUTE format(
	'SELECT rule, profile_id, CASE WHEN reason = ''storm'' THEN '''' ELSE key END, CASE WHEN reason = ''storm'' THEN (facts->>''minute'')::timestamptz
		ELSE started_at END, due_at, outcome, reason, sum((facts->>''count'')::int), max((facts->>''last_event_id'')::bigint)
	FROM %s GROUP BY 1, 2, 3, 4, 5, 6, 7', of); END $$;
SELECT rule, profile_id, at - t0 AS minute, events FROM public.base, public.gist('public.tested') WHERE reason = 'storm' AND profile_id IN ('u2', 'u4')
	AND rule IN ('each', 'par') ORDER BY 1, 2, 3;
SELECT rule, count(*) FILTER (WHERE reason = 'storm') > 5 AS storms, count(*) FILTER (WHERE outcome = 'recorded') > 5 AS recorded,
	count(*) FILTER (WHERE outcome = 'cancelled') > 5 AS cancelled FROM public.gist('public.lived') GROUP BY 1 ORDER BY 1;
SELECT x.by, rule, outcome, reason, count(*) FROM (
	SELECT 'lived' AS by, * FROM (SELECT * FROM public.gist('public.lived') EXCEPT ALL SELECT * FROM public.gist('public.tested')) a
	UNION ALL SELECT 'tested', * FROM (SELECT * FROM public.gist('public.tested') EXCEPT ALL SELECT * FROM public.gist('public.lived')) b) x
	GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4;
-- a storm that has not ended yet is told too
SELECT b.rule, profile_id, decided_at - t0 AS at, (facts->>'count')::int > 30 AS many FROM public.base,
	eventmkt.backtest(ARRAY['each'], t0, t0 + interval '2 seconds') b WHERE reason = 'storm' AND profile_id = 'u2';

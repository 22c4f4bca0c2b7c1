-- a count without `within` is reached once a version and key: what was decided ends the reading of the history, even where that has gaps
\set QUIET on
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
SET eventmkt.allow_plain_http = on;
SET eventmkt.allowed_networks = '127.0.0.0/8';
SELECT eventmkt.create_endpoint('sink', 'http://127.0.0.1:9999/') LIKE 'whsec_%' AS made;
SELECT eventmkt.create_rule('third', on_event => 'V', at_least => 3, per => 'k', send_to => 'none') AS rule;
SELECT eventmkt.create_rule('told', on_event => 'V', at_least => 3, per => 'k', send_to => 'sink') AS rule;
SELECT eventmkt.create_rule('gold', on_event => 'V', at_least => 3, where_profile => '$.tier == "gold"', send_to => 'none') AS rule;
SELECT eventmkt.create_rule('later', on_event => 'V', at_least => 3, after => '1 hour', on_repeat => 'ignore', send_to => 'none') AS rule;
CREATE TABLE public.base AS SELECT eventmkt.clock() - interval '10 minutes' AS t0;
CREATE FUNCTION public.view(n int, k int) RETURNS bool LANGUAGE sql AS $$
	SELECT eventmkt.track('u', 'V', jsonb_build_object('k', k, 'n', n), t0 + n * interval '1 minute') > 0 FROM public.base $$;
CREATE VIEW public.told AS SELECT rule, key, extract(epoch FROM started_at - t0) / 60 AS at, outcome, reason, count(*) FROM public.base, (
	SELECT rule, key, started_at, outcome, reason FROM eventmkt_data.decision WHERE outcome NOT IN ('held')
	UNION ALL SELECT rule, key, started_at, status, 'on its way' FROM eventmkt_data.delivery) x GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3;
SELECT public.view(n, 0) FROM generate_series(2, 4) n;
SELECT eventmkt.run_due() > 0 AS ran;
TABLE public.told;
-- a late event moves an edge that waits, and no other; the traits that were missing come
SELECT public.view(1, 0);
SELECT eventmkt.identify('u', '{"tier": "gold"}') = 'u' AS known;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT extract(epoch FROM started_at - t0) / 60 AS at, properties->'n' AS n FROM eventmkt_data.pending_trigger, public.base;
-- retention takes the first: nothing is reached a second time; another key is
DELETE FROM eventmkt_data.event WHERE (properties->>'n')::int < 4;
SELECT public.view(n, 0), public.view(n, 1) FROM generate_series(5, 8) n;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.told WHERE rule IN ('third', 'told');
-- another version counts anew
SELECT eventmkt.replace_rule('third', on_event => 'V', at_least => 6, per => 'k', send_to => 'none') > 0 AS replaced;
SELECT public.view(9, 0);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.told WHERE rule = 'third';

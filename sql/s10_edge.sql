-- S10: edges, not levels
\set QUIET on
SET client_min_messages = warning;
SELECT count(*) AS init FROM eventmkt.init();
CREATE VIEW public.sends AS SELECT rule, profile_id, key, count(*) AS sends FROM eventmkt_data.decision
	WHERE outcome = 'recorded' GROUP BY 1, 2, 3 ORDER BY 1, 2, 3;
-- "three in seven days" fires on the edge and re-arms after falling below
SELECT eventmkt.create_rule('three', on_event => 'V', at_least => 3, within => '7 days', per => 'p', max_lateness => '30 days', send_to => 'none') AS rule;
SELECT eventmkt.create_rule('lifetime', on_event => 'V', at_least => 3, per => 'p', max_lateness => '30 days', send_to => 'none') AS rule;
CREATE TABLE public.base AS SELECT eventmkt.clock() - interval '20 days' AS t0;
CREATE FUNCTION public.v(who text, day numeric) RETURNS void LANGUAGE sql AS
	$$SELECT eventmkt.track(who, 'V', '{"p": 7}', (SELECT t0 FROM public.base) + day * interval '1 day')$$;
-- days 0 1 2: edge at 2; 3: above; 15 16 17: edge again
SELECT public.v('in order', d) FROM unnest(ARRAY[0, 1, 2, 3, 15, 16, 17]) d;
SELECT eventmkt.run_due() > 0 AS ran;
DO $$ BEGIN FOR i IN 1..7 LOOP PERFORM public.v('shuffled', (ARRAY[3, 0, 16, 2, 17, 1, 15])[i]), eventmkt.run_due(); END LOOP; END $$;
-- exactly seven days apart counts, a microsecond more does not
SELECT public.v('edge in', d) FROM unnest(ARRAY[0, 1, 7]) d;
SELECT public.v('edge out', d) FROM unnest(ARRAY[0, 1, 7 + 0.000001 / 86400]) d;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.sends;

-- inactivity: one firing per lapse, exact to the microsecond, and again after the next silence
SELECT eventmkt.create_rule('dormant', on_event => '*', unless => ARRAY['*'], after => '30 days', send_to => 'none') AS rule;
SELECT eventmkt.create_rule('no login', on_event => 'Login', unless => ARRAY['Login'], after => '10 days', send_to => 'none') AS rule;
SELECT eventmkt.track('d', 'Login') IS NULL AS x;
SELECT eventmkt.track('d', 'Other') IS NULL AS x;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT eventmkt.advance_clock('29 days') IS NOT NULL AS moved;
SELECT eventmkt.run_due() >= 0 AS ran;
SELECT * FROM public.sends WHERE profile_id = 'd';
SELECT eventmkt.track('d', 'Other') IS NULL AS x;
SELECT eventmkt.advance_clock('29 days') IS NOT NULL AS moved;
SELECT eventmkt.run_due() >= 0 AS ran;
SELECT * FROM public.sends WHERE profile_id = 'd';
SELECT eventmkt.advance_clock('2 days') IS NOT NULL AS moved;
SELECT eventmkt.run_due() >= 0 AS ran;
SELECT eventmkt.advance_clock('90 days') IS NOT NULL AS moved;
SELECT eventmkt.run_due() >= 0 AS ran;
SELECT * FROM public.sends WHERE profile_id = 'd';
SELECT eventmkt.track('d', 'Login') IS NULL AS x;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT eventmkt.advance_clock('30 days') IS NOT NULL AS moved;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.sends WHERE profile_id = 'd';
-- a '*' rule writes one work row a profile, not one an event; a rolled-back event does not arm it
SELECT count(eventmkt.track('w', 'Other')) FROM generate_series(1, 100);
SELECT count(*) AS work FROM eventmkt_data.work WHERE profile_id = 'w';
BEGIN; SELECT eventmkt.track('rb', 'Other') IS NULL AS x; ROLLBACK;
SELECT eventmkt.track('rb', 'Other') IS NULL AS x;
SELECT count(*) AS work FROM eventmkt_data.work WHERE profile_id = 'rb';
-- a profile write that changes nothing fires nothing; plan: free to pro does, once
SELECT eventmkt.create_rule('upgraded', on_event => 'trait changed',
	where_event => '$.trait == "plan" && $.old == "free" && $.new == "pro"', send_to => 'none') AS rule;
SELECT eventmkt.identify('t', '{"plan": "free"}');
SELECT eventmkt.identify('t', '{"plan": "pro"}');
SELECT eventmkt.identify('t', '{"plan": "pro"}');
SELECT eventmkt.identify('t2', '{"plan": "pro"}');
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.sends WHERE rule = 'upgraded';

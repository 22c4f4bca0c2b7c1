-- S3: the starting event repeats during the delay
\set QUIET on
SET client_min_messages = warning;
SELECT count(*) AS init FROM eventmkt.init();
SELECT eventmkt.create_rule('r_' || r, on_event => 'Cart Edited', per => 'cart_id', after => '2 hours', on_repeat => r,
	unless => ARRAY['Order Completed'], send_to => 'none') FROM unnest(ARRAY['ignore', 'debounce', 'replace', 'parallel']) r;
CREATE TABLE public.base AS SELECT eventmkt.clock() - interval '100 minutes' AS t0;
CREATE FUNCTION public.edit(who text, minute int) RETURNS void LANGUAGE sql AS
	$$SELECT eventmkt.track(who, 'Cart Edited', jsonb_build_object('cart_id', 1, 'items', minute),
		(SELECT t0 FROM public.base) + minute * interval '1 minute')$$;
CREATE VIEW public.runs AS
	SELECT profile_id, r.name, (properties ->> 'items')::int AS data,
		round(extract(epoch FROM p.due_at - (SELECT t0 FROM public.base)) / 60) AS due_minute
	FROM eventmkt_data.pending_trigger p JOIN eventmkt_data.rule r USING (rule_id) ORDER BY 1, 2, 3;
-- five edits in order, one pass each; the same five in another order of arrival
SELECT public.edit('in order', m) FROM unnest(ARRAY[0, 10, 20, 40, 50]) m;
SELECT eventmkt.run_due() > 0 AS ran;
DO $$ BEGIN FOR m IN 0..4 LOOP
	PERFORM public.edit('one by one', (ARRAY[0, 10, 20, 40, 50])[m + 1]), eventmkt.run_due();
END LOOP; END $$;
DO $$ BEGIN FOR m IN 0..4 LOOP
	PERFORM public.edit('shuffled', (ARRAY[20, 50, 0, 40, 10])[m + 1]), eventmkt.run_due();
END LOOP; END $$;
SELECT * FROM public.runs;
-- a cancel between two starts: for ignore and replace the later start begins anew, in both orders of arrival
SELECT eventmkt.track('cut', 'Order Completed', '{"cart_id": 1}', (SELECT t0 FROM public.base) + interval '25 minutes') IS NULL AS x;
SELECT public.edit('cut', m) FROM unnest(ARRAY[20, 40]) m;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT public.edit('cut late', m) FROM unnest(ARRAY[20, 40]) m;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT eventmkt.track('cut late', 'Order Completed', '{"cart_id": 1}', (SELECT t0 FROM public.base) + interval '25 minutes') IS NULL AS x;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT eventmkt.advance_clock('100 minutes') IS NOT NULL AS moved;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT profile_id, rule, outcome, round(extract(epoch FROM due_at - (SELECT t0 FROM public.base)) / 60) AS due_minute
	FROM eventmkt_data.decision WHERE profile_id LIKE 'cut%' AND outcome = 'recorded' ORDER BY 1, 2;
SELECT profile_id, rule, count(*) AS sends, max(round(extract(epoch FROM due_at - (SELECT t0 FROM public.base)) / 60)) AS due_minute
	FROM eventmkt_data.decision WHERE outcome = 'recorded' AND profile_id NOT LIKE 'cut%' GROUP BY 1, 2 ORDER BY 2, 1;
-- an event after the due time begins another run, the first is decided for itself
SELECT eventmkt.create_rule('quick', on_event => 'Ping', after => '1 minute', send_to => 'none') IS NOT NULL AS made;
SELECT eventmkt.clock() AS now \gset
SELECT eventmkt.track('p', 'Ping', '{}', :'now'::timestamptz - s * interval '1 second') IS NULL AS x FROM unnest(ARRAY[300, 270, 100]) s;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT rule, outcome, count(*) FROM eventmkt_data.decision WHERE rule = 'quick' GROUP BY 1, 2;
-- a late event that belongs to what was decided starts nothing
SELECT eventmkt.track('p', 'Ping', '{}', :'now'::timestamptz - interval '110 seconds') IS NULL AS x;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT rule, outcome, count(*) FROM eventmkt_data.decision WHERE rule = 'quick' GROUP BY 1, 2;
SELECT count(*) AS left_behind FROM eventmkt_data.pending_trigger;

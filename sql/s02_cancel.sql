-- S2: a cancelling event counts by key and by event time, whatever the order of arrival
\set QUIET on
SET client_min_messages = warning;
SELECT count(*) AS init FROM eventmkt.init();
-- times are offsets from a fixed point two hours back, so that all of it is in the past and nothing is late
CREATE FUNCTION public.t(minutes numeric) RETURNS timestamptz LANGUAGE sql AS
	$$SELECT date_trunc('hour', eventmkt.clock()) - interval '3 hours' + minutes * interval '1 minute'$$;
CREATE VIEW public.decisions AS
	SELECT rule, profile_id, key, outcome, reason, facts ->> 'event' AS by_event, facts ->> 'key' AS cancel_key
	FROM eventmkt_data.decision ORDER BY 2, 1, 3, decision_id;
SELECT eventmkt.create_rule('cart', on_event => 'Product Added', per => 'cart_id', unless => ARRAY['Order Completed'],
	after => '24 hours', send_to => 'none') AS rule;

-- in order; the edge is inclusive on both sides
SELECT count(eventmkt.track('after', 'Product Added', '{"cart_id": "A"}', public.t(4))) AS n;
SELECT count(eventmkt.track('after', 'Order Completed', '{"cart_id": "A"}', public.t(5))) AS n;
SELECT count(eventmkt.track('same', 'Product Added', '{"cart_id": "A"}', public.t(4))) AS n;
SELECT count(eventmkt.track('same', 'Order Completed', '{"cart_id": "A"}', public.t(4))) AS n;
-- the purchase arrives before the cart event: stamped after it cancels, stamped before it does not
SELECT count(eventmkt.track('early yes', 'Order Completed', '{"cart_id": "A"}', public.t(5))) AS n;
SELECT eventmkt.run_due() AS rows;
SELECT count(eventmkt.track('early yes', 'Product Added', '{"cart_id": "A"}', public.t(4))) AS n;
SELECT count(eventmkt.track('early no', 'Order Completed', '{"cart_id": "A"}', public.t(3))) AS n;
SELECT count(eventmkt.track('early no', 'Product Added', '{"cart_id": "A"}', public.t(4))) AS n;
-- a sale of cart A does not cancel cart B; a sale that does not say which cart cancels all
SELECT count(eventmkt.track('keys', 'Product Added', jsonb_build_object('cart_id', c), public.t(4)))
	FROM unnest(ARRAY['A', 'B']) c;
SELECT count(eventmkt.track('keys', 'Order Completed', '{"cart_id": "A"}', public.t(5))) AS n;
SELECT count(eventmkt.track('no key', 'Product Added', jsonb_build_object('cart_id', c), public.t(4)))
	FROM unnest(ARRAY['A', 'B']) c;
SELECT count(eventmkt.track('no key', 'Order Completed', '{}', public.t(5))) AS n;
-- 1 and 1.0 are one key
SELECT count(eventmkt.track('number', 'Product Added', '{"cart_id": 1}', public.t(4))) AS n;
SELECT count(eventmkt.track('number', 'Order Completed', '{"cart_id": 1.0}', public.t(5))) AS n;
-- a starting event without the key
SELECT count(eventmkt.track('lacks', 'Product Added', '{}', public.t(4))) AS n;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.decisions;
SELECT profile_id, key FROM eventmkt_data.pending_trigger ORDER BY 1, 2;
-- committed before the decision, stamped after the due time: cancels all the same
SELECT eventmkt.advance_clock('23 hours') IS NOT NULL AS moved;
SELECT count(eventmkt.track('due', 'Product Added', '{"cart_id": "A"}', eventmkt.clock() - interval '23 hours 30 minutes')) AS n;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT eventmkt.advance_clock('40 minutes') IS NOT NULL AS moved;
SELECT count(eventmkt.track('due', 'Order Completed', '{"cart_id": "A"}')) AS n;
SELECT eventmkt.advance_clock('1 hour') IS NOT NULL AS moved;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.decisions WHERE profile_id IN ('early yes', 'early no', 'keys', 'due');
SELECT count(*) AS left_behind FROM eventmkt_data.pending_trigger;

-- look_back: an order shortly before the view cancels too, one before that does not; unless_where
SELECT eventmkt.create_rule('browse', on_event => 'Product Viewed', unless => ARRAY['Order Completed'],
	unless_where => '$.amount > 10', look_back => '10 minutes', after => '1 hour', send_to => 'none') AS rule;
SELECT eventmkt.clock() AS now \gset
SELECT count(eventmkt.track('lb in', 'Order Completed', '{"amount": 20}', :'now'::timestamptz - interval '19 minutes 59 seconds')) AS n;
SELECT count(eventmkt.track('lb in', 'Product Viewed', '{}', :'now'::timestamptz - interval '10 minutes')) AS n;
SELECT count(eventmkt.track('lb out', 'Order Completed', '{"amount": 20}', :'now'::timestamptz - interval '21 minutes')) AS n;
SELECT count(eventmkt.track('lb out', 'Product Viewed', '{}', :'now'::timestamptz - interval '10 minutes')) AS n;
SELECT count(eventmkt.track('lb small', 'Order Completed', '{"amount": 10}', :'now'::timestamptz - interval '15 minutes')) AS n;
SELECT count(eventmkt.track('lb small', 'Product Viewed', '{}', :'now'::timestamptz - interval '10 minutes')) AS n;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT eventmkt.advance_clock('1 hour') IS NOT NULL AS moved;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT * FROM public.decisions WHERE rule = 'browse';
-- a run begun by the count and cancelled by what came shortly before its event ends once, not once more when the event's own turn comes
SELECT eventmkt.create_rule('twice', on_event => 'V', at_least => 2, unless => ARRAY['B'], look_back => '1 hour', after => '1 hour', send_to => 'none') AS rule;
SELECT count(eventmkt.track('once', name, '{}', eventmkt.clock() - m * interval '1 minute')) FROM (VALUES ('V', 30), ('B', 20), ('V', 10)) e (name, m);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT eventmkt.advance_clock('1 hour') IS NOT NULL AS moved;
SELECT eventmkt.run_due() >= 0 AS ran;
SELECT rule, outcome, count(*) FROM eventmkt_data.decision WHERE profile_id = 'once' GROUP BY 1, 2;

-- S12: an anonymous id becomes a user while runs are live
\set QUIET on
SET client_min_messages = warning;
SELECT count(*) AS init FROM eventmkt.init();
SELECT eventmkt.create_rule('cart', on_event => 'Product Added', unless => ARRAY['Order Completed'], after => '1 day', send_to => 'none') AS rule;
SELECT eventmkt.create_rule('third', on_event => 'V', at_least => 3, send_to => 'none') AS rule;
CREATE VIEW public.d AS SELECT rule, profile_id, outcome, reason FROM eventmkt_data.decision ORDER BY 2, 1, decision_id;
-- anonymous cart, logged-in purchase, merged after → cancelled
SELECT eventmkt.track(NULL, 'Product Added', '{"n": 1}', anonymous_id => 'anon1') IS NULL AS x;
SELECT eventmkt.run_due() AS rows;
SELECT eventmkt.track('ann', 'Order Completed') IS NULL AS x;
SELECT eventmkt.run_due() AS rows;
SELECT profile_id FROM eventmkt_data.pending_trigger;
SELECT eventmkt.identify('ann', '{}', 'anon1');
SELECT eventmkt.run_due() AS rows;
SELECT * FROM public.d;
-- its twin without a purchase: the run follows and fires for the user
SELECT eventmkt.track(NULL, 'Product Added', '{"n": 1}', anonymous_id => 'anon2') IS NULL AS x;
SELECT eventmkt.run_due() AS rows;
SELECT eventmkt.identify('bob', '{}', 'anon2');
SELECT eventmkt.run_due() AS rows;
SELECT profile_id FROM eventmkt_data.pending_trigger;
-- of two runs one stays, the older, with the newer start (debounce)
SELECT eventmkt.track(NULL, 'Product Added', '{"n": 1}', anonymous_id => 'anon3') IS NULL AS x;
SELECT eventmkt.track('cat', 'Product Added', '{"n": 2}') IS NULL AS x;
SELECT eventmkt.run_due() AS rows;
SELECT eventmkt.identify('cat', '{}', 'anon3');
SELECT eventmkt.run_due() AS rows;
SELECT profile_id, properties FROM eventmkt_data.pending_trigger WHERE profile_id = 'cat';
SELECT * FROM public.d WHERE profile_id IN ('cat', 'anon3');
-- the merge is committed but its work row not yet taken: the gate reads the joined history all the same
SELECT eventmkt.track(NULL, 'Product Added', '{"n": 1}', anonymous_id => 'anon4') IS NULL AS x;
SELECT eventmkt.run_due() AS rows;
SELECT eventmkt.track('dan', 'Order Completed') IS NULL AS x;
SELECT eventmkt.identify('dan', '{}', 'anon4');
CREATE TABLE public.later AS TABLE eventmkt_data.work;
DELETE FROM eventmkt_data.work;
SELECT eventmkt.advance_clock('1 day') IS NOT NULL AS moved;
SELECT eventmkt.run_due() AS rows;
INSERT INTO eventmkt_data.work TABLE public.later;
SELECT eventmkt.run_due() AS rows;
SELECT * FROM public.d WHERE profile_id IN ('bob', 'cat', 'dan', 'anon4');
-- counts are over the joined history
SELECT eventmkt.track(NULL, 'V', anonymous_id => 'anon5') IS NULL AS x;
SELECT eventmkt.track(NULL, 'V', anonymous_id => 'anon5') IS NULL AS x;
SELECT eventmkt.identify('eve', '{}', 'anon5');
SELECT eventmkt.track('eve', 'V') IS NULL AS x;
SELECT eventmkt.run_due() AS rows;
SELECT * FROM public.d WHERE rule = 'third';
-- blocked ids never merge
SET client_min_messages = error;
SELECT eventmkt.identify('eve', '{}', 'anonymous');
SELECT count(*) FROM eventmkt_data.alias WHERE alias = 'anonymous';
-- a count that the merge completes fires nothing, neither then nor at the next event
SELECT eventmkt.track(NULL, 'V', anonymous_id => 'anonz') IS NULL AS x FROM generate_series(1, 2);
SELECT eventmkt.track('zed', 'V') IS NULL AS x;
SELECT count(eventmkt.run_due()) AS ran;
SELECT eventmkt.identify('zed', '{}', 'anonz');
SELECT count(eventmkt.run_due()) AS ran;
SELECT eventmkt.track('zed', 'V') IS NULL AS x;
SELECT count(eventmkt.run_due()) AS ran;
SELECT count(*) FROM public.d WHERE rule = 'third' AND profile_id IN ('zed', 'anonz');

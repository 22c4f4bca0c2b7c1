-- eventmkt.fire = off: history starts and refreshes nothing, but is counted, and a cancelling event in it is found
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
SELECT short_desc FROM pg_settings WHERE name = 'eventmkt.fire';
SELECT eventmkt.create_rule('cart', on_event => 'Cart', unless => '{Order}', after => '1 hour', send_to => 'none') > 0 AS made;
SELECT eventmkt.create_rule('third', on_event => 'Cart', at_least => 3, send_to => 'none') > 0 AS made;
SELECT eventmkt.track(who, 'Cart') IS NOT NULL AS x FROM unnest('{buys,refreshes,third}'::text[]) who;
SELECT eventmkt.run_due() AS rows;
SELECT eventmkt.advance_clock('30 minutes') IS NOT NULL AS moved;
BEGIN;
SET LOCAL eventmkt.fire = off;
SELECT eventmkt.track('buys', 'Order'), eventmkt.track('refreshes', 'Cart'), eventmkt.track('third', 'Cart'), eventmkt.track('new', 'Cart') \gset
COMMIT;
SELECT count(*) AS work FROM eventmkt_data.work;
SELECT profile_id, started_at < eventmkt.clock() - interval '29 minutes' AS as_it_was FROM eventmkt_data.pending_trigger ORDER BY 1;
SELECT eventmkt.track('third', 'Cart') IS NOT NULL AS x;
SELECT eventmkt.run_due() AS rows;
SELECT eventmkt.advance_clock('30 minutes') IS NOT NULL AS moved;
SELECT eventmkt.run_due() AS rows;
SELECT rule, profile_id, outcome, reason FROM eventmkt_data.decision ORDER BY 1, 2;

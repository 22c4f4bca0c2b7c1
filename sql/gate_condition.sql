-- a condition that fails where a run or a message is about to be decided keeps the message back: nobody knows what it would have said
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
SET eventmkt.condition_timeout = '30ms';
\set slow 'exists($.a ? (exists($.a ? (exists($.a ? (@.x == 3))))))'
SELECT eventmkt.create_rule('unsure', on_event => 'Cart', per => 'k', unless => ARRAY['Order'], unless_where => :'slow', after => '1 hour',
	max_lateness => '1 day', send_to => 'none') > 0 AS made;
CREATE FUNCTION ask(who text, k int) RETURNS bool LANGUAGE sql AS $$
	SELECT eventmkt.track(who, 'Order', jsonb_build_object('k', k, 'a', jsonb_agg(i))) > 0 FROM generate_series(1, 800) i $$;
SELECT eventmkt.track(u, 'Cart', '{"k": 1}') > 0 AS cart FROM unnest('{unsure,sure,other,none}'::text[]) u;
SELECT eventmkt.run_due() > 0 AS ran;
-- it fails for one; for another a second order surely cancels, whatever the first says; of a third it concerns another cart
SELECT ask('unsure', 1), ask('sure', 1), eventmkt.track('sure', 'Order', '{"k": 1, "a": {"x": 3}}') > 0 AS sure, ask('other', 2);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT eventmkt.advance_clock('2 hours') > now() AS moved;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT profile_id, outcome, reason, facts - 'event_id' - 'occurred_at' AS facts, enabled FROM eventmkt_data.decision d
	JOIN eventmkt_data.rule r USING (rule_id) ORDER BY profile_id COLLATE "C";
SELECT count(*) AS left_behind FROM eventmkt_data.pending_trigger;
-- again and again: the rule is disabled, and what waits is held
SELECT count(eventmkt.track('u' || i, 'Cart', '{"k": 1}')) FROM generate_series(1, 40) i;
SELECT eventmkt.run_due() > 0 AS ran;
SET eventmkt.fire = off;
SELECT count(ask('u' || i, 1)) FROM generate_series(1, 40) i;
RESET eventmkt.fire;
SELECT eventmkt.advance_clock('2 hours') > now() AS moved;
SELECT count(eventmkt.run_due(10)) AS passes FROM generate_series(1, 2);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT enabled, disabled_reason FROM eventmkt_data.rule WHERE name = 'unsure';
SELECT outcome, reason, count(*) FROM eventmkt_data.decision WHERE profile_id ~ '^u[0-9]' GROUP BY 1, 2 ORDER BY 1;

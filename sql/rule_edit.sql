-- editing a rule: it never fires, live runs keep their version, disabling builds no backlog, nothing stale is sent (S18)
\set QUIET on
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
CREATE FUNCTION pg_temp.why() RETURNS TABLE (rule text, version int, person text, outcome text, reason text) BEGIN ATOMIC
	SELECT d.rule, d.rule_version, d.profile_id, d.outcome, d.reason FROM eventmkt_data.decision d ORDER BY decided_at, profile_id, decision_id;
END;
CREATE FUNCTION pg_temp.pass(by interval DEFAULT '0') RETURNS bigint LANGUAGE sql AS $$
	SELECT eventmkt.advance_clock(by); SELECT eventmkt.run_due(); SELECT count(*) FROM eventmkt_data.pending_trigger $$;
\set QUIET off
-- making a rule fires nothing for what happened before
SELECT eventmkt.track('old', 'Cart', '{"n": 1}') > 0 AS tracked;
SELECT eventmkt.create_rule('cart', on_event => 'Cart', unless => '{Order}', after => '1 hour', send_to => 'none') AS cart \gset
SELECT pg_temp.pass('2 hours') AS live;
SELECT * FROM pg_temp.why();
-- live runs keep the version they started with: delay, conditions, cancelling events
SELECT eventmkt.track(p, 'Cart', '{"n": 1}') > 0 AS tracked FROM unnest('{ann,bob}'::text[]) p;
SELECT pg_temp.pass() AS live;
SELECT eventmkt.replace_rule('cart', on_event => 'Basket', unless => '{Sale}', after => '5 minutes', send_to => 'none') = :cart AS same_id;
SELECT version, current, enabled, on_event FROM eventmkt_data.rule ORDER BY version;
SELECT name, version, starts, cancels FROM eventmkt_data.rule_event ORDER BY name;
SELECT pg_temp.pass('10 minutes') AS live;
SELECT * FROM pg_temp.why();
-- the old name starts nothing any more, the new one does; bob's order still cancels the old version, cid's sale the new one
SELECT eventmkt.track('dan', 'Cart', '{"n": 1}') > 0 AS tracked;
SELECT eventmkt.track(p, 'Basket', '{"n": 1}') > 0 AS tracked FROM unnest('{cid,eve}'::text[]) p;
SELECT eventmkt.track('bob', 'Order') > 0 AS tracked;
SELECT eventmkt.track('cid', 'Sale') > 0 AS tracked;
SELECT pg_temp.pass('5 minutes') AS live;
SELECT pg_temp.pass('45 minutes') AS live;
SELECT * FROM pg_temp.why();
TRUNCATE eventmkt_data.decision;
-- disabled: nothing starts, what falls due is held, a cancelling event still counts; enabled in time it is sent
SELECT eventmkt.track(p, 'Basket', '{"n": 2}') > 0 AS tracked FROM unnest('{fay,gus}'::text[]) p;
SELECT pg_temp.pass() AS live;
SELECT eventmkt.disable_rule('cart');
SELECT eventmkt.track('hal', 'Basket', '{"n": 1}') > 0 AS tracked;
SELECT pg_temp.pass('10 minutes') AS live;
SELECT profile_id, state, wake_at FROM eventmkt_data.pending_trigger ORDER BY 1;
SELECT eventmkt.track('gus', 'Sale') > 0 AS tracked;
SELECT pg_temp.pass('10 minutes') AS live;
SELECT eventmkt.enable_rule('cart');
SELECT pg_temp.pass() AS live;
SELECT * FROM pg_temp.why() WHERE outcome <> 'held';
TRUNCATE eventmkt_data.decision;
-- enabled too late: expired, not sent stale
SELECT eventmkt.track('ida', 'Basket', '{"n": 1}') > 0 AS tracked;
SELECT pg_temp.pass() AS live;
SELECT eventmkt.disable_rule('cart');
SELECT pg_temp.pass('3 days') AS live;
-- replacing keeps it disabled unless said
SELECT eventmkt.replace_rule('cart', on_event => 'Basket', after => '5 minutes', send_to => 'none') = :cart AS same_id;
SELECT version, enabled FROM eventmkt_data.rule WHERE current;
SELECT pg_temp.pass() AS live;
SELECT eventmkt.replace_rule('cart', on_event => 'Basket', after => '5 minutes', send_to => 'none', enabled => true) = :cart AS same_id;
SELECT version, enabled FROM eventmkt_data.rule ORDER BY version;
SELECT pg_temp.pass() AS live;
SELECT * FROM pg_temp.why() WHERE outcome <> 'held';
TRUNCATE eventmkt_data.decision;
-- dropped: live runs end with a reason, the name is free, decisions keep id and name
SELECT eventmkt.track(p, 'Basket', '{"n": 1}') > 0 AS tracked FROM unnest('{jon,kim}'::text[]) p;
SELECT pg_temp.pass() AS live;
SELECT eventmkt.drop_rule('cart') AS cancelled;
SELECT pg_temp.pass('1 day') AS live;
SELECT * FROM pg_temp.why();
SELECT eventmkt.create_rule('cart', on_event => 'Basket', send_to => 'none') <> :cart AS another_id;
SELECT pg_temp.pass() AS live;
SELECT * FROM pg_temp.why();
-- dropped before the worker has looked at the event, and rolled back
SELECT eventmkt.track('lea', 'Basket', '{"n": 1}') > 0 AS tracked;
BEGIN;
SELECT eventmkt.drop_rule('cart') AS cancelled;
ROLLBACK;
SELECT eventmkt.drop_rule('cart') AS cancelled;
SELECT pg_temp.pass() AS live;
SELECT person, outcome, reason FROM pg_temp.why() WHERE person = 'lea';
SELECT count(*) AS left_over FROM eventmkt_data.work;

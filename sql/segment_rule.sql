-- where_segment: asked when a run starts and again before it is sent; versions keep it; why_not() says it
\set QUIET on
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
CREATE FUNCTION pg_temp.pass(by interval DEFAULT '0') RETURNS bigint LANGUAGE sql AS $$
	SELECT eventmkt.advance_clock(by); SELECT eventmkt.run_due(); SELECT count(*) FROM eventmkt_data.pending_trigger $$;
CREATE FUNCTION pg_temp.why() RETURNS TABLE (rule text, person text, outcome text, reason text, facts jsonb) BEGIN ATOMIC
	SELECT d.rule, d.profile_id, d.outcome, d.reason, d.facts FROM eventmkt_data.decision d ORDER BY 2, 1, decision_id;
END;
SELECT eventmkt.create_segment('regular', on_event => 'Order', at_least => 2, within => '30 days') > 0 AS made;
SELECT eventmkt.create_rule('nowhere', on_event => 'View', where_segment => 'nowhere', send_to => 'none');
\echo :SQLSTATE
\set QUIET off
SELECT eventmkt.create_rule('hello', on_event => 'View', after => '1 hour', where_segment => 'regular', send_to => 'none') AS rule;
-- ann and eve are regulars, bob has one order, cid none
SELECT count(eventmkt.track(p, 'Order')) FROM unnest('{ann,ann,bob,eve,eve}'::text[]) p;
SELECT count(eventmkt.track(p, 'View')) FROM unnest('{ann,bob,cid}'::text[]) p;
SELECT pg_temp.pass() AS live;
SELECT * FROM pg_temp.why();
SELECT pg_temp.pass('1 hour') AS live;
SELECT * FROM pg_temp.why();
SELECT step, outcome, reason, detail FROM eventmkt.why_not('bob', 'hello') WHERE step = 'segment';
SELECT step, outcome, reason, detail FROM eventmkt.why_not('ann', 'hello') WHERE step = 'segment';
-- in at the start, out when it is due: the window empties in between
SELECT pg_temp.pass('29 days 22 hours 30 minutes') AS live;
SELECT eventmkt.track('eve', 'View') > 0 AS tracked;
SELECT pg_temp.pass() AS live;
SELECT pg_temp.pass('1 hour') AS live;
SELECT * FROM pg_temp.why() WHERE person = 'eve';
-- out at the start, in by the time it would be due: the start decides
SELECT eventmkt.track('cid', 'View') > 0 AS tracked;
SELECT pg_temp.pass() AS live;
SELECT count(eventmkt.track('cid', 'Order')) FROM generate_series(1, 2);
SELECT pg_temp.pass('1 hour') AS live;
SELECT * FROM pg_temp.why() WHERE person = 'cid';
-- the same transaction: the audience sees what was written with the event; an alias counts for its person
SELECT eventmkt.identify('dan', '{}', 'dan-phone') AS who;
BEGIN;
SELECT count(eventmkt.track(p, 'Order')) FROM unnest('{dan,dan-phone}'::text[]) p;
SELECT eventmkt.track('dan-phone', 'View') > 0 AS tracked;
COMMIT;
SELECT pg_temp.pass() AS live;
-- a new version without the segment leaves the live run its own; and so the segment is still used by it
SELECT eventmkt.replace_rule('hello', on_event => 'View', after => '1 hour', send_to => 'none') AS rule;
SELECT version, s.name FROM eventmkt_data.rule r LEFT JOIN eventmkt_data.segment s ON s.segment_id = r.where_segment ORDER BY 1;
SELECT eventmkt.drop_segment('regular');
\echo :SQLSTATE
SELECT eventmkt.replace_segment('regular', on_event => 'Order', at_least => 9) > 0 AS replaced;
SELECT pg_temp.pass('1 hour') AS live;
SELECT * FROM pg_temp.why() WHERE person = 'dan';
SELECT eventmkt.drop_segment('regular');

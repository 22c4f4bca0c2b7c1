-- a pass that fails in the caller's session: the session is in no failed transaction afterwards and nothing is lost
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
SELECT eventmkt.create_rule('now', on_event => 'E', send_to => 'none') > 0 AS made;
SELECT eventmkt.create_rule('slow', on_event => 'Slow', send_to => 'none',
	where_event => 'exists($.a ? (exists($.a ? (exists($.a ? (@.x == 3))))))') > 0 AS made;
SELECT eventmkt.create_rule('back', on_event => 'Old', unless => '{X}', look_back => '100 days', after => '1 hour', send_to => 'none') > 0 AS made;
SELECT eventmkt.create_rule('count', on_event => 'Old', at_least => 2, within => '100 days', send_to => 'none') > 0 AS made;
RESET client_min_messages;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no decisions today'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON eventmkt_data.decision FOR EACH ROW EXECUTE FUNCTION refuse();
SELECT eventmkt.track('u', 'E') > 0 AS ok;
\set VERBOSITY terse
SELECT eventmkt.run_due();
SELECT current_user = session_user AS same_user, current_setting('enable_seqscan') AS seqscan, count(*) AS work FROM eventmkt_data.work;
DO $$ BEGIN PERFORM eventmkt.run_due(); EXCEPTION WHEN raise_exception THEN RAISE NOTICE 'caught: %', SQLERRM; END $$;
DROP TRIGGER refuse ON eventmkt_data.decision;
SELECT eventmkt.run_due();
SELECT rule, outcome FROM eventmkt_data.decision;
-- cancelled in the middle of a condition
SELECT eventmkt.track('u', 'Slow', jsonb_build_object('a', jsonb_agg(i))) > 0 AS ok FROM generate_series(1, 1000) i;
SET eventmkt.condition_timeout = '60s';
SET statement_timeout = '100ms';
SELECT eventmkt.run_due();
RESET statement_timeout;
RESET eventmkt.condition_timeout;
SELECT count(*) AS work FROM eventmkt_data.work;
SELECT eventmkt.run_due();
SELECT rule, outcome, reason FROM eventmkt_data.decision WHERE rule = 'slow';
-- an event from before the look-back of time
SELECT eventmkt.track('u', 'Old', occurred_at => '4713-01-01 BC') > 0 AS ok;
SELECT eventmkt.run_due();
SELECT rule, outcome, reason FROM eventmkt_data.decision WHERE rule IN ('back', 'count');

-- S18: live runs keep their version; disabling pauses without a backlog; enabling again sends nothing stale
\set QUIET on
SET client_min_messages = warning;
SELECT count(*) AS init FROM eventmkt.init();
SELECT eventmkt.create_rule('r', on_event => 'A', after => '1 hour', unless => ARRAY['B'], send_to => 'none') AS rule;
SELECT eventmkt.track('old', 'A') IS NULL AS x;
SELECT eventmkt.track('old stopped', 'A') IS NULL AS x;
SELECT eventmkt.run_due() AS rows;
-- editing fires nothing; the live run keeps its delay and its cancelling event
SELECT eventmkt.replace_rule('r', on_event => 'A', after => '2 hours', unless => ARRAY['C'], send_to => 'none') > 0 AS replaced;
SELECT eventmkt.run_due() AS rows;
SELECT eventmkt.track('new', 'A') IS NULL AS x;
SELECT eventmkt.track('old stopped', 'B') IS NULL AS x;
SELECT eventmkt.track('old', 'C') IS NULL AS x;
SELECT eventmkt.run_due() AS rows;
SELECT eventmkt.advance_clock('1 hour') IS NOT NULL AS moved;
SELECT eventmkt.run_due() AS rows;
SELECT profile_id, rule_version, outcome FROM eventmkt_data.decision ORDER BY 1;
-- disabled: what falls due is held, new events start nothing
SELECT eventmkt.disable_rule('r');
SELECT eventmkt.track('while off', 'A') IS NULL AS x;
SELECT eventmkt.advance_clock('1 hour') IS NOT NULL AS moved;
SELECT eventmkt.run_due() AS rows;
SELECT profile_id, rule_version, outcome, reason FROM eventmkt_data.decision ORDER BY 1;
-- enabled in time: it goes out; enabled too late: it expires
SELECT eventmkt.enable_rule('r');
SELECT eventmkt.run_due() AS rows;
SELECT eventmkt.track('too late', 'A') IS NULL AS x;
SELECT eventmkt.run_due() AS rows;
SELECT eventmkt.disable_rule('r');
SELECT eventmkt.advance_clock('5 hours') IS NOT NULL AS moved;
SELECT eventmkt.run_due() AS rows;
SELECT eventmkt.enable_rule('r');
SELECT eventmkt.run_due() AS rows;
SELECT profile_id, rule_version, outcome, reason FROM eventmkt_data.decision ORDER BY 1, decision_id;
-- dropped with live runs: cancelled; the name is free again; the decisions keep it
SELECT eventmkt.track('dropped', 'A') IS NULL AS x;
SELECT eventmkt.run_due() AS rows;
SELECT eventmkt.drop_rule('r');
SELECT eventmkt.run_due() >= 0 AS ran;
SELECT profile_id, rule, outcome, reason FROM eventmkt_data.decision WHERE profile_id = 'dropped';
SELECT eventmkt.create_rule('r', on_event => 'A', send_to => 'none') > 1 AS another;
SELECT count(*) AS left_behind FROM eventmkt_data.pending_trigger;
-- a run that goes on after an edit keeps the delay of its version
SET client_min_messages = error;
SELECT eventmkt.create_rule('kept', on_event => 'Kept', after => '24 hours', send_to => 'none') > 0 AS made;
RESET client_min_messages;
SELECT eventmkt.track('keeper', 'Kept') > 0 AS ok;
SELECT count(eventmkt.run_due()) AS ran;
SELECT eventmkt.replace_rule('kept', on_event => 'Kept', after => '1 hour', send_to => 'none') > 0 AS made;
SELECT eventmkt.track('keeper', 'Kept', '{"n": 2}') > 0 AS ok, eventmkt.track('other', 'Kept') > 0 AS ok;
SELECT count(eventmkt.run_due()) AS ran;
SELECT profile_id, rule_version, properties, due_at - event_at AS delay FROM eventmkt_data.pending_trigger WHERE event_name = 'Kept' ORDER BY 1;

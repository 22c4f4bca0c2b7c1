-- a session that knows of an inactivity run forgets it when the run ends before its time: the next lapse is found
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
SELECT eventmkt.create_rule('dormant', on_event => '*', after => '30 days', send_to => 'none') > 0 AS made;
RESET client_min_messages;
-- a merge takes the run away, undoing it does not bring it back
SELECT eventmkt.track('a', 'E') > 0 AS ok;
SELECT eventmkt.run_due();
SELECT eventmkt.identify('u', NULL, 'a');
SELECT count(eventmkt.run_due()) AS ran;
SELECT eventmkt.undo_merge(max(merge_id)) FROM eventmkt_data.merge_log;
SELECT eventmkt.track('a', 'E') > 0 AS ok;
SELECT eventmkt.run_due();
SELECT profile_id FROM eventmkt_data.pending_trigger ORDER BY 1;
-- a copy that is adopted discards its runs
SELECT eventmkt.track('b', 'E') > 0 AS ok;
SELECT count(eventmkt.run_due()) AS ran;
UPDATE eventmkt_data.setting SET value = '1' WHERE key = 'database_oid';
SELECT eventmkt.adopt('discard');
SELECT eventmkt.track('b', 'E') > 0 AS ok;
SELECT eventmkt.run_due();
SELECT profile_id FROM eventmkt_data.pending_trigger ORDER BY 1;

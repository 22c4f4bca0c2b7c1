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
-- the clock moves while an event comes that relies on a run: by then the run is due
SET client_min_messages = error;
SELECT eventmkt.track('c', 'E') > 0 AS ok;
SELECT count(eventmkt.run_due()) AS ran;
SELECT eventmkt.track('c', 'E') > 0 AS ok;
SELECT count(*) AS relies FROM eventmkt_data.work WHERE profile_id = 'c';
CREATE FUNCTION move() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM eventmkt.advance_clock('16 days'); RETURN NEW; END $$;
DO $$ BEGIN EXECUTE format('CREATE TRIGGER moving BEFORE INSERT ON %s FOR EACH ROW EXECUTE FUNCTION move()', (SELECT max(tableoid)::regclass FROM eventmkt_data.event WHERE profile_id = 'c')); END $$;
SELECT eventmkt.track('c', 'E') > 0 AS ok;
SELECT count(*) AS leaves_work FROM eventmkt_data.work WHERE profile_id = 'c';

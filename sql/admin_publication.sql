-- a publication of all tables stops nothing: a table without a key tells its rows by all columns
SELECT count(*) AS init FROM eventmkt.init();
SET client_min_messages = error;	-- wal_level may be too low to publish; deletes are checked all the same
CREATE PUBLICATION everything FOR ALL TABLES;
RESET client_min_messages;
SELECT c.oid::regclass FROM pg_class c WHERE c.relnamespace IN ('eventmkt'::regnamespace, 'eventmkt_data'::regnamespace) AND c.relkind IN ('r', 'p')
	AND c.relreplident <> 'f' AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary);
SELECT length(eventmkt.create_endpoint('crm', 'https://crm.example/hook')) > 0 AS secret;
SELECT length(eventmkt.rotate_secret('crm')) > 0 AS rotated;
SELECT eventmkt.create_rule('hello', on_event => 'Signed Up', send_to => 'none') > 0 AS made;
SELECT eventmkt.create_segment('all', on_event => 'Signed Up', track_membership => true);
SELECT eventmkt.track('ann', 'Signed Up') > 0 AS told, eventmkt.identify('ann', '{"plan": "pro"}');
SELECT eventmkt.run_due() >= 0 AS passed;
SELECT profile_id, outcome FROM eventmkt_data.decision;
SELECT eventmkt.make_partitions('2031-01-01', '2031-02-01') > 0 AS partitions;
SELECT eventmkt.maintain() IS NOT NULL AS maintained;
SELECT count(*) > 0 AS erased FROM eventmkt.erase('ann');
SELECT c.oid::regclass FROM pg_class c WHERE c.relnamespace = 'eventmkt_data'::regnamespace AND c.relkind IN ('r', 'p')
	AND c.relreplident <> 'f' AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary);
DROP PUBLICATION everything;

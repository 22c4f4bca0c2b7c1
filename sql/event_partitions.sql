-- partitions of weeks or of days, as the setting says; a change of it leaves neither a hole nor an overlap
\set QUIET on
SET client_min_messages = error;
SET timezone = 'UTC';
SELECT count(*) > 0 AS init FROM eventmkt.init();
CREATE VIEW public.made AS SELECT relname, pg_get_expr(relpartbound, oid) AS bounds FROM pg_class
	WHERE relispartition AND relnamespace = 'eventmkt_data'::regnamespace AND relkind = 'r' AND relname ~ '^event_.*20(20|21)' ORDER BY 1;
SELECT eventmkt.make_partitions('2020-06-01', '2020-06-15') AS weeks;
SELECT eventmkt.change_setting('partition_period', 'day');
SELECT eventmkt.make_partitions('2020-06-14', '2020-06-17') AS days;
SELECT eventmkt.make_partitions('2020-06-14', '2020-06-17') AS again;
SELECT * FROM public.made;
-- an event of a day lies in its partition, at its first and at its last microsecond
SELECT count(eventmkt.track('u', 'E', '{}', at)) FROM unnest('{2020-06-14 23:59:59.999999,2020-06-15,2020-06-16 23:59:59.999999,2020-06-17}'::timestamptz[]) at;
SELECT tableoid::regclass, occurred_at FROM eventmkt_data.event ORDER BY 2;
-- back to weeks: what days do not have of theirs is made, what lies in DEFAULT moves
SELECT eventmkt.change_setting('partition_period', 'week');
SELECT eventmkt.make_partitions('2020-06-16', '2020-06-29') AS made;
SELECT * FROM public.made;
SELECT tableoid::regclass, occurred_at FROM eventmkt_data.event ORDER BY 2;
-- retention drops each when all of it is old
SELECT eventmkt.change_setting('retention', (eventmkt.clock() - '2020-06-17 12:00')::text);
SELECT eventmkt.maintain();
SELECT * FROM public.made;
SELECT count(*) AS kept FROM eventmkt_data.event;

-- timelines that are kept: the view always equals the event table
SET client_min_messages = warning;
SELECT count(*) > 0 AS ready FROM eventmkt.init();
SET timezone = 'UTC';
SELECT setseed(0.37);
-- passes until nothing is left; a pass waits for older transactions of the server
CREATE PROCEDURE pack_all() LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1..3000 LOOP
		PERFORM eventmkt.pack_timelines(20);
		COMMIT;
		EXIT WHEN i > 2 AND (SELECT packed_to = sealed_to AND NOT EXISTS (SELECT FROM eventmkt_data.late_event) FROM eventmkt_data.timeline_state);
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
CREATE VIEW wrong AS
	SELECT p FROM (SELECT coalesce(a.profile_id, e.profile_id) AS p, eventmkt.timeline(occurred_at, name, properties ->> 'cart',
		CASE WHEN jsonb_typeof(properties -> 'amount') = 'number' AND abs((properties -> 'amount')::numeric) < 1e12 THEN (properties -> 'amount')::numeric END) AS t
		FROM eventmkt_data.event e LEFT JOIN eventmkt_data.alias a ON a.alias = e.profile_id GROUP BY 1) e
	FULL JOIN (SELECT profile_id AS p, t FROM eventmkt_bi.profile_timelines) v USING (p) WHERE eventmkt.timeline_send(e.t) IS DISTINCT FROM eventmkt.timeline_send(v.t);
CREATE FUNCTION happen(n int, days numeric) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM eventmkt.track('u' || floor(random() * 60), (ARRAY['view', 'add', 'buy'])[1 + floor(random() * 3)::int], CASE floor(random() * 5)::int WHEN 0 THEN '{"cart": "c1", "amount": 19.9}'
		WHEN 1 THEN '{"cart": 7, "amount": "much"}' WHEN 2 THEN '{"amount": 1e15}' ELSE '{}' END::jsonb, eventmkt.clock() - random() * days * interval '1 day') FROM generate_series(1, n);
END $$;
SELECT happen(2000, 150);
-- not kept: the view is the event table, without keys and values
SELECT count(*), sum(eventmkt.count(t)) FROM eventmkt_bi.profile_timelines;
SELECT count(*) FROM eventmkt_data.late_event;
SELECT eventmkt.pack_timelines();
-- kept
SELECT eventmkt.keep_timelines('cart', 'amount');
-- an id that is compressed in the index of the packed rows
SELECT eventmkt.track(repeat('a', 510), 'view', '{}', eventmkt.clock() - interval '50 days') > 0 AS long_id;
SELECT count(*) FROM wrong;
CALL pack_all();
SELECT packed_to = date_trunc('day', eventmkt.clock() - interval '2 hours') AS to_yesterday FROM eventmkt_data.timeline_state;
SELECT count(*) > 50 AS packed, bool_or(eventmkt.last_at(t) - eventmkt.first_at(t) > '100 days') AS over_quarters FROM eventmkt_data.profile_timeline;
SELECT count(*) FROM wrong;
-- late events: seen at once, packed later; before the first day that was packed, too
SELECT happen(150, 100);
SELECT happen(5, 400);
SELECT count(*) > 100 AS marks FROM eventmkt_data.late_event;
SELECT count(*) FROM wrong;
SELECT eventmkt.pack_timelines() > 0;
SELECT count(*) FROM wrong;
CALL pack_all();
SELECT count(*) FROM wrong;
-- events in time leave no mark
SELECT happen(50, 0.0001);
SELECT count(*) FROM eventmkt_data.late_event;
SELECT count(*) FROM wrong;
-- a question within a question, of people who are in the tail: both have the same map, the inner one for a shorter time. In a new
-- session, where memory that was given back is gone
CREATE FUNCTION up_to(p text) RETURNS numeric LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN (SELECT sum(eventmkt.count(t)) FROM eventmkt_bi.profile_timelines WHERE profile_id <= p); END $$;
SELECT count(eventmkt.track(CASE n % 3 WHEN 0 THEN 'u' || n / 3 % 60 ELSE 'v' || n END, 'view')) FROM generate_series(0, 5999) n;
\c -
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT setseed(0.73);
BEGIN;
SET LOCAL enable_seqscan = off; SET LOCAL max_parallel_workers_per_gather = 0;
SELECT count(*), count(*) FILTER (WHERE before = sum) AS same FROM (SELECT before, sum(n) OVER (ORDER BY profile_id) FROM (SELECT profile_id, up_to(profile_id) AS before, eventmkt.count(t) AS n
	FROM eventmkt_bi.profile_timelines WHERE profile_id < 'u6' OFFSET 0) x) y;
COMMIT;
-- every question of a timeline with a tail behind it answers as of the same timeline in one piece; in time order, and where an
-- event of the tail is not after all that is packed
CREATE VIEW differ AS
	SELECT question, count(*) FROM (SELECT t, eventmkt.slice(t, NULL, NULL) AS s FROM eventmkt_bi.profile_timelines) x, LATERAL (VALUES
		('funnel', eventmkt.funnel(t, '10 days', 'view', 'add', 'buy')::text, eventmkt.funnel(s, '10 days', 'view', 'add', 'buy')::text),
		('strict', eventmkt.funnel(t, '10 days', ARRAY['view', 'add'], 'strict_order strict_once')::text, eventmkt.funnel(s, '10 days', ARRAY['view', 'add'], 'strict_order strict_once')::text),
		('times', eventmkt.funnel_times(t, '10 days', 'view', 'buy')::text, eventmkt.funnel_times(s, '10 days', 'view', 'buy')::text),
		('sequence', eventmkt.sequence_count(t, '(?1).*(?2)', 'view', 'buy')::text, eventmkt.sequence_count(s, '(?1).*(?2)', 'view', 'buy')::text),
		('abandoned', eventmkt.abandoned(t, 'add', 'buy', '3 days')::text, eventmkt.abandoned(s, 'add', 'buy', '3 days')::text),
		('per key', eventmkt.abandoned(t, 'add', 'buy', '3 days', per_key => true)::text, eventmkt.abandoned(s, 'add', 'buy', '3 days', per_key => true)::text),
		('keys', eventmkt.abandoned_keys(t, 'add', 'buy', '3 days')::text, eventmkt.abandoned_keys(s, 'add', 'buy', '3 days')::text),
		('retention', eventmkt.retention(t, 'view', 'new')::text, eventmkt.retention(s, 'view', 'new')::text),
		('retained', eventmkt.retained(t, 'view', 'buy', '7 days', 20)::text, eventmkt.retained(s, 'view', 'buy', '7 days', 20)::text),
		('window', eventmkt.max_in_window(t, '4 days', 'view', 'new')::text, eventmkt.max_in_window(s, '4 days', 'view', 'new')::text),
		('window of all', eventmkt.max_in_window(t, '4 days')::text, eventmkt.max_in_window(s, '4 days')::text),
		('sessions', eventmkt.sessions(t, '1 day')::text, eventmkt.sessions(s, '1 day')::text),
		('cadence', eventmkt.cadence(t, 'buy', 'new')::text, eventmkt.cadence(s, 'buy', 'new')::text),
		('streak', eventmkt.streak(t, 'UTC', 1)::text, eventmkt.streak(s, 'UTC', 1)::text),
		('hours', eventmkt.engaged_hours(t, 'UTC')::text, eventmkt.engaged_hours(s, 'UTC')::text),
		('count', eventmkt.count(t)::text, eventmkt.count(s)::text),
		('count of some', eventmkt.count(t, 'view', 'new')::text, eventmkt.count(s, 'view', 'new')::text),
		('sum', eventmkt.sum(t, 'add', 'new')::text, eventmkt.sum(s, 'add', 'new')::text),
		('first', eventmkt.first_at(t, 'new')::text, eventmkt.first_at(s, 'new')::text),
		('last', eventmkt.last_at(t)::text, eventmkt.last_at(s)::text),
		('top', eventmkt.top_values(t, 3)::text, eventmkt.top_values(s, 3)::text),
		('touch', eventmkt.last_touch(t)::text, eventmkt.last_touch(s)::text),
		('merge', eventmkt.merge(t, t)::text, eventmkt.merge(s, s)::text),
		('text', t::text, s::text)) q (question, a, b)
	WHERE a IS DISTINCT FROM b GROUP BY question;
SELECT happen(300, 0.05);
SELECT count(eventmkt.track('u' || n % 70, 'new', '{"cart": "c2", "amount": 5.255}', eventmkt.clock() - n % 3 * interval '1 s')) FROM generate_series(1, 400) n;
SELECT * FROM differ;
SELECT count(*) FROM wrong;
BEGIN;
UPDATE eventmkt_data.profile_timeline p SET t = eventmkt.merge(p.t, e.t) FROM (SELECT profile_id, eventmkt.timeline(occurred_at, name) AS t FROM eventmkt_data.event GROUP BY 1) e WHERE p.profile_id = e.profile_id;
SELECT * FROM differ;
ROLLBACK;
-- a mark that is rolled back, and one of a subtransaction
BEGIN;
SELECT happen(10, 50);
ROLLBACK;
BEGIN;
SAVEPOINT a;
SELECT happen(10, 50);
ROLLBACK TO a;
SELECT happen(10, 50);
COMMIT;
SELECT count(*) FROM wrong;
-- days go by
SELECT eventmkt.advance_clock('3 days 5 hours') IS NOT NULL;
SELECT happen(100, 3);
SELECT count(*) FROM wrong;
CALL pack_all();
SELECT packed_to = date_trunc('day', eventmkt.clock() - interval '2 hours') AS to_yesterday FROM eventmkt_data.timeline_state;
SELECT count(*) FROM wrong;
-- one person in the tail, whose packed row is searched for: there is one, there is none; two, for whom the index is read
SELECT eventmkt.advance_clock('2 days') IS NOT NULL;
CALL pack_all();
BEGIN;
SELECT eventmkt.track('u7', 'view') > 0 AS tracked;
SELECT count(*) FROM wrong;
ROLLBACK;
BEGIN;
SELECT eventmkt.track('once', 'view') > 0 AS tracked;
SELECT count(*) FROM wrong;
SELECT eventmkt.track('u7', 'view') > 0 AS tracked;
SELECT count(*) FROM wrong;
ROLLBACK;
-- people who turn out to be one
SELECT eventmkt.identify('u1', '{}', 'visitor');
SELECT eventmkt.track(NULL, 'view', '{}', eventmkt.clock() - interval '10 days', anonymous_id => 'stranger') > 0;
CALL pack_all();
SELECT eventmkt.identify('u2', '{}', 'stranger');
SELECT eventmkt.count(t, 'view') > 0, count(*) OVER () FROM eventmkt_bi.profile_timelines WHERE profile_id IN ('u2', 'stranger');
SELECT count(*) FROM wrong;
-- people known by two packed ids; the merge is seen at once, packed later, undone, packed again
SELECT count(*) FROM eventmkt_data.profile_timeline WHERE profile_id IN ('u3', 'u4', 'u5');
SELECT eventmkt.alias('u3', 'u4'), eventmkt.alias('u4', 'u5');
SELECT count(*) > 2 AS marks FROM eventmkt_data.late_event;
SELECT count(*) FROM wrong;
SELECT happen(60, 3);
SELECT count(*) FROM wrong;
CALL pack_all();
SELECT count(*) FROM wrong;
SELECT profile_id FROM eventmkt_data.profile_timeline WHERE profile_id IN ('u3', 'u4', 'u5');
SELECT eventmkt.undo_merge(max(merge_id)) FROM eventmkt_data.merge_log WHERE refused IS NULL;
SELECT count(*) FROM wrong;
CALL pack_all();
SELECT count(*) FROM wrong;
-- in several processes; twice in one statement; in a transaction that has written
BEGIN;
SET LOCAL max_parallel_workers_per_gather = 2; SET LOCAL parallel_setup_cost = 0; SET LOCAL parallel_tuple_cost = 0; SET LOCAL min_parallel_table_scan_size = 0;
SELECT happen(40, 3);
SELECT count(*) FROM wrong;
SAVEPOINT s;
SELECT happen(40, 0.01);
SELECT count(*) FROM wrong;
ROLLBACK TO s;
SELECT count(*) FROM wrong;
SELECT count(*) FROM eventmkt_bi.profile_timelines a FULL JOIN eventmkt_bi.profile_timelines b USING (profile_id) WHERE eventmkt.timeline_send(a.t) IS DISTINCT FROM eventmkt.timeline_send(b.t);
SELECT sum(eventmkt.count(t)) = (SELECT count(*) FROM eventmkt_data.event) AS same FROM eventmkt_bi.profile_timelines;
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SET LOCAL max_parallel_workers_per_gather = 2; SET LOCAL parallel_setup_cost = 0; SET LOCAL parallel_tuple_cost = 0; SET LOCAL min_parallel_table_scan_size = 0;
SELECT happen(10, 0.01);
SELECT count(*) FROM wrong;
COMMIT;
-- a question is asked and counted where the rows are read: its processes share both parts of the view, and none passes rows on
BEGIN;
SET LOCAL max_parallel_workers_per_gather = 2; SET LOCAL parallel_setup_cost = 0; SET LOCAL min_parallel_table_scan_size = 0; SET LOCAL enable_seqscan = on; SET LOCAL enable_indexscan = off;
CREATE FUNCTION shape(q text) RETURNS SETOF text LANGUAGE plpgsql AS $$ DECLARE line text; BEGIN FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || q LOOP
	RETURN QUERY SELECT substring(line FROM '(?:Gather|Partial Aggregate|Parallel Append|Parallel Seq Scan|Function Scan)') WHERE line ~ '->'; END LOOP; END $$;
SELECT string_agg(node, ' > ') FROM shape('SELECT count(*) FROM eventmkt_bi.profile_timelines WHERE eventmkt.funnel(t, ''10 days'', ''view'', ''buy'') > 0') node;
ROLLBACK;
-- helpers gather all of it: names, keys and values that each met in an order of its own, rows of this transaction; then nobody helps
BEGIN;
SET LOCAL max_parallel_workers_per_gather = 2; SET LOCAL parallel_setup_cost = 0; SET LOCAL parallel_tuple_cost = 0; SET LOCAL min_parallel_table_scan_size = 0;
SET LOCAL parallel_leader_participation = off;
SELECT count(eventmkt.track('p' || i % 50, 'name ' || i % 7, jsonb_build_object('cart_id', 'c' || i % 11, 'amount', i))) FROM generate_series(1, 1500) i;
SELECT count(*) FROM wrong;
SELECT sum(eventmkt.count(t)) = (SELECT count(*) FROM eventmkt_data.event) AS same FROM eventmkt_bi.profile_timelines;
SET LOCAL max_parallel_workers = 0;
SELECT count(*) FROM wrong;
ROLLBACK;
-- a partition of a DBA with dead rows of before a column was NOT NULL, and one with columns that were added with a default
CREATE PROCEDURE make_part(tab text, year int) LANGUAGE plpgsql AS $$ BEGIN
	EXECUTE format('ALTER TABLE eventmkt_data.%I ALTER COLUMN properties SET NOT NULL, OWNER TO eventmkt', tab);
	EXECUTE format('ALTER TABLE eventmkt_data.event ATTACH PARTITION eventmkt_data.%I FOR VALUES FROM (%L) TO (%L)', tab, year || '-01-01', year + 1 || '-01-01'); END $$;
BEGIN;
CREATE TABLE eventmkt_data.mine (LIKE eventmkt_data.event); ALTER TABLE eventmkt_data.mine ALTER properties DROP NOT NULL;
INSERT INTO eventmkt_data.mine SELECT i, 'user-' || 1000 + i, 'view', NULL, '2041-03-03 03:03:03.030303'::timestamptz + i * interval '1.234567 s', '2041-03-03', NULL, NULL, 0, NULL FROM generate_series(1, 5000) i;
UPDATE eventmkt_data.mine SET properties = '{}';
CALL make_part('mine', 2041);
SELECT sum(eventmkt.count(t)) - (SELECT count(*) FROM eventmkt_data.event) AS more FROM eventmkt_bi.profile_timelines;
CREATE TABLE eventmkt_data.mine2 (event_id bigint NOT NULL, profile_id text COLLATE "C" NOT NULL);
INSERT INTO eventmkt_data.mine2 SELECT 100000 + i, 'user-' || i FROM generate_series(1, 100) i;
ALTER TABLE eventmkt_data.mine2 ADD name text COLLATE "C" NOT NULL DEFAULT 'view', ADD properties jsonb DEFAULT '{}', ADD occurred_at timestamptz NOT NULL DEFAULT '2042-05-05',
	ADD received_at timestamptz NOT NULL DEFAULT '2042-05-05', ADD message_id text COLLATE "C", ADD anonymous_id text COLLATE "C", ADD depth smallint NOT NULL DEFAULT 0, ADD conflict_of bigint;
CALL make_part('mine2', 2042);
SELECT sum(eventmkt.count(t)) - (SELECT count(*) FROM eventmkt_data.event) AS more, count(*) FILTER (WHERE profile_id LIKE 'user-%') AS people FROM eventmkt_bi.profile_timelines;
ROLLBACK;
-- a cursor sees what there was when it was opened
BEGIN;
DECLARE c CURSOR FOR SELECT sum(eventmkt.count(t)) OVER () - (SELECT count(*) FROM eventmkt_data.event) AS more FROM eventmkt_bi.profile_timelines;
SELECT happen(20, 3);
FETCH c;
COMMIT;
-- retention: quarters that lie wholly beyond it go
BEGIN;
SELECT eventmkt.change_setting('retention', '120 days') IS NOT NULL AS set;
SELECT eventmkt.advance_clock('1 day') IS NOT NULL;
SELECT eventmkt.pack_timelines() IS NOT NULL;
SELECT min(eventmkt.first_at(t)) >= date_trunc('quarter', eventmkt.clock() - interval '120 days') AS forgotten, min(eventmkt.count(t)) > 0 AS not_empty FROM eventmkt_data.profile_timeline;
ROLLBACK;
-- an analyst reads the view, and cannot make a tail of his own
CREATE ROLE emk_reader;
SELECT eventmkt.grant_access('emk_reader', 'analyst') IS NOT NULL AS granted;
SET ROLE emk_reader;
SELECT count(*) > 50 AS readable FROM eventmkt_bi.profile_timelines;
SELECT '1'::eventmkt.tail;
RESET ROLE;
SELECT eventmkt.revoke_access('emk_reader', 'analyst') IS NOT NULL AS revoked;
DROP ROLE emk_reader;
-- a question over the view equals the one over the events
SELECT count(*) FROM (SELECT coalesce(a.profile_id, e.profile_id) AS p, eventmkt.funnel('10 days', occurred_at, name = 'view', name = 'add', name = 'buy') AS f FROM eventmkt_data.event e
	LEFT JOIN eventmkt_data.alias a ON a.alias = e.profile_id GROUP BY 1) e FULL JOIN (SELECT profile_id AS p, eventmkt.funnel(t, '10 days', 'view', 'add', 'buy') AS f FROM eventmkt_bi.profile_timelines) v USING (p)
WHERE e.f IS DISTINCT FROM v.f;
-- the packed column gone with the extension, then made again: packed anew
BEGIN;
ALTER TABLE eventmkt_data.profile_timeline DROP COLUMN t CASCADE;
SELECT count(*) > 0 AS ready FROM eventmkt.init();
SELECT packed_to FROM eventmkt_data.timeline_state;
ROLLBACK;
-- tables of data version 2, a row a quarter: packed anew
BEGIN;
CREATE TABLE eventmkt_data.timeline (profile_id text, period timestamptz, t eventmkt.timeline);
ALTER TABLE eventmkt_data.timeline OWNER TO eventmkt;
SELECT count(*) > 0 AS ready FROM eventmkt.init();
SELECT to_regclass('eventmkt_data.timeline'), packed_to, (SELECT count(*) FROM eventmkt_data.profile_timeline) FROM eventmkt_data.timeline_state;
ROLLBACK;
-- other properties: starts anew; the same: nothing happens
SELECT eventmkt.keep_timelines('cart', 'amount');
SELECT count(*) > 60 FROM eventmkt_data.profile_timeline;
SELECT eventmkt.keep_timelines();
SELECT count(*) FROM eventmkt_data.profile_timeline;
CALL pack_all();
SELECT bool_or(t::text LIKE '%key%') FROM eventmkt_bi.profile_timelines;
SELECT eventmkt.drop_timelines();
SELECT happen(20, 50);
SELECT count(*) FROM eventmkt_data.late_event;
SELECT eventmkt.pack_timelines(0);

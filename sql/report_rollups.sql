-- roll-ups: a summary of each profile and year that always equals a query over the events
\set QUIET on
SET client_min_messages = warning;
SELECT count(*) > 0 AS ready FROM eventmkt.init();
SET timezone = 'UTC';
SELECT setseed(0.41);
CREATE PROCEDURE pack_all() LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1..3000 LOOP
		PERFORM eventmkt.pack_timelines(20);
		COMMIT;
		EXIT WHEN i > 2 AND (SELECT packed_to = sealed_to AND NOT EXISTS (SELECT FROM eventmkt_data.late_event) FROM eventmkt_data.timeline_state);
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
-- the span of the summaries: thirteen months to the end of this one
CREATE VIEW span AS SELECT (date_trunc('month', eventmkt.clock()) - interval '12 months')::date AS first_month;
CREATE VIEW e AS SELECT coalesce(a.profile_id, e.profile_id) AS p, name, occurred_at, occurred_at::date AS day,
		CASE WHEN name = 'buy' THEN coalesce(properties ->> 'sku', NULL) END AS item,
		CASE WHEN jsonb_typeof(properties -> 'amount') = 'number' AND abs((properties -> 'amount')::numeric) < 1e12
			THEN round((properties -> 'amount')::numeric, 6) ELSE 0 END AS amount
	FROM eventmkt_data.event e LEFT JOIN eventmkt_data.alias a ON a.alias = e.profile_id, span
	WHERE e.depth = 0 AND e.conflict_of IS NULL AND occurred_at >= first_month AND occurred_at < first_month + interval '13 months';
CREATE FUNCTION num(n numeric) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(trim_scale(n)) $$;
CREATE VIEW expected AS
	SELECT p, jsonb_build_object('events', count(*), 'active_days', count(DISTINCT day), 'first_day', min(day), 'last_day', max(day), 'sum', num(sum(amount)),
		'longest_streak', (SELECT max(n) FROM (SELECT count(*) AS n FROM (SELECT day, day - (row_number() OVER (ORDER BY day))::int AS island
			FROM (SELECT DISTINCT day FROM e i WHERE i.p = e.p) d) s GROUP BY island) t),
		'counts', (SELECT jsonb_object_agg(name, n) FROM (SELECT name, count(*) AS n FROM e i WHERE i.p = e.p GROUP BY 1) x),
		'sums', (SELECT coalesce(jsonb_object_agg(name, num(n)), '{}') FROM (SELECT name, sum(amount) AS n FROM e i WHERE i.p = e.p GROUP BY 1 HAVING sum(amount) <> 0) x),
		'items', count(DISTINCT item), 'items_complete', true,
		'top_items', (SELECT coalesce(jsonb_agg(jsonb_build_object('item', item, 'count', n, 'sum', num(s)) ORDER BY n DESC, s DESC, item COLLATE "C"), '[]') FROM (
			SELECT item, count(*) AS n, sum(amount) AS s FROM e i WHERE i.p = e.p AND item IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 3 DESC, item COLLATE "C" LIMIT 3) x)) AS j
	FROM e GROUP BY p;
CREATE VIEW wrong AS SELECT p FROM expected FULL JOIN (SELECT profile_id AS p, summary::jsonb AS j FROM span, eventmkt.yearly_summary(first_month, 13, 3)) s USING (p)
	WHERE expected.j IS DISTINCT FROM s.j;
CREATE FUNCTION happen(n int, days numeric) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM eventmkt.track('u' || floor(random() * 50), (ARRAY['view', 'add', 'buy', 'buy "it"'])[1 + floor(random() * 4)::int],
		CASE floor(random() * 6)::int WHEN 0 THEN jsonb_build_object('sku', 'p' || floor(random() * 5), 'amount', round((random() * 99)::numeric, 2))
		WHEN 1 THEN '{"sku": 7, "amount": "much"}' WHEN 2 THEN '{"sku": "é\"", "amount": -0.0000014}' WHEN 3 THEN '{"amount": 1e15}' WHEN 4 THEN '{"sku": "p1"}' ELSE '{}' END::jsonb,
		eventmkt.clock() - random() * days * interval '1 day') FROM generate_series(1, n);
END $$;
SELECT happen(2500, 300);
-- not kept: nobody
SELECT count(*) FROM span, eventmkt.yearly_summary(first_month);
SELECT eventmkt.keep_rollups('sku', 'amount', item_event => 'buy');
-- nothing is packed yet
SELECT count(*) = 50 AS all, (SELECT count(*) FROM wrong) AS wrong FROM span, eventmkt.yearly_summary(first_month, 13);
CALL pack_all();
SELECT count(*) > 300 AS packed, count(DISTINCT month) >= 10 AS months FROM eventmkt_data.rollup;
SELECT count(*) AS wrong FROM wrong;
-- late events: seen at once, packed later
SELECT happen(150, 100);
SELECT count(*) > 100 AS marks FROM eventmkt_data.late_event;
SELECT count(*) AS wrong FROM wrong;
CALL pack_all();
SELECT count(*) AS wrong FROM wrong;
-- days that pass, with events in time
DO $$ BEGIN FOR i IN 1..6 LOOP PERFORM happen(60, 0.01), eventmkt.advance_clock('9 hours'), eventmkt.pack_timelines(); END LOOP; END $$;
SELECT count(*) AS wrong FROM wrong;
CALL pack_all();
SELECT count(*) AS wrong FROM wrong;
-- the packed column gone with the extension: all is packed anew, roll-ups too
BEGIN;
ALTER TABLE eventmkt_data.profile_timeline DROP COLUMN t CASCADE;
SELECT count(*) > 0 AS ready FROM eventmkt.init();
SELECT count(*) AS wrong, (SELECT count(*) FROM eventmkt_data.rollup) AS packed FROM wrong;
ROLLBACK;
-- merges, before and after packing, and undone
SELECT eventmkt.identify('u' || i, '{"a": 1}') IS NULL AS x FROM generate_series(1, 5) i;
SELECT count(eventmkt.alias('u1' || i, 'u' || i)) FROM generate_series(1, 5) i;
SELECT count(*) AS wrong FROM wrong;
SELECT happen(100, 0.01);
CALL pack_all();
SELECT count(*) AS wrong, (SELECT count(*) FROM eventmkt_data.rollup WHERE profile_id LIKE 'u1_' AND profile_id BETWEEN 'u11' AND 'u15') AS left_behind FROM wrong;
SELECT count(eventmkt.undo_merge(merge_id)) FROM eventmkt_data.merge_log WHERE refused IS NULL AND into_id IN ('u2', 'u3');
SELECT count(*) AS wrong FROM wrong;
CALL pack_all();
SELECT count(*) AS wrong FROM wrong;
-- people who are erased, one of them merged: nothing of theirs stays, the others' stays right
SELECT count(eventmkt.alias('u21', 'u20')), (SELECT count(*) > 0 AS erased FROM eventmkt.erase('u20')), (SELECT count(*) > 0 FROM eventmkt.erase('u22'));
SELECT count(*) AS wrong FROM wrong;
CALL pack_all();
SELECT count(*) AS wrong, (SELECT count(*) FROM eventmkt_data.rollup WHERE profile_id IN ('u20', 'u21', 'u22')) AS left_behind FROM wrong;
-- parts add up in any order
SELECT count(*) AS differ FROM (SELECT profile_id, eventmkt.merge_rollups(part ORDER BY month) AS a, eventmkt.merge_rollups(part ORDER BY month DESC) AS b
	FROM eventmkt_bi.rollup_parts GROUP BY 1) x WHERE a <> b;
-- timelines started anew keep what is wanted of roll-ups; other wishes start anew, the same ones do not
SELECT eventmkt.keep_timelines('sku', 'amount');
SELECT rollups, item_property, item_event, sum_property, packed_to FROM eventmkt_data.timeline_state;
CALL pack_all();
SELECT count(*) AS wrong FROM wrong;
SELECT eventmkt.keep_rollups('sku', 'amount', 'buy');
SELECT count(*) > 0 AS still_there FROM eventmkt_data.rollup;
SELECT eventmkt.keep_rollups('sku');
SELECT rollups, item_property, item_event, sum_property, packed_to, key_property FROM eventmkt_data.timeline_state;
CALL pack_all();
SELECT sum((summary->>'sum')::numeric) AS sum, max((summary->>'items')::int) > 5 AS items FROM span, eventmkt.yearly_summary(first_month, 13);
-- what is more than can be kept is left out, and said
SELECT count(*) FROM (SELECT eventmkt.track('many', 'buy', jsonb_build_object('sku', i)) FROM generate_series(1, 2500) i) x;
SELECT count(*) FROM (SELECT eventmkt.track('many', 'buy', jsonb_build_object('sku', 'often')) FROM generate_series(1, 3)) x;
SELECT summary->>'events' AS events, summary->>'items' AS items, summary->>'items_complete' AS complete, summary->'top_items'->0 AS top
	FROM span, eventmkt.yearly_summary(first_month, 13) WHERE profile_id = 'many';
-- numbers
SELECT eventmkt.rollup_json(eventmkt.rollup('2026-01-31', 'e', 'i', v), 1) ->> 'sum' AS sum FROM unnest(ARRAY[0, 0.1, -0.000001, 12.5, -999999999999.999999, 0.0000004, 100, NULL]) v;
SELECT eventmkt.rollup_json(eventmkt.rollup(t, 'e', NULL, NULL)) AS json FROM (VALUES ('1999-12-31 23:00Z'::timestamptz), ('2000-01-01Z'), ('infinity')) x (t);
SELECT eventmkt.rollup(NULL, 'e', 'i', 1) IS NULL AS nothing;
-- malformed ones
CREATE FUNCTION try(r bytea) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN eventmkt.rollup_json(r); EXCEPTION WHEN invalid_binary_representation OR character_not_in_repertoire THEN RETURN SQLSTATE; END $$;
SELECT try(r) FROM unnest(ARRAY['', '\x01', '\x02000000', '\x0100000000', '\x010001', '\x0100ffffffffff', '\x01000001ff', '\x010001000101610100', '\x01000001016101000000']::bytea[]) r;
SELECT count(*) > 1000 AS survived FROM (SELECT try(set_byte(part, i, (get_byte(part, i) + 1 + i % 250) % 256)) FROM (SELECT part FROM eventmkt_bi.rollup_parts ORDER BY profile_id, month LIMIT 20) p,
	LATERAL generate_series(0, length(part) - 1) i) x;
SELECT try('\x01000001050061626364000000');	-- a name that begins with a NUL
SELECT eventmkt.drop_rollups();
SELECT count(*) AS rows, (SELECT count(*) FROM eventmkt_data.profile_timeline) > 0 AS timelines FROM eventmkt_data.rollup;
SELECT eventmkt.keep_rollups();
SELECT eventmkt.drop_timelines();
SELECT count(*) FROM span, eventmkt.yearly_summary(first_month);
-- an analyst may ask
CREATE ROLE rollup_analyst;
SELECT eventmkt.grant_access('rollup_analyst', 'analyst');
SET ROLE rollup_analyst;
SELECT count(*) FROM eventmkt.yearly_summary('2026-01-01');
RESET ROLE;
SELECT eventmkt.revoke_access('rollup_analyst', 'analyst');
DROP ROLE rollup_analyst;

-- a question asked of timelines always has the answer of the same question asked of the events
SET timezone = 'UTC';
SELECT setseed(0.31);
CREATE TABLE ev (c int, at timestamptz, event text, key text, value numeric, id bigint);
-- ties, NULLs, infinities, events with the same id and different content, names and keys in any order, big and odd values
INSERT INTO ev
SELECT c, CASE WHEN r < 0.02 THEN NULL WHEN r < 0.03 THEN 'infinity' WHEN r < 0.04 THEN '-infinity'
		ELSE timestamptz '2024-01-01' + floor(random() * 30) * interval '1 hour' + (c % 3) * floor(random() * 3) * interval '1 us' END,
	(ARRAY['view', 'add', 'buy', 'help', '', 'größe', NULL, 'view'])[1 + floor(random() * 8)::int],
	(ARRAY['k1', 'k10', 'k2', '', NULL])[1 + floor(random() * 5)::int],
	CASE floor(random() * 6)::int WHEN 0 THEN 19.90 WHEN 1 THEN -0.000001 WHEN 2 THEN 999999999999.999999 WHEN 3 THEN 0 WHEN 4 THEN 1200 END,
	CASE WHEN c % 4 = 0 THEN NULL WHEN random() < 0.8 THEN 1 + floor(random() * 4611686018427387904)::bigint ELSE floor(random() * 3)::bigint - 1 END
FROM (SELECT c, random() AS r FROM generate_series(1, 2000) c, generate_series(1, c % 17) i) s;
CREATE INDEX ON ev (c);
-- what a timeline holds: no NULL or infinite time, no NULL name; of equal ids the first
CREATE TABLE kept AS SELECT * FROM (SELECT c, at, event, key, value, id, row_number() OVER (PARTITION BY c, coalesce(id::text, 'row ' || ctid)
	ORDER BY at, event COLLATE "C", key COLLATE "C" NULLS FIRST, value NULLS FIRST) AS i FROM ev WHERE isfinite(at) AND event IS NOT NULL) s WHERE i = 1;
CREATE INDEX ON kept (c);
CREATE TABLE tl AS SELECT c, eventmkt.timeline(at, event, key, value, id) AS t FROM ev GROUP BY c HAVING bool_or(isfinite(at) AND event IS NOT NULL);
ANALYZE;

-- in and out
SELECT c FROM tl LEFT JOIN LATERAL (SELECT array_agg(u::text) AS u FROM eventmkt.unnest(t) u) u ON true LEFT JOIN LATERAL
	(SELECT array_agg(k::text ORDER BY at, event COLLATE "C", key COLLATE "C" NULLS FIRST, value NULLS FIRST, id NULLS FIRST) AS k
		FROM (SELECT at, event, key, trim_scale(value) AS value, id FROM kept WHERE kept.c = tl.c) k) k ON true
WHERE u IS DISTINCT FROM k;
SELECT c FROM tl WHERE eventmkt.timeline_send(t::text::eventmkt.timeline) <> eventmkt.timeline_send(t)
	OR eventmkt.timeline_send(eventmkt.timeline_send(t)::text::eventmkt.timeline) <> eventmkt.timeline_send(t);
-- split at random, the parts in random order: always the same bytes
SELECT c FROM tl JOIN LATERAL (SELECT eventmkt.merge(part ORDER BY random()) AS m FROM (SELECT eventmkt.timeline(at, event, key, value, id ORDER BY random()) AS part
	FROM (SELECT *, floor(random() * 4) AS p FROM ev WHERE ev.c = tl.c) s GROUP BY p) s) s ON true
WHERE eventmkt.timeline_send(m) <> eventmkt.timeline_send(t);
SELECT a.c FROM tl a JOIN tl b ON b.c = a.c + 1, LATERAL (SELECT eventmkt.timeline(at, event, key, value, id) AS t FROM ev WHERE c IN (a.c, b.c)) both_
WHERE eventmkt.timeline_send(eventmkt.merge(a.t, b.t)) <> eventmkt.timeline_send(both_.t) OR eventmkt.timeline_send(eventmkt.merge(b.t, a.t)) <> eventmkt.timeline_send(both_.t)
	OR a.c % 4 > 0 AND eventmkt.timeline_send(eventmkt.merge(a.t, eventmkt.merge(b.t, a.t))) <> eventmkt.timeline_send(both_.t);
-- cut
SELECT c FROM tl, LATERAL (SELECT timestamptz '2024-01-01' + c % 30 * interval '1 hour' AS f, timestamptz '2024-01-01' + c % 37 * interval '1 hour' AS e) s,
	LATERAL (SELECT eventmkt.timeline(at, event, key, value, id) AS k FROM kept WHERE kept.c = tl.c AND at >= f AND at < e) k
WHERE eventmkt.timeline_send(eventmkt.slice(t, f, e)) <> coalesce(eventmkt.timeline_send(k), eventmkt.timeline_send('[]'))
	OR eventmkt.timeline_send(eventmkt.merge(eventmkt.slice(t, NULL, f), eventmkt.slice(t, f, NULL))) <> eventmkt.timeline_send(t);

-- one entry a text in the dictionaries, whatever the order of arrival
WITH many AS (SELECT timestamptz '2024-01-01' + i * interval '1 minute' AS at, 'event ' || i % 13 AS event, 'key ' || i % 29 AS key FROM generate_series(0, 376) i)
SELECT eventmkt.timeline_send(eventmkt.timeline(at, event, key ORDER BY at)) = eventmkt.timeline_send(eventmkt.timeline(at, event, key ORDER BY event DESC, key)) AS same FROM many;

-- every question: aggregate over the kept events beside the function over the timeline, as text
CREATE FUNCTION differ(aggregate text, func text) RETURNS TABLE (question text, wrong bigint, answers boolean) LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE format('SELECT %L, count(*) FILTER (WHERE a IS DISTINCT FROM f), count(DISTINCT a) > 3 FROM (SELECT tl.c, (%s)::text AS f FROM tl) f
		JOIN (SELECT c, (%s)::text AS a FROM tl LEFT JOIN kept k USING (c) GROUP BY c) a USING (c)', func, func, aggregate);
END $$;
SELECT d.* FROM (VALUES
	('count(at)', 'eventmkt.count(t)'),
	('count(*) FILTER (WHERE event IN (''add'', ''buy''))', 'eventmkt.count(t, ''add'', ''buy'', NULL)'),
	('trim_scale(sum(value))', 'eventmkt.sum(t)'),
	('trim_scale(sum(value) FILTER (WHERE event = ''view''))', 'eventmkt.sum(t, ''view'')'),
	('min(at)', 'eventmkt.first_at(t)'),
	('max(at) FILTER (WHERE event = ''größe'')', 'eventmkt.last_at(t, ''größe'')'),
	('eventmkt.funnel(''5 hours'', at, event = ''view'', event = ''add'', event = ''buy'')', 'eventmkt.funnel(t, ''5 hours'', ''view'', ''add'', ''buy'')'),
	('eventmkt.funnel(''5 hours'', at, event = ''view'', event = ''view'', event = ''add'')', 'eventmkt.funnel(t, ''5 hours'', ''view'', ''view'', ''add'')'),
	('eventmkt.funnel_times(''9 hours'', at, event = ''view'', event = ''add'', event = ''buy'')', 'eventmkt.funnel_times(t, ''9 hours'', ''view'', ''add'', ''buy'')'),
	('eventmkt.funnel(''9 hours'', at, ''strict_order'', event = ''view'', event = ''add'', event = ''buy'')', 'eventmkt.funnel(t, ''9 hours'', ARRAY[''view'',''add'',''buy''], ''strict_order'')'),
	('eventmkt.funnel(''9 hours'', at, ''strict_dedup strict_increase'', event = ''view'', event = ''add'', event = ''buy'')', 'eventmkt.funnel(t, ''9 hours'', ARRAY[''view'',''add'',''buy''], ''strict_dedup strict_increase'')'),
	('eventmkt.funnel_times(''9 hours'', at, ''strict_once'', event = ''view'', event = ''view'', event = ''buy'')', 'eventmkt.funnel_times(t, ''9 hours'', ARRAY[''view'',''view'',''buy''], ''strict_once'')'),
	('eventmkt.sequence_match(''(?1)(?t<=3h)(?2)'', at, event = ''view'', event = ''add'') || repeat(''x'', count(at)::int)', 'eventmkt.sequence_match(t, ''(?1)(?t<=3h)(?2)'', ''view'', ''add'') || repeat(''x'', eventmkt.count(t)::int)'),
	('eventmkt.sequence_count(''(?1).*(?2|3)'', at, event = ''view'', event = ''add'', event = ''buy'')', 'eventmkt.sequence_count(t, ''(?1).*(?2|3)'', ''view'', ''add'', ''buy'')'),
	('eventmkt.sequence_events(''(?1)(?t>=2h)(?2)'', at, event = ''view'', event = ''add'')', 'eventmkt.sequence_events(t, ''(?1)(?t>=2h)(?2)'', ''view'', ''add'')'),
	('eventmkt.abandoned(at, event = ''add'', event = ''buy'', ''6 hours'')', 'eventmkt.abandoned(t, ''add'', ''buy'', ''6 hours'')'),
	('eventmkt.abandoned(at, event = ''add'', event = ''buy'', ''6 hours'', true)', 'eventmkt.abandoned(t, ''add'', ''buy'', ''6 hours'', debounce => true)'),
	('eventmkt.abandoned(at, event = ''buy'', event = ''buy'', ''6 hours'')', 'eventmkt.abandoned(t, ''buy'', ''buy'', ''6 hours'')'),
	('eventmkt.abandoned(at, event IN (''add'', ''view''), event IN (''buy'', ''help''), ''3 hours'')', 'eventmkt.abandoned(t, ARRAY[''view'', ''add''], ARRAY[''buy'', ''help''], ''3 hours'')'),
	('eventmkt.abandoned(at, event = ''add'', event = ''buy'', ''6 hours'', key)', 'eventmkt.abandoned(t, ''add'', ''buy'', ''6 hours'', per_key => true)'),
	('eventmkt.abandoned_keys(at, event = ''view'', event = ''buy'', ''6 hours'', key)', 'eventmkt.abandoned_keys(t, ''view'', ''buy'', ''6 hours'')'),
	('eventmkt.abandoned_keys(at, event = ''view'', event = ''buy'', ''6 hours'', key, true)', 'eventmkt.abandoned_keys(t, ''view'', ''buy'', ''6 hours'', true)'),
	('eventmkt.retention(event = ''view'', event = ''add'', event = ''buy'')', 'eventmkt.retention(t, ''view'', ''add'', ''buy'')'),
	('eventmkt.retained(at, NULL, ''5 hours'', 6) FILTER (WHERE event = ''view'')', 'eventmkt.retained(t, ''view'', ''view'', ''5 hours'', 6)'),
	('eventmkt.max_in_window(at, ''4 hours'')', 'eventmkt.max_in_window(t, ''4 hours'')'),
	('eventmkt.max_in_window(at, ''4 hours'') FILTER (WHERE event = ''view'')', 'eventmkt.max_in_window(t, ''4 hours'', ''view'')'),
	('eventmkt.sessions(at, ''2 hours'')', 'eventmkt.sessions(t, ''2 hours'')'),
	('eventmkt.sessions(at, ''2 hours'') FILTER (WHERE event <> ''view'')', 'eventmkt.sessions(t, ''2 hours'', ''add'', ''buy'', ''help'', ''größe'', '''')'),
	('eventmkt.cadence(at)', 'eventmkt.cadence(t)'),
	('eventmkt.cadence(at) FILTER (WHERE event = ''buy'')', 'eventmkt.cadence(t, ''buy'')'),
	('eventmkt.streak(at, ''America/New_York'', 0)', 'eventmkt.streak(t, ''America/New_York'', 0)'),
	('eventmkt.streak(at, ''America/New_York'', 1) FILTER (WHERE event = ''buy'')', 'eventmkt.streak(t, ''America/New_York'', 1, ''buy'')'),
	('coalesce(eventmkt.engaged_hours(at, ''UTC''), array_fill(0, ARRAY[24]))', 'eventmkt.engaged_hours(t, ''UTC'')'),
	('coalesce(eventmkt.engaged_hours(at, ''UTC'') FILTER (WHERE event = ''add''), array_fill(0, ARRAY[24]))', 'eventmkt.engaged_hours(t, ''UTC'', ''add'')'),
	('eventmkt.top_values(key, 2)', 'eventmkt.top_values(t, 2)'),
	('eventmkt.top_values(key, 3) FILTER (WHERE event = ''view'')', 'eventmkt.top_values(t, 3, ''view'')'),
	('eventmkt.first_touch(at, key)', 'eventmkt.first_touch(t)'),
	('eventmkt.last_touch(at, key) FILTER (WHERE event IN (''view'', ''buy''))', 'eventmkt.last_touch(t, ''view'', ''buy'')')
) q(a, f), LATERAL differ(a, f) d;

-- parameters that change from row to row are not mixed up with those kept from the row before
SELECT count(*) FROM tl, LATERAL (SELECT (ARRAY['view', 'add', 'buy'])[1 + c % 3] AS e) s
WHERE eventmkt.count(t, e) <> (SELECT count(*) FROM kept WHERE kept.c = tl.c AND event = e);
-- many names and many keys
SELECT eventmkt.count(t), eventmkt.count(t, 'name 299', 'name 0', 'name 300'), eventmkt.funnel(t, '1 day', 'name 1', 'name 299'), cardinality(eventmkt.top_values(t, 1000)),
	(SELECT count(DISTINCT (event, key)) FROM eventmkt.unnest(t)), t::text = eventmkt.timeline_send(t)::text::eventmkt.timeline::text AS same
FROM (SELECT eventmkt.timeline('2024-01-01'::timestamptz + i * interval '1 min', 'name ' || i % 300, 'key ' || i % 700, i) AS t FROM generate_series(1, 2100) i) s;
-- a long history in one state, packed as it grows, merged from parts
SELECT eventmkt.count(t), eventmkt.sum(t), eventmkt.last_at(t), octet_length(eventmkt.timeline_send(t)) < 2000000 AS small
FROM (SELECT eventmkt.timeline('2024-01-01'::timestamptz + i * 7919 % 200000 * interval '1 s', 'e' || i % 5, NULL, i % 100, i % 150000) AS t FROM generate_series(1, 200000) i) s;
-- examples
SELECT eventmkt.timeline(at, event, cart, amount) FROM (VALUES (timestamptz '2024-03-01 10:00', 'Product Added', 'c1', 12.50), ('2024-03-01 09:58:01.000001', 'Product Viewed', NULL, NULL)) v(at, event, cart, amount);
SELECT * FROM eventmkt.unnest('[{"event": "b", "at": "2024-03-01 10:00+02"}, {"at": "2024-03-01T07:59:59Z", "event": "a\"\u00e9", "id": 5, "value": 1.10, "key": "k", "more": null}]');
SELECT eventmkt.count('[]'::eventmkt.timeline), eventmkt.sum('[]'::eventmkt.timeline), eventmkt.funnel('[]'::eventmkt.timeline, '1 d', 'a'), eventmkt.abandoned('[]'::eventmkt.timeline, 'a', 'b', '1 d'), eventmkt.sessions('[]'::eventmkt.timeline, '1 d'), eventmkt.cadence('[]'::eventmkt.timeline),
	eventmkt.merge('[]'::eventmkt.timeline, '[]'::eventmkt.timeline), eventmkt.slice('[]'::eventmkt.timeline, NULL, NULL), eventmkt.retention('[]'::eventmkt.timeline, 'a', 'b'), eventmkt.streak('[]'::eventmkt.timeline, 'UTC', 0), eventmkt.merge(NULL::eventmkt.timeline, NULL);
-- what is refused
\set VERBOSITY sqlstate
SELECT '{}'::eventmkt.timeline;
SELECT '5'::eventmkt.timeline;
SELECT '[5]'::eventmkt.timeline;
SELECT '[[]]'::eventmkt.timeline;
SELECT '[{"at": 5, "event": "a"}]'::eventmkt.timeline;
SELECT '[{"at": "2024-01-01"}]'::eventmkt.timeline;
SELECT '[{"at": "nonsense", "event": "a"}]'::eventmkt.timeline;
SELECT '[{"at": "2024-01-01", "event": "a", "value": "5"}]'::eventmkt.timeline;
SELECT '[{"at": "2024-01-01", "event": "a", "id": 1e30}]'::eventmkt.timeline;
SELECT '[{"at": "2024-01-01", "event": "a", "value": 1e12}]'::eventmkt.timeline;
SELECT '[{"at": "2024-01-01", "event": "a", "value": 999999999999.9999994}]'::eventmkt.timeline;
SELECT repeat('[', 100000)::eventmkt.timeline;
SELECT ''::eventmkt.timeline;
SELECT '\x'::eventmkt.timeline;
SELECT '\x010002'::eventmkt.timeline;
SELECT eventmkt.timeline(now(), repeat('x', 201));
SELECT eventmkt.timeline(now(), 'x', repeat('x', 513));
SELECT eventmkt.timeline(now(), 'x', NULL, 'NaN');
SELECT eventmkt.timeline(now(), 'x', NULL, '-Infinity');
SELECT eventmkt.count('[]'::eventmkt.timeline, VARIADIC '{}');
SELECT eventmkt.count('[]'::eventmkt.timeline, VARIADIC '{{a,b},{c,d}}');
SELECT eventmkt.funnel('[]'::eventmkt.timeline, '1 month', 'a');
SELECT eventmkt.funnel('[]'::eventmkt.timeline, '1 d', VARIADIC array_fill('a'::text, ARRAY[33]));
SELECT eventmkt.sequence_match('[]'::eventmkt.timeline, '(?2)', 'a');
SELECT eventmkt.retained('[]'::eventmkt.timeline, 'a', 'b', '1 d', 0);
SELECT eventmkt.top_values('[]'::eventmkt.timeline, 0);
SELECT eventmkt.streak('[]'::eventmkt.timeline, 'X/Y', 0);

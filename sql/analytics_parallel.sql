-- the same answers in one process, in several, spilled to disk, and as moving windows
SET timezone = 'UTC';
SELECT setseed(0.71);
CREATE TABLE ev (c int, at timestamptz, event text, key text, value numeric, id bigint);
INSERT INTO ev SELECT i % 3000, timestamptz '2024-01-01' + floor(random() * 5000) * interval '10 min', (ARRAY['view', 'add', 'buy', 'help'])[1 + floor(random() * 4)::int],
	'k' || floor(random() * 5), floor(random() * 100), i / 2 FROM generate_series(1, 60000) i;
ALTER TABLE ev SET (parallel_workers = 2);
ANALYZE ev;
CREATE VIEW question AS SELECT c, eventmkt.funnel('5 days', at, event = 'view', event = 'add', event = 'buy')::text AS q1,
	eventmkt.funnel_times('5 days', at, 'strict_order', event = 'view', event = 'add', event = 'buy')::text AS q2,
	eventmkt.abandoned(at, event = 'add', event = 'buy', '1 day')::text AS q3, eventmkt.abandoned_keys(at, event = 'add', event = 'buy', '1 day', key, true)::text AS q4,
	eventmkt.sequence_count('(?1)(?t<=2d)(?2)', at, event = 'view', event = 'buy')::text AS q5, eventmkt.retention(event = 'view', event = 'buy')::text AS q6,
	eventmkt.retained(at, NULL, '1 week', 4)::text AS q7, eventmkt.sessions(at, '6 hours')::text AS q8, eventmkt.max_in_window(at, '1 week')::text AS q9,
	eventmkt.cadence(at)::text AS q10, eventmkt.streak(at, 'Europe/Berlin', 1)::text AS q11, eventmkt.engaged_hours(at, 'Europe/Berlin')::text AS q12,
	eventmkt.first_touch(at, key) AS q13, eventmkt.last_touch(at, key) AS q14, eventmkt.top_values(key, 3)::text AS q15, eventmkt.timeline(at, event, key, value, id)::text AS q16
FROM ev GROUP BY c;
SET max_parallel_workers_per_gather = 0;
CREATE TABLE serial AS SELECT * FROM question;
SET max_parallel_workers_per_gather = 2;
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
CREATE FUNCTION plan_has(query text, node text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN ' || query LOOP
		IF line LIKE '%' || node || '%' THEN RETURN true; END IF;
	END LOOP;
	RETURN false;
END $$;
SET enable_hashagg = off;
SELECT plan_has('SELECT * FROM question', 'Partial GroupAggregate') AS parallel;
CREATE TABLE sorted AS SELECT * FROM question;
(TABLE serial EXCEPT TABLE sorted) UNION ALL (TABLE sorted EXCEPT TABLE serial);
SET enable_hashagg = on; SET enable_sort = off; SET work_mem = '1MB'; SET parallel_tuple_cost = 0.03;
SELECT plan_has('SELECT * FROM question', 'Partial HashAggregate') AS parallel;
CREATE TABLE hashed AS SELECT * FROM question;
(TABLE serial EXCEPT TABLE hashed) UNION ALL (TABLE hashed EXCEPT TABLE serial);
-- one group over all: parts of it merged
RESET enable_sort; SET parallel_tuple_cost = 0;
CREATE VIEW one AS SELECT md5(eventmkt.timeline(at, event, key, value, id)::text), eventmkt.funnel('1 h', at, event = 'view', event = 'add'), eventmkt.top_values(event, 2), eventmkt.max_in_window(at, '1 day') FROM ev;
CREATE TABLE one_parallel AS SELECT * FROM one;
SET max_parallel_workers_per_gather = 0;
SELECT (SELECT o::text FROM one o) = (SELECT o::text FROM one_parallel o) AS same;
RESET work_mem;
-- 1,000 random splits of random groups, each part by itself, merged in random order
CREATE FUNCTION merged(c_ int) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE r record; s bytea[]; w bytea[]; q bytea[]; x bytea; y bytea; z bytea; i int;
BEGIN
	s := array_fill(NULL::bytea, ARRAY[5]); w := s; q := s;
	FOR r IN SELECT *, 1 + floor(random() * 5)::int AS part FROM ev WHERE c = c_ ORDER BY random() LOOP
		s[r.part] := eventmkt.timeline_add(s[r.part], r.at, r.event, r.key, r.value, r.id);
		w[r.part] := eventmkt.sessions_add(w[r.part], r.at, '6 hours');
		q[r.part] := eventmkt.sequence_add(q[r.part], '(?1)(?t<=2d)(?2)', r.at, ARRAY[r.event = 'view', r.event = 'buy']);
	END LOOP;
	FOR i IN SELECT n FROM generate_series(1, 5) n ORDER BY random() LOOP
		x := eventmkt.state_merge(x, s[i]); y := eventmkt.state_merge(w[i], y); z := eventmkt.state_merge(z, q[i]);
	END LOOP;
	RETURN (SELECT (q16, q8, q5) = (eventmkt.timeline_end(x)::text, eventmkt.sessions_end(y)::text, eventmkt.sequence_count_end(z)::text) FROM serial WHERE c = c_);
END $$;
CREATE INDEX ON ev (c); CREATE INDEX ON serial (c);
SELECT count(*) FROM generate_series(1, 1000) i WHERE NOT merged(i);
-- as window functions: a frame that grows equals the groups it ends with
SELECT count(*) FROM (SELECT c, at, event, key, row_number() OVER w AS n, count(*) OVER (PARTITION BY c) AS all_,
	eventmkt.funnel('5 days', at, event = 'view', event = 'add', event = 'buy') OVER w AS f, eventmkt.top_values(key, 3) OVER w AS t FROM ev WHERE c < 200
	WINDOW w AS (PARTITION BY c ORDER BY at, event, key, id ROWS UNBOUNDED PRECEDING)) s JOIN serial USING (c) WHERE n = all_ AND (f::text, t::text) <> (q1, q15);

-- abandoned in all forms, max_in_window, sessions, cadence, streak, hours, touches, top values against what plain SQL says
SET timezone = 'UTC';
SELECT setseed(0.17);
CREATE TABLE row_of (c int, at timestamptz, opened boolean, closed boolean, key text);
INSERT INTO row_of
SELECT c, CASE WHEN r < 0.02 THEN NULL WHEN r < 0.03 THEN 'infinity' WHEN r < 0.04 THEN '-infinity'
		ELSE timestamptz '2024-01-01' + floor(random() * 20) * interval '1 hour' END,
	CASE WHEN random() < 0.9 THEN random() < 0.5 END, CASE WHEN random() < 0.9 THEN random() < 0.25 END,
	(ARRAY['a', 'b', 'c', '', NULL])[1 + floor(random() * 5)::int]
FROM (SELECT c, random() AS r FROM generate_series(1, 3000) c, generate_series(1, c % 12) i) s;
CREATE INDEX ON row_of (c);
ANALYZE row_of;

CREATE TABLE answer AS
SELECT c, w, eventmkt.abandoned(at, opened, closed, w) AS plain, eventmkt.abandoned(at, opened, closed, w, true) AS debounced,
	eventmkt.abandoned(at, opened, closed, w, key) AS keyed, eventmkt.abandoned(at, opened, closed, w, key, true) AS keyed_debounced,
	eventmkt.abandoned_keys(at, opened, closed, w, key) AS keys, eventmkt.abandoned_keys(at, opened, closed, w, key, true) AS keys_debounced,
	eventmkt.max_in_window(at, w) AS most, eventmkt.sessions(at, w) AS sessions, eventmkt.cadence(at) AS cadence,
	eventmkt.streak(at, 'Asia/Kathmandu', c % 3) AS streak, eventmkt.engaged_hours(at, 'Asia/Kathmandu') AS hours,
	eventmkt.first_touch(at, key) AS first_touch, eventmkt.last_touch(at, key) AS last_touch, eventmkt.top_values(key, 1 + c % 4) AS top
FROM generate_series(1, 3000) g(c) LEFT JOIN row_of USING (c), LATERAL (SELECT (c % 7) * interval '1 hour' AS w) s
GROUP BY c, w;

ANALYZE answer;
-- an opening at t is abandoned when no closing lies in [t, t + w]; one that is an opening as well closes only what was before it;
-- with debounce no further opening lies in (t, t + w]. One key alone, or any key when there is none to look at.
CREATE FUNCTION expected(c_ int, w interval, debounce boolean, per_key boolean)
RETURNS TABLE (key text, at timestamptz) LANGUAGE sql AS $$
	SELECT DISTINCT o.key COLLATE "C", o.at FROM (SELECT CASE WHEN per_key THEN key ELSE '-' END AS key, at FROM row_of
		WHERE c = c_ AND opened AND isfinite(at)) o
	WHERE o.key IS NOT NULL
		AND NOT EXISTS (SELECT FROM row_of x WHERE x.c = c_ AND closed AND isfinite(x.at) AND x.at <= o.at + w
			AND (NOT per_key OR x.key IS NULL OR x.key = o.key)
			AND (x.at > o.at OR x.at = o.at AND (opened IS NOT TRUE OR per_key AND x.key IS NULL)))
		AND NOT (debounce AND EXISTS (SELECT FROM row_of x WHERE x.c = c_ AND opened AND isfinite(x.at)
			AND x.at > o.at AND x.at <= o.at + w AND (NOT per_key OR x.key = o.key)))
	ORDER BY 2, 1
$$;
SELECT c, plain, o FROM answer, LATERAL (SELECT coalesce(array_agg(at ORDER BY at), '{}') AS o FROM expected(c, w, false, false)) s WHERE plain <> o;
SELECT c, debounced, o FROM answer, LATERAL (SELECT coalesce(array_agg(at ORDER BY at), '{}') AS o FROM expected(c, w, true, false)) s WHERE debounced <> o;
SELECT c, keyed, o FROM answer, LATERAL (SELECT coalesce(array_agg(DISTINCT at ORDER BY at), '{}') AS o FROM expected(c, w, false, true)) s WHERE keyed <> o;
SELECT c, keyed_debounced, o FROM answer, LATERAL (SELECT coalesce(array_agg(DISTINCT at ORDER BY at), '{}') AS o FROM expected(c, w, true, true)) s WHERE keyed_debounced <> o;
SELECT c, keys, o FROM answer, LATERAL (SELECT coalesce(array_agg(e::text), '{}') AS o FROM expected(c, w, false, true) e) s WHERE keys::text[] <> o;
SELECT c, keys_debounced, o FROM answer, LATERAL (SELECT coalesce(array_agg(e::text), '{}') AS o FROM expected(c, w, true, true) e) s WHERE keys_debounced::text[] <> o;
SELECT count(*) > 500 FROM answer WHERE plain <> '{}' AND debounced <> plain AND keyed <> plain;

CREATE VIEW good AS SELECT * FROM row_of WHERE isfinite(at);
SELECT c, most, o FROM answer, LATERAL (SELECT coalesce(max(n), 0) AS o FROM (SELECT (SELECT count(*) FROM good y
	WHERE y.c = x.c AND y.at BETWEEN x.at AND x.at + w) AS n FROM good x WHERE x.c = answer.c) s) s WHERE most <> o;
-- sessions, and the number of the session a row lies in
CREATE VIEW numbered AS SELECT c, w, at, sum(starts) OVER (PARTITION BY c ORDER BY at) AS o, eventmkt.session_number(at, w) OVER (PARTITION BY c ORDER BY at) AS n
	FROM (SELECT c, w, at, CASE WHEN at - lag(at) OVER (PARTITION BY c ORDER BY at) <= w THEN 0 ELSE 1 END AS starts FROM good JOIN answer USING (c)) s;
SELECT * FROM numbered WHERE o <> n;
SELECT c, sessions, o FROM answer LEFT JOIN (SELECT c, array_agg(ROW(f, t, n)::text ORDER BY f) AS o FROM (SELECT c, min(at) AS f, max(at) AS t, count(*) AS n
	FROM numbered GROUP BY c, o) s GROUP BY c) o USING (c) WHERE sessions::text[] <> coalesce(o, '{}');
SELECT c, cadence, o FROM answer, LATERAL (SELECT count(*) AS times, percentile_cont(0.5) WITHIN GROUP (ORDER BY gap) AS gap, max(at) AS last_at FROM
	(SELECT at, at - lag(at) OVER (ORDER BY at) AS gap FROM (SELECT DISTINCT at FROM good WHERE good.c = answer.c) s) s) o
WHERE ((cadence).times, (cadence).typical_gap, (cadence).last_at, (cadence).next_at) IS DISTINCT FROM (o.times, o.gap, o.last_at, o.last_at + o.gap);
SELECT c, streak, hours, o FROM answer a, LATERAL (SELECT (SELECT ROW(
		(array_agg(n ORDER BY d DESC))[1], max(n), max(d))::eventmkt.streak_days FROM (
			SELECT d, count(*) OVER (PARTITION BY c, run ORDER BY d)::int AS n FROM (SELECT c, d, sum(starts) OVER (ORDER BY d) AS run FROM (
				SELECT c, d, CASE WHEN d - lag(d) OVER (ORDER BY d) <= 1 + c % 3 THEN 0 ELSE 1 END AS starts FROM (
					SELECT DISTINCT c, (at AT TIME ZONE 'Asia/Kathmandu')::date AS d FROM good WHERE good.c = a.c) s) s) s) s HAVING count(*) > 0) AS streak_o,
	(SELECT array_agg(n ORDER BY h) FROM (SELECT h, count(at) AS n FROM generate_series(0, 23) h
		LEFT JOIN good ON good.c = a.c AND extract(hour from at AT TIME ZONE 'Asia/Kathmandu') = h GROUP BY h) s HAVING EXISTS (SELECT FROM good WHERE good.c = a.c)) AS hours_o) o WHERE (streak, hours) IS DISTINCT FROM (streak_o, hours_o);
SELECT c, first_touch, last_touch FROM answer a, LATERAL (SELECT (array_agg(key ORDER BY at, key COLLATE "C"))[1] AS f,
	(array_agg(key ORDER BY at DESC, key COLLATE "C" DESC))[1] AS l FROM good WHERE good.c = a.c AND key IS NOT NULL) o WHERE (first_touch, last_touch) IS DISTINCT FROM (f, l);
SELECT c, top, o FROM answer, LATERAL (SELECT coalesce(array_agg(s::text), '{}') AS o FROM (SELECT key, n FROM (SELECT key, count(*) AS n,
	row_number() OVER (ORDER BY count(*) DESC, key COLLATE "C") AS i FROM row_of WHERE row_of.c = answer.c AND key IS NOT NULL GROUP BY key) s WHERE i <= 1 + answer.c % 4) s) s WHERE top::text[] <> o;

-- retention and cohorts
SELECT c FROM (SELECT c, eventmkt.retention(opened, closed, key = 'a', key IS NULL) AS f,
	ARRAY[bool_or(opened IS TRUE), bool_or(opened IS TRUE) AND bool_or(closed IS TRUE), bool_or(opened IS TRUE) AND bool_or(coalesce(key, '-') = 'a'),
		bool_or(opened IS TRUE) AND bool_or(key IS NULL)] AS o FROM row_of GROUP BY c) s WHERE f <> o;
SELECT c FROM (SELECT c, eventmkt.retained(at, NULL, '3 hours', 5) AS f, min(at) AS start FROM good GROUP BY c) s, LATERAL (SELECT array_agg(EXISTS (
	SELECT FROM good WHERE good.c = s.c AND at >= start + i * interval '3 hours' AND at < start + (i + 1) * interval '3 hours') ORDER BY i) AS o FROM generate_series(0, 4) i) o WHERE f <> o;
SELECT (SELECT eventmkt.cohort_retention(f) FROM (SELECT eventmkt.retained(at, NULL, '3 hours', 5) AS f FROM good GROUP BY c) s) =
	(SELECT array_agg(n ORDER BY i) FROM (SELECT i, count(*) FILTER (WHERE f[i]) AS n FROM (SELECT eventmkt.retained(at, NULL, '3 hours', 5) AS f FROM good GROUP BY c) s,
		generate_series(1, 5) i GROUP BY i) s) AS same;
-- months follow the calendar, in UTC whatever the session says
SET timezone = 'America/New_York';
SELECT eventmkt.retained(at, '2024-01-31 00:00+00', '1 month', 3) FROM (VALUES (timestamptz '2024-02-28 23:59+00'), ('2024-03-31 00:00+00')) v(at);
SET timezone = 'UTC';
SELECT eventmkt.cohort_retention(r) FROM (VALUES ('{t,f,t}'::boolean[]), ('{t}'), ('{f,NULL,t,f}'), (NULL), ('{}')) v(r);

-- examples
CREATE TABLE cart (at timestamptz, event text, cart text);
INSERT INTO cart VALUES ('2024-03-01 10:00', 'add', 'c1'), ('2024-03-01 12:00', 'add', 'c1'), ('2024-03-01 13:00', 'add', 'c2'), ('2024-03-02 12:00', 'buy', 'c1');
SELECT eventmkt.abandoned(at, event = 'add', event = 'buy', '24 hours'), eventmkt.abandoned(at, event = 'add', event = 'buy', '23:59:59', true) AS debounced,
	eventmkt.abandoned_keys(at, event = 'add', event = 'buy', '24 hours', cart, true) FROM cart;
SELECT eventmkt.max_in_window(at, '2 hours'), eventmkt.sessions(at, '2 hours'), eventmkt.cadence(at), eventmkt.streak(at, 'UTC', 0) FROM cart;
-- nothing at all
SELECT eventmkt.abandoned(at, true, false, '1 h'), eventmkt.abandoned_keys(at, true, false, '1 h', cart), eventmkt.max_in_window(at, '1 h'),
	eventmkt.sessions(at, '1 h'), eventmkt.cadence(at), eventmkt.streak(at, 'UTC', 0), eventmkt.engaged_hours(at, 'UTC'), eventmkt.first_touch(at, cart),
	eventmkt.top_values(cart, 3), eventmkt.retention(true), eventmkt.retained(at, NULL, '1 day', 3), eventmkt.cohort_retention(NULL) FROM cart WHERE false;
-- what is refused
\set VERBOSITY sqlstate
SELECT eventmkt.abandoned(at, true, false, '1 month') FROM cart;
SELECT eventmkt.abandoned(at, true, false, NULL) FROM cart;
SELECT eventmkt.abandoned(at, true, false, '1 h', NULL::boolean) FROM cart;
SELECT eventmkt.sessions(at, '-1 h') FROM cart;
SELECT eventmkt.max_in_window(at, at - '2024-01-01') FROM cart;
SELECT eventmkt.streak(at, 'Nowhere/Land', 0) FROM cart;
SELECT eventmkt.streak(at, repeat('x', 100000), 0) FROM cart;
SELECT eventmkt.streak(at, 'UTC', -1) FROM cart;
SELECT eventmkt.engaged_hours(at, NULL) FROM cart;
SELECT eventmkt.top_values(cart, 0) FROM cart;
SELECT eventmkt.retained(at, NULL, '0', 3) FROM cart;
SELECT eventmkt.retained(at, NULL, '1 day', 1001) FROM cart;
SELECT eventmkt.retained(at, 'infinity', '1 day', 1) FROM cart;
SELECT eventmkt.retained(at, '294270-01-01', '100 years', 100) FROM cart;
SELECT eventmkt.cohort_retention(array_fill(true, ARRAY[1001]));
SELECT eventmkt.session_number(at, '1 h') OVER (ORDER BY at DESC) FROM cart;
SELECT eventmkt.session_number(at, NULL) OVER (ORDER BY at) FROM cart;

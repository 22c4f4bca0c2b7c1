-- funnel and funnel_times against an oracle that looks at every chain by itself
SET timezone = 'UTC';
CREATE TABLE row_of (c int, at timestamptz, mask int);
-- 1,500 groups of 0 to 9 rows, four steps, times on a small grid so that ties abound; a few NULLs and infinities
SELECT setseed(0.41);
INSERT INTO row_of
SELECT c, CASE WHEN r < 0.02 THEN NULL WHEN r < 0.03 THEN 'infinity' WHEN r < 0.04 THEN '-infinity'
		ELSE timestamptz '2024-01-01' + floor(random() * 8) * interval '1 hour' END,
	CASE WHEN c % 2 = 0 THEN (ARRAY[1, 2, 4, 8, 0])[1 + floor(random() * 5)::int] ELSE floor(random() * 16)::int END
FROM (SELECT c, random() AS r FROM generate_series(1, 1500) c, generate_series(1, c % 10) i) s;

CREATE FUNCTION steps(mask int) RETURNS boolean[] IMMUTABLE LANGUAGE sql AS
	$$SELECT ARRAY[mask & 1 > 0, CASE WHEN mask & 2 > 0 THEN true END, mask & 4 > 0, mask & 8 > 0]$$;

-- every chain as a path of rows: (length, start, last time, rows used, times)
CREATE FUNCTION chains(c_ int, within interval, increase boolean, once boolean)
RETURNS TABLE (k int, start timestamptz, last timestamptz, times timestamptz[]) LANGUAGE sql AS $$
	WITH RECURSIVE r AS (
		SELECT row_number() OVER () AS n, at, mask FROM row_of WHERE c = c_ AND isfinite(at)
	), chain AS (
		SELECT 1 AS k, at AS start, at AS last, ARRAY[n] AS used, ARRAY[at] AS times FROM r WHERE mask & 1 > 0
		UNION
		SELECT k + 1, start, r.at, used || n, times || r.at FROM chain, r
		WHERE mask >> k & 1 > 0 AND r.at <= start + within AND (r.at > last OR NOT increase AND r.at = last)
			AND NOT (once AND n = ANY (used))
	)
	SELECT DISTINCT k, start, last, times FROM chain
$$;

CREATE TABLE seq (n int, at timestamptz, mask int);
-- strict modes: each chain is followed mark by mark, as the text of the modes says
CREATE FUNCTION strict_depth(c_ int, within interval, mode text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	rows record; first record; best int := 0; k int; last timestamptz; moved boolean; taken int;
	ordered boolean := mode LIKE '%order%'; dedup boolean := mode LIKE '%dedup%'; increase boolean := mode LIKE '%increase%';
	once boolean := mode LIKE '%once%'; reentry boolean := mode LIKE '%reentry%';
BEGIN
	DELETE FROM seq;
	INSERT INTO seq SELECT row_number() OVER (ORDER BY at, mask & -mask, mask), at, mask FROM row_of
	WHERE c = c_ AND isfinite(at);
	FOR first IN SELECT * FROM seq WHERE mask & 1 > 0 LOOP
		k := 0;
		FOR rows IN SELECT * FROM seq WHERE n >= first.n AND at <= first.at + within ORDER BY n LOOP
			moved := false;
			WHILE (k = 0 OR (k < 4 AND rows.mask >> k & 1 > 0)) AND NOT (increase AND k > 0 AND rows.at <= last)
				AND NOT (moved AND once) LOOP
				k := k + 1; last := rows.at; moved := true;
			END LOOP;
			best := greatest(best, k);
			CONTINUE WHEN moved;
			taken := (1 << k) - 1;
			EXIT WHEN ordered AND (rows.mask = 0 OR
				(NOT reentry AND rows.mask & taken = 0 AND rows.mask >> k & 1 = 0));
			EXIT WHEN dedup AND rows.mask & taken & ~1 > 0;
		END LOOP;
	END LOOP;
	RETURN best;
END $$;

CREATE TABLE answer AS
SELECT c, w, eventmkt.funnel(w, at, VARIADIC steps(mask)) AS plain,
	eventmkt.funnel(w, at, 'strict_increase', VARIADIC steps(mask)) AS increase,
	eventmkt.funnel(w, at, 'strict_once', VARIADIC steps(mask)) AS once,
	eventmkt.funnel_times(w, at, VARIADIC steps(mask)) AS plain_times,
	eventmkt.funnel_times(w, at, 'strict_increase', VARIADIC steps(mask)) AS increase_times,
	eventmkt.funnel_times(w, at, 'strict_once', VARIADIC steps(mask)) AS once_times
FROM generate_series(1, 1500) g(c) LEFT JOIN row_of USING (c), LATERAL (SELECT (c % 6) * interval '1 hour' AS w) s
GROUP BY c, w;

-- the furthest step; all answers are empty
SELECT a.c, plain, o FROM answer a, LATERAL (SELECT coalesce(max(k), 0) AS o FROM chains(a.c, w, false, false)) s WHERE plain <> o;
SELECT a.c, increase, o FROM answer a, LATERAL (SELECT coalesce(max(k), 0) AS o FROM chains(a.c, w, true, false)) s WHERE increase <> o;
SELECT a.c, once, o FROM answer a, LATERAL (SELECT coalesce(max(k), 0) AS o FROM chains(a.c, w, false, true)) s WHERE once <> o;
-- the times: of the chains that get furthest the one that is there first, of those the latest start, and then each step early
SELECT a.c, plain_times, o FROM answer a, LATERAL (SELECT times AS o FROM chains(a.c, w, false, false)
	ORDER BY k DESC, last, start DESC, times LIMIT 1) s WHERE plain_times <> o;
SELECT a.c, increase_times, o FROM answer a, LATERAL (SELECT times AS o FROM chains(a.c, w, true, false)
	ORDER BY k DESC, last, start DESC, times LIMIT 1) s WHERE increase_times <> o;
SELECT c FROM answer WHERE cardinality(plain_times) <> plain OR cardinality(increase_times) <> increase OR cardinality(once_times) <> once;
SELECT a.c, once_times FROM answer a WHERE once > 0 AND NOT EXISTS (SELECT FROM chains(a.c, w, false, true) WHERE times = once_times);
-- the strict modes and their combinations
SELECT mode, c, f, o FROM unnest(ARRAY['strict_order', 'strict_dedup', 'strict_order reentry', 'strict_order,strict_dedup',
	'strict_order strict_increase', 'strict_dedup strict_once', 'strict_dedup strict_increase', 'strict_order strict_once reentry']) mode,
	LATERAL (SELECT c, w, eventmkt.funnel(w, at, mode, VARIADIC steps(mask)) AS f, eventmkt.funnel_times(w, at, mode, VARIADIC steps(mask)) AS t
		FROM row_of, LATERAL (SELECT (c % 6) * interval '1 hour' AS w) s WHERE c <= 130 GROUP BY c, w) g,
	LATERAL (SELECT strict_depth(c, w, mode) AS o) s
WHERE f <> o OR cardinality(t) <> f;
-- how the cases spread
SELECT plain, count(*) > 50 AS enough FROM answer GROUP BY 1 ORDER BY 1;

-- the order of rows and of merges does not matter: states of random parts, merged in random order
CREATE FUNCTION split_merge(c_ int, mode text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE s bytea[]; st bytea; i int; r record;
BEGIN
	s := array_fill(NULL::bytea, ARRAY[4]);
	FOR r IN SELECT at, mask, 1 + floor(random() * 4)::int AS part FROM row_of WHERE c = c_ ORDER BY random() LOOP
		s[r.part] := eventmkt.funnel_add(s[r.part], (c_ % 6) * interval '1 hour', r.at, mode, steps(r.mask));
	END LOOP;
	FOR i IN SELECT x FROM generate_series(1, 4) x ORDER BY random() LOOP
		st := eventmkt.state_merge(st, s[i]);
	END LOOP;
	RETURN eventmkt.funnel_end(st);
END $$;
SELECT c FROM answer WHERE c <= 1000 AND (split_merge(c, '') <> plain OR split_merge(c, 'strict_once') <> once);

-- examples
CREATE TABLE visit (at timestamptz, event text);
INSERT INTO visit VALUES ('2024-03-01 10:00', 'view'), ('2024-03-01 10:10', 'add'), ('2024-03-02 10:00', 'buy'), ('2024-03-01 10:05', 'search');
SELECT eventmkt.funnel('1 day', at, event = 'view', event = 'add', event = 'buy'),
	eventmkt.funnel('23 hours', at, event = 'view', event = 'add', event = 'buy') AS too_late,
	eventmkt.funnel('1 day', at, 'strict_order', event = 'view', event = 'add', event = 'buy') AS in_order,
	eventmkt.funnel_times('1 day', at, event = 'view', event = 'add', event = 'buy') FROM visit;
-- nothing at all; conditions that are NULL; a window of nothing
SELECT eventmkt.funnel('1 day', at, event = 'view'), eventmkt.funnel_times('1 day', at, event = 'view') FROM visit WHERE false;
SELECT eventmkt.funnel('0', at, NULL::boolean, event = 'view') AS never, eventmkt.funnel('0', at, event = 'view', true) AS itself,
	eventmkt.funnel('0', at, 'strict_once', event = 'view', true) AS needs_another FROM visit;
-- over a window of rows
SELECT event, eventmkt.funnel('1 day', at, event = 'view', event = 'add', event = 'buy') OVER (ORDER BY at) FROM visit ORDER BY at;
-- what is refused
\set VERBOSITY sqlstate
SELECT eventmkt.funnel('1 month', at, event = 'view') FROM visit;
SELECT eventmkt.funnel('-1 s', at, event = 'view') FROM visit;
SELECT eventmkt.funnel(NULL, at, event = 'view') FROM visit;
SELECT eventmkt.funnel('1 day', at, 'sideways', event = 'view') FROM visit;
SELECT eventmkt.funnel('1 day', at, NULL::text, event = 'view') FROM visit;
SELECT eventmkt.funnel('1 day', at, VARIADIC '{}') FROM visit;
SELECT eventmkt.funnel('1 day', at, VARIADIC NULL) FROM visit;
SELECT eventmkt.funnel('1 day', at, VARIADIC '{{t,f}}') FROM visit;
SELECT eventmkt.funnel('1 day', at, VARIADIC array_fill(true, ARRAY[33])) FROM visit;
SELECT eventmkt.funnel('1 day', at, VARIADIC array_fill(true, ARRAY[32])) FROM visit;
SELECT eventmkt.funnel(at - '2024-02-29', at, event = 'view') FROM visit;

-- sequence patterns against an oracle that joins every element with every other
SET timezone = 'UTC';
SELECT setseed(0.23);
CREATE TABLE row_of (c int, at timestamptz, mask int);
INSERT INTO row_of
SELECT c, CASE WHEN r < 0.02 THEN NULL WHEN r < 0.03 THEN 'infinity' ELSE timestamptz '2024-01-01' + floor(random() * 15) * interval '1 minute' END,
	CASE WHEN c % 2 = 0 THEN (ARRAY[1, 2, 4, 0])[1 + floor(random() * 4)::int] ELSE floor(random() * 8)::int END
FROM (SELECT c, random() AS r FROM generate_series(1, 250) c, generate_series(1, c % 13) i) s;
CREATE VIEW seq AS SELECT c, row_number() OVER (PARTITION BY c ORDER BY at, mask & -mask, mask) AS n, at, mask FROM row_of WHERE isfinite(at) AND mask > 0;
-- elements: conditions as bits (7 with "any": 255), then per gap: adjacent, least and most time
CREATE TABLE pattern (p text, m int[], adjacent boolean[], least interval[], most interval[]);
INSERT INTO pattern VALUES
	('(?1)', '{1}', '{}', '{}', '{}'),
	('(?1)(?2)', '{1,2}', '{t}', '{0}', '{1 year}'),
	('(?1).*(?2)', '{1,2}', '{f}', '{0}', '{1 year}'),
	('(?1)(?t<=2m)(?2)', '{1,2}', '{f}', '{0}', '{2 min}'),
	('(?1)(?t>=180)(?2)', '{1,2}', '{f}', '{3 min}', '{1 year}'),
	('(?1)(?t>2m)(?t<5m)(?2).*(?3)', '{1,2,4}', '{f,f}', '{2 min 0.000001 s,0}', '{4 min 59.999999 s,1 year}'),
	('(?1) (?t==3m) (?1|3)', '{1,5}', '{f}', '{3 min}', '{3 min}'),
	('(?1).(?2)', '{1,255,2}', '{t,t}', '{0,0}', '{1 year,1 year}'),
	('(?3).*(?t>=2m).(?t<=6m).*(?1)', '{4,255,1}', '{f,f}', '{2 min,0}', '{1 year,6 min}'),
	('.*(?2)(?2).*(?t>=4m)(?3).*', '{2,2,4}', '{t,f}', '{0,4 min}', '{1 year,1 year}');
-- all matches that begin after row `after`
CREATE FUNCTION matches(c_ int, after bigint, pt pattern) RETURNS TABLE (rows bigint[], times timestamptz[]) LANGUAGE sql AS $$
	WITH RECURSIVE r AS (SELECT * FROM seq WHERE c = c_ AND n > after),
	m AS (
		SELECT 1 AS k, ARRAY[n] AS rows, ARRAY[at] AS times FROM r WHERE mask & pt.m[1] > 0
		UNION ALL
		SELECT k + 1, rows || n, times || at FROM m, r WHERE k < cardinality(pt.m) AND n > rows[k] AND mask & pt.m[k + 1] > 0
			AND (NOT pt.adjacent[k] OR n = rows[k] + 1) AND at - times[k] BETWEEN pt.least[k] AND pt.most[k]
	)
	SELECT rows, times FROM m WHERE k = cardinality(pt.m)
$$;
-- the match that ends first, from its end backwards each element as late as can be; then again after its end
CREATE FUNCTION oracle(c_ int, pt pattern, OUT n bigint, OUT events timestamptz[]) LANGUAGE plpgsql AS $$
DECLARE m record; after bigint := 0;
BEGIN
	n := 0; events := '{}';
	LOOP
		SELECT rows, times INTO m FROM matches(c_, after, pt), LATERAL (SELECT array_agg(x ORDER BY i DESC) AS back FROM unnest(rows) WITH ORDINALITY u(x, i)) s
		ORDER BY rows[cardinality(rows)], back DESC LIMIT 1;
		EXIT WHEN NOT FOUND;
		n := n + 1;
		IF n = 1 THEN events := m.times; END IF;
		after := m.rows[cardinality(m.rows)];
	END LOOP;
END $$;
CREATE TABLE answer AS SELECT c, p, eventmkt.sequence_match(p, at, mask & 1 > 0, mask & 2 > 0, mask & 4 > 0) AS found,
	eventmkt.sequence_count(p, at, mask & 1 > 0, mask & 2 > 0, mask & 4 > 0) AS n,
	eventmkt.sequence_events(p, at, mask & 1 > 0, mask & 2 > 0, mask & 4 > 0) AS events
FROM pattern, generate_series(1, 250) g(c) LEFT JOIN row_of USING (c) GROUP BY c, p;
SELECT a.c, p, found, a.n, a.events, o FROM answer a JOIN pattern USING (p), LATERAL oracle(c, pattern) o
WHERE a.n <> o.n OR a.events <> o.events OR found <> (o.n > 0);
SELECT p, sum(n) > 12 AS enough FROM answer GROUP BY p ORDER BY p COLLATE "C";
-- long and hard: nothing here takes more than one pass
SELECT eventmkt.sequence_count('(?1).*(?1).*(?1).*(?1).*(?1).*(?1).*(?1).*(?1).*(?2)', '2024-01-01'::timestamptz + i * interval '1 s', true, false) FROM generate_series(1, 200000) i;
SELECT eventmkt.sequence_count('(?1)(?t>=1h)(?1)(?t>=1h)(?1)(?t<=1s)(?2)', '2024-01-01'::timestamptz + i * interval '1 s', true, i % 10000 = 0) FROM generate_series(1, 200000) i;
-- examples
CREATE TABLE visit (at timestamptz, event text);
INSERT INTO visit VALUES ('2024-03-01 10:00', 'view'), ('2024-03-01 10:05', 'help'), ('2024-03-01 10:20', 'buy'), ('2024-03-02 09:00', 'view'), ('2024-03-02 09:01', 'buy');
SELECT eventmkt.sequence_match('(?1)(?2)', at, event = 'view', event = 'buy'), eventmkt.sequence_match('(?1)(?2)', at, event = 'view', event = 'buy', event = 'help') AS with_help,
	eventmkt.sequence_count('(?1).*(?2)', at, event = 'view', event = 'buy'), eventmkt.sequence_events('(?1)(?t<=5m)(?2)', at, event = 'view', event = 'buy') FROM visit;
SELECT eventmkt.sequence_match('(?1)', at, true), eventmkt.sequence_count('(?1)', at, true), eventmkt.sequence_events('(?1)', at, true) FROM visit WHERE false;
-- what is refused
SELECT eventmkt.sequence_match('(?1)(?3)', at, event = 'view', event = 'buy') FROM visit;
SELECT eventmkt.sequence_match('(?t<5)(?1)', at, true) FROM visit;
SELECT eventmkt.sequence_match('(?1)(?t<5)', at, true) FROM visit;
SELECT eventmkt.sequence_match('(?1)(?t<5y)(?1)', at, true) FROM visit;
SELECT eventmkt.sequence_match('(?1)(?t<99999999999999999999)(?1)', at, true) FROM visit;
SELECT eventmkt.sequence_match('(?1)(?t>9999999999999999d)(?1)', at, true) FROM visit;
SELECT eventmkt.sequence_match('(?1', at, true) FROM visit;
SELECT eventmkt.sequence_match('(?1)*', at, true) FROM visit;
SELECT eventmkt.sequence_match('.*', at, true) FROM visit;
SELECT eventmkt.sequence_match('', at, true) FROM visit;
\set VERBOSITY sqlstate
SELECT eventmkt.sequence_match(NULL, at, true) FROM visit;
SELECT eventmkt.sequence_match(repeat('(?1)', 33), at, true) FROM visit;
SELECT eventmkt.sequence_match(repeat('x', 100000000), at, true) FROM visit;
SELECT eventmkt.sequence_match(event, at, true) FROM visit;

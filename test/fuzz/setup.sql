-- what the fuzzer needs in its database, and the seeds that only the server can make
SET client_min_messages = error;
CREATE EXTENSION eventmkt;
SELECT count(*) > 0 AS init FROM eventmkt.init();
CREATE FUNCTION fuzz(target text, folder text, seconds float8, seed bigint, seeds bytea[], OUT runs bigint, OUT raised bigint, OUT corpus int, OUT edges int, OUT findings bigint)
	LANGUAGE c AS '$libdir/eventmkt', 'fuzz';
CREATE FUNCTION fuzz_shortest(target text, folder text, seeds bytea[]) RETURNS bytea[] LANGUAGE c AS '$libdir/eventmkt', 'fuzz_shortest';
CREATE TABLE seeds (target text, seed bytea);
DO $$
DECLARE f bytea; q bytea; a bytea; k bytea; r bytea; d bytea; h bytea; w bytea; se bytea; ca bytea; st bytea; ho bytea; ft bytea; lt bytea; tv bytea; tl bytea; t timestamptz;
BEGIN
	FOR i IN 1..5 LOOP
		t := timestamptz '2024-01-01 00:00Z' + i * interval '1 hour';
		f := eventmkt.funnel_add(f, '1 day', t, 'strict_once', ARRAY[i % 2 = 0, i % 3 = 0]);
		q := eventmkt.sequence_add(q, '(?1)(?t>1m).*(?2)', t, ARRAY[i % 2 = 0, i % 3 = 0]);
		a := eventmkt.abandoned_add(a, t, i % 2 = 0, i % 5 = 0, '1 hour', true);
		k := eventmkt.abandoned_keys_add(k, t, i % 2 = 0, i % 5 = 0, '1 hour', 'k' || i % 2);
		r := eventmkt.retention_add(r, ARRAY[true, i = 3]);
		d := eventmkt.retained_add(d, t, NULL, '1 day', 3);
		h := eventmkt.cohort_retention_add(h, ARRAY[true, i % 2 = 0]);
		w := eventmkt.max_in_window_add(w, t, '1 hour');
		se := eventmkt.sessions_add(se, t, '1 hour');
		ca := eventmkt.cadence_add(ca, t);
		st := eventmkt.streak_add(st, t, 'UTC', 1);
		ho := eventmkt.engaged_hours_add(ho, t, 'UTC');
		ft := eventmkt.first_touch_add(ft, t, 'v' || i);
		lt := eventmkt.last_touch_add(lt, t, 'v' || i);
		tv := eventmkt.top_values_add(tv, 'v' || i % 3, 2);
		tl := eventmkt.timeline_add(tl, t, 'e' || i % 2, 'k' || i % 3, i, i);
		tl := eventmkt.merge_add(tl, ('[{"at": "2024-01-02", "event": "e' || i || '", "key": "kk", "id": ' || i * 10 || '}]')::eventmkt.timeline);
	END LOOP;
	INSERT INTO seeds SELECT 'state', s FROM unnest(ARRAY[f, q, a, k, r, d, h, w, se, ca, st, ho, ft, lt, tv, tl]) s;
END $$;
INSERT INTO seeds SELECT target, eventmkt.timeline_send(t) FROM unnest('{timeline,raw_timeline}'::text[]) target, (SELECT eventmkt.timeline('2024-01-01'::timestamptz + i * interval '7 min',
	(ARRAY['a', 'b', 'c'])[1 + i % 3], CASE WHEN i % 4 > 0 THEN 'key' || i % 5 END, CASE WHEN i % 3 > 0 THEN i * 1.5 END, CASE WHEN i % 5 > 0 THEN i * 1000 END) AS t FROM generate_series(1, 12) i
	UNION ALL SELECT '[]' UNION ALL SELECT '[{"at": "2024-01-01", "event": "a"}]' UNION ALL SELECT eventmkt.timeline('2024-01-01'::timestamptz + i * interval '1 day', 'e' || i) FROM generate_series(1, 300) i) s;
INSERT INTO seeds SELECT 'rollup', eventmkt.rollup('2026-01-01'::timestamptz + i * interval '5 hours', 'e' || i % 3, 'item' || i % 4, i * 1.25) FROM generate_series(1, 20) i
	UNION ALL SELECT 'rollup', eventmkt.rollup('2026-01-01', 'e', NULL, NULL);
INSERT INTO seeds SELECT 'url', convert_to(u, 'UTF8') FROM unnest(ARRAY['https://h/' || repeat('x', 4200), 'https://' || repeat('h', 300) || '/', 'http://h:80/', 'https://a_b:443/']) u;
INSERT INTO seeds SELECT 'answer', convert_to(E'HTTP/1.1 200 OK\r\n' || h || E'\r\n' || b, 'UTF8') FROM (VALUES ('retry-after: ' || repeat('1', 300) || E'\r\n', 'x'), ('', repeat('y', 3000))) v(h, b);
INSERT INTO seeds SELECT 'state', s FROM generate_series(9, 32, 23) n, LATERAL (VALUES (eventmkt.funnel_add(NULL, '1 day', '2026-01-01', 'strict_order', array_fill(true, ARRAY[n]))),
	(eventmkt.retention_add(NULL, array_fill(true, ARRAY[n]))), (eventmkt.sequence_add(NULL, repeat('(?1)', n), '2026-01-01', array_fill(true, ARRAY[n])))) v(s)
	UNION ALL SELECT 'state', eventmkt.funnel_add(NULL, '1 day', '2026-01-01', 'strict_order', array_fill(true, ARRAY[12]));
-- programmes for the target calls, see fuzz_calls.c: each aggregate over a thousand rows, then every function that ends a state
CREATE FUNCTION byte(bigint) RETURNS bytea LANGUAGE sql AS $$SELECT decode(lpad(to_hex($1), 2, '0'), 'hex')$$;
WITH f AS (SELECT row_number() OVER (ORDER BY p.oid) - 1 AS i, p.proname, p.prorettype, p.pronargs FROM pg_proc p WHERE p.pronamespace = 'eventmkt'::regnamespace AND p.prokind = 'f' AND p.pronargs <= 8
	AND (p.prosrc LIKE 'emk_analytics_%' OR p.prosrc = 'emk_deliver_plan_retry') AND p.prosrc !~ '_(in|out|recv)$')
INSERT INTO seeds SELECT 'calls', byte(247) || byte(a.i) || byte(250) || decode(bytes, 'hex') || (SELECT string_agg(byte(e.i) || '\x0000', '' ORDER BY e.i) FROM f e WHERE e.proname ~ '_end$')
	FROM f a, unnest('{20282443484463286129312b0705,000000000000000020dc0102030405,00200020012001200120012001}'::text[]) bytes WHERE a.proname ~ '_add$';
-- each question asked six times of timelines in turn that have loose events behind them, of lists of names of their own, or one before their end;
-- and of a timeline with one byte changed
WITH f AS (SELECT row_number() OVER (ORDER BY p.oid) - 1 AS i, p.proname, p.proargtypes::oid[] AS types, p.proargnames FROM pg_proc p WHERE p.pronamespace = 'eventmkt'::regnamespace AND p.prokind = 'f'
	AND p.pronargs <= 8 AND (p.prosrc LIKE 'emk_analytics_%' OR p.prosrc = 'emk_deliver_plan_retry') AND p.prosrc !~ '_(in|out|recv)$'),
q AS (SELECT f.i, f.proname, f.types, string_agg(CASE a.type::regtype::text WHEN 'text[]' THEN '020001' WHEN 'integer' THEN '03' WHEN 'boolean' THEN '01' WHEN 'timestamp with time zone' THEN '20'
		WHEN 'text' THEN CASE f.proargnames[a.n] WHEN 'mode' THEN '1300' WHEN 'zone' THEN '0600' WHEN 'pattern' THEN '0c00' ELSE '0000' END ELSE '00' END, '' ORDER BY a.n) AS args
	FROM f, unnest(f.types) WITH ORDINALITY a(type, n) WHERE f.types[0] = 'eventmkt.timeline'::regtype GROUP BY 1, 2, 3)
INSERT INTO seeds SELECT 'calls', decode(before, 'hex') || byte(q.i) || decode('83' || args || '0100010000', 'hex') FROM q,
	unnest('{f90500fe08ff41,f90500fe0841c1f90501fe4941c1,f90500f90b01}'::text[]) before
	UNION ALL SELECT 'calls', decode('f9050' || '0fc4100' || lpad(to_hex(k), 2, '0') || v, 'hex') || byte(q.i) || decode('0100020001', 'hex') FROM q, generate_series(0, 40) k, unnest('{ff,00}'::text[]) v
		WHERE q.proname = 'count' AND cardinality(q.types) = 2
	UNION ALL SELECT 'calls', byte(f.i) || decode(v, 'hex') FROM f, unnest('{010020e04000,0100e0ff20020101}'::text[]) v WHERE f.proname IN ('streak_add', 'sequence_add');

-- states and timelines that were cut off or changed anywhere lead to an answer or to a clean error, never to a crash
SET timezone = 'UTC';
SELECT setseed(0.53);
-- one state of each kind, with the function that ends it
CREATE TABLE state (finish text, s bytea);
CREATE FUNCTION make_states() RETURNS void LANGUAGE plpgsql AS $$
DECLARE f bytea; q bytea; a bytea; k bytea; r bytea; d bytea; h bytea; w bytea; se bytea; ca bytea; st bytea; ho bytea; ft bytea; lt bytea; tv bytea; tl bytea; i int; t timestamptz;
BEGIN
	FOR i IN 1..6 LOOP
		t := timestamptz '2024-01-01' + i * interval '1 hour';
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
	INSERT INTO state VALUES ('funnel_end', f), ('funnel_times_end', f), ('sequence_match_end', q), ('sequence_count_end', q), ('sequence_events_end', q),
		('abandoned_end', a), ('abandoned_keyed_end', k), ('abandoned_keys_end', k), ('retention_end', r), ('retained_end', d), ('cohort_retention_end', h),
		('max_in_window_end', w), ('sessions_end', se), ('cadence_end', ca), ('streak_end', st), ('engaged_hours_end', ho), ('first_touch_end', ft),
		('last_touch_end', lt), ('top_values_end', tv), ('timeline_end', tl);
END $$;
SELECT make_states();
SELECT finish, count(*) FROM state GROUP BY 1 HAVING count(*) <> 1 OR bool_or(s IS NULL);

-- the class of the error, or "answer"
CREATE FUNCTION attempt(sql text, b bytea, whole bytea) RETURNS text LANGUAGE plpgsql AS $$
DECLARE t text;
BEGIN
	EXECUTE sql INTO t USING b, whole;
	RETURN 'answer';
EXCEPTION WHEN OTHERS THEN
	RETURN left(SQLSTATE, 2);
END $$;
CREATE FUNCTION damage(b bytea) RETURNS TABLE (d bytea) LANGUAGE sql AS $$
	SELECT substring(b FROM 1 FOR n) FROM generate_series(0, length(b) - 1) n
	UNION ALL SELECT set_byte(b, n, get_byte(b, n) # x) FROM generate_series(0, length(b) - 1) n, unnest(ARRAY[1, 128, 255, 1 + floor(random() * 254)::int]) x
	UNION ALL SELECT set_byte(set_byte(b, n, floor(random() * 256)::int), m, floor(random() * 256)::int) FROM generate_series(1, 100), LATERAL
		(SELECT floor(random() * length(b))::int AS n, floor(random() * length(b))::int AS m) s
$$;
SELECT finish, r AS unexpected, count(*) FROM state, damage(s) d, LATERAL (SELECT attempt(format('SELECT eventmkt.%I($1)::text', finish), d, s) AS r) x
WHERE r NOT IN ('answer', '22', '23', '42', '53', '54') GROUP BY 1, 2;
-- merged with a good one, either way round, and ended
SELECT finish, r AS unexpected, count(*) FROM state, damage(s) d, LATERAL (SELECT attempt(format('SELECT eventmkt.%I(eventmkt.state_merge($1, $2))::text', finish), d, s) AS r
	UNION ALL SELECT attempt(format('SELECT eventmkt.%I(eventmkt.state_merge($2, $1))::text', finish), d, s)) x
WHERE r NOT IN ('answer', '22', '23', '42', '53', '54') GROUP BY 1, 2;
-- states of another question
SELECT a.finish, b.finish FROM state a, state b, LATERAL (SELECT attempt(format('SELECT eventmkt.%I($1)::text', a.finish), b.s, NULL) AS r) x
WHERE r <> '22' AND split_part(a.finish, '_', 1) <> split_part(b.finish, '_', 1) AND a.finish <> 'timeline_end' AND b.finish <> 'timeline_end';
-- rows added to a damaged state
SELECT r AS unexpected, count(*) FROM state, damage(s) d, LATERAL (SELECT attempt('SELECT eventmkt.funnel_end(eventmkt.funnel_add($1, ''1 day'', ''2024-01-01'', ''strict_once'', ARRAY[true, false]))::text', d, s) AS r
	WHERE finish = 'funnel_end' UNION ALL SELECT attempt('SELECT eventmkt.timeline_end(eventmkt.timeline_add($1, ''2024-01-01'', ''x'', ''y'', 5, 5))::text', d, s) WHERE finish = 'timeline_end') x
WHERE r NOT IN ('answer', '22', '23', '42', '53', '54') GROUP BY 1;

-- packed timelines, plain and wide, as hexadecimal input; what is accepted is read by every function
CREATE FUNCTION read_all(b bytea) RETURNS text LANGUAGE sql AS $$
	SELECT concat(t::text, eventmkt.count(t, 'a'), eventmkt.sum(t), eventmkt.funnel(t, '1 day', 'a', 'b'), eventmkt.abandoned_keys(t, 'a', 'b', '1 h'), eventmkt.cadence(t),
		eventmkt.top_values(t, 3), eventmkt.last_touch(t), eventmkt.slice(t, '2024-01-01 00:05', NULL), eventmkt.merge(t, t), eventmkt.sessions(t, '5 min'), eventmkt.streak(t, 'UTC', 0))
	FROM (SELECT b::text::eventmkt.timeline AS t) s
$$;
CREATE TABLE packed AS
SELECT eventmkt.timeline_send(eventmkt.timeline('2024-01-01'::timestamptz + i * interval '1 min', (ARRAY['a', 'b', 'c'])[1 + i % 3], CASE WHEN i % 4 > 0 THEN 'key' || i % 5 END,
	CASE WHEN i % 3 > 0 THEN i * 1.5 END, CASE WHEN i % 5 > 0 THEN i * 1000 END)) AS b FROM generate_series(1, 12) i
UNION ALL SELECT eventmkt.timeline_send('[]') UNION ALL SELECT eventmkt.timeline_send('[{"at": "2024-01-01", "event": "a"}]');
SELECT r AS unexpected, count(*) FROM packed, damage(b) d, LATERAL (SELECT attempt('SELECT read_all($1)', d, NULL) AS r) s
WHERE r NOT IN ('answer', '22', '23', '42', '53', '54') GROUP BY 1;
-- the same bytes read by a function that trusts them: as a part of a state
SELECT r AS unexpected, count(*) FROM packed, damage(b) d, LATERAL (SELECT attempt($q$SELECT eventmkt.timeline_end(eventmkt.state_merge(
	eventmkt.timeline_add(NULL, '2024-01-01', 'x'), eventmkt.merge_add(NULL, $1::text::eventmkt.timeline)))::text$q$, d, NULL) AS r) s
WHERE r NOT IN ('answer', '22', '23', '42', '53', '54') GROUP BY 1;
-- random bytes
SELECT r AS unexpected, count(*) FROM generate_series(1, 3000) i, LATERAL (SELECT decode(string_agg(lpad(to_hex(floor(random() * (CASE WHEN n < 8 THEN 9 ELSE 256 END))::int), 2, '0'), ''), 'hex') AS d
	FROM generate_series(1, 1 + i % 60) n) s, LATERAL (SELECT attempt('SELECT read_all($1)', '\x01'::bytea || d, NULL) AS r) x
WHERE r NOT IN ('answer', '22', '23', '42', '53', '54') GROUP BY 1;
SELECT 'still here' AS server;

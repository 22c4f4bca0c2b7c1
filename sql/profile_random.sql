-- after any history of identify, alias and undo_merge the alias table is flat, and ids, traits and history agree with a model
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
SET eventmkt.fire = off;
CREATE TEMP TABLE model (id text PRIMARY KEY, owner text NOT NULL);
CREATE TEMP TABLE person (id text PRIMARY KEY, traits jsonb NOT NULL, identified bool NOT NULL);
CREATE FUNCTION pg_temp.pick() RETURNS text LANGUAGE sql VOLATILE AS $$ SELECT 'id' || floor(random() * 25)::int $$;
CREATE FUNCTION pg_temp.some_traits() RETURNS jsonb LANGUAGE sql VOLATILE AS $$
	SELECT coalesce(jsonb_object_agg('t' || floor(random() * 6)::int,
		(ARRAY['1', '1.0', '2', '"x"', 'null', '{"a": [1, null]}'])[1 + floor(random() * 6)::int]::jsonb), '{}')
	FROM generate_series(1, floor(random() * 4)::int) $$;
-- what must hold whatever happened; returns what does not
CREATE FUNCTION pg_temp.wrong() RETURNS SETOF text LANGUAGE sql AS $$
	SELECT 'an alias points at an alias: ' || a.alias FROM eventmkt_data.alias a JOIN eventmkt_data.alias b ON b.alias = a.profile_id
	UNION ALL SELECT 'an alias of itself: ' || alias FROM eventmkt_data.alias WHERE alias = profile_id
	UNION ALL SELECT 'an alias has a profile: ' || p.profile_id FROM eventmkt_data.profile p JOIN eventmkt_data.alias a ON a.alias = p.profile_id
	UNION ALL SELECT 'the history differs: ' || p.profile_id FROM eventmkt_data.profile p
		WHERE eventmkt.traits_at(p.profile_id, 'infinity') IS DISTINCT FROM p.traits
	UNION ALL SELECT 'a null trait: ' || profile_id FROM eventmkt_data.profile p, jsonb_each(traits) t WHERE t.value = 'null'
$$;
CREATE FUNCTION pg_temp.join_model(source text, target text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	UPDATE person t SET traits = s.traits || t.traits FROM person s WHERE s.id = source AND t.id = target;
	DELETE FROM person WHERE id = source;
	UPDATE model SET owner = target WHERE owner = source;
END $$;
CREATE FUNCTION pg_temp.owner_of(i text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO model VALUES (i, i) ON CONFLICT DO NOTHING;
	INSERT INTO person SELECT owner, '{}', false FROM model WHERE id = i ON CONFLICT DO NOTHING;
	RETURN (SELECT owner FROM model WHERE id = i);
END $$;
CREATE FUNCTION pg_temp.history(seed float8, n int, with_undo bool) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	u text; o text; t jsonb; got text; merge bigint; bad text; done int := 0;
BEGIN
	PERFORM setseed(seed);
	FOR i IN 1 .. n LOOP
		u := pg_temp.pick(); o := pg_temp.pick(); t := pg_temp.some_traits();
		CASE floor(random() * CASE WHEN with_undo THEN 7 ELSE 6 END)::int
		WHEN 0, 1, 2 THEN
			got := eventmkt.identify(u, t, CASE WHEN random() < 0.6 THEN o END);
		WHEN 3 THEN
			got := eventmkt.alias(o, u);
		WHEN 4 THEN
			got := eventmkt.identify(NULL, t, o);
		WHEN 5 THEN
			PERFORM eventmkt.track(u, 'x');
		ELSE
			SELECT merge_id INTO merge FROM eventmkt_data.merge_log WHERE refused IS NULL ORDER BY random() LIMIT 1;
			BEGIN
				PERFORM eventmkt.undo_merge(merge);
				done := done + 1;
			EXCEPTION WHEN object_not_in_prerequisite_state OR no_data_found THEN
				NULL;
			END;
		END CASE;
		SELECT string_agg(w, '; ') INTO bad FROM pg_temp.wrong() w;
		IF bad IS NOT NULL THEN
			RETURN format('step %s: %s', i, bad);
		END IF;
	END LOOP;
	RETURN CASE WHEN with_undo AND done < n / 20 THEN 'too few were undone' ELSE 'holds' END;
END $$;
-- without undo, against the model
CREATE FUNCTION pg_temp.compared(seed float8, n int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	u text; o text; t jsonb; a text; b text; got text; want text;
BEGIN
	PERFORM setseed(seed);
	FOR i IN 1 .. n LOOP
		u := pg_temp.pick(); o := pg_temp.pick(); t := pg_temp.some_traits();
		IF random() < 0.15 THEN
			got := eventmkt.alias(o, u);
			a := pg_temp.owner_of(u);
			b := pg_temp.owner_of(o);
			IF a <> b THEN PERFORM pg_temp.join_model(b, a); END IF;
			UPDATE person SET identified = true WHERE id = a;
			want := a;
		ELSIF random() < 0.2 THEN
			got := eventmkt.identify(NULL, t, o);
			want := pg_temp.owner_of(o);
			UPDATE person SET traits = (SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM jsonb_each(traits || t) WHERE value <> 'null') WHERE id = want;
		ELSE
			got := eventmkt.identify(u, t, o);
			a := pg_temp.owner_of(u);
			b := pg_temp.owner_of(o);
			IF a <> b AND NOT (SELECT identified FROM person WHERE id = b) THEN PERFORM pg_temp.join_model(b, a); END IF;
			UPDATE person SET identified = true,
				traits = (SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM jsonb_each(traits || t) WHERE value <> 'null') WHERE id = a;
			want := a;
		END IF;
		IF got <> want THEN
			RETURN format('step %s: %s instead of %s', i, got, want);
		END IF;
	END LOOP;
	RETURN (SELECT string_agg(w, '; ') FROM (
		SELECT 'id ' || m.id || ' belongs to ' || coalesce(a.profile_id, m.id) AS w FROM model m LEFT JOIN eventmkt_data.alias a ON a.alias = m.id
		 WHERE coalesce(a.profile_id, m.id) <> m.owner
		UNION ALL SELECT 'person ' || coalesce(m.id, p.profile_id) FROM person m FULL JOIN eventmkt_data.profile p ON p.profile_id = m.id
		 WHERE (m.traits, m.identified) IS DISTINCT FROM (coalesce(p.traits, '{}'), coalesce(p.identified, false))
		UNION ALL SELECT pg_temp.wrong()) q);
END $$;
SELECT pg_temp.compared(0.1, 150);
TRUNCATE eventmkt_data.alias, eventmkt_data.profile, eventmkt_data.trait_change, eventmkt_data.merge_log, model, person;
SELECT pg_temp.compared(0.3, 400);
TRUNCATE eventmkt_data.alias, eventmkt_data.profile, eventmkt_data.trait_change, eventmkt_data.merge_log, model, person;
SELECT pg_temp.history(0.4, 300, false);
SELECT pg_temp.history(0.5, 700, true);
-- enough happened for this to mean something
SELECT count(*) FILTER (WHERE refused IS NULL) > 50 AS merges, count(*) FILTER (WHERE refused IS NOT NULL) > 20 AS refusals,
	count(undone_at) > 30 AS undone FROM eventmkt_data.merge_log;

-- property: each view, whole and one profile at a time, equals a query written by hand, over random histories of people with
-- several ids, with and without a row in profile, at several moments
\set QUIET on
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
CREATE FUNCTION public.random_int(n int) RETURNS int LANGUAGE sql AS 'SELECT (random() * 1000000)::int % n';
SELECT setseed(0.42);
SELECT count(eventmkt.identify('u' || i, jsonb_build_object('n', i % 4), CASE WHEN i % 3 = 0 THEN 'anon' || i END))
  FROM generate_series(1, 25) i;
SELECT count(eventmkt.track(CASE WHEN r % 5 = 0 AND p % 3 = 0 AND p <= 25 THEN 'anon' || p ELSE 'u' || p END,
	(ARRAY['A', 'B', 'C'])[1 + public.random_int(3)],
	jsonb_build_object('x', public.random_int(4), 'k', (ARRAY['1', '1.0', '"1"', '"k"', 'null', '""', '[1]']::jsonb[])[1 + public.random_int(7)]),
	eventmkt.clock() - make_interval(secs => (random() * random() * 86400 * 50)::int)))
  FROM (SELECT 1 + public.random_int(35) AS p, r FROM generate_series(1, 400) r) x;
CREATE VIEW public.history AS SELECT COALESCE(a.profile_id, e.profile_id) AS who, e.name, e.properties AS props,
	e.occurred_at AS at FROM eventmkt_data.event e LEFT JOIN eventmkt_data.alias a ON a.alias = e.profile_id;
CREATE VIEW public.people AS SELECT who, COALESCE(p.traits, '{}') AS traits FROM (SELECT who FROM public.history
	UNION SELECT profile_id FROM eventmkt_data.profile) w LEFT JOIN eventmkt_data.profile p ON p.profile_id = w.who;
CREATE TABLE public.oracle (name text, make text, query text);
INSERT INTO public.oracle VALUES
	('traits', $$where_profile => '$.n >= 2'$$, $$SELECT who FROM public.people WHERE traits['n']::int >= 2$$),
	('cold', $$where_profile => '$.n like_regex "^x" || $.n >= 3'$$, $$SELECT who FROM public.people WHERE traits['n']::int >= 3$$),
	('no trait', $$where_profile => '!exists($.n)'$$, $$SELECT who FROM public.people WHERE NOT traits ? 'n'$$),
	('did', $$on_event => 'A'$$, $$SELECT DISTINCT who FROM public.history WHERE name = 'A'$$),
	('any', $$on_event => '*', within => '5 days'$$, $$SELECT DISTINCT who FROM public.history WHERE at >= :now - interval '120 hours'$$),
	('did lately', $$on_event => 'A', within => '7 days'$$,
		$$SELECT DISTINCT who FROM public.history WHERE name = 'A' AND at >= :now - interval '168 hours'$$),
	('thrice', $$on_event => 'A', at_least => 3, within => '20 days'$$,
		$$SELECT who FROM public.history WHERE name = 'A' AND at >= :now - interval '480 hours' GROUP BY 1 HAVING count(*) >= 3$$),
	('where', $$on_event => 'A', where_event => '$.x >= 2', at_least => 2$$,
		$$SELECT who FROM public.history WHERE name = 'A' AND (props -> 'x')::int >= 2 GROUP BY 1 HAVING count(*) >= 2$$),
	('per', $$on_event => 'B', per => 'k', at_least => 2, within => '30 days'$$,
		$$SELECT DISTINCT who FROM (SELECT who FROM public.history WHERE name = 'B' AND at >= :now - interval '720 hours'
			AND props ->> 'k' IN ('1', '1.0', 'k') GROUP BY who, replace(props ->> 'k', '.0', '') HAVING count(*) >= 2) x$$),
	('absent', $$unless => '{B}', unless_within => '10 days'$$,
		$$SELECT who FROM public.people EXCEPT SELECT who FROM public.history WHERE name = 'B' AND at >= :now - interval '240 hours'$$),
	('never', $$unless => '{B,C}', unless_where => '$.x == 1'$$,
		$$SELECT who FROM public.people EXCEPT SELECT who FROM public.history WHERE name IN ('B', 'C') AND props['x'] = '1'$$),
	('did not', $$on_event => 'A', within => '20 days', unless => '{B}', where_profile => '$.n < 3'$$,
		$$SELECT who FROM public.people WHERE traits['n']::int < 3 INTERSECT
		SELECT who FROM public.history WHERE name = 'A' AND at >= :now - interval '480 hours' EXCEPT
		SELECT who FROM public.history WHERE name = 'B' AND at >= :now - interval '480 hours'$$),
	('lapsing', $$on_event => 'A', at_least => 2, within => '40 days', unless => '{A}', unless_within => '8 days'$$,
		$$SELECT who FROM public.history WHERE name = 'A' AND at >= :now - interval '960 hours' GROUP BY 1
			HAVING count(*) >= 2 AND max(at) < :now - interval '192 hours'$$),
	('steps', $$steps => '{A,B,C}', within => '30 days'$$,
		$$SELECT DISTINCT a.who FROM public.history a JOIN public.history b USING (who) JOIN public.history c USING (who)
			WHERE a.name = 'A' AND b.name = 'B' AND c.name = 'C' AND a.at < b.at AND b.at < c.at
			AND a.at >= :now - interval '720 hours'$$),
	('twice', $$steps => '{A,A}'$$, $$SELECT who FROM public.history WHERE name = 'A' GROUP BY 1 HAVING count(DISTINCT at) > 1$$),
	('night', $$on_event => 'A', from_time => '21:00', to_time => '03:00', time_zone => 'America/New_York'$$,
		$$SELECT DISTINCT who FROM public.history WHERE name = 'A' AND (extract(hour FROM at AT TIME ZONE 'America/New_York')
			>= 21 OR extract(hour FROM at AT TIME ZONE 'America/New_York') < 3)$$),
	('weekend', $$on_event => 'A', on_days => '{6,7}', at_least => 2, time_zone => 'Australia/Lord_Howe'$$,
		$$SELECT who FROM public.history WHERE name = 'A' AND to_char(at AT TIME ZONE 'Australia/Lord_Howe', 'dy') IN ('sat', 'sun')
			GROUP BY 1 HAVING count(*) >= 2$$),
	('and', $$all_of => '{did,absent,traits}'$$, $$TABLE did INTERSECT TABLE absent INTERSECT TABLE traits$$),
	('or', $$any_of => '{thrice,steps}'$$, $$TABLE thrice UNION TABLE steps$$),
	('not', $$none_of => '{did}'$$, $$SELECT who FROM public.people EXCEPT TABLE did$$),
	('all', $$all_of => '{did}', any_of => '{or,weekend}', none_of => '{night,not}'$$,
		$$(TABLE did INTERSECT (TABLE "or" UNION TABLE weekend)) EXCEPT TABLE night EXCEPT TABLE "not"$$);
DO $$
DECLARE o record;
BEGIN
	FOR o IN SELECT * FROM public.oracle LOOP
		EXECUTE format('SELECT eventmkt.create_segment(%L, %s)', o.name, o.make);
	END LOOP;
END $$;
-- what differs: by hand or by view, whole, one by one, and by in_segment(); and the sizes, so that an empty answer is seen
CREATE FUNCTION public.differences(OUT segment text, OUT by_hand int, OUT missing text[], OUT extra text[], OUT one_by_one text[],
	OUT by_function text[]) RETURNS SETOF record LANGUAGE plpgsql AS $$
DECLARE
	o record;
	query text;
	hand text[];
	whole text[];
BEGIN
	FOR o IN SELECT * FROM public.oracle LOOP
		query := replace(o.query, ':now', 'eventmkt.statement_clock()');
		query := regexp_replace(query, 'TABLE ("?\w+"?)', 'SELECT profile_id FROM eventmkt_bi.segment_\1', 'g');
		query := replace(query, 'segment_"', '"segment_');
		EXECUTE 'SELECT COALESCE(array_agg(DISTINCT x.who), ''{}'') FROM (' || query || ') x (who)' INTO hand;
		EXECUTE format('SELECT COALESCE(array_agg(profile_id), ''{}'') FROM eventmkt_bi.%I', 'segment_' || o.name) INTO whole;
		segment := o.name;
		by_hand := cardinality(hand);
		missing := ARRAY(SELECT unnest(hand) EXCEPT SELECT unnest(whole));
		extra := ARRAY(SELECT unnest(whole) EXCEPT ALL SELECT unnest(hand));
		EXECUTE format('SELECT array_agg(who) FROM public.people p WHERE EXISTS (SELECT FROM eventmkt_bi.%I s WHERE s.profile_id = p.who
			LIMIT 1) <> (who = ANY ($1))', 'segment_' || o.name) INTO one_by_one USING hand;
		SELECT array_agg(who) INTO by_function FROM public.people WHERE eventmkt.in_segment(who, o.name) <> (who = ANY (hand));
		RETURN NEXT;
	END LOOP;
END $$;
\set QUIET off
CREATE TABLE public.first AS SELECT * FROM public.differences();
SELECT count(*) AS segments, count(*) FILTER (WHERE by_hand > 0) >= 16 AS filled FROM public.first;
SELECT * FROM public.first WHERE missing <> '{}' OR extra <> '{}' OR one_by_one <> '{}' OR by_function <> '{}';
-- an alias asks for its person
SELECT DISTINCT eventmkt.in_segment('anon3', o.name) = eventmkt.in_segment('u3', o.name) AS same FROM public.oracle o;
-- later
SELECT eventmkt.advance_clock('9 days') IS NOT NULL AS moved;
SELECT * FROM public.differences() WHERE missing <> '{}' OR extra <> '{}' OR one_by_one <> '{}' OR by_function <> '{}';
SELECT count(*) > 0 AS merged FROM (SELECT eventmkt.identify('u' || i, '{}', 'u' || i + 4) FROM generate_series(26, 28) i) x;
SELECT eventmkt.advance_clock('17 days') IS NOT NULL AS moved;
SELECT * FROM public.differences() WHERE missing <> '{}' OR extra <> '{}' OR one_by_one <> '{}' OR by_function <> '{}';
-- one profile is found by index alone: no view scans a table
SET enable_seqscan = off;
CREATE FUNCTION public.scans(view text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
	FOR line IN EXECUTE format('EXPLAIN (COSTS OFF) SELECT FROM eventmkt_bi.%I WHERE profile_id = ''u1''', view) LOOP
		IF line ~ 'Seq Scan' THEN RETURN NEXT view || ': ' || trim(line); END IF;
	END LOOP;
END $$;
SELECT public.scans('segment_' || name) FROM public.oracle;

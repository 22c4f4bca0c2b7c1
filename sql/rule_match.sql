-- the matcher of spine 1 says what jsonb_path_match says, for hashed, compared and general conditions
\set QUIET on
SET client_min_messages = error;
SELECT count(*) AS init FROM eventmkt.init();
SELECT setseed(0.42);
-- constants and values: numbers in several spellings, strings, booleans, null, arrays, objects, missing
CREATE TABLE public.scalar AS SELECT v, row_number() OVER () - 1 AS i FROM unnest(ARRAY['1', '1.0', '1.00', '0', '-0', '-1.5', '10',
	'1e1', '"1"', '"a"', '"A"', '"ä"', '""', 'true', 'false', 'null', '123456789012345678901234567890', '0.1']) v;
CREATE TABLE public.value AS
	SELECT v, row_number() OVER () - 1 AS i FROM (
		SELECT v FROM public.scalar
		UNION ALL SELECT '[' || a.v || ', ' || b.v || ']' FROM public.scalar a, public.scalar b WHERE (a.i * 7 + b.i) % 5 = 0
		UNION ALL SELECT v FROM unnest(ARRAY['[]', '{}', '{"a": 1}', '[[1]]', '[[1], 1]', '[null]', '[{"a": 1}]']) v) x;
CREATE FUNCTION public.pick(t regclass, OUT v text) LANGUAGE plpgsql AS $$
BEGIN EXECUTE format('SELECT v FROM %s WHERE i = (SELECT floor(random() * count(*)) FROM %s)', t, t) INTO v; END $$;
CREATE FUNCTION public.term() RETURNS text LANGUAGE sql VOLATILE AS $$
	SELECT CASE WHEN random() < 0.8 THEN format('$.%s %s %s', p, o, c) ELSE format('%s %s $.%s', c, o, p) END
	FROM (SELECT (ARRAY['a', 'b'])[1 + floor(random() * 2)::int] p,
		(ARRAY['==', '==', '==', '!=', '<', '>', '<=', '>='])[1 + floor(random() * 8)::int] o, public.pick('public.scalar') c) x $$;
CREATE FUNCTION public.condition() RETURNS text LANGUAGE sql VOLATILE AS $$
	SELECT CASE floor(r * 10) WHEN 0 THEN format('(%s || %s)', public.term(), public.term())
		WHEN 1 THEN format('!(%s)', public.term())
		WHEN 2 THEN format('(%s) is unknown', public.term())
		WHEN 3 THEN format('%s && !(%s)', public.term(), public.term())
		WHEN 4 THEN 'strict ' || public.term()
		WHEN 5 THEN format('%s && %s', public.term(), public.term())
		WHEN 6 THEN format('%s && %s && %s', public.term(), public.term(), public.term())
		ELSE public.term() END FROM (SELECT random() r) x $$;
CREATE TABLE public.cond AS SELECT i, public.condition() AS c FROM generate_series(1, 400) i;
SELECT count(eventmkt.create_rule('r' || i, on_event => 'E', where_event => c::jsonpath, send_to => 'none')) AS rules FROM public.cond;
CREATE TABLE public.sample AS
	SELECT i, (SELECT COALESCE(jsonb_object_agg(k, v::jsonb), '{}') FROM (
		SELECT k, public.pick('public.value') AS v FROM unnest(ARRAY['a', 'b']) k WHERE random() < 0.85 + 0 * i) x) AS props
	FROM generate_series(1, 500) i;
SELECT count(eventmkt.track('u' || i, 'E', props)) AS tracked FROM public.sample;
CREATE VIEW public.got AS SELECT substr(w.profile_id, 2)::int AS sample, substr(r.name, 2)::int AS cond
	FROM eventmkt_data.work w JOIN eventmkt_data.rule r ON r.rule_id = ANY (w.rules);
CREATE VIEW public.want AS SELECT s.i AS sample, c.i AS cond FROM public.sample s, public.cond c
	WHERE jsonb_path_match(s.props, c.c::jsonpath, '{}', true);
SELECT count(*) > 5000 AS many FROM public.want;
SELECT * FROM (SELECT 'missed' AS what, * FROM (TABLE public.want EXCEPT TABLE public.got) a
	UNION ALL SELECT 'wrong', * FROM (TABLE public.got EXCEPT TABLE public.want) b) x
	JOIN public.cond c ON c.i = x.cond JOIN public.sample s ON s.i = x.sample LIMIT 10;
-- and the batch path is the same path
DELETE FROM eventmkt_data.work;
INSERT INTO eventmkt_data.inbox (user_id, event, properties) SELECT 'u' || i, 'E', props FROM public.sample;
SELECT count(*) AS differ FROM ((TABLE public.want EXCEPT TABLE public.got) UNION ALL (TABLE public.got EXCEPT TABLE public.want)) x;
-- so many rules on one name are read by value at first and loaded later: both answer the same, however the index starts anew
DELETE FROM eventmkt_data.work;
DO $$
DECLARE s record;
BEGIN
	FOR s IN SELECT i, props FROM public.sample ORDER BY i LOOP
		PERFORM eventmkt.track('u' || s.i, 'E', s.props);
		IF s.i % (CASE WHEN s.i < 300 THEN 7 ELSE 45 END) = 0 THEN
			DELETE FROM eventmkt_data.rule_event WHERE false;	-- every backend starts anew
		END IF;
	END LOOP;
END $$;
SELECT count(*) AS differ FROM ((TABLE public.want EXCEPT TABLE public.got) UNION ALL (TABLE public.got EXCEPT TABLE public.want)) x;
-- more values in one event than are looked up, with the last one demanded
DELETE FROM eventmkt_data.work;
DELETE FROM eventmkt_data.rule_event WHERE false;
SELECT eventmkt.track('u1', 'E', (SELECT jsonb_object_agg('p' || i, i) FROM generate_series(1, 20) i) || s.props) IS NOT NULL AS tracked
	FROM public.sample s WHERE i = 1;
SELECT count(*) AS differ FROM ((SELECT * FROM public.want WHERE sample = 1 EXCEPT TABLE public.got)
	UNION ALL (TABLE public.got EXCEPT SELECT * FROM public.want WHERE sample = 1)) x;
-- the same where all of them listen to any event
DELETE FROM eventmkt_data.work;
SELECT count(eventmkt.replace_rule('r' || i, on_event => '*', where_event => c::jsonpath, send_to => 'none')) AS rules FROM public.cond;
SELECT count(eventmkt.track('u' || i, 'F' || i % 3, props)) AS tracked FROM public.sample;
SELECT count(*) AS differ FROM ((TABLE public.want EXCEPT TABLE public.got) UNION ALL (TABLE public.got EXCEPT TABLE public.want)) x;
-- most equality conditions went through the hash
SELECT count(*) > 50 AS hashed FROM eventmkt_data.rule_event WHERE hash_property IS NOT NULL;

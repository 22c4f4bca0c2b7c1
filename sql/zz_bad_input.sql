-- every public function with what it cannot use: an error with an SQLSTATE of a class that says so, never an internal one, and nothing stored
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
SET eventmkt.allow_plain_http = on;
SET eventmkt.allowed_networks = '127.0.0.0/8';
SELECT eventmkt.create_endpoint('hook', 'http://127.0.0.1:9999/') LIKE 'whsec_%' AS made;
SELECT eventmkt.create_rule('rule', on_event => 'E', after => '1 hour') > 0 AS made;
-- one call in a subtransaction that is always undone; the answer is 'ok' or the SQLSTATE
CREATE FUNCTION public.try(call text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE call;
	RAISE EXCEPTION 'ok' USING ERRCODE = 'YY000';
EXCEPTION WHEN OTHERS THEN
	RETURN CASE SQLSTATE WHEN 'YY000' THEN 'ok' ELSE SQLSTATE END;
END $$;
-- the functions a person calls by name; those that end servers' workers or stand for whole systems apart
CREATE VIEW public.f AS SELECT p.oid, p.proname::text AS name, p.proargtypes::oid[] AS types, p.proretset FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname = 'eventmkt' AND p.prokind = 'f' AND p.prorettype <> 'trigger'::regtype AND NOT (2281::oid = ANY (p.proargtypes::oid[]))
   AND p.proname NOT IN ('start_worker', 'stop_worker') AND NOT p.provariadic > 0 AND p.pronargs > 0;
-- one value of each kind
CREATE TABLE public.sample (type regtype, kind text, value text);
INSERT INTO public.sample SELECT t::regtype, k, v FROM (VALUES
	('text', 'null', NULL), ('text', 'empty', ''''''), ('text', 'long', 'repeat(''x'', 10240)'), ('text', 'odd', 'E''a\nb'''), ('text', 'plain', '''rule'''),
	('name', 'plain', '''nobody'''), ('name', 'empty', ''''''),
	('jsonb', 'plain', '''{}'''), ('jsonb', 'empty', '''[]'''), ('jsonb', 'odd', '''1'''), ('jsonb', 'long', '(repeat(''['', 6000) || repeat('']'', 6000))'),
	('jsonpath', 'plain', '''$.a == 1'''), ('jsonpath', 'odd', '''$.a'''),
	('int', 'plain', '1'), ('int', 'odd', '-1'), ('int', 'empty', '0'), ('int', 'long', '2147483647'),
	('bigint', 'plain', '1'), ('bigint', 'odd', '-9223372036854775808'), ('bigint', 'empty', '0'), ('bigint', 'long', '9223372036854775807'),
	('float8', 'plain', '0.5'), ('float8', 'odd', '''NaN'''), ('float8', 'long', '''infinity'''),
	('bool', 'plain', 'true'),
	('interval', 'plain', '''1 day'''), ('interval', 'odd', '''-1 day'''), ('interval', 'empty', '''0'''), ('interval', 'long', '''178000000 years'''),
	('timestamptz', 'plain', '''2026-01-01'''), ('timestamptz', 'odd', '''-infinity'''), ('timestamptz', 'empty', '''4713-01-01 BC'''),
	('timestamptz', 'long', '''294276-12-31'''),
	('uuid', 'plain', '''00000000-0000-0000-0000-000000000000'''),
	('text[]', 'plain', '''{a}'''), ('text[]', 'empty', '''{}'''), ('text[]', 'odd', '''{NULL}'''), ('text[]', 'long', '''{{a,b},{c,d}}'''),
	('int[]', 'plain', '''{1}'''), ('int[]', 'empty', '''{}'''), ('int[]', 'odd', '''{NULL}'''), ('int[]', 'long', '''{{1,2},{3,4}}''')) s (t, k, v);
-- argument by argument: kind of one, plain for the others; and all of one kind
CREATE FUNCTION public.arg(t oid, k text) RETURNS text LANGUAGE sql AS $$
	SELECT CASE WHEN k = 'null' THEN 'NULL' ELSE '(' || coalesce((SELECT value FROM public.sample WHERE type = t AND kind = k),
		(SELECT value FROM public.sample WHERE type = t AND kind = 'plain'), 'NULL') || ')' END || '::' || format_type(t, NULL) $$;
CREATE TABLE public.tried AS
	SELECT DISTINCT f.name, c.call, NULL::text AS state FROM public.f, unnest('{null,empty,long,odd,plain}'::text[]) k,
		generate_series(0, cardinality(f.types)) one, LATERAL (SELECT format('SELECT * FROM eventmkt.%I(%s)', f.name, string_agg(
			public.arg(a.t, CASE WHEN one IN (0, a.n) THEN k ELSE 'plain' END), ', ' ORDER BY a.n)) AS call
		FROM unnest(f.types) WITH ORDINALITY a (t, n)) c;
UPDATE public.tried SET state = public.try(call);
SELECT count(*) > 500 AS many, count(DISTINCT name) > 40 AS functions FROM public.tried;
SELECT state, left(call, 200) FROM public.tried WHERE state <> 'ok' AND state !~ '^(22|23|42|53|54|EM)' AND state NOT IN ('0A000', '55000', 'P0002', '2BP01', '40001')
 ORDER BY call COLLATE "C";
SELECT (SELECT count(*) FROM eventmkt_data.event) AS events, (SELECT count(*) FROM eventmkt_data.rule) AS rules, (SELECT count(*) FROM eventmkt_data.endpoint) AS endpoints;

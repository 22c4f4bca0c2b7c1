-- every function of the catalog with what it cannot use, argument by argument and all at once: an answer or an error of class 22, 23, 42, 53,
-- 54, 55 or our own, never an internal one; nothing stored. A new function is in as soon as it exists.
SET client_min_messages = error;
SET timezone = 'UTC';
SELECT count(*) > 0 AS init FROM eventmkt.init();
SET eventmkt.allow_plain_http = on;
SET eventmkt.allowed_networks = '127.0.0.0/8';
SELECT eventmkt.create_endpoint('hook', 'http://127.0.0.1:9999/') LIKE 'whsec_%' AS made;
SELECT eventmkt.create_rule('rule', on_event => 'E', after => '1 hour') > 0 AS made;
SELECT eventmkt.track('rule', 'E', '{"a": 1}') IS NOT NULL AS x;
SELECT eventmkt.run_due() > 0 AS ran;
-- one call in a subtransaction that is always undone; the answer is 'ok' or the SQLSTATE
CREATE FUNCTION public.try(call text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE call;
	RAISE EXCEPTION 'ok' USING ERRCODE = 'YY000';
EXCEPTION WHEN OTHERS THEN
	RETURN CASE SQLSTATE WHEN 'YY000' THEN 'ok' ELSE SQLSTATE END;
END $$;
-- all but those that start processes, and those whose arguments only the server itself can make
CREATE VIEW public.f AS SELECT p.oid, p.proname::text AS name, p.prokind AS kind, p.proargtypes::oid[] AS types, p.provariadic <> 0 AS variadic,
	p.proargnames AS names, p.pronargs - p.pronargdefaults AS required FROM pg_proc p WHERE p.pronamespace = 'eventmkt'::regnamespace AND p.prorettype NOT IN ('trigger'::regtype, 'internal'::regtype)
   AND NOT ('internal'::regtype = ANY (p.proargtypes::oid[])) AND p.proname NOT IN ('start_worker', 'stop_worker');
CREATE TABLE public.sample (type regtype, kind text, value text);
INSERT INTO public.sample SELECT t::regtype, k, v FROM (VALUES
	('text', 'plain', '''rule'''), ('text', 'empty', ''''''), ('text', 'long', 'pg_catalog.repeat(''x'', 1048576)'), ('text', 'odd', 'E''a\n\\%s%n"''''; --'''),
	('text', 'low', 'pg_catalog.chr(1)'), ('text', 'high', 'pg_catalog.chr(1114111)'), ('text', 'dims', '''(?1)(?t>99999999999999999999h).*'''),
	('cstring', 'plain', '''[]'''), ('cstring', 'empty', ''''''), ('cstring', 'odd', '''\x0102'''), ('cstring', 'long', 'pg_catalog.textout(pg_catalog.repeat(''['', 1048576))'),
	('name', 'plain', '''nobody'''), ('name', 'empty', ''''''), ('name', 'odd', 'E''a"\n'''),
	('jsonb', 'plain', '''{}'''), ('jsonb', 'empty', '''[]'''), ('jsonb', 'odd', '''1'''), ('jsonb', 'low', '''null'''), ('jsonb', 'high', '''{"a": 1e400, "rule": "x"}'''),
	('jsonb', 'dims', '(repeat(''['', 6000) || repeat('']'', 6000))'), ('jsonb', 'long', '(''{"a": "'' || repeat(''x'', 1048576) || ''"}'')'),
	('jsonpath', 'plain', '''$.a == 1'''), ('jsonpath', 'odd', '''$.a'''), ('jsonpath', 'empty', '''$'''), ('jsonpath', 'long', '(''$.a == "'' || repeat(''x'', 1048576) || ''"'')'),
	('jsonpath', 'high', '''$.a > 1e400'''), ('jsonpath', 'dims', '''strict $.**{2 to last}[last ? (@ > 1)] ? (@.a like_regex "(a+)+$").b == $x'''),
	('int', 'plain', '1'), ('int', 'odd', '-1'), ('int', 'empty', '0'), ('int', 'high', '2147483647'), ('int', 'low', '-2147483648'),
	('bigint', 'plain', '1'), ('bigint', 'odd', '-1'), ('bigint', 'empty', '0'), ('bigint', 'high', '9223372036854775807'), ('bigint', 'low', '-9223372036854775808'),
	('numeric', 'plain', '1'), ('numeric', 'nan', '''NaN'''), ('numeric', 'high', '''infinity'''), ('numeric', 'low', '''-infinity'''), ('numeric', 'long', '1e130000'),
	('float8', 'plain', '0.5'), ('float8', 'nan', '''NaN'''), ('float8', 'high', '''infinity'''), ('float8', 'low', '''-infinity'''), ('float8', 'long', '1e308'), ('float8', 'odd', '1e-320'),
	('bool', 'plain', 'true'), ('bool', 'odd', 'false'),
	('interval', 'plain', '''1 day'''), ('interval', 'odd', '''-1 day'''), ('interval', 'empty', '''0'''), ('interval', 'high', '''178000000 years'''), ('interval', 'low', '''-178000000 years'''),
	('interval', 'long', '''2147483647 days 2562047788:00:54.775807'''), ('interval', 'nan', '''-2147483648 months'''), ('interval', 'dims', '''1 month -30 days 1 us'''),
	('timestamptz', 'plain', '''2026-01-01'''), ('timestamptz', 'low', '''-infinity'''), ('timestamptz', 'high', '''infinity'''), ('timestamptz', 'empty', '''4714-11-24 00:00 BC'''),
	('timestamptz', 'long', '''294276-12-31 23:59:59.999999'''), ('time', 'plain', '''12:00'''), ('time', 'empty', '''00:00'''), ('time', 'high', '''24:00'''),
	('date', 'plain', '''2026-01-01'''), ('date', 'low', '''-infinity'''), ('date', 'high', '''infinity'''), ('date', 'empty', '''4713-01-01 BC'''), ('date', 'long', '''5874897-12-31'''),
	('uuid', 'plain', '''00000000-0000-0000-0000-000000000000'''), ('uuid', 'high', '''ffffffff-ffff-ffff-ffff-ffffffffffff'''),
	('bytea', 'plain', '''\x'''), ('bytea', 'odd', '''\x01'''), ('bytea', 'low', 'pg_catalog.decode(repeat(''00'', 64), ''hex'')'), ('bytea', 'high', 'pg_catalog.decode(repeat(''ff'', 64), ''hex'')'),
	('bytea', 'long', 'pg_catalog.decode(repeat(''01'', 1048576), ''hex'')'),
	('eventmkt.timeline', 'plain', '''[{"at": "2026-01-01", "event": "rule", "key": "k", "value": 1, "id": 1}, {"at": "2026-01-02", "event": "rule"}]'''), ('eventmkt.timeline', 'empty', '''[]'''),
	('eventmkt.timeline', 'low', '''[{"at": "4714-11-24 00:00Z BC", "event": "rule", "value": -999999999999, "id": -9223372036854775808}, {"at": "294276-12-31 23:59:59Z", "event": "rule", "id": 9223372036854775807}]'''),
	('eventmkt.timeline', 'long', '(''[{"at": "2026-01-01", "event": "'' || repeat(''x'', 1048576) || ''"}]'')'),
	('eventmkt.tail', 'plain', 'eventmkt.open_tail()'), ('eventmkt.tail', 'odd', '''x'''),
	('text[]', 'plain', '''{rule}'''), ('text[]', 'empty', '''{}'''), ('text[]', 'odd', '''{NULL}'''), ('text[]', 'dims', '''{{a,b},{c,d}}'''), ('text[]', 'low', '''[5:6]={a,b}'''),
	('text[]', 'long', 'pg_catalog.array_fill(''x''::text, ''{70000}'')'), ('text[]', 'high', 'ARRAY[repeat(''x'', 1048576)]'),
	('int[]', 'plain', '''{1}'''), ('int[]', 'empty', '''{}'''), ('int[]', 'odd', '''{NULL}'''), ('int[]', 'dims', '''{{1,2},{3,4}}'''), ('int[]', 'high', '''{2147483647,-2147483648}'''),
	('int[]', 'low', '''[-2147483648:-2147483648]={1}'''), ('int[]', 'long', 'pg_catalog.array_fill(1, ''{70000}'')'),
	('bool[]', 'plain', '''{t}'''), ('bool[]', 'empty', '''{}'''), ('bool[]', 'odd', '''{NULL}'''), ('bool[]', 'dims', '''{{t,f},{t,f}}'''), ('bool[]', 'low', '''[5:6]={t,f}'''),
	('bool[]', 'long', 'pg_catalog.array_fill(true, ''{70000}'')')) s (t, k, v);
-- a function with an argument of a type that is not here would be tried with NULL alone: give it samples above
SELECT DISTINCT t::regtype AS no_samples FROM public.f, unnest(types) t WHERE NOT EXISTS (SELECT FROM public.sample WHERE type = t);
CREATE FUNCTION public.arg(t oid, k text) RETURNS text LANGUAGE sql AS $$
	SELECT CASE WHEN k = 'null' THEN 'NULL' ELSE '(' || coalesce((SELECT value FROM public.sample WHERE type = t AND kind = k),
		(SELECT value FROM public.sample WHERE type = t AND kind = 'plain')) || ')' END || '::' || format_type(t, NULL) $$;
CREATE TABLE public.tried AS
	SELECT DISTINCT f.name, CASE f.kind WHEN 'a' THEN format('SELECT eventmkt.%I(%s) FROM generate_series(1, 2)', f.name, c.args)
		WHEN 'w' THEN format('SELECT eventmkt.%I(%s) OVER () FROM generate_series(1, 2)', f.name, c.args)
		ELSE format('SELECT * FROM eventmkt.%I(%s)', f.name, c.args) END AS call, NULL::text AS state
	FROM public.f, unnest('{null,plain,empty,odd,low,high,nan,dims,long}'::text[]) k, generate_series(0, cardinality(f.types)) one,
		LATERAL (SELECT coalesce(string_agg(CASE WHEN f.variadic AND a.n = cardinality(f.types) THEN 'VARIADIC ' ELSE '' END ||
			public.arg(a.t, CASE WHEN one IN (0, a.n) THEN k ELSE 'plain' END), ', ' ORDER BY a.n), '') AS args
			FROM unnest(f.types) WITH ORDINALITY a (t, n)) c;
-- where arguments have defaults: one beside those that are required, by name, so that no other one is complained about
INSERT INTO public.tried SELECT DISTINCT f.name, format('SELECT * FROM eventmkt.%I(%s)', f.name, c.args)
	FROM public.f, unnest('{null,plain,empty,odd,low,high,nan,dims,long}'::text[]) k, generate_series(1, cardinality(f.types)) one,
		LATERAL (SELECT string_agg(format('%I => ', f.names[a.n]) || public.arg(a.t, CASE WHEN one = a.n THEN k ELSE 'plain' END), ', ' ORDER BY a.n) AS args
			FROM unnest(f.types) WITH ORDINALITY a (t, n) WHERE a.n <= f.required OR a.n = one) c
	WHERE f.required < cardinality(f.types) AND NOT f.variadic;
-- what was added to a good state is judged too
INSERT INTO public.tried SELECT DISTINCT 'chain', format('SELECT eventmkt.%I(eventmkt.%I(%s))', e.name, f.name, c.args)
	FROM public.f JOIN pg_aggregate ag ON ag.aggtransfn = f.oid JOIN public.f e ON e.oid = ag.aggfinalfn, unnest('{empty,odd,low,high,nan,dims,long}'::text[]) k,
		generate_series(2, cardinality(f.types)) one, LATERAL (SELECT string_agg(CASE WHEN a.n = 1 THEN 'NULL' ELSE public.arg(a.t, CASE WHEN one = a.n THEN k ELSE 'plain' END) END,
			', ' ORDER BY a.n) AS args FROM unnest(f.types) WITH ORDINALITY a (t, n)) c;
-- a call that does not end leaves its function without a state
SET statement_timeout = '60s';
\set ECHO none
SELECT format('UPDATE public.tried SET state = public.try(call) WHERE name = %L', name) FROM public.tried GROUP BY name ORDER BY name \gexec
\set ECHO all
RESET statement_timeout;
SELECT count(*) > 4500 AS many, count(DISTINCT name) > 120 AS functions, count(*) FILTER (WHERE state = 'ok') > 1200 AS answered FROM public.tried;
-- no call was one that the parser could not resolve
SELECT DISTINCT name FROM public.tried WHERE state = '42883';
SELECT DISTINCT name, coalesce(state, 'did not end') AS state, left(call, 300) FROM public.tried WHERE state IS NULL OR state <> 'ok' AND state !~ '^(22|23|42|53|54|55|EM)'
	AND NOT (state = 'P0002' AND name IN ('redeliver', 'undo_merge')) AND NOT (state = '0A000' AND name ~ '^(create_rule|replace_rule|.*tail.*)$') ORDER BY 1, 2, 3;
SELECT (SELECT count(*) FROM eventmkt_data.event) AS events, (SELECT count(*) FROM eventmkt_data.rule) AS rules, (SELECT count(*) FROM eventmkt_data.endpoint) AS endpoints;
SELECT eventmkt.keep_timelines();	-- or one of them does nothing
-- triggers of ours, on a table that is not: no row of it reads what it should
CREATE TABLE public.alien (a int, profile_id int8[], raw_id bytea);
CREATE FUNCTION public.misuse(f regproc, timing text, ops text, level text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE TRIGGER t %s %s ON public.alien %s FOR EACH %s EXECUTE FUNCTION %s()', timing, ops, CASE WHEN level = 'STATEMENT' AND timing = 'AFTER' AND
		ops = 'INSERT' THEN 'REFERENCING NEW TABLE AS new_rows' ELSE '' END, level, f);
	INSERT INTO public.alien VALUES (1, '{{1,2}}', '\x00'), (NULL, NULL, NULL);
	UPDATE public.alien SET a = a + 1;
	DELETE FROM public.alien;
	TRUNCATE public.alien;
	RAISE EXCEPTION 'ok' USING ERRCODE = 'YY000';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
SELECT f, timing, ops, level, said FROM (SELECT oid::regproc AS f FROM pg_proc WHERE pronamespace = 'eventmkt'::regnamespace AND prorettype = 'trigger'::regtype) p,
	unnest('{BEFORE,AFTER}'::text[]) timing, unnest('{INSERT,UPDATE,DELETE,TRUNCATE}'::text[]) ops, unnest('{ROW,STATEMENT}'::text[]) level, LATERAL (SELECT public.misuse(f, timing, ops, level) AS said) s
 WHERE said !~ '^(YY|22|23|39|42|55|EM)' AND NOT (said ~ '^0A000' AND ops = 'TRUNCATE') ORDER BY f::text, timing, ops, level;
-- and called as no trigger
SELECT oid::regproc AS f, public.try(format('SELECT %s()', oid::regproc)) AS state FROM pg_proc WHERE pronamespace = 'eventmkt'::regnamespace AND prorettype = 'trigger'::regtype
  AND public.try(format('SELECT %s()', oid::regproc)) <> '39P01';

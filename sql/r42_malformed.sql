-- a thousand malformed rules, conditions, intervals and documents, made from good ones by a generator that knows no chance: each answered by an error of a class that
-- says so or by a value, quickly, and the session is no bigger after it
SET client_min_messages = error;
SET timezone = 'UTC';
SELECT count(*) > 0 AS init FROM eventmkt.init();
SELECT eventmkt.create_rule('r', on_event => 'E', after => '1 hour', send_to => 'none') > 0 AS made;
CREATE FUNCTION public.n(seed int, salt text, below int) RETURNS int LANGUAGE sql AS $$
	SELECT (pg_catalog.hashtextextended(salt || seed, 42) & 2147483647)::int % below $$;
-- one to four changes: a piece goes, comes twice, is moved, or something comes in between
CREATE FUNCTION public.damage(good text, seed int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	s text := good;
	bits text[] := ARRAY['{', '}', '[', ']', '(', ')', '"', '''', '\', ',', ':', '$', '@', '?', '.', '*', '**', '..', '&&', '||', '!', '==', '<>', ' like_regex "(a*)*b"', '.keyvalue()',
		'.datetime("YYYY")', ' starts with ', 'is unknown', 'exists', 'last', 'null', 'true', '1e400', '-0', '99999999999999999999', 'NaN', '\u0000', '\ud800', '\uffff', chr(1), chr(1114111), '%s%n',
		' ', E'\n', '-', '--', '/*', ';', 'infinity', ' ago', 'P', 'T', ' mons', ' 2147483648 days', '1 2 3', 'e', repeat('[', 70), repeat('(', 200), repeat('x', 3000)];
	whole text[] := ARRAY['"x"', '""', '1', '-1', '0', '1e400', '-0.0', '123456789012345678901234567890', 'null', 'true', '{}', '[]', '[[[]]]', '{"": {"a": null}}', '"2026-13-01"', '"infinity"',
		'"294276-12-31"', '"-1 day"', '"' || repeat('x', 3000) || '"', '"\u2028"'];
	at int;
	len int;
BEGIN
	-- every other one stays well-formed: only words and numbers become others
	IF seed % 2 = 1 THEN
		FOR k IN 0 .. public.n(seed, 'times', 3) LOOP
			at := 1 + public.n(seed, 'at' || k, greatest(regexp_count(s, '"[^"]*"|[0-9.]+|[a-z]+'), 1));
			s := regexp_replace(s, '"[^"]*"|[0-9.]+|[a-z]+', whole[1 + public.n(seed, 'whole' || k, cardinality(whole))], 1, at);
		END LOOP;
		RETURN s;
	END IF;
	FOR k IN 0 .. public.n(seed, 'times', 4) LOOP
		at := 1 + public.n(seed, 'at' || k, greatest(length(s), 1));
		len := 1 + public.n(seed, 'len' || k, 8);
		s := CASE public.n(seed, 'how' || k, 4)
			WHEN 0 THEN left(s, at - 1) || substr(s, at + len)
			WHEN 1 THEN left(s, at) || substr(s, at, len) || substr(s, at + 1)
			WHEN 2 THEN left(s, at - 1) || substr(s, at + len) || substr(s, at, len)
			ELSE left(s, at - 1) || bits[1 + public.n(seed, 'bit' || k, cardinality(bits))] || substr(s, at) END;
	END LOOP;
	RETURN s;
END $$;
CREATE TABLE public.good (kind text, call text, value text);
INSERT INTO public.good VALUES
	('condition', 'eventmkt.create_rule(''m'', on_event => ''E'', where_event => $1::jsonpath, send_to => ''none'')', '$.price > 10 && ($.tags[*] == "new" || !($.sku starts with "x"))'),
	('condition', 'eventmkt.create_rule(''m'', on_event => ''E'', where_profile => $1::jsonpath, send_to => ''none'')', 'strict $.a.b ? (@.c like_regex "^[a-z]+$" flag "i").d.size() >= 2'),
	('condition', 'eventmkt.create_rule(''m'', on_event => ''E'', unless => ''{F}'', unless_where => $1::jsonpath, send_to => ''none'')', '$.items[0 to last].price.double() * 2 < 100'),
	('condition', 'eventmkt.create_segment(''m'', where_profile => $1::jsonpath)', '$.plan == "pro" && exists ($.seats ? (@ > 5)) && ($.since.datetime() < "2026-01-01".datetime()) is unknown'),
	('interval', 'eventmkt.create_rule(''m'', on_event => ''E'', after => $1::interval, send_to => ''none'')', '1 day 02:03:04.5'),
	('interval', 'eventmkt.create_rule(''m'', on_event => ''E'', at_least => 2, within => $1::interval, send_to => ''none'')', 'P1Y2M3DT4H5M6S'),
	('interval', 'eventmkt.advance_clock($1::interval)', '-3 mons 4 days ago'),
	('document', 'eventmkt.track(''u'', ''E'', $1::jsonb)', '{"a": 1, "b": [true, null, {"c": "d\u00e9"}], "price": 12.50, "when": "2026-01-01T00:00:00Z"}'),
	('document', 'eventmkt.track_many($1::jsonb)', '[{"user_id": "u", "event": "E", "properties": {"a": 1}, "occurred_at": "2026-01-01T00:00:00Z", "message_id": "m1"}, {"anonymous_id": "x", "event": "F"}]'),
	('document', 'eventmkt.identify(''u'', $1::jsonb)', '{"name": "A B", "age": 30, "tags": ["x", "y"], "address": {"city": null}}'),
	('document', 'eventmkt.ingest($1::jsonb)', '{"type": "track", "userId": "u", "event": "E", "properties": {"a": 1}, "messageId": "s1", "timestamp": "2026-01-01T00:00:00.000Z", "context": {"traits": {"b": 2}}}'),
	('document', 'eventmkt.ingest($1::jsonb)', '{"batch": [{"type": "identify", "userId": "u", "traits": {"a": 1}}, {"type": "alias", "previousId": "x", "userId": "u"}, {"type": "page", "anonymousId": "x", "name": "P"}]}'),
	('rule', 'eventmkt.backtest($1::jsonb, ''2025-01-01'', ''infinity'')', '{"name": "b", "on_event": "E", "where_event": "$.a == 1", "at_least": 2, "within": "1 day", "unless": ["F"], "after": "1 hour", "reentry": "1 day", "send_to": "none"}'),
	('rule', 'eventmkt.create_rule(''m'', on_event => $1, per => $1, unless => ARRAY[$1], send_to => ''none'')', 'Product Added'),
	('timeline', '$1::eventmkt.timeline', '[{"at": "2026-01-01T00:00:00Z", "event": "a", "key": "k", "value": 1.5, "id": 7}, {"at": "2026-01-02 00:00+01", "event": "b"}]'),
	('pattern', 'eventmkt.sequence_count(''[{"at": "2026-01-01", "event": "a"}, {"at": "2026-01-02", "event": "b"}]'', $1, ''a'', ''b'')', '(?1)(?t<=2d).*(?2)(?t>10m)(?1)'),
	('endpoint', 'eventmkt.create_endpoint(''m'', $1)', 'https://hooks.example.com:8443/path/to?x=1&y=%20z'),
	('endpoint', 'eventmkt.create_endpoint(''m'', ''https://example.com/'', headers => $1::jsonb)', '{"Authorization": "Bearer abc", "X-Shop": "42"}'),
	('endpoint', 'eventmkt.plan_retry(503, 1, ''{5,60}'', $1, ''2026-01-01'', 0.5)', 'Sun, 06 Nov 2026 08:49:37 GMT'),
	('secret', 'eventmkt.webhook_signature(''msg_1'', 1700000000, ''{}'', $1)', 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw');
CREATE TABLE public.tried AS SELECT kind, call, CASE WHEN i = 0 THEN value ELSE public.damage(value, i) END AS value, i, NULL::text AS state, NULL::float8 AS ms
  FROM (SELECT g.*, row_number() OVER (ORDER BY call, value) AS g FROM public.good g) g, LATERAL (SELECT i FROM generate_series(0, 60) k, LATERAL (SELECT CASE WHEN k > 0 THEN k * 101 + g::int ELSE 0 END AS i) x) s;
CREATE FUNCTION public.try(call text, value text, OUT state text, OUT ms float8) LANGUAGE plpgsql AS $$
DECLARE
	began timestamptz := pg_catalog.clock_timestamp();
BEGIN
	BEGIN
		EXECUTE 'SELECT pg_catalog.array_agg(s::pg_catalog.text) FROM (SELECT ' || call || ') s' USING value;
		RAISE EXCEPTION 'ok' USING ERRCODE = 'YY000';
	EXCEPTION WHEN OTHERS THEN
		state := SQLSTATE;
	END;
	ms := extract(epoch FROM pg_catalog.clock_timestamp() - began) * 1000;
END $$;
SET statement_timeout = '120s';
-- once to fill what the session keeps for good, and once more to see whether it goes on growing
UPDATE public.tried t SET (state, ms) = (SELECT r.state, r.ms FROM public.try(t.call, t.value) r);
SELECT sum(total_bytes) AS before FROM pg_backend_memory_contexts \gset
UPDATE public.tried t SET (state, ms) = (SELECT r.state, r.ms FROM public.try(t.call, t.value) r);
SELECT sum(total_bytes) - :before < 1048576 AS "no bigger" FROM pg_backend_memory_contexts;
RESET statement_timeout;
SELECT count(*) > 1000 AS many, count(DISTINCT value) > 1000 AS different, count(*) FILTER (WHERE state <> 'YY000') > 500 AS refused, percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) < 50 AS quick,
	max(ms) < 5000 AS never_slow FROM public.tried;
SELECT DISTINCT kind, call, state, left(value, 200) FROM public.tried WHERE state !~ '^(YY|22|23|42|53|54|EM)' OR (i = 0 AND state <> 'YY000' AND call !~ 'advance_clock') ORDER BY 1, 2, 3, 4;
SELECT (SELECT count(*) FROM eventmkt_data.event) AS events, (SELECT count(*) FROM eventmkt_data.rule) AS rules, (SELECT count(*) FROM eventmkt_data.endpoint) AS endpoints;

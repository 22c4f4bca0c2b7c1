-- A33 and bad ids: what a document or an id may be, and that everything else is an error with a code, and nothing is half stored
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
CREATE FUNCTION pg_temp.try(call text) RETURNS TABLE (state text, message text, hint text) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE call;
	RETURN QUERY SELECT 'ok', NULL, NULL;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	state := SQLSTATE; message := left(SQLERRM, 100); hint := left(hint, 100);
	RETURN NEXT;
END $$;
\pset format unaligned
\pset tuples_only on
SELECT n, r.* FROM unnest(ARRAY[
	-- ids
	$$eventmkt.track('', 'E')$$, $$eventmkt.track(NULL, 'E', anonymous_id => '')$$, $$eventmkt.track(NULL, 'E')$$,
	$$eventmkt.track(repeat('x', 10240), 'E')$$, $$eventmkt.track('u', 'E', anonymous_id => repeat('x', 10240))$$,
	$$eventmkt.track('u', 'E', message_id => repeat('x', 10240))$$, $$eventmkt.track('u', 'E', message_id => '')$$,
	$$eventmkt.identify('', '{}')$$, $$eventmkt.identify(repeat('x', 10240), '{}')$$, $$eventmkt.identify('u', '{}', repeat('x', 10240))$$,
	$$eventmkt.alias('', 'u')$$, $$eventmkt.alias(repeat('x', 10240), 'u')$$, $$eventmkt.alias(NULL, 'u')$$, $$eventmkt.alias('u', NULL)$$,
	-- names
	$$eventmkt.track('u', NULL)$$, $$eventmkt.track('u', '')$$, $$eventmkt.track('u', '*')$$, $$eventmkt.track('u', repeat('e', 10240))$$,
	-- what is no object
	$$eventmkt.track('u', 'E', '[]')$$, $$eventmkt.track('u', 'E', '1')$$, $$eventmkt.track('u', 'E', '"x"')$$, $$eventmkt.track('u', 'E', 'null')$$,
	$$eventmkt.identify('u', '[]')$$, $$eventmkt.identify('u', '"x"')$$, $$eventmkt.track_many('{}')$$, $$eventmkt.track_many('[1]')$$,
	$$eventmkt.track_many(NULL)$$, $$eventmkt.ingest('"x"')$$,
	-- depth, as given and as text that cannot even be read
	$$eventmkt.track('u', 'E', (repeat('{"a":', 64) || '1' || repeat('}', 64))::jsonb)$$,
	$$eventmkt.track('u', 'E', (repeat('{"a":', 65) || '1' || repeat('}', 65))::jsonb)$$,
	$$eventmkt.track('u', 'E', (repeat('{"a":', 100000) || '1' || repeat('}', 100000))::jsonb)$$,
	$$eventmkt.identify('u', (repeat('{"a":', 65) || '1' || repeat('}', 65))::jsonb)$$,
	$$eventmkt.track_many(('[{"user_id": "u", "event": "E", "properties": ' || repeat('{"a":', 65) || '1' || repeat('}', 65) || '}]')::jsonb)$$,
	$$eventmkt.track_many((repeat('[', 100000) || repeat(']', 100000))::jsonb)$$,
	$$eventmkt.ingest((repeat('{"batch":', 3000) || '[]' || repeat('}', 3000))::jsonb)$$,
	-- size and number
	$$eventmkt.track('u', 'E', jsonb_build_object('a', repeat('x', 262144)))$$,
	$$eventmkt.track('u', 'E', (SELECT jsonb_object_agg('k' || i, i) FROM generate_series(1, 100000) i))$$,
	$$eventmkt.track('u', 'E', jsonb_build_object('a', repeat('x', 50000000)))$$,
	$$eventmkt.track_many((SELECT jsonb_agg('{"user_id": "u", "event": "E"}'::jsonb) FROM generate_series(1, 100001)))$$,
	-- what JSON cannot say
	$$eventmkt.track('u', 'E', '{"a": "\u0000"}')$$, $$eventmkt.track('u', 'E', '{"a": "\ud800"}')$$, $$eventmkt.track('u', 'E', '{"a": 1e400000}')$$,
	$$eventmkt.track('u', 'E', '{"a": NaN}')$$, $$eventmkt.track('u', 'E', '{a: 1}')$$]) WITH ORDINALITY t (call, n), pg_temp.try('SELECT ' || call) r ORDER BY n;
\pset tuples_only off
\pset format aligned
SELECT count(*), max(length(properties::text)) FROM eventmkt_data.event;
SELECT count(*) FROM eventmkt_data.profile;
SELECT count(*) FROM eventmkt_data.message_key;
TRUNCATE eventmkt_data.event;
-- what is odd and right comes back as it went in; of a key given twice the last counts
SELECT eventmkt.track('round', 'E', '{"a": 1, "a": 2, "__proto__": {"x": 1}, "constructor": 1, "a.b": 3, "$": 4, "": 5, "neg": -0, "zero": -0.0, "tiny": 1e-400,
	"huge": 1e400, "digits": 123456789012345678901234567890.123456789, "uni": "\u00e9\ud83d\ude00\u2028", "nul": null, "deep": [[[[]]]]}') IS NOT NULL AS x;
SELECT eventmkt.track('round', 'E', ('{"n": ' || repeat('9', 300) || '}')::jsonb) IS NOT NULL AS x;
SELECT properties = '{"a": 2, "__proto__": {"x": 1}, "constructor": 1, "a.b": 3, "$": 4, "": 5, "neg": 0, "zero": 0, "tiny": 1e-400, "huge": 1e400,
	"digits": 123456789012345678901234567890.123456789, "uni": "é😀\u2028", "nul": null, "deep": [[[[]]]]}' AS same FROM eventmkt_data.event WHERE properties ? 'a';
SELECT properties ->> 'n' = repeat('9', 300) AS same FROM eventmkt_data.event WHERE properties ? 'n';
-- and is matched and sent as it is
SELECT eventmkt.create_rule('huge', on_event => 'E', where_event => '$.huge > 1e399 && $."a.b" == 3 && $."__proto__".x == 1 && $.zero == 0', per => 'digits',
	send_to => 'none') > 0 AS made;
INSERT INTO eventmkt_data.inbox (user_id, event, properties) SELECT 'again', name, properties FROM eventmkt_data.event;
SELECT eventmkt.run_due() AS rows;
SELECT rule, profile_id, key, outcome FROM eventmkt_data.decision;

-- bad input of every kind: each is refused at the call with a SQLSTATE of its class and a hint that says what to do, and nothing is half stored
\set QUIET on
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
SELECT eventmkt.create_endpoint('hook', 'https://hooks.example/x') LIKE 'whsec_%' AS made;
SELECT eventmkt.create_rule('r', on_event => 'E', send_to => 'none') > 0 AS made;
CREATE FUNCTION public.refused(statement text, OUT state text, OUT hinted bool) LANGUAGE plpgsql AS $$
DECLARE
	hint text;
BEGIN
	EXECUTE statement;
	state := 'accepted';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	state := SQLSTATE;
	hinted := hint <> '';
END $$;
CREATE TABLE public.bad (n int GENERATED ALWAYS AS IDENTITY, what text, statement text);
INSERT INTO public.bad (what, statement) SELECT 'endpoint', format('SELECT eventmkt.create_endpoint(%s)', a) FROM unnest(ARRAY[
	$$'a', 'nope'$$, $$'a', ''$$, $$'a', NULL$$, $$NULL, 'https://x.example/'$$, $$'', 'https://x.example/'$$, $$'a', 'ftp://x.example/'$$, $$'a', 'file:///etc/passwd'$$,
	$$'a', 'http://x.example/'$$, $$'a', 'https://u:p@x.example/'$$, $$'a', 'https://x.example:99999/'$$, $$'a', 'https://x.example:25/'$$,
	$$'a', 'https://10.0.0.1/'$$, $$'a', 'https://2130706433/'$$, $$'a', 'https://x.example/#f'$$, $$'a', E'https://x.example/\t'$$, $$'a', E'https://x.example/\r\nX: y'$$,
	$$'a', 'https://x.example\y'$$, $$'a', 'https://' || repeat('a', 65536)$$, $$'a', 'https://bücher.example/'$$,
	$$'a', 'https://x.example/', timeout => '-1 s'$$, $$'a', 'https://x.example/', timeout => '100 years'$$, $$'a', 'https://x.example/', timeout => NULL$$,
	$$'a', 'https://x.example/', max_in_flight => 0$$, $$'a', 'https://x.example/', rate_limit => -1$$, $$'a', 'https://x.example/', method => 'GET'$$,
	$$'a', 'https://x.example/', method => NULL$$, $$'a', 'https://x.example/', headers => '[1]'$$, $$'a', 'https://x.example/', headers => '{"Host": "x"}'$$,
	$$'a', 'https://x.example/', headers => NULL$$, $$'a', 'https://x.example/', secret => 'short'$$, $$'a', 'https://x.example/', give_up_after => '-1 day'$$,
	$$'hook', 'https://x.example/'$$]) a;
INSERT INTO public.bad (what, statement) SELECT 'rule', format('SELECT eventmkt.create_rule(%s)', a) FROM unnest(ARRAY[
	$$'a', on_event => 'E', send_to => 'nowhere'$$, $$'r', on_event => 'E'$$, $$'a', on_event => NULL$$, $$'a', on_event => ''$$, $$NULL, on_event => 'E'$$, $$'', on_event => 'E'$$,
	$$repeat('a', 10000), on_event => 'E'$$, $$'a', on_event => repeat('e', 10000)$$, $$'a', on_event => 'E', where_event => '$.a'$$,
	$$'a', on_event => 'E', where_event => '$.a > $x'$$, $$'a', on_event => 'E', where_profile => '$.a + 1'$$, $$'a', on_event => 'E', after => '-1 hour'$$,
	$$'a', on_event => 'E', after => '1000 years'$$, $$'a', on_event => 'E', after => NULL$$, $$'a', on_event => 'E', after => '1 month -1 day'$$,
	$$'a', on_event => 'E', at_least => 0$$, $$'a', on_event => 'E', at_least => NULL$$, $$'a', on_event => 'E', at_least => 1000000$$,
	$$'a', on_event => 'E', at_least => 2, within => '0'$$, $$'a', on_event => 'E', at_least => 2, within => '-1 day'$$,
	$$'a', on_event => 'E', per => ''$$, $$'a', on_event => 'E', per => '$.x'$$, $$'a', on_event => 'E', per => repeat('k', 10000)$$,
	$$'a', on_event => 'E', unless => NULL$$, $$'a', on_event => 'E', unless => ARRAY['X', NULL]$$, $$'a', on_event => 'E', unless => ARRAY['X', 'X']$$,
	$$'a', on_event => 'E', unless => ARRAY[ARRAY['X'], ARRAY['Y']]$$, $$'a', on_event => 'E', unless => array_fill('X'::text, ARRAY[1000])$$,
	$$'a', on_event => 'E', unless_where => '$.a == 1'$$, $$'a', on_event => 'E', look_back => '1 day'$$, $$'a', on_event => 'E', unless => '{X}', look_back => '-1 day'$$,
	$$'a', on_event => 'E', on_repeat => 'maybe'$$, $$'a', on_event => 'E', on_repeat => NULL$$, $$'a', on_event => 'E', reentry => '-1 day'$$,
	$$'a', on_event => 'E', max_lateness => '-1 day'$$, $$'a', on_event => 'E', priority => NULL$$, $$'a', on_event => 'E', steps => '[]'$$, $$'a', on_event => 'E', template => 'x'$$,
	$$'a', on_event => 'E', where_segment => 'nowhere'$$]) a;
INSERT INTO public.bad (what, statement) VALUES ('rule', $$SELECT eventmkt.drop_rule('nope')$$), ('rule', $$SELECT eventmkt.enable_rule(NULL)$$),
	('rule', $$SELECT eventmkt.disable_rule('nope')$$), ('rule', $$SELECT eventmkt.replace_rule('nope', on_event => 'E', send_to => 'none')$$),
	('rule', $$SELECT eventmkt.why_not('u', 'nope')$$), ('rule', $$SELECT eventmkt.why_not(NULL, 'r')$$), ('rule', $$SELECT eventmkt.drop_endpoint('nope')$$);
INSERT INTO public.bad (what, statement) SELECT 'event', format('SELECT eventmkt.%s', a) FROM unnest(ARRAY[
	$$track(NULL, 'E')$$, $$track('', 'E')$$, $$track(repeat('u', 10000), 'E')$$, $$track(NULL, 'E', anonymous_id => '')$$, $$track('u', NULL)$$, $$track('u', '')$$, $$track('u', '*')$$,
	$$track('u', repeat('e', 10000))$$, $$track('u', 'E', '[1]')$$, $$track('u', 'E', '"x"')$$, $$track('u', 'E', 'null')$$,
	$$track('u', 'E', (repeat('[', 100000) || repeat(']', 100000))::jsonb)$$, $$track('u', 'E', (repeat('{"a":', 2000) || '1' || repeat('}', 2000))::jsonb)$$,
	$$track('u', 'E', jsonb_build_object('x', repeat('y', 300000)))$$, $$track('u', 'E', '{}', 'infinity')$$, $$track('u', 'E', '{}', now() + interval '30 days')$$,
	$$track('u', 'E', message_id => repeat('m', 10000))$$, $$track('u', 'E', message_id => '')$$, $$track_many('{}')$$, $$track_many('[1]')$$, $$track_many(NULL)$$,
	$$track_many('[{"user_id": "u"}]')$$, $$track_many('[{"user_id": "u", "event": "E"}, {"event": "E"}]')$$, $$track_many('[{"user_id": "u", "event": "E", "who": 1}]')$$,
	$$track_many('[{"user_id": {}, "event": "E"}]')$$, $$ingest('{"type": "what"}')$$, $$ingest(NULL)$$, $$ingest('1')$$, $$ingest('{"type": "track", "userId": "u"}')$$,
	$$ingest('{"type": "track", "event": "E", "userId": "u", "timestamp": "garbage"}')$$, $$ingest('{"type": "track", "event": "E"}')$$, $$identify(NULL)$$, $$identify('u', '[1]')$$,
	$$identify(repeat('u', 10000))$$, $$identify('')$$]) a;
INSERT INTO public.bad (what, statement) VALUES ('event', $$INSERT INTO eventmkt_data.inbox (user_id, event) VALUES ('u', '')$$),
	('event', $$INSERT INTO eventmkt_data.inbox (user_id, event, properties) VALUES ('u', 'E', '[1]')$$),
	('event', $$INSERT INTO eventmkt_data.inbox (user_id, event) VALUES ('u', 'E'), (NULL, 'E')$$);
INSERT INTO public.bad (what, statement) SELECT 'running', format('SELECT eventmkt.%s', a) FROM unnest(ARRAY[
	$$run_due(0)$$, $$advance_clock('-1 hour')$$, $$advance_clock(NULL)$$, $$advance_clock('1000000 years')$$, $$redeliver(NULL)$$, $$grant_access('postgres', 'king')$$,
	$$make_partitions('-infinity', 'infinity')$$, $$make_partitions('2030-02-01', '2030-01-01')$$, $$redeliver('00000000-0000-7000-8000-000000000000')$$]) a;
CREATE TABLE public.said AS SELECT n, what, statement, state, hinted FROM public.bad, public.refused(statement);
SELECT what, state, count(*) FROM public.said GROUP BY 1, 2 ORDER BY 1, 2;
SELECT what, state, statement AS accepted_or_without_a_hint FROM public.said WHERE hinted IS NOT TRUE ORDER BY n;
SELECT (SELECT count(*) FROM eventmkt_data.event) AS events, (SELECT count(*) FROM eventmkt_data.work) AS work, (SELECT count(*) FROM eventmkt_data.message_key) AS keys,
	(SELECT count(*) FROM eventmkt_data.rule) AS rules, (SELECT count(*) FROM eventmkt_data.endpoint) AS endpoints, (SELECT count(*) FROM eventmkt_data.profile) AS profiles;

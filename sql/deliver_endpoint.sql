-- endpoints: what is refused, and with which code
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
RESET client_min_messages;
\set SHOW_CONTEXT never
CREATE FUNCTION pg_temp.try(stmt text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE hint text; state text; message text;
BEGIN
	EXECUTE stmt;
	RETURN 'ok';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT, state = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
	RETURN state || ' ' || message || CASE WHEN hint <> '' THEN ' (hint)' ELSE '' END;
END $$;
-- URLs: each is judged on its own; the host is never looked up
SELECT u AS url, pg_temp.try(format('SELECT eventmkt.create_endpoint(%L, %L)', 'e' || n, u)) AS answer
  FROM unnest(ARRAY['https://hooks.example.com/a', 'https://hooks.example.com:8443/a?token=1', 'HTTPS://EXAMPLE.COM/',
	'https://8.8.8.8/', 'https://xn--bcher-kva.example/', 'https://[2606:4700::1111]/x',
	'', 'hooks.example.com', 'ftp://example.com/', 'file:///etc/passwd', 'gopher://example.com/', 'http://example.com/',
	'https://', 'https:///x', 'https:/example.com/', 'https://user@example.com/', 'https://user:pass@example.com/',
	'https://x@127.0.0.1/', 'https://example.com#frag', 'https://example.com/#frag', 'https://example.com?x=1',
	'https://example.com/a b', E'https://example.com/\t', E'https://example.com/\r\nX: y', 'https://example.com\@evil.example/',
	'https://%31%32%37.0.0.1/', 'https://bücher.example/', 'https://１２７.0.0.1/', 'https://①②⑦.0.0.1/',
	'https://[fe80::1%25eth0]/', 'https://example.com:22/', 'https://example.com:25/', 'https://example.com:80/',
	'https://example.com:5432/', 'https://example.com:6379/', 'https://example.com:0/', 'https://example.com:99999/',
	'https://example.com:x/', 'https://[::1/', 'https://exa mple.com/', 'https://a,b/', 'javascript:alert(1)']) WITH ORDINALITY AS t (u, n);
SELECT pg_temp.try(format('SELECT eventmkt.create_endpoint(''long'', %L)', 'https://example.com/' || repeat('x', 65536))) AS answer;
-- literal addresses in networks that are closed
SELECT u AS host, pg_temp.try(format('SELECT eventmkt.create_endpoint(%L, %L)', 'b' || n, 'https://' || u || '/')) AS answer
  FROM unnest(ARRAY['127.0.0.1', '127.1', '2130706433', '0x7f000001', '0177.0.0.1', '0', '0.0.0.0', '[::]', '[::1]',
	'[::ffff:127.0.0.1]', '[::ffff:7f00:1]', '[::ffff:8.8.8.8]', '[::127.0.0.1]', 'localhost', 'LOCALHOST.', 'a.localhost',
	'10.1.2.3', '100.64.0.1', '100.127.255.255', '169.254.169.254', '172.16.0.1', '172.31.255.255', '192.0.0.1', '192.0.2.1',
	'192.168.1.1', '198.18.0.1', '198.19.255.255', '198.51.100.1', '203.0.113.1', '224.0.0.1', '240.0.0.1', '255.255.255.255',
	'[fe80::1]', '[fec0::1]', '[fc00::1]', '[fd12::1]', '[64:ff9b::1]', '[64:ff9b:1::1]', '[2002:7f00:1::]', '[2001::1]', '[2001:db8::1]',
	'[3fff::1]', '[5f00::1]', '[100::1]', '[ff02::1]']) WITH ORDINALITY AS t (u, n);
SELECT u AS host, pg_temp.try(format('SELECT eventmkt.create_endpoint(%L, %L)', 'p' || n, 'https://' || u || '/')) AS answer
  FROM unnest(ARRAY['9.255.255.255', '11.0.0.0', '100.63.255.255', '100.128.0.0', '172.15.255.255', '172.32.0.0', '192.0.1.0',
	'198.17.255.255', '198.20.0.0', '223.255.255.255', '126.255.255.255', '128.0.0.0', '[2001:200::1]', '[2003::1]', '[64:ff9b:2::1]'])
	WITH ORDINALITY AS t (u, n);
-- a superuser opens a network, and http
SET eventmkt.allowed_networks = '127.0.0.0/8, ::1, 10.1.0.0/16';
SET eventmkt.allow_plain_http = on;
SELECT u AS url, pg_temp.try(format('SELECT eventmkt.create_endpoint(%L, %L)', 'o' || n, u)) AS answer
  FROM unnest(ARRAY['http://127.0.0.1:40000/', 'http://127.1/', 'http://[::1]:40000/', 'http://[::ffff:127.0.0.1]/', 'http://10.1.255.1/',
	'http://10.2.0.1/', 'http://[::2]/', 'http://localhost:40000/x', 'http://example.com:443/', 'http://example.com:81/']) WITH ORDINALITY AS t (u, n);
-- a parallel worker takes the list over (test/asan sees whether it touches the one that it frees for that)
BEGIN;
SET LOCAL parallel_setup_cost = 0;
SET LOCAL parallel_tuple_cost = 0;
SET LOCAL min_parallel_table_scan_size = 0;
SET LOCAL parallel_leader_participation = off;
SELECT count(*) > 100 AS many, min(current_setting('eventmkt.allowed_networks')) AS list FROM pg_catalog.pg_class;
COMMIT;
SET eventmkt.allowed_networks = '10.0.0.0/33';
SET eventmkt.allowed_networks = 'localhost';
SET eventmkt.allowed_networks = '10.0.0.0/-1';
SET eventmkt.allowed_networks = '0.0.0.0/0';
SELECT pg_temp.try($$SELECT eventmkt.create_endpoint('any4', 'https://192.168.7.7/')$$), pg_temp.try($$SELECT eventmkt.create_endpoint('any6', 'https://[fd00::1]/')$$);
RESET eventmkt.allowed_networks;
RESET eventmkt.allow_plain_http;
-- headers
SELECT h AS headers, pg_temp.try(format('SELECT eventmkt.create_endpoint(%L, %L, headers => %L)', 'h' || n, 'https://example.com/', h)) AS answer
  FROM unnest(ARRAY['{"Authorization": "Bearer abc", "X-Shop": "1"}', '{"X-Empty": ""}', '{"Content-Type": "application/x+json"}',
	'[]', '"x"', '1', 'null', '{"X": 1}', '{"X": null}', '{"X": {"a": "b"}}', '{"": "x"}', '{"a b": "x"}', '{"a:": "x"}', '{"X\r\nY": "x"}',
	'{"X": "a\r\nHost: evil"}', '{"X": "a\u0001b"}', '{"X": "ü"}', '{"Host": "x"}', '{"content-length": "1"}', '{"Transfer-Encoding": "chunked"}',
	'{"Connection": "close"}', '{"Expect": "100-continue"}', '{"webhook-id": "x"}', '{"Webhook-Signature": "x"}', '{"webhook-anything": "x"}'])
	WITH ORDINALITY AS t (h, n);
SELECT pg_temp.try(format('SELECT eventmkt.create_endpoint(%L, %L, headers => %L)', 'hmany', 'https://example.com/',
	(SELECT jsonb_object_agg('X-' || i, 'v') FROM generate_series(1, 17) i))) AS many,
	pg_temp.try(format('SELECT eventmkt.create_endpoint(%L, %L, headers => %L)', 'hlong', 'https://example.com/',
	jsonb_build_object('X', repeat('v', 4096)))) AS long;
-- the other arguments
SELECT a AS argument, pg_temp.try(format('SELECT eventmkt.create_endpoint(%L, %L, %s)', 'a' || n, 'https://example.com/', a)) AS answer
  FROM unnest(ARRAY['method => ''PUT''', 'method => ''GET''', 'method => NULL', 'timeout => ''100 ms''', 'timeout => ''99 ms''', 'timeout => ''5 minutes''',
	'timeout => ''301 seconds''', 'timeout => ''-1 s''', 'timeout => ''1 month''', 'timeout => NULL', 'max_in_flight => 0', 'max_in_flight => 1001',
	'max_in_flight => NULL', 'rate_limit => 0', 'rate_limit => 5', 'schedule => ''{}''', 'schedule => ''{1,2}''', 'schedule => ''{-1}''',
	'schedule => ''{NULL}''', 'schedule => ''{{1,2},{3,4}}''', 'schedule => array_fill(1, ARRAY[51])', 'give_up_after => ''0''',
	'give_up_after => ''2 days''', 'give_up_after => NULL', 'headers => NULL']) WITH ORDINALITY AS t (a, n);
SELECT pg_temp.try($$SELECT eventmkt.create_endpoint(NULL, 'https://example.com/')$$), pg_temp.try($$SELECT eventmkt.create_endpoint('n', NULL)$$),
	pg_temp.try($$SELECT eventmkt.create_endpoint('', 'https://example.com/')$$), pg_temp.try($$SELECT eventmkt.create_endpoint('none', 'https://example.com/')$$),
	pg_temp.try($$SELECT eventmkt.create_endpoint(repeat('n', 64), 'https://example.com/')$$), pg_temp.try($$SELECT eventmkt.create_endpoint(E'a\nb', 'https://example.com/')$$);
SELECT count(*) FROM eventmkt_data.endpoint;

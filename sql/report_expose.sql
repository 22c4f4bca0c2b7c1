-- expose_property(): typed views of events; what does not convert is NULL; names; who may; what a re-created extension does
SET client_min_messages = error;
SET TimeZone = 'America/New_York';
SELECT count(*) > 0 AS init FROM eventmkt.init();
CREATE ROLE regress_expose_marketer;
CREATE ROLE regress_expose_analyst;
CREATE ROLE regress_expose_operator;
SELECT eventmkt.grant_access('regress_expose_marketer', 'marketer'), eventmkt.grant_access('regress_expose_analyst', 'analyst'),
	eventmkt.grant_access('regress_expose_operator', 'operator');
-- every value an app may send, read as every type
CREATE TABLE public.sample (n int, v jsonb);
INSERT INTO public.sample SELECT row_number() OVER (), v::jsonb FROM unnest(ARRAY['1', '-0.50', '3.0', '2.5', '1e3', '2147483648',
	'9223372036854775807', '9223372036854775808', '1e400', '1e-400', '"42"', '" 42 "', '"+1.5e2"', '"1e99999"', '"0x1F"', '"12 EUR"',
	'"NaN"', '"."', '""', '"1,5"', 'true', 'false', '"yes"', '"off"', '"T"', '0', '"2026-02-29"', '"2024-02-29"', '"2026-01-31T23:30:00Z"',
	'"2026-01-31T23:30:15.123456789+02:00"', '"2026-01-31 23:30"', '"2026-01-31T23:30:00-0530"', '"2026-01-31T24:00:00Z"',
	'"2026-01-31T23:30:00 Europe/Berlin"', '"01/02/2026"', '"now"', '"infinity"', '"0000-01-01"', '"9999-12-31T23:59:60Z"', '1769902200',
	'null', '[1]', '{"a": 1}']) v;
SELECT v, eventmkt.property_numeric(p, 'x') AS numeric, eventmkt.property_double(p, 'x') AS double, eventmkt.property_bigint(p, 'x') AS bigint,
	eventmkt.property_integer(p, 'x') AS integer, eventmkt.property_boolean(p, 'x') AS boolean, eventmkt.property_date(p, 'x') AS date,
	eventmkt.property_timestamptz(p, 'x') AS timestamptz
	FROM (SELECT n, v, jsonb_build_object('x', CASE WHEN n > 0 THEN v END) AS p FROM public.sample) s
	WHERE v NOT IN ('1e400', '1e-400') ORDER BY n;
SELECT eventmkt.property_numeric(p, 'x') > 0 AS numeric, eventmkt.property_double(p, 'x') AS double, eventmkt.property_bigint(p, 'x') AS bigint
	FROM (SELECT jsonb_build_object('x', v) AS p FROM public.sample WHERE v IN ('1e400', '1e-400') ORDER BY n) s;
SELECT eventmkt.property_numeric('[1]', 'x'), eventmkt.property_numeric('"x"', 'x'), eventmkt.property_numeric('{"y": 1}', 'x'),
	eventmkt.property_boolean('{"x": 2}', 'x'), eventmkt.property_date('{"x": "2026-01-31T23:30Zx"}', 'x');
-- a view of an event
SELECT eventmkt.create_rule('any', on_event => 'Nothing', send_to => 'none') > 0 AS rule;
SELECT eventmkt.identify('ann', '{}', 'anon-1');
SELECT count(eventmkt.track(u, e, p::jsonb, t)) FROM (VALUES
	('anon-1', 'Order Completed', '{"amount": 59.90, "Coupon \"X\"": "a''b", "items": [1, 2], "secret": "hidden"}', '2024-11-01 10:00Z'::timestamptz),
	('ann', 'Order Completed', '{"amount": "12", "items": null, "at": "2026-10-31"}', '2024-11-02 10:00Z'),
	('bob', 'Order Completed', '{"amount": "a lot", "count": 7}', '2024-11-03 10:00Z'),
	('bob', 'Other', '{"amount": 1000}', '2024-11-03 10:00Z')) v (u, e, p, t);
SET ROLE regress_expose_marketer;
SELECT eventmkt.expose_property('Order Completed', 'amount', 'numeric');
SELECT eventmkt.expose_property('Order Completed', 'Coupon "X"', 'text');
SELECT eventmkt.expose_property('Order Completed', 'items', 'jsonb', comment => 'what was bought');
SELECT eventmkt.expose_property('Order Completed', 'at', 'timestamp with time zone', 'ordered_at');
SELECT eventmkt.expose_property('Order Completed', 'count', 'int');
RESET ROLE;
SET ROLE regress_expose_analyst;
SELECT profile_id, occurred_at, amount, "Coupon ""X""", items, ordered_at, count FROM eventmkt_bi."event_Order Completed" ORDER BY occurred_at;
SELECT sum(amount) FROM eventmkt_bi."event_Order Completed";
SELECT event, property, type, view, column_name, comment FROM eventmkt_bi.exposed_properties;
SELECT eventmkt.expose_property('Order Completed', 'secret', 'text');
SELECT eventmkt.hide_property('Order Completed', 'amount');
RESET ROLE;
SET ROLE regress_expose_operator;
SELECT count(amount) FROM eventmkt_bi."event_Order Completed";
SELECT eventmkt.expose_property('Other', 'amount', 'float8');
SELECT amount FROM eventmkt_bi."event_Other";
RESET ROLE;
SELECT a.attname, format_type(a.atttypid, a.atttypmod), col_description(a.attrelid, a.attnum) FROM pg_attribute a
 WHERE attrelid = 'eventmkt_bi."event_Order Completed"'::regclass AND attnum > 0 ORDER BY attnum;
SELECT obj_description('eventmkt_bi."event_Order Completed"'::regclass, 'pg_class');
-- a function of the reader's own sees no other event
CREATE FUNCTION public.tell(numeric) RETURNS bool LANGUAGE plpgsql COST 0.000001 AS 'BEGIN RAISE NOTICE ''saw %'', $1; RETURN true; END';
SET client_min_messages = notice;
SELECT count(*) FROM eventmkt_bi."event_Order Completed" WHERE public.tell(amount);
SET client_min_messages = error;
-- another type, a comment; what reads the view stands in the way of what takes a column, and not of what adds one
CREATE VIEW public.revenue AS SELECT sum(amount) FROM eventmkt_bi."event_Order Completed";
SELECT eventmkt.expose_property('Order Completed', 'amount', 'numeric', comment => 'gross');
SELECT eventmkt.expose_property('Order Completed', 'secret', 'text');
SELECT eventmkt.expose_property('Order Completed', 'amount', 'double precision');
SELECT eventmkt.hide_property('Order Completed', 'secret');
DROP VIEW public.revenue;
SELECT eventmkt.expose_property('Order Completed', 'amount', 'double precision');
SELECT eventmkt.hide_property('Order Completed', 'secret');
SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'event_Order Completed' ORDER BY ordinal_position;
SELECT eventmkt.hide_property('Other', 'amount');
SELECT to_regclass('eventmkt_bi."event_Other"');
-- names that cannot be
SELECT eventmkt.expose_property('Order Completed', 'profile_id', 'text');
SELECT eventmkt.expose_property('Order Completed', 'profile_id', 'text', column_name => 'items');
SELECT eventmkt.expose_property('Order Completed', 'profile_id', 'text', column_name => 'profile');
SELECT eventmkt.expose_property(repeat('e', 58), 'x', 'text');
SELECT eventmkt.expose_property(repeat('e', 57), 'x', 'text');
SELECT eventmkt.expose_property('Order Completed', repeat('p', 64), 'text');
SELECT length(eventmkt.expose_property('Order Completed', repeat('p', 64), 'text', column_name => repeat('p', 63)));
SELECT eventmkt.expose_property('Order Completed', repeat('p', 513), 'text', column_name => 'p');
SELECT eventmkt.expose_property('Order Completed', 'x', 'money');
SELECT eventmkt.expose_property('Order Completed', 'x', 'numeric(10,2)');
SELECT eventmkt.expose_property('Order Completed', 'x', 'nonsense');
SELECT eventmkt.expose_property('Order Completed', 'x', 'text; DROP TABLE eventmkt_data.event');
SELECT eventmkt.expose_property('Order Completed', E'a\nb', 'text');
SELECT eventmkt.expose_property('', 'x', 'text');
SELECT eventmkt.expose_property(NULL, 'x', 'text');
SELECT eventmkt.expose_property('e', NULL, 'text');
SELECT eventmkt.expose_property('e', 'x', NULL);
SELECT eventmkt.hide_property('Order Completed', 'x');
SELECT eventmkt.expose_property('it''s; "odd" \ %s', 'a''b"\%s', 'text');
SELECT * FROM eventmkt_bi."event_it's; ""odd"" \ %s";
CREATE VIEW eventmkt_bi.event_mine AS SELECT 1 AS one;
SELECT eventmkt.expose_property('mine', 'x', 'text');
-- the extension goes and comes back: init() makes the views again, and readers may read them
DROP EXTENSION eventmkt CASCADE;
SELECT to_regclass('eventmkt_bi."event_Order Completed"');
CREATE EXTENSION eventmkt;
SELECT count(*) > 0 AS init FROM eventmkt.init();
SET ROLE regress_expose_analyst;
SELECT profile_id, amount, profile, ordered_at FROM eventmkt_bi."event_Order Completed" ORDER BY occurred_at;
SELECT count(*) FROM eventmkt_bi."event_it's; ""odd"" \ %s";
RESET ROLE;
SELECT col_description('eventmkt_bi."event_Order Completed"'::regclass, 5);
-- every column of every view is described
SELECT a.attrelid::regclass, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
 WHERE c.relnamespace = 'eventmkt_bi'::regnamespace AND c.relkind = 'v' AND c.relname <> 'event_mine' AND a.attnum > 0 AND NOT attisdropped
	AND col_description(c.oid, a.attnum) IS NULL;
DROP OWNED BY regress_expose_marketer, regress_expose_analyst, regress_expose_operator;
DROP ROLE regress_expose_marketer, regress_expose_analyst, regress_expose_operator;

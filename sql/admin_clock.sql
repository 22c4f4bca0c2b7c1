-- advance_clock(): forward only, never while messages could leave the machine, void in a copy
\set QUIET on
SET client_min_messages = warning;
SELECT count(*) FROM eventmkt.init();
SET client_min_messages = notice;
CREATE FUNCTION public.caught(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE m text; h text;
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS m = MESSAGE_TEXT, h = PG_EXCEPTION_HINT;
	RETURN SQLSTATE || ': ' || m || coalesce(' / ' || nullif(h, ''), '');
END $$;
CREATE FUNCTION public.ahead() RETURNS numeric LANGUAGE sql AS
	'SELECT round(extract(epoch FROM eventmkt.clock() - clock_timestamp()) / 60)';
SELECT public.ahead();
SELECT round(extract(epoch FROM eventmkt.advance_clock('24 hours') - clock_timestamp()) / 60) AS minutes;
SELECT public.ahead();
SELECT eventmkt.advance_clock('1 hour') > now() + interval '24 hours 59 minutes' AS moved;
SELECT public.ahead();
SELECT state, detail FROM eventmkt.health() WHERE "check" = 'clock';
-- a rolled back move never was
BEGIN;
SELECT eventmkt.advance_clock('10 days') IS NOT NULL AS moved;
ROLLBACK;
SELECT public.ahead();
SELECT public.caught($$SELECT eventmkt.advance_clock('-1 second')$$);
SELECT public.caught($$SELECT eventmkt.advance_clock('100 years')$$);
SELECT eventmkt.advance_clock(NULL);
-- endpoints: loopback in its spellings, then one outside
INSERT INTO eventmkt_data.endpoint (name, url, schedule, created_at) VALUES ('a', 'http://127.0.0.1:8080/hook', '{}', '2026-01-01'),
	('b', 'https://localhost/hook', '{}', '2026-01-01'), ('c', 'http://[::1]:1/', '{}', '2026-01-01'),
	('d', 'http://127.8.9.10/', '{}', '2026-01-01');
SELECT public.caught($$SELECT eventmkt.advance_clock('1 hour')$$);
CREATE TABLE public.outside (id int, url text);
INSERT INTO public.outside VALUES (1, 'https://example.com/'), (2, 'http://128.0.0.1/'), (3, 'http://127.0.0.1.example.com/'),
	(4, 'http://localhost.example.com/'), (5, 'http://127.0.0.1@example.com/'), (6, 'http://[::2]/'), (7, 'nonsense'),
	(8, 'http://10.0.0.1/');
DO $$
DECLARE o record;
BEGIN
	FOR o IN SELECT * FROM public.outside ORDER BY id LOOP
		INSERT INTO eventmkt_data.endpoint (name, url, schedule, created_at) VALUES ('out', o.url, '{}', '2026-01-01');
		RAISE NOTICE '%: %', o.id, public.caught($q$SELECT eventmkt.advance_clock('1 hour')$q$);
		DELETE FROM eventmkt_data.endpoint WHERE name = 'out';
	END LOOP;
END $$;
INSERT INTO eventmkt_data.endpoint (name, url, schedule, created_at) VALUES ('out', 'https://example.com/', '{}', '2026-01-01');
SET eventmkt.allow_clock_with_remote_endpoints = on;
SELECT public.caught($$SELECT eventmkt.advance_clock('1 hour')$$);
RESET eventmkt.allow_clock_with_remote_endpoints;
UPDATE eventmkt_data.endpoint SET enabled = false WHERE name = 'out';
SELECT public.caught($$SELECT eventmkt.advance_clock('1 hour')$$);
SELECT public.ahead();
-- what is absurd is refused as such
SELECT public.caught($$SELECT eventmkt.advance_clock('1000000 years')$$);
SELECT public.caught($$SELECT eventmkt.advance_clock('-1000000 years')$$);
-- in a copy the clock is real time and stays so
UPDATE eventmkt_data.setting SET value = '1' WHERE key = 'database_oid';
SELECT public.ahead();
SELECT public.caught($$SELECT eventmkt.advance_clock('1 hour')$$);
SELECT public.ahead();

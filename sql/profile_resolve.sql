-- who an id belongs to, as track() sees it: the cache never says what the alias table does not
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
RESET client_min_messages;
CREATE FUNCTION pg_temp.who(id text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	e bigint := eventmkt.track(id, 'seen');
BEGIN
	RETURN (SELECT profile_id FROM eventmkt_data.event WHERE event_id = e);
END $$;
-- no alias at all, then the first one
SELECT pg_temp.who('a'), pg_temp.who('u');
SELECT eventmkt.alias('a', 'u');
SELECT pg_temp.who('a'), pg_temp.who('u'), pg_temp.who('b');
-- what a transaction did it sees at once; what it takes back is gone
BEGIN;
SELECT eventmkt.alias('b', 'u');
SELECT pg_temp.who('b');
ROLLBACK;
SELECT pg_temp.who('b');
BEGIN;
SAVEPOINT s;
SELECT eventmkt.alias('b', 'u');
SELECT pg_temp.who('b');
ROLLBACK TO s;
SELECT pg_temp.who('b');
COMMIT;
SELECT pg_temp.who('b');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT pg_temp.who('a'), pg_temp.who('b');
SELECT eventmkt.alias('b', 'u');
SELECT pg_temp.who('a'), pg_temp.who('b');
ROLLBACK;
SELECT pg_temp.who('a'), pg_temp.who('b');
-- also what an operator writes by hand
INSERT INTO eventmkt_data.alias VALUES ('b', 'v', '2026-01-01');
SELECT pg_temp.who('b');
DELETE FROM eventmkt_data.alias WHERE alias = 'b';
SELECT pg_temp.who('b');
-- ids are bytes: neither case nor blanks are touched
SELECT eventmkt.alias('Ä x', 'u');
SELECT pg_temp.who('Ä x'), pg_temp.who('ä x'), pg_temp.who('Ä x ');
-- many at once: hits, misses, the same id twice, both kinds of id
SELECT eventmkt.track_many('[{"user_id": "a", "event": "many"}, {"user_id": "new", "event": "many"},
	{"anonymous_id": "a", "event": "many"}, {"user_id": "new", "event": "many"}, {"user_id": "b", "event": "many"},
	{"user_id": "b", "anonymous_id": "a", "event": "many"}]');
SELECT profile_id, anonymous_id, count(*) FROM eventmkt_data.event WHERE name = 'many' GROUP BY 1, 2 ORDER BY 1, 2;
SELECT eventmkt.alias('new', 'u');
SELECT eventmkt.track_many('[{"user_id": "new", "event": "many 2"}, {"user_id": "newer", "event": "many 2"}]');
SELECT profile_id FROM eventmkt_data.event WHERE name = 'many 2' ORDER BY 1;
-- the cache is bounded, and right after it was full
SET eventmkt.fire = off;
SELECT count(eventmkt.track('visitor ' || i, 'x')) FROM generate_series(1, 30000) i;
SELECT sum(total_bytes) < 4 * 1024 * 1024 AS bounded FROM pg_get_backend_memory_contexts() WHERE name = 'eventmkt ids';
SELECT count(eventmkt.track(repeat('long', 125) || i, 'x')) FROM generate_series(1, 8000) i;
SELECT sum(total_bytes) < 4 * 1024 * 1024 AS bounded FROM pg_get_backend_memory_contexts() WHERE name = 'eventmkt ids';
SELECT pg_temp.who('a'), pg_temp.who('new'), pg_temp.who('visitor 1');

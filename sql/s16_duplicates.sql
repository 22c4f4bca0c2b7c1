-- S16: the same message_id; A37: an id reused with another body is never sent under the first id
\set QUIET on
SET client_min_messages = warning;
SELECT count(*) AS init FROM eventmkt.init();
SELECT eventmkt.create_rule('r', on_event => 'A', on_repeat => 'parallel', send_to => 'none') AS rule;
CREATE TABLE public.ids AS SELECT eventmkt.track('u', 'A', '{"n": 1}', message_id => 'm') AS first;
SELECT eventmkt.track('u', 'A', '{"n": 1}', message_id => 'm') = first AS same FROM public.ids;
SELECT eventmkt.track('u', 'A', '{"n": 1.0}', message_id => 'm') = first AS same_number FROM public.ids;
SELECT eventmkt.track('u', 'A', '{"n": 2}', message_id => 'm') = first AS other_content FROM public.ids;
SELECT eventmkt.track('v', 'A', '{"n": 1}', message_id => 'm') = first AS other_user FROM public.ids;
SELECT eventmkt.track(NULL, 'A', '{}', message_id => 'm', anonymous_id => 'a') IS NOT NULL AS anonymous;
SELECT profile_id, properties, conflict_of = (SELECT first FROM public.ids) AS flagged FROM eventmkt_data.event ORDER BY event_id;
-- the same through the batch paths, duplicates within the batch included
SELECT eventmkt.track_many('[{"user_id": "u", "event": "A", "properties": {"n": 1}, "message_id": "m"},
	{"user_id": "w", "event": "A", "message_id": "m1"}, {"user_id": "w", "event": "A", "message_id": "m1"},
	{"user_id": "w", "event": "A", "properties": {"x": 1}, "message_id": "m1"}]') AS stored;
COPY eventmkt_data.inbox (user_id, event, message_id) FROM STDIN;
w	A	m1
w	A	m2
w	A	m2
\.
SELECT profile_id, count(*), count(conflict_of) AS flagged FROM eventmkt_data.event GROUP BY 1 ORDER BY 1;
SELECT eventmkt.run_due() AS rows;
SELECT profile_id, count(*) FROM eventmkt_data.decision GROUP BY 1 ORDER BY 1;
-- a rolled-back message gives its id back
BEGIN; SELECT eventmkt.track('x', 'A', message_id => 'z') IS NULL AS n; ROLLBACK;
SELECT eventmkt.track('x', 'A', '{"other": 1}', message_id => 'z') IS NULL AS n;
SELECT count(conflict_of) AS flagged FROM eventmkt_data.event WHERE profile_id = 'x';
-- and so does a rolled-back subtransaction, whether the id was new or a repeat before
BEGIN;
SAVEPOINT s;
SELECT eventmkt.track('y', 'A', '{"n": 1}', message_id => 'sub') IS NULL AS n;
ROLLBACK TO s;
SELECT eventmkt.track('y', 'A', '{"n": 2}', message_id => 'sub') IS NULL AS n;
SAVEPOINT s;
SELECT eventmkt.track('y', 'A', '{"n": 3}', message_id => 'sub') IS NULL AS n;
ROLLBACK TO s;
SELECT eventmkt.track('y', 'A', '{"n": 2}', message_id => 'sub') IS NULL AS n;
COMMIT;
SELECT properties, conflict_of IS NOT NULL AS flagged FROM eventmkt_data.event WHERE profile_id = 'y';
-- new ids and repeats in turn within one statement: one key an id, and each repeat has the first one's event
CREATE TABLE public.turns AS SELECT i, eventmkt.track('t', 'A', message_id => (i / 3)::text) AS id FROM generate_series(0, 29) i;
SELECT count(*), count(DISTINCT id) AS ids, (SELECT count(*) FROM eventmkt_data.message_key WHERE user_id = 't') AS keys,
	bool_and(id = (SELECT event_id FROM eventmkt_data.message_key k WHERE k.user_id = 't' AND k.message_id = (i / 3)::text)) AS first
	FROM public.turns;
-- with a trigger of somebody else's on the table
CREATE FUNCTION public.pass() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER theirs BEFORE INSERT ON eventmkt_data.message_key FOR EACH ROW EXECUTE FUNCTION public.pass();
SELECT count(DISTINCT eventmkt.track('q', 'A', message_id => (i / 2)::text)) AS ids FROM generate_series(0, 9) i;
DROP TRIGGER theirs ON eventmkt_data.message_key;
-- after the window a key is forgotten
SELECT eventmkt.advance_clock('31 days') IS NOT NULL AS moved;
SELECT eventmkt.maintain();
SELECT count(*) FROM eventmkt_data.message_key;

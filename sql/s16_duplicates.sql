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
-- after the window a key is forgotten
SELECT eventmkt.advance_clock('31 days') IS NOT NULL AS moved;
SELECT eventmkt.maintain();
SELECT count(*) FROM eventmkt_data.message_key;

-- what is remembered of people and tracked segments: an event that cannot change an answer costs no look at the history. That nobody looked
-- is seen by rows that are put there by hand, which nobody is told of.
\set QUIET on
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT count(*) > 0 AS init FROM eventmkt.init();
CREATE FUNCTION public.by_hand(who text, name text, n int) RETURNS void LANGUAGE sql AS $$
	INSERT INTO eventmkt_data.event (event_id, profile_id, name, properties, occurred_at, received_at, depth)
	SELECT nextval('eventmkt_data.event_id_seq'), who, name, '{"k": 1}', eventmkt.clock() - interval '1 hour', eventmkt.clock(), 0 FROM generate_series(1, n)
$$;
CREATE FUNCTION public.in_now(who text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(segment, ', ' ORDER BY segment) FROM eventmkt_bi.members WHERE profile_id = who
$$;
SELECT count(eventmkt.create_segment(name, where_profile, on_event => e, at_least => n, within => '10 days', per => per, unless => unless, unless_within => uw,
	steps => steps, track_membership => true)) FROM (VALUES
	('four', NULL::jsonpath, 'A', 4, NULL, '{}'::text[], NULL::interval, '{}'::text[]),
	('four of a key', NULL, 'B', 4, 'k', '{}', NULL, '{}'),
	('steps', NULL, NULL, 1, NULL, '{}', NULL, '{C,D,E}'),
	('gold', '$.tier == "gold"', 'F', 1, NULL, '{}', NULL, '{}'),
	('quiet', NULL, 'G', 2, NULL, '{G}', '2 days', '{}')) v (name, where_profile, e, n, per, unless, uw, steps);
SELECT eventmkt.create_segment('never', on_event => 'H', at_least => 2, unless => '{Stop}', track_membership => true) > 0 AS made;
SELECT eventmkt.run_due() > 0 AS filled;
\set QUIET off
-- so many more events are wanting
BEGIN;
SELECT eventmkt.track('ann', 'A') > 0 AS tracked, eventmkt.track('ann', 'B', '{"k": 1}') > 0 AS tracked;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT public.by_hand('ann', 'A', 5), public.by_hand('ann', 'B', 5);
SELECT eventmkt.track('ann', 'A') > 0 AS tracked, eventmkt.track('ann', 'B', '{"k": 2}') > 0 AS tracked;
SELECT eventmkt.run_due() > 0 AS ran, public.in_now('ann');
SELECT eventmkt.track('ann', 'A') > 0 AS tracked, eventmkt.run_due() > 0 AS ran, public.in_now('ann');
SELECT eventmkt.run_due() >= 0 AS ran, public.in_now('ann');
SELECT eventmkt.track('ann', 'A', occurred_at => eventmkt.clock() - interval '3 days') > 0 AS late;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT public.in_now('ann');
-- two in one turn
SELECT eventmkt.track('ann', 'B', '{"k": 2}') > 0 AS tracked, eventmkt.track('ann', 'B', '{"k": 2}') > 0 AS tracked;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT public.in_now('ann');
COMMIT;
-- steps of which nothing has happened
BEGIN;
SELECT eventmkt.track('bob', 'C') > 0 AS tracked, eventmkt.run_due() > 0 AS ran;
SELECT eventmkt.run_due() >= 0 AS ran;
SELECT public.by_hand('bob', 'C', 1), public.by_hand('bob', 'D', 1);
UPDATE eventmkt_data.event SET occurred_at = occurred_at - interval '1 day' WHERE profile_id = 'bob' AND name = 'C';
SELECT public.by_hand('bob', 'E', 1);
UPDATE eventmkt_data.event SET occurred_at = occurred_at + interval '1 minute' WHERE profile_id = 'bob' AND name = 'E';
SELECT eventmkt.track('bob', 'C') > 0 AS tracked, eventmkt.track('bob', 'D') > 0 AS tracked;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT public.in_now('bob');
SELECT eventmkt.track('bob', 'E') > 0 AS tracked;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT public.in_now('bob');
COMMIT;
-- traits that do not fit, until they do; an absence that is broken, until time mends it
BEGIN;
SELECT eventmkt.identify('cid', '{"tier": "tin"}');
SELECT eventmkt.track('cid', 'F') > 0 AS tracked, eventmkt.track('cid', 'G') > 0 AS tracked, eventmkt.track('cid', 'G') > 0 AS tracked;
SELECT eventmkt.run_due() > 0 AS ran;
UPDATE eventmkt_data.profile SET traits = '{"tier": "gold"}' WHERE profile_id = 'cid';
DELETE FROM eventmkt_data.event WHERE profile_id = 'cid' AND name = 'G' AND event_id = (SELECT max(event_id) FROM eventmkt_data.event WHERE profile_id = 'cid');
UPDATE eventmkt_data.event SET occurred_at = occurred_at - interval '3 days' WHERE profile_id = 'cid' AND name = 'G';
SELECT public.by_hand('cid', 'G', 1);
UPDATE eventmkt_data.event SET occurred_at = occurred_at - interval '3 days' WHERE profile_id = 'cid' AND name = 'G';
SELECT eventmkt.track('cid', 'F') > 0 AS tracked, eventmkt.track('cid', 'G', occurred_at => eventmkt.clock() - interval '4 days') > 0 AS tracked;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT public.in_now('cid');
SELECT eventmkt.identify('cid', '{"tier": "gold", "age": 3}'), eventmkt.advance_clock('2 days 1 minute') > '2000-01-01' AS moved;
UPDATE eventmkt_data.profile SET traits = '{"tier": "tin"}' WHERE profile_id = 'cid';
SELECT eventmkt.identify('cid', '{"tier": "gold"}');
SELECT eventmkt.run_due() > 0 AS ran;
SELECT public.in_now('cid');
COMMIT;
-- for ever
BEGIN;
SELECT eventmkt.track('dan', 'Stop') > 0 AS tracked, eventmkt.track('dan', 'H') > 0 AS tracked;
SELECT eventmkt.run_due() > 0 AS ran;
DELETE FROM eventmkt_data.event WHERE profile_id = 'dan' AND name = 'Stop';
SELECT eventmkt.track('dan', 'H') > 0 AS tracked;
SELECT eventmkt.track('dan', 'H') > 0 AS tracked;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT public.in_now('dan');
-- a definition that is changed has everybody asked
SELECT eventmkt.replace_segment('never', on_event => 'H', at_least => 2) > 0 AS changed;
SELECT eventmkt.track('dan', 'H') > 0 AS tracked;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT public.in_now('dan');
COMMIT;
-- what is undone is forgotten with what was stored
BEGIN;
SELECT eventmkt.track('eve', 'A') > 0, eventmkt.track('eve', 'A') > 0, eventmkt.track('eve', 'A') > 0, eventmkt.track('eve', 'A') > 0 AS tracked;
SAVEPOINT before;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT public.in_now('eve');
ROLLBACK TO before;
SELECT public.in_now('eve');
SELECT eventmkt.track('eve', 'A') > 0 AS tracked;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT public.in_now('eve');
-- erased: nothing is known of whoever comes by that name again
SELECT count(*) > 0 AS erased FROM eventmkt.erase('eve');
SELECT public.in_now('eve');
SELECT eventmkt.unerase('eve');
SELECT eventmkt.track('eve', 'A') > 0 AS tracked;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT public.in_now('eve');
COMMIT;
-- merged, and parted again
BEGIN;
SELECT eventmkt.track('fay', 'A') > 0, eventmkt.track('fay', 'A') > 0, eventmkt.track(NULL, 'A', anonymous_id => 'tab') > 0, eventmkt.track(NULL, 'A', anonymous_id => 'tab') > 0 AS tracked;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT eventmkt.identify('fay', '{}', 'tab');
SELECT eventmkt.run_due() > 0 AS ran;
SELECT public.in_now('fay'), public.in_now('tab');
SELECT eventmkt.undo_merge(merge_id) FROM eventmkt_data.merge_log;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT public.in_now('fay'), public.in_now('tab');
SELECT eventmkt.track(NULL, 'A', anonymous_id => 'tab') > 0, eventmkt.track(NULL, 'A', anonymous_id => 'tab') > 0 AS tracked;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT public.in_now('fay'), public.in_now('tab');
COMMIT;
-- no memory, no marks: the tables are read
ALTER SYSTEM SET eventmkt.segment_memory = 0;
SELECT pg_reload_conf();
\c -
SELECT current_setting('eventmkt.segment_memory');
BEGIN;
SELECT eventmkt.track('gil', 'A') > 0 AS tracked;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT public.by_hand('gil', 'A', 5);
SELECT eventmkt.track('gil', 'A') > 0 AS tracked;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT public.in_now('gil');
COMMIT;
ALTER SYSTEM RESET eventmkt.segment_memory;
SELECT pg_reload_conf();

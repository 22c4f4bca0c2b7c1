-- adopt(): what becomes of what waited in a copy, by policy; health() before and after
\set QUIET on
SET client_min_messages = warning;
SELECT count(*) FROM eventmkt.init();
INSERT INTO eventmkt_data.endpoint (name, url, schedule, created_at) VALUES ('out', 'http://127.0.0.1:1/', '{5}', '2026-01-01');
SELECT eventmkt.create_rule('soon', on_event => 'Seen', after => '1 day') IS NOT NULL AS made;
-- one run overdue, one due tomorrow; deliveries in each live state and a settled one; one event unseen
CREATE PROCEDURE public.fill() LANGUAGE sql AS $$
	DELETE FROM eventmkt_data.work; DELETE FROM eventmkt_data.pending_trigger; DELETE FROM eventmkt_data.delivery;
	DELETE FROM eventmkt_data.decision;
	INSERT INTO eventmkt_data.pending_trigger (run_id, node, rule_id, rule_version, profile_id, key, slot, state, started_at,
		event_id, event_name, event_at, last_at, properties, due_at, wake_at, received_at, created_at, depth)
	SELECT i, 0, r.rule_id, r.version, 'p' || i, '', 0, 'waiting', now(), i, 'Seen', now(), now(),
		'{}', now() + w, now() + w, now(), now(), 0
	  FROM eventmkt_data.rule r, (VALUES (1, interval '-1 hour'), (2, interval '1 day')) v (i, w);
	INSERT INTO eventmkt_data.delivery (id, node, run_id, rule_id, rule, rule_version, profile_id, key, endpoint_id, status,
		next_attempt_at, schedule, body, event_id, started_at, received_at, run_created_at, due_at, created_at, depth)
	SELECT gen_random_uuid(), 0, 10 + i, r.rule_id, r.name, r.version, 'd' || i, '', 1, s, now(), '{5}', '{}', i, now(), now(),
		now(), now(), now() - interval '1 minute', 0
	  FROM eventmkt_data.rule r, unnest('{queued,retrying,in_flight,delivered,dead,cancelled}'::text[]) WITH ORDINALITY u (s, i);
	INSERT INTO eventmkt_data.work (node, kind, event_id, profile_id, occurred_at, rules) SELECT 0, 'e', 99, 'w', now(), array[rule_id] FROM eventmkt_data.rule;
	UPDATE eventmkt_data.setting SET value = '1' WHERE key = 'system_identifier';
$$;
CREATE VIEW public.what AS
	SELECT 'run ' || profile_id AS what, state AS how FROM eventmkt_data.pending_trigger
	UNION ALL SELECT 'delivery ' || profile_id, status FROM eventmkt_data.delivery
	UNION ALL SELECT 'work', count(*)::text FROM eventmkt_data.work
	UNION ALL SELECT 'decision ' || profile_id, outcome || ' ' || reason FROM eventmkt_data.decision;
CALL public.fill();
SELECT "check", state, detail FROM eventmkt.health() WHERE "check" IN ('paused', 'clock');
SELECT state FROM eventmkt.health() WHERE "check" = 'instance';
SELECT eventmkt.adopt('perhaps');
\echo :SQLSTATE
SELECT eventmkt.adopt('send');
SELECT "check", state, detail FROM eventmkt.health() WHERE "check" = 'paused';
SELECT * FROM public.what ORDER BY what COLLATE "C";
CALL public.fill();
SELECT eventmkt.adopt('expire');
SELECT * FROM public.what ORDER BY what COLLATE "C";
CALL public.fill();
SELECT eventmkt.adopt('discard');
SELECT * FROM public.what ORDER BY what COLLATE "C";
-- events that no worker has seen: what they start and is due was for the original to send, what is due later goes on
SELECT eventmkt.create_rule('now', on_event => 'Now') IS NOT NULL AS made;
CALL public.fill();
DELETE FROM eventmkt_data.work; DELETE FROM eventmkt_data.pending_trigger; DELETE FROM eventmkt_data.delivery;
CREATE FUNCTION public.no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not this one'; END $$;
CREATE TRIGGER no BEFORE INSERT ON eventmkt_data.pending_trigger FOR EACH ROW WHEN (NEW.profile_id = 'n0') EXECUTE FUNCTION public.no();
SELECT count(eventmkt.track(u, e)) FROM (VALUES ('n0', 'Seen'), ('n1', 'Now'), ('n2', 'Seen'), ('n3', 'Now')) v (u, e);
SELECT count(*) FROM eventmkt_data.work;
BEGIN;
UPDATE eventmkt_data.setting SET value = '1' WHERE key = 'data_version';
SELECT eventmkt.adopt('expire');
ROLLBACK;
SELECT eventmkt.adopt('expire');
SELECT * FROM public.what ORDER BY what COLLATE "C";
SELECT eventmkt.run_due() AS rows;
SELECT count(*) FROM eventmkt_data.delivery;
DROP TRIGGER no ON eventmkt_data.pending_trigger;
DELETE FROM eventmkt_data.rule WHERE name = 'now';
-- at home nothing that waits is touched
CALL public.fill();
SELECT eventmkt.adopt('send');
SET client_min_messages = notice;
SELECT eventmkt.adopt('discard');
SELECT count(*) FROM eventmkt_data.pending_trigger;
-- a timeline that changed without a name
UPDATE eventmkt_data.setting SET value = '77' WHERE key = 'timeline';
SELECT state, detail ~ '^timeline changed: 1, was 77$' AS said FROM eventmkt.health() WHERE "check" = 'instance';
SELECT eventmkt.adopt('send');
SELECT state FROM eventmkt.health() WHERE "check" = 'instance';
-- other things health() says
UPDATE eventmkt_data.rule SET enabled = false, disabled_reason = 'it failed';
UPDATE eventmkt_data.endpoint SET enabled = false, disabled_reason = '410';
INSERT INTO eventmkt_data.event (event_id, profile_id, name, properties, occurred_at, received_at, depth)
	VALUES (1, 'old', 'Seen', '{}', '2001-01-01', '2001-01-01', 0);
UPDATE eventmkt_data.delivery SET settled_at = now() WHERE status = 'dead';
-- partitions reach to the end of a week
SELECT "check", state, regexp_replace(detail, '(5[6-9]|6[0-2]) days', '8 weeks') AS detail, hint IS NOT NULL AS hint FROM eventmkt.health()
 WHERE "check" IN ('dead letters', 'endpoint out', 'rule soon', 'partitions', 'work', 'due') ORDER BY 1;

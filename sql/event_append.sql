-- how events and work get into their tables: routed to partitions; and what others hang on those tables is heeded
SET client_min_messages = warning;
SELECT count(*) > 0 AS made FROM eventmkt.init();
SELECT eventmkt.create_rule('any', 'Seen', send_to => 'none') > 0 AS made;

-- one batch over several partitions, the default one too, in any order
SELECT eventmkt.track_many((SELECT jsonb_agg(jsonb_build_object('user_id', 'u' || i, 'event', 'Seen', 'properties', '{"n": 1}'::jsonb,
	'occurred_at', eventmkt.clock() - (i % 3) * interval '7 days' - (i % 2) * interval '3 years')) FROM generate_series(1, 2500) i));
SELECT count(*), count(DISTINCT e.event_id) AS ids, count(DISTINCT e.tableoid) >= 3 AS several,
	count(*) FILTER (WHERE tableoid = 'eventmkt_data.event_default'::regclass) AS "default" FROM eventmkt_data.event e;
SELECT count(*), count(DISTINCT event_id), min(rules), max(rules) = min(rules) AS same FROM eventmkt_data.work;
-- the indexes know them
SET enable_seqscan = off;
SELECT count(*) FROM eventmkt_data.event WHERE profile_id = 'u7';
RESET enable_seqscan;
TRUNCATE eventmkt_data.event, eventmkt_data.work;

-- a subtransaction takes its rows with it; the next statement of the same transaction sees them
BEGIN;
SELECT eventmkt.track('u1', 'Seen') > 0 AS tracked;
SAVEPOINT s;
SELECT eventmkt.track('u2', 'Seen') > 0 AS tracked;
SELECT count(*) FROM eventmkt_data.event;
ROLLBACK TO s;
COMMIT;
SELECT profile_id FROM eventmkt_data.event;
SELECT profile_id FROM eventmkt_data.work;

-- nothing is written in a read-only transaction
BEGIN READ ONLY;
SELECT eventmkt.track('u1', 'Seen');
ROLLBACK;

-- a check that somebody adds holds for one row and for many
\set VERBOSITY sqlstate
ALTER TABLE eventmkt_data.event ADD CONSTRAINT no_x CHECK (profile_id <> 'x');
SELECT eventmkt.track('x', 'Seen');
SELECT eventmkt.track_many('[{"user_id": "y", "event": "Seen"}, {"user_id": "x", "event": "Seen"}]');
ALTER TABLE eventmkt_data.event DROP CONSTRAINT no_x;
\set VERBOSITY default

-- a trigger fires, be it on the table or on one partition, once a row; so does one on work
CREATE TABLE heard (what text);
GRANT INSERT ON heard TO PUBLIC;
CREATE FUNCTION hear() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.heard VALUES (TG_ARGV[0]); RETURN NEW; END';
CREATE TRIGGER hear AFTER INSERT ON eventmkt_data.event FOR EACH ROW EXECUTE FUNCTION hear('event');
SELECT eventmkt.track('u3', 'Seen') > 0 AS tracked;
SELECT eventmkt.track_many('[{"user_id": "u4", "event": "Seen"}, {"user_id": "u5", "event": "Seen"}]');
DROP TRIGGER hear ON eventmkt_data.event;
CREATE TRIGGER hear AFTER INSERT ON eventmkt_data.event FOR EACH STATEMENT EXECUTE FUNCTION hear('statement');
SELECT eventmkt.track('u3', 'Seen') > 0 AS tracked;
DROP TRIGGER hear ON eventmkt_data.event;
CREATE TRIGGER hear AFTER INSERT ON eventmkt_data.event_default FOR EACH ROW EXECUTE FUNCTION hear('partition');
SELECT eventmkt.track_many('[{"user_id": "u6", "event": "Seen"}, {"user_id": "u6", "event": "Seen", "occurred_at": "2001-01-01Z"}]');
DROP TRIGGER hear ON eventmkt_data.event_default;
CREATE TRIGGER hear AFTER INSERT ON eventmkt_data.work FOR EACH ROW EXECUTE FUNCTION hear('work');
SELECT eventmkt.track('u7', 'Seen') > 0 AS tracked;
SELECT eventmkt.track_many('[{"user_id": "u8", "event": "Seen"}, {"user_id": "u9", "event": "Seen"}]');
DROP TRIGGER hear ON eventmkt_data.work;
SELECT what, count(*) FROM heard GROUP BY what ORDER BY what;
SELECT profile_id, count(*) FROM eventmkt_data.event WHERE profile_id ~ '^u[3-9]' GROUP BY 1 ORDER BY 1;
SELECT profile_id, count(*) FROM eventmkt_data.work WHERE profile_id ~ '^u[3-9]' GROUP BY 1 ORDER BY 1;

-- a column that somebody adds gets its default
ALTER TABLE eventmkt_data.event ADD COLUMN source text DEFAULT 'app';
SELECT eventmkt.track('u10', 'Seen') > 0 AS tracked;
SELECT eventmkt.track_many('[{"user_id": "u10", "event": "Seen"}, {"user_id": "u10", "event": "Seen"}]');
SELECT source, count(*) FROM eventmkt_data.event WHERE profile_id = 'u10' GROUP BY 1;
ALTER TABLE eventmkt_data.event DROP COLUMN source;
SELECT eventmkt.track('u10', 'Seen') > 0 AS tracked;
SELECT count(*) FROM eventmkt_data.event WHERE profile_id = 'u10';

-- decisions
SELECT eventmkt.run_due(100) > 0 AS worked;
ALTER TABLE eventmkt_data.decision ADD COLUMN extra int DEFAULT 7;
SELECT eventmkt.track('u11', 'Seen') > 0 AS tracked;
SELECT eventmkt.run_due(100) > 0 AS worked;
SELECT outcome, extra, count(DISTINCT decision_id) FROM eventmkt_data.decision GROUP BY 1, 2 ORDER BY 2, 1;

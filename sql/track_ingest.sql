-- ingest(): messages as Segment's client libraries send them
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
RESET client_min_messages;
SET timezone = 'America/New_York';
SET datestyle = 'SQL, DMY';
CREATE FUNCTION pg_temp.new_events() RETURNS TABLE (profile_id text, anonymous_id text, name text, properties jsonb, message_id text)
LANGUAGE sql AS $$
	WITH gone AS (DELETE FROM eventmkt_data.event RETURNING *)
	SELECT profile_id, anonymous_id, name, properties, message_id FROM gone ORDER BY event_id $$;
-- track: returns the event id; the first one for a repeat
SELECT eventmkt.ingest('{"type": "track", "userId": "u", "anonymousId": "a", "event": "Order Completed", "properties": {"total": 9.5},
	"messageId": "m1", "context": {"ip": "10.0.0.1"}, "integrations": {"All": true}}') AS first \gset
SELECT event_id = :first AS same, profile_id, anonymous_id, name, properties, message_id FROM eventmkt_data.event;
SELECT eventmkt.ingest('{"type": "track", "userId": "u", "anonymousId": "a", "event": "Order Completed", "properties": {"total": 9.50},
	"messageId": "m1", "context": {"ip": "10.0.0.2"}}') = :first AS same;
SELECT eventmkt.ingest('{"type": "track", "userId": "u", "event": "Order Completed", "properties": {"total": 10}, "messageId": "m1"}') = :first AS same;
SELECT properties, conflict_of = :first AS conflict FROM eventmkt_data.event ORDER BY event_id;
SELECT count(*) FROM pg_temp.new_events();
-- ids may be numbers, empty or null ones are none
SELECT eventmkt.ingest('{"type": "track", "userId": 42, "anonymousId": null, "event": "X"}') > 0 AS ok,
	eventmkt.ingest('{"type": "track", "userId": "", "anonymousId": "a", "event": "X", "properties": null}') > 0 AS ok;
-- page and screen
SELECT eventmkt.ingest('{"type": "page", "userId": "u", "name": "Pricing", "category": "Docs", "properties": {"url": "/p", "name": "old"}}') > 0 AS ok,
	eventmkt.ingest('{"type": "page", "userId": "u"}') > 0 AS ok,
	eventmkt.ingest('{"type": "screen", "anonymousId": "a", "name": "Home"}') > 0 AS ok;
SELECT * FROM pg_temp.new_events();
-- identify, alias and group return 0
SELECT eventmkt.ingest('{"type": "identify", "userId": "u", "anonymousId": "a", "traits": {"name": "Ann"}, "context": {"traits": {"x": 1}}}') AS identify,
	eventmkt.ingest('{"type": "identify", "anonymousId": "b", "traits": {"name": "?"}}') AS anonymous,
	eventmkt.ingest('{"type": "identify", "userId": "u"}') AS bare,
	eventmkt.ingest('{"type": "alias", "previousId": "b", "userId": "u"}') AS alias,
	eventmkt.ingest('{"type": "group", "userId": "u", "groupId": 7, "traits": {"plan": "pro"}}') AS group;
SELECT profile_id, traits FROM eventmkt_data.profile;
SELECT alias, profile_id FROM eventmkt_data.alias ORDER BY 1;
SELECT profile_id, name, properties FROM pg_temp.new_events();
-- the last group counts
SELECT eventmkt.ingest('{"type": "group", "userId": "u", "groupId": "acme"}');
SELECT traits FROM eventmkt_data.profile;
SELECT count(*) FROM pg_temp.new_events();

-- a batch: the number stored; who is who holds for all of it
SELECT eventmkt.ingest('{"batch": [
	{"type": "page", "anonymousId": "c", "name": "Home", "messageId": "p1"},
	{"type": "track", "anonymousId": "c", "event": "Product Added", "properties": {"sku": 1}, "messageId": "t1"},
	{"type": "identify", "userId": "v", "anonymousId": "c", "traits": {"name": "Bob"}},
	{"type": "track", "userId": "v", "event": "Order Completed", "messageId": "t2"}], "sentAt": "2026-01-01T00:00:00Z"}');
SELECT * FROM pg_temp.new_events();
-- the client tries again: nothing is stored twice
SELECT eventmkt.ingest('{"type": "batch", "batch": [
	{"type": "track", "anonymousId": "c", "event": "Product Added", "properties": {"sku": 1}, "messageId": "t1"},
	{"type": "track", "userId": "v", "event": "Order Completed", "messageId": "t2"},
	{"type": "track", "userId": "v", "event": "New", "messageId": "t3"}]}');
SELECT name, message_id FROM pg_temp.new_events();
-- an array is a batch; an empty one is none
SELECT eventmkt.ingest('[{"type": "track", "userId": "v", "event": "One"}, {"type": "track", "userId": "v", "event": "Two"}]'),
	eventmkt.ingest('[]'), eventmkt.ingest('{"batch": []}');
SELECT name FROM pg_temp.new_events();

-- S9: time. What the sender's clock says is corrected by sentAt; zones and settings of the session do not matter
CREATE FUNCTION pg_temp.occurred(message jsonb, sent_at jsonb = NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	whole jsonb := message || '{"type": "track", "userId": "t", "event": "T"}';
	e eventmkt_data.event;
BEGIN
	PERFORM eventmkt.ingest(CASE WHEN sent_at IS NULL THEN whole ELSE jsonb_build_object('batch', jsonb_build_array(whole), 'sentAt', sent_at) END);
	DELETE FROM eventmkt_data.event RETURNING * INTO e;
	RETURN CASE WHEN abs(extract(epoch FROM e.received_at - e.occurred_at)) < 3600 * 24
		THEN 'now - ' || round(extract(epoch FROM e.received_at - e.occurred_at)) || ' s'
		ELSE to_char(e.occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') END;
END $$;
SELECT t AS timestamp, pg_temp.occurred(jsonb_build_object('timestamp', t)) FROM unnest(ARRAY['2024-02-29T12:34:56.789Z', '2024-02-29T12:34:56Z',
	'2024-02-29T12:34:56.1234567+02:00', '2024-02-29T12:34:56-0530', '2024-02-29T12:34:56+09', '2024-02-29 12:34', '2024-02-29',
	'2024-12-31T23:59:60Z', '1970-01-01T00:00:00Z']) t;
SELECT pg_temp.occurred('{}') AS none, pg_temp.occurred('{"timestamp": null}') AS null,
	pg_temp.occurred('{"timestamp": 1709210096789}') AS milliseconds;
SELECT pg_temp.occurred('{"timestamp": "2024-01-01T00:00:00Z", "sentAt": "2024-01-01T00:10:00Z"}') AS ten_minutes,
	pg_temp.occurred('{"timestamp": "2024-01-01T00:00:00Z"}', '"2024-01-01T00:10:00Z"') AS of_the_batch,
	pg_temp.occurred('{"timestamp": "2024-01-01T00:00:00Z", "sentAt": "2024-01-01T00:00:05Z"}', '"2024-01-01T00:10:00Z"') AS own_wins,
	pg_temp.occurred('{"timestamp": "2099-01-01T00:00:00Z", "sentAt": "2099-01-01T00:00:05Z"}') AS clock_far_ahead,
	pg_temp.occurred('{"timestamp": "2024-01-01T00:00:07Z", "sentAt": "2024-01-01T00:00:00Z"}') AS after_sending,
	pg_temp.occurred('{"originalTimestamp": "2024-01-01T00:00:00Z", "timestamp": "2020-01-01", "sentAt": "2024-01-01T00:00:03Z"}') AS original,
	pg_temp.occurred('{"originalTimestamp": "2024-01-01T00:00:00Z", "timestamp": "2020-01-01", "sentAt": "2024-01-01T00:00:03Z", "receivedAt": "2024-01-01"}') AS corrected_before;
-- the time of arrival does not make a repeat another message
SELECT eventmkt.ingest('{"type": "track", "userId": "t", "event": "T", "messageId": "skewed", "timestamp": "2024-01-01T00:00:00Z", "sentAt": "2024-01-01T00:10:00Z"}')
	= eventmkt.ingest('{"type": "track", "userId": "t", "event": "T", "messageId": "skewed", "timestamp": "2024-01-01T00:00:00Z", "sentAt": "2024-01-01T00:11:00Z"}') AS same;
SELECT count(*) FROM pg_temp.new_events();

-- errors, and of a batch the position; all or nothing
CREATE FUNCTION pg_temp.refused(message text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	d text;
BEGIN
	PERFORM eventmkt.ingest(message::jsonb);
	RETURN 'taken';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL;
	RETURN SQLSTATE || ' ' || SQLERRM || CASE WHEN d <> '' THEN ' | ' || d ELSE '' END;
END $$;
SELECT m AS message, pg_temp.refused(m) FROM unnest(ARRAY['null', '1', '"x"', '{}', '{"type": null}', '{"type": "Track"}', '{"type": ["track"]}',
	'{"type": "track", "event": "X"}', '{"type": "track", "userId": true, "event": "X"}', '{"type": "track", "userId": {"id": 1}, "event": "X"}',
	'{"type": "track", "userId": "u"}', '{"type": "track", "userId": "u", "event": ""}', '{"type": "track", "userId": "u", "event": "*"}',
	'{"type": "track", "userId": "u", "event": "X", "properties": [1]}', '{"type": "track", "userId": "u", "event": "X", "properties": "{}"}',
	'{"type": "identify"}', '{"type": "identify", "userId": "u", "traits": [1]}', '{"type": "alias", "userId": "u"}',
	'{"type": "alias", "previousId": "u"}', '{"type": "group", "userId": "u"}', '{"type": "group", "groupId": "g"}', '{"type": "page"}',
	'{"type": "batch"}', '{"batch": {}}', '{"batch": [1]}', '{"batch": [], "sentAt": "soon"}', '{"batch": [[]]}', '{"batch": [{"batch": []}]}']) m;
SELECT t AS time, pg_temp.refused(jsonb_build_object('type', 'track', 'userId', 'u', 'event', 'X', 'timestamp', t)::text) FROM unnest(ARRAY[
	'', 'now', 'yesterday', 'infinity', '2024-02-30', '2023-02-29T00:00:00Z', '2024-13-01', '2024-1-1', '24-01-01', '0000-01-01', '01/02/2024',
	'2024-01-01T', '2024-01-01T24:00:00Z', '2024-01-01T12:60Z', '2024-01-01T12:00:00X', '2024-01-01T12:00:00+', '2024-01-01T12:00:00+2',
	'2024-01-01T12:00:00 Europe/Berlin', '2024-01-01T12:00:00Z ', '1709210096789', '2999-01-01T00:00:00Z']) t;
SELECT pg_temp.refused('{"type": "track", "userId": "u", "event": "X", "timestamp": -1}'), pg_temp.refused('{"type": "track", "userId": "u", "event": "X", "timestamp": 1e300}'),
	pg_temp.refused('{"type": "track", "userId": "u", "event": "X", "timestamp": {}}');
SELECT pg_temp.refused('{"batch": [{"type": "identify", "userId": "n1", "traits": {"a": 1}}, {"type": "track", "userId": "n1", "event": "X"}, {"type": "track", "userId": "n1"}]}');
SELECT pg_temp.refused(format('{"batch": [{"type": "track", "userId": "n1", "event": "X"}, {"type": "track", "userId": "%s", "event": "X"}]}', repeat('x', 513)));
SELECT pg_temp.refused(format('{"batch": [{"type": "track", "userId": "n1", "event": "X"}, {"type": "identify", "userId": "%s"}]}', repeat('x', 513)));
SELECT eventmkt.ingest(jsonb_build_array('{"type": "track", "userId": "n1", "event": "X"}'::jsonb,
	jsonb_build_object('type', 'identify', 'userId', 'n1', 'traits', jsonb_build_object('a', repeat('x', 262144)))));
SELECT pg_temp.refused((SELECT jsonb_agg('{"type": "track", "userId": "n1", "event": "X"}'::jsonb)::text FROM generate_series(1, 100001)));
SELECT eventmkt.ingest(NULL);
-- a failed batch does not put its position into later errors
SELECT eventmkt.track('u', '');
SELECT count(*) FROM eventmkt_data.event WHERE profile_id = 'n1';
SELECT count(*) FROM eventmkt_data.profile WHERE profile_id = 'n1';
-- a large batch
SELECT eventmkt.ingest((SELECT jsonb_agg(jsonb_build_object('type', CASE WHEN i % 10 = 0 THEN 'identify' ELSE 'track' END, 'userId', 'l' || i % 500,
	'event', 'X', 'messageId', 'l' || i, 'traits', '{"a": 1}'::jsonb)) FROM generate_series(1, 20000) i));
SELECT name, count(*) FROM pg_temp.new_events() GROUP BY 1 ORDER BY 1;

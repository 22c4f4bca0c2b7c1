-- what spine 1 refuses at the call, each with a code of class 22, 42 or 54 and nothing half stored
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
RESET client_min_messages;
\set VERBOSITY sqlstate
-- no event name, with a message id
SELECT eventmkt.track('u', NULL, message_id => 'm');
SELECT eventmkt.track_many('[{"user_id": "u", "message_id": "m"}]');
INSERT INTO eventmkt_data.inbox (user_id, message_id) VALUES ('u', 'm');
SELECT eventmkt.track(NULL, NULL, NULL, NULL, NULL, NULL);
SELECT eventmkt.track(NULL, 'e', message_id => 'm');
-- times that are none
SELECT eventmkt.track('u', 'e', occurred_at => '-infinity');
SELECT eventmkt.track('u', 'e', occurred_at => 'infinity');
SELECT eventmkt.track_many('[{"user_id": "u", "event": "e", "occurred_at": "-infinity"}]');
INSERT INTO eventmkt_data.inbox (user_id, event, occurred_at) VALUES ('u', 'e', '-infinity');
-- partitions whose names could not say what they hold
SELECT eventmkt.make_partitions('10000-01-02', '10000-01-05');
SELECT eventmkt.make_partitions('0044-03-15 BC', '0044-03-16 BC');
SELECT eventmkt.make_partitions('294276-12-25', '294276-12-31');
SELECT count(*) FROM eventmkt_data.event;
SELECT count(*) FROM eventmkt_data.message_key;

-- track: spine 1
CREATE FUNCTION eventmkt.track(user_id text, event text, properties jsonb DEFAULT '{}', occurred_at timestamptz DEFAULT NULL,
		message_id text DEFAULT NULL, anonymous_id text DEFAULT NULL) RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_track_track';
COMMENT ON FUNCTION eventmkt.track(text, text, jsonb, timestamptz, text, text) IS
	'records that something happened to a user; returns the event id, the first one again for a repeated message_id';

CREATE FUNCTION eventmkt.track_many(messages jsonb) RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_track_track_many';
COMMENT ON FUNCTION eventmkt.track_many(jsonb) IS
	'records an array of messages, all or nothing; returns the number stored, repeats not counted';

CREATE FUNCTION eventmkt.inbox_gather() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'emk_track_inbox_gather';
COMMENT ON FUNCTION eventmkt.inbox_gather() IS 'row trigger of eventmkt_data.inbox';
CREATE FUNCTION eventmkt.inbox_flush() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'emk_track_inbox_flush';
COMMENT ON FUNCTION eventmkt.inbox_flush() IS 'statement trigger of eventmkt_data.inbox';
REVOKE ALL ON FUNCTION eventmkt.track(text, text, jsonb, timestamptz, text, text), eventmkt.track_many(jsonb),
	eventmkt.inbox_gather(), eventmkt.inbox_flush() FROM PUBLIC;

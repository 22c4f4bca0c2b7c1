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

-- track: who is who, and messages in Segment's form
CREATE FUNCTION eventmkt.identify(user_id text, traits jsonb DEFAULT '{}', anonymous_id text DEFAULT NULL) RETURNS text
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_track_identify_sql';
COMMENT ON FUNCTION eventmkt.identify(text, jsonb, text) IS
	'sets traits of a user (null removes one) and merges the anonymous id into the user; returns the canonical profile id';

CREATE FUNCTION eventmkt.alias(previous_id text, user_id text) RETURNS text
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_track_alias_sql';
COMMENT ON FUNCTION eventmkt.alias(text, text) IS
	'says that two ids are one person: what belongs to the first becomes the second''s; returns the canonical profile id';

CREATE FUNCTION eventmkt.ingest(message jsonb) RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_track_ingest';
COMMENT ON FUNCTION eventmkt.ingest(jsonb) IS
	'takes a message of Segment''s spec: track, page, screen (returns the event id), identify, alias, group (0), batch (number stored)';
REVOKE ALL ON FUNCTION eventmkt.identify(text, jsonb, text), eventmkt.alias(text, text), eventmkt.ingest(jsonb) FROM PUBLIC;

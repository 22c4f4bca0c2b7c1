-- segment: named sets of profiles
CREATE FUNCTION eventmkt.create_segment(name text, where_profile jsonpath DEFAULT NULL, on_event text DEFAULT NULL,
	where_event jsonpath DEFAULT NULL, at_least int DEFAULT 1, within interval DEFAULT NULL, per text DEFAULT NULL,
	unless text[] DEFAULT '{}', unless_where jsonpath DEFAULT NULL, unless_within interval DEFAULT NULL,
	steps text[] DEFAULT '{}', on_days int[] DEFAULT '{}', from_time time DEFAULT NULL, to_time time DEFAULT NULL,
	time_zone text DEFAULT 'UTC', all_of text[] DEFAULT '{}', any_of text[] DEFAULT '{}', none_of text[] DEFAULT '{}',
	query text DEFAULT NULL, comment text DEFAULT NULL, track_membership bool DEFAULT NULL) RETURNS int
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_segment_create';
COMMENT ON FUNCTION eventmkt.create_segment(text, jsonpath, text, jsonpath, int, interval, text, text[], jsonpath, interval,
	text[], int[], time, time, text, text[], text[], text[], text, text, bool) IS
	'makes a segment and its view eventmkt_bi.segment_<name>: by traits, by behaviour, of other segments, or by a query';

CREATE FUNCTION eventmkt.replace_segment(name text, where_profile jsonpath DEFAULT NULL, on_event text DEFAULT NULL,
	where_event jsonpath DEFAULT NULL, at_least int DEFAULT 1, within interval DEFAULT NULL, per text DEFAULT NULL,
	unless text[] DEFAULT '{}', unless_where jsonpath DEFAULT NULL, unless_within interval DEFAULT NULL,
	steps text[] DEFAULT '{}', on_days int[] DEFAULT '{}', from_time time DEFAULT NULL, to_time time DEFAULT NULL,
	time_zone text DEFAULT 'UTC', all_of text[] DEFAULT '{}', any_of text[] DEFAULT '{}', none_of text[] DEFAULT '{}',
	query text DEFAULT NULL, comment text DEFAULT NULL, track_membership bool DEFAULT NULL) RETURNS int
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_segment_replace';
COMMENT ON FUNCTION eventmkt.replace_segment(text, jsonpath, text, jsonpath, int, interval, text, text[], jsonpath, interval,
	text[], int[], time, time, text, text[], text[], text[], text, text, bool) IS
	'gives a segment another definition; rules, segments and reports that use it see the new one at once';

CREATE FUNCTION eventmkt.drop_segment(name text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_segment_drop';
COMMENT ON FUNCTION eventmkt.drop_segment(text) IS 'ends a segment and its view; refused while a rule, a live run or a segment uses it';

CREATE FUNCTION eventmkt.in_segment(user_id text, name text) RETURNS bool
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_segment_in';
COMMENT ON FUNCTION eventmkt.in_segment(text, text) IS 'is this person, by any of their ids, in the segment now?';

CREATE FUNCTION eventmkt.track_segment(name text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_segment_track';
COMMENT ON FUNCTION eventmkt.track_segment(text) IS
	'keeps the members of a segment from now on: the worker fills it from history, then entries and exits are events';

CREATE FUNCTION eventmkt.untrack_segment(name text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_segment_untrack';
COMMENT ON FUNCTION eventmkt.untrack_segment(text) IS 'ends that, and forgets the members and their history; its view stays';

CREATE FUNCTION eventmkt.refresh_segment(name text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_segment_refresh';
COMMENT ON FUNCTION eventmkt.refresh_segment(text) IS
	'asks everybody again, without firing: after tables were changed by hand';

CREATE FUNCTION eventmkt.segment_members_on(name text, at timestamptz) RETURNS SETOF text
	LANGUAGE c STABLE STRICT PARALLEL UNSAFE ROWS 1000 AS 'MODULE_PATHNAME', 'emk_segment_members_on';
COMMENT ON FUNCTION eventmkt.segment_members_on(text, timestamptz) IS 'who was in a tracked segment at that time';

CREATE FUNCTION eventmkt.note_profile() RETURNS trigger
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'emk_segment_note_profile';
COMMENT ON FUNCTION eventmkt.note_profile() IS 'trigger on profile: somebody has a row who had none';
CREATE FUNCTION eventmkt.note_merge() RETURNS trigger
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'emk_segment_note_merge';
COMMENT ON FUNCTION eventmkt.note_merge() IS 'trigger on merge_log: people who were merged, or parted again';

REVOKE ALL ON FUNCTION eventmkt.drop_segment(text), eventmkt.in_segment(text, text), eventmkt.track_segment(text),
	eventmkt.untrack_segment(text), eventmkt.refresh_segment(text), eventmkt.segment_members_on(text, timestamptz),
	eventmkt.note_profile(), eventmkt.note_merge(),
	eventmkt.create_segment(text, jsonpath, text, jsonpath, int, interval, text, text[], jsonpath, interval,
	text[], int[], time, time, text, text[], text[], text[], text, text, bool),
	eventmkt.replace_segment(text, jsonpath, text, jsonpath, int, interval, text, text[], jsonpath, interval,
	text[], int[], time, time, text, text[], text[], text[], text, text, bool) FROM PUBLIC;

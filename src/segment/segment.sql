-- segment: named sets of profiles
CREATE FUNCTION eventmkt.create_segment(name text, where_profile jsonpath DEFAULT NULL, on_event text DEFAULT NULL,
	where_event jsonpath DEFAULT NULL, at_least int DEFAULT 1, within interval DEFAULT NULL, per text DEFAULT NULL,
	unless text[] DEFAULT '{}', unless_where jsonpath DEFAULT NULL, unless_within interval DEFAULT NULL,
	steps text[] DEFAULT '{}', on_days int[] DEFAULT '{}', from_time time DEFAULT NULL, to_time time DEFAULT NULL,
	time_zone text DEFAULT 'UTC', all_of text[] DEFAULT '{}', any_of text[] DEFAULT '{}', none_of text[] DEFAULT '{}',
	query text DEFAULT NULL, comment text DEFAULT NULL) RETURNS int
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_segment_create';
COMMENT ON FUNCTION eventmkt.create_segment(text, jsonpath, text, jsonpath, int, interval, text, text[], jsonpath, interval,
	text[], int[], time, time, text, text[], text[], text[], text, text) IS
	'makes a segment and its view eventmkt_bi.segment_<name>: by traits, by behaviour, of other segments, or by a query';

CREATE FUNCTION eventmkt.replace_segment(name text, where_profile jsonpath DEFAULT NULL, on_event text DEFAULT NULL,
	where_event jsonpath DEFAULT NULL, at_least int DEFAULT 1, within interval DEFAULT NULL, per text DEFAULT NULL,
	unless text[] DEFAULT '{}', unless_where jsonpath DEFAULT NULL, unless_within interval DEFAULT NULL,
	steps text[] DEFAULT '{}', on_days int[] DEFAULT '{}', from_time time DEFAULT NULL, to_time time DEFAULT NULL,
	time_zone text DEFAULT 'UTC', all_of text[] DEFAULT '{}', any_of text[] DEFAULT '{}', none_of text[] DEFAULT '{}',
	query text DEFAULT NULL, comment text DEFAULT NULL) RETURNS int
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_segment_replace';
COMMENT ON FUNCTION eventmkt.replace_segment(text, jsonpath, text, jsonpath, int, interval, text, text[], jsonpath, interval,
	text[], int[], time, time, text, text[], text[], text[], text, text) IS
	'gives a segment another definition; rules, segments and reports that use it see the new one at once';

CREATE FUNCTION eventmkt.drop_segment(name text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_segment_drop';
COMMENT ON FUNCTION eventmkt.drop_segment(text) IS 'ends a segment and its view; refused while a rule, a live run or a segment uses it';

CREATE FUNCTION eventmkt.in_segment(user_id text, name text) RETURNS bool
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_segment_in';
COMMENT ON FUNCTION eventmkt.in_segment(text, text) IS 'is this person, by any of their ids, in the segment now?';
REVOKE ALL ON FUNCTION eventmkt.drop_segment(text), eventmkt.in_segment(text, text),
	eventmkt.create_segment(text, jsonpath, text, jsonpath, int, interval, text, text[], jsonpath, interval,
	text[], int[], time, time, text, text[], text[], text[], text, text),
	eventmkt.replace_segment(text, jsonpath, text, jsonpath, int, interval, text, text[], jsonpath, interval,
	text[], int[], time, time, text, text[], text[], text[], text, text) FROM PUBLIC;

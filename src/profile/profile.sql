-- profile: the past of traits, and the way back from a merge
CREATE FUNCTION eventmkt.traits_at(user_id text, at timestamptz) RETURNS jsonb
	LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'emk_profile_traits_at';
COMMENT ON FUNCTION eventmkt.traits_at(text, timestamptz) IS
	'the traits of a profile as they were known at a time; {} before the first';

CREATE FUNCTION eventmkt.undo_merge(merge_id bigint) RETURNS text
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'emk_profile_undo_merge';
COMMENT ON FUNCTION eventmkt.undo_merge(bigint) IS
	'parts two profiles again as eventmkt_data.merge_log says: ids and traits go back, runs stay where they are';
REVOKE ALL ON FUNCTION eventmkt.traits_at(text, timestamptz), eventmkt.undo_merge(bigint) FROM PUBLIC;

-- report: the upkeep of timelines
CREATE FUNCTION eventmkt.timeline_key(properties jsonb, property text) RETURNS text
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_report_timeline_key';
COMMENT ON FUNCTION eventmkt.timeline_key(jsonb, text) IS
	'the scalar at a property as the key of an event in a timeline; NULL where it is none or too long';
CREATE FUNCTION eventmkt.timeline_value(properties jsonb, property text) RETURNS numeric
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_report_timeline_value';
COMMENT ON FUNCTION eventmkt.timeline_value(jsonb, text) IS
	'the number at a property as the value of an event in a timeline; NULL where it is none or out of range';
CREATE FUNCTION eventmkt.keep_timelines(key_property text DEFAULT NULL, value_property text DEFAULT NULL) RETURNS void
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'emk_report_keep_timelines';
COMMENT ON FUNCTION eventmkt.keep_timelines(text, text) IS
	'lets the worker keep timelines of all events, with a property as key and one as value; starts anew when they change';
CREATE FUNCTION eventmkt.drop_timelines() RETURNS void
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'emk_report_drop_timelines';
COMMENT ON FUNCTION eventmkt.drop_timelines() IS 'ends the upkeep of timelines and removes them; no event is touched';
CREATE FUNCTION eventmkt.pack_timelines(max_days integer DEFAULT 100) RETURNS integer
	LANGUAGE c VOLATILE STRICT AS 'MODULE_PATHNAME', 'emk_report_pack_timelines';
COMMENT ON FUNCTION eventmkt.pack_timelines(integer) IS
	'one pass of the upkeep that the worker does by itself; the number of days and marked profiles packed';
REVOKE ALL ON FUNCTION eventmkt.timeline_key(jsonb, text), eventmkt.timeline_value(jsonb, text),
	eventmkt.keep_timelines(text, text), eventmkt.drop_timelines(), eventmkt.pack_timelines(integer) FROM PUBLIC;

-- event: partitions
CREATE FUNCTION eventmkt.make_partitions("from" timestamptz, "to" timestamptz) RETURNS int
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'emk_event_make_partitions_sql';
COMMENT ON FUNCTION eventmkt.make_partitions(timestamptz, timestamptz) IS
	'makes the partitions of event and decision that cover a time range; returns how many were made';
REVOKE ALL ON FUNCTION eventmkt.make_partitions(timestamptz, timestamptz) FROM PUBLIC;

-- rule: rules as defined (replace_rule, enable_rule, disable_rule and drop_rule also touch runs: see admin)
CREATE FUNCTION eventmkt.create_rule(name text, on_event text, where_event jsonpath DEFAULT NULL,
	where_profile jsonpath DEFAULT NULL, at_least int DEFAULT 1, within interval DEFAULT NULL, per text DEFAULT NULL,
	unless text[] DEFAULT '{}', unless_where jsonpath DEFAULT NULL, look_back interval DEFAULT '0',
	after interval DEFAULT '0', on_repeat text DEFAULT 'debounce', reentry interval DEFAULT NULL,
	send_to text DEFAULT NULL, template text DEFAULT NULL, steps jsonb DEFAULT NULL,
	max_lateness interval DEFAULT NULL, priority int DEFAULT 0, enabled bool DEFAULT true,
	where_segment text DEFAULT NULL) RETURNS int
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'emk_rule_create';
COMMENT ON FUNCTION eventmkt.create_rule(text, text, jsonpath, jsonpath, int, interval, text, text[], jsonpath, interval,
	interval, text, interval, text, text, jsonb, interval, int, bool, text) IS
	'makes a rule: which event starts it, under which conditions, what cancels it, when and where it sends; returns its id';
REVOKE ALL ON FUNCTION eventmkt.create_rule(text, text, jsonpath, jsonpath, int, interval, text, text[], jsonpath, interval,
	interval, text, interval, text, text, jsonb, interval, int, bool, text) FROM PUBLIC;

-- report: the upkeep of timelines; views on request
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

CREATE FUNCTION eventmkt.property_numeric(properties jsonb, property text) RETURNS numeric
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_report_property_numeric';
COMMENT ON FUNCTION eventmkt.property_numeric(jsonb, text) IS 'the number at a property, also one written as text; NULL where it is none';
CREATE FUNCTION eventmkt.property_double(properties jsonb, property text) RETURNS double precision
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_report_property_double';
COMMENT ON FUNCTION eventmkt.property_double(jsonb, text) IS 'the number at a property as double precision; NULL where it is none or out of range';
CREATE FUNCTION eventmkt.property_bigint(properties jsonb, property text) RETURNS bigint
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_report_property_bigint';
COMMENT ON FUNCTION eventmkt.property_bigint(jsonb, text) IS 'the whole number at a property as bigint; NULL where it is none, has a fraction or is out of range';
CREATE FUNCTION eventmkt.property_integer(properties jsonb, property text) RETURNS integer
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_report_property_integer';
COMMENT ON FUNCTION eventmkt.property_integer(jsonb, text) IS 'the whole number at a property as integer; NULL where it is none, has a fraction or is out of range';
CREATE FUNCTION eventmkt.property_boolean(properties jsonb, property text) RETURNS boolean
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_report_property_boolean';
COMMENT ON FUNCTION eventmkt.property_boolean(jsonb, text) IS 'true or false at a property, also as the words and digits of PostgreSQL; NULL where it is neither';
CREATE FUNCTION eventmkt.property_date(properties jsonb, property text) RETURNS date
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_report_property_date';
COMMENT ON FUNCTION eventmkt.property_date(jsonb, text) IS 'the day at a property, ISO 8601, as it is written; NULL where it is none';
CREATE FUNCTION eventmkt.property_timestamptz(properties jsonb, property text) RETURNS timestamptz
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_report_property_timestamptz';
COMMENT ON FUNCTION eventmkt.property_timestamptz(jsonb, text) IS 'the time at a property, ISO 8601, UTC where it names no zone; NULL where it is none';

CREATE FUNCTION eventmkt.expose_property(event text, property text, type text, column_name text DEFAULT NULL,
	comment text DEFAULT NULL) RETURNS text
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_report_expose';
COMMENT ON FUNCTION eventmkt.expose_property(text, text, text, text, text) IS
	'shows a property as a typed column of the view eventmkt_bi.event_<name>, which it makes when it is the first; returns the view';
CREATE FUNCTION eventmkt.hide_property(event text, property text) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_report_hide';
COMMENT ON FUNCTION eventmkt.hide_property(text, text) IS
	'takes the column of a property from the view of its event, and the view with the last one';
CREATE FUNCTION eventmkt.create_funnel(name text, steps text[], within interval DEFAULT '7 days', history interval DEFAULT NULL,
	comment text DEFAULT NULL) RETURNS text
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_report_create_funnel';
COMMENT ON FUNCTION eventmkt.create_funnel(text, text[], interval, interval, text) IS
	'makes the view eventmkt_bi.funnel_<name>: how many people come how far along a list of events; returns the view';
CREATE FUNCTION eventmkt.replace_funnel(name text, steps text[], within interval DEFAULT '7 days', history interval DEFAULT NULL,
	comment text DEFAULT NULL) RETURNS text
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_report_replace_funnel';
COMMENT ON FUNCTION eventmkt.replace_funnel(text, text[], interval, interval, text) IS
	'gives a funnel another definition; what reads its view stays';
CREATE FUNCTION eventmkt.drop_funnel(name text) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_report_drop_funnel';
COMMENT ON FUNCTION eventmkt.drop_funnel(text) IS 'ends a funnel and its view';
CREATE FUNCTION eventmkt.create_goal(name text, event text, within interval DEFAULT '7 days', revenue text DEFAULT NULL,
	comment text DEFAULT NULL) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_report_create_goal';
COMMENT ON FUNCTION eventmkt.create_goal(text, text, interval, text, text) IS
	'names what messages are meant to bring about and the property with its revenue; eventmkt_bi.conversions counts it for each rule';
CREATE FUNCTION eventmkt.drop_goal(name text) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_report_drop_goal';
COMMENT ON FUNCTION eventmkt.drop_goal(text) IS 'ends a goal';
REVOKE ALL ON FUNCTION eventmkt.property_numeric(jsonb, text), eventmkt.property_double(jsonb, text), eventmkt.property_bigint(jsonb, text), 
	eventmkt.property_integer(jsonb, text), eventmkt.property_boolean(jsonb, text), eventmkt.property_date(jsonb, text), eventmkt.property_timestamptz(jsonb, text),
	eventmkt.expose_property(text, text, text, text, text), eventmkt.hide_property(text, text),
	eventmkt.create_funnel(text, text[], interval, interval, text), eventmkt.replace_funnel(text, text[], interval, interval, text),
	eventmkt.drop_funnel(text), eventmkt.create_goal(text, text, interval, text, text), eventmkt.drop_goal(text) FROM PUBLIC;
-- report: backtests
CREATE FUNCTION eventmkt.backtest(name text, "from" timestamptz, "to" timestamptz DEFAULT NULL, warm_up interval DEFAULT NULL)
	RETURNS TABLE (rule text, profile_id text, key text, started_at timestamptz, event_id bigint,
	due_at timestamptz, outcome text, reason text, facts jsonb, decided_at timestamptz)
	LANGUAGE c STABLE PARALLEL UNSAFE COST 100000 AS 'MODULE_PATHNAME', 'emk_report_backtest_sql';
COMMENT ON FUNCTION eventmkt.backtest(text, timestamptz, timestamptz, interval) IS
	'what would have been decided in a span of history for a rule; reads only';
CREATE FUNCTION eventmkt.backtest_summary(name text, "from" timestamptz, "to" timestamptz DEFAULT NULL,
	converted_by text DEFAULT NULL, within interval DEFAULT '7 days', revenue text DEFAULT NULL, warm_up interval DEFAULT NULL)
	RETURNS TABLE (rule text, day date, outcome text, reason text, runs bigint, profiles bigint, converted bigint,
	revenue numeric)
	LANGUAGE c STABLE PARALLEL UNSAFE COST 100000 AS 'MODULE_PATHNAME', 'emk_report_backtest_summary';
COMMENT ON FUNCTION eventmkt.backtest_summary(text, timestamptz, timestamptz, text, interval, text, interval) IS
	'a backtest by day, outcome and reason, with the orders that followed its messages';
CREATE FUNCTION eventmkt.estimate_rule(name text, over interval DEFAULT '30 days')
	RETURNS TABLE (rule text, monthly_sends bigint, monthly_profiles bigint, sends bigint, cancelled bigint, suppressed bigint,
	sample_profiles bigint, one_in bigint)
	LANGUAGE c STABLE PARALLEL UNSAFE COST 100000 AS 'MODULE_PATHNAME', 'emk_report_estimate_rule';
COMMENT ON FUNCTION eventmkt.estimate_rule(text, interval) IS
	'how many messages a month a rule would send, from history; of a sample of people where it is large';
CREATE FUNCTION eventmkt.backtest(names text[], "from" timestamptz, "to" timestamptz DEFAULT NULL, warm_up interval DEFAULT NULL)
	RETURNS TABLE (rule text, profile_id text, key text, started_at timestamptz, event_id bigint,
	due_at timestamptz, outcome text, reason text, facts jsonb, decided_at timestamptz)
	LANGUAGE c STABLE PARALLEL UNSAFE COST 100000 AS 'MODULE_PATHNAME', 'emk_report_backtest_sql';
COMMENT ON FUNCTION eventmkt.backtest(text[], timestamptz, timestamptz, interval) IS
	'what would have been decided in a span of history for several rules, read in one go; reads only';
CREATE FUNCTION eventmkt.backtest_summary(names text[], "from" timestamptz, "to" timestamptz DEFAULT NULL,
	converted_by text DEFAULT NULL, within interval DEFAULT '7 days', revenue text DEFAULT NULL, warm_up interval DEFAULT NULL)
	RETURNS TABLE (rule text, day date, outcome text, reason text, runs bigint, profiles bigint, converted bigint,
	revenue numeric)
	LANGUAGE c STABLE PARALLEL UNSAFE COST 100000 AS 'MODULE_PATHNAME', 'emk_report_backtest_summary';
COMMENT ON FUNCTION eventmkt.backtest_summary(text[], timestamptz, timestamptz, text, interval, text, interval) IS
	'a backtest by day, outcome and reason, with the orders that followed its messages';
CREATE FUNCTION eventmkt.estimate_rule(names text[], over interval DEFAULT '30 days')
	RETURNS TABLE (rule text, monthly_sends bigint, monthly_profiles bigint, sends bigint, cancelled bigint, suppressed bigint,
	sample_profiles bigint, one_in bigint)
	LANGUAGE c STABLE PARALLEL UNSAFE COST 100000 AS 'MODULE_PATHNAME', 'emk_report_estimate_rule';
COMMENT ON FUNCTION eventmkt.estimate_rule(text[], interval) IS
	'how many messages a month several rules would send, from history; of a sample of people where it is large';
CREATE FUNCTION eventmkt.backtest(definition jsonb, "from" timestamptz, "to" timestamptz DEFAULT NULL, warm_up interval DEFAULT NULL)
	RETURNS TABLE (rule text, profile_id text, key text, started_at timestamptz, event_id bigint,
	due_at timestamptz, outcome text, reason text, facts jsonb, decided_at timestamptz)
	LANGUAGE c STABLE PARALLEL UNSAFE COST 100000 AS 'MODULE_PATHNAME', 'emk_report_backtest_sql';
COMMENT ON FUNCTION eventmkt.backtest(jsonb, timestamptz, timestamptz, interval) IS
	'what would have been decided for a rule that does not exist yet: the arguments of create_rule() as JSON, or an array of such';
CREATE FUNCTION eventmkt.backtest_summary(definition jsonb, "from" timestamptz, "to" timestamptz DEFAULT NULL,
	converted_by text DEFAULT NULL, within interval DEFAULT '7 days', revenue text DEFAULT NULL, warm_up interval DEFAULT NULL)
	RETURNS TABLE (rule text, day date, outcome text, reason text, runs bigint, profiles bigint, converted bigint,
	revenue numeric)
	LANGUAGE c STABLE PARALLEL UNSAFE COST 100000 AS 'MODULE_PATHNAME', 'emk_report_backtest_summary';
COMMENT ON FUNCTION eventmkt.backtest_summary(jsonb, timestamptz, timestamptz, text, interval, text, interval) IS
	'a backtest by day, outcome and reason, with the orders that followed its messages';
CREATE FUNCTION eventmkt.estimate_rule(definition jsonb, over interval DEFAULT '30 days')
	RETURNS TABLE (rule text, monthly_sends bigint, monthly_profiles bigint, sends bigint, cancelled bigint, suppressed bigint,
	sample_profiles bigint, one_in bigint)
	LANGUAGE c STABLE PARALLEL UNSAFE COST 100000 AS 'MODULE_PATHNAME', 'emk_report_estimate_rule';
COMMENT ON FUNCTION eventmkt.estimate_rule(jsonb, interval) IS
	'how many messages a month a rule that does not exist yet would send, from history; of a sample of people where it is large';
REVOKE ALL ON FUNCTION eventmkt.backtest(text, timestamptz, timestamptz, interval),
	eventmkt.backtest_summary(text, timestamptz, timestamptz, text, interval, text, interval), eventmkt.estimate_rule(text, interval),
	eventmkt.backtest(text[], timestamptz, timestamptz, interval),
	eventmkt.backtest_summary(text[], timestamptz, timestamptz, text, interval, text, interval), eventmkt.estimate_rule(text[], interval),
	eventmkt.backtest(jsonb, timestamptz, timestamptz, interval),
	eventmkt.backtest_summary(jsonb, timestamptz, timestamptz, text, interval, text, interval), eventmkt.estimate_rule(jsonb, interval) FROM PUBLIC;
-- parts of the view profile_timelines, see src/report/tail_view.c
CREATE TYPE eventmkt.tail;
CREATE FUNCTION eventmkt.tail_in(cstring) RETURNS eventmkt.tail
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_report_tail_in';
COMMENT ON FUNCTION eventmkt.tail_in(cstring) IS 'part of the view profile_timelines';
CREATE FUNCTION eventmkt.tail_out(eventmkt.tail) RETURNS cstring
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_report_tail_out';
COMMENT ON FUNCTION eventmkt.tail_out(eventmkt.tail) IS 'part of the view profile_timelines';
CREATE TYPE eventmkt.tail (
	INPUT = eventmkt.tail_in, OUTPUT = eventmkt.tail_out, INTERNALLENGTH = VARIABLE, ALIGNMENT = double, STORAGE = plain
);
COMMENT ON TYPE eventmkt.tail IS 'events that are not packed yet, by profile; exists within a query of the view profile_timelines only';
CREATE FUNCTION eventmkt.open_tail() RETURNS eventmkt.tail
	LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_report_open_tail';
COMMENT ON FUNCTION eventmkt.open_tail() IS 'part of the view profile_timelines';
CREATE FUNCTION eventmkt.with_tail(t eventmkt.timeline, profile_id text, open_tail eventmkt.tail) RETURNS eventmkt.timeline
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_report_with_tail';
COMMENT ON FUNCTION eventmkt.with_tail(eventmkt.timeline, text, eventmkt.tail) IS 'part of the view profile_timelines';
CREATE FUNCTION eventmkt.tail_shows_all(open_tail eventmkt.tail) RETURNS bool
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_report_tail_shows_all';
COMMENT ON FUNCTION eventmkt.tail_shows_all(eventmkt.tail) IS 'part of the view profile_timelines';
CREATE FUNCTION eventmkt.tail_rows(open_tail eventmkt.tail, OUT profile_id text, OUT t eventmkt.timeline) RETURNS SETOF record
	LANGUAGE c STABLE STRICT PARALLEL SAFE ROWS 1000 COST 100000 AS 'MODULE_PATHNAME', 'emk_report_tail_rows';
COMMENT ON FUNCTION eventmkt.tail_rows(eventmkt.tail) IS 'part of the view profile_timelines';
CREATE FUNCTION eventmkt.mark_merged() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'emk_report_mark_merged';
COMMENT ON FUNCTION eventmkt.mark_merged() IS 'trigger of the alias table: kept timelines of profiles that merge or part are packed anew';
REVOKE ALL ON FUNCTION eventmkt.tail_in(cstring), eventmkt.tail_out(eventmkt.tail), eventmkt.open_tail(),
	eventmkt.with_tail(eventmkt.timeline, text, eventmkt.tail), eventmkt.tail_shows_all(eventmkt.tail), eventmkt.tail_rows(eventmkt.tail), eventmkt.mark_merged() FROM PUBLIC;

-- report: roll-ups
CREATE FUNCTION eventmkt.keep_rollups(item_property text DEFAULT NULL, value_property text DEFAULT NULL, item_event text DEFAULT NULL)
	RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'emk_report_keep_rollups';
COMMENT ON FUNCTION eventmkt.keep_rollups(text, text, text) IS
	'lets the worker keep what each profile did by month, with a property that names items and one that is added up';
CREATE FUNCTION eventmkt.drop_rollups() RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'emk_report_drop_rollups';
COMMENT ON FUNCTION eventmkt.drop_rollups() IS 'ends the upkeep of roll-ups and removes them; timelines and events stay';
CREATE FUNCTION eventmkt.yearly_summary(first_month date, months int DEFAULT 12, top int DEFAULT 5)
	RETURNS TABLE (profile_id text, summary json) LANGUAGE sql STABLE PARALLEL SAFE ROWS 100000 AS $$
	SELECT p.profile_id, eventmkt.rollup_json(eventmkt.merge_rollups(p.part), top) FROM eventmkt_bi.rollup_parts p
	WHERE p.month OPERATOR(pg_catalog.>=) pg_catalog.date_trunc('month', first_month)::pg_catalog.date
	AND p.month OPERATOR(pg_catalog.<) (pg_catalog.date_trunc('month', first_month)
		OPERATOR(pg_catalog.+) pg_catalog.make_interval(months => months))::pg_catalog.date
	GROUP BY p.profile_id $$;
COMMENT ON FUNCTION eventmkt.yearly_summary(date, int, int) IS
	'what each profile did in a year, or in as many months as asked for, as JSON: events, sums, top items, longest streak';
REVOKE ALL ON FUNCTION eventmkt.keep_rollups(text, text, text), eventmkt.drop_rollups(), eventmkt.yearly_summary(date, int, int) FROM PUBLIC;

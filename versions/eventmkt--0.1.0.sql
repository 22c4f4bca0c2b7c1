\echo Use "CREATE EXTENSION eventmkt" to load this file. \quit
-- eventmkt holds code only, and one member table (secret); see eventmkt.init() for the data
CREATE SCHEMA eventmkt;
COMMENT ON SCHEMA eventmkt IS 'event-driven marketing: functions, types and aggregates';
-- base: clock and the trigger behind every cache
CREATE FUNCTION eventmkt.clock() RETURNS timestamptz
	LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'emk_base_clock';
COMMENT ON FUNCTION eventmkt.clock() IS 'business time: real time plus what advance_clock() added';

CREATE FUNCTION eventmkt.statement_clock() RETURNS timestamptz
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'emk_base_statement_clock';
COMMENT ON FUNCTION eventmkt.statement_clock() IS
	'business time at the start of the statement: the same all through it, so that partitions are left out before it runs';

CREATE FUNCTION eventmkt.invalidate_cache() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'emk_base_invalidate';
COMMENT ON FUNCTION eventmkt.invalidate_cache() IS 'statement trigger: every backend forgets what it cached of the table';
CREATE FUNCTION eventmkt.check_library(version text) RETURNS void
	LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_base_check_library';
COMMENT ON FUNCTION eventmkt.check_library(text) IS
	'fails unless the library is of this version; part of install and update scripts';
SELECT eventmkt.check_library('0.1.0');
REVOKE ALL ON FUNCTION eventmkt.clock(), eventmkt.check_library(text), eventmkt.statement_clock(), eventmkt.invalidate_cache() FROM PUBLIC;
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
-- analytics: questions over history, as aggregates over any table and as functions over timelines.
-- Functions named …_add and …_end are the parts of the aggregates; their states are bytea in a form of our own.

CREATE TYPE eventmkt.session_span AS (started_at timestamptz, ended_at timestamptz, events bigint);
COMMENT ON TYPE eventmkt.session_span IS 'a session: first and last event and how many there were';
CREATE TYPE eventmkt.cadence_facts AS (times bigint, typical_gap interval, last_at timestamptz, next_at timestamptz);
COMMENT ON TYPE eventmkt.cadence_facts IS 'how often something happens: distinct times, median gap, the last time and the next expected';
CREATE TYPE eventmkt.streak_days AS (current integer, longest integer, last_day date);
COMMENT ON TYPE eventmkt.streak_days IS 'days in a row: the run that ends with the last day, the longest run, the last day';
CREATE TYPE eventmkt.value_count AS (value text, count bigint);
COMMENT ON TYPE eventmkt.value_count IS 'a value and how often it occurs';
CREATE TYPE eventmkt.key_time AS (key text, at timestamptz);
COMMENT ON TYPE eventmkt.key_time IS 'a key and a time';

CREATE TYPE eventmkt.timeline;

CREATE FUNCTION eventmkt.timeline_in(cstring) RETURNS eventmkt.timeline
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_timeline_in';
COMMENT ON FUNCTION eventmkt.timeline_in(cstring) IS 'part of the type timeline';
CREATE FUNCTION eventmkt.timeline_out(eventmkt.timeline) RETURNS cstring
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_timeline_out';
COMMENT ON FUNCTION eventmkt.timeline_out(eventmkt.timeline) IS 'part of the type timeline';
CREATE FUNCTION eventmkt.timeline_recv(internal) RETURNS eventmkt.timeline
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_timeline_recv';
COMMENT ON FUNCTION eventmkt.timeline_recv(internal) IS 'part of the type timeline';
CREATE FUNCTION eventmkt.timeline_send(eventmkt.timeline) RETURNS bytea
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_timeline_send';
COMMENT ON FUNCTION eventmkt.timeline_send(eventmkt.timeline) IS 'part of the type timeline';
CREATE TYPE eventmkt.timeline (
	INPUT = eventmkt.timeline_in, OUTPUT = eventmkt.timeline_out,
	RECEIVE = eventmkt.timeline_recv, SEND = eventmkt.timeline_send,
	INTERNALLENGTH = VARIABLE, ALIGNMENT = int4, STORAGE = external
);
COMMENT ON TYPE eventmkt.timeline IS 'the events of one profile over a period as one packed value: time, name, key, value, id';

CREATE FUNCTION eventmkt.state_merge(bytea, bytea) RETURNS bytea
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_combine';
COMMENT ON FUNCTION eventmkt.state_merge(bytea, bytea) IS 'the state of two parts of a group, in any order; part of aggregates';

-- funnel
CREATE FUNCTION eventmkt.funnel_add(state bytea, within interval, at timestamptz, steps boolean[]) RETURNS bytea
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_funnel_add';
COMMENT ON FUNCTION eventmkt.funnel_add(state bytea, within interval, at timestamptz, steps boolean[]) IS 'part of aggregates';
CREATE FUNCTION eventmkt.funnel_add(state bytea, within interval, at timestamptz, mode text, steps boolean[]) RETURNS bytea
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_funnel_add';
COMMENT ON FUNCTION eventmkt.funnel_add(state bytea, within interval, at timestamptz, mode text, steps boolean[]) IS 'part of aggregates';
CREATE FUNCTION eventmkt.funnel_end(state bytea) RETURNS integer
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_funnel_depth';
COMMENT ON FUNCTION eventmkt.funnel_end(state bytea) IS 'part of aggregates';
CREATE FUNCTION eventmkt.funnel_times_end(state bytea) RETURNS timestamptz[]
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_funnel_path';
COMMENT ON FUNCTION eventmkt.funnel_times_end(state bytea) IS 'part of aggregates';
CREATE AGGREGATE eventmkt.funnel(within interval, at timestamptz, VARIADIC steps boolean[]) (
	SFUNC = eventmkt.funnel_add, STYPE = bytea, SSPACE = 128, FINALFUNC = eventmkt.funnel_end,
	COMBINEFUNC = eventmkt.state_merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE eventmkt.funnel(within interval, at timestamptz, VARIADIC steps boolean[]) IS 'the furthest step taken in order within the window after the first step';
CREATE AGGREGATE eventmkt.funnel(within interval, at timestamptz, mode text, VARIADIC steps boolean[]) (
	SFUNC = eventmkt.funnel_add, STYPE = bytea, SSPACE = 128, FINALFUNC = eventmkt.funnel_end,
	COMBINEFUNC = eventmkt.state_merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE eventmkt.funnel(within interval, at timestamptz, mode text, VARIADIC steps boolean[]) IS 'the furthest step, under strict_order, strict_dedup, strict_increase, strict_once or reentry';
CREATE AGGREGATE eventmkt.funnel_times(within interval, at timestamptz, VARIADIC steps boolean[]) (
	SFUNC = eventmkt.funnel_add, STYPE = bytea, SSPACE = 128, FINALFUNC = eventmkt.funnel_times_end,
	COMBINEFUNC = eventmkt.state_merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE eventmkt.funnel_times(within interval, at timestamptz, VARIADIC steps boolean[]) IS 'when each step up to the furthest was taken';
CREATE AGGREGATE eventmkt.funnel_times(within interval, at timestamptz, mode text, VARIADIC steps boolean[]) (
	SFUNC = eventmkt.funnel_add, STYPE = bytea, SSPACE = 128, FINALFUNC = eventmkt.funnel_times_end,
	COMBINEFUNC = eventmkt.state_merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE eventmkt.funnel_times(within interval, at timestamptz, mode text, VARIADIC steps boolean[]) IS 'when each step up to the furthest was taken, under the modes of funnel()';
-- sequence
CREATE FUNCTION eventmkt.sequence_add(state bytea, pattern text, at timestamptz, conditions boolean[]) RETURNS bytea
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_sequence_add';
COMMENT ON FUNCTION eventmkt.sequence_add(state bytea, pattern text, at timestamptz, conditions boolean[]) IS 'part of aggregates';
CREATE FUNCTION eventmkt.sequence_match_end(state bytea) RETURNS boolean
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_sequence_match';
COMMENT ON FUNCTION eventmkt.sequence_match_end(state bytea) IS 'part of aggregates';
CREATE AGGREGATE eventmkt.sequence_match(pattern text, at timestamptz, VARIADIC conditions boolean[]) (
	SFUNC = eventmkt.sequence_add, STYPE = bytea, SSPACE = 128, FINALFUNC = eventmkt.sequence_match_end,
	COMBINEFUNC = eventmkt.state_merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE eventmkt.sequence_match(pattern text, at timestamptz, VARIADIC conditions boolean[]) IS 'does the pattern occur';
CREATE FUNCTION eventmkt.sequence_count_end(state bytea) RETURNS bigint
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_sequence_count';
COMMENT ON FUNCTION eventmkt.sequence_count_end(state bytea) IS 'part of aggregates';
CREATE AGGREGATE eventmkt.sequence_count(pattern text, at timestamptz, VARIADIC conditions boolean[]) (
	SFUNC = eventmkt.sequence_add, STYPE = bytea, SSPACE = 128, FINALFUNC = eventmkt.sequence_count_end,
	COMBINEFUNC = eventmkt.state_merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE eventmkt.sequence_count(pattern text, at timestamptz, VARIADIC conditions boolean[]) IS 'how often the pattern occurs, without overlap';
CREATE FUNCTION eventmkt.sequence_events_end(state bytea) RETURNS timestamptz[]
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_sequence_events';
COMMENT ON FUNCTION eventmkt.sequence_events_end(state bytea) IS 'part of aggregates';
CREATE AGGREGATE eventmkt.sequence_events(pattern text, at timestamptz, VARIADIC conditions boolean[]) (
	SFUNC = eventmkt.sequence_add, STYPE = bytea, SSPACE = 128, FINALFUNC = eventmkt.sequence_events_end,
	COMBINEFUNC = eventmkt.state_merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE eventmkt.sequence_events(pattern text, at timestamptz, VARIADIC conditions boolean[]) IS 'the times of the events of the first match';
-- abandoned
CREATE FUNCTION eventmkt.abandoned_add(state bytea, at timestamptz, opened boolean, closed boolean, within interval) RETURNS bytea
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_abandoned_add';
COMMENT ON FUNCTION eventmkt.abandoned_add(state bytea, at timestamptz, opened boolean, closed boolean, within interval) IS 'part of aggregates';
CREATE FUNCTION eventmkt.abandoned_add(state bytea, at timestamptz, opened boolean, closed boolean, within interval, debounce boolean) RETURNS bytea
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_abandoned_add';
COMMENT ON FUNCTION eventmkt.abandoned_add(state bytea, at timestamptz, opened boolean, closed boolean, within interval, debounce boolean) IS 'part of aggregates';
CREATE FUNCTION eventmkt.abandoned_end(state bytea) RETURNS timestamptz[]
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_abandoned';
COMMENT ON FUNCTION eventmkt.abandoned_end(state bytea) IS 'part of aggregates';
CREATE FUNCTION eventmkt.abandoned_keys_add(state bytea, at timestamptz, opened boolean, closed boolean, within interval, key text) RETURNS bytea
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_abandoned_keys_add';
COMMENT ON FUNCTION eventmkt.abandoned_keys_add(state bytea, at timestamptz, opened boolean, closed boolean, within interval, key text) IS 'part of aggregates';
CREATE FUNCTION eventmkt.abandoned_keys_add(state bytea, at timestamptz, opened boolean, closed boolean, within interval, key text, debounce boolean) RETURNS bytea
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_abandoned_keys_add';
COMMENT ON FUNCTION eventmkt.abandoned_keys_add(state bytea, at timestamptz, opened boolean, closed boolean, within interval, key text, debounce boolean) IS 'part of aggregates';
CREATE FUNCTION eventmkt.abandoned_keyed_end(state bytea) RETURNS timestamptz[]
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_abandoned_keyed';
COMMENT ON FUNCTION eventmkt.abandoned_keyed_end(state bytea) IS 'part of aggregates';
CREATE FUNCTION eventmkt.abandoned_keys_end(state bytea) RETURNS eventmkt.key_time[]
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_abandoned_keys';
COMMENT ON FUNCTION eventmkt.abandoned_keys_end(state bytea) IS 'part of aggregates';
CREATE AGGREGATE eventmkt.abandoned(at timestamptz, opened boolean, closed boolean, within interval) (
	SFUNC = eventmkt.abandoned_add, STYPE = bytea, SSPACE = 128, FINALFUNC = eventmkt.abandoned_end,
	COMBINEFUNC = eventmkt.state_merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE eventmkt.abandoned(at timestamptz, opened boolean, closed boolean, within interval) IS 'the times of openings that no closing followed within the window';
CREATE AGGREGATE eventmkt.abandoned(at timestamptz, opened boolean, closed boolean, within interval, debounce boolean) (
	SFUNC = eventmkt.abandoned_add, STYPE = bytea, SSPACE = 128, FINALFUNC = eventmkt.abandoned_end,
	COMBINEFUNC = eventmkt.state_merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE eventmkt.abandoned(at timestamptz, opened boolean, closed boolean, within interval, debounce boolean) IS 'the same; with debounce only the last of a series of openings';
CREATE AGGREGATE eventmkt.abandoned(at timestamptz, opened boolean, closed boolean, within interval, key text) (
	SFUNC = eventmkt.abandoned_keys_add, STYPE = bytea, SSPACE = 128, FINALFUNC = eventmkt.abandoned_keyed_end,
	COMBINEFUNC = eventmkt.state_merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE eventmkt.abandoned(at timestamptz, opened boolean, closed boolean, within interval, key text) IS 'the same for each key apart; a closing without key closes every key';
CREATE AGGREGATE eventmkt.abandoned(at timestamptz, opened boolean, closed boolean, within interval, key text, debounce boolean) (
	SFUNC = eventmkt.abandoned_keys_add, STYPE = bytea, SSPACE = 128, FINALFUNC = eventmkt.abandoned_keyed_end,
	COMBINEFUNC = eventmkt.state_merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE eventmkt.abandoned(at timestamptz, opened boolean, closed boolean, within interval, key text, debounce boolean) IS 'the same for each key apart; with debounce only the last of a series';
CREATE AGGREGATE eventmkt.abandoned_keys(at timestamptz, opened boolean, closed boolean, within interval, key text) (
	SFUNC = eventmkt.abandoned_keys_add, STYPE = bytea, SSPACE = 128, FINALFUNC = eventmkt.abandoned_keys_end,
	COMBINEFUNC = eventmkt.state_merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE eventmkt.abandoned_keys(at timestamptz, opened boolean, closed boolean, within interval, key text) IS 'key and time of openings that no closing followed within the window';
CREATE AGGREGATE eventmkt.abandoned_keys(at timestamptz, opened boolean, closed boolean, within interval, key text, debounce boolean) (
	SFUNC = eventmkt.abandoned_keys_add, STYPE = bytea, SSPACE = 128, FINALFUNC = eventmkt.abandoned_keys_end,
	COMBINEFUNC = eventmkt.state_merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE eventmkt.abandoned_keys(at timestamptz, opened boolean, closed boolean, within interval, key text, debounce boolean) IS 'the same; with debounce only the last of a series of openings';
-- retention
CREATE FUNCTION eventmkt.retention_add(state bytea, conditions boolean[]) RETURNS bytea
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_retention_add';
COMMENT ON FUNCTION eventmkt.retention_add(state bytea, conditions boolean[]) IS 'part of aggregates';
CREATE FUNCTION eventmkt.retention_end(state bytea) RETURNS boolean[]
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_retention';
COMMENT ON FUNCTION eventmkt.retention_end(state bytea) IS 'part of aggregates';
CREATE AGGREGATE eventmkt.retention(VARIADIC conditions boolean[]) (
	SFUNC = eventmkt.retention_add, STYPE = bytea, SSPACE = 128, FINALFUNC = eventmkt.retention_end,
	COMBINEFUNC = eventmkt.state_merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE eventmkt.retention(VARIADIC conditions boolean[]) IS 'whether the first condition was met, and with it each of the others';
CREATE FUNCTION eventmkt.retained_add(state bytea, at timestamptz, start timestamptz, period interval, periods integer) RETURNS bytea
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_retained_add';
COMMENT ON FUNCTION eventmkt.retained_add(state bytea, at timestamptz, start timestamptz, period interval, periods integer) IS 'part of aggregates';
CREATE FUNCTION eventmkt.retained_end(state bytea) RETURNS boolean[]
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_retained';
COMMENT ON FUNCTION eventmkt.retained_end(state bytea) IS 'part of aggregates';
CREATE AGGREGATE eventmkt.retained(at timestamptz, start timestamptz, period interval, periods integer) (
	SFUNC = eventmkt.retained_add, STYPE = bytea, SSPACE = 128, FINALFUNC = eventmkt.retained_end,
	COMBINEFUNC = eventmkt.state_merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE eventmkt.retained(at timestamptz, start timestamptz, period interval, periods integer) IS 'for each period after the start whether there was an event; start NULL: the first event';
CREATE FUNCTION eventmkt.cohort_retention_add(state bytea, retained boolean[]) RETURNS bytea
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_cohort_add';
COMMENT ON FUNCTION eventmkt.cohort_retention_add(state bytea, retained boolean[]) IS 'part of aggregates';
CREATE FUNCTION eventmkt.cohort_retention_end(state bytea) RETURNS bigint[]
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_cohort';
COMMENT ON FUNCTION eventmkt.cohort_retention_end(state bytea) IS 'part of aggregates';
CREATE AGGREGATE eventmkt.cohort_retention(retained boolean[]) (
	SFUNC = eventmkt.cohort_retention_add, STYPE = bytea, SSPACE = 128, FINALFUNC = eventmkt.cohort_retention_end,
	COMBINEFUNC = eventmkt.state_merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE eventmkt.cohort_retention(retained boolean[]) IS 'for each period how many profiles were there';
-- distances, days, values
CREATE FUNCTION eventmkt.sessions_add(state bytea, at timestamptz, gap interval) RETURNS bytea
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_sessions_add';
COMMENT ON FUNCTION eventmkt.sessions_add(state bytea, at timestamptz, gap interval) IS 'part of aggregates';
CREATE FUNCTION eventmkt.sessions_end(state bytea) RETURNS eventmkt.session_span[]
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_sessions';
COMMENT ON FUNCTION eventmkt.sessions_end(state bytea) IS 'part of aggregates';
CREATE AGGREGATE eventmkt.sessions(at timestamptz, gap interval) (
	SFUNC = eventmkt.sessions_add, STYPE = bytea, SSPACE = 128, FINALFUNC = eventmkt.sessions_end,
	COMBINEFUNC = eventmkt.state_merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE eventmkt.sessions(at timestamptz, gap interval) IS 'runs of events no more than the gap apart';
CREATE FUNCTION eventmkt.session_number(at timestamptz, gap interval) RETURNS bigint
	LANGUAGE c WINDOW IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_session_number';
COMMENT ON FUNCTION eventmkt.session_number(at timestamptz, gap interval) IS
	'window function: the number of the session of this row, counted from 1 in a partition ordered by time';
CREATE FUNCTION eventmkt.max_in_window_add(state bytea, at timestamptz, within interval) RETURNS bytea
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_window_add';
COMMENT ON FUNCTION eventmkt.max_in_window_add(state bytea, at timestamptz, within interval) IS 'part of aggregates';
CREATE FUNCTION eventmkt.max_in_window_end(state bytea) RETURNS bigint
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_window_most';
COMMENT ON FUNCTION eventmkt.max_in_window_end(state bytea) IS 'part of aggregates';
CREATE AGGREGATE eventmkt.max_in_window(at timestamptz, within interval) (
	SFUNC = eventmkt.max_in_window_add, STYPE = bytea, SSPACE = 128, FINALFUNC = eventmkt.max_in_window_end,
	COMBINEFUNC = eventmkt.state_merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE eventmkt.max_in_window(at timestamptz, within interval) IS 'the most events in any sliding window, both edges included';
CREATE FUNCTION eventmkt.cadence_add(state bytea, at timestamptz) RETURNS bytea
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_cadence_add';
COMMENT ON FUNCTION eventmkt.cadence_add(state bytea, at timestamptz) IS 'part of aggregates';
CREATE FUNCTION eventmkt.cadence_end(state bytea) RETURNS eventmkt.cadence_facts
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_cadence';
COMMENT ON FUNCTION eventmkt.cadence_end(state bytea) IS 'part of aggregates';
CREATE AGGREGATE eventmkt.cadence(at timestamptz) (
	SFUNC = eventmkt.cadence_add, STYPE = bytea, SSPACE = 128, FINALFUNC = eventmkt.cadence_end,
	COMBINEFUNC = eventmkt.state_merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE eventmkt.cadence(at timestamptz) IS 'the typical gap between events and the next expected time';
CREATE FUNCTION eventmkt.streak_add(state bytea, at timestamptz, zone text, grace integer) RETURNS bytea
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_streak_add';
COMMENT ON FUNCTION eventmkt.streak_add(state bytea, at timestamptz, zone text, grace integer) IS 'part of aggregates';
CREATE FUNCTION eventmkt.streak_end(state bytea) RETURNS eventmkt.streak_days
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_streak';
COMMENT ON FUNCTION eventmkt.streak_end(state bytea) IS 'part of aggregates';
CREATE AGGREGATE eventmkt.streak(at timestamptz, zone text, grace integer) (
	SFUNC = eventmkt.streak_add, STYPE = bytea, SSPACE = 128, FINALFUNC = eventmkt.streak_end,
	COMBINEFUNC = eventmkt.state_merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE eventmkt.streak(at timestamptz, zone text, grace integer) IS 'days in a row with an event, over at most grace missed days';
CREATE FUNCTION eventmkt.engaged_hours_add(state bytea, at timestamptz, zone text) RETURNS bytea
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_hours_add';
COMMENT ON FUNCTION eventmkt.engaged_hours_add(state bytea, at timestamptz, zone text) IS 'part of aggregates';
CREATE FUNCTION eventmkt.engaged_hours_end(state bytea) RETURNS bigint[]
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_hours';
COMMENT ON FUNCTION eventmkt.engaged_hours_end(state bytea) IS 'part of aggregates';
CREATE AGGREGATE eventmkt.engaged_hours(at timestamptz, zone text) (
	SFUNC = eventmkt.engaged_hours_add, STYPE = bytea, SSPACE = 128, FINALFUNC = eventmkt.engaged_hours_end,
	COMBINEFUNC = eventmkt.state_merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE eventmkt.engaged_hours(at timestamptz, zone text) IS '24 counts: events in each local hour of the day';
CREATE FUNCTION eventmkt.first_touch_add(state bytea, at timestamptz, value text) RETURNS bytea
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_first_touch_add';
COMMENT ON FUNCTION eventmkt.first_touch_add(state bytea, at timestamptz, value text) IS 'part of aggregates';
CREATE FUNCTION eventmkt.first_touch_end(state bytea) RETURNS text
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_first_touch';
COMMENT ON FUNCTION eventmkt.first_touch_end(state bytea) IS 'part of aggregates';
CREATE AGGREGATE eventmkt.first_touch(at timestamptz, value text) (
	SFUNC = eventmkt.first_touch_add, STYPE = bytea, SSPACE = 128, FINALFUNC = eventmkt.first_touch_end,
	COMBINEFUNC = eventmkt.state_merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE eventmkt.first_touch(at timestamptz, value text) IS 'the value of the earliest row; of several at that time the smallest';
CREATE FUNCTION eventmkt.last_touch_add(state bytea, at timestamptz, value text) RETURNS bytea
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_last_touch_add';
COMMENT ON FUNCTION eventmkt.last_touch_add(state bytea, at timestamptz, value text) IS 'part of aggregates';
CREATE FUNCTION eventmkt.last_touch_end(state bytea) RETURNS text
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_last_touch';
COMMENT ON FUNCTION eventmkt.last_touch_end(state bytea) IS 'part of aggregates';
CREATE AGGREGATE eventmkt.last_touch(at timestamptz, value text) (
	SFUNC = eventmkt.last_touch_add, STYPE = bytea, SSPACE = 128, FINALFUNC = eventmkt.last_touch_end,
	COMBINEFUNC = eventmkt.state_merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE eventmkt.last_touch(at timestamptz, value text) IS 'the value of the latest row; of several at that time the greatest';
CREATE FUNCTION eventmkt.top_values_add(state bytea, value text, k integer) RETURNS bytea
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_top_values_add';
COMMENT ON FUNCTION eventmkt.top_values_add(state bytea, value text, k integer) IS 'part of aggregates';
CREATE FUNCTION eventmkt.top_values_end(state bytea) RETURNS eventmkt.value_count[]
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_top_values';
COMMENT ON FUNCTION eventmkt.top_values_end(state bytea) IS 'part of aggregates';
CREATE AGGREGATE eventmkt.top_values(value text, k integer) (
	SFUNC = eventmkt.top_values_add, STYPE = bytea, SSPACE = 128, FINALFUNC = eventmkt.top_values_end,
	COMBINEFUNC = eventmkt.state_merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE eventmkt.top_values(value text, k integer) IS 'the k most frequent values with their exact counts; ties by value';
-- timelines: making, merging, cutting
CREATE FUNCTION eventmkt.timeline_add(state bytea, at timestamptz, event text) RETURNS bytea
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_timeline_add';
COMMENT ON FUNCTION eventmkt.timeline_add(state bytea, at timestamptz, event text) IS 'part of aggregates';
CREATE FUNCTION eventmkt.timeline_add(state bytea, at timestamptz, event text, key text) RETURNS bytea
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_timeline_add';
COMMENT ON FUNCTION eventmkt.timeline_add(state bytea, at timestamptz, event text, key text) IS 'part of aggregates';
CREATE FUNCTION eventmkt.timeline_add(state bytea, at timestamptz, event text, key text, value numeric) RETURNS bytea
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_timeline_add';
COMMENT ON FUNCTION eventmkt.timeline_add(state bytea, at timestamptz, event text, key text, value numeric) IS 'part of aggregates';
CREATE FUNCTION eventmkt.timeline_add(state bytea, at timestamptz, event text, key text, value numeric, id bigint) RETURNS bytea
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_timeline_add';
COMMENT ON FUNCTION eventmkt.timeline_add(state bytea, at timestamptz, event text, key text, value numeric, id bigint) IS 'part of aggregates';
CREATE FUNCTION eventmkt.timeline_end(state bytea) RETURNS eventmkt.timeline
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_timeline';
COMMENT ON FUNCTION eventmkt.timeline_end(state bytea) IS 'part of aggregates';
CREATE AGGREGATE eventmkt.timeline(at timestamptz, event text) (
	SFUNC = eventmkt.timeline_add, STYPE = bytea, SSPACE = 512, FINALFUNC = eventmkt.timeline_end,
	COMBINEFUNC = eventmkt.state_merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE eventmkt.timeline(at timestamptz, event text) IS 'the events of a group as one timeline';
CREATE AGGREGATE eventmkt.timeline(at timestamptz, event text, key text) (
	SFUNC = eventmkt.timeline_add, STYPE = bytea, SSPACE = 512, FINALFUNC = eventmkt.timeline_end,
	COMBINEFUNC = eventmkt.state_merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE eventmkt.timeline(at timestamptz, event text, key text) IS 'the events of a group as one timeline';
CREATE AGGREGATE eventmkt.timeline(at timestamptz, event text, key text, value numeric) (
	SFUNC = eventmkt.timeline_add, STYPE = bytea, SSPACE = 512, FINALFUNC = eventmkt.timeline_end,
	COMBINEFUNC = eventmkt.state_merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE eventmkt.timeline(at timestamptz, event text, key text, value numeric) IS 'the events of a group as one timeline';
CREATE AGGREGATE eventmkt.timeline(at timestamptz, event text, key text, value numeric, id bigint) (
	SFUNC = eventmkt.timeline_add, STYPE = bytea, SSPACE = 512, FINALFUNC = eventmkt.timeline_end,
	COMBINEFUNC = eventmkt.state_merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE eventmkt.timeline(at timestamptz, event text, key text, value numeric, id bigint) IS 'the events of a group as one timeline; events with the same id count once';
CREATE FUNCTION eventmkt.merge_add(state bytea, part eventmkt.timeline) RETURNS bytea
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_timeline_merge_add';
COMMENT ON FUNCTION eventmkt.merge_add(state bytea, part eventmkt.timeline) IS 'part of aggregates';
CREATE AGGREGATE eventmkt.merge(part eventmkt.timeline) (
	SFUNC = eventmkt.merge_add, STYPE = bytea, SSPACE = 512, FINALFUNC = eventmkt.timeline_end,
	COMBINEFUNC = eventmkt.state_merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE eventmkt.merge(part eventmkt.timeline) IS 'one timeline of several parts in any order; events with the same id count once';
CREATE FUNCTION eventmkt.merge(a eventmkt.timeline, b eventmkt.timeline) RETURNS eventmkt.timeline
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_timeline_merge';
COMMENT ON FUNCTION eventmkt.merge(a eventmkt.timeline, b eventmkt.timeline) IS 'one timeline of two; NULL counts as none, events with the same id count once';
CREATE FUNCTION eventmkt.slice(tl eventmkt.timeline, from_time timestamptz, to_time timestamptz) RETURNS eventmkt.timeline
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_timeline_slice';
COMMENT ON FUNCTION eventmkt.slice(tl eventmkt.timeline, from_time timestamptz, to_time timestamptz) IS 'the events with from_time <= at < to_time; NULL leaves that end open';
CREATE FUNCTION eventmkt.unnest(tl eventmkt.timeline, OUT at timestamptz, OUT event text, OUT key text, OUT value numeric, OUT id bigint) RETURNS SETOF record
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 20 AS 'MODULE_PATHNAME', 'emk_analytics_timeline_unnest';
COMMENT ON FUNCTION eventmkt.unnest(tl eventmkt.timeline) IS 'the events of a timeline as rows, in order';
-- timelines: questions
CREATE FUNCTION eventmkt.count(tl eventmkt.timeline) RETURNS bigint
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_tl_count';
COMMENT ON FUNCTION eventmkt.count(tl eventmkt.timeline) IS 'number of events';
CREATE FUNCTION eventmkt.count(tl eventmkt.timeline, VARIADIC events text[]) RETURNS bigint
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_tl_count';
COMMENT ON FUNCTION eventmkt.count(tl eventmkt.timeline, VARIADIC events text[]) IS 'number of events, of the events named';
CREATE FUNCTION eventmkt.sum(tl eventmkt.timeline) RETURNS numeric
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_tl_sum';
COMMENT ON FUNCTION eventmkt.sum(tl eventmkt.timeline) IS 'sum of the values';
CREATE FUNCTION eventmkt.sum(tl eventmkt.timeline, VARIADIC events text[]) RETURNS numeric
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_tl_sum';
COMMENT ON FUNCTION eventmkt.sum(tl eventmkt.timeline, VARIADIC events text[]) IS 'sum of the values, of the events named';
CREATE FUNCTION eventmkt.first_at(tl eventmkt.timeline) RETURNS timestamptz
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_tl_first_at';
COMMENT ON FUNCTION eventmkt.first_at(tl eventmkt.timeline) IS 'time of the first event';
CREATE FUNCTION eventmkt.first_at(tl eventmkt.timeline, VARIADIC events text[]) RETURNS timestamptz
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_tl_first_at';
COMMENT ON FUNCTION eventmkt.first_at(tl eventmkt.timeline, VARIADIC events text[]) IS 'time of the first event, of the events named';
CREATE FUNCTION eventmkt.last_at(tl eventmkt.timeline) RETURNS timestamptz
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_tl_last_at';
COMMENT ON FUNCTION eventmkt.last_at(tl eventmkt.timeline) IS 'time of the last event';
CREATE FUNCTION eventmkt.last_at(tl eventmkt.timeline, VARIADIC events text[]) RETURNS timestamptz
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_tl_last_at';
COMMENT ON FUNCTION eventmkt.last_at(tl eventmkt.timeline, VARIADIC events text[]) IS 'time of the last event, of the events named';
CREATE FUNCTION eventmkt.funnel(tl eventmkt.timeline, within interval, VARIADIC events text[]) RETURNS integer
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_tl_funnel';
COMMENT ON FUNCTION eventmkt.funnel(tl eventmkt.timeline, within interval, VARIADIC events text[]) IS 'the furthest step taken in order within the window after the first step';
CREATE FUNCTION eventmkt.funnel(tl eventmkt.timeline, within interval, events text[], mode text) RETURNS integer
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_tl_funnel';
COMMENT ON FUNCTION eventmkt.funnel(tl eventmkt.timeline, within interval, events text[], mode text) IS 'the furthest step taken in order within the window after the first step, under the modes of the aggregate';
CREATE FUNCTION eventmkt.funnel_times(tl eventmkt.timeline, within interval, VARIADIC events text[]) RETURNS timestamptz[]
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_tl_funnel_times';
COMMENT ON FUNCTION eventmkt.funnel_times(tl eventmkt.timeline, within interval, VARIADIC events text[]) IS 'when each step up to the furthest was taken';
CREATE FUNCTION eventmkt.funnel_times(tl eventmkt.timeline, within interval, events text[], mode text) RETURNS timestamptz[]
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_tl_funnel_times';
COMMENT ON FUNCTION eventmkt.funnel_times(tl eventmkt.timeline, within interval, events text[], mode text) IS 'when each step up to the furthest was taken, under the modes of the aggregate';
CREATE FUNCTION eventmkt.sequence_match(tl eventmkt.timeline, pattern text, VARIADIC events text[]) RETURNS boolean
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_tl_sequence_match';
COMMENT ON FUNCTION eventmkt.sequence_match(tl eventmkt.timeline, pattern text, VARIADIC events text[]) IS 'does the pattern occur; condition n is the n-th event named';
CREATE FUNCTION eventmkt.sequence_count(tl eventmkt.timeline, pattern text, VARIADIC events text[]) RETURNS bigint
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_tl_sequence_count';
COMMENT ON FUNCTION eventmkt.sequence_count(tl eventmkt.timeline, pattern text, VARIADIC events text[]) IS 'how often the pattern occurs, without overlap; condition n is the n-th event named';
CREATE FUNCTION eventmkt.sequence_events(tl eventmkt.timeline, pattern text, VARIADIC events text[]) RETURNS timestamptz[]
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_tl_sequence_events';
COMMENT ON FUNCTION eventmkt.sequence_events(tl eventmkt.timeline, pattern text, VARIADIC events text[]) IS 'the times of the events of the first match; condition n is the n-th event named';
CREATE FUNCTION eventmkt.abandoned(tl eventmkt.timeline, opened text, closed text, within interval, debounce boolean DEFAULT false, per_key boolean DEFAULT false) RETURNS timestamptz[]
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_tl_abandoned';
COMMENT ON FUNCTION eventmkt.abandoned(tl eventmkt.timeline, opened text, closed text, within interval, debounce boolean, per_key boolean) IS 'the times of openings that no closing followed within the window';
CREATE FUNCTION eventmkt.abandoned(tl eventmkt.timeline, opened text[], closed text[], within interval, debounce boolean DEFAULT false, per_key boolean DEFAULT false) RETURNS timestamptz[]
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_tl_abandoned_any';
COMMENT ON FUNCTION eventmkt.abandoned(tl eventmkt.timeline, opened text[], closed text[], within interval, debounce boolean, per_key boolean) IS 'the same; any of the events opens, any closes';
CREATE FUNCTION eventmkt.abandoned_keys(tl eventmkt.timeline, opened text, closed text, within interval, debounce boolean DEFAULT false) RETURNS eventmkt.key_time[]
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_tl_abandoned_keys';
COMMENT ON FUNCTION eventmkt.abandoned_keys(tl eventmkt.timeline, opened text, closed text, within interval, debounce boolean) IS 'key and time of openings that no closing followed within the window';
CREATE FUNCTION eventmkt.retention(tl eventmkt.timeline, VARIADIC events text[]) RETURNS boolean[]
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_tl_retention';
COMMENT ON FUNCTION eventmkt.retention(tl eventmkt.timeline, VARIADIC events text[]) IS 'whether the first event happened, and with it each of the others';
CREATE FUNCTION eventmkt.retained(tl eventmkt.timeline, first_event text, return_event text, period interval, periods integer) RETURNS boolean[]
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_tl_retained';
COMMENT ON FUNCTION eventmkt.retained(tl eventmkt.timeline, first_event text, return_event text, period interval, periods integer) IS 'for each period after the first first_event whether there was a return_event';
CREATE FUNCTION eventmkt.max_in_window(tl eventmkt.timeline, within interval) RETURNS bigint
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_tl_max_in_window';
COMMENT ON FUNCTION eventmkt.max_in_window(tl eventmkt.timeline, within interval) IS 'the most events in any sliding window, both edges included';
CREATE FUNCTION eventmkt.max_in_window(tl eventmkt.timeline, within interval, VARIADIC events text[]) RETURNS bigint
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_tl_max_in_window';
COMMENT ON FUNCTION eventmkt.max_in_window(tl eventmkt.timeline, within interval, VARIADIC events text[]) IS 'the most events in any sliding window, both edges included, of the events named';
CREATE FUNCTION eventmkt.sessions(tl eventmkt.timeline, gap interval) RETURNS eventmkt.session_span[]
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_tl_sessions';
COMMENT ON FUNCTION eventmkt.sessions(tl eventmkt.timeline, gap interval) IS 'runs of events no more than the gap apart';
CREATE FUNCTION eventmkt.sessions(tl eventmkt.timeline, gap interval, VARIADIC events text[]) RETURNS eventmkt.session_span[]
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_tl_sessions';
COMMENT ON FUNCTION eventmkt.sessions(tl eventmkt.timeline, gap interval, VARIADIC events text[]) IS 'runs of events no more than the gap apart, of the events named';
CREATE FUNCTION eventmkt.cadence(tl eventmkt.timeline) RETURNS eventmkt.cadence_facts
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_tl_cadence';
COMMENT ON FUNCTION eventmkt.cadence(tl eventmkt.timeline) IS 'the typical gap between events and the next expected time';
CREATE FUNCTION eventmkt.cadence(tl eventmkt.timeline, VARIADIC events text[]) RETURNS eventmkt.cadence_facts
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_tl_cadence';
COMMENT ON FUNCTION eventmkt.cadence(tl eventmkt.timeline, VARIADIC events text[]) IS 'the typical gap between events and the next expected time, of the events named';
CREATE FUNCTION eventmkt.streak(tl eventmkt.timeline, zone text, grace integer) RETURNS eventmkt.streak_days
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_tl_streak';
COMMENT ON FUNCTION eventmkt.streak(tl eventmkt.timeline, zone text, grace integer) IS 'days in a row with an event, over at most grace missed days';
CREATE FUNCTION eventmkt.streak(tl eventmkt.timeline, zone text, grace integer, VARIADIC events text[]) RETURNS eventmkt.streak_days
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_tl_streak';
COMMENT ON FUNCTION eventmkt.streak(tl eventmkt.timeline, zone text, grace integer, VARIADIC events text[]) IS 'days in a row with an event, over at most grace missed days, of the events named';
CREATE FUNCTION eventmkt.engaged_hours(tl eventmkt.timeline, zone text) RETURNS bigint[]
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_tl_hours';
COMMENT ON FUNCTION eventmkt.engaged_hours(tl eventmkt.timeline, zone text) IS '24 counts: events in each local hour of the day';
CREATE FUNCTION eventmkt.engaged_hours(tl eventmkt.timeline, zone text, VARIADIC events text[]) RETURNS bigint[]
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_tl_hours';
COMMENT ON FUNCTION eventmkt.engaged_hours(tl eventmkt.timeline, zone text, VARIADIC events text[]) IS '24 counts: events in each local hour of the day, of the events named';
CREATE FUNCTION eventmkt.top_values(tl eventmkt.timeline, k integer) RETURNS eventmkt.value_count[]
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_tl_top_values';
COMMENT ON FUNCTION eventmkt.top_values(tl eventmkt.timeline, k integer) IS 'the k most frequent keys with their counts; ties by key';
CREATE FUNCTION eventmkt.top_values(tl eventmkt.timeline, k integer, VARIADIC events text[]) RETURNS eventmkt.value_count[]
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_tl_top_values';
COMMENT ON FUNCTION eventmkt.top_values(tl eventmkt.timeline, k integer, VARIADIC events text[]) IS 'the k most frequent keys with their counts; ties by key, of the events named';
CREATE FUNCTION eventmkt.first_touch(tl eventmkt.timeline) RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_tl_first_touch';
COMMENT ON FUNCTION eventmkt.first_touch(tl eventmkt.timeline) IS 'the key of the first event that has one';
CREATE FUNCTION eventmkt.first_touch(tl eventmkt.timeline, VARIADIC events text[]) RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_tl_first_touch';
COMMENT ON FUNCTION eventmkt.first_touch(tl eventmkt.timeline, VARIADIC events text[]) IS 'the key of the first event that has one, of the events named';
CREATE FUNCTION eventmkt.last_touch(tl eventmkt.timeline) RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_tl_last_touch';
COMMENT ON FUNCTION eventmkt.last_touch(tl eventmkt.timeline) IS 'the key of the last event that has one';
CREATE FUNCTION eventmkt.last_touch(tl eventmkt.timeline, VARIADIC events text[]) RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_tl_last_touch';
COMMENT ON FUNCTION eventmkt.last_touch(tl eventmkt.timeline, VARIADIC events text[]) IS 'the key of the last event that has one, of the events named';

-- roll-ups: what one person did in a period, mergeable
CREATE FUNCTION eventmkt.rollup_add(state internal, at timestamptz, event text, item text, value numeric) RETURNS internal
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_rollup_add';
COMMENT ON FUNCTION eventmkt.rollup_add(internal, timestamptz, text, text, numeric) IS 'part of aggregates';
CREATE FUNCTION eventmkt.rollup_end(state internal) RETURNS bytea
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_rollup_end';
COMMENT ON FUNCTION eventmkt.rollup_end(internal) IS 'part of aggregates';
CREATE FUNCTION eventmkt.rollup_merge(a bytea, b bytea) RETURNS bytea
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_rollup_merge';
COMMENT ON FUNCTION eventmkt.rollup_merge(bytea, bytea) IS 'the roll-up of two periods of the same person';
CREATE AGGREGATE eventmkt.rollup(at timestamptz, event text, item text, value numeric) (
	SFUNC = eventmkt.rollup_add, STYPE = internal, SSPACE = 512, FINALFUNC = eventmkt.rollup_end, PARALLEL = SAFE
);
COMMENT ON AGGREGATE eventmkt.rollup(timestamptz, text, text, numeric) IS
	'what one person did: active days, events and sums by name, items';
CREATE AGGREGATE eventmkt.merge_rollups(bytea) (
	SFUNC = eventmkt.rollup_merge, STYPE = bytea, SSPACE = 512, COMBINEFUNC = eventmkt.rollup_merge, PARALLEL = SAFE
);
COMMENT ON AGGREGATE eventmkt.merge_rollups(bytea) IS 'the roll-up of several periods of the same person';
CREATE FUNCTION eventmkt.rollup_json(rollup bytea, top int DEFAULT 5) RETURNS json
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_rollup_json';
COMMENT ON FUNCTION eventmkt.rollup_json(bytea, int) IS 'a roll-up as JSON, with its most frequent items';

-- PUBLIC has nothing; grant_access() gives analysts what they need
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA eventmkt FROM PUBLIC;
-- event: partitions
CREATE FUNCTION eventmkt.make_partitions("from" timestamptz, "to" timestamptz) RETURNS int
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'emk_event_make_partitions_sql';
COMMENT ON FUNCTION eventmkt.make_partitions(timestamptz, timestamptz) IS
	'makes the partitions of event and decision that cover a time range; returns how many were made';
REVOKE ALL ON FUNCTION eventmkt.make_partitions(timestamptz, timestamptz) FROM PUBLIC;
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
-- deliver: the one member table. A member table that is not marked with pg_extension_config_dump is in no dump.
CREATE TABLE eventmkt.secret (
	endpoint	text COLLATE "C" NOT NULL,
	secret		bytea NOT NULL,
	created_at	timestamptz NOT NULL,
	expires_at	timestamptz				-- business time; NULL: the current secret
);
CREATE INDEX secret_endpoint ON eventmkt.secret (endpoint);
ALTER TABLE eventmkt.secret REPLICA IDENTITY FULL;		-- no key: else a publication FOR ALL TABLES makes its deletes fail
REVOKE ALL ON eventmkt.secret FROM PUBLIC;
COMMENT ON TABLE eventmkt.secret IS 'signing secrets of endpoints; never dumped';
CREATE TRIGGER touched AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON eventmkt.secret
	FOR EACH STATEMENT EXECUTE FUNCTION eventmkt.invalidate_cache();

-- endpoints, for operators
CREATE FUNCTION eventmkt.create_endpoint(name text, url text, secret text = NULL, headers jsonb = '{}', method text = 'POST',
	timeout interval = '10 seconds', max_in_flight int = 32, rate_limit int = NULL, schedule int[] = NULL,
	give_up_after interval = '5 days') RETURNS text
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'emk_deliver_create_endpoint';
COMMENT ON FUNCTION eventmkt.create_endpoint(text, text, text, jsonb, text, interval, int, int, int[], interval)
	IS 'makes an endpoint and returns its signing secret, which is shown only now';
CREATE FUNCTION eventmkt.replace_endpoint(name text, url text, secret text = NULL, headers jsonb = '{}', method text = 'POST',
	timeout interval = '10 seconds', max_in_flight int = 32, rate_limit int = NULL, schedule int[] = NULL,
	give_up_after interval = '5 days') RETURNS void
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'emk_deliver_replace_endpoint';
COMMENT ON FUNCTION eventmkt.replace_endpoint(text, text, text, jsonb, text, interval, int, int, int[], interval)
	IS 'changes an endpoint; its secret stays unless one is given';
CREATE FUNCTION eventmkt.enable_endpoint(name text) RETURNS void
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'emk_deliver_enable_endpoint';
COMMENT ON FUNCTION eventmkt.enable_endpoint(text) IS 'lets an endpoint be sent to again; what was held goes out';
CREATE FUNCTION eventmkt.disable_endpoint(name text) RETURNS void
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'emk_deliver_disable_endpoint';
COMMENT ON FUNCTION eventmkt.disable_endpoint(text) IS 'holds everything for an endpoint until it is enabled';
CREATE FUNCTION eventmkt.drop_endpoint(name text) RETURNS void
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'emk_deliver_drop_endpoint';
COMMENT ON FUNCTION eventmkt.drop_endpoint(text) IS 'drops an endpoint that no rule sends to; what waits for it is cancelled';
CREATE FUNCTION eventmkt.set_secret(name text, secret text = NULL) RETURNS text
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'emk_deliver_set_secret';
COMMENT ON FUNCTION eventmkt.set_secret(text, text)
	IS 'replaces all secrets of an endpoint at once, by a new one unless one is given, and returns it';
CREATE FUNCTION eventmkt.rotate_secret(name text, overlap interval = '24 hours') RETURNS text
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'emk_deliver_rotate_secret';
COMMENT ON FUNCTION eventmkt.rotate_secret(text, interval)
	IS 'makes a new secret and returns it; messages carry the old signature too until the overlap is over';

-- deliveries, for operators
CREATE FUNCTION eventmkt.redeliver(delivery uuid) RETURNS bool
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'emk_deliver_redeliver';
COMMENT ON FUNCTION eventmkt.redeliver(uuid)
	IS 'sends a dead or delivered message again, same id and body; false: it is being sent right now';
CREATE FUNCTION eventmkt.redeliver_dead(endpoint text, since timestamptz, until timestamptz) RETURNS bigint
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'emk_deliver_redeliver_dead';
COMMENT ON FUNCTION eventmkt.redeliver_dead(text, timestamptz, timestamptz)
	IS 'sends all messages to an endpoint again that died between two times; returns how many';

-- what a receiver and an operator may want to work out
CREATE FUNCTION eventmkt.webhook_signature(id text, "timestamp" bigint, body text, secret text) RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_deliver_webhook_signature';
COMMENT ON FUNCTION eventmkt.webhook_signature(text, bigint, text, text)
	IS 'the webhook-signature that belongs to a message, as Standard Webhooks defines it';
CREATE FUNCTION eventmkt.plan_retry(status int, tries int, schedule int[], retry_after text, at timestamptz, spread float8 = 0.5,
	OUT verdict text, OUT next_attempt_at timestamptz, OUT reason text) RETURNS record
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_deliver_plan_retry';
COMMENT ON FUNCTION eventmkt.plan_retry(int, int, int[], text, timestamptz, float8)
	IS 'what the worker does with an answer (status NULL: none came) to the given try; spread 0 to 1 is its jitter';

REVOKE ALL ON FUNCTION
	eventmkt.create_endpoint(text, text, text, jsonb, text, interval, int, int, int[], interval),
	eventmkt.replace_endpoint(text, text, text, jsonb, text, interval, int, int, int[], interval),
	eventmkt.enable_endpoint(text), eventmkt.disable_endpoint(text), eventmkt.drop_endpoint(text),
	eventmkt.set_secret(text, text), eventmkt.rotate_secret(text, interval),
	eventmkt.redeliver(uuid), eventmkt.redeliver_dead(text, timestamptz, timestamptz),
	eventmkt.webhook_signature(text, bigint, text, text),
	eventmkt.plan_retry(int, int, int[], text, timestamptz, float8)
	FROM PUBLIC;
-- worker: starting and stopping the workers of this database
CREATE FUNCTION eventmkt.start_worker() RETURNS text
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_worker_start';
COMMENT ON FUNCTION eventmkt.start_worker() IS
	'lets workers run in this database; needed after every server start where the library is not preloaded';
CREATE FUNCTION eventmkt.stop_worker() RETURNS text
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_worker_stop';
COMMENT ON FUNCTION eventmkt.stop_worker() IS
	'ends the workers of this database and keeps them away until start_worker() or the next server start';
REVOKE ALL ON FUNCTION eventmkt.start_worker(), eventmkt.stop_worker() FROM PUBLIC;

-- spine 2 by hand
CREATE FUNCTION eventmkt.run_due(max_rows int DEFAULT 10000) RETURNS int
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_worker_run_due';
COMMENT ON FUNCTION eventmkt.run_due(int) IS
	'one pass without HTTP in this session: work rows, then due runs, up to max_rows; returns how many were handled';
CREATE FUNCTION eventmkt.maintain() RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_worker_maintain_sql';
COMMENT ON FUNCTION eventmkt.maintain() IS
	'makes partitions ahead and drops what retention and dedupe_window make old, at most 10,000 deliveries and changes of traits a call; '
	'the worker does it every hour';
REVOKE ALL ON FUNCTION eventmkt.run_due(int), eventmkt.maintain() FROM PUBLIC;

-- segments to endpoints
CREATE FUNCTION eventmkt.sync_segment(segment text, endpoint text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_activate_sync';
COMMENT ON FUNCTION eventmkt.sync_segment(text, text) IS
	'tells an endpoint who is in a tracked segment, then who comes and who leaves, in batches; again: goes on after a message that died';
CREATE FUNCTION eventmkt.unsync_segment(segment text, endpoint text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_activate_unsync';
COMMENT ON FUNCTION eventmkt.unsync_segment(text, text) IS 'ends that; the endpoint is told nothing of it';
REVOKE ALL ON FUNCTION eventmkt.sync_segment(text, text), eventmkt.unsync_segment(text, text) FROM PUBLIC;
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
CREATE FUNCTION eventmkt.tail_add(state internal, profile_id text, at timestamptz, name text, properties jsonb,
	key_property text, value_property text) RETURNS internal
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_report_tail_add';
COMMENT ON FUNCTION eventmkt.tail_add(internal, text, timestamptz, text, jsonb, text, text) IS 'part of the view profile_timelines';
CREATE FUNCTION eventmkt.tail_merge(a internal, b internal) RETURNS internal
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_report_tail_merge';
COMMENT ON FUNCTION eventmkt.tail_merge(internal, internal) IS 'part of the view profile_timelines';
CREATE FUNCTION eventmkt.tail_save(state internal) RETURNS bytea
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_report_tail_save';
COMMENT ON FUNCTION eventmkt.tail_save(internal) IS 'part of the view profile_timelines';
CREATE FUNCTION eventmkt.tail_load(saved bytea, state internal) RETURNS internal
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_report_tail_load';
COMMENT ON FUNCTION eventmkt.tail_load(bytea, internal) IS 'part of the view profile_timelines';
CREATE FUNCTION eventmkt.open_tail() RETURNS eventmkt.tail
	LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_report_open_tail';
COMMENT ON FUNCTION eventmkt.open_tail() IS 'part of the view profile_timelines';
CREATE AGGREGATE eventmkt.open_tail(profile_id text, at timestamptz, name text, properties jsonb, key_property text,
	value_property text) (
	SFUNC = eventmkt.tail_add, STYPE = internal, SSPACE = 65536, FINALFUNC = eventmkt.tail_save,
	COMBINEFUNC = eventmkt.tail_merge, SERIALFUNC = eventmkt.tail_save, DESERIALFUNC = eventmkt.tail_load, PARALLEL = SAFE
);
COMMENT ON AGGREGATE eventmkt.open_tail(text, timestamptz, text, jsonb, text, text) IS 'part of the view profile_timelines';
CREATE FUNCTION eventmkt.with_tail(t eventmkt.timeline, profile_id text, open_tail eventmkt.tail) RETURNS eventmkt.timeline
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_report_with_tail';
COMMENT ON FUNCTION eventmkt.with_tail(eventmkt.timeline, text, eventmkt.tail) IS 'part of the view profile_timelines';
CREATE FUNCTION eventmkt.tail_rows(open_tail eventmkt.tail, OUT profile_id text, OUT t eventmkt.timeline) RETURNS SETOF record
	LANGUAGE c STABLE STRICT PARALLEL SAFE ROWS 1000 COST 100000 AS 'MODULE_PATHNAME', 'emk_report_tail_rows';
COMMENT ON FUNCTION eventmkt.tail_rows(eventmkt.tail) IS 'part of the view profile_timelines';
CREATE FUNCTION eventmkt.mark_merged() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'emk_report_mark_merged';
COMMENT ON FUNCTION eventmkt.mark_merged() IS 'trigger of the alias table: kept timelines of profiles that merge or part are packed anew';
REVOKE ALL ON FUNCTION eventmkt.tail_in(cstring), eventmkt.tail_out(eventmkt.tail),
	eventmkt.tail_add(internal, text, timestamptz, text, jsonb, text, text), eventmkt.tail_merge(internal, internal),
	eventmkt.tail_save(internal), eventmkt.tail_load(bytea, internal), eventmkt.open_tail(),
	eventmkt.with_tail(eventmkt.timeline, text, eventmkt.tail), eventmkt.tail_rows(eventmkt.tail), eventmkt.mark_merged() FROM PUBLIC;
REVOKE ALL ON FUNCTION eventmkt.open_tail(text, timestamptz, text, jsonb, text, text) FROM PUBLIC;

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
-- admin: setting up, rights
CREATE FUNCTION eventmkt.init(owner name DEFAULT 'eventmkt')
	RETURNS TABLE (step text, state text, hint text)
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_admin_initialize';
COMMENT ON FUNCTION eventmkt.init(name) IS
	'makes or brings up to date the tables of eventmkt in this database, owned by a role that is no superuser; superuser only';

CREATE FUNCTION eventmkt.grant_access(role name, kind text) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_admin_grant_access';
COMMENT ON FUNCTION eventmkt.grant_access(name, text) IS
	'lets a role do what a tracker, marketer, analyst or operator does; superuser only';

CREATE FUNCTION eventmkt.revoke_access(role name, kind text) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_admin_revoke_access';
COMMENT ON FUNCTION eventmkt.revoke_access(name, text) IS 'takes back what grant_access() gave; superuser only';

CREATE FUNCTION eventmkt.adopt(policy text DEFAULT 'expire') RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_admin_adopt';
COMMENT ON FUNCTION eventmkt.adopt(text) IS
	'lets a copy of a database send; what was waiting is sent, expired where due already, or discarded; how many ended';

CREATE FUNCTION eventmkt.advance_clock(by interval) RETURNS timestamptz
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_admin_advance_clock';
COMMENT ON FUNCTION eventmkt.advance_clock(interval) IS
	'moves business time forward, for tests and demonstrations; refused while an endpoint lies outside this machine';

CREATE FUNCTION eventmkt.change_setting(key text, value text) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_admin_change_setting';
COMMENT ON FUNCTION eventmkt.change_setting(text, text) IS
	'changes a setting of this database: partition_period, retention, dedupe_window, profile_burst, node; NULL puts the default back';

CREATE FUNCTION eventmkt.health() RETURNS TABLE ("check" text, state text, detail text, hint text)
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_admin_health';
COMMENT ON FUNCTION eventmkt.health() IS 'how eventmkt is in this database: ok, warn or error a check, and what to do';

CREATE FUNCTION eventmkt.replace_rule(name text, on_event text, where_event jsonpath DEFAULT NULL,
	where_profile jsonpath DEFAULT NULL, at_least int DEFAULT 1, within interval DEFAULT NULL, per text DEFAULT NULL,
	unless text[] DEFAULT '{}', unless_where jsonpath DEFAULT NULL, look_back interval DEFAULT '0',
	after interval DEFAULT '0', on_repeat text DEFAULT 'debounce', reentry interval DEFAULT NULL,
	send_to text DEFAULT NULL, template text DEFAULT NULL, steps jsonb DEFAULT NULL,
	max_lateness interval DEFAULT NULL, priority int DEFAULT 0, enabled bool DEFAULT NULL,
	where_segment text DEFAULT NULL) RETURNS int
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'emk_admin_replace_rule';
COMMENT ON FUNCTION eventmkt.replace_rule(text, text, jsonpath, jsonpath, int, interval, text, text[], jsonpath, interval,
	interval, text, interval, text, text, jsonb, interval, int, bool, text) IS
	'makes the next version of a rule, enabled as it was unless said; live runs keep the version they started with';

CREATE FUNCTION eventmkt.enable_rule(name text) RETURNS void
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'emk_admin_enable_rule';
COMMENT ON FUNCTION eventmkt.enable_rule(text) IS
	'lets a disabled rule start runs again; held runs that are too late by now expire, nothing stale is sent';

CREATE FUNCTION eventmkt.disable_rule(name text) RETURNS void
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'emk_admin_disable_rule';
COMMENT ON FUNCTION eventmkt.disable_rule(text) IS 'stops a rule from starting runs and holds those that fall due';

CREATE FUNCTION eventmkt.drop_rule(name text) RETURNS bigint
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'emk_admin_drop_rule';
COMMENT ON FUNCTION eventmkt.drop_rule(text) IS
	'ends a rule: its live runs and waiting deliveries are cancelled and counted, its name is free, its decisions stay';

CREATE FUNCTION eventmkt.why_not(user_id text, rule text)
	RETURNS TABLE (step text, outcome text, reason text, event_id bigint, detail jsonb)
	LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'emk_admin_why_not';
COMMENT ON FUNCTION eventmkt.why_not(text, text) IS
	'why a person did not get the message of a rule: the answer first, then every step on the way with the values';

CREATE FUNCTION eventmkt.erase(user_id text) RETURNS TABLE (table_name text, rows bigint)
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_admin_erase';
COMMENT ON FUNCTION eventmkt.erase(text) IS
	'removes a person by all ids from every table and takes nothing for those ids any more; rows removed or made anonymous, by table';

CREATE FUNCTION eventmkt.finish_erasures() RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_admin_finish_erasures';
COMMENT ON FUNCTION eventmkt.finish_erasures() IS
	'the second look of erase(), after the transactions that were open have ended; the worker does it by itself; how many are left';

CREATE FUNCTION eventmkt.unerase(user_id text) RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_admin_unerase';
COMMENT ON FUNCTION eventmkt.unerase(text) IS
	'takes events of an erased person again, under this id and those erased with it; brings nothing back; how many ids';

CREATE FUNCTION eventmkt.export(user_id text) RETURNS jsonb
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_admin_export';
COMMENT ON FUNCTION eventmkt.export(text) IS
	'everything that is stored about a person, by table, under all ids; leaves a row in privacy_log';

-- nothing of ours is for everybody; this file comes last, so it covers every layer
REVOKE ALL ON ALL ROUTINES IN SCHEMA eventmkt FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA eventmkt FROM PUBLIC;

-- analytics: questions over history, as aggregates over any table and as functions over timelines.
-- Functions whose names end in _add and _end are the parts of the aggregates; their states are bytea in a form of our own.

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
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'emk_analytics_tl_sum';
COMMENT ON FUNCTION eventmkt.sum(tl eventmkt.timeline) IS 'sum of the values';
CREATE FUNCTION eventmkt.sum(tl eventmkt.timeline, VARIADIC events text[]) RETURNS numeric
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'emk_analytics_tl_sum';
COMMENT ON FUNCTION eventmkt.sum(tl eventmkt.timeline, VARIADIC events text[]) IS 'sum of the values, of the events named';
CREATE FUNCTION eventmkt.first_at(tl eventmkt.timeline) RETURNS timestamptz
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'emk_analytics_tl_first_at';
COMMENT ON FUNCTION eventmkt.first_at(tl eventmkt.timeline) IS 'time of the first event';
CREATE FUNCTION eventmkt.first_at(tl eventmkt.timeline, VARIADIC events text[]) RETURNS timestamptz
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'emk_analytics_tl_first_at';
COMMENT ON FUNCTION eventmkt.first_at(tl eventmkt.timeline, VARIADIC events text[]) IS 'time of the first event, of the events named';
CREATE FUNCTION eventmkt.last_at(tl eventmkt.timeline) RETURNS timestamptz
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'emk_analytics_tl_last_at';
COMMENT ON FUNCTION eventmkt.last_at(tl eventmkt.timeline) IS 'time of the last event';
CREATE FUNCTION eventmkt.last_at(tl eventmkt.timeline, VARIADIC events text[]) RETURNS timestamptz
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'emk_analytics_tl_last_at';
COMMENT ON FUNCTION eventmkt.last_at(tl eventmkt.timeline, VARIADIC events text[]) IS 'time of the last event, of the events named';
CREATE FUNCTION eventmkt.funnel(tl eventmkt.timeline, within interval, VARIADIC events text[]) RETURNS integer
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'emk_analytics_tl_funnel';
COMMENT ON FUNCTION eventmkt.funnel(tl eventmkt.timeline, within interval, VARIADIC events text[]) IS 'the furthest step taken in order within the window after the first step';
CREATE FUNCTION eventmkt.funnel(tl eventmkt.timeline, within interval, events text[], mode text) RETURNS integer
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'emk_analytics_tl_funnel';
COMMENT ON FUNCTION eventmkt.funnel(tl eventmkt.timeline, within interval, events text[], mode text) IS 'the furthest step taken in order within the window after the first step, under the modes of the aggregate';
CREATE FUNCTION eventmkt.funnel_times(tl eventmkt.timeline, within interval, VARIADIC events text[]) RETURNS timestamptz[]
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'emk_analytics_tl_funnel_times';
COMMENT ON FUNCTION eventmkt.funnel_times(tl eventmkt.timeline, within interval, VARIADIC events text[]) IS 'when each step up to the furthest was taken';
CREATE FUNCTION eventmkt.funnel_times(tl eventmkt.timeline, within interval, events text[], mode text) RETURNS timestamptz[]
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'emk_analytics_tl_funnel_times';
COMMENT ON FUNCTION eventmkt.funnel_times(tl eventmkt.timeline, within interval, events text[], mode text) IS 'when each step up to the furthest was taken, under the modes of the aggregate';
CREATE FUNCTION eventmkt.sequence_match(tl eventmkt.timeline, pattern text, VARIADIC events text[]) RETURNS boolean
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'emk_analytics_tl_sequence_match';
COMMENT ON FUNCTION eventmkt.sequence_match(tl eventmkt.timeline, pattern text, VARIADIC events text[]) IS 'does the pattern occur; condition n is the n-th event named';
CREATE FUNCTION eventmkt.sequence_count(tl eventmkt.timeline, pattern text, VARIADIC events text[]) RETURNS bigint
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'emk_analytics_tl_sequence_count';
COMMENT ON FUNCTION eventmkt.sequence_count(tl eventmkt.timeline, pattern text, VARIADIC events text[]) IS 'how often the pattern occurs, without overlap; condition n is the n-th event named';
CREATE FUNCTION eventmkt.sequence_events(tl eventmkt.timeline, pattern text, VARIADIC events text[]) RETURNS timestamptz[]
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'emk_analytics_tl_sequence_events';
COMMENT ON FUNCTION eventmkt.sequence_events(tl eventmkt.timeline, pattern text, VARIADIC events text[]) IS 'the times of the events of the first match; condition n is the n-th event named';
CREATE FUNCTION eventmkt.abandoned(tl eventmkt.timeline, opened text, closed text, within interval, debounce boolean DEFAULT false, per_key boolean DEFAULT false) RETURNS timestamptz[]
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'emk_analytics_tl_abandoned';
COMMENT ON FUNCTION eventmkt.abandoned(tl eventmkt.timeline, opened text, closed text, within interval, debounce boolean, per_key boolean) IS 'the times of openings that no closing followed within the window';
CREATE FUNCTION eventmkt.abandoned(tl eventmkt.timeline, opened text[], closed text[], within interval, debounce boolean DEFAULT false, per_key boolean DEFAULT false) RETURNS timestamptz[]
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'emk_analytics_tl_abandoned_any';
COMMENT ON FUNCTION eventmkt.abandoned(tl eventmkt.timeline, opened text[], closed text[], within interval, debounce boolean, per_key boolean) IS 'the same; any of the events opens, any closes';
CREATE FUNCTION eventmkt.abandoned_keys(tl eventmkt.timeline, opened text, closed text, within interval, debounce boolean DEFAULT false) RETURNS eventmkt.key_time[]
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'emk_analytics_tl_abandoned_keys';
COMMENT ON FUNCTION eventmkt.abandoned_keys(tl eventmkt.timeline, opened text, closed text, within interval, debounce boolean) IS 'key and time of openings that no closing followed within the window';
CREATE FUNCTION eventmkt.retention(tl eventmkt.timeline, VARIADIC events text[]) RETURNS boolean[]
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_analytics_tl_retention';
COMMENT ON FUNCTION eventmkt.retention(tl eventmkt.timeline, VARIADIC events text[]) IS 'whether the first event happened, and with it each of the others';
CREATE FUNCTION eventmkt.retained(tl eventmkt.timeline, first_event text, return_event text, period interval, periods integer) RETURNS boolean[]
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'emk_analytics_tl_retained';
COMMENT ON FUNCTION eventmkt.retained(tl eventmkt.timeline, first_event text, return_event text, period interval, periods integer) IS 'for each period after the first first_event whether there was a return_event';
CREATE FUNCTION eventmkt.max_in_window(tl eventmkt.timeline, within interval) RETURNS bigint
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'emk_analytics_tl_max_in_window';
COMMENT ON FUNCTION eventmkt.max_in_window(tl eventmkt.timeline, within interval) IS 'the most events in any sliding window, both edges included';
CREATE FUNCTION eventmkt.max_in_window(tl eventmkt.timeline, within interval, VARIADIC events text[]) RETURNS bigint
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'emk_analytics_tl_max_in_window';
COMMENT ON FUNCTION eventmkt.max_in_window(tl eventmkt.timeline, within interval, VARIADIC events text[]) IS 'the most events in any sliding window, both edges included, of the events named';
CREATE FUNCTION eventmkt.sessions(tl eventmkt.timeline, gap interval) RETURNS eventmkt.session_span[]
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'emk_analytics_tl_sessions';
COMMENT ON FUNCTION eventmkt.sessions(tl eventmkt.timeline, gap interval) IS 'runs of events no more than the gap apart';
CREATE FUNCTION eventmkt.sessions(tl eventmkt.timeline, gap interval, VARIADIC events text[]) RETURNS eventmkt.session_span[]
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'emk_analytics_tl_sessions';
COMMENT ON FUNCTION eventmkt.sessions(tl eventmkt.timeline, gap interval, VARIADIC events text[]) IS 'runs of events no more than the gap apart, of the events named';
CREATE FUNCTION eventmkt.cadence(tl eventmkt.timeline) RETURNS eventmkt.cadence_facts
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'emk_analytics_tl_cadence';
COMMENT ON FUNCTION eventmkt.cadence(tl eventmkt.timeline) IS 'the typical gap between events and the next expected time';
CREATE FUNCTION eventmkt.cadence(tl eventmkt.timeline, VARIADIC events text[]) RETURNS eventmkt.cadence_facts
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'emk_analytics_tl_cadence';
COMMENT ON FUNCTION eventmkt.cadence(tl eventmkt.timeline, VARIADIC events text[]) IS 'the typical gap between events and the next expected time, of the events named';
CREATE FUNCTION eventmkt.streak(tl eventmkt.timeline, zone text, grace integer) RETURNS eventmkt.streak_days
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'emk_analytics_tl_streak';
COMMENT ON FUNCTION eventmkt.streak(tl eventmkt.timeline, zone text, grace integer) IS 'days in a row with an event, over at most grace missed days';
CREATE FUNCTION eventmkt.streak(tl eventmkt.timeline, zone text, grace integer, VARIADIC events text[]) RETURNS eventmkt.streak_days
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'emk_analytics_tl_streak';
COMMENT ON FUNCTION eventmkt.streak(tl eventmkt.timeline, zone text, grace integer, VARIADIC events text[]) IS 'days in a row with an event, over at most grace missed days, of the events named';
CREATE FUNCTION eventmkt.engaged_hours(tl eventmkt.timeline, zone text) RETURNS bigint[]
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'emk_analytics_tl_hours';
COMMENT ON FUNCTION eventmkt.engaged_hours(tl eventmkt.timeline, zone text) IS '24 counts: events in each local hour of the day';
CREATE FUNCTION eventmkt.engaged_hours(tl eventmkt.timeline, zone text, VARIADIC events text[]) RETURNS bigint[]
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'emk_analytics_tl_hours';
COMMENT ON FUNCTION eventmkt.engaged_hours(tl eventmkt.timeline, zone text, VARIADIC events text[]) IS '24 counts: events in each local hour of the day, of the events named';
CREATE FUNCTION eventmkt.top_values(tl eventmkt.timeline, k integer) RETURNS eventmkt.value_count[]
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'emk_analytics_tl_top_values';
COMMENT ON FUNCTION eventmkt.top_values(tl eventmkt.timeline, k integer) IS 'the k most frequent keys with their counts; ties by key';
CREATE FUNCTION eventmkt.top_values(tl eventmkt.timeline, k integer, VARIADIC events text[]) RETURNS eventmkt.value_count[]
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'emk_analytics_tl_top_values';
COMMENT ON FUNCTION eventmkt.top_values(tl eventmkt.timeline, k integer, VARIADIC events text[]) IS 'the k most frequent keys with their counts; ties by key, of the events named';
CREATE FUNCTION eventmkt.first_touch(tl eventmkt.timeline) RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'emk_analytics_tl_first_touch';
COMMENT ON FUNCTION eventmkt.first_touch(tl eventmkt.timeline) IS 'the key of the first event that has one';
CREATE FUNCTION eventmkt.first_touch(tl eventmkt.timeline, VARIADIC events text[]) RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'emk_analytics_tl_first_touch';
COMMENT ON FUNCTION eventmkt.first_touch(tl eventmkt.timeline, VARIADIC events text[]) IS 'the key of the first event that has one, of the events named';
CREATE FUNCTION eventmkt.last_touch(tl eventmkt.timeline) RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'emk_analytics_tl_last_touch';
COMMENT ON FUNCTION eventmkt.last_touch(tl eventmkt.timeline) IS 'the key of the last event that has one';
CREATE FUNCTION eventmkt.last_touch(tl eventmkt.timeline, VARIADIC events text[]) RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE COST 5 AS 'MODULE_PATHNAME', 'emk_analytics_tl_last_touch';
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

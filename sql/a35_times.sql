-- A35: times and types that are none, too far, or change: an error or a stated result, no row that waits for ever
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
CREATE FUNCTION pg_temp.try(call text) RETURNS TABLE (state text, message text) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE call;
	RETURN QUERY SELECT 'ok', NULL;
EXCEPTION WHEN OTHERS THEN
	RETURN QUERY SELECT SQLSTATE, left(SQLERRM, 110);
END $$;
SELECT r.* FROM unnest(ARRAY[
	$$eventmkt.track('u', 'E', occurred_at => '294276-12-31 23:59:59Z')$$, $$eventmkt.track('u', 'E', occurred_at => '294277-01-01')$$,
	$$eventmkt.track('u', 'E', occurred_at => '-infinity')$$, $$eventmkt.track('u', 'E', occurred_at => 'infinity')$$,
	$$eventmkt.track('u', 'E', occurred_at => '2026-02-30')$$, $$eventmkt.track('u', 'E', occurred_at => '2026-01-01 00:00 Mars/Olympus')$$,
	$$eventmkt.track_many('[{"user_id": "u", "event": "E", "occurred_at": "294276-12-31T23:59:59Z"}]')$$,
	$$eventmkt.track_many('[{"user_id": "u", "event": "E", "occurred_at": "soon"}]')$$,
	$$eventmkt.make_partitions('-infinity', 'infinity')$$, $$eventmkt.advance_clock('178000000 years')$$, $$eventmkt.advance_clock('-1 day')$$,
	$$eventmkt.advance_clock(NULL)$$, $$eventmkt.rotate_secret('none', '178000000 years')$$,
	$$eventmkt.create_rule('a', 'E', after => '178000000 years', send_to => 'none')$$, $$eventmkt.create_rule('a', 'E', after => '3661 days', send_to => 'none')$$,
	$$eventmkt.create_rule('a', 'E', after => '-1 second', send_to => 'none')$$, $$eventmkt.create_rule('a', 'E', at_least => 2, within => '12 years', send_to => 'none')$$,
	$$eventmkt.create_rule('a', 'E', max_lateness => '3000 months', send_to => 'none')$$,
	$$eventmkt.create_rule('a', 'E', unless => '{F}', look_back => '10000 days', send_to => 'none')$$]) WITH ORDINALITY t (call, n), pg_temp.try('SELECT ' || call) r ORDER BY n;
-- the farthest that is allowed, on the oldest event that PostgreSQL can write down
SELECT eventmkt.create_rule('far', on_event => 'Old', after => '3660 days', unless => '{Stop}', look_back => '3660 days', reentry => '3660 days', send_to => 'none') > 0 AS made;
SELECT eventmkt.create_rule('count', on_event => 'Old', at_least => 2, within => '3660 days', max_lateness => '3660 days', send_to => 'none') > 0 AS made;
SELECT eventmkt.track('old', 'Old', occurred_at => '4713-01-01 00:00Z BC') IS NOT NULL AS x;
SELECT eventmkt.track('old', 'Old', occurred_at => '4713-01-02 00:00Z BC') IS NOT NULL AS x;
SELECT eventmkt.track('new', 'Old') IS NOT NULL AS x;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT eventmkt.run_due() AS again;
SELECT rule, profile_id, outcome, reason FROM eventmkt_data.decision ORDER BY 1, 2;
SELECT count(*) AS live, bool_and(isfinite(due_at) AND isfinite(wake_at)) AS finite, bool_and(due_at - started_at = '3660 days') AS right FROM eventmkt_data.pending_trigger;
SELECT count(*) AS work FROM eventmkt_data.work;
-- a property that is a number, text, an array, an object, true, null, or not there: never an error, never a wrong match
SELECT eventmkt.create_rule('hot', on_event => 'P', where_event => '$.v >= 50', send_to => 'none') > 0 AS made;
SELECT eventmkt.create_rule('hashed', on_event => 'P', where_event => '$.v == 50', send_to => 'none') > 0 AS made;
SELECT eventmkt.create_rule('keyed', on_event => 'P', per => 'v', after => '1 minute', send_to => 'none') > 0 AS made;
SELECT eventmkt.create_rule('double', on_event => 'P', where_event => '$.v.double() >= 50', send_to => 'none') > 0 AS made;
SELECT eventmkt.create_rule('dated', on_event => 'P', where_event => '$.v.datetime() > "2026-01-01".datetime()', send_to => 'none') > 0 AS made;
SELECT eventmkt.track('p' || n, 'P', v::jsonb) IS NOT NULL AS x FROM unnest(ARRAY['{"v": 50}', '{"v": 50.000}', '{"v": "50"}', '{"v": [1, 50]}', '{"v": {"v": 50}}',
	'{"v": true}', '{"v": null}', '{}', '{"v": "x"}', '{"v": 1e308}', '{"v": 1e400}', '{"v": "1e400"}', '{"v": "2026-06-01"}', '{"v": "2026-13-01"}', '{"v": "NaN"}'])
	WITH ORDINALITY t (v, n);
SELECT eventmkt.run_due() > 0 AS ran;
SELECT rule, string_agg(profile_id || CASE outcome WHEN 'recorded' THEN '' ELSE ' ' || reason END, ', ' ORDER BY right('0' || substr(profile_id, 2), 2)) AS decided
  FROM eventmkt_data.decision WHERE rule IN ('hot', 'hashed', 'keyed', 'double', 'dated') GROUP BY 1 ORDER BY 1;
SELECT string_agg(CASE WHEN length(key) > 50 THEN length(key) || ' digits' ELSE key END, ' ' ORDER BY right('0' || substr(profile_id, 2), 2)) AS keys FROM eventmkt_data.pending_trigger p JOIN eventmkt_data.rule USING (rule_id) WHERE name = 'keyed';
SELECT name FROM eventmkt_data.rule WHERE NOT enabled;

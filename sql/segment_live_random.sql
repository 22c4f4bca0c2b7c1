-- live membership = the views, after random histories: late and shuffled events, merges, undone merges, traits, history that fires
-- nothing, changed definitions, people erased, turns undone, and the clock moved forward
\set QUIET on
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
CREATE TABLE public.difference (step int, segment text, profile_id text, live bool);
CREATE TABLE public.seen (what text, n int DEFAULT 0);
-- who is in a view and not among the members, or the other way round
CREATE PROCEDURE public.compare(step int) LANGUAGE plpgsql AS $$
DECLARE s record;
BEGIN
	FOR s IN SELECT name FROM eventmkt_bi.segments WHERE tracked LOOP
		EXECUTE format('INSERT INTO public.difference SELECT %s, %L, x.profile_id, x.live FROM (
			(SELECT profile_id, false AS live FROM eventmkt_bi.%I EXCEPT SELECT profile_id, false FROM eventmkt_bi.members WHERE segment = %2$L)
			UNION ALL (SELECT profile_id, true FROM eventmkt_bi.members WHERE segment = %2$L EXCEPT SELECT profile_id, true FROM eventmkt_bi.%3$I)) x',
			step, s.name, 'segment_' || s.name);
	END LOOP;
	INSERT INTO public.difference SELECT step, 'size of ' || g.name, g.members::text, true FROM eventmkt_bi.segments g
		WHERE g.tracked AND g.members <> (SELECT count(*) FROM eventmkt_bi.members m WHERE m.segment = g.name);
END $$;
-- something happens; of the dice only random() is thrown, so a seed gives one history
CREATE FUNCTION public.happen(step int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	dice float := random();
	who text := 'u' || floor(random() * 8);
	other text := CASE WHEN random() < 0.5 THEN 'u' ELSE 'a' END || floor(random() * 8);
	event text := substr('AAABBCCD', 1 + floor(random() * 8)::int, 1);
	at timestamptz := eventmkt.clock() - floor(random() ^ 3 * 1500) * interval '1 hour' + CASE WHEN random() < 0.05 THEN interval '30 minutes' ELSE '0' END;
	id bigint;
BEGIN
	PERFORM set_config('eventmkt.fire', CASE WHEN random() < 0.1 THEN 'off' ELSE 'on' END, true);
	IF dice < 0.62 THEN
		PERFORM eventmkt.track(CASE WHEN random() < 0.7 THEN who END, event, jsonb_build_object('k', floor(random() * 3), 'n', floor(random() * 100)),
			at, NULL, other);
		RETURN 'track';
	ELSIF dice < 0.74 THEN
		PERFORM eventmkt.identify(who, jsonb_build_object(CASE WHEN random() < 0.7 THEN 'tier' ELSE 'age' END,
			CASE WHEN random() < 0.2 THEN NULL WHEN random() < 0.6 THEN '"gold"'::jsonb ELSE to_jsonb(floor(random() * 60)) END));
		RETURN 'traits';
	ELSIF dice < 0.80 THEN
		PERFORM eventmkt.identify(who, '{}', other);
		RETURN 'merge';
	ELSIF dice < 0.82 THEN
		PERFORM eventmkt.alias(other, who);
		RETURN 'alias';
	ELSIF dice < 0.87 THEN
		SELECT merge_id INTO id FROM eventmkt_data.merge_log WHERE undone_at IS NULL AND refused IS NULL ORDER BY merge_id DESC
			OFFSET floor(random() * 3) LIMIT 1;
		IF id IS NULL THEN RETURN 'nothing'; END IF;
		PERFORM eventmkt.undo_merge(id);
		RETURN 'undo';
	ELSIF dice < 0.97 THEN
		PERFORM eventmkt.advance_clock(ceil(random() * 60) * interval '1 hour');
		RETURN 'clock';
	ELSIF dice < 0.985 THEN
		PERFORM eventmkt.replace_segment('changing', on_event => substr('ABCD', 1 + floor(random() * 4)::int, 1), within => ceil(random() * 20) * interval '1 day',
			unless => CASE WHEN random() < 0.5 THEN '{C}' ELSE '{}' END::text[]);
		RETURN 'definition';
	ELSIF dice < 0.993 THEN
		PERFORM eventmkt.untrack_segment('twice');
		RETURN 'untrack';
	END IF;
	PERFORM eventmkt.track_segment('twice');
	RETURN 'retrack';
EXCEPTION WHEN object_not_in_prerequisite_state THEN
	RETURN 'refused';			-- an undone merge whose profiles are apart
END $$;
SELECT count(eventmkt.create_segment(v.name, v.tier, on_event => v.on_event, where_event => v.cond, at_least => v.n, within => v.within, per => v.per,
	unless => v.unless, unless_where => v.uw, unless_within => v.uwi, steps => v.steps, on_days => v.days, from_time => v.f, to_time => v.t,
	time_zone => 'America/New_York', track_membership => true)) AS segments FROM (VALUES
	('gold', '$.tier == "gold"'::jsonpath, NULL, NULL::jsonpath, 1, NULL::interval, NULL, '{}'::text[], NULL::jsonpath, NULL::interval, '{}'::text[], '{}'::int[], NULL::time, NULL::time),
	('not old', '!($.age > 30)', NULL, NULL, 1, NULL, NULL, '{}', NULL, NULL, '{}', '{}', NULL, NULL),
	('regex', '$.tier like_regex "^g"', NULL, NULL, 1, NULL, NULL, '{}', NULL, NULL, '{}', '{}', NULL, NULL),
	('ever A', NULL, 'A', NULL, 1, NULL, NULL, '{}', NULL, NULL, '{}', '{}', NULL, NULL),
	('A week', NULL, 'A', NULL, 1, '7 days', NULL, '{}', NULL, NULL, '{}', '{}', NULL, NULL),
	('B month', '$.tier == "gold" || $.age > 20', 'B', '$.n >= 50', 1, '1 month', NULL, '{}', NULL, NULL, '{}', '{}', NULL, NULL),
	('three', NULL, 'A', NULL, 3, '10 days', NULL, '{}', NULL, NULL, '{}', '{}', NULL, NULL),
	('twice', NULL, 'A', NULL, 2, '15 days', 'k', '{}', NULL, NULL, '{}', '{}', NULL, NULL),
	('any', NULL, '*', NULL, 1, '3 days', NULL, '{}', NULL, NULL, '{}', '{}', NULL, NULL),
	('any five', NULL, '*', NULL, 5, '20 days', NULL, '{B}', NULL, NULL, '{}', '{}', NULL, NULL),
	('silent', NULL, NULL, NULL, 1, NULL, NULL, '{*}', NULL, '5 days', '{}', '{}', NULL, NULL),
	('no C', NULL, NULL, NULL, 1, NULL, NULL, '{C,D}', '$.k == 1', '12 days', '{}', '{}', NULL, NULL),
	('never D', NULL, NULL, NULL, 1, NULL, NULL, '{D}', NULL, NULL, '{}', '{}', NULL, NULL),
	('lapsing', NULL, 'A', NULL, 2, '40 days', NULL, '{A}', NULL, '6 days', '{}', '{}', NULL, NULL),
	('funnel', NULL, NULL, NULL, 1, '9 days', NULL, '{D}', NULL, '2 days', '{A,B,A}', '{}', NULL, NULL),
	('funnel ever', NULL, 'C', NULL, 1, NULL, NULL, '{}', NULL, NULL, '{A,C}', '{}', NULL, NULL),
	('nights', NULL, 'A', NULL, 1, '14 days', NULL, '{}', NULL, NULL, '{}', '{6,7,1}', '21:00', '06:00'),
	('mornings', NULL, 'B', NULL, 2, '30 days', NULL, '{}', NULL, NULL, '{}', '{}', NULL, '12:00'),
	('changing', NULL, 'A', NULL, 1, NULL, NULL, '{}', NULL, NULL, '{}', '{}', NULL, NULL)
	) v (name, tier, on_event, cond, n, within, per, unless, uw, uwi, steps, days, f, t);
-- a part that is not tracked itself, and segments of segments
SELECT eventmkt.create_segment('part', on_event => 'C', within => '4 days') > 0 AS made;
SELECT eventmkt.create_segment('mixed', all_of => '{gold,A week}', none_of => '{part}', track_membership => true) > 0 AS made;
SELECT eventmkt.create_segment('either', any_of => '{part,funnel,nights}', none_of => '{silent}', track_membership => true) > 0 AS made;
SELECT eventmkt.create_segment('none', none_of => '{A week,part,not old}', track_membership => true) > 0 AS made;
SELECT eventmkt.create_segment('deep', all_of => '{either}', none_of => '{mixed,changing}', track_membership => true) > 0 AS made;
SELECT setseed(0.4711);
\o /dev/null
SELECT format('INSERT INTO public.seen SELECT public.happen(%s)', i), CASE WHEN i % 6 = 0 THEN 'SELECT eventmkt.run_due()' ELSE 'SELECT 1' END,
	CASE WHEN i % 6 = 0 THEN format('CALL public.compare(%s)', i) ELSE 'SELECT 1' END FROM generate_series(1, 90) i \gexec
-- in transactions, in which what is remembered of people lives; parts of them are undone
SELECT CASE WHEN i % 40 = 1 THEN 'BEGIN' ELSE 'SELECT 1' END, CASE WHEN i % 10 = 2 THEN 'SAVEPOINT s' ELSE 'SELECT 1' END,
	format('INSERT INTO public.seen SELECT public.happen(%s)', i), CASE WHEN i % 3 = 0 THEN 'SELECT eventmkt.run_due()' ELSE 'SELECT 1' END,
	CASE i % 40 WHEN 5 THEN 'ROLLBACK TO s' WHEN 38 THEN 'ROLLBACK TO s' ELSE 'SELECT 1' END,
	CASE WHEN i % 40 = 25 THEN format('SELECT (SELECT count(*) FROM eventmkt.erase(%L)), eventmkt.unerase(%1$L)', 'u' || i % 8) ELSE 'SELECT 1' END,
	CASE WHEN i % 6 = 0 THEN 'SELECT eventmkt.run_due()' ELSE 'SELECT 1' END,
	CASE WHEN i % 6 = 0 THEN format('CALL public.compare(%s)', i) ELSE 'SELECT 1' END, CASE WHEN i % 40 = 0 THEN 'COMMIT' ELSE 'SELECT 1' END
	FROM generate_series(1001, 1160) i \gexec
\o
\set QUIET off
SELECT * FROM public.difference ORDER BY step, segment, profile_id LIMIT 20;
-- everything did happen, people came and went, and were told of it
SELECT array_agg(DISTINCT what ORDER BY what) FROM public.seen;
SELECT (SELECT count(*) > 50 FROM eventmkt_data.membership_past) AS left, (SELECT count(DISTINCT segment) > 15 FROM eventmkt_bi.membership_history) AS segments,
	(SELECT count(*) > 30 FROM eventmkt_data.event WHERE name = 'Segment Entered') AS entered,
	(SELECT count(*) > 30 FROM eventmkt_data.event WHERE name = 'Segment Exited') AS exited;
-- and what is filled anew is the same
SELECT eventmkt.refresh_segment(name) FROM eventmkt_bi.segments WHERE tracked;
SELECT eventmkt.untrack_segment('gold'), eventmkt.untrack_segment('never D'), eventmkt.untrack_segment('lapsing');
SELECT eventmkt.track_segment('gold'), eventmkt.track_segment('never D'), eventmkt.track_segment('lapsing');
SELECT eventmkt.run_due() > 0 AS filled;
CALL public.compare(0);
SELECT * FROM public.difference ORDER BY step, segment, profile_id LIMIT 20;
SELECT count(*) FROM eventmkt_bi.segments WHERE filling IS NOT NULL OR tracked <> (tracked_since IS NOT NULL);

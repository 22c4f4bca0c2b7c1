-- live membership = the views while segments are filled in chunks: events, late ones, traits, merges, erasures, edits and deletions between the
-- chunks, on both sides of where the walk stands; nobody is told of what a filling finds
\set QUIET on
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
SELECT setseed(0.2611);
CREATE TABLE public.seen (what text);
CREATE TABLE public.chunks (filling text, filled bigint);
CREATE FUNCTION public.differ() RETURNS TABLE (segment text, profile_id text, live bool) LANGUAGE plpgsql AS $$
BEGIN
	FOR segment IN SELECT name FROM eventmkt_bi.segments WHERE tracked LOOP
		RETURN QUERY EXECUTE format('SELECT %L, x.* FROM ((SELECT profile_id, false FROM eventmkt_bi.%I EXCEPT
			SELECT profile_id, false FROM eventmkt_bi.members WHERE segment = %1$L) UNION ALL (SELECT profile_id, true FROM eventmkt_bi.members
			WHERE segment = %1$L EXCEPT SELECT profile_id, true FROM eventmkt_bi.%2$I)) x', segment, 'segment_' || segment);
	END LOOP;
END $$;
CREATE FUNCTION public.happen() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	dice float := random();
	who text := 'p' || floor(random() * 1400);
	at timestamptz := eventmkt.clock() - floor(random() ^ 2 * 300) * interval '1 hour';
BEGIN
	IF dice < 0.70 THEN
		PERFORM eventmkt.track(who, substr('AABC', 1 + floor(random() * 4)::int, 1), jsonb_build_object('n', floor(random() * 9)), at);
		RETURN 'event';
	ELSIF dice < 0.80 THEN
		PERFORM eventmkt.identify(who, jsonb_build_object('tier', CASE WHEN random() < 0.5 THEN 'gold' ELSE 'tin' END));
		RETURN 'trait';
	ELSIF dice < 0.86 THEN
		PERFORM eventmkt.identify(who, '{}', 'p' || floor(random() * 1400));
		RETURN 'merge';
	ELSIF dice < 0.90 THEN
		PERFORM eventmkt.erase(who), eventmkt.unerase(who);
		RETURN 'erase';
	ELSIF dice < 0.93 THEN
		PERFORM eventmkt.advance_clock(ceil(random() * 20) * interval '1 hour');
		RETURN 'clock';
	ELSIF dice < 0.96 THEN
		PERFORM eventmkt.replace_segment('edited', on_event => substr('ABC', 1 + floor(random() * 3)::int, 1), within => ceil(random() * 9) * interval '1 day');
		RETURN 'edit';
	ELSIF dice < 0.98 THEN
		PERFORM eventmkt.replace_segment('part', where_profile => (CASE WHEN random() < 0.5 THEN '$.tier == "gold"' ELSE '$.tier == "tin"' END)::jsonpath);
		RETURN 'edit of a part';
	END IF;
	DELETE FROM eventmkt_data.event WHERE profile_id = who;
	PERFORM eventmkt.refresh_segment(name) FROM eventmkt_bi.segments WHERE tracked;
	RETURN 'deletion';
END $$;
INSERT INTO eventmkt_data.profile (profile_id, traits, created_at, updated_at)
	SELECT 'p' || i, jsonb_build_object('tier', CASE WHEN i % 3 = 0 THEN 'gold' ELSE 'tin' END), now(), now() FROM generate_series(0, 1100) i;
SET eventmkt.fire = off;
SELECT count(eventmkt.track('p' || i * 7 % 1400, substr('AABC', 1 + i % 4, 1), jsonb_build_object('n', i % 9), eventmkt.clock() - i % 250 * interval '1 hour'))
	FROM generate_series(1, 2500) i;
RESET eventmkt.fire;
SELECT eventmkt.create_segment('part', where_profile => '$.tier == "gold"') > 0 AS made;
SELECT eventmkt.create_segment('edited', on_event => 'A', within => '3 days', track_membership => true) > 0 AS made;
SELECT eventmkt.create_segment('twice', on_event => 'A', where_event => '$.n > 3', at_least => 2, within => '8 days', track_membership => true) > 0 AS made;
SELECT eventmkt.create_segment('no C', unless => '{C}', unless_within => '4 days', track_membership => true) > 0 AS made;
SELECT eventmkt.create_segment('way', steps => '{A,B,C}', within => '9 days', track_membership => true) > 0 AS made;
SELECT eventmkt.create_segment('both', all_of => '{part}', none_of => '{edited}', track_membership => true) > 0 AS made;
\o /dev/null
-- a step is one thing that happens and a chunk; every fortieth time all is walked to the end
SELECT 'INSERT INTO public.seen SELECT public.happen() FROM generate_series(1, 3)', 'SELECT eventmkt.run_due(20)',
	'INSERT INTO public.chunks SELECT filling, filled FROM eventmkt_bi.segments WHERE tracked AND filling IS NOT NULL',
	CASE WHEN i % 40 = 0 THEN 'SELECT eventmkt.run_due(), eventmkt.run_due()' ELSE 'SELECT 1' END,
	CASE WHEN i % 40 = 0 THEN 'CREATE TABLE public.difference_' || i || ' AS SELECT * FROM public.differ()' ELSE 'SELECT 1' END
	FROM generate_series(1, 80) i \gexec
\o
\set QUIET off
TABLE public.difference_40;
TABLE public.difference_80;
SELECT array_agg(DISTINCT what ORDER BY what) FROM public.seen;
-- it was seen half way, in each phase
SELECT filling, bool_or(filled > 0) AS half_way FROM public.chunks GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM eventmkt_bi.segments s WHERE tracked AND (filling IS NOT NULL
	OR members <> (SELECT count(*) FROM eventmkt_bi.members m WHERE m.segment = s.name));
-- people found by a walk are no news: who was told of came or left by what happened to them
SELECT count(*) > 20 AS told, count(*) < (SELECT count(*) FROM eventmkt_bi.membership_history) AS not_all FROM eventmkt_data.event WHERE name LIKE 'Segment %';

-- days and hours where local clocks change (R40): a day of a rule is 24 hours in every zone, local days and hours of segments, streaks and
-- reports are those of their zone, and nothing depends on the zone of the session that asks. The clock walks through the next changes
-- of the zones, whenever the test runs: an hour in Berlin and New York, half an hour on Lord Howe, none in Kathmandu (+5:45).
SET client_min_messages = error;
SET datestyle = 'ISO';
SET eventmkt.allow_plain_http = on;
SET eventmkt.allowed_networks = '127.0.0.0/8';
SET timezone = 'UTC';
SELECT count(*) > 0 AS init FROM eventmkt.init();
CREATE TABLE public.zone (zone text, n int);
INSERT INTO public.zone VALUES ('Europe/Berlin', 1), ('America/New_York', 2), ('Australia/Lord_Howe', 3), ('Asia/Kathmandu', 4);
-- the changes of the next year; where there is none, the beginning of a Sunday, as each of the others is one of a Sunday
CREATE TABLE public.change AS SELECT zone, n, at, shift, (shift < interval '0')::int AS back FROM (SELECT zone, n, at, local - at AT TIME ZONE 'UTC' - lag(local - at AT TIME ZONE 'UTC')
	OVER (PARTITION BY zone ORDER BY at) AS shift FROM (SELECT zone, n, at, at AT TIME ZONE zone AS local FROM public.zone,
	generate_series(date_trunc('day', eventmkt.clock()) + interval '3 days', eventmkt.clock() + interval '370 days', '30 minutes') at) h) c WHERE shift <> interval '0';
DELETE FROM public.change c WHERE EXISTS (SELECT FROM public.change o WHERE o.zone = c.zone AND o.back = c.back AND o.at < c.at);
INSERT INTO public.change SELECT zone, n, at, '0', 0 FROM public.zone, LATERAL (SELECT at FROM generate_series(20, 55, 7) d,
	LATERAL (SELECT (date_trunc('week', eventmkt.clock() AT TIME ZONE zone) + make_interval(days => d)) AT TIME ZONE zone AS at) a
	WHERE NOT EXISTS (SELECT FROM public.change c WHERE c.at BETWEEN a.at - interval '3 days' AND a.at + interval '3 days') ORDER BY at LIMIT 1) s WHERE zone = 'Asia/Kathmandu';
SELECT zone, shift FROM public.change ORDER BY n, shift DESC;

SELECT eventmkt.create_endpoint('hook', 'http://127.0.0.1:9999/') LIKE 'whsec_%' AS made;
-- ---- rules: a message a day later, a silence of a day, two in a day, one a day
SELECT count(eventmkt.create_rule(name, on_event => event, unless => unless, after => after, at_least => at_least, within => within, reentry => reentry,
	max_lateness => '1 hour', send_to => CASE name WHEN 'daily' THEN 'hook' ELSE 'none' END)) AS rules FROM (VALUES
	('day', 'Cart', '{Order}'::text[], interval '1 day', 1, NULL::interval, NULL::interval),
	('idle', 'Seen', '{Seen}', '1 day', 1, NULL, NULL),
	('twice', 'Look', '{}', '0', 2, '1 day', NULL),
	('daily', 'Ping', '{}', '0', 1, NULL, '1 day')) r (name, event, unless, after, at_least, within, reentry);
-- the worker's half, and a receiver that takes everything
CREATE FUNCTION public.pass() RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	n int := eventmkt.run_due();
BEGIN
	UPDATE eventmkt_data.delivery SET status = 'delivered', settled_at = eventmkt.clock(), attempts = 1 WHERE status = 'queued';
	RETURN n;
END $$;
-- to a moment, from whatever time it is
CREATE FUNCTION public.walk(at timestamptz) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	PERFORM eventmkt.advance_clock(at - eventmkt.clock());
	RETURN public.pass();
END $$;
CREATE FUNCTION public.ended(rule_ text, who text) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(outcome, ' ' ORDER BY decided_at), 'nothing') FROM eventmkt_data.decision WHERE rule = rule_ AND profile_id = who $$;
CREATE TABLE public.said (zone text, back int, what text, said text);
DO $$
DECLARE
	c record;
	who text;
	n int := 0;
	others text[] := '{Australia/Lord_Howe,Europe/Berlin,UTC,Asia/Kathmandu,America/New_York}';
BEGIN
	FOR c IN SELECT * FROM public.change ORDER BY at LOOP
		who := c.zone || c.back;
		n := n + 1;
		-- half a day before it: who tracks lives there, who decides lives elsewhere
		PERFORM set_config('timezone', others[1 + n % 5], false);
		PERFORM public.walk(c.at - interval '12 hours');
		PERFORM set_config('timezone', c.zone, false);
		PERFORM eventmkt.track(who, e) FROM unnest('{Cart,Seen,Look,Ping}'::text[]) e;
		PERFORM eventmkt.track(who || ' late', 'Look');
		PERFORM eventmkt.track(who || ' buyer', 'Cart');
		PERFORM set_config('timezone', others[1 + (n + 1) % 5], false);
		PERFORM public.pass();
		-- ten minutes before a day is over
		PERFORM public.walk(c.at + interval '11 hours 50 minutes');
		INSERT INTO public.said SELECT c.zone, c.back, 'after 23:50 h: ' || rule, public.ended(rule, who) FROM unnest('{day,idle}'::text[]) rule;
		PERFORM eventmkt.track(who || ' buyer', 'Order');
		PERFORM eventmkt.track(who, e) FROM unnest('{Look,Ping}'::text[]) e;
		PERFORM public.pass();
		PERFORM set_config('timezone', c.zone, false);
		-- ten minutes after
		PERFORM public.walk(c.at + interval '12 hours 10 minutes');
		PERFORM eventmkt.track(who || ' late', 'Look');
		PERFORM eventmkt.track(who, 'Ping');
		PERFORM public.pass();
		INSERT INTO public.said SELECT c.zone, c.back, 'after 24:10 h: ' || rule, public.ended(rule, who) FROM unnest('{day,idle,twice,daily}'::text[]) rule;
		INSERT INTO public.said SELECT c.zone, c.back, 'after 24:10 h: daily, messages', count(*) FROM eventmkt_data.delivery WHERE profile_id = who AND rule = 'daily';
		INSERT INTO public.said SELECT c.zone, c.back, 'after 24:10 h: twice, late', public.ended('twice', who || ' late');
		INSERT INTO public.said SELECT c.zone, c.back, 'after 24:10 h: day, bought', public.ended('day', who || ' buyer');
	END LOOP;
END $$;
SET timezone = 'UTC';
SELECT what, said, string_agg(zone || CASE back WHEN 1 THEN ' back' ELSE '' END, ', ' ORDER BY zone, back) AS "where" FROM public.said GROUP BY 1, 2 ORDER BY 1, 2;
-- due to the microsecond; the backtest, asked on Lord Howe, says the same
SELECT rule, count(*), count(DISTINCT profile_id) AS people, min(due_at - started_at) AS least, max(due_at - started_at) AS most FROM eventmkt_data.decision WHERE rule IN ('day', 'idle') AND outcome = 'recorded' GROUP BY 1 ORDER BY 1;
SET timezone = 'Australia/Lord_Howe';
CREATE TABLE public.live AS SELECT rule, profile_id, started_at, due_at, outcome FROM eventmkt_data.decision WHERE outcome <> 'held'
	UNION ALL SELECT rule, profile_id, started_at, due_at, status FROM eventmkt_data.delivery;
CREATE TABLE public.replayed AS SELECT rule, profile_id, started_at, due_at, outcome FROM eventmkt.backtest('{day,idle,twice,daily}'::text[],
	(SELECT min(at) FROM public.change) - interval '1 day', eventmkt.clock()) WHERE outcome IS NOT NULL;
SELECT count(*) > 40 AS many FROM public.replayed;
(SELECT 'only live', * FROM (TABLE public.live EXCEPT ALL TABLE public.replayed) x) UNION ALL (SELECT 'only replayed', * FROM (TABLE public.replayed EXCEPT ALL TABLE public.live) x);
SET timezone = 'UTC';

-- ---- segments: an event every quarter of an hour from one day before to one day after, each by a person of its own
SELECT count(eventmkt.create_segment('night ' || n, on_event => 'Open ' || n, from_time => '01:00', to_time => '03:00', time_zone => zone, track_membership => true)) AS nights,
	count(eventmkt.create_segment('sunday ' || n, on_event => 'Open ' || n, on_days => '{7}', time_zone => zone, track_membership => true)) AS sundays FROM public.zone;
SELECT public.walk((SELECT max(at) FROM public.change) + interval '25 hours') > 0 AS filled;
SET timezone = 'America/New_York';
SELECT count(eventmkt.track(format('%s %s %s', c.zone, c.back, i), 'Open ' || c.n, '{}', c.at + i * interval '15 minutes')) AS events FROM public.change c, generate_series(-96, 95) i;
SELECT eventmkt.run_due() > 0 AS weighed;
-- a night of two hours has 8 of them, and a Sunday 96, but for those that are left out or come twice
CREATE VIEW public.counted AS SELECT c.zone, c.shift, c.n, (120 - extract(epoch FROM c.shift) / 60)::int / 15 AS night, (1440 - extract(epoch FROM c.shift) / 60)::int / 15 AS sunday,
	(SELECT count(*) FROM eventmkt_bi.members m WHERE m.segment = 'night ' || c.n AND m.profile_id LIKE format('%s %s %%', c.zone, c.back)
		AND split_part(m.profile_id, ' ', 3)::int BETWEEN -48 AND 47) AS members_of_night,
	(SELECT count(*) FROM eventmkt_bi.members m WHERE m.segment = 'sunday ' || c.n AND m.profile_id LIKE format('%s %s %%', c.zone, c.back)) AS members_of_sunday FROM public.change c;
SELECT zone, shift, night, members_of_night, sunday, members_of_sunday FROM public.counted ORDER BY n, shift DESC;
-- the views, asked from another zone, know the same people
SET timezone = 'Asia/Kathmandu';
CREATE TABLE public.viewed (segment text, profile_id text);
SELECT format('INSERT INTO public.viewed SELECT %L, profile_id FROM eventmkt_bi.%I', name, view) FROM (SELECT name, 'segment_' || name AS view FROM eventmkt_bi.segments) s \gexec
SELECT count(*) > 700 AS many FROM public.viewed;
(SELECT 'view', * FROM (TABLE public.viewed EXCEPT SELECT segment, profile_id FROM eventmkt_bi.members) x) UNION ALL
	(SELECT 'members', * FROM (SELECT segment, profile_id FROM eventmkt_bi.members EXCEPT TABLE public.viewed) x);

-- ---- reports: days of the session's zone; the last day is 24 hours
CREATE TABLE public.reported (zone text, shift interval, events bigint);
DO $$
DECLARE
	c record;
BEGIN
	FOR c IN SELECT * FROM public.change LOOP
		PERFORM set_config('timezone', c.zone, false);
		INSERT INTO public.reported SELECT c.zone, c.shift, events FROM eventmkt_bi.events_by_day WHERE event = 'Open ' || c.n AND day = ((c.at - interval '1 minute') AT TIME ZONE c.zone + interval '1 minute')::date;
	END LOOP;
END $$;
SELECT count(*) AS days FROM public.counted c JOIN public.reported r USING (zone, shift) WHERE r.events = c.sunday;
CREATE FUNCTION public.last_day(zone text, at timestamptz) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	-- settled 23:29, 23:59 and 24:29 hours before noon of the day of the change
	DELETE FROM eventmkt_data.delivery;
	UPDATE eventmkt_data.setting SET value = round(extract(epoch FROM at - clock_timestamp()) * 1000000)::bigint::text WHERE key = 'clock_offset';
	INSERT INTO eventmkt_data.delivery (id, node, run_id, rule_id, rule, rule_version, profile_id, key, endpoint_id, status, attempts, next_attempt_at, schedule, body, event_id, started_at,
		received_at, run_created_at, due_at, created_at, first_sent_at, settled_at, depth)
		SELECT gen_random_uuid(), 0, -i, 1, 'day', 1, 'x', '', e.endpoint_id, 'delivered', 1, t, e.schedule, '{}', 0, t, t, t, t, t, t, t, 0
		FROM eventmkt_data.endpoint e, generate_series(1, 3) i, LATERAL (SELECT at - interval '23 hours' - i * interval '30 minutes' + interval '1 minute' AS t) s;
	PERFORM set_config('timezone', zone, true);
	SELECT delivered_last_day || ' ' || (SELECT n FROM eventmkt_bi.latency WHERE period = 'day' AND measure = 'due to sent') INTO answer FROM eventmkt_bi.endpoints;
	RAISE EXCEPTION '%', answer USING ERRCODE = 'YY000';
EXCEPTION WHEN SQLSTATE 'YY000' THEN
	RETURN SQLERRM;
END $$;
SELECT zone, shift, public.last_day(zone, at + interval '10 hours') FROM public.change ORDER BY n, shift DESC;

-- ---- questions over history
CREATE TABLE public.visit AS SELECT zone, n, shift, at + i * interval '15 minutes' AS t FROM public.change, generate_series(-96, 95) i
	WHERE (((at - interval '1 minute') AT TIME ZONE zone + interval '1 minute')::date = ((at + i * interval '15 minutes') AT TIME ZONE zone)::date);
SELECT zone, shift, eventmkt.engaged_hours(t, zone) AS hours FROM public.visit GROUP BY zone, shift, n ORDER BY n, shift DESC;
-- from the first microsecond of one day to the last of the next but one: three days in a row, and a microsecond before it a fourth
CREATE VIEW public.edge AS SELECT zone, shift, n, (d + interval '3 days') AT TIME ZONE zone - interval '1 us' AS last, d AT TIME ZONE zone AS first, (d + interval '1 day') AT TIME ZONE zone AS middle
	FROM (SELECT *, date_trunc('day', (at - interval '1 minute') AT TIME ZONE zone) - interval '1 day' AS d FROM public.change) s;
SELECT zone, shift, (eventmkt.streak(t, zone, 0) FILTER (WHERE t >= first)).longest AS three, (eventmkt.streak(t, zone, 0)).longest AS four,
	(eventmkt.streak(t, zone, 0) FILTER (WHERE t <> middle)).longest AS gap, (eventmkt.streak(t, zone, 1) FILTER (WHERE t <> middle AND t >= first)).longest AS grace,
	(eventmkt.streak(t, zone, 0)).last_day = max(t AT TIME ZONE zone)::date AS last
	FROM public.edge, unnest(ARRAY[first - interval '1 us', first, middle, last]) t GROUP BY zone, shift, n ORDER BY n, shift DESC;
-- 29 February is a day like any other, where there is one
SELECT zone, (eventmkt.streak(t, zone, 0) FILTER (WHERE y = 2028)).longest AS leap, (eventmkt.streak(t, zone, 0) FILTER (WHERE y = 2028 AND d <> '02-29')).longest AS without,
	(eventmkt.streak(t, zone, 0) FILTER (WHERE y = 2027)).longest AS common, (eventmkt.streak(t, zone, 0) FILTER (WHERE y = 2100)).longest AS century
	FROM public.zone, (VALUES (2027, '02-27'), (2027, '02-28'), (2027, '03-01'), (2028, '02-28'), (2028, '02-29'), (2028, '03-01'), (2100, '02-28'), (2100, '03-01')) v (y, d),
	LATERAL (SELECT (y || '-' || d || ' 00:30')::timestamp AT TIME ZONE zone AS t) x GROUP BY zone, n ORDER BY n;
-- months are those of UTC, whoever asks; days have 24 hours
CREATE FUNCTION public.asked() RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', eventmkt.retained(t, '2028-01-31Z', '1 month', 3), eventmkt.retained(t, '2028-02-29Z', '1 year', 2))
	FROM (VALUES ('2028-02-28T23:59:59.999999Z'::timestamptz), ('2028-02-29Z'), ('2028-03-31Z'), ('2029-02-28Z')) v (t) $$;
SELECT public.asked() AS utc;
SELECT count(*) AS zones, count(DISTINCT said) AS answers FROM (SELECT zone, set_config('timezone', zone, false), public.asked() AS said FROM public.zone) s;
SET timezone = 'America/New_York';
SELECT zone, shift, eventmkt.retained(t, at - interval '12 hours', '1 day', 2) AS both, eventmkt.retained(t, at - interval '12 hours', '1 day', 2) FILTER (WHERE t < at + interval '12 hours') AS first
	FROM public.change, unnest(ARRAY[at + interval '12 hours' - interval '1 us', at + interval '12 hours']) t GROUP BY zone, shift, n ORDER BY n, shift DESC;
SET timezone = 'UTC';

-- ---- partitions: weeks of UTC, whoever makes them
DO $$
DECLARE
	z record;
BEGIN
	FOR z IN SELECT * FROM public.zone LOOP
		PERFORM set_config('timezone', z.zone, false);
		PERFORM eventmkt.make_partitions(min(at) + z.n * interval '2184 hours' - interval '2200 hours', min(at) + z.n * interval '2184 hours') FROM public.change;
	END LOOP;
END $$;
SET timezone = 'UTC';
SELECT count(*) > 50 AS many, bool_and(f = right(relname, 8)::date) AS named, bool_and(t = f + interval '7 days') AS weeks, bool_and(before IS NULL OR before <= f) AS apart
	FROM (SELECT relname, b[1]::timestamptz AS f, b[2]::timestamptz AS t, lag(b[2]::timestamptz) OVER (ORDER BY b[1]::timestamptz) AS before FROM pg_class,
	regexp_match(pg_get_expr(relpartbound, oid), $$\('(.*)'\) TO \('(.*)'\)$$) b WHERE relispartition AND relkind = 'r' AND relname ~ '^event_w') s;
SELECT detail ~ 'made for \d+ days ahead' AS ahead FROM eventmkt.health() WHERE "check" = 'partitions';

-- ---- 29 February by the clock: months and years of a rule are those of the calendar of UTC
SELECT set_config('test.leap', (SELECT min(d)::date FROM generate_series(date_trunc('month', eventmkt.clock()) + interval '2 months', eventmkt.clock() + interval '9 years', '1 month') d
	WHERE extract(month FROM d) = 2 AND extract(day FROM d + interval '1 month' - interval '1 day') = 29)::text, false) IS NOT NULL AS found;
SELECT count(eventmkt.create_rule('in ' || after, on_event => 'Born', after => after::interval, max_lateness => '1 hour', send_to => 'none')) AS rules
	FROM unnest('{1 day,1 month,1 year,4 years}'::text[]) after;
SELECT public.walk((current_setting('test.leap')::date + 27)::timestamptz + interval '12 hours') >= 0 AS day_28;
SET timezone = 'Australia/Lord_Howe';
SELECT eventmkt.track('28', 'Born') IS NOT NULL AS tracked;
SELECT public.walk(eventmkt.clock() + interval '24 hours') > 0 AS day_29;
SELECT eventmkt.track('29', 'Born') IS NOT NULL AS tracked;
SELECT public.walk(eventmkt.clock() + interval '24 hours') > 0 AS march;
SET timezone = 'UTC';
SELECT r.name, p.profile_id, to_char(p.due_at, 'MM-DD') AS due, extract(year FROM p.due_at) - extract(year FROM p.started_at) AS years, p.due_at::time = p.started_at::time AS same_time
	FROM eventmkt_data.pending_trigger p JOIN eventmkt_data.rule r USING (rule_id) WHERE r.name LIKE 'in %' ORDER BY 1, 2;
SELECT profile_id, to_char(started_at, 'MM-DD') AS started, to_char(due_at, 'MM-DD') AS due, outcome FROM eventmkt_data.decision WHERE rule = 'in 1 day' ORDER BY 1;
SELECT public.walk(eventmkt.clock() + interval '27 days 10 minutes') > 0 AS day_28_of_march, public.ended('in 1 month', '28') AS "28", public.ended('in 1 month', '29') AS "29";
SELECT public.walk(eventmkt.clock() + interval '23 hours 40 minutes') >= 0 AS before_noon, public.ended('in 1 month', '29') AS "29";
SELECT public.walk(eventmkt.clock() + interval '20 minutes') > 0 AS after_noon, public.ended('in 1 month', '29') AS "29";
-- nothing was late
SELECT rule, profile_id, outcome FROM eventmkt_data.decision WHERE outcome NOT IN ('recorded', 'cancelled') AND NOT (rule = 'daily' AND outcome = 'suppressed');

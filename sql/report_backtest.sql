-- invariant 7: a backtest decides as the engine did. A random history is lived through with a moved clock, each run decided at its
-- due time, and then asked of backtest()
\set QUIET on
SET client_min_messages = error;
SELECT count(*) AS init FROM eventmkt.init();
SET eventmkt.allow_plain_http = on;
SET eventmkt.allowed_networks = '127.0.0.0/8';
SELECT setseed(0.23);
SELECT eventmkt.create_endpoint('sink', 'http://127.0.0.1:9999/') LIKE 'whsec_%' AS made;
SELECT count(*) FROM (SELECT eventmkt.create_segment('vip', where_profile => '$.vip == true')) s;
-- what people did until then, and what they did not do yet
SELECT count(*) FROM (SELECT eventmkt.create_segment('busy', on_event => 'B', where_event => '$.x >= 1', at_least => 2, within => '20 hours 7 minutes')) s;
SELECT count(*) FROM (SELECT eventmkt.create_segment('lost', on_event => 'A', unless => '{C}', unless_within => '9 hours 7 minutes')) s;
SELECT count(*) FROM (SELECT eventmkt.create_segment('gold or busy', any_of => '{busy}', none_of => '{lost}')) s;
SELECT count(*) FROM (SELECT eventmkt.create_segment('gold way', where_profile => '$.tier == "gold"', steps => '{A,B,C}', within => '2 days')) s;
CREATE TABLE public.rules (def jsonb);
INSERT INTO public.rules VALUES
	('{"name": "deb", "on_event": "A", "per": "k", "after": "3 hours", "unless": ["B"]}'),
	('{"name": "deb cold", "on_event": "A", "where_event": "$.w like_regex \"^[ab]\"", "per": "k", "after": "2 hours", "unless": ["B", "C"], "unless_where": "$.x > 2"}'),
	('{"name": "ign", "on_event": "A", "per": "k", "after": "5 hours", "on_repeat": "ignore", "unless": ["B"]}'),
	('{"name": "rep", "on_event": "A", "per": "k", "after": "4 hours", "on_repeat": "replace", "unless": ["B"], "reentry": "1 day"}'),
	('{"name": "par", "on_event": "A", "after": "80 minutes", "on_repeat": "parallel", "unless": ["B"], "reentry": "7 hours"}'),
	('{"name": "back", "on_event": "A", "after": "2 hours", "unless": ["B"], "look_back": "6 hours", "on_repeat": "ignore"}'),
	('{"name": "cnt", "on_event": "A", "at_least": 3, "within": "5 hours", "per": "k"}'),
	('{"name": "cnt late", "on_event": "A", "at_least": 2, "within": "8 hours", "after": "3 hours", "unless": ["C"], "on_repeat": "ignore", "reentry": "10 hours"}'),
	('{"name": "life", "on_event": "A", "at_least": 4, "per": "k", "send_to": "none"}'),
	('{"name": "now", "on_event": "A", "where_event": "$.x >= 3", "reentry": "8 hours"}'),
	('{"name": "aud", "on_event": "A", "where_profile": "$.tier == \"gold\"", "after": "3 hours", "on_repeat": "replace"}'),
	('{"name": "aud now", "on_event": "C", "where_profile": "$.n > 4"}'),
	('{"name": "seg", "on_event": "C", "where_segment": "vip", "after": "1 hour"}'),
	('{"name": "seg busy", "on_event": "A", "where_segment": "busy", "after": "2 hours"}'),
	('{"name": "seg lost", "on_event": "A", "where_segment": "lost", "after": "11 hours", "on_repeat": "ignore"}'),
	('{"name": "seg of two", "on_event": "A", "where_segment": "gold or busy", "after": "1 hour"}'),
	('{"name": "seg gold way", "on_event": "C", "where_segment": "gold way", "after": "3 hours", "on_repeat": "parallel"}'),
	('{"name": "sil", "on_event": "A", "unless": ["A"], "after": "9 hours", "where_profile": "$.tier == \"gold\""}'),
	('{"name": "sil all", "on_event": "*", "unless": ["*"], "after": "12 hours", "reentry": "1 day"}'),
	('{"name": "starts and ends", "on_event": "A", "where_event": "$.x == 1", "unless": ["A", "B"], "after": "4 hours"}'),
	('{"name": "any unless", "on_event": "C", "unless": ["*"], "after": "1 hour"}');
SELECT count(eventmkt.create_rule(d.name, d.on_event, d.where_event::jsonpath, d.where_profile::jsonpath, COALESCE(d.at_least, 1),
		d.within::interval, d.per, COALESCE(d.unless, '{}'), d.unless_where::jsonpath, COALESCE(d.look_back, '0')::interval,
		COALESCE(d.after, '0')::interval, COALESCE(d.on_repeat, 'debounce'), d.reentry::interval, d.send_to,
		where_segment => d.where_segment)) AS rules
	FROM public.rules, jsonb_to_record(def) d (name text, on_event text, where_event text, where_profile text, at_least int,
		within text, per text, unless text[], unless_where text, look_back text, after text, on_repeat text, reentry text,
		send_to text, where_segment text);
-- a grid of twenty minutes from a little ahead of now: events on it, profile changes and merges between
CREATE TABLE public.base AS SELECT date_trunc('hour', eventmkt.clock()) + interval '1 hour' AS t0;
CREATE TABLE public.event AS
	SELECT 'u' || u AS who, n, (ARRAY['A', 'A', 'A', 'B', 'C'])[1 + floor(random() * 5)] AS name,
		floor(power(random(), 1 + u % 3) * 198)::int AS step,
		CASE WHEN random() < 0.9 THEN jsonb_build_object('k', floor(random() * 2)) ELSE '{}' END
		|| jsonb_build_object('n', n, 'x', floor(random() * 5), 'w', chr(97 + floor(random() * 4)::int)) AS props
	FROM generate_series(1, 300) u, generate_series(1, 24) n WHERE random() < 0.5;
-- every fifth is somebody else at first, and is merged into who came before
CREATE TABLE public.change AS
	SELECT 'u' || u AS who, floor(random() * 198)::int AS step, jsonb_build_object('tier', (ARRAY['gold', 'tin'])[1 + floor(random() * 2)],
		'n', floor(random() * 10)) AS traits, NULL AS anonymous
	FROM generate_series(1, 300) u, generate_series(1, 4) WHERE random() < 0.6
	UNION ALL SELECT 'u' || u, -1, jsonb_build_object('tier', 'gold', 'vip', u % 2 = 0), NULL FROM generate_series(1, 300) u WHERE u % 4 < 3
	UNION ALL SELECT 'u' || (u - 1), floor(random() * 180)::int, '{}', 'u' || u FROM generate_series(5, 300, 5) u;
-- nobody speaks under an id that belongs to another already
UPDATE public.event e SET who = c.who FROM public.change c WHERE c.anonymous = e.who AND e.step > c.step;
DELETE FROM public.change x USING public.change c WHERE c.anonymous = x.who AND x.step >= c.step AND x.anonymous IS NULL;
CREATE PROCEDURE public.go(at timestamptz) LANGUAGE plpgsql AS $$
BEGIN
	IF at > eventmkt.clock() THEN PERFORM eventmkt.advance_clock(at - eventmkt.clock()); END IF;
END $$;
CREATE PROCEDURE public.settle(at timestamptz) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM eventmkt.run_due();
	UPDATE eventmkt_data.delivery SET status = 'delivered', settled_at = due_at WHERE status <> 'delivered';
	IF FOUND THEN
		INSERT INTO eventmkt_data.decision SELECT nextval('eventmkt_data.decision_id_seq'), d.run_id, d.rule_id, d.rule, d.rule_version,
			d.profile_id, d.key, 'delivered', NULL, NULL, d.id, d.event_id, d.started_at, d.due_at, at
		FROM eventmkt_data.delivery d WHERE NOT EXISTS (SELECT FROM eventmkt_data.decision x WHERE x.delivery_id = d.id AND x.outcome = 'delivered');
	END IF;
END $$;
SELECT t0 IS NULL AS no_start FROM public.base;
DO $$
DECLARE
	start timestamptz = (SELECT t0 FROM public.base);
	at timestamptz;
BEGIN
	FOR s IN -1 .. 200 LOOP
		at := start + s * interval '20 minutes';
		CALL public.go(at);
		PERFORM eventmkt.track(who, name, props, at) FROM public.event WHERE step = s ORDER BY random();
		CALL public.settle(at);
		IF EXISTS (SELECT FROM eventmkt_data.pending_trigger WHERE state = 'held') THEN
			CALL public.go(at + interval '1 minute');
			CALL public.settle(at);
		END IF;
		IF EXISTS (SELECT FROM public.change WHERE step = s) THEN
			CALL public.go(at + interval '5 minutes');
			PERFORM eventmkt.identify(who, traits, anonymous) FROM public.change WHERE step = s ORDER BY anonymous NULLS FIRST, who;
			CALL public.settle(at + interval '5 minutes');
		END IF;
	END LOOP;
END $$;
CREATE TABLE public.lived AS
	SELECT rule, profile_id, key, started_at, due_at, outcome, reason, count(*) AS n FROM eventmkt_data.decision
	WHERE outcome NOT IN ('held', 'late_cancel') GROUP BY 1, 2, 3, 4, 5, 6, 7
	UNION ALL SELECT r.name, p.profile_id, p.key, p.started_at, p.due_at, 'waiting', NULL, count(*)
	FROM eventmkt_data.pending_trigger p JOIN eventmkt_data.rule r USING (rule_id) GROUP BY 1, 2, 3, 4, 5;
CREATE TABLE public.tested AS
	SELECT b.rule, profile_id, key, started_at, due_at, outcome, reason, count(*) AS n
	FROM public.base, eventmkt.backtest((SELECT array_agg(def->>'name') FROM public.rules), t0 - interval '30 minutes',
		t0 + interval '4000 minutes', warm_up => '0') b GROUP BY 1, 2, 3, 4, 5, 6, 7;
SELECT rule, count(*) > 20 AS many, bool_or(outcome IN ('delivered', 'recorded')) AS sends,
	string_agg(DISTINCT outcome || COALESCE(' ' || reason, ''), ', ' ORDER BY outcome || COALESCE(' ' || reason, '')) AS outcomes
	FROM public.lived GROUP BY 1 ORDER BY rule COLLATE "C";
-- an inactivity run that waits does not follow each event: where it stands, and which of two is the older at a merge, is not told
DELETE FROM public.lived WHERE rule LIKE 'sil%' AND (reason = 'merged' OR outcome = 'waiting');
DELETE FROM public.tested WHERE rule LIKE 'sil%' AND (reason = 'merged' OR outcome = 'waiting');
CREATE VIEW public.differ AS
	SELECT 'lived' AS by, * FROM (TABLE public.lived EXCEPT TABLE public.tested) a
	UNION ALL SELECT 'tested', * FROM (TABLE public.tested EXCEPT TABLE public.lived) b;
SELECT rule, by, outcome, reason, count(*) FROM public.differ GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4;
-- a rule that was there before the span: who waited at its beginning is decided, and what was decided before is not told
SELECT count(*) AS differ FROM (
	SELECT rule, profile_id, key, started_at, due_at, outcome FROM public.base, eventmkt.backtest(ARRAY['deb', 'aud now', 'sil'],
		t0 + interval '20 hours', t0 + interval '4000 minutes')
	EXCEPT ALL
	SELECT rule, profile_id, key, started_at, due_at, outcome FROM public.base, eventmkt.backtest(ARRAY['deb', 'aud now', 'sil'],
		t0, t0 + interval '4000 minutes') WHERE decided_at >= t0 + interval '20 hours' OR decided_at IS NULL) x;
-- a definition gives what the rule gives
CREATE VIEW public.by_name AS SELECT b.* FROM public.base, eventmkt.backtest((SELECT array_agg(def->>'name') FROM public.rules), t0, t0 + interval '3 days') b;
CREATE VIEW public.by_definition AS SELECT b.* FROM public.base, eventmkt.backtest((SELECT jsonb_agg(def) FROM public.rules), t0, t0 + interval '3 days') b;
SELECT (SELECT count(*) FROM public.by_name) = (SELECT count(*) FROM public.by_definition) AS as_many,
	(SELECT count(*) FROM (TABLE public.by_name EXCEPT ALL TABLE public.by_definition) x) AS differ;
-- the summary counts the rows, and each order once for the last message before it
SELECT sum(runs) = (SELECT count(*) FROM public.base, eventmkt.backtest('ign', t0, t0 + interval '3 days')) AS all_runs,
	sum(converted) > 100 AS converted, sum(revenue) > 100 AS revenue, count(DISTINCT day) >= 3 AS days
	FROM public.base, eventmkt.backtest_summary('ign', t0, t0 + interval '3 days', converted_by => 'B', within => '12 hours', revenue => 'x');
CREATE VIEW public.ids AS SELECT e.profile_id AS id, COALESCE(a.profile_id, e.profile_id) AS who
	FROM (SELECT DISTINCT profile_id FROM eventmkt_data.event) e LEFT JOIN eventmkt_data.alias a ON a.alias = e.profile_id;
SELECT s.converted > 100 AS many, s.revenue - o.x AS revenue FROM
	(SELECT sum(converted) AS converted, sum(revenue) AS revenue FROM public.base, eventmkt.backtest_summary('ign', t0,
		t0 + interval '3 days', converted_by => 'B', within => '12 hours', revenue => 'x')) s,
	(SELECT sum(x) AS x FROM (SELECT DISTINCT e.event_id, (e.properties->>'x')::numeric AS x
		FROM public.base, eventmkt.backtest('ign', t0, t0 + interval '3 days') b JOIN public.ids n ON n.id = b.profile_id
		JOIN public.ids i ON i.who = n.who JOIN eventmkt_data.event e ON e.profile_id = i.id AND e.name = 'B'
			AND e.occurred_at > b.decided_at AND e.occurred_at <= b.decided_at + interval '12 hours'
		WHERE b.outcome = 'delivered') y) o;
SELECT rule, monthly_sends > 1000 AS monthly, monthly_profiles > 100 AS profiles, sample_profiles > 200 AS sample, one_in
	FROM eventmkt.estimate_rule('{"on_event": "A", "after": "1 hour", "unless": ["B"], "send_to": "none"}'::jsonb, over => '2 days');
-- it reads only
BEGIN READ ONLY;
SELECT count(*) > 0 AS rows FROM public.base, eventmkt.backtest(ARRAY['seg', 'deb cold', 'aud'], t0);
SELECT count(*) > 0 AS rows FROM public.base, eventmkt.backtest_summary('deb', t0);
ROLLBACK;
-- what cannot be tried
SELECT count(*) FROM eventmkt.backtest('no such rule', '2026-01-01');
SELECT count(*) FROM eventmkt.backtest('deb', '2026-01-02', '2026-01-01');
SELECT count(*) FROM eventmkt.backtest('deb', NULL);
SELECT count(*) FROM eventmkt.backtest(NULL::text, '2026-01-01');
SELECT count(*) FROM eventmkt.backtest('{}'::text[], '2026-01-01');
SELECT count(*) FROM eventmkt.backtest('[1]'::jsonb, '2026-01-01');
SELECT count(*) FROM eventmkt.backtest('{"on_event": "A", "wen": 1}'::jsonb, '2026-01-01');
SELECT count(*) FROM eventmkt.backtest('{"on_event": "A", "unless": [1]}'::jsonb, '2026-01-01');
SELECT count(*) FROM eventmkt.backtest('{"on_event": "A", "after": {}}'::jsonb, '2026-01-01');
SELECT count(*) FROM eventmkt.backtest('{"on_event": "A", "steps": [1]}'::jsonb, '2026-01-01');
SELECT count(*) FROM eventmkt.backtest('{"after": "1 hour"}'::jsonb, '2026-01-01');
SELECT count(*) FROM eventmkt.estimate_rule('deb', NULL);
-- the end may be as far as there is time: what waits is decided as if nothing more happened
SELECT count(*) > 0 AS rows, bool_or(outcome = 'waiting') AS waiting FROM public.base, eventmkt.backtest('deb', t0, 'infinity');

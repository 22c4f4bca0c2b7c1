-- funnels, goals, cohorts, triggered beside scheduled: each view's figures beside a query written by hand
SET client_min_messages = error;
SET TimeZone = 'UTC';
SELECT count(*) > 0 AS init FROM eventmkt.init();
SELECT eventmkt.create_funnel('purchase', ARRAY['Viewed', 'Added', 'Bought'], within => '2 days', comment => 'from the shelf to the till');
SELECT eventmkt.create_funnel('twice', ARRAY['Bought', 'Bought'], within => '30 days');
-- ann goes all the way, by two ids; bob buys too late; cid adds before he views; dan views twice and goes on from the second
SELECT eventmkt.identify('ann', '{}', 'anon-1');
SELECT count(eventmkt.track(u, e, p::jsonb, '2024-03-04 09:00Z'::timestamptz + t::interval)) FROM (VALUES
	('anon-1', 'Viewed', '{}', '0'), ('ann', 'Added', '{}', '1 hour'), ('ann', 'Bought', '{"amount": 60}', '3 hours'),
	('bob', 'Viewed', '{}', '1 day'), ('bob', 'Added', '{}', '1 day 3 hours'), ('bob', 'Bought', '{"amount": 10}', '3 days 1 second'),
	('cid', 'Added', '{}', '1 day'), ('cid', 'Viewed', '{}', '2 days'),
	('dan', 'Viewed', '{}', '0'), ('dan', 'Viewed', '{}', '10 days'), ('dan', 'Added', '{}', '10 days 5 hours'),
	('dan', 'Bought', '{"amount": "n/a"}', '12 days'), ('dan', 'Bought', '{"amount": 5}', '20 days')) v (u, e, p, t);
SELECT * FROM eventmkt_bi.funnel_purchase;
SELECT * FROM eventmkt_bi.funnel_twice;
SELECT name, view, steps, within, history, comment FROM eventmkt_bi.funnels;
SELECT obj_description('eventmkt_bi.funnel_purchase'::regclass), obj_description('eventmkt_bi.funnel_twice'::regclass);
-- only the last of history; and what reads the view stays
CREATE VIEW public.reads AS SELECT profiles FROM eventmkt_bi.funnel_twice;
SELECT eventmkt.replace_funnel('twice', ARRAY['Viewed', 'Bought'], history => '30 days');
SELECT * FROM eventmkt_bi.funnel_twice;
SELECT count(eventmkt.track('eve', e, '{}', eventmkt.clock() - t::interval)) FROM (VALUES ('Viewed', '29 days'), ('Bought', '28 days')) v (e, t);
SELECT step, profiles, conversion, round(extract(epoch FROM median_time) / 3600) AS hours FROM eventmkt_bi.funnel_twice;
SELECT eventmkt.drop_funnel('twice');
DROP VIEW public.reads;
SELECT eventmkt.drop_funnel('twice');
SELECT to_regclass('eventmkt_bi.funnel_twice');
-- wrong ones
SELECT eventmkt.drop_funnel('twice');
SELECT eventmkt.replace_funnel('twice', ARRAY['a', 'b']);
SELECT eventmkt.create_funnel('purchase', ARRAY['a', 'b']);
SELECT eventmkt.create_funnel('x', ARRAY['a']);
SELECT eventmkt.create_funnel('x', NULL);
SELECT eventmkt.create_funnel('x', ARRAY['a', NULL]);
SELECT eventmkt.create_funnel('x', ARRAY['a', '']);
SELECT eventmkt.create_funnel('x', ARRAY(SELECT 'e' || i FROM generate_series(1, 33) i));
SELECT eventmkt.create_funnel('x', ARRAY['a', 'b'], within => '0');
SELECT eventmkt.create_funnel('x', ARRAY['a', 'b'], within => '1 month');
SELECT eventmkt.create_funnel('x', ARRAY['a', 'b'], within => NULL);
SELECT eventmkt.create_funnel('x', ARRAY['a', 'b'], history => '4000 days');
SELECT eventmkt.create_funnel(repeat('f', 57), ARRAY['a', 'b']);
SELECT eventmkt.create_funnel('it''s "odd"', ARRAY['a''b"\', 'b']);
SELECT * FROM eventmkt_bi."funnel_it's ""odd""";
CREATE VIEW eventmkt_bi.funnel_mine AS SELECT 1 AS one;
SELECT eventmkt.create_funnel('mine', ARRAY['a', 'b']);
-- goals: an event within three days of a message
SELECT eventmkt.create_goal('order', 'Bought', '3 days', 'amount');
SELECT eventmkt.expose_property('Bought', 'amount', 'text');
SELECT eventmkt.create_goal('order', 'Bought', '3 days', 'amount');
SELECT eventmkt.expose_property('Bought', 'amount', 'numeric');
SELECT eventmkt.create_goal('order', 'Bought', '3 days', 'amount');
SELECT eventmkt.create_goal('look', 'Viewed', '10 days', comment => 'came back');
SELECT eventmkt.create_goal('look', 'Viewed');
SELECT eventmkt.create_goal('x', 'Viewed', '-1 day');
SELECT eventmkt.create_goal(NULL, 'Viewed');
SELECT eventmkt.drop_goal('none');
SELECT eventmkt.hide_property('Bought', 'amount');
SELECT eventmkt.expose_property('Bought', 'amount', 'text');
SELECT eventmkt.expose_property('Bought', 'amount', 'bigint');
SELECT eventmkt.expose_property('Bought', 'amount', 'numeric');
SELECT name, event, within, revenue, comment FROM eventmkt_bi.goals;
SELECT eventmkt.create_endpoint('email', 'https://hooks.example.com/') IS NOT NULL AS made;
SELECT eventmkt.create_rule('nudge', on_event => 'Viewed', after => '1 hour', send_to => 'email') AS nudge,
	eventmkt.create_rule('thanks', on_event => 'Bought', send_to => 'email') AS thanks \gset
INSERT INTO eventmkt_data.delivery (id, node, run_id, rule_id, rule, rule_version, profile_id, key, endpoint_id, status, attempts, next_attempt_at,
	schedule, body, event_id, started_at, received_at, run_created_at, due_at, created_at, first_sent_at, settled_at, depth)
	SELECT ('00000000-0000-0000-0000-00000000000' || n)::uuid, 0, n, 1, rule, 1, who, '', 1, status, 1, at, '{}', '', 1, at, at, at, at, at, at, at, 0
	FROM (SELECT n, rule, who, status, '2024-03-04 09:00Z'::timestamptz + t::interval AS at FROM (VALUES
		(1, 'nudge', 'anon-1', 'delivered', '30 min'), (2, 'thanks', 'ann', 'delivered', '2 hours'), (3, 'nudge', 'bob', 'delivered', '1 second'),
		(4, 'nudge', 'cid', 'delivered', '1 hour'), (5, 'nudge', 'dan', 'dead', '11 days'), (6, 'nudge', 'dan', 'delivered', '9 days 1 hour'),
		(7, 'thanks', 'dan', 'delivered', '20 days')) v (n, rule, who, status, t)) d;
SELECT goal, rule, profile_id, occurred_at, revenue, sent_at, took, credited FROM eventmkt_bi.conversion_events ORDER BY goal, occurred_at, sent_at;
SELECT * FROM eventmkt_bi.conversions ORDER BY goal, rule;
SELECT eventmkt.drop_goal('look');
SELECT eventmkt.drop_goal('order');
SELECT eventmkt.hide_property('Bought', 'amount');
-- cohorts: by the first week of each person, under any id
SELECT * FROM eventmkt_bi.cohorts WHERE cohort < '2024-05-01' AND week < 4;
SELECT setseed(0.7);
SELECT count(eventmkt.track('p' || (random() * 40)::int, 'Came', '{}', '2024-03-04'::timestamptz + random() * random() * interval '70 days'))
  FROM generate_series(1, 300);
WITH seen AS (SELECT DISTINCT COALESCE(a.profile_id, e.profile_id) AS who, date_trunc('week', occurred_at)::date AS w
	FROM eventmkt_data.event e LEFT JOIN eventmkt_data.alias a ON a.alias = e.profile_id),
first AS (SELECT who, min(w) AS f FROM seen GROUP BY who),
hand AS (SELECT f.f, (s.w - f.f) / 7 AS n, count(*) FROM seen s JOIN first f USING (who) GROUP BY 1, 2)
SELECT count(*) FILTER (WHERE h.count <> c.active) AS different, count(*) > 5 AS many FROM hand h FULL JOIN
	(SELECT * FROM eventmkt_bi.cohorts WHERE active > 0) c ON c.cohort = h.f AND c.week = h.n;
-- triggered beside scheduled
INSERT INTO eventmkt_data.decision (decision_id, run_id, rule_id, rule, rule_version, profile_id, key, outcome, decided_at)
	SELECT n, n, CASE rule WHEN 'nudge' THEN :nudge ELSE :thanks END, rule, 1, who, '', outcome, '2024-03-04'::timestamptz + n * interval '8 hours'
	FROM (VALUES (1, 'nudge', 'ann', 'delivered'), (2, 'nudge', 'ann', 'cancelled'), (3, 'nudge', 'bob', 'held'), (4, 'nudge', 'bob', 'expired'),
		(5, 'thanks', 'ann', 'delivered'), (6, 'thanks', 'bob', 'dead'), (7, 'thanks', 'cid', 'suppressed'), (8, 'thanks', 'cid', 'late_cancel')) v (n, rule, who, outcome);
SELECT * FROM eventmkt_bi.triggered_and_scheduled ORDER BY day, kind;
-- the extension goes and comes back
DROP EXTENSION eventmkt CASCADE;
CREATE EXTENSION eventmkt;
SELECT count(*) > 0 AS init FROM eventmkt.init();
SELECT step, event, profiles FROM eventmkt_bi.funnel_purchase;

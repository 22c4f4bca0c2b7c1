-- what test/nightly/valgrind.pl and discard.pl ask, in one session: each aggregate, question of a timeline and roll-up, events by each way in;
-- :messages tells how many events of the first rule
SET client_min_messages = warning;
CREATE TEMP TABLE v AS SELECT 'u' || i % 5 AS u, timestamptz '2026-01-01 00:00Z' + i * interval '7 hours' AS t, (ARRAY['a', 'b', 'c'])[1 + i % 3] AS e,
	CASE WHEN i % 4 > 0 THEN 'k' || i % 2 END AS k, i * 1.25 AS n, i::bigint AS id FROM generate_series(1, 60) i;
SELECT u, eventmkt.funnel('2 days', t, e = 'a', e = 'b', e = 'c'), eventmkt.funnel_times('2 days', t, 'strict_order', e = 'a', e = 'b'),
	eventmkt.sequence_match('(?1)(?t<=1d).*(?2)', t, e = 'a', e = 'b'), eventmkt.sequence_count('(?1).(?2)', t, e = 'a', e = 'b'), eventmkt.sequence_events('(?1)(?2)', t, e = 'a', e = 'b'),
	eventmkt.abandoned(t, e = 'a', e = 'b', '1 day'), eventmkt.abandoned(t, e = 'a', e = 'b', '1 day', k, true), eventmkt.abandoned_keys(t, e = 'a', e = 'b', '1 day', k),
	eventmkt.retention(e = 'a', e = 'b', e = 'x'), eventmkt.retained(t, NULL, '1 day', 5), eventmkt.sessions(t, '1 day'), eventmkt.max_in_window(t, '3 days'), eventmkt.cadence(t),
	eventmkt.streak(t, 'Europe/Berlin', 1), eventmkt.engaged_hours(t, 'UTC'), eventmkt.first_touch(t, k), eventmkt.last_touch(t, k), eventmkt.top_values(k, 2) FROM v GROUP BY u;
SELECT eventmkt.cohort_retention(r) FROM (SELECT eventmkt.retention(e = 'a', e = 'b') AS r FROM v GROUP BY u) q;
SELECT eventmkt.session_number(t, '5 hours') OVER (ORDER BY t) FROM v;
CREATE TEMP TABLE l AS SELECT u, eventmkt.timeline(t, e, k, n, id) AS tl FROM v GROUP BY u;
SELECT eventmkt.count(tl), eventmkt.sum(tl, 'a'), eventmkt.first_at(tl), eventmkt.last_at(tl, 'b', 'c'), eventmkt.funnel(tl, '2 days', 'a', 'b'), eventmkt.funnel_times(tl, '2 days', ARRAY['a', 'b'], 'strict_increase'),
	eventmkt.sequence_match(tl, '(?1).*(?2)', 'a', 'b'), eventmkt.sequence_count(tl, '(?1)(?2)', 'a', 'b'), eventmkt.sequence_events(tl, '(?1).*(?2)', 'a', 'b'),
	eventmkt.abandoned(tl, 'a', 'b', '1 day', true, true), eventmkt.abandoned_keys(tl, 'a', 'b', '1 day'), eventmkt.retention(tl, 'a', 'b'), eventmkt.retained(tl, 'a', 'b', '1 day', 4),
	eventmkt.max_in_window(tl, '3 days', 'a'), eventmkt.sessions(tl, '1 day'), eventmkt.cadence(tl, 'a', 'b'), eventmkt.streak(tl, 'UTC', 2), eventmkt.engaged_hours(tl, 'Europe/Berlin', 'a'),
	eventmkt.top_values(tl, 3), eventmkt.first_touch(tl), eventmkt.last_touch(tl, 'a'), eventmkt.slice(tl, '2026-01-03', '2026-01-09')::text, tl::text::eventmkt.timeline::text = tl::text FROM l;
SELECT eventmkt.count(eventmkt.merge(tl)) FROM l;
SELECT x.* FROM l, eventmkt.unnest(tl) x;
SELECT eventmkt.rollup_json(eventmkt.merge_rollups(r)) FROM (SELECT eventmkt.rollup(t, e, k, n) AS r FROM v GROUP BY u) q;
SELECT eventmkt.ingest('{"batch": [{"type": "identify", "userId": "u1", "anonymousId": "x", "traits": {"a": 1}}, {"type": "track", "userId": "u1", "event": "Bought",
	"properties": {"n": 0, "text": "boo"}, "timestamp": "2026-01-01T10:00:00.5+01:00", "sentAt": "2026-01-01T10:00:01Z"}, {"type": "page", "anonymousId": "x", "name": "p"}]}');
SELECT count(eventmkt.track('w' || i % 7, 'Bought', jsonb_build_object('n', i, 'text', 'c'), message_id => 'm' || i)) FROM generate_series(1, :messages) i;
SELECT count(eventmkt.track('w' || i, 'Tired', '{"n": 1}', message_id => 'tired' || i)) FROM generate_series(1, 3) i;
SELECT count(*) FROM eventmkt.why_not('w1', 'bought');
SELECT count(*) FROM eventmkt.health();

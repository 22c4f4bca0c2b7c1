-- what follows from an answer
\set SHOW_CONTEXT never
SELECT s AS status, verdict, reason FROM unnest(ARRAY[NULL, 100, 101, 199, 200, 201, 204, 299, 300, 301, 302, 303, 304, 307, 308,
	400, 401, 403, 404, 405, 408, 409, 410, 413, 422, 425, 429, 451, 499, 500, 501, 502, 503, 504, 599, 600, 999]) AS s,
	LATERAL eventmkt.plan_retry(s, 1, NULL, NULL, '2026-01-01 00:00+00');
-- the default: ten tries over about 75 hours, 20 % either way
SELECT tries, verdict, reason, extract(epoch FROM lo.next_attempt_at - '2026-01-01 00:00+00')::int AS least,
	extract(epoch FROM hi.next_attempt_at - '2026-01-01 00:00+00')::int AS most
  FROM generate_series(1, 10) AS tries, LATERAL eventmkt.plan_retry(503, tries, NULL, NULL, '2026-01-01 00:00+00', 0) AS lo,
  LATERAL (SELECT next_attempt_at FROM eventmkt.plan_retry(503, tries, NULL, NULL, '2026-01-01 00:00+00', 1)) AS hi;
SELECT sum(extract(epoch FROM next_attempt_at - '2026-01-01 00:00+00')) / 3600 AS hours
  FROM generate_series(1, 9) AS tries, LATERAL eventmkt.plan_retry(503, tries, NULL, NULL, '2026-01-01 00:00+00');
-- a schedule of its own
SELECT tries, verdict, next_attempt_at - '2026-01-01 00:00+00' AS gap
  FROM generate_series(1, 4) AS tries, LATERAL eventmkt.plan_retry(500, tries, '{10,20,0}', NULL, '2026-01-01 00:00+00');
SELECT (eventmkt.plan_retry(500, 1, '{}', NULL, '2026-01-01 00:00+00')).verdict;
-- Retry-After with a gap of one minute, then of one hour: heeded between the gap and the greater of twice the gap and an hour
SELECT r AS retry_after, a.next_attempt_at - '2026-01-01 00:00+00' AS gap60, b.next_attempt_at - '2026-01-01 00:00+00' AS gap3600
  FROM unnest(ARRAY['120', '0', '59', '3600', '999999', ' 90 ', '7200', '-5', '1e3', '12abc', '', 'soon', '99999999999999999999',
	'Thu, 01 Jan 2026 00:30:00 GMT', 'Thu, 01 Jan 2026 09:00:00 GMT', 'Wed, 31 Dec 2025 23:00:00 GMT', 'Fri, 31 Dec 9999 23:59:59 GMT',
	'Thu, 31 Feb 2026 00:30:00 GMT', 'Thu, 01 Foo 2026 00:30:00 GMT', 'Thu, 01 Jan 2026 25:30:00 GMT', '2026-01-01 00:30:00',
	'Thursday, 01-Jan-26 00:30:00 GMT', 'Thu, 01 Jan 2026 00:30:00 CET']) AS r,
  LATERAL eventmkt.plan_retry(429, 1, '{60}', r, '2026-01-01 00:00+00') AS a, LATERAL eventmkt.plan_retry(503, 1, '{3600}', r, '2026-01-01 00:00+00') AS b;
-- only 429 and 503 carry it
SELECT next_attempt_at - '2026-01-01 00:00+00' AS gap FROM eventmkt.plan_retry(500, 1, '{60}', '1800', '2026-01-01 00:00+00');
-- no nonsense
SELECT eventmkt.plan_retry(500, 0, NULL, NULL, '2026-01-01 00:00+00');
SELECT eventmkt.plan_retry(500, 1, '{{1}}', NULL, '2026-01-01 00:00+00');
SELECT eventmkt.plan_retry(500, 1, '{NULL}', NULL, '2026-01-01 00:00+00');
SELECT eventmkt.plan_retry(500, 1, NULL, NULL, 'infinity');
SELECT eventmkt.plan_retry(500, 1, NULL, NULL, '2026-01-01 00:00+00', 'NaN');
SELECT eventmkt.plan_retry(500, NULL, NULL, NULL, '2026-01-01 00:00+00');

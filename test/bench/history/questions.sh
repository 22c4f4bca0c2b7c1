# questions.sh: the three questions in five dialects. Answers are rows of numbers, in order, the same everywhere.
#   funnel     view, add, checkout, order within 7 days after the view: people per furthest step
#   abandoned  an add that no order follows within 24 hours: people, occurrences, and the list of people as the sum of their numbers
#   views      at least 3 views in some 7 days, and no order: people
TAIL_FROM=2024-03-29		# the generator's events end about 2024-03-31

# $2: where timelines are read from: a table of packed rows, or the view
tl_question() {
	case $1 in
		funnel) echo "SELECT f, count(*) FROM (SELECT eventmkt.funnel(t, '7 days', 'Product Viewed', 'Product Added', 'Checkout Started', 'Order Completed') AS f
			FROM $2) s WHERE f > 0 GROUP BY 1 ORDER BY 1" ;;
		abandoned) echo "SELECT count(*), sum(n), sum(substr(profile_id, 2)::int) FROM (SELECT profile_id,
			cardinality(eventmkt.abandoned(t, 'Product Added', 'Order Completed', '24 hours')) AS n FROM $2) s WHERE n > 0" ;;
		views) echo "SELECT count(*) FROM $2 WHERE eventmkt.count(t, 'Order Completed') = 0 AND eventmkt.max_in_window(t, '7 days', 'Product Viewed') >= 3" ;;
	esac
}

# our aggregates over the event table
event_question() {
	case $1 in
		funnel) echo "SELECT f, count(*) FROM (SELECT eventmkt.funnel('7 days', occurred_at, name = 'Product Viewed', name = 'Product Added', name = 'Checkout Started',
			name = 'Order Completed') AS f FROM eventmkt_data.event WHERE name IN ('Product Viewed', 'Product Added', 'Checkout Started', 'Order Completed')
			GROUP BY profile_id) s WHERE f > 0 GROUP BY 1 ORDER BY 1" ;;
		abandoned) echo "SELECT count(*), sum(n), sum(substr(profile_id, 2)::int) FROM (SELECT profile_id, cardinality(eventmkt.abandoned(occurred_at,
			name = 'Product Added', name = 'Order Completed', '24 hours')) AS n FROM eventmkt_data.event WHERE name IN ('Product Added', 'Order Completed')
			GROUP BY profile_id) s WHERE n > 0" ;;
		views) echo "SELECT count(*) FROM (SELECT FROM eventmkt_data.event WHERE name IN ('Product Viewed', 'Order Completed') GROUP BY profile_id
			HAVING eventmkt.max_in_window(occurred_at, '7 days') FILTER (WHERE name = 'Product Viewed') >= 3
			AND count(*) FILTER (WHERE name = 'Order Completed') = 0) s" ;;
	esac
}

# SQL that needs no extension, for PostgreSQL ($1 table, columns profile, ts, name) and DuckDB
plain_funnel() {
	local w="OVER (PARTITION BY profile ORDER BY ts, step ROWS UNBOUNDED PRECEDING)"
	echo "SELECT depth, count(*) FROM (
		SELECT profile, max(CASE WHEN step = 4 AND ts <= s3 + INTERVAL '7 days' THEN 4 WHEN s3 IS NOT NULL THEN 3 WHEN s2 IS NOT NULL THEN 2 WHEN s1 IS NOT NULL THEN 1 ELSE 0 END) AS depth FROM (
		SELECT *, max(CASE WHEN step = 3 AND ts <= s2 + INTERVAL '7 days' THEN s2 END) $w AS s3 FROM (
		SELECT *, max(CASE WHEN step = 2 AND ts <= s1 + INTERVAL '7 days' THEN s1 END) $w AS s2 FROM (
		SELECT *, max(CASE WHEN step = 1 THEN ts END) $w AS s1 FROM (
		SELECT profile, ts, CASE name WHEN 'Product Viewed' THEN 1 WHEN 'Product Added' THEN 2 WHEN 'Checkout Started' THEN 3 ELSE 4 END AS step FROM ($1) e
			WHERE name IN ('Product Viewed', 'Product Added', 'Checkout Started', 'Order Completed')) a) b) c) d GROUP BY profile) s WHERE depth > 0 GROUP BY 1 ORDER BY 1"
}
plain_abandoned() {
	echo "SELECT count(*), CAST(sum(n) AS BIGINT), CAST(sum(CAST(substr(profile, 2) AS INT)) AS BIGINT) FROM (SELECT profile, count(DISTINCT ts) AS n FROM (
		SELECT profile, ts, name, min(CASE WHEN name = 'Order Completed' THEN ts END) OVER (PARTITION BY profile ORDER BY ts RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS closing
		FROM ($1) e WHERE name IN ('Product Added', 'Order Completed')) s
		WHERE name = 'Product Added' AND (closing IS NULL OR closing > ts + INTERVAL '24 hours') GROUP BY profile) s"
}
plain_views() {
	echo "SELECT count(*) FROM (SELECT DISTINCT profile FROM (SELECT profile, ts, lag(ts, 2) OVER (PARTITION BY profile ORDER BY ts) AS third FROM ($1) e
		WHERE name = 'Product Viewed') s WHERE ts <= third + INTERVAL '7 days') v WHERE NOT EXISTS (SELECT 1 FROM ($1) o WHERE o.profile = v.profile AND o.name = 'Order Completed')"
}
plain_question() { "plain_$1" "SELECT profile_id AS profile, occurred_at AS ts, name FROM eventmkt_data.event"; }
duck_question() {
	case $1 in
		abandoned) echo "SELECT count(DISTINCT profile), count(*), CAST((SELECT sum(CAST(substr(profile, 2) AS INT)) FROM (SELECT DISTINCT profile FROM a2)) AS BIGINT) FROM a2" |
			sed "1s/^/WITH a2 AS (SELECT a.profile, a.ts FROM (SELECT DISTINCT profile, ts FROM ev WHERE name = 'Product Added') a ASOF LEFT JOIN (SELECT profile, ts AS closing FROM ev WHERE name = 'Order Completed') o ON a.profile = o.profile AND o.closing >= a.ts WHERE o.closing IS NULL OR o.closing > a.ts + INTERVAL '24 hours') /" ;;
		*) "plain_$1" "SELECT profile, ts, name FROM ev" ;;
	esac
}
ch_question() {
	case $1 in
		funnel) echo "SELECT f, count() FROM (SELECT profile, windowFunnel(604800)(ts, name = 'Product Viewed', name = 'Product Added', name = 'Checkout Started',
			name = 'Order Completed') AS f FROM ev GROUP BY profile) WHERE f > 0 GROUP BY f ORDER BY f" ;;
		abandoned) echo "SELECT count(), sum(n), sum(toUInt32(substring(profile, 2))) FROM (SELECT profile, length(closings) AS l, arrayCount((o, cl) -> NOT arrayExists(
			c -> c >= o AND c <= o + 86400, cl), openings, arrayMap(x -> closings, openings)) AS n FROM (SELECT profile, groupUniqArrayIf(ts, name = 'Product Added')
			AS openings, groupArrayIf(ts, name = 'Order Completed') AS closings FROM ev WHERE name IN ('Product Added', 'Order Completed') GROUP BY profile)) WHERE n > 0" ;;
		views) echo "SELECT count() FROM (SELECT profile, arraySort(groupArrayIf(ts, name = 'Product Viewed')) AS v FROM ev WHERE name IN ('Product Viewed', 'Order Completed')
			GROUP BY profile HAVING countIf(name = 'Order Completed') = 0 AND length(v) >= 3) WHERE arrayExists((x, y) -> y - x <= 604800,
			arraySlice(v, 1, length(v) - 2), arraySlice(v, 3))" ;;
	esac
}

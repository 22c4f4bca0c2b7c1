-- The state machine of runs and deliveries, asked of the tables: every row of the answer is a violation (rule, item, detail).
-- Run by psql as a superuser or the owner, at any moment; it reads one snapshot.
--   -v redeliver=1   deliveries were redelivered by hand: a dead delivery may have been dead before, once a try at most
\if :{?redeliver}
\else
\set redeliver 0
\endif
WITH final AS (
	SELECT * FROM eventmkt_data.decision
	WHERE outcome IN ('delivered', 'dead', 'cancelled', 'expired', 'suppressed', 'recorded')
), of_delivery AS (
	SELECT delivery_id, count(*) AS n, count(*) FILTER (WHERE outcome = 'dead') AS dead,
		(array_agg(outcome ORDER BY decided_at DESC, decision_id DESC))[1] AS newest, string_agg(outcome, ', ') AS all_of_them
	FROM final WHERE delivery_id IS NOT NULL GROUP BY delivery_id
), of_run AS (
	SELECT run_id, count(*) AS n, count(*) FILTER (WHERE outcome = 'dead') AS dead, count(DISTINCT delivery_id) AS deliveries,
		string_agg(outcome, ', ') AS all_of_them
	FROM final WHERE run_id IS NOT NULL GROUP BY run_id
), d AS (
	SELECT d.*, status IN ('delivered', 'dead', 'cancelled') AS ended, coalesce(o.n, 0) AS decisions,
		coalesce(o.dead, 0) AS dead_decisions, o.newest, o.all_of_them
	FROM eventmkt_data.delivery d LEFT JOIN of_delivery o ON o.delivery_id = d.id
), violation (rule, item, detail) AS (
	SELECT 'delivery_status', id::text, status FROM d
	WHERE status NOT IN ('queued', 'in_flight', 'retrying', 'delivered', 'dead', 'cancelled')
UNION ALL
	SELECT 'in_flight_without_lease', id::text, 'attempts ' || attempts FROM d WHERE status = 'in_flight' AND lease IS NULL
UNION ALL
	SELECT 'in_flight_unnamed', id::text, 'lease ' || lease FROM d WHERE status = 'in_flight' AND lease IS NOT NULL
		AND NOT EXISTS (SELECT FROM eventmkt_data.lease l WHERE l.lease = d.lease AND d.id = ANY (l.ids))
UNION ALL
	SELECT 'waiting_differs', id::text, status FROM d WHERE waiting <> (status IN ('queued', 'retrying'))
UNION ALL
	SELECT 'lane_differs', id::text, status FROM d
	WHERE lane IS DISTINCT FROM CASE WHEN ordered AND status IN ('queued', 'in_flight', 'retrying') THEN status <> 'in_flight' END
UNION ALL
	SELECT 'died_at_differs', id::text, status FROM d
	WHERE died_at IS DISTINCT FROM CASE WHEN status = 'dead' THEN settled_at END
UNION ALL
	SELECT 'lease_without_flight', id::text, status FROM d WHERE status <> 'in_flight' AND lease IS NOT NULL
UNION ALL
	SELECT 'in_flight_unbegun', id::text, 'attempts 0' FROM d WHERE status = 'in_flight' AND attempts = 0
UNION ALL
	SELECT 'retrying_unbegun', id::text, 'attempts 0' FROM d WHERE status = 'retrying' AND attempts = 0
UNION ALL
	SELECT 'no_due_time', id::text, status FROM d WHERE status IN ('queued', 'retrying') AND next_attempt_at IS NULL
UNION ALL
	SELECT 'never_due', d.id::text, d.status FROM d JOIN eventmkt_data.endpoint e USING (endpoint_id)
	WHERE d.status IN ('queued', 'retrying') AND d.next_attempt_at = 'infinity' AND e.enabled AND e.disabled_reason IS NULL
		AND NOT (d.ordered AND e.ordered AND EXISTS (SELECT FROM eventmkt_data.delivery o WHERE o.endpoint_id = d.endpoint_id
			AND o.profile_id = d.profile_id AND o.ordered AND o.id <> d.id
			AND (o.status = 'in_flight' OR o.status IN ('queued', 'retrying') AND o.id < d.id)))
UNION ALL
	SELECT 'two_of_a_person_in_flight', min(id::text), count(*)::text FROM d WHERE ordered AND status = 'in_flight'
	GROUP BY endpoint_id, profile_id HAVING count(*) > 1
UNION ALL
	SELECT 'ended_without_time', id::text, status FROM d WHERE ended AND settled_at IS NULL
UNION ALL
	SELECT 'delivered_unbegun', id::text, 'attempts 0' FROM d WHERE status = 'delivered' AND attempts = 0
UNION ALL
	SELECT 'ended_without_decision', id::text, status FROM d WHERE ended AND decisions = 0
UNION ALL
	SELECT 'ended_with_many_decisions', id::text, status || ': ' || all_of_them FROM d
	WHERE ended AND decisions > 1
		AND NOT (:redeliver = 1 AND decisions - dead_decisions <= 1 AND dead_decisions <= attempts)
UNION ALL
	SELECT 'decision_differs', id::text, status || ': ' || newest FROM d
	WHERE ended AND decisions > 0
		AND NOT (status = newest OR status = 'cancelled' AND newest IN ('expired', 'suppressed'))
UNION ALL
	SELECT 'open_with_decision', id::text, status || ': ' || all_of_them FROM d
	WHERE NOT ended AND decisions > 0 AND NOT (:redeliver = 1 AND decisions = dead_decisions AND dead_decisions <= attempts)
UNION ALL
	SELECT 'decision_without_delivery', decision_id::text, outcome FROM final f LEFT JOIN eventmkt_data.delivery d ON d.id = f.delivery_id
	WHERE d.id IS NULL AND (f.delivery_id IS NOT NULL OR f.outcome IN ('delivered', 'dead'))
UNION ALL
	SELECT 'attempt_uncounted', a.delivery_id::text, 'attempt ' || a.attempt || ' of ' || d.attempts
	FROM eventmkt_data.attempt a JOIN d ON d.id = a.delivery_id WHERE a.attempt > d.attempts OR a.attempt < 1
UNION ALL
	SELECT 'attempt_without_delivery', a.delivery_id::text, 'attempt ' || a.attempt
	FROM eventmkt_data.attempt a WHERE NOT EXISTS (SELECT FROM d WHERE d.id = a.delivery_id)
UNION ALL
	SELECT 'end_unlogged', id::text, status || ' at try ' || attempts FROM d
	WHERE status IN ('delivered', 'dead') AND attempts > 0
		AND NOT EXISTS (SELECT FROM eventmkt_data.attempt a WHERE a.delivery_id = d.id AND a.attempt = d.attempts)
UNION ALL
	SELECT 'run_sent_twice', run_id::text, string_agg(id::text, ', ') FROM d WHERE run_id <> 0 GROUP BY run_id HAVING count(*) > 1
UNION ALL
	SELECT 'run_ended_twice', run_id::text, all_of_them FROM of_run
	WHERE n > 1 AND NOT (:redeliver = 1 AND n - dead <= 1 AND deliveries = 1)
UNION ALL
	SELECT 'run_ended_and_pending', p.run_id::text, o.all_of_them
	FROM eventmkt_data.pending_trigger p JOIN of_run o USING (run_id)
UNION ALL
	SELECT 'run_sent_and_pending', p.run_id::text, d.status FROM eventmkt_data.pending_trigger p JOIN d USING (run_id)
UNION ALL
	SELECT 'run_pending_twice', run_id::text, count(*)::text FROM eventmkt_data.pending_trigger
	GROUP BY run_id HAVING count(*) > 1
UNION ALL
	SELECT 'run_state', run_id::text, state FROM eventmkt_data.pending_trigger WHERE state NOT IN ('waiting', 'held')
UNION ALL
	SELECT 'run_without_wake_time', run_id::text, state FROM eventmkt_data.pending_trigger
	WHERE wake_at IS NULL OR due_at IS NULL
UNION ALL
	SELECT 'run_without_rule', p.run_id::text, 'rule ' || p.rule_id || ' version ' || p.rule_version FROM eventmkt_data.pending_trigger p
	WHERE NOT EXISTS (SELECT FROM eventmkt_data.rule r WHERE r.rule_id = p.rule_id AND r.version = p.rule_version)
UNION ALL
	SELECT 'run_never_wakes', p.run_id::text, p.state FROM eventmkt_data.pending_trigger p
	WHERE p.wake_at = 'infinity' AND EXISTS (SELECT FROM eventmkt_data.rule r
		WHERE r.rule_id = p.rule_id AND r.current AND r.enabled)
)
SELECT rule, item, detail FROM violation ORDER BY rule, item;

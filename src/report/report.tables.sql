-- report: the views of eventmkt_bi, for people and BI tools. They show no body, header, secret or credential. Times are
-- business time (eventmkt.clock()); a scalar subquery around it lets old partitions be left out.
CREATE OR REPLACE VIEW eventmkt_bi.rules AS
	SELECT r.rule_id, r.name AS rule, r.version, r.enabled, r.disabled_reason, r.on_event,
		r.where_event::text AS where_event, r.where_profile::text AS where_profile,
		CASE WHEN r.at_least > 1 THEN r.at_least || ' times' || COALESCE(' in ' || r.within::text, '') END AS count,
		r.per, pg_catalog.array_to_string(r.unless, ', ') AS unless, r.unless_where::text AS unless_where, r.after,
		r.on_repeat, r.reentry, COALESCE(e.name, 'none') AS send_to, r.priority, f.made_at, r.created_at AS changed_at,
		COALESCE(l.live, 0) AS live_runs, COALESCE(q.waiting, 0) AS open_deliveries,
		COALESCE(d.delivered, 0) AS delivered, COALESCE(d.dead, 0) AS dead, COALESCE(d.cancelled, 0) AS cancelled,
		COALESCE(d.expired, 0) AS expired, COALESCE(d.suppressed, 0) AS suppressed, COALESCE(d.recorded, 0) AS recorded,
		COALESCE(d.late_cancel, 0) AS late_cancel, d.last_decided_at, s.name AS where_segment
	FROM eventmkt_data.rule r
	LEFT JOIN eventmkt_data.endpoint e ON e.endpoint_id = r.endpoint_id
	LEFT JOIN eventmkt_data.segment s ON s.segment_id = r.where_segment
	LEFT JOIN (SELECT rule_id, pg_catalog.min(created_at) AS made_at FROM eventmkt_data.rule GROUP BY rule_id) f
		ON f.rule_id = r.rule_id
	LEFT JOIN (SELECT rule_id, pg_catalog.count(*) AS live FROM eventmkt_data.pending_trigger GROUP BY rule_id) l
		ON l.rule_id = r.rule_id
	LEFT JOIN (SELECT rule_id, pg_catalog.count(*) AS waiting FROM eventmkt_data.delivery
		WHERE status IN ('queued', 'in_flight', 'retrying') GROUP BY rule_id) q ON q.rule_id = r.rule_id
	LEFT JOIN (SELECT rule_id,
			pg_catalog.count(*) FILTER (WHERE outcome = 'delivered') AS delivered,
			pg_catalog.count(*) FILTER (WHERE outcome = 'dead') AS dead,
			pg_catalog.count(*) FILTER (WHERE outcome = 'cancelled') AS cancelled,
			pg_catalog.count(*) FILTER (WHERE outcome = 'expired') AS expired,
			pg_catalog.count(*) FILTER (WHERE outcome = 'suppressed') AS suppressed,
			pg_catalog.count(*) FILTER (WHERE outcome = 'recorded') AS recorded,
			pg_catalog.count(*) FILTER (WHERE outcome = 'late_cancel') AS late_cancel,
			pg_catalog.max(decided_at) AS last_decided_at
		FROM eventmkt_data.decision GROUP BY rule_id) d ON d.rule_id = r.rule_id
	WHERE r.current;
COMMENT ON VIEW eventmkt_bi.rules IS 'every rule there is: its definition, its live runs and its decisions by outcome';
COMMENT ON COLUMN eventmkt_bi.rules.count IS 'how often the event must come before the rule starts; NULL: once';
COMMENT ON COLUMN eventmkt_bi.rules.live_runs IS 'runs that wait for their time, or for the rule to be enabled';
COMMENT ON COLUMN eventmkt_bi.rules.open_deliveries IS 'messages queued, on the wire or being tried again';
COMMENT ON COLUMN eventmkt_bi.rules.late_cancel IS 'cancelling events that came after the message was delivered';

CREATE OR REPLACE VIEW eventmkt_bi.decisions_by_rule AS
	SELECT d.decided_at::date AS day, d.rule, d.outcome, d.reason, pg_catalog.count(*) AS decisions,
		pg_catalog.count(DISTINCT d.profile_id) AS profiles, pg_catalog.max(d.decided_at) AS last_at
	FROM eventmkt_data.decision d GROUP BY 1, 2, 3, 4;
COMMENT ON VIEW eventmkt_bi.decisions_by_rule IS
	'decisions by day, rule, outcome and reason; held and late_cancel are not final, every other ends a run';
COMMENT ON COLUMN eventmkt_bi.decisions_by_rule.day IS 'day of the decision in the time zone of the session';

CREATE OR REPLACE VIEW eventmkt_bi.latency AS
	WITH measured AS (
		SELECT d.rule, 1 AS step, 'event to pending'::text AS measure, d.run_created_at AS at,
			pg_catalog.extract('epoch', d.run_created_at - d.received_at) * 1000 AS ms
		FROM eventmkt_data.delivery d
		UNION ALL
		SELECT d.rule, 2, 'due to sent', d.first_sent_at, pg_catalog.extract('epoch', d.first_sent_at - GREATEST(d.due_at,
			d.run_created_at, (SELECT pg_catalog.max(m.reached) FROM eventmkt_data.clock_move m
				WHERE m.reached <= d.first_sent_at))) * 1000
		FROM eventmkt_data.delivery d WHERE d.first_sent_at IS NOT NULL
		UNION ALL
		SELECT d.rule, 3, 'sent to answered', d.first_sent_at, a.latency_us / 1000.0
		FROM eventmkt_data.delivery d JOIN eventmkt_data.attempt a ON a.delivery_id = d.id
		WHERE d.first_sent_at IS NOT NULL AND a.status IS NOT NULL
	)
	SELECT p.period, m.rule, m.measure, pg_catalog.count(*) AS n,
		pg_catalog.round(pg_catalog.percentile_cont(0.50) WITHIN GROUP (ORDER BY m.ms)::numeric, 3) AS p50_ms,
		pg_catalog.round(pg_catalog.percentile_cont(0.95) WITHIN GROUP (ORDER BY m.ms)::numeric, 3) AS p95_ms,
		pg_catalog.round(pg_catalog.percentile_cont(0.99) WITHIN GROUP (ORDER BY m.ms)::numeric, 3) AS p99_ms,
		pg_catalog.round(pg_catalog.max(m.ms)::numeric, 3) AS max_ms
	FROM measured m
	JOIN (VALUES ('hour', '1 hour'::interval), ('day', '1 day'), ('all', NULL)) AS p (period, length)
		ON p.length IS NULL OR m.at >= (SELECT eventmkt.clock()) - p.length
	GROUP BY p.period, m.rule, m.measure, m.step
	ORDER BY p.period, m.rule, m.step;
COMMENT ON VIEW eventmkt_bi.latency IS 'how long each step of a message took, per rule, over the last hour, the last day, and all';
COMMENT ON COLUMN eventmkt_bi.latency.measure IS
	'event to pending: known → run made; due to sent: due (or the clock moved past it) → first try; sent to answered: a try';

CREATE OR REPLACE VIEW eventmkt_bi.queue AS
	SELECT q.what, q.n, q.oldest, CASE WHEN q.oldest <= c.now THEN c.now - q.oldest END AS age
	FROM (SELECT eventmkt.clock() AS now) c, LATERAL (
		SELECT 1 AS step, 'work'::text AS what, pg_catalog.count(*) AS n, NULL::timestamptz AS oldest FROM eventmkt_data.work
		UNION ALL
		SELECT 2, 'runs due', pg_catalog.count(*), pg_catalog.min(due_at) FROM eventmkt_data.pending_trigger
			WHERE wake_at <= c.now
		UNION ALL
		SELECT 3, 'runs waiting', pg_catalog.count(*), pg_catalog.min(due_at) FROM eventmkt_data.pending_trigger
			WHERE state = 'waiting' AND wake_at > c.now
		UNION ALL
		SELECT 4, 'runs held', pg_catalog.count(*), pg_catalog.min(due_at) FROM eventmkt_data.pending_trigger
			WHERE state = 'held' AND wake_at > c.now
		UNION ALL
		SELECT 5, 'deliveries ready', pg_catalog.count(*), pg_catalog.min(next_attempt_at) FROM eventmkt_data.delivery
			WHERE status IN ('queued', 'retrying') AND next_attempt_at <= c.now
		UNION ALL
		SELECT 6, 'deliveries to retry later', pg_catalog.count(*), pg_catalog.min(created_at) FROM eventmkt_data.delivery
			WHERE status IN ('queued', 'retrying') AND next_attempt_at > c.now
		UNION ALL
		SELECT 7, 'deliveries in flight', pg_catalog.count(*), pg_catalog.min(created_at) FROM eventmkt_data.delivery
			WHERE status = 'in_flight'
		UNION ALL
		SELECT 8, 'dead letters', pg_catalog.count(*), pg_catalog.min(settled_at) FROM eventmkt_data.delivery
			WHERE status = 'dead') q
	ORDER BY q.step;
COMMENT ON VIEW eventmkt_bi.queue IS 'what is not yet done: depth and age of every queue';
COMMENT ON COLUMN eventmkt_bi.queue.oldest IS 'when the oldest was due, ready or made; NULL for work, which has no order';

CREATE OR REPLACE VIEW eventmkt_bi.endpoints AS
	SELECT e.endpoint_id, e.name AS endpoint,
		pg_catalog.substring(e.url, '^[A-Za-z]+://(?:[^@/?#]*@)?(\[[^]]*\]|[^/:?#]*)') AS host,
		CASE WHEN NOT e.enabled THEN 'disabled' WHEN NOT k.known THEN 'no secret'
			WHEN s.open_until > c.now THEN 'failing' ELSE 'ok' END AS state,
		e.disabled_reason, COALESCE(s.failures, 0) AS failures, s.failing_since, s.open_until AS next_try_at,
		s.last_success_at, s.last_failure_at, s.last_error, e.max_in_flight, e.rate_limit,
		COALESCE(d.open, 0) AS open_deliveries, COALESCE(d.delivered, 0) AS delivered_last_day,
		COALESCE(d.dead, 0) AS dead_last_day,
		pg_catalog.round(d.delivered::numeric / NULLIF(d.delivered + d.dead, 0), 4) AS success_rate_last_day
	FROM eventmkt_data.endpoint e
	CROSS JOIN (SELECT eventmkt.clock() AS now) c
	CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM eventmkt.secret x WHERE x.endpoint = e.name
		AND (x.expires_at IS NULL OR x.expires_at > c.now)) AS known) k
	LEFT JOIN eventmkt_data.endpoint_state s ON s.endpoint_id = e.endpoint_id
	LEFT JOIN (SELECT endpoint_id,
			pg_catalog.count(*) FILTER (WHERE status IN ('queued', 'in_flight', 'retrying')) AS open,
			pg_catalog.count(*) FILTER (WHERE status = 'delivered' AND settled_at >= (SELECT eventmkt.clock()) - '1 day'::interval)
				AS delivered,
			pg_catalog.count(*) FILTER (WHERE status = 'dead' AND settled_at >= (SELECT eventmkt.clock()) - '1 day'::interval) AS dead
		FROM eventmkt_data.delivery GROUP BY endpoint_id) d ON d.endpoint_id = e.endpoint_id;
COMMENT ON VIEW eventmkt_bi.endpoints IS 'where messages go and how well they arrive; of the address only the host is shown';
COMMENT ON COLUMN eventmkt_bi.endpoints.state IS 'ok, failing (the breaker is open until next_try_at), no secret, disabled';
COMMENT ON COLUMN eventmkt_bi.endpoints.failures IS 'tries in a row that failed';
COMMENT ON COLUMN eventmkt_bi.endpoints.success_rate_last_day IS 'delivered of all messages settled in the last day; 1 is best';

CREATE OR REPLACE VIEW eventmkt_bi.dead_letters AS
	SELECT d.id AS delivery_id, d.rule, e.name AS endpoint, d.profile_id, d.key, d.attempts, d.last_status, d.last_error,
		d.event_id, d.due_at, d.first_sent_at, d.settled_at AS dead_at
	FROM eventmkt_data.delivery d LEFT JOIN eventmkt_data.endpoint e ON e.endpoint_id = d.endpoint_id
	WHERE d.status = 'dead';
COMMENT ON VIEW eventmkt_bi.dead_letters IS 'messages that could not be delivered; eventmkt.redeliver(delivery_id) tries again';
COMMENT ON COLUMN eventmkt_bi.dead_letters.last_status IS 'HTTP status of the last try; NULL when no answer came';

CREATE OR REPLACE VIEW eventmkt_bi.events_by_day AS
	SELECT e.occurred_at::date AS day, e.name AS event, pg_catalog.count(*) AS events,
		pg_catalog.count(DISTINCT e.profile_id) AS profiles, pg_catalog.max(e.received_at) AS last_received_at
	FROM eventmkt_data.event e WHERE e.conflict_of IS NULL GROUP BY 1, 2;
COMMENT ON VIEW eventmkt_bi.events_by_day IS 'events by day and name, the ones that the engine makes too';
COMMENT ON COLUMN eventmkt_bi.events_by_day.day IS 'day it happened, in the time zone of the session';
COMMENT ON COLUMN eventmkt_bi.events_by_day.profiles IS 'ids as stored: a person known by two ids before a merge counts twice';

-- one row a step of a profile's way, by the id it is stored under
CREATE OR REPLACE VIEW eventmkt_data.profile_step AS
	SELECT e.profile_id, e.occurred_at AS at, 1 AS step, 'event'::text AS kind, e.name::text AS what,
		pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('event_id', e.event_id, 'received_at', e.received_at,
			'conflict_of', e.conflict_of, 'depth', NULLIF(e.depth, 0))) AS detail
	FROM eventmkt_data.event e
	UNION ALL
	SELECT p.profile_id, p.started_at, 2, 'run', r.name::text, pg_catalog.jsonb_build_object('run_id', p.run_id, 'state', p.state,
		'key', p.key, 'due_at', p.due_at, 'event_id', p.event_id)
	FROM eventmkt_data.pending_trigger p
	JOIN eventmkt_data.rule r ON r.rule_id = p.rule_id AND r.version = p.rule_version
	UNION ALL
	SELECT d.profile_id, d.started_at, 2, 'run', d.rule::text, pg_catalog.jsonb_build_object('run_id', d.run_id, 'state', 'ended',
		'key', d.key, 'due_at', d.due_at, 'event_id', d.event_id)
	FROM eventmkt_data.delivery d
	UNION ALL
	SELECT d.profile_id, d.started_at, 2, 'run', d.rule::text, pg_catalog.jsonb_build_object('run_id', d.run_id, 'state', 'ended',
		'key', d.key, 'due_at', d.due_at, 'event_id', d.event_id)
	FROM eventmkt_data.decision d
	WHERE d.run_id IS NOT NULL AND d.delivery_id IS NULL AND d.started_at IS NOT NULL AND d.outcome NOT IN ('held', 'late_cancel')
	UNION ALL
	SELECT d.profile_id, COALESCE(d.first_sent_at, d.created_at), 3, 'delivery', d.rule::text,
		pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('delivery_id', d.id, 'run_id', d.run_id, 'status', d.status,
			'attempts', d.attempts, 'endpoint', e.name, 'last_status', d.last_status, 'settled_at', d.settled_at))
	FROM eventmkt_data.delivery d LEFT JOIN eventmkt_data.endpoint e ON e.endpoint_id = d.endpoint_id
	UNION ALL
	SELECT d.profile_id, d.decided_at, 4, 'decision', d.rule::text,
		pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('outcome', d.outcome, 'reason', d.reason, 'run_id', d.run_id,
			'key', NULLIF(d.key, ''), 'delivery_id', d.delivery_id, 'event_id', d.event_id, 'facts', d.facts))
	FROM eventmkt_data.decision d;
COMMENT ON VIEW eventmkt_data.profile_step IS 'what eventmkt_bi.timeline shows, under the ids that rows are stored with';

CREATE OR REPLACE VIEW eventmkt_bi.timeline AS
	SELECT s.profile_id, s.at, s.kind, s.what, s.detail, s.step
	FROM eventmkt_data.profile_step s
	WHERE NOT EXISTS (SELECT FROM eventmkt_data.alias a WHERE a.alias = s.profile_id)
	UNION ALL
	SELECT a.profile_id, s.at, s.kind, s.what, s.detail, s.step
	FROM eventmkt_data.alias a
	CROSS JOIN LATERAL (SELECT * FROM eventmkt_data.profile_step p WHERE p.profile_id = a.alias) s;
COMMENT ON VIEW eventmkt_bi.timeline IS
	'all that happened with a person: events, runs, deliveries, decisions; ask for one profile_id, ORDER BY at, step';
COMMENT ON COLUMN eventmkt_bi.timeline.profile_id IS 'canonical id: what came under other ids of the person is included';
COMMENT ON COLUMN eventmkt_bi.timeline.kind IS 'event, run, delivery, decision';
COMMENT ON COLUMN eventmkt_bi.timeline.what IS 'the name of the event, or of the rule';
COMMENT ON COLUMN eventmkt_bi.timeline.step IS 'orders what has the same time: event, run, delivery, decision';

-- timelines: the history of each profile, packed; derived from the event table, see src/report/upkeep.c. The packed column is of a
-- type of the extension, so it goes when the extension is dropped: the rest is then emptied and packed anew.
CREATE TABLE IF NOT EXISTS eventmkt_data.timeline_state (
	one			bool PRIMARY KEY DEFAULT true CHECK (one),
	packed_to	timestamptz NOT NULL DEFAULT '-infinity',	-- all events before are in timeline, or have a mark
	sealed_to	timestamptz NOT NULL DEFAULT '-infinity',	-- whoever writes an event before this leaves a mark
	sealed_xid	bigint NOT NULL DEFAULT 0,		-- but not the transactions that began before this one
	key_property text COLLATE "C",				-- property that becomes the key of an event
	value_property text COLLATE "C"				-- property that becomes its value
);
COMMENT ON TABLE eventmkt_data.timeline_state IS 'how far timelines are packed; no row: they are not kept';
CREATE TABLE IF NOT EXISTS eventmkt_data.timeline (
	profile_id	text COLLATE "C" NOT NULL,		-- as in the event
	period		timestamptz NOT NULL,			-- first moment of the quarter, UTC
	PRIMARY KEY (profile_id, period)
);
ALTER TABLE eventmkt_data.timeline ADD COLUMN IF NOT EXISTS t eventmkt.timeline;
COMMENT ON TABLE eventmkt_data.timeline IS 'the events of one profile and quarter as one value; derived, rebuilt at any time';
UPDATE eventmkt_data.timeline_state SET packed_to = '-infinity', sealed_to = '-infinity'
	WHERE EXISTS (SELECT FROM eventmkt_data.timeline WHERE t IS NULL);
DELETE FROM eventmkt_data.timeline WHERE t IS NULL
	OR EXISTS (SELECT FROM eventmkt_data.timeline_state WHERE packed_to OPERATOR(pg_catalog.=) '-infinity');

CREATE OR REPLACE VIEW eventmkt_bi.profile_timelines AS
	WITH marked AS MATERIALIZED (
		SELECT DISTINCT profile_id FROM eventmkt_data.late_event
		WHERE occurred_at OPERATOR(pg_catalog.<) (SELECT packed_to FROM eventmkt_data.timeline_state)
	), part AS (
		SELECT t.profile_id, t.t FROM eventmkt_data.timeline t
		WHERE NOT EXISTS (SELECT FROM marked m WHERE m.profile_id OPERATOR(pg_catalog.=) t.profile_id)
		UNION ALL
		SELECT e.profile_id, eventmkt.timeline(e.occurred_at, e.name, eventmkt.timeline_key(e.properties,
				(SELECT key_property FROM eventmkt_data.timeline_state)), eventmkt.timeline_value(e.properties,
				(SELECT value_property FROM eventmkt_data.timeline_state))) AS t
		FROM eventmkt_data.event e
		WHERE e.occurred_at OPERATOR(pg_catalog.>=) COALESCE((SELECT packed_to FROM eventmkt_data.timeline_state), '-infinity')
		GROUP BY e.profile_id
		UNION ALL
		SELECT e.profile_id, eventmkt.timeline(e.occurred_at, e.name, eventmkt.timeline_key(e.properties,
				(SELECT key_property FROM eventmkt_data.timeline_state)), eventmkt.timeline_value(e.properties,
				(SELECT value_property FROM eventmkt_data.timeline_state))) AS t
		FROM marked m JOIN eventmkt_data.event e ON e.profile_id OPERATOR(pg_catalog.=) m.profile_id
		WHERE e.occurred_at OPERATOR(pg_catalog.<) (SELECT packed_to FROM eventmkt_data.timeline_state)
		GROUP BY e.profile_id
	)
	SELECT COALESCE(a.profile_id, p.profile_id) AS profile_id, eventmkt.merge(p.t) AS t
	FROM part p LEFT JOIN eventmkt_data.alias a ON a.alias OPERATOR(pg_catalog.=) p.profile_id
	GROUP BY 1;
COMMENT ON VIEW eventmkt_bi.profile_timelines IS
	'everything each profile did as one timeline: packed days from eventmkt_data.timeline, the rest from the event table';

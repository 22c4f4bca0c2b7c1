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
COMMENT ON COLUMN eventmkt_bi.rules.rule_id IS 'number of the rule, the same for all its versions';
COMMENT ON COLUMN eventmkt_bi.rules.rule IS 'name of the rule';
COMMENT ON COLUMN eventmkt_bi.rules.version IS 'the version that starts runs now';
COMMENT ON COLUMN eventmkt_bi.rules.enabled IS 'whether it starts runs';
COMMENT ON COLUMN eventmkt_bi.rules.disabled_reason IS 'why it does not; NULL: it does';
COMMENT ON COLUMN eventmkt_bi.rules.on_event IS 'the event that starts it; * is any event of the app';
COMMENT ON COLUMN eventmkt_bi.rules.where_event IS 'condition on the properties of the event; NULL: none';
COMMENT ON COLUMN eventmkt_bi.rules.where_profile IS 'condition on the traits of the person; NULL: none';
COMMENT ON COLUMN eventmkt_bi.rules.per IS 'the property that tells one cart, product or order from another; NULL: none';
COMMENT ON COLUMN eventmkt_bi.rules.unless IS 'the events that cancel it';
COMMENT ON COLUMN eventmkt_bi.rules.unless_where IS 'condition on the properties of those; NULL: none';
COMMENT ON COLUMN eventmkt_bi.rules.after IS 'how long it waits before it sends';
COMMENT ON COLUMN eventmkt_bi.rules.on_repeat IS 'what happens when the event comes again while it waits: ignore, debounce, replace, parallel';
COMMENT ON COLUMN eventmkt_bi.rules.reentry IS 'least time between two messages to the same person; NULL: none';
COMMENT ON COLUMN eventmkt_bi.rules.send_to IS 'the endpoint; none: it only records';
COMMENT ON COLUMN eventmkt_bi.rules.priority IS 'the higher is sent first';
COMMENT ON COLUMN eventmkt_bi.rules.made_at IS 'when its first version was made';
COMMENT ON COLUMN eventmkt_bi.rules.changed_at IS 'when this version was made';
COMMENT ON COLUMN eventmkt_bi.rules.delivered IS 'runs that ended with a message that was delivered';
COMMENT ON COLUMN eventmkt_bi.rules.dead IS 'runs that ended with a message that could not be delivered';
COMMENT ON COLUMN eventmkt_bi.rules.cancelled IS 'runs ended by a cancelling event';
COMMENT ON COLUMN eventmkt_bi.rules.expired IS 'runs that were too late to send';
COMMENT ON COLUMN eventmkt_bi.rules.suppressed IS 'runs of people who were not to get the message';
COMMENT ON COLUMN eventmkt_bi.rules.recorded IS 'runs of a rule that only records';
COMMENT ON COLUMN eventmkt_bi.rules.last_decided_at IS 'when it last decided anything';
COMMENT ON COLUMN eventmkt_bi.rules.where_segment IS 'the segment people must be in; NULL: none';

CREATE OR REPLACE VIEW eventmkt_bi.decisions_by_rule AS
	SELECT d.decided_at::date AS day, d.rule, d.outcome, d.reason, pg_catalog.count(*) AS decisions,
		pg_catalog.count(DISTINCT d.profile_id) AS profiles, pg_catalog.max(d.decided_at) AS last_at
	FROM eventmkt_data.decision d GROUP BY 1, 2, 3, 4;
COMMENT ON VIEW eventmkt_bi.decisions_by_rule IS
	'decisions by day, rule, outcome and reason; held and late_cancel are not final, every other ends a run';
COMMENT ON COLUMN eventmkt_bi.decisions_by_rule.day IS 'day of the decision in the time zone of the session';
COMMENT ON COLUMN eventmkt_bi.decisions_by_rule.rule IS 'name of the rule';
COMMENT ON COLUMN eventmkt_bi.decisions_by_rule.outcome IS 'delivered, dead, cancelled, expired, suppressed, recorded; held and late_cancel do not end a run';
COMMENT ON COLUMN eventmkt_bi.decisions_by_rule.reason IS 'why; NULL where the outcome says it all';
COMMENT ON COLUMN eventmkt_bi.decisions_by_rule.decisions IS 'how many';
COMMENT ON COLUMN eventmkt_bi.decisions_by_rule.profiles IS 'people they were about';
COMMENT ON COLUMN eventmkt_bi.decisions_by_rule.last_at IS 'time of the last one';

CREATE OR REPLACE VIEW eventmkt_bi.latency AS
	WITH measured AS (
		SELECT d.rule, 1 AS step, 'event to pending'::text AS measure, d.run_created_at AS at,
			pg_catalog.extract('epoch', d.run_created_at - d.received_at) * 1000 AS ms
		FROM eventmkt_data.delivery d
		UNION ALL
		SELECT d.rule, 2, 'due to sent' AS measure, d.first_sent_at, pg_catalog.extract('epoch', d.first_sent_at - GREATEST(d.due_at,
			d.run_created_at, (SELECT pg_catalog.max(m.reached) FROM eventmkt_data.clock_move m
				WHERE m.reached <= d.first_sent_at))) * 1000
		FROM eventmkt_data.delivery d WHERE d.first_sent_at IS NOT NULL
		UNION ALL
		SELECT d.rule, 3, 'sent to answered' AS measure, d.first_sent_at, a.latency_us / 1000.0
		FROM eventmkt_data.delivery d JOIN eventmkt_data.attempt a ON a.delivery_id = d.id
		WHERE d.first_sent_at IS NOT NULL AND a.status IS NOT NULL
	)
	SELECT p.period, m.rule, m.measure, pg_catalog.count(*) AS n,
		pg_catalog.round(pg_catalog.percentile_cont(0.50) WITHIN GROUP (ORDER BY m.ms)::numeric, 3) AS p50_ms,
		pg_catalog.round(pg_catalog.percentile_cont(0.95) WITHIN GROUP (ORDER BY m.ms)::numeric, 3) AS p95_ms,
		pg_catalog.round(pg_catalog.percentile_cont(0.99) WITHIN GROUP (ORDER BY m.ms)::numeric, 3) AS p99_ms,
		pg_catalog.round(pg_catalog.max(m.ms)::numeric, 3) AS max_ms
	FROM measured m
	JOIN (VALUES ('hour', '1 hour'::interval), ('day', '24 hours'), ('all', NULL)) AS p (period, length)
		ON p.length IS NULL OR m.at >= (SELECT eventmkt.clock()) - p.length
	GROUP BY p.period, m.rule, m.measure, m.step
	ORDER BY p.period, m.rule, m.step;
COMMENT ON VIEW eventmkt_bi.latency IS 'how long each step of a message took, per rule, over the last hour, the last day, and all';
COMMENT ON COLUMN eventmkt_bi.latency.measure IS
	'event to pending: from known to run made; due to sent: from due (or when the clock moved past it) to the first try; sent to answered: a try';
COMMENT ON COLUMN eventmkt_bi.latency.period IS 'hour and day: the last one; all: all that is kept';
COMMENT ON COLUMN eventmkt_bi.latency.rule IS 'name of the rule';
COMMENT ON COLUMN eventmkt_bi.latency.n IS 'how many were measured';
COMMENT ON COLUMN eventmkt_bi.latency.p50_ms IS 'half took at most so many milliseconds';
COMMENT ON COLUMN eventmkt_bi.latency.p95_ms IS '95 of 100 took at most so many milliseconds';
COMMENT ON COLUMN eventmkt_bi.latency.p99_ms IS '99 of 100 took at most so many milliseconds';
COMMENT ON COLUMN eventmkt_bi.latency.max_ms IS 'the slowest, milliseconds';

CREATE OR REPLACE VIEW eventmkt_bi.queue AS
	SELECT q.what, q.n, q.oldest, CASE WHEN q.oldest <= c.now THEN c.now - q.oldest END AS age
	FROM (SELECT eventmkt.clock() AS now) c, LATERAL (
		SELECT 1 AS step, 'work'::text AS what, pg_catalog.count(*) AS n, NULL::timestamptz AS oldest FROM eventmkt_data.work
		UNION ALL
		SELECT 2, 'runs due' AS what, pg_catalog.count(*), pg_catalog.min(due_at) FROM eventmkt_data.pending_trigger
			WHERE wake_at <= c.now
		UNION ALL
		SELECT 3, 'runs waiting' AS what, pg_catalog.count(*), pg_catalog.min(due_at) FROM eventmkt_data.pending_trigger
			WHERE state = 'waiting' AND wake_at > c.now
		UNION ALL
		SELECT 4, 'runs held' AS what, pg_catalog.count(*), pg_catalog.min(due_at) FROM eventmkt_data.pending_trigger
			WHERE state = 'held' AND wake_at > c.now
		UNION ALL
		SELECT 5, 'deliveries ready' AS what, pg_catalog.count(*), pg_catalog.min(next_attempt_at) FROM eventmkt_data.delivery
			WHERE waiting AND next_attempt_at <= c.now
		UNION ALL
		SELECT 6, 'deliveries to retry later' AS what, pg_catalog.count(*), pg_catalog.min(created_at) FROM eventmkt_data.delivery
			WHERE waiting AND next_attempt_at > c.now AND next_attempt_at < 'infinity'
		UNION ALL
		SELECT 7, 'deliveries behind others' AS what, pg_catalog.count(*), pg_catalog.min(created_at) FROM eventmkt_data.delivery
			WHERE waiting AND next_attempt_at = 'infinity'
		UNION ALL
		SELECT 8, 'deliveries in flight' AS what, pg_catalog.count(*), pg_catalog.min(d.created_at) FROM eventmkt_data.lease l,
			pg_catalog.unnest(l.ids) AS u (id), eventmkt_data.delivery d
			WHERE d.id = u.id AND d.status = 'in_flight' AND d.lease = l.lease
		UNION ALL
		SELECT 9, 'dead letters' AS what, pg_catalog.count(*), pg_catalog.min(died_at) FROM eventmkt_data.delivery
			WHERE died_at IS NOT NULL) q
	ORDER BY q.step;
COMMENT ON VIEW eventmkt_bi.queue IS 'what is not yet done: depth and age of every queue';
COMMENT ON COLUMN eventmkt_bi.queue.oldest IS 'when the oldest was due, ready or made; NULL for work, which has no order';
COMMENT ON COLUMN eventmkt_bi.queue.what IS 'name of the queue';
COMMENT ON COLUMN eventmkt_bi.queue.n IS 'how many wait in it';
COMMENT ON COLUMN eventmkt_bi.queue.age IS 'how long the oldest has been waiting; NULL: nothing is late';

CREATE OR REPLACE VIEW eventmkt_bi.endpoints AS
	SELECT e.endpoint_id, e.name AS endpoint,
		pg_catalog.substring(e.url, '^[A-Za-z]+://(?:[^@/?#]*@)?(\[[^]]*\]|[^/:?#]*)') AS host,
		CASE WHEN NOT e.enabled THEN 'disabled' WHEN NOT k.known THEN 'no secret'
			WHEN s.open_until > c.now THEN 'failing' ELSE 'ok' END AS state,
		e.disabled_reason, COALESCE(s.failures, 0) AS failures, s.failing_since, s.open_until AS next_try_at,
		s.last_success_at, s.last_failure_at, s.last_error, e.max_in_flight, e.rate_limit,
		COALESCE(d.open, 0) AS open_deliveries, COALESCE(d.delivered, 0) AS delivered_last_day,
		COALESCE(d.dead, 0) AS dead_last_day,
		pg_catalog.round(d.delivered::numeric / NULLIF(d.delivered + d.dead, 0), 4) AS success_rate_last_day, e.ordered
	FROM eventmkt_data.endpoint e
	CROSS JOIN (SELECT eventmkt.clock() AS now) c
	CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM eventmkt.secret_known x WHERE x.endpoint = e.name
		AND (x.expires_at IS NULL OR x.expires_at > c.now)) AS known) k
	LEFT JOIN eventmkt_data.endpoint_state s ON s.endpoint_id = e.endpoint_id
	LEFT JOIN (SELECT endpoint_id,
			pg_catalog.count(*) FILTER (WHERE status IN ('queued', 'in_flight', 'retrying')) AS open,
			pg_catalog.count(*) FILTER (WHERE status = 'delivered' AND settled_at >= (SELECT eventmkt.clock()) - '24 hours'::interval)
				AS delivered,
			pg_catalog.count(*) FILTER (WHERE status = 'dead' AND settled_at >= (SELECT eventmkt.clock()) - '24 hours'::interval) AS dead
		FROM eventmkt_data.delivery GROUP BY endpoint_id) d ON d.endpoint_id = e.endpoint_id;
COMMENT ON VIEW eventmkt_bi.endpoints IS 'where messages go and how well they arrive; of the address only the host is shown';
COMMENT ON COLUMN eventmkt_bi.endpoints.state IS 'ok, failing (the breaker is open until next_try_at), no secret, disabled';
COMMENT ON COLUMN eventmkt_bi.endpoints.failures IS 'tries in a row that failed';
COMMENT ON COLUMN eventmkt_bi.endpoints.success_rate_last_day IS 'delivered of all messages settled in the last day; 1 is best';
COMMENT ON COLUMN eventmkt_bi.endpoints.endpoint_id IS 'number of the endpoint';
COMMENT ON COLUMN eventmkt_bi.endpoints.endpoint IS 'name of the endpoint';
COMMENT ON COLUMN eventmkt_bi.endpoints.host IS 'host of its address';
COMMENT ON COLUMN eventmkt_bi.endpoints.disabled_reason IS 'why it is disabled; NULL: it is not';
COMMENT ON COLUMN eventmkt_bi.endpoints.failing_since IS 'since when tries fail; NULL: they do not';
COMMENT ON COLUMN eventmkt_bi.endpoints.next_try_at IS 'when it is tried again while it fails';
COMMENT ON COLUMN eventmkt_bi.endpoints.last_success_at IS 'last try that succeeded';
COMMENT ON COLUMN eventmkt_bi.endpoints.last_failure_at IS 'last try that failed';
COMMENT ON COLUMN eventmkt_bi.endpoints.last_error IS 'what was wrong then';
COMMENT ON COLUMN eventmkt_bi.endpoints.max_in_flight IS 'most requests at a time';
COMMENT ON COLUMN eventmkt_bi.endpoints.rate_limit IS 'most requests a second; NULL: no limit';
COMMENT ON COLUMN eventmkt_bi.endpoints.ordered IS 'whether messages to one person go out strictly one after the other';
COMMENT ON COLUMN eventmkt_bi.endpoints.open_deliveries IS 'messages queued, on the wire or being tried again';
COMMENT ON COLUMN eventmkt_bi.endpoints.delivered_last_day IS 'messages delivered in the last day';
COMMENT ON COLUMN eventmkt_bi.endpoints.dead_last_day IS 'messages given up in the last day';

CREATE OR REPLACE VIEW eventmkt_bi.dead_letters AS
	SELECT d.id AS delivery_id, d.rule, e.name AS endpoint, d.profile_id, d.key, d.attempts, d.last_status, d.last_error,
		d.event_id, d.due_at, d.first_sent_at, d.settled_at AS dead_at
	FROM eventmkt_data.delivery d LEFT JOIN eventmkt_data.endpoint e ON e.endpoint_id = d.endpoint_id
	WHERE d.died_at IS NOT NULL;
COMMENT ON VIEW eventmkt_bi.dead_letters IS 'messages that could not be delivered; eventmkt.redeliver(delivery_id) tries again';
COMMENT ON COLUMN eventmkt_bi.dead_letters.last_status IS 'HTTP status of the last try; NULL when no answer came';
COMMENT ON COLUMN eventmkt_bi.dead_letters.delivery_id IS 'id of the message, the webhook-id';
COMMENT ON COLUMN eventmkt_bi.dead_letters.rule IS 'name of the rule';
COMMENT ON COLUMN eventmkt_bi.dead_letters.endpoint IS 'name of the endpoint; NULL: it was dropped';
COMMENT ON COLUMN eventmkt_bi.dead_letters.profile_id IS 'the person it was for';
COMMENT ON COLUMN eventmkt_bi.dead_letters.key IS 'value of the property that the rule goes by; empty: none';
COMMENT ON COLUMN eventmkt_bi.dead_letters.attempts IS 'how often it was tried';
COMMENT ON COLUMN eventmkt_bi.dead_letters.last_error IS 'what was wrong at the last try';
COMMENT ON COLUMN eventmkt_bi.dead_letters.event_id IS 'the event it was about';
COMMENT ON COLUMN eventmkt_bi.dead_letters.due_at IS 'when it was due';
COMMENT ON COLUMN eventmkt_bi.dead_letters.first_sent_at IS 'first try';
COMMENT ON COLUMN eventmkt_bi.dead_letters.dead_at IS 'when it was given up';

CREATE OR REPLACE VIEW eventmkt_bi.events_by_day AS
	SELECT e.occurred_at::date AS day, e.name AS event, pg_catalog.count(*) AS events,
		pg_catalog.count(DISTINCT e.profile_id) AS profiles, pg_catalog.max(e.received_at) AS last_received_at
	FROM eventmkt_data.event e WHERE e.conflict_of IS NULL GROUP BY 1, 2;
COMMENT ON VIEW eventmkt_bi.events_by_day IS 'events by day and name, the ones that the engine makes too';
COMMENT ON COLUMN eventmkt_bi.events_by_day.day IS 'day it happened, in the time zone of the session';
COMMENT ON COLUMN eventmkt_bi.events_by_day.profiles IS 'ids as stored: a person known by two ids before a merge counts twice';
COMMENT ON COLUMN eventmkt_bi.events_by_day.event IS 'name of the event';
COMMENT ON COLUMN eventmkt_bi.events_by_day.events IS 'how many';
COMMENT ON COLUMN eventmkt_bi.events_by_day.last_received_at IS 'when the last of them became known';

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
COMMENT ON COLUMN eventmkt_bi.timeline.at IS 'when it happened';
COMMENT ON COLUMN eventmkt_bi.timeline.detail IS 'numbers, states and reasons, as JSON';

-- every event that carries a property of interest: eventmkt_bi.event_<name>, made by expose_property() (expose.c)
CREATE TABLE IF NOT EXISTS eventmkt_data.exposed_property (
	event		text COLLATE "C" NOT NULL,
	property	text COLLATE "C" NOT NULL,
	type		text COLLATE "C" NOT NULL,
	column_name	text COLLATE "C" NOT NULL,
	comment		text,
	position	int NOT NULL,					-- orders the columns of the view
	changed_at	timestamptz NOT NULL,
	PRIMARY KEY (event, property),
	UNIQUE (event, column_name)
);
COMMENT ON TABLE eventmkt_data.exposed_property IS 'properties that the views eventmkt_bi.event_<name> show, typed';

CREATE TABLE IF NOT EXISTS eventmkt_data.funnel (
	name		text COLLATE "C" PRIMARY KEY,
	steps		text[] COLLATE "C" NOT NULL,
	within		interval NOT NULL,
	history		interval,						-- NULL: all there is
	comment		text,
	changed_at	timestamptz NOT NULL
);
COMMENT ON TABLE eventmkt_data.funnel IS 'funnels, each the view eventmkt_bi.funnel_<name>';

CREATE TABLE IF NOT EXISTS eventmkt_data.goal (
	name		text COLLATE "C" PRIMARY KEY,
	event		text COLLATE "C" NOT NULL,
	within		interval NOT NULL,
	revenue		text COLLATE "C",				-- an exposed property; NULL: the goal has none
	comment		text,
	changed_at	timestamptz NOT NULL
);
COMMENT ON TABLE eventmkt_data.goal IS 'events that messages are meant to bring about; eventmkt_bi.conversions says how often they did';

CREATE OR REPLACE VIEW eventmkt_bi.exposed_properties AS
	SELECT x.event, x.property, x.type, 'event_' || x.event AS view, x.column_name, x.comment, x.changed_at
	FROM eventmkt_data.exposed_property x ORDER BY x.event, x.position;
COMMENT ON VIEW eventmkt_bi.exposed_properties IS 'the properties that the views of events show, see eventmkt.expose_property()';
COMMENT ON COLUMN eventmkt_bi.exposed_properties.event IS 'name of the event';
COMMENT ON COLUMN eventmkt_bi.exposed_properties.property IS 'name of the property';
COMMENT ON COLUMN eventmkt_bi.exposed_properties.type IS 'type of the column; what does not convert to it is NULL there';
COMMENT ON COLUMN eventmkt_bi.exposed_properties.view IS 'view of the schema eventmkt_bi that has the column';
COMMENT ON COLUMN eventmkt_bi.exposed_properties.column_name IS 'name of the column';
COMMENT ON COLUMN eventmkt_bi.exposed_properties.comment IS 'what was said about it; NULL: nothing';
COMMENT ON COLUMN eventmkt_bi.exposed_properties.changed_at IS 'when it was exposed, or given another type';

CREATE OR REPLACE VIEW eventmkt_bi.funnels AS
	SELECT f.name, 'funnel_' || f.name AS view, f.steps, f.within, f.history, f.comment, f.changed_at
	FROM eventmkt_data.funnel f ORDER BY f.name;
COMMENT ON VIEW eventmkt_bi.funnels IS 'every funnel there is; its steps are the rows of the view named in the column view';
COMMENT ON COLUMN eventmkt_bi.funnels.name IS 'name of the funnel';
COMMENT ON COLUMN eventmkt_bi.funnels.view IS 'view of the schema eventmkt_bi with a row for each step';
COMMENT ON COLUMN eventmkt_bi.funnels.steps IS 'names of the events in order';
COMMENT ON COLUMN eventmkt_bi.funnels.within IS 'all steps lie within this time after the first';
COMMENT ON COLUMN eventmkt_bi.funnels.history IS 'only events of the last so many days count; NULL: all';
COMMENT ON COLUMN eventmkt_bi.funnels.comment IS 'what was said about it; NULL: nothing';
COMMENT ON COLUMN eventmkt_bi.funnels.changed_at IS 'when it was made, or given another definition';

CREATE OR REPLACE VIEW eventmkt_bi.goals AS
	SELECT g.name, g.event, g.within, g.revenue, g.comment, g.changed_at FROM eventmkt_data.goal g ORDER BY g.name;
COMMENT ON VIEW eventmkt_bi.goals IS 'every goal there is: what messages are meant to bring about';
COMMENT ON COLUMN eventmkt_bi.goals.name IS 'name of the goal';
COMMENT ON COLUMN eventmkt_bi.goals.event IS 'the event that reaches it';
COMMENT ON COLUMN eventmkt_bi.goals.within IS 'it counts for a message when it happens within this time after the first try to send it';
COMMENT ON COLUMN eventmkt_bi.goals.revenue IS 'the property with its revenue; NULL: it has none';
COMMENT ON COLUMN eventmkt_bi.goals.comment IS 'what was said about it; NULL: nothing';
COMMENT ON COLUMN eventmkt_bi.goals.changed_at IS 'when it was made';

-- Credit is given once: to the last message before the event, whichever rule sent it.
CREATE OR REPLACE VIEW eventmkt_bi.conversion_events AS
	WITH sent AS MATERIALIZED (
		SELECT d.id, d.rule, COALESCE(a.profile_id, d.profile_id) AS profile_id, d.first_sent_at AS at
		FROM eventmkt_data.delivery d LEFT JOIN eventmkt_data.alias a ON a.alias = d.profile_id
		WHERE d.status = 'delivered' AND d.first_sent_at IS NOT NULL
	), reached AS (
		SELECT g.name AS goal, g.within, e.event_id, COALESCE(a.profile_id, e.profile_id) AS profile_id, e.occurred_at AS at,
			CASE WHEN g.revenue IS NOT NULL THEN eventmkt.property_numeric(e.properties, g.revenue) END AS revenue
		FROM eventmkt_data.goal g
		JOIN eventmkt_data.event e ON e.name = g.event
		LEFT JOIN eventmkt_data.alias a ON a.alias = e.profile_id
		WHERE e.conflict_of IS NULL AND e.occurred_at >= (SELECT pg_catalog.min(at) FROM sent)
	)
	SELECT r.goal, s.rule, r.event_id, r.profile_id, r.at AS occurred_at, r.revenue, s.id AS delivery_id, s.at AS sent_at,
		r.at - s.at AS took,
		pg_catalog.row_number() OVER (PARTITION BY r.goal, r.event_id ORDER BY s.at DESC, s.id DESC) = 1 AS credited
	FROM reached r JOIN sent s ON s.profile_id = r.profile_id AND s.at <= r.at
		AND r.at <= pg_catalog.timezone('UTC', pg_catalog.timezone('UTC', s.at) + r.within);
COMMENT ON VIEW eventmkt_bi.conversion_events IS
	'events that reached a goal within its time after a message: a row for each such message and event, one of them credited';
COMMENT ON COLUMN eventmkt_bi.conversion_events.goal IS 'name of the goal';
COMMENT ON COLUMN eventmkt_bi.conversion_events.rule IS 'the rule that sent the message';
COMMENT ON COLUMN eventmkt_bi.conversion_events.event_id IS 'the event that reached the goal';
COMMENT ON COLUMN eventmkt_bi.conversion_events.profile_id IS 'canonical id of the person';
COMMENT ON COLUMN eventmkt_bi.conversion_events.occurred_at IS 'when the event happened';
COMMENT ON COLUMN eventmkt_bi.conversion_events.revenue IS 'revenue of the event; sum it over credited rows only, or it counts for several messages';
COMMENT ON COLUMN eventmkt_bi.conversion_events.delivery_id IS 'the message';
COMMENT ON COLUMN eventmkt_bi.conversion_events.sent_at IS 'first try to send it';
COMMENT ON COLUMN eventmkt_bi.conversion_events.took IS 'from the message to the event';
COMMENT ON COLUMN eventmkt_bi.conversion_events.credited IS 'this was the last message before the event, over all rules; one a goal and event';

CREATE OR REPLACE VIEW eventmkt_bi.conversions AS
	SELECT s.rule, g.name AS goal, s.sends, s.profiles, COALESCE(f.conversions, 0) AS conversions,
		COALESCE(f.converted_profiles, 0) AS converted_profiles,
		pg_catalog.round(COALESCE(f.conversions, 0)::numeric / s.sends, 4) AS conversion_rate,
		COALESCE(f.credited_events, 0) AS credited_events,
		CASE WHEN g.revenue IS NOT NULL THEN COALESCE(f.revenue, 0) END AS revenue, f.median_time
	FROM (SELECT d.rule, pg_catalog.count(*) AS sends,
			pg_catalog.count(DISTINCT COALESCE(a.profile_id, d.profile_id)) AS profiles
		FROM eventmkt_data.delivery d LEFT JOIN eventmkt_data.alias a ON a.alias = d.profile_id
		WHERE d.status = 'delivered' AND d.first_sent_at IS NOT NULL GROUP BY d.rule) s
	CROSS JOIN eventmkt_data.goal g
	LEFT JOIN (SELECT c.rule, c.goal, pg_catalog.count(DISTINCT c.delivery_id) AS conversions,
			pg_catalog.count(DISTINCT c.profile_id) AS converted_profiles,
			pg_catalog.count(*) FILTER (WHERE c.credited) AS credited_events,
			pg_catalog.sum(c.revenue) FILTER (WHERE c.credited) AS revenue,
			pg_catalog.percentile_cont(0.5) WITHIN GROUP (ORDER BY c.took) AS median_time
		FROM eventmkt_bi.conversion_events c GROUP BY c.rule, c.goal) f ON f.rule = s.rule AND f.goal = g.name;
COMMENT ON VIEW eventmkt_bi.conversions IS 'what the messages of each rule brought: how many were followed by the goal, and its revenue';
COMMENT ON COLUMN eventmkt_bi.conversions.rule IS 'name of the rule';
COMMENT ON COLUMN eventmkt_bi.conversions.goal IS 'name of the goal';
COMMENT ON COLUMN eventmkt_bi.conversions.sends IS 'messages delivered';
COMMENT ON COLUMN eventmkt_bi.conversions.profiles IS 'people who got one';
COMMENT ON COLUMN eventmkt_bi.conversions.conversions IS 'messages followed by the goal within its time';
COMMENT ON COLUMN eventmkt_bi.conversions.converted_profiles IS 'people who did so';
COMMENT ON COLUMN eventmkt_bi.conversions.conversion_rate IS 'conversions of sends, 0 to 1; it does not say what would have happened without the message';
COMMENT ON COLUMN eventmkt_bi.conversions.credited_events IS 'events whose last message before was of this rule; they add up over rules';
COMMENT ON COLUMN eventmkt_bi.conversions.revenue IS 'revenue of the credited events, adds up over rules; NULL: the goal has none';
COMMENT ON COLUMN eventmkt_bi.conversions.median_time IS 'from the message to the goal';

CREATE OR REPLACE VIEW eventmkt_bi.triggered_and_scheduled AS
	SELECT d.decided_at::date AS day, CASE WHEN r.after > '0'::interval THEN 'scheduled' ELSE 'triggered' END AS kind,
		pg_catalog.count(*) AS runs, pg_catalog.count(DISTINCT d.profile_id) AS profiles,
		pg_catalog.count(*) FILTER (WHERE d.outcome = 'delivered') AS delivered,
		pg_catalog.count(*) FILTER (WHERE d.outcome = 'dead') AS dead,
		pg_catalog.count(*) FILTER (WHERE d.outcome = 'cancelled') AS cancelled,
		pg_catalog.count(*) FILTER (WHERE d.outcome = 'expired') AS expired,
		pg_catalog.count(*) FILTER (WHERE d.outcome = 'suppressed') AS suppressed,
		pg_catalog.count(*) FILTER (WHERE d.outcome = 'recorded') AS recorded,
		pg_catalog.round(pg_catalog.count(*) FILTER (WHERE d.outcome IN ('delivered', 'recorded'))::numeric
			/ pg_catalog.count(*), 4) AS success_rate
	FROM eventmkt_data.decision d
	JOIN eventmkt_data.rule r ON r.rule_id = d.rule_id AND r.version = d.rule_version
	WHERE d.outcome NOT IN ('held', 'late_cancel') GROUP BY 1, 2;
COMMENT ON VIEW eventmkt_bi.triggered_and_scheduled IS
	'runs that ended, by day: those of rules that answer an event at once beside those of rules that wait first';
COMMENT ON COLUMN eventmkt_bi.triggered_and_scheduled.day IS 'day it ended, in the time zone of the session';
COMMENT ON COLUMN eventmkt_bi.triggered_and_scheduled.kind IS 'triggered: sent as the event comes; scheduled: after the delay of the rule';
COMMENT ON COLUMN eventmkt_bi.triggered_and_scheduled.runs IS 'runs that ended, whatever their outcome';
COMMENT ON COLUMN eventmkt_bi.triggered_and_scheduled.profiles IS 'people they were about';
COMMENT ON COLUMN eventmkt_bi.triggered_and_scheduled.delivered IS 'ended with a message that was delivered';
COMMENT ON COLUMN eventmkt_bi.triggered_and_scheduled.dead IS 'ended with a message that could not be delivered';
COMMENT ON COLUMN eventmkt_bi.triggered_and_scheduled.cancelled IS 'ended by a cancelling event, or with the rule';
COMMENT ON COLUMN eventmkt_bi.triggered_and_scheduled.expired IS 'ended because it was too late to send';
COMMENT ON COLUMN eventmkt_bi.triggered_and_scheduled.suppressed IS 'ended because the person was not to get it';
COMMENT ON COLUMN eventmkt_bi.triggered_and_scheduled.recorded IS 'of rules that only record';
COMMENT ON COLUMN eventmkt_bi.triggered_and_scheduled.success_rate IS 'delivered and recorded of all runs, 0 to 1';

CREATE OR REPLACE VIEW eventmkt_bi.cohorts AS
	WITH seen AS (
		SELECT COALESCE(a.profile_id, e.profile_id) AS profile_id, pg_catalog.date_trunc('week', e.occurred_at)::date AS week
		FROM eventmkt_data.event e LEFT JOIN eventmkt_data.alias a ON a.alias = e.profile_id
		WHERE e.depth = 0 AND e.conflict_of IS NULL GROUP BY 1, 2
	), active AS MATERIALIZED (
		SELECT p.cohort, p.week, pg_catalog.count(*) AS profiles
		FROM (SELECT s.week, pg_catalog.min(s.week) OVER (PARTITION BY s.profile_id) AS cohort FROM seen s) p GROUP BY 1, 2
	)
	SELECT c.cohort, w.n AS week, c.profiles, COALESCE(a.profiles, 0) AS active,
		pg_catalog.round(COALESCE(a.profiles, 0)::numeric / c.profiles, 4) AS retention
	FROM active c
	CROSS JOIN LATERAL pg_catalog.generate_series(0, ((SELECT pg_catalog.max(week) FROM active) - c.cohort) / 7) AS w (n)
	LEFT JOIN active a ON a.cohort = c.cohort AND a.week = c.cohort + 7 * w.n
	WHERE c.week = c.cohort
	ORDER BY c.cohort, w.n;
COMMENT ON VIEW eventmkt_bi.cohorts IS 'people by the week in which they were first seen, and how many of them came back in each week after';
COMMENT ON COLUMN eventmkt_bi.cohorts.cohort IS 'Monday of the week of their first event, in the time zone of the session';
COMMENT ON COLUMN eventmkt_bi.cohorts.week IS 'weeks since then; 0 is the first itself';
COMMENT ON COLUMN eventmkt_bi.cohorts.profiles IS 'people of the cohort, by their canonical ids';
COMMENT ON COLUMN eventmkt_bi.cohorts.active IS 'those of them with an event of the app in that week';
COMMENT ON COLUMN eventmkt_bi.cohorts.retention IS 'active of profiles, 0 to 1';

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
CREATE TABLE IF NOT EXISTS eventmkt_data.profile_timeline (
	profile_id	text COLLATE "C" PRIMARY KEY	-- canonical when packed; a merge since then leaves marks
);
ALTER TABLE eventmkt_data.profile_timeline ADD COLUMN IF NOT EXISTS t eventmkt.timeline;
-- a few years of one person lie in the row itself
ALTER TABLE eventmkt_data.profile_timeline SET (toast_tuple_target = 8160);
COMMENT ON TABLE eventmkt_data.profile_timeline IS 'the packed events of a profile as one value; derived, rebuilt at any time';
UPDATE eventmkt_data.timeline_state SET packed_to = '-infinity', sealed_to = '-infinity'
	WHERE EXISTS (SELECT FROM eventmkt_data.profile_timeline WHERE t IS NULL)
	OR pg_catalog.to_regclass('eventmkt_data.timeline') IS NOT NULL;	-- until data version 2: a row a quarter
DELETE FROM eventmkt_data.profile_timeline WHERE t IS NULL
	OR EXISTS (SELECT FROM eventmkt_data.timeline_state WHERE packed_to OPERATOR(pg_catalog.=) '-infinity');
CREATE OR REPLACE TRIGGER merged AFTER INSERT OR UPDATE OR DELETE ON eventmkt_data.alias
	FOR EACH ROW EXECUTE FUNCTION eventmkt.mark_merged();

-- the form lets the planner take it apart wherever it is asked, see src/report/tail_view.c: no part has a WHERE of its own
CREATE OR REPLACE VIEW eventmkt_bi.profile_timelines AS
	SELECT u.profile_id, u.t FROM (
		SELECT p.profile_id, eventmkt.with_tail(p.t, p.profile_id, (SELECT eventmkt.open_tail())) AS t,
			CASE WHEN (SELECT eventmkt.tail_shows_all(eventmkt.open_tail())) THEN p.t IS NOT NULL
				ELSE eventmkt.with_tail(p.t, p.profile_id, (SELECT eventmkt.open_tail())) IS NOT NULL END AS shown
			FROM eventmkt_data.profile_timeline p
		UNION ALL
		SELECT r.profile_id COLLATE "C", r.t, true FROM eventmkt.tail_rows((SELECT eventmkt.open_tail())) r) u
	WHERE u.shown;
COMMENT ON VIEW eventmkt_bi.profile_timelines IS
	'everything each profile did as one timeline: what is packed, the rest from the event table';
COMMENT ON COLUMN eventmkt_bi.profile_timelines.profile_id IS 'canonical id of the person';
COMMENT ON COLUMN eventmkt_bi.profile_timelines.t IS 'all their events as one packed value, for the functions over history';
DROP TABLE IF EXISTS eventmkt_data.timeline;

-- what each profile did, by month: derived, kept in the passes that keep timelines
ALTER TABLE eventmkt_data.timeline_state ADD COLUMN IF NOT EXISTS rollups bool NOT NULL DEFAULT false;
ALTER TABLE eventmkt_data.timeline_state ADD COLUMN IF NOT EXISTS item_property text COLLATE "C";	-- property that names an item
ALTER TABLE eventmkt_data.timeline_state ADD COLUMN IF NOT EXISTS item_event text COLLATE "C";	-- the event whose items count; NULL: any
ALTER TABLE eventmkt_data.timeline_state ADD COLUMN IF NOT EXISTS sum_property text COLLATE "C";	-- property that is added up
CREATE TABLE IF NOT EXISTS eventmkt_data.rollup (
	profile_id	text COLLATE "C" NOT NULL,		-- canonical when packed; a merge since then leaves marks
	month		date NOT NULL,					-- its first day (UTC)
	r			bytea NOT NULL,					-- see src/analytics/rollup.c
	PRIMARY KEY (profile_id, month)
);
ALTER TABLE eventmkt_data.rollup SET (toast_tuple_target = 8160);
DELETE FROM eventmkt_data.rollup	-- as profile_timeline above: days are added as they are packed
	WHERE EXISTS (SELECT FROM eventmkt_data.timeline_state WHERE packed_to OPERATOR(pg_catalog.=) '-infinity');
COMMENT ON TABLE eventmkt_data.rollup IS 'what a profile did in a month: days, events, sums, items; derived, rebuilt at any time';

-- Months that are packed, of profiles without a mark; and from the event table what is not packed yet, and all of marked profiles.
CREATE OR REPLACE VIEW eventmkt_bi.rollup_parts AS
	WITH state AS (SELECT s.packed_to, s.item_property, s.item_event, s.sum_property FROM eventmkt_data.timeline_state s WHERE s.rollups),
	mark AS MATERIALIZED (SELECT DISTINCT l.profile_id AS id, COALESCE(a.profile_id, l.profile_id) AS c
		FROM eventmkt_data.late_event l LEFT JOIN eventmkt_data.alias a ON a.alias = l.profile_id
		WHERE l.occurred_at < (SELECT packed_to FROM state)),
	hidden AS MATERIALIZED (SELECT m.id FROM mark m UNION SELECT m.c FROM mark m)
	SELECT r.profile_id, r.month, r.r AS part FROM eventmkt_data.rollup r
	WHERE NOT EXISTS (SELECT FROM hidden h WHERE h.id = r.profile_id)
	UNION ALL
	SELECT COALESCE(a.profile_id, e.profile_id), e.month, e.part FROM (
		SELECT e.profile_id, pg_catalog.date_trunc('month', e.occurred_at AT TIME ZONE 'UTC')::date AS month,
			eventmkt.rollup(e.occurred_at, e.name, CASE WHEN s.item_event IS NULL OR e.name = s.item_event
				THEN eventmkt.timeline_key(e.properties, s.item_property) END, eventmkt.timeline_value(e.properties, s.sum_property)) AS part
		FROM eventmkt_data.event e CROSS JOIN state s
		WHERE e.occurred_at >= (SELECT packed_to FROM state) AND e.depth = 0 AND e.conflict_of IS NULL GROUP BY 1, 2) e
	LEFT JOIN eventmkt_data.alias a ON a.alias = e.profile_id
	UNION ALL
	SELECT m.c, pg_catalog.date_trunc('month', e.occurred_at AT TIME ZONE 'UTC')::date,
		eventmkt.rollup(e.occurred_at, e.name, CASE WHEN s.item_event IS NULL OR e.name = s.item_event
			THEN eventmkt.timeline_key(e.properties, s.item_property) END, eventmkt.timeline_value(e.properties, s.sum_property))
	FROM (SELECT k.c, k.c AS id FROM mark k UNION SELECT k.c, a.alias FROM mark k JOIN eventmkt_data.alias a ON a.profile_id = k.c) m
	JOIN eventmkt_data.event e ON e.profile_id = m.id CROSS JOIN state s
	WHERE e.occurred_at < (SELECT packed_to FROM state) AND e.depth = 0 AND e.conflict_of IS NULL GROUP BY 1, 2;
COMMENT ON VIEW eventmkt_bi.rollup_parts IS
	'what each profile did by month, in parts that eventmkt.merge_rollups() puts together; empty until keep_rollups()';
COMMENT ON COLUMN eventmkt_bi.rollup_parts.profile_id IS 'canonical id of the person';
COMMENT ON COLUMN eventmkt_bi.rollup_parts.month IS 'first day of the month, UTC';
COMMENT ON COLUMN eventmkt_bi.rollup_parts.part IS 'what they did in it, packed: eventmkt.merge_rollups() joins parts, eventmkt.rollup_json() reads them';

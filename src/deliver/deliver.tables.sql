-- deliver: the outbox, its tries, and the health of endpoints
CREATE SEQUENCE IF NOT EXISTS eventmkt_data.epoch_seq;		-- one value a worker life: the lease token
CREATE TABLE IF NOT EXISTS eventmkt_data.delivery (
	id			uuid PRIMARY KEY,				-- the webhook-id; ordered by time
	node		smallint NOT NULL,
	run_id		bigint NOT NULL,
	rule_id		int NOT NULL,
	rule		text COLLATE "C" NOT NULL,
	rule_version int NOT NULL,
	profile_id	text COLLATE "C" NOT NULL,
	key			text COLLATE "C" NOT NULL,
	endpoint_id	int NOT NULL,
	status		text COLLATE "C" NOT NULL CHECK (status IN ('queued', 'in_flight', 'retrying', 'delivered', 'dead',
					'cancelled')),
	attempts	int NOT NULL DEFAULT 0,			-- tries begun
	next_attempt_at timestamptz NOT NULL,		-- business time
	lease		bigint,							-- epoch of the worker that has it in flight
	schedule	int[] NOT NULL,					-- seconds between tries, as the endpoint said when this row was made
	body		text NOT NULL,
	event_id	bigint NOT NULL,
	started_at	timestamptz NOT NULL,			-- of the run: from here cancelling events count
	received_at	timestamptz NOT NULL,
	run_created_at timestamptz NOT NULL,
	due_at		timestamptz NOT NULL,
	created_at	timestamptz NOT NULL,
	first_sent_at timestamptz,
	settled_at	timestamptz,
	was			text COLLATE "C" CHECK (was IN ('dead', 'delivered')),	-- status before it was redelivered
	depth		smallint NOT NULL,
	priority	int NOT NULL DEFAULT 0,
	last_status	int,
	last_error	text,
	late_cancel	bool NOT NULL DEFAULT false,	-- a cancelling event came after it was delivered
	ordered		bool NOT NULL DEFAULT false,	-- goes to its person in strict order
	waiting		bool GENERATED ALWAYS AS (status IN ('queued', 'retrying')) STORED,		-- for a worker
	died_at		timestamptz GENERATED ALWAYS AS (CASE WHEN status = 'dead' THEN settled_at END) STORED,
	lane		bool GENERATED ALWAYS AS (CASE WHEN ordered AND status IN ('queued', 'in_flight', 'retrying')
					THEN status <> 'in_flight' END) STORED			-- false: on the wire; true: waits in its lane; NULL: in none
);
-- A message that was sent is settled without an index entry: no index knows status, lease or settled_at themselves, and a change
-- finds room beside the old version.
ALTER TABLE eventmkt_data.delivery SET (fillfactor = 50);
CREATE INDEX IF NOT EXISTS delivery_ready ON eventmkt_data.delivery (endpoint_id, next_attempt_at)
	WHERE waiting;
CREATE INDEX IF NOT EXISTS delivery_profile ON eventmkt_data.delivery (profile_id, rule_id, key);
-- strict order by person, see lane.c; the indexes hold nothing of other endpoints
CREATE INDEX IF NOT EXISTS delivery_lane ON eventmkt_data.delivery (endpoint_id, profile_id, lane, id) WHERE lane IS NOT NULL;
CREATE INDEX IF NOT EXISTS delivery_behind ON eventmkt_data.delivery (endpoint_id, profile_id)
	WHERE ordered AND waiting AND next_attempt_at = 'infinity';
COMMENT ON TABLE eventmkt_data.delivery IS 'one message to one endpoint; its id never changes over retries';

-- Which deliveries a worker may have in flight: its epoch, and the ids in 64 of its slots, written by the transaction that claims
-- them. Those of an epoch whose worker is gone are looked up here. Since data version 4.
CREATE TABLE IF NOT EXISTS eventmkt_data.lease (
	node		smallint NOT NULL,
	lease		bigint NOT NULL,				-- epoch of the worker
	chunk		int NOT NULL,					-- of its slots
	ids			uuid[] NOT NULL,
	PRIMARY KEY (node, lease, chunk)
);
ALTER TABLE eventmkt_data.lease SET (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
COMMENT ON TABLE eventmkt_data.lease IS 'deliveries that workers may have in flight, by epoch; freed when the worker is gone';

CREATE TABLE IF NOT EXISTS eventmkt_data.attempt (
	delivery_id	uuid NOT NULL,
	attempt		int NOT NULL,
	started_at	timestamptz NOT NULL,			-- real time
	latency_us	bigint NOT NULL,
	status		int,							-- HTTP status; NULL when no answer came
	error		text,
	response	text,							-- at most 1 KiB of the answer
	PRIMARY KEY (delivery_id, attempt)
);
COMMENT ON TABLE eventmkt_data.attempt IS 'every try of a delivery; for operators only';

CREATE TABLE IF NOT EXISTS eventmkt_data.endpoint_state (
	endpoint_id	int PRIMARY KEY,
	failures	int NOT NULL DEFAULT 0,			-- consecutive
	failing_since timestamptz,
	open_until	timestamptz,					-- circuit breaker: no try before, then one probe at a time
	last_success_at timestamptz,
	last_failure_at timestamptz,
	last_error	text
);
ALTER TABLE eventmkt_data.endpoint_state SET (fillfactor = 50);
COMMENT ON TABLE eventmkt_data.endpoint_state IS 'what the workers learnt of an endpoint: breaker and health';

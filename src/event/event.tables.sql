-- event: what happened, what is left to do about it, and what was decided
CREATE SEQUENCE IF NOT EXISTS eventmkt_data.event_id_seq CACHE 64;
CREATE TABLE IF NOT EXISTS eventmkt_data.event (
	event_id	bigint NOT NULL,				-- 10 bits of node, 10 of the timeline, 43 of event_id_seq
	profile_id	text COLLATE "C" NOT NULL,		-- canonical when written; readers ask for all ids of a profile
	name		text COLLATE "C" NOT NULL,
	properties	jsonb NOT NULL,
	occurred_at	timestamptz NOT NULL,
	received_at	timestamptz NOT NULL,			-- business time
	message_id	text COLLATE "C",
	anonymous_id text COLLATE "C",				-- as the caller gave it
	depth		smallint NOT NULL,				-- 0: the app's; else engine-made, at this distance from the app
	conflict_of	bigint							-- the same message_id came before with other content
) PARTITION BY RANGE (occurred_at);
CREATE INDEX IF NOT EXISTS event_profile ON eventmkt_data.event (profile_id, occurred_at);
CREATE TABLE IF NOT EXISTS eventmkt_data.event_default PARTITION OF eventmkt_data.event DEFAULT;
COMMENT ON TABLE eventmkt_data.event IS 'everything that happened, partitioned by occurred_at';

-- events that came after the day they belong to: where timelines are kept, what was packed for these profiles is not whole
CREATE TABLE IF NOT EXISTS eventmkt_data.late_event (
	profile_id	text COLLATE "C" NOT NULL,
	occurred_at	timestamptz NOT NULL
);
COMMENT ON TABLE eventmkt_data.late_event IS 'late events of which timelines do not know yet; written only where timelines are kept';

-- exact de-duplication, only for callers that give a message_id
CREATE TABLE IF NOT EXISTS eventmkt_data.message_key (
	user_id		text COLLATE "C" NOT NULL,		-- the id the caller gave (user, else anonymous)
	message_id	text COLLATE "C" NOT NULL,
	event_id	bigint NOT NULL,
	digest		bigint NOT NULL,				-- hash of event name, properties and a given occurred_at
	seen_at		timestamptz NOT NULL,
	PRIMARY KEY (user_id, message_id)
);
CREATE INDEX IF NOT EXISTS message_key_seen ON eventmkt_data.message_key USING brin (seen_at);
COMMENT ON TABLE eventmkt_data.message_key IS 'message ids seen within the dedupe window (30 days unless set)';

-- what spine 1 leaves for spine 2; rows are deleted when taken
CREATE TABLE IF NOT EXISTS eventmkt_data.work (
	node		smallint NOT NULL,
	kind		"char" NOT NULL,				-- e: an event that rules are interested in; m: a merge of profiles
	event_id	bigint NOT NULL,				-- m: merge_id
	profile_id	text COLLATE "C" NOT NULL,		-- as in the event; m: the id that was merged away
	occurred_at	timestamptz NOT NULL,
	rules		int[] NOT NULL					-- rule ids that this event starts or cancels
);
ALTER TABLE eventmkt_data.work SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
	autovacuum_vacuum_insert_threshold = -1, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE eventmkt_data.work IS 'events that wait for the worker';

-- what spine 1 leaves for the membership of segments; rows are deleted when taken. Since data version 3.
CREATE TABLE IF NOT EXISTS eventmkt_data.segment_work (
	node		smallint NOT NULL,
	kind		"char" NOT NULL,				-- e: something happened that may matter; m: the profile was merged away
	quiet		bool NOT NULL,					-- history: what changes fires nothing
	depth		smallint NOT NULL,				-- of the event; the event that tells of a change is one deeper
	profile_id	text COLLATE "C" NOT NULL,		-- as in the event
	segments	int[] NOT NULL					-- what it may matter to, as rule_event names it, turned positive
);
ALTER TABLE eventmkt_data.segment_work SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
	autovacuum_vacuum_insert_threshold = -1, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE eventmkt_data.segment_work IS 'events that wait to be weighed for the members of segments';

CREATE SEQUENCE IF NOT EXISTS eventmkt_data.decision_id_seq CACHE 64;
CREATE TABLE IF NOT EXISTS eventmkt_data.decision (
	decision_id	bigint NOT NULL,
	run_id		bigint,							-- NULL: no run began
	rule_id		int NOT NULL,
	rule		text COLLATE "C" NOT NULL,
	rule_version int NOT NULL,
	profile_id	text COLLATE "C" NOT NULL,
	key			text COLLATE "C" NOT NULL,		-- '' without `per`
	outcome		text COLLATE "C" NOT NULL CHECK (outcome IN ('delivered', 'dead', 'cancelled', 'expired', 'suppressed',
					'recorded', 'held', 'late_cancel')),
	reason		text COLLATE "C",
	facts		jsonb,
	delivery_id	uuid,
	event_id	bigint,							-- the event that the run acted on
	started_at	timestamptz,
	due_at		timestamptz,
	decided_at	timestamptz NOT NULL
) PARTITION BY RANGE (decided_at);
CREATE INDEX IF NOT EXISTS decision_profile ON eventmkt_data.decision (profile_id, rule_id, decided_at);
CREATE TABLE IF NOT EXISTS eventmkt_data.decision_default PARTITION OF eventmkt_data.decision DEFAULT;
COMMENT ON TABLE eventmkt_data.decision IS 'why a run was sent, cancelled, held, suppressed or expired; held and late_cancel are not final';

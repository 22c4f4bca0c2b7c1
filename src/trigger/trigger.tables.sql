-- trigger: live runs. A run that ended is a decision row and no longer here.
CREATE SEQUENCE IF NOT EXISTS eventmkt_data.run_id_seq CACHE 64;
CREATE TABLE IF NOT EXISTS eventmkt_data.pending_trigger (
	run_id		bigint NOT NULL,
	node		smallint NOT NULL,
	rule_id		int NOT NULL,
	rule_version int NOT NULL,
	profile_id	text COLLATE "C" NOT NULL,
	key			text COLLATE "C" NOT NULL,		-- the value of the rule's `per`, '' without
	slot		bigint NOT NULL,				-- 0: the newest; the event id for parallel runs, minus its run_id for an older one
	state		text COLLATE "C" NOT NULL CHECK (state IN ('waiting', 'held')),
	started_at	timestamptz NOT NULL,			-- event time from which cancelling events count
	event_id	bigint NOT NULL,				-- the event whose data are sent
	event_name	text COLLATE "C" NOT NULL,
	event_at	timestamptz NOT NULL,
	message_id	text COLLATE "C",
	properties	jsonb NOT NULL,
	last_at		timestamptz NOT NULL,			-- of the newest starting event, also one that changed nothing (ignore)
	due_at		timestamptz NOT NULL,
	wake_at		timestamptz NOT NULL,			-- due_at; later while held; infinity while its rule is disabled
	received_at	timestamptz NOT NULL,			-- when the event was known
	created_at	timestamptz NOT NULL,
	depth		smallint NOT NULL,
	starts		bytea,							-- those that the run took in, 20 bytes each (time, event id, version of the rule); NULL: its own alone
	PRIMARY KEY (profile_id, rule_id, key, slot)
);
CREATE INDEX IF NOT EXISTS pending_trigger_wake ON eventmkt_data.pending_trigger (wake_at);
COMMENT ON TABLE eventmkt_data.pending_trigger IS 'live runs of rules, each waiting until wake_at';

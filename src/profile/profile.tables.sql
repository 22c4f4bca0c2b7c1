-- profile: people, their other ids, and what their traits were
CREATE TABLE IF NOT EXISTS eventmkt_data.profile (
	profile_id	text COLLATE "C" PRIMARY KEY,
	traits		jsonb NOT NULL DEFAULT '{}',
	identified	bool NOT NULL DEFAULT false,	-- identify() or alias() named it as a person: no longer only an anonymous id
	created_at	timestamptz NOT NULL,
	updated_at	timestamptz NOT NULL
);
COMMENT ON TABLE eventmkt_data.profile IS 'a person; a profile that was never identified has no row and the traits {}';

-- every other id of a profile; flat: profile_id is canonical and never itself an alias
CREATE TABLE IF NOT EXISTS eventmkt_data.alias (
	alias		text COLLATE "C" PRIMARY KEY,
	profile_id	text COLLATE "C" NOT NULL,
	created_at	timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS alias_profile ON eventmkt_data.alias (profile_id);
COMMENT ON TABLE eventmkt_data.alias IS 'another id of a profile: anonymous id, e-mail, device, or a user that was merged in';

CREATE TABLE IF NOT EXISTS eventmkt_data.trait_change (
	profile_id	text COLLATE "C" NOT NULL,
	changed_at	timestamptz NOT NULL,
	trait		text COLLATE "C" NOT NULL,
	old_value	jsonb,							-- NULL: the trait did not exist
	new_value	jsonb							-- NULL: the trait was removed
);
CREATE INDEX IF NOT EXISTS trait_change_profile ON eventmkt_data.trait_change (profile_id, changed_at);
CREATE INDEX IF NOT EXISTS trait_change_age ON eventmkt_data.trait_change USING brin (changed_at);
COMMENT ON TABLE eventmkt_data.trait_change IS 'history of traits: enough to say what they were at any time since `retention`';

CREATE SEQUENCE IF NOT EXISTS eventmkt_data.merge_id_seq;
CREATE TABLE IF NOT EXISTS eventmkt_data.merge_log (
	merge_id	bigint PRIMARY KEY DEFAULT pg_catalog.nextval('eventmkt_data.merge_id_seq'),
	from_id		text COLLATE "C" NOT NULL,
	into_id		text COLLATE "C" NOT NULL,
	merged_at	timestamptz NOT NULL,
	detail		jsonb NOT NULL DEFAULT '{}',	-- what the merge moved: aliases and traits of from_id, for undo
	refused		text COLLATE "C",				-- why nothing was merged; NULL: it was
	undone_at	timestamptz
);
CREATE INDEX IF NOT EXISTS merge_log_ids ON eventmkt_data.merge_log (into_id, from_id);
COMMENT ON TABLE eventmkt_data.merge_log IS 'which id was merged into which profile and when, and which was refused; undo_merge() reads it';

CREATE OR REPLACE TRIGGER touched AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON eventmkt_data.alias
	FOR EACH STATEMENT EXECUTE FUNCTION eventmkt.invalidate_cache();

-- people who were erased, and what was done for whom; no personal data but in `erasing`, for the moments until the end
CREATE SEQUENCE IF NOT EXISTS eventmkt_data.privacy_log_id_seq;
CREATE TABLE IF NOT EXISTS eventmkt_data.privacy_log (
	log_id		bigint PRIMARY KEY DEFAULT pg_catalog.nextval('eventmkt_data.privacy_log_id_seq'),
	action		text COLLATE "C" NOT NULL CHECK (action IN ('erase', 'export', 'unerase')),
	id_hash		bytea NOT NULL,					-- salted, of the canonical id
	at			timestamptz NOT NULL,			-- real time
	by_role		text COLLATE "C" NOT NULL,		-- who was logged in
	counts		jsonb NOT NULL,					-- rows by table
	finished_at	timestamptz						-- erase: nothing of transactions that were open then is left
);
COMMENT ON TABLE eventmkt_data.privacy_log IS 'erase(), export() and unerase(): whose, by hash, when, by whom and how many rows; no personal data';
CREATE TABLE IF NOT EXISTS eventmkt_data.erased (
	id_hash		bytea PRIMARY KEY,				-- salted
	log_id		bigint NOT NULL
);
COMMENT ON TABLE eventmkt_data.erased IS 'hashes of ids of people who were erased: nothing is taken for them any more';
CREATE OR REPLACE TRIGGER touched AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON eventmkt_data.erased
	FOR EACH STATEMENT EXECUTE FUNCTION eventmkt.invalidate_cache();
CREATE TABLE IF NOT EXISTS eventmkt_data.erasing (
	log_id		bigint PRIMARY KEY,
	ids			text[] COLLATE "C" NOT NULL,
	horizon		bigint,							-- first transaction id that can have known of it
	noted_at	timestamptz						-- when that was found, real time
);
COMMENT ON TABLE eventmkt_data.erasing IS 'erasures that have to look once more, when the transactions that were open have ended';

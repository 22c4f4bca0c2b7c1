-- admin: who was given what, so that a re-created extension can give it again
CREATE TABLE IF NOT EXISTS eventmkt_data.access (
	role		text COLLATE "C" NOT NULL,
	kind		text COLLATE "C" NOT NULL CHECK (kind IN ('tracker', 'marketer', 'analyst', 'operator')),
	granted_at	timestamptz NOT NULL,
	PRIMARY KEY (role, kind)
);
COMMENT ON TABLE eventmkt_data.access IS 'what grant_access() gave; init() gives it again after the extension was re-created';

-- health() counts the latest dead letters
CREATE INDEX IF NOT EXISTS delivery_dead ON eventmkt_data.delivery (died_at) WHERE died_at IS NOT NULL;

-- after erase(): tables whose files may hold bytes of erased people; a row goes when they are gone
CREATE TABLE IF NOT EXISTS eventmkt_data.scrub (
	relation	text COLLATE "C" PRIMARY KEY,	-- with its schema, quoted
	horizon		bigint NOT NULL,				-- rows of the erased were done with by older transaction ids
	begun_at	timestamptz,					-- no snapshot is older any more; real time, like checked_at
	checked_at	timestamptz,					-- the last look at all its pages
	dead_rows	bigint NOT NULL DEFAULT 0,		-- met then: VACUUM has not removed them
	index_ids	bigint NOT NULL DEFAULT 0,		-- ids of erased people, in its indexes
	cleared		bigint NOT NULL DEFAULT 0,		-- bytes of free space
	todo		text[]							-- statements for an operator, where autovacuum does not do it
);
COMMENT ON TABLE eventmkt_data.scrub IS 'tables whose files may still hold bytes of erased people, and what is to be done; empty: there are none';

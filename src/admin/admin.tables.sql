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

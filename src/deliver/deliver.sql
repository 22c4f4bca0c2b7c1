-- deliver: the one member table. A member table that is not marked with pg_extension_config_dump is in no dump.
CREATE TABLE eventmkt.secret (
	endpoint	text COLLATE "C" NOT NULL,
	secret		bytea NOT NULL,
	created_at	timestamptz NOT NULL,
	expires_at	timestamptz				-- business time; NULL: the current secret
);
CREATE INDEX secret_endpoint ON eventmkt.secret (endpoint);
REVOKE ALL ON eventmkt.secret FROM PUBLIC;
COMMENT ON TABLE eventmkt.secret IS 'signing secrets of endpoints; never dumped';

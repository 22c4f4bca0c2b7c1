-- base: settings kept as rows, read through a cache that the trigger invalidates
CREATE TABLE IF NOT EXISTS eventmkt_data.setting (
	key			text COLLATE "C" PRIMARY KEY,
	value		text NOT NULL,
	updated_at	timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE eventmkt_data.setting IS 'settings and identity of this database; see the README for the keys';
CREATE OR REPLACE TRIGGER touched AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON eventmkt_data.setting
	FOR EACH STATEMENT EXECUTE FUNCTION eventmkt.invalidate_cache();

CREATE TABLE IF NOT EXISTS eventmkt_data.clock_move (
	reached		timestamptz PRIMARY KEY			-- business time right after advance_clock()
);
COMMENT ON TABLE eventmkt_data.clock_move IS 'where advance_clock() moved the clock to, so that a jump is not measured as delay';

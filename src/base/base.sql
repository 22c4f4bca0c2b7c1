-- base: clock and the trigger behind every cache
CREATE FUNCTION eventmkt.clock() RETURNS timestamptz
	LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'emk_base_clock';
COMMENT ON FUNCTION eventmkt.clock() IS 'business time: real time plus what advance_clock() added';

CREATE FUNCTION eventmkt.statement_clock() RETURNS timestamptz
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'emk_base_statement_clock';
COMMENT ON FUNCTION eventmkt.statement_clock() IS
	'business time at the start of the statement: the same all through it, so that partitions are left out before it runs';

CREATE FUNCTION eventmkt.invalidate_cache() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'emk_base_invalidate';
COMMENT ON FUNCTION eventmkt.invalidate_cache() IS 'statement trigger: every backend forgets what it cached of the table';
CREATE FUNCTION eventmkt.check_library(version text) RETURNS void
	LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_base_check_library';
COMMENT ON FUNCTION eventmkt.check_library(text) IS
	'fails unless the library is of this version; part of install and update scripts';
SELECT eventmkt.check_library('@VERSION@');
REVOKE ALL ON FUNCTION eventmkt.clock(), eventmkt.check_library(text), eventmkt.statement_clock(), eventmkt.invalidate_cache() FROM PUBLIC;

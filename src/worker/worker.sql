-- worker: starting and stopping the workers of this database
CREATE FUNCTION eventmkt.start_worker() RETURNS text
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_worker_start';
COMMENT ON FUNCTION eventmkt.start_worker() IS
	'lets workers run in this database; needed after every server start where the library is not preloaded';
CREATE FUNCTION eventmkt.stop_worker() RETURNS text
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_worker_stop';
COMMENT ON FUNCTION eventmkt.stop_worker() IS
	'ends the workers of this database and keeps them away until start_worker() or the next server start';
REVOKE ALL ON FUNCTION eventmkt.start_worker(), eventmkt.stop_worker() FROM PUBLIC;

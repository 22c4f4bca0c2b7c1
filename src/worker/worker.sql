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

-- spine 2 by hand
CREATE FUNCTION eventmkt.run_due(max_rows int DEFAULT 10000) RETURNS int
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_worker_run_due';
COMMENT ON FUNCTION eventmkt.run_due(int) IS
	'one pass without HTTP in this session: work rows, then due runs, up to max_rows; returns how many were handled';
CREATE FUNCTION eventmkt.maintain() RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_worker_maintain_sql';
COMMENT ON FUNCTION eventmkt.maintain() IS
	'makes partitions ahead and drops what retention and dedupe_window make old, at most 10,000 deliveries and changes of traits a call; '
	'the worker does it every hour';
REVOKE ALL ON FUNCTION eventmkt.run_due(int), eventmkt.maintain() FROM PUBLIC;

-- segments to endpoints
CREATE FUNCTION eventmkt.sync_segment(segment text, endpoint text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_activate_sync';
COMMENT ON FUNCTION eventmkt.sync_segment(text, text) IS
	'tells an endpoint who is in a tracked segment, then who comes and who leaves, in batches; again: goes on after a message that died';
CREATE FUNCTION eventmkt.unsync_segment(segment text, endpoint text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_activate_unsync';
COMMENT ON FUNCTION eventmkt.unsync_segment(text, text) IS 'ends that; the endpoint is told nothing of it';
REVOKE ALL ON FUNCTION eventmkt.sync_segment(text, text), eventmkt.unsync_segment(text, text) FROM PUBLIC;

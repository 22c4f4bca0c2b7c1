-- NULL where none may be: 22004, and the message says which argument
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
CREATE FUNCTION pg_temp.try(call text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE 'SELECT ' || call;
	RETURN 'taken';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
SELECT call, pg_temp.try(call) FROM unnest(ARRAY['eventmkt.track(NULL, NULL)', 'eventmkt.track(''u'', NULL)', 'eventmkt.track_many(NULL)', 'eventmkt.identify(NULL)',
	'eventmkt.identify(''u'', NULL)', 'eventmkt.alias(NULL, NULL)', 'eventmkt.ingest(NULL)', 'eventmkt.create_rule(NULL, NULL)', 'eventmkt.replace_rule(NULL, NULL)',
	'eventmkt.enable_rule(NULL)', 'eventmkt.disable_rule(NULL)', 'eventmkt.drop_rule(NULL)', 'eventmkt.why_not(NULL, NULL)', 'eventmkt.create_endpoint(NULL, NULL)',
	'eventmkt.replace_endpoint(NULL, NULL)', 'eventmkt.enable_endpoint(NULL)', 'eventmkt.disable_endpoint(NULL)', 'eventmkt.drop_endpoint(NULL)',
	'eventmkt.set_secret(NULL)', 'eventmkt.rotate_secret(NULL)', 'eventmkt.rotate_secret(''e'', NULL)', 'eventmkt.redeliver(NULL)',
	'eventmkt.redeliver_dead(NULL, NULL, NULL)', 'eventmkt.init(NULL)', 'eventmkt.grant_access(NULL, NULL)', 'eventmkt.grant_access(''postgres'', NULL)',
	'eventmkt.revoke_access(NULL, NULL)', 'eventmkt.adopt(NULL)', 'eventmkt.advance_clock(NULL)', 'eventmkt.change_setting(NULL, NULL)',
	'eventmkt.make_partitions(NULL, NULL)', 'eventmkt.undo_merge(NULL)']) call;
-- who or what does not exist: a code of our own, and what there is
CREATE FUNCTION pg_temp.hint(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE h text;
BEGIN
	EXECUTE 'SELECT ' || call;
	RETURN 'taken';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS h = PG_EXCEPTION_HINT;
	RETURN SQLSTATE || ' ' || SQLERRM || ' | ' || h;
END $$;
SELECT call, pg_temp.hint(call) FROM unnest(ARRAY['eventmkt.enable_rule(''x'')', 'eventmkt.disable_rule(''x'')', 'eventmkt.drop_rule(''x'')',
	'eventmkt.replace_rule(''x'', ''E'', send_to => ''none'')', 'eventmkt.why_not(''u'', ''x'')', 'eventmkt.create_rule(''r'', ''E'', send_to => ''x'')',
	'eventmkt.enable_endpoint(''x'')', 'eventmkt.disable_endpoint(''x'')', 'eventmkt.drop_endpoint(''x'')', 'eventmkt.set_secret(''x'')', 'eventmkt.rotate_secret(''x'')',
	'eventmkt.replace_endpoint(''x'', ''https://example.com/'')', 'eventmkt.redeliver_dead(''x'', ''-infinity'', ''infinity'')',
	'eventmkt.redeliver(''00000000-0000-7000-8000-000000000000'')', 'eventmkt.undo_merge(1)', 'eventmkt.grant_access(''nobody_of_that_name'', ''tracker'')',
	'eventmkt.grant_access(''postgres'', ''king'')', 'eventmkt.adopt(''maybe'')']) call;

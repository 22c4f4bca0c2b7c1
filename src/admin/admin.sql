-- admin: setting up, rights
CREATE FUNCTION eventmkt.init(owner name DEFAULT 'eventmkt')
	RETURNS TABLE (step text, state text, hint text)
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_admin_initialize';
COMMENT ON FUNCTION eventmkt.init(name) IS
	'makes or brings up to date the tables of eventmkt in this database, owned by a role that is no superuser; superuser only';

CREATE FUNCTION eventmkt.grant_access(role name, kind text) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_admin_grant_access';
COMMENT ON FUNCTION eventmkt.grant_access(name, text) IS
	'lets a role do what a tracker, marketer, analyst or operator does; superuser only';

CREATE FUNCTION eventmkt.revoke_access(role name, kind text) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_admin_revoke_access';
COMMENT ON FUNCTION eventmkt.revoke_access(name, text) IS 'takes back what grant_access() gave; superuser only';

CREATE FUNCTION eventmkt.adopt(policy text DEFAULT 'expire') RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_admin_adopt';
COMMENT ON FUNCTION eventmkt.adopt(text) IS
	'lets a copy of a database send; what was waiting is sent, expired where due already, or discarded; how many ended';

CREATE FUNCTION eventmkt.advance_clock(by interval) RETURNS timestamptz
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_admin_advance_clock';
COMMENT ON FUNCTION eventmkt.advance_clock(interval) IS
	'moves business time forward, for tests and demonstrations; refused while an endpoint lies outside this machine';

CREATE FUNCTION eventmkt.change_setting(key text, value text) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_admin_change_setting';
COMMENT ON FUNCTION eventmkt.change_setting(text, text) IS
	'changes a setting of this database: partition_period, retention, dedupe_window, profile_burst, node; NULL puts the default back';

CREATE FUNCTION eventmkt.health() RETURNS TABLE ("check" text, state text, detail text, hint text)
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_admin_health';
COMMENT ON FUNCTION eventmkt.health() IS 'how eventmkt is in this database: ok, warn or error a check, and what to do';

CREATE FUNCTION eventmkt.replace_rule(name text, on_event text, where_event jsonpath DEFAULT NULL,
	where_profile jsonpath DEFAULT NULL, at_least int DEFAULT 1, within interval DEFAULT NULL, per text DEFAULT NULL,
	unless text[] DEFAULT '{}', unless_where jsonpath DEFAULT NULL, look_back interval DEFAULT '0',
	after interval DEFAULT '0', on_repeat text DEFAULT 'debounce', reentry interval DEFAULT NULL,
	send_to text DEFAULT NULL, template text DEFAULT NULL, steps jsonb DEFAULT NULL,
	max_lateness interval DEFAULT NULL, priority int DEFAULT 0, enabled bool DEFAULT NULL,
	where_segment text DEFAULT NULL) RETURNS int
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'emk_admin_replace_rule';
COMMENT ON FUNCTION eventmkt.replace_rule(text, text, jsonpath, jsonpath, int, interval, text, text[], jsonpath, interval,
	interval, text, interval, text, text, jsonb, interval, int, bool, text) IS
	'makes the next version of a rule, enabled as it was unless said; live runs keep the version they started with';

CREATE FUNCTION eventmkt.enable_rule(name text) RETURNS void
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'emk_admin_enable_rule';
COMMENT ON FUNCTION eventmkt.enable_rule(text) IS
	'lets a disabled rule start runs again; held runs that are too late by now expire, nothing stale is sent';

CREATE FUNCTION eventmkt.disable_rule(name text) RETURNS void
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'emk_admin_disable_rule';
COMMENT ON FUNCTION eventmkt.disable_rule(text) IS 'stops a rule from starting runs and holds those that fall due';

CREATE FUNCTION eventmkt.drop_rule(name text) RETURNS bigint
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'emk_admin_drop_rule';
COMMENT ON FUNCTION eventmkt.drop_rule(text) IS
	'ends a rule: its live runs and waiting deliveries are cancelled and counted, its name is free, its decisions stay';

CREATE FUNCTION eventmkt.why_not(user_id text, rule text)
	RETURNS TABLE (step text, outcome text, reason text, event_id bigint, detail jsonb)
	LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'emk_admin_why_not';
COMMENT ON FUNCTION eventmkt.why_not(text, text) IS
	'why a person did not get the message of a rule: the answer first, then every step on the way with the values';

CREATE FUNCTION eventmkt.erase(user_id text) RETURNS TABLE (table_name text, rows bigint)
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_admin_erase';
COMMENT ON FUNCTION eventmkt.erase(text) IS
	'removes a person by all ids from every table and takes nothing for those ids any more; rows removed or made anonymous, by table';

CREATE FUNCTION eventmkt.finish_erasures() RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_admin_finish_erasures';
COMMENT ON FUNCTION eventmkt.finish_erasures() IS
	'the second look of erase(), after the transactions that were open have ended; the worker does it by itself; how many are left';

CREATE FUNCTION eventmkt.scrub_erased() RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_admin_scrub_erased';
COMMENT ON FUNCTION eventmkt.scrub_erased() IS
	'clears what erased people left in the free space of files; the worker does it by itself; how many tables are left, see eventmkt_data.scrub';

CREATE FUNCTION eventmkt.unerase(user_id text) RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_admin_unerase';
COMMENT ON FUNCTION eventmkt.unerase(text) IS
	'takes events of an erased person again, under this id and those erased with it; brings nothing back; how many ids';

CREATE FUNCTION eventmkt.export(user_id text) RETURNS jsonb
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_admin_export';
COMMENT ON FUNCTION eventmkt.export(text) IS
	'everything that is stored about a person, by table, under all ids; leaves a row in privacy_log';

-- nothing of ours is for everybody; this file comes last, so it covers every layer
REVOKE ALL ON ALL ROUTINES IN SCHEMA eventmkt FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA eventmkt FROM PUBLIC;

-- admin: setting up, rights
CREATE FUNCTION eventmkt.init(owner name DEFAULT 'eventmkt')
	RETURNS TABLE (step text, state text, hint text)
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_admin_initialize';
COMMENT ON FUNCTION eventmkt.init(name) IS
	'makes or brings up to date the tables of eventmkt in this database, owned by a role that is no superuser; superuser only';

CREATE FUNCTION eventmkt.grant_access(role name, kind text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_admin_grant_access';
COMMENT ON FUNCTION eventmkt.grant_access(name, text) IS
	'lets a role do what a tracker, marketer, analyst or operator does; superuser only';

CREATE FUNCTION eventmkt.revoke_access(role name, kind text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'emk_admin_revoke_access';
COMMENT ON FUNCTION eventmkt.revoke_access(name, text) IS 'takes back what grant_access() gave; superuser only';

-- nothing of ours is for everybody; this file comes last, so it covers every layer
REVOKE ALL ON ALL ROUTINES IN SCHEMA eventmkt FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA eventmkt FROM PUBLIC;

-- Secrets are hidden from all but the owner, from this update on; init() grants the owner the view.
-- covers: ALTER TABLE eventmkt.secret ENABLE ROW LEVEL SECURITY
-- covers: CREATE POLICY owner ON eventmkt.secret
-- covers: CREATE VIEW eventmkt.secret_known
ALTER TABLE eventmkt.secret ENABLE ROW LEVEL SECURITY;
CREATE POLICY owner ON eventmkt.secret USING (EXISTS (SELECT FROM pg_catalog.pg_namespace n
	WHERE n.nspname OPERATOR(pg_catalog.=) 'eventmkt_data'
	AND pg_catalog.pg_get_userbyid(n.nspowner) OPERATOR(pg_catalog.=) current_user));
CREATE VIEW eventmkt.secret_known AS SELECT endpoint, created_at, expires_at FROM eventmkt.secret OFFSET 0;
REVOKE ALL ON eventmkt.secret_known FROM PUBLIC;

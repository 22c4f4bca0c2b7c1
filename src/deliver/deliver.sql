-- deliver: the one member table. A member table that is not marked with pg_extension_config_dump is in no dump.
CREATE TABLE eventmkt.secret (
	endpoint	text COLLATE "C" NOT NULL,
	secret		bytea NOT NULL,
	created_at	timestamptz NOT NULL,
	expires_at	timestamptz				-- business time; NULL: the current secret
);
CREATE INDEX secret_endpoint ON eventmkt.secret (endpoint);
ALTER TABLE eventmkt.secret REPLICA IDENTITY FULL;		-- no key: else a publication FOR ALL TABLES makes its deletes fail
REVOKE ALL ON eventmkt.secret FROM PUBLIC;
COMMENT ON TABLE eventmkt.secret IS 'signing secrets of endpoints; never dumped';
CREATE TRIGGER touched AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON eventmkt.secret
	FOR EACH STATEMENT EXECUTE FUNCTION eventmkt.invalidate_cache();
-- pg_read_all_data gives SELECT on every table, but looks past no policy. Made here and not by init(): no dump carries a policy of a member.
ALTER TABLE eventmkt.secret ENABLE ROW LEVEL SECURITY;
CREATE POLICY owner ON eventmkt.secret USING (EXISTS (SELECT FROM pg_catalog.pg_namespace n
	WHERE n.nspname OPERATOR(pg_catalog.=) 'eventmkt_data'
	AND pg_catalog.pg_get_userbyid(n.nspowner) OPERATOR(pg_catalog.=) current_user));
COMMENT ON POLICY owner ON eventmkt.secret IS 'the owner of eventmkt_data, as whom our functions and the worker act, and nobody else';
-- what others may know of it, without the policy: whether there is one. OFFSET, so that nobody writes through it
CREATE VIEW eventmkt.secret_known AS SELECT endpoint, created_at, expires_at FROM eventmkt.secret OFFSET 0;
REVOKE ALL ON eventmkt.secret_known FROM PUBLIC;
COMMENT ON VIEW eventmkt.secret_known IS 'which endpoints have a secret, and until when; for views of eventmkt, which read it in the name of their owner';

-- endpoints, for operators
CREATE FUNCTION eventmkt.create_endpoint(name text, url text, secret text = NULL, headers jsonb = '{}', method text = 'POST',
	timeout interval = '10 seconds', max_in_flight int = 32, rate_limit int = NULL, schedule int[] = NULL,
	give_up_after interval = '5 days', ordered bool = false) RETURNS text
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'emk_deliver_create_endpoint';
COMMENT ON FUNCTION eventmkt.create_endpoint(text, text, text, jsonb, text, interval, int, int, int[], interval, bool)
	IS 'makes an endpoint and returns its signing secret, which is shown only now';
CREATE FUNCTION eventmkt.replace_endpoint(name text, url text, secret text = NULL, headers jsonb = '{}', method text = 'POST',
	timeout interval = '10 seconds', max_in_flight int = 32, rate_limit int = NULL, schedule int[] = NULL,
	give_up_after interval = '5 days', ordered bool = false) RETURNS void
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'emk_deliver_replace_endpoint';
COMMENT ON FUNCTION eventmkt.replace_endpoint(text, text, text, jsonb, text, interval, int, int, int[], interval, bool)
	IS 'changes an endpoint; its secret stays unless one is given';
CREATE FUNCTION eventmkt.enable_endpoint(name text) RETURNS void
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'emk_deliver_enable_endpoint';
COMMENT ON FUNCTION eventmkt.enable_endpoint(text) IS 'lets an endpoint be sent to again; what was held goes out';
CREATE FUNCTION eventmkt.disable_endpoint(name text) RETURNS void
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'emk_deliver_disable_endpoint';
COMMENT ON FUNCTION eventmkt.disable_endpoint(text) IS 'holds everything for an endpoint until it is enabled';
CREATE FUNCTION eventmkt.drop_endpoint(name text) RETURNS void
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'emk_deliver_drop_endpoint';
COMMENT ON FUNCTION eventmkt.drop_endpoint(text) IS 'drops an endpoint that no rule sends to; what waits for it is cancelled';
CREATE FUNCTION eventmkt.set_secret(name text, secret text = NULL) RETURNS text
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'emk_deliver_set_secret';
COMMENT ON FUNCTION eventmkt.set_secret(text, text)
	IS 'replaces all secrets of an endpoint at once, by a new one unless one is given, and returns it';
CREATE FUNCTION eventmkt.rotate_secret(name text, overlap interval = '24 hours') RETURNS text
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'emk_deliver_rotate_secret';
COMMENT ON FUNCTION eventmkt.rotate_secret(text, interval)
	IS 'makes a new secret and returns it; messages carry the old signature too until the overlap is over';

-- deliveries, for operators
CREATE FUNCTION eventmkt.redeliver(delivery uuid) RETURNS bool
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'emk_deliver_redeliver';
COMMENT ON FUNCTION eventmkt.redeliver(uuid)
	IS 'sends a dead or delivered message again, same id and body; false: it is being sent right now';
CREATE FUNCTION eventmkt.redeliver_dead(endpoint text, since timestamptz, until timestamptz) RETURNS bigint
	LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'emk_deliver_redeliver_dead';
COMMENT ON FUNCTION eventmkt.redeliver_dead(text, timestamptz, timestamptz)
	IS 'sends all messages to an endpoint again that died between two times; returns how many';

-- what a receiver and an operator may want to work out
CREATE FUNCTION eventmkt.webhook_signature(id text, "timestamp" bigint, body text, secret text) RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_deliver_webhook_signature';
COMMENT ON FUNCTION eventmkt.webhook_signature(text, bigint, text, text)
	IS 'the webhook-signature that belongs to a message, as Standard Webhooks defines it';
CREATE FUNCTION eventmkt.plan_retry(status int, tries int, schedule int[], retry_after text, at timestamptz, spread float8 = 0.5,
	OUT verdict text, OUT next_attempt_at timestamptz, OUT reason text) RETURNS record
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'emk_deliver_plan_retry';
COMMENT ON FUNCTION eventmkt.plan_retry(int, int, int[], text, timestamptz, float8)
	IS 'what the worker does with an answer (status NULL: none came) to the given try; spread 0 to 1 is its jitter';

REVOKE ALL ON FUNCTION
	eventmkt.create_endpoint(text, text, text, jsonb, text, interval, int, int, int[], interval, bool),
	eventmkt.replace_endpoint(text, text, text, jsonb, text, interval, int, int, int[], interval, bool),
	eventmkt.enable_endpoint(text), eventmkt.disable_endpoint(text), eventmkt.drop_endpoint(text),
	eventmkt.set_secret(text, text), eventmkt.rotate_secret(text, interval),
	eventmkt.redeliver(uuid), eventmkt.redeliver_dead(text, timestamptz, timestamptz),
	eventmkt.webhook_signature(text, bigint, text, text),
	eventmkt.plan_retry(int, int, int[], text, timestamptz, float8)
	FROM PUBLIC;

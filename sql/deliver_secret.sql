-- signatures, secrets, and the life of an endpoint
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
RESET client_min_messages;
\set SHOW_CONTEXT never
-- the example of the Standard Webhooks libraries
SELECT eventmkt.webhook_signature('msg_p5jXN8AQM9LWM0D4loKWxJek', 1614265330, '{"test": 2432232314}', 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw');
SELECT eventmkt.webhook_signature('msg_p5jXN8AQM9LWM0D4loKWxJek', 1614265331, '{"test": 2432232314}', 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw')
	= eventmkt.webhook_signature('msg_p5jXN8AQM9LWM0D4loKWxJek', 1614265330, '{"test": 2432232314}', 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw') AS tampered;
SELECT eventmkt.webhook_signature('x', 1, '', 'whsec_');
SELECT eventmkt.webhook_signature('x', 1, '', 'MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw');
SELECT eventmkt.webhook_signature('x', 1, '', 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS');
SELECT eventmkt.webhook_signature('x', 1, '', 'whsec_c2hvcnQ=');
SELECT eventmkt.webhook_signature('x', 1, '', 'whsec_' || repeat('A', 100000));
SELECT eventmkt.webhook_signature(repeat('x', 81), 1, '', 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw');
-- a new secret is 32 random bytes, shown once
SELECT eventmkt.create_endpoint('email', 'https://hooks.example.com/') ~ '^whsec_[A-Za-z0-9+/]{43}=$' AS shown;
SELECT eventmkt.create_endpoint('email', 'https://hooks.example.com/');
SELECT endpoint, length(secret), expires_at FROM eventmkt.secret;
SELECT schedule, timeout_ms, max_in_flight, rate_limit, method, give_up_after, enabled FROM eventmkt_data.endpoint;
-- a given one is taken as it is, with a warning
SELECT eventmkt.create_endpoint('push', 'https://hooks.example.com/', 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw');
SELECT eventmkt.create_endpoint('sms', 'https://hooks.example.com/', 'hunter2');
SELECT encode(secret, 'base64') FROM eventmkt.secret WHERE endpoint = 'push';
-- rotation keeps the old one for a while; setting does not
SELECT eventmkt.rotate_secret('push') ~ '^whsec_' AS shown;
SELECT encode(secret, 'base64') = 'MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw' AS old, expires_at - created_at > '23 hours' AS expires
  FROM eventmkt.secret WHERE endpoint = 'push' ORDER BY old;
SELECT eventmkt.rotate_secret('push', '1 hour') ~ '^whsec_', eventmkt.rotate_secret('push', '1 hour') ~ '^whsec_';
SELECT eventmkt.rotate_secret('push', '1 hour');
SELECT eventmkt.set_secret('push') ~ '^whsec_' AS shown;
SELECT count(*), count(expires_at) FROM eventmkt.secret WHERE endpoint = 'push';
SELECT eventmkt.rotate_secret('push', '0') ~ '^whsec_' AS shown;
SELECT count(*), count(expires_at) FROM eventmkt.secret WHERE endpoint = 'push';
SELECT eventmkt.rotate_secret('push', '-1 hour');
SELECT eventmkt.rotate_secret('push', NULL);
SELECT eventmkt.rotate_secret('nobody');
SELECT eventmkt.set_secret('nobody');
SELECT eventmkt.set_secret(NULL);
-- replace, disable, enable, drop
SELECT eventmkt.replace_endpoint('push', 'https://hooks.example.com/new', timeout => '3 s', schedule => '{1,2,3}');
SELECT url, timeout_ms, schedule FROM eventmkt_data.endpoint WHERE name = 'push';
SELECT count(*) FROM eventmkt.secret WHERE endpoint = 'push';
SELECT eventmkt.replace_endpoint('push', 'https://127.0.0.1/');
SELECT eventmkt.replace_endpoint('nobody', 'https://hooks.example.com/');
SELECT eventmkt.disable_endpoint('push');
SELECT enabled, disabled_reason FROM eventmkt_data.endpoint WHERE name = 'push';
SELECT eventmkt.enable_endpoint('push');
SELECT enabled, disabled_reason FROM eventmkt_data.endpoint WHERE name = 'push';
SELECT eventmkt.enable_endpoint('nobody');
SELECT eventmkt.disable_endpoint(NULL);
SELECT eventmkt.create_rule('welcome', on_event => 'Signed Up', send_to => 'push') IS NOT NULL AS made;
SELECT eventmkt.drop_endpoint('push');
SELECT eventmkt.drop_rule('welcome');
SELECT eventmkt.drop_endpoint('push');
SELECT eventmkt.drop_endpoint('push');
SELECT endpoint FROM eventmkt.secret;
-- who may
CREATE ROLE regress_nobody;
GRANT USAGE ON SCHEMA eventmkt TO regress_nobody;
SET ROLE regress_nobody;
SELECT eventmkt.create_endpoint('x', 'https://hooks.example.com/');
SELECT eventmkt.rotate_secret('email');
SELECT * FROM eventmkt.secret;
SET eventmkt.allowed_networks = '0.0.0.0/0';
SET eventmkt.allow_plain_http = on;
RESET ROLE;
REVOKE USAGE ON SCHEMA eventmkt FROM regress_nobody;
DROP ROLE regress_nobody;

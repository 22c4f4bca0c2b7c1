-- a rule that is made disabled: what it would have sent is said
\set QUIET on
SET client_min_messages = warning;
SELECT count(*) > 0 AS init FROM eventmkt.init();
SELECT eventmkt.make_partitions(eventmkt.clock() - interval '70 days', eventmkt.clock()) >= 0 AS made;
SET eventmkt.fire = off;
SELECT count(eventmkt.track('u' || i % 20, CASE WHEN i % 3 = 0 THEN 'Order Completed' ELSE 'Product Added' END, jsonb_build_object('amount', i), eventmkt.clock() - i * interval '12 hours'))
	FROM generate_series(1, 100) i;
RESET eventmkt.fire;
SET client_min_messages = notice;
\set QUIET off
SELECT eventmkt.create_rule('cart', on_event => 'Product Added', unless => '{Order Completed}', after => '1 day', send_to => 'none', enabled => false) > 0 AS made;
SELECT sends FROM eventmkt.estimate_rule('cart');
SELECT eventmkt.replace_rule('cart', on_event => 'Product Added', where_event => '$.amount < 20', send_to => 'none') > 0 AS replaced;
SELECT eventmkt.create_rule('none of them', on_event => 'Product Added', where_event => '$.amount > 1000', send_to => 'none', enabled => false) > 0 AS made;
-- nothing of one that is enabled, nor where nothing is known
SELECT eventmkt.create_rule('on', on_event => 'Product Added', send_to => 'none') > 0 AS made;
SELECT eventmkt.create_rule('off', on_event => 'Never Seen', send_to => 'none', enabled => false) > 0 AS made;
-- no longer than half a second: where events take longer than that to read, it says so, and the rule is made
CREATE FUNCTION public.slow(eventmkt_data.event) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.2); RETURN true; END $$;
GRANT EXECUTE ON FUNCTION public.slow(eventmkt_data.event) TO PUBLIC;
GRANT USAGE ON SCHEMA public TO PUBLIC;
ALTER TABLE eventmkt_data.event ENABLE ROW LEVEL SECURITY;
ALTER TABLE eventmkt_data.event FORCE ROW LEVEL SECURITY;
CREATE POLICY slow ON eventmkt_data.event USING (public.slow(event));
SELECT eventmkt.create_rule('slow', on_event => 'Product Added', send_to => 'none', enabled => false) > 0 AS made;
SELECT name, enabled FROM eventmkt_data.rule WHERE name = 'slow' AND current;

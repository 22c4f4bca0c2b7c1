-- create_rule() and what it leaves: the definition, and the rows the matcher reads
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
RESET client_min_messages;
-- no endpoint yet
SELECT eventmkt.create_rule('welcome', on_event => 'Signed Up');
INSERT INTO eventmkt_data.endpoint (name, url, schedule, created_at) VALUES ('email', 'http://127.0.0.1:1/', '{5}', '2026-01-01');
-- the only endpoint is the default
SELECT eventmkt.create_rule('welcome', on_event => 'Signed Up') IS NOT NULL AS made;
SELECT eventmkt.create_rule('welcome', on_event => 'Signed Up');
INSERT INTO eventmkt_data.endpoint (name, url, schedule, created_at) VALUES ('push', 'http://127.0.0.1:2/', '{5}', '2026-01-01');
-- with several it must be named
SELECT eventmkt.create_rule('congratulate', on_event => 'Signed Up');
SELECT eventmkt.create_rule('congratulate', on_event => 'Signed Up', send_to => 'sms');
SELECT eventmkt.create_rule('congratulate', on_event => 'Signed Up', send_to => 'push') IS NOT NULL AS made;
SELECT eventmkt.create_rule('cart_abandoned',
	on_event => 'Product Added', where_event => '$.amount >= 50', where_profile => '$.tier == "gold"', per => 'cart_id',
	unless => ARRAY['Order Completed', 'Cart Emptied'], unless_where => '$.status == "paid"', look_back => '5 minutes',
	after => '24 hours', reentry => '7 days', send_to => 'email', priority => -3) IS NOT NULL AS made;
SELECT eventmkt.create_rule('audience', on_event => 'Wants Back', where_event => '$.sku == "A1" && $.size > 40',
	at_least => 3, within => '7 days', on_repeat => 'parallel', max_lateness => '5 minutes', send_to => 'none',
	enabled => false) IS NOT NULL AS made;
SELECT r.name, version, current, r.enabled, on_event, where_event, where_profile, at_least, within, per, unless, unless_where
  FROM eventmkt_data.rule r ORDER BY rule_id;
SELECT r.name, look_back, after, on_repeat, reentry, e.name AS endpoint, max_lateness, priority
  FROM eventmkt_data.rule r LEFT JOIN eventmkt_data.endpoint e USING (endpoint_id) ORDER BY rule_id;
-- a disabled rule listens to nothing
SELECT r.name, e.name AS event, starts, cancels, lapse, hash_property, hash_value, condition
  FROM eventmkt_data.rule_event e JOIN eventmkt_data.rule r USING (rule_id) ORDER BY r.name, e.name;
SELECT eventmkt.enable_rule('audience');
SELECT eventmkt.disable_rule('cart_abandoned');
SELECT r.name, e.name AS event, starts, cancels, hash_property, hash_value, condition
  FROM eventmkt_data.rule_event e JOIN eventmkt_data.rule r USING (rule_id) ORDER BY r.name, e.name;
SELECT name, enabled, disabled_reason FROM eventmkt_data.rule WHERE disabled_reason IS NOT NULL;
-- what is and is not an inactivity rule
DO $$
DECLARE v text[];
BEGIN
	FOREACH v SLICE 1 IN ARRAY ARRAY[
		['any',			'*',	'{*}',		'30 days',	'debounce',	NULL],
		['any, short',	'*',	'{}',		'30 days',	'debounce',	NULL],
		['one',			'Visit','{Visit}',	'30 days',	'debounce',	NULL],
		['no delay',	'*',	'{*}',		'0',		'debounce',	NULL],
		['another',		'Visit','{Order}',	'30 days',	'debounce',	NULL],
		['both',		'Visit','{Visit,Order}', '30 days', 'debounce',	NULL],
		['plain',		'Visit','{}',		'30 days',	'debounce',	NULL],
		['ignore',		'Visit','{Visit}',	'30 days',	'ignore',	NULL],
		['keyed',		'Visit','{Visit}',	'30 days',	'debounce',	'site']]
	LOOP
		PERFORM eventmkt.create_rule(v[1], on_event => v[2], unless => v[3]::text[], after => v[4]::interval,
			on_repeat => v[5], per => v[6], send_to => 'none');
	END LOOP;
END $$;
SELECT r.name, e.name AS event, starts, cancels, lapse, lapse_after
  FROM eventmkt_data.rule_event e JOIN eventmkt_data.rule r USING (rule_id)
 WHERE r.name IN ('any', 'any, short', 'one', 'no delay', 'another', 'both', 'plain', 'ignore', 'keyed') ORDER BY rule_id, e.name;
-- one event that starts and cancels: only what both refuse is refused
SELECT eventmkt.create_rule('differs', on_event => 'Moved', where_event => '$.floor > 2', unless => '{Moved}',
	unless_where => '$.floor < 1', after => '1 hour', send_to => 'none') IS NOT NULL AS made;
SELECT eventmkt.create_rule('same', on_event => 'Moved', where_event => '$.floor == 2', unless => '{Moved}',
	unless_where => '$.floor == 2', after => '1 hour', send_to => 'none') IS NOT NULL AS made;
-- a cold condition is let through, but its comparison still serves as hash
SELECT eventmkt.create_rule('cold', on_event => 'Moved', where_event => '$.city == "Bonn" && $.street like_regex "^A"',
	send_to => 'none') IS NOT NULL AS made;
SELECT r.name, e.name AS event, starts, cancels, hash_property, hash_value, condition
  FROM eventmkt_data.rule_event e JOIN eventmkt_data.rule r USING (rule_id) WHERE e.name = 'Moved' ORDER BY rule_id;
-- the derived rows can be made again from the rules at any time
CREATE TEMP TABLE before AS SELECT * FROM eventmkt_data.rule_event;
DELETE FROM eventmkt_data.rule_event;
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
RESET client_min_messages;
SELECT count(*) AS differences FROM (
	(SELECT to_jsonb(b)::text FROM before b EXCEPT SELECT to_jsonb(e)::text FROM eventmkt_data.rule_event e) UNION ALL
	(SELECT to_jsonb(e)::text FROM eventmkt_data.rule_event e EXCEPT SELECT to_jsonb(b)::text FROM before b)) d;
-- ten thousand are quick: no call looks at the others
SELECT count(eventmkt.create_rule('n' || i, on_event => 'Bulk', where_event => format('$.c == "%s"', i)::jsonpath,
	send_to => 'none')) FROM generate_series(1, 2000) i;
SELECT count(*), count(DISTINCT hash_value), count(condition) FROM eventmkt_data.rule_event WHERE name = 'Bulk';
-- EXECUTE is all a caller needs
CREATE ROLE regress_rule_define;
GRANT USAGE ON SCHEMA eventmkt TO regress_rule_define;
SET ROLE regress_rule_define;
SELECT eventmkt.create_rule('mine', on_event => 'X', send_to => 'none');
RESET ROLE;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA eventmkt TO regress_rule_define;
SET ROLE regress_rule_define;
SELECT eventmkt.create_rule('mine', on_event => 'X', send_to => 'none') IS NOT NULL AS made;
SELECT current_user, count(*) FROM eventmkt_data.rule;
RESET ROLE;
DROP OWNED BY regress_rule_define;
DROP ROLE regress_rule_define;
-- a library that is newer than the extension's functions says so, and reads no arguments that are not there
CREATE FUNCTION public.older(text, text) RETURNS int LANGUAGE c AS '$libdir/eventmkt', 'emk_rule_create';
SELECT public.older('a', 'b');
DROP FUNCTION public.older(text, text);

-- every wrong definition is an error at the call, with SQLSTATE and hint, and stores nothing
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
CREATE FUNCTION pg_temp.refused(args text, func text DEFAULT 'create_rule') RETURNS TABLE (state text, message text, detail text, hint text)
LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SELECT eventmkt.%I(%s)', func, args);
	RETURN QUERY SELECT '-----', 'accepted: ' || args, NULL, NULL;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN NEXT;
END $$;
\pset format unaligned
\pset tuples_only on
SELECT r.* FROM unnest(ARRAY[
	-- names
	$a$NULL, 'E'$a$,
	$a$'', 'E'$a$,
	$a$'   ', 'E'$a$,
	$a$repeat('x', 64), 'E'$a$,
	$a$E'a\nb', 'E'$a$,
	$a$'a', NULL$a$,
	$a$'a', ''$a$,
	$a$'a', repeat('x', 201)$a$,
	-- conditions
	$a$'a', 'E', where_event => '$.amount'$a$,
	$a$'a', 'E', where_event => '$ ? (@.amount > 5)'$a$,
	$a$'a', 'E', where_event => '$.amount >>= 5'$a$,
	$a$'a', 'E', where_event => '$.amount > $limit'$a$,
	$a$'a', 'E', where_profile => '"gold"'$a$,
	$a$'a', 'E', unless => '{F}', unless_where => '$.a + 1'$a$,
	$a$'a', 'E', unless_where => '$.a == 1'$a$,
	$a$'a', 'E', where_event => ('$.a == "' || repeat('x', 9000) || '"')::jsonpath$a$,
	$a$'a', 'E', where_event => (repeat('!(', 40) || '$.a == 1' || repeat(')', 40))::jsonpath$a$,
	-- counts
	$a$'a', 'E', at_least => 0$a$,
	$a$'a', 'E', at_least => -1$a$,
	$a$'a', 'E', at_least => NULL$a$,
	$a$'a', 'E', at_least => 2147483647$a$,
	-- intervals
	$a$'a', 'E', at_least => 2, within => '0'$a$,
	$a$'a', 'E', after => '-1 second'$a$,
	$a$'a', 'E', after => '1 month -40 days'$a$,
	$a$'a', 'E', after => '11 years'$a$,
	$a$'a', 'E', after => '178000000 years'$a$,
	$a$'a', 'E', after => NULL$a$,
	$a$'a', 'E', reentry => '-1 day'$a$,
	$a$'a', 'E', max_lateness => '-1 day'$a$,
	$a$'a', 'E', unless => '{F}', look_back => '-1 day'$a$,
	$a$'a', 'E', look_back => '1 day'$a$,
	$a$'a', 'E', look_back => NULL$a$,
	-- keys and cancelling events
	$a$'a', 'E', per => ''$a$,
	$a$'a', 'E', per => '$.cart_id'$a$,
	$a$'a', 'E', per => repeat('x', 513)$a$,
	$a$'a', 'E', unless => NULL$a$,
	$a$'a', 'E', unless => ARRAY['F', NULL]$a$,
	$a$'a', 'E', unless => ARRAY['F', '']$a$,
	$a$'a', 'E', unless => ARRAY['F', 'G', 'F']$a$,
	$a$'a', 'E', unless => ARRAY[['F', 'G'], ['H', 'I']]$a$,
	$a$'a', 'E', unless => (SELECT array_agg('e' || i) FROM generate_series(1, 101) i)$a$,
	-- the rest
	$a$'a', 'E', on_repeat => 'restart'$a$,
	$a$'a', 'E', on_repeat => NULL$a$,
	$a$'a', 'E', send_to => 'nowhere'$a$,
	$a$'a', 'E'$a$,
	$a$'a', 'E', template => 'hello'$a$,
	$a$'a', 'E', steps => '[]'$a$,
	$a$'a', 'E', priority => NULL$a$,
	$a$'a', 'E', enabled => NULL$a$]) WITH ORDINALITY AS t (args, n), pg_temp.refused(args) r ORDER BY n;
SELECT r.* FROM pg_temp.refused($a$'a', 'E', send_to => 'none'$a$, 'replace_rule') r;
SELECT r.* FROM unnest('{enable_rule,disable_rule,drop_rule}'::text[]) f, pg_temp.refused('NULL', f) r;
SELECT r.* FROM unnest('{enable_rule,disable_rule,drop_rule}'::text[]) f, pg_temp.refused('''card_abandoned''', f) r;
SELECT count(*) FROM eventmkt_data.rule;
SELECT eventmkt.create_rule('cart_abandoned', 'E', send_to => 'none') > 0;
SELECT r.* FROM unnest('{enable_rule,disable_rule,drop_rule}'::text[]) f, pg_temp.refused('''card_abandoned''', f) r;
\pset tuples_only off
\pset format aligned
-- what is odd is accepted, and said
RESET client_min_messages;
-- no history at all: nothing to say about names
SELECT eventmkt.create_rule('quiet', on_event => 'Order Completed', where_event => '$.total > 5', send_to => 'none') > 0 AS made;
INSERT INTO eventmkt_data.event (event_id, profile_id, name, properties, occurred_at, received_at, depth) VALUES
	(1, 'p', 'Product Added', '{"amount": "40", "qty": 1, "cart": {"total": "9"}}', eventmkt.clock(), eventmkt.clock(), 0),
	(2, 'p', 'Order Completed', '{"total": 40}', eventmkt.clock(), eventmkt.clock(), 0);
SELECT eventmkt.create_rule('unseen', on_event => 'Product added', unless => '{Order Completed,order completed}', send_to => 'none') > 0 AS made;
SELECT eventmkt.create_rule('text', on_event => 'Product Added', where_event => '$.amount >= 50 && $.qty > 0', send_to => 'none') > 0 AS made;
SELECT eventmkt.create_rule('nested', on_event => 'Product Added', where_event => '!(100 < $.cart.total)', send_to => 'none') > 0 AS made;
SELECT eventmkt.create_rule('converted', on_event => 'Product Added', where_event => '$.amount.double() >= 50', send_to => 'none') > 0 AS made;
SELECT eventmkt.create_rule('number', on_event => 'Product Added', unless => '{Order Completed}', unless_where => '$.total == "40"',
	send_to => 'none') > 0 AS made;
SELECT eventmkt.create_rule('cold', on_event => 'Product Added', where_event => '$.amount like_regex "^4"', send_to => 'none') > 0 AS made;
SELECT eventmkt.create_rule('window', on_event => 'Product Added', within => '1 day', send_to => 'none') > 0 AS made;
SELECT eventmkt.create_rule('all', on_event => '*', unless => '{Order Completed}', after => '1 day', send_to => 'none') > 0 AS made;

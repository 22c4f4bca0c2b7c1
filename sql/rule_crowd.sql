-- EMK_MAX_RULES_PER_EVENT: how many enabled rules one and the same event may have to be shown to
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
\set QUIET on
CREATE FUNCTION pg_temp.make(prefix text, n int, event text, condition jsonpath DEFAULT NULL, cancels text[] DEFAULT '{}') RETURNS bigint LANGUAGE sql AS
	$$SELECT count(eventmkt.create_rule(prefix || i, event, where_event => condition, unless => cancels,
		after => CASE WHEN cancels = '{}' THEN interval '0' ELSE '1 hour' END, send_to => 'none')) FROM generate_series(1, n) i$$;
-- without a condition: a thousand, and the next is refused, whole
SELECT pg_temp.make('plain', 1000, 'Full');
\set SHOW_CONTEXT never
\set VERBOSITY default
SELECT eventmkt.create_rule('over', 'Full', send_to => 'none');
\echo :LAST_ERROR_SQLSTATE
SELECT count(*) FROM eventmkt_data.rule WHERE name = 'over';
SELECT eventmkt.create_rule('over', 'Full', where_event => '$.a == 1', send_to => 'none');
SELECT eventmkt.create_rule('over', 'Other', unless => '{Full}', after => '1 hour', send_to => 'none');
SELECT eventmkt.create_rule('over', '*', send_to => 'none');
SELECT eventmkt.create_rule('over', 'Other', unless => '{*}', after => '1 hour', send_to => 'none');
-- disabled it may be made, and not enabled
SELECT eventmkt.create_rule('over', 'Full', enabled => false, send_to => 'none') > 0 AS made;
SELECT eventmkt.enable_rule('over');
SELECT eventmkt.replace_rule('over', 'Full', enabled => true, send_to => 'none');
SELECT name, enabled, version FROM eventmkt_data.rule WHERE name = 'over';
SELECT eventmkt.replace_rule('over', 'Elsewhere', enabled => true, send_to => 'none') > 0 AS made;
SELECT eventmkt.replace_rule('over', 'Full', send_to => 'none');
-- an edit of one of the thousand is none more, and where one goes another may come
SELECT eventmkt.replace_rule('plain7', 'Full', priority => 1, send_to => 'none') > 0 AS made;
SELECT eventmkt.disable_rule('plain8');
SELECT eventmkt.replace_rule('over', 'Full', send_to => 'none') > 0 AS made;
SELECT eventmkt.enable_rule('plain8');
SELECT eventmkt.drop_rule('over');
SELECT eventmkt.enable_rule('plain8');
-- ten thousand that demand different values are no crowd; a thousand of the same value are, 1 and 1.0 being the same
SELECT count(eventmkt.create_rule('c' || i, 'Hashed', where_event => format('$.category == "c%s"', i)::jsonpath, send_to => 'none'))
  FROM generate_series(1, 1100) i;
SELECT pg_temp.make('one', 600, 'Hashed', '$.n == 1');
SELECT pg_temp.make('uno', 400, 'Hashed', '$.n == 1.0 && $.x > 3');
SELECT eventmkt.create_rule('over', 'Hashed', where_event => '$.n == 1', send_to => 'none');
SELECT eventmkt.create_rule('over', 'Hashed', send_to => 'none');
SELECT eventmkt.create_rule('two', 'Hashed', where_event => '$.n == 2', send_to => 'none') > 0 AS made;
SELECT eventmkt.create_rule('text', 'Hashed', where_event => '$.n == "1"', send_to => 'none') > 0 AS made;
-- a long property and a long value are compared, not stored in an index
SELECT eventmkt.create_rule('long', 'Hashed', where_event => ('$."' || repeat('p', 3500) || '" == "' || repeat('v', 3500) || '"')::jsonpath,
	send_to => 'none') > 0 AS made;
SELECT count(eventmkt.drop_rule(name)) FROM eventmkt_data.rule WHERE current;
-- rules on any event stand beside those on each name
SELECT pg_temp.make('star', 200, '*');
SELECT pg_temp.make('some', 800, 'Some');
SELECT eventmkt.create_rule('over', 'Some', send_to => 'none');
SELECT eventmkt.create_rule('over', '*', send_to => 'none');

-- a condition that multiplies what an event holds takes neither the app's time nor the server's memory
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
SELECT eventmkt.track('u', 'E') > 0 AS seen;
RESET client_min_messages;
SET statement_timeout = '20s';
SELECT eventmkt.create_rule('nested', on_event => 'E', send_to => 'none',
	where_event => 'exists($.a ? (exists($.a ? (exists($.a ? (@.x == 3))))))') > 0 AS made;
SELECT eventmkt.create_rule('product', on_event => 'E', where_event => '$.a == $.b', send_to => 'none') > 0 AS made;
SELECT eventmkt.create_rule('plain', on_event => 'E', where_event => '$.c > 1', send_to => 'none') > 0 AS made;
SELECT r.name, condition IS NOT NULL AS asked_at_once FROM eventmkt_data.rule_event JOIN eventmkt_data.rule r USING (rule_id) ORDER BY r.name;
-- a small event is answered at once, a large one by the worker, within its time limit
SELECT eventmkt.track('small', 'E', '{"a": [1, 2], "b": [2, 3], "c": 1}') > 0 AS ok;
SELECT eventmkt.track('large', 'E', jsonb_build_object('a', jsonb_agg(i), 'b', jsonb_agg(-i) || '[7]', 'c', 1)) > 0 AS ok
	FROM generate_series(1, 800) i;
SELECT w.profile_id, array_agg(r.name ORDER BY r.name) AS rules FROM eventmkt_data.work w
	JOIN eventmkt_data.rule r ON r.rule_id = ANY (w.rules) WHERE profile_id IN ('small', 'large') GROUP BY 1 ORDER BY 1;
SELECT count(eventmkt.run_due()) AS ran;
SELECT profile_id, rule, outcome, reason, facts FROM eventmkt_data.decision WHERE profile_id <> 'u' ORDER BY 1, 2;

-- S17: engine-made events start nothing unless a rule names them, and a circle stops at a stated depth
\set QUIET on
SET client_min_messages = warning;
SELECT count(*) AS init FROM eventmkt.init();
SELECT eventmkt.create_rule('any', on_event => '*', send_to => 'none') AS rule;
SELECT eventmkt.create_rule('named', on_event => 'trait changed', send_to => 'none') AS rule;
SELECT eventmkt.identify('u', '{"a": 1, "b": 2}');
SELECT eventmkt.track('u', 'X') IS NULL AS x;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT rule, count(*) FROM eventmkt_data.decision GROUP BY 1 ORDER BY 1;
SELECT name, depth, count(*) FROM eventmkt_data.event GROUP BY 1, 2 ORDER BY 1;

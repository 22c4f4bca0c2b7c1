-- R14: a delivery keeps the schedule of the moment it was made; what is changed later is for later ones
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
SET eventmkt.allow_plain_http = on;
SET eventmkt.allowed_networks = '127.0.0.0/8';
SELECT eventmkt.create_endpoint('hook', 'http://127.0.0.1:9999/') LIKE 'whsec_%' AS made;
SELECT eventmkt.create_rule('r', on_event => 'E') > 0 AS made;
SELECT eventmkt.track('first', 'E') IS NOT NULL AS x;
SELECT eventmkt.run_due() AS rows;
SELECT eventmkt.replace_endpoint('hook', 'http://127.0.0.1:9999/', schedule => '{1,10}');
SELECT eventmkt.track('second', 'E') IS NOT NULL AS x;
SELECT eventmkt.run_due() AS rows;
SELECT profile_id, schedule, cardinality(schedule) + 1 AS tries, (SELECT sum(s) FROM unnest(schedule) s) / 3600 AS hours FROM eventmkt_data.delivery ORDER BY 1;

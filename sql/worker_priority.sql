-- of what falls due together the rule with the highest priority goes first
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
SET eventmkt.allow_plain_http = on;
SET eventmkt.allowed_networks = '127.0.0.0/8';
SELECT eventmkt.create_endpoint('hooks', 'http://127.0.0.1:9999/') IS NOT NULL AS made;
SELECT eventmkt.create_rule('low', on_event => 'A', after => '1 hour', priority => -5) > 0 AS made;
SELECT eventmkt.create_rule('none', on_event => 'A', after => '1 hour') > 0 AS made;
SELECT eventmkt.create_rule('high', on_event => 'A', after => '1 hour', priority => 100) > 0 AS made;
SELECT eventmkt.create_rule('now low', on_event => 'B', priority => 1) > 0 AS made;
SELECT eventmkt.create_rule('now high', on_event => 'B', priority => 2) > 0 AS made;
SELECT count(eventmkt.track('u' || i, 'A')) FROM generate_series(1, 3) i;
SELECT count(eventmkt.track('u' || i, 'B')) FROM generate_series(1, 2) i;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT eventmkt.advance_clock('1 hour') IS NOT NULL AS moved;
SELECT eventmkt.run_due() > 0 AS ran;
-- where the rows lie is the order in which they were made, and that in which the queue is read
SELECT rule, profile_id, priority FROM eventmkt_data.delivery ORDER BY ctid;
-- it is the version that the run started with that counts
SELECT eventmkt.track('v', 'A') IS NOT NULL AS x;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT eventmkt.replace_rule('low', on_event => 'A', after => '1 hour', priority => 1000) > 0 AS made;
SELECT eventmkt.advance_clock('1 hour') IS NOT NULL AS moved;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT rule, priority FROM eventmkt_data.delivery WHERE profile_id = 'v' ORDER BY ctid;

-- health() does not speak of what somebody meant
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
SELECT count(eventmkt.create_rule('r' || i, on_event => 'E', send_to => 'none')) FROM generate_series(1, 3) i;
SELECT eventmkt.create_rule('born off', on_event => 'E', enabled => false, send_to => 'none') > 0 AS made;
SELECT eventmkt.disable_rule('r1');
SELECT eventmkt.replace_rule('r2', on_event => 'F', enabled => false, send_to => 'none') > 0 AS made;
SELECT name, disabled_reason FROM eventmkt_data.rule WHERE current AND NOT enabled ORDER BY 1;
SELECT * FROM eventmkt.health() WHERE "check" LIKE 'rule%';
-- and does of what nobody did
UPDATE eventmkt_data.rule SET enabled = false, disabled_reason = 'its condition failed 20 times in a row' WHERE name = 'r3';
SELECT "check", state, detail FROM eventmkt.health() WHERE "check" LIKE 'rule%';
SELECT eventmkt.enable_rule('r3');
SELECT * FROM eventmkt.health() WHERE "check" LIKE 'rule%';
-- whole numbers stay what they are, however the session writes others
SET extra_float_digits = -15;
SELECT detail ~ '^made for [0-9]+ days ahead' AS whole FROM eventmkt.health() WHERE "check" = 'partitions';
RESET extra_float_digits;

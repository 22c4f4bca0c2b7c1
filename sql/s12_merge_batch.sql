-- several merges into one person in one pass; and a pass that does not get as far as the merge
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
SELECT eventmkt.create_rule('cart', on_event => 'Added', unless => '{Ordered}', after => '1 day', on_repeat => 'ignore', send_to => 'none') > 0 AS made;
SELECT eventmkt.create_rule('dormant', on_event => '*', after => '1 hour', send_to => 'none', max_lateness => '10 days') > 0 AS made;
RESET client_min_messages;
SELECT count(eventmkt.track(NULL, 'Added', anonymous_id => 'phone' || i)) FROM generate_series(1, 4) i;
SELECT eventmkt.run_due() AS handled;
-- two phones become one person who had no run, a third follows later; the pass sees all merges at once
SELECT eventmkt.identify('u', NULL, 'phone1');
SELECT eventmkt.identify('u', NULL, 'phone2');
SELECT eventmkt.identify('u', NULL, 'phone3');
-- merged, undone and merged again
SELECT eventmkt.identify('u', NULL, 'phone4');
SELECT eventmkt.undo_merge(max(merge_id)) FROM eventmkt_data.merge_log;
SELECT eventmkt.identify('u', NULL, 'phone4');
SELECT count(eventmkt.run_due()) AS ran;
SELECT r.name, p.profile_id, count(*) FROM eventmkt_data.pending_trigger p JOIN eventmkt_data.rule r USING (rule_id) GROUP BY 1, 2 ORDER BY 1, 2;
SELECT rule, outcome, reason, count(*), count(DISTINCT run_id) FROM eventmkt_data.decision GROUP BY 1, 2, 3 ORDER BY 1;
-- a due run of an id whose merge waits behind other work, and the survivor has a run of the same rule
SELECT eventmkt.track(NULL, 'Viewed', anonymous_id => 'tablet') > 0 AS ok;
SELECT eventmkt.run_due() AS handled;
SELECT eventmkt.advance_clock('2 hours') > now() AS moved;
SET eventmkt.fire = off;
SELECT eventmkt.track('u', 'Viewed') > 0 AS ok;
RESET eventmkt.fire;
SELECT count(eventmkt.track('v' || i, 'Viewed')) FROM generate_series(1, 3) i;
SELECT eventmkt.identify('u', NULL, 'tablet');
SELECT count(eventmkt.run_due(n)) AS ran FROM (VALUES (1), (1), (2), (4), (100)) AS v (n);
SELECT p.profile_id, count(*) FROM eventmkt_data.pending_trigger p JOIN eventmkt_data.rule r USING (rule_id) WHERE r.name = 'dormant' GROUP BY 1 ORDER BY 1;
SELECT run_id, count(*) FROM eventmkt_data.decision GROUP BY 1 HAVING count(*) > 1;

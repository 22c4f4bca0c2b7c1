-- thousands of events of one person in one pass: each count is read once, each edge is looked at once
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
SELECT eventmkt.create_rule('window', on_event => 'Viewed', at_least => 3, within => '1 hour', send_to => 'none') > 0 AS made;
SELECT eventmkt.create_rule('ever', on_event => 'Viewed', at_least => 2500, send_to => 'none') > 0 AS made;
SELECT eventmkt.create_rule('nobody', on_event => 'Viewed', at_least => 3, within => '1 hour', where_profile => '$.tier == "gold"',
	send_to => 'none') > 0 AS made;
SELECT eventmkt.create_rule('keyed', on_event => 'Viewed', at_least => 4, within => '1 hour', per => 'p', send_to => 'none') > 0 AS made;
RESET client_min_messages;
-- bursts of five, two hours apart: an edge in each at its third event
CREATE TABLE burst AS SELECT i, date_trunc('hour', eventmkt.clock()) - interval '1000 hours' + (i / 5) * interval '2 hours' + (i % 5) * interval '1 minute' AS at
	FROM generate_series(0, 1999) i;
SELECT eventmkt.track_many(jsonb_agg(jsonb_build_object('user_id', 'u', 'event', 'Viewed', 'occurred_at', at, 'properties',
	jsonb_build_object('p', CASE i % 5 WHEN 2 THEN 'b' ELSE 'a' END)) ORDER BY i)) FROM burst;
SELECT eventmkt.run_due() AS handled;
SELECT rule, outcome, reason, count(*), count(DISTINCT event_id) FROM eventmkt_data.decision GROUP BY 1, 2, 3 ORDER BY 1;
SELECT rule, count(*) AS not_on_its_edge FROM eventmkt_data.decision d JOIN burst b ON d.started_at = b.at
	WHERE b.i % 5 <> CASE rule WHEN 'keyed' THEN 4 ELSE 2 END GROUP BY 1;
-- ten thousand within one window: one edge, found in no time
SET statement_timeout = '30s';
SELECT eventmkt.track_many(jsonb_agg(jsonb_build_object('user_id', 'v', 'event', 'Viewed', 'occurred_at', eventmkt.clock() - i * interval '1 ms',
	'properties', jsonb_build_object('p', 'a')))) FROM generate_series(1, 10000) i;
SELECT eventmkt.run_due(100000) AS handled;
SELECT rule, outcome, reason, count(*) FROM eventmkt_data.decision WHERE profile_id = 'v' GROUP BY 1, 2, 3 ORDER BY 1;
-- ten thousand at one moment, told between others that no rule names: each is looked at once, and no slower than at moments of their own
SELECT eventmkt.create_rule('each', on_event => 'Same', where_profile => '$.tier == "gold"', send_to => 'none') > 0 AS made;
CREATE TABLE pace AS SELECT NULL::text AS who, 0.0::float8 AS seconds WHERE false;
DO $$
DECLARE
	who text;
	began timestamptz;
	moment timestamptz = eventmkt.clock() - interval '1 hour';
BEGIN
	FOR try IN 1 .. 2 LOOP
		FOREACH who IN ARRAY ARRAY['apart', 'together'] LOOP
			PERFORM eventmkt.track_many(jsonb_agg(jsonb_build_object('user_id', who || try, 'event', CASE i % 2 WHEN 0 THEN 'Same' ELSE 'Other' END,
				'occurred_at', CASE who WHEN 'apart' THEN moment + i * interval '1 ms' ELSE moment END, 'properties', jsonb_build_object('i', i))))
				FROM generate_series(1, 20000) i;
			began := clock_timestamp();
			PERFORM eventmkt.run_due(100000);
			INSERT INTO pace VALUES (who, extract(epoch FROM clock_timestamp() - began));
		END LOOP;
	END LOOP;
END $$;
SELECT profile_id, outcome, reason, count(*), count(DISTINCT event_id) FROM eventmkt_data.decision WHERE rule = 'each' GROUP BY 1, 2, 3 ORDER BY 1;
SELECT min(seconds) FILTER (WHERE who = 'together') < 3 * min(seconds) FILTER (WHERE who = 'apart') AS as_fast FROM pace;

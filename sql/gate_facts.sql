-- who is outside the audience learns from the decision with which traits, when the run starts and when it is due (S19)
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
SELECT eventmkt.create_rule('gold', on_event => 'A', where_profile => '$.tier == "gold"', after => '1 hour', send_to => 'none') > 0 AS made;
SELECT eventmkt.create_rule('dated', on_event => 'A', where_profile => '$.day.datetime() > "2026-01-01".datetime()', send_to => 'none') > 0 AS made;
SELECT eventmkt.identify('silver', '{"tier": "silver", "day": "never"}'), eventmkt.identify('fallen', '{"tier": "gold", "day": "2027-01-01"}');
SELECT eventmkt.identify('large', jsonb_build_object('tier', 'none', 'noise', (SELECT jsonb_agg(i) FROM generate_series(1, 1000) i)));
SELECT count(eventmkt.track(who, 'A')) FROM unnest('{silver,fallen,large,nobody}'::text[]) who;
SELECT eventmkt.run_due() AS rows;
SELECT eventmkt.identify('fallen', '{"tier": "silver"}');
SELECT eventmkt.advance_clock('1 hour') IS NOT NULL AS moved;
SELECT eventmkt.run_due() AS rows;
SELECT rule, profile_id, outcome, reason, facts FROM eventmkt_data.decision ORDER BY rule, profile_id COLLATE "C";

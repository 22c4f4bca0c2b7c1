-- a session of a bulk load, whose triggers do not fire (session_replication_role = replica): what our own functions do there is whole, and
-- caches, members and timelines follow as everywhere; the session has its setting back
SET client_min_messages = error;
SET session_replication_role = replica;
SELECT state AS instance FROM eventmkt.init() WHERE step = 'instance';
SELECT eventmkt.track('warm', 'Warm') IS NOT NULL AS cached;
SELECT eventmkt.create_rule('told', on_event => 'Told', send_to => 'none') > 0 AS made;
SELECT eventmkt.track('u1', 'Told') IS NOT NULL AS tracked;
SELECT eventmkt.run_due() AS handled;
SELECT profile_id, outcome FROM eventmkt_data.decision WHERE rule = 'told';
-- members of a segment
SELECT eventmkt.create_segment('gold', where_profile => '$.tier == "gold"', track_membership => true) > 0 AS made;
SELECT eventmkt.run_due() >= 0 AS filled;
SELECT eventmkt.identify('u2', '{"tier": "gold"}');
SELECT eventmkt.run_due() >= 0 AS weighed;
SELECT profile_id FROM eventmkt_bi.members WHERE segment = 'gold';
-- two who become one, in a timeline that was packed before
SELECT eventmkt.keep_timelines();
SELECT eventmkt.track('a1', 'Old', occurred_at => pg_catalog.now() - interval '5 days') IS NOT NULL AS tracked;
SELECT eventmkt.pack_timelines() >= 0 AS packed;
SELECT eventmkt.identify('u3', '{}', 'a1');
SELECT eventmkt.track(NULL, 'New', anonymous_id => 'a1') IS NOT NULL AS tracked;
SELECT profile_id FROM eventmkt_data.event WHERE name = 'New';
SELECT eventmkt.run_due() >= 0 AS merged;
SELECT eventmkt.pack_timelines() >= 0 AS packed;
SELECT profile_id, eventmkt.count(t) FROM eventmkt_bi.profile_timelines WHERE profile_id IN ('a1', 'u3');
-- somebody who was erased
SELECT count(*) > 0 AS erased FROM eventmkt.erase('u1');
SELECT eventmkt.track('u1', 'Told');
SHOW session_replication_role;

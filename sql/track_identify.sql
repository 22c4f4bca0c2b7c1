-- identify(): traits, their events, and whose an anonymous id is
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
RESET client_min_messages;
CREATE FUNCTION pg_temp.new_events() RETURNS TABLE (profile_id text, name text, properties jsonb, depth smallint) LANGUAGE sql AS $$
	WITH gone AS (DELETE FROM eventmkt_data.event RETURNING *)
	SELECT profile_id, name, properties, depth FROM gone ORDER BY event_id $$;
CREATE VIEW pg_temp.people AS SELECT profile_id, traits, identified,
	ARRAY(SELECT alias FROM eventmkt_data.alias a WHERE a.profile_id = p.profile_id ORDER BY alias) AS aliases
  FROM eventmkt_data.profile p ORDER BY profile_id;
-- traits are set at the top level; each change is an event
SELECT eventmkt.identify('u', '{"name": "Ann", "address": {"city": "Bonn", "zip": "1"}, "n": 1}');
SELECT * FROM pg_temp.new_events();
SELECT eventmkt.identify('u', '{"address": {"city": "Rome"}, "name": null, "never": null}');
SELECT * FROM pg_temp.new_events();
TABLE pg_temp.people;
-- an unchanged write writes nothing and fires nothing; 1 is 1.0
SELECT xmin AS row_before FROM eventmkt_data.profile WHERE profile_id = 'u' \gset
SELECT eventmkt.identify('u', '{"n": 1.0, "address": {"city": "Rome"}, "gone": null}'), eventmkt.identify('u'), eventmkt.identify('u', NULL);
SELECT xmin = :row_before AS same_row FROM eventmkt_data.profile WHERE profile_id = 'u';
SELECT * FROM pg_temp.new_events();
SELECT count(*) FROM eventmkt_data.trait_change;
-- but a changed one does
SELECT eventmkt.identify('u', '{"n": "1"}');
SELECT * FROM pg_temp.new_events();
-- a trait that is written twice in one call has its last value
SELECT eventmkt.identify('u', '{"n": 5, "n": 6}');
SELECT * FROM pg_temp.new_events();
-- a rolled-back identify leaves nothing
BEGIN;
SELECT eventmkt.identify('v', '{"a": 1}', 'anon v');
ROLLBACK;
SELECT count(*) FROM eventmkt_data.profile WHERE profile_id = 'v';
SELECT * FROM pg_temp.new_events();

-- S12: the anonymous id becomes the user's, with its past and its traits
SELECT eventmkt.track(NULL, 'Product Viewed', anonymous_id => 'phone') IS NOT NULL AS ok;
SELECT eventmkt.identify(NULL, '{"utm": "mail", "name": "?"}', 'phone');
TABLE pg_temp.people;
SELECT eventmkt.identify('u', '{"name": "Ann"}', 'phone');
TABLE pg_temp.people;
SELECT * FROM pg_temp.new_events();
SELECT kind, profile_id FROM eventmkt_data.work;
-- again: nothing to do
SELECT eventmkt.identify('u', '{}', 'phone'), eventmkt.identify('phone', '{}', 'u'), eventmkt.identify('u', '{}', 'u');
SELECT count(*) FROM eventmkt_data.merge_log;
-- both ids given to track() store under the user and merge nothing
SELECT eventmkt.track('u', 'Seen', anonymous_id => 'tablet') IS NOT NULL AS ok;
SELECT profile_id, name FROM pg_temp.new_events();
SELECT count(*) FROM eventmkt_data.alias WHERE alias = 'tablet';
-- a shared device: the second user does not get the first one's past
SELECT eventmkt.identify('w', '{"name": "Bob"}', 'phone');
SELECT eventmkt.identify('w', '{}', 'phone');
SELECT eventmkt.track(NULL, 'Seen', anonymous_id => 'phone') IS NOT NULL AS ok;
TABLE pg_temp.people;
SELECT profile_id, name FROM pg_temp.new_events() WHERE name = 'Seen';
-- one user's id as another's anonymous id
SELECT eventmkt.identify('w', '{}', 'u');
SELECT from_id, into_id, refused FROM eventmkt_data.merge_log ORDER BY merge_id;
-- a user may have many devices
SELECT eventmkt.identify('w', '{}', 'laptop'), eventmkt.identify('w', '{}', 'tv');
SELECT profile_id, aliases FROM pg_temp.people;
-- alias() joins what identify() keeps apart
SELECT eventmkt.alias('w', 'u');
TABLE pg_temp.people;
-- ids that stand for nobody: a profile perhaps, but nothing merges
SELECT eventmkt.identify('x', '{"a": 1}', 'anonymous');
SELECT eventmkt.identify('null', '{"a": 1}', 'phone 2');
SELECT eventmkt.identify('x', '{"a": 1}', '');
SELECT profile_id, aliases FROM pg_temp.people;

-- rules: a rule that names 'trait changed' sees it, a rule for any event does not
SELECT profile_id FROM pg_temp.new_events() WHERE false;
DELETE FROM eventmkt_data.work;
SET client_min_messages = error;
SELECT eventmkt.create_rule('upgraded', on_event => 'trait changed', where_event => '$.trait == "tier" && $.new == "gold"',
	send_to => 'none') IS NOT NULL AS named, eventmkt.create_rule('anything', on_event => '*', send_to => 'none') IS NOT NULL AS starred;
RESET client_min_messages;
SELECT eventmkt.identify('r', '{"tier": "silver"}'), eventmkt.identify('r', '{"tier": "gold"}'), eventmkt.identify('r', '{"tier": "gold"}');
SELECT w.profile_id, e.properties, ARRAY(SELECT r.name FROM eventmkt_data.rule r WHERE r.rule_id = ANY (w.rules)) AS rules
  FROM eventmkt_data.work w JOIN eventmkt_data.event e USING (event_id);
-- loading history fires nothing, and is history
SET eventmkt.fire = off;
SELECT eventmkt.identify('r2', '{"tier": "gold"}');
RESET eventmkt.fire;
SELECT count(*) FROM eventmkt_data.work WHERE profile_id = 'r2';
SELECT name, properties FROM pg_temp.new_events() WHERE profile_id = 'r2';

-- errors
SELECT eventmkt.identify(NULL);
SELECT eventmkt.identify('');
SELECT eventmkt.identify(NULL, '{}', '');
SELECT eventmkt.identify('u', '[1]');
SELECT eventmkt.identify('u', '"text"');
SELECT eventmkt.identify('u', 'null');
SELECT eventmkt.identify(repeat('x', 513));
SELECT eventmkt.identify('u', '{}', repeat('x', 513));
SELECT eventmkt.identify('u', jsonb_build_object('a', repeat('x', 262144)));
SELECT eventmkt.identify('y', (repeat('{"a":', 64) || '1' || repeat('}', 64))::jsonb);
SELECT eventmkt.identify('y', (repeat('{"a":', 65) || '1' || repeat('}', 65))::jsonb);
-- the limit is on what the profile has in all
SELECT eventmkt.identify('z', jsonb_build_object('a', repeat('x', 150000)));
SELECT eventmkt.identify('z', jsonb_build_object('b', repeat('x', 150000)));
SELECT eventmkt.identify('z', jsonb_build_object('a', repeat('y', 150000)));
SELECT profile_id, name, properties FROM pg_temp.new_events() WHERE length(properties::text) < 100;

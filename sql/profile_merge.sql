-- two profiles become one, and apart again
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
RESET client_min_messages;
CREATE VIEW pg_temp.people AS SELECT profile_id, traits, identified,
	ARRAY(SELECT alias FROM eventmkt_data.alias a WHERE a.profile_id = p.profile_id ORDER BY alias) AS aliases
  FROM eventmkt_data.profile p ORDER BY profile_id;
CREATE VIEW pg_temp.merges AS SELECT merge_id, from_id, into_id, detail - 'created_at' AS detail, refused, undone_at IS NOT NULL AS undone
  FROM eventmkt_data.merge_log ORDER BY merge_id;
-- the survivor's traits win, it gains what it lacks
SELECT eventmkt.identify('old', '{"name": "Ann", "city": "Bonn", "deep": {"a": [1, null]}}');
SELECT eventmkt.identify('new', '{"name": "Anne", "tier": "gold"}');
SELECT eventmkt.alias('old', 'new');
TABLE pg_temp.people;
TABLE pg_temp.merges;
-- again: nothing left to do
SELECT eventmkt.alias('old', 'new'), eventmkt.alias('new', 'old'), eventmkt.alias('new', 'new');
SELECT count(*) FROM pg_temp.merges;
-- the merge is left for the worker, by the id that was merged away
SELECT kind, event_id, profile_id, rules FROM eventmkt_data.work;
-- a chain of merges stays flat; an id that is an alias stands for its profile
SELECT eventmkt.alias('older', 'old');
SELECT eventmkt.alias('new', 'newest');
SELECT eventmkt.identify('older', '{"via": "older"}');
TABLE pg_temp.people;
-- the history says what was known when
SELECT trait, old_value, new_value FROM eventmkt_data.trait_change WHERE profile_id = 'newest' ORDER BY changed_at, trait;
SELECT eventmkt.traits_at('older', eventmkt.clock()) = (SELECT traits FROM eventmkt_data.profile WHERE profile_id = 'newest') AS same;
SELECT eventmkt.traits_at('newest', '2000-01-01'), eventmkt.traits_at('nobody', eventmkt.clock());

-- undo: new gets back its ids and traits; what newest gained goes, except what was set since
SELECT eventmkt.identify('newest', '{"city": "Rome"}');
SELECT eventmkt.undo_merge(3);
TABLE pg_temp.people;
SELECT eventmkt.traits_at('newest', eventmkt.clock());
SELECT eventmkt.undo_merge(3);
SELECT eventmkt.undo_merge(99);
-- out of order: older is newest's again only where it still belongs there
SELECT eventmkt.undo_merge(1);
TABLE pg_temp.people;
SELECT eventmkt.undo_merge(2);
TABLE pg_temp.people;
SELECT merge_id, undone FROM pg_temp.merges;
-- what was parted may be merged again
SELECT eventmkt.alias('old', 'new');
SELECT profile_id, aliases FROM pg_temp.people;

-- events keep their ids over merge and undo
SELECT eventmkt.track('e1', 'Before') IS NOT NULL AS ok, eventmkt.alias('e1', 'e2');
SELECT eventmkt.track('e1', 'Between') IS NOT NULL AS ok;
SELECT eventmkt.undo_merge((SELECT max(merge_id) FROM eventmkt_data.merge_log));
SELECT eventmkt.track('e1', 'After') IS NOT NULL AS ok;
SELECT name, profile_id FROM eventmkt_data.event WHERE name IN ('Before', 'Between', 'After') ORDER BY event_id;
-- the parts of a merge whose other side was merged away since
SELECT eventmkt.alias('f1', 'f2'), eventmkt.alias('f2', 'f3');
SELECT eventmkt.undo_merge((SELECT merge_id FROM eventmkt_data.merge_log WHERE from_id = 'f1'));
SELECT eventmkt.undo_merge((SELECT merge_id FROM eventmkt_data.merge_log WHERE from_id = 'f2'));
SELECT profile_id, aliases FROM pg_temp.people WHERE profile_id ~ '^f';

-- ids that stand for nobody never merge
SELECT eventmkt.alias('null', 'new');
SELECT eventmkt.alias('new', 'Undefined');
SELECT eventmkt.alias('', 'new');
SET client_min_messages = error;
SELECT id, eventmkt.alias(id, 'someone') FROM unnest(ARRAY['', ' ', 'NULL', '0', '000', '00000000-0000-0000-0000-000000000000', '-1',
	'N/A', 'n/a', 'Anonymous', 'guest', 'GUEST', ' none ', 'undefined', '[object Object]', 'true', 'unknown', 'nil', '-',
	'ffffffff-ffff-ffff-ffff-ffffffffffff']) id;
SELECT count(*) FROM eventmkt_data.alias WHERE profile_id = 'someone';
-- close to them, but ids
SELECT id, eventmkt.alias(id, 'someone') FROM unnest(ARRAY['00000000-0000-0000-0000-000000000001', 'nullo', '10', 'guest7', '0x', 'a0']) id;
SELECT count(*) FROM eventmkt_data.alias WHERE profile_id = 'someone';
RESET client_min_messages;

-- limits and bad input
INSERT INTO eventmkt_data.alias SELECT 'device ' || i, 'crowd', '2026-01-01' FROM generate_series(1, 9999) i;
SELECT eventmkt.alias('device 10000', 'crowd');
SELECT eventmkt.alias('device 10001', 'crowd');
SELECT eventmkt.alias('crowd', 'someone');
SELECT count(*) FROM eventmkt_data.alias WHERE profile_id = 'crowd';
SELECT eventmkt.alias(repeat('x', 513), 'u');
SELECT eventmkt.alias('u', repeat('x', 513));
SELECT eventmkt.alias('u', '');
SELECT eventmkt.alias(NULL, 'u');
SELECT eventmkt.alias('u', NULL);
SELECT eventmkt.undo_merge(NULL);
SELECT eventmkt.traits_at(NULL, 'now'), eventmkt.traits_at('u', NULL);
SELECT eventmkt.identify('big1', jsonb_build_object('a', repeat('x', 200000)));
SELECT eventmkt.identify('big2', jsonb_build_object('b', repeat('x', 200000)));
SELECT eventmkt.alias('big1', 'big2');

-- erase(), unerase(), export(): a person leaves with everything (R59), or is given everything (R60)
SET client_min_messages = error;
SET timezone = 'UTC';
SELECT count(*) > 0 AS init FROM eventmkt.init();
SET ROLE eventmkt;
INSERT INTO eventmkt_data.endpoint (endpoint_id, name, url, schedule, created_at) VALUES (1, 'mail', 'http://127.0.0.1:1/', '{5}', '2026-01-01');
RESET ROLE;
SELECT eventmkt.create_rule('cart', on_event => 'Product Added', after => '1 day', per => 'cart', send_to => 'mail') AS rule,
	eventmkt.create_rule('now', on_event => 'Order', send_to => 'mail') AS now, eventmkt.create_rule('note', on_event => 'Seen', send_to => 'none') AS note;

-- ---- a person with two ids, and somebody else
SELECT eventmkt.track(NULL, 'Seen', anonymous_id => 'phone') > 0 AS ok;
SELECT eventmkt.identify('ada', '{"tier": "gold"}', 'phone'), eventmkt.identify('ada', '{"tier": "silver"}');
SELECT count(eventmkt.track(u, e, '{"cart": "c1"}', message_id => u || e)) FROM unnest('{ada,bob}'::text[]) u, unnest('{Product Added,Order,Seen}'::text[]) e;
SELECT eventmkt.run_due() > 0 AS worked;
SELECT (SELECT count(*) FROM eventmkt_data.pending_trigger) AS runs, (SELECT count(*) FROM eventmkt_data.delivery) AS deliveries,
	(SELECT count(*) FROM eventmkt_data.decision) AS decisions;
CREATE TEMP TABLE before AS SELECT rule, live_runs, delivered, cancelled, recorded FROM eventmkt_bi.rules;

-- what is given is what there is, by any of the ids
SELECT x.key, jsonb_array_length(x.value) AS rows FROM jsonb_each(eventmkt.export('phone')) x WHERE jsonb_array_length(x.value) > 0 ORDER BY 1;
SELECT eventmkt.export('phone') = eventmkt.export('ada') AS same, eventmkt.export('ada')->'ids' AS ids,
	(SELECT array_agg(e->>'name' ORDER BY (e->>'event_id')::bigint) FROM jsonb_array_elements(eventmkt.export('ada')->'event') e) AS events;
SELECT (SELECT count(*) FROM eventmkt_data.event WHERE profile_id IN ('ada', 'phone')) =
	jsonb_array_length(eventmkt.export('ada')->'event') AS events,
	(SELECT count(*) FROM eventmkt_data.trait_change WHERE profile_id IN ('ada', 'phone')) =
	jsonb_array_length(eventmkt.export('ada')->'trait_change') AS traits;
SELECT action, by_role = session_user AS by_me, counts, finished_at IS NOT NULL AS finished FROM eventmkt_data.privacy_log ORDER BY log_id LIMIT 1;
SELECT count(*) FROM jsonb_each(eventmkt.export('nobody known')) x WHERE jsonb_array_length(x.value) > 0 AND x.key <> 'ids';

-- erased by one of the ids: all of hers, nothing of his
SELECT * FROM eventmkt.erase('phone') WHERE rows > 0 ORDER BY 1;
SELECT profile_id, name FROM eventmkt_data.event ORDER BY event_id;
SELECT profile_id, rule, outcome, reason, key, facts, event_id IS NULL AS no_event FROM eventmkt_data.decision ORDER BY profile_id, rule, decision_id;
-- what reports count: her waiting run and message are cancelled, what was decided stays
SELECT b.rule, b.live_runs AS runs_before, r.live_runs, b.cancelled AS cancelled_before, r.cancelled, b.recorded AS recorded_before, r.recorded
  FROM before b JOIN eventmkt_bi.rules r USING (rule) ORDER BY 1;
-- a second look, once the transactions of then have ended
SELECT eventmkt.finish_erasures() AS left;
DO $$ BEGIN FOR i IN 1..300 LOOP EXIT WHEN eventmkt.finish_erasures() = 0; COMMIT; PERFORM pg_sleep(0.1); END LOOP; END $$;
SELECT count(*) FROM eventmkt_data.erasing;
SELECT action, counts, finished_at IS NOT NULL AS finished FROM eventmkt_data.privacy_log WHERE action = 'erase';

-- nothing more is taken for any of the ids, by any door; the error names nobody
SELECT eventmkt.track('ada', 'Seen');
\echo :SQLSTATE
SELECT eventmkt.track(NULL, 'Seen', anonymous_id => 'phone');
SELECT eventmkt.track('eve', 'Seen', anonymous_id => 'phone');
SELECT eventmkt.track_many('[{"user_id": "bob", "event": "Seen"}, {"user_id": "ada", "event": "Seen"}]');
SELECT eventmkt.identify('ada', '{"tier": "gold"}');
SELECT eventmkt.identify('eve', '{}', 'phone');
SELECT eventmkt.alias('phone', 'eve');
SELECT eventmkt.ingest('{"type": "track", "userId": "ada", "event": "Seen"}');
SELECT eventmkt.ingest('{"type": "identify", "userId": "ada", "traits": {"a": 1}}');
INSERT INTO eventmkt_data.inbox (user_id, event) VALUES ('ada', 'Seen');
SELECT count(*) FROM eventmkt_data.profile WHERE profile_id IN ('ada', 'phone', 'eve');
SELECT eventmkt.track('bob', 'Seen') > 0 AS others;
-- until an operator says so; nothing comes back
SELECT eventmkt.unerase('ada') AS ids, eventmkt.unerase('ada') AS again;
SELECT eventmkt.track('ada', 'Seen') > 0 AS taken, eventmkt.track(NULL, 'Seen', anonymous_id => 'phone') > 0 AS phone;
SELECT array_agg(DISTINCT profile_id ORDER BY profile_id) FROM eventmkt_data.event WHERE profile_id <> 'bob';
-- ids that stand for nobody
SELECT eventmkt.erase('anonymous');
SELECT eventmkt.erase(NULL);
SELECT eventmkt.export('');

-- ---- a canary in everything: every table with a column that names a person gets a row of hers with it in each column
CREATE FUNCTION public.plant() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	t record;
BEGIN
	FOR t IN
		SELECT c.oid::regclass AS rel, string_agg(quote_ident(a.attname), ', ') AS cols, string_agg(CASE
			WHEN a.attname IN ('profile_id', 'user_id', 'from_id', 'into_id', 'fill_at') THEN quote_literal('canary person')
			WHEN a.attname = 'alias' THEN quote_literal('canary alias')
			WHEN a.attname = 'status' AND a.atttypid = 'text'::regtype THEN quote_literal('retrying')
			WHEN a.attname IN ('rule', 'event_name') THEN quote_literal('name')
			WHEN a.attname = 'outcome' THEN quote_literal('held')
			WHEN a.attname = 'state' THEN quote_literal('waiting')
			WHEN a.attname IN ('was', 'fill', 'undone_at', 'conflict_of') THEN 'NULL'
			WHEN a.atttypid = 'text'::regtype THEN quote_literal('canary 1 ' || a.attname)
			WHEN a.atttypid = 'jsonb'::regtype THEN quote_literal('{"x": "canary"}')
			WHEN a.atttypid = 'text[]'::regtype THEN quote_literal('{canary}')
			WHEN a.atttypid = 'int[]'::regtype THEN quote_literal('{1}')
			WHEN a.atttypid = 'uuid'::regtype THEN quote_literal('00000000-0000-0000-0000-000000000001')
			WHEN a.atttypid IN ('timestamptz'::regtype, 'date'::regtype) THEN quote_literal('2026-01-01')
			WHEN a.atttypid = 'bytea'::regtype THEN quote_literal('canary')
			WHEN a.atttypid = 'bool'::regtype THEN 'false'
			WHEN a.atttypid = '"char"'::regtype THEN quote_literal('e')
			WHEN a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) THEN '77'
			ELSE 'NULL' END, ', ') AS vals
		  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
		 WHERE c.relnamespace = 'eventmkt_data'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
		   AND EXISTS (SELECT FROM pg_attribute p WHERE p.attrelid = c.oid AND (p.attname IN ('profile_id', 'user_id', 'from_id', 'alias')
				OR (c.relname, p.attname) IN (('attempt', 'delivery_id'), ('segment_state', 'fill_at'))))
		 GROUP BY c.oid ORDER BY c.relname COLLATE "C"
	LOOP
		EXECUTE format('INSERT INTO %s (%s) VALUES (%s)', t.rel, t.cols, t.vals);
		RETURN NEXT t.rel::text;
	END LOOP;
END $$;
-- a text of every row that holds the canary, in plain or as bytes
CREATE FUNCTION public.canaries() RETURNS TABLE (rel text, n bigint) LANGUAGE plpgsql AS $$
BEGIN
	FOR rel IN SELECT c.oid::regclass FROM pg_class c WHERE c.relnamespace = 'eventmkt_data'::regnamespace AND c.relkind = 'r'
		ORDER BY c.relname COLLATE "C"
	LOOP
		EXECUTE format('SELECT count(*) FROM %s whole WHERE whole::text ~* ''canary|63616e617279''', rel) INTO n;
		IF n > 0 THEN RETURN NEXT; END IF;
	END LOOP;
END $$;
-- segment 77 and its line to the endpoint, through which tables keyed by them are found
SET ROLE eventmkt;
INSERT INTO eventmkt_data.segment (segment_id, name, kind, definition, view_query, all_of, any_of, none_of, owner, created_at, changed_at)
	VALUES (77, 'seg', 'traits', '{}', 'SELECT profile_id FROM eventmkt_data.profile', '{}', '{}', '{}', 'x', '2026-01-01', '2026-01-01');
INSERT INTO eventmkt_data.segment_sync (sync_id, segment_id, endpoint_id, created_at) VALUES (77, 77, 1, '2026-01-01');
RESET ROLE;
SELECT string_agg(plant, ', ') FROM public.plant();
-- a message about many people names her too
INSERT INTO eventmkt_data.delivery (id, node, run_id, rule_id, rule, rule_version, profile_id, key, endpoint_id, status, next_attempt_at, schedule, body,
	event_id, started_at, received_at, run_created_at, due_at, created_at, depth)
SELECT '00000000-0000-0000-0000-000000000002', 0, 0, 0, 'segment.members', 0, '', 'seg', 1, 'dead', now(), '{5}',
	'{"type": "segment.members", "data": {"segment": "seg", "added": ["bob", "canary person"], "removed": ["canary alias", "canary persona"]}}',
	0, now(), now(), now(), now(), now(), 9;
-- tables that are not about people, and so got no row. A table that is new here has no text about people, or erase() knows it: see the list above
SELECT string_agg(c.relname, ', ' ORDER BY c.relname COLLATE "C") FROM pg_class c WHERE c.relnamespace = 'eventmkt_data'::regnamespace
   AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relname NOT IN (SELECT regexp_replace(rel, '^eventmkt_data\.|_default$', '', 'g') FROM public.canaries());
SELECT members FROM eventmkt_data.segment_state WHERE segment_id = 77;
SELECT string_agg(table_name || ' ' || rows, ', ' ORDER BY table_name COLLATE "C") FROM eventmkt.erase('canary alias') WHERE rows > 0;
SELECT * FROM public.canaries();
SELECT body FROM eventmkt_data.delivery WHERE rule_id = 0;
SELECT eventmkt.finish_erasures() AS left;
DO $$ BEGIN FOR i IN 1..300 LOOP EXIT WHEN eventmkt.finish_erasures() = 0; COMMIT; PERFORM pg_sleep(0.1); END LOOP; END $$;
SELECT count(*) FROM eventmkt_data.erasing;
DELETE FROM eventmkt_data.delivery WHERE rule_id = 0;	-- it names "canary persona", who is somebody else
SELECT * FROM public.canaries();
SELECT members FROM eventmkt_data.segment_state WHERE segment_id = 77;

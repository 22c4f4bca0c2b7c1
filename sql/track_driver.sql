-- drivers bind text: as the type of nobody in particular (libpq, node, psycopg), or as text and varchar (JDBC)
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
PREPARE unknown AS SELECT eventmkt.track($1, $2, $3::jsonb) IS NOT NULL AS tracked;
EXECUTE unknown('u', 'Seen', '{"sku": "mug"}');
PREPARE texts(text, text, text) AS SELECT eventmkt.track($1, $2, $3::jsonb) IS NOT NULL AS tracked;
EXECUTE texts('u', 'Seen', '{"sku": "cup"}');
PREPARE varchars(varchar, varchar, varchar) AS SELECT eventmkt.track($1, $2, $3::jsonb) IS NOT NULL AS tracked;
EXECUTE varchars('u', 'Seen', '{"sku": "jug"}');
PREPARE six(varchar, varchar, varchar, varchar, varchar, varchar) AS
	SELECT eventmkt.track($1, $2, $3::jsonb, $4::timestamptz, $5, $6) IS NOT NULL AS tracked;
EXECUTE six('u', 'Seen', '{"sku": "pot"}', '2026-01-01 00:00Z', 'm1', 'a1');
EXECUTE six(NULL, 'Seen', '{}', NULL, NULL, 'a1');
PREPARE who(varchar, varchar, varchar) AS SELECT eventmkt.identify($1, $2::jsonb, $3);
EXECUTE who('u', '{"tier": "gold"}', 'a1');
PREPARE many(varchar) AS SELECT eventmkt.track_many($1::jsonb);
EXECUTE many('[{"user_id": "u", "event": "Seen"}]');
PREPARE segment(varchar) AS SELECT eventmkt.ingest($1::jsonb) > 0 AS stored;
EXECUTE segment('{"type": "track", "userId": "u", "event": "Seen"}');
PREPARE rule(varchar, varchar, varchar, varchar) AS
	SELECT eventmkt.create_rule($1, $2, where_event => $3::jsonpath, after => $4::interval, send_to => 'none') > 0 AS made;
EXECUTE rule('r', 'Seen', '$.sku == "mug"', '1 hour');
PREPARE raw(varchar, varchar, varchar) AS INSERT INTO eventmkt_data.inbox (user_id, event, properties) VALUES ($1, $2, $3::jsonb);
EXECUTE raw('u', 'Seen', '{}');
SELECT count(*), count(DISTINCT properties ->> 'sku') FROM eventmkt_data.event WHERE name = 'Seen';

-- a statement on the inbox inside another: what its subtransaction takes back is not stored, the outer's rows are
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
RESET client_min_messages;
CREATE FUNCTION inner_rows(i int, zero_at int) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	BEGIN
		INSERT INTO eventmkt_data.inbox (user_id, event) SELECT 'inner' || i, 'I' || 1 / (g - zero_at) FROM generate_series(1, 2) g;
	EXCEPTION WHEN division_by_zero THEN NULL;
	END;
	RETURN 'outer' || i;
END $$;
INSERT INTO eventmkt_data.inbox (user_id, event) SELECT inner_rows(i, 2), 'O' FROM generate_series(1, 3) i;
SELECT profile_id, name FROM eventmkt_data.event ORDER BY event_id;
TRUNCATE eventmkt_data.event;
-- the inner one stays: both are stored
INSERT INTO eventmkt_data.inbox (user_id, event) SELECT inner_rows(i, 0), 'O' FROM generate_series(1, 2) i;
SELECT profile_id, name FROM eventmkt_data.event ORDER BY profile_id, name;
TRUNCATE eventmkt_data.event;
-- the outer one is taken back after the inner one was stored: nothing stays; then the session goes on
DO $$
BEGIN
	INSERT INTO eventmkt_data.inbox (user_id, event) SELECT inner_rows(i, 0), CASE i WHEN 3 THEN '*' ELSE 'O' END FROM generate_series(1, 3) i;
EXCEPTION WHEN invalid_parameter_value THEN RAISE NOTICE 'taken back';
END $$;
INSERT INTO eventmkt_data.inbox (user_id, event) VALUES ('after', 'A');
SELECT profile_id, name FROM eventmkt_data.event ORDER BY event_id;
-- a buffer that is full inside
INSERT INTO eventmkt_data.inbox (user_id, event) SELECT CASE WHEN i % 1900 = 0 THEN inner_rows(i, 2) ELSE 'u' END, 'Many'
	FROM generate_series(1, 6000) i;
SELECT name, count(*) FROM eventmkt_data.event WHERE name = 'Many' OR profile_id LIKE 'inner_900' GROUP BY 1;

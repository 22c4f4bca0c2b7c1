-- a trigger of somebody's own on the events looks up people while an event is told: whose it is stays what it was
\set QUIET on
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
SELECT eventmkt.create_rule('now', on_event => 'Now', send_to => 'none');
SELECT eventmkt.identify('person first', '{}', 'the alias first');
CREATE FUNCTION public.also() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.name = 'Now' THEN
		PERFORM eventmkt.identify('person of ' || NEW.event_id, '{}', 'alias of ' || NEW.event_id);
		PERFORM eventmkt.track(NULL, 'Other', anonymous_id => 'alias of ' || NEW.event_id);
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER also AFTER INSERT ON eventmkt_data.event FOR EACH ROW EXECUTE FUNCTION public.also();
\set QUIET off
SELECT count(eventmkt.track(NULL, 'Now', anonymous_id => 'the alias first')) FROM generate_series(1, 5);
SELECT eventmkt.track_many((SELECT jsonb_agg(jsonb_build_object('anonymous_id', 'the alias first', 'event', 'Now')) FROM generate_series(1, 3)));
SELECT profile_id, count(*) FROM eventmkt_data.event WHERE name = 'Now' GROUP BY 1;
SELECT profile_id, count(*) FROM eventmkt_data.work WHERE kind = 'e' GROUP BY 1;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT profile_id, outcome, count(*) FROM eventmkt_data.decision GROUP BY 1, 2;
SELECT count(DISTINCT profile_id) AS others, count(*) FROM eventmkt_data.event WHERE name = 'Other' AND profile_id LIKE 'person of %';

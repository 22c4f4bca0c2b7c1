-- questions within questions: a trigger of somebody's own in the middle of a turn, a query segment that asks another one
\set QUIET on
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
SELECT eventmkt.create_segment('active', on_event => 'E', within => '30 days', track_membership => true);
SELECT eventmkt.create_segment('regular', on_event => 'E', at_least => 2, within => '20 days', track_membership => true);
SELECT eventmkt.create_segment('old', on_event => 'E', within => '300 days');
SELECT eventmkt.create_rule('of old', on_event => 'E', where_segment => 'old', send_to => 'none');
SELECT eventmkt.create_rule('told', on_event => 'Segment Entered', send_to => 'none');
-- nobody is told of while they are filled
SELECT count(*) FROM generate_series(1, 5) i, LATERAL (SELECT eventmkt.run_due() WHERE i > 0) r;
CREATE FUNCTION public.asks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM count(*) FROM eventmkt.backtest('of old', now() - interval '1 day', now() + interval '1 day');
	PERFORM eventmkt.run_due();
	RETURN NULL;
END $$;
CREATE TRIGGER asks AFTER INSERT ON eventmkt_data.membership FOR EACH ROW EXECUTE FUNCTION public.asks();
\set QUIET off
SELECT count(eventmkt.track('u' || i % 5, 'E')) FROM generate_series(1, 8) i;
SELECT eventmkt.run_due() > 0 AS ran;
SELECT count(*) FROM generate_series(1, 20) i, LATERAL (SELECT eventmkt.run_due() WHERE i > 0) r;
SELECT s.name, count(*), min(t.members) AS told FROM eventmkt_data.membership m JOIN eventmkt_data.segment s USING (segment_id)
	JOIN eventmkt_data.segment_state t USING (segment_id) GROUP BY 1 ORDER BY 1;
SELECT s.name, count(*) FROM eventmkt_data.segment_timer t LEFT JOIN eventmkt_data.segment s USING (segment_id) GROUP BY 1 ORDER BY 1;
SELECT properties ->> 'segment' AS segment, count(*), count(DISTINCT profile_id) AS people FROM eventmkt_data.event WHERE name = 'Segment Entered' GROUP BY 1 ORDER BY 1;
DROP TRIGGER asks ON eventmkt_data.membership;
-- a question within another one does not end the time that this one is asked for
\set QUIET on
CREATE ROLE segment_nested_author;
SELECT eventmkt.grant_access('segment_nested_author', 'marketer');
SELECT eventmkt.create_segment('recent', on_event => 'E', within => '1 hour');
CREATE TABLE public.customer AS SELECT 'ann'::text AS id;
ALTER TABLE public.customer ENABLE ROW LEVEL SECURITY;
CREATE POLICY known ON public.customer USING (eventmkt.in_segment(id, 'recent') IS NOT NULL);
GRANT SELECT ON public.customer TO segment_nested_author;
SET ROLE segment_nested_author;
SELECT eventmkt.create_segment('customers', query => 'SELECT id AS profile_id FROM public.customer');
RESET ROLE;
SELECT eventmkt.create_segment('both', all_of => '{customers,recent}');
SELECT eventmkt.create_rule('to both', on_event => 'E', where_segment => 'both', send_to => 'none');
SELECT eventmkt.track('ann', 'E', occurred_at => eventmkt.clock() - interval '5 days');
\set QUIET off
SELECT profile_id, outcome, reason FROM eventmkt.backtest('to both', now() - interval '6 days', now() - interval '4 days');

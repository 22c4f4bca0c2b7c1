-- contrib/segments.sql: each micro-segment with somebody who is in it and a twin who does nearly the same and is not
\set QUIET on
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
\set ECHO none
\o /dev/null
\i contrib/segments.sql
\o
\set ECHO all
-- a moment so many days ago at an hour of New York; a weekend day counts back from the last Sunday that is over
CREATE FUNCTION public.ago(days int, at time) RETURNS timestamptz LANGUAGE sql AS $$
	SELECT ((eventmkt.clock() AT TIME ZONE 'America/New_York')::date - days + at) AT TIME ZONE 'America/New_York' $$;
CREATE FUNCTION public.sunday(weeks int) RETURNS timestamptz LANGUAGE sql AS $$
	SELECT (date_trunc('week', eventmkt.clock() AT TIME ZONE 'America/New_York') - interval '12 hours' - weeks * interval '7 days')
		AT TIME ZONE 'America/New_York' $$;
CREATE FUNCTION public.did(who text, event text, props jsonb, at timestamptz) RETURNS void LANGUAGE sql AS
	$$ SELECT eventmkt.track(who, event, props, at) $$;
\set QUIET off
-- the same page twice; twin: two pages once each; twin: bought since
SELECT did('page', 'Event Viewed', '{"event_id": 7}', public.ago(d, '12:00')) FROM unnest('{3,5}'::int[]) d;
SELECT did('page_twin', 'Event Viewed', jsonb_build_object('event_id', d), public.ago(d, '12:00')) FROM unnest('{3,5}'::int[]) d;
SELECT did('page_bought', 'Event Viewed', '{"event_id": 7}', public.ago(d, '12:00')) FROM unnest('{3,5}'::int[]) d;
SELECT did('page_bought', 'Order Completed', '{}', public.ago(2, '12:00'));
-- after 9 PM; twin: one of the two at 20:59:59
SELECT did('late', 'Order Completed', '{}', public.ago(d, '21:00')) FROM unnest('{10,20}'::int[]) d;
SELECT did('late_twin', 'Order Completed', '{}', public.ago(10, '21:00'));
SELECT did('late_twin', 'Order Completed', '{}', public.ago(20, '20:59:59'));
-- weekends with a coupon; twins: on a Monday, and without the coupon
SELECT did('weekend', 'Order Completed', '{"coupon": "X"}', public.sunday(w)) FROM unnest('{0,2}'::int[]) w;
SELECT did('weekend_monday', 'Order Completed', '{"coupon": "X"}', public.sunday(w) - w * interval '3 days') FROM unnest('{0,2}'::int[]) w;
SELECT did('weekend_full', 'Order Completed', '{"coupon": "X"}', public.sunday(1));
SELECT did('weekend_full', 'Order Completed', '{}', public.sunday(2));
-- waits for a promo code; twins: adds cheap things, and pays the full price twice
SELECT did(p, 'Product Added', jsonb_build_object('price', CASE p WHEN 'promo_cheap' THEN 199 ELSE 250 END), public.ago(d, '12:00'))
  FROM unnest('{promo,promo_cheap,promo_pays}'::text[]) p, unnest('{5,6,7}'::int[]) d;
SELECT did(p, 'Order Completed', '{"coupon": "SAVE"}', public.ago(4, '12:00')) FROM unnest('{promo,promo_cheap}'::text[]) p;
SELECT did('promo', 'Order Completed', '{}', public.ago(30, '12:00'));
SELECT did('promo_pays', 'Order Completed', '{}', public.ago(d, '12:00')) FROM unnest('{4,30}'::int[]) d;
-- a regular who stays away; twins: still comes, and never was a regular
SELECT did('lapsing', 'Order Completed', '{}', public.ago(d, '12:00')) FROM unnest('{60,80,100,120}'::int[]) d;
SELECT did('still_here', 'Order Completed', '{}', public.ago(d, '12:00')) FROM unnest('{40,80,100,120}'::int[]) d;
SELECT did('no_regular', 'Order Completed', '{}', public.ago(d, '12:00')) FROM unnest('{60,80,100,190}'::int[]) d;
CREATE FUNCTION pg_temp.members() RETURNS TABLE (segment text, who text[]) LANGUAGE plpgsql AS $$
BEGIN
	FOR segment IN SELECT name FROM eventmkt_bi.segments ORDER BY 1 LOOP
		EXECUTE format('SELECT array_agg(profile_id ORDER BY profile_id COLLATE "C") FROM eventmkt_bi.%I', 'segment_' || segment) INTO who;
		RETURN NEXT;
	END LOOP;
END $$;
SELECT * FROM pg_temp.members();

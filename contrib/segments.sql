-- contrib/segments.sql: small audiences that most shops ask for. Run it whole, or copy what you need:
--
--     \i contrib/segments.sql
--     SELECT eventmkt.create_rule('lapsing', on_event => 'Product Viewed', where_segment => 'lapsing_regulars');
--
-- The names of events and properties are those of the common e-commerce vocabulary (Segment's); put your own in their place, and
-- your own time zone. Every one is proved by a test, sql/contrib_segments.sql, together with a twin: somebody who does nearly
-- the same and is not in it.

-- Looked at the page of the same event (a concert, a match) twice within two weeks and bought nothing since then.
SELECT eventmkt.create_segment('event_page_twice',
	on_event => 'Event Viewed', per => 'event_id', at_least => 2, within => '14 days', unless => ARRAY['Order Completed'],
	comment => 'viewed the page of one event twice in 14 days, no order in 14 days');

-- Shops late: at least two orders after 9 PM within 90 days.
SELECT eventmkt.create_segment('shops_after_9pm',
	on_event => 'Order Completed', from_time => '21:00', at_least => 2, within => '90 days', time_zone => 'America/New_York',
	comment => 'two orders or more between 9 PM and midnight in 90 days');

-- Weekend people who answer discounts: on Saturdays and Sundays, with a coupon, at least twice within 90 days.
SELECT eventmkt.create_segment('weekend_bargains',
	on_event => 'Order Completed', where_event => 'exists($.coupon)', on_days => '{6,7}', at_least => 2, within => '90 days',
	time_zone => 'America/New_York', comment => 'two orders or more with a coupon on weekends in 90 days');

-- Puts expensive things in the cart but rarely converts without a promo code: of two halves and their difference.
SELECT eventmkt.create_segment('adds_high_value',
	on_event => 'Product Added', where_event => '$.price >= 200', at_least => 3, within => '90 days',
	comment => 'added three items or more at 200 or above in 90 days');
SELECT eventmkt.create_segment('pays_full_price',
	on_event => 'Order Completed', where_event => '!exists($.coupon)', at_least => 2, within => '90 days',
	comment => 'two orders or more without a coupon in 90 days');
SELECT eventmkt.create_segment('waits_for_promo',
	all_of => ARRAY['adds_high_value'], none_of => ARRAY['pays_full_price'],
	comment => 'adds expensive items but seldom orders without a coupon');

-- Lapsing regulars: four orders or more within half a year, none in the last 45 days.
SELECT eventmkt.create_segment('lapsing_regulars',
	on_event => 'Order Completed', at_least => 4, within => '180 days', unless => ARRAY['Order Completed'],
	unless_within => '45 days', comment => 'four orders or more in 180 days, none in the last 45');

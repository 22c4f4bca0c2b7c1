-- contrib/recipes.sql: the messages most teams begin with, each as one call. Run it whole, or copy what you need:
--
--     SELECT eventmkt.create_endpoint('email', 'https://hooks.example.com/marketing');
--     \i contrib/recipes.sql
--
-- The names of events and properties are those of the common e-commerce vocabulary (Segment's); put your own in their place.
-- With several endpoints add send_to => '…' to each rule. Every recipe is proved by a test, sql/recipe_*.sql, together with
-- a twin: somebody who does nearly the same and must not get the message.

-- Welcome on sign-up: at once, and once in a lifetime, however often the app reports the sign-up.
SELECT eventmkt.create_rule('welcome',
	on_event => 'Signed Up', reentry => '10 years');

-- Reminder 24 hours after on-boarding began without a sign-up. A person is anonymous at that point: when the sign-up comes
-- under a user id, identify(user_id, anonymous_id => …) joins the two and the reminder is cancelled.
SELECT eventmkt.create_rule('onboarding_reminder',
	on_event => 'Onboarding Started', unless => ARRAY['Signed Up'], after => '24 hours', on_repeat => 'ignore');

-- Congratulation on a sign-up that the on-boarding led to: one minute later, so that it comes after the welcome.
SELECT eventmkt.create_rule('onboarding_congratulation',
	on_event => 'Signed Up', where_event => '$.source == "onboarding"', after => '1 minute', reentry => '10 years');

-- Scarcity: somebody looks at the same product for the second time within a week, and few are left. Not to who bought it.
SELECT eventmkt.create_rule('scarcity',
	on_event => 'Product Viewed', where_event => '$.stock <= 5', per => 'product_id', at_least => 2, within => '7 days',
	unless => ARRAY['Order Completed'], look_back => '7 days', reentry => '7 days');

-- Back in stock, first half: collects who wants to know about which product. Nothing is sent, each wish is a decision
-- `recorded` with the product as its key; eventmkt_data.decision is the audience to write to when the product is back.
SELECT eventmkt.create_rule('back_in_stock_signup',
	on_event => 'Back In Stock Requested', per => 'product_id', unless => ARRAY['Back In Stock Withdrawn'],
	after => '5 minutes', on_repeat => 'ignore', send_to => 'none');

-- Dormant: no event of any kind for 30 days. One message a lapse: the next event winds the clock up again.
SELECT eventmkt.create_rule('dormant',
	on_event => '*', unless => ARRAY['*'], after => '30 days');

-- Cart left for 24 hours without an order. Every change of the cart begins the 24 hours anew and sends the newest state;
-- an order of another cart does not cancel, one that does not say which cart it was cancels all.
SELECT eventmkt.create_rule('cart_abandoned',
	on_event => 'Product Added', per => 'cart_id', unless => ARRAY['Order Completed', 'Cart Emptied'], after => '24 hours');

-- Order confirmation: at once, for every order. Transactional, so it goes before the rest.
SELECT eventmkt.create_rule('order_confirmation',
	on_event => 'Order Completed', per => 'order_id', on_repeat => 'ignore', priority => 100);

-- Shipping status from a server-side event: each parcel once it is handed over, not when its label is printed.
SELECT eventmkt.create_rule('order_shipped',
	on_event => 'Shipment Updated', where_event => '$.status == "shipped"', per => 'parcel_id', reentry => '90 days',
	priority => 100);

-- Browse abandonment: looked at a product, put nothing in the cart and bought nothing for two hours; at most once a day.
SELECT eventmkt.create_rule('browse_abandoned',
	on_event => 'Product Viewed', unless => ARRAY['Product Added', 'Order Completed'], after => '2 hours',
	reentry => '1 day');

-- The same product viewed three times within a week and not bought, neither before (in that week) nor in the next hour.
SELECT eventmkt.create_rule('viewed_three_times',
	on_event => 'Product Viewed', per => 'product_id', at_least => 3, within => '7 days',
	unless => ARRAY['Order Completed'], look_back => '7 days', after => '1 hour', on_repeat => 'ignore',
	reentry => '30 days');

# A month of a real shop's orders, replayed day by day, in the shop's order and with every day's lines shuffled.
#
# The data are no part of the project: the folder is $EMK_DATA/online-retail, or ../shared/data/online-retail beside the
# project; without it the test skips. Its oddities: all lines of an invoice share one time, a third has no customer,
# quantities are negative, prices 0, an invoice number with a leading C is a cancellation with a number of its own.
#
# What becomes of it: a line is 'Product Ordered' (message id = invoice-line; 'Product Returned' in a cancellation), an invoice
# 'Order Completed' at its last line (message id = invoice), a cancellation 'Order Cancelled'. An unknown customer is an
# anonymous id an invoice. Local times are read as UTC and moved by whole days, so that the first day is tomorrow.
# A cancellation does not say which order it is about: it has no `order` and so cancels every follow-up of its customer
# for an order not later than itself, and the decision says `key absent`.
#
# Each day: the clock goes to the day's end, the lines come by COPY, one pass is made. So a decision knows all that
# happened on the day on which it fell due. The expected decisions are asked of the raw lines by queries that know nothing
# of the engine but these definitions.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my ($data) = grep { -r } map { "$_/online-retail/online-retail-2010-12.csv.gz" }
	grep { defined && length } $ENV{EMK_DATA}, "$FindBin::Bin/../../../shared/data";
plan skip_all => 'online-retail is not there: put it into ../shared/data or set EMK_DATA' if !defined $data;

my $first = '2010-12-01';
my $last = '2010-12-23';
my $quiet_days = 23;		# after the last day, so that every lapse of 21 days has come to its end
my $node = new_node('retail');
my $files = PostgreSQL::Test::Utils::tempdir();

my %rules = (
	confirmation => q{on_event => 'Order Completed', where_event => '$.amount > 0', per => 'order', max_lateness => '1 day'},
	follow_up => q{on_event => 'Order Completed', where_event => '$.amount > 0', per => 'order', unless => '{Order Cancelled}',
		after => '7 days'},
	win_back => q{on_event => '*', unless => '{*}', after => '21 days'},
	no_order => q{on_event => 'Order Completed', unless => '{Order Completed}', after => '14 days'},
	second_order => q{on_event => 'Order Completed', where_event => '$.amount > 0', at_least => 2, max_lateness => '1 day'},
	big_basket => q{on_event => 'Order Completed', where_event => '$.amount >= 1000', max_lateness => '1 day', send_to => 'office'},
	two_returns => q{on_event => 'Order Cancelled', at_least => 2, within => '7 days', max_lateness => '1 day'},
	last_basket => q{on_event => 'Order Completed', unless => '{Order Cancelled}', after => '2 days'},
	same_again => q{on_event => 'Product Ordered', where_event => '$.quantity >= 12 && $.price >= 2', per => 'stock_code',
		at_least => 2, within => '10 days', max_lateness => '1 day'},
);

# ---- the raw lines, in a database of their own
$node->safe_psql('postgres', 'CREATE DATABASE raw');
$node->safe_psql('raw', <<"SQL");
CREATE TABLE csv (invoice text, stock_code text, description text, quantity int, at timestamp, price numeric, customer text,
	country text, line int GENERATED ALWAYS AS IDENTITY);
COPY csv (invoice, stock_code, description, quantity, at, price, customer, country)
	FROM PROGRAM 'gzip -dc "$data"' (FORMAT csv, HEADER);
CREATE TABLE line AS
	SELECT invoice, row_number() OVER (PARTITION BY invoice ORDER BY line) AS n, stock_code, description, quantity, price, country,
		regexp_replace(customer, '\\.0\$', '') AS customer, invoice LIKE 'C%' AS cancels, line,
		(at + make_interval(days => (clock_timestamp() AT TIME ZONE 'UTC')::date + 1 - '$first'::date)) AT TIME ZONE 'UTC' AS at
	FROM csv;
CREATE TABLE day AS SELECT d AS n, (d + (SELECT min(at AT TIME ZONE 'UTC')::date FROM line))::timestamp AT TIME ZONE 'UTC' AS begins
	FROM generate_series(0, '$last'::date - '$first'::date + $quiet_days) d;
CREATE TABLE message AS SELECT m.*, d.n AS day FROM (
	SELECT customer AS user_id, CASE WHEN customer IS NULL THEN 'guest ' || invoice END AS anonymous_id,
		CASE WHEN cancels THEN 'Product Returned' ELSE 'Product Ordered' END AS event,
		jsonb_strip_nulls(jsonb_build_object('order', CASE WHEN NOT cancels THEN invoice END, 'stock_code', stock_code,
			'description', description, 'quantity', quantity, 'price', price, 'country', country)) AS properties,
		at AS occurred_at, invoice || '-' || n AS message_id, line::float8 AS place
	FROM line
	UNION ALL
	SELECT min(customer), CASE WHEN min(customer) IS NULL THEN 'guest ' || invoice END,
		CASE WHEN cancels THEN 'Order Cancelled' ELSE 'Order Completed' END,
		jsonb_strip_nulls(jsonb_build_object('order', CASE WHEN NOT cancels THEN invoice END, 'amount', sum(quantity * price),
			'lines', count(*))),
		max(at), invoice, max(line) + 0.5
	FROM line GROUP BY invoice, cancels
) m JOIN day d ON occurred_at >= begins AND occurred_at < begins + interval '24 hours';
CREATE INDEX ON line (customer);
SQL
my $days = $node->safe_psql('raw', 'SELECT count(*) FROM day');
for my $how (qw(ordered shuffled))
{
	my $order = $how eq 'ordered' ? 'place' : q{md5('17' || message_id)};
	$node->safe_psql('raw', join '', map { <<"SQL" } 0 .. $days - 1);
COPY (SELECT user_id, anonymous_id, event, properties, occurred_at, message_id FROM message
	WHERE day = $_ ORDER BY $order) TO '$files/$how.$_';
SQL
}

# ---- replay
for my $how (qw(ordered shuffled))
{
	$node->safe_psql('postgres', "CREATE DATABASE $how");
	$node->safe_psql($how, 'SET client_min_messages = error; CREATE EXTENSION eventmkt; SELECT count(*) FROM eventmkt.init();'
		. q{SELECT eventmkt.create_endpoint('office', 'http://127.0.0.1:9999/');}
		. join '', map { "SELECT eventmkt.create_rule('$_', $rules{$_}" . ($rules{$_} =~ /send_to/ ? '' : q{, send_to => 'none'}) . ');' }
		sort keys %rules);
	my @begins = split /\n/, $node->safe_psql('raw', 'SELECT begins FROM day ORDER BY n');
	my $start = time;
	my @again = split /\n/, $node->safe_psql($how, join '', map { <<"SQL" } 0 .. $days - 1);
SELECT FROM eventmkt.advance_clock('$begins[$_]'::timestamptz + interval '24 hours' - eventmkt.clock());
COPY eventmkt_data.inbox FROM '$files/$how.$_';
SELECT FROM eventmkt.run_due(1000000);
SELECT eventmkt.run_due(1000000);
SQL
	is_deeply([ grep { /[^0]/ } grep { length } @again ], [], "$how: one pass a day is enough");
	note(sprintf '%s: %.1f s', $how, time - $start);
	is($node->safe_psql($how, 'SELECT count(*) FROM eventmkt_data.event'), $node->safe_psql('raw', 'SELECT count(*) FROM message'),
		"$how: an event a line and an invoice");
	is($node->safe_psql($how, 'SELECT (SELECT count(*) FROM eventmkt_data.work), (SELECT count(*) FROM eventmkt_data.pending_trigger)'),
		'0|0', "$how: no work and no run is left");
	is($node->safe_psql($how, 'SELECT count(*) FROM eventmkt_data.event_default'), '0', "$how: every event has a partition");
	is(violations($node, dbname => $how), '', "$how: state machine");
}

# ---- decisions: a delivery that nobody sends counts as one
my $decisions = <<'SQL';
SELECT rule, profile_id, key, outcome, coalesce(reason, ''), coalesce(facts ->> 'key', ''), started_at, due_at
	FROM eventmkt_data.decision
UNION ALL SELECT rule, profile_id, key, status, '', '', started_at, due_at FROM eventmkt_data.delivery
ORDER BY 1, 2, 3, 7, 4
SQL
my %got = map { $_ => [ split /\n/, $node->safe_psql($_, $decisions) ] } qw(ordered shuffled);
cmp_ok(scalar @{ $got{ordered} }, '>', 3000, 'there are thousands of decisions');
is_deeply(differences($got{ordered}, $got{shuffled}), [], 'shuffled days give the same decisions');

# Lines of @$a that are not in @$b, with -, and the other way round, with +; at most 20
sub differences
{
	my ($a, $b) = @_;
	my %n;
	$n{$_}-- for @$a;
	$n{$_}++ for @$b;
	my @d = map { ($n{$_} < 0 ? '-' : '+') . " $_" } sort grep { $n{$_} } keys %n;
	return @d > 20 ? [ @d[0 .. 19], '…' ] : \@d;
}

# ---- what they should be, from the raw lines
my %expected = (
	confirmation => q{SELECT who, invoice, 'recorded', '', '', at, at FROM bill WHERE amount > 0},
	# a cancellation of the same customer, not before the order, known at the end of the day on which the follow-up is due
	follow_up => q{SELECT who, invoice, CASE WHEN c THEN 'cancelled' ELSE 'recorded' END, CASE WHEN c THEN 'cancelled_by' ELSE '' END,
		CASE WHEN c THEN 'absent' ELSE '' END, at, at + interval '168 hours'
		FROM (SELECT *, EXISTS (SELECT FROM line l WHERE l.cancels AND l.customer = b.who AND l.at >= b.at
			AND l.at < day_end(b.at + interval '168 hours')) AS c FROM bill b WHERE amount > 0) x},
	# nothing at all of this customer until the end of the day on which the silence is 21 days old
	win_back => q{SELECT who, '', 'recorded', '', '', at, at + interval '504 hours' FROM
		(SELECT who, at, lead(at) OVER (PARTITION BY who ORDER BY at) AS next FROM (SELECT DISTINCT who, at FROM everybody) t) g
		WHERE next IS NULL OR next >= day_end(at + interval '504 hours')},
	no_order => q{SELECT who, '', 'recorded', '', '', at, at + interval '336 hours' FROM
		(SELECT who, at, lead(at) OVER (PARTITION BY who ORDER BY at) AS next FROM (SELECT DISTINCT who, at FROM bill) t) g
		WHERE next IS NULL OR next >= day_end(at + interval '336 hours')},
	second_order => q{SELECT who, '', 'recorded', '', '', at, at FROM
		(SELECT who, at, row_number() OVER (PARTITION BY who ORDER BY at) AS nth FROM bill WHERE amount > 0) b WHERE nth = 2},
	big_basket => q{SELECT who, '', 'queued', '', '', at, at FROM bill WHERE amount >= 1000},
	# the second within a week, when the one before that is longer ago
	two_returns => q{SELECT who, '', 'recorded', '', '', at, at FROM
		(SELECT who, at, lag(at) OVER w AS one_ago, lag(at, 2) OVER w AS two_ago FROM
			(SELECT min(coalesce(customer, 'guest ' || invoice)) AS who, max(at) AS at, invoice FROM line WHERE cancels GROUP BY invoice) c
			WINDOW w AS (PARTITION BY who ORDER BY at, invoice COLLATE "C")) c
		WHERE one_ago >= at - interval '168 hours' AND (two_ago IS NULL OR two_ago < at - interval '168 hours')},
	# each order begins the two days anew (debounce); a cancellation ends them
	last_basket => q{SELECT who, '', CASE WHEN c THEN 'cancelled' ELSE 'recorded' END, CASE WHEN c THEN 'cancelled_by' ELSE '' END, '',
		at, at + interval '48 hours'
		FROM (SELECT *, EXISTS (SELECT FROM line l WHERE l.cancels AND l.customer = t.who AND l.at >= t.at
				AND l.at < day_end(t.at + interval '48 hours')) AS c
			FROM (SELECT *, lead(at) OVER w AS next_at, lead(cancels) OVER w AS next_cancels
				FROM (SELECT who, cancels, invoice, max(at) AS at FROM everybody GROUP BY 1, 2, 3) i
				WINDOW w AS (PARTITION BY who ORDER BY at, invoice COLLATE "C")) t) o
		WHERE NOT cancels AND NOT coalesce(NOT next_cancels AND next_at <= at + interval '48 hours', false)},
	same_again => q{SELECT who, stock_code, 'recorded', '', '', at, at FROM
		(SELECT who, stock_code, at, lag(at) OVER w AS one_ago, lag(at, 2) OVER w AS two_ago
			FROM everybody WHERE NOT cancels AND quantity >= 12 AND price >= 2
			WINDOW w AS (PARTITION BY who, stock_code ORDER BY at, (invoice || '-' || n) COLLATE "C")) c
		WHERE one_ago >= at - interval '240 hours' AND (two_ago IS NULL OR two_ago < at - interval '240 hours')},
);
$node->safe_psql('raw', <<'SQL');
CREATE TABLE everybody AS SELECT *, coalesce(customer, 'guest ' || invoice) AS who FROM line;
CREATE TABLE bill AS SELECT invoice, min(who) AS who, max(at) AS at, sum(quantity * price) AS amount FROM everybody
	WHERE NOT cancels GROUP BY invoice;
CREATE FUNCTION day_end(at timestamptz) RETURNS timestamptz LANGUAGE sql
	RETURN (SELECT max(begins) FROM day WHERE begins <= at) + interval '24 hours';
SQL
for my $rule (sort keys %expected)
{
	my @want = split /\n/, $node->safe_psql('raw', "SELECT '$rule', e.* FROM ($expected{$rule}) e");
	my @is = grep { /^\Q$rule\E\|/ } @{ $got{ordered} };
	cmp_ok(scalar @want, '>', 0, "$rule: the month has some");
	is(scalar @is, scalar @want, "$rule: as many as the lines say");
	is_deeply(differences(\@want, \@is), [], "$rule: and the same ones");
}
is_deeply([ sort keys %expected ], [ sort keys %rules ], 'each rule has its query');

# ---- the same files again: every line is known
my $before = $node->safe_psql('ordered', 'SELECT count(*) FROM eventmkt_data.event');
$node->safe_psql('ordered', join '', map { "COPY eventmkt_data.inbox FROM '$files/shuffled.$_';" } 0 .. 5);
is($node->safe_psql('ordered', 'SELECT count(*), (SELECT count(*) FROM eventmkt_data.work) FROM eventmkt_data.event'), "$before|0",
	'told again, nothing is stored and nothing is to do');
$node->stop;
done_testing();

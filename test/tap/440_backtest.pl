# Backtests and yearly summaries where nothing can be written, in little memory, in parallel, and cancelled half way
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $home = new_node('home', dbname => 'shop', init_args => { allows_streaming => 1 });
$home->safe_psql('shop', <<'SQL');
SET eventmkt.fire = off;
SELECT eventmkt.make_partitions(eventmkt.clock() - interval '40 days', eventmkt.clock());
INSERT INTO eventmkt_data.event (event_id, profile_id, name, properties, occurred_at, received_at, depth)
	SELECT i, 'p' || hashint4(i) % 20000, CASE WHEN i % 5 = 0 THEN 'Order Completed' ELSE 'Product Added' END,
		jsonb_build_object('cart_id', i % 7, 'amount', i % 100, 'note', repeat('x', 100)), t, t, 0
	FROM (SELECT i, now() - (hashint4(i + 7) & 2147483647) % 2600000 * interval '1 second' AS t FROM generate_series(1, 400000) i) s;
ANALYZE eventmkt_data.event;
SELECT eventmkt.identify('p' || i, jsonb_build_object('tier', CASE WHEN i % 2 = 0 THEN 'gold' ELSE 'tin' END)) FROM generate_series(1, 500) i;
SELECT eventmkt.alias('p' || (i + 1000), 'p' || i) FROM generate_series(1, 100) i;
SELECT eventmkt.create_rule('cart', on_event => 'Product Added', where_event => '$.amount >= 20', where_profile => '$.tier == "gold"', per => 'cart_id',
	unless => '{Order Completed}', after => '6 hours', reentry => '2 days', send_to => 'none');
SELECT eventmkt.create_rule('many', on_event => 'Product Added', at_least => 3, within => '3 days', unless => '{Order Completed}', after => '1 hour', send_to => 'none');
SQL

my $ask = qq{SELECT count(*), sum(hashtextextended(concat(rule, profile_id, key, started_at, due_at, outcome, reason, facts), 0))
	FROM eventmkt.backtest(ARRAY['cart', 'many'], '2026-01-01'::timestamptz, 'infinity', warm_up => '0')};
my $whole = $home->safe_psql('shop', $ask);
like($whole, qr/^\d{5,}\|/, 'a backtest of two rules has many rows');
is($home->safe_psql('shop', "SET maintenance_work_mem = '1MB'; $ask"), $whole, 'the same in one megabyte and temporary files');
is($home->safe_psql('shop', "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
	SET max_parallel_workers_per_gather = 2; $ask"), $whole, 'the same in parallel');
is($home->safe_psql('shop', q{SELECT count(*) FROM pg_ls_tmpdir()}), '0', 'no temporary file is left');

# a standby can only read
$home->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($home, 'base', has_streaming => 1);
$standby->start;
is($standby->safe_psql('shop', $ask), $whole, 'the same on a standby');
is($standby->safe_psql('shop', q{SELECT sum(runs) > 1000, sum(converted) > 100 FROM eventmkt.backtest_summary('many', '2026-01-01'::timestamptz,
	converted_by => 'Order Completed')}), 't|t', 'and its summary');
is($standby->safe_psql('shop', q{SELECT monthly_sends > 100 FROM eventmkt.estimate_rule('many')}), 't', 'and an estimate');
is($standby->safe_psql('shop', q{SELECT count(*) FROM eventmkt.yearly_summary('2026-01-01')}), '0', 'and a summary of roll-ups that are not kept');
$standby->stop;

# cancelled wherever it is; what one cancel took is bounded by the slowest machine this runs on
my $slowest = 0;
for my $ms (5, 40, 150, 300, 500, 800)
{
	my $started = time;
	my ($rc, $out, $err) = $home->psql('shop', "SET statement_timeout = $ms; $ask");
	my $took = time - $started - $ms / 1000;
	$slowest = $took if $rc != 0 && $took > $slowest;
	like($err, qr/statement timeout/, "cancelled after $ms ms") if $rc != 0;
}
in_time($slowest, 5, 'a cancel is heard at once');
is($home->safe_psql('shop', q{SELECT count(*) FROM pg_ls_tmpdir()}), '0', 'no temporary file is left by what was cancelled');
is($home->safe_psql('shop', $ask), $whole, 'and the next one is whole');

# how far it is, is said every five seconds: here to one whose session was held up meanwhile, unless it was at its end by then
my ($said, $hold) = ('', 5.2);
my $so_far = qr/NOTICE:  backtest: (\d+ events read so far|\d+ profiles with \d+ events so far, of \d{5,} events)/;
my $answer;
for (1 .. 6)
{
	($said, $answer) = ('', '');
	my $run = IPC::Run::start([ $home->installed_command('psql'), '-XqAt', '-d', $home->connstr('shop'), '-c', "SET application_name = 'patient'; $ask" ],
		'<', \undef, '>', \$answer, '2>', \$said);
	my $pid;
	if (wait_for(sub { $pid = $home->safe_psql('shop', q{SELECT pid FROM pg_stat_activity WHERE application_name = 'patient' AND state = 'active'}) }, 2)
		&& kill 'STOP', $pid)
	{
		sleep $hold;
		kill 'CONT', $pid;
	}
	$run->finish;
	last if $said =~ $so_far;
}
like($said, $so_far, 'its progress is visible');
is($answer, "$whole\n", 'and disturbs nothing');
done_testing();

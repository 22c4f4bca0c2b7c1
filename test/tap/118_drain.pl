# A planned stop lets what is on the wire be answered: stop_worker(), another number of workers, eventmkt.enabled = off and
# ALTER DATABASE leave no message that goes out twice; a receiver that does not answer delays them by half a second, no more
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $sink = start_sink(sync => 0);
my $requests = sub { $sink->stats->{paths}{ $_[0] }{requests} // 0 };
my $n = 0;

for my $preload (1, 0)
{
	my $how = $preload ? 'preloaded' : 'not preloaded';
	my $node = new_node("drain$preload", preload => $preload, dbname => 'shop');
	my $sql = sub { $node->safe_psql('shop', $_[0]) };
	my $set = sub { $sql->("LOAD 'eventmkt'; ALTER SYSTEM $_[0]"); $sql->('SELECT pg_reload_conf()') };
	create_endpoint($node, 'slow', $sink, '/delay/250', max_in_flight => 64);
	create_endpoint($node, 'never', $sink, '/hang', max_in_flight => 64, timeout => '60 s');
	$sql->("SELECT eventmkt.create_rule('slow', on_event => 'Slow', send_to => 'slow'), eventmkt.create_rule('never', on_event => 'Never', send_to => 'never')");
	$sql->('SELECT eventmkt.start_worker()');
	my $total = 0;
	my @stops = (
		[ 'stop_worker()', sub { $sql->('SELECT eventmkt.stop_worker()') }, sub { $sql->('SELECT eventmkt.start_worker()') } ],
		[ 'more workers', sub { $set->('SET eventmkt.workers = 2') }, sub { } ],
		[ 'fewer workers', sub { $set->('RESET eventmkt.workers') }, sub { } ],
		[ 'eventmkt.enabled = off', sub { $set->('SET eventmkt.enabled = off') }, sub { sleep 0.6; $set->('RESET eventmkt.enabled') } ],
		[ 'stop_worker() again', sub { $sql->('SELECT eventmkt.stop_worker()') }, sub { $sql->('SELECT eventmkt.start_worker()') } ]);
	push @stops, [ 'RENAME', sub { $node->safe_psql('postgres', 'ALTER DATABASE shop RENAME TO store; ALTER DATABASE store RENAME TO shop') }, sub { } ] if $preload;
	for my $s (@stops)
	{
		my ($what, $stop, $resume) = @$s;
		my $before = $requests->('/delay/250');

		$n++;
		$sql->("SELECT eventmkt.track('w$n', 'Slow')");	# connections and name are known, so the next ones leave together
		$total++;
		ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE status = 'delivered'", $total, 15, 'shop'), "$how, $what: one is delivered");
		$sql->("SELECT count(eventmkt.track('s$n-' || i, 'Slow')) FROM generate_series(1, 20) i");
		$total += 20;
		ok(wait_for(sub { $requests->('/delay/250') >= $before + 21 }, 10), "$how, $what: requests are open");
		$stop->();
		$resume->();
		ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE status = 'delivered'", $total, 15, 'shop'), "$how, $what: all are delivered");
		is($requests->('/delay/250') - $before, 21, "$how, $what: none twice");
	}
	is($sql->("SELECT count(*) FROM eventmkt_data.attempt a JOIN eventmkt_data.delivery d ON d.id = a.delivery_id WHERE d.attempts > 1"), 0, "$how: one try each");

	# nobody waits for long for those that do not answer
	my $hanging = $requests->('/hang');
	$sql->("SELECT count(eventmkt.track('h' || i, 'Never')) FROM generate_series(1, 20) i");
	ok(wait_for(sub { $requests->('/hang') >= $hanging + 20 }, 10), "$how: silent transfers are open");
	my $start = time;
	$sql->('SELECT eventmkt.stop_worker()');
	in_time(time - $start, 1.5, "$how: stop_worker() does not wait for them for long");
	is($sql->("SELECT count(*) FROM eventmkt_data.delivery WHERE rule = 'never' AND status = 'in_flight'"), 20, "$how: they are given up, not answered");
	$sql->('SELECT eventmkt.start_worker()');
	ok(wait_for(sub { $requests->('/hang') >= $hanging + 40 }, 15), "$how: the next worker sends them again");
	$start = time;
	$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE backend_type = 'eventmkt worker'");
	in_time(time - $start, 0.5, "$how: pg_terminate_backend() does not wait");
	is(violations($node, dbname => 'shop'), '', "$how: state machine");
	unlike(slurp_file($node->logfile), qr/PANIC|TRAP|could not settle|was terminated by signal/, "$how: nothing bad in the log");
	$start = time;
	$node->stop('fast');
	in_time(time - $start, 2, "$how: fast shutdown");
}
$sink->stop;
done_testing();

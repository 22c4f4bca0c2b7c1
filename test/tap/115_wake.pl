# A wake comes after the invalidations of its commit: a worker that is told of a moved clock sees it moved, and does not sleep
# on until the safety poll; one that waited for a lock meanwhile does not either
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $sink = start_sink(sync => 0);
for my $preload (1, 0)
{
	my $how = $preload ? 'preloaded' : 'not preloaded';
	my $node = new_node("wake_$preload", preload => $preload, dbname => 'shop');
	$node->safe_psql('shop', q{SET client_min_messages = error;
		SELECT eventmkt.create_rule('hour', on_event => 'Begun', after => '1 hour', send_to => 'none');
		SELECT eventmkt.start_worker()});
	my $slowest = 0;
	for my $i (1 .. 25)
	{
		$node->safe_psql('shop', "SELECT eventmkt.track('u$i', 'Begun')");
		wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.pending_trigger WHERE profile_id = 'u$i'", '1', 10, 'shop');
		my $start = time;
		$node->safe_psql('shop', q{SELECT eventmkt.advance_clock('1 hour')});
		wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.decision WHERE profile_id = 'u$i'", '1', 10, 'shop');
		my $took = time - $start;
		$slowest = $took if $took > $slowest;
	}
	in_time($slowest, 2, "$how: what a moved clock makes due is decided at once");

	# a wake that comes while the worker waits for a lock
	create_endpoint($node, 'good', $sink, "/ok/$preload");
	$node->safe_psql('shop', q{SELECT eventmkt.create_rule('now', on_event => 'Now', send_to => 'good')});
	my $requests = sub { $sink->stats->{paths}{"/ok/$preload"}{requests} // 0 };
	$slowest = 0;
	for my $i (1 .. 4)
	{
		my $n = $requests->();
		my $lock = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('shop'), '-c',
			'BEGIN; LOCK TABLE eventmkt_data.attempt IN SHARE MODE; SELECT pg_sleep(1.5); COMMIT' ], '>', \my $out);
		wait_for_sql($node, "SELECT count(*) FROM pg_locks WHERE relation = 'eventmkt_data.attempt'::regclass AND mode = 'ShareLock'", '1', 10, 'shop');
		$node->safe_psql('shop', "SELECT eventmkt.track('a$i', 'Now')");
		wait_for_sql($node, 'SELECT count(*) > 0 FROM pg_locks WHERE NOT granted', 't', 10, 'shop');
		$node->safe_psql('shop', "SELECT eventmkt.track('b$i', 'Now')");
		$lock->finish;
		my $start = time;
		wait_for(sub { $requests->() >= $n + 2 }, 10);
		my $took = time - $start;
		$slowest = $took if $took > $slowest;
		sleep 0.3 * $i;
	}
	in_time($slowest, 1, "$how: a wake is not lost to a lock");
	$node->stop;
}
done_testing();

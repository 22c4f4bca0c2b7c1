# A wake comes after the invalidations of its commit: a worker that is told of a moved clock sees it moved, and does not sleep
# on until the safety poll
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

for my $preload (1, 0)
{
	my $how = $preload ? 'preloaded' : 'not preloaded';
	my $node = new_node("wake_$preload", preload => $preload, dbname => 'shop');
	$node->safe_psql('shop', q{SET client_min_messages = error;
		SELECT eventmkt.create_rule('hour', on_event => 'Begun', after => '1 hour', send_to => 'none');
		SELECT eventmkt.start_worker()});
	my $slowest = 0;
	for my $i (1 .. 10)
	{
		$node->safe_psql('shop', "SELECT eventmkt.track('u$i', 'Begun')");
		wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.pending_trigger WHERE profile_id = 'u$i'", '1', 10, 'shop');
		my $start = time;
		$node->safe_psql('shop', q{SELECT eventmkt.advance_clock('1 hour')});
		wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.decision WHERE profile_id = 'u$i'", '1', 10, 'shop');
		my $took = time - $start;
		$slowest = $took if $took > $slowest;
	}
	cmp_ok($slowest, '<', 2, "$how: what a moved clock makes due is decided at once");
	$node->stop;
}
done_testing();

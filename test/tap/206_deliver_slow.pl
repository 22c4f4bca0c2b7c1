# Fifty endpoints at once of every slow kind: each try ends in time, and the healthy ones are as quick as alone (R22)
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $node = new_node('slow', preload => 1);
my $sink = start_sink(sync => 0);
my $slow = start_sink(sync => 0);
my $sql = sub { $node->safe_psql('postgres', $_[0]) };
my $stall = $slow->listen(verb => 'tls-stall');
# what a kind is, and whether an answer counts
my %kinds = ('slow-headers' => 0, 'slow-body' => 1, silent => 0, '100-continue-stall' => 0, 'endless-1xx' => 0, 'huge-headers' => 0, 'tls-stall' => 0);
my @kinds = sort keys %kinds;
my @all = map { $kinds[ $_ % @kinds ] } 0 .. 49;
my @urls = map { $all[$_] eq 'tls-stall' ? "https://127.0.0.1:$stall/$_" : $slow->url("/$all[$_]/$_") } 0 .. 49;

spread_endpoints($node, 'fine', [ map { $sink->url("/ok/$_") } 1 .. 5 ]);
spread_endpoints($node, 'slow', \@urls, timeout => '1500 ms', schedule => '{600}');
healthy_holds($node, 'fine', 5, 'first');
my $base = healthy_holds($node, 'fine', 5, 'alone');
my $pid = $sql->("SELECT pid FROM pg_stat_activity WHERE backend_type = 'eventmkt worker'");

# each of them has two requests open while the healthy ones are measured; fewer failures than make the breaker open. The first
# round is not measured: an endpoint is known to be slow once a try of it was
my $rounds = 0;
my $send_slow = sub {
	my $each = shift // 2;
	$rounds += $each;
	$sql->("DO \$\$ BEGIN FOR i IN 1 .. 50 LOOP PERFORM eventmkt.track('s' || i || '-' || j, 'slow', jsonb_build_object('n', i)) FROM generate_series(1, $each) j;
		COMMIT; PERFORM pg_sleep(0.008); END LOOP; END \$\$");
	ok(wait_for_sql($node, "SELECT count(*) >= 35 FROM (SELECT endpoint_id FROM eventmkt_data.delivery WHERE rule LIKE 'slow%' AND status = 'in_flight'
		GROUP BY 1) d", 't', 5), 'dozens of slow ones are open');
};
$send_slow->(1);
sleep 0.5;
healthy_holds($node, 'fine', 5, 'fifty slow ones', $base, $send_slow);
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.attempt a JOIN eventmkt_data.delivery d ON d.id = a.delivery_id WHERE rule LIKE 'slow%'",
	50 * $rounds, 30), 'each slow try ended');
my @rows = query_rows($node, "SELECT d.rule, count(*) AS n, count(a.status) AS answered, max(a.latency_us) AS us, min(a.latency_us) AS least, max(a.error) AS error
	FROM eventmkt_data.delivery d JOIN eventmkt_data.attempt a ON a.delivery_id = d.id WHERE d.rule LIKE 'slow%' GROUP BY 1");
is(scalar @rows, 50, 'of each of the fifty');
my %worst;
for my $r (@rows)
{
	my $kind = $all[ substr($r->{rule}, 4) - 1 ];
	my $w = $worst{$kind} //= { us => 0, wrong => 0, error => '' };
	$w->{us} = $r->{us} if $r->{us} > $w->{us};
	$w->{wrong}++ if ($r->{answered} > 0) != $kinds{$kind};
	$w->{error} = $r->{error} // 'ok';
}
for my $kind (@kinds)
{
	in_time($worst{$kind}{us} / 1e6, 2.5, "$kind: within timeout + 1 s");
	is($worst{$kind}{wrong}, 0, "$kind: " . ($kinds{$kind} ? 'its status counts' : 'no answer that counts'));
	note "$kind: $worst{$kind}{us} us, $worst{$kind}{error}";
}
# a TLS connection does not read the system's authorities again: that took tens of ms, in which the worker did nothing else
my $cpu = sub { my @f = split ' ', slurp_file("/proc/$pid/stat") =~ s/.*\) //sr; ($f[11] + $f[12]) * 10 };
spread_endpoints($node, 'stall', [ map { "https://127.0.0.1:$stall/s$_" } 1 .. 30 ], timeout => '1500 ms', schedule => '{600}');
sleep 0.5;
my $before = $cpu->();
$sql->("SELECT count(eventmkt.track('t' || i, 'stall', jsonb_build_object('n', i))) FROM generate_series(1, 30) i");
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.attempt a JOIN eventmkt_data.delivery d ON d.id = a.delivery_id WHERE rule LIKE 'stall%'", 30, 20), 'TLS was begun');
cmp_ok($cpu->() - $before, '<', 300 * slow(), 'thirty TLS connections: CPU of the worker, ms');
is($sql->("SELECT pid FROM pg_stat_activity WHERE backend_type = 'eventmkt worker'"), $pid, 'the worker lived through it');
is(violations($node), '', 'state machine');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|could not settle|was terminated by signal/, 'nothing bad in the log');
$node->stop('fast');
done_testing();

# A worker that is killed: nothing is lost, duplicates carry their id and body, its work is taken up within seconds; two workers
# share the endpoints (R01, R02)
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $node = new_node('crash', preload => 1);
my $sink = start_sink(sync => 0);
my $db = 'postgres';
my $query = "SELECT string_agg(pid::text, ' ') FROM pg_stat_activity WHERE backend_type = 'eventmkt worker'";
my $total = sized(3000, 50000);
my $kills = sized(5, 100);
my $flight = 32;
my $worst = 0;

# ---- R01: kills of the worker, which the server answers by a restart, while the receiver answers 10 % with 500, 5 % not, 2 % with a reset
create_endpoint($node, 'e', $sink, '/flaky?p500=0.1&pnone=0.05&preset=0.02&seed=7', timeout => '1 s', max_in_flight => $flight,
	schedule => '{' . join(',', (1) x 30) . '}');
$node->safe_psql($db, "SELECT eventmkt.create_rule('r', on_event => 'E', send_to => 'e')");
for my $k (1 .. $kills)
{
	my $from = ($k - 1) * $total / $kills + 1;
	my $to = $k * $total / $kills;
	$node->safe_psql($db, "SELECT eventmkt.track('u' || i, 'E', message_id => 'm' || i) FROM generate_series($from, $to) i");
	wait_for_sql($node, "SELECT count(*) > 0 FROM eventmkt_data.delivery d JOIN eventmkt_data.event e USING (event_id)
		WHERE e.message_id = 'm$from' AND d.attempts > 0", 't', 60) or fail("part $k is under way");
	sleep 0.1 * ($k % 5);
	my $pid = wait_for(sub { my ($rc, $out) = $node->psql($db, $query, on_error_die => 0); defined $rc && $rc == 0 && $out =~ /^\d+$/ ? $out : '' }, 30);
	kill 'KILL', $pid;
	my $start = time;
	wait_for(sub { my ($rc, $out) = $node->psql($db, $query, on_error_die => 0); defined $rc && $rc == 0 && $out ne $pid }, 30)
		or fail("the server is back after kill $k");
	$worst = time - $start if time - $start > $worst;
}
in_time($worst, 2, 'the server takes queries within 2 s of each kill');
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE status = 'delivered'", $total, sized(90, 900)), 'all are delivered')
	or diag $node->safe_psql($db, "SELECT status, count(*), min(next_attempt_at) FROM eventmkt_data.delivery GROUP BY 1");
is(check_safety($node, $sink, drained => 1, sends => 1, max_duplicates => $kills * $flight,
	client => [ map { { message_id => "m$_", result => 'ok' } } 1 .. $total ]), '', 'safety rule');
is(violations($node), '', 'state machine');
note(sprintf 'figure: R01: %d kills, %d deliveries, %d requests, %d duplicates, queries again after %.2f s at most', $kills, $total,
	@Emk::last_counts{qw(requests duplicates)}, $worst);

# ---- R02: what was in flight is claimed again within seconds of the worker's start
my $silent = start_sink(sync => 0);	# with a journal of its own, which is short
create_endpoint($node, 'slow', $silent, '/hang/s', timeout => '60 s', schedule => '{1,1,1}');
$node->safe_psql($db, "SELECT eventmkt.create_rule('slow', on_event => 'Slow', send_to => 'slow')");
$worst = 0;
for my $round (1 .. sized(1, 10))
{
	$silent->mode('/hang/s', undef);
	$node->safe_psql($db, "SELECT eventmkt.track('s' || i, 'Slow') FROM generate_series(1, 20) i");
	ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE rule = 'slow' AND status = 'in_flight'", 20, 20), 'twenty in flight');
	$silent->mode('/hang/s', 'ok');
	kill 'KILL', $node->safe_psql($db, $query);
	ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE rule = 'slow' AND status = 'delivered'", 20 * $round, 30),
		'all twenty are sent again');
	my $begun = $node->safe_psql($db, "SELECT extract(epoch FROM backend_start) FROM pg_stat_activity WHERE backend_type = 'eventmkt worker'");
	my ($last) = sort { $b <=> $a } map { $_->{t} } $silent->requests('/hang/s');
	$worst = $last / 1000 - $begun if $last / 1000 - $begun > $worst;
}
in_time($worst, 5, 'within 5 s of the start of the worker');
note(sprintf 'figure: R02: the last of twenty was sent again %.2f s after the start of the worker', $worst);
is($node->safe_psql($db, "SELECT count(*) FROM eventmkt_data.attempt WHERE error = 'the worker ended before an answer came'") > 0 ? 1 : 0, 1, 'the lost tries are on record');

# two workers: each endpoint is served by one of them
$node->safe_psql($db, "ALTER SYSTEM SET eventmkt.workers = 2");
$node->restart;
if (wait_for_sql($node, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'eventmkt worker'", 2, 20))
{
	for my $e (1 .. 4)
	{
		create_endpoint($node, "w$e", $sink, "/ok/w$e");
		$node->safe_psql($db, "SELECT eventmkt.create_rule('w$e', on_event => 'Two', send_to => 'w$e')");
	}
	$node->safe_psql($db, "SELECT eventmkt.track('t' || i, 'Two') FROM generate_series(1, 200) i");
	ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE rule LIKE 'w_' AND status = 'delivered'", 800, 30), 'two workers deliver all');
	is(scalar(() = $sink->requests(qr{^/ok/w})), 800, 'each once');
}
is(violations($node), '', 'state machine');
unlike(slurp_file($node->logfile), qr/could not settle|TRAP|PANIC/, 'nothing bad in the log');
done_testing();

# An endpoint that is unreachable for an hour of moved clock, with thousands of messages waiting for it: the others are as quick as
# without it, and when it is back it gets all of them at its rate, never more (R17)
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk::Net links => 1;
use Emk;
use JSON::PP ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $link = link_of(0);
my $queued = sized(2000, 50000);
my ($limit, $flight) = (300, 16);
my $node = new_node('down', preload => 1, conf => "eventmkt.allowed_networks = '127.0.0.0/8, 10.77.0.0/16'\neventmkt.allow_clock_with_remote_endpoints = on\n");
my $sql = sub { $node->safe_psql('postgres', $_[0]) };
my $fine = start_sink(sync => 0);
my $sink = start_sink(sync => 0, host => '0.0.0.0', bodies => 0);

spread_endpoints($node, 'fine', [ map { $fine->url("/ok/$_") } 1 .. 99 ]);
create_endpoint($node, 'down', $sink, '/ok/down', url => 'http://' . $link->far . ':' . $sink->port . '/ok/down', timeout => '2 s', rate_limit => $limit,
	max_in_flight => $flight, schedule => '{' . join(',', (60) x 30) . '}');
$sql->("SELECT eventmkt.create_rule('down', on_event => 'Down', send_to => 'down')");

# 20 messages a second for some seconds, spread over the 99; the 99th percentile in ms of the time until they arrive. The time of the
# call is a property, as business time moves meanwhile.
my $round = 0;
sub healthy
{
	my ($seconds) = @_;
	my $n = 20 * $seconds;
	my $had = $fine->stats->{requests};
	$round++;
	$sql->("DO \$\$ BEGIN FOR i IN 1 .. $n LOOP PERFORM eventmkt.track('h' || i, 'fine', jsonb_build_object('n', 1 + (i * 7) % 99,
		'round', $round, 't', round(1000 * extract(epoch FROM clock_timestamp()), 1))); COMMIT; PERFORM pg_sleep(0.05); END LOOP; END \$\$");
	$fine->wait_requests($had + $n, 30) or return 99999;
	my @ms;
	for my $r ($fine->requests)
	{
		my $p = JSON::PP::decode_json($r->{body})->{data}{event}{properties};
		push @ms, $r->{t} - $p->{t} if $p->{round} == $round;
	}
	is(scalar @ms, $n, "round $round");
	@ms = sort { $a <=> $b } @ms;
	return $ms[ int(0.99 * $#ms + 0.5) ];
}

my $seconds = sized(2, 20);
healthy(1);
my $alone = (sort { $a <=> $b } map { healthy($seconds) } 1 .. 2)[0];

# ---- it goes away; the hour passes in steps of five minutes, in each of which it is asked again
$link->fault(cut => 1);
my $before = $sql->('SELECT eventmkt.clock()');
$sql->("SELECT count(eventmkt.track('d' || i, 'Down', message_id => 'd' || i)) FROM generate_series(1, $queued) i");
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE rule = 'down'", $queued, sized(30, 200)), 'thousands wait');
ok(wait_for_sql($node, "SELECT open_until IS NOT NULL FROM eventmkt_data.endpoint_state s JOIN eventmkt_data.endpoint e USING (endpoint_id) WHERE name = 'down'", 't', 30),
	'its breaker is open');
my @with;
for my $step (1 .. 3)
{
	$sql->("SELECT eventmkt.advance_clock('5 minutes')") for 1 .. 4;
	push @with, healthy($seconds);
}
cmp_ok($sql->("SELECT extract(epoch FROM eventmkt.clock() - '$before')"), '>=', 3600, 'an hour has passed');
my ($best) = sort { $a <=> $b } @with;
note "figure: p99 of the healthy: $alone ms alone, @with ms beside it";
cmp_ok($best, '<=', (sort { $b <=> $a } $alone * 1.5, 50 * slow())[0], 'the healthy are as quick as before');
is($sql->("SELECT count(*) FROM eventmkt_data.delivery WHERE rule = 'down' AND status = 'delivered'"), 0, 'it got nothing');
cmp_ok($sql->("SELECT count(*) FROM eventmkt_data.attempt a JOIN eventmkt_data.delivery d ON d.id = a.delivery_id WHERE rule = 'down'"), '<', 120, 'and was seldom asked');

# ---- it is back
$link->mend;
$sql->("SELECT eventmkt.advance_clock('6 minutes')");
ok(wait_for(sub { $sink->stats->{ids} >= $queued }, sized(60, 600)), 'it gets all that waited');
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE status <> 'delivered'", 0, 20), 'nothing is left');
my @t = sort { $a <=> $b } map { /"kind":"request","t":(\d+)/ ? $1 : () } split /\n/, slurp_file($sink->{journal});
my ($from, $arrived) = (0, 0);
for my $to (0 .. $#t)
{
	$from++ while $t[$to] - $t[$from] >= 1000;
	$arrived = $to - $from + 1 if $to - $from + 1 > $arrived;
}
my $most = $sql->("SELECT max(n) FROM (SELECT count(*) OVER (ORDER BY a.started_at RANGE BETWEEN CURRENT ROW AND interval '999999 us' FOLLOWING) AS n
	FROM eventmkt_data.attempt a JOIN eventmkt_data.delivery d ON d.id = a.delivery_id WHERE rule = 'down') s");
# the probe comes first, and may be a moment before the others
my $rate = 1000 * (@t - 2) / ($t[-1] - $t[1]);
note sprintf 'figure: drained at %.0f a second, at most %d sent in one and %d arrived, %d open at once', $rate, $most, $arrived, $sink->stats->{paths}{'/ok/down'}{max_open};
cmp_ok($rate, '>=', 200 / slow(), 'quickly');
cmp_ok($most, '<=', $limit, 'never above its rate in any second');
cmp_ok($arrived, '<=', 1.05 * $limit, 'as it sees it, too, but for what its own turns gather');
cmp_ok($sink->stats->{paths}{'/ok/down'}{max_open}, '<=', $flight, 'nor above its cap at once');
is(check_safety($node, [ $sink, $fine ], drained => 1, require_verified => 0, client => [ map { { message_id => "d$_", result => 'ok', sends => 1 } } 1 .. $queued ]),
	'', 'safety rule');
is(violations($node), '', 'state machine');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|could not settle|was terminated by signal/, 'nothing bad in the log');
$node->stop('fast');
done_testing();

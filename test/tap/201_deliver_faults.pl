# Receivers that misbehave: each try ends in time, tells what happened, costs little, and keeps nobody else waiting
# (R22, R23, R24 as far as names that do not resolve, A22, A27)
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $node = new_node('faults', preload => 1);
my $sink = start_sink(sync => 0, headers => 1);
my $db = 'postgres';

# verb => what the first try leads to; undef: no answer that counts, so a retry
my %verbs = (
	hang => undef, silent => undef, 'reset-before-read' => undef, 'reset-after-read' => undef, 'close-after-read' => undef,
	'100-continue-stall' => undef, 'slow-headers' => undef, 'huge-headers' => undef, 'endless-1xx' => undef, http09 => undef,
	garbage => undef, 'slow-body' => 200, 'endless-body' => 200, 'big-body/1000000' => 200, 'gzip-bomb' => 200,
	'bad-chunk' => 200, 'short-body' => 200, 'long-body' => 200, 'invalid-utf8' => 200, 'set-cookie' => 200,
	'endless-body?status=503' => 503, 'status/101' => undef);
my $n = 0;
my %name = map { $_ => 'v' . ++$n } sort keys %verbs;

for my $verb (sort keys %verbs)
{
	create_endpoint($node, $name{$verb}, $sink, "/$verb", timeout => '1500 ms', schedule => '{600}');
	$node->safe_psql($db, "SELECT eventmkt.create_rule('$name{$verb}', on_event => 'Fault', send_to => '$name{$verb}')");
}
create_endpoint($node, 'healthy', $sink, '/ok');
$node->safe_psql($db, "SELECT eventmkt.create_rule('healthy', on_event => 'Fine', send_to => 'healthy')");
# names that nobody knows
for my $i (1 .. 40)
{
	create_endpoint($node, "dead$i", undef, '/', url => "http://no-such-host-$i.invalid:8080/", timeout => '1500 ms', schedule => '{600}');
	$node->safe_psql($db, "SELECT eventmkt.create_rule('dead$i', on_event => 'Fault', send_to => 'dead$i')");
}
$node->safe_psql($db, "SELECT eventmkt.track('warm', 'Fine')");
ok(wait_for_sql($node, "SELECT status FROM eventmkt_data.delivery WHERE rule = 'healthy'", 'delivered', 20), 'a healthy one');

my $pid = $node->safe_psql($db, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'eventmkt worker'");
my $rss = sub { (slurp_file("/proc/$pid/status") =~ /VmRSS:\s+(\d+)/)[0] };
my $before = $rss->();
$node->safe_psql($db, "SELECT eventmkt.track('f' || i, 'Fault') FROM generate_series(1, 3) i");
my $threads = 0;
for my $i (1 .. 40)
{
	$node->safe_psql($db, "SELECT eventmkt.track('h$i', 'Fine')");
	my ($t) = slurp_file("/proc/$pid/status") =~ /Threads:\s+(\d+)/;
	$threads = $t if $t > $threads;
	sleep 0.05;
}
my $faults = 3 * keys %verbs;
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE rule LIKE 'v%' AND status IN ('delivered', 'retrying', 'dead')", $faults, 60),
	'each faulty try ended');
ok(wait_for_sql($node, "SELECT count(*) >= 40 FROM eventmkt_data.attempt a JOIN eventmkt_data.delivery d ON d.id = a.delivery_id
	WHERE rule LIKE 'dead%'", 't', 90), 'each name that does not resolve ended');
is($node->safe_psql($db, "SELECT pid FROM pg_stat_activity WHERE backend_type = 'eventmkt worker'"), $pid, 'the worker lived through it');
cmp_ok($threads, '<=', lookup_threads(), 'few threads for names');
SKIP:
{
	skip 'a sanitizer keeps freed memory', 1 if $ENV{ASAN_OPTIONS};
	cmp_ok($rss->() - $before, '<', 3 * 128 * keys %verbs, 'memory of the worker');
}
my %got = map { $_->{rule} => $_ } query_rows($node, "SELECT d.rule, min(a.status) AS status, max(a.latency_us) AS us, max(a.error) AS error
	FROM eventmkt_data.delivery d JOIN eventmkt_data.attempt a ON a.delivery_id = d.id GROUP BY d.rule");
for my $verb (sort keys %verbs)
{
	my $g = $got{ $name{$verb} };
	is($g->{status}, $verbs{$verb}, "$verb: status") or diag $g->{error};
	in_time($g->{us} / 1e6, 2.5, "$verb: within timeout + 1 s");
	note "$verb: " . ($g->{error} // 'ok');
}
is($node->safe_psql($db, "SELECT count(*) FROM eventmkt_data.attempt WHERE octet_length(response) > 1024 OR response ~ '[\\x01-\\x1f\\x7f]'"), 0,
	'what is kept of answers is short, clean text');
is($node->safe_psql($db, "SELECT string_agg(DISTINCT response, '/') FROM eventmkt_data.attempt a JOIN eventmkt_data.delivery d ON d.id = a.delivery_id
	WHERE rule = '$name{'invalid-utf8'}'"), 'bad: ?(????? nul:  ansi: [31mred [0m bell:  cr:  ??', 'what is no text, or is for terminals, is not kept');
is($node->safe_psql($db, "SELECT count(*) FROM eventmkt_data.attempt WHERE convert_from(convert_to(concat(response, error), 'UTF8'), 'UTF8') IS NULL"), 0, 'all of it is UTF-8');
is(scalar(grep { exists $_->{headers}{cookie} } $sink->requests), 0, 'no cookie comes back');
cmp_ok(scalar($sink->requests('/set-cookie')), '>=', 3, 'from where they were set');
is($node->safe_psql($db, "SELECT count(*) FROM eventmkt_data.delivery WHERE rule = 'healthy' AND status <> 'delivered'"), 0, 'the healthy one had all');
in_time($node->safe_psql($db, "SELECT max(extract(epoch FROM settled_at - created_at)) FROM eventmkt_data.delivery WHERE rule = 'healthy'"),
	1, 'and none of it late');
is($node->safe_psql($db, "SELECT string_agg(DISTINCT a.error, ', ') FROM eventmkt_data.attempt a JOIN eventmkt_data.delivery d ON d.id = a.delivery_id
	WHERE rule LIKE 'dead%'") =~ /resolve/i ? 1 : 0, 1, 'the reason names the look-up');
is(violations($node), '', 'state machine');
unlike(slurp_file($node->logfile), qr/could not settle|terminated by signal|TRAP/, 'nothing bad in the log');

# with many transfers open the worker ends at once, and its work is taken up by the next
create_endpoint($node, 'slow', $sink, '/hang/slow', timeout => '60 s', max_in_flight => 300, schedule => '{1,1}');
$node->safe_psql($db, "SELECT eventmkt.create_rule('slow', on_event => 'Slow', send_to => 'slow')");
$node->safe_psql($db, "SELECT eventmkt.track('s' || i, 'Slow') FROM generate_series(1, 300) i");
ok(wait_for_sql($node, "SELECT count(*) > 200 FROM eventmkt_data.delivery WHERE rule = 'slow' AND status = 'in_flight'", 't', 60), 'hundreds are open');
is($node->safe_psql($db, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'eventmkt worker' AND (xact_start IS NOT NULL OR backend_xmin IS NOT NULL)"), 0,
	'and no transaction with them');
my $start = time;
$node->safe_psql($db, "SELECT pg_terminate_backend($pid)");
ok(wait_for(sub { !-e "/proc/$pid" }, 10), 'the worker ended');
in_time(time - $start, 2, 'within two seconds');
$sink->mode('/hang/slow', 'ok');
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE rule = 'slow' AND status = 'delivered'", 300, 60), 'the next one sent them all');
in_time(time - $start, 30, 'soon');
is(violations($node), '', 'state machine');
$start = time;
$node->stop('fast');
in_time(time - $start, 5, 'fast shutdown');
done_testing();

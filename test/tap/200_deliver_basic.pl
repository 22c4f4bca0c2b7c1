# From a due run to a settled delivery: signatures, the status table, body and id over retries, attempts (R15, R16)
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use PostgreSQL::Test::Utils;
use Test::More;

# a server where policies are errors: ours, which hides the secrets, is none for us
my $node = new_node('deliver', preload => 1, conf => "row_security = off\n");
my $sink = start_sink(headers => 1);
my $db = 'postgres';
my %expect = (
	200 => 'delivered', 201 => 'delivered', 204 => 'delivered', 299 => 'delivered', 300 => 'dead', 301 => 'dead', 302 => 'dead',
	304 => 'dead', 307 => 'dead', 308 => 'dead', 400 => 'dead', 401 => 'dead', 404 => 'dead', 422 => 'dead',
	408 => 'retrying', 425 => 'retrying', 429 => 'retrying', 500 => 'retrying', 502 => 'retrying', 503 => 'retrying');

# one endpoint, one rule, one message a status
for my $status (sort keys %expect)
{
	my $path = $status =~ /^30[1278]$/ ? "/redirect/$status?to=/ok/followed" : "/status/$status";
	create_endpoint($node, "s$status", $sink, $path, schedule => '{600}');
	$node->safe_psql($db, "SELECT eventmkt.create_rule('r$status', on_event => 'E$status', send_to => 's$status')");
}
$node->safe_psql($db, join '', map { "SELECT eventmkt.track('u$_', 'E$_', '{\"n\": $_}', message_id => 'm$_');" } sort keys %expect);
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE status IN ('delivered', 'dead', 'retrying')",
	scalar keys %expect, 30), 'all were tried');
my %got = map { ($_->{rule} =~ s/r//r) => $_->{status} } query_rows($node, 'SELECT rule, status FROM eventmkt_data.delivery');
is_deeply(\%got, \%expect, 'what each status leads to');
is(scalar($sink->requests(qr{^/ok/followed})), 0, 'no redirect was followed');
is($node->safe_psql($db, "SELECT count(*) FROM eventmkt_data.decision WHERE outcome IN ('delivered', 'dead')"),
	scalar(grep { $_ ne 'retrying' } values %expect), 'a decision for each that ended');
is($node->safe_psql($db, "SELECT reason || ' ' || facts::text FROM eventmkt_data.decision WHERE rule = 'r404'"),
	'refused {"error": "status 404", "status": 404, "attempts": 1}', 'the decision says why');
is($node->safe_psql($db, "SELECT min(a.status) || ' ' || count(*) FROM eventmkt_data.attempt a
	JOIN eventmkt_data.delivery d ON d.id = a.delivery_id WHERE rule = 'r503' AND response = 'status 503' AND latency_us > 0"),
	'503 1', 'the attempt is kept with its answer');
is($node->safe_psql($db, "SELECT count(*) FROM eventmkt_data.delivery WHERE status = 'retrying'
	AND next_attempt_at - created_at BETWEEN '470 seconds' AND '730 seconds'"), 6, 'retries wait for 600 s, 20 % either way');

# 410 disables the endpoint and holds what else is there
create_endpoint($node, 'gone', $sink, '/gone');
$node->safe_psql($db, "SELECT eventmkt.create_rule('gone', on_event => 'Gone', send_to => 'gone')");
$node->safe_psql($db, "SELECT eventmkt.track('g1', 'Gone')");
ok(wait_for_sql($node, "SELECT NOT enabled FROM eventmkt_data.endpoint WHERE name = 'gone'", 't', 15), '410 disables');
is($node->safe_psql($db, "SELECT disabled_reason FROM eventmkt_data.endpoint WHERE name = 'gone'"), 'it answered 410 Gone', 'with a reason');
$node->safe_psql($db, "SELECT eventmkt.track('g2', 'Gone')");
ok(wait_for_sql($node, "SELECT string_agg(status, ',' ORDER BY profile_id) FROM eventmkt_data.delivery WHERE rule = 'gone'", 'dead,queued', 15),
	'the next is held');
$sink->mode('/gone', 'ok');
$node->safe_psql($db, "SELECT eventmkt.enable_endpoint('gone')");
ok(wait_for_sql($node, "SELECT string_agg(status, ',' ORDER BY profile_id) FROM eventmkt_data.delivery WHERE rule = 'gone'", 'dead,delivered', 15),
	'and goes out when the endpoint is enabled');

# retries: same id, same body, fresh timestamp, all signed
create_endpoint($node, 'retry', $sink, '/fail-first/2', schedule => '{1,1,1}');
$node->safe_psql($db, "SELECT eventmkt.create_rule('retry', on_event => 'Retry', send_to => 'retry')");
$node->safe_psql($db, "SELECT eventmkt.track('u', 'Retry', '{\"text\": \"grüße \\u2603\"}', message_id => 'retry')");
ok(wait_for_sql($node, "SELECT status || attempts FROM eventmkt_data.delivery WHERE rule = 'retry'", 'delivered3', 20), 'third try');
my @tries = $sink->requests('/fail-first/2');
is(scalar(@tries), 3, 'three requests');
is(scalar(keys %{ { map { $_->{sha256} => 1 } @tries } }), 1, 'one body');
is(scalar(keys %{ { map { $_->{id} => 1 } @tries } }), 1, 'one id');
is(scalar(grep { $_->{verified} } @tries), 3, 'all verified by the library');
is(scalar(keys %{ { map { $_->{ts} => 1 } @tries } }) > 1 ? 1 : 0, 1, 'fresh timestamps') or diag explain \@tries;
like($node->safe_psql($db, "SELECT id FROM eventmkt_data.delivery WHERE rule = 'retry'"), qr/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab]/, 'uuid v7');

# rotation: two signatures during the overlap, one after
my $old = create_endpoint($node, 'rotate', $sink, '/ok/rotate', headers => '{"X-Shop": "seven", "X-Empty": ""}');
my $new = $node->safe_psql($db, "SELECT eventmkt.rotate_secret('rotate', '1 hour')");
$sink->secret('/ok/rotate', $new, 1);
$node->safe_psql($db, "SELECT eventmkt.create_rule('rotate', on_event => 'Rotate', send_to => 'rotate')");
for my $n (1, 2)
{
	$node->safe_psql($db, "SELECT eventmkt.track('u$n', 'Rotate')");
	ok($sink->wait_requests($n, 15, '/ok/rotate'), "message $n");
	$node->safe_psql($db, "UPDATE eventmkt.secret SET expires_at = created_at WHERE expires_at IS NOT NULL") if $n == 1;
}
my @rotated = $sink->requests('/ok/rotate');
my @signatures = map { [ split / /, $_->{headers}{'webhook-signature'} ] } @rotated;
is(scalar(@{ $signatures[0] }), 2, 'two signatures');
is(scalar(@{ $signatures[1] }), 1, 'one signature');
is($rotated[0]{headers}{'x-shop'}, 'seven', 'the own header');
is($rotated[0]{headers}{'x-empty'}, '', 'an empty header');
is($rotated[0]{headers}{'content-type'}, 'application/json', 'content type');
like($rotated[0]{headers}{'user-agent'}, qr{^eventmkt/\d}, 'user agent');
ok(!exists $rotated[0]{headers}{expect}, 'no Expect');

is(check_safety($node, $sink), '', 'safety rule');
is(violations($node), '', 'state machine');
is($node->safe_psql($db, "SELECT count(*) FROM eventmkt_data.delivery WHERE status = 'in_flight'"), 0, 'nothing is in flight');
my $stat = sub { $node->safe_psql($db, "SELECT pg_stat_force_next_flush(); SELECT $_[0] FROM pg_stat_user_tables WHERE relname = 'delivery'") =~ s/^\s+//r };
my ($updates, $hot) = split /\|/, $stat->('n_tup_upd, n_tup_hot_upd');
$node->safe_psql($db, "SELECT eventmkt.track('h' || i, 'Rotate') FROM generate_series(1, 50) i");
ok($sink->wait_requests(52, 20, '/ok/rotate'), 'fifty more');
ok(wait_for_sql($node, "SELECT n_tup_upd >= $updates + 50 FROM pg_stat_user_tables WHERE relname = 'delivery'", 't', 70), 'they are settled');
my ($updates_now, $hot_now) = split /\|/, $stat->('n_tup_upd, n_tup_hot_upd');
cmp_ok($hot_now - $hot, '>', ($updates_now - $updates) / 3, 'what is sent at its birth is settled without an index entry');
my $log = slurp_file($node->logfile);
unlike($log, qr/whsec_|PANIC|TRAP|could not settle/, 'nothing bad in the log');
done_testing();

# Where a request may go: no spelling of an internal address gets a connection; TLS is verified; the environment is ignored
# (A20 to A23, A26, A28, R25)
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir();
my %certs = make_certs($dir);
my $sink = start_sink(sync => 0);
my $trap = start_sink(sync => 0);
my $port = $sink->port;
my $db = 'postgres';

# a proxy and a set of authorities in the environment of the server
$ENV{http_proxy} = $ENV{HTTP_PROXY} = $ENV{https_proxy} = $ENV{HTTPS_PROXY} = $ENV{all_proxy} = 'http://127.0.0.1:' . $trap->port;
my $node = new_node('ssrf', preload => 1, conf => "eventmkt.allowed_networks = ''\neventmkt.ca_file = '$certs{ca}'\n");
delete @ENV{qw(http_proxy HTTP_PROXY https_proxy HTTPS_PROXY all_proxy)};

my @hosts = ('127.0.0.1', '127.1', '2130706433', '0x7f000001', '0177.0.0.1', '0', '[::ffff:127.0.0.1]', '[::ffff:7f00:1]', '[::1]',
	'localhost', '0.0.0.0', "\x{ff11}\x{ff12}\x{ff17}.0.0.1", "\x{2460}\x{2461}\x{2466}.0.0.1", 'x@127.0.0.1', '%31%32%37.0.0.1');
my $n = 0;
for my $host (@hosts)
{
	my $utf8 = $host;
	utf8::encode($utf8);
	$n++;
	my ($rc, $out, $err) = $node->psql($db, "SELECT eventmkt.create_endpoint('x', 'http://$utf8:$port/ok')");
	isnt($rc, 0, "endpoint $n is refused at the call");
	# as if it had been stored before, or by hand
	create_endpoint($node, "e$n", undef, '/', url => "https://hooks.example.com/$n", schedule => '{600}', timeout => '2 s');
	$node->safe_psql($db, "UPDATE eventmkt_data.endpoint SET url = 'http://$utf8:$port/ok' WHERE name = 'e$n'");
	$node->safe_psql($db, "SELECT eventmkt.create_rule('r$n', on_event => 'Go', send_to => 'e$n')");
}
$node->safe_psql($db, "SELECT eventmkt.track('u', 'Go')");
# those that curl would dial are tried and fail at the socket; those that are malformed are held
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery d LEFT JOIN eventmkt_data.endpoint_state s USING (endpoint_id)
	WHERE d.status = 'retrying' OR s.last_error LIKE 'URL %'", $n, 30), 'all were tried or held');
is($node->safe_psql($db, "SELECT string_agg(DISTINCT error, ', ') FROM eventmkt_data.attempt"), 'address not allowed', 'one text for all');
is($node->safe_psql($db, "SELECT count(*) FROM eventmkt_data.attempt WHERE response IS NOT NULL OR status IS NOT NULL"), 0, 'nothing is kept');
is(scalar($sink->requests), 0, 'no request arrived');
is($sink->stats->{connections} // 0, 0, 'no connection either') or diag explain $sink->stats;

# the network is opened: the same address works, at once
$node->append_conf('postgresql.conf', "eventmkt.allowed_networks = '127.0.0.0/8, ::1'\n");
$node->reload;
sleep 1;
my $secret = create_endpoint($node, 'open', $sink, '/ok');
$node->safe_psql($db, "SELECT eventmkt.create_rule('open', on_event => 'Open', send_to => 'open')");
$node->safe_psql($db, "SELECT eventmkt.track('u', 'Open')");
ok(wait_for_sql($node, "SELECT status FROM eventmkt_data.delivery WHERE rule = 'open'", 'delivered', 20), 'an open network');
is(scalar($trap->requests), 0, 'the proxy of the environment was not asked');

# redirects to the inside, to other schemes, to itself
for my $to ("http://127.0.0.1:$port/ok/inside", 'file:///etc/passwd', 'ftp://127.0.0.1/', '/redirect')
{
	$n++;
	create_endpoint($node, "d$n", $sink, "/redirect/30" . (qw(1 2 7 8))[$n % 4] . "?to=$to");
	$node->safe_psql($db, "SELECT eventmkt.create_rule('d$n', on_event => 'Redirect', send_to => 'd$n')");
}
$node->safe_psql($db, "SELECT eventmkt.track('u', 'Redirect')");
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.decision WHERE outcome = 'dead' AND reason = 'redirect_not_followed'", 4, 20), 'redirects are recorded as dead');
is(scalar($sink->requests('/ok/inside')), 0, 'and not followed');

# TLS
my $listening = 1;
my %kinds = (good => 1, wrong_host => 0, expired => 0, self_signed => 0, other_ca => 0, sha1 => 0);
for my $kind (sort keys %kinds)
{
	my $tls = eval { $sink->listen(tls => { cert => $certs{$kind}[0], key => $certs{$kind}[1] }) };
	# a receiver may refuse such a certificate itself
	if (!$tls) { note "$kind: $@"; next; }
	$listening++;
	create_endpoint($node, $kind, $sink, "/ok/$kind", url => "https://localhost:$tls/ok/$kind", schedule => '{600}');
	$node->safe_psql($db, "SELECT eventmkt.create_rule('$kind', on_event => 'TLS', send_to => '$kind')");
}
my $old = eval { $sink->listen(tls => { cert => $certs{good}[0], key => $certs{good}[1], minVersion => 'TLSv1', maxVersion => 'TLSv1.1' }) } // $trap->port;
create_endpoint($node, 'old', $sink, '/ok/old', url => "https://localhost:$old/ok/old", schedule => '{600}');
$node->safe_psql($db, "SELECT eventmkt.create_rule('old', on_event => 'TLS', send_to => 'old')");
$node->safe_psql($db, "SELECT eventmkt.track('u', 'TLS')");
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE body LIKE '%TLS%' AND status IN ('delivered', 'retrying')", $listening, 30), 'all were tried');
is($node->safe_psql($db, "SELECT string_agg(rule, ',') FROM eventmkt_data.delivery WHERE body LIKE '%TLS%' AND status = 'delivered'"), 'good', 'only the good one was trusted');
for my $r (query_rows($node, "SELECT d.rule, a.error FROM eventmkt_data.attempt a JOIN eventmkt_data.delivery d ON d.id = a.delivery_id WHERE body LIKE '%TLS%' AND a.error IS NOT NULL"))
{
	like($r->{error}, qr/certificate|SSL|alert|version/i, "$r->{rule}: $r->{error}");
}
# what was allowed and is not any more: a kept connection is not used again
my $change = sub {
	$node->safe_psql($db, "ALTER SYSTEM SET $_[0]; SELECT pg_reload_conf()");
	sleep 1;
};
my $last = "SELECT coalesce(last_error, status) FROM eventmkt_data.delivery WHERE rule = 'again' ORDER BY id DESC LIMIT 1";
my $again = sub {
	$node->safe_psql($db, "SELECT eventmkt.track('u', 'Again')");
	return wait_for_sql($node, $last, $_[0], 10);
};
$node->safe_psql($db, "SELECT eventmkt.create_rule('again', on_event => 'Again', send_to => 'good')");
$change->("eventmkt.allowed_networks = '127.0.0.0/8, ::1/128'");
ok($again->('delivered'), 'an allowed network');
$change->("eventmkt.allowed_networks = ''");
ok($again->('address not allowed'), 'is not used any more when it is not');
$change->("eventmkt.allowed_networks = '127.0.0.0/8, ::1/128'");
ok($again->('delivered'), 'and again when it is');
# another reload is no change of networks: the connection stays in use
sleep 2;
for my $round (1, 2)
{
	my $done = $node->safe_psql($db, "SELECT count(*) FROM eventmkt_data.delivery WHERE rule = 'again' AND status = 'delivered'");
	$node->safe_psql($db, "SELECT eventmkt.track('u', 'Again')");
	wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE rule = 'again' AND status = 'delivered'", $done + 1, 10);
	$change->('eventmkt.max_in_flight = 100') if $round == 1;
}
my @conns = map { $_->{conn} } ($sink->requests)[-2, -1];
is($conns[0], $conns[1], 'a reload makes no new connection');
$change->("eventmkt.ca_file = ''");
$node->safe_psql($db, "SELECT eventmkt.track('u', 'Again')");
ok(wait_for(sub { $node->safe_psql($db, $last) =~ /certificate/ }, 10), 'a CA file that is taken away is not trusted any more');
is(violations($node), '', 'state machine');
cmp_ok($listening, '>=', 6, 'most kinds of certificates were tried');
done_testing();

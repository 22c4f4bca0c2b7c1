# Where a request may go: no spelling of an internal address gets a connection; TLS is verified; the environment is ignored
# (A20 to A23, A26, A28, R25)
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use IO::Socket::INET;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir();
my %certs = make_certs($dir);
my $sink = start_sink(sync => 0, headers => 1);
my $trap = start_sink(sync => 0);
my $port = $sink->port;
my $db = 'postgres';

# what curl's own programs, or libraries below it, take from the environment of a server: proxies, authorities, configurations, passwords,
# and a file for the keys of all that is encrypted
my $node;
{
	my $trapped = 'http://127.0.0.1:' . $trap->port;
	local %ENV = (%ENV, HOME => "$dir/home", CURL_HOME => "$dir/home", XDG_CONFIG_HOME => "$dir/home", NETRC => "$dir/home/.netrc",
		CURL_CA_BUNDLE => $certs{self_signed}[0], SSL_CERT_FILE => $certs{self_signed}[0], SSL_CERT_DIR => "$dir/home", REQUESTS_CA_BUNDLE => $certs{self_signed}[0],
		SSLKEYLOGFILE => "$dir/keys", NO_PROXY => 'nobody.example', no_proxy => 'nobody.example', CURL_SSL_BACKEND => 'gnutls',
		map { $_ => $trapped, uc $_ => $trapped } qw(http_proxy https_proxy all_proxy));
	mkdir "$dir/home";
	append_to_file("$dir/home/.netrc", "machine localhost login eve password secret\nmachine 127.0.0.1 login eve password secret\ndefault login eve password secret\n");
	append_to_file("$dir/home/.curlrc", "insecure\nproxy = $trapped\nheader = \"X-Curlrc: read\"\n");
	chmod 0600, "$dir/home/.netrc";
	$node = new_node('ssrf', preload => 1, conf => "eventmkt.allowed_networks = ''\neventmkt.ca_file = '$certs{ca}'\n");
}

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
	my $tls = $sink->listen(tls => { cert => $certs{$kind}[0], key => $certs{$kind}[1], $kind eq 'sha1' ? (ciphers => 'DEFAULT:@SECLEVEL=0') : () });
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
is($listening, 7, 'all kinds of certificates were tried');

# one text for what is not allowed, whether anybody is there or not, and no way to tell by the time
$change->("eventmkt.allowed_networks = '10.0.0.0/8'");
$node->safe_psql($db, "SELECT eventmkt.drop_rule('again')");
my $nobody = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 1)->sockport;
my %there = (there => "http://127.0.0.1:$port/ok/there", gone => "http://127.0.0.1:$nobody/ok/gone", named => "http://localhost:$port/ok/named");
for my $name (sort keys %there)
{
	create_endpoint($node, $name, undef, '/', url => "https://hooks.example.com/$name", schedule => '{1,1,1,1}', timeout => '2 s');
	$node->safe_psql($db, "UPDATE eventmkt_data.endpoint SET url = '$there{$name}' WHERE name = '$name'");
	$node->safe_psql($db, "SELECT eventmkt.create_rule('$name', on_event => 'Probe', send_to => '$name')");
}
$node->safe_psql($db, "SELECT eventmkt.track('u', 'Probe')");
my $probes = "FROM eventmkt_data.attempt a JOIN eventmkt_data.delivery d ON d.id = a.delivery_id WHERE rule IN ('there', 'gone', 'named')";
ok(wait_for_sql($node, "SELECT count(*) $probes", 15, 30), 'all tries at what is not allowed');
is($node->safe_psql($db, "SELECT string_agg(DISTINCT concat_ws(' ', a.error, a.status, a.response), ', ') $probes"), 'address not allowed', 'one text for all');
cmp_ok($node->safe_psql($db, "SELECT max(us) - min(us) FROM (SELECT rule, min(latency_us) AS us $probes GROUP BY 1) r"), '<', 20000 * slow(),
	'the quickest of each takes as long as the others');
is(scalar($sink->requests(qr{^/ok/(?:there|gone|named)})), 0, 'nobody was asked');

# nothing of the environment was in a request, or written
my @found = grep { /^(?:authorization|proxy-|cookie|x-curlrc)/i } map { keys %{ $_->{headers} } } $sink->requests;
is(join(' ', @found), '', 'no password, cookie or header of the environment');
is(scalar($trap->requests), 0, 'no proxy was asked');
ok(!-e "$dir/keys", 'no keys of TLS were written');
done_testing();

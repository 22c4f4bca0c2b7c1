# the tests' own tools: the receiver driven from Perl, and check.sql finding each planted violation in the real tables
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use Digest::SHA qw(hmac_sha256_base64);
use HTTP::Tiny;
use MIME::Base64;
use PostgreSQL::Test::Utils;
use Test::More;

# ---- the receiver ----
my $sink = start_sink(listen => ['silent']);
my $key = 'k' x 24;
my $secret = 'whsec_' . encode_base64($key, '');

sub send_one
{
	my ($path, $id, $body) = @_;
	my $at = time;
	my $signature = hmac_sha256_base64("$id.$at.$body", $key);
	$signature .= '=' while length($signature) % 4;
	return HTTP::Tiny->new(timeout => 5)->post($sink->url($path), { content => $body, headers => { 'webhook-id' => $id,
		'webhook-timestamp' => $at, 'webhook-signature' => "v1,$signature" } })->{status};
}

$sink->secret('/ok', $secret);
is(send_one('/ok', 'a', '{"n":"ü"}'), 200, 'a signed message');
is(send_one('/fail-first/1?x=1', 'b', '{}'), 500, 'first try');
$sink->mode('/ok', 'status/503');
is(send_one('/ok', 'c', '{}'), 503, 'the mode overrides the path');
$sink->mode('/ok', undef);
my $port = $sink->port;
$sink->restart;
is($sink->port, $port, 'the same port after a restart');
is(send_one('/fail-first/1?x=1', 'b', '{}'), 200, 'tries are remembered over a restart');
is(send_one('/ok', 'c', '{}'), 200, 'a mode is not');
is_deeply([ map { "$_->{id}$_->{try}:$_->{status}" } $sink->journal ], [qw(a1:200 b1:500 c1:503 b2:200 c2:200)], 'journal');
is_deeply([ map { $_->{verified} ? 1 : 0 } $sink->requests('/ok') ], [ 1, 1, 1 ], 'signatures hold, secrets survive a restart');
is(scalar($sink->tries('b')), 2, 'tries of one id');
ok($sink->wait_delivered(3, 5), 'three ids delivered');
ok(!$sink->wait_requests(99, 0.1), 'waiting ends');
is($sink->stats->{paths}{'/ok'}{status}{200}, 1, 'stats');
cmp_ok($sink->max_per_second('/ok'), '>=', 1, 'most in a second');
my $raw = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $sink->raw_port('silent'), Timeout => 5);
ok($raw, 'a raw port accepts');
ok(wait_for(sub { grep { $_->{verb} eq 'silent' } $sink->journal('conn') }, 5), 'and is journalled');

my %certs = make_certs(PostgreSQL::Test::Utils::tempdir());
my $tls_port = $sink->listen(tls => { cert => $certs{good}[0], key => $certs{good}[1] });
my @verify = map { system_log('openssl', 'verify', '-CAfile', $certs{ca}, $certs{$_}[0]) }
	qw(good wrong_host expired self_signed other_ca);
is_deeply([ map { $_ ? 1 : 0 } @verify ], [ 0, 0, 1, 1, 1 ], 'certificates: good, wrong host, expired, self-signed, other CA');
my ($out, $err) = ('', '');
IPC::Run::run([ 'openssl', 's_client', '-connect', "127.0.0.1:$tls_port", '-CAfile', $certs{ca}, '-verify_return_error' ],
	'<', \"GET /ok HTTP/1.0\r\n\r\n", '>', \$out, '2>', \$err);
like($out, qr/Verify return code: 0 \(ok\)/, 'a TLS port');

is(quote_literal("it's \\ all"), " E'it''s \\\\ all'", 'a quoted literal');

# ---- check.js over real tables; check.sql is planted in 003_check.pl ----
my $node = new_node('check');
is(check_safety($node, $sink, sends => 0) =~ /^unknown_on_wire: a: /m, 1, 'check.js runs over the real tables');

stop_all();
done_testing();

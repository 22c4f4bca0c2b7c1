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

# ---- check.sql ----
my $node = new_node('check');
is(violations($node), '', 'empty tables have no violation');
my $dir = PostgreSQL::Test::Utils::tempdir();
is(check_safety($node, $sink, sends => 0) =~ /^unknown_on_wire: a: /m, 1, 'check.js runs over the real tables');
$node->safe_psql('postgres', <<'SQL');
INSERT INTO eventmkt_data.endpoint (endpoint_id, name, url, schedule, created_at)
VALUES (1, 'mail', 'http://127.0.0.1/', '{1}', '2024-05-01');
ALTER TABLE eventmkt_data.delivery DROP CONSTRAINT delivery_status_check, ALTER next_attempt_at DROP NOT NULL;
ALTER TABLE eventmkt_data.pending_trigger DROP CONSTRAINT pending_trigger_state_check, ALTER wake_at DROP NOT NULL;
CREATE FUNCTION pg_temp.n(n int) RETURNS uuid LANGUAGE sql AS $$ SELECT ('00000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid $$;
-- 1 delivered, 2 dead, 3 retrying, 4 in flight, 5 cancelled by a suppression, 6 queued
INSERT INTO eventmkt_data.delivery (id, node, run_id, rule_id, rule, rule_version, profile_id, key, endpoint_id, status, attempts,
	next_attempt_at, lease, schedule, body, event_id, started_at, received_at, run_created_at, due_at, created_at, settled_at, depth)
SELECT pg_temp.n(i), 0, i, 1, 'r', 1, 'p', '', 1, s, a, '2024-05-01', l, '{1}', '{}', i, '2024-05-01', '2024-05-01', '2024-05-01',
	'2024-05-01', '2024-05-01', CASE WHEN s IN ('delivered', 'dead', 'cancelled') THEN timestamptz '2024-05-02' END, 0
FROM (VALUES (1, 'delivered', 2, NULL), (2, 'dead', 3, NULL), (3, 'retrying', 1, NULL), (4, 'in_flight', 1, 7),
	(5, 'cancelled', 0, NULL), (6, 'queued', 0, NULL)) v (i, s, a, l);
INSERT INTO eventmkt_data.attempt (delivery_id, attempt, started_at, latency_us, status)
VALUES (pg_temp.n(1), 1, '2024-05-01', 1, 500), (pg_temp.n(1), 2, '2024-05-01', 1, 200), (pg_temp.n(3), 1, '2024-05-01', 1, 500);
INSERT INTO eventmkt_data.decision (decision_id, run_id, rule_id, rule, rule_version, profile_id, key, outcome, delivery_id, decided_at)
VALUES (1, 1, 1, 'r', 1, 'p', '', 'delivered', pg_temp.n(1), '2024-05-02'), (2, 2, 1, 'r', 1, 'p', '', 'dead', pg_temp.n(2), '2024-05-02'),
	(3, 5, 1, 'r', 1, 'p', '', 'suppressed', pg_temp.n(5), '2024-05-02'), (4, 7, 1, 'r', 1, 'p', '', 'cancelled', NULL, '2024-05-02'),
	(5, 7, 1, 'r', 1, 'p', '', 'held', NULL, '2024-05-01'), (6, 1, 1, 'r', 1, 'p', '', 'late_cancel', pg_temp.n(1), '2024-05-03');
INSERT INTO eventmkt_data.pending_trigger (run_id, node, rule_id, rule_version, profile_id, key, slot, state, started_at, event_id,
	event_name, event_at, properties, last_at, due_at, wake_at, received_at, created_at, depth)
VALUES (8, 0, 1, 1, 'p', '', 0, 'waiting', '2024-05-01', 8, 'e', '2024-05-01', '{}', '2024-05-01', '2024-05-01', '2024-05-01',
	'2024-05-01', '2024-05-01', 0);
SQL
is(violations($node), '', 'tables in order have no violation');

my $n = "('00000000-0000-0000-0000-00000000000%d')::uuid";
my $delivery = sub { sprintf("UPDATE eventmkt_data.delivery SET $_[1] WHERE id = $n", $_[0]) };
my $pending = sub { "UPDATE eventmkt_data.pending_trigger SET $_[0]" };
my $decide = sub { sprintf(<<"SQL", @_) };
INSERT INTO eventmkt_data.decision (decision_id, run_id, rule_id, rule, rule_version, profile_id, key, outcome, delivery_id, decided_at)
VALUES (100, %s, 1, 'r', 1, 'p', '', '%s', %s, '2024-05-04')
SQL
my @planted = (
	[ 'delivery_status', $delivery->(6, "status = 'lost'") ],
	[ 'in_flight_without_lease', $delivery->(4, 'lease = NULL') ],
	[ 'lease_without_flight', $delivery->(3, 'lease = 7') ],
	[ 'in_flight_unbegun', $delivery->(4, 'attempts = 0') ],
	[ 'retrying_unbegun attempt_uncounted', $delivery->(3, 'attempts = 0') ],
	[ 'no_due_time', $delivery->(6, 'next_attempt_at = NULL') ],
	[ 'never_due', $delivery->(6, "next_attempt_at = 'infinity'") ],
	[ 'ended_without_time', $delivery->(1, 'settled_at = NULL') ],
	[ 'delivered_unbegun attempt_uncounted', $delivery->(1, 'attempts = 0') ],
	[ 'ended_without_decision', 'DELETE FROM eventmkt_data.decision WHERE decision_id = 1' ],
	[ 'ended_with_many_decisions run_ended_twice', $decide->(1, 'delivered', sprintf $n, 1) ],
	[ 'decision_differs', $delivery->(2, "status = 'delivered'") ],
	[ 'open_with_decision', $decide->(6, 'cancelled', sprintf $n, 6) ],
	[ 'decision_without_delivery', $decide->(20, 'delivered', 'NULL') ],
	[ 'decision_without_delivery', $decide->(20, 'cancelled', sprintf $n, 9) ],
	[ 'attempt_uncounted', sprintf "INSERT INTO eventmkt_data.attempt VALUES ($n, 2, '2024-05-01', 1)", 3 ],
	[ 'attempt_without_delivery', sprintf "INSERT INTO eventmkt_data.attempt VALUES ($n, 1, '2024-05-01', 1)", 9 ],
	[ 'run_sent_twice', $delivery->(6, 'run_id = 3') ],
	[ 'run_ended_twice', $decide->(7, 'expired', 'NULL') ],
	[ 'run_ended_and_pending', $pending->('run_id = 7') ],
	[ 'run_sent_and_pending', $pending->('run_id = 6') ],
	[ 'run_state', $pending->("state = 'asleep'") ],
	[ 'run_without_wake_time', $pending->('wake_at = NULL') ],
	[ 'run_pending_twice', <<'SQL' ],
CREATE TEMP TABLE t AS SELECT * FROM eventmkt_data.pending_trigger;
UPDATE t SET slot = 1;
INSERT INTO eventmkt_data.pending_trigger SELECT * FROM t
SQL
);
(my $check = PostgreSQL::Test::Utils::slurp_file("$FindBin::Bin/../sink/check.sql")) =~ s/^\\(if|else|endif|set).*$//mg;

for my $p (@planted)
{
	my ($rules, $sql) = @$p;
	(my $query = $check) =~ s/:redeliver/0/g;
	my $found = $node->safe_psql('postgres', "BEGIN; $sql; $query");
	my %rules = map { (split /\|/)[0] => 1 } split /\n/, $found;
	is(join(' ', sort keys %rules), join(' ', sort split / /, $rules), "planted: $rules");
}
$node->safe_psql('postgres', $delivery->(2, "status = 'delivered', attempts = 4"));
$node->safe_psql('postgres', $decide->(2, 'delivered', sprintf $n, 2));
like(violations($node), qr/^ended_with_many_decisions\|.*2\|/, 'a redelivery is an error where none was made');
is(violations($node, redeliver => 1), '', 'and none where it was');

stop_all();
done_testing();

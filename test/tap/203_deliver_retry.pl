# The schedule under a moved clock, Retry-After, dead letters and redelivery, breaker, giving up, limits (R14, R16, R18, R19, R20)
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $node = new_node('retry', preload => 1);
my $sink = start_sink(sync => 0);
my $db = 'postgres';
my $sql = sub { $node->safe_psql($db, @_) };
my $row = sub { "SELECT status || attempts FROM eventmkt_data.delivery WHERE rule = '$_[0]' ORDER BY created_at DESC LIMIT 1" };

# ten tries over about 75 hours, then dead, then redelivered with id and body
create_endpoint($node, 'down', $sink, '/status/503');
$sql->("SELECT eventmkt.create_rule('down', on_event => 'Down', send_to => 'down')");
my $t0 = $sql->("SELECT extract(epoch FROM eventmkt.clock())");
$sql->("SELECT eventmkt.track('u', 'Down')");
for my $try (1 .. 10)
{
	ok(wait_for_sql($node, $row->('down'), ($try < 10 ? 'retrying' : 'dead') . $try, 20), "try $try") or last;
	last if $try == 10;
	my $gap = $sql->("SELECT extract(epoch FROM next_attempt_at - eventmkt.clock()) FROM eventmkt_data.delivery");
	my $step = $sql->("SELECT schedule[$try] FROM eventmkt_data.delivery");
	cmp_ok($gap, '<=', $step * 1.2, "gap $try is not too long");
	cmp_ok($gap, '>=', $step * 0.8 - 3, "gap $try is not too short");
	$sql->("SELECT eventmkt.advance_clock(greatest(next_attempt_at - eventmkt.clock(), '0') + '1 ms') FROM eventmkt_data.delivery") if $step > 5;
}
my $hours = $sql->("SELECT (extract(epoch FROM settled_at) - $t0) / 3600 FROM eventmkt_data.delivery");
cmp_ok($hours, '>', 60, "dead after $hours hours");
is($sql->("SELECT count(*) FROM eventmkt_data.attempt"), 10, 'ten attempts are kept');
is($sql->("SELECT outcome || ' ' || reason || ' ' || (facts->>'status') FROM eventmkt_data.decision"), 'dead tries_used_up 503', 'the decision');
my $id = $sql->("SELECT id FROM eventmkt_data.delivery");
$sink->mode('/status/503', 'ok');
is($sql->("SELECT eventmkt.redeliver('$id')"), 't', 'redeliver');
ok(wait_for_sql($node, $row->('down'), 'delivered11', 20), 'delivered at the eleventh');
is(scalar(keys %{ { map { $_->{sha256} => 1 } $sink->tries($id) } }), 1, 'the body it always had');
is($sql->("SELECT string_agg(outcome || coalesce(' ' || reason, ''), ', ' ORDER BY decided_at) FROM eventmkt_data.decision"), 'dead tries_used_up, delivered redelivered', 'both decisions');
is($sql->("SELECT eventmkt.redeliver('$id')"), 't', 'redeliver what was delivered');
ok(wait_for_sql($node, $row->('down'), 'delivered12', 20), 'once more');
like(($node->psql($db, "SELECT eventmkt.redeliver('00000000-0000-7000-8000-000000000000')"))[2], qr/no delivery/, 'an unknown one');
$sink->mode('/status/503', undef);
is($sql->("SELECT eventmkt.redeliver_dead('down', '-infinity', 'infinity')"), 0, 'no dead ones are left');

# redelivery racing retries: one success state
create_endpoint($node, 'race', $sink, '/fail-first/3', schedule => '{1,1,1,1,1,1}');
$sql->("SELECT eventmkt.create_rule('race', on_event => 'Race', send_to => 'race')");
$sql->("SELECT eventmkt.track('race', 'Race')");
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE rule = 'race'", 1, 10), 'a message to race for');
for (1 .. 60)
{
	last if $sql->($row->('race')) =~ /delivered/;
	$sql->("SELECT eventmkt.redeliver(id) FROM eventmkt_data.delivery WHERE rule = 'race' AND status <> 'delivered'");
	sleep 0.02;
}
ok(wait_for_sql($node, "SELECT status FROM eventmkt_data.delivery WHERE rule = 'race'", 'delivered', 20), 'redeliver against retry');
is($sql->("SELECT count(*) FROM eventmkt_data.decision WHERE rule = 'race' AND outcome = 'delivered'"), 1, 'one success');

# Retry-After, as seconds and as a date, clamped
for my $case ([ 'ra1', '/status/429?retry-after=1800', 1800, 60 ], [ 'ra2', '/status/503?retry-after=date:1200', 1200, 60 ],
	[ 'ra3', '/status/503?retry-after=999999', 3600, 60 ], [ 'ra4', '/status/429?retry-after=soon', 60, 60 ])
{
	my ($name, $path, $want, $step) = @$case;
	create_endpoint($node, $name, $sink, $path, schedule => "{$step}");
	$sql->("SELECT eventmkt.create_rule('$name', on_event => 'After', send_to => '$name')");
}
$sql->("SELECT eventmkt.track('u', 'After')");
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE rule LIKE 'ra_' AND status = 'retrying'", 4, 20), 'four were told to wait');
is($sql->("SELECT string_agg(CASE WHEN gap BETWEEN want - 15 AND want + 15 THEN 'ok' ELSE rule || ' ' || gap END, ' ' ORDER BY rule) FROM (
	SELECT rule, extract(epoch FROM next_attempt_at - a.started_at) - extract(epoch FROM eventmkt.clock() - clock_timestamp()) AS gap,
	CASE rule WHEN 'ra1' THEN 1800 WHEN 'ra2' THEN 1200 WHEN 'ra3' THEN 3600 ELSE 60 END AS want
	FROM eventmkt_data.delivery d JOIN eventmkt_data.attempt a ON a.delivery_id = d.id WHERE rule LIKE 'ra_') q"), 'ok ok ok ok', 'each as long as it may');

# breaker: opens after ten failures, tells, probes one at a time, closes on success; then all go out once
create_endpoint($node, 'breaker', $sink, '/status/500', schedule => '{20,20,20,20,20,20,20,20}', max_in_flight => 4);
$sql->("SELECT eventmkt.create_rule('breaker', on_event => 'Break', send_to => 'breaker')");
my $heard = '';
my $listener = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr($db), '-c', 'LISTEN eventmkt', '-c', 'SELECT pg_sleep(4)', '-c', 'SELECT 1' ],
	'>', \$heard);
$sql->("SELECT eventmkt.track('b' || i, 'Break') FROM generate_series(1, 60) i");
ok(wait_for_sql($node, "SELECT open_until > eventmkt.clock() FROM eventmkt_data.endpoint_state s JOIN eventmkt_data.endpoint e USING (endpoint_id)
	WHERE name = 'breaker'", 't', 20), 'it opens');
my $seen = () = $sink->requests('/status/500');
cmp_ok($seen, '<=', 14, "after ten failures and what was under way ($seen)");
$listener->finish;
like($heard, qr/\{"endpoint": ?"breaker", "state": ?"open"\}/, 'and says so');
is(scalar(() = $sink->requests('/status/500')), $seen, 'nothing is sent while it is open');
$sql->("SELECT eventmkt.advance_clock('10 seconds')");
ok(wait_for(sub { (() = $sink->requests('/status/500')) > $seen }, 10), 'then a probe');
sleep 1;
is(scalar(() = $sink->requests('/status/500')), $seen + 1, 'only one');
$sink->mode('/status/500', 'ok');
$sql->("SELECT eventmkt.advance_clock('60 seconds')");
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE rule = 'breaker' AND status = 'delivered'", 60, 40), 'it closes, and all go out');
is($sql->("SELECT failures FROM eventmkt_data.endpoint_state s JOIN eventmkt_data.endpoint e USING (endpoint_id) WHERE name = 'breaker'"), 0, 'with a clean sheet');

# giving up: failing for too long disables; what waits is held, and goes out oldest first when it is enabled
create_endpoint($node, 'hopeless', $sink, '/status/502', schedule => '{1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1}', give_up_after => '2 days');
$sql->("SELECT eventmkt.create_rule('hopeless', on_event => 'Hopeless', send_to => 'hopeless')");
$sql->("SELECT eventmkt.track('x' || i, 'Hopeless') FROM generate_series(1, 12) i");
ok(wait_for_sql($node, "SELECT failures >= 10 FROM eventmkt_data.endpoint_state s JOIN eventmkt_data.endpoint e USING (endpoint_id) WHERE name = 'hopeless'", 't', 20), 'it fails');
$sql->("SELECT eventmkt.advance_clock('49 hours')");
ok(wait_for_sql($node, "SELECT enabled FROM eventmkt_data.endpoint WHERE name = 'hopeless'", 'f', 20), 'after two days it is disabled');
like($sql->("SELECT disabled_reason FROM eventmkt_data.endpoint WHERE name = 'hopeless'"), qr/give_up_after/, 'for that reason');
is($sql->("SELECT count(*) FROM eventmkt_data.delivery WHERE rule = 'hopeless' AND status IN ('queued', 'retrying')"), 12, 'all are held');
$sink->mode('/status/502', 'ok');
$sql->("SELECT eventmkt.enable_endpoint('hopeless')");
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE rule = 'hopeless' AND status = 'delivered'", 12, 20), 'and delivered when it is enabled');

# caps: at most so many at once, at most so many a second; an endpoint that hangs delays no other
create_endpoint($node, 'narrow', $sink, '/delay/150', max_in_flight => 3);
create_endpoint($node, 'paced', $sink, '/ok/paced', rate_limit => 20);
create_endpoint($node, 'hanging', $sink, '/hang/h', timeout => '8 s', max_in_flight => 32);
create_endpoint($node, 'quick', $sink, '/ok/quick');
$sql->("SELECT eventmkt.create_rule('$_', on_event => '\u$_', send_to => '$_')") for qw(narrow paced hanging quick);
$sql->("SELECT eventmkt.track('u' || i, 'Hanging') FROM generate_series(1, 100) i");
$sql->("SELECT eventmkt.track('u' || i, 'Narrow') FROM generate_series(1, 30) i");
$sql->("SELECT eventmkt.track('u' || i, 'Paced') FROM generate_series(1, 60) i");
sleep 0.5;
for my $i (1 .. 30) { $sql->("SELECT eventmkt.track('u$i', 'Quick')"); sleep 0.02; }
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE rule IN ('narrow', 'paced', 'quick') AND status = 'delivered'", 120, 30), 'the others have theirs');
my $most = 0;
my @ends = sort { $a->[0] <=> $b->[0] || $a->[1] <=> $b->[1] } map { ([ $_->{started}, 1 ], [ $_->{ended}, -1 ]) }
	query_rows($node, "SELECT extract(epoch FROM a.started_at)::float8 AS started, extract(epoch FROM a.started_at)::float8 + latency_us / 1e6 AS ended
	FROM eventmkt_data.attempt a JOIN eventmkt_data.delivery d ON d.id = a.delivery_id WHERE rule = 'narrow'");
my $now = 0;
for (@ends) { $now += $_->[1]; $most = $now if $now > $most; }
is($most, 3, 'three at once');
cmp_ok($sink->max_per_second('/ok/paced'), '<=', 20, 'at most twenty in any second');
in_time($sql->("SELECT max(extract(epoch FROM settled_at - created_at)) FROM eventmkt_data.delivery WHERE rule = 'quick'"), 1, 'one that hangs delays no other');
is(violations($node, redeliver => 1), '', 'state machine');
unlike(slurp_file($node->logfile), qr/could not settle|terminated by signal|TRAP/, 'nothing bad in the log');
done_testing();

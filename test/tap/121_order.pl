# Strict order by person at an endpoint (R20): errors, retries, people who are merged, redelivery, two workers, a switch back and forth
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my ($people, $events) = (30, Emk::sized(1500, 10_000));
my $node = new_node('order', preload => 1, conf => 'eventmkt.workers = 2');
my $sink = start_sink(sync => 0, bodies => 0);
my $sql = sub { $node->safe_psql('postgres', "SET client_min_messages = error; $_[0]") };
my $left = sub { "SELECT count(*) FROM eventmkt_data.delivery WHERE rule = '$_[0]' AND status IN ('queued', 'in_flight', 'retrying')" };

# What came to the sink in the wrong order: a message of a person that began before an earlier one of theirs had ended, or beside it.
# Of those that are settled the outbox has the order: ids rise.
sub disorder
{
	my ($rule) = @_;
	my %d = map { $_->{id} => $_ } query_rows($node, "SELECT id, profile_id AS who, row_number() OVER (PARTITION BY profile_id ORDER BY id) AS n
		FROM eventmkt_data.delivery WHERE rule = '$rule'");
	my (%at, @wrong, %open);
	for my $r (sort { $a->{t} <=> $b->{t} } map {
			my $d = $d{ $_->{id} // '' };
			$d ? ({ %$d, t => $_->{started}, ended => $_->{ended}, ok => ($_->{status} // 0) == 200 }) : () } tries($rule))
	{
		my $last = $at{ $r->{who} } // { n => 0, ok => 1, ended => 0 };
		push @wrong, "$r->{who}: $r->{n} after $last->{n}" . ($last->{ok} ? '' : ', which had failed') unless
			$r->{n} == $last->{n} + 1 && $last->{ok} || $r->{n} == $last->{n} && !$last->{ok};
		push @wrong, "$r->{who}: $r->{n} beside $last->{n}" if $r->{t} < $last->{ended};
		$at{ $r->{who} } = $r;
	}
	return join "\n", @wrong[0 .. ($#wrong < 9 ? $#wrong : 9)];
}

sub tries
{
	return query_rows($node, "SELECT a.delivery_id AS id, extract(epoch FROM a.started_at)::float8 AS started,
		extract(epoch FROM a.started_at)::float8 + a.latency_us / 1e6 AS ended, a.status
		FROM eventmkt_data.attempt a JOIN eventmkt_data.delivery d ON d.id = a.delivery_id WHERE d.rule = '$_[0]'");
}

# 20 % errors: in order for each person
create_endpoint($node, 'orders', $sink, '/flaky?p503=0.2', ordered => 't', max_in_flight => 64, schedule => '{0,0,0,0,1,1,1,1,1,1,1,1}');
$sql->("SELECT eventmkt.create_rule('step', on_event => 'Step', send_to => 'orders')");
$sql->("DO \$\$ BEGIN FOR i IN 1 .. $events LOOP PERFORM eventmkt.track('p' || i % $people, 'Step', jsonb_build_object('n', i));
	IF i % 50 = 0 THEN COMMIT; END IF; END LOOP; END \$\$");
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE rule = 'step' AND status = 'delivered'", $events, Emk::sized(120, 600)),
	"all of $events arrive");
is(disorder('step'), '', 'each person gets theirs in order, one at a time');
my @rows = query_rows($node, "SELECT profile_id AS who, (body::jsonb -> 'data' -> 'event' -> 'properties' ->> 'n')::int AS n, id
	FROM eventmkt_data.delivery WHERE rule = 'step' ORDER BY id");
my (%n, @back);
for (@rows) { push @back, "$_->{who} $_->{n}" if ($n{ $_->{who} } // 0) >= $_->{n}; $n{ $_->{who} } = $_->{n}; }
is("@back[0 .. ($#back < 4 ? $#back : 4)]", '', 'the order of the outbox is that of the events');
my ($failed) = $sql->("SELECT count(*) FROM eventmkt_data.attempt WHERE status <> 200") =~ /(\d+)/;
cmp_ok($failed, '>', $events / 10, "$failed tries failed");

# one person's message fails: their later ones wait, others do not
create_endpoint($node, 'stuck', $sink, '/ok/stuck', ordered => 't', schedule => '{1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1}');
$sql->("SELECT eventmkt.create_rule('stuck', on_event => 'Stuck', send_to => 'stuck')");
$sink->mode('/ok/stuck', 'status/503');
$sql->("SELECT eventmkt.track('ann', 'Stuck')");
ok(wait_for_sql($node, "SELECT status FROM eventmkt_data.delivery WHERE rule = 'stuck'", 'retrying', 60), 'a message fails');
$sink->mode('/ok/stuck', undef);
my $t = time;
$sql->("SELECT eventmkt.track('ann', 'Stuck') FROM generate_series(1, 300)");
$sql->("SELECT eventmkt.track('bob' || i, 'Stuck') FROM generate_series(1, 20) i");
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE profile_id LIKE 'bob%' AND status = 'delivered'", 20, 60), 'others are not held up');
ok(wait_for_sql($node, $left->('stuck'), 0, 60), 'and hers follow');
is(disorder('stuck'), '', 'in order');

# dead ones block no longer; redelivered, they go before what waits
create_endpoint($node, 'mortal', $sink, '/status/400', ordered => 't');
$sql->("SELECT eventmkt.create_rule('mortal', on_event => 'Mortal', send_to => 'mortal')");
$sql->("SELECT eventmkt.track('cat', 'Mortal', jsonb_build_object('n', i)) FROM generate_series(1, 3) i");
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE rule = 'mortal' AND status = 'dead'", 3, 60), 'one dies after the other');
$sql->("SELECT eventmkt.disable_endpoint('mortal')");
$sink->mode('/status/400', 'ok');
$sql->("SELECT eventmkt.track('cat', 'Mortal', jsonb_build_object('n', i)) FROM generate_series(4, 6) i");
$sql->("SELECT eventmkt.redeliver_dead('mortal', '-infinity', 'infinity')");
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE rule = 'mortal' AND status = 'queued'", 6, 60), 'all six wait');
$sql->("SELECT eventmkt.enable_endpoint('mortal')");
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE rule = 'mortal' AND status = 'delivered'", 6, 60), 'and arrive');
is($sql->("SELECT string_agg(n, ' ' ORDER BY started_at) FROM (SELECT a.started_at, body::jsonb -> 'data' -> 'event' -> 'properties' ->> 'n' AS n
	FROM eventmkt_data.attempt a JOIN eventmkt_data.delivery d ON d.id = a.delivery_id WHERE rule = 'mortal' AND a.status = 200) q"), '1 2 3 4 5 6', 'in the order they were made');

# what a cancelling event, a dropped rule or somebody's own UPDATE takes away lets the others go
create_endpoint($node, 'held', $sink, '/status/503?held', ordered => 't', schedule => '{3600,3600}');
$sql->("SELECT eventmkt.create_rule('first', on_event => 'First', unless => '{Stop}', look_back => '1 hour', send_to => 'held');
	SELECT eventmkt.create_rule('second', on_event => 'Second', send_to => 'held')");
for my $case ([ 'dan', "SELECT eventmkt.track('dan', 'Stop')" ], [ 'eve', "SELECT eventmkt.drop_rule('first')" ],
	[ 'fay', "UPDATE eventmkt_data.delivery SET status = 'cancelled', settled_at = now() WHERE profile_id = 'fay' AND rule = 'first'" ])
{
	my ($who, $do) = @$case;
	$sink->mode('/status/503', undef);
	$sql->("SELECT eventmkt.create_rule('first', on_event => 'First', send_to => 'held')") if $who eq 'fay';
	$sql->("SELECT eventmkt.track('$who', 'First')");
	ok(wait_for_sql($node, "SELECT status FROM eventmkt_data.delivery WHERE profile_id = '$who'", 'retrying', 60), "$who: the first fails");
	$sql->("SELECT eventmkt.track('$who', 'Second')");
	ok(wait_for_sql($node, "SELECT next_attempt_at FROM eventmkt_data.delivery WHERE profile_id = '$who' AND rule = 'second'", 'infinity', 60), "$who: the second waits");
	is($sql->("SELECT state FROM eventmkt.health() WHERE \"check\" = 'deliveries'"), 'ok', 'health() answers');
	$sink->mode('/status/503', 'ok');
	$sql->($do);
	ok(wait_for_sql($node, "SELECT status FROM eventmkt_data.delivery WHERE profile_id = '$who' AND rule = 'second'", 'delivered', 60), "$who: and goes");
}

# two ids of one person, joined while both have messages waiting
$sink->mode('/flaky', 'status/503');
$sql->("SELECT eventmkt.track(CASE i % 2 WHEN 0 THEN 'gus' ELSE 'gus-phone' END, 'Step', jsonb_build_object('n', i)) FROM generate_series(1, 40) i");
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE profile_id LIKE 'gus%' AND status = 'retrying'", 2, 60), 'two people have a message that fails');
$sql->("SELECT eventmkt.identify('gus', '{}', 'gus-phone')");
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE profile_id = 'gus'", 40, 60), 'they are one');
my $joined = $sql->("SELECT clock_timestamp()");
$sink->mode('/flaky', undef);
ok(wait_for_sql($node, $left->('step'), 0, 60), 'all of theirs arrive');
is($sql->("SELECT count(*) FROM (SELECT id, lag(id) OVER (ORDER BY settled_at, id) AS before FROM eventmkt_data.delivery
	WHERE profile_id = 'gus' AND settled_at > '$joined'::timestamptz + '1 second') q WHERE id < before"), 0, 'in one order');

# on and off while messages wait
create_endpoint($node, 'switch', $sink, '/ok/switch', max_in_flight => 16);
$sql->("SELECT eventmkt.create_rule('switch', on_event => 'Switch', send_to => 'switch')");
$sql->("SELECT eventmkt.disable_endpoint('switch')");
$sql->("SELECT eventmkt.track('hal', 'Switch') FROM generate_series(1, 200)");
ok(wait_for_sql($node, $left->('switch'), 200, 60), 'two hundred wait');
my $url = $sink->url('/ok/switch');
$sql->("SELECT eventmkt.replace_endpoint('switch', '$url', max_in_flight => 16, ordered => true)");
is($sql->("SELECT count(*) FROM eventmkt_data.delivery WHERE rule = 'switch' AND ordered"), 200, 'they are in the lane');
$sink->mode('/ok/switch', 'delay/20');
$sql->("SELECT eventmkt.enable_endpoint('switch')");
ok(wait_for_sql($node, "SELECT count(*) > 30 FROM eventmkt_data.delivery WHERE rule = 'switch' AND status = 'delivered'", 't', 60), 'some went');
is(disorder('switch'), '', 'in order');
$sql->("SELECT eventmkt.replace_endpoint('switch', '$url', max_in_flight => 16)");
ok(wait_for_sql($node, $left->('switch'), 0, 60), 'and the others by many');

# a person with a long lane beside many others: claims stay short
create_endpoint($node, 'long', $sink, '/ok/long', ordered => 't', max_in_flight => 32);
$sql->("SELECT eventmkt.create_rule('long', on_event => 'Long', send_to => 'long')");
my $many = Emk::sized(20_000, 200_000);
# statistics of a time when nobody waited
$sql->('ANALYZE eventmkt_data.delivery');
$sql->("SELECT eventmkt.disable_endpoint('long')");
$sql->("INSERT INTO eventmkt_data.delivery (id, node, run_id, rule_id, rule, rule_version, profile_id, key, endpoint_id, status, next_attempt_at, schedule,
	body, event_id, started_at, received_at, run_created_at, due_at, created_at, depth, ordered)
	SELECT ('01000000-0000-7000-8000-' || lpad(to_hex(i), 12, '0'))::uuid, 0, -i, r.rule_id, 'long', 1, 'ivy', '', e.endpoint_id, 'queued', now() - '1 hour'::interval,
	e.schedule, '{}', 0, now(), now(), now(), now(), now(), 0, true FROM generate_series(1, $many) i, eventmkt_data.endpoint e, eventmkt_data.rule r
	WHERE e.name = 'long' AND r.name = 'long'");
$sql->("SELECT eventmkt.track('jim' || i, 'Long') FROM generate_series(1, 50) i");
$sql->("SELECT eventmkt.enable_endpoint('long')");
$t = time;
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE profile_id LIKE 'jim%' AND status = 'delivered'", 50, Emk::sized(120, 400)), 'behind a lane of ' . $many . ' others');
note(sprintf 'the others arrived after %.1f s', time - $t);
# what is on its way is settled first: a DELETE that holds its row for longer than the worker waits for a lock would be told in the log
$sql->("SELECT eventmkt.disable_endpoint('long')");
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE rule = 'long' AND status = 'in_flight'", 0, 60), 'none is on its way');
$sql->("DELETE FROM eventmkt_data.delivery WHERE profile_id = 'ivy'");
is(join('', grep { !/^(ended_without_decision|decision_without_delivery|attempt_without_delivery)\|/ } map { "$_\n" } split /\n/, violations($node, redeliver => 1)), '', 'state machine');
unlike(slurp_file($node->logfile), qr/could not settle|terminated by signal|TRAP|ERROR/, 'nothing bad in the log');
done_testing();

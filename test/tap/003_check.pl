# The check of the state machine (test/sink/check.sql) sees what it says it sees: each of its violations is planted into tables in
# order and must be reported, by its name. Those of the receiver's and the client's journals are planted in test/sink/check.test.js.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('check');
my $check = "$FindBin::Bin/../sink/check.sql";
my $d = 'eventmkt_data.delivery';
my $p = 'eventmkt_data.pending_trigger';

sub ask
{
	my ($plant) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "SET client_min_messages = error; BEGIN; $plant;\n\\i $check\nROLLBACK;", on_error_stop => 1);
	diag($err) if $rc != 0 || $err ne '';
	return $out;
}

# ---- a world in order: people a to g; a delivered, b dead at its second try, c cancelled, d in flight, e retrying, f and g queued; w waits
$node->safe_psql('postgres', "SET client_min_messages = error;
	SELECT eventmkt.create_endpoint('e', 'http://127.0.0.1:19999/x');
	SELECT eventmkt.create_rule('r', on_event => 'E');
	SELECT eventmkt.create_rule('l', on_event => 'L', after => '1 day');
	SELECT count(eventmkt.track(u, 'E')) FROM unnest('{a,b,c,d,e,f,g}'::text[]) u;
	SELECT eventmkt.track('w', 'L');
	SELECT eventmkt.run_due();
	UPDATE $d SET status = 'delivered', attempts = 1, settled_at = created_at WHERE profile_id = 'a';
	UPDATE $d SET status = 'dead', attempts = 2, settled_at = created_at WHERE profile_id = 'b';
	UPDATE $d SET status = 'cancelled', settled_at = created_at WHERE profile_id = 'c';
	UPDATE $d SET status = 'in_flight', attempts = 1, lease = 7 WHERE profile_id = 'd';
	INSERT INTO eventmkt_data.lease SELECT node, 7, 0, array_agg(id) FROM $d WHERE profile_id = 'd' GROUP BY node;
	UPDATE $d SET status = 'retrying', attempts = 1 WHERE profile_id = 'e';
	INSERT INTO eventmkt_data.attempt (delivery_id, attempt, started_at, latency_us)
		SELECT id, n, created_at, 1 FROM $d, generate_series(1, attempts) n WHERE status <> 'in_flight'");
my $decide = "INSERT INTO eventmkt_data.decision (decision_id, run_id, rule_id, rule, rule_version, profile_id, key, outcome, delivery_id, decided_at)
	SELECT nextval('eventmkt_data.decision_id_seq'), run_id, rule_id, rule, rule_version, profile_id, key";
$node->safe_psql('postgres', "$decide, status, id, settled_at FROM $d WHERE settled_at IS NOT NULL");
is(ask('SELECT'), '', 'a world in order has no violation');

# ---- one fault each: the rule that must see it, others that see it too
my %plant = (
	delivery_status => [ "ALTER TABLE $d DROP CONSTRAINT delivery_status_check; UPDATE $d SET status = 'lost' WHERE profile_id = 'f'" ],
	in_flight_without_lease => [ "UPDATE $d SET lease = NULL WHERE profile_id = 'd'" ],
	in_flight_unnamed => [ "DELETE FROM eventmkt_data.lease" ],
	waiting_differs => [ "ALTER TABLE $d ALTER waiting DROP EXPRESSION; UPDATE $d SET waiting = false WHERE profile_id = 'f'" ],
	two_of_a_person_in_flight => [ "UPDATE $d SET ordered = true WHERE profile_id = 'd'; UPDATE $d SET status = 'in_flight', attempts = 1,
		lease = 7, ordered = true, profile_id = 'd' WHERE profile_id = 'f'", 'in_flight_unnamed' ],
	lane_differs => [ "ALTER TABLE $d ALTER lane DROP EXPRESSION; UPDATE $d SET lane = true WHERE profile_id = 'f'" ],
	died_at_differs => [ "ALTER TABLE $d ALTER died_at DROP EXPRESSION; UPDATE $d SET died_at = NULL WHERE profile_id = 'b'" ],
	lease_without_flight => [ "UPDATE $d SET lease = 7 WHERE profile_id = 'f'" ],
	in_flight_unbegun => [ "UPDATE $d SET attempts = 0 WHERE profile_id = 'd'" ],
	retrying_unbegun => [ "UPDATE $d SET attempts = 0 WHERE profile_id = 'e'", 'attempt_uncounted' ],
	no_due_time => [ "ALTER TABLE $d ALTER next_attempt_at DROP NOT NULL; UPDATE $d SET next_attempt_at = NULL WHERE profile_id = 'f'" ],
	never_due => [ "UPDATE $d SET next_attempt_at = 'infinity' WHERE profile_id = 'e'" ],
	ended_without_time => [ "UPDATE $d SET settled_at = NULL WHERE profile_id = 'a'" ],
	delivered_unbegun => [ "UPDATE $d SET attempts = 0 WHERE profile_id = 'a'", 'attempt_uncounted' ],
	ended_without_decision => [ "DELETE FROM eventmkt_data.decision WHERE profile_id = 'a'" ],
	ended_with_many_decisions => [ "$decide, status, id, settled_at FROM $d WHERE profile_id = 'a'", 'run_ended_twice' ],
	decision_differs => [ "UPDATE eventmkt_data.decision SET outcome = 'dead' WHERE profile_id = 'a'" ],
	open_with_decision => [ "$decide, 'cancelled', id, created_at FROM $d WHERE profile_id = 'f'" ],
	decision_without_delivery => [ "UPDATE eventmkt_data.decision SET delivery_id = NULL WHERE profile_id = 'a'", 'ended_without_decision' ],
	attempt_uncounted => [ "INSERT INTO eventmkt_data.attempt (delivery_id, attempt, started_at, latency_us)
		SELECT id, 2, created_at, 1 FROM $d WHERE profile_id = 'a'" ],
	attempt_without_delivery => [ "DELETE FROM $d WHERE profile_id = 'e'" ],
	end_unlogged => [ "DELETE FROM eventmkt_data.attempt WHERE attempt = 2" ],
	run_sent_twice => [ "UPDATE $d SET run_id = (SELECT run_id FROM $d WHERE profile_id = 'f') WHERE profile_id = 'g'" ],
	run_ended_twice => [ "$decide, 'expired', NULL, settled_at FROM $d WHERE profile_id = 'a'" ],
	run_ended_and_pending => [ "INSERT INTO eventmkt_data.decision (decision_id, run_id, rule_id, rule, rule_version, profile_id, key, outcome, decided_at)
		SELECT nextval('eventmkt_data.decision_id_seq'), run_id, rule_id, 'l', rule_version, profile_id, key, 'expired', created_at FROM $p" ],
	run_sent_and_pending => [ "UPDATE $p SET run_id = (SELECT run_id FROM $d WHERE profile_id = 'f')" ],
	run_pending_twice => [ "CREATE TEMP TABLE twin AS SELECT * FROM $p; UPDATE twin SET slot = 1; INSERT INTO $p SELECT * FROM twin" ],
	run_state => [ "ALTER TABLE $p DROP CONSTRAINT pending_trigger_state_check; UPDATE $p SET state = 'lost'" ],
	run_without_wake_time => [ "ALTER TABLE $p ALTER wake_at DROP NOT NULL; UPDATE $p SET wake_at = NULL" ],
	run_never_wakes => [ "UPDATE $p SET wake_at = 'infinity'" ],
	run_without_rule => [ "UPDATE $p SET rule_version = 99" ],
);

my %known = map { $_ => 1 } slurp_file($check) =~ /^\tSELECT '(\w+)'/mg;
is_deeply([ grep { !$plant{$_} } sort keys %known ], [], 'each rule of the check has its planted fault');
for my $rule (sort keys %plant)
{
	my ($sql, @also) = @{ $plant{$rule} };
	my %seen = map { /^(\w+)\|/ ? ($1 => 1) : () } split /\n/, ask($sql);
	my %may = map { $_ => 1 } $rule, @also;
	ok($seen{$rule}, "planted: $rule") or diag(join ' ', sort keys %seen);
	is(join(' ', grep { !$may{$_} } sort keys %seen), '', "and nothing else is reported");
}
is(ask('SELECT'), '', 'the tables are in order again');

# what a redelivery leaves is in order only when it is said that there was one
my $again = "UPDATE $d SET status = 'delivered', attempts = 3 WHERE profile_id = 'b';
	INSERT INTO eventmkt_data.attempt (delivery_id, attempt, started_at, latency_us) SELECT id, 3, created_at, 1 FROM $d WHERE profile_id = 'b';
	$decide, 'delivered', id, settled_at + interval '1 s' FROM $d WHERE profile_id = 'b'";
like(ask($again), qr/^ended_with_many_decisions/m, 'a second end is a violation');
is(ask("$again;\n\\set redeliver 1\nSELECT"), '', 'but not of what was redelivered');
done_testing();

# Promises that need a server to go down: prepared transactions over a restart (R05), and crashes at random moments of busy
# clients (R04): no trigger without its event, no acknowledged event without its work or its decision.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $node = new_node('invariants', conf => "synchronous_commit = on\nfsync = off\n");
my $sends = q{SELECT coalesce(string_agg(profile_id || ' ' || outcome, ', ' ORDER BY profile_id), '') FROM eventmkt_data.decision
	WHERE rule = 'prepared'};

sub query { return $node->safe_psql('postgres', "SET client_min_messages = error; $_[0]") }

# ---- prepared transactions, before and after a restart and a crash
query(q{SELECT eventmkt.create_rule('prepared', on_event => 'Paid', send_to => 'none')});
query(qq{BEGIN; SELECT eventmkt.track('$_', 'Paid', message_id => '$_'); PREPARE TRANSACTION '$_'}) for qw(a b c d e);
query(qq{BEGIN; INSERT INTO eventmkt_data.inbox (user_id, event) VALUES ('f', 'Paid'); PREPARE TRANSACTION 'f'});
is(query('SELECT eventmkt.run_due()'), 0, 'prepared: nothing is to do');
query(q{ROLLBACK PREPARED 'a'});
query(q{COMMIT PREPARED 'b'});
is(query('SELECT eventmkt.run_due()'), 1, 'one was committed');
is(query($sends), 'b recorded', 'and is sent, the other not');
$node->restart;
is(query('SELECT eventmkt.run_due()'), 0, 'after a restart the others still wait');
query(q{ROLLBACK PREPARED 'c'});
query(q{COMMIT PREPARED 'd'});
is(query('SELECT eventmkt.run_due()'), 1, 'committed after a restart');
$node->stop('immediate');
$node->start;
query(q{COMMIT PREPARED 'e'});
query(q{COMMIT PREPARED 'f'});
is(query('SELECT eventmkt.run_due()'), 2, 'committed after a crash');
is(query($sends), 'b recorded, d recorded, e recorded, f recorded', 'each once, none that was rolled back');
is(query(q{SELECT count(*) FROM eventmkt_data.message_key WHERE user_id IN ('a', 'c')}), 0, 'a message id that was rolled back is free');
is(query('SELECT (SELECT count(*) FROM eventmkt_data.work), (SELECT count(*) FROM eventmkt_data.pending_trigger)'), '0|0',
	'nothing is left');

# an event that relies on a waiting run of an inactivity rule leaves no work, unless it is prepared: nobody knows when it will commit
query(q{SELECT eventmkt.create_rule('dormant', on_event => 'Seen', unless => '{Seen}', after => '30 days', send_to => 'none')});
query(q{SELECT eventmkt.track('z', 'Seen'); SELECT eventmkt.run_due(); SELECT eventmkt.track('z', 'Seen');
	BEGIN; SELECT eventmkt.track('z', 'Seen'); PREPARE TRANSACTION 'z'});
is(query('SELECT count(*) FROM eventmkt_data.work'), 0, 'relied on a run: no work');
query(q{COMMIT PREPARED 'z'});
is(query('SELECT count(*) FROM eventmkt_data.work'), 1, 'relied on a run and prepared: work after all');
query(q{SELECT eventmkt.drop_rule('dormant'); SELECT eventmkt.run_due()});

# ---- crashes under load: four clients, each writing what it was told into a file of its own; one worker session runs passes
query(q{SELECT eventmkt.change_setting('profile_burst', '1000000')});	# fifty people send all they can
query(q{SELECT eventmkt.create_rule('now', on_event => 'Clicked', send_to => 'none')});
query(q{SELECT eventmkt.create_rule('later', on_event => 'Clicked', after => '1 hour', on_repeat => 'parallel', send_to => 'none')});
my $dir = PostgreSQL::Test::Utils::tempdir();
my %acked;
my %told;

# One client: every message has an id of its own and is told until the server says that it has it
sub client_script
{
	my ($round, $who) = @_;
	return join '', "\\set ON_ERROR_STOP 1\n",
		map { "SELECT 'ack $round-$who-$_' FROM eventmkt.track('u' || $_ % 50, 'Clicked', message_id => '$round-$who-$_');\n" } 1 .. 20000;
}

for my $round (1 .. 3)
{
	my @clients;
	for my $who (1 .. 4)
	{
		append_to_file("$dir/$round-$who.sql", client_script($round, $who));
		push @clients, IPC::Run::start([ $node->installed_command('psql'), '-XqAt', '-d', $node->connstr('postgres'), '-f',
				"$dir/$round-$who.sql" ], '<', \undef, '>', "$dir/$round-$who.out", '2>', "$dir/$round-$who.err");
	}
	append_to_file("$dir/$round.pass", "SELECT eventmkt.run_due(500);\n" x 20000);
	push @clients, IPC::Run::start([ $node->installed_command('psql'), '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'),
			'-f', "$dir/$round.pass" ], '<', \undef, '>', \my $out, '2>', \my $err);
	sleep 0.5 + rand 1.5;
	$node->stop('immediate');
	$_->finish for @clients;
	for my $who (1 .. 4)
	{
		my @got = slurp_file("$dir/$round-$who.out") =~ /^ack (\S+)$/mg;
		$acked{$_} = 1 for @got;
		# the one after the last answer may have been committed or not
		$told{$_} = 1 for @got, "$round-$who-" . (@got + 1);
	}
	$node->start;
	my %is = map { $_ => 1 } split /\n/, query(q{SELECT message_id FROM eventmkt_data.event WHERE name = 'Clicked'});
	cmp_ok(scalar keys %acked, '>', 50 * $round, "crash $round: clients were busy");
	is(join(' ', grep { !$is{$_} } sort keys %acked), '', "crash $round: no acknowledged event is missing");
	is(join(' ', grep { !$told{$_} } sort keys %is), '', "crash $round: no event that nobody sent");
	is(query(q{SELECT count(*) FROM eventmkt_data.work w WHERE NOT EXISTS (SELECT FROM eventmkt_data.event e WHERE e.event_id = w.event_id)}),
		0, "crash $round: no work without its event");
	is(query(q{SELECT count(*) FROM (SELECT event_id FROM eventmkt_data.decision UNION ALL SELECT event_id FROM eventmkt_data.pending_trigger) d
		WHERE NOT EXISTS (SELECT FROM eventmkt_data.event e WHERE e.event_id = d.event_id)}), 0, "crash $round: no trigger without its event");
	is(query(q{SELECT count(*) FROM eventmkt_data.event e WHERE name = 'Clicked'
		AND NOT EXISTS (SELECT FROM eventmkt_data.work w WHERE w.event_id = e.event_id)
		AND NOT EXISTS (SELECT FROM eventmkt_data.decision d WHERE d.event_id = e.event_id AND d.rule = 'now')
		-- an event that came after the pass had looked at the clock waits for the next one
		AND NOT EXISTS (SELECT FROM eventmkt_data.pending_trigger p JOIN eventmkt_data.rule r USING (rule_id)
			WHERE p.event_id = e.event_id AND r.name = 'now')}), 0,
		"crash $round: every event has its work, its run or its decision");
	is(violations($node), '', "crash $round: state machine");
}
# those that got no answer are told again: stored once
query("SELECT eventmkt.track('u' || split_part('$_', '-', 3)::int % 50, 'Clicked', message_id => '$_')") for grep { !$acked{$_} } sort keys %told;
is(query(q{SELECT count(*), count(DISTINCT message_id), count(conflict_of) FROM eventmkt_data.event WHERE name = 'Clicked'}),
	keys(%told) . '|' . keys(%told) . '|0', 'told again: each event once');
query('SELECT eventmkt.run_due(10000000)');
query(q{SELECT eventmkt.advance_clock('61 minutes')});
query('SELECT eventmkt.run_due(10000000)');
is(query(q{SELECT rule, count(*), count(DISTINCT event_id) FROM eventmkt_data.decision WHERE rule <> 'prepared' AND outcome = 'recorded'
	GROUP BY 1 ORDER BY 1}), join("\n", map { "$_|" . keys(%told) . '|' . keys(%told) } qw(later now)), 'and each is decided once by each rule');
is(query('SELECT (SELECT count(*) FROM eventmkt_data.work), (SELECT count(*) FROM eventmkt_data.pending_trigger)'), '0|0', 'nothing is left');
is(violations($node), '', 'state machine');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|signal 11|signal 6/, 'no crash of its own');
$node->stop;
done_testing();

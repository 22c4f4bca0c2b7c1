# Three background workers and two sessions that call run_due() all at once over the same people, some of them under two ids:
# each run is decided exactly once, nothing fails, nothing is left
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('many', preload => 1, conf => 'eventmkt.workers = 3');
my ($clients, $people, $events) = (3, 40, 25);
my $dir = PostgreSQL::Test::Utils::tempdir();

sub query { return $node->safe_psql('postgres', "SET client_min_messages = error; $_[0]") }

query(<<'SQL');
SELECT eventmkt.create_rule('now', on_event => 'V', send_to => 'none');
SELECT eventmkt.create_rule('third', on_event => 'V', at_least => 3, send_to => 'none');
SELECT eventmkt.create_rule('once', on_event => 'V', after => '1 hour', on_repeat => 'ignore', max_lateness => '1 day', send_to => 'none');
SELECT eventmkt.create_rule('last', on_event => 'V', after => '1 hour', max_lateness => '1 day', send_to => 'none');
SELECT eventmkt.create_rule('bought', on_event => 'V', after => '1 hour', unless => '{B}', max_lateness => '1 day', send_to => 'none');
SELECT eventmkt.create_rule('silent', on_event => '*', unless => '{*}', after => '2 days', send_to => 'none');
SQL
# every fourth person has a second id, known before the events come
query("SELECT eventmkt.identify('u' || i, NULL, 'phone' || i) FROM generate_series(0, $people - 1, 4) i");

my @running;
sub start_psql
{
	my ($name, $script) = @_;
	append_to_file("$dir/$name", $script);
	push @running, IPC::Run::start([ $node->installed_command('psql'), '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'),
			'-f', "$dir/$name" ], '<', \undef, '>', "$dir/$name.out", '2>', "$dir/$name.err");
}
for my $c (1 .. $clients)
{
	start_psql("client$c", join '', map {
		my $id = ($_ * 7 + $c) % $people;
		my $who = $id % 4 == 0 && $_ % 2 ? "NULL, 'V', anonymous_id => 'phone$id'" : "'u$id', 'V'";
		"SELECT FROM eventmkt.track($who);\n" . ($_ % 50 ? '' : "SELECT pg_sleep(0.02);\n")
	} 1 .. $people * $events);
}
start_psql("pass$_", "SELECT eventmkt.run_due($_ * 15);\n" x 150) for 1 .. 2;
$_->finish for @running;
is(join('', map { slurp_file($_) } glob "$dir/*.err"), '', 'neither a client nor a pass failed');
ok(wait_for_sql($node, 'SELECT count(*) FROM eventmkt_data.work', '0', 60), 'all work is done');
my $total = $clients * $people * $events;
my $count = "SELECT rule, outcome, count(*), count(DISTINCT profile_id) FROM eventmkt_data.decision WHERE outcome <> 'held' GROUP BY 1, 2 ORDER BY 1, 2";
is(query($count), "now|recorded|$total|$people\nthird|recorded|$people|$people", 'an answer to each event, one to the third of a person');
query("SELECT eventmkt.track('u' || i, 'B') FROM generate_series(0, $people - 1) i");
query("SELECT eventmkt.advance_clock('2 hours')");
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.pending_trigger WHERE due_at <= eventmkt.clock()", '0', 30), 'all that is due is decided');
query("SELECT eventmkt.advance_clock('3 days')");
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.pending_trigger", '0', 30), 'the silent too');
is(query($count), join("\n", "bought|cancelled|$people|$people", "last|recorded|$people|$people", "now|recorded|$total|$people",
		"once|recorded|$people|$people", "silent|recorded|$people|$people", "third|recorded|$people|$people"), 'each run is decided once');
is(violations($node), '', 'state machine');
my @faults = slurp_file($node->logfile) =~ /(batch of .* failed with SQLSTATE (?!40|55P03)\w+|PANIC.*|TRAP.*|signal 11|signal 6)/g;
is("@faults", '', 'no fault but meetings that are tried again');
note(scalar(() = slurp_file($node->logfile) =~ /failed with SQLSTATE 40/g) . ' meetings in the log');
$node->stop;
done_testing();

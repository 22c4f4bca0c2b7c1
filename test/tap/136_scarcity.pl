# A server that gives little (R11): time-outs, memory and lock waits set tightly for everybody, no connection left, no room in the
# lock table. The worker keeps delivering, or says once what it lacks; it never starts over more than once a second.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $sink = start_sink(sync => 0);
my $node = new_node('scarce', preload => 1, conf => <<'CONF');
max_connections = 12
superuser_reserved_connections = 1
max_prepared_transactions = 0
max_worker_processes = 6
max_wal_senders = 0
log_connections = on
CONF
my $n = 0;
# what is set for everybody does not hold for this test's own sessions
$ENV{PGOPTIONS} = '-c statement_timeout=0 -c lock_timeout=0 -c idle_session_timeout=0 -c idle_in_transaction_session_timeout=0';

sub query { return $node->safe_psql('postgres', $_[0]) }
sub starts { return scalar(() = slurp_file($node->logfile) =~ /connection authorized: user=eventmkt .*application_name=eventmkt worker|eventmkt worker.*connection authorized/g) }
sub our_lines { return grep { /eventmkt/ && !/statement:|connection (?:received|authorized)/ } grep { /(?:LOG|WARNING|ERROR|FATAL|PANIC): / } split /\n/, slurp_file($node->logfile) }

create_endpoint($node, 'e', $sink, '/ok');
query(<<'SQL');
SELECT eventmkt.create_rule('now', on_event => 'E', send_to => 'e');
SELECT eventmkt.create_rule('third', on_event => 'E', at_least => 3, within => '1 day', send_to => 'none');
SELECT eventmkt.create_segment('often', on_event => 'E', at_least => 2, within => '1 day', track_membership => true);
SQL
# init() takes more locks than this leaves
$node->append_conf('postgresql.conf', 'max_locks_per_transaction = 10');
$node->restart;
ok(wait_for_sql($node, q{SELECT state FROM eventmkt.health() WHERE "check" = 'worker'}, 'ok', 20), 'a worker runs');

# N messages are delivered, and how long the last of them took
sub delivers
{
	my ($what, $count, $session) = @_;
	my $start = time;
	my $sql = "SELECT count(eventmkt.track('u' || i % 20, 'E', message_id => 'm$n-' || i)) FROM generate_series(1, $count) i";
	my $before = $sink->stats->{ids};
	$n++;
	defined $session ? $session->query_safe($sql) : query($sql);
	ok(wait_for(sub { $sink->stats->{ids} >= $before + $count }, 30), "$what: $count messages are delivered");
	my $took = time - $start;
	in_time($took, 10, "$what: soon");
	return $took;
}

# ---- tight for everybody
query("ALTER SYSTEM SET $_") for 'work_mem = \'64kB\'', 'maintenance_work_mem = \'1MB\'', 'statement_timeout = \'100ms\'',
	'idle_in_transaction_session_timeout = \'100ms\'', 'lock_timeout = \'50ms\'', 'temp_file_limit = \'1MB\'', 'idle_session_timeout = \'2s\'';
query("ALTER DATABASE postgres SET statement_timeout = '100ms'");
query("ALTER ROLE eventmkt SET statement_timeout = '50ms'");
query("ALTER ROLE eventmkt SET work_mem = '64kB'");
query('SELECT pg_reload_conf()');
my $pid = query("SELECT pid FROM pg_stat_activity WHERE backend_type = 'eventmkt worker'");
my $lines = our_lines();
delivers('tight', 50) for 1 .. 10;
is(query("SELECT pid FROM pg_stat_activity WHERE backend_type = 'eventmkt worker'"), $pid, 'tight: the worker is the same');
query("SELECT pg_terminate_backend($pid, 5000)");
delivers('tight, a new worker', 50);
ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.segment_work", '0', 20), 'tight: segments are kept');
my @said = our_lines();
splice @said, 0, $lines;
is(join("\n", grep { !/due to administrator command|exited with exit code/ } @said), '', 'tight: nothing fails');
query("ALTER SYSTEM RESET ALL");
query("ALTER DATABASE postgres RESET ALL; ALTER ROLE eventmkt RESET ALL");
query('SELECT pg_reload_conf()');

# ---- no connection is left for anybody
my @psql;
my ($in, $out) = ('', '');
my $holder = IPC::Run::start([ $node->installed_command('psql'), '-XqAt', '-d', $node->connstr('postgres') ], '<', \$in, '>', \$out, '2>', \my $holder_err);
sub held
{
	my ($sql) = @_;
	$in .= "$sql;\n\\echo done\n";
	$out = '';
	my $end = time + 20;
	while ($out !~ /^done$/m && time < $end) { $holder->pump_nb; sleep 0.01; }
	$out =~ s/^done\n//m;
	chomp $out;
	return $out;
}
is(held('SELECT 1'), '1', 'a session is open');
for (1 .. 15)
{
	push @psql, IPC::Run::start([ $node->installed_command('psql'), '-XqAt', '-d', $node->connstr('postgres'), '-c', 'SELECT pg_sleep(60)' ], '<', \undef, '>', \my $o, '2>', \my $e);
	sleep 0.05;
}
ok(wait_for(sub { my ($rc, $o, $err) = $node->psql('postgres', 'SELECT 1', on_error_die => 0); $rc != 0 && $err =~ /too many clients|remaining connection slots/ }, 10), 'no connections: nobody else gets in');
my $before = $sink->stats->{ids};
my $start = time;
held("SELECT count(eventmkt.track('u' || i, 'E')) FROM generate_series(1, 20) i");
ok(wait_for(sub { $sink->stats->{ids} >= $before + 20 }, 10), 'no connections: messages are delivered');
held("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE backend_type = 'eventmkt worker'");
$start = time;
held("SELECT count(eventmkt.track('v' || i, 'E')) FROM generate_series(1, 20) i");
ok(wait_for(sub { $sink->stats->{ids} >= $before + 40 }, 15), 'no connections: and by a new worker');
in_time(time - $start, 5, 'no connections: within five seconds');
note sprintf 'no connections: a new worker delivered after %.2f s', time - $start;

# ---- no room in the lock table
held("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'");
$_->finish for @psql;
held('BEGIN');
held(q{DO $$ DECLARE i int := 0; BEGIN LOOP BEGIN PERFORM pg_advisory_lock(4711, i); i := i + 1; EXCEPTION WHEN out_of_memory THEN EXIT; END; END LOOP; END $$});
my ($rc, $o, $err) = $node->psql('postgres', 'SELECT pg_advisory_lock(4712, 1)', on_error_die => 0);
like($err, qr/out of shared memory/, 'no locks: none is left');
my $lines_before = our_lines();
my $crashes = () = slurp_file($node->logfile) =~ /worker process: eventmkt worker.*exited/g;
my $seconds = Emk::sized(8, 60);
my $acked = 0;
my $end = time + $seconds;
held('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = \'eventmkt worker\'');
while (time < $end)
{
	my ($rc) = $node->psql('postgres', "SELECT eventmkt.track('w', 'E', message_id => 'w$acked')", on_error_die => 0);
	$acked++ if defined $rc && $rc == 0;
	sleep 0.3;
}
my @lines = our_lines();
splice @lines, 0, $lines_before;
my $starts = (() = slurp_file($node->logfile) =~ /worker process: eventmkt worker.*exited/g) - $crashes;
cmp_ok($starts, '<=', $seconds, 'no locks: no more than one start a second');
cmp_ok(scalar(grep { !/exited with exit code/ } @lines), '<=', $seconds, 'no locks: no flood of lines') or diag join "\n", @lines;
note "no locks: $starts ends of the worker and " . @lines . " lines in $seconds s; $acked events were taken";
note $_ for @lines;
held('ROLLBACK');
held('SELECT pg_advisory_unlock_all()');
$start = time;
ok(wait_for_sql($node, "SELECT (SELECT count(*) FROM eventmkt_data.work) + (SELECT count(*) FROM eventmkt_data.delivery WHERE status <> 'delivered')", '0', 40), 'no locks: afterwards all is delivered');
in_time(time - $start, 10, 'no locks: within ten seconds');
$holder->kill_kill;
is(violations($node), '', 'state machine');
is(check_safety($node, $sink, drained => 1), '', 'safety rule');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|signal 11|signal 6/, 'no crash');
$node->stop;
done_testing();

# The life of workers, preloaded and not: they come up, come back after every kind of end, pause and stop as told (R30, R31)
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $worker = "backend_type = 'eventmkt worker' AND datname = 'shop'";
my $pid_query = "SELECT coalesce(string_agg(pid::text, ' ' ORDER BY pid), '') FROM pg_stat_activity WHERE $worker";

# Waits for a worker whose pid is not $old; returns pid and seconds
sub next_worker
{
	my ($node, $old) = @_;
	my $start = time;
	my $pid = wait_for(sub {
		my $got = eval { $node->safe_psql('postgres', $pid_query) } // '';
		return $got =~ /^\d+$/ && $got ne $old ? $got : '';
	}, 30);
	return ($pid, time - $start);
}

sub check_state
{
	my ($node, $check) = @_;
	return $node->safe_psql('shop', "SELECT state FROM eventmkt.health() WHERE \"check\" = '$check'");
}

for my $preload (1, 0)
{
	my $how = $preload ? 'preloaded' : 'not preloaded';
	my $node = new_node("life$preload", preload => $preload, dbname => 'shop');
	my ($pid, $seconds);

	is(check_state($node, 'worker'), 'error', "$how: no worker is an error") unless $preload;
	is($node->safe_psql('shop', 'SELECT eventmkt.start_worker()'), 'running', "$how: start_worker()");
	($pid, $seconds) = next_worker($node, '');
	like($pid, qr/^\d+$/, "$how: a worker runs");
	is($node->safe_psql('shop', "SELECT usename, application_name FROM pg_stat_activity WHERE $worker"),
		'eventmkt|eventmkt worker 1/1', "$how: as the owner");
	is(check_state($node, 'worker'), 'ok', "$how: health() shows it");
	is(check_state($node, 'preload'), $preload ? 'ok' : 'warn', "$how: health() says whether it lasts");
	is($node->safe_psql('shop', 'SELECT eventmkt.start_worker()'), 'running', "$how: start_worker() again changes nothing");
	is($node->safe_psql('postgres', $pid_query), $pid, "$how: still the same one");

	my $slowest = 0;
	for (1 .. sized(10, 100))
	{
		$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
		($pid, $seconds) = next_worker($node, $pid);
		$slowest = $seconds if $seconds > $slowest;
	}
	in_time($slowest, 5, "$how: back after each kill");
	note sprintf 'figure: R30: %s: back %.2f s after each of %d ends', $how, $slowest, sized(10, 100);

	# killed as early as can be: while it starts
	for (1 .. 10)
	{
		$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type LIKE 'eventmkt worker'");
		sleep 0.01;
	}
	ok(wait_for(sub { check_state($node, 'worker') eq 'ok' }, 10), "$how: back after kills in a row");
	($pid) = next_worker($node, '');

	# a cancel is no end
	$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
	sleep 0.3;
	is($node->safe_psql('postgres', $pid_query), $pid, "$how: a cancel ends nothing");

	# the launcher is told to end
	$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type LIKE 'eventmkt launcher%'");
	sleep 1.5;
	ok(wait_for(sub { check_state($node, 'worker') eq 'ok' }, 10), "$how: works after the end of the launcher");
	is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE $worker"), '1', "$how: one worker, not two");

	# a crash of the worker takes the server down and up, and the worker with it
	($pid) = next_worker($node, '');
	kill 'KILL', $pid;
	($pid, $seconds) = next_worker($node, $pid);
	like($pid, qr/^\d+$/, "$how: back after a crash");
	in_time($seconds, 10, "$how: within ten seconds");

	# more workers, fewer workers
	$node->append_conf('postgresql.conf', 'eventmkt.workers = 3');
	$node->reload;
	ok(wait_for_sql($node, "SELECT count(*) FROM pg_stat_activity WHERE $worker AND application_name LIKE '%/3'", '3', 10, 'postgres'),
		"$how: three workers");
	$node->append_conf('postgresql.conf', 'eventmkt.workers = 1');
	$node->reload;
	ok(wait_for_sql($node, "SELECT count(*) FROM pg_stat_activity WHERE $worker", '1', 10, 'postgres'), "$how: one again");

	# the switch
	$node->append_conf('postgresql.conf', 'eventmkt.enabled = off');
	$node->reload;
	ok(wait_for_sql($node, q{SELECT detail FROM eventmkt.health() WHERE "check" = 'paused'}, 'disabled', 5), "$how: switched off");
	$node->append_conf('postgresql.conf', 'eventmkt.enabled = on');
	$node->reload;

	# stop means stop
	my $start = time;
	is($node->safe_psql('shop', 'SELECT eventmkt.stop_worker()'), 'stopped', "$how: stop_worker()");
	in_time(time - $start, 3, "$how: in time");
	sleep 3;
	is($node->safe_psql('postgres', $pid_query), '', "$how: no worker comes back");
	isnt(check_state($node, 'worker'), 'ok', "$how: health() says so");
	is($node->safe_psql('shop', 'SELECT eventmkt.stop_worker()'), 'stopped', "$how: stop_worker() again");
	is($node->safe_psql('shop', 'SELECT eventmkt.start_worker()'), 'running', "$how: and on again");

	# shutdown
	for my $mode (qw(fast smart))
	{
		$start = time;
		$node->stop($mode);
		in_time(time - $start, 5, "$how: $mode shutdown in time");
		$node->start;
		if ($preload)
		{
			ok(wait_for_sql($node, $pid_query =~ s/coalesce.*'\)/count(*)/r, '1', 10, 'postgres'), "$how: comes up with the server");
		}
		else
		{
			is($node->safe_psql('postgres', $pid_query), '', "$how: a server restart forgets it");
			$node->safe_psql('shop', 'SELECT eventmkt.start_worker()');
		}
	}
	unlike(slurp_file($node->logfile), qr/PANIC|TRAP|signal 11|signal 6/, "$how: no crash of its own");
	$node->stop('immediate');
}

# all worker slots of the server are taken for a while
{
	my $node = new_node('starved', preload => 1, dbname => 'shop', conf => 'max_worker_processes = 2');
	ok(wait_for_sql($node, q{SELECT state, detail FROM eventmkt.health() WHERE "check" = 'worker'},
		'error|none: the server has no free worker slot', 20), 'no free slot: health() says so');
	# two databases and one slot: the second gets it within ten seconds of its release
	$node->append_conf('postgresql.conf', 'max_worker_processes = 3');
	$node->restart;
	ok(wait_for_sql($node, q{SELECT state FROM eventmkt.health() WHERE "check" = 'worker'}, 'ok', 10), 'with a slot it runs');
	$node->safe_psql('postgres', 'CREATE DATABASE second');
	$node->safe_psql('second', 'CREATE EXTENSION eventmkt');
	$node->safe_psql('second', 'SELECT eventmkt.init()');
	is($node->safe_psql('second', 'SELECT eventmkt.start_worker()'), 'starting', 'the second waits for a slot');
	my $start = time;
	$node->safe_psql('shop', 'SELECT eventmkt.stop_worker()');
	ok(wait_for_sql($node, q{SELECT state FROM eventmkt.health() WHERE "check" = 'worker'}, 'ok', 20, 'second'), 'and gets it');
	in_time(time - $start, 10, 'soon');
	$node->stop;
}

# no database, no extension: the library alone does nothing and breaks nothing
{
	my $node = new_node('alone', preload => 1, extension => 0);
	sleep 1;
	is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'eventmkt worker'"), '0',
		'no extension, no worker');
	is($node->safe_psql('postgres', "LOAD 'eventmkt'; LOAD 'eventmkt'; SELECT 1"), '1', 'LOAD, twice');
	$node->stop;
	my ($out, $err) = ('', '');
	IPC::Run::run([ $node->installed_command('postgres'), '--single', '-D', $node->data_dir, 'postgres' ],
		'<', \"CREATE EXTENSION eventmkt;\nSELECT eventmkt.init();\nSELECT state FROM eventmkt.health();\n", '>', \$out, '2>', \$err);
	like($out, qr/initialised|tables of version|"ok"|= "/, 'single-user mode');
	unlike($err, qr/PANIC|TRAP|FATAL/, 'single-user mode without a crash');
	$node->start;
	ok(wait_for_sql($node, q{SELECT state FROM eventmkt.health() WHERE "check" = 'worker'}, 'ok', 10), 'and the worker comes up');
	$node->stop;
}
done_testing();

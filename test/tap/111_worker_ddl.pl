# Workers in the way of DDL: DROP, RENAME, SET TABLESPACE and TEMPLATE of databases (R28), DROP EXTENSION under load (R29)
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

# Runs SQL and says how long it took; dies on an error
sub timed
{
	my ($node, $db, $sql) = @_;
	my $start = time;
	$node->safe_psql($db, $sql);
	return time - $start;
}

sub workers_of
{
	my ($node, $db) = @_;
	return $node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'eventmkt worker' AND datname = '$db'");
}

sub worker_up
{
	my ($node, $db) = @_;
	return wait_for(sub { workers_of($node, $db) eq '1' }, 15);
}

# ---- preloaded: the server makes way by itself
{
	my $node = new_node('ddl1', preload => 1, dbname => 'shop');
	ok(worker_up($node, 'shop'), 'a worker runs');

	$node->safe_psql('postgres', "CREATE DATABASE other$_") for 1 .. 5;
	my $slowest = 0;
	for (1 .. 5) { my $s = timed($node, 'postgres', "DROP DATABASE other$_"); $slowest = $s if $s > $slowest; }
	in_time($slowest, 1, 'DROP of other databases');

	in_time(timed($node, 'postgres', 'CREATE DATABASE copy TEMPLATE shop'), 5, 'CREATE DATABASE ... TEMPLATE');
	ok(worker_up($node, 'shop'), 'the worker is back');
	is($node->safe_psql('copy', q{SELECT detail FROM eventmkt.health() WHERE "check" = 'paused'}),
		'copy: this database is not the one that init() or adopt() marked', 'the copy is silent');
	ok(worker_up($node, 'copy'), 'the copy has a worker that waits');
	ok(wait_for(sub { (() = slurp_file($node->logfile) =~ /WARNING:  this database is a copy/g) == 1 }, 10), 'one warning');

	in_time(timed($node, 'postgres', 'ALTER DATABASE shop RENAME TO store'), 5, 'RENAME');
	ok(worker_up($node, 'store'), 'the worker is back');
	is($node->safe_psql('store', q{SELECT detail FROM eventmkt.health() WHERE "check" = 'paused'}), 'no', 'still at home');

	my $dir = PostgreSQL::Test::Utils::tempdir();
	$node->safe_psql('postgres', "CREATE TABLESPACE elsewhere LOCATION '$dir'");
	in_time(timed($node, 'postgres', 'ALTER DATABASE store SET TABLESPACE elsewhere'), 5, 'SET TABLESPACE');
	ok(worker_up($node, 'store'), 'the worker is back');

	# who may not drop it does not disturb it
	my $pid = $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'eventmkt worker' AND datname = 'store'");
	my ($rc, $out, $err) = $node->psql('postgres', 'CREATE ROLE clerk; SET ROLE clerk; DROP DATABASE store');
	like($err, qr/must be owner/, 'a stranger cannot drop it');
	is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE pid = $pid"), '1', 'and does not stop its worker');

	in_time(timed($node, 'postgres', 'DROP DATABASE copy'), 5, 'DROP of a database with a worker');
	in_time(timed($node, 'postgres', 'DROP DATABASE store WITH (FORCE)'), 2, 'DROP ... WITH (FORCE)');
	sleep 2;
	is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'eventmkt worker'"), '0', 'no worker is left');
	$node->stop;
}

# ---- not preloaded: after stop_worker()
{
	my $node = new_node('ddl0', dbname => 'shop', worker => 1);
	ok(worker_up($node, 'shop'), 'not preloaded: a worker runs');
	$node->safe_psql('postgres', 'CREATE DATABASE other');
	in_time(timed($node, 'postgres', 'DROP DATABASE other'), 1, 'not preloaded: DROP of another database');
	my ($rc, $out, $err) = $node->psql('postgres', 'DROP DATABASE shop');
	like($err, qr/is being accessed by other users/, 'not preloaded: DROP says why not');
	$node->safe_psql('shop', 'SELECT eventmkt.stop_worker()');
	in_time(timed($node, 'postgres', 'ALTER DATABASE shop RENAME TO store'), 5, 'not preloaded: RENAME after stop_worker()');
	$node->safe_psql('store', 'SELECT eventmkt.start_worker()');
	in_time(timed($node, 'postgres', 'DROP DATABASE store WITH (FORCE)'), 2, 'not preloaded: DROP ... WITH (FORCE)');
	ok(wait_for(sub {
		$node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'eventmkt%'") eq '0'
	}, 10), 'not preloaded: launcher and worker are gone');
	$node->stop;
}

# ---- DROP EXTENSION under load, fifty times
{
	my $node = new_node('drop', preload => 1, dbname => 'shop');
	my $script = PostgreSQL::Test::Utils::tempdir() . '/load.sql';
	append_to_file($script, <<'SQL');
DO $$ BEGIN PERFORM eventmkt.track('u' || (random() * 1000)::int, 'Seen'); EXCEPTION WHEN OTHERS THEN PERFORM pg_sleep(0.02); END $$;
SQL
	ok(worker_up($node, 'shop'), 'a worker runs');
	$node->safe_psql('shop', q{SELECT eventmkt.create_rule('seen', on_event => 'Seen', send_to => 'none')});
	my ($in, $load_out, $load_err) = ('', '', '');
	my $load = IPC::Run::start([ $node->installed_command('pgbench'), '-n', '-c', '3', '-R', '400', '-T', '180', '-f', $script, '-h', $node->host,
		'-p', $node->port, '-U', $node->safe_psql('postgres', 'SELECT current_user'), 'shop' ], '<', \$in, '>', \$load_out, '2>', \$load_err);
	sleep 1;
	# the worker's own two: its slot and the epoch of its leases
	my $locks = q{SELECT count(*) FILTER (WHERE a.backend_type <> 'eventmkt worker'), count(*) FROM pg_locks l
		JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory'};
	my ($slowest, $before) = (0, $node->safe_psql('shop', 'SELECT count(*) FROM eventmkt_data.event'));
	my $lines = () = slurp_file($node->logfile) =~ /\[[^]]*\][^\n]*(?:WARNING|ERROR|FATAL):/g;
	cmp_ok($before, '>', 0, 'there is load');
	my $launcher = $node->safe_psql('shop', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'eventmkt launcher'");
	my $shared = 'SELECT sum(allocated_size) FROM pg_shmem_allocations WHERE name IS NOT NULL';
	my $descriptors = sub { my @fd = glob "/proc/$launcher/fd/*"; scalar @fd };
	my $rss = sub { (slurp_file("/proc/$launcher/status") =~ /VmRSS:\s+(\d+)/)[0] };
	my ($shared_before, $members, $descriptors_before, $rss_before) = ($node->safe_psql('shop', $shared), 0);
	for (1 .. 50)
	{
		my $s = timed($node, 'shop', 'SET client_min_messages = error; DROP EXTENSION eventmkt CASCADE');
		$slowest = $s if $s > $slowest;
		$members += $node->safe_psql('shop', "SELECT count(*) FROM pg_proc WHERE probin LIKE '%eventmkt%' OR pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'eventmkt')")
			if $_ % 10 == 0;
		sleep 0.5 if $_ % 10 == 0;
		$node->safe_psql('shop', 'SET client_min_messages = error; CREATE EXTENSION eventmkt; SELECT eventmkt.init()');
		sleep($_ % 5 == 0 ? 0.3 : 0.02);
		($descriptors_before, $rss_before) = ($descriptors->(), $rss->()) if $_ == 10;
	}
	in_time($slowest, 2, 'DROP EXTENSION is quick each time');
	is($members, 0, 'and leaves no member behind');
	is($node->safe_psql('shop', $shared), $shared_before, 'shared memory is as before');
	is($node->safe_psql('shop', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'eventmkt launcher'"), $launcher, 'the launcher lived through it');
	cmp_ok($descriptors->(), '<=', $descriptors_before + 1, 'it holds no more descriptors');
	SKIP:
	{
		skip 'a sanitizer keeps freed memory', 1 if $ENV{ASAN_OPTIONS};
		cmp_ok($rss->() - $rss_before, '<', 1024, 'and no more memory');
	}
	cmp_ok($node->safe_psql('shop', 'SELECT count(*) FROM eventmkt_data.event'), '>=', $before, 'the events are still there');
	ok(worker_up($node, 'shop'), 'a worker runs again');
	is($node->safe_psql('shop', q{SELECT detail FROM eventmkt.health() WHERE "check" = 'paused'}), 'no', 'and is not paused');
	ok(wait_for_sql($node, $locks, '0|2', 10), 'no lock is left but those of the worker');
	# every place for a worker is free again: all can be taken at once
	$node->safe_psql('shop', "LOAD 'eventmkt'; ALTER SYSTEM SET eventmkt.workers = 8");
	$node->reload;
	ok(wait_for(sub { workers_of($node, 'shop') eq '8' }, 15), 'no place for a worker is lost');
	$node->safe_psql('shop', "LOAD 'eventmkt'; ALTER SYSTEM RESET eventmkt.workers");
	$node->reload;
	ok(worker_up($node, 'shop'), 'one worker again');

	# gone for longer: the worker leaves, quietly
	$node->safe_psql('shop', 'SET client_min_messages = error; DROP EXTENSION eventmkt CASCADE');
	my $mark = -s $node->logfile;
	ok(wait_for(sub { workers_of($node, 'shop') eq '0' }, 10), 'without the extension the worker leaves');
	is($node->safe_psql('shop', "SELECT count(*) FROM pg_class WHERE relnamespace = 'eventmkt_data'::regnamespace AND relname = 'event'"),
		'1', 'the tables stay');
	$load->kill_kill;
	sleep 3;
	my @said = grep { !/psql|pgbench/ } slurp_file($node->logfile, $mark) =~ /^.*eventmkt.*(?:WARNING|ERROR|FATAL):.*$/mg;
	cmp_ok(scalar @said, '<=', 1, 'and says nothing') or diag(join "\n", @said);
	$node->safe_psql('shop', 'CREATE EXTENSION eventmkt');
	$node->safe_psql('shop', 'SET client_min_messages = error; SELECT eventmkt.init()');
	ok(worker_up($node, 'shop'), 'created again: a worker runs without a restart');
	unlike(slurp_file($node->logfile), qr/PANIC|TRAP|was terminated by signal/, 'no crash');
	$node->stop;
}
done_testing();

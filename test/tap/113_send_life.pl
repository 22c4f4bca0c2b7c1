# Worker life while messages are on the wire: hundreds of open transfers and every kind of end (R28, R29, R30, R32); the wake at
# commit in both modes; copies and standbys that hold back and then send (R38)
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

use constant TRANSFERS => 500;

my $sink = start_sink(sync => 0);

# Requests that never end: $n of them are open when this returns. What a former worker gave up is sent again, so only the rest is new.
sub open_transfers
{
	my ($node, $n) = @_;
	my $mine = q{SELECT count(*) FROM eventmkt_data.delivery WHERE rule = 'hang' AND status = 'in_flight' AND lease =
		(SELECT max(objid::bigint) FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE locktype = 'advisory' AND a.backend_type = 'eventmkt worker' AND classid <> 2615)};
	$node->safe_psql('shop', "SELECT count(eventmkt.track('h' || i, 'Hang')) FROM generate_series(1, $n -
		(SELECT count(*) FROM eventmkt_data.delivery WHERE rule = 'hang')) i");
	return 1 if wait_for(sub { $node->safe_psql('shop', $mine) >= $n }, 60);
	diag($node->safe_psql('shop', $_)) for 'SELECT status, count(*), min(next_attempt_at) - now(), max(last_error), max(lease) FROM eventmkt_data.delivery GROUP BY 1',
		'SELECT * FROM eventmkt.health()', 'SELECT count(*) FROM eventmkt_data.work', $mine, "SELECT * FROM pg_locks WHERE locktype = 'advisory'",
		"SELECT pid, state, wait_event, query FROM pg_stat_activity WHERE backend_type LIKE 'eventmkt%'";
	return 0;
}

sub prepare
{
	my ($node) = @_;
	create_endpoint($node, 'good', $sink, '/ok');
	create_endpoint($node, 'slow', $sink, '/hang', timeout => '5 minutes', max_in_flight => 1000);
	$node->safe_psql('shop', q{SELECT eventmkt.create_rule('now', on_event => 'Now', send_to => 'good')});
	$node->safe_psql('shop', q{SELECT eventmkt.create_rule('hang', on_event => 'Hang', send_to => 'slow')});
}

sub worker_up
{
	my ($node) = @_;
	return wait_for_sql($node, q{SELECT state FROM eventmkt.health() WHERE "check" = 'worker'}, 'ok', 15, 'shop');
}

for my $preload (1, 0)
{
	my $how = $preload ? 'preloaded' : 'not preloaded';
	my $node = new_node("send$preload", preload => $preload, dbname => 'shop', conf => "eventmkt.max_in_flight = 1000\nmax_files_per_process = 2000");
	prepare($node);
	$node->safe_psql('shop', 'SELECT eventmkt.start_worker()');

	# the wake at commit: far sooner than the safety poll of five seconds
	my $late = 0;
	for my $i (1 .. 20)
	{
		my $n = $sink->stats->{paths}{'/ok'}{requests} // 0;
		my $start = time;
		$node->safe_psql('shop', "SELECT eventmkt.track('w$i', 'Now')");
		wait_for(sub { ($sink->stats->{paths}{'/ok'}{requests} // 0) > $n }, 10);
		$late++ if time - $start > 1;
		sleep 0.05;
	}
	is($late, 0, "$how: each message goes at its commit");

	my $open = $how . ': ' . TRANSFERS . ' open transfers';
	my $worker = sub { $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'eventmkt worker'") };
	my $start;
	for my $what (1 .. 2)
	{
		ok(open_transfers($node, TRANSFERS), $open);
		$start = time;
		$node->safe_psql('postgres', "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE backend_type = 'eventmkt worker'");
		in_time(time - $start, 2, "$how: pg_terminate_backend() within two seconds");
		ok(worker_up($node), "$how: a worker is back");
	}
	is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'eventmkt worker' AND (xact_start IS NOT NULL OR backend_xmin IS NOT NULL)"),
		0, "$how: no transaction stays open with them") if open_transfers($node, TRANSFERS);
	$start = time;
	$node->safe_psql('shop', 'SELECT eventmkt.stop_worker()');
	in_time(time - $start, 2, "$how: stop_worker()");
	$node->safe_psql('shop', 'SELECT eventmkt.start_worker()');
	ok(open_transfers($node, TRANSFERS), $open);
	$start = time;
	$node->safe_psql('shop', 'SET client_min_messages = error; DROP EXTENSION eventmkt CASCADE');
	in_time(time - $start, 2, "$how: DROP EXTENSION");
	$node->safe_psql('shop', 'SET client_min_messages = error; CREATE EXTENSION eventmkt; SELECT eventmkt.init()');
	$node->safe_psql('shop', q{SELECT eventmkt.set_secret('slow'), eventmkt.set_secret('good')});
	$node->safe_psql('shop', 'SELECT eventmkt.start_worker()');
	for my $mode ('fast', 'immediate', 'smart')
	{
		ok(open_transfers($node, TRANSFERS), $open);
		my $pid = $worker->();
		$start = time;
		$node->stop($mode);
		in_time(time - $start, 2, "$how: $mode shutdown within two seconds");
		ok(wait_for(sub { !-e "/proc/$pid" }, 1), "$how: $mode shutdown: no worker is left");
		$node->start;
		$node->safe_psql('shop', 'SELECT eventmkt.start_worker()');
	}
	ok(open_transfers($node, TRANSFERS), $open);
	if ($preload)
	{
		$start = time;
		$node->safe_psql('postgres', 'ALTER DATABASE shop RENAME TO shop2');
		in_time(time - $start, 5, "$how: RENAME");
		$node->safe_psql('postgres', 'ALTER DATABASE shop2 RENAME TO shop');
		ok(worker_up($node), "$how: a worker is back");
		ok(open_transfers($node, TRANSFERS), $open);
		$start = time;
		$node->safe_psql('postgres', 'CREATE DATABASE other; DROP DATABASE other');
		in_time(time - $start, 2, "$how: CREATE and DROP of another database");
		$start = time;
		$node->safe_psql('postgres', 'DROP DATABASE shop');
		in_time(time - $start, 2, "$how: DROP DATABASE");
		$node->safe_psql('postgres', 'CREATE DATABASE shop');
		$node->safe_psql('shop', 'SET client_min_messages = error; CREATE EXTENSION eventmkt; SELECT eventmkt.init()');
		prepare($node);
		ok(open_transfers($node, TRANSFERS), $open);
	}
	$start = time;
	$node->safe_psql('postgres', 'DROP DATABASE shop WITH (FORCE)');
	in_time(time - $start, 2, "$how: DROP DATABASE ... WITH (FORCE)");
	unlike(slurp_file($node->logfile), qr/PANIC|TRAP|was terminated by signal/, "$how: no crash");
	$node->stop;
}

# ---- a restored database holds back until adopt(), a promoted standby sends
{
	my $home = new_node('home', preload => 1, dbname => 'shop', init_args => { allows_streaming => 1 });
	my $dir = PostgreSQL::Test::Utils::tempdir();
	my $secret = create_endpoint($home, 'good', $sink, '/adopted');
	my $count = sub { $sink->stats->{paths}{'/adopted'}{requests} // 0 };

	$home->safe_psql('shop', q{SELECT eventmkt.create_rule('now', on_event => 'Now', send_to => 'good')});
	$home->safe_psql('shop', q{SELECT eventmkt.create_rule('later', on_event => 'Now', after => '2 seconds', send_to => 'good')});
	$home->safe_psql('shop', 'SELECT eventmkt.stop_worker()');
	$home->safe_psql('shop', q{SELECT eventmkt.track('a' || i, 'Now') FROM generate_series(1, 3) i});
	$home->safe_psql('shop', q{SELECT eventmkt.run_due()});
	$home->safe_psql('shop', q{SELECT eventmkt.track('b' || i, 'Now') FROM generate_series(1, 2) i});
	$home->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/dump", $home->connstr('shop') ], 'dumped with work, runs and deliveries');

	my $copy = new_node('copy', preload => 1, extension => 0);
	$copy->safe_psql('postgres', 'CREATE ROLE eventmkt LOGIN');
	$copy->safe_psql('postgres', 'CREATE DATABASE shop');
	$copy->command_ok([ 'pg_restore', '--exit-on-error', '-d', $copy->connstr('shop'), "$dir/dump" ], 'restored');
	$copy->safe_psql('shop', 'SELECT eventmkt.set_secret(' . quote_literal('good') . ', ' . quote_literal($secret) . ')');
	is($copy->safe_psql('shop', 'SELECT eventmkt.start_worker()'), 'running', 'a worker runs in the copy');
	sleep 4;
	is($count->(), 0, 'nothing leaves the copy');
	$copy->safe_psql('shop', q{SELECT eventmkt.adopt('send')});
	ok(wait_for(sub { $count->() >= 10 }, 10), 'adopted, it sends what was waiting') or diag $count->();
	sleep 1;
	is($count->(), 10, 'each once');
	$copy->stop;

	$sink->reset;
	$home->backup('base');
	my $standby = PostgreSQL::Test::Cluster->new('standby');
	$standby->init_from_backup($home, 'base', has_streaming => 1);
	$standby->start;
	$home->wait_for_catchup($standby);
	sleep 3;
	is($count->(), 0, 'nothing leaves a standby, nor a primary that is told to stop');
	$home->stop('immediate');
	$standby->promote;
	my $start = time;
	ok(wait_for(sub { $count->() >= 10 }, 10), 'promoted, it sends') or diag $count->();
	in_time(time - $start, 5, 'within five seconds');
	$standby->stop;
}
done_testing();

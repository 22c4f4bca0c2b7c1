# Everything that ends or pauses workers, again and again, under traffic: nothing is lost, what is sent twice has one id and body
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $db = 'postgres';
for my $preload (1, 0)
{
	my $how = $preload ? 'preloaded' : 'not preloaded';
	my $node = new_node("toggle$preload", preload => $preload);
	my $sink = start_sink(sync => 0);
	my $sql = sub { $node->safe_psql($db, @_) };
	my $total = 0;

	create_endpoint($node, "e$_", $sink, "/delay/2$_", schedule => '{0,0,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1}') for 1 .. 4;
	$sql->("SELECT eventmkt.create_rule('r$_', on_event => 'E', send_to => 'e$_'" . ($_ > 2 ? ", after => '200 ms')" : ')')) for 1 .. 4;
	$sql->('SELECT eventmkt.start_worker()');
	my @deeds = (
		sub { $sql->('SELECT eventmkt.stop_worker()'); $sql->('SELECT eventmkt.start_worker()') },
		sub { $sql->("LOAD 'eventmkt'; ALTER SYSTEM SET eventmkt.enabled = off"); $sql->('SELECT pg_reload_conf()'); sleep 0.3;
			$sql->("LOAD 'eventmkt'; ALTER SYSTEM RESET eventmkt.enabled"); $sql->('SELECT pg_reload_conf()') },
		sub { $sql->("LOAD 'eventmkt'; ALTER SYSTEM SET eventmkt.workers = 3"); $sql->('SELECT pg_reload_conf()') },
		sub { $sql->("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'eventmkt worker'") },
		sub { $sql->("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE backend_type = 'eventmkt worker'") for 1 .. 5 },
		sub { $sql->("LOAD 'eventmkt'; ALTER SYSTEM SET eventmkt.workers = 1"); $sql->('SELECT pg_reload_conf()') },
		sub { $sql->("SELECT eventmkt.disable_endpoint('e1')"); sleep 0.2; $sql->("SELECT eventmkt.enable_endpoint('e1')") },
		sub { $sql->("SELECT eventmkt.replace_endpoint('e2', '" . $sink->url("/delay/22?n=$total") . "', schedule => '{0,0,1,1,1,1,1,1,1,1,1,1,1,1,1,1}')") },
		sub { $sql->("BEGIN; SELECT eventmkt.track('undone', 'E'); SELECT eventmkt.run_due(); ROLLBACK") });
	for my $round (1 .. 2)
	{
		for my $deed (@deeds)
		{
			my ($from, $to) = ($total + 1, $total + 60);
			$sql->("SELECT eventmkt.track('u' || i, 'E', message_id => 'm' || i) FROM generate_series($from, $to) i");
			$total = $to;
			sleep 0.05 * $round;
			$deed->();
			$sql->("SELECT eventmkt.run_due()") if $round == 2;
		}
	}
	ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE status = 'delivered'", 4 * $total, 60), "$how: all are delivered")
		or diag $sql->("SELECT rule, status, count(*), min(next_attempt_at) - eventmkt.clock(), max(attempts) FROM eventmkt_data.delivery GROUP BY 1, 2");
	is($sql->("SELECT count(*) FROM eventmkt_data.delivery"), 4 * $total, "$how: and no other");
	is(check_safety($node, $sink, drained => 1, sends => 4, max_duplicates => 64 * 20 * 2, client => [ map { { message_id => "m$_", result => 'ok' } } 1 .. $total ]), '', "$how: safety rule");
	is(violations($node), '', "$how: state machine");
	my $log = slurp_file($node->logfile);
	unlike($log, qr/PANIC|TRAP|was terminated by signal/, "$how: nothing bad in the log");
	note join "\n", grep { /ERROR|WARNING|LOG: .*eventmkt/ } split /\n/, $log;
	$node->stop;
}
done_testing();

# Thousands of endpoints on hosts of their own, all due at once, and few file descriptors: as many are open as there are, the others
# wait, nothing fails for it (R26)
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $n = sized(800, 5000);
my $files = sized(256, 1024);
my $sink = start_sink(sync => 0, bodies => 0, host => '0.0.0.0');
chomp(my $was = qx(sh -c 'ulimit -S -n'));
my $limited = sub { system('prlimit', '--pid', $$, "--nofile=$_[0]:") == 0 };
plan skip_all => 'prlimit does not work here' unless $limited->($files);
my $node = new_node('many', preload => 1, conf => "eventmkt.max_in_flight = 1000\nmax_files_per_process = 1000\n");
$limited->($was);
my $sql = sub { $node->safe_psql('postgres', $_[0]) };
my $worker = sub { $sql->("SELECT pid FROM pg_stat_activity WHERE backend_type = 'eventmkt worker'") };

spread_endpoints($node, 'many', [ map { 'http://127.' . (1 + int($_ / 60000)) . '.' . int($_ / 250) % 240 . '.' . (1 + $_ % 250) . ':' . $sink->port . "/delay/300?n=$_" } 1 .. $n ],
	timeout => '20 s', schedule => '{1,1,1,1,1,1,1,1}');
ok(wait_for(sub { $worker->() ne '' }, 20), 'a worker');
my $pid = $worker->();
like(slurp_file("/proc/$pid/limits"), qr/Max open files\s+$files /, "with $files descriptors");
# twice: the second time idle connections of the first are still there
my $most = 0;
for my $wave (1, 2)
{
	my $start = time;
	$sql->("SELECT count(eventmkt.track('m' || i, 'many', jsonb_build_object('n', i), message_id => 'm$wave-' || i)) FROM generate_series(1, $n) i");
	my $done = wait_for(sub {
		my $open = () = glob "/proc/$pid/fd/*";
		$most = $open if $open > $most;
		return $sql->("SELECT count(*) FROM eventmkt_data.delivery WHERE status = 'delivered'") == $wave * $n;
	}, sized(40, 300));
	ok($done, "wave $wave: all are delivered") or diag $sql->('SELECT status, count(*), max(last_error) FROM eventmkt_data.delivery GROUP BY 1');
	note sprintf 'figure: wave %d: %d endpoints in %.1f s, at most %d descriptors, %d connections', $wave, $n, time - $start, $most, $sink->stats->{max_connections};
}
is($worker->(), $pid, 'the worker lived through it');
is($sql->('SELECT count(*) FROM eventmkt_data.attempt WHERE error IS NOT NULL'), 0, 'no try failed');
cmp_ok($sink->stats->{max_connections}, '>', $files / 4, 'many were open at once');
cmp_ok($most, '<', $files, 'but never all descriptors in use');
is(check_safety($node, $sink, drained => 1, require_verified => 0, sends => 1, client => [ map { my $w = $_; map { { message_id => "m$w-$_", result => 'ok' } } 1 .. $n } 1, 2 ]),
	'', 'safety rule');
is(violations($node), '', 'state machine');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|could not settle|was terminated by signal|[Tt]oo many open files|out of file descriptors/, 'nothing bad in the log');
$node->stop('fast');
done_testing();

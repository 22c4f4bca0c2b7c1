# Others take all worker slots of the server for a while (R31), and databases whose workers crash, end or run in circles all
# the time stand beside one that works (R33). Nightly: the slots are gone for a minute, the neighbour is bad for a minute.
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
my $requests = sub { $sink->stats->{paths}{ $_[0] }{requests} // 0 };
my $worker_state = q{SELECT state FROM eventmkt.health() WHERE "check" = 'worker'};

sub worker_of
{
	my ($node, $db) = @_;
	my ($rc, $out) = $node->psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = 'eventmkt worker' AND datname = '$db'", on_error_die => 0, timeout => 20);
	return defined $rc && $rc == 0 ? $out : '';
}

# ---- parallel queries of somebody else take every slot
for my $preload (1, 0)
{
	my $how = $preload ? 'preloaded' : 'not preloaded';
	my $node = new_node("full$preload", preload => $preload, dbname => 'shop', conf => "max_worker_processes = 6\nmax_parallel_workers = 6
max_parallel_workers_per_gather = 6\nmin_parallel_table_scan_size = 0\nparallel_setup_cost = 0\nparallel_tuple_cost = 0\nparallel_leader_participation = off\n");
	create_endpoint($node, 'e', $sink, '/ok');
	$node->safe_psql('shop', q{SELECT eventmkt.create_rule('r', on_event => 'E', send_to => 'e')});
	is($node->safe_psql('shop', 'SELECT eventmkt.start_worker()'), 'running', "$how: a worker runs");
	$node->safe_psql('shop', 'CREATE TABLE public.big AS SELECT i FROM generate_series(1, 3000) i; ALTER TABLE public.big SET (parallel_workers = 6)');

	# slots that are free now are taken, and that of the worker once it has ended
	my @hogs;
	my $hog = sub { push @hogs, IPC::Run::start([ $node->installed_command('psql'), '-XqAt', '-d', $node->connstr('shop'), '-c',
			'SELECT count(pg_sleep(1 + i / 1000000000)) FROM public.big' ], '<', \undef, '>', \my $out, '2>', \my $err) };
	my $taken = sub { $node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'parallel worker'") };
	$hog->();
	my $all = 6 - 1 - 1 - 1;	# less those of logical replication, the launcher, the worker
	ok(wait_for(sub { $taken->() >= $all }, 10), "$how: all free slots are taken");
	my $pid = worker_of($node, 'shop');
	# the worker ends, and somebody else is quicker
	kill 'STOP', my $launcher = $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'eventmkt launcher%'");
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid, 5000)");
	$hog->();
	ok(wait_for(sub { $taken->() > $all }, 10), "$how: and that of the worker");
	kill 'CONT', $launcher;
	$node->safe_psql('shop', "SELECT eventmkt.track('u1', 'E')");
	my $before = $requests->('/ok');
	if ($preload)
	{
		ok(wait_for_sql($node, q{SELECT state, detail FROM eventmkt.health() WHERE "check" = 'worker'}, 'error|none: the server has no free worker slot', 10),
			"$how: health() says so");
	}
	else
	{
		ok(wait_for_sql($node, $worker_state, 'error', 10), "$how: health() shows that none runs");
	}
	sleep Emk::sized(3, 60);
	is($requests->('/ok'), $before, "$how: nothing was sent");
	$node->safe_psql('postgres', "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE '%public.big%' AND pid <> pg_backend_pid()");
	my $start = time;
	$_->finish for @hogs;
	ok(wait_for_sql($node, $worker_state, 'ok', 20), "$how: with a slot the worker runs");
	my $took = time - $start;
	in_time($took, 10, "$how: within ten seconds");
	ok(wait_for(sub { $requests->('/ok') > $before }, 10), "$how: and sends what waited");
	note sprintf 'figure: R31: %s: back %.1f s after a slot was free', $how, $took;
	$node->stop;
}

# ---- bad neighbours
my $node = new_node('street', preload => 1, dbname => 'good', conf => 'max_worker_processes = 12');
$node->safe_psql('postgres', 'CREATE DATABASE bad');
$node->safe_psql('bad', 'SET client_min_messages = error; CREATE EXTENSION eventmkt; SELECT eventmkt.init()');
create_endpoint($node, 'e', $sink, '/ok/good', schedule => '{1,1,1,1,1,1,1,1}');
$node->safe_psql('good', q{SELECT eventmkt.create_rule('r', on_event => 'E', send_to => 'e')});
$node->safe_psql('bad', q{SELECT eventmkt.create_rule('r', on_event => 'E', send_to => 'none')});
ok(wait_for_sql($node, $worker_state, 'ok', 20, $_), "$_: a worker runs") for 'good', 'bad';
my $seconds = Emk::sized(6, 60);
my $n = 0;

# Every half second a message in `good`, while $harm is done to `bad`; the longest time from its commit to its arrival
sub slowest
{
	my ($what, $harm) = @_;
	my $end = time + $seconds;
	my ($next, $longest, %sent) = (0, 0);

	while (time < $end)
	{
		$harm->();
		if (time >= $next)
		{
			my ($rc) = $node->psql('good', 'SELECT eventmkt.track(' . "'g', 'E', message_id => 'm" . ++$n . "')", on_error_die => 0, timeout => 20);
			$sent{"m$n"} = time if defined $rc && $rc == 0;
			$next = time + 0.5;
		}
		sleep 0.02;
	}
	cmp_ok(scalar(keys %sent), '>=', $seconds / 4, "$what: the app can write");
	ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE status <> 'delivered'", '0', 30, 'good'), "$what: all are delivered");
	my %came;
	for my $r ($sink->requests('/ok/good'))
	{
		my ($m) = $r->{body} =~ /"user_id"/ ? $r->{id} : '';
		$came{$m} //= $r->{t} / 1000;
	}
	for my $row (query_rows($node, "SELECT d.id, e.message_id FROM eventmkt_data.delivery d JOIN eventmkt_data.event e USING (event_id)", 'good'))
	{
		next unless exists $sent{ $row->{message_id} };
		my $took = ($came{ $row->{id} } // 'inf') - $sent{ $row->{message_id} };
		$longest = $took if $took > $longest;
	}
	in_time($longest, 5, "$what: none waits for more than five seconds");
	note sprintf '%s: %d messages, the slowest %.2f s', $what, scalar(keys %sent), $longest;
	return $longest;
}

slowest('alone', sub { });

# the neighbour's worker ends all the time, and so do those who look into its database
slowest('a worker that ends', sub { $node->psql('postgres', "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'bad' AND backend_type LIKE 'eventmkt%'") });

# the neighbour's rules fail: every row it touches raises, and its conditions take as long as they may
$node->safe_psql('bad', q{SET client_min_messages = error;
	SELECT eventmkt.create_rule('slow' || i, on_event => 'E', where_event => '$.t like_regex "(a+)+(b+)+(c+)+$"', send_to => 'none') FROM generate_series(1, 20) i;
	CREATE FUNCTION public.fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
	CREATE TRIGGER fault BEFORE INSERT ON eventmkt_data.decision FOR EACH ROW EXECUTE FUNCTION public.fault()});
slowest('rules that fail', sub { $node->psql('bad', q{SELECT count(eventmkt.track('b' || i, 'E', jsonb_build_object('t', repeat('a', 200)))) FROM generate_series(1, 3) i}) });
$node->safe_psql('bad', 'SET client_min_messages = error; DROP FUNCTION public.fault() CASCADE');

# the neighbour's worker crashes as soon as it is there, which takes the whole server down and up
my $log = slurp_file($node->logfile);
my $crashes = () = $log =~ /all server processes terminated; reinitializing/g;
my $killed = 0;
my $longest = slowest('a worker that crashes', sub {
	my $pid = worker_of($node, 'bad');
	$killed += kill 'KILL', $pid if $pid ne '';
});
$crashes = (() = slurp_file($node->logfile) =~ /all server processes terminated; reinitializing/g) - $crashes;
cmp_ok($crashes, '>=', 3, 'it crashed again and again');
cmp_ok($crashes, '<=', $seconds + 3, 'but after the first not more than once a second');
note "$crashes crashes in $seconds s";
ok(wait_for_sql($node, $worker_state, 'ok', 10, 'bad'), 'left alone, its worker runs again');

# one that was stopped stays stopped, also over a crash of the other
$node->safe_psql('bad', 'SELECT eventmkt.stop_worker()');
kill 'KILL', worker_of($node, 'good');
sleep 0.5;
ok(wait_for_sql($node, $worker_state, 'ok', 10, 'good'), 'a worker is back after a crash');
sleep 2;
is(worker_of($node, 'bad'), '', 'where workers were stopped none comes back');
is(violations($node), '', 'state machine');
$node->stop;
done_testing();

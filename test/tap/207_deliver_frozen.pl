# A worker that is frozen, and lives again (R03). Nobody takes what it has in flight as long as nobody says so, and its late results change
# nothing that was given up. start_worker() has another process take its place: what it had in flight goes out again under the same ids, its
# endpoints are served, and it ends when it goes on.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $node = new_node('frozen', preload => 1, conf => "eventmkt.workers = 2\neventmkt.frozen_after = '1h'\n");
my $sink = start_sink(sync => 0);
my $frozen_for = sized(4, 60);
my $rounds = sized(1, 5);
my $sql = sub { $node->safe_psql('postgres', $_[0]) };
my $running = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'eventmkt worker'";
my ($tracked, $twice) = (0, 0);	# $twice: what a frozen worker had in flight may be sent again

sub set_frozen_after
{
	$sql->("ALTER SYSTEM SET eventmkt.frozen_after = '$_[0]'");
	$sql->('SELECT pg_reload_conf()');
	ok(wait_for_sql($node, 'SHOW eventmkt.frozen_after', $_[0], 10), "frozen_after is $_[0]");
	sleep 0.5;
}

sub track
{
	my ($from, $to) = ($tracked + 1, $tracked += $_[0]);
	$sql->("SELECT eventmkt.track('u' || i, 'E', message_id => 'm' || i) FROM generate_series($from, $to) i");
}

# Freezes the worker that has most in flight: its pid, and the condition that a delivery is in its hands
sub freeze
{
	my $pid = wait_for(sub {
		$sql->("SELECT l.pid FROM eventmkt_data.delivery d JOIN pg_locks l ON l.locktype = 'advisory' AND l.objsubid = 8 AND l.objid::bigint = d.lease
			WHERE d.status = 'in_flight' GROUP BY l.pid HAVING count(*) >= 10 ORDER BY count(*) DESC LIMIT 1");
	}, 20) or die 'no worker has ten in flight';
	kill 'STOP', $pid;
	my $epoch = $sql->("SELECT objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 8 AND pid = $pid");
	return ($pid, $epoch);
}

sub in_flight { return $sql->("SELECT count(*) FROM eventmkt_data.delivery WHERE status = 'in_flight' AND lease = $_[0]") }
sub all_delivered { ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE status = 'delivered'", 6 * $tracked, 40), "$_[0]: all are delivered") }

ok(wait_for_sql($node, $running, 2, 20), 'two workers');
for my $e (1 .. 6)
{
	create_endpoint($node, "e$e", $sink, "/delay/700/e$e", max_in_flight => 20, schedule => '{1,1,1,1,1,1}', timeout => '5 s');
	$sql->("SELECT eventmkt.create_rule('e$e', on_event => 'E', send_to => 'e$e')");
}

# ---- nobody says that it is frozen
{
	track(30);
	my ($pid, $epoch) = freeze();
	my $begun = time;
	my $held = in_flight($epoch);
	$twice += $held;
	my $mine = "SELECT id FROM eventmkt_data.delivery WHERE status = 'in_flight' AND lease = $epoch";
	my $others = $sql->("SELECT string_agg(DISTINCT quote_literal(rule), ',') FROM eventmkt_data.delivery WHERE coalesce(lease, 0) <> $epoch
		AND rule NOT IN (SELECT rule FROM eventmkt_data.delivery WHERE lease = $epoch)");

	# it is within frozen_after: an operator's call for a worker is in vain and without harm; and more to do
	is($sql->('SELECT eventmkt.start_worker()'), 'running', 'start_worker() while one is frozen, not for long enough');
	track(30);

	# somebody gives up a part of what the frozen one has: its answers, which have come meanwhile, will be late
	sleep 1;
	my $given_up = $sql->("WITH g AS (UPDATE eventmkt_data.delivery SET status = 'retrying', lease = NULL, next_attempt_at = eventmkt.clock()
		WHERE id IN ($mine ORDER BY id LIMIT 7) RETURNING id) SELECT string_agg(quote_literal(id), ',') FROM g");
	if ($others)
	{
		ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE rule IN ($others) AND status <> 'delivered'", 0, 20),
			'the other worker serves its endpoints meanwhile');
	}
	wait_for(sub { time - $begun >= $frozen_for }, $frozen_for + 1);
	is(in_flight($epoch), $held - 7, 'nobody took what the frozen one has in flight');
	kill 'CONT', $pid;
	all_delivered('given up by hand');
	is($sql->("SELECT count(*) FROM eventmkt_data.delivery WHERE id IN ($given_up) AND attempts = 2"), 7,
		'the late results of what was given up were refused, a second try delivered them');
	is($sql->("SELECT count(*) FROM eventmkt_data.attempt WHERE delivery_id IN ($given_up) AND attempt = 1"), 0, 'and are on no record');
	is($sql->("SELECT count(*) FROM eventmkt_data.delivery WHERE attempts > 1 AND id NOT IN ($given_up)
		AND id NOT IN (SELECT delivery_id FROM eventmkt_data.attempt WHERE attempt = 1 AND status IS NULL)"), 0, 'no other was sent twice');
}

# ---- start_worker() has another take over, where two run and where one does
sub take_over
{
	my ($what, $workers) = @_;
	track(30);
	my ($pid, $epoch) = freeze();
	my $begun = time;
	my $held = in_flight($epoch);
	$twice += $held;
	my $mine = $sql->("SELECT string_agg(quote_literal(id), ',') FROM eventmkt_data.delivery WHERE status = 'in_flight' AND lease = $epoch");
	track(30);
	ok(wait_for_sql($node, q{SELECT count(*) FROM eventmkt.health() WHERE "check" LIKE 'worker%' AND state = 'error' AND hint LIKE '%start_worker()%'}, 1, 20),
		"$what: health() says who is frozen and what to do");
	my ($out, $err) = ('', '');
	$node->psql('postgres', 'SELECT eventmkt.start_worker()', stdout => \$out, stderr => \$err);
	is($out, 'running', "$what: start_worker()");
	like($err, qr/worker process $pid is frozen and is replaced/, "$what: it says whom it replaces");
	my $called = time;
	ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE status = 'in_flight' AND lease = $epoch", 0, 20),
		"$what: what it had in flight is another's");
	my $took = time - $called;
	in_time($took, 5, "$what: within five seconds");
	all_delivered("$what, while it is frozen");
	is($sql->(q{SELECT count(*) FROM eventmkt.health() WHERE "check" = 'replaced workers' AND detail LIKE '%pid } . $pid . q{'}), 1,
		"$what: health() names the frozen process");
	is($sql->(q{SELECT count(*) FROM eventmkt.health() WHERE "check" LIKE 'worker%' AND state = 'ok'}), $workers, "$what: the workers are well");
	wait_for(sub { time - $begun >= $frozen_for }, $frozen_for + 1);
	sleep 2.5;	# a look at what is lost
	cmp_ok($sql->("SELECT count(*) FROM eventmkt_data.lease WHERE lease = $epoch AND chunk >= 0"), '>', 0,
		"$what: its list stays as long as it may still commit a claim");
	my $before = $sql->("SELECT md5(string_agg(d::text, ',' ORDER BY id)) FROM eventmkt_data.delivery d WHERE id IN ($mine)");
	kill 'CONT', $pid;
	ok(wait_for(sub { !kill 0, $pid }, 10), "$what: it ends when it goes on");
	is($sql->("SELECT md5(string_agg(d::text, ',' ORDER BY id)) FROM eventmkt_data.delivery d WHERE id IN ($mine)"), $before,
		"$what: and changed nothing of what it had had");
	is($sql->("SELECT count(*) FROM eventmkt_data.delivery WHERE id IN ($mine) AND status = 'delivered' AND attempts = 2"), $held,
		"$what: a second try delivered it");
	is($sql->("SELECT count(*) FROM eventmkt_data.decision WHERE delivery_id IN ($mine) AND outcome = 'delivered'"), $held, "$what: and is decided once");
	is($sql->($running), $workers, "$what: as many workers as before");
	ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.lease WHERE lease = $epoch", 0, 20), "$what: nothing is left of its epoch");
	note(sprintf 'figure: R03: %s: frozen for %d s with %d in flight, all another\'s %.2f s after start_worker()', $what, $frozen_for, $held, $took);
}

set_frozen_after('1s');
take_over("two workers, round $_", 2) for 1 .. $rounds;
$sql->('ALTER SYSTEM SET eventmkt.workers = 1');
$sql->('SELECT pg_reload_conf()');
ok(wait_for_sql($node, $running, 1, 20), 'one worker');
take_over('a single worker', 1);

# ---- who replaced another is a worker like any
is($sql->('SELECT eventmkt.stop_worker()'), 'stopped', 'stop_worker()');
is($sql->('SELECT eventmkt.start_worker()'), 'running', 'start_worker()');

is(check_safety($node, $sink, drained => 1, sends => 6, max_duplicates => $twice,
	client => [ map { { message_id => "m$_", result => 'ok' } } 1 .. $tracked ]), '', 'safety rule');
is(violations($node), '', 'state machine');
unlike(slurp_file($node->logfile), qr/could not settle|TRAP|PANIC/, 'nothing bad in the log');
done_testing();

# A worker that is frozen, and lives again: the other serves its own endpoints meanwhile, nobody takes what the frozen one has in
# flight, and its late results change nothing that was given up (R03)
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Emk;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $node = new_node('frozen', preload => 1, conf => "eventmkt.workers = 2\n");
my $sink = start_sink(sync => 0);
my $frozen_for = sized(4, 60);
my $rounds = sized(1, 5);
my $sql = sub { $node->safe_psql('postgres', $_[0]) };

ok(wait_for_sql($node, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'eventmkt worker'", 2, 20), 'two workers');
for my $e (1 .. 6)
{
	create_endpoint($node, "e$e", $sink, "/delay/700/e$e", max_in_flight => 20, schedule => '{1,1,1,1,1,1}', timeout => '5 s');
	$sql->("SELECT eventmkt.create_rule('e$e', on_event => 'E', send_to => 'e$e')");
}
my $twice = 0;	# what a worker has in flight when it is frozen for longer than the time-out is sent again

for my $round (1 .. $rounds)
{
	my $from = ($round - 1) * 60;
	$sql->("SELECT eventmkt.track('u' || i, 'E', message_id => 'm' || i) FROM generate_series($from + 1, $from + 30) i");
	my $busiest = wait_for(sub {
		$sql->("SELECT l.pid FROM eventmkt_data.delivery d JOIN pg_locks l ON l.locktype = 'advisory' AND l.objsubid = 8 AND l.objid::bigint = d.lease
			WHERE d.status = 'in_flight' GROUP BY l.pid HAVING count(*) >= 10 ORDER BY count(*) DESC LIMIT 1");
	}, 20);
	ok($busiest, 'a worker has ten in flight') or last;
	kill 'STOP', $busiest;
	my $begun = time;
	my $has = "lease IN (SELECT objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 8 AND pid = $busiest)";
	my $held = $sql->("SELECT count(*) FROM eventmkt_data.delivery WHERE status = 'in_flight' AND $has");
	$twice += $held;
	my $others = $sql->("SELECT string_agg(DISTINCT quote_literal(rule), ',') FROM eventmkt_data.delivery WHERE NOT coalesce($has, false)
		AND rule NOT IN (SELECT rule FROM eventmkt_data.delivery WHERE $has)");

	# an operator's call for a worker, in vain and without harm; and more to do
	is($sql->('SELECT eventmkt.start_worker()'), 'running', 'start_worker() while one is frozen');
	$sql->("SELECT eventmkt.track('u' || i, 'E', message_id => 'm' || i) FROM generate_series($from + 31, $from + 60) i");

	# somebody gives up a part of what the frozen one has: its answers, which have come meanwhile, will be late
	sleep 1;
	my $given_up = $sql->("WITH g AS (UPDATE eventmkt_data.delivery SET status = 'retrying', lease = NULL, next_attempt_at = eventmkt.clock()
		WHERE id IN (SELECT id FROM eventmkt_data.delivery WHERE status = 'in_flight' AND $has ORDER BY id LIMIT 7) RETURNING id)
		SELECT string_agg(quote_literal(id), ',') FROM g");
	if ($others)
	{
		ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE rule IN ($others) AND status <> 'delivered'", 0, 20),
			'the other worker serves its endpoints meanwhile');
	}
	wait_for(sub { time - $begun >= $frozen_for }, $frozen_for + 1);
	is($sql->("SELECT count(*) FROM eventmkt_data.delivery WHERE status = 'in_flight' AND $has"), $held - 7,
		'nobody took what the frozen one has in flight') if $held >= 7;
	kill 'CONT', $busiest;
	ok(wait_for_sql($node, "SELECT count(*) FROM eventmkt_data.delivery WHERE status = 'delivered'", 6 * 60 * $round, 40), 'all are delivered');
	is($sql->("SELECT count(*) FROM eventmkt_data.delivery WHERE id IN ($given_up) AND attempts = 2"), 7,
		'the late results of what was given up were refused, a second try delivered them');
	is($sql->("SELECT count(*) FROM eventmkt_data.attempt WHERE delivery_id IN ($given_up) AND attempt = 1"), 0, 'and are on no record');
	is($sql->("SELECT count(*) FROM eventmkt_data.delivery WHERE attempts > 1 AND id NOT IN ($given_up)
		AND id NOT IN (SELECT delivery_id FROM eventmkt_data.attempt WHERE attempt = 1 AND status IS NULL)"), 7 * ($round - 1), 'no other was sent twice');
	note("figure: R03: round $round: frozen for $frozen_for s with $held in flight, 7 given up");
}
is(check_safety($node, $sink, drained => 1, sends => 6, max_duplicates => $twice,
	client => [ map { { message_id => "m$_", result => 'ok' } } 1 .. 60 * $rounds ]), '', 'safety rule');
is(violations($node), '', 'state machine');
unlike(slurp_file($node->logfile), qr/could not settle|TRAP|PANIC/, 'nothing bad in the log');
done_testing();
